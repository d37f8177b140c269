"""OANDA's own rules on its twin: one log, trades that fills open and end, exits that come with a fill, refusals that are transactions."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.brokers.oanda.twin_client import SECOND, Client

D = Decimal
DAY = 86_400 * SECOND


def test_an_order_its_fill_and_its_exits_are_one_batch() -> None:
    client = Client()
    high, low = client.near(1.05), client.near(0.95)
    told = client.order("1000", takeProfitOnFill={"price": high}, stopLossOnFill={"price": low}, tradeClientExtensions={"tag": "mine"})
    create, fill = told["orderCreateTransaction"], told["orderFillTransaction"]
    log = client.get("/transactions/sinceid", id=str(int(create["id"]) - 1))["transactions"]

    assert [entry["type"] for entry in log] == ["MARKET_ORDER", "ORDER_FILL", "TAKE_PROFIT_ORDER", "STOP_LOSS_ORDER"]
    assert {entry["batchID"] for entry in log} == {create["id"]}
    assert told["relatedTransactionIDs"] == [entry["id"] for entry in log]
    assert fill["tradeOpened"]["tradeID"] == fill["id"]
    trade = client.get(f"/trades/{fill['id']}")["trade"]
    assert (trade["state"], trade["currentUnits"], trade["clientExtensions"]) == ("OPEN", "1000", {"tag": "mine"})
    assert (trade["takeProfitOrder"]["price"], trade["stopLossOrder"]["price"]) == (high, low)
    assert "instrument" not in trade["takeProfitOrder"]


def test_opposite_orders_end_the_oldest_trades_first() -> None:
    client = Client()
    first, second = (client.order(units)["orderFillTransaction"]["id"] for units in ("1000", "500"))
    fill = client.order("-1200")["orderFillTransaction"]

    assert [(change["tradeID"], change["units"]) for change in fill["tradesClosed"]] == [(first, "-1000")]
    assert (fill["tradeReduced"]["tradeID"], fill["tradeReduced"]["units"]) == (second, "-200")
    assert "tradeOpened" not in fill
    turned = client.order("-1000")["orderFillTransaction"]
    assert (turned["tradesClosed"][0]["tradeID"], turned["tradeOpened"]["units"]) == (second, "-700")
    (position,) = client.get("/openPositions")["positions"]
    assert (position["long"]["units"], position["short"]["units"]) == ("0", "-700")


def test_a_hedging_account_keeps_both_sides_unless_it_is_asked_to_reduce() -> None:
    client = Client(hedging=True)
    client.order("1000")
    client.order("-400")
    (position,) = client.get("/openPositions")["positions"]
    assert (position["long"]["units"], position["short"]["units"]) == ("1000", "-400")
    client.order("-400", positionFill="REDUCE_FIRST")
    (position,) = client.get("/openPositions")["positions"]

    assert (position["long"]["units"], position["short"]["units"]) == ("600", "-400")
    assert client.get("/summary")["account"]["hedgingEnabled"] is True


def test_the_balance_moves_by_what_is_realised_and_nothing_else() -> None:
    client = Client()
    before = D(client.get("/summary")["account"]["balance"])
    client.order("10000")
    assert D(client.get("/summary")["account"]["balance"]) == before
    fill = client.order("-10000")["orderFillTransaction"]
    after = client.get("/summary")["account"]

    assert D(fill["pl"]) < 0  # the spread
    assert D(after["balance"]) == before + D(fill["pl"]) == D(after["NAV"]) == D(fill["accountBalance"])
    assert after["openTradeCount"] == 0


def test_a_profit_in_yen_is_changed_into_dollars() -> None:
    client = Client()
    opened = client.order("10000", instrument="USD_JPY")["orderFillTransaction"]
    client.wait(3600 * SECOND)
    fill = client.order("-10000", instrument="USD_JPY")["orderFillTransaction"]
    made = 10000 * (D(fill["price"]) - D(opened["price"]))
    exchange = client.twin.exchange

    assert abs(D(fill["pl"]) - made * D(fill["gainQuoteHomeConversionFactor"])) < D("0.0001")
    assert exchange.holdings["JPY"] == 0
    for asset in ("USD", "JPY"):  # nothing is made, and nothing is lost
        held = exchange.holdings[asset] + exchange.street.get(asset, D(0)) + exchange.fees.get(asset, D(0))
        assert held == exchange.deposits.get(asset, D(0))


def test_a_profit_is_taken_at_its_price_and_the_stop_goes_with_the_trade() -> None:
    client = Client()
    told = client.order("1000", takeProfitOnFill={"price": client.near(1.0008)}, stopLossOnFill={"price": client.near(0.5)})
    trade = told["orderFillTransaction"]["id"]
    for _ in range(400):
        client.wait(600 * SECOND)
        if client.get(f"/trades/{trade}")["trade"]["state"] == "CLOSED":
            break
    log = client.get("/transactions/sinceid", id=told["lastTransactionID"])["transactions"]
    closing, cancel = [entry for entry in log if entry["type"] in ("ORDER_FILL", "ORDER_CANCEL")]

    assert (closing["reason"], closing["units"], closing["tradesClosed"][0]["tradeID"]) == ("TAKE_PROFIT_ORDER", "-1000", trade)
    assert (cancel["reason"], cancel["batchID"]) == ("LINKED_TRADE_CLOSED", closing["id"])
    assert client.get("/pendingOrders")["orders"] == []


def test_a_trailing_stop_follows_the_price_and_never_steps_back() -> None:
    client = Client()
    client.order("1000", trailingStopLossOnFill={"distance": "0.00200"})
    stops = []
    for _ in range(40):
        client.wait(300 * SECOND)
        rows = client.get("/pendingOrders")["orders"]
        if not rows:
            break
        stops.append(D(rows[0]["trailingStopValue"]))

    assert len(set(stops)) > 1
    assert stops == sorted(stops)


def test_a_trade_that_is_reduced_leaves_smaller_exits() -> None:
    client = Client()
    client.order("1000", stopLossOnFill={"price": client.near(0.9)})
    client.order("-400")
    (stop,) = client.twin.orders.pending()

    assert client.twin.orders.placed[stop.id].order.qty == 600  # type: ignore[union-attr]
    client.order("-600")
    assert client.get(f"/orders/{stop.id}")["order"]["state"] == "CANCELLED"


def test_replacing_makes_another_order_and_a_bad_one_leaves_the_old() -> None:
    client = Client()
    old = client.order("100", "LIMIT", price=client.near(0.98), clientExtensions={"id": "a"})["orderCreateTransaction"]["id"]
    body = {"order": {"type": "LIMIT", "instrument": "EUR_USD", "units": "200", "price": client.near(0.97), "clientExtensions": {"id": "b"}}}
    status, code, _ = client.refused("PUT", f"/orders/{old}", {"order": body["order"] | {"units": "0"}})
    assert (status, code) == (400, "UNITS_INVALID")
    assert client.get(f"/orders/{old}")["order"]["state"] == "PENDING"
    response = client.send("PUT", f"/orders/{old}", body)
    told = json.loads(response.body)
    cancel, create = told["orderCancelTransaction"], told["orderCreateTransaction"]

    assert response.status == 201
    assert (cancel["reason"], cancel["replacedByOrderID"]) == ("CLIENT_REQUEST_REPLACED", create["id"])
    assert (create["reason"], create["replacesOrderID"], create["batchID"]) == ("REPLACEMENT", old, cancel["id"])
    assert client.get("/orders/@b")["order"]["units"] == "200"
    assert client.refused("PUT", f"/orders/{old}", body)[:2] == (404, "ORDER_DOESNT_EXIST")


def test_a_client_id_is_taken_only_while_its_order_waits() -> None:
    client = Client()
    client.order("100", "LIMIT", price=client.near(0.9), clientExtensions={"id": "a"})
    assert client.bad_order(price=client.near(0.9), clientExtensions={"id": "a"}) == "CLIENT_ORDER_ID_ALREADY_EXISTS"
    for _ in range(2):
        client.order("100", clientExtensions={"id": "m"})

    assert client.get("/openPositions")["positions"][0]["long"]["units"] == "200"  # the same market order twice
    assert client.send("PUT", "/orders/@a/cancel").status == 200
    assert client.refused("PUT", "/orders/@a/cancel")[:2] == (404, "ORDER_DOESNT_EXIST")
    client.order("100", "LIMIT", price=client.near(0.9), clientExtensions={"id": "a"})


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"units": ""}, "UNITS_MISSING"),
        ({"units": "x"}, "UNITS_INVALID"),
        ({"units": 1.5}, "UNITS_PRECISION_EXCEEDED"),
        ({"units": "100000001"}, "UNITS_LIMIT_EXCEEDED"),
        ({"price": ""}, "PRICE_MISSING"),
        ({"price": "-1"}, "PRICE_INVALID"),
        ({"price": "1.000001"}, "PRICE_PRECISION_EXCEEDED"),
        ({"timeInForce": "SOON"}, "TIME_IN_FORCE_INVALID"),
        ({"timeInForce": "GTD"}, "TIME_IN_FORCE_GTD_TIMESTAMP_MISSING"),
        ({"timeInForce": "GTD", "gtdTime": "2020-01-01T00:00:00Z"}, "TIME_IN_FORCE_GTD_TIMESTAMP_IN_PAST"),
        ({"positionFill": "WHIM"}, "ORDER_FILL_POSITION_ACTION_INVALID"),
        ({"triggerCondition": "WHIM"}, "TRIGGER_CONDITION_INVALID"),
        ({"type": "MARKET", "timeInForce": "GTC"}, "TIME_IN_FORCE_INVALID"),
        ({"takeProfitOnFill": {"price": "1.0000001"}}, "TAKE_PROFIT_ON_FILL_PRICE_PRECISION_EXCEEDED"),
        ({"stopLossOnFill": {}}, "STOP_LOSS_ON_FILL_PRICE_AND_DISTANCE_BOTH_MISSING"),
        ({"stopLossOnFill": {"price": "0.9", "guaranteed": True}}, "STOP_LOSS_ON_FILL_GUARANTEED_NOT_ALLOWED"),
        ({"trailingStopLossOnFill": {"distance": "0.00001"}}, "TRAILING_STOP_LOSS_ON_FILL_PRICE_DISTANCE_MINIMUM_NOT_MET"),
    ],
)
def test_what_breaks_a_rule_is_a_transaction_and_a_400(order: dict[str, Any], code: str) -> None:
    client = Client()
    last = client.get("/summary")["lastTransactionID"]

    assert client.bad_order(**order) == code
    (entry,) = client.get("/transactions/sinceid", id=last)["transactions"]
    assert (entry["type"].endswith("_ORDER_REJECT"), entry["rejectReason"]) == (True, code)


@pytest.mark.parametrize("order", [{"instrument": "NO_SUCH"}, {"type": "WHIM"}, {"type": 7}])
def test_what_cannot_be_read_leaves_no_trace(order: dict[str, Any]) -> None:
    client = Client()
    last = client.get("/summary")["lastTransactionID"]

    assert client.bad_order(**order) == ""
    assert client.get("/summary")["lastTransactionID"] == last
    assert client.refused("POST", "/orders", b"{")[0] == 400


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"units": "90000000"}, "INSUFFICIENT_MARGIN"),
        ({"stopLossOnFill": {"price": "2.00000"}}, "STOP_LOSS_ON_FILL_LOSS"),
        ({"takeProfitOnFill": {"price": "0.50000"}}, "TAKE_PROFIT_ON_FILL_LOSS"),
        ({"units": "-100", "positionFill": "REDUCE_ONLY"}, "POSITION_CLOSEOUT_FAILED"),
    ],
)
def test_what_cannot_work_is_taken_and_cancelled_in_one_breath(order: dict[str, Any], reason: str) -> None:
    client = Client()
    told = client.order(**({"units": "100"} | order))

    assert told["orderCancelTransaction"]["reason"] == reason
    assert told["orderCancelTransaction"]["time"] == told["orderCreateTransaction"]["time"]
    assert "orderFillTransaction" not in told


def test_an_order_at_a_limit_that_nothing_meets_expires_if_it_may_not_wait() -> None:
    client = Client()
    for tif in ("IOC", "FOK"):
        told = client.order("100", "LIMIT", price=client.near(0.9), timeInForce=tif)

        assert told["orderCancelTransaction"]["reason"] == "TIME_IN_FORCE_EXPIRED"


def test_orders_end_with_the_day_or_at_their_time() -> None:
    client = Client()
    day = client.order("100", "LIMIT", price=client.near(0.9), timeInForce="GFD")["orderCreateTransaction"]["id"]
    at = client.order("100", "LIMIT", price=client.near(0.9), timeInForce="GTD", gtdTime="2026-11-24T18:00:00Z")["orderCreateTransaction"]["id"]
    client.wait(3600 * SECOND)
    row = client.get(f"/orders/{at}")["order"]
    assert (row["state"], row["cancelledTime"][:19]) == ("CANCELLED", "2026-11-24T18:00:00")
    client.wait(DAY)

    assert client.get(f"/orders/{day}")["order"]["state"] == "CANCELLED"


def test_the_week_end_halts_the_market_and_empties_the_ladders() -> None:
    friday = 1_795_813_200_000_000_000 + 6 * 3600 * SECOND  # 2026-11-28T03:00Z, after Friday's close
    client = Client(hours="us", start_ns=friday)
    (price,) = client.get("/pricing", instruments="EUR_USD")["prices"]

    assert (price["tradeable"], price["status"], price.get("bids", [])) == (False, "non-tradeable", [])
    assert client.order("100")["orderCancelTransaction"]["reason"] == "MARKET_HALTED"
    waiting = client.order("100", "LIMIT", price="2.00000")["orderCreateTransaction"]["id"]
    client.wait(2 * DAY)
    assert client.get(f"/orders/{waiting}")["order"]["state"] == "FILLED"


def test_what_is_held_at_five_in_new_york_pays_interest() -> None:
    client = Client()
    client.order("100000")
    balance = D(client.get("/summary")["account"]["balance"])
    client.wait(6 * 3600 * SECOND)
    (entry,) = (
        client.get("/transactions", type="DAILY_FINANCING")["pages"]
        and client.get("/transactions/sinceid", id="1", type="DAILY_FINANCING")["transactions"]
    )

    assert entry["time"].startswith("2026-11-24T22:00:00")
    assert D(entry["financing"]) < 0  # euros cost more than dollars here
    assert D(client.get("/summary")["account"]["balance"]) == balance + D(entry["financing"])
    assert entry["positionFinancings"][0]["instrument"] == "EUR_USD"


def test_positions_and_trades_are_closed_by_name() -> None:
    client = Client()
    trade = client.order("1000")["orderFillTransaction"]["id"]
    assert client.refused("PUT", f"/trades/{trade}/close", {"units": "2000"})[1] == "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE"
    told = json.loads(client.send("PUT", f"/trades/{trade}/close", {"units": "400"}).body)
    assert told["orderFillTransaction"]["reason"] == "MARKET_ORDER_TRADE_CLOSE"
    told = json.loads(client.send("PUT", "/positions/EUR_USD/close", {"longUnits": "ALL"}).body)

    assert told["longOrderFillTransaction"]["units"] == "-600"
    assert client.refused("PUT", "/positions/EUR_USD/close", {"longUnits": "ALL"})[:2] == (404, "CLOSEOUT_POSITION_DOESNT_EXIST")
    assert client.refused("PUT", f"/trades/{trade}/close")[:2] == (404, "TRADE_DOESNT_EXIST")


def test_the_log_is_asked_for_by_number_by_time_and_by_kind() -> None:
    client = Client()
    for _ in range(3):
        client.order("100")
    pages = client.get("/transactions", pageSize=2, type="ORDER_FILL")
    assert (pages["count"], len(pages["pages"])) == (3, 2)
    assert pages["pages"][0].startswith(f"http://host{client.account}/transactions/idrange?from=")
    last = client.get("/summary")["lastTransactionID"]

    assert client.get("/transactions/sinceid", id=last)["transactions"] == []
    assert client.refused("GET", f"/transactions/sinceid?id={int(last) + 1}")[0] == 416
    assert client.refused("GET", f"/transactions/idrange?from=1&to={int(last) + 1}")[0] == 416
    assert client.refused("GET", f"/changes?sinceTransactionID={int(last) + 1}")[0] == 416
    assert [entry["id"] for entry in client.get("/transactions/idrange", **{"from": 1, "to": 2})["transactions"]] == ["1", "2"]
    assert client.get(f"/transactions/{last}")["transaction"]["id"] == last


def test_changes_tell_what_a_mirror_of_the_account_needs() -> None:
    client = Client()
    resting = client.order("100", "LIMIT", price=client.near(0.9))
    since = resting["lastTransactionID"]
    told = client.order("500", trailingStopLossOnFill={"distance": "0.01000"})
    trade, trailing = told["orderFillTransaction"]["id"], told["lastTransactionID"]
    client.send("PUT", f"/orders/{resting['orderCreateTransaction']['id']}/cancel")
    changes = client.get("/changes", sinceTransactionID=since)

    assert [row["id"] for row in changes["changes"]["tradesOpened"]] == [trade]
    assert [row["state"] for row in changes["changes"]["ordersCancelled"]] == ["CANCELLED"]
    assert [row["state"] for row in changes["changes"]["ordersFilled"]] == ["FILLED"]
    assert changes["changes"]["positions"][0]["long"]["units"] == "500"
    assert changes["state"]["trades"][0]["id"] == trade
    assert changes["state"]["orders"] == [{"id": trailing, "trailingStopValue": client.get(f"/orders/{trailing}")["order"]["trailingStopValue"]}]
    assert changes["state"]["positions"][0]["netUnrealizedPL"] == changes["state"]["unrealizedPL"]
    assert changes["state"]["marginCloseoutPercent"] == client.get("/summary")["account"]["marginCloseoutPercent"]
    assert changes["lastTransactionID"] == client.get("/summary")["lastTransactionID"]


def test_who_may_ask_and_how_often() -> None:
    client = Client(requests_per_minute=20)
    assert client.refused("GET", "/summary", Authorization="Bearer other")[0] == 401
    assert client.refused("GET", "/v3/accounts/001-001-1-001/summary")[0] == 403
    assert client.refused("GET", "/nowhere")[0] == 404
    assert client.refused("DELETE", "/orders")[0] == 404
    statuses = [client.send("GET", "/summary").status for _ in range(30)]

    assert (statuses.count(200), statuses[-1]) == (16, 429)
    client.wait(61 * SECOND)
    assert client.send("GET", "/summary").status == 200


def test_times_come_in_seconds_for_those_who_ask_for_them() -> None:
    client = Client()
    told = json.loads(client.send("GET", "/pricing?instruments=EUR_USD", **{"Accept-Datetime-Format": "UNIX"}).body)

    assert told["time"] == "1795539600.000000000"


@pytest.mark.parametrize("granularity", ["S5", "M1", "M5", "H1", "H4", "D"])
def test_candles_follow_one_another_and_agree_with_the_price(granularity: str) -> None:
    client = Client()
    client.wait(90 * SECOND)
    candles = client.get("/v3/instruments/EUR_USD/candles", granularity=granularity, count=10, price="MBA")["candles"]
    times = [candle["time"] for candle in candles]
    again = client.get("/v3/instruments/EUR_USD/candles", granularity=granularity, **{"from": times[0], "count": 10})["candles"]

    assert times == sorted(set(times)) == [candle["time"] for candle in again]
    assert [candle["complete"] for candle in candles[:-1]] == [True] * 9
    for candle in candles:
        mid = {key: D(value) for key, value in candle["mid"].items()}
        assert mid["l"] <= min(mid["o"], mid["c"]) <= max(mid["o"], mid["c"]) <= mid["h"]
        assert D(candle["bid"]["c"]) < mid["c"] < D(candle["ask"]["c"])
    assert abs(D(candles[-1]["mid"]["c"]) / D(str(client.mid())) - 1) < D("0.001")
    assert client.refused("GET", "/v3/instruments/EUR_USD/candles?count=5001")[2]["errorMessage"] == "Maximum value for 'count' exceeded"


def test_a_trades_exits_are_set_moved_and_taken_away_by_its_name() -> None:
    client = Client()
    trade = client.order("1000")["orderFillTransaction"]["id"]
    path = f"/trades/{trade}/orders"
    told = json.loads(client.send("PUT", path, {"stopLoss": {"price": client.near(0.95)}, "takeProfit": {"price": client.near(1.05)}}).body)
    assert (told["stopLossOrderTransaction"]["reason"], told["takeProfitOrderTransaction"]["tradeID"]) == ("CLIENT_ORDER", trade)
    moved = json.loads(client.send("PUT", path, {"stopLoss": {"price": client.near(0.96)}, "takeProfit": None}).body)
    assert moved["stopLossOrderCancelTransaction"]["replacedByOrderID"] == moved["stopLossOrderTransaction"]["id"]
    assert moved["takeProfitOrderCancelTransaction"]["reason"] == "CLIENT_REQUEST"
    shown = client.get(f"/trades/{trade}")["trade"]

    assert ("takeProfitOrder" in shown, shown["stopLossOrder"]["price"]) == (False, client.near(0.96))
    assert client.refused("PUT", path, {"stopLoss": {"price": "0.0000001"}})[:2] == (400, "PRICE_PRECISION_EXCEEDED")
    assert client.refused("PUT", path, b"[")[0] == 400


def test_names_and_the_accounts_own_margin_can_be_changed() -> None:
    client = Client()
    order = client.order("100", "LIMIT", price=client.near(0.9))["orderCreateTransaction"]["id"]
    trade = client.order("1000")["orderFillTransaction"]["id"]
    used = D(client.get("/summary")["account"]["marginUsed"])
    assert client.send("PUT", f"/orders/{order}/clientExtensions", {"clientExtensions": {"id": "new"}}).status == 200
    assert client.send("PUT", f"/trades/{trade}/clientExtensions", {"clientExtensions": {"id": "mine"}}).status == 200
    assert client.send("PATCH", "/configuration", {"alias": "Second", "marginRate": "0.2"}).status == 200
    account = client.get("/summary")["account"]

    assert (client.get("/orders/@new")["order"]["id"], client.get("/trades/@mine")["trade"]["id"]) == (order, trade)
    assert (account["alias"], account["marginRate"], D(account["marginUsed"])) == ("Second", "0.2", used * 10)
    assert client.refused("PATCH", "/configuration", {"marginRate": "7"})[:2] == (400, "MARGIN_RATE_INVALID")
