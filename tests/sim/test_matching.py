"""The matching engine by its properties: never crossed, nothing lost, price before time, and the same calls give the same trades."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_system.domain.fix import Side
from trading_system.sim.matching import MARKET, Book, Match

BUY, SELL = Side.BUY, Side.SELL
Action = tuple[str, Side, int, int]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["limit", "ioc", "fok", "market", "cancel"]), st.sampled_from(list(Side)), st.integers(1, 20), st.integers(90, 110)),
    max_size=40,
)


def play(actions: list[Action], check: Callable[[Book], None] = lambda _: None) -> tuple[Book, list[Match], dict[str, int]]:
    """Carry out actions; owner "n" made action n. Returns the book, every match, and what each order asked."""
    book = Book()
    matches: list[Match] = []
    asked: dict[str, int] = {}
    for place, (kind, side, qty, price) in enumerate(actions):
        owner = str(place)
        if kind == "cancel":
            book.cancel(str(price % (place + 1)))
        else:
            asked[owner] = qty
            limit = None if kind == "market" else price
            matches += book.submit(owner, side, qty, limit, rest=kind == "limit", all_or_none=kind == "fok")
        check(book)
    return book, matches, asked


@given(ACTIONS)
def test_the_book_never_crosses(actions: list[Action]) -> None:
    def check(book: Book) -> None:
        bid, ask = book.best(BUY), book.best(SELL)
        assert bid is None or ask is None or bid < ask

    play(actions, check)


@given(ACTIONS)
def test_no_lot_is_made_or_lost(actions: list[Action]) -> None:
    book, matches, asked = play(actions)
    for owner, qty in asked.items():
        done = sum(match.qty for match in matches if owner in (match.maker, match.taker))

        assert 0 <= done <= qty
        assert book.resting(owner) <= qty - done
    assert all(match.qty > 0 for match in matches)
    assert sum(qty for side in Side for _, qty in book.depth(side)) == sum(book.resting(owner) for owner in asked)


@given(ACTIONS)
def test_a_fill_or_kill_fills_whole_or_not_at_all(actions: list[Action]) -> None:
    _, matches, asked = play(actions)
    for place, (kind, _, qty, _) in enumerate(actions):
        if kind == "fok":
            assert sum(match.qty for match in matches if match.taker == str(place)) in (0, qty)
    assert set(asked) >= {match.taker for match in matches}


@given(ACTIONS)
def test_nobody_trades_beyond_his_limit_and_always_at_the_resting_price(actions: list[Action]) -> None:
    _, matches, _ = play(actions)
    for match in matches:
        kind, side, _, price = actions[int(match.taker)]

        assert match.price == actions[int(match.maker)][3]
        assert kind == "market" or (price - match.price) * side.sign >= 0


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(95, 100)), min_size=1, max_size=20), st.integers(1, 60))
def test_the_better_price_goes_first_and_then_the_earlier_order(resting: list[tuple[int, int]], qty: int) -> None:
    book = Book()
    for place, (lots, price) in enumerate(resting):
        book.submit(str(place), SELL, lots, price)
    makers = [int(match.maker) for match in book.submit("taker", BUY, qty, rest=False)]

    assert makers == sorted(makers, key=lambda place: (resting[place][1], place))
    assert makers == sorted(range(len(resting)), key=lambda place: (resting[place][1], place))[: len(makers)]


@given(ACTIONS)
def test_the_same_calls_give_the_same_trades(actions: list[Action]) -> None:
    assert play(actions)[1] == play(actions)[1]


def test_a_resting_order_waits_behind_the_depth_that_was_there() -> None:
    book = Book()
    book.refresh([(100, 50)], [(101, 50)])
    book.submit("mine", BUY, 10, 100)
    book.refresh([(100, 80)], [(101, 50)])  # 30 more arrive behind me
    first = book.submit(MARKET, SELL, 55, 100, rest=False)

    assert [(match.maker, match.qty) for match in first] == [(MARKET, 50), ("mine", 5)]
    assert book.resting("mine") == 5
    assert book.submit(MARKET, SELL, 5, 100, rest=False)[0].maker == "mine"


def test_a_market_that_moves_through_a_resting_order_fills_it_at_its_price() -> None:
    book = Book()
    book.refresh([(100, 50)], [(101, 50)])
    book.submit("mine", BUY, 70, 100)
    matches = book.refresh([(97, 50)], [(98, 50), (99, 10)])

    assert [(match.maker, match.price, match.qty) for match in matches] == [("mine", 100, 50), ("mine", 100, 10)]
    assert book.best(SELL) is None
    assert book.depth(BUY) == [(100, 10), (97, 50)]


def test_depth_is_what_was_shown_last() -> None:
    book = Book()
    book.refresh([(100, 5), (99, 6)], [(101, 7)])
    book.refresh([(99, 2)], [(101, 9), (102, 1)])

    assert book.depth(BUY) == [(99, 2)]
    assert book.depth(SELL) == [(101, 9), (102, 1)]
    assert book.idle


@pytest.mark.parametrize(("side", "stop", "quiet", "fires"), [(BUY, 105, 104, 105), (SELL, 95, 96, 94)])
def test_a_stop_waits_for_its_price(side: Side, stop: int, quiet: int, fires: int) -> None:
    book = Book()
    book.add_stop("one", side, stop)
    book.add_stop("two", side, stop)

    assert book.waiting("one")
    assert not book.idle
    assert book.trigger(quiet) == []
    assert book.trigger(fires) == ["one", "two"]
    assert book.trigger(fires) == []


def test_cancel_takes_orders_and_stops_out() -> None:
    book = Book()
    book.submit("mine", BUY, 10, 100)
    book.add_stop("stop", SELL, 90)

    assert (book.cancel("mine"), book.cancel("stop"), book.cancel("mine")) == (10, 0, 0)
    assert book.idle
    assert book.best(BUY) is None
