"""OANDA's messages under OANDA's names, for both ends: the connector decodes what the twin encodes.

Apart from the codec, so that the twin can speak the wire without sharing our reading of it. Only what nobody can do without is required. Prices,
units, money and ids are strings. One struct stands for all orders, and one for all transactions: their kinds differ in what they leave out.
What is not listed here is ignored.
Source: github.com/oanda/v20-openapi 3.0.25; developer.oanda.com/rest-live-v20
"""
# ruff: noqa: N815 the names are OANDA's

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)  # what decoding raises for bytes that are no message


class Extensions(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a client calls an order or a trade."""

    id: str = ""
    tag: str = ""
    comment: str = ""


class OnFill(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An exit that is made for the trade which a fill opens."""

    price: str = ""
    distance: str = ""
    timeInForce: str = ""
    gtdTime: str = ""
    guaranteed: bool = False
    clientExtensions: Extensions | None = None


class OrderRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an order is asked for with, of whatever type."""

    type: str
    instrument: str = ""
    units: str = ""
    price: str = ""
    priceBound: str = ""
    distance: str = ""
    tradeID: str = ""
    timeInForce: str = ""
    gtdTime: str = ""
    positionFill: str = ""
    triggerCondition: str = ""
    guaranteed: bool = False
    clientExtensions: Extensions | None = None
    tradeClientExtensions: Extensions | None = None
    takeProfitOnFill: OnFill | None = None
    stopLossOnFill: OnFill | None = None
    trailingStopLossOnFill: OnFill | None = None


class OrderBody(msgspec.Struct):
    """The body of a create or a replace."""

    order: OrderRequest


class Order(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One order as it stands. Those that are a trade's name it, and have neither instrument nor units."""

    id: str
    createTime: str
    type: str
    state: str
    instrument: str = ""
    units: str = ""
    price: str = ""
    priceBound: str = ""
    distance: str = ""
    trailingStopValue: str = ""
    tradeID: str = ""
    clientTradeID: str = ""
    timeInForce: str = ""
    gtdTime: str = ""
    positionFill: str = ""
    triggerCondition: str = ""
    guaranteed: bool = False
    guaranteedExecutionPremium: str = ""
    clientExtensions: Extensions | None = None
    tradeClientExtensions: Extensions | None = None
    takeProfitOnFill: OnFill | None = None
    stopLossOnFill: OnFill | None = None
    trailingStopLossOnFill: OnFill | None = None
    fillingTransactionID: str = ""
    filledTime: str = ""
    tradeOpenedID: str = ""
    tradeReducedID: str = ""
    tradeClosedIDs: Sequence[str] = ()
    cancellingTransactionID: str = ""
    cancelledTime: str = ""
    replacesOrderID: str = ""
    replacedByOrderID: str = ""


class OrderAnswer(msgspec.Struct, kw_only=True):
    """GET of one order."""

    order: Order
    lastTransactionID: str = ""


class Orders(msgspec.Struct, kw_only=True):
    """GET of several."""

    orders: Sequence[Order]
    lastTransactionID: str = ""


class Trade(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One trade: units that one fill has opened. Its id is that fill's; units are signed."""

    id: str
    instrument: str
    price: str
    openTime: str = ""
    state: str
    initialUnits: str
    initialMarginRequired: str = ""
    currentUnits: str
    realizedPL: str = "0"
    unrealizedPL: str = "0"
    marginUsed: str = ""
    averageClosePrice: str = ""
    closingTransactionIDs: Sequence[str] = ()
    financing: str = ""
    closeTime: str = ""
    clientExtensions: Extensions | None = None
    takeProfitOrder: Order | None = None
    stopLossOrder: Order | None = None
    trailingStopLossOrder: Order | None = None
    takeProfitOrderID: str = ""
    stopLossOrderID: str = ""
    trailingStopLossOrderID: str = ""


class TradeAnswer(msgspec.Struct, kw_only=True):
    """GET of one trade."""

    trade: Trade
    lastTransactionID: str = ""


class Trades(msgspec.Struct, kw_only=True):
    """GET of several."""

    trades: Sequence[Trade]
    lastTransactionID: str = ""


class PositionSide(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The long or the short half of a position; a flat one has neither price nor trades."""

    units: str
    averagePrice: str = ""
    tradeIDs: Sequence[str] = ()
    pl: str = "0"
    unrealizedPL: str = "0"
    resettablePL: str = "0"


class Position(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is held of one instrument, both ways."""

    instrument: str
    pl: str = "0"
    unrealizedPL: str = "0"
    resettablePL: str = "0"
    marginUsed: str = ""
    financing: str = ""
    commission: str = ""
    long: PositionSide
    short: PositionSide


class PositionAnswer(msgspec.Struct, kw_only=True):
    """GET of one position."""

    position: Position
    lastTransactionID: str = ""


class Positions(msgspec.Struct, kw_only=True):
    """GET of several."""

    positions: Sequence[Position]
    lastTransactionID: str = ""


class Account(msgspec.Struct, kw_only=True):
    """An account at one instant. The summary has neither trades nor positions nor orders."""

    id: str
    alias: str = ""
    currency: str
    balance: str
    NAV: str
    createdByUserID: int = 0
    createdTime: str = ""
    guaranteedStopLossOrderMode: str = ""
    pl: str = "0"
    resettablePL: str = "0"
    financing: str = "0"
    commission: str = "0"
    guaranteedExecutionFees: str = "0"
    marginCallEnterTime: str | msgspec.UnsetType = msgspec.UNSET
    marginRate: str = ""
    openTradeCount: int = 0
    openPositionCount: int = 0
    pendingOrderCount: int = 0
    hedgingEnabled: bool = False
    unrealizedPL: str = "0"
    marginUsed: str = "0"
    marginAvailable: str = "0"
    positionValue: str = "0"
    withdrawalLimit: str = "0"
    marginCloseoutUnrealizedPL: str = "0"
    marginCloseoutNAV: str = "0"
    marginCloseoutMarginUsed: str = "0"
    marginCloseoutPercent: str = "0"
    marginCloseoutPositionValue: str = "0"
    marginCallMarginUsed: str = "0"
    marginCallPercent: str = "0"
    lastTransactionID: str
    trades: Sequence[Trade] | msgspec.UnsetType = msgspec.UNSET
    positions: Sequence[Position] | msgspec.UnsetType = msgspec.UNSET
    orders: Sequence[Order] | msgspec.UnsetType = msgspec.UNSET


class AccountAnswer(msgspec.Struct, kw_only=True):
    """GET of the account, whole or in short."""

    account: Account
    lastTransactionID: str = ""


class Commission(msgspec.Struct, kw_only=True):
    """What is charged for so many units."""

    commission: str
    unitsTraded: str
    minimumCommission: str


class Instrument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One instrument as this account may trade it."""

    name: str
    type: str
    displayName: str
    pipLocation: int
    displayPrecision: int
    tradeUnitsPrecision: int
    minimumTradeSize: str
    maximumTrailingStopDistance: str = ""
    minimumTrailingStopDistance: str = ""
    maximumPositionSize: str = ""
    maximumOrderUnits: str = ""
    marginRate: str = ""
    commission: Commission | None = None


class Instruments(msgspec.Struct, kw_only=True):
    """GET of the instruments."""

    instruments: Sequence[Instrument]
    lastTransactionID: str = ""


class Bucket(msgspec.Struct, kw_only=True):
    """One step of a ladder. liquidity was seen as a number of either kind, and as text."""

    price: str
    liquidity: Decimal = Decimal(0)


class Factors(msgspec.Struct, kw_only=True):
    """What one of the quoted money is worth in the account's, gained or lost."""

    positiveUnits: str
    negativeUnits: str


class Price(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The market of one instrument, by question or by stream. Sides may be empty."""

    type: str = ""
    instrument: str = ""
    time: str
    status: str = ""
    tradeable: bool | None = None
    bids: Sequence[Bucket] = ()
    asks: Sequence[Bucket] = ()
    closeoutBid: str = ""
    closeoutAsk: str = ""
    quoteHomeConversionFactors: Factors | None = None
    lastTransactionID: str = ""  # of the transaction stream's heartbeat, which is no price


class Conversion(msgspec.Struct, kw_only=True):
    """What one of a money is worth in the account's."""

    currency: str
    accountGain: str = ""
    accountLoss: str = ""
    positionValue: str


class Prices(msgspec.Struct, kw_only=True, omit_defaults=True):
    """GET of the pricing. time: of the answer."""

    prices: Sequence[Price]
    homeConversions: Sequence[Conversion] = ()
    time: str = ""


class Ohlc(msgspec.Struct, kw_only=True):
    """The four prices of a candle."""

    o: str
    h: str
    l: str  # noqa: E741 OANDA's name
    c: str


class Candle(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One candle. volume counts prices, not units."""

    time: str
    complete: bool
    volume: int
    mid: Ohlc | None = None
    bid: Ohlc | None = None
    ask: Ohlc | None = None


class Candles(msgspec.Struct, kw_only=True):
    """GET of candles."""

    instrument: str
    granularity: str
    candles: Sequence[Candle]


class TradeChange(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a fill did to one trade: opened, reduced or closed it."""

    tradeID: str
    units: str
    price: str = ""
    realizedPL: str = ""
    financing: str = ""
    guaranteedExecutionFee: str = ""
    halfSpreadCost: str = ""
    initialMarginRequired: str = ""
    clientExtensions: Extensions | None = None


class TradeFinancing(msgspec.Struct, kw_only=True):
    """A day's interest of one trade."""

    tradeID: str
    financing: str


class PositionFinancing(msgspec.Struct, kw_only=True):
    """A day's interest of one instrument."""

    instrument: str
    financing: str
    openTradeFinancings: Sequence[TradeFinancing] = ()


class Closeout(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a market order of OANDA's own closes."""

    instrument: str = ""
    tradeID: str = ""
    clientTradeID: str = ""
    units: str = ""
    reason: str = ""  # of a closeout for want of margin


class Transaction(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One entry of the account's log, of whatever type; ids rise by one."""

    id: str
    time: str
    type: str
    accountID: str = ""
    userID: int = 0
    batchID: str = ""
    requestID: str = ""
    reason: str = ""
    rejectReason: str = ""
    # orders
    instrument: str = ""
    units: str = ""
    price: str = ""
    priceBound: str = ""
    distance: str = ""
    tradeID: str = ""
    clientTradeID: str = ""
    timeInForce: str = ""
    gtdTime: str = ""
    positionFill: str = ""
    triggerCondition: str = ""
    guaranteed: bool = False
    guaranteedExecutionPremium: str = ""
    clientExtensions: Extensions | None = None
    tradeClientExtensions: Extensions | None = None
    takeProfitOnFill: OnFill | None = None
    stopLossOnFill: OnFill | None = None
    trailingStopLossOnFill: OnFill | None = None
    orderFillTransactionID: str = ""
    replacesOrderID: str = ""
    cancellingTransactionID: str = ""
    tradeClose: Closeout | None = None
    longPositionCloseout: Closeout | None = None
    shortPositionCloseout: Closeout | None = None
    marginCloseout: Closeout | None = None
    # what became of them
    orderID: str = ""
    clientOrderID: str = ""
    replacedByOrderID: str = ""
    fullVWAP: str = ""
    pl: str = ""
    financing: str = ""
    commission: str = ""
    guaranteedExecutionFee: str = ""
    accountBalance: str = ""
    gainQuoteHomeConversionFactor: str = ""
    lossQuoteHomeConversionFactor: str = ""
    halfSpreadCost: str = ""
    tradeOpened: TradeChange | None = None
    tradesClosed: Sequence[TradeChange] = ()
    tradeReduced: TradeChange | None = None
    clientExtensionsModify: Extensions | None = None
    tradeClientExtensionsModify: Extensions | None = None
    # money
    alias: str = ""
    marginRate: str = ""
    amount: str = ""
    fundingReason: str = ""
    accountFinancingMode: str = ""
    positionFinancings: Sequence[PositionFinancing] = ()


class StreamLine(msgspec.Struct, kw_only=True):
    """What tells the lines of the transaction stream apart."""

    type: str
    lastTransactionID: str = ""  # of a heartbeat


class Transactions(msgspec.Struct, kw_only=True):
    """A range of the log."""

    transactions: Sequence[Transaction]
    lastTransactionID: str = ""


class TransactionPages(msgspec.Struct, kw_only=True):
    """Where the ranges of a time are."""

    pages: Sequence[str]
    count: int = 0
    pageSize: int = 0
    lastTransactionID: str = ""


class TransactionAnswer(msgspec.Struct, kw_only=True):
    """GET of one entry."""

    transaction: Transaction
    lastTransactionID: str = ""


class Placed(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer to a create or a replace: what was made, and what became of it at once."""

    orderCancelTransaction: Transaction | None = None
    orderCreateTransaction: Transaction
    orderFillTransaction: Transaction | None = None
    orderReissueTransaction: Transaction | None = None
    replacingOrderCancelTransaction: Transaction | None = None
    relatedTransactionIDs: Sequence[str] = ()
    lastTransactionID: str = ""


class Canceled(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer to a cancel."""

    orderCancelTransaction: Transaction
    relatedTransactionIDs: Sequence[str] = ()
    lastTransactionID: str = ""


class Refused(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Any answer that says no. Without an errorCode nothing was even looked at."""

    errorMessage: str
    errorCode: str = ""
    orderRejectTransaction: Transaction | None = None
    orderCancelRejectTransaction: Transaction | None = None
    relatedTransactionIDs: Sequence[str] = ()
    lastTransactionID: str = ""


class AccountName(msgspec.Struct, kw_only=True):
    """An account that a token may use."""

    id: str
    tags: Sequence[str] = ()


class Accounts(msgspec.Struct, kw_only=True):
    """GET of the accounts."""

    accounts: Sequence[AccountName]


class Changes(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What happened to an account since a transaction."""

    ordersCreated: Sequence[Order] = ()
    ordersCancelled: Sequence[Order] = ()
    ordersFilled: Sequence[Order] = ()
    ordersTriggered: Sequence[Order] = ()
    tradesOpened: Sequence[Trade] = ()
    tradesReduced: Sequence[Trade] = ()
    tradesClosed: Sequence[Trade] = ()
    positions: Sequence[Position] = ()
    transactions: Sequence[Transaction] = ()


class AccountState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What of an account follows the prices."""

    unrealizedPL: str
    NAV: str
    marginUsed: str
    marginAvailable: str
    positionValue: str
    withdrawalLimit: str
    marginCloseoutUnrealizedPL: str
    marginCloseoutNAV: str
    marginCloseoutMarginUsed: str
    marginCloseoutPercent: str
    marginCloseoutPositionValue: str
    marginCallMarginUsed: str
    marginCallPercent: str
    trades: Sequence[Mapping[str, str]] = ()
    positions: Sequence[Mapping[str, str]] = ()
    orders: Sequence[Mapping[str, object]] = ()


class ChangesAnswer(msgspec.Struct, kw_only=True):
    """GET of the changes."""

    changes: Changes
    state: AccountState
    lastTransactionID: str
