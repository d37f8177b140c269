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
    month = next(section["months"] for section in found["sections"] if section["secType"] == "OPT").split(";")[0]
    strikes = client.search_strikes_by_conid(str(AAPL), "OPT", month).data["call"]
    rows = client.search_secdef_info_by_conid(str(AAPL), "OPT", month, strike=str(strikes[len(strikes) // 2]), right="C").data
    assert {row["right"] for row in rows} == {"C"}


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
