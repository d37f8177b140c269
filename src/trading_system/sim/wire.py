"""The seam between a twin and what carries its bytes: host.py serves a Wire on loopback, network.py on virtual time."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from trading_system.transport.message import Request, Response


class Wire(Protocol):
    """A broker's side of its wire, sans-IO: no clock, no socket. now_ns never runs backwards."""

    def handle(self, request: Request, now_ns: int) -> Response:
        """One HTTP exchange."""
        ...

    def busy(self) -> Response:
        """What it says to somebody who asks too much, for the asking: a fault on demand."""
        ...

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> "int | Response":
        """A stream's upgrade, path with query: the number of the new connection, or the HTTP answer that refuses it."""
        ...

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        """One whole frame from the client; what it causes comes out of drain()."""
        ...

    def closed(self, conn: int) -> None:
        """The client is gone."""
        ...

    def advance(self, now_ns: int) -> None:
        """Let market, latencies and timers run up to now_ns."""
        ...

    def next_event_ns(self) -> int | None:
        """When advance() next has something to do; None: only when somebody speaks."""
        ...

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        """Frames to push, in order, each with its connection; None closes that connection."""
        ...


@runtime_checkable
class EventSource(Protocol):
    """A Wire some of whose GETs never end: open() takes them, and each frame is one server-sent event as it goes over the wire."""

    def is_events(self, path: str) -> bool:
        """Whether a GET of this path (with its query) is a stream of events."""
        ...


@runtime_checkable
class LineSource(EventSource, Protocol):
    """An EventSource whose frames are no server-sent events but lines, of another media type."""

    media_type: str


@runtime_checkable
class SocketSource(Protocol):
    """A Wire that is a bare socket: a client says the preamble, a text frame of its own, and then messages behind their length."""

    preamble: bytes
