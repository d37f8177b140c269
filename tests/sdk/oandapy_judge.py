"""oandapyV20, which most people use beside OANDA's own package, against a served twin, one JSON line a step.

Runs in .venv-judges: oandapy_judge.py URL TOKEN ACCOUNT. It wants six, without saying so."""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import oandapyV20
from oandapyV20 import V20Error
from oandapyV20.endpoints import accounts, instruments, orders, positions, pricing, trades, transactions
from oandapyV20.oandapyV20 import TRADING_ENVIRONMENTS

URL, TOKEN, ACCOUNT = sys.argv[1:4]
PAIR = "EUR_USD"
STEPS: list[tuple[str, Callable[[], None]]] = []
TRADING_ENVIRONMENTS["practice"].update(api=URL, stream=URL)
api = oandapyV20.API(access_token=TOKEN, environment="practice")


def step(act: Callable[[], None]) -> Callable[[], None]:
    STEPS.append((act.__name__, act))
    return act


def asked(request: Any) -> Any:
    return api.request(request)


def near(fraction: float) -> str:
    """A price so far from the best bid."""
    (price,) = asked(pricing.PricingInfo(ACCOUNT, params={"instruments": PAIR}))["prices"]
    return f"{float(price['bids'][0]['price']) * fraction:.5f}"


def refused(status: int, code: str, request: Any, by: Any = api) -> None:
    try:
        by.request(request)
    except V20Error as error:
        told = error
    else:
        raise AssertionError("not refused")
    assert told.code == status, told
    assert json.loads(told.msg).get("errorCode", "") == code, told.msg


def order(kind: str, units: object = "", **more: object) -> dict[str, object]:
    """The body of one."""
    return {"order": {"type": kind, **({"instrument": PAIR, "units": units} if units else {}), **more}}


def placed(body: object) -> Any:
    return asked(orders.OrderCreate(ACCOUNT, data=body))


def closed(**sides: str) -> Any:
    return asked(positions.PositionClose(ACCOUNT, PAIR, data=sides))


@step
def accounts_of_the_token() -> None:
    assert asked(accounts.AccountList())["accounts"] == [{"id": ACCOUNT, "tags": []}]
    assert asked(accounts.AccountDetails(ACCOUNT))["account"]["trades"] == []
    assert float(asked(accounts.AccountSummary(ACCOUNT))["account"]["NAV"]) > 1000
    assert asked(accounts.AccountInstruments(ACCOUNT, params={"instruments": PAIR}))["instruments"][0]["name"] == PAIR
    assert asked(accounts.AccountConfiguration(ACCOUNT, data={"alias": "Judge", "marginRate": "0.05"}))["clientConfigureTransaction"]
    assert asked(accounts.AccountChanges(ACCOUNT, params={"sinceTransactionID": 1}))["changes"]["transactions"]


@step
def candles() -> None:
    told = asked(instruments.InstrumentsCandles(PAIR, params={"granularity": "M5", "count": 5}))
    assert [set(candle["mid"]) for candle in told["candles"]] == [set("ohlc")] * 5


@step
def prices() -> None:
    (price,) = asked(pricing.PricingInfo(ACCOUNT, params={"instruments": PAIR}))["prices"]
    assert float(price["bids"][0]["price"]) < float(price["asks"][0]["price"])
    refused(400, "", pricing.PricingInfo(ACCOUNT, params={"instruments": "EUR_XXX"}))


@step
def a_market_order_with_exits() -> None:
    exits = {"takeProfitOnFill": {"price": near(1.05)}, "stopLossOnFill": {"price": near(0.95)}, "trailingStopLossOnFill": {"distance": "0.05"}}
    told = placed(order("MARKET", 1000, **exits))
    assert len(told["relatedTransactionIDs"]) == 5
    trade = told["orderFillTransaction"]["tradeOpened"]["tradeID"]
    shown = asked(trades.TradeDetails(ACCOUNT, trade))["trade"]
    assert {"takeProfitOrder", "stopLossOrder", "trailingStopLossOrder"} <= set(shown)
    assert asked(trades.OpenTrades(ACCOUNT))["trades"][0]["id"] == trade
    asked(trades.TradeClientExtensions(ACCOUNT, trade, data={"clientExtensions": {"id": "mine"}}))
    assert asked(trades.TradeCRCDO(ACCOUNT, trade, data={"takeProfit": {"price": near(1.06), "timeInForce": "GTC"}, "stopLoss": None}))
    assert asked(trades.TradeClose(ACCOUNT, trade, data={"units": "100"}))["orderFillTransaction"]["tradeReduced"]["tradeID"] == trade
    assert asked(trades.TradeClose(ACCOUNT, trade))["orderFillTransaction"]["tradesClosed"][0]["tradeID"] == trade
    assert asked(trades.TradesList(ACCOUNT, params={"state": "CLOSED"}))["trades"][0]["id"] == trade
    refused(404, "TRADE_DOESNT_EXIST", trades.TradeClose(ACCOUNT, trade))


@step
def orders_that_wait() -> None:
    for body in (
        order("LIMIT", 100, price=near(0.9), clientExtensions={"id": "py-1"}),
        order("STOP", 100, price=near(1.1)),
        order("MARKET_IF_TOUCHED", 100, price=near(0.9)),
    ):
        assert placed(body)["orderCreateTransaction"]["reason"] == "CLIENT_ORDER"
    waiting = asked(orders.OrdersPending(ACCOUNT))["orders"]
    assert {row["type"] for row in waiting} == {"LIMIT", "STOP", "MARKET_IF_TOUCHED"}
    assert asked(orders.OrderList(ACCOUNT, params={"count": 2}))["orders"] == waiting[:2]
    refused(400, "CLIENT_ORDER_ID_ALREADY_EXISTS", orders.OrderCreate(ACCOUNT, order("LIMIT", 1, price=near(0.9), clientExtensions={"id": "py-1"})))
    assert asked(orders.OrderClientExtensions(ACCOUNT, "@py-1", data={"clientExtensions": {"id": "py-2"}}))
    old = asked(orders.OrderDetails(ACCOUNT, "@py-2"))["order"]["id"]
    new = asked(orders.OrderReplace(ACCOUNT, old, data=order("LIMIT", 200, price=near(0.91))))["orderCreateTransaction"]["id"]
    assert asked(orders.OrderDetails(ACCOUNT, old))["order"]["replacedByOrderID"] == new
    for row in asked(orders.OrdersPending(ACCOUNT))["orders"]:
        assert asked(orders.OrderCancel(ACCOUNT, row["id"]))["orderCancelTransaction"]["reason"] == "CLIENT_REQUEST"
    refused(404, "ORDER_DOESNT_EXIST", orders.OrderCancel(ACCOUNT, new))
    refused(404, "NO_SUCH_ORDER", orders.OrderDetails(ACCOUNT, "999999"))


@step
def a_trailing_stop_of_a_trade() -> None:
    trade = placed(order("MARKET", 1000))["orderFillTransaction"]["id"]
    trailing = placed(order("TRAILING_STOP_LOSS", tradeID=trade, distance=0.02))["orderCreateTransaction"]["id"]
    assert asked(orders.OrderDetails(ACCOUNT, trailing))["order"]["trailingStopValue"]
    closed(longUnits="ALL", shortUnits="NONE")
    assert asked(orders.OrderDetails(ACCOUNT, trailing))["order"]["state"] == "CANCELLED"


@step
def refusals() -> None:
    refused(400, "UNITS_PRECISION_EXCEEDED", orders.OrderCreate(ACCOUNT, order("MARKET", "0.5")))
    refused(400, "PRICE_PRECISION_EXCEEDED", orders.OrderCreate(ACCOUNT, order("LIMIT", 1, price="1.0000001")))
    refused(400, "", orders.OrderCreate(ACCOUNT, order("MARKET", 1, instrument="EUR_XXX")))
    told = placed(order("MARKET", 90_000_000))
    assert told["orderCancelTransaction"]["reason"] == "INSUFFICIENT_MARGIN"


@step
def positions_of_each_side() -> None:
    placed(order("MARKET", 1000))
    assert asked(positions.PositionDetails(ACCOUNT, PAIR))["position"]["long"]["units"] == "1000"
    assert asked(positions.OpenPositions(ACCOUNT))["positions"][0]["instrument"] == PAIR
    assert closed(longUnits="400", shortUnits="NONE")["longOrderFillTransaction"]["units"] == "-400"
    refused(404, "CLOSEOUT_POSITION_DOESNT_EXIST", positions.PositionClose(ACCOUNT, PAIR, data={"longUnits": "NONE", "shortUnits": "ALL"}))
    closed(longUnits="ALL", shortUnits="NONE")
    placed(order("MARKET", -500))
    assert closed(longUnits="NONE", shortUnits="ALL")["shortOrderFillTransaction"]["tradesClosed"]
    assert asked(positions.PositionList(ACCOUNT))["positions"][0]["instrument"] == PAIR


@step
def transactions_by_id_range_and_since() -> None:
    last = asked(accounts.AccountSummary(ACCOUNT))["lastTransactionID"]
    placed(order("MARKET", 1000))
    closed(longUnits="ALL", shortUnits="NONE")
    told = asked(transactions.TransactionsSinceID(ACCOUNT, params={"id": last}))["transactions"]
    assert [one["type"] for one in told] == ["MARKET_ORDER", "ORDER_FILL"] * 2
    assert asked(transactions.TransactionDetails(ACCOUNT, told[1]["id"]))["transaction"] == told[1]
    assert asked(transactions.TransactionIDRange(ACCOUNT, params={"from": told[0]["id"], "to": told[1]["id"]}))["transactions"] == told[:2]
    assert asked(transactions.TransactionList(ACCOUNT, params={"pageSize": 100}))["pages"][0].startswith(URL)
    refused(416, "INVALID_RANGE", transactions.TransactionsSinceID(ACCOUNT, params={"id": 999999}))


def lines(request: Any) -> Iterator[Any]:
    found: Iterator[Any] = asked(request)
    return found


@step
def transactions_as_they_come() -> None:
    stream = lines(transactions.TransactionsStream(ACCOUNT))
    assert next(stream)["type"] == "HEARTBEAT"
    placed(order("MARKET", 1000))
    assert [line["type"] for line in islice((line for line in stream if line["type"] != "HEARTBEAT"), 2)] == ["MARKET_ORDER", "ORDER_FILL"]
    closed(longUnits="ALL", shortUnits="NONE")


@step
def prices_as_they_come() -> None:
    seen = list(islice(lines(pricing.PricingStream(ACCOUNT, params={"instruments": PAIR})), 4))
    assert {"PRICE", "HEARTBEAT"} == {line["type"] for line in seen}


@step
def a_wrong_token_and_a_foreign_account() -> None:
    refused(403, "", accounts.AccountSummary("101-004-1-001"))
    refused(401, "", accounts.AccountList(), oandapyV20.API(access_token="nobody", environment="practice"))


for name, act in STEPS:
    try:
        act()
    except Exception as error:  # noqa: BLE001  a judge tells of everything
        print(json.dumps({"step": name, "ok": False, "error": f"{error!r} {traceback.format_exc()[-900:]}"}), flush=True)
    else:
        print(json.dumps({"step": name, "ok": True}), flush=True)
