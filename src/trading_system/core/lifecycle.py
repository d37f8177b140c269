"""The order state machine. Every transition is in this table, and every report goes through apply()."""

from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from trading_system.domain.fix import Doubt, ExecType, OrdStatus, OrdType
from trading_system.domain.ids import ExecID
from trading_system.domain.money import ZERO
from trading_system.domain.order import Fill, Order
from trading_system.domain.report import ExecutionReport

# Rows: where the order is. Columns: what the report says. Cells: `=` stays · `q` open, partly filled or filled, as the booked quantity
# says · `p` stays, but filled once all is booked · two letters: goes there · a trailing `!`: goes there, and contradicts what we were
# told before, so the desk asks the broker and alerts. FIL and ALV are answers to a question (ORDER_STATUS): "it is filled", "it works".
_TABLE = """
      PNW  NEW  TRD  PCX  CXL  PRP  RPL  REJ  EXP  DFD  SUS  CRJ  RRJ  COR  BST  FIL  ALV
  PN  =    q    q    PC   CA   PR   RP   RJ   EX   DD   SU   =    =    q    q    FI   q
  NW  =    =    q    PC   CA   PR   RP   RJ   EX   DD   SU   =    =    q    q    FI   q
  PF  =    =    q    PC   CA   PR   RP   RJ!  EX   DD   SU   =    =    q    q    FI   q
  DD  =    q    q    PC   CA   PR   RP   RJ   EX   =    SU   =    =    p    p    FI   q
  SU  =    q    q    PC   CA   PR   RP   RJ   EX   DD   =    =    =    p    p    FI   q
  PC  =    =    p    =    CA   =    RP   RJ   EX   =    =    q    =    p    p    FI   q
  PR  =    =    p    PC   CA   =    RP   RJ   EX   =    =    =    q    p    p    FI   q
  FI  =    =    p    =    =    =    =    =!   =    =    =    =    =    p    p    =    =
  CA  =    =    p    =    =    =    =    =!   =    =    =    =    =    p    p    FI   =
  EX  =    =    p    =    =    =    =    =!   =    =    =    =    =    p    p    FI   =
  RJ  =    q!   q!   PC!  CA!  PR!  RP!  =    EX!  DD!  SU!  =    =    q!   =    FI!  q!
  RP  =    =    p    =    =    =    =    =!   =    =    =    =    =    p    p    FI   =
"""
_STATUS = {
    "PN": OrdStatus.PENDING_NEW,
    "NW": OrdStatus.NEW,
    "PF": OrdStatus.PARTIALLY_FILLED,
    "DD": OrdStatus.DONE_FOR_DAY,
    "SU": OrdStatus.SUSPENDED,
    "PC": OrdStatus.PENDING_CANCEL,
    "PR": OrdStatus.PENDING_REPLACE,
    "FI": OrdStatus.FILLED,
    "CA": OrdStatus.CANCELED,
    "EX": OrdStatus.EXPIRED,
    "RJ": OrdStatus.REJECTED,
    "RP": OrdStatus.REPLACED,
}
_EVENT = {
    ExecType.PENDING_NEW: "PNW",
    ExecType.NEW: "NEW",
    ExecType.TRADE: "TRD",
    ExecType.PENDING_CANCEL: "PCX",
    ExecType.CANCELED: "CXL",
    ExecType.PENDING_REPLACE: "PRP",
    ExecType.REPLACED: "RPL",
    ExecType.REJECTED: "REJ",
    ExecType.EXPIRED: "EXP",
    ExecType.DONE_FOR_DAY: "DFD",
    ExecType.SUSPENDED: "SUS",
    ExecType.CANCEL_REJECTED: "CRJ",
    ExecType.REPLACE_REJECTED: "RRJ",
    ExecType.TRADE_CORRECT: "COR",
    ExecType.TRADE_CANCEL: "BST",
}
_ANSWER = {
    OrdStatus.PENDING_NEW: "PNW",
    OrdStatus.NEW: "ALV",
    OrdStatus.PARTIALLY_FILLED: "ALV",
    OrdStatus.DONE_FOR_DAY: "DFD",
    OrdStatus.SUSPENDED: "SUS",
    OrdStatus.PENDING_CANCEL: "PCX",
    OrdStatus.PENDING_REPLACE: "PRP",
    OrdStatus.FILLED: "FIL",
    OrdStatus.CANCELED: "CXL",
    OrdStatus.EXPIRED: "EXP",
    OrdStatus.REJECTED: "REJ",
    OrdStatus.REPLACED: "RPL",
}


def _read_table(text: str) -> dict[tuple[OrdStatus, str], str]:
    header, *rows = (line.split() for line in text.strip().splitlines())
    return {(_STATUS[row[0]], event): cell for row in rows for event, cell in zip(header, row[1:], strict=True)}


TRANSITIONS = _read_table(_TABLE)


class Anomaly(StrEnum):
    """A report that cannot be, given what came before. The desk halts the instrument, asks the broker, and alerts."""

    OVERFILL = "overfill"  # more filled than was asked: booked, because the money moved
    CONFLICTING_FILL = "conflicting_fill"  # one execution id, two different executions: not booked
    CONTRADICTION = "contradiction"  # the table's `!`
    REAPPEARED = "reappeared"  # an order that had been proven absent, or that a person had not found
    MISMATCH = "mismatch"  # another instrument or side than the order's


class Booking(msgspec.Struct, frozen=True):
    """One entry for the ledger: a fill, or the reversal of one."""

    fill: Fill
    reversal: bool = False


class Applied(msgspec.Struct, frozen=True):
    """What a report did: the order after it, what the ledger must book, and what cannot be."""

    order: Order
    bookings: tuple[Booking, ...] = ()
    anomaly: Anomaly | None = None


def apply(order: Order, report: ExecutionReport) -> Applied:
    """Fold one report into an order. Any order of arrival and any repetition of the same reports gives the same fills."""
    if (report.instrument, report.side) != (order.instrument, order.side):
        return Applied(order, anomaly=Anomaly.MISMATCH)
    fills, voided, bookings, conflict = _book(order, report)
    if conflict:
        return Applied(order, anomaly=Anomaly.CONFLICTING_FILL)
    cum_qty = sum((fill.qty for fill in fills), order.prior_qty)
    busted = report.exec_type in (ExecType.TRADE_CANCEL, ExecType.TRADE_CORRECT)
    old_news = report.exec_type is ExecType.TRADE and not bookings  # its cum_qty may count what was busted since
    said = ZERO if old_news or report.cum_qty is None else report.cum_qty
    stated = _restated(order, bookings, cum_qty) if busted else max(order.stated_cum_qty, said, cum_qty)
    order_qty = order.order_qty or report.order_qty or ZERO
    if order.shrinks and report.order_qty is not None and cum_qty <= report.order_qty < order_qty:
        order_qty = report.order_qty  # what its alternative has filled, the broker takes off this one
    status, contradiction = _next_status(order, report, cum_qty, order_qty)
    if status is OrdStatus.FILLED and order.cash_order_qty is not None:
        order_qty = stated  # the market has said what the cash bought
    if status is OrdStatus.FILLED and report.cum_qty is None and not (busted or voided):
        stated = max(stated, order_qty)
    overfilled = bool(order_qty) and max(stated, cum_qty) > order_qty
    after = replace(
        order,
        ord_status=OrdStatus.FILLED if overfilled and not status.terminal else status,
        doubt=Doubt.NONE,
        order_id=order.order_id or report.order_id,
        order_qty=order_qty,
        stop_px=report.stop_px if order.ord_type is OrdType.TRAILING_STOP and report.stop_px is not None else order.stop_px,
        cum_qty=cum_qty,
        stated_cum_qty=stated,
        fills=fills,
        voided=voided,
        text=report.text or order.text,
        updated_ns=max(order.updated_ns, report.recv_ns),
    )
    _assert_sound(after, overfilled)
    newly_over = overfilled and not order.stated_cum_qty > order_qty
    anomaly = _anomaly(order, contradiction=contradiction, overfilled=newly_over, report=report)
    return Applied(after, bookings, anomaly)


def in_doubt(order: Order, text: str, now_ns: int) -> Order:
    """Sent, and no answer: the exposure stays reserved until the broker says."""
    return replace(order, doubt=Doubt.IN_DOUBT, text=text, updated_ns=max(order.updated_ns, now_ns))


def closed_unsent(order: Order, text: str, now_ns: int, doubt: Doubt = Doubt.NONE) -> Order:
    """Certainly not at the broker: never sent, refused by it, or proven absent."""
    assert not order.fills, "an order with fills exists"
    return replace(order, ord_status=OrdStatus.REJECTED, doubt=doubt, text=text, updated_ns=max(order.updated_ns, now_ns))


def escalated(order: Order, text: str, now_ns: int) -> Order:
    """A person must look; the exposure stays reserved."""
    return replace(order, doubt=Doubt.ESCALATED, text=text, updated_ns=max(order.updated_ns, now_ns))


def _book(order: Order, report: ExecutionReport) -> tuple[tuple[Fill, ...], tuple[ExecID, ...], tuple[Booking, ...], bool]:
    """Fills and voided ids after the report, the ledger entries, and whether it conflicts with a booked fill."""
    fills, voided = order.fills, order.voided
    if report.exec_type not in (ExecType.TRADE, ExecType.TRADE_CORRECT, ExecType.TRADE_CANCEL):
        return fills, voided, (), False
    assert report.exec_id is not None, "codecs refuse an execution without an id"
    bookings: tuple[Booking, ...] = ()
    if report.exec_type is not ExecType.TRADE and report.exec_ref_id is not None and report.exec_ref_id not in voided:
        bookings = tuple(Booking(fill, reversal=True) for fill in fills if fill.exec_id == report.exec_ref_id)
        fills = tuple(fill for fill in fills if fill.exec_id != report.exec_ref_id)
        voided = (*voided, report.exec_ref_id)
    if report.exec_type is ExecType.TRADE_CANCEL or report.exec_id in voided:
        return fills, voided, bookings, False
    new = Fill(
        exec_id=report.exec_id,
        qty=report.last_qty,
        price=report.last_px,
        cum_qty=report.cum_qty if report.exec_type is ExecType.TRADE else None,  # a correction's is not its own place in the order
        fee=report.fee,
        fee_currency=report.fee_currency,
        realized=report.realized,
        transact_ns=report.transact_ns,
    )
    if new.cum_qty is not None and new.cum_qty <= order.prior_qty:
        return fills, voided, bookings, False  # done before we first looked: part of the position that we started from
    for fill in fills:
        if fill.exec_id == new.exec_id:
            return fills, voided, bookings, (fill.qty, fill.price) != (new.qty, new.price)
        if not voided and new.cum_qty is not None and (fill.cum_qty, fill.qty, fill.price) == (new.cum_qty, new.qty, new.price):
            # The same execution under a second id: a stream's and an activity list's may differ. After a bust a quantity comes twice.
            return fills, voided, bookings, False
    return (*fills, new), voided, (*bookings, Booking(new)), False


def _restated(order: Order, bookings: tuple[Booking, ...], cum_qty: Decimal) -> Decimal:
    """What counts as filled after a bust or a correction: what was said before and is not booked yet still does. One that was heard before ends what
    an old answer may have said too much since."""
    if not bookings:
        return cum_qty
    undone = sum((booking.fill.qty for booking in bookings if booking.reversal), ZERO)
    anew = sum((booking.fill.qty for booking in bookings if not booking.reversal), ZERO)
    return max(cum_qty, order.stated_cum_qty - undone + (anew if undone else ZERO))


def _next_status(order: Order, report: ExecutionReport, cum_qty: Decimal, order_qty: Decimal) -> tuple[OrdStatus, bool]:
    event = _ANSWER[report.ord_status] if report.exec_type is ExecType.ORDER_STATUS else _EVENT[report.exec_type]
    cell = TRANSITIONS[order.ord_status, event]
    target, contradiction = cell.rstrip("!"), cell.endswith("!")
    if order.ord_status is OrdStatus.FILLED and event == "ALV" and order.stated_cum_qty < order_qty:
        target = "q"  # a bust took back what had made it full, and the broker still works the rest
    full = bool(order_qty) and cum_qty >= order_qty
    if order.cash_order_qty is not None and event == "TRD":
        full = report.ord_status is OrdStatus.FILLED  # only the broker knows when the cash is spent
    if target == "q":
        status = OrdStatus.FILLED if full else OrdStatus.PARTIALLY_FILLED if cum_qty else OrdStatus.NEW
    elif target == "p":
        status = OrdStatus.FILLED if full else order.ord_status
    else:
        status = order.ord_status if target == "=" else _STATUS[target]
    return status, contradiction


def _anomaly(order: Order, *, contradiction: bool, overfilled: bool, report: ExecutionReport) -> Anomaly | None:
    if overfilled:
        return Anomaly.OVERFILL
    if order.doubt is Doubt.PROVEN_ABSENT and report.exec_type is not ExecType.REJECTED:
        return Anomaly.REAPPEARED
    return Anomaly.CONTRADICTION if contradiction else None


def _assert_sound(order: Order, overfilled: bool) -> None:
    assert order.cum_qty <= order.stated_cum_qty
    if not order.ord_status.terminal and order.order_qty:
        assert order.order_qty == order.cum_qty + order.leaves_qty or overfilled
