"""What was asked under an Idempotency-Key and what came of it, on disk: the same again gets the same answer, over restarts too."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from trading_system.domain.errors import BadRequest, DeskError, InDoubt, JournalError

KEPT_NS = 7 * 86_400_000_000_000
KEY_MAX = 100
_FILE = "web-answers.sqlite"
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Kept(msgspec.Struct, frozen=True):
    status: int
    body: bytes


class OtherBody(BadRequest):
    """The key was used for something else."""


class Unfinished(BadRequest):
    """Begun before the desk ended; what became of it is not known here."""


class Answers:
    """One row a key and token name. It is on disk before anything is done under it.

    Raises JournalError: the disk refuses; nothing was done then.
    """

    def __init__(self, folder: Path, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._running: dict[tuple[str, str], tuple[bytes, asyncio.Future[Kept]]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="web answers")
        try:
            self._db = apsw.Connection(str(folder / _FILE))
            self._db.set_busy_timeout(1_000)
            self._db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS answers (owner TEXT, key TEXT, digest BLOB NOT NULL, status INTEGER, body BLOB, at_ns INTEGER NOT NULL,"
                " PRIMARY KEY (owner, key)) STRICT, WITHOUT ROWID"
            )
            self._db.execute("DELETE FROM answers WHERE at_ns < ?", (now_ns() - KEPT_NS,))
            (folder / _FILE).chmod(0o600)
        except (apsw.Error, OSError) as error:
            raise JournalError(f"{_FILE} cannot be used: {error}") from None

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._db.close)
        self._thread.shutdown(wait=False)

    async def once(self, owner: str, key: str, asked: bytes, work: Callable[[], Awaitable[Kept]], *, repeatable: bool = False) -> Kept:
        """Do it, or give what came of it. repeatable: doing it again does no harm (an order whose intent is the key), so what a crash cut off is
        simply done again.

        Raises: OtherBody: the key stands for something else. Unfinished: begun before a crash, and not repeatable. JournalError. A refusal
        that work raises is not kept: nothing was done then. InDoubt is.
        """
        digest, place = hashlib.blake2b(asked, digest_size=16).digest(), (owner, key)
        if place in self._running:
            before, waiting = self._running[place]
            self._same(key, before, digest)
            return await asyncio.shield(waiting)
        doing = asyncio.ensure_future(self._do(place, digest, work, repeatable=repeatable))
        self._running[place] = (digest, doing)
        doing.add_done_callback(lambda _: self._running.pop(place))
        return await asyncio.shield(doing)  # whoever asked may go away: what was begun ends

    async def _do(self, place: tuple[str, str], digest: bytes, work: Callable[[], Awaitable[Kept]], *, repeatable: bool) -> Kept:
        try:
            known = await self._on_thread(lambda: self._begin(place, digest))
        except JournalError as error:
            raise JournalError(f"{error}. Nothing was done") from None
        if known is not None:
            before, status, body = known
            self._same(place[1], before, digest)
            if status is not None:
                return Kept(status, body)
            if not repeatable:
                text = "the desk ended while it did this: it may have been done. Look (orders, account, risk), and use a new key for what is left"
                raise Unfinished(text)
        try:
            kept = await work()
        except InDoubt:
            raise  # the row stays: what is in doubt is not asked for again
        except DeskError:
            with suppress(JournalError):  # then the key does nothing else
                await self._on_thread(lambda: self._db.execute("DELETE FROM answers WHERE owner = ? AND key = ?", place))
            raise
        try:
            await self._on_thread(
                lambda: self._db.execute("UPDATE answers SET status = ?, body = ? WHERE owner = ? AND key = ?", (kept.status, kept.body, *place))
            )
        except JournalError as error:  # it is done all the same; the row stays, so the key does nothing else
            _log.error("what came of the Idempotency-Key %s was told and is not kept: %s", place[1], error)
        return kept

    def _same(self, key: str, before: bytes, digest: bytes) -> None:
        if before != digest:
            raise OtherBody(f"the Idempotency-Key {key} was used for another request: a new wish needs a new key")

    def _begin(self, place: tuple[str, str], digest: bytes) -> tuple[bytes, int | None, bytes] | None:
        rows = list(self._db.execute("SELECT digest, status, body FROM answers WHERE owner = ? AND key = ?", place))
        for before, status, body in rows:
            return bytes(before), status, bytes(body or b"")
        self._db.execute("INSERT INTO answers (owner, key, digest, at_ns) VALUES (?, ?, ?, ?)", (*place, digest, self._now_ns()))
        return None

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except apsw.Error as error:
            raise JournalError(f"{_FILE} cannot be written: {error}") from None
