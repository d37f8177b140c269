"""Tradier over real sockets: a served twin, and a production desk that the settings point at it."""

import random
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

from tests.conformance.between import order
from tests.desks import settled
from tests.subjects import TRADIER
from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.brokers.tradier import connect
from trading_system.domain.fix import OrdStatus
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Quote
from trading_system.domain.ports import Kinds
from trading_system.settings.secret import Secret
from trading_system.transport.clock import SystemClock
from trading_system.transport.events import EventsDialer, SchemeDialer
from trading_system.transport.http import AiohttpHttp
from trading_system.transport.tcp import TcpDialer
from trading_system.transport.websocket import PicowsDialer


async def test_a_desk_trades_on_the_twin_that_the_settings_name(tmp_path: Path) -> None:
    async with build.served_twin("tradier", seed=3) as twin:
        settings = {"TRADIER_URL": twin["rest"], "TRADIER_ACCESS_TOKEN": twin["token"], "TRADING_HOME": str(tmp_path)}
        config = load_config(settings, folder=tmp_path)
        async with build.open_desk(config, listen=False) as desk:
            done = await settled(desk, await desk.submit(order(TRADIER, AssetClass.EQUITY, "a", "2")))
            residue = await desk.flatten()

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, Decimal(2))
            assert (residue.problems, residue.orders, residue.positions) == ((), (), ())


async def test_prices_come_by_http_too() -> None:
    async with build.served_twin("tradier", seed=3, kind="live") as twin:
        hosts = {twin["rest"].removeprefix("http://")}
        connector = connect(
            http=AiohttpHttp(hosts),
            dialer=SchemeDialer(PicowsDialer(), EventsDialer(hosts), TcpDialer()),
            clock=SystemClock(),
            rng=random.Random(1),
            credentials={"token": Secret(twin["token"])},
            environment="live",
            options={"url": twin["rest"], "market_stream": "http"},
        )
        await connector.connect()
        events = connector.subscribe((InstrumentID("AAPL"),), Kinds(trades=True))
        quote = await _first_quote(events)
        await events.aclose()
        await connector.aclose()

    assert quote.instrument == "AAPL"


async def _first_quote(events: AsyncIterator[object]) -> Quote:
    async for event in events:
        if isinstance(event, Quote):
            return event
    raise AssertionError("the stream ended")
