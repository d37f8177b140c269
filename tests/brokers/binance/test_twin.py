"""The twin's REST side: signatures, clocks, weights, what is refused and in which words, orders, lists and pages."""

from decimal import Decimal

import pytest

from tests.brokers.binance.twin_client import NOON, SECOND, Client
from trading_system.brokers.binance.twin import BAN_NS, REFUSED_MAX

D = Decimal
MS = 1_000_000
NO_MONEY = {"code": -2010, "msg": "Account has insufficient balance for requested action."}


# -- keys, signatures, clocks ----------------------------------------------------------------------------------------------------------------------


def test_a_twin_is_made_of_its_seed() -> None:
    one, two, other = Client(seed=3), Client(seed=3), Client(seed=4)

    assert (one.key, one.secret, one.get("account", signed=True)) == (two.key, two.secret, two.get("account", signed=True))
    assert one.key != other.key
    assert len(one.key) == len(one.secret) == 64


def test_a_signature_covers_query_and_body_as_they_were_sent() -> None:
    client = Client()
    body = "quantity=0.5&newClientOrderId=a%2Db"
    split = client.send("POST", "order/test", symbol="ETHUSDT", side="BUY", type="MARKET", body=body)
    query = f"timestamp={NOON // MS}"
    again = client.raw("GET", f"account?{query}&signature={client.sign(query).upper()}")
    torn = client.raw("GET", f"account?{query}&signature={client.sign(query + 'x')}")

    assert (split.status, split.body) == (200, {})
    assert again.status == 200
    assert (torn.status, torn.body) == (400, {"code": -1022, "msg": "Signature for this request is not valid."})


@pytest.mark.parametrize(("key", "code"), [("", -2014), ("short", -2014), ("x" * 64, -2015)])
def test_a_wrong_key_is_refused(key: str, code: int) -> None:
    client = Client()
    client.key = key

    assert (client.send("GET", "account").status, client.send("GET", "account").body["code"]) == (401, code)
    assert client.send("GET", "ticker/price", signed=False, symbol="ETHUSDT").status == 200


@pytest.mark.parametrize(
    ("late_ms", "window", "status"),
    [
        (0, None, 200),
        (5_000, None, 200),
        (5_001, None, -1021),
        (-999, None, 200),
        (-1_000, None, -1021),
        (5_001, "6000", 200),
        (101, "100.5", -1021),
        (0, "60001", -1131),
    ],
)
def test_a_request_is_good_for_its_window(late_ms: int, window: str | None, status: int) -> None:
    client = Client()
    more = {} if window is None else {"recvWindow": window}
    answer = client.send("GET", "account", timestamp=NOON // MS - late_ms, **more)

    assert (answer.status if answer.status == 200 else answer.body["code"]) == status


def test_only_the_live_host_says_what_a_key_may_do() -> None:
    paper, live = Client(), Client(environment="live", may_withdraw=True)

    assert paper.send("GET", "/sapi/v1/account/apiRestrictions").status == 404
    assert live.send("GET", "/sapi/v1/account/apiRestrictions").body["enableWithdrawals"] is True


# -- weights ---------------------------------------------------------------------------------------------------------------------------------------


def test_weight_is_counted_and_what_succeeds_in_changing_is_free() -> None:
    client = Client()
    used = [
        int(answer.headers["x-mbx-used-weight-1m"])
        for answer in (
            client.send("GET", "ping", signed=False),
            client.send("GET", "exchangeInfo", signed=False),
            client.send("GET", "openOrders"),
            client.send("GET", "openOrders", symbol="ETHUSDT"),
            client.send("GET", "depth", signed=False, symbol="ETHUSDT", limit=500),
            client.order(),
            client.order(symbol="NOSUCH"),
        )
    ]

    assert [after - before for before, after in zip([0, *used], used, strict=False)] == [1, 20, 80, 6, 25, 0, 1]


def test_the_budget_ends_in_429_and_going_on_in_418() -> None:
    client = Client(requests_per_minute=4)
    assert [client.send("GET", "exchangeInfo", signed=False).status for _ in range(2)] == [200, 200]
    refused = client.send("GET", "ping", signed=False)

    assert (refused.status, refused.body["code"], refused.headers["retry-after"]) == (429, -1003, "60")
    for _ in range(REFUSED_MAX):
        last = client.send("GET", "ping", signed=False)
    banned = client.send("GET", "ping", signed=False)
    assert (last.status, banned.status) == (429, 418)
    assert str((NOON + BAN_NS) // MS) in banned.body["msg"]
    client.wait(60 * SECOND)
    assert client.send("GET", "ping", signed=False).status == 418
    client.wait(60 * SECOND)
    assert client.send("GET", "ping", signed=False).status == 200


def test_a_hundred_orders_in_ten_seconds_are_the_most() -> None:
    client = Client()
    answers = [client.order(quantity="0.01") for _ in range(101)]

    assert answers[-2].headers["x-mbx-order-count-10s"] == "100"
    assert (answers[-1].status, answers[-1].body["code"]) == (429, -1015)
    client.wait(10 * SECOND)
    assert client.order(quantity="0.01").status == 200


# -- what is refused -------------------------------------------------------------------------------------------------------------------------------

REFUSED = [
    ({"symbol": "NOSUCH"}, -1121, "Invalid symbol."),
    ({"side": "HOLD"}, -1117, "Invalid side."),
    ({"kind": "FLOAT"}, -1116, "Invalid orderType."),
    ({"kind": "TAKE_PROFIT", "stopPrice": "1"}, -2010, "Take profit orders are not supported for this symbol."),
    ({"quantity": None}, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed."),
    ({"quantity": "1", "quoteOrderQty": "9"}, -1128, "Combination of optional parameters invalid."),
    ({"quantity": "1e-05"}, -1100, "Illegal characters found in parameter 'quantity'; legal range is '^([0-9]{1,20})(\\.[0-9]{1,20})?$'."),
    ({"quantity": "0.000000001"}, -1111, "Parameter 'quantity' has too much precision."),
    ({"quantity": "0.00001"}, -1013, "Filter failure: LOT_SIZE"),
    ({"quantity": "0.00015"}, -1013, "Filter failure: LOT_SIZE"),
    ({"quantity": "500"}, -1013, "Filter failure: MARKET_LOT_SIZE"),
    ({"quantity": "0.0001"}, -1013, "Filter failure: NOTIONAL"),
    ({"quoteOrderQty": "4.99"}, -1013, "Filter failure: NOTIONAL"),
    ({"timeInForce": "GTC"}, -1106, "Parameter 'timeInForce' sent when not required."),
    ({"kind": "LIMIT", "price": "2000.001"}, -1013, "Filter failure: PRICE_FILTER"),
    ({"kind": "LIMIT", "price": "1"}, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    ({"kind": "LIMIT", "price": None}, -1102, "Mandatory parameter 'price' was not sent, was empty/null, or malformed."),
    ({"kind": "LIMIT", "price": "2000", "timeInForce": "DAY"}, -1115, "Invalid timeInForce."),
    ({"newClientOrderId": "no spaces"}, -1100, "Illegal characters found in parameter 'newClientOrderId'; legal range is '^[a-zA-Z0-9-_]{1,36}$'."),
    ({"newOrderRespType": "LONG"}, -1130, "Data sent for parameter 'newOrderRespType' is not valid."),
    ({"quantity": "200"}, *NO_MONEY.values()),
    ({"side": "SELL"}, *NO_MONEY.values()),
]


@pytest.mark.parametrize(("changes", "code", "text"), REFUSED)
def test_what_binance_refuses_is_refused_in_its_words(changes: dict[str, object], code: int, text: str) -> None:
    client = Client()
    answer = client.order(**changes)  # type: ignore[arg-type]

    assert (answer.status, answer.body) == (400, {"code": code, "msg": text})
    assert client.twin.exchange.orders == {}


def test_prices_on_the_wrong_side_of_the_market_are_refused() -> None:
    client = Client()
    maker = client.order(kind="LIMIT_MAKER", price=client.price("1.01"))
    stop = client.order(kind="STOP_LOSS_LIMIT", price=client.price("0.99"), stopPrice=client.price("0.99"))

    assert maker.body == {"code": -2010, "msg": "Order would immediately match and take."}
    assert stop.body == {"code": -2010, "msg": "Order would trigger immediately."}
    assert client.order(kind="LIMIT_MAKER", price=client.price("0.99")).status == 200
    assert client.order(kind="STOP_LOSS_LIMIT", price=client.price("1.02"), stopPrice=client.price("1.01")).status == 200


def test_five_stops_are_the_most() -> None:
    client = Client()
    prices = {"price": client.price("1.02"), "stopPrice": client.price("1.01")}
    answers = [client.order(kind="STOP_LOSS_LIMIT", **prices) for _ in range(6)]

    assert [answer.status for answer in answers] == [200] * 5 + [400]
    assert answers[-1].body == {"code": -1013, "msg": "Filter failure: MAX_NUM_ALGO_ORDERS"}


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def balances(client: Client) -> dict[str, tuple[Decimal, Decimal]]:
    rows = client.get("account", signed=True, omitZeroBalances="true")["balances"]
    return {row["asset"]: (D(row["free"]), D(row["locked"])) for row in rows}


def test_a_market_order_is_answered_when_it_is_filled_and_the_fee_comes_out_of_what_was_bought() -> None:
    client = Client()
    bought = client.order(quantity="2").body
    sold = client.order("SELL", quantity="1").body

    assert (bought["status"], bought["executedQty"], bought["timeInForce"], bought["orderListId"]) == ("FILLED", "2.00000000", "GTC", -1)
    assert {fill["commissionAsset"] for fill in bought["fills"]} == {"ETH"}
    assert {fill["commissionAsset"] for fill in sold["fills"]} == {"USDT"}
    assert sum(D(fill["commission"]) for fill in bought["fills"]) == D("0.002")
    assert balances(client)["ETH"] == (D("0.998"), D(0))
    spent, got = D(bought["cummulativeQuoteQty"]), D(sold["cummulativeQuoteQty"])
    assert balances(client)["USDT"][0] == pytest.approx(100_000 - spent + got * D("0.999"), abs=D("1e-7"))


def test_money_buys_whole_lots() -> None:
    body = Client().order(quoteOrderQty="1000").body

    assert (body["status"], body["origQuoteOrderQty"]) == ("FILLED", "1000.00000000")
    assert D(990) < D(body["cummulativeQuoteQty"]) <= D(1000)
    assert D(body["executedQty"]) % D("0.0001") == 0


def test_what_rests_locks_money_or_units() -> None:
    client = Client()
    client.order(quantity="1")
    low, high = client.price("0.98"), client.price("1.02")
    client.order(kind="LIMIT", price=low)
    client.order("SELL", "LIMIT", price=high)
    held = balances(client)

    assert held["USDT"][1] == D("0.5") * D(low)
    assert held["ETH"] == (D("0.499"), D("0.5"))
    assert client.order("SELL", quantity="0.5").body == NO_MONEY


@pytest.mark.parametrize(("tif", "reason"), [("IOC", "UNFILLED_IOC_QUANTITY_EXPIRED"), ("FOK", "UNFILLED_FOK_ORDER_EXPIRED")])
def test_what_does_not_trade_at_once_expires(tif: str, reason: str) -> None:
    client = Client()
    body = client.order(kind="LIMIT", price=client.price("0.98"), timeInForce=tif).body

    assert (body["status"], body["expiryReason"], body["executedQty"]) == ("EXPIRED", reason, "0.00000000")


def test_an_id_is_taken_while_its_order_is_open_and_free_afterwards() -> None:
    client = Client()
    low = client.price("0.98")
    first = client.order(kind="LIMIT", price=low, newClientOrderId="mine").body
    twice = client.order(kind="LIMIT", price=low, newClientOrderId="mine")
    cancelled = client.send("DELETE", "order", symbol="ETHUSDT", origClientOrderId="mine", newClientOrderId="why").body
    second = client.order(kind="LIMIT", price=low, newClientOrderId="mine").body
    found = client.get("order", signed=True, symbol="ETHUSDT", origClientOrderId="mine")

    assert (twice.status, twice.body) == (400, {"code": -2010, "msg": "Duplicate order sent."})
    assert (cancelled["status"], cancelled["origClientOrderId"], cancelled["clientOrderId"]) == ("CANCELED", "mine", "why")
    assert second["orderId"] != first["orderId"]
    assert found["orderId"] == second["orderId"]


def test_what_is_not_there_is_said_in_two_ways() -> None:
    client = Client()

    assert client.send("GET", "order", symbol="ETHUSDT", orderId=5).body == {"code": -2013, "msg": "Order does not exist."}
    assert client.send("DELETE", "order", symbol="ETHUSDT", orderId=5).body == {"code": -2011, "msg": "Unknown order sent."}
    assert client.send("DELETE", "openOrders", symbol="ETHUSDT").body == {"code": -2011, "msg": "Unknown order sent."}
    first = client.order(newClientOrderId="mine").body
    both = client.send("GET", "order", symbol="ETHUSDT", orderId=first["orderId"], origClientOrderId="other")
    assert both.body["code"] == -2039


def replace(client: Client, cancel: int, mode: str = "STOP_ON_FAILURE", **changes: object) -> tuple[int, dict[str, object]]:
    params = {"quantity": "0.5", "price": client.price("0.97"), "timeInForce": "GTC"} | changes
    answer = client.send(
        "POST", "order/cancelReplace", symbol="ETHUSDT", side="BUY", type="LIMIT", cancelReplaceMode=mode, cancelOrderId=cancel, **params
    )
    return answer.status, answer.body


def test_a_cancel_replace_tells_what_became_of_each_half() -> None:
    client = Client()
    first = client.order(kind="LIMIT", price=client.price("0.98")).body["orderId"]
    status, done = replace(client, first)
    new = done["newOrderResponse"]["orderId"]  # type: ignore[index]
    gone = replace(client, first)
    anyway = replace(client, first, "ALLOW_FAILURE", quantity="0.1")
    poor = replace(client, new, quantity="20", price=client.price("4.9"))
    neither = replace(client, first, "ALLOW_FAILURE", quantity="20", price=client.price("4.9"))

    assert (status, done["cancelResult"], done["newOrderResult"]) == (200, "SUCCESS", "SUCCESS")
    assert (gone[0], gone[1]["code"], gone[1]["data"]["newOrderResult"]) == (400, -2022, "NOT_ATTEMPTED")  # type: ignore[index]
    assert (anyway[0], anyway[1]["code"], anyway[1]["data"]["newOrderResult"]) == (409, -2021, "SUCCESS")  # type: ignore[index]
    assert (poor[0], poor[1]["code"], poor[1]["data"]["newOrderResponse"]) == (409, -2021, NO_MONEY)  # type: ignore[index]
    assert (neither[0], neither[1]["code"]) == (400, -2022)
    assert client.get("order", signed=True, symbol="ETHUSDT", orderId=new)["status"] == "CANCELED"


def test_an_order_with_fills_is_not_cancelled_where_only_new_ones_shall_be() -> None:
    client = Client()
    touch = client.get("ticker/bookTicker", symbol="ETHUSDT")["askPrice"]
    order = client.order(kind="LIMIT", quantity="14", price=touch).body
    assert order["status"] == "PARTIALLY_FILLED"
    status, refused = replace(client, order["orderId"], cancelRestrictions="ONLY_NEW")

    assert (status, refused["data"]["cancelResponse"]["code"]) == (400, -2011)  # type: ignore[index]
    assert client.get("order", signed=True, symbol="ETHUSDT", orderId=order["orderId"])["status"] == "PARTIALLY_FILLED"


# -- lists -----------------------------------------------------------------------------------------------------------------------------------------


def test_trades_are_listed_by_pair_and_paged_by_id() -> None:
    client = Client()
    for _ in range(5):
        client.order(quantity="0.01")
        client.wait(SECOND)
    client.order(quantity="0.01", symbol="BTCUSDT")
    ids = [trade["id"] for trade in client.get("myTrades", signed=True, symbol="ETHUSDT")]
    since = client.get("myTrades", signed=True, symbol="ETHUSDT", startTime=NOON // MS + 2_000)

    assert len(ids) == 5
    assert ids == sorted(ids)
    assert [trade["id"] for trade in client.get("myTrades", signed=True, symbol="ETHUSDT", fromId=ids[2], limit=2)] == ids[2:4]
    assert [trade["id"] for trade in client.get("myTrades", signed=True, symbol="ETHUSDT", limit=2)] == ids[3:]
    assert [trade["id"] for trade in since] == ids[2:]
    assert client.send("GET", "myTrades", symbol="ETHUSDT", fromId=1, startTime=1).body["code"] == -1128
    assert client.send("GET", "myTrades", symbol="ETHUSDT", startTime=1, endTime=86_400_002).body["code"] == -1127
    assert len(client.get("allOrders", signed=True, symbol="ETHUSDT")) == 5
    assert len(client.get("openOrders", signed=True)) == 0


def test_market_data_agrees_with_itself() -> None:
    client = Client()
    client.wait(30 * SECOND)
    best = client.get("ticker/bookTicker", symbol="ETHUSDT")
    depth = client.get("depth", symbol="ETHUSDT", limit=5)
    trades = client.get("trades", symbol="ETHUSDT", limit=1000)
    rows = client.get("klines", symbol="ETHUSDT", interval="1m", limit=3)
    inside = [trade for trade in trades if rows[1][0] <= trade["time"] <= rows[1][6]]

    assert [best["bidPrice"], best["bidQty"]] == depth["bids"][0]
    assert [best["askPrice"], best["askQty"]] == depth["asks"][0]
    assert D(best["bidPrice"]) < D(best["askPrice"])
    assert client.get("ticker/price", symbol="ETHUSDT")["price"] == trades[-1]["price"]
    assert [row[6] + 1 for row in rows[:2]] == [row[0] for row in rows[1:]]
    assert rows[2][6] * MS > client.now_ns  # the last one is still forming
    assert (D(rows[1][2]), D(rows[1][3])) == (max(D(trade["price"]) for trade in inside), min(D(trade["price"]) for trade in inside))
    assert (D(rows[1][5]), rows[1][8]) == (sum(D(trade["qty"]) for trade in inside), len(inside))
    again = client.get("aggTrades", symbol="ETHUSDT", fromId=trades[-3]["id"])
    assert [trade["a"] for trade in again] == [trade["id"] for trade in trades[-3:]]


def test_the_days_figures_are_those_of_its_bars() -> None:
    client = Client()
    day = client.get("ticker/24hr", symbol="ETHUSDT")
    rows = client.get("klines", symbol="ETHUSDT", interval="1m", startTime=day["openTime"], limit=1000)
    rows += client.get("klines", symbol="ETHUSDT", interval="1m", startTime=rows[-1][0] + 1, limit=1000)
    mini = client.get("ticker/24hr", symbols='["ETHUSDT"]', type="MINI")
    newest = client.get("historicalTrades", symbol="ETHUSDT", fromId=day["lastId"])

    assert day["closeTime"] - day["openTime"] == 86_400_000
    assert (day["openPrice"], day["lastPrice"]) == (rows[0][1], rows[-1][4])
    assert D(day["highPrice"]) == max(D(row[2]) for row in rows)
    assert D(day["volume"]) == sum(D(row[5]) for row in rows)
    assert day["count"] == sum(row[8] for row in rows)
    assert D(day["priceChange"]) == D(day["lastPrice"]) - D(day["openPrice"])
    assert D(day["lowPrice"]) <= D(day["weightedAvgPrice"]) <= D(day["highPrice"])
    assert [row["id"] for row in newest] == [day["lastId"]]
    assert mini == [{name: day[name] for name in mini[0]}]
    assert "priceChange" not in mini[0]
    assert D(day["lowPrice"]) <= D(client.get("avgPrice", symbol="ETHUSDT")["price"]) <= D(day["highPrice"])


@pytest.mark.parametrize(("names", "weight"), [({"symbol": "ETHUSDT"}, 2), ({"symbols": '["ETHUSDT","BTCUSDT"]'}, 2), ({}, 80)])
def test_the_days_figures_cost_by_the_number_of_pairs(names: dict[str, object], weight: int) -> None:
    client = Client()

    assert client.send("GET", "ticker/24hr", signed=False, **names).headers["x-mbx-used-weight-1m"] == str(weight)


def test_one_unknown_name_fails_the_whole_question() -> None:
    assert Client().send("GET", "exchangeInfo", signed=False, symbols='["ETHUSDT","NOSUCH"]').body == {"code": -1121, "msg": "Invalid symbol."}
