"""HTTP: one request, one answer, within a deadline. Nothing is ever sent twice; a GET may be asked again, by name."""

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Container, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import aiohttp
from yarl import URL

from trading_system.transport.clock import Clock
from trading_system.transport.message import LOOPBACK, NoAnswer, NotSent, Request, Response, TransportError

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

SECOND_NS = 1_000_000_000
BODY_MAX = 16 << 20  # bytes of one answer, unpacked
HEADER_MAX = 16 << 10
CONNECTIONS_MAX = 16  # per client
KEEPALIVE_S = 30
GET_ATTEMPTS_MAX = 4
BACKOFF_NS = SECOND_NS // 2  # the first wait between two GETs is drawn from 0 … this, then twice as much
RETRY_AFTER_MAX_NS = 30 * SECOND_NS  # a broker that wants a longer pause gets it from the caller
_RETRIABLE = frozenset({429, 500, 502, 503, 504})


class Http(Protocol):
    """The seam that sim/network.py takes the place of."""

    async def send(self, request: Request, *, within_ns: int) -> Response:
        """Raises NotSent: no byte left. NoAnswer: a byte may have left."""
        ...

    async def aclose(self) -> None: ...


class AiohttpHttp:
    """aiohttp with everything off that would act on its own: re-sends, redirects, cookies, proxies."""

    def __init__(self, hosts: Iterable[str], *, now_ns: Callable[[], int] = time.time_ns) -> None:
        """hosts: the only host:port (port left out for the scheme's own) that a request may go to."""
        self._hosts = frozenset(hosts)
        self._session: aiohttp.ClientSession | None = None
        self._now_ns = now_ns

    async def send(self, request: Request, *, within_ns: int) -> Response:
        """One exchange. Raises NotSent, NoAnswer."""
        session = self._session = self._session or open_session(_Connector)
        url = allowed(request.url, self._hosts)
        progress = _Progress()
        _progress.set(progress)
        try:
            async with (
                asyncio.timeout(within_ns / SECOND_NS),
                session.request(
                    request.method,
                    url,
                    headers=request.headers,
                    data=request.body or None,
                    allow_redirects=False,
                ) as answer,
            ):
                body = await answer.content.read(BODY_MAX + 1)
                while not answer.content.at_eof() and len(body) <= BODY_MAX:
                    body += await answer.content.read(BODY_MAX + 1 - len(body))
                if len(body) > BODY_MAX:
                    raise NoAnswer(f"the answer is larger than {BODY_MAX} bytes")
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(status=answer.status, headers=headers, body=body, recv_ns=self._now_ns())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _outcome(error, progress) from None

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Progress:
    """Whether a connection stood: before that, nothing can have left."""

    connected = False


_progress: ContextVar[_Progress] = ContextVar("_progress")


class _Connector(aiohttp.TCPConnector):
    """Says when a request has got its connection. aiohttp's tracing would too, and cost a tenth of a request."""

    async def connect(self, req: aiohttp.ClientRequest, traces: list["Trace"], timeout: aiohttp.ClientTimeout) -> "Connection":
        connection = await super().connect(req, traces, timeout)
        _progress.get().connected = True
        return connection


def allowed(text: str, hosts: Container[str]) -> URL:
    """The URL as aiohttp will read it, if a request may go there. Raises NotSent."""
    if not (text.isascii() and text.isprintable()) or " " in text:  # a line break would begin a second request
        raise NotSent("not a URL: it has characters that none may have")
    try:
        url = URL(text, encoded=True)
    except ValueError as error:
        raise NotSent(f"not a URL: {error}") from None
    if url.raw_authority not in hosts:
        raise NotSent(f"{url.raw_authority} is not among the hosts this connector may talk to")
    if url.scheme != "https" and url.raw_host not in LOOPBACK:
        raise NotSent(f"{url.raw_authority} is not this machine: use https, the keys would be readable on the way")
    return url


def open_session(connector: type[aiohttp.TCPConnector]) -> aiohttp.ClientSession:
    """An aiohttp session that does nothing by itself."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    session = aiohttp.ClientSession(
        connector=connector(ssl=context, limit=CONNECTIONS_MAX, keepalive_timeout=KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),  # the deadlines of the callers rule
        trust_env=False,
        auto_decompress=True,
        max_line_size=HEADER_MAX,
        max_field_size=HEADER_MAX,
    )
    # aiohttp sends GET, PUT and DELETE a second time when a kept-alive connection drops. tests/transport/test_http.py counts the requests.
    session._retry_connection = False
    return session


def _outcome(error: Exception, progress: _Progress) -> TransportError:
    reason = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    if not progress.connected:
        detail = getattr(error, "os_error", None) or reason
        return NotSent(f"no connection: {detail}")
    return NoAnswer(f"sent, but {reason}")


async def get_with_retry(
    http: Http, request: Request, *, within_ns: int, clock: Clock, rng: random.Random, attempts: int = GET_ATTEMPTS_MAX
) -> Response:
    """Ask a question, again when it got no answer or a passing refusal. Questions only: nothing that changes state comes through here.

    Raises: NotSent, NoAnswer: of the last attempt. A last 429 or 5xx is returned as it is.
    """
    assert request.method == "GET", "nothing that changes state is ever sent twice"
    pause_ns = BACKOFF_NS
    for attempt in range(1, attempts + 1):
        wait_ns = rng.randrange(pause_ns)
        try:
            response = await http.send(request, within_ns=within_ns)
        except TransportError:
            if attempt == attempts:
                raise
        else:
            if response.status not in _RETRIABLE or attempt == attempts:
                return response
            told_ns = _retry_after_ns(response, clock.now_ns())
            if told_ns > RETRY_AFTER_MAX_NS:
                return response
            wait_ns = max(wait_ns, told_ns)
        await clock.sleep_ns(wait_ns)
        pause_ns *= 2
    raise AssertionError("the loop returns or raises")


def _retry_after_ns(response: Response, now_ns: int) -> int:
    """What the broker itself says: Retry-After in seconds, else X-RateLimit-Reset in epoch seconds where the budget is what was refused."""
    after, reset = response.headers.get("retry-after", ""), response.headers.get("x-ratelimit-reset", "")
    if after.isdecimal():
        return int(after) * SECOND_NS
    return max(0, int(reset) * SECOND_NS - now_ns) if response.status == 429 and reset.isdecimal() else 0
