"""The twin's REST side: keys, rates, what is refused and in which words, ids that stay used for ever, races, sessions, lists and pages."""

from decimal import Decimal

import pytest

from tests.brokers.alpaca.twin_client import NOON, SECOND, Client
from trading_system.brokers.alpaca.twin.forms import new_york, parse_time
from trading_system.sim.exchange import Latency
from trading_system.sim.sessions import iso

HOUR = 3600 * SECOND
SLOW = Latency((SECOND, SECOND), (3 * SECOND, 3 * SECOND), (3 * SECOND, 3 * SECOND))


# -- keys and rates --------------------------------------------------------------------------------------------------------------------------------


def test_a_twin_is_made_of_its_seed() -> None:
    one, two, other = Client(seed=3), Client(seed=3), Client(seed=4)

    assert (one.key, one.secret, one.get("/v2/account")) == (two.key, two.secret, two.get("/v2/account"))
    assert one.key != other.key
    assert one.key.startswith("PK")
    assert one.get("/v2/account")["account_number"].startswith("PA")


def test_a_live_twin_proves_that_it_is_live() -> None:
    client = Client(environment="live")

    assert client.key.startswith("AK")
    assert not client.get("/v2/account")["account_number"].startswith("PA")


@pytest.mark.parametrize(("key", "status", "message"), [("PKWRONG", 401, "unauthorized."), ("", 401, "unauthorized."), ("AKLIVE", 403, "forbidden.")])
def test_a_wrong_key_is_refused(key: str, status: int, message: str) -> None:
    client = Client()
    client.key = key
    answers = [client.send("GET", path) for path in ("/v2/account", "/v2/stocks/quotes/latest?symbols=AAPL")]

    assert [(answer.status, answer.body) for answer in answers] == [(status, {"message": message})] * 2


def test_stocks_need_a_key_and_crypto_does_not() -> None:
    client = Client()

    assert client.send("GET", "/v2/stocks/quotes/latest?symbols=AAPL", keys=False).status == 401
    assert client.send("GET", "/v1beta3/crypto/us/latest/quotes?symbols=BTC/USD", keys=False).status == 200
    assert client.send("GET", "/v2/nothing").status == 404


def test_the_rate_window_counts_down_refuses_and_opens_again() -> None:
    client = Client(requests_per_minute=3)
    answers = [client.send("GET", "/v2/clock") for _ in range(4)]
    data = client.send("GET", "/v1beta3/crypto/us/latest/quotes?symbols=BTC/USD")
    client.wait(60 * SECOND)

    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert answers[0].headers["x-ratelimit-limit"] == "3"
    assert int(answers[0].headers["x-ratelimit-reset"]) * SECOND == NOON + 60 * SECOND
    assert answers[3].body == {"code": 42910000, "message": "rate limit exceeded"}
    assert data.status == 200  # its own window
    assert client.send("GET", "/v2/clock").status == 200


# -- what is refused -------------------------------------------------------------------------------------------------------------------------------

BROKEN = [
    ({"symbol": None}, 422, 40010001, "symbol is required"),
    ({"symbol": "NOPE"}, 422, 42210000, 'asset "NOPE" not found'),
    ({"qty": None}, 422, 40010001, "qty or notional is required"),
    ({"notional": "10"}, 422, 40010001, "only one of qty or notional is accepted"),
    ({"qty": "0"}, 422, 40010001, "qty must be > 0"),
    ({"qty": "-1"}, 422, 40010001, "qty must be > 0"),
    ({"qty": "NaN"}, 422, 40010001, "NaN is not a finite number"),
    ({"qty": "1e30"}, 422, 40010001, "1E+30 is out of range"),
    ({"qty": "0.0000000001"}, 422, 40010001, "qty has more than 9 decimal places"),
    ({"side": None}, 422, 40010001, "side is required"),
    ({"side": "hold"}, 422, 40010001, "invalid side hold"),
    ({"type": "iceberg"}, 422, 40010001, "invalid order type iceberg"),
    ({"type": "trailing_stop"}, 422, 40010001, "trailing stop orders must specify one of trail_price or trail_percent"),
    ({"trail_price": "1"}, 422, 40010001, "market orders must not have trail_price"),
    ({"time_in_force": "gtd"}, 422, 40010001, "invalid time_in_force gtd"),
    ({"type": "limit"}, 422, 40010001, "limit orders require limit_price"),
    ({"limit_price": "5"}, 422, 40010001, "market orders do not take limit_price"),
    ({"type": "stop_limit", "limit_price": "5"}, 422, 40010001, "stop_limit orders require stop_price"),
    ({"type": "limit", "limit_price": "0"}, 422, 40010001, "limit_price must be > 0"),
    (
        {"type": "limit", "limit_price": "290.123"},
        422,
        42210000,
        "invalid limit_price 290.123. sub-penny increment does not fulfill minimum pricing criteria",
    ),
    (
        {"type": "stop", "stop_price": "0.12345"},
        422,
        42210000,
        "invalid stop_price 0.12345. sub-penny increment does not fulfill minimum pricing criteria",
    ),
    ({"qty": "0.5", "time_in_force": "gtc"}, 422, 42210000, "fractional orders must be DAY orders"),
    ({"qty": None, "notional": "0.99"}, 403, 40310000, "cost basis must be >= minimal amount of order 1"),
    ({"symbol": "CENT", "qty": "1.5"}, 403, 40310000, 'asset "CENT" is not fractionable'),
    ({"extended_hours": True}, 422, 42210000, "extended hours order must be DAY limit orders"),
    ({"type": "stop", "stop_price": "5", "time_in_force": "opg"}, 422, 42210000, "opg orders must be market or limit orders"),
    ({"symbol": "BTC/USD", "qty": "0.01"}, 422, 42210000, "invalid crypto time_in_force"),
    ({"symbol": "BTC/USD", "type": "stop", "stop_price": "5", "time_in_force": "gtc"}, 422, 42210000, "invalid order type for crypto order"),
    ({"symbol": "BTC/USD", "qty": "0.00001", "time_in_force": "gtc"}, 403, 40310000, "cost basis must be >= minimal amount of order 10"),
    ({"order_class": "triple"}, 422, 40010001, "invalid order_class triple"),
    ({"order_class": "mleg"}, 422, 42210000, "mleg orders must have between 2 and 4 legs"),
    ({"take_profit": {"limit_price": "5"}}, 422, 40010001, "simple orders do not take take_profit or stop_loss"),
    ({"client_order_id": "x" * 129}, 422, 40010001, "client_order_id must be no more than 128 characters"),
]


@pytest.mark.parametrize(("change", "status", "code", "message"), BROKEN, ids=[f"{place}-{row[3][:40]}" for place, row in enumerate(BROKEN)])
def test_an_order_that_breaks_a_rule(change: dict[str, object], status: int, code: int, message: str) -> None:
    client = Client()
    order: dict[str, object] = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"} | change
    answer = client.send("POST", "/v2/orders", {name: value for name, value in order.items() if value is not None})

    assert (answer.status, answer.body["code"], answer.body["message"]) == (status, code, message)
    assert client.get("/v2/orders?status=all") == []
    assert client.twin.exchange.reserved == 0


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"qty": {}}', b'{"extended_hours": "x"}'])
def test_a_body_that_cannot_be_read(raw: bytes) -> None:
    answer = Client().send("POST", "/v2/orders", raw=raw)

    assert (answer.status, answer.body["code"]) == (400, 40010001)


def test_numbers_may_be_strings_or_numbers() -> None:
    client = Client()
    orders = [client.order(kind="limit", qty=qty, limit_price=price).body for qty, price in (("2", "100.25"), (2.0, 100.25), (2, "100.250"))]

    assert {(order["qty"], order["limit_price"]) for order in orders} == {("2", "100.25")}


def test_more_than_the_money() -> None:
    client = Client()
    answer = client.order(kind="limit", limit_price="250", qty="401")

    assert (answer.status, answer.body["code"], answer.body["message"]) == (403, 40310000, "insufficient buying power")
    assert (answer.body["buying_power"], answer.body["cost_basis"]) == ("100000", "100250")


def test_open_buys_hold_money_and_a_cancel_gives_it_back() -> None:
    client = Client()
    order = client.order(kind="limit", limit_price="100", qty="600").body
    held = client.get("/v2/account")["buying_power"]
    refused = client.order(kind="limit", limit_price="100", qty="401")
    client.send("DELETE", f"/v2/orders/{order['id']}")

    assert (held, refused.status) == ("40000", 403)
    assert client.get("/v2/account")["buying_power"] == "100000"


@pytest.mark.parametrize(("symbol", "factor"), [("F", "1.04"), ("AAPL", "1.025")])
def test_a_market_buy_holds_the_collared_price(symbol: str, factor: str) -> None:
    client = Client(latency=SLOW)
    ask = Decimal(str(client.get(f"/v2/stocks/{symbol}/quotes/latest")["quote"]["ap"]))
    client.order(symbol, qty="10")

    assert client.twin.exchange.reserved == ask * Decimal(factor) * 10


def test_more_than_is_held_or_not_held_by_orders() -> None:
    client = Client()
    client.order(qty="5")
    client.order(side="sell", kind="limit", limit_price="90000", qty="4")
    answer = client.order(side="sell", qty="2")

    assert answer.status == 403
    assert answer.body == {
        "code": 40310000,
        "message": "insufficient qty available for order (requested: 2, available: 1)",
        "available": "1",
        "existing_qty": "5",
        "held_for_orders": "4",
        "symbol": "AAPL",
    }
    assert client.get("/v2/positions/AAPL")["qty_available"] == "1"


def test_an_order_may_not_cross_zero() -> None:
    client = Client(multiplier=Decimal(2))
    client.order(qty="5")
    too_many = client.order(side="sell", qty="10")
    client.order(side="sell", qty="5")
    short = client.order(side="sell", qty="10")
    too_many_back = client.order(side="buy", qty="11")
    client.order(side="buy", qty="10")

    assert (too_many.status, too_many.body["code"]) == (403, 40310000)
    assert short.body["position_intent"] == "sell_to_open"
    assert (too_many_back.status, too_many_back.body["code"]) == (403, 40310000)
    assert client.get("/v2/positions") == []


NOTHING_THERE = (403, 40310000, "insufficient qty available for order (requested: 1, available: 0)")


@pytest.mark.parametrize(
    ("options", "order", "refusal"),
    [
        ({}, {"qty": "1"}, NOTHING_THERE),  # multiplier 1
        ({"multiplier": Decimal(2), "cash": Decimal(1999)}, {"qty": "1"}, NOTHING_THERE),
        ({"multiplier": Decimal(2)}, {"qty": "0.5"}, (422, 42210000, "fractional orders cannot be sold short")),
        ({"multiplier": Decimal(2)}, {"symbol": "CENT", "qty": "1"}, (422, 42210000, 'asset "CENT" cannot be sold short')),
    ],
)
def test_shorts_that_are_refused(options: dict[str, Decimal], order: dict[str, str], refusal: tuple[int, int, str]) -> None:
    answer = Client(**options).order(side="sell", **order)

    assert (answer.status, answer.body["code"], answer.body["message"]) == refusal


def test_a_short_holds_the_worse_of_its_limit_and_the_offer_with_a_margin() -> None:
    client = Client(multiplier=Decimal(2), latency=SLOW)
    ask = Decimal(str(client.get("/v2/stocks/AAPL/quotes/latest")["quote"]["ap"]))
    client.order(side="sell", qty="10")
    market = client.twin.exchange.reserved
    client.order(side="sell", kind="limit", limit_price="400", qty="10")

    assert market == ask * Decimal("1.03") * 10
    assert client.twin.exchange.reserved == market + 4000


def test_covers_together_may_not_cross_zero_and_hold_no_money() -> None:
    client = Client(multiplier=Decimal(2))
    client.order(side="sell", qty="10")
    power = client.get("/v2/account")["buying_power"]
    cover = client.order(side="buy", kind="limit", limit_price="10", qty="6").body
    too_many = client.order(side="buy", kind="limit", limit_price="10", qty="5")
    more = client.send("PATCH", f"/v2/orders/{cover['id']}", {"qty": "11"})
    all_of_it = client.send("PATCH", f"/v2/orders/{cover['id']}", {"qty": "10"})

    assert cover["position_intent"] == "buy_to_close"
    assert (too_many.status, too_many.body["available"], too_many.body["held_for_orders"]) == (403, "4", "6")
    assert (more.status, all_of_it.status) == (403, 200)
    assert client.get("/v2/account")["buying_power"] == power
    assert client.get("/v2/positions/AAPL")["qty_available"] == "0"


def test_nobody_opens_both_ways_at_once() -> None:
    client = Client(multiplier=Decimal(2))
    client.order(kind="limit", limit_price="10")
    short = client.order(side="sell", kind="limit", limit_price="900")
    other = client.order("MSFT", side="sell", kind="limit", limit_price="900").status
    long = client.order("MSFT", kind="limit", limit_price="10")

    assert (short.status, short.body["message"]) == (403, "cannot open a short sell while a long buy order is open")
    assert other == 200
    assert (long.status, long.body["message"]) == (403, "cannot open a long buy while a short sell order is open")


def test_a_short_position_is_negative() -> None:
    client = Client(multiplier=Decimal(2))
    client.order(side="sell", qty="10")
    position = client.get("/v2/positions/AAPL")

    assert (position["qty"], position["side"], position["qty_available"]) == ("-10", "short", "10")
    assert Decimal(position["market_value"]) < 0
    assert client.get("/v2/account/activities")[0]["side"] == "sell_short"
    assert client.send("DELETE", "/v2/positions/AAPL").body["side"] == "buy"
    assert client.get("/v2/positions") == []


WASH = [
    ({"kind": "limit", "limit_price": "10"}, {"kind": "market"}, True),
    ({"kind": "limit", "limit_price": "10"}, {"kind": "limit", "limit_price": "10"}, True),
    ({"kind": "limit", "limit_price": "10"}, {"kind": "limit", "limit_price": "10.01"}, False),
    ({"kind": "limit", "limit_price": "10"}, {"kind": "stop", "stop_price": "9"}, True),
    ({"kind": "stop", "stop_price": "9000"}, {"kind": "limit", "limit_price": "9500"}, True),
]


@pytest.mark.parametrize(("resting", "new", "refused"), WASH)
def test_the_wash_trade_matrix(resting: dict[str, str], new: dict[str, str], refused: bool) -> None:
    client = Client()
    client.order(qty="5")
    first = client.order(**resting).body
    answer = client.order(side="sell", **new)

    assert (answer.status == 403) is refused
    if refused:
        assert answer.body["message"] == "potential wash trade detected. use complex orders"
        assert answer.body["existing_order_id"] == first["id"]
        assert answer.body["reject_reason"].startswith("opposite side")


def test_an_account_that_is_suspended_by_its_owner() -> None:
    client = Client()
    client.send("PATCH", "/v2/account/configurations", {"suspend_trade": True})

    assert client.get("/v2/account")["trade_suspended_by_user"]
    assert client.order().body == {"code": 40310000, "message": "new orders are rejected by user request"}
    assert client.send("PATCH", "/v2/account/configurations", {"max_margin_multiplier": "3"}).status == 422
    assert client.send("PATCH", "/v2/account/configurations", {"no_shorting": "x"}).status == 400


# -- client order ids ------------------------------------------------------------------------------------------------------------------------------


def test_a_client_order_id_is_used_for_ever_and_the_code_tells_how_the_order_stands() -> None:
    client = Client()
    order = client.order(kind="limit", limit_price="1", client_order_id="one").body
    working = client.order(client_order_id="one")
    client.send("DELETE", f"/v2/orders/{order['id']}")
    finished = client.order(client_order_id="one")
    client.wait(13 * 24 * HOUR)
    later = client.order(client_order_id="one")

    assert [(answer.status, answer.body["code"]) for answer in (working, finished, later)] == [(422, 42210000), (422, 40010001), (422, 40010001)]
    assert working.body["message"] == "client_order_id must be unique"
    assert client.twin.trading.posts["one"] == 4
    assert len(client.get("/v2/orders?status=all")) == 1


def test_a_refused_submit_does_not_use_its_id_up() -> None:
    client = Client()
    refused = client.order(qty="100000", client_order_id="one")
    unseen = client.send("GET", "/v2/orders:by_client_order_id?client_order_id=one")

    assert (refused.status, unseen.status) == (403, 404)
    assert unseen.body == {"code": 40410000, "message": "order not found for one"}
    assert client.order(client_order_id="one").status == 200


def test_an_order_without_an_id_gets_one() -> None:
    client = Client()
    order = client.order().body

    assert client.get(f"/v2/orders:by_client_order_id?client_order_id={order['client_order_id']}")["id"] == order["id"]


# -- replace and cancel ----------------------------------------------------------------------------------------------------------------------------


def test_a_replace_is_a_second_order() -> None:
    client = Client(latency=SLOW)
    old = client.order(kind="limit", limit_price="10", qty="5", client_order_id="old").body
    early = client.send("PATCH", f"/v2/orders/{old['id']}", {"qty": "7"})
    client.wait(SECOND)
    new = client.send("PATCH", f"/v2/orders/{old['id']}", {"qty": "7", "client_order_id": "new"}).body
    between = {order["client_order_id"]: order["status"] for order in client.get("/v2/orders")}
    client.wait(3 * SECOND)
    after = {order["client_order_id"]: order for order in client.get("/v2/orders?status=all")}

    assert (early.status, early.body["message"]) == (422, "cannot replace order in pending_new status")
    assert between == {"old": "pending_replace", "new": "pending_new"}
    assert (after["old"]["status"], after["old"]["replaced_by"]) == ("replaced", new["id"])
    assert (after["new"]["status"], after["new"]["replaces"], after["new"]["qty"]) == ("new", old["id"], "7")


REPLACES = [
    ({"qty": "5"}, 422, "order parameters are not changed"),
    ({}, 422, "order parameters are not changed"),
    ({"qty": "5.5"}, 422, "qty of fractional orders cannot be replaced"),
    ({"limit_price": "10.001"}, 422, "invalid limit_price 10.001. sub-penny increment does not fulfill minimum pricing criteria"),
    ({"stop_price": "9"}, 422, "limit orders do not have this price"),
    ({"trail": "1"}, 422, "trail can only be replaced on trailing stop orders"),
    ({"time_in_force": "gtd"}, 422, "invalid time_in_force gtd"),
    ({"qty": "100000"}, 403, "insufficient buying power"),
    ({"client_order_id": "old", "qty": "6"}, 422, "client_order_id must be unique"),
]


@pytest.mark.parametrize(("change", "status", "message"), REPLACES)
def test_a_replace_that_is_refused_leaves_the_order_alone(change: dict[str, str], status: int, message: str) -> None:
    client = Client()
    order = client.order(kind="limit", limit_price="10", qty="5", client_order_id="old").body
    answer = client.send("PATCH", f"/v2/orders/{order['id']}", change)

    assert (answer.status, answer.body["message"]) == (status, message)
    assert client.get(f"/v2/orders/{order['id']}")["status"] == "new"
    assert client.get("/v2/account")["buying_power"] == "99950"


def test_replaces_that_come_too_late_or_never_could() -> None:
    client = Client(hours="us")
    filled = client.order().body
    notional = client.order(kind="limit", notional="500", limit_price="1").body
    resting = client.order(kind="limit", limit_price="1").body
    client.send("PATCH", f"/v2/orders/{resting['id']}", {"qty": "2"})
    queued = client.order(tif="cls", kind="limit", limit_price="1").body
    answers = [client.send("PATCH", f"/v2/orders/{order['id']}", {"qty": "2"}).body["message"] for order in (filled, notional, resting, queued)]

    assert answers == [
        'order is already in "filled" state',
        "notional orders cannot be replaced",
        "order already replaced",
        "cannot replace order in accepted status",
    ]


def test_a_sell_is_replaced_within_what_is_held() -> None:
    client = Client()
    client.order(qty="5")
    order = client.order(side="sell", kind="limit", limit_price="9000", qty="3").body
    too_many = client.send("PATCH", f"/v2/orders/{order['id']}", {"qty": "6"})
    client.send("PATCH", f"/v2/orders/{order['id']}", {"qty": "5"})

    assert (too_many.status, too_many.body["message"]) == (403, "insufficient qty available for order (requested: 6, available: 5)")
    assert client.get("/v2/positions/AAPL")["qty_available"] == "0"


def test_a_cancel_is_a_request_and_a_filled_order_is_past_it() -> None:
    client = Client(latency=SLOW)
    order = client.order(kind="limit", limit_price="1").body
    client.wait(SECOND)
    asked = client.send("DELETE", f"/v2/orders/{order['id']}")
    between = client.get(f"/v2/orders/{order['id']}")["status"]
    again = client.send("DELETE", f"/v2/orders/{order['id']}")
    client.wait(3 * SECOND)

    assert (asked.status, asked.body, between) == (204, None, "pending_cancel")
    assert (again.status, again.body) == (422, {"code": 42210000, "message": 'order is already in "pending_cancel" state'})
    assert client.get(f"/v2/orders/{order['id']}")["status"] == "canceled"


# -- sessions --------------------------------------------------------------------------------------------------------------------------------------


def test_a_day_order_of_the_night_is_accepted_and_waits() -> None:
    night = NOON + 10 * HOUR
    client = Client(hours="us", start_ns=night)
    order = client.order().body
    clock = client.get("/v2/clock")
    client.wait(11 * HOUR + 30 * 60 * SECOND)

    assert order["status"] == "accepted"
    assert (clock["is_open"], clock["next_open"]) == (False, "2026-11-25T09:30:00-05:00")
    assert client.get(f"/v2/orders/{order['id']}")["status"] == "filled"


def test_the_calendar_of_thanksgiving_week() -> None:
    days = Client(hours="us").get("/v2/calendar?start=2026-11-23&end=2026-11-29")

    assert [(day["date"], day["open"], day["close"], day["session_open"], day["session_close"]) for day in days] == [
        ("2026-11-23", "09:30", "16:00", "0400", "2000"),
        ("2026-11-24", "09:30", "16:00", "0400", "2000"),
        ("2026-11-25", "09:30", "16:00", "0400", "2000"),
        ("2026-11-27", "09:30", "13:00", "0400", "1700"),
    ]
    assert [day["settlement_date"] for day in days] == ["2026-11-24", "2026-11-25", "2026-11-27", "2026-11-30"]


def test_a_market_that_never_closes() -> None:
    client = Client(start_ns=NOON + 10 * HOUR)

    assert client.get("/v2/clock")["is_open"]
    assert client.order().body["status"] == "pending_new"
    assert client.get("/v2/calendar?start=2026-11-28&end=2026-11-28")[0]["close"] == "23:59"
    assert client.send("GET", "/v2/calendar?start=1970-01-01").status == 422


@pytest.mark.parametrize(
    ("hour", "tif", "taken"), [(8, "opg", True), (12, "opg", False), (12, "cls", True), (15.9, "cls", False), (19.5, "opg", True)]
)
def test_auction_orders_have_their_hours(hour: float, tif: str, taken: bool) -> None:
    client = Client(hours="us", start_ns=NOON + int((hour - 12) * 3600) * SECOND)

    assert (client.order(tif=tif).status == 200) is taken


# -- lists and pages -------------------------------------------------------------------------------------------------------------------------------


def test_orders_page_by_time_and_by_id_without_loss() -> None:
    client = Client()
    made = []
    for _ in range(7):
        made.append(client.order(kind="limit", limit_price="1").body)
        client.wait(SECOND)
    newest = [order["id"] for order in reversed(made)]
    by_time: list[str] = []
    until = ""
    while page := client.get(f"/v2/orders?limit=3{until}"):
        by_time += [order["id"] for order in page]
        until = f"&until={page[-1]['submitted_at']}"
    by_id: list[str] = []
    before = ""
    while page := client.get(f"/v2/orders?limit=3{before}"):
        by_id += [order["id"] for order in page]
        before = f"&before_order_id={page[-1]['id']}"

    assert by_time == by_id == newest
    assert [order["id"] for order in client.get(f"/v2/orders?direction=asc&after={made[3]['submitted_at']}")] == newest[:3][::-1]
    assert client.send("GET", "/v2/orders?limit=501").status == 422
    assert client.send("GET", "/v2/orders?status=done").status == 422
    assert client.send("GET", "/v2/orders?after_order_id=x").status == 404


def test_orders_by_symbol_side_and_class() -> None:
    client = Client()
    client.order(qty="3")
    client.order("BTC/USD", tif="gtc", qty="0.01")
    client.order(side="sell")

    assert [order["symbol"] for order in client.get("/v2/orders?status=all&symbols=BTCUSD,TSLA")] == ["BTC/USD"]
    assert [order["side"] for order in client.get("/v2/orders?status=closed&side=sell")] == ["sell"]
    assert [order["symbol"] for order in client.get("/v2/orders?status=all&asset_class=crypto")] == ["BTC/USD"]


def test_activities_page_in_both_directions_and_filter() -> None:
    client = Client()
    for place in range(9):
        client.order(client_order_id=f"a{place}")
        client.wait(SECOND)
    everything = client.get("/v2/account/activities")
    for direction, wanted in (("desc", everything), ("asc", everything[::-1])):
        pages: list[dict[str, str]] = []
        token = ""
        while page := client.get(f"/v2/account/activities?page_size=4&direction={direction}{token}"):
            pages += page
            token = f"&page_token={page[-1]['id']}"

        assert pages == wanted
    fifth = everything[4]
    assert client.get(f"/v2/account/activities?order_id={fifth['order_id']}") == [fifth]
    assert client.get(f"/v2/account/activities?after={fifth['transaction_time']}") == everything[:4]
    assert client.get(f"/v2/account/activities?until={fifth['transaction_time']}") == everything[5:]
    assert client.get("/v2/account/activities?date=2026-11-23") == []
    assert client.get("/v2/account/activities/FILL?date=2026-11-24") == everything
    assert client.send("GET", "/v2/account/activities?activity_types=FILL&category=trade_activity").status == 422


def test_a_fills_activity_says_what_the_order_says() -> None:
    client = Client()
    order = client.order(qty="30000", symbol="CENT").body
    client.wait(60 * SECOND)
    filled = client.get(f"/v2/orders/{order['id']}")
    fills = client.get(f"/v2/account/activities/FILL?order_id={order['id']}&direction=asc")

    assert len(fills) > 1
    assert [fill["type"] for fill in fills] == ["partial_fill"] * (len(fills) - 1) + ["fill"]
    assert [fill["leaves_qty"] for fill in fills][-1] == "0"
    assert fills[-1]["cum_qty"] == filled["filled_qty"] == "30000"
    average = sum((Decimal(fill["qty"]) * Decimal(fill["price"]) for fill in fills), Decimal(0)) / 30000
    assert Decimal(filled["filled_avg_price"]) == average.quantize(Decimal("1e-9"))


def test_the_days_crypto_fees_are_booked_after_midnight_in_new_york() -> None:
    client = Client()
    client.order("BTC/USD", tif="gtc", qty="0.1")
    before = client.get("/v2/account/activities/CFEE")
    client.wait(12 * HOUR)
    fee = client.get("/v2/account/activities/CFEE")

    assert before == []
    assert [(entry["symbol"], entry["qty"], entry["net_amount"], entry["date"]) for entry in fee] == [("BTCUSD", "-0.00025", "0", "2026-11-24")]


# -- positions -------------------------------------------------------------------------------------------------------------------------------------


def test_closing_in_parts_and_what_is_refused() -> None:
    client = Client()
    client.order(qty="10")
    half = client.send("DELETE", "/v2/positions/AAPL?percentage=50").body
    part = client.send("DELETE", "/v2/positions/AAPL?qty=1").body
    refusals = [client.send("DELETE", f"/v2/positions/AAPL?{query}").status for query in ("qty=1&percentage=1", "qty=x", "percentage=101", "qty=99")]

    assert (half["qty"], half["side"], half["type"], half["position_intent"]) == ("5", "sell", "market", "sell_to_close")
    assert part["qty"] == "1"
    assert refusals == [422, 422, 422, 403]
    assert client.get("/v2/positions/AAPL")["qty"] == "4"
    assert client.send("DELETE", "/v2/positions/TSLA").body == {"code": 40410000, "message": "position does not exist"}


def test_closing_everything_with_and_without_its_orders() -> None:
    client = Client()
    client.order(qty="10")
    client.order(side="sell", kind="limit", limit_price="9000", qty="10")
    blocked = client.send("DELETE", "/v2/positions")
    closed = client.send("DELETE", "/v2/positions?cancel_orders=true")

    assert (blocked.status, blocked.body[0]["status"], blocked.body[0]["body"]["code"]) == (207, 403, 40310000)
    assert (closed.status, closed.body[0]["status"], closed.body[0]["body"]["qty"]) == (207, 200, "10")
    assert client.get("/v2/positions") == []
    assert client.get("/v2/orders") == []


def test_equity_is_cash_and_what_is_held() -> None:
    client = Client()
    client.order(qty="100")
    client.order("ETH/USD", tif="gtc", qty="2")
    client.wait(3 * HOUR)
    account, positions = client.get("/v2/account"), client.get("/v2/positions")

    assert Decimal(account["equity"]) == Decimal(account["cash"]) + sum(Decimal(position["market_value"]) for position in positions)
    assert account["last_equity"] == "100000"
    client.wait(12 * HOUR)
    assert client.get("/v2/account")["last_equity"] != "100000"


# -- times -----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-24T12:00:00-05:00", "2026-11-24T17:00:00.000000000Z"),
        ("2026-11-24T17:00:00Z", "2026-11-24T17:00:00.000000000Z"),
        ("2026-11-24T17:00:00.123456789Z", "2026-11-24T17:00:00.123456789Z"),
        ("2026-11-24T17:00", "2026-11-24T17:00:00.000000000Z"),
        ("2026-11-24", "2026-11-24T00:00:00.000000000Z"),
    ],
)
def test_times_are_read(text: str, utc: str) -> None:
    assert iso(parse_time(text, "start")) == utc


def test_new_york_times_are_written_with_their_offset() -> None:
    assert new_york(NOON) == "2026-11-24T12:00:00-05:00"
    assert new_york(NOON - 150 * 24 * HOUR + 120_000_000) == "2026-06-27T13:00:00.12-04:00"


# -- bars ------------------------------------------------------------------------------------------------------------------------------------------


def test_bars_are_as_they_were_told_unless_they_are_to_be_adjusted() -> None:
    client = Client()
    query = f"/v2/stocks/bars?symbols=AAPL&timeframe=1Min&start={iso(NOON - HOUR)}&end={iso(NOON - HOUR // 2)}"
    then = client.get(query)["bars"]["AAPL"]
    client.twin.split("AAPL", Decimal(2))

    assert client.get(query)["bars"]["AAPL"] == client.get(f"{query}&adjustment=raw,dividend")["bars"]["AAPL"] == then
    adjusted = client.get(f"{query}&adjustment=split")["bars"]["AAPL"]
    assert adjusted == client.get(f"{query}&adjustment=all")["bars"]["AAPL"]
    assert [(bar["c"] * 2, bar["v"]) for bar in adjusted] == [(bar["c"], bar["v"] * 2) for bar in then]
    assert client.send("GET", f"{query}&adjustment=splits").status == 400
