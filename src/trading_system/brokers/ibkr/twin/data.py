"""The twin's prices: ticks as they change, snapshots, tick by tick, bars, past ticks, and option days and strikes."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from trading_system.brokers.ibkr.twin.contracts import Contracts
from trading_system.brokers.ibkr.twin.forms import Refusal, error
from trading_system.brokers.ibkr.twin.universe import Line
from trading_system.brokers.ibkr.wire import Tells, Tick, Value, join
from trading_system.domain.money import ZERO
from trading_system.sim.market import LOT, TICK_NS, Bar, Market, Print
from trading_system.sim.sessions import DAY_NS, MINUTE_NS, SECOND_NS, new_york_day, new_york_ns, new_york_offset_ns

Send = Callable[[int, bytes], None]
EVERY_NS = 4 * TICK_NS  # ticks of a quote are gathered for so long, as TWS gathers them
CATCH_UP_TICKS = 240
DEPTH = "depth"
INSERT, UPDATE, DELETE = range(3)
TICKS_MAX = 1_000  # of one question about the past
BARS_MAX = 5_000
_BARS = {
    "1 min": MINUTE_NS,
    "2 mins": 2 * MINUTE_NS,
    "3 mins": 3 * MINUTE_NS,
    "5 mins": 5 * MINUTE_NS,
    "10 mins": 10 * MINUTE_NS,
    "15 mins": 15 * MINUTE_NS,
    "20 mins": 20 * MINUTE_NS,
    "30 mins": 30 * MINUTE_NS,
    "1 hour": 60 * MINUTE_NS,
    "2 hours": 120 * MINUTE_NS,
    "3 hours": 180 * MINUTE_NS,
    "4 hours": 240 * MINUTE_NS,
    "8 hours": 480 * MINUTE_NS,
    "1 day": DAY_NS,
}
_SPANS = {"S": SECOND_NS, "D": DAY_NS, "W": 7 * DAY_NS, "M": 30 * DAY_NS, "Y": 365 * DAY_NS}


class Stream(msgspec.Struct, kw_only=True):
    """One line of market data. kind: quotes, or a tick-by-tick type."""

    conn: int
    request_id: int
    line: Line
    kind: str
    tick: int
    shown: tuple[object, ...] = ()


class Data:
    """Prices of the simulated market."""

    def __init__(self, contracts: Contracts, market: Market, send: Send) -> None:
        self.streams: dict[tuple[int, int], Stream] = {}
        self.competing = False  # another login of the same user has the prices
        self._contracts = contracts
        self._market = market
        self._send = send
        self._at_ns = 0

    # -- streams ---------------------------------------------------------------------------------------------------------------------------------

    def subscribe(self, conn: int, request_id: int, line: Line, kind: str, now_ns: int, *, snapshot: bool = False) -> None:
        """Raises Refusal: the number is in use, or the prices are another's."""
        if (conn, request_id) in self.streams:
            raise Refusal(102, "Duplicate ticker ID.")
        if self.competing:
            raise Refusal(10197, "No market data during competing live session")
        stream = Stream(conn=conn, request_id=request_id, line=line, kind=kind, tick=now_ns // TICK_NS)
        if snapshot:
            self._quote(stream, now_ns)
            self._model(stream, now_ns)
            self._send(conn, join(Tells.SNAPSHOT_END, 1, request_id))
            return
        self.streams[conn, request_id] = stream
        if kind == "quotes":
            self._quote(stream, now_ns)
            self._model(stream, now_ns)
        elif kind.startswith(DEPTH):
            self._depth(stream, now_ns)

    def _model(self, stream: Stream, now_ns: int) -> None:
        """What IB's model makes of an option: volatility and greeks."""
        contract = self._contracts.universe.terms[stream.line.name].contract
        if contract is None:
            return
        market = self._contracts.chains.market_of(contract)
        number = now_ns // TICK_NS
        known = market.value(number)
        greeks, spot = known.greeks, market.spot(number)
        figures = (known.volatility, greeks.delta, known.price, ZERO, greeks.gamma, greeks.vega, greeks.theta, spot)
        self._send(stream.conn, join(Tells.OPTION_TICK, stream.request_id, Tick.MODEL_OPTION, 0, *figures))

    def cancel(self, conn: int, request_id: int) -> None:
        """Raises Refusal: there is no such line."""
        if self.streams.pop((conn, request_id), None) is None:
            raise Refusal(300, f"Can't find EId with tickerId:{request_id}")

    def closed(self, conn: int) -> None:
        for key in [key for key in self.streams if key[0] == conn]:
            del self.streams[key]

    def next_event_ns(self) -> int | None:
        return (self._at_ns // EVERY_NS + 1) * EVERY_NS if self.streams else None

    def advance(self, now_ns: int) -> None:
        if now_ns // EVERY_NS > self._at_ns // EVERY_NS and not self.competing:
            for stream in self.streams.values():
                how = self._quote if stream.kind == "quotes" else self._depth if stream.kind.startswith(DEPTH) else self._by_tick
                how(stream, now_ns)
        self._at_ns = max(self._at_ns, now_ns)

    def _touch(self, line: Line, number: int) -> tuple[tuple[Decimal, Decimal], tuple[Decimal, Decimal]]:
        """Bid and offer with their sizes; minus one of nothing where nobody bids."""
        tick, unit = self._market.tick(line.name, number), self._market.listings[line.name].unit
        bid = (tick.bids[0][0] * unit, tick.bids[0][1] * LOT) if tick.bids else (Decimal(-1), ZERO)
        return bid, (tick.asks[0][0] * unit, tick.asks[0][1] * LOT)

    def _quote(self, stream: Stream, now_ns: int) -> None:
        """What has changed since it was last told, price and size apart."""
        line, number = stream.line, self._market.latest(stream.line.name, now_ns).number
        (bid, bid_size), (ask, ask_size) = self._touch(line, number)
        last = self._market.last_print(line.name, now_ns)
        if line.sec_type == "FUND":  # nobody bids: its last price is all that is told
            if stream.shown != (ask,):
                stream.shown = (ask,)
                self._send(stream.conn, join(Tells.TICK_PRICE, 6, stream.request_id, Tick.CLOSE, ask, ZERO, 0))
            return
        shown = (bid, bid_size, ask, ask_size, None if last is None else last.trade_id)
        before = stream.shown or (None,) * 5
        stream.shown = shown
        self._side(stream, Tick.BID, Tick.BID_SIZE, bid, bid_size, before[:2])
        self._side(stream, Tick.ASK, Tick.ASK_SIZE, ask, ask_size, before[2:4])
        if last is not None and before[4] != last.trade_id:
            price = last.price * self._market.listings[line.name].unit
            self._send(stream.conn, join(Tells.TICK_STRING, 6, stream.request_id, Tick.LAST_TIME, last.time_ns // SECOND_NS))
            self._send(stream.conn, join(Tells.TICK_PRICE, 6, stream.request_id, Tick.LAST, price, last.lots * LOT, 0))

    def _side(self, stream: Stream, kind: Tick, size_kind: Tick, price: Decimal, size: Decimal, before: tuple[object, ...]) -> None:
        if price != before[0]:
            self._send(stream.conn, join(Tells.TICK_PRICE, 6, stream.request_id, kind, price, size, 1))
        elif size != before[1]:
            self._send(stream.conn, join(Tells.TICK_SIZE, 6, stream.request_id, size_kind, size))

    def _depth(self, stream: Stream, now_ns: int) -> None:
        """The best levels row by row: new ones are inserted, others changed, and what is no more is taken away."""
        tick, unit = self._market.latest(stream.line.name, now_ns), self._market.listings[stream.line.name].unit
        rows = int(stream.kind.partition(" ")[2])
        shown = tuple(tuple((price * unit, lots * LOT) for price, lots in side[:rows]) for side in (tick.asks, tick.bids))
        before = stream.shown or ((), ())
        stream.shown = shown
        for side, (was, now) in enumerate(zip(before, shown, strict=True)):
            assert isinstance(was, tuple)
            for place, (price, size) in enumerate(now):
                if place >= len(was):
                    self._send(stream.conn, join(Tells.DEPTH, 1, stream.request_id, place, INSERT, side, price, size))
                elif was[place] != (price, size):
                    self._send(stream.conn, join(Tells.DEPTH, 1, stream.request_id, place, UPDATE, side, price, size))
            for place in reversed(range(len(now), len(was))):
                self._send(stream.conn, join(Tells.DEPTH, 1, stream.request_id, place, DELETE, side, 0, 0))

    def _by_tick(self, stream: Stream, now_ns: int) -> None:
        """Every quote or trade that is new."""
        last = now_ns // TICK_NS
        unit = self._market.listings[stream.line.name].unit
        for number in range(max(stream.tick + 1, last - CATCH_UP_TICKS), last + 1):
            tick = self._market.tick(stream.line.name, number)
            at = tick.time_ns // SECOND_NS
            if stream.kind == "BidAsk":
                (bid, bid_size), (ask, ask_size) = self._touch(stream.line, number)
                if (bid, bid_size, ask, ask_size) != stream.shown:
                    stream.shown = (bid, bid_size, ask, ask_size)
                    self._send(stream.conn, join(Tells.TICK_BY_TICK, stream.request_id, 3, at, bid, ask, bid_size, ask_size, 0))
            elif tick.printed is not None:
                kind = 1 if stream.kind == "Last" else 2
                done = tick.printed
                self._send(stream.conn, join(Tells.TICK_BY_TICK, stream.request_id, kind, at, done.price * unit, done.lots * LOT, 0, "ISLAND", ""))
        stream.tick = last

    # -- the past --------------------------------------------------------------------------------------------------------------------------------

    def history(self, request_id: int, line: Line, end: str, size: str, span: str, what: str, date_format: str, now_ns: int) -> bytes:
        """Bars up to an end. Raises Refusal: words that TWS does not know, or nothing there."""
        if size not in _BARS:
            raise Refusal(321, f"Error validating request.-'bh' : cause - Historical data bar size setting is invalid: {size}")
        count, _, unit = span.partition(" ")
        if unit not in _SPANS or not count.isdecimal() or (unit == "S" and int(count) > 86_400):
            raise Refusal(321, f"Error validating request.-'bh' : cause - Historical data query duration is invalid: {span}")
        if line.sec_type == "CASH" and what == "TRADES":
            raise Refusal(162, "Historical Market Data Service error message:No historical market data for EUR.USD@FXSUBPIP")
        end_ns = min(now_ns, _instant(end) if end else now_ns)
        start_ns, period_ns = end_ns - int(count) * _SPANS[unit], _BARS[size]
        bars = list(self._bars(line, period_ns, start_ns, end_ns))[-BARS_MAX:]
        if not bars:
            raise Refusal(162, "Historical Market Data Service error message:HMDS query returned no data")
        rows: list[Value] = []
        scale = self._market.listings[line.name].unit
        size_of = self._market.listings[line.name].size
        traded = what in ("TRADES", "AGGTRADES")
        for bar in bars:
            volume, average, prints = (bar.volume * size_of, bar.vwap * scale, bar.prints) if traded else (-1, -1, -1)
            rows += [_bar_time(bar.start_ns, period_ns, date_format), *(price * scale for price in (bar.open, bar.high, bar.low, bar.close))]
            rows += [volume, average, prints]
        return join(Tells.HISTORY, request_id, _dashed(start_ns), _dashed(end_ns), len(bars), *rows)

    def _bars(self, line: Line, period_ns: int, start_ns: int, end_ns: int) -> Iterable[Bar]:
        begin = _begin(start_ns, period_ns)
        while begin < end_ns:
            after = _begin(begin + period_ns + (2 * 60 * MINUTE_NS if period_ns == DAY_NS else 0), period_ns)
            if begin >= start_ns:
                numbers = [number for number in range(begin // MINUTE_NS, after // MINUTE_NS) if (number + 1) * MINUTE_NS <= end_ns]
                bar = self._market.bar(line.name, begin, self._open_minutes(line, numbers))
                if bar is not None:
                    yield bar
            begin = after

    def _open_minutes(self, line: Line, numbers: list[int]) -> list[int]:
        sessions = self._market.listings[line.name].sessions
        return [number for number in numbers if sessions.is_open(number * MINUTE_NS)]

    def ticks(self, request_id: int, line: Line, start: str, end: str, count: int, what: str, now_ns: int) -> bytes:
        """Trades from a start on, or up to an end; of quotes the like. Raises Refusal: both, or neither."""
        if bool(start) == bool(end):
            raise Refusal(10187, "Failed to request historical ticks:Please specify either start or end time")
        count = min(count, TICKS_MAX)
        if what == "TRADES":
            return self._past_trades(request_id, line, start, end, count, now_ns)
        if what != "BID_ASK":
            raise Refusal(10187, f"Failed to request historical ticks:{what} is not modelled here")
        begin, reverse = (_instant(start), False) if start else (0, True)
        until = now_ns if start else min(now_ns, _instant(end))
        found = []
        for tick in self._market.quotes(line.name, begin if not reverse else until - DAY_NS, until, reverse=reverse):
            found.append(tick)
            if len(found) >= count:
                break
        rows: list[Value] = []
        for tick in reversed(found) if reverse else found:
            (bid, bid_size), (ask, ask_size) = self._touch(line, tick.number)
            rows += [tick.time_ns // SECOND_NS, 0, bid, ask, bid_size, ask_size]
        return join(Tells.HISTORY_TICKS_BID_ASK, request_id, len(found), *rows, 1)

    def _past_trades(self, request_id: int, line: Line, start: str, end: str, count: int, now_ns: int) -> bytes:
        """Whole seconds: what a second began is told to its end, however many that are."""
        unit = self._market.listings[line.name].unit
        found: list[Print] = []
        if start:
            for done in self._market.prints(line.name, _instant(start), now_ns):
                if len(found) >= count and done.time_ns // SECOND_NS != found[-1].time_ns // SECOND_NS:
                    break
                found.append(done)
        else:
            until = min(now_ns, _instant(end))
            for done in self._market.prints(line.name, until - DAY_NS, until, reverse=True):
                if len(found) >= count:
                    break
                found.insert(0, done)
        rows: list[Value] = []
        for done in found:
            rows += [done.time_ns // SECOND_NS, 0, done.price * unit, done.lots * LOT, "ISLAND", ""]
        return join(Tells.HISTORY_TICKS_LAST, request_id, len(found), *rows, 1)

    def option_parameters(self, request_id: int, con_id: int, now_ns: int) -> Iterable[bytes]:
        """Days and strikes, without which of them go together."""
        underlying = self._contracts.by_id(con_id)
        if underlying is not None:
            days, strikes = self._contracts.chain(underlying, now_ns)
            if days:
                head: list[Value] = [Tells.OPTION_PARAMETERS, request_id, "SMART", con_id, underlying.symbol, "100"]
                yield join(*head, len(days), *days, len(strikes), *strikes)
        yield join(Tells.OPTION_PARAMETERS_END, request_id)

    def refuse(self, streams: Iterable[Stream], code: int, text: str) -> None:
        """Tell every line that it has ended."""
        for stream in streams:
            self._send(stream.conn, error(stream.request_id, code, text))


def _begin(at_ns: int, period_ns: int) -> int:
    """Where the bar begins that holds an instant: days begin at New York's midnight."""
    if period_ns == DAY_NS:
        return new_york_ns(new_york_day(at_ns), 0)
    return at_ns // period_ns * period_ns


def _bar_time(at_ns: int, period_ns: int, date_format: str) -> str:
    if period_ns >= DAY_NS:
        return f"{new_york_day(at_ns):%Y%m%d}"
    if date_format == "2":
        return str(at_ns // SECOND_NS)
    return f"{datetime.fromtimestamp((at_ns + new_york_offset_ns(at_ns)) // SECOND_NS, UTC):%Y%m%d %H:%M:%S} US/Eastern"


def _dashed(at_ns: int) -> str:
    return f"{datetime.fromtimestamp(at_ns // SECOND_NS, UTC):%Y%m%d-%H:%M:%S}"


def _instant(text: str) -> int:
    """Raises Refusal: neither 20260413-15:27:04 (UTC) nor a time with New York's zone."""
    day, _, zone = text.replace("-", " ").partition(" ")
    clock, _, zone = zone.partition(" ")
    try:
        at_ns = int(datetime.strptime(f"{day} {clock}", "%Y%m%d %H:%M:%S").replace(tzinfo=UTC).timestamp()) * SECOND_NS
    except ValueError:
        raise Refusal(10314, "End Date/Time: The date, time, or time-zone entered is invalid.") from None
    if ("-" in text and not zone) or zone == "UTC":
        return at_ns
    if zone not in ("US/Eastern", "America/New_York"):
        raise Refusal(10314, "End Date/Time: The date, time, or time-zone entered is invalid.")
    return at_ns - new_york_offset_ns(at_ns + 5 * 60 * MINUTE_NS)
