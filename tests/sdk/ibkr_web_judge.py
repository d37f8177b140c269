"""ibind against a served twin of the Web API, one JSON line a step. Runs in .venv-judges: ibkr_web_judge.py URL WS_URL ACCOUNT [FILE].

FILE holds the consumer of OAuth 1.0a; without it the twin is a gateway."""

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"IBIND_LOG_TO_FILE": "false", "IBIND_LOG_TO_CONSOLE": "false"}
from ibind import IbkrClient, IbkrWsClient, OrderRequest, QuestionType, QueueSink, events, subscriptions
from ibind.oauth.oauth1a import OAuth1aConfig
from ibind.support.errors import ExternalBrokerError

URL, WS_URL, ACCOUNT = sys.argv[1:4]
WAIT_S = 15
AAPL = 265598
STEPS: list[tuple[str, Callable[[], None]]] = []
SEEN: dict[str, Any] = {}


def login() -> dict[str, Any]:
    if len(sys.argv) < 5:
        return {"url": URL}
    given = json.loads(Path(sys.argv[4]).read_text())
    paths = {}
    for name in ("signature_key", "encryption_key"):
        with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
            file.write(given[name])
        paths[f"{name}_fp"] = file.name
    config = OAuth1aConfig(
        oauth_rest_url=URL,
        access_token=given["access_token"],
        access_token_secret=given["web_secret"],
        consumer_key=given["web_id"],
        dh_prime=given["dh_prime"],
        dh_generator="2",
        init_oauth=True,
        init_brokerage_session=False,
        maintain_oauth=False,
        shutdown_oauth=False,
        **paths,
    )
    return {"use_oauth": True, "oauth_config": config}


client = IbkrClient(account_id=ACCOUNT, cacert=False, timeout=10, max_retries=1, **login())


def step(act: Callable[[], None]) -> None:
    STEPS.append((act.__name__, act))


def refused(act: Callable[[], object]) -> None:
    try:
        act()
    except ExternalBrokerError:
        return
    raise AssertionError("not refused")


def order(**changes: Any) -> OrderRequest:
    fields = {"conid": AAPL, "side": "BUY", "quantity": 1, "order_type": "LMT", "acct_id": ACCOUNT, "price": SEEN["far"], "tif": "GTC"}
    return OrderRequest(**(fields | changes))


COINS = {QuestionType.CASH_QUANTITY: True, "Question o10288": True}
YES = {QuestionType.PRICE_PERCENTAGE_CONSTRAINT: True, QuestionType.STOP_ORDER_RISKS: True}


@step
def no_bridge_before_init() -> None:
    refused(lambda: client.receive_brokerage_accounts())


@step
def session() -> None:
    assert client.initialize_brokerage_session().data["authenticated"] is True
    assert client.check_auth_status()
    assert len(client.tickle().data["session"]) == 32
    assert client.validate().data["RESULT"] is True


@step
def accounts() -> None:
    assert client.receive_brokerage_accounts().data["selectedAccount"] == ACCOUNT
    assert client.portfolio_accounts().data[0]["accountId"] == ACCOUNT


@step
def portfolio() -> None:
    assert client.portfolio_summary().data["netliquidation"]["amount"] > 0
    assert client.get_ledger().data["USD"]["cashbalance"] > 0
    assert client.positions().data == []


@step
def contracts() -> None:
    assert client.stock_conid_by_symbol("AAPL").data == {"AAPL": AAPL}
    assert client.search_contract_by_symbol("AAPL").data[0]["conid"] == str(AAPL)
    assert client.contract_information_by_conid(str(AAPL)).data["symbol"] == "AAPL"
    assert client.search_contract_rules(str(AAPL)).data["increment"] == 0.01


@step
def options() -> None:
    found = client.search_contract_by_symbol("AAPL").data[0]
    month = next(section["months"] for section in found["sections"] if section["secType"] == "OPT").split(";")[-1]
    strikes = client.search_strikes_by_conid(str(AAPL), "OPT", month).data["call"]
    rows = client.search_secdef_info_by_conid(str(AAPL), "OPT", month, strike=str(strikes[len(strikes) // 2]), right="C").data
    assert {row["right"] for row in rows} == {"C"}
    above = client.search_secdef_info_by_conid(str(AAPL), "OPT", month, strike=str(strikes[len(strikes) // 2 + 1]), right="C").data
    SEEN["legs"] = next((row["conid"], other["conid"]) for row in rows for other in above if row["maturityDate"] == other["maturityDate"])


@step
def snapshot_is_asked_twice() -> None:
    first = client.live_marketdata_snapshot(str(AAPL), ["31", "84", "86"]).data[0]
    assert "84" not in first
    row = client.live_marketdata_snapshot(str(AAPL), ["31", "84", "86"]).data[0]
    assert float(row["84"]) < float(row["86"])
    SEEN["far"] = round(float(row["84"]) * 0.5, 2)


@step
def history() -> None:
    rows = client.marketdata_history_by_conid(str(AAPL), bar="5min", period="2h").data["data"]
    assert len(rows) > 10
    assert all(row["l"] <= row["o"] <= row["h"] for row in rows)


@step
def a_trial_places_nothing() -> None:
    told = client.whatif_order(order(coid="judge-0"), ACCOUNT).data
    assert float(told["initial"]["change"].replace(",", "")) > 0


@step
def an_order_after_its_question() -> None:
    answer = client.place_order(order(coid="judge-1"), YES).data
    SEEN["id"] = answer["order_id"]
    assert answer["order_status"] in ("PreSubmitted", "Submitted")


@step
def the_same_name_twice_is_refused() -> None:
    refused(lambda: client.place_order(order(coid="judge-1"), YES))


@step
def a_question_that_is_not_answered_places_nothing() -> None:
    try:
        client.place_order(order(coid="judge-2"), {QuestionType.PRICE_PERCENTAGE_CONSTRAINT: False})
    except RuntimeError:
        return
    raise AssertionError("placed")


@step
def listing_after_its_first_look() -> None:
    client.live_orders()
    rows = client.live_orders().data["orders"]
    assert [(str(row["orderId"]), row["order_ref"]) for row in rows] == [(SEEN["id"], "judge-1")]


@step
def status_and_change() -> None:
    end = time.monotonic() + WAIT_S
    while client.order_status(SEEN["id"]).data["order_status"] != "Submitted":
        assert time.monotonic() < end
        time.sleep(0.1)
    client.modify_order(SEEN["id"], order(price=SEEN["far"] - 1), YES)
    end = time.monotonic() + WAIT_S
    while float(client.order_status(SEEN["id"]).data["limit_price"]) != SEEN["far"] - 1:
        assert time.monotonic() < end
        time.sleep(0.1)


@step
def cancel_twice() -> None:
    assert client.cancel_order(SEEN["id"]).data["msg"] == "Request was submitted"
    end = time.monotonic() + WAIT_S
    while client.order_status(SEEN["id"]).data["order_status"] != "Cancelled":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert "doesn't exist" in client.cancel_order(SEEN["id"]).data["error"]


@step
def a_bracket_is_answered_with_every_number_and_goes_with_its_entry() -> None:
    profit, stop = order(coid="b.target", parent_id="b", side="SELL", price=SEEN["far"] + 5), order(coid="b.stop", parent_id="b", side="SELL")
    stop.order_type, stop.price = "STP", SEEN["far"] - 5
    rows = client.place_order([order(coid="b"), profit, stop], YES).data
    assert [row["local_order_id"] for row in rows] == ["b", "b.target", "b.stop"]
    client.cancel_order(rows[0]["order_id"])
    end = time.monotonic() + WAIT_S
    while {client.order_status(row["order_id"]).data["order_status"] for row in rows} != {"Cancelled"}:
        assert time.monotonic() < end
        time.sleep(0.1)


@step
def a_market_order_fills() -> None:
    client.suppress_messages(["o163", "o10331"])
    client.place_order(order(order_type="MKT", price=None, tif="DAY", coid="judge-3"), {})
    end = time.monotonic() + WAIT_S
    while not (rows := client.trades("1").data):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert rows[0]["order_ref"] == "judge-3"
    assert float(rows[0]["commission"]) > 0
    assert client.positions().data[0]["position"] == 1


@step
def a_future_wants_to_know_who_orders() -> None:
    rows = client.security_future_by_symbol("MES").data["MES"]
    con_id = min(rows, key=lambda row: row["expirationDate"])["conid"]
    known = client.contract_information_by_conid(str(con_id)).data
    assert (known["instrument_type"], known["multiplier"]) == ("FUT", "5")
    fields = {"conid": con_id, "order_type": "MKT", "price": None, "tif": "DAY"}
    refused(lambda: client.place_order(order(**fields, coid="judge-f0"), {}))
    client.place_order(order(**fields, coid="judge-f1", manual_indicator=False, ext_operator=ACCOUNT), {})
    end = time.monotonic() + WAIT_S
    while not [row for row in client.trades("1").data if row["order_ref"] == "judge-f1"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    (held,) = [row for row in client.positions().data if row["assetClass"] == "FUT"]
    assert abs(held["mktValue"] - 5 * held["mktPrice"]) < 0.01
    ledger = client.get_ledger().data["USD"]
    stocks = sum(row["mktValue"] for row in client.positions().data if row["assetClass"] == "STK")
    assert abs(ledger["cashbalance"] + stocks - client.portfolio_summary().data["netliquidation"]["amount"]) < 5

    far = order(**fields | {"order_type": "LMT", "price": 30.0}, coid="judge-f2", manual_indicator=False, ext_operator=ACCOUNT)
    resting = client.place_order(far, YES).data["order_id"]
    refused(lambda: client.cancel_order(resting))
    client.delete(f"iserver/account/{ACCOUNT}/order/{resting}", params={"manualIndicator": "false", "extOperator": ACCOUNT})
    end = time.monotonic() + WAIT_S
    while client.order_status(resting).data["order_status"] != "Cancelled":
        assert time.monotonic() < end
        time.sleep(0.1)


@step
def a_spread_fills_leg_by_leg() -> None:
    near, far = SEEN["legs"]
    legs = {"conid": None, "conidex": f"28812380;;;{near}/1,{far}/-1", "price": 20.0, "tif": "DAY"}
    told = client.whatif_order(order(**legs), ACCOUNT).data
    assert float(told["initial"]["change"].replace(",", "")) > 0
    placed = client.place_order(order(**legs, coid="judge-6"), {}).data
    end = time.monotonic() + WAIT_S
    while len(rows := [row for row in client.trades("1").data if row["order_ref"] == "judge-6"]) < 3:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert {row["sec_type"]: row.get("commission") is not None for row in rows} == {"BAG": False, "OPT": True}
    row = next(row for row in client.live_orders().data["orders"] if str(row["orderId"]) == placed["order_id"])
    assert (row["secType"], row["conidex"], row["status"]) == ("BAG", legs["conidex"], "Filled")


@step
def a_coin_is_bought_for_an_amount_of_money() -> None:
    found = client.search_contract_by_symbol("BTC", sec_type="CRYPTO").data[0]
    wish = {"conid": int(found["conid"]), "order_type": "MKT", "price": None, "tif": "IOC", "quantity": None}
    refused(lambda: client.place_order(order(**wish | {"quantity": 0.01}, coid="judge-7"), COINS))
    client.place_order(order(**wish, cash_qty=500, coid="judge-8"), COINS)
    end = time.monotonic() + WAIT_S
    while not (rows := [row for row in client.trades("1").data if row["order_ref"] == "judge-8"]):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert 450 < sum(float(row["price"]) * row["size"] for row in rows) <= 500


@step
def the_socket() -> None:
    kinds = (events.Orders, events.Trades, events.MarketData)
    sink = QueueSink()
    socket = IbkrWsClient(account_id=ACCOUNT, url=WS_URL, ibkr_client=client, cacert=False, sink=sink, **oauth_of())
    try:
        assert socket.start()
        for wanted in (
            subscriptions.OrdersSubscription(),
            subscriptions.TradesSubscription(days=1),
            subscriptions.MarketDataSubscription(conid=str(AAPL), fields=["31", "84", "86"]),
        ):
            socket.subscribe(wanted)
        for kind in kinds:
            end = time.monotonic() + WAIT_S
            while sink.empty(kind):
                assert time.monotonic() < end, kind
                time.sleep(0.05)
    finally:
        socket.shutdown()


def oauth_of() -> dict[str, Any]:
    if len(sys.argv) < 5:
        return {}
    return {"use_oauth": True, "access_token": json.loads(Path(sys.argv[4]).read_text())["access_token"]}


@step
def goodbye() -> None:
    assert client.logout().data["status"] is True
    refused(lambda: client.receive_brokerage_accounts())


def main() -> int:
    failed = 0
    for name, act in STEPS:
        try:
            act()
            print(json.dumps({"step": name, "ok": True}), flush=True)
        except Exception as error:  # noqa: BLE001 every step is tried
            failed += 1
            print(json.dumps({"step": name, "ok": False, "error": f"{type(error).__name__}: {error}"}), flush=True)
            traceback.print_exc()
    return 1 if failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # ibind's threads do not end by themselves
