"""Interactive Brokers as data: ports, limits, what it takes, where a person goes. Numbers that may change live here and nowhere else."""

from collections.abc import Mapping
from decimal import Decimal

from trading_system.domain.fix import Contingency, OrdType, TimeInForce
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.ports import ClientIdScope, Facts, LinkRule, OrderRule

NAME = BrokerName("ibkr")

# -- where -----------------------------------------------------------------------------------------------------------------------------------------

PAPER = "paper"
LIVE = "live"
PORTS: Mapping[str, tuple[int, int]] = {PAPER: (7497, 4002), LIVE: (7496, 4001)}  # TWS, IB Gateway
PAGES: Mapping[str, str] = {
    "signup": "https://www.interactivebrokers.com/en/trading/ib-api.php",
    "keys_paper": "https://www.interactivebrokers.com/en/trading/ibgateway-latest.php",
    "keys_live": "https://www.interactivebrokers.com/en/trading/ibgateway-latest.php",
    "docs": "https://www.interactivebrokers.com/campus/ibkr-api-page/twsapi-doc/",
    "status": "https://www.interactivebrokers.com/en/software/systemStatus.php",
}

# -- who -------------------------------------------------------------------------------------------------------------------------------------------

PAPER_ACCOUNT_PREFIX = "DU"  # this is the proof of the kind
REF_MAX = 40  # characters of an order's reference that are known to come back

# -- how much --------------------------------------------------------------------------------------------------------------------------------------

MESSAGES_PER_SECOND = 50  # of one client; TWS queues what is more, or complains
OUR_QUESTIONS_PER_SECOND = 30
OUR_ORDERS_PER_SECOND = 15  # placed, changed and cancelled: no question takes their place
HEARTBEAT_NS = 30_000_000_000  # TWS has none: it is asked for the time so often
STALE_AFTER_NS = 75_000_000_000
HISTORY_TICKS_MAX = 1_000  # of one question

# -- what ------------------------------------------------------------------------------------------------------------------------------------------

_DAY = frozenset({TimeInForce.DAY})
_DAY_GTC = frozenset({TimeInForce.DAY, TimeInForce.GTC})
_IOC = frozenset({TimeInForce.IOC})  # of coins IB has Minutes besides
_AUCTIONS = frozenset({TimeInForce.AT_THE_OPENING, TimeInForce.AT_THE_CLOSE})
_AT_ONCE = frozenset({TimeInForce.IOC, TimeInForce.FOK})
_STOPS = frozenset({OrdType.STOP, OrdType.STOP_LIMIT})
ORDER_RULES = (
    OrderRule(AssetClass.EQUITY, frozenset({OrdType.MARKET}), _DAY | _AUCTIONS, fractional=False),
    OrderRule(AssetClass.EQUITY, frozenset({OrdType.LIMIT}), _DAY_GTC, fractional=False, extended_hours=True),
    OrderRule(AssetClass.EQUITY, frozenset({OrdType.LIMIT}), _AT_ONCE | _AUCTIONS, fractional=False),
    OrderRule(AssetClass.EQUITY, _STOPS | {OrdType.TRAILING_STOP}, _DAY_GTC, fractional=False),
    OrderRule(AssetClass.OPTION, frozenset({OrdType.MARKET}), _DAY, fractional=False),
    OrderRule(AssetClass.OPTION, frozenset({OrdType.LIMIT}), _DAY_GTC, fractional=False),
    OrderRule(AssetClass.LISTED_FUTURE, frozenset({OrdType.MARKET}), _DAY, fractional=False),
    OrderRule(AssetClass.LISTED_FUTURE, _STOPS | {OrdType.LIMIT, OrdType.TRAILING_STOP}, _DAY_GTC, fractional=False),
    OrderRule(AssetClass.BOND, frozenset({OrdType.MARKET}), _DAY, fractional=False),
    OrderRule(AssetClass.BOND, frozenset({OrdType.LIMIT}), _DAY_GTC, fractional=False),
    OrderRule(AssetClass.FUND, frozenset({OrdType.MARKET}), _DAY, fractional=True, cash_buys=True),
    OrderRule(AssetClass.FOREX, frozenset({OrdType.MARKET}), _DAY, fractional=False),
    OrderRule(AssetClass.FOREX, _STOPS | {OrdType.LIMIT}, _DAY_GTC, fractional=False),
    OrderRule(AssetClass.CRYPTO, frozenset({OrdType.MARKET}), _IOC, fractional=True, cash_buys=True),
    OrderRule(AssetClass.CRYPTO, frozenset({OrdType.LIMIT}), _IOC, fractional=True),
)
_LINKS = frozenset({Contingency.BRACKET, Contingency.OTO, Contingency.OCO})
LINK_RULES = (  # a change names one order: whether its exits follow is not stated
    LinkRule(AssetClass.EQUITY, _LINKS, frozenset({OrdType.LIMIT}), _DAY_GTC, can_replace=False),
    LinkRule(AssetClass.EQUITY, _LINKS - {Contingency.OCO}, frozenset({OrdType.MARKET}), _DAY, can_replace=False),
    LinkRule(AssetClass.LISTED_FUTURE, _LINKS, frozenset({OrdType.LIMIT}), _DAY_GTC, can_replace=False),
    LinkRule(AssetClass.LISTED_FUTURE, _LINKS - {Contingency.OCO}, frozenset({OrdType.MARKET}), _DAY, can_replace=False),
)
BY_TWS_ALONE = frozenset({AssetClass.BOND, AssetClass.FUND})
LISTED_BONDS = (InstrumentID("912810TM0"), InstrumentID("91282CJJ1"))  # the Treasury's, of twenty years and of ten
LISTED_FUTURES = ("ES", "MES", "NQ", "MNQ", "CL", "MCL", "GC")  # of each the nearest
NEAREST_FUTURES = 2
LISTED = tuple(map(InstrumentID, ("AAPL", "MSFT", "NVDA", "AMZN", "TSLA", "SPY", "QQQ", "IWM", "BRK.B", "EUR/USD", "GBP/USD", "AUD/USD", "BTC/USD")))

FACTS = Facts(
    broker=NAME,
    title="Interactive Brokers",
    rules=ORDER_RULES,
    links=LINK_RULES,
    legs_max=4,
    client_id_scope=ClientIdScope.NONE,  # an order's reference is a label: the same one twice is two orders
    late_accept_ns=120_000_000_000,  # IB states no bound: the general one where there is no deadline on the wire
    visibility_lag_ns=30_000_000_000,
    can_replace=True,
    has_paper=True,
    maker_fee=Decimal("0.0002"),  # IB charges by the share, and a dollar at least: this is what an ordinary order comes to
    taker_fee=Decimal("0.0002"),
    max_fee_in_kind=Decimal(0),
    requests_per_minute=60 * OUR_QUESTIONS_PER_SECOND,
    pages=PAGES,
)

# -- help ------------------------------------------------------------------------------------------------------------------------------------------

UNREACHABLE = (
    "Start TWS or IB Gateway on that machine and log in; in its API settings enable socket clients, and let IB_PORT be the port shown there "
    f"(TWS 7497 for paper and 7496 for live, Gateway 4002 and 4001). Gateway: {PAGES['keys_paper']}"
)
ACCOUNT_HELP = f"Set IB_ACCOUNT to the one that this desk shall trade; paper accounts begin with DU. Accounts: {PAGES['signup']}"
TAKEN_HELP = "another program, or a desk that is still running, uses this IB_CLIENT_ID: stop it, or take another. Orders belong to their number."
READ_ONLY_HELP = "TWS's API is read-only: untick Read-Only API in its API settings, and orders can be placed"
