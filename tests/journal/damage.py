"""Journals with known histories, every way to spoil their bytes, and the one judgement: the whole acknowledged history opens, or none does."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from tests.factories import NOW
from trading_system.domain.errors import JournalError
from trading_system.journal.record import Alert, Record
from trading_system.journal.store import Journal
from trading_system.sim.clock import run_virtual
from trading_system.sim.disk import SimDisk

PATH = Path("state/journal.sqlite")
FILES = {"journal": PATH, "log": Path(f"{PATH}-wal"), "head": PATH.with_suffix(".head")}
EARLY = 10  # records that are in the file itself
LAST = (20, 10, 8, 5, 3, 2, 1, 1)  # then the last 50, in so many groups


class Specimen(msgspec.Struct, frozen=True):
    """The three files of a journal, and what was acknowledged into it."""

    files: dict[str, bytes]
    history: list[Record]


class Damage(msgspec.Struct, frozen=True):
    """Everything from `at` on is cut off, zeroed or garbage; or one bit there is flipped."""

    file: str
    kind: str
    at: int
    bit: int = 0

    def done(self, content: bytes) -> bytes:
        rest = len(content) - self.at
        match self.kind:
            case "cut":
                return content[: self.at]
            case "zeroed":
                return content[: self.at] + bytes(rest)
            case "garbage":
                return content[: self.at] + random.Random(self.at).randbytes(rest)
            case "flipped":
                return content[: self.at] + bytes([content[self.at] ^ (1 << self.bit)]) + content[self.at + 1 :]
        raise AssertionError(self.kind)


TORN = ("cut", "zeroed", "garbage")


def alert(number: int) -> Record:
    return Alert(severity="info", text=f"record {number} {'x' * (number % 5 * 40)}", now_ns=NOW + number)


def specimen(groups: Iterable[int] = LAST, *, closed: bool = False) -> Specimen:
    """As a killed desk left it, its last records in the log; closed: as a desk that ended well, all in the file."""
    disk = SimDisk(random.Random(1))

    async def write() -> list[Record]:
        history: list[Record] = []
        for group in ((EARLY,), tuple(groups)):
            journal = Journal(PATH, disk=disk)
            for size in group:
                records = [alert(len(history) + number) for number in range(size)]
                await asyncio.gather(*(journal.append(record, durable=True) for record in records))
                history += records
            if closed or group == (EARLY,):
                await journal.aclose()
            else:
                journal.abandon()
        return history

    history = run_virtual(lambda _: write())
    files = {name: disk.read(path) for name, path in FILES.items()}
    disk.close()
    return Specimen(files, history)


def opened(files: dict[str, bytes | None]) -> list[Record] | str:
    """What opens from these bytes, or why nothing does; then the journal and its log lie as they were."""
    disk = SimDisk(random.Random(2))
    for name, content in files.items():
        if content is not None:
            disk.replace(FILES[name], content)
    try:
        journal = Journal(PATH, disk=disk)
        records = [entry.record for entry in journal.read()]
        journal.abandon()
    except JournalError as error:
        changed = [name for name in ("journal", "log") if files.get(name) is not None and disk.read(FILES[name]) != files[name]]
        return f"{error}{f'; and yet it changed {changed}' if changed else ''}"
    finally:
        disk.close()
    return records


def judged(subject: Specimen, damages: Iterable[Damage]) -> Counter[str]:
    """How often it opened and was refused. Raises AssertionError: something else."""
    tally: Counter[str] = Counter()
    for damage in damages:
        files: dict[str, bytes | None] = {**subject.files, damage.file: damage.done(subject.files[damage.file])}
        found = opened(files)
        assert "and yet" not in found, f"{damage}: {found}"
        assert isinstance(found, str) or found == subject.history, f"{damage}: {len(found)} of {len(subject.history)} records opened"
        tally["refused" if isinstance(found, str) else "opened"] += 1
    return tally


def torn(subject: Specimen, file: str, step: int = 1, first: int = 0) -> Iterator[Damage]:
    """A write that stopped at every byte."""
    for kind in TORN:
        for at in range(first, len(subject.files[file]), step):
            yield Damage(file, kind, at)


def flipped(places: Iterable[int], file: str, *, every_bit: bool) -> Iterator[Damage]:
    """Every bit there, or one random bit of every byte."""
    for at in places:
        for bit in range(8) if every_bit else (random.Random(at).randrange(8),):
            yield Damage(file, "flipped", at, bit)


def last_two(subject: Specimen, file: str) -> list[int]:
    """Where the bodies and hashes of the last two records lie; in the log their pages lie more than once."""
    content, places = subject.files[file], []
    for record in subject.history[-2:]:
        text = msgspec.json.encode(record.text)[1:-1] if isinstance(record, Alert) else b""
        for start in _found(content, text):
            places += range(max(0, start - 60), min(len(content), start + len(text) + 60 + 32))
    return sorted(set(places))


def _found(content: bytes, what: bytes) -> Iterator[int]:
    start = content.find(what)
    while start >= 0:
        yield start
        start = content.find(what, start + 1)


class Proof(msgspec.Struct, frozen=True):
    """A name for the table, the journal it is about, and what is done to it."""

    name: str
    closed: bool
    damages: Callable[[Specimen], Iterable[Damage]]


# The log, its stale pages included, gets one random bit of each byte: every bit of it is half a million journals, and longer than a minute.
PROOFS = (
    Proof("torn at every byte of the last 50 records, in the log", False, lambda subject: torn(subject, "log")),
    Proof("torn at every byte of the last 50 records, in the file", True, lambda subject: torn(subject, "journal", first=4096)),
    Proof("torn at every byte of the head", False, lambda subject: torn(subject, "head")),
    Proof("every bit of the last two records, in the log", False, lambda subject: flipped(last_two(subject, "log"), "log", every_bit=True)),
    Proof("every bit of the last two records, in the file", True, lambda subject: flipped(last_two(subject, "journal"), "journal", every_bit=True)),
    Proof("every bit of the head's two slots", False, lambda subject: flipped((*range(64), *range(4096, 4160)), "head", every_bit=True)),
    Proof("one bit of every byte of the log", False, lambda subject: flipped(range(len(subject.files["log"])), "log", every_bit=False)),
    Proof("one bit of every byte of the file", True, lambda subject: flipped(range(len(subject.files["journal"])), "journal", every_bit=False)),
)


def proven(number: int, step: int = 1, first: int = 0) -> Counter[str]:
    """Every so many-th damage of one proof."""
    subject = specimen(closed=PROOFS[number].closed)
    return judged(subject, itertools.islice(PROOFS[number].damages(subject), first, None, step))
