"""The twin's REST side: keys, nonces, counters, what is refused and in which words, orders and their lives, balances, lists and pages."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.brokers.kraken.twin_client import NOON, SECOND, Client
from trading_system.brokers.kraken.twin import LATENCY, LOCKOUT_AFTER, PERMISSIONS
from trading_system.transport.message import Request

D = Decimal


# -- keys, nonces, permissions ---------------------------------------------------------------------------------------------------------------------


def test_a_twin_is_made_of_its_seed() -> None:
    one, two, other = Client(seed=3), Client(seed=3), Client(seed=4)

    assert one.twin.credentials == two.twin.credentials != other.twin.credentials
    assert one.twin.account_number.startswith("ZZ")
    assert Client(environment="live").twin.account_number.startswith("AA")


def test_a_nonce_only_rises() -> None:
    client = Client()
    client.get("Balance")

    assert client.private("Balance", nonce=1)["error"] == ["EAPI:Invalid nonce"]
    assert client.private("Balance", nonce=1 << 40)["error"] == []
    assert client.private("Balance")["error"] == ["EAPI:Invalid nonce"]  # a finer clock has used the key
    assert client.private("Balance", nonce="x")["error"] == ["EAPI:Invalid nonce"]


def test_wrong_keys_and_signatures_are_refused_and_too_many_lock_out() -> None:
    client = Client()
    secret, body = client.twin.secret, {"error": ["EAPI:Invalid signature"]}
    for _ in range(LOCKOUT_AFTER):
        client.twin.secret = "b3RoZXI="
        signed = client._sign("/0/private/Balance", "9", b"nonce=9")
        client.twin.secret = secret
        assert _sent(client, signed) == body
    assert client.private("Balance")["error"] == ["EGeneral:Temporary lockout"]
    client.wait(901 * SECOND)
    assert client.private("Balance")["error"] == []


def _sent(client: Client, signature: str, key: str | None = None) -> Any:
    headers = {"API-Key": key or client.twin.key, "API-Sign": signature}
    answer = client.twin.handle(Request(method="POST", url="https://host/0/private/Balance", headers=headers, body=b"nonce=9"), client.now_ns)
    return json.loads(answer.body)


def test_an_unknown_key_is_none() -> None:
    client = Client()

    assert _sent(client, client._sign("/0/private/Balance", "9", b"nonce=9"), key="nobody") == {"error": ["EAPI:Invalid key"]}


def test_a_key_does_what_it_may() -> None:
    client = Client(permissions=("query-funds",))

    assert client.get("GetApiKeyInfo")["permissions"] == ["query-funds"]
    assert client.private("Balance")["error"] == []
    assert client.private("OpenOrders")["error"] == ["EGeneral:Permission denied"]
    assert client.refused(price="1") == "EGeneral:Permission denied"
    assert client.private("Withdraw")["error"] == ["EGeneral:Unknown method"]
    assert "withdraw-funds" not in PERMISSIONS


# -- counters ------------------------------------------------------------------------------------------------------------------------------------


def test_calls_fill_a_counter_that_falls_by_itself() -> None:
    client = Client(requests_per_minute=20)
    assert [client.private("Balance")["error"] for _ in range(15)] == [[]] * 15
    assert client.private("Balance")["error"] == ["EAPI:Rate limit exceeded"]
    client.wait(7 * SECOND)  # 16 points less 2.3
    assert client.private("Balance")["error"] == []
    assert client.private("TradesHistory")["error"] == ["EAPI:Rate limit exceeded"]  # it costs two
    assert client.order(price=client.near(0.98))["error"] == []  # orders are counted elsewhere


def test_a_higher_tier_may_do_more() -> None:
    counts = []
    for tier in ("starter", "intermediate", "pro"):
        client = Client(requests_per_minute=20, tier=tier)
        counts.append(sum(client.private("Balance")["error"] == [] for _ in range(30)))

    assert counts == [15, 20, 20]


def test_quick_cancels_are_dear_for_their_pair_alone() -> None:
    client = Client(requests_per_minute=20)
    price = client.near(0.97)
    for _ in range(6):
        txid = client.placed(price=price, volume="0.01")
        client.get("CancelOrder", txid=txid)  # 1 + 8 points
    outcomes = [client.order(price=price, volume="0.01")["error"] for _ in range(7)]

    assert outcomes == [[]] * 6 + [["EOrder:Rate limit exceeded"]]
    assert client.order(pair="SOLUSD", price=client.near(0.97, "SOLUSD"))["error"] == []
    client.wait(10 * SECOND)
    assert client.order(price=price, volume="0.01")["error"] == []


def test_an_old_order_is_cancelled_for_nothing() -> None:
    client = Client(requests_per_minute=20)
    price = client.near(0.9)
    txids = [client.placed(price=price, volume="0.01") for _ in range(50)]
    client.wait(301 * SECOND)
    for txid in txids:
        client.get("CancelOrder", txid=txid)

    assert client.order(price=price, volume="0.01")["error"] == []


def test_so_many_orders_may_be_open_on_a_pair() -> None:
    client = Client()
    for _ in range(60):
        client.placed(price=client.near(0.5), volume="0.01")

    assert client.refused(price=client.near(0.5), volume="0.01") == "EOrder:Orders limit exceeded"


def test_the_public_side_counts_addresses() -> None:
    client = Client(requests_per_minute=20)
    outcomes = [client.public("Time")["error"] for _ in range(12)]

    assert outcomes == [[]] * 10 + [["EGeneral:Too many requests"]] * 2


# -- what is refused -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pair": "NOBODY"}, "EQuery:Unknown asset pair"),
        ({"kind": "whim"}, "EGeneral:Invalid arguments:ordertype"),
        ({"side": "borrow"}, "EGeneral:Invalid arguments:type"),
        ({"volume": "0"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "-1"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "0.123456789"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "0.0005"}, "EOrder:Order minimum not met"),
        ({"price": "100.001"}, "EOrder:Tick size check failed"),
        ({"price": "0"}, "EOrder:Invalid price"),
        ({"price": ""}, "EGeneral:Invalid arguments:price"),
        ({"price": "1", "volume": "0.1"}, "EOrder:Cost minimum not met"),
        ({"volume": "1000"}, "EOrder:Insufficient funds"),
        ({"side": "sell"}, "EOrder:Insufficient funds"),
        ({"timeinforce": "DAY"}, "EGeneral:Invalid arguments:timeinforce"),
        ({"timeinforce": "GTD"}, "EGeneral:Invalid arguments:expiretm"),
        ({"kind": "stop-loss", "timeinforce": "IOC"}, "EGeneral:Invalid arguments:timeinforce"),
        ({"oflags": "fcib,fciq"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "viqc"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "post", "timeinforce": "IOC"}, "EGeneral:Invalid arguments:oflags"),
        ({"leverage": "5:1"}, "EOrder:Insufficient margin"),
        ({"reduce_only": "true"}, "EOrder:Reduce only:No position exists"),
        ({"cl_ord_id": "longer than eighteen"}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": "mine", "userref": "7"}, "EGeneral:Invalid arguments:cl_ord_id and userref exclude each other"),
        ({"kind": "trailing-stop", "price": "-5"}, "EGeneral:Invalid arguments:price"),
        ({"deadline": "2026-11-24T17:01:01.000Z"}, "EGeneral:Invalid arguments:deadline"),
        ({"deadline": "2026-11-24T16:59:59.999Z"}, "EService:Deadline elapsed"),
    ],
)
def test_an_order_that_cannot_be_is_refused_in_krakens_words(changes: dict[str, str], error: str) -> None:
    client = Client()
    price = client.near(0.98)

    assert client.refused(**({"price": price} | changes)) == error
    assert client.get("OpenOrders") == {"open": {}}
    assert client.get("ClosedOrders")["count"] == 0


def test_a_deadline_that_holds_is_no_matter() -> None:
    client = Client()

    assert client.order(price=client.near(0.98), deadline="2026-11-24T17:00:05.000Z")["error"] == []


def test_validate_checks_and_places_nothing() -> None:
    client = Client()
    price = client.near(0.98)
    answer = client.order(price=price, validate="true")

    assert answer["result"] == {"descr": {"order": f"buy 0.10000000 ETHUSD @ limit {price}"}}
    assert client.refused(price=price, volume="1000", validate="true") == "EOrder:Insufficient funds"
    assert client.get("OpenOrders") == {"open": {}}


def test_a_client_id_is_taken_only_while_its_order_is_open() -> None:
    client = Client()
    txid = client.placed(price=client.near(0.98), cl_ord_id="mine")

    assert client.refused(price=client.near(0.98), cl_ord_id="mine") == "EGeneral:Invalid arguments:cl_ord_id"
    client.get("CancelOrder", cl_ord_id="mine")
    again = client.placed(price=client.near(0.98), cl_ord_id="mine")
    assert set(client.get("OpenOrders", cl_ord_id="mine")["open"]) == {again}
    assert set(client.get("ClosedOrders", cl_ord_id="mine")["closed"]) == {txid}


@pytest.mark.parametrize(
    ("system", "flags", "error"),
    [
        ("cancel_only", "", "EService:Market in cancel_only mode"),
        ("post_only", "", "EService:Market in post_only mode"),
        ("post_only", "post", None),
        ("maintenance", "", "EService:Unavailable"),
    ],
)
def test_modes_refuse_what_they_say(system: str, flags: str, error: str | None) -> None:
    client = Client()
    resting, price = client.placed(price=client.near(0.97)), client.near(0.98)
    client.twin.trading.system = system

    assert client.ask("SystemStatus")["status"] == system
    assert client.order(price=price, oflags=flags)["error"] == ([] if error is None else [error])
    assert client.get("CancelOrder", txid=resting) == {"count": 1}


# -- lives of orders -----------------------------------------------------------------------------------------------------------------------------


def test_a_market_order_fills_and_pays_its_fee_in_money() -> None:
    client = Client()
    txid = client.placed("market", cl_ord_id="mine")
    row = client.row(txid, trades="true")
    fills = client.get("TradesHistory")["trades"]
    cost, fee = D(row["cost"]), D(row["fee"])

    assert (row["status"], row["vol_exec"], row["cl_ord_id"], row["descr"]["pair"]) == ("closed", "0.10000000", "mine", "ETHUSD")
    assert set(row["trades"]) == set(fills)
    assert sum(D(fill["cost"]) for fill in fills.values()) == cost
    assert fee == sum(D(fill["fee"]) for fill in fills.values()) == cost * D("0.0040")
    assert D(client.get("Balance")["ZUSD"]) == pytest.approx(D(100_000) - cost - fee, abs=D("0.0001"))
    assert D(client.get("Balance")["XETH"]) == D("0.1")


@pytest.mark.parametrize(("flags", "asset"), [("", "USD"), ("fciq", "USD"), ("fcib", "ETH")])
def test_the_fee_is_taken_where_the_order_says(flags: str, asset: str) -> None:
    client = Client()
    txid = client.placed("market", oflags=flags)
    (fee_asset,) = {done.fee_asset for done in client.twin.exchange.executions.values()}

    assert (fee_asset, client.row(txid)["oflags"]) == (asset, flags or "fciq")
    assert D(client.get("Balance")["XETH"]) == D("0.1") * (1 if asset == "USD" else D("0.996"))


def test_a_buy_for_an_amount_of_money_is_told_in_money() -> None:
    client = Client()
    txid = client.placed("market", volume="500", oflags="viqc")
    row = client.row(txid)

    assert (row["status"], row["vol"]) == ("closed", "500.00000000")
    assert D("499") < D(row["vol_exec"]) <= D(500)
    assert D("0.1") < D(client.get("Balance")["XETH"]) < D(1)


def test_a_limit_order_rests_holds_money_and_goes_in_the_answer() -> None:
    client = Client()
    price = client.near(0.98)
    txid = client.placed(price=price)
    held = D(client.get("BalanceEx")["ZUSD"]["hold_trade"])

    assert client.row(txid)["status"] == "open"
    assert held == pytest.approx(D(price) * D("0.1") * D("1.004"), abs=D("0.0001"))
    assert client.get("CancelOrder", txid=txid) == {"count": 1}
    assert (client.row(txid)["status"], client.row(txid)["reason"]) == ("canceled", "User requested")
    assert client.private("CancelOrder", {"txid": txid})["error"] == ["EOrder:Unknown order"]
    assert D(client.get("BalanceEx")["ZUSD"]["hold_trade"]) == 0


def test_an_ioc_order_takes_what_is_there_and_a_fok_order_all_or_nothing() -> None:
    client = Client(cash=D(10_000_000))
    price = f"{client.touch()[1]:.2f}"
    some, nothing = client.placed(price=price, volume="100", timeinforce="IOC"), client.placed(price=price, volume="100", timeinforce="FOK")

    assert (client.row(some)["status"], client.row(nothing)["status"]) == ("canceled", "canceled")
    assert 0 < D(client.row(some)["vol_exec"]) < 100
    assert D(client.row(nothing)["vol_exec"]) == 0


def test_a_post_only_order_does_not_take() -> None:
    client = Client()

    assert client.refused(price=client.near(1.01), oflags="post") == "EOrder:Post only order"
    assert client.order(price=client.near(0.99), oflags="post")["error"] == []


def test_an_order_does_not_trade_with_ones_own() -> None:
    client = Client(latency=LATENCY)
    client.placed("market", volume="1")
    client.wait(SECOND)
    bid, ask = client.touch()
    resting = client.placed(side="sell", price=f"{(bid + ask) / 2:.2f}", volume="1")
    client.wait(SECOND // 10)
    meets = client.placed(price=f"{ask:.2f}", volume="0.1")

    assert client.row(resting)["status"] == "open"
    assert (client.row(meets)["status"], client.row(meets)["reason"]) == ("canceled", "Self trade prevention")


def test_an_order_with_an_end_expires() -> None:
    client = Client()
    txid = client.placed(price=client.near(0.9), timeinforce="GTD", expiretm="+30")
    assert client.row(txid)["expiretm"] == NOON // SECOND + 30
    client.wait(30 * SECOND)

    assert client.row(txid)["status"] == "expired"


def test_a_stop_waits_for_the_market_and_trails_where_it_shall() -> None:
    client = Client()
    client.placed("market", volume="1")
    stop = client.placed("stop-loss", "sell", "0.5", price=client.near(0.9995))
    trailing = client.placed("trailing-stop", "sell", "0.5", price="+0.1%")
    before = D(client.row(trailing)["stopprice"])
    assert (client.row(stop)["status"], client.row(trailing)["descr"]["price"]) == ("open", "+0.1000%")
    assert before > 0
    client.wait(8 * 3600 * SECOND)

    assert [client.row(txid)["status"] for txid in (stop, trailing)] == ["closed", "closed"]
    assert client.row(stop)["misc"] == "stopped"


def test_an_amend_keeps_the_id_and_counts_what_was_filled() -> None:
    client = Client(cash=D(10_000_000))
    txid = client.placed(price=f"{client.touch()[1]:.2f}", volume="100")
    filled = D(client.row(txid)["vol_exec"])
    assert 0 < filled < 100
    lower = client.near(0.97)
    answer = client.get("AmendOrder", txid=txid, order_qty=str(filled + 1), limit_price=lower)
    row = client.row(txid)

    assert answer["amend_id"]
    assert (row["vol"], row["descr"]["price"], row["amended"], row["status"]) == (f"{filled + 1:.8f}", lower, True, "open")
    assert D(row["vol_exec"]) == filled
    assert client.private("AmendOrder", {"txid": txid, "order_qty": str(filled)})["error"] == ["EOrder:Order minimum not met"]
    client.get("AmendOrder", txid=txid, order_qty=str(filled + 2))
    assert client.row(txid)["vol"] == f"{filled + 2:.8f}"
    client.get("CancelOrder", txid=txid)
    assert client.private("AmendOrder", {"txid": txid, "order_qty": "101"})["error"] == ["EOrder:Unknown order"]
    assert D(client.get("BalanceEx")["ZUSD"]["hold_trade"]) == 0


def test_the_switch_cancels_everything_unless_it_is_wound_up() -> None:
    client = Client()
    txids = [client.placed(price=client.near(0.9)), client.placed(pair="SOLUSD", price=client.near(0.9, "SOLUSD"))]
    answer = client.get("CancelAllOrdersAfter", timeout=60)
    client.wait(59 * SECOND)
    client.get("CancelAllOrdersAfter", timeout=60)
    client.wait(59 * SECOND)
    assert {client.row(txid)["status"] for txid in txids} == {"open"}
    client.wait(SECOND)

    assert answer == {"currentTime": "2026-11-24T17:00:00Z", "triggerTime": "2026-11-24T17:01:00Z"}
    assert {client.row(txid)["status"] for txid in txids} == {"canceled"}
    assert client.get("CancelAllOrdersAfter", timeout=0)["triggerTime"] == "0"


def test_one_label_or_everything_can_be_cancelled() -> None:
    client = Client()
    for userref in (7, 7, 8):
        client.placed(price=client.near(0.9), userref=userref)

    assert client.get("CancelOrder", txid=7) == {"count": 2}
    assert client.get("CancelAll") == {"count": 1}


# -- lists ---------------------------------------------------------------------------------------------------------------------------------------


def test_lists_come_by_fifty_newest_first() -> None:
    client = Client()
    for number in range(53):
        client.placed("market", volume="0.01", userref=number + 1)
        client.wait(SECOND)
    pages = [client.get("TradesHistory", ofs=ofs) for ofs in (0, 50)]
    times = [fill["time"] for page in pages for fill in page["trades"].values()]
    closed = client.get("ClosedOrders", ofs=50)["closed"]

    assert [len(page["trades"]) for page in pages] == [50, pages[0]["count"] - 50]
    assert times == sorted(times, reverse=True)
    assert [row["userref"] for row in closed.values()] == [3, 2, 1]
    since = client.get("TradesHistory", start=NOON // SECOND + 49)["trades"]
    assert min(fill["time"] for fill in since.values()) > NOON // SECOND + 49


def test_the_ledger_adds_up_to_the_balances() -> None:
    client = Client()
    client.twin.transfer(D(500))
    client.twin.reward("ETH", D("0.01"))
    client.placed("market", volume="0.5")
    client.placed("market", "sell", volume="0.2", oflags="fcib")
    entries = client.get("Ledgers")["ledger"].values()
    moved = {asset: sum((D(entry["amount"]) - D(entry["fee"]) for entry in entries if entry["asset"] == asset), D(0)) for asset in ("ZUSD", "XETH")}

    assert {entry["type"] for entry in entries} == {"deposit", "staking", "trade"}
    assert moved["ZUSD"] == client.twin.exchange.cash - 100_000
    assert moved["XETH"] == client.twin.exchange.position("ETH/USD")
    assert [entry["type"] for entry in client.get("Ledgers", type="deposit")["ledger"].values()] == ["deposit"]
    assert {entry["asset"] for entry in client.get("Ledgers", asset="XETH")["ledger"].values()} == {"XETH"}


def test_equity_is_what_everything_is_worth() -> None:
    client = Client()
    client.placed("market", volume="1")
    worth = client.get("TradeBalance")

    assert worth["eb"] == worth["e"]
    assert D(worth["eb"]) == pytest.approx(client.twin.exchange.equity(client.now_ns), abs=D("0.0001"))
    assert client.get("TradeVolume", pair="ETHUSD")["fees"]["XETHZUSD"]["fee"] == "0.4000"


# -- the market ----------------------------------------------------------------------------------------------------------------------------------


def test_prices_agree_with_one_another() -> None:
    client = Client()
    client.wait(90 * SECOND)
    (ticker,), (depth,) = client.ask("Ticker", pair="XBTUSD").values(), client.ask("Depth", pair="XBTUSD", count=3).values()
    trades = client.ask("Trades", pair="XBTUSD", count=5)
    bars = client.ask("OHLC", pair="XBTUSD", interval=1)
    last = trades["XXBTZUSD"][-1]

    assert (ticker["b"][0], ticker["a"][0]) == (depth["bids"][0][0], depth["asks"][0][0])
    assert ticker["c"] == [last[0], last[1]]
    assert (len(trades["XXBTZUSD"]), len(bars["XXBTZUSD"])) == (5, 720)
    assert bars["XXBTZUSD"][-1][4] == last[0]  # the bar that is not over ends with the last trade
    assert int(trades["last"]) == int(D(str(last[2])) * SECOND)
    after = client.ask("Trades", pair="XBTUSD", since=trades["last"])
    assert after["XXBTZUSD"] == []


def test_a_pair_is_answered_under_its_key_or_under_the_slash_it_was_asked_with() -> None:
    client = Client()

    assert [list(client.ask("AssetPairs", pair=name)) for name in ("XBTUSD", "XXBTZUSD", "BTC/USD", "XBT/USD")] == [
        ["XXBTZUSD"],
        ["XXBTZUSD"],
        ["BTC/USD"],
        ["XBT/USD"],
    ]
    assert client.public("Ticker", pair="NOBODY")["error"] == ["EQuery:Unknown asset pair"]
    assert set(client.ask("Assets", asset="XBT,ZUSD")) == {"XXBT", "ZUSD"}


@pytest.mark.parametrize("call", ["OpenOrders", "ClosedOrders", "CancelOrder"])
def test_no_call_takes_a_client_id_that_is_none(call: str) -> None:
    client = Client()

    assert client.private(call, cl_ord_id="external:OAAAAA-AAAAA-AAAAAA")["error"] == ["EGeneral:Invalid arguments:cl_ord_id"]
