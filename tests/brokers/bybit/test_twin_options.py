"""The twin's options: what is listed, orders with Bybit's codes, premium, margin and fees in the wallet, deliveries, streams."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.brokers.bybit.test_twin_streams import rows
from tests.brokers.bybit.twin_client import HOUR, NOON, SECOND, Client
from trading_system.brokers.bybit.twin.options import ends, next_eight_ns
from trading_system.domain.option import parse_option

D = Decimal
DAY = 24 * HOUR
EIGHT = NOON + 20 * HOUR  # the next day's


def listed(client: Client, base: str = "BTC") -> list[Any]:
    return list(client.get("/v5/market/instruments-info", category="option", baseCoin=base, limit="1000")["list"])


def tickers(client: Client, day: str = "25NOV26") -> list[Any]:
    return list(client.get("/v5/market/tickers", category="option", baseCoin="BTC", expDate=day)["list"])


def near(client: Client, day: str = "25NOV26", right: str = "C") -> str:
    """The contract of a day whose strike is nearest to the price."""
    found = [row for row in tickers(client, day) if row["symbol"].endswith(f"-{right}-USDT")]
    return str(min(found, key=lambda row: abs(D(row["symbol"].split("-")[2]) - D(row["indexPrice"])))["symbol"])


def option(client: Client, symbol: str, side: str = "Buy", qty: str = "0.1", **more: object) -> Any:
    name = f"o{len(client.twin.exchange.orders)}"
    return client.create(symbol, side, qty, "option", **({"orderLinkId": name} | more))


def held(client: Client) -> dict[str, D]:
    found = client.get("/v5/position/list", category="option")["list"]
    return {row["symbol"]: D(row["size"]) * (1 if row["side"] == "Buy" else -1) for row in found}


def money(client: Client, field: str = "walletBalance") -> Decimal:
    return D(client.coin()[field])


# -- what there is ---------------------------------------------------------------------------------------------------------------------------------


def test_days_fridays_months_and_the_quarter_end_at_eight() -> None:
    days = [datetime.fromtimestamp(end // SECOND, UTC) for end in ends(NOON)]  # a Tuesday

    assert [f"{day:%a %d %b}" for day in days] == [
        "Wed 25 Nov",
        "Thu 26 Nov",
        "Fri 27 Nov",
        "Fri 04 Dec",
        "Fri 11 Dec",
        "Fri 25 Dec",
        "Fri 29 Jan",
    ]
    assert {day.hour for day in days} == {8}
    assert next_eight_ns(EIGHT) == EIGHT + DAY
    assert next_eight_ns(EIGHT - 1) == EIGHT


def test_listings_say_what_their_symbols_say_and_those_of_btc_come_unasked() -> None:
    client = Client()
    rows_of = listed(client)
    unasked = client.get("/v5/market/instruments-info", category="option", limit="1000")["list"]

    assert [row["symbol"] for row in unasked] == [row["symbol"] for row in rows_of]
    for row in rows_of:
        contract = parse_option(row["symbol"].removesuffix("-USDT") + "/USDT")
        ends_on = datetime.fromtimestamp(int(row["deliveryTime"]) // 1000, UTC)
        assert (row["optionsType"].lower(), row["settleCoin"], row["quoteCoin"]) == (contract.right.value, "USDT", "USDT")
        assert (ends_on.date(), ends_on.hour) == (contract.expiry, 8)
    assert {row["lotSizeFilter"]["qtyStep"] for row in listed(client, "ETH")} == {"0.1"}
    assert {row["priceFilter"]["tickSize"] for row in rows_of} == {"5"}


def test_a_chain_is_quoted_around_what_the_model_says() -> None:
    chain = tickers(Client(), "25DEC26")
    calls = [row for row in chain if row["symbol"].endswith("-C-USDT")]

    assert len(chain) == 2 * len(calls) > 20
    for row in chain:
        assert D(row["bid1Price"]) <= D(row["markPrice"]) <= D(row["ask1Price"])
        assert D(row["bid1Price"]) % 5 == D(row["ask1Price"]) % 5 == 0
    assert [D(row["delta"]) for row in calls] == sorted((D(row["delta"]) for row in calls), reverse=True)
    assert all(D("0.2") < D(row["markIv"]) < 1 for row in chain)


def test_what_ends_is_gone_and_new_days_are_listed() -> None:
    client = Client()
    before = {row["symbol"] for row in listed(client)}
    client.wait(23 * HOUR)
    delivering, after = listed(client), {row["symbol"] for row in listed(client) if row["status"] == "Trading"}

    assert before - after == {name for name in before if "-25NOV26-" in name}
    assert any("-28NOV26-" in name for name in after - before)
    gone = next(name for name in before if "-25NOV26-" in name)
    assert {row["symbol"] for row in delivering if row["status"] == "Delivering"} == {name for name in before if "-25NOV26-" in name}
    client.wait(HOUR)
    closed = client.get("/v5/market/instruments-info", category="option", symbol=gone, status="Closed")["list"]
    assert [row["status"] for row in closed] == ["Closed"]
    assert option(client, gone).code == 110074


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"orderLinkId": ""}, 10001),
        ({"qty": "0.001"}, 110017),
        ({"qty": "0.015"}, 10001),
        ({"price": "1001"}, 10001),
        ({"triggerPrice": "1000", "triggerDirection": 1}, 10001),
        ({"takeProfit": "3000", "stopLoss": "100", "tpslMode": "Partial", "tpOrderType": "Limit", "tpLimitPrice": "3000"}, 10001),
        ({"qty": "1000"}, 110007),
        ({"side": "Sell", "qty": "20"}, 110007),
        ({"side": "Sell", "reduceOnly": True}, 110017),
        ({"symbol": "BTC-25NOV26-1-C-USDT"}, 10001),
    ],
)
def test_orders_that_are_refused(body: dict[str, object], code: int) -> None:
    client = Client()
    fields = {"symbol": near(client), "side": "Buy", "qty": "0.1"} | body

    assert option(client, **fields).code == code  # type: ignore[arg-type]
    assert client.twin.exchange.open_orders() == []


def test_bars_and_deep_books_there_are_none_of() -> None:
    client = Client()
    symbol = near(client)

    assert client.ask("/v5/market/kline", category="option", symbol=symbol, interval="1").code == 10001
    assert client.ask("/v5/market/tickers", category="option").code == 10001
    assert len(client.get("/v5/market/orderbook", category="option", symbol=symbol, limit="100")["a"]) <= 25


def test_a_duplicate_id_and_more_than_fifty_orders_are_refused() -> None:
    client = Client()
    symbol, other = near(client, "25DEC26"), near(client, "4DEC26")
    for _ in range(50):
        assert option(client, symbol, qty="0.01", price="5").code == 0

    assert option(client, symbol, orderLinkId="o1").code == 110072
    assert option(client, other, qty="0.01", price="5").code == 110020
    assert client.post("/v5/order/cancel-all", category="option").code == 0
    client.wait(SECOND)
    assert client.get("/v5/order/realtime", category="option")["list"] == []


def test_a_resting_order_is_changed_and_an_order_that_may_not_take_goes() -> None:
    client = Client()
    symbol = near(client, "25DEC26")
    rests = option(client, symbol, price="100").result["orderId"]
    takes = option(client, symbol, price=str(int(client.touch(symbol=symbol, category="option"))), timeInForce="PostOnly").result["orderId"]
    client.wait(SECOND)
    changed = client.post("/v5/order/amend", category="option", symbol=symbol, orderId=rests, qty="0.2", price="105")
    client.wait(SECOND)
    row, gone = client.order(rests, "option"), client.order(takes, "option")

    assert changed.code == 0
    assert (row["orderStatus"], row["qty"], row["price"], "tpslMode" in row) == ("New", "0.2", "105", False)
    assert (gone["orderStatus"], gone["rejectReason"], gone["cumExecQty"]) == ("Cancelled", "EC_PostOnlyWillTakeLiquidity", "0")
    rests_too = option(client, symbol, price="100", timeInForce="PostOnly").result["orderId"]
    assert client.order(rests_too, "option")["timeInForce"] == "PostOnly"


# -- money -----------------------------------------------------------------------------------------------------------------------------------------


def test_a_premium_leaves_the_wallet_and_what_is_held_is_in_the_equity() -> None:
    client = Client()
    symbol = near(client, "25DEC26")
    done = client.order(option(client, symbol).result["orderId"], "option")
    (fill,) = client.get("/v5/execution/list", category="option")["list"]
    (entry,) = client.get("/v5/account/transaction-log")["list"]
    index = D(next(row["indexPrice"] for row in tickers(client, "25DEC26") if row["symbol"] == symbol))
    paid = D(done["cumExecValue"]) + D(fill["execFee"])

    assert (fill["feeCurrency"], D(fill["execFee"])) == ("USDT", (D("0.1") * index * D("0.0002")).quantize(D("1e-9")))
    assert D(entry["change"]) == -paid
    assert money(client) == 100_000 - paid
    mark = D(client.get("/v5/position/list", category="option", symbol=symbol)["list"][0]["markPrice"])
    assert money(client, "equity") == money(client) + D("0.1") * mark


def test_a_fee_is_no_more_than_a_share_of_a_cheap_premium() -> None:
    client = Client()
    far = max((row for row in tickers(client) if row["symbol"].endswith("-C-USDT")), key=lambda row: D(row["symbol"].split("-")[2]))
    option(client, far["symbol"])
    (fill,) = client.get("/v5/execution/list", category="option")["list"]

    assert D(fill["execPrice"]) < D(far["indexPrice"]) * D("0.0002") / D("0.07")
    assert D(fill["execFee"]) == D(fill["execValue"]) * D("0.07")


def test_what_is_sold_ties_up_margin_and_is_taken_over_when_there_is_none() -> None:
    client = Client()
    symbol = near(client, "25DEC26")
    resting = option(client, symbol, "Sell", "0.5", price=str(int(client.touch(symbol=symbol, category="option")) + 500)).result["orderId"]
    reserved = money(client, "totalOrderIM")
    client.post("/v5/order/cancel", category="option", symbol=symbol, orderId=resting)
    option(client, symbol, "Sell", "0.5")
    client.wait(SECOND)
    (row,) = client.get("/v5/position/list", category="option", baseCoin="BTC")["list"]
    index = D(next(line["indexPrice"] for line in tickers(client, "25DEC26") if line["symbol"] == symbol))
    out = max(D(0), D(symbol.split("-")[2]) - index)
    tied = D("0.5") * (max(D("0.15") * index - out, D("0.1") * index) + D(row["markPrice"]))

    assert (row["side"], row["size"]) == ("Sell", "0.5")
    assert abs(D(row["positionIM"]) - tied) < D("0.01")
    assert abs(reserved - tied) < tied / 100
    assert money(client) > 100_000
    client.twin.transfer(-(money(client) - D(row["positionMM"]) - D(row["markPrice"]) * D("0.01")))
    client.twin.transfer(-D(1000))
    client.wait(10 * SECOND)
    forced = [fill for fill in client.get("/v5/execution/list", category="option")["list"] if fill["execType"] == "BustTrade"]
    assert sum(D(fill["execQty"]) for fill in forced) == D("0.5")
    assert held(client) == {}


# -- the end ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["Buy", "Sell"])
@pytest.mark.parametrize("right", ["C", "P"])
def test_what_ends_is_paid_out_in_money_by_its_coins_price(side: str, right: str) -> None:
    client = Client()
    chain = [row["symbol"] for row in tickers(client) if row["symbol"].endswith(f"-{right}-USDT")]
    low, high = chain[1], chain[-2]
    for symbol in (low, high):
        option(client, symbol, side, "0.1")
    entries = {row["symbol"]: D(row["avgPrice"]) for row in client.get("/v5/position/list", category="option")["list"]}
    resting = option(client, chain[6], "Sell", "0.1", price="90000").result["orderId"]
    before, conn = money(client), client.listen("execution")
    client.wait(DAY)
    spot = client.twin.exchange.mark("BTC/USDT", EIGHT)
    records = {row["symbol"]: row for row in client.get("/v5/asset/delivery-record", category="option")["list"]}
    log = client.get("/v5/account/transaction-log", type="DELIVERY")["list"]
    sign = 1 if side == "Buy" else -1
    paid = D(0)

    for symbol in (low, high):
        row, strike = records[symbol], D(symbol.split("-")[2])
        gives = max(D(0), spot - strike if right == "C" else strike - spot)
        fee = (D("0.1") * min(spot * D("0.00015"), gives * D("0.07"))).quantize(D("1e-8"))
        assert (D(row["deliveryPrice"]), D(row["strike"]), D(row["fee"]), D(row["position"])) == (spot, strike, fee, D("0.1"))
        assert row["side"] == ("Sell" if side == "Buy" else "Buy")
        assert abs(D(row["deliveryRpl"]) - sign * D("0.1") * (gives - entries[symbol])) < D("1e-8")
        paid += sign * D("0.1") * gives - fee
    assert abs(money(client) - before - paid) < D("1e-8")
    assert sum(D(entry["change"]) for entry in log) == money(client) - before
    assert held(client) == {}
    assert client.order(resting, "option")["cancelType"] == "CancelBySettle"
    assert {row["execType"] for row in rows(client.frames(conn), "execution")} == {"Delivery"}
    assert client.get("/v5/asset/delivery-record", category="linear")["list"] == []


# -- streams ---------------------------------------------------------------------------------------------------------------------------------------


def test_the_line_of_options_answers_in_its_own_form() -> None:
    client = Client()
    symbol = near(client)
    conn = client.market("option", f"tickers.{symbol}", "publicTrade.BTC", f"orderbook.25.{symbol}")
    client.frame(conn, {"req_id": "2", "op": "subscribe", "args": [f"orderbook.1.{symbol}", "kline.1." + symbol, f"tickers.{symbol}"]})
    client.frame(conn, {"req_id": "3", "op": "ping"})
    ack, *first, refused, pong = client.frames(conn)

    assert (ack["type"], ack["success"], ack["data"]["failTopics"]) == ("COMMAND_RESP", True, [])
    assert ack["data"]["successTopics"] == [f"tickers.{symbol}", "publicTrade.BTC", f"orderbook.25.{symbol}"]
    assert {frame["type"] for frame in first} == {"snapshot"}
    assert (refused["success"], refused["data"]["failTopics"]) == (False, [f"orderbook.1.{symbol}", f"kline.1.{symbol}"])
    assert pong == {"args": [str(NOON // 1_000_000)], "op": "pong"}


def test_tickers_come_whole_and_trades_of_all_options_on_a_coin_together() -> None:
    client = Client()
    symbol = near(client, "25DEC26")
    conn = client.market("option", f"tickers.{symbol}", "publicTrade.BTC")
    client.frames(conn)
    client.wait(60 * SECOND)
    frames = client.frames(conn)
    shown = [frame for frame in frames if frame["topic"].startswith("tickers.")]
    (last,) = client.get("/v5/market/tickers", category="option", symbol=symbol)["list"]

    assert {(frame["type"], frame["data"]["symbol"]) for frame in shown} == {("snapshot", symbol)}
    assert (shown[-1]["data"]["bidPrice"], shown[-1]["data"]["askPrice"]) == (last["bid1Price"], last["ask1Price"])
    assert shown[-1]["data"]["markPriceIv"] == last["markIv"]
    traded = rows(frames, "publicTrade.BTC")
    assert len({row["s"] for row in traded}) > 10
    assert all(row["s"].startswith("BTC-") for row in traded)
