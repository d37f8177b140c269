"""Bounds of a connection, on real sockets: how many, how slowly, how deep."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_system.web import guard
from trading_system.web.guard import CONNECTIONS_MAX, Door, depth

GONE = (ConnectionError, asyncio.IncompleteReadError)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def deep(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((deep(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((deep(item) for item in value), default=0)
    return 0


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(JSONS)
def test_depth_is_that_of_the_decoded_value(value: Any) -> None:
    assert depth(json.dumps(value).encode()) == deep(value)
    assert depth(json.dumps(value, ensure_ascii=False).encode()) == deep(value)


class Echo(asyncio.Protocol):
    """Answers each line; says when it was closed."""

    closed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        Echo.closed += 1


async def listening(door: Callable[[], asyncio.Protocol]) -> tuple[asyncio.Server, int]:
    server = await asyncio.get_running_loop().create_server(door, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_one_connection_too_many_is_told_so_and_the_next_finds_room_again() -> None:
    server, port = await listening(Door(Echo))
    others = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
    others[0][1].write(b"x")
    assert await others[0][0].readexactly(1) == b"x"
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    assert (await reader.read()).startswith(b"HTTP/1.1 503")

    others[1][1].close()
    await asyncio.sleep(0.05)
    again, more = await asyncio.open_connection("127.0.0.1", port)
    more.write(b"y")

    assert await again.readexactly(1) == b"y"
    for closing in (writer, more, *(other[1] for other in others)):
        closing.close()
    server.close()


async def test_a_head_that_does_not_come_ends_the_connection_one_that_came_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "HEAD_WITHIN_S", 0.2)
    protocols: list[Any] = []

    def make() -> asyncio.Protocol:
        protocols.append(Echo())
        return protocols[-1]

    door = Door(make)
    server, port = await listening(door)
    slow, patient = await asyncio.open_connection("127.0.0.1", port), await asyncio.open_connection("127.0.0.1", port)
    slow[1].write(b"G")
    patient[1].write(b"G")
    await asyncio.sleep(0.05)
    door.began(protocols[1].transport)
    assert await slow[0].readexactly(1) == b"G"
    with pytest.raises(GONE):
        await slow[0].readexactly(1)
    patient[1].write(b"E")
    await asyncio.sleep(0.3)  # a body, or the next request: not before the answer is there
    door.ended(protocols[1].transport)

    assert await patient[0].readexactly(2) == b"GE"

    patient[1].write(b"T")  # the head of the next one begins
    assert await patient[0].readexactly(1) == b"T"
    with pytest.raises(GONE):
        await patient[0].readexactly(1)
    patient[1].close()
    server.close()
