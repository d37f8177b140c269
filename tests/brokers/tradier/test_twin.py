"""The twin's REST surface: one, several and none; orders from their form to their row; what is refused, and how."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.brokers.tradier.twin_client import NOON, SECOND, Client
from trading_system.brokers.tradier import codec
from trading_system.brokers.tradier.twin.forms import CODES
from trading_system.transport.message import Request

CALLS = ("AAPL261218C00175000", "AAPL261218C00180000")


def price(client: Client, symbol: str = "AAPL", side: str = "ask") -> float:
    return float(client.get("markets/quotes", symbols=symbol)["quotes"]["quote"][side])


def test_nothing_is_a_word_one_stands_alone_and_several_are_an_array() -> None:
    client = Client()
    assert client.account("orders")["orders"] == "null"
    assert client.account("positions")["positions"] == "null"
    client.place()
    client.wait(1)
    assert isinstance(client.account("orders")["orders"]["order"], dict)
    client.place(symbol="SPY")
    client.wait(1)

    assert isinstance(client.account("orders")["orders"]["order"], list)
    assert [row["symbol"] for row in client.account("positions")["positions"]["position"]] == ["AAPL", "SPY"]


def test_an_order_is_received_then_filled_and_its_tag_is_shown_where_asked_for() -> None:
    client = Client()
    number = client.place(tag="my-tag-1", quantity=3)
    client.wait(1)
    row = client.order(number)

    assert (row["status"], row["exec_quantity"], row["remaining_quantity"], row["tag"]) == ("filled", 3.0, 0.0, "my-tag-1")
    assert row["avg_fill_price"] > 0
    assert "tag" not in client.account("orders")["orders"]["order"]
    balances = client.account("balances")["balances"]
    assert balances["total_cash"] == pytest.approx(100_000 - 3 * row["avg_fill_price"])
    assert balances["margin"]["option_buying_power"] > 0


def test_the_same_tag_twice_is_two_orders() -> None:
    client = Client()

    assert client.place(tag="twice") != client.place(tag="twice")


def test_query_and_form_are_read_together_and_empty_fields_are_none() -> None:
    client = Client()
    path = f"accounts/{client.twin.account_number}/orders"
    answer = client.send("POST", f"{path}?class=equity&symbol=AAPL&side=buy", {"quantity": 1, "type": "market", "duration": "day", "price": ""})

    assert json.loads(answer.body)["order"]["status"] == "ok"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"tag": "a_b"}, "Invalid parameter, tag: contains invalid characters."),
        ({"tag": "a" * 256}, "Invalid parameter, tag: contains more than 255 characters."),
        ({"quantity": "1.5"}, "Invalid parameter, quantity"),
        ({"quantity": "0"}, "IncorrectOrderQuantity"),
        ({"side": "sideways"}, "Invalid parameter, side"),
        ({"class": "combo"}, "Invalid parameter, class"),
        ({"type": "limit"}, "LimitPriceUndefined"),
        ({"type": "stop"}, "StopPriceUndefined"),
        ({"type": "limit", "price": "1.001"}, "Invalid parameter, price"),
        ({"duration": "gtc"}, "MarketOrderIsGtc"),
        ({"duration": "pre", "type": "limit", "price": "1"}, "pre market no longer available"),
        ({"side": "sell_short", "type": "limit", "price": "300", "duration": "gtc"}, "ShortOrderIsGtc"),
        ({"symbol": "NOBODY"}, "SecurityUndefined"),
        ({"class": "option", "option_symbol": "AAPL990116C00001000", "side": "buy_to_open"}, "SecurityUndefined"),
    ],
)
def test_a_form_that_is_wrong_is_refused_in_the_answer(form: dict[str, str], text: str) -> None:
    client = Client()
    plain = {"class": "equity", "symbol": "AAPL", "side": "buy", "quantity": 1, "type": "market", "duration": "day"}
    answer = client.orders("POST", **(plain | form))

    assert answer.status == 400
    assert text in answer.body.decode()
    assert client.account("orders")["orders"] == "null"


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"quantity": 100_000}, "InitialMargin"),
        ({"side": "sell"}, "UnexpectedSellOrder"),
        ({"side": "buy_to_cover"}, "UnexpectedBuyToCoverOrder"),
        ({"side": "sell_short"}, "ShortStockTradingDeniedForAccount"),
        ({"type": "stop", "stop": "1"}, "BuyStopOrderStopPriceLessAsk"),
        ({"class": "option", "option_symbol": CALLS[0], "side": "sell_to_open"}, "ShortOptionTradingDeniedForAccount"),
        ({"class": "option", "option_symbol": CALLS[0], "side": "sell_to_close"}, "UnexpectedSellOrderOption"),
    ],
)
def test_what_account_or_market_forbid_is_received_and_then_rejected(form: dict[str, Any], code: str) -> None:
    client = Client()
    row = client.order(client.place(**form))

    assert row["status"] == "rejected"
    assert row["reason_description"].startswith(code)


def test_sides_are_strict_and_nothing_passes_zero() -> None:
    client = Client(multiplier=2)
    client.place(quantity=5)
    client.wait(1)
    for form, code in (
        ({"side": "sell", "quantity": 6}, "LongPositionCrossZero"),
        ({"side": "sell_short"}, "UnexpectedSellShortOrder"),
        ({"side": "sell_short", "symbol": "THIN"}, "ShortTradingDeniedForSecurity"),
    ):
        assert client.order(client.place(**form))["reason_description"].startswith(code)
    client.place(side="sell", quantity=5)
    client.wait(1)
    client.place(side="sell_short", quantity=5)
    client.wait(1)
    assert client.account("positions")["positions"]["position"]["quantity"] == -5.0
    assert client.order(client.place())["reason_description"].startswith("UnexpectedBuyOrder")
    client.place(side="buy_to_cover", quantity=5)
    client.wait(1)

    assert client.account("positions")["positions"] == "null"


def test_a_change_keeps_the_number_and_a_cancel_is_safe_to_repeat() -> None:
    client = Client()
    number = client.place(type="limit", price="100", duration="gtc")
    client.wait(1)
    assert json.loads(client.orders("PUT", f"/{number}", price="101").body)["order"]["id"] == number
    client.wait(1)
    assert client.order(number)["price"] == 101.0
    assert client.orders("DELETE", f"/{number}").status == 200
    client.wait(1)
    late = client.orders("DELETE", f"/{number}")

    assert (late.status, late.body) == (400, b"order already in finalized state: canceled")
    assert client.orders("PUT", f"/{number}", price="102").body == b"order already in finalized state: canceled"
    unknown = client.orders("DELETE", "/1")
    assert (unknown.status, unknown.body) == (401, f"Unauthorized Account: {client.twin.account_number}".encode())


def test_a_spread_fills_as_one_and_a_credit_is_an_average_below_zero() -> None:
    client = Client()
    legs = {"option_symbol[0]": CALLS[0], "side[0]": "buy_to_open", "quantity[0]": 2, "option_symbol[1]": CALLS[1], "side[1]": "sell_to_open"}
    number = client.place(**{"class": "multileg", "type": "debit", "price": "12", "quantity[1]": 2}, **legs)
    client.wait(60)
    row = client.order(number)
    assert (row["status"], row["num_legs"], row["exec_quantity"]) == ("filled", 2, 2.0)
    assert [leg["exec_quantity"] for leg in row["leg"]] == [2.0, 2.0]
    assert row["avg_fill_price"] > 0
    back = {**legs, "side[0]": "sell_to_close", "side[1]": "buy_to_close"}
    number = client.place(**{"class": "multileg", "type": "credit", "price": "0.01", "quantity[1]": 2}, **back)
    client.wait(60)

    assert client.order(number)["avg_fill_price"] < 0
    assert client.account("positions")["positions"] == "null"
    assert client.account("gainloss")["gainloss"] == "null"  # it is written at night
    client.wait(86_400)
    assert {row["symbol"] for row in client.account("gainloss")["gainloss"]["closed_position"]} == set(CALLS)


def test_a_bracket_holds_its_exits_until_the_entry_is_filled() -> None:
    client = Client()
    ask = price(client)
    parts = {"side[0]": "buy", "quantity[0]": 1, "type[0]": "limit", "price[0]": f"{ask * 0.99:.2f}"}
    parts |= {"side[1]": "sell", "quantity[1]": 1, "type[1]": "limit", "price[1]": f"{ask * 1.2:.2f}"}
    parts |= {"side[2]": "sell", "quantity[2]": 1, "type[2]": "stop", "stop[2]": f"{ask * 0.8:.2f}"}
    parts |= {f"symbol[{place}]": "AAPL" for place in range(3)}
    answer = client.orders("POST", **{"class": "otoco", "duration": "gtc", "tag": "b"}, **parts)
    number = json.loads(answer.body)["order"]["id"]
    row = client.order(number)

    assert (row["class"], row.get("symbol", ""), row["tag"]) == ("otoco", "", "b")
    assert [leg["status"] for leg in row["leg"]] == ["open", "held", "held"]
    client.orders("DELETE", f"/{number}")
    client.wait(1)
    assert [leg["status"] for leg in client.order(number)["leg"]] == ["canceled"] * 3
    refused = client.orders("POST", **{"class": "otoco", "duration": "day"}, **(parts | {"type[0]": "market"}))
    assert b"OtoFirstLesIsMarketNotAllowed" in refused.body


def test_the_night_wipes_the_sandboxs_list_and_production_shows_what_is_open() -> None:
    for environment, shown in (("paper", "null"), ("live", 1)):
        client = Client(environment=environment)
        number = client.place(type="limit", price="100", duration="gtc")
        client.wait(86_400)
        orders = client.account("orders")["orders"]

        assert orders == "null" if shown == "null" else orders["total_orders"] == shown
        assert client.order(number)["status"] == "open"


def test_history_is_written_at_night_and_in_production_alone() -> None:
    client, sandbox = Client(environment="live"), Client()
    for one in (client, sandbox):
        one.place()
        one.twin.transfer(Decimal(500))
        one.wait(1)
        assert one.account("history")["history"] == "null"
        one.wait(86_400)
    events = client.account("history")["history"]["event"]

    assert {event["type"] for event in events} == {"trade", "ach"}
    assert sandbox.account("history")["history"] == "null"


def test_a_fill_may_stand_there_before_its_price() -> None:
    client = Client(price_gap_ns=2_000_000_000)
    number = client.place()
    client.wait(0.5)
    early = client.order(number)
    client.wait(5)

    assert (early["status"], early["exec_quantity"], early["avg_fill_price"], early["last_fill_price"]) == ("filled", 1.0, 0.0, 0.0)
    assert client.order(number)["avg_fill_price"] > 0


def test_three_buckets_are_counted_and_say_so() -> None:
    client = Client(requests_per_minute=2)
    answers = [client.send("GET", "user/profile") for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 429]
    assert {name: answers[1].headers[f"x-ratelimit-{name}"] for name in ("allowed", "used", "available")} == {
        "allowed": "2",
        "used": "2",
        "available": "0",
    }
    assert client.send("GET", "markets/clock").status == 200
    client.wait(61)
    assert client.send("GET", "user/profile").status == 200


def test_who_is_not_known_and_who_wants_xml_hears_so() -> None:
    client = Client()
    wrong = client.send("GET", "user/profile", token="wrong")
    assert wrong.status == 401
    assert b"keymanagement.service.invalid_access_token" in wrong.body
    for which in ("accounts", "markets"):
        ticket = client.send("POST", f"{which}/events/session", token="wrong")
        assert (ticket.status, ticket.body) == (401, b"Invalid Access Token")
    bare = Request(method="GET", url="https://host/v1/user/profile", headers={"Authorization": f"Bearer {client.twin.token}"})
    assert client.twin.handle(bare, client.now_ns).status == 406
    for how, status in (("html", 200), ("datastore", 500), ("expired", 401)):
        client.twin.fails_with = how
        assert client.send("GET", "user/profile").status == status
    client.twin.fails_with = ""
    assert client.send("GET", "accounts/VA00000000/balances").status == 401


def test_market_data_fits_together() -> None:
    client = Client()
    days = client.get("markets/options/expirations", symbol="AAPL")["expirations"]["date"]
    rich = client.get("markets/options/expirations", symbol="AAPL", strikes="true", contractSize="true", expirationType="true")
    strikes = client.get("markets/options/strikes", symbol="AAPL", expiration=days[0])["strikes"]["strike"]
    chain = client.get("markets/options/chains", symbol="AAPL", expiration=days[0], greeks="true")["options"]["option"]

    assert [row["date"] for row in rich["expirations"]["expiration"]] == days
    assert {row["strike"] for row in chain} == set(strikes)
    assert any(row["greeks"] for row in chain)
    assert client.get("markets/options/lookup", underlying="AAPL")["symbols"][0]["rootSymbol"] == "AAPL"
    assert client.get("markets/options/expirations", symbol="BRK/B")["expirations"] is None
    unmatched = client.get("markets/quotes", symbols="AAPL,BRK.B")["quotes"]
    assert (unmatched["quote"]["symbol"], unmatched["unmatched_symbols"]["symbol"]) == ("AAPL", "BRK.B")
    minutes = client.get("markets/timesales", symbol="AAPL", interval="5min", start="2026-11-24 11:00", end="2026-11-24 11:30")["series"]["data"]
    assert [row["time"][11:16] for row in minutes] == ["11:00", "11:05", "11:10", "11:15", "11:20", "11:25"]
    assert b"must be on or after" in client.send("GET", "markets/timesales", {"symbol": "AAPL", "interval": "tick", "start": "2026-01-05 10:00"}).body
    assert [row["date"] for row in client.get("markets/history", symbol="AAPL", start="2026-11-20", end="2026-11-22")["history"]["day"]] == [
        "2026-11-20",
        "2026-11-21",
        "2026-11-22",
    ]
    assert client.get("markets/clock")["clock"]["state"] == "open"
    assert len(client.get("markets/calendar", month="11", year="2026")["calendar"]["days"]["day"]) == 30
    assert client.get("markets/search", q="ford")["securities"]["security"]["symbol"] == "F"
    assert "THIN" not in {row["symbol"] for row in client.get("markets/etb")["securities"]["security"]}


@pytest.mark.parametrize(("hour", "duration"), [(8, "pre"), (12, "day"), (17, "post")])
def test_an_order_for_extended_hours_names_the_window_that_runs(hour: int, duration: str) -> None:
    client = Client(hours="us", start_ns=NOON + (hour - 12) * 3600 * SECOND)
    calendar = client.send("GET", "markets/calendar", {"month": "11", "year": "2026"}).body
    hours = codec.decode_calendar(codec.calendar_rows(calendar), client.now_ns + SECOND)
    form: dict[str, object] = {"class": "equity", "symbol": "AAPL", "side": "buy", "quantity": 1, "type": "limit", "price": "1.00"}

    assert codec.duration_at(hours, client.now_ns) == duration
    assert client.order(client.place(**form, duration=duration))["duration"] == duration
    assert {client.orders("POST", **form, duration=other).status for other in {"pre", "post"} - {duration}} == {400}


BUY = {"class": "equity", "symbol": "AAPL", "side": "buy", "quantity": 1, "type": "market", "duration": "day"}
SHORT = BUY | {"side": "sell_short"}
FAR = BUY | {"type": "limit", "price": "1.00"}
CALL = BUY | {"class": "option", "option_symbol": CALLS[0], "side": "buy_to_open"}
SPREAD = {
    "class": "multileg", "symbol": "AAPL", "type": "market", "duration": "day",
    "option_symbol[0]": CALLS[0], "side[0]": "sell_to_open", "quantity[0]": 1,
    "option_symbol[1]": CALLS[1], "side[1]": "buy_to_open", "quantity[1]": 1,
}  # fmt: skip
LIMIT, STOP = {"symbol": "AAPL", "side": "sell", "quantity": 1, "type": "limit", "price": "900"}, {"type": "stop", "stop": "1.00", "price": ""}


def linked(kind: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """One form of several orders."""
    return {"class": kind, "duration": "day"} | {f"{name}[{place}]": value for place, part in enumerate(parts) for name, value in part.items()}


def test_a_part_of_linked_orders_is_changed_by_its_own_number_once_it_is_open() -> None:
    client = Client()
    entry = {"symbol": "AAPL", "side": "buy", "quantity": 1, "type": "limit", "price": "100"}
    held = json.loads(client.orders("POST", **linked("otoco", entry, LIMIT, LIMIT | STOP)).body)["order"]["id"]
    client.place()
    oco = json.loads(client.orders("POST", **linked("oco", LIMIT, LIMIT | STOP)).body)["order"]["id"]
    client.wait(1)
    first, _, waiting = client.order(held)["leg"]
    profit, loss = client.order(oco)["leg"]
    for number, prices in ((first["id"], {"price": "101"}), (profit["id"], {"price": "899"}), (loss["id"], {"stop": "2"})):
        assert json.loads(client.orders("PUT", f"/{number}", **prices).body)["order"] == {"id": number, "status": "ok", "partner_id": "twin"}
    refused = {
        "by its own number": client.orders("PUT", f"/{oco}", price="898"),
        "not open": client.orders("PUT", f"/{waiting['id']}", stop="3"),
        "type": client.orders("PUT", f"/{profit['id']}", type="stop", stop="3"),
        "OcoExpirationTypeNotTheSame": client.orders("PUT", f"/{loss['id']}", duration="gtc"),
    }
    client.wait(1)
    profit, loss = client.order(oco)["leg"]

    assert all(answer.status == 400 and text in answer.body.decode() for text, answer in refused.items())
    assert client.order(held)["leg"][0]["price"] == 101.0
    assert (profit["price"], loss["stop_price"], profit["status"], loss["status"]) == (899.0, 2.0, "open", "open")
    client.orders("DELETE", f"/{loss['id']}")
    client.wait(1)
    assert {leg["status"] for leg in client.order(oco)["leg"]} == {"canceled"}


REFUSED: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {  # by its name: what was placed before, and what is refused
    "BuyStopOrderStopPriceLessAsk": ([], BUY | {"type": "stop", "stop": "1"}),
    "IncorrectOrderQuantity": ([], BUY | {"quantity": 0}),
    "InitialMargin": ([], BUY | {"quantity": 100_000}),
    "InvalidOrderExpiration": ([], CALL | {"option_symbol": "AAPL251219C00200000"}),
    "LimitOrderRequiredOutsideMarketHours": ([], BUY | {"duration": "post"}),
    "LimitPriceUndefined": ([], BUY | {"type": "limit"}),
    "LongPositionCrossZero": ([BUY], BUY | {"side": "sell", "quantity": 2}),
    "MarketOrderIsGtc": ([], BUY | {"duration": "gtc"}),
    "OcoExpirationTypeNotTheSame": ([BUY], linked("oco", LIMIT | {"duration": "day"}, LIMIT | STOP | {"duration": "gtc"})),
    "OcoOrderWithOppositeLegs": ([BUY], linked("oco", LIMIT, LIMIT | STOP | {"side": "buy"})),
    "OptionLevelRestriction": ([], CALL),
    "OrderWithDifferentSide": ([BUY, FAR], BUY | {"side": "sell"}),
    "OtoFirstLesIsMarketNotAllowed": ([], linked("oto", LIMIT | {"side": "buy", "type": "market", "price": ""}, LIMIT)),
    "OtoOcoMarketNotAllowed": ([BUY], linked("oco", LIMIT, LIMIT | {"type": "market", "price": ""})),
    "SecurityUndefined": ([], BUY | {"symbol": "NOBODY"}),
    "SellStopOrderStopPriceGreaterBid": ([BUY], BUY | {"side": "sell", "type": "stop", "stop": "9000"}),
    "SellShortOrderLastPriceBelow5": ([], SHORT | {"symbol": "CHEAP"}),
    "ShortStockTradingDeniedForAccount": ([], SHORT),
    "ShortTradingDeniedForSecurity": ([], SHORT | {"symbol": "THIN"}),
    "ShortOptionTradingDeniedForAccount": ([], CALL | {"side": "sell_to_open"}),
    "ShortOrderIsGtc": ([], FAR | {"side": "sell_short", "duration": "gtc"}),
    "ShortPositionCrossZero": ([SHORT], SHORT | {"side": "buy_to_cover", "quantity": 2}),
    "StopPriceUndefined": ([], BUY | {"type": "stop"}),
    "UnexpectedBuyOrder": ([SHORT], BUY),
    "UnexpectedBuyOrderOption": ([SPREAD], CALL),
    "UnexpectedBuyToCoverOrder": ([], BUY | {"side": "buy_to_cover"}),
    "UnexpectedBuyToCoverOrderOption": ([], CALL | {"side": "buy_to_close"}),
    "UnexpectedSellOrder": ([], BUY | {"side": "sell"}),
    "UnexpectedSellOrderOption": ([], CALL | {"side": "sell_to_close"}),
    "UnexpectedSellShortOrder": ([BUY], SHORT),
    "UnexpectedSellShortOrderOption": ([CALL], CALL | {"side": "sell_to_open"}),
    "WashTradeAttempt": ([BUY, FAR], FAR | {"side": "sell"}),
}


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_refusal_of_an_order_can_be_met(code: str) -> None:
    cash, late = code.endswith("DeniedForAccount"), code == "LimitOrderRequiredOutsideMarketHours"
    level = 1 if code == "OptionLevelRestriction" else 3
    client = Client(multiplier=Decimal(1 if cash else 2), hours="us", start_ns=NOON + 5 * 3600 * SECOND * late, option_level=level)
    before, form = REFUSED[code]
    for one in before:
        assert client.orders("POST", **one).status == 200
        client.wait(1)
    answer = client.orders("POST", **form)
    told = answer.body.decode()
    if answer.status == 200:
        told = client.order(json.loads(told)["order"]["id"])["reason_description"]

    assert code in told.replace(":", '"').split('"'), told
