"""The simulated network: every fault does what its name says, streams keep their order, and a seed is a run."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
import pytest

from trading_system.sim import network as module
from trading_system.sim.clock import SECOND_NS, VirtualClock, run_virtual
from trading_system.sim.network import Faults, SimNetwork
from trading_system.transport.message import NoAnswer, NotSent, Refused, Request, Response
from trading_system.transport.websocket import Connection, ConnectionLost

WITHIN = 5 * SECOND_NS
_T = TypeVar("_T")


class Counter:
    """A twin that counts: each POST is done at once, each frame is echoed, and a number is pushed every `beat_ns`."""

    def __init__(self, beat_ns: int = 0) -> None:
        self.done: list[int] = []
        self.closed_conns: list[int] = []
        self.paths: list[str] = []
        self._conns: list[int] = []
        self._opened = 0
        self._beat_ns = beat_ns
        self._beats = 0
        self._now_ns = self._started_ns = 0
        self._out: list[tuple[int, str | bytes | None]] = []

    def handle(self, request: Request, now_ns: int) -> Response:
        self.done.append(now_ns)
        return Response(status=200, headers={"x": "1"}, body=b"done")

    def busy(self) -> Response:
        return Response(status=429, headers={}, body=b"later")

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        if path == "/full":
            return self.busy()
        self.paths.append(path)
        self._opened += 1
        self._conns.append(self._opened)
        return self._opened

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        if frame == "leave":
            self._out += [(conn, "last words"), (conn, None)]
        elif isinstance(frame, str) and frame.isdecimal():
            self._out += [(conn, str(number)) for number in range(int(frame))]
        else:
            self._out.append((conn, frame))

    def closed(self, conn: int) -> None:
        self.closed_conns.append(conn)
        if conn in self._conns:
            self._conns.remove(conn)

    def advance(self, now_ns: int) -> None:
        self._started_ns = self._started_ns or now_ns
        assert now_ns >= self._now_ns
        self._now_ns = now_ns
        while (due := self.next_event_ns()) is not None and due <= now_ns:
            self._beats += 1
            self._out += [(conn, f"beat {self._beats}") for conn in self._conns]

    def next_event_ns(self) -> int | None:
        return self._started_ns + (self._beats + 1) * self._beat_ns if self._beat_ns else None

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out


class Place:
    """A client, a twin and what is between them."""

    def __init__(self, clock: VirtualClock, faults: Faults, seed: int, beat_ns: int) -> None:
        self.clock = clock
        self.twin = Counter(beat_ns)
        self.network = SimNetwork({"twin": self.twin}, clock, random.Random(seed), faults)

    async def post(self, host: str = "twin") -> Response:
        return await self.network.http().send(Request(method="POST", url=f"http://{host}/orders", body=b"{}"), within_ns=WITHIN)

    async def dial(self, path: str = "/") -> Connection:
        return await self.network.dialer().dial(f"ws://twin{path}", {}, within_ns=WITHIN)


def at(story: Callable[[Place], Awaitable[_T]], faults: Faults | None = None, *, seed: int = 1, beat_ns: int = 0) -> _T:
    async def main(clock: VirtualClock) -> _T:
        place = Place(clock, faults or Faults(), seed, beat_ns)
        carrier = asyncio.create_task(place.network.run())
        try:
            return await story(place)
        finally:
            carrier.cancel()

    return run_virtual(main)


def weather(chances: dict[str, Any], *, enabled: bool = True) -> Faults:
    return Faults(**chances, enabled=enabled)


async def heard(connection: Connection, within_ns: int = 10 * SECOND_NS) -> list[bytes]:
    """Everything that comes until nothing does, or until the end."""
    frames = []
    try:
        while True:
            frames.append(await connection.receive(within_ns=within_ns))
    except (TimeoutError, ConnectionLost):
        return frames


async def failure(place: Place) -> tuple[type[Exception] | int, int, int]:
    """One POST: how it ended, how often it was done an hour later, and after how long the client knew."""
    before = place.clock.monotonic_ns()
    try:
        ended: type[Exception] | int = (await place.post()).status
    except (NoAnswer, NotSent) as error:
        ended = type(error)
    took_ns = place.clock.monotonic_ns() - before
    await place.clock.sleep_ns(3600 * SECOND_NS)
    return ended, len(place.twin.done), took_ns


def test_without_faults_a_request_is_done_once_and_answered() -> None:
    async def story(place: Place) -> Response:
        answer = await place.post()
        assert place.twin.done[0] < answer.recv_ns == place.clock.now_ns()
        return answer

    assert at(story).body == b"done"


@pytest.mark.parametrize(
    ("kind", "ends", "done", "waits"),
    [
        ("refused", NotSent, 0, False),
        ("lost_request", NoAnswer, 0, True),
        ("reset", NoAnswer, 0, False),
        ("lost_answer", NoAnswer, 1, True),
        ("late_request", NoAnswer, 1, True),
        ("late_answer", NoAnswer, 1, True),
        ("torn_answer", NoAnswer, 1, False),
        ("garbage", 200, 1, False),
        ("busy", 429, 0, False),
        ("failed_before", 503, 0, False),
        ("failed_after", 504, 1, False),
    ],
)
def test_a_fault_of_a_request_does_what_its_name_says(kind: str, ends: type[Exception] | int, done: int, waits: bool) -> None:
    faults = weather({kind: 1.0})

    async def story(place: Place) -> tuple[type[Exception] | int, int, int]:
        told = await failure(place)
        assert place.network.hit == {kind: 1}
        return told

    ended, count, took_ns = at(story, faults)

    assert (ended, count) == (ends, done)
    assert (took_ns == WITHIN) is waits


def test_a_late_request_is_done_after_the_client_gave_up() -> None:
    async def story(place: Place) -> tuple[int, int]:
        gave_up_ns = place.clock.now_ns() + WITHIN
        await failure(place)
        return gave_up_ns, place.twin.done[0]

    gave_up_ns, done_ns = at(story, Faults(late_request=1.0))

    assert gave_up_ns < done_ns <= gave_up_ns + module.LATE_MAX_NS + SECOND_NS


def test_a_client_that_dies_takes_no_request_back() -> None:
    async def story(place: Place) -> int:
        task = asyncio.create_task(place.post())
        await asyncio.sleep(0)
        place.network.drop_all()
        task.cancel()
        await place.clock.sleep_ns(SECOND_NS)
        return len(place.twin.done)

    assert at(story) == 1


def test_every_kind_of_fault_can_be_switched_off_at_once() -> None:
    kinds = {field.name: 1.0 for field in msgspec.structs.fields(Faults) if field.type is float}

    async def story(place: Place) -> tuple[int, list[bytes]]:
        connection = await place.dial()
        await connection.send("x")
        return (await place.post()).status, await heard(connection)

    assert len(kinds) == 16
    assert at(story, weather(kinds, enabled=False)) == (200, [b"x"])


def test_an_unknown_host_and_a_refused_upgrade_are_told_apart() -> None:
    async def story(place: Place) -> None:
        with pytest.raises(NotSent):
            await place.post("elsewhere")
        with pytest.raises(Refused) as caught:
            await place.dial("/full")
        assert (caught.value.status, caught.value.body) == (429, b"later")
        place.network.faults = Faults(refused=1.0)
        with pytest.raises(NotSent):
            await place.dial()

    at(story)


def test_frames_keep_their_order_and_the_end_comes_last() -> None:
    async def story(place: Place) -> list[bytes]:
        connection = await place.dial()
        await connection.send("200")
        await connection.send(b"\x00binary")
        await connection.send("leave")
        frames = await heard(connection)
        with pytest.raises(ConnectionLost, match="other side"):
            await connection.receive()
        with pytest.raises(ConnectionLost):
            await connection.send("x")
        assert place.twin.closed_conns == [1]
        return frames

    assert at(story) == [*(str(number).encode() for number in range(200)), b"\x00binary", b"last words"]


@pytest.mark.parametrize(
    ("kind", "frames"),
    [("duplicate_frame", [b"0", b"0", b"1", b"1", b"2", b"2"]), ("lost_frame", []), ("mute", []), ("disconnect", [])],
)
def test_a_fault_of_a_frame_does_what_its_name_says(kind: str, frames: list[bytes]) -> None:
    async def story(place: Place) -> list[bytes]:
        connection = await place.dial()
        await connection.send("3")
        told = await heard(connection)
        if kind == "disconnect":
            with pytest.raises(ConnectionLost):
                await connection.receive()
            assert place.twin.closed_conns == [1]
        else:
            await connection.send("stands")
        return told

    assert at(story, weather({kind: 1.0})) == frames


def test_a_mute_stream_speaks_again() -> None:
    async def story(place: Place) -> list[bytes]:
        connection = await place.dial()
        place.network.faults = Faults(mute=1.0)
        await connection.send("unheard")
        place.network.faults = Faults()
        await connection.send("unheard too")
        await place.clock.sleep_ns(module.MUTE_MAX_S * SECOND_NS)
        await connection.send("heard")
        return await heard(connection)

    assert at(story) == [b"heard"]


def test_a_crash_ends_every_stream_and_the_twin_hears_of_it() -> None:
    async def story(place: Place) -> list[int]:
        lines = [await place.dial(), await place.dial()]
        await lines[0].send("on its way")
        place.network.drop_all()
        for line in lines:
            with pytest.raises(ConnectionLost, match="died"):
                await line.receive()
        return place.twin.closed_conns

    assert at(story) == [1, 2]


def test_a_reader_that_is_too_slow_is_disconnected_and_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKLOG_FRAMES_MAX", 100)

    async def story(place: Place) -> None:
        connection = await place.dial()
        await connection.send("101")
        await place.clock.sleep_ns(60 * SECOND_NS)
        with pytest.raises(ConnectionLost, match="too slow"):
            await connection.receive()

    at(story)


def test_a_twin_acts_by_itself_at_its_own_times() -> None:
    async def story(place: Place) -> tuple[list[bytes], int]:
        connection = await place.dial()
        frames = [await connection.receive() for _ in range(3)]
        return frames, place.twin._now_ns - place.twin._started_ns

    assert at(story, Faults(latency_ns=1), beat_ns=3600 * SECOND_NS) == ([b"beat 1", b"beat 2", b"beat 3"], 3 * 3600 * SECOND_NS)


def test_time_stands_still_for_twins_when_the_network_stops() -> None:
    async def main(clock: VirtualClock) -> int:
        place = Place(clock, Faults(), 1, SECOND_NS)
        carrier = asyncio.create_task(place.network.run())
        await clock.sleep_ns(10 * SECOND_NS)
        carrier.cancel()
        await clock.sleep_ns(10 * SECOND_NS)
        return place.twin._beats

    assert run_virtual(main) == 10


def trace(seed: int) -> str:
    """Twenty clients in all weathers; everything that anybody saw, and when."""
    kinds = {field.name: 0.08 for field in msgspec.structs.fields(Faults) if field.type is float}

    async def story(place: Place) -> str:
        digest = hashlib.sha256()

        async def client(number: int) -> None:
            for _ in range(10):
                seen: object
                try:
                    connection = await place.dial()
                    await connection.send(f"{number}")
                    seen = [await place.post(), await heard(connection, SECOND_NS)]
                except (NoAnswer, NotSent, ConnectionLost) as error:
                    seen = error
                digest.update(f"{number} {place.clock.now_ns()} {seen!r};".encode())

        await asyncio.gather(*(client(number) for number in range(20)))
        digest.update(repr((place.twin.done, sorted(place.network.hit.items()))).encode())
        assert set(place.network.hit) == set(kinds)
        return digest.hexdigest()

    return at(story, weather(kinds), seed=seed, beat_ns=SECOND_NS // 3)


def test_the_same_seed_is_the_same_run() -> None:
    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


def test_a_stream_is_asked_for_with_its_whole_path() -> None:
    async def story(place: Place) -> list[str]:
        await place.dial("/events?since_id=1&until_id=2")
        await place.dial("/events")
        return place.twin.paths

    assert at(story) == ["/events?since_id=1&until_id=2", "/events"]
