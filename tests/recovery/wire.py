"""HTTP over a bare socket, in the place of aiohttp, so that a life can end between two bytes of a request or an answer."""

import asyncio
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from trading_system.transport.message import NoAnswer, NotSent, Request, Response

SECOND_NS = 1_000_000_000


class SteppedHttp:
    """transport.http.Http. misfortunes: what happens to the coming orders for BTC/USD: "refused" (no connection), "lost" (no answer)."""

    def __init__(self, hosts: Iterable[str], *, step: Callable[[str], None], misfortunes: list[str]) -> None:
        self._hosts = frozenset(hosts)
        self._step = step
        self._misfortunes = misfortunes

    async def send(self, request: Request, *, within_ns: int) -> Response:
        assert urlsplit(request.url).netloc in self._hosts
        misfortune = self._misfortunes.pop(0) if request.method == "POST" and b"BTC" in request.body and self._misfortunes else ""
        self._step(f"{request.method} before its first byte")
        if misfortune == "refused":
            raise NotSent("no connection: as the test wants it")
        url = urlsplit(request.url)
        try:
            async with asyncio.timeout(within_ns / SECOND_NS):
                reader, writer = await asyncio.open_connection(url.hostname, url.port)
        except (OSError, TimeoutError) as error:
            raise NotSent(f"no connection: {error}") from None
        try:
            async with asyncio.timeout(within_ns / SECOND_NS):
                await self._out(request, writer)
                if misfortune == "lost":
                    raise NoAnswer("sent, but no answer: as the test wants it")
                return await self._in(request, reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise NoAnswer(f"sent, but {type(error).__name__}") from None
        finally:
            writer.close()

    async def _out(self, request: Request, writer: asyncio.StreamWriter) -> None:
        url = urlsplit(request.url)
        target = url.path + (f"?{url.query}" if url.query else "")
        headers = {"Host": url.netloc, "Connection": "close", "Content-Length": str(len(request.body)), **request.headers}
        head = f"{request.method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        data = head.encode() + request.body
        for part, name in ((data[:1], "first byte out"), (data[1:], "last byte out")):
            writer.write(part)
            await writer.drain()
            self._step(f"{request.method} {name}")

    async def _in(self, request: Request, reader: asyncio.StreamReader) -> Response:
        first = await reader.readexactly(1)
        self._step(f"{request.method} first byte in")
        lines = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self._step(f"{request.method} answer in")
        return Response(status=int(lines[0].split()[1]), headers=headers, body=body)

    async def aclose(self) -> None:
        return None
