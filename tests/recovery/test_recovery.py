"""A few real kills and the quick scenes at every test run; `make prove` does them all."""

import pytest

from tests.recovery.points import RECOVERING, Plan, all_points, plans
from tests.recovery.prove import carried_out
from tests.recovery.scenes import SCENES, stopped_for_forty_seconds


@pytest.mark.parametrize(
    "plan",
    [
        Plan((("intent opened > group committed", 1),)),
        Plan((("POST last byte out", 1), ("doubts asked", 1), ("doubts asked", 1))),
        Plan((("halt durable > DELETE last byte out", 1),)),
        Plan((("backup has its head", 1),)),
    ],
    ids=str,
)
async def test_a_killed_desk_comes_back_as_it_was(plan: Plan) -> None:
    outcome = await carried_out(plan, seed=1)

    assert (outcome.killed, outcome.wrong) == (tuple(point for point, _ in plan.lives), ())


@pytest.mark.parametrize("name", [name for name, scene in SCENES.items() if scene is not stopped_for_forty_seconds])
async def test_a_scene_ends_well(name: str) -> None:
    assert await SCENES[name]() == []


def test_every_point_has_its_plan() -> None:
    planned = plans(120)

    assert len(all_points()) >= 40
    assert {point for plan in planned for point, _ in plan.lives} == set(all_points())
    assert {plan.lives[-1][0] for plan in planned if len(plan.lives) == 3} == set(RECOVERING)
