"""A really full disk: a tmpfs of 24 MiB in a mount namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

MOUNT = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=24m tmpfs "$0" && exec "$@"']


def can_mount(folder: Path) -> bool:
    try:
        return subprocess.run([*MOUNT, str(folder), "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def test_on_a_full_disk_a_halt_is_still_written_and_nothing_is_lost(tmp_path: Path) -> None:
    if not can_mount(tmp_path):
        pytest.skip("a small tmpfs needs root and `unshare -m`; test_disk.py shows the same on the simulated disk")
    told = subprocess.run(
        [*MOUNT, str(tmp_path), sys.executable, "-m", "tests.journal.full", str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert told.stdout.splitlines() == [
        "enough True",
        "low True",
        "halts written 200 reserve False",
        "refused True",
        "restart on the full disk True True",
        "clean restart 1 True",
    ], told.stderr
