"""One twin for the tests of a module, one state folder for each."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.shell import CLEAN, TRADING, Shell


@pytest.fixture(scope="module")
def twin() -> Iterator[dict[str, str]]:
    process = subprocess.Popen(
        [*TRADING, "twins", "alpaca", "--json", "--seed", "3", "--rate", "100000"], stdout=subprocess.PIPE, text=True, env=CLEAN
    )
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0


@pytest.fixture
def shell(tmp_path: Path, twin: dict[str, str]) -> Shell:
    return Shell(tmp_path, twin)
