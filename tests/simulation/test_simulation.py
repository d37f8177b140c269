"""A slice of the seeds at every test run, the cases that once failed, and the quickest of the planted bugs. `make prove` runs all."""

from pathlib import Path

import pytest

from tests.simulation.cases import Case, corpus, plain, run, shrink
from tests.simulation.exchanges import EXCHANGES
from tests.simulation.mutants import PATCHES, hunt, plant, read_patch
from tests.simulation.stage import Verdict

QUICK = (
    "alpaca_sends_again",
    "binance_sends_again",
    "blind_retry_same_id",
    "bybit_sends_again",
    "check_then_await",
    "failover_beside_a_doubt",
    "failover_forgets_the_intent",
    "halt_not_persisted",
    "kraken_no_answer_is_not_sent",
    "no_back_fill",
    "no_dedupe",
    "send_before_journal",
    "stranger_ignored",
    "timeout_is_a_reject",
)


@pytest.mark.parametrize("case", [*corpus(), *(Case(layer="core", seed=seed) for seed in range(1, 201))], ids=Case.line)
def test_a_core_seed_holds_every_invariant(case: Case) -> None:
    assert run(case).violations == ()


@pytest.mark.parametrize("seed", range(1, 101))
def test_two_brokers_of_which_one_dies_hold_every_invariant(seed: int) -> None:
    assert run(Case(layer="failover", seed=seed)).violations == ()


@pytest.mark.parametrize("seed", range(1, 61))
def test_a_full_stack_seed_holds_every_invariant(seed: int) -> None:
    assert run(Case(layer="stack", seed=seed)).violations == ()


@pytest.mark.parametrize("case", [plain(layer, seed) for layer in EXCHANGES for seed in range(1, 16)], ids=Case.line)
def test_a_seed_of_an_exchange_holds_every_invariant(case: Case) -> None:
    assert run(case).violations == ()


@pytest.mark.parametrize(
    "case", [Case(layer="core", seed=11), *(plain(layer, 3) for layer in ("core", "failover", "stack", *EXCHANGES))], ids=Case.line
)
def test_a_seed_is_the_same_run_every_time(case: Case) -> None:
    assert run(case) == run(case)


def test_a_case_is_a_line_and_back() -> None:
    case = Case(layer="core", seed=7, skip=frozenset({2, 11}), off=frozenset({"mute"}), venues=1, tilt=frozenset({"bust"}))

    assert Case.parse(case.line() + "  # what it found") == case


def test_a_failing_case_is_shrunk_to_what_it_needs() -> None:
    """Here a case fails as long as its first submit is in the plan: nothing else is left."""
    case = Case(layer="core", seed=5)
    plan = case.options().plan
    needed = plan.index("submit")
    smallest = shrink(case, lambda smaller: needed not in smaller.skip)

    assert smallest.skip == frozenset(range(len(plan))) - {needed}
    assert smallest.venues == 1


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_every_planted_bug_can_still_be_planted(patch: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for hunk in read_patch(patch):
        target = tmp_path / hunk.path
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text((root / hunk.path).read_text())
    plant(patch, tmp_path)


@pytest.mark.parametrize("patch", [patch for patch in PATCHES if patch.stem in QUICK], ids=lambda patch: patch.stem)
def test_a_planted_bug_is_caught(patch: Path) -> None:
    caught = hunt(patch)

    assert caught.case, caught.violation


def test_a_world_that_breaks_down_is_a_violation() -> None:
    verdict = run(Case(layer="core", seed=1, venues=0))

    assert isinstance(verdict, Verdict)
    assert verdict.violations
