"""ib_async and IB's own client are judges of the TWS twin: both run unchanged over its socket, and every step must pass."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from trading_system.brokers.ibkr.twin import TwsTwin
from trading_system.sim.host import serve

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-judges" / "bin" / "python"
INSTALLED = any((ROOT / ".venv-judges").glob("lib/python*/site-packages/ibapi"))


async def judged(interpreter: str, script: str, title: str, capsys: pytest.CaptureFixture[str]) -> int:
    """How many steps passed; all that were tried."""
    twin = TwsTwin(seed=11, start_ns=time.time_ns())
    async with serve(twin) as host:
        path = str(Path(__file__).with_name(script))
        judge = await asyncio.create_subprocess_exec(
            interpreter, path, str(host.port), twin.account, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await judge.communicate()
    steps = [json.loads(line) for line in out.splitlines()]
    failed = [step for step in steps if not step["ok"]]
    with capsys.disabled():
        print(f"\n{title}: {len(steps) - len(failed)} steps passed of {len(steps)} tried")

    assert judge.returncode == 0, err.decode()[-2000:]
    assert failed == []
    return len(steps)


@pytest.mark.judge
@pytest.mark.timeout(120)
async def test_ib_async_works_against_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    assert await judged(sys.executable, "ibkr_judge.py", "ib_async", capsys) == 20


@pytest.mark.judge
@pytest.mark.timeout(120)
@pytest.mark.skipif(not INSTALLED, reason="no nautilus-ibapi in .venv-judges")
async def test_ibs_own_client_works_against_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    assert await judged(str(PYTHON), "ibapi_judge.py", "nautilus-ibapi", capsys) == 12
