"""Order books by Binance's own rule: a snapshot by REST, and on top of it the changes of a stream, which are numbered.

Apart from the other messages because levels are floats here, and nowhere else in this folder; core/depth.py gives them back digit for digit.
Source: github.com/binance/binance-spot-api-docs, web-socket-streams.md ("How to manage a local order book correctly")
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from trading_system.brokers.binance.session import StreamsSession
from trading_system.core.depth import Book, Level, Verdict
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import BookSnapshot
from trading_system.domain.money import ZERO
from trading_system.transport.session import Step

SNAPSHOT_LEVELS = 1_000  # of each side; what lies beyond is unknown until it changes
_FAR = Decimal("Infinity")
_STALE_NS = 60_000_000_000
_MS = 1_000_000


class Snapshot(msgspec.Struct, rename="camel"):
    """GET /depth."""

    last_update_id: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class Diff(msgspec.Struct, kw_only=True):
    """<symbol>@depth@100ms: the levels that have changed, in full."""

    symbol: str = msgspec.field(name="s")
    event_time: int = msgspec.field(name="E")
    first_id: int = msgspec.field(name="U")
    last_id: int = msgspec.field(name="u")
    bids: Sequence[Level] = msgspec.field(name="b")
    asks: Sequence[Level] = msgspec.field(name="a")


_SNAPSHOT = msgspec.json.Decoder(Snapshot, strict=False)  # numbers are strings
_DIFF = msgspec.json.Decoder(Diff, strict=False)


def decode_snapshot(body: bytes) -> Snapshot:
    """Raises ProtocolError: it is none."""
    try:
        return _SNAPSHOT.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ProtocolError(f"a book that cannot be read ({error})", body) from None


class BookSession(StreamsSession):
    """The changes of some pairs' books, by one combined stream."""

    def __init__(self, url: str, symbols: Sequence[str]) -> None:
        super().__init__(url)
        self._symbols = symbols

    @property
    def streams(self) -> Sequence[str]:
        return [f"{symbol.lower()}@depth@100ms" for symbol in sorted(self._symbols)]

    def data(self, kind: str, raw: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a pair that nobody asked for."""
        diff = _DIFF.decode(raw)
        if diff.symbol not in self._symbols:
            raise ProtocolError("a book that nobody asked for", raw)
        return Step(events=(diff,))

    def stale_after_ns(self) -> int:
        return _STALE_NS


class _Kept:
    """One pair's book, and how far on each side it is known."""

    def __init__(self) -> None:
        self.book = Book()
        self.low, self.high = ZERO, _FAR
        self.transact_ns = 0


class Books:
    """The books of one subscription. Whoever keeps them brings the snapshots."""

    def __init__(self, wanted: Mapping[str, InstrumentID], levels: int) -> None:
        """wanted: our name of each of Binance's symbols."""
        self._wanted = wanted
        self._levels = levels
        self._kept = {symbol: _Kept() for symbol in wanted}

    def snapshot(self, symbol: str, found: Snapshot, transact_ns: int) -> None:
        """Begin anew. Changes that come later and are older do no harm. transact_ns: when it was asked for, it says no time itself."""
        kept = self._kept[symbol]
        kept.book.snapshot(found.bids, found.asks, found.last_update_id)
        kept.low = Decimal(repr(found.bids[-1][0])) if len(found.bids) >= SNAPSHOT_LEVELS else ZERO
        kept.high = Decimal(repr(found.asks[-1][0])) if len(found.asks) >= SNAPSHOT_LEVELS else _FAR
        kept.transact_ns = transact_ns

    def change(self, diff: Diff) -> Verdict:
        kept = self._kept[diff.symbol]
        verdict = kept.book.change(diff.bids, diff.asks, diff.first_id, diff.last_id)
        if verdict is Verdict.APPLIED:
            kept.transact_ns = diff.event_time * _MS
        return verdict

    def void(self) -> None:
        """The line was down: nothing counts any more."""
        for kept in self._kept.values():
            kept.book.void()

    def stands(self, symbol: str) -> bool:
        return self._kept[symbol].book.last is not None

    def best(self, symbol: str, recv_ns: int) -> BookSnapshot | None:
        """The best levels; None: the book is void, or the market has gone where the snapshot does not reach."""
        kept = self._kept[symbol]
        bids, asks = kept.book.bids(self._levels), kept.book.asks(self._levels)
        if not self.stands(symbol) or (bids and bids[-1][0] < kept.low) or (asks and asks[-1][0] > kept.high):
            return None
        return BookSnapshot(instrument=self._wanted[symbol], bids=bids, asks=asks, transact_ns=kept.transact_ns, recv_ns=recv_ns)
