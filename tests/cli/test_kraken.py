"""What only Kraken has, as a person sees it: orders that are checked there in a dry run, and the dead man's switch in `trading check`."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import CLEAN, TRADING, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    process = subprocess.Popen([*TRADING, "twins", "kraken", "--json", "--rate", "100000"], stdout=subprocess.PIPE, text=True, env=CLEAN)
    assert process.stdout is not None
    twin = json.loads(process.stdout.readline())
    shell = Shell(tmp_path, twin)
    ours = {name: value for name, value in shell.env.items() if not name.startswith("ALPACA")}
    shell.env = ours | {"KRAKEN_URL": twin["rest"], "KRAKEN_API_KEY": twin["key"], "KRAKEN_API_SECRET": twin["secret"]}
    yield shell
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


def test_a_dry_run_shows_what_kraken_says_and_ends_with_it(shell: Shell) -> None:
    taken = shell.run("buy", "ETH/USD", "0.1", "--dry-run", "--json")
    refused = shell.run("buy", "ETH/USD", "0.00001", "--dry-run", "--json", VALIDATE_ORDERS="false")

    assert (taken.returncode, json.loads(taken.stdout)["text"].partition(": buy")[0]) == (
        0,
        "dry run: nothing was placed; Kraken has checked it and would take it",
    )
    assert (refused.returncode, "EOrder:Order minimum not met" in json.loads(refused.stdout)["text"]) == (1, True)
    assert shell.ask("account")["accounts"][0]["cash"] == "100000"


def test_check_says_whether_the_switch_is_armed(shell: Shell) -> None:
    wanted = {"KRAKEN_DEAD_MAN": "true"}
    alone = shell.run("check", **wanted)
    with shell.desk(**wanted):
        beside = [shell.run("check", **wanted) for _ in range(3)][-1]

    assert "dead man's switch off: a desk that lives for one command does not arm it" in alone.stdout
    assert "dead man's switch armed" in beside.stdout
    assert "dead man" not in shell.run("check").stdout
