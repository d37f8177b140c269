"""lumiwealth-tradier and uvatradier against a served twin, one JSON line a step. Runs in .venv-judges: tradier_judge.py URL WS_URL ACCOUNT TOKEN.

Tradier publishes no SDK; these two are those that people use from Python."""

import asyncio
import contextlib
import datetime as dt
import io
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import lumiwealth_tradier.base
import uvatradier
import uvatradier.stream
from lumiwealth_tradier import Tradier
from lumiwealth_tradier.base import TradierApiError
from lumiwealth_tradier.orders import OrderLeg

URL, WS_URL, ACCOUNT, TOKEN = sys.argv[1:5]
WAIT_S = 15
lumiwealth_tradier.base.TRADIER_SANDBOX_URL = lumiwealth_tradier.base.TRADIER_LIVE_URL = URL
lumi = Tradier(ACCOUNT, TOKEN, is_paper=True)
STEPS: list[tuple[str, Callable[[], Awaitable[None] | None]]] = []


def step(act: Callable[[], Awaitable[None] | None]) -> None:
    STEPS.append((act.__name__, act))


def uva(kind: Any, token: str = TOKEN) -> Any:
    """One of uvatradier's classes, pointed at the twin."""
    made = kind(ACCOUNT, token, live_trade=True)
    made.BASE_URL, made.WEBSOCKET_URL = URL, WS_URL
    return made


def away(fraction: float, symbol: str = "AAPL") -> float:
    """A price so far from the best bid."""
    return round(float(lumi.market.get_quotes(symbol).loc[symbol]["bid"]) * fraction, 2)


def refused(act: Callable[[], object], words: str) -> None:
    try:
        act()
    except TradierApiError as error:
        told = str(error)
    else:
        raise AssertionError("not refused")
    assert words in told, told


def reaches(number: int, what: object, field: str = "status") -> Any:
    """The order's row, once it stands so."""
    end = time.monotonic() + WAIT_S
    while (row := lumi.orders.get_order(number).iloc[0])[field] != what:
        assert time.monotonic() < end, row
        time.sleep(0.1)
    return row


def chain() -> Any:
    """The options that end first after a week."""
    first = (dt.datetime.now(dt.UTC) + dt.timedelta(days=7)).date().isoformat()
    day = next(day for day in uva(uvatradier.OptionsData).get_expiry_dates("AAPL") if day > first)
    return lumi.market.get_option_chains("AAPL", day, greeks=True)


def calls() -> tuple[str, str]:
    """Two calls round the price, the lower strike first."""
    rows, price = chain(), away(1)
    near = rows[(rows["option_type"] == "call") & (rows["strike"] > price)].sort_values("strike")["symbol"]
    return near.iloc[0], near.iloc[1]


# -- the account -------------------------------------------------------------------------------------------------------------------------------------


@step
def profiles() -> None:
    assert lumi.account.get_user_profile().iloc[0]["account.account_number"] == ACCOUNT
    assert uva(uvatradier.Account).get_user_profile().iloc[0]["account.account_number"] == ACCOUNT


@step
def balances() -> None:
    cash = lumi.account.get_account_balance().iloc[0]["total_cash"]
    assert 100_450 < cash < 100_550  # what two shares there and back cost
    assert uva(uvatradier.Account).get_account_balance(return_as_series=True)["total_equity"] == cash


@step
def nothing_is_there_yet() -> None:
    assert lumi.account.get_positions().empty
    assert lumi.orders.get_orders().empty
    assert len(uva(uvatradier.Account).get_orders()) == 0


# -- prices ------------------------------------------------------------------------------------------------------------------------------------------


@step
def quotes() -> None:
    rows = lumi.market.get_quotes(["AAPL", "SPY"])
    assert 0 < rows.loc["AAPL"]["bid"] < rows.loc["AAPL"]["ask"]
    assert set(uva(uvatradier.Quotes).get_quote_data(["AAPL", "SPY"])["symbol"]) == {"AAPL", "SPY"}
    assert uva(uvatradier.Quotes).get_quote_day("AAPL", last_price=True) > 0


@step
def clock_and_calendar() -> None:
    assert lumi.market.get_clock()["state"] in ("premarket", "open", "postmarket", "closed")
    assert len(lumi.market.get_calendar(11, 2026)) == 30


@step
def bars() -> None:
    start = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=40)
    assert len(lumi.market.get_historical_quotes("AAPL", start_date=start)) > 20
    assert len(uva(uvatradier.Quotes).get_historical_quotes("AAPL", start_date=start.isoformat(), end_date=str(start + dt.timedelta(days=30)))) > 10


@step
def time_and_sales() -> None:
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=4)
    rows = lumi.market.get_timesales("AAPL", interval=5, start_date=start, session_filter="all")
    assert len(rows) > 10
    assert not uva(uvatradier.Quotes).get_timesales("AAPL", interval="15min", start_time=start.strftime("%Y-%m-%d %H:%M")).empty


@step
def expirations_and_strikes() -> None:
    days = lumi.market.get_option_expirations("AAPL")
    assert {"contract_size", "expiration_type", "strikes"} <= set(days.columns)
    assert len(uva(uvatradier.OptionsData).get_expiry_dates("AAPL")) == len(days)
    assert len(lumi.market.get_option_strikes("AAPL", days.index[0])) > 5


@step
def chains() -> None:
    rows = chain()
    assert rows["greeks.delta"].dropna().between(-1, 1).all()  # without a bid and an ask that say something there are none
    day = rows.iloc[0]["expiration_date"]
    assert len(uva(uvatradier.OptionsData).get_chain_day("AAPL", expiry=str(day)[:10])) == len(rows)


@step
def symbols() -> None:
    assert calls()[0] in uva(uvatradier.OptionsData).get_options_symbols("AAPL")
    assert "AAPL" in list(lumi.market.lookup_symbol("AAPL")["symbol"])
    assert "AAPL" in list(uva(uvatradier.Quotes).search_companies("a")["symbol"])  # it cannot read one row alone


# -- orders ------------------------------------------------------------------------------------------------------------------------------------------


@step
def a_limit_order_lives() -> None:
    number = lumi.orders.order("AAPL", "buy", 2, "limit", limit_price=away(0.9), tag="judge-1")["id"]
    assert reaches(number, "open")["tag"] == "judge-1"
    price = away(0.91)
    assert lumi.orders.modify(number, limit_price=price)["id"] == number
    assert reaches(number, price, "price")["status"] == "open"
    assert lumi.orders.cancel(number)["status"] == "ok"
    reaches(number, "canceled")
    assert lumi.orders.cancel(number)["status"] == "ok"  # the SDK makes a success of "already in finalized state"
    refused(lambda: lumi.orders.modify(number, limit_price=price), "order already in finalized state: canceled")


@step
def market_orders_fill() -> None:
    number = uva(uvatradier.EquityOrder).order("AAPL", "buy", 100, "market")["order"]["id"]
    assert reaches(number, "filled")["exec_quantity"] == 100
    sold = lumi.orders.order("AAPL", "sell", 40, "market")["id"]
    assert reaches(sold, "filled")["avg_fill_price"] > 0
    assert lumi.account.get_positions().iloc[0]["quantity"] == 60
    assert uva(uvatradier.Account).get_positions().iloc[0]["quantity"] == 60
    assert {number, sold} <= set(uva(uvatradier.Account).get_orders()["id"])


@step
def stops_wait() -> None:
    stop = lumi.orders.order("AAPL", "sell", 1, "stop", stop_price=away(0.9))["id"]
    limited = uva(uvatradier.EquityOrder).order("AAPL", "sell", 1, "stop_limit", stop_price=away(0.9), limit_price=away(0.89))["order"]["id"]
    for number in (stop, limited):
        reaches(number, "open")
        lumi.orders.cancel(number)


@step
def options() -> None:
    one, other = calls()
    bought = lumi.orders.order_option("AAPL", one, "buy_to_open", 1, "market")["id"]
    assert reaches(bought, "filled")["option_symbol"] == one
    waits = uva(uvatradier.OptionsOrder).options_order(other, "limit", "buy_to_open", 1, limit_price=0.01)["order"]["id"]
    reaches(waits, "open")
    lumi.orders.cancel(waits)
    assert len(lumi.account.get_positions(options=True)) == 1


@step
def spreads() -> None:
    one, other = calls()
    legs = [OrderLeg(one, "buy_to_open", 1), OrderLeg(other, "sell_to_open", 1)]
    number = lumi.orders.multileg_order("AAPL", "debit", "day", legs, price=0.01)["id"]
    assert len(reaches(number, "open")["leg"]) == 2
    lumi.orders.cancel(number)
    made = uva(uvatradier.OptionsOrder).multileg_order([one, other], ["buy_to_open", "sell_to_open"], [1, 1], "market")["order"]["id"]
    reaches(made, "filled")


@step
def combos() -> None:
    """Neither SDK has a method that makes one; both read what stands there, and one sends the form as it is given."""
    call = calls()[1]
    form = {"class": "combo", "symbol": "AAPL", "type": "debit", "duration": "day", "price": away(0.9)}
    form |= {"side[0]": "buy", "quantity[0]": 100, "side[1]": "sell_to_open", "quantity[1]": 1, "option_symbol[1]": call}
    number = lumi.orders.send(lumi.orders.ORDER_ENDPOINT, form)["order"]["id"]
    row = reaches(number, "open")
    assert (row["class"], [leg["class"] for leg in row["leg"]]) == ("combo", ["equity", "option"])
    read = uva(uvatradier.Account).get_orders()
    assert list(read[read["id"] == number]["class"]) == ["combo"]
    lumi.orders.modify(number, limit_price=away(1.01))
    assert reaches(number, "filled")["exec_quantity"] == 1
    out = {**form, "type": "market", "side[0]": "sell", "side[1]": "buy_to_close", "price": ""}
    reaches(lumi.orders.send(lumi.orders.ORDER_ENDPOINT, out)["order"]["id"], "filled")


@step
def linked_orders() -> None:
    low, high = away(0.9), away(1.1)
    entry = OrderLeg(stock_symbol="AAPL", side="buy", quantity=1, type="limit", price=low)
    profit = OrderLeg(stock_symbol="AAPL", side="sell", quantity=1, type="limit", price=high)
    loss = OrderLeg(stock_symbol="AAPL", side="sell", quantity=1, type="stop", stop=round(low * 0.9, 2))
    for legs, which in (([entry, profit], "oto"), ([profit, loss], "oco"), ([entry, profit, loss], "otoco")):
        number = lumi.orders.advanced_order("day", legs, which)["id"]
        assert len(reaches(number, "open")["leg"]) == len(legs), which
        lumi.orders.cancel(number)
        reaches(number, "canceled")


@step
def history_and_gains() -> None:
    reaches(lumi.orders.order("AAPL", "sell", 60, "market")["id"], "filled")
    assert set(lumi.account.get_gainloss()["symbol"]) == {"AAPL"}  # of days that are over
    assert uva(uvatradier.Account).get_gainloss()["quantity"].sum() == 2
    events = lumi.account.get_history()
    assert sorted(events["type"]) == ["ach", "trade", "trade"]
    assert events[events["type"] == "ach"]["amount"].sum() == 500


@step
def refusals_are_told() -> None:
    refused(lambda: lumi.orders.order("AAPL", "buy", 1, "market", duration="gtc"), "MarketOrderIsGtc")
    refused(lambda: lumi.orders.cancel(1), f"401 - Unauthorized Account: {ACCOUNT}")
    refused(lambda: lumi.orders.order("NOTHING", "buy", 1, "market"), "400")


# -- the stream --------------------------------------------------------------------------------------------------------------------------------------


@step
async def the_market_stream_tells() -> None:
    connect = uvatradier.stream.websockets.connect

    def plain(ssl: bool, **more: Any) -> Any:  # the SDK asks for TLS whatever the address says
        assert ssl
        return connect(**more)

    uvatradier.stream.websockets.connect = plain
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        reader = asyncio.create_task(uva(uvatradier.Stream).ws_market_connect(["AAPL"], ["quote", "trade"], True, True, True))
        try:
            async with asyncio.timeout(WAIT_S):
                while '"type":"quote"' not in told.getvalue() or '"type":"trade"' not in told.getvalue():
                    assert not reader.done(), told.getvalue()
                    await asyncio.sleep(0.1)
        finally:
            reader.cancel()


@step
def a_wrong_token_is_told() -> None:
    refused(lambda: Tradier(ACCOUNT, "nobody").orders.cancel(1), "Invalid Access Token")
    assert uva(uvatradier.EquityOrder, "nobody").order("AAPL", "buy", 1, "market")["fault"]["faultstring"] == "Invalid Access Token"


async def main() -> None:
    for name, act in STEPS:
        try:
            done = act()
            if done is not None:
                await done
        except Exception as error:  # noqa: BLE001  a judge tells of everything
            print(json.dumps({"step": name, "ok": False, "error": f"{error!r} {traceback.format_exc()[-900:]}"}), flush=True)
        else:
            print(json.dumps({"step": name, "ok": True}), flush=True)


asyncio.run(main())
