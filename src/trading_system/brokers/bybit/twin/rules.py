"""What Bybit refuses: every check on a create or an amend, in one place and under Bybit's codes.

Taken are market, limit and stop orders of pairs and contracts in one-way mode, and market and limit orders of options. Other exits than pairs under
tpslMode Partial, and conditionals that wait for a better price, are refused as parameters that this twin does not model. Here a pair's waiting stop
holds what it sells; Bybit's holds it only once it goes off.
Source: bybit-exchange.github.io/docs/v5/order/create-order, /error
"""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import msgspec

from trading_system.brokers.bybit import facts
from trading_system.brokers.bybit.twin.account import Margin
from trading_system.brokers.bybit.twin.forms import Refusal, amount, bad, shown
from trading_system.brokers.bybit.twin.options import option_terms
from trading_system.brokers.bybit.twin.universe import Product, Universe
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.money import ZERO, on_grid, plain
from trading_system.sim.exchange import Exchange, SimOrder, Ticket

T = TypeVar("T")
SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}
TIFS = {"": TimeInForce.GTC, "GTC": TimeInForce.GTC, "PostOnly": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_LINK_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")
_BAND = Decimal("0.05")  # how far a limit price may be on the wrong side of the last one
_MARKET_ROOM = Decimal("1.01")  # what a market order is counted at, above the touch
OPEN_MAX, OPTIONS_OPEN_MAX = 500, 50  # orders of one symbol; of all options on one coin
_UNMODELLED = ("slippageTolerance", "bboSideType", "orderIv", "mmp")


class CreateBody(msgspec.Struct, kw_only=True):
    """POST /v5/order/create, as official clients send it: every number is a string."""

    category: str = ""
    symbol: str = ""
    side: str = ""
    orderType: str = ""  # noqa: N815 Bybit's names, here and below
    qty: str = ""
    price: str | None = None
    timeInForce: str | None = None  # noqa: N815
    orderLinkId: str | None = None  # noqa: N815
    marketUnit: str | None = None  # noqa: N815
    triggerPrice: str | None = None  # noqa: N815
    triggerDirection: int | None = None  # noqa: N815
    orderFilter: str | None = None  # noqa: N815
    reduceOnly: bool | None = None  # noqa: N815
    closeOnTrigger: bool | None = None  # noqa: N815
    positionIdx: int | None = None  # noqa: N815
    takeProfit: str | None = None  # noqa: N815
    tpOrderType: str | None = None  # noqa: N815
    tpLimitPrice: str | None = None  # noqa: N815
    tpTriggerBy: str | None = None  # noqa: N815
    stopLoss: str | None = None  # noqa: N815
    slOrderType: str | None = None  # noqa: N815
    slLimitPrice: str | None = None  # noqa: N815
    slTriggerBy: str | None = None  # noqa: N815
    tpslMode: str | None = None  # noqa: N815
    slippageTolerance: str | None = None  # noqa: N815
    bboSideType: str | None = None  # noqa: N815
    orderIv: str | None = None  # noqa: N815
    mmp: bool | None = None


class Exits(msgspec.Struct, frozen=True):
    """What was attached to an order under tpslMode Partial."""

    profit_px: Decimal
    stop_px: Decimal
    stop_limit_px: Decimal | None


class NamedBody(msgspec.Struct, kw_only=True):
    """POST /v5/order/amend, /cancel and /cancel-all, and what else names a symbol or an order."""

    category: str = ""
    symbol: str | None = None
    baseCoin: str | None = None  # noqa: N815
    settleCoin: str | None = None  # noqa: N815
    orderId: str | None = None  # noqa: N815
    orderLinkId: str | None = None  # noqa: N815
    orderFilter: str | None = None  # noqa: N815
    qty: str | None = None
    price: str | None = None
    triggerPrice: str | None = None  # noqa: N815
    buyLeverage: str | None = None  # noqa: N815
    sellLeverage: str | None = None  # noqa: N815
    coin: str | None = None
    mode: int | None = None


def read(raw: bytes, kind: type[T]) -> T:
    """A body. Raises Refusal 10001: not JSON, or a field of another type."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as error:
        raise bad(str(error)) from error


class Rules:
    """The checks that need to know what is listed and how the account stands."""

    def __init__(self, universe: Universe, exchange: Exchange, margin: Margin, taken: Callable[[str], bool]) -> None:
        """taken: whether a client id was used before."""
        self._universe = universe
        self._exchange = exchange
        self._margin = margin
        self._taken = taken

    def product(self, category: str, symbol: str | None) -> Product:
        if category not in facts.CATEGORIES:
            raise bad("Illegal category")
        product = self._universe.products.get((category, symbol or ""))
        if product is None:
            raise Refusal(170121, "Invalid symbol.") if category == facts.SPOT else bad("symbol invalid")
        return product

    @staticmethod
    def alive(product: Product, now_ns: int) -> None:
        """Raises Refusal: it has ended."""
        if product.expires_ns and now_ns >= product.expires_ns:
            raise Refusal(110074, "This contract is not live")

    def ticket(self, body: CreateBody, now_ns: int) -> Ticket:
        """An order that may go to the exchange. Raises Refusal."""
        product = self.product(body.category, body.symbol)
        self.alive(product, now_ns)
        odd = next((name for name in _UNMODELLED if getattr(body, name) not in (None, "", "0")), None)
        if odd is not None or body.closeOnTrigger:
            raise bad(f"{odd or 'closeOnTrigger'} is not modelled by this twin")
        side, market = SIDES.get(body.side), body.orderType == "Market"
        if side is None or body.orderType not in ("Market", "Limit"):
            raise bad("side or orderType invalid")
        tif = TIFS.get(body.timeInForce or "")
        if tif is None:
            raise bad(f"timeInForce {body.timeInForce} invalid, or not modelled by this twin")
        if product.margined and body.positionIdx not in (None, 0):
            raise bad("position idx not match position mode")
        self._link_id(product, body.orderLinkId)
        self._room(product)
        if product.contract is not None:
            if body.triggerPrice or body.orderFilter not in (None, "", "Order"):
                raise bad("options take no conditional orders")
            self._universe.terms.setdefault(product.name, option_terms(product))
        in_money = product.spot and market and body.marketUnit != "baseCoin" and (body.marketUnit == "quoteCoin" or side is Side.BUY)
        price = None if market else self._price(product, body.price, side, now_ns)
        stop_px = self._trigger(product, body, side, now_ns)
        last = self._touch(product, side, now_ns)
        qty = self._qty(product, body.qty, market=market, in_money=in_money)
        worth = qty if in_money else product.worth(qty, price or stop_px or last)
        reduce_only = bool(body.reduceOnly) and not product.spot
        self._least(product, worth, reduce_only=reduce_only)
        opening = self._opening(product, side, None if in_money else qty, reduce_only=reduce_only)
        counted = price or (stop_px or last) * _MARKET_ROOM
        ticket = Ticket(
            symbol=product.name,
            cl_ord_id=body.orderLinkId or "",
            side=side,
            ord_type=_ord_type(market=market, waits=stop_px is not None),
            time_in_force=(TimeInForce.GTC if stop_px is not None else TimeInForce.IOC) if market else tif,
            qty=None if in_money else qty,
            notional=qty if in_money else None,
            price=price,
            stop_px=stop_px,
            post_only=not market and body.timeInForce == "PostOnly",
            reserve_px=self._margin.reserve_px(product, side, counted, now_ns),
            opening=opening,
        )
        self._affordable(product, ticket, worth if price else worth * _MARKET_ROOM, now_ns)
        return ticket

    def amended(self, product: Product, order: SimOrder, body: NamedBody, now_ns: int) -> Ticket:
        """The order as it shall be. Raises Refusal: nothing changes, or what it changes into is refused."""
        ticket = order.ticket
        qty, price, stop_px = order.qty, order.price, order.stop_px
        if body.qty:
            qty = self._qty(product, body.qty, market=price is None, in_money=False)
        if body.price and ticket.ord_type.has_price:
            price = self._price(product, body.price, ticket.side, now_ns)
        if body.triggerPrice and ticket.waits and not order.triggered:
            stop_px = self._on_tick(product, body.triggerPrice)
            self._waits(product, ticket.side, stop_px, now_ns)
        if (qty, price, stop_px) == (order.qty, order.price, order.stop_px):
            raise Refusal(10001, "order not modified")
        if qty is not None and qty <= order.filled_qty:
            raise Refusal(170136 if product.spot else 110017, "orderQty will be truncated to zero.")
        counted = price or (stop_px or self._touch(product, ticket.side, now_ns)) * _MARKET_ROOM
        worth = product.worth(qty or ZERO, counted)
        self._least(product, worth, reduce_only=not ticket.opening)
        new = msgspec.structs.replace(
            ticket, qty=qty, price=price, stop_px=stop_px, reserve_px=self._margin.reserve_px(product, ticket.side, counted, now_ns)
        )
        self._affordable(product, new, worth, now_ns, besides=order)
        return new

    def exits(self, body: CreateBody, now_ns: int) -> Exits | None:
        """The pair of exits that an order shall get; None: none was asked for. Raises Refusal: of a kind that this twin has not, or on the wrong
        side."""
        if body.takeProfit in (None, "", "0") and body.stopLoss in (None, "", "0"):
            return None
        product, side = self.product(body.category, body.symbol), SIDES[body.side]
        if not product.margined or body.tpslMode != facts.PARTIAL or body.tpOrderType != "Limit" or body.triggerPrice:
            raise bad("exits other than a pair under tpslMode Partial, its take-profit a limit order, are not modelled by this twin")
        if body.reduceOnly:
            raise bad("reduceOnly order can not set tp/sl")
        profit_px, stop_px = self._on_tick(product, body.takeProfit), self._on_tick(product, body.stopLoss)
        if self._on_tick(product, body.tpLimitPrice) != profit_px:
            raise bad("a take-profit that rests elsewhere than at its trigger is not modelled by this twin")
        limit_px = self._on_tick(product, body.slLimitPrice) if body.slOrderType == "Limit" else None
        base = self._on_tick(product, body.price) if body.orderType == "Limit" else self._margin.last_px(product, now_ns)
        if (profit_px - base) * side.sign <= 0:
            raise bad(f"TakeProfit:{plain(profit_px)} set for {body.side} position should be beyond base_price:{plain(base)}")
        if (base - stop_px) * side.sign <= 0:
            raise bad(f"StopLoss:{plain(stop_px)} set for {body.side} position should be short of base_price:{plain(base)}")
        return Exits(profit_px, stop_px, limit_px)

    # -- one check each --------------------------------------------------------------------------------------------------------------------------

    def _link_id(self, product: Product, link_id: str | None) -> None:
        if not link_id and product.contract is not None:
            raise bad("orderLinkId is required")
        if not link_id:
            return
        if _LINK_ID.fullmatch(link_id) is None:
            raise bad("orderLinkId invalid")
        if self._taken(link_id):
            raise Refusal(170141, "Duplicate clientOrderId") if product.spot else Refusal(110072, "OrderLinkedID is duplicate")

    def _room(self, product: Product) -> None:
        orders = self._exchange.open_orders(None if product.contract is not None else product.name)
        if product.contract is None and len(orders) >= OPEN_MAX:
            raise Refusal(110020, f"Not allowed to have more than {OPEN_MAX} active orders")
        names = self._universe.names
        alike = sum(names[order.symbol].contract is not None and names[order.symbol].base == product.base for order in orders)
        if product.contract is not None and alike >= OPTIONS_OPEN_MAX:
            raise Refusal(110020, f"Not allowed to have more than {OPTIONS_OPEN_MAX} active orders")

    def _on_tick(self, product: Product, text: str | None) -> Decimal:
        price = amount(text)
        if price is None:
            raise bad("price invalid")
        if not on_grid(price, product.tick):
            raise Refusal(170134, "Order price has too many decimals.") if product.spot else bad("price invalid")
        return price

    def _price(self, product: Product, text: str | None, side: Side, now_ns: int) -> Decimal:
        price = self._on_tick(product, text)
        if product.contract is not None:
            return price  # the documents state no band for options
        last = self._touch(product, side, now_ns)
        if (price - last) * side.sign > last * _BAND:
            if product.margined:
                raise Refusal(110003, "Order price exceeds the allowable range.")
            raise Refusal(170193, "Buy order price cannot be higher than the limit.") if side is Side.BUY else Refusal(170194, "Sell order too low.")
        return price

    def _trigger(self, product: Product, body: CreateBody, side: Side, now_ns: int) -> Decimal | None:
        """What the order waits for; None: for nothing."""
        if not body.triggerPrice or body.triggerPrice == "0":
            if body.orderFilter not in (None, "", "Order"):
                raise bad("triggerPrice is required")
            return None
        if body.orderFilter == "tpslOrder":
            raise bad("tpslOrder is not modelled by this twin")
        stop_px = self._on_tick(product, body.triggerPrice)
        if product.margined and body.triggerDirection not in (1, 2):
            raise bad("TriggerDirection invalid")
        if product.margined and body.triggerDirection != (1 if side is Side.BUY else 2):
            raise bad("a conditional that waits for a better price is not modelled by this twin")
        self._waits(product, side, stop_px, now_ns)
        return stop_px

    def _waits(self, product: Product, side: Side, stop_px: Decimal, now_ns: int) -> None:
        last = self._margin.last_px(product, now_ns)
        if (stop_px - last) * side.sign <= 0:
            word, code = ("Rising", 110092) if side is Side.BUY else ("Falling", 110093)
            text = f"expect {word}, but trigger_price[{plain(stop_px)}] {'<=' if side is Side.BUY else '>='} current[{plain(last)}]"
            raise Refusal(code if product.margined else 170210, text)

    def _qty(self, product: Product, text: str, *, market: bool, in_money: bool) -> Decimal:
        qty, lots = amount(text), product.entry.lotSizeFilter
        if qty is None:
            raise bad("Qty invalid")
        if in_money:
            if not on_grid(qty, Decimal(lots.quotePrecision)):
                raise Refusal(170148, "Market order amount decimal too long.")
            if qty > Decimal(lots.maxOrderAmt):
                raise Refusal(170124, "Order amount too large.")
            return qty
        least, most = Decimal(lots.minOrderQty), Decimal(lots.maxOrderQty)
        if not product.spot:
            most = Decimal(lots.maxMktOrderQty) if market and product.margined else most
            if qty < least:
                raise Refusal(110017, "orderQty will be truncated to zero.")
            if qty > most or not on_grid(qty, product.step):
                raise bad("Qty invalid")
            return qty
        if not on_grid(qty, product.step):
            raise Refusal(170137, "Order volume decimal too long.")
        if qty < least:
            raise Refusal(170136, "Order quantity exceeded lower limit.")
        if qty > (Decimal(lots.maxMarketOrderQty) if market else Decimal(lots.maxLimitOrderQty)):
            raise Refusal(170124, "Order amount too large.")
        return qty

    def _least(self, product: Product, worth: Decimal, *, reduce_only: bool) -> None:
        lots = product.entry.lotSizeFilter
        if product.linear and worth < Decimal(lots.minNotionalValue) and not reduce_only:
            raise Refusal(110094, f"Order does not meet minimum order value {lots.minNotionalValue}USDT")
        if product.spot and worth < Decimal(lots.minOrderAmt):
            raise Refusal(170140, "Order value exceeded lower limit.")

    def _opening(self, product: Product, side: Side, qty: Decimal | None, *, reduce_only: bool) -> bool:
        """Whether an order holds money; what it closes it holds itself. Raises Refusal: reduce-only, and there is not so much to reduce."""
        if product.spot:
            return side is Side.BUY
        against = -self._margin.held(product) * side.sign  # what it could close
        if reduce_only and against <= 0:
            raise Refusal(110017, "current position is zero, cannot fix reduce-only order qty")
        if reduce_only and qty is not None and qty > against:
            raise Refusal(110017, "Reduce-only rule not satisfied")
        return qty is None or qty > against

    def _affordable(self, product: Product, ticket: Ticket, worth: Decimal, now_ns: int, *, besides: SimOrder | None = None) -> None:
        """besides: the order that this one is a change of, which holds something already."""
        if product.margined:
            free = self._margin.available(now_ns) + (ZERO if besides is None else besides.reserve)
            if ticket.opening and worth / self._margin.leverage(product) + worth * facts.LINEAR_TAKER_FEE > free:
                raise Refusal(110007, "ab not enough for new order")
            return
        if product.contract is not None:
            free = self._margin.available(now_ns) + (ZERO if besides is None else besides.reserve)
            if ticket.opening and (ticket.qty or ZERO) * ticket.reserve_px > free:
                raise Refusal(110007, "ab not enough for new order")
            return
        if ticket.side is Side.BUY:
            free = self._margin.free_money(now_ns) + (ZERO if besides is None else besides.reserve)
            short = worth > free
        else:
            units = ticket.qty if ticket.qty is not None else (ticket.notional or ZERO) / self._touch(product, ticket.side, now_ns)
            free = self._exchange.position(product.name) - self._exchange.held(product.name) + (ZERO if besides is None else besides.held)
            short = units > free
        if short:
            raise Refusal(170131, f"Insufficient balance. {shown(free)} free")

    def _touch(self, product: Product, side: Side, now_ns: int) -> Decimal:
        tick = self._exchange.market.latest(product.name, now_ns)
        depth = tick.asks if side is Side.BUY else tick.bids
        return depth[0][0] * product.tick if depth else ZERO  # nobody bids for an option that is worth nothing


def _ord_type(*, market: bool, waits: bool) -> OrdType:
    if waits:
        return OrdType.STOP if market else OrdType.STOP_LIMIT
    return OrdType.MARKET if market else OrdType.LIMIT
