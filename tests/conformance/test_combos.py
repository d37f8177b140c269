"""Shares and options as one order: filled together, booked part by part, found again, and out of the way of what guards them."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from tests.conformance.between import Between, conform, order
from tests.conformance.test_options import WITH_OPTIONS, about, chain, legs_of, now, rested
from tests.conformance.test_orders import WIDE, name
from tests.desks import Bench, settled
from tests.subjects import Subject
from trading_system.app.desk import Desk
from trading_system.core.risk import Limits
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.option import Right, is_option
from trading_system.domain.order import Leg, NewOrder, Order
from trading_system.domain.ports import ValidatesOrders
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults

D = Decimal
RICH = D(1_000_000)
each_combo = pytest.mark.parametrize(
    "subject",
    [
        pytest.param(one, marks=() if one.facts.combo_legs_max else pytest.mark.skip(reason=f"{one.facts.title} takes no shares among several legs"))
        for one in WITH_OPTIONS
    ],
    ids=name,
)


async def combo(desk: Desk, subject: Subject, intent: str, *, unwind: bool = False, collar: bool = False, slack: str = "0.30") -> NewOrder:
    """Two buy-writes, or shares with a collar, or what ends them, at a price that the market gives at once, or away from it by what slack says."""
    stock = about(subject)
    calls, puts = [(await chain(desk, subject, right))[0] for right in (Right.CALL, Right.PUT)]
    legs = [(stock, Side.BUY, 100), (calls.instrument, Side.SELL, 1), *([(puts.instrument, Side.BUY, 1)] if collar else [])]
    legs = [(instrument, side.opposite if unwind else side, ratio) for instrument, side, ratio in legs]
    net = D(0)
    for instrument, side, _ in legs:
        quote = await desk.hub.fetch(subject.broker, instrument)
        net += side.sign * (quote.touch(side) or D(0))
    return NewOrder(
        broker=subject.broker,
        instrument=stock,
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.DAY,
        order_qty=D(2),
        price=net + D(slack),
        legs=tuple(Leg(instrument, side, ratio) for instrument, side, ratio in legs),
        intent=IntentID(intent),
        repeat=True,
    )


def held(desk: Desk, whole: Order) -> list[Decimal]:
    return [desk.books.ledger.position(whole.broker, leg.instrument) for leg in whole.legs]


@each_combo
@pytest.mark.parametrize("collar", [False, True], ids=["buy-write", "collar"])
def test_shares_and_options_fill_as_one_and_go_as_one(tmp_path: Path, subject: Subject, collar: bool) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            cash = desk.accounts[subject.broker].cash
            whole = await rested(desk, await desk.submit(await combo(desk, subject, "a", collar=collar)))
            legs = legs_of(desk, whole)
            await asyncio.sleep(30)
            await desk.refresh_account(subject.broker)

            assert (whole.ord_status, whole.stated_cum_qty, between.placed) == (OrdStatus.FILLED, 2, 1)
            assert held(desk, whole) == [200, -2, 2][: len(whole.legs)]
            assert {(leg.external, leg.intent, leg.cum_qty) for leg in legs} == {(False, "a", D(2)), (False, "a", D(200))}
            paid = sum((leg.side.sign * leg.cum_qty * (leg.avg_px or D(0)) * (100 if is_option(leg.instrument) else 1) for leg in legs), D(0))
            assert paid <= (whole.price or D(0)) * 200
            assert cash - desk.accounts[subject.broker].cash == pytest.approx(paid, abs=D("0.02"))
            assert desk.books.blotter.total.orders == 0
            assert (desk.books.halts, list(desk.books.alerts)) == ({}, [])
        async with bench.desk(WIDE) as desk:
            gone = await rested(desk, await desk.submit(await combo(desk, subject, "b", unwind=True, collar=collar)))
            await asyncio.sleep(30)

            assert gone.reducing
            assert held(desk, gone) == [0] * len(gone.legs)
            assert desk.books.halts == {}

    conform(tmp_path, subject, story, cash=RICH)


@each_combo
def test_a_combo_whose_answer_is_lost_is_found_with_its_legs(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            request = await combo(desk, subject, "a")
            for leg in request.legs:
                await desk.instrument(subject.broker, leg.instrument)
            await desk.fresh_account(subject.broker)
            bench.network.faults = Faults(lost_answer=1.0)
            sent = await desk.submit(request)
            bench.network.faults = Faults(enabled=False)
            done = await rested(desk, sent)
            await asyncio.sleep(60)

            assert (done.ord_status, held(desk, done), between.placed) == (OrdStatus.FILLED, [200, -2], 1)
            assert [(leg.external, leg.intent) for leg in legs_of(desk, sent)] == [(False, "a")] * 2
            assert desk.books.halts == {}

    conform(tmp_path, subject, story, cash=RICH)


@each_combo
def test_a_combo_that_rests_keeps_its_shares_reserved_through_a_restart_and_ends_whole(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            sent = await desk.submit(await combo(desk, subject, "a", slack="-3"))
            key = (subject.broker, about(subject))
            assert desk.books.blotter.reserved(*key).buy_qty == 200
            assert await desk.wait(lambda: len(legs_of(desk, sent)) == 2, 60 * SECOND_NS)
            assert (now(desk, sent.cl_ord_id).parted, desk.books.blotter.reserved(*key).buy_qty) == (True, 200)
        async with bench.desk(WIDE) as desk:
            assert desk.books.blotter.reserved(*key).buy_qty == 200
            await desk.cancel(sent.cl_ord_id)
            done = await rested(desk, now(desk, sent.cl_ord_id))

            assert [part.ord_status for part in (done, *legs_of(desk, done))] == [OrdStatus.CANCELED] * 3
            assert desk.books.blotter.total.orders == 0
            assert desk.books.blotter.reserved(*key).buy_qty == 0

    conform(tmp_path, subject, story, cash=RICH)


@each_combo
def test_a_combo_that_fills_while_the_desk_is_down_is_booked_when_it_is_back(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            sent = await desk.submit(await combo(desk, subject, "a"))
        await asyncio.sleep(120)
        async with bench.desk(WIDE) as desk:
            done = await rested(desk, now(desk, sent.cl_ord_id))
            await asyncio.sleep(60)

            assert (done.ord_status, held(desk, done)) == (OrdStatus.FILLED, [200, -2])
            assert [leg.external for leg in legs_of(desk, done)] == [False, False]
            assert desk.books.halts == {}

    conform(tmp_path, subject, story, cash=RICH)


@each_combo
def test_a_stop_goes_out_of_the_way_of_the_shares_that_a_combo_sells(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            stock, kind = about(subject), AssetClass.EQUITY
            quote = await desk.hub.fetch(subject.broker, stock)
            guarded = order(subject, kind, "shares", "200", instrument=stock, protect_stop_px=((quote.bid_px or D(0)) * D("0.9")).quantize(D(1)))
            bought = await settled(desk, await desk.submit(guarded))
            assert await desk.wait(lambda: any(one.protects == bought.cl_ord_id for one in desk.books.blotter.working()), 30 * SECOND_NS)
            done = await rested(desk, await desk.submit(await combo(desk, subject, "b", unwind=True)))
            await asyncio.sleep(30)

            assert (done.ord_status, done.reducing, held(desk, done)) == (OrdStatus.FILLED, False, [0, 2])  # its calls open
            assert desk.books.blotter.working() == ()
            assert (desk.books.halts, [alert.text for alert in desk.books.alerts.values() if alert.severity == "critical"]) == ({}, [])

    conform(tmp_path, subject, story, cash=RICH)


@each_combo
def test_what_a_combo_did_not_sell_has_its_stop_again(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            stock, kind = about(subject), AssetClass.EQUITY
            quote = await desk.hub.fetch(subject.broker, stock)
            guarded = order(subject, kind, "shares", "200", instrument=stock, protect_stop_px=((quote.bid_px or D(0)) * D("0.9")).quantize(D(1)))
            bought = await settled(desk, await desk.submit(guarded))

            def stops() -> list[Decimal]:
                return [one.leaves_qty for one in desk.books.blotter.working() if one.protects == bought.cl_ord_id]

            assert await desk.wait(lambda: stops() == [200], 30 * SECOND_NS)
            rests = await desk.submit(changed(await combo(desk, subject, "b", unwind=True, slack="-3"), order_qty=D(1)))
            assert await desk.wait(lambda: len(legs_of(desk, rests)) == 2 and stops() == [100], 30 * SECOND_NS)
            await asyncio.sleep(10)
            assert stops() == [100]  # the other hundred is the combo's to sell
            await desk.cancel(rests.cl_ord_id)
            assert await desk.wait(lambda: sum(stops()) == 200, 30 * SECOND_NS)

            assert [alert.text for alert in desk.books.alerts.values() if alert.severity == "critical"] == []

    conform(tmp_path, subject, story, cash=RICH)


@each_combo
def test_a_combo_keeps_the_limits_of_shares(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(changed(WIDE, max_position_pct=D("0.04"))) as desk:
            with pytest.raises(RiskRefused, match="MAX_POSITION_PCT"):
                await desk.submit(await combo(desk, subject, "a"))
            unwind = await combo(desk, subject, "b", unwind=True)
            with pytest.raises(RiskRefused, match="SHORT"):
                await desk.submit(changed(unwind, order_qty=D(1)))

            assert between.placed == 0

    conform(tmp_path, subject, story, cash=RICH)


@each_combo
def test_a_dry_run_has_a_combo_checked_and_placed_nowhere(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE, dry_run=True) as desk:
            tried = await desk.submit(await combo(desk, subject, "a", collar=True))

            assert (tried.ord_status, "dry run" in tried.text) == (OrdStatus.REJECTED, True)
            assert len(between.asked) == isinstance(desk.brokers[subject.broker], ValidatesOrders)
            assert all(map(subject.checks, between.asked))
            assert bench.twin.exchange.orders == {}

    conform(tmp_path, subject, story, cash=RICH)


@each_combo
def test_flatten_closes_shares_and_calls(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await rested(desk, await desk.submit(await combo(desk, subject, "a")))
            residue = await desk.flatten()

            assert (residue.positions, residue.orders, residue.problems) == ((), (), ())

    conform(tmp_path, subject, story, cash=RICH)


def test_brokers_without_combos_refuse_them_before_anything_leaves(tmp_path: Path) -> None:
    subject = next(one for one in WITH_OPTIONS if one.facts.legs_max and not one.facts.combo_legs_max)

    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(Limits(max_position_pct=D(1), option_max_premium_pct=D(1))) as desk:
            with pytest.raises(RiskRefused, match="CAPABILITY: 2 legs with shares"):
                await desk.submit(await combo(desk, subject, "a"))

            assert between.placed == 0

    conform(tmp_path, subject, story, cash=RICH)
