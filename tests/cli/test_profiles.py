"""Two accounts of one broker, as a person has them: two twins, .env and .env.ira, and the commands that show and use both."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import CLEAN, TRADING, Shell

IRA = "alpaca-ira"


@pytest.fixture(scope="module")
def other() -> Iterator[dict[str, str]]:
    """The twin of the further account."""
    process = subprocess.Popen(
        [*TRADING, "twins", "alpaca", "--json", "--seed", "4", "--rate", "100000"], stdout=subprocess.PIPE, text=True, env=CLEAN
    )
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


@pytest.fixture
def both(tmp_path: Path, twin: dict[str, str], other: dict[str, str]) -> Shell:
    shell = Shell(tmp_path, twin)
    for name, there in ((".env", twin), (".env.ira", other)):
        lines = {"ALPACA_URL": there["rest"], "ALPACA_API_KEY": there["key"], "ALPACA_API_SECRET": there["secret"]}
        lines |= {"PROFILES": "ira"} if name == ".env" else {}
        (tmp_path / name).write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        (tmp_path / name).chmod(0o600)
    shell.env = CLEAN | {"TRADING_HOME": str(tmp_path), "TRADING_ENV_FILE": str(tmp_path / ".env")}
    return shell


def test_what_shows_accounts_shows_both(both: Shell) -> None:
    rows = {row["broker"]: (row["title"], row["configured"]) for row in both.ask("brokers")}
    found = [(line["what"], line["found"]) for line in both.ask("doctor")]
    checked = both.run("check")

    assert (rows["alpaca"], rows[IRA]) == (("Alpaca", "yes"), ("Alpaca (ira)", "yes"))
    assert (f"{IRA} keys", "configured") in found
    assert ("profile", str(both.home / ".env.ira")) in found
    assert [row["setting"] for row in both.ask("credentials", "list") if row["broker"] == IRA] == ["ira.ALPACA_API_KEY", "ira.ALPACA_API_SECRET"]
    assert (checked.returncode, f"{IRA} paper account" in checked.stdout, "alpaca paper account" in checked.stdout) == (0, True, True), checked.stderr
    assert [row["broker"] for row in both.ask("account")["accounts"]] == ["alpaca", IRA]


def test_an_order_goes_to_the_account_that_is_named(both: Shell) -> None:
    unnamed = both.run("buy", "AAPL", "1")
    placed = both.ask("buy", "AAPL", "3", "--broker", IRA)
    held = both.ask("positions")
    book = both.ask("portfolio")

    assert (unnamed.returncode, "--broker: alpaca, alpaca-ira" in unnamed.stderr) == (2, True)
    assert placed["broker"] == IRA
    assert [(row["broker"], row["qty"]) for row in held] == [(IRA, "3")]
    assert (abs(float(book["equity"]) - 200_000) < 100, {row["broker"] for row in book["positions"]}) == (True, {IRA})
    assert both.run("halt", "--scope", IRA).returncode == 0
    refused = both.run("buy", "AAPL", "1", "--broker", IRA)
    assert (refused.returncode, f"{IRA} is halted" in refused.stderr) == (7, True)
    assert both.run("buy", "AAPL", "1", "--broker", "alpaca").returncode == 0
    assert both.run("resume", "--confirm", "resume").returncode == 0
    assert both.run("flatten").returncode == 0


def test_one_key_under_two_names_is_said_and_nothing_starts(both: Shell) -> None:
    (both.home / ".env.ira").write_text((both.home / ".env").read_text().replace("PROFILES=ira\n", ""))
    done = both.run("check")

    assert (done.returncode, "alpaca and alpaca-ira have the same key" in done.stderr) == (2, True)
    assert not os.path.exists(both.home / "twin" / "journal.sqlite")
