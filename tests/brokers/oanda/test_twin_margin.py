"""What OANDA does with an account of its own accord, and what it allows some accounts alone: margin calls and closeouts, turns, guaranteed stops."""

from decimal import Decimal

import pytest

from tests.brokers.oanda.twin_client import SECOND, Client

D = Decimal
MINUTE = 60 * SECOND


def spent(client: Client, share: str) -> None:
    """Take money out until the margin is so much of what is left."""
    account = client.get("/summary")["account"]
    left = D(account["marginUsed"]) / D(share)
    client.twin.transfer((left - D(account["NAV"])).quantize(D("0.01")))


def test_a_margin_call_begins_and_ends_with_the_margins_share() -> None:
    client = Client()
    client.order("100000")
    spent(client, "1.2")
    client.wait(MINUTE)
    account = client.get("/summary")["account"]

    assert account["marginCallEnterTime"]
    assert D(account["marginCallPercent"]) >= 1 > D(account["marginCloseoutPercent"])
    assert len(client.get("/openTrades")["trades"]) == 1  # a call closes nothing
    client.twin.transfer(D(10_000))
    client.wait(MINUTE)
    assert "marginCallEnterTime" not in client.get("/summary")["account"]
    kinds = [entry["type"] for entry in client.get("/transactions/sinceid", id=4)["transactions"]]
    assert kinds == ["TRANSFER_FUNDS", "MARGIN_CALL_ENTER", "TRANSFER_FUNDS", "MARGIN_CALL_EXIT"]


def test_what_is_worth_half_of_its_margin_is_closed_out_with_its_exits() -> None:
    client = Client()
    stop = client.order("100000", stopLossOnFill={"price": client.near(0.9)})["lastTransactionID"]
    client.order("-20000", instrument="USD_JPY")
    spent(client, "2.1")
    last = client.get("/summary")["lastTransactionID"]
    client.wait(MINUTE)
    new = client.get("/transactions/sinceid", id=last)["transactions"]

    assert [entry["type"] for entry in new if entry["type"].startswith("MARGIN")] == ["MARGIN_CALL_ENTER"]
    created = [entry for entry in new if entry["type"] == "MARKET_ORDER"]
    assert {entry["instrument"]: entry["units"] for entry in created} == {"EUR_USD": "-100000", "USD_JPY": "20000"}
    assert all(entry["reason"] == "MARGIN_CLOSEOUT" and entry["marginCloseout"]["reason"] == "MARGIN_CHECK_VIOLATION" for entry in created)
    assert {entry["reason"] for entry in new if entry["type"] == "ORDER_FILL"} == {"MARKET_ORDER_MARGIN_CLOSEOUT"}
    assert client.get(f"/orders/{stop}")["order"]["state"] == "CANCELLED"
    client.wait(MINUTE)
    assert client.get("/openTrades")["trades"] == []
    assert client.get("/transactions/sinceid", id=last)["transactions"][-1]["type"] == "MARGIN_CALL_EXIT"


def test_nothing_is_closed_out_while_its_market_is_closed() -> None:
    client = Client(hours="forex")
    client.order("100000")
    client.wait(3 * 24 * 3600 * SECOND + 6 * 3600 * SECOND)  # Friday evening
    spent(client, "2.1")
    client.wait(MINUTE)

    assert len(client.get("/openTrades")["trades"]) == 1
    client.wait(2 * 24 * 3600 * SECOND)
    assert client.get("/openTrades")["trades"] == []


def test_a_us_account_closes_its_oldest_trade_first() -> None:
    client = Client(fifo=True)
    older, newer = (client.order(size)["orderFillTransaction"]["id"] for size in ("1000", "2000"))
    told = client.send("PUT", f"/trades/{newer}/close")

    assert b'"FIFO_VIOLATION"' in told.body
    assert client.send("PUT", f"/trades/{older}/close").body.count(b"ORDER_FILL") == 1
    assert client.send("PUT", f"/trades/{newer}/close").body.count(b"ORDER_FILL") == 1


def test_a_us_account_has_the_same_exits_on_trades_of_one_size() -> None:
    client = Client(fifo=True)
    stop, other = {"price": client.near(0.95)}, {"price": client.near(0.96)}
    client.order("1000", stopLossOnFill=stop)

    assert client.order("1000")["orderCancelTransaction"]["reason"] == "FIFO_VIOLATION"
    assert client.order("1000", stopLossOnFill=other)["orderCancelTransaction"]["reason"] == "FIFO_VIOLATION"
    assert "orderFillTransaction" in client.order("1000", stopLossOnFill=stop)
    trade = client.order("3000", stopLossOnFill=other)["orderFillTransaction"]["id"]
    assert "orderCancelTransaction" not in client.order("", "TAKE_PROFIT", instrument="", tradeID=trade, price=client.near(1.05))


def test_a_guaranteed_stop_is_met_at_its_price_for_a_premium() -> None:
    client = Client(guaranteed_stops=True)
    price = client.near(0.9995)
    trade = client.order("10000", stopLossOnFill={"price": price, "guaranteed": True})["orderFillTransaction"]["id"]
    stop = client.get(f"/trades/{trade}")["trade"]["stopLossOrder"]
    assert (stop["guaranteed"], stop["guaranteedExecutionPremium"]) == (True, "0.0002")
    assert client.get("/summary")["account"]["guaranteedStopLossOrderMode"] == "ALLOWED"
    while client.get("/openTrades")["trades"]:
        client.wait(10 * MINUTE)
    (fill,) = client.get("/transactions/sinceid", id=stop["id"], type="ORDER_FILL")["transactions"]
    account = client.get("/summary")["account"]

    assert (fill["price"], fill["guaranteedExecutionFee"], fill["reason"]) == (price, "2.0000", "STOP_LOSS_ORDER")
    assert account["guaranteedExecutionFees"] == "2.0000"
    assert D(account["balance"]) == 100_000 + D(fill["pl"]) - 2
    assert client.twin.exchange.cash == D(account["balance"])


@pytest.mark.parametrize(
    ("options", "reason"), [({}, "GUARANTEED_NOT_ALLOWED"), ({"guaranteed_stops": True, "hedging": True}, "GUARANTEED_HEDGING_NOT_ALLOWED")]
)
def test_not_every_account_may_have_guaranteed_stops(options: dict[str, bool], reason: str) -> None:
    client = Client(**options)
    trade = client.order("1000")["orderFillTransaction"]["id"]
    stop = {"type": "STOP_LOSS", "tradeID": trade, "price": client.near(0.95), "guaranteed": True}

    assert client.bad_order(stopLossOnFill={"price": "0.9", "guaranteed": True}) == f"STOP_LOSS_ON_FILL_{reason}"
    assert client.refused("POST", "/orders", {"order": stop})[1] == f"STOP_LOSS_ORDER_{reason}"
