"""Option chains: the days and strikes there are, and quotes, trades and bars that come from the stock's price and agree with one another."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_system.domain.ids import InstrumentID
from trading_system.domain.option import Contract, Right, occ
from trading_system.sim.market import LOT, TICK_NS, TICKS, Listing, Market
from trading_system.sim.options import Chains, OptionMarket
from trading_system.sim.pricing import Grid
from trading_system.sim.sessions import MINUTE_NS, Sessions, new_york_ns

D = Decimal
TUESDAY = date(2026, 11, 24)
NOON = new_york_ns(TUESDAY, 12 * 60)
CENT = D("0.01")


def chains(seed: int = 5, hours: str = "us", price: str = "230", volatility: float = 0.28) -> tuple[Market, Chains]:
    stock = Listing(symbol="AAPL", price=D(price), unit=D("0.0001"), tick=100, volatility=volatility, touch=300, sessions=Sessions(hours))
    market = Market((stock,), seed)
    return market, Chains(market, {"AAPL": Sessions(hours, extended=False)})


def near(market: Market, found: Chains, right: Right, expiry: date = date(2026, 12, 18)) -> Contract:
    """The contract nearest to the money."""
    spot = market.tick("AAPL", NOON // TICK_NS).bids[0][0] * D("0.0001")
    rows = [one for one in found.contracts("AAPL", TUESDAY) if (one.right, one.expiry) == (right, expiry)]
    return min(rows, key=lambda one: abs(one.strike - spot))


def test_expiries_are_fridays_and_third_fridays_and_the_session_before_a_holiday() -> None:
    _, found = chains()

    assert found.expiries("AAPL", TUESDAY) == [
        date(2026, 11, 27),
        date(2026, 12, 4),
        date(2026, 12, 11),
        date(2026, 12, 18),
        date(2027, 1, 15),
        date(2027, 2, 19),
        date(2027, 3, 19),
    ]
    assert date(2026, 12, 24) in found.expiries("AAPL", date(2026, 12, 7))  # Christmas is a Friday
    assert date(2026, 12, 24) not in found.expiries("AAPL", date(2026, 12, 25))


def test_a_contract_expires_when_its_day_closes() -> None:
    market, found = chains()
    ends = {one.expiry: found.expires_ns(one) for one in found.contracts("AAPL", TUESDAY)}

    assert ends[date(2026, 12, 18)] == new_york_ns(date(2026, 12, 18), 16 * 60)
    assert ends[date(2026, 11, 27)] == new_york_ns(date(2026, 11, 27), 13 * 60)  # after Thanksgiving
    assert market.listings["AAPL"].sessions.is_open(ends[date(2026, 12, 18)] - 1)


@given(st.integers(0, 40), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_strikes_stand_around_the_price_and_are_only_added_to(days: int, seed: int) -> None:
    market, found = chains(seed)
    day = TUESDAY + timedelta(days=days)
    today, tomorrow = set(found.contracts("AAPL", day)), set(found.contracts("AAPL", day + timedelta(days=1)))
    spot = market.latest("AAPL", new_york_ns(day, 0)).bids[0][0] * D("0.0001")

    assert {one for one in today if one.expiry > day} <= tomorrow
    assert chains(seed)[1].contracts("AAPL", day) == found.contracts("AAPL", day)
    for expiry in found.expiries("AAPL", day):
        strikes = [one.strike for one in today if one.expiry == expiry]
        assert min(strikes) < spot * D("0.9") < spot * D("1.1") < max(strikes)
        assert min(abs(strike - spot) for strike in strikes) <= D("2.5")
        assert len(strikes) == 2 * len(set(strikes))  # a call and a put each


def test_a_contract_is_found_by_its_name_and_others_are_not() -> None:
    _, found = chains()
    one = found.contracts("AAPL", TUESDAY)[0]

    assert found.find(occ(one), NOON) == one
    assert found.find(occ(one), NOON + 30 * 86_400 * 10**9) == one  # expired
    assert found.find("AAPL261218C00000500", NOON) is None
    assert found.find("MSFT261218C00200000", NOON) is None
    assert found.find("AAPL", NOON) is None


@pytest.mark.parametrize("right", Right)
def test_the_quote_stands_around_the_models_price_at_every_tick(right: Right) -> None:
    market, found = chains()
    one = near(market, found, right)
    made = found.market_of(one)
    for number in range(NOON // TICK_NS, NOON // TICK_NS + 5 * TICKS, 7):
        tick, worth = market.tick(occ(one), number), made.value(number)

        assert tick.bids[0][0] * CENT < worth.price < tick.asks[0][0] * CENT
        assert [px for px, _ in tick.bids] == sorted((px for px, _ in tick.bids), reverse=True)
        assert [px for px, _ in tick.asks] == sorted(px for px, _ in tick.asks)
        assert all(0 < lots <= 32 * 10**9 for _, lots in (*tick.bids, *tick.asks))
        assert worth.greeks.delta * (1 if right is Right.CALL else -1) > D("0.3")


def test_it_follows_the_stock() -> None:
    market, found = chains()
    made = {right: found.market_of(near(market, found, right)) for right in Right}
    numbers = sorted(range(NOON // TICK_NS, NOON // TICK_NS + 60 * TICKS, TICKS), key=made[Right.CALL].spot)
    low, high = numbers[0], numbers[-1]

    assert made[Right.CALL].value(high).price > made[Right.CALL].value(low).price
    assert made[Right.PUT].value(high).price < made[Right.PUT].value(low).price


def test_bars_are_made_of_the_trades_and_trades_of_the_quotes() -> None:
    market, found = chains()
    one = near(market, found, Right.CALL)
    found.market_of(one)
    symbol, seen = occ(one), 0
    for number in range(NOON // MINUTE_NS, NOON // MINUTE_NS + 60):
        done = list(market.prints(symbol, number * MINUTE_NS, (number + 1) * MINUTE_NS))
        minute = market.minute(symbol, number)
        low, high = market.reach(symbol, number)

        assert minute.prints == len(done)
        assert minute.volume * 10**9 == sum(trade.lots for trade in done)
        for trade in done:
            tick = market.tick(symbol, trade.time_ns // TICK_NS)
            assert tick.printed == trade
            assert trade.price in (tick.bids[0][0], tick.asks[0][0])
            assert minute.low <= trade.price <= minute.high
        for tick in market.quotes(symbol, number * MINUTE_NS, (number + 1) * MINUTE_NS):
            assert low <= tick.bids[0][0] < tick.asks[0][0] <= high
        seen += len(done)
    assert 60 < seen < 600
    assert list(market.prints(symbol, NOON, NOON + 10 * MINUTE_NS)) == list(market.prints(symbol, NOON, NOON + 10 * MINUTE_NS, reverse=True))[::-1]


def test_after_its_expiry_it_is_worth_what_it_pays_and_nothing_trades() -> None:
    market, found = chains()
    one = near(market, found, Right.CALL, date(2026, 11, 27))
    made, end = found.market_of(one), found.expires_ns(one)
    spot = made.spot(end // TICK_NS - 1)

    assert made.value(end // TICK_NS).price == one.payoff(spot)
    assert made.value(end // TICK_NS + 10**6).price == one.payoff(spot)
    assert list(market.prints(occ(one), end, end + 10**15)) == []
    assert market.latest(occ(one), end + 10**14).number == end // TICK_NS - 1


def test_at_night_it_shows_the_last_quote_of_regular_hours() -> None:
    market, found = chains()
    one = near(market, found, Right.PUT)
    found.market_of(one)
    close = new_york_ns(TUESDAY, 16 * 60)

    assert market.latest(occ(one), close + 10**12).time_ns == close - TICK_NS
    assert market.latest("AAPL", close + 10**12).time_ns == close + 10**12  # the stock trades on


def test_no_quote_leaves_a_minutes_reach_when_time_runs_out_either() -> None:
    market, found = chains(price="3000", volatility=0.9)
    friday = date(2026, 11, 27)
    end = new_york_ns(friday, 13 * 60)
    spot = market.tick("AAPL", end // TICK_NS - TICKS).bids[0][0] * D("0.0001")
    rows = [one for one in found.contracts("AAPL", friday) if one.expiry == friday]
    for one in sorted(rows, key=lambda row: abs(row.strike - spot))[:4]:
        found.market_of(one)
        for number in range(end // MINUTE_NS - 10, end // MINUTE_NS):
            low, high = market.reach(occ(one), number)
            for tick in market.quotes(occ(one), number * MINUTE_NS, (number + 1) * MINUTE_NS):
                assert all(low <= px for px, _ in tick.bids[:1])
                assert tick.asks[0][0] <= high


def test_an_option_on_a_coin_keeps_its_own_grid_and_ends_at_what_it_pays() -> None:
    bitcoin = Listing(symbol="BTC/USDT", price=D(95_000), unit=D("0.1"), volatility=0.5, size=D("0.001"), touch=150, sessions=Sessions())
    grid = Grid(D(5), D(1_000_000), D(5), size=D("0.01"))
    expires_ns = NOON + 3 * 86_400 * 10**9
    for strike, right in ((90_000, Right.CALL), (100_000, Right.PUT), (140_000, Right.CALL)):
        market = Market((bitcoin,), 5)
        contract = Contract(underlying=InstrumentID("BTC/USDT"), expiry=date(2026, 11, 27), right=right, strike=D(strike))
        found = OptionMarket(market, contract, expires_ns, grid)
        for number in range(NOON // TICK_NS, expires_ns // TICK_NS, 40_001):
            tick, worth = found.tick(number), found.value(number)
            low, high = found.reach(number // TICKS)

            assert all(sizes % int(grid.size / LOT) == 0 for _, sizes in (*tick.bids, *tick.asks))
            assert tick.asks[0][0] * grid.unit > worth.price
            assert all(price * grid.unit < worth.price for price, _ in tick.bids)
            assert all(low <= price for price, _ in tick.bids[:1])
            assert tick.asks[0][0] <= high
        assert found.value(expires_ns // TICK_NS).price == contract.payoff(found.spot(expires_ns // TICK_NS))
