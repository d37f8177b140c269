"""OANDA's own v20 package against a served twin, one JSON line a step. Runs in .venv-judges: oanda_judge.py URL TOKEN ACCOUNT."""

import json
import sys
import traceback
from collections.abc import Callable
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import v20

URL, TOKEN, ACCOUNT = sys.argv[1:4]
PAIR, YEN = "EUR_USD", "USD_JPY"
WAIT_S = 15
STEPS: list[tuple[str, Callable[[], None]]] = []


def step(act: Callable[[], None]) -> Callable[[], None]:
    STEPS.append((act.__name__, act))
    return act


def context(token: str = TOKEN, **more: Any) -> v20.Context:
    url = urlsplit(URL)
    return v20.Context(url.hostname, port=url.port, ssl=False, token=token, **more)


own = context(poll_timeout=WAIT_S)


def mid(pair: str = PAIR) -> float:
    (price,) = own.pricing.get(ACCOUNT, instruments=pair).get("prices", 200)
    return float(price.bids[0].price + price.asks[0].price) / 2


def near(fraction: float) -> str:
    """A price so far from the middle."""
    return f"{mid() * fraction:.5f}"


def bought(units: int = 1000, **more: Any) -> Any:
    return own.order.market(ACCOUNT, instrument=PAIR, units=units, **more).get("orderFillTransaction", 201)


def flat() -> None:
    for position in own.position.list_open(ACCOUNT).get("positions", 200):
        sides = {"longUnits": "ALL" if position.long.units else "NONE", "shortUnits": "ALL" if position.short.units else "NONE"}
        assert own.position.close(ACCOUNT, position.instrument, **sides).status == 200


@step
def account_list_and_details() -> None:
    (named,) = own.account.list().get("accounts", 200)
    assert named.id == ACCOUNT
    account = own.account.get(ACCOUNT).get("account", 200)
    assert (account.currency, account.trades, account.orders, account.positions) == ("USD", [], [], [])


@step
def summary() -> None:
    answer = own.account.summary(ACCOUNT)
    account = answer.get("account", 200)
    assert account.balance == account.NAV == account.marginAvailable > 1000
    assert account.lastTransactionID == answer.get("lastTransactionID", 200)


@step
def instruments_with_their_grids() -> None:
    (found,) = own.account.instruments(ACCOUNT, instruments=PAIR).get("instruments", 200)
    assert (found.name, found.type, found.pipLocation, found.displayPrecision) == (PAIR, "CURRENCY", -4, 5)
    assert len(own.account.instruments(ACCOUNT).get("instruments", 200)) >= 7


@step
def configure() -> None:
    assert own.account.configure(ACCOUNT, alias="Judge").get("clientConfigureTransaction", 200).alias == "Judge"
    assert own.account.configure(ACCOUNT, marginRate="7").get("clientConfigureRejectTransaction", 400).rejectReason == "MARGIN_RATE_INVALID"


@step
def changes_since() -> None:
    last = own.account.summary(ACCOUNT).get("lastTransactionID", 200)
    filled = bought()
    answer = own.account.changes(ACCOUNT, sinceTransactionID=last)
    changes = answer.get("changes", 200)
    assert [order.id for order in changes.ordersFilled] == [filled.orderID]
    assert [trade.id for trade in changes.tradesOpened] == [filled.id]
    assert answer.get("state", 200).marginUsed > 0
    assert own.account.changes(ACCOUNT, sinceTransactionID="999999").status == 416
    flat()


@step
def candles_of_three_prices() -> None:
    found = own.instrument.candles(PAIR, granularity="M5", count=20, price="MBA").get("candles", 200)
    assert len(found) == 20
    assert all(candle.bid.c < candle.mid.c < candle.ask.c for candle in found)
    assert own.instrument.candles(PAIR, granularity="M5", count=9000).status == 400


@step
def prices_with_conversions() -> None:
    answer = own.pricing.get(ACCOUNT, instruments=f"{PAIR},{YEN}", includeHomeConversions=True)
    eur, yen = answer.get("prices", 200)
    assert [eur.tradeable, yen.tradeable] == [True, True]
    assert eur.bids[0].price < eur.asks[0].price
    assert {one.currency for one in answer.get("homeConversions", 200)} == {"EUR", "USD", "JPY"}


@step
def a_market_order_fills_and_its_trade_closes() -> None:
    filled = bought(1000, clientExtensions=v20.transaction.ClientExtensions(id="judge-1"))
    trade = own.trade.get(ACCOUNT, filled.tradeOpened.tradeID).get("trade", 200)
    assert (trade.state, trade.currentUnits, trade.instrument) == ("OPEN", 1000, PAIR)
    assert own.order.get(ACCOUNT, "@judge-1").get("order", 200).state == "FILLED"
    half = own.trade.close(ACCOUNT, trade.id, units="400")
    assert half.get("orderCreateTransaction", 200).tradeClose.tradeID == trade.id
    assert half.get("orderFillTransaction", 200).tradeReduced.tradeID == trade.id
    assert own.trade.close(ACCOUNT, trade.id, units="ALL").get("orderFillTransaction", 200).reason == "MARKET_ORDER_TRADE_CLOSE"
    (closed,) = own.trade.list(ACCOUNT, state="CLOSED", count=1).get("trades", 200)
    assert closed.id == trade.id
    assert own.trade.close(ACCOUNT, trade.id).status == 404


@step
def orders_wait_are_listed_replaced_and_cancelled() -> None:
    made = own.order.limit(ACCOUNT, instrument=PAIR, units=100, price=near(0.9), clientExtensions=v20.transaction.ClientExtensions(id="judge-2"))
    old = made.get("orderCreateTransaction", 201).id
    assert [order.id for order in own.order.list_pending(ACCOUNT).get("orders", 200)] == [old]
    answer = own.order.limit_replace(ACCOUNT, old, instrument=PAIR, units=200, price=near(0.91))
    new = answer.get("orderCreateTransaction", 201)
    assert (new.replacesOrderID, answer.get("orderCancelTransaction", 201).replacedByOrderID) == (old, new.id)
    assert own.order.cancel(ACCOUNT, new.id).get("orderCancelTransaction", 200).reason == "CLIENT_REQUEST"
    assert own.order.cancel(ACCOUNT, new.id).get("orderCancelRejectTransaction", 404).rejectReason == "ORDER_DOESNT_EXIST"
    assert own.order.list(ACCOUNT, state="CANCELLED", count=2).get("orders", 200)[0].id == new.id
    assert own.order.get(ACCOUNT, "999999").status == 404


@step
def stop_and_market_if_touched() -> None:
    made = [
        own.order.stop(ACCOUNT, instrument=PAIR, units=100, price=near(1.05)),
        own.order.stop(ACCOUNT, instrument=PAIR, units=-100, price=near(0.95), priceBound=near(0.94)),
        own.order.market_if_touched(ACCOUNT, instrument=PAIR, units=100, price=near(0.95)),
    ]
    ids = [answer.get("orderCreateTransaction", 201).id for answer in made]
    assert {order.id for order in own.order.list(ACCOUNT, instrument=PAIR).get("orders", 200)} == set(ids)
    assert all(own.order.cancel(ACCOUNT, order_id).status == 200 for order_id in ids)


@step
def exits_come_with_the_fill_and_end_with_the_trade() -> None:
    filled = bought(
        1000,
        takeProfitOnFill=v20.transaction.TakeProfitDetails(price=near(1.05)),
        stopLossOnFill=v20.transaction.StopLossDetails(price=near(0.95)),
        trailingStopLossOnFill=v20.transaction.TrailingStopLossDetails(distance="0.05000"),
    )
    trade = own.trade.get(ACCOUNT, filled.id).get("trade", 200)
    exits = [trade.takeProfitOrder, trade.stopLossOrder, trade.trailingStopLossOrder]
    assert [order.state for order in exits] == ["PENDING"] * 3
    flat()
    ends = [own.order.get(ACCOUNT, order.id).get("order", 200) for order in exits]
    assert [order.state for order in ends] == ["CANCELLED"] * 3


@step
def a_trade_is_given_exits_and_they_are_moved() -> None:
    trade = bought(1000).id
    limit = own.order.take_profit(ACCOUNT, tradeID=trade, price=near(1.05)).get("orderCreateTransaction", 201)
    own.order.stop_loss(ACCOUNT, tradeID=trade, price=near(0.95)).get("orderCreateTransaction", 201)
    trailing = own.order.trailing_stop_loss(ACCOUNT, tradeID=trade, distance="0.02000").get("orderCreateTransaction", 201)
    moved = own.order.take_profit_replace(ACCOUNT, limit.id, tradeID=trade, price=near(1.06)).get("orderCreateTransaction", 201)
    assert moved.replacesOrderID == limit.id
    moved = own.order.trailing_stop_loss_replace(ACCOUNT, trailing.id, tradeID=trade, distance="0.03000").get("orderCreateTransaction", 201)
    assert own.order.get(ACCOUNT, moved.id).get("order", 200).trailingStopValue > 0
    answer = own.trade.set_dependent_orders(ACCOUNT, trade, stopLoss=v20.transaction.StopLossDetails(price=near(0.96)))
    assert answer.get("stopLossOrderTransaction", 200).tradeID == trade
    assert own.trade.set_client_extensions(ACCOUNT, trade, clientExtensions=v20.transaction.ClientExtensions(id="held")).status == 200
    assert own.trade.get(ACCOUNT, "@held").get("trade", 200).id == trade
    flat()


@step
def refusals_are_transactions() -> None:
    answer = own.order.market(ACCOUNT, instrument=PAIR, units="0.5")
    assert answer.get("orderRejectTransaction", 400).rejectReason == "UNITS_PRECISION_EXCEEDED"
    assert answer.get("errorCode", 400) == "UNITS_PRECISION_EXCEEDED"
    answer = own.order.market(ACCOUNT, instrument=PAIR, units=90_000_000)
    assert answer.get("orderCancelTransaction", 201).reason == "INSUFFICIENT_MARGIN"
    answer = bought_with_a_wrong_stop()
    assert answer.get("orderCancelTransaction", 201).reason == "STOP_LOSS_ON_FILL_LOSS"
    assert own.order.market(ACCOUNT, instrument="EUR_XXX", units=1).status == 400


def bought_with_a_wrong_stop() -> Any:
    return own.order.market(ACCOUNT, instrument=PAIR, units=100, stopLossOnFill=v20.transaction.StopLossDetails(price=near(1.05)))


@step
def positions_close_by_side() -> None:
    bought(1000)
    assert own.position.get(ACCOUNT, PAIR).get("position", 200).long.units == 1000
    answer = own.position.close(ACCOUNT, PAIR, longUnits="400", shortUnits="NONE")
    assert answer.get("longOrderFillTransaction", 200).units == -400
    assert own.position.close(ACCOUNT, PAIR, longUnits="NONE", shortUnits="ALL").status == 404
    flat()
    assert own.position.list_open(ACCOUNT).get("positions", 200) == []
    own.order.market(ACCOUNT, instrument=PAIR, units=-500)
    answer = own.position.close(ACCOUNT, PAIR, longUnits="NONE", shortUnits="ALL")
    assert answer.get("shortOrderFillTransaction", 200).units == 500


@step
def transactions_by_every_way() -> None:
    last = own.account.summary(ACCOUNT).get("lastTransactionID", 200)
    filled = bought()
    assert own.transaction.get(ACCOUNT, filled.id).get("transaction", 200).type == "ORDER_FILL"
    since = own.transaction.since(ACCOUNT, id=last).get("transactions", 200)
    assert [int(one.id) for one in since] == [int(last) + 1, int(last) + 2]
    ranged = own.transaction.range(ACCOUNT, fromID=1, toID=3).get("transactions", 200)
    assert [one.id for one in ranged] == ["1", "2", "3"]
    pages = own.transaction.list(ACCOUNT, pageSize=10, type="ORDER_FILL")
    assert len(pages.get("pages", 200)) == -(-pages.get("count", 200) // 10)
    assert own.transaction.since(ACCOUNT, id="999999").status == 416
    flat()


@step
def the_stream_of_transactions() -> None:
    lines = context(stream_timeout=WAIT_S).transaction.stream(ACCOUNT).parts()
    kind, beat = next(lines)
    assert kind == "transaction.TransactionHeartbeat"
    filled = bought()
    told = [message for kind, message in islice(lines, 2) if kind == "transaction.Transaction"]
    assert [message.id for message in told] == [str(int(beat.lastTransactionID) + 1), filled.id]
    flat()


@step
def the_stream_of_prices() -> None:
    lines = context(stream_timeout=WAIT_S).pricing.stream(ACCOUNT, instruments=f"{PAIR},{YEN}", snapshot=True).parts()
    seen = list(islice(lines, 6))
    assert {message.instrument for kind, message in seen if kind == "pricing.ClientPrice"} == {PAIR, YEN}
    assert any(kind == "pricing.PricingHeartbeat" for kind, _ in seen)


@step
def times_since_1970() -> None:
    other = context(datetime_format="UNIX")
    assert float(other.account.get(ACCOUNT).get("account", 200).createdTime) > 1e9


@step
def a_wrong_token_and_another_account_are_told() -> None:
    assert context("nobody").account.list().status == 401
    assert own.account.summary("101-004-1-001").status == 403


for name, act in STEPS:
    try:
        act()
    except Exception as error:  # noqa: BLE001  a judge tells of everything
        print(json.dumps({"step": name, "ok": False, "error": f"{error!r} {traceback.format_exc()[-900:]}"}), flush=True)
    else:
        print(json.dumps({"step": name, "ok": True}), flush=True)
