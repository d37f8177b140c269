"""The twin's server-sent events: who may read, where a reader begins and ends, ids that rise, signs of life, and OAuth2 tokens."""

import base64
import json
from random import Random
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.brokers.alpaca.twin_client import NOON, SECOND, Client
from trading_system.brokers.alpaca import facts
from trading_system.brokers.alpaca.twin import events
from trading_system.brokers.alpaca.twin.events import HEARTBEAT_NS, UlidMaker
from trading_system.sim.exchange import Latency
from trading_system.sim.sessions import iso
from trading_system.transport.framing import EventFrames, decode_event
from trading_system.transport.message import Request, Response

SLOW = Latency((SECOND, SECOND), (3 * SECOND, 3 * SECOND), (3 * SECOND, 3 * SECOND))
LIFE_NS = 900 * SECOND


class Reader(Client):
    """A client that reads events."""

    path = "/v2/events/trades"

    def keys(self) -> dict[str, str]:
        return {facts.KEY_HEADER: self.key, facts.SECRET_HEADER: self.secret}

    def ask(self, headers: dict[str, str] | None = None, **query: str) -> int | Response:
        path = f"{self.path}?{urlencode(query, quote_via=quote)}" if query else self.path
        return self.twin.open(path, self.keys() if headers is None else headers, self.now_ns)

    def read(self, **query: str) -> int:
        conn = self.ask(**query)
        assert isinstance(conn, int), conn
        return conn

    def refused(self, **query: str) -> tuple[int, str]:
        answer = self.ask(**query)
        assert isinstance(answer, Response)
        return answer.status, json.loads(answer.body)["message"]

    def pushed(self) -> dict[int, list[Any]]:
        """By connection what came since the last call: events as they are, comments as text, None for the end."""
        found: dict[int, list[Any]] = {}
        for conn, frame in self.twin.drain():
            for cut in [None] if frame is None else EventFrames().feed(frame if isinstance(frame, bytes) else frame.encode()):
                event = None if cut is None else decode_event(cut)
                shown = None if event is None else event.comment or json.loads(event.data)
                found.setdefault(conn, []).append(shown)
                assert event is None or event.comment or event.event_id == shown["event_id"]
        return found

    def token(self, **changes: str) -> tuple[int, dict[str, Any]]:
        door = self.twin.broker
        form = {"grant_type": "client_credentials", "client_id": door.client_id, "client_secret": door.client_secret} | changes
        kind = form.pop("content_type", "application/x-www-form-urlencoded")
        request = Request(method="POST", url="https://host/v1/oauth2/token", headers={"Content-Type": kind}, body=urlencode(form).encode())
        answer = self.twin.handle(request, self.now_ns)
        return answer.status, json.loads(answer.body)


def ids(client: Reader) -> list[str]:
    return [entry.event_id for entry in client.twin.order_events.log]


def told(events_: list[Any]) -> list[str]:
    return [event["event_id"] for event in events_ if isinstance(event, dict)]


# -- who -------------------------------------------------------------------------------------------------------------------------------------------


def test_only_who_has_the_keys_may_read() -> None:
    client = Reader()
    for headers in ({}, client.keys() | {facts.SECRET_HEADER: "wrong"}, {"Authorization": "Bearer eyJnothing"}, {"Authorization": "Basic !"}):
        answer = client.ask(headers)

        assert isinstance(answer, Response)
        assert (answer.status, json.loads(answer.body)) == (401, {"message": "unauthorized."})

    door = client.twin.broker
    basic = base64.b64encode(f"{door.client_id}:{door.client_secret}".encode()).decode()
    conns = [
        client.read(),
        client.ask({"authorization": f"Basic {basic}"}),
        client.ask({"Authorization": f"Bearer {client.token()[1]['access_token']}"}),
    ]
    client.order()
    seen = client.pushed()

    assert [told(seen[conn]) for conn in conns if isinstance(conn, int)] == [ids(client)] * 3
    assert client.send("GET", "/v1/events/trades").status == 404  # removed at Alpaca


def test_a_token_lives_for_a_quarter_of_an_hour_and_is_given_to_the_client_only() -> None:
    client = Reader()
    status, body = client.token()

    assert (status, body["expires_in"], body["token_type"]) == (200, 900, "Bearer")
    assert client.token(client_secret="wrong") == (401, {"error": "invalid_client", "error_description": "client authentication failed"})
    assert client.token(grant_type="password")[1]["error"] == "unsupported_grant_type"
    assert client.token(content_type="application/json")[1]["error"] == "invalid_request"
    assert client.twin.broker.issued == 1

    bearer = {"Authorization": f"Bearer {body['access_token']}"}
    client.wait(LIFE_NS - 1)
    assert isinstance(client.ask(bearer), int)
    client.wait(1)
    assert isinstance(client.ask(bearer), Response)


# -- what ------------------------------------------------------------------------------------------------------------------------------------------


def test_an_event_is_a_trade_update_and_more() -> None:
    client = Reader()
    stream, conn = client.listen(), client.read()
    client.order(qty="2")
    client.order("BTC/USD", tif="gtc", qty="0.1")
    frames = client.twin.drain()
    updates = [json.loads(frame)["data"] for number, frame in frames if number == stream and frame is not None]
    found = [json.loads(decode_event(frame).data) for number, frame in frames if number == conn and isinstance(frame, bytes)]
    fills = [event for event in found if event["event"] == "fill"]

    assert [{name: value for name, value in event.items() if name in update} for event, update in zip(found, updates, strict=True)] == updates
    assert {event["account_id"] for event in found} == {client.get("/v2/account")["id"]}
    assert [event["at"] for event in found] == [iso(NOON)] * len(found)
    assert [(fill["settle_date"], fill.get("swap_rate")) for fill in fills] == [("2026-11-25", None), ("2026-11-24", "1")]


def test_settlement_waits_for_the_next_business_day() -> None:
    client = Reader(start_ns=NOON + 24 * 3600 * SECOND)  # the day before Thanksgiving
    conn = client.read()
    client.order()

    assert client.pushed()[conn][-1]["settle_date"] == "2026-11-27"


def test_a_bust_is_an_execution_of_its_own_and_names_the_one_it_undoes() -> None:
    client = Reader()
    conn = client.read()
    client.order()
    exec_id = next(iter(client.twin.exchange.executions))
    client.twin.exchange.bust(exec_id, client.now_ns)
    client.wait(0)
    bust = client.pushed()[conn][-1]

    assert (bust["event"], bust["previous_execution_id"]) == ("trade_bust", exec_id)
    assert bust["execution_id"] != exec_id


def test_ids_rise_also_within_a_millisecond_and_tell_their_time() -> None:
    maker = UlidMaker(Random(1))
    made = [maker.next(NOON + number // 50 * 1_000_000) for number in range(500)]
    late = maker.next(NOON)  # an event that was dated back

    assert made == sorted(set(made))
    assert late > made[-1]
    assert {len(ulid) for ulid in made} == {26}
    assert UlidMaker(Random(1)).next(1_469_922_850_259_000_000)[:10] == "01ARZ3NDEK"  # the example that ULID's own page has


# -- from where, to where ----------------------------------------------------------------------------------------------------------------------------


def test_without_a_beginning_there_is_no_past() -> None:
    client = Reader()
    client.order()
    conn = client.read()
    before = ids(client)
    client.order()

    assert told(client.pushed()[conn]) == ids(client)[len(before) :]


def test_the_past_comes_first_then_what_happens() -> None:
    client = Reader()
    client.order()
    client.wait(60 * SECOND)
    second_ns = client.now_ns
    client.order()
    client.twin.drain()
    known = ids(client)
    half = len(known) // 2
    conns = {
        client.read(since=iso(NOON)): 0,
        client.read(since="2026-11-24"): 0,
        client.read(since=iso(second_ns)): half,
        client.read(since=iso(NOON + 1)): half,
        client.read(since_id=known[0]): 1,
        client.read(since_id=known[-1]): len(known),
        client.read(since_id="0" * 26): 0,
    }
    client.order()
    seen = client.pushed()

    assert {conn: told(seen[conn]) for conn in conns} == {conn: ids(client)[start:] for conn, start in conns.items()}


def test_an_end_that_was_reached_ends_the_stream() -> None:
    client = Reader()
    client.order()
    client.wait(SECOND)
    client.order()
    client.twin.drain()
    known = ids(client)
    half = len(known) // 2
    ends = {
        client.read(since="2026-11-24", until=iso(NOON)): half,  # inclusive
        client.read(since="2026-11-24", until=iso(NOON - 1)): 0,
        client.read(since_id="0" * 26, until_id=known[half]): half + 1,  # inclusive
        client.read(since_id="0" * 26, until_id=known[-1]): len(known),
    }
    seen = client.pushed()

    assert {conn: told(seen[conn]) for conn in ends} == {conn: known[:count] for conn, count in ends.items()}
    assert all(seen[conn][-1] is None for conn in ends)
    assert client.twin.order_events.conns == {}

    until_ns = client.now_ns + 20 * SECOND
    conn = client.read(since=iso(client.now_ns), until=iso(until_ns))
    last = client.read(since_id=known[-1], until_id="7" + "Z" * 25)
    client.wait(20 * SECOND)
    client.order()
    assert client.twin.next_event_ns() == until_ns + 1
    assert None not in client.pushed()[conn]
    client.wait(1)
    client.order()

    assert client.pushed() == {conn: [None], last: client_events(client, last)}


def client_events(client: Reader, conn: int) -> list[Any]:
    """Whatever the live reader had of the last order: it is asked again, by id."""
    again = client.read(since_id=ids(client)[-4])
    return [event for event in client.pushed()[again] if isinstance(event, dict)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"since": "2026-11-24", "since_id": "0" * 26}, "at the same time"),
        ({"until": "2026-11-24"}, "is required"),
        ({"until_id": "0" * 26}, "is required"),
        ({"since": "2026-11-24", "until_id": "0" * 26}, "is required"),
        ({"since": "yesterday"}, "invalid since"),
        ({"since": "2026-11-24", "until": "2026-13-01"}, "invalid until"),
        ({"since_id": "17"}, "invalid since_id"),
        ({"since_id": "U" * 26}, "invalid since_id"),
        ({"since_id": "0" * 26, "until_id": "x"}, "invalid until_id"),
    ],
)
def test_what_excludes_or_misses_something_is_refused(query: dict[str, str], said: str) -> None:
    status, message = Reader().refused(**query)

    assert status == 422
    assert said in message


def test_a_long_past_comes_in_bites_and_what_happens_meanwhile_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BITE", 4)
    client = Reader()
    for _ in range(10):
        client.order()
    client.twin.drain()
    conn = client.read(since="2026-11-24")
    assert len(client.pushed()[conn]) == 4
    client.order()
    assert client.pushed() == {}
    seen = []
    while len(seen) < len(ids(client)) - 4:
        due_ns = client.twin.order_events.next_event_ns()
        assert due_ns is not None
        client.wait(due_ns - client.now_ns)
        seen += client.pushed()[conn]

    assert told(seen) == ids(client)[4:]


def test_the_log_has_a_bound_and_readers_keep_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LOG_MAX", 20)
    client = Reader()
    conn = client.read()
    seen = []
    for _ in range(20):
        client.order()
        seen += told(client.pushed()[conn])

    assert len(client.twin.order_events.log) <= 20
    assert len(seen) == len(set(seen)) > 50
    assert seen[-len(ids(client)) :] == ids(client)


def test_so_many_readers_and_no_more() -> None:
    client = Reader()
    for _ in range(events.READERS_MAX):
        client.read()

    assert client.refused()[0] == 429


# -- that it is there --------------------------------------------------------------------------------------------------------------------------------


def test_a_quiet_stream_says_that_it_is_there() -> None:
    client = Reader(latency=SLOW)
    conn = client.read()
    for _ in range(4):
        client.wait(HEARTBEAT_NS)

    assert client.pushed() == {conn: ["heartbeat"] * 4}
    assert HEARTBEAT_NS == 15 * SECOND
    assert client.twin.slow(conn) == b": you are reading too slowly, dropped messages\n\n"

    client.twin.closed(conn)
    client.wait(HEARTBEAT_NS)
    assert client.pushed() == {}
