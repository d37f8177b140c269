"""A long GET whose body is a stream of server-sent events, or of lines: frames in, nothing out. Looks to the supervisor as a WebSocket does."""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import aiohttp

from trading_system.transport.framing import EventFrames, LineFrames, Oversized
from trading_system.transport.http import allowed, open_session
from trading_system.transport.message import NoAnswer, NotSent, Refused
from trading_system.transport.websocket import Connection, ConnectionLost, Dialer

SECOND_NS = 1_000_000_000
REFUSAL_MAX = 64 << 10  # bytes of the answer that refuses a stream
MEDIA_TYPE = "text/event-stream"
LINES_TYPE = "application/octet-stream"  # who asks for this, or for JSON, gets each line as a frame, whatever the answer is called
JSON_TYPE = "application/json"


class EventsDialer:
    """aiohttp without redirects, proxies or re-sends. What is not read yet waits at the sender: the socket is not drained ahead of the reader."""

    def __init__(self, hosts: Iterable[str]) -> None:
        """hosts: the only host:port that a stream may be asked of."""
        self._hosts = frozenset(hosts)

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        """A session for each stream: when it ends, nothing of it is left to be used again."""
        target = allowed(url, self._hosts)
        wanted = {"Accept": MEDIA_TYPE, "Accept-Encoding": "identity", "Cache-Control": "no-cache", **headers}
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(within_ns / SECOND_NS):
                    session = await stack.enter_async_context(open_session(aiohttp.TCPConnector))
                    answer = await stack.enter_async_context(session.get(target, headers=wanted, allow_redirects=False))
                    stack.callback(answer.close)  # first of all: what is still on its way is not waited for
                    if answer.status != 200:
                        raise Refused(answer.status, await answer.content.read(REFUSAL_MAX))
            except TimeoutError:
                raise NoAnswer("the stream was not opened in time") from None
            except aiohttp.ClientConnectorError as error:
                raise NotSent(f"no connection: {error.os_error}") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise NoAnswer(f"the stream was not opened: {type(error).__name__}") from None
            if wanted["Accept"] in (LINES_TYPE, JSON_TYPE):
                return _Stream(answer.content, stack.pop_all(), LineFrames())
            if answer.content_type != MEDIA_TYPE:
                raise NoAnswer(f"answered with {answer.content_type}, which is no stream of events")
            return _Stream(answer.content, stack.pop_all(), EventFrames())
        raise AssertionError("the block returns or raises")


class _Stream:
    """One open stream."""

    def __init__(self, body: aiohttp.StreamReader, stack: AsyncExitStack, cut: EventFrames | LineFrames) -> None:
        self._body = body
        self._stack = stack
        self._cut = cut
        self._frames: deque[bytes] = deque()
        self._lost: str | None = None

    async def send(self, frame: str | bytes) -> None:
        raise ConnectionLost("a stream of events takes nothing")

    async def receive(self, *, within_ns: int = 0) -> bytes:
        async with asyncio.timeout(within_ns / SECOND_NS if within_ns else None):
            while not self._frames:
                if self._lost is not None:
                    raise ConnectionLost(self._lost)
                await self._read()
        return self._frames.popleft()

    async def _read(self) -> None:
        """One piece off the wire; what is wrong with it is told after the frames before it."""
        try:
            piece = await self._body.readany()
            if piece:
                self._frames.extend(self._cut.feed(piece))
            else:
                self._lost = "the other side ended the stream"
        except Oversized as error:
            self._lost = str(error)
        except (aiohttp.ClientError, OSError) as error:
            self._lost = f"the connection dropped: {type(error).__name__}"

    async def aclose(self) -> None:
        self._lost = self._lost or "closed by us"
        await self._stack.aclose()


class SchemeDialer:
    """A WebSocket for ws and wss, a stream of events for http and https, a bare socket for tcp."""

    def __init__(self, sockets: Dialer, events: Dialer, tcp: Dialer) -> None:
        self._by_scheme = {"http": events, "https": events, "tcp": tcp}
        self._sockets = sockets

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        dialer = self._by_scheme.get(urlsplit(url).scheme, self._sockets)
        return await dialer.dial(url, headers, within_ns=within_ns)
