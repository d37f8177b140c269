"""Accounts, instruments, and orders from the wish to the last fill."""

import asyncio
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from tests.conformance.between import Between, booked, conform, order, parts
from tests.desks import Bench, settled
from tests.subjects import WAYS, Subject
from trading_system.app.desk import Desk
from trading_system.core.risk import Limits
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, Rejected, RiskRefused
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import plain, round_price
from trading_system.domain.order import NewOrder, Order, Replace
from trading_system.domain.ports import CancelsAll, ClientIdScope
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS

D = Decimal
WIDE = Limits(
    max_position_pct=D(1),
    crypto_max_position_pct=D(1),
    option_max_premium_pct=D(1),
    max_spread_pct=D(1),
    crypto_max_spread_pct=D(1),
    max_orders_per_second=1000,
    max_orders_per_minute=1000,
    crypto_quote_max_age_ns=60 * SECOND_NS,
)
CLASSES = [(subject, asset_class) for subject in WAYS for asset_class in subject.instruments]
ORDERS = [
    (subject, asset_class, ord_type, tif)
    for subject, asset_class in CLASSES
    for ord_type, tif in product(OrdType, TimeInForce)
    if ord_type is not OrdType.MARKET or tif is not TimeInForce.FOK
]


def name(value: object) -> str:
    return value.name if isinstance(value, Subject) else str(value)


each_broker = pytest.mark.parametrize("subject", WAYS, ids=name)
each_class = pytest.mark.parametrize(("subject", "asset_class"), CLASSES, ids=name)


async def priced(desk: Desk, subject: Subject, asset_class: AssetClass, fraction: str, side: Side = Side.BUY) -> Decimal:
    """A price so far from the market, on the instrument's grid."""
    instrument = await desk.instrument(subject.broker, subject.instruments[asset_class])
    quote = await desk.hub.fetch(subject.broker, instrument.id)
    assert quote.mid is not None
    price = quote.mid * D(fraction)
    return round_price(price, instrument.tick(price), side)


async def shaped(desk: Desk, subject: Subject, asset_class: AssetClass, ord_type: OrdType, tif: TimeInForce) -> NewOrder:
    """A small buy of this type and TIF that does no more than rest, where it can rest."""
    away = await priced(desk, subject, asset_class, "0.98" if ord_type is OrdType.LIMIT else "1.02")
    if ord_type is OrdType.TRAILING_STOP and subject.trails_trades:
        await settled(desk, await desk.submit(order(subject, asset_class, "held", "1")))
        trail = {"trail_px": (away * D("0.02")).quantize(D("0.001")), "side": Side.SELL, "reduce_only": True}
        return changed(order(subject, asset_class, f"{ord_type}-{tif}", "1"), ord_type=ord_type, time_in_force=tif, **trail)
    prices = {
        OrdType.MARKET: {},
        OrdType.LIMIT: {"price": away},
        OrdType.STOP: {"stop_px": away},
        OrdType.STOP_LIMIT: {"stop_px": away, "price": away},
        OrdType.TRAILING_STOP: {"trail_pct": D("0.02")},
        OrdType.MARKET_IF_TOUCHED: {"stop_px": away},
    }
    qty = "1" if asset_class is not AssetClass.CRYPTO else "0.01"
    return order(subject, asset_class, f"{ord_type}-{tif}", qty, ord_type=ord_type, time_in_force=tif, **prices[ord_type])


@each_broker
def test_the_account_proves_its_kind_and_a_wrong_key_is_told_what_to_do(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        connector = bench.connector()
        await connector.connect()
        snapshot = await connector.account()

        assert (snapshot.environment, snapshot.broker, snapshot.tradable) == ("paper", subject.broker, True)
        assert snapshot.account
        assert snapshot.equity == snapshot.cash > 0
        with pytest.raises(AuthFailed, match="paper"):
            await bench.beside("live").connect()
        wrong = {field: Secret(f"{secret.reveal()[:4]}wrong") for field, secret in subject.credentials(bench.twin).items()}
        with pytest.raises(AuthFailed) as caught:
            await bench.beside(credentials=wrong).connect()
        assert "http" in str(caught.value)  # the page to go to
        assert all(secret.reveal() not in str(caught.value) for secret in wrong.values())

    conform(tmp_path, subject, story)


@each_broker
def test_instruments_have_a_grid_and_unknown_names_a_hint(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        connector = bench.connector()
        await connector.connect()
        everything = {instrument.id: instrument for instrument in await connector.instruments()}
        for asset_class, instrument_id in subject.instruments.items():
            (instrument,) = await connector.instruments((instrument_id,))

            assert instrument.asset_class is asset_class
            assert asset_class.is_option or everything[instrument_id].symbol == instrument.symbol  # chains list options
            assert instrument.ticks[0].from_price == 0
            assert min(instrument.lot, instrument.whole_lot, instrument.multiplier, *(band.tick for band in instrument.ticks)) > 0
        with pytest.raises(BadRequest):
            await connector.instruments((subject.nobody,))
        if subject.misspelt is not None:
            with pytest.raises(BadRequest, match="/"):
                await connector.instruments((subject.misspelt,))

    conform(tmp_path, subject, story)


@pytest.mark.parametrize(("subject", "asset_class", "ord_type", "tif"), ORDERS, ids=name)
def test_what_the_facts_declare_is_taken_and_all_else_is_refused_before_sending(
    tmp_path: Path, subject: Subject, asset_class: AssetClass, ord_type: OrdType, tif: TimeInForce
) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            request = await shaped(desk, subject, asset_class, ord_type, tif)
            before = between.placed
            if subject.facts.rule(asset_class, ord_type, tif, fractional=asset_class is AssetClass.CRYPTO) is None:
                with pytest.raises(RiskRefused) as caught:
                    await desk.submit(request)
                assert caught.value.rule == "CAPABILITY"
                assert between.placed == before
                return
            sent = await desk.submit(request)
            await asyncio.sleep(2)
            stands = desk.books.blotter.get(sent.cl_ord_id)
            assert stands is not None

            assert (between.placed - before, stands.doubt) == (1, Doubt.NONE)
            assert stands.ord_status is not OrdStatus.REJECTED, stands.text
            over = (OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED)  # what an IOC or FOK order does not get at once, some call expired
            assert (await settled(desk, await desk.cancel(sent.cl_ord_id))).ord_status in over
            assert desk.books.halts == {}

    conform(tmp_path, subject, story)


@each_class
def test_the_same_order_sent_twice_is_one_order_where_the_broker_says_so(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            first = await desk.submit(await shaped(desk, subject, asset_class, OrdType.LIMIT, gtc_or_day(subject, asset_class)))
            connector, approved = desk.brokers[subject.broker], approved_of(desk, first)
            if subject.facts.client_id_scope is ClientIdScope.NONE:
                return  # sending it twice would be two orders: that is why nothing here ever does
            with pytest.raises((InDoubt, Rejected)) as caught:
                await connector.submit(approved)

            assert isinstance(caught.value, InDoubt)  # "exists already" may be our own: it is asked about, not believed
            assert sum(order.cl_ord_id == first.cl_ord_id for order in bench.twin.exchange.orders.values()) == 1
            found = await connector.order_status(first.cl_ord_id)
            assert found is not None
            assert (found.cl_ord_id, found.order_id) == (first.cl_ord_id, first.order_id)
            assert await connector.order_status(ClOrdID("q1aaaaaaaaaaaaaaaa")) is None

    conform(tmp_path, subject, story)


def gtc_or_day(subject: Subject, asset_class: AssetClass) -> TimeInForce:
    rules = [line for line in subject.facts.rules if line.asset_class is asset_class and OrdType.LIMIT in line.ord_types]
    return next(tif for tif in (TimeInForce.GTC, TimeInForce.DAY) if any(tif in line.times_in_force for line in rules))


def approved_of(desk: Desk, sent: Order):  # type: ignore[no-untyped-def]
    """What left for an order, from the journal."""
    from trading_system.journal.record import Intent

    found = [entry.record for entry in desk.journal.read() if isinstance(entry.record, Intent)]
    return next(record.approved for record in found if record.approved.cl_ord_id == sent.cl_ord_id)


@each_class
def test_a_large_order_fills_in_parts_and_every_part_is_told_once(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            price = await priced(desk, subject, asset_class, "1")
            counted = desk.pricing(subject.broker, subject.instruments[asset_class]).worth(D(1), price)
            qty = plain((D(90_000) / counted).quantize(D(1) if asset_class is not AssetClass.CRYPTO else D("0.01"), rounding="ROUND_FLOOR"))
            limit = {
                "ord_type": OrdType.LIMIT,
                "price": await priced(desk, subject, asset_class, "1.02"),
                "time_in_force": gtc_or_day(subject, asset_class),
            }
            done = await settled(desk, await desk.submit(order(subject, asset_class, "large", qty, **limit)))
            real = {execution.exec_id: execution.qty for execution in bench.twin.exchange.executions.values()}
            again = await desk.brokers[subject.broker].fills(0)

            assert done.cum_qty == D(qty)
            assert booked(bench, done.fills)
            assert (len(real) == 1) if subject.fills_whole else (len(real) > 1)
            assert parts(subject, {str(report.exec_id): report.last_qty for report in again}) == parts(subject, real)
            money = bench.twin.exchange.money
            assert abs(desk.books.ledger.cash(subject.broker, money) - bench.twin.exchange.cash) <= D("0.01")

    conform(tmp_path, subject, story)


@each_class
def test_a_cancel_that_comes_too_late_ends_in_the_truth(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            qty = "1" if asset_class is not AssetClass.CRYPTO else "0.01"
            done = await settled(desk, await desk.submit(order(subject, asset_class, "a", qty)))
            report = await desk.brokers[subject.broker].cancel(done)

            assert report.ord_status is OrdStatus.FILLED
            racing = await desk.submit(order(subject, asset_class, "b", qty, repeat=True))
            await desk.cancel(racing.cl_ord_id)
            end = await settled(desk, racing)
            assert end.ord_status in (OrdStatus.FILLED, OrdStatus.CANCELED)
            assert desk.books.ledger.position(subject.broker, done.instrument) == done.cum_qty + end.cum_qty - taken(bench, desk, subject)
            assert desk.books.halts == {}

    conform(tmp_path, subject, story)


@each_class
def test_what_rests_goes_by_one_request_where_the_broker_has_one(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    """What the desk has not heard of yet, too."""

    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            resting = await shaped(desk, subject, asset_class, OrdType.LIMIT, gtc_or_day(subject, asset_class))
            for number in range(3):
                await desk.submit(changed(resting, intent=IntentID(f"resting-{number}"), repeat=True))
            await desk.wait(lambda: all(order.ord_status is OrdStatus.NEW for order in desk.books.blotter.working()), 5 * SECOND_NS)
            stranger = bench.beside()
            await stranger.connect()
            await stranger.submit(changed(approved_of(desk, desk.books.blotter.working()[0]), cl_ord_id=ClOrdID("other-desk-1")))
            await asyncio.sleep(0.5)
            asked = len(between.asked)
            residue = await desk.flatten()

            assert (residue.orders, residue.problems) == ((), ())
            if isinstance(desk.brokers[subject.broker], CancelsAll):
                assert len(between.asked) == asked + 1
            assert await desk.brokers[subject.broker].open_orders() == ()
            await stranger.aclose()

    conform(tmp_path, subject, story)


def taken(bench: Bench, desk: Desk, subject: Subject) -> Decimal:
    """Fees that came out of what was bought, as far as they are booked: with the fill, or later as a difference."""
    from trading_system.journal.record import Adjusted

    adjusted = -sum((entry.record.qty for entry in desk.journal.read() if isinstance(entry.record, Adjusted)), D(0))
    return adjusted + sum((fill.fee for order in desk.books.blotter for fill in order.fills if fill.fee_currency == order.instrument), D(0))


@each_class
def test_a_change_makes_one_order_of_two_and_loses_to_a_fill(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            if not subject.facts.can_replace:
                return
            first = await desk.submit(await shaped(desk, subject, asset_class, OrdType.LIMIT, gtc_or_day(subject, asset_class)))
            await desk.wait(lambda: desk.books.blotter.get(first.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            lower = await priced(desk, subject, asset_class, "0.975")
            second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=lower, intent=IntentID("lower")))
            await desk.wait(lambda: desk.books.blotter.get(second.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            old, new = desk.books.blotter.get(first.cl_ord_id), desk.books.blotter.get(second.cl_ord_id)
            assert old is not None
            assert new is not None

            assert (old.ord_status, new.ord_status, new.price) == (OrdStatus.REPLACED, OrdStatus.NEW, lower)
            reserved = desk.books.blotter.reserved(subject.broker, first.instrument)
            assert reserved.buy_qty == new.order_qty
            market = changed(approved_of(desk, second), cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb"), orig_order_id=new.order_id)
            assert (await settled(desk, await desk.cancel(new.cl_ord_id))).ord_status is OrdStatus.CANCELED
            with pytest.raises((Rejected, InDoubt)):
                await desk.brokers[subject.broker].replace(market)  # it is over: nothing to change

    conform(tmp_path, subject, story)


@each_class
def test_a_changed_order_is_known_again_after_a_restart(tmp_path: Path, subject: Subject, asset_class: AssetClass) -> None:
    async def story(bench: Bench, between: Between) -> None:
        if not subject.facts.can_replace:
            return
        async with bench.desk(WIDE) as desk:
            first = await desk.submit(await shaped(desk, subject, asset_class, OrdType.LIMIT, gtc_or_day(subject, asset_class)))
            await desk.wait(lambda: desk.books.blotter.get(first.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            near = await priced(desk, subject, asset_class, "0.9995")
            second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=near, intent=IntentID("near")))
        async with bench.desk(WIDE) as desk:
            assert await desk.wait(lambda: desk.books.blotter.get(second.cl_ord_id).settled, 8 * 3600 * SECOND_NS)  # type: ignore[union-attr]
            await asyncio.sleep(60)
            done = await settled(desk, second)
            old = desk.books.blotter.get(first.cl_ord_id)
            assert old is not None

            assert (old.ord_status, old.fills, done.ord_status) == (OrdStatus.REPLACED, (), OrdStatus.FILLED)
            assert booked(bench, [fill for order in desk.books.blotter for fill in order.fills])
            assert desk.books.halts == {}

    conform(tmp_path, subject, story)
