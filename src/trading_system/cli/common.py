"""What the commands share: settings, one call of a verb, JSON or a table."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import click

from trading_system.app.config import Config, load_config
from trading_system.settings.credentials import AGE_WARN_DAYS

PATIENCE_S = 4

_F = TypeVar("_F", bound=Callable[..., Any])
Row = Mapping[str, Any]


def as_json(function: _F) -> _F:
    """--json: the verb's own answer, one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(function)


def at_broker(function: _F) -> _F:
    return click.option("--broker", help="Which broker, where several are configured.")(function)


def settings(*, running: bool = False) -> Config:
    """The settings in force; logs are set up with them, warnings are shown once. running: a command that stays: it logs at LOG_LEVEL. One that
    only answers says what it has to say itself, and logs INFO for nobody."""
    config = load_config()
    from trading_system.app.logs import configure_logs

    configure_logs("WARNING" if config.log_level == "INFO" and not running else config.log_level, config.log_format)
    for warning in (*config.warnings, *(config.unsafe_files() if config.secrets else ())):
        warn(warning)
    return config


def default_config(home: str) -> Config:
    """The defaults, whatever .env says: what runs on a twin for show touches nobody's settings and nobody's account."""
    return load_config({"TRADING_HOME": home, "TRADING_ENV_FILE": os.devnull}, folder=Path(home), env_file=Path(os.devnull))


def warn(text: str) -> None:
    click.secho(f"! {text}", fg="yellow", err=True)


def warn_of_age(config: Config) -> None:
    """Which keys are due to be rotated; that this cannot be told is a warning too."""
    from trading_system.app.build import credential_ages
    from trading_system.domain.errors import BadRequest

    try:
        for name, days in credential_ages(config).items():
            if days >= AGE_WARN_DAYS:
                warn(f"{name} has been in use for {days} days: make a new one ({AGE_WARN_DAYS} is long enough)")
    except BadRequest as error:
        warn(str(error))


def call(verb: str, args: Mapping[str, object], *, dry_run: bool = False) -> Any:
    """One verb, by the running desk or by one opened for it."""
    from trading_system.app import build

    config = settings()
    given = {name: value for name, value in args.items() if value is not None}
    return build.run(_patient(build.call(config, verb, given, dry_run=dry_run, say=warn)))


async def _patient(work: Awaitable[Any]) -> Any:
    """Somebody who looks on hears of it when an answer takes its time."""
    import asyncio

    notice = asyncio.create_task(_notice())
    try:
        return await work
    finally:
        notice.cancel()


async def _notice() -> None:
    import asyncio

    await asyncio.sleep(PATIENCE_S)
    if sys.stderr.isatty():
        click.secho(
            "… still asking: a slow line, or a request budget that has to recover. Beside `trading watch` commands answer at once.",
            dim=True,
            err=True,
        )


def emit(result: object) -> None:
    """One JSON document."""
    import msgspec

    put(msgspec.json.format(msgspec.json.encode(result), indent=2))


def put(line: bytes) -> None:
    """One line of data, whole. With PYTHONUNBUFFERED a write that a signal interrupts is cut short, and print() would not notice."""
    sys.stdout.flush()
    left = memoryview(line + b"\n")
    while left:
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.buffer.flush()


def table(rows: Sequence[Row], columns: Sequence[tuple[str, str, str]], empty: str) -> None:
    """columns: (key, heading, how): how is text, number, money, signed (coloured) or time."""
    if not rows:
        click.echo(empty)
        return
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for _, heading, how in columns:
        grid.add_column(heading, justify="left" if how in ("text", "time") else "right", no_wrap=how != "text")
    for row in rows:
        grid.add_row(*(_cell(row.get(key), how) for key, _, how in columns))
    Console(width=None if sys.stdout.isatty() else 160).print(grid)


def _cell(value: Any, how: str) -> str:
    if value is None or value == "":
        return "[dim]–[/dim]"
    if how == "time":
        return clock(int(value))
    if how == "money":
        return money(str(value))
    if how == "signed":
        return f"[{'red' if str(value).startswith('-') else 'green'}]{money(str(value))}[/]"
    from rich.markup import escape

    return escape(str(value))


def money(text: str) -> str:
    return f"{Decimal(text).quantize(Decimal('0.01')):,}"


def clock(time_ns: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(time_ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def new_intent() -> str:
    """A key for a wish that has no name: each run of a command is its own."""
    import secrets

    return f"cli-{secrets.token_hex(8)}"
