"""A dry run: the whole path, and nothing that changes anything leaves, at any broker. Where a broker checks orders without placing them, that is all
that it is asked for."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conformance.between import Between, conform, order
from tests.conformance.test_orders import WIDE, each_broker, gtc_or_day, priced
from tests.desks import Bench, settled
from tests.subjects import KRAKEN, KRAKEN_WS, Subject
from trading_system.core.risk import Level
from trading_system.domain.errors import BadRequest
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side
from trading_system.domain.ids import IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Replace
from trading_system.domain.ports import ValidatesOrders
from trading_system.sim.network import Faults

D = Decimal
each_way_to_kraken = pytest.mark.parametrize("subject", [KRAKEN, KRAKEN_WS], ids=lambda subject: subject.name)


@each_broker
def test_nothing_leaves_in_a_dry_run_but_a_check(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        kind = next(iter(subject.instruments))
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(order(subject, kind, "held", "2")))
            low = await priced(desk, subject, kind, "0.98")
            rests = {"ord_type": OrdType.LIMIT, "time_in_force": gtc_or_day(subject, kind)}
            resting = await desk.submit(order(subject, kind, "rests", price=low, **rests))
            await desk.wait(lambda: desk.books.blotter.get(resting.cl_ord_id).ord_status is OrdStatus.NEW, 5_000_000_000)  # type: ignore[union-attr]
        before, orders = len(between.asked), len(bench.twin.exchange.orders)
        async with bench.desk(WIDE, dry_run=True, dead_man=True) as desk:
            low, high = await priced(desk, subject, kind, "0.97"), await priced(desk, subject, kind, "1.02")
            tried = [
                order(subject, kind, "market", repeat=True),
                order(subject, kind, "limit", ord_type=OrdType.LIMIT, price=low),
                order(subject, kind, "guarded", protect_stop_px=low, repeat=True),
                order(subject, kind, "out", side=Side.SELL, ord_type=OrdType.LIMIT, price=high, reduce_only=True),
            ]
            done = [await desk.submit(wish) for wish in tried]
            asked = between.asked[before:]
            changed = await desk.replace(Replace(cl_ord_id=resting.cl_ord_id, price=low, intent=IntentID("changed")))
            assert "dry run" in changed.text
            assert "dry run" in (await desk.cancel(resting.cl_ord_id)).text
            await desk.cancel_all(external=True)
            await desk.flatten()
            await desk.halt("all", Level.KILL, "drill")
            await asyncio.sleep(200)  # audits, feedings, looks: whatever comes by itself

            checker = desk.brokers[subject.broker]
            assert {(sent.ord_status, sent.doubt, sent.order_id) for sent in done} == {(OrdStatus.REJECTED, Doubt.NONE, None)}
            assert {"dry run" in sent.text for sent in done} == {True}
        assert between.asked[before:] == asked  # nothing but for the new orders
        assert all(subject.checks(request) for request in asked)
        assert len(asked) == (len(tried) if isinstance(checker, ValidatesOrders) else 0)
        assert len(bench.twin.exchange.orders) == orders

    conform(tmp_path, subject, story)


@each_way_to_kraken
def test_what_the_broker_says_of_an_order_is_told(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE, dry_run=True) as desk:
            taken = await desk.submit(order(subject, AssetClass.CRYPTO, "a", "0.1"))
            between.answers = lambda body: b'{"error":["EOrder:Insufficient funds"]}' if b'"descr"' in body else body
            refused = await desk.submit(order(subject, AssetClass.CRYPTO, "b", "0.2"))
            between.answers = lambda body: b"{" if b'"descr"' in body else body
            unsaid = await desk.submit(order(subject, AssetClass.CRYPTO, "c", "0.3"))

            assert taken.text == "dry run: nothing was placed; Kraken has checked it and would take it: buy 0.10000000 ETHUSD @ market"
            assert refused.text.startswith("Kraken refused: EOrder:Insufficient funds")
            assert refused.text.endswith("(a dry run: checked, not placed)")
            assert unsaid.text.startswith("Kraken's check did not say")
            assert {order.doubt for order in (taken, refused, unsaid)} == {Doubt.NONE}
            assert (desk.books.halts, desk.books.rejects) == ({}, {})  # a rehearsal's refusals trip nothing

    conform(tmp_path, subject, story)


@each_way_to_kraken
def test_a_check_that_places_an_order_after_all_halts_the_broker_and_the_order_is_found(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE, dry_run=True) as desk:
            between.answers = lambda body: body.replace(b'"descr"', b'"txid":["OAAAAA-AAAAA-AAAAAA"],"descr"')
            sent = await desk.submit(order(subject, AssetClass.CRYPTO, "a", "0.1"))

            assert sent.doubt is Doubt.IN_DOUBT
            assert "OAAAAA-AAAAA-AAAAAA" in desk.books.halts[subject.broker].text

    conform(tmp_path, subject, story)


@each_way_to_kraken
def test_a_broker_that_cannot_be_asked_places_nothing_either(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE, dry_run=True) as desk:
            await desk.instrument(subject.broker, subject.instruments[AssetClass.CRYPTO])
            await desk.hub.fetch(subject.broker, subject.instruments[AssetClass.CRYPTO])
            bench.network.faults = Faults(lost_answer=1.0)
            sent = await desk.submit(order(subject, AssetClass.CRYPTO, "a", "0.1"))

            assert (sent.ord_status, sent.doubt) == (OrdStatus.REJECTED, Doubt.NONE)
            assert not bench.twin.trading.placed
            with pytest.raises(BadRequest):
                await desk.replace(Replace(cl_ord_id=sent.cl_ord_id, price=D(1), intent=IntentID("b")))

    conform(tmp_path, subject, story)
