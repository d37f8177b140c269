"""Bybit's own SDK is a judge of the twin: it runs unchanged, in an environment of its own, and every step must pass."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from trading_system.brokers.bybit.twin import BybitTwin
from trading_system.sim.host import serve

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-judges" / "bin" / "python"
INSTALLED = any((ROOT / ".venv-judges").glob("lib/python*/site-packages/pybit"))
MIN_STEPS = 18


@pytest.mark.judge
@pytest.mark.timeout(180)
@pytest.mark.skipif(not INSTALLED, reason="no pybit in .venv-judges: run `make judges`")
async def test_pybit_works_against_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    twin = BybitTwin(seed=11, start_ns=time.time_ns(), requests_per_minute=100_000)
    async with serve(twin) as host:
        script = str(Path(__file__).with_name("bybit_judge.py"))
        judge = await asyncio.create_subprocess_exec(
            str(PYTHON), script, host.url, host.ws_url, twin.key, twin.secret, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await judge.communicate()
    steps = [json.loads(line) for line in out.splitlines()]
    failed = [step for step in steps if not step["ok"]]
    with capsys.disabled():
        print(f"\npybit: {len(steps) - len(failed)} steps passed of {len(steps)} tried")

    assert judge.returncode == 0, err.decode()[-2000:]
    assert failed == []
    assert len(steps) >= MIN_STEPS
