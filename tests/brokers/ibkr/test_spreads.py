"""Several options as one order: what it fills is told as a sum and leg by leg, and legs have names that must be asked for."""

import asyncio
import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from ib_async import Contract as IbContract
from ib_async import Execution
from msgspec.structs import replace

from tests.brokers.ibkr.tws_client import Tws, errors
from tests.conformance.between import Between, conform, order
from tests.conformance.test_options import legs_of, now, rested, spread
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, on_bench, settled
from tests.subjects import IBKR, IBKR_WEB, Subject
from trading_system.brokers.ibkr.twin.forms import Form, Wanted
from trading_system.brokers.ibkr.tws.orders import Orders
from trading_system.brokers.ibkr.web.codec import decode_legs
from trading_system.brokers.ibkr.web.errors import refusal
from trading_system.brokers.ibkr.wire import Asks, Value
from trading_system.domain.errors import ProtocolError, Rejected
from trading_system.domain.fix import OrdStatus, Side
from trading_system.domain.ids import InstrumentID, OrderID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.option import Right
from trading_system.sim.clock import SECOND_NS

D = Decimal
each_way = pytest.mark.parametrize("subject", [IBKR, IBKR_WEB], ids=lambda subject: subject.name)


@each_way
def test_the_sum_of_the_legs_is_not_booked_a_second_time(tmp_path: Path, subject: Subject) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            whole = await rested(desk, await desk.submit(await spread(desk, subject, "a")))
            told = await desk.brokers[IBKR.broker].fills(0)
            await asyncio.sleep(60)

            assert whole.fills == ()
            booked = {fill.exec_id for leg in legs_of(desk, whole) for fill in leg.fills}
            assert booked == {one.exec_id for one in told}
            assert {str(name).count(".") for name in booked} == {4}
            assert len(bench.twin.trading.told) > len(booked)  # the sum is among what TWS told
            assert abs(desk.books.ledger.cash(IBKR.broker, "USD") - bench.twin.exchange.cash) <= D("0.01")
            assert desk.books.halts == {}

    on_bench(tmp_path, main, subject=subject)


@each_way
def test_a_spread_that_pays_has_a_price_below_zero(tmp_path: Path, subject: Subject) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            request = await spread(desk, subject, "a", right=Right.PUT)
            request = replace(request, legs=tuple(replace(leg, side=leg.side.opposite) for leg in request.legs))
            quotes = [await desk.hub.fetch(IBKR.broker, leg.instrument) for leg in request.legs]
            net = sum((leg.side.sign * (quote.touch(leg.side) or D(0)) for leg, quote in zip(request.legs, quotes, strict=True)), D(0))
            done = await rested(desk, await desk.submit(replace(request, price=net + D("0.05"))))

            assert done.ord_status is OrdStatus.FILLED
            (placed,) = bench.twin.trading.placed.values()
            assert placed.form.limit == done.price
            assert {leg.side for leg in legs_of(desk, done)} == {Side.BUY, Side.SELL}

    on_bench(tmp_path, main, subject=subject)


@each_way
def test_a_spread_that_rests_is_known_with_its_legs_after_a_restart(tmp_path: Path, subject: Subject) -> None:
    """TWS then tells no more of the legs than their numbers."""

    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            request = replace(await spread(desk, subject, "a"), price=D("0.01"))
            sent = await desk.submit(request)
        async with bench.desk(WIDE) as desk:
            assert await desk.wait(lambda: len(legs_of(desk, sent)) == 2, 30 * SECOND_NS)
            assert [(leg.instrument, leg.side) for leg in legs_of(desk, sent)] == [(leg.instrument, leg.side) for leg in request.legs]
            leg = legs_of(desk, sent)[0]
            assert await desk.question(leg) is not None
            await desk.cancel(leg.cl_ord_id)  # which is no order of its own: the whole goes
            await rested(desk, sent)

            assert [part.ord_status for part in (now(desk, sent.cl_ord_id), *legs_of(desk, sent))] == [OrdStatus.CANCELED] * 3
            assert desk.books.halts == {}

    on_bench(tmp_path, main, subject=subject)


@each_way
def test_what_filled_while_the_desk_was_down_is_booked_by_its_legs(tmp_path: Path, subject: Subject) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            request = await spread(desk, subject, "a")
            sent = await desk.submit(replace(request, price=(request.price or D(0)) - D("0.08")))
        for _ in range(40):
            await asyncio.sleep(600)
            bench.twin.advance(bench.clock.now_ns())
            if bench.twin.exchange.contracts():
                break
        async with bench.desk(WIDE) as desk:
            await rested(desk, sent)
            await asyncio.sleep(60)

            assert [desk.books.ledger.position(IBKR.broker, leg.instrument) for leg in request.legs] == [2, -2]
            assert abs(desk.books.ledger.cash(IBKR.broker, "USD") - bench.twin.exchange.cash) <= D("0.01")
            assert (desk.books.halts, desk.ready[IBKR.broker]) == ({}, True)

    on_bench(tmp_path, main, subject=subject)


@each_way
def test_somebody_elses_spread_that_is_sold_is_the_reverse_bought(tmp_path: Path, subject: Subject) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            request = await spread(desk, subject, "a")
            near, far = (bench.twin.universe.lines[str(leg.instrument)].con_id for leg in request.legs)
        async with bench.desk(WIDE) as desk:
            if subject is IBKR_WEB:
                wish = {"side": "SELL", "orderType": "LMT", "price": "-0.01", "tif": "DAY", "quantity": 1}
                bench.twin.by_hand(wish | {"conidex": f"28812380;;;{near}/-1,{far}/1"})  # sold: the first is bought
            else:
                wanted = Wanted(0, "AAPL", "BAG", "", D(0), "", "", "SMART", "", "USD", "", "")
                form = Form(order_id=1, contract=wanted, action="SELL", qty=D(1), order_type="LMT", limit=D("-0.01"), tif="DAY", ref="")
                form.legs = ((near, 1, "SELL"), (far, 1, "BUY"))
                bench.twin.trading.place(99, form, bench.twin.now_ns)
            assert await desk.wait(lambda: len(list(desk.books.blotter)) == 3, 60 * SECOND_NS)
            whole = next(order for order in desk.books.blotter if order.legs)

            assert (whole.external, whole.instrument, whole.price) == (True, "AAPL", D("0.01"))
            assert whole.legs == request.legs
            assert {order.parent for order in desk.books.blotter} == {None, whole.cl_ord_id}
            assert desk.books.halts == {}

    on_bench(tmp_path, main, subject=subject)


@each_way
def test_a_dry_run_of_a_spread_has_ibs_figures(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, _: object) -> None:
        async with bench.desk(WIDE, dry_run=True) as desk:
            sent = await desk.submit(await spread(desk, subject, "a"))

            assert "margin change" in sent.text
            assert "would take it" in sent.text
            assert bench.twin.trading.placed == {}

    conform(tmp_path, subject, story)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "is_leg"), [("0000e215.65fd10ab.02.01.01", True), ("0000e215.65fd10ab.01.01", False)])
def test_an_execution_before_its_order_says_by_its_name_whose_it_is(name: str, is_leg: bool) -> None:
    orders = Orders()
    contract = IbContract("OPT", 7, "AAPL", "20261120", 275.0, "C", "100", "SMART", currency="USD")
    done = Execution(execId=name, time=datetime(2026, 9, 21, 15, tzinfo=UTC), side="BOT", shares=2.0, price=4.5, permId=9, orderId=3)
    done.orderRef, done.cumQty = "q1aaaaaaaaaaaaaaaa", 2.0
    orders.executed(contract, done, 1)
    (report,) = orders.without_fee([name], 2)

    assert report.order_id == (OrderID("9-3.7") if is_leg else OrderID("9-3"))
    assert report.parent == ("q1aaaaaaaaaaaaaaaa" if is_leg else None)
    assert report.instrument == InstrumentID("AAPL261120C00275000")


TWO = ("NEAR", 1, "BUY"), ("FAR", 1, "SELL")
REFUSED: list[tuple[tuple[tuple[Value, int, str], ...], str, Value, int]] = [
    ((), "LMT", "1", 321),
    ((TWO[0],), "LMT", "1", 321),
    ((TWO[0], (265598, 100, "SELL")), "LMT", "1", 200),  # shares beside options are not modelled
    ((TWO[0], (1, 1, "SELL")), "LMT", "1", 321),
    ((TWO[0], ("FAR", 0, "SELL")), "LMT", "1", 321),
    ((TWO[0], ("FAR", 1, "HOLD")), "LMT", "1", 321),
    (TWO, "MKT", "", 387),
    (TWO, "LMT", "1.005", 110),
    (TWO, "LMT", "5000", 201),
    ((("NEAR", 1, "SELL"), TWO[0]), "LMT", "", 387),
]


@pytest.mark.parametrize(("legs", "kind", "price", "code"), REFUSED)
def test_what_tws_refuses_of_spreads_it_refuses_by_its_code(legs: tuple[tuple[Value, int, str], ...], kind: str, price: Value, code: int) -> None:
    tws = Tws()
    tws.connect()
    listed = [fields for fields in tws.say(Asks.CONTRACT_DETAILS, 8, 9, 0, "AAPL", "OPT", *[""] * 13) if fields[0] == "10"]
    numbers = {"NEAR": listed[0][12], "FAR": listed[2][12]}
    rows = [(numbers.get(str(name), name), ratio, action, "SMART", 0, 0, "", -1) for name, ratio, action in legs]
    heard = tws.place(1, kind=kind, legs=rows, f2=0, f4="BAG", f19=price)

    assert errors(heard) == [(1, code)]
    assert tws.twin.exchange.open_orders() == []


# -- by the Web API --------------------------------------------------------------------------------------------------------------------------------


def test_a_spread_leaves_with_its_legs_by_number_and_is_found_by_them(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            request = await spread(desk, IBKR_WEB, "a")
            await rested(desk, await desk.submit(request))
            (sent,) = [json.loads(one.body)["orders"][0] for one in between.asked if one.url.endswith("/orders")]
            near, far = (bench.twin.universe.lines[str(leg.instrument)].con_id for leg in request.legs)

            assert (sent["conidex"], sent["side"], "conid" in sent) == (f"28812380;;;{near}/1,{far}/-1", "BUY", False)

    conform(tmp_path, IBKR_WEB, story)


@pytest.mark.parametrize("text", ["28812380;;;", "28812380;;;7", "28812380;;;7/0", "28812380;;;x/1", "28812380;;;7/1,8/y"])
def test_legs_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="legs"):
        decode_legs(text)


WISH = {"side": "BUY", "orderType": "LMT", "price": "1", "tif": "DAY", "quantity": 1}


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"conid": 265598, "conidex": "265598"},
        {"conidex": "7;;;{near}/1,{far}/-1"},
        {"conidex": "28812380;;;{near}/1,{far}"},
        {"conidex": "28812380;;;1/1,2/-1"},
        {"conidex": "28812380;;;{near}/1"},
        {"conidex": "28812380;;;{near}/0,{far}/1"},
    ],
)
def test_what_the_web_api_refuses_of_spreads(tmp_path: Path, named: dict[str, object]) -> None:
    async def main(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        near, far = [await connector._con_id(InstrumentID(f"AAPL261120C00{strike}000")) for strike in (280, 285)]
        words = {name: value.format(near=near, far=far) if isinstance(value, str) else value for name, value in named.items()}
        response = await connector._login.change("POST", f"/iserver/account/{bench.twin.account}/orders", {"orders": [WISH | words]})

        assert isinstance(refusal(response, changes=True), Rejected)
        assert bench.twin.exchange.open_orders() == []
        await connector.aclose()

    on_bench(tmp_path, main, subject=IBKR_WEB)


def test_executions_that_do_not_say_their_orders_number_are_told_apart_by_its_reference(tmp_path: Path) -> None:
    """As in the sample that IBKR prints of them."""

    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            sent = [await settled(desk, await desk.submit(order(IBKR_WEB, AssetClass.EQUITY, intent, "1", repeat=True))) for intent in "ab"]
        between.answers = lambda body: re.sub(rb'"order_id":\d+,', b"", body) if b'"execution_id"' in body else body
        connector = bench.connector()
        await connector.connect()
        told = await connector.fills(0)
        await connector.aclose()

        assert [one.cl_ord_id for one in told] == [one.cl_ord_id for one in sent]

    conform(tmp_path, IBKR_WEB, story)


def test_a_leg_that_is_over_is_shown_by_its_number(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            request = replace(await spread(desk, IBKR_WEB, "a"), price=D("0.01"))
            await desk.submit(request)
            await asyncio.sleep(1)
        gone = bench.twin.universe.lines.pop(str(request.legs[0].instrument)).con_id
        connector = bench.connector()
        await connector.connect()
        (whole, *legs) = await connector.open_orders()
        await connector.aclose()

        assert [leg.instrument for leg in whole.legs] == [f"{gone}.LEG", request.legs[1].instrument]
        assert (whole.instrument, whole.price, len(legs)) == ("AAPL", D("0.01"), 2)

    conform(tmp_path, IBKR_WEB, story)
