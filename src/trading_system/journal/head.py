"""(seq, hash) of the last record, in a small file of its own: a journal that lost its tail is shorter than its head says."""

import hashlib
from pathlib import Path

from trading_system.domain.errors import JournalError
from trading_system.journal.disk import Disk

GENESIS = b"\0" * 32
_SLOT = 56  # bytes: seq (8), hash (32), check (16)
_PLACES = (0, 4096)  # two slots written in turn, on two pages: a torn or spoilt write leaves the other
_FORMER_PLACE = 64  # where version 0.1.0 kept the second one
_SIZE = 8192


class Head:
    """Written after each commit, before anybody is told of it.

    Source: SQLite's WAL drops committed frames after a flipped bit and still verifies (RELIABILITY.md §3).
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        size = disk.size(path)
        self.new = size is None
        self._file = disk.open(path)
        if (size or 0) < _SIZE:  # new, of version 0.1.0, or a power loss came before it had its size
            self._file.write(b"\0" * (_SIZE - (size or 0)), size or 0)
            self._file.sync()
        self._next = 0

    def read(self) -> tuple[int, bytes]:
        """The newest whole slot; (0, zeros) for a new file. Raises JournalError: no slot is whole."""
        data = self._file.read(_SIZE, 0)
        whole = {}
        for place in (*_PLACES, _FORMER_PLACE):
            slot = data[place : place + _SLOT]
            if slot[40:] == _check(slot[:40]):
                whole[slot[:40]] = place
        if not whole and any(data):
            raise JournalError("the journal's head file is damaged; restore both files from one backup")
        if not whole:
            return 0, GENESIS
        newest = max(whole)
        self._next = 1 if whole[newest] == _PLACES[0] else 0
        return int.from_bytes(newest[:8], "big"), newest[8:]

    def write(self, seq: int, digest: bytes) -> None:
        slot = seq.to_bytes(8, "big") + digest
        self._file.write(slot + _check(slot), _PLACES[self._next])
        self._file.sync()
        self._next = 1 - self._next

    def close(self) -> None:
        self._file.close()


def _check(slot: bytes) -> bytes:
    return hashlib.blake2b(slot, digest_size=16, person=b"journal-head").digest()
