"""News: the twin invents it and says so; the connector reads pages and the stream, and lets nobody's text near the terminal's cursor."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.brokers.alpaca.test_wire import GOLDEN
from tests.brokers.alpaca.twin_client import NOON, SECOND, Client
from tests.desks import Bench, on_bench
from trading_system.brokers.alpaca import codec, wire
from trading_system.brokers.alpaca.news import NewsSession
from trading_system.brokers.alpaca.twin.news import SLOT_NS
from trading_system.domain.errors import ProtocolError
from trading_system.domain.news import NewsItem
from trading_system.domain.ports import Link, StreamState
from trading_system.domain.times import parse_rfc3339
from trading_system.settings.secret import Secret
from trading_system.transport.session import Broken, StreamRefused

PATH = "/v1beta1/news"
HOUR = 3600 * SECOND


# -- the twin --------------------------------------------------------------------------------------------------------------------------------------


def test_every_article_says_that_it_is_invented_and_is_the_same_when_asked_again() -> None:
    page = Client().get(f"{PATH}?limit=50")["news"]

    assert page == Client().get(f"{PATH}?limit=50")["news"]
    assert page != Client(seed=4).get(f"{PATH}?limit=50")["news"]
    for article in page:
        assert article["headline"].startswith("[Invented] ")
        assert "Invented" in article["summary"]
        assert "Invented" in article["content"]
        assert article["source"] == "twin"
        assert set(article["symbols"]) <= {symbol.replace("/", "") for symbol in Client().twin.universe.assets}


def test_the_newest_ten_come_first_and_pages_follow_each_other_without_gap_or_overlap() -> None:
    client = Client()
    first = client.get(PATH)
    whole = client.get(f"{PATH}?limit=30")["news"]
    second = client.get(f"{PATH}?page_token={first['next_page_token']}")
    third = client.get(f"{PATH}?page_token={second['next_page_token']}")
    times = [parse_rfc3339(article["created_at"]) for article in whole]

    assert first["news"] + second["news"] + third["news"] == whole
    assert times == sorted(times, reverse=True)
    assert NOON - SLOT_NS * 2 < times[0] <= NOON


def test_a_span_and_symbols_choose_and_the_past_has_an_end() -> None:
    client = Client()
    span = "start=2026-11-24T10:00:00Z&end=2026-11-24T10:30:00Z"
    up = client.get(f"{PATH}?{span}&sort=asc&limit=50")
    down = client.get(f"{PATH}?{span}&limit=50")
    about = client.get(f"{PATH}?symbols=AAPL,BTC/USD&limit=50")["news"]

    assert up["news"] == down["news"][::-1]
    assert len(up["news"]) in (30, 31)  # one a minute
    assert {article["created_at"][:13] for article in up["news"]} == {"2026-11-24T10"}
    assert up["next_page_token"] is None
    assert all({"AAPL", "BTCUSD"} & set(article["symbols"]) for article in about)
    assert len(about) > 40
    assert client.get(f"{PATH}?symbols=NOBODY") == {"news": [], "next_page_token": None}
    long_ago = client.get(f"{PATH}?symbols=NOBODY&start=1970-01-01")  # so many slots a page and no more, and a token to go on
    assert (long_ago["news"], long_ago["next_page_token"] is None) == ([], False)
    for bad in ("limit=51", "limit=0", "sort=up", "start=x", "start=2026-11-24&end=2026-11-23", "page_token=x"):
        assert client.send("GET", f"{PATH}?{bad}").status in (400, 422)
    assert client.send("GET", PATH, keys=False).status == 401


def stream(client: Client, *symbols: str, **headers: str) -> int:
    conn = client.open(PATH, headers)
    client.frame(conn, {"action": "auth", "key": client.key, "secret": client.secret})
    client.frame(conn, {"action": "subscribe", "news": list(symbols)})
    return conn


def test_the_stream_tells_each_article_once_when_it_appears() -> None:
    client = Client()
    conn = stream(client, "*")
    control = client.frames(conn)
    seen: list[dict[str, Any]] = []
    while client.now_ns < NOON + HOUR // 2:
        client.wait(client.twin.news_stream.next_event_ns() - client.now_ns)  # type: ignore[operator]
        (frame,) = client.frames(conn)
        assert parse_rfc3339(frame[0]["created_at"]) == client.now_ns
        seen += frame
    rest = client.get(f"{PATH}?start=2026-11-24T17:00:01Z&sort=asc&limit=50")["news"]

    assert control == [
        [{"T": "success", "msg": "connected"}],
        [{"T": "success", "msg": "authenticated"}],
        [{"T": "subscription", "news": ["*"]}],
    ]
    assert seen == [{"T": "n", **article} for article in rest]
    assert len(seen) > 20


def test_the_stream_keeps_to_what_was_subscribed_and_to_one_connection() -> None:
    client = Client()
    conn = stream(client, "AAPL", "BTC/USD")
    other = client.open(PATH)
    client.frame(other, b"{")
    client.frame(other, {"action": "subscribe", "news": ["*"]})
    client.frame(other, {"action": "auth", "key": client.key, "secret": "wrong"})
    client.frame(other, {"action": "auth", "key": client.key, "secret": client.secret})
    client.frame(conn, {"action": "auth", "key": client.key, "secret": client.secret})
    client.frame(conn, {"action": "unsubscribe", "news": ["AAPL"]})
    client.frame(conn, {"action": "dance"})
    pushed = client.twin.drain()

    def codes(number: int) -> list[int]:
        return [json.loads(frame)[0].get("code") for conn_, frame in pushed if conn_ == number and frame and b"error" in str(frame).encode()]

    assert (codes(other), codes(conn)) == ([400, 401, 402, 406], [403, 400])
    assert pushed[-1 - len(codes(conn))] != (other, None)
    client.twin.closed(other)
    for _ in range(240):
        client.wait(SLOT_NS)
    assert {"BTCUSD"} == set.intersection(*(set(frame[0]["symbols"]) for frame in client.frames(conn)))

    late = client.open(PATH)
    client.wait(11 * SECOND)
    assert client.frames(late)[-2:] == [[{"T": "error", "code": 404, "msg": "auth timeout"}], None]


def test_msgpack_has_timestamps() -> None:
    client = Client()
    stream(client, "*", **{"Content-Type": "application/msgpack"})
    client.twin.drain()
    client.wait(2 * SLOT_NS)
    frame = client.twin.drain()[0][1]
    assert isinstance(frame, bytes)
    (article,) = msgspec.msgpack.decode(frame)

    assert article["created_at"].timestamp() * SECOND <= client.now_ns


# -- the connector -----------------------------------------------------------------------------------------------------------------------------------


def test_alpacas_samples_are_read() -> None:
    page = msgspec.json.decode((GOLDEN / "news.json").read_bytes(), type=wire.NewsPage)
    item = codec.decode_news(page.news[0])

    assert (item.news_id, item.symbols, item.source, item.author) == ("24843171", ("AAPL",), "benzinga", "Charles Gross")
    assert item.created_ns == 1_640_948_922 * SECOND
    assert item.url.startswith("https://www.benzinga.com/")

    session = NewsSession("wss://x", Secret("key-of-mine"), Secret("secret-of-mine"), ())
    (told,) = session.on_frame((GOLDEN / "news_message.json").read_bytes(), NOON).events
    assert isinstance(told, NewsItem)
    assert told.symbols == ("CRSR",)


def test_nobodys_text_moves_the_cursor() -> None:
    page = msgspec.json.decode((GOLDEN / "news.json").read_bytes(), type=wire.NewsPage)
    hostile = msgspec.structs.replace(page.news[0], headline="A&amp;B &#39;x&#39;\x1b[2J\r\n\u202egnp.exe&#27;[31m", symbols=["A\x1b"])

    assert codec.decode_news(hostile).headline == "A&B 'x' [2J   gnp.exe[31m"
    assert codec.decode_news(hostile).symbols == ("A",)


def test_the_session_logs_in_subscribes_and_refuses() -> None:
    session = NewsSession("wss://x", Secret("key-of-mine"), Secret("secret-of-mine"), ["AAPL"])

    assert session.on_open(NOON).send == ()
    assert "key-of-mine" in str(session.on_frame(b'[{"T":"success","msg":"connected"}]', NOON).send[0])
    assert json.loads(session.on_frame(b'[{"T":"success","msg":"authenticated"}]', NOON).send[0]) == {"action": "subscribe", "news": ["AAPL"]}
    assert session.on_frame(b'[{"T":"subscription","news":["AAPL"]},{"T":"new kind"}]', NOON).ready
    assert session.stale_after_ns() == 0
    for code, kind in ((402, StreamRefused), (406, Broken), (500, ProtocolError)):
        with pytest.raises(kind):
            session.on_frame(b'[{"T":"error","code":%d,"msg":"x"}]' % code, NOON)
    for bad in (b"{", b'[{"T":"n"}]'):
        with pytest.raises(ProtocolError):
            session.on_frame(bad, NOON)


def test_pages_are_joined_and_the_stream_is_followed(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        found = await connector.news((), 120)
        about = await connector.news(("AAPL", "BTC/USD"), 7)
        seen: list[NewsItem | StreamState] = []

        async def follow() -> None:
            async for event in connector.follow_news(("AAPL", "BTC/USD", "MSFT")):
                seen.append(event)

        task = asyncio.create_task(follow())
        await asyncio.sleep(12 * 3600)
        bench.network.drop_all()
        await asyncio.sleep(12 * 3600)
        task.cancel()
        articles = [event for event in seen if isinstance(event, NewsItem)]

        assert (len(found), len({item.news_id for item in found}), len(about)) == (120, 120, 7)
        assert all({"AAPL", "BTCUSD"} & set(item.symbols) for item in about)
        assert [event.link for event in seen if isinstance(event, StreamState)] == [Link.LIVE, Link.GAP, Link.LIVE]
        assert articles == sorted(articles, key=lambda item: item.created_ns) != []
        assert all({"AAPL", "BTCUSD", "MSFT"} & set(item.symbols) for item in articles)

    on_bench(tmp_path, story)
