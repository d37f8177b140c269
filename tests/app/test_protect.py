"""Stops that the desk looks after: placed as it fills, sized to what is held, out of an exit's way, back after a restart, or a person is told."""

import asyncio
import re
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conformance.between import Between, conform
from tests.desks import AAPL, BROKER, BTC, Bench, mid, on_bench, settled, wish
from tests.subjects import ALPACA
from trading_system.app import recover
from trading_system.app.desk import Desk
from trading_system.core.risk import Level
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID, IntentID
from trading_system.domain.order import Attached, Order, Replace
from trading_system.journal import replay as replay_module
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults

D = Decimal
MINUTE_NS = 60 * SECOND_NS
SPY = InstrumentID("SPY")


def stops(desk: Desk) -> list[Order]:
    return [order for order in desk.books.blotter.working() if order.protects is not None and order.ord_status is OrdStatus.NEW]


async def guarded(desk: Desk, qty: str, within_ns: int = 2 * SECOND_NS) -> bool:
    return await desk.wait(lambda: sum((stop.leaves_qty for stop in stops(desk)), D(0)) == D(qty), within_ns)


async def below(desk: Desk, fraction: str = "0.9") -> Decimal:
    return (await mid(desk) * D(fraction)).quantize(D("0.01"))


def test_a_fill_has_its_stop_within_two_seconds_and_after_a_restart(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            entry = await settled(desk, await desk.submit(wish("a", "10", protect_stop_px=await below(desk))))
            assert await guarded(desk, "10")
            (stop,) = stops(desk)

            assert (stop.side, stop.ord_type, stop.time_in_force, stop.protects) == (Side.SELL, OrdType.STOP, TimeInForce.GTC, entry.cl_ord_id)
            assert stop.stop_px == entry.protect_stop_px
            await desk.cancel(stop.cl_ord_id)  # by whomever
            await settled(desk, stop)
            assert await guarded(desk, "10")
        async with bench.desk() as desk:
            assert len(stops(desk)) == 1
            bench.twin.exchange.cancel_at_once(bench.twin.now_ns)  # at the broker's own page, while this desk looks
            assert await guarded(desk, "10", MINUTE_NS)
            assert not [alert for alert in desk.books.alerts.values() if alert.severity == "critical"]

    on_bench(tmp_path, story)


def test_an_entry_that_was_changed_keeps_the_stop_it_asked_for(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            price = await mid(desk)
            rests = await desk.submit(wish("a", "10", price=(price * D("0.95")).quantize(D("0.01")), protect_stop_px=await below(desk)))
            assert await desk.wait(lambda: desk.books.blotter.get(rests.cl_ord_id).ord_status is OrdStatus.NEW, MINUTE_NS)  # type: ignore[union-attr]
            wished = Replace(cl_ord_id=rests.cl_ord_id, price=(price * D("1.002")).quantize(D("0.01")), intent=IntentID("b"))
            filled = await settled(desk, await desk.replace(wished))

            assert (filled.cum_qty, filled.protect_stop_px) == (D(10), rests.protect_stop_px)
            assert await guarded(desk, "10")

    on_bench(tmp_path, story)


def test_an_exit_goes_through_its_own_stop_and_what_is_left_is_guarded_anew(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "10", protect_stop_px=await below(desk))))
            assert await guarded(desk, "10")
            sold = await settled(desk, await desk.submit(wish("b", "4", Side.SELL)))

            assert sold.ord_status is OrdStatus.FILLED
            assert await guarded(desk, "6", 5 * SECOND_NS)
            residue = await desk.flatten()
            assert (residue.positions, residue.orders, residue.problems) == ((), (), ())
            await asyncio.sleep(5)
            assert stops(desk) == []

    on_bench(tmp_path, story)


def test_a_stop_survives_a_kill_and_a_fraction_gets_the_form_its_broker_takes(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "1.5", protect_stop_px=await below(desk))))
            assert await guarded(desk, "1.5")
            assert stops(desk)[0].time_in_force is TimeInForce.DAY
            floor = (await mid(desk, BTC) * D("0.9")).quantize(D("0.01"))
            await settled(desk, await desk.submit(wish("c", "0.01", instrument=BTC, protect_stop_px=floor)))
            assert await desk.wait(lambda: any(stop.instrument == BTC for stop in stops(desk)), 5 * SECOND_NS)
            crypto = next(stop for stop in stops(desk) if stop.instrument == BTC)
            assert (crypto.ord_type, crypto.time_in_force) == (OrdType.STOP_LIMIT, TimeInForce.GTC)
            await desk.halt("all", Level.KILL, "drill")
            await asyncio.sleep(20)
            assert len(stops(desk)) == 2

    on_bench(tmp_path, story)


@pytest.mark.parametrize("by_hand", [True, False])
def test_what_is_bought_after_a_guarded_entry_was_closed_is_not_guarded_by_its_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    monkeypatch.setattr(replay_module, "RETIRE_NS", 60 * SECOND_NS)
    monkeypatch.setattr(recover, "WATERMARK_IDLE_NS", 60 * SECOND_NS)
    monkeypatch.setattr(recover, "BEHIND_NS", 5 * SECOND_NS)
    monkeypatch.setattr(recover, "OVERLAP_NS", 5 * SECOND_NS)  # a week is a minute: what is settled soon leaves memory

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "10", protect_stop_px=await below(desk, "0.99" if by_hand else "0.999"))))
            assert await guarded(desk, "10")
            if by_hand:
                await settled(desk, await desk.submit(wish("x", "10", Side.SELL)))
            assert await desk.wait(lambda: not desk.books.ledger.position(BROKER, AAPL) and not stops(desk), 24 * 60 * MINUTE_NS)
            await settled(desk, await desk.submit(wish("b", "10")))
            await asyncio.sleep(600)
            await settled(desk, await desk.submit(wish("newer", "1", instrument=SPY)))  # what moves the watermark
            await asyncio.sleep(600)

            assert [order for order in desk.books.blotter.working() if order.instrument == AAPL] == []
            assert (desk.books.ledger.position(BROKER, AAPL), desk.books.protected) == (D(10), {})
        async with bench.desk() as desk:
            await asyncio.sleep(60)
            assert (desk.books.ledger.position(BROKER, AAPL), desk.books.blotter.working()) == (D(10), ())

    on_bench(tmp_path, story)


@pytest.mark.parametrize("sell", [False, True])
def test_a_position_without_its_stop_is_said_within_two_seconds_or_sold(tmp_path: Path, sell: bool) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            desk.flatten_unprotected = sell
            bench.twin.trading._rules.ticket = refuse_stops(bench)  # type: ignore[method-assign]
            await settled(desk, await desk.submit(wish("a", "10", protect_stop_px=await below(desk))))
            assert await desk.wait(lambda: any("has no stop at" in alert.text for alert in desk.books.alerts.values()), 2 * SECOND_NS)
            if sell:
                assert await desk.wait(lambda: not desk.books.ledger.position(BROKER, AAPL), 10 * SECOND_NS)
            else:
                await asyncio.sleep(30)
                assert desk.books.ledger.position(BROKER, AAPL) == 10

    on_bench(tmp_path, story)


def refuse_stops(bench: Bench):  # type: ignore[no-untyped-def]
    """The broker's answer to every stop, as it words such a refusal."""
    from trading_system.brokers.alpaca.twin.rules import rule

    plain = bench.twin.trading._rules.ticket

    def ticket(body, *rest):  # type: ignore[no-untyped-def]
        if body.type.startswith("stop"):
            raise rule("stop orders are not taken today")
        return plain(body, *rest)

    return ticket


def test_a_stop_in_doubt_is_asked_about_and_not_placed_a_second_time(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            floor = await below(desk)
            entry = await settled(desk, await desk.submit(wish("a", "10")))
            assert entry.ord_status is OrdStatus.FILLED
            bench.network.faults = Faults(lost_answer=1.0, lost_frame=1.0)
            task = asyncio.create_task(desk.submit(wish("b", "2", protect_stop_px=floor)))
            await asyncio.sleep(11)
            await task
            bench.network.faults = Faults(enabled=False)
            assert await guarded(desk, "2", 2 * MINUTE_NS)
            placed = [order for order in desk.books.blotter if order.protects is not None]

            assert len(placed) == 1
            assert placed[0].doubt is Doubt.NONE

    on_bench(tmp_path, story)


def test_a_stop_that_could_not_rest_is_refused_with_the_order(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            for stop_px in (await below(desk, "1.01"), D("100.001"), D("-1")):
                with pytest.raises(RiskRefused, match=r"PROTECT|TICK"):
                    await desk.submit(wish(f"k{stop_px}", "1", protect_stop_px=stop_px))
            await settled(desk, await desk.submit(wish("a", "5")))
            with pytest.raises(RiskRefused, match="only closes"):
                await desk.submit(wish("b", "5", Side.SELL, protect_stop_px=await below(desk, "1.1")))

    on_bench(tmp_path, story)


def test_a_stop_that_is_called_held_beside_its_working_take_profit_guards(tmp_path: Path) -> None:
    def held(body: bytes) -> bytes:
        body = re.sub(rb'"event":"new"(,"order":\{[^{}]*"type":"stop")', rb'"event":"held"\1', body)
        return re.sub(rb'("type":"stop"[^{}]*"status":)"new"', rb'\1"held"', body)

    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk() as desk:
            between.answers = between.frames = held
            price = await mid(desk)
            exits = Attached(take_profit_px=(price * D("1.05")).quantize(D("0.01")), stop_px=(price * D("0.95")).quantize(D("0.01")))
            entry = await settled(desk, await desk.submit(wish("a", "10", attached=exits)))
            await asyncio.sleep(60)
            stop, profit = sorted(
                (order for order in desk.books.blotter if order.parent == entry.cl_ord_id), key=lambda order: order.ord_type.has_price
            )

            assert (stop.ord_status, profit.ord_status) == (OrdStatus.SUSPENDED, OrdStatus.NEW)
            assert list(desk.books.alerts) == []
            sold = await settled(desk, await desk.submit(wish("b", "10", Side.SELL, reduce_only=True)))
            assert sold.ord_status is OrdStatus.FILLED

    conform(tmp_path, ALPACA, story)
