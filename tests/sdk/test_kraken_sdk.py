"""python-kraken-sdk is a judge of the twin: it runs unchanged, in an environment of its own, and every step must pass."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from trading_system.brokers.kraken.twin import KrakenTwin
from trading_system.sim.host import serve

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-judges" / "bin" / "python"
INSTALLED = all(any((ROOT / ".venv-judges").glob(f"lib/python*/site-packages/{name}")) for name in ("kraken",))
MIN_STEPS = 14


@pytest.mark.judge
@pytest.mark.timeout(120)
@pytest.mark.skipif(not INSTALLED, reason="no python-kraken-sdk in .venv-judges")
async def test_python_kraken_sdk_works_against_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    twin = KrakenTwin(seed=11, start_ns=time.time_ns(), requests_per_minute=100_000)
    async with serve(twin) as host:
        script = str(Path(__file__).with_name("kraken_judge.py"))
        judge = await asyncio.create_subprocess_exec(
            str(PYTHON), script, host.url, host.ws_url, twin.key, twin.secret, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await judge.communicate()
    steps = [json.loads(line) for line in out.splitlines()]
    failed = [step for step in steps if not step["ok"]]
    with capsys.disabled():
        print(f"\npython-kraken-sdk: {len(steps) - len(failed)} steps passed of {len(steps)} tried")

    assert judge.returncode == 0, err.decode()[-2000:]
    assert failed == []
    assert len(steps) >= MIN_STEPS
