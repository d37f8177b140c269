"""Option orders on the twin: what is refused and in which words, money for a hundred shares, cover, spreads that fill as a whole."""

from decimal import Decimal

import pytest

from tests.brokers.alpaca.option_client import SOON, cash, filled, leg, mleg, near, position, quote, stock_px, strike
from tests.brokers.alpaca.twin_client import SECOND, Client

D = Decimal
HOUR = 3600 * SECOND
INSUFFICIENT = "insufficient options buying power"
UNCOVERED = "account not eligible to trade uncovered option contracts"


# -- what is refused -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "code", "message"),
    [
        ({"extended_hours": True}, 422, 42210000, "extended hours is not supported for options trading"),
        ({"notional": "100", "qty": None}, 422, 42210000, "notional orders are not supported for options trading"),
        ({"qty": "1.5"}, 422, 42210000, "qty must be integer for options trading"),
        ({"qty": None}, 422, 40010001, "qty or notional is required"),
        ({"qty": "0"}, 422, 40010001, "qty must be > 0"),
        ({"time_in_force": "gtc"}, 422, 42210000, "invalid option time_in_force"),
        ({"type": "stop", "stop_price": "1"}, 422, 42210000, "invalid option order_type"),
        ({"type": "trailing_stop", "trail_price": "1"}, 422, 42210000, "invalid option order_type"),
        ({"type": "limit"}, 422, 40010001, "limit orders require limit_price"),
        ({"type": "limit", "limit_price": "-1"}, 422, 40010001, "limit orders require limit_price"),
        (
            {"type": "limit", "limit_price": "1.005"},
            422,
            42210000,
            "invalid limit_price 1.005. sub-penny increment does not fulfill minimum pricing criteria",
        ),
        ({"side": "short"}, 422, 40010001, "invalid side short"),
        ({"order_class": "bracket"}, 422, 42210000, "complex orders not supported for options trading"),
        ({"symbol": "AAPL261218C00000500"}, 422, 42210000, 'contract "AAPL261218C00000500" not found'),
        ({"symbol": "AAPL231218C00200000"}, 422, 42210000, 'contract "AAPL231218C00200000" is expired'),
        (
            {"position_intent": "buy_to_close"},
            422,
            42210000,
            "position intent mismatch, inferred: buy_to_open, specified: buy_to_close",
        ),
        ({"side": "sell"}, 403, 40310000, UNCOVERED),
    ],
)
def test_a_single_order_that_breaks_a_rule(change: dict[str, object], status: int, code: int, message: str) -> None:
    client = Client(hours="us")
    order: dict[str, object] = {"symbol": near(client), "qty": "1", "side": "buy", "type": "market", "time_in_force": "day"} | change
    answer = client.send("POST", "/v2/orders", {name: value for name, value in order.items() if value is not None})

    assert (answer.status, answer.body["code"], answer.body["message"]) == (status, code, message)


def test_each_level_allows_a_little_more() -> None:
    for level, buys, secured, spreads in ((0, False, False, False), (1, False, True, False), (2, True, True, False), (3, True, True, True)):
        client = Client(hours="us", options_level=level, cash=D(1_000_000))
        call, put = near(client), near(client, "put")
        bought = client.order(call, kind="limit", limit_price="0.01")
        sold = client.order(put, side="sell", kind="limit", limit_price="90")
        both = mleg(client, leg(call, "buy_to_open"), leg(near(client, away=10), "sell_to_open"), limit="0.01")

        assert [answer.status == 200 for answer in (bought, sold, both)] == [buys, secured, spreads]
        assert client.get("/v2/account")["options_trading_level"] == level
        if level == 0:
            assert {answer.body["message"] for answer in (bought, sold, both)} == {"account not authorized to trade options"}
        elif level == 1:
            assert bought.body["message"] == "account not eligible to trade long option contracts"
        elif level == 2:
            assert both.body["message"] == "account not eligible to trade spreads or uncovered contracts"


def test_the_owner_may_allow_less_but_not_more() -> None:
    client = Client(hours="us", options_level=2)
    lower = client.send("PATCH", "/v2/account/configurations", {"max_options_trading_level": 0})
    refused = client.order(near(client))
    client.send("PATCH", "/v2/account/configurations", {"max_options_trading_level": 3})

    assert (lower.status, refused.status) == (200, 403)
    assert client.get("/v2/account")["options_trading_level"] == 2
    assert client.send("PATCH", "/v2/account/configurations", {"max_options_trading_level": 4}).status == 422


def test_market_orders_are_for_market_hours_and_limit_orders_wait_for_them() -> None:
    client = Client(hours="us")
    call = near(client)
    client.wait(6 * HOUR)
    refused = client.order(call)
    waiting = client.order(call, kind="limit", limit_price="100").body

    assert refused.body["message"] == "options market orders are only allowed during market hours"
    assert waiting["status"] == "accepted"
    client.wait(16 * HOUR)  # Thanksgiving's eve, ten in the morning
    assert client.get(f"/v2/orders/{waiting['id']}")["status"] == "filled"


def test_on_its_last_day_a_contract_is_only_closed_and_then_it_is_over() -> None:
    client = Client(hours="us")
    call = near(client, expiry=SOON)
    filled(client, call)
    client.wait(3 * 24 * HOUR + 40 * 60 * SECOND)  # 12:40 of a day that closes at 13:00
    opening = client.order(call)
    closing = client.order(call, side="sell", kind="limit", limit_price="500")

    assert opening.body["message"] == f'contract "{call}" expires soon, unable to open new positions'
    assert closing.status == 200
    client.wait(HOUR)
    assert client.order(call, side="sell").body["message"] == f'contract "{call}" is expired'
    assert client.get(f"/v2/orders/{closing.body['id']}")["status"] == "expired"


# -- single orders ---------------------------------------------------------------------------------------------------------------------------------


def test_a_bought_option_costs_a_hundred_times_its_price_and_is_marked_so() -> None:
    client = Client(hours="us")
    call, before = near(client), cash(client)
    ask = D(str(quote(client, call)["ap"]))
    row = filled(client, call, qty="2")
    held = client.get(f"/v2/positions/{call}")
    account = client.get("/v2/account")

    assert D(row["filled_avg_price"]) == ask
    assert (row["asset_class"], row["order_class"], row["position_intent"]) == ("us_option", "simple", "buy_to_open")
    assert row["asset_id"] == client.get(f"/v2/options/contracts/{call}")["id"] == held["asset_id"]
    assert cash(client) == before - 200 * ask
    assert (held["qty"], held["asset_class"], D(held["avg_entry_price"]), D(held["cost_basis"])) == ("2", "us_option", ask, 200 * ask)
    assert D(held["market_value"]) == 200 * D(held["current_price"])
    assert D(held["unrealized_pl"]) == D(held["market_value"]) - D(held["cost_basis"])
    assert D(account["equity"]) == cash(client) + D(held["market_value"])
    assert D(account["options_buying_power"]) == cash(client)


def test_what_is_bought_is_sold_again_and_leaves_nothing() -> None:
    client = Client(hours="us")
    put = near(client, "put")
    client.order(put, qty="3")
    client.wait(60 * SECOND)
    closed = client.send("DELETE", f"/v2/positions/{put}?percentage=50").body
    client.wait(60 * SECOND)
    halved = position(client, put)
    client.send("DELETE", f"/v2/positions/{put}")
    client.wait(60 * SECOND)

    assert (closed["qty"], closed["position_intent"]) == ("1", "sell_to_close")
    assert (halved, position(client, put)) == (2, 0)
    fills = client.get("/v2/account/activities/FILL")
    assert cash(client) == 100_000 - sum(100 * D(fill["price"]) * D(fill["qty"]) * (1 if fill["side"] == "buy" else -1) for fill in fills)


def test_limit_orders_rest_hold_money_and_are_changed_and_cancelled() -> None:
    client = Client(hours="us")
    call = near(client)
    rests = client.order(call, kind="limit", limit_price="0.5", qty="2").body
    held = D(client.get("/v2/account")["options_buying_power"])
    changed = client.send("PATCH", f"/v2/orders/{rests['id']}", {"qty": 3, "limit_price": 1}).body
    client.wait(SECOND)
    after = D(client.get("/v2/account")["options_buying_power"])
    much = client.send("PATCH", f"/v2/orders/{changed['id']}", {"qty": 2000})
    client.send("DELETE", f"/v2/orders/{changed['id']}")
    client.wait(SECOND)

    assert (held, after) == (99_900, 99_700)
    assert (changed["qty"], changed["replaces"]) == ("3", rests["id"])
    assert (much.status, much.body["message"]) == (403, f"{INSUFFICIENT} (required: 200000, available: 100000)")
    assert D(client.get("/v2/account")["options_buying_power"]) == 100_000


def test_more_than_the_account_has_is_refused_and_a_position_is_not_crossed() -> None:
    client = Client(hours="us", cash=D(1000))
    call = near(client)
    dear = client.order(call, kind="limit", limit_price="10.01")
    assert (dear.status, dear.body["message"]) == (403, f"{INSUFFICIENT} (required: 1001, available: 1000)")

    filled(client, call)
    crossing = client.order(call, side="sell", qty="2")
    assert (crossing.status, crossing.body["available"], crossing.body["existing_qty"]) == (403, "1", "1")
    client.order(call, side="sell", kind="limit", limit_price="400")
    again = client.order(call, side="sell", kind="limit", limit_price="401")
    assert again.body["message"] == "insufficient qty available for order (requested: 1, available: 0)"
    assert client.order(call).body["message"] == "potential wash trade detected. use complex orders"


def test_large_orders_eat_the_depth_of_a_thin_market() -> None:
    client = Client(hours="us")
    call = near(client, expiry=SOON)
    size = quote(client, call)["as"]
    client.order(call, qty="150")
    client.wait(120 * SECOND)
    fills = client.get("/v2/account/activities/FILL")

    assert max(D(fill["qty"]) for fill in fills) <= 32
    assert len(fills) > 3
    assert sum(D(fill["qty"]) for fill in fills) == 150 > size


def test_a_call_is_sold_against_a_hundred_shares_which_it_holds() -> None:
    client = Client(hours="us")
    call = near(client, away=5)
    client.order(qty="150")
    client.wait(SECOND)
    row = filled(client, call, "sell")

    assert row["position_intent"] == "sell_to_open"
    assert client.get("/v2/positions/AAPL")["qty_available"] == "50"
    refused = client.order(side="sell", qty="60")
    assert refused.body["message"] == "insufficient qty available for order (requested: 60, available: 50)"
    assert client.order(call, side="sell").body["message"] == UNCOVERED
    assert position(client, call) == -1
    filled(client, call)  # bought back
    assert client.get("/v2/positions/AAPL")["qty_available"] == "150"


def test_a_call_on_its_way_holds_its_shares_too() -> None:
    client = Client(hours="us")
    call = near(client, away=5)
    client.order(qty="100")
    client.wait(SECOND)
    resting = client.order(call, side="sell", kind="limit", limit_price="300").body

    assert client.get("/v2/positions/AAPL")["qty_available"] == "0"
    assert client.order(call, side="sell", kind="limit", limit_price="301").body["message"] == UNCOVERED
    client.send("DELETE", f"/v2/orders/{resting['id']}")
    client.wait(SECOND)
    assert client.get("/v2/positions/AAPL")["qty_available"] == "100"


def test_a_put_is_sold_against_the_money_for_its_strike() -> None:
    client = Client(hours="us", cash=D(25_000))
    put = near(client, "put")
    second = client.order(put, side="sell", qty="2")
    row = filled(client, put, "sell")
    premium = 100 * D(row["filled_avg_price"])

    assert second.body["message"].startswith(INSUFFICIENT)
    assert cash(client) == 25_000 + premium
    assert D(client.get("/v2/account")["options_buying_power"]) == 25_000 + premium - 100 * strike(put)
    held = client.get(f"/v2/positions/{put}")
    assert (held["side"], held["qty"], D(held["market_value"])) == ("short", "-1", -100 * D(held["current_price"]))


def test_a_call_that_is_held_covers_one_that_is_sold_at_level_three_alone() -> None:
    for level in (2, 3):
        client = Client(hours="us", options_level=level)
        low, high = near(client), near(client, away=10)
        filled(client, low)
        sold = client.order(high, side="sell")
        client.wait(60 * SECOND)

        assert sold.status == (200 if level == 3 else 403)
        if level == 3:
            exposed = client.order(low, side="sell")  # its cover may not go first
            assert exposed.body["message"] == UNCOVERED
            assert client.send("DELETE", "/v2/positions").status == 207  # what covers goes last
            client.wait(60 * SECOND)
            assert client.get("/v2/positions") == []


# -- orders of several legs ------------------------------------------------------------------------------------------------------------------------


def spread(client: Client) -> tuple[str, str]:
    return near(client), near(client, away=10)


@pytest.mark.parametrize(
    ("legs", "change", "message"),
    [
        ("1", {}, "mleg orders must have between 2 and 4 legs"),
        ("12345", {}, "mleg orders must have between 2 and 4 legs"),
        ("11", {}, "mleg orders must have a different contract in each leg"),
        ("1x", {}, "asset not found for NOPE"),
        ("1s", {}, "equity legs are allowed only with a corresponding amount of call contracts"),
        ("1t", {}, "underlying asset mismatch: AAPL != TSLA"),
        ("1n", {}, "leg.1 position intent is required"),
        ("1r", {}, "leg.1 ratio_qty must be a whole number > 0"),
        ("22", {"ratio": "2"}, "the ratio_qty of mleg orders must have no common divisor"),
        ("12", {"limit": None, "type": "limit"}, "limit price is required for limit orders"),
        ("12", {"type": "market"}, "limit price is only valid for limit orders"),
        ("12", {"time_in_force": "gtc"}, "invalid option time_in_force"),
        ("12", {"type": "stop_limit"}, "invalid option order_type"),
        ("12", {"qty": "0.5"}, "qty must be integer for options trading"),
        ("12", {"extended_hours": True}, "extended hours is not supported for options trading"),
        ("1c", {}, "position intent mismatch, inferred: buy_to_open, specified: buy_to_close"),
    ],
)
def test_a_multileg_order_that_breaks_a_rule(legs: str, change: dict[str, object], message: str) -> None:
    client = Client(hours="us")
    names = {str(place + 1): near(client, away=place * 2.5) for place in range(5)}
    made = {place: leg(name, "sell_to_open" if place == "2" else "buy_to_open") for place, name in names.items()}
    made |= {"x": leg("NOPE", "buy_to_open"), "s": leg("AAPL", "buy_to_open"), "t": leg(near(client, underlying="TSLA"), "buy_to_open")}
    made |= {"n": made["2"] | {"position_intent": ""}, "r": made["2"] | {"ratio_qty": "0.5"}, "c": made["3"] | {"position_intent": "buy_to_close"}}
    wanted = [made[place] for place in legs]
    if "ratio" in change:
        wanted = [made["1"] | {"ratio_qty": "2"}, made["2"] | {"ratio_qty": "4"}]
    rest = {name: value for name, value in change.items() if name not in ("ratio", "limit")}
    limit = None if "limit" in change else "1"
    answer = mleg(client, *wanted, limit=limit, **rest)

    assert (answer.status, answer.body["message"]) == (422, message)


def test_a_debit_spread_fills_as_a_whole_at_its_net_price_or_better() -> None:
    client = Client(hours="us")
    low, high = spread(client)
    asked = D(str(quote(client, low)["ap"])) - D(str(quote(client, high)["bp"]))
    stream = client.listen()
    made = mleg(client, leg(low, "buy_to_open"), leg(high, "sell_to_open"), limit=str(asked + 1), qty="2", client_order_id="spread").body
    client.wait(SECOND)
    row = client.get("/v2/orders:by_client_order_id?client_order_id=spread")
    frames = [(frame["data"]["event"], frame["data"]["order"]["symbol"]) for frame in client.frames(stream)]

    assert (made["symbol"], made["side"], made["asset_class"], made["asset_id"], made["order_class"]) == ("", "", "", "", "mleg")
    assert (made["qty"], made["limit_price"], made["type"]) == ("2", str(asked + 1), "limit")
    assert [(part["symbol"], part["side"], part["ratio_qty"], part["qty"], part["type"]) for part in made["legs"]] == [
        (low, "buy", "1", "2", ""),
        (high, "sell", "1", "2", ""),
    ]
    assert (row["status"], row["filled_qty"], D(row["filled_avg_price"])) == ("filled", "2", asked)
    assert [part["status"] for part in row["legs"]] == ["filled", "filled"]
    assert len({part["id"] for part in row["legs"]} | {part["client_order_id"] for part in row["legs"]}) == 4
    assert frames == [("pending_new", ""), ("new", ""), ("fill", low), ("fill", high), ("fill", "")]
    assert cash(client) == 100_000 - 200 * asked
    assert D(client.get("/v2/account")["options_buying_power"]) == cash(client)  # a debit spread ties up nothing more
    assert {fill["order_id"] for fill in client.get("/v2/account/activities/FILL")} == {part["id"] for part in row["legs"]}
    assert client.get(f"/v2/orders/{row['legs'][0]['id']}") == row["legs"][0]
    assert [order["id"] for order in client.get("/v2/orders?status=all")] == [row["id"]]
    assert [order["id"] for order in client.get(f"/v2/orders?status=all&symbols={high}")] == [row["id"]]


def test_a_spread_rests_until_the_market_gives_its_price_and_never_pays_more() -> None:
    client = Client(hours="us")
    low, high = spread(client)
    natural = D(str(quote(client, low)["ap"])) - D(str(quote(client, high)["bp"]))
    made = mleg(client, leg(low, "buy_to_open"), leg(high, "sell_to_open"), limit=str(natural - D("0.30"))).body
    held = D(client.get("/v2/account")["options_buying_power"])
    client.wait(HOUR)
    row = client.get(f"/v2/orders/{made['id']}")

    assert held == 100_000 - 100 * (natural - D("0.30"))
    assert row["status"] in ("new", "filled")
    assert row["status"] == "new" or D(row["filled_avg_price"]) <= natural - D("0.30")


def test_a_credit_spread_ties_up_its_greatest_loss() -> None:
    client = Client(hours="us", cash=D(2000))
    put, lower = near(client, "put"), near(client, "put", away=-10)
    width = strike(put) - strike(lower)
    wide = mleg(client, leg(put, "sell_to_open"), leg(lower, "buy_to_open"), limit="-0.5", qty="3")
    greedy = mleg(client, leg(put, "sell_to_open"), leg(lower, "buy_to_open"), limit="-9").body
    held = D(client.get("/v2/account")["options_buying_power"])
    client.send("DELETE", f"/v2/orders/{greedy['id']}")
    client.wait(SECOND)
    made = mleg(client, leg(put, "sell_to_open"), leg(lower, "buy_to_open"), limit="-0.5")
    client.wait(60 * SECOND)
    row = client.get(f"/v2/orders/{made.body['id']}")

    assert wide.body["message"] == f"{INSUFFICIENT} (required: {int(300 * width) - 150}, available: 2000)"
    assert held == 2000 - (100 * width - 900)
    assert D(row["filled_avg_price"]) < D("-0.5")
    assert cash(client) == 2000 - 100 * D(row["filled_avg_price"])
    assert D(client.get("/v2/account")["options_buying_power"]) == cash(client) - 100 * width


def test_a_ratio_fills_in_its_proportion_and_a_condor_has_four_legs() -> None:
    client = Client(hours="us")
    names = [near(client, "put", away=-10), near(client, "put", away=-5), near(client, away=5), near(client, away=10)]
    intents = ["buy_to_open", "sell_to_open", "sell_to_open", "buy_to_open"]
    condor = mleg(client, *(leg(name, intent) for name, intent in zip(names, intents, strict=True)), qty="2")
    client.wait(60 * SECOND)
    assert [position(client, name) for name in names] == [2, -2, -2, 2]
    assert client.get(f"/v2/orders/{condor.body['id']}")["status"] == "filled"

    client = Client(hours="us")
    fly = [near(client, away=away) for away in (-10, 0, 10)]
    parts = [leg(fly[0], "buy_to_open"), leg(fly[1], "sell_to_open", 2.0), leg(fly[2], "buy_to_open", 1.0)]
    mleg(client, *parts, qty="40")
    client.wait(20 * SECOND)
    held = [position(client, name) for name in fly]
    assert held[0] > 0
    assert held == [held[0], -2 * held[0], held[0]]  # in parts or at once, always whole


def test_a_large_spread_takes_no_more_at_once_than_its_thinnest_leg_has() -> None:
    client = Client(hours="us", cash=D(1_000_000))
    low, high = spread(client)
    sizes = (quote(client, low)["as"], quote(client, high)["bs"])
    mleg(client, leg(low, "buy_to_open"), leg(high, "sell_to_open"), qty="200")
    held = position(client, low)
    client.wait(60 * SECOND)

    assert held == min(sizes)
    assert (position(client, low), position(client, high)) == (200, -200)


def test_a_multileg_order_is_cancelled_as_a_whole_and_not_replaced() -> None:
    client = Client(hours="us")
    low, high = spread(client)
    made = mleg(client, leg(low, "buy_to_open"), leg(high, "sell_to_open"), limit="0.01").body
    part = made["legs"][0]["id"]
    changed = client.send("PATCH", f"/v2/orders/{made['id']}", {"limit_price": 2})
    alone = client.send("DELETE", f"/v2/orders/{part}")
    assert [order["id"] for order in client.get("/v2/orders")] == [made["id"]]
    assert client.send("DELETE", f"/v2/orders/{made['id']}").status == 204
    client.wait(SECOND)
    row = client.get(f"/v2/orders/{made['id']}")

    assert (changed.status, changed.body["message"]) == (403, "replace mleg order is disabled")
    assert alone.status == 422
    assert [row["status"], *(one["status"] for one in row["legs"])] == ["canceled"] * 3
    assert D(client.get("/v2/account")["options_buying_power"]) == 100_000


def test_a_spread_is_closed_as_it_was_opened() -> None:
    client = Client(hours="us")
    low, high = spread(client)
    mleg(client, leg(low, "buy_to_open"), leg(high, "sell_to_open"))
    client.wait(60 * SECOND)
    resting = mleg(client, leg(low, "sell_to_close"), leg(high, "buy_to_close"), limit="-90").body
    held = client.send("DELETE", f"/v2/positions/{low}")
    client.send("DELETE", f"/v2/orders/{resting['id']}")
    client.wait(SECOND)
    mleg(client, leg(low, "sell_to_close"), leg(high, "buy_to_close"), limit="-0.01")
    client.wait(60 * SECOND)

    assert held.body["message"] == "insufficient qty available for order (requested: 1, available: 0)"
    assert client.get("/v2/positions") == []
    assert cash(client) == D(client.get("/v2/account")["options_buying_power"])


def test_cancel_all_and_close_all_know_orders_of_several_legs() -> None:
    client = Client(hours="us")
    low, high = spread(client)
    mleg(client, leg(low, "buy_to_open"), leg(high, "sell_to_open"))
    client.wait(60 * SECOND)
    resting = mleg(client, leg(low, "sell_to_close"), leg(high, "buy_to_close"), limit="-90").body
    cancelled = client.send("DELETE", "/v2/orders")
    client.wait(SECOND)
    closed = client.send("DELETE", "/v2/positions?cancel_orders=true")
    client.wait(60 * SECOND)

    assert [row["id"] for row in cancelled.body] == [resting["id"]]
    assert [row["status"] for row in closed.body] == [200, 200]
    assert client.get("/v2/positions") == []
    assert stock_px(client) > 0
