"""Mutual funds by TWS: bought for money, sold in shares, and done when the market has closed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.desks import Bench, on_bench
from tests.factories import D
from tests.subjects import IBKR
from trading_system.app import portfolio
from trading_system.app.desk import Desk
from trading_system.brokers.ibkr.contracts import Words, decode_instrument, encode_instrument
from trading_system.core.risk import Limits
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import NewOrder, Order
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.sessions import new_york_day, new_york_ns

INDEX = InstrumentID("VFIAX")
WIDE = Limits(max_position_pct=D(2), max_leverage=D(2), max_concurrent_positions=9, max_orders_per_second=99)
MINUTES = 15 * 60 + 55  # of the day at which each story begins


def wish(intent: str, cash: str = "", qty: str = "", **changes: Any) -> NewOrder:
    fields = {
        "broker": IBKR.broker,
        "instrument": INDEX,
        "side": Side.BUY if cash else Side.SELL,
        "order_qty": D(qty) if qty else None,
        "cash_order_qty": D(cash) if cash else None,
        "time_in_force": TimeInForce.DAY,
        "ord_type": OrdType.MARKET,
        "intent": IntentID(intent),
    }
    return NewOrder(**(fields | changes))


async def later(bench: Bench, minutes: int) -> None:
    """Until so many minutes after New York's next midnight."""
    now = bench.clock.now_ns()
    day, at_ns = new_york_day(now), 0
    while at_ns <= now:
        at_ns = new_york_ns(day, minutes)
        day = new_york_day(at_ns + 26 * 3_600 * SECOND_NS)
    await asyncio.sleep((at_ns - now) / SECOND_NS)


def order_of(desk: Desk, order: Order) -> Order:
    found = desk.books.blotter.get(order.cl_ord_id)
    assert found is not None
    return found


def test_a_fund_is_bought_for_money_when_the_day_is_over(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await later(bench, MINUTES)
        async with bench.desk(WIDE) as desk:
            found = await desk.instrument(IBKR.broker, INDEX)
            seen = await desk.hub.fetch(IBKR.broker, INDEX)
            bought = await desk.submit(wish("a", cash="5000"))
            await asyncio.sleep(120)

            assert (found.asset_class, found.shortable, found.hours.always) == (AssetClass.FUND, False, False)
            assert seen.bid_px == seen.ask_px
            assert order_of(desk, bought).ord_status is OrdStatus.NEW
            assert desk.books.ledger.position(IBKR.broker, INDEX) == 0

            await asyncio.sleep(300)
            done = order_of(desk, bought)
            account = await desk.refresh_account(IBKR.broker)
            (held,) = [position for position in account.positions if position.instrument == INDEX]
            (row,) = [row for row in portfolio.portfolio(desk)["positions"] if row["instrument"] == INDEX]  # type: ignore[attr-defined]
            spent = sum(fill.qty * fill.price for fill in done.fills)

            assert done.ord_status is OrdStatus.FILLED
            assert D("4999.99") < spent <= 5000
            assert held.qty == done.cum_qty == desk.books.ledger.position(IBKR.broker, INDEX)
            assert abs(D(row["market_value"]) - spent) < 50
            assert abs(100_000 - account.cash - spent - sum(fill.fee for fill in done.fills)) < D("0.01")
            assert desk.books.halts == {}

    run(tmp_path, story)


def test_a_part_of_it_is_given_back_in_shares_and_what_waits_can_be_called_off(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.twin.exchange.deposit(INDEX, D(9))
        await later(bench, MINUTES)
        async with bench.desk(WIDE) as desk:
            off = await desk.submit(wish("b", cash="700"))
            await asyncio.sleep(5)
            await desk.cancel(off.cl_ord_id)
            await asyncio.sleep(5)
            sold = await desk.submit(wish("c", qty="2.5", reduce_only=True))
            await asyncio.sleep(600)

            assert order_of(desk, sold).ord_status is OrdStatus.FILLED
            assert order_of(desk, off).ord_status is OrdStatus.CANCELED
            assert desk.books.ledger.position(IBKR.broker, INDEX) == D("6.5")
            assert desk.books.halts == {}

    run(tmp_path, story)


def test_what_a_fund_cannot_be_asked_for_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await later(bench, MINUTES)
        async with bench.desk(WIDE) as desk:
            before = bench.twin.trading.posts
            with pytest.raises(RiskRefused, match="a buy names an amount of money"):
                await desk.submit(wish("a", qty="3", side=Side.BUY))
            with pytest.raises(RiskRefused, match="SHORT"):
                await desk.submit(wish("b", qty="3"))
            with pytest.raises(RiskRefused, match="CAPABILITY"):
                await desk.submit(wish("c", qty="3", side=Side.BUY, ord_type=OrdType.LIMIT, price=D(500)))
            await later(bench, 20 * 60)
            with pytest.raises(RiskRefused, match="HOURS"):
                await desk.submit(wish("d", cash="700"))

            assert bench.twin.trading.posts == before

    run(tmp_path, story)


def test_words_of_a_fund() -> None:
    assert encode_instrument(INDEX) == Words(symbol="VFIAX", sec_type="FUND", exchange="FUNDSERV")
    assert decode_instrument("FUND", "VFIAX", "USD", "VFIAX") == INDEX
    assert decode_instrument("FUND", "LU0123456789", "USD", "LU0123456789") == "LU0123456789.FUND"


def run(tmp_path: Path, story: Any) -> None:
    on_bench(tmp_path, story, subject=IBKR, hours="us")
