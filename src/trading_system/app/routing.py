"""Where an opening goes and whose prices are read: failover as a stated policy, docs/REDUNDANCY.md.

An instrument lives in one place: where it is held, or an order on it is not settled, it stays. What is neither may go over to another broker while
the first one is down, and goes back when that one is good again. It is decided before the gate, which judges the order where it then goes.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace as changed

from trading_system.app.hub import Consumer, Event
from trading_system.core.blotter import Key
from trading_system.core.risk import covers, refuse_halted
from trading_system.domain.errors import BadRequest, DeskError, RiskRefused
from trading_system.domain.hours import is_open
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.market import Bar
from trading_system.domain.money import ONE, ZERO, on_grid, round_qty
from trading_system.domain.order import NewOrder
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.journal.record import Routed
from trading_system.settings.keys import parts_of

if TYPE_CHECKING:
    from trading_system.app.desk import Desk

SECOND_NS = 1_000_000_000
DOWN_NS = 10 * SECOND_NS  # a broker that is not ready for so long is down; a stream that reconnects is faster
BACK_NS = 60 * SECOND_NS  # and good again when it was ready for so long without a break
PRICES_DOWN_NS = 5 * SECOND_NS  # the same of its prices
PRICES_BACK_NS = 60 * SECOND_NS
_LOOK_NS = SECOND_NS


class Steady:
    """Since when each broker is as it is: fine, or not."""

    def __init__(self, desk: "Desk") -> None:
        self._clock = desk.clock
        self._since: dict[BrokerName, tuple[bool, int]] = {}

    def note(self, name: BrokerName, *, fine: bool) -> None:
        if name not in self._since or self._since[name][0] != fine:
            self._since[name] = (fine, self._clock.monotonic_ns())

    def for_ns(self, name: BrokerName, *, fine: bool) -> int:
        """How long it has been so; 0: it is not."""
        known, since_ns = self._since.get(name, (not fine, 0))
        return self._clock.monotonic_ns() - since_ns if known is fine else 0


class Routing:
    """Of one desk. failover: the asset classes whose openings may go to another broker than the one that was asked."""

    def __init__(self, desk: "Desk", failover: frozenset[AssetClass]) -> None:
        self._desk = desk
        self._failover = failover
        self._ready = Steady(desk)
        self._told: dict[Key, str] = {}  # why nobody stands in, so that it is said once
        self._bars: dict[Key, tuple[BrokerName, int]] = {}  # whose bars are read instead, and until when

    async def run(self) -> None:
        """Note who is ready, for as long as this runs."""
        while True:
            self._look()
            await self._desk.clock.sleep_ns(_LOOK_NS)

    # -- orders -----------------------------------------------------------------------------------------------------------------------

    def at(self, home: BrokerName, instrument: InstrumentID) -> BrokerName:
        """Where openings that are asked for at home go, as the journal has it."""
        routed = self._desk.books.routes.get((home, instrument))
        return home if routed is None or routed.to not in self._desk.brokers else routed.to

    def why(self, home: BrokerName, instrument: InstrumentID) -> str:
        """Why they go there; empty: they go where they are asked for."""
        return "" if self.at(home, instrument) == home else self._desk.books.routes[home, instrument].text

    def may_be_at(self, request: NewOrder) -> tuple[BrokerName, ...]:
        """The brokers at which its intent may have become an order, the one that is asked first."""
        others = self._desk.brokers if self._concerns(request.broker, request.instrument) else ()
        return tuple(dict.fromkeys((request.broker, *others)))

    async def route(self, request: NewOrder) -> NewOrder:
        """The order for the broker that it goes to: a closing one to where the position is, an opening one to where its instrument lives."""
        home, instrument = request.broker, request.instrument
        if not self._at_work or request.legs or self._closes(request):
            return request
        there = changed(request, broker=self.at(home, instrument))
        if self._closes(there) or request.reduce_only:
            return there if self._desk.books.ledger.position(there.broker, instrument) else request
        name = await self.place(home, instrument, request)
        return request if name == home else _as_taken(request, await self._desk.instrument(name, instrument))

    async def place(self, home: BrokerName, instrument: InstrumentID, order: NewOrder | None = None) -> BrokerName:
        """Where an opening on this instrument goes that is asked for at home. order: it must fit; None: it is yet to be sized.

        Raises: BadRequest, Unavailable: home cannot say what the instrument is.
        """
        if not self._at_work:
            return home
        ours = await self._desk.instrument(home, instrument)
        self._look()
        key, here, on = (home, instrument), self._lives(home, instrument), ours.asset_class in self._failover
        if self._bound(*key):
            return here
        if here != home and (not on or self._ready.for_ns(home, fine=True) >= BACK_NS):
            why = f"was ready for {BACK_NS // SECOND_NS} s, its orders and positions are read again" if on else "is where its openings stay"
            self._move(key, home, f"{home} {why}")
            return home
        if not on or not self._down(here) or self._halted(home, ours):
            return here
        other, why = await self._stand_in(ours, here, order)
        if not self._bound(*key) and self.at(*key) == here and self._down(here):  # as it was before they were asked
            if other is None and self._told.get(key) != why:
                self._told[key] = why
                self._desk.alert("warning", f"{here} is down and nobody stands in for it with {instrument}: {why}")
            elif other is not None:
                self._move(key, other, f"{here} was not ready for {DOWN_NS // SECOND_NS} s, and no order there is open or in doubt")
        return self._lives(*key)

    def stands(self, home: BrokerName, request: NewOrder) -> None:
        """The last look before the gate, with no await between. Raises RiskRefused: the place that was chosen is not the right one any more, or is
        one beside a halt at home, which the gate of that place does not know."""
        if request.legs or self._closes(request) or not self._concerns(home, request.instrument):
            return
        here = self._lives(home, request.instrument)
        if here != request.broker:
            limit = f"openings on {request.instrument} asked for at {home} go to {here}"
            raise RiskRefused("ROUTE", limit, f"this one was on its way to {request.broker}", "Ask again, with the same intent.")
        asset_class = self._desk.instruments[request.broker, request.instrument].asset_class
        refuse_halted(self._desk.books.halts.values(), home, request.instrument, asset_class)

    @property
    def _at_work(self) -> bool:
        return bool(self._failover or self._desk.books.routes)

    def _concerns(self, home: BrokerName, instrument: InstrumentID) -> bool:
        """Whether its openings may go elsewhere, or once did."""
        key, desk = (home, instrument), self._desk
        known = desk.instruments.get(key)
        asset_class = desk.books.asset_classes.get(key) if known is None else known.asset_class
        return key in desk.books.routes or asset_class in self._failover

    def _closes(self, request: NewOrder) -> bool:
        held = self._desk.books.ledger.position(request.broker, request.instrument)
        return held * request.side.sign < 0 or request.protects is not None

    def _busy(self, name: BrokerName, instrument: InstrumentID) -> bool:
        """Whether it is held there, or an order on it is not settled: open, unanswered, or in doubt."""
        books = self._desk.books
        return bool(books.ledger.position(name, instrument) or books.blotter.reserved(name, instrument).orders)

    def _bound(self, home: BrokerName, instrument: InstrumentID) -> bool:
        return any(self._busy(name, instrument) for name in (self.at(home, instrument), home))

    def _lives(self, home: BrokerName, instrument: InstrumentID) -> BrokerName:
        here = self.at(home, instrument)
        return home if self._busy(home, instrument) and not self._busy(here, instrument) else here

    def _look(self) -> None:
        for name, ready in self._desk.ready.items():
            self._ready.note(name, fine=ready)

    def _down(self, name: BrokerName) -> bool:
        return self._ready.for_ns(name, fine=False) >= DOWN_NS

    def _halted(self, name: BrokerName, instrument: Instrument) -> bool:
        """A halt is for a person to judge: nothing goes around it."""
        return any(covers(halt, name, instrument.id, instrument.asset_class) for halt in self._desk.books.halts.values())

    def _move(self, key: Key, to: BrokerName, text: str) -> None:
        self._told.pop(key, None)
        self._desk.record(Routed(home=key[0], instrument=key[1], to=to, text=text, now_ns=self._desk.clock.now_ns()))
        self._desk.alert("info" if to == key[0] else "warning", f"openings on {key[1]} that are asked for at {key[0]} go to {to}: {text}")

    async def _stand_in(self, ours: Instrument, here: BrokerName, order: NewOrder | None) -> tuple[BrokerName | None, str]:
        """The broker with the lowest fee that can take it; else why each of them cannot. A further account of a broker is kept apart by its owner."""
        brokers, reasons = self._desk.brokers, []
        others = [name for name in brokers if name not in (ours.broker, here) and not parts_of(name)[1]]
        for name in sorted(others, key=lambda name: (brokers[name].facts.taker_fee, name)):
            try:
                why = await self._cannot(name, ours, order)
            except DeskError as error:
                why = str(error)
            if why is None:
                return name, ""
            reasons.append(f"{name}: {why}")
        return None, "; ".join(reasons) or "there is no other broker"

    async def _cannot(self, name: BrokerName, ours: Instrument, order: NewOrder | None) -> str | None:
        """Why a broker does not stand in: symbol, session, order type, margin. None: it does. Raises what its broker raises."""
        desk = self._desk
        if not desk.ready[name]:
            return "it is not ready"
        theirs = await counterpart(desk, name, ours)
        if self._halted(name, theirs):
            return "it is halted"
        extended = order is not None and order.extended_hours
        if not theirs.tradable or is_open(theirs.hours, desk.clock.now_ns(), extended=extended) is not True:
            return f"it does not trade {theirs.id} now"
        await desk.freshen(name, theirs)
        account = desk.accounts[name]
        if not account.tradable:
            return account.text
        wanted = ZERO if order is None else self._worth(name, theirs, _as_taken(order, theirs))
        if wanted is None:
            return "it takes no such order"
        return None if wanted < account.buying_power else "its buying power is too small"

    def _worth(self, name: BrokerName, theirs: Instrument, order: NewOrder) -> Decimal | None:
        """What the order would take there, its fee included, in BASE_CURRENCY. None: the broker takes no such order, or nobody knows its price."""
        facts, quote, rate = self._desk.brokers[name].facts, self._desk.hub.latest(name, theirs.id), self._desk.rate(name, theirs.id)
        qty = order.order_qty
        fractional = qty is None or not on_grid(qty, theirs.whole_lot)
        rule = facts.rule(theirs.asset_class, order.ord_type, order.time_in_force, fractional=fractional)
        linked = order.attached is None or facts.link(theirs.asset_class, order.contingency, order.ord_type, order.time_in_force)
        touch = None if quote is None else quote.touch(order.side)
        if rule is None or not linked or touch is None or rate is None or qty == ZERO:
            return None
        amount = order.cash_order_qty if qty is None else theirs.pricing.worth(qty, max(touch, order.price or ZERO))
        return None if amount is None else amount * rate * (ONE + facts.taker_fee)

    # -- prices -----------------------------------------------------------------------------------------------------------------------

    async def bars(self, home: BrokerName, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        """As the broker's own; another's while it cannot be asked, and for PRICES_BACK_NS after that. Raises as MarketData, what home raised."""
        desk, key = self._desk, (home, instrument)
        other, until_ns = self._bars.get(key, (home, 0))
        names = [name for name in desk.brokers if name != home]
        first = [other] if desk.clock.monotonic_ns() < until_ns else []
        failed: DeskError | None = None
        for name in dict.fromkeys((*first, home, *names)):
            try:
                if name != home:
                    await counterpart(desk, name, await desk.instrument(home, instrument))
                found = await desk.brokers[name].bars(instrument, period_ns, start_ns, end_ns)
            except BadRequest:
                if name == home:
                    raise
            except DeskError as error:
                failed = error if name == home else failed
            else:
                self._bars_from(key, name, failed)
                return found
        raise failed or BadRequest(f"nobody has bars of {instrument}")

    def _bars_from(self, key: Key, name: BrokerName, failed: DeskError | None) -> None:
        before = self._bars.pop(key, (key[0], 0))
        if name != key[0]:
            until_ns = before[1] if failed is None else self._desk.clock.monotonic_ns() + PRICES_BACK_NS
            self._bars[key] = (name, until_ns)
        if name != before[0]:
            why = "" if failed is None else f": {failed}"
            self._desk.alert("info" if name == key[0] else "warning", f"bars of {key[1]} come from {name}{why}")

    async def stream(self, home: BrokerName, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Event]:
        """As hub.stream; what is lost or stale there for PRICES_DOWN_NS comes from another broker that has the same instrument, until home's prices
        have been good for PRICES_BACK_NS. Each change is an event (a StreamState of "prices") and an alert."""
        reading = _Reading(self._desk, home, instruments, kinds)
        watch = asyncio.create_task(reading.run(), name=f"prices of {home}")
        try:
            async for event in self._desk.hub.read(home, reading.out):
                yield event
        finally:
            watch.cancel()
            reading.close()


async def counterpart(desk: "Desk", name: BrokerName, ours: Instrument) -> Instrument:
    """The same instrument at another broker: of one name, kind, currency and multiplier, under that broker's own symbol and grid.

    Raises: BadRequest: it has none. Unavailable: it cannot be asked.
    """
    theirs = await desk.instrument(name, ours.id)
    if (theirs.asset_class, theirs.currency, theirs.pricing) != (ours.asset_class, ours.currency, ours.pricing):
        raise BadRequest(f"{name} calls something else {ours.id}: {theirs.asset_class} in {theirs.currency}, {theirs.multiplier} a unit")
    return theirs


def _as_taken(order: NewOrder, theirs: Instrument) -> NewOrder:
    """The order for another broker, its quantity on that one's lots and never more than asked. Its price the gate puts on the grid."""
    qty = None if order.order_qty is None else round_qty(order.order_qty, theirs.lot)
    return changed(order, broker=theirs.broker, order_qty=qty)


class _Reading:
    """One reader's prices, each instrument's from one broker at a time. Home stays subscribed, so that it is known when it is good again."""

    def __init__(self, desk: "Desk", home: BrokerName, instruments: Sequence[InstrumentID], kinds: Kinds) -> None:
        self.out = Consumer()
        self._desk = desk
        self._home = home
        self._kinds = kinds
        self._from = dict.fromkeys(instruments, home)
        self._pumps: dict[tuple[BrokerName, frozenset[InstrumentID]], asyncio.Task[None]] = {}
        self._fine = Steady(desk)
        self._retry_ns = 0  # not before then is another broker looked for again, where there was none

    async def run(self) -> None:
        self._read(self._home, self._from)
        while True:
            await self._desk.clock.sleep_ns(_LOOK_NS)
            for name in dict.fromkeys(name for name, _ in self._pumps):
                self._fine.note(name, fine=self._desk.hub.links.lost(name) is None)
            if set(self._from.values()) != {self._home} and self._fine.for_ns(self._home, fine=True) >= PRICES_BACK_NS:
                self._back()
            for name in sorted(set(self._from.values())):
                if self._fine.for_ns(name, fine=False) >= PRICES_DOWN_NS and self._desk.clock.monotonic_ns() >= self._retry_ns:
                    await self._go_over(name)

    def close(self) -> None:
        for pump in self._pumps.values():
            pump.cancel()
        self._pumps.clear()

    def _read(self, name: BrokerName, instruments: Iterable[InstrumentID]) -> None:
        group = frozenset(instruments)
        if (name, group) not in self._pumps:
            self._pumps[name, group] = asyncio.create_task(self._pump(name, tuple(sorted(group))), name=f"prices from {name}")

    async def _pump(self, name: BrokerName, instruments: tuple[InstrumentID, ...]) -> None:
        async for event in self._desk.hub.stream(name, instruments, self._kinds):
            if name in self._from.values() if isinstance(event, StreamState) else self._from[event.instrument] == name:
                self.out.offer(event)

    async def _go_over(self, lost: BrokerName) -> None:
        why = self._desk.hub.links.lost(lost)
        found: dict[BrokerName, list[InstrumentID]] = {}
        for instrument in [instrument for instrument, name in self._from.items() if name == lost]:
            other = await self._other(instrument, lost)
            if other is not None:
                found.setdefault(other, []).append(instrument)
        for name, instruments in found.items():
            self._from |= dict.fromkeys(instruments, name)
            self._read(name, instruments)
            self._say("warning", Link.GAP, f"prices of {', '.join(instruments)} come from {name}: {lost} has lost {why}")
        self._retry_ns = self._desk.clock.monotonic_ns() + (0 if found else PRICES_BACK_NS)

    async def _other(self, instrument: InstrumentID, lost: BrokerName) -> BrokerName | None:
        desk = self._desk
        for name in desk.brokers:
            if name not in (self._home, lost) and desk.hub.links.lost(name) is None:
                try:
                    await counterpart(desk, name, await desk.instrument(self._home, instrument))
                except DeskError:
                    continue
                return name
        return None

    def _back(self) -> None:
        self._from = dict.fromkeys(self._from, self._home)
        for key in [key for key in self._pumps if key[0] != self._home]:
            self._pumps.pop(key).cancel()
        self._say("info", Link.LIVE, f"prices of {', '.join(self._from)} come from {self._home} again")

    def _say(self, severity: str, link: Link, text: str) -> None:
        self._desk.alert(severity, text)
        self.out.offer(StreamState(broker=self._home, stream="prices", link=link, text=text, recv_ns=self._desk.clock.now_ns()))
