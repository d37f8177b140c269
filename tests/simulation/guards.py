"""I11: what asked for a stop has one resting at the venue within two seconds of the desk's knowing of the fill, or somebody was told; and no stop
rests for more than its entry has left."""

from collections.abc import Callable
from decimal import Decimal

from tests.simulation.oracle import Oracle, Truth
from trading_system.app.desk import Desk
from trading_system.core.blotter import Key
from trading_system.core.lifecycle import Applied
from trading_system.domain.fix import OrdStatus
from trading_system.domain.ids import ClOrdID, is_ours
from trading_system.domain.money import ZERO
from trading_system.domain.order import Order
from trading_system.journal.record import Adjusted, Alert, Intent, Record, Reported
from trading_system.journal.replay import Books
from trading_system.sim.clock import SECOND_NS, VirtualClock

Lots = dict[ClOrdID, Decimal]  # by the order that opened them: signed units, the oldest first
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
        self._over_ns: dict[ClOrdID, int] = {}
        self._lots: dict[Key, Lots] = {}
        self._asked: set[ClOrdID] = set()  # what wants a stop, and what that was changed into
        self._unsure: set[Key] = set()  # a trade was busted, or an exit of the broker's known as one late: whose units went is not this one's to say
        self._told: set[str] = set()  # in this life
        self.desk: Desk | None = None
        self._alive: Callable[[], bool] = bool
        self.stops = 0  # how many rested at most: a run in which none ever does proves nothing

    def meet(self, desk: Desk, alive: Callable[[], bool]) -> None:
        self.desk, self._alive, self._bare_ns, self._over_ns, self._told = desk, alive, {}, {}, set()
        books, self._lots, self._asked, self._unsure = Books(), {}, set(), set()
        for entry in desk.journal.read():
            self._count(entry.record, books.fold(entry.record))
        desk.listeners.append(lambda record, applied: self._hear(record, applied) if alive() else None)

    def _hear(self, record: Record, applied: Applied | None) -> None:
        self._count(record, applied)
        if isinstance(record, Alert) and "has no stop" in record.text:
            self._told |= {word.rstrip(":") for word in record.text.split() if is_ours(word.rstrip(":"))}

    def _count(self, record: Record, applied: Applied | None) -> None:
        """Units are lots of the order that opened them. A stop takes from its entry's, others from what wants no stop, then from the oldest."""
        match record:
            case Intent(approved=approved):
                attached = approved.request.attached
                wants = approved.request.protect_stop_px or (attached is not None and not approved.request.reduce_only and attached.stop_px)
                if wants or approved.orig_cl_ord_id in self._asked:
                    self._asked.add(approved.cl_ord_id)
            case Adjusted(broker=broker, instrument=instrument, qty=qty):
                self._move((broker, instrument), ClOrdID(""), qty, None)
            case Reported(report=report) if applied is not None:
                order, key = applied.order, (applied.order.broker, applied.order.instrument)
                if any(booking.reversal for booking in applied.bookings) or (report.parent and len(order.fills) > len(applied.bookings)):
                    self._unsure.add(key)
                for booking in applied.bookings:
                    fill = booking.fill
                    units = order.side.sign * fill.qty - (fill.fee if fill.fee_currency == order.instrument else ZERO)
                    self._move(key, order.cl_ord_id, -units if booking.reversal else units, order.protects)

    def _move(self, key: Key, name: ClOrdID, units: Decimal, own: ClOrdID | None) -> None:
        lots = self._lots.setdefault(key, {})
        for lot in sorted(lots, key=lambda lot: (lot != own, lot in self._asked)):  # the oldest first, where that says nothing
            if lots[lot] * units < 0:
                gone = min(abs(lots[lot]), abs(units)).copy_sign(units)
                lots[lot], units = lots[lot] + gone, units - gone
        self._lots[key] = {lot: qty for lot, qty in lots.items() if qty}
        if units:
            self._lots[key][name] = self._lots[key].get(name, ZERO) + units

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
        over = self.over()
        self._over_ns = {name: self._over_ns.get(name, self._clock.monotonic_ns()) for name in over}
        for name, since_ns in self._over_ns.items():
            if self._clock.monotonic_ns() - since_ns > WITHIN_NS:
                self._oracle.hold(f"I11 a stop guards {over[name]} more than {name} has left")

    def over(self) -> dict[ClOrdID, Decimal]:
        """By entry: what our stops that rest guard beyond what it has left, and nobody has asked to go."""
        desk = self.desk
        if desk is None or not self._alive() or not all(desk.ready.values()):
            return {}
        found = {}
        for key in [key for key in desk.books.protected if key[0] not in desk.flattening and key not in self._unsure]:
            for entry in desk.books.protected[key]:
                known = [desk.books.blotter.get(name) for name in desk.books.stops.get(entry, ())]
                ours = [stop.cl_ord_id for stop in known if stop is not None and stop.parent is None and stop.cl_ord_id not in desk.books.cancels]
                true = [row for row in (self._truth.order(key[0], name) for name in ours) if row is not None and not row.status.terminal]
                over = sum((row.leaves for row in true), ZERO) - abs(self._lots.get(key, {}).get(entry, ZERO))
                order = desk.books.blotter.get(entry)
                if order is not None and over > order.cum_qty * FEE:
                    found[entry] = over
        return found

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
        blotter, needed, resting, dust = desk.books.blotter, ZERO, ZERO, ZERO
        for entry in self._entries(desk, key):
            stops = [blotter.get(stop) for stop in desk.books.stops.get(entry.cl_ord_id, ())]
            filled = entry.cum_qty - sum((stop.cum_qty for stop in stops if stop is not None), ZERO)
            dust += filled * FEE
            left = desk.books.protected[key] if key in self._unsure else self._lots.get(key, {})
            needed += min(filled, abs(left.get(entry.cl_ord_id, ZERO)))
            true = [self._truth.order(broker, stop) for stop in desk.books.stops.get(entry.cl_ord_id, ())]
            live = [stop for stop in true if stop is not None and not stop.status.terminal and stop.status is not OrdStatus.SUSPENDED]
            resting += sum((stop.leaves for stop in live), ZERO)
            self.stops += bool(resting)
        working = [order for order in blotter.working_on(*key) if order.side.sign < 0]
        others = [order for order in working if order.protects is None and order.parent not in desk.books.protected[key]]
        exits = sum((min(order.leaves_qty, order.reserve_qty) for order in others), ZERO)  # of two that end one another, one counts
        held = min(self._truth.position(broker, name), desk.books.ledger.position(broker, name)) - exits
        short = min(held, needed) - resting
        return short if short > dust else ZERO

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
