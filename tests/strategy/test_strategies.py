"""Bars out of trades, quotes and shorter bars; what a strategy may know; and when those that are here wish for something."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import AAPL, D, quote
from trading_system.domain.fix import Side
from trading_system.domain.market import Bar, Trade
from trading_system.domain.signal import DAY_NS, Allocation, Signal, Wish
from trading_system.strategy.bars import Builder, parse_period
from trading_system.strategy.base import BARS_KEPT, Context, Filled, Held, Host, Started, Stopped, Strategy, Ticked
from trading_system.strategy.buy_and_hold import BuyAndHold
from trading_system.strategy.donchian import Donchian
from trading_system.strategy.ma_cross import MaCross
from trading_system.strategy.mean_reversion import MeanReversion
from trading_system.strategy.rebalance import Rebalance

MINUTE_NS = 60_000_000_000


def bar(place: int, close: str, period_ns: int = DAY_NS, high: str = "", low: str = "") -> Bar:
    price = D(close)
    return Bar(
        instrument=AAPL,
        open_ns=place * period_ns,
        period_ns=period_ns,
        open=price,
        high=D(high or close),
        low=D(low or close),
        close=price,
        volume=D(1),
    )


def wishes(strategy: Strategy, closes: Sequence[str], held: str = "0") -> list[tuple[int, Wish]]:
    """What it wishes for, by day; it holds from the beginning what is said."""
    host = Host(strategy)
    host.take(Started(positions={AAPL: D(held)}, now_ns=0))
    return [(place, wish) for place, close in enumerate(closes) for wish in host.take(bar(place, close))]


@pytest.mark.parametrize(("text", "ns"), [("30s", 30 * 10**9), ("5m", 5 * MINUTE_NS), ("1h", 60 * MINUTE_NS), ("1d", DAY_NS)])
def test_lengths_are_written_as_people_write_them(text: str, ns: int) -> None:
    assert parse_period(text) == ns


@pytest.mark.parametrize("text", ["", "m", "0m", "1w", "1.5h", "-1m", "99999d", "１m"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        parse_period(text)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 1000), st.integers(1, 9)), min_size=1, max_size=80))
def test_bars_hold_every_trade_once_and_none_before_they_are_over(steps: list[tuple[int, int, int]]) -> None:
    builder, now_ns, found, prices = Builder(AAPL, MINUTE_NS), 0, list[Bar](), list[tuple[int, Decimal, int]]()
    for gap_s, price, qty in steps:
        now_ns += gap_s * 100_000_000
        found += builder.price(D(price), D(qty), now_ns)
        prices.append((now_ns, D(price), qty))
        assert all(made.open_ns + made.period_ns <= now_ns for made in found)
    found += builder.over(now_ns + 2 * MINUTE_NS)

    assert sum(made.volume for made in found) == sum(qty for _, _, qty in prices)
    for made in found:
        within = [price for at_ns, price, _ in prices if made.open_ns <= at_ns < made.open_ns + made.period_ns]
        assert (made.open, made.high, made.low, made.close) == (within[0], max(within), min(within), within[-1])


def test_shorter_bars_make_longer_ones_at_their_end() -> None:
    host = Host(_Counting("5m"))
    told = [host.take(bar(place, str(100 + place), MINUTE_NS)) for place in range(10)]

    assert [place for place, wished in enumerate(told) if wished] == [4, 9]
    assert [made.close for made in host.ctx.bars(AAPL)] == [D(104), D(109)]


def test_bars_come_of_trades_of_quotes_and_of_time_alone() -> None:
    by_trade, by_quote = Host(_Counting("1m")), Host(_Counting("1m"))
    for second in (1, 30, 61):
        at_ns = second * 10**9
        traded = by_trade.take(Trade(instrument=AAPL, price=D(second), qty=D(1), trade_id="", transact_ns=at_ns, recv_ns=at_ns))
        quoted = by_quote.take(quote("99", "101", at_ns=at_ns))
        assert len(traded) == len(quoted) == (second == 61)
    assert len(by_trade.passed(121 * 10**9)) == 1
    assert by_trade.ctx.price(AAPL) == D(61)
    assert by_quote.ctx.quote(AAPL) is not None


class _Counting(Strategy):
    def __init__(self, bars: str) -> None:
        self.instruments, self.bars = (AAPL,), bars

    def on_bar(self, ctx: Context, bar: Bar) -> Wish:
        return ctx.hold(bar.instrument, 0.1)


def test_each_handler_is_called_for_its_event() -> None:
    class All(Strategy):
        instruments, bars, quotes, trades = (AAPL,), "1d", True, True

        def __init__(self) -> None:
            self.seen: list[str] = []

        def on_start(self, ctx: Context) -> None:
            self.seen.append(f"start {ctx.position(AAPL)}")

        def on_quote(self, ctx: Context, quote: object) -> None:
            self.seen.append("quote")

        def on_trade(self, ctx: Context, trade: object) -> None:
            self.seen.append("trade")

        def on_bar(self, ctx: Context, bar: Bar) -> None:
            self.seen.append("bar")

        def on_fill(self, ctx: Context, fill: Filled) -> None:
            self.seen.append(f"fill {ctx.position(AAPL)}")

        def on_timer(self, ctx: Context) -> None:
            self.seen.append("timer")

        def on_stop(self, ctx: Context) -> None:
            self.seen.append("stop")

    strategy = All()
    host = Host(strategy)
    filled = Filled(instrument=AAPL, side=Side.BUY, qty=D(2), price=D(1), position=D(5), now_ns=3)
    trade = Trade(instrument=AAPL, price=D(1), qty=D(1), trade_id="", transact_ns=1, recv_ns=1)
    for event in (Started(positions={AAPL: D(3)}, now_ns=1), quote(), trade, bar(0, "1"), filled, Ticked(now_ns=4), Stopped(now_ns=5)):
        host.take(event)
    host.take(Held(instrument=AAPL, position=D("4.9"), now_ns=6))

    assert strategy.seen == ["start 3", "quote", "trade", "bar", "fill 5", "timer", "stop"]
    assert host.ctx.position(AAPL) == D("4.9")
    assert Strategy().name == "strategy"


def test_a_context_keeps_so_many_bars_and_says_where_it_has_no_price() -> None:
    ctx = Context()
    for place in range(BARS_KEPT + 5):
        ctx.take(bar(place, "1"))

    assert len(ctx.bars(AAPL)) == BARS_KEPT
    assert len(ctx.closes(AAPL, 3)) == 3
    assert ctx.closes("SPY", 3) == []
    with pytest.raises(ValueError, match="seen yet"):
        ctx.enter("SPY", Side.BUY, edge=None)


class Turner(Strategy):
    instruments = ("AAPL",)

    def on_timer(self, ctx: Context) -> Allocation:
        return ctx.hold("AAPL", -0.2)

    def on_bar(self, ctx: Context, bar: Bar) -> Allocation | None:
        return self.on_timer(ctx) if ctx.position("AAPL") > 0 and len(ctx.bars("AAPL")) == 1 else None


def _fill(position: str, now_ns: int) -> Filled:
    return Filled(instrument=AAPL, side=Side.SELL, qty=D(1), price=D(100), position=D(position), now_ns=now_ns)


def test_who_turns_asks_again_when_flat() -> None:
    host = Host(Turner())
    host.take(Started(positions={AAPL: D(2)}, now_ns=0))
    (wish,) = host.take(Ticked(now_ns=MINUTE_NS))

    assert host.take(_fill("1", MINUTE_NS)) == []
    assert host.take(_fill("0", 2 * MINUTE_NS)) == [wish]
    assert host.take(_fill("0", 2 * MINUTE_NS)) == []
    host.take(_fill("2", 3 * MINUTE_NS))
    host.take(Ticked(now_ns=4 * MINUTE_NS))
    assert host.take(_fill("0", 5 * MINUTE_NS + 1)) == []  # too long ago: something else closed it


def test_a_newer_bar_ends_a_turn() -> None:
    strategy = Turner()
    strategy.bars = "1m"
    host = Host(strategy)
    host.take(Started(positions={AAPL: D(2)}, now_ns=0))
    (wish,) = host.take(bar(0, "100", MINUTE_NS))
    assert host.take(_fill("0", 2 * MINUTE_NS)) == [wish]
    host = Host(strategy)
    host.take(Started(positions={AAPL: D(2)}, now_ns=0))
    assert host.take(bar(0, "100", MINUTE_NS)) == [wish]
    assert host.take(bar(1, "100", MINUTE_NS)) == []
    assert host.take(_fill("0", 3 * MINUTE_NS)) == []


def test_the_cross_enters_when_fast_passes_slow_and_leaves_when_it_falls_back() -> None:
    closes = ["10"] * 5 + ["11", "12", "13"]
    entered = wishes(MaCross("AAPL", fast=2, slow=4), closes)

    assert [(place, type(wish)) for place, wish in entered] == [(5, Signal)]
    assert isinstance(entered[0][1], Signal)
    assert entered[0][1].stop_px == D("10.78")
    assert all(isinstance(wish, Allocation) and wish.weight == 0 for _, wish in wishes(MaCross("AAPL", fast=2, slow=4), ["10"] * 5 + ["9"], held="1"))


def test_the_breakout_enters_at_new_highs_and_lows_and_leaves_through_the_channel() -> None:
    flat = ["100", "101", "99", "100", "101"]
    up = wishes(Donchian("AAPL", enter=4, leave=2), [*flat, "103"])
    down = wishes(Donchian("AAPL", enter=4, leave=2, shorts=True), [*flat, "95"])

    assert [(place, wish.side) for place, wish in up if isinstance(wish, Signal)] == [(5, Side.BUY)]
    assert [(place, wish.side) for place, wish in down if isinstance(wish, Signal)] == [(5, Side.SELL)]
    assert wishes(Donchian("AAPL", enter=4, leave=2), [*flat, "95"]) == []
    assert len(wishes(Donchian("AAPL", enter=4, leave=2), [*flat, "98"], held="1")) == 1
    assert [place for place, _ in wishes(Donchian("AAPL", enter=4, leave=2), [*flat, "102"], held="-1")] == [4, 5]


def test_mean_reversion_buys_far_below_and_leaves_at_the_average() -> None:
    closes = ["100", "101", "99", "100", "101", "90"]
    bought = wishes(MeanReversion("AAPL", window=5, away=1.5), closes)

    assert [(place, type(wish)) for place, wish in bought] == [(5, Signal)]
    assert len(wishes(MeanReversion("AAPL", window=5), ["100"] * 5, held="1")) == 1


def test_weights_are_mended_every_so_often_and_bought_once_where_held() -> None:
    again = wishes(Rebalance("AAPL:0.2", every=2), ["1"] * 5)

    assert [place for place, _ in again] == [0, 2, 4]
    assert {wish.weight for _, wish in again if isinstance(wish, Allocation)} == {D("0.2")}
    assert len(wishes(BuyAndHold("AAPL"), ["1", "1"])) == 2  # until it is filled
    assert wishes(BuyAndHold("AAPL"), ["1"], held="1") == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: MaCross(fast=5, slow=5),
        lambda: Donchian(enter=2, leave=3),
        lambda: MeanReversion(window=1),
        lambda: Rebalance("AAPL=0.2"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"fast|leave|window|weight"):
        make()  # type: ignore[operator]


def test_shorter_bars_of_the_past_are_a_part_of_those_that_are_wanted() -> None:
    class Twos(Strategy):
        instruments, bars = (AAPL,), "2m"

        def on_bar(self, ctx: Context, bar: Bar) -> Wish:
            return ctx.hold(AAPL, 0.1, f"{bar.open} to {bar.close}")

    host = Host(Twos())
    for place in range(3):
        host.warm(bar(place, str(100 + place), MINUTE_NS))

    assert [(known.open, known.close) for known in host.ctx.bars(AAPL)] == [(D(100), D(101))]
    assert [wish.text for wish in host.take(bar(3, "103", MINUTE_NS))] == ["102 to 103"]
