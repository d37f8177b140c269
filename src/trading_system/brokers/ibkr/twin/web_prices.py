"""The Web API's prices on the simulated market: snapshots that have to be asked for twice, bars, and what changes for each subscription."""

from collections.abc import Callable, Iterable
from decimal import Decimal

import msgspec

from trading_system.brokers.ibkr.twin.universe import Line
from trading_system.brokers.ibkr.web.wire import ASK, ASK_SIZE, AVAILABILITY, BID, BID_SIZE, LAST, LAST_SIZE
from trading_system.domain.money import plain
from trading_system.sim.market import LOT, TICK_NS, Market
from trading_system.sim.sessions import DAY_NS, MINUTE_NS, new_york_day, new_york_ns

MS = 1_000_000
EVERY_NS = 4 * TICK_NS
POINTS_MAX = 1_000
BARS = {
    "1min": MINUTE_NS,
    "2min": 2 * MINUTE_NS,
    "3min": 3 * MINUTE_NS,
    "5min": 5 * MINUTE_NS,
    "10min": 10 * MINUTE_NS,
    "15min": 15 * MINUTE_NS,
    "30min": 30 * MINUTE_NS,
    "1h": 60 * MINUTE_NS,
    "2h": 120 * MINUTE_NS,
    "3h": 180 * MINUTE_NS,
    "4h": 240 * MINUTE_NS,
    "8h": 480 * MINUTE_NS,
    "1d": DAY_NS,
}
PERIOD_MAX = {"min": 30, "h": 8, "d": 1_000, "w": 792, "m": 182, "y": 15}  # as the reference has it: {1-30}min, {1-8}h, {1-1000}d and so on
_SPANS = {"min": MINUTE_NS, "h": 60 * MINUTE_NS, "d": DAY_NS, "w": 7 * DAY_NS, "m": 30 * DAY_NS, "y": 365 * DAY_NS}


class Stream(msgspec.Struct, kw_only=True):
    """One subscription of one socket."""

    line: Line
    fields: tuple[str, ...]
    shown: dict[str, str]


class Prices:
    """What the market shows, in the Web API's field numbers."""

    def __init__(self, market: Market, tell: Callable[[int, object], None]) -> None:
        self.streams: dict[tuple[int, int], Stream] = {}  # by socket and contract
        self.warm: set[int] = set()  # contracts that were asked for once
        self._market = market
        self._tell = tell
        self._at_ns = 0

    def snapshot(self, line: Line, fields: Iterable[str], now_ns: int) -> dict[str, object]:
        """The first question for a contract is answered with its number alone."""
        row: dict[str, object] = {"conidEx": str(line.con_id), "conid": line.con_id, "server_id": "q0"}
        if line.con_id in self.warm:
            found = self._fields(line, now_ns)
            row |= {"_updated": now_ns // MS, **{field: found[field] for field in fields if field in found}}
        self.warm.add(line.con_id)
        return row

    def _fields(self, line: Line, now_ns: int) -> dict[str, str]:
        tick, unit = self._market.latest(line.name, now_ns), self._market.listings[line.name].unit
        found = {AVAILABILITY: "RpB", ASK: _price(tick.asks[0][0] * unit), ASK_SIZE: f"{tick.asks[0][1] * LOT:,f}"}
        if tick.bids:
            found |= {BID: _price(tick.bids[0][0] * unit), BID_SIZE: f"{tick.bids[0][1] * LOT:,f}"}
        last = self._market.last_print(line.name, now_ns)
        if last is not None:
            found |= {LAST: _price(last.price * unit), LAST_SIZE: f"{last.lots * LOT:,f}"}
        return found

    def subscribe(self, conn: int, line: Line, fields: tuple[str, ...], now_ns: int) -> None:
        self.streams[conn, line.con_id] = Stream(line=line, fields=fields, shown={})
        self._push(conn, self.streams[conn, line.con_id], now_ns)

    def closed(self, conn: int) -> None:
        for key in [key for key in self.streams if key[0] == conn]:
            del self.streams[key]

    def next_event_ns(self) -> int | None:
        return (self._at_ns // EVERY_NS + 1) * EVERY_NS if self.streams else None

    def advance(self, now_ns: int) -> None:
        if now_ns // EVERY_NS > self._at_ns // EVERY_NS:
            for (conn, _), stream in self.streams.items():
                self._push(conn, stream, now_ns)
        self._at_ns = max(self._at_ns, now_ns)

    def _push(self, conn: int, stream: Stream, now_ns: int) -> None:
        """What has changed since it was last told."""
        found = self._fields(stream.line, now_ns)
        news = {field: found[field] for field in stream.fields if field in found and stream.shown.get(field) != found[field]}
        if news:
            stream.shown |= news
            con_id = stream.line.con_id
            head = {"topic": f"smd+{con_id}", "conid": con_id, "conidEx": str(con_id), "server_id": "q0", "_updated": now_ns // MS}
            self._tell(conn, head | news)

    def history(self, line: Line, period: str, bar: str, start: str, end_ns: int) -> dict[str, object] | None:
        """Bars up to an end; None: words that nobody knows, or a period that is too long in its unit."""
        count, unit = period.rstrip("minhdwy"), period.lstrip("0123456789")
        if bar not in BARS or unit not in _SPANS or not count.isdecimal() or not 1 <= int(count) <= PERIOD_MAX[unit]:
            return None
        period_ns, begin = BARS[bar], end_ns - int(count) * _SPANS[unit]
        rows = list(self._bars(line, period_ns, begin, end_ns))[-POINTS_MAX:]
        return {
            "serverId": "20477",
            "symbol": line.symbol,
            "text": line.title,
            "priceFactor": 100,
            "startTime": start,
            "timePeriod": period,
            "barLength": period_ns // 1_000_000_000,
            "mdAvailability": "S",
            "mktDataDelay": 0,
            "outsideRth": False,
            "volumeFactor": 1,
            "data": rows,
            "points": len(rows) - 1,
            "travelTime": 48,
        }

    def _bars(self, line: Line, period_ns: int, start_ns: int, end_ns: int) -> Iterable[dict[str, object]]:
        listing = self._market.listings[line.name]
        begin = _begin(start_ns, period_ns)
        while begin < end_ns:
            after = _begin(begin + period_ns + (120 * MINUTE_NS if period_ns == DAY_NS else 0), period_ns)
            numbers = [
                number
                for number in range(begin // MINUTE_NS, after // MINUTE_NS)
                if (number + 1) * MINUTE_NS <= end_ns and listing.sessions.is_open(number * MINUTE_NS)
            ]
            found = self._market.bar(line.name, begin, numbers) if begin >= start_ns else None
            if found is not None:
                prices = {name: value * listing.unit for name, value in zip("ohlc", (found.open, found.high, found.low, found.close), strict=True)}
                yield {"t": begin // MS, **prices, "v": found.volume * listing.size}
            begin = after


def _begin(at_ns: int, period_ns: int) -> int:
    """Where the bar begins that holds an instant: days begin at New York's midnight."""
    return new_york_ns(new_york_day(at_ns), 0) if period_ns == DAY_NS else at_ns // period_ns * period_ns


def _price(value: Decimal) -> str:
    """With commas, as people read it.

    >>> _price(Decimal("95012.50"))
    '95,012.5'
    """
    return f"{Decimal(plain(value)):,f}"
