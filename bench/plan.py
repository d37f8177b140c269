"""The paths of the goal beside other ways to draw them, in one run of alternating rounds: a million paths of 252 normal days with a drawdown stop.

The matrix of numpy is what most people write: normal variates, their running sums, the best so far, the first day below the stop. It looks at the
end of each day only; ours also knows whether a path touched the stop or the target within the day. quantstats (in its own environment) shuffles a
record of returns, fewer times; its seconds are scaled up. All that a contender reports is counted; imports and compiling are not.
"""

import math
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

from trading_system.app.planner import PLAIN_MAX, simulate
from trading_system.sizing.goal import Goal
from trading_system.sizing.paths import Limits, Simulated, Worked

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-backtesters" / "bin" / "python"
PATHS, DAYS, STOP, ROUNDS = 1_000_000, 252, 0.3, 5
ROWS = 50_000  # of the matrix at a time: a million would be 2 GB
SHUFFLED = 2_000
GOAL = Goal(capital=5_000, target=500_000, years=1, sharpe=1)
WORKED = Worked(volatility=0.2, kelly=0.5, tails="normal", days_a_year=DAYS)
FAT = Worked(volatility=0.2, kelly=0.5)
OWNER = Limits(leverage=2, daily_loss=0.03, drawdown=0.2, brake=True)
QUANTSTATS = f"""
import time, numpy, pandas, quantstats
days = pandas.Series(numpy.random.default_rng(1).normal(0.0005, 0.01, {DAYS}), pandas.date_range("2025-01-01", periods={DAYS}))
quantstats.stats.montecarlo(days, sims=10, bust=-{STOP}, goal=1.0, seed=1)
started = time.perf_counter()
found = quantstats.stats.montecarlo(days, sims={SHUFFLED}, bust=-{STOP}, goal=1.0, seed=1)
found.stats, found.bust_probability, found.goal_probability
print(time.perf_counter() - started)
"""


def ours(paths: int, worked: Worked, limits: Limits, threads: int) -> tuple[float, Simulated]:
    with patch("os.cpu_count", lambda: threads):
        started = time.perf_counter()
        found = simulate(GOAL, worked, limits, paths=paths, seed=1, told=lambda _done, _all: None)
        return time.perf_counter() - started, found


def matrix() -> tuple[float, float]:
    """Seconds, and the share that was stopped."""
    started = time.perf_counter()
    chance, scale = np.random.default_rng(1), 0.5 * math.sqrt(1 / DAYS)
    drift, fall = (0.5 - 0.125) / DAYS, math.log1p(-STOP)
    ends, stopped = [], 0
    for _ in range(PATHS // ROWS):
        walk = np.cumsum(chance.standard_normal((ROWS, DAYS)) * scale + drift, axis=1)
        floor = np.maximum.accumulate(np.maximum(walk, 0), axis=1) + fall
        below = walk <= floor
        hit, first = below.any(axis=1), below.argmax(axis=1)
        ends.append(np.where(hit, floor[np.arange(ROWS), first], walk[:, -1]))
        stopped += int(hit.sum())
    wealth = GOAL.capital * np.exp(np.concatenate(ends))
    np.percentile(wealth, [5, 25, 50, 75, 95])
    np.mean(wealth >= GOAL.target)
    return time.perf_counter() - started, stopped / PATHS


def shuffles() -> float | None:
    """Seconds of quantstats for so many; None: it is not installed."""
    if not PYTHON.exists():
        return None
    done = subprocess.run([str(PYTHON), "-c", QUANTSTATS], capture_output=True, text=True, check=False)
    try:
        return float(done.stdout.strip().splitlines()[-1]) * PATHS / SHUFFLED
    except (IndexError, ValueError):
        print(f"  quantstats did not run: {done.stderr.strip().splitlines()[-1:]}")
        return None


def main() -> None:
    stop = Limits(drawdown=STOP)
    contenders: dict[str, Callable[[], float | None]] = {
        "numpy matrix": lambda: matrix()[0],
        "ours, compiled, one thread": lambda: ours(PATHS, WORKED, stop, 1)[0],
        "ours, compiled, two threads": lambda: ours(PATHS, WORKED, stop, 2)[0],
        f"quantstats, scaled from {SHUFFLED:,}": shuffles,
    }
    _, found = ours(PATHS, WORKED, stop, 2)  # compiles
    assert found.compiled, "the extra `research` is not installed"
    print(f"{PATHS:,} paths × {DAYS} days, a stop at {100 * STOP:.0f} % from the best: seconds, median of {ROUNDS} rounds (× as fast as the matrix)")
    print(f"  stopped: {100 * matrix()[1]:.2f} % of the matrix's at the end of a day, {100 * found.p_halted:.2f} % of ours at any time")
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            if (seconds := run()) is not None:
                took[name].append(seconds)
    base = statistics.median(took["numpy matrix"])
    for name, values in took.items():
        if values:
            print(f"  {name:32} {statistics.median(values):8.2f}  {base / statistics.median(values):7.1f}")
    print("As `trading plan` draws them (365 days, fat tails, every limit, the brake): seconds")
    print(f"  {PATHS:,} compiled paths, two threads {ours(PATHS, FAT, OWNER, 2)[0]:8.2f}")
    print(f"  {PLAIN_MAX:,} paths in plain Python, two processes {ours(PLAIN_MAX, FAT, OWNER, 2)[0]:8.2f}")


if __name__ == "__main__":
    main()
