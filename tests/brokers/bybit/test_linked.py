"""Exits attached to an entry under tpslMode Partial: how they are asked for and read, what the twin makes of them, and what the desk does when an
entry fills in parts."""

import asyncio
import random
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.brokers.bybit.test_codec import NOW, approved, golden
from tests.brokers.bybit.test_connector import SOL, WIDE, agreed, mid, run, wish
from tests.brokers.bybit.twin_client import Client
from tests.conformance.between import Between
from tests.desks import Bench, on_bench, settled
from tests.subjects import BYBIT
from trading_system.brokers.bybit import codec, wire
from trading_system.domain.errors import DeskError
from trading_system.domain.fix import OrdStatus, OrdType, Side
from trading_system.domain.money import ZERO
from trading_system.domain.order import Attached
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults
from trading_system.transport.message import Request, Response

D = Decimal
OURS = "q1abcdefghijklmnop"


# -- the words -------------------------------------------------------------------------------------------------------------------------------------


def test_a_pair_of_exits_is_asked_for_with_its_entry() -> None:
    attached = Attached(take_profit_px=D("110.5"), stop_px=D("89.5"))
    body = msgspec.to_builtins(codec.encode_order(approved(instrument=SOL, attached=attached)))

    assert {name: value for name, value in body.items() if name.startswith(("tp", "sl", "take", "stop"))} == {
        "tpslMode": "Partial",
        "takeProfit": "110.5",
        "tpOrderType": "Limit",
        "tpLimitPrice": "110.5",
        "tpTriggerBy": "LastPrice",
        "stopLoss": "89.5",
        "slOrderType": "Market",
        "slTriggerBy": "LastPrice",
    }
    limited = codec.encode_order(approved(instrument=SOL, attached=Attached(take_profit_px=D(110), stop_px=D(90), stop_limit_px=D(89))))
    assert (limited.slOrderType, limited.slLimitPrice) == ("Limit", "89")


def exit_row(kind: str, **changes: object) -> wire.Order:
    """As Bybit's demo was seen to write one: without a client id, the nought left out."""
    fields = {"orderLinkId": "", "parentOrderLinkId": OURS, "stopOrderType": kind, "qty": ".1", "orderStatus": "Untriggered", "tpslMode": "Partial"}
    row: wire.Order = golden("order", wire.Order, **(fields | {"side": "Sell", "orderType": "Market", "triggerPrice": "1818.87"} | changes))
    return row


def test_exits_say_whose_they_are() -> None:
    stop = codec.decode_order(exit_row("PartialStopLoss"), "linear", NOW)
    profit = codec.decode_order(exit_row("PartialTakeProfit", orderType="Limit", price="2010.35", triggerPrice="2010.35"), "linear", NOW)

    assert (stop.parent, stop.ord_type, stop.stop_px, stop.price, stop.order_qty) == (OURS, OrdType.STOP, D("1818.87"), None, D("0.1"))
    assert (profit.parent, profit.ord_type, profit.stop_px, profit.price) == (OURS, OrdType.LIMIT, None, D("2010.35"))
    assert (stop.cl_ord_id, stop.ord_status) == (stop.order_id, OrdStatus.NEW)
    assert codec.decode_order(exit_row("PartialStopLoss", orderStatus="Deactivated"), "linear", NOW).ord_status is OrdStatus.CANCELED
    by_hand = codec.decode_order(exit_row("PartialTakeProfit", parentOrderLinkId="somebody"), "linear", NOW)
    assert (by_hand.parent, by_hand.ord_type) == (None, OrdType.STOP)


# -- the twin --------------------------------------------------------------------------------------------------------------------------------------


def around(client: Client, width: float = 0.02, **more: object) -> dict[str, object]:
    """Exits so far on both sides of the market."""
    price = client.touch(symbol="SOLUSDT")
    profit, stop = f"{price * (1 + width):.2f}", f"{price * (1 - width):.2f}"
    return {"tpslMode": "Partial", "takeProfit": profit, "tpOrderType": "Limit", "tpLimitPrice": profit, "stopLoss": stop, **more}


def pair_of(client: Client, link_id: str) -> list[Any]:
    """The exits that are open, the take-profit first."""
    rows = client.get("/v5/order/realtime", category="linear", symbol="SOLUSDT")["list"]
    return sorted((row for row in rows if row["parentOrderLinkId"] == link_id), key=lambda row: str(row["stopOrderType"]), reverse=True)


def test_a_fill_makes_a_pair_that_ends_together() -> None:
    client = Client()
    exits = around(client)
    entry = client.create("SOLUSDT", "Buy", "3", orderLinkId="mine", **exits).result["orderId"]
    profit, stop = pair_of(client, "mine")

    assert [(row["orderStatus"], row["qty"], row["side"], row["orderLinkId"], row["reduceOnly"]) for row in (profit, stop)] == [
        ("Untriggered", "3", "Sell", "", True)
    ] * 2
    assert (profit["stopOrderType"], profit["triggerPrice"], profit["triggerDirection"]) == ("PartialTakeProfit", exits["takeProfit"], 1)
    assert (stop["stopOrderType"], stop["triggerPrice"], stop["triggerDirection"]) == ("PartialStopLoss", exits["stopLoss"], 2)
    assert (client.order(entry)["tpslMode"], client.order(entry)["orderStatus"]) == ("Partial", "Filled")
    assert client.post("/v5/order/cancel", category="linear", symbol="SOLUSDT", orderId=profit["orderId"]).code == 0
    ended = [client.order(row["orderId"]) for row in (profit, stop)]
    assert [row["orderStatus"] for row in ended] == ["Deactivated"] * 2
    assert len({row["updatedTime"] for row in ended}) == 1
    assert client.post("/v5/order/cancel", category="linear", symbol="SOLUSDT", orderId=stop["orderId"]).code == 110001


def test_before_the_fill_there_are_none_and_with_the_position_they_go() -> None:
    client = Client()
    low = client.touch(symbol="SOLUSDT") * 0.99
    resting = client.create("SOLUSDT", "Buy", "3", orderLinkId="rests", price=f"{low:.2f}", **around(client, 0.05)).result["orderId"]
    assert pair_of(client, "rests") == []
    assert client.order(resting)["takeProfit"] != ""
    client.post("/v5/order/cancel", category="linear", symbol="SOLUSDT", orderId=resting)
    client.create("SOLUSDT", "Buy", "3", orderLinkId="bought", **around(client))
    pair = pair_of(client, "bought")
    client.create("SOLUSDT", "Sell", "3", reduceOnly=True)
    client.wait(SECOND_NS)

    assert [client.order(row["orderId"])["orderStatus"] for row in pair] == ["Deactivated"] * 2


def test_each_part_that_fills_has_a_pair() -> None:
    client = Client(cash=D(10_000_000))
    price = client.touch(symbol="SOLUSDT")
    client.create("SOLUSDT", "Buy", "20000", orderLinkId="much", price=f"{price:.2f}", **around(client, 0.05))
    client.wait(5 * SECOND_NS)
    filled = D(client.position("SOLUSDT")["size"])
    pairs = pair_of(client, "much")

    assert ZERO < filled < 20000
    assert len(pairs) > 2
    for kind in ("PartialTakeProfit", "PartialStopLoss"):
        assert sum(D(row["qty"]) for row in pairs if row["stopOrderType"] == kind) == filled


def test_exits_that_the_twin_refuses() -> None:
    client = Client()
    price = client.touch(symbol="SOLUSDT")
    for changes, words in (
        ({"tpslMode": "Full"}, "not modelled"),
        ({"takeProfit": ""}, "price invalid"),
        ({"tpOrderType": "Market"}, "not modelled"),
        ({"tpLimitPrice": f"{price * 1.01:.2f}"}, "not modelled"),
        ({"takeProfit": f"{price * 0.99:.2f}", "tpLimitPrice": f"{price * 0.99:.2f}"}, "TakeProfit"),
        ({"stopLoss": f"{price * 1.01:.2f}"}, "StopLoss"),
        ({"stopLoss": "189.001"}, "price invalid"),
    ):
        answer = client.create("SOLUSDT", "Buy", "1", **(around(client) | changes))
        assert answer.code == 10001
        assert words in answer.text, changes
    client.create("SOLUSDT", "Buy", "1")
    assert "reduceOnly" in client.create("SOLUSDT", "Sell", "1", reduceOnly=True, **around(client)).text
    assert client.create("SOLUSDT", "Buy", "1", category="spot", **around(client)).code == 10001
    client.create("SOLUSDT", "Buy", "1", orderLinkId="held", **around(client))
    moved = client.post("/v5/order/amend", category="linear", symbol="SOLUSDT", orderId=pair_of(client, "held")[1]["orderId"], triggerPrice="150")
    assert "not modelled" in moved.text


# -- the desk --------------------------------------------------------------------------------------------------------------------------------------


async def bracket(desk: Any, intent: str, qty: str, width: str, price: Decimal | None = None) -> Any:
    """An entry that buys at once, or rests at a price, with exits so far from it."""
    middle = await mid(desk)
    near = price or middle
    profit, stop = ((near * (1 + sign * D(width))).quantize(D("0.01")) for sign in (1, -1))
    limit = {} if price is None else {"price": price}
    return await desk.submit(wish(intent, qty, attached=Attached(take_profit_px=profit, stop_px=stop), **limit))


def exits_of(desk: Any, entry: Any) -> list[Any]:
    return [order for order in desk.books.blotter if order.parent == entry.cl_ord_id]


def test_a_parent_is_asked_for_its_exits_and_an_exit_for_itself(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            entry = await settled(desk, await bracket(desk, "a", "5", "0.03"))
            connector = bench.connector()
            await connector.connect()
            told = await connector.order_status(entry.cl_ord_id)

            assert {child.ord_type for child in told.children} == {OrdType.LIMIT, OrdType.STOP}
            assert {child.parent for child in told.children} == {entry.cl_ord_id}
            for child in told.children:
                found = await connector.order_status(child.cl_ord_id)
                assert (found.order_id, found.parent, found.children) == (child.order_id, entry.cl_ord_id, ())
            await desk.wait(lambda: len(exits_of(desk, entry)) == 2, 30 * SECOND_NS)
            assert {order.cl_ord_id for order in exits_of(desk, entry)} == {child.cl_ord_id for child in told.children}

    run(tmp_path, story)


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_both_sides_are_closed_by_one_of_the_two(tmp_path: Path, side: Side) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            middle = await mid(desk)
            profit, stop = ((middle * (1 + side.sign * sign * D("0.002"))).quantize(D("0.01")) for sign in (1, -1))
            entry = await settled(desk, await desk.submit(wish("a", "5", side, attached=Attached(take_profit_px=profit, stop_px=stop))))
            assert await desk.wait(lambda: [order.settled for order in exits_of(desk, entry)] == [True] * 2, 8 * 3600 * SECOND_NS)
            await asyncio.sleep(30)

            assert sorted(order.cum_qty for order in exits_of(desk, entry)) == [0, 5]
            assert desk.books.ledger.position(BYBIT.broker, SOL) == 0
            assert agreed(desk, bench)
            assert (desk.books.halts, desk.books.blotter.total.orders) == ({}, 0)

    run(tmp_path, story)


def test_an_entry_that_goes_without_a_fill_is_not_asked_for_exits_any_more(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counted(Between):
        def handle(self, request: Request, now_ns: int) -> Response:
            asked.append(request.url)
            return super().handle(request, now_ns)

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            low = (await mid(desk) * D("0.98")).quantize(D("0.01"))
            entry = await bracket(desk, "a", "5", "0.03", low)
            assert [order.cl_ord_id for order in desk.books.childless(BYBIT.broker)] == [entry.cl_ord_id]
            await settled(desk, await desk.cancel(entry.cl_ord_id))
            await asyncio.sleep(40)
            asked.clear()
            await asyncio.sleep(60)

            assert [url for url in asked if "/v5/order/realtime" in url]  # it goes on looking
            assert not [url for url in asked if entry.cl_ord_id in url]

    on_bench(tmp_path, story, subject=BYBIT, between=lambda wire: Counted(wire, BYBIT))


async def in_parts(desk: Any, width: str) -> Any:
    """An entry for more than stands at its price, until it is filled or given up, with what was made for it."""
    ask = (await desk.hub.fetch(BYBIT.broker, (await desk.instrument(BYBIT.broker, SOL)).id)).ask_px
    entry = await bracket(desk, "a", "1400", width, ask)
    done = await settled(desk, entry)

    def covered() -> bool:
        return sum((order.order_qty for order in exits_of(desk, entry)), ZERO) == 2 * done.cum_qty

    assert await desk.wait(covered, 30 * SECOND_NS)
    assert len(exits_of(desk, entry)) > 2
    return done


@pytest.mark.parametrize("seed", range(4))
def test_every_part_of_an_entry_is_closed_by_exits_of_its_own(tmp_path: Path, seed: int) -> None:
    """Or, where those of one part went before the others, guarded by a stop of the desk's."""

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            entry = await in_parts(desk, "0.003")
            assert await desk.wait(lambda: all(order.settled for order in exits_of(desk, entry)), 8 * 3600 * SECOND_NS)
            await asyncio.sleep(60)

            closed = sum((order.cum_qty for order in exits_of(desk, entry)), ZERO)
            guarded = sum((order.leaves_qty for order in desk.books.blotter.working() if order.protects), ZERO)
            assert closed > 0
            assert desk.books.ledger.position(BYBIT.broker, SOL) == guarded == entry.cum_qty - closed
            assert agreed(desk, bench)
            assert desk.books.halts == {}

    run(tmp_path, story, cash=D(1_000_000), seed=seed)


def test_who_takes_away_the_exits_of_one_part_gets_one_stop_of_the_desk_for_all(tmp_path: Path) -> None:
    """The desk does not know which exits are a pair: where some are gone it trusts none of them to stand alone."""

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            entry = await in_parts(desk, "0.03")
            await desk.cancel(next(order for order in exits_of(desk, entry) if order.protects).cl_ord_id)
            await asyncio.sleep(60)
            (guard,) = [order for order in desk.books.blotter.working() if order.protects == entry.cl_ord_id]

            assert (guard.parent, guard.ord_status, guard.stop_px) == (None, OrdStatus.NEW, entry.guard_px)
            assert guard.leaves_qty == desk.books.ledger.position(BYBIT.broker, SOL) == entry.cum_qty
            assert {order.ord_status for order in exits_of(desk, entry)} == {OrdStatus.CANCELED}
            assert desk.books.halts == {}

    run(tmp_path, story, cash=D(1_000_000))


WEATHER = ("lost_request", "lost_answer", "late_answer", "torn_answer", "failed_after", "lost_frame", "duplicate_frame", "reset", "disconnect")


@pytest.mark.parametrize("seed", range(6))
def test_bad_weather_loses_neither_exits_nor_fills(tmp_path: Path, seed: int) -> None:
    async def story(bench: Bench) -> None:
        rng = random.Random(seed)
        async with bench.desk(WIDE) as desk:
            for number in range(12):
                with suppress(DeskError):
                    price = (await mid(desk) * D(rng.choice(("1.001", "0.9995")))).quantize(D("0.01")) if rng.random() < 0.5 else None
                    bench.network.faults = Faults(**dict.fromkeys(rng.sample(WEATHER, 4), 0.08))
                    await bracket(desk, f"k{number}", rng.choice(("1", "30", "400")), rng.choice(("0.002", "0.01")), price)
                await asyncio.sleep(rng.randrange(5, 120))
            bench.network.faults = Faults(enabled=False)
            bench.network.drop_all()
            await asyncio.sleep(600)
            entries = [order for order in desk.books.blotter if order.attached is not None]
            ours, theirs = desk.books.blotter.working(), bench.twin.exchange.open_orders()

            assert desk.books.halts == {}
            assert agreed(desk, bench)
            assert not list(desk.books.in_doubt())
            assert {order.order_id for order in ours} == {order.order_id for order in theirs}
            assert not [order for order in desk.books.blotter if order.external]
            assert sum(order.cum_qty > 0 for order in entries) > 2
            fills = {fill.exec_id for order in desk.books.blotter for fill in order.fills}
            assert fills == set(bench.twin.exchange.executions)

    run(tmp_path, story, cash=D(1_000_000), seed=seed)
