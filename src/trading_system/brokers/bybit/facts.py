"""Bybit as data: hosts, names of headers, limits, what it takes, where a person goes. Numbers that may change live here and nowhere else."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.domain.fix import Contingency, OrdType, TimeInForce
from trading_system.domain.ids import BrokerName
from trading_system.domain.instrument import AssetClass
from trading_system.domain.ports import ClientIdScope, Facts, LinkRule, OrderRule

NAME = BrokerName("bybit")

# -- where -----------------------------------------------------------------------------------------------------------------------------------------


class Urls(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of one environment, without a trailing slash."""

    rest: str
    public: str  # followed by the category
    private: str
    trade: str  # orders as frames; "": the host has none


PAPER = "paper"
LIVE = "live"
DEMO = "demo"  # paper of another kind: the live market's prices, and public streams of its own it has none
URLS: Mapping[str, Urls] = {
    PAPER: Urls(
        rest="https://api-testnet.bybit.com",
        public="wss://stream-testnet.bybit.com/v5/public",
        private="wss://stream-testnet.bybit.com/v5/private",
        trade="wss://stream-testnet.bybit.com/v5/trade",
    ),
    DEMO: Urls(
        rest="https://api-demo.bybit.com",
        public="wss://stream.bybit.com/v5/public",
        private="wss://stream-demo.bybit.com/v5/private",
        trade="",
    ),
    LIVE: Urls(
        rest="https://api.bybit.com",
        public="wss://stream.bybit.com/v5/public",
        private="wss://stream.bybit.com/v5/private",
        trade="wss://stream.bybit.com/v5/trade",
    ),
}
PUBLIC_PATH, PRIVATE_PATH, TRADE_PATH = "/v5/public", "/v5/private", "/v5/trade"
# What a change is called as a frame. Both ways share one budget.
SOCKET_OPS: Mapping[str, str] = {"/v5/order/create": "order.create", "/v5/order/amend": "order.amend", "/v5/order/cancel": "order.cancel"}
PAGES: Mapping[str, str] = {
    "signup": "https://www.bybit.com/register",
    "keys_paper": "https://testnet.bybit.com/app/user/api-management",
    "keys_live": "https://www.bybit.com/app/user/api-management",
    "docs": "https://bybit-exchange.github.io/docs/v5/intro",
    "status": "https://bybit.statuspage.io",
}

# -- who -------------------------------------------------------------------------------------------------------------------------------------------

KEY_HEADER = "X-BAPI-API-KEY"
TIME_HEADER = "X-BAPI-TIMESTAMP"
SIGN_HEADER = "X-BAPI-SIGN"
WINDOW_HEADER = "X-BAPI-RECV-WINDOW"
RECV_WINDOW_MS = 5_000  # a request that arrives later than this after its timestamp is refused with 10002
AHEAD_MS = 1_000  # and one from further in the future
LOGIN_AHEAD_NS = 10_000_000_000  # how long a WebSocket login is good for: `expires` must lie in the future when it arrives

# -- how much --------------------------------------------------------------------------------------------------------------------------------------

# Of one address, over all hosts; beyond it HTTP 403 "access too frequent", and nothing else for ten minutes. No header tells of it.
REQUESTS_MAX = 600
WINDOW_NS = 5_000_000_000
BANNED_NS = 600_000_000_000
REQUESTS_PER_MINUTE = REQUESTS_MAX * 12
LIMIT_HEADER = "X-Bapi-Limit"
LEFT_HEADER = "X-Bapi-Limit-Status"
RESET_HEADER = "X-Bapi-Limit-Reset-Timestamp"  # epoch milliseconds
# Requests a second by path, per account: the least of what its categories have. What is not listed here is market data, counted by address alone.
PER_SECOND: Mapping[str, int] = {
    "/v5/order/create": 10,
    "/v5/order/amend": 10,
    "/v5/order/cancel": 10,
    "/v5/order/cancel-all": 10,
    "/v5/order/realtime": 50,
    "/v5/order/history": 50,
    "/v5/execution/list": 50,
    "/v5/position/list": 50,
    "/v5/position/set-leverage": 10,
    "/v5/position/switch-mode": 10,
    "/v5/account/wallet-balance": 50,
    "/v5/account/transaction-log": 30,
    "/v5/account/info": 50,
    "/v5/account/fee-rate": 5,
    "/v5/asset/delivery-record": 10,
    "/v5/user/query-api": 10,
}
INSTRUMENTS_PAGE_MAX = 1_000
ORDERS_PAGE_MAX = 50
EXECUTIONS_PAGE_MAX = 100
POSITIONS_PAGE_MAX = 200
LOG_PAGE_MAX = 50
KLINES_MAX = 1_000
PRINTS_MAX: Mapping[str, int] = {"spot": 60, "linear": 1_000, "inverse": 1_000, "option": 1_000}
HISTORY_WINDOW_NS = 7 * 86_400_000_000_000  # the most that one question about the past may span
PING_EVERY_NS = 20_000_000_000
SILENCE_NS = 70_000_000_000  # no pong for so long: the socket is dead
TOPICS_MAX = 10  # of one subscribe request (spot's limit; the others have more)
# Order books that send changes.
DEPTHS: Mapping[str, tuple[int, ...]] = {"spot": (50, 200), "linear": (50, 200), "inverse": (50, 200), "option": (25, 100)}

# -- what ------------------------------------------------------------------------------------------------------------------------------------------

SPOT, LINEAR, INVERSE, OPTION = "spot", "linear", "inverse", "option"
CONTRACTS = (LINEAR, INVERSE)  # swaps and futures: of money, and of dollars that are settled in the coin
PARTIAL = "Partial"  # tpslMode: exits that belong to what one order filled, not to the position
LISTED = (LINEAR, INVERSE, SPOT)  # what is listed whole; of options there are chains
CATEGORIES = (*LISTED, OPTION)
MONEY = frozenset({"USDT", "USDC"})  # coins that are money here; every other one is a position in its USDT pair
QUOTE = "USDT"
DOLLAR = "USD"  # what prices of inverse contracts are in
_GTC, _ALL = frozenset({TimeInForce.GTC}), frozenset({TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK})
_NOW = frozenset({TimeInForce.GTC, TimeInForce.IOC})
_CLASSES = ((AssetClass.CRYPTO, True), (AssetClass.PERPETUAL, False), (AssetClass.FUTURE, False))
ORDER_RULES = (
    *(
        rule
        for asset_class, fractional in _CLASSES
        for rule in (
            OrderRule(asset_class, frozenset({OrdType.LIMIT}), _ALL, fractional=fractional),
            # a market order is always IOC there; GTC is taken because it says the same: all of it, now
            OrderRule(asset_class, frozenset({OrdType.MARKET}), _NOW, fractional=fractional),
            OrderRule(asset_class, frozenset({OrdType.STOP}), _GTC, fractional=fractional),
            OrderRule(asset_class, frozenset({OrdType.STOP_LIMIT}), _ALL, fractional=fractional),
        )
    ),
    OrderRule(AssetClass.CRYPTO_OPTION, frozenset({OrdType.LIMIT}), _ALL, fractional=False),  # options have no conditional orders
    OrderRule(AssetClass.CRYPTO_OPTION, frozenset({OrdType.MARKET}), _NOW, fractional=False),
)
# Pairs of exits under tpslMode Partial: made for what the entry fills, named after it. One alone was never seen to be, and none was moved as a limit.
LINK_RULES = tuple(
    LinkRule(asset_class, frozenset({Contingency.BRACKET}), frozenset({OrdType.MARKET, OrdType.LIMIT}), _GTC, can_replace=False)
    for asset_class in (AssetClass.PERPETUAL, AssetClass.FUTURE)
)
CLIENT_ID_MAX = 36
SPOT_TAKER_FEE = SPOT_MAKER_FEE = Decimal("0.001")  # VIP 0; a spot fee is taken from what is credited: coins of a buy, money of a sale
LINEAR_TAKER_FEE, LINEAR_MAKER_FEE = Decimal("0.00055"), Decimal("0.0002")  # of all contracts but options; of inverse ones in the coin
OPTION_FEE, OPTION_DELIVERY_FEE = Decimal("0.0002"), Decimal("0.00015")  # of the coin's price, in money …
OPTION_FEE_CAP = Decimal("0.07")  # … and no more than so much of the option's

FACTS = Facts(
    broker=NAME,
    title="Bybit",
    rules=ORDER_RULES,
    links=LINK_RULES,
    client_id_scope=ClientIdScope.FOR_EVER,  # "always unique"; how long an id stays taken is not said, and ours are used once
    late_accept_ns=15_000_000_000,  # recv_window bounds how late a request may arrive: five seconds, and room for clocks and their queues
    visibility_lag_ns=30_000_000_000,  # an acknowledgement is not acceptance, and no bound between the two is stated
    can_replace=True,
    has_paper=True,
    maker_fee=SPOT_MAKER_FEE,  # of pairs, which pay more than swaps
    taker_fee=SPOT_TAKER_FEE,
    max_fee_in_kind=Decimal(0),  # every fill says its fee, in whatever coin
    requests_per_minute=REQUESTS_PER_MINUTE,
    pages=PAGES,
)

# -- help ------------------------------------------------------------------------------------------------------------------------------------------

UNREACHABLE = (
    "Check the internet connection, the firewall, and whether another network works (a VPN may block some APIs, and Bybit refuses some countries). "
    f"Bybit's own status: {PAGES['status']}"
)
KEYS_HELP = (
    "Check that BYBIT_API_KEY and BYBIT_API_SECRET are right, without extra spaces, and that BYBIT_TESTNET fits them: a testnet key is unknown on "
    f"the main net, and the reverse. Keys: {PAGES['keys_paper']} (testnet), {PAGES['keys_live']} (live)."
)
PERMISSION_HELP = (
    "The key needs the permissions Orders and Positions (contracts, options) and Trade (spot), read and write, and this machine's address if it is "
    f"bound to any. Keys: {PAGES['keys_paper']} (testnet), {PAGES['keys_live']} (live)."
)
CLOCK_HELP = "This machine's clock is off: let NTP set it."
BUDGET_HELP = (
    "The desk paces its own requests and waits by itself: check whether other programs or a second copy use the key, let your own code ask less "
    "often, and wait."
)
UNIFIED_HELP = "Upgrade the account to the unified trading account on Bybit's own page: the classic one has another interface."
HEDGE_HELP = "Set the position mode of contracts to one-way on Bybit's own page: this desk counts one position an instrument."
