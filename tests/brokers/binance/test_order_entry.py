"""Orders that leave as frames: the same answers and the same errors as by REST, each sent once, in doubt when the socket breaks."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.binance.test_codec import NOW, orders_session
from tests.brokers.binance.test_connector import wish
from tests.conformance.between import Between, conform
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, settled
from tests.subjects import BINANCE_WS
from trading_system.brokers.binance.session import Reply
from trading_system.domain.errors import RateLimited
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side
from trading_system.domain.ids import IntentID
from trading_system.domain.order import Replace
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults

D = Decimal


def told(tmp_path: Path, story: Callable[[Bench, Between], Awaitable[None]], **twin: Any) -> None:
    conform(tmp_path, BINANCE_WS, story, **twin)


def methods(between: Between) -> list[str]:
    """How each change was asked for: by a method of the socket, or by HTTP."""
    return [request.method or request.body.partition(b'"method":"')[2].partition(b'"')[0].decode() for request in between.asked]


def test_orders_changes_and_cancels_leave_as_frames(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            done = await settled(desk, await desk.submit(wish("a", "0.5")))
            mid = done.fills[0].price
            rests = await desk.submit(wish("b", "0.5", ord_type=OrdType.LIMIT, price=(mid * D("0.98")).quantize(D("0.01"))))
            moved = await desk.replace(Replace(cl_ord_id=rests.cl_ord_id, price=(mid * D("0.97")).quantize(D("0.01")), intent=IntentID("c")))
            gone = await settled(desk, await desk.cancel(moved.cl_ord_id))
            bench.twin.trading.can_trade = False
            refused = await desk.submit(wish("d", "0.4"))

            assert (done.ord_status, done.order_qty, gone.ord_status) == (OrdStatus.FILLED, D("0.5"), OrdStatus.CANCELED)
            assert refused.ord_status is OrdStatus.REJECTED
            assert "may not place or cancel orders" in refused.text
            assert methods(between) == ["order.place", "order.place", "order.cancelReplace", "order.cancel", "order.place"]

    told(tmp_path, story)


@pytest.mark.parametrize("reached", [True, False])
def test_a_socket_that_breaks_with_an_order_under_way_leaves_it_in_doubt(tmp_path: Path, reached: bool) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("first", "0.1")))
            bench.network.faults = Faults(lost_frame=1.0) if reached else Faults(lost_send=1.0)
            began_ns = bench.clock.monotonic_ns()
            sending = asyncio.create_task(desk.submit(wish("a", "0.5")))
            await asyncio.sleep(1)
            bench.network.faults = Faults(enabled=False)
            bench.network.drop_all()
            sent = await sending
            took_ns = bench.clock.monotonic_ns() - began_ns
            await settled(desk, sent) if reached else None
            order = desk.books.blotter.get(sent.cl_ord_id)
            assert order is not None

            assert sent.doubt is Doubt.IN_DOUBT
            assert took_ns < 3 * SECOND_NS
            assert (order.cum_qty, order.ord_status) == ((D("0.5"), OrdStatus.FILLED) if reached else (D(0), OrdStatus.PENDING_NEW))
            assert between.placed == (2 if reached else 1)
            assert desk.books.halts == {}

    told(tmp_path, story)


def test_without_the_socket_orders_leave_by_rest(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "0.5")))
            bench.network.drop_all()
            await asyncio.sleep(0.01)
            sold = await desk.submit(wish("b", "0.4", Side.SELL))  # an exit passes meanwhile
            assert sold.ord_status is OrdStatus.FILLED
            await asyncio.sleep(60)
            await settled(desk, await desk.submit(wish("c", "0.3")))

            assert methods(between) == ["order.place", "POST", "order.place"]

    told(tmp_path, story)


def test_a_budget_that_is_spent_is_told_with_its_time_and_ends_all_calls(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "0.5")))
            bench.twin._weight.used = bench.twin._weight.limit
            sent = await desk.submit(wish("b", "0.4"))
            connector = desk.brokers[BINANCE_WS.broker]
            with pytest.raises(RateLimited, match="budget is spent"):
                await connector.account()

            assert sent.ord_status is OrdStatus.REJECTED or sent.doubt is Doubt.NONE
            assert sent.cum_qty == 0

    told(tmp_path, story)


@pytest.mark.parametrize(
    ("frame", "status", "headers"),
    [
        (b'{"id":"7","status":200,"result":{"a":1},"rateLimits":[]}', 200, {}),
        (
            (
                b'{"id":7,"status":200,"result":{"a":1},"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,'
                b'"limit":6000,"count":321}]}'
            ),
            200,
            {"x-mbx-used-weight-1m": "321"},
        ),
        (
            b'{"id":"7","status":429,"error":{"code":-1003,"msg":"x","data":{"serverTime":1659142907531,"retryAfter":1659142910100}}}',
            429,
            {"retry-after": "3"},
        ),
        (b'{"id":"7","status":400,"error":{"code":-2010,"msg":"no"}}', 400, {}),
    ],
)
def test_a_reply_has_the_form_of_an_http_answer(frame: bytes, status: int, headers: dict[str, str]) -> None:
    (reply,) = orders_session().on_frame(frame, NOW).events
    assert isinstance(reply, Reply)

    assert (reply.request_id, reply.response.status, reply.response.headers, reply.response.recv_ns) == ("7", status, headers, NOW)
    assert reply.response.body.startswith(b'{"a"' if status == 200 else b'{"code"')
