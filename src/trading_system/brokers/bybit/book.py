"""Bybit's order books: frames become levels of core/depth.py. Floats stop here."""

import msgspec

from trading_system.brokers.bybit import wire
from trading_system.core.depth import Book, Level, Verdict
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import BookSnapshot
from trading_system.transport.session import Broken

_MS = 1_000_000


class _Levels(msgspec.Struct):
    """wire.StreamBook with its numbers read."""

    b: list[Level]
    a: list[Level]
    u: int


_decoder = msgspec.json.Decoder(_Levels, strict=False)  # numbers come as strings


class DepthBook:
    """One instrument's book as the topic orderbook.{depth} tells it.

    A snapshot begins anew, whenever it comes. The documents give no rule for changes that are missing; `u` was seen to count them one by one, so that
    a jump ends the connection, and the next one begins with a snapshot.
    Source: bybit-exchange.github.io/docs/v5/websocket/public/orderbook
    """

    def __init__(self, instrument: InstrumentID, levels: int) -> None:
        self._instrument = instrument
        self._levels = levels
        self._book = Book()

    def take(self, frame: wire.StreamFrame, recv_ns: int) -> BookSnapshot | None:
        """The book after this message; None: it said nothing new. Raises Broken: something is missing. ProtocolError: it cannot be read."""
        try:
            data = _decoder.decode(frame.data)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"an order book that cannot be read ({error})", bytes(frame.data)) from None
        if frame.type == "snapshot":
            verdict = self._book.snapshot(data.b, data.a, data.u)
        elif frame.type == "delta":
            verdict = self._book.change(data.b, data.a, data.u, data.u)
        else:
            raise ProtocolError("an order book that is neither snapshot nor delta", frame.type.encode())
        if verdict is Verdict.GAP:
            raise Broken(f"changes of the order book of {self._instrument} are missing")
        return None if verdict is Verdict.OLD else self._shown(frame, recv_ns)

    def _shown(self, frame: wire.StreamFrame, recv_ns: int) -> BookSnapshot:
        return BookSnapshot(
            instrument=self._instrument,
            bids=self._book.bids(self._levels),
            asks=self._book.asks(self._levels),
            transact_ns=(frame.cts or frame.ts) * _MS,
            recv_ns=recv_ns,
        )
