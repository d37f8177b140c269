"""The journal's file: SQLite behind append, read and verify, on one thread of its own, with a hash chain and its head kept apart."""

import asyncio
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import apsw
import msgspec

from trading_system.domain.errors import JournalError
from trading_system.journal.record import SCHEMA_VERSION, Record, decode, encode

GROUP_MAX = 64  # records that share one sync of the disk
NOTE_WAIT_NS = 10_000_000  # how long records that nobody waits for may wait for one that somebody does, to share its sync
BACKLOG_MAX = 10_000  # records waiting for the disk before the desk is told to stop
_GENESIS = b"\0" * 32
_HEAD_SLOT = 64  # bytes: seq (8), hash (32), check (16), padding; two slots written in turn, so that a torn write leaves the other


class Entry(msgspec.Struct, frozen=True):
    """A record with its place in the chain."""

    seq: int
    record: Record
    digest: bytes


def chain(previous: bytes, seq: int, body: bytes) -> bytes:
    """The hash of a record: over its predecessor's hash, its number and its body."""
    return hashlib.blake2b(seq.to_bytes(8, "big") + body, key=previous, digest_size=32).digest()


class Head:
    """(seq, hash) of the last record in a small file of its own: a journal that lost its tail is shorter than its head says.

    Source: SQLite's WAL drops committed frames after a flipped bit and still verifies (RELIABILITY.md §3).
    """

    def __init__(self, path: Path) -> None:
        new = not path.exists()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if new:
            os.pwrite(self._fd, b"\0" * (2 * _HEAD_SLOT), 0)
            os.fsync(self._fd)

    def read(self) -> tuple[int, bytes]:
        """The newest whole slot; (0, zeros) for a new file. Raises JournalError: neither slot is whole."""
        data = os.pread(self._fd, 2 * _HEAD_SLOT, 0)
        slots = [data[at : at + 56] for at in (0, _HEAD_SLOT)]
        if not any(data):
            return 0, _GENESIS
        whole = [slot for slot in slots if slot[40:] == _check(slot[:40])]
        if not whole:
            raise JournalError("the journal's head file is damaged; restore both files from one backup")
        newest = max(whole)
        return int.from_bytes(newest[:8], "big"), newest[8:40]

    def write(self, seq: int, digest: bytes) -> None:
        slot = seq.to_bytes(8, "big") + digest
        os.pwrite(self._fd, slot + _check(slot), (seq % 2) * _HEAD_SLOT)
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def _check(slot: bytes) -> bytes:
    return hashlib.blake2b(slot, digest_size=16, person=b"journal-head").digest()


class Journal:
    """Append-only. One writer: the folder's lease says so, SQLite's exclusive lock enforces it.

    Raises JournalError from every method once the disk has refused: the file is not trusted again in this process.
    """

    def __init__(self, path: Path, *, executor: Executor | None = None, durable: bool = True) -> None:
        """Open or create. `durable=False` is for backtests: the same code without waiting for the disk. Raises JournalError: it does not verify."""
        self.path = path
        self._executor = executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._durable = durable
        self._pending: list[tuple[Record, asyncio.Future[int] | None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed: str | None = None
        self._closed = False
        try:
            self._db = _open(path, durable=durable)
            self._head = Head(path.with_suffix(".head"))
        except (apsw.Error, OSError) as error:
            raise JournalError(f"the journal {path.name} cannot be opened: {error}") from None
        self.seq, self.digest = self._verified()

    async def append(self, record: Record, *, durable: bool) -> int:
        """Write one record, return its sequence number; durable waits for the disk. Order of calls is order on disk.

        Raises: JournalError: the disk refused. The desk stops taking orders; open ones stay managed.
        """
        if not durable:
            self.note(record)
            return 0
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._enqueue(record, future)
        return await asyncio.shield(future)

    def note(self, record: Record) -> None:
        """Write one record without waiting: it reaches the disk with the next group, in order, within NOTE_WAIT_NS and a sync."""
        self._enqueue(record, None)

    def _enqueue(self, record: Record, future: asyncio.Future[int] | None) -> None:
        if self._failed is not None or self._closed:
            raise JournalError(self._failed or "the journal is closed")
        if len(self._pending) >= BACKLOG_MAX:
            raise JournalError(f"{BACKLOG_MAX} records wait for the disk; it does not keep up")
        self._pending.append((record, future))
        if future is not None:
            self._start()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(NOTE_WAIT_NS / 1_000_000_000, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writer is None and self._pending and not self._closed:
            self._writer = asyncio.get_running_loop().create_task(self._drain(), name="journal")

    async def flush(self) -> None:
        """Return when all that was noted is on disk."""
        self._start()
        while self._writer is not None:
            await asyncio.shield(self._writer)
            self._start()

    async def aclose(self) -> None:
        await self.flush()
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._executor, self._db.close)
        self._head.close()
        self._executor.shutdown(wait=False)

    def abandon(self) -> None:
        """Close as a killed process would: what was not yet written is lost."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._db.close()
        self._head.close()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._pending:
                group, self._pending = self._pending[:GROUP_MAX], self._pending[GROUP_MAX:]
                bodies = [encode(record) for record, _ in group]
                try:
                    first = await loop.run_in_executor(self._executor, self._write, bodies)
                except (apsw.Error, OSError) as error:
                    self._fail(group, f"the disk refused the journal: {error}. Free space or repair the disk, then start again")
                    return
                for offset, (_, future) in enumerate(group):
                    if future is not None and not future.done():
                        future.set_result(first + offset)
        finally:
            self._writer = None

    def _fail(self, group: list[tuple[Record, asyncio.Future[int] | None]], text: str) -> None:
        self._failed = text
        for _, future in (*group, *self._pending):
            if future is not None and not future.done():
                future.set_exception(JournalError(text))
        self._pending = []

    def _write(self, bodies: list[bytes]) -> int:
        """One group, one transaction, one sync; then the head. Runs on the journal's thread."""
        seq, digest = self.seq, self.digest
        rows = []
        for body in bodies:
            seq += 1
            digest = chain(digest, seq, body)
            rows.append((seq, body, digest))
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO records (seq, body, digest) VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")
        except apsw.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        if self._durable:
            self._head.write(seq, digest)
        self.seq, self.digest = seq, digest
        return rows[0][0]

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Records in order, from the one after `after`. Call before the desk runs, or through flush()."""
        for seq, body, digest in self._db.execute("SELECT seq, body, digest FROM records WHERE seq > ? ORDER BY seq", (after,)):
            yield Entry(int(seq), decode(bytes(body)), bytes(digest))

    async def about(self, cl_ord_id: str) -> list[Record]:
        """Every record of one order, in order, from the disk: for orders that have left memory."""
        query = f"SELECT body FROM records WHERE {_ORDER} = ? ORDER BY seq"  # noqa: S608  a constant, the id is bound

        def read() -> list[Record]:
            return [decode(bytes(body)) for (body,) in self._db.execute(query, (cl_ord_id,))]

        return await asyncio.get_running_loop().run_in_executor(self._executor, read)

    def backup(self, target: Path) -> None:
        """A whole copy while the desk runs, by SQLite's own means, with a head of its own. Raises JournalError: target exists."""
        if target.exists():
            raise JournalError(f"{target.name} exists already; name a new file")
        copy = apsw.Connection(str(target))
        with copy.backup("main", self._db, "main") as step:
            step.step()
        row = copy.execute("SELECT seq, digest FROM records ORDER BY seq DESC LIMIT 1").fetchone()
        copy.close()
        head = Head(target.with_suffix(".head"))
        if row is not None:
            head.write(int(row[0]), bytes(row[1]))
        head.close()

    def _verified(self) -> tuple[int, bytes]:
        """Walk the whole chain. Raises JournalError: a hole, an edited record, or fewer records than the head has seen."""
        seq, digest = 0, _GENESIS
        head_seq, head_digest = self._head.read()
        at_head = _GENESIS
        try:
            for found, body, stored in self._db.execute("SELECT seq, body, digest FROM records ORDER BY seq"):
                seq += 1
                digest = chain(digest, seq, bytes(body))
                if found != seq or digest != stored:
                    raise JournalError(f"journal record {seq} was changed or is missing; restore a backup, trade nothing until then")
                if seq == head_seq:
                    at_head = digest
        except apsw.Error as error:
            raise JournalError(f"the journal cannot be read: {error}; restore a backup") from None
        if self._durable and (head_seq > seq or at_head != head_digest):
            raise JournalError(f"the journal ends at record {seq}, but record {head_seq} was written: its end is lost; restore a backup")
        return seq, digest


def _open(path: Path, *, durable: bool) -> apsw.Connection:
    new = not path.exists()
    if new:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    db = apsw.Connection(str(path))
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
    version = db.execute("PRAGMA user_version").fetchone()
    _migrate(db, 0 if version is None else int(version[0]))
    return db


_FIELDS = ("$.cl_ord_id", "$.approved.cl_ord_id", "$.report.cl_ord_id")
_EXTRACTS = (f"json_extract(CAST(body AS TEXT), '{field}')" for field in _FIELDS)
_ORDER = f"coalesce({', '.join(_EXTRACTS)})"  # the order that a record is about
_MIGRATIONS = {
    0: "CREATE TABLE records (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL) STRICT",
    1: f"CREATE INDEX by_order ON records ({_ORDER}) WHERE {_ORDER} IS NOT NULL",
}


def _migrate(db: apsw.Connection, version: int) -> None:
    """Bring an older file forward, one step at a time, each in one transaction. Raises JournalError: the file is newer than this program."""
    if version > SCHEMA_VERSION:
        raise JournalError(f"the journal has schema {version}, this version knows {SCHEMA_VERSION}: use the newer trading_system")
    for step in range(version, SCHEMA_VERSION):
        db.execute("BEGIN EXCLUSIVE")
        db.execute(_MIGRATIONS[step])
        db.execute(f"PRAGMA user_version = {step + 1}")
        db.execute("COMMIT")
