"""What must hold whatever happens (RELIABILITY.md §4), judged by somebody who sees the venue's truth.

On every event: I1 one send per intent, and only for what somebody asked · I2 true exposure within the limits, what is under way included; no
entry beside an order in doubt, or while nobody listens · I5 nothing but exits leaves under a halt, a restart included, and what passes as an exit
is one · I6 no doubt about what was answered · I7 the intent is on disk before its first byte · I9 states and quantities are monotone; an anomaly
halts its instrument · I12 no more orders than the budget · I13 no entry on an old quote · I15 a rule's halt and a lasting doubt have their alert,
a stranger of our form its halt · I17 an execution that the stream told is booked at once.
At each crash: I4 the disk holds a prefix of what was told, in its order. At rest: I1, I3 cash and positions to the last digit, I4 replay gives
the live state, I6 nobody is stuck, I8 no false terminal, I10 every fill once, I14 no secret on disk (full stack), I16 nothing waits.
In the stage's last act: I17 what the stream does not tell is noticed within a minute, and what it tells at once.
Where openings may go over: I1 an intent is sent to one venue, I18 none beside an order or a position of ours at the first one.
I11, protective stops, neither too few nor too many: guards.py, in the full stack, whose venue takes stops.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Protocol

import msgspec

from trading_system.app.desk import Desk
from trading_system.core.lifecycle import Applied
from trading_system.core.options import standard_multiplier
from trading_system.core.risk import Halt, Level, Limits
from trading_system.domain.fix import Doubt, ExecType, OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, is_ours
from trading_system.domain.money import ZERO
from trading_system.domain.option import underlying_of
from trading_system.domain.order import Approved, Order, shares_of
from trading_system.domain.report import ExecutionReport
from trading_system.journal.record import Alert, ClosedUnsent, Doubted, HaltSet, Intent, Record, Reported, Routed, encode
from trading_system.journal.replay import Books, replay
from trading_system.sim.clock import SECOND_NS, VirtualClock

SURPRISE_NS = 300 * SECOND_NS  # a move that nobody told the desk of is not held against it for so long
SLACK = Decimal("1.05")  # the desk's equity and mark may be a minute old
DOUBT_ALERT_NS = 20 * SECOND_NS  # ten seconds, and the stage's own pace of looking
ORDERS_PER_MINUTE = 600
NOT_READY = "I6 the desk is not ready"


class TrueOrder(Protocol):
    """An order as its venue has it."""

    @property
    def cl_ord_id(self) -> str: ...
    @property
    def status(self) -> OrdStatus: ...
    @property
    def cum(self) -> Decimal: ...
    @property
    def leaves(self) -> Decimal: ...
    @property
    def foreign(self) -> bool: ...


class Truth(Protocol):
    """What the venues know, whatever they tell."""

    currency: str  # what cash is in
    grain: Decimal  # the smallest part of cash that its messages state

    def orders(self, broker: BrokerName) -> Iterable[TrueOrder]: ...
    def order(self, broker: BrokerName, cl_ord_id: str) -> TrueOrder | None: ...
    def under_way(self, broker: BrokerName, cl_ord_id: ClOrdID) -> bool: ...
    def executions(self, broker: BrokerName) -> Mapping[str, tuple[Decimal, Decimal]]: ...
    def position(self, broker: BrokerName, instrument: InstrumentID) -> Decimal: ...
    def mid(self, broker: BrokerName, instrument: InstrumentID) -> Decimal: ...
    def cash(self, broker: BrokerName) -> Decimal: ...
    def equity(self) -> Decimal: ...
    def posts(self, broker: BrokerName) -> Mapping[str, int]: ...
    def streaming(self, broker: BrokerName) -> bool: ...


class Oracle:
    """Watches one world. `found` is what it holds against the desk."""

    def __init__(self, truth: Truth, clock: VirtualClock, limits: Limits, names: tuple[InstrumentID, ...], *, clock_slack_ns: int) -> None:
        self.truth = truth
        self.clock = clock
        self.limits = limits
        self.names = names
        self.clock_slack_ns = clock_slack_ns  # how far the desk's clock may have stepped
        self.coins = True  # whether what is written with a slash is a coin
        self.found: list[str] = []
        self.told: list[bytes] = []  # every record the desk folded, in order: what the disk must hold a prefix of
        self.sent: dict[tuple[BrokerName, InstrumentID], list[Approved]] = {}
        self.halts: dict[str, Halt] = {}  # the owner's, from when the desk said they are set until it was told to resume
        self.homes: dict[str, BrokerName] = {}  # by intent: where it was asked for, where openings may go over
        self.flattens = 0  # how often the owner asked for it
        self.seen_in_doubt: set[ClOrdID] = set()
        self.answered: set[ClOrdID] = set()  # in this life: the venue's answer came as it was given
        self._intents: dict[ClOrdID, Approved] = {}
        self._sends: Counter[str] = Counter()
        self._at: dict[tuple[BrokerName, InstrumentID], BrokerName] = {}  # where openings go, by where they are asked for
        self._went: dict[str, BrokerName] = {}  # by intent: where it was sent
        self._send_ns: list[int] = []
        self._durable: set[ClOrdID] = set()
        self._durable_seq = 0
        self._surprises: list[tuple[int, BrokerName, InstrumentID, Decimal]] = []
        self._awaited_alert: str | None = None
        self._awaited_halt: str | None = None
        self._alerted: set[str] = set()
        self._stubborn: set[str] = set()  # a person was told that these cannot be cancelled
        self._doubt_since: dict[ClOrdID, int] = {}
        self._before: dict[ClOrdID, Order] = {}

    def hold(self, text: str) -> None:
        if text not in self.found:
            self.found.append(text)

    # -- a process's life ---------------------------------------------------------------------------------------------------------------

    def meet(self, desk: Desk, alive: Callable[[], bool]) -> None:
        """A desk was built on this disk: what it read must be what was told, as far as it goes."""
        disk = [encode(entry.record) for entry in desk.journal.read()]
        if disk != self.told[: len(disk)]:
            at = next((place for place, (there, here) in enumerate(zip(disk, self.told, strict=False)) if there != here), len(self.told))
            self.hold(f"I4 record {at + 1} on disk is not what the desk folded: {disk[at][:80]!r}")
        self.told = disk
        self.desk, self._alive = desk, alive
        self._durable_seq, self._durable = 0, set()
        self.answered = set()
        self._doubt_since, self._awaited_alert, self._awaited_halt, self._send_ns = {}, None, None, []
        self._before = {order.cl_ord_id: order for order in desk.books.blotter}
        self._at = {key: routed.to for key, routed in desk.books.routes.items()}
        desk.listeners.append(lambda record, applied: self.on_record(record, applied) if alive() else None)

    def on_record(self, record: Record, applied: Applied | None) -> None:
        self.told.append(encode(record))
        if self._awaited_alert is not None and not (isinstance(record, Alert) and self._awaited_alert in record.text):
            self.hold(f"I15 no alert for the halt {self._awaited_alert}")
        if self._awaited_halt is not None and not (isinstance(record, HaltSet) and record.halt.scope == self._awaited_halt):
            self.hold(f"I9 {self._awaited_halt} goes on after an anomaly")
        self._awaited_alert = self._awaited_halt = None
        match record:
            case Intent(approved=approved):
                self._intents[approved.cl_ord_id] = approved
                self._judge_approval(approved)
            case Routed():
                self._judge_move(record)
            case Reported() if applied is not None:
                self._judge_order(record, applied)
            case Doubted(cl_ord_id=cl_ord_id) if cl_ord_id in self.answered:
                self.hold(f"I6 {cl_ord_id} was answered and is in doubt: {record.text}")
            case HaltSet(halt=halt) if halt.rule != "OWNER":
                self._awaited_alert = halt.rule
                if halt.rule == "WATCH":
                    self.hold(f"a task of the desk died: {halt.text}")
            case Alert(text=text):
                if "still works" in text:
                    self._stubborn |= {word for word in text.split() if is_ours(word)}
                self._alerted |= {word for word in text.split() if is_ours(word)}

    def tick(self) -> None:
        """Now and then: who is in doubt, and since when. A dead process tells nobody; the next one's patience begins anew."""
        if not self._alive():
            return
        now_ns = self.clock.monotonic_ns()
        doubtful = {order.cl_ord_id for order in self.desk.books.blotter.unsettled() if order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED)}
        self.seen_in_doubt |= doubtful
        self._doubt_since = {cl_ord_id: self._doubt_since.get(cl_ord_id, now_ns) for cl_ord_id in sorted(doubtful)}
        for cl_ord_id, since_ns in self._doubt_since.items():
            if now_ns - since_ns > DOUBT_ALERT_NS and cl_ord_id not in self._alerted:
                self.hold(f"I15 {cl_ord_id} is in doubt for {(now_ns - since_ns) // SECOND_NS} s without an alert")

    # -- on every event -----------------------------------------------------------------------------------------------------------------

    def on_send(self, broker: BrokerName, cl_ord_id: ClOrdID) -> None:
        """The first byte of an order is about to leave."""
        approved = self._intents.get(cl_ord_id)
        for entry in self.desk.journal.read(self._durable_seq):
            self._durable_seq = entry.seq
            if isinstance(entry.record, Intent):
                self._durable.add(entry.record.approved.cl_ord_id)
        if approved is None or cl_ord_id not in self._durable:
            self.hold(f"I7 {cl_ord_id} leaves before its intent is on disk")
            return
        self._sends[cl_ord_id] += 1
        if self._sends[cl_ord_id] > 1:
            self.hold(f"I1 {cl_ord_id} is sent {self._sends[cl_ord_id]} times")
        now_ns = self.clock.monotonic_ns()
        self._send_ns = [*(at_ns for at_ns in self._send_ns if now_ns - at_ns < 60 * SECOND_NS), now_ns]
        if len(self._send_ns) > min(ORDERS_PER_MINUTE, 2 * self.limits.max_orders_per_minute):
            self.hold(f"I12 {len(self._send_ns)} orders within a minute")
        asked = approved.request.intent.startswith("w") or approved.request.protects is not None
        if not (asked or (self.flattens and approved.request.intent.startswith("flatten-"))):
            self.hold(f"I1 nobody asked for {approved.request.intent}")
        self._judge_halts(approved)
        self._judge_place(approved)
        if approved.request.legs and shares_of(approved.request.legs) is None:
            return  # a net price has no units of one instrument: what legs may do is the gate's own test's to show
        self.sent.setdefault((broker, approved.request.instrument), []).append(approved)
        self.judge_exposure(approved)
        if _closes(approved):
            self._judge_exit(approved)

    def _judge_place(self, approved: Approved) -> None:
        """I18: an opening leaves for another venue than the one it was asked for at only while nothing of ours on its instrument lives there."""
        request = approved.request
        home = self.homes.get(request.intent)
        if home is None:
            return
        if self._went.setdefault(request.intent, request.broker) != request.broker:
            self.hold(f"I1 {request.intent} is sent to {self._went[request.intent]} and to {request.broker}")
        if home == request.broker or approved.reducing:
            return
        for text in self._alive_at(home, request.instrument):
            self.hold(f"I18 {approved.cl_ord_id} leaves for {request.broker} beside {text}")

    def _judge_move(self, record: Routed) -> None:
        """I18: what moves is held, and worked on, neither where it is asked for nor where it was."""
        key = (record.home, record.instrument)
        for name in dict.fromkeys((record.home, self._at.get(key, record.home))):
            if self.desk.books.ledger.position(name, record.instrument):
                self.hold(f"I18 {record.instrument} goes from {self._at.get(key, record.home)} to {record.to} and is held at {name}")
            for text in self._alive_at(name, record.instrument):
                self.hold(f"I18 {record.instrument} goes to {record.to} beside {text}")
        self._at[key] = record.to

    def _alive_at(self, name: BrokerName, instrument: InstrumentID) -> list[str]:
        """Openings of ours that live at a venue, or may: it has them, they are under way, or the desk does not know."""
        found = []
        for earlier in self.sent.get((name, instrument), ()):
            order, known = self.truth.order(name, earlier.cl_ord_id), self.desk.books.blotter.get(earlier.cl_ord_id)
            live = self.truth.under_way(name, earlier.cl_ord_id) if order is None else not order.status.terminal
            if not earlier.reducing and (live or (known is not None and not known.settled)):
                found.append(f"{earlier.cl_ord_id}, which may live at {name}")
        return found

    def surprise(self, broker: BrokerName, instrument: InstrumentID, qty: Decimal) -> None:
        """The position moved by something that the desk could not know of beforehand."""
        self._surprises.append((self.clock.monotonic_ns(), broker, instrument, qty))

    def judge_exposure(self, approved: Approved) -> None:
        """I2, when an order leaves and when it arrives: with everything that may still fill, the limits hold at this order's own price."""
        if _closes(approved):
            return
        broker, instrument, (side, units) = approved.request.broker, approved.request.instrument, _moves(approved)
        crypto = self.coins and "/" in instrument
        equity = self.truth.equity() * SLACK
        exposure = side.sign * self.truth.position(broker, instrument) + self._opening(broker, instrument, side.sign)
        exposure -= sum((qty * side.sign for qty in self._moved(broker, instrument) if qty * side.sign > 0), ZERO)
        pct = self.limits.crypto_max_position_pct if crypto else self.limits.max_position_pct
        worth = exposure * approved.reserve_px / units
        if worth > pct * equity:
            self.hold(f"I2 {instrument} at {broker} may reach {worth:.0f} with {approved.cl_ord_id}, the limit is {pct * equity:.0f}")
        gross, keys = ZERO, set()
        for key in sorted({*self.sent, *((broker, name) for broker in self.desk.brokers for name in self.names)}):
            held, opening = abs(self._position(*key)), self._opening(*key, 1) + self._opening(*key, -1)
            gross += (held + opening) * self.truth.mid(*key) * standard_multiplier(key[1])
            if held or opening:
                keys.add((key[0], underlying_of(key[1])))
        if gross > self.limits.max_leverage * equity:
            self.hold(f"I2 gross exposure may reach {gross:.0f} with {approved.cl_ord_id}, the limit is {self.limits.max_leverage * equity:.0f}")
        others = any(order.foreign for name in self.desk.brokers for order in self.truth.orders(name))  # theirs open positions too
        if len(keys) > self.limits.max_concurrent_positions and not self.truth.position(broker, instrument) and not others:
            self.hold(f"I2 {len(keys)} positions may be open with {approved.cl_ord_id}, the limit is {self.limits.max_concurrent_positions}")

    def _position(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        """The true position, less what may not be held against the desk: towards zero, never away from it."""
        position, moved = self.truth.position(broker, instrument), self._moved(broker, instrument)
        if position > 0:
            return max(ZERO, position - sum((qty for qty in moved if qty > 0), ZERO))
        return min(ZERO, position - sum((qty for qty in moved if qty < 0), ZERO))

    def _moved(self, broker: BrokerName, instrument: InstrumentID) -> list[Decimal]:
        since_ns = self.clock.monotonic_ns() - SURPRISE_NS
        return [qty for at_ns, name, what, qty in self._surprises if (name, what) == (broker, instrument) and at_ns >= since_ns]

    def _opening(self, broker: BrokerName, instrument: InstrumentID, sign: int, *, exits: bool = False, but: ClOrdID | None = None) -> Decimal:
        """What opening orders of one side may still fill, open at the venue or under way. exits: all orders; but: not one being replaced."""
        total = ZERO
        for approved in self.sent.get((broker, instrument), ()):
            side, units = _moves(approved)
            if (_closes(approved) and not exits) or side.sign != sign or approved.cl_ord_id == but:
                continue
            order = self.truth.order(broker, approved.cl_ord_id)
            if order is not None:
                total += order.leaves * units
            elif self.truth.under_way(broker, approved.cl_ord_id):
                total += approved.reserve_qty * units
        return total

    def _judge_halts(self, approved: Approved) -> None:
        request = approved.request
        places = {request.broker, self.homes.get(request.intent, request.broker)}
        scopes = {scope for name in places for scope in _scopes(name, request.instrument, coins=self.coins)}
        for halt in (*self.desk.books.halts.values(), *self.halts.values()):
            if halt.scope in scopes and not approved.reducing:
                self.hold(f"I5 {approved.cl_ord_id} leaves while {halt.scope} is halted by {halt.rule}")

    def _judge_approval(self, approved: Approved) -> None:
        """What the gate let pass, at the instant it did."""
        if approved.reducing:
            return
        broker, instrument = approved.request.broker, approved.request.instrument
        limit_ns = self.limits.crypto_quote_max_age_ns if self.coins and "/" in instrument else self.limits.quote_max_age_ns
        for name in [leg.instrument for leg in approved.request.legs] or [instrument]:
            quote = self.desk.hub.latest(broker, name)
            if quote is None or self.clock.now_ns() - quote.transact_ns > limit_ns + self.clock_slack_ns:
                self.hold(f"I13 {approved.cl_ord_id} was approved on an old quote")
        if not self.desk.ready[broker] or not self.truth.streaming(broker):
            self.hold(f"I2 {approved.cl_ord_id} was approved while nobody listens to {broker}")
        for order in self.desk.books.blotter.unsettled():
            if order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED) and (order.broker, order.instrument) == (broker, instrument):
                self.hold(f"I2 {approved.cl_ord_id} was approved beside {order.cl_ord_id}, which is in doubt")

    def _judge_exit(self, approved: Approved) -> None:
        """What passes as an exit closes what is there, and together with all else on its side no more than that."""
        broker, instrument, (side, _) = approved.request.broker, approved.request.instrument, _moves(approved)
        held = -side.sign * self.truth.position(broker, instrument) + sum(map(abs, self._moved(broker, instrument)), ZERO)
        if approved.orig_cl_ord_id is not None:  # the venue refuses to change what has begun to fill: either this one closes it, or that one did
            replaced = self.truth.order(broker, approved.orig_cl_ord_id)
            held += ZERO if replaced is None else replaced.cum
        closing = self._opening(broker, instrument, side.sign, exits=True, but=approved.orig_cl_ord_id)
        if closing > held:
            self.hold(f"I5 {approved.cl_ord_id} passes as an exit: {closing} on its side may close {held}")

    def on_delivered(self, report: ExecutionReport) -> None:
        """The desk has taken a report from its stream. One that looks like a booked fill in everything but its name may wait: the bust between the
        two was not heard yet, and when it is, the fills are read again (I10 judges that at the end)."""
        if report.exec_type is not ExecType.TRADE:
            return
        order = self.desk.books.blotter.find(report)
        alike = (report.last_qty, report.last_px, report.cum_qty)
        known = () if order is None else (*order.voided, *(fill.exec_id for fill in order.fills))
        booked = () if order is None else [(fill.qty, fill.price, fill.cum_qty) for fill in order.fills]
        if report.exec_id not in known and alike not in booked:
            self.hold(f"I17 {report.exec_id} was told and is not booked")

    def _judge_order(self, record: Reported, applied: Applied) -> None:
        order, before = applied.order, self._before.get(applied.order.cl_ord_id)
        self._before[order.cl_ord_id] = order
        scope = f"{order.broker}:{order.instrument}"
        if applied.anomaly is not None and scope not in self.desk.books.halts:
            self._awaited_halt = scope
        halted = self.desk.books.halts.get(order.broker)
        if before is None and order.external and is_ours(order.cl_ord_id) and (halted is None or "STRANGER" not in halted.rules):
            self.hold(f"I15 a stranger's {order.cl_ord_id} goes by without a halt")
        over = order.cum_qty > order.order_qty > 0
        if over and applied.anomaly is None and (before is None or before.stated_cum_qty <= before.order_qty):
            self.hold(f"I9 {order.cl_ord_id} has {order.cum_qty} of {order.order_qty} and nobody minds")
        if (before is None or before.ord_status is OrdStatus.PENDING_NEW) and order.ord_status is OrdStatus.NEW:
            real = self.truth.order(order.broker, order.cl_ord_id)
            if real is not None and real.status is OrdStatus.PENDING_NEW:
                self.hold(f"I9 {order.cl_ord_id} counts as accepted while it is under way")
        if before is None:
            return
        taken_back = record.report.exec_type in (ExecType.TRADE_CANCEL, ExecType.TRADE_CORRECT)
        if not taken_back and (order.cum_qty < before.cum_qty or order.stated_cum_qty < before.stated_cum_qty):
            self.hold(f"I9 {order.cl_ord_id} fell from {before.cum_qty} to {order.cum_qty}")
        if before.ord_status.terminal and not order.ord_status.terminal and applied.anomaly is None and not order.voided:
            self.hold(f"I9 {order.cl_ord_id} came back from {before.ord_status} to {order.ord_status} without a word")

    # -- at rest ------------------------------------------------------------------------------------------------------------------------

    def differences(self) -> list[str]:
        """The venues' truth against the desk's books, right now."""
        found = []
        for order in self.desk.books.blotter:
            if order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED):
                found.append(f"I6 {order.cl_ord_id} is still {order.doubt}")
                continue
            real = self.truth.order(order.broker, order.cl_ord_id)
            if order.external:
                if real is not None and not real.foreign:
                    found.append(f"I6 {order.cl_ord_id} is ours and counts as somebody else's")
            elif real is None:
                if order.ord_status is not OrdStatus.REJECTED:
                    found.append(f"I6 {order.cl_ord_id} is {order.ord_status} here and unknown there")
            elif real.cum != (order.stated_cum_qty if order.legs else order.cum_qty) or real.status.terminal != order.ord_status.terminal:
                found.append(f"I6 {order.cl_ord_id}: {real.status} {real.cum} there, {order.ord_status} {order.cum_qty} here")
            elif order.order_qty and not (order.ord_status.terminal or order.legs) and real.leaves != order.leaves_qty:
                found.append(f"I6 {order.cl_ord_id}: {real.leaves} of it work there, {order.leaves_qty} here")
        for broker in self.desk.brokers:
            found += self._survivors(broker)
            for name in self.names:
                here, there = self.desk.books.ledger.position(broker, name), self.truth.position(broker, name)
                if here != there:
                    found.append(f"I3 {name} at {broker}: {there} there, {here} here")
            here, there = self.desk.books.ledger.balance(broker, "assets", self.truth.currency), self.truth.cash(broker)
            if abs(here - there) > self.truth.grain:
                found.append(f"I3 cash at {broker}: {there} there, {here} here")
        if not all(self.desk.ready.values()):
            found.append(NOT_READY)
        return found

    def _survivors(self, broker: BrokerName) -> list[str]:
        """Entries that still work under an owner's KILL."""
        kills = {halt.scope for halt in self.halts.values() if halt.level is Level.KILL}
        found = []
        for order in self.truth.orders(broker):
            approved = self._intents.get(ClOrdID(order.cl_ord_id))
            if order.status.terminal or approved is None or approved.reducing or order.cl_ord_id in self._stubborn:
                continue
            if kills & _scopes(broker, approved.request.instrument, coins=self.coins):
                found.append(f"I5 {order.cl_ord_id} still works under a KILL")
        return found

    def judge(self) -> None:
        """What must hold at the end."""
        desk = self.desk
        entries = [entry.record for entry in desk.journal.read()]
        for record in entries:
            if isinstance(record, ClosedUnsent):
                self._judge_closed(record)
        for broker in desk.brokers:
            self._judge_broker(broker)
        if [encode(record) for record in entries] != self.told:
            self.hold("I4 the disk holds something else than the desk folded")
        if snapshot(replay(entries)) != snapshot(desk.books):
            self.hold("I4 replay of the journal is not the live state")
        if desk._owned or desk.journal._pending:
            self.hold("I16 something still waits at rest")

    def _judge_closed(self, record: ClosedUnsent) -> None:
        order = self.desk.books.blotter.get(record.cl_ord_id)
        real = None if order is None else self.truth.order(order.broker, record.cl_ord_id)
        if real is not None and real.status is not OrdStatus.REJECTED:
            self.hold(f"I8 {record.cl_ord_id} was closed as unsent and is {real.status} at the broker: {record.text}")

    def _judge_broker(self, broker: BrokerName) -> None:
        books = self.desk.books
        ours = [order for order in self.truth.orders(broker) if not order.foreign]
        for cl_ord_id, count in Counter(order.cl_ord_id for order in ours).items():
            if count > 1:
                self.hold(f"I1 {count} orders for intent {cl_ord_id}")
        for cl_ord_id, posts in self.truth.posts(broker).items():
            if posts > 1:
                self.hold(f"I1 {posts} submits on the wire for intent {cl_ord_id}")
        for real in ours:
            order = books.blotter.get(ClOrdID(real.cl_ord_id))
            if order is None:
                self.hold(f"I7 {real.cl_ord_id} is at the broker and not in the journal")
            elif order.ord_status is OrdStatus.REJECTED and real.status is not OrdStatus.REJECTED:
                self.hold(f"I8 {real.cl_ord_id} is rejected here and {real.status} there")
        for order in books.blotter:
            before = None if order.orig_cl_ord_id is None else books.blotter.get(order.orig_cl_ord_id)
            if before is not None and before.ord_status is OrdStatus.CANCELED and order.broker == broker and order.order_id is not None:
                self.hold(f"I6 {before.cl_ord_id} became {order.cl_ord_id} and counts as cancelled")
        truth = self.truth.executions(broker)
        booked: Counter[str] = Counter()
        for order in books.blotter:
            for fill in order.fills if order.broker == broker else ():
                booked[fill.exec_id] += 1
                if truth.get(fill.exec_id) != (fill.qty, fill.price):
                    self.hold(f"I10 {fill.exec_id} was booked and is not so at the broker")
        for exec_id in truth:
            if booked[exec_id] != 1:
                self.hold(f"I10 {exec_id} is booked {booked[exec_id]} times")


def _moves(approved: Approved) -> tuple[Side, Decimal]:
    """Which way an order moves its own instrument, and by how much for each of it: of a combo its shares are that."""
    shares = shares_of(approved.request.legs)
    return (approved.request.side, Decimal(1)) if shares is None else (shares.side, Decimal(shares.ratio_qty))


def _closes(approved: Approved) -> bool:
    """Whether it passed the gate as one that only shrinks that position."""
    legs = zip(approved.request.legs, approved.opens, strict=True)
    return approved.reducing or any(leg.instrument == approved.request.instrument and not opens for leg, opens in legs)


def _scopes(broker: BrokerName, instrument: InstrumentID, *, coins: bool) -> set[str]:
    """The halts that stop entries on this instrument here."""
    return {"all", broker, f"{broker}:{instrument}", *(("crypto",) if coins and "/" in instrument else ())}


def snapshot(books: Books) -> object:
    """Everything the journal determines, without the running values of equity, which are the broker's to say."""
    return msgspec.to_builtins(
        {
            "orders": sorted((msgspec.to_builtins(order) for order in books.blotter), key=lambda order: order["cl_ord_id"]),
            "balances": sorted((*key, value) for key, value in books.ledger.balances().items()),
            "halts": books.halts,
            "watermarks": books.watermarks,
            "bought": sorted((*key, value) for key, value in books.bought.items() if value != ZERO),
        }
    )
