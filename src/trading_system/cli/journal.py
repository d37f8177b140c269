"""journal show, verify, backup, export. Read without a broker; a running desk holds its journal, so these open it only when nobody trades."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from trading_system.cli.common import as_json, emit, settings, table


@click.group()
def journal() -> None:
    pass


@contextmanager
def _opened(folder: str | None) -> Iterator[Any]:
    from trading_system.app import build
    from trading_system.domain.errors import BadRequest
    from trading_system.journal.lease import Lease
    from trading_system.journal.store import Journal

    config = settings()
    place = Path(folder) if folder else build.home(config) / config.trading_mode
    if not (place / "journal.sqlite").exists():
        raise BadRequest(f"there is no journal in {place}")
    with Lease(place / "desk.lock", f"the journal in {place.name}"):
        opened = Journal(place / "journal.sqlite")
        try:
            yield opened
        finally:
            opened.abandon()


def _folder(function: Any) -> Any:
    return click.option("--folder", help="State folder (default: the one of this mode).")(function)


@journal.command()
@_folder
@click.option("--last", type=click.IntRange(1), default=20, show_default=True)
@as_json
def show(folder: str | None, last: int, as_json: bool) -> None:
    """The last records."""
    import msgspec

    with _opened(folder) as opened:
        entries = list(opened.read(max(0, opened.seq - last)))
    rows = [{"seq": entry.seq, **msgspec.to_builtins(entry.record)} for entry in entries]
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
    with _opened(folder) as opened:  # opening verifies
        result = {"records": opened.seq, "digest": opened.digest.hex()}
    if as_json:
        emit(result)
    else:
        click.secho(f"{result['records']} records, chain whole, head agrees ({str(result['digest'])[:16]}…)", fg="green")


@journal.command()
@click.argument("target")
@_folder
def backup(target: str, folder: str | None) -> None:
    """A whole copy under a new name."""
    with _opened(folder) as opened:
        opened.backup(Path(target))
    click.echo(f"written to {target}")


@journal.command()
@_folder
def export(folder: str | None) -> None:
    """Every record as one JSON line, with its number and hash."""
    import msgspec

    with _opened(folder) as opened:
        for entry in opened.read():
            line = {"seq": entry.seq, "digest": entry.digest.hex(), "record": msgspec.to_builtins(entry.record)}
            sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
