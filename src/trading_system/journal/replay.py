"""Records become the desk's state again: the one fold that both a running desk and a restart use."""

from collections.abc import Iterable
from decimal import Decimal

from trading_system.core.blotter import Blotter
from trading_system.core.ledger import EquityMark, Ledger
from trading_system.core.lifecycle import Applied, closed_unsent, escalated, in_doubt
from trading_system.core.risk import Halt
from trading_system.domain.fix import Doubt, OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ZERO
from trading_system.domain.order import Order
from trading_system.journal.record import (
    Adjusted,
    Alert,
    Armed,
    CancelAsked,
    ClosedUnsent,
    Doubted,
    Escalated,
    HaltCleared,
    HaltSet,
    Intent,
    Marked,
    Record,
    Reported,
    Started,
    Watermark,
)


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
        self.bought: dict[tuple[BrokerName, InstrumentID], Decimal] = {}  # units bought since a fee in kind was last booked
        self.epoch = 0
        self.first_start_ns: dict[BrokerName, int] = {}
        self.armed: Armed | None = None
        self.armed_spent = ZERO  # notional that opening orders took since then

    def fold(self, record: Record) -> Applied | None:
        """Take one record in. Gives what a report did, so that a running desk can act on it; replay ignores that."""
        match record:
            case Intent(approved=approved):
                self.blotter.open(approved)
                if not (approved.reducing or approved.dry_run):
                    self.armed_spent += approved.reserve_qty * approved.reserve_px
            case Reported():
                return self._report(record)
            case Doubted(cl_ord_id=cl_ord_id, text=text, now_ns=now_ns):
                self.blotter.put(in_doubt(self._order(cl_ord_id), text, now_ns))
            case ClosedUnsent(cl_ord_id=cl_ord_id, text=text, proven_absent=absent, now_ns=now_ns):
                doubt = Doubt.PROVEN_ABSENT if absent else Doubt.NONE
                self.blotter.put(closed_unsent(self._order(cl_ord_id), text, now_ns, doubt))
            case Escalated(cl_ord_id=cl_ord_id, text=text, now_ns=now_ns):
                self.blotter.put(escalated(self._order(cl_ord_id), text, now_ns))
            case HaltSet(halt=halt):
                self.halts[halt.scope] = halt
            case HaltCleared(scope=scope):
                self.halts = {} if scope == "*" else {name: halt for name, halt in self.halts.items() if name != scope}
            case Marked(mark=mark):
                self.mark = mark
            case Adjusted(broker=broker, instrument=instrument, asset_class=asset_class, qty=qty, price=price, fee=fee):
                self.ledger.adjust(broker, instrument, qty, price)
                self.asset_classes[broker, instrument] = asset_class
                if fee:
                    self.bought.pop((broker, instrument), None)
            case Watermark(broker=broker, fills_ns=fills_ns):
                self.watermarks[broker] = fills_ns
            case Started(epoch=epoch, brokers=brokers, now_ns=now_ns):
                self.epoch = epoch
                for broker in brokers:
                    self.first_start_ns.setdefault(broker, now_ns)
            case Armed():
                self.armed, self.armed_spent = record, ZERO
            case CancelAsked() | Alert():
                pass
        return None

    def in_doubt(self) -> tuple[Order, ...]:
        """Orders that may or may not be at the broker: said so, or with an intent and no word since. They are asked about before trading resumes."""
        return tuple(order for order in self.blotter.working() if order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED) or _unanswered(order))

    def _order(self, cl_ord_id: ClOrdID) -> Order:
        order = self.blotter.get(cl_ord_id)
        assert order is not None, "an order's intent comes before anything else about it"
        return order

    def _report(self, record: Reported) -> Applied:
        report = record.report
        if self.blotter.find(report) is None:
            self.blotter.adopt(report, record.account, prior=record.prior)
        key = (report.broker, report.instrument)
        applied = self.blotter.apply(report)
        for booking in applied.bookings:
            self.ledger.book(applied.order, booking, record.currency, record.multiplier)
            if applied.order.side is Side.BUY and not booking.reversal:
                self.bought[key] = self.bought.get(key, ZERO) + booking.fill.qty
        self.asset_classes[key] = record.asset_class
        self.multipliers[key] = record.multiplier
        return applied


def _unanswered(order: Order) -> bool:
    return order.ord_status is OrdStatus.PENDING_NEW and order.order_id is None and order.doubt is Doubt.NONE and not order.external


def replay(records: Iterable[Record]) -> Books:
    """Rebuild the books; the same records always give the same result."""
    books = Books()
    for record in records:
        books.fold(record)
    return books
