"""credentials set, list, check, age."""

import click

from trading_system.app.config import load_config
from trading_system.cli.common import as_json, emit, settings, table
from trading_system.domain.errors import AuthFailed, BadRequest
from trading_system.settings.credentials import AGE_WARN_DAYS
from trading_system.settings.keys import CREDENTIALS, credentials_of

_FIELDS = {name.lower(): name for fields in CREDENTIALS.values() for name in fields.values()}


@click.group()
def credentials() -> None:
    pass


@credentials.command("set")
@click.argument("field")
@as_json
def set_(field: str, as_json: bool) -> None:
    """Keep one credential in the OS keyring: trading credentials set alpaca_api_key."""
    from trading_system.settings.credentials import SERVICE, KeyringUnavailable, write_keyring
    from trading_system.settings.secret import Secret

    profile, _, bare = field.lower().rpartition(".")
    if bare not in _FIELDS:
        raise BadRequest(f"no credential {field!r}; there are: {', '.join(_FIELDS)}")
    if profile and profile not in (known := load_config().profiles):
        raise BadRequest(f"no profile {profile!r}; PROFILES in .env names {', '.join(known) or 'none'}")
    value = click.prompt(f"{field} (not shown)", hide_input=True, err=True).strip()
    try:
        write_keyring(field, value)
    except KeyringUnavailable as error:
        raise AuthFailed(str(error)) from None
    if as_json:
        emit({"service": SERVICE, "user": field.lower(), "fingerprint": Secret(value).fingerprint()})
    click.echo(f"kept in the keyring as {SERVICE}/{field.lower()}; TRADING_CREDENTIALS=keyring makes the desk use it", err=True)


@credentials.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Which are configured, by fingerprint."""
    config = settings()
    secrets = config.secrets
    rows = [
        {"broker": broker, "setting": name, "fingerprint": secrets[name].fingerprint() if name in secrets else None}
        for broker in config.brokers
        for name in credentials_of(broker).values()
    ]
    emit(rows) if as_json else table(rows, [("broker", "Broker", "text"), ("setting", "Setting", "text"), ("fingerprint", "Fingerprint", "text")], "")


@credentials.command()
@as_json
@click.pass_context
def check(context: click.Context, as_json: bool) -> None:
    """Log in with each and say what the broker answers."""
    from trading_system.cli.accounts import check as check_accounts

    context.invoke(check_accounts, as_json=as_json)


@credentials.command()
@as_json
def age(as_json: bool) -> None:
    """Days since each was first seen here; rotate them every 90."""
    from trading_system.app.build import credential_ages

    days = credential_ages(settings())
    rows = [{"setting": name, "days": count, "note": "rotate it" if count >= AGE_WARN_DAYS else ""} for name, count in days.items()]
    emit(rows) if as_json else table(rows, [("setting", "Setting", "text"), ("days", "Days", "number"), ("note", "", "text")], "Nothing configured.")
