"""Order events by server-sent events, the connector's side: resumed where they broke, told once, and what cannot be read is passed."""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.alpaca.test_wire import GOLDEN
from tests.conformance.between import Between, conform
from tests.desks import Bench, on_bench
from tests.subjects import ALPACA_SSE
from trading_system.brokers.alpaca.events import SEEN_MAX, EventsSession
from trading_system.domain.errors import ProtocolError
from trading_system.domain.event import AccountEvent
from trading_system.domain.fix import ExecType, OrdStatus
from trading_system.domain.ports import Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults
from trading_system.transport.framing import encode_comment, encode_event
from trading_system.transport.message import Request
from trading_system.transport.session import Broken, Step, StreamRefused

NOW = 1_788_269_400_000_000_000
SAMPLE = (GOLDEN / "trade_event_new.json").read_bytes()
NEXT = "01G112NTT0XAXKDZK3AABK68TZ"  # an id behind the sample's
DROPS = 1_000
URL = "https://host/v2/events/trades"


def event(event_id: str = "", **changes: Any) -> bytes:
    """Alpaca's own sample as a frame, changed as named."""
    body = json.loads(SAMPLE) | ({"event_id": event_id} if event_id else {}) | changes
    return encode_event(json.dumps(body).encode())


def session(**options: str) -> EventsSession:
    return EventsSession(URL, lambda: {"X-Key": "k"}, **options)


def asked(reader: EventsSession) -> str:
    return reader.endpoint()[0].removeprefix(URL)


# -- the session -----------------------------------------------------------------------------------------------------------------------------------


def test_alpacas_sample_is_an_event_of_its_account() -> None:
    (found,) = session().on_frame(event(), NOW).events

    assert isinstance(found, AccountEvent)
    assert (found.account, found.event_id) == ("529248ad-c4cc-4a50-bea4-6bfd2953f83a", "01G112NTT0XAXKDZK3AABK68TH")
    assert (found.report.exec_type, found.report.ord_status, found.report.instrument) == (ExecType.NEW, OrdStatus.NEW, "TSLA")
    assert found.report.transact_ns == 1_650_377_550_602_193_534


def test_the_first_request_is_live_only_and_each_next_one_goes_on_behind_the_last_event() -> None:
    reader = session()

    assert reader.endpoint() == (URL, {"X-Key": "k"})
    assert reader.on_open(NOW) == Step(ready=True)

    reader.on_frame(event("01G112NTT0XAXKDZK3AABK68TA"), NOW)
    reader.on_frame(event("01G112NTT0XAXKDZK3AABK68TC"), NOW)
    reader.on_frame(event("01G112NTT0XAXKDZK3AABK68TB"), NOW)  # one that came late moves nothing back

    assert asked(reader) == "?since_id=01G112NTT0XAXKDZK3AABK68TC"


def test_a_beginning_that_was_asked_for_holds_until_there_is_an_id() -> None:
    reader = session(since="2026-11-24T17:00:00+01:00")

    assert asked(reader) == "?since=2026-11-24T17%3A00%3A00%2B01%3A00"

    reader.on_frame(event(), NOW)

    assert asked(reader) == "?since_id=01G112NTT0XAXKDZK3AABK68TH"


def test_an_event_that_comes_twice_is_told_once_and_the_memory_has_a_bound() -> None:
    reader = session()

    assert len(reader.on_frame(event(), NOW).events) == 1
    assert reader.on_frame(event(), NOW) == Step(alive=True)

    for number in range(SEEN_MAX):
        reader._remember(f"01H{number:023d}")

    assert len(reader._seen) == SEEN_MAX
    assert len(reader.on_frame(event(), NOW).events) == 1


def test_comments_and_empty_events_are_signs_of_life() -> None:
    reader = session()

    assert reader.on_frame(encode_comment("heartbeat"), NOW) == Step(alive=True)
    assert reader.on_frame(b"retry: 3000\n", NOW) == Step(alive=True)
    assert reader.stale_after_ns() == 60 * SECOND_NS


def test_events_that_alpaca_dropped_are_asked_for_again() -> None:
    reader = session()
    reader.on_frame(event(), NOW)
    with pytest.raises(Broken, match="dropped 10000 messages"):
        reader.on_frame(b": you are reading too slowly, dropped 10000 messages\n", NOW)

    assert asked(reader) == "?since_id=01G112NTT0XAXKDZK3AABK68TH"


@pytest.mark.parametrize(
    "frame",
    [
        event("01G112NTT0XAXKDZK3AABK68TZ", event="levitated"),
        event("01G112NTT0XAXKDZK3AABK68TZ", order=7),
        event("01G112NTT0XAXKDZK3AABK68TZ", event="fill"),
    ],
)
def test_an_event_that_cannot_be_read_is_told_and_passed(frame: bytes) -> None:
    reader = session()
    reader.on_frame(event(), NOW)
    with pytest.raises(ProtocolError):
        reader.on_frame(frame, NOW)

    assert asked(reader) == f"?since_id={NEXT}"


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b"\xff", b'{"a":' * 2000, SAMPLE.replace(b'"event_id"', b'"other"'), b"{}"])
def test_behind_an_event_without_an_id_there_is_only_what_happens_from_now_on(data: bytes) -> None:
    reader = session()
    reader.on_frame(event(), NOW)
    with pytest.raises(ProtocolError):
        reader.on_frame(encode_event(data), NOW)

    assert asked(reader) == ""


def test_a_field_that_stands_twice_is_no_message() -> None:
    reader = session()
    with pytest.raises(ProtocolError, match="stands twice"):
        reader.on_frame(encode_event(SAMPLE.replace(b'"event": "new"', b'"event": "new", "event": "new"').replace(b"\n", b"")), NOW)

    assert asked(reader) == "?since_id=01G112NTT0XAXKDZK3AABK68TH"


def test_refusals_for_ever_and_refusals_for_now() -> None:
    reader = session()
    for status in (429, 500, 502, 503, 504, 302):
        reader.on_refused(status, b"")
    for status in (400, 401, 403, 404, 422):
        with pytest.raises(StreamRefused, match=f"HTTP {status}: .*why"):
            reader.on_refused(status, b'{"message":"why"}')

    reader.on_frame(event(), NOW)
    reader.on_refused(422, b"no such id")  # any more: begin anew, and be told if that will not do either
    assert asked(reader) == ""
    with pytest.raises(StreamRefused):
        reader.on_refused(422, b"")


# -- on the network --------------------------------------------------------------------------------------------------------------------------------


class Listening:
    """A connector's order events on a bench, and what they said."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.reports: list[ExecutionReport] = []
        self.links: list[StreamState] = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for found in self.bench.connector().events():
            (self.links if isinstance(found, StreamState) else self.reports).append(found)

    async def order(self, qty: str = "1", side: str = "buy") -> None:
        """Placed by somebody else, in one request that no fault touches."""
        twin = self.bench.twin
        body = json.dumps({"symbol": "AAPL", "side": side, "qty": qty, "type": "market", "time_in_force": "day"}).encode()
        headers = {"APCA-API-KEY-ID": twin.key, "APCA-API-SECRET-KEY": twin.secret}
        await self.bench.network.http().send(Request(method="POST", url="http://twin/v2/orders", headers=headers, body=body), within_ns=SECOND_NS)

    def told(self) -> list[tuple[object, ...]]:
        return [(report.order_id, report.exec_type, report.exec_id) for report in self.reports]

    def happened(self) -> list[tuple[object, ...]]:
        """The twin's own list."""
        log = self.bench.twin.order_events.log
        return [(entry.event.order.order_id, entry.event.exec_type, entry.event.execution and entry.event.execution.exec_id) for entry in log]


def listening(tmp_path: Path, story: Callable[[Listening], Any], **twin: Any) -> None:
    async def main(bench: Bench) -> None:
        ears = Listening(bench)
        await asyncio.sleep(1)
        try:
            await story(ears)
        finally:
            ears.task.cancel()

    on_bench(tmp_path, main, subject=ALPACA_SSE, **twin)


def test_a_thousand_drops_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
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
        assert len(ears.told()) > DROPS
        assert ears.bench.network.hit["duplicate_frame"] > DROPS / 10

    listening(tmp_path, story)


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
