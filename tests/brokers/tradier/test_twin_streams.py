"""The twin's streams: a ticket opens one, once; events say enough to ask; the market ticks in production alone."""

import json

from tests.brokers.tradier.twin_client import Client


def test_events_tell_of_an_order_from_pending_to_filled_and_a_heartbeat_comes() -> None:
    client = Client()
    conn = client.listen(events=["order"])
    number = client.place(tag="t")
    client.wait(1)
    frames = client.frames(conn)

    assert [frame["status"] for frame in frames] == ["pending", "open", "filled"]
    assert {(frame["id"], frame["event"], frame["tag"]) for frame in frames} == {(number, "order", "t")}
    assert frames[-1]["executed_quantity"] == 1.0
    client.wait(15)
    assert [frame["event"] for frame in client.frames(conn)] == ["heartbeat"]


def test_a_ticket_is_good_once_and_for_five_minutes() -> None:
    client = Client()
    ticket = json.loads(client.send("POST", "accounts/events/session").body)["stream"]["sessionid"]
    for frame in (ticket, ticket):
        conn = client.twin.open("/v1/accounts/events", {}, client.now_ns)
        assert isinstance(conn, int)
        client.twin.frame(conn, json.dumps({"events": ["order"], "sessionid": frame}), client.now_ns)
    assert client.frames(conn) == [{"error": "Session not found"}, None]
    late = json.loads(client.send("POST", "accounts/events/session").body)["stream"]["sessionid"]
    client.wait(301)
    conn = client.twin.open("/v1/accounts/events", {}, client.now_ns)
    assert isinstance(conn, int)
    client.twin.frame(conn, json.dumps({"events": ["order"], "sessionid": late}), client.now_ns)

    assert client.frames(conn) == [{"error": "Session not found"}, None]


def test_a_newer_stream_ends_the_older_one() -> None:
    client = Client()
    older = client.listen()
    client.listen()

    assert client.frames(older) == [None]


def test_a_rejected_order_is_told_of() -> None:
    client = Client()
    conn = client.listen()
    number = client.place(side="sell")

    assert [(frame["id"], frame["status"]) for frame in client.frames(conn)] == [(number, "rejected")]


def test_parts_say_what_they_are_a_part_of() -> None:
    client = Client()
    conn = client.listen()
    parts = {"symbol[0]": "AAPL", "side[0]": "buy", "quantity[0]": 1, "type[0]": "limit", "price[0]": "100"}
    parts |= {"symbol[1]": "AAPL", "side[1]": "sell", "quantity[1]": 1, "type[1]": "stop", "stop[1]": "90"}
    number = json.loads(client.orders("POST", **{"class": "oto", "duration": "gtc"}, **parts).body)["order"]["id"]

    assert {frame["parent_id"] for frame in client.frames(conn)} == {number}


def test_the_market_ticks_in_production_and_the_sandbox_gives_no_ticket() -> None:
    client = Client(environment="live")
    conn = client.listen("markets", symbols=["AAPL", "NOBODY"], filter=["quote", "trade"])
    client.wait(30)
    frames = client.frames(conn)
    quote = next(frame for frame in frames if frame["type"] == "quote")
    trade = next(frame for frame in frames if frame["type"] == "trade")

    assert isinstance(quote["bid"], float)
    assert isinstance(trade["price"], str)
    assert {frame["symbol"] for frame in frames} == {"AAPL"}
    assert Client().send("POST", "markets/events/session").status == 401


def test_by_http_the_query_is_the_login_lines_end_where_asked_and_blank_ones_keep_it_open() -> None:
    client = Client(environment="live")
    ticket = json.loads(client.send("POST", "markets/events/session").body)["stream"]["sessionid"]
    path = f"/v1/markets/events?sessionid={ticket}&symbols=AAPL,NOBODY&filter=trade&linebreak=true"
    conn = client.twin.open(path, {}, client.now_ns)
    again = client.twin.open(path, {}, client.now_ns)
    client.wait(30)
    frames = client.twin.drain()
    told = [frame for to, frame in frames if to == conn and isinstance(frame, str)]

    assert client.twin.is_events(path)
    assert [frame for to, frame in frames if to == again] == ['{"error":"Session not found"}\n', None]
    assert told.count("\n") == 2
    assert {(row["type"], row["symbol"]) for row in map(json.loads, filter(str.strip, told))} == {("trade", "AAPL")}
    assert all(frame.endswith("}\n") for frame in told if frame.strip())
