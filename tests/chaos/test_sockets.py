"""For every method that changes state, whatever becomes of its answer: one request on the wire, never told as "not done", found by asking."""

import asyncio
import random
import resource
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace as changed

from tests.chaos import proxy as chaos
from tests.chaos.proxy import Proxy, proxy
from tests.factories import approved
from tests.factories import wish as plain_wish
from tests.subjects import SUBJECTS, Subject
from trading_system.brokers import registry
from trading_system.brokers.kraken.facts import Tier
from trading_system.core.blotter import Blotter
from trading_system.domain.errors import DeskError, InDoubt
from trading_system.domain.fix import OrdType, TimeInForce
from trading_system.domain.ids import ClOrdID
from trading_system.domain.order import Approved
from trading_system.sim.exchange import NO_LATENCY
from trading_system.sim.host import serve
from trading_system.transport.clock import SystemClock
from trading_system.transport.http import AiohttpHttp
from trading_system.transport.websocket import PicowsDialer

D = Decimal
CHANGES = ("submit", "replace", "cancel")
each = pytest.mark.parametrize(
    ("subject", "change"),
    [(subject, change) for subject in SUBJECTS if not subject.one_line for change in CHANGES],  # test_tws.py has those that speak no HTTP
    ids=lambda value: getattr(value, "broker", value),
)


_PLENTY = 1_000_000
PLENTY = {  # of what the connectors pace themselves by
    "REQUESTS_MAX": _PLENTY,
    "REQUESTS_PER_MINUTE": _PLENTY,
    "REQUESTS_PER_SECOND": _PLENTY,
    "ORDERS_PER_MINUTE": _PLENTY,
    "PER_SECOND": {},
    "TIERS": {"pro": Tier(calls_max=_PLENTY, calls_decay=D(_PLENTY), orders_max=_PLENTY, orders_decay=D(_PLENTY), open_orders_max=_PLENTY)},
    "PUBLIC_BURST": _PLENTY,
}


class Wired:
    """A connector on a twin, with the proxy between them."""

    def __init__(self, subject: Subject, between: Proxy, connector: Any, twin: Any) -> None:
        self.subject, self.between, self.connector, self.twin = subject, between, connector, twin
        self._count = 0

    def order(self) -> Approved:
        """A resting buy, its price a little different each time."""
        self._count += 1
        symbol = self.subject.symbol
        mark = self.twin.exchange.mark(symbol, self.twin.now_ns)
        step = D("0.01") if mark > 10 else D("0.00001")  # currencies cost little, and move less
        far = (mark * D("0.9") / (100 * step)).to_integral_value() * 100 * step  # coarse: what the market does must not undo the difference
        passed = approved(plain_wish("1", ord_type=OrdType.LIMIT, time_in_force=TimeInForce.GTC, price=D(50)))
        cl_ord_id = ClOrdID(f"q1{''.join(chr(97 + int(digit)) for digit in f'{self._count:016d}')}")
        name = next(iter(self.subject.instruments.values()))
        request = changed(passed.request, broker=self.subject.broker, instrument=name, price=far + self._count * step)
        return changed(passed, request=request, cl_ord_id=cl_ord_id, symbol=symbol)

    async def resting(self) -> Approved:
        """An order that works at the broker, placed without any chaos."""
        answer, self.between.answer = self.between.answer, chaos.whole
        order = self.order()
        await self.connector.submit(order)
        await asyncio.sleep(0)
        self.between.answer = answer
        return order

    async def change(self, what: str) -> tuple[ClOrdID, DeskError | None]:
        """One change of its kind; the order it is about, and what was raised."""
        order = first = self.order() if what == "submit" else await self.resting()
        report = None if what == "submit" else await self.connector.order_status(order.cl_ord_id)
        self.between.requests.clear()
        try:
            if what == "submit":
                await self.connector.submit(order)
            elif what == "replace":
                order = changed(self.order(), orig_cl_ord_id=order.cl_ord_id, orig_order_id=report.order_id)
                await self.connector.replace(order)
            else:
                await self.connector.cancel(Blotter().adopt(report, ""))
        except DeskError as error:
            return self.known(first, order), error
        return self.known(first, order), None

    def known(self, first: Approved, order: Approved) -> ClOrdID:
        """The id that the broker has it under."""
        return first.cl_ord_id if self.subject.keeps_ids else order.cl_ord_id


@asynccontextmanager
async def wired(subject: Subject, monkeypatch: pytest.MonkeyPatch, *, within_s: float = 3.0) -> AsyncIterator[Wired]:
    module = __import__(f"trading_system.brokers.{subject.broker}.connector", fromlist=["connector"])
    monkeypatch.setattr(module, "ANSWER_WITHIN_NS", int(within_s * 1_000_000_000))
    for name, plenty in PLENTY.items():
        known = getattr(module, name, None)
        each_kind = isinstance(known, Mapping) and isinstance(plenty, int)  # paper and live are counted apart
        monkeypatch.setattr(module, name, dict.fromkeys(known, plenty) if each_kind else plenty, raising=False)
    nonces = {"nonces": partial(next, count(1))} if subject.facts.needs_nonces else {}
    twin = subject.make(start_ns=time.time_ns(), latency=NO_LATENCY, requests_per_minute=1_000_000)
    async with serve(twin) as host, proxy(host.port, subject.changes) as between:
        url = f"http://127.0.0.1:{between.port}"
        connector = registry.folder(subject.broker).connect(
            http=AiohttpHttp({f"127.0.0.1:{between.port}"}),
            dialer=PicowsDialer(),
            clock=SystemClock(),
            rng=random.Random(1),
            credentials=subject.credentials(twin),
            environment="paper",
            options={"url": url, **subject.options},
            **nonces,
        )
        try:
            await connector.connect()
            yield Wired(subject, between, connector, twin)
        finally:
            await connector.aclose()


async def found(wires: Wired, cl_ord_id: ClOrdID, change: str) -> None:
    """The broker has done it once, and says so when asked."""
    wires.between.answer = chaos.whole
    for _ in range(20):  # taken in is not yet visible everywhere
        report = await wires.connector.order_status(cl_ord_id)
        if report is not None:
            break
        await asyncio.sleep(0.05)

    assert report is not None
    assert sum(wires.between.requests.values()) == 1, wires.between.requests
    if change != "replace" or not wires.subject.keeps_ids:
        assert sum(order.cl_ord_id == cl_ord_id for order in wires.twin.exchange.orders.values()) == 1


@each
async def test_a_reset_after_each_byte_of_the_answer_is_doubt_or_done(subject: Subject, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with wired(subject, monkeypatch) as wires:
        await wires.change(change)
        doubts = 0
        size = len(wires.between.last)
        for after in range(size):
            wires.between.answer = chaos.cut(after)
            cl_ord_id, error = await wires.change(change)
            assert error is None or isinstance(error, InDoubt), f"after {after} bytes: {error!r}"
            doubts += error is not None
            await found(wires, cl_ord_id, change)
            wires.twin.exchange.cancel_at_once(wires.twin.now_ns)

        assert doubts >= (size - 2 if change != "cancel" else 1)  # the end of a body may be known before its last byte; a 204 has none


@pytest.mark.parametrize("answer", [chaos.silence, chaos.flood, chaos.bomb, chaos.endless_headers], ids=lambda answer: answer.__name__)
@each
async def test_an_answer_that_never_ends_is_doubt_within_the_deadline_and_within_bounds(
    subject: Subject, change: str, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wired(subject, monkeypatch, within_s=1.5) as wires:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wires.between.answer = answer
        async with asyncio.timeout(60):  # a hang is no outcome; the deadline itself is a second and a half
            cl_ord_id, error = await wires.change(change)

        assert isinstance(error, InDoubt), repr(error)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000  # kB; the proxy's own buffers are in it
        await found(wires, cl_ord_id, change)


@each
async def test_a_compressed_answer_is_read(subject: Subject, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with wired(subject, monkeypatch) as wires:
        wires.between.answer = chaos.packed
        cl_ord_id, error = await wires.change(change)

        assert error is None
        await found(wires, cl_ord_id, change)
