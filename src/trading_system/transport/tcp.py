"""A bare TCP socket whose messages stand behind their length: looks to the supervisor as a WebSocket does.

There is no TLS below it: it reaches this machine and private networks, and nothing beyond.
"""

import asyncio
import ipaddress
import socket
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

from trading_system.transport.framing import LengthFrames, Oversized, with_length
from trading_system.transport.message import NoAnswer, NotSent
from trading_system.transport.websocket import UNSENT_BYTES_MAX, Connection, ConnectionLost

SECOND_NS = 1_000_000_000
PIECE_MAX = 1 << 16  # bytes read at once


class TcpDialer:
    """asyncio's streams. A text frame leaves as it is, a binary one behind its length; what comes is messages without theirs."""

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        """headers: there are none. Raises NotSent, NoAnswer."""
        assert not headers
        parts = urlsplit(url)
        try:
            async with asyncio.timeout(within_ns / SECOND_NS):
                host = await _private(parts.hostname or "", parts.port or 0)
                reader, writer = await asyncio.open_connection(host, parts.port)
        except TimeoutError:
            raise NoAnswer("the connection was not taken in time") from None
        except OSError as error:
            raise NotSent(f"no connection: {error.strerror or error}") from None
        return _Stream(reader, writer)


async def _private(hostname: str, port: int) -> str:
    """The first address of a host, which must not be a public one. Raises NotSent, OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(hostname, port, type=socket.SOCK_STREAM)
    address = str(found[0][4][0])
    if not ipaddress.ip_address(address.partition("%")[0]).is_private:
        raise NotSent(f"{hostname} is a public address: orders would be readable on the way")
    return address


class _Stream:
    """One open socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._cut = LengthFrames()
        self._frames: deque[bytes] = deque()
        self._lost: str | None = None

    async def send(self, frame: str | bytes) -> None:
        if self._lost is not None or self._writer.is_closing():
            raise ConnectionLost(self._lost or "the connection dropped")
        self._writer.write(frame.encode() if isinstance(frame, str) else with_length(frame))
        if self._writer.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._lost = "the other side takes nothing of what is sent"
            self._writer.transport.abort()
            raise ConnectionLost(self._lost)

    async def receive(self, *, within_ns: int = 0) -> bytes:
        async with asyncio.timeout(within_ns / SECOND_NS if within_ns else None):
            while not self._frames:
                if self._lost is not None:
                    raise ConnectionLost(self._lost)
                await self._read()
        return self._frames.popleft()

    async def _read(self) -> None:
        """One piece off the wire."""
        try:
            piece = await self._reader.read(PIECE_MAX)
            if piece:
                self._frames.extend(self._cut.feed(piece))
            else:
                self._lost = "the other side closed the connection"
        except Oversized as error:
            self._lost = str(error)
        except OSError as error:
            self._lost = f"the connection dropped: {type(error).__name__}"

    async def aclose(self) -> None:
        self._lost = self._lost or "closed by us"
        self._writer.transport.abort()
