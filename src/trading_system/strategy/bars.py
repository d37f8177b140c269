"""Bars of any length, made of trades, quotes or shorter bars. A bar is told when it is over, and nothing of it before."""

from collections.abc import Sequence
from decimal import Decimal

from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import Bar
from trading_system.domain.money import ZERO

_UNITS_NS = {"s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}


def parse_period(text: str) -> int:
    """Nanoseconds of "30s", "5m", "1h" or "1d". Raises ValueError with what is allowed.

    >>> parse_period("5m")
    300000000000
    """
    unit, count = _UNITS_NS.get(text[-1:]), text[:-1]
    if unit is None or not (count.isascii() and count.isdecimal()) or not 0 < int(count) <= 10_000:
        raise ValueError(f"a bar's length is a whole number of seconds, minutes, hours or days, as 30s, 5m, 1h or 1d, not {text!r}")
    return int(count) * unit


class Builder:
    """The bars of one instrument. They begin at multiples of their length since 1970, UTC."""

    def __init__(self, instrument: InstrumentID, period_ns: int) -> None:
        self._instrument = instrument
        self._period_ns = period_ns
        self._open_ns = -1
        self._first = self._high = self._low = self._last = self._volume = ZERO

    def price(self, price: Decimal, qty: Decimal, now_ns: int) -> Sequence[Bar]:
        """A trade or a quote's middle: the bars that are over by then."""
        over = self.over(now_ns)
        self._add(price, price, price, price, qty, now_ns)
        return over

    def bar(self, bar: Bar) -> Sequence[Bar]:
        """A shorter bar, which is over: what it begins after is over too, and what it completes."""
        over = self.over(bar.open_ns)
        self._add(bar.open, bar.high, bar.low, bar.close, bar.volume, bar.open_ns)
        return [*over, *self.over(bar.open_ns + bar.period_ns)]

    def _add(self, first: Decimal, high: Decimal, low: Decimal, last: Decimal, volume: Decimal, now_ns: int) -> None:
        if self._open_ns < 0:
            self._open_ns = now_ns // self._period_ns * self._period_ns
            self._first, self._high, self._low, self._volume = first, high, low, ZERO
        self._high, self._low, self._last = max(self._high, high), min(self._low, low), last
        self._volume += volume

    def over(self, now_ns: int) -> list[Bar]:
        """The bar that is over by then, if there is one."""
        if self._open_ns < 0 or now_ns < self._open_ns + self._period_ns:
            return []
        done = Bar(
            instrument=self._instrument,
            open_ns=self._open_ns,
            period_ns=self._period_ns,
            open=self._first,
            high=self._high,
            low=self._low,
            close=self._last,
            volume=self._volume,
        )
        self._open_ns = -1
        return [done]
