"""The full check, step by step: it asks before each; without a terminal it takes every step that costs nothing.

python examples/test_broker_connection.py [--broker NAME]
"""

import asyncio
import sys
from decimal import Decimal

from _desk import BROKER, main, sample

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID, IntentID
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Quote
from trading_system.domain.money import plain, round_price
from trading_system.domain.order import NewOrder
from trading_system.domain.ports import Kinds

QUOTES = 5
STREAM_S = 40  # where there is no stream, a quote comes every five seconds


def wanted(question: str) -> bool:
    """Yes, where nobody can be asked."""
    return not sys.stdin.isatty() or input(f"\n{question} [Y/n] ").strip().lower() in ("", "y", "yes")


async def account(desk: Desk) -> None:
    found = await desk.refresh_account(BROKER)
    print(f"✅ account {found.account} ({found.environment}): equity ${found.equity:,.2f}, buying power ${found.buying_power:,.2f}")
    for position in found.positions:
        print(f"   {position.qty} {position.instrument}, {position.unrealized_pnl} unrealised")


async def quotes(desk: Desk, traded: InstrumentID) -> None:
    seen = 0
    async with asyncio.timeout(STREAM_S):
        async for event in desk.hub.stream(BROKER, (traded,), Kinds()):
            if isinstance(event, Quote):
                print(f"   {event.instrument} {event.bid_px} / {event.ask_px}")
                seen += 1
            if seen == QUOTES:
                break
    print("✅ quotes stream")


async def order(desk: Desk, traded: Instrument, qty: Decimal) -> None:
    """A limit order at half the price: it rests, and is cancelled."""
    quote = await desk.hub.fetch(BROKER, traded.id)
    assert quote.bid_px is not None
    half = quote.bid_px / 2
    price = round_price(half, traded.tick(half), Side.BUY)
    request = NewOrder(
        broker=BROKER,
        instrument=traded.id,
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_qty=qty,
        price=price,
        intent=IntentID(f"connection-test-{desk.clock.now_ns()}"),
    )
    placed = await desk.submit(request)
    print(f"   {placed.cl_ord_id} buy {plain(qty)} {traded.id} at {plain(price)}: {placed.ord_status} {placed.text}")
    canceled = await desk.cancel(placed.cl_ord_id)
    await desk.wait(lambda: bool(desk.books.blotter.get(canceled.cl_ord_id).settled), 10_000_000_000)  # type: ignore[union-attr]
    print(f"✅ placed once, and cancelled: {desk.books.blotter.get(canceled.cl_ord_id).ord_status}")  # type: ignore[union-attr]


async def story(desk: Desk, config: Config) -> None:
    await account(desk)
    traded, qty = await sample(desk)
    if wanted("Stream a few quotes?"):
        await quotes(desk, traded.id)
    if desk.environment == "live":
        print("   (no test order on a live account)")
    elif wanted("Place a limit order far from the market and cancel it?"):
        await order(desk, traded, qty)
    print("\n✅ All connection tests passed!")


if __name__ == "__main__":
    main(story)
