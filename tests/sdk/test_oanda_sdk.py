"""OANDA's own v20 package and oandapyV20 are judges of the twin: they run unchanged, in an environment of their own, and every step must pass."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from trading_system.brokers.oanda.twin import OandaTwin
from trading_system.sim.host import serve

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-judges" / "bin" / "python"
JUDGES = {  # what each runs, what it needs, and how many steps there are at least
    "v20": ("oanda_judge.py", ("v20",), 19),
    "oandapyV20": ("oandapy_judge.py", ("oandapyV20", "six.py"), 12),
}


@pytest.mark.judge
@pytest.mark.timeout(120)
@pytest.mark.parametrize("package", sorted(JUDGES))
async def test_oandas_packages_work_against_the_twin(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    script, needed, least = JUDGES[package]
    if missing := [name for name in needed if not any((ROOT / ".venv-judges").glob(f"lib/python*/site-packages/{name}"))]:
        pytest.skip(f"no {', '.join(missing)} in .venv-judges: run `make judges`")
    twin = OandaTwin(seed=11, start_ns=time.time_ns(), requests_per_minute=100_000)
    async with serve(twin) as host:
        judge = await asyncio.create_subprocess_exec(
            str(PYTHON),
            str(Path(__file__).with_name(script)),
            host.url,
            twin.key,
            twin.account_id,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await judge.communicate()
    steps = [json.loads(line) for line in out.splitlines()]
    failed = [step for step in steps if not step["ok"]]
    with capsys.disabled():
        print(f"\n{package}: {len(steps) - len(failed)} steps passed of {len(steps)} tried")

    assert judge.returncode == 0, err.decode()[-2000:]
    assert failed == []
    assert len(steps) >= least
