"""Streams: real sockets under picows, and the reconnect loop on virtual time."""

import asyncio
import itertools
import random
from collections.abc import Mapping

import pytest
from aiohttp import WSMsgType, web

from trading_system.sim.clock import SECOND_NS, VirtualClock, run_virtual
from trading_system.transport import websocket
from trading_system.transport.message import NotSent, Refused
from trading_system.transport.session import Step, StreamRefused
from trading_system.transport.supervise import BACKOFF_MAX_NS, BUSY_MIN_NS, LinkEvent, LinkKind, Supervisor
from trading_system.transport.websocket import Connection, ConnectionLost, PicowsDialer


async def socket_server(handler: object) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_get("/ws", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    return runner, f"ws://127.0.0.1:{port}/ws"


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT and message.data == "burst":
            for number in range(500):
                await socket.send_str(str(number))
        elif message.type == WSMsgType.TEXT and message.data == "bye":
            await socket.close(code=4000)
        elif message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def refuse(request: web.Request) -> web.Response:
    return web.Response(status=429, text="later")


async def test_text_and_binary_frames_come_back_whole_and_in_order() -> None:
    runner, url = await socket_server(echo)
    connection = await PicowsDialer().dial(url, {"X-Test": "1"}, within_ns=5 * SECOND_NS)
    await connection.send("text")
    await connection.send(b"\x00binary" * 20_000)
    await connection.send("burst")
    received = [await connection.receive() for _ in range(502)]

    assert received[0] == b"text"
    assert received[1] == b"\x00binary" * 20_000
    assert received[2:] == [str(number).encode() for number in range(500)]

    await connection.send("bye")
    with pytest.raises(ConnectionLost, match="code"):
        await connection.receive()
    with pytest.raises(ConnectionLost):
        await connection.send("late")
    await connection.aclose()
    await runner.cleanup()


async def test_a_slow_reader_is_disconnected_and_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "BACKLOG_FRAMES_MAX", 100)
    runner, url = await socket_server(echo)
    connection = await PicowsDialer().dial(url, {}, within_ns=5 * SECOND_NS)
    await connection.send("burst")
    await asyncio.sleep(0.3)
    with pytest.raises(ConnectionLost, match="too slow"):
        await connection.receive()
    await runner.cleanup()


async def test_no_upgrade_is_told_as_what_it_is() -> None:
    runner, url = await socket_server(refuse)
    with pytest.raises(Refused) as caught:
        await PicowsDialer().dial(url, {}, within_ns=5 * SECOND_NS)
    await runner.cleanup()

    assert caught.value.status == 429

    with pytest.raises(NotSent):
        await PicowsDialer().dial("ws://127.0.0.1:1/ws", {}, within_ns=SECOND_NS)


class FakeLine:
    """A connection whose frames and times are written down; None ends it."""

    def __init__(self, clock: VirtualClock, script: list[tuple[int, bytes | None]]) -> None:
        self._clock, self._script, self.closed = clock, script, False

    async def send(self, frame: str | bytes) -> None: ...

    async def receive(self, *, within_ns: int = 0) -> bytes:
        pause, frame = self._script.pop(0)
        async with asyncio.timeout(within_ns / SECOND_NS if within_ns else None):
            await self._clock.sleep_ns(pause)
        if frame is None:
            raise ConnectionLost("over")
        return frame

    async def aclose(self) -> None:
        self.closed = True


class FakeDialer:
    def __init__(self, clock: VirtualClock, outcomes: list[object]) -> None:
        self._clock, self._outcomes = clock, outcomes
        self.dialled_ns: list[int] = []

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        self.dialled_ns.append(self._clock.monotonic_ns())
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome if isinstance(outcome, FakeLine) else FakeLine(self._clock, outcome)  # type: ignore[arg-type]


class Echo:
    """b"ready" makes it ready, b"no" refuses, b"beat" is no data, anything else is an event."""

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return "ws://x/", {}

    def on_open(self, now_ns: int) -> Step:
        return Step(send=("hello",))

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        if frame == b"no":
            raise StreamRefused("never")
        if frame == b"beat":
            return Step()
        return Step(ready=True) if frame == b"ready" else Step(events=(frame,))

    def stale_after_ns(self) -> int:
        return 30 * SECOND_NS


def follow(outcomes: list[object]) -> tuple[list[object], list[int]]:
    async def main(clock: VirtualClock) -> tuple[list[object], list[int]]:
        dialer = FakeDialer(clock, [*outcomes, [(0, b"no")]])
        supervisor = Supervisor(Echo(), dialer, clock, random.Random(7))
        return [event async for event in supervisor.run()], dialer.dialled_ns

    return run_virtual(main)


def test_it_reconnects_and_says_what_happened() -> None:
    events, _ = follow([NotSent("down"), [(0, b"ready"), (SECOND_NS, b"one"), (0, None)]])

    assert [event.kind if isinstance(event, LinkEvent) else event for event in events] == [
        LinkKind.DOWN,
        LinkKind.UP,
        b"one",
        LinkKind.DOWN,
        LinkKind.REFUSED,
    ]


def test_a_session_that_cannot_read_ends_the_connection_and_says_so_itself() -> None:
    class Poisoned(Echo):
        def on_frame(self, frame: bytes, now_ns: int) -> Step:
            raise ValueError("poison")

    async def main(clock: VirtualClock) -> FakeLine:
        line = FakeLine(clock, [(0, b"x")])
        dialer = FakeDialer(clock, [line])
        with pytest.raises(ValueError, match="poison"):
            await anext(Supervisor(Poisoned(), dialer, clock, random.Random(7)).run())
        return line

    assert run_virtual(main).closed


def test_a_slow_reader_is_not_a_mute_stream() -> None:
    async def main(clock: VirtualClock) -> list[object]:
        dialer = FakeDialer(clock, [[(0, b"ready"), (SECOND_NS, b"one"), (SECOND_NS, b"two"), (SECOND_NS, b"no")]])
        seen: list[object] = []
        async for event in Supervisor(Echo(), dialer, clock, random.Random(7)).run():
            seen.append(event.kind if isinstance(event, LinkEvent) else event)
            await clock.sleep_ns(300 * SECOND_NS)
        return seen

    assert run_virtual(main) == [LinkKind.UP, b"one", b"two", LinkKind.REFUSED]


def test_a_mute_stream_is_found_by_the_age_of_its_data() -> None:
    events, dialled = follow([[(0, b"ready"), (29 * SECOND_NS, b"one"), (300 * SECOND_NS, b"late")]])

    assert [event.kind if isinstance(event, LinkEvent) else event for event in events][:3] == [LinkKind.UP, b"one", LinkKind.STALE]
    assert dialled[1] - dialled[0] >= 59 * SECOND_NS


def test_heartbeats_are_not_data() -> None:
    beats = [(SECOND_NS, b"beat")] * 100
    events, dialled = follow([[(0, b"ready"), *beats]])

    assert isinstance(events[1], LinkEvent)
    assert (events[1].kind, events[1].text) == (LinkKind.STALE, "connected, but nothing came for 30 s")
    assert dialled[1] - dialled[0] >= 30 * SECOND_NS


def test_a_login_that_is_not_answered_does_not_hang() -> None:
    events, _ = follow([[(3600 * SECOND_NS, b"ready")]])

    assert isinstance(events[0], LinkEvent)
    assert events[0].kind is LinkKind.STALE


def test_a_thousand_drops_do_not_become_a_storm() -> None:
    _, dialled = follow([NotSent("down") for _ in range(1000)])
    gaps = [b - a for a, b in itertools.pairwise(dialled)]

    assert max(gaps) <= BACKOFF_MAX_NS
    assert sum(gaps[10:]) / len(gaps[10:]) > BACKOFF_MAX_NS * 0.4


def test_a_busy_upgrade_waits_for_the_slot() -> None:
    _, dialled = follow([Refused(429)])

    assert dialled[1] - dialled[0] >= BUSY_MIN_NS
