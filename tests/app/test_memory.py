"""Memory over months: settled orders leave it, and an intent is one order all the same."""

import asyncio
from decimal import Decimal
from pathlib import Path

import apsw
import pytest

from tests.desks import BROKER, Bench, mid, on_bench, settled, wish
from trading_system.app import recover
from trading_system.domain.errors import BadRequest
from trading_system.domain.fix import OrdStatus, Side
from trading_system.journal import replay as replay_module
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal
from trading_system.sim.clock import SECOND_NS

D = Decimal


@pytest.fixture(autouse=True)
def a_week_is_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "RETIRE_NS", 60 * SECOND_NS)
    monkeypatch.setattr(recover, "WATERMARK_IDLE_NS", 60 * SECOND_NS)
    monkeypatch.setattr(recover, "BEHIND_NS", 5 * SECOND_NS)
    monkeypatch.setattr(recover, "OVERLAP_NS", 5 * SECOND_NS)  # as far below as it is below a week


def test_what_is_long_settled_leaves_memory_and_its_intent_stays_taken(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            done = await settled(desk, await desk.submit(wish("a", "10")))
            low = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            resting = await desk.submit(wish("b", "1", price=low))
            await asyncio.sleep(120)
            newer = await settled(desk, await desk.submit(wish("newer", "2")))  # what moves the watermark
            assert await desk.wait(lambda: desk.books.blotter.get(done.cl_ord_id) is None, 600 * SECOND_NS)
            assert {order.cl_ord_id for order in desk.books.blotter} == {resting.cl_ord_id, newer.cl_ord_id}
            assert await desk.submit(wish("a", "10")) == done
            with pytest.raises(BadRequest, match="already became buy"):
                await desk.submit(wish("a", "10", Side.SELL))
            await desk.journal.flush()
            rebuilt = replay(entry.record for entry in desk.journal.read())

            assert {order.cl_ord_id for order in rebuilt.blotter} == {resting.cl_ord_id, newer.cl_ord_id}
            assert (rebuilt.retired, rebuilt.ledger.position(BROKER, done.instrument)) == (1, D(12))
        async with bench.desk() as desk:
            await asyncio.sleep(60)
            assert (await desk.submit(wish("a", "10"))).ord_status is OrdStatus.FILLED
            assert bench.twin.trading.posts[done.cl_ord_id] == 1
            assert desk.books.halts == {}

    on_bench(tmp_path, story)


def test_the_entry_of_a_guarded_position_stays(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            floor = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            entry = await settled(desk, await desk.submit(wish("a", "10", protect_stop_px=floor)))
            await asyncio.sleep(400)
            assert desk.books.blotter.get(entry.cl_ord_id) is not None
            await desk.flatten()
            await asyncio.sleep(120)
            newer = await settled(desk, await desk.submit(wish("newer", "2")))
            assert await desk.wait(lambda: [order.cl_ord_id for order in desk.books.blotter] == [newer.cl_ord_id], 600 * SECOND_NS)
            assert (desk.books.protected, desk.books.stops) == ({}, {})

    on_bench(tmp_path, story)


def test_a_journal_of_the_first_version_is_brought_forward(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            done = await settled(desk, await desk.submit(wish("a", "10")))
        path = bench.folder / "journal.sqlite"
        old = apsw.Connection(str(path))
        old.execute("DROP INDEX by_order")
        old.execute("PRAGMA user_version = 1")
        old.close()
        journal = Journal(path)
        records = await journal.about(done.cl_ord_id)

        assert replay(records).blotter.get(done.cl_ord_id) == done
        assert await journal.about("q1aaaaaaaaaaaaaaaa") == []
        await journal.aclose()

    on_bench(tmp_path, story)
