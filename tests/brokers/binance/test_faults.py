"""A desk on Binance's twin while everything goes wrong: in the end its books are the exchange's, and nothing was sent twice."""

import asyncio
import random
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from tests.brokers.binance.test_connector import ETH, SOL, wish
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, on_bench
from tests.subjects import BINANCE, BINANCE_WS, Subject
from trading_system.app.desk import Desk
from trading_system.domain.errors import DeskError
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import IntentID
from trading_system.domain.order import Attached, Replace
from trading_system.sim.network import Faults

D = Decimal
STEPS = 25
ENTRIES = (D("0.998"), D("1.0005"), D("1.0005"))  # of the middle: some rest
PROFITS, LOSSES = (D("1.001"), D("1.01")), (D("0.99"), D("0.997"))
QUIET_S = 400  # over the horizon of an order in doubt
KINDS = (
    "refused",
    "lost_request",
    "lost_answer",
    "late_request",
    "reset",
    "late_answer",
    "torn_answer",
    "garbage",
    "failed_before",
    "failed_after",
    "duplicate_frame",
    "lost_frame",
    "lost_send",
)


def weather(rng: random.Random) -> Faults:
    """Some kinds of fault, some of them often."""
    rates = {kind: rng.choice((0, 0, 0.05, 0.15)) for kind in KINDS}
    return Faults(**rates, disconnect=rng.choice((0, 0.02, 0.1)), mute=rng.choice((0, 0, 0.02)))


async def act(desk: Desk, rng: random.Random, number: int) -> None:
    """Buy, sell, rest, link, trail, cancel or change."""
    instrument, working = rng.choice((ETH, SOL)), list(desk.books.blotter.working())
    kind = rng.choice(("market", "market", "exit", "limit", "limit", "bracket", "bracket", "trail", "cancel", "replace"))
    if kind == "market":
        await desk.submit(wish(f"k{number}", rng.choice(("0.5", "1", "3")), instrument=instrument))
    elif kind == "exit":
        half = (desk.books.ledger.position(BINANCE.broker, instrument) / 2).quantize(D("0.001"), rounding="ROUND_FLOOR")
        await desk.submit(wish(f"k{number}", str(half), Side.SELL, instrument=instrument))
    elif kind == "limit":
        quote = await desk.hub.fetch(BINANCE.broker, instrument)
        assert quote.bid_px is not None
        price = (quote.bid_px * rng.choice((D("0.99"), D(1), D("1.001")))).quantize(D("0.01"))
        tif = rng.choice((TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK))
        await desk.submit(wish(f"k{number}", "1", instrument=instrument, ord_type=OrdType.LIMIT, price=price, time_in_force=tif))
    elif kind == "bracket":
        quote = await desk.hub.fetch(BINANCE.broker, instrument)
        assert quote.mid is not None
        price, profit, loss = ((quote.mid * rng.choice(near)).quantize(D("0.01")) for near in (ENTRIES, PROFITS, LOSSES))
        attached = Attached(take_profit_px=profit if rng.random() < 0.7 else None, stop_px=loss)
        await desk.submit(wish(f"k{number}", rng.choice(("0.5", "3")), instrument=instrument, ord_type=OrdType.LIMIT, price=price, attached=attached))
    elif kind == "trail":
        half = (desk.books.ledger.position(BINANCE.broker, instrument) / 2).quantize(D("0.001"), rounding="ROUND_FLOOR")
        stop = {"ord_type": OrdType.TRAILING_STOP, "trail_pct": D("0.002"), "reduce_only": True}
        await desk.submit(wish(f"k{number}", str(half), Side.SELL, instrument=instrument, **stop))
    elif working:
        order = rng.choice(working)
        if kind == "cancel":
            await desk.cancel(order.cl_ord_id)
        elif order.price is not None:
            lower = (order.price * D("0.995")).quantize(D("0.01"))
            await desk.replace(Replace(cl_ord_id=order.cl_ord_id, price=lower, intent=IntentID(f"r{number}")))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("way", [BINANCE, BINANCE_WS], ids=lambda way: way.name)
def test_the_books_end_as_the_exchanges(tmp_path: Path, way: Subject, seed: int) -> None:
    async def story(bench: Bench) -> None:
        rng = random.Random(seed)
        async with bench.desk(WIDE) as desk:
            bench.network.faults = weather(rng)
            for number in range(STEPS):
                with suppress(DeskError):
                    await act(desk, rng, number)
                await asyncio.sleep(rng.random() * 8)
                if desk.books.halts and rng.random() < 0.5:
                    await desk.resume("*", by="owner")
            bench.network.faults = Faults(enabled=False)
            await asyncio.sleep(QUIET_S)
            exchange, ledger, blotter = bench.twin.exchange, desk.books.ledger, desk.books.blotter
            placed = [order.cl_ord_id for order in exchange.orders.values()]

            assert len(set(placed)) == len(placed)
            assert sorted(fill.exec_id for order in blotter for fill in order.fills) == sorted(exchange.executions)
            assert {order.cl_ord_id for order in blotter.working()} == {order.cl_ord_id for order in exchange.open_orders()}
            assert [ledger.position(BINANCE.broker, pair) for pair in (ETH, SOL)] == [exchange.position(name) for name in ("ETHUSDT", "SOLUSDT")]
            assert abs(ledger.cash(BINANCE.broker, "USDT") - exchange.cash) < D("1e-6")
            assert not list(desk.books.in_doubt())

    on_bench(tmp_path, story, subject=way)


def test_the_weather_is_bad_enough() -> None:
    """Over the seeds above every kind of fault is there, and often."""
    rates = [weather(random.Random(seed)) for seed in range(8)]

    assert all(sum(getattr(rate, kind) > 0 for rate in rates) >= 2 for kind in (*KINDS, "disconnect"))
