"""A state folder, a twin, and `trading` run as a person runs it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TRADING = [sys.executable, "-m", "trading_system.cli.main"]
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("ALPACA", "APCA", "TRADING"))}
ROOT = Path(__file__).parent.parent.parent


class Shell:
    """A home, a twin, and commands against both."""

    def __init__(self, home: Path, twin: dict[str, str]) -> None:
        self.home = home
        self.env = CLEAN | {
            "TRADING_HOME": str(home),
            "TRADING_ENV_FILE": os.devnull,
            "ALPACA_URL": twin["rest"],
            "ALPACA_API_KEY": twin["key"],
            "ALPACA_API_SECRET": twin["secret"],
        }

    def run(self, *args: str, stdin: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*TRADING, *args], env=self.env | env, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def start(self, *args: str, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen([*TRADING, *args], env=self.env | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ask(self, *args: str) -> Any:
        done = self.run(*args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def desk(self, **env: str) -> "Iterator[subprocess.Popen[bytes]]":
        """A running desk, whose output nobody reads."""
        process = subprocess.Popen([*TRADING, "watch", "BTC/USD"], env=self.env | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(self.home / "twin" / "desk.sock")
            yield process
        finally:
            process.kill()
            process.wait(10)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.05)
