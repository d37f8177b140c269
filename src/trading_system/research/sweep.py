"""Many backtests of one strategy, and how much the best of them is to be believed: the deflated Sharpe ratio, and the probability of overfitting.

Source: Bailey and López de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40 (2014); Bailey, Borwein, López de Prado and Zhu,
"The Probability of Backtest Overfitting", Journal of Computational Finance 20 (2017).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from itertools import combinations, product
from random import Random
from statistics import fmean, pstdev, pvariance, stdev

import msgspec

from trading_system.app.pool import pool, workers
from trading_system.app.strategies import make
from trading_system.domain.errors import BadRequest
from trading_system.research.backtest import Setup, run
from trading_system.research.data import Action, Event, adjusted
from trading_system.research.stats import returns_of, summary
from trading_system.sizing.normal import below, quantile

TRIALS_MAX = 5_000
BLOCKS = 10  # of the time, for the probability of overfitting: 252 ways to choose half of them
_EULER = 0.5772156649015329


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One set of parameters and what it came to. returns: by UTC day with prices. error: why it was not run."""

    parameters: dict[str, str]
    sharpe: float | None
    total_return: float
    max_drawdown: float
    trips: int
    returns: tuple[float, ...]
    error: str = ""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How much the best is to be believed. by_luck: the Sharpe ratio, a year, that the best of so many trials would have without any edge. deflated:
    the chance that the best one's true Sharpe ratio is above that. overfit: how often the best of one half of the time is below the middle in the
    other half; None: too few days or trials to say."""

    trials: int
    best: Trial
    by_luck: float
    deflated: float
    overfit: float | None


def grid(given: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Every combination. Raises BadRequest: too many, or none."""
    if not given:
        raise BadRequest("say what to try: --grid fast=5,10,20")
    given = _once(given)
    count = math.prod(len(values) for values in given.values())
    if count > TRIALS_MAX:
        raise BadRequest(f"{count:,} combinations are more than {TRIALS_MAX:,}: fewer values, or --random {TRIALS_MAX}")
    return [dict(zip(given, values, strict=True)) for values in product(*given.values())]


def sampled(given: Mapping[str, Sequence[str]], count: int, seed: int) -> list[dict[str, str]]:
    """So many different combinations of those values, by chance; all of them where there are no more."""
    rng, given = Random(seed), _once(given)  # noqa: S311 a search
    found: dict[tuple[str, ...], None] = {}
    everything = math.prod(len(values) for values in given.values())
    while len(found) < min(count, everything):
        found[tuple(rng.choice(list(values)) for values in given.values())] = None
    return [dict(zip(given, values, strict=True)) for values in found]


def _once(given: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Each value once: a trial that is run twice would count twice when the best is judged."""
    return {name: tuple(dict.fromkeys(values)) for name, values in given.items()}


def sweep(
    name: str,
    trials: Sequence[Mapping[str, str]],
    streams: Sequence[Sequence[Event]],
    setup: Setup,
    *,
    actions: Sequence[Action] = (),
    told: Callable[[int], None] = lambda _done: None,
) -> list[Trial]:
    """Run them all, on all processors; in the order given. told: hears how many are done."""
    count = workers(len(trials))
    work = (name, *adjusted(streams, actions), setup)
    done: dict[int, Trial] = {}
    if count == 1:
        _begin(*work)
        for place, parameters in enumerate(trials):
            done[place] = _try(dict(parameters))
            told(len(done))
    else:
        with pool(count, _begin, work) as processes:
            waiting = {processes.submit(_try, dict(parameters)): place for place, parameters in enumerate(trials)}
            for future in as_completed(waiting):
                done[waiting[future]] = future.result()
                told(len(done))
    return [done[place] for place in range(len(trials))]


_work: list[tuple[str, Sequence[Sequence[Event]], Sequence[Action], Setup]] = []  # of this worker


def _begin(name: str, streams: Sequence[Sequence[Event]], dividends: Sequence[Action], setup: Setup) -> None:
    _work[:] = [(name, streams, dividends, setup)]


def _try(parameters: dict[str, str]) -> Trial:
    name, streams, dividends, setup = _work[0]
    try:
        strategy = make(name, parameters)
    except BadRequest as error:
        return Trial(parameters=parameters, sharpe=None, total_return=0.0, max_drawdown=0.0, trips=0, returns=(), error=str(error))
    result = run([strategy], streams, setup, actions=dividends)
    figures = summary(result)
    return Trial(
        parameters=parameters,
        sharpe=figures.sharpe,
        total_return=figures.total_return,
        max_drawdown=figures.max_drawdown,
        trips=figures.trips,
        returns=tuple(returns_of(result.equity, float(setup.cash))),
    )


def verdict(trials: Iterable[Trial]) -> Verdict | None:
    """What to believe of the best; None: none of them traded."""
    known = [trial for trial in trials if trial.sharpe is not None and len(trial.returns) > 2]
    if not known:
        return None
    best = max(known, key=lambda trial: trial.sharpe or 0.0)
    ratios = [_ratio(trial.returns) for trial in known]
    lucky, own = expected_best(len(known), pstdev(ratios)), _ratio(best.returns)
    a_year = (best.sharpe or 0.0) / own if own else 1.0
    overfit = overfitting([trial.returns for trial in known])
    return Verdict(trials=len(known), best=best, by_luck=lucky * a_year, deflated=deflated(best.returns, lucky), overfit=overfit)


def expected_best(count: int, spread: float) -> float:
    """The greatest of so many Sharpe ratios of strategies without an edge, which spread so far, on average.

    >>> round(expected_best(100, 1.0), 2)
    2.53
    """
    if count < 2:
        return 0.0
    return spread * ((1 - _EULER) * quantile(1 - 1 / count) + _EULER * quantile(1 - 1 / (count * math.e)))


def deflated(returns: Sequence[float], benchmark: float) -> float:
    """The chance that the true Sharpe ratio (of one observation) is above the benchmark, given how many observations there are and how skewed and
    fat-tailed they are."""
    ratio, mean, spread = _ratio(returns), fmean(returns), pstdev(returns)
    if not spread:
        return 0.0
    skew = fmean(((value - mean) / spread) ** 3 for value in returns)
    tails = fmean(((value - mean) / spread) ** 4 for value in returns)
    variance = 1 - skew * ratio + (tails - 1) / 4 * ratio**2
    return below((ratio - benchmark) * math.sqrt(len(returns) - 1) / math.sqrt(max(variance, 1e-12)))


def overfitting(columns: Sequence[Sequence[float]]) -> float | None:
    """How often the trial that is the best in one half of the time is below the middle in the other half, over all ways to halve it in blocks."""
    length = min((len(column) for column in columns), default=0)
    if len(columns) < 2 or length < 4 * BLOCKS:
        return None
    size = length // BLOCKS
    sums = [[_sums(column[place * size : (place + 1) * size]) for place in range(BLOCKS)] for column in columns]
    below_middle = halves = 0
    everything = set(range(BLOCKS))
    for chosen in combinations(range(BLOCKS), BLOCKS // 2):
        inside = [_joined([blocks[place] for place in chosen]) for blocks in sums]
        rest = sorted(everything - set(chosen))
        outside = [_joined([blocks[place] for place in rest]) for blocks in sums]
        best = max(range(len(columns)), key=lambda place: inside[place])
        rank = sum(value < outside[best] for value in outside) + (sum(value == outside[best] for value in outside) + 1) / 2
        below_middle += rank / (len(columns) + 1) <= 0.5
        halves += 1
    return below_middle / halves


def _sums(values: Sequence[float]) -> tuple[int, float, float]:
    return len(values), sum(values), sum(value * value for value in values)


def _joined(parts: Sequence[tuple[int, float, float]]) -> float:
    """The Sharpe ratio of several blocks together."""
    count, total, squares = (sum(part[place] for part in parts) for place in range(3))
    mean = total / count
    spread = math.sqrt(max(0.0, squares / count - mean * mean))
    return mean / spread if spread > 1e-15 else 0.0


def _ratio(returns: Sequence[float]) -> float:
    spread = stdev(returns) if pvariance(returns) else 0.0
    return fmean(returns) / spread if spread else 0.0
