"""OANDA's messages to ours and back. Pure; prices in the quoted money per unit, units signed there and not here."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from trading_system.brokers.oanda import wire
from trading_system.brokers.oanda.errors import CANCELED, ENDS, REJECTED
from trading_system.brokers.oanda.facts import FOREX_CLOSE_HOUR, NAME, SITES
from trading_system.domain.account import AccountSnapshot, Flow, FlowKind, Position
from trading_system.domain.errors import ProtocolError, Rejected
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import Hours, Window
from trading_system.domain.ids import ClOrdID, ExecID, InstrumentID, OrderID, is_ours, parse_instrument
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, Quote
from trading_system.domain.money import ONE, ZERO, bounded, parse_decimal, plain
from trading_system.domain.order import Approved
from trading_system.domain.report import ExecutionReport
from trading_system.domain.times import NS, parse_rfc3339

_Word = TypeVar("_Word")
_NEW_YORK = ZoneInfo("America/New_York")
_WEEKS = 3  # of hours that are told ahead
_TYPE = {OrdType.MARKET: "MARKET", OrdType.LIMIT: "LIMIT", OrdType.STOP: "STOP", OrdType.MARKET_IF_TOUCHED: "MARKET_IF_TOUCHED"}
_ORD_TYPE = {
    "MARKET": OrdType.MARKET,
    "FIXED_PRICE": OrdType.MARKET,
    "LIMIT": OrdType.LIMIT,
    "STOP": OrdType.STOP,
    "MARKET_IF_TOUCHED": OrdType.MARKET_IF_TOUCHED,
    "TAKE_PROFIT": OrdType.LIMIT,
    "STOP_LOSS": OrdType.STOP,
    "GUARANTEED_STOP_LOSS": OrdType.STOP,
    "TRAILING_STOP_LOSS": OrdType.TRAILING_STOP,
}
_TIF = {TimeInForce.DAY: "GFD", TimeInForce.GTC: "GTC", TimeInForce.IOC: "IOC", TimeInForce.FOK: "FOK"}
_TIME_IN_FORCE = {"GFD": TimeInForce.DAY, "GTC": TimeInForce.GTC, "GTD": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_STATUS = {"PENDING": OrdStatus.NEW, "TRIGGERED": OrdStatus.NEW, "FILLED": OrdStatus.FILLED, "CANCELLED": OrdStatus.CANCELED}
_OPEN = {"OPEN": True, "CLOSED": False, "CLOSE_WHEN_TRADEABLE": True}
_FILLED_BY = {  # Source: github.com/oanda/v20-openapi 3.0.25, OrderFillReason; guaranteed stops came later
    "LIMIT_ORDER": OrdType.LIMIT,
    "STOP_ORDER": OrdType.STOP,
    "MARKET_IF_TOUCHED_ORDER": OrdType.MARKET_IF_TOUCHED,
    "TAKE_PROFIT_ORDER": OrdType.LIMIT,
    "STOP_LOSS_ORDER": OrdType.STOP,
    "GUARANTEED_STOP_LOSS_ORDER": OrdType.STOP,
    "TRAILING_STOP_LOSS_ORDER": OrdType.TRAILING_STOP,
    "FIXED_PRICE_ORDER": OrdType.MARKET,
    "MARKET_ORDER": OrdType.MARKET,
    "MARKET_ORDER_TRADE_CLOSE": OrdType.MARKET,
    "MARKET_ORDER_POSITION_CLOSEOUT": OrdType.MARKET,
    "MARKET_ORDER_MARGIN_CLOSEOUT": OrdType.MARKET,
    "MARKET_ORDER_DELAYED_TRADE_CLOSE": OrdType.MARKET,
}
_ASSET_CLASS = {"CURRENCY": AssetClass.FOREX, "METAL": AssetClass.FOREX}
_SILENT_TYPES = """
CREATE CLOSE REOPEN CLIENT_CONFIGURE CLIENT_CONFIGURE_REJECT TRANSFER_FUNDS_REJECT MARKET_ORDER MARKET_ORDER_REJECT FIXED_PRICE_ORDER LIMIT_ORDER
LIMIT_ORDER_REJECT STOP_ORDER STOP_ORDER_REJECT MARKET_IF_TOUCHED_ORDER MARKET_IF_TOUCHED_ORDER_REJECT TAKE_PROFIT_ORDER TAKE_PROFIT_ORDER_REJECT
STOP_LOSS_ORDER STOP_LOSS_ORDER_REJECT GUARANTEED_STOP_LOSS_ORDER GUARANTEED_STOP_LOSS_ORDER_REJECT TRAILING_STOP_LOSS_ORDER
TRAILING_STOP_LOSS_ORDER_REJECT ORDER_CANCEL ORDER_CANCEL_REJECT ORDER_CLIENT_EXTENSIONS_MODIFY ORDER_CLIENT_EXTENSIONS_MODIFY_REJECT
TRADE_CLIENT_EXTENSIONS_MODIFY TRADE_CLIENT_EXTENSIONS_MODIFY_REJECT MARGIN_CALL_ENTER MARGIN_CALL_EXTEND MARGIN_CALL_EXIT DELAYED_TRADE_CLOSURE
RESET_RESETTABLE_PL
"""
_SILENT = frozenset(  # what moves no money, or says so in the transaction that follows
    _SILENT_TYPES.split()
)

# -- names -----------------------------------------------------------------------------------------------------------------------------------------


def instrument_of(symbol: str) -> InstrumentID:
    """Our name of EUR_USD.

    >>> instrument_of("EUR_USD")
    'EUR/USD'
    """
    try:
        return parse_instrument(symbol.replace("_", "/"))
    except ValueError as error:
        raise ProtocolError(str(error), symbol.encode()) from None


def symbol_of(instrument: InstrumentID) -> str:
    return instrument.replace("/", "_")


def kind_of(account_id: str) -> str | None:
    """Whether an account is a practice or a live one, as its number says; None: it is no v20 account's."""
    return SITES.get(account_id.partition("-")[0])


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def encode_order(approved: Approved, *, guaranteed: bool = False) -> wire.OrderBody:
    """An order as a whole, new or in place of another. Units say the side; what reduces only never opens. guaranteed: whether the stop of its trade
    is to be met at its price, come what may.

    Raises: Rejected: an exit that OANDA has no word for; nothing was sent.
    Source: developer.oanda.com/rest-live-v20/order-ep
    """
    request = approved.request
    assert request.order_qty is not None
    exits = request.attached
    if exits is not None and exits.stop_limit_px is not None:
        raise Rejected("OANDA's stops become market orders: leave the stop's limit out")
    return wire.OrderBody(
        wire.OrderRequest(
            type=_TYPE[request.ord_type],
            instrument=symbol_of(request.instrument),
            units=plain(request.side.sign * request.order_qty),
            price=_sent(request.price if request.ord_type is OrdType.LIMIT else request.stop_px),
            timeInForce=_TIF[request.time_in_force],
            positionFill="REDUCE_ONLY" if request.reduce_only else "REDUCE_FIRST",
            clientExtensions=wire.Extensions(id=approved.cl_ord_id),
            tradeClientExtensions=None if exits is None else wire.Extensions(tag=approved.cl_ord_id),  # whose exits the trade's orders are
            takeProfitOnFill=_on_fill(None if exits is None else exits.take_profit_px),
            stopLossOnFill=_on_fill(None if exits is None else exits.stop_px, guaranteed=guaranteed),
        )
    )


def _on_fill(price: Decimal | None, *, guaranteed: bool = False) -> wire.OnFill | None:
    return None if price is None else wire.OnFill(price=plain(price), timeInForce="GTC", guaranteed=guaranteed)


def encode_trailing(approved: Approved, trades: Sequence[wire.Trade], replaced: str = "") -> wire.OrderBody:
    """A trailing stop, which OANDA knows as the exit of one whole trade: the oldest one that this order would end, and that has none yet.
    replaced: the order that this one is to take the place of.

    Raises: Rejected: no trade is of its size, or it trails by a fraction; nothing was sent.
    Source: developer.oanda.com/rest-live-v20/order-df (TrailingStopLossOrderRequest)
    """
    request = approved.request
    assert request.order_qty is not None
    if request.trail_px is None:
        raise Rejected("OANDA trails by an amount of money per unit: give the distance, not a fraction")
    wanted = -request.side.sign * request.order_qty
    symbol = symbol_of(request.instrument)
    for trade in sorted(trades, key=lambda one: int(one.id)):
        free = trade.trailingStopLossOrder is None or trade.trailingStopLossOrder.id == replaced
        if free and trade.instrument == symbol and _number(trade.currentUnits) == wanted:
            return wire.OrderBody(
                wire.OrderRequest(
                    type="TRAILING_STOP_LOSS",
                    tradeID=trade.id,
                    distance=plain(request.trail_px),
                    timeInForce=_TIF[request.time_in_force],
                    clientExtensions=wire.Extensions(id=approved.cl_ord_id),
                )
            )
    held = ", ".join(sorted({trade.currentUnits for trade in trades if trade.instrument == symbol})) or "none"
    raise Rejected(f"OANDA trails the stop of one whole trade, and none of {plain(wanted)} units is without one (held: {held})")


def _sent(value: Decimal | None) -> str:
    return "" if value is None else plain(value)


def is_order(transaction: wire.Transaction) -> bool:
    """Whether it made an order, of a kind that this version knows."""
    return transaction.type.endswith("_ORDER") and transaction.type.removesuffix("_ORDER") in _ORD_TYPE


def row_of(created: wire.Transaction) -> wire.Order:
    """An order as it stood when it was made."""
    shared = {name: getattr(created, name) for name in wire.Order.__struct_fields__ if name in wire.Transaction.__struct_fields__}
    return wire.Order(**(shared | {"type": created.type.removesuffix("_ORDER"), "createTime": created.time, "state": "PENDING"}))


def decode_order(
    row: wire.Order, trade: wire.Trade | None, recv_ns: int, *, end: wire.Transaction | None = None, fill: wire.Transaction | None = None
) -> ExecutionReport:
    """How an order stands. trade: the one that it belongs to, where it is a trade's. end, fill: what cancelled it, and what filled it; without the
    latter a filled order is filled wholly.

    Raises: ProtocolError: a word we do not know, or an order without instrument or units.
    Source: developer.oanda.com/rest-live-v20/order-df
    """
    units = _number(row.units) if row.units else None
    if trade is not None:
        units = -_number(trade.currentUnits if row.state == "PENDING" or not _number(trade.initialUnits) else trade.initialUnits)
        units = units or -_number(trade.initialUnits)
    if not units:
        raise ProtocolError("an order without units", row.id.encode())
    ord_type, status, qty = _word(_ORD_TYPE, row.type, "order type"), _word(_STATUS, row.state, "order state"), abs(units)
    filled = ZERO if fill is None else abs(_number(fill.units))
    if status is OrdStatus.FILLED and fill is None:
        filled = qty
    if trade is not None and filled:
        qty = filled  # what a trade's orders close is what is left of the trade by then
    if status is OrdStatus.CANCELED and end is not None:
        status = _end(end, row, filled=bool(row.fillingTransactionID))[1]
    if status is OrdStatus.FILLED and filled < qty:
        status = OrdStatus.CANCELED
    price = _price(row.price)
    owner = "" if trade is None or trade.clientExtensions is None else trade.clientExtensions.tag
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID("" if row.clientExtensions is None else row.clientExtensions.id),
        order_id=OrderID(row.id),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=status,
        instrument=instrument_of(row.instrument if trade is None else trade.instrument),
        side=Side.BUY if units > 0 else Side.SELL,
        ord_type=ord_type,
        time_in_force=_word(_TIME_IN_FORCE, row.timeInForce or "GTC", "time in force"),
        order_qty=qty,
        price=price if ord_type is OrdType.LIMIT else None,
        stop_px=price if ord_type.has_stop else _price(row.trailingStopValue) if ord_type is OrdType.TRAILING_STOP else None,
        trail_px=_price(row.distance) if ord_type is OrdType.TRAILING_STOP else None,
        parent=ClOrdID(owner) if is_ours(owner) else None,
        cum_qty=filled,
        replaced_by=OrderID(row.replacedByOrderID) if row.replacedByOrderID else None,
        replaces=OrderID(row.replacesOrderID) if row.replacesOrderID else None,
        text="" if end is None else end.reason,
        transact_ns=_time(row.filledTime or row.cancelledTime or row.createTime),
        recv_ns=recv_ns,
    )


def decode_created(created: wire.Transaction, trade: wire.Trade | None, recv_ns: int) -> ExecutionReport:
    """The transaction that made an order."""
    return replace(decode_order(row_of(created), trade, recv_ns), exec_type=ExecType.NEW)


def decode_fill(fill: wire.Transaction, order: ExecutionReport | None, home: str, recv_ns: int) -> ExecutionReport:
    """One ORDER_FILL, with how its order stood before. order: None where nobody can say; the fill knows enough. home: the account's money, which
    fees are in. What it earned or paid beside the price, decode_flows tells.

    Raises: ProtocolError: a reason we do not know, or another instrument or side than the order's.
    Source: developer.oanda.com/rest-live-v20/transaction-df (OrderFillTransaction)
    """
    ord_type, units, instrument = _word(_FILLED_BY, fill.reason, "reason of a fill"), _number(fill.units), instrument_of(fill.instrument)
    if not units or not fill.orderID:
        raise ProtocolError("a fill of nothing, or of no order", fill.id.encode())
    side, qty, price = Side.BUY if units > 0 else Side.SELL, abs(units), _number(fill.fullVWAP or fill.price)
    if price <= 0:
        raise ProtocolError("a fill without a price", fill.id.encode())
    if order is not None and (order.instrument, order.side) != (instrument, side):
        raise ProtocolError("a fill of another instrument or side than its order", fill.id.encode())
    fee = sum((_number(text) for text in (fill.commission, fill.guaranteedExecutionFee) if text), ZERO)
    if order is None:
        order = ExecutionReport(
            broker=NAME,
            cl_ord_id=ClOrdID(fill.clientOrderID),
            order_id=OrderID(fill.orderID),
            exec_type=ExecType.TRADE,
            ord_status=OrdStatus.FILLED,
            instrument=instrument,
            side=side,
            ord_type=ord_type,
            time_in_force=TimeInForce.GTC,
            order_qty=qty,
            transact_ns=0,
            recv_ns=recv_ns,
        )
    whole = order.order_qty is not None and qty >= order.order_qty
    return replace(
        order,
        exec_type=ExecType.TRADE,
        ord_status=OrdStatus.FILLED if whole else OrdStatus.PARTIALLY_FILLED,
        exec_id=ExecID(fill.id),
        last_qty=qty,
        last_px=price,
        cum_qty=qty if whole else None,
        fee=fee,
        fee_currency=home if fee else "",
        text="",
        transact_ns=_time(fill.time),
        recv_ns=recv_ns,
    )


def decode_cancel(end: wire.Transaction, row: wire.Order, order: ExecutionReport, recv_ns: int, *, filled: bool) -> ExecutionReport:
    """One ORDER_CANCEL. filled: the order had a fill before it.

    Raises: ProtocolError: a reason we do not know.
    Source: developer.oanda.com/rest-live-v20/transaction-df (OrderCancelReason)
    """
    exec_type, status = _end(end, row, filled=filled)
    return replace(
        order,
        exec_type=exec_type,
        ord_status=status,
        cum_qty=None if filled else ZERO,
        replaced_by=OrderID(end.replacedByOrderID) if end.replacedByOrderID else None,
        text=end.reason,
        transact_ns=_time(end.time),
        recv_ns=recv_ns,
    )


def _end(end: wire.Transaction, row: wire.Order, *, filled: bool) -> tuple[ExecType, OrdStatus]:
    """An order that ends in the instant in which it was made was refused; one that had rested, or filled, was cancelled."""
    found = _word(ENDS, end.reason, "reason of a cancel")
    return CANCELED if found == REJECTED and (filled or end.time != row.createTime) else found


# -- account ---------------------------------------------------------------------------------------------------------------------------------------


def open_trades(account: wire.Account) -> list[wire.Trade]:
    """What is held. Raises ProtocolError: the account was told in short, or a state we do not know."""
    if isinstance(account.trades, msgspec.UnsetType):
        raise ProtocolError("an account without its trades", account.id.encode())
    return [trade for trade in account.trades if _word(_OPEN, trade.state, "trade state")]


def decode_account(account: wire.Account, prices: wire.Prices, environment: str, recv_ns: int) -> AccountSnapshot:
    """The account and its market as one snapshot. Positions are told as if they had been bought with money: the balance less what they cost, in the
    money that they are priced in. Then cash plus positions at their marks is the equity.

    Raises: ProtocolError: a money that something is held in, without a rate.
    Source: developer.oanda.com/rest-live-v20/account-df
    """
    home, rates = account.currency, {one.currency: _number(one.positionValue) for one in prices.homeConversions}
    rates = {currency: rate for currency, rate in rates.items() if currency != home and rate > 0}
    marks = {instrument_of(price.instrument): mark for price in prices.prices if (mark := decode_mark(price)) is not None}
    balances = {home: _number(account.balance)}
    held: dict[InstrumentID, tuple[Decimal, Decimal]] = {}
    for trade in open_trades(account):
        instrument, units = instrument_of(trade.instrument), _number(trade.currentUnits)
        cost, currency = units * _number(trade.price), instrument.partition("/")[2]
        qty, paid = held.get(instrument, (ZERO, ZERO))
        held[instrument] = (qty + units, paid + cost)
        balances[currency] = balances.get(currency, ZERO) - cost
    if missing := sorted(balances.keys() - rates.keys() - {home}):
        raise ProtocolError(f"no rate of {', '.join(missing)} in {home}")
    nav = _number(account.NAV)
    return AccountSnapshot(
        broker=NAME,
        account=account.id,
        environment=environment,
        currency=home,
        equity=nav,
        last_equity=nav,
        cash=sum((amount * rates.get(currency, ONE) for currency, amount in balances.items()), ZERO),
        balances={currency: balances.get(currency, ZERO) for currency in sorted({home, *rates} | balances.keys())},
        rates=rates,
        buying_power=max(ZERO, _number(account.marginAvailable)),
        positions=tuple(
            _position(instrument, qty, paid, marks.get(instrument))
            for instrument, (qty, paid) in sorted(held.items())
            if qty  # both halves of a hedged account may be equal
        ),
        tradable=True,
        text="",
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def _position(instrument: InstrumentID, qty: Decimal, paid: Decimal, mark: Decimal | None) -> Position:
    """What OANDA itself says of the gain is in the account's money, and so of another currency than the prices."""
    gain = ZERO if mark is None else qty * mark - paid
    return Position(instrument=instrument, qty=qty, avg_px=abs(paid / qty), mark_px=mark, unrealized_pnl=gain)


def decode_instrument(entry: wire.Instrument, hours: Hours) -> Instrument | None:
    """One instrument with its grids; None: of a kind that this version does not trade.

    Source: developer.oanda.com/rest-live-v20/primitives-df (Instrument)
    """
    asset_class, instrument = _ASSET_CLASS.get(entry.type), instrument_of(entry.name)
    if asset_class is None or abs(entry.displayPrecision) > 12 or abs(entry.tradeUnitsPrecision) > 12:
        return None
    base, _, currency = instrument.partition("/")
    lot = Decimal(1).scaleb(-entry.tradeUnitsPrecision)
    return Instrument(
        id=instrument,
        broker=NAME,
        symbol=entry.name,
        asset_class=asset_class,
        base=base,
        currency=currency,
        ticks=(TickBand(ZERO, Decimal(1).scaleb(-entry.displayPrecision)),),
        lot=lot,
        whole_lot=lot,
        min_qty=_number(entry.minimumTradeSize),
        hours=hours,
        shortable=True,
        marginable=True,
    )


def forex_hours(now_ns: int) -> Hours:
    """From Sunday 17:00 to Friday 17:00 in New York, for this week and the next ones. OANDA has no calendar: that holds for every pair, and what is
    closed besides (minutes a day, holidays) a price says that is not tradeable.

    >>> from trading_system.domain.times import rfc3339
    >>> hours = forex_hours(1_790_000_000_000_000_000)  # a Monday
    >>> [rfc3339(window.open_ns) for window in hours.windows[:2]]
    ['2026-09-20T21:00:00.000000000Z', '2026-09-27T21:00:00.000000000Z']
    """
    today = datetime.fromtimestamp(now_ns // NS, UTC).astimezone(_NEW_YORK).date()
    sunday = today - timedelta(days=(today.weekday() + 1) % 7)

    def at(days: int) -> int:
        day = sunday + timedelta(days=days)
        return int(datetime(day.year, day.month, day.day, FOREX_CLOSE_HOUR, tzinfo=_NEW_YORK).timestamp()) * NS

    windows = tuple(Window(at(7 * week), at(7 * week + 5)) for week in range(_WEEKS))
    return Hours(windows=windows, extended=windows, known_until_ns=windows[-1].close_ns)


def trade_of(fill: wire.Transaction) -> wire.Trade | None:
    """The trade that a fill has opened, as it stood then; None: it has opened none."""
    opened = fill.tradeOpened
    if opened is None:
        return None
    return wire.Trade(
        id=opened.tradeID,
        instrument=fill.instrument,
        price=opened.price or fill.fullVWAP or fill.price,
        openTime=fill.time,
        state="OPEN",
        initialUnits=opened.units,
        currentUnits=opened.units,
        clientExtensions=opened.clientExtensions,
    )


def trades_ended(transaction: wire.Transaction) -> tuple[wire.TradeChange, ...]:
    """What a fill took from trades that were open."""
    reduced = () if transaction.tradeReduced is None else (transaction.tradeReduced,)
    return (*transaction.tradesClosed, *reduced)


def is_foreign(transaction: wire.Transaction, home: str) -> bool:
    """Whether a fill's profit was made in another money than the account's."""
    return transaction.type == "ORDER_FILL" and instrument_of(transaction.instrument).partition("/")[2] != home


def decode_flows(transaction: wire.Transaction, opened: Mapping[str, Decimal], home: str) -> tuple[Flow, ...]:
    """What of one transaction no fill tells. opened: the prices at which trades were opened, for those that a fill has ended in another money than
    the account's: OANDA changes what they made into the account's, which takes it out of the one and puts it into the other.

    Source: developer.oanda.com/rest-live-v20/transaction-df
    """
    moved: list[tuple[str, FlowKind | None, str, Decimal, str]] = []
    match transaction.type:
        case "ORDER_FILL":
            instrument = instrument_of(transaction.instrument)
            if transaction.financing:
                moved.append(("financing", None, home, _number(transaction.financing), f"financing {instrument}"))
            if is_foreign(transaction, home) and (made := _made(transaction, opened)):
                moved.append(("out", None, instrument.partition("/")[2], -made, f"profit of {instrument}, changed into {home}"))
                moved.append(("in", None, home, _number(transaction.pl), f"profit of {instrument}, changed into {home}"))
        case "DAILY_FINANCING":
            moved.append(("", None, home, _number(transaction.financing), "financing of the day"))
        case "TRANSFER_FUNDS":
            moved.append(("", FlowKind.TRANSFER, home, _number(transaction.amount), transaction.fundingReason))
        case other if other not in _SILENT:
            moved.append(("", FlowKind.UNKNOWN, home, ZERO if not transaction.amount else _number(transaction.amount), other))
    return tuple(
        Flow(
            broker=NAME,
            flow_id=f"{transaction.id}:{part}" if part else transaction.id,
            kind=kind or (FlowKind.INCOME if amount >= 0 else FlowKind.FEE),
            currency=currency,
            amount=amount,
            text=text,
            transact_ns=_time(transaction.time),
        )
        for part, kind, currency, amount, text in moved
        if amount or kind is FlowKind.UNKNOWN
    )


def _made(fill: wire.Transaction, opened: Mapping[str, Decimal]) -> Decimal:
    """Profit in the quoted money, to the last digit: the price of the fill against those of the trades that it ended."""
    price, side = _number(fill.fullVWAP or fill.price), 1 if _number(fill.units) > 0 else -1
    return sum((abs(_number(ended.units)) * (opened[ended.tradeID] - price) * side for ended in trades_ended(fill)), ZERO)


def decode_opened(trade: wire.Trade) -> Decimal:
    """The price at which a trade was opened."""
    return _number(trade.price)


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def decode_mark(price: wire.Price) -> Decimal | None:
    """Between the best bid and offer, else between the prices that positions are closed out at."""
    bid, ask = _touch(price)
    near = (bid[0], ask[0]) if bid and ask else (_price(price.closeoutBid), _price(price.closeoutAsk))
    return None if near[0] is None or near[1] is None else (near[0] + near[1]) / 2


def decode_quote(price: wire.Price, recv_ns: int, transact_ns: int | None = None) -> Quote:
    """The touch; ladders may be unsorted, and empty while nothing trades. transact_ns: until when it holds, where that is not when it came up.

    Source: developer.oanda.com/rest-live-v20/pricing-df (ClientPrice)
    """
    open_ = price.tradeable if price.tradeable is not None else price.status in ("", "tradeable")
    bid, ask = _touch(price) if open_ else (None, None)
    return Quote(
        instrument=instrument_of(price.instrument),
        bid_px=None if bid is None else bid[0],
        bid_qty=ZERO if bid is None else bid[1],
        ask_px=None if ask is None else ask[0],
        ask_qty=ZERO if ask is None else ask[1],
        transact_ns=_time(price.time) if transact_ns is None else transact_ns,
        recv_ns=recv_ns,
    )


def decode_time(text: str) -> int:
    return _time(text)


def _touch(price: wire.Price) -> tuple[tuple[Decimal, Decimal] | None, tuple[Decimal, Decimal] | None]:
    """Price and size of the best bid and the best offer."""
    bids, asks = ([(_number(step.price), bounded(step.liquidity)) for step in ladder] for ladder in (price.bids, price.asks))
    return max(bids, default=None), min(asks, default=None)


def decode_candle(candle: wire.Candle, instrument: InstrumentID, period_ns: int) -> Bar:
    """One candle of middle prices.

    Raises: ProtocolError: other prices were asked for.
    Source: developer.oanda.com/rest-live-v20/instrument-df
    """
    if candle.mid is None:
        raise ProtocolError("a candle without middle prices", candle.time.encode())
    mid = candle.mid
    return Bar(
        instrument=instrument,
        open_ns=_time(candle.time),
        period_ns=period_ns,
        open=_number(mid.o),
        high=_number(mid.h),
        low=_number(mid.l),
        close=_number(mid.c),
        volume=Decimal(candle.volume),
    )


# -- parts -----------------------------------------------------------------------------------------------------------------------------------------


def _word(table: Mapping[str, _Word], word: str, what: str) -> _Word:
    try:
        return table[word]
    except KeyError:
        raise ProtocolError(f"OANDA sent a {what} that this version does not know", word.encode()) from None


def _number(text: str) -> Decimal:
    try:
        return parse_decimal(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None


def _price(text: str) -> Decimal | None:
    return _number(text) or None if text else None


def _time(text: str) -> int:
    """RFC 3339, or the seconds since 1970 that somebody else may have asked for."""
    try:
        if text.replace(".", "", 1).isdecimal():
            return int(parse_decimal(text) * NS)
        return parse_rfc3339(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None
