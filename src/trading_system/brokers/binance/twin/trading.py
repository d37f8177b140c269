"""The account as Binance keeps it: what it refuses and in which words, orders by their two ids, and every list of them.

Balances and matching are the exchange's. An order is answered after it has been matched, as Binance's engine does. That a stop has gone off shows by
its trades alone; the second NEW that Binance sends then is left out.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TypeVar

from trading_system.brokers.binance import facts, wire
from trading_system.brokers.binance.twin.data import MarketData
from trading_system.brokers.binance.twin.forms import (
    MS,
    Params,
    Refusal,
    client_id,
    filtered,
    integer,
    limit,
    missing,
    number,
    rejected,
    shown,
    unwanted,
)
from trading_system.brokers.binance.twin.lists import OrderLists
from trading_system.brokers.binance.twin.universe import (
    MAX_ALGO_ORDERS,
    MAX_NOTIONAL,
    MAX_ORDERS,
    MIN_NOTIONAL,
    MULTIPLIER_DOWN,
    MULTIPLIER_UP,
    ORDER_TYPES,
    TRAIL_MAX,
    TRAIL_MIN,
    Pair,
)
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.money import ONE, ZERO
from trading_system.sim.exchange import Event, Exchange, Execution, SimOrder, Ticket
from trading_system.sim.market import LOT, TICK_NS

_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_TIFS = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_TYPES = {
    "LIMIT": OrdType.LIMIT,
    "LIMIT_MAKER": OrdType.LIMIT,
    "MARKET": OrdType.MARKET,
    "STOP_LOSS": OrdType.STOP,
    "STOP_LOSS_LIMIT": OrdType.STOP_LIMIT,
}
_KNOWN_TYPES = (*_TYPES, "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_NEEDS: Mapping[str, tuple[set[str], set[str]]] = {  # what each must have of _SHAPE, and what it may have besides
    "LIMIT": ({"timeInForce", "quantity", "price"}, set()),
    "LIMIT_MAKER": ({"quantity", "price"}, set()),
    "MARKET": (set(), {"quantity", "quoteOrderQty"}),
    "STOP_LOSS": ({"quantity"}, {"stopPrice", "trailingDelta"}),
    "STOP_LOSS_LIMIT": ({"timeInForce", "quantity", "price", "stopPrice"}, set()),
}
_SHAPE = ("timeInForce", "quantity", "quoteOrderQty", "price", "stopPrice", "trailingDelta")
_STATUSES = {
    OrdStatus.PENDING_NEW: "PENDING_NEW",  # one of a list, until its working order is filled
    OrdStatus.REJECTED: "REJECTED",
    OrdStatus.NEW: "NEW",
    OrdStatus.PARTIALLY_FILLED: "PARTIALLY_FILLED",
    OrdStatus.FILLED: "FILLED",
    OrdStatus.CANCELED: "CANCELED",
    OrdStatus.EXPIRED: "EXPIRED",
}
_SHOWN_WITH = ("FULL", "RESULT", "ACK")
NO_MONEY = "Account has insufficient balance for requested action."
UNKNOWN = "Unknown order sent."
_T = TypeVar("_T")
UNFILLED = {TimeInForce.IOC: "UNFILLED_IOC_QUANTITY_EXPIRED", TimeInForce.FOK: "UNFILLED_FOK_ORDER_EXPIRED"}


class TradingDesk:
    """One account."""

    def __init__(self, exchange: Exchange, data: MarketData, *, uid: int, fee: Decimal, collect: Callable[[], None]) -> None:
        """collect: tells the streams what has just happened."""
        self.exchange = exchange
        self.data = data
        self.uid = uid
        self.can_trade = True
        self._fee = fee
        self._collect = collect
        self._orders: dict[str, SimOrder] = {}  # by id, in order of arrival
        self._words: dict[str, str] = {}  # the type that was sent
        self._cash: dict[str, Decimal] = {}  # what a market order was to spend
        self._cancels: dict[str, str] = {}  # by order: the id of the cancel that ended it
        self.list_of: dict[str, int] = {}  # by order: the list that it is one of
        self._taken: list[int] = []  # when orders were taken, in milliseconds
        self._trades: list[Execution] = []
        self.lists = OrderLists(self)

    # -- questions ---------------------------------------------------------------------------------------------------------------------------------

    def account(self, params: Params, now_ns: int) -> object:
        rate = shown(self._fee)
        points = int(self._fee / facts.BASIS_POINT)
        return wire.Account(
            uid=self.uid,
            account_type="SPOT",
            can_trade=self.can_trade,
            can_withdraw=True,
            can_deposit=True,
            brokered=False,
            require_self_trade_prevention=False,
            prevent_sor=False,
            update_time=now_ns // MS,
            maker_commission=points,
            taker_commission=points,
            buyer_commission=0,
            seller_commission=0,
            commission_rates=wire.CommissionRates(maker=rate, taker=rate, buyer=shown(ZERO), seller=shown(ZERO)),
            balances=[
                wire.Balance(asset=asset, free=shown(free), locked=shown(locked))
                for asset, (free, locked) in self.balances().items()
                if free or locked or params.get("omitZeroBalances") != "true"
            ],
            permissions=["SPOT"],
        )

    def balances(self) -> Mapping[str, tuple[Decimal, Decimal]]:
        """Free and locked, by asset."""
        found = {facts.QUOTE: (self.exchange.cash - self.exchange.reserved, self.exchange.reserved)}
        for symbol, pair in self.data.universe.pairs.items():
            locked = self.exchange.held(symbol)
            found[pair.base] = (self.exchange.position(symbol) - locked, locked)
        return found

    def query(self, params: Params, now_ns: int) -> object:
        order = self._find(params, "orderId", "origClientOrderId")
        if order is None:
            raise Refusal(400, -2013, "Order does not exist.")
        return self.row(order)

    def open_orders(self, params: Params, now_ns: int) -> object:
        symbol = self.data.symbol(params) if "symbol" in params else None
        return [self.row(order) for order in self.exchange.open_orders(symbol)]

    def all_orders(self, params: Params, now_ns: int) -> object:
        symbol, first = self.data.symbol(params), integer(params, "orderId")
        start_ms, end_ms = self._span(params)
        rows = [order for order in self._orders.values() if order.symbol == symbol]
        rows = [order for order in rows if (first is None or int(order.order_id) >= first) and start_ms <= order.submitted_ns // MS <= end_ms]
        return [self.row(order) for order in self._page(rows, params, from_start=first is not None or "startTime" in params)]

    def my_trades(self, params: Params, now_ns: int) -> object:
        """fromId is inclusive; without it and without a start the newest are meant."""
        symbol, first, order_id = self.data.symbol(params), integer(params, "fromId"), params.get("orderId")
        start_ms, end_ms = self._span(params)
        if first is not None and ("startTime" in params or "endTime" in params):
            raise Refusal(400, -1128, "Combination of optional parameters invalid.")
        found = [done for done in self._trades if done.symbol == symbol and (order_id is None or done.order_id == order_id)]
        found = [done for done in found if (first is None or int(done.exec_id) >= first) and start_ms <= done.transact_ns // MS <= end_ms]
        return [self._my_trade(done) for done in self._page(found, params, from_start=first is not None or "startTime" in params)]

    def _span(self, params: Params) -> tuple[int, int]:
        start_ms, end_ms = integer(params, "startTime"), integer(params, "endTime")
        if start_ms is not None and end_ms is not None and (end_ms - start_ms) * MS > facts.SPAN_NS:
            raise Refusal(400, -1127, "More than 24 hours between startTime and endTime.")
        return start_ms or 0, end_ms if end_ms is not None else 10**15

    @staticmethod
    def _page(rows: list[_T], params: Params, *, from_start: bool) -> list[_T]:
        most = limit(params, 500, facts.ROWS_MAX)
        return rows[:most] if from_start else rows[-most:]

    def commission(self, params: Params, now_ns: int) -> object:
        rate, none = shown(self._fee), shown(ZERO)
        nothing = wire.CommissionRates(maker=none, taker=none, buyer=none, seller=none)
        return wire.Commission(
            symbol=self.data.symbol(params),
            standard_commission=wire.CommissionRates(maker=rate, taker=rate, buyer=none, seller=none),
            special_commission=nothing,
            tax_commission=nothing,
            discount=wire.Discount(enabled_for_account=False, enabled_for_symbol=False, discount_asset="BNB", discount="0.75000000"),
        )

    def order_limits(self, params: Params, now_ns: int) -> list[wire.RateLimit]:
        ten, day = self.counts(now_ns)
        return [
            wire.RateLimit(rate_limit_type="ORDERS", interval="SECOND", interval_num=10, limit=self.data.orders_per_10_s, count=ten),
            wire.RateLimit(rate_limit_type="ORDERS", interval="DAY", interval_num=1, limit=facts.ORDERS_PER_DAY, count=day),
        ]

    def counts(self, now_ns: int) -> tuple[int, int]:
        """Orders taken in this interval of ten seconds and on this day. What a fill gives back is left out."""
        ten, day = now_ns // MS // 10_000, now_ns // MS // 86_400_000
        today = [at for at in self._taken if at // 86_400_000 == day]
        self._taken = today
        return sum(at // 10_000 == ten for at in today), len(today)

    # -- orders ------------------------------------------------------------------------------------------------------------------------------------

    def test(self, params: Params, now_ns: int) -> object:
        """Everything is checked, nothing is placed."""
        self.ticket(params, now_ns)
        return {}

    def place(self, params: Params, now_ns: int) -> object:
        shape = _shown_with(params)
        ticket = self.ticket(params, now_ns)
        self.count(now_ns)
        order = self._submit(ticket, params, now_ns)
        return self._placed(order, shape)

    def _submit(self, ticket: Ticket, params: Params, now_ns: int) -> SimOrder:
        """Into the book, and as far as it goes at once."""
        order = self.exchange.submit(ticket, now_ns)
        self.enter(order, params, now_ns)
        self.settle(now_ns)
        return order

    def enter(self, order: SimOrder, params: Params, now_ns: int) -> None:
        """Keep what the exchange does not know of an order: how it was sent."""
        self._orders[order.order_id] = order
        self._words[order.order_id] = params["type"]
        if "quoteOrderQty" in params:
            self._cash[order.order_id] = Decimal(params["quoteOrderQty"])
        self._taken.append(now_ns // MS)

    def settle(self, now_ns: int) -> None:
        """Let happen what happens at once, and tell of it."""
        self.exchange.advance(now_ns)
        self._collect()

    def cancel(self, params: Params, now_ns: int) -> object:
        """One of a list takes the list along."""
        order = self._to_cancel(params, "orderId", "origClientOrderId")
        self._cancel(order, client_id(params, "newClientOrderId"), now_ns)
        return self._ended(order)

    def _ended(self, order: SimOrder) -> object:
        number = self.list_of.get(order.order_id)
        return self._cancelled(order) if number is None else self.lists.shown(number, self.cancelled)

    def cancel_all(self, params: Params, now_ns: int) -> object:
        orders = self.exchange.open_orders(self.data.symbol(params))
        if not orders:
            raise Refusal(400, -2011, UNKNOWN)
        for order in orders:
            if not order.ord_status.terminal:  # its list may have taken it along
                self._cancel(order, "", now_ns)
        alone = [order for order in orders if order.order_id not in self.list_of]
        lists = dict.fromkeys(self.list_of[order.order_id] for order in orders if order.order_id in self.list_of)
        return [*(self._cancelled(order) for order in alone), *(self.lists.shown(number, self.cancelled) for number in lists)]

    def _to_cancel(self, params: Params, by_id: str, by_client_id: str) -> SimOrder:
        order = self._find(params, by_id, by_client_id)
        if order is None or order.ord_status.terminal:
            raise Refusal(400, -2011, UNKNOWN)
        wanted = params.get("cancelRestrictions")
        if wanted not in (None, "ONLY_NEW", "ONLY_PARTIALLY_FILLED"):
            raise Refusal(400, -1145, "Invalid cancelRestrictions")
        if wanted is not None and (wanted == "ONLY_NEW") is (order.filled_qty > 0):
            raise Refusal(400, -2011, "Order was not canceled due to cancel restrictions.")
        return order

    def _cancel(self, order: SimOrder, name: str, now_ns: int) -> None:
        group = self.exchange.groups.get(order.order_id)
        for order_id in (order.order_id,) if group is None or group.over else group.members:
            if not self._orders[order_id].ord_status.terminal:
                self._cancels[order_id] = name or f"c{self.exchange.new_id()}"
        self.exchange.cancel(order, now_ns)
        self.settle(now_ns)

    def cancel_replace(self, params: Params, now_ns: int) -> object:
        """Filters and order count first, then the cancel, then the new order."""
        mode = params.get("cancelReplaceMode")
        if mode not in ("STOP_ON_FAILURE", "ALLOW_FAILURE"):
            raise missing("cancelReplaceMode")
        if not params.get("cancelOrderId") and not params.get("cancelOrigClientOrderId"):
            raise missing("cancelOrderId")
        self._shape(params, now_ns)
        self.count(now_ns)
        done: dict[str, object] = {"cancelResult": "SUCCESS", "newOrderResult": "NOT_ATTEMPTED", "cancelResponse": None, "newOrderResponse": None}
        try:
            order = self._to_cancel(params, "cancelOrderId", "cancelOrigClientOrderId")
            self._cancel(order, client_id(params, "cancelNewClientOrderId"), now_ns)
            done["cancelResponse"] = self._cancelled(order)
        except Refusal as refusal:
            done |= {"cancelResult": "FAILURE", "cancelResponse": refusal.body}
            if mode == "STOP_ON_FAILURE":
                raise Refusal(400, -2022, "Order cancel-replace failed.", done) from None
        try:
            ticket = self.ticket(params, now_ns)
            done["newOrderResponse"] = self._placed(self._submit(ticket, params, now_ns), _shown_with(params))
            done["newOrderResult"] = "SUCCESS"
        except Refusal as refusal:
            done |= {"newOrderResult": "FAILURE", "newOrderResponse": refusal.body}
        if (done["cancelResult"], done["newOrderResult"]) == ("FAILURE", "FAILURE"):
            raise Refusal(400, -2022, "Order cancel-replace failed.", done)
        if "FAILURE" in done.values():
            raise Refusal(409, -2021, "Order cancel-replace partially failed.", done)
        return done

    def count(self, now_ns: int, orders: int = 1) -> None:
        """Raises Refusal: more than may be placed."""
        ten, day = self.counts(now_ns)
        for used, most, what in ((ten, self.data.orders_per_10_s, "10 seconds"), (day, facts.ORDERS_PER_DAY, "1 day")):
            if used + orders > most:
                raise Refusal(429, -1015, f"Too many new orders; current limit is {most} orders per {what}.")

    # -- what is refused ---------------------------------------------------------------------------------------------------------------------------

    def _shape(self, params: Params, now_ns: int, *, later: bool = False) -> tuple[Pair, Side, str]:
        """Parameters, and the filters that need no account. later: it waits for another, today's market is not its own. Raises Refusal."""
        pair = self.data.universe.pairs[self.data.symbol(params)]
        for name in ("side", "type"):
            if not params.get(name):
                raise missing(name)
        side, word = _SIDES.get(params["side"]), params["type"]
        if side is None:
            raise Refusal(400, -1117, "Invalid side.")
        if word not in _KNOWN_TYPES:
            raise Refusal(400, -1116, "Invalid orderType.")
        if word not in ORDER_TYPES:
            raise rejected("Take profit orders are not supported for this symbol.")
        must, may = _NEEDS[word]
        for name in _SHAPE:
            if name in must and not params.get(name):
                raise missing(name)
            if params.get(name) and name not in must | may:
                raise unwanted(name)
        if word == "MARKET" and bool(params.get("quantity")) is bool(params.get("quoteOrderQty")):
            raise missing("quantity") if not params.get("quantity") else Refusal(400, -1128, "Combination of optional parameters invalid.")
        if word == "STOP_LOSS" and bool(params.get("stopPrice")) is bool(params.get("trailingDelta")):
            raise missing("stopPrice") if not params.get("stopPrice") else Refusal(400, -1128, "Combination of optional parameters invalid.")
        if "timeInForce" in must and params["timeInForce"] not in _TIFS:
            raise Refusal(400, -1115, "Invalid timeInForce.")
        client_id(params, "newClientOrderId")
        self._filters(pair, side, params, now_ns, later=later)
        return pair, side, word

    def _filters(self, pair: Pair, side: Side, params: Params, now_ns: int, *, later: bool) -> None:
        qty, price, stop_px = (number(params, name) for name in ("quantity", "price", "stopPrice"))
        cash = number(params, "quoteOrderQty")
        last = self.data.last_px(pair.symbol, now_ns)
        for value in (price, stop_px):
            if value is not None and (value < pair.tick or value > 1_000_000 or value % pair.tick):
                raise filtered("PRICE_FILTER")
        if price is not None and not last * MULTIPLIER_DOWN <= price <= last * MULTIPLIER_UP:
            raise filtered("PERCENT_PRICE_BY_SIDE")
        if qty is not None and (qty < pair.lot or qty > pair.max_qty or qty % pair.lot):
            raise filtered("LOT_SIZE")
        if params["type"] == "MARKET" and qty is not None and qty > pair.market_max:
            raise filtered("MARKET_LOT_SIZE")
        worth = cash if qty is None else qty * (price or stop_px or last)
        if worth is not None and (worth < MIN_NOTIONAL or (price is not None and worth > MAX_NOTIONAL)):
            raise filtered("NOTIONAL")
        trail = integer(params, "trailingDelta")
        if trail is not None and not TRAIL_MIN <= trail <= TRAIL_MAX:
            raise filtered("TRAILING_DELTA")
        standing = self.exchange.open_orders(pair.symbol)
        if len(standing) >= MAX_ORDERS:
            raise filtered("MAX_NUM_ORDERS")
        if stop_px is not None or trail is not None:
            if sum(order.ticket.waits for order in standing) >= MAX_ALGO_ORDERS:
                raise filtered("MAX_NUM_ALGO_ORDERS")
            if stop_px is not None and not later and (stop_px - last) * side.sign <= 0:
                raise rejected("Order would trigger immediately.")

    def ticket(self, params: Params, now_ns: int, *, later: bool = False) -> Ticket:
        """The order, if the account may place it. later: it waits for another, and needs neither money nor units yet. Raises Refusal."""
        pair, side, word = self._shape(params, now_ns, later=later)
        if not self.can_trade:
            raise rejected("This account may not place or cancel orders.")
        name = client_id(params, "newClientOrderId")
        if name and any(order.cl_ord_id == name for order in self.exchange.open_orders()):
            raise rejected("Duplicate order sent.")
        price, stop_px, qty = number(params, "price"), number(params, "stopPrice"), number(params, "quantity")
        tick = self.exchange.market.tick(pair.symbol, now_ns // TICK_NS)
        unit = self.exchange.market.listings[pair.symbol].unit
        against = tick.asks if side is Side.BUY else tick.bids
        trail = integer(params, "trailingDelta")
        if word == "LIMIT_MAKER" and price is not None and not later and (price - against[0][0] * unit) * side.sign >= 0:
            raise rejected("Order would immediately match and take.")
        levels = [(level * unit, lots * LOT) for level, lots in against]
        if qty is None:
            qty = _affordable(levels, number(params, "quoteOrderQty") or ZERO, pair.lot)
            if not qty:
                raise filtered("LOT_SIZE")
        reserve_px = price or stop_px or _worst(levels, qty)
        if side is Side.BUY and not later and qty * reserve_px > self.exchange.free_cash():
            raise rejected(NO_MONEY)
        if side is Side.SELL and not later and qty > self.exchange.position(pair.symbol) - self.exchange.held(pair.symbol):
            raise rejected(NO_MONEY)
        tif = _TIFS[params["timeInForce"]] if params.get("timeInForce") else TimeInForce.IOC if word in ("MARKET", "STOP_LOSS") else TimeInForce.GTC
        return Ticket(
            symbol=pair.symbol,
            cl_ord_id=name or f"x{self.exchange.new_id()}",
            side=side,
            ord_type=_TYPES[word] if trail is None else OrdType.TRAILING_STOP,
            time_in_force=tif,
            qty=qty,
            price=price,
            stop_px=stop_px,
            trail_pct=None if trail is None else Decimal(trail) / 100,
            reserve_px=reserve_px,
            opening=side is Side.BUY,
        )

    def _find(self, params: Params, by_id: str, by_client_id: str) -> SimOrder | None:
        """By either id; of several orders with one client id the newest. Raises Refusal: neither is given, or they are two orders'."""
        symbol, order_id, name = self.data.symbol(params), integer(params, by_id), client_id(params, by_client_id)
        if order_id is None and not name:
            raise missing(by_client_id)
        if order_id is not None:
            order = self._orders.get(str(order_id))
            if order is not None and name and order.cl_ord_id != name:
                raise Refusal(400, -2039, "Client order ID is not correct for this order ID")
            return order if order is not None and order.symbol == symbol else None
        return next((order for order in reversed(self._orders.values()) if (order.symbol, order.cl_ord_id) == (symbol, name)), None)

    # -- how it is shown ---------------------------------------------------------------------------------------------------------------------------

    def status(self, order: SimOrder) -> str:
        """What ended without anybody's asking has expired."""
        if order.ord_status is OrdStatus.CANCELED and order.order_id not in self._cancels:
            return "EXPIRED"
        if order.ord_status is OrdStatus.PENDING_CANCEL:
            return "PARTIALLY_FILLED" if order.filled_qty else "NEW"
        return _STATUSES[order.ord_status]

    def reason(self, order: SimOrder) -> str | None:
        if self.status(order) != "EXPIRED":
            return None
        group = self.exchange.groups.get(order.order_id)
        if group is not None and group.over and order.order_id in group.exits:
            entry = None if group.entry is None else self._orders[group.entry]
            return "OCO_TRIGGER" if entry is None or entry.ord_status is OrdStatus.FILLED else "OTO_PHASE_ONE_EXPIRED"
        return "INSUFFICIENT_LIQUIDITY" if not order.ticket.ord_type.has_price else UNFILLED.get(order.time_in_force)

    def row(self, order: SimOrder) -> wire.Order:
        """As a question is answered."""
        shape = self._order(order)
        shape.time, shape.update_time = order.submitted_ns // MS, order.updated_ns // MS
        shape.iceberg_qty, shape.stop_price = shown(ZERO), shape.stop_price or shown(ZERO)
        shape.is_working = not order.dormant and (not order.ticket.waits or order.triggered)
        return shape

    def placed_row(self, order: SimOrder) -> wire.Order:
        """As the answer to a list has it."""
        row = self._order(order)
        row.transact_time = order.submitted_ns // MS
        return row

    def _placed(self, order: SimOrder, shape: str) -> wire.Order | wire.OrderAck:
        if shape == "ACK":
            return wire.OrderAck(
                symbol=order.symbol,
                order_id=int(order.order_id),
                order_list_id=-1,
                client_order_id=order.cl_ord_id,
                transact_time=order.submitted_ns // MS,
            )
        row = self.placed_row(order)
        if shape == "FULL":
            row.fills = [self._fill(done) for done in self._trades if done.order_id == order.order_id]
        return row

    @staticmethod
    def _fill(done: Execution) -> wire.Fill:
        return wire.Fill(
            price=shown(done.price),
            qty=shown(done.qty),
            commission=shown(done.fee),
            commission_asset=done.fee_asset,
            trade_id=int(done.exec_id),
        )

    def cancelled(self, order: SimOrder) -> wire.Order | None:
        """What a cancel made of one of a list; None: it was over before."""
        return self._cancelled(order) if order.order_id in self._cancels else None

    def _cancelled(self, order: SimOrder) -> wire.Order:
        row = self._order(order)
        row.orig_client_order_id, row.client_order_id = order.cl_ord_id, self._cancels[order.order_id]
        row.transact_time, row.working_time = order.updated_ns // MS, None
        return row

    def _order(self, order: SimOrder) -> wire.Order:
        waiting = order.ticket.waits and not order.triggered
        return wire.Order(
            symbol=order.symbol,
            order_id=int(order.order_id),
            order_list_id=self.list_of.get(order.order_id, -1),
            client_order_id=order.cl_ord_id,
            price=shown(order.price or ZERO),
            orig_qty=shown(order.qty or ZERO),
            executed_qty=shown(order.filled_qty),
            orig_quote_order_qty=shown(self._cash.get(order.order_id, ZERO)),
            cummulative_quote_qty=shown(order.filled_money),
            status=self.status(order),
            time_in_force=self.tif(order),
            type=self._words[order.order_id],
            side=order.side.name,
            stop_price=shown(order.stop_px) if order.ticket.stop_px and order.stop_px else None,
            working_time=-1 if waiting or order.dormant else order.submitted_ns // MS,
            trailing_delta=self._delta(order),
            trailing_time=order.submitted_ns // MS if order.ticket.trails else None,
            self_trade_prevention_mode="NONE",
            expiry_reason=self.reason(order),
        )

    @staticmethod
    def _delta(order: SimOrder) -> int | None:
        return None if order.ticket.trail_pct is None else int(order.ticket.trail_pct * 100)

    def tif(self, order: SimOrder) -> str:
        """Where a type has none, GTC is shown."""
        return order.time_in_force.name if "LIMIT" in self._words[order.order_id] else "GTC"

    def _my_trade(self, done: Execution) -> wire.MyTrade:
        return wire.MyTrade(
            symbol=done.symbol,
            id=int(done.exec_id),
            order_id=int(done.order_id),
            order_list_id=self.list_of.get(done.order_id, -1),
            price=shown(done.price),
            qty=shown(done.qty),
            quote_qty=shown(done.price * done.qty),
            commission=shown(done.fee),
            commission_asset=done.fee_asset,
            time=done.transact_ns // MS,
            is_buyer=done.side is Side.BUY,
            is_maker=done.maker,
            is_best_match=True,
        )

    # -- what happened -----------------------------------------------------------------------------------------------------------------------------

    def record(self, event: Event) -> None:
        if event.execution is not None:
            self._trades.append(event.execution)

    def report(self, event: Event, exec_type: str, execution_id: int) -> wire.ExecutionReport:
        """One event as the account's stream tells it."""
        order, done = event.order, event.execution
        cancel = self._cancels.get(order.order_id) if exec_type == "CANCELED" else None
        return wire.ExecutionReport(
            event="executionReport",
            event_time=event.transact_ns // MS,
            symbol=order.symbol,
            client_order_id=order.cl_ord_id if cancel is None else cancel,
            side=order.side.name,
            type=self._words.get(order.order_id, "LIMIT"),
            time_in_force=self.tif(order),
            qty=shown(order.qty or ZERO),
            price=shown(order.price or ZERO),
            stop_price=shown((order.stop_px if order.ticket.stop_px else None) or ZERO),
            order_list_id=self.list_of.get(order.order_id, -1),
            orig_client_order_id="" if cancel is None else order.cl_ord_id,
            exec_type=exec_type,
            status=self.status(order),
            reject_reason="INSUFFICIENT_BALANCES" if exec_type == "REJECTED" else "NONE",
            order_id=int(order.order_id),
            last_qty=shown(ZERO if done is None else done.qty),
            cum_qty=shown(order.filled_qty),
            last_price=shown(ZERO if done is None else done.price),
            commission="0" if done is None else shown(done.fee),
            commission_asset=None if done is None else done.fee_asset,
            transact_time=event.transact_ns // MS,
            trade_id=-1 if done is None else int(done.exec_id),
            execution_id=execution_id,
            working=order.ord_status in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED) and (not order.ticket.waits or order.triggered),
            maker=done is not None and done.maker,
            created=order.submitted_ns // MS,
            cum_quote=shown(order.filled_money),
            last_quote=shown(ZERO if done is None else done.qty * done.price),
            quote_order_qty=shown(self._cash.get(order.order_id, ZERO)),
            trailing_delta=self._delta(order),
            trailing_time=order.submitted_ns // MS if order.ticket.trails else None,
            self_trade_prevention_mode="NONE",
            expiry_reason=self.reason(order),
        )


def _shown_with(params: Params) -> str:
    """How much of the order the answer shows. Raises Refusal."""
    shape = params.get("newOrderRespType") or ("FULL" if params.get("type") in ("MARKET", "LIMIT") else "ACK")
    if shape not in _SHOWN_WITH:
        raise Refusal(400, -1130, "Data sent for parameter 'newOrderRespType' is not valid.")
    return shape


def _affordable(levels: list[tuple[Decimal, Decimal]], cash: Decimal, lot: Decimal) -> Decimal:
    """What so much money moves, through the depth, in whole lots."""
    qty = ZERO
    for price, depth in levels:
        take = min(depth, cash / price)
        qty += take
        cash -= take * price
        if take < depth:
            break
    return qty // lot * lot


def _worst(levels: list[tuple[Decimal, Decimal]], qty: Decimal) -> Decimal:
    """The price of the last lot of a market order."""
    for price, depth in levels:
        qty -= depth
        if qty <= 0:
            return price
    return levels[-1][0] * (ONE + facts.FEE)
