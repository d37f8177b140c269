"""Tradier as data: hosts, limits, what it takes, where a person goes. Numbers that may change live here and nowhere else."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.domain.fix import Contingency, OrdType, TimeInForce
from trading_system.domain.ids import BrokerName
from trading_system.domain.instrument import AssetClass, TickBand
from trading_system.domain.ports import ClientIdScope, Facts, LinkRule, OrderRule

NAME = BrokerName("tradier")

# -- where -----------------------------------------------------------------------------------------------------------------------------------------


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of one environment. market_stream and market_lines (the same by HTTP) are empty where there is none."""

    rest: str
    account_stream: str
    market_stream: str
    market_lines: str


PAPER = "paper"  # what Tradier calls the sandbox
LIVE = "live"
URLS: Mapping[str, Urls] = {
    PAPER: Urls(rest="https://sandbox.tradier.com", account_stream="wss://sandbox-ws.tradier.com", market_stream="", market_lines=""),
    LIVE: Urls(
        rest="https://api.tradier.com",
        account_stream="wss://ws.tradier.com",
        market_stream="wss://ws.tradier.com",
        market_lines="https://stream.tradier.com",
    ),
}
ACCOUNT_STREAM = "/v1/accounts/events"
MARKET_STREAM = "/v1/markets/events"
SESSION = "/session"  # behind either: where a ticket comes from

PAGES: Mapping[str, str] = {
    "signup": "https://brokerage.tradier.com",
    "keys_paper": "https://web.tradier.com/user/api",
    "keys_live": "https://web.tradier.com/user/api",
    "docs": "https://docs.tradier.com",
    "status": "https://status.tradier.com",
}

# -- who -------------------------------------------------------------------------------------------------------------------------------------------

PAPER_ACCOUNT_PREFIX = "VA"  # this is the proof of the kind
TAG_MAX = 255  # letters, digits and hyphens

# -- how much --------------------------------------------------------------------------------------------------------------------------------------

REQUESTS_PER_MINUTE: Mapping[str, int] = {PAPER: 60, LIVE: 120}  # of accounts and of markets, each; per token
ORDERS_PER_MINUTE = 60  # placed, changed and cancelled
ALLOWED_HEADER = "X-Ratelimit-Allowed"
USED_HEADER = "X-Ratelimit-Used"
AVAILABLE_HEADER = "X-Ratelimit-Available"
EXPIRY_HEADER = "X-Ratelimit-Expiry"  # epoch milliseconds
HISTORY_PAGE = 100
TICKET_LIFE_NS = 300_000_000_000  # a ticket opens one stream, within five minutes
HEARTBEAT_NS = 15_000_000_000  # of the account's stream, and of the market's by HTTP; not stated: the twin's
STALE_AFTER_NS = 75_000_000_000  # silence that means a dead line, where a heartbeat should have come
SANDBOX_DELAY_NS = 900_000_000_000  # the sandbox is the market of a quarter of an hour ago: its quotes, and what it fills on
POLL_QUOTES_NS = 5_000_000_000  # where there is no stream

# -- what ------------------------------------------------------------------------------------------------------------------------------------------

_DAY_GTC = frozenset({TimeInForce.DAY, TimeInForce.GTC})
ORDER_RULES = tuple(
    line
    for kind in (AssetClass.EQUITY, AssetClass.OPTION)
    for line in (
        OrderRule(kind, frozenset({OrdType.MARKET}), frozenset({TimeInForce.DAY}), fractional=False),  # MarketOrderIsGtc
        OrderRule(kind, frozenset({OrdType.LIMIT}), _DAY_GTC, fractional=False, extended_hours=kind is AssetClass.EQUITY),  # as pre and post
        OrderRule(kind, frozenset({OrdType.STOP, OrdType.STOP_LIMIT}), _DAY_GTC, fractional=False),
    )
)
LINK_RULES = (
    LinkRule(
        AssetClass.EQUITY,
        frozenset({Contingency.BRACKET, Contingency.OTO, Contingency.OCO}),
        frozenset({OrdType.LIMIT}),  # OtoFirstLesIsMarketNotAllowed
        _DAY_GTC,
        can_replace=True,  # by the number that the part has in the list
    ),
)
TICKS = (TickBand(Decimal(0), Decimal("0.01")),)  # some option classes trade in nickels: Tradier then refuses what is off
LEGS_MAX = 4  # of a multileg order
COMBO_LEGS_MAX = 3  # of a combo: shares, and one or two options
QUANTITY_MAX = 10_000_000

FACTS = Facts(
    broker=NAME,
    title="Tradier",
    rules=ORDER_RULES,
    links=LINK_RULES,
    legs_max=LEGS_MAX,
    combo_legs_max=COMBO_LEGS_MAX,
    client_id_scope=ClientIdScope.NONE,  # a tag is a label: the same one twice is two orders
    late_accept_ns=120_000_000_000,  # Tradier states no bound: the general one where there is no deadline on the wire
    visibility_lag_ns=30_000_000_000,  # measured below 100 ms in the sandbox
    can_replace=True,
    has_paper=True,
    max_fee_in_kind=Decimal(0),
    requests_per_minute=REQUESTS_PER_MINUTE[PAPER],
    pages=PAGES,
)

# -- help ------------------------------------------------------------------------------------------------------------------------------------------

UNREACHABLE = f"Check the internet connection and the firewall. Tradier's own status: {PAGES['status']}"
SANDBOX_FEED = "Tradier's sandbox has no market stream: prices are asked for every 5 s, and are those of 15 minutes ago"
HELP: Mapping[int, str] = {
    401: "Check that TRADIER_ACCESS_TOKEN is right, without extra spaces, and fits TRADING_MODE: sandbox and production have tokens of their own. "
    f"Tokens: {PAGES['keys_paper']}",
    403: f"The token may not do this. What the account may do stands at {PAGES['signup']}; tokens: {PAGES['keys_live']}",
    429: "Too many requests with this token. The desk paces its own and waits by itself: check whether another program uses the token.",
    500: f"Tradier failed; whether an order was taken is not known. Status: {PAGES['status']}",
}
