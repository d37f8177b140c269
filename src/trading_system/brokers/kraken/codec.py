"""Kraken's messages and ours: one function a message, named encode_x and decode_x. Every word is in a table or refused."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from trading_system.brokers.kraken import wire
from trading_system.brokers.kraken.facts import NAME, QUOTE, RENAMED
from trading_system.domain.account import AccountSnapshot, Flow, FlowKind, Position
from trading_system.domain.errors import ProtocolError, Rejected
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import ALWAYS
from trading_system.domain.ids import ClOrdID, ExecID, InstrumentID, OrderID, parse_instrument
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ONE, ZERO, bounded, parse_decimal, plain, round_qty
from trading_system.domain.order import Approved, NewOrder
from trading_system.domain.report import ExecutionReport
from trading_system.domain.times import NS, parse_rfc3339, rfc3339

_SIDE = {"buy": Side.BUY, "sell": Side.SELL}
_ORD_TYPE = {  # what a hand may have placed on Kraken's page stands beside its nearest relative of ours: it is counted, never sent
    "market": OrdType.MARKET,
    "limit": OrdType.LIMIT,
    "iceberg": OrdType.LIMIT,
    "stop-loss": OrdType.STOP,
    "take-profit": OrdType.STOP,
    "stop-loss-limit": OrdType.STOP_LIMIT,
    "take-profit-limit": OrdType.STOP_LIMIT,
    "trailing-stop": OrdType.TRAILING_STOP,
    "trailing-stop-limit": OrdType.TRAILING_STOP,
    "settle-position": OrdType.MARKET,
}
_ORDERTYPE = {
    OrdType.MARKET: "market",
    OrdType.LIMIT: "limit",
    OrdType.STOP: "stop-loss",
    OrdType.STOP_LIMIT: "stop-loss-limit",
    OrdType.TRAILING_STOP: "trailing-stop",
}
_TIF = {"gtc": TimeInForce.GTC, "ioc": TimeInForce.IOC, "fok": TimeInForce.FOK, "gtd": TimeInForce.GTC}  # gtd works until it is over, as gtc does
_STATUS = {  # REST's: open says nothing of fills, closed is filled
    "pending": OrdStatus.PENDING_NEW,
    "open": OrdStatus.NEW,
    "closed": OrdStatus.FILLED,
    "canceled": OrdStatus.CANCELED,
    "expired": OrdStatus.EXPIRED,
}
_ORDER_STATUS = {  # the stream's
    "pending_new": OrdStatus.PENDING_NEW,
    "new": OrdStatus.NEW,
    "triggered": OrdStatus.NEW,
    "partially_filled": OrdStatus.PARTIALLY_FILLED,
    "filled": OrdStatus.FILLED,
    "canceled": OrdStatus.CANCELED,
    "expired": OrdStatus.EXPIRED,
}
_EXEC_TYPE = {
    "pending_new": ExecType.PENDING_NEW,
    "new": ExecType.NEW,
    "trade": ExecType.TRADE,
    "filled": ExecType.ORDER_STATUS,  # the trades before it have said what happened
    "iceberg_refill": ExecType.ORDER_STATUS,
    "canceled": ExecType.CANCELED,
    "expired": ExecType.EXPIRED,
    "amended": ExecType.ORDER_STATUS,  # the connector tells of an amend of ours as two orders
    "restated": ExecType.ORDER_STATUS,
    "status": ExecType.ORDER_STATUS,
}
TRADE = "trade"  # a ledger type: fills, which are told of as such
_FLOW = {
    **dict.fromkeys(("deposit", "withdrawal", "transfer", "receive", "spend", "sale", "conversion", "credit", "nfttrade"), FlowKind.TRANSFER),
    **dict.fromkeys(("staking", "reward", "dividend", "earn", "custodytransfer", "nftrebate"), FlowKind.INCOME),
    **dict.fromkeys(("margin", "rollover", "settled", "nftcreatorfee"), FlowKind.FEE),
}
_STORED = ("S", "M", "B", "P", "T", "HOLD")  # suffixes of what is staked, parked or on hold: not there to be traded
_Word = TypeVar("_Word")

# -- names -----------------------------------------------------------------------------------------------------------------------------------------


class Names(msgspec.Struct, frozen=True):
    """Kraken's three spellings and ours. Joined through Assets and AssetPairs, never by slicing: XXBT, XBT and BTC are one coin."""

    coins: Mapping[str, str]  # asset key or altname -> as we write it
    pairs: Mapping[InstrumentID, wire.AssetPair]
    instruments: Mapping[str, InstrumentID]  # pair key, altname, wsname or stream symbol -> ours
    keys: Mapping[InstrumentID, str]  # ours -> pair key, under which answers come

    def instrument(self, name: str) -> InstrumentID:
        """Raises ProtocolError: a pair that AssetPairs does not list."""
        try:
            return self.instruments[name]
        except KeyError:
            raise ProtocolError("Kraken names a pair that it does not list", name.encode()) from None

    def coin(self, asset: str) -> tuple[str, str]:
        """A coin as we write it, and the suffix that says what it is held as."""
        name, _, suffix = asset.partition(".")
        return self.coins.get(name, RENAMED.get(name, name)), suffix


def decode_names(assets: Mapping[str, wire.Asset], pairs: Mapping[str, wire.AssetPair]) -> Names:
    """The tables that everything else is read with. Pairs without a stream's name (dark pools) and names that we cannot write are left out."""
    coins = {name: RENAMED.get(asset.altname, asset.altname) for key, asset in assets.items() for name in (key, asset.altname)}
    found: dict[InstrumentID, wire.AssetPair] = {}
    instruments: dict[str, InstrumentID] = {}
    keys: dict[InstrumentID, str] = {}
    for key, pair in pairs.items():
        if pair.wsname is None or pair.altname.endswith(".d"):
            continue
        symbol = "/".join(RENAMED.get(part, part) for part in pair.wsname.split("/"))
        try:
            instrument = parse_instrument(symbol)
        except ValueError:
            continue
        found[instrument], keys[instrument] = pair, key
        instruments |= dict.fromkeys((key, pair.altname, pair.wsname, symbol), instrument)
    return Names(coins, found, instruments, keys)


def decode_pair(instrument: InstrumentID, pair: wire.AssetPair) -> Instrument:
    """A pair with its grid. Where tick_size is missing, the decimals say the step; a missing minimum is none."""
    base, _, currency = instrument.partition("/")
    lot = ONE.scaleb(-pair.lot_decimals)
    tick = ONE.scaleb(-pair.pair_decimals) if pair.tick_size is None else _positive(pair.tick_size, "tick_size")
    return Instrument(
        id=instrument,
        broker=NAME,
        symbol=instrument,
        asset_class=AssetClass.CRYPTO,
        base=base,
        currency=currency,
        ticks=(TickBand(ZERO, tick),),
        lot=lot,
        whole_lot=lot,
        min_qty=_number(pair.ordermin) if pair.ordermin else ZERO,
        min_notional=_number(pair.costmin) if pair.costmin else ZERO,
        hours=ALWAYS,
        tradable=pair.status in (None, "online"),
    )


# -- orders, outward -------------------------------------------------------------------------------------------------------------------------------


def encode_order(approved: Approved, pair: wire.AssetPair) -> dict[str, str]:
    """The form of AddOrder. A market order has no time in force; an amount of money is volume in the quote currency (viqc).

    Raises: Rejected: an amount to sell, which Kraken takes for buys alone.
    Source: docs.kraken.com/api/docs/rest-api/add-order
    """
    request = approved.request
    form = {
        "ordertype": _ORDERTYPE[request.ord_type],
        "type": request.side.value,
        "pair": pair.altname,
        "cl_ord_id": approved.cl_ord_id,
        "oflags": "fciq",
    }
    if request.order_qty is not None:
        form["volume"] = plain(request.order_qty)
    else:
        form |= {"volume": _cash(request, pair), "oflags": "fciq,viqc"}
    if request.ord_type is not OrdType.MARKET:
        form["timeinforce"] = request.time_in_force.value.upper()
    return form | _prices(request)


def _prices(request: NewOrder) -> dict[str, str]:
    match request.ord_type:
        case OrdType.LIMIT:
            return {"price": _sent(request.price)}
        case OrdType.STOP:
            return {"price": _sent(request.stop_px)}
        case OrdType.STOP_LIMIT:
            return {"price": _sent(request.stop_px), "price2": _sent(request.price)}
        case OrdType.TRAILING_STOP:  # the sign is always +: which way it trails, the side says
            return {"price": f"+{_sent(request.trail_px)}" if request.trail_px is not None else f"+{plain((request.trail_pct or ZERO) * 100)}%"}
        case _:
            return {}


def _cash(request: NewOrder, pair: wire.AssetPair) -> str:
    assert request.cash_order_qty is not None
    if request.side is not Side.BUY:
        raise Rejected("Kraken sells units, not amounts of money: say how many")
    return plain(round_qty(request.cash_order_qty, ONE.scaleb(-(pair.cost_decimals if pair.cost_decimals is not None else 5))))


def _sent(value: Decimal | None) -> str:
    assert value is not None
    return plain(value)


def encode_amend(approved: Approved) -> dict[str, str]:
    """The form of AmendOrder: the whole of what the order shall be. The order keeps its id, its client id included.

    Raises: Rejected: a trailing stop's distance, which Kraken does not change.
    Source: docs.kraken.com/api/docs/rest-api/amend-order
    """
    request = approved.request
    if request.ord_type is OrdType.TRAILING_STOP:
        raise Rejected("Kraken does not change a trailing stop's distance: cancel it and place the one you want")
    assert approved.orig_order_id is not None
    assert request.order_qty is not None
    form = {"txid": str(approved.orig_order_id), "order_qty": plain(request.order_qty)}
    if request.ord_type.has_price:
        form["limit_price"] = _sent(request.price)
    if request.ord_type.has_stop:
        form["trigger_price"] = _sent(request.stop_px)
    return form


def encode_deadline(time_ns: int) -> str:
    """Until when Kraken may take an order, in its own time, to the millisecond.

    >>> encode_deadline(1788269400123456789)
    '2026-09-01T13:30:00.123Z'
    """
    return rfc3339(time_ns)[:23] + "Z"


def encode_add_params(form: Mapping[str, str], symbol: str) -> dict[str, object]:
    """The same order for the stream's add_order, which has words of its own for it and numbers instead of strings.

    Source: docs.kraken.com/api/docs/websocket-v2/add_order
    """
    kind, cash = form["ordertype"], "viqc" in form["oflags"]
    params: dict[str, object] = {
        "order_type": kind,
        "side": form["type"],
        "symbol": symbol,
        "cash_order_qty" if cash else "order_qty": Decimal(form["volume"]),
        "cl_ord_id": form["cl_ord_id"],
        "fee_preference": "quote",
        "deadline": form["deadline"],
    }
    if "timeinforce" in form:
        params["time_in_force"] = form["timeinforce"].lower()
    if kind == "limit":
        params["limit_price"] = Decimal(form["price"])
    elif kind != "market":
        distance = form["price"].removeprefix("+")
        trails = kind == "trailing-stop"
        price_type = ("pct" if distance.endswith("%") else "quote") if trails else "static"
        params["triggers"] = {"reference": "last", "price": Decimal(distance.removesuffix("%")), "price_type": price_type}
    if "price2" in form:
        params["limit_price"] = Decimal(form["price2"])
    return params


def decode_accepted(approved: Approved, order_id: str, recv_ns: int) -> ExecutionReport:
    """The first word on an order or an amend of ours, which is no more than an id: the rest is what was asked for."""
    request = approved.request
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=approved.cl_ord_id,
        order_id=OrderID(order_id),
        exec_type=ExecType.PENDING_NEW if approved.orig_order_id is None else ExecType.NEW,
        ord_status=OrdStatus.PENDING_NEW if approved.orig_order_id is None else OrdStatus.NEW,
        instrument=request.instrument,
        side=request.side,
        ord_type=request.ord_type,
        time_in_force=request.time_in_force,
        order_qty=request.order_qty,
        cash_order_qty=request.cash_order_qty,
        price=request.price,
        stop_px=request.stop_px,
        trail_px=request.trail_px,
        trail_pct=request.trail_pct,
        replaces=approved.orig_order_id,
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


# -- orders, inward --------------------------------------------------------------------------------------------------------------------------------


def decode_order(order_id: str, order: wire.Order, names: Names, recv_ns: int) -> ExecutionReport:
    """How an order stands, by its row. Quantities in units, prices in the quote currency. A row says nothing of its time in force.

    Raises: ProtocolError: a status, type, side or pair we do not know.
    """
    descr, filled = order.descr, _number(order.vol_exec)
    ord_type = _word(_ORD_TYPE, descr.ordertype, "order type")
    status = _word(_STATUS, order.status, "order status")
    cash = "viqc" in order.oflags.split(",")
    qty = None if cash else _number(order.vol)
    if status is OrdStatus.NEW and filled:
        status = OrdStatus.PARTIALLY_FILLED
    elif status is OrdStatus.FILLED and qty is not None and filled < qty:
        status = OrdStatus.CANCELED  # closed, and not all of it filled: what is left will not be
    px, limit = _descr_price(descr.price), _descr_price(descr.price2)
    stop = _descr_price(order.stopprice) or px
    trails = ord_type is OrdType.TRAILING_STOP
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID(order.cl_ord_id or ""),
        order_id=OrderID(order_id),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=status,
        instrument=names.instrument(descr.pair),
        side=_word(_SIDE, descr.type, "side"),
        ord_type=ord_type,
        time_in_force=TimeInForce.IOC if ord_type is OrdType.MARKET else TimeInForce.GTC,
        order_qty=qty,
        cash_order_qty=_number(order.vol) if cash else None,
        price=px if ord_type is OrdType.LIMIT else limit if ord_type is OrdType.STOP_LIMIT else None,
        stop_px=stop if ord_type.waits else None,
        trail_px=_distance(descr.price) if trails and not descr.price.endswith("%") else None,
        trail_pct=_distance(descr.price.removesuffix("%")) / 100 if trails and descr.price.endswith("%") else None,
        cum_qty=None if cash else filled,  # of an amount of money it is money, too: the fills say how many units
        text=order.reason or "",
        transact_ns=_seconds(order.closetm or order.opentm),
        recv_ns=recv_ns,
    )


def _descr_price(text: str) -> Decimal | None:
    """A price; None for 0, which means that there is none, and for a distance."""
    return None if not text or text[0] in "+-#" or text.endswith("%") else (_number(text) or None)


def _distance(text: str) -> Decimal:
    return _number(text.lstrip("+-#"))


def decode_fill(exec_id: str, fill: wire.Fill, order: ExecutionReport, names: Names, *, fee_in_base: bool, recv_ns: int) -> ExecutionReport:
    """One trade of ours, with the row of its order, which may be newer: how much had filled by then, nobody says.

    Raises: ProtocolError: the trade is of another pair or side than the order that it names.
    Source: docs.kraken.com/api/docs/rest-api/get-trade-history
    """
    if (names.instrument(fill.pair), _word(_SIDE, fill.type, "side")) != (order.instrument, order.side):
        raise ProtocolError("a trade of another pair or side than its order", exec_id.encode())
    return replace(
        order,
        exec_type=ExecType.TRADE,
        exec_id=ExecID(exec_id),
        last_qty=_positive(fill.vol, "vol"),
        last_px=_positive(fill.price, "price"),
        cum_qty=None,
        fee=_number(fill.fee),
        fee_currency=order.instrument if fee_in_base else order.instrument.partition("/")[2],
        text="",
        transact_ns=_seconds(fill.time),
        recv_ns=recv_ns,
    )


def decode_execution(event: wire.Execution, recv_ns: int) -> ExecutionReport:
    """One entry of the executions channel, completed by what was said of its order before.

    Raises: ProtocolError: a word we do not know, or an entry that lacks what nobody said before either.
    Source: docs.kraken.com/api/docs/websocket-v2/executions
    """
    exec_type = _word(_EXEC_TYPE, event.exec_type, "exec type")
    if event.symbol is None or event.side is None or event.order_type is None:
        raise ProtocolError("an execution of an order that was never told of", event.order_id.encode())
    instrument = _instrument(event.symbol)
    ord_type = _word(_ORD_TYPE, event.order_type, "order type")
    triggers = event.triggers
    distance = None if triggers is None or triggers.price_type == "static" else triggers.price
    trails = ord_type is OrdType.TRAILING_STOP
    pct = triggers is not None and triggers.price_type == "pct"
    report = ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID(event.cl_ord_id or ""),
        order_id=OrderID(event.order_id),
        exec_type=exec_type,
        ord_status=_word(_ORDER_STATUS, event.order_status or event.exec_type, "order status"),
        instrument=instrument,
        side=_word(_SIDE, event.side, "side"),
        ord_type=ord_type,
        time_in_force=_word(_TIF, (event.time_in_force or "gtc").lower(), "time in force"),
        order_qty=None if event.cash_order_qty else event.order_qty,
        cash_order_qty=event.cash_order_qty or None,
        price=_some(event.limit_price) if ord_type.has_price else None,
        stop_px=_stop(event) if ord_type.waits else None,
        trail_px=distance if trails and not pct else None,
        trail_pct=None if distance is None or not trails or not pct else distance / 100,
        cum_qty=event.cum_qty,
        text=event.cancel_reason or event.reason or "",
        transact_ns=_time(event.timestamp),
        recv_ns=recv_ns,
    )
    return report if exec_type is not ExecType.TRADE else _decode_trade(report, event)


def _stop(event: wire.Execution) -> Decimal | None:
    triggers = event.triggers
    if triggers is not None and triggers.price_type == "static":
        return _some(triggers.price)
    return _some(event.stop_price) or (None if triggers is None else _some(triggers.actual_price))


def _decode_trade(report: ExecutionReport, event: wire.Execution) -> ExecutionReport:
    if event.exec_id is None:
        raise ProtocolError("a trade without exec_id", event.order_id.encode())
    fees = event.fees or ()
    if len(fees) > 1:
        raise ProtocolError("a trade with fees in more than one asset", event.exec_id.encode())
    base, _, quote = report.instrument.partition("/")
    asset = fees[0].asset if fees else quote
    if asset not in (base, quote):
        raise ProtocolError("a fee in an asset that is not the pair's", asset.encode())
    return replace(
        report,
        exec_id=ExecID(event.exec_id),
        last_qty=_above_zero(event.last_qty, "last_qty"),
        last_px=_above_zero(event.last_price, "last_price"),
        fee=fees[0].qty if fees else ZERO,
        fee_currency=report.instrument if asset == base else quote,
        text="",
    )


def words_of(report: ExecutionReport) -> dict[str, object]:
    """What an order's row knows, in the words of the stream: for an entry that came without them."""
    return {
        "symbol": report.instrument,
        "side": report.side.value,
        "order_type": _ORDERTYPE[report.ord_type],
        "cl_ord_id": report.cl_ord_id or None,
        "order_qty": report.order_qty,
        "cash_order_qty": report.cash_order_qty,
        "limit_price": report.price,
        "stop_price": report.stop_px,
    }


# -- account ---------------------------------------------------------------------------------------------------------------------------------------


def decode_account(
    info: wire.KeyInfo,
    balances: Mapping[str, wire.BalanceEx],
    marks: Mapping[InstrumentID, Decimal],
    names: Names,
    environment: str,
    system: str,
    recv_ns: int,
) -> AccountSnapshot:
    """Account, coins and money as one snapshot. Equity is what of it can be traded, at the marks; decode_worth says what all is worth to Kraken.

    What is staked or parked, and what has no pair in USD, is not in it: it cannot be sold here. Rewards-earning balances (.F) can.
    """
    units, free = _sums(balances, names)
    cash = units.pop(QUOTE, ZERO)
    held = ((InstrumentID(f"{coin}/{QUOTE}"), qty) for coin, qty in sorted(units.items()) if qty)
    positions = tuple(_position(instrument, qty, marks) for instrument, qty in held if instrument in names.pairs)
    equity = cash + sum((position.qty * position.mark_px for position in positions if position.mark_px is not None), ZERO)
    return AccountSnapshot(
        broker=NAME,
        account=info.iban.replace(" ", ""),
        environment=environment,
        currency=QUOTE,
        equity=equity,
        last_equity=equity,
        cash=cash,
        buying_power=max(ZERO, free.get(QUOTE, ZERO)),
        positions=positions,
        tradable=system == "online",
        text="" if system == "online" else f"Kraken is in the mode {system}",
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def decode_worth(trade: wire.TradeBalance) -> Decimal:
    """Everything that the account holds (eb), and what is unrealised (n)."""
    return _number(trade.eb) + _number(trade.n)


def decode_holdings(balances: Mapping[str, wire.BalanceEx], names: Names) -> tuple[InstrumentID, ...]:
    """What the account has units of and Kraken has a price for."""
    units, _ = _sums(balances, names)
    held = (InstrumentID(f"{coin}/{QUOTE}") for coin, qty in units.items() if qty and coin != QUOTE)
    return tuple(sorted(instrument for instrument in held if instrument in names.pairs))


def _sums(balances: Mapping[str, wire.BalanceEx], names: Names) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """By coin: what is there, and what of it no order holds."""
    units: dict[str, Decimal] = {}
    free: dict[str, Decimal] = {}
    for asset, row in balances.items():
        coin, suffix = names.coin(asset)
        if suffix in _STORED:
            continue
        total = _number(row.balance)
        units[coin] = units.get(coin, ZERO) + total
        free[coin] = free.get(coin, ZERO) + total + _number(row.credit) - _number(row.credit_used) - _number(row.hold_trade)
    return units, free


def _position(instrument: InstrumentID, qty: Decimal, marks: Mapping[InstrumentID, Decimal]) -> Position:
    """Kraken keeps no entry price of what is held: 0, which nobody takes for one."""
    return Position(instrument=instrument, qty=qty, avg_px=ZERO, mark_px=marks.get(instrument), unrealized_pnl=ZERO)


def decode_flow(ledger_id: str, entry: wire.LedgerEntry, names: Names) -> Flow:
    """One ledger entry that is no fill. A type that is not in the table is new: UNKNOWN, so that its money still counts.

    Source: docs.kraken.com/api/docs/rest-api/get-ledgers
    """
    coin, suffix = names.coin(entry.asset)
    moved = ZERO if suffix in _STORED else _number(entry.amount) - _number(entry.fee)
    kind = _FLOW.get(entry.type, FlowKind.UNKNOWN)
    money, instrument = coin == QUOTE, InstrumentID(f"{coin}/{QUOTE}")
    listed = not money and instrument in names.pairs
    return Flow(
        broker=NAME,
        flow_id=ledger_id,
        kind=FlowKind.TRANSFER if kind is FlowKind.INCOME and not money else kind,  # units that were earned are units that came in
        currency=QUOTE,
        amount=moved if money else ZERO,
        instrument=instrument if listed else None,
        qty=moved if listed else ZERO,
        text=" ".join(filter(None, (entry.type, entry.subtype, plain(moved), coin, entry.refid))),
        transact_ns=_seconds(entry.time),
    )


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def decode_quote(ticker: wire.Ticker, instrument: InstrumentID, recv_ns: int, transact_ns: int) -> Quote:
    """The touch. Kraken says no time with it: it is as old as the answer."""
    return Quote(
        instrument=instrument,
        bid_px=_number(ticker.b[0]) or None,
        bid_qty=_number(ticker.b[2]),
        ask_px=_number(ticker.a[0]) or None,
        ask_qty=_number(ticker.a[2]),
        transact_ns=transact_ns,
        recv_ns=recv_ns,
    )


def decode_mark(ticker: wire.Ticker) -> Decimal:
    """What one unit is worth: between bid and offer where both stand, else the last trade."""
    bid, ask = _number(ticker.b[0]), _number(ticker.a[0])
    return (bid + ask) / 2 if 0 < bid <= ask else _number(ticker.c[0])


def decode_print(row: wire.TradeRow, instrument: InstrumentID, recv_ns: int) -> Trade:
    price, qty, time, _, _, _, trade_id = row
    return Trade(instrument=instrument, price=_number(price), qty=_number(qty), trade_id=str(trade_id), transact_ns=_seconds(time), recv_ns=recv_ns)


def decode_row(row: wire.OhlcRow, instrument: InstrumentID, period_ns: int) -> Bar:
    time, open_, high, low, close, vwap, volume, _ = row
    return Bar(
        instrument=instrument,
        open_ns=time * NS,
        period_ns=period_ns,
        open=_number(open_),
        high=_number(high),
        low=_number(low),
        close=_number(close),
        volume=_number(volume),
        vwap=_number(vwap),
    )


def decode_tick(tick: wire.Tick, recv_ns: int) -> Quote:
    return Quote(
        instrument=_instrument(tick.symbol),
        bid_px=_some(tick.bid),
        bid_qty=_size(tick.bid_qty),
        ask_px=_some(tick.ask),
        ask_qty=_size(tick.ask_qty),
        transact_ns=recv_ns if tick.timestamp is None else _time(tick.timestamp),
        recv_ns=recv_ns,
    )


def decode_trade_tick(tick: wire.TradeTick, recv_ns: int) -> Trade:
    return Trade(
        instrument=_instrument(tick.symbol),
        price=_size(tick.price),
        qty=_size(tick.qty),
        trade_id=str(tick.trade_id),
        transact_ns=_time(tick.timestamp),
        recv_ns=recv_ns,
    )


def decode_bar(bar: wire.Ohlc) -> Bar:
    return Bar(
        instrument=_instrument(bar.symbol),
        open_ns=_time(bar.interval_begin),
        period_ns=bar.interval * 60 * NS,
        open=_size(bar.open),
        high=_size(bar.high),
        low=_size(bar.low),
        close=_size(bar.close),
        volume=_size(bar.volume),
        vwap=ZERO if bar.vwap is None else _size(bar.vwap),
    )


def one_of(found: Mapping[str, _Word], names: Iterable[str]) -> _Word | None:
    """The entry of a pair, under whichever of its names the answer comes."""
    return next((found[name] for name in names if name in found), None)


# -- parts -----------------------------------------------------------------------------------------------------------------------------------------


def _instrument(symbol: str) -> InstrumentID:
    """A stream's symbol, which is ours."""
    try:
        return parse_instrument(symbol)
    except ValueError as error:
        raise ProtocolError(str(error), symbol.encode()) from None


def _word(table: Mapping[str, _Word], word: str, what: str) -> _Word:
    try:
        return table[word]
    except KeyError:
        raise ProtocolError(f"Kraken sent a {what} that this version does not know", word.encode()) from None


def _number(text: str) -> Decimal:
    try:
        return parse_decimal(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None


def _positive(text: str, what: str) -> Decimal:
    return _above_zero(_number(text), what)


def _above_zero(value: Decimal | None, what: str) -> Decimal:
    if value is None or value <= 0:
        raise ProtocolError(f"a {what} that is not above zero", str(value).encode())
    return _size(value)


def _size(value: Decimal) -> Decimal:
    try:
        return bounded(value)
    except ValueError as error:
        raise ProtocolError(str(error)) from None


def _some(value: Decimal | None) -> Decimal | None:
    return _size(value) if value else None


def _seconds(value: Decimal) -> int:
    return int(_size(value) * NS)


def _time(text: str | None) -> int:
    if text is None:
        raise ProtocolError("a message without a time")
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None
