"""Stopping: files, levels, cancels that are remembered, the Knight check, and alerts that nobody sees."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tests.desks import AAPL, BROKER, Bench, SteppedClock, mid, on_bench, settled, wish
from trading_system.app.deadman import guard, opening
from trading_system.app.switch import HEARTBEAT, Switch, pull, pulled
from trading_system.core.risk import Level
from trading_system.domain.errors import BadRequest, Halted, InDoubt
from trading_system.domain.fix import Doubt, ExecType, OrdStatus, Side
from trading_system.domain.ids import InstrumentID, IntentID, OrderID
from trading_system.domain.order import Replace
from trading_system.journal.record import Alert
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults

D = Decimal
MINUTE_NS = 60 * SECOND_NS


def test_the_hardest_file_counts_and_a_missing_folder_is_no_file(tmp_path: Path) -> None:
    assert pulled(tmp_path / "nowhere") is None
    for level in (Level.REDUCE_ONLY, Level.HALT, Level.KILL):
        pull(tmp_path, level, "x" * 1000)

        assert pulled(tmp_path) is level
        assert (tmp_path / level.upper()).stat().st_mode & 0o777 == 0o600


def test_a_file_in_trading_home_stops_the_desks_of_all_its_folders(tmp_path: Path) -> None:
    folder = tmp_path / "paper"
    folder.mkdir()
    pull(tmp_path, Level.HALT, "stop")

    assert pulled(folder) is Level.HALT
    pull(folder, Level.KILL, "")
    assert pulled(folder) is Level.KILL


def test_a_file_halts_a_running_desk_and_cancels_its_entries(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            switch = Switch(desk, tmp_path)
            switch.start(signals=False)
            low = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            resting = await desk.submit(wish("a", "5", price=low))
            pull(tmp_path, Level.KILL, "the owner saw smoke")
            done = await settled(desk, resting)

            assert done.ord_status is OrdStatus.CANCELED
            assert desk.books.halts["all"].level is Level.KILL
            assert "smoke" in desk.books.halts["all"].text
            with pytest.raises(BadRequest, match="remove it first"):
                await desk.resume("*", by="owner")
            await desk.halt("all", Level.HALT, "softer")
            assert desk.books.halts["all"].level is Level.KILL
            (tmp_path / "KILL").unlink()
            await desk.resume("*", by="owner")
            await switch.aclose()
            assert (await settled(desk, await desk.submit(wish("b", "1")))).ord_status is OrdStatus.FILLED

    on_bench(tmp_path, story)


def test_a_file_that_comes_between_the_gate_and_the_socket_wins(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            Switch(desk, tmp_path)  # not started: nothing polls, the last hop looks itself
            await mid(desk)
            desk.step = lambda name: pull(tmp_path, Level.HALT, "") if name == "intent durable" else None
            order = await desk.submit(wish("a", "10"))

            assert "HALT is in the state folder" in order.text
            assert not bench.twin.trading.posts

    on_bench(tmp_path, story)


def test_a_kill_is_finished_after_a_crash_and_reaches_orders_found_later(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            low = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            resting = await desk.submit(wish("a", "5", price=low))
            bench.network.faults = Faults(lost_answer=1.0, lost_frame=1.0)
            task = asyncio.create_task(desk.submit(wish("b", "4", price=low - 1, instrument=AAPL, repeat=True)))
            await asyncio.sleep(11)
            doubtful = await task
            assert doubtful.doubt is Doubt.IN_DOUBT
            bench.network.faults = Faults(refused=1.0)
            halting = asyncio.create_task(desk.halt("all", Level.KILL, "drill"))
            await asyncio.sleep(1)
            halting.cancel()  # the process dies while it cancels
        bench.network.faults = Faults(enabled=False)
        async with bench.desk() as desk:
            for order in (resting, doubtful):
                assert (await settled(desk, order)).ord_status is OrdStatus.CANCELED
            with pytest.raises(Halted):
                await desk.submit(wish("c", "1"))

    on_bench(tmp_path, story)


def test_a_cancel_of_an_order_in_doubt_goes_out_when_the_broker_is_heard(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            low = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            bench.network.faults = Faults(late_request=1.0, lost_frame=1.0)
            task = asyncio.create_task(desk.submit(wish("a", "5", price=low)))
            await asyncio.sleep(1)
            bench.network.faults = Faults(enabled=False)
            order = await task
            assert order.doubt is Doubt.IN_DOUBT
            assert (await desk.cancel(order.cl_ord_id)).doubt is Doubt.IN_DOUBT
            done = await settled(desk, order)

            assert (done.ord_status, done.doubt) == (OrdStatus.CANCELED, Doubt.NONE)
            assert bench.twin.trading.posts[order.cl_ord_id] == 1
            assert desk.books.cancels == {}

    on_bench(tmp_path, story)


def test_a_cancel_that_nobody_answers_is_in_doubt_and_not_unsent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            low = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            order = await desk.submit(wish("a", "5", price=low))
            bench.network.faults = Faults(lost_answer=1.0)
            cancelling = asyncio.create_task(desk.cancel(order.cl_ord_id))
            await asyncio.sleep(9)
            bench.network.faults = Faults(refused=1.0)
            with pytest.raises(InDoubt):
                await cancelling
            bench.network.faults = Faults(enabled=False)

            assert (await settled(desk, order)).ord_status is OrdStatus.CANCELED

    on_bench(tmp_path, story)


def test_a_cancel_that_loses_to_a_replace_takes_the_new_order_along(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            low = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            first = await desk.submit(wish("a", "5", price=low))
            await desk.wait(lambda: desk.books.blotter.get(first.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, order_qty=D(7), intent=IntentID("b")))
            await desk.cancel(first.cl_ord_id)

            assert (await settled(desk, first)).ord_status is OrdStatus.REPLACED
            assert (await settled(desk, second)).ord_status is OrdStatus.CANCELED

    on_bench(tmp_path, story)


def test_more_at_the_broker_than_was_meant_halts_it(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            low = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            order = await desk.submit(wish("a", "5", price=low))
            report = await desk.brokers[BROKER].order_status(order.cl_ord_id)
            assert report is not None
            wrong = (msgspec.structs.replace(report, order_qty=D(50)), msgspec.structs.replace(report, order_id=OrderID("another")))
            for told in wrong:
                desk.on_report(msgspec.structs.replace(told, exec_type=ExecType.ORDER_STATUS))

                assert desk.books.halts[BROKER].rule == "KNIGHT"
                await desk.resume("*", by="owner")

    on_bench(tmp_path, story)


def test_on_a_live_desk_an_alert_that_nobody_sees_stops_new_risk(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(environment="live") as desk:
            desk.alert("critical", "smoke")
            await asyncio.sleep(200)
            assert desk.books.halts == {}
            await asyncio.sleep(200)

            assert desk.books.halts["all"].rule == "UNSEEN"
            assert desk.books.halts["all"].level is Level.REDUCE_ONLY

    on_bench(tmp_path, story, environment="live")


def test_the_watchdog_acts_once_and_leaves_what_only_closes(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        said: list[str] = []
        watching = asyncio.create_task(
            guard(tmp_path, [bench.connector()], SteppedClock(bench.clock, 365 * 86_400 * SECOND_NS), after_ns=60 * SECOND_NS, say=said.append)
        )
        await asyncio.sleep(30)
        assert said == []  # nobody runs: nothing to do
        async with bench.desk() as desk:
            price = await mid(desk)
            floor = (price * D("0.9")).quantize(D("0.01"))
            await settled(desk, await desk.submit(wish("a", "5", protect_stop_px=floor)))
            await desk.wait(lambda: len(desk.books.blotter.working()) == 1, 5 * SECOND_NS)
            spy = InstrumentID("SPY")  # Alpaca takes no buy beside a stop that sells the same
            low = (await mid(desk, spy) * D("0.9")).quantize(D("0.01"))
            entry = await desk.submit(wish("b", "3", price=low, instrument=spy))
            (tmp_path / HEARTBEAT).write_text("1")  # whose time is the system's, and long ago for the virtual clock
            await asyncio.sleep(120)

            assert desk.books.blotter.get(entry.cl_ord_id).ord_status is OrdStatus.CANCELED  # type: ignore[union-attr]
            assert [order.protects is not None for order in desk.books.blotter.working()] == [True]
            assert pulled(tmp_path) is Level.KILL
            assert len([line for line in said if "no heartbeat" in line]) == 1
            assert [line for line in said if "asked to cancel" in line] == [f"Alpaca: asked to cancel buy SPY {entry.cl_ord_id}"]
        watching.cancel()

    on_bench(tmp_path, story)


def test_a_foreign_order_is_nobodys_to_cancel(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            low = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            order = await desk.submit(wish("a", "5", price=low))
            report = await desk.brokers[BROKER].order_status(order.cl_ord_id)
            assert report is not None
            foreign = msgspec.structs.replace(report, cl_ord_id="by hand")
            sell = msgspec.structs.replace(report, side=Side.SELL)

            assert opening((report, foreign), ()) == (report,)
            assert opening((sell,), desk.accounts[BROKER].positions) == (sell,)

    on_bench(tmp_path, story)


def test_info_is_no_alert_that_waits(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            desk.alert("info", "good morning")
            desk.alert("warning", "a cloud")
            await desk.journal.flush()

            assert [alert.text for alert in desk.books.alerts.values()] == ["a cloud"]
            assert len([entry for entry in desk.journal.read() if isinstance(entry.record, Alert)]) >= 2

    on_bench(tmp_path, story)
