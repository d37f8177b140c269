"""`trading events`: a watcher beside everything else, with keys, with a firm's client, and with nothing at all."""

import json
import os
import re
import signal
import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cli.shell import CLEAN, ROOT, TRADING, Shell

NO_KEYS = CLEAN | {"TRADING_ENV_FILE": os.devnull}
OANDA = {"OANDA_API_KEY": "key-of-oanda-12345", "OANDA_ACCOUNT_ID": "101-001-1234567-001"}


def keyless(*args: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*TRADING, "events", *args], env=NO_KEYS, capture_output=True, text=True, timeout=60, check=False)


def events(stdout: str, name: str = "event") -> list[dict[str, Any]]:
    return [line[name] for line in map(json.loads, stdout.splitlines()) if name in line]


@pytest.mark.parametrize("how", [(), ("--sse",), ("--broker-api",)])
def test_without_keys_it_shows_the_twin_and_ends(how: tuple[str, ...]) -> None:
    done = keyless(*how)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No keys in .env: using the twin of Alpaca")
    assert "The orders are over" in done.stdout
    for words in (r"orders: live", r"trade +buy +3 AAPL +3 at [\d.]+ +filled", r"partially_filled", r"canceled +buy +0.1 ETH/USD +limit"):
        assert re.search(words, done.stdout), words
    assert (done.stderr, "\x1b[" in done.stdout) == ("", False)


def test_without_keys_activities_are_the_twins_and_end_with_its_last_trade() -> None:
    done = keyless("--activities")
    lines = [line for line in done.stdout.splitlines() if " TRD " in line]

    assert done.returncode == 0, done.stderr
    assert "activities: live" in done.stdout
    assert "The orders are over" in done.stdout
    for words in (
        r"TRD +buy +3 AAPL +at [\d.]+ +-[\d,.]+ USD +executed",
        r"TRD +sell +3 AAPL +at [\d.]+ +\+[\d,.]+ USD +executed",
        r"TRD +buy +[\d.]+ ETH/USD",
    ):
        assert re.search(words, done.stdout), words
    assert len({line.index(" USD ") for line in lines}) == 1  # columns
    assert (done.stderr, "\x1b[" in done.stdout) == ("", False)


@pytest.mark.parametrize("how", [(), ("--sse",), ("--broker-api",), ("--activities",)])
def test_keys_of_others_are_no_reason_for_the_twin(how: tuple[str, ...]) -> None:
    done = subprocess.run([*TRADING, "events", *how], env=NO_KEYS | OANDA, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Alpaca's only, and the keys here are of oanda: `trading watch " in done.stderr


@pytest.mark.parametrize(("how", "name"), [("--sse", "event"), ("--activities", "activity")])
def test_each_line_of_json_is_an_event_as_documented(how: str, name: str) -> None:
    done = keyless(how, "--json", "--count", "3")
    documented = re.search(rf"^\| `{name}` \| (.*) \|$", (ROOT / "docs" / "CLI.md").read_text(), re.M)
    found = events(done.stdout, name)

    assert done.returncode == 0, done.stderr
    assert documented is not None
    assert len(found) == 3
    assert sorted(found[0]) == sorted(re.findall(r"`([a-z_]+)`", documented.group(1)))
    assert len({event["event_id"] for event in found}) == 3
    assert "No keys in .env" in done.stderr


@pytest.mark.parametrize(("how", "has_ids"), [(("--sse",), True), (("--broker-api",), True), ((), False)])
def test_beside_a_running_desk_it_sees_each_order_once_and_ctrl_c_ends_it(
    shell: Shell, twin: dict[str, str], how: tuple[str, ...], *, has_ids: bool
) -> None:
    firm = {"ALPACA_OAUTH_CLIENT_ID": twin["client_id"], "ALPACA_OAUTH_CLIENT_SECRET": twin["client_secret"]}
    with shell.desk(ALPACA_ORDER_EVENTS="websocket" if has_ids else "sse"):
        watcher = shell.start("events", "--json", *how, **firm)
        assert watcher.stdout is not None
        assert json.loads(watcher.stdout.readline())["stream"]["link"] == "live"
        bought = shell.ask("buy", "AAPL", "1")
        seen = [json.loads(watcher.stdout.readline())["event"] for _ in range(3)]
        watcher.send_signal(signal.SIGINT)
        rest, said = watcher.communicate(timeout=10)

    assert watcher.returncode == 0
    assert "Stopped; nothing at the broker has changed." in said
    assert [(event["cl_ord_id"], event["exec_type"]) for event in seen + events(rest)] == [
        (bought["cl_ord_id"], kind) for kind in ("pending_new", "new", "trade")
    ]
    assert (seen[2]["last_qty"], seen[2]["last_px"], seen[2]["ord_status"]) == ("1", bought["avg_px"], "filled")
    assert [bool(event["event_id"] and event["account"]) for event in seen] == [has_ids] * 3


def test_a_firm_reads_what_is_booked_from_the_past_on(shell: Shell, twin: dict[str, str]) -> None:
    firm = {"ALPACA_OAUTH_CLIENT_ID": twin["client_id"], "ALPACA_OAUTH_CLIENT_SECRET": twin["client_secret"]}
    start = datetime.now(UTC).isoformat()
    bought = shell.ask("buy", "F", "1")
    done = shell.run("events", "--activities", "--since", start, "--count", "1", "--json", **firm)
    (booked,) = events(done.stdout, "activity")

    assert (booked["cl_ord_id"], booked["exec_type"], booked["qty"], booked["price"]) == (bought["cl_ord_id"], "trade", "1", bought["avg_px"])
    assert (booked["amount"], booked["currency"]) == (f"-{bought['avg_px']}", "USD")


def test_it_can_begin_in_the_past(shell: Shell) -> None:
    start = datetime.now(UTC).isoformat()
    bought = shell.ask("buy", "F", "1")
    done = shell.run("events", "--since", start, "--count", "3", "--json")

    assert [event["cl_ord_id"] for event in events(done.stdout)] == [bought["cl_ord_id"]] * 3


@pytest.mark.parametrize(
    ("args", "env", "code", "said"),
    [
        ((), {"ALPACA_API_SECRET": "wrong-secret-here"}, 4, "ALPACA_API_SECRET"),
        (("--sse",), {"ALPACA_API_SECRET": "wrong-secret-here"}, 4, "ALPACA_API_SECRET"),
        (("--sse",), {"ALPACA_API_SECRET": ""}, 4, "ALPACA_API_SECRET is missing"),
        (("--broker-api",), {}, 4, "ALPACA_OAUTH_CLIENT_ID and ALPACA_OAUTH_CLIENT_SECRET missing"),
        (("--activities",), {}, 4, "ALPACA_OAUTH_CLIENT_ID and ALPACA_OAUTH_CLIENT_SECRET missing"),
        (("--activities",), {"ALPACA_OAUTH_CLIENT_ID": "CKsomebody", "ALPACA_OAUTH_CLIENT_SECRET": "wrong-secret-here"}, 4, "invalid_client"),
        (("--broker-api",), {"ALPACA_OAUTH_CLIENT_ID": "CKsomebody"}, 4, "ALPACA_OAUTH_CLIENT_SECRET missing"),
        (("--broker-api",), {"ALPACA_OAUTH_CLIENT_ID": "CKsomebody", "ALPACA_OAUTH_CLIENT_SECRET": "wrong-secret-here"}, 4, "invalid_client"),
        ((), {"ALPACA_URL": "http://127.0.0.1:1"}, 5, "connection"),
        (("--since", "yesterday"), {}, 2, "--since yesterday: a day"),
        (("--since", "2026-11-24T10:00:00"), {}, 2, "with its offset"),
        (("--count", "0"), {}, 2, "--count"),
    ],
)
def test_what_goes_wrong_has_its_exit_code_and_its_advice(shell: Shell, args: tuple[str, ...], env: dict[str, str], code: int, said: str) -> None:
    done = shell.run("events", *args, **env)

    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False), done.stderr
