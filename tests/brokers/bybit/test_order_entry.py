"""Orders as frames over /v5/trade: what the session makes of Bybit's messages, how the twin answers, and that each change leaves once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as changed

from tests.brokers.bybit.test_connector import SOL, WIDE, wish
from tests.brokers.bybit.twin_client import NOON, Client
from tests.conformance.between import Between, conform
from tests.conformance.test_orders import approved_of
from tests.desks import Bench, settled
from tests.subjects import BYBIT_WS
from trading_system.brokers.bybit import wire
from trading_system.brokers.bybit.session import PING, Reply, TradeSession
from trading_system.domain.errors import InDoubt, RateLimited, Rejected
from trading_system.domain.fix import Doubt, OrdStatus
from trading_system.domain.ids import ClOrdID, IntentID
from trading_system.domain.order import Replace
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults
from trading_system.transport.session import Broken, StreamRefused

GOLDEN = Path(__file__).parent / "golden"
MS = 1_000_000
CANCEL = wire.CancelRequest(category="linear", symbol="SOLUSDT", orderId="4")


def golden(name: str, **changes: object) -> bytes:
    return json.dumps({**json.loads((GOLDEN / f"{name}.json").read_text()), **changes}).encode()


def line() -> TradeSession:
    return TradeSession("ws://x/v5/trade", Secret("test_api_key"), Secret("test_secret"), lambda: 250 * MS)


# -- the session -----------------------------------------------------------------------------------------------------------------------------------


def test_the_line_logs_in_and_stands_when_it_is_let_in() -> None:
    (login,) = line().on_open(1_699_999_989_750 * MS).send

    assert json.loads(login) == {
        "op": "auth",
        "args": ["test_api_key", 1700000000000, "bacffe7500499eb829bb58c45d36d1b3e5ac67c14eaeba91df5e99ccee013925"],
    }
    assert line().on_frame(golden("trade_auth"), NOON).ready
    assert line().on_frame(golden("pong_trade"), NOON).alive


def test_a_change_is_a_frame_with_a_time_and_a_name() -> None:
    assert json.loads(line().request("order.cancel", "a1", CANCEL, NOON)) == {
        "reqId": "a1",
        "header": {"X-BAPI-TIMESTAMP": str(NOON // MS + 250), "X-BAPI-RECV-WINDOW": "5000"},
        "op": "order.cancel",
        "args": [{"category": "linear", "symbol": "SOLUSDT", "orderId": "4"}],
    }


def reply(frame: bytes) -> Reply:
    (event,) = line().on_frame(frame, NOON).events
    assert isinstance(event, Reply)
    return event


def test_an_answer_reads_as_if_rest_had_given_it() -> None:
    told = reply(golden("trade_reply"))

    assert told.request_id == "test-005"
    assert (told.response.status, told.response.headers["x-bapi-limit-status"]) == (200, "9")
    assert json.loads(told.response.body) == {
        "retCode": 0,
        "retMsg": "OK",
        "result": {"orderId": "a4c1718e-fe53-4659-a118-1f6ecce04ad9", "orderLinkId": ""},
        "retExtInfo": {},
        "time": 1711001595209,
    }


def test_an_answer_without_a_name_is_known_by_its_order_and_one_without_a_time_comes_now() -> None:
    told = reply(golden("trade_reply", reqId="", header={}, data={"orderId": "7", "orderLinkId": "q1abc"}))

    assert (told.request_id, json.loads(told.response.body)["time"]) == ("q1abc", NOON // MS + 250)
    assert reply(golden("trade_reply", reqId="", retCode=10001, data={})).request_id == ""


@pytest.mark.parametrize("frame", [b"", b"null", b"{}", b'{"retCode":0,"op":"order.create","data":7}', b'{"retCode":0,"retCode":0,"op":"pong"}'])
def test_what_cannot_be_read_ends_the_line(frame: bytes) -> None:
    with pytest.raises(Broken):
        line().on_frame(frame, NOON)


def test_a_key_that_is_not_accepted_is_not_tried_again_and_a_late_login_is() -> None:
    with pytest.raises(StreamRefused, match="http"):
        line().on_frame(golden("trade_auth", retCode=10004, retMsg="error sign"), NOON)
    for code in (10001, 10003):  # expired; too many connections of this account
        with pytest.raises(Broken, match=str(code)):
            line().on_frame(golden("trade_auth", retCode=code, retMsg="later"), NOON)


# -- the twin --------------------------------------------------------------------------------------------------------------------------------------


def trader(client: Client) -> int:
    """A line that has logged in."""
    conn = client.open("/v5/trade?max_active_time=60s")
    client.frame(conn, {"op": "auth", "args": client.login()})
    assert [frame["retCode"] for frame in client.frames(conn)] == [0]
    return conn


def said(client: Client, op: str, name: str, **body: object) -> dict[str, object]:
    """A frame as pybit makes it."""
    header = {"X-BAPI-TIMESTAMP": str(client.now_ns // MS), "X-BAPI-RECV-WINDOW": "5000"}
    return {"reqId": name, "header": header, "op": op, "args": [{"category": "linear", "symbol": "SOLUSDT", **body}]}


def answer(client: Client, conn: int, frame: object) -> Any:
    client.frame(conn, frame)
    client.wait(10 * MS)
    (told,) = client.frames(conn)
    return told


BUY = {"side": "Buy", "orderType": "Market", "qty": "1"}


def test_an_order_by_frame_is_the_same_order() -> None:
    client = Client()
    conn = trader(client)
    told = answer(client, conn, said(client, "order.create", "1", **BUY, orderLinkId="mine"))

    assert (told["reqId"], told["retCode"], told["op"], told["data"]["orderLinkId"]) == ("1", 0, "order.create", "mine")
    assert told["header"]["X-Bapi-Limit"].isdecimal()
    assert client.order(told["data"]["orderId"])["orderStatus"] == "Filled"
    assert client.create("SOLUSDT", "Buy", "1", orderLinkId="mine").code == 110072


def test_a_reply_takes_a_moment() -> None:
    client = Client()
    conn = trader(client)
    client.frame(conn, said(client, "order.create", "1", **BUY))

    assert client.frames(conn) == []
    client.wait(10 * MS)
    assert len(client.frames(conn)) == 1


def test_what_the_line_refuses() -> None:
    client = Client()
    stranger = client.open("/v5/trade")
    assert answer(client, stranger, said(client, "order.create", "1", **BUY))["retCode"] == 10003
    client.frame(stranger, {"op": "auth", "args": [client.key, client.now_ns // MS + 1000, "0" * 64]})
    assert [frame and frame["retCode"] for frame in client.frames(stranger)] == [10004, None]
    conn = trader(client)
    client.frame(conn, {"op": "auth", "args": client.login()})
    assert [frame["retCode"] for frame in client.frames(conn)] == [20001]
    cases: list[tuple[dict[str, object], int]] = [
        ({"op": "order.levitate"}, 10404),
        ({"reqId": "x" * 37}, 10001),
        ({"args": []}, 10001),
        ({"header": {}}, 10002),
        ({"header": {"X-BAPI-TIMESTAMP": str(client.now_ns // MS - 9000)}}, 10002),
    ]
    for number, (changes, code) in enumerate(cases):
        assert answer(client, conn, said(client, "order.create", f"c{number}", **BUY) | changes)["retCode"] == code, changes
    assert answer(client, conn, said(client, "order.create", "c4", **BUY))["retCode"] == 20006
    client.frame(conn, b"{")
    assert [frame["retCode"] for frame in client.frames(conn)] == [10001]
    assert client.twin.exchange.orders == {}


def test_both_ways_share_one_window() -> None:
    client = Client(requests_per_minute=7_200)
    conn = trader(client)
    for number in range(10):
        client.frame(conn, said(client, "order.create", str(number), **BUY))

    assert client.create("SOLUSDT", "Buy", "1").code == 10006
    client.wait(10 * MS)
    assert [frame["retCode"] for frame in client.frames(conn)] == [0] * 10


# -- the connector ---------------------------------------------------------------------------------------------------------------------------------


def by_frame(between: Between) -> list[str]:
    """What was asked for as frames, in order."""
    return [json.loads(request.body)["op"] for request in between.asked if not request.method]


def test_placed_changed_and_cancelled_each_by_one_frame(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            quote = await desk.hub.fetch(BYBIT_WS.broker, (await desk.instrument(BYBIT_WS.broker, SOL)).id)
            low = (quote.bid_px * 98 / 100).quantize(quote.bid_px)
            sent = await desk.submit(wish("a", "1", price=low))
            await asyncio.sleep(1)
            second = await desk.replace(Replace(cl_ord_id=sent.cl_ord_id, price=low - 1, intent=IntentID("b")))
            gone = await settled(desk, await desk.cancel(second.cl_ord_id))

            assert gone.ord_status is OrdStatus.CANCELED
            assert by_frame(between) == ["order.create", "order.amend", "order.cancel"]
            assert len(between.asked) == 3
            names = [json.loads(request.body)["reqId"] for request in between.asked]
            assert names[:2] == [sent.cl_ord_id, second.cl_ord_id]
            assert len(set(names)) == 3

    conform(tmp_path, BYBIT_WS, story)


@asynccontextmanager
async def listening(bench: Bench) -> AsyncIterator[Any]:
    """A connector of its own, whose streams stand; and something that it may send."""
    async with bench.desk(WIDE) as desk:
        approved = approved_of(desk, await settled(desk, await desk.submit(wish("a", "1"))))
    connector = bench.connector()
    await connector.connect()

    async def listen() -> None:
        async for _ in connector.events():
            pass

    task = asyncio.create_task(listen())
    await asyncio.sleep(1)
    assert connector._line is not None
    try:
        yield connector, changed(approved, cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb"))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert connector._line is None


def test_a_frame_without_a_reply_is_in_doubt_and_never_sent_again(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with listening(bench) as (connector, approved):
            before = between.placed
            bench.network.faults = Faults(lost_frame=1.0)
            with pytest.raises(InDoubt, match="in time"):
                await connector.submit(approved)
            bench.network.faults = Faults(enabled=False)
            found = await connector.order_status(approved.cl_ord_id)

            assert found.ord_status is OrdStatus.FILLED
            assert between.placed == before + 1

    conform(tmp_path, BYBIT_WS, story)


def test_a_line_that_breaks_under_an_order_leaves_it_in_doubt_at_once_and_the_next_one_leaves_by_rest(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with listening(bench) as (connector, approved):
            before, sent_ns = len(between.asked), bench.clock.now_ns()
            waiting = asyncio.create_task(connector.submit(approved))
            await asyncio.sleep(0)
            bench.network.drop_all()
            with pytest.raises(InDoubt, match="ended"):
                await waiting
            assert bench.clock.now_ns() - sent_ns < SECOND_NS
            assert connector._line is None
            await connector.submit(changed(approved, cl_ord_id=ClOrdID("q1cccccccccccccccc")))
            await asyncio.sleep(5)
            assert connector._line is not None
            await connector.submit(changed(approved, cl_ord_id=ClOrdID("q1dddddddddddddddd")))

            assert [request.method for request in between.asked[before:]] == ["", "POST", ""]

    conform(tmp_path, BYBIT_WS, story)


def test_an_answer_that_is_no_message_ends_the_line_and_halts_nothing(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "1")))

            def garbled(body: bytes) -> bytes:
                return b"<html>" if body.startswith(b'{"reqId":') else body

            between.answers = garbled
            sent = await desk.submit(wish("b", "2"))
            assert sent.doubt is Doubt.IN_DOUBT
            between.answers = bytes
            done = await settled(desk, sent)

            assert (done.ord_status, by_frame(between)) == (OrdStatus.FILLED, ["order.create"] * 2)
            assert desk.books.halts == {}

    conform(tmp_path, BYBIT_WS, story)


def test_a_refusal_by_frame_is_a_refusal(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with listening(bench) as (connector, approved):
            few = changed(approved, request=changed(approved.request, order_qty=approved.request.order_qty / 1000))
            with pytest.raises(Rejected, match="110017"):
                await connector.submit(few)
            orders = [changed(approved, cl_ord_id=ClOrdID(f"q1dddddddddddddd{number:02}")) for number in range(20)]
            with pytest.raises(RateLimited, match="budget"):
                await asyncio.gather(*map(connector.submit, orders))

    conform(tmp_path, BYBIT_WS, story, requests_per_minute=2_400)


def test_a_quiet_line_is_kept_alive_by_pings(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with listening(bench) as (connector, _):
            first = connector._line
            await asyncio.sleep(600)

            assert connector._line is first

    conform(tmp_path, BYBIT_WS, story)
    assert json.loads(PING) == {"op": "ping"}
