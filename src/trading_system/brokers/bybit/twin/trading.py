"""The order endpoints: create, amend, cancel, what is open, what was, and executions. Acceptance comes later than the answer."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import ClassVar

from msgspec import UNSET
from msgspec.structs import replace

from trading_system.brokers.bybit import facts, wire
from trading_system.brokers.bybit.twin.account import Account, fee_rates
from trading_system.brokers.bybit.twin.forms import Refusal, bad, ms, page, shown, span
from trading_system.brokers.bybit.twin.rules import CreateBody, Exits, NamedBody, Rules, read
from trading_system.brokers.bybit.twin.universe import Product, Universe
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.money import ONE, ZERO, plain
from trading_system.sim.exchange import Event, Exchange, Execution, SimOrder, Ticket

_WORKING = (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)
_EXIT = {True: "PartialTakeProfit", False: "PartialStopLoss"}
_TIF = {TimeInForce.GTC: "GTC", TimeInForce.IOC: "IOC", TimeInForce.FOK: "FOK"}
CANCEL_MAX = 500  # of one cancel-all, and of orders that are closed and still shown


class Orders:
    """Every order of the account in Bybit's words."""

    BY_USER: ClassVar[tuple[str, str]] = ("CancelByUser", "EC_PerCancelRequest")

    def __init__(self, universe: Universe, exchange: Exchange, account: Account, rules: Rules) -> None:
        self._universe = universe
        self._exchange = exchange
        self._account = account
        self._rules = rules
        self._by_link_id: dict[str, SimOrder] = {}
        self._ends: dict[str, tuple[str, str]] = {}  # by order id: cancelType and rejectReason
        self._reducing: dict[str, None] = {}  # ids of reduce-only orders, oldest first
        self._forced: dict[str, str] = {}  # createType of what the account itself did not ask for
        self._attached: dict[str, Exits] = {}  # by order id: the exits that its fills get
        self._covered: dict[str, Decimal] = {}  # by order id: what of its fills has them
        self._parents: dict[str, SimOrder] = {}  # by an exit's order id: the order that it was attached to
        self.executions: list[wire.Execution] = []
        self._fees: dict[str, dict[str, Decimal]] = {}  # by order id and coin

    def taken(self, link_id: str) -> bool:
        return link_id in self._by_link_id

    # -- changes ---------------------------------------------------------------------------------------------------------------------------------

    def create(self, raw: bytes, now_ns: int) -> wire.Placed:
        """Take an order in. What becomes of it, the order stream says."""
        body = read(raw, CreateBody)
        ticket, exits = self._rules.ticket(body, now_ns), self._rules.exits(body, now_ns)
        order = self._exchange.submit(ticket, now_ns)
        if exits is not None:
            self._attached[order.order_id] = exits
        if body.orderLinkId:
            self._by_link_id[body.orderLinkId] = order
        if body.reduceOnly and body.category != facts.SPOT:
            self._reducing[order.order_id] = None
        return wire.Placed(orderId=order.order_id, orderLinkId=order.cl_ord_id)

    def amend(self, raw: bytes, now_ns: int) -> wire.Placed:
        body = read(raw, NamedBody)
        product, order = self._named(body)
        self._working(product, order)
        if order.order_id in self._parents:
            raise bad("changes of attached exits are not modelled by this twin")
        self._exchange.amend(order, self._rules.amended(product, order, body, now_ns), now_ns)
        return wire.Placed(orderId=order.order_id, orderLinkId=order.cl_ord_id)

    def cancel(self, raw: bytes, now_ns: int) -> wire.Placed:
        body = read(raw, NamedBody)
        product, order = self._named(body)
        waits = order.ticket.waits and not order.triggered
        if product.spot and waits is not (body.orderFilter == "StopOrder"):
            raise _gone(product)
        self._working(product, order, fresh=True)
        self._ends[order.order_id] = self.BY_USER
        self._exchange.cancel(order, now_ns)
        return wire.Placed(orderId=order.order_id, orderLinkId=order.cl_ord_id)

    def cancel_all(self, raw: bytes, now_ns: int) -> Mapping[str, object]:
        """Of contracts one of symbol, baseCoin and settleCoin says which; of spot the filter, plain orders where nothing is said; options all go."""
        body = read(raw, NamedBody)
        if body.category not in facts.CATEGORIES or (body.category in facts.CONTRACTS and not (body.symbol or body.baseCoin or body.settleCoin)):
            raise bad("category, symbol, baseCoin or settleCoin invalid")
        found = []
        for order in self._exchange.open_orders():
            product = self._universe.names[order.symbol]
            waits = order.ticket.waits and not order.triggered
            matches = (
                product.category == body.category
                and body.symbol in (None, "", product.symbol)
                and body.baseCoin in (None, "", product.base)
                and body.settleCoin in (None, "", product.settles_in)
                and (not product.spot or waits is (body.orderFilter == "StopOrder"))
            )
            if matches and order.ord_status in (*_WORKING, OrdStatus.PENDING_NEW):
                found.append(order)
        for order in found[:CANCEL_MAX]:
            self._ends[order.order_id] = self.BY_USER
            self._exchange.cancel(order, now_ns)
        return {"list": [wire.Placed(orderId=order.order_id, orderLinkId=order.cl_ord_id) for order in found[:CANCEL_MAX]], "success": "1"}

    def _named(self, body: NamedBody) -> tuple[Product, SimOrder]:
        """The order that orderId, else orderLinkId, names."""
        product = self._rules.product(body.category, body.symbol)
        order = self._exchange.orders.get(body.orderId or "") or self._by_link_id.get(body.orderLinkId or "")
        if not (body.orderId or body.orderLinkId):
            raise bad("orderId or orderLinkId is required")
        if order is None or order.symbol != product.name:
            raise _gone(product)
        return product, order

    @staticmethod
    def _working(product: Product, order: SimOrder, *, fresh: bool = False) -> None:
        """Raises Refusal: the order is over, or another request about it is under way. fresh: one that is not yet acknowledged will do."""
        if order.ord_status.terminal:
            raise _gone(product)
        if order.ord_status not in (*_WORKING, *((OrdStatus.PENDING_NEW,) if fresh else ())):
            raise Refusal(110079, "The order is processing and can not be operated upon, try again later")

    # -- attached exits ------------------------------------------------------------------------------------------------------------------------

    def cover(self, now_ns: int) -> None:
        """A pair of exits for what an order with such has filled since the last look. One ends the other, and both go with the position.

        How Bybit covers an order that fills at several times its documents do not say: here each time makes a pair of its own.
        Source: bybit-exchange.github.io/docs/v5/order/create-order#tpslMode
        """
        for order_id, exits in list(self._attached.items()):
            order = self._exchange.orders[order_id]
            qty = order.filled_qty - self._covered.get(order_id, ZERO)
            if qty:
                self._covered[order_id] = order.filled_qty
                for exit_id in self._exchange.submit_linked(None, _pair(order, exits, qty), now_ns, exclusive=True).exits:
                    self._parents[exit_id] = order
                    self._reducing[exit_id] = None
            if order.ord_status.terminal:
                del self._attached[order_id]

    # -- what the account did not ask for --------------------------------------------------------------------------------------------------------

    def force(self, product: Product, side: Side, qty: Decimal, create_type: str, now_ns: int) -> None:
        """A market order of Bybit's own, against a position."""
        ticket = Ticket(
            symbol=product.name,
            cl_ord_id="",
            side=side,
            ord_type=OrdType.MARKET,
            time_in_force=TimeInForce.IOC,
            qty=qty,
            opening=False,
        )
        order = self._exchange.submit(ticket, now_ns)
        self._forced[order.order_id] = create_type
        self._reducing[order.order_id] = None

    def forced(self) -> bool:
        """Whether one is still under way."""
        return any(not self._exchange.orders[order_id].ord_status.terminal for order_id in self._forced)

    def end_all(self, cancel_type: str, now_ns: int, products: Collection[Product]) -> None:
        """Cancel what is open of these, before positions are taken over."""
        names = {product.name for product in products}
        for order in self._exchange.open_orders():
            if order.symbol in names and order.ord_status in (*_WORKING, OrdStatus.PENDING_NEW):
                self._ends[order.order_id] = (cancel_type, "EC_PerCancelRequest")
                self._exchange.cancel(order, now_ns)

    def end_reducing(self, now_ns: int) -> None:
        """Cancel reduce-only orders that have nothing left to reduce."""
        for order_id in list(self._reducing):
            order = self._exchange.orders[order_id]
            if order.ord_status.terminal:
                del self._reducing[order_id]
            elif order.ord_status in _WORKING and self._exchange.position(order.symbol) * order.side.sign >= 0:
                self._ends[order_id] = ("CancelByReduceOnly", "EC_PerCancelRequest")
                self._exchange.cancel(order, now_ns)

    # -- questions -------------------------------------------------------------------------------------------------------------------------------

    def realtime(self, query: Mapping[str, str]) -> wire.Orders:
        """Open orders; by an id also one that has ended; with openOnly=1 those that ended last."""
        category = self._category(query)
        scoped = any(query.get(name) for name in ("orderId", "orderLinkId", "symbol", "baseCoin", "settleCoin"))
        if category == facts.LINEAR and not scoped:
            raise bad("symbol, baseCoin or settleCoin is required")
        named = bool(query.get("orderId") or query.get("orderLinkId"))
        ended = query.get("openOnly") == "1"
        rows = [order for order in self._matching(query, category) if named or order.ord_status.terminal is ended]
        return self._page(rows[:CANCEL_MAX] if ended else rows, query, category)

    def history(self, query: Mapping[str, str], now_ns: int) -> wire.Orders:
        """Orders that have ended, within seven days; by an id whenever."""
        category = self._category(query)
        named = bool(query.get("orderId") or query.get("orderLinkId"))
        low, high = span(query, now_ns, facts.HISTORY_WINDOW_NS)
        rows = [order for order in self._matching(query, category) if order.ord_status.terminal]
        return self._page([order for order in rows if named or low <= order.submitted_ns // 1_000_000 <= high], query, category)

    @staticmethod
    def _category(query: Mapping[str, str]) -> str:
        category = query.get("category", "")
        if category not in facts.CATEGORIES:
            raise bad("Illegal category")
        return category

    def _matching(self, query: Mapping[str, str], category: str) -> list[SimOrder]:
        """Newest first. What is not yet acknowledged is nowhere to be seen."""
        order_id, link_id = query.get("orderId", ""), query.get("orderLinkId", "")
        symbol, base, settle = (query.get(name, "") for name in ("symbol", "baseCoin", "settleCoin"))
        pool = (self._exchange.orders.get(order_id),) if order_id else reversed(self._exchange.orders.values())
        found = []
        for order in pool:
            if order is None or order.ord_status is OrdStatus.PENDING_NEW:
                continue
            product = self._universe.names[order.symbol]
            named = order_id or link_id in ("", order.cl_ord_id)
            about = symbol in ("", product.symbol) and base in ("", product.base) and settle in ("", product.settles_in)
            if product.category == category and named and about:
                found.append(order)
        return found

    def _page(self, rows: list[SimOrder], query: Mapping[str, str], category: str) -> wire.Orders:
        found, cursor = page(rows, query, 20, facts.ORDERS_PAGE_MAX)
        return wire.Orders(category=category, list=[self.show(order) for order in found], nextPageCursor=cursor)

    def fills(self, query: Mapping[str, str], now_ns: int) -> wire.Executions:
        """Executions and funding, newest first."""
        category = self._category(query)
        low, high = span(query, now_ns, facts.HISTORY_WINDOW_NS)
        wanted = {name: query.get(name, "") for name in ("symbol", "orderId", "orderLinkId", "execType")}
        rows = [
            row
            for row in reversed(self.executions)
            if row.category == category
            and low <= int(row.execTime) <= high
            and all(value in ("", getattr(row, name)) for name, value in wanted.items())
        ]
        found, cursor = page(rows, query, 50, facts.EXECUTIONS_PAGE_MAX)
        return wire.Executions(category=category, list=found, nextPageCursor=cursor)

    # -- in Bybit's words ------------------------------------------------------------------------------------------------------------------------

    def show(self, order: SimOrder) -> wire.Order:
        """An order as it stands."""
        product, ticket = self._universe.names[order.symbol], order.ticket
        in_money = order.qty is None
        qty = ticket.notional if order.qty is None else order.qty
        assert qty is not None
        left = ZERO if order.ord_status.terminal or order.qty is None else order.qty - order.filled_qty
        market = not ticket.ord_type.has_price
        cancel_type, reason = self._end(order)
        fees = self._fees.get(order.order_id, {})
        parent, profit, trigger = self._parents.get(order.order_id), self._profits(order), order.stop_px
        if profit:
            trigger = order.price
        average = order.avg_px
        direction = 0 if trigger is None or not product.margined else 1 if (order.side is Side.BUY) is not profit else 2
        attached = self._attached.get(order.order_id)
        return wire.Order(
            orderId=order.order_id,
            orderLinkId=order.cl_ord_id,
            category=product.category,
            symbol=product.symbol,
            side="Buy" if order.side is Side.BUY else "Sell",
            orderType="Market" if market else "Limit",
            orderStatus=_status(product, order, profit=profit),
            qty=plain(qty),
            price="0" if order.price is None else plain(order.price),
            cumExecQty=plain(order.filled_qty),
            cumExecValue=shown(order.filled_money),
            cumExecFee=shown(sum(fees.values(), ZERO)),
            cumFeeDetail={coin: shown(fee) for coin, fee in fees.items()},
            avgPrice="" if average is None else shown(ONE / average if product.inverse else average),
            leavesQty=plain(left),
            leavesValue=shown(product.value(left, order.price) if order.price else ZERO),
            timeInForce="IOC" if market else "PostOnly" if ticket.post_only else _TIF[order.time_in_force],
            triggerPrice="" if trigger is None else plain(trigger),
            triggerDirection=direction,
            triggerBy="LastPrice" if trigger is not None and product.margined else "",
            stopOrderType=("Stop" if ticket.waits else "") if parent is None else _EXIT[profit],
            marketUnit="" if not product.spot or not market else "quoteCoin" if in_money else "baseCoin",
            reduceOnly=order.order_id in self._reducing or parent is not None,
            closeOnTrigger=parent is not None,
            rejectReason=reason,
            cancelType=cancel_type,
            createType=f"CreateBy{_EXIT[profit]}" if parent is not None else self._forced.get(order.order_id, "CreateByUser"),
            takeProfit="" if attached is None else plain(attached.profit_px),
            stopLoss="" if attached is None else plain(attached.stop_px),
            parentOrderLinkId="" if parent is None else parent.cl_ord_id,
            createdTime=ms(order.submitted_ns),
            updatedTime=ms(order.updated_ns),
            tpslMode=UNSET if not product.margined else facts.PARTIAL if parent or attached or order.order_id in self._covered else "",
        )

    def _profits(self, order: SimOrder) -> bool:
        """Whether it is an attached take-profit."""
        return order.order_id in self._parents and not order.ticket.waits

    def _end(self, order: SimOrder) -> tuple[str, str]:
        """cancelType and rejectReason."""
        if order.ord_status is not OrdStatus.CANCELED:
            return "UNKNOWN", "EC_NoError"
        if order.order_id in self._ends:
            return self._ends[order.order_id]
        if order.order_id in self._parents:
            return "CancelByTpSlTsClear", "EC_NoError"
        if order.ticket.post_only:
            return "UNKNOWN", "EC_PostOnlyWillTakeLiquidity"
        if order.time_in_force is TimeInForce.FOK:
            return "UNKNOWN", "EC_NoEnoughQtyToFill"
        return "UNKNOWN", "EC_CancelForNoFullFill" if order.filled_qty else "EC_NoImmediateQtyToFill"

    def execution(self, event: Event) -> wire.Execution:
        """Enter one fill, in answers and in the log."""
        done, order = event.execution, event.order
        assert done is not None
        product = self._universe.names[done.symbol]
        qty = order.ticket.notional if order.qty is None else order.qty
        self._account.executed(done, event.transact_ns)
        fees = self._fees.setdefault(order.order_id, {})
        fees[done.fee_asset] = fees.get(done.fee_asset, ZERO) + done.fee
        taker, maker = fee_rates(product.category)
        liquidation = self._forced.get(order.order_id)
        row = wire.Execution(
            category=product.category,
            symbol=product.symbol,
            side="Buy" if done.side is Side.BUY else "Sell",
            orderId=order.order_id,
            orderLinkId=order.cl_ord_id,
            orderType="Limit" if order.ticket.ord_type.has_price else "Market",
            orderQty=plain(qty or ZERO),
            orderPrice="" if order.price is None else plain(order.price),
            stopOrderType=_EXIT[self._profits(order)] if order.order_id in self._parents else "Stop" if order.ticket.waits else "UNKNOWN",
            execId=done.exec_id,
            execType="BustTrade" if liquidation else "Trade",
            execQty=plain(done.qty),
            execPrice=plain(done.price),
            execValue=shown(product.value(done.qty, done.price)),
            execTime=ms(done.transact_ns),
            execFee=shown(done.fee),
            feeRate=plain(maker if done.maker else taker),
            feeCurrency=done.fee_asset,
            closedSize="" if product.spot else plain(_closed(done)),
            leavesQty=plain(done.leaves_qty),
            isMaker=done.maker,
            marketUnit="quoteCoin" if order.qty is None else "",
            createType=liquidation or "CreateByUser",
            seq=len(self.executions) + 1,
        )
        self.executions.append(row)
        return row

    def booked(self, kind: str, product: Product, qty: Decimal, price: Decimal, paid: Decimal, now_ns: int) -> wire.Execution:
        """Funding and deliveries are in the list of executions, and are none."""
        row = wire.Execution(
            category=product.category,
            symbol=product.symbol,
            side="Buy" if qty > 0 else "Sell",
            orderId=self._exchange.new_id(),
            orderType="UNKNOWN",
            orderQty="0",
            execId=self._exchange.new_id(),
            execType=kind,
            execQty=plain(abs(qty)),
            execPrice=shown(price),
            execValue=shown(product.value(abs(qty), price)),
            execTime=ms(now_ns),
            execFee=shown(paid),
            feeCurrency=product.settles_in,
            leavesQty="0",
            seq=len(self.executions) + 1,
        )
        self.executions.append(row)
        return row


def _closed(done: Execution) -> Decimal:
    """How much of a position the fill has closed."""
    before = done.position_qty - done.side.sign * done.qty
    return min(abs(before), done.qty) if before * done.side.sign < 0 else ZERO


def told(event: Event) -> bool:
    """Whether the order stream speaks of it: requests under way it does not."""
    return event.exec_type not in (ExecType.PENDING_NEW, ExecType.PENDING_CANCEL, ExecType.PENDING_REPLACE)


def late_cancel(order: wire.Order) -> wire.Order:
    """A cancel that a fill has overtaken: the second Filled."""
    return replace(order, cancelType="CancelByUser", rejectReason="EC_OrigClOrdIDDoesNotExist")


def _gone(product: Product) -> Refusal:
    if product.spot:
        return Refusal(170213, "Order does not exist.")
    return Refusal(110001, "order not exists or too late to cancel")


def _pair(entry: SimOrder, exits: Exits, qty: Decimal) -> list[Ticket]:
    """A take-profit that rests, and a stop."""
    profit = Ticket(
        symbol=entry.symbol,
        cl_ord_id="",
        side=entry.side.opposite,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        qty=qty,
        price=exits.profit_px,
        opening=False,
    )
    stop_type = OrdType.STOP if exits.stop_limit_px is None else OrdType.STOP_LIMIT
    return [profit, replace(profit, ord_type=stop_type, stop_px=exits.stop_px, price=exits.stop_limit_px)]


def _status(product: Product, order: SimOrder, *, profit: bool) -> str:
    """profit: an attached take-profit, which waits for its own price."""
    waits = not order.filled_qty if profit else order.ticket.waits and not order.triggered
    match order.ord_status:
        case OrdStatus.FILLED:
            return "Filled"
        case OrdStatus.CANCELED | OrdStatus.EXPIRED if waits:
            return "Deactivated"
        case OrdStatus.CANCELED | OrdStatus.EXPIRED:
            return "PartiallyFilledCanceled" if order.filled_qty and product.spot else "Cancelled"
        case OrdStatus.REJECTED:
            return "Rejected"
        case _ if order.filled_qty:
            return "PartiallyFilled"
        case _:
            return "Untriggered" if waits else "New"
