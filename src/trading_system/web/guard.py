"""The bounds of a connection: how many there are, how long a request's head may take, and how deep its JSON goes. Nothing here knows the desk."""

import asyncio
from collections.abc import Callable
from typing import cast

CONNECTIONS_MAX = 64
HEAD_WITHIN_S = 10
BODY_WITHIN_S = 10
BODY_MAX = 64 * 1024
DEPTH_MAX = 8
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"


class Door:
    """Makes the protocol of each connection: the server's own, with a bound around it."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._open: dict[asyncio.BaseTransport, Bounded] = {}

    def __call__(self) -> asyncio.Protocol:
        return Bounded(self, self._make())

    def began(self, transport: asyncio.BaseTransport | None) -> None:
        """A request's head is whole: from here on whoever answers it keeps the time."""
        if transport is not None and transport in self._open:
            self._open[transport].busy = True
            self._open[transport].stop_timer()

    def ended(self, transport: asyncio.BaseTransport | None) -> None:
        if transport is not None and transport in self._open:
            self._open[transport].busy = False

    def enter(self, transport: asyncio.Transport, bounded: "Bounded") -> bool:
        if len(self._open) >= CONNECTIONS_MAX:
            return False
        self._open[transport] = bounded
        return True

    def leave(self, transport: asyncio.BaseTransport) -> None:
        self._open.pop(transport, None)


class Bounded(asyncio.Protocol):
    """One connection. A head that is not whole in time ends it; one too many is told so and closed."""

    def __init__(self, door: Door, inner: asyncio.Protocol) -> None:
        self._door = door
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._entered = False
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = transport
        self._entered = self._door.enter(transport, self)
        if not self._entered:
            transport.write(_FULL)
            transport.close()
            return
        self._inner.connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        if self._entered:
            if self._timer is None and not self.busy:
                self._wait_for_head()
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._entered else None

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_timer()
        if self._entered:
            assert self._transport is not None
            self._door.leave(self._transport)
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_for_head(self) -> None:
        assert self._transport is not None
        self._timer = asyncio.get_running_loop().call_later(HEAD_WITHIN_S, self._transport.abort)


def depth(body: bytes) -> int:
    """How deep brackets of a JSON text are nested, those within strings left out; looked at before anything is decoded.

    >>> depth(b'{"a": [1, "[[["]}')
    2
    """
    now = deepest = 0
    within = escaped = False
    for byte in body:
        if within:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                within = False
        elif byte == 0x22:
            within = True
        elif byte in b"[{":
            now += 1
            deepest = max(deepest, now)
        elif byte in b"]}":
            now -= 1
    return deepest
