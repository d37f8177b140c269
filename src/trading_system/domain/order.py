"""Orders: what we ask (NewOrder, Replace), what may leave (Approved), what we know (Order, with its Fills)."""

from decimal import Decimal

import msgspec

from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, IntentID, OrderID
from trading_system.domain.money import ZERO


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A wish. Exactly one of order_qty (units) and cash_order_qty (money in the instrument's currency, FIX 152)."""

    broker: BrokerName
    instrument: InstrumentID
    side: Side
    ord_type: OrdType = OrdType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    order_qty: Decimal | None = None
    cash_order_qty: Decimal | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    extended_hours: bool = False
    reduce_only: bool = False
    protect_stop_px: Decimal | None = None  # what fills is guarded by a stop at this price, resting at the broker
    protects: ClOrdID | None = None  # this order is the stop that guards what that one filled
    intent: IntentID  # the same intent never becomes two orders
    repeat: bool = False  # the owner means to place a second order like the last one


class Replace(msgspec.Struct, frozen=True, kw_only=True):
    """Change a working order. What stays None stays as it is."""

    cl_ord_id: ClOrdID  # of the order to change
    order_qty: Decimal | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    intent: IntentID


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """What may leave: made by core/risk.py and nowhere else. `request` is complete, on the broker's grid."""

    request: NewOrder
    cl_ord_id: ClOrdID
    account: str
    symbol: str  # the broker's spelling
    reserve_px: Decimal  # the price at which this order's exposure is reserved, in the account's currency per unit
    reserve_qty: Decimal  # units; for a cash order, what the cash may buy
    reducing: bool  # it can only shrink the position: passes loss limits, reserves nothing
    approved_ns: int
    dry_run: bool = False  # walks the whole path and stops at the last hop
    orig_cl_ord_id: ClOrdID | None = None  # a replace: the order it changes
    orig_order_id: OrderID | None = None


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution. cum_qty is the broker's cumulative quantity after it, where the broker says it."""

    exec_id: ExecID
    qty: Decimal
    price: Decimal
    cum_qty: Decimal | None
    fee: Decimal = ZERO
    fee_currency: str = ""
    transact_ns: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One order as we know it. order_qty == cum_qty + leaves_qty while live; leaves_qty is 0 when terminal.

    cum_qty is what we booked, fill by fill. stated_cum_qty is the most the broker ever said was filled: the difference is
    money that moved and that we have not booked yet, and keeps its reservation.
    """

    cl_ord_id: ClOrdID
    broker: BrokerName
    account: str
    instrument: InstrumentID
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_qty: Decimal  # 0 while a cash order's quantity is the market's to say
    cash_order_qty: Decimal | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    reduce_only: bool = False
    protect_stop_px: Decimal | None = None
    protects: ClOrdID | None = None
    external: bool = False  # not sent by this desk: adopted, counted, never cancelled unasked
    intent: IntentID | None = None
    ord_status: OrdStatus = OrdStatus.PENDING_NEW
    doubt: Doubt = Doubt.NONE
    order_id: OrderID | None = None
    prior_qty: Decimal = ZERO  # an adopted order: filled before this desk first looked, part of cum_qty and of no fill
    cum_qty: Decimal = ZERO
    stated_cum_qty: Decimal = ZERO
    fills: tuple[Fill, ...] = ()
    voided: tuple[ExecID, ...] = ()  # executions the broker busted or corrected away; should they come again, they are dropped
    reserve_px: Decimal = ZERO
    reserve_qty: Decimal = ZERO
    reducing: bool = False
    orig_cl_ord_id: ClOrdID | None = None  # this order replaces that one
    text: str = ""
    sent_ns: int = 0
    updated_ns: int = 0

    @property
    def leaves_qty(self) -> Decimal:
        """Units that may still fill; 0 for a cash order, whose remainder is money."""
        return ZERO if self.ord_status.terminal or not self.order_qty else max(ZERO, self.order_qty - self.cum_qty)

    @property
    def unbooked_qty(self) -> Decimal:
        """Filled at the broker, not yet booked here."""
        return max(ZERO, self.stated_cum_qty - self.cum_qty)

    @property
    def settled(self) -> bool:
        """Nothing about it can change our exposure any more: terminal, without doubt, every stated fill booked."""
        return self.ord_status.terminal and self.doubt in (Doubt.NONE, Doubt.PROVEN_ABSENT) and not self.unbooked_qty

    @property
    def avg_px(self) -> Decimal | None:
        """Average price of what is booked; None before the first fill."""
        qty = self.cum_qty - self.prior_qty
        return sum((fill.qty * fill.price for fill in self.fills), ZERO) / qty if qty else None
