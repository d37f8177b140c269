"""Options on coins as a person meets them: the chain, an order by the name it shows, the position."""

import json
import signal
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.shell import CLEAN, TRADING, Shell

D = Decimal


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    process = subprocess.Popen([*TRADING, "twins", "bybit", "--json", "--rate", "100000"], stdout=subprocess.PIPE, text=True, env=CLEAN)
    assert process.stdout is not None
    twin = json.loads(process.stdout.readline())
    shell = Shell(tmp_path, twin)
    ours = {name: value for name, value in shell.env.items() if not name.startswith("ALPACA")}
    shell.env = ours | {"BYBIT_URL": twin["rest"], "BYBIT_API_KEY": twin["key"], "BYBIT_API_SECRET": twin["secret"]}
    yield shell
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_a_chain_names_what_can_be_ordered(shell: Shell) -> None:
    chain = shell.ask("chain", "BTC/USDT", "--broker", "bybit", "--right", "call")
    shown = shell.run("chain", "BTC/USDT", "--broker", "bybit")
    line = chain["options"][len(chain["options"]) // 2]
    order = shell.ask("buy", line["instrument"], "0.01", "--limit", str(Decimal(line["ask_px"]) * D("1.1") // 5 * 5))
    positions = shell.run("positions")
    protected = shell.run("buy", line["instrument"], "0.01", "--limit", line["ask_px"], "--protect", "5")
    hours = shell.run("hours", "--broker", "bybit")

    assert line["instrument"].startswith("BTC-")
    assert (line["greeks"]["rho"], Decimal(line["greeks"]["delta"]) > 0) == (None, True)
    assert line["instrument"].split("-")[1] in shown.stdout
    assert "trading buy BTC-" in shown.stdout
    assert (order["ord_status"], order["instrument"], order["time_in_force"]) == ("filled", line["instrument"], "gtc")
    assert line["instrument"] in positions.stdout
    assert (hours.returncode, "`trading quote` shows when" in hours.stderr) == (2, True)
    assert (protected.returncode, "CAPABILITY" in protected.stderr) == (1, True)
