"""Binance spot as data: hosts, names of headers, limits, what it takes, where a person goes. Numbers that may change live here and nowhere else."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.domain.fix import Contingency, OrdType, TimeInForce
from trading_system.domain.ids import BrokerName
from trading_system.domain.instrument import AssetClass
from trading_system.domain.ports import ClientIdScope, Facts, LinkRule, OrderRule

NAME = BrokerName("binance")

# -- where -----------------------------------------------------------------------------------------------------------------------------------------


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of one environment, without a trailing slash. The testnet has keys of its own."""

    rest: str
    socket_api: str  # the WebSocket API: user data
    streams: str  # market data


PAPER = "paper"
LIVE = "live"
URLS: Mapping[str, Urls] = {
    PAPER: Urls(
        rest="https://testnet.binance.vision",
        socket_api="wss://ws-api.testnet.binance.vision/ws-api/v3",
        streams="wss://stream.testnet.binance.vision/stream",
    ),
    LIVE: Urls(
        rest="https://api.binance.com",
        socket_api="wss://ws-api.binance.com:443/ws-api/v3",
        streams="wss://stream.binance.com:9443/stream",
    ),
}
SOCKET_API_PATH = "/ws-api/v3"
STREAMS_PATH = "/stream"
API = "/api/v3"
SOCKET_METHODS: Mapping[tuple[str, str], str] = {  # what the WebSocket API calls a change
    ("POST", "/order"): "order.place",
    ("DELETE", "/order"): "order.cancel",
    ("DELETE", "/openOrders"): "openOrders.cancelAll",
    ("POST", "/order/cancelReplace"): "order.cancelReplace",
    ("POST", "/orderList/oco"): "orderList.place.oco",
    ("POST", "/orderList/oto"): "orderList.place.oto",
    ("POST", "/orderList/otoco"): "orderList.place.otoco",
}
DEPOSITS_PATH, WITHDRAWALS_PATH = "/sapi/v1/capital/deposit/hisrec", "/sapi/v1/capital/withdraw/history"
KEY_RIGHTS_PATH = "/sapi/v1/account/apiRestrictions"  # what the key may do; the testnet has nothing below /sapi, which tells the two apart

PAGES: Mapping[str, str] = {
    "signup": "https://www.binance.com/register",
    "keys_paper": "https://testnet.binance.vision",
    "keys_live": "https://www.binance.com/my/settings/api-management",
    "docs": "https://developers.binance.com/docs/binance-spot-api-docs",
    "status": "https://www.binance.com/support/announcement",
}

# -- who -------------------------------------------------------------------------------------------------------------------------------------------

KEY_HEADER = "X-MBX-APIKEY"
RECV_WINDOW_MS = 5_000  # how old a request may be when it reaches the engine; a late one is refused, not done
AHEAD_MS = 1_000  # how far ahead of the server's clock a timestamp may be
ENGINE_GIVES_UP_MS = 10_000  # -1007: after so long the server answers without knowing what became of the request

# -- how much --------------------------------------------------------------------------------------------------------------------------------------

WEIGHT_PER_MINUTE = 6_000  # per address, REST and WebSocket API together; exchangeInfo says the number in force
ORDERS_PER_10_S = 100  # per account
ORDERS_PER_DAY = 200_000
USED_HEADER = "X-MBX-USED-WEIGHT-1M"
ORDERS_10_S_HEADER = "X-MBX-ORDER-COUNT-10S"
ORDERS_DAY_HEADER = "X-MBX-ORDER-COUNT-1D"
ROWS_MAX = 1_000  # of trades, aggregated trades and klines
STREAMS_MAX = 1_024  # per connection
FLOWS_SPAN_NS = 90 * 86_400 * 1_000_000_000  # of deposits and withdrawals: more than what may be asked for at once
SPAN_NS = 86_400 * 1_000_000_000  # myTrades and allOrders: the most between startTime and endTime

# What a call costs. Since 2026-04-02 one that changes something and succeeds costs nothing; refused, it costs CHANGE.
CHANGE = 1
PING, TIME, EXCHANGE_INFO, ACCOUNT, KEY_RIGHTS = 1, 1, 20, 20, 1
ORDER_LIST, ORDER_LISTS, OPEN_ORDER_LISTS = 4, 20, 6
ORDER, OPEN_ORDERS, OPEN_ORDERS_ALL, ALL_ORDERS, MY_TRADES, MY_TRADES_OF_ORDER = 4, 6, 80, 20, 20, 5
TICKER, TICKERS, TRADES, AGG_TRADES, KLINES = 2, 4, 25, 4, 2
DAY_TICKERS = ((20, 2), (100, 40), (None, 80))  # (symbols up to, weight)
COMMISSION, AMEND = 20, 4
DEPTH = ((100, 5), (500, 25), (1_000, 50), (5_000, 250))  # (levels up to, weight)
DEPTH_SNAPSHOT = 50  # of a thousand levels
FLOWS = 1
SOCKET_OPENED = 2
SUBSCRIBE = 2

# -- what ------------------------------------------------------------------------------------------------------------------------------------------

QUOTE = "USDT"  # this version trades what is priced in it
DOLLAR = "USDC"  # Binance quotes no dollars: this coin, which its issuer takes back at par, stands for one. Its balance is money
DOLLAR_SYMBOL = DOLLAR + QUOTE
RATE_STEP = Decimal("0.00000001")  # of what a USDT is worth
FEE = Decimal("0.001")  # first tier, maker and taker; taken from the credited asset, or in BNB where that is switched on
BASIS_POINT = Decimal("0.0001")
_RESTING = frozenset({TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK})
ORDER_RULES = (
    # A market order has no time in force there: what finds no counterpart expires at once, whichever of the two is named.
    OrderRule(AssetClass.CRYPTO, frozenset({OrdType.MARKET}), frozenset({TimeInForce.GTC, TimeInForce.IOC}), fractional=True),
    OrderRule(AssetClass.CRYPTO, frozenset({OrdType.LIMIT, OrdType.STOP_LIMIT}), _RESTING, fractional=True),
    OrderRule(AssetClass.CRYPTO, frozenset({OrdType.STOP, OrdType.TRAILING_STOP}), frozenset({TimeInForce.GTC}), fractional=True),
)
LINK_RULES = (
    # Order lists. With one of its orders the whole list is cancelled, so that none of them can be changed.
    LinkRule(
        AssetClass.CRYPTO,
        frozenset({Contingency.BRACKET, Contingency.OTO, Contingency.OCO}),
        frozenset({OrdType.LIMIT}),
        frozenset({TimeInForce.GTC}),
        can_replace=False,
    ),
)
STOP_NAME, PROFIT_NAME = "stop", "profit"  # exits are named after the order that they are held for
MAX_FEE_IN_KIND = FEE * Decimal("1.01")  # each fee is rounded to the asset's smallest unit
_MS = 1_000_000

FACTS = Facts(
    broker=NAME,
    title="Binance",
    rules=ORDER_RULES,
    links=LINK_RULES,
    client_id_scope=ClientIdScope.OPEN_ORDERS,
    late_accept_ns=(RECV_WINDOW_MS + AHEAD_MS + ENGINE_GIVES_UP_MS) * _MS,
    visibility_lag_ns=120_000 * _MS,  # -2013 for an order that is there: more than 10 s in ccxt#6615, minutes in freqtrade#6392
    can_replace=True,
    has_paper=True,
    maker_fee=FEE,
    taker_fee=FEE,
    max_fee_in_kind=MAX_FEE_IN_KIND,
    requests_per_minute=WEIGHT_PER_MINUTE,
    pages=PAGES,
)

# -- help ------------------------------------------------------------------------------------------------------------------------------------------

UNREACHABLE = (
    "Check the internet connection, the firewall, and whether another network works (Binance is closed to some countries). "
    f"Binance's own announcements: {PAGES['status']}"
)
KEY_HELP = (
    "Binance says the same of a wrong key, an address that is not on its list and a right it lacks: check BINANCE_API_KEY and BINANCE_API_SECRET, "
    f"that BINANCE_TESTNET fits them, the key's IP list, and that it may read and trade. Keys: {PAGES['keys_paper']} (testnet), "
    f"{PAGES['keys_live']} (live)."
)
CLOCK_HELP = "Let this machine's clock be set by NTP; the desk follows Binance's time and has read it again."
BUDGET_HELP = (
    "The budget belongs to this internet address, whatever the key. The desk paces its own and waits by itself: look for other programs that ask "
    "Binance from here. Going on after a refusal gets the address banned."
)
