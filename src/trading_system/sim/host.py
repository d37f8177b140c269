"""Serves a twin on loopback, HTTP, WebSocket and event streams on one port, or a bare socket: the only IO in sim. Real or accelerated time, faults on
demand."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Protocol, runtime_checkable

from aiohttp import WSMsgType, web

from trading_system.sim.faults import FaultPlan
from trading_system.sim.wire import EventSource, LineSource, SocketSource, Wire
from trading_system.transport.framing import LengthFrames, Oversized, with_length
from trading_system.transport.message import Request, Response

SECOND_NS = 1_000_000_000
BODY_MAX = 1 << 20
FRAME_MAX = 1 << 26  # a client may subscribe to thousands of symbols in one frame, sent in fragments
QUEUE_MAX = 5_000  # frames waiting for one reader; a slower one is told so and closed
SEND_MAX_S = 10.0  # a reader that takes nothing for so long is cut off
STEP_S = 0.05  # the longest that a twin's time stands still while nobody speaks
STEP_MIN_S = 0.001
LOOK_S = 1.0  # how often an event stream looks whether its reader is still there
SHUTDOWN_S = 0.5  # for requests and streams still open when the block ends

Queue = asyncio.Queue[str | bytes | None]


@runtime_checkable
class Farewell(Protocol):
    """A twin may have a last frame for a reader that falls behind."""

    def slow(self, conn: int) -> str | bytes | None: ...


class Host:
    """A twin with a port."""

    def __init__(self, wire: Wire, *, speed: int = 1, faults: FaultPlan | None = None) -> None:
        self.wire = wire
        self.faults = faults
        self.port = 0
        self._speed = speed
        self._origin_ns = time.time_ns()
        self._started_ns = time.monotonic_ns()  # the twin's time never runs backwards, whatever the system's does
        self._queues: dict[int, Queue] = {}
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._spoken = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def now_ns(self) -> int:
        """The twin's time: the system's, or so many times as fast from the start on."""
        return self._origin_ns + (time.monotonic_ns() - self._started_ns) * self._speed

    async def tick(self) -> None:
        """Let the twin's time pass, for as long as it is served: until its next event, or until somebody spoke and there may be a nearer one."""
        while True:
            self._spoken.clear()
            self._carry()
            due_ns = self.wire.next_event_ns()
            wait_s = STEP_S if due_ns is None else min(STEP_S, max(STEP_MIN_S, (due_ns - self.now_ns()) / SECOND_NS / self._speed))
            try:
                async with asyncio.timeout(wait_s):
                    await self._spoken.wait()
            except TimeoutError:
                continue

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        if request.method == "GET" and isinstance(self.wire, EventSource) and self.wire.is_events(request.raw_path):
            return await self._events(request)
        fault = None if self.faults is None else self.faults.on_request(request.method)
        if fault == "busy":
            busy = self.wire.busy()
            return web.Response(status=busy.status, headers=dict(busy.headers), body=busy.body)
        sent = Request(method=request.method, url=request.raw_path, headers=dict(request.headers), body=await request.read())
        answer = self.wire.handle(sent, self.now_ns())
        self._carry()
        self._spoken.set()
        return await self._answer(request, answer, fault)

    async def _answer(self, request: web.Request, answer: Response, fault: str | None) -> web.StreamResponse:
        if fault == "late" and self.faults is not None:
            await asyncio.sleep(self.faults.delay_s())
        if fault == "failed_after":
            return web.Response(status=504, text="<html>Gateway Time-out</html>", content_type="text/html")
        if fault in ("lost_answer", "torn_answer"):
            return await _broken(request, answer, torn=fault == "torn_answer")
        return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        opened = self.wire.open(request.raw_path, dict(request.headers), self.now_ns())
        if isinstance(opened, Response):
            return web.Response(status=opened.status, headers=dict(opened.headers), body=opened.body)
        queue = self._queues[opened] = Queue(QUEUE_MAX)
        socket = web.WebSocketResponse(max_msg_size=FRAME_MAX)
        writer: asyncio.Task[None] | None = None
        try:
            await socket.prepare(request)
            writer = asyncio.create_task(self._write(request, socket, queue))
            self._carry()
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self.wire.frame(opened, message.data, self.now_ns())
                    self._carry()
                    self._spoken.set()
        finally:
            if writer is not None:
                writer.cancel()
            self._queues.pop(opened, None)
            self.wire.closed(opened)
        return socket

    async def _write(self, request: web.Request, socket: web.WebSocketResponse, queue: Queue) -> None:
        """Frames of one connection, in order, until it ends."""
        try:
            while (frame := await queue.get()) is not None:
                fault = None if self.faults is None else self.faults.on_frame()
                if fault == "mute" and self.faults is not None:
                    await asyncio.sleep(self.faults.delay_s())
                if fault == "disconnect":
                    break
                for _ in range(2 if fault == "doubled" else 1):
                    async with asyncio.timeout(SEND_MAX_S):
                        await (socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))
            else:
                await socket.close()
                return
        except (TimeoutError, ConnectionError):
            pass  # the reader takes nothing, or has gone
        _cut(request)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        opened = self.wire.open(request.raw_path, dict(request.headers), self.now_ns())
        if isinstance(opened, Response):
            return web.Response(status=opened.status, headers=dict(opened.headers), body=opened.body)
        queue = self._queues[opened] = Queue(QUEUE_MAX)
        media_type = self.wire.media_type if isinstance(self.wire, LineSource) else "text/event-stream"
        stream = web.StreamResponse(headers={"Content-Type": media_type, "Cache-Control": "no-cache"})
        try:
            await stream.prepare(request)
            self._carry()
            self._spoken.set()
            await self._stream(request, stream, queue)
        except (TimeoutError, ConnectionError):
            _cut(request)  # the reader takes nothing, or has gone
        finally:
            self._queues.pop(opened, None)
            self.wire.closed(opened)
        return stream

    async def _stream(self, request: web.Request, stream: web.StreamResponse, queue: Queue) -> None:
        """Events of one connection, in order, until it ends. Raises TimeoutError, ConnectionError."""
        while (frame := await _next(request, queue)) is not None:
            fault = None if self.faults is None else self.faults.on_frame()
            if fault == "mute" and self.faults is not None:
                await asyncio.sleep(self.faults.delay_s())
            data = frame.encode() if isinstance(frame, str) else frame
            if fault == "disconnect":
                await stream.write(data[: len(data) // 2])
                raise ConnectionError
            for _ in range(2 if fault == "doubled" else 1):
                async with asyncio.timeout(SEND_MAX_S):
                    await stream.write(data)
        await stream.write_eof()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client of a bare socket, until either side ends it."""
        assert isinstance(self.wire, SocketSource)
        opened = self.wire.open("", {}, self.now_ns())
        assert isinstance(opened, int)
        talk: asyncio.Task[None] | None = asyncio.current_task()
        assert talk is not None
        self._talks[talk] = writer
        queue = self._queues[opened] = Queue(QUEUE_MAX)
        speaker = asyncio.create_task(self._speak(writer, queue))
        cut = LengthFrames()
        try:
            self._hear(opened, (await reader.readexactly(len(self.wire.preamble))).decode("latin-1"))
            while piece := await reader.read(FRAME_MAX):
                for frame in cut.feed(piece):
                    self._hear(opened, frame)
        except (asyncio.IncompleteReadError, OSError, Oversized):
            pass  # the client has gone, or speaks another language
        finally:
            speaker.cancel()
            self._queues.pop(opened, None)
            self._talks.pop(talk)
            self.wire.closed(opened)
            writer.transport.abort()

    async def cut(self) -> None:
        """End every conversation: the host goes down."""
        for writer in self._talks.values():
            writer.transport.abort()
        if self._talks:
            await asyncio.wait(self._talks)

    def _hear(self, conn: int, frame: str | bytes) -> None:
        self.wire.frame(conn, frame, self.now_ns())
        self._carry()
        self._spoken.set()

    async def _speak(self, writer: asyncio.StreamWriter, queue: Queue) -> None:
        """Messages of one connection, in order, until it ends."""
        while (frame := await queue.get()) is not None:
            fault = None if self.faults is None else self.faults.on_frame()
            if fault == "mute" and self.faults is not None:
                await asyncio.sleep(self.faults.delay_s())
            data = with_length(frame.encode() if isinstance(frame, str) else frame)
            if fault == "disconnect":
                writer.write(data[: len(data) // 2])
                break
            writer.write(data)
            with suppress(OSError):  # the reader finds it
                await writer.drain()
        await asyncio.sleep(STEP_MIN_S)  # let it leave before the end
        writer.close()

    def _carry(self) -> None:
        """Bring the twin up to now and queue what it has to say."""
        self.wire.advance(self.now_ns())
        for conn, frame in self.wire.drain():
            queue = self._queues.get(conn)
            if queue is None:
                continue
            if queue.full():
                self._dismiss(conn, queue)
            else:
                queue.put_nowait(frame)

    def _dismiss(self, conn: int, queue: Queue) -> None:
        """A reader has fallen behind: what waits is dropped, it is told and closed."""
        while not queue.empty():
            queue.get_nowait()
        last = self.wire.slow(conn) if isinstance(self.wire, Farewell) else None
        if last is not None:
            queue.put_nowait(last)
        queue.put_nowait(None)
        self._queues.pop(conn)


async def _next(request: web.Request, queue: Queue) -> str | bytes | None:
    """What is to be sent next. Raises ConnectionError: the reader has gone; a stream that only sends would not notice before it sends."""
    while True:
        try:
            async with asyncio.timeout(LOOK_S):
                return await queue.get()
        except TimeoutError:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionError from None


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _broken(request: web.Request, answer: Response, *, torn: bool) -> web.StreamResponse:
    """The answer that never arrives, or only half of it."""
    transport = request.transport
    if torn and isinstance(transport, asyncio.WriteTransport):
        head = f"HTTP/1.1 {answer.status} OK\r\nContent-Length: {len(answer.body) + 1}\r\n\r\n".encode()
        transport.write(head + answer.body[: len(answer.body) // 2])
        await asyncio.sleep(0.01)  # let the half leave before the reset
    if transport is not None:
        transport.abort()
    return web.Response()


@asynccontextmanager
async def serve(wire: Wire, *, port: int = 0, speed: int = 1, faults: FaultPlan | None = None) -> AsyncIterator[Host]:
    """Serve until the block ends. port 0: any free one. speed: how many times as fast as the system's the twin's time runs."""
    host = Host(wire, speed=speed, faults=faults)
    if isinstance(wire, SocketSource):
        async with _served(host, port):
            yield host
        return
    app = web.Application(client_max_size=BODY_MAX)
    app.router.add_route("*", "/{path:.*}", host.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    host.port = runner.addresses[0][1]
    ticker = asyncio.create_task(host.tick())
    try:
        yield host
    finally:
        ticker.cancel()
        await runner.cleanup()


@asynccontextmanager
async def _served(host: Host, port: int) -> AsyncIterator[None]:
    """A bare socket until the block ends."""
    server = await asyncio.start_server(host.converse, "127.0.0.1", port)
    host.port = server.sockets[0].getsockname()[1]
    ticker = asyncio.create_task(host.tick())
    try:
        yield
    finally:
        ticker.cancel()
        server.close()
        await host.cut()
