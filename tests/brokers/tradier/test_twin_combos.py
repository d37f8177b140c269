"""Combos at the twin: shares and options that fill together, what they cover and what they cost, and which level of options they need."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.brokers.tradier.twin_client import Client
from trading_system.brokers.tradier.twin.forms import CODES

CALL, HIGHER, PUT = "AAPL261218C00180000", "AAPL261218C00185000", "AAPL261218P00175000"  # AAPL stands near 178
Form = dict[str, Any]


def combo(shares: str, qty: int, *options: tuple[str, str, int], **changes: Any) -> Form:
    form: Form = {"class": "combo", "symbol": "AAPL", "type": "market", "duration": "day", "side[0]": shares, "quantity[0]": qty}
    for place, (side, symbol, count) in enumerate(options, 1):
        form |= {f"side[{place}]": side, f"option_symbol[{place}]": symbol, f"quantity[{place}]": count}
    return form | changes


BUY_WRITE = combo("buy", 100, ("sell_to_open", CALL, 1))
UNWIND = combo("sell", 100, ("buy_to_close", CALL, 1))
COLLAR = combo("buy", 100, ("buy_to_open", PUT, 1), ("sell_to_open", HIGHER, 1))


def quote(client: Client, symbol: str, side: str) -> Decimal:
    return Decimal(str(client.get("markets/quotes", symbols=symbol)["quotes"]["quote"][side]))


def placed(client: Client, form: Form) -> dict[str, Any]:
    answer = client.orders("POST", **form)
    assert answer.status == 200, answer.body
    client.wait(60)
    return client.order(json.loads(answer.body)["order"]["id"])


def held(client: Client) -> dict[str, float]:
    rows = client.account("positions")["positions"]
    found = [] if rows == "null" else rows["position"]
    return {row["symbol"]: row["quantity"] for row in (found if isinstance(found, list) else [found])}


def reason(client: Client, form: Form) -> str:
    return str(placed(client, form).get("reason_description", "")).partition(":")[0]


def test_a_buy_write_fills_together_at_a_price_for_each_share_and_is_unwound() -> None:
    client = Client()
    net = quote(client, "AAPL", "ask") - quote(client, CALL, "bid")
    row = placed(client, BUY_WRITE | {"type": "debit", "price": str(net + 1)})
    shares, call = row["leg"]

    assert (row["class"], row["status"], row["quantity"], row["num_legs"]) == ("combo", "filled", 1.0, 2)
    assert row["avg_fill_price"] == pytest.approx(shares["avg_fill_price"] - call["avg_fill_price"])
    assert (shares["class"], shares["side"], shares["exec_quantity"], "option_symbol" in shares) == ("equity", "buy", 100.0, False)
    assert (call["class"], call["side"], call["exec_quantity"]) == ("option", "sell_to_open", 1.0)
    assert client.account("balances")["balances"]["total_cash"] == pytest.approx(100_000 - 100 * row["avg_fill_price"])
    assert held(client) == {"AAPL": 100.0, CALL: -1.0}
    assert reason(client, {"class": "equity", "symbol": "AAPL", "side": "sell", "quantity": 1, "type": "market", "duration": "day"}) == (
        "LongPositionCrossZero"  # they cover the call
    )
    assert placed(client, UNWIND)["status"] == "filled"
    assert held(client) == {}


def test_a_limit_that_the_market_does_not_give_rests_and_all_of_it_ends() -> None:
    client = Client()
    row = placed(client, COLLAR | {"type": "debit", "price": "100", "tag": "combo-1"})

    assert [row["status"], *(leg["status"] for leg in row["leg"])] == ["open"] * 4
    assert row["tag"] == "combo-1"
    client.orders("DELETE", f"/{row['leg'][0]['id']}")  # a part's number means the whole
    client.wait(1)
    assert [leg["status"] for leg in client.order(row["id"])["leg"]] == ["canceled"] * 3
    assert held(client) == {}


def test_it_fills_in_parts_and_every_part_is_whole() -> None:
    """No more at once than the shares at the touch cover."""
    client = Client(cash=Decimal(10_000_000))
    numbers = client.orders("POST", **combo("buy", 3_000, ("sell_to_open", CALL, 30), type="debit", price="190"))
    number, seen = json.loads(numbers.body)["order"]["id"], set[float]()
    for _ in range(600):
        client.wait(1)
        row = client.order(number)
        seen.add(row["exec_quantity"])
        assert [leg["exec_quantity"] for leg in row["leg"]] == [100 * row["exec_quantity"], row["exec_quantity"]]
        if row["status"] == "filled":
            break

    assert len(seen) > 2
    assert max(seen) == 30


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (combo("buy", 100, ("sell_to_open", CALL, 2)), "ShortOptionTradingDeniedForAccount"),  # one of the two is bare
        (combo("sell", 100, ("buy_to_open", CALL, 1)), "UnexpectedSellOrder"),
        (combo("sell_short", 100, ("buy_to_open", CALL, 1)), "ShortStockTradingDeniedForAccount"),
        (combo("buy", 600, ("sell_to_open", CALL, 6)), "InitialMargin"),
        (combo("buy", 100, ("sell_to_close", CALL, 1)), "UnexpectedSellOrderOption"),
    ],
)
def test_what_the_account_forbids_stands_in_the_row(form: Form, code: str) -> None:
    client = Client()
    row = placed(client, form)

    assert row["reason_description"].startswith(f"{code}: ")
    assert (row["class"], row["status"], len(row["leg"])) == ("combo", "rejected", 2)
    assert json.loads(client.orders("POST", **form, preview="true").body)["errors"]["error"][0].startswith(code)


def test_shares_are_sold_short_on_margin_and_held_against() -> None:
    client = Client(multiplier=Decimal(2))
    short = combo("sell_short", 100, ("buy_to_open", CALL, 1))

    assert placed(client, short)["status"] == "filled"
    assert reason(client, combo("sell_short", 1000, ("buy_to_open", CALL, 10))) == "InitialMargin"
    assert placed(client, combo("buy_to_cover", 100, ("sell_to_close", CALL, 1)))["status"] == "filled"


def test_shares_that_are_sold_cover_nothing_any_more() -> None:
    client = Client()
    assert placed(client, BUY_WRITE)["status"] == "filled"

    assert reason(client, combo("sell", 100, ("sell_to_open", HIGHER, 1))) == "LongPositionCrossZero"
    assert placed(client, combo("sell", 100, ("buy_to_close", CALL, 1), ("buy_to_open", PUT, 1)))["status"] == "filled"
    assert held(client) == {PUT: 1.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"option_symbol[0]": PUT, "side[0]": "buy_to_open"}, "one of them an equity"),
        ({"quantity[0]": 50}, "other shares than hundreds"),
        (
            {
                "side[2]": "buy_to_open",
                "quantity[2]": 1,
                "option_symbol[2]": PUT,
                "side[3]": "buy_to_open",
                "quantity[3]": 1,
                "option_symbol[3]": HIGHER,
            },
            "2 to 3 legs",
        ),
        ({"side[0]": "buy_to_open"}, "buy_to_open is not a valid side"),
        ({"symbol": "NOBODY"}, "SecurityUndefined"),
        ({"type": "limit"}, "is not a valid order type"),
        ({"type": "debit"}, "LimitPriceUndefined"),
        ({"duration": "gtc"}, "MarketOrderIsGtc"),
    ],
)
def test_what_is_no_combo_is_refused_at_once(changes: Form, words: str) -> None:
    answer = Client().orders("POST", **BUY_WRITE | changes)

    assert (answer.status, words in answer.body.decode()) == (400, True), answer.body


def test_a_spread_has_no_shares_in_it() -> None:
    answer = Client().orders("POST", **BUY_WRITE | {"class": "multileg"})

    assert (answer.status, b"2 to 4 legs" in answer.body) == (400, True)


def test_a_preview_prices_it_and_places_nothing() -> None:
    client = Client()
    told = json.loads(client.orders("POST", **BUY_WRITE | {"type": "debit", "price": "172"}, preview="true").body)["order"]

    assert (told["class"], told["result"], told["cost"]) == ("combo", True, 17_200.0)
    assert client.account("orders")["orders"] == "null"


def test_its_price_can_be_changed_before_it_fills() -> None:
    client = Client()
    row = placed(client, BUY_WRITE | {"type": "debit", "price": "100"})
    assert client.orders("PUT", f"/{row['id']}", type="debit", price="190").status == 200
    client.wait(60)

    assert client.order(row["id"])["status"] == "filled"


SINGLE = {"class": "option", "symbol": "AAPL", "quantity": 1, "type": "market", "duration": "day", "option_symbol": CALL}
SPREAD = {"class": "multileg", "symbol": "AAPL", "type": "market", "duration": "day"}
SPREAD |= {
    "side[0]": "buy_to_open",
    "quantity[0]": 1,
    "option_symbol[0]": CALL,
    "side[1]": "sell_to_open",
    "quantity[1]": 1,
    "option_symbol[1]": HIGHER,
}


@pytest.mark.parametrize(
    ("level", "taken"),
    [(0, ()), (1, ("covered",)), (2, ("covered", "collar", "bought")), (3, ("covered", "collar", "bought", "spread"))],
)
def test_an_order_above_the_accounts_level_of_options_is_refused_in_tradiers_words(level: int, taken: tuple[str, ...]) -> None:
    forms = {"covered": BUY_WRITE, "collar": COLLAR, "bought": SINGLE | {"side": "buy_to_open"}, "spread": SPREAD}
    told = {name: placed(Client(option_level=level, cash=Decimal(1_000_000)), form) for name, form in forms.items()}

    assert tuple(name for name, row in told.items() if row["status"] == "filled") == taken
    assert all(
        row["reason_description"] == f"OptionLevelRestriction: {CODES['OptionLevelRestriction']}" for name, row in told.items() if name not in taken
    )
    assert Client(option_level=level).get("user/profile")["profile"]["account"]["option_level"] == level
