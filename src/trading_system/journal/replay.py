"""Records become the desk's state again: the one fold that both a running desk and a restart use."""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal

from msgspec.structs import replace

from trading_system.core.blotter import Blotter
from trading_system.core.ledger import EquityMark, Ledger, adjustment, transferred
from trading_system.core.lifecycle import Applied, closed_unsent, escalated, in_doubt
from trading_system.core.risk import Halt
from trading_system.domain.account import Flow, FlowKind
from trading_system.domain.fix import Doubt, OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ZERO
from trading_system.domain.order import NewOrder, Order
from trading_system.domain.report import ExecutionReport
from trading_system.journal.record import (
    Adjusted,
    Alert,
    AlertAcked,
    Armed,
    CancelAsked,
    CashAdjusted,
    ClosedUnsent,
    Decided,
    Doubted,
    Escalated,
    Flowed,
    HaltCleared,
    HaltSet,
    Intent,
    Marked,
    Record,
    Reported,
    Started,
    Watermark,
)

NS_PER_DAY = 86_400_000_000_000
RETIRE_NS = 7 * NS_PER_DAY  # a settled order older than this leaves memory; the journal keeps it for ever
FLOWS_KEPT_NS = 30 * NS_PER_DAY  # flows remembered by id: more than any look reads back
RECENT_MAX = 1_000  # approved orders, and rejects of a broker, that are remembered for the throttle: more than any limit lets through in a minute
DECISIONS_MAX = 1_000  # the newest that are remembered; the journal keeps all
ALERTS_MAX = 1_000  # waiting for somebody to see them; beyond this the oldest go


class Books:
    """Everything the journal determines. The running desk folds each record in as it writes it; a restart folds them all."""

    def __init__(self) -> None:
        self.blotter = Blotter()
        self.ledger = Ledger()
        self.halts: dict[str, Halt] = {}
        self.mark: EquityMark | None = None
        self.watermarks: dict[BrokerName, int] = {}
        self.asset_classes: dict[tuple[BrokerName, InstrumentID], AssetClass] = {}
        self.multipliers: dict[tuple[BrokerName, InstrumentID], Decimal] = {}
        self.bought: dict[tuple[BrokerName, InstrumentID], Decimal] = {}  # units bought since a fee in kind was last booked, fees not stated
        self.sold: dict[BrokerName, Decimal] = {}  # money from sales whose fee comes out of it unsaid, since such a fee was last booked
        self.flows: dict[str, int] = {}  # the id of every flow of the last weeks, and when it was
        self.expected: set[tuple[BrokerName, InstrumentID]] = set()  # where units may differ: a flow said so, and they were not booked yet
        self.voided: dict[tuple[BrokerName, InstrumentID], int] = {}  # stops asked for before then are void: a corporate action came between
        self.protected: dict[tuple[BrokerName, InstrumentID], dict[ClOrdID, None]] = {}  # entries that asked for a stop, oldest first
        self.stops: dict[ClOrdID, list[ClOrdID]] = {}  # the stops that guard an entry
        self.children: dict[ClOrdID, list[ClOrdID]] = {}  # what the broker made for an order that asked for it; empty: it has not said yet
        self.cash_opened: set[BrokerName] = set()
        self.cancels: dict[ClOrdID, int] = {}  # orders that nobody wants any more, and how often the broker was asked
        self.alerts: dict[int, Alert] = {}  # not yet acknowledged, by their number in this journal
        self.alert_count = 0
        self.recent: deque[tuple[int, NewOrder]] = deque(maxlen=RECENT_MAX)  # what was approved, and when
        self.rejects: dict[BrokerName, deque[int]] = {}  # when a broker said no
        self.bookings = 0  # entries that moved units: whoever compares these books with a broker's looks whether they stood still meanwhile
        self.decisions: dict[IntentID, Decided] = {}  # the last word on each of the newest wishes
        self.retired = 0  # orders that left memory
        self.epoch = 0
        self.first_start_ns: dict[BrokerName, int] = {}
        self.armed: Armed | None = None
        self.armed_spent = ZERO  # notional that opening orders took since then

    def fold(self, record: Record) -> Applied | None:
        """Take one record in. Gives what a report did, so that a running desk can act on it; replay ignores that."""
        match record:
            case Intent(approved=approved):
                self._guard(self.blotter.open(approved))
                if not approved.dry_run:
                    self.recent.append((approved.approved_ns, approved.request))
                if not (approved.reducing or approved.dry_run):
                    self.armed_spent += approved.reserve_qty * approved.reserve_px
            case Reported():
                return self._report(record)
            case Doubted(cl_ord_id=cl_ord_id, text=text, now_ns=now_ns):
                self.blotter.put(in_doubt(self._order(cl_ord_id), text, now_ns))
            case ClosedUnsent(cl_ord_id=cl_ord_id, text=text, proven_absent=absent, rejected=rejected, now_ns=now_ns):
                doubt = Doubt.PROVEN_ABSENT if absent else Doubt.NONE
                self.blotter.put(closed_unsent(self._order(cl_ord_id), text, now_ns, doubt))
                self.cancels.pop(cl_ord_id, None)
                if rejected:
                    self._refused(self._order(cl_ord_id).broker, now_ns)
            case Escalated(cl_ord_id=cl_ord_id, text=text, now_ns=now_ns):
                self.blotter.put(escalated(self._order(cl_ord_id), text, now_ns))
            case HaltSet(halt=halt):
                known = self.halts.get(halt.scope)
                if known is None or halt.level.rank >= known.level.rank:  # a halt only ever becomes harder
                    self.halts[halt.scope] = halt
            case HaltCleared(scope=scope):
                self.halts = {} if scope == "*" else {name: halt for name, halt in self.halts.items() if name != scope}
            case Marked(mark=mark):
                self.mark = mark
            case Adjusted(broker=broker, instrument=instrument, asset_class=asset_class, qty=qty, price=price, fee=fee):
                self.ledger.adjust(broker, instrument, qty, price)
                self.asset_classes[broker, instrument] = asset_class
                self.expected.discard((broker, instrument))
                if fee:
                    self.bought.pop((broker, instrument), None)
            case Flowed():
                self._flow(record)
            case CashAdjusted(broker=broker, currency=currency, amount=amount, fee=fee):
                self.ledger.post(broker, adjustment(currency, amount))
                self.cash_opened.add(broker)
                if fee:
                    self.sold.pop(broker, None)
            case Watermark(broker=broker, fills_ns=fills_ns):
                self.watermarks[broker] = fills_ns
                self._retire(fills_ns - RETIRE_NS)
            case Started(epoch=epoch, brokers=brokers, now_ns=now_ns):
                self.epoch = epoch
                for broker in brokers:
                    self.first_start_ns.setdefault(broker, now_ns)
            case Armed():
                self.armed, self.armed_spent = record, ZERO
            case CancelAsked(cl_ord_id=cl_ord_id, sent=sent):
                self.cancels[cl_ord_id] = self.cancels.get(cl_ord_id, 0) + sent
            case Decided(intent=intent):
                self.decisions.pop(intent, None)
                self.decisions[intent] = record
                if len(self.decisions) > DECISIONS_MAX:
                    del self.decisions[next(iter(self.decisions))]
            case Alert(severity=severity):
                self.alert_count += 1
                if severity != "info":
                    self.alerts[self.alert_count] = record
                    if len(self.alerts) > ALERTS_MAX:
                        del self.alerts[next(iter(self.alerts))]
            case AlertAcked(number=number):
                self.alerts = {known: alert for known, alert in self.alerts.items() if number not in (0, known)}
        return None

    def parent_of(self, order: Order, report: ExecutionReport) -> Order | None:
        """The order of ours that this report says the broker holds `order` for, where that is news."""
        return None if report.parent is None or report.parent == order.parent else self.blotter.get(report.parent)

    def childless(self, broker: BrokerName) -> tuple[Order, ...]:
        """Orders of ours that the broker has, and made others for that we have not met."""
        known = [self.blotter.get(cl_ord_id) for cl_ord_id, made in self.children.items() if not made]
        there = [order for order in known if order is not None and order.broker == broker and order.order_id is not None]
        return tuple(order for order in there if order.ord_status is not OrdStatus.REJECTED and not order.external)

    def _pass_on(self, order: Order) -> None:
        """Of two exits that end one another one reserved: when that goes and has not closed all, the other reserves for itself."""
        if order.ord_status in (OrdStatus.FILLED, OrdStatus.REPLACED):
            return
        alternatives = self.siblings(order) if order.parent is not None else self._made_for(order) if order.reduce_only else ()
        for other in alternatives:
            if not other.ord_status.terminal and not other.reserve_qty and other.reducing:
                self.blotter.put(replace(other, reserve_qty=other.order_qty))

    def _made_for(self, order: Order) -> tuple[Order, ...]:
        found = (self.blotter.get(name) for name in self.children.get(order.cl_ord_id, ()))
        return tuple(other for other in found if other is not None)

    def siblings(self, order: Order) -> tuple[Order, ...]:
        """What the broker made together with this one."""
        parent = None if order.parent is None else self.blotter.get(order.parent)
        return () if parent is None else tuple(other for other in self._made_for(parent) if other.cl_ord_id != order.cl_ord_id)

    def in_doubt(self) -> tuple[Order, ...]:
        """Orders that may or may not be at the broker: said so, or with an intent and no word since. They are asked about before trading resumes."""
        return tuple(order for order in self.blotter.working() if order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED) or _unanswered(order))

    def critical(self) -> tuple[tuple[str, int], ...]:
        """The critical alerts that nobody has acknowledged, and when they were raised; the halt of UNSEEN itself is none of them."""
        return tuple((alert.text, alert.now_ns) for alert in self.alerts.values() if alert.severity == "critical" and "UNSEEN" not in alert.text)

    def unwanted(self, broker: BrokerName) -> tuple[Order, ...]:
        """Working orders that a cancel was asked for, oldest first."""
        found = (self.blotter.get(cl_ord_id) for cl_ord_id in self.cancels)
        return tuple(order for order in found if order is not None and order.broker == broker and not order.ord_status.terminal)

    def _flow(self, record: Flowed) -> None:
        flow = record.flow
        self.flows[flow_key(flow)] = flow.transact_ns
        self.flows = {known: at_ns for known, at_ns in self.flows.items() if at_ns > flow.transact_ns - FLOWS_KEPT_NS}
        if record.prior:
            return
        sign = -1 if flow.canceled else 1
        self.ledger.post(flow.broker, adjustment(flow.currency, sign * flow.amount))
        if flow.instrument is not None:
            self.expected.add((flow.broker, flow.instrument))
            if flow.kind is FlowKind.CORPORATE_ACTION:
                self.voided[flow.broker, flow.instrument] = record.now_ns
        if flow.kind is FlowKind.TRANSFER and self.mark is not None:
            self.mark = transferred(self.mark, record.equity_before, sign * record.worth)

    def _guard(self, order: Order) -> None:
        if order.guard_px is not None:
            self.protected.setdefault((order.broker, order.instrument), {})[order.cl_ord_id] = None
        if order.attached is not None or order.legs:
            self.children.setdefault(order.cl_ord_id, [])
        if order.parent is not None and order.cl_ord_id not in (made := self.children.setdefault(order.parent, [])):
            made.append(order.cl_ord_id)
        if order.protects is not None:
            stops = self.stops.setdefault(order.protects, [])
            if order.cl_ord_id not in stops:
                stops.append(order.cl_ord_id)

    def _retire(self, before_ns: int) -> None:
        """Forget what is long settled. An order whose stop still guards a position stays."""
        for order in self.blotter.settled_before(before_ns):
            if order.guard_px is None or not self.ledger.position(order.broker, order.instrument):
                self.blotter.forget(order)
                self.retired += 1
                self.stops.pop(order.cl_ord_id, None)
                self.children.pop(order.cl_ord_id, None)
                entries = self.protected.get((order.broker, order.instrument), {})
                entries.pop(order.cl_ord_id, None)
                if not entries:
                    self.protected.pop((order.broker, order.instrument), None)

    def _order(self, cl_ord_id: ClOrdID) -> Order:
        order = self.blotter.get(cl_ord_id)
        assert order is not None, "an order's intent comes before anything else about it"
        return order

    def _report(self, record: Reported) -> Applied:
        report = record.report
        before = self.blotter.find(report) or self.blotter.adopt(report, record.account, prior=record.prior)
        parent = self.parent_of(before, report)
        if parent is not None:
            before = self.blotter.link(before, parent)
            self._guard(before)
        key = (report.broker, report.instrument)
        old = self.blotter.succeed(before, report)
        if old is not None:
            self._gone(old)
        applied = self.blotter.apply(report)
        for booking in applied.bookings:
            self.bookings += 1
            self.ledger.book(applied.order, booking, record.currency, record.multiplier)
            if booking.fill.fee or booking.reversal:
                continue  # nothing is left to come
            if applied.order.side is Side.BUY:
                self.bought[key] = self.bought.get(key, ZERO) + booking.fill.qty
            elif record.asset_class.is_crypto:
                self.sold[report.broker] = self.sold.get(report.broker, ZERO) + booking.fill.qty * booking.fill.price
        if applied.order.ord_status.terminal:
            self._gone(applied.order)
            self._pass_on(applied.order)
        if applied.order.ord_status is OrdStatus.REJECTED is not before.ord_status and not before.external and before.doubt is Doubt.NONE:
            self._refused(report.broker, report.recv_ns)
        self.asset_classes[key] = record.asset_class
        self.multipliers[key] = record.multiplier
        return applied

    def _refused(self, broker: BrokerName, now_ns: int) -> None:
        self.rejects.setdefault(broker, deque(maxlen=RECENT_MAX)).append(now_ns)

    def _gone(self, order: Order) -> None:
        """An unwanted order is over. If another has taken its place, that one is not wanted either."""
        if self.cancels.pop(order.cl_ord_id, None) is None or order.ord_status is not OrdStatus.REPLACED:
            return
        for other in self.blotter.working_on(order.broker, order.instrument):
            if other.orig_cl_ord_id == order.cl_ord_id:
                self.cancels.setdefault(other.cl_ord_id, 0)


def flow_key(flow: Flow) -> str:
    """A flow that is taken back is another entry than the flow."""
    return f"{flow.flow_id}~canceled" if flow.canceled else flow.flow_id


def _unanswered(order: Order) -> bool:
    return order.ord_status is OrdStatus.PENDING_NEW and order.order_id is None and order.doubt is Doubt.NONE and not order.external


def replay(records: Iterable[Record]) -> Books:
    """Rebuild the books; the same records always give the same result."""
    books = Books()
    for record in records:
        books.fold(record)
    return books
