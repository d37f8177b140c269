"""ExecutionReport: the one inbound fact about an order, whatever the broker calls it."""

from decimal import Decimal

import msgspec

from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, OrderID
from trading_system.domain.money import ZERO
from trading_system.domain.order import Leg


class ExecutionReport(msgspec.Struct, frozen=True, kw_only=True):
    """Complete enough to adopt an order we never sent. Quantities in units, prices per unit in the instrument's currency."""

    broker: BrokerName
    cl_ord_id: ClOrdID
    order_id: OrderID | None
    exec_type: ExecType
    ord_status: OrdStatus
    instrument: InstrumentID
    multiplier: Decimal | None = None  # what a price of it is per, where the broker says so: it may be an instrument that nobody here has read
    inverse: bool = False  # an inverse contract
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_qty: Decimal | None  # None: a cash order
    cash_order_qty: Decimal | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    trail_px: Decimal | None = None
    trail_pct: Decimal | None = None
    parent: ClOrdID | None = None  # the order that the broker holds this one for, where it says so
    legs: tuple[Leg, ...] = ()  # of a multileg order
    children: "tuple[ExecutionReport, ...]" = ()  # the orders that the broker made for this one; the desk takes them one by one
    cum_qty: Decimal | None = None  # the broker's cumulative quantity after this; None: it does not say
    exec_id: ExecID | None = None  # with TRADE, TRADE_CORRECT and TRADE_CANCEL
    exec_ref_id: ExecID | None = None  # FIX 19: the execution that a correction or a bust is about
    last_qty: Decimal = ZERO
    last_px: Decimal = ZERO
    fee: Decimal = ZERO
    fee_currency: str = ""
    realized: Decimal = ZERO  # what closing an inverse contract paid out, in fee_currency
    replaced_by: OrderID | None = None
    replaces: OrderID | None = None
    text: str = ""
    transact_ns: int
    recv_ns: int
