""".env, environment and keyring become one frozen Config: every key validated, every problem said at once."""

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from trading_system.domain.errors import DeskError
from trading_system.domain.ids import BrokerName, parse_instrument
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import parse_decimal
from trading_system.settings.credentials import KeyringUnavailable, read_keyring
from trading_system.settings.dotenv import FLAGS, Source, find_env_file, merge, odd_names, parse_secret, read_env_file
from trading_system.settings.keys import (
    CREDENTIALS,
    KEYS,
    MORE_CREDENTIALS,
    NO_PROFILES,
    PAPER_FLAGS,
    PREFIX_OF,
    PROFILE_KEYS,
    PROFILE_MAX,
    Key,
    credentials_of,
    parts_of,
    secret_name,
)
from trading_system.settings.secret import Secret

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ConfigError(DeskError):
    """The settings contradict themselves or make no sense. Nothing was started."""

    exit_code = 2

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("settings: " + "; ".join(problems))
        self.problems = problems


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force. One field per setting that this version uses and that is no broker's own, named like it; settings/keys.py says what each
    does."""

    trading_mode: str
    target_wealth: Decimal
    starting_capital: Decimal
    time_horizon_days: int
    kelly_fraction: Decimal
    min_convexity_score: Decimal
    max_position_pct: Decimal
    max_leverage: Decimal
    max_daily_loss_pct: Decimal
    max_drawdown_pct: Decimal
    max_concurrent_positions: int
    base_currency: str
    trading_home: str
    trading_credentials: str
    enable_crypto: bool
    crypto_symbols: tuple[str, ...]
    crypto_max_position_pct: Decimal
    crypto_max_daily_loss_pct: Decimal
    crypto_max_drawdown_pct: Decimal
    crypto_max_leverage: Decimal
    log_level: str
    log_format: str
    alert_summary: str  # HH:MM in UTC, or off
    failover_opening: tuple[AssetClass, ...]
    trading_tape: str
    enable_circuit_breakers: bool
    halt_on_daily_loss: bool
    halt_on_drawdown: bool
    validate_orders: bool
    dry_run: bool
    on_unprotected: str
    enable_shorts: bool
    enable_uncovered_options: bool
    option_max_premium_pct: Decimal
    option_price_collar_pct: Decimal
    max_spread_pct: Decimal
    crypto_max_spread_pct: Decimal
    price_collar_pct: Decimal
    crypto_price_collar_pct: Decimal
    max_orders_per_second: int
    max_orders_per_minute: int
    max_open_orders: int
    max_open_orders_per_instrument: int
    duplicate_order_window_s: int
    quote_max_age_s: int
    crypto_quote_max_age_s: int
    account_max_age_s: int
    web_host: str
    web_port: int
    web_hosts: str
    web_tls_cert: str
    web_tls_key: str
    profiles: tuple[str, ...]  # further accounts
    options: Mapping[str, Mapping[str, str]]  # each broker's own settings that are no secret and not empty: ALPACA_DATA_FEED is data_feed
    secrets: Mapping[str, Secret]  # by setting, a profile's as ira.ALPACA_API_KEY; only what is configured
    env_file: str  # "" when there is none
    profile_files: tuple[str, ...]  # those of the profiles that are there
    explicit: frozenset[str]  # settings that somebody has set; the others are defaults
    warnings: tuple[str, ...]
    config_hash: str  # over everything but secrets

    @property
    def brokers(self) -> tuple[BrokerName, ...]:
        """Every broker that there is, and what each profile has a key of."""
        profiles = (BrokerName(f"{broker}-{profile}") for profile in self.profiles for broker in CREDENTIALS)
        return (*map(BrokerName, CREDENTIALS), *(name for name in profiles if any(key in self.secrets for key in credentials_of(name).values())))

    def credentials(self, broker: str) -> Mapping[str, Secret]:
        """The broker's fields, all of them and what else is there for it, or none."""
        (folder, profile), needed = parts_of(broker), credentials_of(broker)
        more = {field: secret_name(profile, setting) for field, setting in MORE_CREDENTIALS.get(folder, {}).items()}
        fields = {field: self.secrets[name] for field, name in {**needed, **more}.items() if name in self.secrets}
        return fields if needed.keys() <= fields.keys() else {}

    def kind(self, broker: str) -> str | None:
        """paper or live where TRADING_MODE and the broker's own flag agree; None where they do not, and a warning says so."""
        folder, _ = parts_of(broker)
        flag = PAPER_FLAGS.get(folder)
        if flag is None:
            return self.trading_mode
        said = "paper" if self.options[broker][_option(folder, flag)] == "true" else "live"
        return said if said == self.trading_mode else None

    def unsafe_files(self) -> tuple[str, ...]:
        """What is unsafe about the files that hold keys."""
        files = (self.env_file, *self.profile_files) if self.env_file else self.profile_files
        return tuple(finding for name in files for finding in env_file_findings(Path(name)))


def load_config(environ: Mapping[str, str] | None = None, folder: Path | None = None, env_file: Path | None = None) -> Config:
    """Read everything. Raises ConfigError with all problems at once, never with a secret's value."""
    environ = os.environ if environ is None else environ
    folder = folder or Path.cwd()
    path = env_file or find_env_file(environ, folder)
    source = _read(path)
    raw, places, found = merge(source, environ)
    problems = list(found)
    values = _parsed(KEYS.values(), raw, places, problems)
    secrets = _secrets(values, values.get("TRADING_CREDENTIALS"), "", problems)
    profiles = values.get("PROFILES", ())
    assert isinstance(profiles, tuple)
    beside = folder if path is None or str(path) == os.devnull else path.parent
    accounts = [_Profile(name, beside / f".env.{name}", values.get("TRADING_CREDENTIALS"), problems) for name in profiles]
    if not problems:
        _contradictions(values, secrets, problems)
        for account in accounts:
            _contradictions(account.values, account.secrets, problems, f"{account.path.name}: ")
    if problems:
        raise ConfigError(tuple(problems))
    plain = {key.name.lower(): values[key.name] for key in KEYS.values() if key.kind != "secret"}
    options = {broker: _options(broker, values) for broker in PREFIX_OF}
    options |= {f"{broker}-{account.name}": _options(broker, account.values) for account in accounts for broker in PREFIX_OF}
    digest = hashlib.blake2b(repr((sorted(plain.items()), sorted(options.items()))).encode(), digest_size=8).hexdigest()
    mode = values["TRADING_MODE"]
    warnings = (*source.warnings, *odd_names(environ), *_warnings(mode, values, secrets))
    for account in accounts:
        warnings += (*account.warnings, *_warnings(mode, account.values, account.secrets, f"{account.path.name}: "))
    return Config(
        **{name: value for name, value in plain.items() if not name.upper().startswith(_BROKERS)},  # type: ignore[arg-type]  # held by test_config.py
        options=options,
        secrets=secrets | {secret_name(account.name, name): secret for account in accounts for name, secret in account.secrets.items()},
        env_file="" if path is None else str(path),
        profile_files=tuple(str(account.path) for account in accounts if account.there),
        explicit=frozenset(raw),
        warnings=warnings,
        config_hash=digest,
    )


class _Profile:
    """What one further account has of its own. The environment has no part in it: its names are those of the account of .env."""

    def __init__(self, name: str, path: Path, kept: object, problems: list[str]) -> None:
        self.name = name
        self.path = path
        self.there = path.exists()
        if not self.there and kept != "keyring":
            problems.append(f"PROFILES names {name}, and there is no {path.name}: `trading init --profile {name}` writes it, or take {name} out")
        source = _read(path if self.there else None)
        raw, places, found = merge(source, {})
        problems += found
        for setting in sorted(raw.keys() - PROFILE_KEYS):
            problems.append(f"{places[setting]}: {setting} holds for the whole desk: it belongs in .env, not in a profile")
        self.values = _parsed((KEYS[setting] for setting in sorted(PROFILE_KEYS)), raw, places, problems)
        secrets = _secrets(self.values, kept, name, problems)
        self.secrets = {setting.removeprefix(f"{name}."): secret for setting, secret in secrets.items()}
        keyless = () if self.secrets else (f"the profile {name} has no keys: `trading init --profile {name}` asks for them",)
        self.warnings = (*source.warnings, *keyless)


def _read(path: Path | None) -> Source:
    """Raises ConfigError: the file cannot be read."""
    if path is None:
        return Source({}, {}, (), ())
    try:
        return read_env_file(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError((f"{path.name} cannot be read: {error}",)) from None


def _parsed(keys: Iterable[Key], raw: Mapping[str, str], places: Mapping[str, str], problems: list[str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for key in keys:
        try:
            values[key.name] = _PARSERS.get(key.kind, _choice)(key, raw.get(key.name, ""))
        except ValueError as error:
            problems.append(f"{places.get(key.name, 'environment')}: {key.name} {error}")
    return values


def env_file_findings(path: Path) -> tuple[str, ...]:
    """What is unsafe about the file that holds keys: owner, mode, kind, and whether git would take it along. Live refuses, paper warns."""
    found: list[str] = []
    if str(path) == os.devnull:
        return ()  # the way to say: no file
    info = path.lstat()
    if not stat.S_ISREG(info.st_mode):
        found.append(f"{path.name} is no regular file")
    if hasattr(os, "getuid") and info.st_uid != os.getuid():
        found.append(f"{path.name} belongs to another user")
    if stat.S_IMODE(info.st_mode) & 0o077:
        found.append(f"others can read {path.name}: chmod 600 {path.name}")
    if stat.S_IMODE(path.parent.stat().st_mode) & 0o002:
        found.append(f"anybody can write in the folder of {path.name}")
    try:
        inside = subprocess.run(["git", "-C", str(path.parent), "rev-parse", "--is-inside-work-tree"], capture_output=True, check=False)  # noqa: S603, S607
        if inside.returncode == 0:
            ignored = subprocess.run(["git", "-C", str(path.parent), "check-ignore", "-q", path.name], capture_output=True, check=False)  # noqa: S603, S607
            if ignored.returncode != 0:
                found.append(f"git does not ignore {path.name}: add it to .gitignore")
    except FileNotFoundError:
        found.append("git is not installed, so whether it would take the file along is not known")
    return tuple(found)


def _text(key: Key, raw: str) -> str:
    return raw or key.default


def _secret(_: Key, raw: str) -> Secret | None:
    return parse_secret(raw)


def _flag(key: Key, raw: str) -> bool:
    try:
        return FLAGS[(raw or key.default).lower()]
    except KeyError:
        raise ValueError("is true or false") from None


def _decimal(key: Key, raw: str) -> Decimal:
    value = parse_decimal(raw or key.default)
    if value < 0:
        raise ValueError("is not negative")
    return value


def _positive(key: Key, raw: str) -> Decimal:
    value = _decimal(key, raw)
    if not value:
        raise ValueError("is above 0")
    return value


def _fraction(key: Key, raw: str) -> Decimal:
    value = _decimal(key, raw)
    if not 0 < value <= 1:
        meant = f"; for {value} % write {value / 100}" if 1 < value <= 100 else ""
        raise ValueError(f"is a fraction above 0 and at most 1{meant}")
    return value


def _count(key: Key, raw: str) -> int:
    text = raw or key.default
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 1_000_000:
        raise ValueError("is a whole number from 1 to 1000000")
    return int(text)


def _port(key: Key, raw: str) -> int:
    value = _count(key, raw)
    if value > 65_535:
        raise ValueError("is a port: 1 to 65535")
    return value


def _symbols(key: Key, raw: str) -> tuple[str, ...]:
    symbols = tuple(part.strip().upper() for part in (raw or key.default).split(",") if part.strip())
    for symbol in symbols:
        if "/" not in parse_instrument(symbol):
            raise ValueError(f"lists pairs like BTC/USD, not {symbol}")
    return symbols


def _classes(key: Key, raw: str) -> tuple[AssetClass, ...]:
    try:
        return tuple(sorted({AssetClass(part.strip().lower()) for part in (raw or key.default).split(",") if part.strip()}))
    except ValueError:
        raise ValueError(f"lists any of {', '.join(AssetClass)}") from None


def _profiles(_: Key, raw: str) -> tuple[str, ...]:
    return parse_profiles(raw)


def parse_profiles(raw: str) -> tuple[str, ...]:
    """The names, with commas between. Raises ValueError with what is allowed."""
    names = tuple(part.strip() for part in raw.split(",") if part.strip())
    if len(set(names)) < len(names):
        raise ValueError("names a profile twice")
    for name in names:
        if not re.fullmatch(rf"[a-z0-9]{{1,{PROFILE_MAX}}}", name) or name in NO_PROFILES:
            rule = f"1 to {PROFILE_MAX} lower case letters and digits, and none of {', '.join(sorted(NO_PROFILES))}"
            raise ValueError(f"lists {name}: a profile's name is {rule}")
    return names


def _clock(key: Key, raw: str) -> str:
    text = (raw or key.default).lower()
    if text != "off" and not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError("is a time of day in UTC like 23:55, or off")
    return text


def _url(_: Key, raw: str) -> str:
    if not raw:
        return ""
    parts = urlsplit(raw)
    if parts.scheme != "http" or parts.hostname not in _LOOPBACK or parts.port is None or parts.path not in ("", "/"):
        raise ValueError("is the address of a twin on this machine: http://127.0.0.1:PORT")
    return raw.rstrip("/")


def _choice(key: Key, raw: str) -> str:
    choices = key.kind.split("|")
    value = next((choice for choice in choices if choice.lower() == (raw or key.default).lower()), None)
    if value is None:
        raise ValueError(f"is one of {', '.join(choices)}")
    return value


_PARSERS: Mapping[str, Callable[[Key, str], object]] = {
    "text": _text,
    "path": _text,
    "secret": _secret,
    "flag": _flag,
    "decimal": _decimal,
    "positive": _positive,
    "fraction": _fraction,
    "count": _count,
    "seconds": _count,
    "port": _port,
    "symbols": _symbols,
    "classes": _classes,
    "profiles": _profiles,
    "url": _url,
    "clock": _clock,
}


def _secrets(values: Mapping[str, object], kept: object, profile: str, problems: list[str]) -> dict[str, Secret]:
    """What the file and the environment say, and before them the keyring, where it is used."""
    secrets = {name: value for name, value in values.items() if isinstance(value, Secret)}
    if kept == "keyring":
        try:
            secrets |= read_keyring(profile)
        except KeyringUnavailable as error:
            problems.append(f"TRADING_CREDENTIALS=keyring: {error}")
    return secrets


def _contradictions(values: Mapping[str, object], secrets: Mapping[str, Secret], problems: list[str], where: str = "") -> None:
    """A key of one kind with the flag of the other. The prefix is a belt, the account number is the proof (0002-the-port.md)."""
    key = secrets.get("ALPACA_API_KEY")
    if key is None or values["ALPACA_URL"]:
        return
    if key.reveal().startswith("PK") and not values["ALPACA_PAPER"]:
        problems.append(f"{where}ALPACA_API_KEY is a paper key (PK…), but ALPACA_PAPER=false: set ALPACA_PAPER=true, or use the live key (AK…)")
    if key.reveal().startswith("AK") and values["ALPACA_PAPER"]:
        problems.append(f"{where}ALPACA_API_KEY is a live key (AK…), but ALPACA_PAPER=true: use the paper key (PK…), or set ALPACA_PAPER=false")


def _warnings(mode: object, values: Mapping[str, object], secrets: Mapping[str, Secret], where: str = "") -> tuple[str, ...]:
    """The brokers that have keys, and a flag that TRADING_MODE does not agree with."""
    found = []
    for broker, flag in PAPER_FLAGS.items():
        said = "paper" if values[flag] else "live"
        if said != mode and any(name in secrets for name in CREDENTIALS[broker].values()):
            wanted, how = str(not values[flag]).lower(), "live" if mode == "live" else "on paper"
            text = f"{where}TRADING_MODE={mode}, but {flag}={str(values[flag]).lower()}"
            found.append(f"{text}: {broker.capitalize()} is left out; set {flag}={wanted} to trade it {how}")
    return tuple(found)


_BROKERS = tuple(prefix for prefixes in PREFIX_OF.values() for prefix in prefixes)


def _option(broker: str, name: str) -> str:
    prefix = next(prefix for prefix in PREFIX_OF[broker] if name.startswith(prefix))
    return name.removeprefix(prefix).lower()


def _options(broker: str, values: Mapping[str, object]) -> Mapping[str, str]:
    found = {}
    for name, value in values.items():
        if name.startswith(PREFIX_OF[broker]) and KEYS[name].kind != "secret" and value != "":
            found[_option(broker, name)] = str(value).lower() if isinstance(value, bool) else str(value)
    return found
