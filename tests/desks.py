"""A production desk on a broker's twin (Alpaca's, where none is named) over the virtual network, for tests that want one without faults."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from tests.subjects import ALPACA, Subject
from trading_system.app.desk import Desk
from trading_system.app.hub import Hub
from trading_system.app.recover import Recovery
from trading_system.core.risk import Limits
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID, IntentID
from trading_system.domain.order import NewOrder, Order
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS, START_NS, VirtualClock, run_virtual
from trading_system.sim.network import Faults, SimNetwork
from trading_system.sim.wire import Wire
from trading_system.sizing.sizer import Aims

BROKER = ALPACA.broker
AAPL, BTC = InstrumentID("AAPL"), InstrumentID("BTC/USD")
_T = TypeVar("_T")


class SteppedClock:
    """A desk's clock whose time of day jumps; waiting does not notice."""

    def __init__(self, clock: VirtualClock, offset_ns: int) -> None:
        self._clock = clock
        self.offset_ns = offset_ns

    def now_ns(self) -> int:
        return self._clock.now_ns() + self.offset_ns

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    async def sleep_ns(self, duration_ns: int) -> None:
        await self._clock.sleep_ns(duration_ns)


class Bench:
    """Twin, network and folder; desks come and go on it."""

    def __init__(
        self, clock: VirtualClock, folder: Path, *, subject: Subject = ALPACA, between: Callable[[Wire], Wire] = lambda wire: wire, **twin: Any
    ) -> None:
        """between: what stands between the network and the twin."""
        self.clock = clock
        self.folder = folder
        self.subject = subject
        self.twin = subject.make(**twin)
        self._others = count(2)
        self._nonces = count(1)  # one source for all desks and connectors: they share a key
        self.carriers: set[asyncio.Task[None]] = set()  # what a killed desk does not take along
        self.network = SimNetwork({"twin": between(self.twin)}, clock, random.Random(5), Faults(enabled=False))

    def beside(self, environment: str = "paper", credentials: Mapping[str, Secret] | None = None) -> Any:
        """A connector that stands beside others: a broker that tells its clients apart sees another one."""
        return self.connector(environment, credentials, self.subject.beside(next(self._others)))

    def connector(self, environment: str = "paper", credentials: Mapping[str, Secret] | None = None, options: Mapping[str, str] | None = None) -> Any:
        nonces = {"nonces": lambda: next(self._nonces)} if self.subject.facts.needs_nonces else {}
        return self.subject.connect(
            http=self.network.http(),
            dialer=self.network.dialer(),
            clock=self.clock,
            rng=random.Random(1),
            credentials=credentials or self.subject.credentials(self.twin),
            environment=environment,
            options={"url": "http://twin", **self.subject.options, **(options or {})},
            **nonces,
        )

    def build(
        self,
        limits: Limits | None = None,
        *,
        environment: str = "paper",
        dry_run: bool = False,
        dead_man: bool = False,
        feeds: bool = True,
        aims: Aims = Aims(),  # noqa: B008 frozen
    ) -> tuple[Desk, Recovery]:
        """A desk that has not come up yet. dead_man: the broker's own switch is used."""
        journal = Journal(self.folder / "journal.sqlite")
        connector = self.connector(environment)
        desk = Desk(
            books=replay(entry.record for entry in journal.read()),
            journal=journal,
            brokers={self.subject.broker: connector},
            hub=Hub({self.subject.broker: connector}),
            limits=limits or Limits(),
            clock=self.clock,
            environment=environment,
            aims=aims,
            dry_run=dry_run,
        )
        wanted = frozenset(desk.brokers) if dead_man else frozenset()
        return desk, Recovery(desk, version="test", config_hash="test", dead_man=wanted, feeds=feeds)

    @asynccontextmanager
    async def desk(self, limits: Limits | None = None, **how: Any) -> AsyncIterator[Desk]:
        """A desk that has come up, until the block ends in good order. how: as build."""
        desk, recovery = self.build(limits, **how)
        async with self.running(desk, recovery):
            yield desk

    @asynccontextmanager
    async def running(self, desk: Desk, recovery: Recovery) -> AsyncIterator[None]:
        """One that was built comes up, until the block ends in good order."""
        journal = desk.journal
        try:
            await recovery.start()
            await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)
            yield
        finally:
            await desk.drain()
            await recovery.aclose()
            await desk.hub.aclose()
            for broker in desk.brokers.values():
                await broker.aclose()
            if journal._failed is None and not journal._closed:
                await journal.aclose()

    async def kill(self, desk: Desk) -> None:
        """The process is gone: nothing of it runs any more, and its streams end without a goodbye."""
        desk.journal.abandon()
        self.network.drop_all()
        spared = {asyncio.current_task(), *self.carriers, *self.network._background}
        doomed = [task for task in asyncio.all_tasks() if task not in spared]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)


def on_bench(tmp_path: Path, story: Callable[[Bench], Awaitable[_T]], **twin: Any) -> _T:
    """Run a story on virtual time, with the network carrying frames meanwhile."""

    async def main(clock: VirtualClock) -> _T:
        bench = Bench(clock, tmp_path, **twin)
        carrier = asyncio.create_task(bench.network.run())
        bench.carriers.add(carrier)
        try:
            return await story(bench)
        finally:
            carrier.cancel()

    return run_virtual(main, start_ns=twin.get("start_ns", START_NS))


def wish(intent: str, qty: str, side: Side = Side.BUY, instrument: InstrumentID = AAPL, price: Decimal | None = None, **changes: Any) -> NewOrder:
    fields = {
        "broker": BROKER,
        "instrument": instrument,
        "side": side,
        "ord_type": OrdType.MARKET if price is None else OrdType.LIMIT,
        "time_in_force": TimeInForce.GTC if "/" in instrument else TimeInForce.DAY,
        "order_qty": Decimal(qty),
        "price": price,
        "intent": IntentID(intent),
    }
    return NewOrder(**(fields | changes))


async def settled(desk: Desk, order: Order) -> Order:
    """The order when nothing moves any more."""
    assert await desk.wait(lambda: desk.books.blotter.get(order.cl_ord_id).settled, 60 * SECOND_NS)  # type: ignore[union-attr]
    done = desk.books.blotter.get(order.cl_ord_id)
    assert done is not None
    return done


async def mid(desk: Desk, instrument: InstrumentID = AAPL) -> Decimal:
    await desk.instrument(BROKER, instrument)
    quote = await desk.hub.fetch(BROKER, instrument)
    assert quote.mid is not None
    return quote.mid.quantize(Decimal("0.01"))
