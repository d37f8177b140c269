"""The kill switch's ways in that need no socket: a file in the state folder, and signals. And the heartbeat that a watchdog reads."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trading_system.app.desk import Desk, by_file
from trading_system.app.logs import redact
from trading_system.core.risk import Level
from trading_system.domain.errors import JournalError

SECOND_NS = 1_000_000_000
POLL_NS = SECOND_NS // 4
HEARTBEAT_NS = 5 * SECOND_NS
REASON_MAX = 200  # bytes of the file that are read
HEARTBEAT = "heartbeat"
_FILES = tuple((level.upper(), level) for level in (Level.KILL, Level.HALT, Level.REDUCE_ONLY))  # the hardest first
_SIGNALS = {signal.SIGUSR1: Level.HALT, signal.SIGUSR2: Level.KILL}


def pulled(folder: Path) -> Level | None:
    """The hardest level whose file lies in the folder or in the one above, TRADING_HOME, which is over paper, live and twin alike: KILL, HALT or
    REDUCE_ONLY; content does not matter. Works when nothing else does."""
    return next((level for name, level in _FILES if any(os.path.lexists(os.path.join(place, name)) for place in (folder, folder.parent))), None)


def pull(folder: Path, level: Level, reason: str) -> None:
    """Put the file there, on disk before this returns."""
    fd = os.open(folder / level.upper(), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(fd, reason.encode()[:REASON_MAX])
        os.fsync(fd)
    finally:
        os.close(fd)
    parent = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


class Switch:
    """Turns file and signals into journaled halts while the desk runs, and says that the desk is alive."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self._desk = desk
        self._folder = folder
        self._task: asyncio.Task[None] | None = None
        self._halting: set[asyncio.Task[object]] = set()
        self._alive = False
        desk.pulled = self._pulled

    def start(self, *, signals: bool) -> None:
        """signals: this process is the desk's own (SIGUSR1 halts, SIGUSR2 kills), and a heartbeat is kept for the watchdog."""
        self._alive = signals
        loop = asyncio.get_running_loop()
        for number, level in _SIGNALS.items() if signals else ():
            loop.add_signal_handler(number, self._halt_soon, level, f"signal {number.name}")
        self._task = loop.create_task(self._run(), name="kill switch")

    async def aclose(self) -> None:
        """A clean end takes the heartbeat along: nobody is dead who has said goodbye."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._alive:
            for number in _SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
            (self._folder / HEARTBEAT).unlink(missing_ok=True)

    def _pulled(self) -> Level | None:
        return pulled(self._folder)

    async def _run(self) -> None:
        beat_ns = 0
        while True:
            level = self._pulled()
            if level is not None and not self._in_force(level):
                said = _said(self._folder / level.upper()) or _said(self._folder.parent / level.upper())
                await self._halt(level, f"{by_file(level)}{said}")
            now_ns = self._desk.clock.monotonic_ns()
            if self._alive and now_ns >= beat_ns:
                with suppress(OSError):  # a disk that takes nothing must not take the kill switch along
                    _beat(self._folder / HEARTBEAT)
                beat_ns = now_ns + HEARTBEAT_NS
            await self._desk.clock.sleep_ns(POLL_NS)

    def _in_force(self, level: Level) -> bool:
        halt = self._desk.books.halts.get("all")
        return halt is not None and halt.level.rank >= level.rank

    def _halt_soon(self, level: Level, text: str) -> None:
        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(self._halt(level, text))
        self._halting.add(task)
        task.add_done_callback(self._halting.discard)

    async def _halt(self, level: Level, text: str) -> None:
        with suppress(JournalError):  # the halt holds in memory, and the file holds at the next start
            await self._desk.halt("all", level, text)
        self._desk.alert("critical", f"{level} by {text}")


def _beat(path: Path) -> None:
    """Written once, touched from then on: that needs no space."""
    if path.exists():
        os.utime(path)
    else:
        path.write_text(str(os.getpid()))


def _said(path: Path) -> str:
    """The file's first words, if it has any."""
    with suppress(OSError):
        text = path.open("rb").read(REASON_MAX).decode("utf-8", "replace").strip()
        return f": {redact(text)}" if text else ""
    return ""


def heartbeat_age_ns(folder: Path, now_ns: Callable[[], int]) -> int | None:
    """How long ago the desk last said that it lives; None: it is not running, or has said goodbye."""
    try:
        return now_ns() - (folder / HEARTBEAT).stat().st_mtime_ns
    except FileNotFoundError:
        return None
