"""A day in the life of a desk, in a process of its own that may be killed at any named step. Run by prove.py."""

import json
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path

from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.app.desk import Desk
from trading_system.core.risk import Level
from trading_system.domain.errors import DeskError
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, InstrumentID, IntentID
from trading_system.domain.order import NewOrder, Replace

BROKER, BTC = BrokerName("alpaca"), InstrumentID("BTC/USD")
SECOND_NS = 1_000_000_000


class Bomb:
    """SIGKILL at the so many-th time of a step."""

    def __init__(self, point: str, count: int) -> None:
        self.point, self.left = point, count

    def __call__(self, name: str) -> None:
        if name == self.point:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def wish(intent: str, qty: str, price: Decimal | None = None) -> NewOrder:
    return NewOrder(
        broker=BROKER,
        instrument=BTC,
        side=Side.BUY,
        ord_type=OrdType.MARKET if price is None else OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_qty=Decimal(qty),
        price=price,
        intent=IntentID(intent),
    )


async def day(desk: Desk) -> None:
    """Everything once: a resting order, its change and cancel, two fills, a halt and its end, flat at last. Each wish has a key of its own."""
    await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)
    if desk.books.halts:
        await desk.resume("*", by="child")
    quote = await desk.hub.fetch(BROKER, BTC)
    assert quote.bid_px is not None
    far = (quote.bid_px * Decimal("0.5")).quantize(Decimal("0.01"))
    await attempt(desk.submit(wish("market-1", "0.01")))
    resting = await attempt(desk.submit(wish("resting", "0.01", far)))
    if resting is not None and resting.order_id is not None:
        await desk.wait(lambda: str(desk.books.blotter.get(resting.cl_ord_id).ord_status) == "new", SECOND_NS)  # type: ignore[union-attr]
        changed = await attempt(desk.replace(Replace(cl_ord_id=resting.cl_ord_id, price=far + 1, intent=IntentID("changed"))))
        await desk.wait(lambda: len(desk.books.blotter.working()) < 2, 2 * SECOND_NS)
        await attempt(desk.cancel((changed or resting).cl_ord_id))
    await attempt(desk.submit(wish("market-2", "0.02")))
    await desk.halt("all", Level.KILL, "drill")
    await desk.resume("*", by="child")
    await desk.flatten()


async def attempt(work):  # type: ignore[no-untyped-def]
    try:
        return await work
    except DeskError:
        return None


async def main(home: str, rest: str, key: str, secret: str, point: str, count: int) -> None:
    config = load_config({"TRADING_HOME": home}, env_file=Path(os.devnull))
    account = build.twin_account("alpaca", {"rest": rest, "key": key, "secret": secret})
    async with build.open_desk(config, (account,), folder=Path(home) / "twin", step=Bomb(point, count)) as desk:
        await day(desk)
        await desk.wait(lambda: not desk.books.blotter.working(), 5 * SECOND_NS)
        await desk.wait(lambda: all(desk.ready.values()) and not desk.books.ledger.position(BROKER, BTC), 8 * SECOND_NS)
        state = {
            "orders": {order.cl_ord_id: [order.ord_status, order.doubt, str(order.cum_qty)] for order in desk.books.blotter},
            "fills": [fill.exec_id for order in desk.books.blotter for fill in order.fills],
            "position": str(desk.books.ledger.position(BROKER, BTC)),
            "halts": list(desk.books.halts),
        }
    print(json.dumps(state))


if __name__ == "__main__":
    build.run(main(*sys.argv[1:6], int(sys.argv[6])))
