"""Bybit's messages and ours: one function a message, named encode_x and decode_x. Every word is in a table or refused."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TypeVar

from msgspec import UNSET
from msgspec.structs import replace

from trading_system.brokers.bybit import wire
from trading_system.brokers.bybit.facts import CATEGORIES, CONTRACTS, DOLLAR, INVERSE, LINEAR, MONEY, NAME, OPTION, PARTIAL, QUOTE, SPOT
from trading_system.domain.account import AccountSnapshot, Flow, FlowKind, Position
from trading_system.domain.errors import ProtocolError
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import ALWAYS
from trading_system.domain.ids import ClOrdID, ExecID, InstrumentID, OrderID, is_ours, parse_instrument
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ZERO, parse_decimal, plain
from trading_system.domain.option import Contract, Greeks, OptionSnapshot, Right, is_option, option_name, parse_option
from trading_system.domain.order import Approved, NewOrder, Order
from trading_system.domain.report import ExecutionReport

_MS = 1_000_000
_SECOND_NS = 1_000_000_000
_SIDE = {"Buy": Side.BUY, "Sell": Side.SELL}
_SAID = {side: word for word, side in _SIDE.items()}
_ORD_TYPE = {"Market": OrdType.MARKET, "Limit": OrdType.LIMIT}
_STOPS = {OrdType.MARKET: OrdType.STOP, OrdType.LIMIT: OrdType.STOP_LIMIT}
_TIF = {
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "PostOnly": TimeInForce.GTC,  # rests until it is cancelled, and has never taken
    "RPI": TimeInForce.GTC,
}
_STATUS = {
    "Created": OrdStatus.PENDING_NEW,
    "New": OrdStatus.NEW,
    "Untriggered": OrdStatus.NEW,
    "Triggered": OrdStatus.NEW,
    "PartiallyFilled": OrdStatus.PARTIALLY_FILLED,
    "PendingCancel": OrdStatus.PENDING_CANCEL,
    "Filled": OrdStatus.FILLED,
    "PartiallyFilledCanceled": OrdStatus.CANCELED,  # spot's word for a cancel of the rest
    "Cancelled": OrdStatus.CANCELED,  # of contracts, with fills or without
    "Deactivated": OrdStatus.CANCELED,  # a stop that went before its time
    "Rejected": OrdStatus.REJECTED,
}
# What made an order wait. Empty and UNKNOWN: nothing did.
_WAITS = {
    "": False,
    "UNKNOWN": False,
    "Stop": True,
    "TakeProfit": True,
    "StopLoss": True,
    "PartialTakeProfit": True,
    "PartialStopLoss": True,
    "TrailingStop": True,
    "tpslOrder": True,
    "OcoOrder": True,
    "BidirectionalTpslOrder": True,
    "MmRateClose": True,
}
# Executions that are somebody's trade. The others are entries of the transaction log: decode_flow.
_FILL = {"Trade": True, "AdlTrade": True, "BustTrade": True, "BlockTrade": True, "MovePosition": True, "FutureSpread": True}
_NO_FILL = frozenset({"Funding", "Delivery", "Settle", "CorporateAction"})
# Source: bybit-exchange.github.io/docs/v5/enum#typeuta-translog. A type that is not here is new: UNKNOWN, so that its money still counts.
_FLOW = {
    **dict.fromkeys(("TRANSFER_IN", "TRANSFER_OUT", "TRANSFER_IN_INS_LOAN", "TRANSFER_OUT_INS_LOAN"), FlowKind.TRANSFER),
    **dict.fromkeys(("BONUS", "BONUS_RECOLLECT", "AIRDROP", "FEE_REFUND", "INTEREST", "EARN", "AUTO_DEDUCTION"), FlowKind.INCOME),
}
_FUNDING = "SETTLEMENT"
_FROM_FILLS = frozenset({"TRADE", "LIQUIDATION", "ADL", "BLOCK_TRADE", "MOVE_POSITION", "DELIVERY"})  # what executions tell, and more exactly
_CONTRACT = {"LinearPerpetual": AssetClass.PERPETUAL, "LinearFutures": AssetClass.FUTURE, "InversePerpetual": AssetClass.PERPETUAL}
_RIGHT = {"Call": Right.CALL, "Put": Right.PUT}
_TRADABLE = {"Trading": True, "PreLaunch": False, "Delivering": False, "Closed": False}
_QUOTES = (
    "USDT",
    "USDC",
    "USDE",
    "USD1",
    "DAI",
    "EUR",
    "BRL",
    "TRY",
    "PLN",
    "BTC",
    "ETH",
    "SOL",
    "MNT",
    "BRZ",
    "RUB",
    "USDQ",
    "USDR",
    "EURQ",
    "EURR",
)
_DATED = re.compile(r"(?P<base>[A-Z0-9]+?)(?P<quote>USDT)?-(?P<day>[0-9]{1,2}[A-Z]{3}[0-9]{2})")
_GRAIN = Decimal("0.0000000001")  # what is computed here, and not as Bybit wrote it
_Word = TypeVar("_Word")


# -- names -----------------------------------------------------------------------------------------------------------------------------------------


def instrument_id(category: str, symbol: str) -> InstrumentID:
    """Our spelling of Bybit's symbol, which says what it is only together with its category.

    >>> instrument_id("spot", "BTCUSDT"), instrument_id("linear", "BTCUSDT"), instrument_id("linear", "BTCUSDT-26DEC26")
    ('BTC/USDT', 'BTC-PERP/USDT', 'BTC-26DEC26/USDT')
    >>> instrument_id("linear", "BTCPERP"), instrument_id("linear", "BTC-26DEC26")
    ('BTC-PERP/USDC', 'BTC-26DEC26/USDC')
    >>> instrument_id("option", "BTC-26DEC26-95000-C-USDT"), instrument_id("option", "BTC-26DEC26-95000-C")
    ('BTC-26DEC26-95000-C/USDT', 'BTC-26DEC26-95000-C/USDC')
    >>> instrument_id("inverse", "BTCUSD")
    'BTC-PERP/USD'
    """
    if category == OPTION:
        return option_name(_contract(symbol))
    base, quote, ends = symbol, "", ""
    dated = _DATED.fullmatch(symbol)
    if category == LINEAR and dated is not None:
        base, quote, ends = dated["base"], dated["quote"] or "USDC", f"-{dated['day']}"
    elif category == INVERSE and symbol.endswith(DOLLAR):
        base, quote, ends = symbol.removesuffix(DOLLAR), DOLLAR, "-PERP"
    elif category == LINEAR and symbol.endswith("PERP"):
        base, quote, ends = symbol.removesuffix("PERP"), "USDC", "-PERP"
    elif category in (LINEAR, SPOT):
        quote = next((quote for quote in _QUOTES if symbol.endswith(quote) and symbol != quote), "")
        base, ends = symbol.removesuffix(quote), "-PERP" if category == LINEAR else ""
    if not base or not quote:
        raise ProtocolError(f"a symbol of {category or 'no category'} that this version cannot read", symbol.encode())
    try:
        return parse_instrument(f"{base}{ends}/{quote}")
    except ValueError as error:
        raise ProtocolError(str(error), symbol.encode()) from None


def symbol_of(instrument: InstrumentID) -> str:
    """Bybit's spelling of an instrument.

    >>> symbol_of(InstrumentID("BTC/USDT")), symbol_of(InstrumentID("BTC-PERP/USDT")), symbol_of(InstrumentID("BTC-26DEC26/USDT"))
    ('BTCUSDT', 'BTCUSDT', 'BTCUSDT-26DEC26')
    >>> symbol_of(InstrumentID("BTC-PERP/USD"))
    'BTCUSD'
    >>> symbol_of(InstrumentID("BTC-26DEC26-95000-C/USDT"))
    'BTC-26DEC26-95000-C-USDT'
    """
    if is_option(instrument):
        return instrument.removesuffix("/USDC").replace("/", "-")
    name, _, quote = instrument.partition("/")
    base, _, ends = name.partition("-")
    if ends == "PERP":
        return f"{base}PERP" if quote == "USDC" else base + quote
    if ends:
        return f"{base}-{ends}" if quote == "USDC" else f"{base}{quote}-{ends}"
    return base + quote


def category_of(instrument: InstrumentID) -> str:
    """Where Bybit keeps it: swaps and futures are linear, or inverse where their prices are in dollars."""
    if is_option(instrument):
        return OPTION
    base, _, quote = instrument.partition("/")
    return SPOT if "-" not in base else INVERSE if quote == DOLLAR else LINEAR


def is_read(category: str, symbol: str) -> bool:
    """Whether this desk knows of it: inverse contracts that end are somebody else's, and what they move is told as flows.

    >>> is_read("inverse", "BTCUSD"), is_read("inverse", "BTCUSDZ26"), is_read("linear", "BTCUSDT")
    (True, False, True)
    """
    return category in CATEGORIES and (category != INVERSE or symbol.endswith(DOLLAR))


def _contract(symbol: str) -> Contract:
    """What an option's symbol says: without a coin at its end it is settled in USDC. Raises ProtocolError."""
    name, _, right = symbol.removesuffix("-USDT").rpartition("-")
    try:
        return parse_option(f"{name}-{right}/{'USDT' if symbol.endswith('-USDT') else 'USDC'}")
    except ValueError as error:
        raise ProtocolError(str(error), symbol.encode()) from None


def day_of(expiry: date) -> str:
    """A day as Bybit writes it.

    >>> day_of(date(2026, 12, 5))
    '5DEC26'
    """
    return f"{expiry.day}{expiry:%b%y}".upper()


def coin_pair(coin: str) -> InstrumentID:
    """The position that a coin is."""
    return InstrumentID(f"{coin}/{QUOTE}")


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def encode_order(approved: Approved) -> wire.CreateRequest:
    """The body of a create. A stop waits for the last price to come from the other side; an exit of a contract can only reduce.

    Source: bybit-exchange.github.io/docs/v5/order/create-order
    """
    request, category = approved.request, category_of(approved.request.instrument)
    market, contract, spot, stop = not request.ord_type.has_price, category in CONTRACTS, category == SPOT, request.ord_type.has_stop
    in_money = request.order_qty is None
    amount = request.cash_order_qty if request.order_qty is None else request.order_qty
    assert amount is not None
    return wire.CreateRequest(
        category=category,
        symbol=approved.symbol,
        side=_SAID[request.side],
        orderType="Market" if market else "Limit",
        qty=plain(amount),
        timeInForce="IOC" if market else request.time_in_force.value.upper(),
        orderLinkId=approved.cl_ord_id,
        price=_sent(request.price),
        marketUnit=None if not spot or not market else "quoteCoin" if in_money else "baseCoin",  # left out, a buy's quantity would be money
        triggerPrice=_sent(request.stop_px),
        triggerDirection=(1 if request.side is Side.BUY else 2) if stop and contract else None,
        triggerBy="LastPrice" if stop and contract else None,
        orderFilter="StopOrder" if stop and spot else None,
        reduceOnly=True if not spot and (request.reduce_only or approved.reducing) else None,
        positionIdx=0 if contract else None,
        **_exits(request),
    )


def _exits(request: NewOrder) -> dict[str, str | None]:
    """The pair of exits that Bybit makes for what the order fills. The take-profit rests at its price once the market has been there."""
    attached = request.attached
    if attached is None:
        return {}
    assert attached.take_profit_px is not None
    assert attached.stop_px is not None
    return {
        "tpslMode": PARTIAL,
        "takeProfit": plain(attached.take_profit_px),
        "tpOrderType": "Limit",
        "tpLimitPrice": plain(attached.take_profit_px),
        "tpTriggerBy": "LastPrice",
        "stopLoss": plain(attached.stop_px),
        "slOrderType": "Market" if attached.stop_limit_px is None else "Limit",
        "slLimitPrice": _sent(attached.stop_limit_px),
        "slTriggerBy": "LastPrice",
    }


def encode_amend(approved: Approved) -> wire.AmendRequest:
    """The body of an amend: the whole of what the order shall be. It stays the order it is, under the id it has."""
    request = approved.request
    assert approved.orig_order_id is not None
    return wire.AmendRequest(
        category=category_of(request.instrument),
        symbol=approved.symbol,
        orderId=approved.orig_order_id,
        qty=_sent(request.order_qty),
        price=_sent(request.price),
        triggerPrice=_sent(request.stop_px),
    )


def filter_of(order: wire.Order) -> str:
    """Under which filter spot keeps an open order: a stop that has not gone off has one of its own."""
    if not _word(_WAITS, order.stopOrderType, "stop order type") or order.orderStatus != "Untriggered":
        return "Order"
    return order.stopOrderType if order.stopOrderType == "tpslOrder" else "StopOrder"


def is_amended(order: wire.Order, wish: NewOrder | Order) -> bool:
    """Whether an order is what a change asked for."""
    pairs = ((order.qty, wish.order_qty), (order.price, wish.price), (order.triggerPrice, wish.stop_px))
    return all(wanted is None or _optional(text) == wanted for text, wanted in pairs)


def _sent(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def decode_order(order: wire.Order, category: str, recv_ns: int) -> ExecutionReport:
    """How an order stands. Every message about it carries the whole of it. Quantities in units, or money where it was ordered so. What has no client
    id goes by Bybit's own.

    Raises: ProtocolError: a status, type, side or time in force we do not know.
    Source: bybit-exchange.github.io/docs/v5/enum#orderstatus
    """
    status = _word(_STATUS, order.orderStatus, "order status")
    cum_qty, trigger = _number(order.cumExecQty), _positive_or_none(order.triggerPrice)
    if status is OrdStatus.REJECTED and cum_qty:
        status = OrdStatus.CANCELED  # what was filled before stays filled
    in_money, ord_type = _in_money(order, category), _ord_type(order.orderType, order.stopOrderType, trigger)
    parent = order.parentOrderLinkId
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID(order.orderLinkId or order.orderId),
        order_id=OrderID(order.orderId),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=status,
        instrument=instrument_id(category, order.symbol),
        inverse=category == INVERSE,
        side=_word(_SIDE, order.side, "side"),
        ord_type=ord_type,
        time_in_force=_word(_TIF, order.timeInForce, "time in force"),
        order_qty=None if in_money else _number(order.qty),
        cash_order_qty=_number(order.qty) if in_money else None,
        price=_positive_or_none(order.price) if ord_type.has_price else None,  # of a market order it is a bound that Bybit set
        stop_px=trigger if ord_type.has_stop else None,
        parent=ClOrdID(parent) if is_ours(parent) else None,
        cum_qty=cum_qty,
        text="" if order.rejectReason in ("", "EC_NoError") else order.rejectReason,
        transact_ns=_time(order.updatedTime),
        recv_ns=recv_ns,
    )


def _in_money(order: wire.Order, category: str) -> bool:
    """Whether qty is money: said so, or not said on a spot market buy."""
    if category != SPOT or order.orderType != "Market":
        return False
    return order.marketUnit == "quoteCoin" or (order.marketUnit == "" and order.side == "Buy")


def _ord_type(word: str, stop_word: str, trigger: Decimal | None) -> OrdType:
    ord_type = _word(_ORD_TYPE, word, "order type")
    if stop_word == "TrailingStop":
        return OrdType.TRAILING_STOP
    if stop_word == "PartialTakeProfit" and ord_type is OrdType.LIMIT:
        return ord_type  # it waits for its own price: to everybody else it is one that rests there
    return _STOPS[ord_type] if _word(_WAITS, stop_word, "stop order type") and trigger is not None else ord_type


def decode_placed(placed: wire.Placed, approved: Approved, transact_ns: int, recv_ns: int) -> ExecutionReport:
    """The answer to a create, which says that the order was taken in and is under way: the order stream says what becomes of it."""
    request = approved.request
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=approved.cl_ord_id,
        order_id=OrderID(placed.orderId),
        exec_type=ExecType.PENDING_NEW,
        ord_status=OrdStatus.PENDING_NEW,
        instrument=request.instrument,
        inverse=category_of(request.instrument) == INVERSE,
        side=request.side,
        ord_type=request.ord_type,
        time_in_force=request.time_in_force,
        order_qty=request.order_qty,
        cash_order_qty=request.cash_order_qty,
        price=request.price,
        stop_px=request.stop_px,
        transact_ns=transact_ns,
        recv_ns=recv_ns,
    )


def is_fill(execution: wire.Execution) -> bool:
    """Whether an execution is a trade; funding and deliveries are not. Raises ProtocolError: a kind we do not know."""
    return execution.execType not in _NO_FILL and _word(_FILL, execution.execType, "execution type")


def paid_out(execution: wire.Execution, category: str) -> Decimal | None:
    """What a fill of an inverse contract paid out in coins, fees apart; None: it closed something, and this message does not say."""
    if category != INVERSE or _optional(execution.closedSize) == ZERO:
        return ZERO
    return None if execution.execPnl is UNSET else _optional(execution.execPnl)


def decode_execution(
    execution: wire.Execution, category: str, row: ExecutionReport | None, recv_ns: int, *, realized: Decimal = ZERO
) -> ExecutionReport:
    """One fill, with what is known of its order. A fee in coins names the position that shrinks by it. realized: what paid_out() says, or who else
    knows it.

    Raises: ProtocolError: an execution without id, quantity or price.
    Source: bybit-exchange.github.io/docs/v5/order/execution
    """
    if not execution.execId:
        raise ProtocolError("an execution without execId", execution.orderId.encode())
    instrument = instrument_id(category, execution.symbol)
    side = _word(_SIDE, execution.side, "side")
    if row is None:
        row = _row_of(execution, category, instrument, side, recv_ns)
    done = _optional(execution.leavesQty) == ZERO
    return replace(
        row,
        exec_type=ExecType.TRADE,
        ord_status=OrdStatus.FILLED if done else OrdStatus.PARTIALLY_FILLED,
        cum_qty=None,  # what is left of a part is not said the same way by all categories: fills are told apart by their ids
        exec_id=ExecID(execution.execId),
        last_qty=_positive(execution.execQty, "execQty"),
        last_px=_positive(execution.execPrice, "execPrice"),
        fee=_optional(execution.execFee) or ZERO,
        fee_currency=_fee_currency(execution.feeCurrency, category, instrument, side),
        realized=realized,
        text="",
        transact_ns=_time(execution.execTime),
        recv_ns=recv_ns,
    )


def _row_of(execution: wire.Execution, category: str, instrument: InstrumentID, side: Side, recv_ns: int) -> ExecutionReport:
    """As much of an order as its fill says: not how long it was to stand, nor where a stop stood."""
    ord_type = _word(_ORD_TYPE, execution.orderType, "order type")
    in_money = category == SPOT and execution.marketUnit == "quoteCoin"
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID(execution.orderLinkId or execution.orderId),
        order_id=OrderID(execution.orderId),
        exec_type=ExecType.TRADE,
        ord_status=OrdStatus.PARTIALLY_FILLED,
        instrument=instrument,
        inverse=category == INVERSE,
        side=side,
        ord_type=ord_type,
        time_in_force=TimeInForce.IOC if ord_type is OrdType.MARKET else TimeInForce.GTC,
        order_qty=None if in_money else _number(execution.orderQty),
        cash_order_qty=_number(execution.orderQty) if in_money else None,
        price=_positive_or_none(execution.orderPrice) if ord_type is OrdType.LIMIT else None,
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def decode_delivery(record: wire.Delivery, category: str, recv_ns: int) -> ExecutionReport:
    """The end of a contract: its position is closed at the delivery's price, an option's at what it gives there, by an order of Bybit's own. Which
    way it was, its profit says, because `side` may be the position's or the delivery's; of an option without profit it is the delivery's, as in the
    documents' examples.

    Source: bybit-exchange.github.io/docs/v5/asset/delivery
    """
    instrument, price = instrument_id(category, record.symbol), _positive(record.deliveryPrice, "deliveryPrice")
    entry = _positive(record.entryPrice, "entryPrice") if category == LINEAR else _optional(record.entryPrice)
    if category == OPTION:
        price = parse_option(instrument).payoff(price)
    made, qty = _number(record.deliveryRpl), _positive(record.position, "position")
    side = _word(_SIDE, record.side, "delivery side")
    if category == OPTION:
        side = side.opposite
    if made and entry is not None and entry != price:
        side = Side.BUY if (made > 0) is (price > entry) else Side.SELL
    name = f"delivery-{record.symbol}-{record.deliveryTime}"
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID(""),
        order_id=OrderID(name),
        exec_type=ExecType.TRADE,
        ord_status=OrdStatus.FILLED,
        instrument=instrument,
        side=side.opposite,
        ord_type=OrdType.MARKET,
        time_in_force=TimeInForce.GTC,
        order_qty=qty,
        exec_id=ExecID(name),
        last_qty=qty,
        last_px=price,
        fee=_optional(record.fee) or ZERO,
        fee_currency=instrument.partition("/")[2],
        text="delivery",
        transact_ns=record.deliveryTime * _MS,
        recv_ns=recv_ns,
    )


def _fee_currency(coin: str, category: str, instrument: InstrumentID, side: Side) -> str:
    """Contracts are charged in what they settle in. Spot is charged in what is credited, unless Bybit says another coin."""
    name, _, quote = instrument.partition("/")
    if category == INVERSE:
        return coin_pair(coin or name.removesuffix("-PERP"))
    if not coin:
        coin = name if category == SPOT and side is Side.BUY else quote
    return coin if coin in MONEY or coin == quote else coin_pair(coin)


# -- account ---------------------------------------------------------------------------------------------------------------------------------------


def decode_account(
    wallet: wire.Wallet,
    positions: Mapping[str, Sequence[wire.Position]],
    *,
    account: str,
    environment: str,
    pairs: Collection[InstrumentID],
    rates: Mapping[str, Decimal],
    blocked: str,
    recv_ns: int,
) -> AccountSnapshot:
    """A unified account in dollars. Of money that bought contracts, what they cost at their average entry is theirs, but for options, whose premium
    has left the wallet, and for inverse contracts, which cost nothing; a coin that has a pair here is a position in it. positions: by category.
    pairs: the spot pairs there are. rates: of money that the wallet holds none of, from tickers. blocked: why it may not trade.

    Source: bybit-exchange.github.io/docs/v5/account/wallet-balance, docs/decisions/0009
    """
    coins = {coin.coin: coin for coin in wallet.coin}
    worth = {name: decode_worth(coin) for name, coin in coins.items()}
    rates = {**rates, **{name: rate for name, rate in worth.items() if rate is not None and (name in MONEY or coin_pair(name) not in pairs)}}
    contracts = {category: [_position(row, category) for row in rows if _number(row.size)] for category, rows in positions.items()}
    held = tuple(
        _coin(name, qty, worth[name], rates.get(QUOTE))
        for name, coin in coins.items()
        if name not in MONEY and coin_pair(name) in pairs and (qty := _own(coin))
    )
    balances = {name: _own(coin) for name, coin in coins.items() if name in MONEY or coin_pair(name) not in pairs}
    for contract in contracts.get(LINEAR, ()):
        currency = contract.instrument.partition("/")[2]
        balances[currency] = balances.get(currency, ZERO) - contract.qty * contract.avg_px
    equity = _number(wallet.totalEquity) if wallet.totalEquity else sum((_optional(coin.usdValue) or ZERO for coin in coins.values()), ZERO)
    return AccountSnapshot(
        broker=NAME,
        account=account,
        environment=environment,
        currency="USD",
        equity=equity,
        last_equity=equity,  # Bybit closes no days: the desk's own day begins where it stands
        cash=sum((amount * rates.get(name, ZERO) for name, amount in balances.items()), ZERO),
        balances={QUOTE: ZERO} | balances,
        rates=rates,
        buying_power=_available(wallet, coins.get(QUOTE), rates.get(QUOTE, ZERO)),
        positions=(*(position for rows in contracts.values() for position in rows), *held),
        tradable=not blocked,
        text=blocked,
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def _own(coin: wire.Coin) -> Decimal:
    """What is held of a coin, borrowed units taken off."""
    return _number(coin.walletBalance or "0") - (_optional(coin.spotBorrow) or ZERO)


def decode_worth(coin: wire.Coin) -> Decimal | None:
    """Dollars a unit of a coin; None: there is too little of it to tell it by."""
    equity, value = _optional(coin.equity), _optional(coin.usdValue)
    return (value / equity).quantize(_GRAIN) if equity and value else None


def _available(wallet: wire.Wallet, money: wire.Coin | None, rate: Decimal) -> Decimal:
    """Dollars that nothing holds. In isolated margin mode the totals are empty, and the coin's own figures say it."""
    total = _optional(wallet.totalAvailableBalance)
    if total is not None:
        return max(ZERO, total)
    if money is None:
        return ZERO
    taken = (money.totalOrderIM, money.totalPositionIM, money.locked)
    return max(ZERO, (_own(money) - sum((_optional(text) or ZERO for text in taken), ZERO)) * rate)


def _position(position: wire.Position, category: str) -> Position:
    """Raises ProtocolError: it is one of two in its contract."""
    if position.positionIdx:
        raise ProtocolError("a position of an account that keeps long and short apart (hedge mode)", position.symbol.encode())
    mark, unrealized = _positive_or_none(position.markPrice), _optional(position.unrealisedPnl) or ZERO
    return Position(
        instrument=instrument_id(category, position.symbol),
        qty=_word(_SIDE, position.side, "position side").sign * _number(position.size),
        avg_px=_number(position.avgPrice),
        mark_px=mark,
        unrealized_pnl=(unrealized * (mark or ZERO)).quantize(_GRAIN) if category == INVERSE else unrealized,
    )


def _coin(name: str, qty: Decimal, worth: Decimal | None, rate: Decimal | None) -> Position:
    """Bybit keeps no entry price of coins: 0, which nobody takes for one."""
    mark = None if worth is None or not rate else (worth / rate).quantize(_GRAIN)
    return Position(instrument=coin_pair(name), qty=qty, avg_px=ZERO, mark_px=mark, unrealized_pnl=ZERO)


def decode_rate(ticker: wire.Ticker) -> Decimal:
    """Dollars a USDT, from a USDT pair's ticker that also says its coin's dollar index. Raises ProtocolError: it does not."""
    return (_positive(ticker.usdIndexPrice, "usdIndexPrice") / _positive(ticker.lastPrice, "lastPrice")).quantize(_GRAIN)


def decode_instrument(entry: wire.Instrument, category: str) -> Instrument:
    """One listing with every grid and least size that it states.

    Raises: ProtocolError: a kind of contract or a status we do not know; an option that is not what its symbol says.
    Source: bybit-exchange.github.io/docs/v5/market/instrument
    """
    lots, margined = entry.lotSizeFilter, category in CONTRACTS
    lot = _positive(lots.basePrecision if category == SPOT else lots.qtyStep, "quantity step")
    contract = _stated(entry) if category == OPTION else None
    asset_class = AssetClass.CRYPTO if contract is None else AssetClass.CRYPTO_OPTION
    return Instrument(
        id=instrument_id(category, entry.symbol),
        broker=NAME,
        symbol=entry.symbol,
        asset_class=_word(_CONTRACT, entry.contractType, "kind of contract") if margined else asset_class,
        base=entry.baseCoin,
        currency=entry.quoteCoin,
        ticks=(TickBand(ZERO, _positive(entry.priceFilter.tickSize, "tickSize")),),
        lot=lot,
        whole_lot=lot,
        min_qty=_optional(lots.minOrderQty) or ZERO,
        min_notional=_optional(lots.minOrderAmt if category == SPOT else lots.minNotionalValue) or ZERO,
        inverse=category == INVERSE,
        hours=ALWAYS,
        tradable=_word(_TRADABLE, entry.status, "instrument status"),
        shortable=margined,
        marginable=margined,
        contract=contract,
    )


def _stated(entry: wire.Instrument) -> Contract:
    """The contract of a listing's symbol, held against its other fields."""
    contract = _contract(entry.symbol)
    ends = datetime.fromtimestamp(_time(entry.deliveryTime) // _SECOND_NS, UTC).date()
    if (contract.right, contract.expiry) != (_word(_RIGHT, entry.optionsType, "kind of option"), ends):
        raise ProtocolError(f"an option that is not what its symbol {entry.symbol} says", f"{entry.optionsType} {entry.deliveryTime}".encode())
    return contract


def decode_snapshot(ticker: wire.Ticker, now_ns: int) -> OptionSnapshot:
    """One line of a chain. A ticker has no time of its own. Rho it does not state.

    Source: bybit-exchange.github.io/docs/v5/market/tickers
    """
    instrument = instrument_id(OPTION, ticker.symbol)
    stated = [_number(text) for text in (ticker.delta, ticker.gamma, ticker.theta, ticker.vega) if text]
    greeks = Greeks(**dict(zip(("delta", "gamma", "theta", "vega"), stated, strict=True)), rho=None) if len(stated) == 4 else None
    return OptionSnapshot(
        contract=parse_option(instrument),
        instrument=instrument,
        quote=_ticker_quote(instrument, (ticker.bid1Price, ticker.bid1Size), (ticker.ask1Price, ticker.ask1Size), now_ns, now_ns),
        implied_volatility=_positive_or_none(ticker.markIv),
        greeks=greeks,
    )


def decode_stream_option(data: wire.StreamOption, instrument: InstrumentID, time_ms: int, recv_ns: int) -> Quote:
    return _ticker_quote(instrument, (data.bidPrice, data.bidSize), (data.askPrice, data.askSize), time_ms * _MS, recv_ns)


def _ticker_quote(instrument: InstrumentID, bid: tuple[str, str], ask: tuple[str, str], transact_ns: int, recv_ns: int) -> Quote:
    """A price of 0, or none: nobody quotes that side."""
    bid_px, ask_px = _positive_or_none(bid[0]), _positive_or_none(ask[0])
    return Quote(
        instrument=instrument,
        bid_px=bid_px,
        bid_qty=ZERO if bid_px is None else _number(bid[1]),
        ask_px=ask_px,
        ask_qty=ZERO if ask_px is None else _number(ask[1]),
        transact_ns=transact_ns,
        recv_ns=recv_ns,
    )


def decode_paid(entry: wire.LogEntry) -> tuple[str, Decimal]:
    """By its execution, what a trade of the log made, fees apart."""
    return entry.tradeId, _number(entry.cashFlow)


def decode_flow(entry: wire.LogEntry) -> Flow | None:
    """One entry of the transaction log that no fill tells; None: one does. Funding is income or a fee. Of categories whose executions are not read,
    trades are told here alone.

    Source: bybit-exchange.github.io/docs/v5/account/transaction-log
    """
    if entry.type in _FROM_FILLS and (not entry.category or is_read(entry.category, entry.symbol)):
        return None
    change, coin = _number(entry.change), entry.currency
    text = " ".join(filter(None, (entry.type, entry.transSubType, entry.symbol)))
    flow = Flow(
        broker=NAME,
        flow_id=entry.id,
        kind=_FLOW.get(entry.type, FlowKind.UNKNOWN),
        currency=coin,
        amount=change,
        text=text,
        transact_ns=_time(entry.transactionTime),
    )
    if entry.type == _FUNDING:
        flow = replace(flow, kind=FlowKind.INCOME if change >= 0 else FlowKind.FEE, text=f"funding {entry.symbol}".strip())
    if coin in MONEY:
        return flow
    return replace(flow, currency=QUOTE, amount=ZERO, instrument=coin_pair(coin), qty=change, text=f"{flow.text} {plain(change)} {coin}")


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def decode_quote(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]], instrument: InstrumentID, time_ms: int, recv_ns: int) -> Quote:
    """The touch of a book. A side without levels is quoted by nobody."""
    bid_px, bid_qty = _touch(bids)
    ask_px, ask_qty = _touch(asks)
    return Quote(instrument=instrument, bid_px=bid_px, bid_qty=bid_qty, ask_px=ask_px, ask_qty=ask_qty, transact_ns=time_ms * _MS, recv_ns=recv_ns)


def _touch(levels: Sequence[tuple[str, str]]) -> tuple[Decimal | None, Decimal]:
    return (_number(levels[0][0]), _number(levels[0][1])) if levels else (None, ZERO)


def decode_print(entry: wire.Print, instrument: InstrumentID, recv_ns: int) -> Trade:
    return Trade(
        instrument=instrument,
        price=_positive(entry.price, "price"),
        qty=_positive(entry.size, "size"),
        trade_id=entry.execId,
        transact_ns=_time(entry.time),
        recv_ns=recv_ns,
    )


def decode_stream_trade(entry: wire.StreamTrade, instrument: InstrumentID, recv_ns: int) -> Trade:
    return Trade(
        instrument=instrument,
        price=_positive(entry.p, "p"),
        qty=_positive(entry.v, "v"),
        trade_id=entry.i,
        transact_ns=entry.T * _MS,
        recv_ns=recv_ns,
    )


def decode_kline(row: tuple[str, str, str, str, str, str, str], instrument: InstrumentID, period_ns: int) -> Bar:
    """One bar. Its turnover over its volume is its average price; of inverse contracts the turnover is coins, and it is the other way round."""
    start, opened, high, low, close, volume, turnover = row
    return _bar(instrument, _time(start), period_ns, (opened, high, low, close), _number(volume), _number(turnover))


def decode_stream_kline(entry: wire.StreamKline, instrument: InstrumentID, period_ns: int) -> Bar:
    prices = (entry.open, entry.high, entry.low, entry.close)
    return _bar(instrument, entry.start * _MS, period_ns, prices, _number(entry.volume), _number(entry.turnover))


def _bar(instrument: InstrumentID, open_ns: int, period_ns: int, prices: tuple[str, str, str, str], volume: Decimal, turnover: Decimal) -> Bar:
    opened, high, low, close = map(_number, prices)
    paid, units = (volume, turnover) if category_of(instrument) == INVERSE else (turnover, volume)
    vwap = (paid / units).quantize(_GRAIN) if units else ZERO
    return Bar(instrument=instrument, open_ns=open_ns, period_ns=period_ns, open=opened, high=high, low=low, close=close, volume=volume, vwap=vwap)


# -- the small parts -------------------------------------------------------------------------------------------------------------------------------


def _word(table: Mapping[str, _Word], word: str, what: str) -> _Word:
    try:
        return table[word]
    except KeyError:
        raise ProtocolError(f"Bybit sent a {what} that this version does not know", word.encode()) from None


def _number(text: str) -> Decimal:
    """Bybit was seen to leave the nought before a point out."""
    try:
        return parse_decimal(f"0{text}" if text.startswith(".") else text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None


def _optional(text: str) -> Decimal | None:
    """Bybit's empty string is no number."""
    return None if text == "" else _number(text)


def _positive_or_none(text: str) -> Decimal | None:
    """0 and nothing are the same to a price."""
    return _optional(text) or None


def _positive(text: str, what: str) -> Decimal:
    value = _optional(text)
    if value is None or value <= 0:
        raise ProtocolError(f"{what} is not above zero", text.encode())
    return value


def _time(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ProtocolError("a time that is no milliseconds", text.encode())
    return int(text) * _MS
