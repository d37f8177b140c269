"""Account activities as events: what the codec makes of Alpaca's, and what the twin books, streams and plays again."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.brokers.alpaca.option_client import SOON, filled, near
from tests.brokers.alpaca.test_twin_events import Reader
from tests.brokers.alpaca.test_wire import GOLDEN
from tests.brokers.alpaca.twin_client import NOON, SECOND
from trading_system.brokers.alpaca import codec, wire
from trading_system.domain.errors import ProtocolError
from trading_system.domain.event import AccountActivity
from trading_system.domain.fix import ExecType, OrdStatus, Side
from trading_system.sim.sessions import iso
from trading_system.transport.message import Response

D = Decimal
NOW = 1_788_269_400_000_000_000
DAY = 24 * 3600 * SECOND


# -- the codec -------------------------------------------------------------------------------------------------------------------------------------


def sample(name: str, details: dict[str, Any] | None = None, **changes: Any) -> AccountActivity:
    """A sample, decoded; changed as named."""
    raw = json.loads((GOLDEN / f"activity_event_{name}.json").read_text())
    body = raw | changes | {"details": raw["details"] | (details or {})}
    return codec.decode_activity_event(msgspec.convert(body, wire.ActivityEvent), NOW)


def test_a_trade_has_its_execution() -> None:
    trade = sample("trade")

    assert (trade.activity_type, trade.exec_type, trade.ord_status, trade.status) == ("TRD", ExecType.TRADE, OrdStatus.PARTIALLY_FILLED, "executed")
    assert (trade.instrument, trade.side, trade.qty, trade.price) == ("TSLA", Side.BUY, D(2), D("350.25"))
    assert (trade.amount, trade.currency, trade.settle_date.isoformat()) == (D("-700.5"), "USD", "2026-09-02")
    assert (trade.ref_id, trade.previous_id) == ("7e544af3-3104-4e1a-8cbc-dab2624949ff", None)
    assert (trade.order_id, trade.cl_ord_id) == ("edada91a-8b55-4916-a153-8c7a9817e708", "6d873193-dac6-4f72-8e13-c57853a9339d")
    assert (trade.transact_ns, trade.recv_ns, trade.text) == (1_788_269_400_602_193_534, NOW, "")


@pytest.mark.parametrize(("word", "exec_type"), [("trade_correct", ExecType.TRADE_CORRECT), ("trade_bust", ExecType.TRADE_CANCEL)])
def test_a_correction_and_a_bust_name_what_they_are_about(word: str, exec_type: ExecType) -> None:
    booked = sample("trade", {"execution_type": word}, previous_id="aeb60660-412f-4537-8d1f-1101b3fc8f64")

    assert (booked.exec_type, booked.previous_id) == (exec_type, "aeb60660-412f-4537-8d1f-1101b3fc8f64")


def test_a_dividend_is_money_about_a_stock() -> None:
    paid = sample("dividend")

    assert (paid.activity_type, paid.activity_subtype, paid.instrument, paid.amount, paid.currency) == ("DIV", "CDIV", "AAPL", D("2.6"), "USD")
    assert (paid.exec_type, paid.side, paid.qty, paid.price, paid.order_id, paid.ord_status) == (None,) * 6


@pytest.mark.parametrize(("symbol", "instrument"), [("BTC/USD", "BTC/USD"), ("BTCUSD", "BTC/USD"), ("AAPL261218C00200000", "AAPL261218C00200000")])
def test_every_class_of_asset_has_our_spelling(symbol: str, instrument: str) -> None:
    assert sample("trade", {"symbol": symbol}).instrument == instrument


def test_a_kind_that_nobody_has_seen_is_shown_as_what_it_is() -> None:
    new = sample("dividend", {"symbol": "??"}, activity_type="MOON", activity_subtype="LANDING", status="dreamt", net_amount="-1.5")

    assert (new.activity_type, new.activity_subtype, new.status, new.instrument, new.amount) == ("MOON", "LANDING", "dreamt", None, D("-1.5"))


@pytest.mark.parametrize(
    ("details", "text"),
    [
        ({"old_symbol": "FB", "new_symbol": "META"}, "FB to META"),
        ({"source_symbol": "GE", "new_symbol": "GEV"}, "GE to GEV"),
        ({"group_id": "g-1"}, "group g-1"),
        ({"parent_id": "p-1"}, "for p-1"),
        ({"commission": "1.25"}, "commission 1.25"),
        ({"commission": "0"}, ""),
    ],
)
def test_what_ties_entries_to_each_other_is_in_the_text(details: dict[str, Any], text: str) -> None:
    assert sample("dividend", details).text == text


@pytest.mark.parametrize(
    ("details", "changes"),
    [
        ({"execution_type": "levitated"}, {}),
        ({"side": "sideways"}, {}),
        ({"side": None}, {}),
        ({"symbol": None}, {}),
        ({"symbol": "a b"}, {}),
        ({"order_status": "gone"}, {}),
        ({"commission": "free"}, {}),
        ({}, {"qty": None}),
        ({}, {"qty": "0"}),
        ({}, {"price": "-1"}),
        ({}, {"price": "NaN"}),
        ({}, {"net_amount": "much"}),
        ({}, {"executed_at": "today"}),
        ({}, {"settle_date": "2026-02-30"}),
    ],
)
def test_a_trade_in_no_known_form_is_refused(details: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        sample("trade", details, **changes)


@pytest.mark.parametrize("name", ["event_id", "at", "activity_type", "executed_at", "status", "settle_date", "currency", "ref_id", "details"])
def test_what_nobody_can_do_without_has_to_be_there(name: str) -> None:
    raw = json.loads((GOLDEN / "activity_event_trade.json").read_text())
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.convert({field: value for field, value in raw.items() if field != name}, wire.ActivityEvent)


# -- the twin --------------------------------------------------------------------------------------------------------------------------------------


class Firm(Reader):
    """A firm that reads the activities of its account."""

    path = "/v2beta1/events/activities"

    def keys(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token()[1]['access_token']}"}

    def orders(self) -> int:
        """A reader of the same account's order events."""
        return self.open("/v2/events/trades", self.keys())


def ids(client: Firm) -> list[str]:
    return [entry.event_id for entry in client.twin.activity_events.log]


def kinds(events: list[Any]) -> list[str]:
    return [event["activity_type"] for event in events if isinstance(event, dict)]


def test_activities_are_for_the_firm_and_not_for_an_accounts_keys() -> None:
    client = Firm()
    for headers in ({}, Reader.keys(client), {"Authorization": "Bearer eyJnothing"}):
        answer = client.ask(headers)

        assert isinstance(answer, Response)
        assert (answer.status, json.loads(answer.body)) == (401, {"message": "unauthorized."})
    assert isinstance(client.ask(), int)
    assert client.send("GET", client.path).status == 404  # it is a stream and no page


def test_a_fill_is_booked_under_its_execution_and_a_bust_takes_it_back() -> None:
    client = Firm()
    conn, orders = client.read(), client.orders()
    row = client.order(qty="2", client_order_id="mine").body
    exec_id, done = next(iter(client.twin.exchange.executions.items()))
    client.twin.exchange.bust(exec_id, client.now_ns)
    client.wait(0)
    seen = client.pushed()
    fill, bust = seen[conn]

    assert (fill["activity_type"], fill["ref_id"], fill["account_id"]) == ("TRD", exec_id, client.get("/v2/account")["id"])
    assert (fill["at"], fill["executed_at"], fill["settle_date"]) == (iso(NOON), iso(NOON), "2026-11-25")
    assert (fill["qty"], D(fill["price"]), D(fill["net_amount"])) == ("2", done.price, -2 * done.price)
    assert {name: fill["details"][name] for name in ("order_id", "client_order_id", "symbol", "side", "execution_type", "order_status")} == {
        "order_id": row["id"],
        "client_order_id": "mine",
        "symbol": "AAPL",
        "side": "buy",
        "execution_type": "fill",
        "order_status": "filled",
    }
    assert (bust["details"]["execution_type"], bust["previous_id"], D(bust["net_amount"])) == ("trade_bust", exec_id, 2 * done.price)
    assert (bust["ref_id"], bust["previous_id"]) == tuple(seen[orders][-1][name] for name in ("execution_id", "previous_execution_id"))


def test_what_is_streamed_is_what_the_list_has_and_adds_up_to_the_cash() -> None:
    client = Firm(hours="us")
    conn = client.read()
    before = D(client.get("/v2/account")["cash"])
    client.order("AAPL", qty="100")
    client.order("ETH/USD", tif="gtc", qty="2")
    call = near(client, expiry=SOON, away=-10)
    filled(client, call)
    client.send("POST", f"/v2/positions/{call}/exercise")
    client.twin.transfer(D(500))
    client.twin.dividend("AAPL", D("0.25"))
    client.wait(DAY)
    streamed = [event for event in client.pushed()[conn] if isinstance(event, dict)]
    listed = client.get("/v2/account/activities?direction=asc")

    told = sorted((event["ref_id"], event["activity_type"]) for event in streamed)
    assert told == sorted((row["id"].partition("::")[2], {"FILL": "TRD"}.get(row["activity_type"], row["activity_type"])) for row in listed)
    assert {"TRD", "OPEXC", "OPTRD", "CSD", "DIV", "CFEE"} == set(kinds(streamed))
    assert before + sum(D(event["net_amount"]) for event in streamed) == D(client.get("/v2/account")["cash"])


def test_an_exercise_is_two_entries_of_one_group_and_a_fee_names_its_trade() -> None:
    client = Firm(hours="us")
    conn = client.read()
    client.order("BTC/USD", tif="gtc", qty="0.1")
    call = near(client, expiry=SOON, away=-10)
    filled(client, call)
    client.send("POST", f"/v2/positions/{call}/exercise")
    client.wait(DAY)
    by_kind = {event["activity_type"]: event for event in client.pushed()[conn] if isinstance(event, dict)}
    trades = {entry.event.ref_id: entry.event.details.symbol for entry in client.twin.activity_events.log if entry.event.activity_type == "TRD"}

    assert by_kind["OPEXC"]["details"]["group_id"] == by_kind["OPTRD"]["details"]["group_id"]
    assert trades[by_kind["CFEE"]["details"]["parent_id"]] == "BTC/USD"


def test_every_event_of_the_twin_can_be_read() -> None:
    client = Firm()
    client.order("AAPL", qty="4")
    client.order("BTC/USD", tif="gtc", qty="0.1")
    client.twin.split("AAPL", D("0.5"))
    client.twin.transfer(D(-20))
    client.wait(DAY)
    conn = client.read(since="2026-11-24")
    raw = [msgspec.convert(event, wire.ActivityEvent) for event in client.pushed()[conn]]
    read = [codec.decode_activity_event(event, NOW) for event in raw]

    assert [(one.activity_type, one.activity_subtype, one.instrument, one.qty) for one in read if one.exec_type is None] == [
        ("SPLIT", "RSPLIT", "AAPL", D(-2)),
        ("CSW", "", None, None),
        ("CFEE", "", None, read[-1].qty),
    ]
    assert {one.instrument for one in read if one.exec_type is ExecType.TRADE} == {"AAPL", "BTC/USD"}


def test_a_reader_begins_and_ends_where_it_says() -> None:
    client = Firm()
    client.order()
    client.wait(SECOND)
    client.twin.transfer(D(1))
    client.wait(SECOND)
    client.twin.transfer(D(2))
    client.twin.drain()
    known = ids(client)
    spans = {
        client.read(since=iso(NOON)): known,
        client.read(since=iso(NOON + SECOND)): known[-2:],
        client.read(since_id=known[-2]): known[-1:],
        client.read(since="2026-11-24", until=iso(NOON + SECOND)): known[:-1],
        client.read(since_id="0" * 26, until_id=known[-2]): known[:-1],
    }
    seen = client.pushed()

    assert {conn: [event["event_id"] for event in seen[conn] if event is not None] for conn in spans} == spans
    assert [seen[conn][-1] is None for conn in spans] == [False, False, False, True, True]
    assert client.refused(since="2026-11-24", since_id=known[0]) == (422, "since and since_id can't be used at the same time")
