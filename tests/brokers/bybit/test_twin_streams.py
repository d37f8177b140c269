"""The twin's streams: the private flows of the documents, and public data that a reader can keep a book by."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tests.brokers.bybit.twin_client import NOON, SECOND, Client
from trading_system.sim.exchange import Latency
from trading_system.transport.message import Response

D = Decimal
SLOW = Latency((SECOND, SECOND), (2 * SECOND, 2 * SECOND), (2 * SECOND, 2 * SECOND))


def rows(frames: list[Any], topic: str) -> list[Any]:
    return [row for frame in frames if frame.get("topic") == topic for row in frame["data"]]


# -- private ---------------------------------------------------------------------------------------------------------------------------------------


def test_a_login_in_time_is_let_in_and_no_other() -> None:
    client = Client()
    conn = client.open("/v5/private")
    client.frame(conn, {"op": "subscribe", "args": ["order"]})
    client.frame(conn, {"req_id": "1", "op": "auth", "args": client.login()})
    client.frame(conn, {"req_id": "2", "op": "subscribe", "args": ["order", "guess"]})
    client.frame(conn, {"req_id": "3", "op": "subscribe", "args": ["order.linear"]})
    client.frame(conn, {"req_id": "4", "op": "ping"})
    early, auth, odd, fine, pong = client.frames(conn)

    assert (early["success"], auth["success"], odd["success"], fine["success"]) == (False, True, False, True)
    assert "handler not found,topic:guess" in odd["ret_msg"]
    assert (pong["op"], pong["req_id"], pong["args"]) == ("pong", "4", [str(NOON // 1_000_000)])


@pytest.mark.parametrize("wrong", ["expired", "signature", "key"])
def test_a_login_that_does_not_fit_is_told_and_closed(wrong: str) -> None:
    client = Client()
    conn = client.open("/v5/private")
    args = client.login(client.now_ns if wrong == "expired" else 0)
    if wrong != "expired":
        args[0 if wrong == "key" else 2] = "x"
    client.frame(conn, {"op": "auth", "args": args})
    told, closed = client.frames(conn)

    assert (told["success"], closed) == (False, None)


def test_a_resting_order_is_new_and_then_what_became_of_it() -> None:
    client = Client(latency=SLOW)
    conn = client.listen("order", "position", "wallet")
    order_id = client.create(price="80000", orderLinkId="a").result["orderId"]
    assert client.frames(conn) == []
    client.wait(SECOND)
    first = client.frames(conn)
    client.post("/v5/order/amend", category="linear", symbol="BTCUSDT", orderId=order_id, qty="0.2")
    client.wait(2 * SECOND)
    second = client.frames(conn)
    client.post("/v5/order/cancel", category="linear", symbol="BTCUSDT", orderId=order_id)
    client.wait(2 * SECOND)
    third = client.frames(conn)

    assert [frame["topic"] for frame in first] == ["order", "position", "wallet"]
    assert [(row["orderStatus"], row["leavesQty"], row["qty"]) for row in rows(first + second, "order")] == [
        ("New", "0.1", "0.1"),
        ("New", "0.2", "0.2"),
    ]
    assert [(row["orderStatus"], row["orderId"], row["cancelType"]) for row in rows(third, "order")] == [("Cancelled", order_id, "CancelByUser")]
    assert rows(first, "position")[0]["size"] == "0"
    assert "entryPrice" in rows(first, "position")[0]


def test_a_fill_is_an_execution_and_then_the_order() -> None:
    client = Client()
    conn = client.listen()
    client.create("SOLUSDT", qty="100")
    client.wait(SECOND)
    frames = client.frames(conn)
    fills, orders = rows(frames, "execution"), rows(frames, "order")

    assert len(fills) > 1
    assert sum(D(row["execQty"]) for row in fills) == 100
    assert [row["orderStatus"] for row in orders] == ["New", *["PartiallyFilled"] * (len(fills) - 1), "Filled"]
    assert [D(row["leavesQty"]) for row in fills] == [D(row["leavesQty"]) for row in orders[1:]]
    assert {row["feeCurrency"] for row in fills} == {"USDT"}
    assert D(orders[-1]["cumFeeDetail"]["USDT"]) == sum(D(row["execFee"]) for row in fills)
    assert rows(frames, "position")[-1]["size"] == "100"
    assert D(rows(frames, "wallet")[-1]["coin"][0]["walletBalance"]) == D(client.coin()["walletBalance"])


def test_a_cancel_that_a_fill_has_overtaken_is_a_second_filled() -> None:
    client = Client(latency=SLOW)
    conn = client.listen("order")
    order_id = client.create().result["orderId"]
    client.post("/v5/order/cancel", category="linear", symbol="BTCUSDT", orderId=order_id)
    client.wait(3 * SECOND)
    *_, filled, again = rows(client.frames(conn), "order")

    assert (filled["orderStatus"], again["orderStatus"], again["cancelType"]) == ("Filled", "Filled", "CancelByUser")
    assert again["rejectReason"] == "EC_OrigClOrdIDDoesNotExist"


def test_the_rest_of_a_spot_order_that_is_cancelled_has_a_word_of_its_own() -> None:
    client = Client()
    conn = client.listen("order.spot")
    client.create("SOLUSDT", category="spot", qty="400", price=str(client.touch(symbol="SOLUSDT", category="spot")), timeInForce="IOC")
    client.create(qty="0.001", price="80000")
    client.wait(SECOND)
    orders = rows([frame | {"topic": "order"} for frame in client.frames(conn)], "order")

    assert orders[-1]["orderStatus"] == "PartiallyFilledCanceled"
    assert {row["category"] for row in orders} == {"spot"}


def test_streams_have_slots_and_paths() -> None:
    client = Client(orders_streams=1)
    client.open("/v5/private?max_active_time=60s")
    full = client.twin.open("/v5/private", {}, client.now_ns)
    nowhere = client.twin.open("/v5/public/nothing", {}, client.now_ns)

    assert isinstance(full, Response)
    assert isinstance(nowhere, Response)
    assert (full.status, nowhere.status) == (429, 404)


# -- public ----------------------------------------------------------------------------------------------------------------------------------------


def test_a_book_kept_from_a_snapshot_and_its_changes_is_the_market() -> None:
    client = Client()
    conn = client.market("linear", "orderbook.50.BTCUSDT")
    sides: dict[str, dict[str, str]] = {"b": {}, "a": {}}
    update, deltas = 0, 0
    for _ in range(40):
        client.wait(SECOND // 4)
        for frame in client.frames(conn):
            if "topic" not in frame:
                continue
            data = frame["data"]
            assert frame["type"] == ("delta" if update else "snapshot")
            assert not update or data["u"] == update + 1
            update, deltas = data["u"], deltas + (frame["type"] == "delta")
            for side, levels in sides.items():
                levels.update(map(tuple, data[side]))
                sides[side] = {price: size for price, size in levels.items() if size != "0"}
    book = client.get("/v5/market/orderbook", category="linear", symbol="BTCUSDT", limit="50")

    assert deltas > 20
    assert sorted(sides["b"].items(), key=lambda level: -D(level[0])) == [tuple(level) for level in book["b"]]
    assert sorted(sides["a"].items(), key=lambda level: D(level[0])) == [tuple(level) for level in book["a"]]


def test_two_readers_of_one_book_see_the_same() -> None:
    client = Client()
    first = client.market("linear", "orderbook.50.BTCUSDT")
    client.wait(3 * SECOND)
    client.frames(first)
    second = client.market("linear", "orderbook.50.BTCUSDT")
    (_, snapshot) = client.frames(second)
    client.wait(SECOND)
    told = client.twin.drain()

    assert snapshot["type"] == "snapshot"
    assert [frame for conn, frame in told if conn == first] == [frame for conn, frame in told if conn == second]


def test_the_best_prices_come_as_snapshots_and_again_when_nothing_moves() -> None:
    client = Client()
    conn = client.market("spot", "orderbook.1.DOGEUSDT")
    client.wait(10 * SECOND)
    told = [frame for frame in client.frames(conn) if "topic" in frame]

    assert {frame["type"] for frame in told} == {"snapshot"}
    assert all(len(frame["data"]["b"]) == len(frame["data"]["a"]) == 1 for frame in told)
    assert max(later["ts"] - sooner["ts"] for sooner, later in pairwise(told)) <= 3_000


def test_trades_tickers_and_bars_agree_with_the_answers() -> None:
    client = Client()
    conn = client.market("linear", "publicTrade.BTCUSDT", "tickers.BTCUSDT", "kline.1.BTCUSDT")
    client.wait(60 * SECOND)
    frames = client.frames(conn)
    trades = rows(frames, "publicTrade.BTCUSDT")
    *running, bar = rows(frames, "kline.1.BTCUSDT")
    tickers = [frame for frame in frames if frame.get("topic") == "tickers.BTCUSDT"]
    answered = client.get("/v5/market/recent-trade", category="linear", symbol="BTCUSDT")["list"]
    (row,) = client.get("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="1", limit="1", end=str(NOON // 1_000_000))["list"]

    assert {trade["i"] for trade in trades} <= {print_["execId"] for print_ in answered}
    assert (bar["confirm"], str(bar["start"]), bar["open"], bar["high"], bar["low"], bar["close"], bar["volume"]) == (True, *row[:6])
    assert len(running) > 50
    assert not any(one["confirm"] for one in running)
    assert [D(one["volume"]) for one in running] == sorted(D(one["volume"]) for one in running)
    assert [frame["type"] for frame in tickers[:2]] == ["snapshot", "delta"]
    merged: dict[str, str] = {}
    for ticker in tickers:
        merged |= ticker["data"]
    assert merged["lastPrice"] == client.get("/v5/market/tickers", category="linear", symbol="BTCUSDT")["list"][0]["lastPrice"]


def test_what_is_not_there_cannot_be_subscribed() -> None:
    client = Client()
    conn = client.market("spot", "publicTrade.NOPE")
    client.frame(conn, {"op": "subscribe", "args": [f"kline.{number}.BTCUSDT" for number in (1, 3, 5)] + ["tickers.BTCUSDT"] * 8})
    client.frame(conn, b"{")
    client.frame(conn, {"op": "ping"})
    nope, many, garbage, pong = client.frames(conn)

    assert [one["success"] for one in (nope, many, garbage, pong)] == [False, False, False, True]
    assert pong["ret_msg"] == "pong"
    client.frame(conn, {"op": "subscribe", "args": ["tickers.BTCUSDT"]})
    client.frame(conn, {"op": "unsubscribe", "args": ["tickers.BTCUSDT"]})
    client.frames(conn)
    client.wait(5 * SECOND)
    assert client.frames(conn) == []
