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
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise LeaseHeld(f"{what} is in use by another desk (process {holder}). Use that desk, or stop it first.") from None
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
