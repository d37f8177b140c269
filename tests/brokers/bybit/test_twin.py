"""The twin through its front door: filters with Bybit's codes, asynchronous acceptance, margin, funding, liquidation, and who is let in."""

import json
from decimal import Decimal

import pytest

from tests.brokers.bybit.twin_client import HOUR, NOON, SECOND, Client
from trading_system.sim.exchange import Latency

D = Decimal
SLOW = Latency((SECOND, SECOND), (2 * SECOND, 2 * SECOND), (2 * SECOND, 2 * SECOND))


# -- who is let in ---------------------------------------------------------------------------------------------------------------------------------


def test_market_data_needs_no_key_and_all_else_does() -> None:
    client = Client()

    assert client.send("GET", "/v5/market/time", headers={}).result["timeNano"] == str(NOON)
    assert client.send("GET", "/v5/account/info", headers={}).status == 401
    assert client.ask("/v5/account/info").code == 0
    assert client.ask("/v5/account/nothing").status == 404


def test_a_wrong_key_and_a_wrong_signature_are_told_apart() -> None:
    client = Client()
    headers = client.signed("", client.now_ns // 1_000_000)

    assert client.send("GET", "/v5/account/info", headers=headers | {"X-BAPI-API-KEY": "other"}).code == 10003
    wrong = client.send("GET", "/v5/account/info?a=b", headers=headers)
    assert (wrong.code, "origin_string" in wrong.text) == (10004, True)


@pytest.mark.parametrize(("off_ms", "code"), [(-5_000, 0), (-5_001, 10002), (999, 0), (1_000, 10002)])
def test_a_request_is_good_for_its_window(off_ms: int, code: int) -> None:
    client = Client()
    headers = client.signed("", client.now_ns // 1_000_000 + off_ms)

    assert client.send("GET", "/v5/account/info", headers=headers).code == code


def test_the_body_that_is_signed_is_the_body_that_is_sent() -> None:
    client = Client()
    body = json.dumps({"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.1"})
    headers = client.signed(body, client.now_ns // 1_000_000)

    assert client.send("POST", "/v5/order/create", body.replace("0.1", "0.2"), headers).code == 10004
    assert client.twin.exchange.orders == {}


def test_every_endpoint_has_its_own_second_and_says_so() -> None:
    client = Client(requests_per_minute=7_200)
    answers = [client.create("NOPE") for _ in range(11)]

    assert [answer.code for answer in answers] == [10001] * 10 + [10006]
    assert [answers[0].headers[name] for name in ("x-bapi-limit", "x-bapi-limit-status")] == ["10", "9"]
    assert answers[-1].headers["x-bapi-limit-reset-timestamp"] == str((NOON + SECOND) // 1_000_000)
    assert client.ask("/v5/account/info").code == 0  # another bucket
    client.wait(SECOND)
    assert client.create("NOPE").code == 10001


def test_an_address_has_six_hundred_in_five_seconds_and_then_ten_minutes_of_nothing() -> None:
    client = Client(requests_per_minute=7_200)

    assert {client.ask("/v5/market/time").status for _ in range(600)} == {200}
    banned = client.send("GET", "/v5/market/time")
    assert (banned.status, banned.headers) == (403, {})
    client.wait(599 * SECOND)
    assert client.send("GET", "/v5/market/time").status == 403
    client.wait(SECOND)
    assert client.ask("/v5/market/time").code == 0
    client.wait(5 * SECOND)
    assert {client.ask("/v5/market/time").status for _ in range(600)} == {200}


# -- what is refused -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"category": "inverse"}, 10001),
        ({"category": "inverse", "symbol": "BTCUSD", "qty": "0.5"}, 110017),
        ({"category": "inverse", "symbol": "BTCUSD", "qty": "1.5"}, 10001),
        ({"category": "inverse", "symbol": "BTCUSD", "qty": "1000000"}, 110007),
        ({"symbol": "NOPEUSDT"}, 10001),
        ({"side": "Sideways"}, 10001),
        ({"qty": "0.0005"}, 110017),
        ({"qty": "0.1005"}, 10001),
        ({"qty": "-1"}, 10001),
        ({"qty": "1e3"}, 10001),
        ({"qty": "9000000"}, 10001),
        ({"price": "90000.05"}, 10001),
        ({"price": "0"}, 10001),
        ({"price": "190000"}, 110003),
        ({"qty": "0.001", "price": "100"}, 110094),
        ({"qty": "11"}, 110007),
        ({"reduceOnly": True}, 110017),
        ({"positionIdx": 1}, 10001),
        ({"orderLinkId": "no spaces"}, 10001),
        ({"orderLinkId": "x" * 37}, 10001),
        ({"takeProfit": "200000"}, 10001),
        ({"triggerPrice": "100"}, 10001),
        ({"triggerPrice": "100", "triggerDirection": 1}, 110092),
        ({"side": "Sell", "triggerPrice": "900000", "triggerDirection": 2}, 110093),
    ],
)
def test_what_a_swap_refuses(fields: dict[str, object], code: int) -> None:
    client = Client()

    assert client.create(**fields).code == code  # type: ignore[arg-type]
    assert client.twin.exchange.orders == {}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"symbol": "NOPEUSDT"}, 170121),
        ({"qty": "0.0000001"}, 170137),
        ({"qty": "0.000001"}, 170136),
        ({"qty": "9000000000"}, 170124),
        ({"qty": "0.00002"}, 170140),
        ({"price": "90000.05"}, 170134),
        ({"price": "190000"}, 170193),
        ({"side": "Sell"}, 170131),
        ({"qty": "2"}, 170131),
        ({"qty": "100.00000001", "marketUnit": "quoteCoin"}, 170148),
        ({"qty": "9000000", "marketUnit": "quoteCoin"}, 170124),
        ({"qty": "4", "marketUnit": "quoteCoin"}, 170140),
        ({"orderFilter": "StopOrder"}, 10001),
        ({"orderFilter": "StopOrder", "triggerPrice": "100"}, 170210),
    ],
)
def test_what_a_pair_refuses(fields: dict[str, object], code: int) -> None:
    client = Client()

    assert client.create(**({"category": "spot"} | fields)).code == code  # type: ignore[arg-type]
    assert client.twin.exchange.orders == {}


@pytest.mark.parametrize(("category", "code"), [("linear", 110072), ("spot", 170141)])
def test_a_client_id_is_taken_for_ever(category: str, code: int) -> None:
    client = Client()
    first = client.create(category=category, qty="0.01", orderLinkId="mine")
    client.wait(SECOND)

    assert first.result["orderLinkId"] == "mine"
    assert client.create(category=category, qty="0.01", orderLinkId="mine").code == code
    assert client.create(qty="0.01", orderLinkId="mine").code == 110072  # in either category
    assert len(client.twin.exchange.orders) == 1


def test_a_body_that_is_no_order_is_a_parameter_error() -> None:
    client = Client()

    assert client.send("POST", "/v5/order/create", "{").code == 10001
    assert client.create(qty=1).code == 10001  # type: ignore[arg-type]


def test_a_read_only_key_may_look() -> None:
    client = Client()
    client.twin.account.read_only = True

    assert client.create().code == 10005
    assert client.get("/v5/user/query-api")["readOnly"] == 1


# -- what becomes of orders ------------------------------------------------------------------------------------------------------------------------


def test_an_answer_is_not_an_acceptance() -> None:
    client = Client(latency=SLOW)
    placed = client.create(price="90000", orderLinkId="a").result

    assert client.order(placed["orderId"]) is None  # taken in, and nowhere to be seen
    assert client.post("/v5/order/amend", category="linear", symbol="BTCUSDT", orderId=placed["orderId"], price="90001").code == 110079
    client.wait(SECOND)
    assert client.order(placed["orderId"])["orderStatus"] == "New"
    assert [row["orderLinkId"] for row in client.get("/v5/order/realtime", category="linear", settleCoin="USDT")["list"]] == ["a"]
    assert client.get("/v5/order/realtime", category="spot")["list"] == []


def test_an_amended_order_keeps_its_ids() -> None:
    client = Client()
    placed = client.create(price="80000", orderLinkId="a").result
    changed = client.post("/v5/order/amend", category="linear", symbol="BTCUSDT", orderLinkId="a", qty="0.2", price="80000.1")
    client.wait(SECOND)
    row = client.order(placed["orderId"])

    assert changed.result == placed
    assert (row["orderLinkId"], row["qty"], row["price"], row["orderStatus"]) == ("a", "0.2", "80000.1", "New")
    same = client.post("/v5/order/amend", category="linear", symbol="BTCUSDT", orderId=placed["orderId"], qty="0.2")
    assert (same.code, same.text) == (10001, "order not modified")
    assert client.post("/v5/order/amend", category="linear", symbol="BTCUSDT", orderId="nobody", qty="0.2").code == 110001
    assert client.post("/v5/order/amend", category="linear", symbol="ETHUSDT", orderId=placed["orderId"], qty="0.2").code == 110001


def test_a_cancel_says_by_whom_and_comes_too_late_after_a_fill() -> None:
    client = Client()
    resting = client.create(price="80000").result["orderId"]
    done = client.create().result["orderId"]
    client.wait(SECOND)

    assert client.post("/v5/order/cancel", category="linear", symbol="BTCUSDT", orderId=resting).code == 0
    client.wait(SECOND)
    row = client.order(resting)
    assert (row["orderStatus"], row["cancelType"], row["rejectReason"]) == ("Cancelled", "CancelByUser", "EC_PerCancelRequest")
    assert client.post("/v5/order/cancel", category="linear", symbol="BTCUSDT", orderId=done).code == 110001
    assert client.order(done)["orderStatus"] == "Filled"
    assert client.get("/v5/order/realtime", category="linear", settleCoin="USDT", openOnly="1")["list"][0]["orderId"] in (done, resting)


def test_an_order_that_cannot_wait_says_why_it_ended() -> None:
    client = Client()
    far = str(client.touch() - 1000)
    reasons = {}
    for tif in ("IOC", "FOK"):
        order_id = client.create(price=far, timeInForce=tif).result["orderId"]
        client.wait(SECOND)
        reasons[tif] = client.order(order_id)["rejectReason"]
    deep = client.create("DOGEUSDT", qty="200000", price=str(client.touch("Buy", "DOGEUSDT")), timeInForce="IOC").result["orderId"]
    client.wait(SECOND)

    assert reasons == {"IOC": "EC_NoImmediateQtyToFill", "FOK": "EC_NoEnoughQtyToFill"}
    assert client.order(deep)["rejectReason"] == "EC_CancelForNoFullFill"
    assert client.order(deep)["orderStatus"] == "Cancelled"  # of a swap, with fills


def test_a_spot_fee_comes_out_of_what_is_credited() -> None:
    client = Client()
    client.create(category="spot", qty="0.5")
    client.wait(SECOND)
    client.create(category="spot", side="Sell", qty="0.25")
    client.wait(SECOND)
    rows = client.get("/v5/execution/list", category="spot")["list"]
    sold = [row for row in rows if row["side"] == "Sell"]

    assert {row["feeCurrency"] for row in rows if row["side"] == "Buy"} == {"BTC"}
    assert {row["feeCurrency"] for row in sold} == {"USDT"}
    assert D(client.coin("BTC")["walletBalance"]) == D("0.5") * D("0.999") - D("0.25")
    assert all(D(row["execFee"]) == D(row["execValue"]) * D("0.001") for row in sold)


def test_a_spot_market_buy_is_in_money_unless_it_says_otherwise() -> None:
    client = Client()
    order_id = client.post("/v5/order/create", category="spot", symbol="BTCUSDT", side="Buy", orderType="Market", qty="1000").result["orderId"]
    client.wait(SECOND)
    row = client.order(order_id, "spot")

    assert (row["orderStatus"], row["marketUnit"], row["qty"]) == ("Filled", "quoteCoin", "1000")
    assert D(999) < D(row["cumExecValue"]) <= D(1000)


def test_a_stop_of_a_pair_is_cancelled_under_its_own_filter() -> None:
    client = Client()
    stop = str(round(client.touch("Buy", category="spot") * 1.02, 1))
    order_id = client.create(category="spot", qty="0.1", triggerPrice=stop, orderFilter="StopOrder").result["orderId"]
    client.wait(SECOND)
    name = {"category": "spot", "symbol": "BTCUSDT", "orderId": order_id}

    assert client.order(order_id, "spot")["orderStatus"] == "Untriggered"
    assert client.post("/v5/order/cancel", **name).code == 170213
    assert client.post("/v5/order/cancel", **name, orderFilter="StopOrder").code == 0
    client.wait(SECOND)
    assert client.order(order_id, "spot")["orderStatus"] == "Deactivated"


def test_everything_can_be_cancelled_at_once() -> None:
    client = Client()
    for symbol, price in (("BTCUSDT", "80000"), ("BTCUSDT", "80001"), ("ETHUSDT", "3000")):
        client.create(symbol, price=price, qty="0.01")
    client.create(category="spot", price="80000", qty="0.01")
    client.wait(SECOND)

    assert client.post("/v5/order/cancel-all", category="linear").code == 10001
    assert len(client.post("/v5/order/cancel-all", category="linear", symbol="BTCUSDT").result["list"]) == 2
    assert client.post("/v5/order/cancel-all", category="linear", settleCoin="USDT").result["success"] == "1"
    client.wait(SECOND)
    assert client.get("/v5/order/realtime", category="linear", settleCoin="USDT")["list"] == []
    assert len(client.get("/v5/order/realtime", category="spot")["list"]) == 1


def test_listings_come_in_pages_and_each_row_once() -> None:
    client = Client()
    for number in range(60):
        client.create(qty="0.001", price=str(80000 + number))
        client.wait(SECOND)
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        page = client.get("/v5/order/realtime", category="linear", settleCoin="USDT", limit="25", cursor=cursor)
        seen += [row["orderId"] for row in page["list"]]
        cursor = page["nextPageCursor"]
        if not cursor:
            break

    assert len(seen) == len(set(seen)) == 60
    assert client.ask("/v5/order/realtime", category="linear").code == 10001  # of everything it must be told which coin


def test_history_is_asked_for_in_windows_of_seven_days() -> None:
    client = Client()
    week, now = 7 * 24 * 3_600_000, NOON // 1_000_000

    for path in ("/v5/execution/list", "/v5/order/history"):
        assert client.ask(path, category="linear", startTime=str(now - week), endTime=str(now)).code == 0
        assert client.ask(path, category="linear", startTime=str(now - week - 1), endTime=str(now)).code == 10001


# -- margin ----------------------------------------------------------------------------------------------------------------------------------------


def test_a_short_swap_is_worth_what_it_makes() -> None:
    client = Client()
    client.create(side="Sell", qty="0.5")
    client.wait(SECOND)
    position, money = client.position(), client.coin()
    fee = sum(D(row["execFee"]) for row in client.get("/v5/execution/list", category="linear")["list"])

    assert (position["side"], position["size"], position["leverage"]) == ("Sell", "0.5", "10")
    assert D(money["walletBalance"]) == D(100_000) - fee
    assert D(money["equity"]) == D(money["walletBalance"]) + D(position["unrealisedPnl"])
    assert D(position["unrealisedPnl"]) == D("0.5") * (D(position["avgPrice"]) - D(position["markPrice"]))
    (wallet,) = client.get("/v5/account/wallet-balance", accountType="UNIFIED")["list"]
    assert D(wallet["totalEquity"]) == D(money["equity"])
    assert D(wallet["totalAvailableBalance"]) == D(money["equity"]) - D(position["positionIM"])


def test_what_a_round_trip_made_is_in_the_log() -> None:
    client = Client()
    client.create(qty="0.3")
    client.wait(HOUR)
    client.create(side="Sell", qty="0.3", reduceOnly=True)
    client.wait(SECOND)
    log = client.get("/v5/account/transaction-log", accountType="UNIFIED", type="TRADE")["list"]

    assert client.position()["size"] == "0"
    assert sum(D(row["change"]) for row in log) == D(client.coin()["walletBalance"]) - 100_000
    assert D(log[0]["cashBalance"]) == D(client.coin()["walletBalance"])
    assert D(client.position()["cumRealisedPnl"]) == sum(D(row["change"]) for row in log)


def test_what_is_left_of_a_position_can_be_reduced_and_no_more() -> None:
    client = Client()
    client.create(qty="0.3")
    client.wait(SECOND)
    stop = str(round(client.touch("Sell") * 0.9, 1))

    assert client.create(side="Sell", qty="0.4", reduceOnly=True).code == 110017
    assert client.create(side="Buy", qty="0.1", reduceOnly=True).code == 110017
    resting = client.create(side="Sell", qty="0.3", reduceOnly=True, triggerPrice=stop, triggerDirection=2).result["orderId"]
    client.wait(SECOND)
    client.create(side="Sell", qty="0.3", reduceOnly=True)
    client.wait(2 * SECOND)
    row = client.order(resting)

    assert client.position()["size"] == "0"
    assert (row["orderStatus"], row["cancelType"]) == ("Deactivated", "CancelByReduceOnly")


def test_leverage_decides_what_a_position_holds() -> None:
    client = Client()
    low = client.post("/v5/position/set-leverage", category="linear", symbol="BTCUSDT", buyLeverage="2", sellLeverage="2")
    again = client.post("/v5/position/set-leverage", category="linear", symbol="BTCUSDT", buyLeverage="2", sellLeverage="2")
    high = client.post("/v5/position/set-leverage", category="linear", symbol="BTCUSDT", buyLeverage="101", sellLeverage="101")

    assert (low.code, again.code, high.code) == (0, 110043, 10001)
    assert client.create(qty="3").code == 110007
    assert client.create(qty="1").code == 0


def test_hedge_mode_is_switched_only_while_there_is_nothing() -> None:
    client = Client()
    assert client.post("/v5/position/switch-mode", category="linear", coin="USDT", mode=0).code == 110025
    resting = client.create(price="80000").result["orderId"]
    client.wait(SECOND)
    assert client.post("/v5/position/switch-mode", category="linear", coin="USDT", mode=3).code == 110028
    client.post("/v5/order/cancel", category="linear", symbol="BTCUSDT", orderId=resting)
    client.wait(SECOND)

    assert client.post("/v5/position/switch-mode", category="linear", coin="USDT", mode=3).code == 0
    assert [row["positionIdx"] for row in client.get("/v5/position/list", category="linear", symbol="BTCUSDT")["list"]] == [1, 2]


@pytest.mark.parametrize("side", ["Buy", "Sell"])
def test_funding_is_paid_by_the_rate_that_was_told(side: str) -> None:
    client = Client()
    client.create(side=side, qty="0.5")
    client.wait(SECOND)
    before = D(client.coin()["walletBalance"])
    client.wait(4 * HOUR)
    (entry,) = client.get("/v5/account/transaction-log", accountType="UNIFIED", type="SETTLEMENT")["list"]
    rates = client.get("/v5/market/funding/history", category="linear", symbol="BTCUSDT", limit="1")["list"]
    (paid,) = client.get("/v5/execution/list", category="linear", execType="Funding")["list"]
    sign = 1 if side == "Buy" else -1

    assert entry["transactionTime"] == rates[0]["fundingRateTimestamp"] == str((NOON + 4 * HOUR) // 1_000_000)
    assert entry["feeRate"] == rates[0]["fundingRate"]
    assert D(entry["change"]) == -sign * (D("0.5") * D(entry["tradePrice"]) * D(entry["feeRate"])).quantize(D("1e-8"))
    assert D(client.coin()["walletBalance"]) == before + D(entry["change"])
    assert D(paid["execFee"]) == -D(entry["change"])
    client.wait(4 * HOUR)
    assert len(client.get("/v5/account/transaction-log", accountType="UNIFIED", type="SETTLEMENT")["list"]) == 1


def test_an_account_that_cannot_hold_its_position_is_liquidated() -> None:
    client = Client(cash=D(1_000))
    client.post("/v5/position/set-leverage", category="linear", symbol="SOLUSDT", buyLeverage="50", sellLeverage="50")
    assert client.create("SOLUSDT", qty="150").code == 0
    client.wait(SECOND)
    resting = client.create("SOLUSDT", qty="0.1", price="150").result["orderId"]
    client.wait(SECOND)
    margin = D(client.coin()["equity"])
    conn = client.listen("order")
    client.twin.transfer(-(margin - D(200)))  # what is left does not cover one per cent
    client.wait(3 * SECOND)
    forced = [row for row in client.get("/v5/execution/list", category="linear")["list"] if row["execType"] == "BustTrade"]
    told = [row for frame in client.frames(conn) for row in frame["data"] if row["createType"] == "CreateByLiq"]

    assert client.position("SOLUSDT")["size"] == "0"
    assert sum(D(row["execQty"]) for row in forced) == 150
    assert {row["createType"] for row in forced} == {"CreateByLiq"}
    assert told[-1]["orderStatus"] == "Filled"
    assert told[-1]["orderLinkId"] == ""
    assert client.order(resting)["cancelType"] == "CancelAllBeforeLiq"


def test_an_account_that_holds_its_position_is_left_alone() -> None:
    client = Client()
    client.create(qty="1")
    client.wait(20 * 60 * SECOND)

    assert client.position()["size"] == "1"
    assert len(client.twin.exchange.orders) == 1


def test_money_and_units_are_conserved_through_trades_and_funding() -> None:
    client = Client()
    client.create(qty="0.4")
    client.create("ETHUSDT", side="Sell", qty="3")
    client.create(category="spot", qty="0.1")
    client.create("BTCUSD", "Sell", "20000", "inverse")
    client.wait(9 * HOUR)
    client.create(side="Sell", qty="0.9")
    client.create("BTCUSD", "Buy", "30000", "inverse")
    client.wait(SECOND)
    x = client.twin.exchange

    for asset in x.holdings:
        assert x.holdings[asset] + x.street.get(asset, D(0)) + x.fees.get(asset, D(0)) == x.deposits.get(asset, D(0))
    (wallet,) = client.get("/v5/account/wallet-balance", accountType="UNIFIED")["list"]
    assert abs(D(wallet["totalEquity"]) - x.equity(client.now_ns)) < D("1e-9")


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def test_a_swap_follows_its_coin() -> None:
    client = Client()
    for _ in range(5):
        client.wait(7 * 60 * SECOND)
        spot, swap = client.touch(category="spot"), client.touch()

        assert abs(spot - swap) / spot < 0.001


def test_bars_agree_with_one_another_and_know_nothing_of_the_future() -> None:
    client = Client()
    client.wait(90 * SECOND)
    minutes = client.get("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="1", limit="15")["list"]
    start = NOON // 1_000_000 - 15 * 60_000
    quarters = client.get("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="15", start=str(start), end=str(start))["list"]
    inside = [row for row in minutes if start <= int(row[0]) < start + 15 * 60_000]

    assert int(minutes[0][0]) == NOON // 1_000_000 + 60_000  # the one that runs
    client.wait(30 * SECOND)
    (whole,) = client.get("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="1", start=minutes[0][0], limit="1")["list"]
    assert (whole[1], D(whole[5]) > D(minutes[0][5])) == (minutes[0][1], True)
    assert D(whole[3]) <= D(minutes[0][3]) <= D(minutes[0][2]) <= D(whole[2])
    assert [int(row[0]) for row in minutes] == sorted((int(row[0]) for row in minutes), reverse=True)
    assert len(quarters) == 1
    assert (
        quarters[0][1] == client.get("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="1", start=str(start), limit="1")["list"][0][1]
    )
    assert D(quarters[0][2]) >= max(D(row[2]) for row in inside)
    assert client.ask("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="7").code == 10001


def test_tickers_trades_and_instruments() -> None:
    client = Client()
    client.wait(60 * SECOND)
    (ticker,) = client.get("/v5/market/tickers", category="linear", symbol="ETHUSDT")["list"]
    prints = client.get("/v5/market/recent-trade", category="spot", symbol="BTCUSDT", limit="500")["list"]

    assert D(ticker["bid1Price"]) < D(ticker["ask1Price"])
    assert int(ticker["nextFundingTime"]) == (NOON + 4 * HOUR) // 1_000_000
    assert len(prints) == 60
    assert len(client.get("/v5/market/instruments-info", category="spot")["list"]) == 5
    assert client.ask("/v5/market/instruments-info", category="linear", symbol="NOPE").code == 10001
    assert client.get("/v5/account/fee-rate", category="linear", symbol="BTCUSDT")["list"][0]["takerFeeRate"] == "0.00055"
