"""Orders that the broker links: brackets, OTO, OCO, and stops that trail the market."""

import asyncio
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from tests.conformance.between import Between, conform, order
from tests.conformance.test_orders import WIDE, each_class, name, priced
from tests.desks import Bench, settled
from tests.subjects import IBKR_WEB, SUBJECTS, Subject
from trading_system.app.desk import Desk
from trading_system.domain.errors import BadRequest, RiskRefused
from trading_system.domain.fix import Contingency, Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ZERO, plain, round_qty
from trading_system.domain.order import Attached, NewOrder, Order, Replace
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults

D = Decimal
HOUR_NS = 3_600 * SECOND_NS
WAYS = (*SUBJECTS, IBKR_WEB)
LINKED = [
    (subject, asset_class, contingency)
    for subject in WAYS
    for asset_class, contingency in product(subject.instruments, Contingency)
    if any(line.asset_class is asset_class and contingency in line.contingencies for line in subject.facts.links)
]
BRACKETS = [(subject, asset_class) for subject, asset_class, contingency in LINKED if contingency is Contingency.BRACKET]
each_bracket = pytest.mark.parametrize(("subject", "asset_class"), BRACKETS, ids=name)
TRAILING = [
    (subject, asset_class)
    for subject in WAYS
    for asset_class in subject.instruments
    if subject.facts.rule(asset_class, OrdType.TRAILING_STOP, TimeInForce.GTC, fractional=False)
]


def units(asset_class: AssetClass) -> str:
    """What is bought; of a coin so little that one trade of the market takes it whole."""
    return "5" if asset_class is not AssetClass.CRYPTO else "0.01"


def held(desk: Desk, subject: Subject, asset_class: AssetClass) -> Decimal:
    """What can be sold, in whole lots: of what was bought a fee may be gone."""
    instrument = desk.instruments[subject.broker, subject.instruments[asset_class]]
    return round_qty(desk.books.ledger.position(subject.broker, instrument.id), instrument.lot)


def but_for_fees(desk: Desk, subject: Subject, asset_class: AssetClass, qty: Decimal, of: Decimal) -> bool:
    """Whether that is all of it, but for a fee in kind and what is less than a lot."""
    lot = desk.instruments[subject.broker, subject.instruments[asset_class]].lot
    rate = subject.facts.max_fee_in_kind if asset_class.is_crypto else ZERO
    return ZERO <= of - qty <= of * rate + (2 * lot if rate else ZERO)


async def linked(
    desk: Desk, subject: Subject, asset_class: AssetClass, kind: Contingency, intent: str, qty: str | None = None, **changes: object
) -> NewOrder:
    """Exits a good way off: nothing goes off by itself. The entry buys at once."""
    profit, loss = (await priced(desk, subject, asset_class, "1.02"), await priced(desk, subject, asset_class, "0.98"))
    fields: dict[str, object] = {"time_in_force": TimeInForce.GTC, "attached": Attached(take_profit_px=profit, stop_px=loss)}
    if kind is not Contingency.OCO and subject.facts.link(asset_class, kind, OrdType.MARKET, TimeInForce.GTC) is None:
        fields |= {"ord_type": OrdType.LIMIT, "price": await priced(desk, subject, asset_class, "1.001")}
    if kind is Contingency.OTO:
        fields["attached"] = Attached(stop_px=loss)
    if kind is Contingency.OCO:
        fields |= {"side": Side.SELL, "ord_type": OrdType.LIMIT, "price": profit, "attached": Attached(stop_px=loss), "reduce_only": True}
        qty = qty or plain(held(desk, subject, asset_class) or D(units(asset_class)))
    return order(subject, asset_class, intent, qty or units(asset_class), **(fields | changes))


def exits(desk: Desk, entry: Order) -> dict[str, Order]:
    """What the broker holds for an entry: its stop and its take-profit."""
    found = [known for known in desk.books.blotter if known.parent == entry.cl_ord_id]
    return {"stop" if known.ord_type.waits else "profit": known for known in found}


async def until_live(desk: Desk, entry: Order, count: int = 2) -> dict[str, Order]:
    assert await desk.wait(lambda: [known.ord_status for known in exits(desk, entry).values()] == [OrdStatus.NEW] * count, 60 * SECOND_NS)
    return exits(desk, entry)


def known(desk: Desk, cl_ord_id: ClOrdID) -> Order:
    found = desk.books.blotter.get(cl_ord_id)
    assert found is not None
    return found


@each_class
def test_links_that_the_facts_do_not_declare_are_refused_before_sending(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            kinds = product((kind for kind in Contingency if kind is not Contingency.NONE), (OrdType.MARKET, OrdType.LIMIT), TimeInForce)
            for number, (kind, ord_type, tif) in enumerate(kinds):
                if kind is Contingency.OCO and ord_type is OrdType.MARKET:
                    continue
                price = await priced(desk, subject, asset_class, "1") if ord_type is OrdType.LIMIT and kind is not Contingency.OCO else None
                changes = {"time_in_force": tif} | ({} if kind is Contingency.OCO else {"ord_type": ord_type, "price": price})
                request = await linked(desk, subject, asset_class, kind, f"k{number}", **changes)
                if subject.facts.link(asset_class, kind, request.ord_type, tif) is None:
                    with pytest.raises(RiskRefused) as caught:
                        await desk.submit(request)
                    assert caught.value.rule == ("REDUCE_ONLY" if kind is Contingency.OCO else "CAPABILITY")

            assert between.placed == 0

    conform(tmp_path, subject, story)


@pytest.mark.parametrize(("subject", "asset_class", "kind"), LINKED, ids=name)
def test_what_the_facts_link_is_taken_and_goes_as_a_whole(tmp_path: Path, subject: Subject, asset_class: AssetClass, kind: Contingency) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            if kind is Contingency.OCO:
                await settled(desk, await desk.submit(order(subject, asset_class, "held", units(asset_class))))
            entry = await desk.submit(await linked(desk, subject, asset_class, kind, "a"))
            assert entry.order_id is not None
            if kind is not Contingency.OCO:
                await settled(desk, entry)
            assert await desk.wait(lambda: len(exits(desk, entry)) == (2 if kind is Contingency.BRACKET else 1), 60 * SECOND_NS)
            await asyncio.sleep(30)
            for exit_ in exits(desk, entry).values():
                assert (exit_.external, exit_.intent, exit_.reducing) == (False, "a", True)
            assert (desk.books.halts, list(desk.books.alerts)) == ({}, [])
            for exit_ in list(exits(desk, entry).values())[: None if subject.ends_exits_singly else 1]:
                await desk.cancel(exit_.cl_ord_id)
            for part in (*exits(desk, entry).values(), entry):
                await settled(desk, part)

            assert [part.ord_status for part in exits(desk, entry).values()] == [OrdStatus.CANCELED] * len(exits(desk, entry))
            assert but_for_fees(desk, subject, asset_class, held(desk, subject, asset_class), D(units(asset_class)))

    conform(tmp_path, subject, story)


@pytest.mark.parametrize("seed", range(4))
@each_bracket
def test_one_exit_ends_the_other_and_nothing_is_left(tmp_path: Path, subject: Subject, asset_class: AssetClass, seed: int) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            near = Attached(
                take_profit_px=await priced(desk, subject, asset_class, "1.002"), stop_px=await priced(desk, subject, asset_class, "0.998")
            )
            entry = await settled(desk, await desk.submit(await linked(desk, subject, asset_class, Contingency.BRACKET, "a", attached=near)))
            assert await desk.wait(lambda: bool(exits(desk, entry)) and all(part.settled for part in exits(desk, entry).values()), 8 * HOUR_NS)
            await asyncio.sleep(60)

            none, closed = sorted(part.cum_qty for part in exits(desk, entry).values())
            assert none == 0
            assert but_for_fees(desk, subject, asset_class, closed, entry.cum_qty)
            assert held(desk, subject, asset_class) == 0
            assert desk.books.blotter.total.orders == 0
            assert desk.books.halts == {}
            assert between.placed == 1

    conform(tmp_path, subject, story, seed=seed)


@pytest.mark.parametrize(("subject", "asset_class"), [bracket for bracket in BRACKETS if bracket[0] is not IBKR_WEB], ids=name)  # it asks first
def test_a_bracket_whose_answer_is_lost_is_found_with_its_exits(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            request = await linked(desk, subject, asset_class, Contingency.BRACKET, "a")
            bench.network.faults = Faults(lost_answer=1.0)
            sent = await desk.submit(request)
            bench.network.faults = Faults(enabled=False)
            assert sent.doubt is Doubt.IN_DOUBT or sent.order_id is not None  # the stream may have told
            await settled(desk, sent)
            parts = await until_live(desk, sent)

            assert [(part.external, part.intent) for part in parts.values()] == [(False, "a")] * 2
            assert between.placed == 1
            assert desk.books.halts == {}

    conform(tmp_path, subject, story)


@each_bracket
def test_exits_stay_ours_over_a_restart_and_flatten_takes_them_along(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            entry = await desk.submit(await linked(desk, subject, asset_class, Contingency.BRACKET, "a"))
            await settled(desk, entry)
        async with bench.desk(WIDE) as desk:
            parts = await until_live(desk, entry)
            assert [part.external for part in parts.values()] == [False, False]
            assert desk.books.halts == {}
            residue = await desk.flatten()

            assert (residue.orders, residue.problems) == ((), ())
            assert all(qty < desk.instruments[name, held].lot for name, held, qty in residue.positions)  # a fee's remainder
            assert held(desk, subject, asset_class) == 0

    conform(tmp_path, subject, story)


@each_bracket
def test_an_exit_of_ones_own_goes_before_those_the_broker_holds(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            entry = await settled(desk, await desk.submit(await linked(desk, subject, asset_class, Contingency.BRACKET, "a")))
            await until_live(desk, entry)
            part = "2" if asset_class is not AssetClass.CRYPTO else "0.004"
            sold = await settled(desk, await desk.submit(order(subject, asset_class, "b", part, Side.SELL, reduce_only=True)))
            assert sold.ord_status is OrdStatus.FILLED
            assert [part.ord_status for part in exits(desk, entry).values()] == [OrdStatus.CANCELED] * 2
            await asyncio.sleep(30)

            (stop,) = [other for other in desk.books.blotter.working() if other.protects == entry.cl_ord_id]
            assert (stop.parent, stop.ord_status, stop.stop_px) == (None, OrdStatus.NEW, entry.guard_px)
            assert but_for_fees(desk, subject, asset_class, stop.leaves_qty, entry.cum_qty - sold.cum_qty)

    conform(tmp_path, subject, story)


@pytest.mark.parametrize(("subject", "asset_class"), [bracket for bracket in BRACKETS if not bracket[0].fills_whole], ids=name)
def test_an_entry_that_fills_in_part_is_guarded_within_seconds(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            much = {AssetClass.CRYPTO: "2000", AssetClass.LISTED_FUTURE: "1000"}.get(asset_class, "20000")
            request = await linked(desk, subject, asset_class, Contingency.BRACKET, "a", much, ord_type=OrdType.LIMIT)
            quote = await desk.hub.fetch(subject.broker, request.instrument)
            request = changed(request, price=quote.ask_px)
            entry = await desk.submit(request)
            assert await desk.wait(lambda: known(desk, entry.cl_ord_id).ord_status is OrdStatus.PARTIALLY_FILLED, 10 * SECOND_NS)
            await asyncio.sleep(20)
            after = known(desk, entry.cl_ord_id)

            assert after.ord_status is OrdStatus.CANCELED
            assert 0 < after.cum_qty < D(much)
            guards = [other for other in desk.books.blotter.working() if other.protects == entry.cl_ord_id]
            held_for = entry.cl_ord_id if subject.covers_parts else None
            assert {(guard.parent, guard.ord_status, guard.stop_px) for guard in guards} == {(held_for, OrdStatus.NEW, entry.guard_px)}
            assert but_for_fees(desk, subject, asset_class, sum((guard.leaves_qty for guard in guards), ZERO), after.cum_qty)
            assert len(guards) == 1 or subject.covers_parts
            assert any("has no stop" in alert.text for alert in desk.books.alerts.values())

    conform(tmp_path, subject, story, cash=D(10_000_000))


@each_bracket
def test_an_exit_can_be_moved_and_stays_an_exit(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            entry = await settled(desk, await desk.submit(await linked(desk, subject, asset_class, Contingency.BRACKET, "a")))
            parts = await until_live(desk, entry)
            nearer = await priced(desk, subject, asset_class, "0.985")
            if not any(line.can_replace for line in subject.facts.links if Contingency.BRACKET in line.contingencies):
                with pytest.raises(BadRequest, match="changes no part of"):
                    await desk.replace(Replace(cl_ord_id=parts["stop"].cl_ord_id, stop_px=nearer, intent=IntentID("move")))
                return
            with pytest.raises(BadRequest, match="quantity cannot"):
                await desk.replace(Replace(cl_ord_id=parts["stop"].cl_ord_id, order_qty=D(3), intent=IntentID("no")))
            moved = await desk.replace(Replace(cl_ord_id=parts["stop"].cl_ord_id, stop_px=nearer, intent=IntentID("move")))
            assert await desk.wait(lambda: known(desk, moved.cl_ord_id).ord_status is OrdStatus.NEW, 60 * SECOND_NS)
            await asyncio.sleep(30)

            after = known(desk, moved.cl_ord_id)
            assert (after.stop_px, after.parent, after.protects, after.reducing) == (nearer, entry.cl_ord_id, entry.cl_ord_id, True)
            assert known(desk, parts["stop"].cl_ord_id).ord_status is OrdStatus.REPLACED
            assert (desk.books.halts, list(desk.books.alerts)) == ({}, [])
            await desk.cancel(after.cl_ord_id)
            await settled(desk, known(desk, parts["profit"].cl_ord_id))

    conform(tmp_path, subject, story)


@pytest.mark.parametrize(("subject", "asset_class"), TRAILING, ids=name)
def test_a_stop_that_trails_the_market_goes_off_in_the_end(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(order(subject, asset_class, "held", units(asset_class))))
            qty = plain(held(desk, subject, asset_class))
            far = {"trail_px": D("0.003")} if subject.trails_trades else {"trail_pct": D("0.003")}
            trail = {"ord_type": OrdType.TRAILING_STOP, "time_in_force": TimeInForce.GTC} | far
            sent = await desk.submit(order(subject, asset_class, "a", qty, Side.SELL, reduce_only=True, **trail))
            assert sent.order_id is not None
            if subject.tells_trail:
                assert await desk.wait(lambda: known(desk, sent.cl_ord_id).stop_px is not None, 60 * SECOND_NS)
            assert await desk.wait(lambda: known(desk, sent.cl_ord_id).settled, 8 * HOUR_NS)

            assert known(desk, sent.cl_ord_id).ord_status is OrdStatus.FILLED
            assert held(desk, subject, asset_class) == 0

    conform(tmp_path, subject, story)
