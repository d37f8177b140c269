"""A bare socket with messages behind their length: dialled by transport/tcp.py, served by sim/host.py."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from trading_system.transport import framing
from trading_system.transport.framing import LengthFrames, Oversized, with_length
from trading_system.transport.message import NotSent
from trading_system.transport.tcp import TcpDialer
from trading_system.transport.websocket import Connection, ConnectionLost

WITHIN_NS = 2_000_000_000
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_messages_come_out_whole_however_they_were_cut(size: int) -> None:
    messages = [b"71\x002\x000\0\0", b"", b"x" * 300, b"9\x001\x007\0"]
    stream, cut = b"".join(map(with_length, messages)), LengthFrames()

    assert [frame for at in range(0, len(stream), size) for frame in cut.feed(stream[at : at + size])] == messages


def test_an_unfinished_message_waits_and_a_monstrous_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "LENGTH_MAX", 8)
    cut = LengthFrames()

    assert cut.feed(with_length(b"12345678")[:-1]) == []
    assert cut.feed(b"8") == [b"12345678"]
    with pytest.raises(Oversized):
        cut.feed(with_length(b"123456789"))


@asynccontextmanager
async def dialled(talk: Talk) -> AsyncIterator[Connection]:
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = await TcpDialer().dial(f"tcp://localhost:{port}", {}, within_ns=WITHIN_NS)
    try:
        yield connection
    finally:
        await connection.aclose()
        server.close()


async def test_text_leaves_as_it_is_and_bytes_behind_their_length() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.readexactly(4 + 4 + 9))
        writer.write(with_length(b"178\0")[:3])
        await writer.drain()
        writer.write(with_length(b"178\0")[3:] + with_length(b"x\0"))
        await writer.drain()
        writer.close()

    async with dialled(talk) as connection:
        await connection.send("API\0")
        await connection.send(b"v157..178")

        assert [await connection.receive(within_ns=WITHIN_NS) for _ in range(2)] == [b"178\0", b"x\0"]
        assert await heard == b"API\0\0\0\0\tv157..178"
        with pytest.raises(ConnectionLost, match="closed the connection"):
            await connection.receive(within_ns=WITHIN_NS)
        with pytest.raises(ConnectionLost):
            await connection.send(b"too late")


async def test_silence_is_a_timeout_and_the_connection_stands() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(with_length(await reader.readexactly(1)))

    async with dialled(talk) as connection:
        with pytest.raises(TimeoutError):
            await connection.receive(within_ns=20_000_000)
        await connection.send("!")

        assert await connection.receive(within_ns=WITHIN_NS) == b"!"


async def test_a_monstrous_message_ends_the_connection_behind_those_before_it() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff\xff\xff\xff")

    async with dialled(talk) as connection:
        with pytest.raises(ConnectionLost, match="bytes"):
            await connection.receive(within_ns=WITHIN_NS)


async def test_nobody_there_is_certainly_not_sent() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()

    with pytest.raises(NotSent):
        await TcpDialer().dial(f"tcp://127.0.0.1:{port}", {}, within_ns=WITHIN_NS)


async def test_a_public_address_is_not_dialled() -> None:
    with pytest.raises(NotSent, match="public address"):
        await TcpDialer().dial("tcp://8.8.8.8:7496", {}, within_ns=WITHIN_NS)
