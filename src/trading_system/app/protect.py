"""The protection auditor: what asked for a stop has one resting at the broker, or a person is told within two seconds, or it is sold."""

import asyncio
from contextlib import suppress
from decimal import Decimal

from msgspec.structs import replace as changed

from trading_system.app.desk import Desk
from trading_system.core.blotter import Key, reservation
from trading_system.core.protection import Guard, audit, form
from trading_system.domain.errors import DeskError
from trading_system.domain.fix import Doubt, OrdStatus, OrdType
from trading_system.domain.ids import ClOrdID, IntentID
from trading_system.domain.instrument import Instrument
from trading_system.domain.money import ZERO, plain
from trading_system.domain.order import NewOrder, Order

SECOND_NS = 1_000_000_000
NAKED_NS = 2 * SECOND_NS  # how long a fill may be without a stop that the broker has confirmed
AUDIT_NS = SECOND_NS // 2
RETRY_MIN_NS, RETRY_MAX_NS = 5 * SECOND_NS, 300 * SECOND_NS  # between attempts to place a stop that was refused


class Protector:
    """Looks after every entry that asked for a stop. Its stops are orders of this desk: through the gate, the journal and one request."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._wake = asyncio.Event()
        self._naked_ns: dict[ClOrdID, int] = {}  # by entry: since when
        self._told: set[ClOrdID] = set()
        self._busy: set[ClOrdID] = set()  # something is being done about them
        self._retry: dict[ClOrdID, tuple[int, int]] = {}  # by entry: not before, and the pause after the next failure

    def on_fill(self, _: Order) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Placing and cancelling take their time at a slow broker: they run beside the looking, so that the two seconds are kept."""
        async with asyncio.TaskGroup() as group:
            while True:
                for key in tuple(self._desk.books.protected):
                    if key[0] in self._desk.brokers and key[0] not in self._desk.flattening:
                        self._look(key, group)
                with suppress(TimeoutError):
                    async with asyncio.timeout(AUDIT_NS / SECOND_NS):
                        await self._wake.wait()
                self._wake.clear()

    async def once(self) -> bool:
        """One look at everything, and what it calls for done: for whoever drives the time. Gives whether there was anything to do."""
        async with asyncio.TaskGroup() as group:
            for key in tuple(self._desk.books.protected):
                self._look(key, group)
            return bool(self._busy)

    def _look(self, key: Key, group: asyncio.TaskGroup) -> None:
        guards = self.guards(key)
        self._judge(key, {guard.entry.cl_ord_id: guard for guard in guards if guard.naked})
        for guard in () if key in self._desk.making_room else guards:  # an exit has just taken a stop out of its way
            name = guard.entry.cl_ord_id
            late = name in self._told  # what the broker itself shall guard, it is given that time for
            sell = late and self._desk.flatten_unprotected
            may_place = self._may_try(guard.entry) and (late or guard.entry.attached is None)
            if name not in self._busy and (guard.excess or (guard.missing and (sell or may_place))):
                self._busy.add(name)
                group.create_task(self._mend(key, guard, sell=sell))

    async def _mend(self, key: Key, guard: Guard, *, sell: bool) -> None:
        try:
            if guard.excess:
                for stop in guard.excess:
                    if stop.cl_ord_id not in self._desk.books.cancels:
                        with suppress(DeskError):  # the wish is journaled: the watch asks again
                            await self._desk.cancel(stop.cl_ord_id)
            elif guard.entry.attached is not None and not guard.entry.ord_status.terminal:
                with suppress(DeskError):  # its stop waits for the rest of it: without the rest, a stop of ours fits what is there
                    await self._desk.cancel(guard.entry.cl_ord_id)
            elif sell:
                await self._sell(key, guard)
            elif beside := self._beside(guard.entry):  # some brokers take the stop away with the first fill of its take-profit, which holds the units
                for other in beside:
                    with suppress(DeskError):
                        await self._desk.cancel(other.cl_ord_id)
            else:
                await self._place(key, guard)
        finally:
            self._busy.discard(guard.entry.cl_ord_id)

    def guards(self, key: Key) -> tuple[Guard, ...]:
        """What is not as it should be on one instrument."""
        desk, books = self._desk, self._desk.books
        instrument = desk.instruments.get(key)
        if instrument is None:
            return ()  # nothing was ever held or asked for here in this life
        void_ns = books.voided.get(key, 0)
        known = ((books.blotter.get(cl_ord_id), left) for cl_ord_id, left in books.protected[key].items())
        entries = [(entry, left) for entry, left in known if entry is not None and entry.sent_ns >= void_ns]
        stops = {entry.cl_ord_id: self._stops_of(entry) for entry, _ in entries}
        position = books.ledger.position(*key)
        rate = desk.brokers[key[0]].facts.max_fee_in_kind if instrument.asset_class.is_crypto else ZERO
        others = (order for order in books.blotter.working_on(*key) if order.protects is None and order.parent not in books.protected[key])
        exits = (_closing(order, position) for order in others)
        fees = books.bought.get(key, ZERO) * rate  # not booked yet: the broker may hold so much less than was bought
        found = audit(entries, stops, position, sum(exits, fees), instrument.lot)
        return tuple(guard for guard in found if guard.excess or guard.naked > guard.entry.cum_qty * rate)  # less is a fee's remainder

    def _stops_of(self, entry: Order) -> list[Order]:
        known = (self._desk.books.blotter.get(name) for name in self._desk.books.stops.get(entry.cl_ord_id, ()))
        found = [stop for stop in known if stop is not None]
        return [changed(stop, ord_status=self._as_it_guards(entry, stop)) for stop in found]

    def _beside(self, entry: Order) -> list[Order]:
        """What the broker still holds for an entry besides a stop, and was not asked to let go."""
        working = self._desk.books.blotter.working_on(entry.broker, entry.instrument)
        return [other for other in working if other.parent == entry.cl_ord_id and other.cl_ord_id not in self._desk.books.cancels]

    def _as_it_guards(self, entry: Order, stop: Order) -> OrdStatus:
        """A stop that the broker holds beside a take-profit may be called held for as long as that one stands: it watches the market all the same."""
        beside = any(other.ord_status in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED) for other in self._desk.books.siblings(stop))
        if self._goes(stop):
            return OrdStatus.PENDING_CANCEL
        return OrdStatus.NEW if stop.held and entry.ord_status is OrdStatus.FILLED and beside else stop.ord_status

    def _goes(self, stop: Order) -> bool:
        """A stop that was asked to go guards nothing from then on, whenever the broker says that it went; nor does one whose sibling goes: the
        broker takes both."""
        books = self._desk.books
        gone = (OrdStatus.CANCELED, OrdStatus.EXPIRED)
        going = any(other.cl_ord_id in books.cancels or other.ord_status in gone for other in books.siblings(stop))
        return not stop.ord_status.terminal and (going or stop.cl_ord_id in books.cancels)

    def _may_try(self, entry: Order) -> bool:
        not_before_ns, _ = self._retry.get(entry.cl_ord_id, (0, 0))
        return self._desk.clock.monotonic_ns() >= not_before_ns

    async def _place(self, key: Key, guard: Guard) -> None:
        entry, instrument = guard.entry, self._desk.instruments[key]
        request = self._stop(guard, instrument)
        if request is None:
            self._failed(entry, f"{self._desk.brokers[key[0]].facts.title} takes no stop for {plain(guard.missing)} {entry.instrument}")
            return
        self._desk.step("stop wanted")
        try:
            stop = await self._desk.submit(request)
        except DeskError as error:
            self._failed(entry, str(error))
            return
        self._desk.step("stop placed")
        if stop.ord_status is OrdStatus.REJECTED and stop.doubt is Doubt.NONE:
            self._failed(entry, stop.text)

    def _stop(self, guard: Guard, instrument: Instrument) -> NewOrder | None:
        """The order that guards what is missing; None: the broker takes no such order."""
        entry = guard.entry
        assert entry.guard_px is not None
        taken = form(self._desk.brokers[entry.broker].facts, instrument, guard.missing)
        if taken is None:
            return None
        ord_type, time_in_force = taken
        limits = self._desk.limits
        collar = limits.crypto_price_collar_pct if instrument.asset_class.is_crypto else limits.price_collar_pct
        worst = entry.guard_px * (1 - entry.side.sign * collar / 2)
        count = len(self._desk.books.stops.get(entry.cl_ord_id, ()))
        return NewOrder(
            broker=entry.broker,
            instrument=entry.instrument,
            side=entry.side.opposite,
            ord_type=ord_type,
            time_in_force=time_in_force,
            order_qty=guard.missing,
            price=worst if ord_type is OrdType.STOP_LIMIT else None,
            stop_px=entry.guard_px,
            reduce_only=True,
            protects=entry.cl_ord_id,
            intent=IntentID(f"protect-{entry.cl_ord_id}-{count}"),
        )

    def _failed(self, entry: Order, text: str) -> None:
        """No stop rests and none is on its way: said at once, tried again after a pause that grows."""
        _, pause_ns = self._retry.get(entry.cl_ord_id, (0, RETRY_MIN_NS))
        self._retry[entry.cl_ord_id] = (self._desk.clock.monotonic_ns() + pause_ns, min(2 * pause_ns, RETRY_MAX_NS))
        self._tell(entry, text)

    def _judge(self, key: Key, naked: dict[ClOrdID, Guard]) -> None:
        now_ns = self._desk.clock.monotonic_ns()
        for name in self._desk.books.protected[key].keys() - naked.keys():
            self._naked_ns.pop(name, None)
            self._retry.pop(name, None)
            self._told.discard(name)
        for name in naked:
            self._naked_ns.setdefault(name, now_ns)
        for name, guard in naked.items():
            if now_ns - self._naked_ns[name] >= NAKED_NS:
                self._tell(guard.entry, "the broker has not confirmed it")

    def _tell(self, entry: Order, why: str) -> None:
        if entry.cl_ord_id not in self._told:
            self._told.add(entry.cl_ord_id)
            stop_px = plain(entry.guard_px or ZERO)
            self._desk.alert("critical", f"{entry.instrument} at {entry.broker} has no stop at {stop_px} for {entry.cl_ord_id}: {why}")

    async def _sell(self, key: Key, guard: Guard) -> None:
        """The owner said to rather close what cannot be guarded. Only what nothing is on its way for: an order in doubt is asked about first."""
        entry = guard.entry
        usual = self._desk.brokers[entry.broker].facts.usual_time(self._desk.instruments[key].asset_class, OrdType.MARKET)
        exits = sum(1 for order in self._desk.books.blotter if order.intent is not None and order.intent.startswith(f"unguarded-{entry.cl_ord_id}"))
        with suppress(DeskError):
            await self._desk.submit(
                NewOrder(
                    broker=entry.broker,
                    instrument=entry.instrument,
                    side=entry.side.opposite,
                    time_in_force=usual,
                    order_qty=guard.missing,
                    reduce_only=True,
                    intent=IntentID(f"unguarded-{entry.cl_ord_id}-{exits}"),
                )
            )


def _closing(order: Order, position: Decimal) -> Decimal:
    """Units of a position that an order may still close; of two exits that end one another, one counts, and of several legs the shares do."""
    if order.legs:
        kept = reservation(order)
        return kept.sell_qty if position > 0 else kept.buy_qty
    return min(order.leaves_qty, max(ZERO, order.reserve_qty - order.cum_qty)) if order.side.sign * position < 0 else ZERO
