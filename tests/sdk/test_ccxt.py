"""ccxt and ccxt.pro, which most people use, are judges of the exchanges' twins: unchanged, in an environment of their own."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from trading_system.brokers.binance.twin import BinanceTwin
from trading_system.brokers.bybit.twin import BybitTwin
from trading_system.brokers.kraken.twin import KrakenTwin
from trading_system.sim.host import serve

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-judges" / "bin" / "python"
SPEED = 10  # a minute bar every six seconds
STEPS = 24
TWINS = {
    "binance ETH/USDT": BinanceTwin,
    "kraken ETH/USD": KrakenTwin,
    "bybit SOL/USDT": BybitTwin,
    "bybit SOL/USDT:USDT": BybitTwin,
    "bybit BTC/USD:BTC": BybitTwin,
}


@pytest.mark.judge
@pytest.mark.timeout(300)
@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-judges: run `make judges`")
@pytest.mark.parametrize("what", TWINS)
async def test_ccxt_works_against_the_twin(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, symbol = what.split()
    twin = TWINS[what](seed=11, start_ns=time.time_ns(), requests_per_minute=100_000)
    async with serve(twin, speed=1) as host:
        script = str(Path(__file__).with_name("ccxt_judge.py"))
        who = (twin.credentials["key"], twin.credentials["secret"])
        judge = await asyncio.create_subprocess_exec(
            str(PYTHON), script, name, host.url, host.ws_url, *who, symbol, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await judge.communicate()
    steps = [json.loads(line) for line in out.splitlines()]
    failed = [step for step in steps if not step["ok"]]
    with capsys.disabled():
        print(f"\nccxt at {name}: {len(steps) - len(failed)} steps passed of {len(steps)} tried")

    assert judge.returncode == 0, err.decode()[-2000:]
    assert failed == []
    assert len(steps) >= STEPS
