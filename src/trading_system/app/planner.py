"""The plan: what the owner set out to reach, the odds of it in closed form, and what many simulated paths under the limits say, on all processors."""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, pstdev, stdev
from typing import TypeVar

import msgspec

from trading_system.app.config import Config
from trading_system.app.pool import pool, workers
from trading_system.domain.errors import BadRequest
from trading_system.sizing import goal as odds
from trading_system.sizing.goal import Goal
from trading_system.sizing.paths import CHUNK, Limits, Simulated, Worked, run_chunk, summary

FILE_MAX = 16 << 20  # bytes of a file of returns
PATHS_MAX = 1_000_000
INLINE = 4  # chunks that are done before processes have started
PLAIN_MAX = 20_000  # paths that plain Python does in a few seconds
HALVED = 0.5
Chunk = TypeVar("Chunk")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that `trading plan` says. required_growth is continuous, a year; chances are of 1; simulated holds under the limits, all else without."""

    capital: float
    target: float
    days: float
    sharpe: float
    volatility: float
    rate: float
    kelly: float
    required_growth: float
    ceiling: float
    p_target_terminal: float
    p_target_touch: float
    p_halved_ever: float
    best_kelly: float
    horizon_for_even_odds_days: float | None
    limits: Limits
    tails: str
    seed: int
    simulated: Simulated


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of daily returns says. sharpe is a year's, of the mean less one standard error: that is what so many days let one believe."""

    sharpe: float
    observed_sharpe: float
    volatility: float
    returns: tuple[float, ...]


def read_returns(path: Path) -> tuple[float, ...]:
    """One return a line, as a fraction (0.012); of a CSV the last column, its heading left out.

    Raises BadRequest: no such file, a line that is no return, fewer than two of them, or all the same.
    """
    try:
        if path.stat().st_size > FILE_MAX:
            raise BadRequest(f"{path.name} is longer than {FILE_MAX >> 20} MiB: daily returns of a lifetime are less")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{path.name} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        text = line.rsplit(",", 1)[-1].strip().strip('"')
        if not text or (number == 1 and _number(text) is None):
            continue
        value = _number(text)
        if value is None or not -1 <= value <= 10:
            raise BadRequest(f"{path.name}, line {number}: {text[:40]!r} is no return of a day; write 0.012 for +1.2 %")
        found.append(value)
    if len(found) < 2 or pstdev(found) == 0:
        raise BadRequest(f"{path.name} needs at least two returns that differ")
    return tuple(found)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def record_of(returns: tuple[float, ...], rate: float, days_a_year: int) -> Record:
    """The strategy that made these daily returns."""
    excess, deviation = fmean(returns) - rate / days_a_year, stdev(returns)
    root = math.sqrt(days_a_year)
    error = deviation / math.sqrt(len(returns))
    return Record(
        sharpe=max(0.0, excess - error) / deviation * root, observed_sharpe=excess / deviation * root, volatility=deviation * root, returns=returns
    )


def limits_of(config: Config) -> Limits:
    """The owner's own limits, as far as they stop risk."""
    return Limits(
        leverage=float(config.max_leverage),
        daily_loss=float(config.max_daily_loss_pct) if config.halt_on_daily_loss else None,
        drawdown=float(config.max_drawdown_pct) if config.halt_on_drawdown else None,
        brake=True,
    )


def plan(goal: Goal, worked: Worked, limits: Limits, *, paths: int, seed: int, told: Callable[[int, int], None] = lambda _done, _all: None) -> Plan:
    """The whole answer. told: hears how many of how many pieces are done."""
    return Plan(
        capital=goal.capital,
        target=goal.target,
        days=goal.years * odds.DAYS_A_YEAR,
        sharpe=goal.sharpe,
        volatility=worked.volatility,
        rate=goal.rate,
        kelly=worked.kelly,
        required_growth=odds.required_growth(goal),
        ceiling=odds.ceiling(goal),
        p_target_terminal=odds.p_terminal(goal, worked.kelly),
        p_target_touch=odds.p_touch(goal, worked.kelly),
        p_halved_ever=odds.p_fallen_ever(goal, worked.kelly, HALVED),
        best_kelly=odds.multiple(goal, 1.0),
        horizon_for_even_odds_days=odds.days_to_even_odds(goal, worked.kelly),
        limits=limits,
        tails=worked.tails,
        seed=seed,
        simulated=simulate(goal, worked, limits, paths=paths, seed=seed, told=told),
    )


def simulate(goal: Goal, worked: Worked, limits: Limits, *, paths: int, seed: int, told: Callable[[int, int], None]) -> Simulated:
    """So many paths, in chunks whose chance is each their own: the answer is the same on any number of processors. Many are left to the compiled
    lanes where the extra `research` is installed; few are done before it has loaded."""
    if paths > PLAIN_MAX and find_spec("numba") is not None:
        return _compiled(goal, worked, limits, paths=paths, seed=seed, told=told)
    counts = _counts(paths, CHUNK)
    chunk = partial(run_chunk, goal, worked, limits, seed)
    count = workers(len(counts))
    if count == 1 or len(counts) <= INLINE:
        return summary(goal, _heard(map(chunk, range(len(counts)), counts), len(counts), told))
    with pool(count) as processes:
        return summary(goal, _heard(processes.map(chunk, range(len(counts)), counts), len(counts), told))


def _compiled(goal: Goal, worked: Worked, limits: Limits, *, paths: int, seed: int, told: Callable[[int, int], None]) -> Simulated:
    from trading_system.sizing import lanes

    counts = _counts(paths, lanes.CHUNK)
    with ThreadPoolExecutor(workers(len(counts))) as threads:  # threads do: compiled code lets go of the interpreter
        chunks = threads.map(partial(lanes.run_chunk, goal, worked, limits, seed), range(len(counts)), counts)
        return lanes.summary(goal, list(_heard(chunks, len(counts), told)), threads.map)


def _counts(paths: int, most: int) -> list[int]:
    return [min(most, paths - start) for start in range(0, paths, most)]


def _heard(chunks: Iterable[Chunk], count: int, told: Callable[[int, int], None]) -> Iterator[Chunk]:
    for done, chunk in enumerate(chunks, 1):
        told(done, count)
        yield chunk
