"""A number that only rises, over restarts and over clocks that step back: for brokers whose requests carry one."""

import os
from collections.abc import Callable
from pathlib import Path

AHEAD_US = 60_000_000  # what one write allows: the disk is asked about once a minute, a restart skips at most so much


class Nonces:
    """Microseconds since 1970, or the last number plus one. One file a key: no other process may use the key meanwhile, which the leases see to.

    Raises: OSError, when made or called: the file cannot be read or written. ValueError: it holds something else.
    """

    def __init__(self, path: Path, now_ns: Callable[[], int]) -> None:
        self._path = path
        self._now_ns = now_ns
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._allowed = int(path.read_text(encoding="ascii")) if path.exists() else 0
        self._last = self._allowed  # whoever was before us used no more

    def __call__(self) -> int:
        """The next number, higher than every one before it."""
        self._last = max(self._last + 1, self._now_ns() // 1000)
        if self._last > self._allowed:
            self._allow(self._last + AHEAD_US)
        return self._last

    def _allow(self, most: int) -> None:
        beside = self._path.with_suffix(".new")
        with beside.open("w", encoding="ascii") as file:
            file.write(str(most))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        self._allowed = most
