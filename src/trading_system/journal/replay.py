"""Records become the desk's state again: the one fold that both a running desk and a restart use."""

from collections import deque
from collections.abc import Iterable, Sequence
from decimal import Decimal

from msgspec.structs import replace

from trading_system.core.blotter import Blotter
from trading_system.core.ledger import EquityMark, Ledger, adjustment, explained, transferred
from trading_system.core.lifecycle import Applied, Booking, closed_unsent, escalated, in_doubt
from trading_system.core.protection import kept
from trading_system.core.risk import Halt
from trading_system.domain.account import Flow, FlowKind
from trading_system.domain.fix import Doubt, OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass, Pricing
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
    Routed,
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
        self.pricings: dict[tuple[BrokerName, InstrumentID], Pricing] = {}
        self.bought: dict[tuple[BrokerName, InstrumentID], Decimal] = {}  # units bought since a fee in kind was last booked, fees not stated
        self.sold: dict[BrokerName, Decimal] = {}  # money from sales whose fee comes out of it unsaid, since such a fee was last booked
        self.flows: dict[tuple[BrokerName, str], int] = {}  # every flow of the last weeks by its account and id, and when it was
        self.expected: dict[
            tuple[BrokerName, InstrumentID], Decimal
        ] = {}  # where units may differ: a flow said so, and they were not booked yet; and how many of them are a transfer's
        self.voided: dict[tuple[BrokerName, InstrumentID], int] = {}  # stops asked for before then are void: a corporate action came between
        self.protected: dict[
            tuple[BrokerName, InstrumentID], dict[ClOrdID, Decimal]
        ] = {}  # entries that asked for a stop, oldest first, and what each has left of what it filled: that alone is guarded
        self.closed: dict[
            tuple[ClOrdID, ExecID], dict[ClOrdID, Decimal]
        ] = {}  # what an execution took of those: should it be busted, they have it again
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
        self.routes: dict[
            tuple[BrokerName, InstrumentID], Routed
        ] = {}  # the last word on each instrument that ever went over, by where it is asked for
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
                pricing = Pricing(record.multiplier, record.inverse)
                self.ledger.adjust(broker, instrument, qty, price, pricing)
                self.asset_classes[broker, instrument] = asset_class
                self.pricings.setdefault((broker, instrument), pricing)
                self.expected.pop((broker, instrument), None)
                self._lower((broker, instrument))
                if self.mark is not None:
                    self.mark = explained(self.mark, pricing.worth(qty, price))
                if fee:
                    self.bought.pop((broker, instrument), None)
            case Flowed():
                self._flow(record)
            case CashAdjusted(broker=broker, currency=currency, amount=amount, fee=fee):
                self.ledger.post(broker, adjustment(currency, amount))
                self.cash_opened.add(broker)
                if self.mark is not None and not fee:  # somebody's word: nothing that is in the figures waits for an entry any more
                    self.mark = replace(self.mark, unbooked=ZERO, day_unbooked=ZERO, high_unbooked=ZERO)
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
            case Routed(home=home, instrument=instrument):
                self.routes[home, instrument] = record
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
        """The order of this account that this report says the broker holds `order` for, where that is news."""
        parent = None if report.parent is None or report.parent == order.parent else self.blotter.get(report.parent)
        return None if parent is None or parent.broker != order.broker else parent

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
            came = sign * flow.qty if flow.kind is FlowKind.TRANSFER else ZERO
            self.expected[flow.broker, flow.instrument] = self.expected.get((flow.broker, flow.instrument), ZERO) + came
            if flow.kind is FlowKind.CORPORATE_ACTION:
                self.voided[flow.broker, flow.instrument] = record.now_ns
        if self.mark is not None:
            worth, transfer = sign * record.worth, flow.kind is FlowKind.TRANSFER
            self.mark = transferred(self.mark, record.equity_before, worth) if transfer else explained(self.mark, worth)

    def _guard(self, order: Order) -> None:
        if order.guard_px is not None:
            self.protected.setdefault((order.broker, order.instrument), {}).setdefault(order.cl_ord_id, ZERO)
        if order.attached is not None or order.legs:
            self.children.setdefault(order.cl_ord_id, [])
        if order.parent is not None and order.cl_ord_id not in (made := self.children.setdefault(order.parent, [])):
            made.append(order.cl_ord_id)
        if order.protects is not None:
            stops = self.stops.setdefault(order.protects, [])
            if order.cl_ord_id not in stops:
                stops.append(order.cl_ord_id)

    def _keep(self, order: Order, bookings: Sequence[Booking]) -> None:
        """What an order booked changes what entries have left: its own units come, what its entry has goes with a stop, and of the others what there
        is no more. What is busted goes the other way."""
        if not bookings:
            return
        key, undone, change = (order.broker, order.instrument), dict[ClOrdID, Decimal](), ZERO
        for booking in bookings:
            change += -booking.fill.qty if booking.reversal else booking.fill.qty
            undone |= self.closed.pop((order.cl_ord_id, booking.fill.exec_id), {}) if booking.reversal else {}
        entries = self.protected.get(key)
        if not entries:
            return
        too_much = max(ZERO, -change)
        for name in reversed([name for name in undone if name in entries]):  # what was taken last first
            back = min(undone[name], too_much)
            too_much -= back
            undone[name] -= back
            entries[name] += back
        if order.cl_ord_id in entries:
            entries[order.cl_ord_id] = max(ZERO, entries[order.cl_ord_id] + change)
        before = dict(entries)
        if order.protects in entries:
            entries[order.protects] -= min(entries[order.protects], max(ZERO, change))
        self._lower(key)
        for booking in bookings:
            taken = {name: had - entries[name] + undone.get(name, ZERO) for name, had in before.items() if name != order.cl_ord_id}
            if not booking.reversal and any(taken.values()):
                self.closed[order.cl_ord_id, booking.fill.exec_id] = taken

    def _lower(self, key: tuple[BrokerName, InstrumentID]) -> None:
        """No entry has more than it filled and its stops did not close, nor all of them more than there is."""
        entries = self.protected.get(key, {})
        had = [(entry, min(left, self._own(entry))) for entry, left in ((self._order(name), left) for name, left in entries.items())]
        entries.update(kept(had, self.ledger.position(*key)))

    def _own(self, entry: Order) -> Decimal:
        stops = (self.blotter.get(name) for name in self.stops.get(entry.cl_ord_id, ()))
        return _booked(entry) - sum((_booked(stop) for stop in stops if stop is not None), ZERO)

    def _met(self, stop: Order) -> None:
        """A stop that the broker made is known as one late: what it closed until now was its entry's, not the oldest's."""
        key = (stop.broker, stop.instrument)
        entries = self.protected.get(key, {})
        if stop.protects is None or stop.protects not in entries:
            return
        for fill in stop.fills:
            undone = self.closed.pop((stop.cl_ord_id, fill.exec_id), {})
            for name in undone.keys() & entries.keys():
                entries[name] += undone[name]
            taken = min(entries[stop.protects], fill.qty)
            entries[stop.protects] -= taken
            self.closed[stop.cl_ord_id, fill.exec_id] = {stop.protects: taken}
        self._lower(key)

    def _retire(self, before_ns: int) -> None:
        """Forget what is long settled. An order that still has something to guard stays, and one whose stop may still fill."""
        for order in self.blotter.settled_before(before_ns):
            if order.guard_px is None or not self._guards(order):
                self.blotter.forget(order)
                self.retired += 1
                for fill in order.fills:
                    self.closed.pop((order.cl_ord_id, fill.exec_id), None)
                self.stops.pop(order.cl_ord_id, None)
                self.children.pop(order.cl_ord_id, None)
                entries = self.protected.get((order.broker, order.instrument), {})
                entries.pop(order.cl_ord_id, None)
                if not entries:
                    self.protected.pop((order.broker, order.instrument), None)

    def _guards(self, entry: Order) -> bool:
        stops = (self.blotter.get(name) for name in self.stops.get(entry.cl_ord_id, ()))
        left = self.protected.get((entry.broker, entry.instrument), {}).get(entry.cl_ord_id)
        return bool(left) or any(stop is not None and not stop.settled for stop in stops)

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
            self._met(before)
        key = (report.broker, report.instrument)
        old = self.blotter.succeed(before, report)
        if old is not None:
            self._gone(old)
        applied, pricing = self.blotter.apply(report), Pricing(record.multiplier, record.inverse)
        for booking in applied.bookings:
            self.bookings += 1
            self.ledger.book(applied.order, booking, record.currency, pricing)
            if booking.fill.fee or booking.reversal:
                continue  # nothing is left to come
            if applied.order.side is Side.BUY:
                self.bought[key] = self.bought.get(key, ZERO) + booking.fill.qty
            elif record.asset_class.is_crypto:
                self.sold[report.broker] = self.sold.get(report.broker, ZERO) + booking.fill.qty * booking.fill.price
        self._keep(applied.order, applied.bookings)
        if applied.order.ord_status.terminal:
            self._gone(applied.order)
            self._pass_on(applied.order)
        if applied.order.ord_status is OrdStatus.REJECTED is not before.ord_status and not before.external and before.doubt is Doubt.NONE:
            self._refused(report.broker, report.recv_ns)
        self.asset_classes[key] = record.asset_class
        self.pricings[key] = pricing
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


def flow_key(flow: Flow) -> tuple[BrokerName, str]:
    """A flow that is taken back is another entry than the flow, and what one account calls so is not another's: some brokers count from 1."""
    return flow.broker, f"{flow.flow_id}~canceled" if flow.canceled else flow.flow_id


def _booked(order: Order) -> Decimal:
    """What its own executions filled: of an order that was changed, not what it had filled before."""
    return order.cum_qty - order.prior_qty


def _unanswered(order: Order) -> bool:
    return order.ord_status is OrdStatus.PENDING_NEW and order.order_id is None and order.doubt is Doubt.NONE and not order.external


def replay(records: Iterable[Record]) -> Books:
    """Rebuild the books; the same records always give the same result."""
    books = Books()
    for record in records:
        books.fold(record)
    return books
