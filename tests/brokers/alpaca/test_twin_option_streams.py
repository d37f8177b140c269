"""The twin's option streams: msgpack, quotes and trades of the contracts that are named, their own refusals."""

from datetime import datetime
from typing import Any

import msgspec

from tests.brokers.alpaca.option_client import SOON, near, quote
from tests.brokers.alpaca.twin_client import SECOND, Client

MSGPACK = {"Content-Type": "application/msgpack"}


def frames(client: Client, conn: int) -> list[Any]:
    return [None if frame is None else msgspec.msgpack.decode(frame) for number, frame in client.twin.drain() if number == conn and frame != ""]


def opened(client: Client, path: str = "/v1beta1/indicative", **lists: list[str]) -> int:
    conn = client.open(path, MSGPACK)
    client.frame(conn, msgspec.msgpack.encode({"action": "auth", "key": client.key, "secret": client.secret}))
    if lists:
        client.frame(conn, msgspec.msgpack.encode({"action": "subscribe", **lists}))
    return conn


def test_quotes_and_trades_of_the_contracts_that_are_named() -> None:
    client = Client(hours="us")
    call, put = near(client), near(client, "put")
    conn = opened(client, quotes=[call, put], trades=[call])
    greeting = [message for frame in frames(client, conn) for message in frame]
    client.wait(60 * SECOND)
    messages = [message for frame in frames(client, conn) for message in frame]
    quotes, trades = ([one for one in messages if one["T"] == kind] for kind in "qt")

    assert [one["T"] for one in greeting] == ["success", "success", "subscription"]
    assert greeting[-1] == {"T": "subscription", "trades": [call], "quotes": sorted([call, put])}
    assert {one["S"] for one in quotes} == {call, put}
    assert {one["S"] for one in trades} == {call}
    assert all(isinstance(one["t"], datetime) for one in messages)  # its Timestamp extension
    assert set(quotes[0]) == {"T", "S", "t", "bp", "bs", "ap", "as", "bx", "ax", "c"}
    assert set(trades[0]) == {"T", "S", "t", "p", "s", "x", "c"}
    last = [one for one in quotes if one["S"] == call][-1]
    assert (last["bp"], last["ap"]) == (quote(client, call)["bp"], quote(client, call)["ap"])


def test_a_quote_is_told_when_it_moves_also_where_nobody_bids() -> None:
    client = Client(hours="us")
    far = near(client, expiry=SOON, away=25)
    conn = opened(client, quotes=[far])
    frames(client, conn)
    client.wait(30 * SECOND)
    told = [message for frame in frames(client, conn) for message in frame]

    assert 0 < len(told) < 20
    assert {(one["bp"], one["bs"]) for one in told} == {(0, 0)}


def test_regular_hours_only() -> None:
    client = Client(hours="us")
    conn = opened(client, quotes=[near(client)])
    client.wait(4 * 3600 * SECOND)
    before = frames(client, conn)
    client.wait(600 * SECOND)

    assert len(before) > 10
    assert frames(client, conn) == []


def test_what_the_option_streams_refuse() -> None:
    client = Client(hours="us")
    conn = opened(client, bars=["*"])
    client.frame(conn, msgspec.msgpack.encode({"action": "subscribe", "quotes": ["*"]}))
    client.frame(conn, msgspec.msgpack.encode({"action": "subscribe", "trades": [str(place) for place in range(201)]}))
    told = [message for frame in frames(client, conn) for message in frame]
    opra = opened(client, "/v1beta1/opra")
    refused = [message for frame in frames(client, opra) for message in frame]
    plain = client.open("/v1beta1/indicative")
    said = client.frames(plain)

    assert [one["code"] for one in told if one["T"] == "error"] == [410, 413, 405]
    assert refused[-1] == {"T": "error", "code": 409, "msg": "insufficient subscription"}
    assert said[-2:] == [[{"T": "error", "code": 412, "msg": "option messages are only available in MsgPack format"}], None]


def test_opra_with_the_plan_for_it_and_stars_for_trades() -> None:
    client = Client(hours="us", sip=True)
    call = near(client)
    client.get(f"/v1beta1/options/quotes/latest?symbols={call}")
    conn = opened(client, "/v1beta1/opra", trades=["*"])
    frames(client, conn)
    client.wait(120 * SECOND)
    told = [message for frame in frames(client, conn) for message in frame]

    assert call in {one["S"] for one in told}
    assert {one["T"] for one in told} == {"t"}
    assert client.twin.slow(conn) is not None
