"""A proxy between a connector and a served twin that carries every question faithfully and does to the answers of changes what a test says."""

import asyncio
import gzip
import socket
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import lru_cache

from trading_system.transport.message import Request

MEGABYTE = b"\0" * (1 << 20)
Answer = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


class Proxy:
    """requests: whole requests that ask for a change, by their first line and body."""

    def __init__(self, upstream_port: int, changes: Callable[[Request], bool]) -> None:
        self._upstream_port = upstream_port
        self._changes = changes
        self.port = 0
        self.requests: Counter[bytes] = Counter()
        self.answer: Answer = whole
        self.last = b""  # the upstream's last answer to a change

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await _message(reader)
                answer = await self._ask(request)
                head, _, body = request.partition(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
                if not self._changes(Request(method=method, url=target, body=body)):
                    writer.write(answer)
                    continue
                self.requests[head.split(b"\r\n")[0] + b" " + body] += 1
                self.last = answer
                await self.answer(writer, answer)
                if writer.is_closing():
                    return
        writer.close()

    async def _ask(self, request: bytes) -> bytes:
        """Forwarded once, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        writer.write(request)
        answer = await _message(reader)
        writer.close()
        return answer


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head + await reader.readexactly(length)


async def whole(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(answer)


def cut(after: int) -> Answer:
    """So many bytes, then a reset."""

    async def send(writer: asyncio.StreamWriter, answer: bytes) -> None:
        writer.write(answer[:after])
        with suppress(ConnectionError):
            await writer.drain()
        await asyncio.sleep(0)
        reset(writer)

    return send


def reset(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN: what was not read yet is gone."""
    sock: socket.socket = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def silence(writer: asyncio.StreamWriter, answer: bytes) -> None:
    """A half-open connection: it stands and nothing ever comes."""
    await asyncio.sleep(60)


async def flood(writer: asyncio.StreamWriter, answer: bytes) -> None:
    """A hundred megabytes."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n")
    await _pour(writer, 100)


async def endless_headers(writer: asyncio.StreamWriter, answer: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        writer.write(b"X-%d: %s\r\n" % (number, b"x" * 100))
        if number % 100 == 0:
            await writer.drain()


@lru_cache
def _bomb() -> bytes:
    """A quarter of a gigabyte that fits into a quarter of a megabyte."""
    packer = zlib.compressobj(1, wbits=31)
    return b"".join([packer.compress(MEGABYTE) for _ in range(256)]) + packer.flush()


async def bomb(writer: asyncio.StreamWriter, answer: bytes) -> None:
    body = _bomb()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


async def packed(writer: asyncio.StreamWriter, answer: bytes) -> None:
    """An honest answer, compressed: still read."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if not body:  # a 204 has none to pack
        writer.write(answer)
        return
    small = gzip.compress(body)
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    writer.write(b"\r\n".join([*lines, b"Content-Encoding: gzip", b"Content-Length: %d" % len(small)]) + b"\r\n\r\n" + small)


async def _pour(writer: asyncio.StreamWriter, megabytes: int) -> None:
    with suppress(ConnectionError):
        for _ in range(megabytes):
            writer.write(MEGABYTE)
            await writer.drain()


@asynccontextmanager
async def proxy(upstream_port: int, changes: Callable[[Request], bool]) -> AsyncIterator[Proxy]:
    between = Proxy(upstream_port, changes)
    server = await asyncio.start_server(between.serve, "127.0.0.1", 0, limit=1 << 22)
    between.port = server.sockets[0].getsockname()[1]
    try:
        yield between
    finally:
        server.close()
