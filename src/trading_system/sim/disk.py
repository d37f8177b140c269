"""A disk that forgets, tears, fills and fails: an apsw VFS over bytes in memory, on which the production journal runs unchanged.

In a simulated world:

    disk = SimDisk(random.Random(f"disk {seed}"), DiskFaults(sync_error=0.001))
    journal = Journal(path, disk=disk)       # its head and its reserve are on it too; no folder is needed, the path is only a name
    ...
    journal.abandon()                        # the process was killed: what it gave to the system is still there
    disk.power_loss()                        # the machine as well: only what was synced is certain, the rest as chance will have it
    journal = Journal(path, disk=disk)       # what was acknowledged as durable, or JournalError; never a shorter or another history
    ...
    disk.close()

`capacity` makes it full (`disk.capacity = disk.used()` for at once), `read_only` does that, `fail(kind, after)` lets it happen at the so many-th call
from here. `hit` counts what happened. Chance decides by the order of calls alone, so that the same seed gives the same disk; how long a write takes
is the virtual loop's business. A dropped sync is the worst one: the system forgets that the pages were ever written, and the next sync says yes.
Of two errors in one call apsw shows the second one only, and gives the first to sys.unraisablehook.
Source: LWN "PostgreSQL's fsync() surprise" (2018); sqlite.org/atomiccommit.html §2 on sectors, §6 on power-safe overwrite.
"""

import errno
import itertools
import random
from collections import Counter
from pathlib import Path

import apsw
import msgspec

SECTOR = 512
FOLDER_SYNCED = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL  # os_unix.c: UNIXFILE_DIRSYNC
_numbers = itertools.count(1)


class DiskFaults(msgspec.Struct, frozen=True, kw_only=True):
    """Chances of one call. torn: of an unsynced write at a power loss. evicted: that a failed sync also drops what readers saw."""

    write_error: float = 0.0
    sync_error: float = 0.0
    torn: float = 0.3
    evicted: float = 0.3
    power_safe: bool = True  # a torn write spoils nothing beside itself; False: the whole sector that it was in


class Write(msgspec.Struct, frozen=True):
    """Not synced yet. data None: a truncation to `at`."""

    at: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        if len(content) < self.at:
            content.extend(bytes(self.at - len(content)))
        if self.data is None:
            del content[self.at :]
        else:
            content[self.at : self.at + len(self.data)] = self.data


class Content:
    """What a file holds: as readers see it, and as the platter has it."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.kept = bytearray()
        self.pending: list[Write] = []
        self.held = 0  # bytes taken without a content (the journal's reserve)

    def put(self, write: Write) -> None:
        write.apply(self.seen)
        self.pending.append(write)


class SimDisk:
    """Files in memory. `journal.disk.Disk` to the journal, a VFS of its own name to SQLite."""

    def __init__(self, rng: random.Random, faults: DiskFaults | None = None, *, capacity: int = 1 << 40) -> None:
        self.rng = rng
        self.faults = faults or DiskFaults()
        self.capacity = capacity
        self.read_only = False
        self.hit: Counter[str] = Counter()
        self.calls = 0  # writes and syncs so far
        self.boots = 0  # handles of an earlier one are dead
        self._dark = False
        self.vfs = f"sim-disk-{next(_numbers)}"
        self._files: dict[str, Content] = {}
        self._kept: dict[str, Content] = {}  # the folder as the platter has it
        self._renamed: list[tuple[str, Content | None]] = []  # names made and removed since the folder was synced
        self._due: dict[str, int] = {}
        self._vfs = _Vfs(self)

    # -- what may go wrong --------------------------------------------------------------------------------------------------------

    def fail(self, kind: str, after: int = 1) -> None:
        """At the so many-th call from here: a "write" or a "sync" gives an error, the disk is "full" from then on, or the "power" goes: nothing
        works any more until power_loss() says what is left."""
        self._due[kind] = after

    def power_loss(self) -> None:
        """The disk as it is found afterwards: what was synced, and of the rest nothing, a beginning, or any part, whole or torn."""
        self.boots += 1
        self._dark = False
        self.hit["power_loss"] += 1
        how = self.rng.choice(("nothing", "a beginning", "any part"))
        for name, content in self._some(self._renamed, how):
            _link(self._kept, name, content)
        for content in {id(content): content for content in self._kept.values()}.values():
            for write in self._some(content.pending, how):
                self._land(content, write)
            content.seen = bytearray(content.kept)
            content.pending = []
        self._files = dict(self._kept)
        self._renamed = []
        self._due = {}

    @property
    def dark(self) -> bool:
        """The power is gone, and power_loss() was not yet asked what is left."""
        return self._dark

    def _some(self, items: list, how: str) -> list:  # type: ignore[type-arg]
        if how == "nothing":
            return []
        if how == "a beginning":
            return items[: self.rng.randint(0, len(items))]
        return [item for item in items if self.rng.random() < 0.5]

    def _land(self, content: Content, write: Write) -> None:
        if write.data is None or self.rng.random() >= self.faults.torn:
            write.apply(content.kept)
            return
        self.hit["torn"] += 1
        if self.rng.random() < 0.5:  # in the middle of a sector
            cut = self.rng.randrange(len(write.data) + 1)
            Write(write.at, write.data[:cut]).apply(content.kept)
            if not self.faults.power_safe:
                self._spoil(content, write.at + cut)
            return
        for start in range(-(write.at % SECTOR), len(write.data), SECTOR):  # sector by sector
            part = write.data[max(0, start) : start + SECTOR]
            if self.rng.random() < 0.5:
                Write(write.at + max(0, start), part).apply(content.kept)

    def _spoil(self, content: Content, at: int) -> None:
        start = at - at % SECTOR
        Write(start, self.rng.randbytes(min(SECTOR, max(0, len(content.kept) - start)))).apply(content.kept)

    def used(self) -> int:
        return sum(len(content.seen) + content.held for content in self._files.values())

    # -- journal.disk.Disk ----------------------------------------------------------------------------------------------------------

    def size(self, path: Path) -> int | None:
        content = self._files.get(str(path))
        return None if content is None else len(content.seen) + content.held

    def open(self, path: Path) -> "SimFile":
        return SimFile(self, self.content(str(path)))

    def sync_folder(self, folder: Path) -> None:
        self._broken("sync")
        self._keep_names()

    def hold(self, path: Path, size: int) -> None:
        self._take(size)
        self.content(str(path)).held = size

    def remove(self, path: Path) -> None:
        self.unlink(str(path))

    def free_bytes(self, folder: Path) -> int:
        return max(0, self.capacity - self.used())

    def close(self) -> None:
        """SQLite forgets its name."""
        self._vfs.unregister()

    # -- reading and spoiling from outside, for tests -----------------------------------------------------------------------------

    def read(self, path: Path) -> bytes:
        return bytes(self._files[str(path)].seen)

    def replace(self, path: Path, data: bytes) -> None:
        """Put other bytes there, synced, as if somebody had."""
        content = self.content(str(path))
        content.seen, content.kept, content.pending = bytearray(data), bytearray(data), []
        self._kept[str(path)] = content

    # -- what both sides of it share ------------------------------------------------------------------------------------------------

    def content(self, name: str) -> Content:
        if name not in self._files:
            self._take(0)
            self._files[name] = Content()
            self._renamed.append((name, self._files[name]))
        return self._files[name]

    def unlink(self, name: str) -> None:
        if not self._dark and self._files.pop(name, None) is not None:
            self._renamed.append((name, None))

    def exists(self, name: str) -> bool:
        return name in self._files

    def write(self, content: Content, data: bytes, at: int) -> None:
        self._broken("write")
        self._take(max(0, at + len(data) - len(content.seen)))
        content.put(Write(at, data))

    def truncate(self, content: Content, size: int) -> None:
        self._broken("write")
        self._take(0)
        content.put(Write(size, None))

    def sync(self, content: Content, *, folder: bool = False) -> None:
        try:
            self._broken("sync")
        except OSError:
            if not self._dark:
                self._drop(content)
            raise
        for write in content.pending:
            write.apply(content.kept)
        content.pending = []
        if folder:
            self._keep_names()

    def _drop(self, content: Content) -> None:
        """After a failed sync the system takes the pages for clean: some are on the platter, the others never will be."""
        for write in self._some(content.pending, "any part"):
            self._land(content, write)
        content.pending = []
        if self.rng.random() < self.faults.evicted:
            self.hit["evicted"] += 1
            content.seen = bytearray(content.kept)

    def _keep_names(self) -> None:
        for name, content in self._renamed:
            _link(self._kept, name, content)
        self._renamed = []

    def _take(self, more: int) -> None:
        if self._dark:
            raise OSError(errno.EIO, "the power is gone")
        if self.read_only:
            self.hit["read_only"] += 1
            raise OSError(errno.EROFS, "read-only disk")
        if more and self.used() + more > self.capacity:
            self.hit["full"] += 1
            raise OSError(errno.ENOSPC, "no space left on the disk")

    def _broken(self, kind: str) -> None:
        self.calls += 1
        self._powered()
        if kind == "write" and self._is_due("full"):
            self.capacity = self.used()
        rate = self.faults.write_error if kind == "write" else self.faults.sync_error
        if self._is_due(kind) or (rate and self.rng.random() < rate):
            self.hit[f"{kind}_error"] += 1
            raise OSError(errno.EIO, f"input/output error at a {kind}")

    def _powered(self) -> None:
        if self._is_due("power"):
            self._dark = True
        if self._dark:
            raise OSError(errno.EIO, "the power is gone")

    def _is_due(self, kind: str) -> bool:
        left = self._due.get(kind, 0) - 1
        if left >= 0:
            self._due[kind] = left
        return left == 0


def _link(names: dict[str, Content], name: str, content: Content | None) -> None:
    if content is None:
        names.pop(name, None)
    else:
        names[name] = content


class SimFile:
    """`journal.disk.File`: one open file."""

    def __init__(self, disk: SimDisk, content: Content) -> None:
        self._disk = disk
        self._content = content
        self._boot = disk.boots

    def read(self, size: int, at: int) -> bytes:
        return bytes(self._alive().seen[at : at + size])

    def write(self, data: bytes, at: int) -> None:
        self._disk.write(self._alive(), data, at)

    def sync(self) -> None:
        self._disk.sync(self._alive())

    def close(self) -> None:
        self._boot = -1

    def _alive(self) -> Content:
        if self._boot != self._disk.boots:
            raise OSError(errno.EIO, "opened before the power was lost")
        return self._content


class _Vfs(apsw.VFS):
    """SQLite's view of the disk."""

    def __init__(self, disk: SimDisk) -> None:
        super().__init__(disk.vfs, "", maxpathname=4096)
        self._disk = disk

    def xOpen(self, name: "apsw.URIFilename | str | None", flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = f"temporary {next(_numbers)}" if name is None else name if isinstance(name, str) else name.filename()
        with _SqliteErrors("open"):
            file = _VfsFile(self._disk, path, flags[0])
        flags[1] = flags[0]
        return file  # type: ignore[return-value]  # apsw takes whatever has the methods

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802
        self._disk.unlink(name)
        if sync_folder:
            with _SqliteErrors("sync"):
                self._disk.sync_folder(Path(name).parent)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802
        return self._disk.exists(name)

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xRandomness(self, size: int) -> bytes:  # noqa: N802
        return bytes(size)

    def xSleep(self, duration_us: int) -> int:  # noqa: N802
        return duration_us

    def xCurrentTime(self) -> float:  # noqa: N802
        return 2_460_000.5  # a day in 2023; nothing that we ask of SQLite wants to know


class _SqliteErrors:
    """The system's errors in SQLite's words."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            kind = {errno.ENOSPC: apsw.FullError, errno.EROFS: apsw.ReadOnlyError}.get(error.errno or 0, apsw.IOError)
            if self._doing == "open":
                kind = apsw.CantOpenError
            raise kind(str(error)) from None


class _VfsFile:
    """One open file, as SQLite wants it."""

    def __init__(self, disk: SimDisk, name: str, flags: int) -> None:
        self._disk = disk
        self._name = name
        self._content = disk.content(name)
        self._boot = disk.boots
        self._flags = flags

    def xRead(self, size: int, at: int) -> bytes:  # noqa: N802
        with _SqliteErrors("read"):
            return bytes(self._alive().seen[at : at + size])

    def xWrite(self, data: bytes, at: int) -> None:  # noqa: N802
        with _SqliteErrors("write"):
            self._disk.write(self._alive(), bytes(data), at)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        with _SqliteErrors("write"):
            self._disk.truncate(self._alive(), size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        with _SqliteErrors("sync"):
            self._disk.sync(self._alive(), folder=bool(self._flags & FOLDER_SYNCED))

    def xFileSize(self) -> int:  # noqa: N802
        with _SqliteErrors("read"):
            return len(self._alive().seen)

    def xLock(self, level: int) -> None:  # noqa: N802
        """One process at a time is what the lease is for."""

    def xUnlock(self, level: int) -> None:  # noqa: N802
        return None

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE  # what SQLite takes for granted of a real disk

    def xClose(self) -> None:  # noqa: N802
        self._boot = -1
        if self._flags & apsw.SQLITE_OPEN_DELETEONCLOSE:
            self._disk.unlink(self._name)

    def _alive(self) -> Content:
        if self._boot != self._disk.boots:
            raise OSError(errno.EIO, "opened before the power was lost")
        return self._content
