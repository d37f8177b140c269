"""The twin's complex orders and trailing stops: what is refused and in which words, who is held, new or gone, and how a group looks in each list."""

from decimal import Decimal
from typing import Any

import pytest

from tests.brokers.alpaca.twin_client import SECOND, Answer, Client
from tests.sim.test_linked import steps
from trading_system.sim.exchange import Latency

MINUTE = 60 * SECOND
SLOW = Latency((SECOND, SECOND), (3 * SECOND, 3 * SECOND), (3 * SECOND, 3 * SECOND))
PROFIT, LOSS = {"take_profit": {"limit_price": "240"}}, {"stop_loss": {"stop_price": "220"}}


def client(*prices: str, **options: Any) -> Client:
    """An account in a market that stands at each price for a minute."""
    return Client(recordings={"AAPL": steps(*(prices or ("230",)))}, **options)


def bracket(c: Client, **rest: Any) -> Answer:
    return c.order(**({"order_class": "bracket", "qty": "10"} | PROFIT | LOSS | rest))


def oco(c: Client, **rest: Any) -> Answer:
    return c.order(**({"order_class": "oco", "kind": "limit", "side": "sell", "qty": "10"} | PROFIT | LOSS | rest))


def now(c: Client, order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = c.get(f"/v2/orders/{order['id']}?nested=true")
    return found


def states(c: Client, *orders: dict[str, Any]) -> list[str]:
    return [now(c, order)["status"] for order in orders]


# -- what is refused -------------------------------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"take_profit": None}, 40010001, "bracket orders require take_profit.limit_price"),
    ({"stop_loss": {}}, 40010001, "bracket orders require stop_loss.stop_price"),
    ({"order_class": "oto"}, 40010001, "oto orders require either take_profit or stop_loss"),
    ({"order_class": "oto", "take_profit": None, "stop_loss": None}, 40010001, "oto orders require either take_profit or stop_loss"),
    ({"order_class": "oco"}, 42210000, "oco orders must be limit orders"),
    ({"order_class": "oco", "kind": "limit", "stop_loss": None}, 40010001, "oco orders require stop_loss.stop_price"),
    ({"order_class": "oco", "kind": "limit", "side": "sell"}, 42210000, "oco orders must be exit orders"),
    ({"tif": "ioc"}, 42210000, "bracket orders must be DAY or GTC orders"),
    ({"tif": "cls"}, 42210000, "bracket orders must be DAY or GTC orders"),
    ({"kind": "limit", "limit_price": "230", "extended_hours": True}, 42210000, "extended hours order must be simple orders"),
    ({"qty": "1.5"}, 42210000, "fractional orders must be simple orders"),
    ({"qty": None, "notional": "500"}, 42210000, "fractional orders must be simple orders"),
    ({"symbol": "BTC/USD", "tif": "gtc"}, 42210000, "crypto orders not allowed for advanced order_class: otoco"),
    ({"kind": "trailing_stop", "trail_price": "1"}, 42210000, "trailing stop orders must be simple orders"),
    ({"stop_loss": {"stop_price": "240"}}, 42210000, "take_profit.limit_price must be > stop_loss.stop_price"),
    ({"side": "sell"}, 42210000, "take_profit.limit_price must be < stop_loss.stop_price"),
    ({"stop_loss": {"stop_price": "229.80"}}, 42210000, "stop price must not be greater than base price / 1.001 (229.77)"),
    ({"stop_loss": {"stop_price": "235"}}, 42210000, "stop price must not be greater than base price / 1.001 (229.77)"),
    (
        {"kind": "limit", "limit_price": "91.96", "take_profit": {"limit_price": "99"}, "stop_loss": {"stop_price": "91.90"}},
        42210000,
        "stop price must not be greater than base price / 1.001 (91.86)",
    ),
    (
        {"side": "sell", "take_profit": {"limit_price": "220"}, "stop_loss": {"stop_price": "230.20"}},
        42210000,
        "stop price must not be less than base price * 1.001 (230.24)",
    ),
    ({"take_profit": {"limit_price": "229.90"}}, 42210000, "take_profit.limit_price must be >= base_price + 0.01"),
    (
        {"side": "sell", "take_profit": {"limit_price": "231"}, "stop_loss": {"stop_price": "240"}},
        42210000,
        "take_profit.limit_price must be <= base_price - 0.01",
    ),
    (
        {"take_profit": {"limit_price": "240.001"}},
        42210000,
        "invalid take_profit.limit_price 240.001. sub-penny increment does not fulfill minimum pricing criteria",
    ),
    (
        {"stop_loss": {"stop_price": "220", "limit_price": "219.999"}},
        42210000,
        "invalid stop_loss.limit_price 219.999. sub-penny increment does not fulfill minimum pricing criteria",
    ),
    ({"stop_loss": {"stop_price": "-1"}}, 40010001, "stop_loss.stop_price must be > 0"),
    ({"take_profit": {"limit_price": "NaN"}}, 40010001, "NaN is not a finite number"),
]


@pytest.mark.parametrize(("change", "code", "message"), REFUSED, ids=[f"{place}-{row[2][:40]}" for place, row in enumerate(REFUSED)])
def test_a_complex_order_that_breaks_a_rule(change: dict[str, Any], code: int, message: str) -> None:
    c = client(multiplier=Decimal(2))
    body = {"symbol": "AAPL", "qty": "10", "side": "buy", "type": "market", "time_in_force": "day", "order_class": "bracket"} | PROFIT | LOSS
    body |= {{"kind": "type", "tif": "time_in_force"}.get(name, name): value for name, value in change.items()}
    answer = c.send("POST", "/v2/orders", {name: value for name, value in body.items() if value is not None})

    assert (answer.status, answer.body["code"], answer.body["message"]) == (422, code, message)
    assert c.get("/v2/orders?status=all") == []
    assert (c.twin.exchange.reserved, c.twin.exchange.groups) == (0, {})


def test_below_ten_dollars_a_cent_is_the_wider_distance() -> None:
    c = Client()
    body = {"order_class": "oto", "kind": "limit", "limit_price": "5", "qty": "10"}
    near = c.order("F", stop_loss={"stop_price": "5"}, **body)
    nearer = c.order("F", stop_loss={"stop_price": "4.995"}, **body)
    far = c.order("F", stop_loss={"stop_price": "4.99"}, **body)

    assert near.body["message"] == "stop price must not be greater than base price / 1.001 (4.99)"
    assert nearer.body["message"].startswith("invalid stop_loss.stop_price 4.995")
    assert far.status == 200
    cents = Client().order("CENT", order_class="oto", kind="limit", limit_price="0.4", qty="10", stop_loss={"stop_price": "0.395"})
    assert (cents.body["message"], cents.body["base_price"]) == ("stop_loss.stop_price must be <= base_price - 0.01", "0.4")


@pytest.mark.parametrize("kind", ["bracket", "oto"])
def test_an_entry_does_not_close(kind: str) -> None:
    c = client()
    c.order(qty="10")
    mirrored = {"side": "sell", "order_class": kind, "qty": "10", "stop_loss": {"stop_price": "240"}}
    profit = {"take_profit": {"limit_price": "220"}} if kind == "bracket" else {}
    answer = c.order(**mirrored, **profit)

    assert (answer.status, answer.body["code"], answer.body["message"]) == (422, 42210000, f"{kind} orders must be entry orders")


# -- brackets --------------------------------------------------------------------------------------------------------------------------------------


def test_the_children_of_a_bracket_are_held_then_new_then_one_of_them_ends_the_other() -> None:
    c = client("230", "230", "241", "241", latency=SLOW)
    order = bracket(c, client_order_id="entry").body
    profit, stop = order["legs"]
    listed = {row["id"]: row for row in c.get("/v2/orders?status=open")}
    c.wait(SECOND)
    filled = states(c, order, profit, stop)
    c.wait(SECOND)
    woken = states(c, order, profit, stop)
    c.wait(2 * MINUTE)

    assert (order["order_class"], order["status"], order["client_order_id"]) == ("bracket", "pending_new", "entry")
    assert [(leg["type"], leg["side"], leg["status"], leg["qty"], leg["order_class"], leg["legs"]) for leg in order["legs"]] == [
        ("limit", "sell", "held", "10", "bracket", None),
        ("stop", "sell", "held", "10", "bracket", None),
    ]
    assert (profit["limit_price"], stop["stop_price"], profit["position_intent"]) == ("240", "220", "sell_to_close")
    assert len({order["client_order_id"], profit["client_order_id"], stop["client_order_id"]}) == 3
    assert {row["status"] for row in listed.values()} == {"pending_new", "held"}
    assert set(listed) == {order["id"], profit["id"], stop["id"]}
    assert filled == ["filled", "held", "held"]
    assert woken == ["filled", "new", "new"]
    assert states(c, profit, stop) == ["filled", "canceled"]
    assert c.get("/v2/positions") == []


def test_a_child_is_found_by_its_client_id_and_the_stop_can_have_a_limit() -> None:
    c = client()
    order = bracket(c, stop_loss={"stop_price": 220, "limit_price": 219.5}).body
    stop = order["legs"][1]
    found = c.get(f"/v2/orders:by_client_order_id?client_order_id={stop['client_order_id']}")

    assert (found["id"], found["type"], found["stop_price"], found["limit_price"]) == (stop["id"], "stop_limit", "220", "219.5")
    assert c.order(client_order_id=stop["client_order_id"]).body["message"] == "client_order_id must be unique"


def test_two_exits_hold_what_they_close_once() -> None:
    c = client()
    bracket(c)
    position = c.get("/v2/positions/AAPL")
    more = c.order(side="sell", qty="1")
    closed = c.send("DELETE", "/v2/positions/AAPL")

    assert (position["qty"], position["qty_available"]) == ("10", "0")
    assert (more.status, more.body["message"]) == (403, "insufficient qty available for order (requested: 1, available: 0)")
    assert (more.body["held_for_orders"], closed.status) == ("10", 403)
    assert c.send("DELETE", "/v2/positions?cancel_orders=true").body[0]["status"] == 200
    assert (c.get("/v2/positions"), c.get("/v2/orders")) == ([], [])


@pytest.mark.parametrize("member", [0, 1, 2])
def test_a_cancel_of_any_member_cancels_the_group(member: int) -> None:
    c = client()
    order = bracket(c, kind="limit", limit_price="225", take_profit={"limit_price": "240"}).body
    members = [order, *order["legs"]]
    gone = c.send("DELETE", f"/v2/orders/{members[member]['id']}")

    assert gone.status == 204
    assert states(c, *members) == ["canceled"] * 3
    assert c.get("/v2/account")["buying_power"] == "100000"
    assert c.send("DELETE", f"/v2/orders/{order['id']}").body["message"] == 'order is already in "canceled" state'


def test_cancel_all_asks_each_member_and_none_is_refused_afterwards() -> None:
    c = client(latency=SLOW)
    order = bracket(c, kind="limit", limit_price="225").body
    stream = c.listen()
    c.wait(SECOND)
    answers = c.send("DELETE", "/v2/orders").body
    c.wait(3 * SECOND)
    told = [frame["data"]["event"] for frame in c.frames(stream)]

    assert {(entry["id"], entry["status"]) for entry in answers} == {(row["id"], 200) for row in (order, *order["legs"])}
    assert told == ["new", *["pending_cancel"] * 3, *["canceled"] * 3]


def test_a_short_has_its_bracket_mirrored() -> None:
    c = client("230", "230", "219", "219", multiplier=Decimal(2))
    order = bracket(c, side="sell", take_profit={"limit_price": "220"}, stop_loss={"stop_price": "240"}).body
    profit, stop = order["legs"]
    position = c.get("/v2/positions/AAPL")
    cover = c.order(qty="1")
    c.wait(3 * MINUTE)

    assert (order["position_intent"], profit["side"], profit["position_intent"]) == ("sell_to_open", "buy", "buy_to_close")
    assert (position["qty"], position["qty_available"]) == ("-10", "0")
    assert cover.status == 403
    assert states(c, order, profit, stop) == ["filled", "filled", "canceled"]
    assert c.get("/v2/positions") == []


def test_the_stop_of_a_short_becomes_a_limit_above_it() -> None:
    c = client("230", "241", "241", multiplier=Decimal(2))
    order = bracket(c, side="sell", take_profit={"limit_price": "220"}, stop_loss={"stop_price": "240"}).body
    profit, stop = order["legs"]
    first = c.twin.exchange.orders[stop["id"]].ticket.collar
    raised = c.send("PATCH", f"/v2/orders/{stop['id']}", {"stop_price": "240.50"}).body
    collar = c.twin.exchange.orders[raised["id"]].ticket.collar
    c.wait(2 * MINUTE)

    assert (first, collar) == (240 * Decimal("1.025"), Decimal("240.50") * Decimal("1.025"))
    assert states(c, profit, stop, raised) == ["canceled", "replaced", "filled"]


# -- exits alone, entries with one exit ------------------------------------------------------------------------------------------------------------


def test_the_stop_of_an_oco_is_held_beside_its_limit_and_goes_off_all_the_same() -> None:
    c = client("230", "219", "219")
    c.order(qty="10")
    stream = c.listen()
    order = oco(c).body
    (stop,) = order["legs"]
    alive = now(c, order)
    c.wait(2 * MINUTE)
    told = [(frame["data"]["event"], frame["data"]["order"]["id"], frame["data"]["order"]["legs"]) for frame in c.frames(stream)]

    assert (order["type"], order["limit_price"], order["order_class"]) == ("limit", "240", "oco")
    assert (alive["status"], [leg["status"] for leg in alive["legs"]]) == ("new", ["held"])
    assert ("held", stop["id"], None) in told
    assert [entry for entry in told if entry[0] in ("canceled", "fill")] == [("canceled", order["id"], None), ("fill", stop["id"], None)]
    assert states(c, order, stop) == ["canceled", "filled"]
    assert c.get("/v2/positions") == []


def test_an_oco_needs_what_it_closes() -> None:
    c = client()
    c.order(qty="10")
    too_many = oco(c, qty="11")
    taken = oco(c)
    second = oco(c)

    assert (too_many.status, taken.status, second.status) == (403, 200, 403)
    assert second.body["message"] == "insufficient qty available for order (requested: 10, available: 0)"
    assert c.get("/v2/positions/AAPL")["qty_available"] == "0"


def test_the_limit_of_an_oco_measures_its_stop() -> None:
    c = client()
    c.order(qty="10")
    answer = oco(c, take_profit={"limit_price": "225"}, stop_loss={"stop_price": "224.90"})

    assert answer.body["message"] == "stop price must not be greater than base price / 1.001 (224.77)"
    assert answer.body["base_price"] == "225"


@pytest.mark.parametrize(("exits", "then", "kind"), [(PROFIT, "241", "limit"), (LOSS, "219", "stop")])
def test_an_entry_with_one_exit(exits: dict[str, Any], then: str, kind: str) -> None:
    c = client("230", then, then)
    order = c.order(order_class="oto", qty="10", **exits).body
    (leg,) = order["legs"]
    before = states(c, order, leg)
    c.wait(2 * MINUTE)

    assert (order["order_class"], leg["type"], before) == ("oto", kind, ["filled", "new"])
    assert states(c, leg) == ["filled"]
    assert c.get("/v2/positions") == []


def test_members_of_one_group_do_not_wash_and_a_single_order_beside_them_does() -> None:
    c = client()
    bracket(c)
    single = c.order(kind="limit", limit_price="225")
    complex_one = bracket(c, kind="limit", limit_price="225")

    assert (single.status, single.body["message"]) == (403, "potential wash trade detected. use complex orders")
    assert complex_one.status == 200


def test_what_waits_for_its_entry_and_what_trails_do_not_wash() -> None:
    c = client()
    bracket(c, kind="limit", limit_price="225")
    beside_held = c.order(kind="limit", limit_price="226", qty="5")
    c.order("MSFT", qty="2")
    c.order("MSFT", kind="limit", limit_price="10")
    stop = c.order("MSFT", side="sell", kind="stop", stop_price="300")
    trailing = c.order("MSFT", side="sell", kind="trailing_stop", trail_percent="20")

    assert (beside_held.status, stop.status, trailing.status) == (200, 403, 200)


# -- lists -----------------------------------------------------------------------------------------------------------------------------------------


def test_nested_lists_roll_children_up_and_lose_nobody() -> None:
    c = client()
    waiting = bracket(c, kind="limit", limit_price="225").body
    single = c.order("MSFT").body
    c.order("F", qty="10")
    nested = c.get("/v2/orders?status=all&nested=true")
    flat = c.get("/v2/orders?status=all&nested=false")
    one = c.get(f"/v2/orders/{waiting['id']}")

    assert {row["id"]: [leg["id"] for leg in row["legs"] or ()] for row in nested if row["symbol"] != "F"} == {
        waiting["id"]: [leg["id"] for leg in waiting["legs"]],
        single["id"]: [],
    }
    assert len(nested) == 3
    assert len(flat) == 5
    assert all(row["legs"] is None for row in flat)
    assert one["legs"] is None


def test_open_children_of_a_filled_parent_are_rows_of_the_nested_open_list() -> None:
    c = client()
    order = bracket(c).body
    rows = c.get("/v2/orders?status=open&nested=true")

    assert {row["id"] for row in rows} == {leg["id"] for leg in order["legs"]}
    assert [row["id"] for row in c.get("/v2/orders?status=closed&nested=true")] == [order["id"]]


# -- replace ---------------------------------------------------------------------------------------------------------------------------------------


def test_a_replaced_leg_takes_the_old_ones_place() -> None:
    c = client("230", "233", "233", "227", "227")
    order = bracket(c, kind="limit", limit_price="231").body
    profit, stop = order["legs"]
    c.wait(MINUTE)
    raised = c.send(
        "PATCH", f"/v2/orders/{stop['id']}", {"stop_price": "231.50", "client_order_id": "raised"}
    ).body  # above the entry: a gain is kept
    lowered = c.send("PATCH", f"/v2/orders/{profit['id']}", {"limit_price": "238"}).body
    legs = now(c, order)["legs"]
    old = now(c, stop)
    c.wait(3 * MINUTE)

    assert [(leg["id"], leg["status"]) for leg in legs] == [(lowered["id"], "new"), (raised["id"], "new")]
    assert (old["status"], old["replaced_by"], raised["replaces"]) == ("replaced", raised["id"], stop["id"])
    assert (raised["stop_price"], raised["qty"], raised["order_class"]) == ("231.5", "10", "bracket")
    assert states(c, lowered, raised) == ["canceled", "filled"]
    assert c.get("/v2/positions") == []


def test_a_profit_is_taken_at_the_market_by_lowering_its_price() -> None:
    c = client()
    order = bracket(c).body
    taken = c.send("PATCH", f"/v2/orders/{order['legs'][0]['id']}", {"limit_price": "225"})

    assert taken.status == 200
    assert states(c, taken.body, order["legs"][1]) == ["filled", "canceled"]


def test_a_stop_that_the_market_came_near_does_not_hinder_the_profit() -> None:
    c = client("230", "229.75", "229.75")
    order = bracket(c, stop_loss={"stop_price": "229.70"}).body
    c.wait(70 * SECOND)
    profit = c.send("PATCH", f"/v2/orders/{order['legs'][0]['id']}", {"limit_price": "235"})
    stop = c.send("PATCH", f"/v2/orders/{order['legs'][1]['id']}", {"stop_price": "229.69"})

    assert profit.status == 200
    assert stop.body["message"].startswith("stop price must not be greater than base price / 1.001 (229.5")


def test_a_stop_limit_that_went_off_and_rests_follows_the_market_down() -> None:
    c = client("230", "219", "219", "219")
    order = bracket(c, stop_loss={"stop_price": "220", "limit_price": "219.50"}).body
    profit, stop = order["legs"]
    c.wait(90 * SECOND)
    resting = states(c, profit, stop)
    lower = c.send("PATCH", f"/v2/orders/{stop['id']}", {"limit_price": "218"})
    c.wait(MINUTE)

    assert resting == ["canceled", "new"]
    assert lower.status == 200
    assert states(c, lower.body) == ["filled"]


def test_a_leg_is_replaced_while_its_entry_is_filled_in_part() -> None:
    c = client(cash=Decimal(10_000_000))
    order = bracket(c, qty="12000").body
    before = now(c, order)["status"]
    leg = c.send("PATCH", f"/v2/orders/{order['legs'][0]['id']}", {"limit_price": "239"})
    c.wait(30 * SECOND)

    assert (before, leg.status, leg.body["qty"]) == ("partially_filled", 200, "12000")
    assert states(c, order, leg.body, order["legs"][1]) == ["filled", "new", "new"]


def test_a_buy_stop_that_is_raised_holds_more_money() -> None:
    c = client()
    order = c.order(kind="stop", stop_price="250", qty="10").body
    c.send("PATCH", f"/v2/orders/{order['id']}", {"stop_price": "260"})

    assert c.twin.exchange.reserved == 260 * Decimal("1.025") * 10


def test_a_held_leg_and_an_entry_are_replaced_and_stay_one_group() -> None:
    c = client()
    order = bracket(c, kind="limit", limit_price="225").body
    held = c.send("PATCH", f"/v2/orders/{order['legs'][1]['id']}", {"stop_price": "221"}).body
    new = c.send("PATCH", f"/v2/orders/{order['id']}", {"limit_price": "224"}).body
    group = now(c, new)
    c.send("DELETE", f"/v2/orders/{held['id']}")

    assert [(leg["id"], leg["status"]) for leg in group["legs"]] == [(order["legs"][0]["id"], "held"), (held["id"], "held")]
    assert now(c, order)["legs"] is None
    assert states(c, new, order["legs"][0], held) == ["canceled"] * 3


def test_the_parent_of_an_oco_is_its_newest_limit() -> None:
    c = client()
    c.order(qty="10")
    order = oco(c).body
    new = c.send("PATCH", f"/v2/orders/{order['id']}", {"limit_price": "239"}).body
    group = now(c, new)

    assert (group["status"], [leg["id"] for leg in group["legs"]]) == ("new", [order["legs"][0]["id"]])
    assert c.get("/v2/positions/AAPL")["qty_available"] == "0"


KEPT = [
    ("bracket", 0, {"qty": "11"}, "only limit_price and stop_price of bracket orders can be replaced"),
    ("bracket", 1, {"time_in_force": "gtc"}, "only limit_price and stop_price of bracket orders can be replaced"),
    ("bracket", 2, {"trail": "1"}, "only limit_price and stop_price of bracket orders can be replaced"),
    ("bracket", 1, {"stop_price": "1"}, "limit orders do not have this price"),
    ("bracket", 2, {"stop_price": "220"}, "order parameters are not changed"),
    ("bracket", 2, {"stop_price": "245"}, "take_profit.limit_price must be > stop_loss.stop_price"),
    ("bracket", 1, {"limit_price": "219"}, "take_profit.limit_price must be > stop_loss.stop_price"),
    ("bracket", 2, {"stop_price": "224.90"}, "stop price must not be greater than base price / 1.001 (224.77)"),
    ("bracket", 1, {"limit_price": "225"}, "take_profit.limit_price must be >= base_price + 0.01"),
    ("bracket", 0, {"limit_price": "220.10"}, "stop price must not be greater than base price / 1.001 (219.88)"),
    ("oto", 0, {"limit_price": "224"}, "order replacement is not supported for oto orders"),
    ("oto", 1, {"stop_price": "219"}, "order replacement is not supported for oto orders"),
]


@pytest.mark.parametrize(("kind", "member", "change", "message"), KEPT)
def test_what_a_replace_of_a_member_may_not_change(kind: str, member: int, change: dict[str, str], message: str) -> None:
    c = client()
    order = bracket(c, kind="limit", limit_price="225", order_class=kind, **({} if kind == "bracket" else {"take_profit": None})).body
    members = [order, *order["legs"]]
    answer = c.send("PATCH", f"/v2/orders/{members[member]['id']}", change)

    assert (answer.status, answer.body["code"], answer.body["message"]) == (422, 42210000, message)
    assert states(c, *members) == ["new", *["held"] * (len(members) - 1)]


# -- trailing stops --------------------------------------------------------------------------------------------------------------------------------

NO_TRAIL: list[tuple[dict[str, Any], int, str]] = [
    ({"trail_percent": "1"}, 40010001, "trailing stop orders must specify one of trail_price or trail_percent"),
    ({"trail_price": "0"}, 40010001, "trail_price must be > 0"),
    ({"trail_price": None, "trail_percent": "-1"}, 40010001, "trail_percent must be > 0"),
    ({"trail_price": None, "trail_percent": "100"}, 40010001, "trail_percent must be < 100"),
    ({"trail_price": "300"}, 40010001, "trail_price must be less than the market price"),
    ({"stop_price": "220"}, 40010001, "trailing_stop orders do not take stop_price"),
    ({"time_in_force": "ioc"}, 42210000, "trailing stop orders must be DAY or GTC orders"),
    ({"qty": "1.5"}, 42210000, "fractional orders must be market, limit, stop, or stop_limit orders"),
    ({"extended_hours": True}, 42210000, "extended hours order must be DAY limit orders"),
    ({"symbol": "BTC/USD", "time_in_force": "gtc"}, 42210000, "invalid order type for crypto order"),
]


@pytest.mark.parametrize(("change", "code", "message"), NO_TRAIL)
def test_a_trailing_stop_that_breaks_a_rule(change: dict[str, Any], code: int, message: str) -> None:
    c = client()
    c.order(qty="10")
    body = {"symbol": "AAPL", "qty": "10", "side": "sell", "type": "trailing_stop", "time_in_force": "day", "trail_price": "2"} | change
    answer = c.send("POST", "/v2/orders", {name: value for name, value in body.items() if value is not None})

    assert (answer.status, answer.body["code"], answer.body["message"]) == (422, code, message)


@pytest.mark.parametrize(("trail", "first", "then"), [({"trail_price": 2}, "228", "238"), ({"trail_percent": "1.5"}, "226.55", "236.4")])
def test_a_trailing_stop_shows_where_it_stands_and_sells_at_the_market(trail: dict[str, Any], first: str, then: str) -> None:
    c = client("230", "240", "239", "230", "230")
    c.order(qty="10")
    order = c.order(side="sell", kind="trailing_stop", tif="gtc", qty="10", **trail).body
    c.wait(2 * MINUTE + 30 * SECOND)
    moved = now(c, order)
    c.wait(2 * MINUTE)
    done = now(c, order)

    assert (order["type"], order["hwm"], order["stop_price"]) == ("trailing_stop", "230", first)
    assert (order["trail_price"], order["trail_percent"]) == (("2", None) if "trail_price" in trail else (None, "1.5"))
    assert (moved["status"], moved["hwm"], moved["stop_price"]) == ("new", "240", then)
    assert (done["status"], done["hwm"], done["stop_price"]) == ("filled", "240", then)
    assert Decimal(done["filled_avg_price"]) < Decimal(then)


def test_a_trail_is_replaced_in_its_own_measure_until_it_is_hit() -> None:
    c = client("230", "240", "240", "230", "230")
    c.order(qty="10")
    order = c.order(side="sell", kind="trailing_stop", qty="10", trail_percent="5").body
    c.wait(MINUTE + 30 * SECOND)
    new = c.send("PATCH", f"/v2/orders/{order['id']}", {"trail": "2.5"}).body
    refusals = [
        c.send("PATCH", f"/v2/orders/{new['id']}", change).body["message"] for change in ({"trail": "2.5"}, {"stop_price": "230"}, {"trail": "0"})
    ]
    working = now(c, new)
    c.wait(3 * MINUTE)

    assert (working["trail_percent"], working["trail_price"], working["hwm"], working["stop_price"]) == ("2.5", None, "240", "234")
    assert refusals == ["order parameters are not changed", "trailing_stop orders do not have this price", "trail must be > 0"]
    assert states(c, order, new) == ["replaced", "filled"]
    assert c.send("PATCH", f"/v2/orders/{new['id']}", {"trail": "1"}).body["message"] == 'order is already in "filled" state'


def test_a_trail_that_was_hit_is_past_its_replacing() -> None:
    c = client("0.45", "0.40", "0.40")
    c.order(qty="9000")
    c.wait(50 * SECOND)
    order = c.order(side="sell", kind="trailing_stop", qty="9000", trail_price="0.01").body
    c.wait(10 * SECOND + SECOND // 4)
    answer = c.send("PATCH", f"/v2/orders/{order['id']}", {"trail": "0.02"})

    assert now(c, order)["status"] == "partially_filled"
    assert answer.body["message"] == "trail cannot be replaced after the stop price was hit"


def test_a_trailing_buy_guards_a_short_and_holds_it() -> None:
    c = client("230", "220", "225", "225", multiplier=Decimal(2))
    c.order(side="sell", qty="10")
    order = c.order(kind="trailing_stop", qty="10", trail_price="3").body
    c.wait(90 * SECOND)
    moved = now(c, order)
    c.wait(2 * MINUTE)

    assert (order["stop_price"], order["position_intent"]) == ("233", "buy_to_close")
    assert (moved["hwm"], moved["stop_price"]) == ("220", "223")
    assert states(c, order) == ["filled"]
    assert c.get("/v2/positions") == []
