"""The twin's streams and market data: control frames, event order, slots and limits, feeds, pages, msgpack."""

import base64
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.brokers.alpaca.twin_client import NOON, SECOND, Client
from trading_system.brokers.alpaca.twin.universe import universe
from trading_system.sim.exchange import Latency
from trading_system.sim.market import read_recording
from trading_system.sim.sessions import iso
from trading_system.transport.message import Response

SLOW = Latency((SECOND, SECOND), (3 * SECOND, 3 * SECOND), (3 * SECOND, 3 * SECOND))


# -- trade_updates ---------------------------------------------------------------------------------------------------------------------------------


def test_login_and_listen() -> None:
    client = Client()
    conn = client.open("/stream")
    client.frame(conn, {"action": "listen", "data": {"streams": ["trade_updates"]}})
    client.frame(conn, {"action": "authenticate", "data": {"key_id": client.key, "secret_key": "wrong"}})
    client.frame(conn, json.dumps({"action": "auth", "data": {"key_id": client.key, "secret_key": client.secret}}).encode())
    client.frame(conn, {"action": "listen", "data": {"streams": ["trade_updates", "nothing"]}})
    client.frame(conn, {"action": "listen", "data": {"streams": []}})
    client.frame(conn, b"{")
    client.frame(conn, {"action": "dance"})
    client.order()

    assert client.frames(conn) == [
        {"stream": "authorization", "data": {"status": "unauthorized", "action": "listen"}},
        {"stream": "authorization", "data": {"status": "unauthorized", "action": "authenticate"}},
        {"stream": "authorization", "data": {"status": "authorized", "action": "auth"}},
        {"stream": "listening", "data": {"streams": ["trade_updates"]}},
        {"stream": "listening", "data": {"streams": []}},
        {"action": "error", "data": {"error_message": "invalid message"}},
        {"action": "error", "data": {"error_message": "unknown action"}},
    ]


@pytest.mark.parametrize(("environment", "kind"), [("paper", bytes), ("live", str)])
def test_paper_sends_binary_frames_and_live_text(environment: str, kind: type[object]) -> None:
    client = Client(environment=environment)
    client.listen()
    client.order()

    assert {type(frame) for _, frame in client.twin.drain()} == {kind}


def test_msgpack_when_the_upgrade_asks_for_it() -> None:
    client = Client()
    conn = client.open("/stream", {"Content-Type": "application/msgpack"})
    login = {"action": "authenticate", "data": {"key_id": client.key, "secret_key": client.secret}}
    client.twin.frame(conn, msgspec.msgpack.encode(login), client.now_ns)
    frame = client.twin.drain()[0][1]

    assert isinstance(frame, bytes)
    assert msgspec.msgpack.decode(frame)["data"]["status"] == "authorized"


def events(client: Client, conn: int) -> list[dict[str, Any]]:
    return [frame["data"] for frame in client.frames(conn)]


def test_the_events_of_an_order_in_their_order() -> None:
    client = Client(latency=SLOW)
    conn = client.listen()
    answer = client.order(qty="2")
    client.wait(SECOND)
    seen = events(client, conn)

    assert answer.body["status"] == "pending_new"
    assert [(event["event"], event["order"]["status"]) for event in seen] == [("pending_new", "pending_new"), ("new", "new"), ("fill", "filled")]
    fill = seen[2]
    assert (fill["qty"], fill["position_qty"], fill["order"]["filled_qty"], fill["price"]) == ("2", "2", "2", fill["order"]["filled_avg_price"])
    assert fill["timestamp"] == iso(NOON + SECOND)
    assert {fill["execution_id"]} == {activity["id"].split("::")[1] for activity in client.get("/v2/account/activities")}
    assert "execution_id" not in seen[1]


def test_partial_fills_carry_cumulative_quantities() -> None:
    client = Client()
    conn = client.listen()
    client.order("CENT", qty="40000")
    client.wait(60 * SECOND)
    fills = [event for event in events(client, conn) if event["event"] in ("partial_fill", "fill")]
    total = Decimal(0)
    for fill in fills:
        total += Decimal(fill["qty"])

        assert Decimal(fill["order"]["filled_qty"]) == Decimal(fill["position_qty"]) == total
        assert fill["order"]["status"] == ("filled" if fill is fills[-1] else "partially_filled")
    assert len(fills) > 1
    assert [fill["event"] for fill in fills].count("fill") == 1


def test_the_events_of_cancels_replaces_and_their_lost_races() -> None:
    client = Client(latency=SLOW)
    conn = client.listen()
    resting = client.order(kind="limit", limit_price="1").body
    client.wait(SECOND)
    new = client.send("PATCH", f"/v2/orders/{resting['id']}", {"qty": "2"}).body
    client.wait(3 * SECOND)
    client.send("DELETE", f"/v2/orders/{new['id']}")
    client.wait(3 * SECOND)
    words = [(event["event"], event["order"]["id"] == new["id"]) for event in events(client, conn)]
    racing = client.order().body
    client.send("DELETE", f"/v2/orders/{racing['id']}")
    client.wait(3 * SECOND)

    assert words == [
        ("pending_new", False),
        ("new", False),
        ("pending_replace", False),
        ("replaced", False),
        ("new", True),
        ("pending_cancel", True),
        ("canceled", True),
    ]
    assert [event["event"] for event in events(client, conn)] == ["pending_new", "pending_cancel", "fill", "order_cancel_rejected"]


def test_a_replace_that_loses_its_race() -> None:
    client = Client(latency=SLOW)
    conn = client.listen()
    ask = client.get("/v2/stocks/AAPL/quotes/latest")["quote"]["ap"]
    afar = client.order(kind="limit", limit_price=round(ask - 0.01, 2), qty="50").body
    client.wait(SECOND)
    new = client.send("PATCH", f"/v2/orders/{afar['id']}", {"limit_price": "1"}).body
    while client.get(f"/v2/orders/{new['id']}")["status"] == "pending_new":
        client.wait(SECOND)
    outcome = client.get(f"/v2/orders/{afar['id']}")["status"]
    words = [event["event"] for event in events(client, conn)]

    assert outcome == ("replaced" if "replaced" in words else "filled")
    assert ("order_replace_rejected" in words) is (outcome == "filled")


def test_a_busted_trade_is_told_and_undone() -> None:
    client = Client()
    conn = client.listen()
    client.order()
    exec_id = events(client, conn)[-1]["execution_id"]
    client.twin.exchange.bust(exec_id, client.now_ns)
    client.wait(1)
    bust = events(client, conn)[-1]

    assert (bust["event"], bust["execution_id"], bust["position_qty"]) == ("trade_bust", exec_id, "0")
    assert client.get("/v2/account/activities") == []


def test_there_is_one_slot_and_it_is_free_again_when_its_client_goes() -> None:
    client = Client()
    conn = client.open("/stream")
    second = client.twin.open("/stream", {}, client.now_ns)
    client.twin.closed(conn)

    assert isinstance(second, Response)
    assert second.status == 429
    assert isinstance(client.twin.open("/stream", {}, client.now_ns), int)
    nowhere = client.twin.open("/v9", {}, client.now_ns)
    assert isinstance(nowhere, Response)
    assert nowhere.status == 404


# -- data streams ----------------------------------------------------------------------------------------------------------------------------------


def test_data_login_subscribe_and_unsubscribe() -> None:
    client = Client()
    conn = client.open("/v2/iex")
    client.frame(conn, {"action": "subscribe", "trades": ["AAPL"]})
    client.frame(conn, {"action": "auth", "key": client.key, "secret": "wrong"})
    client.frame(conn, {"action": "auth", "key": client.key, "secret": client.secret})
    client.frame(conn, {"action": "auth", "key": client.key, "secret": client.secret})
    client.frame(conn, {"action": "subscribe", "trades": ["AAPL"], "bars": ["*"]})
    client.frame(conn, {"action": "unsubscribe", "bars": ["*"]})
    client.frame(conn, {"action": "dance"})
    client.frame(conn, b"{")
    said = [frame[0] for frame in client.frames(conn)]

    assert [(message["T"], message.get("msg", message.get("code"))) for message in said] == [
        ("success", "connected"),
        ("error", "not authenticated"),
        ("error", "auth failed"),
        ("success", "authenticated"),
        ("error", "already authenticated"),
        ("subscription", None),
        ("subscription", None),
        ("error", "invalid syntax"),
        ("error", "invalid syntax"),
    ]
    assert (said[5]["trades"], said[5]["bars"], said[5]["corrections"], said[5]["cancelErrors"]) == (["AAPL"], ["*"], ["AAPL"], ["AAPL"])
    assert said[6]["bars"] == []
    assert [message["code"] for message in said if message["T"] == "error"] == [401, 402, 403, 400, 400]


def test_who_does_not_log_in_is_shut_out() -> None:
    client = Client()
    conn = client.open("/v2/iex")
    client.wait(10 * SECOND)

    assert client.frames(conn) == [
        [{"T": "success", "msg": "connected"}],
        [{"T": "error", "code": 404, "msg": "auth timeout"}],
        None,
    ]


def test_one_connection_a_feed_and_the_first_survives() -> None:
    client = Client()
    first = client.market_data("/v2/iex", quotes=["AAPL"])
    second = client.market_data("/v2/iex", quotes=["AAPL"])
    other = client.market_data("/v1beta3/crypto/us", quotes=["BTC/USD"])
    pushed = client.twin.drain()
    client.wait(SECOND)

    assert [json.loads(frame or "null") for conn, frame in pushed if conn == second][1:3] == [
        [{"T": "error", "code": 406, "msg": "connection limit exceeded"}],
        None,
    ]
    assert {conn for conn, _ in client.twin.drain()} == {first, other}


def test_limits_of_the_free_plan() -> None:
    client = Client()
    sip = client.market_data("/v2/sip")
    iex = client.market_data("/v2/iex", quotes=[f"S{place}" for place in range(31)])
    paid = Client(sip=True)
    allowed = paid.market_data("/v2/sip")
    said = {conn: json.loads(frame or "null")[0] for conn, frame in client.twin.drain()[::-1] if conn in (sip, iex)}

    assert said[iex] == {"T": "success", "msg": "connected"}
    assert [frame[0].get("code") for frame in paid.frames(allowed)] == [None, None, None]
    client = Client()
    sip = client.market_data("/v2/sip")
    assert client.frames(sip)[1] == [{"T": "error", "code": 409, "msg": "insufficient subscription"}]
    iex = client.market_data("/v2/iex", quotes=[f"S{place}" for place in range(31)])
    assert client.frames(iex)[2] == [{"T": "error", "code": 405, "msg": "symbol limit exceeded"}]


def test_streamed_messages_are_the_historic_ones() -> None:
    client = Client()
    conn = client.market_data("/v2/iex", trades=["AAPL"], quotes=["AAPL"], bars=["AAPL"], dailyBars=["AAPL"])
    client.frames(conn)
    for _ in range(4 * 61):
        client.wait(SECOND // 4)
    streamed = [message for frame in client.frames(conn) for message in frame]
    history = client.get(f"/v2/stocks/AAPL/trades?start={iso(NOON + 1)}&end={iso(client.now_ns)}")["trades"]
    bar = client.get(f"/v2/stocks/AAPL/bars?timeframe=1Min&start={iso(NOON)}&end={iso(NOON)}")["bars"]

    assert [{key: value for key, value in message.items() if key not in "TS"} for message in streamed if message["T"] == "t"] == history
    assert [{key: value for key, value in message.items() if key not in "TS"} for message in streamed if message["T"] == "b"] == bar
    assert {message["T"] for message in streamed} == {"t", "q", "b", "d"}
    assert {message["S"] for message in streamed} == {"AAPL"}


def test_a_feed_carries_its_own_symbols() -> None:
    client = Client()
    conns = {
        "iex": client.market_data("/v2/iex", quotes=["*"]),
        "test": client.market_data("/v2/test", quotes=["FAKEPACA", "AAPL"]),
        "crypto": client.market_data("/v1beta3/crypto/us", quotes=["*"], orderbooks=["BTC/USD"], trades=["ETH/USD"]),
    }
    client.twin.drain()
    for _ in range(40):
        client.wait(SECOND // 4)
    seen: dict[int, set[tuple[str, str]]] = {}
    for conn, frame in client.twin.drain():
        seen.setdefault(conn, set()).update((message["T"], message["S"]) for message in json.loads(frame or "[]"))

    assert seen[conns["test"]] == {("q", "FAKEPACA")}
    assert {("q", "BTC/USD"), ("o", "BTC/USD"), ("t", "ETH/USD")} <= seen[conns["crypto"]]
    assert all("/" in symbol for _, symbol in seen[conns["crypto"]])
    assert all("/" not in symbol and symbol != "FAKEPACA" for _, symbol in seen[conns["iex"]])


def test_a_stream_that_was_not_pumped_does_not_tell_what_it_missed() -> None:
    client = Client()
    conn = client.market_data("/v2/iex", trades=["AAPL"])
    client.frames(conn)
    client.wait(3600 * SECOND)
    times = [message["t"] for frame in client.frames(conn) for message in frame]

    assert iso(client.now_ns - 60 * SECOND) <= min(times)


def test_stock_streams_are_silent_at_night() -> None:
    client = Client(hours="us", start_ns=NOON + 10 * 3600 * SECOND)
    conn = client.market_data("/v2/iex", quotes=["AAPL"], trades=["AAPL"], bars=["AAPL"])
    client.frames(conn)
    client.wait(60 * SECOND)

    assert client.frames(conn) == []


def test_msgpack_carries_timestamps_as_its_extension() -> None:
    client = Client()
    conn = client.open("/v2/iex", {"Content-Type": "application/msgpack"})
    client.twin.frame(conn, msgspec.msgpack.encode({"action": "auth", "key": client.key, "secret": client.secret}), client.now_ns)
    client.twin.frame(conn, msgspec.msgpack.encode({"action": "subscribe", "quotes": ["AAPL"]}), client.now_ns)
    client.twin.drain()
    client.wait(SECOND // 4)
    frame = client.twin.drain()[0][1]
    assert isinstance(frame, bytes)
    quote = msgspec.msgpack.decode(frame)[0]

    assert (quote["T"], quote["S"]) == ("q", "AAPL")
    assert int(quote["t"].timestamp() * 4) * SECOND // 4 == client.now_ns
    assert isinstance(quote["bp"], float)


def test_a_reader_that_falls_behind_is_told_why() -> None:
    client = Client()
    orders, data = client.listen(), client.market_data("/v2/iex")

    assert client.twin.slow(orders) is None
    assert json.loads(client.twin.slow(data) or "") == [{"T": "error", "code": 407, "msg": "slow client"}]


# -- market data REST ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize(("kind", "limit"), [("trades", 17), ("quotes", 100), ("bars&timeframe=1Min", 2)])
def test_history_in_pages_is_history_at_once(kind: str, limit: int, sort: str) -> None:
    client = Client()
    name, _, more = kind.partition("&")
    path = f"/v2/stocks/{name}?symbols=AAPL,F,TSLA&start={iso(NOON - 300 * SECOND)}&end={iso(NOON - 120 * SECOND)}&sort={sort}&{more}"
    whole = client.get(path + "&limit=10000")
    pages: dict[str, list[Any]] = {}
    token, rounds = "", 0
    while True:
        page = client.get(f"{path}&limit={limit}{token}")
        rounds += 1
        for symbol, entries in page[name].items():
            pages.setdefault(symbol, []).extend(entries)
        assert sum(map(len, page[name].values())) <= limit
        if page["next_page_token"] is None:
            break
        token = f"&page_token={page['next_page_token']}"

    assert whole["next_page_token"] is None
    assert pages == whole[name]
    assert rounds > 3
    times = [entry["t"] for entry in whole[name]["F"]]
    assert times == sorted(times, reverse=sort == "desc")


def every_bar(client: Client, query: str, at_least: int = 10**9) -> list[Any]:
    """All pages of SPY's bars, or as many as it takes: a page may be short without being the last."""
    bars: list[Any] = []
    token: str | None = ""
    while token is not None and len(bars) < at_least:
        page = client.get(f"/v2/stocks/SPY/bars?{query}{token and '&page_token=' + token}")
        bars += page["bars"]
        token = page["next_page_token"]
    return bars


@pytest.mark.parametrize("frame", ["5Min", "4Hour", "1Day", "1Week", "1Month"])
def test_longer_bars_are_made_of_shorter_ones(frame: str) -> None:
    client = Client(hours="us")
    bars = every_bar(client, f"timeframe={frame}&start=2026-07-01&end=2026-11-24&limit=1000", at_least=3)
    start, after = bars[1]["t"], bars[2]["t"]
    parts = every_bar(client, f"timeframe=1Min&start={start}&end={after}&limit=10000")
    parts = [part for part in parts if part["t"] < after]

    assert (bars[1]["o"], bars[1]["c"]) == (parts[0]["o"], parts[-1]["c"])
    assert (bars[1]["h"], bars[1]["l"]) == (max(part["h"] for part in parts), min(part["l"] for part in parts))
    assert (bars[1]["v"], bars[1]["n"]) == (sum(part["v"] for part in parts), sum(part["n"] for part in parts))


def test_nothing_of_the_future_is_told() -> None:
    client = Client()
    late = iso(NOON + 3600 * SECOND)
    trades = client.get(f"/v2/stocks/AAPL/trades?start={iso(NOON - 60 * SECOND)}&end={late}")["trades"]
    bars = client.get(f"/v2/stocks/AAPL/bars?timeframe=1Min&start={iso(NOON - 60 * SECOND)}&end={late}")["bars"]

    assert max(trade["t"] for trade in trades) <= iso(NOON)
    assert [bar["t"] for bar in bars] == ["2026-11-24T16:59:00Z"]
    assert client.get(f"/v2/stocks/AAPL/bars?timeframe=1Min&start={late}")["bars"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/stocks/bars?symbols=AAPL", 422),
        ("/v2/stocks/bars?symbols=AAPL&timeframe=60Min", 422),
        ("/v2/stocks/bars?symbols=AAPL&timeframe=5Month", 422),
        ("/v2/stocks/bars?timeframe=1Min", 400),
        ("/v2/stocks/trades?symbols=AAPL&limit=10001", 422),
        ("/v2/stocks/trades?symbols=AAPL&limit=x", 422),
        ("/v2/stocks/trades?symbols=AAPL&start=yesterday", 422),
        ("/v2/stocks/trades?symbols=AAPL&start=2026-13-01", 422),
        ("/v2/stocks/trades?symbols=AAPL&page_token=zzz", 422),
        ("/v2/stocks/trades?symbols=AAPL&start=2026-11-24&end=2026-11-23", 400),
        ("/v2/stocks/NOPE/trades", 404),
        ("/v2/stocks/AAPL/auctions", 404),
        ("/v2/stocks/quotes/latest?symbols=AAPL&feed=nope", 400),
        ("/v2/stocks/trades?symbols=AAPL&feed=sip&start=2026-11-24T16:50:00Z", 403),
        ("/v2/stocks/trades?symbols=AAPL&feed=sip&start=2026-11-24T16:00:00Z&end=2026-11-24T16:10:00Z", 200),
        ("/v1beta3/crypto/us/bars?symbols=AAPL&timeframe=1Min", 200),
    ],
)
def test_questions_that_make_no_sense(path: str, status: int) -> None:
    assert Client().send("GET", path).status == status


def test_a_page_token_is_not_for_reading() -> None:
    client = Client()
    token = client.get("/v2/stocks/AAPL/trades?limit=1")["next_page_token"]

    assert base64.urlsafe_b64decode(token).decode().startswith("AAPL|")


def test_recorded_prices_are_what_the_twin_shows_and_trades_at() -> None:
    listing = next(listing for listing in universe("always").listings if listing.symbol == "AAPL")
    lines = ["time,symbol,open,high,low,close,volume", f"{iso(NOON)},AAPL,150.00,151.00,149.00,150.50,9000"]
    client = Client(recordings={"AAPL": read_recording(lines, listing)})
    client.wait(120 * SECOND)
    quote = client.get("/v2/stocks/AAPL/quotes/latest")["quote"]
    order = client.order().body

    assert 150.4 < quote["bp"] < quote["ap"] < 150.6
    assert client.get("/v2/stocks/AAPL/bars/latest")["bar"] == client.get(f"/v2/stocks/AAPL/bars?timeframe=1Min&start={iso(NOON)}")["bars"][0]
    assert Decimal(client.get(f"/v2/orders/{order['id']}")["filled_avg_price"]) == Decimal(str(quote["ap"]))
