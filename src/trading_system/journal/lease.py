"""Who may trade: one desk per state folder and one per key and account on this machine. Locks die with their process."""

import fcntl
import os
from pathlib import Path
from typing import Self

from trading_system.domain.errors import BadRequest, LeaseHeld


class Lease:
    """A held lock file. The kernel frees it when the process ends, however it ends."""

    def __init__(self, path: Path, what: str) -> None:
        """Take it at once or not at all. Raises LeaseHeld, naming the process that has it. BadRequest: the folder cannot be used."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BadRequest(f"the folder {path.parent} cannot be used: {error.strerror}. Set TRADING_HOME to a folder of yours") from None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            name = _name(self._fd)
            os.close(self._fd)
            raise LeaseHeld(f"{what} is in use by another desk (process {name}). Use that desk, or stop it first.") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Give it back. Twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def holder(path: Path) -> str | None:
    """The process that has a lease, as LeaseHeld names it; None: nobody. Takes and writes nothing. Raises OSError: the file cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # a second one who looks is not in the way
    except BlockingIOError:
        return _name(fd)
    finally:
        os.close(fd)
    return None


def _name(fd: int) -> str:
    return os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
