"""Options: a chain whose prices are what one trades at, several legs as one order, and what covers what."""

import asyncio
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as changed

from tests.conformance.between import Between, conform, order
from tests.conformance.test_orders import WIDE, name
from tests.desks import Bench, settled
from tests.subjects import IBKR_WEB, SUBJECTS, Subject
from trading_system.app.desk import Desk
from trading_system.app.verbs import VERBS
from trading_system.core.risk import Limits
from trading_system.domain.errors import BadRequest, RiskRefused
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.option import OptionSnapshot, Right, option_name, parse_option, underlying_of
from trading_system.domain.order import Leg, NewOrder, Order
from trading_system.domain.ports import OptionData
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults

D = Decimal
WITH_OPTIONS = [subject for subject in SUBJECTS if any(asset_class.is_option for asset_class in subject.instruments)]
each_chain = pytest.mark.parametrize("subject", WITH_OPTIONS, ids=name)
MULTILEG = [subject for subject in (*WITH_OPTIONS, IBKR_WEB) if subject.facts.legs_max]
each_multileg = pytest.mark.parametrize("subject", MULTILEG, ids=name)
TELLING = [subject for subject in WITH_OPTIONS if subject.tells_settlements]
each_told = pytest.mark.parametrize("subject", TELLING, ids=name)
each_assigned = pytest.mark.parametrize("subject", [subject for subject in TELLING if subject.facts.legs_max], ids=name)


def kind_of(subject: Subject) -> AssetClass:
    return next(asset_class for asset_class in subject.instruments if asset_class.is_option)


def about(subject: Subject) -> InstrumentID:
    """What its options are on: a stock, or a coin."""
    return underlying_of(subject.instruments[kind_of(subject)])


async def chain(desk: Desk, subject: Subject, right: Right = Right.CALL, place: int = -3) -> list[OptionSnapshot]:
    """The options of one kind of a day some weeks off, from the strike at the money upwards."""
    source, stock = desk.brokers[subject.broker], about(subject)
    mid = (await desk.hub.fetch(subject.broker, stock)).mid
    assert mid is not None
    if not isinstance(source, OptionData):
        return await named(desk, subject, right, mid)
    days = await source.expiries(stock)
    assert list(days) == sorted(days)
    lines = await source.chain(stock, days[place], right)
    return [line for line in lines if line.contract.strike >= mid]


async def named(desk: Desk, subject: Subject, right: Right, mid: Decimal) -> list[OptionSnapshot]:
    """The same without a chain: the first two that can be named, each with its price."""
    example, lines = parse_option(subject.instruments[kind_of(subject)]), list[OptionSnapshot]()
    for step in range(1, 20):
        strike = (mid // 5 + step) * 5
        contract = changed(example, strike=strike, right=right)
        instrument = option_name(contract)
        with suppress(BadRequest):
            quote = await desk.hub.fetch(subject.broker, instrument)
            lines.append(OptionSnapshot(instrument=instrument, contract=contract, quote=quote, implied_volatility=None, greeks=None))
        if len(lines) == 2:
            return lines
    raise AssertionError(f"{subject.name} has no two options above {mid}")


async def spread(desk: Desk, subject: Subject, intent: str, *, sell: bool = False, right: Right = Right.CALL) -> NewOrder:
    """Two each of the first two strikes above the money, bought or sold, at a price that the market gives at once."""
    low, high = (await chain(desk, subject, right))[:2]
    sides = (Side.SELL, Side.BUY) if sell else (Side.BUY, Side.SELL)
    assert low.quote is not None
    assert high.quote is not None
    asked = (low.quote.touch(sides[0]) or D(0), high.quote.touch(sides[1]) or D(0))
    net = sum((side.sign * price for side, price in zip(sides, asked, strict=True)), D(0))
    return NewOrder(
        broker=subject.broker,
        instrument=about(subject),
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.DAY,
        order_qty=D(2),
        price=net + D("0.05"),
        legs=(Leg(low.instrument, sides[0], 1), Leg(high.instrument, sides[1], 1)),
        intent=IntentID(intent),
        repeat=True,
    )


def legs_of(desk: Desk, whole: Order) -> list[Order]:
    return [known for known in desk.books.blotter if known.parent == whole.cl_ord_id]


def now(desk: Desk, cl_ord_id: ClOrdID) -> Order:
    found = desk.books.blotter.get(cl_ord_id)
    assert found is not None
    return found


async def rested(desk: Desk, whole: Order) -> Order:
    done = await settled(desk, whole)
    assert await desk.wait(lambda: len(legs_of(desk, whole)) == len(whole.legs) and all(leg.settled for leg in legs_of(desk, whole)), 60 * SECOND_NS)
    return done


@each_chain
def test_the_strikes_of_a_day_are_those_of_its_chain(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            asked = {"instrument": about(subject), "broker": subject.broker}
            listed: Any = await VERBS["strikes"](desk, asked)
            lines: Any = await VERBS["chain"](desk, asked | {"expiry": listed["expiry"]})

            assert (listed["expiry"], listed["expiries"]) == (listed["expiries"][0], lines["expiries"])
            assert listed["strikes"] == list(dict.fromkeys(line["strike"] for line in lines["options"]))

    conform(tmp_path, subject, story)


@each_chain
def test_a_chain_has_the_prices_that_one_trades_at(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            lines = await chain(desk, subject)
            assert [line.contract.strike for line in lines] == sorted({line.contract.strike for line in lines})
            at_money = lines[0]
            assert at_money.quote is not None
            assert at_money.quote.ask_px is not None
            assert at_money.greeks is not None
            assert D("0.3") < at_money.greeks.delta < D("0.7")
            held = desk.accounts[subject.broker].cash
            request = order(subject, kind_of(subject), "a", "1", instrument=at_money.instrument, ord_type=OrdType.LIMIT, price=at_money.quote.ask_px)
            done = await settled(desk, await desk.submit(request))
            await desk.refresh_account(subject.broker)

            assert done.ord_status is OrdStatus.FILLED
            assert done.avg_px is not None
            assert at_money.quote.bid_px <= done.avg_px <= at_money.quote.ask_px  # type: ignore[operator]
            instrument = await desk.instrument(subject.broker, at_money.instrument)
            assert instrument.contract == at_money.contract
            fees = sum((fill.fee for fill in done.fills), D(0))
            assert held - desk.accounts[subject.broker].cash == done.avg_px * instrument.multiplier + fees
            with pytest.raises(BadRequest, match="no option"):
                await desk.instrument(subject.broker, option_name(changed(at_money.contract, expiry=date(2026, 1, 1))))

    conform(tmp_path, subject, story)


@each_multileg
def test_several_legs_fill_as_one_and_are_booked_leg_by_leg(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            whole = await rested(desk, await desk.submit(await spread(desk, subject, "a")))
            legs = legs_of(desk, whole)
            await asyncio.sleep(30)

            assert (whole.ord_status, whole.stated_cum_qty, between.placed) == (OrdStatus.FILLED, 2, 1)
            assert [(leg.external, leg.intent, leg.cum_qty) for leg in legs] == [(False, "a", D(2))] * 2
            assert whole.price is not None
            assert sum((leg.side.sign * (leg.avg_px or D(0)) for leg in legs), D(0)) <= whole.price
            held = [desk.books.ledger.position(subject.broker, leg.instrument) for leg in whole.legs]
            assert held == [2, -2]
            assert desk.books.blotter.total.orders == 0
            assert (desk.books.halts, list(desk.books.alerts)) == ({}, [])
        async with bench.desk(WIDE) as desk:
            closed = await rested(desk, await desk.submit(await spread(desk, subject, "b", sell=True)))

            assert closed.reducing
            assert [desk.books.ledger.position(subject.broker, leg.instrument) for leg in whole.legs] == [0, 0]
            assert desk.books.halts == {}

    conform(tmp_path, subject, story)


@each_multileg
def test_a_multileg_order_whose_answer_is_lost_is_found_with_its_legs(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            request = await spread(desk, subject, "a")
            await desk.instrument(subject.broker, request.instrument)
            for leg in request.legs:
                await desk.instrument(subject.broker, leg.instrument)
                await desk.hub.fetch(subject.broker, leg.instrument)
            bench.network.faults = Faults(lost_answer=1.0)
            sent = await desk.submit(request)
            bench.network.faults = Faults(enabled=False)
            await rested(desk, sent)
            await asyncio.sleep(60)

            assert [(leg.external, leg.intent) for leg in legs_of(desk, sent)] == [(False, "a")] * 2
            assert between.placed == 1
            assert desk.books.halts == {}

    conform(tmp_path, subject, story)


@each_multileg
def test_flatten_closes_what_is_short_before_what_covers_it(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await rested(desk, await desk.submit(await spread(desk, subject, "a")))
            residue = await desk.flatten()

            assert (residue.positions, residue.orders, residue.problems) == ((), (), ())

    conform(tmp_path, subject, story)


@each_chain
def test_what_nothing_covers_is_refused_before_sending_and_shares_cover_a_call(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            line = (await chain(desk, subject))[0]
            assert line.quote is not None
            sell = order(subject, kind_of(subject), "a", "1", Side.SELL, instrument=line.instrument, ord_type=OrdType.LIMIT, price=line.quote.bid_px)
            with pytest.raises(RiskRefused, match="UNCOVERED"):
                await desk.submit(sell)
            assert between.placed == 0
            enough = "100" if kind_of(subject) is AssetClass.OPTION else "1.01"  # a fee may come out of coins
            await settled(desk, await desk.submit(order(subject, kind_of(subject), "shares", enough, instrument=about(subject))))
            done = await settled(desk, await desk.submit(sell))
            await asyncio.sleep(30)

            assert done.ord_status is OrdStatus.FILLED
            assert desk.books.halts == {}
            with pytest.raises(RiskRefused, match="UNCOVERED"):
                await desk.submit(
                    order(subject, kind_of(subject), "b", "1", Side.SELL, instrument=line.instrument, ord_type=OrdType.LIMIT, price=sell.price)
                )

    conform(tmp_path, subject, story, cash=D(1_000_000))


@each_multileg
def test_a_spreads_risk_counts_once_it_is_held(tmp_path: Path, subject: Subject) -> None:
    """What two legs put at risk together is what the gate counts, not the strike of the put that was sold."""

    async def story(bench: Bench, between: Between) -> None:
        tight = Limits(max_leverage=D("0.2"), option_max_premium_pct=D(1), max_spread_pct=D(1), max_concurrent_positions=1)
        async with bench.desk(tight) as desk:
            await rested(desk, await desk.submit(await spread(desk, subject, "a", right=Right.PUT)))
            again = await rested(desk, await desk.submit(await spread(desk, subject, "b", right=Right.PUT)))

            assert again.ord_status is OrdStatus.FILLED

    conform(tmp_path, subject, story)


@each_multileg
def test_a_multileg_order_that_rests_is_cancelled_with_its_legs(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            request = changed(await spread(desk, subject, "a"), price=D("0.01"))
            whole = await desk.submit(request)
            await desk.cancel(whole.cl_ord_id)
            done = await rested(desk, whole)

            assert [part.ord_status for part in (done, *legs_of(desk, whole))] == [OrdStatus.CANCELED] * 3
            assert desk.books.blotter.total.orders == 0

    conform(tmp_path, subject, story)


@each_assigned
def test_what_is_assigned_is_booked_told_and_halts_nothing(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            request = await spread(desk, subject, "a", right=Right.PUT)
            short, stock = request.legs[1].instrument, request.instrument
            await rested(desk, await desk.submit(request))
            bench.twin.assign(str(short), D(1))
            assert await desk.wait(lambda: desk.books.ledger.position(subject.broker, stock) == 100, 600 * SECOND_NS)
            await asyncio.sleep(120)

            assert desk.books.ledger.position(subject.broker, short) == -1
            assert desk.books.halts == {}
            assert any("settlement" in alert.text for alert in desk.books.alerts.values())

    conform(tmp_path, subject, story, cash=D(1_000_000))


@each_told
def test_what_ends_is_settled_while_nobody_looks(tmp_path: Path, subject: Subject) -> None:
    """The desk is down when its options end: what it then finds is booked, and explains itself."""

    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            first = (await chain(desk, subject, place=0))[0]
            deep = (await chain(desk, subject, Right.PUT, place=0))[6]
            bought = {}
            for intent, line in (("out", first), ("in", deep)):
                assert line.quote is not None
                request = order(subject, kind_of(subject), intent, "1", instrument=line.instrument, ord_type=OrdType.LIMIT, price=line.quote.ask_px)
                bought[line.instrument] = await settled(desk, await desk.submit(request))
            assert [one.ord_status for one in bought.values()] == [OrdStatus.FILLED] * 2
            stock = about(subject)
        await asyncio.sleep(6 * 86_400)
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(120)
            there = {position.instrument: position.qty for position in desk.accounts[subject.broker].positions}

            assert {instrument: desk.books.ledger.position(subject.broker, instrument) for instrument in there} == there
            assert set(there) <= {stock}
            money = bench.twin.exchange.money
            assert abs(desk.books.ledger.cash(subject.broker, money) - bench.twin.exchange.cash) <= D("0.01")
            assert [desk.books.ledger.position(subject.broker, instrument) for instrument in bought] == [0, 0]
            assert desk.books.halts == {}
            assert desk.ready[subject.broker]

    conform(tmp_path, subject, story, cash=D(1_000_000))
