"""The Web API as data: hosts, limits, the questions that get a yes, where a person goes. Numbers that may change live here."""

from collections.abc import Mapping

from trading_system.domain.times import NS

HOST = "api.ibkr.com"
GATEWAY_URL = "http://localhost:5000"  # the gateway's own certificate is nobody's: it is set to speak without TLS, on this machine alone
GATEWAY, OAUTH1A, OAUTH2 = "gateway", "oauth1a", "oauth2"
PAGES: Mapping[str, str] = {
    "gateway": "https://www.interactivebrokers.com/campus/ibkr-api-page/cpapi-v1",
    "oauth": "https://ndcdyn.interactivebrokers.com/sso/Login?action=OAUTH",
    "status": "https://www.interactivebrokers.com/en/software/systemStatus.php",
}

REQUESTS_PER_SECOND = 10  # through a gateway; 50 with OAuth: the lower one holds for both
QUESTIONS_PER_SECOND = 5  # of ours; questions wait their turn …
CHANGES_PER_SECOND = 5  # … so that orders and cancels need not
LIST_EVERY_NS = 5_250_000_000  # live orders, and trades, each: once in five seconds, as IBKR's clock counts them
TICKLE_EVERY_NS = 60 * NS
INIT_EVERY_NS = 60 * NS  # a brokerage session that does not come is not asked for more often: logins get blocked for that
SUBSCRIBE_EVERY_NS = 540 * NS  # a stream of prices ends after ten to fifteen minutes
STALE_AFTER_NS = 40 * NS  # its heartbeat comes every ten seconds
PENALTY_NS = 600 * NS  # what 429 costs an address
POINTS_MAX = 1_000
MINUTES_MAX, HOURS_MAX = 30, 8  # of a period that bars are asked for by
SPREAD = 28812380  # the number of all combinations in dollars
POSITIONS_PAGE = 100
TRADES_DAYS = 7
QUESTIONS_MAX = 8  # before one order
US_EXCHANGES = frozenset({"NASDAQ", "NYSE", "ARCA", "AMEX", "BATS", "PINK"})  # whose stocks are in dollars

# What the desk's own limits have looked at already, and what only says what an order type is. Every other question is shown and refused.
ANSWERED = frozenset(
    {
        "o163",  # the price is far from the market: PRICE_COLLAR has looked
        "o354",  # no market data of the login's own
        "o383",  # size: MAX_ORDER has looked
        "o451",  # value: MAX_ORDER has looked
        "o403",  # it will most likely trigger and fill at once
        "o10151",  # what a market order is
        "o10152",  # what a stop order is
        "o10153",  # a cap may be put on its price
        "o10164",  # how an amount of money becomes a size
        "o10223",  # that it may not become one exactly
        "o10288",  # what a market order on coins is
        "o10331",  # what a stop order risks
        "p12",  # price management
    }
)

UNREACHABLE = f"Is the Client Portal Gateway running, logged in, and set to listenSsl: false? {PAGES['gateway']} IBKR's status: {PAGES['status']}"
LOGIN_HELP = (
    "Gateway: log in at its page in a browser, with two factors. OAuth: check IBKR_CLIENT_ID and the keys; new ones hold after the next night. "
    f"Keys: {PAGES['oauth']}"
)
COMPETING = "another login of this user name has the brokerage session (TWS, the mobile app, another desk): one user name has one at a time"
