"""The in-process network at the transport seam: connectors meet twins on virtual time, with seeded faults in between."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from trading_system.sim.wire import Wire
from trading_system.transport.message import NoAnswer, NotSent, Refused, Request, Response
from trading_system.transport.websocket import Connection, ConnectionLost

SECOND_NS = 1_000_000_000
STEP_NS = SECOND_NS // 20  # the most that a twin's time lags behind while nobody speaks to it


class Clock(Protocol):
    def now_ns(self) -> int: ...
    async def sleep_ns(self, duration_ns: int) -> None: ...


class Faults(msgspec.Struct, kw_only=True):
    """What goes wrong, each as a probability per request, frame or second. The seed prints this line."""

    refused: float = 0.0  # no connection: certainly not sent
    lost_request: float = 0.0  # sent, never arrives
    lost_answer: float = 0.0  # done, the answer never arrives
    late_request: float = 0.0  # arrives after the client has given up
    late_answer: float = 0.0  # done, answered after the client has given up
    torn_answer: float = 0.0  # the body ends in the middle
    garbage: float = 0.0  # HTTP 200 with something else
    busy: float = 0.0  # 429 before the broker looked at it
    failed_before: float = 0.0  # 503, not done
    failed_after: float = 0.0  # 504, done
    duplicate_frame: float = 0.0
    lost_frame: float = 0.0
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

    def http(self) -> "_Http":
        return _Http(self)

    def dialer(self) -> "_Dialer":
        return _Dialer(self)

    async def run(self) -> None:
        """Let every twin's time pass, and carry what it pushes. Runs for as long as the simulation."""
        while True:
            await self.clock.sleep_ns(STEP_NS)
            for wire in self.hosts.values():
                self.carry(wire)

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
        if network.chance("late_request"):
            await network.clock.sleep_ns(within_ns + network.rng.randrange(20 * SECOND_NS))
        if network.chance("busy"):
            return Response(status=429, headers={}, body=b'{"code":42910000,"message":"rate limit exceeded"}', recv_ns=network.clock.now_ns())
        if network.chance("failed_before"):
            return Response(status=503, headers={}, body=b"<html>Service Unavailable</html>", recv_ns=network.clock.now_ns())
        network.carry(wire)
        answer = wire.handle(request, network.clock.now_ns())
        network.carry(wire)
        if network.chance("lost_answer"):
            await network.clock.sleep_ns(within_ns)
            return _NOTHING
        if network.chance("late_answer"):
            await network.clock.sleep_ns(within_ns + network.rng.randrange(20 * SECOND_NS))
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
        opened = wire.open(parts.path, headers, network.clock.now_ns())
        if isinstance(opened, Response):
            raise Refused(opened.status, opened.body)
        connection = _Connection(network, wire, opened)
        network._connections[id(wire), opened] = connection
        network.carry(wire)
        return connection


class _Connection:
    """A stream. Frames keep their order: each arrives after its latency, and not before the one ahead of it."""

    def __init__(self, network: SimNetwork, wire: Wire, number: int) -> None:
        self._network = network
        self._wire = wire
        self._number = number
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._last_ns = 0
        self._mute_until_ns = 0
        self._lost: str | None = None

    async def send(self, frame: str | bytes) -> None:
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        network = self._network
        self._wire.frame(self._number, frame, network.clock.now_ns())
        network.carry(self._wire)

    async def receive(self) -> bytes:
        frame = await self._inbox.get()
        if frame is None:
            raise ConnectionLost(self._lost or "closed by the other side")
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
        if frame is None or network.chance("disconnect"):
            self.drop("the connection dropped")
            return
        now_ns = network.clock.now_ns()
        if network.chance("mute"):
            self._mute_until_ns = now_ns + network.rng.randrange(1, 60) * SECOND_NS
        if now_ns < self._mute_until_ns or network.chance("lost_frame"):
            return
        data = frame.encode() if isinstance(frame, str) else frame
        for _ in range(2 if network.chance("duplicate_frame") else 1):
            self._last_ns = max(self._last_ns + 1, now_ns + network.latency_ns())
            asyncio.get_running_loop().call_later((self._last_ns - now_ns) / SECOND_NS, self._arrive, data)

    def _arrive(self, data: bytes) -> None:
        if self._lost is None:
            self._inbox.put_nowait(data)
