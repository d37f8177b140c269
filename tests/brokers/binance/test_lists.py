"""Order lists: what the twin takes and refuses, what it tells, and what a desk makes of a take-profit that fills in part."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.binance.test_connector import told, wish
from tests.brokers.binance.test_twin_streams import events, words
from tests.brokers.binance.twin_client import SECOND, Answer, Client
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, on_bench, settled
from tests.subjects import BINANCE_WS
from trading_system.brokers.binance import codec
from trading_system.domain.fix import OrdStatus, OrdType, Side
from trading_system.domain.ids import ClOrdID
from trading_system.domain.order import Attached
from trading_system.sim.clock import SECOND_NS

D = Decimal
NO_MONEY = "Account has insufficient balance for requested action."


def oco(client: Client, qty: str = "0.4", up: str = "1.02", down: str = "0.98", **changes: object) -> Answer:
    params: dict[str, object] = {
        "symbol": "ETHUSDT",
        "side": "SELL",
        "quantity": qty,
        "aboveType": "LIMIT_MAKER",
        "abovePrice": client.price(up),
        "belowType": "STOP_LOSS",
        "belowStopPrice": client.price(down),
    }
    return client.send("POST", "orderList/oco", **{name: value for name, value in (params | changes).items() if value is not None})


def otoco(client: Client, qty: str = "0.5", pending: str = "0.4994", at: str = "1.001", **changes: object) -> Answer:
    params: dict[str, object] = {
        "symbol": "ETHUSDT",
        "workingType": "LIMIT",
        "workingSide": "BUY",
        "workingPrice": client.price(at),
        "workingQuantity": qty,
        "workingTimeInForce": "GTC",
        "pendingSide": "SELL",
        "pendingQuantity": pending,
        "pendingAboveType": "LIMIT_MAKER",
        "pendingAbovePrice": client.price("1.02"),
        "pendingBelowType": "STOP_LOSS_LIMIT",
        "pendingBelowStopPrice": client.price("0.98"),
        "pendingBelowPrice": client.price("0.97"),
        "pendingBelowTimeInForce": "GTC",
    }
    return client.send("POST", "orderList/otoco", **{name: value for name, value in (params | changes).items() if value is not None})


def stands(client: Client, listed: dict[str, Any]) -> list[str]:
    """How each order of a list stands now."""
    return [client.get("order", signed=True, symbol="ETHUSDT", orderId=row["orderId"])["status"] for row in listed["orders"]]


def locked(client: Client, asset: str = "ETH") -> Decimal:
    return next(D(row["locked"]) for row in client.get("account", signed=True)["balances"] if row["asset"] == asset)


def test_an_oco_holds_its_units_once_and_goes_as_a_whole() -> None:
    client = Client()
    client.order(quantity="0.5")
    conn = client.listen()
    answer = oco(client, listClientOrderId="mine", aboveClientOrderId="a", belowClientOrderId="b")
    listed = answer.body
    placed = events(client, conn)
    client.twin.drain()
    gone = client.send("DELETE", "order", symbol="ETHUSDT", origClientOrderId="b").body
    ended = events(client, conn)

    assert (answer.status, listed["contingencyType"], listed["listOrderStatus"], listed["listClientOrderId"]) == (200, "OCO", "EXECUTING", "mine")
    assert [(row["clientOrderId"], row["type"], row["status"], row["orderListId"]) for row in listed["orderReports"]] == [
        ("a", "LIMIT_MAKER", "NEW", listed["orderListId"]),
        ("b", "STOP_LOSS", "NEW", listed["orderListId"]),
    ]
    assert words(placed) == [("NEW", "NEW"), ("NEW", "NEW")]
    assert [event["e"] for event in placed][2:] == ["listStatus", "outboundAccountPosition"]
    assert (placed[2]["l"], placed[2]["L"], placed[2]["g"], placed[0]["g"]) == ("EXEC_STARTED", "EXECUTING", listed["orderListId"], placed[2]["g"])
    assert [row["origClientOrderId"] for row in gone["orderReports"]] == ["a", "b"]
    assert {row["status"] for row in gone["orderReports"]} == {"CANCELED"}
    assert words(ended) == [("CANCELED", "CANCELED")] * 2
    assert [event["l"] for event in ended if event["e"] == "listStatus"] == ["ALL_DONE"]
    assert locked(client) == 0


def test_an_oco_locks_what_one_of_its_orders_sells() -> None:
    client = Client()
    client.order(quantity="0.5")
    oco(client)

    assert locked(client) == D("0.4")
    assert oco(client).body == {"code": -2010, "msg": NO_MONEY}


def test_a_list_is_found_by_both_names_and_counted_by_its_orders() -> None:
    client = Client()
    client.order(quantity="0.5")
    listed = oco(client, listClientOrderId="mine").body
    by_number = client.get("orderList", signed=True, orderListId=listed["orderListId"])
    by_name = client.get("orderList", signed=True, origClientOrderId="mine")

    assert by_number == by_name
    assert "orderReports" not in by_number
    assert client.get("openOrderList", signed=True) == client.get("allOrderList", signed=True) == [by_number]
    assert len(client.get("openOrders", signed=True, symbol="ETHUSDT")) == 2
    assert client.get("rateLimit/order", signed=True)[0]["count"] == 3  # one order, and two of a list
    assert client.send("DELETE", "orderList", symbol="ETHUSDT", listClientOrderId="mine").body["listOrderStatus"] == "ALL_DONE"
    assert client.send("DELETE", "orderList", symbol="ETHUSDT", listClientOrderId="mine").body["code"] == -2011
    assert client.send("GET", "orderList", orderListId=1).body["code"] == -2018
    assert client.get("openOrderList", signed=True) == []


def test_exits_wait_for_their_entry_and_the_answer_says_so() -> None:
    client = Client()
    conn = client.listen()
    listed = otoco(client).body
    told_of = words(events(client, conn))

    assert [row["status"] for row in listed["orderReports"]] == ["FILLED", "PENDING_NEW", "PENDING_NEW"]
    assert stands(client, listed) == ["FILLED", "NEW", "NEW"]
    assert listed["contingencyType"] == "OTO"
    assert sorted(told_of[:3]) == [("NEW", "NEW"), ("NEW", "PENDING_NEW"), ("NEW", "PENDING_NEW")]
    assert told_of[-2:] == [("NEW", "NEW"), ("NEW", "NEW")]
    assert locked(client) == D("0.4994")


def test_exits_hold_nothing_before_their_entry_is_filled_and_end_with_it() -> None:
    client = Client()
    listed = otoco(client, at="0.95").body
    assert stands(client, listed) == ["NEW", "PENDING_NEW", "PENDING_NEW"]
    assert locked(client) == 0
    row = client.get("order", signed=True, symbol="ETHUSDT", orderId=listed["orders"][1]["orderId"])
    assert (row["isWorking"], row["workingTime"]) == (False, -1)
    client.send("DELETE", "order", symbol="ETHUSDT", orderId=listed["orders"][0]["orderId"])

    assert stands(client, listed) == ["CANCELED"] * 3
    assert locked(client, "USDT") == 0


def test_exits_that_would_sell_more_than_the_fee_left_are_refused_when_their_time_comes() -> None:
    client = Client()
    conn = client.listen()
    listed = otoco(client, pending="0.5").body
    found = events(client, conn)

    assert stands(client, listed) == ["FILLED", "REJECTED", "REJECTED"]
    assert [event["r"] for event in found if event.get("x") == "REJECTED"] == ["INSUFFICIENT_BALANCES"] * 2
    assert locked(client) == 0


def test_an_entry_that_expires_takes_its_exits_along() -> None:
    client = Client()
    listed = otoco(client, at="0.95", workingTimeInForce="IOC").body
    row = client.get("order", signed=True, symbol="ETHUSDT", orderId=listed["orders"][2]["orderId"])

    assert stands(client, listed) == ["EXPIRED"] * 3
    assert row["expiryReason"] == "OTO_PHASE_ONE_EXPIRED"


def test_the_first_fill_of_an_exit_ends_the_other() -> None:
    client = Client(cash=D(10_000_000))
    for _ in range(3):
        client.order(quantity="20")
        client.wait(SECOND)
    listed = oco(client, "30", "1.0005", "0.97").body
    for _ in range(3_000):
        client.wait(SECOND)
        profit, stop = stands(client, listed)
        if profit != "NEW":
            break
    row = client.get("order", signed=True, symbol="ETHUSDT", orderId=listed["orders"][1]["orderId"])

    assert (profit, stop) == ("PARTIALLY_FILLED", "EXPIRED")
    assert row["expiryReason"] == "OCO_TRIGGER"


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"aboveType": None}, -1102, "aboveType"),
        ({"aboveType": "STOP_LOSS", "belowType": "LIMIT_MAKER"}, -1166, "must be above"),
        ({"belowType": "LIMIT_MAKER", "belowPrice": "2000", "belowStopPrice": None}, -1168, "contingent"),
        ({"side": "BUY"}, -2010, "Unsupported"),
        ({"abovePrice": "1"}, -1013, "PERCENT_PRICE_BY_SIDE"),
        ({"belowTimeInForce": "GTC"}, -1106, "timeInForce"),
        ({"aboveClientOrderId": "x", "belowClientOrderId": "x"}, -2010, "Duplicate"),
        ({"quantity": "70"}, -2010, NO_MONEY),
    ],
)
def test_a_list_is_refused_as_a_whole(changes: dict[str, object], code: int, text: str) -> None:
    client = Client()
    client.order(quantity="0.5")
    answer = oco(client, **changes)

    assert (answer.status, answer.body["code"]) == (400, code), answer.body
    assert text in answer.body["msg"]
    assert client.get("openOrders", signed=True) == []


def test_cancel_all_takes_lists_along() -> None:
    client = Client()
    client.order(quantity="0.5")
    oco(client)
    client.order(kind="LIMIT", price=client.price("0.9"))
    gone = client.send("DELETE", "openOrders", symbol="ETHUSDT").body

    assert sorted("orderReports" in row for row in gone) == [False, True]
    assert client.get("openOrders", signed=True) == []


def test_a_stop_may_trail_by_whole_basis_points_within_bounds() -> None:
    client = Client()
    client.order(quantity="0.5")
    placed = client.order("SELL", "STOP_LOSS", quantity="0.4", trailingDelta="30", newOrderRespType="RESULT").body
    for _ in range(3_000):
        client.wait(SECOND)
        row = client.get("order", signed=True, symbol="ETHUSDT", orderId=placed["orderId"])
        if row["status"] != "NEW":
            break

    assert (placed["status"], placed["trailingDelta"], "stopPrice" in placed) == ("NEW", 30, False)
    assert (row["status"], row["trailingDelta"], row["stopPrice"]) == ("FILLED", 30, "0.00000000")
    for trail, code in (("9", -1013), ("2001", -1013), ("1.5", -1100)):
        assert client.order("SELL", "STOP_LOSS", quantity="0.01", trailingDelta=trail).body["code"] == code
    assert client.order("SELL", "STOP_LOSS", quantity="0.01", trailingDelta="30", stopPrice="1").body["code"] == -1128
    assert client.order("SELL", "STOP_LOSS", quantity="0.01").body["code"] == -1102


# -- the desk --------------------------------------------------------------------------------------------------------------------------------------


def test_an_exit_is_known_by_its_name() -> None:
    ours = "q1azojfk4at2kxdvnl"

    assert codec.parent_of(f"{ours}-stop") == codec.parent_of(f"{ours}-profit") == ours
    assert [codec.parent_of(name) for name in (ours, f"{ours}-other", "somebody-stop", "-stop", "")] == [None] * 5


async def bracket(bench: Bench, desk: Any, qty: str, up: str = "1.02", down: str = "0.98") -> Any:
    quote = await desk.hub.fetch(BINANCE_WS.broker, wish("x", "1").instrument)
    await desk.instrument(BINANCE_WS.broker, wish("x", "1").instrument)

    def at(fraction: str) -> Decimal:
        return (quote.mid * D(fraction)).quantize(D("0.01"))

    attached = Attached(take_profit_px=at(up), stop_px=at(down))
    return await desk.submit(wish("a", qty, ord_type=OrdType.LIMIT, price=at("1.001"), attached=attached))


def test_a_list_may_leave_by_socket(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            entry = await settled(desk, await bracket(bench, desk, "0.5"))
            exits = [order for order in desk.books.blotter if order.parent == entry.cl_ord_id]

            assert [order.cl_ord_id.removeprefix(entry.cl_ord_id) for order in exits] == ["-profit", "-stop"]
            assert {order.order_qty for order in exits} == {D("0.4994")}
            assert entry.ord_status is OrdStatus.FILLED

    on_bench(tmp_path, story, subject=BINANCE_WS)


def test_a_take_profit_that_fills_in_part_makes_way_for_a_stop(tmp_path: Path) -> None:
    """Binance takes the stop away with the first fill; what is left must not stand naked beside a take-profit that holds the units."""

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            entry = await settled(desk, await bracket(bench, desk, "200", up="1.002", down="0.97"))
            profit = ClOrdID(f"{entry.cl_ord_id}-profit")

            def begun() -> bool:
                order = desk.books.blotter.get(profit)
                return order is not None and 0 < order.cum_qty < order.order_qty

            assert await desk.wait(begun, 8 * 3_600 * SECOND_NS)
            await asyncio.sleep(10)
            gone = desk.books.blotter.get(profit)
            position = desk.books.ledger.position(entry.broker, entry.instrument)
            guards = [order for order in desk.books.blotter.working() if order.protects == entry.cl_ord_id and order.parent is None]

            assert gone is not None
            assert gone.ord_status is OrdStatus.CANCELED
            assert [guard.stop_px for guard in guards] == [entry.guard_px]
            assert 0 <= position - guards[0].leaves_qty <= entry.cum_qty * D("0.00101") + D("0.0001")

    told(tmp_path, story, cash=D(10_000_000))


def test_a_distance_that_binance_has_not_is_refused_before_it_leaves(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "0.5")))
            for number, trail in enumerate(({"trail_px": D(5)}, {"trail_pct": D("0.00333")})):
                sent = await desk.submit(wish(f"t{number}", "0.4", Side.SELL, ord_type=OrdType.TRAILING_STOP, **trail))
                assert sent.ord_status is OrdStatus.REJECTED
                assert "steps of 0.0001" in sent.text

    told(tmp_path, story)
