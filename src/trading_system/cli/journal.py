"""journal show, verify, backup, export. Read without a broker; a running desk answers for the journal that it holds."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from trading_system.cli.common import as_json, emit, put, settings, table

_PAGE = 1_000  # records asked for at once


@click.group()
def journal() -> None:
    pass


def _place(folder: str | None) -> Path:
    """The folder that was named, else the one that the desk of these settings uses."""
    from trading_system.app import build

    config = settings()
    return Path(folder) if folder else build.state_folder(config)


def _ask(folder: str | None, verb: str, **args: object) -> Any:
    from trading_system.app import build

    async def once() -> object:
        async with build.open_journal(_place(folder)) as ask:
            return await ask(verb, args)

    return build.run(once())


async def _records(folder: Path, after: int) -> AsyncIterator[dict[str, Any]]:
    """From the one after `after` on, page by page."""
    from trading_system.app import build

    async with build.open_journal(folder) as ask:
        while page := await ask("journal_read", {"after": after, "count": _PAGE}):
            for row in page:  # type: ignore[attr-defined]  # a list of records
                yield row
            after = row["seq"]


def _folder(function: Any) -> Any:
    return click.option("--folder", help="State folder (default: the one that the desk would use).")(function)


@journal.command()
@_folder
@click.option("--last", type=click.IntRange(1, _PAGE), default=20, show_default=True)
@as_json
def show(folder: str | None, last: int, as_json: bool) -> None:
    """The last records."""
    rows: list[dict[str, Any]] = [{"seq": row["seq"], **row["record"]} for row in _ask(folder, "journal_read", count=last)]
    if as_json:
        emit(rows)
        return
    for row in rows:
        row["told"] = ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("seq", "type") and not isinstance(value, dict))[:110]
        for name in ("report", "approved", "halt", "mark"):
            inner = row.get(name)
            if isinstance(inner, dict):
                row["told"] = _short(inner)
    table(rows, [("seq", "Seq", "number"), ("type", "Record", "text"), ("told", "", "text")], "Empty.")


def _short(inner: dict[str, Any]) -> str:
    names = ("cl_ord_id", "exec_type", "ord_status", "side", "instrument", "last_qty", "last_px", "scope", "rule", "text", "equity", "high_water")
    request = inner.get("request")
    if isinstance(request, dict):
        inner = {**request, **inner}
    return " ".join(str(inner[name]) for name in names if inner.get(name) not in (None, "", "0"))[:110]


@journal.command()
@_folder
@as_json
def verify(folder: str | None, as_json: bool) -> None:
    """Walk the whole hash chain and compare it with the head kept apart."""
    result = _ask(folder, "journal_verify")  # opening compares the head as well; a running desk did so, and keeps its own count since
    if as_json:
        emit(result)
    else:
        click.secho(f"{result['records']} records, chain whole, head agrees ({str(result['digest'])[:16]}…)", fg="green")


@journal.command()
@click.argument("target")
@_folder
@as_json
def backup(target: str, folder: str | None, as_json: bool) -> None:
    """A whole copy under a new name."""
    done = _ask(folder, "journal_backup", target=str(Path(target).expanduser().absolute()))
    if as_json:
        emit(done)
    else:
        click.echo(f"{done['records']} records written to {done['target']}")


@journal.command()
@_folder
@click.option("--json", is_flag=True, expose_value=False, help="As without it: every line is JSON.")
def export(folder: str | None) -> None:
    """Every record as one JSON line, with its number and hash."""
    import msgspec

    from trading_system.app import build

    async def lines() -> None:
        async for row in _records(_place(folder), 0):
            put(msgspec.json.encode(row))

    build.run(lines())
