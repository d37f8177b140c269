"""The twin's streams: tickets, the account's events with their heartbeat, and the market's quotes and trades. Sans-IO: frames in, frames out."""

from collections.abc import Callable, Mapping
from random import Random

import msgspec

from trading_system.brokers.tradier import facts, wire
from trading_system.brokers.tradier.twin.data import MarketData
from trading_system.brokers.tradier.twin.forms import JSON, MS, number
from trading_system.domain.money import plain
from trading_system.sim.market import LOT, TICK_NS, Market

Send = Callable[[int, str | bytes | None], None]  # None closes the connection
CATCH_UP_TICKS = 4 * 60  # a stream that was not asked for longer than a minute skips what it missed: ticks are not queued


class Tickets:
    """What opens a stream: once, and within five minutes."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._until_ns: dict[str, int] = {}

    def issue(self, now_ns: int) -> str:
        bits = f"{self._rng.getrandbits(128):032x}"
        ticket = "-".join((bits[:8], bits[8:12], bits[12:16], bits[16:20], bits[20:]))
        self._until_ns[ticket] = now_ns + facts.TICKET_LIFE_NS
        return ticket

    def take(self, ticket: str, now_ns: int) -> bool:
        return self._until_ns.pop(ticket, 0) > now_ns


class _Login(msgspec.Struct):
    sessionid: str
    events: list[str] = []


class AccountStream:
    """Order events for whoever has shown a ticket; the newest one alone."""

    def __init__(self, tickets: Tickets, send: Send) -> None:
        self._tickets = tickets
        self._send = send
        self._heartbeat_ns = 0
        self.conns: dict[int, bool] = {}  # whether it has shown one

    def open(self, conn: int) -> None:
        self.conns[conn] = False

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        try:
            login = msgspec.json.decode(frame, type=_Login)
        except msgspec.DecodeError:
            login = _Login("")
        if not self._tickets.take(login.sessionid, now_ns):
            _complain(self._send, conn)
            return
        for other in [other for other, known in self.conns.items() if known]:
            self._send(other, None)  # one stream at a time
            self.conns.pop(other)
        self.conns[conn] = True
        self._heartbeat_ns = now_ns + facts.HEARTBEAT_NS

    def publish(self, event: wire.AccountEvent) -> None:
        for conn, known in self.conns.items():
            if known:
                self._send(conn, JSON.encode(event).decode())

    def next_event_ns(self) -> int | None:
        return self._heartbeat_ns if any(self.conns.values()) else None

    def advance(self, now_ns: int) -> None:
        while any(self.conns.values()) and self._heartbeat_ns <= now_ns:
            self.publish(wire.AccountEvent(event="heartbeat", status="active", timestamp=self._heartbeat_ns // MS))
            self._heartbeat_ns += facts.HEARTBEAT_NS


class _Reader(msgspec.Struct):
    sessionid: str = ""
    symbols: list[str] = []
    kinds: list[str] = []
    end: str = ""  # of each message: by HTTP a line feed, where that was asked for
    is_lines: bool = False


class MarketStream:
    """Quotes and trades as the market ticks. The same ticket again, on the same connection, changes the symbols and not the kinds."""

    KINDS = ("quote", "trade", "summary", "timesale", "tradex")

    def __init__(self, tickets: Tickets, data: MarketData, market: Market, send: Send) -> None:
        self._tickets = tickets
        self._data = data
        self._market = market
        self._send = send
        self._tick = 0
        self._blank_ns = 0
        self._quoted: dict[tuple[int, str], object] = {}
        self.conns: dict[int, _Reader] = {}

    def open(self, conn: int) -> None:
        self.conns[conn] = _Reader()

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        try:
            asked = msgspec.json.decode(frame, type=wire.MarketRequest)
        except msgspec.DecodeError:
            asked = wire.MarketRequest(symbols=[], sessionid="")
        self._ask(conn, asked, now_ns)

    def ask(self, conn: int, form: Mapping[str, str], now_ns: int) -> None:
        """By one long GET: what the first frame would have said is in its query, and nothing can be said later. Blank lines keep it open."""
        symbols, kinds = (form[name].split(",") if name in form else [] for name in ("symbols", "filter"))
        self.conns[conn] = _Reader(is_lines=True, end="\n" if form.get("linebreak", "").lower() == "true" else "")
        self._blank_ns = now_ns + facts.HEARTBEAT_NS
        self._ask(conn, wire.MarketRequest(symbols=symbols, sessionid=form["sessionid"], filter=kinds), now_ns)

    def _ask(self, conn: int, asked: wire.MarketRequest, now_ns: int) -> None:
        reader = self.conns[conn]
        if not asked.symbols or (asked.sessionid != reader.sessionid and not self._tickets.take(asked.sessionid, now_ns)):
            _complain(self._send, conn, reader.end)
            return
        if not reader.sessionid:
            for other in [other for other, known in self.conns.items() if known.sessionid]:
                self._send(other, None)
                self.conns.pop(other)
            reader.sessionid, reader.kinds = asked.sessionid, asked.filter or list(self.KINDS)
            self._tick = now_ns // TICK_NS
        reader.symbols = [name for name in asked.symbols if self._data.quote(name, now_ns) is not None]
        for name in reader.symbols:
            self._quoted.pop((conn, name), None)

    def next_event_ns(self) -> int | None:
        times = [(self._tick + 1) * TICK_NS] if any(reader.symbols for reader in self.conns.values()) else []
        times += [self._blank_ns] if self._lines() else []
        return min(times, default=None)

    def _lines(self) -> list[int]:
        return [conn for conn, reader in self.conns.items() if reader.is_lines and reader.sessionid]

    def advance(self, now_ns: int) -> None:
        while self._blank_ns <= now_ns and (lines := self._lines()):
            for conn in lines:
                self._send(conn, "\n")
            self._blank_ns += facts.HEARTBEAT_NS
        last = now_ns // TICK_NS
        if any(reader.symbols for reader in self.conns.values()):
            for tick in range(max(self._tick + 1, last - CATCH_UP_TICKS + 1), last + 1):
                for conn, reader in self.conns.items():
                    for name in reader.symbols:
                        self._publish(conn, reader, name, tick)
        self._tick = max(self._tick, last)

    def _publish(self, conn: int, reader: _Reader, name: str, place: int) -> None:
        """A quote where it has changed, a trade where one was; prices of trades are strings, as Tradier writes them."""
        listing = self._market.listings[name]
        if not listing.sessions.is_open(place * TICK_NS, extended=True):
            return
        tick, unit = self._market.tick(name, place), listing.unit
        touch, at = (tick.bids[:1], tick.asks[:1]), str(tick.time_ns // MS)
        if "quote" in reader.kinds and self._quoted.get((conn, name)) != touch:
            self._quoted[conn, name] = touch
            bid, ask, size = tick.bids[:1], tick.asks[0], 100 if name not in self._market_options() else 1
            frame = {
                "type": "quote",
                "symbol": name,
                "bid": number((bid[0][0] if bid else 0) * unit),
                "bidsz": int(bid[0][1] * LOT) // size if bid else 0,
            }
            frame |= {"bidexch": "Q", "biddate": at, "ask": number(ask[0] * unit), "asksz": int(ask[1] * LOT) // size, "askexch": "Q", "askdate": at}
            self._tell(conn, frame)
        if tick.printed is not None:
            price, lots = plain(tick.printed.price * unit), plain(tick.printed.lots * LOT)
            if "trade" in reader.kinds:
                self._tell(
                    conn, {"type": "trade", "symbol": name, "exch": "Q", "price": price, "size": lots, "cvol": lots, "date": at, "last": price}
                )
            if "timesale" in reader.kinds:
                regular = listing.sessions.is_open(place * TICK_NS)
                sale = {
                    "type": "timesale",
                    "symbol": name,
                    "exch": "Q",
                    "last": price,
                    "size": lots,
                    "date": at,
                    "seq": place % 1_000_000,
                    "flag": "",
                }
                self._tell(conn, sale | {"cancel": False, "correction": False, "session": "normal" if regular else "extended"})

    def _market_options(self) -> frozenset[str]:
        return frozenset(name for name in self._market.listings if len(name) > 15)

    def _tell(self, conn: int, frame: object) -> None:
        self._send(conn, JSON.encode(frame).decode() + self.conns[conn].end)


def _complain(send: Send, conn: int, end: str = "") -> None:
    send(conn, f'{{"error":"Session not found"}}{end}')
    send(conn, None)
