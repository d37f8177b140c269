"""Strategies at work: on the twin by virtual time, the same trades as over the past, and what becomes of one that raises, hangs or dies."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tests.desks import BROKER, BTC, Bench, on_bench, settled, wish
from trading_system.app.child import Child, Said, StrategyFailed, Told, Wants, told
from trading_system.app.desk import Desk
from trading_system.app.runner import FAILURES_MAX, Runner, positions_of
from trading_system.brokers import registry
from trading_system.core.risk import Limits
from trading_system.domain.errors import BadRequest
from trading_system.domain.fix import Side
from trading_system.domain.market import Bar
from trading_system.domain.signal import Signal, Wish
from trading_system.journal.record import Decided
from trading_system.research.backtest import Setup, run
from trading_system.research.data import instrument_of
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.history import Costs
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
            held = await positions_of(desk, "buys")

            found = runner.divergence()
            assert (found.orders, found.filled, found.fill_ratio) == (1, 1, 1.0)
            assert found.slippage is not None
            assert abs(found.slippage) < 0.01
            assert found.latency_s is not None
            assert found.latency_s > 0
            assert len(strategy.fills) >= 1
            assert 0 < held[BTC] < desk.books.ledger.position(BROKER, BTC)
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
    class Watches(Buys):
        quotes = True

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            monkeypatch.setattr(desk.hub, "read", None)  # the feed's task ends at once
            runner = Runner(desk, BROKER, Inline(Watches()))
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
