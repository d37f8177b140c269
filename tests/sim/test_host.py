"""The host over real sockets on loopback: requests, streams, slow readers, faults."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest

from trading_system.brokers.ibkr.twin import TwsTwin
from trading_system.sim import host as hosting
from trading_system.sim.faults import FaultPlan
from trading_system.sim.host import Host, serve
from trading_system.transport.message import Request, Response


class Echo:
    """A wire of its own: answers what it was asked, echoes frames, and floods whoever says so."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.frames: list[str | bytes] = []
        self.times: list[int] = []
        self.open_now: set[int] = set()
        self._out: list[tuple[int, str | bytes | None]] = []
        self._conns = 0

    def handle(self, request: Request, now_ns: int) -> Response:
        self.seen.append(request)
        return Response(status=201, headers={"x-one": "1"}, body=json.dumps({"url": request.url, "body": request.body.decode()}).encode())

    def busy(self) -> Response:
        return Response(status=429, headers={}, body=b"full")

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        if path == "/full":
            return self.busy()
        self._conns += 1
        self.open_now.add(self._conns)
        self._out.append((self._conns, "hello"))
        return self._conns

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        self.frames.append(frame)
        if frame == "flood":
            self._out += [(conn, "x" * 1000)] * (hosting.QUEUE_MAX + 1)
        elif frame == "bye":
            self._out.append((conn, None))
        else:
            self._out.append((conn, frame))

    def closed(self, conn: int) -> None:
        self.open_now.discard(conn)

    def advance(self, now_ns: int) -> None:
        self.times.append(now_ns)

    def next_event_ns(self) -> int | None:
        return None

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out

    def slow(self, conn: int) -> str:
        return "too slow"


@asynccontextmanager
async def echo(*, speed: int = 1, faults: FaultPlan | None = None) -> AsyncIterator[tuple[Echo, Host, aiohttp.ClientSession]]:
    wire = Echo()
    async with serve(wire, speed=speed, faults=faults) as host, aiohttp.ClientSession() as client:
        yield wire, host, client


async def test_a_request_arrives_as_it_was_sent() -> None:
    async with echo() as (wire, host, client):
        answer = await client.post(host.url + "/v2/positions/BTC%2FUSD?a=b%20c", data=b"body", headers={"X-Key": "k"})
        body = await answer.json(content_type=None)

    assert (answer.status, answer.headers["x-one"]) == (201, "1")
    assert body["body"] == "body"
    assert wire.seen[0].url.startswith("/v2/positions/BTC%2FUSD?a=b")
    assert wire.seen[0].headers["X-Key"] == "k"


async def test_frames_go_both_ways_text_and_binary_and_large_in_fragments() -> None:
    async with echo() as (wire, host, client):
        socket = await client.ws_connect(host.ws_url + "/stream", compress=15, max_msg_size=0)
        got = [await socket.receive_str()]
        await socket.send_str("a")
        got.append(await socket.receive_str())
        await socket.send_bytes(b"b" * 5_000_000)
        large = await socket.receive_bytes()
        await socket.close()
        await asyncio.sleep(0.05)

    assert got == ["hello", "a"]
    assert len(large) == 5_000_000
    assert wire.open_now == set()


async def test_an_upgrade_can_be_refused_and_a_stream_ended_by_the_twin() -> None:
    async with echo() as (_, host, client):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(host.ws_url + "/full")
        socket = await client.ws_connect(host.ws_url + "/stream")
        await socket.receive_str()
        await socket.send_str("bye")
        ended = await socket.receive(timeout=5)

    assert refused.value.status == 429
    assert ended.type is aiohttp.WSMsgType.CLOSE


async def test_a_slow_reader_is_told_and_closed_and_nothing_grows_without_bound() -> None:
    async with echo() as (_, host, client):
        socket = await client.ws_connect(host.ws_url + "/stream")
        await socket.send_str("flood")
        frames = [message.data async for message in socket]

    assert frames[-1] == "too slow"
    assert len(frames) < hosting.QUEUE_MAX


async def test_time_runs_as_fast_as_asked_and_never_backwards() -> None:
    async with echo(speed=100) as (wire, host, _):
        before = host.now_ns()
        await asyncio.sleep(0.1)
        passed_ns = host.now_ns() - before

    assert passed_ns > 5_000_000_000
    assert wire.times == sorted(wire.times)
    assert wire.times[0] >= time.time_ns() - 3_600_000_000_000


@pytest.mark.parametrize("fault", ["late", "lost_answer", "torn_answer", "busy", "failed_after"])
async def test_every_request_fault(fault: str) -> None:
    plan = FaultPlan(1, requests={fault: 1.0}, frames={}, delay_max_s=0.2)
    async with echo(faults=plan) as (wire, host, client):
        status = 0
        try:
            answer = await client.post(host.url + "/v2/orders", data=b"{}")
            status = answer.status
            await answer.read()
        except aiohttp.ClientError:
            status = -1

    wanted = {"late": (201, 1), "lost_answer": (-1, 1), "torn_answer": (-1, 1), "busy": (429, 0), "failed_after": (504, 1)}
    assert (status, len(wire.seen)) == wanted[fault]
    assert plan.hit[fault] == 1


@pytest.mark.parametrize("fault", ["doubled", "mute", "disconnect"])
async def test_every_frame_fault(fault: str) -> None:
    plan = FaultPlan(1, requests={}, frames={fault: 1.0}, delay_max_s=0.2)
    async with echo(faults=plan) as (_, host, client):
        socket = await client.ws_connect(host.ws_url + "/stream")
        first = await socket.receive(timeout=5)
        second = await socket.receive(timeout=5) if fault == "doubled" else None

    assert (first.data if fault != "disconnect" else None) == ("hello" if fault != "disconnect" else None)
    assert second is None or second.data == "hello"
    assert plan.hit[fault] >= 1


class Events(Echo):
    """GET /events is a stream: three events, then it says nothing more; /events?over ends."""

    def is_events(self, path: str) -> bool:
        return path.startswith("/events")

    def busy(self) -> Response:
        return Response(status=429, headers={}, body=b"full")

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        if "none" in path:
            return Response(status=401, headers={}, body=b"no")
        conn = super().open(path, headers, now_ns)
        assert isinstance(conn, int)
        self._out = [(conn, f"data: {number}\n\n") for number in range(3)]
        if "over" in path:
            self._out.append((conn, None))
        return conn


WHOLE = b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


async def streamed(path: str, **frames: float) -> tuple[bytes, bool]:
    """What came of a stream until it ended or was silent for a while, and whether it ended well."""
    faults = FaultPlan(1, requests={}, frames=frames, delay_max_s=5)
    async with serve(Events(), faults=faults) as host, aiohttp.ClientSession() as client:
        answer = await client.get(host.url + path)
        body = b""
        try:
            async with asyncio.timeout(0.5):
                while piece := await answer.content.readany():
                    body += piece
        except (TimeoutError, aiohttp.ClientError):
            return body, False
        return body, True


async def test_a_stream_of_events_ends_when_the_twin_says_so() -> None:
    assert await streamed("/events?over") == (WHOLE, True)
    assert await streamed("/events") == (WHOLE, False)


async def test_a_stream_of_events_can_be_doubled_cut_muted_and_refused() -> None:
    twice = b"".join(event + b"\n\n" for event in WHOLE.split(b"\n\n")[:-1] for _ in range(2))

    assert await streamed("/events?over", doubled=1.0) == (twice, True)
    assert await streamed("/events?over", disconnect=1.0) == (b"data", False)
    assert await streamed("/events?over", mute=1.0) == (b"", False)
    async with serve(Events()) as host, aiohttp.ClientSession() as client:
        assert (await client.get(host.url + "/events?none")).status == 401


async def test_a_reader_that_leaves_is_noticed_though_nothing_is_sent() -> None:
    wire = Events()
    async with serve(wire) as host, aiohttp.ClientSession() as client:
        answer = await client.get(host.url + "/events")
        await answer.content.readexactly(len(WHOLE))
        assert wire.open_now == {1}
        answer.close()
        await asyncio.sleep(hosting.LOOK_S + 0.3)

        assert wire.open_now == set()


async def test_a_bare_socket_is_served_message_by_message() -> None:
    """The preamble, the versions, and an answer; who says something else is cut off, and the end of the host ends every client."""
    twin = TwsTwin(seed=1, start_ns=time.time_ns())
    async with serve(twin) as host:
        reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
        for piece in (b"AP", b"I\0\0\0\0", b"\tv157", b"..178"):
            writer.write(piece)
            await writer.drain()
        length = int.from_bytes(await reader.readexactly(4), "big")
        assert (await reader.readexactly(length)).startswith(b"178\0")
        stranger, other = await asyncio.open_connection("127.0.0.1", host.port)
        other.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await stranger.read() == b""
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
