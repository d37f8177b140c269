"""Our view minus the broker's view: the differences, and what each calls for. Nothing here trades."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from trading_system.domain.account import Position
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
        seen.add(order.cl_ord_id)
        if (report.cum_qty or ZERO) > order.cum_qty or report.ord_status is not order.ord_status or order.order_id is None:
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
) -> tuple[Difference, ...]:
    """`unbooked`: units that orders still in motion may explain, per instrument: such instruments are left for the next look.
    `fee_allowance`: the most that fees charged in kind can have taken, in units."""
    reported = {position.instrument: position.qty for position in theirs}
    differences = []
    for instrument in sorted(reported.keys() | ours.keys()):
        qty = reported.get(instrument, ZERO) - ours.get(instrument, ZERO)
        if not qty or unbooked.get(instrument):
            continue
        fee = qty < 0 and -qty <= fee_allowance.get(instrument, ZERO)
        text = f"{instrument}: {plain(reported.get(instrument, ZERO))} at the broker, {plain(ours.get(instrument, ZERO))} here"
        differences.append(Difference(kind=Kind.FEE if fee else Kind.POSITION, instrument=instrument, text=text, qty=qty))
    return tuple(differences)
