"""Simulated prices as a pure function of seed and time: any minute of the past can be asked for again and is the same.

The price at each minute is noise summed over time scales from one minute to half a year, weighted as a random walk's. Within a minute it visits its
open, high, low and close; prints and quotes follow that path tick by tick (250 ms), so that bars, trades and quotes agree with one another.
A recorded market has its minutes from a file and the same path within them. Own orders do not move it: the depth they eat is the exchange's matter.
"""

import csv
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Protocol

import msgspec

from trading_system.domain.fix import Side
from trading_system.sim.sessions import MINUTE_NS, Sessions, new_york_day

TICK_NS = 250_000_000
TICKS = MINUTE_NS // TICK_NS  # per minute
MIN_PRINTS, SPAN_PRINTS = 24, 32  # trades per minute: 24 … 55
LEVELS = 5  # of depth on each side
HISTORY_NS = 1_451_606_400_000_000_000  # 2016-01-01: nothing is older
LOT = Decimal("0.000000001")
_SCALES = tuple(8**level for level in range(7))  # minutes: 1, 8, … 262,144 (half a year)
_MINUTES_PER_YEAR = 525_600
_MASK = (1 << 64) - 1
_LONG, _BARS_KEPT = 60, 4_096  # bars of so many minutes are remembered, and how many of them


def mix(seed: int, index: int) -> int:
    """64 well-mixed bits of a pair of numbers. Source: splitmix64 (Steele, Lea, Flood 2014)."""
    z = (seed + index * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def seed_of(seed: int, name: str) -> int:
    """An own stream of noise for every name."""
    value = seed & _MASK
    for byte in name.encode():
        value = mix(value, byte + 1)
    return value


def _signed(bits: int) -> float:
    """A number of variance one between -2.4 and 2.4: two uniform halves of the bits added up."""
    return ((bits & 0xFFFFFFFF) + (bits >> 32) - 0xFFFFFFFF) / 0xFFFFFFFF * math.sqrt(6)


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One instrument as the market makes it: prices in whole units of `unit` money, quantities in lots of 1e-9."""

    symbol: str
    price: Decimal  # where the walk is centred
    unit: Decimal
    tick: int = 1  # units
    volatility: float = 0.3  # per year
    spread: int = 1  # ticks, or one more
    size: Decimal = Decimal(1)  # sizes are multiples of this
    touch: int  # typical sizes at the best price
    sessions: Sessions

    @property
    def size_lots(self) -> int:
        return int(self.size / LOT)


class Minute(msgspec.Struct, frozen=True):
    """One minute in price units, volume in sizes. prints is the number of trades, 0 for none; path are the (tick, price) to pass, from tick 0 on."""

    number: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    prints: int
    noise: int
    path: tuple[tuple[int, int], ...]

    def price(self, tick: int) -> int:
        """Where the path is at a tick of this minute; between two points in a straight line (unrounded to the listing's tick)."""
        before = self.path[0]
        for after in self.path[1:]:
            if tick < after[0]:
                return before[1] + (after[1] - before[1]) * (tick - before[0]) // (after[0] - before[0])
            before = after
        return before[1]


class Print(msgspec.Struct, frozen=True):
    """One trade of the market; lots. side is the aggressor's."""

    trade_id: int
    time_ns: int
    price: int
    lots: int
    side: Side


class Tick(msgspec.Struct, frozen=True):
    """The market in one 250 ms step: depth, best first, as (price, lots), and the trade that printed, if one did."""

    number: int
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]
    printed: Print | None

    @property
    def time_ns(self) -> int:
        return self.number * TICK_NS


class Bar(msgspec.Struct, frozen=True):
    """Open to close in price units, volume in sizes, vwap in price units."""

    start_ns: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    prints: int
    vwap: Decimal


class Source(Protocol):
    """Where the minutes of one instrument come from."""

    def minute(self, number: int) -> Minute: ...


class Derived(Source, Protocol):
    """An instrument whose market is made of another's: its ticks and trades are its own, not a path's."""

    def tick(self, number: int) -> Tick: ...

    def reach(self, number: int) -> tuple[int, int]:
        """Prices beyond which nothing trades or is quoted in a minute; they may be wider than what is."""
        ...

    def prints(self, number: int) -> Sequence[Print]:
        """The trades of a minute."""
        ...


class Walk:
    """A seeded random walk that can be asked at any minute."""

    def __init__(self, listing: Listing, seed: int) -> None:
        self._listing = listing
        self._seed = seed_of(seed, listing.symbol)
        self._step = listing.volatility / math.sqrt(_MINUTES_PER_YEAR)
        # Noise interpolated between grid points n minutes apart shall move about as a walk does in n minutes.
        self._scales = [(scale, self._step * math.sqrt(scale), mix(self._seed, scale)) for scale in _SCALES]
        self._log = math.log(listing.price / listing.unit / listing.tick)
        self._held: list[tuple[int, float, float]] = [(-1, 0.0, 0.0)] * len(_SCALES)  # each scale's last interval
        self._next = (-1, 0)  # where the last minute ended is where the one after it begins

    def _at(self, number: int) -> int:
        """Price in units at the start of a minute, on the tick grid."""
        value = self._log
        for place, (scale, weight, seed) in enumerate(self._scales):
            index, rest = divmod(number, scale)
            held = self._held[place]
            if held[0] != index:
                held = self._held[place] = (index, _signed(mix(seed, index)), _signed(mix(seed, index + 1)))
            value += weight * (held[1] + (held[2] - held[1]) * (rest / scale))
        return max(1, round(math.exp(value))) * self._listing.tick

    def minute(self, number: int) -> Minute:
        tick = self._listing.tick
        first = self._next[1] if self._next[0] == number else self._at(number)
        last = self._at(number + 1)
        self._next = (number + 1, last)
        noise = mix(self._seed ^ 0x5DEECE66D, number)
        reach = int(first * self._step * 4096)  # one minute's standard deviation, in 4096ths
        above = (reach * (noise & 0xFFF) >> 24) // tick * tick
        below = (reach * (noise >> 12 & 0xFFF) >> 24) // tick * tick
        high, low = max(first, last) + above, max(tick, min(first, last) - below)
        prints = MIN_PRINTS + (noise >> 24) % SPAN_PRINTS
        volume = max(prints, prints * self._listing.touch * (64 + (noise >> 30 & 0xFF)) // 256)
        one = 1 + (noise >> 40 & 0xFFF) % (prints - 2)
        two = 1 + (noise >> 52) % (prints - 2)
        if one == two:
            two = one + 1 if one < prints - 2 else one - 1
        early, late = min(one, two), max(one, two)
        turns = (high, low) if noise >> 38 & 1 else (low, high)
        path = ((0, first), (_tick_of(early, prints), turns[0]), (_tick_of(late, prints), turns[1]), (_tick_of(prints - 1, prints), last))
        return Minute(number, first, high, low, last, volume, prints, noise, path)


class Recording:
    """Minutes from a file: bars, or prices that become bars. Before the first one its open holds; in gaps and after the last, the last close."""

    def __init__(self, minutes: Mapping[int, Minute]) -> None:
        self._minutes = minutes
        self._numbers = sorted(minutes)

    def starting(self, number: int) -> "Recording":
        """The same prices, as if the first minute were that one: yesterday's file replayed from now on."""
        shift = number - self._numbers[0]
        return Recording({at + shift: msgspec.structs.replace(minute, number=at + shift) for at, minute in self._minutes.items()})

    def minute(self, number: int) -> Minute:
        found = self._minutes.get(number)
        if found is not None:
            return found
        place = bisect_right(self._numbers, number)
        price = self._minutes[self._numbers[place - 1]].close if place else self._minutes[self._numbers[0]].open
        return Minute(number, price, price, price, price, 0, 0, number, ((0, price),))


def read_recording(lines: Iterable[str], listing: Listing, *, jsonl: bool = False) -> Recording:
    """Prices of one listing from CSV with a header, or JSON lines. Columns: time (RFC 3339 with offset, or nanoseconds), symbol (optional), and
    open, high, low, close, volume (a minute bar) or price and size (one trade; size optional).

    Raises: ValueError: names the line that cannot be read. The owner mends the file.
    """
    rows: Iterable[Mapping[str, object]] = (json.loads(line) for line in lines if line.strip()) if jsonl else csv.DictReader(lines)
    minutes: dict[int, Minute] = {}
    for place, row in enumerate(rows, start=1 if jsonl else 2):
        try:
            if row.get("symbol") in (None, "", listing.symbol):
                _add(minutes, row, listing)
        except (KeyError, ArithmeticError, ValueError) as error:
            raise ValueError(f"line {place}: {error}; wanted: time, and open, high, low, close, volume, or price, size") from error
    if not minutes:
        raise ValueError(f"no prices of {listing.symbol}")
    return Recording(minutes)


def _add(minutes: dict[int, Minute], row: Mapping[str, object], listing: Listing) -> None:
    time_ns = _time_ns(str(row["time"]))
    number = time_ns // MINUTE_NS
    if row.get("price"):
        tick = time_ns // TICK_NS % TICKS
        price = _units(row["price"], listing)
        size = max(1, int(Decimal(str(row.get("size") or listing.size)) / listing.size))
        had = minutes.get(number) or Minute(number, price, price, price, price, 0, 0, number, ((0, price),))
        minutes[number] = Minute(
            number,
            had.open,
            max(had.high, price),
            min(had.low, price),
            price,
            had.volume + size,
            min(MIN_PRINTS + SPAN_PRINTS, had.prints + 1),
            number,
            (*(point for point in had.path if point[0] < tick), (tick, price)),
        )
        return
    o, h, l, c = (_units(row[name], listing) for name in ("open", "high", "low", "close"))  # noqa: E741
    if not l <= min(o, c) <= max(o, c) <= h:
        raise ValueError("high and low do not enclose open and close")
    volume = max(int(Decimal(str(row["volume"])) / listing.size), MIN_PRINTS)
    prints = MIN_PRINTS
    path = ((0, o), (_tick_of(7, prints), l if c >= o else h), (_tick_of(15, prints), h if c >= o else l), (_tick_of(prints - 1, prints), c))
    minutes[number] = Minute(number, o, h, l, c, volume, prints, number, path)


def _units(value: object, listing: Listing) -> int:
    price = Decimal(str(value))
    if price <= 0 or price % (listing.unit * listing.tick):
        raise ValueError(f"{price} is no price on the grid of {listing.unit * listing.tick}")
    return int(price / listing.unit)


def _time_ns(text: str) -> int:
    if text.isdigit():
        return int(text)
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000


def _tick_of(place: int, prints: int) -> int:
    """The tick of a minute's nth print."""
    return place * TICKS // prints


class Market:
    """Every listing's prices. The same question has the same answer for ever, but for a split, which changes what a unit of price is worth."""

    def __init__(self, listings: Iterable[Listing], seed: int, recordings: Mapping[str, Source] | None = None) -> None:
        """recordings: where the minutes of a listing come from, if not from a walk of its own."""
        self.listings = {listing.symbol: listing for listing in listings}
        self._seed = seed
        recorded = recordings or {}
        self._minute: dict[str, Callable[[int], Minute]] = {
            name: lru_cache(maxsize=2048)((recorded.get(name) or Walk(listing, seed)).minute) for name, listing in self.listings.items()
        }
        self._seeds = {name: seed_of(seed, "depth " + name) for name in self.listings}
        self._ticks: dict[str, Tick] = {}
        self._bars: dict[tuple[str, int, int, int, int], Bar | None] = {}
        self._derived: dict[str, Derived] = {}

    def enlist(self, listing: Listing) -> None:
        """List one more instrument, with a walk of its own."""
        self.listings[listing.symbol] = listing
        self._minute[listing.symbol] = lru_cache(maxsize=2048)(Walk(listing, self._seed).minute)
        self._seeds[listing.symbol] = seed_of(self._seed, "depth " + listing.symbol)

    def derive(self, listing: Listing, source: Derived) -> None:
        """List one more instrument, made of those that are listed."""
        self.listings[listing.symbol] = listing
        self._derived[listing.symbol] = source
        self._minute[listing.symbol] = lru_cache(maxsize=256)(source.minute)

    def relist(self, listing: Listing) -> None:
        """The same walk in other units of price, its past included: what a chart adjusted for a split shows."""
        self.listings[listing.symbol] = listing
        self._ticks.pop(listing.symbol, None)

    def minute(self, symbol: str, number: int) -> Minute:
        return self._minute[symbol](number)

    def reach(self, symbol: str, number: int) -> tuple[int, int]:
        """The lowest and the highest price at which anything can happen in a minute."""
        if symbol in self._derived:
            return self._derived[symbol].reach(number)
        minute = self.minute(symbol, number)
        return minute.low, minute.high

    def tick(self, symbol: str, number: int) -> Tick:
        """The market in one step of 250 ms, counted from the epoch, whether it is open or not."""
        held = self._ticks.get(symbol)
        if held is None or held.number != number:
            held = self._ticks[symbol] = self._tick(self.listings[symbol], number)
        return held

    def latest(self, symbol: str, now_ns: int) -> Tick:
        """The last tick of open (extended) hours up to now."""
        sessions = self.listings[symbol].sessions
        if not sessions.always and not sessions.is_open(now_ns, extended=True):
            now_ns = _last_open_ns(sessions, now_ns)
        return self.tick(symbol, now_ns // TICK_NS)

    def _tick(self, listing: Listing, number: int) -> Tick:
        if listing.symbol in self._derived:
            return self._derived[listing.symbol].tick(number)
        minute = self._minute[listing.symbol](number // TICKS)
        place = number % TICKS
        price = minute.price(place) // listing.tick * listing.tick
        order = place * minute.prints // TICKS if minute.prints else 0  # of the last print up to now, or one less
        if minute.prints and order + 1 < minute.prints and _tick_of(order + 1, minute.prints) <= place:
            order += 1
        bits = mix(self._seeds[listing.symbol], number)
        lifted = mix(minute.noise, order) & 1  # the last aggressor bought: the price stands at the offer
        spread = (listing.spread + (bits & 3 == 3)) * listing.tick
        bid, ask = (price - spread, price) if lifted else (price, price + spread)
        size = listing.size_lots
        bids, asks = [], []
        for level in range(LEVELS):
            bits >>= 6
            typical = listing.touch * (2 + level) // 2
            if bid > 0:
                bids.append((bid, max(1, typical * (1 + (bits & 7)) // 4) * size))
            asks.append((ask, max(1, typical * (1 + (bits >> 3 & 7)) // 4) * size))
            bid -= listing.tick * (1 + (bits & 1))
            ask += listing.tick * (1 + (bits >> 1 & 1))
        printed = None
        if minute.prints and _tick_of(order, minute.prints) == place:
            printed = self._print(listing, minute, order)
        return Tick(number, tuple(bids), tuple(asks), printed)

    def _print(self, listing: Listing, minute: Minute, order: int) -> Print:
        """The nth trade of a minute. Sizes vary in pairs, so that they add up to the minute's volume."""
        place = _tick_of(order, minute.prints)
        share, rest = divmod(minute.volume, minute.prints)
        swing = mix(minute.noise, 1000 + order // 2) % share if share and order // 2 * 2 + 1 < minute.prints else 0
        sizes = share + (swing if order % 2 else -swing) + (rest if order == minute.prints - 1 else 0)
        return Print(
            trade_id=minute.number * 64 + order,
            time_ns=(minute.number * TICKS + place) * TICK_NS,
            price=minute.price(place) // listing.tick * listing.tick,
            lots=max(1, sizes) * listing.size_lots,
            side=Side.BUY if mix(minute.noise, order) & 1 else Side.SELL,
        )

    # -- history ---------------------------------------------------------------------------------------------------------------------------------

    def minutes(self, symbol: str, start_ns: int, end_ns: int, *, reverse: bool = False) -> Iterator[int]:
        """Numbers of the open (extended hours) minutes that begin in [start_ns, end_ns), of a past that starts in 2016."""
        sessions = self.listings[symbol].sessions
        start_ns = max(start_ns, HISTORY_NS)
        if start_ns >= end_ns:
            return
        first, last = new_york_day(start_ns), new_york_day(end_ns + _DAY_AHEAD_NS)
        days: Iterator[date] = (first + timedelta(days=place) for place in range((last - first).days + 1))
        if reverse:
            days = (last - timedelta(days=place) for place in range((last - first).days + 1))
        for day in days:
            session = sessions.on(day)
            if session is not None:
                low = -(-max(start_ns, session.early_ns) // MINUTE_NS)
                high = -(-min(end_ns, session.late_ns) // MINUTE_NS)
                yield from range(high - 1, low - 1, -1) if reverse else range(low, high)

    def prints(self, symbol: str, start_ns: int, end_ns: int, *, reverse: bool = False) -> Iterator[Print]:
        """Trades with start_ns <= time < end_ns."""
        listing = self.listings[symbol]
        for number in self.minutes(symbol, start_ns // MINUTE_NS * MINUTE_NS, end_ns, reverse=reverse):
            if symbol in self._derived:
                done = self._derived[symbol].prints(number)
                yield from (one for one in (reversed(done) if reverse else done) if start_ns <= one.time_ns < end_ns)
                continue
            minute = self._minute[symbol](number)
            for order in range(minute.prints - 1, -1, -1) if reverse else range(minute.prints):
                time_ns = (number * TICKS + _tick_of(order, minute.prints)) * TICK_NS
                if start_ns <= time_ns < end_ns:
                    yield self._print(listing, minute, order)

    def quotes(self, symbol: str, start_ns: int, end_ns: int, *, reverse: bool = False) -> Iterator[Tick]:
        """One tick a step with start_ns <= time < end_ns; quotes are never older than 250 ms."""
        listing = self.listings[symbol]
        for number in self.minutes(symbol, start_ns // MINUTE_NS * MINUTE_NS, end_ns, reverse=reverse):
            ticks = range(number * TICKS, (number + 1) * TICKS)
            for tick in reversed(ticks) if reverse else ticks:
                if start_ns <= tick * TICK_NS < end_ns:
                    yield self._tick(listing, tick)

    def last_print(self, symbol: str, now_ns: int) -> Print | None:
        return next(self.prints(symbol, now_ns - _LOOK_BACK_NS, now_ns + 1, reverse=True), None)

    def last_bar(self, symbol: str, now_ns: int) -> Bar | None:
        """The last minute that is over and in which something traded."""
        over = self.minutes(symbol, now_ns - _LOOK_BACK_NS, now_ns // MINUTE_NS * MINUTE_NS, reverse=True)
        return next((bar for number in over if (bar := self.bar(symbol, number * MINUTE_NS, (number,)))), None)

    def bar(self, symbol: str, start_ns: int, numbers: Iterable[int]) -> Bar | None:
        """The bar that these minutes make; None when nothing traded in them. Long ones are kept: a strategy asks for its days again and again."""
        wanted = tuple(numbers)
        if len(wanted) < _LONG:
            return self._made(symbol, start_ns, wanted)
        key = (symbol, start_ns, wanted[0], wanted[-1], len(wanted))
        if key not in self._bars:
            if len(self._bars) >= _BARS_KEPT:
                del self._bars[next(iter(self._bars))]
            self._bars[key] = self._made(symbol, start_ns, wanted)
        return self._bars[key]

    def _made(self, symbol: str, start_ns: int, numbers: Sequence[int]) -> Bar | None:
        parts = [minute for minute in map(self._minute[symbol], numbers) if minute.prints]
        if not parts:
            return None
        volume = sum(part.volume for part in parts)
        turnover = sum((part.open + part.high + part.low + part.close) * part.volume for part in parts)  # each minute's middle stands for its trades
        return Bar(
            start_ns,
            parts[0].open,
            max(part.high for part in parts),
            min(part.low for part in parts),
            parts[-1].close,
            volume,
            sum(part.prints for part in parts),
            Decimal(turnover) / (4 * volume),
        )


_DAY_AHEAD_NS = 7 * 60 * MINUTE_NS  # a day of forex begins so long before midnight
_LOOK_BACK_NS = 10 * 24 * 60 * MINUTE_NS  # over the longest holiday


def _last_open_ns(sessions: Sessions, now_ns: int) -> int:
    """The last instant of open (extended) hours before a closed now."""
    day = new_york_day(now_ns + _DAY_AHEAD_NS)
    for _ in range(14):
        session = sessions.on(day)
        if session is not None and session.late_ns <= now_ns:
            return session.late_ns - 1
        day -= timedelta(days=1)
    raise AssertionError("a fortnight without a session")
