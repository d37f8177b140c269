"""Events of orders and of accounts, the connector's side: resumed where they broke, told once, and what cannot be read is passed."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.brokers.alpaca.test_wire import GOLDEN
from tests.conformance.between import Between, conform
from tests.desks import Bench, on_bench
from tests.subjects import ALPACA_SSE
from trading_system.brokers.alpaca import watch
from trading_system.brokers.alpaca.events import ACTIVITIES, ORDERS, SEEN_MAX, EventsSession, Topic
from trading_system.domain.errors import ProtocolError
from trading_system.domain.event import AccountActivity, AccountEvent
from trading_system.domain.fix import ExecType, OrdStatus
from trading_system.domain.ports import Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults
from trading_system.transport.framing import encode_comment, encode_event
from trading_system.transport.message import Request
from trading_system.transport.session import Broken, Step, StreamRefused

NOW = 1_788_269_400_000_000_000
SAMPLES = {name: (GOLDEN / f"{file}.json").read_bytes() for name, file in (("orders", "trade_event_new"), ("activities", "activity_event_trade"))}
FIRST = "01G112NTT0XAXKDZK3AABK68TH"
NEXT = "01G112NTT0XAXKDZK3AABK68TZ"  # an id behind the sample's
DROPS = 1_000
HOST = "https://host"


@pytest.fixture(params=[ORDERS, ACTIVITIES], ids=lambda topic: topic.name)
def topic(request: pytest.FixtureRequest) -> Topic:
    found: Topic = request.param
    return found


def event(topic: Topic, event_id: str = FIRST, **changes: Any) -> bytes:
    """A sample as a frame, changed as named."""
    return encode_event(json.dumps(json.loads(SAMPLES[topic.name]) | {"event_id": event_id} | changes).encode())


def session(topic: Topic, **options: str) -> EventsSession:
    return EventsSession(topic, HOST, lambda: {"X-Key": "k"}, **options)


def asked(reader: EventsSession) -> str:
    return reader.endpoint()[0].removeprefix(HOST + reader.topic.path)


# -- the session -----------------------------------------------------------------------------------------------------------------------------------


def test_alpacas_sample_is_an_event_of_its_account() -> None:
    (found,) = session(ORDERS).on_frame(event(ORDERS), NOW).events

    assert isinstance(found, AccountEvent)
    assert (found.account, found.event_id) == ("529248ad-c4cc-4a50-bea4-6bfd2953f83a", FIRST)
    assert (found.report.exec_type, found.report.ord_status, found.report.instrument) == (ExecType.NEW, OrdStatus.NEW, "TSLA")
    assert found.report.transact_ns == 1_650_377_550_602_193_534


def test_an_activity_is_one_of_its_account() -> None:
    (found,) = session(ACTIVITIES).on_frame(event(ACTIVITIES), NOW).events

    assert isinstance(found, AccountActivity)
    assert (found.account, found.event_id) == ("529248ad-c4cc-4a50-bea4-6bfd2953f83a", FIRST)
    assert (found.activity_type, found.instrument, found.recv_ns) == ("TRD", "TSLA", NOW)


def test_the_first_request_is_live_only_and_each_next_one_goes_on_behind_the_last_event(topic: Topic) -> None:
    reader = session(topic)

    assert reader.endpoint() == (HOST + topic.path, {"X-Key": "k"})
    assert reader.on_open(NOW) == Step(ready=True)

    reader.on_frame(event(topic, "01G112NTT0XAXKDZK3AABK68TA"), NOW)
    reader.on_frame(event(topic, "01G112NTT0XAXKDZK3AABK68TC"), NOW)
    reader.on_frame(event(topic, "01G112NTT0XAXKDZK3AABK68TB"), NOW)  # one that came late moves nothing back

    assert asked(reader) == "?since_id=01G112NTT0XAXKDZK3AABK68TC"


def test_a_beginning_that_was_asked_for_holds_until_there_is_an_id(topic: Topic) -> None:
    reader = session(topic, since="2026-11-24T17:00:00+01:00")

    assert asked(reader) == "?since=2026-11-24T17%3A00%3A00%2B01%3A00"

    reader.on_frame(event(topic), NOW)

    assert asked(reader) == f"?since_id={FIRST}"


def test_an_event_that_comes_twice_is_told_once_and_the_memory_has_a_bound(topic: Topic) -> None:
    reader = session(topic)

    assert len(reader.on_frame(event(topic), NOW).events) == 1
    assert reader.on_frame(event(topic), NOW) == Step(alive=True)

    for number in range(SEEN_MAX):
        reader._remember(f"01H{number:023d}")

    assert len(reader._seen) == SEEN_MAX
    assert len(reader.on_frame(event(topic), NOW).events) == 1


def test_comments_and_empty_events_are_signs_of_life(topic: Topic) -> None:
    reader = session(topic)

    assert reader.on_frame(encode_comment("heartbeat"), NOW) == Step(alive=True)
    assert reader.on_frame(b"retry: 3000\n", NOW) == Step(alive=True)
    assert reader.stale_after_ns() == 60 * SECOND_NS


def test_events_that_alpaca_dropped_are_asked_for_again(topic: Topic) -> None:
    reader = session(topic)
    reader.on_frame(event(topic), NOW)
    with pytest.raises(Broken, match="dropped 10000 messages"):
        reader.on_frame(b": you are reading too slowly, dropped 10000 messages\n", NOW)

    assert asked(reader) == f"?since_id={FIRST}"


@pytest.mark.parametrize(
    ("topic", "frame"),
    [
        (ORDERS, event(ORDERS, NEXT, event="levitated")),
        (ORDERS, event(ORDERS, NEXT, order=7)),
        (ORDERS, event(ORDERS, NEXT, event="fill")),
        (ACTIVITIES, event(ACTIVITIES, NEXT, details=7)),
        (ACTIVITIES, event(ACTIVITIES, NEXT, details={"execution_type": "levitated", "side": "buy", "symbol": "TSLA"})),
        (ACTIVITIES, event(ACTIVITIES, NEXT, settle_date="soon")),
    ],
)
def test_an_event_that_cannot_be_read_is_told_and_passed(topic: Topic, frame: bytes) -> None:
    reader = session(topic)
    reader.on_frame(event(topic), NOW)
    with pytest.raises(ProtocolError):
        reader.on_frame(frame, NOW)

    assert asked(reader) == f"?since_id={NEXT}"


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b"\xff", b'{"a":' * 2000, None, b"{}"])
def test_behind_an_event_without_an_id_there_is_only_what_happens_from_now_on(topic: Topic, data: bytes | None) -> None:
    reader = session(topic)
    reader.on_frame(event(topic), NOW)
    with pytest.raises(ProtocolError):
        reader.on_frame(encode_event(data or SAMPLES[topic.name].replace(b'"event_id"', b'"other"')), NOW)

    assert asked(reader) == ""


def test_a_field_that_stands_twice_is_no_message(topic: Topic) -> None:
    reader = session(topic)
    with pytest.raises(ProtocolError, match="stands twice"):
        reader.on_frame(event(topic).replace(b'"side": "buy"', b'"side": "buy", "side": "buy"'), NOW)

    assert asked(reader) == f"?since_id={FIRST}"


def test_refusals_for_ever_and_refusals_for_now(topic: Topic) -> None:
    reader = session(topic)
    for status in (429, 500, 502, 503, 504, 302):
        reader.on_refused(status, b"")
    for status in (400, 401, 403, 404, 422):
        with pytest.raises(StreamRefused, match=f"HTTP {status}: .*why"):
            reader.on_refused(status, b'{"message":"why"}')

    reader.on_frame(event(topic), NOW)
    reader.on_refused(422, b"no such id")  # any more: begin anew, and be told if that will not do either
    assert asked(reader) == ""
    with pytest.raises(StreamRefused):
        reader.on_refused(422, b"")


# -- on the network --------------------------------------------------------------------------------------------------------------------------------


class Listening:
    """What a connector said of its orders on a bench, or a firm's reader of what was booked there."""

    def __init__(self, bench: Bench, topic: Topic = ORDERS) -> None:
        self.bench = bench
        self.topic = topic
        self.reports: list[ExecutionReport] = []
        self.activities: list[AccountActivity] = []
        self.links: list[StreamState] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for found in self._source():
            if isinstance(found, StreamState):
                self.links.append(found)
            elif isinstance(found, AccountActivity):
                self.activities.append(found)
            else:
                self.reports.append(found)

    def _source(self) -> AsyncIterator[Any]:
        bench, door = self.bench, self.bench.twin.broker
        if self.topic is ORDERS:
            return cast("AsyncIterator[Any]", bench.connector().events())
        return watch(
            http=bench.network.http(),
            dialer=bench.network.dialer(),
            clock=bench.clock,
            rng=random.Random(1),
            credentials={"client_id": Secret(door.client_id), "client_secret": Secret(door.client_secret)},
            environment="paper",
            options={"url": "http://twin", "topic": self.topic.name},
        ).events()

    async def order(self, qty: str = "1", side: str = "buy") -> None:
        """Placed by somebody else, in one request that no fault touches."""
        twin = self.bench.twin
        body = json.dumps({"symbol": "AAPL", "side": side, "qty": qty, "type": "market", "time_in_force": "day"}).encode()
        headers = {"APCA-API-KEY-ID": twin.key, "APCA-API-SECRET-KEY": twin.secret}
        await self.bench.network.http().send(Request(method="POST", url="http://twin/v2/orders", headers=headers, body=body), within_ns=SECOND_NS)

    def told(self) -> list[tuple[object, ...]]:
        orders = [(report.order_id, report.exec_type, report.exec_id) for report in self.reports]
        return orders or [(booked.event_id, booked.activity_type, booked.ref_id) for booked in self.activities]

    def happened(self) -> list[tuple[object, ...]]:
        """The twin's own list."""
        twin = self.bench.twin
        if self.topic is ACTIVITIES:
            return [(entry.event_id, entry.event.activity_type, entry.event.ref_id) for entry in twin.activity_events.log]
        log = twin.order_events.log
        return [(entry.event.order.order_id, entry.event.exec_type, entry.event.execution and entry.event.execution.exec_id) for entry in log]


def listening(tmp_path: Path, story: Callable[[Listening], Any], topic: Topic = ORDERS, **twin: Any) -> None:
    async def main(bench: Bench) -> None:
        ears = Listening(bench, topic)
        await asyncio.sleep(1)
        try:
            await story(ears)
        finally:
            ears.task.cancel()

    on_bench(tmp_path, main, subject=ALPACA_SSE, **twin)


def test_a_thousand_drops_lose_nothing_and_double_nothing(tmp_path: Path, topic: Topic) -> None:
    async def story(ears: Listening) -> None:
        rng = random.Random(3)
        await ears.order()
        await asyncio.sleep(5)
        assert ears.told() == ears.happened() != []

        ears.bench.network.faults = Faults(disconnect=0.4, duplicate_frame=0.3)
        side = "buy"
        while sum(link.link is Link.GAP for link in ears.links) < DROPS:
            side = "sell" if side == "buy" else "buy"
            await ears.order("1", side)
            await asyncio.sleep(rng.uniform(0, 40))
            if rng.random() < 0.3:
                ears.bench.network.drop_all()
        ears.bench.network.faults = Faults(enabled=False)
        await asyncio.sleep(120)

        assert ears.told() == ears.happened()
        assert len(ears.told()) > DROPS // (1 if topic is ORDERS else 2)  # an order is told of three times and booked once
        assert ears.bench.network.hit["duplicate_frame"] > DROPS / 10

    listening(tmp_path, story, topic)


def test_a_wrong_key_is_told_once_and_not_tried_again(tmp_path: Path) -> None:
    async def story(ears: Listening) -> None:
        ears.bench.twin.secret = "changed"
        ears.bench.network.drop_all()
        await asyncio.sleep(3600)

        assert [link.link for link in ears.links] == [Link.LIVE, Link.GAP, Link.REFUSED]
        assert "ALPACA_API_SECRET" in ears.links[-1].text
        assert ears.task.done()

    listening(tmp_path, story)


def test_heartbeats_keep_it_live_and_a_mute_stream_is_stale_within_a_minute(tmp_path: Path) -> None:
    async def story(ears: Listening) -> None:
        await asyncio.sleep(3600)
        assert [link.link for link in ears.links] == [Link.LIVE]

        ears.bench.network.faults = Faults(lost_frame=1.0)
        await asyncio.sleep(61)
        assert [link.link for link in ears.links[:2]] == [Link.LIVE, Link.STALE]

    listening(tmp_path, story)


def test_an_unreadable_event_is_told_once_and_does_not_come_back_for_ever(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        between.frames = lambda frame: frame.replace(b'"event":"new"', b'"event":"levitated"')
        connector = bench.connector()
        told: list[ExecType] = []
        failed = 0
        ears = Listening(bench)
        ears.task.cancel()
        ordering = asyncio.create_task(_orders(ears))
        while not ordering.done():  # as the desk's watch does: an error ends the stream, and it begins again
            try:
                async with asyncio.timeout(100):
                    async for found in connector.events():
                        told += [found.exec_type] if isinstance(found, ExecutionReport) else []
            except ProtocolError:
                failed += 1
            except TimeoutError:
                pass

        assert failed == 5
        assert told == [ExecType.PENDING_NEW, ExecType.TRADE] * 5

    conform(tmp_path, ALPACA_SSE, story)


async def _orders(ears: Listening) -> None:
    for _ in range(5):
        await asyncio.sleep(60)
        await ears.order()
    await asyncio.sleep(300)
