"""IB's own client for Python, as nautilus-ibapi packs it, against a served twin, one JSON line a step. Runs in .venv-judges: ibapi_judge.py PORT
ACCOUNT.

Its licence keeps it out of the product: here it only judges."""

import json
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ibapi.client import EClient
from ibapi.contract import ComboLeg, Contract
from ibapi.execution import ExecutionFilter
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel
from ibapi.wrapper import EWrapper

PORT, ACCOUNT = int(sys.argv[1]), sys.argv[2]
WAIT_S = 10
STEPS: list[tuple[str, Callable[[], None]]] = []


class App(EWrapper, EClient):
    """Keeps everything that it is called with, by name."""

    def __init__(self) -> None:
        EWrapper.__init__(self)
        EClient.__init__(self, wrapper=self)
        self.heard: dict[str, list[tuple[Any, ...]]] = defaultdict(list)

    def __getattribute__(self, name: str) -> Any:
        if name in KEPT:
            return lambda *args: self.heard[name].append(args)
        return super().__getattribute__(name)


KEPT = frozenset(
    (
        "nextValidId",
        "managedAccounts",
        "error",
        "openOrder",
        "orderStatus",
        "openOrderEnd",
        "execDetails",
        "execDetailsEnd",
        "commissionReport",
        "commissionAndFeesReport",
        "position",
        "positionEnd",
        "updateAccountValue",
        "updatePortfolio",
        "accountDownloadEnd",
        "accountSummary",
        "accountSummaryEnd",
        "contractDetails",
        "contractDetailsEnd",
        "bondContractDetails",
        "tickPrice",
        "tickSize",
        "tickString",
        "tickSnapshotEnd",
        "historicalData",
        "historicalDataEnd",
        "completedOrder",
        "completedOrdersEnd",
        "marketRule",
        "symbolSamples",
        "currentTime",
        "securityDefinitionOptionParameter",
        "securityDefinitionOptionParameterEnd",
        "tickByTickBidAsk",
        "tickOptionComputation",
        "historicalTicksLast",
    )
)
app = App()
ids = iter(range(1000, 2000))
orders = iter(range(10, 999))


def step(act: Callable[[], None]) -> None:
    STEPS.append((act.__name__, act))


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + WAIT_S
    while not (found := what()):
        assert time.monotonic() < end, dict(app.heard)
        time.sleep(0.02)
    return found


def about(name: str, number: int) -> list[tuple[Any, ...]]:
    return [args for args in app.heard[name] if args[0] == number]


def stock(symbol: str = "AAPL") -> Contract:
    found = Contract()
    found.symbol, found.secType, found.exchange, found.currency = symbol, "STK", "SMART", "USD"
    return found


def order(action: str, qty: int, kind: str, **more: Any) -> Order:
    made = Order()
    made.action, made.totalQuantity, made.orderType, made.tif, made.account = action, Decimal(qty), kind, "DAY", ACCOUNT
    for name, value in more.items():
        setattr(made, name, value)
    return made


def price() -> float:
    number = next(ids)
    app.reqMktData(number, stock(), "", True, False, [])
    until(lambda: about("tickSnapshotEnd", number))
    return float(next(args[2] for args in about("tickPrice", number) if args[1] == 1))


def statuses(number: int) -> list[str]:
    return [args[1] for args in about("orderStatus", number)]


@step
def hello() -> None:
    app.connect("127.0.0.1", PORT, 9)
    threading.Thread(target=app.run, daemon=True).start()
    until(lambda: app.heard["nextValidId"] and app.heard["managedAccounts"])
    assert app.serverVersion() == 178
    assert app.heard["managedAccounts"][0] == (ACCOUNT,)
    app.reqCurrentTime()
    until(lambda: app.heard["currentTime"])


@step
def money() -> None:
    app.reqAccountSummary(next(ids), "All", "NetLiquidation,BuyingPower")
    until(lambda: app.heard["accountSummaryEnd"])
    assert {args[2] for args in app.heard["accountSummary"]} == {"NetLiquidation", "BuyingPower"}
    app.reqAccountUpdates(True, ACCOUNT)
    until(lambda: app.heard["accountDownloadEnd"])
    app.reqPositions()
    until(lambda: app.heard["positionEnd"])


@step
def contracts() -> None:
    number, nobody = next(ids), next(ids)
    app.reqContractDetails(number, stock())
    until(lambda: about("contractDetailsEnd", number))
    (found,) = about("contractDetails", number)
    assert (found[1].contract.conId, found[1].minTick, found[1].stockType) == (265598, 0.01, "COMMON")
    app.reqContractDetails(nobody, stock("NOBODY"))
    until(lambda: any(args[0] == nobody and 200 in args for args in app.heard["error"]))
    app.reqMarketRule(26)
    until(lambda: app.heard["marketRule"])
    app.reqMatchingSymbols(next(ids), "AAP")
    until(lambda: app.heard["symbolSamples"])
    app.reqSecDefOptParams(next(ids), "AAPL", "", "STK", 265598)
    until(lambda: app.heard["securityDefinitionOptionParameterEnd"])


@step
def prices() -> None:
    assert price() > 0
    number = next(ids)
    app.reqTickByTickData(number, stock(), "BidAsk", 0, False)
    until(lambda: about("tickByTickBidAsk", number))
    app.cancelTickByTickData(number)
    bars = next(ids)
    app.reqHistoricalData(bars, stock(), "", "1800 S", "1 min", "TRADES", 0, 2, False, [])
    until(lambda: about("historicalDataEnd", bars))
    assert len(about("historicalData", bars)) >= 25


@step
def an_order_fills() -> None:
    number = next(orders)
    app.placeOrder(number, stock(), order("BUY", 250, "MKT", orderRef="judge-a"))
    until(lambda: "Filled" in statuses(number))
    done = until(lambda: [args for args in app.heard["execDetails"] if args[2].orderId == number])
    assert sum(args[2].shares for args in done) == 250
    assert {args[2].orderRef for args in done} == {"judge-a"}
    until(lambda: len(app.heard["commissionReport"]) + len(app.heard["commissionAndFeesReport"]) >= len(done))
    shown = about("openOrder", number)
    assert shown[0][2].permId == about("orderStatus", number)[0][5] > 0
    until(lambda: app.heard["position"])


@step
def a_future_fills() -> None:
    wanted, months, number = Contract(), next(ids), next(orders)
    wanted.symbol, wanted.secType, wanted.exchange, wanted.currency = "MES", "FUT", "CME", "USD"
    app.reqContractDetails(months, wanted)
    until(lambda: about("contractDetailsEnd", months))
    found = min((args[1] for args in about("contractDetails", months)), key=lambda details: details.contract.lastTradeDateOrContractMonth)
    assert (found.contract.multiplier, found.timeZoneId) == ("5", "US/Central")
    app.placeOrder(number, found.contract, order("BUY", 1, "MKT", orderRef="judge-f"))
    until(lambda: "Filled" in statuses(number))
    (done,) = until(lambda: [args for args in app.heard["execDetails"] if args[2].orderId == number])
    assert (done[1].secType, done[1].lastTradeDateOrContractMonth) == ("FUT", found.contract.lastTradeDateOrContractMonth)


@step
def a_bond_fills() -> None:
    wanted, asked, number = Contract(), next(ids), next(orders)
    wanted.symbol, wanted.secType, wanted.exchange, wanted.currency = "912810TM0", "BOND", "SMART", "USD"
    app.reqContractDetails(asked, wanted)
    until(lambda: about("contractDetailsEnd", asked))
    ((_, found),) = about("bondContractDetails", asked)
    assert (found.cusip, found.maturity, found.contract.exchange) == ("912810TM0", "20421115", "SMART")
    app.placeOrder(number, found.contract, order("BUY", 2, "MKT", orderRef="judge-b"))
    until(lambda: "Filled" in statuses(number))


@step
def a_fund_is_bought_for_money_when_the_day_is_over() -> None:
    wanted, asked, number = Contract(), next(ids), next(orders)
    wanted.symbol, wanted.secType, wanted.exchange, wanted.currency = "VFIAX", "FUND", "FUNDSERV", "USD"
    app.reqContractDetails(asked, wanted)
    until(lambda: about("contractDetailsEnd", asked))
    ((_, found),) = about("contractDetails", asked)
    app.placeOrder(number, found.contract, order("BUY", 0, "MKT", cashQty=700, orderRef="judge-fund"))
    until(lambda: statuses(number))
    assert "Filled" not in statuses(number)
    app.cancelOrder(number, OrderCancel())
    until(lambda: "Cancelled" in statuses(number))


@step
def a_spread_fills_leg_by_leg() -> None:
    wanted, months, number = Contract(), next(ids), next(orders)
    wanted.symbol, wanted.secType, wanted.exchange, wanted.currency, wanted.right = "AAPL", "OPT", "SMART", "USD", "C"
    app.reqContractDetails(months, wanted)
    until(lambda: about("contractDetailsEnd", months))
    bid, listed = price(), [args[1].contract for args in about("contractDetails", months)]
    day = max(contract.lastTradeDateOrContractMonth for contract in listed)
    calls = sorted(
        (one for one in listed if one.lastTradeDateOrContractMonth == day and one.strike >= bid),
        key=lambda one: one.strike,
    )
    bag = Contract()
    bag.symbol, bag.secType, bag.exchange, bag.currency, bag.comboLegs = "AAPL", "BAG", "SMART", "USD", []
    for contract, action in zip(calls, ("BUY", "SELL"), strict=False):
        leg = ComboLeg()
        leg.conId, leg.ratio, leg.action, leg.exchange = contract.conId, 1, action, "SMART"
        bag.comboLegs.append(leg)
    app.placeOrder(number, bag, order("BUY", 1, "LMT", lmtPrice=20, orderRef="judge-g"))
    until(lambda: "Filled" in statuses(number))
    done = until(lambda: [args for args in app.heard["execDetails"] if args[2].orderId == number])
    assert [args[1].secType for args in done] == ["BAG", "OPT", "OPT"]
    assert [leg.action for leg in about("openOrder", number)[0][1].comboLegs] == ["BUY", "SELL"]


@step
def an_order_rests_is_changed_and_cancelled() -> None:
    number, low = next(orders), round(price() * 0.9, 2)
    app.placeOrder(number, stock(), order("BUY", 1, "LMT", lmtPrice=low, orderRef="judge-b"))
    until(lambda: "Submitted" in statuses(number))
    app.placeOrder(number, stock(), order("BUY", 2, "LMT", lmtPrice=low, orderRef="judge-b"))
    until(lambda: any(args[2].totalQuantity == 2 for args in about("openOrder", number)))
    app.reqAllOpenOrders()
    until(lambda: app.heard["openOrderEnd"])
    app.cancelOrder(number, OrderCancel())
    until(lambda: "Cancelled" in statuses(number))
    app.cancelOrder(number, OrderCancel())
    until(lambda: any(args[0] == number and 10148 in args for args in app.heard["error"]))


@step
def a_what_if_shows_the_margin() -> None:
    number = next(orders)
    app.placeOrder(number, stock(), order("BUY", 1, "LMT", lmtPrice=round(price(), 2), whatIf=True))
    shown = until(lambda: about("openOrder", number))
    assert float(shown[0][3].initMarginChange) > 0


@step
def what_happened_can_be_asked_for() -> None:
    number = next(ids)
    app.reqExecutions(number, ExecutionFilter())
    until(lambda: about("execDetailsEnd", number))
    assert about("execDetails", number)
    app.reqCompletedOrders(False)
    until(lambda: app.heard["completedOrdersEnd"])
    assert {args[1].orderRef for args in app.heard["completedOrder"]} >= {"judge-a", "judge-b"}
    app.disconnect()


for name, act in STEPS:
    try:
        act()
    except Exception as error:  # noqa: BLE001  a judge tells of everything
        print(json.dumps({"step": name, "ok": False, "error": f"{error!r} {traceback.format_exc()[-900:]}"[:1800]}), flush=True)
    else:
        print(json.dumps({"step": name, "ok": True}), flush=True)
