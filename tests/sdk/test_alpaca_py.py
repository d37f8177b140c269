"""Alpaca's own SDK is a judge of the twin: it runs unchanged, in an environment of its own, and every step must pass."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.sim.host import serve

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-judges" / "bin" / "python"
SPEED = 10  # a minute bar every six seconds
MIN_STEPS = 110


@pytest.mark.judge
@pytest.mark.timeout(300)
@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-judges: run `make judges`")
async def test_alpaca_py_works_against_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    twin = AlpacaTwin(seed=11, start_ns=time.time_ns(), requests_per_minute=100_000)
    async with serve(twin, speed=SPEED) as host:
        script = str(Path(__file__).with_name("alpaca_judge.py"))
        who = (twin.key, twin.secret, twin.broker.client_id, twin.broker.client_secret)
        judge = await asyncio.create_subprocess_exec(
            str(PYTHON), script, host.url, host.ws_url, *who, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await judge.communicate()
    steps = [json.loads(line) for line in out.splitlines()]
    failed = [step for step in steps if not step["ok"]]
    with capsys.disabled():
        print(f"\nalpaca-py: {len(steps) - len(failed)} steps passed of {len(steps)} tried")

    assert judge.returncode == 0, err.decode()[-2000:]
    assert failed == []
    assert len(steps) >= MIN_STEPS
