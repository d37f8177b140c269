"""Bybit's own SDK against a served twin, one JSON line a step. Runs in .venv-judges: bybit_judge.py URL WS_URL KEY SECRET."""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pybit._websocket_trading
import pybit.unified_trading
from pybit.exceptions import InvalidRequestError
from pybit.unified_trading import HTTP, WebSocket, WebSocketTrading

URL, WS_URL, KEY, SECRET = sys.argv[1:5]
pybit.unified_trading.PRIVATE_WSS = f"{WS_URL}/v5/private"
pybit.unified_trading.PUBLIC_WSS = f"{WS_URL}/v5/public/{{CHANNEL_TYPE}}"
pybit._websocket_trading.TRADE_WSS = f"{WS_URL}/v5/trade"
WAIT_S = 15.0
D = Decimal
STEPS: list[tuple[str, Callable[[], None]]] = []


def http(secret: str = SECRET) -> HTTP:
    made = HTTP(api_key=KEY, api_secret=secret)
    made.endpoint = URL
    return made


session = http()
kept: dict[str, Any] = {}


def step(act: Callable[[], None]) -> None:
    STEPS.append((act.__name__, act))


def until(question: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not question():
        assert time.monotonic() < end, f"still not: {what}"
        time.sleep(0.05)


def refused(code: int, act: Callable[[], object]) -> None:
    try:
        act()
    except InvalidRequestError as error:
        if error.status_code == code:
            return
        raise
    raise AssertionError(f"taken, though {code} was expected")


def order(order_id: str, category: str = "linear") -> dict[str, Any]:
    """An order once it can be seen."""
    rows: list[dict[str, Any]] = []

    def seen() -> bool:
        rows[:] = session.get_open_orders(category=category, orderId=order_id)["result"]["list"]
        return bool(rows)

    until(seen, f"{order_id} seen")
    return rows[0]


def reaches(order_id: str, *statuses: str, category: str = "linear") -> dict[str, Any]:
    until(lambda: order(order_id, category)["orderStatus"] in statuses, f"{order_id} in {statuses}")
    return order(order_id, category)


def last(category: str = "linear") -> Decimal:
    return D(session.get_tickers(category=category, symbol="SOLUSDT")["result"]["list"][0]["lastPrice"])


def limit(factor: str) -> str:
    return str((last() * D(factor)).quantize(D("0.01")))


def place(side: str = "Buy", qty: str = "1", category: str = "linear", **more: Any) -> str:
    fields = {"category": category, "symbol": "SOLUSDT", "side": side, "orderType": "Limit" if "price" in more else "Market", "qty": qty}
    placed: str = session.place_order(**(fields | more))["result"]["orderId"]
    return placed


@step
def time_and_key() -> None:
    assert abs(int(session.get_server_time()["result"]["timeSecond"]) - time.time()) < 60
    assert session.get_api_key_information()["result"]["permissions"]["Wallet"] == []
    assert session.get_account_info()["result"]["unifiedMarginStatus"] == 5


@step
def a_wrong_secret() -> None:
    refused(10004, lambda: http("x" * 36).get_account_info())


@step
def instruments() -> None:
    (swap,) = session.get_instruments_info(category="linear", symbol="SOLUSDT")["result"]["list"]
    (pair,) = session.get_instruments_info(category="spot", symbol="SOLUSDT")["result"]["list"]
    assert (swap["contractType"], swap["lotSizeFilter"]["qtyStep"]) == ("LinearPerpetual", "0.1")
    assert pair["lotSizeFilter"]["basePrecision"] == "0.001"


@step
def market_data() -> None:
    book = session.get_orderbook(category="linear", symbol="SOLUSDT")["result"]
    assert D(book["b"][0][0]) < D(book["a"][0][0])
    assert len(session.get_kline(category="spot", symbol="SOLUSDT", interval=1, limit=5)["result"]["list"]) == 5
    assert session.get_public_trade_history(category="spot", symbol="SOLUSDT", limit=3)["result"]["list"][0]["side"] in ("Buy", "Sell")
    assert len(session.get_funding_rate_history(category="linear", symbol="SOLUSDT", limit=3)["result"]["list"]) == 3


@step
def balance_and_fees() -> None:
    (wallet,) = session.get_wallet_balance(accountType="UNIFIED")["result"]["list"]
    assert D(wallet["totalEquity"]) == 100_000
    assert session.get_fee_rates(category="linear", symbol="SOLUSDT")["result"]["list"][0]["takerFeeRate"] == "0.00055"


@step
def a_resting_order_is_changed_and_cancelled() -> None:
    order_id = place(price=limit("0.9"), orderLinkId="rests")
    assert reaches(order_id, "New")["orderLinkId"] == "rests"
    price = limit("0.91")
    assert session.amend_order(category="linear", symbol="SOLUSDT", orderLinkId="rests", price=price, qty="2")["result"]["orderId"] == order_id
    until(lambda: (D(order(order_id)["price"]), order(order_id)["qty"]) == (D(price), "2"), "amended")
    session.cancel_order(category="linear", symbol="SOLUSDT", orderId=order_id)
    assert reaches(order_id, "Cancelled")["cancelType"] == "CancelByUser"
    refused(110001, lambda: session.cancel_order(category="linear", symbol="SOLUSDT", orderId=order_id))


@step
def refusals() -> None:
    refused(110072, lambda: place(price=limit("0.9"), orderLinkId="rests"))
    refused(110007, lambda: place(qty="9000"))
    refused(110017, lambda: place("Sell", reduceOnly=True))
    refused(110094, lambda: place(qty="0.1", price="10"))
    refused(170131, lambda: place("Sell", category="spot"))
    refused(10001, lambda: place(qty="0.15"))


@step
def a_swap_is_bought_and_closed() -> None:
    bought = place(qty="3")
    assert D(reaches(bought, "Filled")["cumExecQty"]) == 3
    (position,) = session.get_positions(category="linear", symbol="SOLUSDT")["result"]["list"]
    assert (position["side"], position["size"]) == ("Buy", "3")
    reaches(place("Sell", "3", reduceOnly=True), "Filled")
    assert session.get_positions(category="linear", settleCoin="USDT")["result"]["list"] == []
    fills = session.get_executions(category="linear", orderId=bought)["result"]["list"]
    assert sum(D(fill["execQty"]) for fill in fills) == 3
    assert {entry["type"] for entry in session.get_transaction_log(accountType="UNIFIED")["result"]["list"]} == {"TRADE"}


@step
def coins_are_bought_for_an_amount() -> None:
    done = reaches(place(qty="500", category="spot"), "Filled", category="spot")
    assert D(495) < D(done["cumExecValue"]) <= D(500)
    (wallet,) = session.get_wallet_balance(accountType="UNIFIED", coin="SOL")["result"]["list"]
    assert D(0) < D(wallet["coin"][0]["walletBalance"]) < D(done["cumExecQty"])


@step
def a_stop_waits() -> None:
    trigger = limit("1.05")
    order_id = place(triggerPrice=trigger, triggerDirection=1)
    assert D(reaches(order_id, "Untriggered")["triggerPrice"]) == D(trigger)
    session.cancel_all_orders(category="linear", settleCoin="USDT")
    reaches(order_id, "Deactivated", "Cancelled")
    refused(110092, lambda: place(triggerPrice=limit("0.95"), triggerDirection=1))


@step
def leverage() -> None:
    session.set_leverage(category="linear", symbol="SOLUSDT", buyLeverage="5", sellLeverage="5")
    refused(110043, lambda: session.set_leverage(category="linear", symbol="SOLUSDT", buyLeverage="5", sellLeverage="5"))


class Patient(dict[str, Any]):
    """pybit enters who listens after it has asked, which a line of this machine outruns: its reader would die of the first message."""

    def __missing__(self, topic: str) -> Any:
        until(lambda: topic in self, f"{topic} is listened to")
        return self[topic]


def patient(stream: WebSocket) -> WebSocket:
    """Logged in before anything is asked, and nobody's messages lost."""
    stream.callback_directory = Patient()
    time.sleep(0.5)
    return stream


@step
def events_of_the_account() -> None:
    heard: dict[str, list[Any]] = {"order": [], "execution": [], "position": [], "wallet": []}
    stream = patient(WebSocket(testnet=False, channel_type="private", api_key=KEY, api_secret=SECRET, private_auth_expire=10))
    stream.order_stream(lambda message: heard["order"].extend(message["data"]))
    stream.execution_stream(lambda message: heard["execution"].extend(message["data"]))
    stream.position_stream(lambda message: heard["position"].extend(message["data"]))
    stream.wallet_stream(lambda message: heard["wallet"].extend(message["data"]))
    time.sleep(1)
    order_id = place(qty="2")
    until(lambda: all(heard.values()), f"heard { ({name: len(rows) for name, rows in heard.items()}) }")
    until(lambda: heard["order"][-1]["orderStatus"] == "Filled", "filled")
    assert {row["orderId"] for row in heard["execution"]} == {order_id}
    assert heard["position"][-1]["size"] == "2"
    stream.exit()


@step
def orders_by_socket() -> None:
    replies: list[dict[str, Any]] = []
    line = WebSocketTrading(testnet=False, api_key=KEY, api_secret=SECRET)
    what = {"category": "linear", "symbol": "SOLUSDT"}

    def told(act: Callable[..., None], **more: Any) -> dict[str, Any]:
        before = len(replies)
        act(replies.append, **(what | more))
        until(lambda: len(replies) > before, "a reply")
        return replies[-1]

    placed = told(line.place_order, side="Buy", orderType="Limit", qty="1", price=limit("0.9"), orderLinkId="by-socket")
    assert (placed["retCode"], placed["data"]["orderLinkId"]) == (0, "by-socket")
    order_id = placed["data"]["orderId"]
    reaches(order_id, "New")
    assert told(line.amend_order, orderId=order_id, qty="2")["retCode"] == 0
    until(lambda: order(order_id)["qty"] == "2", "amended")
    assert told(line.cancel_order, orderId=order_id)["retCode"] == 0
    reaches(order_id, "Cancelled")
    line.exit()


@step
def the_market_by_socket() -> None:
    heard: dict[str, list[Any]] = {"book": [], "trade": [], "ticker": [], "kline": []}
    stream = patient(WebSocket(testnet=False, channel_type="linear"))
    stream.orderbook_stream(50, "SOLUSDT", heard["book"].append)
    stream.trade_stream("SOLUSDT", heard["trade"].append)
    stream.ticker_stream("SOLUSDT", heard["ticker"].append)
    stream.kline_stream(1, "SOLUSDT", heard["kline"].append)
    until(lambda: all(len(rows) > 1 for rows in heard.values()), "all four topics twice")
    book = heard["book"][-1]["data"]
    assert D(book["b"][0][0]) < D(book["a"][0][0])
    stream.exit()


def contract() -> dict[str, Any]:
    """The call of the quarter's end whose strike is the lowest there is."""
    listed = session.get_instruments_info(category="option", baseCoin="BTC", limit=1000)["result"]["list"]
    last_day = max(listed, key=lambda row: int(row["deliveryTime"]))["deliveryTime"]
    calls = [row for row in listed if row["deliveryTime"] == last_day and row["optionsType"] == "Call"]
    return min(calls, key=lambda row: D(row["symbol"].split("-")[2]))


@step
def a_chain_of_options() -> None:
    listed = contract()
    assert (listed["settleCoin"], listed["lotSizeFilter"]["qtyStep"], listed["priceFilter"]["tickSize"]) == ("USDT", "0.01", "5")
    chain = session.get_tickers(category="option", baseCoin="BTC", expDate=listed["symbol"].split("-")[1])["result"]["list"]
    assert all(D(row["markIv"]) > 0 and -1 <= D(row["delta"]) <= 1 for row in chain)
    book = session.get_orderbook(category="option", symbol=listed["symbol"], limit=25)["result"]
    assert D(book["b"][0][0]) < D(book["a"][0][0])
    assert session.get_public_trade_history(category="option", symbol=listed["symbol"], limit=3)["result"]["list"][0]["symbol"] == listed["symbol"]


@step
def an_option_rests_is_changed_and_cancelled() -> None:
    symbol = contract()["symbol"]
    fields = {"category": "option", "symbol": symbol, "side": "Buy", "orderType": "Limit", "qty": "0.1"}
    refused(10001, lambda: session.place_order(**fields, price="100"))  # without an orderLinkId
    order_id = session.place_order(**fields, price="100", orderLinkId="option-rests")["result"]["orderId"]
    reaches(order_id, "New", category="option")
    session.amend_order(category="option", symbol=symbol, orderId=order_id, price="105")
    until(lambda: order(order_id, "option")["price"] == "105", "amended")
    session.cancel_order(category="option", symbol=symbol, orderLinkId="option-rests")
    reaches(order_id, "Cancelled", category="option")
    ask = session.get_orderbook(category="option", symbol=symbol)["result"]["a"][0][0]
    crossing = session.place_order(**fields, price=str(D(ask) + 500), timeInForce="PostOnly", orderLinkId="option-post")["result"]["orderId"]
    assert reaches(crossing, "Cancelled", category="option")["rejectReason"] == "EC_PostOnlyWillTakeLiquidity"


@step
def an_option_is_bought_and_sold() -> None:
    symbol = contract()["symbol"]
    what = {"category": "option", "symbol": symbol, "orderType": "Market", "qty": "0.1"}
    bought = session.place_order(**what, side="Buy", orderLinkId="option-buy")["result"]["orderId"]
    reaches(bought, "Filled", category="option")
    (position,) = session.get_positions(category="option", baseCoin="BTC")["result"]["list"]
    assert (position["symbol"], position["side"], position["size"]) == (symbol, "Buy", "0.1")
    fills = session.get_executions(category="option", orderId=bought)["result"]["list"]
    assert {(fill["execType"], fill["feeCurrency"]) for fill in fills} == {("Trade", "USDT")}
    reaches(session.place_order(**what, side="Sell", reduceOnly=True, orderLinkId="option-sell")["result"]["orderId"], "Filled", category="option")
    assert session.get_positions(category="option")["result"]["list"] == []
    assert session.get_option_delivery_record(category="option")["result"]["list"] == []


@step
def an_inverse_swap_is_sold_and_closed() -> None:
    (listed,) = session.get_instruments_info(category="inverse", symbol="BTCUSD")["result"]["list"]
    assert (listed["contractType"], listed["settleCoin"], listed["lotSizeFilter"]["qtyStep"]) == ("InversePerpetual", "BTC", "1")
    heard: list[Any] = []
    stream = patient(WebSocket(testnet=False, channel_type="private", api_key=KEY, api_secret=SECRET, private_auth_expire=10))
    stream.execution_stream(lambda message: heard.extend(message["data"]))
    time.sleep(1)
    what = {"category": "inverse", "symbol": "BTCUSD", "orderType": "Market", "qty": "2000"}
    sold = session.place_order(**what, side="Sell")["result"]["orderId"]
    assert D(reaches(sold, "Filled", category="inverse")["cumExecQty"]) == 2_000
    (position,) = session.get_positions(category="inverse", settleCoin="BTC")["result"]["list"]
    assert (position["symbol"], position["side"], position["size"]) == ("BTCUSD", "Sell", "2000")
    closed = session.place_order(**what, side="Buy", reduceOnly=True)["result"]["orderId"]
    reaches(closed, "Filled", category="inverse")
    assert session.get_positions(category="inverse")["result"]["list"] == []
    until(lambda: sum(D(row["execQty"]) for row in heard if row["side"] == "Buy") == 2_000, "the close is told")
    log = session.get_transaction_log(accountType="UNIFIED", category="inverse")["result"]["list"]
    assert {row["execId"]: row["execPnl"] for row in heard}.items() <= {row["tradeId"]: row["cashFlow"] for row in log}.items()
    assert {row["currency"] for row in log} == {"BTC"}
    stream.exit()


@step
def options_by_socket() -> None:
    symbol = contract()["symbol"]
    heard: dict[str, list[Any]] = {"book": [], "trade": [], "ticker": []}
    stream = patient(WebSocket(testnet=False, channel_type="option"))
    stream.orderbook_stream(25, symbol, heard["book"].append)
    stream.trade_stream("BTC", heard["trade"].append)
    stream.ticker_stream(symbol, heard["ticker"].append)
    until(lambda: all(heard.values()), "all three topics")
    assert heard["ticker"][-1]["data"]["symbol"] == symbol
    assert all(row["s"].startswith("BTC-") for message in heard["trade"] for row in message["data"])
    stream.exit()


for name, act in STEPS:
    try:
        act()
    except Exception as error:  # noqa: BLE001 the judge reports whatever went wrong and goes on
        detail = f"{type(error).__name__}: {error} {traceback.format_exc()[-300:]}"
        print(json.dumps({"step": name, "ok": False, "detail": detail}), flush=True)
    else:
        print(json.dumps({"step": name, "ok": True, "detail": ""}), flush=True)
os._exit(0)  # the SDK's threads would keep the process
