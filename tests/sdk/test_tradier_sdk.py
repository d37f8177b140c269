"""lumiwealth-tradier and uvatradier are judges of the twin: they run unchanged, in an environment of their own, and every step must pass."""

import asyncio
import json
import time
from decimal import Decimal
from pathlib import Path

import pytest

from trading_system.brokers.tradier import facts
from trading_system.brokers.tradier.twin import TradierTwin
from trading_system.sim.host import serve

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-judges" / "bin" / "python"
INSTALLED = all(any((ROOT / ".venv-judges").glob(f"lib/python*/site-packages/{name}")) for name in ("lumiwealth_tradier", "uvatradier"))
MIN_STEPS = 20
MINUTE_NS = 60_000_000_000
DAY_NS = 86_400_000_000_000


@pytest.mark.judge
@pytest.mark.timeout(120)
@pytest.mark.skipif(not INSTALLED, reason="no lumiwealth-tradier and uvatradier in .venv-judges")
async def test_both_sdks_work_against_the_twin(capsys: pytest.CaptureFixture[str]) -> None:
    twin = TradierTwin(seed=11, start_ns=time.time_ns() - 2 * DAY_NS, environment=facts.LIVE, requests_per_minute=100_000)
    twin.transfer(Decimal(500))  # before yesterday: history and gains are written at night
    for side in ("buy", "sell"):
        twin.place({"class": "equity", "symbol": "AAPL", "side": side, "quantity": "2", "type": "market", "duration": "day"})
        twin.advance(twin.now_ns + MINUTE_NS)
    async with serve(twin) as host:
        command = (str(PYTHON), str(Path(__file__).with_name("tradier_judge.py")), host.url, host.ws_url, twin.account_number, twin.token)
        judge = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        out, err = await judge.communicate()
    steps = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    failed = [step for step in steps if not step["ok"]]
    with capsys.disabled():
        print(f"\nlumiwealth-tradier and uvatradier: {len(steps) - len(failed)} steps passed of {len(steps)} tried")

    assert judge.returncode == 0, err.decode()[-2000:]
    assert failed == []
    assert len(steps) >= MIN_STEPS
