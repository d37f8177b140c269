"""The twin's WebSocket v2: what each channel says, checksums, one order's life in frames, orders by frames, tokens."""

import json
import zlib
from decimal import Decimal
from typing import Any

import pytest

from tests.brokers.kraken.twin_client import SECOND, Client

D = Decimal


def of(frames: list[Any], channel: str) -> list[Any]:
    return [entry for frame in frames if frame and frame.get("channel") == channel for entry in frame["data"]]


def kinds(frames: list[Any]) -> list[str]:
    return [entry["exec_type"] for entry in of(frames, "executions")]


# -- connections -----------------------------------------------------------------------------------------------------------------------------------


def test_a_connection_begins_with_the_engines_state() -> None:
    client = Client()
    (status,) = client.frames(client.open())

    assert (status["channel"], status["data"][0]["system"]) == ("status", "online")
    assert status["data"][0]["connection_id"] > 1 << 63


def test_a_ping_is_answered_and_other_paths_are_not() -> None:
    client = Client()
    conn = client.open()
    client.frames(conn)
    client.frame(conn, "ping")
    client.twin.frame(conn, '{"method":"ping"}', client.now_ns)
    client.twin.frame(conn, "{", client.now_ns)
    client.frame(conn, "dance")
    one, two, three, four = client.frames(conn)

    assert (one["method"], one["req_id"], two["method"], "req_id" in two) == ("pong", 7, "pong", False)
    assert (three["success"], four["error"]) == (False, "Unsupported method: dance")
    assert not isinstance(client.twin.open("/v1", {}, client.now_ns), int)


def test_a_heartbeat_fills_every_silence_once_something_is_subscribed() -> None:
    client = Client()
    conn = client.open()
    client.wait(5 * SECOND)
    assert [frame for _, frame in client.twin.drain() if frame is not None and "heartbeat" in str(frame)] == []
    client.frame(conn, "subscribe", channel="instrument")
    client.frames(conn)
    beats = 0
    for _ in range(12):
        client.wait(SECOND // 2)
        beats += sum("heartbeat" in str(frame) for _, frame in client.twin.drain())

    assert beats == 6


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def test_each_pair_is_acknowledged_or_refused_by_itself() -> None:
    client = Client()
    conn = client.open()
    client.frames(conn)
    client.frame(conn, "subscribe", channel="trade", symbol=["BTC/USD", "FOO/BAR", "ETH/USD"])
    client.frame(conn, "subscribe", channel="trade", symbol=["BTC/USD"])
    client.frame(conn, "subscribe", channel="gossip", symbol=["BTC/USD"])
    acks = client.frames(conn)

    assert [(ack["success"], ack.get("error")) for ack in acks] == [
        (True, None),
        (False, "Currency pair not supported FOO/BAR"),
        (True, None),
        (False, "Already subscribed"),
        (False, "Channel gossip not found"),
    ]
    assert acks[0]["result"] == {"channel": "trade", "snapshot": False, "symbol": "BTC/USD"}


def test_ticker_trades_and_bars_tell_of_one_market() -> None:
    client = Client()
    conn = client.open()
    for channel in ("ticker", "trade", "ohlc"):
        client.frame(conn, "subscribe", channel=channel, symbol=["BTC/USD"])
    client.frames(conn)
    client.wait(61 * SECOND)
    frames = client.frames(conn)
    trades, bars = of(frames, "trade"), of(frames, "ohlc")
    first = [bar for bar in bars if bar["interval_begin"] == bars[0]["interval_begin"]][-1]
    inside = [trade for trade in trades if trade["timestamp"][:16] == first["interval_begin"][:16]]

    assert len(trades) > 20
    assert {ticker["last"] for ticker in of(frames, "ticker")} == {trade["price"] for trade in trades}
    assert (first["close"], first["high"], first["low"]) == (
        inside[-1]["price"],
        pytest.approx(max(trade["price"] for trade in inside), rel=1e-3),
        pytest.approx(min(trade["price"] for trade in inside), rel=1e-3),
    )


def test_bbo_says_more_than_trades() -> None:
    client = Client()
    quiet, busy = client.open(), client.open()
    client.frame(quiet, "subscribe", channel="ticker", symbol=["BTC/USD"])
    client.frame(busy, "subscribe", channel="ticker", symbol=["BTC/USD"], event_trigger="bbo")
    client.twin.drain()
    client.wait(20 * SECOND)
    sent = client.twin.drain()
    counts = [sum(number == conn and '"channel":"ticker"' in str(frame) for number, frame in sent) for conn in (quiet, busy)]

    assert counts[1] > counts[0] > 3


def test_a_book_adds_up_to_its_checksum_after_every_change() -> None:
    client = Client()
    conn = client.open()
    client.frame(conn, "subscribe", channel="book", symbol=["BTC/USD"], depth=10)
    sides: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}
    seen = 0
    for _ in range(80):
        client.wait(SECOND // 4)
        for number, frame in client.twin.drain():
            message = json.loads(str(frame), parse_float=D, parse_int=D)
            if number != conn or message.get("channel") != "book":
                continue
            (data,) = message["data"]
            for name, side in sides.items():
                if message["type"] == "snapshot":
                    side.clear()
                for level in data[name]:
                    side[level["price"]] = level["qty"]
                    if not level["qty"]:
                        del side[level["price"]]
            levels = [(price, sides["asks"][price]) for price in sorted(sides["asks"])[:10]]
            levels += [(price, sides["bids"][price]) for price in sorted(sides["bids"], reverse=True)[:10]]
            text = "".join(f"{price:.1f}".replace(".", "").lstrip("0") + f"{qty:.8f}".replace(".", "").lstrip("0") for price, qty in levels)
            assert zlib.crc32(text.encode()) == data["checksum"]
            seen += 1

    assert seen > 30


def test_an_unsubscribe_names_what_was_subscribed() -> None:
    client = Client()
    conn = client.open()
    client.frame(conn, "subscribe", channel="book", symbol=["BTC/USD"], depth=25)
    client.frames(conn)
    client.frame(conn, "unsubscribe", channel="book", symbol=["BTC/USD"], depth=10)
    client.frame(conn, "unsubscribe", channel="book", symbol=["BTC/USD"], depth=25)
    wrong, right = client.frames(conn)
    client.wait(3 * SECOND)

    assert (wrong["success"], right["success"], right["result"]["depth"]) == (False, True, 25)
    assert client.frames(conn) == []


# -- tokens ----------------------------------------------------------------------------------------------------------------------------------------


def test_what_is_private_wants_a_token_that_lives() -> None:
    client = Client()
    conn = client.open()
    client.frames(conn)
    token = client.get("GetWebSocketsToken")
    client.frame(conn, "subscribe", channel="executions", token="made up")
    client.wait(901 * SECOND)
    client.frame(conn, "subscribe", channel="executions", token=token["token"])

    assert token["expires"] == 900
    assert [frame["error"] for frame in client.frames(conn)] == ["ESession:Invalid session"] * 2


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def test_an_order_that_rests_and_goes_is_told_in_this_order() -> None:
    client = Client()
    conn = client.listen()
    txid = client.placed(price=client.near(0.98), cl_ord_id="mine")
    client.get("CancelOrder", txid=txid)
    pending, new, canceled = of(client.frames(conn), "executions")

    assert (pending["exec_type"], pending["symbol"], pending["side"], pending["order_qty"]) == ("pending_new", "ETH/USD", "buy", 0.1)
    assert (pending["cl_ord_id"], pending["order_type"], pending["time_in_force"]) == ("mine", "limit", "GTC")
    assert set(new) == {"exec_type", "order_id", "order_userref", "order_status", "timestamp"}  # sparse
    assert (canceled["exec_type"], canceled["reason"], canceled["order_id"]) == ("canceled", "User requested", txid)


def test_a_marketable_order_is_told_trade_by_trade_and_then_filled() -> None:
    client = Client(cash=D(10_000_000))
    conn = client.listen("executions", "balances")
    client.placed("market", volume="20")
    client.wait(3 * SECOND)
    frames = client.frames(conn)
    entries = of(frames, "executions")
    trades = [entry for entry in entries if entry["exec_type"] == "trade"]
    numbers = [frame["sequence"] for frame in frames if frame.get("channel") == "executions"]

    assert [entry["exec_type"] for entry in entries] == ["pending_new", "new", *["trade"] * len(trades), "filled"]
    assert len(trades) > 1
    assert {trade["order_status"] for trade in trades} == {"partially_filled"}  # the last one's, too
    assert trades[-1]["cum_qty"] == entries[-1]["cum_qty"] == 20
    assert sum(trade["last_qty"] for trade in trades) == pytest.approx(20)
    assert numbers == list(range(2, 2 + len(numbers)))  # the snapshot was the first
    assert [(change["asset"], change["type"]) for change in of(frames, "balances")] == [("ETH", "trade"), ("USD", "trade")] * len(trades)


def test_a_refused_order_is_no_execution() -> None:
    client = Client()
    conn = client.listen()
    client.order(price=client.near(0.98), volume="1000")

    assert client.frames(conn) == []


def test_an_amend_is_told_with_the_same_id() -> None:
    client = Client()
    conn = client.listen()
    txid = client.placed(price=client.near(0.98))
    client.get("AmendOrder", txid=txid, limit_price=client.near(0.97), order_qty="0.2")
    entries = of(client.frames(conn), "executions")

    assert [entry["exec_type"] for entry in entries] == ["pending_new", "new", "amended"]
    assert (entries[-1]["order_id"], entries[-1]["order_qty"], entries[-1]["order_status"]) == (txid, 0.2, "new")


def test_only_what_ends_or_begins_is_told_to_who_wants_no_more() -> None:
    client = Client()
    conn = client.listen(order_status=False)
    client.placed("market")

    assert kinds(client.frames(conn)) == ["new", "filled"]


def test_a_new_connection_begins_with_open_orders_and_the_last_trades() -> None:
    client = Client()
    client.placed("market", volume="0.5")
    resting = client.placed(price=client.near(0.98))
    conn, token = client.open(), client.get("GetWebSocketsToken")["token"]
    client.frame(conn, "subscribe", channel="executions", token=token, snap_trades=True)
    client.frame(conn, "subscribe", channel="balances", token=token)
    frames = client.frames(conn)
    entries = of([frame for frame in frames if frame.get("type") == "snapshot"], "executions")

    assert [(entry["order_id"], entry["order_status"]) for entry in entries if entry["exec_type"] != "trade"] == [(resting, "new")]
    trades = [entry for entry in entries if entry["exec_type"] == "trade"]
    assert sum(entry["last_qty"] for entry in trades) == pytest.approx(0.5)
    assert trades[0]["order_status"] == "filled"
    assert not {"cl_ord_id", "order_qty", "cum_qty"} & set(trades[0])
    assert {row["asset"]: row["balance"] for row in of(frames, "balances")}["ETH"] == 0.5


def test_money_that_comes_in_is_told() -> None:
    client = Client()
    conn = client.listen("balances")
    client.twin.transfer(D(500))
    (change,) = of(client.frames(conn), "balances")

    assert (change["type"], change["amount"], change["balance"]) == ("deposit", 500, 100_500)


# -- orders by frames ------------------------------------------------------------------------------------------------------------------------------


def test_orders_live_by_frames_as_they_do_by_rest() -> None:
    client = Client()
    conn, token = client.listen(), client.get("GetWebSocketsToken")["token"]
    price = float(client.near(0.98))
    add = {"order_type": "limit", "side": "buy", "symbol": "ETH/USD", "order_qty": 0.1, "limit_price": price, "cl_ord_id": "mine"}
    client.frame(conn, "add_order", **add, token=token)
    (reply,) = [frame for frame in client.frames(conn) if frame.get("method") == "add_order"]
    txid = reply["result"]["order_id"]
    client.frame(conn, "amend_order", order_id=txid, limit_price=float(client.near(0.97)), token=token)
    client.frame(conn, "cancel_order", cl_ord_id=["mine"], token=token)
    client.frame(conn, "cancel_order", order_id=[txid], token=token)
    client.frame(conn, "cancel_all_orders_after", timeout=60, token=token)
    replies = [frame for frame in client.frames(conn) if "method" in frame]

    assert (reply["success"], reply["result"]["cl_ord_id"], reply["req_id"]) == (True, "mine", 7)
    assert [frame["success"] for frame in replies] == [True, True, False, True]
    assert replies[2]["error"] == "EOrder:Unknown order"
    assert client.row(txid)["status"] == "canceled"


@pytest.mark.parametrize(
    ("more", "kind", "price"),
    [
        ({"order_type": "stop-loss", "triggers": {"reference": "last", "price": 9000, "price_type": "static"}}, "stop-loss", "9000"),
        ({"order_type": "trailing-stop", "triggers": {"price": 2, "price_type": "pct"}}, "trailing-stop", "+2.0000%"),
        ({"order_type": "market", "order_qty": None, "cash_order_qty": 50.5}, "market", "0"),
    ],
)
def test_the_streams_words_mean_the_same_order(more: dict[str, Any], kind: str, price: str) -> None:
    client = Client()
    conn, token = client.listen(), client.get("GetWebSocketsToken")["token"]
    client.frame(conn, "add_order", **({"side": "buy", "symbol": "ETH/USD", "order_qty": 0.1} | more), token=token)
    (reply,) = [frame for frame in client.frames(conn) if frame.get("method") == "add_order"]
    descr = client.row(reply["result"]["order_id"])["descr"]

    assert (descr["ordertype"], descr["price"]) == (kind, price)


def test_a_frame_without_money_behind_it_is_refused_in_one_text() -> None:
    client = Client()
    conn, token = client.listen(), client.get("GetWebSocketsToken")["token"]
    client.frame(conn, "add_order", order_type="market", side="buy", symbol="ETH/USD", order_qty=1000, token=token)
    (reply,) = client.frames(conn)

    assert (reply["success"], reply["error"], "result" in reply) == (False, "EOrder:Insufficient funds", False)
