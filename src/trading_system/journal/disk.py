"""What a journal asks of a disk beside SQLite: a small file written in place, space held back, space left. sim/disk.py is the other Disk."""

import errno
import os
import sys
from pathlib import Path
from typing import Protocol


class File(Protocol):
    """An open file of a fixed size. Raises OSError."""

    def read(self, size: int, at: int) -> bytes: ...

    def write(self, data: bytes, at: int) -> None: ...

    def sync(self) -> None:
        """Return when what was written survives a power loss."""
        ...

    def close(self) -> None: ...


class Disk(Protocol):
    """Raises OSError from every method."""

    @property
    def vfs(self) -> str:
        """Under which name SQLite knows it; "" is the system's own."""
        ...

    def size(self, path: Path) -> int | None:
        """None: there is no such file."""
        ...

    def open(self, path: Path) -> File:
        """For reading and writing; made empty, for its owner only, where it is not there."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return when the names of new and removed files survive a power loss."""
        ...

    def hold(self, path: Path, size: int) -> None:
        """Take this much space, so that nobody else can."""
        ...

    def remove(self, path: Path) -> None: ...

    def free_bytes(self, folder: Path) -> int: ...


class _File:
    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self, size: int, at: int) -> bytes:
        return os.pread(self._fd, size, at)

    def write(self, data: bytes, at: int) -> None:
        while data:
            done = os.pwrite(self._fd, data, at)
            data, at = data[done:], at + done

    def sync(self) -> None:
        _sync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class SystemDisk:
    """The real one."""

    vfs = ""

    def size(self, path: Path) -> int | None:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None

    def open(self, path: Path) -> File:
        return _File(path)

    def sync_folder(self, folder: Path) -> None:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def hold(self, path: Path, size: int) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, size)
            else:  # macOS
                os.pwrite(fd, b"\0" * size, 0)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def free_bytes(self, folder: Path) -> int:
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize


def is_full(error: Exception) -> bool:
    """Whether the disk refused for want of space. SQLite's own word for it is a class of apsw's."""
    return (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or type(error).__name__ == "FullError"


def _sync(fd: int) -> None:
    """To the platter: on macOS fsync stops at the drive's own cache."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)
