"""Streams that drop, lose and go mute; clocks, budgets, and what others do at the broker."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conformance.between import Between, booked, conform, order
from tests.conformance.test_orders import WIDE, each_broker, each_class, gtc_or_day, priced, shaped
from tests.desks import Bench, SteppedClock, settled
from tests.subjects import Subject
from trading_system.app.desk import Desk
from trading_system.domain.errors import RateLimited, Rejected, RiskRefused, Unavailable
from trading_system.domain.fix import Doubt, OrdStatus, OrdType
from trading_system.domain.ids import ClOrdID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import NewOrder, Order
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults

D = Decimal


@each_class
def test_what_fills_while_the_stream_is_down_is_booked_before_new_entries(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            ask = await priced(desk, subject, asset_class, "1.02")
            limit = {"ord_type": OrdType.LIMIT, "price": ask, "time_in_force": gtc_or_day(subject, asset_class)}
            qty = "1" if asset_class is not AssetClass.CRYPTO else "0.01"
            bench.network.faults = Faults(refused=1.0) if subject.one_line else Faults(lost_answer=1.0)  # nothing is heard, by stream or by answer
            task = asyncio.create_task(desk.submit(order(subject, asset_class, "a", qty, **limit)))
            await asyncio.sleep(0.002)
            bench.network.drop_all()
            await asyncio.sleep(5)
            assert not desk.ready[subject.broker]
            with pytest.raises((RiskRefused, Unavailable)):
                await desk.submit(order(subject, asset_class, "b", qty, **limit))
            bench.network.faults = Faults(enabled=False)
            sent = await task
            done = await settled(desk, sent)

            assert done.cum_qty == D(qty)
            assert between.placed == 1
            assert await desk.wait(lambda: desk.ready[subject.broker], 120 * SECOND_NS)

    conform(tmp_path, subject, story)


@each_class
def test_a_fill_lost_under_a_healthy_stream_is_found_within_a_minute(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await priced(desk, subject, asset_class, "1")
            bench.network.faults = Faults(lost_frame=1.0)
            sent = await desk.submit(order(subject, asset_class, "a", "1" if asset_class is not AssetClass.CRYPTO else "0.01"))
            if subject.one_line:
                bench.network.faults = Faults(enabled=False)  # nothing was heard of it, and now it can be asked about
            assert await desk.wait(lambda: desk.books.blotter.get(sent.cl_ord_id).settled, 60 * SECOND_NS)  # type: ignore[union-attr]

            assert desk.books.blotter.get(sent.cl_ord_id).ord_status is OrdStatus.FILLED  # type: ignore[union-attr]

    conform(tmp_path, subject, story)


async def when_ready(desk: Desk, request: NewOrder) -> Order:
    """Sent in a moment in which the stream lives: it may drop between two looks."""
    for _ in range(50):
        await desk.wait(lambda: desk.ready[request.broker], 300 * SECOND_NS)
        try:
            return await desk.submit(request)
        except RiskRefused as error:
            if error.rule != "READY":
                raise
        except Unavailable:
            pass  # nothing was sent: a price could not be asked for
    raise AssertionError("never ready for long enough")


@each_broker
def test_every_frame_twice_and_a_thousand_drops_change_nothing(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        asset_class = next(iter(subject.instruments))
        async with bench.desk(WIDE) as desk:
            drops = 0.02 if subject.one_line else 0.2  # where a login is many frames, each may be the last
            bench.network.faults = Faults(duplicate_frame=1.0, disconnect=drops)
            for number in range(5):
                qty = f"{number + 1}" if asset_class is not AssetClass.CRYPTO else f"0.0{number + 1}"
                await settled(desk, await when_ready(desk, order(subject, asset_class, f"k{number}", qty)))
            bench.network.faults = Faults(enabled=False)
            await asyncio.sleep(60)

            assert booked(bench, [fill for order in desk.books.blotter for fill in order.fills])
            assert desk.books.halts == {}

    conform(tmp_path, subject, story)


@each_broker
def test_what_is_done_by_hand_at_the_broker_is_adopted(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        asset_class = next(iter(subject.instruments))
        async with bench.desk(WIDE) as desk:
            other = bench.beside()
            await other.connect()
            sent = await desk.submit(await shaped(desk, subject, asset_class, OrdType.LIMIT, gtc_or_day(subject, asset_class)))
            approved = approved_like(desk, sent)
            await other.submit(approved)
            assert await desk.wait(lambda: any(order.external for order in desk.books.blotter.working()), 60 * SECOND_NS)
            external = next(order for order in desk.books.blotter.working() if order.external)

            assert external.order_qty == sent.order_qty
            await desk.cancel_all()
            await settled(desk, sent)
            assert [order.cl_ord_id for order in desk.books.blotter.working()] == [external.cl_ord_id]
            if not subject.cancels_others:
                with pytest.raises(Rejected, match="by client 2"):
                    await desk.cancel(external.cl_ord_id)
                return
            assert (await settled(desk, await desk.cancel(external.cl_ord_id))).ord_status is OrdStatus.CANCELED  # asked for by name

    conform(tmp_path, subject, story)


def approved_like(desk, sent):  # type: ignore[no-untyped-def]
    from msgspec.structs import replace as changed

    from tests.conformance.test_orders import approved_of

    return changed(approved_of(desk, sent), cl_ord_id=ClOrdID("by-hand-1"))


@each_broker
def test_the_budget_is_kept_and_a_spent_one_refuses_before_sending(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        connector = bench.connector()
        await connector.connect()
        outcomes = await asyncio.gather(
            *(connector.order_status(ClOrdID(f"q1{'a' * 15}{letter}")) for letter in "abcdefgh" * 8), return_exceptions=True
        )

        assert {type(outcome) for outcome in outcomes} <= {type(None), RateLimited, Unavailable}
        assert not subject.lists_questions or any(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert between.refused <= 16  # some come back before the first headers have taught it; nobody storms on
        await asyncio.sleep(61)
        assert await connector.order_status(ClOrdID("q1aaaaaaaaaaaaaaaa")) is None

    conform(tmp_path, subject, story, requests_per_minute=20)


@each_broker
def test_an_order_does_not_wait_for_the_budget_behind_the_last_look_at_the_halts(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        asset_class = next(iter(subject.instruments))
        async with bench.desk(WIDE) as desk:
            await priced(desk, subject, asset_class, "1")
            await subject.spends(desk.brokers[subject.broker])
            started_ns = bench.clock.monotonic_ns()
            sent = await desk.submit(order(subject, asset_class, "a", "1" if asset_class is not AssetClass.CRYPTO else "0.01"))

            assert (sent.ord_status, sent.doubt) == (OrdStatus.REJECTED, Doubt.NONE)
            assert "budget" in sent.text
            assert between.placed == 0
            assert bench.clock.monotonic_ns() - started_ns < SECOND_NS

    conform(tmp_path, subject, story, requests_per_minute=40)


@each_broker
def test_no_entry_on_quotes_that_seem_to_come_from_another_time(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        asset_class = next(iter(subject.instruments))
        async with bench.desk(WIDE) as desk:
            for off_s in (-120, 120):
                desk.clock = SteppedClock(bench.clock, off_s * SECOND_NS)
                with pytest.raises(RiskRefused) as caught:
                    await desk.submit(order(subject, asset_class, f"k{off_s}", "1"))
                assert caught.value.rule in ("QUOTE_AGE", "READY")  # a clock that jumps makes the desk look at everything anew
            desk.clock = bench.clock
            assert between.placed == 0

    conform(tmp_path, subject, story)


@each_broker
def test_an_order_nobody_heard_of_is_absent_only_by_the_whole_rule(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        asset_class = next(iter(subject.instruments))
        async with bench.desk(WIDE) as desk:
            await priced(desk, subject, asset_class, "1")
            bench.network.faults = Faults(lost_request=1.0, lost_send=1.0)
            started_ns = bench.clock.monotonic_ns()
            task = asyncio.create_task(desk.submit(order(subject, asset_class, "a", "1" if asset_class is not AssetClass.CRYPTO else "0.01")))
            await asyncio.sleep(5)
            bench.network.faults = Faults(enabled=False)
            sent = await task
            horizon_ns = subject.facts.late_accept_ns + subject.facts.visibility_lag_ns
            assert await desk.wait(lambda: desk.books.blotter.get(sent.cl_ord_id).doubt is Doubt.PROVEN_ABSENT, horizon_ns + 300 * SECOND_NS)  # type: ignore[union-attr]

            assert bench.clock.monotonic_ns() - started_ns >= horizon_ns
            assert between.placed == 0

    conform(tmp_path, subject, story)
