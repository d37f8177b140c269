"""Alpaca as data: hosts, names of keys, limits, what it takes, where a person goes. Numbers that may change live here and nowhere else."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.domain.fix import Contingency, OrdType, TimeInForce
from trading_system.domain.ids import BrokerName
from trading_system.domain.instrument import AssetClass, TickBand
from trading_system.domain.ports import ClientIdScope, Facts, LinkRule, OrderRule

NAME = BrokerName("alpaca")

# -- where -----------------------------------------------------------------------------------------------------------------------------------------


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of one environment, without a trailing slash. Paper keys use the same data hosts as live ones."""

    trading: str
    orders_stream: str
    data: str
    data_stream: str


PAPER = "paper"
LIVE = "live"
URLS: Mapping[str, Urls] = {
    PAPER: Urls(
        trading="https://paper-api.alpaca.markets",
        orders_stream="wss://paper-api.alpaca.markets/stream",
        data="https://data.alpaca.markets",
        data_stream="wss://stream.data.alpaca.markets",
    ),
    LIVE: Urls(
        trading="https://api.alpaca.markets",
        orders_stream="wss://api.alpaca.markets/stream",
        data="https://data.alpaca.markets",
        data_stream="wss://stream.data.alpaca.markets",
    ),
}
STOCK_STREAMS: Mapping[str, str] = {"iex": "/v2/iex", "sip": "/v2/sip"}  # by feed, below data_stream
TEST_SYMBOL = "FAKEPACA"
OPTION_STREAMS: Mapping[str, str] = {"indicative": "/v1beta1/indicative", "opra": "/v1beta1/opra"}
NEWS_STREAM = "/v1beta1/news"  # its path at the data host, too
NEWS_PAGE_MAX = 50
CRYPTO_STREAM = "/v1beta3/crypto/us"

EVENTS_PATH = "/v2/events/trades"  # order events by server-sent events, below `trading` and below the Broker API
ACTIVITY_EVENTS_PATH = "/v2beta1/events/activities"  # what is booked on accounts, the same way
EVENTS_SILENCE_NS = 60_000_000_000  # comments come every few seconds (no period is stated): a minute without any byte is a dead stream


class BrokerUrls(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of the Broker API, for firms that have customers of their own."""

    api: str
    oauth: str


BROKER_URLS: Mapping[str, BrokerUrls] = {
    PAPER: BrokerUrls(api="https://broker-api.sandbox.alpaca.markets", oauth="https://authx.sandbox.alpaca.markets"),
    LIVE: BrokerUrls(api="https://broker-api.alpaca.markets", oauth="https://authx.alpaca.markets"),
}
TOKEN_PATH = "/v1/oauth2/token"  # noqa: S105 a path

PAGES: Mapping[str, str] = {
    "signup": "https://app.alpaca.markets/signup",
    "keys_paper": "https://app.alpaca.markets/paper/dashboard/overview",
    "keys_live": "https://app.alpaca.markets/brokerage/dashboard/overview",
    "keys_broker": "https://broker-app.alpaca.markets",
    "docs": "https://docs.alpaca.markets",
    "status": "https://status.alpaca.markets",
}

# -- who -------------------------------------------------------------------------------------------------------------------------------------------

KEY_HEADER = "APCA-API-KEY-ID"
SECRET_HEADER = "APCA-API-SECRET-KEY"  # noqa: S105 a header's name
KEY_PREFIX: Mapping[str, str] = {PAPER: "PK", LIVE: "AK"}  # seen in Alpaca's examples, not promised: a wrong one is a warning
PAPER_ACCOUNT_PREFIX = "PA"  # account_number: this is the proof of the kind

# -- how much --------------------------------------------------------------------------------------------------------------------------------------

REQUESTS_PER_MINUTE = 200  # per key, trading and data each; the headers say the rest
LIMIT_HEADER = "X-RateLimit-Limit"
REMAINING_HEADER = "X-RateLimit-Remaining"
RESET_HEADER = "X-RateLimit-Reset"  # epoch seconds
ORDERS_PAGE_MAX = 500
ACTIVITIES_PAGE_MAX = 100
CONTRACTS_PAGE_MAX = 10_000
CHAIN_PAGE_MAX = 1_000
DATA_PAGE_MAX = 10_000  # entries over all symbols of a request
FREE_STREAM_SYMBOLS = 30  # trades and quotes on the free plan; beyond it: stream error 405
STREAM_LOGIN_NS = 10_000_000_000  # said to be the time a data stream waits for auth before error 404

# -- what ------------------------------------------------------------------------------------------------------------------------------------------

_ALL = frozenset({OrdType.MARKET, OrdType.LIMIT, OrdType.STOP, OrdType.STOP_LIMIT})
_AUCTION = frozenset({TimeInForce.AT_THE_OPENING, TimeInForce.AT_THE_CLOSE})
ORDER_RULES = (
    # fractional_eh_enabled among an asset's attributes decides about a fractional order in extended hours
    OrderRule(AssetClass.EQUITY, frozenset({OrdType.LIMIT}), frozenset({TimeInForce.DAY}), fractional=True, extended_hours=True),
    OrderRule(AssetClass.EQUITY, _ALL - {OrdType.LIMIT}, frozenset({TimeInForce.DAY}), fractional=True),
    OrderRule(AssetClass.EQUITY, _ALL, frozenset({TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK}), fractional=False),
    OrderRule(AssetClass.EQUITY, frozenset({OrdType.MARKET, OrdType.LIMIT}), _AUCTION, fractional=False),
    OrderRule(AssetClass.EQUITY, frozenset({OrdType.TRAILING_STOP}), frozenset({TimeInForce.DAY, TimeInForce.GTC}), fractional=False),
    OrderRule(AssetClass.OPTION, frozenset({OrdType.MARKET, OrdType.LIMIT}), frozenset({TimeInForce.DAY}), fractional=False),
    OrderRule(
        AssetClass.CRYPTO,
        frozenset({OrdType.MARKET, OrdType.LIMIT, OrdType.STOP_LIMIT}),
        frozenset({TimeInForce.GTC, TimeInForce.IOC}),
        fractional=True,
    ),
)
_DAY_GTC = frozenset({TimeInForce.DAY, TimeInForce.GTC})
_ENTRIES = frozenset({OrdType.MARKET, OrdType.LIMIT})
LINK_RULES = (
    LinkRule(AssetClass.EQUITY, frozenset({Contingency.BRACKET}), _ENTRIES, _DAY_GTC, can_replace=True),
    LinkRule(AssetClass.EQUITY, frozenset({Contingency.OCO}), frozenset({OrdType.LIMIT}), _DAY_GTC, can_replace=True),
    LinkRule(AssetClass.EQUITY, frozenset({Contingency.OTO}), _ENTRIES, _DAY_GTC, can_replace=False),
)
EQUITY_TICKS = (TickBand(Decimal(0), Decimal("0.0001")), TickBand(Decimal(1), Decimal("0.01")))  # SEC rule 612; else 422 "sub-penny increment"
OPTION_TICKS = (TickBand(Decimal(0), Decimal("0.01")),)  # some classes trade in nickels: Alpaca then refuses what is off
LEGS_MAX = 4  # of a multileg order
EQUITY_LOT = Decimal("0.000000001")  # fractional qty: up to 9 decimals
NOTIONAL_STEP = Decimal("0.01")  # the spec allows 9 decimals, users report 2: 2 always holds
EQUITY_MIN_NOTIONAL = Decimal(1)  # fractional and notional orders
CRYPTO_MIN_NOTIONAL = Decimal(10)  # measured on paper: "cost basis must be >= minimal amount of order 10"
CRYPTO_MAKER_FEE = Decimal("0.0015")  # first tier, by 30-day volume; taken from the credited asset, booked as CFEE at the day's end
CRYPTO_TAKER_FEE = Decimal("0.0025")
MARKET_BUY_COLLAR = ((Decimal(50), Decimal("0.04")), (None, Decimal("0.025")))  # below 50 USD 4 %, else 2.5 %: what a market buy reserves

FACTS = Facts(
    broker=NAME,
    title="Alpaca",
    rules=ORDER_RULES,
    links=LINK_RULES,
    legs_max=LEGS_MAX,
    client_id_scope=ClientIdScope.FOR_EVER,
    late_accept_ns=120_000_000_000,  # Alpaca states no bound: the general one where there is no deadline on the wire
    visibility_lag_ns=90_000_000_000,  # none stated; after a timeout 404 means "not yet"
    can_replace=True,
    has_paper=True,
    max_fee_in_kind=CRYPTO_TAKER_FEE * Decimal("1.01"),  # each fee is rounded up to the asset's smallest unit
    requests_per_minute=REQUESTS_PER_MINUTE,
    pages=PAGES,
)

# -- help ------------------------------------------------------------------------------------------------------------------------------------------

UNREACHABLE = (
    "Check the internet connection, the firewall, and whether another network works (a VPN may block some APIs). "
    f"Alpaca's own status: {PAGES['status']}"
)
HELP: Mapping[int, str] = {
    401: "Check that ALPACA_API_KEY and ALPACA_API_SECRET are right, without extra spaces; that ALPACA_PAPER fits them (paper keys start with PK, "
    f"live ones with AK); that the key may trade. Else make a new one at {PAGES['keys_paper']} (paper) or {PAGES['keys_live']} (live): resetting "
    "a paper account kills its old keys.",
    403: "The key is not allowed here. Check the key's permissions and its IP whitelist; a paper key is for the paper host only, a live key for the "
    f"live one; free plans have the data feed iex only (ALPACA_DATA_FEED). Keys: {PAGES['keys_paper']} (paper), {PAGES['keys_live']} (live).",
    404: "Alpaca does not find it under this name in this account.",
    422: "Alpaca does not take the order as it stands; its message says which field.",
    429: "Too many requests with this key. The desk paces its own and waits by itself: check whether other programs or a second copy use the key, "
    "let your own code ask less often, and wait.",
    500: f"Alpaca failed; whether an order was taken is not known. Status: {PAGES['status']}",
    502: f"Alpaca's gateway failed; whether an order was taken is not known. Status: {PAGES['status']}",
    503: f"Alpaca is not available; whether an order was taken is not known. Status: {PAGES['status']}",
    504: f"Alpaca's gateway timed out; whether an order was taken is not known. Status: {PAGES['status']}",
}
