"""Books: kept exactly, by whatever the venue counts, and void as soon as something is missing."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_system.core.depth import SPARE, Book, Level, Verdict

D = Decimal
BID = [(99.0, 1.0), (98.5, 2.0)]
ASK = [(100.0, 1.5), (100.5, 3.0)]


def book(last: int = 10, depth: int = 0) -> Book:
    made = Book(depth)
    assert made.snapshot(BID, ASK, last) is Verdict.APPLIED
    return made


def test_levels_come_best_first_and_digit_for_digit() -> None:
    kept = Book()
    kept.snapshot([(0.00001234, 123456789.125), (0.00001233, 1.0)], [(43210.87, 0.00000001)])

    assert kept.bids(5) == ((D("0.00001234"), D("123456789.125")), (D("0.00001233"), D("1.0")))
    assert kept.asks(1) == ((D("43210.87"), D("1E-8")),)


@pytest.mark.parametrize(
    ("first", "last", "verdict"),
    [(11, 12, Verdict.APPLIED), (9, 11, Verdict.APPLIED), (9, 10, Verdict.OLD), (12, 12, Verdict.GAP)],
)
def test_a_message_follows_is_old_or_leaves_a_gap(first: int, last: int, verdict: Verdict) -> None:
    kept = book()

    assert kept.change([(99.5, 1.0)], [], first, last) is verdict
    best = {Verdict.APPLIED: 99.5, Verdict.OLD: 99.0}.get(verdict)
    assert kept.bids(1) == (() if best is None else ((D(str(best)), D("1.0")),))


def test_after_a_gap_nothing_counts_until_the_next_snapshot() -> None:
    kept = book()
    kept.change([], [], 12, 12)

    assert kept.change([(99.5, 1.0)], [], 13, 13) is Verdict.GAP
    assert (kept.bids(9), kept.asks(9), kept.last) == ((), (), None)
    assert kept.snapshot(BID, ASK, 20) is Verdict.APPLIED
    assert kept.change([], [(100.0, 0.0)], 21, 21) is Verdict.APPLIED
    assert kept.asks(1) == ((D("100.5"), D("3.0")),)


def test_sides_that_cross_are_a_gap() -> None:
    assert book().change([(100.0, 1.0)], [], 11, 11) is Verdict.GAP
    assert Book().snapshot([(100.0, 1.0)], [(100.0, 1.0)]) is Verdict.GAP


def test_a_venue_that_counts_nothing_is_taken_at_its_word() -> None:
    kept = Book(depth=2)
    kept.snapshot(BID, ASK)

    assert kept.change([(99.5, 1.0)], [(99.75, 1.0)]) is Verdict.APPLIED
    assert [price for price, _ in kept.bids(9)] == [D("99.5"), D("99.0")]
    assert [price for price, _ in kept.asks(9)] == [D("99.75"), D("100.0")]


_SIDE = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=8, unique_by=lambda level: level[0])


def _levels(side: list[tuple[int, int]], above: int) -> list[Level]:
    return [(above + price / 10, float(qty)) for price, qty in side]


@given(st.lists(st.tuples(_SIDE, _SIDE), min_size=1, max_size=30))
def test_it_is_what_a_table_of_levels_would_be(frames: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]) -> None:
    kept, naive = Book(), ({}, {})  # type: tuple[Book, tuple[dict[float, float], dict[float, float]]]
    for number, (bids, asks) in enumerate(frames, 1):
        changes = (_levels(bids, 90), _levels(asks, 95))
        verdict = kept.snapshot(*changes, last=1) if number == 1 else kept.change(*changes, number, number)
        for side, levels in zip(naive, changes, strict=True):
            side.update(levels)
        assert verdict is Verdict.APPLIED

    shown = [{float(price): float(qty) for price, qty in side} for side in (kept.bids(999), kept.asks(999))]
    assert shown == [{price: qty for price, qty in side.items() if qty} for side in naive]
    assert [price for price, _ in kept.bids(999)] == sorted((price for price, _ in kept.bids(999)), reverse=True)
    assert [price for price, _ in kept.asks(999)] == sorted(price for price, _ in kept.asks(999))


def test_prices_that_went_are_swept_away_in_the_end_and_those_that_come_back_are_in_their_places() -> None:
    kept = book()
    for number in range(4 * SPARE):
        kept.change([(50 + number / 100, 1.0)], [(200 - number / 100, 1.0)], 11 + 2 * number, 11 + 2 * number)
        kept.change([(50 + number / 100, 0.0)], [(200 - number / 100, 0.0)], 12 + 2 * number, 12 + 2 * number)
        assert len(kept._bids) <= SPARE + 2 * (len(BID) + 1)
        assert len(kept._asks) <= SPARE + 2 * (len(ASK) + 1)

    assert (kept.bids(9), kept.asks(9)) == (book().bids(9), book().asks(9))
    assert kept.change([(99.0, 0.0)], [(100.5, 0.0)], 9_000, 9_000) is Verdict.GAP
    kept = book()
    kept.change([(99.0, 0.0), (98.5, 0.0)], [(100.5, 0.0)], 11, 11)
    kept.change([(98.5, 7.0)], [(100.5, 8.0)], 12, 12)

    assert (kept.bids(9), kept.asks(9)) == (((D("98.5"), D("7.0")),), ((D("100.0"), D("1.5")), (D("100.5"), D("8.0"))))


@given(st.lists(st.tuples(_SIDE, _SIDE), min_size=2, max_size=30))
def test_a_book_of_so_many_levels_is_the_best_of_them(frames: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]) -> None:
    kept, naive = Book(depth=4), ({}, {})  # type: tuple[Book, tuple[dict[float, float], dict[float, float]]]
    for number, (bids, asks) in enumerate(frames, 1):
        changes = (_levels(bids, 90), _levels(asks, 95))
        kept.snapshot(*changes, last=1) if number == 1 else kept.change(*changes, number, number)
        for place, (side, levels) in enumerate(zip(naive, changes, strict=True)):
            side.update(levels)
            live = sorted((price for price, qty in side.items() if qty), reverse=place == 0)
            for price in set(side) - set(live if number == 1 else live[:4]):
                del side[price]

    shown = [{float(price): float(qty) for price, qty in side} for side in (kept.bids(999), kept.asks(999))]
    assert shown == list(naive)
