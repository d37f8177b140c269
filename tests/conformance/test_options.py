"""Options, where a broker has them: chains, single and multileg orders, and what becomes of a position that ends."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.conformance.between import Between, conform
from tests.conformance.test_orders import WIDE, name
from tests.desks import Bench, settled
from tests.subjects import WAYS, Subject
from trading_system.app.desk import Desk
from trading_system.domain.errors import BadRequest
from trading_system.domain.fix import OrdStatus, OrdType, Side
from trading_system.domain.ids import InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.option import OptionSnapshot, Right
from trading_system.domain.order import Leg, NewOrder
from trading_system.domain.ports import OptionData
from trading_system.sim.clock import SECOND_NS

D = Decimal
OPTIONED = [subject for subject in WAYS if subject.facts.legs_max]
each_optioned = pytest.mark.parametrize("subject", OPTIONED, ids=name)


async def lines(source: object, subject: Subject, right: Right = Right.CALL, day: int = -1) -> list[OptionSnapshot]:
    """A chain by strike: the contracts that somebody bids for."""
    assert isinstance(source, OptionData)
    underlying = subject.instruments[AssetClass.EQUITY]
    days = await source.expiries(underlying)
    return [line for line in await source.chain(underlying, days[day], right) if line.quote is not None and line.quote.bid_px]


def wish(subject: Subject, instrument: InstrumentID, intent: str, **changes: object) -> NewOrder:
    fields: dict[str, object] = {"broker": subject.broker, "instrument": instrument, "side": Side.BUY, "order_qty": D(1), "intent": IntentID(intent)}
    return NewOrder(**(fields | changes))  # type: ignore[arg-type]


def held(desk: Desk, subject: Subject, instrument: InstrumentID) -> Decimal:
    return desk.books.ledger.position(subject.broker, instrument)


@each_optioned
def test_a_chain_has_prices_that_agree_with_quotes_and_instruments(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        connector = bench.connector()
        found = await lines(connector, subject)
        line = found[len(found) // 2]
        quote = await connector.quote(line.instrument)
        (instrument,) = await connector.instruments([line.instrument])
        days = await connector.expiries(subject.instruments[AssetClass.EQUITY])

        assert len(days) > 3
        assert list(days) == sorted(days)
        assert [one.contract.strike for one in found] == sorted(one.contract.strike for one in found)
        assert line.greeks is not None
        assert 0 < line.greeks.delta < 1
        assert line.quote is not None
        assert (quote.bid_px, quote.ask_px) == (line.quote.bid_px, line.quote.ask_px)
        assert (instrument.multiplier, instrument.contract) == (100, line.contract)
        assert await connector.trade(line.instrument)
        with pytest.raises(BadRequest):
            await connector.instruments([InstrumentID("AAPL991231C00001000")])

    conform(tmp_path, subject, story)


@each_optioned
def test_an_option_is_bought_and_sold_and_the_books_agree_with_the_broker(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            found = await lines(desk.brokers[subject.broker], subject)
            line = found[len(found) // 2]
            await desk.instrument(subject.broker, line.instrument)
            for side, intent in ((Side.BUY, "in"), (Side.SELL, "out")):
                quote = await desk.hub.fetch(subject.broker, line.instrument)
                price = quote.ask_px if side is Side.BUY else quote.bid_px
                order = await desk.submit(wish(subject, line.instrument, intent, side=side, ord_type=OrdType.LIMIT, price=price))
                order = await settled(desk, order)
                snapshot = await desk.brokers[subject.broker].account()
                held_there = {position.instrument: position.qty for position in snapshot.positions}

                assert order.ord_status is OrdStatus.FILLED
                assert held(desk, subject, line.instrument) == held_there.get(line.instrument, 0) == (1 if side is Side.BUY else 0)
            assert await desk.wait(lambda: not desk.books.halts, 60 * SECOND_NS)

    conform(tmp_path, subject, story)


@each_optioned
def test_a_spread_fills_as_a_whole_and_its_fills_are_its_legs(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            found = await lines(desk.brokers[subject.broker], subject)
            low, high = (found[len(found) // 2 + step] for step in (0, 2))
            assert low.quote is not None
            assert high.quote is not None
            net = (low.quote.ask_px or D(0)) - (high.quote.bid_px or D(0)) + D("0.05")
            legs = (Leg(low.instrument, Side.BUY, 1), Leg(high.instrument, Side.SELL, 1))
            underlying = subject.instruments[AssetClass.EQUITY]
            order = await desk.submit(wish(subject, underlying, "spread", ord_type=OrdType.LIMIT, price=net, legs=legs, order_qty=D(2)))
            await desk.wait(lambda: held(desk, subject, high.instrument) == -2, 60 * SECOND_NS)
            whole = desk.books.blotter.get(order.cl_ord_id)

            assert whole is not None
            assert whole.ord_status is OrdStatus.FILLED
            assert (held(desk, subject, low.instrument), held(desk, subject, high.instrument)) == (2, -2)
            assert between.placed == 1
            await bench.clock.sleep_ns(90 * SECOND_NS)
            assert desk.books.halts == {}
            resting = await desk.submit(wish(subject, underlying, "rests", ord_type=OrdType.LIMIT, price=D("0.01"), legs=legs))
            await desk.cancel(resting.cl_ord_id)
            await desk.wait(lambda: (desk.books.blotter.get(resting.cl_ord_id) or resting).ord_status.terminal, 60 * SECOND_NS)
            gone = desk.books.blotter.get(resting.cl_ord_id)
            assert gone is not None
            assert gone.ord_status is OrdStatus.CANCELED

    conform(tmp_path, subject, story)


@each_optioned
def test_what_is_assigned_is_booked_and_halts_nothing(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            found = await lines(desk.brokers[subject.broker], subject, Right.PUT)
            high, low = (found[len(found) // 2 + step] for step in (2, 0))
            assert low.quote is not None
            assert high.quote is not None
            legs = (Leg(high.instrument, Side.SELL, 1), Leg(low.instrument, Side.BUY, 1))
            net = (low.quote.ask_px or D(0)) - (high.quote.bid_px or D(0)) + D("0.05")
            underlying = subject.instruments[AssetClass.EQUITY]
            await desk.submit(wish(subject, underlying, "credit", ord_type=OrdType.LIMIT, price=net, legs=legs))
            assert await desk.wait(lambda: held(desk, subject, high.instrument) == -1, 60 * SECOND_NS)
            bench.twin.assign(str(high.instrument), D(1))
            assert await desk.wait(lambda: held(desk, subject, underlying) == 100, 600 * SECOND_NS)
            await bench.clock.sleep_ns(120 * SECOND_NS)

            assert held(desk, subject, high.instrument) == 0
            assert desk.books.halts == {}

    conform(tmp_path, subject, story, cash=D(1_000_000))
