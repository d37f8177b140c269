"""What Alpaca refuses: every check on a submit or a replace, in one place and in Alpaca's words.

Sources: OpenAPI of 2026-08-13 (POST /v2/orders), docs.alpaca.markets order types and error tables; texts measured on paper where the docs have none.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from trading_system.brokers.alpaca import facts, wire
from trading_system.brokers.alpaca.twin.forms import Refusal, shown
from trading_system.brokers.alpaca.twin.universe import Universe
from trading_system.domain.fix import Contingency, OrdType, Side, TimeInForce
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ONE, ZERO, bounded, on_grid, plain
from trading_system.sim.exchange import Exchange, SimOrder, Ticket
from trading_system.sim.market import LOT
from trading_system.sim.sessions import new_york_ns

T = TypeVar("T", Side, OrdType, TimeInForce)
CLASSES = {"us_equity": AssetClass.EQUITY, "crypto": AssetClass.CRYPTO, "us_option": AssetClass.OPTION}
CLIENT_ID_MAX = 128
SHORT_EQUITY_MIN = Decimal(2000)
SHORT_MARGIN = Decimal("1.03")  # a short holds max(limit, ask × 1.03)
ORDER_CLASSES: Mapping[str, Contingency] = {
    "": Contingency.NONE,
    "simple": Contingency.NONE,
    "oto": Contingency.OTO,
    "oco": Contingency.OCO,
    "bracket": Contingency.BRACKET,
}
_STANDING = (TimeInForce.DAY, TimeInForce.GTC)


class TakeProfit(msgspec.Struct, kw_only=True):
    """The exit that a complex order takes its profit with."""

    limit_price: Decimal | None = None


class StopLoss(msgspec.Struct, kw_only=True):
    """The exit that ends a complex order's loss."""

    stop_price: Decimal | None = None
    limit_price: Decimal | None = None


class LegBody(msgspec.Struct, kw_only=True):
    """One leg of a multileg order."""

    symbol: str
    ratio_qty: Decimal | None = None
    side: str | None = None
    position_intent: str | None = None


class SubmitBody(msgspec.Struct, kw_only=True):
    """POST /v2/orders. Numbers come as JSON numbers or strings; official clients differ."""

    symbol: str | None = None
    qty: Decimal | None = None
    notional: Decimal | None = None
    side: str | None = None
    type: str | None = None
    time_in_force: str | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    extended_hours: bool | None = None
    client_order_id: str | None = None
    order_class: str | None = None
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    legs: list[LegBody] | None = None
    position_intent: str | None = None


class ReplaceBody(msgspec.Struct, kw_only=True):
    """PATCH /v2/orders/{id}."""

    qty: Decimal | None = None
    time_in_force: str | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail: Decimal | None = None
    client_order_id: str | None = None


def parameter(message: str) -> Refusal:
    return Refusal(422, 40010001, message)


def rule(message: str, **context: str) -> Refusal:
    return Refusal(422, 42210000, message, **context)


def forbidden(message: str, **context: str) -> Refusal:
    return Refusal(403, 40310000, message, **context)


_submit = msgspec.json.Decoder(SubmitBody)
_replace = msgspec.json.Decoder(ReplaceBody)


def submit_body(raw: bytes) -> SubmitBody:
    try:
        body = _submit.decode(raw)
    except msgspec.DecodeError as error:
        raise Refusal(400, 40010001, f"request body format is invalid: {error}") from error
    profit, stop = body.take_profit or TakeProfit(), body.stop_loss or StopLoss()
    _finite(body.qty, body.notional, body.limit_price, body.stop_price, body.trail_price, body.trail_percent)
    _finite(profit.limit_price, stop.stop_price, stop.limit_price)
    _finite(*(leg.ratio_qty for leg in body.legs or ()))
    return body


def replace_body(raw: bytes) -> ReplaceBody:
    try:
        body = _replace.decode(raw or b"{}")
    except msgspec.DecodeError as error:
        raise Refusal(400, 40010001, f"request body format is invalid: {error}") from error
    _finite(body.qty, body.limit_price, body.stop_price, body.trail)
    return body


def _finite(*values: Decimal | None) -> None:
    for value in values:
        if value is not None:
            try:
                bounded(value)
            except ValueError as error:
                raise parameter(str(error)) from error


class Rules:
    """The checks that need to know what is listed and how the account stands."""

    def __init__(self, universe: Universe, exchange: Exchange) -> None:
        self._universe = universe
        self._exchange = exchange

    def ticket(self, body: SubmitBody, cl_ord_id: str, configurations: wire.AccountConfigurations, now_ns: int) -> Ticket:
        """A submit that Alpaca would take. Raises Refusal, which leaves no trace: the client id stays free."""
        asset = self._asset(body)
        asset_class = CLASSES[asset.asset_class]
        side, ord_type, tif = _words(body, asset_class)
        contingency = _order_class(body, asset_class, ord_type, tif)
        if contingency is Contingency.OCO and body.take_profit is not None:
            body = msgspec.structs.replace(body, limit_price=body.take_profit.limit_price)
        _sizes(body)
        _prices(body, ord_type, ticks(asset))
        fractional = body.notional is not None or not on_grid(body.qty or ZERO, ONE)
        extended = bool(body.extended_hours) and asset_class is AssetClass.EQUITY
        if asset_class is AssetClass.EQUITY:
            _equity(asset, ord_type, tif, contingency, fractional=fractional, extended=extended)
            self._auction(asset, tif, now_ns)
        if configurations.suspend_trade:
            raise forbidden("new orders are rejected by user request")
        ticket = self._priced(body, asset.symbol, cl_ord_id, side, ord_type, tif, contingency, extended=extended, now_ns=now_ns)
        _purpose(ticket)
        self._minimum(ticket, asset_class, now_ns, fractional=fractional)
        self.wash(ticket)
        self._afford(ticket, asset, configurations, now_ns, fractional=fractional)
        return ticket

    def _asset(self, body: SubmitBody) -> wire.Asset:
        if not body.symbol:
            raise parameter("symbol is required")
        asset = self._universe.find(body.symbol)
        if asset is None:
            raise rule(f'asset "{body.symbol}" not found')
        return asset

    def _auction(self, asset: wire.Asset, tif: TimeInForce, now_ns: int) -> None:
        """opg is refused 09:28-19:00, cls 15:50-19:00 New York; where every minute is a session there is no such window."""
        sessions = self._exchange.market.listings[asset.symbol].sessions
        session = sessions.at(now_ns)
        if sessions.always or session is None:
            return
        starts = {TimeInForce.AT_THE_OPENING: 9 * 60 + 28, TimeInForce.AT_THE_CLOSE: 15 * 60 + 50}
        if tif in starts and new_york_ns(session.day, starts[tif]) <= now_ns < new_york_ns(session.day, 19 * 60):
            raise rule(f"{tif.value} orders are not accepted at this time of day")

    def _priced(
        self,
        body: SubmitBody,
        symbol: str,
        cl_ord_id: str,
        side: Side,
        ord_type: OrdType,
        tif: TimeInForce,
        contingency: Contingency,
        *,
        extended: bool,
        now_ns: int,
    ) -> Ticket:
        """With the price at which money is held back, and the collar that a buy stop becomes."""
        opening = self._exchange.position(symbol) * side.sign >= 0
        unit = self._exchange.market.listings[symbol].unit
        collar = collared(ord_type, side, body.stop_price, unit)
        tick = self._exchange.market.latest(symbol, now_ns)
        ask = tick.asks[0][0] * unit
        if body.trail_price is not None and side is Side.SELL and body.trail_price >= tick.bids[0][0] * unit:
            raise parameter("trail_price must be less than the market price")
        if side is Side.SELL:
            reserve_px = max(body.limit_price or ZERO, ask * SHORT_MARGIN) if opening else ask
        else:
            reserve_px = body.limit_price or collar or ask * _collar(ask)
        return Ticket(
            symbol=symbol,
            cl_ord_id=cl_ord_id,
            side=side,
            ord_type=ord_type,
            time_in_force=tif,
            qty=body.qty,
            notional=body.notional,
            price=body.limit_price,
            stop_px=body.stop_price,
            trail_px=body.trail_price,
            trail_pct=body.trail_percent,
            collar=collar,
            extended=extended,
            reserve_px=reserve_px,
            opening=opening,
            contingency=contingency,
        )

    def _minimum(self, ticket: Ticket, asset_class: AssetClass, now_ns: int, *, fractional: bool) -> None:
        if asset_class is AssetClass.EQUITY and not fractional:
            return
        least = facts.CRYPTO_MIN_NOTIONAL if asset_class is AssetClass.CRYPTO else facts.EQUITY_MIN_NOTIONAL
        cost = ticket.notional or (ticket.qty or ZERO) * (ticket.price or self._exchange.mark(ticket.symbol, now_ns))
        if cost < least:
            raise forbidden(f"cost basis must be >= minimal amount of order {plain(least)}", cost_basis=shown(cost))

    def wash(self, ticket: Ticket) -> None:
        """Refused while an opposite order rests that could match: market against any, limit against a limit it reaches, limit against stop always.
        Complex orders and trailing stops are the way around it that the refusal itself names; an exit that waits for its entry does not rest."""
        if ticket.contingency is not Contingency.NONE or ticket.trails:
            return
        for order in self._exchange.open_orders(ticket.symbol):
            if order.side is ticket.side or order.dormant:
                continue
            limits = ticket.ord_type is OrdType.LIMIT and order.ticket.ord_type is OrdType.LIMIT
            if limits:
                assert ticket.price is not None
                assert order.price is not None
                if (ticket.price - order.price) * ticket.side.sign < 0:
                    continue
            kind = "limit" if order.ticket.ord_type is OrdType.LIMIT else "market/stop"
            raise forbidden(
                "potential wash trade detected. use complex orders",
                existing_order_id=order.order_id,
                reject_reason=f"opposite side {kind} order exists",
            )

    def _afford(self, ticket: Ticket, asset: wire.Asset, configurations: wire.AccountConfigurations, now_ns: int, *, fractional: bool) -> None:
        """What closes needs so much that no other order holds, and may not cross zero; what opens needs power, a short some conditions more."""
        if not ticket.opening:
            available = abs(self._exchange.position(ticket.symbol)) - self._exchange.held(ticket.symbol)
            wanted = ticket.qty if ticket.qty is not None else (ticket.notional or ZERO) / ticket.reserve_px
            if wanted > available or (ticket.side is Side.BUY and ticket.qty is None):
                raise self.insufficient_qty(ticket, available)
            return
        if ticket.side is Side.SELL:
            may_short = self._exchange.multiplier > 1 and not configurations.no_shorting
            if not may_short or self._exchange.equity(now_ns) < SHORT_EQUITY_MIN:
                raise self.insufficient_qty(ticket, ZERO)
            if fractional:
                raise rule("fractional orders cannot be sold short")
            if not asset.shortable:
                raise rule(f'asset "{asset.symbol}" cannot be sold short')
        if any(order.ticket.opening and order.side is not ticket.side for order in self._exchange.open_orders(ticket.symbol)):
            new, old = ("long buy", "short sell") if ticket.side is Side.BUY else ("short sell", "long buy")
            raise forbidden(f"cannot open a {new} while a {old} order is open")
        self._power(ticket, asset, now_ns)

    def _power(self, ticket: Ticket, asset: wire.Asset, now_ns: int) -> None:
        cost = ticket.notional if ticket.notional is not None else (ticket.qty or ZERO) * ticket.reserve_px
        power = self._exchange.buying_power(now_ns)
        if not asset.marginable:
            power = min(power, max(ZERO, self._exchange.cash - self._exchange.reserved))
        if cost > power:
            raise forbidden("insufficient buying power", buying_power=shown(power), cost_basis=shown(cost))

    def insufficient_qty(self, ticket: Ticket, available: Decimal) -> Refusal:
        asset = self._universe.asset(ticket.symbol)
        wanted = shown(ticket.qty if ticket.qty is not None else (ticket.notional or ZERO) / ticket.reserve_px)
        existing, held = shown(abs(self._exchange.position(ticket.symbol))), shown(self._exchange.held(ticket.symbol))
        what = f"balance for {asset.symbol.split('/')[0]}" if asset.asset_class == "crypto" else "qty available for order"
        return forbidden(
            f"insufficient {what} (requested: {wanted}, available: {shown(available)})",
            available=shown(available),
            existing_qty=existing,
            held_for_orders=held,
            symbol=ticket.symbol,
        )

    # -- replace ---------------------------------------------------------------------------------------------------------------------------------

    def replacement(self, order: SimOrder, body: ReplaceBody, now_ns: int) -> Ticket:
        """How the order would stand after a PATCH; its qty is the total. Raises Refusal; the old order then lives on untouched."""
        if order.parent is not None or order.order_id in self._exchange.wholes:
            raise forbidden("replace mleg order is disabled")
        state = order.ord_status.value
        if order.ord_status.terminal:
            raise rule("order already replaced" if order.replaced_by else f'order is already in "{state}" state')
        if order.queued:
            raise rule("cannot replace order in accepted status")
        if state in ("pending_cancel", "pending_replace") or (state == "pending_new" and not order.dormant):
            raise rule(f"cannot replace order in {state} status")
        if order.qty is None:
            raise rule("notional orders cannot be replaced")
        _replaceable(order, body)
        asset = self._universe.asset(order.symbol)
        total = self._total(order, body)
        price, stop_px = body.limit_price or order.price, None if order.ticket.trails else body.stop_price or order.stop_px
        trail = body.trail or order.ticket.trail_px or order.ticket.trail_pct
        tif = _word(body.time_in_force, TimeInForce, "time_in_force") if body.time_in_force else order.time_in_force
        same = (price, tif, total) == (order.price, order.time_in_force, order.qty) and body.stop_price in (None, order.stop_px)
        if same and trail in (None, order.ticket.trail_px, order.ticket.trail_pct) and not body.client_order_id:
            raise rule("order parameters are not changed")
        if (body.limit_price and not order.ticket.ord_type.has_price) or (body.stop_price and not order.ticket.ord_type.has_stop):
            raise rule(f"{order.ticket.ord_type.value} orders do not have this price")
        increments("limit_price", price, ticks(asset))
        increments("stop_price", stop_px, ticks(asset))
        listed = facts.FACTS.rule(CLASSES[asset.asset_class], order.ticket.ord_type, tif, fractional=not on_grid(total, ONE)) is not None
        if not (tif in _STANDING if order.ticket.trails else listed):
            raise rule("invalid time_in_force")
        collar = collared(order.ticket.ord_type, order.side, stop_px, self._exchange.market.listings[order.symbol].unit)
        changed = msgspec.structs.replace(
            order.ticket,
            qty=total,
            price=price,
            stop_px=stop_px,
            trail_px=None if order.ticket.trail_px is None else trail,
            trail_pct=None if order.ticket.trail_pct is None else trail,
            collar=collar,
            time_in_force=tif,
            reserve_px=price or collar or order.ticket.reserve_px,
        )
        self._afford_more(order, changed, asset, now_ns)
        return changed

    @staticmethod
    def _total(order: SimOrder, body: ReplaceBody) -> Decimal:
        assert order.qty is not None
        total = body.qty if body.qty is not None else order.qty
        if body.qty is not None and body.qty != order.qty and not (on_grid(total, ONE) and on_grid(order.qty, ONE)):
            raise rule("qty of fractional orders cannot be replaced")
        if total <= order.filled_qty:
            raise rule("qty must be > filled_qty")
        return total

    def _afford_more(self, order: SimOrder, changed: Ticket, asset: wire.Asset, now_ns: int) -> None:
        assert changed.qty is not None
        left = changed.qty - order.filled_qty
        if order.reserve:
            extra = left * changed.reserve_px - order.reserve
            if extra > 0:
                self._power(msgspec.structs.replace(changed, qty=extra, reserve_px=ONE), asset, now_ns)
        elif order.held and order.ticket.contingency is Contingency.NONE:
            available = abs(self._exchange.position(order.symbol)) - self._exchange.held(order.symbol) + order.held
            if left > available:
                raise self.insufficient_qty(changed, available)


def _words(body: SubmitBody, asset_class: AssetClass) -> tuple[Side, OrdType, TimeInForce]:
    side = _word(body.side, Side, "side")
    ord_type = _word(body.type, OrdType, "order type")
    tif = _word(body.time_in_force, TimeInForce, "time_in_force")
    if asset_class is AssetClass.CRYPTO:
        if ord_type in (OrdType.STOP, OrdType.TRAILING_STOP):
            raise rule("invalid order type for crypto order")
        if tif not in (TimeInForce.GTC, TimeInForce.IOC):
            raise rule("invalid crypto time_in_force")
    return side, ord_type, tif


def _word(text: str | None, kind: type[T], name: str) -> T:
    if not text:
        raise parameter(f"{name} is required")
    try:
        return kind(text)
    except ValueError as error:
        raise parameter(f"invalid {name} {text}") from error


def _order_class(body: SubmitBody, asset_class: AssetClass, ord_type: OrdType, tif: TimeInForce) -> Contingency:
    """What kind of group the order makes, and whether it brings what that takes."""
    name = body.order_class or ""
    if name not in ORDER_CLASSES:
        raise parameter(f"invalid order_class {name}")
    contingency = ORDER_CLASSES[name]
    profit = body.take_profit is not None and body.take_profit.limit_price is not None
    stop = body.stop_loss is not None and body.stop_loss.stop_price is not None
    if contingency is Contingency.NONE:
        if body.take_profit is not None or body.stop_loss is not None:
            raise parameter("simple orders do not take take_profit or stop_loss")
        return contingency
    if asset_class is AssetClass.CRYPTO:
        raise rule(f"crypto orders not allowed for advanced order_class: {'otoco' if contingency is Contingency.BRACKET else name}")
    if ord_type is OrdType.TRAILING_STOP:
        raise rule("trailing stop orders must be simple orders")
    if contingency is Contingency.OCO and ord_type is not OrdType.LIMIT:
        raise rule("oco orders must be limit orders")
    if tif not in _STANDING:
        raise rule(f"{name} orders must be DAY or GTC orders")
    if contingency is Contingency.OTO:
        if (profit, stop) not in ((True, False), (False, True)) or (body.take_profit is not None and body.stop_loss is not None):
            raise parameter("oto orders require either take_profit or stop_loss")
    elif not profit or not stop:
        raise parameter(f"{name} orders require {'stop_loss.stop_price' if profit else 'take_profit.limit_price'}")
    return contingency


def _purpose(ticket: Ticket) -> None:
    """OCO only closes; what has an entry only opens."""
    if ticket.contingency is Contingency.OCO and ticket.opening:
        raise rule("oco orders must be exit orders")
    if ticket.contingency in (Contingency.BRACKET, Contingency.OTO) and not ticket.opening:
        raise rule(f"{ticket.contingency.value} orders must be entry orders")


def _replaceable(order: SimOrder, body: ReplaceBody) -> None:
    """What a PATCH may change at all. Source: Orders at Alpaca: of bracket and OCO the prices, of OTO nothing yet, the trail until it is hit."""
    contingency = order.ticket.contingency
    if contingency is Contingency.OTO:
        raise rule("order replacement is not supported for oto orders")
    if contingency is not Contingency.NONE and (body.qty is not None or body.time_in_force is not None or body.trail is not None):
        raise rule(f"only limit_price and stop_price of {contingency.value} orders can be replaced")
    if body.trail is None:
        return
    if not order.ticket.trails:
        raise rule("trail can only be replaced on trailing stop orders")
    _trail("trail", body.trail, percent=order.ticket.trail_pct is not None)
    if order.triggered:
        raise rule("trail cannot be replaced after the stop price was hit")


def _sizes(body: SubmitBody) -> None:
    if body.qty is None and body.notional is None:
        raise parameter("qty or notional is required")
    if body.qty is not None and body.notional is not None:
        raise parameter("only one of qty or notional is accepted")
    for name, value in (("qty", body.qty), ("notional", body.notional)):
        if value is not None and value <= 0:
            raise parameter(f"{name} must be > 0")
        if value is not None and not on_grid(value, LOT):
            raise parameter(f"{name} has more than 9 decimal places")


def _prices(body: SubmitBody, ord_type: OrdType, grid: Iterable[tuple[Decimal, Decimal]]) -> None:
    for name, value, wanted in (("limit_price", body.limit_price, ord_type.has_price), ("stop_price", body.stop_price, ord_type.has_stop)):
        if wanted and value is None:
            raise parameter(f"{ord_type.value} orders require {name}")
        if not wanted and value is not None:
            raise parameter(f"{ord_type.value} orders do not take {name}")
        if value is not None and value <= 0:
            raise parameter(f"{name} must be > 0")
        increments(name, value, grid)
    trails = [(name, value) for name, value in (("trail_price", body.trail_price), ("trail_percent", body.trail_percent)) if value is not None]
    if ord_type is OrdType.TRAILING_STOP and len(trails) != 1:
        raise parameter("trailing stop orders must specify one of trail_price or trail_percent")
    for name, value in trails:
        if ord_type is not OrdType.TRAILING_STOP:
            raise parameter(f"{ord_type.value} orders must not have {name}")
        _trail(name, value, percent=name == "trail_percent")


def _trail(name: str, value: Decimal, *, percent: bool) -> None:
    if value <= 0:
        raise parameter(f"{name} must be > 0")
    if percent and value >= 100:
        raise parameter(f"{name} must be < 100")


def increments(name: str, value: Decimal | None, grid: Iterable[tuple[Decimal, Decimal]]) -> None:
    """Raises Refusal: a price between two ticks."""
    step = next((step for start, step in grid if value is not None and value >= start), None)
    if value is not None and step is not None and not on_grid(value, step):
        raise rule(f"invalid {name} {plain(value)}. sub-penny increment does not fulfill minimum pricing criteria")


def ticks(asset: wire.Asset) -> list[tuple[Decimal, Decimal]]:
    """(from price, step), the highest first."""
    if asset.price_increment is not None:
        return [(ZERO, Decimal(asset.price_increment))]
    return [(band.from_price, band.tick) for band in reversed(facts.EQUITY_TICKS)]


def _equity(asset: wire.Asset, ord_type: OrdType, tif: TimeInForce, contingency: Contingency, *, fractional: bool, extended: bool) -> None:
    if fractional and not asset.fractionable:
        raise forbidden(f'asset "{asset.symbol}" is not fractionable')
    if fractional and contingency is not Contingency.NONE:
        raise rule("fractional orders must be simple orders")
    if fractional and ord_type is OrdType.TRAILING_STOP:
        raise rule("fractional orders must be market, limit, stop, or stop_limit orders")
    if fractional and tif is not TimeInForce.DAY:
        raise rule("fractional orders must be DAY orders")
    if extended and (ord_type is not OrdType.LIMIT or tif is not TimeInForce.DAY):
        raise rule("extended hours order must be DAY limit orders")
    if extended and contingency is not Contingency.NONE:
        raise rule("extended hours order must be simple orders")
    if ord_type is OrdType.TRAILING_STOP and tif not in _STANDING:
        raise rule("trailing stop orders must be DAY or GTC orders")
    if extended and fractional and "fractional_eh_enabled" not in (asset.attributes or ()):
        raise rule(f'asset "{asset.symbol}" does not take fractional orders in extended hours')
    if tif in (TimeInForce.AT_THE_OPENING, TimeInForce.AT_THE_CLOSE) and ord_type.has_stop:
        raise rule(f"{tif.value} orders must be market or limit orders")


def collared(ord_type: OrdType, side: Side, stop_px: Decimal | None, unit: Decimal) -> Decimal | None:
    """The limit that a buy stop becomes when it goes off; None for what is no buy stop."""
    if ord_type is not OrdType.STOP or side is not Side.BUY or stop_px is None:
        return None
    return (stop_px * _collar(stop_px) / unit).to_integral_value() * unit


def _collar(price: Decimal) -> Decimal:
    """How far above a price a market buy may go, as a factor."""
    (edge, below), (_, above) = facts.MARKET_BUY_COLLAR
    assert edge is not None
    return ONE + (below if price < edge else above)
