"""Our view minus the broker's view: the differences, and what each calls for. Nothing here trades."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from trading_system.domain.account import Position
from trading_system.domain.fix import OrdStatus
from trading_system.domain.ids import ClOrdID, InstrumentID, is_ours
from trading_system.domain.money import ZERO, plain
from trading_system.domain.order import Order
from trading_system.domain.report import ExecutionReport


class Kind(StrEnum):
    FOREIGN_ORDER = "foreign_order"  # open there, not ours: adopt
    STRANGER = "stranger"  # open there with our prefix, not in our journal: another desk trades this account, halt
    STALE_ORDER = "stale_order"  # known on both sides, theirs says more: apply their report
    ABSENT_ORDER = "absent_order"  # working here, not open there: ask for it by id
    POSITION = "position"  # units differ: halt the instrument
    FEE = "fee"  # units differ by no more than fees charged in kind: book the fee
    EXPECTED = "expected"  # units differ where a transfer in kind or a corporate action said that they would: book it


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not the same on both sides. qty: theirs minus ours, for POSITION and FEE."""

    kind: Kind
    instrument: InstrumentID
    text: str
    cl_ord_id: ClOrdID | None = None
    report: ExecutionReport | None = None
    qty: Decimal = ZERO


def compare_orders(ours: Iterable[Order], known: Mapping[ClOrdID, Order], theirs: Sequence[ExecutionReport]) -> tuple[Difference, ...]:
    """`ours`: our working orders at this broker. `known`: every order of that broker we ever knew, by id. `theirs`: the broker's open orders."""
    differences = []
    seen: set[ClOrdID] = set()
    by_order_id = {order.order_id: order for order in known.values() if order.order_id is not None}
    for report in theirs:
        order = known.get(report.cl_ord_id) or (None if report.order_id is None else by_order_id.get(report.order_id))
        if order is None:
            kind = Kind.STRANGER if is_ours(report.cl_ord_id) else Kind.FOREIGN_ORDER
            text = f"order {report.order_id} at {report.broker} is not in this journal"
            differences.append(Difference(kind=kind, instrument=report.instrument, text=text, report=report))
            continue
        if order.ord_status is OrdStatus.REPLACED:  # the broker may have kept its order, which is another intent's now
            order = order if order.order_id is None else by_order_id.get(order.order_id, order)
        seen.add(order.cl_ord_id)
        linked = report.parent is not None and report.parent != order.parent
        shrunk = order.shrinks and report.order_qty is not None and report.order_qty < order.order_qty
        filled = (report.cum_qty or ZERO) > order.cum_qty
        if filled or report.ord_status is not order.ord_status or order.order_id is None or linked or shrunk:
            text = f"{order.cl_ord_id} is {report.ord_status} at {report.broker}, {order.ord_status} here"
            differences.append(Difference(kind=Kind.STALE_ORDER, instrument=order.instrument, text=text, cl_ord_id=order.cl_ord_id, report=report))
    for order in ours:
        if order.cl_ord_id not in seen:
            text = f"{order.cl_ord_id} works here and is not open at {order.broker}"
            differences.append(Difference(kind=Kind.ABSENT_ORDER, instrument=order.instrument, text=text, cl_ord_id=order.cl_ord_id))
    return tuple(differences)


def compare_positions(
    ours: Mapping[InstrumentID, Decimal],
    theirs: Sequence[Position],
    unbooked: Mapping[InstrumentID, Decimal],
    fee_allowance: Mapping[InstrumentID, Decimal],
    expected: Collection[InstrumentID] = (),
) -> tuple[Difference, ...]:
    """`unbooked`: units that orders still in motion may explain, per instrument: such instruments are left for the next look.
    `fee_allowance`: the most that fees charged in kind can have taken, in units. `expected`: where something other than an order was said to
    have moved units; while that is open, an instrument that we never had explains itself too (a new name, a spin-off)."""
    reported = {position.instrument: position.qty for position in theirs}
    differences = []
    for instrument in sorted(reported.keys() | ours.keys()):
        qty = reported.get(instrument, ZERO) - ours.get(instrument, ZERO)
        if not qty or unbooked.get(instrument):
            continue
        kind = Kind.POSITION
        if qty < 0 and -qty <= fee_allowance.get(instrument, ZERO):
            kind = Kind.FEE
        elif instrument in expected or (expected and instrument not in ours):
            kind = Kind.EXPECTED
        text = f"{instrument}: {plain(reported.get(instrument, ZERO))} at the broker, {plain(ours.get(instrument, ZERO))} here"
        differences.append(Difference(kind=kind, instrument=instrument, text=text, qty=qty))
    return tuple(differences)


CASH_GRAIN = Decimal("0.01")  # brokers round what they show: less than this a booking is no difference
CASH_MAX = Decimal("0.001")  # of equity: more that nobody can explain stops the broker


def compare_cash(ours: Decimal, theirs: Decimal, fee_allowance: Decimal) -> tuple[Decimal, bool]:
    """Money at the broker less money here, and whether fees on what was sold can have taken it. 0: no difference."""
    amount = theirs - ours
    if abs(amount) <= CASH_GRAIN:
        return ZERO, False
    return amount, -fee_allowance - CASH_GRAIN <= amount < 0


def knight(order: Order, report: ExecutionReport, intended: Decimal) -> str:
    """What is wrong with an order of ours at a broker, if anything: sent twice, or larger than was meant. "" is the only good answer.
    intended: the most that this intent and those that replace it asked for; 0 for a cash order.

    Source: SEC release 34-70694 (Knight Capital): nobody compared what was sent with what was meant
    """
    if order.external:
        return ""
    if order.order_id is not None and report.order_id is not None and report.order_id != order.order_id and report.cl_ord_id == order.cl_ord_id:
        return f"{order.cl_ord_id} is two orders at {order.broker}: {order.order_id} and {report.order_id}"
    if intended and report.order_qty is not None and report.order_qty > intended:
        return f"{order.cl_ord_id} is {plain(report.order_qty)} at {order.broker}, and {plain(intended)} were meant"
    return ""
