"""Bybit over real sockets: a served twin and a production desk that the settings point at it, orders by REST and by socket."""

import time
from decimal import Decimal
from pathlib import Path

import pytest

from tests.brokers.bybit.test_connector import mid, wish
from tests.desks import settled
from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.brokers.bybit.twin import BybitTwin
from trading_system.domain.fix import OrdStatus
from trading_system.domain.ids import IntentID
from trading_system.domain.order import Attached, Replace
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.host import serve

D = Decimal


@pytest.mark.parametrize("entry", ["rest", "websocket"])
async def test_a_desk_trades_on_the_twin_that_the_settings_name(tmp_path: Path, entry: str) -> None:
    twin = BybitTwin(seed=3, start_ns=time.time_ns())
    async with serve(twin) as host:
        keys = {"BYBIT_URL": host.url, "BYBIT_API_KEY": twin.key, "BYBIT_API_SECRET": twin.secret}
        config = load_config(keys | {"BYBIT_ORDER_ENTRY": entry, "TRADING_HOME": str(tmp_path)}, folder=tmp_path)
        async with build.open_desk(config, listen=False) as desk:
            price = await mid(desk)
            exits = Attached(take_profit_px=price + 20, stop_px=price - 20)
            bought = await settled(desk, await desk.submit(wish("a", "3", attached=exits)))
            rests = await desk.submit(wish("b", "2", price=price - 5))
            await desk.wait(lambda: desk.books.blotter.get(rests.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            changed = await desk.replace(Replace(cl_ord_id=rests.cl_ord_id, price=price - 6, intent=IntentID("c")))
            gone = await settled(desk, await desk.cancel(changed.cl_ord_id))
            assert await desk.wait(lambda: len([order for order in desk.books.blotter if order.parent]) == 2, 30 * SECOND_NS)
            residue = await desk.flatten()
            frames = sum(len(line.names) for line in twin.trade.conns.values())

            assert (bought.ord_status, bought.cum_qty, gone.ord_status) == (OrdStatus.FILLED, 3, OrdStatus.CANCELED)
            assert (residue.problems, residue.orders, residue.positions) == ((), (), ())
            assert frames == 0 if entry == "rest" else frames > 4
            assert desk.books.halts == {}
