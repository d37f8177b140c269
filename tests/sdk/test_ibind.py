"""ibind is a judge of the twin of the Web API: it runs unchanged, and every step must pass, by gateway and by OAuth 1.0a."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from trading_system.brokers.ibkr.twin.web import WebTwin
from trading_system.sim.host import serve

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-judges" / "bin" / "python"
INSTALLED = any((ROOT / ".venv-judges").glob("lib/python*/site-packages/ibind"))
MIN_STEPS = 22


@pytest.mark.judge
@pytest.mark.timeout(180)
@pytest.mark.skipif(not INSTALLED, reason="no ibind in .venv-judges")
@pytest.mark.parametrize("login", ["gateway", "oauth1a"])
async def test_ibind_works_against_the_twin(login: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = WebTwin(seed=11, start_ns=time.time_ns(), requests_per_minute=100_000, login=login)
    async with serve(twin) as host:
        twin.logins.base = host.url
        where = [f"{host.url}/v1/api/", f"{host.ws_url}/v1/api/ws", twin.account]
        if login == "oauth1a":
            (tmp_path / "consumer.json").write_text(json.dumps(twin.credentials))
            where.append(str(tmp_path / "consumer.json"))
        script = str(Path(__file__).with_name("ibkr_web_judge.py"))
        judge = await asyncio.create_subprocess_exec(str(PYTHON), script, *where, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        out, err = await judge.communicate()
    steps = [json.loads(line) for line in out.splitlines()]
    failed = [step for step in steps if not step["ok"]]
    assert [f"{step['step']}: {step['error']}" for step in failed] == []
    with capsys.disabled():
        print(f"\nibind ({login}): {len(steps) - len(failed)} steps passed of {len(steps)} tried")

    assert failed == []
    assert judge.returncode == 0, err.decode()[-2000:]
    assert len(steps) >= MIN_STEPS
