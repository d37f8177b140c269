"""What can be asked of a journal, whether a desk holds it or nobody does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from trading_system.domain.errors import BadRequest
from trading_system.journal.record import Started
from trading_system.journal.store import Journal

Args = Mapping[str, object]
PAGE_MAX = 1_000  # records in one answer
_DIGITS_MAX = 19  # of a number that 64 bits hold
_DAY_NS = 86_400_000_000_000


async def journal_read(journal: Journal, args: Args) -> object:
    """One page of records: those after `after`, else the last `count`."""
    count = whole(args, "count", PAGE_MAX, PAGE_MAX)
    await journal.flush()
    after = whole(args, "after", max(0, journal.seq - count))
    entries = await journal.entries(after, count)
    return [{"seq": entry.seq, "digest": entry.digest.hex(), "record": msgspec.to_builtins(entry.record)} for entry in entries]


async def journal_verify(journal: Journal, _: Args) -> object:
    """Walk the whole chain, up to the last record that was written when this was asked."""
    records, digest = await journal.verify()
    return {"records": records, "digest": digest.hex()}


async def journal_backup(journal: Journal, args: Args) -> object:
    """A whole copy under a new, absolute name, made by the process that holds the journal."""
    target = _new_file(args)
    await journal.flush()
    records, digest = journal.seq, journal.digest.hex()
    await journal.on_its_thread(lambda: journal.backup(target))
    return {"target": str(target), "records": records, "digest": digest}


async def journal_days(journal: Journal, _: Args) -> object:
    """On how many different days a desk started here."""
    days, after = set(), 0
    while entries := await journal.entries(after, PAGE_MAX):
        days |= {entry.record.now_ns // _DAY_NS for entry in entries if isinstance(entry.record, Started)}
        after = entries[-1].seq
        await asyncio.sleep(0)  # a desk that is asked has other work
    return len(days)


def _new_file(args: Args) -> Path:
    target = Path(str(args.get("target") or ""))
    if not target.is_absolute():
        raise BadRequest("target is the absolute name of a new file")
    if not target.parent.is_dir():
        raise BadRequest(f"there is no folder {target.parent}")
    if target.exists():
        raise BadRequest(f"{target} exists already; name a new file")
    return target


def whole(args: Args, name: str, default: int | None = None, most: int = 1 << 63) -> int:
    """A whole number from 0 to most. Raises BadRequest: it is missing, or none."""
    value = args.get(name, default)
    if value is None:
        raise BadRequest(f"{name} is missing")
    text = str(value)
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX) or int(text) > most:
        raise BadRequest(f"{name} is a whole number from 0 to {most}, not {text[:40]!r}")
    return int(text)


JOURNAL_VERBS: Mapping[str, Callable[[Journal, Args], Awaitable[object]]] = {
    verb.__name__: verb for verb in (journal_read, journal_verify, journal_backup, journal_days)
}
