"""Every setting there is, in the order of .env.example: name, how it is read, default, what it does. The one table that parsing, the example
file and the docs come from. Longer than a screen because it is a table."""

from collections.abc import Iterable
from typing import NamedTuple


class Key(NamedTuple):
    """kind: text, secret, flag, decimal (>= 0), positive (> 0), fraction (0 < x <= 1), count (>= 1), seconds (>= 1), port, symbols, profiles, url,
    path, clock (HH:MM in UTC, or off), classes (of assets), or a|b|c for a choice."""

    name: str
    kind: str
    default: str
    help: str
    ours: bool = False  # not in the guide's template: commented out in .env.example


SECTIONS: tuple[tuple[str, tuple[Key, ...]], ...] = (
    (
        "1. ALPACA (US Stocks + Crypto) - Recommended for beginners",
        (
            Key("ALPACA_API_KEY", "secret", "", "key id; PK… is paper, AK… is live"),
            Key("ALPACA_API_SECRET", "secret", "", "shown once, when the key is made"),
            Key("ALPACA_PAPER", "flag", "true", "true for paper, false for live (TRADING_MODE must agree)"),
            Key("ALPACA_OAUTH_CLIENT_ID", "secret", "", "OAuth2 for the Broker API (optional)"),
            Key("ALPACA_OAUTH_CLIENT_SECRET", "secret", "", "its secret"),
            Key("ALPACA_DATA_FEED", "iex|sip", "iex", "stock quotes: iex is free, sip needs the paid plan", ours=True),
            Key("ALPACA_ORDER_EVENTS", "websocket|sse", "websocket", "how order events come; sse replays what a broken connection missed", ours=True),
            Key("ALPACA_OPTION_FEED", "indicative|opra", "indicative", "option quotes: indicative is free, opra needs the paid plan", ours=True),
            Key("ALPACA_URL", "url", "", "a twin on this machine instead of Alpaca, e.g. http://127.0.0.1:8001", ours=True),
        ),
    ),
    (
        "2. BINANCE (Crypto Spot)",
        (
            Key("BINANCE_API_KEY", "secret", "", "key"),
            Key("BINANCE_API_SECRET", "secret", "", "secret, or an Ed25519 private key in PEM, its line breaks as \\n"),
            Key("BINANCE_TESTNET", "flag", "true", "true for testnet, false for mainnet"),
            Key("BINANCE_ORDER_ENTRY", "rest|websocket", "rest", "how orders leave; either way they are asked about by REST", ours=True),
            Key("BINANCE_URL", "url", "", "a twin on this machine instead of Binance", ours=True),
        ),
    ),
    (
        "3. KRAKEN (Crypto Exchange)",
        (
            Key("KRAKEN_API_KEY", "secret", "", "key; without withdrawal permission"),
            Key("KRAKEN_API_SECRET", "secret", "", "secret"),
            Key("KRAKEN_TIER", "starter|intermediate|pro", "starter", "the account's level, which says how much it may ask", ours=True),
            Key("KRAKEN_ORDER_ENTRY", "rest|websocket", "rest", "how orders leave; either way they are asked about by REST", ours=True),
            Key(
                "KRAKEN_DEAD_MAN",
                "flag",
                "false",
                "true: Kraken cancels what rests when the desk is silent for a minute; never beside a stop",
                ours=True,
            ),
            Key("KRAKEN_URL", "url", "", "a twin on this machine instead of Kraken", ours=True),
        ),
    ),
    (
        "4. BYBIT (Crypto Derivatives)",
        (
            Key("BYBIT_API_KEY", "secret", "", "key; without withdrawal permission"),
            Key("BYBIT_API_SECRET", "secret", "", "secret"),
            Key("BYBIT_TESTNET", "flag", "true", "true for testnet, false for mainnet"),
            Key("BYBIT_ORDER_ENTRY", "rest|websocket", "rest", "how orders leave; either way they are asked about by REST", ours=True),
            Key("BYBIT_PAPER_HOST", "testnet|demo", "testnet", "paper on the testnet, or on the demo account at live prices", ours=True),
            Key("BYBIT_URL", "url", "", "a twin on this machine instead of Bybit", ours=True),
        ),
    ),
    (
        "5. INTERACTIVE BROKERS (Everything)",
        (
            Key("IB_HOST", "text", "127.0.0.1", "where TWS or IB Gateway runs"),
            Key("IB_PORT", "port", "7497", "TWS: 7497 for paper, 7496 for live; IB Gateway: 4002 and 4001"),
            Key("IB_CLIENT_ID", "count", "1", "number of this API client; orders belong to it"),
            Key("IBKR_CLIENT_ID", "secret", "", "Web API (alternative to TWS): OAuth 1.0a's consumer key, or OAuth 2.0's client id"),
            Key("IBKR_CLIENT_SECRET", "secret", "", "OAuth 1.0a's access token secret, or OAuth 2.0's private key in PEM"),
            Key("IB_ACCOUNT", "secret", "", "the account that is traded: DU… is paper; without it this broker is left out", ours=True),
            Key("IBKR_URL", "url", "", "a twin on this machine instead of TWS", ours=True),
            Key("IBKR_TRANSPORT", "tws|web", "tws", "TWS's socket, or the Web API", ours=True),
            Key("IBKR_WEB_LOGIN", "gateway|oauth1a|oauth2", "gateway", "who logs in to the Web API: a Client Portal Gateway, or OAuth", ours=True),
            Key("IBKR_ACCESS_TOKEN", "secret", "", "OAuth 1.0a: access token", ours=True),
            Key("IBKR_SIGNATURE_KEY", "secret", "", "OAuth 1.0a: private signature key in PEM, on one line", ours=True),
            Key("IBKR_ENCRYPTION_KEY", "secret", "", "OAuth 1.0a: private encryption key in PEM, on one line", ours=True),
            Key("IBKR_DH_PRIME", "secret", "", "OAuth 1.0a: prime of the Diffie-Hellman parameters, in hex", ours=True),
            Key("IBKR_KEY_ID", "secret", "", "OAuth 2.0: id of the client's key", ours=True),
            Key("IBKR_USERNAME", "secret", "", "OAuth 2.0: user name whose session it is", ours=True),
            Key("IBKR_IP", "text", "", "OAuth 2.0: address from which the desk reaches IBKR", ours=True),
        ),
    ),
    (
        "6. OANDA (Forex)",
        (
            Key("OANDA_API_KEY", "secret", "", "personal access token"),
            Key("OANDA_ACCOUNT_ID", "secret", "", "101-… is practice, 001-… is live"),
            Key(
                "OANDA_GUARANTEED_STOPS",
                "flag",
                "false",
                "true: the stops of entries are guaranteed, for a premium; not every account may",
                ours=True,
            ),
            Key("OANDA_URL", "url", "", "a twin on this machine instead of OANDA", ours=True),
        ),
    ),
    (
        "7. TRADIER (US Stocks)",
        (
            Key("TRADIER_ACCESS_TOKEN", "secret", "", "sandbox or production token"),
            Key("TRADIER_ACCOUNT_ID", "text", "", "which account, where the token has several", ours=True),
            Key("TRADIER_MARKET_STREAM", "websocket|http", "websocket", "how production's prices come; the sandbox has no stream", ours=True),
            Key("TRADIER_URL", "url", "", "a twin on this machine instead of Tradier", ours=True),
        ),
    ),
    (
        "TRADING CONFIGURATION",
        (
            Key("TRADING_MODE", "paper|live", "paper", "live also needs the broker's own flag and `trading arm`"),
            Key("TARGET_WEALTH", "positive", "500000", "where the plan shall arrive"),
            Key("STARTING_CAPITAL", "positive", "5000", "what the plan starts from"),
            Key("TIME_HORIZON_DAYS", "count", "365", "in how many days"),
            Key("MAX_POSITION_PCT", "fraction", "0.30", "most of equity in one instrument"),
            Key("MAX_LEVERAGE", "positive", "2.0", "gross exposure over all accounts, times equity"),
            Key("MAX_DAILY_LOSS_PCT", "fraction", "0.10", "today's loss that stops new risk"),
            Key("MAX_DRAWDOWN_PCT", "fraction", "0.50", "fall from the highest equity that stops new risk"),
            Key("KELLY_FRACTION", "fraction", "0.50", "fraction of Kelly's bet"),
            Key("MIN_CONVEXITY_SCORE", "decimal", "0.10", "least convexity of an entry"),
            Key("MAX_CONCURRENT_POSITIONS", "count", "3", "instruments held or on their way"),
            Key("BASE_CURRENCY", "text", "USD", "limits are measured in it", ours=True),
            Key("TRADING_HOME", "path", "", "journal and locks; default: this system's state folder", ours=True),
            Key("TRADING_CREDENTIALS", "env|keyring", "env", "keyring: broker keys come from the OS keyring", ours=True),
            Key("PROFILES", "profiles", "", "further accounts, by names with commas between: ira has its keys in .env.ira", ours=True),
        ),
    ),
    (
        "CRYPTO TRADING (if using crypto)",
        (
            Key("ENABLE_CRYPTO", "flag", "true", "false refuses every new crypto order"),
            Key("CRYPTO_SYMBOLS", "symbols", "BTC/USD,ETH/USD,SOL/USD", "what may be traded; matched by base, so BTC/USD admits BTC/USDT elsewhere"),
            Key("CRYPTO_MAX_POSITION_PCT", "fraction", "0.20", "most of equity in one coin"),
            Key("CRYPTO_MAX_DAILY_LOSS_PCT", "fraction", "0.08", "today's crypto loss that stops new crypto risk"),
            Key("CRYPTO_MAX_DRAWDOWN_PCT", "fraction", "0.40", "fall of crypto from its best that stops new crypto risk"),
            Key("CRYPTO_MAX_LEVERAGE", "positive", "1.0", "crypto exposure, times equity", ours=True),
        ),
    ),
    (
        "LOGGING & SAFETY",
        (
            Key("LOG_LEVEL", "DEBUG|INFO|WARNING|ERROR", "INFO", "how much is told"),
            Key("LOG_FORMAT", "json|text", "json", "json for production, text for development"),
            Key("ALERT_URLS", "secret", "", "who is told of alerts: Apprise addresses, separated by commas", ours=True),
            Key("ALERT_URLS_BACKUP", "secret", "", "who is told when those do not take it", ours=True),
            Key("ALERT_SUMMARY", "clock", "23:55", "when the day's summary is sent: HH:MM in UTC, or off", ours=True),
            Key(
                "FAILOVER_OPENING",
                "classes",
                "",
                "kinds (equity, crypto, forex, …) whose openings go to another broker when the first is down",
                ours=True,
            ),
            Key("TRADING_TAPE", "path", "", "record all that goes over the wire, secrets masked, into this file", ours=True),
            Key("ENABLE_CIRCUIT_BREAKERS", "flag", "true", "halt a broker after errors in a row"),
            Key("HALT_ON_DAILY_LOSS", "flag", "true", "false only warns"),
            Key("HALT_ON_DRAWDOWN", "flag", "true", "false only warns"),
            Key("VALIDATE_ORDERS", "flag", "true", "false skips our copy of the broker's rules, no risk limit"),
            Key("DRY_RUN", "flag", "false", "true walks the whole path and places nothing"),
            Key(
                "ON_UNPROTECTED",
                "alarm|flatten",
                "alarm",
                "no stop rests within 2 s of a fill that asked for one: an alert, or it is sold",
                ours=True,
            ),
            Key("ENABLE_SHORTS", "flag", "false", "true allows selling stocks one does not hold", ours=True),
            Key("ENABLE_UNCOVERED_OPTIONS", "flag", "false", "true allows selling options that nothing covers, where the broker does", ours=True),
            Key("OPTION_MAX_PREMIUM_PCT", "fraction", "0.02", "most of equity paid for options of one kind", ours=True),
            Key("OPTION_PRICE_COLLAR_PCT", "fraction", "0.25", "as PRICE_COLLAR_PCT, for options; at least 0.10 a unit", ours=True),
            Key("MAX_SPREAD_PCT", "fraction", "0.01", "no order without a price where bid and offer are further apart", ours=True),
            Key("CRYPTO_MAX_SPREAD_PCT", "fraction", "0.005", "the same for crypto", ours=True),
            Key("PRICE_COLLAR_PCT", "fraction", "0.03", "how far a limit price may be on the wrong side of the market", ours=True),
            Key("CRYPTO_PRICE_COLLAR_PCT", "fraction", "0.03", "the same for crypto", ours=True),
            Key("MAX_ORDERS_PER_SECOND", "count", "5", "new orders", ours=True),
            Key("MAX_ORDERS_PER_MINUTE", "count", "60", "new orders", ours=True),
            Key("MAX_OPEN_ORDERS", "count", "50", "over all accounts", ours=True),
            Key("MAX_OPEN_ORDERS_PER_INSTRUMENT", "count", "10", "per broker", ours=True),
            Key("DUPLICATE_ORDER_WINDOW_S", "seconds", "5", "the same order again within this time needs --repeat", ours=True),
            Key("QUOTE_MAX_AGE_S", "seconds", "15", "no entry on an older stock quote", ours=True),
            Key("CRYPTO_QUOTE_MAX_AGE_S", "seconds", "5", "no entry on an older crypto quote", ours=True),
            Key("ACCOUNT_MAX_AGE_S", "seconds", "60", "no entry on older account figures", ours=True),
        ),
    ),
    (
        "THE DESK OVER HTTP (trading serve)",
        (
            Key("WEB_HOST", "text", "127.0.0.1", "where it listens; any other address needs a certificate", ours=True),
            Key("WEB_PORT", "port", "8765", "its port", ours=True),
            Key("WEB_HOSTS", "text", "", "further names that browsers call it by, with commas between: desk.example.org", ours=True),
            Key("WEB_TLS_CERT", "path", "", "certificate chain, PEM", ours=True),
            Key("WEB_TLS_KEY", "path", "", "its key, PEM", ours=True),
        ),
    ),
)
KEYS = {key.name: key for _, keys in SECTIONS for key in keys}

# Names that people have from other tools.
ALIASES = {
    "APCA_API_KEY_ID": "ALPACA_API_KEY",
    "APCA_API_SECRET_KEY": "ALPACA_API_SECRET",
    "ALPACA_API_KEY_ID": "ALPACA_API_KEY",
    "ALPACA_SECRET_KEY": "ALPACA_API_SECRET",
    "ALPACA_API_SECRET_KEY": "ALPACA_API_SECRET",
    "ALPACA_IS_PAPER": "ALPACA_PAPER",
    "BINANCE_SECRET_KEY": "BINANCE_API_SECRET",
    "BINANCE_API_SECRET_KEY": "BINANCE_API_SECRET",
    "KRAKEN_SECRET": "KRAKEN_API_SECRET",
    "KRAKEN_PRIVATE_KEY": "KRAKEN_API_SECRET",
    "BYBIT_SECRET": "BYBIT_API_SECRET",
    "BYBIT_API_SECRET_KEY": "BYBIT_API_SECRET",
    "OANDA_API_TOKEN": "OANDA_API_KEY",
    "OANDA_ACCESS_TOKEN": "OANDA_API_KEY",
    "TRADIER_TOKEN": "TRADIER_ACCESS_TOKEN",
    "TRADIER_API_KEY": "TRADIER_ACCESS_TOKEN",
}

# How a name in the environment begins that is meant for us. LOG_, TIME_, ENABLE_ and the like are everybody's.
PREFIXES = (
    "ALPACA_",
    "APCA_",
    "BINANCE_",
    "KRAKEN_",
    "BYBIT_",
    "IB_",
    "IBKR_",
    "OANDA_",
    "TRADIER_",
    "TRADING_",
    "CRYPTO_",
    "MAX_",
    "HALT_ON_",
    "ALERT_",
    "FAILOVER_",
)

# How the settings of one broker begin.
PREFIX_OF = {
    "alpaca": ("ALPACA_",),
    "binance": ("BINANCE_",),
    "kraken": ("KRAKEN_",),
    "bybit": ("BYBIT_",),
    "ibkr": ("IB_", "IBKR_"),
    "oanda": ("OANDA_",),
    "tradier": ("TRADIER_",),
}

# The flag that says paper or live where a broker has hosts for both; the others are what TRADING_MODE says.
PAPER_FLAGS = {"alpaca": "ALPACA_PAPER", "binance": "BINANCE_TESTNET", "bybit": "BYBIT_TESTNET"}

# What each broker's credentials are: our field -> setting.
CREDENTIALS = {
    "alpaca": {"key": "ALPACA_API_KEY", "secret": "ALPACA_API_SECRET"},
    "binance": {"key": "BINANCE_API_KEY", "secret": "BINANCE_API_SECRET"},
    "kraken": {"key": "KRAKEN_API_KEY", "secret": "KRAKEN_API_SECRET"},
    "bybit": {"key": "BYBIT_API_KEY", "secret": "BYBIT_API_SECRET"},
    "ibkr": {"account": "IB_ACCOUNT"},
    "oanda": {"key": "OANDA_API_KEY", "account_id": "OANDA_ACCOUNT_ID"},
    "tradier": {"token": "TRADIER_ACCESS_TOKEN"},
}

# What some ways to log in need besides.
MORE_CREDENTIALS = {
    "ibkr": {
        "web_id": "IBKR_CLIENT_ID",
        "web_secret": "IBKR_CLIENT_SECRET",
        "access_token": "IBKR_ACCESS_TOKEN",
        "signature_key": "IBKR_SIGNATURE_KEY",
        "encryption_key": "IBKR_ENCRYPTION_KEY",
        "dh_prime": "IBKR_DH_PRIME",
        "key_id": "IBKR_KEY_ID",
        "username": "IBKR_USERNAME",
    },
}

# A profile is a further account at a broker: its broker is called alpaca-ira, its settings stand in .env.ira, its secrets are ira.ALPACA_API_KEY.
PROFILE_MAX = 12  # letters and digits of its name
PROFILE_KEYS = frozenset(
    {name for fields in (*CREDENTIALS.values(), *MORE_CREDENTIALS.values()) for name in fields.values()}
    | {name for prefixes in PREFIX_OF.values() for name, key in KEYS.items() if name.startswith(prefixes) and key.kind != "secret"}
)  # an account's own; all others are the desk's
NO_PROFILES = frozenset({*CREDENTIALS, "example", "new"})  # .env.example is the template, .env.new what `trading init` writes first


def parts_of(name: str) -> tuple[str, str]:
    """A broker's folder, and the profile: "" for the account of .env.

    >>> parts_of("alpaca-ira"), parts_of("alpaca")
    (('alpaca', 'ira'), ('alpaca', ''))
    """
    folder, _, profile = name.partition("-")
    return folder, profile


def secret_name(profile: str, setting: str) -> str:
    """What a credential is called where those of all accounts stand together."""
    return f"{profile}.{setting}" if profile else setting


def credentials_of(name: str) -> dict[str, str]:
    """What a broker, or a profile of it, needs to log in: our field -> the secret's name."""
    folder, profile = parts_of(name)
    return {field: secret_name(profile, setting) for field, setting in CREDENTIALS[folder].items()}


def has_keys(name: str, secrets: Iterable[str]) -> bool:
    """Whether any of these secrets is a broker's, or a profile's of it: half a pair counts, and so does a firm's client.

    >>> [has_keys(name, ["ALPACA_API_KEY", "ira.IB_ACCOUNT", "ALERT_URLS"]) for name in ("alpaca", "alpaca-ira", "ibkr", "ibkr-ira")]
    [True, False, False, True]
    """
    folder, profile = parts_of(name)
    return any(secret.startswith(secret_name(profile, prefix)) for secret in secrets for prefix in PREFIX_OF[folder])
