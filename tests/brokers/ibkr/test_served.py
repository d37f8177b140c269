"""Interactive Brokers over a real socket: a served twin, and a production desk that the settings point at it."""

from decimal import Decimal
from pathlib import Path

from tests.conformance.between import order
from tests.desks import settled
from tests.subjects import IBKR
from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.domain.fix import OrdStatus
from trading_system.domain.instrument import AssetClass


async def test_a_desk_trades_on_the_twin_that_the_settings_name(tmp_path: Path) -> None:
    async with build.served_twin("ibkr", seed=3) as twin:
        settings = {"IBKR_URL": twin["rest"], "IB_ACCOUNT": twin["account"], "TRADING_HOME": str(tmp_path)}
        config = load_config(settings, folder=tmp_path)
        async with build.open_desk(config, listen=False) as desk:
            done = await settled(desk, await desk.submit(order(IBKR, AssetClass.EQUITY, "a", "2")))
            residue = await desk.flatten()

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, Decimal(2))
            assert (residue.problems, residue.orders, residue.positions) == ((), (), ())
