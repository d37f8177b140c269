"""I11: what asked for a stop has one resting at the venue within two seconds of the desk's knowing of the fill, or somebody was told."""

from collections.abc import Callable
from decimal import Decimal

from tests.simulation.oracle import Oracle, Truth
from trading_system.app.desk import Desk
from trading_system.core.blotter import Key
from trading_system.core.lifecycle import Applied
from trading_system.domain.fix import OrdStatus
from trading_system.domain.ids import is_ours
from trading_system.domain.money import ZERO
from trading_system.domain.order import Order
from trading_system.journal.record import Alert, Record
from trading_system.sim.clock import SECOND_NS, VirtualClock

WITHIN_NS = 4 * SECOND_NS  # two seconds, the auditor's pace, the way to the venue and back
LOOK_NS = SECOND_NS // 2
FEE = Decimal("0.003")  # of what was bought: units that may be gone as a fee


class Guards:
    """Looks at the venue's own stops, twice a second."""

    def __init__(self, oracle: Oracle, truth: Truth, clock: VirtualClock) -> None:
        self._oracle = oracle
        self._truth = truth
        self._clock = clock
        self._bare_ns: dict[Key, int] = {}
        self._told: set[str] = set()  # in this life
        self.desk: Desk | None = None
        self._alive: Callable[[], bool] = bool
        self.stops = 0  # how many rested at most: a run in which none ever does proves nothing

    def meet(self, desk: Desk, alive: Callable[[], bool]) -> None:
        self.desk, self._alive, self._bare_ns, self._told = desk, alive, {}, set()
        desk.listeners.append(lambda record, applied: self._hear(record, applied) if alive() else None)

    def _hear(self, record: Record, _: Applied | None) -> None:
        if isinstance(record, Alert) and "has no stop" in record.text:
            self._told |= {word.rstrip(":") for word in record.text.split() if is_ours(word.rstrip(":"))}

    async def watch(self) -> None:
        while True:
            self.look()
            await self._clock.sleep_ns(LOOK_NS)

    def look(self) -> None:
        """One look: what is short for longer than it may be."""
        for key, short in self.short().items():
            since_ns = self._bare_ns.setdefault(key, self._clock.monotonic_ns())
            if short and self._clock.monotonic_ns() - since_ns > WITHIN_NS and not self._said(key):
                self._oracle.hold(f"I11 {short} {key[1]} at {key[0]} have no stop, and nobody was told")
            if not short:
                del self._bare_ns[key]

    def short(self) -> dict[Key, Decimal]:
        """By instrument: units that should be guarded and are not."""
        desk = self.desk
        if desk is None or not self._alive() or not all(desk.ready.values()):
            self._bare_ns.clear()  # dead, or still finding out what it has
            return {}
        for key in [key for key in self._bare_ns if key[0] in desk.flattening]:
            del self._bare_ns[key]  # it all goes; what is left afterwards is naked from then on
        return {key: self._short(desk, key) for key in desk.books.protected if key[0] not in desk.flattening}

    def _short(self, desk: Desk, key: Key) -> Decimal:
        broker, name = key
        blotter, needed, resting = desk.books.blotter, ZERO, ZERO
        for entry in self._entries(desk, key):
            stops = [blotter.get(stop) for stop in desk.books.stops.get(entry.cl_ord_id, ())]
            needed += entry.cum_qty - sum((stop.cum_qty for stop in stops if stop is not None), ZERO)
            true = [self._truth.order(broker, stop) for stop in desk.books.stops.get(entry.cl_ord_id, ())]
            live = [stop for stop in true if stop is not None and not stop.status.terminal and stop.status is not OrdStatus.SUSPENDED]
            resting += sum((stop.leaves for stop in live), ZERO)
            self.stops += bool(resting)
        working = [order for order in blotter.working_on(*key) if order.side.sign < 0]
        others = [order for order in working if order.protects is None and order.parent not in desk.books.protected[key]]
        exits = sum((min(order.leaves_qty, order.reserve_qty) for order in others), ZERO)  # of two that end one another, one counts
        held = min(self._truth.position(broker, name), desk.books.ledger.position(broker, name)) - exits
        short = min(held, needed) - resting
        return short if short > needed * FEE else ZERO

    def _entries(self, desk: Desk, key: Key) -> list[Order]:
        """What asked for a stop, and what one of them was changed into."""
        asked = dict.fromkeys(desk.books.protected[key])
        for order in desk.books.blotter:  # the oldest first
            if order.orig_cl_ord_id in asked:
                asked[order.cl_ord_id] = None
        found = (desk.books.blotter.get(entry) for entry in asked)
        return [entry for entry in found if entry is not None and entry.cum_qty]

    def _said(self, key: Key) -> bool:
        assert self.desk is not None
        return any(entry.cl_ord_id in self._told for entry in self._entries(self.desk, key))
