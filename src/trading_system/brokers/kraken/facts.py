"""Kraken spot as data: hosts, limits by tier, what it takes, where a person goes. Numbers that may change live here and nowhere else."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.domain.fix import OrdType, TimeInForce
from trading_system.domain.ids import BrokerName
from trading_system.domain.instrument import AssetClass
from trading_system.domain.ports import ClientIdScope, Facts, OrderRule

NAME = BrokerName("kraken")
_SECOND_NS = 1_000_000_000

# -- where -----------------------------------------------------------------------------------------------------------------------------------------


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts, without a trailing slash."""

    rest: str
    public_stream: str
    private_stream: str


URLS = Urls(rest="https://api.kraken.com", public_stream="wss://ws.kraken.com/v2", private_stream="wss://ws-auth.kraken.com/v2")
PUBLIC = "/0/public/"  # and PRIVATE: what the names of the calls come after
PRIVATE = "/0/private/"
STREAM_PATH = "/v2"
LIVE = "live"  # the only kind that Kraken has
PAPER = "paper"  # a twin

PAGES: Mapping[str, str] = {
    "signup": "https://www.kraken.com/sign-up",
    "keys_paper": "https://pro.kraken.com/app/settings/api",
    "keys_live": "https://pro.kraken.com/app/settings/api",
    "docs": "https://docs.kraken.com/api",
    "status": "https://status.kraken.com",
}

# -- who -------------------------------------------------------------------------------------------------------------------------------------------

KEY_HEADER = "API-Key"
SIGN_HEADER = "API-Sign"
PAPER_ACCOUNT_PREFIX = "ZZ"  # account numbers begin with AA; a twin's with a country that nobody has: this is the proof of the kind
WITHDRAWS = "withdraw-funds"  # the permission that no key of a desk may have
TOKEN_LIFE_NS = 900 * _SECOND_NS  # in which a token must be used; a subscription keeps it alive
CLIENT_ID_MAX = 18  # of free text; UUIDs are taken, too

# -- how much --------------------------------------------------------------------------------------------------------------------------------------


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one level of verification. Counters fall by so much a second; at the most, calls are refused."""

    calls_max: int  # of the key's counter: everything but orders
    calls_decay: Decimal
    orders_max: int  # of the engine's counter, for each pair
    orders_decay: Decimal
    open_orders_max: int  # for each pair


TIERS: Mapping[str, Tier] = {
    "starter": Tier(calls_max=15, calls_decay=Decimal("0.33"), orders_max=60, orders_decay=Decimal(1), open_orders_max=60),
    "intermediate": Tier(calls_max=20, calls_decay=Decimal("0.5"), orders_max=125, orders_decay=Decimal("2.34"), open_orders_max=80),
    "pro": Tier(calls_max=20, calls_decay=Decimal(1), orders_max=180, orders_decay=Decimal("3.75"), open_orders_max=225),
}
DEFAULT_TIER = "starter"  # what holds for every account; KRAKEN_TIER says better
CALLS_SPARED = 2  # points of the key's counter that we leave: a call counts when it arrives, and that is later than it left
HISTORY_COST = 2  # of a call for ledgers, trades or closed orders; all others cost one, and orders none
ADD_COST = 1  # of the engine's counter, even if refused
AMEND_COST = 1
_AGES_NS = tuple(seconds * _SECOND_NS for seconds in (5, 10, 15, 45, 90, 300))
CANCEL_COSTS = tuple(zip(_AGES_NS, (8, 6, 5, 4, 2, 1), strict=True))  # (younger than, cost): a quick cancel is dear
AMEND_COSTS = tuple(zip(_AGES_NS, (3, 2, 1), strict=False))
PUBLIC_PER_SECOND = Decimal(1)  # calls without a key, per address
PUBLIC_BURST = 10  # how many may come at once, nobody says: few
ORDERS_PAGE = 50  # of closed orders, trades and ledgers
QUERY_MAX = 50  # orders asked for by id in one call
BARS_MAX = 720  # there are no older ones, whatever is asked for
TRADES_PAGE = 1_000
DEADLINE_NS = 5 * _SECOND_NS  # what we give an order to reach the engine; later it is dropped there
ARMED_MAX_NS = 86_399 * _SECOND_NS  # how far ahead the dead man's switch can be set
DEADLINE_MAX_NS = 60 * _SECOND_NS  # the longest that Kraken takes
BOOK_DEPTHS = (10, 25, 100, 500, 1000)
CHECKSUM_LEVELS = 10
STALE_AFTER_NS = 5 * _SECOND_NS  # a heartbeat comes every second when nothing else does

# -- what ------------------------------------------------------------------------------------------------------------------------------------------

QUOTE = "USD"  # this version trades what is priced in it
RENAMED: Mapping[str, str] = {"XBT": "BTC", "XDG": "DOGE"}  # REST's short names that the streams, and we, write as everybody does
TAKER_FEE = Decimal("0.0040")  # first tier, by 30-day volume; in the quote currency on both sides, unless fcib is asked for
MAKER_FEE = Decimal("0.0025")
_GTC_IOC = frozenset({TimeInForce.GTC, TimeInForce.IOC})
ORDER_RULES = (
    # A market order has no time in force there: what finds no counterpart is cancelled at once, whichever of the two is named.
    OrderRule(AssetClass.CRYPTO, frozenset({OrdType.MARKET}), _GTC_IOC, fractional=True),
    OrderRule(AssetClass.CRYPTO, frozenset({OrdType.LIMIT}), _GTC_IOC | {TimeInForce.FOK}, fractional=True),
    OrderRule(AssetClass.CRYPTO, frozenset({OrdType.STOP, OrdType.STOP_LIMIT, OrdType.TRAILING_STOP}), frozenset({TimeInForce.GTC}), fractional=True),
)
# No LINK_RULES: a conditional close is made anew by every partial fill, under ids of Kraken's own, and excludes a client id. That is no OTO.

FACTS = Facts(
    broker=NAME,
    title="Kraken",
    rules=ORDER_RULES,
    client_id_scope=ClientIdScope.OPEN_ORDERS,
    late_accept_ns=DEADLINE_MAX_NS,  # holds whatever the clocks say: a later deadline than this is refused as such
    visibility_lag_ns=10 * _SECOND_NS,  # "OpenOrders can lag the engine by seconds"
    can_replace=True,
    has_paper=False,
    maker_fee=MAKER_FEE,
    taker_fee=TAKER_FEE,
    max_fee_in_kind=Decimal(0),
    requests_per_minute=20,  # what the lowest tier's counter forgets in one
    needs_nonces=True,
    pages=PAGES,
)

# -- help ------------------------------------------------------------------------------------------------------------------------------------------

UNREACHABLE = (
    "Check the internet connection, the firewall, and whether another network works (Kraken is closed to some countries). "
    f"Kraken's own status: {PAGES['status']}"
)
KEY_HELP = (
    "Check that KRAKEN_API_KEY and KRAKEN_API_SECRET are the two halves of one key, without extra spaces, and that the key still exists: "
    f"{PAGES['keys_live']}"
)
PERMISSION_HELP = (
    "The key needs: query funds, query open orders and trades, query closed orders and trades, query ledger entries, create and modify orders, "
    f"cancel and close orders, access WebSockets API; and this address on its IP list, if it has one. Not: withdraw funds. {PAGES['keys_live']}"
)
NONCE_HELP = (
    "Another program uses this key, or did with a finer clock: give each program a key of its own, or make a new one "
    f"(a nonce window of 10 helps against calls that overtake one another): {PAGES['keys_live']}"
)
LOCKOUT_HELP = "Too many failed logins: Kraken does not talk to this address for a quarter of an hour. Stop everything that uses the key, and wait."
BUDGET_HELP = (
    "The desk paces its own calls and waits by itself: look for other programs and commands that use the key, and set KRAKEN_TIER to the account's "
    "level; beside a running desk (`trading watch`) a command costs nothing. "
    "Cancels of young orders are dear: eight points within five seconds."
)
SERVICE_HELP = f"Kraken's engine is down or overloaded. Status: {PAGES['status']}"
