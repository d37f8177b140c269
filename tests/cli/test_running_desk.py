"""Commands against a desk that runs in another process: what it answers, what is known when it does not, and what needs no answer."""

import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from trading_system.app.build import _within_budget
from trading_system.app.socket import ANSWER_WITHIN_NS, Client
from trading_system.domain.errors import DeskError, InDoubt, RateLimited, Unavailable
from trading_system.journal.lease import Lease


@pytest.mark.parametrize(("verb", "error"), [("submit", InDoubt), ("cancel", InDoubt), ("flatten", InDoubt), ("orders", Unavailable)])
@pytest.mark.parametrize("end", ["closed", "torn", "reset"])
async def test_a_desk_that_dies_over_a_question_leaves_a_change_in_doubt(tmp_path: Path, verb: str, error: type[DeskError], end: str) -> None:
    listener = listen(tmp_path / "desk.sock")
    client = await Client.connect(tmp_path / "desk.sock")
    taken, _ = listener.accept()
    if end == "torn":
        taken.sendall(b'{"result": ')
    if end != "reset":
        taken.shutdown(socket.SHUT_WR)
    else:
        taken.close()
    with pytest.raises(error) as caught:
        await client.call(verb, {})

    assert caught.value.exit_code == (6 if error is InDoubt else 5)
    assert "Traceback" not in str(caught.value)
    taken.close()
    listener.close()


@pytest.mark.parametrize(("verb", "error"), [("submit", InDoubt), ("orders", Unavailable)])
async def test_a_desk_that_does_not_answer_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, error: type[DeskError]
) -> None:
    monkeypatch.setitem(ANSWER_WITHIN_NS, verb, 50_000_000)  # type: ignore[misc]
    listener = listen(tmp_path / "desk.sock")
    client = await Client.connect(tmp_path / "desk.sock")
    with pytest.raises(error, match="does not answer"):
        await client.call(verb, {})
    listener.close()


def listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.mark.parametrize(("args", "code"), [(("buy", "BTC/USD", "0.01"), 6), (("flatten",), 6), (("positions",), 5)])
def test_a_command_whose_desk_dies_over_it_says_what_is_known(shell: Shell, args: tuple[str, ...], code: int) -> None:
    with Lease(shell.home / "twin" / "desk.lock", "the state folder"), listen(shell.home / "twin" / "desk.sock") as listener:
        command = shell.start(*args)
        taken, _ = listener.accept()
        assert taken.recv(1 << 16)
        taken.close()
        _, said = command.communicate(timeout=20)

    assert (command.returncode, "do not send it again" in said, "Traceback" in said) == (code, code == 6, False), said


def test_halt_needs_no_answer_of_a_desk_that_hangs(shell: Shell) -> None:
    with shell.desk() as desk:
        desk.send_signal(signal.SIGSTOP)
        halt, orders = shell.start("halt", "--kill", "--json"), shell.start("orders")
        out, said = halt.communicate(timeout=20)
        _, unanswered = orders.communicate(timeout=30)
        desk.send_signal(signal.SIGCONT)
        wait_until_halted(shell)

    assert (halt.returncode, "not answer" in said, "KILL" in said) == (0, True, True), said
    assert sorted(json.loads(out)) == ["level", "rule", "scope", "set_ns", "text"]
    assert (shell.home / "twin" / "KILL").exists()
    assert (orders.returncode, "does not answer" in unanswered) == (5, True)


@pytest.mark.parametrize("in_the_way", ["a command", "a full socket", "a damaged journal"])
def test_halt_is_set_whatever_is_in_its_way(shell: Shell, in_the_way: str) -> None:
    folder = shell.home / "twin"
    assert shell.run("account").returncode == 0
    if in_the_way == "a damaged journal":
        (folder / "journal.sqlite").write_bytes(b"?" * 8192)
        halted = shell.run("halt")
    elif in_the_way == "a command":
        with Lease(folder / "desk.lock", "the state folder"):
            halted = shell.run("halt")
    else:
        halted = answered(shell, ("halt",), {"error": "16 others are talking to the desk", "exit_code": 5})

    assert (halted.returncode, str(folder / "HALT") in halted.stderr) == (0, True), halted.stderr
    assert (folder / "HALT").exists()


CANCELED = {"ord_status": "canceled", "doubt": "none"}


@pytest.mark.parametrize(
    ("args", "result", "code"),
    [
        (("cancel", "--all"), [CANCELED, CANCELED | {"ord_status": "pending_cancel"}], 6),
        (("cancel", "--all"), [CANCELED, CANCELED | {"ord_status": "new"}], 1),
        (("cancel", "--all"), [CANCELED | {"ord_status": "pending_new", "doubt": "in_doubt"}], 6),
        (("flatten",), {"positions": [{"dust": False}], "orders": ["q1"], "problems": []}, 6),
        (("flatten",), {"positions": [{"dust": False}], "orders": [], "problems": []}, 1),
        (("flatten",), {"positions": [{"dust": True}], "orders": [], "problems": []}, 0),
        (("flatten",), {"positions": [{}], "orders": [], "problems": ["closed"]}, 1),
        (("check",), {"accounts": [{"broker": "alpaca", "tradable": True}], "risk": {"ready": {"alpaca": False}, "halts": []}, "dead_man": {}}, 1),
        (("check",), {"accounts": [{"broker": "alpaca", "tradable": False}], "risk": {"ready": {"alpaca": True}, "halts": []}, "dead_man": {}}, 1),
        (
            ("check",),
            {"accounts": [{"broker": "alpaca", "tradable": True}], "risk": {"ready": {"alpaca": True}, "halts": [{"scope": "all"}]}, "dead_man": {}},
            7,
        ),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_has_its_code(shell: Shell, args: tuple[str, ...], result: object, code: int) -> None:
    done = answered(shell, (*args, "--json"), {"result": result})

    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


def answered(shell: Shell, args: tuple[str, ...], answer: object) -> "subprocess.CompletedProcess[str]":
    """A command whose running desk gives this answer."""
    with Lease(shell.home / "twin" / "desk.lock", "the state folder"), listen(shell.home / "twin" / "desk.sock") as listener:
        command = shell.start(*args)
        taken, _ = listener.accept()
        assert taken.recv(1 << 16)
        taken.sendall(json.dumps(answer).encode() + b"\n")
        out, said = command.communicate(timeout=20)
        taken.close()
    return subprocess.CompletedProcess(args, command.returncode, out, said)


def wait_until_halted(shell: Shell) -> None:
    deadline = time.monotonic() + 10
    while shell.run("buy", "BTC/USD", "0.01").returncode != 7:
        assert time.monotonic() < deadline


@pytest.mark.parametrize(("waits_ns", "answered", "asked"), [((), True, 1), ((9,), True, 2), ((9, 9), False, 2), ((61_000_000_000,), False, 1)])
async def test_a_command_waits_once_for_a_budget_that_is_spent(waits_ns: tuple[int, ...], answered: bool, asked: int) -> None:
    left, said, count = list(waits_ns), list[str](), 0

    async def ask() -> str:
        nonlocal count
        count += 1
        if left:
            raise RateLimited("spent.", left.pop(0))
        return "done"

    work = _within_budget(ask, said.append)
    if answered:
        assert await work == "done"
    else:
        with pytest.raises(RateLimited):
            await work

    assert (count, said) == (asked, ["spent. … waiting 1 s."] * (asked - 1))


def test_halt_needs_no_keys(shell: Shell) -> None:
    keyless = {"ALPACA_API_KEY": "", "ALPACA_API_SECRET": ""}
    before = shell.run("halt", **keyless)
    assert shell.run("account").returncode == 0
    halted = shell.run("halt", **keyless)

    assert (before.returncode, halted.returncode, str(shell.home / "twin") in halted.stderr) == (4, 0, True), halted.stderr
    assert shell.run("buy", "F", "1").returncode == 7
    assert shell.run("resume", "--confirm", "resume", **keyless).returncode == 0


def test_halt_takes_one_instrument(shell: Shell) -> None:
    halted = shell.ask("halt", "--scope", "alpaca:AAPL")

    assert halted["scope"] == "alpaca:AAPL"
    assert shell.run("buy", "AAPL", "1").returncode == 7
    assert shell.run("buy", "F", "1").returncode == 0
    for wrong in ("alpaca:a b", "nobody:AAPL", "everything"):
        assert shell.run("halt", "--scope", wrong).returncode == 2


def test_the_journal_is_read_through_the_desk_that_holds_it(shell: Shell, tmp_path: Path) -> None:
    before = shell.ask("buy", "AAPL", "1")
    with shell.desk():
        checked = shell.ask("check")
        logged_in = shell.ask("credentials", "check")
        verified = shell.ask("journal", "verify")
        shown = shell.ask("journal", "show", "--last", "5")
        backed_up = shell.ask("journal", "backup", str(tmp_path / "copy.sqlite"))
        exported = [json.loads(line) for line in shell.run("journal", "export", "--json").stdout.splitlines()]
    alone = shell.ask("journal", "verify")
    copy = tmp_path / "copy"
    copy.mkdir()
    (tmp_path / "copy.sqlite").rename(copy / "journal.sqlite")
    (tmp_path / "copy.head").rename(copy / "journal.head")

    assert checked["accounts"][0]["account"] == before["account"] == logged_in["accounts"][0]["account"]
    assert (len(shown), len(verified["digest"])) == (5, 64)
    assert [line["seq"] for line in exported] == list(range(1, len(exported) + 1))
    assert len(exported) >= verified["records"] >= shown[-1]["seq"] > 5
    assert alone["records"] >= len(exported)
    assert shell.ask("journal", "verify", "--folder", str(copy))["records"] >= backed_up["records"]


def test_backup_says_where_it_cannot_write(shell: Shell, tmp_path: Path) -> None:
    assert shell.run("account").returncode == 0
    missing = shell.run("journal", "backup", str(tmp_path / "none" / "copy.sqlite"))
    twice = shell.run("journal", "backup", str(shell.home / "twin" / "journal.sqlite"))

    assert (missing.returncode, "no folder" in missing.stderr) == (2, True), missing.stderr
    assert (twice.returncode, "exists already" in twice.stderr) == (2, True), twice.stderr


def test_a_long_answer_comes_whole(shell: Shell) -> None:
    with shell.desk():
        bars = shell.run("bars", "BTC/USD", "--count", "10000", "--json")

    assert bars.returncode == 0, bars.stderr
    assert len(bars.stdout) > 1 << 20


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"verb": "bars", "args": {"instrument": "AAPL", "period_ns": "x", "count": 1}}, "period_ns"),
        ({"verb": "bars", "args": {"instrument": "AAPL", "period_ns": 7, "count": 1}}, "1Min"),
        ({"verb": "bars", "args": {"instrument": "AAPL", "period_ns": 60_000_000_000, "count": -1}}, "count"),
        ({"verb": "submit", "args": {"instrument": "AAPL", "side": "buy", "order_qty": "1", "intent": "a", "wait_ns": "long"}}, "wait_ns"),
        ({"verb": "acknowledge", "args": {"number": "first"}}, "number"),
        ({"verb": "acknowledge", "args": {"number": "9" * 5000}}, "number"),
        ({"verb": "journal_read", "args": {"after": "x"}}, "after"),
        ({"verb": "journal_backup", "args": {"target": "copy.sqlite"}}, "absolute"),
    ],
)
def test_a_question_that_makes_no_sense_is_answered(shell: Shell, question: dict[str, object], said: str) -> None:
    with shell.desk(), socket.socket(socket.AF_UNIX) as talk:
        talk.settimeout(20)
        talk.connect(str(shell.home / "twin" / "desk.sock"))
        talk.sendall(json.dumps(question).encode() + b"\n")
        answer = json.loads(talk.makefile("rb").readline())

    assert (answer["exit_code"], said in answer["error"]) == (2, True), answer


def test_a_desk_that_is_terminated_leaves_nothing_behind(shell: Shell) -> None:
    with shell.desk() as desk:
        desk.terminate()

        assert desk.wait(15) == 143
    assert not (shell.home / "twin" / "desk.sock").exists()
    assert not (shell.home / "twin" / "heartbeat").exists()


def test_a_running_desk_logs_at_the_level_that_is_set(shell: Shell) -> None:
    running = shell.run("watch", "BTC/USD", "--seconds", "2", LOG_LEVEL="INFO")
    quiet = shell.run("watch", "BTC/USD", "--seconds", "2", LOG_LEVEL="WARNING")
    once = shell.run("account", LOG_LEVEL="INFO")

    assert '"level":"info"' in running.stderr
    assert '"level":"info"' not in quiet.stderr + once.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("buy", "BTC/USD", "0.01"),
        ("bracket", "AAPL", "1", "--stop-loss", "1"),
        ("spread", "1", "buy:AAPL261218C00200000", "sell:AAPL261218C00210000", "--limit", "4"),
    ],
    ids=["buy", "bracket", "spread"],
)
def test_a_dry_run_beside_a_running_desk_is_refused_before_the_desk_hears_of_it(shell: Shell, args: tuple[str, ...]) -> None:
    with Lease(shell.home / "twin" / "desk.lock", "the state folder"), listen(shell.home / "twin" / "desk.sock") as listener:
        command = shell.start(*args, "--dry-run")
        _, said = command.communicate(timeout=20)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()

    assert (command.returncode, "a dry run has a desk of its own" in said) == (2, True), said
