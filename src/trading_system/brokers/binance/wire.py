"""Binance's messages under Binance's names, for both ends: the connector decodes what the twin encodes.

Apart from the codec, so that the twin can speak the wire without sharing our reading of it. Only what nobody can do without is required: Binance adds
fields without notice, and new ones are ignored. Decimals are strings and stay strings here, ids and times are integers, times are milliseconds.
Names are Binance's in snake case; user events and streams have single letters, which are spelt out.
Source: github.com/binance/binance-spot-api-docs, of 2026-07-17.
"""

from collections.abc import Sequence

import msgspec

UNREADABLE = (msgspec.MsgspecError, RecursionError)  # what decoding raises for bytes that are no message, nested too deeply included


class _Camel(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """REST bodies: clientOrderId is client_order_id here."""


# -- errors ----------------------------------------------------------------------------------------------------------------------------------------


class Error(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Every refusal. data comes with a cancel-replace that failed, at least in part."""

    code: int = 0
    msg: str = ""
    data: "ErrorData | None" = None


class ErrorData(_Camel, kw_only=True):
    """What became of the two halves of a cancel-replace; a half that failed is an error. Here the WebSocket API says, with a 429, until when to
    wait."""

    cancel_result: str = ""  # SUCCESS, FAILURE, NOT_ATTEMPTED
    new_order_result: str = ""
    cancel_response: msgspec.Raw = msgspec.Raw()
    new_order_response: msgspec.Raw = msgspec.Raw()
    server_time: int | None = None
    retry_after: int | None = None


# -- the market, without a key ---------------------------------------------------------------------------------------------------------------------


class Time(_Camel, kw_only=True):
    """GET /time."""

    server_time: int


class RateLimit(_Camel, kw_only=True):
    """One budget: REQUEST_WEIGHT, ORDERS or RAW_REQUESTS. count: how much of it is used, where that is said."""

    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int
    count: int | None = None


class Filter(_Camel, kw_only=True):
    """One rule of a symbol; which fields it has depends on its type."""

    filter_type: str
    min_price: str | None = None
    max_price: str | None = None
    tick_size: str | None = None
    min_qty: str | None = None
    max_qty: str | None = None
    step_size: str | None = None
    min_notional: str | None = None
    max_notional: str | None = None
    apply_min_to_market: bool | None = None
    apply_max_to_market: bool | None = None
    apply_to_market: bool | None = None
    avg_price_mins: int | None = None
    bid_multiplier_up: str | None = None
    bid_multiplier_down: str | None = None
    ask_multiplier_up: str | None = None
    ask_multiplier_down: str | None = None
    max_num_orders: int | None = None
    max_num_algo_orders: int | None = None
    min_trailing_above_delta: int | None = None
    max_trailing_above_delta: int | None = None
    min_trailing_below_delta: int | None = None
    max_trailing_below_delta: int | None = None


class Symbol(_Camel, kw_only=True):
    """One pair. status: TRADING, END_OF_DAY, HALT, BREAK, CANCEL_ONLY."""

    symbol: str
    status: str
    base_asset: str
    base_asset_precision: int | None = None
    quote_asset: str
    quote_precision: int | None = None
    quote_asset_precision: int | None = None
    base_commission_precision: int | None = None
    quote_commission_precision: int | None = None
    order_types: Sequence[str] | None = None
    iceberg_allowed: bool | None = None
    oco_allowed: bool | None = None
    oto_allowed: bool | None = None
    quote_order_qty_market_allowed: bool | None = None
    allow_trailing_stop: bool | None = None
    cancel_replace_allowed: bool | None = None
    is_spot_trading_allowed: bool | None = None
    is_margin_trading_allowed: bool | None = None
    filters: Sequence[Filter] | None = None
    permissions: Sequence[str] | None = None
    permission_sets: Sequence[Sequence[str]] | None = None
    default_self_trade_prevention_mode: str | None = None
    allowed_self_trade_prevention_modes: Sequence[str] | None = None


class ExchangeInfo(_Camel, kw_only=True):
    """GET /exchangeInfo."""

    timezone: str | None = None
    server_time: int
    rate_limits: Sequence[RateLimit] | None = None
    exchange_filters: Sequence[Filter] | None = None
    symbols: Sequence[Symbol]


class BookTicker(_Camel, kw_only=True):
    """GET /ticker/bookTicker: it says no time. A price of 0 means that nobody quotes that side."""

    symbol: str
    bid_price: str
    bid_qty: str
    ask_price: str
    ask_qty: str


class PriceTicker(_Camel, kw_only=True):
    """GET /ticker/price: the last trade's."""

    symbol: str
    price: str


class AvgPrice(_Camel, kw_only=True):
    """GET /avgPrice: what was paid, on average over so many minutes."""

    mins: int
    price: str
    close_time: int


class DayTicker(_Camel, kw_only=True, omit_defaults=True):
    """GET /ticker/24hr: the last 24 hours. Of type MINI it has neither changes, averages nor best prices."""

    symbol: str
    price_change: str | None = None
    price_change_percent: str | None = None
    weighted_avg_price: str | None = None
    prev_close_price: str | None = None
    last_price: str
    last_qty: str | None = None
    bid_price: str | None = None
    bid_qty: str | None = None
    ask_price: str | None = None
    ask_qty: str | None = None
    open_price: str
    high_price: str
    low_price: str
    volume: str
    quote_volume: str
    open_time: int
    close_time: int
    first_id: int
    last_id: int
    count: int


class Depth(_Camel, kw_only=True):
    """GET /depth: (price, quantity), the best first."""

    last_update_id: int
    bids: Sequence[tuple[str, str]]
    asks: Sequence[tuple[str, str]]


class Trade(_Camel, kw_only=True):
    """One of GET /trades."""

    id: int
    price: str
    qty: str
    quote_qty: str
    time: int
    is_buyer_maker: bool
    is_best_match: bool | None = None


class AggTrade(msgspec.Struct, kw_only=True):
    """One of GET /aggTrades: trades of one taker order at one price."""

    id: int = msgspec.field(name="a")
    price: str = msgspec.field(name="p")
    qty: str = msgspec.field(name="q")
    first_id: int = msgspec.field(name="f")
    last_id: int = msgspec.field(name="l")
    time: int = msgspec.field(name="T")
    is_buyer_maker: bool = msgspec.field(name="m")
    is_best_match: bool | None = msgspec.field(name="M", default=None)


class Kline(msgspec.Struct, array_like=True):
    """One row of GET /klines. close_time is a millisecond before the next one opens."""

    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: int
    quote_volume: str
    trades: int
    taker_base: str = "0"
    taker_quote: str = "0"
    unused: str = "0"


# -- the account -----------------------------------------------------------------------------------------------------------------------------------


class KeyRights(_Camel, kw_only=True):
    """GET /sapi/v1/account/apiRestrictions: what this key may do."""

    ip_restrict: bool | None = None
    enable_reading: bool | None = None
    enable_withdrawals: bool
    enable_internal_transfer: bool | None = None
    enable_spot_and_margin_trading: bool | None = None
    create_time: int | None = None
    permits_universal_transfer: bool | None = None
    enable_vanilla_options: bool | None = None
    enable_futures: bool | None = None
    enable_margin: bool | None = None
    trading_authority_expiration_time: int | None = None


class Deposit(_Camel, kw_only=True):
    """One of GET /sapi/v1/capital/deposit/hisrec. status: 0 pending, 6 credited and not to be withdrawn yet, 1 success, others came to nothing."""

    id: str | None = None
    amount: str
    coin: str
    network: str | None = None
    status: int
    address: str | None = None
    tx_id: str
    insert_time: int
    transfer_type: int | None = None
    address_tag: str | None = None
    confirm_times: str | None = None
    unlock_confirm: str | None = None


class Withdrawal(_Camel, kw_only=True):
    """One of GET /sapi/v1/capital/withdraw/history. status: 0 mail sent, 1 cancelled, 2 awaiting approval, 3 rejected, 4 processing, 5 failure,
    6 completed. The fee leaves besides the amount. apply_time is UTC, as text."""

    id: str
    amount: str
    transaction_fee: str | None = None
    coin: str
    status: int
    address: str | None = None
    tx_id: str | None = None
    apply_time: str
    withdraw_order_id: str | None = None
    network: str | None = None
    transfer_type: int | None = None


class Balance(_Camel, kw_only=True):
    """One asset. locked: what open orders hold."""

    asset: str
    free: str
    locked: str


class CommissionRates(_Camel, kw_only=True):
    """Fractions of what is credited."""

    maker: str
    taker: str
    buyer: str | None = None
    seller: str | None = None


class Discount(_Camel, kw_only=True):
    """What paying fees in BNB saves."""

    enabled_for_account: bool
    enabled_for_symbol: bool
    discount_asset: str
    discount: str


class Commission(_Camel, kw_only=True):
    """GET /account/commission."""

    symbol: str
    standard_commission: CommissionRates
    special_commission: CommissionRates
    tax_commission: CommissionRates
    discount: Discount


class Account(_Camel, kw_only=True):
    """GET /account. can_withdraw is the account's, not the key's."""

    uid: int
    account_type: str | None = None
    can_trade: bool
    can_withdraw: bool | None = None
    can_deposit: bool | None = None
    brokered: bool | None = None
    require_self_trade_prevention: bool | None = None
    prevent_sor: bool | None = None
    update_time: int | None = None
    maker_commission: int | None = None
    taker_commission: int | None = None
    buyer_commission: int | None = None
    seller_commission: int | None = None
    commission_rates: CommissionRates | None = None
    balances: Sequence[Balance]
    permissions: Sequence[str] | None = None


class Fill(_Camel, kw_only=True):
    """One execution in the answer to an order."""

    price: str
    qty: str
    commission: str
    commission_asset: str
    trade_id: int


class Order(_Camel, kw_only=True):
    """An order, in answers. Of a cancel's answer client_order_id is the cancel's own, and orig_client_order_id the order's."""

    symbol: str
    order_id: int
    order_list_id: int | None = None
    orig_client_order_id: str | None = None
    client_order_id: str
    price: str
    orig_qty: str
    executed_qty: str
    orig_quote_order_qty: str | None = None
    cummulative_quote_qty: str  # their spelling
    status: str
    time_in_force: str
    type: str
    side: str
    stop_price: str | None = None
    iceberg_qty: str | None = None
    time: int | None = None
    update_time: int | None = None
    transact_time: int | None = None
    is_working: bool | None = None
    working_time: int | None = None
    trailing_delta: int | None = None  # basis points
    trailing_time: int | None = None  # since when it follows the market; -1: not yet
    self_trade_prevention_mode: str | None = None
    expiry_reason: str | None = None
    fills: Sequence[Fill] | None = None


class ListedOrder(_Camel, kw_only=True):
    """One order of a list, by its names alone."""

    symbol: str
    order_id: int
    client_order_id: str


class OrderList(_Camel, kw_only=True):
    """Orders that depend on one another. list_status_type: RESPONSE, EXEC_STARTED, UPDATED, ALL_DONE; list_order_status: EXECUTING, ALL_DONE,
    REJECT. contingency_type: OCO, or OTO whatever follows the working order. Reports come where something was asked for."""

    order_list_id: int
    contingency_type: str
    list_status_type: str
    list_order_status: str
    list_client_order_id: str
    transaction_time: int
    symbol: str
    orders: Sequence[ListedOrder]
    order_reports: Sequence[Order] | None = None


class Canceled(_Camel, kw_only=True):
    """What the answer to a cancel is: an order's row, or the list's with what became of its orders, where the order was one of a list."""

    order_reports: Sequence[Order] | None = None


class OrderAck(_Camel, kw_only=True):
    """The shortest answer to an order: it was taken."""

    symbol: str
    order_id: int
    order_list_id: int | None = None
    client_order_id: str
    transact_time: int


class Replaced(_Camel, kw_only=True):
    """The answer to a cancel-replace of which both halves were done."""

    cancel_result: str
    new_order_result: str
    cancel_response: Order
    new_order_response: Order


class MyTrade(_Camel, kw_only=True):
    """One of GET /myTrades. id is unique in its symbol only."""

    symbol: str
    id: int
    order_id: int
    order_list_id: int | None = None
    price: str
    qty: str
    quote_qty: str
    commission: str
    commission_asset: str
    time: int
    is_buyer: bool
    is_maker: bool
    is_best_match: bool | None = None


# -- the WebSocket API -----------------------------------------------------------------------------------------------------------------------------


class SocketFrame(_Camel, kw_only=True):
    """Any frame of the WebSocket API: the answer to a request (status), or an event of the account (event)."""

    id: int | str | None = None
    status: int | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()  # as an HTTP answer's body
    rate_limits: Sequence[RateLimit] | None = None
    subscription_id: int | None = None
    event: msgspec.Raw = msgspec.Raw()


class EventHead(msgspec.Struct, kw_only=True):
    """What an event is about, before the rest of it is read."""

    event: str = msgspec.field(name="e")


class ExecutionReport(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something happened to an order. Of a cancel, client_order_id is the cancel's and orig_client_order_id the order's own."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    client_order_id: str = msgspec.field(name="c")
    side: str = msgspec.field(name="S")
    type: str = msgspec.field(name="o")
    time_in_force: str = msgspec.field(name="f")
    qty: str = msgspec.field(name="q")
    price: str = msgspec.field(name="p")
    stop_price: str = msgspec.field(name="P")
    order_list_id: int | None = msgspec.field(name="g", default=None)
    orig_client_order_id: str = msgspec.field(name="C")
    exec_type: str = msgspec.field(name="x")
    status: str = msgspec.field(name="X")
    reject_reason: str = msgspec.field(name="r")
    order_id: int = msgspec.field(name="i")
    last_qty: str = msgspec.field(name="l")
    cum_qty: str = msgspec.field(name="z")
    last_price: str = msgspec.field(name="L")
    commission: str = msgspec.field(name="n")
    commission_asset: str | None = msgspec.field(name="N")  # null without a fill
    transact_time: int = msgspec.field(name="T")
    trade_id: int = msgspec.field(name="t")
    execution_id: int = msgspec.field(name="I")
    working: bool = msgspec.field(name="w")
    maker: bool = msgspec.field(name="m")
    created: int = msgspec.field(name="O")
    cum_quote: str = msgspec.field(name="Z")
    last_quote: str = msgspec.field(name="Y")
    quote_order_qty: str = msgspec.field(name="Q")
    trailing_delta: int | None = msgspec.field(name="d", default=None)
    trailing_time: int | None = msgspec.field(name="D", default=None)
    self_trade_prevention_mode: str | None = msgspec.field(name="V", default=None)
    expiry_reason: str | None = msgspec.field(name="eR", default=None)


class ListStatusOrder(msgspec.Struct, kw_only=True):
    """One order of a list, in an event."""

    symbol: str = msgspec.field(name="s")
    order_id: int = msgspec.field(name="i")
    client_order_id: str = msgspec.field(name="c")


class ListStatus(msgspec.Struct, kw_only=True):
    """Something happened to a list as a whole."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    order_list_id: int = msgspec.field(name="g")
    contingency_type: str = msgspec.field(name="c")
    list_status_type: str = msgspec.field(name="l")
    list_order_status: str = msgspec.field(name="L")
    reject_reason: str = msgspec.field(name="r")
    list_client_order_id: str = msgspec.field(name="C")
    transact_time: int = msgspec.field(name="T")
    orders: Sequence[ListStatusOrder] = msgspec.field(name="O")


class AccountBalance(msgspec.Struct, kw_only=True):
    """One asset after a change, in full."""

    asset: str = msgspec.field(name="a")
    free: str = msgspec.field(name="f")
    locked: str = msgspec.field(name="l")


class AccountPosition(msgspec.Struct, kw_only=True):
    """The assets that an event has changed."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    update_time: int = msgspec.field(name="u")
    balances: Sequence[AccountBalance] = msgspec.field(name="B")


# -- market streams --------------------------------------------------------------------------------------------------------------------------------


class StreamFrame(msgspec.Struct, kw_only=True):
    """Any frame of a combined stream: an answer (id), a refusal (code or error), or data of a stream."""

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    id: int | str | None = None
    code: int | None = None
    msg: str = ""
    error: Error | None = None


class BookTickerMsg(msgspec.Struct, kw_only=True):
    """<symbol>@bookTicker: it says no time."""

    update_id: int = msgspec.field(name="u")
    symbol: str = msgspec.field(name="s")
    bid_price: str = msgspec.field(name="b")
    bid_qty: str = msgspec.field(name="B")
    ask_price: str = msgspec.field(name="a")
    ask_qty: str = msgspec.field(name="A")


class TradeMsg(msgspec.Struct, kw_only=True):
    """<symbol>@trade."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    trade_id: int = msgspec.field(name="t")
    price: str = msgspec.field(name="p")
    qty: str = msgspec.field(name="q")
    time: int = msgspec.field(name="T")
    is_buyer_maker: bool = msgspec.field(name="m")
    is_best_match: bool | None = msgspec.field(name="M", default=None)


class AggTradeMsg(msgspec.Struct, kw_only=True):
    """<symbol>@aggTrade."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    id: int = msgspec.field(name="a")
    price: str = msgspec.field(name="p")
    qty: str = msgspec.field(name="q")
    first_id: int = msgspec.field(name="f")
    last_id: int = msgspec.field(name="l")
    time: int = msgspec.field(name="T")
    is_buyer_maker: bool = msgspec.field(name="m")
    is_best_match: bool | None = msgspec.field(name="M", default=None)


class DayTickerMsg(msgspec.Struct, kw_only=True):
    """<symbol>@ticker: the last 24 hours, once a second."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    price_change: str = msgspec.field(name="p")
    price_change_percent: str = msgspec.field(name="P")
    weighted_avg_price: str = msgspec.field(name="w")
    prev_close_price: str = msgspec.field(name="x")
    last_price: str = msgspec.field(name="c")
    last_qty: str = msgspec.field(name="Q")
    bid_price: str = msgspec.field(name="b")
    bid_qty: str = msgspec.field(name="B")
    ask_price: str = msgspec.field(name="a")
    ask_qty: str = msgspec.field(name="A")
    open_price: str = msgspec.field(name="o")
    high_price: str = msgspec.field(name="h")
    low_price: str = msgspec.field(name="l")
    volume: str = msgspec.field(name="v")
    quote_volume: str = msgspec.field(name="q")
    open_time: int = msgspec.field(name="O")
    close_time: int = msgspec.field(name="C")
    first_id: int = msgspec.field(name="F")
    last_id: int = msgspec.field(name="L")
    count: int = msgspec.field(name="n")


class MiniTickerMsg(msgspec.Struct, kw_only=True):
    """<symbol>@miniTicker, and one of !miniTicker@arr."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    close: str = msgspec.field(name="c")
    open: str = msgspec.field(name="o")
    high: str = msgspec.field(name="h")
    low: str = msgspec.field(name="l")
    volume: str = msgspec.field(name="v")
    quote_volume: str = msgspec.field(name="q")


class AvgPriceMsg(msgspec.Struct, kw_only=True):
    """<symbol>@avgPrice."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    interval: str = msgspec.field(name="i")
    price: str = msgspec.field(name="w")
    last_trade_time: int = msgspec.field(name="T")


class KlineBody(msgspec.Struct, kw_only=True):
    """The bar of a kline message; closed once nothing can change it."""

    open_time: int = msgspec.field(name="t")
    close_time: int = msgspec.field(name="T")
    symbol: str = msgspec.field(name="s")
    interval: str = msgspec.field(name="i")
    open: str = msgspec.field(name="o")
    close: str = msgspec.field(name="c")
    high: str = msgspec.field(name="h")
    low: str = msgspec.field(name="l")
    volume: str = msgspec.field(name="v")
    trades: int = msgspec.field(name="n")
    closed: bool = msgspec.field(name="x")
    quote_volume: str = msgspec.field(name="q")


class KlineMsg(msgspec.Struct, kw_only=True):
    """<symbol>@kline_1m."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    kline: KlineBody = msgspec.field(name="k")


class DepthMsg(msgspec.Struct, kw_only=True):
    """<symbol>@depth: levels that changed, in full; a quantity of 0 takes one out."""

    event: str = msgspec.field(name="e")
    event_time: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    bids: Sequence[tuple[str, str]] = msgspec.field(name="b")
    asks: Sequence[tuple[str, str]] = msgspec.field(name="a")
