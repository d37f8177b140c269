"""The running desk's door: a Unix socket only its owner can open, one JSON object a line, the verbs of verbs.py."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec

from trading_system.app.desk import Desk
from trading_system.app.records import Args
from trading_system.app.verbs import CHANGING, VERBS
from trading_system.domain.errors import BadRequest, DeskError, InDoubt, Unavailable

LINE_MAX = 1 << 20  # bytes of one question
ANSWER_MAX = 64 << 20  # and of one answer: every order of a long journal; what is longer is asked for in parts
CLIENTS_MAX = 16
SECOND_NS = 1_000_000_000
# How long an answer is waited for. A broker gets 10 s for each of several requests, a halt is on disk at once.
ANSWER_WITHIN_NS = dict.fromkeys(VERBS, 60 * SECOND_NS) | {
    "halt": 5 * SECOND_NS,
    "resume": 15 * SECOND_NS,
    "flatten": 300 * SECOND_NS,
    "journal_verify": 600 * SECOND_NS,
    "journal_backup": 600 * SECOND_NS,
    "journal_days": 600 * SECOND_NS,
    **dict.fromkeys(("orders", "fills", "alerts", "acknowledge", "status", "portfolio", "limits", "brokers"), 10 * SECOND_NS),
}
PATH_MAX = 100  # a Unix socket's path is limited to 104 or 108 bytes by the kernel


class Question(msgspec.Struct, frozen=True):
    verb: str
    args: dict[str, object] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Either result, or the error with the exit code it ends a command with."""

    result: object = None
    error: str | None = None
    exit_code: int = 0


class RemoteError(DeskError):
    """The desk's own error, as the socket carried it."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


async def answer(desk: Desk, question: Question) -> Answer:
    """Run one verb. An error of the desk's becomes part of the answer; anything else is our bug and rises."""
    verb = VERBS.get(question.verb)
    try:
        if verb is None:
            raise BadRequest(f"no verb {question.verb!r}; there are: {', '.join(VERBS)}")
        return Answer(result=await verb(desk, question.args))
    except DeskError as error:
        return Answer(error=str(error), exit_code=error.exit_code)


class Server:
    """Listens while the desk runs."""

    def __init__(self, desk: Desk, path: Path) -> None:
        self._desk = desk
        self._path = path
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises Unavailable: the path is too long for a socket. A socket that a dead desk left is replaced: the lease says that it is dead."""
        if len(os.fsencode(self._path)) > PATH_MAX:
            raise Unavailable(f"the state folder's path is longer than {PATH_MAX} bytes; set TRADING_HOME to a shorter one")
        with suppress(FileNotFoundError):
            self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the file is 0600 from its first moment on
        try:
            listener.bind(str(self._path))
            listener.listen(CLIENTS_MAX)  # from here on a question waits, and is not refused
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._client, sock=listener, limit=LINE_MAX)

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._clients):
            task.cancel()
        with suppress(FileNotFoundError):
            self._path.unlink()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= CLIENTS_MAX:
            writer.write(_line(Answer(error=f"{CLIENTS_MAX} others are talking to the desk; nothing was done", exit_code=5)))
            writer.close()
            return
        self._clients.add(task)
        try:
            async for question in _questions(reader):
                said = question if isinstance(question, Answer) else await answer(self._desk, question)
                writer.write(_line(said))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()


def _line(said: Answer) -> bytes:
    """An answer as it goes out; one that is too long says so instead."""
    line = msgspec.json.encode(said) + b"\n"
    if len(line) <= ANSWER_MAX:
        return line
    return _line(Answer(error=f"the answer is longer than {ANSWER_MAX} bytes; ask for less", exit_code=2))


async def _questions(reader: asyncio.StreamReader) -> AsyncIterator[Question | Answer]:
    """Questions as they come in; what cannot be read is answered at once and ends the conversation."""
    while True:
        try:
            line = await reader.readline()
        except ValueError:
            yield Answer(error=f"a question is one line of at most {LINE_MAX} bytes", exit_code=2)
            return
        if not line:
            return
        try:
            yield msgspec.json.decode(line, type=Question)
        except msgspec.MsgspecError as error:
            yield Answer(error=f"a question is one JSON object with verb and args: {error}", exit_code=2)
            return


class Client:
    """The command line's end of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: Path) -> "Client":
        """Raises Unavailable: nobody listens there."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=ANSWER_MAX)
        except OSError as error:
            raise Unavailable(f"the running desk does not answer on its socket: {error.strerror}") from None
        return cls(reader, writer)

    async def call(self, verb: str, args: Args) -> object:
        """Raises RemoteError: what the desk answered, with its exit code. It went away, or does not answer within ANSWER_WITHIN_NS:
        InDoubt for a verb that changes something, Unavailable for a question."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_NS[verb] / SECOND_NS):
                self._writer.write(msgspec.json.encode({"verb": verb, "args": args}) + b"\n")
                await self._writer.drain()
                line = await self._reader.readuntil()
        except TimeoutError:
            raise _unanswered(verb, f"the running desk does not answer (waited {ANSWER_WITHIN_NS[verb] // SECOND_NS} s)") from None
        except (ConnectionError, asyncio.IncompleteReadError):
            raise _unanswered(verb, "the running desk ended before it answered") from None
        said = msgspec.json.decode(line, type=Answer)
        if said.error is not None:
            raise RemoteError(said.error, said.exit_code)
        return said.result

    async def aclose(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def _unanswered(verb: str, text: str) -> DeskError:
    if verb in CHANGING:
        return InDoubt(f"{text}. It may have been done: do not send it again; `trading orders` and `trading account` say what became of it.")
    return Unavailable(f"{text}.")
