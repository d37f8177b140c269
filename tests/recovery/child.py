"""A day in the life of a desk, in a process of its own that may be killed at any named point. Run by prove.py."""

import functools
import json
import os
import signal
import sys
from collections.abc import Awaitable
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace as changed

from tests.recovery.wire import SteppedHttp
from trading_system.app import build
from trading_system.app import desk as desk_module
from trading_system.app.config import load_config
from trading_system.app.desk import Desk
from trading_system.core.risk import Level
from trading_system.domain.errors import DeskError
from trading_system.domain.fix import Doubt, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, InstrumentID, IntentID
from trading_system.domain.order import NewOrder, Order, Replace
from trading_system.transport import http

BROKER, BTC, FORD = BrokerName("alpaca"), InstrumentID("BTC/USD"), InstrumentID("F")
SECOND_NS = 1_000_000_000
_T = TypeVar("_T")


class Bomb:
    """SIGKILL at a point: "a > b" at the first b after the so many-th a."""

    def __init__(self, point: str, count: int) -> None:
        self._path = point.split(" > ")
        self._left = count

    def __call__(self, name: str) -> None:
        if name != self._path[0]:
            return
        if self._left > 1:
            self._left -= 1
        elif len(self._path) > 1:
            del self._path[0]
        else:
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
        repeat=True,
    )


async def day(desk: Desk, misfortunes: list[str], state: dict[str, object]) -> None:
    """Everything once, each wish under a key of its own: a fill, a resting order with its change and cancel, an order that finds no connection,
    a position with its stop, a backup, a kill over two resting orders, an order whose answer is lost, and flat at last."""
    await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)
    if desk.books.halts:
        await desk.resume("*", by="child")
    quote = await desk.hub.fetch(BROKER, BTC)
    assert quote.bid_px is not None
    far = (quote.bid_px * Decimal("0.98")).quantize(Decimal("0.01"))
    await attempt(desk.submit(wish("market-1", "0.01")))
    resting = await attempt(desk.submit(wish("resting", "0.01", far)))
    if resting is not None and resting.order_id is not None:
        await desk.wait(lambda: str(known(desk, resting).ord_status) != "pending_new", SECOND_NS)
        successor = await attempt(desk.replace(Replace(cl_ord_id=resting.cl_ord_id, price=far - 1, intent=IntentID("changed"))))
        await desk.wait(lambda: known(desk, resting).ord_status.terminal, SECOND_NS)
        await attempt(desk.cancel((successor or resting).cl_ord_id))
    await guarded(desk)
    await unlucky(desk, misfortunes, "refused", wish("unsent", "0.02"))
    backup = desk.journal.path.with_name(f"backup-{desk.books.epoch}.sqlite")
    await desk.journal.flush()
    desk.journal.backup(backup)
    await attempt(desk.submit(wish("caught-1", "0.01", far)))
    await attempt(desk.submit(wish("caught-2", "0.01", far + 1)))
    await desk.halt("all", Level.KILL, "drill")
    await desk.resume("*", by="child")
    desk.alert("info", "the drill is over")
    await unlucky(desk, misfortunes, "lost", wish("lost", "0.02"))
    await desk.wait(lambda: set(open_orders(desk)) <= set(stops(desk)), 2 * SECOND_NS)
    doubtful = any(order.doubt is not Doubt.NONE for order in desk.books.blotter.working_on(BROKER, FORD))
    state["guarded"] = [str(desk.books.ledger.position(BROKER, FORD)), len(stops(desk)), doubtful]
    await desk.flatten()


async def guarded(desk: Desk) -> None:
    """A position that asked for a stop; in a later life it has it already, or gets it now."""
    await desk.instrument(BROKER, FORD)
    quote = await desk.hub.fetch(BROKER, FORD)
    assert quote.bid_px is not None
    stop_px = (quote.bid_px * Decimal("0.9")).quantize(Decimal("0.01"))
    entry = await attempt(desk.submit(changed(wish("guarded", "5"), instrument=FORD, time_in_force=TimeInForce.DAY, protect_stop_px=stop_px)))
    if entry is not None:
        await desk.wait(lambda: bool(known(desk, entry).ord_status.terminal and any(stop.order_id for stop in stops(desk))), 6 * SECOND_NS)


def stops(desk: Desk) -> list[Order]:
    return [order for order in desk.books.blotter.working_on(BROKER, FORD) if order.protects is not None]


async def unlucky(desk: Desk, misfortunes: list[str], kind: str, request: NewOrder) -> None:
    misfortunes.append(kind)
    await attempt(desk.submit(request))
    misfortunes.clear()  # an order that was sent in an earlier life is not sent again


async def attempt(work: Awaitable[_T]) -> _T | None:
    try:
        return await work
    except DeskError:
        return None


def known(desk: Desk, order: Order) -> Order:
    found = desk.books.blotter.get(order.cl_ord_id)
    assert found is not None
    return found


def open_orders(desk: Desk) -> list[Order]:
    """An order in doubt that never arrived stays so for minutes, rightly; nobody waits for it here."""
    return [order for order in desk.books.blotter.working() if order.doubt is Doubt.NONE]


async def main(home: str, rest: str, key: str, secret: str, point: str, count: int) -> None:
    bomb, misfortunes = Bomb(point, count), list[str]()
    http.AiohttpHttp = functools.partial(SteppedHttp, step=bomb, misfortunes=misfortunes)  # type: ignore[assignment,misc]
    desk_module._CANCEL_WAIT_NS = SECOND_NS  # an order in doubt is waited for in vain
    config = load_config({"TRADING_HOME": home, "MAX_ORDERS_PER_SECOND": "100"}, env_file=Path(os.devnull))
    account = build.twin_account("alpaca", {"rest": rest, "key": key, "secret": secret})
    state: dict[str, object] = {}
    async with build.open_desk(config, (account,), folder=Path(home) / "twin", step=bomb) as desk:
        state["halted_at_start"] = list(desk.books.halts)
        await day(desk, misfortunes, state)
        await desk.wait(lambda: not open_orders(desk), 5 * SECOND_NS)
        await desk.wait(
            lambda: all(desk.ready.values()) and not any(desk.books.ledger.position(BROKER, name) for name in (BTC, FORD)), 20 * SECOND_NS
        )
        state |= {
            "orders": {order.cl_ord_id: [order.ord_status, order.doubt, str(order.cum_qty)] for order in desk.books.blotter},
            "fills": [fill.exec_id for order in desk.books.blotter for fill in order.fills],
            "position": str(desk.books.ledger.position(BROKER, BTC)),
            "halts": list(desk.books.halts),
        }
    print(json.dumps(state))


if __name__ == "__main__":
    build.run(main(*sys.argv[1:6], int(sys.argv[6])))
