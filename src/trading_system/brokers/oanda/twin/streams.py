"""The twin's two streams: lines of JSON that never end, transactions as they are written and prices as they change, and a heartbeat every 5 s."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from trading_system.brokers.oanda import facts, wire
from trading_system.brokers.oanda.twin.data import MarketData
from trading_system.brokers.oanda.twin.forms import JSON, Refusal, unix
from trading_system.brokers.oanda.twin.ledger import Log
from trading_system.sim.market import TICK_NS
from trading_system.sim.sessions import iso

Send = Callable[[int, bytes | None], None]


class _Line(msgspec.Struct):
    """One connection. names: of a stream of prices; none: it is one of transactions."""

    beat_ns: int
    unix: bool
    names: Sequence[str] = ()
    told: dict[str, bytes] = {}


class Streams:
    """Everybody who listens."""

    def __init__(self, data: MarketData, log: Log, send: Send, streams_max: int) -> None:
        self._data = data
        self._log = log
        self._send = send
        self._max = streams_max
        self._tick = 0
        self.conns: dict[int, _Line] = {}

    def room(self) -> None:
        """Raises Refusal: there are as many as there may be."""
        if len(self.conns) >= self._max:
            raise Refusal(429, "The number of active streams has been exceeded")

    def open_transactions(self, conn: int, now_ns: int, *, as_unix: bool) -> None:
        self.conns[conn] = _Line(now_ns, as_unix)
        self._beat(now_ns)

    def open_prices(self, conn: int, query: Mapping[str, str], now_ns: int, *, as_unix: bool) -> None:
        line = self.conns[conn] = _Line(now_ns, as_unix, self._data.named(query), {})
        self._tell(conn, line, now_ns, silent=query.get("snapshot", "true").lower() == "false")
        self._beat(now_ns)

    def publish(self, entries: Sequence[wire.Transaction]) -> None:
        for conn, line in self.conns.items():
            if not line.names:
                for entry in entries:
                    self._say(conn, line, entry)

    def advance(self, now_ns: int) -> None:
        """A price a step of 250 ms, where it has changed; then the heartbeats."""
        if now_ns // TICK_NS != self._tick:
            self._tick = now_ns // TICK_NS
            for conn, line in self.conns.items():
                if line.names:
                    self._tell(conn, line, now_ns)
        self._beat(now_ns)

    def next_event_ns(self) -> int | None:
        times = [line.beat_ns for line in self.conns.values()]
        times += [(self._tick + 1) * TICK_NS for line in self.conns.values() if line.names]
        return min(times, default=None)

    def _tell(self, conn: int, line: _Line, now_ns: int, *, silent: bool = False) -> None:
        for name in line.names:
            price = self._data.price(name, now_ns)
            said = JSON.encode((price.status, price.bids, price.asks))
            if line.told.get(name) != said:
                line.told[name] = said
                if not silent:
                    self._say(conn, line, price)

    def _beat(self, now_ns: int) -> None:
        for conn, line in self.conns.items():
            if line.beat_ns <= now_ns:
                line.beat_ns = now_ns + facts.HEARTBEAT_NS
                told = {} if line.names else {"lastTransactionID": self._log.last_id}
                self._say(conn, line, {"type": "HEARTBEAT", **told, "time": iso(now_ns)})

    def _say(self, conn: int, line: _Line, message: object) -> None:
        frame = JSON.encode(message)
        self._send(conn, (unix(frame) if line.unix else frame) + b"\n")
