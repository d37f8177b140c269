"""Every journaled event as a server-sent event: its id is its number in the journal, so that Last-Event-ID resumes without a loss or a double."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable

import msgspec

from trading_system.app.logs import redact
from trading_system.core.risk import Halt
from trading_system.domain.errors import BadRequest
from trading_system.domain.ids import ClOrdID
from trading_system.journal.record import (
    Adjusted,
    Alert,
    AlertAcked,
    Armed,
    CancelAsked,
    CashAdjusted,
    ClosedUnsent,
    Decided,
    Doubted,
    Escalated,
    Flowed,
    HaltCleared,
    HaltSet,
    Intent,
    Marked,
    Record,
    Reported,
    Routed,
    Started,
    Watermark,
    encode,
)
from trading_system.journal.store import Entry, Journal

HEARTBEAT_S = 10
RING_MAX = 4_096  # the newest events, kept for whoever has just come back
PAGE = 500  # records read from the disk at once
READERS_MAX = 24
RETRY_MS = 500
TYPES = frozenset(str(kind.__struct_config__.tag) for kind in Record.__args__)


class Event(msgspec.Struct, frozen=True):
    """One record, ready to be sent. broker and instrument: what filters look at, empty where it is about neither."""

    seq: int
    kind: str
    broker: str
    instrument: str
    body: bytes


class Filter(msgspec.Struct, frozen=True):
    """What a reader wants: empty is everything."""

    types: frozenset[str] = frozenset()
    broker: str = ""
    instrument: str = ""

    def lets(self, event: Event) -> bool:
        """What is about no broker or instrument in particular passes: a halt of everything is for every reader."""
        if self.types and event.kind not in self.types:
            return False
        broker, instrument = (self.broker or event.broker) == event.broker, (self.instrument or event.instrument) == event.instrument
        return (broker or not event.broker) and (instrument or not event.instrument)


class Events:
    """The journal as it grows, for any number of readers: one look at the disk for all of them, no queue for any."""

    def __init__(self, journal: Journal, about: Callable[[ClOrdID], tuple[str, str]]) -> None:
        """about: the broker and the instrument of an order; empty where it is not known."""
        self._journal = journal
        self._order = about
        self._ring: deque[Event] = deque(maxlen=RING_MAX)
        self._grown = asyncio.Event()
        self._looking = asyncio.Lock()
        self.last = journal.seq
        self._last_read = journal.seq
        self.readers = 0
        self.ended = False
        journal.on_written = self._on_written

    def close(self) -> None:
        """No reader waits any longer."""
        self.ended = True
        self._grown.set()

    async def after(self, seq: int, wanted: Filter) -> AsyncGenerator[Event | int, None]:
        """Everything from the record after `seq` on, as it is written. An int is a heartbeat: nothing that is wanted came up to that number.

        Raises BadRequest: there are no so many records, or too many readers.
        """
        if seq > self.last:
            raise BadRequest(f"record {seq} is not written yet; the last is {self.last}. Is this another desk's journal?")
        if self.readers >= READERS_MAX:
            raise BadRequest(f"{READERS_MAX} others read events already")
        self.readers += 1
        try:
            told = False
            while not self.ended:
                grown = self._grown
                for event in await self._some(seq):
                    seq = event.seq
                    if wanted.lets(event):
                        yield event
                if seq < self.last:
                    continue
                if not told:
                    told = True
                    yield seq
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await grown.wait()
                except TimeoutError:
                    yield seq
        finally:
            self.readers -= 1

    async def _some(self, seq: int) -> list[Event]:
        """The next events after seq, from memory, or from the disk where they are older or not yet read."""
        if seq >= self.last:
            return []
        async with self._looking:
            if seq >= self._last_read:
                for entry in await self._journal.entries(self._last_read, PAGE):
                    self._ring.append(self._event(entry))
                    self._last_read = entry.seq
        if self._ring and seq >= self._ring[0].seq - 1:
            skip = seq + 1 - self._ring[0].seq
            return [self._ring[place] for place in range(skip, min(len(self._ring), skip + PAGE))]
        return [self._event(entry) for entry in await self._journal.entries(seq, PAGE)]

    def _event(self, entry: Entry) -> Event:
        """As it is sent: the record as the journal has it, its number and its hash."""
        record = entry.record
        kind = str(type(record).__struct_config__.tag)
        broker, instrument = self._about(record)
        body = redact(f'{{"seq":{entry.seq},"digest":"{entry.digest.hex()}","record":{encode(record).decode()}}}')
        return Event(entry.seq, kind, broker, instrument, body.encode())

    def _about(self, record: Record) -> tuple[str, str]:
        """The broker and the instrument of a record; empty where it names none."""
        match record:
            case Intent(approved=approved):
                return approved.request.broker, approved.request.instrument
            case Reported(report=report):
                return report.broker, report.instrument
            case Doubted(cl_ord_id=name) | ClosedUnsent(cl_ord_id=name) | Escalated(cl_ord_id=name) | CancelAsked(cl_ord_id=name):
                return self._order(name)
            case HaltSet(halt=Halt(scope=scope)) | HaltCleared(scope=scope):
                broker, _, instrument = scope.partition(":")
                return ("" if broker in ("all", "crypto", "*") else broker), instrument
            case Adjusted(broker=broker, instrument=instrument):
                return broker, instrument
            case Decided(broker=broker, wish=wish):
                return broker, wish.instrument
            case Flowed(flow=flow):
                return flow.broker, flow.instrument or ""
            case CashAdjusted(broker=broker) | Watermark(broker=broker):
                return broker, ""
            case Routed(instrument=instrument):
                return "", instrument  # of two brokers
            case Started() | Marked() | Alert() | AlertAcked() | Armed():
                return "", ""

    def _on_written(self, seq: int) -> None:
        self.last = seq
        self._grown.set()
        self._grown = asyncio.Event()


def framed(event: Event | int) -> bytes:
    """Its bytes on the wire (WHATWG HTML, server-sent events). A heartbeat moves the id too: who comes back need not read what it did not want."""
    if isinstance(event, int):
        return b"id: %d\nevent: heartbeat\ndata: {}\n\n" % event
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.seq, event.kind.encode(), event.body)
