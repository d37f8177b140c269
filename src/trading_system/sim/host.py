"""Serves a twin on loopback, HTTP and WebSocket on one port: the only IO in sim. Real or accelerated time, faults on demand."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import WSMsgType, web

from trading_system.sim.faults import FaultPlan
from trading_system.sim.wire import Wire
from trading_system.transport.message import Request, Response

SECOND_NS = 1_000_000_000
BODY_MAX = 1 << 20
QUEUE_MAX = 5_000  # frames waiting for one reader; a slower one is told so and closed
TICK_S = 0.02  # the longest that a twin's time stands still while nobody speaks


class Farewell(Protocol):
    """A twin may have a last frame for a reader that falls behind."""

    def slow(self, conn: int) -> str | None: ...


class Host:
    """A twin with a port."""

    def __init__(self, wire: Wire, *, speed: int = 1, faults: FaultPlan | None = None) -> None:
        self.wire = wire
        self.faults = faults
        self._speed = speed
        self._origin_ns = time.time_ns()
        self._queues: dict[int, asyncio.Queue[str | bytes | None]] = {}
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def now_ns(self) -> int:
        """The twin's time: the system's, or so many times as fast from the start on."""
        return self._origin_ns + (time.time_ns() - self._origin_ns) * self._speed

    async def tick(self) -> None:
        """Let the twin's time pass, for as long as it is served."""
        while True:
            self._carry()
            await asyncio.sleep(TICK_S)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        fault = None if self.faults is None else self.faults.on_request(request.method)
        if fault == "busy":
            return web.json_response({"code": 42910000, "message": "rate limit exceeded"}, status=429)
        body = await request.read()
        sent = Request(method=request.method, url=str(request.rel_url), headers=dict(request.headers), body=body)
        answer = self.wire.handle(sent, self.now_ns())
        self._carry()
        if fault == "late":
            await asyncio.sleep(self.faults.delay_s() if self.faults is not None else 0)
        if fault == "failed_after":
            return web.Response(status=504, text="<html>Gateway Time-out</html>", content_type="text/html")
        if fault in ("lost_answer", "torn_answer"):
            return await _broken(request, answer, torn=fault == "torn_answer")
        return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        opened = self.wire.open(request.rel_url.raw_path, dict(request.headers), self.now_ns())
        if isinstance(opened, Response):
            return web.Response(status=opened.status, headers=dict(opened.headers), body=opened.body)
        queue: asyncio.Queue[str | bytes | None] = asyncio.Queue(QUEUE_MAX)
        self._queues[opened] = queue
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        writer = asyncio.create_task(self._write(opened, socket, queue))
        self._carry()
        try:
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self.wire.frame(opened, message.data, self.now_ns())
                    self._carry()
        finally:
            writer.cancel()
            self._queues.pop(opened, None)
            self.wire.closed(opened)
        return socket

    async def _write(self, conn: int, socket: web.WebSocketResponse, queue: "asyncio.Queue[str | bytes | None]") -> None:
        while True:
            frame = await queue.get()
            fault = None if self.faults is None or frame is None else self.faults.on_frame()
            if fault == "mute":
                await asyncio.sleep(self.faults.delay_s() if self.faults is not None else 0)
            if frame is None or fault == "disconnect":
                if socket._req is not None and socket._req.transport is not None and frame is not None:
                    socket._req.transport.abort()
                await socket.close()
                return
            for _ in range(2 if fault == "doubled" else 1):
                await (socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))

    def _carry(self) -> None:
        self.wire.advance(self.now_ns())
        for conn, frame in self.wire.drain():
            queue = self._queues.get(conn)
            if queue is None:
                continue
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                farewell = getattr(self.wire, "slow", None)
                last = None if farewell is None else farewell(conn)
                if last is not None:
                    queue.put_nowait(last)
                queue.put_nowait(None)
                self._queues.pop(conn)
            else:
                queue.put_nowait(frame)


async def _broken(request: web.Request, answer: Response, *, torn: bool) -> web.StreamResponse:
    """The answer that never arrives, or only half of it."""
    transport = request.transport
    assert transport is not None
    if torn:
        head = f"HTTP/1.1 {answer.status} OK\r\nContent-Length: {len(answer.body) + 1}\r\n\r\n".encode()
        transport.write(head + answer.body[: len(answer.body) // 2])
        await asyncio.sleep(0.01)
    transport.abort()
    return web.Response()


@asynccontextmanager
async def serve(wire: Wire, *, port: int = 0, speed: int = 1, faults: FaultPlan | None = None) -> AsyncIterator[Host]:
    """Serve until the block ends. port 0: any free one."""
    host = Host(wire, speed=speed, faults=faults)
    app = web.Application(client_max_size=BODY_MAX)
    app.router.add_route("*", "/{path:.*}", host.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    host.port = runner.addresses[0][1]
    ticker = asyncio.create_task(host.tick())
    try:
        yield host
    finally:
        ticker.cancel()
        await runner.cleanup()
