"""The in-process network at the transport seam: connectors meet twins on virtual time, with seeded faults in between."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from trading_system.sim.wire import Wire
from trading_system.transport.clock import Clock
from trading_system.transport.message import NoAnswer, NotSent, Refused, Request, Response
from trading_system.transport.websocket import BACKLOG_FRAMES_MAX, Connection, ConnectionLost

SECOND_NS = 1_000_000_000
_T = TypeVar("_T")
LATE_MAX_NS = 20 * SECOND_NS  # after the client's deadline
MUTE_MAX_S = 60


class Faults(msgspec.Struct, kw_only=True):
    """What goes wrong: of each kind the chance, per request or per frame. The seed prints this line; enabled=False ends all but latency."""

    refused: float = 0.0  # no connection: certainly not sent
    lost_request: float = 0.0  # sent, never arrives
    lost_answer: float = 0.0  # done, the answer never arrives
    late_request: float = 0.0  # arrives after the client has given up
    reset: float = 0.0  # sent, and the connection is reset at once: not done
    late_answer: float = 0.0  # done, answered after the client has given up
    torn_answer: float = 0.0  # the body ends in the middle
    garbage: float = 0.0  # HTTP 200 with something else
    busy: float = 0.0  # 429 before the broker looked at it
    failed_before: float = 0.0  # 503, not done
    failed_after: float = 0.0  # 504, done
    duplicate_frame: float = 0.0
    lost_frame: float = 0.0
    lost_send: float = 0.0  # a frame of the client's never arrives
    disconnect: float = 0.0  # per frame: the stream drops before it
    mute: float = 0.0  # per frame: the stream stays up and nothing comes for a while
    latency_ns: int = 20_000_000
    enabled: bool = True


class SimNetwork:
    """Twins by host. Every delay and every fault comes from one seeded generator, so that a seed is a run."""

    def __init__(self, hosts: Mapping[str, Wire], clock: Clock, rng: random.Random, faults: Faults) -> None:
        self.hosts = hosts
        self.clock = clock
        self.rng = rng
        self.faults = faults
        self.hit: Counter[str] = Counter()
        self._connections: dict[tuple[int, int], _Connection] = {}
        self._background: set[asyncio.Task[Response]] = set()
        self._timers: dict[int, tuple[int, asyncio.TimerHandle]] = {}  # by twin: when it next has something to do
        self._running = False

    def http(self) -> "_Http":
        return _Http(self)

    def dialer(self) -> "_Dialer":
        return _Dialer(self)

    async def run(self) -> None:
        """Let every twin's time pass, event by event, and carry what it pushes. Runs for as long as the simulation."""
        self._running = True
        try:
            for wire in self.hosts.values():
                self.carry(wire)
            await asyncio.get_running_loop().create_future()
        finally:
            self._running = False
            for _, timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def drop_all(self) -> None:
        """The client's process dies: its streams end without a goodbye."""
        for connection in tuple(self._connections.values()):
            connection.drop("the client died")

    def chance(self, kind: str) -> bool:
        """One throw for one kind of fault; counted when it hits."""
        rate: float = getattr(self.faults, kind)
        hit = self.faults.enabled and rate > 0 and self.rng.random() < rate
        if hit:
            self.hit[kind] += 1
        return hit

    def latency_ns(self) -> int:
        return self.rng.randrange(1, 2 * self.faults.latency_ns)

    def carry(self, wire: Wire) -> None:
        """Bring a twin up to now and deliver what it has to say."""
        wire.advance(self.clock.now_ns())
        for number, frame in wire.drain():
            connection = self._connections.get((id(wire), number))
            if connection is not None:
                connection.deliver(frame)
        if self._running:
            self._wind(wire)

    def _wind(self, wire: Wire) -> None:
        """Set the alarm for a twin's next event, unless it stands there already."""
        due_ns = wire.next_event_ns()
        if id(wire) in self._timers:
            set_for_ns, timer = self._timers[id(wire)]
            if due_ns == set_for_ns:
                return
            timer.cancel()
            del self._timers[id(wire)]
        if due_ns is None:
            return
        wait_ns = max(1, due_ns - self.clock.now_ns())
        self._timers[id(wire)] = due_ns, asyncio.get_running_loop().call_later(wait_ns / SECOND_NS, self._rings, wire)

    def _rings(self, wire: Wire) -> None:
        self._timers.pop(id(wire), None)
        self.carry(wire)

    def spawn(self, task: "asyncio.Task[Response]") -> None:
        self._background.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[Response]") -> None:
        self._background.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that a client that has given up leaves no warning


class _Http:
    def __init__(self, network: SimNetwork) -> None:
        self._network = network

    async def aclose(self) -> None:
        return None

    async def send(self, request: Request, *, within_ns: int) -> Response:
        network = self._network
        wire = network.hosts.get(urlsplit(request.url).netloc)
        if wire is None or network.chance("refused"):
            await network.clock.sleep_ns(network.latency_ns())
            raise NotSent("no connection: refused")
        task = asyncio.create_task(self._exchange(wire, request, within_ns))
        network.spawn(task)
        try:
            async with asyncio.timeout(within_ns / SECOND_NS):
                return await asyncio.shield(task)  # the bytes are out: a client that gives up takes nothing back
        except TimeoutError:
            raise NoAnswer("sent, but no answer in time") from None

    async def _exchange(self, wire: Wire, request: Request, within_ns: int) -> Response:
        network = self._network
        await network.clock.sleep_ns(network.latency_ns())
        if network.chance("lost_request"):
            await network.clock.sleep_ns(within_ns)
            return _NOTHING
        if network.chance("reset"):
            raise NoAnswer("sent, but the connection was reset")
        if network.chance("late_request"):
            await network.clock.sleep_ns(within_ns + network.rng.randrange(LATE_MAX_NS))
        if network.chance("busy"):
            return msgspec.structs.replace(wire.busy(), recv_ns=network.clock.now_ns())
        if network.chance("failed_before"):
            return Response(status=503, headers={}, body=b"<html>Service Unavailable</html>", recv_ns=network.clock.now_ns())
        network.carry(wire)
        answer = wire.handle(request, network.clock.now_ns())
        network.carry(wire)
        if network.chance("lost_answer"):
            await network.clock.sleep_ns(within_ns)
            return _NOTHING
        if network.chance("late_answer"):
            await network.clock.sleep_ns(within_ns + network.rng.randrange(LATE_MAX_NS))
        await network.clock.sleep_ns(network.latency_ns())
        if network.chance("failed_after"):
            return Response(status=504, headers={}, body=b"", recv_ns=network.clock.now_ns())
        if network.chance("torn_answer"):
            raise NoAnswer("sent, but the answer ended in the middle")
        if network.chance("garbage"):
            return Response(status=200, headers={}, body=b"<html>hello</html>", recv_ns=network.clock.now_ns())
        return Response(status=answer.status, headers=answer.headers, body=answer.body, recv_ns=network.clock.now_ns())


_NOTHING = Response(status=0, headers={}, body=b"")  # nobody is there to take it: the client's deadline has passed


class _Dialer:
    def __init__(self, network: SimNetwork) -> None:
        self._network = network

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        network = self._network
        await network.clock.sleep_ns(network.latency_ns())
        parts = urlsplit(url)
        wire = network.hosts.get(parts.netloc)
        if wire is None or network.chance("refused"):
            raise NotSent("no connection: refused")
        network.carry(wire)
        opened = wire.open(f"{parts.path}?{parts.query}" if parts.query else parts.path, headers, network.clock.now_ns())
        if isinstance(opened, Response):
            raise Refused(opened.status, opened.body)
        connection = _Connection(network, wire, opened, whole=parts.scheme == "tcp")
        network._connections[id(wire), opened] = connection
        network.carry(wire)
        return connection


class _Connection:
    """A stream. Frames keep their order: each arrives after its latency, and not before the one ahead of it. whole: it is a bare socket, which loses
    nothing in the middle and says nothing twice; what would be lost there ends it."""

    def __init__(self, network: SimNetwork, wire: Wire, number: int, *, whole: bool) -> None:
        self._whole = whole
        self._network = network
        self._wire = wire
        self._number = number
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()  # bounded by _arrive, as the real one is
        self._last_ns = 0
        self._mute_until_ns = 0
        self._ends = False  # something is missing that a socket cannot leave out
        self._lost: str | None = None

    async def send(self, frame: str | bytes) -> None:
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        network = self._network
        if network.chance("lost_send"):
            if self._whole:
                self.drop("the connection dropped")
            return
        self._wire.frame(self._number, frame, network.clock.now_ns())
        network.carry(self._wire)

    async def receive(self, *, within_ns: int = 0) -> bytes:
        async with asyncio.timeout(within_ns / SECOND_NS if within_ns else None):
            frame = await self._inbox.get()
        if frame is None:
            self._inbox.put_nowait(None)  # the end stays the end, however often it is asked for
            raise ConnectionLost(self._lost or "")
        return frame

    async def aclose(self) -> None:
        self.drop("closed by us")

    def drop(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
            self._network._connections.pop((id(self._wire), self._number), None)
            self._wire.closed(self._number)
            self._inbox.put_nowait(None)

    def deliver(self, frame: str | bytes | None) -> None:
        network = self._network
        if self._lost is not None:
            return
        now_ns = network.clock.now_ns()
        if frame is None:
            self._later(max(self._last_ns + 1, now_ns + 1), self.drop, "closed by the other side")  # behind what is still on its way
            return
        if network.chance("disconnect"):
            self.drop("the connection dropped")
            return
        if network.chance("mute"):
            self._mute_until_ns = now_ns + network.rng.randrange(1, MUTE_MAX_S) * SECOND_NS
        muted = now_ns < self._mute_until_ns
        if muted or network.chance("lost_frame"):
            self._ends = self._whole
            if not muted and self._whole:
                self.drop("the connection dropped")
            return
        if self._ends:
            self.drop("the connection dropped")
            return
        data = frame.encode() if isinstance(frame, str) else frame
        for _ in range(2 if not self._whole and network.chance("duplicate_frame") else 1):
            self._later(max(self._last_ns + 1, now_ns + network.latency_ns()), self._arrive, data)

    def _later(self, when_ns: int, act: Callable[[_T], None], what: _T) -> None:
        self._last_ns = when_ns
        asyncio.get_running_loop().call_later((when_ns - self._network.clock.now_ns()) / SECOND_NS, act, what)

    def _arrive(self, data: bytes) -> None:
        if self._lost is not None:
            return
        if self._inbox.qsize() >= BACKLOG_FRAMES_MAX:
            self._inbox = asyncio.Queue()
            self.drop("more waits to be read than may; the reader is too slow")
            return
        self._inbox.put_nowait(data)
