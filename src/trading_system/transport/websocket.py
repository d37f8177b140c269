"""WebSocket: frames out, frames in, bounded both ways. A socket that goes quiet below the protocol is closed."""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

import picows

from trading_system.transport.message import LOOPBACK, NoAnswer, NotSent, Refused, TransportError

SECOND_NS = 1_000_000_000
FRAME_MAX = 16 << 20  # bytes of one message
BACKLOG_FRAMES_MAX = 10_000  # received and not yet read: beyond this the reader is too slow, and reconnects instead of losing some silently
BACKLOG_BYTES_MAX = 64 << 20
UNSENT_BYTES_MAX = 1 << 20  # handed to the socket and not yet taken by the other side
PING_AFTER_S = 10  # of silence
PONG_WITHIN_S = 10
CLOSE_WITHIN_S = 1


class ConnectionLost(TransportError):
    """The stream is over; the reason says why. The supervisor dials again."""


class Connection(Protocol):
    """One open stream."""

    async def send(self, frame: str | bytes) -> None:
        """str: a text frame, bytes: a binary one. Raises ConnectionLost."""
        ...

    async def receive(self, *, within_ns: int = 0) -> bytes:
        """The next whole message, text as UTF-8; what came before the end is given first. within_ns 0: however long it takes.
        Raises ConnectionLost. TimeoutError: nothing came within; the connection stands."""
        ...

    async def aclose(self) -> None: ...


class Dialer(Protocol):
    """The seam that sim/network.py takes the place of."""

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        """Raises NotSent, NoAnswer: not connected. Refused: answered with an HTTP status."""
        ...


class PicowsDialer:
    """picows, with pings of its own and neither redirects nor proxies."""

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        """Text and binary; no compression is offered, so that no frame can be a bomb."""
        parts = urlsplit(url)
        if parts.scheme != "wss" and parts.hostname not in LOOPBACK:
            raise NotSent(f"{parts.hostname} is not this machine: use wss, the login would be readable on the way")
        context: ssl.SSLContext | None = None
        if parts.scheme == "wss":
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            async with asyncio.timeout(within_ns / SECOND_NS):
                _, inbox = await picows.ws_connect(
                    Inbox,
                    url,
                    ssl_context=context,
                    websocket_handshake_timeout=None,  # the deadline above rules
                    extra_headers=dict(headers),
                    max_frame_size=FRAME_MAX,
                    max_redirects=0,
                    enable_auto_ping=True,
                    auto_ping_idle_timeout=PING_AFTER_S,
                    auto_ping_reply_timeout=PONG_WITHIN_S,
                )
        except picows.WSInvalidStatusError as error:
            answer = error.response
            raise Refused(0 if answer is None else int(answer.status), b"" if answer is None else bytes(answer.body or b"")) from None
        except TimeoutError:
            raise NoAnswer("the upgrade was not answered in time") from None
        except (OSError, picows.WSError) as error:
            raise NotSent(f"no connection: {error}") from None
        assert isinstance(inbox, Inbox)
        return inbox


class Inbox(picows.WSListener):
    """What arrived and was not read yet, and the way out."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._size = 0
        self._parts: list[bytes] = []
        self._parts_size = 0
        self._lost: str | None = None
        self._reader: asyncio.Future[None] | None = None
        self._ended = asyncio.Event()

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if self._lost is not None:
            return
        if frame.msg_type in (picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
            if frame.rsv1 or frame.rsv2 or frame.rsv3 or (frame.msg_type == picows.WSMsgType.CONTINUATION) != bool(self._parts):
                self._lose("a frame that breaks the protocol: compressed without being asked, or a message inside another")
                return
            self._took(frame.get_payload_as_bytes(), final=bool(frame.fin))
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            self._lose(f"closed by the other side with code {frame.get_close_code()}")

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._lose("the connection dropped")
        self._ended.set()

    async def send(self, frame: str | bytes) -> None:
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        kind = picows.WSMsgType.TEXT if isinstance(frame, str) else picows.WSMsgType.BINARY
        self._transport.send(kind, frame.encode() if isinstance(frame, str) else frame)
        if self._transport.underlying_transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            self._lose("the other side takes nothing of what is sent")
            raise ConnectionLost(self._lost or "")

    async def receive(self, *, within_ns: int = 0) -> bytes:
        if not self._frames:
            await self._arrival(within_ns)
        payload = self._frames.popleft()
        self._size -= len(payload)
        return payload

    async def aclose(self) -> None:
        if self._lost is None:
            self._lost = "closed by us"
            self._transport.send_close()
            self._transport.disconnect()
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._ended.wait()
        except TimeoutError:
            self._transport.disconnect(graceful=False)  # nobody there takes our goodbye

    async def _arrival(self, within_ns: int) -> None:
        """Until a frame waits. A timer only here, where there is something to wait for: a burst is read without one."""
        assert self._reader is None, "one reader at a time"
        if self._lost is not None:
            raise ConnectionLost(self._lost)
        loop = asyncio.get_running_loop()
        self._reader = loop.create_future()
        timer = loop.call_later(within_ns / SECOND_NS, self._wake, TimeoutError()) if within_ns else None
        try:
            await self._reader
        finally:
            self._reader = None
            if timer is not None:
                timer.cancel()
        if not self._frames:
            raise ConnectionLost(self._lost or "")

    def _wake(self, error: TimeoutError | None = None) -> None:
        if self._reader is None or self._reader.done():
            return
        if error is None:
            self._reader.set_result(None)
        else:
            self._reader.set_exception(error)

    def _took(self, payload: bytes, *, final: bool) -> None:
        """One frame; a message in several frames is put together."""
        if not final or self._parts:
            self._parts.append(payload)
            self._parts_size += len(payload)
            if self._parts_size > FRAME_MAX or len(self._parts) > BACKLOG_FRAMES_MAX:
                self._lose(f"a message larger than {FRAME_MAX} bytes, or in more than {BACKLOG_FRAMES_MAX} parts")
                return
            if not final:
                return
            payload, self._parts, self._parts_size = b"".join(self._parts), [], 0
        self._frames.append(payload)
        self._size += len(payload)
        if len(self._frames) > BACKLOG_FRAMES_MAX or self._size > BACKLOG_BYTES_MAX:
            self._frames.clear()
            self._lose("more waits to be read than may; the reader is too slow")
        self._wake()

    def _lose(self, reason: str) -> None:
        if self._lost is None:
            self._lost = reason
            self._transport.disconnect()
        self._wake()
