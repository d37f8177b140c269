"""Order books of some pairs over one public connection, sans-IO. Kraken numbers nothing: a checksum over the ten best of each side says whether
a book is right, and a wrong one is subscribed to again.

Source: docs.kraken.com/api/docs/websocket-v2/book, docs.kraken.com/api/docs/guides/spot-ws-book-v2
"""

import zlib
from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from trading_system.brokers.kraken import wire
from trading_system.brokers.kraken.facts import BOOK_DEPTHS, CHECKSUM_LEVELS, STALE_AFTER_NS
from trading_system.core.depth import Book, Verdict
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import BookSnapshot
from trading_system.domain.times import parse_rfc3339
from trading_system.transport.session import Step, StreamRefused

_FRAME = msgspec.json.Decoder(wire.Frame)
_BOOKS = msgspec.json.Decoder(list[wire.BookData])
_CHANNEL = "book"


class Doubtful(msgspec.Struct, frozen=True):
    """A book does not add up: nothing is shown of it until its next snapshot."""

    instrument: InstrumentID


class Sound(msgspec.Struct, frozen=True):
    """It does again."""

    instrument: InstrumentID


class BookSession:
    """The books of these pairs, each after every change."""

    def __init__(self, url: str, pairs: Mapping[InstrumentID, wire.AssetPair], levels: int) -> None:
        """levels: how many of each side are shown; Kraken is asked for the next depth that it has."""
        self._url = url
        self._pairs = pairs
        self._levels = levels
        self._depth = next(depth for depth in BOOK_DEPTHS if depth >= levels)
        self._books: dict[str, Book] = {}
        self._missing: set[str] = set()
        self._doubtful: set[str] = set()
        self._number = 0

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        self._books = {name: Book(self._depth) for name in self._pairs}
        self._missing, self._doubtful = set(self._pairs), set()
        return Step(send=(self._method("subscribe", sorted(self._pairs)),))

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. StreamRefused: a pair that Kraken does not have."""
        try:
            message = _FRAME.decode(frame)
            if message.channel == _CHANNEL:
                return self._data(message, now_ns)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"an order book that cannot be read ({error})", frame) from None
        if message.method == "subscribe" and not message.success:
            raise StreamRefused(f"Kraken's book stream refuses: {message.error} {message.symbol}".strip())
        if not message.channel and not message.method:
            raise ProtocolError("a frame of no kind we know among order books", frame)
        return Step(alive=True)

    def _data(self, message: wire.Frame, now_ns: int) -> Step:
        events: list[object] = []
        send: list[str] = []
        for data in _BOOKS.decode(message.data):
            book = self._books.get(data.symbol)
            whole = message.type == "snapshot"
            if book is None or (data.symbol in self._doubtful and not whole):
                continue  # changes that were on their way when the book was given up
            if self._put(book, data, whole=whole):
                self._missing.discard(data.symbol)
                if data.symbol in self._doubtful:
                    self._doubtful.discard(data.symbol)
                    events.append(Sound(InstrumentID(data.symbol)))
                events.append(self._show(book, data, now_ns))
            else:
                self._doubtful.add(data.symbol)
                events.append(Doubtful(InstrumentID(data.symbol)))
                send += [self._method("unsubscribe", [data.symbol]), self._method("subscribe", [data.symbol])]
        return Step(events=tuple(events), send=tuple(send), ready=not self._missing)

    def _put(self, book: Book, data: wire.BookData, *, whole: bool) -> bool:
        """Whether the book adds up with this in it."""
        bids, asks = _levels(data.bids), _levels(data.asks)
        verdict = book.snapshot(bids, asks) if whole else book.change(bids, asks)
        if verdict is Verdict.APPLIED and self._checksum(book, data.symbol) == data.checksum:
            return True
        book.void()
        return False

    def _checksum(self, book: Book, symbol: str) -> int:
        pair = self._pairs[InstrumentID(symbol)]
        sides = (*book.asks(CHECKSUM_LEVELS), *book.bids(CHECKSUM_LEVELS))
        return zlib.crc32(checksum_text(sides, pair.pair_decimals, pair.lot_decimals).encode())

    def _show(self, book: Book, data: wire.BookData, now_ns: int) -> BookSnapshot:
        return BookSnapshot(
            instrument=InstrumentID(data.symbol),
            bids=book.bids(self._levels),
            asks=book.asks(self._levels),
            transact_ns=now_ns if data.timestamp is None else _time(data.timestamp),
            recv_ns=now_ns,
        )

    def _method(self, method: str, symbols: Iterable[str]) -> str:
        self._number += 1
        params = {"channel": _CHANNEL, "symbol": list(symbols), "depth": self._depth}
        return msgspec.json.encode({"method": method, "params": params, "req_id": self._number}).decode()

    def stale_after_ns(self) -> int:
        return STALE_AFTER_NS


def checksum_text(levels: Iterable[tuple[Decimal, Decimal]], price_decimals: int, qty_decimals: int) -> str:
    """What the checksum runs over, for one side: prices and sizes at the pair's decimals, without point and leading zeros.

    >>> checksum_text([(Decimal("45285.2"), Decimal("0.00100000"))], 1, 8)
    '452852100000'
    """
    return "".join(_digits(price, price_decimals) + _digits(qty, qty_decimals) for price, qty in levels)


def _digits(value: Decimal, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace(".", "").lstrip("0")


def _levels(side: Iterable[wire.Level]) -> list[tuple[float, float]]:
    return [(float(level.price), float(level.qty)) for level in side]


def _time(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None
