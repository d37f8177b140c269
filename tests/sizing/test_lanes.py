"""The compiled paths beside the plain ones: the same chances within what chance allows, and the same answer on any number of processors."""

import math
from statistics import pstdev

import pytest

pytest.importorskip("numba", reason="the extra `research` is not installed")

from trading_system.app import planner
from trading_system.sizing import goal as odds
from trading_system.sizing import lanes, paths
from trading_system.sizing.goal import Goal
from trading_system.sizing.paths import Limits, Simulated, Worked

DOUBLE = Goal(capital=5_000, target=10_000, years=1, sharpe=1)
NEAR = Goal(capital=5_000, target=6_000, years=0.5, sharpe=1.5)
ON_CASH = Goal(capital=5_000, target=5_200, years=1, sharpe=1, rate=0.05)
ALL = Limits(leverage=2, daily_loss=0.03, drawdown=0.2, brake=True)
NORMAL, FAT = Worked(volatility=0.2, kelly=1.0, tails="normal"), Worked(volatility=0.2, kelly=0.5)
DAYS = Worked(volatility=0.2, kelly=1.0, tails="sample", sample=(0.03, 0.01, 0.0, 0.002, -0.004, -0.03, 0.01), days_a_year=252)
SURE = 4.5  # standard errors: once in a hundred thousand


def compiled(goal: Goal, worked: Worked, limits: Limits, count: int = 100_000) -> Simulated:
    return planner.simulate(goal, worked, limits, paths=count, seed=1, told=lambda _done, _all: None)


def differ(ours: float, theirs: float, ours_of: int, theirs_of: int = 0) -> float:
    """Two chances, in standard errors of their difference."""
    p = (ours * ours_of + theirs * theirs_of) / (ours_of + theirs_of) if theirs_of else theirs
    error = math.sqrt(max(p * (1 - p), 1e-5) * (1 / ours_of + (1 / theirs_of if theirs_of else 0)))
    return abs(ours - theirs) / error


@pytest.mark.parametrize("k", [0.5, 1.0, 1.5])
def test_compiled_paths_without_limits_are_those_of_the_closed_forms(k: float) -> None:
    found = compiled(DOUBLE, Worked(volatility=0.2, kelly=k, tails="normal"), Limits())

    assert found.compiled
    assert differ(found.p_target, odds.p_terminal(DOUBLE, k), found.paths) < SURE
    assert differ(found.p_touch, odds.p_touch(DOUBLE, k), found.paths) < SURE
    assert abs(math.log(found.median_terminal / 5_000) - odds.growth(k, 1.0)) < SURE * 1.2533 * k / math.sqrt(found.paths)
    for share, z in (("5", -1.6449), ("25", -0.6745), ("75", 0.6745), ("95", 1.6449)):
        assert math.log(found.percentiles[share] / 5_000) == pytest.approx(odds.growth(k, 1.0) + z * k, abs=0.012 * k)


@pytest.mark.parametrize("worked", [NORMAL, FAT, DAYS], ids=["normal", "fat", "sample"])
@pytest.mark.parametrize("goal", [DOUBLE, NEAR, ON_CASH], ids=["double", "near", "on cash"])
@pytest.mark.parametrize("limits", [Limits(drawdown=0.25), Limits(daily_loss=0.02), Limits(leverage=1, brake=True), ALL], ids=str)
def test_compiled_paths_are_those_of_plain_python(goal: Goal, worked: Worked, limits: Limits) -> None:
    chunks = [paths.run_chunk(goal, worked, limits, 7, chunk, paths.CHUNK) for chunk in range(4)]
    plain, found = paths.summary(goal, chunks), compiled(goal, worked, limits)

    assert (plain.compiled, found.compiled) == (False, True)
    for name in ("p_target", "p_touch", "p_halted"):
        assert differ(getattr(plain, name), getattr(found, name), plain.paths, found.paths) < SURE, name
    for place, column in enumerate(found.fan):
        values = [value for chunk in chunks for value in chunk.at[place]]
        for share, quantile in zip(paths.SHARES, column, strict=True):
            # so many of the plain ones are below, and not more; where many are the same (on cash, at a floor), both hold
            error = SURE * math.sqrt(share * (1 - share) * (1 / plain.paths + 1 / found.paths))
            assert sum(value < quantile * (1 - 1e-6) for value in values) / plain.paths <= share + error
            assert sum(value <= quantile * (1 + 1e-6) for value in values) / plain.paths >= share - error
    worst = [min(value, plain.percentiles["5"]) for chunk in chunks for value in chunk.wealth]
    error = pstdev(worst) / paths.SHORTFALL / math.sqrt(plain.paths)
    assert abs(plain.expected_shortfall - found.expected_shortfall) <= SURE * error + 0.01


def test_the_same_seed_is_the_same_answer_on_any_number_of_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    several = compiled(DOUBLE, FAT, ALL, 30_001)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    heard: list[tuple[int, int]] = []

    assert several.paths == 30_001
    assert planner.simulate(DOUBLE, FAT, ALL, paths=30_001, seed=1, told=lambda *done: heard.append(done)) == several
    assert planner.simulate(DOUBLE, FAT, ALL, paths=30_001, seed=2, told=lambda *_: None) != several
    assert heard == [(place, 4) for place in range(1, 5)]


def test_few_paths_are_plain_and_so_are_many_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not compiled(DOUBLE, FAT, ALL, 2_000).compiled
    monkeypatch.setattr(planner, "find_spec", lambda _name: None)
    monkeypatch.setattr(planner, "PLAIN_MAX", 400)
    assert not compiled(DOUBLE, FAT, ALL, 500).compiled


def test_a_lane_too_many_counts_nowhere() -> None:
    one = lanes.run_chunk(DOUBLE, NORMAL, Limits(), 1, 0, 1)

    assert one.at.shape == (paths.CHECKPOINTS, 1)
    assert one.reached + one.halted + one.touched <= 2


def test_without_an_edge_only_cash_grows() -> None:
    found = compiled(Goal(capital=100, target=101, years=1, sharpe=0, rate=0.02), NORMAL, ALL, 30_000)

    assert (found.p_target, found.p_touch, found.p_halted) == (1, 1, 0)
    assert found.median_terminal == pytest.approx(100 * math.exp(0.02))


def test_a_day_that_costs_all_leaves_nothing() -> None:
    worked = Worked(volatility=0.2, kelly=6.0, tails="sample", sample=(1.0, -1.0), days_a_year=1)
    found = compiled(Goal(capital=100, target=200, years=1, sharpe=0.5), worked, Limits(), 30_000)

    assert found.percentiles["5"] < 1e-9
