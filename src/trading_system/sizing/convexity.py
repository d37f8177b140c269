"""The convexity score: what a position gains from moves as such, whichever way they go, in units of the mean absolute move.

    score = (E[f(X)] − f(E[X])) / E|X − E[X]|

X is the underlying's return over the time the position is held; f(x) what the position makes, as it will be worked, where X turns out as x, for each
unit of what it holds. Straight exposure scores 0, what has a floor more, what has a ceiling less. A stop is worked along the way and not at the end:
it is no free put, and f is then an average over the paths that end at x (a Brownian bridge; with a target beside it, of two barriers).

Source: docs/SIZING.md. First exits of a bridge: Anderson, "A Modification of the Sequential Probability Ratio Test", Annals of Mathematical
Statistics 31 (1960).
"""

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from statistics import fmean, pstdev

import msgspec

from trading_system.sizing.kelly import several
from trading_system.sizing.normal import MEAN_ABSOLUTE, below, density

_REACH, _STEPS = 9.0, 3600  # the normal grid: so many deviations each way, in so many steps
_COARSE = 360
_IMAGES_MAX = 400
OPTION = 0.5  # the score of a call, or a put, at the money
GAP = 0.1  # of the deviation: what a stop loses beyond its price where no history says it


class Payoff(StrEnum):
    """What is held, and how it is worked. Options are at the money."""

    STOCK = "stock"
    LONG_CALL = "long-call"
    SHORT_PUT = "short-put"
    STRADDLE = "straddle"
    COVERED_CALL = "covered-call"
    STOP = "stop"
    TARGET = "target"
    BRACKET = "bracket"


class Moves(msgspec.Struct, frozen=True):
    """Where X may end, with what chance each; and the deviation of its path. log: paths are those of the logarithm."""

    ends: tuple[tuple[float, float], ...]
    deviation: float
    log: bool = False


def normal(deviation: float) -> Moves:
    """Moves of mean 0 with this deviation over the holding time, as a fraction of the price."""
    return Moves(_grid(lambda z: deviation * z), deviation)


def lognormal(deviation: float) -> Moves:
    """The same for a price that cannot pass zero: its logarithm has this deviation, the return has mean 0."""
    return Moves(_grid(lambda z: math.expm1(deviation * z - deviation**2 / 2)), deviation, log=True)


def empirical(returns: Sequence[float]) -> Moves:
    """What was observed, each as likely as the others. Raises ValueError: fewer than two, or all the same."""
    if len(returns) < 2 or not pstdev(returns):
        raise ValueError("a history needs at least two returns that differ")
    return Moves(tuple((float(value), 1 / len(returns)) for value in returns), pstdev(returns))


def score(payoff: Payoff, moves: Moves, *, stop: float | None = None, target: float | None = None, gap: float | None = None) -> float:
    """The score of one unit held. stop, target: how far from the entry, as fractions of its price; gap: the mean loss beyond a stop's price, default
    a tenth of the deviation.

    Raises ValueError: a stop or target that is missing, or on the wrong side.
    """
    below, above = _distance("stop", stop, payoff), _distance("target", target, payoff)
    if below >= 1:
        raise ValueError(f"{payoff} needs --stop below 1: a price falls by all of itself at most")
    return _jensen(moves, _worked(payoff, moves, below, above, GAP * moves.deviation if gap is None else gap))


def _jensen(moves: Moves, worked: Callable[[float], tuple[float, float]]) -> float:
    mean = sum(chance * x for x, chance in moves.ends)
    size = sum(chance * abs(x - mean) for x, chance in moves.ends)
    made = 0.0
    for x, chance in moves.ends:
        gain, lost = worked(x)
        made += chance * (gain - lost)
    return (made - worked(mean)[0]) / size  # a gap is paid, and is no part of what the position is at the mean


def stop_score(ratio: float) -> float:
    """The closed form for normal moves: a stop at ratio × the deviation, no gap.

    >>> [round(stop_score(ratio), 4) for ratio in (1, 0.5, 0.25)]
    [0.1696, 0.3801, 0.2765]
    """
    return ratio * math.exp(-2 * ratio**2) / (2 * density(0))


@lru_cache(maxsize=4096)
def exit_score(stop: float | None, target: float | None, gap: float) -> float:
    """What an entry with these exits scores under normal moves, quickly; everything in deviations. Stop and target together are told to about 0.001.

    >>> round(exit_score(1.0, None, 0.1), 4), abs(round(exit_score(1.0, 1.0, 0.0), 3))
    (0.1298, 0.0)
    """
    if stop is not None and target is not None:
        moves = Moves(_grid(float, _COARSE), 1.0)
        return _jensen(moves, _worked(Payoff.BRACKET, moves, stop, target, gap))
    if stop is not None:
        return stop_score(stop) - gap * 2 * below(-stop) / MEAN_ABSOLUTE
    return 0.0 if target is None else -stop_score(target)


def first_exits(x: float, stop: float, target: float, deviation: float) -> tuple[float, float]:
    """The chances that a path from 0 to x touches −stop first, and +target first; what is left touched neither.

    Both come from reflections: a path that touches the barriers in turn, n times, unfolds into one that ends as far out as the barriers are apart,
    n times. Sums over all n, with signs, count each path once.
    """
    either = upper_less_lower = 0.0
    apart = stop + target
    for place in range(_IMAGES_MAX):
        sign = -1.0 if place % 2 else 1.0
        outward = abs(x - target), abs(x + stop)
        up = _images(target + place * apart + outward[place % 2], x, deviation)
        down = _images(stop + place * apart + outward[1 - place % 2], x, deviation)
        either += sign * (up + down)
        upper_less_lower += up - down
        if up + down < 1e-18:
            break
    lower = min(1.0, max(0.0, (either - upper_less_lower) / 2))
    return lower, min(1.0 - lower, max(0.0, (either + upper_less_lower) / 2))


def _images(out: float, x: float, deviation: float) -> float:
    """How likely an end so far out is, against the one at x."""
    return math.exp(min(0.0, (x * x - out * out) / (2 * deviation**2)))


def _worked(payoff: Payoff, moves: Moves, stop: float, target: float, gap: float) -> Callable[[float], tuple[float, float]]:
    """f(x), and what a gap costs there."""
    path = math.log1p if moves.log else float
    below = -path(-stop) if stop else 0.0
    above = path(target) if target else 0.0

    def touched(x: float, barrier: float) -> float:
        """That a path which ends at x, on this side of a barrier upward, has touched it."""
        return 1.0 if x >= barrier else math.exp(-2 * barrier * (barrier - x) / moves.deviation**2)

    def worked(x: float) -> tuple[float, float]:
        end = path(x) if x > -1 or not moves.log else -math.inf
        match payoff:
            case Payoff.STOCK:
                return x, 0.0
            case Payoff.LONG_CALL:
                return max(x, 0.0), 0.0
            case Payoff.SHORT_PUT | Payoff.COVERED_CALL:
                return min(x, 0.0), 0.0
            case Payoff.STRADDLE:
                return abs(x), 0.0
            case Payoff.STOP:
                hit = touched(-end, below)
                return x - (x + stop) * hit, gap * hit
            case Payoff.TARGET:
                hit = touched(end, above)
                return x - (x - target) * hit, 0.0
            case Payoff.BRACKET:
                lower, upper = first_exits(end, below, above, moves.deviation)
                return target * upper - stop * lower + x * (1 - lower - upper), gap * lower

    return worked


def _distance(name: str, value: float | None, payoff: Payoff) -> float:
    wanted = payoff in ((Payoff.STOP, Payoff.BRACKET) if name == "stop" else (Payoff.TARGET, Payoff.BRACKET))
    if not wanted:
        return 0.0
    if value is None or value <= 0:
        raise ValueError(f"{payoff} needs --{name}: how far from the entry, as a fraction of its price, as 0.05")
    return value


def _grid(end: Callable[[float], float], steps: int = _STEPS) -> tuple[tuple[float, float], ...]:
    step = 2 * _REACH / steps
    nodes = [-_REACH + step * place for place in range(steps + 1)]
    weights = [density(z) for z in nodes]
    total = sum(weights)
    return tuple((end(z), weight / total) for z, weight in zip(nodes, weights, strict=True))


def treynor_mazuy(ours: Sequence[float], market: Sequence[float]) -> tuple[float, float]:
    """A record's own convexity: r_s = α + β·r_m + γ·r_m², both in excess of the rate, as γ·Var(r_m)/E|r_m − E r_m|; and the t-statistic of γ, robust
    to deviations that change (White 1980, HC1).

    Raises ValueError: fewer than eight observations, or a market that does not move.
    Source: Treynor and Mazuy, "Can Mutual Funds Outguess the Market?", Harvard Business Review 44 (1966).
    """
    count = len(ours)
    if count < 8 or count != len(market) or pstdev(market) == 0:
        raise ValueError("needs eight pairs of returns at least, of a market that moves")
    rows = [(1.0, m, m * m) for m in market]
    inverse = _inverse([[sum(row[i] * row[j] for row in rows) for j in range(3)] for i in range(3)])
    moments = [sum(row[i] * r for row, r in zip(rows, ours, strict=True)) for i in range(3)]
    alpha, beta, gamma = (sum(inverse[i][j] * moments[j] for j in range(3)) for i in range(3))
    residuals = [r - alpha - beta * m - gamma * m * m for r, m in zip(ours, market, strict=True)]
    leverage = [sum(inverse[2][j] * row[j] for j in range(3)) for row in rows]
    variance = sum((weight * residual) ** 2 for weight, residual in zip(leverage, residuals, strict=True)) * count / (count - 3)
    mean = fmean(market)
    scale = pstdev(market) ** 2 / fmean(abs(m - mean) for m in market)
    t = math.copysign(math.inf, gamma) if variance == 0 else gamma / math.sqrt(variance)
    return gamma * scale, t


def _inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    columns = [several([1.0 if row == column else 0.0 for row in range(3)], matrix) for column in range(3)]
    return [[columns[column][row] for column in range(3)] for row in range(3)]
