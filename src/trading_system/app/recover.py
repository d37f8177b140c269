"""Knowing what the broker knows: the start-up order, the watch that reconciles for as long as the desk runs, and the resolver of orders in doubt."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import Decimal

from trading_system.app.desk import CANCELS_MAX, ESCALATE_NS, Desk
from trading_system.app.outside import Outside
from trading_system.app.protect import Protector
from trading_system.app.venue_deadman import VenueDeadMan
from trading_system.core.reconcile import Difference, Kind, compare_orders
from trading_system.core.risk import Halt, Level
from trading_system.domain.account import AccountSnapshot
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, JournalError, ProtocolError
from trading_system.domain.fix import Doubt, OrdStatus
from trading_system.domain.ids import BrokerName, ClOrdID
from trading_system.domain.money import plain
from trading_system.domain.order import Order
from trading_system.domain.ports import Broker, CancelsWhenSilent, Link, RecallsChanges, StreamState, WaitsItsTurn
from trading_system.domain.report import ExecutionReport
from trading_system.journal.record import ClosedUnsent, Doubted, Escalated, Started, Watermark

SECOND_NS = 1_000_000_000
POLL_NS = 15 * SECOND_NS  # orders, fills and positions, besides the stream: a lost fill is found well within a minute
GAP_NS = SECOND_NS  # the least time between two looks that somebody asked for
OVERLAP_NS = 300 * SECOND_NS  # how far before the watermark fills are read again
BEHIND_NS = 86_400 * SECOND_NS  # the most it stays behind in a quiet market; no clock that is of use is off by a day
WATERMARK_NS = 60 * SECOND_NS  # how often the journal learns how far fills were read
WATERMARK_IDLE_NS = 3600 * SECOND_NS  # while nothing fills: a year of quiet is few records
LIVE_WITHIN_NS = 3 * SECOND_NS  # how long the start waits for a stream, so that one look is enough
ALERT_NS = 10 * SECOND_NS  # an order in doubt for this long is an alert
RESOLVE_MAX_NS = 30 * SECOND_NS  # the slowest pace of asking
SKEW_NS = SECOND_NS // 2  # clocks further apart than this are worth an alert
PULSE_NS = 5 * SECOND_NS  # how often the desk notes that it runs
UNSEEN_NS = 300 * SECOND_NS  # a critical alert must be seen within this, on a live desk
_LOOK = "look for it on the broker's own page; is it not there, `trading resolve"
NOT_FOUND_MIN = 3  # answers "not found", after the horizon, before an order counts as absent


class Recovery:
    """Brings a desk to where it may trade, and keeps it there. One watch per broker. dead_man: brokers whose own dead man's switch is wanted.
    feeds: whether this desk lives for longer than one command, and so may feed one."""

    def __init__(
        self,
        desk: Desk,
        *,
        version: str,
        config_hash: str,
        account_lease: Callable[[AccountSnapshot], None] = lambda _: None,
        dead_man: frozenset[BrokerName] = frozenset(),
        feeds: bool = True,
    ) -> None:
        self.desk = desk
        self._version = version
        self._config_hash = config_hash
        self._account_lease = account_lease
        self._tasks: set[asyncio.Task[None]] = set()
        self._resolving: set[ClOrdID] = set()
        self._protector = Protector(desk)
        self._watches = {name: Watch(desk, name) for name in desk.brokers}
        self._dead_man = dead_man
        self._dead_men = {
            name: VenueDeadMan(desk, name, broker, feeds=feeds)
            for name, broker in desk.brokers.items()
            if name in dead_man and isinstance(broker, CancelsWhenSilent) and not desk.dry_run
        }

    async def start(self) -> None:
        """Connect, prove the accounts, ask about every order in doubt, reconcile, only then trade.

        Raises: AuthFailed, Unavailable, ProtocolError, LeaseHeld: no desk. The journal says that it tried.
        """
        desk = self.desk
        desk.on_doubt = self._resolve_soon
        desk.on_gap = lambda name: self._watches[name].wake()
        desk.on_fill = self._protector.on_fill
        desk.disarm = self._disarm
        desk.dead_men = lambda: {name: self._told(name) for name in sorted(self._dead_man & desk.brokers.keys())}
        desk.explain = lambda snapshot: self._watches[snapshot.broker].outside.explain(snapshot)
        for name, broker in desk.brokers.items():
            await broker.connect()
            if name in self._dead_men:
                self._dead_men[name].begin()
                self._spawn(self._dead_men[name].run(), f"dead man's switch of {name}")
            if isinstance(broker, WaitsItsTurn):
                broker.look_with(desk.last_hop)
            if isinstance(broker, RecallsChanges):
                broker.recall(order for order in desk.books.blotter if order.broker == name)
            snapshot = await broker.account()
            self._account_lease(snapshot)
            desk.accounts[name] = snapshot
        desk.step("accounts proven")
        desk.record(
            Started(
                epoch=desk.books.epoch + 1,
                version=self._version,
                config_hash=self._config_hash,
                environment=desk.environment,
                brokers=tuple(desk.brokers),
                now_ns=desk.clock.now_ns(),
            )
        )
        desk.step("start noted")
        await desk.journal.flush()
        desk.step("started")
        for order in desk.books.in_doubt():
            if order.broker not in desk.brokers:
                self._leave_to_a_person(order)
                continue
            if order.doubt is Doubt.NONE:
                desk.record(Doubted(cl_ord_id=order.cl_ord_id, text="the desk stopped before an answer came", now_ns=desk.clock.now_ns()))
                desk.step("old doubt noted")
            self._resolve_soon(order)  # already here: what follows may take its time at a slow broker, and a lasting doubt is told in time
        for order in desk.books.in_doubt():
            if order.broker in desk.brokers:
                await self._ask(desk.brokers[order.broker], order)
        desk.step("doubts asked")
        self._spawn(self._pulse(), "pulse")
        self._spawn(desk.routing.run(), "routing")
        for watch in self._watches.values():
            await watch.load_instruments()
            self._spawn(watch.pump(), f"events {watch.name}")
            await desk.wait(lambda watch=watch: watch.live, LIVE_WITHIN_NS)  # type: ignore[misc]  # bound at once
            await watch.reconcile()
            self._spawn(watch.run(), f"watch {watch.name}")
        self._spawn(self._protector.run(), "protection")
        self._spawn(self._judge_unseen(), "alerts")
        desk.step("recovered")

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in tuple(self._tasks):
            with suppress(asyncio.CancelledError):
                await task
        for dead_man in self._dead_men.values():
            await dead_man.aclose()

    async def _disarm(self, name: BrokerName) -> bool:
        return name not in self._dead_men or await self._dead_men[name].disarm()

    def _told(self, name: BrokerName) -> str | None:
        """Why a switch that is wanted is not armed; None: it is."""
        if name in self._dead_men:
            return self._dead_men[name].told()
        return "a dry run arms nothing" if self.desk.dry_run else f"{self.desk.brokers[name].facts.title} has none"

    async def _pulse(self) -> None:
        while True:
            if self.desk.pulse():
                for watch in self._watches.values():
                    watch.wake()
            await self.desk.clock.sleep_ns(PULSE_NS)

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A watch that dies takes the desk's readiness with it, for as long as this process runs, and says so: nothing trades on half a view."""
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        self.desk.ended = self.desk.ended or task.get_name()
        for name in self.desk.ready:
            self.desk.ready[name] = False
        if isinstance(error, BaseExceptionGroup):  # of the protector, who places several stops at once
            _, error = error.split(JournalError)
        if error is not None and not isinstance(error, JournalError):
            text = f"{task.get_name()} stopped: {error!r}; restart the desk, then resume"
            self.desk.set_halt(Halt(scope="all", level=Level.HALT, rule="WATCH", text=text, set_ns=self.desk.clock.now_ns()))

    async def _judge_unseen(self) -> None:
        """Live: a critical alert that nobody has seen for a while stops new risk (Knight Capital's desk had 97 mails that nobody read)."""
        desk = self.desk
        while desk.environment == "live":
            now_ns = desk.clock.now_ns()
            late = [text for text, at_ns in desk.books.critical() if now_ns - at_ns >= UNSEEN_NS]
            if late:
                text = f"nobody has acknowledged for {UNSEEN_NS // SECOND_NS} s: {late[0]}; `trading alerts --ack all`, then resume"
                desk.set_halt(Halt(scope="all", level=Level.REDUCE_ONLY, rule="UNSEEN", text=text, set_ns=now_ns))
            await desk.clock.sleep_ns(POLL_NS)

    # -- orders in doubt ------------------------------------------------------------------------------------------------------

    def _resolve_soon(self, order: Order) -> None:
        if order.cl_ord_id not in self._resolving:
            self._resolving.add(order.cl_ord_id)
            self._spawn(self._resolve(order), f"resolve {order.cl_ord_id}")
            self._spawn(self._tell(order), f"tell of {order.cl_ord_id}")

    def _leave_to_a_person(self, order: Order) -> None:
        """Its broker is not on this desk, so nobody here can ask. It keeps what it reserves."""
        text = f"{order.broker} is not on this desk: put its key back, or {_LOOK} {order.cl_ord_id}`"
        if order.text != text:
            self.desk.record(Escalated(cl_ord_id=order.cl_ord_id, text=text, now_ns=self.desk.clock.now_ns()))
            self.desk.alert("critical", f"{order.cl_ord_id} is in doubt; {text}")

    async def _tell(self, order: Order) -> None:
        """Beside the questions, which may take their time: whoever waits hears of it after ALERT_NS, and is asked to look after ESCALATE_NS."""
        desk = self.desk
        await desk.clock.sleep_ns(ALERT_NS)
        if order.cl_ord_id in self._resolving and self._doubtful(order.cl_ord_id):
            desk.alert("warning", f"{order.cl_ord_id} is in doubt at {order.broker}; it is being asked about, do not send it again")
        await desk.clock.sleep_ns(ESCALATE_NS - ALERT_NS)
        current = desk.books.blotter.get(order.cl_ord_id)
        if order.cl_ord_id in self._resolving and current is not None and current.doubt is Doubt.IN_DOUBT:
            text = f"in doubt for {ESCALATE_NS // SECOND_NS} s: {_LOOK} {order.cl_ord_id}`"
            desk.record(Escalated(cl_ord_id=order.cl_ord_id, text=text, now_ns=desk.clock.now_ns()))
            desk.alert("critical", f"{order.cl_ord_id} at {order.broker} {text}")

    async def _resolve(self, order: Order) -> None:
        """Ask until the broker says, or until it has said "not found" often enough, long enough, in enough places."""
        desk, broker = self.desk, self.desk.brokers[order.broker]
        started_ns, pace_ns, not_found = desk.clock.monotonic_ns(), SECOND_NS, 0
        # From here, not from sent_ns: time of day may step, and a slow disk may have held the order back after sent_ns.
        horizon_ns = started_ns + broker.facts.late_accept_ns + broker.facts.visibility_lag_ns
        try:
            while self._doubtful(order.cl_ord_id):
                await desk.clock.sleep_ns(pace_ns)
                pace_ns = min(2 * pace_ns, RESOLVE_MAX_NS)
                asked_ns = desk.clock.monotonic_ns()
                if not self._doubtful(order.cl_ord_id):
                    return
                absent = await self._ask(broker, order)
                healthy = desk.ready[order.broker] and self._watches[order.broker].outside.matched
                not_found = not_found + 1 if absent and healthy and asked_ns > horizon_ns else 0
                # Looking takes its time: the stream may have told of the order meanwhile.
                if absent and not_found >= NOT_FOUND_MIN and await self._nowhere(broker, order) and self._doubtful(order.cl_ord_id):
                    text = f"{not_found} times not found after the horizon, neither by id nor among orders and fills; units and money agree"
                    desk.record(ClosedUnsent(cl_ord_id=order.cl_ord_id, text=text, proven_absent=True, now_ns=desk.clock.now_ns()))
                    desk.alert("warning", f"{order.cl_ord_id} never reached {order.broker}: {text}")
                    return
        finally:
            self._resolving.discard(order.cl_ord_id)

    def _doubtful(self, cl_ord_id: ClOrdID) -> bool:
        order = self.desk.books.blotter.get(cl_ord_id)
        return order is not None and order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED)

    async def _ask(self, broker: Broker, order: Order) -> bool:
        """One question by id. True: it answered "not found"."""
        try:
            report = await self.desk.question(order)
        except DeskError:
            return False
        if report is None:
            return True
        self.desk.on_report(report)
        return False

    async def _nowhere(self, broker: Broker, order: Order) -> bool:
        """The other places to look: among the open orders, among the fills, and in the account, which shows what no report told."""
        try:
            known_ns = self.desk.books.watermarks.get(order.broker, order.sent_ns)
            reports = (*await broker.open_orders(), *await broker.fills(min(known_ns, order.sent_ns) - OVERLAP_NS))
            snapshot = await broker.account()
        except DeskError:
            return False
        for report in reports:
            if report.cl_ord_id == order.cl_ord_id:
                self.desk.on_report(report)
                return False
        return self._watches[order.broker].outside.untouched(snapshot, order)


class Watch:
    """One broker: its event stream, and the comparison of its books with ours."""

    def __init__(self, desk: Desk, name: BrokerName) -> None:
        self.name = name
        self.outside = Outside(desk, name)
        self._desk = desk
        self._broker = desk.brokers[name]
        self.live = False  # the order stream is logged in and subscribed
        self._refused = False
        self._skew_told = False
        self._stubborn: set[ClOrdID] = set()
        self._barren: set[ClOrdID] = set()  # brackets that ended unfilled, and nothing was made for them
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def pump(self) -> None:
        """Hand on what the broker's streams say. An event is folded at once; what was missed meanwhile, reconcile() reads again.
        A message that cannot be read halts the broker for new risk; the stream goes on, because exits and fills still matter.
        A login that is refused is not tried again: the polling of run() goes on without the stream."""
        while not self._refused:
            try:
                await self._follow()
            except ProtocolError as error:
                self._desk.ready[self.name] = False
                self._desk.set_halt(Halt(scope=self.name, level=Level.HALT, rule="PROTOCOL", text=str(error), set_ns=self._desk.clock.now_ns()))
                self.wake()
            await self._desk.clock.sleep_ns(GAP_NS)

    async def _follow(self) -> None:
        links = self._desk.hub.links
        async for event in self._broker.events():
            if isinstance(event, StreamState):
                links.take(event)
            else:
                links.heard(self.name, "orders", self._desk.clock.now_ns())
            match event:
                case ExecutionReport():
                    self._desk.on_report(event)
                case AccountSnapshot():
                    self._desk.on_account(event)
                case StreamState(link=link):
                    self.live = link in (Link.LIVE, Link.BACKFILLED)
                    if not self.live:
                        self._desk.ready[self.name] = False
                    self.wake()  # whether it is back or gone: what it did not tell is read now
                    if link is Link.REFUSED:
                        self._refused = True
                        now_ns = self._desk.clock.now_ns()
                        self._desk.set_halt(Halt(scope=self.name, level=Level.HALT, rule="CREDENTIALS", text=event.text, set_ns=now_ns))

    async def run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await _woken_within(self._desk, self._wake, POLL_NS)
            self._wake.clear()
            await self.reconcile()
            await self._desk.clock.sleep_ns(GAP_NS)

    async def load_instruments(self) -> None:
        """The grids of everything we hold or have open, so that marks and closings need no second look. What has ended, and what cannot be traded
        here, has none."""
        broker_keys = [key for key in (*self._desk.books.ledger.traded(), *self._desk.books.blotter.reserved_keys()) if key[0] == self.name]
        held = [position.instrument for position in self._desk.accounts[self.name].positions]
        for instrument in sorted({key[1] for key in broker_keys} | set(held)):
            with suppress(BadRequest):
                await self._desk.instrument(self.name, instrument)

    async def reconcile(self) -> None:
        """One look: orders, fills, account, positions. Ready only when it went through and the stream lives."""
        desk, live_before, standstills = self._desk, self.live, self._desk.standstills
        try:
            await self._look()
        except (ProtocolError, AuthFailed) as error:
            desk.ready[self.name] = False
            rule = "PROTOCOL" if isinstance(error, ProtocolError) else "CREDENTIALS"
            desk.set_halt(Halt(scope=self.name, level=Level.HALT, rule=rule, text=str(error), set_ns=desk.clock.now_ns()))
        except JournalError:
            raise
        except DeskError:
            self._wake.set()  # could not be asked: try again at the next turn; readiness stays what the stream made it
        else:
            desk.ready[self.name] = live_before and self.live and standstills == desk.standstills and not desk.ended

    async def _look(self) -> None:
        desk, books = self._desk, self._desk.books
        desk.step("look begun")
        asked_ns = desk.clock.now_ns()
        before_ns = books.watermarks.get(self.name)
        first = before_ns is None  # nothing was ever compared: what is there now is where we begin
        ours = tuple(order for order in books.blotter.working() if order.broker == self.name and order.doubt is Doubt.NONE)
        theirs = await self._broker.open_orders()
        known = {order.cl_ord_id: order for order in books.blotter if order.broker == self.name}
        for difference in compare_orders(ours, known, theirs):
            await self._heal(difference, first=first)
        childless = books.childless(self.name)
        self._barren &= {order.cl_ord_id for order in childless}
        for order in childless:
            if order.cl_ord_id in self._barren:
                continue
            report = await self._broker.order_status(order.cl_ord_id)
            if report is not None:
                desk.on_report(report)
                if order.settled and not order.stated_cum_qty:  # some brokers make exits for what is filled alone: it is asked about once
                    self._barren.add(order.cl_ord_id)
        desk.step("orders compared")
        since_ns = books.first_start_ns[self.name] if before_ns is None else before_ns - OVERLAP_NS
        fills = await self._broker.fills(max(since_ns, books.first_start_ns[self.name]))
        for fill in fills:
            desk.on_report(fill)
        desk.step("fills read")
        await self.outside.compare({report.order_id for report in theirs} if first else None)
        desk.step("positions compared")
        await desk.enforce_kill(self.name)
        await self._insist()
        if self._broker.skew_ns() > SKEW_NS and not self._skew_told:
            self._skew_told = True
            off = plain(Decimal(self._broker.skew_ns()) / SECOND_NS)
            desk.alert("warning", f"this machine's clock is at least {off} s off {self.name}'s: let NTP set it, quotes will look too old or too new")
        newest_ns = max((fill.transact_ns for fill in fills), default=since_ns)
        mark_ns = max(newest_ns, since_ns, asked_ns - BEHIND_NS)  # in the broker's time: ours may step
        due_ns = WATERMARK_NS if before_ns is not None and newest_ns > before_ns else WATERMARK_IDLE_NS
        if before_ns is None or mark_ns - before_ns >= due_ns:
            desk.record(Watermark(broker=self.name, fills_ns=mark_ns))
            desk.step("watermark moved")

    async def _insist(self) -> None:
        """What nobody wants any more and still works is asked to go again, CANCELS_MAX times in all; then a person is told."""
        for order in self._desk.books.unwanted(self.name):
            if order.order_id is None or order.doubt is not Doubt.NONE or order.ord_status is OrdStatus.PENDING_CANCEL:
                continue
            if order.cl_ord_id not in self._desk.books.cancels:
                continue  # it ended while an earlier one was being asked to
            if self._desk.books.cancels[order.cl_ord_id] < CANCELS_MAX:
                await self._desk.cancel(order.cl_ord_id)
            elif order.cl_ord_id not in self._stubborn:
                self._stubborn.add(order.cl_ord_id)
                self._desk.alert("critical", f"{order.cl_ord_id} still works at {self.name} after {CANCELS_MAX} requests to cancel it")
        self._stubborn &= self._desk.books.cancels.keys()

    async def _heal(self, difference: Difference, *, first: bool) -> None:
        if difference.report is not None:  # foreign, stranger or stale: on_report adopts, halts or folds
            self._desk.on_report(difference.report, prior=first)
            return
        assert difference.kind is Kind.ABSENT_ORDER
        assert difference.cl_ord_id is not None
        order = self._desk.books.blotter.get(difference.cl_ord_id)
        if order is not None and not order.ord_status.terminal:
            report = await self._desk.question(order)
            if report is not None:
                self._desk.on_report(report)


async def _woken_within(desk: Desk, wake: asyncio.Event, within_ns: int) -> None:
    async with asyncio.timeout(within_ns / SECOND_NS):
        await wake.wait()
