"""A journal that outlives nothing: for backtests, whose records are looked at and thrown away."""

from pathlib import Path

from trading_system.journal.head import GENESIS
from trading_system.journal.record import Record, encode
from trading_system.journal.store import Entry, Journal, chain

_PLENTY = 1 << 40


class MemoryJournal(Journal):
    """The same front door without a disk: nothing waits, nothing is encoded until somebody asks."""

    def __init__(self) -> None:
        self.path = Path()
        self.free_min = 0
        self.records: list[Record] = []
        self._failed, self._closed = None, False

    @property
    def seq(self) -> int:  # type: ignore[override]
        return len(self.records)

    async def append(self, record: Record, *, durable: bool) -> int:
        self.records.append(record)
        return len(self.records)

    def note(self, record: Record) -> None:
        self.records.append(record)

    async def flush(self) -> None:
        return None

    async def aclose(self) -> None:
        self._closed = True

    def abandon(self) -> None:
        self._closed = True

    async def entries(self, after: int, count: int) -> list[Entry]:
        return [Entry(after + place + 1, record, b"") for place, record in enumerate(self.records[after : after + count])]

    async def about(self, cl_ord_id: str) -> list[Record]:
        """Nothing leaves memory before the end: what is asked for was never there."""
        return []

    async def verify(self) -> tuple[int, bytes]:
        digest = GENESIS
        for seq, record in enumerate(self.records, 1):
            digest = chain(digest, seq, encode(record))
        return len(self.records), digest

    def free_bytes(self) -> int:
        return _PLENTY
