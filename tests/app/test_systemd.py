"""A service manager hears of a desk's start, life and end."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.shell import CLEAN, TRADING
from trading_system.app.systemd import notify


def heard(manager: socket.socket, what: bytes, within_s: float) -> list[bytes]:
    """What was said until then."""
    said, deadline = [], time.monotonic() + within_s
    while time.monotonic() < deadline:
        manager.settimeout(max(0.01, deadline - time.monotonic()))
        said.append(manager.recv(4096))
        if what in said[-1]:
            return said
    raise AssertionError(f"{what!r} was not heard, but {said}")


def test_a_desk_says_that_it_is_ready_that_it_lives_and_that_it_stops(tmp_path: Path) -> None:
    path = tmp_path / "manager"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        env = CLEAN | {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000", "TRADING_ENV_FILE": os.devnull, "TRADING_HOME": str(tmp_path)}
        command = [*TRADING, "serve", "--twin", "--port", "0"]
        desk = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            ready = heard(manager, b"READY=1", 30)[-1]
            alive = [len(heard(manager, b"WATCHDOG=1", 10)) for _ in range(3)]
            desk.send_signal(signal.SIGSTOP)
            time.sleep(0.3)
            manager.settimeout(0.01)
            with suppress(TimeoutError):  # what it said before
                while manager.recv(4096):
                    pass
            manager.settimeout(0.8)
            with pytest.raises(TimeoutError):  # one that hangs says nothing: it would be started anew
                manager.recv(4096)
            desk.send_signal(signal.SIGCONT)
            heard(manager, b"WATCHDOG=1", 10)
            desk.send_signal(signal.SIGTERM)
            heard(manager, b"STOPPING=1", 20)

            assert b"STATUS=paper desk on http://127.0.0.1:" in ready
            assert alive == [1, 1, 1]
            assert desk.wait(30) == 128 + signal.SIGTERM
        finally:
            desk.kill()
            desk.wait()


def test_where_nobody_listens_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    unset = notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))

    assert (unset, notify("READY=1")) == (False, False)
