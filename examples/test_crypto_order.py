"""Buy a little BTC and sell it again, on paper or on the twin.

The gate, the journal, one request each way.

python examples/test_crypto_order.py [--broker NAME]
"""

import sys
from decimal import Decimal

from _desk import BROKER, main, pair

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.domain.fix import OrdType, Side
from trading_system.domain.ids import IntentID
from trading_system.domain.instrument import Instrument
from trading_system.domain.money import plain, round_qty
from trading_system.domain.order import NewOrder, Order

QTY = Decimal("0.001")
WITHIN_NS = 20_000_000_000


async def trade(desk: Desk, traded: Instrument, side: Side, qty: Decimal) -> Order:
    request = NewOrder(
        broker=BROKER,
        instrument=traded.id,
        side=side,
        time_in_force=desk.brokers[BROKER].facts.usual_time(traded.asset_class, OrdType.MARKET),
        order_qty=qty,
        intent=IntentID(f"crypto-test-{side}-{desk.clock.now_ns()}"),
    )
    placed = await desk.submit(request)
    await desk.wait(lambda: bool(desk.books.blotter.get(placed.cl_ord_id).settled), WITHIN_NS)  # type: ignore[union-attr]
    order = desk.books.blotter.get(placed.cl_ord_id) or placed
    print(f"{side} {plain(qty)} {traded.id}: {order.ord_status}, {plain(order.cum_qty)} at {order.avg_px and plain(order.avg_px)} {order.text}")
    return order


async def story(desk: Desk, config: Config) -> None:
    if desk.environment == "live":
        print("This test buys and sells: it runs on paper only. Set TRADING_MODE=paper and the broker's own flag.", file=sys.stderr)
        sys.exit(1)
    traded = await desk.instrument(BROKER, await pair(desk, "BTC"))
    bought = await trade(desk, traded, Side.BUY, QTY)
    if not bought.cum_qty:
        sys.exit(1)
    await desk.wait(lambda: desk.books.ledger.position(BROKER, traded.id) < bought.cum_qty, WITHIN_NS // 10)  # the fee is taken from the coins
    snapshot = await desk.refresh_account(BROKER)
    held = next((position.qty for position in snapshot.positions if position.instrument == traded.id), Decimal(0))
    await trade(desk, traded, Side.SELL, min(round_qty(held, traded.lot), bought.cum_qty))
    print("✅ Crypto order test passed!")


if __name__ == "__main__":
    main(story)
