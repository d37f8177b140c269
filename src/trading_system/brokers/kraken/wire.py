"""Kraken's messages under Kraken's names, for both ends: the connector decodes what the twin encodes.

Apart from the codec, so that the twin can speak the wire without sharing our reading of it. REST carries amounts as strings, which stay strings here,
and times as JSON numbers; the streams carry JSON numbers throughout, which become Decimal exactly (5e-05 included). Only what nobody can do without
is required. Entries of the executions channel are sparse: whatever was said before is left out.
Source: docs.kraken.com/api; ../shared/protocols/kraken.md says what is published and what was seen.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError)  # what decoding raises for bytes that are no message, nested too deeply included

# -- REST: the envelope ----------------------------------------------------------------------------------------------------------------------------


class Envelope(msgspec.Struct, kw_only=True):
    """Every answer, HTTP 200 in all normal cases: look at `error` before `result`. Texts that begin with W are warnings."""

    error: Sequence[str]
    result: msgspec.Raw = msgspec.Raw(b"")


# -- REST: public ----------------------------------------------------------------------------------------------------------------------------------


class Time(msgspec.Struct, kw_only=True):
    """Time."""

    unixtime: int
    rfc1123: str = ""


class SystemStatus(msgspec.Struct, kw_only=True):
    """SystemStatus: online, maintenance, cancel_only, post_only."""

    status: str
    timestamp: str = ""


class Asset(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of Assets; the key is XXBT, ZUSD or, for newer ones, SOL."""

    aclass: str = ""
    altname: str
    decimals: int = 8
    display_decimals: int = 5
    collateral_value: Decimal | None = None
    status: str = ""


class AssetPair(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of AssetPairs; the key is XXBTZUSD, altname XBTUSD, wsname XBT/USD. Fees are percent by 30-day volume, at the base tier."""

    altname: str
    wsname: str | None = None
    aclass_base: str = ""
    base: str
    aclass_quote: str = ""
    quote: str
    lot: str = ""
    cost_decimals: int | None = None
    pair_decimals: int
    lot_decimals: int
    lot_multiplier: int = 1
    leverage_buy: Sequence[int] = ()
    leverage_sell: Sequence[int] = ()
    fees: Sequence[tuple[Decimal, Decimal]] = ()
    fees_maker: Sequence[tuple[Decimal, Decimal]] = ()
    fee_volume_currency: str = ""
    margin_call: int | None = None
    margin_stop: int | None = None
    ordermin: str | None = None
    costmin: str | None = None
    tick_size: str | None = None
    status: str | None = None


class Ticker(msgspec.Struct, kw_only=True):
    """One of Ticker. a and b are price, whole lots, volume; of pairs the first is today's, the second the last day's."""

    a: tuple[str, str, str]
    b: tuple[str, str, str]
    c: tuple[str, str]
    v: tuple[str, str]
    p: tuple[str, str]
    t: tuple[int, int]
    l: tuple[str, str]  # noqa: E741 Kraken's name
    h: tuple[str, str]
    o: str


OhlcRow = tuple[int, str, str, str, str, str, str, int]  # time in seconds, open, high, low, close, vwap, volume, count
TradeRow = tuple[str, str, Decimal, str, str, str, int]  # price, volume, time in seconds, b or s, m or l, misc, trade id
LevelRow = tuple[str, str, int]  # price, volume, time in seconds


class Depth(msgspec.Struct, kw_only=True):
    """One of Depth, best first."""

    asks: Sequence[LevelRow]
    bids: Sequence[LevelRow]


# -- REST: private ---------------------------------------------------------------------------------------------------------------------------------


class BalanceEx(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One asset of BalanceEx; what is free is balance + credit - credit_used - hold_trade."""

    balance: str
    hold_trade: str = "0"
    credit: str = "0"
    credit_used: str = "0"


class TradeBalance(msgspec.Struct, kw_only=True, omit_defaults=True):
    """TradeBalance in one currency: eb everything the account holds, tb what serves as collateral, n unrealised, e = tb + n, mf free margin."""

    eb: str
    tb: str
    m: str = "0"
    n: str = "0"
    c: str = "0"
    v: str = "0"
    e: str = "0"
    mf: str = "0"
    ml: str | None = None
    uv: str | None = None


class KeyInfo(msgspec.Struct, kw_only=True):
    """GetApiKeyInfo. iban is the account's public number."""

    api_key_name: str = msgspec.field(default="", name="apiKeyName")
    api_key: str = msgspec.field(default="", name="apiKey")
    nonce: str = ""
    nonce_window: int = msgspec.field(default=0, name="nonceWindow")
    permissions: Sequence[str] = ()
    iban: str = ""
    valid_until: str = msgspec.field(default="0", name="validUntil")
    query_from: str = msgspec.field(default="0", name="queryFrom")
    query_to: str = msgspec.field(default="0", name="queryTo")
    created_time: str = msgspec.field(default="0", name="createdTime")
    modified_time: str = msgspec.field(default="0", name="modifiedTime")
    ip_allowlist: Sequence[str] = msgspec.field(default=(), name="ipAllowlist")
    last_used: str = msgspec.field(default="0", name="lastUsed")


class OrderDescr(msgspec.Struct, kw_only=True):
    """What an order asked for. price is the limit, or the trigger of a stop, whose limit is price2; a distance ends in % or begins with +."""

    pair: str
    aclass: str = "forex"
    type: str
    ordertype: str
    price: str = "0"
    price2: str = "0"
    leverage: str = "none"
    order: str = ""
    close: str = ""


class Order(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An order's row; its id is the key of the map. price is the average of what filled, vol is in the quote currency where oflags have viqc."""

    refid: str | None
    userref: int | None = None
    cl_ord_id: str | None = None
    status: str
    opentm: Decimal
    starttm: Decimal
    expiretm: Decimal
    closetm: Decimal | None = None
    reason: str | None = None
    descr: OrderDescr
    vol: str
    vol_exec: str
    cost: str
    fee: str
    price: str
    stopprice: str
    limitprice: str
    misc: str
    oflags: str
    amended: bool = False
    trades: Sequence[str] | None = None


class OpenOrders(msgspec.Struct, kw_only=True):
    """OpenOrders, by order id."""

    open: Mapping[str, Order]


class ClosedOrders(msgspec.Struct, kw_only=True):
    """A page of ClosedOrders; count is of all that match."""

    closed: Mapping[str, Order]
    count: int | None = None


class Fill(msgspec.Struct, kw_only=True):
    """A trade of ours; its id is the key of the map. The fee's currency stands in the order's oflags."""

    ordertxid: str
    postxid: str = ""
    pair: str
    aclass: str = "forex"
    time: Decimal
    type: str
    ordertype: str
    price: str
    cost: str
    fee: str
    vol: str
    margin: str = "0.00000"
    leverage: str = "0"
    misc: str = ""
    trade_id: int | None = None
    maker: bool | None = None


class TradesHistory(msgspec.Struct, kw_only=True):
    """A page of TradesHistory, newest first."""

    trades: Mapping[str, Fill]
    count: int | None = None


class LedgerEntry(msgspec.Struct, kw_only=True):
    """What moved one asset; the balance moved by amount - fee."""

    refid: str
    time: Decimal
    type: str
    subtype: str = ""
    aclass: str = "currency"
    asset: str
    amount: str
    fee: str = "0"
    balance: str = "0"


class Ledgers(msgspec.Struct, kw_only=True):
    """A page of Ledgers, newest first."""

    ledger: Mapping[str, LedgerEntry]
    count: int | None = None


class Fee(msgspec.Struct, kw_only=True):
    """One pair's fee in percent, and the step to the next level."""

    fee: str
    minfee: str
    maxfee: str
    nextfee: str | None
    nextvolume: str | None
    tiervolume: str | None


class TradeVolume(msgspec.Struct, kw_only=True):
    """TradeVolume: the fees that hold for this account."""

    currency: str
    volume: str
    fees: Mapping[str, Fee] = {}
    fees_maker: Mapping[str, Fee] = {}


class AddedDescr(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A new order in words."""

    order: str
    close: str = ""


class Added(msgspec.Struct, kw_only=True, omit_defaults=True):
    """AddOrder; txid is missing where it was only validated."""

    descr: AddedDescr
    txid: Sequence[str] = ()


class Amended(msgspec.Struct, kw_only=True):
    """AmendOrder; the order keeps its id."""

    amend_id: str


class Canceled(msgspec.Struct, kw_only=True, omit_defaults=True):
    """CancelOrder and CancelAll: how many; pending where they are queued."""

    count: int
    pending: bool = False


class Timer(msgspec.Struct, kw_only=True):
    """CancelAllOrdersAfter; triggerTime is "0" when it is off."""

    current_time: str = msgspec.field(name="currentTime")
    trigger_time: str = msgspec.field(name="triggerTime")


class Token(msgspec.Struct, kw_only=True):
    """GetWebSocketsToken; expires is in seconds."""

    token: str
    expires: int


# -- streams ---------------------------------------------------------------------------------------------------------------------------------------


class Frame(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Anything the server sends: data of a channel, or the reply to a method."""

    channel: str = ""
    type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    sequence: int = 0
    method: str = ""
    req_id: int | None = None
    success: bool | None = None
    error: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")
    symbol: str = ""


class Status(msgspec.Struct, kw_only=True):
    """The engine's state, told when a connection opens and when it changes. connection_id needs 64 bits without a sign."""

    system: str
    version: str = ""
    api_version: str = ""
    connection_id: int = 0


class Tick(msgspec.Struct, kw_only=True, omit_defaults=True):
    """channel ticker."""

    symbol: str
    bid: Decimal
    bid_qty: Decimal
    ask: Decimal
    ask_qty: Decimal
    last: Decimal
    volume: Decimal | None = None
    vwap: Decimal | None = None
    low: Decimal | None = None
    high: Decimal | None = None
    change: Decimal | None = None
    change_pct: Decimal | None = None
    timestamp: str | None = None


class TradeTick(msgspec.Struct, kw_only=True):
    """channel trade; side is the taker's."""

    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    ord_type: str = ""
    trade_id: int
    timestamp: str


class Ohlc(msgspec.Struct, kw_only=True):
    """channel ohlc, again with every trade; interval in minutes."""

    symbol: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    trades: int = 0
    volume: Decimal
    vwap: Decimal | None = None
    interval_begin: str
    interval: int
    timestamp: str = ""


class Level(msgspec.Struct, kw_only=True):
    """One price of a book; qty 0 takes it out."""

    price: Decimal
    qty: Decimal


class BookData(msgspec.Struct, kw_only=True):
    """channel book: all levels in a snapshot, those that changed in an update; checksum is over the ten best of each side."""

    symbol: str
    bids: Sequence[Level]
    asks: Sequence[Level]
    checksum: int
    timestamp: str | None = None


class ExecutionFee(msgspec.Struct, kw_only=True):
    """What a trade cost."""

    asset: str
    qty: Decimal


class Triggers(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Of an order that waits: price is where, or how far from the best price where price_type says pct or quote."""

    reference: str = "last"
    price: Decimal
    price_type: str = "static"
    actual_price: Decimal | None = None
    peak_price: Decimal | None = None
    last_price: Decimal | None = None
    status: str = "untriggered"


class Execution(msgspec.Struct, kw_only=True, omit_defaults=True):
    """channel executions: one entry, of which only exec_type is certain."""

    exec_type: str
    order_id: str = ""
    cl_ord_id: str | None = None
    order_userref: int | None = None
    symbol: str | None = None
    side: str | None = None
    order_type: str | None = None
    order_qty: Decimal | None = None
    cash_order_qty: Decimal | None = None
    limit_price: Decimal | None = None
    limit_price_type: str | None = None
    stop_price: Decimal | None = None
    triggers: Triggers | None = None
    time_in_force: str | None = None
    post_only: bool | None = None
    order_status: str | None = None
    cum_qty: Decimal | None = None
    cum_cost: Decimal | None = None
    avg_price: Decimal | None = None
    fee_usd_equiv: Decimal | None = None
    fee_ccy_pref: str | None = None
    cancel_reason: str | None = None
    reason: str | None = None
    amended: bool | None = None
    exec_id: str | None = None
    trade_id: int | None = None
    last_qty: Decimal | None = None
    last_price: Decimal | None = None
    cost: Decimal | None = None
    liquidity_ind: str | None = None
    fees: Sequence[ExecutionFee] | None = None
    timestamp: str | None = None


class BalanceChange(msgspec.Struct, kw_only=True, omit_defaults=True):
    """channel balances: an asset's total in a snapshot, a ledger entry in an update."""

    asset: str
    asset_class: str = "currency"
    balance: Decimal
    ledger_id: str = ""
    ref_id: str = ""
    timestamp: str = ""
    type: str = ""
    category: str = ""
    amount: Decimal | None = None
    fee: Decimal | None = None


class MethodOrder(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The result of add_order, amend_order and cancel_order."""

    order_id: str = ""
    cl_ord_id: str | None = None
    amend_id: str | None = None
