"""What the documents say to type: every command is understood, and those of the guides run, against twins."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from tests.cli.shell import ROOT, TRADING
from trading_system.cli.main import trading

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "brokers").glob("*.md")])
GUIDES = ("README", "BROKER_API_CONNECTION_GUIDE", "CRYPTO_TRADING_GUIDE", "SSE_STREAMING_GUIDE", "FIRST_STRATEGY", "HTTP_API")
SETTINGS = "ALPACA|APCA|BINANCE|KRAKEN|BYBIT|OANDA|TRADIER|IB|TRADING|WEB_"
SEEDS = {"alpaca": 7, "binance": 3, "kraken": 3, "bybit": 3}
STAYS = ("watch", "run", "serve", "twins", "deadman", "events")  # until Ctrl-C, but with --count
ELSEWHERE = {"demo": "tests/cli/test_answers.py", "init": "tests/cli/test_init.py", "credentials": "tests/settings", "arm": "tests/cli/test_cli.py"}
CONTRACT = re.compile(r"-\d{5,}-[CP]/|\d{6}[CP]\d{8}")  # one option among those that there are today
PLACEHOLDER = re.compile(r"…|\[|--help|\b(NAME|NUMBER|COMMAND|SEED|STRATEGY)\b")
DIP = re.search(r"^```python\n(.*?class Dip.*?)^```$", (ROOT / "docs" / "FIRST_STRATEGY.md").read_text(), re.M | re.S)


def typed(path: Path) -> Iterator[str]:
    """The lines to type, one at a time, without their comments and prompts."""
    for kind, body in re.findall(r"^ *```(bash|console)\n(.*?)^ *```$", path.read_text(), re.M | re.S):
        for line in body.splitlines():
            command = line.strip().removeprefix("$ ") if kind == "bash" or line.startswith("$ ") else ""
            for part in re.sub(r"\s+#.*", "", command).split("; "):
                if part:
                    yield part.removesuffix(" &")


def named(path: Path) -> list[str]:
    """Commands within a sentence, each once."""
    found = (command.removesuffix(" &") for command in re.findall(r"`(trading [^`]+)`", path.read_text()) if not PLACEHOLDER.search(command))
    return list(dict.fromkeys(found))


def understood(command: str) -> None:
    """Raises click.UsageError: no such command, option or value."""
    found, context, args = trading, click.Context(trading, info_name="trading"), shlex.split(command)[1:]
    while isinstance(found, click.Group):
        name = args.pop(0)
        inner = found.get_command(context, name)
        assert inner is not None, f"no command {name}"
        found = inner
    found.make_context(found.name, args, parent=context)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_of_the_documents_is_understood(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dip.py").touch()
    (tmp_path / "aapl.csv").touch()
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    for command in named(path):
        with suppress(click.MissingParameter, click.BadOptionUsage):  # a command that is named, not one to type
            understood(command)
    for command in typed(path):
        program, *args = command.split()
        if program == "trading":
            understood(command)
        elif program == "make":
            assert args[0] in targets, command
        elif program == "python" and args[0].startswith("examples/"):
            text = "".join((ROOT / name).read_text() for name in (args[0], "examples/_desk.py", "examples/_work.py"))
            assert all(f'"{flag}"' in text for flag in args if flag.startswith("--")), command


class Owner:
    """A folder as a user has one: `.env`, a home, and twins of the brokers that it names; with a desk that serves, or without."""

    def __init__(self, folder: Path, *brokers: str, more: tuple[str, ...] = (), serves: bool = False) -> None:
        """more: options of the twins."""
        self.folder = folder
        self.env = {name: value for name, value in os.environ.items() if not re.match(SETTINGS, name)}
        self.env |= {"PATH": f"{Path(sys.executable).parent}:{self.env['PATH']}", "TRADING_HOME": str(folder / "home")}
        quick = {"alpaca": ("--rate", "6000")}  # nobody types that quickly: each command that opens a desk asks a dozen things
        self.twins = [self._start("twins", broker, "--seed", str(SEEDS.get(broker, 3)), *quick.get(broker, ()), *more) for broker in brokers]
        lines = ["ENABLE_SHORTS=true", "MAX_CONCURRENT_POSITIONS=9"]
        for process in self.twins:
            assert process.stdout is not None
            use = next(line for line in map(bytes.decode, process.stdout) if line.startswith("Use it:"))
            lines += re.findall(r"[A-Z_]+=\S+", use)
        if brokers:
            (folder / ".env").write_text("\n".join(lines) + "\n")
            (folder / ".env").chmod(0o600)
        if DIP is not None:
            (folder / "dip.py").write_text(DIP[1])
        self.desks = [self._start("serve", "--port", "0", "--json")] if serves else []  # a start costs most of what Kraken lets a key ask
        for desk in self.desks:
            assert desk.stdout is not None
            assert json.loads(desk.stdout.readline())["environment"] == "paper"

    def _start(self, *args: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*TRADING, *args], cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def run(self, command: str, stdin: str = "") -> tuple[int, str]:
        """Its exit code, and what it said beside its data."""
        done = subprocess.run(
            shlex.split(command), cwd=self.folder, env=self.env, input=stdin, capture_output=True, text=True, timeout=90, check=False
        )
        return done.returncode, (done.stdout + done.stderr)[-400:]

    def stay(self, command: str) -> tuple[int, str]:
        """Let it say something, then Ctrl-C. A program that ends by itself has its own code."""
        process = subprocess.Popen(shlex.split(command), cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        first = process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        code = process.returncode
        stopped = code in (130, -signal.SIGINT)  # the second: it had come to its end by itself, and Python's own was taken away already
        return 0 if stopped and first else code, (first + rest).decode()[-400:]

    def close(self) -> None:
        for process in (*self.desks, *self.twins):
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Owner]]:
    """One without keys, one with a broker, one with several."""
    found = {
        "nobody": Owner(tmp_path_factory.mktemp("nobody")),
        "one": Owner(tmp_path_factory.mktemp("one"), "alpaca"),
        "several": Owner(tmp_path_factory.mktemp("several"), *SEEDS, serves=True),
    }
    yield found
    for owner in found.values():
        owner.close()


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", GUIDES)
def test_the_guides_commands_run(owners: dict[str, Owner], name: str) -> None:
    failed = []
    for command in typed(next(path for path in DOCUMENTS if path.stem == name)):
        program, *args = command.split()
        if program != "trading" or args[0] in ELSEWHERE or CONTRACT.search(command):
            continue
        keyless = "--twin" in args or args[0] in ("twins", "events")
        owner = owners["nobody" if keyless else "several" if name.startswith("CRYPTO") or ("--broker" in args and "alpaca" not in args) else "one"]
        began = time.monotonic()
        code, said = owner.stay(command) if args[0] in STAYS and "--count" not in args else owner.run(command)
        print(f"{time.monotonic() - began:6.1f} s  {code}  {command}")
        if args[0] == "halt":
            owner.run("trading resume --confirm resume")
        if code:
            failed.append(f"{command}: {code} {said}")
    for owner in (owners["one"], owners["several"]):
        owner.run("trading flatten --all")

    assert failed == []


@pytest.mark.prove
@pytest.mark.timeout(180)
@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "brokers").glob("*.md")), ids=lambda page: page.stem)
def test_the_commands_of_a_brokers_page_run(page: Path, tmp_path: Path) -> None:
    """All that are whole, on that broker's twin and one desk."""
    broker, _, web = page.stem.partition("_")
    for name in ("nobody", "owner"):
        (tmp_path / name).mkdir()
    nobody = Owner(tmp_path / "nobody")  # has no keys: a twin of its own answers
    owner, failed = Owner(tmp_path / "owner", broker, more=("--web",) if web else (), serves=True), []
    try:
        for command in named(page):
            verb = command.split()[1]
            try:
                understood(command)
            except (click.MissingParameter, click.BadOptionUsage):
                continue
            if verb in ELSEWHERE or CONTRACT.search(command):
                continue
            typed_twice = f"{command} --confirm resume" if verb == "resume" else command
            who = nobody if verb == "events" else owner
            code, said = who.stay(command) if verb in STAYS or "--follow" in command else who.run(typed_twice)
            if code:
                failed.append(f"{command}: {code} {said}")
    finally:
        owner.close()

    assert failed == []
