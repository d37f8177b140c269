"""Binance's messages and ours: one function a message, named encode_x and decode_x. Every word is in a table or refused."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TypeVar

from msgspec.structs import replace

from trading_system.brokers.binance import wire
from trading_system.brokers.binance.facts import BASIS_POINT, DOLLAR, MAX_FEE_IN_KIND, NAME, PROFIT_NAME, QUOTE, STOP_NAME
from trading_system.domain.account import AccountSnapshot, Flow, FlowKind, Position
from trading_system.domain.errors import ProtocolError, Rejected
from trading_system.domain.fix import Contingency, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import ALWAYS
from trading_system.domain.ids import ClOrdID, ExecID, InstrumentID, OrderID, is_ours, parse_instrument
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ONE, ZERO, parse_decimal, plain, round_qty
from trading_system.domain.order import Approved, NewOrder
from trading_system.domain.report import ExecutionReport
from trading_system.domain.times import parse_rfc3339

Symbols = Mapping[str, InstrumentID]  # our name of each of Binance's symbols: BTCUSDT does not say where the base ends

_SIDE = {"BUY": Side.BUY, "SELL": Side.SELL}
_SENT_SIDE = {side: word for word, side in _SIDE.items()}
_ORD_TYPE = {
    "MARKET": OrdType.MARKET,
    "LIMIT": OrdType.LIMIT,
    "LIMIT_MAKER": OrdType.LIMIT,  # post-only: once it stands it is a limit order
    "STOP_LOSS": OrdType.STOP,
    "STOP_LOSS_LIMIT": OrdType.STOP_LIMIT,
    "TAKE_PROFIT": OrdType.STOP,  # of others: it, too, waits for a price and then acts
    "TAKE_PROFIT_LIMIT": OrdType.STOP_LIMIT,
}
_SENT_TYPE = {
    OrdType.MARKET: "MARKET",
    OrdType.LIMIT: "LIMIT",
    OrdType.STOP: "STOP_LOSS",
    OrdType.STOP_LIMIT: "STOP_LOSS_LIMIT",
    OrdType.TRAILING_STOP: "STOP_LOSS",
}
_MARKET_STOPS = ("STOP_LOSS", "TAKE_PROFIT")  # with a distance they trail
_TIF = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_SENT_TIF = {tif: word for word, tif in _TIF.items()}
_STATUS = {
    "PENDING_NEW": OrdStatus.SUSPENDED,  # one of a list, held until its working order is filled
    "NEW": OrdStatus.NEW,
    "PARTIALLY_FILLED": OrdStatus.PARTIALLY_FILLED,
    "FILLED": OrdStatus.FILLED,
    "CANCELED": OrdStatus.CANCELED,
    "PENDING_CANCEL": OrdStatus.PENDING_CANCEL,  # said to be unused
    "REJECTED": OrdStatus.REJECTED,
    "EXPIRED": OrdStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrdStatus.EXPIRED,  # self-trade prevention
}
_EVENT = {
    "NEW": ExecType.NEW,  # a stop that has gone off says it again
    "CANCELED": ExecType.CANCELED,
    "REPLACED": ExecType.ORDER_STATUS,  # amended in quantity, by another program
    "REJECTED": ExecType.REJECTED,
    "TRADE": ExecType.TRADE,
    "EXPIRED": ExecType.EXPIRED,
    "TRADE_PREVENTION": ExecType.ORDER_STATUS,  # the status says whether it lives on
}
_DEPOSITED = {"0": False, "1": True, "2": False, "6": True, "7": False, "8": False}
_WITHDRAWN = {"0": True, "1": False, "2": True, "3": False, "4": True, "5": False, "6": True}
_INTERVALS = {
    60: "1m",
    180: "3m",
    300: "5m",
    900: "15m",
    1800: "30m",
    3600: "1h",
    7200: "2h",
    14_400: "4h",
    28_800: "8h",
    43_200: "12h",
    86_400: "1d",
}
INTERVALS = {seconds * 1_000_000_000: word for seconds, word in _INTERVALS.items()}
_MS = 1_000_000
_Word = TypeVar("_Word")


def encode_order(approved: Approved) -> dict[str, str]:
    """The parameters of a new order. Numbers leave as plain strings: Binance reads no exponents. The answer is the order as it then stands."""
    request = approved.request
    params = {
        "symbol": approved.symbol,
        "side": _SENT_SIDE[request.side],
        "type": _SENT_TYPE[request.ord_type],
        "newClientOrderId": str(approved.cl_ord_id),
        "newOrderRespType": "RESULT",
    }
    if request.ord_type is OrdType.TRAILING_STOP:
        params["trailingDelta"] = _trailing_delta(request)
    elif request.ord_type.has_price:
        params["timeInForce"] = _SENT_TIF[request.time_in_force]
    for name, value in (
        ("quantity", request.order_qty),
        ("quoteOrderQty", request.cash_order_qty),
        ("price", request.price),
        ("stopPrice", request.stop_px),
    ):
        if value is not None:
            params[name] = plain(value)
    return params


def _trailing_delta(request: NewOrder) -> str:
    """The distance of a trailing stop in basis points. Raises Rejected: Binance has no such distance."""
    points = None if request.trail_pct is None else request.trail_pct / BASIS_POINT
    if points is None or points != points.to_integral_value():
        raise Rejected("Binance trails by a fraction of the price, in steps of 0.0001: use trail_pct", "TRAILING_DELTA")
    return str(int(points))


def encode_list(approved: Approved, lot: Decimal) -> tuple[str, dict[str, str]]:
    """The path and the parameters of an order with its exits. The take-profit of an OCO is the order itself. What a bought unit leaves after the
    highest fee is what its exits can sell.

    Source: github.com/binance/binance-spot-api-docs, rest-api.md (order lists)
    """
    request = approved.request
    attached, qty = request.attached, request.order_qty
    assert attached is not None
    assert qty is not None
    alone = request.contingency is Contingency.OCO
    side = request.side if alone else request.side.opposite
    profit_px = request.price if alone else attached.take_profit_px
    profit = None if profit_px is None else _profit(str(approved.cl_ord_id) if alone else _exit_id(approved.cl_ord_id, PROFIT_NAME), profit_px)
    stop = None if attached.stop_px is None else _stop(_exit_id(approved.cl_ord_id, STOP_NAME), attached.stop_px, attached.stop_limit_px)
    above, below = (profit, stop) if side is Side.SELL else (stop, profit)
    common = {"symbol": approved.symbol, "newOrderRespType": "RESULT"}
    if alone:
        both = {**_prefixed("above", above or {}), **_prefixed("below", below or {})}
        return "/orderList/oco", {**common, "side": _SENT_SIDE[side], "quantity": plain(qty), **both}
    exits = {"Side": _SENT_SIDE[side], "Quantity": plain(round_qty(qty * (1 - MAX_FEE_IN_KIND), lot) if side is Side.SELL else qty)}
    working = {
        "Type": _SENT_TYPE[request.ord_type],
        "Side": _SENT_SIDE[request.side],
        "Quantity": plain(qty),
        "Price": plain(request.price or ZERO),
        "TimeInForce": _SENT_TIF[request.time_in_force],
        "ClientOrderId": str(approved.cl_ord_id),
    }
    entry = {**common, **_prefixed("working", working), **_prefixed("pending", exits)}
    if above is None or below is None:
        return "/orderList/oto", {**entry, **_prefixed("pending", above or below or {})}
    return "/orderList/otoco", {**entry, **_prefixed("pendingAbove", above), **_prefixed("pendingBelow", below)}


def _profit(name: str, price: Decimal) -> dict[str, str]:
    """Only what rests is a take-profit here: one that would trade at once is refused."""
    return {"Type": "LIMIT_MAKER", "Price": plain(price), "ClientOrderId": name}


def _stop(name: str, stop_px: Decimal, limit_px: Decimal | None) -> dict[str, str]:
    limit = {} if limit_px is None else {"Price": plain(limit_px), "TimeInForce": _SENT_TIF[TimeInForce.GTC]}
    return {"Type": "STOP_LOSS" if limit_px is None else "STOP_LOSS_LIMIT", "StopPrice": plain(stop_px), "ClientOrderId": name, **limit}


def _prefixed(prefix: str, params: Mapping[str, str]) -> dict[str, str]:
    return {prefix + name: value for name, value in params.items()}


def _exit_id(cl_ord_id: ClOrdID, name: str) -> str:
    return f"{cl_ord_id}-{name}"


def parent_of(cl_ord_id: str) -> ClOrdID | None:
    """The order of ours that an exit is named after; None: it is none."""
    parent, _, name = cl_ord_id.rpartition("-")
    return ClOrdID(parent) if name in (STOP_NAME, PROFIT_NAME) and is_ours(parent) else None


def decode_list(rows: Sequence[wire.Order], cl_ord_id: ClOrdID, symbols: Symbols, recv_ns: int) -> ExecutionReport:
    """An order and the exits that were made for it. Raises ProtocolError: it is not among them."""
    reports = [decode_order(row, symbols, recv_ns) for row in rows]
    ours = [report for report in reports if report.cl_ord_id == cl_ord_id]
    if len(ours) != 1:
        raise ProtocolError("a list without the order that was sent", cl_ord_id.encode())
    return replace(ours[0], children=tuple(report for report in reports if report.parent == cl_ord_id))


def encode_replace(approved: Approved) -> dict[str, str]:
    """The parameters of a cancel-replace: the new order is placed only if the old one was cancelled before anything of it was filled."""
    assert approved.orig_order_id is not None
    return {
        **encode_order(approved),
        "cancelReplaceMode": "STOP_ON_FAILURE",
        "cancelRestrictions": "ONLY_NEW",
        "cancelOrderId": str(approved.orig_order_id),
    }


def decode_order(order: wire.Order, symbols: Symbols, recv_ns: int) -> ExecutionReport:
    """How an order stands. Quantities in units of the base, prices in the quote currency. A cancel's answer is about the order that it cancelled.

    Raises: ProtocolError: a status, type, side or symbol we do not know.
    Source: github.com/binance/binance-spot-api-docs, enums.md
    """
    name, cash = order.orig_client_order_id or order.client_order_id, _number(order.orig_quote_order_qty or "0")
    time_ms = max(order.transact_time or 0, order.update_time or 0, order.time or 0)
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID(name),
        order_id=OrderID(str(order.order_id)),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=_word(_STATUS, order.status, "order status"),
        instrument=_instrument(symbols, order.symbol),
        side=_word(_SIDE, order.side, "side"),
        ord_type=_ord_type(order.type, order.trailing_delta),
        time_in_force=_word(_TIF, order.time_in_force, "time in force"),
        order_qty=None if cash else _number(order.orig_qty),
        cash_order_qty=cash or None,
        price=_price(order.price),
        stop_px=None if order.stop_price is None else _price(order.stop_price),
        trail_pct=_trail_pct(order.trailing_delta),
        parent=parent_of(name),
        cum_qty=_number(order.executed_qty),
        text=order.expiry_reason or "",
        transact_ns=_time(time_ms),
        recv_ns=recv_ns,
    )


def decode_event(event: wire.ExecutionReport, symbols: Symbols, recv_ns: int) -> ExecutionReport:
    """One executionReport of the account's events.

    Raises: ProtocolError: an execution type or status we do not know, or an execution without id, quantity or price.
    Source: github.com/binance/binance-spot-api-docs, user-data-stream.md
    """
    exec_type, status = _word(_EVENT, event.exec_type, "execution type"), _word(_STATUS, event.status, "order status")
    name, cash = event.orig_client_order_id or event.client_order_id, _number(event.quote_order_qty)
    report = ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID(name),
        order_id=OrderID(str(event.order_id)),
        exec_type=ExecType.SUSPENDED if status is OrdStatus.SUSPENDED and exec_type is ExecType.NEW else exec_type,
        ord_status=status,
        instrument=_instrument(symbols, event.symbol),
        side=_word(_SIDE, event.side, "side"),
        ord_type=_ord_type(event.type, event.trailing_delta),
        time_in_force=_word(_TIF, event.time_in_force, "time in force"),
        order_qty=None if cash else _number(event.qty),
        cash_order_qty=cash or None,
        price=_price(event.price),
        stop_px=_price(event.stop_price),
        trail_pct=_trail_pct(event.trailing_delta),
        parent=parent_of(name),
        cum_qty=_number(event.cum_qty),
        text=event.expiry_reason or ("" if event.reject_reason == "NONE" else event.reject_reason),
        transact_ns=_time(event.transact_time),
        recv_ns=recv_ns,
    )
    if exec_type is not ExecType.TRADE:
        return report
    fee, fee_currency = decode_fee(event.commission, event.commission_asset)
    return replace(
        report,
        exec_id=_exec_id(event.trade_id),
        last_qty=_positive(event.last_qty, "quantity"),
        last_px=_positive(event.last_price, "price"),
        fee=fee,
        fee_currency=fee_currency,
    )


def decode_fill(trade: wire.MyTrade, order: ExecutionReport, cum_qty: Decimal | None, recv_ns: int) -> ExecutionReport:
    """One execution of the account's list, with how its order stands. cum_qty: after it, where that is known."""
    fee, fee_currency = decode_fee(trade.commission, trade.commission_asset)
    return replace(
        order,
        exec_type=ExecType.TRADE,
        exec_id=_exec_id(trade.id),
        last_qty=_positive(trade.qty, "quantity"),
        last_px=_positive(trade.price, "price"),
        cum_qty=cum_qty,
        fee=fee,
        fee_currency=fee_currency,
        text="",
        transact_ns=_time(trade.time),
        recv_ns=recv_ns,
    )


def decode_fee(amount: str, asset: str | None) -> tuple[Decimal, str]:
    """A fee and what it left: money, or units of an instrument. They are gone the moment the fill is there."""
    fee = _number(amount)
    if not fee:
        return ZERO, ""
    if not asset:
        raise ProtocolError("a fee in nothing", amount.encode())
    return fee, asset if asset in (QUOTE, DOLLAR) else _pair(asset)


def decode_account(
    account: wire.Account,
    marks: Mapping[InstrumentID, Decimal],
    rate: Decimal | None,
    symbols: Symbols,
    environment: str,
    recv_ns: int,
    transact_ns: int,
) -> AccountSnapshot:
    """Balances as one snapshot in dollars. rate: what a USDT is worth in them; None: nobody says, and no entry is taken (FX_RATE). Binance knows
    neither equity nor average prices: equity is the sum of the balances at `marks`, and the average price stays 0. An asset that cannot be sold for
    USDT is no position: nothing here could trade it."""
    free = ZERO
    moneys = {QUOTE: ZERO}
    positions = []
    tradable = frozenset(symbols.values())
    worth = ONE if rate is None else rate
    for balance in account.balances:
        total = _number(balance.free) + _number(balance.locked)
        if balance.asset in (QUOTE, DOLLAR):
            moneys[balance.asset] = total
            free += _number(balance.free) if balance.asset == QUOTE else ZERO
        elif total and (name := held_as(balance.asset, tradable)) is not None:
            positions.append(Position(instrument=name, qty=total, avg_px=ZERO, mark_px=marks.get(name), unrealized_pnl=ZERO))
    cash = moneys[QUOTE] * worth + moneys.get(DOLLAR, ZERO)
    equity = cash + sum((position.qty * (position.mark_px or ZERO) for position in positions), ZERO) * worth
    return AccountSnapshot(
        broker=NAME,
        account=str(account.uid),
        environment=environment,
        currency="USD",
        equity=equity,
        last_equity=equity,  # there is no close: a day begins with what is there when it is first looked at
        cash=cash,
        balances=moneys,
        rates={DOLLAR: ONE} if rate is None else {QUOTE: rate, DOLLAR: ONE},
        buying_power=free * worth,
        positions=tuple(positions),
        tradable=account.can_trade,
        text="" if account.can_trade else "the account may not trade (canTrade is false)",
        transact_ns=transact_ns,
        recv_ns=recv_ns,
    )


def decode_deposit(deposit: wire.Deposit, tradable: frozenset[InstrumentID]) -> Flow | None:
    """Money or units that came in; None: not yet, or never.

    Raises: ProtocolError: a status we do not know.
    Source: developers.binance.com/docs/wallet/capital/deposite-history
    """
    if not _word(_DEPOSITED, str(deposit.status), "status of a deposit"):
        return None
    moved, time_ns = _positive(deposit.amount, "amount"), _time(deposit.insert_time)
    return _flow(f"deposit-{deposit.id or deposit.tx_id}", deposit.coin, moved, tradable, time_ns, f"deposit {deposit.tx_id}")


def decode_withdrawal(withdrawal: wire.Withdrawal, tradable: frozenset[InstrumentID]) -> Flow:
    """Money or units that went out, with the fee. They are gone when it is asked for, and come back where it fails.

    Raises: ProtocolError: a status we do not know.
    Source: developers.binance.com/docs/wallet/capital/withdraw-history
    """
    moved = _positive(withdrawal.amount, "amount") + _number(withdrawal.transaction_fee or "0")
    try:
        time_ns = parse_rfc3339(f"{withdrawal.apply_time}Z")
    except ValueError as error:
        raise ProtocolError(str(error), withdrawal.apply_time.encode()) from None
    text = f"withdrawal {withdrawal.tx_id or withdrawal.id}"
    flow = _flow(f"withdrawal-{withdrawal.id}", withdrawal.coin, -moved, tradable, time_ns, text)
    return replace(flow, canceled=not _word(_WITHDRAWN, str(withdrawal.status), "status of a withdrawal"))


def _flow(flow_id: str, coin: str, moved: Decimal, tradable: frozenset[InstrumentID], time_ns: int, text: str) -> Flow:
    """What no pair with USDT names is neither money nor a position: the text alone tells of it."""
    money, instrument = coin in (QUOTE, DOLLAR), held_as(coin, tradable)
    return Flow(
        broker=NAME,
        flow_id=flow_id,
        kind=FlowKind.TRANSFER,
        currency=coin if money else QUOTE,
        amount=moved if money else ZERO,
        instrument=instrument,
        qty=ZERO if instrument is None else moved,
        text=f"{text}: {plain(moved)} {coin}",
        transact_ns=time_ns,
    )


def held_as(asset: str, tradable: frozenset[InstrumentID]) -> InstrumentID | None:
    """The instrument that a balance is units of; None: it is money, or has no pair with USDT."""
    if asset in (QUOTE, DOLLAR):
        return None
    name = InstrumentID(f"{asset}/{QUOTE}")
    return name if name in tradable else None


def decode_symbols(listed: Sequence[wire.Symbol]) -> dict[str, InstrumentID]:
    """Our name of each pair. The testnet lists names on purpose that are no words of ours: they are left out."""
    found = {}
    for symbol in listed:
        with suppress(ProtocolError):
            found[symbol.symbol] = _pair(symbol.base_asset, symbol.quote_asset)
    return found


def decode_symbol(symbol: wire.Symbol) -> Instrument:
    """A pair with its grid. What is not priced in USDT can be looked at, and is not tradable; nor is one money for another.

    Raises: ProtocolError: no price step or no lot.
    Source: github.com/binance/binance-spot-api-docs, filters.md
    """
    filters = {item.filter_type: item for item in symbol.filters or ()}
    try:
        price, lot = filters["PRICE_FILTER"], filters["LOT_SIZE"]
    except KeyError as error:
        raise ProtocolError(f"{symbol.symbol} has no {error.args[0]}", symbol.symbol.encode()) from None
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL")
    step = _positive(lot.step_size, "step of quantity")
    return Instrument(
        id=_pair(symbol.base_asset, symbol.quote_asset),
        broker=NAME,
        symbol=symbol.symbol,
        asset_class=AssetClass.CRYPTO,
        base=symbol.base_asset,
        currency=symbol.quote_asset,
        ticks=(TickBand(ZERO, _positive(price.tick_size, "step of price")),),
        lot=step,
        whole_lot=step,
        min_qty=_number(lot.min_qty or "0"),
        min_notional=ZERO if notional is None else _number(notional.min_notional or "0"),
        multiplier=ONE,
        hours=ALWAYS,
        tradable=symbol.status == "TRADING"
        and symbol.is_spot_trading_allowed is not False
        and symbol.quote_asset == QUOTE
        and symbol.base_asset != DOLLAR,
    )


def decode_quote(ticker: wire.BookTicker, instrument: InstrumentID, transact_ns: int, recv_ns: int) -> Quote:
    """Best bid and offer. Binance states no time: transact_ns is the latest at which it is certain that it still held."""
    return Quote(
        instrument=instrument,
        bid_px=_price(ticker.bid_price),
        bid_qty=_number(ticker.bid_qty),
        ask_px=_price(ticker.ask_price),
        ask_qty=_number(ticker.ask_qty),
        transact_ns=transact_ns,
        recv_ns=recv_ns,
    )


def decode_quote_msg(message: wire.BookTickerMsg, instrument: InstrumentID, transact_ns: int, recv_ns: int) -> Quote:
    """The same from a stream, which says no time either."""
    return Quote(
        instrument=instrument,
        bid_px=_price(message.bid_price),
        bid_qty=_number(message.bid_qty),
        ask_px=_price(message.ask_price),
        ask_qty=_number(message.ask_qty),
        transact_ns=transact_ns,
        recv_ns=recv_ns,
    )


def decode_trade(trade: wire.Trade | wire.AggTrade, instrument: InstrumentID, recv_ns: int) -> Trade:
    return Trade(
        instrument=instrument,
        price=_positive(trade.price, "price"),
        qty=_positive(trade.qty, "quantity"),
        trade_id=str(trade.id),
        transact_ns=_time(trade.time),
        recv_ns=recv_ns,
    )


def decode_trade_msg(message: wire.TradeMsg, instrument: InstrumentID, recv_ns: int) -> Trade:
    return Trade(
        instrument=instrument,
        price=_positive(message.price, "price"),
        qty=_positive(message.qty, "quantity"),
        trade_id=str(message.trade_id),
        transact_ns=_time(message.time),
        recv_ns=recv_ns,
    )


def decode_kline(row: wire.Kline, instrument: InstrumentID, period_ns: int) -> Bar:
    """One row of history. Its average price is what was paid through what was bought."""
    volume, turnover = _number(row.volume), _number(row.quote_volume)
    return Bar(
        instrument=instrument,
        open_ns=_time(row.open_time),
        period_ns=period_ns,
        open=_number(row.open),
        high=_number(row.high),
        low=_number(row.low),
        close=_number(row.close),
        volume=volume,
        vwap=turnover / volume if volume else ZERO,
    )


def decode_kline_msg(body: wire.KlineBody, instrument: InstrumentID, period_ns: int) -> Bar:
    """One bar of a stream, when it is closed."""
    volume, turnover = _number(body.volume), _number(body.quote_volume)
    return Bar(
        instrument=instrument,
        open_ns=_time(body.open_time),
        period_ns=period_ns,
        open=_number(body.open),
        high=_number(body.high),
        low=_number(body.low),
        close=_number(body.close),
        volume=volume,
        vwap=turnover / volume if volume else ZERO,
    )


def mid(ticker: wire.BookTicker) -> Decimal | None:
    """Halfway between bid and offer; None where one of them is missing."""
    bid, ask = _number(ticker.bid_price), _number(ticker.ask_price)
    return (bid + ask) / 2 if bid and ask else None


def _pair(base: str, quote: str = QUOTE) -> InstrumentID:
    try:
        return parse_instrument(f"{base}/{quote}")
    except ValueError as error:
        raise ProtocolError(str(error), base.encode()) from None


def _instrument(symbols: Symbols, symbol: str) -> InstrumentID:
    return _word(symbols, symbol, "symbol")


def _word(table: Mapping[str, _Word], word: str, what: str) -> _Word:
    try:
        return table[word]
    except KeyError:
        raise ProtocolError(f"Binance sent a {what} that this version does not know", word.encode()) from None


def _ord_type(word: str, trailing_delta: int | None) -> OrdType:
    return OrdType.TRAILING_STOP if trailing_delta and word in _MARKET_STOPS else _word(_ORD_TYPE, word, "order type")


def _trail_pct(trailing_delta: int | None) -> Decimal | None:
    return trailing_delta * BASIS_POINT if trailing_delta else None


def _exec_id(trade_id: int) -> ExecID:
    """Unique in its symbol, and so in its order."""
    if trade_id < 0:
        raise ProtocolError("an execution without an id", str(trade_id).encode())
    return ExecID(str(trade_id))


def _number(text: str) -> Decimal:
    try:
        return parse_decimal(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None


def _price(text: str) -> Decimal | None:
    """0 stands for none."""
    return _number(text) or None


def _positive(text: str | None, what: str) -> Decimal:
    value = None if text is None else _number(text)
    if value is None or value <= 0:
        raise ProtocolError(f"a {what} that is not above zero", str(text).encode())
    return value


def _time(time_ms: int) -> int:
    if time_ms <= 0:
        raise ProtocolError("a message without a time", str(time_ms).encode())
    return time_ms * _MS
