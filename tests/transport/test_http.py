"""HTTP on real sockets: one request on the wire per send, and every failure told as what it is."""

import asyncio
import datetime
import gzip
import ipaddress
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

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


async def test_keys_never_leave_in_the_clear() -> None:
    http = AiohttpHttp({"broker.example"})
    with pytest.raises(NotSent, match="use https"):
        await http.send(Request(method="POST", url="http://broker.example/"), within_ns=SECOND)
    with pytest.raises(NotSent, match="not a URL"):
        await http.send(Request(method="POST", url="https://["), within_ns=SECOND)
    with pytest.raises(NotSent, match="not among"):
        await http.send(Request(method="POST", url="https://broker.example@evil.example/"), within_ns=SECOND)
    await http.aclose()


async def test_a_name_that_is_not_found_sends_nothing() -> None:
    http = AiohttpHttp({"nowhere.invalid"})
    with pytest.raises(NotSent, match="no connection"):
        await http.send(Request(method="POST", url="https://nowhere.invalid/"), within_ns=5 * SECOND)
    await http.aclose()


async def test_a_certificate_nobody_vouches_for_sends_nothing(tmp_path: Path) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(self_signed(tmp_path))
    raw = Raw(answer)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0, ssl=served)
    netloc = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    http = AiohttpHttp({netloc})
    with pytest.raises(NotSent, match="certificate"):
        await http.send(Request(method="POST", url=f"https://{netloc}/"), within_ns=5 * SECOND)
    await http.aclose()
    server.close()

    assert raw.requests == 0


def self_signed(folder: Path) -> Path:
    x509 = pytest.importorskip("cryptography.x509", reason="nothing here makes certificates")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "twin.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(pem))
    return path


async def test_waiting_in_vain_for_a_free_connection_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_MAX", 1)
    arrived = asyncio.Event()

    async def silent(_: int, __: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.sleep(5)

    async with raw_server(silent) as (raw, http, url):
        first = asyncio.create_task(http.send(Request(method="POST", url=url), within_ns=SECOND))
        await arrived.wait()
        with pytest.raises(NotSent, match="in time"):
            await http.send(Request(method="POST", url=url), within_ns=SECOND // 10)
        with pytest.raises(NoAnswer):
            await first

        assert raw.requests == 1


async def test_headers_without_end_are_cut_off() -> None:
    async def endless(_: int, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(10_000)))

    async with raw_server(endless) as (_, http, url):
        with pytest.raises(NoAnswer):
            await http.send(Request(method="GET", url=url), within_ns=5 * SECOND)


async def test_nothing_in_a_request_becomes_a_header_of_its_own() -> None:
    async with raw_server(answer) as (raw, http, url):
        with pytest.raises(NoAnswer):
            await http.send(Request(method="POST", url=url, headers={"X": "a\r\nY: b"}), within_ns=SECOND)
        with pytest.raises(NotSent, match="not a URL"):
            await http.send(Request(method="POST", url=url + " HTTP/1.1\r\nY: b\r\n\r\n"), within_ns=SECOND)

        assert raw.requests == 0


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
    """Time stands still at second 1000, and what was waited is written down."""

    def __init__(self) -> None:
        self.waited: list[int] = []

    def now_ns(self) -> int:
        return 1000 * SECOND

    async def sleep_ns(self, duration_ns: int) -> None:
        self.waited.append(duration_ns)


async def test_a_broker_that_says_when_is_asked_then() -> None:
    clock, rng, request = Quick(), random.Random(1), Request(method="GET", url="http://x/")
    http = Scripted(
        response(429, retry_after="7"),
        response(429, x_ratelimit_reset="1012"),
        response(503, x_ratelimit_reset="1012"),
        response(429, x_ratelimit_reset="1060"),
    )
    last = await get_with_retry(http, request, within_ns=SECOND, clock=clock, rng=rng)

    assert clock.waited[:2] == [7 * SECOND, 12 * SECOND]
    assert clock.waited[2] < 2 * SECOND
    assert (last.status, len(clock.waited)) == (429, 3)


async def test_questions_are_asked_again_and_changes_never() -> None:
    assert (await ask(NoAnswer("x"), response(503), response(200))).status == 200
    assert (await ask(response(429), response(500), response(429))).status == 429
    assert (await ask(response(429, retry_after="3600"))).status == 429
    assert (await ask(response(404))).status == 404
    with pytest.raises(NotSent):
        await ask(NotSent("a"), NotSent("b"), NotSent("c"))
    with pytest.raises(AssertionError, match="ever sent twice"):
        await ask(method="POST")
