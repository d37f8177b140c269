"""The failover layer: venues in memory that trade the same things, and one dies in the middle of an order, is gone for a while, and comes back.

Strategies go on asking there meanwhile: for more, and for the same again. The oracle knows where each of them asked.
"""

import asyncio
import random
from decimal import Decimal

from tests.simulation.core_world import CoreWorld, Options
from tests.simulation.venue import VenueFaults
from trading_system.core.lifecycle import Applied
from trading_system.domain.fix import OrdType, Side
from trading_system.domain.ids import BrokerName, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import NewOrder
from trading_system.journal.record import Record, Routed
from trading_system.sim.clock import SECOND_NS, VirtualClock

LAYER = "failover"
OUTAGE = "outage"
DIES_WITHIN_NS = 150_000_000  # of an order's being asked for: before, while and after it is on its way
GONE = VenueFaults(refused=1.0, lost_answer=1.0)


class FailoverWorld(CoreWorld):
    """A desk whose openings may go over."""

    failover = frozenset({AssetClass.EQUITY, AssetClass.CRYPTO})

    def __init__(self, options: Options, clock: VirtualClock) -> None:
        super().__init__(options, clock)
        self._asking: set[asyncio.Task[None]] = set()

    def build_desk(self) -> None:
        super().build_desk()
        self.desk.listeners.append(self._hear)

    def _hear(self, record: Record, _: Applied | None) -> None:
        if isinstance(record, Routed):
            self.hit["came back" if record.to == record.home else "went over"] += 1

    async def wish(self, rng: random.Random, broker: BrokerName, name: InstrumentID, intent: str, *, big: bool = False) -> NewOrder:
        return self._asked(await super().wish(rng, broker, name, intent, big=big))

    def _asked(self, order: NewOrder) -> NewOrder:
        self.oracle.homes[order.intent] = order.broker
        return order

    async def outage(self, rng: random.Random, place: int) -> None:
        broker, name = rng.choice(tuple(self.venues)), rng.choice(self.names)
        first = self._entry(rng, broker, name, f"w{place}")
        life, desk = self.life, self.desk
        self._asking.add(task := asyncio.create_task(self._guarded(life, lambda: desk.submit(first))))
        task.add_done_callback(self._asking.discard)
        await self.clock.sleep_ns(rng.randrange(1, DIES_WITHIN_NS))
        self._dies(broker, rng.randrange(10, 240) * SECOND_NS)
        asked = [first]
        for letter in "abcd":
            await self.clock.sleep_ns(rng.randrange(1, 40) * SECOND_NS)
            async with self.restarting:
                pass
            more = self._entry(rng, broker, rng.choice((name, name, rng.choice(self.names))), f"w{place}{letter}")
            await self._ask(rng, more, *rng.choices(asked, k=rng.randrange(2)))
            asked.append(more)
        if rng.random() < 0.5:
            await self._leave(rng, place)
            await self._ask(rng, self._entry(rng, broker, name, f"w{place}z"), rng.choice(asked), rng.choice(asked))

    async def _ask(self, rng: random.Random, *orders: NewOrder) -> None:
        desk = self.desk
        await self.attempt(rng, *(lambda order=order: desk.submit(order) for order in orders))  # type: ignore[misc]

    async def _leave(self, rng: random.Random, place: int) -> None:
        """Nothing works or is held any more, and everybody is well, often for longer than it takes to go back."""
        await self.cancel_all(rng, place)
        for more in range(4):
            await self.clock.sleep_ns(rng.randrange(1, 60) * SECOND_NS)
            async with self.restarting:
                pass
            await self.close(rng, 100 * (place + 1) + more)  # a place in no plan, so that its intent is its own
        await self.clock.sleep_ns(rng.randrange(30, 200) * SECOND_NS)
        async with self.restarting:
            pass

    def _entry(self, rng: random.Random, broker: BrokerName, name: InstrumentID, intent: str) -> NewOrder:
        """Bought at the market, or at a price near it; at the venue that is asked nobody may be there to tell one."""
        kind, mid = rng.choice((OrdType.MARKET, OrdType.LIMIT)), self.venues[broker].mids[name]
        return self._asked(
            NewOrder(
                broker=broker,
                instrument=name,
                side=Side.BUY,
                ord_type=kind,
                time_in_force=self.time_in_force(None, kind, name),
                order_qty=Decimal(rng.randrange(1, 5)) * (Decimal("0.1") if "/" in name else 1),
                price=(mid * Decimal(rng.choice(("0.998", "1.002")))).quantize(self.grid(name)) if kind is OrdType.LIMIT else None,
                intent=IntentID(intent),
                repeat=True,
            )
        )

    def _dies(self, broker: BrokerName, for_ns: int) -> None:
        venue = self.venues[broker]
        before = venue.faults
        if before is not GONE:
            venue.faults = GONE
            venue.drop_all()
            venue.later(for_ns, self._returns, broker, before)

    def _returns(self, broker: BrokerName, faults: VenueFaults) -> None:
        if self.venues[broker].faults is GONE:
            self.venues[broker].faults = faults
