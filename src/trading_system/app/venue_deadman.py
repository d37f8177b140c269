"""The dead man's switch of a broker that has one. It takes every order along, stops included: it is fed only while none rests that must stay, and is
off before one is placed."""

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

from trading_system.domain.errors import DeskError, JournalError
from trading_system.domain.fix import Doubt, OrdType, TimeInForce
from trading_system.domain.ids import BrokerName
from trading_system.domain.order import NewOrder, Order
from trading_system.domain.ports import CancelsWhenSilent

if TYPE_CHECKING:
    from trading_system.app.desk import Desk

SECOND_NS = 1_000_000_000
AFTER_NS = 60 * SECOND_NS  # of silence, and the broker cancels
FEED_NS = 20 * SECOND_NS  # how often it hears of us: two may be lost
AGAIN_NS = 5 * SECOND_NS  # after a feeding that failed
LOOK_NS = SECOND_NS
LATE_NS = 60 * SECOND_NS  # how long an arming without an answer may have been on its way
DISARMS_MAX = 3  # requests, before whoever waits is told that it may go off
DISARM_PAUSE_NS = SECOND_NS // 5
_AT_ONCE = frozenset({TimeInForce.IOC, TimeInForce.FOK})


def stays(order: NewOrder | Order, position: Decimal) -> bool:
    """Whether this order must outlive the desk: it guards a position, closes one and can rest, or asks for a stop of its own."""
    if order.protects is not None or order.protect_stop_px is not None or order.attached is not None or order.parent is not None:
        return True
    rests = order.ord_type is not OrdType.MARKET and order.time_in_force not in _AT_ONCE
    return rests and (order.reduce_only or order.side.sign * position < 0)


class VenueDeadMan:
    """Feeds one broker's switch for as long as that is safe. feeds: False for a desk that lives for one command; it only disarms."""

    def __init__(self, desk: "Desk", name: BrokerName, broker: CancelsWhenSilent, *, feeds: bool) -> None:
        self._desk = desk
        self._name = name
        self._broker = broker
        self._feeds = feeds
        self._disarming = asyncio.Lock()
        self._off_ns = 0  # from then on, by the monotonic clock, it is off for certain
        self._armed = False  # this desk has armed it, or tried to, and not disarmed it since
        self._fed_ns: int | None = None  # when the last feeding left that was answered; None: it is not armed for certain
        self._due_ns = 0  # the next feeding
        self._calls = 0
        self._why = "it has not been armed yet"
        self._stuck = False  # it was to be disarmed and was not
        self._failing_ns: int | None = None  # since when feeding fails
        self._told: set[str] = set()  # severities of what was said since it last obeyed

    def begin(self) -> None:
        """The broker has answered: what an earlier desk sent has arrived or never will, and may have armed it."""
        self._off_ns = self._now_ns() + AFTER_NS

    async def run(self) -> None:
        while True:
            await self._look()
            await self._desk.clock.sleep_ns(LOOK_NS)

    async def aclose(self) -> None:
        """The desk stops in good order: what it armed is off, and its orders rest as they are."""
        if self._armed:
            with suppress(JournalError):  # a desk that ends because of its disk can tell nobody
                await self.disarm("warning")

    async def disarm(self, severity: str = "critical") -> bool:
        """Turn it off, unless that is certain already. False: it may go off, and somebody has been told; severity: of the alert."""
        async with self._disarming:
            for asked in range(DISARMS_MAX):
                if self._now_ns() >= self._off_ns:
                    return True
                if asked:
                    await self._desk.clock.sleep_ns(DISARM_PAUSE_NS)
                if await self._turn_off():
                    return True
            self._stuck = True  # what does not let itself be turned off is not wound up again
            left_s = (self._off_ns - self._now_ns()) // SECOND_NS
            self._tell(severity, f"cannot be disarmed and may cancel every order there within {left_s} s: {self._why}")
            return False

    async def _turn_off(self) -> bool:
        """One request."""
        self._calls += 1
        self._fed_ns = None
        try:
            await self._broker.disarm_dead_man()
        except DeskError as error:
            self._why = str(error)
            return False
        self._off_ns, self._armed, self._stuck = 0, False, False
        self._obeyed()
        return True

    def told(self) -> str | None:
        """Why it is not armed; None: it is."""
        if not self._feeds:
            return "a desk that lives for one command does not arm it; `trading watch` does"
        armed = self._fed_ns is not None and self._now_ns() - self._fed_ns < AFTER_NS
        return None if armed else self.why_not() or self._why

    def why_not(self) -> str | None:
        """What speaks against arming it; None: nothing does."""
        return self._in_the_way() or self._unclear()

    def _in_the_way(self) -> str | None:
        """What must stay."""
        desk, name, books = self._desk, self._name, self._desk.books
        if desk.guarding[name]:
            return "an order is on its way that must stay"
        for order in books.blotter.unsettled():
            if order.broker == name and order.external:
                return f"{order.cl_ord_id} is not an order of this desk"
            if order.broker == name and stays(order, books.ledger.position(name, order.instrument)):
                return f"{order.cl_ord_id} guards or closes a position, or asks for a stop, and must stay"
        guarded = (key[1] for key, entries in books.protected.items() if key[0] == name and any(entries.values()))
        return next((f"{instrument} has, or is to have, a stop" for instrument in guarded), None)

    def _unclear(self) -> str | None:
        """What is not known for certain."""
        desk, name = self._desk, self._name
        account = desk.accounts.get(name)
        if not desk.ready[name] or desk.stood_still() or account is None or not account.tradable:
            return "how things stand there is not certain"
        doubtful = (order for order in desk.books.blotter.unsettled() if order.broker == name and order.doubt is not Doubt.NONE)
        return next((f"{order.cl_ord_id} is in doubt" for order in doubtful), None)

    async def _look(self) -> None:
        why, now_ns = self.why_not(), self._now_ns()
        if self._feeds and (self._stuck or why is None):
            if now_ns >= self._due_ns:
                self._due_ns = now_ns + AGAIN_NS
                await (self._turn_off() if self._stuck else self._feed())
        elif why is not None and now_ns < self._off_ns and (self._feeds or self._desk.ready[self._name]):
            self._due_ns = 0
            await self.disarm("critical" if self._in_the_way() else "warning")  # where nothing must stay, its going off is what it is for

    async def _feed(self) -> None:
        """One that fails is tried again soon; that it failed does not say that it did not arm."""
        self._calls += 1
        call, sent_ns = self._calls, self._now_ns()
        self._armed, self._off_ns = True, max(self._off_ns, sent_ns + AFTER_NS + LATE_NS)
        try:
            await self._broker.arm_dead_man(AFTER_NS)
        except DeskError as error:
            self._why = f"it could not be armed: {error}"
            self._failing_ns = self._failing_ns or sent_ns
            if self._now_ns() - self._failing_ns >= AFTER_NS:
                self._tell("warning", f"cannot be armed: {error}")
            return
        self._due_ns = sent_ns + FEED_NS
        if call == self._calls:  # nobody has disarmed it meanwhile
            self._fed_ns, self._off_ns = sent_ns, self._now_ns() + AFTER_NS
            self._obeyed()

    def _obeyed(self) -> None:
        self._failing_ns = None
        self._told.clear()

    def _tell(self, severity: str, text: str) -> None:
        if severity not in self._told:
            self._told.add(severity)
            self._desk.alert(severity, f"{self._desk.brokers[self._name].facts.title}'s dead man's switch {text}")

    def _now_ns(self) -> int:
        return self._desk.clock.monotonic_ns()
