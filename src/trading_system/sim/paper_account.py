"""What a paper account remembers: money, units, orders and executions, as one file that outlives the process. Pure; paper.py gives it a market."""

from collections.abc import Iterator
from decimal import ROUND_UP, Decimal

import msgspec

from trading_system.domain.errors import Rejected
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, OrderID
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.money import ZERO, plain
from trading_system.domain.report import ExecutionReport

VERSION = 1
KEPT_NS = 90 * 86_400_000_000_000  # how long ended orders and executions are remembered
CENT = Decimal("0.00000001")


class PaperOrder(msgspec.Struct, kw_only=True):
    """An order as the account keeps it. qty in units; a cash order's was settled when it came."""

    cl_ord_id: ClOrdID
    order_id: OrderID
    instrument: InstrumentID
    currency: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    qty: Decimal
    price: Decimal | None
    stop_px: Decimal | None
    reserve_px: Decimal  # money held back per unit, of a buy
    cum_qty: Decimal = ZERO
    ord_status: OrdStatus = OrdStatus.NEW
    triggered: bool = False
    text: str = ""
    submitted_ns: int
    updated_ns: int

    @property
    def left(self) -> Decimal:
        return ZERO if self.ord_status.terminal else self.qty - self.cum_qty


class PaperAccount(msgspec.Struct, kw_only=True):
    """Money by currency, units by instrument. Amounts are in the instrument's own currency."""

    version: int = VERSION
    broker: BrokerName
    moneys: dict[str, Decimal]
    units: dict[InstrumentID, Decimal] = {}
    avg_px: dict[InstrumentID, Decimal] = {}
    orders: dict[ClOrdID, PaperOrder] = {}
    executions: list[ExecutionReport] = []
    count: int = 0  # of orders and executions ever: makes their names
    day: int = 0  # UTC's, since 1970
    last_equity: Decimal | None = None  # at its beginning
    seen_ns: int = 0  # the market was watched up to here

    def open_orders(self, instrument: InstrumentID | None = None) -> Iterator[PaperOrder]:
        """Oldest first."""
        for order in self.orders.values():
            if not order.ord_status.terminal and instrument in (None, order.instrument):
                yield order

    def free(self, currency: str) -> Decimal:
        """Money of a currency that no open buy holds back."""
        held = (order.left * order.reserve_px for order in self.open_orders() if order.side is Side.BUY and order.currency == currency)
        return self.moneys.get(currency, ZERO) - sum(held, ZERO)

    def sellable(self, instrument: InstrumentID) -> Decimal:
        """Units that no open sell holds back."""
        held = (order.left for order in self.open_orders(instrument) if order.side is Side.SELL)
        return self.units.get(instrument, ZERO) - sum(held, ZERO)

    def take(self, order: PaperOrder, instrument: Instrument, equity: Decimal, credit: Decimal = ZERO) -> ExecutionReport:
        """Let an order in. equity: what the account is worth in the instrument's currency, the most that may be short; credit: money that is lent.

        Raises: Rejected: a client id twice, not enough money, not enough units.
        """
        if order.cl_ord_id in self.orders:
            raise Rejected(f"client order id {order.cl_ord_id} is taken", "duplicate")
        borrows = instrument.shortable or instrument.asset_class in (AssetClass.PERPETUAL, AssetClass.FUTURE)
        if order.side is Side.BUY:
            cost, free = order.qty * order.reserve_px * instrument.multiplier, self.free(order.currency) + credit
            closing = min(order.qty, max(ZERO, -self.units.get(order.instrument, ZERO)))
            if cost > free and closing < order.qty:
                raise Rejected(f"{plain(cost)} {order.currency} needed, {plain(max(ZERO, free))} free", "insufficient_funds")
        else:
            short = order.qty - self.sellable(order.instrument)  # with what is short, or about to be
            if short > 0 and not (borrows and short * order.reserve_px * instrument.multiplier <= equity):
                raise Rejected(f"{plain(order.qty)} {order.instrument} to sell, {plain(self.sellable(order.instrument))} free", "insufficient_units")
        self.orders[order.cl_ord_id] = order
        return self.report(order, ExecType.NEW, order.submitted_ns)

    def fill(self, order: PaperOrder, qty: Decimal, price: Decimal, rate: Decimal, multiplier: Decimal, now_ns: int) -> ExecutionReport:
        """Book one execution. rate: the fee as a fraction of the money, taken from the money, rounded up."""
        fee = (qty * price * multiplier * rate).quantize(CENT, ROUND_UP)
        before = self.units.get(order.instrument, ZERO)
        after = before + order.side.sign * qty
        self.moneys[order.currency] = self.moneys.get(order.currency, ZERO) - order.side.sign * qty * price * multiplier - fee
        self.units[order.instrument] = after
        if not after:
            self.units.pop(order.instrument)
            self.avg_px.pop(order.instrument, None)
        elif before * order.side.sign >= 0:
            self.avg_px[order.instrument] = (abs(before) * self.avg_px.get(order.instrument, ZERO) + qty * price) / abs(after)
        elif before * after < 0:
            self.avg_px[order.instrument] = price
        order.cum_qty += qty
        order.ord_status = OrdStatus.FILLED if order.cum_qty == order.qty else OrdStatus.PARTIALLY_FILLED
        named = msgspec.structs.replace(
            self.report(order, ExecType.TRADE, now_ns),
            exec_id=ExecID(f"{order.order_id}-{self.named()}"),
            last_qty=qty,
            last_px=price,
            fee=fee,
            fee_currency=order.currency if fee else "",
        )
        self.executions.append(named)
        return named

    def end(self, order: PaperOrder, status: OrdStatus, text: str, now_ns: int) -> ExecutionReport:
        """Canceled, expired or rejected."""
        order.ord_status, order.text = status, text
        return self.report(order, ExecType(status.value), now_ns)

    def report(self, order: PaperOrder, exec_type: ExecType, now_ns: int) -> ExecutionReport:
        """How an order stands."""
        order.updated_ns = max(order.updated_ns, now_ns)
        return ExecutionReport(
            broker=self.broker,
            cl_ord_id=order.cl_ord_id,
            order_id=order.order_id,
            exec_type=exec_type,
            ord_status=order.ord_status,
            instrument=order.instrument,
            side=order.side,
            ord_type=order.ord_type,
            time_in_force=order.time_in_force,
            order_qty=order.qty,
            price=order.price,
            stop_px=order.stop_px,
            cum_qty=order.cum_qty,
            text=order.text,
            transact_ns=order.updated_ns,
            recv_ns=now_ns,
        )

    def named(self) -> int:
        """The next number that no order or execution of this account has had."""
        self.count += 1
        return self.count

    def forget(self, now_ns: int) -> None:
        """Drop what ended long ago, so that the file stays small."""
        since_ns = now_ns - KEPT_NS
        self.orders = {name: order for name, order in self.orders.items() if not order.ord_status.terminal or order.updated_ns >= since_ns}
        self.executions = [report for report in self.executions if report.transact_ns >= since_ns]
