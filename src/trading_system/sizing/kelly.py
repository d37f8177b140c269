"""Kelly's bet: the fraction of equity whose growth is the greatest, from odds, from a mean and a deviation, or from a record of returns.

Source: Kelly, "A New Interpretation of Information Rate" (1956); Thorp, "The Kelly Criterion in Blackjack, Sports Betting and the Stock Market"
(2006).
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

import msgspec

_STEPS = 200  # of a bisection: more than a float has digits


class Bet(msgspec.Struct, frozen=True):
    """A fraction of equity. bound: why it is not what the numbers alone say, "" where it is."""

    fraction: float
    bound: str = ""


def binary(p: float, b: float) -> float:
    """The fraction of equity to put at risk where a unit at risk makes b with chance p, and else is lost. Negative: not this side.

    >>> round(binary(0.55, 1), 10), round(binary(0.40, 2), 10)
    (0.1, 0.1)
    """
    return (p * b - (1 - p)) / b


def notional(at_risk: float, equity: float, stop: float) -> float:
    """What to hold so that a stop at this fraction of the entry's price loses that fraction of equity.

    >>> round(notional(0.5 * binary(0.55, 1), 1.0, 0.02), 10)
    2.5
    """
    return at_risk * equity / stop


def continuous(mean: float, deviation: float, rate: float = 0.0) -> float:
    """The fraction of equity to invest in one thing that moves without end; all three of the same period.

    >>> round(continuous(0.12, 0.20, 0.03), 10)
    2.25
    """
    return (mean - rate) / deviation**2


def several(excess: Sequence[float], covariance: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The fractions for several at once: Σ⁻¹(μ − r·1). excess: their means less the rate.

    Raises ValueError: some of them move as one, so that no single answer exists.
    """
    rows = [[*map(float, row), float(mean)] for row, mean in zip(covariance, excess, strict=True)]
    size = len(rows)
    for place in range(size):
        pivot = max(range(place, size), key=lambda row: abs(rows[row][place]))
        rows[place], rows[pivot] = rows[pivot], rows[place]
        if abs(rows[place][place]) <= 1e-12 * max(abs(value) for value in covariance[pivot]):
            raise ValueError("some of these move as one: the covariances leave no single answer; take one of them out")
        for row in range(size):
            if row != place:
                factor = rows[row][place] / rows[place][place]
                rows[row] = [ours - factor * theirs for ours, theirs in zip(rows[row], rows[place], strict=True)]
    return tuple(row[size] / row[place] for place, row in enumerate(rows))


def empirical(returns: Sequence[float], most: float) -> Bet:
    """The fraction that maximises the mean of ln(1 + f·R) over these returns, at most `most` (what leverage allows).

    A mean that is not positive is no edge: 0. A sample without a loss is no licence: `most`, and it says so.
    """
    if not returns or fmean(returns) <= 0:
        return Bet(0.0, "no edge")
    worst = min(returns)
    if worst >= 0:
        return Bet(most, "no loss observed")

    def slope(fraction: float) -> float:
        return fmean(value / (1 + fraction * value) for value in returns)

    low, high = 0.0, min(most, -1 / worst * (1 - 1e-12))
    if slope(high) >= 0:
        return Bet(high, "leverage" if high == most else "")
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return Bet(low)


def growth(k: float, sharpe: float, rate: float = 0.0) -> float:
    """What equity grows by a year, continuously, at k times full Kelly. Half keeps three quarters of the excess, twice keeps none.

    >>> growth(0.5, 1.0) / growth(1.0, 1.0), growth(2.0, 1.0)
    (0.75, 0.0)
    """
    return rate + sharpe**2 * (k - k * k / 2)


def cautious_chance(p: float, count: int) -> float:
    """An observed chance less one standard error of it, at least 0: what so few observations let one believe."""
    return max(0.0, p - math.sqrt(p * (1 - p) / count))


def cautious_mean(mean: float, deviation: float, count: int) -> float:
    """An observed mean less one standard error, where it is an edge: it never turns into one on the other side."""
    error = deviation / math.sqrt(count)
    return math.copysign(max(0.0, abs(mean) - error), mean)


def cautious_record(returns: Sequence[float]) -> tuple[float, ...]:
    """A record whose mean is less by one standard error; one observation tells nothing, and leaves no edge."""
    if len(returns) < 2:
        return ()
    error = stdev(returns) / math.sqrt(len(returns))
    return tuple(value - error for value in returns)
