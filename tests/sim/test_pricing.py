"""Option prices: the textbook's figures, parity, sensitivities against differences, prices that never cross."""

import math
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_system.domain.option import Contract, Right
from trading_system.sim.pricing import YEAR_NS, Inputs, greeks, price, quote, value, volatility

D = Decimal
EXPIRY = date(2026, 12, 18)
WEEKS = st.floats(1 / 365, 1.0)
STRIKES = st.floats(0.7, 1.4)


def contract(right: Right, strike: Decimal) -> Contract:
    return Contract(underlying="AAPL", expiry=EXPIRY, right=right, strike=strike)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("right", "spot", "strike", "years", "sigma", "rate", "expected"),
    [
        (Right.CALL, 42, 40, 0.5, 0.2, 0.1, 4.7594),  # Hull, example 15.6
        (Right.PUT, 42, 40, 0.5, 0.2, 0.1, 0.8086),
        (Right.CALL, 49, 50, 0.3846, 0.2, 0.05, 2.4005),  # Hull, chapter 19: "about $240,000 for 100,000"
        (Right.CALL, 100, 100, 1, 0.2, 0.05, 10.4506),
        (Right.PUT, 100, 100, 1, 0.2, 0.05, 5.5735),
    ],
)
def test_the_textbook_prices(right: Right, spot: float, strike: float, years: float, sigma: float, rate: float, expected: float) -> None:
    assert price(Inputs(right, spot, strike, years, sigma, rate)) == pytest.approx(expected, abs=6e-5)


def test_the_textbook_greeks() -> None:
    found = greeks(Inputs(Right.CALL, 49, 50, 0.3846, 0.2, 0.05))

    assert float(found.delta) == pytest.approx(0.522, abs=5e-4)  # Hull, 19.4 to 19.9
    assert float(found.gamma) == pytest.approx(0.066, abs=5e-4)
    assert float(found.theta) * 365 == pytest.approx(-4.31, abs=5e-3)
    assert float(found.vega) * 100 == pytest.approx(12.1, abs=5e-2)
    assert float(found.rho) * 100 == pytest.approx(8.91, abs=5e-3)


@given(STRIKES, WEEKS, st.floats(0.1, 0.9))
def test_a_call_and_a_put_make_a_forward(strike: float, years: float, sigma: float) -> None:
    call, put = (price(Inputs(right, 100, strike * 100, years, sigma)) for right in Right)

    assert call - put == pytest.approx(100 - strike * 100 * math.exp(-0.04 * years), abs=1e-9)


@given(st.sampled_from(Right), STRIKES, st.floats(0.02, 1.0), st.floats(0.1, 0.9))
def test_the_greeks_are_what_small_steps_change(right: Right, strike: float, years: float, sigma: float) -> None:
    at = Inputs(right, 100, strike * 100, years, sigma)

    def moved(name: str, by: float) -> float:
        return price(msgspec.structs.replace(at, **{name: getattr(at, name) + by}))

    found = greeks(at)
    step = 1e-3

    assert float(found.delta) == pytest.approx((moved("spot", step) - moved("spot", -step)) / (2 * step), abs=1e-5)
    assert float(found.gamma) == pytest.approx((moved("spot", 0.01) - 2 * price(at) + moved("spot", -0.01)) / 1e-4, abs=1e-4)
    assert float(found.vega) == pytest.approx((moved("volatility", 1e-5) - moved("volatility", -1e-5)) / 2e-5 / 100, abs=1e-4)
    assert float(found.rho) == pytest.approx((moved("rate", 1e-5) - moved("rate", -1e-5)) / 2e-5 / 100, abs=1e-4)
    assert float(found.theta) == pytest.approx((moved("years", -1e-6) - moved("years", 1e-6)) / 2e-6 / 365, abs=1e-3)


@given(STRIKES, st.floats(0.001, 0.2), WEEKS, st.floats(0.15, 0.6))
@settings(max_examples=300)
def test_with_its_own_volatility_a_call_costs_less_the_higher_its_strike_and_a_put_more(low: float, gap: float, years: float, base: float) -> None:
    high = low + gap
    calls, puts = (
        [price(Inputs(right, 100, strike * 100, years, volatility(base, 100, strike * 100, years))) for strike in (low, high)] for right in Right
    )

    assert calls[0] >= calls[1] - 1e-12
    assert puts[0] <= puts[1] + 1e-12
    assert calls[0] - calls[1] <= gap * 100 + 1e-9  # and never by more than the strikes differ


def test_low_strikes_and_near_days_are_dearer() -> None:
    at = [volatility(0.3, 100, strike, 0.25) for strike in (80, 100, 105)]

    assert at[0] > at[1] > at[2]
    assert volatility(0.3, 100, 100, 0.02) > volatility(0.3, 100, 100, 0.5) > 0.3


def test_at_expiry_an_option_is_worth_what_it_pays() -> None:
    inside, outside = (value(contract(Right.PUT, strike), D("230.5"), 0.3, 0) for strike in (D(240), D(230)))

    assert (inside.price, inside.greeks.delta) == (D("9.5"), D(-1))
    assert (outside.price, outside.greeks.delta, outside.greeks.gamma) == (D(0), D(0), D(0))


@given(st.sampled_from(Right), st.decimals("0.5", "900", places=2), st.decimals("0.6", "1.6", places=2), st.integers(0, YEAR_NS))
def test_the_quote_stands_around_the_price_on_the_grid(right: Right, spot: Decimal, times: Decimal, left_ns: int) -> None:
    known = contract(right, (spot * times).quantize(D("0.5")) + D("0.5"))
    worth = value(known, spot, 0.35, left_ns).price
    bid, ask = quote(worth)

    assert worth >= known.payoff(spot)  # never below what exercise would pay
    assert bid < worth < ask or (bid == 0 == worth < ask)
    for px in (bid, ask):
        assert px % (D("0.01") if px < 3 else D("0.05")) == 0


def test_the_spread_grows_with_the_price() -> None:
    spreads = [ask - bid for bid, ask in map(quote, (D("0.50"), D(2), D(8), D(40)))]

    assert spreads == sorted(set(spreads))
    assert quote(D("0.004")) == (D(0), D("0.02"))  # nobody bids for what is worth nothing
