"""What the two trading examples share: hold while a price is above its average, be out while it is below. No advice: a loop to start from."""

import asyncio
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from itertools import count

from _desk import BROKER

from trading_system.app.desk import Desk
from trading_system.domain.errors import DeskError
from trading_system.domain.fix import OrdType, Side
from trading_system.domain.ids import InstrumentID, IntentID
from trading_system.domain.market import Quote
from trading_system.domain.money import plain, round_qty
from trading_system.domain.order import NewOrder, Order
from trading_system.domain.ports import Kinds

AVERAGE_OF = 8  # quotes
REFUSALS_MAX = 3
SETTLE_NS = 10_000_000_000

Entry = Callable[[Quote, IntentID], NewOrder]


async def follow(desk: Desk, instrument: InstrumentID, entry: Entry, seconds: int) -> None:
    """Trade for so long, then leave nothing behind. Each wish has a name of its own, so that a repeated one is never two orders."""
    run, number, refusals, prices = desk.clock.now_ns(), count(1), 0, deque[Decimal](maxlen=AVERAGE_OF)
    await desk.instrument(BROKER, instrument)
    try:
        async with asyncio.timeout(seconds):
            async for quote in desk.hub.stream(BROKER, (instrument,), Kinds()):
                if not isinstance(quote, Quote) or quote.mid is None:
                    continue
                prices.append(quote.mid)
                if len(prices) < AVERAGE_OF:
                    continue
                average, intent = sum(prices) / len(prices), IntentID(f"trend-{run}-{next(number)}")
                held = desk.books.ledger.position(BROKER, instrument)
                if quote.mid > average and not held and not desk.books.blotter.working_on(BROKER, instrument):
                    refusals += not await place(desk, entry(quote, intent))
                    if refusals == REFUSALS_MAX:
                        break
                elif quote.mid < average and held:
                    await leave(desk, instrument, intent)
    except TimeoutError:
        pass
    await leave(desk, instrument, IntentID(f"trend-{run}-end"))


async def place(desk: Desk, request: NewOrder) -> bool:
    """One order, and what became of it. A refusal of the gate's is an answer, not a crash: it says which limit, and what to do. False: that."""
    try:
        order = await desk.submit(request)
    except DeskError as error:
        print(f"   not placed: {error}")
        return False
    await desk.wait(lambda: now(desk, order).settled, SETTLE_NS)
    done = now(desk, order)
    at = "" if done.avg_px is None else f" at {plain(done.avg_px.quantize(Decimal('0.0001')))}"
    print(f"   {done.side} {plain(done.cum_qty)} {done.instrument}: {done.ord_status}{at} {done.text}")
    return True


async def leave(desk: Desk, instrument: InstrumentID, intent: IntentID) -> None:
    """Cancel what works there, then sell what is held. Stops of the desk's and exits that the broker holds go first by themselves."""
    for order in desk.books.blotter.working_on(BROKER, instrument):
        if not order.reducing:
            await desk.cancel(order.cl_ord_id)
    known = await desk.instrument(BROKER, instrument)
    snapshot = await desk.refresh_account(BROKER)
    held = next((position.qty for position in snapshot.positions if position.instrument == instrument), Decimal(0))
    qty = round_qty(held, known.lot)
    if qty > 0:
        tif = desk.brokers[BROKER].facts.usual_time(known.asset_class, OrdType.MARKET)
        await place(desk, NewOrder(broker=BROKER, instrument=instrument, side=Side.SELL, time_in_force=tif, order_qty=qty, intent=intent))


def now(desk: Desk, order: Order) -> Order:
    return desk.books.blotter.get(order.cl_ord_id) or order


def tell_before(desk: Desk, what: str, seconds: int) -> None:
    print(f"{what} for {seconds} s on {desk.environment}; Ctrl-C stops, and the desk's limits hold throughout.")
    if desk.environment == "live":
        print("REAL MONEY. Nothing leaves before `trading arm --max-notional … --until …`; start small.")
