"""Alpaca's messages and ours: one function a message, named encode_x and decode_x. Every word is in a table or refused."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import TypeVar
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from trading_system.brokers.alpaca import wire
from trading_system.brokers.alpaca.facts import (
    CRYPTO_MIN_NOTIONAL,
    EQUITY_LOT,
    EQUITY_TICKS,
    NAME,
    NOTIONAL_STEP,
    OPTION_TICKS,
    PAGES,
    PAPER_ACCOUNT_PREFIX,
)
from trading_system.domain.account import AccountSnapshot, Flow, FlowKind, Position
from trading_system.domain.errors import ProtocolError
from trading_system.domain.event import AccountActivity, AccountEvent
from trading_system.domain.fix import Contingency, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import ALWAYS, Hours, MarketClock, MarketState, Window
from trading_system.domain.ids import ClOrdID, ExecID, InstrumentID, OrderID, parse_instrument
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ONE, ZERO, bounded, parse_decimal, plain, round_qty
from trading_system.domain.news import NewsItem
from trading_system.domain.option import Contract, Greeks, OptionSnapshot, Right, parse_occ, underlying_of
from trading_system.domain.order import Approved, Attached, Leg, NewOrder
from trading_system.domain.portfolio import EquityPoint, PortfolioHistory
from trading_system.domain.report import ExecutionReport
from trading_system.domain.search import Match
from trading_system.domain.times import NS, parse_rfc3339

_SIDE = {"buy": Side.BUY, "sell": Side.SELL, "sell_short": Side.SELL}
_ORD_TYPE = {
    "market": OrdType.MARKET,
    "limit": OrdType.LIMIT,
    "stop": OrdType.STOP,
    "stop_limit": OrdType.STOP_LIMIT,
    "trailing_stop": OrdType.TRAILING_STOP,
}
_TIF = {
    "day": TimeInForce.DAY,
    "gtc": TimeInForce.GTC,
    "ioc": TimeInForce.IOC,
    "fok": TimeInForce.FOK,
    "opg": TimeInForce.AT_THE_OPENING,
    "cls": TimeInForce.AT_THE_CLOSE,
}
_ASSET_CLASS = {"us_equity": AssetClass.EQUITY, "crypto": AssetClass.CRYPTO, "us_option": AssetClass.OPTION}
_RIGHT = {"call": Right.CALL, "put": Right.PUT}
_STATUS = {
    "pending_new": OrdStatus.PENDING_NEW,
    "accepted": OrdStatus.PENDING_NEW,
    "pending_review": OrdStatus.PENDING_NEW,
    "held": OrdStatus.SUSPENDED,
    "suspended": OrdStatus.SUSPENDED,
    "new": OrdStatus.NEW,
    "accepted_for_bidding": OrdStatus.NEW,
    "stopped": OrdStatus.NEW,  # a trade is guaranteed and not yet done: still live for us
    "partially_filled": OrdStatus.PARTIALLY_FILLED,
    "done_for_day": OrdStatus.DONE_FOR_DAY,
    "calculated": OrdStatus.DONE_FOR_DAY,  # settlement pending; filled_qty says the rest
    "pending_cancel": OrdStatus.PENDING_CANCEL,
    "pending_replace": OrdStatus.PENDING_REPLACE,
    "filled": OrdStatus.FILLED,
    "canceled": OrdStatus.CANCELED,
    "expired": OrdStatus.EXPIRED,
    "rejected": OrdStatus.REJECTED,
    "replaced": OrdStatus.REPLACED,
}
_EVENT = {
    "pending_new": ExecType.PENDING_NEW,
    "accepted": ExecType.PENDING_NEW,
    "new": ExecType.NEW,
    "fill": ExecType.TRADE,
    "partial_fill": ExecType.TRADE,
    "trade_bust": ExecType.TRADE_CANCEL,
    "trade_correct": ExecType.TRADE_CORRECT,
    "held": ExecType.SUSPENDED,
    "suspended": ExecType.SUSPENDED,
    "done_for_day": ExecType.DONE_FOR_DAY,
    "pending_cancel": ExecType.PENDING_CANCEL,
    "canceled": ExecType.CANCELED,
    "order_cancel_rejected": ExecType.CANCEL_REJECTED,
    "pending_replace": ExecType.PENDING_REPLACE,
    "replaced": ExecType.REPLACED,
    "order_replace_rejected": ExecType.REPLACE_REJECTED,
    "expired": ExecType.EXPIRED,
    "rejected": ExecType.REJECTED,
    "calculated": ExecType.ORDER_STATUS,
    "stopped": ExecType.ORDER_STATUS,
    "restated": ExecType.ORDER_STATUS,
}
_EXECUTED = {"fill": ExecType.TRADE, "trade_correct": ExecType.TRADE_CORRECT, "trade_bust": ExecType.TRADE_CANCEL}
# Source: docs.alpaca.markets, the schema ActivityType. A type that is not here is new: UNKNOWN, so that its money still counts.
_FLOW = {
    **dict.fromkeys(("TRANS", "CSD", "CSW", "JNL", "JNLC", "JNLS", "ACATC", "ACATS", "FOPT", "OCT"), FlowKind.TRANSFER),
    **dict.fromkeys(("DIV", "DIVCGL", "DIVCGS", "DIVFT", "DIVNRA", "DIVROC", "DIVTW", "DIVTXEX", "CGD"), FlowKind.INCOME),
    **dict.fromkeys(("INT", "INTNRA", "INTTW", "PTR"), FlowKind.INCOME),
    **dict.fromkeys(("FEE", "CFEE", "DIVFEE", "PTC"), FlowKind.FEE),
    **dict.fromkeys(("MA", "NC", "REORG", "SPIN", "SPLIT", "OPCA"), FlowKind.CORPORATE_ACTION),
    **dict.fromkeys(("OPASN", "OPCSH", "OPEXC", "OPEXP", "OPTRD"), FlowKind.SETTLEMENT),
}
_MOVES_UNITS = (FlowKind.TRANSFER, FlowKind.CORPORATE_ACTION, FlowKind.SETTLEMENT)
MULTILEG = "mleg"
_LEG_TYPE = OrdType.LIMIT.value  # a leg's row that stands alone says none
LINKED = ("bracket", "oco", "oto")  # classes whose orders come with others
_QUOTES = ("USDT", "USDC", "USD", "BTC")  # what Alpaca's crypto is priced in, longest first: positions lose the slash of BTC/USD
_Word = TypeVar("_Word")
_NEW_YORK = ZoneInfo("America/New_York")


def encode_order(approved: Approved) -> wire.OrderRequest:
    """The body of a submit. Numbers leave as plain strings. The take-profit of an OCO is the order itself.

    Source: docs.alpaca.markets/docs/orders-at-alpaca (bracket, OCO, OTO, trailing stop)
    """
    request = approved.request
    exit_ = request.contingency is Contingency.OCO
    if request.legs:
        return wire.OrderRequest(
            qty=_sent(request.order_qty),
            type=request.ord_type.value,
            time_in_force=request.time_in_force.value,
            limit_price=_sent(request.price),
            order_class=MULTILEG,
            legs=[_leg(leg, opens=opens) for leg, opens in zip(request.legs, approved.opens, strict=True)],
            client_order_id=approved.cl_ord_id,
        )
    return wire.OrderRequest(
        symbol=approved.symbol,
        qty=None if request.order_qty is None else plain(request.order_qty),
        notional=None if request.cash_order_qty is None else plain(round_qty(request.cash_order_qty, NOTIONAL_STEP)),
        side=request.side.value,
        type=request.ord_type.value,
        time_in_force=request.time_in_force.value,
        limit_price=_sent(None if exit_ else request.price),
        stop_price=_sent(request.stop_px),
        trail_price=_sent(request.trail_px),
        trail_percent=_sent(_percent(request.trail_pct)),
        order_class=None if request.attached is None else request.contingency.value,
        take_profit=_take_profit(request),
        stop_loss=_stop_loss(request.attached),
        extended_hours=True if request.extended_hours else None,
        client_order_id=approved.cl_ord_id,
    )


def encode_replace(approved: Approved) -> wire.ReplaceRequest:
    """The body of a replace: the whole of what the order shall be, under the new intent's id. Of linked orders only prices change."""
    request = approved.request
    linked = request.attached is not None or request.parent is not None
    return wire.ReplaceRequest(
        qty=None if linked else _sent(request.order_qty),
        limit_price=_sent(request.price),
        stop_price=_sent(request.stop_px),
        trail=_sent(request.trail_px or _percent(request.trail_pct)),
        client_order_id=approved.cl_ord_id,
    )


def _leg(leg: Leg, *, opens: bool) -> wire.LegRequest:
    intent = f"{leg.side.value}_to_{'open' if opens else 'close'}"
    return wire.LegRequest(symbol=leg.instrument, ratio_qty=str(leg.ratio_qty), side=leg.side.value, position_intent=intent)


def _take_profit(request: NewOrder) -> wire.TakeProfit | None:
    if request.attached is None:
        return None
    price = request.price if request.contingency is Contingency.OCO else request.attached.take_profit_px
    return None if price is None else wire.TakeProfit(limit_price=plain(price))


def _stop_loss(attached: Attached | None) -> wire.StopLoss | None:
    return (
        None
        if attached is None or attached.stop_px is None
        else wire.StopLoss(stop_price=plain(attached.stop_px), limit_price=_sent(attached.stop_limit_px))
    )


def _sent(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _percent(fraction: Decimal | None) -> Decimal | None:
    return None if fraction is None else fraction * 100


def decode_order(order: wire.Order, recv_ns: int, exec_type: ExecType = ExecType.ORDER_STATUS) -> ExecutionReport:
    """How an order stands, and the orders that Alpaca made for it, where the answer nests them. Quantities in units, prices in the quote currency.

    Raises: ProtocolError: a status, type, side or asset class we do not know.
    Source: docs.alpaca.markets/docs/orders-at-alpaca (statuses)
    """
    return _decode_whole(order, recv_ns, exec_type) if is_whole(order) else _decode_one(order, recv_ns, exec_type)


def is_whole(order: wire.Order) -> bool:
    """Whether a row is a multileg order's, not one of its legs'."""
    return order.order_class == MULTILEG and not order.symbol


def _decode_whole(order: wire.Order, recv_ns: int, exec_type: ExecType) -> ExecutionReport:
    """A multileg order is bought as a whole, about what its options are about; its legs' rows leave out what the whole's says."""
    if not order.legs:
        raise ProtocolError("a multileg order without its legs", order.id.encode())
    rows = [replace(leg, type=order.type, time_in_force=order.time_in_force, order_class=MULTILEG) for leg in order.legs]
    children = tuple(_decode_one(row, recv_ns, ExecType.ORDER_STATUS) for row in rows)
    legs = tuple(Leg(child.instrument, child.side, int(_positive(row.ratio_qty, "ratio_qty"))) for child, row in zip(children, rows, strict=True))
    about = underlying_of(legs[0].instrument)
    whole = replace(order, symbol=about, asset_class="us_equity", side=Side.BUY.value, legs=None)
    return replace(_decode_one(whole, recv_ns, exec_type), legs=legs, children=children)


def _decode_one(order: wire.Order, recv_ns: int, exec_type: ExecType) -> ExecutionReport:
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID(order.client_order_id),
        order_id=OrderID(order.id),
        exec_type=exec_type,
        ord_status=_word(_STATUS, order.status, "order status"),
        instrument=instrument_id(order.symbol, order.asset_class),
        side=_word(_SIDE, order.side, "side"),
        ord_type=_word(_ORD_TYPE, order.type or (_LEG_TYPE if order.order_class == MULTILEG else ""), "order type"),
        time_in_force=_word(_TIF, order.time_in_force, "time in force"),
        order_qty=_optional(order.qty),
        cash_order_qty=_optional(order.notional),
        price=_optional(order.limit_price),
        stop_px=_optional(order.stop_price),
        trail_px=_optional(order.trail_price),
        trail_pct=None if order.trail_percent is None else _number(order.trail_percent) / 100,
        children=tuple(decode_order(leg, recv_ns) for leg in order.legs or ()) if order.order_class in LINKED else (),
        cum_qty=_number(order.filled_qty),
        replaced_by=None if order.replaced_by is None else OrderID(order.replaced_by),
        replaces=None if order.replaces is None else OrderID(order.replaces),
        transact_ns=_time(order.updated_at or order.submitted_at or order.created_at),
        recv_ns=recv_ns,
    )


def decode_trade_update(update: wire.TradeUpdate, recv_ns: int) -> ExecutionReport:
    """One event of the orders stream.

    Raises: ProtocolError: an event we do not know, or an execution without id, quantity or price.
    Source: docs.alpaca.markets/docs/websocket-streaming
    """
    exec_type = _word(_EVENT, update.event, "event")
    if exec_type is ExecType.TRADE and is_whole(update.order):
        exec_type = ExecType.ORDER_STATUS  # the executions are its legs'
    report = decode_order(update.order, recv_ns, exec_type)
    fields: dict[str, object] = {"transact_ns": _time(update.timestamp or update.at or update.order.updated_at)}
    if exec_type in (ExecType.TRADE, ExecType.TRADE_CANCEL, ExecType.TRADE_CORRECT):
        if update.execution_id is None:
            raise ProtocolError(f"a {update.event} without execution_id", update.order.id.encode())
        fields |= {
            "exec_id": ExecID(update.execution_id),
            "exec_ref_id": None if update.previous_execution_id is None else ExecID(update.previous_execution_id),
        }
    if exec_type in (ExecType.TRADE, ExecType.TRADE_CORRECT):
        fields |= {"last_qty": _positive(update.qty, "qty"), "last_px": _positive(update.price, "price")}
    return replace(report, **fields)


def decode_trade_event(event: wire.TradeEvent, recv_ns: int) -> AccountEvent:
    """One server-sent event of an order, with whose it is.

    Source: docs.alpaca.markets/reference/subscribetotradev2sse
    """
    return AccountEvent(account=event.account_id or "", event_id=event.event_id or "", report=decode_trade_update(event, recv_ns))


def decode_activity_event(event: wire.ActivityEvent, recv_ns: int) -> AccountActivity:
    """One server-sent event of what was booked on an account. A trade is what has an execution_type; any other type is shown as what it is.

    Raises: ProtocolError: an execution_type, side or order status that we do not know, a trade without its instrument, quantity or price.
    Source: the schema ActivityEventV2 of Alpaca's broker OpenAPI file
    """
    booked = AccountActivity(
        broker=NAME,
        account=event.account_id or "",
        event_id=event.event_id,
        activity_type=event.activity_type,
        activity_subtype=event.activity_subtype or "",
        status=event.status,
        ref_id=event.ref_id,
        previous_id=event.previous_id or None,
        instrument=_flow_instrument(event.details.symbol),
        qty=_optional(event.qty),
        price=_optional(event.price),
        amount=_optional(event.net_amount),
        currency=event.currency,
        settle_date=_day(event.settle_date),
        text=_about(event.details),
        transact_ns=_time(event.executed_at),
        recv_ns=recv_ns,
    )
    return booked if event.details.execution_type is None else _traded(booked, event)


def _traded(booked: AccountActivity, event: wire.ActivityEvent) -> AccountActivity:
    details = event.details
    if booked.instrument is None:
        raise ProtocolError("a trade of nothing that we can name", str(details.symbol).encode())
    return replace(
        booked,
        exec_type=_word(_EXECUTED, details.execution_type or "", "execution type"),
        order_id=OrderID(details.order_id) if details.order_id else None,
        cl_ord_id=ClOrdID(details.client_order_id) if details.client_order_id else None,
        ord_status=_word(_STATUS, details.order_status, "order status") if details.order_status else None,
        side=_word(_SIDE, details.side or "", "side"),
        qty=_positive(event.qty, "qty"),
        price=_positive(event.price, "price"),
    )


def _about(details: wire.ActivityDetails) -> str:
    """What ties an activity to others: names that change, the entries of one exercise, the trade that a fee is for."""
    before, after = details.old_symbol or details.source_symbol, details.new_symbol
    words = {
        f"{before} to {after}": before and after,
        f"group {details.group_id}": details.group_id,
        f"for {details.parent_id}": details.parent_id,
        f"commission {details.commission}": _optional(details.commission),
    }
    return ", ".join(text for text, said in words.items() if said)


def decode_fill(activity: wire.Activity, order: wire.Order, recv_ns: int) -> ExecutionReport:
    """One FILL activity, with the row of its order, which may be older. Its id is TIME::EXECUTION; the part after the colons is the stream's
    execution_id.

    Source: docs.alpaca.markets/docs/account-activities
    """
    cum_qty = _positive(activity.cum_qty, "cum_qty")
    return replace(
        decode_order(order, recv_ns, ExecType.TRADE),
        exec_id=ExecID(activity.id.rpartition("::")[2]),
        last_qty=_positive(activity.qty, "qty"),
        last_px=_positive(activity.price, "price"),
        cum_qty=cum_qty,
        ord_status=OrdStatus.FILLED if activity.type == "fill" else OrdStatus.PARTIALLY_FILLED,
        children=(),
        transact_ns=_time(activity.transaction_time),
    )


def decode_flow(activity: wire.Activity) -> Flow:
    """One activity that is no fill. A CFEE moves nothing by itself: the coins or the money left with the fill it is about.

    Source: docs.alpaca.markets/docs/account-activities
    """
    amount = _optional(activity.net_amount) or ZERO
    qty = _optional(activity.qty) or ZERO
    text = " ".join(filter(None, (activity.activity_type, activity.activity_sub_type, activity.symbol, activity.description)))
    if activity.activity_type == "CFEE":
        text, amount, qty = f"{text}, {plain(amount)} USD, {plain(qty)} units", ZERO, ZERO
    kind = _FLOW.get(activity.activity_type, FlowKind.UNKNOWN)
    return Flow(
        broker=NAME,
        flow_id=activity.id,
        kind=kind,
        currency=activity.currency or "USD",
        amount=amount,
        instrument=_flow_instrument(activity.symbol) if kind in _MOVES_UNITS else None,
        qty=qty if kind is FlowKind.TRANSFER else ZERO,
        canceled=activity.status == "canceled",
        text=text,
        transact_ns=_time(activity.created_at or f"{(activity.date or '')[:10]}T00:00:00Z"),
    )


def _flow_instrument(symbol: str | None) -> InstrumentID | None:
    """The symbol of a flow, which may be one that nobody trades. Crypto comes without its slash, and no stock's symbol is that long."""
    asset_class = "crypto" if symbol and len(symbol) > 5 and symbol.endswith(_QUOTES) else "us_equity"
    try:
        return instrument_id(symbol, asset_class) if symbol else None
    except ProtocolError:
        return None


def decode_account(account: wire.Account, positions: Iterable[wire.Position], recv_ns: int, *, suspended: bool = False) -> AccountSnapshot:
    """Account and positions as one snapshot. Alpaca's equity includes unrealised P&L; the account number proves the kind."""
    blocks = {
        "the account is not ACTIVE but " + account.status: account.status != "ACTIVE",
        "trading_blocked": bool(account.trading_blocked),
        "account_blocked": bool(account.account_blocked),
        "trade_suspended_by_user": bool(account.trade_suspended_by_user) or suspended,
    }
    blocked = ", ".join(name for name, holds in blocks.items() if holds)
    equity = _number(account.equity)
    return AccountSnapshot(
        broker=NAME,
        account=account.account_number,
        environment="paper" if account.account_number.startswith(PAPER_ACCOUNT_PREFIX) else "live",
        currency=account.currency or "USD",
        equity=equity,
        last_equity=equity if account.last_equity is None else _number(account.last_equity),
        cash=_number(account.cash),
        buying_power=_number(account.buying_power),
        positions=tuple(_position(position) for position in positions),
        tradable=not blocked,
        text=f"Alpaca blocks trading: {blocked}; see {PAGES['status']} and the account's page" if blocked else "",
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def _position(position: wire.Position) -> Position:
    return Position(
        instrument=instrument_id(position.symbol, position.asset_class),
        qty=_number(position.qty),
        avg_px=_number(position.avg_entry_price),
        mark_px=_optional(position.current_price),
        unrealized_pnl=_optional(position.unrealized_pl) or ZERO,
    )


def decode_portfolio(history: wire.PortfolioHistory) -> PortfolioHistory:
    """Alpaca's columns as points; a window from before the account had money is left out.

    Raises: ProtocolError: columns of different lengths.
    """
    columns = (history.timestamp, history.equity, history.profit_loss, history.profit_loss_pct)
    if len({len(column) for column in columns}) != 1:
        raise ProtocolError(f"a portfolio history whose columns have {[len(column) for column in columns]} rows")
    points = tuple(
        EquityPoint(at * NS, _size(equity), _size(gain or ZERO), _size(pct or ZERO))
        for at, equity, gain, pct in zip(*columns, strict=True)
        if equity is not None
    )
    base = None if history.base_value is None else _size(history.base_value)
    return PortfolioHistory(broker=NAME, timeframe=history.timeframe, base_value=base, points=points)


def decode_match(asset: wire.Asset) -> Match:
    return Match(
        instrument=instrument_id(asset.symbol, asset.asset_class),
        asset_class=_word(_ASSET_CLASS, asset.asset_class, "asset class"),
        symbol=asset.symbol,
        title=asset.name or "",
    )


def decode_asset(asset: wire.Asset, stock_hours: Hours, choices: wire.AccountConfigurations | None = None) -> Instrument:
    """An asset with its grid, under what the owner allows on Alpaca's page (fractions, shorts).

    Raises: ProtocolError: an asset class that this version does not trade.
    """
    asset_class = _word(_ASSET_CLASS, asset.asset_class, "asset class")
    symbol = instrument_id(asset.symbol, asset.asset_class)
    if asset_class is AssetClass.CRYPTO:
        base, _, currency = symbol.partition("/")
        lot = _optional(asset.min_trade_increment) or EQUITY_LOT
        return Instrument(
            id=symbol,
            broker=NAME,
            symbol=asset.symbol,
            asset_class=asset_class,
            base=base,
            currency=currency,
            ticks=(TickBand(ZERO, _optional(asset.price_increment) or EQUITY_LOT),),
            lot=lot,
            whole_lot=lot,
            min_qty=_optional(asset.min_order_size) or lot,
            min_notional=CRYPTO_MIN_NOTIONAL,
            hours=ALWAYS,
            tradable=asset.tradable and asset.status == "active",
        )
    fractions = bool(asset.fractionable) and (choices is None or choices.fractional_trading)
    shorts = bool(asset.shortable) and (choices is None or not choices.no_shorting)
    return Instrument(
        id=symbol,
        broker=NAME,
        symbol=asset.symbol,
        asset_class=asset_class,
        base=symbol,
        currency="USD",
        ticks=EQUITY_TICKS,
        lot=EQUITY_LOT if fractions else ONE,
        whole_lot=ONE,
        min_notional=ONE if fractions else ZERO,
        hours=stock_hours,
        tradable=asset.tradable and asset.status == "active",
        shortable=shorts and asset.borrow_status in (None, "easy_to_borrow"),
        marginable=bool(asset.marginable),
    )


def decode_contract(contract: wire.OptionContract, hours: Hours) -> Instrument:
    """An option with its grid. It trades in its underlying's regular hours.

    Raises: ProtocolError: a right, strike or day that does not fit its symbol.
    Source: docs.alpaca.markets/docs/options-trading
    """
    symbol = instrument_id(contract.symbol, "us_option")
    known = _contract(symbol)
    said = (contract.expiration_date, _word(_RIGHT, contract.type, "right"), _number(contract.strike_price))
    if (known.expiry.isoformat(), known.right, known.strike) != said:
        raise ProtocolError(f"an option that is not what its symbol {symbol} says", repr(said).encode())
    return Instrument(
        id=symbol,
        broker=NAME,
        symbol=contract.symbol,
        asset_class=AssetClass.OPTION,
        base=contract.underlying_symbol,
        currency="USD",
        ticks=OPTION_TICKS,
        lot=ONE,
        whole_lot=ONE,
        multiplier=_positive(contract.multiplier, "multiplier"),
        hours=replace(hours, extended=()),
        tradable=contract.tradable and contract.status == "active",
        contract=known,
    )


def decode_snapshot(symbol: str, snapshot: wire.OptionSnapshot, recv_ns: int) -> OptionSnapshot:
    """One line of a chain."""
    instrument = instrument_id(symbol, "us_option")
    greeks = snapshot.greeks
    return OptionSnapshot(
        contract=_contract(instrument),
        instrument=instrument,
        quote=None if snapshot.latestQuote is None else decode_quote(snapshot.latestQuote, instrument, recv_ns),
        implied_volatility=snapshot.impliedVolatility,
        greeks=None if greeks is None else Greeks(**{name: getattr(greeks, name) for name in ("delta", "gamma", "theta", "vega", "rho")}),
    )


def _contract(symbol: InstrumentID) -> Contract:
    try:
        return parse_occ(symbol)
    except ValueError as error:
        raise ProtocolError(str(error), symbol.encode()) from None


def decode_calendar(days: Sequence[wire.CalendarDay], known_until_ns: int) -> Hours:
    """Sessions in New York time; open is written 09:30, session_open 0400."""
    return Hours(
        windows=tuple(Window(_new_york(day.date, day.open), _new_york(day.date, day.close)) for day in days),
        extended=tuple(
            Window(_new_york(day.date, day.session_open or day.open), _new_york(day.date, day.session_close or day.close)) for day in days
        ),
        known_until_ns=known_until_ns,
    )


def decode_quote(quote: wire.Quote, instrument: InstrumentID, recv_ns: int) -> Quote:
    """A price of 0 means that nobody quotes that side."""
    return Quote(
        instrument=instrument,
        bid_px=_price(quote.bp),
        bid_qty=_size(quote.bs),
        ask_px=_price(quote.ap),
        ask_qty=_size(quote.as_),
        transact_ns=_time(quote.t),
        recv_ns=recv_ns,
    )


def decode_trade(trade: wire.Trade, instrument: InstrumentID, recv_ns: int) -> Trade:
    return Trade(
        instrument=instrument,
        price=_size(trade.p),
        qty=_size(trade.s),
        trade_id="" if trade.i is None else str(trade.i),
        transact_ns=_time(trade.t),
        recv_ns=recv_ns,
    )


def decode_bar(bar: wire.Bar, instrument: InstrumentID, period_ns: int) -> Bar:
    return Bar(
        instrument=instrument,
        open_ns=_time(bar.t),
        period_ns=period_ns,
        open=_size(bar.o),
        high=_size(bar.h),
        low=_size(bar.l),
        close=_size(bar.c),
        volume=_size(bar.v),
        vwap=ZERO if bar.vw is None else _size(bar.vw),
    )


def decode_news(article: wire.NewsArticle | wire.NewsMsg) -> NewsItem:
    """Somebody else's text: entities are resolved, and nothing in it can move a terminal's cursor."""
    return NewsItem(
        news_id=str(article.id),
        headline=_readable(article.headline),
        summary=_readable(article.summary),
        source=_readable(article.source),
        author=_readable(article.author),
        symbols=tuple(_readable(symbol) for symbol in article.symbols),
        url=_readable(article.url or ""),
        created_ns=_time(article.created_at),
        updated_ns=_time(article.updated_at),
    )


def _readable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in unescape(text)).strip()


def instrument_id(symbol: str, asset_class: str) -> InstrumentID:
    """Our spelling of Alpaca's symbol. Raises ProtocolError: an asset class that this version does not trade."""
    if _word(_ASSET_CLASS, asset_class, "asset class") is AssetClass.CRYPTO and "/" not in symbol:
        currency = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), None)
        if currency is None:
            raise ProtocolError("a crypto symbol in no currency we know", symbol.encode())
        symbol = f"{symbol.removesuffix(currency)}/{currency}"
    try:
        return parse_instrument(symbol)
    except ValueError as error:
        raise ProtocolError(str(error), symbol.encode()) from None


def _word(table: Mapping[str, _Word], word: str, what: str) -> _Word:
    try:
        return table[word]
    except KeyError:
        raise ProtocolError(f"Alpaca sent a {what} that this version does not know", word.encode()) from None


def _number(text: str) -> Decimal:
    try:
        return parse_decimal(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None


def _optional(text: str | None) -> Decimal | None:
    return None if text is None or text == "" else _number(text)


def _positive(text: str | None, what: str) -> Decimal:
    value = _optional(text)
    if value is None or value <= 0:
        raise ProtocolError(f"an execution whose {what} is not above zero", str(text).encode())
    return value


def _size(value: Decimal) -> Decimal:
    try:
        return bounded(value)
    except ValueError as error:
        raise ProtocolError(str(error)) from None


def _price(value: Decimal) -> Decimal | None:
    return _size(value) if value else None


def _time(text: str | None) -> int:
    if text is None:
        raise ProtocolError("a message without a time")
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None


def _new_york(day_text: str, clock: str) -> int:
    """24:00 and 2400 are the next midnight: some calendars say so."""
    hours, minutes = int(clock[:2]), int(clock[-2:])
    try:
        day = datetime.fromisoformat(day_text).replace(tzinfo=_NEW_YORK)
    except ValueError as error:
        raise ProtocolError(str(error), day_text.encode()) from None
    return int((day.replace(hour=hours % 24, minute=minutes) + timedelta(days=hours // 24)).timestamp()) * NS


def decode_clock(clock: wire.Clock) -> MarketClock:
    """Whether the regular session runs; of what is before and after it Alpaca's clock says nothing.

    Source: docs.alpaca.markets, Get Market Clock info
    """
    state, after = (MarketState.OPEN, MarketState.CLOSED) if clock.is_open else (MarketState.CLOSED, MarketState.OPEN)
    next_ns, now_ns = _time(clock.next_close if clock.is_open else clock.next_open), _time(clock.timestamp)
    return MarketClock(state=state, next_state=after, next_ns=next_ns, text="", transact_ns=now_ns)


def day_of(clock: wire.Clock) -> date:
    """New York's date at the broker's own clock."""
    return datetime.fromtimestamp(_time(clock.timestamp) // NS, _NEW_YORK).date()
