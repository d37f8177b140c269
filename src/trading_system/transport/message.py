"""Plain values that cross the HTTP seam, and the three ways in which no answer can come back."""

from collections.abc import Mapping

import msgspec

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})  # the only hosts that may be spoken to without TLS: keys travel in headers and frames


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request, complete: absolute URL (query included), headers (secrets included: never logged), body bytes."""

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:  # a signed request carries secrets in its headers
        return f"Request({self.method} {self.url.split('?')[0]})"


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP answer, whole: header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    recv_ns: int = 0


class TransportError(Exception):
    """The request has no usable answer."""


class NotSent(TransportError):
    """Certainly no byte of the request left: name not found, refused, TLS failure, no slot in time."""


class NoAnswer(TransportError):
    """A byte may have left and no whole answer came: time ran out, reset, torn body, an answer over the size limit."""


class Refused(TransportError):
    """A stream's upgrade was answered with an HTTP status instead of 101."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(f"upgrade refused with HTTP {status}")
        self.status = status
        self.body = body
