"""WebSocket frames written by hand: what breaks the protocol, what never ends, and who does not answer ends the stream, by name and quietly."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from trading_system.transport import websocket
from trading_system.transport.message import NoAnswer, NotSent
from trading_system.transport.websocket import SECOND_NS, Connection, ConnectionLost, PicowsDialer

Writer = asyncio.StreamWriter


@asynccontextmanager
async def line(handler: Callable[[asyncio.StreamReader, Writer], Awaitable[None]]) -> AsyncIterator[Connection]:
    """A dialled connection; the handler is the other side after the upgrade."""

    async def serve(reader: asyncio.StreamReader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(row.split(b": ")[1] for row in head.split(b"\r\n") if row.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        assert b"extensions" not in head.lower()  # no compression is offered
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        try:
            await handler(reader, writer)
            await done.wait()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    done = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = await PicowsDialer().dial(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, within_ns=5 * SECOND_NS)
    try:
        yield connection
    finally:
        await connection.aclose()
        done.set()
        server.close()


def says(*frames: bytes) -> Callable[[asyncio.StreamReader, Writer], Awaitable[None]]:
    async def handler(_: asyncio.StreamReader, writer: Writer) -> None:
        writer.write(b"".join(frames))
        await writer.drain()

    return handler


async def test_a_message_in_parts_is_put_together_around_a_ping() -> None:
    async with line(says(b"\x01\x02he", b"\x89\x00", b"\x00\x02ll", b"\x80\x01o", b"\x82\x01!")) as connection:
        assert [await connection.receive(), await connection.receive()] == [b"hello", b"!"]


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(b"\x83\x01a", id="an opcode nobody knows"),
        pytest.param(b"\x81\x81aaaab", id="masked by a server"),
        pytest.param(b"\xc1\x01a", id="compressed without being asked"),
        pytest.param(b"\x80\x01a", id="the end of nothing"),
        pytest.param(b"\x01\x01a\x81\x01b", id="a message inside another"),
        pytest.param(b"\x09\x00", id="a ping in parts"),
        pytest.param(b"\x82\x7f\x00\x00\x00\x01\x00\x00\x00\x00", id="four gigabytes"),
    ],
)
async def test_what_breaks_the_protocol_ends_the_stream_and_closing_it_is_quiet(frames: bytes) -> None:
    async with line(says(b"\x81\x01x", frames)) as connection:
        assert await connection.receive() == b"x"
        with pytest.raises(ConnectionLost):
            await connection.receive(within_ns=5 * SECOND_NS)
        with pytest.raises(ConnectionLost):
            await connection.receive()


async def test_a_message_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "BACKLOG_FRAMES_MAX", 50)
    async with line(says(b"\x01\x00", b"\x00\x00" * 60)) as connection:
        with pytest.raises(ConnectionLost, match="parts"):
            await connection.receive(within_ns=5 * SECOND_NS)

    monkeypatch.setattr(websocket, "FRAME_MAX", 1000)
    async with line(says(b"\x01\x7e\x03\xe8" + b"x" * 1000, b"\x80\x01y")) as connection:
        with pytest.raises(ConnectionLost, match="larger"):
            await connection.receive(within_ns=5 * SECOND_NS)


async def test_bytes_that_wait_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "BACKLOG_BYTES_MAX", 1000)
    async with line(says(*[b"\x82\x7d" + b"x" * 125] * 9)) as connection:
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectionLost, match="too slow"):
            await connection.receive()


async def test_what_came_before_the_end_is_given_first() -> None:
    async with line(says(b"\x81\x01a", b"\x81\x01b", b"\x88\x02\x03\xe9")) as connection:
        await asyncio.sleep(0.05)

        assert [await connection.receive(), await connection.receive()] == [b"a", b"b"]
        with pytest.raises(ConnectionLost, match="code"):
            await connection.receive()


async def test_nothing_within_the_time_leaves_the_connection_standing() -> None:
    async def slow(_: asyncio.StreamReader, writer: Writer) -> None:
        await asyncio.sleep(0.1)
        writer.write(b"\x81\x01a")

    async with line(slow) as connection:
        with pytest.raises(TimeoutError):
            await connection.receive(within_ns=SECOND_NS // 100)

        assert await connection.receive(within_ns=5 * SECOND_NS) == b"a"


async def test_a_socket_that_answers_no_ping_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "PING_AFTER_S", 0.05)
    monkeypatch.setattr(websocket, "PONG_WITHIN_S", 0.05)
    async with line(says()) as connection:
        with pytest.raises(ConnectionLost):
            await connection.receive(within_ns=5 * SECOND_NS)


async def test_a_reader_that_takes_nothing_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_WITHIN_S", 0.05)
    async with line(says()) as connection:
        with pytest.raises(ConnectionLost, match="takes nothing"):
            await flood(connection)


async def flood(connection: Connection) -> None:
    for _ in range(200):
        await connection.send(b"x" * (1 << 18))


async def test_a_login_never_leaves_in_the_clear() -> None:
    with pytest.raises(NotSent, match="use wss"):
        await PicowsDialer().dial("ws://broker.example/", {}, within_ns=SECOND_NS)


async def test_an_upgrade_that_is_not_answered_is_given_up() -> None:
    async def silent(_: asyncio.StreamReader, __: Writer) -> None:
        await asyncio.sleep(5)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    with pytest.raises(NoAnswer):
        await PicowsDialer().dial(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, within_ns=SECOND_NS // 20)
    server.close()


async def test_an_answer_that_is_no_upgrade_connects_nothing() -> None:
    async def odd(_: asyncio.StreamReader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    server = await asyncio.start_server(odd, "127.0.0.1", 0)
    with pytest.raises(NotSent):
        await PicowsDialer().dial(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", {}, within_ns=SECOND_NS)
    server.close()
