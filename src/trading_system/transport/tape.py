"""A redacted record of what went over the wire, one JSON object a line, and its playback. Off unless TRADING_TAPE names a file."""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import msgspec

from trading_system.transport.http import Http
from trading_system.transport.message import Request, Response, TransportError
from trading_system.transport.websocket import Connection, Dialer

SIZE_MAX = 256 << 20  # bytes; a full tape stops recording, never trading
BODY_MAX = 64 << 10  # of one message; the rest is cut off
MASKED_HEADERS = (
    "authorization",
    "apca-api-key-id",
    "apca-api-secret-key",
    "x-mbx-apikey",
    "api-key",
    "api-sign",
    "x-bapi-api-key",
    "x-bapi-sign",
    "cookie",
    "set-cookie",
)


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that went over the wire. what: request, answer, failure, open, out, in, closed. body: text, or base64 when it is none."""

    time_ns: int
    what: str
    url: str
    method: str = ""
    status: int = 0
    headers: dict[str, str] = {}
    body: str = ""
    base64: bool = False
    text: str = ""


class Tape:
    """An open recording. redact() masks secrets that stand in bodies, URLs and frames; headers that carry them are masked by name."""

    def __init__(self, path: Path, redact: Callable[[str], str], *, now_ns: Callable[[], int] = time.time_ns) -> None:
        path.touch(mode=0o600)
        path.chmod(0o600)  # it may have been there before
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._redact = redact
        self._now_ns = now_ns
        self._size = path.stat().st_size

    def write(
        self, what: str, url: str, *, method: str = "", status: int = 0, headers: Mapping[str, str] | None = None, body: bytes = b"", text: str = ""
    ) -> None:
        """One line; nothing any more when the tape or the disk is full: what is sent must not depend on its record."""
        if self._size > SIZE_MAX:
            return
        shown, packed = self._shown(body)
        masked = {name: "****" if name.lower() in MASKED_HEADERS else value for name, value in (headers or {}).items()}
        entry = Entry(time_ns=self._now_ns(), what=what, url=url, method=method, status=status, headers=masked, body=shown, base64=packed, text=text)
        line = self._redact(msgspec.json.encode(entry).decode())
        self._size += len(line) + 1
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError:
            self._size = SIZE_MAX + 1

    def _shown(self, body: bytes) -> tuple[str, bool]:
        """Masked before it is cut, escaped or packed: none of that may hide a secret from the mask. Bytes that are no text (a msgpack frame
        with a login) are masked in the one reading that has every byte."""
        try:
            return _cut(self._redact(body.decode())), False
        except UnicodeDecodeError:
            masked = self._redact(body.decode("latin-1")).encode("latin-1", "replace")
            return base64.b64encode(masked[:BODY_MAX]).decode(), True

    def close(self) -> None:
        with suppress(OSError):  # what the disk refused stays refused
            self._file.close()


class TapedHttp:
    """Http with a tape running."""

    def __init__(self, http: Http, tape: Tape) -> None:
        self._http = http
        self._tape = tape

    async def send(self, request: Request, *, within_ns: int) -> Response:
        self._tape.write("request", request.url, method=request.method, headers=request.headers, body=request.body)
        try:
            response = await self._http.send(request, within_ns=within_ns)
        except TransportError as error:
            self._tape.write("failure", request.url, method=request.method, text=f"{type(error).__name__}: {error}")
            raise
        self._tape.write("answer", request.url, method=request.method, status=response.status, headers=response.headers, body=response.body)
        return response

    async def aclose(self) -> None:
        await self._http.aclose()


class TapedDialer:
    """Dialer with a tape running."""

    def __init__(self, dialer: Dialer, tape: Tape) -> None:
        self._dialer = dialer
        self._tape = tape

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        try:
            connection = await self._dialer.dial(url, headers, within_ns=within_ns)
        except TransportError as error:
            self._tape.write("failure", url, text=f"{type(error).__name__}: {error}")
            raise
        self._tape.write("open", url, headers=headers)
        return _TapedConnection(connection, url, self._tape)


class _TapedConnection:
    def __init__(self, connection: Connection, url: str, tape: Tape) -> None:
        self._connection, self._url, self._tape = connection, url, tape

    async def send(self, frame: str | bytes) -> None:
        self._tape.write("out", self._url, body=frame.encode() if isinstance(frame, str) else frame)
        await self._connection.send(frame)

    async def receive(self, *, within_ns: int = 0) -> bytes:
        try:
            frame = await self._connection.receive(within_ns=within_ns)
        except TransportError as error:
            self._tape.write("closed", self._url, text=str(error))
            raise
        self._tape.write("in", self._url, body=frame)
        return frame

    async def aclose(self) -> None:
        await self._connection.aclose()


def played(path: Path) -> Iterator[Entry]:
    """The entries of a tape, in order; frames of "in" are what a session's on_frame took. Raises msgspec.DecodeError: no tape."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=Entry)


def body_of(entry: Entry) -> bytes:
    """The bytes of an entry, as they went over the wire but for what was masked."""
    return base64.b64decode(entry.body) if entry.base64 else entry.body.encode()


def _cut(text: str) -> str:
    return text.encode()[:BODY_MAX].decode(errors="ignore")
