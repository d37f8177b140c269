"""A few real kills and the quick scenes at every test run; `make prove` does them all."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from tests.recovery.points import RECOVERING, Plan, all_points, plans
from tests.recovery.prove import carried_out
from tests.recovery.scenes import SCENES, stopped_for_forty_seconds
from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.domain.errors import JournalError
from trading_system.sim.host import serve


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


async def test_a_disk_that_failed_ends_the_desk(tmp_path: Path) -> None:
    """Row 60: a desk that cannot remember must not look alive. `trading watch` then ends with 8."""
    twin = AlpacaTwin(start_ns=time.time_ns(), requests_per_minute=1_000_000)
    config = load_config({"TRADING_HOME": str(tmp_path)}, env_file=Path(os.devnull))

    async def day(account: build.Account) -> None:
        async with build.open_desk(config, (account,), folder=tmp_path / "twin", listen=False) as desk:
            desk.journal._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to be full
            for _ in range(9):
                desk.alert("info", "x" * 9_000)
            await asyncio.sleep(30)

    async with serve(twin) as host:
        with pytest.raises(JournalError, match="the disk refused"):
            await day(build.twin_account("alpaca", {"rest": host.url, "key": twin.key, "secret": twin.secret}))


@pytest.mark.parametrize("name", [name for name, scene in SCENES.items() if scene is not stopped_for_forty_seconds])
async def test_a_scene_ends_well(name: str) -> None:
    assert await SCENES[name]() == []


def test_every_point_has_its_plan() -> None:
    planned = plans(140)

    assert len(all_points()) >= 40
    assert {point for plan in planned for point, _ in plan.lives} == set(all_points())
    assert {plan.lives[-1][0] for plan in planned if len(plan.lives) == 3} == set(RECOVERING)
