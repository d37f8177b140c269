"""Alpaca's messages under Alpaca's names, for both ends: the connector decodes what the twin encodes.

Apart from the codec, so that the twin can speak the wire without sharing our reading of it. Only what nobody can do without is required: Alpaca drops
fields every month (PDT in July 2026, easy_to_borrow in September 2026), nulls others, and adds new ones, which are ignored. Trading objects carry
numbers as strings and stay strings here; market data carries JSON numbers, which become Decimal exactly. Times are RFC 3339 strings.
Source: the OpenAPI files of 2026-08-13 (trading, market-data), docs.alpaca.markets/docs/websocket-streaming and real-time-stock-pricing-data.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

# -- trading: REST ---------------------------------------------------------------------------------------------------------------------------------

UNREADABLE = (msgspec.MsgspecError, RecursionError)  # what decoding raises for bytes that are no message, nested too deeply included


class Account(msgspec.Struct, kw_only=True, omit_defaults=True):
    """GET /v2/account. Money in `currency`."""

    id: str
    account_number: str
    status: str
    crypto_status: str | None = None
    currency: str = ""
    cash: str
    equity: str
    buying_power: str
    last_equity: str | None = None
    regt_buying_power: str | None = None
    non_marginable_buying_power: str | None = None
    options_buying_power: str | None = None
    portfolio_value: str | None = None
    long_market_value: str | None = None
    short_market_value: str | None = None
    position_market_value: str | None = None
    initial_margin: str | None = None
    maintenance_margin: str | None = None
    last_maintenance_margin: str | None = None
    sma: str | None = None
    multiplier: str | None = None
    accrued_fees: str | None = None
    shorting_enabled: bool | None = None
    trading_blocked: bool | None = None
    transfers_blocked: bool | None = None
    account_blocked: bool | None = None
    trade_suspended_by_user: bool | None = None
    options_approved_level: int | None = None
    options_trading_level: int | None = None
    created_at: str | None = None
    balance_asof: str | None = None
    crypto_tier: int | None = None
    intraday_adjustments: str | None = None
    pending_reg_taf_fees: str | None = None


class AccountConfigurations(msgspec.Struct, kw_only=True):
    """GET and PATCH /v2/account/configurations."""

    disable_overnight_trading: bool = False
    fractional_trading: bool = True
    max_margin_multiplier: str = "4"
    max_options_trading_level: int | None = None
    no_shorting: bool = False
    ptp_no_exception_entry: bool = False
    suspend_trade: bool = False
    trade_confirm_email: str = "all"


class Position(msgspec.Struct, kw_only=True):
    """One of GET /v2/positions. qty is negative when short; a crypto symbol has lost its slash."""

    asset_id: str
    symbol: str
    exchange: str = ""
    asset_class: str
    asset_marginable: bool | None = None
    qty: str
    qty_available: str | None = None
    avg_entry_price: str
    side: str
    market_value: str | None = None
    cost_basis: str | None = None
    unrealized_pl: str | None = None
    unrealized_plpc: str | None = None
    unrealized_intraday_pl: str | None = None
    unrealized_intraday_plpc: str | None = None
    current_price: str | None = None
    lastday_price: str | None = None
    change_today: str | None = None


class Asset(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of GET /v2/assets. The last three fields come with crypto only; easy_to_borrow left in September 2026."""

    id: str
    asset_class: str = msgspec.field(name="class")
    exchange: str
    symbol: str
    name: str | None = None
    status: str
    tradable: bool
    marginable: bool | None = None
    shortable: bool | None = None
    easy_to_borrow: bool | None = None
    borrow_status: str | None = None
    fractionable: bool | None = None
    maintenance_margin_requirement: Decimal | None = None
    margin_requirement_long: str | None = None
    margin_requirement_short: str | None = None
    attributes: Sequence[str] | None = None
    min_order_size: str | None = None
    min_trade_increment: str | None = None
    price_increment: str | None = None


class OptionContract(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of GET /v2/options/contracts. type is call or put; style says when it may be exercised, american or european."""

    id: str
    symbol: str
    name: str
    status: str
    tradable: bool
    expiration_date: str
    root_symbol: str | None = None
    underlying_symbol: str
    underlying_asset_id: str
    type: str
    style: str
    strike_price: str
    multiplier: str
    size: str
    open_interest: str | None = None
    open_interest_date: str | None = None
    close_price: str | None = None
    close_price_date: str | None = None
    deliverables: "Sequence[OptionDeliverable] | None" = None


class OptionDeliverable(msgspec.Struct, kw_only=True):
    """What exercise brings; only where show_deliverables was asked for."""

    type: str
    symbol: str
    asset_id: str
    amount: str
    allocation_percentage: str
    settlement_type: str
    settlement_method: str
    delayed_settlement: bool


class OptionContracts(msgspec.Struct, kw_only=True):
    """A page of contracts."""

    option_contracts: Sequence[OptionContract]
    next_page_token: str | None = None


class Clock(msgspec.Struct, kw_only=True):
    """GET /v2/clock. The times carry New York's offset and up to nanoseconds."""

    timestamp: str
    is_open: bool
    next_open: str
    next_close: str


class CalendarDay(msgspec.Struct, kw_only=True):
    """One of GET /v2/calendar, New York times: open and close are HH:MM, session_* (extended hours) are HHMM."""

    date: str
    open: str
    close: str
    session_open: str | None = None
    session_close: str | None = None
    settlement_date: str | None = None


class Order(msgspec.Struct, kw_only=True):
    """An order, in answers and in events. Exactly one of qty and notional is set. A multi-leg parent has empty symbol, side and asset_class."""

    id: str
    client_order_id: str
    created_at: str | None = None
    updated_at: str | None = None
    submitted_at: str | None = None
    filled_at: str | None = None
    expired_at: str | None = None
    expires_at: str | None = None
    canceled_at: str | None = None
    failed_at: str | None = None
    replaced_at: str | None = None
    replaced_by: str | None = None
    replaces: str | None = None
    asset_id: str | None = None
    symbol: str
    asset_class: str = ""
    notional: str | None = None
    qty: str | None = None
    filled_qty: str
    filled_avg_price: str | None = None
    order_class: str = ""
    order_type: str = ""
    type: str
    side: str
    position_intent: str | None = None
    time_in_force: str
    limit_price: str | None = None
    stop_price: str | None = None
    status: str
    extended_hours: bool = False
    legs: "list[Order] | None" = None
    ratio_qty: str | None = None
    trail_percent: str | None = None
    trail_price: str | None = None
    hwm: str | None = None
    subtag: str | None = None
    source: str | None = None


class TakeProfit(msgspec.Struct, kw_only=True):
    """The exit at a profit of a bracket, OCO or OTO."""

    limit_price: str


class StopLoss(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The exit at a loss; with a limit price it becomes a limit order."""

    stop_price: str
    limit_price: str | None = None


class LegRequest(msgspec.Struct, kw_only=True):
    """One leg of a multileg order."""

    symbol: str
    ratio_qty: str
    side: str
    position_intent: str


class OrderRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Body of POST /v2/orders, as the connector sends it: numbers as strings, what is not meant left out. A multileg order has no symbol or side."""

    symbol: str | None = None
    qty: str | None = None
    notional: str | None = None
    side: str | None = None
    type: str
    time_in_force: str
    limit_price: str | None = None
    stop_price: str | None = None
    trail_price: str | None = None
    trail_percent: str | None = None
    order_class: str | None = None
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    legs: Sequence[LegRequest] | None = None
    extended_hours: bool | None = None
    client_order_id: str


class ReplaceRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Body of PATCH /v2/orders/{id}."""

    qty: str | None = None
    time_in_force: str | None = None
    limit_price: str | None = None
    stop_price: str | None = None
    trail: str | None = None
    client_order_id: str | None = None


class CancelStatus(msgspec.Struct, kw_only=True):
    """One of the 207 answer of DELETE /v2/orders."""

    id: str
    status: int


class ClosedPosition(msgspec.Struct, kw_only=True):
    """One of the 207 answer of DELETE /v2/positions: the closing Order, or an Error, in `body`."""

    symbol: str
    status: int
    body: msgspec.Raw = msgspec.Raw(b"null")


class Activity(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of GET /v2/account/activities: a FILL (transaction_time, price, order_id, …) or a non-trade entry (date, net_amount, …)."""

    id: str
    activity_type: str
    # a fill
    transaction_time: str | None = None
    type: str | None = None
    price: str | None = None
    qty: str | None = None
    side: str | None = None
    symbol: str | None = None
    leaves_qty: str | None = None
    order_id: str | None = None
    cum_qty: str | None = None
    order_status: str | None = None
    # anything else
    activity_sub_type: str | None = None
    date: str | None = None
    net_amount: str | None = None
    description: str | None = None
    per_share_amount: str | None = None
    status: str | None = None
    created_at: str | None = None
    currency: str | None = None
    group_id: str | None = None


class PortfolioHistory(msgspec.Struct, kw_only=True, omit_defaults=True):
    """GET /v2/account/portfolio/history: columns of one length, numbers as JSON numbers. timestamp: epoch seconds, the beginning of each window."""

    timestamp: Sequence[int]
    equity: Sequence[Decimal | None]
    profit_loss: Sequence[Decimal | None]
    profit_loss_pct: Sequence[Decimal | None]
    base_value: Decimal | None
    base_value_asof: str | None = None
    timeframe: str
    cashflow: Mapping[str, Sequence[Decimal]] | None = None


class Error(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Body of a refusal. 401 and data's 403 come without a code; the rest is context that only some refusals have."""

    code: int | None = None
    message: str = ""
    buying_power: str | None = None
    cost_basis: str | None = None
    symbol: str | None = None
    available: str | None = None
    existing_qty: str | None = None
    held_for_orders: str | None = None
    existing_order_id: str | None = None
    related_orders: Sequence[str] | None = None
    reject_reason: str | None = None


# -- trading: stream -------------------------------------------------------------------------------------------------------------------------------


class TradeUpdate(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`data` of a trade_updates frame. price and qty are this execution's, the order's are cumulative; position_qty is after it, signed."""

    event: str
    order: Order
    timestamp: str | None = None
    execution_id: str | None = None
    price: str | None = None
    qty: str | None = None
    position_qty: str | None = None
    at: str | None = None
    event_id: str | None = None
    previous_execution_id: str | None = None


class TradeEvent(TradeUpdate, kw_only=True, omit_defaults=True):
    """`data` of one server-sent event of GET /v2/events/trades: event_id, a rising ULID, is always there, and what since_id resumes from.

    Source: the schema TradeUpdateEventV2 of Alpaca's broker OpenAPI file of 2026-08-13
    """

    account_id: str | None = None
    settle_date: str | None = None
    swap_rate: str | None = None


class ActivityDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`details` of an account activity: what a trade has (execution_type first of all), or what its own kind of activity has.

    Source: the schemas ActivityV2DetailTRD and ActivityV2DetailNTA of Alpaca's broker OpenAPI file of 2026-08-13. The second has forty forms: here is
    what names the security and ties entries to each other, and of the numbers those that the twin has.
    """

    symbol: str | None = None
    asset_id: str | None = None
    cusip: str | None = None
    # a trade
    execution_type: str | None = None
    order_id: str | None = None
    client_order_id: str | None = None
    side: str | None = None
    cum_qty: str | None = None
    leaves_qty: str | None = None
    order_status: str | None = None
    commission: str | None = None
    # anything else
    system_date: str | None = None
    group_id: str | None = None
    parent_id: str | None = None
    position_date: str | None = None
    old_symbol: str | None = None
    source_symbol: str | None = None
    new_symbol: str | None = None
    rate: str | None = None
    foreign: bool | None = None
    special: bool | None = None
    entitled_qty: str | None = None
    cash_payout: str | None = None
    old_cusip: str | None = None
    new_cusip: str | None = None
    old_rate: str | None = None
    new_rate: str | None = None
    old_qty: str | None = None
    new_qty: str | None = None


class ActivityEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`data` of one server-sent event of GET /v2beta1/events/activities. ref_id: of a trade its execution, else the entry in Alpaca's books.

    Source: the schema ActivityEventV2 of Alpaca's broker OpenAPI file of 2026-08-13
    """

    event_id: str
    at: str
    account_id: str | None = None
    activity_type: str
    activity_subtype: str | None = None
    status: str
    ref_id: str
    previous_id: str | None = None
    executed_at: str
    settle_date: str
    qty: str | None = None
    price: str | None = None
    net_amount: str | None = None
    currency: str
    details: ActivityDetails


class EventHead(msgspec.Struct, kw_only=True):
    """Just enough of an event to go on behind it when the rest cannot be read."""

    event_id: str


class Token(msgspec.Struct, kw_only=True):
    """Answer of POST /v1/oauth2/token. expires_in: seconds."""

    access_token: str
    expires_in: int
    token_type: str = ""

    def __repr__(self) -> str:
        return "Token(…)"


class TokenError(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Body of a refused token request, as OAuth has it (RFC 6749, 5.2)."""

    error: str = ""
    error_description: str = ""


class StreamData(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`data` of a control frame."""

    status: str | None = None
    action: str | None = None
    streams: Sequence[str] | None = None
    error_message: str | None = None


class StreamFrame(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Any frame of the trading stream, both ways: `stream` or `action` says what `data` holds (TradeUpdate or StreamData)."""

    stream: str | None = None
    action: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class StreamLogin(msgspec.Struct, kw_only=True):
    """`data` of the client's authenticate frame."""

    key_id: str
    secret_key: str

    def __repr__(self) -> str:
        return "StreamLogin(…)"


# -- market data: the entries, in REST answers and (with T and S) in streams -----------------------------------------------------------------------


class Quote(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Best bid and offer; a price of 0 means that nobody quotes that side. Sizes in shares or coins. ax, bx, c, z: stocks only."""

    t: str
    bp: Decimal
    bs: Decimal
    ap: Decimal
    as_: Decimal = msgspec.field(name="as")
    ax: str | None = None
    bx: str | None = None
    c: Sequence[str] | str | None = None  # of options one string
    z: str | None = None


class Trade(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A print. x, c, z: stocks only; tks (the taker's side, B or S): crypto only."""

    t: str
    p: Decimal
    s: Decimal
    i: int | None = None
    x: str | None = None
    c: Sequence[str] | str | None = None  # of options one string
    z: str | None = None
    tks: str | None = None
    u: str | None = None


class Bar(msgspec.Struct, kw_only=True, omit_defaults=True):
    """t is the bar's start."""

    t: str
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 Alpaca's name
    c: Decimal
    v: Decimal
    n: Decimal | None = None
    vw: Decimal | None = None


class BookLevel(msgspec.Struct, kw_only=True):
    p: Decimal
    s: Decimal


class OrderBook(msgspec.Struct, kw_only=True):
    """Crypto only: best first on both sides."""

    t: str
    b: Sequence[BookLevel]
    a: Sequence[BookLevel]


class Quotes(msgspec.Struct, kw_only=True):
    """History of several symbols. Pages are counted over all of them: go on until next_page_token is null."""

    quotes: Mapping[str, Sequence[Quote]] | None
    next_page_token: str | None = None


class Trades(msgspec.Struct, kw_only=True):
    trades: Mapping[str, Sequence[Trade]] | None
    next_page_token: str | None = None


class Bars(msgspec.Struct, kw_only=True):
    bars: Mapping[str, Sequence[Bar]] | None
    next_page_token: str | None = None


class SymbolQuotes(msgspec.Struct, kw_only=True):
    """History of one symbol, from the path that names it."""

    symbol: str
    quotes: Sequence[Quote] | None
    next_page_token: str | None = None


class SymbolTrades(msgspec.Struct, kw_only=True):
    symbol: str
    trades: Sequence[Trade] | None
    next_page_token: str | None = None


class SymbolBars(msgspec.Struct, kw_only=True):
    symbol: str
    bars: Sequence[Bar] | None
    next_page_token: str | None = None


class LatestQuotes(msgspec.Struct, kw_only=True):
    quotes: Mapping[str, Quote]


class LatestTrades(msgspec.Struct, kw_only=True):
    trades: Mapping[str, Trade]


class LatestBars(msgspec.Struct, kw_only=True):
    bars: Mapping[str, Bar]


class LatestOrderBooks(msgspec.Struct, kw_only=True):
    orderbooks: Mapping[str, OrderBook]


class LatestQuote(msgspec.Struct, kw_only=True):
    symbol: str
    quote: Quote


class LatestTrade(msgspec.Struct, kw_only=True):
    symbol: str
    trade: Trade


class LatestBar(msgspec.Struct, kw_only=True):
    symbol: str
    bar: Bar


class OptionGreeks(msgspec.Struct, kw_only=True):
    delta: Decimal
    gamma: Decimal
    theta: Decimal
    vega: Decimal
    rho: Decimal


class OptionSnapshot(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One contract now. Without a two-sided market there is no volatility and there are no greeks."""

    latestQuote: Quote | None = None  # noqa: N815 Alpaca's name
    latestTrade: Trade | None = None  # noqa: N815
    impliedVolatility: Decimal | None = None  # noqa: N815
    greeks: OptionGreeks | None = None


class OptionSnapshots(msgspec.Struct, kw_only=True):
    """A page of a chain."""

    snapshots: Mapping[str, OptionSnapshot]
    next_page_token: str | None = None


class NewsArticle(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An article, in GET /v1beta1/news and in the news stream. content may be HTML; text may hold entities."""

    id: int
    headline: str
    author: str
    created_at: str
    updated_at: str
    summary: str
    content: str
    url: str | None = None
    images: Sequence[Mapping[str, str]]
    symbols: Sequence[str]
    source: str


class NewsPage(msgspec.Struct, kw_only=True):
    """GET /v1beta1/news."""

    news: Sequence[NewsArticle]
    next_page_token: str | None = None


# -- market data: streams. Every frame is an array of these, told apart by T -----------------------------------------------------------------------


class TradeMsg(Trade, tag_field="T", tag="t", kw_only=True, omit_defaults=True):
    S: str


class QuoteMsg(Quote, tag_field="T", tag="q", kw_only=True, omit_defaults=True):
    S: str


class BarMsg(Bar, tag_field="T", tag="b", kw_only=True, omit_defaults=True):
    S: str


class UpdatedBarMsg(Bar, tag_field="T", tag="u", kw_only=True, omit_defaults=True):
    S: str


class DailyBarMsg(Bar, tag_field="T", tag="d", kw_only=True, omit_defaults=True):
    S: str


class BookMsg(msgspec.Struct, tag_field="T", tag="o", kw_only=True, omit_defaults=True):
    """Crypto book: r true is a full snapshot, else changes, where size 0 deletes a level."""

    S: str
    t: str
    b: Sequence[BookLevel] = ()
    a: Sequence[BookLevel] = ()
    r: bool = False


class StatusMsg(msgspec.Struct, tag_field="T", tag="s", kw_only=True, omit_defaults=True):
    """Trading status: sc H (tape C) or 2 (tapes A, B) is a halt, T or 3 a resumption."""

    S: str
    t: str
    sc: str
    sm: str | None = None
    rc: str | None = None
    rm: str | None = None
    z: str | None = None


class LuldMsg(msgspec.Struct, tag_field="T", tag="l", kw_only=True, omit_defaults=True):
    """Limit up (u), limit down (d)."""

    S: str
    t: str
    u: Decimal
    d: Decimal
    i: str | None = None
    z: str | None = None


class CorrectionMsg(msgspec.Struct, tag_field="T", tag="c", kw_only=True, omit_defaults=True):
    """A print was wrong: o… is the original, c… what it should have been."""

    S: str
    t: str
    oi: int
    op: Decimal
    os: Decimal
    ci: int
    cp: Decimal
    cs: Decimal
    x: str | None = None
    z: str | None = None


class CancelErrorMsg(msgspec.Struct, tag_field="T", tag="x", kw_only=True, omit_defaults=True):
    """A print was cancelled (a: C) or an error (a: E)."""

    S: str
    t: str
    i: int
    p: Decimal
    s: Decimal
    a: str | None = None
    x: str | None = None
    z: str | None = None


class NewsMsg(msgspec.Struct, tag_field="T", tag="n", kw_only=True, omit_defaults=True):
    """An article as it appears. No images here."""

    id: int
    headline: str
    created_at: str
    updated_at: str
    author: str = ""
    summary: str = ""
    content: str = ""
    url: str | None = None
    symbols: Sequence[str] = ()
    source: str = ""


class SuccessMsg(msgspec.Struct, tag_field="T", tag="success", kw_only=True):
    """msg: "connected", then "authenticated"."""

    msg: str


class SubscriptionMsg(msgspec.Struct, tag_field="T", tag="subscription", kw_only=True, omit_defaults=True):
    """The whole set in force after a subscribe or unsubscribe."""

    trades: Sequence[str] | None = None
    quotes: Sequence[str] | None = None
    bars: Sequence[str] | None = None
    updatedBars: Sequence[str] | None = None  # noqa: N815 Alpaca's name
    dailyBars: Sequence[str] | None = None  # noqa: N815
    orderbooks: Sequence[str] | None = None
    statuses: Sequence[str] | None = None
    lulds: Sequence[str] | None = None
    corrections: Sequence[str] | None = None
    cancelErrors: Sequence[str] | None = None  # noqa: N815
    news: Sequence[str] | None = None


class ErrorMsg(msgspec.Struct, tag_field="T", tag="error", kw_only=True):
    """400 syntax, 401 not authenticated, 402 auth failed, 403 already authenticated, 404 auth timeout, 405 symbol limit, 406 connection limit,
    407 slow client, 409 insufficient subscription, 410 invalid action for this feed, 500 internal error."""

    code: int
    msg: str


class UnknownMsg(msgspec.Struct, kw_only=True):
    """A kind of message that is not in this file: T says which, raw is the whole of it."""

    T: str
    raw: bytes


DataMsg = (
    TradeMsg
    | QuoteMsg
    | BarMsg
    | UpdatedBarMsg
    | DailyBarMsg
    | BookMsg
    | StatusMsg
    | LuldMsg
    | CorrectionMsg
    | CancelErrorMsg
    | NewsMsg
    | SuccessMsg
    | SubscriptionMsg
    | ErrorMsg
)


class DataAction(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Client's frame on a data stream: auth (key, secret), subscribe or unsubscribe (the lists)."""

    action: str
    key: str | None = None
    secret: str | None = None
    trades: Sequence[str] = ()
    quotes: Sequence[str] = ()
    bars: Sequence[str] = ()
    updatedBars: Sequence[str] = ()  # noqa: N815
    dailyBars: Sequence[str] = ()  # noqa: N815
    orderbooks: Sequence[str] = ()
    statuses: Sequence[str] = ()
    lulds: Sequence[str] = ()
    news: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"DataAction({self.action})"


class _Tag(msgspec.Struct):
    T: str


KNOWN_T = frozenset({"t", "q", "b", "u", "d", "o", "s", "l", "c", "x", "n", "success", "subscription", "error"})

_frame = msgspec.json.Decoder(list[DataMsg])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_tag = msgspec.json.Decoder(_Tag)
_one = msgspec.json.Decoder(DataMsg)


def data_messages(frame: str | bytes) -> Sequence[DataMsg | UnknownMsg]:
    """Every message of one JSON data frame, in order; a kind we do not know becomes an UnknownMsg.

    Raises: msgspec.DecodeError: no JSON array of tagged objects, or a known kind that lacks a field. The session makes a ProtocolError of it.
    """
    try:
        return _frame.decode(frame)
    except msgspec.ValidationError:  # an unknown T, or a broken message: the slow road tells which
        return [_message(bytes(raw)) for raw in _raws.decode(frame)]


def packed_messages(frame: bytes) -> Sequence[DataMsg | UnknownMsg]:
    """The same of a frame in MessagePack, which options come in alone: numbers are doubles there, times lose what is below a microsecond.

    Raises: msgspec.DecodeError: as data_messages.
    """
    return data_messages(msgspec.json.encode(msgspec.msgpack.decode(frame)))


def packed(frame: str) -> bytes:
    """A frame of ours in MessagePack."""
    return msgspec.msgpack.encode(msgspec.json.decode(frame))


def _message(raw: bytes) -> DataMsg | UnknownMsg:
    tag = _tag.decode(raw).T
    return _one.decode(raw) if tag in KNOWN_T else UnknownMsg(T=tag, raw=raw)
