"""Sweeps: every combination once, the same on any number of processors, and a verdict that luck does not pass and skill does."""

import json
import math
from random import Random

import pytest
from click.testing import CliRunner

from tests.factories import AAPL, BROKER, D
from trading_system.brokers import registry
from trading_system.cli.main import trading
from trading_system.domain.errors import BadRequest
from trading_system.domain.market import Bar
from trading_system.research.backtest import Setup, run
from trading_system.research.data import Action, instrument_of, invented
from trading_system.research.stats import summary
from trading_system.research.sweep import Trial, deflated, expected_best, grid, overfitting, sampled, sweep, verdict
from trading_system.strategy.buy_and_hold import BuyAndHold

SETUP = Setup(facts=registry.facts(BROKER), instruments=(instrument_of(BROKER, AAPL),), cash=D(5_000))


def test_a_grid_is_every_combination_and_a_sample_some_of_them() -> None:
    given = {"fast": ["2", "3"], "slow": ["8", "13", "21"]}

    assert len({tuple(trial.items()) for trial in grid(given)}) == 6
    assert len({tuple(trial.items()) for trial in sampled(given, 4, 1)}) == 4
    assert len(sampled(given, 100, 1)) == 6
    assert sampled(given, 4, 1) == sampled(given, 4, 1) != sampled(given, 4, 2)
    with pytest.raises(BadRequest, match="say what to try"):
        grid({})
    with pytest.raises(BadRequest, match="more than"):
        grid({str(place): [str(value) for value in range(20)] for place in range(3)})


def test_a_value_that_is_named_twice_is_tried_once() -> None:
    assert grid({"fast": ("5", "5", "9")}) == [{"fast": "5"}, {"fast": "9"}]
    assert sampled({"fast": ("5", "5")}, 2, seed=1) == [{"fast": "5"}]


def test_a_sweep_is_the_same_on_one_processor_and_says_what_it_could_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = grid({"fast": ["2", "5", "9"], "slow": ["8"]})
    done: list[int] = []
    several = sweep("ma-cross", trials, [invented(AAPL, 200, 3)], SETUP, told=done.append)
    monkeypatch.setattr("os.cpu_count", lambda: 1)

    assert sweep("ma-cross", trials, [invented(AAPL, 200, 3)], SETUP) == several
    assert [bool(trial.error) for trial in several] == [False, False, True]
    assert done == [1, 2, 3]


def test_the_best_of_many_without_an_edge_is_as_good_as_expected() -> None:
    rng = Random(3)
    best = [max(rng.gauss(0, 1) for _ in range(50)) for _ in range(4_000)]

    assert expected_best(50, 1.0) == pytest.approx(sum(best) / len(best), abs=0.05)
    assert expected_best(1, 1.0) == 0


def made(mean: float, seed: int, days: int = 500) -> Trial:
    rng = Random(seed)
    returns = tuple(rng.gauss(mean, 0.01) for _ in range(days))
    ratio = sum(returns) / days / 0.01 * math.sqrt(252)
    return Trial(parameters={"seed": str(seed)}, sharpe=ratio, total_return=0.0, max_drawdown=0.0, trips=1, returns=returns)


def test_luck_does_not_pass_and_skill_does() -> None:
    luck = [verdict([made(0.0, 100 * group + place) for place in range(30)]) for group in range(30)]
    skill = verdict([*(made(0.0, place) for place in range(30)), made(0.003, 99)])

    assert sum(said is not None and said.deflated > 0.95 for said in luck) <= 4
    assert 0.3 < sum((said.overfit or 0.0) for said in luck if said is not None) / 30 < 0.7  # as often as a coin
    assert skill is not None
    assert (skill.best.parameters, skill.deflated > 0.95, (skill.overfit or 0.0) < 0.05) == ({"seed": "99"}, True, True)


def test_what_is_too_little_says_so() -> None:
    assert overfitting([[0.1] * 10, [0.2] * 10]) is None
    assert overfitting([[0.1] * 100]) is None
    assert deflated([0.0] * 10, 0.0) == 0
    assert verdict([Trial(parameters={}, sharpe=None, total_return=0, max_drawdown=0, trips=0, returns=())]) is None


def test_a_sweep_knows_splits_and_dividends() -> None:
    days = invented(AAPL, 100, 3)
    begins = [day.open_ns for day in days if isinstance(day, Bar)]
    actions = [Action(instrument=AAPL, now_ns=begins[50], split=D(4)), Action(instrument=AAPL, now_ns=begins[60], dividend=D(1))]
    (trial,) = sweep("buy-and-hold", [{}], [days], SETUP, actions=actions)

    assert trial.total_return == summary(run([BuyAndHold()], [days], SETUP, actions=actions)).total_return
    assert trial.total_return != summary(run([BuyAndHold()], [days], SETUP)).total_return


def test_a_sweep_at_the_command_line() -> None:
    args = ["sweep", "ma-cross", "--invented", "300", "--grid", "fast=2,3", "--grid", "slow=8,13"]
    silent = {"TRADING_ENV_FILE": "/dev/null", "COLUMNS": "120"}
    shown = CliRunner().invoke(trading, args, env=silent, catch_exceptions=False)
    found = json.loads(CliRunner().invoke(trading, [*args, "--random", "3", "--json"], env=silent, catch_exceptions=False).stdout)

    assert shown.exit_code == 0, shown.output
    assert "deflated Sharpe ratio" in shown.output
    assert len(found["trials"]) == 3
    assert found["verdict"]["trials"] == 3
