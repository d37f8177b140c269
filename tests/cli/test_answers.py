"""Exit codes and words: what a command says when it cannot, and what it prints for programs."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import click
import pytest

from tests.cli.shell import CLEAN, ROOT, TRADING, Shell
from trading_system.app.views import order_view
from trading_system.cli.accounts import show_orders
from trading_system.cli.main import trading
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID
from trading_system.domain.order import Leg, Order
from trading_system.journal.lease import Lease
from trading_system.settings.credentials import AGE_WARN_DAYS


@pytest.mark.parametrize(
    ("args", "env", "code", "said"),
    [
        (("quote", "BTCUSD"), {}, 2, "write BTC/USD"),
        (("bars", "BTCUSD"), {}, 2, "write BTC/USD"),
        (("bars", "NOPE"), {}, 2, "has no NOPE"),
        (("buy", "AAPL", "1", "--intent", ""), {}, 2, "intent"),
        (("twins", "alpaca", "--cash", "-5"), {}, 2, "0 or more"),
        (("account",), {"TRADING_HOME": "/dev/null"}, 2, "TRADING_HOME"),
        (("account",), {"TRADING_HOME": "/proc/none"}, 2, "TRADING_HOME"),
        (("halt",), {"TRADING_HOME": "/dev/null"}, 2, "TRADING_HOME"),
        (("credentials", "age"), {"TRADING_HOME": "/dev/null"}, 2, "cannot be used"),
        (("account",), {"TRADING_TAPE": "/none/tape"}, 2, "TRADING_TAPE"),
        (("account",), {"TRADING_TAPE": "/tmp"}, 2, "TRADING_TAPE"),
        (("account",), {"BASE_CURRENCY": "EUR"}, 2, "kept in USD"),
        (("account",), {"ALPACA_API_SECRET": ""}, 4, "ALPACA_API_SECRET is missing"),
        (("account",), {"ALPACA_API_SECRET": "wrong-secret-here"}, 4, "extra spaces"),
        (("account",), {"ALPACA_URL": "http://127.0.0.1:1"}, 5, "VPN may block"),
        (("halt", "--kill"), {"ALPACA_URL": "http://127.0.0.1:1"}, 5, "halted, but the working entries"),
        (("journal", "verify"), {}, 2, "no journal in"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_code(shell: Shell, args: tuple[str, ...], env: dict[str, str], code: int, said: str) -> None:
    done = shell.run(*args, **env)

    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr


@pytest.mark.parametrize("command", [("account",), ("doctor",), ("credentials", "list"), ("events",)])
@pytest.mark.parametrize("kind", ["folder", "link to nothing", "no text"])
def test_settings_that_cannot_be_read_are_named(tmp_path: Path, kind: str, command: tuple[str, ...]) -> None:
    path = tmp_path / ".env"
    if kind == "folder":
        path.mkdir()
    elif kind == "no text":
        path.write_bytes(b"ALPACA_API_KEY=\xff\n")
    else:
        path.symlink_to(tmp_path / "none")
    env = {name: value for name, value in CLEAN.items() if name != "TRADING_ENV_FILE"} | {"TRADING_HOME": str(tmp_path / "home")}
    done = subprocess.run([*TRADING, *command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, ".env cannot be read" in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_a_port_in_use_is_said(shell: Shell) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = shell.run("twins", "alpaca", "--port", str(taken.getsockname()[1]))

    assert (done.returncode, "Address already in use" in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_a_spent_budget_tells_the_seconds_and_the_budget(tmp_path: Path) -> None:
    process = subprocess.Popen([*TRADING, "twins", "alpaca", "--json", "--rate", "1"], stdout=subprocess.PIPE, text=True, env=CLEAN)
    assert process.stdout is not None
    shell = Shell(tmp_path, json.loads(process.stdout.readline()))
    done = shell.run("account")
    process.terminate()

    assert process.wait(10) == 143
    assert done.returncode == 5
    assert re.search(r"Wait \d+ s; the budget is 1 requests a minute", done.stderr), done.stderr
    assert "second copy" in done.stderr


def test_dry_run_by_setting_is_as_good_as_by_option(shell: Shell) -> None:
    assert shell.run("buy", "AAPL", "1", DRY_RUN="true").returncode == 0
    assert shell.run("buy", "AAPL", "1", "--dry-run", "--repeat").returncode == 0
    assert "filled" not in shell.run("orders", "--all").stdout


def test_a_cancel_says_whether_the_order_is_gone(shell: Shell) -> None:
    low = str(round(float(shell.ask("quote", "AAPL")["bid_px"]) * 0.9, 2))
    resting, filled = shell.ask("buy", "AAPL", "1", "--limit", low), shell.ask("buy", "F", "1")

    assert shell.run("cancel", resting["cl_ord_id"]).returncode == 0
    assert shell.run("cancel", resting["cl_ord_id"]).returncode == 0
    assert shell.run("cancel", filled["cl_ord_id"]).returncode == 1
    assert shell.run("cancel", "--all").returncode == 0


def test_old_keys_are_told_of_and_a_damaged_list_of_ages_stops_nothing(shell: Shell) -> None:
    assert shell.run("account").returncode == 0
    ages = shell.home / "credentials.json"
    first = json.loads(ages.read_text())
    assert len(first) == 2  # noted when a desk opened
    late_ns = time.time_ns() - (AGE_WARN_DAYS + 1) * 86_400_000_000_000
    ages.write_text(json.dumps(dict.fromkeys(first, late_ns)))
    for command in ("check", "doctor"):
        told = shell.run(command)
        assert f"{AGE_WARN_DAYS + 1} days" in told.stdout + told.stderr, command
    ages.write_text("{")

    assert shell.run("account").returncode == 0
    for words, code in ((("check",), 0), (("doctor",), 0), (("credentials", "age"), 2)):
        told = shell.run(*words)
        assert (told.returncode, "delete" in told.stdout + told.stderr, "Traceback" in told.stderr) == (code, True, False), told.stderr


def examined(shell: Shell, **env: str) -> dict[str, tuple[str, bool]]:
    """What doctor found."""
    done = shell.run("doctor", "--json", **env)
    assert done.returncode == 0, done.stderr
    return {row["what"]: (row["found"], row["ok"]) for row in json.loads(done.stdout)}


def test_doctor_names_the_state_folder_its_disk_and_who_is_at_work(shell: Shell, tmp_path: Path) -> None:
    leases = tmp_path / "machine" / "trading_system" / "leases"
    machine = {"XDG_STATE_HOME": str(tmp_path / "machine")}
    before = examined(shell, **machine)
    with shell.desk(**machine) as desk, Lease(leases / "kraken-live-a1-b2.lock", "it"), Lease(leases / "kraken-live-N7.lock", "it"):
        during = examined(shell, **machine)
    after = examined(shell, **machine)

    assert before["state folder"] == (str(shell.home / "twin"), True)
    assert re.fullmatch(r"can be written, [\d.]+ GB free", before["disk"][0])
    assert (before["desk"], "another desk" in before) == (("none is at work here", True), False)
    assert during["desk"] == (f"the state folder twin is in use by process {desk.pid}", True)
    assert during["another desk"] == (f"process {os.getpid()} uses the live account at kraken", True)
    assert (after["desk"], "another desk" in after) == (before["desk"], False)


@pytest.mark.parametrize("home", ["/proc/none", "/dev/null"])
def test_doctor_says_where_nothing_can_be_written(shell: Shell, home: str) -> None:
    found, ok = examined(shell, TRADING_HOME=home)["disk"]

    assert (f"{home.removesuffix('/none')} cannot be written" in found, "Set TRADING_HOME" in found, ok) == (True, True, False)


def test_doctor_tells_what_the_kernel_knows_of_the_clock(shell: Shell) -> None:
    found, ok = examined(shell)["clock"]

    assert re.fullmatch(r"(not known here|NTP does not set it: switch it on|NTP sets it, at most [\d.]+ s off); `trading check` compares .*", found)
    assert ok is not found.startswith("NTP does not")


@pytest.mark.parametrize(
    ("package", "extra", "command"),
    [
        *((name, "exchange", ["account"]) for name in ("aiohttp", "apsw", "picows")),
        ("plotly", "research", ["backtest", "buy-and-hold", "--invented", "50", "--html", "report.html"]),
    ],
)
def test_a_missing_package_is_said_with_its_mend(shell: Shell, package: str, extra: str, command: list[str]) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; sys.argv = ['trading', *{command!r}]; from trading_system.cli.main import run; run()"
    done = subprocess.run([TRADING[0], "-c", code], env=shell.env, capture_output=True, text=True, check=False)

    assert (done.returncode, f'uv pip install -e ".[{extra}]"' in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr
    assert f"the package {package} is missing" in done.stderr


def test_brokers_shows_what_each_takes(shell: Shell) -> None:
    crypto = [line for line in shell.ask("brokers")[0]["orders"] if line["asset_class"] == "crypto"]

    assert [(line["ord_types"], line["times_in_force"]) for line in crypto] == [(["limit", "market", "stop_limit"], ["gtc", "ioc"])]
    assert "stop_limit" in shell.run("brokers").stdout
    told = {row["broker"]: max((line["legs_max"], line["combo_legs_max"]) for line in row["orders"]) for row in shell.ask("brokers")}
    assert (told["alpaca"], told["tradier"], told["kraken"]) == ((4, 0), (4, 3), (0, 0))


def test_an_accounts_history_is_a_line_and_a_table(shell: Shell) -> None:
    found = shell.ask("account", "--history", "--period", "1D", "--timeframe", "1Min")
    shown = shell.run("account", "--history", "--period", "1D", "--timeframe", "1Min").stdout

    assert sorted(found) == ["base_value", "broker", "points", "timeframe"]
    assert sorted(found["points"][0]) == ["equity", "open_ns", "profit_loss", "profit_loss_pct"]
    assert re.search(r"^[▁▂▃▄▅▆▇█]+  1D, 1Min$", shown, re.M), shown
    assert "Equity" in shown
    assert shell.run("account", "--history", "--period", "1Y").returncode == 2


def test_every_command_that_prints_data_prints_json_and_is_documented() -> None:
    text = (ROOT / "docs" / "CLI.md").read_text()
    table = text[text.index("| Command | Prints |") : text.index("While a desk runs")]
    context = click.Context(trading)
    commands: dict[str, click.Command] = {}
    for name in trading.list_commands(context):
        command = trading.get_command(context, name)
        assert command is not None
        commands |= {f"{name} {sub}": item for sub, item in command.commands.items()} if isinstance(command, click.Group) else {name: command}
    del commands["deadman"], commands["init"]  # say what they do, for as long as they run, and ask

    for name, command in commands.items():
        assert any("--json" in option.opts for option in command.params), name
        assert f"`{name}`" in table, name


def test_the_demo_prints_json() -> None:
    done = subprocess.run([*TRADING, "demo", "--json"], env=CLEAN, capture_output=True, text=True, timeout=60, check=False)
    proof = json.loads(done.stdout)

    assert done.returncode == 0, done.stderr
    assert sorted(proof) == ["digest", "exactly_once", "intents", "orders_at_broker", "records", "seed"]
    assert "kill -9" in done.stderr


def test_a_credential_that_is_set_is_told_by_its_fingerprint(tmp_path: Path) -> None:
    drawer = tmp_path / "drawer.py"
    drawer.write_text(
        "import keyring.backend\n\n\nclass Drawer(keyring.backend.KeyringBackend):\n    priority = 1\n\n"
        "    def get_password(self, service, username):\n        return None\n\n"
        "    def set_password(self, service, username, password):\n        pass\n"
    )
    env = CLEAN | {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "drawer.Drawer", "TRADING_ENV_FILE": os.devnull}
    command = [*TRADING, "credentials", "set", "alpaca_api_key", "--json"]
    done = subprocess.run(command, env=env, input="PK12345678\n", capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)) == ["fingerprint", "service", "user"]
    assert "PK12345678" not in done.stdout


def test_who_keeps_no_list_of_what_was_closed_says_so(shell: Shell) -> None:
    done = shell.run("gains")

    assert (done.returncode, "keeps no list of closed positions" in done.stderr) == (2, True)


def test_the_markets_day_and_the_strikes_of_a_day_are_told(shell: Shell) -> None:
    now, listed = shell.ask("hours"), shell.ask("strikes", "AAPL")
    shown = shell.run("strikes", "AAPL", "--expiry", listed["expiries"][1]).stdout

    assert sorted(now) == ["broker", "next_ns", "next_state", "state", "text", "transact_ns"]
    assert re.fullmatch(rf"alpaca: {now['state']} at .* UTC, {now['next_state']} from .* UTC on\.\n", shell.run("hours").stdout)
    assert sorted(listed) == ["broker", "expiries", "expiry", "strikes", "underlying"]
    assert listed["strikes"] == sorted(listed["strikes"], key=Decimal)
    assert f"options of {listed['expiries'][1]}." in shown


def test_instruments_are_found_by_a_part_of_their_name(shell: Shell) -> None:
    documented = re.search(r"^\| `search` \| (.*) \|$", (ROOT / "docs" / "CLI.md").read_text(), re.M)
    (found,) = shell.ask("search", "bitcoin")

    assert documented is not None
    assert sorted(found) == sorted(re.findall(r"`([a-z_]+)`", documented.group(1)))
    assert (found["instrument"], found["asset_class"]) == ("BTC/USD", "crypto")
    assert "AAPL" in shell.run("search", "apple").stdout
    assert "Try a shorter part" in shell.run("search", "nobody-at-all").stdout


def test_news_are_shown_and_followed(shell: Shell) -> None:
    documented = re.search(r"^\| `article` \| (.*) \|$", (ROOT / "docs" / "CLI.md").read_text(), re.M)
    found = shell.ask("news", "AAPL", "BTC/USD", "--count", "3")
    shown = shell.run("news").stdout

    assert documented is not None
    assert sorted(found[0]) == sorted(re.findall(r"`([a-z_]+)`", documented.group(1)))
    assert all({"AAPL", "BTCUSD"} & set(item["symbols"]) for item in found)
    assert shown.count("[Invented]") == 10

    reader = shell.start("news", "--follow", "--json")
    assert reader.stdout is not None
    assert json.loads(reader.stdout.readline())["stream"]["link"] == "live"
    reader.send_signal(signal.SIGINT)
    assert (reader.wait(10), "Stopped." in reader.communicate()[1]) == (0, True)
    assert shell.run("news", "--follow", ALPACA_API_SECRET="wrong-secret-here").returncode == 4


def test_an_order_of_several_legs_shows_them_as_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    legs = (Leg(InstrumentID("AAPL"), Side.BUY, 100), Leg(InstrumentID("AAPL261218C00210000"), Side.SELL, 1))
    order = Order(
        cl_ord_id=ClOrdID("q1aaaaaaaaaaaaaaaa"),
        broker=BrokerName("tradier"),
        account="VA1",
        instrument=InstrumentID("AAPL"),
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.DAY,
        order_qty=Decimal(1),
        price=Decimal("195.90"),
        legs=legs,
        text="InitialMargin",
    )
    show_orders([order_view(order)], "")

    assert "buy:AAPL:100 sell:AAPL261218C00210000; InitialMargin" in capsys.readouterr().out
