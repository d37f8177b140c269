"""A bare socket that breaks while an order is under way: the order was sent once, is never told as "not done", and is found by asking."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal

import pytest
from msgspec.structs import replace as changed

from tests.factories import approved
from tests.factories import wish as plain_wish
from tests.subjects import IBKR
from trading_system.brokers import registry
from trading_system.brokers.ibkr.tws import connector as tws
from trading_system.domain.errors import DeskError, InDoubt, Unavailable
from trading_system.domain.fix import OrdType, TimeInForce
from trading_system.domain.ids import ClOrdID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Approved
from trading_system.sim.exchange import NO_LATENCY
from trading_system.sim.host import Host, serve
from trading_system.transport.clock import SystemClock
from trading_system.transport.http import AiohttpHttp
from trading_system.transport.tcp import TcpDialer

D = Decimal
CUTS = (0, 1, 3, 4, 5, 20, 150, 400, 700, 1000, 2000, 5000)  # bytes that come back after an order has gone


class Cutter:
    """Carries both ways until it has seen an order; of what then comes back, so many bytes more. Nothing goes on behind them."""

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self.after: int | None = None
        self.silent = False  # the end is no end: nothing comes any more
        self.orders = 0
        self._armed = False
        self._left = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, out = await asyncio.open_connection("127.0.0.1", self._upstream_port)
        with suppress(OSError):
            await asyncio.gather(self._there(reader, out), self._back(back, writer))
        for end in (out, writer):
            end.close()

    async def _there(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1 << 16):
            if b"\x003\x00" in piece[3:8] or piece[4:6] == b"3\0":
                self.orders += 1
                self._armed, self._left = self.after is not None, self.after or 0
            out.write(piece)
            await out.drain()
        out.close()

    async def _back(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await back.read(1 << 16):
            if self._armed:
                piece, self._left = piece[: self._left], self._left - len(piece)
            writer.write(piece)
            await writer.drain()
            if self._armed and self._left <= 0:
                self._armed, self.after = False, None
                if self.silent:
                    await asyncio.sleep(3600)
                break
        writer.close()


@asynccontextmanager
async def cut(host: Host) -> AsyncIterator[tuple[Cutter, str]]:
    cutter = Cutter(host.port)
    server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    try:
        yield cutter, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def order(number: int, price: Decimal) -> Approved:
    passed = approved(plain_wish("1", ord_type=OrdType.LIMIT, time_in_force=TimeInForce.GTC, price=D(50)))
    request = changed(passed.request, broker=IBKR.broker, instrument=IBKR.instruments[AssetClass.EQUITY], price=price)
    return changed(passed, request=request, cl_ord_id=ClOrdID(f"q1{'a' * 14}{chr(97 + number // 26)}{chr(97 + number % 26)}"))


async def told(host: Host, number: int, after: int, *, silent: bool = False) -> tuple[DeskError | None, int]:
    """What a submit raises when the line breaks so, and how often it was placed; it is found by asking."""
    twin = host.wire
    async with cut(host) as (cutter, url):
        connector = registry.folder(IBKR.broker).connect(
            http=AiohttpHttp(()),
            dialer=TcpDialer(),
            clock=SystemClock(),
            rng=random.Random(number),
            credentials=IBKR.credentials(twin),
            environment="paper",
            options={"url": url, "client_id": str(number + 1)},
        )
        await connector.connect()
        price = (await connector.quote(IBKR.instruments[AssetClass.EQUITY])).bid_px
        wanted, error = order(number, (price * D("0.9")).quantize(D("0.01"))), None
        cutter.after, cutter.silent = after, silent
        try:
            await connector.submit(wanted)
        except DeskError as raised:
            error = raised
        report = None
        if not silent:
            async with asyncio.timeout(20):
                while report is None:
                    with suppress(Unavailable):  # until it has dialled again
                        report = await connector.order_status(wanted.cl_ord_id)
                    await asyncio.sleep(0.05)

            assert report.cl_ord_id == wanted.cl_ord_id
        await connector.aclose()
        return error, sum(placed.form.ref == wanted.cl_ord_id for placed in twin.trading.placed.values())


async def test_a_line_that_breaks_after_any_byte_is_doubt_or_done() -> None:
    async with serve(IBKR.make(start_ns=time.time_ns(), latency=NO_LATENCY)) as host:
        outcomes = await asyncio.gather(*(told(host, number, after) for number, after in enumerate(CUTS)))

        assert {placed for _, placed in outcomes} == {1}
        assert {type(error) for error, _ in outcomes} == {InDoubt, type(None)}
        assert [type(error) for error, _ in outcomes][:4] == [InDoubt] * 4


async def test_a_line_that_falls_silent_is_doubt_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tws, "ANSWER_WITHIN_NS", 1_500_000_000)
    async with serve(IBKR.make(start_ns=time.time_ns(), latency=NO_LATENCY)) as host:
        async with asyncio.timeout(15):
            error, placed = await told(host, 30, 0, silent=True)

        assert (type(error), placed) == (InDoubt, 1)
