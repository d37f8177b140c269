"""The order path, top to bottom: submit, replace, cancel, on_report, flatten, halt, resume. Longer than a screen, because it is the one
place where a wish becomes bytes."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import NoReturn

from msgspec.structs import replace as changed

from trading_system.app.flatten import Residue, flatten
from trading_system.app.hub import Hub
from trading_system.app.routing import Routing
from trading_system.app.state import risk_state
from trading_system.app.venue_deadman import stays
from trading_system.core.ledger import EquityMark, mark_equity, references_moved
from trading_system.core.lifecycle import Anomaly, Applied
from trading_system.core.options import standard_multiplier
from trading_system.core.reconcile import compare_cash, knight
from trading_system.core.risk import (
    DOLLAR_COINS,
    Breaker,
    Halt,
    Level,
    Limits,
    breaches,
    check,
    covers,
    joined,
    latches,
    tripped,
)
from trading_system.domain.account import AccountSnapshot
from trading_system.domain.bond import is_cusip
from trading_system.domain.errors import (
    AuthFailed,
    BadRequest,
    DeskError,
    InDoubt,
    JournalError,
    NotSent,
    ProtocolError,
    Rejected,
    RiskRefused,
    Unavailable,
)
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side
from trading_system.domain.fund import is_fund
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, derive_cl_ord_id, is_ours
from trading_system.domain.instrument import AssetClass, Instrument, Pricing
from trading_system.domain.money import ONE, ZERO
from trading_system.domain.option import is_option, parse_option
from trading_system.domain.order import Approved, NewOrder, Order, Replace, shares_of
from trading_system.domain.ports import Clock, Connector, OrderRule, ValidatesOrders
from trading_system.domain.report import ExecutionReport
from trading_system.journal.record import (
    Alert,
    CancelAsked,
    ClosedUnsent,
    Doubted,
    HaltCleared,
    HaltSet,
    Intent,
    Marked,
    Record,
    Reported,
)
from trading_system.journal.replay import Books, replay
from trading_system.journal.store import Journal
from trading_system.sizing.sizer import Aims

_MINUTE_NS = 60_000_000_000
INTENT_MAX_NS = 10_000_000_000  # an order that waited longer than this between gate and socket is not sent: the machine stood still
ESCALATE_NS = 300_000_000_000  # an order in doubt for this long is a person's business
CANCELS_MAX = 3  # requests to cancel one order; after that the broker is only asked how it stands
_LOOKS_MAX = 3  # at an account that moves while it is looked at
_ROOM_WAIT_NS = 5_000_000_000  # how long an exit waits for the stop in its way to go
_OFF_WITHIN_NS = 1_000_000_000  # how long a stop for what is held waits for the broker's dead man's switch to be off
_POLL_NS = 100_000_000
INSTRUMENT_MAX_AGE_NS = 3_600_000_000_000  # grids and hours change within a day, seldom
_INSTRUMENT_RETRY_NS = 60_000_000_000  # how soon one is asked for again that could not be
STANDSTILL_NS = 30_000_000_000  # a desk that did not run for longer knows nothing of the present: SIGSTOP, a suspended machine, a stepped clock

Step = Callable[[str], None]  # called at named points of the order path; the recovery tests kill the process there


def no_step(_: str) -> None:
    return None


def by_file(level: Level) -> str:
    """What the kill switch's file is said to be."""
    return f"the file {level.upper()} is in the state folder, or above it in TRADING_HOME"


class Desk:
    """Owns everything that must exist once. State changes in synchronous steps; awaits stand only between them."""

    def __init__(
        self,
        *,
        books: Books,
        journal: Journal,
        brokers: Mapping[BrokerName, Connector],
        hub: Hub,
        limits: Limits,
        clock: Clock,
        environment: str,
        names: Sequence[BrokerName] = (),
        base_currency: str = "USD",
        aims: Aims = Aims(),  # noqa: B008 frozen
        dry_run: bool = False,
        flatten_unprotected: bool = False,
        failover: frozenset[AssetClass] = frozenset(),
        step: Step = no_step,
    ) -> None:
        self.books = books
        self.journal = journal
        self.brokers = brokers
        self.names = names or tuple(brokers)  # every account that the settings know: what is not open now can be halted too
        self.hub = hub
        self.limits = limits
        self.clock = clock
        self.environment = environment
        self.base_currency = base_currency
        self.aims = aims
        self.dry_run = dry_run
        self.flatten_unprotected = flatten_unprotected  # what cannot be guarded by the stop it asked for is closed
        self.flattening: set[BrokerName] = set()  # the auditor places no stops while everything goes
        self.making_room: Counter[tuple[BrokerName, InstrumentID]] = Counter()  # nor where a stop has just gone for an exit
        self.guarding: Counter[BrokerName] = Counter()  # and no dead man's switch is armed where an order is on its way that must stay
        self.step = step
        self.breaker = Breaker()
        self.routing = Routing(self, failover)
        self.accounts: dict[BrokerName, AccountSnapshot] = {}
        self.instruments: dict[tuple[BrokerName, InstrumentID], Instrument] = {}
        self._instruments_due_ns: dict[tuple[BrokerName, InstrumentID], int] = {}  # when to ask for each anew
        self.ready: dict[BrokerName, bool] = dict.fromkeys(brokers, False)
        self.ended = ""  # the part of the desk that died: nothing is ready again in this process
        self.on_doubt: Callable[[Order], None] = _ignore_order  # recover.py puts its resolver here
        self.on_gap: Callable[[BrokerName], None] = _ignore_broker  # and its back-fill here
        self.on_fill: Callable[[Order], None] = _ignore_order  # protect.py puts its auditor here
        self.explain: Callable[[AccountSnapshot], Awaitable[bool]] = _explained  # outside.py looks here for what no order made; True: look again
        self.disarm: Callable[[BrokerName], Awaitable[bool]] = _never_armed  # venue_deadman.py turns the broker's switch off; False: it may go off
        self.dead_men: Callable[[], Mapping[BrokerName, str | None]] = dict  # and says why each is not armed; None: it is
        self.pulled: Callable[[], Level | None] = _not_pulled  # switch.py: the kill switch's file, asked at the last hop
        self.adopting: set[str] = set()  # scopes whose difference a person has said to take over
        self.refused: Counter[tuple[BrokerName, str]] = Counter()  # orders that the gate did not let through, by rule
        self.listeners: list[Callable[[Record, Applied | None], None]] = []
        self._warned: set[tuple[str, int]] = set()
        self._shown_at: dict[tuple[BrokerName, InstrumentID], Decimal] = {}  # the broker's last mark of what was held
        self._paid_at: dict[tuple[BrokerName, InstrumentID], Decimal] = {}  # coins that contracts paid in, and what those traded at
        self.strategies: set[str] = set()  # at work on this desk; their orders are told apart by these names
        self._homes: dict[ClOrdID, BrokerName] = {}  # of orders on their way to another broker: where they were asked for
        self._owned: set[asyncio.Task[Order]] = set()
        self._ran_ns = (clock.monotonic_ns(), clock.now_ns())
        self.standstills = 0

    # -- the path of an order -------------------------------------------------------------------------------------------------

    async def submit(self, request: NewOrder, *, home: BrokerName | None = None) -> Order:
        """Place an order once. The same intent again gives the order it became, and sends nothing. home: the broker that it was asked for at, where
        its place is chosen already (routing.place); None: where it is asked for is where it says.

        Raises: RiskRefused, BadRequest: nothing was sent. Everything that happens after the gate is told by the order that comes back:
        REJECTED with its text, or doubt IN_DOUBT, which the desk resolves by asking.
        """
        try:
            return await self._own(self._submit(request, None, home))
        except RiskRefused as error:
            self.refused[request.broker, error.rule] += 1
            raise

    async def replace(self, request: Replace) -> Order:
        """Change a working order of ours. Gives the new order; the old one becomes REPLACED when the broker says so.

        Raises: as submit. BadRequest: not known, not working, or partly filled (cancel it and place the rest anew).
        """
        return await self._own(self._submit(*self._replacement(request)))

    async def _submit(self, request: NewOrder, replaces: Order | None, home: BrokerName | None = None) -> Order:
        known = self._became(request)
        if known is not None:
            return known
        if replaces is None and home is None:
            home, request = request.broker, await self.routing.route(request)
        await self._prepare(request)
        cl_ord_id = self.cl_ord_id(request)  # the account is known now, so the id is final
        known = self._became(request) or await self._from_journal(request)
        if known is not None:
            return known
        key = (request.broker, request.instrument)
        must_stay = stays(request, self.books.ledger.position(*key))
        self.making_room[key] += 1
        self.guarding[request.broker] += must_stay
        try:
            await self._make_room(request)
            if must_stay:
                await self._disarm(request)
            known = self._became(request)
            if known is not None:
                return known  # it came a second time while this one waited
            if home is not None:
                self.routing.stands(home, request)
            if replaces is not None:
                replaces = self._changeable(replaces.cl_ord_id)  # it may have ended while prices were read: then nothing is freed
            approved = check(request, risk_state(self, request, cl_ord_id), replaces)
        finally:
            self.making_room[key] -= 1
            self.making_room += Counter()  # drops the zeros
            self.guarding[request.broker] -= must_stay
        if home not in (None, request.broker):
            self._homes[cl_ord_id] = home
        try:
            return await self._send(approved)  # which reserves at once: from here on the order itself keeps its room
        finally:
            self._homes.pop(cl_ord_id, None)

    async def _make_room(self, request: NewOrder) -> None:
        """Stops hold the units that an exit wants to sell: those in its way go first. What is left afterwards is guarded anew."""
        key = (request.broker, request.instrument)
        position, blotter = self.books.ledger.position(*key), self.books.blotter
        shares = shares_of(request.legs)
        if (request.legs and shares is None) or request.protects is not None or request.order_qty is None:
            return
        side, qty = (request.side, request.order_qty) if shares is None else (shares.side, request.order_qty * shares.ratio_qty)
        if side.sign * position >= 0:
            return
        for stop in blotter.working_on(*key):
            reserved = blotter.reserved(*key)
            held = reserved.sell_qty if side is Side.SELL else reserved.buy_qty
            if qty <= abs(self.books.ledger.position(*key)) - held:
                return
            if (stop.protects is not None or stop.parent is not None) and stop.side is side and not stop.held:
                await self.cancel(stop.cl_ord_id)  # of two that the broker holds, the other goes with it
                await self.wait(lambda stop=stop: self._known(stop.cl_ord_id).settled, _ROOM_WAIT_NS)  # type: ignore[misc]

    async def _disarm(self, request: NewOrder) -> None:
        """Where the broker cancels everything when we are silent, that is off before anything rests that must not go. A stop for what is held already
        does not wait for long: should it be cancelled, it is placed anew, and that is better than none.

        Raises Unavailable: it may still go off, nothing was sent.
        """
        if request.protects is not None:
            with suppress(TimeoutError):  # the switch's own look goes on disarming it, and tells
                async with asyncio.timeout(_OFF_WITHIN_NS / 1_000_000_000):
                    await self.disarm(request.broker)
        elif not await self.disarm(request.broker):
            title = self.brokers[request.broker].facts.title
            raise Unavailable(f"nothing was sent: {title}'s dead man's switch cannot be disarmed, and would take along what has to stay there")

    async def _send(self, approved: Approved) -> Order:
        self._fold(Intent(approved=approved))  # reserved before any await: two strategies cannot share one limit
        self.step("intent opened")
        try:
            await self.journal.append(Intent(approved=approved), durable=True)  # on disk before a byte leaves
        except JournalError as error:
            self._fold(ClosedUnsent(cl_ord_id=approved.cl_ord_id, text=str(error), proven_absent=False, now_ns=self.clock.now_ns()))
            raise
        self.step("intent durable")
        broker = self.brokers[approved.request.broker]
        try:
            if approved.dry_run:
                await self._rehearse(approved)
            self.last_hop(approved)  # the kill switch has the last word
            self.step("last hop passed")
            report = await (broker.submit(approved) if approved.orig_cl_ord_id is None else broker.replace(approved))
            self.step("answer received")
        except DeskError as error:
            return self._outcome(approved, error)
        return self.on_report(report)

    def last_hop(self, approved: Approved) -> None:
        """Between the disk and the socket; again where a connector lets an order wait. Raises NotSent."""
        if approved.dry_run:
            raise NotSent("dry run: everything was checked, nothing was sent")
        self._may_go(approved)

    async def _rehearse(self, approved: Approved) -> NoReturn:
        """A dry run ends here. A broker that checks orders without placing them is asked for that; changes it checks only when it makes them.

        Raises NotSent: with what the broker said. ProtocolError: it placed the order.
        """
        broker = self.brokers[approved.request.broker]
        if approved.orig_cl_ord_id is not None or not isinstance(broker, ValidatesOrders):
            raise NotSent("dry run: everything was checked, nothing was sent")
        self._may_go(approved)
        try:
            words = await broker.validate(approved)
        except ProtocolError:
            raise
        except DeskError as error:
            raise NotSent(f"{error} (a dry run: checked, not placed)") from None
        raise NotSent(f"dry run: nothing was placed; {broker.facts.title} has checked it and would take it: {words}")

    def _may_go(self, approved: Approved) -> None:
        request = approved.request
        instrument = self.instruments[request.broker, request.instrument]
        if self.clock.now_ns() - approved.approved_ns > INTENT_MAX_NS:
            raise NotSent("it waited too long between the gate and the socket; the market is another now")
        level = self.pulled()
        if level is not None and not approved.reducing:
            raise NotSent(by_file(level))
        places = () if approved.reducing else (request.broker, self._homes.get(approved.cl_ord_id, request.broker))
        for halt in self.books.halts.values():
            if any(covers(halt, name, request.instrument, instrument.asset_class) for name in places):
                raise NotSent(f"halted between the gate and the socket: {halt.text}")

    def _outcome(self, approved: Approved, error: DeskError) -> Order:
        """NotSent, Rejected, Unavailable close the order and free its reservation; everything else is in doubt and keeps it."""
        cl_ord_id, now_ns = approved.cl_ord_id, self.clock.now_ns()
        if isinstance(error, NotSent | Rejected | Unavailable):
            order = self._known(cl_ord_id)
            if order.ord_status is OrdStatus.PENDING_NEW and not order.fills:
                no = isinstance(error, Rejected)
                if no:
                    self._instruments_due_ns[approved.request.broker, approved.request.instrument] = now_ns
                self.record(ClosedUnsent(cl_ord_id=cl_ord_id, text=str(error), proven_absent=False, rejected=no, now_ns=now_ns))
                self.step("order closed")
            self._trip(approved.request.broker, now_ns)
        elif self._known(cl_ord_id).order_id is None:  # the stream may have told us already that it arrived
            self.record(Doubted(cl_ord_id=cl_ord_id, text=str(error), now_ns=now_ns))
            self.step("doubt noted")
            self.on_doubt(self._known(cl_ord_id))
            self._trip(approved.request.broker, now_ns)
        if isinstance(error, ProtocolError | AuthFailed):
            self.set_halt(Halt(scope=approved.request.broker, level=Level.HALT, rule="PROTOCOL", text=str(error), set_ns=now_ns))
        return self._known(cl_ord_id)

    def on_report(self, report: ExecutionReport, *, prior: bool = False) -> Order:
        """Fold one report in, and those of the orders that the broker made for it: journal it, move order and ledger, act on what cannot be.
        Reports that say nothing new are not journaled. prior: an order found at the first start; what it had filled is part of the position that
        we start from."""
        order = self._take(changed(report, children=()) if report.children else report, prior=prior)
        for child in report.children:
            self._take(changed(child, parent=order.cl_ord_id), prior=prior)
        return order

    def _take(self, report: ExecutionReport, *, prior: bool) -> Order:
        order = self.books.blotter.find(report)
        if order is None and is_ours(report.cl_ord_id):
            text = f"order {report.cl_ord_id} at {report.broker} has our form but is not in this journal: does another desk trade this account?"
            self.set_halt(Halt(scope=report.broker, level=Level.HALT, rule="STRANGER", text=text, set_ns=self.clock.now_ns()))
        if order is not None:
            self._knight(order, report)
            if _says_nothing_new(order, self.books.blotter.foresee(order, report)) and self.books.parent_of(order, report) is None:
                return order
        instrument = self.instruments.get((report.broker, report.instrument))
        account, pricing = self.accounts.get(report.broker), self.pricing(report.broker, report.instrument)
        record = Reported(
            report=report,
            account="" if account is None else account.account,
            currency=self.currency(report.broker, report.instrument),
            multiplier=report.multiplier or pricing.multiplier,
            inverse=report.inverse or pricing.inverse,
            asset_class=_asset_class(report.instrument, self.brokers[report.broker].facts.rules) if instrument is None else instrument.asset_class,
            prior=prior,
        )
        self.step("report before fold")
        applied = self.record(record)
        self.step("report folded")
        assert applied is not None
        if applied.bookings:
            if record.inverse:
                self._paid_at[report.broker, InstrumentID(report.fee_currency)] = report.last_px
            self.on_fill(applied.order)
        if applied.anomaly is not None:
            self._halt_instrument(applied.order, applied.anomaly)
        if applied.order.parent is not None and applied.order.ord_status.terminal:
            self.on_gap(report.broker)  # what hangs together with it is over, or about to be
        if applied.order.ord_status is OrdStatus.REJECTED:
            self._instruments_due_ns[report.broker, report.instrument] = self.clock.now_ns()
            self._trip(report.broker, self.clock.now_ns())
        fee_in_kind = applied.bookings and record.asset_class.is_crypto and report.side is Side.BUY
        if applied.order.unbooked_qty or fee_in_kind:  # the broker may hold less than was bought: look, before anybody sells it all
            self.on_gap(report.broker)
        return applied.order

    async def cancel(self, cl_ord_id: ClOrdID) -> Order:
        """Ask for a cancel. A refusal is a question, not an answer: the order comes back as the broker says it stands. The wish is remembered
        until the order is over: what the broker does not know yet is cancelled as soon as it does, and by no more than CANCELS_MAX requests.

        Raises: BadRequest: no such order. Unavailable: not sent.
        """
        order = self._known_or_refuse(cl_ord_id)
        if order.ord_status.terminal:
            return order
        if self.dry_run:
            return changed(order, text="dry run: the cancel was not sent")
        if order.order_id is None:  # in doubt, or its answer is still on the way
            self.record(CancelAsked(cl_ord_id=cl_ord_id, sent=False, now_ns=self.clock.now_ns()))
        if order.order_id is None or self.books.cancels.get(cl_ord_id, 0) >= CANCELS_MAX:
            report = await self.question(order)
            order = self._known(cl_ord_id) if report is None else self.on_report(report)
            if order.ord_status.terminal or order.order_id is None or self.books.cancels.get(cl_ord_id, 0) >= CANCELS_MAX:
                return order
        return await self._ask_to_cancel(order)

    async def _ask_to_cancel(self, order: Order) -> Order:
        broker = self._asked(order)
        self.record(CancelAsked(cl_ord_id=order.cl_ord_id, now_ns=self.clock.now_ns()))
        self.step("cancel noted")
        try:
            report = await broker.cancel(order)
        except InDoubt as error:
            try:
                answer = await self.question(order)
            except Unavailable:
                raise error from None  # the cancel may have arrived: not even the question did
            return self._known(order.cl_ord_id) if answer is None else self.on_report(answer)
        self.step("cancel answered")
        return self.on_report(report)

    async def question(self, order: Order) -> ExecutionReport | None:
        """How an order stands, by the name that its broker has it under: one that was changed may go on under the first intent's. None: not found.
        Raises what the broker's order_status raises."""
        report, broker = None, self._asked(order)
        for name in dict.fromkeys((self.books.blotter.asked_as(order), order.cl_ord_id)):
            report = await broker.order_status(name)
            about = None if report is None else self.books.blotter.find(report)
            if about is not None and about.cl_ord_id == order.cl_ord_id:
                break
        return report

    async def resolve(self, cl_ord_id: ClOrdID, by: str) -> Order:
        """Close an order that stayed in doubt, on the word of a person who looked for it on the broker's own page and did not find it. The broker is
        asked once more: where it knows the order, that counts, and the order given back is not closed. Should it turn up later, its instrument halts.

        Raises BadRequest: it is not one for a person. Unavailable: the broker of this desk cannot be asked now; try again.
        """
        self._for_a_person(cl_ord_id)
        if self._known(cl_ord_id).broker in self.brokers:
            report = await self.question(self._known(cl_ord_id))
            if report is not None:
                return self.on_report(report)
        order = self._for_a_person(cl_ord_id)  # the stream may have told of it meanwhile
        text = f"not at {order.broker}: {by} has looked for it on the broker's own page"
        closed = ClosedUnsent(cl_ord_id=cl_ord_id, text=text, proven_absent=True, now_ns=self.clock.now_ns())
        self._fold(closed)
        await self.journal.append(closed, durable=True)
        return self._known(cl_ord_id)

    def _for_a_person(self, cl_ord_id: ClOrdID) -> Order:
        order = self._known_or_refuse(cl_ord_id)
        if order.doubt not in (Doubt.IN_DOUBT, Doubt.ESCALATED):
            raise BadRequest(f"{cl_ord_id} is not in doubt: {order.ord_status}; `trading orders --all` shows it")
        left_ns = order.sent_ns + ESCALATE_NS - self.clock.now_ns()
        if order.doubt is Doubt.IN_DOUBT and left_ns > 0:  # a short-lived desk is not there to escalate it
            raise BadRequest(f"{cl_ord_id} is still being asked about, and may yet turn up; look for it in {left_ns // 1_000_000_000 + 1} s")
        return order

    def _asked(self, order: Order) -> Connector:
        """Whom to ask about an order. Raises Unavailable: its broker is not on this desk."""
        if order.broker not in self.brokers:
            raise Unavailable(f"{order.broker} is not on this desk: put its key back, or look for {order.cl_ord_id} on the broker's own page")
        return self.brokers[order.broker]

    async def cancel_all(self, broker: BrokerName | None = None, *, external: bool = False) -> tuple[Order, ...]:
        """Cancel every working order of ours (and those of others, when asked), one after the other; problems do not stop the rest."""
        orders = []
        for order in self.books.blotter.working():
            if (broker is None or order.broker == broker) and (external or not order.external):
                try:
                    orders.append(await self.cancel(order.cl_ord_id))
                except DeskError as error:
                    orders.append(changed(self._known(order.cl_ord_id), text=str(error)))
        return tuple(orders)

    async def flatten(self, broker: BrokerName | None = None) -> Residue:
        """Cancel every order, close every position, read again, and say what is left. Passes every halt."""
        return await flatten(self, [name for name in self.brokers if broker in (None, name)])

    # -- halts ----------------------------------------------------------------------------------------------------------------

    async def halt(self, scope: str, level: Level, text: str) -> Halt:
        """Stop taking risk, now; returns when it is on disk. KILL also cancels the working entries."""
        halt, standing = Halt(scope=scope, level=level, rule="OWNER", text=text, set_ns=self.clock.now_ns()), self.books.halts.get(scope)
        if standing is not None:
            halt = joined(standing, halt)
        self._fold(HaltSet(halt=halt))
        self.step("halt folded")
        await self.journal.append(HaltSet(halt=halt), durable=True)
        self.step("halt durable")
        for name in self.brokers:
            await self.enforce_kill(name)
        return halt

    def in_force(self) -> tuple[Halt, ...]:
        """Every halt, and the kill switch's file where no desk has made a halt of it yet."""
        halts, level = tuple(self.books.halts.values()), self.pulled()
        if level is None or any(halt.scope == "all" and halt.level.rank >= level.rank for halt in halts):
            return halts
        return (*halts, Halt(scope="all", level=level, rule="FILE", text=by_file(level), set_ns=self.clock.now_ns()))

    async def enforce_kill(self, name: BrokerName) -> None:
        """Cancel the working entries that a KILL covers, those found only now included. What cannot be asked now, is at the next look."""
        kills = [halt for halt in self.books.halts.values() if halt.level is Level.KILL]
        for order in self.books.blotter.working() if kills else ():
            if order.broker != name or order.reducing or order.external or order.cl_ord_id in self.books.cancels:
                continue
            if any(covers(halt, name, order.instrument, self.asset_class(name, order.instrument)) for halt in kills):
                with suppress(DeskError):
                    await self.cancel(order.cl_ord_id)
                self.step("kill cancelled one")

    async def resume(self, scope: str, by: str) -> None:
        """Clear a halt ("*": all). The command line has it typed twice. Raises BadRequest: there is no such halt, its file still lies there, or what
        ended here has to be started again first."""
        level = self.pulled()
        if level is not None:
            raise BadRequest(f"{by_file(level)}: remove it first, then resume")
        if self.ended and scope in ("*", "all"):
            raise BadRequest(f"a part of the desk has ended ({self.ended}): restart it, then resume")
        if scope != "*" and scope not in self.books.halts:
            raise BadRequest(f"nothing named {scope!r} is halted; halted: {', '.join(self.books.halts) or 'nothing'}")
        record = HaltCleared(scope=scope, by=by, now_ns=self.clock.now_ns())
        self._fold(record)  # in one step with its place on disk: a halt set while the disk writes stays set
        await self.journal.append(record, durable=True)
        self.step("resume durable")

    def set_halt(self, halt: Halt) -> None:
        """Latch a halt that a rule calls for, once, and alert; beside what halts there already, too."""
        standing = self.books.halts.get(halt.scope)
        if standing is None or halt.rule not in standing.rules or halt.level.rank > standing.level.rank:
            self.record(HaltSet(halt=halt if standing is None else joined(standing, halt)))
            self.alert("critical", f"{halt.rule}: {halt.text}")

    def alert(self, severity: str, text: str) -> None:
        """A journaled record first of all; whoever listens shows it."""
        self.record(Alert(severity=severity, text=text, now_ns=self.clock.now_ns()))
        self.step("alert noted")

    # -- accounts and what the gate sees --------------------------------------------------------------------------------------

    async def refresh_account(self, name: BrokerName) -> AccountSnapshot:
        """Its figures now, transfers told apart from profit and loss before a limit is judged."""
        for _ in range(_LOOKS_MAX):
            snapshot = await self.brokers[name].account()
            if not await self.explain(snapshot):
                break
        self.on_account(snapshot)
        return snapshot

    def on_account(self, snapshot: AccountSnapshot) -> None:
        """Take an account's figures: equity over all accounts moves, and with it the loss limits."""
        self.accounts[snapshot.broker] = snapshot
        self._shown_at |= {(snapshot.broker, there.instrument): there.mark_px for there in snapshot.positions if there.mark_px is not None}
        mark = self.marked(snapshot.recv_ns)
        if mark is None:
            return
        if references_moved(self.books.mark, mark):
            self.record(Marked(mark=mark))
            self.step("mark noted")
        self.books.mark = mark
        for halt in breaches(self.limits, mark, snapshot.recv_ns):
            if latches(self.limits, halt):
                self.set_halt(halt)
            elif (halt.rule, mark.day) not in self._warned:
                self._warned.add((halt.rule, mark.day))
                self.alert("warning", f"{halt.rule}: {halt.text}; the setting says not to halt")

    def marked(self, now_ns: int) -> EquityMark | None:
        """Equity over all accounts; None until each has reported in the base currency (a missing conversion fails closed)."""
        return self.valued(now_ns)[0]

    def valued(self, now_ns: int) -> tuple[EquityMark | None, str]:
        """The same, and why nobody knows what crypto made ("": it is known): until somebody does, that stands at its last figure, and the gate takes
        no crypto."""
        crypto, unvalued = self._crypto_pnl()
        equity = last_equity = ZERO
        for name in self.brokers:
            snapshot = self.accounts.get(name)
            if snapshot is None or snapshot.currency != self.base_currency:
                return None, unvalued
            equity, last_equity = equity + snapshot.equity, last_equity + snapshot.last_equity
        if unvalued:
            crypto = ZERO if self.books.mark is None else self.books.mark.crypto_pnl
        unbooked = sum((self._unbooked(name, self.accounts[name]) for name in self.brokers), ZERO)
        mark = mark_equity(self.books.mark, equity=equity, last_equity=last_equity, crypto_pnl=crypto, unbooked=unbooked, now_ns=now_ns)
        return mark, unvalued

    def _crypto_pnl(self) -> tuple[Decimal, str]:
        """What our crypto made since this desk first held it, and what of it cannot be valued now."""
        total = ZERO
        for broker, instrument in self.books.ledger.traded():
            if self.asset_class(broker, instrument).is_crypto:
                price, rate = self.mark_px(broker, instrument), self.rate(broker, instrument)
                if rate is None and broker not in self.brokers and self.currency(broker, instrument) in DOLLAR_COINS:
                    rate = self.worth(broker, "USD")  # what was made there stands still: at a dollar, where nobody here prices the coin
                if rate is None or (price is None and self.books.ledger.position(broker, instrument)):
                    what = f"{instrument} at {broker} has no price in {self.base_currency}"
                    return ZERO, what if broker in self.brokers else f"{what}: {broker} is not on this desk"
                total += rate * self.pnl(broker, instrument, price or ZERO)
        return total, ""

    def _unbooked(self, name: BrokerName, account: AccountSnapshot) -> Decimal:
        """What an account has that the books do not, in BASE_CURRENCY. Of an execution that is still to be booked, money and units make up for each
        other; what cannot be priced is left out."""
        if name not in self.books.cash_opened:
            return ZERO
        ledger, found = self.books.ledger, ZERO
        for currency, theirs in account.moneys.items():
            amount, _ = compare_cash(ledger.cash(name, currency), theirs, ZERO)
            found += amount * (self.worth(name, currency) or ZERO)
        there = {position.instrument: position.qty for position in account.positions}
        for instrument in dict.fromkeys([*there, *(instrument for broker, instrument in ledger.traded() if broker == name)]):
            qty, pricing = there.get(instrument, ZERO) - ledger.position(name, instrument), self.pricing(name, instrument)
            if qty and not pricing.inverse:
                px = self.mark_px(name, instrument) or self._shown_at.get((name, instrument), ZERO)  # what has just gone shows no mark any more
                found += pricing.worth(qty, px) * (self.rate(name, instrument) or ZERO)
        return found

    def mark_px(self, broker: BrokerName, instrument: InstrumentID) -> Decimal | None:
        """What one unit is worth: the live mid, else the broker's own mark, else of a coin that a contract has just paid in what that traded at."""
        quote = self.hub.latest(broker, instrument)
        if quote is not None and quote.mid is not None:
            return quote.mid
        account = self.accounts.get(broker)
        positions = () if account is None else account.positions
        shown = next((position.mark_px for position in positions if position.instrument == instrument), None)
        return shown or self._paid_at.get((broker, instrument))

    async def instrument(self, broker: BrokerName, instrument: InstrumentID) -> Instrument:
        """Its grid and hours, not older than an hour, than its calendar, or than a refusal, which may be the first sign of a new grid.
        Where the broker cannot be reached, what was known: the gate takes no entry on hours that have run out.

        Raises: BadRequest: the broker does not have it.
        """
        key = (broker, instrument)
        known, now_ns = self.instruments.get(key), self.clock.now_ns()
        if known is not None and now_ns < self._instruments_due_ns[key]:
            return known
        if broker not in self.brokers:
            raise BadRequest(f"no broker {broker!r} on this desk; there are: {', '.join(self.brokers)}")
        try:
            (known,) = await self.brokers[broker].instruments((instrument,))
            due_ns = now_ns + INSTRUMENT_MAX_AGE_NS
            if not known.hours.always:
                due_ns = min(due_ns, known.hours.known_until_ns)
        except Unavailable:
            if known is None:
                raise
            due_ns = now_ns + _INSTRUMENT_RETRY_NS
        self.instruments[key], self._instruments_due_ns[key] = known, due_ns
        return known

    async def _prepare(self, request: NewOrder) -> None:
        """Fetch what the gate will want to be fresh. An exit goes on without; for an entry the reason is worth more than a stale price."""
        key = (request.broker, request.instrument)
        try:
            for name in (request.instrument, *(leg.instrument for leg in request.legs)):
                await self.instrument(request.broker, name)
            if not request.reduce_only:  # a stop, or a close: it waits for nobody's figures
                for name in [leg.instrument for leg in request.legs] or [request.instrument]:
                    await self.freshen(request.broker, self.instruments[request.broker, name])
        except DeskError:
            exiting = request.reduce_only or self.books.ledger.position(*key) * request.side.sign < 0
            if request.legs or not exiting or key not in self.instruments:
                raise

    async def fresh_account(self, broker: BrokerName) -> None:
        """See that its figures are young enough for an entry."""
        account = self.accounts.get(broker)
        if account is None or self.clock.now_ns() - account.recv_ns > self.limits.account_max_age_ns // 2:
            await self.refresh_account(broker)

    async def freshen(self, broker: BrokerName, instrument: Instrument) -> None:
        """The same, and its price."""
        now_ns = self.clock.now_ns()
        await self.fresh_account(broker)
        crypto = instrument.asset_class.is_crypto
        limit_ns = self.limits.crypto_quote_max_age_ns if crypto else self.limits.quote_max_age_ns
        quote = self.hub.latest(broker, instrument.id)
        if quote is None or now_ns - quote.transact_ns > limit_ns // 2:
            await self.hub.fetch(broker, instrument.id)

    def pricing(self, broker: BrokerName, instrument: InstrumentID) -> Pricing:
        """What a price is of: one unit, or of an option the units that a contract is about."""
        known = self.instruments.get((broker, instrument))
        if known is not None:
            return known.pricing
        return self.books.pricings.get((broker, instrument)) or Pricing(standard_multiplier(instrument))

    def pnl(self, broker: BrokerName, instrument: InstrumentID, price: Decimal) -> Decimal:
        """What it made here at this price, in the currency of that."""
        return self.books.ledger.pnl(broker, instrument, price, self.pricing(broker, instrument))

    def currency(self, broker: BrokerName, instrument: InstrumentID) -> str:
        """What its prices are in."""
        known = self.instruments.get((broker, instrument))
        return known.currency if known is not None else instrument.partition("/")[2] or self.base_currency

    def rate(self, broker: BrokerName, instrument: InstrumentID) -> Decimal | None:
        """What one unit of its currency is worth in BASE_CURRENCY, as its broker says, else another; None: none does."""
        return self.worth(broker, self.currency(broker, instrument))

    def worth(self, broker: BrokerName, currency: str) -> Decimal | None:
        """What one unit of a currency is worth in BASE_CURRENCY."""
        if currency == self.base_currency:
            return ONE
        said = [account.rates.get(currency) for account in (self.accounts.get(broker), *self.accounts.values()) if account is not None]
        return next((rate for rate in said if rate is not None), None)

    def asset_class(self, broker: BrokerName, instrument: InstrumentID) -> AssetClass:
        known = self.instruments.get((broker, instrument))
        if known is not None:
            return known.asset_class
        there = self.brokers.get(broker)
        return self.books.asset_classes.get((broker, instrument)) or _asset_class(instrument, () if there is None else there.facts.rules)

    # -- the small parts ------------------------------------------------------------------------------------------------------

    def cl_ord_id(self, request: NewOrder) -> ClOrdID:
        account = self.accounts.get(request.broker)
        environment = f"{self.environment}/dry" if self.dry_run else self.environment
        return derive_cl_ord_id(request.broker if account is None else account.account, environment, request.intent)

    def record(self, record: Record) -> Applied | None:
        """Fold a record into the books and put it in line for the disk, in one step: both see the same order of things."""
        applied = self._fold(record)
        self.journal.note(record)
        return applied

    def stood_still(self) -> bool:
        """Whether too long has passed since the last pulse. A suspended machine's monotonic clock may have stood still with it."""
        return max(self.clock.monotonic_ns() - self._ran_ns[0], self.clock.now_ns() - self._ran_ns[1]) > STANDSTILL_NS

    def pulse(self) -> bool:
        """The desk runs. True: again, after a standstill; nothing is ready then until it was looked at anew."""
        stood = self.stood_still()
        if stood:
            self.standstills += 1
            self.ready = dict.fromkeys(self.ready, False)
            still_s = (self.clock.now_ns() - self._ran_ns[1]) // 1_000_000_000
            self.alert("warning", f"the desk stood still for {still_s} s; it looks at everything anew before it takes new risk")
        self.awake()
        return stood

    def awake(self) -> None:
        """It runs, whatever time has passed: for whoever drives the time himself."""
        self._ran_ns = (self.clock.monotonic_ns(), self.clock.now_ns())

    async def wait(self, condition: Callable[[], bool], within_ns: int) -> bool:
        """Wait until the books satisfy something; False: not within that time."""
        deadline_ns = self.clock.monotonic_ns() + within_ns
        while not condition():
            if self.clock.monotonic_ns() >= deadline_ns:
                return False
            await self.clock.sleep_ns(_POLL_NS)
        return True

    def _fold(self, record: Record) -> Applied | None:
        applied = self.books.fold(record)
        for listener in self.listeners:
            listener(record, applied)
        return applied

    async def _own(self, work: Awaitable[Order]) -> Order:
        """Run an order's path in a task of the desk's: a caller that is cancelled cancels nothing."""
        task = asyncio.ensure_future(work)
        self._owned.add(task)
        task.add_done_callback(self._owned.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait for the orders whose path is under way."""
        if self._owned:
            await asyncio.wait(self._owned)

    def _became(self, request: NewOrder) -> Order | None:
        """The order that this intent is already, here or where its opening went. Raises BadRequest: it became another."""
        for name in self.routing.may_be_at(request):
            there = request if name == request.broker else changed(request, broker=name)
            known = self.books.blotter.get(self.cl_ord_id(there))
            if known is not None and (there.broker == request.broker or known.instrument == request.instrument):
                return self._same_wish(known, there)
        return None

    def _same_wish(self, known: Order, request: NewOrder) -> Order:
        same = (known.broker, known.instrument, known.side) == (request.broker, request.instrument, request.side)
        if not same:
            raise BadRequest(f"the intent {request.intent} already became {known.side} {known.instrument}; a new order needs a new intent")
        return known

    async def _from_journal(self, request: NewOrder) -> Order | None:
        """The same of an order that has left memory: an intent is one order for ever."""
        for there in (changed(request, broker=name) for name in self.routing.may_be_at(request) if self.books.retired):
            cl_ord_id = self.cl_ord_id(there)
            known = replay(await self.journal.about(cl_ord_id)).blotter.get(cl_ord_id)
            if known is not None and (there.broker == request.broker or known.instrument == request.instrument):
                return self._same_wish(known, there)
        return None

    def _replacement(self, request: Replace) -> tuple[NewOrder, Order]:
        order = self._known_or_refuse(request.cl_ord_id)
        new = NewOrder(
            broker=order.broker,
            instrument=order.instrument,
            side=order.side,
            ord_type=order.ord_type,
            time_in_force=order.time_in_force,
            order_qty=request.order_qty or order.order_qty or None,
            cash_order_qty=order.cash_order_qty,
            price=request.price or order.price,
            stop_px=request.stop_px or (None if order.ord_type is OrdType.TRAILING_STOP else order.stop_px),
            trail_px=request.trail_px or order.trail_px,
            trail_pct=request.trail_pct or order.trail_pct,
            protect_stop_px=order.protect_stop_px,
            attached=order.attached,
            parent=order.parent,
            protects=order.protects,
            reduce_only=order.reduce_only,
            intent=request.intent,
            repeat=True,
        )
        if self._became(new) is not None:
            return new, order  # it is that one already
        self._changeable(order.cl_ord_id)
        if order.legs:
            raise BadRequest(f"{order.cl_ord_id} is a multileg order: cancel it and place the one you want")
        if request.order_qty is not None and (order.parent is not None or order.attached is not None):
            raise BadRequest(f"{order.cl_ord_id} is linked to others: its prices can be changed, its quantity cannot")
        if order.parent is not None and not self._legs_change(order):
            raise BadRequest(f"{order.broker} changes no part of {order.parent}: cancel it, and place what you want anew")
        return new, order

    def _changeable(self, cl_ord_id: ClOrdID) -> Order:
        """Raises BadRequest: it cannot be changed, or not any more."""
        order = self._known_or_refuse(cl_ord_id)
        if order.ord_status.terminal or order.order_id is None or order.external:
            raise BadRequest(f"{order.cl_ord_id} is {order.ord_status}: only a working order of this desk can be changed")
        if order.cum_qty or order.stated_cum_qty:
            # What a new quantity means after a partial fill is not the same at any two brokers (0002-the-port.md).
            raise BadRequest(f"{order.cl_ord_id} is partly filled: cancel it and place the rest as a new order")
        for other in self.books.blotter.working_on(order.broker, order.instrument):
            if other.orig_cl_ord_id == cl_ord_id and other.order_id is None:  # where the broker keeps the order, two would both count as what it is
                raise BadRequest(f"{cl_ord_id} is being changed to {other.cl_ord_id} already: wait for what becomes of that, or cancel it")
        return order

    def _legs_change(self, leg: Order) -> bool:
        """Whether the broker lets the parts of this one's bracket be changed."""
        parent = self.books.blotter.get(leg.parent or leg.cl_ord_id)
        links = self._asked(leg).facts.links
        return parent is None or any(line.can_replace for line in links if parent.contingency in line.contingencies)

    def _known_or_refuse(self, cl_ord_id: ClOrdID) -> Order:
        order = self.books.blotter.get(cl_ord_id)
        if order is None:
            raise BadRequest(f"no order {cl_ord_id}; `trading orders --all` lists them")
        return order

    def _known(self, cl_ord_id: ClOrdID) -> Order:
        order = self.books.blotter.get(cl_ord_id)
        assert order is not None
        return order

    def _halt_instrument(self, order: Order, anomaly: Anomaly) -> None:
        text = f"{anomaly} on {order.cl_ord_id}: the broker's reports contradict each other; compare with the broker's own page, then resume"
        scope = f"{order.broker}:{order.instrument}"
        self.set_halt(Halt(scope=scope, level=Level.HALT, rule=anomaly.upper(), text=text, set_ns=self.clock.now_ns()))
        self.on_gap(order.broker)

    def _knight(self, order: Order, report: ExecutionReport) -> None:
        """What the broker has of ours is never more than was meant."""
        intended = order.order_qty
        if report.order_qty is not None and report.order_qty > intended and intended:
            intended = max((other.order_qty for other in self.books.blotter if other.orig_cl_ord_id == order.cl_ord_id), default=intended)
        wrong = knight(order, report, ZERO if order.cash_order_qty is not None else max(intended, order.order_qty))
        if wrong:
            self.set_halt(Halt(scope=order.broker, level=Level.HALT, rule="KNIGHT", text=wrong, set_ns=self.clock.now_ns()))

    def _trip(self, broker: BrokerName, now_ns: int) -> None:
        rejects = sum(1 for at_ns in self.books.rejects.get(broker, ()) if now_ns - at_ns < _MINUTE_NS)
        doubtful = sum(1 for order in self.books.blotter.unsettled() if order.broker == broker and order.doubt is Doubt.IN_DOUBT)
        halt = tripped(self.breaker, self.limits, broker, {"rejects": rejects, "in_doubt": doubtful}, now_ns)
        if halt is not None:
            self.set_halt(halt)


def _says_nothing_new(order: Order, applied: Applied) -> bool:
    if applied.bookings or applied.anomaly is not None or applied.order.ord_status is not order.ord_status:
        return False
    return changed(applied.order, updated_ns=order.updated_ns, text=order.text) == order


def _asset_class(instrument: InstrumentID, rules: Sequence[OrderRule]) -> AssetClass:
    """Of an instrument that was never looked up, by its name; a pair of moneys looks as one of coins does, and what its broker takes tells them
    apart."""
    base, pair, _ = instrument.partition("/")
    kinds = {rule.asset_class for rule in rules}
    if pair and AssetClass.FOREX in kinds and AssetClass.CRYPTO not in kinds:
        return AssetClass.FOREX
    if is_option(instrument):
        return AssetClass.CRYPTO_OPTION if parse_option(instrument).in_cash else AssetClass.OPTION
    if pair and "-" in base:
        future = AssetClass.LISTED_FUTURE if AssetClass.LISTED_FUTURE in kinds else AssetClass.FUTURE
        return AssetClass.PERPETUAL if base.endswith("-PERP") else future
    if is_cusip(instrument) and AssetClass.BOND in kinds:
        return AssetClass.BOND
    if is_fund(instrument) and AssetClass.FUND in kinds:
        return AssetClass.FUND
    return AssetClass.CRYPTO if pair else AssetClass.EQUITY


async def _explained(_: AccountSnapshot) -> bool:
    return False


async def _never_armed(_: BrokerName) -> bool:
    return True


def _not_pulled() -> Level | None:
    return None


def _ignore_order(_: Order) -> None:
    return None


def _ignore_broker(_: BrokerName) -> None:
    return None
