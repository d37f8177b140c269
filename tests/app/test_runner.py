"""Strategies at work: on the twin by virtual time, the same trades as over the past, and what becomes of one that raises, hangs or dies."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.desks import AAPL, BROKER, BTC, Bench, on_bench, settled, wish
from trading_system.app.child import Child, Said, StrategyFailed, Told, Wants, told
from trading_system.app.desk import Desk
from trading_system.app.runner import FAILURES_MAX, GRACE_NS, MISSES_MAX, Runner, positions_of
from trading_system.brokers import registry
from trading_system.core.risk import Limits
from trading_system.domain.errors import BadRequest, Unavailable
from trading_system.domain.fix import Side
from trading_system.domain.ids import BrokerName
from trading_system.domain.market import Bar, Quote
from trading_system.domain.signal import DAY_NS, Signal, Wish
from trading_system.domain.times import parse_rfc3339, rfc3339
from trading_system.journal.record import Alert, Decided
from trading_system.research.backtest import Setup, run
from trading_system.research.data import instrument_of
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.history import Costs
from trading_system.strategy.bars import parse_period
from trading_system.strategy.base import Belief, Context, Filled, Host, Started, Strategy, Ticked
from trading_system.strategy.ma_cross import MaCross

D = Decimal
MINUTE_NS = 60 * SECOND_NS


class Inline:
    """A strategy beside us: what a child process is, without the process."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self.host = Host(strategy, BROKER)
        self.alive = True

    async def start(self) -> Wants:
        strategy = self._strategy
        names = [str(name) for name in strategy.instruments]
        return Wants(strategy.name, names, strategy.bars, strategy.quotes, strategy.trades, strategy.timer_s, strategy.history)

    async def ask(self, event: Told) -> list[Wish]:
        happened = event.bar or event.quote or event.trade or event.other
        if event.warm and event.bar is not None:
            self.host.warm(event.bar)
            return []
        return self.host.passed(event.passed_ns) if happened is None else self.host.take(happened)

    async def aclose(self) -> None:
        self.alive = False


async def at_work(desk: Desk, strategy: Strategy, seconds: int) -> Runner:
    runner = Runner(desk, BROKER, Inline(strategy))
    await runner.start()
    end_ns = desk.clock.now_ns() + seconds * SECOND_NS
    await runner.run(lambda: desk.clock.now_ns() >= end_ns)
    await runner.stop()
    return runner


def fast() -> MaCross:
    return MaCross(str(BTC), fast=2, slow=5, stop=0.02, bars="1m")


def test_the_same_strategy_trades_the_same_on_the_twin_as_over_its_past(tmp_path: Path) -> None:
    """An hour of the twin by virtual time; then its own bars, as history, through the backtest."""
    minutes = 60

    async def story(bench: Bench) -> tuple[list[tuple[int, Side]], tuple[Bar, ...], int]:
        async with bench.desk() as desk:
            start_ns = desk.clock.now_ns()
            await at_work(desk, fast(), minutes * 60)
            decided = [found for found in desk.books.decisions.values() if found.taken]
            orders = [desk.books.blotter.get(found.cl_ord_id) for found in decided if found.cl_ord_id is not None]
            bars = await desk.brokers[BROKER].bars(BTC, MINUTE_NS, start_ns - 30 * MINUTE_NS, desk.clock.now_ns())
            whole = tuple(bar for bar in bars if bar.open_ns + MINUTE_NS <= desk.clock.now_ns())
            return [(found.now_ns // MINUTE_NS, order.side) for found, order in zip(decided, orders, strict=True) if order], whole, start_ns

    live, bars, start_ns = on_bench(tmp_path, story)
    known = instrument_of(BROKER, BTC, D("0.01"))
    setup = Setup(facts=registry.facts(BROKER), instruments=(known,), cash=D(100_000), costs=Costs(participation=D(1)))
    past = run([_Late(fast(), start_ns)], [bars], setup)
    sides = {decided.intent: decided for decided in past.decisions if decided.taken}
    found = [(decided.now_ns // MINUTE_NS, Side.BUY if isinstance(decided.wish, Signal) else Side.SELL) for decided in sides.values()]

    assert len(live) >= 4
    assert found == live


class _Late(Strategy):
    """Another strategy that has seen what came before a moment, and acts from then on: as live, where the past is only known."""

    def __init__(self, inner: MaCross, since_ns: int) -> None:
        self.instruments, self.bars = inner.instruments, inner.bars
        self._inner, self._since_ns = inner, since_ns

    def on_bar(self, ctx: Context, bar: Bar) -> Iterator[Wish]:
        if ctx.now_ns > self._since_ns:
            yield from self._inner.on_bar(ctx, bar)


class Buys(Strategy):
    """Buys a little once, on its timer; knows its fills."""

    instruments, timer_s = (str(BTC),), 1

    def __init__(self) -> None:
        self.fills: list[Filled] = []
        self.held_at_start: dict[str, Decimal] = {}

    def on_start(self, ctx: Context) -> None:
        self.held_at_start = {str(BTC): ctx.position(BTC)}

    def on_timer(self, ctx: Context) -> Iterator[Wish]:
        if not ctx.position(BTC) and not self.fills:
            yield ctx.hold(BTC, 0.01)

    def on_fill(self, ctx: Context, fill: Filled) -> None:
        self.fills.append(fill)

    def on_stop(self, ctx: Context) -> Wish | None:
        return None


def test_what_a_strategy_holds_is_known_after_a_restart_and_is_not_what_others_hold(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(Limits(max_concurrent_positions=5)) as desk:
            await settled(desk, await desk.submit(wish("by-hand", "0.001", instrument=BTC)))
            strategy = Buys()
            runner = await at_work(desk, strategy, 8)
            held = await positions_of(desk, "buys", BROKER)

            found = runner.divergence()
            assert (found.orders, found.filled, found.fill_ratio) == (1, 1, 1.0)
            assert found.slippage is not None
            assert abs(found.slippage) < 0.01
            assert found.latency_s is not None
            assert found.latency_s > 0
            assert len(strategy.fills) >= 1
            assert 0 < held[BTC] < desk.books.ledger.position(BROKER, BTC)
            assert await positions_of(desk, "buys", BrokerName("tradier")) == {}
        async with bench.desk(Limits(max_concurrent_positions=5)) as again:
            later = Buys()
            runner = await at_work(again, later, 2)

            assert later.held_at_start == {str(BTC): held[BTC]}
            assert later.fills == []
            assert runner.failures == 0

    on_bench(tmp_path, story)


def test_what_cannot_be_decided_is_a_decision_too(tmp_path: Path) -> None:
    class Lost(Buys):
        def on_timer(self, ctx: Context) -> Iterator[Wish]:
            yield ctx.hold("NOPE", 0.1)

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            told_of: list[Decided] = []
            runner = Runner(desk, BROKER, Inline(Lost()), on_decision=told_of.append)
            await runner.start()
            end_ns = desk.clock.now_ns() + 3 * SECOND_NS
            await runner.run(lambda: desk.clock.now_ns() >= end_ns)

            assert {(decided.taken, decided.rule) for decided in told_of} == {(False, "BadRequest")}
            with pytest.raises(BadRequest, match="NOPE"):
                await Runner(desk, BROKER, Inline(_named("NOPE"))).start()

    on_bench(tmp_path, story)


def _named(name: str) -> Strategy:
    strategy = Buys()
    strategy.instruments = (name,)
    return strategy


# bars

OPEN_NS = parse_rfc3339("2026-10-07T13:30:00Z")  # a Wednesday in New York


class Days(Strategy):
    """Knows when it was told of which day, and holds a little from then on."""

    instruments, bars, history = (str(AAPL),), "1d", 3

    def __init__(self) -> None:
        self.told: list[tuple[int, str]] = []
        self.known: list[str] = []

    def on_start(self, ctx: Context) -> None:
        self.known = [_day(bar) for bar in ctx.bars(AAPL, 3)]

    def on_bar(self, ctx: Context, bar: Bar) -> Iterator[Wish]:
        self.told.append((bar.period_ns, _day(bar)))
        yield ctx.hold(AAPL, 0.2)


def _day(bar: Bar) -> str:
    return rfc3339(bar.open_ns)[:10]


@pytest.mark.parametrize("late_ns", [-5 * MINUTE_NS, 90 * MINUTE_NS])
def test_a_stock_s_day_is_told_once_in_the_next_session_where_it_can_be_acted_on(tmp_path: Path, late_ns: int) -> None:
    """Before the open it waits for it; in the middle of the session it is told at once; begun anew it knows it and does not act twice."""

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            strategy, started_ns = Days(), desk.clock.now_ns()
            await at_work(desk, strategy, 8 * 60)
            (decided,) = desk.books.decisions.values()

            assert strategy.known == ["2026-10-01", "2026-10-02", "2026-10-05"]
            assert strategy.told == [(DAY_NS, "2026-10-06")]
            assert decided.taken
            assert max(OPEN_NS + GRACE_NS, started_ns) <= decided.now_ns < max(OPEN_NS, started_ns) + MINUTE_NS + 2 * GRACE_NS
            assert desk.books.ledger.position(BROKER, AAPL) > 0
            again = Days()
            await at_work(desk, again, 2 * 60)

            assert (again.known[-1], again.told) == ("2026-10-06", [])

    on_bench(tmp_path, story, start_ns=OPEN_NS + late_ns, hours="us")


def test_after_the_close_the_day_waits_for_the_next_open(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            strategy = Days()
            await at_work(desk, strategy, 5 * 60)

            assert (strategy.known[-1], strategy.told) == ("2026-10-06", [])

    on_bench(tmp_path, story, start_ns=OPEN_NS + 7 * 60 * MINUTE_NS, hours="us")


def test_an_exit_that_is_refused_is_said_once(tmp_path: Path) -> None:
    class Late(Buys):
        instruments = (str(AAPL),)

        def on_timer(self, ctx: Context) -> Iterator[Wish]:
            yield ctx.hold(AAPL, 0.1) if not ctx.position(AAPL) else ctx.leave(AAPL)

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await desk.instrument(BROKER, AAPL)
            await settled(desk, await desk.submit(wish("late/by-hand", "2")))
            await desk.clock.sleep_ns(MINUTE_NS)
            await at_work(desk, Late(), 10)
            said = [alert for alert in desk.books.alerts.values() if "wished to leave AAPL" in alert.text]

            assert [(alert.severity, "AAPL is closed" in alert.text) for alert in said] == [("warning", True)]

    on_bench(tmp_path, story, start_ns=OPEN_NS + (6 * 60 + 29) * MINUTE_NS + 30 * SECOND_NS, hours="us")


class Counts(Strategy):
    """Knows its bars."""

    instruments, history = (str(BTC),), 3

    def __init__(self, bars: str) -> None:
        self.bars = bars
        self.known: list[Bar] = []
        self.told: list[Bar] = []

    def on_start(self, ctx: Context) -> None:
        self.known = list(ctx.bars(BTC))

    def on_bar(self, ctx: Context, bar: Bar) -> None:
        self.told.append(bar)


@pytest.mark.parametrize(("bars", "count"), [("1m", 20), ("2m", 10), ("10m", 2)])
def test_bars_that_the_broker_has_not_are_made_of_its_shorter_ones(tmp_path: Path, bars: str, count: int) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            strategy = Counts(bars)
            await at_work(desk, strategy, 20 * 60 + 5)
            period_ns = parse_period(bars)
            opened = [bar.open_ns for bar in (*strategy.known, *strategy.told)]

            assert {bar.period_ns for bar in (*strategy.known, *strategy.told)} == {period_ns}
            assert len(strategy.known) >= 3
            assert abs(len(strategy.told) - count) <= 1
            assert opened == [opened[0] + place * period_ns for place in range(len(opened))]

    on_bench(tmp_path, story)


def test_bars_that_cannot_be_made_are_refused_at_the_start(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            with pytest.raises(
                BadRequest, match=r"counts wants bars of 90s, and alpaca has none that they could be made of: Alpaca has bars of 1Min"
            ):
                await Runner(desk, BROKER, Inline(Counts("90s"))).start()

    on_bench(tmp_path, story)


def test_bars_that_do_not_come_are_told_a_person_once_and_that_they_are_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            strategy, asked, bars = Counts("1m"), 0, desk.routing.bars

            async def lost(*args: Any) -> tuple[Bar, ...]:
                nonlocal asked
                asked += 1
                if 3 <= asked < 3 + MISSES_MAX + 2:  # not at the start
                    raise Unavailable("its line is cut")
                return await bars(*args)

            said: list[tuple[str, str]] = []
            desk.listeners.append(lambda record, _: said.append((record.severity, record.text)) if isinstance(record, Alert) else None)
            monkeypatch.setattr(desk.routing, "bars", lost)
            await at_work(desk, strategy, 8 * 60)

            assert [severity for severity, _ in said] == ["warning", "info"]
            assert said[0][1].endswith("its line is cut")
            assert len(strategy.told) == 8

    on_bench(tmp_path, story)


# more than it can take


class Slow(Inline):
    """Thinks for a while over each quote."""

    async def ask(self, event: Told) -> list[Wish]:
        if event.quote is not None:
            await asyncio.sleep(2)
        return await super().ask(event)


class Watches(Buys):
    """Enters once at a quote."""

    quotes, timer_s = True, 0

    def __init__(self) -> None:
        super().__init__()
        self.late_ns = 0

    def on_quote(self, ctx: Context, quote: Quote) -> Iterator[Wish]:
        self.late_ns = max(self.late_ns, ctx.now_ns - quote.transact_ns)
        if not ctx.position(BTC):
            yield ctx.enter(str(BTC), Side.BUY, stop=0.02, edge=Belief(0.002, 0.05).edge(Side.BUY))


def test_one_that_is_slow_knows_its_fills_first_and_ends_in_time(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(Limits(crypto_max_position_pct=D("0.9"))) as desk:
            strategy = Watches()
            runner = Runner(desk, BROKER, Slow(strategy))
            await runner.start()
            end_ns = desk.clock.now_ns() + 60 * SECOND_NS
            await runner.run(lambda: desk.clock.now_ns() >= end_ns)

            assert desk.clock.now_ns() < end_ns + 5 * SECOND_NS
            assert [decided.taken for decided in desk.books.decisions.values()].count(True) == 1
            assert len(strategy.fills) >= 1
            assert runner._queue.qsize() <= 1

    on_bench(tmp_path, story)


def test_one_that_cannot_be_told_what_became_of_its_orders_is_disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_system.app.runner.PRIVATE_MAX", 1)

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            runner = Runner(desk, BROKER, Inline(Buys()))
            await runner.start()
            for number in range(2):
                runner._soon(told(Ticked(now_ns=number)))
            await runner.run()

            assert runner.disabled
            assert [alert.severity for alert in desk.books.alerts.values() if "no longer knows what it holds" in alert.text] == ["critical"]
            assert desk.books.decisions == {}

    on_bench(tmp_path, story)


def test_two_of_one_name_are_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    class Last(Buys):
        name = "buys"  # as a file may say it

        def on_stop(self, ctx: Context) -> Wish:
            return ctx.hold(BTC, 0.02)

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            first, second = Runner(desk, BROKER, Inline(Buys())), Runner(desk, BROKER, Inline(Last()))
            await first.start()
            with pytest.raises(BadRequest, match=r"two strategies are called buys.* rename the class of one"):
                await second.start()
            await second.stop()
            end_ns = desk.clock.now_ns() + 5 * SECOND_NS
            await first.run(lambda: desk.clock.now_ns() >= end_ns)
            await first.stop()

            assert [decided.taken for decided in desk.books.decisions.values()] == [True]

    on_bench(tmp_path, story)


# in a process of its own

RAISES = """
from trading_system.strategy.base import Strategy
class Raises(Strategy):
    instruments, timer_s = ("BTC/USD",), 1
    def on_timer(self, ctx):
        raise RuntimeError("broken inside")
"""
HANGS = """
import time
from trading_system.strategy.base import Strategy
class Hangs(Strategy):
    instruments, timer_s = ("BTC/USD",), 1
    def on_timer(self, ctx):
        time.sleep(60)
"""
DIES = """
import os
from trading_system.strategy.base import Strategy
class Dies(Strategy):
    instruments, timer_s = ("BTC/USD",), 1
    def on_timer(self, ctx):
        print("these are the last words")
        os._exit(3)
"""
FINE = """
import os
from trading_system.strategy.base import Strategy
class Fine(Strategy):
    instruments, timer_s = ("BTC/USD",), 1
    def on_timer(self, ctx):
        print("on stdout, which is not the protocol's")
        assert not any(name.endswith("_SECRET") for name in os.environ)
        yield ctx.hold("BTC/USD", 0.01)
"""


NO_NUMBER = """
from trading_system.strategy.base import Strategy
class NoNumber(Strategy):
    instruments, timer_s = ("BTC/USD",), 1
    def on_timer(self, ctx):
        yield ctx.hold("BTC/USD", float("nan"))
"""


@pytest.mark.parametrize(
    ("text", "why"),
    [(RAISES, "broken inside"), (HANGS, "it hangs"), (DIES, "its process ended"), (NO_NUMBER, "the weight of a wish is NaN, which is no number")],
)
def test_one_that_raises_hangs_or_dies_is_disabled_after_three_and_told(tmp_path: Path, text: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_system.app.child.ANSWER_WITHIN_S", 1.0)
    path = tmp_path / "strategy.py"
    path.write_text(text)

    async def story() -> None:
        child = Child(str(path), {}, BROKER)
        wants = await child.start()
        failures = []
        for _ in range(FAILURES_MAX):
            if not child.alive:
                await child.start()
            await child.ask(told(Started(positions={}, now_ns=1)))
            with pytest.raises(StrategyFailed) as failed:
                await child.ask(told(Ticked(now_ns=2)))
            failures.append(str(failed.value))
        await child.aclose()

        assert wants.timer_s == 1
        assert all(why in failure for failure in failures), failures

    asyncio.run(story())


class Failing(Inline):
    """Raises each time it is asked about its timer."""

    async def ask(self, event: Told) -> list[Wish]:
        if isinstance(event.other, Ticked):
            raise StrategyFailed("broken inside")
        return await super().ask(event)


def test_a_runner_disables_after_three_failures_and_the_others_go_on(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            bad, good = Runner(desk, BROKER, Failing(Buys())), Runner(desk, BROKER, Inline(_Other()))
            for runner in (bad, good):
                await runner.start()
            end_ns = desk.clock.now_ns() + 8 * SECOND_NS
            await asyncio.gather(*(runner.run(lambda: desk.clock.now_ns() >= end_ns) for runner in (bad, good)))

            assert (bad.disabled, bad.failures, good.disabled) == (True, FAILURES_MAX, False)
            assert any("is disabled after 3 failures" in alert.text for alert in desk.books.alerts.values())
            assert desk.books.ledger.position(BROKER, BTC) > 0

    on_bench(tmp_path, story)


class Impossible(Inline):
    """Wishes for what cannot even be asked about."""

    async def ask(self, event: Told) -> list[Wish]:
        wishes = await super().ask(event)
        return [msgspec.structs.replace(one, instrument=None) for one in wishes]


def test_a_wish_that_cannot_be_handled_disables_its_own_strategy_and_no_other(tmp_path: Path) -> None:
    class Again(Buys):
        def on_timer(self, ctx: Context) -> Iterator[Wish]:
            yield ctx.hold(str(BTC), 0.1)

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            bad, good = Runner(desk, BROKER, Impossible(Again())), Runner(desk, BROKER, Inline(_Other()))
            for runner in (bad, good):
                await runner.start()
            end_ns = desk.clock.now_ns() + 8 * SECOND_NS
            await asyncio.gather(*(runner.run(lambda: desk.clock.now_ns() >= end_ns) for runner in (bad, good)))

            assert (bad.disabled, good.disabled) == (True, False)
            assert any("could not be handled" in alert.text for alert in desk.books.alerts.values())
            assert desk.books.ledger.position(BROKER, BTC) > 0

    on_bench(tmp_path, story)


def test_one_that_is_told_nothing_any_more_is_disabled_and_a_person_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Listens(Buys):
        quotes = True

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            monkeypatch.setattr(desk.hub, "read", None)  # the feed's task ends at once
            runner = Runner(desk, BROKER, Inline(Listens()))
            await runner.start()
            await runner.run()

            assert runner.disabled
            assert any("what it is told of ended" in alert.text for alert in desk.books.alerts.values())

    on_bench(tmp_path, story)


class _Other(Buys):
    @property
    def name(self) -> str:
        return "other"


def test_a_fine_one_speaks_by_lines_and_sees_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_SECRET", "hidden-from-strategies")
    path = tmp_path / "strategy.py"
    path.write_text(FINE)

    async def story() -> list[Wish]:
        child = Child(str(path), {}, BROKER)
        await child.start()
        await child.ask(told(Started(positions={}, now_ns=1)))
        wishes = await child.ask(told(Ticked(now_ns=2)))
        await child.aclose()
        return wishes

    assert [wish.instrument for wish in asyncio.run(story())] == [BTC]
    with pytest.raises(StrategyFailed, match="it has no parameters"):
        asyncio.run(Child(str(path), {"x": "1"}, BROKER).start())
    assert msgspec.json.decode(msgspec.json.encode(Said(error="x")), type=Said).error == "x"


def test_beliefs_have_the_sign_of_their_side() -> None:
    assert Belief(0.01, 0.05).edge(Side.SELL).mean == D("-0.01")
