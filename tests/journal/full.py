"""A desk's journal on a small tmpfs of its own that fills up, in a process that owns the mount. Run by test_full.py inside `unshare -m`."""

import asyncio
import os
import sys
from pathlib import Path

from tests.factories import NOW
from trading_system.core.risk import Halt, Level
from trading_system.domain.errors import JournalError
from trading_system.journal.record import Alert, HaltSet
from trading_system.journal.store import JOURNAL_RESERVE, Journal

FREE_MIN = 2 << 20


def fill(folder: Path) -> None:
    """Somebody else takes the rest, to the last block."""
    with (folder / "somebody else's").open("wb", buffering=0) as other:
        try:
            while True:
                other.write(os.urandom(4096))
        except OSError:
            return


async def main(folder: Path) -> None:
    path = folder / "journal.sqlite"
    journal = Journal(path, free_min=FREE_MIN)
    for number in range(50):
        await journal.append(Alert(severity="info", text="before", now_ns=NOW + number), durable=True)
    print("enough", journal.free_bytes() >= FREE_MIN)
    fill(folder)
    print("low", journal.free_bytes() < FREE_MIN)
    halt = HaltSet(halt=Halt(scope="all", level=Level.KILL, rule="OWNER", text="full", set_ns=NOW))
    for _ in range(200):
        await journal.append(halt, durable=True)
    print("halts written", journal.seq - 50, "reserve", (folder / "journal.reserve").exists())
    fill(folder)
    acknowledged = journal.seq
    try:
        while True:
            acknowledged = await journal.append(Alert(severity="info", text="x" * 4000, now_ns=NOW), durable=True)
    except JournalError as error:
        print("refused", "Free space" in str(error))
    journal.abandon()
    again = Journal(path, free_min=FREE_MIN)
    print("restart on the full disk", again.seq >= acknowledged, again.free_bytes() < FREE_MIN)
    again.abandon()
    (folder / "somebody else's").unlink()
    clean = Journal(path, free_min=FREE_MIN)
    await clean.append(halt, durable=True)
    await clean.aclose()
    last = Journal(path, free_min=FREE_MIN)
    print("clean restart", last.seq - again.seq, (folder / "journal.reserve").stat().st_size == JOURNAL_RESERVE)
    last.abandon()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
