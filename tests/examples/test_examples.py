"""The scripts that a newcomer runs first, as a newcomer runs them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
KEYS = ("ALPACA", "APCA", "BINANCE", "BYBIT", "IB", "KRAKEN", "OANDA", "TRADIER", "TRADING")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(KEYS)} | {"TRADING_ENV_FILE": os.devnull}
SUCCESS = r"""✅ All connection tests passed!
📊 Account Info:
  - Buying Power: \$100,000\.00
  - Cash: \$100,000\.00
  - Portfolio Value: \$100,000\.00
"""


COINS_OR_SSE = {"list_crypto_assets.py", "test_crypto_order.py", "test_sse_streaming.py"}  # not every broker has them
OANDA = {"OANDA_API_KEY": "key-of-oanda-12345", "OANDA_ACCOUNT_ID": "101-001-1234567-001", "OANDA_URL": "http://127.0.0.1:1"}
KRAKEN = {"KRAKEN_API_KEY": "key-of-kraken-12345", "KRAKEN_API_SECRET": "c2VjcmV0", "KRAKEN_URL": "http://127.0.0.1:1"}
ALPACA = {"ALPACA_API_KEY": "PKTEST123456", "ALPACA_API_SECRET": "secret-of-alpaca", "ALPACA_URL": "http://127.0.0.1:1"}


def run(name: str, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "examples" / name), *args]
    return subprocess.run(command, env=CLEAN | env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90, check=False)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("[a-z]*.py")))
def test_each_runs_without_keys_on_the_twin(name: str) -> None:
    done = run(name)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No keys in .env: using the twin of Alpaca")


@pytest.mark.parametrize("broker", ["binance", "kraken", "bybit"])
@pytest.mark.parametrize("name", ["quick_connection_test.py", "list_crypto_assets.py", "test_crypto_order.py", "test_broker_connection.py"])
def test_the_crypto_examples_run_on_every_exchanges_twin(name: str, broker: str) -> None:
    done = run(name, "--broker", broker)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"No keys in .env: using the twin of {broker.capitalize()}")


@pytest.mark.parametrize(
    "name",
    sorted({path.name for path in (ROOT / "examples").glob("[a-z]*.py")} - COINS_OR_SSE),
)
def test_each_that_takes_a_broker_runs_on_oandas_twin(name: str) -> None:
    done = run(name, "--broker", "oanda")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No keys in .env: using the twin of OANDA")
    assert "not placed" not in done.stdout


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("quick_connection_test.py", ()),
        ("test_broker_connection.py", ()),
        ("live_trading_example.py", ("AAPL", "60")),
    ],
)
def test_each_that_takes_a_broker_runs_on_tradiers_twin(name: str, args: tuple[str, ...]) -> None:
    done = run(name, "--broker", "tradier", *args)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No keys in .env: using the twin of Tradier")
    assert "not placed" not in done.stdout


def test_the_loop_of_coins_says_that_tradier_has_none() -> None:
    done = run("live_trading_crypto.py", "--broker", "tradier")

    assert (done.returncode, "tradier lists no BTC in dollars" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


@pytest.mark.parametrize("broker", ["oanda", "tradier"])
@pytest.mark.parametrize("name", ["list_crypto_assets.py", "test_crypto_order.py"])
def test_what_is_about_coins_says_where_there_are_none(name: str, broker: str) -> None:
    done = run(name, "--broker", broker)

    assert (done.returncode, re.search("lists no (coins|BTC)", done.stderr) is None, "✅" in done.stdout) == (2, False, False), done.stderr


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("[a-z]*.py")))
def test_the_keys_that_are_there_are_used_whoever_the_broker_is(name: str, tmp_path: Path) -> None:
    done = run(name, **OANDA, TRADING_HOME=str(tmp_path))
    code, said = (2, "Alpaca alone") if name == "test_sse_streaming.py" else (5, "oanda")

    assert (done.returncode, said in done.stderr, "twin" in done.stdout, "Traceback" in done.stderr) == (code, True, False, False), done.stderr
    assert done.stdout == ("" if code == 2 else "Using your OANDA keys (paper).\n")


@pytest.mark.parametrize(
    ("env", "args", "code", "said"),
    [
        (OANDA | KRAKEN | ALPACA, (), 5, "Using your Alpaca keys (paper)."),
        (OANDA | KRAKEN | ALPACA, ("--broker", "kraken"), 5, "Using your Kraken keys (paper)."),
        (OANDA | ALPACA | {"ALPACA_PAPER": "false"}, (), 5, "Using your OANDA keys (paper)."),  # Alpaca is left out
        (OANDA | KRAKEN, (), 2, "say which with --broker: kraken, oanda"),
        (OANDA, ("--broker", "kraken"), 4, "no keys of Kraken"),
        (OANDA, ("--broker", "alpaca-ira"), 2, "no broker 'alpaca-ira'"),
        ({}, ("--broker", "alpaca-ira"), 2, "no broker 'alpaca-ira'"),
        ({}, ("--broker",), 2, "no broker ''"),
        ({"ALPACA_OAUTH_CLIENT_ID": "CKsomebody"}, (), 4, "ALPACA_API_KEY"),
        ({"IBKR_CLIENT_ID": "somebody"}, (), 4, "IB_ACCOUNT"),
        ({"MAX_LEVERAGE": "many"}, (), 2, "MAX_LEVERAGE"),
    ],
)
def test_which_broker_it_is(tmp_path: Path, env: dict[str, str], args: tuple[str, ...], code: int, said: str) -> None:
    done = run("quick_connection_test.py", *args, **env, TRADING_HOME=str(tmp_path))

    assert (done.returncode, "using the twin" in done.stdout, "Traceback" in done.stderr) == (code, False, False), done.stderr
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["quick_connection_test.py", "test_broker_connection.py"])
def test_the_connection_examples_run_on_the_twin_of_tws(name: str) -> None:
    done = run(name, "--broker", "ibkr")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No keys in .env: using the twin of Interactive Brokers")


def test_an_unknown_broker_is_named() -> None:
    done = run("quick_connection_test.py", "--broker", "nobody")

    assert (done.returncode, "no broker 'nobody'" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_the_quick_test_prints_what_the_guide_says(tmp_path: Path) -> None:
    assert re.search(SUCCESS, run("quick_connection_test.py").stdout)


def test_keys_are_used_and_rejected_keys_never_fall_back_to_the_twin(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trading_system.cli.main", "twins", "alpaca", "--json"]
    twin = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=CLEAN)
    assert twin.stdout is not None
    where = json.loads(twin.stdout.readline())
    env = {"ALPACA_URL": where["rest"], "ALPACA_API_KEY": where["key"], "ALPACA_API_SECRET": where["secret"], "TRADING_HOME": str(tmp_path)}
    good = run("quick_connection_test.py", **env)
    bad = run("quick_connection_test.py", **(env | {"ALPACA_API_SECRET": "not-the-secret"}))
    events = run("test_sse_streaming.py", "--seconds", "1", **env)
    ordered = run("test_sse_streaming.py", "--order", **env)
    deaf = run("test_sse_streaming.py", **(env | {"ALPACA_API_SECRET": "not-the-secret"}))
    twin.terminate()
    twin.wait(10)

    assert good.stdout.startswith("Using your Alpaca keys (paper).")
    assert re.search(SUCCESS, good.stdout)
    assert (bad.returncode, "twin" in bad.stdout) == (4, False)
    assert "ALPACA_API_KEY" in bad.stderr
    assert (events.returncode, "read only" in events.stdout, "passed! 0 events" in events.stdout) == (0, True, True), events.stderr
    assert (ordered.returncode, "passed! 4 events" in ordered.stdout) == (0, True), ordered.stderr
    assert (deaf.returncode, "ALPACA_API_KEY" in deaf.stderr) == (4, True)


@pytest.mark.parametrize(("given", "missing"), [("ALPACA_API_KEY", "ALPACA_API_SECRET"), ("ALPACA_API_SECRET", "ALPACA_API_KEY")])
def test_half_a_key_pair_is_an_error_and_no_reason_for_the_twin(given: str, missing: str) -> None:
    done = run("quick_connection_test.py", **{given: "PK12345678"})

    assert (done.returncode, f"{missing} is missing" in done.stderr, done.stdout) == (4, True, "")


@pytest.mark.parametrize("folder", [ROOT, ROOT / "examples"])
def test_the_guides_import_line_works_from_a_checkout(folder: Path) -> None:
    code = "from src.brokers.credentials import BrokerCredentials; print(BrokerCredentials.from_env())"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=CLEAN, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout.strip()) == (0, "BrokerCredentials(nothing configured)"), done.stderr
