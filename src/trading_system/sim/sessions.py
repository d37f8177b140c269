"""When the simulated markets are open: round the clock, New York's stock hours with weekends, holidays and early closes, or forex's week.

New York's offset is computed from the law (second Sunday of March to first Sunday of November), so that no time zone file is read.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import msgspec

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
FOREX_CLOSE = 17 * 60  # minutes after midnight: where one day of forex ends and the next begins
_EPOCH = date(1970, 1, 1)

# nyse.com/trade/hours-calendars; beyond these years only weekends are closed
HOLIDAYS = frozenset(
    {
        date(2026, 1, 1),
        date(2026, 1, 19),
        date(2026, 2, 16),
        date(2026, 4, 3),
        date(2026, 5, 25),
        date(2026, 6, 19),
        date(2026, 7, 3),
        date(2026, 9, 7),
        date(2026, 11, 26),
        date(2026, 12, 25),
        date(2027, 1, 1),
        date(2027, 1, 18),
        date(2027, 2, 15),
        date(2027, 3, 26),
        date(2027, 5, 31),
        date(2027, 6, 18),
        date(2027, 7, 5),
        date(2027, 9, 6),
        date(2027, 11, 25),
        date(2027, 12, 24),
    }
)
EARLY_CLOSES = frozenset({date(2026, 11, 27), date(2026, 12, 24), date(2027, 11, 26)})


class Session(msgspec.Struct, frozen=True):
    """One trading day: regular hours open_ns <= t < close_ns, extended hours early_ns <= t < late_ns."""

    day: date
    open_ns: int
    close_ns: int
    early_ns: int
    late_ns: int


@lru_cache(maxsize=64)
def _dst(year: int) -> tuple[int, int]:
    """UTC nanoseconds between which New York is at -4 hours."""
    march, november = date(year, 3, 1), date(year, 11, 1)
    start = march + timedelta(days=(6 - march.weekday()) % 7 + 7)
    end = november + timedelta(days=(6 - november.weekday()) % 7)
    return _midnight(start) + 7 * HOUR_NS, _midnight(end) + 6 * HOUR_NS  # 2:00 local, before each change


def _midnight(day: date) -> int:
    return (day - _EPOCH).days * DAY_NS


def new_york_offset_ns(now_ns: int) -> int:
    """What to add to UTC: -5 or -4 hours."""
    start, end = _dst((_EPOCH + timedelta(days=now_ns // DAY_NS)).year)
    return -4 * HOUR_NS if start <= now_ns < end else -5 * HOUR_NS


def new_york_day(now_ns: int) -> date:
    return _EPOCH + timedelta(days=(now_ns + new_york_offset_ns(now_ns)) // DAY_NS)


def new_york_ns(day: date, minutes: int) -> int:
    """The instant of a New York wall clock time, given in minutes after midnight."""
    local = _midnight(day) + minutes * MINUTE_NS
    return local - new_york_offset_ns(local + 5 * HOUR_NS)


def iso(now_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds."""
    return f"{_seconds(now_ns // SECOND_NS)}.{now_ns % SECOND_NS:09d}Z"


@lru_cache(maxsize=256)
def _seconds(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class Sessions:
    """Trading days of one market. hours: "always" (every day is a session from midnight to midnight, New York), "us", or "forex", whose days begin at
    17:00 of the day before, from Sunday to Friday. extended: whether it also trades before and after its regular hours, as stocks do and options do
    not."""

    def __init__(self, hours: str = "always", *, extended: bool = True) -> None:
        if hours not in ("always", "us", "forex"):
            raise ValueError(f'hours are "always", "us" or "forex", not {hours!r}')
        self.always = hours == "always"
        self._forex = hours == "forex"
        self._extended = extended

    @lru_cache(maxsize=1024)  # noqa: B019 one or two of these live as long as the process
    def on(self, day: date) -> Session | None:
        """The session of a New York date; None on a closed day."""
        if self.always:
            start, end = new_york_ns(day, 0), new_york_ns(day + timedelta(days=1), 0)
            return Session(day, start, end, start, end)
        if self._forex:
            start, end = new_york_ns(day - timedelta(days=1), FOREX_CLOSE), new_york_ns(day, FOREX_CLOSE)
            return None if day.weekday() >= 5 else Session(day, start, end, start, end)
        if day.weekday() >= 5 or day in HOLIDAYS:
            return None
        close, late = (13 * 60, 17 * 60) if day in EARLY_CLOSES else (16 * 60, 20 * 60)
        open_ns, close_ns = new_york_ns(day, 9 * 60 + 30), new_york_ns(day, close)
        if not self._extended:
            return Session(day, open_ns, close_ns, open_ns, close_ns)
        return Session(day, open_ns, close_ns, new_york_ns(day, 4 * 60), new_york_ns(day, late))

    def at(self, now_ns: int) -> Session | None:
        """The session of this New York day, whether it has begun or is over."""
        return self.on(self._day(now_ns))

    def _day(self, now_ns: int) -> date:
        return new_york_day(now_ns + (DAY_NS - FOREX_CLOSE * MINUTE_NS if self._forex else 0))

    def is_open(self, now_ns: int, *, extended: bool = False) -> bool:
        session = self.at(now_ns)
        if session is None:
            return False
        return session.early_ns <= now_ns < session.late_ns if extended else session.open_ns <= now_ns < session.close_ns

    def next(self, now_ns: int) -> Session:
        """The first session that opens after now."""
        day = self._day(now_ns)
        for _ in range(14):  # no market stays closed for two weeks
            session = self.on(day)
            if session is not None and session.open_ns > now_ns:
                return session
            day += timedelta(days=1)
        raise AssertionError("a fortnight without a session")

    def current_or_next(self, now_ns: int, *, extended: bool = False) -> Session:
        """The session that a day order sent now belongs to."""
        session = self.at(now_ns)
        if session is not None and now_ns < (session.late_ns if extended else session.close_ns):
            return session
        return self.next(now_ns)
