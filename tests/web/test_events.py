"""Events over HTTP: numbered as the journal has them, none lost and none doubled over any number of broken connections."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.web.served import Caller, served
from trading_system.web import events as module
from trading_system.web import server as server_module
from trading_system.web.events import READERS_MAX
from trading_system.web.server import DRAIN_S

assert DRAIN_S  # the end of a desk is bounded, with readers too


@asynccontextmanager
async def reading(caller: Caller, path: str, **headers: str) -> AsyncIterator[aiohttp.StreamReader]:
    url = caller.server.url.rstrip("/") + path
    async with caller.session.get(url, headers={**caller.headers, **headers}) as answer:
        assert answer.status == 200, await answer.text()
        yield answer.content


async def frames(content: aiohttp.StreamReader) -> AsyncIterator[dict[str, str]]:
    """Events as a browser would read them; comments and `retry` are passed over."""
    found: dict[str, str] = {}
    async for raw in content:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            if name not in ("", "retry"):
                found[name] = value
        elif found:
            yield found
            found = {}


async def some(content: aiohttp.StreamReader, count: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    async with asyncio.timeout(10):
        async for frame in frames(content):
            found.append(frame)
            if len(found) == count:
                break
    return found


async def test_what_is_journaled_comes_with_its_number_and_the_past_before_it(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, reading(desk.caller, "/v1/events?after=0") as content:
        first = await some(content, desk.server._events.last + 1)
        desk.desk.alert("warning", "something happened")
        (told,) = await some(content, 1)
        body = json.loads(told["data"])
        entries = await desk.desk.journal.entries(0, 1_000)

        assert [int(frame["id"]) for frame in first if frame["event"] != "heartbeat"] == list(range(1, len(first)))
        assert (told["event"], int(told["id"])) == ("alert", entries[-1].seq)
        assert (body["record"]["text"], body["digest"]) == ("something happened", entries[-1].digest.hex())


@pytest.mark.prove
async def test_nothing_is_lost_or_doubled_over_a_thousand_broken_connections(tmp_path: Path) -> None:
    rng, breaks, seen = random.Random(5), 0, list[int]()
    async with served(tmp_path) as desk:
        began = desk.server._events.last
        last = began

        async def write() -> None:
            for number in range(6_000):
                desk.desk.alert("info", f"alert {number}")
                if number % 7 == 0:
                    await asyncio.sleep(0.001)

        writer = asyncio.create_task(write())
        while breaks < 1_000 or not writer.done() or last < desk.server._events.last:
            left = rng.randrange(1, 12)
            async with reading(desk.caller, "/v1/events", **{"Last-Event-ID": str(last)}) as content:
                async for frame in frames(content):
                    last = int(frame["id"])
                    if frame["event"] != "heartbeat":
                        seen.append(last)
                    left -= 1
                    if left <= 0 or (frame["event"] == "heartbeat" and writer.done()):
                        break
            breaks += 1
        await writer
        await desk.desk.journal.flush()
        lost = set(range(began + 1, desk.server._events.last + 1)) - set(seen)
        print(f"{breaks} broken connections, {len(seen)} events, {len(lost)} lost, {len(seen) - len(set(seen))} doubled")

        assert (breaks >= 1_000, len(lost), len(seen) - len(set(seen)), seen == sorted(seen)) == (True, 0, 0, True)


async def test_filters_leave_out_what_is_about_others_and_never_a_halt_of_all(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        last = desk.server._events.last
        async with reading(desk.caller, f"/v1/events?after={last}&instrument=BTC/USD&broker=alpaca&types=intent,halt_set,reported") as content:
            await some(content, 1)
            for instrument in ("AAPL", "BTC/USD"):
                status, _ = await desk.caller.ask("POST", "/v1/orders", {"instrument": instrument, "side": "buy", "cash_order_qty": "500"})
                assert status == 200
            await desk.caller.ask("POST", "/v1/halt", {})
            told = []
            async for frame in frames(content):
                told.append(json.loads(frame["data"])["record"])
                if frame["event"] == "halt_set":
                    break
        names = {record["type"]: json.dumps(record) for record in told}

        assert set(names) == {"intent", "reported", "halt_set"}
        assert all("AAPL" not in text for text in names.values())


async def test_a_reader_who_does_not_read_is_dropped_and_the_desk_and_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SLOW_S", 2)
    async with served(tmp_path) as desk:
        host, port = desk.server.url.removeprefix("http://").rstrip("/").split(":")
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=narrow, limit=1_024)
        head = f"GET /v1/events HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {desk.caller.token}\r\n\r\n"
        writer.write(head.encode())
        assert b"200 OK" in await reader.readline()
        async with reading(desk.caller, "/v1/events") as content:
            await some(content, 1)
            told = asyncio.create_task(_count(content, 16_000))
            for number in range(16_000):
                desk.desk.alert("info", f"{number} " + "x" * 400)
                if number % 1_000 == 0:
                    await desk.desk.journal.flush()
            status, _ = await desk.caller.ask("GET", "/v1/status")
            assert await told == 16_000
        for _ in range(50):
            if desk.server._events.readers == 0:
                break
            await asyncio.sleep(0.1)

        assert (status, desk.server._events.readers) == (200, 0)
        writer.close()


async def _count(content: aiohttp.StreamReader, most: int) -> int:
    count = 0
    async for frame in frames(content):
        count += frame["event"] == "alert"
        if count == most:
            break
    return count


async def test_readers_are_bounded_hear_that_nothing_happens_and_go_when_the_desk_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.1)

    async def follow(caller: Caller) -> int:
        heard = 0
        with suppress(aiohttp.ClientError):  # the desk ended in the middle of a frame
            async with reading(caller, "/v1/events") as content:
                async for frame in frames(content):
                    heard += frame["event"] == "heartbeat"
        return heard

    async with aiohttp.ClientSession() as session:
        async with served(tmp_path) as desk:
            others = Caller(session, desk.server, desk.caller.token)
            readers = [asyncio.create_task(follow(others)) for _ in range(READERS_MAX)]
            await asyncio.sleep(0.5)
            status, found = await desk.caller.ask("GET", "/v1/events")
        heard = await asyncio.gather(*readers)

    assert (status, "others read" in found["text"]) == (400, True)
    assert min(heard) >= 2


async def test_prices_come_by_stream_with_the_state_of_the_line(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, reading(desk.caller, "/v1/stream?instruments=AAPL,BTC/USD&trades=true") as content:
        kinds = set()
        async with asyncio.timeout(20):
            async for frame in frames(content):
                kinds.add(frame["event"])
                assert json.loads(frame["data"])
                if kinds >= {"link", "quote", "trade"}:
                    break

        assert kinds == {"link", "quote", "trade"}
