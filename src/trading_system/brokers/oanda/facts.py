"""OANDA v20 as data: hosts, limits, what it takes, where a person goes. Numbers that may change live here and nowhere else."""

from collections.abc import Mapping

import msgspec

from trading_system.domain.fix import Contingency, OrdType, TimeInForce
from trading_system.domain.ids import BrokerName
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ZERO
from trading_system.domain.ports import ClientIdScope, Facts, LinkRule, OrderRule

NAME = BrokerName("oanda")
_SECOND_NS = 1_000_000_000

# -- where -----------------------------------------------------------------------------------------------------------------------------------------


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts, without a trailing slash."""

    rest: str
    stream: str


PAPER, LIVE = "paper", "live"
URLS: Mapping[str, Urls] = {
    PAPER: Urls(rest="https://api-fxpractice.oanda.com", stream="https://stream-fxpractice.oanda.com"),
    LIVE: Urls(rest="https://api-fxtrade.oanda.com", stream="https://stream-fxtrade.oanda.com"),
}
SITES: Mapping[str, str] = {"101": PAPER, "001": LIVE}  # what an account's number begins with: the proof of its kind

PAGES: Mapping[str, str] = {
    "signup": "https://www.oanda.com/apply",
    "keys_paper": "https://www.oanda.com/demo-account/tpa/personal_token",
    "keys_live": "https://www.oanda.com/account/tpa/personal_token",
    "docs": "https://developer.oanda.com/rest-live-v20/introduction",
    "status": "https://status.oanda.com",
}

# -- how much --------------------------------------------------------------------------------------------------------------------------------------

REQUESTS_PER_SECOND = 100  # of 120 that an address may send; nothing in an answer says how many are left
QUESTIONS_AT_ONCE = 6  # each may need a connection, and two new ones a second are let in
PAUSE_S = 2  # after HTTP 429, and twice as long after each one that follows
STREAMS_MAX = 20  # of one address
HEARTBEAT_NS = 5 * _SECOND_NS
STALE_AFTER_NS = 15 * _SECOND_NS  # three heartbeats that did not come
TRANSACTIONS_PAGE_MAX = 1_000
CANDLES_MAX = 5_000
TRADES_MAX = 500
SCAN_BACK_NS = 30 * 86_400 * _SECOND_NS  # in which an order is looked for, where nobody remembers what came before it
LATE_ACCEPT_NS = 30 * _SECOND_NS  # no order names a time until which it holds; gateways give up sooner
VISIBILITY_LAG_NS = 2 * _SECOND_NS  # an order was seen to be missing for half a second after it was made

# -- what ------------------------------------------------------------------------------------------------------------------------------------------

FOREX_CLOSE_HOUR = 17  # New York: where the days end, and the week, which begins at the same hour on Sunday
_RESTING = frozenset({TimeInForce.DAY, TimeInForce.GTC})
_AT_ONCE = frozenset({TimeInForce.IOC, TimeInForce.FOK})
ORDER_RULES = (
    OrderRule(AssetClass.FOREX, frozenset({OrdType.MARKET}), _AT_ONCE, fractional=False),
    OrderRule(AssetClass.FOREX, frozenset({OrdType.LIMIT}), _RESTING | _AT_ONCE, fractional=False),
    OrderRule(AssetClass.FOREX, frozenset({OrdType.STOP, OrdType.MARKET_IF_TOUCHED, OrdType.TRAILING_STOP}), _RESTING, fractional=False),
)  # No stop-limit: a stop with a bound is cancelled where a stop-limit would rest. A trailing stop is the exit of one whole trade.
_EXITS = frozenset({Contingency.OTO, Contingency.BRACKET})
LINK_RULES = (
    LinkRule(AssetClass.FOREX, _EXITS, frozenset({OrdType.MARKET}), _AT_ONCE, can_replace=False),
    LinkRule(AssetClass.FOREX, _EXITS, frozenset({OrdType.LIMIT}), _RESTING | _AT_ONCE, can_replace=False),
    LinkRule(AssetClass.FOREX, _EXITS, frozenset({OrdType.STOP, OrdType.MARKET_IF_TOUCHED}), _RESTING, can_replace=False),
)

FACTS = Facts(
    broker=NAME,
    title="OANDA",
    rules=ORDER_RULES,
    links=LINK_RULES,
    client_id_scope=ClientIdScope.OPEN_ORDERS,
    late_accept_ns=LATE_ACCEPT_NS,
    visibility_lag_ns=VISIBILITY_LAG_NS,
    can_replace=True,
    has_paper=True,
    max_fee_in_kind=ZERO,
    requests_per_minute=REQUESTS_PER_SECOND * 60,
    pages=PAGES,
)

# -- help ------------------------------------------------------------------------------------------------------------------------------------------

UNREACHABLE = f"Check the internet connection, the firewall, and whether another network works. OANDA's own status: {PAGES['status']}"
KEY_HELP = (
    "A token belongs to one user and to practice or live alone: check that OANDA_API_KEY and OANDA_ACCOUNT_ID are of the same one, that the account "
    f"is a v20 account, and that TRADING_MODE says its kind. Tokens: {PAGES['keys_paper']} (practice), {PAGES['keys_live']} (live)"
)
BUDGET_HELP = "The desk paces its own calls and waits by itself: look for other programs at this address."
SERVICE_HELP = f"OANDA is down or in maintenance, as it may be at weekends. Status: {PAGES['status']}"
