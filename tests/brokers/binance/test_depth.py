"""Books over the twin: what is shown is the twin's own book of that moment, whatever the line loses."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from tests.brokers.binance.test_connector import ETH, SOL, told
from tests.desks import Bench
from trading_system.brokers.binance import book as module
from trading_system.brokers.binance import connector as connector_module
from trading_system.brokers.binance import facts
from trading_system.brokers.binance.book import Books, BookSession, Diff, Snapshot, decode_snapshot
from trading_system.core.depth import Verdict
from trading_system.domain.errors import BadRequest, ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import BookSnapshot
from trading_system.domain.ports import Link, StreamState
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.market import TICK_NS
from trading_system.sim.network import Faults

D = Decimal
LEVELS = 5
Seen = list[BookSnapshot | StreamState]


async def watched(bench: Bench, seconds: int, names: tuple[InstrumentID, ...] = (ETH,), levels: int = LEVELS, faults: Faults | None = None) -> Seen:
    """faults: once the pairs are known."""
    seen: Seen = []
    connector = bench.connector()
    await connector.instruments(names)
    bench.network.faults = faults or bench.network.faults

    async def read() -> None:
        async for event in connector.subscribe_depth(names, levels):
            seen.append(event)

    reading = asyncio.create_task(read())
    await asyncio.sleep(seconds)
    if reading.done():
        reading.result()
    reading.cancel()
    return seen


def true_book(bench: Bench, shown: BookSnapshot, levels: int = LEVELS) -> bool:
    """Whether the twin's book was this one at that moment. A snapshot says no time of its own: it is of any since it was asked for."""
    first = shown.transact_ns // TICK_NS
    last = first if shown.transact_ns % TICK_NS == 0 else shown.recv_ns // TICK_NS
    for tick in range(first, last + 1):
        bids, asks = bench.twin.data.levels(shown.instrument.replace("/", ""), tick * TICK_NS)
        if shown.bids == _plain(bids[:levels]) and shown.asks == _plain(asks[:levels]):
            return True
    return False


def _plain(rows: list[tuple[str, str]]) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((D(price), D(qty)) for price, qty in rows)


def counted(bench: Bench) -> Callable[[], int]:
    """How often a snapshot was asked for."""
    asked: list[object] = []
    whole = bench.twin.data.depth
    bench.twin._calls = {**bench.twin._calls, "depth": lambda params, now_ns: (asked.append(params), whole(params, now_ns))[1]}
    return lambda: len(asked)


def test_a_quiet_line_needs_one_snapshot_a_pair(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        count = counted(bench)
        seen = await watched(bench, 20, (ETH, SOL))
        shown = [event for event in seen if isinstance(event, BookSnapshot)]

        assert [event.link for event in seen if isinstance(event, StreamState)] == [Link.LIVE]
        assert all(true_book(bench, event) for event in shown)
        assert {event.instrument for event in shown} == {ETH, SOL}
        assert len(shown) > 2 * 19 * SECOND_NS // TICK_NS
        assert count() == 2
        times = [event.transact_ns for event in shown if event.instrument == ETH]
        assert times == sorted(times)

    told(tmp_path, story)


@pytest.mark.parametrize("seed", range(3))
def test_a_lost_message_is_a_gap_and_then_a_snapshot(tmp_path: Path, seed: int) -> None:
    async def story(bench: Bench) -> None:
        count = counted(bench)
        bench.network.rng.seed(seed)
        faults = Faults(lost_frame=0.05, duplicate_frame=0.05, disconnect=0.003, busy=0.1, lost_answer=0.1)
        seen = await watched(bench, 240, faults=faults)
        shown = [event for event in seen if isinstance(event, BookSnapshot)]
        wrong = [event for event in shown if not true_book(bench, event)]

        assert wrong == []
        assert len(shown) > 300
        assert bench.network.hit["lost_frame"] > 10
        assert count() > 10
        gaps = [number for number, event in enumerate(seen) if isinstance(event, StreamState) and event.link is Link.GAP]
        assert len(gaps) > 5
        assert any("messages are missing from the book of ETH/USDT" in event.text for event in seen if isinstance(event, StreamState))

    told(tmp_path, story)


def test_no_book_is_shown_between_a_gap_and_its_snapshot(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        reading = asyncio.create_task(watched(bench, 60))
        await asyncio.sleep(10)
        bench.network.faults = Faults(lost_frame=1.0)
        await asyncio.sleep(1)
        bench.network.faults = Faults(busy=1.0)
        await asyncio.sleep(20)
        bench.network.faults = Faults(enabled=False)
        seen = await reading
        (gap,) = [number for number, event in enumerate(seen) if isinstance(event, StreamState) and event.link is Link.GAP]
        before, after = seen[gap - 1], seen[gap + 1]

        assert isinstance(before, BookSnapshot)
        assert isinstance(after, BookSnapshot)
        assert after.recv_ns - before.recv_ns > 20 * SECOND_NS
        assert true_book(bench, after)

    told(tmp_path, story)


def test_where_the_market_leaves_the_snapshot_another_is_read_and_no_gap_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (module, connector_module):
        monkeypatch.setattr(place, "SNAPSHOT_LEVELS", 5)

    async def story(bench: Bench) -> None:
        count = counted(bench)
        seen = await watched(bench, 120, levels=4)
        shown = [event for event in seen if isinstance(event, BookSnapshot)]

        assert all(true_book(bench, event, 4) for event in shown)
        assert len(shown) > 100
        assert count() > 5
        assert [event.link for event in seen if isinstance(event, StreamState)] == [Link.LIVE]

    told(tmp_path, story)


def test_what_cannot_be_a_book_is_refused(tmp_path: Path) -> None:
    session = BookSession("ws://x", ("ETHUSDT",))
    with pytest.raises(ProtocolError, match="cannot be read"):
        decode_snapshot(b'{"lastUpdateId":1,"bids":[["x","1"]],"asks":[]}')
    with pytest.raises(ProtocolError, match="nobody asked for"):
        session.on_frame(b'{"stream":"a@depth@100ms","data":{"s":"BTCUSDT","E":1,"U":1,"u":2,"b":[],"a":[]}}', 1)
    with pytest.raises(ProtocolError, match="cannot be read"):
        session.on_frame(b'{"stream":"a@depth@100ms","data":{"s":"ETHUSDT","E":1,"U":1,"u":2,"b":[["1"]],"a":[]}}', 1)

    async def story(bench: Bench) -> None:
        with pytest.raises(BadRequest, match="no NOBODY"):
            await anext(bench.connector().subscribe_depth((InstrumentID("NOBODY"),), 5))

    told(tmp_path, story)


def test_the_published_rules_hold_one_by_one() -> None:
    """The first change after a snapshot may begin before its end; older ones do no harm; later ones follow without a hole."""
    books = Books({"ETHUSDT": ETH}, 2)
    books.snapshot("ETHUSDT", Snapshot(10, [(99.0, 1.0)], [(101.0, 2.0)]), 7)

    def change(first: int, last: int, bid: float = 99.5) -> Verdict:
        return books.change(Diff(symbol="ETHUSDT", event_time=3, first_id=first, last_id=last, bids=[(bid, 1.0)], asks=[]))

    assert change(8, 10, 100.0) is Verdict.OLD
    assert change(9, 12) is Verdict.APPLIED
    best = books.best("ETHUSDT", 9)
    assert best is not None
    assert (best.bids, best.asks) == (((D("99.5"), D("1.0")), (D("99.0"), D("1.0"))), ((D("101.0"), D("2.0")),))
    assert (best.transact_ns, best.recv_ns) == (3_000_000, 9)
    assert change(14, 15) is Verdict.GAP
    assert books.best("ETHUSDT", 9) is None
    assert dict(facts.DEPTH)[module.SNAPSHOT_LEVELS] == facts.DEPTH_SNAPSHOT
