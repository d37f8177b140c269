"""What a stop loses beyond its price, as an instrument's own past says: prices jump over a stop while a market is closed or empty."""

from collections.abc import Sequence
from statistics import fmean

HITS_LEAST = 10  # stops that were met in the past; fewer say nothing


def gap(bars: Sequence[tuple[float, float, float, float]], *, sign: int, stop: float, periods: int) -> float | None:
    """The mean loss beyond a stop, as a fraction of the entry (QUANT.md §2: g): of an entry at each close, whose stop was met within so many bars.

    bars: open, high, low, close, the oldest first. sign: 1 long, -1 short. stop: how far away, as a fraction of the entry. One that a bar opens
    beyond is filled at the open, any other at its own price. None: too few were met.
    """
    losses = []
    for place, (*_, entry) in enumerate(bars):
        price = entry * (1 - sign * stop)
        for opened, high, low, _ in bars[place + 1 : place + 1 + periods]:
            if sign * (opened - price) <= 0:
                losses.append(sign * (price - opened) / entry)
                break
            if sign * ((low if sign > 0 else high) - price) <= 0:
                losses.append(0.0)
                break
    return fmean(losses) if len(losses) >= HITS_LEAST else None
