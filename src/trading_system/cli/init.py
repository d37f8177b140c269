"""init: a newcomer's way to a settings file: broker, keys, limits, then a check."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from trading_system.domain.errors import BadRequest, DeskError
from trading_system.settings.keys import CREDENTIALS, KEYS, PAPER_FLAGS
from trading_system.settings.private import put_private

# What each is for, in the guide's words.
_BEST_FOR = {
    "alpaca": "US stocks, options and crypto; the easiest to begin with, a paper account at once",
    "binance": "crypto spot; a testnet without an account",
    "kraken": "crypto spot; paper is simulated on its live prices",
    "bybit": "crypto: spot, perpetual swaps, futures, options; a testnet",
    "ibkr": "stocks, options, currencies all over the world; TWS or IB Gateway runs beside the desk",
    "oanda": "currencies and metals; a practice account",
    "tradier": "US stocks and options; a sandbox with delayed prices",
}
_GOAL = ("STARTING_CAPITAL", "TARGET_WEALTH", "TIME_HORIZON_DAYS")
_LIMITS = ("MAX_DAILY_LOSS_PCT", "MAX_DRAWDOWN_PCT", "MAX_POSITION_PCT", "MAX_LEVERAGE", "MAX_CONCURRENT_POSITIONS", "KELLY_FRACTION")


@click.command()
@click.option("--broker", help="Which broker; asked for where it is left out.")
@click.option("--profile", help="A further account, under this name: its keys go into a file of its own, the limits stay the desk's.")
@click.option("--file", "path", type=click.Path(path_type=Path, dir_okay=False), default=Path(".env"), show_default=True, help="The settings file.")
@click.option("--no-check", is_flag=True, help="Do not connect at the end.")
def init(broker: str | None, profile: str | None, path: Path, no_check: bool) -> None:
    from trading_system.brokers import registry
    from trading_system.settings.dotenv import merge, read_env_file

    what = "Paper trading, your limits, one broker" if profile is None else f"A further account, {profile}, under the limits of {path}"
    click.secho(f"{what}. Enter keeps what stands in [brackets]; Ctrl-C leaves everything as it is.", bold=True)
    before = _text_of(path) or ""
    known = merge(read_env_file(path), {})[0] if path.exists() else {}
    profiles = "" if profile is None else _with_profile(known.get("PROFILES", ""), profile)
    if broker is None:
        for number, name in enumerate(_BEST_FOR, 1):
            click.echo(f"  {number}  {registry.facts(name).title:<20} {_BEST_FOR[name]}")
        broker = list(_BEST_FOR)[click.prompt("\nWhich broker", type=click.IntRange(1, len(_BEST_FOR)), default=1) - 1]
    if broker not in _BEST_FOR:
        raise BadRequest(f"no broker {broker!r}; there are: {', '.join(_BEST_FOR)}")
    paper = {PAPER_FLAGS[broker]: "true"} if broker in PAPER_FLAGS else {}
    if path.exists():
        anew = (*paper, *CREDENTIALS[broker].values(), "TRADING_MODE", *_GOAL, *_LIMITS) if profile is None else (f"PROFILES names {profile},",)
        _sound(path, anew)
    account = {**paper, **_keys(broker, paper)}
    if profile is None:
        values = {"TRADING_MODE": "paper", **account}
        click.secho("\nThe goal. `trading plan` says the odds of it.", bold=True)
        values |= _asked(_GOAL, known)
        click.secho("\nThe limits. The desk keeps to them whatever a strategy wishes; they can be changed in the file.", bold=True)
        values |= _asked(_LIMITS, known)
        _write(path, before, values)
        written = str(path)
    else:
        written = f"{_write_profile(path, before, profile, profiles, account)} and its name in {path}"
    click.secho(f"\nWritten: {written} (only you can read it). It is paper: live is a step of its own (`trading arm`).", fg="green")
    if no_check or path.resolve().parent != Path.cwd() or path.name != ".env":
        click.echo("Next: trading check")
        return
    from trading_system.cli.accounts import check

    click.echo("Connecting …")
    click.get_current_context().invoke(check, as_json=False)


def _sound(path: Path, anew: tuple[str, ...]) -> None:
    """Raises ConfigError before anything is asked: what is wrong with the file, and is not written anew."""
    from trading_system.app.config import ConfigError, load_config

    try:
        load_config({}, folder=path.parent, env_file=path)
    except ConfigError as error:
        mended = {problem for problem in error.problems if any(f" {what}" in f" {problem}" for what in anew) and "is set twice" not in problem}
        if left := tuple(problem for problem in error.problems if problem not in mended):
            raise ConfigError(left) from None


def _keys(broker: str, paper: Mapping[str, str]) -> dict[str, str]:
    """The credentials, typed and not shown, under the broker's flag for paper. What cannot be one is asked for again."""
    from trading_system.brokers import registry

    page = registry.facts(broker).pages["keys_paper"]
    click.echo(f"\nKeys: {page}")
    click.echo("Make them without the permission to withdraw. They are not shown while you paste them.")
    found = {}
    for name in CREDENTIALS[broker].values():
        account = name.endswith(("_ACCOUNT", "_ACCOUNT_ID"))
        found[name] = _answer(name, paper, hide_input=not account, default="", show_default=False)
    return found


def _asked(names: tuple[str, ...], known: Mapping[str, str]) -> dict[str, str]:
    return {name: _answer(name, {}, default=known.get(name) or KEYS[name].default) for name in names}


def _answer(name: str, beside: Mapping[str, str], **how: Any) -> str:
    """What is typed, once the settings take it: until then they say why not, and it is asked for again."""
    while True:
        value: str = click.prompt(f"  {name} ({KEYS[name].help})", **how).strip()
        wrong = _wrong(name, value, beside)
        if not wrong:
            return value
        click.secho(f"  {wrong}", fg="red")


def _wrong(name: str, value: str, beside: Mapping[str, str]) -> str:
    """What the settings have against a value, by their own parser; "" is nothing."""
    from trading_system.app.config import ConfigError, load_config
    from trading_system.settings.dotenv import is_placeholder

    if KEYS[name].kind == "secret" and is_placeholder(value):
        return f"{name} is still to be filled in" if value else f"{name} is needed"
    try:
        load_config({**beside, name: value}, env_file=Path(os.devnull))
    except ConfigError as error:
        return "; ".join(problem.removeprefix("environment: ") for problem in error.problems)
    return ""


def _with_profile(profiles: str, profile: str) -> str:
    """The names, and this one among them. Raises BadRequest: it cannot be one."""
    from trading_system.app.config import parse_profiles

    try:
        names, named = parse_profiles(profiles), parse_profiles(profile)
    except ValueError as error:
        raise BadRequest(f"PROFILES {error}") from None
    if named != (profile,):
        raise BadRequest(f"--profile {profile!r}: one name, as in --profile ira")
    return ",".join(names if profile in names else (*names, profile))


def _write_profile(path: Path, before: str, profile: str, profiles: str, values: dict[str, str]) -> Path:
    """The account's own file, and its name among the PROFILES. Raises ConfigError: what is wrong, and nothing was changed."""
    from trading_system.settings.dotenv import with_settings

    own = path.with_name(f".env.{profile}")
    known = _text_of(own)
    _put(own, with_settings(known or "", values))
    try:
        _write(path, before, {"PROFILES": profiles})
    except DeskError:
        own.unlink() if known is None else _put(own, known)
        raise
    return own


def _write(path: Path, before: str, values: dict[str, str]) -> None:
    """The whole new file, or the one before. Raises ConfigError: what is wrong, and nothing was changed."""
    from trading_system.app.config import ConfigError, load_config
    from trading_system.settings.dotenv import with_settings

    def judge(beside: Path) -> None:
        try:
            load_config({}, folder=path.parent, env_file=beside)
        except ConfigError as error:
            raise ConfigError(tuple(problem.replace(beside.name, path.name) for problem in error.problems)) from None

    _put(path, with_settings(before, values), judge)


def _text_of(path: Path) -> str | None:
    """None: there is no such file. Raises BadRequest: it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path} cannot be read: {error}") from None


def _put(path: Path, text: str, judge: Callable[[Path], object] = lambda _: None) -> None:
    """0600 from its first moment, and in its place when it has been judged. Raises BadRequest: it cannot be written."""
    try:
        put_private(path, text.encode(), judge)
    except OSError as error:
        raise BadRequest(f"{path} cannot be written: {error.strerror}") from None
