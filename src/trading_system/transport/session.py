"""The sans-IO contract of a stream: frames in, events and frames out. A broker's session.py fulfils it, supervise.py drives it."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import msgspec

from trading_system.transport.message import TransportError


class Step(msgspec.Struct, frozen=True):
    """What a session wants after one input: events to hand on, frames to send (str: text frame, bytes: binary frame)."""

    events: tuple[object, ...] = ()
    send: tuple[str | bytes, ...] = ()
    ready: bool = False  # True once: login and subscriptions stand, the stream is live from here
    alive: bool = False  # nothing to hand on, but the other side has shown that it is there: silence counts from now


class StreamRefused(Exception):
    """The broker's session answered that this login or subscription will never work as it is: do not reconnect."""


class Broken(TransportError):
    """The broker itself said that messages are missing: the connection is given up, and the next one asks for them."""


class Session(Protocol):
    """One stream's protocol. Holds its state, never waits, reads no clock. Reset by on_open at every (re)connect."""

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        """The URL and the headers of the upgrade request, made anew for each attempt (tokens may have changed)."""
        ...

    def on_open(self, now_ns: int) -> Step:
        """A fresh connection stands; forget the last one. Gives the frames of the login."""
        ...

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """One whole frame, text or binary. Raises StreamRefused for a login that cannot work."""
        ...

    def stale_after_ns(self) -> int:
        """How old the last data may be before the stream counts as mute; pings do not count as data. 0: no limit."""
        ...


@runtime_checkable
class Judging(Protocol):
    """A session whose login is the request for the stream itself knows which refusals are for ever."""

    def on_refused(self, status: int, body: bytes) -> None:
        """The request for the stream was answered with an HTTP status. Raises StreamRefused: the next one would hear the same."""
        ...
