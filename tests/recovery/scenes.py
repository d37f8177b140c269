"""Scenes with real processes that end otherwise than by a kill: a desk that is stopped and goes on, two desks on one account, an older program."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.sim.host import serve
from trading_system.transport.message import Request, Response

TRADING = (sys.executable, "-m", "trading_system.cli.main")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("ALPACA", "APCA", "TRADING"))}
STOPPED_S = 40
UP_WITHIN_S = 30
COMMAND_WITHIN_S = 90


class Watched(AlpacaTwin):
    """A twin that remembers what was asked of it, in order, and may do something while it handles a POST."""

    def __init__(self) -> None:
        super().__init__(seed=9, start_ns=time.time_ns(), requests_per_minute=1_000_000, orders_streams=10)
        self.asked: list[str] = []
        self.on_post: Callable[[], None] | None = None

    def handle(self, request: Request, now_ns: int) -> Response:
        self.asked.append(f"{request.method} {request.url}")
        if request.method == "POST" and self.on_post is not None:
            self.on_post()
            self.on_post = None
        return super().handle(request, now_ns)

    def by_hand(self, qty: str) -> None:
        """The owner trades on the broker's own page."""
        body = {"symbol": "BTC/USD", "qty": qty, "side": "buy", "type": "market", "time_in_force": "gtc", "client_order_id": "by-hand"}
        headers = {"APCA-API-KEY-ID": self.key, "APCA-API-SECRET-KEY": self.secret, "Content-Type": "application/json"}
        super().handle(Request(method="POST", url="/v2/orders", headers=headers, body=json.dumps(body).encode()), time.time_ns())


class Shell:
    """A home, and commands in it."""

    def __init__(self, home: str, url: str, twin: AlpacaTwin) -> None:
        self.folder = Path(home) / "twin"
        self.env = CLEAN | {
            "TRADING_HOME": home,
            "TRADING_ENV_FILE": os.devnull,
            "ALPACA_URL": url,
            "ALPACA_API_KEY": twin.key,
            "ALPACA_API_SECRET": twin.secret,
        }

    async def start(self, *args: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *TRADING, *args, env=self.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, preexec_fn=_hear_sigint
        )

    async def run(self, *args: str) -> tuple[int, str]:
        return await ended(await self.start(*args))

    async def ask(self, *args: str) -> Any:
        code, said = await self.run(*args, "--json")
        assert code == 0, said
        return json.loads(said)

    @asynccontextmanager
    async def desk(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await self.start("watch", "BTC/USD")
        try:
            for _ in range(UP_WITHIN_S * 20):
                if (self.folder / "desk.sock").exists():
                    break
                await asyncio.sleep(0.05)
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
                await ended(process)

    def records(self) -> list[dict[str, Any]]:
        """Of a running desk: its journal is locked; a copy is not, and whatever of it can be read will do."""
        with tempfile.TemporaryDirectory() as folder:
            for suffix in ("", "-wal"):
                source = Path(f"{self.folder / 'journal.sqlite'}{suffix}")
                if source.exists():
                    Path(folder, f"copy{suffix}").write_bytes(source.read_bytes())
            with closing(sqlite3.connect(Path(folder, "copy"))) as db, suppress(sqlite3.DatabaseError):
                return [json.loads(body) for (body,) in db.execute("SELECT body FROM records ORDER BY seq")]
        return []


def _hear_sigint() -> None:
    """A shell's background jobs ignore it, and so would their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Raises TimeoutError: it does not end; then it is ended."""
    try:
        out, _ = await asyncio.wait_for(process.communicate(), COMMAND_WITHIN_S)
    except TimeoutError:
        process.kill()
        raise
    return process.returncode or 0, out.decode()


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Watched, Shell, Callable[[], Shell]]]:
    """A twin, a home, and a maker of further homes at the same twin."""
    twin = Watched()
    with tempfile.TemporaryDirectory(prefix="scene") as folder:
        async with serve(twin) as host:

            def home() -> Shell:
                return Shell(tempfile.mkdtemp(dir=folder), host.url, twin)

            yield twin, home(), home


async def stopped_for_forty_seconds() -> list[str]:
    """SIGSTOP while an order's answer is on its way; the owner trades by hand meanwhile; another order waits for the desk when it goes on."""
    wrong = []
    async with stage() as (twin, shell, _), shell.desk() as desk:
        await shell.ask("buy", "BTC/USD", "0.01")
        twin.on_post = lambda: os.kill(desk.pid, signal.SIGSTOP)
        interrupted = await shell.start("buy", "BTC/USD", "0.02")
        await asyncio.sleep(STOPPED_S - 5)
        twin.by_hand("0.03")
        waiting = await shell.start("buy", "BTC/USD", "0.015")
        await asyncio.sleep(5)
        before = len(twin.asked)
        os.kill(desk.pid, signal.SIGCONT)
        (first, told), (second, refused) = await ended(interrupted), await ended(waiting)
        for _ in range(20):
            code, said = await shell.run("buy", "BTC/USD", "0.005")
            if code == 0:
                break
            await asyncio.sleep(0.2)
        after = twin.asked[before:]
        looked = [number for number, line in enumerate(after) if "/v2/orders?status=open" in line or "activities/FILL" in line]
        posts = [number for number, line in enumerate(after) if line.startswith("POST")]
        if code != 0:
            wrong.append(f"no new order for long after it went on: {said}")
        if first not in (0, 6) or (second != 0 and "READY" not in refused):
            wrong.append(f"the order on its way ended with {first} ({told}), the one that waited with {second} ({refused})")
        if posts and (len(looked) < 2 or posts[0] < looked[1]):
            wrong.append("a new order left before orders and fills were read again")
        wrong += [f"{count} submits of {name}" for name, count in twin.trading.posts.items() if count > 1]
        held = (await shell.ask("positions"))[0]["qty"]
        if held != str(twin.exchange.position("BTC/USD").normalize()):
            wrong.append(f"position: {twin.exchange.position('BTC/USD')} there, {held} here")
        if not any(record["type"] == "alert" and "stood still" in record["text"] for record in shell.records()):
            wrong.append("nobody was told of the standstill")
    return wrong


async def two_desks_on_one_account() -> list[str]:
    """In the same home the second one ends with 3. In another home nothing on this machine can know; the venue's orders tell both."""
    wrong = []
    async with stage() as (_, shell, home), shell.desk():
        code, said = await shell.run("watch", "BTC/USD")
        if code != 3 or "another desk" not in said:
            wrong.append(f"the second desk ended with {code}: {said}")
        other = home()
        async with other.desk():
            await shell.ask("buy", "BTC/USD", "0.01")
            wrong += await _halted(other, "STRANGER")
            refused, said = await other.run("buy", "BTC/USD", "0.01")
            if refused != 7:
                wrong.append(f"the other desk goes on: {refused} {said}")
    return wrong


async def an_older_journal_is_put_back() -> list[str]:
    """Journal and head from one backup, consistent in themselves: only the venue knows that there was more. Nothing is traded then."""
    wrong = []
    async with stage() as (_, shell, _home):
        await shell.ask("buy", "BTC/USD", "0.01")
        await shell.run("journal", "backup", str(shell.folder / "old.sqlite"), "--folder", str(shell.folder))
        await shell.ask("buy", "BTC/USD", "0.02")
        (shell.folder / "journal.sqlite-wal").unlink(missing_ok=True)
        for suffix in (".sqlite", ".head"):
            (shell.folder / f"old{suffix}").replace(shell.folder / f"journal{suffix}")
        async with shell.desk():
            wrong += await _halted(shell, "STRANGER")
    return wrong


async def an_older_program_meets_a_newer_journal() -> list[str]:
    """A downgrade: refused with 8, and the file is left alone."""
    async with stage() as (_, shell, _home):
        await shell.ask("buy", "BTC/USD", "0.01")
        journal = shell.folder / "journal.sqlite"
        with closing(sqlite3.connect(journal)) as db:
            db.execute("PRAGMA user_version = 99")
        before = journal.read_bytes()
        code, said = await shell.run("buy", "BTC/USD", "0.01")
        if (code, "newer" in said, journal.read_bytes()) != (8, True, before):
            return [f"it ended with {code}: {said}"]
    return []


async def _halted(shell: Shell, rule: str) -> list[str]:
    for _ in range(100):
        if any(record["type"] == "halt_set" and record["halt"]["rule"] == rule for record in shell.records()):
            return []
        await asyncio.sleep(0.3)
    return [f"no halt by {rule} within 30 s"]


SCENES: Mapping[str, Callable[[], Awaitable[list[str]]]] = {
    "SIGSTOP for 40 s, then SIGCONT": stopped_for_forty_seconds,
    "two desks on one account": two_desks_on_one_account,
    "an older journal is put back": an_older_journal_is_put_back,
    "an older program meets a newer journal": an_older_program_meets_a_newer_journal,
}
