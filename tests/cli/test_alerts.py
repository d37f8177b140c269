"""`trading alerts` and a running desk, against a sink on loopback: what is told, what is kept, and that no address is shown."""

import json
import time

import pytest

from tests.cli.shell import Shell
from tests.sink import sink
from trading_system.app.alerts import DeadLetters, Letter

pytest.importorskip("apprise", reason="the extra `alerts` is not installed")
SECOND_NS = 1_000_000_000
TOKEN = "tokencanary0123456789"


def test_the_command_tests_every_address_and_shows_dead_letters(shell: Shell) -> None:
    with sink() as good, sink(404) as broken:
        urls = {"ALERT_URLS": f"json://127.0.0.1:{good.port}", "ALERT_URLS_BACKUP": f"json://127.0.0.1:{broken.port}/{TOKEN}"}
        tested = shell.run("alerts", "--test", **urls)
        assert tested.returncode == 1
        assert "ALERT_URLS, address 1 (JSON): taken after" in tested.stdout
        assert "ALERT_URLS_BACKUP, address 1 (JSON): Failed to send JSON " in tested.stdout
        assert TOKEN not in tested.stdout + tested.stderr
        assert shell.run("alerts", "--test", ALERT_URLS=urls["ALERT_URLS"]).returncode == 0
    assert shell.run("alerts", "--test").returncode == 2
    folder = shell.home / "twin"
    folder.mkdir(exist_ok=True)
    DeadLetters(folder / "dead_letters.jsonl").put([Letter("critical", "smoke", 3, 1_790_000_000 * SECOND_NS)], "first: nobody answers", 7)

    dead = shell.run("alerts", "--dead")
    assert "CRITICAL" in dead.stdout
    assert "smoke (3 times) [first: nobody answers]" in dead.stdout
    assert [row["text"] for row in json.loads(shell.run("alerts", "--dead", "--json").stdout)] == ["smoke"]


def test_a_running_desk_tells_of_a_halt_within_seconds(shell: Shell) -> None:
    with sink() as found, shell.desk(ALERT_URLS=f"json://127.0.0.1:{found.port}"):
        began_ns = time.time_ns()
        assert shell.run("halt", "--reason", "fire drill").returncode == 0
        found.wait_for(1)
        took_s = (found.taken[0][0] - began_ns) / SECOND_NS

    assert found.texts[0] == "WARNING halted all (halt): fire drill"
    assert took_s < 5
