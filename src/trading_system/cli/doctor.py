"""doctor: what is installed, configured, safe, due and at work, and what clock and disk are like, without calling any broker."""

import ctypes
import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trading_system.cli.common import as_json, emit, table

if TYPE_CHECKING:
    from trading_system.app.config import Config

_CLOCK_LOST_US = 16_000_000  # where Linux stops counting: nothing has set the clock


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
    folder = build.state_folder(config)
    rows += [_row("state folder", str(folder), ok=True), _disk(folder), *_desks(folder, build.machine_folder() / "leases"), _clock()]
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


def _disk(folder: Path) -> dict[str, object]:
    """Whether the state folder, or what it will be made in, can be written, and how much."""
    from trading_system.journal.store import JOURNAL_FREE_MIN

    place = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        return _row("disk", f"{place} cannot be written: {error.strerror}. Set TRADING_HOME to a folder of yours", ok=False)
    enough = free >= JOURNAL_FREE_MIN
    wanted = "" if enough else f": make room, under {JOURNAL_FREE_MIN / 1e9:.1f} GB no entries pass"
    return _row("disk", f"can be written, {free / 1e9:.1f} GB free{wanted}", ok=enough)


def _desks(folder: Path, leases: Path) -> list[dict[str, object]]:
    """Who holds this state folder, and who else holds a key or an account on this machine."""
    from trading_system.journal.lease import holder

    try:
        own = holder(folder / "desk.lock")
        others = {(path.name.split("-")[0], path.name.split("-")[1], found) for path in leases.glob("*.lock") if (found := holder(path))}
    except OSError as error:
        return [_row("desk", f"{error.filename} cannot be read: {error.strerror}", ok=False)]
    here = "none is at work here" if own is None else f"the state folder {folder.name} is in use by process {own}"
    elsewhere = [f"process {found} uses the {kind} account at {broker}" for broker, kind, found in sorted(others) if found != own]
    return [_row("desk", here, ok=True), *(_row("another desk", text, ok=True) for text in elsewhere)]


class _Timex(ctypes.Structure):
    """The head of what adjtimex(2) fills in; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_char * 256),
    )


def _clock() -> dict[str, object]:
    """What the kernel says about NTP; nobody is asked for the time."""
    told, compares = _Timex(), "`trading check` compares it with the broker's"
    try:
        known = ctypes.CDLL(None).adjtimex(ctypes.byref(told)) != -1
    except (AttributeError, OSError):  # not Linux
        known = False
    if not known:
        return _row("clock", f"not known here; {compares}", ok=True)
    if told.maxerror >= _CLOCK_LOST_US:
        return _row("clock", f"NTP does not set it: switch it on; {compares}", ok=False)
    return _row("clock", f"NTP sets it, at most {told.maxerror / 1e6:.2f} s off; {compares}", ok=True)


def _row(what: str, found: str, *, ok: bool) -> dict[str, object]:
    return {"what": what, "found": found, "ok": ok}


def _installed(package: str) -> dict[str, object]:
    try:
        return _row(package, version(package), ok=True)
    except PackageNotFoundError:
        return _row(package, 'missing: run `uv pip install -e ".[exchange]"` in the .venv', ok=False)
