"""The journal's file: SQLite behind append, read and verify, on one thread of its own, with a hash chain and its head kept apart."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from trading_system.domain.errors import JournalError
from trading_system.journal.disk import Disk, SystemDisk, is_full
from trading_system.journal.head import GENESIS, Head
from trading_system.journal.record import SCHEMA_VERSION, Record, decode, encode

GROUP_MAX = 64  # records that share one sync of the disk
NOTE_WAIT_NS = 10_000_000  # how long records that nobody waits for may wait for one that somebody does, to share its sync
BACKLOG_MAX = 10_000  # records waiting for the disk before the desk is told to stop
JOURNAL_FREE_MIN = 500_000_000  # bytes: with less than this left on the volume the gate lets no entries through
JOURNAL_RESERVE = 8 << 20  # bytes held back beside the journal and given up when the disk is full: room for halts, cancels and fills
WALK_MAX = 10_000  # records verified in one go while a desk writes
CHECKPOINT_PAGES = 1_000  # of the write-ahead log, before they are moved into the file itself
_READ = "SELECT seq, CAST(body AS BLOB), CAST(digest AS BLOB) FROM records WHERE seq > ? ORDER BY seq"  # a flipped bit may call them text
_T = TypeVar("_T")
_AHEAD_MAX = 2 * GROUP_MAX  # records that the journal can be ahead of its head: a commit before a crash, and one more when a slot is torn


class Entry(msgspec.Struct, frozen=True):
    """A record with its place in the chain."""

    seq: int
    record: Record
    digest: bytes


def chain(previous: bytes, seq: int, body: bytes) -> bytes:
    """The hash of a record: over its predecessor's hash, its number and its body."""
    return hashlib.blake2b(seq.to_bytes(8, "big") + body, key=previous, digest_size=32).digest()


def _ignore(_: str) -> None:
    return None


def _ignore_number(_: int) -> None:
    return None


def _linked(seq: int, previous: bytes, found: int, body: object, stored: object) -> bytes:
    """The hash of a row that was read, if it is the chain's next. Raises JournalError: it is not."""
    digest = chain(previous, seq, body) if isinstance(body, bytes) else GENESIS
    if found != seq or digest != stored:
        raise JournalError(f"journal record {seq} was changed or is missing; restore a backup, trade nothing until then")
    return digest


class Journal:
    """Append-only. One writer: the folder's lease says so, SQLite's exclusive lock enforces it.

    Raises JournalError from every method once the disk has refused: the file is not trusted again in this process.
    """

    def __init__(
        self,
        path: Path,
        *,
        executor: Executor | None = None,
        durable: bool = True,
        disk: Disk | None = None,
        free_min: int = JOURNAL_FREE_MIN,
        step: Callable[[str], None] = _ignore,
    ) -> None:
        """Open or create. `durable=False` is for backtests: the same code without waiting for the disk. step: called at named points, where
        the recovery tests kill the process. Raises JournalError: it does not verify; nothing was written then."""
        self.path = path
        self.free_min = free_min
        self.on_failure: Callable[[str], None] = _ignore  # build.py puts the end of the desk here
        self.on_written: Callable[[int], None] = _ignore_number  # the number of the last record that is on disk now; web/events.py listens
        self.on_sync: Callable[[int], None] = _ignore_number  # metrics.py hears how long each group took to be on disk
        self._executor = executor or ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._durable = durable
        self._disk = disk or SystemDisk()
        self._step = step
        self._pending: list[tuple[Record, asyncio.Future[int] | None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed: str | None = None
        self._closed = False
        self._wal_pages = 0
        self._reserve = path.with_suffix(".reserve")
        self._reserved = False
        self._spent = False  # the reserve was given up
        self._held = ExitStack()
        self.seq, self.digest = 0, GENESIS
        try:
            self._open()
        except (apsw.Error, OSError) as error:
            self._held.close()
            raise JournalError(f"the journal {path.name} cannot be opened: {error}; restore a backup, trade nothing until then") from None
        except JournalError:
            self._held.close()
            raise

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
        self._trusted()
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

    @property
    def backlog(self) -> int:
        """Records that wait for the disk."""
        return len(self._pending)

    async def flush(self) -> None:
        """Return when all that was noted is on disk."""
        self._start()
        while self._writer is not None:
            await asyncio.shield(self._writer)
            self._start()

    async def aclose(self) -> None:
        await self.flush()
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._executor, self._close)
        self._executor.shutdown(wait=False)

    def abandon(self) -> None:
        """Close as a killed process would: what was not yet written is lost, what was is left as it lies."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._held.close()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._pending:
                group, self._pending = self._pending[:GROUP_MAX], self._pending[GROUP_MAX:]
                bodies = [encode(record) for record, _ in group]
                try:
                    began = loop.time()
                    first = await loop.run_in_executor(self._executor, self._write, bodies)
                    self.on_sync(round((loop.time() - began) * 1_000_000_000))
                    for offset, (_, future) in enumerate(group):
                        if future is not None and not future.done():
                            future.set_result(first + offset)
                    self.on_written(first + len(group) - 1)
                    group = []
                    if self._wal_pages >= CHECKPOINT_PAGES:
                        await loop.run_in_executor(self._executor, self._checkpoint)
                except (apsw.Error, OSError) as error:
                    self._fail(group, f"the disk refused the journal: {error}. Free space or repair the disk, then start again")
                    return
        finally:
            self._writer = None

    def _fail(self, group: list[tuple[Record, asyncio.Future[int] | None]], text: str) -> None:
        self._failed = text
        self.on_failure(text)
        for _, future in (*group, *self._pending):
            if future is not None and not future.done():
                future.set_exception(JournalError(text))
        self._pending = []

    def _write(self, bodies: list[bytes]) -> int:
        """One group; a full disk gets the reserve, once. Runs on the journal's thread."""
        try:
            return self._commit(bodies)
        except (apsw.FullError, OSError) as error:
            if not (is_full(error) and self._give_up_reserve()):
                raise
        return self._commit(bodies)

    def _commit(self, bodies: list[bytes]) -> int:
        """One transaction, one sync; then the head."""
        seq, digest = self.seq, self.digest
        rows = []
        for body in bodies:
            seq += 1
            digest = chain(digest, seq, body)
            rows.append((seq, body, digest))
        self._step("group begun")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO records (seq, body, digest) VALUES (?, ?, ?)", rows)
            self._step("group inserted")
            self._db.execute("COMMIT")
        except apsw.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._step("group committed")
        if self._durable:
            self._head.write(seq, digest)
        self._step("head written")
        self.seq, self.digest = seq, digest
        return rows[0][0]

    def _checkpoint(self) -> None:
        """Move the write-ahead log into the file. SQLite would do it at a commit, and keep a failure to itself. A full disk only puts it off."""
        self._step("checkpoint begun")
        with suppress(apsw.FullError):
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._wal_pages = 0
        self._step("checkpoint done")

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Records in order, from the one after `after`. Call before the desk runs, or through flush()."""
        self._trusted()
        for seq, body, digest in self._db.execute(_READ, (after,)):
            yield Entry(seq, decode(body), digest)

    async def on_its_thread(self, work: Callable[[], _T]) -> _T:
        """Run something between two groups of records, on the thread that writes them. Raises JournalError: the disk refuses."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except (apsw.Error, OSError) as error:
            raise JournalError(f"the journal cannot be read: {error}") from None

    async def entries(self, after: int, count: int) -> list[Entry]:
        """As read(), while a desk runs: at most `count` of the records that are on disk."""
        return await self.on_its_thread(lambda: list(islice(self.read(after), count)))

    async def verify(self) -> tuple[int, bytes]:
        """Walk the chain from its beginning to the last record there is now, some at a time so that no order waits long; its number and hash.

        Raises JournalError: the file or its head no longer holds what was written.
        """
        await self.flush()
        last, written = self.seq, self.digest
        seq, digest = 0, GENESIS
        while seq < last:
            seq, digest = await self.on_its_thread(partial(self._walk, seq, digest, min(WALK_MAX, last - seq)))
        if digest != written or not await self.on_its_thread(self._head_agrees):
            raise JournalError(f"the journal does not hold record {last} as it was written; restore a backup, trade nothing until then")
        return seq, digest

    def _head_agrees(self) -> bool:
        return not self._durable or self._head.read() == (self.seq, self.digest)

    def _walk(self, seq: int, digest: bytes, count: int) -> tuple[int, bytes]:
        """The next `count` records of the chain. Raises JournalError: a hole, or an edited record."""
        last = seq + count
        for row in islice(self._db.execute(_READ, (seq,)), count):
            seq, digest = seq + 1, _linked(seq + 1, digest, *row)
        if seq != last:
            raise JournalError(f"journal record {seq + 1} is missing; restore a backup, trade nothing until then")
        return seq, digest

    async def about(self, cl_ord_id: str) -> list[Record]:
        """Every record of one order, in order, from the disk: for orders that have left memory."""
        query = f"SELECT body FROM records WHERE {_ORDER} = ? ORDER BY seq"  # noqa: S608  a constant, the id is bound

        def read() -> list[Record]:
            return [decode(bytes(body)) for (body,) in self._db.execute(query, (cl_ord_id,))]

        return await asyncio.get_running_loop().run_in_executor(self._executor, read)

    def backup(self, target: Path) -> None:
        """A whole copy while the desk runs, by SQLite's own means. Its head comes first: a copy that was cut short is shorter than its head.

        Raises JournalError: target exists, or the disk refuses.
        """
        self._trusted()
        if target.suffix != ".sqlite":  # its head is called like it, with another ending: no two copies may share one
            raise JournalError(f"the copy {target.name} is to end in .sqlite; its head lies beside it")
        head_path = target.with_suffix(".head")
        try:
            there = any(self._disk.size(path) is not None for path in (target, head_path))
        except OSError as error:
            raise JournalError(f"no copy can be written there: {error.strerror}; name another file") from None
        if there:
            raise JournalError(f"{target.name} exists already; name a new file")
        self._step("backup begun")
        try:
            head = Head(self._disk, head_path)
            head.write(self.seq, self.digest)
            head.close()
            self._step("backup has its head")
            self._disk.open(target).close()  # ours alone to read
            self._db.execute("VACUUM INTO ?", (str(target),))
            self._disk.sync_folder(target.parent)
        except (apsw.Error, OSError) as error:
            raise JournalError(f"the copy {target.name} is not whole: {error}. Remove it and try again") from None
        self._step("backup done")

    def free_bytes(self) -> int:
        """What is left for the journal: of the volume, and nothing once the reserve was given up or when nobody can say."""
        if self._spent:
            return 0
        try:
            return self._disk.free_bytes(self.path.parent)
        except OSError:
            return 0

    def _trusted(self) -> None:
        if self._failed is not None or self._closed:
            raise JournalError(self._failed or "the journal is closed")

    # -- opening and closing ----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Head first, so that no record is older than it. Nothing is written to an older file before its whole chain verifies."""
        self._head = Head(self._disk, self.path.with_suffix(".head"))
        self._held.callback(self._head.close)
        head_seq, head_digest = self._head.read()
        size = self._disk.size(self.path)
        if head_seq and not size:
            raise JournalError(f"the journal is gone, but record {head_seq} was written: restore a backup, trade nothing until then")
        if size is None:
            self._disk.open(self.path).close()  # ours alone to read; SQLite would let the umask decide
        self._db = apsw.Connection(str(self.path), vfs=self._disk.vfs or None)
        self._held.callback(_let_go, self._db)
        _set_up(self._db, durable=self._durable)
        self._db.set_wal_hook(self._on_commit)
        version = self._db.execute("PRAGMA user_version").get
        if version > SCHEMA_VERSION:
            raise JournalError(f"the journal has schema {version}, this version knows {SCHEMA_VERSION}: use the newer trading_system")
        if version or head_seq:
            self._verify(head_seq, head_digest)
            self._step("chain verified")
        self._db.execute("PRAGMA journal_mode = WAL")
        if version < SCHEMA_VERSION:
            self._migrate(version)
        if self._durable:
            self._settle(head_seq)

    def _settle(self, head_seq: int) -> None:
        """What was found is on the platter from here on, even if the process before us read it back from a disk that had lost it."""
        self._checkpoint()
        self._disk.sync_folder(self.path.parent)
        if self.seq > head_seq:
            self._head.write(self.seq, self.digest)
        if self._disk.size(self._reserve) == JOURNAL_RESERVE:
            self._reserved = True
        elif self._disk.free_bytes(self.path.parent) >= self.free_min + JOURNAL_RESERVE:
            self._disk.hold(self._reserve, JOURNAL_RESERVE)
            self._reserved = True

    def _verify(self, head_seq: int, head_digest: bytes) -> None:
        """Walk the whole chain. Raises JournalError: a hole, an edited record, or fewer records than the head has seen."""
        seq, digest, at_head = 0, GENESIS, GENESIS
        for found, body, stored in self._db.execute(_READ, (0,)):
            seq += 1
            digest = _linked(seq, digest, found, body, stored)
            if seq == head_seq:
                at_head = digest
        if self._durable and at_head != head_digest:
            raise JournalError(f"the journal ends at record {seq}, but record {head_seq} was written: its end is lost; restore a backup")
        if self._durable and (seq > head_seq + _AHEAD_MAX or (self._head.new and seq)):
            raise JournalError(f"the journal has {seq} records, its head file knows {head_seq}: they do not belong together; restore a backup")
        self.seq, self.digest = seq, digest

    def _migrate(self, version: int) -> None:
        """Bring an older file forward, one step at a time, each in one transaction. The file as it was stays beside it under another name."""
        self._step("migration begun")
        former = self.path.with_suffix(f".schema{version}.sqlite")
        if version:
            for leftover in (former, former.with_suffix(".head")):  # of an attempt that was cut short
                self._disk.remove(leftover)
            self.backup(former)
        for number in range(version, SCHEMA_VERSION):
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute(_MIGRATIONS[number])
            self._db.execute(f"PRAGMA user_version = {number + 1}")
            self._step("migration before its commit")
            self._db.execute("COMMIT")
        self._step("migrated")

    def _on_commit(self, _: apsw.Connection, __: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _give_up_reserve(self) -> bool:
        if not self._reserved:
            return False
        self._reserved, self._spent = False, True
        self._disk.remove(self._reserve)
        return True

    def _close(self) -> None:
        """A clean end leaves one file that is whole without its log; after a refusal the log is left as it lies."""
        if self._failed is None:
            with suppress(apsw.Error):  # what could not be moved is durable in the log, and read from there
                self._checkpoint()
        self._held.close()
        self._step("journal closed")


def _let_go(db: apsw.Connection) -> None:
    with suppress(apsw.Error):  # of a disk that failed before; nothing is written here
        db.close()


def _set_up(db: apsw.Connection, *, durable: bool) -> None:
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # a file that does not verify, or a disk that failed, is left as it lies
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA fullfsync = ON")  # macOS: past the drive's own cache
    db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")


_FIELDS = ("$.cl_ord_id", "$.approved.cl_ord_id", "$.report.cl_ord_id")
_EXTRACTS = (f"json_extract(CAST(body AS TEXT), '{field}')" for field in _FIELDS)
_ORDER = f"coalesce({', '.join(_EXTRACTS)})"  # the order that a record is about
_MIGRATIONS = {
    0: "CREATE TABLE records (seq INTEGER PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL) STRICT",
    1: f"CREATE INDEX by_order ON records ({_ORDER}) WHERE {_ORDER} IS NOT NULL",
    2: "-- linked orders: new fields, which an older program would pass over",
    3: "-- decisions: records that an older program does not know",
    4: "-- routes: the same",
    5: "-- inverse contracts: fields that an older program would pass over",
}
