"""Options that end on the twin: exercise, do-not-exercise, assignment, expiry, and the activities that tell of them."""

from decimal import Decimal

import pytest

from tests.brokers.alpaca.option_client import SOON, cash, filled, leg, mleg, near, position, strike
from tests.brokers.alpaca.twin_client import SECOND, Answer, Client
from trading_system.domain.money import plain

D = Decimal
HOUR = 3600 * SECOND
DAY = 24 * HOUR
FRIDAY_NOON = 3 * DAY  # from NOON on


def exercise(client: Client, symbol: str, qty: object = None) -> Answer:
    return client.send("POST", f"/v2/positions/{symbol}/exercise", None if qty is None else {"qty": qty})


def ends(client: Client) -> list[tuple[str, str, str, str]]:
    """(type, symbol, qty, net amount) of what was no fill, oldest first."""
    rows = client.get("/v2/account/activities?category=non_trade_activity&direction=asc")
    return [(row["activity_type"], row["symbol"], row["qty"], row["net_amount"]) for row in rows]


def test_a_call_that_is_exercised_becomes_a_hundred_shares_at_its_strike() -> None:
    client = Client(hours="us")
    call = near(client, away=-10)
    filled(client, call, qty="2")
    before = cash(client)
    done = exercise(client, call, 1)
    shares = client.get("/v2/positions/AAPL")
    rows = client.get("/v2/account/activities?category=non_trade_activity")

    assert (done.status, done.body) == (200, None)
    assert (position(client, call), shares["qty"], D(shares["avg_entry_price"])) == (1, "100", strike(call))
    assert cash(client) == before - 100 * strike(call)
    assert sorted(ends(client)) == [("OPEXC", call, "-1", "0"), ("OPTRD", "AAPL", "100", plain(-100 * strike(call)))]
    assert len({row["group_id"] for row in rows}) == 1
    assert [D(row["price"]) for row in rows if row["activity_type"] == "OPTRD"] == [strike(call)]
    exercise(client, call)  # the rest
    assert client.get("/v2/positions/AAPL")["qty"] == "200"


def test_a_put_that_is_exercised_delivers_shares() -> None:
    client = Client(hours="us")
    put = near(client, "put", away=10)
    filled(client, put)
    without = exercise(client, put)
    client.order(qty="100")
    client.wait(SECOND)
    before = cash(client)

    assert without.body["message"] == "insufficient underlying qty available for deliverable: AAPL (requested: 100, available: 0)"
    assert exercise(client, put).status == 200
    assert client.get("/v2/positions") == []
    assert cash(client) == before + 100 * strike(put)


def test_what_exercise_refuses() -> None:
    client = Client(hours="us", cash=D(5000))
    call, far, put = near(client, away=-2.5), near(client, away=10), near(client, "put", away=-25)
    filled(client, call)
    filled(client, far)

    def refused(symbol: str, qty: object = None) -> tuple[int, int, str]:
        answer = exercise(client, symbol, qty)
        return answer.status, answer.body["code"], answer.body["message"]

    assert refused("NOPE") == (422, 42210000, "invalid symbol")
    assert refused(put) == (404, 40410000, f"long position not found: {put}")
    assert refused(call)[:2] == (403, 40310000)
    assert refused(call)[2].startswith(f"insufficient cash available (required: {plain(100 * strike(call))}, ")
    assert refused(call, 2)[2] == "insufficient qty available (requested: 2, available: 1)"
    assert refused(call, 0) == (422, 42210000, "qty must be > 0")
    assert refused(far)[2].startswith("you are attempting to exercise an out of the money option contract")
    client.order(call, side="sell", kind="limit", limit_price="400")
    assert refused(call)[2] == "no qty available to exercise"
    client.wait(5 * HOUR)
    assert refused(call)[2] == "exercise requests are not accepted after market close until midnight"
    assert client.send("POST", f"/v2/positions/{call}/exercise", raw=b"{").status == 400


def test_what_covers_a_short_is_not_exercised_away() -> None:
    client = Client(hours="us", cash=D(3000))
    high, low = near(client, "put", away=10), near(client, "put")
    mleg(client, leg(high, "buy_to_open"), leg(low, "sell_to_open"))
    client.wait(60 * SECOND)

    assert position(client, low) == -1
    assert exercise(client, high).status == 403


def test_do_not_exercise_is_said_on_the_last_day() -> None:
    client = Client(hours="us")
    call = near(client, expiry=SOON, away=-10)
    filled(client, call)
    path = f"/v2/positions/{call}/do-not-exercise"
    early = client.send("POST", path)
    client.wait(FRIDAY_NOON)
    said = client.send("POST", path)
    none = client.send("POST", f"/v2/positions/{near(client, away=10)}/do-not-exercise")

    assert (early.status, early.body["message"]) == (403, "dne requests are only accepted on the expiration day of the option contract")
    assert (said.status, said.body) == (200, None)
    assert none.body["message"].startswith("long position not found")
    assert exercise(client, call).body["message"] == "cannot exercise position marked as do-not-exercise"
    client.wait(5 * HOUR)
    assert client.send("POST", path).body["message"] == "dne requests are not accepted after 16:30"
    client.wait(DAY)
    assert ends(client) == [("OPEXP", call, "-1", "0")]
    assert client.get("/v2/positions") == []


def test_at_the_days_end_what_is_worth_something_is_exercised_and_assigned() -> None:
    client = Client(hours="us", multiplier=D(2), cash=D(200_000))
    rich, poor = near(client, expiry=SOON, away=-15), near(client, expiry=SOON, away=20)
    sold, kept = near(client, "put", expiry=SOON, away=15), near(client, "put", expiry=SOON, away=-15)
    for symbol, side in ((rich, "buy"), (sold, "sell"), (poor, "buy"), (kept, "sell")):
        client.order(symbol, side=side, kind="limit", limit_price="0.01" if side == "sell" else "90", qty="2")
        client.wait(60 * SECOND)
    held = {symbol: position(client, symbol) for symbol in (rich, sold, poor, kept)}
    client.wait(FRIDAY_NOON + 10 * HOUR)
    still = len(client.get("/v2/positions"))
    before = cash(client)
    client.wait(2 * HOUR)

    assert set(held.values()) == {D(2), D(-2)}
    assert still == 4
    assert set(ends(client)) >= {("OPEXC", rich, "-2", "0"), ("OPASN", sold, "2", "0"), ("OPEXP", poor, "-2", "0"), ("OPEXP", kept, "2", "0")}
    assert [row["symbol"] for row in client.get("/v2/positions")] == ["AAPL"]
    assert position(client, "AAPL") == 400
    assert cash(client) == before - 200 * strike(rich) - 200 * strike(sold)


def test_a_spread_that_ends_in_the_money_nets_out() -> None:
    client = Client(hours="us")
    low, high = near(client, expiry=SOON, away=-20), near(client, expiry=SOON, away=-10)
    mleg(client, leg(low, "buy_to_open"), leg(high, "sell_to_open"), qty="3")
    client.wait(60 * SECOND)
    before = cash(client)
    client.wait(FRIDAY_NOON + 13 * HOUR)

    assert client.get("/v2/positions") == []
    assert cash(client) == before + 300 * (strike(high) - strike(low))


def test_somebody_may_exercise_early_against_a_short() -> None:
    client = Client(hours="us")
    call = near(client, away=5)
    client.order(qty="200")
    client.wait(SECOND)
    filled(client, call, "sell", qty="2")
    before = cash(client)
    client.twin.assign(call, D(1))

    assert (position(client, call), position(client, "AAPL")) == (-1, 100)
    assert cash(client) == before + 100 * strike(call)
    assert sorted(row[:3] for row in ends(client)) == [("OPASN", call, "1"), ("OPTRD", "AAPL", "-100")]


def test_a_split_of_what_options_are_about_is_not_modelled_and_says_so() -> None:
    client = Client(hours="us")
    call = near(client)
    filled(client, call)

    with pytest.raises(ValueError, match="options on AAPL"):
        client.twin.split("AAPL", D(2))
    client.twin.split("TSLA", D(2))
    assert strike(near(client, underlying="TSLA")) < 300


def test_a_put_delivers_the_shares_that_another_one_brought() -> None:
    client = Client(hours="us")
    high, low = near(client, "put", expiry=SOON, away=20), near(client, "put", expiry=SOON, away=10)
    mleg(client, leg(high, "buy_to_open"), leg(low, "sell_to_open"), qty="2")
    client.wait(60 * SECOND)
    before = cash(client)
    client.wait(FRIDAY_NOON + 13 * HOUR)

    assert client.get("/v2/positions") == []
    assert cash(client) == before + 200 * (strike(high) - strike(low))
