"""doctor: what is installed, configured, safe and due, without calling any broker."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import click

from trading_system.cli.common import as_json, emit, table

if TYPE_CHECKING:
    from trading_system.app.config import Config


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    from trading_system.app import build
    from trading_system.app.config import load_config

    config = load_config()
    rows = [_row("Python", platform.python_version(), ok=True)]
    for package in ("msgspec", "aiohttp", "picows", "apsw", "uvloop", "keyring"):
        rows.append(_installed(package))
    rows.append(_row("settings file", config.env_file or "none: environment only", ok=True))
    rows += [_row("profile", path, ok=True) for path in config.profile_files]
    rows += [_row("settings file", finding, ok=False) for finding in config.unsafe_files()]
    rows += [_row("settings", text, ok=False) for text in config.warnings]
    rows.append(_row("mode", config.trading_mode + (", dry run" if config.dry_run else ""), ok=True))
    for name in config.brokers:
        found = "configured" if config.credentials(name) else "missing: see README, or `trading demo` without keys"
        rows.append(_row(f"{name} keys", found, ok=True))
    rows += _ages(config)
    rows.append(_row("state folder", str(build.home(config)), ok=True))
    if as_json:
        emit(rows)
    else:
        lines = [{**row, "mark": "✓" if row["ok"] else "!"} for row in rows]
        table(lines, [("mark", "", "text"), ("what", "What", "text"), ("found", "Found", "text")], "")


def _ages(config: "Config") -> list[dict[str, object]]:
    from trading_system.app.build import credential_ages
    from trading_system.domain.errors import BadRequest
    from trading_system.settings.credentials import AGE_WARN_DAYS

    try:
        days = credential_ages(config)
    except BadRequest as error:
        return [_row("key age", str(error), ok=False)]
    late = f" days: make a new one ({AGE_WARN_DAYS} is long enough)"
    return [_row(name, f"{count}{' days' if count < AGE_WARN_DAYS else late}", ok=count < AGE_WARN_DAYS) for name, count in days.items()]


def _row(what: str, found: str, *, ok: bool) -> dict[str, object]:
    return {"what": what, "found": found, "ok": ok}


def _installed(package: str) -> dict[str, object]:
    try:
        return _row(package, version(package), ok=True)
    except PackageNotFoundError:
        return _row(package, 'missing: run `uv pip install -e ".[exchange]"` in the .venv', ok=False)
