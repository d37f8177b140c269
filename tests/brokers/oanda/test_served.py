"""OANDA over real sockets: a served twin, its streams of lines, and a production desk that the settings point at it."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.brokers.oanda.test_connector import wish
from tests.desks import settled
from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.brokers.oanda.codec import forex_hours
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import OrdStatus
from trading_system.domain.hours import is_open
from trading_system.sim.clock import SECOND_NS

D = Decimal


async def test_a_desk_trades_on_the_twin_that_the_settings_name(tmp_path: Path) -> None:
    async with build.served_twin("oanda", seed=3) as twin:
        keys = {"OANDA_URL": twin["rest"], "OANDA_API_KEY": twin["key"], "OANDA_ACCOUNT_ID": twin["account_id"]}
        config = load_config(keys | {"TRADING_HOME": str(tmp_path)}, folder=tmp_path)
        async with build.open_desk(config, listen=False) as desk:
            assert await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)  # the stream of lines stands
            now_ns = desk.clock.now_ns()
            if not is_open(forex_hours(now_ns), now_ns):  # this machine's clock says that it is week-end
                with pytest.raises(RiskRefused, match="HOURS"):
                    await desk.submit(wish("a", "500"))
                return
            done = await settled(desk, await desk.submit(wish("a", "500")))
            residue = await desk.flatten()

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D(500))
            assert (residue.problems, residue.orders, residue.positions) == ((), (), ())
