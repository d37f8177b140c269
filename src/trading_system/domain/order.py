"""Orders: what we ask (NewOrder, Replace), what may leave (Approved), what we know (Order, with its Fills)."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from trading_system.domain.fix import Contingency, Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, IntentID, OrderID
from trading_system.domain.money import ZERO
from trading_system.domain.option import is_option


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """Exits that the broker itself holds for an order and starts when it is filled. With an exit: the stop beside it, of which one ends the other."""

    take_profit_px: Decimal | None = None  # a limit order at this price
    stop_px: Decimal | None = None  # a stop at this price …
    stop_limit_px: Decimal | None = None  # … which becomes a limit order at this one


class Leg(msgspec.Struct, frozen=True):
    """One part of a multileg order: this many contracts, or shares, for each of the whole."""

    instrument: InstrumentID
    side: Side
    ratio_qty: int


class NewOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A wish. Exactly one of order_qty (units) and cash_order_qty (money in the instrument's currency, FIX 152).

    A multileg order is bought as a whole: instrument is what its options are about, price the net of its legs for each unit of that (a share), below
    zero where it pays us. With shares among its legs, as many as one contract is about, it is a combo: those count once in its price.
    """

    broker: BrokerName
    instrument: InstrumentID
    side: Side
    ord_type: OrdType = OrdType.MARKET
    time_in_force: TimeInForce = TimeInForce.DAY
    order_qty: Decimal | None = None
    cash_order_qty: Decimal | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    trail_px: Decimal | None = None  # a trailing stop's distance from the market: in money per unit …
    trail_pct: Decimal | None = None  # … or as a fraction of the price
    attached: Attached | None = None
    legs: tuple[Leg, ...] = ()
    parent: ClOrdID | None = None  # a change of an order that the broker holds for that one
    extended_hours: bool = False
    reduce_only: bool = False
    protect_stop_px: Decimal | None = None  # what fills is guarded by a stop at this price, resting at the broker
    protects: ClOrdID | None = None  # this order is the stop that guards what that one filled
    intent: IntentID  # the same intent never becomes two orders
    repeat: bool = False  # the owner means to place a second order like the last one

    @property
    def contingency(self) -> Contingency:
        return _contingency(self.attached, exit_=self.reduce_only)


class Replace(msgspec.Struct, frozen=True, kw_only=True):
    """Change a working order. What stays None stays as it is."""

    cl_ord_id: ClOrdID  # of the order to change
    order_qty: Decimal | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    trail_px: Decimal | None = None
    trail_pct: Decimal | None = None
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
    opens: tuple[bool, ...] = ()  # of each leg: whether it opens a position
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
    realized: Decimal = ZERO  # what closing an inverse contract paid out, in fee_currency
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
    trail_px: Decimal | None = None
    trail_pct: Decimal | None = None
    attached: Attached | None = None
    legs: tuple[Leg, ...] = ()  # multileg: what fills is told of the leg orders, which have this one as parent
    parted: bool = False  # a combo: its shares are an order by now, which reserves for itself
    parent: ClOrdID | None = None  # the order that the broker holds this one for
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
        """Filled at the broker, not yet booked here. What fills of a multileg order is its legs' to book."""
        return ZERO if self.legs else max(ZERO, self.stated_cum_qty - self.cum_qty)

    @property
    def settled(self) -> bool:
        """Nothing about it can change our exposure any more: terminal, without doubt, every stated fill booked."""
        return self.ord_status.terminal and self.doubt in (Doubt.NONE, Doubt.PROVEN_ABSENT) and not self.unbooked_qty

    @property
    def shrinks(self) -> bool:
        """Whether the broker may take something off it: it closes what another order, or a trade, has left."""
        return self.parent is not None or (self.reduce_only and self.ord_type is OrdType.TRAILING_STOP)

    @property
    def contingency(self) -> Contingency:
        return _contingency(self.attached, exit_=self.reduce_only)

    @property
    def guard_px(self) -> Decimal | None:
        """Where the stop stands that what it fills asked for, whoever holds that stop; None: it asked for none."""
        if self.protect_stop_px is not None or self.attached is None or self.reduce_only:
            return self.protect_stop_px
        return self.attached.stop_px

    @property
    def held(self) -> bool:
        """Part of a bracket that waits for its entry: it guards nothing yet, and nothing of it can fill."""
        return self.parent is not None and self.ord_status is OrdStatus.SUSPENDED

    @property
    def avg_px(self) -> Decimal | None:
        """Average price of what is booked; None before the first fill."""
        qty = self.cum_qty - self.prior_qty
        return sum((fill.qty * fill.price for fill in self.fills), ZERO) / qty if qty else None


def shares_of(legs: Sequence[Leg]) -> Leg | None:
    """The leg of a multileg order that is no option: shares."""
    return next((leg for leg in legs if not is_option(leg.instrument)), None)


def _contingency(attached: Attached | None, *, exit_: bool) -> Contingency:
    """How what is attached depends on its order: an exit's is its alternative, an entry's starts when it is filled."""
    if attached is None:
        return Contingency.NONE
    if exit_:
        return Contingency.OCO
    return Contingency.OTO if attached.take_profit_px is None or attached.stop_px is None else Contingency.BRACKET
