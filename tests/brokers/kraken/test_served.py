"""Kraken over real sockets: a served twin, a production desk that the settings point at it, and paper trading on its prices without a login."""

import random
from decimal import Decimal
from pathlib import Path

import pytest

from tests.brokers.kraken.test_connector import ETH, wish
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, on_bench, settled
from tests.subjects import KRAKEN
from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.app.desk import Desk
from trading_system.app.hub import Hub
from trading_system.app.recover import Recovery
from trading_system.domain.fix import OrdStatus, OrdType
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.paper import PaperBroker

D = Decimal


@pytest.mark.parametrize("entry", ["rest", "websocket"])
async def test_a_desk_trades_on_the_twin_that_the_settings_name(tmp_path: Path, entry: str) -> None:
    async with build.served_twin("kraken", seed=3) as twin:
        keys = {"KRAKEN_URL": twin["rest"], "KRAKEN_API_KEY": twin["key"], "KRAKEN_API_SECRET": twin["secret"]}
        settings = {"KRAKEN_ORDER_ENTRY": entry, "TRADING_HOME": str(tmp_path)}
        config = load_config(keys | settings, folder=tmp_path)
        async with build.open_desk(config, listen=False) as desk:
            done = await settled(desk, await desk.submit(wish("a", "0.5", ord_type=OrdType.MARKET)))
            residue = await desk.flatten()

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D("0.5"))
            assert (residue.problems, residue.orders, residue.positions) == ((), (), ())
            assert build.state_folder(config) == tmp_path / "twin"


@pytest.mark.parametrize("wanted", ["true", "false"])
async def test_the_settings_say_whether_the_switch_is_used_and_a_dry_run_is_checked_there(tmp_path: Path, wanted: str) -> None:
    async with build.served_twin("kraken", seed=3, rate=1000) as twin:
        keys = {"KRAKEN_URL": twin["rest"], "KRAKEN_API_KEY": twin["key"], "KRAKEN_API_SECRET": twin["secret"]}
        config = load_config(keys | {"KRAKEN_DEAD_MAN": wanted, "TRADING_HOME": str(tmp_path)}, folder=tmp_path)
        async with build.open_desk(config) as desk:
            if wanted == "true":
                assert await desk.wait(lambda: desk.dead_men() == {KRAKEN.broker: None}, 20 * SECOND_NS)
            else:
                assert desk.dead_men() == {}
        found = await build.call(config, "check", {})

        assert found["dead_man"].keys() == ({"kraken"} if wanted == "true" else set())  # type: ignore[index]
        assert [switch["armed"] for switch in found["dead_man"].values()] == [False] * (wanted == "true")  # type: ignore[index]
        dry = await build.call(config, "submit", {"instrument": "ETH/USD", "side": "buy", "order_qty": "0.1", "intent": "a"}, dry_run=True)
        assert dry["text"].startswith("dry run: nothing was placed; Kraken has checked it")  # type: ignore[index]


def test_on_paper_fills_are_made_here_on_krakens_prices_and_the_key_is_never_used(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        paper = PaperBroker(connected, path=tmp_path / "paper.json", clock=bench.clock, rng=random.Random(4))
        journal = Journal(tmp_path / "journal.sqlite")
        desk = Desk(
            books=replay(()),
            journal=journal,
            brokers={KRAKEN.broker: paper},
            hub=Hub({KRAKEN.broker: paper}),
            limits=WIDE,
            clock=bench.clock,
            environment="paper",
        )
        recovery = Recovery(desk, version="test", config_hash="test")
        await recovery.start()
        await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)
        done = await settled(desk, await desk.submit(wish("a", "0.5", ord_type=OrdType.MARKET)))
        await desk.drain()
        await recovery.aclose()
        await desk.hub.aclose()
        await journal.aclose()

        assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D("0.5"))
        assert sum(fill.fee for fill in done.fills) == pytest.approx(done.avg_px * D("0.5") * D("0.0040"), rel=D("1e-6"))  # type: ignore[operator]
        assert desk.books.ledger.position(KRAKEN.broker, ETH) == D("0.5")
        assert (bench.twin.nonce, bench.twin.exchange.orders) == (0, {})

    on_bench(tmp_path, story, subject=KRAKEN)
