"""Binance over real sockets: a served twin, and a production desk that the settings point at it."""

from decimal import Decimal
from pathlib import Path

from tests.brokers.binance.test_connector import ETH, wish
from tests.desks import settled
from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.domain.fix import OrdStatus

D = Decimal


async def test_a_desk_trades_on_the_twin_that_the_settings_name(tmp_path: Path) -> None:
    async with build.served_twin("binance", seed=3) as twin:
        keys = {"BINANCE_URL": twin["rest"], "BINANCE_API_KEY": twin["key"], "BINANCE_API_SECRET": twin["secret"]}
        config = load_config(keys | {"TRADING_HOME": str(tmp_path)}, folder=tmp_path)
        async with build.open_desk(config, listen=False) as desk:
            done = await settled(desk, await desk.submit(wish("a", "0.5")))
            residue = await desk.flatten()

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D("0.5"))
            assert residue.problems == residue.orders == ()
            assert desk.books.ledger.position("binance", ETH) == sum(qty for _, _, qty in residue.positions)  # type: ignore[arg-type]
            assert build.state_folder(config) == tmp_path / "twin"
