"""A paper account on another broker's prices: its fills are the market's, its memory is its own."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desks import BROKER, BTC, Bench, on_bench, settled, wish
from tests.factories import coin, mark, risk_state
from tests.subjects import BINANCE, BYBIT, KRAKEN
from trading_system.app.desk import Desk
from trading_system.app.hub import Hub
from trading_system.app.recover import Recovery
from trading_system.core.risk import Limits, check
from trading_system.domain.errors import BadRequest, Rejected
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.ports import DepthData
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.paper import PaperBroker, paper_facts
from trading_system.sim.paper_account import PaperAccount, PaperOrder

ETH = InstrumentID("ETH/USD")
D = Decimal
WIDE = Limits(crypto_max_position_pct=D(1), crypto_max_leverage=D(2), max_leverage=D(2))


def paper(bench: Bench) -> PaperBroker:
    data = bench.connector()
    data.facts = msgspec.structs.replace(data.facts, maker_fee=D("0.0016"), taker_fee=D("0.0026"))
    return PaperBroker(data, path=bench.folder / "paper.json", clock=bench.clock, rng=random.Random(3))


@asynccontextmanager
async def desk_of(bench: Bench, broker: PaperBroker, limits: Limits = WIDE) -> AsyncIterator[Desk]:
    journal = Journal(bench.folder / "journal.sqlite")
    books = replay(entry.record for entry in journal.read())
    desk = Desk(
        books=books, journal=journal, brokers={BROKER: broker}, hub=Hub({BROKER: broker}), limits=limits, clock=bench.clock, environment="paper"
    )
    recovery = Recovery(desk, version="test", config_hash="test")
    try:
        await recovery.start()
        await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)
        yield desk
    finally:
        await desk.drain()
        await recovery.aclose()
        await desk.hub.aclose()
        await broker.aclose()
        await journal.aclose()


def story(tmp_path: Path, act: Callable[[Bench, PaperBroker, Desk], Awaitable[None]]) -> None:
    async def told(bench: Bench) -> None:
        broker = paper(bench)
        async with desk_of(bench, broker) as desk:
            await act(bench, broker, desk)

    on_bench(tmp_path, told)


def test_a_market_order_pays_the_offer_and_the_fee_after_a_latency(tmp_path: Path) -> None:
    async def act(bench: Bench, broker: PaperBroker, desk: Desk) -> None:
        began_ns = bench.clock.now_ns()
        done = await settled(desk, await desk.submit(wish("a", "0.1", instrument=BTC)))
        quote = await broker.quote(BTC)
        assert quote.mid is not None
        assert done.ord_status is OrdStatus.FILLED
        assert done.avg_px is not None
        assert abs(done.avg_px / quote.mid - 1) < D("0.01")
        assert done.fills[0].transact_ns > began_ns
        fee = sum(fill.fee for fill in done.fills)
        assert abs(fee - done.avg_px * D("0.1") * D("0.0026")) < D("0.000001")
        account = await broker.account()
        assert account.cash == D(100_000) - done.avg_px * D("0.1") - fee
        assert [(position.instrument, position.qty) for position in account.positions] == [(BTC, D("0.1"))]
        assert desk.books.ledger.cash(BROKER, "USD") == account.cash
        assert not desk.books.halts

    story(tmp_path, act)


def test_an_order_larger_than_the_touch_fills_in_parts_at_the_markets_pace(tmp_path: Path) -> None:
    async def act(bench: Bench, broker: PaperBroker, desk: Desk) -> None:
        done = await settled(desk, await desk.submit(wish("big", "12", instrument=ETH)))
        assert done.ord_status is OrdStatus.FILLED
        assert len(done.fills) > 1
        assert len({fill.transact_ns for fill in done.fills}) > 1
        assert sum(fill.qty for fill in done.fills) == 12

    story(tmp_path, act)


def test_a_limit_rests_is_reached_and_pays_the_makers_fee(tmp_path: Path) -> None:
    async def act(bench: Bench, broker: PaperBroker, desk: Desk) -> None:
        quote = await broker.quote(BTC)
        assert quote.bid_px is not None
        price = (quote.bid_px * D("0.9999")).quantize(D("0.01"))
        low = await desk.submit(wish("low", "0.01", instrument=BTC, price=price))
        assert low.ord_status is OrdStatus.NEW
        await desk.wait(lambda: desk.books.blotter.get(low.cl_ord_id).settled, 3600 * SECOND_NS)  # type: ignore[union-attr]
        done = desk.books.blotter.get(low.cl_ord_id)
        assert done is not None
        assert done.ord_status is OrdStatus.FILLED
        assert done.avg_px == price
        assert abs(sum(fill.fee for fill in done.fills) - price * D("0.01") * D("0.0016")) < D("0.000001")

    story(tmp_path, act)


def test_ioc_and_fok_take_what_is_there_or_nothing(tmp_path: Path) -> None:
    async def act(bench: Bench, broker: PaperBroker, desk: Desk) -> None:
        quote = await broker.quote(ETH)
        assert quote.ask_px is not None
        deep = {"instrument": ETH, "price": (quote.ask_px * D("1.002")).quantize(D("0.01"))}
        some = await settled(desk, await desk.submit(wish("ioc", "20", time_in_force=TimeInForce.IOC, **deep)))
        assert some.ord_status is OrdStatus.CANCELED
        assert 0 < some.cum_qty < 20

    story(tmp_path, act)


def test_a_stop_goes_off_and_sells_what_is_held(tmp_path: Path) -> None:
    async def act(bench: Bench, broker: PaperBroker, desk: Desk) -> None:
        bought = await settled(desk, await desk.submit(wish("in", "0.1", instrument=BTC)))
        assert bought.avg_px is not None
        stop_px = (bought.avg_px * D("0.9995")).quantize(D("0.01"))
        floor = (stop_px * D("0.98")).quantize(D("0.01"))
        stop = await desk.submit(
            wish("out", "0.1", Side.SELL, BTC, floor, ord_type=OrdType.STOP_LIMIT, stop_px=stop_px),
        )
        assert await desk.wait(lambda: desk.books.blotter.get(stop.cl_ord_id).settled, 6 * 3600 * SECOND_NS)  # type: ignore[union-attr]
        done = desk.books.blotter.get(stop.cl_ord_id)
        assert done is not None
        assert done.ord_status is OrdStatus.FILLED
        assert done.avg_px is not None
        assert floor <= done.avg_px <= stop_px
        assert (await broker.account()).positions == ()

    story(tmp_path, act)


def order(side: Side, qty: str, number: int = 1, **changes: object) -> PaperOrder:
    fields: dict[str, object] = {
        "cl_ord_id": ClOrdID(f"c{number}"),
        "order_id": OrderID(f"P{number}"),
        "instrument": BTC,
        "currency": "USD",
        "side": side,
        "ord_type": OrdType.LIMIT,
        "time_in_force": TimeInForce.GTC,
        "qty": D(qty),
        "price": D(100),
        "stop_px": None,
        "reserve_px": D(100),
        "submitted_ns": 1,
        "updated_ns": 1,
    }
    return PaperOrder(**(fields | changes))  # type: ignore[arg-type]


def test_what_the_account_cannot_pay_or_does_not_hold_is_refused() -> None:
    account = PaperAccount(broker=BROKER, moneys={"USD": D(1_000)})
    account.take(order(Side.BUY, "6"), coin(), D(1_000))

    with pytest.raises(Rejected, match="400 free"):
        account.take(order(Side.BUY, "5", 2), coin(), D(1_000))
    with pytest.raises(Rejected, match="is taken"):
        account.take(order(Side.BUY, "1"), coin(), D(1_000))
    with pytest.raises(Rejected, match="0 free"):
        account.take(order(Side.SELL, "1", 3), coin(), D(1_000))

    swap = coin(asset_class=AssetClass.PERPETUAL)
    assert account.take(order(Side.SELL, "10", 4), swap, D(1_000)).ord_status is OrdStatus.NEW
    with pytest.raises(Rejected, match="to sell"):
        account.take(order(Side.SELL, "1", 5), swap, D(1_000))


@given(st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 50), st.integers(50, 150)), max_size=20))
def test_money_and_units_go_where_the_fills_say(fills: list[tuple[Side, int, int]]) -> None:
    account, rate = PaperAccount(broker=BROKER, moneys={"USD": D(0)}), D("0.001")
    for number, (side, qty, price) in enumerate(fills):
        account.fill(order(side, str(qty), number), D(qty), D(price), rate, D(1), number)

    spent = sum((side.sign * qty * price for side, qty, price in fills), D(0))
    fees = sum((report.fee for report in account.executions), D(0))
    assert account.moneys["USD"] == -spent - fees
    assert fees == sum((qty * price * rate for _, qty, price in fills), D(0))
    assert account.units.get(BTC, D(0)) == sum(side.sign * qty for side, qty, _ in fills)
    assert len({report.exec_id for report in account.executions}) == len(fills)
    assert (BTC in account.avg_px) == (BTC in account.units)


def test_it_is_all_there_after_the_process_died(tmp_path: Path) -> None:
    """No goodbye: the tasks end where they are, and the next broker reads the file."""

    async def told(bench: Bench) -> None:
        first = paper(bench)
        async with desk_of(bench, first) as desk:
            bought = await settled(desk, await desk.submit(wish("in", "0.1", instrument=BTC)))
            assert bought.avg_px is not None
            low = await desk.submit(wish("low", "0.01", instrument=BTC, price=(bought.avg_px * D("0.98")).quantize(D("0.01"))))
            before = (bench.folder / "paper.json").read_bytes()
        (bench.folder / "paper.json").write_bytes(before)
        async with desk_of(bench, paper(bench)) as desk:
            assert not desk.books.halts
            assert [report.cl_ord_id for report in await desk.brokers[BROKER].open_orders()] == [low.cl_ord_id]
            assert desk.books.ledger.position(BROKER, BTC) == D("0.1")
            gone = await desk.cancel(low.cl_ord_id)
            assert gone.ord_status is OrdStatus.CANCELED

    on_bench(tmp_path, told)


def test_what_traded_while_nobody_was_there_has_filled_what_rested(tmp_path: Path) -> None:
    async def told(bench: Bench) -> None:
        async with desk_of(bench, paper(bench)) as desk:
            quote = await desk.hub.fetch(BROKER, BTC)
            assert quote.bid_px is not None
            low = await desk.submit(wish("low", "0.01", instrument=BTC, price=(quote.bid_px * D("0.9995")).quantize(D("0.01"))))
        await bench.clock.sleep_ns(6 * 3600 * SECOND_NS)
        async with desk_of(bench, paper(bench)) as desk:
            done = desk.books.blotter.get(low.cl_ord_id)
            assert done is not None
            assert done.ord_status is OrdStatus.FILLED
            assert done.avg_px == low.price
            assert not desk.books.halts

    on_bench(tmp_path, told)


def test_what_was_on_its_way_when_the_process_ended_is_worked_by_the_next(tmp_path: Path) -> None:
    async def told(bench: Bench) -> None:
        async with desk_of(bench, paper(bench)) as desk:
            await desk.hub.fetch(BROKER, BTC)
            sent = [await desk.submit(wish("market", "0.1", instrument=BTC))]
            price = (await desk.hub.fetch(BROKER, BTC)).ask_px
            assert price is not None
            for kind, off in ((TimeInForce.IOC, "0.99"), (TimeInForce.IOC, "1.01")):
                at = (price * D(off)).quantize(D("0.01"))
                sent.append(await desk.submit(wish(f"now {off}", "0.01", instrument=BTC, price=at, time_in_force=kind)))
            assert [order.ord_status for order in sent] == [OrdStatus.NEW] * 3
        await bench.clock.sleep_ns(30 * SECOND_NS)
        async with desk_of(bench, paper(bench)) as desk:
            done = [await settled(desk, order) for order in sent]

            assert [order.ord_status for order in done] == [OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.FILLED]

    on_bench(tmp_path, told)


def test_a_file_that_is_none_is_said_and_kept(tmp_path: Path) -> None:
    async def told(bench: Bench) -> None:
        (bench.folder / "paper.json").write_text("{")
        broker = paper(bench)
        with pytest.raises(BadRequest, match="delete it to begin anew"):
            await broker.connect()
        await broker.aclose()
        assert (bench.folder / "paper.json").read_text() == "{"

    on_bench(tmp_path, told)


def test_its_facts_promise_only_what_it_does(tmp_path: Path) -> None:
    async def told(bench: Bench) -> None:
        facts = paper_facts(bench.connector().facts)
        assert (facts.links, facts.legs_max, facts.can_replace) == ((), 0, False)
        assert not any(OrdType.TRAILING_STOP in rule.ord_types or TimeInForce.AT_THE_OPENING in rule.times_in_force for rule in facts.rules)

    on_bench(tmp_path, told)


def test_several_streams_of_one_market_end_with_the_last_order(tmp_path: Path) -> None:
    async def act(bench: Bench, broker: PaperBroker, desk: Desk) -> None:
        for number in range(3):
            await settled(desk, await desk.submit(wish(f"n{number}", "0.01", instrument=BTC, repeat=True)))
        await bench.clock.sleep_ns(30 * SECOND_NS)
        running = [task for task in asyncio.all_tasks() if task.get_name().startswith("paper ")]
        assert running == []

    story(tmp_path, act)


def test_inverse_contracts_are_for_those_who_keep_coins(tmp_path: Path) -> None:
    swap = InstrumentID("BTC-PERP/USD")

    async def told(bench: Bench) -> None:
        broker = PaperBroker(bench.connector(), path=bench.folder / "paper.json", clock=bench.clock, rng=random.Random(3), currency="USDT")
        await broker.connect()
        (listed,) = await broker.instruments((swap,))
        state = risk_state(facts=broker.facts, instrument=listed, quote=await broker.quote(swap), account=await broker.account(), limits=WIDE)
        approved = check(wish("a", "500", broker=BYBIT.broker, instrument=swap), msgspec.structs.replace(state, equity=mark("10000000")))
        with pytest.raises(Rejected, match="the broker's own paper"):
            await broker.submit(approved)
        await broker.aclose()

    on_bench(tmp_path, told, subject=BYBIT)


VENUES = {"binance": (BINANCE, InstrumentID("ETH/USDT")), "kraken": (KRAKEN, InstrumentID("ETH/USD")), "bybit": (BYBIT, InstrumentID("ETH/USDT"))}


@pytest.mark.parametrize("venue", VENUES)
def test_on_any_exchanges_prices_it_meets_the_depth_of_its_book(tmp_path: Path, venue: str) -> None:
    """The exchange's own account is never logged in to, and never moves."""
    subject, instrument = VENUES[venue]
    currency = instrument.partition("/")[2]

    async def told(bench: Bench) -> None:
        data = bench.connector()
        assert isinstance(data, DepthData)
        broker = PaperBroker(data, path=bench.folder / "paper.json", clock=bench.clock, rng=random.Random(3), currency=currency)
        await broker.connect()
        (listed,) = await broker.instruments((instrument,))
        bid = (await broker.quote(instrument)).bid_px
        assert bid is not None
        state = risk_state(facts=broker.facts, instrument=listed, quote=await broker.quote(instrument), account=await broker.account(), limits=WIDE)
        request = wish("a", "15", broker=subject.broker, instrument=instrument)
        await broker.submit(check(request, msgspec.structs.replace(state, equity=mark("10000000"))))
        await bench.clock.sleep_ns(60 * SECOND_NS)
        fills = await broker.fills(0)

        assert sum(fill.last_qty for fill in fills) == 15
        assert len({fill.last_px for fill in fills}) > 1  # deeper than the best price
        assert all(fill.last_px >= bid for fill in fills)
        assert bench.twin.exchange.executions == {}
        await broker.aclose()

    on_bench(tmp_path, told, subject=subject)
