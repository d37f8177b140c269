"""The twin's sockets: the account's events, requests as frames, and market streams whose book never has a gap."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.brokers.binance.twin_client import SECOND, Client
from trading_system.transport.message import Response

D = Decimal
MS = 1_000_000


def events(client: Client, conn: int) -> list[dict[str, object]]:
    return [frame["event"] for frame in client.frames(conn)]


def words(found: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(event["x"], event["X"]) for event in found if event["e"] == "executionReport"]


def test_a_market_order_is_told_from_new_to_filled_and_then_the_balances() -> None:
    client = Client()
    conn = client.listen()
    body = client.order(quantity="4", newClientOrderId="mine").body
    found = events(client, conn)
    fills = [event for event in found if event.get("x") == "TRADE"]

    assert words(found)[0] == ("NEW", "NEW")
    assert words(found)[-1] == ("TRADE", "FILLED")
    assert [event["t"] for event in fills] == [fill["tradeId"] for fill in body["fills"]]
    assert {event["c"] for event in found if event["e"] == "executionReport"} == {"mine"}
    assert fills[-1]["z"] == body["executedQty"]
    assert (fills[0]["N"], found[0]["N"]) == ("ETH", None)
    assert [event["I"] for event in found if "I" in event] == list(range(1, len(fills) + 2))
    assert found[-1]["e"] == "outboundAccountPosition"
    assert {row["a"] for row in found[-1]["B"]} == {"ETH", "USDT"}  # type: ignore[attr-defined]


def test_a_cancel_is_told_under_its_own_id_and_an_expiry_with_its_reason() -> None:
    client = Client()
    conn = client.listen()
    low = client.price("0.98")
    client.order(kind="LIMIT", price=low, newClientOrderId="mine")
    client.send("DELETE", "order", symbol="ETHUSDT", origClientOrderId="mine", newClientOrderId="why")
    client.order(kind="LIMIT", price=low, timeInForce="IOC")
    found = [event for event in events(client, conn) if event["e"] == "executionReport"]

    assert words(found) == [("NEW", "NEW"), ("CANCELED", "CANCELED"), ("NEW", "NEW"), ("EXPIRED", "EXPIRED")]
    assert (found[1]["c"], found[1]["C"]) == ("why", "mine")
    assert found[3]["eR"] == "UNFILLED_IOC_QUANTITY_EXPIRED"


def test_a_stop_waits_and_then_fills_under_the_same_id() -> None:
    client = Client()
    stop = client.order(kind="STOP_LOSS_LIMIT", price=client.price("1.05"), stopPrice=client.price("1.0005"), newOrderRespType="RESULT").body
    assert (stop["status"], stop["workingTime"]) == ("NEW", -1)
    for _ in range(24 * 60):
        client.wait(60 * SECOND)
        row = client.get("order", signed=True, symbol="ETHUSDT", orderId=stop["orderId"])
        if row["status"] == "FILLED":
            break

    assert (row["status"], row["isWorking"], row["type"]) == ("FILLED", True, "STOP_LOSS_LIMIT")


def test_an_order_may_come_as_a_frame() -> None:
    client = Client()
    conn = client.listen()
    client.frame(conn, client.signed_frame("order.place", symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.5"))
    client.frame(conn, {"id": None, "method": "v3/ticker.price", "params": {"symbol": "ETHUSDT"}})
    client.frame(conn, {"id": 9, "method": "order.place", "params": {"symbol": "ETHUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.5"}})
    client.frame(conn, {"id": 10, "method": "fly"})
    answers = [frame for frame in client.frames(conn) if "status" in frame]

    assert [(answer["id"], answer["status"]) for answer in answers] == [(7, 200), (None, 200), (9, 400), (10, 400)]
    assert answers[0]["result"]["status"] == "FILLED"
    assert answers[2]["error"]["code"] == -1102


@pytest.mark.parametrize(("changes", "code"), [({"apiKey": "x" * 64}, -2015), ({"timestamp": 1}, -1021), ({"signature": "0" * 64}, -1022)])
def test_events_need_a_key_a_signature_and_the_right_time(changes: dict[str, object], code: int) -> None:
    client = Client()
    conn = client.open("/ws-api/v3")
    frame = client.signed_frame("userDataStream.subscribe.signature", **{name: value for name, value in changes.items() if name != "signature"})
    if "signature" in changes:
        frame["params"] |= changes  # type: ignore[operator]
    client.frame(conn, frame)
    client.order()

    assert [(answer["status"] >= 400, answer["error"]["code"]) for answer in client.frames(conn)] == [(True, code)]


def test_a_frame_tells_the_budgets_and_how_long_to_wait() -> None:
    client = Client()
    conn = client.open("/ws-api/v3")
    client.frame(conn, client.signed_frame("order.place", symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.5"))
    client.frame(conn, client.signed_frame("account.status"))
    placed, account = client.frames(conn)
    client.twin._weight.used = client.twin._weight.limit
    client.frame(conn, {"id": 1, "method": "time"})
    client.frame(conn, {"id": 2, "method": "time", "params": {"returnRateLimits": False}})
    spent, quiet = client.frames(conn)

    assert [(row["rateLimitType"], row["count"]) for row in placed["rateLimits"]] == [("ORDERS", 1), ("ORDERS", 1), ("REQUEST_WEIGHT", 0)]
    assert [row["count"] for row in account["rateLimits"]] == [20]
    assert (spent["status"], spent["error"]["code"]) == (429, -1003)
    assert 0 < spent["error"]["data"]["retryAfter"] - spent["error"]["data"]["serverTime"] <= 60_000
    assert "rateLimits" not in quiet


def test_a_session_is_for_ed25519_keys_alone() -> None:
    client = Client()
    conn = client.open("/ws-api/v3")
    client.frame(conn, client.signed_frame("session.logon"))
    client.frame(conn, {"id": 1, "method": "session.status"})
    client.frame(conn, {"id": 2, "method": "userDataStream.subscribe"})
    client.frame(conn, {"id": 3, "method": "userDataStream.unsubscribe"})
    refused, status, no_session, nothing = client.frames(conn)

    assert (refused["status"], refused["error"]["code"]) == (400, -4056)
    assert (status["result"]["apiKey"], status["result"]["userDataStream"]) == (None, False)
    assert (no_session["error"]["code"], nothing["error"]["code"]) == (-1102, -2036)


def test_a_day_later_every_connection_ends_with_a_word() -> None:
    client = Client()
    account, market = client.listen(), client.open("/stream")
    client.wait(86_400 * SECOND)
    pushed = client.twin.drain()

    assert [(conn, None if frame is None else "serverShutdown" in str(frame)) for conn, frame in pushed] == [
        (account, True),
        (account, None),
        (market, True),
        (market, None),
    ]


# -- the market ------------------------------------------------------------------------------------------------------------------------------------


def test_a_book_kept_by_binances_own_rules_stays_the_book() -> None:
    client = Client()
    conn = client.open("/ws/ethusdt@depth@100ms")
    client.wait(SECOND)
    snapshot = client.get("depth", symbol="ETHUSDT", limit=5000)
    client.wait(3 * SECOND)
    number = snapshot["lastUpdateId"]
    book = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
    fresh = [event for event in client.frames(conn) if event["u"] > number]
    assert fresh[0]["U"] <= number + 1 <= fresh[0]["u"]
    for event in fresh:
        assert event["U"] == number + 1
        number = event["u"]
        for side, levels in book.items():
            levels |= dict(event[side])
            for price in [price for price, qty in levels.items() if not D(qty)]:
                del levels[price]
    now = client.get("depth", symbol="ETHUSDT")

    assert number == now["lastUpdateId"]
    assert (book["b"], book["a"]) == (dict(now["bids"]), dict(now["asks"]))


def test_combined_streams_say_which_and_raw_ones_do_not() -> None:
    client = Client()
    combined, raw = client.open("/stream?streams=ethusdt@trade/ethusdt@bookTicker"), client.open("/ws")
    client.frame(raw, {"method": "SUBSCRIBE", "params": ["btcusdt@trade", "nosuch@trade"], "id": "x"})
    client.frame(raw, {"method": "LIST_SUBSCRIPTIONS", "id": 3})
    client.frame(raw, {"method": "FLY", "id": 4})
    client.wait(30 * SECOND)
    pushed = client.twin.drain()
    named = [json.loads(frame) for conn, frame in pushed if conn == combined]
    plain = [json.loads(frame) for conn, frame in pushed if conn == raw]
    trades = {trade["id"] for trade in client.get("trades", symbol="ETHUSDT", limit=1000)}

    assert {frame["stream"] for frame in named} == {"ethusdt@trade", "ethusdt@bookTicker"}
    assert {frame["data"]["t"] for frame in named if frame["stream"] == "ethusdt@trade"} <= trades
    assert plain[:2] == [{"result": None, "id": "x"}, {"result": ["btcusdt@trade", "nosuch@trade"], "id": 3}]
    assert (plain[2]["code"], plain[2]["id"]) == (2, 4)
    assert {frame["s"] for frame in plain[3:]} == {"BTCUSDT"}


def test_what_a_second_brings_agrees_with_what_one_can_ask() -> None:
    client = Client()
    names = [f"ethusdt@{kind}" for kind in ("ticker", "miniTicker", "avgPrice", "depth5", "depth10@100ms", "aggTrade")] + ["!miniTicker@arr"]
    conn = client.open(f"/stream?streams={'/'.join(names)}")
    client.wait(40 * SECOND)
    told: dict[str, list[object]] = {name: [] for name in names}
    for frame in client.frames(conn):
        told[frame["stream"]].append(frame["data"])
    last: dict[str, Any] = {name: found[-1] for name, found in told.items()}
    day, book = client.get("ticker/24hr", symbol="ETHUSDT"), client.get("depth", symbol="ETHUSDT", limit=10)
    (agg,) = client.get("aggTrades", symbol="ETHUSDT", fromId=last["ethusdt@aggTrade"]["a"], limit=1)

    assert [len(told[name]) for name in names[:5]] == [40, 40, 40, 40, 160]
    names_of = ("openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume")
    assert [last["ethusdt@ticker"][name] for name in "ohlcvq"] == [day[name] for name in names_of]
    assert [last["ethusdt@miniTicker"][name] for name in "ohlc"] == [last["ethusdt@ticker"][name] for name in "ohlc"]
    assert last["!miniTicker@arr"][1] == last["ethusdt@miniTicker"]
    assert last["ethusdt@avgPrice"]["w"] == client.get("avgPrice", symbol="ETHUSDT")["price"]
    assert last["ethusdt@depth10@100ms"] == book
    assert last["ethusdt@depth5"]["bids"] == book["bids"][:5]
    assert {name: last["ethusdt@aggTrade"][name] for name in agg} == agg


def test_a_bar_is_told_while_it_forms_and_once_when_it_is_closed() -> None:
    client = Client()
    conn = client.open("/ws/ethusdt@kline_1m")
    client.wait(61 * SECOND)
    bars = [event["k"] for event in client.frames(conn)]
    closed = [bar for bar in bars if bar["x"]]
    (row,) = client.get("klines", symbol="ETHUSDT", interval="1m", startTime=closed[0]["t"], limit=1)

    assert len(closed) == 1
    assert len(bars) > 20
    assert [closed[0][name] for name in "ohlcv"] == row[1:6]


def test_who_talks_too_much_is_dropped_and_who_comes_too_often_is_not_let_in() -> None:
    client = Client(orders_streams=2)
    conn = client.open("/ws")
    client.open("/ws")
    for number in range(6):
        client.frame(conn, {"method": "LIST_SUBSCRIPTIONS", "id": number})

    refused = client.twin.open("/nowhere", {}, client.now_ns)
    assert client.frames(conn)[-1] is None
    assert isinstance(refused, Response)
    assert refused.status == 404
    client.open("/ws")
    crowded = client.twin.open("/ws", {}, client.now_ns)
    assert isinstance(crowded, Response)
    assert crowded.status == 429
