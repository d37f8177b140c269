"""The command line as a person runs it: processes, exit codes, JSON, and a running desk that other commands use."""

import json
import re
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.cli.shell import CLEAN, TRADING, Shell, wait_for
from tests.factories import approved, wish
from trading_system.domain.ids import BrokerName, ClOrdID
from trading_system.journal.record import Intent
from trading_system.journal.store import Journal


def test_a_day_at_the_command_line(shell: Shell) -> None:
    bought = shell.ask("buy", "AAPL", "3", "--intent", "mine")

    assert (bought["ord_status"], bought["cum_qty"]) == ("filled", "3")
    assert shell.ask("buy", "AAPL", "3", "--intent", "mine")["cl_ord_id"] == bought["cl_ord_id"]
    assert shell.ask("positions")[0]["qty"] == "3"
    assert {fill["cl_ord_id"] for fill in shell.ask("fills")} == {bought["cl_ord_id"]}
    assert "filled" in shell.run("orders", "--all").stdout

    refused = shell.run("buy", "AAPL", "5000")

    assert refused.returncode == 1
    assert "MAX_POSITION_PCT" in refused.stderr

    flat = shell.run("flatten")

    assert (flat.returncode, flat.stdout.strip()) == (0, "Flat: no orders, no positions.")
    assert shell.run("journal", "verify", "--folder", shell.env["TRADING_HOME"] + "/twin").returncode == 0


def test_a_halt_needs_no_broker_and_resume_is_typed_twice(shell: Shell) -> None:
    assert shell.run("halt", ALPACA_URL="http://127.0.0.1:1").returncode == 0
    assert shell.run("buy", "AAPL", "1").returncode == 7
    assert shell.run("resume", stdin="resume\nresum\n").returncode == 2
    assert shell.run("resume", stdin="resume\nresume\n").returncode == 0
    assert shell.run("buy", "F", "1", "--dry-run").returncode == 0


def test_check_says_what_is_halted_and_a_file_in_trading_home_halts_too(shell: Shell) -> None:
    sound = shell.run("check")
    shell.run("halt", "--scope", "alpaca:AAPL")
    halted = shell.run("check")
    shell.run("resume", "--confirm", "resume")
    (shell.home / "HALT").touch()
    by_file, refused = shell.run("check"), shell.run("buy", "F", "1")
    (shell.home / "HALT").unlink()

    assert (sound.returncode, "order stream live, books agree\n" in sound.stdout) == (0, True), sound.stderr
    assert (halted.returncode, "books agree, halted" in halted.stdout, "HALTED alpaca:AAPL: OWNER" in halted.stdout) == (7, True, True)
    assert (by_file.returncode, "the file HALT is in the state folder" in by_file.stdout, "✅" in by_file.stdout) == (7, True, False)
    assert (refused.returncode, "HALT is in the state folder" in refused.stderr) == (7, True), refused


def test_two_exits_are_placed_for_what_is_held(shell: Shell) -> None:
    shell.ask("buy", "AAPL", "4")
    price = float(shell.ask("quote", "AAPL")["bid_px"])
    first = shell.ask("oco", "AAPL", "4", "--take-profit", f"{price * 1.2:.2f}", "--stop-loss", f"{price * 0.9:.2f}")
    exits = shell.ask("orders")

    assert (first["side"], first["ord_type"], first["time_in_force"], first["contingency"]) == ("sell", "limit", "gtc", "oco")
    assert sorted(order["ord_type"] for order in exits) == ["limit", "stop"]
    assert shell.run("flatten").returncode == 0


async def test_a_person_closes_an_order_that_nobody_can_be_asked_about(shell: Shell) -> None:
    """The key of its broker is gone; the command line shows the order, has the word typed, and says what came of it."""
    shell.ask("orders")
    stray = ClOrdID("q1bbbbbbbbbbbbbbbb")
    journal = Journal(shell.home / "twin" / "journal.sqlite")
    await journal.append(Intent(approved=replace(approved(wish(broker=BrokerName("kraken"))), cl_ord_id=stray)), durable=True)
    await journal.aclose()
    (lost,) = shell.ask("orders")
    unknown = shell.run("resolve", "q1cccccccccccccccc")
    refused = shell.run("resolve", stray, stdin="perhaps\n")
    closed = shell.run("resolve", stray, stdin="absent\n")

    assert (lost["cl_ord_id"], lost["doubt"], f"trading resolve {stray}" in lost["text"]) == (stray, "escalated", True)
    assert (unknown.returncode, "no order" in unknown.stderr) == (2, True)
    assert (refused.returncode, "buy 10 AAPL at kraken" in refused.stderr, "the word is absent" in refused.stderr) == (2, True, True)
    assert (closed.returncode, f"{stray} is closed" in closed.stdout) == (0, True), closed.stderr
    assert shell.ask("orders") == []


@pytest.mark.parametrize(
    ("args", "env", "code", "said"),
    [
        (("buy", "BTCUSD", "1"), {}, 2, "write BTC/USD"),
        (("buy", "AAPL"), {}, 2, "quantity or an amount"),
        (("cancel",), {}, 2, "--all"),
        (("nonsense",), {}, 2, "No such command"),
        (("account",), {"ALPACA_API_SECRET": "wrong-secret-here"}, 4, "ALPACA_API_SECRET"),
        (("account",), {"ALPACA_API_KEY": ""}, 4, "trading demo"),
        (("account",), {"ALPACA_URL": "http://127.0.0.1:1"}, 5, "connection"),
        (("account",), {"MAX_LEVERAGE": "lots"}, 2, "MAX_LEVERAGE"),
        (("twins", "nobody"), {}, 2, "no broker 'nobody'"),
        (("arm", "--max-notional", "500", "--until", "2099-01-01"), {}, 2, "24 hours"),
    ],
)
def test_what_goes_wrong_has_its_exit_code_and_its_advice(shell: Shell, args: tuple[str, ...], env: dict[str, str], code: int, said: str) -> None:
    done = shell.run(*args, **env)

    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert shell.env["ALPACA_API_SECRET"] not in done.stderr + done.stdout


def test_a_running_desk_serves_the_other_commands(shell: Shell) -> None:
    watch = subprocess.Popen([*TRADING, "watch", "BTC/USD"], env=shell.env, stdout=subprocess.PIPE, text=True)
    try:
        socket = Path(shell.env["TRADING_HOME"], "twin", "desk.sock")
        for _ in range(100):
            if socket.exists():
                break
            time.sleep(0.1)

        assert socket.stat().st_mode & 0o777 == 0o600
        assert shell.ask("buy", "BTC/USD", "0.01")["ord_status"] == "filled"
        assert shell.run("buy", "F", "1", "--dry-run").returncode == 2
        assert shell.run("journal", "verify", "--folder", str(socket.parent)).returncode == 0
        assert shell.run("halt").returncode == 0
        assert shell.run("buy", "BTC/USD", "0.01").returncode == 7
        assert shell.run("resume", "--confirm", "resume").returncode == 0
        assert shell.ask("flatten")["positions"] == []
    finally:
        watch.send_signal(signal.SIGINT)
        out, _ = watch.communicate(timeout=15)

    assert watch.returncode == 0
    assert "Desk up" in out
    assert "BTC/USD" in out
    assert not socket.exists()


def test_live_is_rehearsed_on_a_live_twin(tmp_path: Path) -> None:
    process = subprocess.Popen([*TRADING, "twins", "alpaca", "--json", "--kind", "live"], stdout=subprocess.PIPE, text=True, env=CLEAN)
    assert process.stdout is not None
    shell = Shell(tmp_path / "home", json.loads(process.stdout.readline()))
    settings = tmp_path / ".env"
    settings.write_text("TRADING_MODE=live\nALPACA_PAPER=false\n")
    settings.chmod(0o600)
    live = {"TRADING_ENV_FILE": str(settings)}
    until = datetime.now(UTC) + timedelta(hours=1)
    arm = ("arm", "--max-notional", "500", "--until", until.isoformat())
    try:
        number = json.loads(shell.run("account", "--json", **live).stdout)["accounts"][0]["account"]
        unarmed = shell.run("buy", "F", "1", **live)
        wrong = shell.run(*arm, stdin="y\n" * 10 + "123\n", **live)
        unsure = shell.run(*arm, stdin="y\nn\n", **live)
        right = shell.run(*arm, stdin="y\n" * 10 + f"{number}\n", **live)
        armed = shell.run("buy", "F", "1", **live)
        beyond = shell.run("buy", "AAPL", "10", **live)
        chosen = {**live, "MAX_DAILY_LOSS_PCT": "0.02", "MAX_DRAWDOWN_PCT": "0.2"}
        explicit = shell.run(*arm, stdin="y\n" * 9 + f"{number}\n", **chosen)
        worthless = [shell.run("arm", "--max-notional", most, *arm[3:], **live).returncode for most in ("0", "-5", "lots", "")]
        paper = shell.run(*arm, ALPACA_PAPER="true", TRADING_MODE="paper")
        settings.chmod(0o644)
        unsafe = shell.run("buy", "F", "1", "--repeat", **live)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)

    assert (unarmed.returncode, "not armed" in unarmed.stderr) == (1, True)
    assert (wrong.returncode, unsure.returncode) == (1, 1)
    assert (right.returncode, "Armed" in right.stdout, "REAL MONEY" in right.stderr) == (0, True, True), right.stderr
    for said in ("CAN LOSE MORE", "INSTANT LIQUIDATION", "NO LEVERAGE", "CANNOT AFFORD TO LOSE", "MONITORING", "TAXES", "WITHDRAW", "GIT", "0.10"):
        assert said in right.stderr.upper(), said
    assert (explicit.returncode, "✓ Risk limits are in use" in explicit.stderr) == (0, True), explicit.stderr
    assert worthless == [2, 2, 2, 2]
    assert (paper.returncode, "paper desk" in paper.stderr) == (1, True)
    assert (armed.returncode, "filled" in armed.stdout) == (0, True)
    assert (beyond.returncode, "500.00" in beyond.stderr) == (1, True)
    assert (unsafe.returncode, "chmod 600" in unsafe.stderr) == (4, True)
    assert shell.run("account", **live, ALPACA_PAPER="true").returncode == 4


def test_a_twin_replays_prices_from_a_file(tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text(
        "time,open,high,low,close,volume\n2020-01-06T14:30:00Z,33.10,33.40,33.00,33.30,5000\n2020-01-06T14:31:00Z,33.30,33.50,33.20,33.40,4000\n"
    )
    process = subprocess.Popen([*TRADING, "twins", "alpaca", "--json", "--replay", f"AAPL={prices}"], stdout=subprocess.PIPE, text=True, env=CLEAN)
    assert process.stdout is not None
    shell = Shell(tmp_path / "home", json.loads(process.stdout.readline()))
    try:
        quote = shell.ask("quote", "AAPL")
        bought = shell.ask("buy", "AAPL", "1")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)

    assert 32 < float(quote["bid_px"]) < 34
    assert 32 < float(bought["avg_px"]) < 34
    for bad in (f"NOPE={prices}", "AAPL", f"AAPL={tmp_path / 'missing'}", f"AAPL={Path(__file__)}"):
        assert shell.run("twins", "alpaca", "--replay", bad).returncode == 2


def test_watch_speaks_json_lines(shell: Shell) -> None:
    done = shell.run("watch", "BTC/USD", "--seconds", "3", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert done.returncode == 0, done.stderr
    assert {next(iter(line)) for line in lines} <= {"quote", "stream", "order", "alert"}
    assert any("quote" in line for line in lines)


def test_the_json_that_is_documented_is_the_json_that_is_printed(shell: Shell) -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "CLI.md").read_text()
    shell.ask("buy", "AAPL", "1")
    found = shell.ask("account")
    shown = {
        "order": shell.ask("orders", "--all")[0],
        "fill": shell.ask("fills")[0],
        "position": shell.ask("positions")[0],
        "account": found["accounts"][0],
        "risk": found["risk"],
        "quote": shell.ask("quote", "AAPL"),
        "bar": shell.ask("bars", "AAPL")[0],
        "halt": shell.ask("halt"),
        "alert": pulled(shell)[0],
    }
    for name, value in shown.items():
        documented = re.search(rf"^\| `{name}` \| (.*) \|$", text, re.M)
        assert documented is not None, name
        assert sorted(re.findall(r"`([a-z_]+)`", documented.group(1))) == sorted(value), name


def pulled(shell: Shell) -> Any:
    """The kill switch's file, found by the next command's desk, and what it raised."""
    assert shell.run("account").returncode == 0
    file = Path(shell.env["TRADING_HOME"]) / "twin" / "KILL"
    file.write_text("drill")
    assert shell.run("positions").returncode == 0
    assert shell.run("resume", "--confirm", "resume").returncode == 2  # as long as the file lies there
    file.unlink()
    return shell.ask("alerts")


def test_a_file_kills_and_an_alert_waits_to_be_seen(shell: Shell) -> None:
    raised = pulled(shell)

    assert any("KILL is in the state folder, or above it in TRADING_HOME: drill" in alert["text"] for alert in raised)
    assert shell.run("buy", "AAPL", "1").returncode == 7
    assert shell.run("alerts", "--ack", "99").returncode == 2
    assert shell.ask("alerts", "--ack", str(raised[0]["number"])) == raised[1:]
    assert shell.ask("alerts", "--ack", "all") == []
    assert shell.run("alerts").stdout.strip() == "Nothing waits to be seen."
    assert shell.run("resume", "--confirm", "resume").returncode == 0
    assert shell.run("buy", "AAPL", "1").returncode == 0


def test_a_guarded_entry_answers_with_its_stop_at_the_broker_and_a_signal_kills(shell: Shell) -> None:
    desk = subprocess.Popen([*TRADING, "watch", "BTC/USD"], env=shell.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(Path(shell.env["TRADING_HOME"]) / "twin" / "desk.sock")
        bid = float(shell.ask("quote", "AAPL")["bid_px"])
        bought = shell.ask("buy", "AAPL", "3", "--protect", str(round(bid * 0.9, 2)))
        (stop,) = shell.ask("orders")

        assert (stop["protects"], stop["ord_status"], stop["ord_type"], stop["order_qty"]) == (bought["cl_ord_id"], "new", "stop", "3")
        assert stop["stop_px"] in shell.run("orders").stdout
        entry = shell.ask("buy", "SPY", "1", "--limit", str(round(float(shell.ask("quote", "SPY")["bid_px"]) * 0.9, 2)))
        desk.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and len(shell.ask("orders")) > 1:
            time.sleep(0.2)

        assert [order["cl_ord_id"] for order in shell.ask("orders")] == [stop["cl_ord_id"]]  # the entry is gone, the stop stays
        assert entry["cl_ord_id"] != stop["cl_ord_id"]
        assert shell.run("buy", "AAPL", "1").returncode == 7
        assert shell.run("flatten").returncode == 0
    finally:
        desk.send_signal(signal.SIGINT)
        desk.wait(15)


def test_a_watchdog_cancels_entries_when_the_desk_has_stopped(shell: Shell) -> None:
    home = Path(shell.env["TRADING_HOME"])
    desk = subprocess.Popen([*TRADING, "watch", "BTC/USD"], env=shell.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    guard = subprocess.Popen([*TRADING, "deadman", "--after", "10"], env=shell.env, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(home / "twin" / "desk.sock")
        shell.ask("buy", "AAPL", "1", "--limit", str(round(float(shell.ask("quote", "AAPL")["bid_px"]) * 0.9, 2)))
        desk.send_signal(signal.SIGSTOP)
        assert guard.stdout is not None
        said = [guard.stdout.readline() for _ in range(4)]
        assert "no heartbeat" in said[1]
        assert "asked to cancel buy AAPL" in said[2]
        assert "no entries are open" in said[3]
        desk.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not shell.ask("alerts"):
            time.sleep(0.2)
        assert shell.run("buy", "AAPL", "1").returncode == 7
        assert shell.ask("orders") == []
    finally:
        desk.send_signal(signal.SIGCONT)
        for process in (desk, guard):
            process.send_signal(signal.SIGINT)
            process.wait(15)
    assert not (home / "twin" / "heartbeat").exists()


def test_commands_that_need_no_account(shell: Shell, tmp_path: Path) -> None:
    env = {"ALPACA_API_KEY": "", "ALPACA_API_SECRET": "", "ALPACA_URL": ""}

    assert "Alpaca" in shell.run("brokers", **env).stdout
    assert "state folder" in shell.run("doctor", **env).stdout
    assert "ALPACA_API_KEY" in shell.run("credentials", "list", **env).stdout
    assert shell.run("credentials", "age", "--json", **env).stdout.strip() == "[]"
    assert shell.run("--version").stdout.startswith("trading, version")
    assert shell.run("journal", "show", "--folder", str(tmp_path)).returncode == 2
    help_text = shell.run("--help").stdout
    commands = "check brokers account positions orders fills buy sell cancel flatten quote watch bars halt resume arm twins demo credentials doctor"
    for command in commands.split():
        assert f"\n  {command} " in help_text


def test_the_demo_runs_and_proves_itself() -> None:
    done = subprocess.run([*TRADING, "demo", "--fast"], env=CLEAN, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    for said in ("refused by CRYPTO_MAX_POSITION_PCT", "parts, on average", "kill -9", "never sent a second time", "exactly one intent"):
        assert said in done.stdout
