"""HTTP on real sockets: one request on the wire per send, and every failure told as what it is."""

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from trading_system.transport import http as module
from trading_system.transport.clock import SystemClock
from trading_system.transport.http import AiohttpHttp, get_with_retry
from trading_system.transport.message import NoAnswer, NotSent, Request, Response

SECOND = 1_000_000_000
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Handler = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


class Raw:
    """A server that counts whole requests and answers each as the test says: number of the request in, bytes out."""

    def __init__(self, handler: Handler) -> None:
        self.requests = 0
        self._handler = handler
        self.netloc = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    await reader.readexactly(int(line.split(b":")[1]))
            self.requests += 1
            await self._handler(self.requests, writer)
            if writer.is_closing():
                break
        writer.close()


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[tuple[Raw, AiohttpHttp, str]]:
    raw = Raw(handler)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    netloc = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    http = AiohttpHttp({netloc})
    try:
        yield raw, http, f"http://{netloc}/x"
    finally:
        await http.aclose()
        server.close()


async def answer(number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    await writer.drain()


async def drop(number: int, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def answer_then_drop(number: int, writer: asyncio.StreamWriter) -> None:
    await (answer if number == 1 else drop)(number, writer)


@pytest.mark.parametrize("method", METHODS)
async def test_a_dropped_connection_never_makes_a_second_request(method: str) -> None:
    async with raw_server(drop) as (raw, http, url):
        with pytest.raises(NoAnswer):
            await http.send(Request(method=method, url=url, body=b"{}"), within_ns=5 * SECOND)

        assert raw.requests == 1


@pytest.mark.parametrize("method", METHODS)
async def test_nor_does_a_kept_alive_connection_that_drops(method: str) -> None:
    async with raw_server(answer_then_drop) as (raw, http, url):
        await http.send(Request(method=method, url=url), within_ns=5 * SECOND)
        with pytest.raises(NoAnswer):
            await http.send(Request(method=method, url=url, body=b"{}"), within_ns=5 * SECOND)
        await asyncio.sleep(0.05)

        assert raw.requests == 2


@pytest.mark.parametrize("cut", range(1, len(OK)))
async def test_a_torn_answer_is_no_answer_wherever_it_tears(cut: int) -> None:
    async def torn(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(OK[:cut])
        await writer.drain()
        writer.close()

    async with raw_server(torn) as (raw, http, url):
        with pytest.raises(NoAnswer):
            await http.send(Request(method="POST", url=url, body=b"{}"), within_ns=5 * SECOND)

        assert raw.requests == 1


async def test_silence_is_no_answer_within_the_deadline() -> None:
    async def silent(_: int, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async with raw_server(silent) as (raw, http, url):
        with pytest.raises(NoAnswer, match="in time"):
            await http.send(Request(method="POST", url=url), within_ns=SECOND // 10)

        assert raw.requests == 1


async def test_a_refused_connection_and_a_foreign_host_send_nothing() -> None:
    http = AiohttpHttp({"127.0.0.1:1"})
    with pytest.raises(NotSent, match="no connection"):
        await http.send(Request(method="POST", url="http://127.0.0.1:1/"), within_ns=SECOND)
    with pytest.raises(NotSent, match=r"not among the hosts"):
        await http.send(Request(method="POST", url="http://example.com/"), within_ns=SECOND)
    await http.aclose()


async def test_a_redirect_is_an_answer_not_an_order() -> None:
    async def moved(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(moved) as (raw, http, url):
        assert (await http.send(Request(method="GET", url=url), within_ns=SECOND)).status == 302
        assert raw.requests == 1


async def test_a_gzip_bomb_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_MAX", 1 << 20)
    bomb = gzip.compress(b"\0" * (64 << 20))

    async def boom(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)

    async with raw_server(boom) as (_, http, url):
        with pytest.raises(NoAnswer):
            await http.send(Request(method="GET", url=url), within_ns=10 * SECOND)


class Scripted:
    """Answers in a row; an exception is raised."""

    def __init__(self, *script: Response | Exception) -> None:
        self.script = list(script)

    async def send(self, request: Request, *, within_ns: int) -> Response:
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def aclose(self) -> None: ...


def response(status: int, **headers: str) -> Response:
    return Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=b"")


async def ask(*script: Response | Exception, method: str = "GET") -> Response:
    return await get_with_retry(
        Scripted(*script), Request(method=method, url="http://x/"), within_ns=SECOND, clock=Quick(), rng=random.Random(1), attempts=3
    )


class Quick(SystemClock):
    async def sleep_ns(self, duration_ns: int) -> None: ...


async def test_questions_are_asked_again_and_changes_never() -> None:
    assert (await ask(NoAnswer("x"), response(503), response(200))).status == 200
    assert (await ask(response(429), response(500), response(429))).status == 429
    assert (await ask(response(429, retry_after="3600"))).status == 429
    assert (await ask(response(404))).status == 404
    with pytest.raises(NotSent):
        await ask(NotSent("a"), NotSent("b"), NotSent("c"))
    with pytest.raises(AssertionError, match="ever sent twice"):
        await ask(method="POST")
