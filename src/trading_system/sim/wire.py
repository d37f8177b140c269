"""The seam between a twin and what carries its bytes: host.py serves a Wire on loopback, network.py on virtual time."""

from collections.abc import Mapping
from typing import Protocol

from trading_system.transport.message import Request, Response


class Wire(Protocol):
    """A broker's side of its wire, sans-IO: no clock, no socket. now_ns never runs backwards."""

    def handle(self, request: Request, now_ns: int) -> Response:
        """One HTTP exchange."""
        ...

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> "int | Response":
        """A stream's upgrade: the number of the new connection, or the HTTP answer that refuses it."""
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
