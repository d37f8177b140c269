"""The goal under the limits as they are: many seeded paths, day by day, with the leverage cap, the halts, the brake near the target, and fat tails.

With the limits off and normal moves a day's step is exact, so that the result is that of the closed forms (goal.py), but for chance. A day's path
between its ends counts: whether it touched the target, or a floor, is the chance of a Brownian bridge.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from random import Random
from statistics import fmean, pstdev

import msgspec

from trading_system.sizing.goal import DAYS_A_YEAR, Goal
from trading_system.sizing.normal import fat_quantile

CHUNK = 500  # paths of one random sequence: what one worker does at a time
CHECKPOINTS = 24
FAT_DAYS = 20_000  # different days of fat tails
FAR = 40.0  # exp(−40) is no chance
RUIN = -30.0  # a day that costs all: so small a logarithm of what is left
SHORTFALL = 0.05
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What stops risk; None: nothing does. leverage: most that is invested, times equity. daily_loss: a day that loses so much ends there, the next
    one goes on. drawdown: a fall so deep from the best ends all risk, until the end. brake: the target lowers the multiple."""

    leverage: float | None = None
    daily_loss: float | None = None
    drawdown: float | None = None
    brake: bool = False


class Worked(msgspec.Struct, frozen=True, kw_only=True):
    """The strategy: its deviation a year at leverage 1, the multiple of Kelly, and how a day is drawn: "normal", "fat" (Student's t, four degrees) or
    "sample" (the days given, with their own mean and deviation taken out). days_a_year: on how many of them it trades."""

    volatility: float
    kelly: float
    tails: str = "fat"
    sample: tuple[float, ...] = ()
    days_a_year: int = DAYS_A_YEAR


class Paths(msgspec.Struct, frozen=True, kw_only=True):
    """What became of so many paths. wealth: at the end, each; at: all of them at CHECKPOINTS days; touched: the sum of chances."""

    wealth: tuple[float, ...]
    touched: float
    halted: int
    at: tuple[tuple[float, ...], ...]


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """The odds that the paths show. Amounts are wealth at the end, but for the shortfall: what the worst twentieth loses of the capital, on
    average. compiled: by lanes.py, whose chance is another than that of the same seed in plain Python."""

    paths: int
    p_target: float
    p_touch: float
    p_halted: float
    median_terminal: float
    percentiles: dict[str, float]
    expected_shortfall: float
    standard_error: float  # of p_target
    fan: tuple[tuple[float, ...], ...]  # 5, 25, 50, 75, 95 % at each checkpoint
    compiled: bool


def steps(goal: Goal, worked: Worked) -> int:
    """How many days the strategy trades until the end."""
    return max(1, round(goal.years * worked.days_a_year))


def checkpoints(days: int) -> list[int]:
    """The days at which wealth is looked at, the last one the end."""
    count = min(CHECKPOINTS, days)
    return [round(days * (place + 1) / count) for place in range(count)]


def run_chunk(goal: Goal, worked: Worked, limits: Limits, seed: int, chunk: int, count: int) -> Paths:
    """`count` paths of one random sequence, which seed and chunk name. The same arguments give the same paths."""
    rng = Random(f"{seed}/{chunk}")  # noqa: S311 a simulation
    days = steps(goal, worked)
    draw = _drawer(rng, worked, days)
    marks = set(checkpoints(days))
    wealth, touched, halted = [], 0.0, 0
    at: list[list[float]] = [[] for _ in marks]
    for _ in range(count):
        end, chance, stopped, seen = _path(goal, worked, limits, days, draw(), rng, marks)
        wealth.append(goal.capital * math.exp(end))
        touched += chance
        halted += stopped
        for column, value in zip(at, seen, strict=True):
            column.append(goal.capital * math.exp(value))
    return Paths(wealth=tuple(wealth), touched=touched, halted=halted, at=tuple(tuple(column) for column in at))


def _drawer(rng: Random, worked: Worked, days: int) -> Callable[[], Sequence[float]]:
    """A path's shocks, of mean 0 and deviation 1."""
    if worked.tails == "normal":
        return lambda: [rng.gauss(0.0, 1.0) for _ in range(days)]
    days_drawn = shocks_of(worked)
    return lambda: rng.choices(days_drawn, k=days)


def shocks_of(worked: Worked) -> Sequence[float]:
    """What a day is drawn from where it is not normal, of mean 0 and deviation 1."""
    if worked.tails == "fat":
        return _fat_days()
    mean, deviation = fmean(worked.sample), pstdev(worked.sample)
    return [(value - mean) / deviation for value in worked.sample]


@cache
def _fat_days() -> Sequence[float]:
    table = [fat_quantile((place + 0.5) / FAT_DAYS) for place in range(FAT_DAYS)]
    spread = pstdev(table)
    return [value / spread for value in table]


def multiple(goal: Goal, worked: Worked, limits: Limits) -> float:
    """What the leverage cap leaves of the multiple of Kelly."""
    full = goal.sharpe / worked.volatility  # what full Kelly invests, times equity
    usual = min(worked.kelly * full, math.inf if limits.leverage is None else limits.leverage)
    return usual / full if full > 0 else 0.0


def floor_of(loss: float | None) -> float:
    """A limit of loss as a logarithm; minus infinity: there is none."""
    return -math.inf if loss is None or loss >= 1 else math.log1p(-loss)


def _path(
    goal: Goal, worked: Worked, limits: Limits, days: int, shocks: Sequence[float], rng: Random, marks: set[int]
) -> tuple[float, float, bool, list[float]]:
    """One path, in logarithms of the capital: where it ends, the chance that it touched the target, whether it was halted, and where it was at the
    marks."""
    log1p, exp, sqrt = math.log1p, math.exp, math.sqrt
    exact = worked.tails == "normal"
    day = goal.years / days
    root, cash = sqrt(day), goal.rate * day
    most = multiple(goal, worked, limits)
    daily, fall = floor_of(limits.daily_loss), floor_of(limits.drawdown)
    floors = daily > -math.inf or fall > -math.inf
    target = goal.distance
    here, best, missed, stopped = 0.0, 0.0, 1.0 if target > 0 else 0.0, False
    seen: list[float] = []

    def step(k: float) -> tuple[float, float, float]:
        """Drift, scale and variance of a day at this multiple."""
        scale = k * goal.sharpe * root
        drift = cash + (goal.sharpe**2 * (k - k * k / 2) if exact else k * goal.sharpe**2) * day
        return drift, scale, scale * scale

    usual_step = step(most)
    for number, shock in enumerate(shocks, 1):
        drift, scale, variance = usual_step
        if stopped:
            drift, scale, variance = cash, 0.0, 0.0
        elif limits.brake:
            left = (days - number + 1) * day
            away = target - here - goal.rate * left
            if away < (most * goal.sharpe) ** 2 * left / 2:
                drift, scale, variance = step(sqrt(2 * max(0.0, away) / left) / goal.sharpe if goal.sharpe > 0 else 0.0)
        moved = drift + scale * shock
        there = here + (moved if exact else log1p(moved) if moved > -1 else RUIN)
        if variance:
            if floors:
                floor, deepest = here + daily, best + fall
                if deepest > floor:
                    floor = deepest
                if there <= floor or _touches(here - floor, there - floor, variance, rng):
                    stopped = floor == deepest
                    there = floor
            if missed:
                if there >= target:
                    missed = 0.0
                elif (exponent := 2 * (target - here) * (target - there) / variance) < FAR:
                    missed *= 1 - exp(-exponent)
        elif there >= target:
            missed = 0.0
        here = there
        best = max(best, here)
        if number in marks:
            seen.append(here)
    return here, 1 - missed, stopped, seen


def _touches(before: float, after: float, variance: float, rng: Random) -> bool:
    """Whether a path between two points so far above a floor touched it."""
    exponent = 2 * before * after / variance
    return exponent < FAR and rng.random() < math.exp(-exponent)


def summary(goal: Goal, chunks: Iterable[Paths]) -> Simulated:
    """All chunks as one answer."""
    found = list(chunks)
    wealth = sorted(value for chunk in found for value in chunk.wealth)
    count = len(wealth)
    # what is at the target by arithmetic is at the target: a path that ends there on cash is off by rounding alone
    p_target = sum(value >= goal.target * (1 - 1e-9) for value in wealth) / count
    worst = wealth[: max(1, round(count * SHORTFALL))]
    columns = [sorted(value for chunk in found for value in chunk.at[place]) for place in range(len(found[0].at))]
    return Simulated(
        paths=count,
        p_target=p_target,
        p_touch=sum(chunk.touched for chunk in found) / count,
        p_halted=sum(chunk.halted for chunk in found) / count,
        median_terminal=at_share(wealth, 0.5),
        percentiles={f"{share:g}": at_share(wealth, share / 100) for share in (5, 25, 75, 95)},
        expected_shortfall=goal.capital - fmean(worst),
        standard_error=standard_error(p_target, count),
        fan=tuple(tuple(at_share(column, share) for share in SHARES) for column in columns),
        compiled=False,
    )


def standard_error(p: float, count: int) -> float:
    """Of a chance that so many paths show; where none or all did, as if one had not."""
    return math.sqrt(max(p * (1 - p), 1 / count) / count)


def at_share(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of an ordered sequence lies."""
    return ordered[place_of(share, len(ordered))]


def place_of(share: float, count: int) -> int:
    """Where that value stands."""
    return min(count - 1, int(share * count))
