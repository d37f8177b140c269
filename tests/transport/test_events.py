"""Streams of server-sent events: real sockets, every way one ends, and the reconnect loop over them."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from trading_system.sim.clock import SECOND_NS
from trading_system.transport import framing
from trading_system.transport.clock import SystemClock
from trading_system.transport.events import JSON_TYPE, LINES_TYPE, EventsDialer, SchemeDialer
from trading_system.transport.framing import decode_event, encode_comment, encode_event
from trading_system.transport.message import NoAnswer, NotSent, Refused, TransportError
from trading_system.transport.session import Step, StreamRefused
from trading_system.transport.supervise import LinkEvent, LinkKind, Supervisor
from trading_system.transport.websocket import Connection, ConnectionLost

WITHIN = 5 * SECOND_NS
Talk = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


class Server:
    """Answers every GET by what it was given to say, and remembers who asked."""

    def __init__(self, talk: Talk, status: int, media: str) -> None:
        self._talk, self._status, self._media = talk, status, media
        self.asked: list[web.Request] = []
        self.ended = 0
        self.port = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        stream = web.StreamResponse(status=self._status, headers={"Content-Type": self._media, "Location": "/elsewhere"})
        await stream.prepare(request)
        try:
            await self._talk(request, stream)
        finally:
            self.ended += 1
        return stream


@asynccontextmanager
async def serving(talk: Talk, status: int = 200, media: str = "text/event-stream; charset=utf-8") -> AsyncIterator[Server]:
    server = Server(talk, status, media)
    app = web.Application()
    app.router.add_get("/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


def saying(*pieces: bytes, then_s: float = 0, reset: bool = False) -> Talk:
    async def talk(request: web.Request, stream: web.StreamResponse) -> None:
        for piece in pieces:
            await stream.write(piece)
            await asyncio.sleep(0.01)  # so that the pieces are read as pieces
        await asyncio.sleep(then_s)
        if reset and request.transport is not None:
            request.transport.abort()

    return talk


async def dialled(server: Server, path: str = "/events?since_id=1", headers: Mapping[str, str] | None = None) -> Connection:
    return await EventsDialer({server.host}).dial(f"http://{server.host}{path}", headers or {}, within_ns=WITHIN)


async def heard(connection: Connection) -> tuple[list[bytes], str]:
    """Every frame's data (or comment), and how it ended."""
    found = []
    try:
        while True:
            event = decode_event(await connection.receive(within_ns=WITHIN))
            found.append(event.data if event.comment is None else b":" + event.comment.encode())
    except ConnectionLost as error:
        return found, str(error)
    finally:
        await connection.aclose()


async def test_events_come_whole_and_in_order_whatever_the_pieces() -> None:
    text = encode_event(b'{"a":1}') + encode_comment("beat") + encode_event("é\nb".encode())
    async with serving(saying(*(text[at : at + 1] for at in range(len(text))))) as server:
        found, ended = await heard(await dialled(server, headers={"X-Key": "k"}))
        request = server.asked[0]

    assert found == [b'{"a":1}', b":beat", "é\nb".encode()]
    assert ended == "the other side ended the stream"
    assert (request.path_qs, request.headers["X-Key"], request.headers["Accept"]) == ("/events?since_id=1", "k", "text/event-stream")


@pytest.mark.parametrize("wanted", [LINES_TYPE, JSON_TYPE])
async def test_who_asks_for_lines_gets_each_as_a_frame(wanted: str) -> None:
    async with serving(saying(b'{"a":1}\n{"b"', b":2}\n\n", b'{"c":3}\n{"never')) as server:
        connection = await dialled(server, headers={"Accept": wanted})
        found = [await connection.receive(within_ns=WITHIN) for _ in range(3)]
        with pytest.raises(ConnectionLost):
            await connection.receive(within_ns=WITHIN)
        await connection.aclose()

    assert found == [b'{"a":1}', b'{"b":2}', b'{"c":3}']
    assert server.asked[0].headers["Accept"] == wanted


async def test_what_came_before_a_reset_is_given_first_and_half_an_event_never() -> None:
    async with serving(saying(encode_event(b"one"), b"data: ha", reset=True)) as server:
        found, ended = await heard(await dialled(server))

    assert found == [b"one"]
    assert ended.startswith("the connection dropped")


async def test_an_event_without_end_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "LINE_MAX", 1000)
    async with serving(saying(encode_event(b"one"), b"data: " + b"x" * 2000, then_s=30)) as server:
        found, ended = await heard(await dialled(server))

    assert (found, ended) == ([b"one"], "a line longer than 1000 bytes")


async def test_silence_is_told_and_the_stream_stands() -> None:
    async def talk(request: web.Request, stream: web.StreamResponse) -> None:
        await asyncio.sleep(0.3)
        await stream.write(encode_event(b"late"))

    async with serving(talk) as server:
        connection = await dialled(server)
        with pytest.raises(TimeoutError):
            await connection.receive(within_ns=SECOND_NS // 20)

        assert (await heard(connection))[0] == [b"late"]


async def test_the_other_side_hears_that_we_left() -> None:
    async def talk(request: web.Request, stream: web.StreamResponse) -> None:
        while True:
            await stream.write(encode_comment("beat"))
            await asyncio.sleep(0.01)

    async with serving(talk) as server:
        connection = await dialled(server)
        await connection.receive(within_ns=WITHIN)
        await connection.aclose()
        await asyncio.sleep(0.2)

        assert server.ended == 1
        assert (await heard(connection))[1] == "closed by us"
        with pytest.raises(ConnectionLost):
            await connection.send("hello")


async def failure(server: Server, url: str = "", within_ns: int = WITHIN) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await EventsDialer({server.host, "example.com"}).dial(url or f"http://{server.host}/x", {}, within_ns=within_ns)
    return caught.value


async def test_what_is_no_stream_is_told_as_what_it_is() -> None:
    async with serving(saying(b'{"message":"unauthorized."}'), 401, "application/json") as server:
        refused = await failure(server)
    async with serving(saying(), 302) as server:
        moved = await failure(server)
        assert len(server.asked) == 1  # nobody followed
    async with serving(saying(b"<html>", then_s=1), media="text/html") as server:
        page = await failure(server)

    assert isinstance(refused, Refused)
    assert (refused.status, refused.body) == (401, b'{"message":"unauthorized."}')
    assert isinstance(moved, Refused)
    assert moved.status == 302
    assert isinstance(page, NoAnswer)
    assert "text/html" in str(page)


async def test_nothing_leaves_for_where_it_may_not() -> None:
    async def mute(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with serving(saying()) as server:
        for url in ("http://127.0.0.1:1/x", "http://example.com/x", f"http://{server.host}/a b", "ftp://x/"):
            assert isinstance(await failure(server, url), NotSent)

        assert server.asked == []

    assert isinstance(await failure(server), NotSent)  # nobody listens any more
    server_ = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)  # takes the connection, says nothing
    server.port = server_.sockets[0].getsockname()[1]

    assert isinstance(await failure(server, within_ns=SECOND_NS // 10), NoAnswer)
    server_.close()


class Reader:
    """Hands on the data of each event; a comment is a sign of life."""

    def __init__(self, url: str, stale_ns: int) -> None:
        self._url, self._stale_ns = url, stale_ns

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        return Step(ready=True)

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        event = decode_event(frame)
        return Step(alive=True) if event.comment is not None else Step(events=(event.data,))

    def stale_after_ns(self) -> int:
        return self._stale_ns

    def on_refused(self, status: int, body: bytes) -> None:
        if status == 401:
            raise StreamRefused("the key is wrong")


async def followed(server: Server, stale_ns: int, until: int) -> list[object]:
    seen: list[object] = []
    dialer = SchemeDialer(EventsDialer(()), EventsDialer({server.host}), EventsDialer(()))
    async for event in Supervisor(Reader(f"http://{server.host}/", stale_ns), dialer, SystemClock(), random.Random(1)).run():
        seen.append(event.kind if isinstance(event, LinkEvent) else event)
        if len(seen) == until:
            break
    return seen


async def test_the_supervisor_drives_it_as_any_stream() -> None:
    async with serving(saying(encode_event(b"one"))) as server:
        assert await followed(server, 0, 4) == [LinkKind.UP, b"one", LinkKind.DOWN, LinkKind.UP]


async def test_comments_keep_a_quiet_stream_from_being_stale() -> None:
    async with serving(saying(*[encode_comment("beat")] * 40, then_s=30)) as server:
        started = asyncio.get_running_loop().time()

        assert await followed(server, SECOND_NS // 5, 2) == [LinkKind.UP, LinkKind.STALE]
        assert asyncio.get_running_loop().time() - started > 0.5


async def test_a_key_that_is_refused_is_not_tried_again() -> None:
    async with serving(saying(), 401) as server:
        assert await followed(server, 0, 9) == [LinkKind.REFUSED]
        assert len(server.asked) == 1
