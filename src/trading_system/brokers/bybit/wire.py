"""Bybit's messages under Bybit's names, for both ends: the connector decodes what the twin encodes.

Apart from the codec, so that the twin can speak the wire without sharing our reading of it. Only what nobody can do without is required. Numbers are
strings, and the empty string is no number; times in bodies are strings of milliseconds. What is not listed here is ignored.
Source: bybit-exchange.github.io/docs/v5 as of 2026-07-24
"""
# ruff: noqa: N815 the names are Bybit's

from collections.abc import Mapping, Sequence

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)  # what decoding raises for bytes that are no message

# -- REST ------------------------------------------------------------------------------------------------------------------------------------------


class Envelope(msgspec.Struct, kw_only=True):
    """Around every answer, refusals included: HTTP says 200 to both. time: epoch milliseconds."""

    retCode: int
    retMsg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"{}")
    retExtInfo: msgspec.Raw = msgspec.Raw(b"{}")
    time: int


class ServerTime(msgspec.Struct, kw_only=True):
    """GET /v5/market/time."""

    timeSecond: str
    timeNano: str


class PriceFilter(msgspec.Struct, kw_only=True):
    """The price grid of an instrument."""

    tickSize: str
    minPrice: str = ""
    maxPrice: str = ""


class LotSizeFilter(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Quantities: of spot basePrecision and minOrderAmt, of the others qtyStep and minNotionalValue."""

    minOrderQty: str
    maxOrderQty: str
    basePrecision: str = ""
    quotePrecision: str = ""
    minOrderAmt: str = ""
    maxOrderAmt: str = ""
    maxLimitOrderQty: str = ""
    maxMarketOrderQty: str = ""
    qtyStep: str = ""
    postOnlyMaxOrderQty: str = ""
    maxMktOrderQty: str = ""
    minNotionalValue: str = ""


class LeverageFilter(msgspec.Struct, kw_only=True):
    """What leverage a contract may have."""

    minLeverage: str
    maxLeverage: str
    leverageStep: str


class Instrument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of GET /v5/market/instruments-info. contractType, settleCoin and what stands beside them are not spot's; optionsType is options'."""

    symbol: str
    baseCoin: str
    quoteCoin: str
    status: str
    priceFilter: PriceFilter
    lotSizeFilter: LotSizeFilter
    contractType: str = ""
    optionsType: str = ""
    settleCoin: str = ""
    launchTime: str = ""
    deliveryTime: str = ""
    deliveryFeeRate: str | None = None
    priceScale: str = ""
    leverageFilter: LeverageFilter | None = None
    unifiedMarginTrade: bool | None = None
    fundingInterval: int = 0  # minutes
    innovation: str = ""
    marginTrading: str = ""


class Instruments(msgspec.Struct, kw_only=True):
    """A page of instruments."""

    category: str = ""
    list: Sequence[Instrument]
    nextPageCursor: str = ""


class Book(msgspec.Struct, kw_only=True):
    """GET /v5/market/orderbook: [price, size] as strings, best first. ts and cts: epoch milliseconds; u: number of the update."""

    s: str
    b: Sequence[tuple[str, str]]
    a: Sequence[tuple[str, str]]
    ts: int
    u: int
    seq: int = 0
    cts: int = 0


class Ticker(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of GET /v5/market/tickers, all categories' fields together. Volatilities are a year's, as fractions."""

    symbol: str
    lastPrice: str
    bid1Price: str = ""
    bid1Size: str = ""
    ask1Price: str = ""
    ask1Size: str = ""
    usdIndexPrice: str = ""
    indexPrice: str = ""
    markPrice: str = ""
    prevPrice24h: str = ""
    price24hPcnt: str = ""
    highPrice24h: str = ""
    lowPrice24h: str = ""
    turnover24h: str = ""
    volume24h: str = ""
    openInterest: str = ""
    openInterestValue: str = ""
    fundingRate: str = ""
    nextFundingTime: str = ""
    fundingIntervalHour: str = ""
    deliveryTime: str = ""
    bid1Iv: str = ""
    ask1Iv: str = ""
    markIv: str = ""
    underlyingPrice: str = ""
    delta: str = ""
    gamma: str = ""
    vega: str = ""
    theta: str = ""
    change24h: str = ""


class Tickers(msgspec.Struct, kw_only=True):
    category: str = ""
    list: Sequence[Ticker]


class Print(msgspec.Struct, kw_only=True):
    """One of GET /v5/market/recent-trade; side is the taker's."""

    execId: str
    symbol: str
    price: str
    size: str
    side: str
    time: str
    isBlockTrade: bool = False


class Prints(msgspec.Struct, kw_only=True):
    category: str = ""
    list: Sequence[Print]


class Klines(msgspec.Struct, kw_only=True):
    """GET /v5/market/kline: [start ms, open, high, low, close, volume, turnover], newest first."""

    category: str = ""
    symbol: str
    list: Sequence[tuple[str, str, str, str, str, str, str]]


class FundingRate(msgspec.Struct, kw_only=True):
    symbol: str
    fundingRate: str
    fundingRateTimestamp: str


class FundingRates(msgspec.Struct, kw_only=True):
    """GET /v5/market/funding/history, newest first."""

    category: str = ""
    list: Sequence[FundingRate]


class Coin(msgspec.Struct, kw_only=True):
    """One coin of a wallet. equity is walletBalance and unrealisedPnl; usdValue is what equity is worth in dollars; locked: held by spot orders."""

    coin: str
    equity: str
    walletBalance: str
    usdValue: str
    locked: str = ""
    spotBorrow: str = ""
    borrowAmount: str = ""
    unrealisedPnl: str = ""
    cumRealisedPnl: str = ""
    totalOrderIM: str = ""
    totalPositionIM: str = ""
    totalPositionMM: str = ""
    accruedInterest: str = ""
    availableToWithdraw: str = ""
    bonus: str = ""
    marginCollateral: bool = False
    collateralSwitch: bool = False


class Wallet(msgspec.Struct, kw_only=True):
    """GET /v5/account/wallet-balance, one account. Totals are dollars, and empty in isolated margin mode."""

    accountType: str
    totalEquity: str
    totalWalletBalance: str = ""
    totalMarginBalance: str = ""
    totalAvailableBalance: str = ""
    totalPerpUPL: str = ""
    totalInitialMargin: str = ""
    totalMaintenanceMargin: str = ""
    accountIMRate: str = ""
    accountMMRate: str = ""
    accountLTV: str = ""
    coin: Sequence[Coin]


class Wallets(msgspec.Struct, kw_only=True):
    list: Sequence[Wallet]


class AccountInfo(msgspec.Struct, kw_only=True):
    """GET /v5/account/info. unifiedMarginStatus: 1 classic, 3 to 6 unified."""

    marginMode: str
    unifiedMarginStatus: int
    updatedTime: str = ""
    dcpStatus: str = "OFF"
    timeWindow: int = 0
    smpGroup: int = 0
    isMasterTrader: bool = False
    spotHedgingStatus: str = "OFF"


class KeyInfo(msgspec.Struct, kw_only=True):
    """GET /v5/user/query-api: whose key this is and what it may do. readOnly is 0 or 1 in the documents, and a truth value in what was seen."""

    userID: int
    readOnly: int | bool
    permissions: Mapping[str, Sequence[str]]
    note: str = ""
    apiKey: str = ""
    id: str = ""
    ips: Sequence[str] = ()
    type: int = 1
    deadlineDay: int = 0
    expiredAt: str = ""
    createdAt: str = ""
    unified: int = 0
    uta: int = 0
    isMaster: bool = True


class FeeRate(msgspec.Struct, kw_only=True, omit_defaults=True):
    symbol: str = ""
    baseCoin: str = ""  # of options
    takerFeeRate: str
    makerFeeRate: str


class FeeRates(msgspec.Struct, kw_only=True):
    """GET /v5/account/fee-rate."""

    category: str = ""
    list: Sequence[FeeRate]


class Position(msgspec.Struct, kw_only=True):
    """One of GET /v5/position/list. side "" and size "0": flat. positionIdx: 0 one-way, 1 and 2 the two sides of hedge mode."""

    positionIdx: int
    symbol: str
    side: str
    size: str
    avgPrice: str
    markPrice: str
    unrealisedPnl: str = ""
    positionValue: str = ""
    leverage: str = ""
    liqPrice: str = ""
    positionIM: str = ""
    positionMM: str = ""
    curRealisedPnl: str = ""
    cumRealisedPnl: str = ""
    positionStatus: str = "Normal"
    tradeMode: int = 0
    riskId: int = 1
    riskLimitValue: str = ""
    autoAddMargin: int = 0
    adlRankIndicator: int = 0
    isReduceOnly: bool = False
    seq: int = 0
    createdTime: str = ""
    updatedTime: str = ""


class Positions(msgspec.Struct, kw_only=True):
    category: str = ""
    list: Sequence[Position]
    nextPageCursor: str = ""


class LogEntry(msgspec.Struct, kw_only=True):
    """One of GET /v5/account/transaction-log: change is what the coin's balance moved by, fee and funding included."""

    id: str
    type: str
    currency: str
    change: str
    transactionTime: str
    symbol: str = ""
    category: str = ""
    side: str = ""
    size: str = ""
    qty: str = ""
    tradePrice: str = ""
    funding: str = ""
    fee: str = ""
    cashFlow: str = ""
    cashBalance: str = ""
    feeRate: str = ""
    transSubType: str = ""
    orderId: str = ""
    orderLinkId: str = ""
    tradeId: str = ""


class Log(msgspec.Struct, kw_only=True):
    list: Sequence[LogEntry]
    nextPageCursor: str = ""


class Delivery(msgspec.Struct, kw_only=True):
    """One of GET /v5/asset/delivery-record: what a contract's end made, fees apart. Examples of options have no entryPrice."""

    deliveryTime: int
    symbol: str
    side: str
    position: str
    entryPrice: str = ""
    deliveryPrice: str
    strike: str = ""
    fee: str
    deliveryRpl: str


class Deliveries(msgspec.Struct, kw_only=True):
    category: str = ""
    list: Sequence[Delivery]
    nextPageCursor: str = ""


class Order(msgspec.Struct, kw_only=True):
    """An order, in answers and in events; events and some answers add category. qty is money where marketUnit is quoteCoin."""

    orderId: str
    orderLinkId: str = ""
    category: str = ""
    symbol: str
    side: str
    orderType: str
    orderStatus: str
    qty: str
    price: str = ""
    cumExecQty: str
    timeInForce: str
    createdTime: str
    updatedTime: str
    avgPrice: str = ""
    leavesQty: str = ""
    leavesValue: str = ""
    cumExecValue: str = ""
    cumExecFee: str = ""
    cumFeeDetail: Mapping[str, str] = {}
    triggerPrice: str = ""
    triggerDirection: int = 0
    triggerBy: str = ""
    stopOrderType: str = ""
    marketUnit: str = ""
    reduceOnly: bool = False
    closeOnTrigger: bool = False
    rejectReason: str = "EC_NoError"
    cancelType: str = "UNKNOWN"
    createType: str = ""
    positionIdx: int = 0
    isLeverage: str = ""
    takeProfit: str = ""
    stopLoss: str = ""
    parentOrderLinkId: str = ""  # of an exit: the client id of the order that it was attached to
    smpType: str = "None"
    blockTradeId: str = ""
    tpslMode: str | msgspec.UnsetType = msgspec.UNSET  # of contracts alone


class Orders(msgspec.Struct, kw_only=True):
    category: str = ""
    list: Sequence[Order]
    nextPageCursor: str = ""


class Execution(msgspec.Struct, kw_only=True):
    """A fill, of GET /v5/execution/list and of the stream. execType Funding and Settle are no fills. execFee below zero is a rebate. execPnl, what
    closing made, the stream alone tells."""

    category: str = ""
    symbol: str
    side: str
    orderId: str
    orderLinkId: str = ""
    orderType: str
    orderQty: str
    orderPrice: str = ""
    stopOrderType: str = ""
    execId: str
    execType: str
    execQty: str
    execPrice: str
    execTime: str
    execFee: str = ""
    execValue: str = ""
    feeRate: str = ""
    feeCurrency: str = ""
    leavesQty: str = ""
    isMaker: bool = False
    marketUnit: str = ""
    closedSize: str = ""
    execPnl: str | msgspec.UnsetType = msgspec.UNSET
    createType: str = ""
    markPrice: str = ""
    blockTradeId: str = ""
    seq: int = 0


class Executions(msgspec.Struct, kw_only=True):
    category: str = ""
    list: Sequence[Execution]
    nextPageCursor: str = ""


class CreateRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Body of POST /v5/order/create: numbers as strings, what is not meant left out."""

    category: str
    symbol: str
    side: str
    orderType: str
    qty: str
    timeInForce: str
    orderLinkId: str
    price: str | None = None
    marketUnit: str | None = None
    triggerPrice: str | None = None
    triggerDirection: int | None = None
    triggerBy: str | None = None
    orderFilter: str | None = None
    reduceOnly: bool | None = None
    positionIdx: int | None = None
    tpslMode: str | None = None
    takeProfit: str | None = None
    tpOrderType: str | None = None
    tpLimitPrice: str | None = None
    tpTriggerBy: str | None = None
    stopLoss: str | None = None
    slOrderType: str | None = None
    slLimitPrice: str | None = None
    slTriggerBy: str | None = None


class AmendRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Body of POST /v5/order/amend. qty is the new total, fills included."""

    category: str
    symbol: str
    orderId: str
    qty: str | None = None
    price: str | None = None
    triggerPrice: str | None = None


class CancelRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Body of POST /v5/order/cancel. Spot finds a waiting stop only under its filter."""

    category: str
    symbol: str
    orderId: str
    orderFilter: str | None = None


class CancelAllRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Body of POST /v5/order/cancel-all: contracts by the coin that they settle in or by symbol, whatever waits or rests; of spot one filter at a
    time."""

    category: str
    symbol: str | None = None
    settleCoin: str | None = None
    orderFilter: str | None = None


class Placed(msgspec.Struct, kw_only=True):
    """The answer to create, amend and cancel: it was taken in, and no more than that."""

    orderId: str
    orderLinkId: str = ""


# -- streams ---------------------------------------------------------------------------------------------------------------------------------------


class StreamFrame(msgspec.Struct, kw_only=True):
    """Anything a stream sends: control (op, success, ret_msg) or data (topic, type, data). Key order varies, and pongs have four shapes."""

    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    conn_id: str = ""
    req_id: str = ""
    topic: str = ""
    type: str = ""
    ts: int = 0
    cts: int = 0
    creationTime: int = 0
    data: msgspec.Raw = msgspec.Raw(b"null")


class TradeFrame(msgspec.Struct, kw_only=True):
    """Anything that /v5/trade says: an envelope in other words, with REST's headers inside. Some replies were seen without reqId."""

    op: str = ""
    reqId: str = ""
    retCode: int
    retMsg: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")
    header: Mapping[str, str] = {}
    connId: str = ""


class StreamBook(msgspec.Struct, kw_only=True):
    """`data` of orderbook.{depth}.{symbol}: of a delta, size "0" takes a price out. u 1: the service began anew."""

    s: str
    b: Sequence[tuple[str, str]]
    a: Sequence[tuple[str, str]]
    u: int
    seq: int = 0


class StreamTrade(msgspec.Struct, kw_only=True):
    """One of publicTrade.{symbol}: time, symbol, taker's side, size, price, id."""

    T: int
    s: str
    S: str
    v: str
    p: str
    i: str
    L: str = ""
    BT: bool = False
    seq: int = 0


class StreamOption(msgspec.Struct, kw_only=True):
    """`data` of an option's tickers.{symbol}, whole each time: what a quote is made of. A price of 0: nobody quotes that side."""

    symbol: str
    bidPrice: str
    bidSize: str
    askPrice: str
    askSize: str


class OptionAck(msgspec.Struct, kw_only=True):
    """`data` of COMMAND_RESP, which answers a subscription on the options' line."""

    failTopics: Sequence[str] = ()
    successTopics: Sequence[str] = ()


class StreamKline(msgspec.Struct, kw_only=True):
    """One of kline.{interval}.{symbol}; confirm: the bar is over."""

    start: int
    end: int
    interval: str
    open: str
    close: str
    high: str
    low: str
    volume: str
    turnover: str
    confirm: bool
    timestamp: int
