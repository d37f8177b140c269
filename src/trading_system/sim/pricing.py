"""What an option is worth: the Black-Scholes-Merton price and its sensitivities, a volatility for every strike and day, and the quote made of them.

Pure, and in floats, because logarithms and the normal distribution are: nothing here is money before it is on the tick grid, as a Decimal. The price
is that of European exercise without dividends, a close one for American options on stocks: the same for calls, for puts a little low; so it is never
let fall below what exercise would pay.
Source: Black, Scholes 1973; Merton 1973; Hull, Options, Futures, and Other Derivatives, chapters 15 and 19
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec

from trading_system.domain.option import Contract, Greeks, Right

RATE = 0.04  # a year, whatever the term
YEAR_NS = 365 * 24 * 3600 * 1_000_000_000
CENT = Decimal("0.01")
_HALF_SPREAD_SHARE = Decimal("0.01")  # of a quote: a hundredth of the price, and a price unit
_SKEW, _SMILE, _NEAR, _REACH = -0.05, 0.02, 0.04, 3.0
_WEEK = 7 / 365
_SHOWN, _PRICE = Decimal("0.000001"), Decimal("0.0001")


class Inputs(msgspec.Struct, frozen=True):
    """What a price depends on; volatility and rate are a year's, as fractions."""

    right: Right
    spot: float
    strike: float
    years: float
    volatility: float
    rate: float = RATE


class Value(msgspec.Struct, frozen=True):
    """An option at one instant."""

    price: Decimal
    volatility: Decimal
    greeks: Greeks


class Grid(msgspec.Struct, frozen=True):
    """Prices move in steps of `step`, and from `wide_px` upwards of `wide_step`; both whole units. Sizes are multiples of `size`."""

    unit: Decimal
    wide_px: Decimal
    wide_step: Decimal
    size: Decimal = Decimal(1)

    def up(self, px: Decimal) -> Decimal:
        """The next price above one on the grid."""
        return px + self.step(px)

    def down(self, px: Decimal) -> Decimal:
        return px - (self.wide_step if px > self.wide_px else self.unit)

    def step(self, px: Decimal) -> Decimal:
        return self.unit if px < self.wide_px else self.wide_step

    def units(self, px: Decimal) -> int:
        return int(px / self.unit)


STOCKS = Grid(CENT, Decimal(3), Decimal("0.05"))  # the Penny Program of US option exchanges


def price(given: Inputs) -> float:
    """In the underlying's currency, of one unit."""
    if given.years <= 0:
        return _intrinsic(given)
    d1, d2 = _moments(given)
    discounted = given.strike * math.exp(-given.rate * given.years)
    if given.right is Right.CALL:
        return given.spot * _below(d1) - discounted * _below(d2)
    return discounted * _below(-d2) - given.spot * _below(-d1)


def greeks(given: Inputs) -> Greeks:
    """Vega and rho per point, theta per calendar day. At expiry only the delta is left."""
    call = given.right is Right.CALL
    if given.years <= 0:
        inside = given.spot > given.strike if call else given.spot < given.strike
        delta = (1.0 if call else -1.0) if inside else 0.0
        return Greeks(delta=_decimal(delta), gamma=_decimal(0), theta=_decimal(0), vega=_decimal(0), rho=_decimal(0))
    d1, d2 = _moments(given)
    sign = 1.0 if call else -1.0
    root = math.sqrt(given.years)
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    discounted = given.strike * math.exp(-given.rate * given.years) * _below(sign * d2)
    decay = -given.spot * density * given.volatility / (2 * root) - sign * given.rate * discounted
    return Greeks(
        delta=_decimal(sign * _below(sign * d1)),
        gamma=_decimal(density / (given.spot * given.volatility * root)),
        theta=_decimal(decay / 365),
        vega=_decimal(given.spot * density * root / 100),
        rho=_decimal(sign * given.years * discounted / 100),
    )


def volatility(base: float, spot: float, strike: float, years: float) -> float:
    """The surface: the stock's own, a little higher for low strikes and far ones, and for near expiries. Flat beyond three deviations, and so gentle
    that prices stay monotonic in the strike."""
    distance = math.log(strike / spot) / (base * math.sqrt(max(years, 0) + _WEEK))
    distance = max(-_REACH, min(_REACH, distance))
    return base * (1 + _NEAR * math.exp(-4 * max(years, 0))) * (1 + _SKEW * distance + _SMILE * distance * distance)


def value(contract: Contract, spot: Decimal, base: float, left_ns: int) -> Value:
    """A contract at the underlying's price, so long before its expiry. base is the underlying's volatility."""
    years = max(0, left_ns) / YEAR_NS
    sigma = volatility(base, float(spot), float(contract.strike), years)
    given = Inputs(contract.right, float(spot), float(contract.strike), years, sigma)
    worth = max(Decimal.from_float(price(given)).quantize(_PRICE), contract.payoff(spot))
    return Value(worth, _decimal(sigma), greeks(given))


def quote(worth: Decimal, grid: Grid = STOCKS) -> tuple[Decimal, Decimal]:
    """Bid and ask around a price, on the grid: the spread grows with it. A bid of 0 is none."""
    half = grid.unit + worth * _HALF_SPREAD_SHARE
    bid, ask = max(Decimal(0), worth - half), worth + half
    below, above = grid.step(bid), grid.step(ask)
    return (bid / below).to_integral_value(ROUND_FLOOR) * below, (ask / above).to_integral_value(ROUND_CEILING) * above


def _intrinsic(given: Inputs) -> float:
    return max(0.0, given.spot - given.strike if given.right is Right.CALL else given.strike - given.spot)


def _moments(given: Inputs) -> tuple[float, float]:
    """d1 and d2."""
    spread = given.volatility * math.sqrt(given.years)
    d1 = (math.log(given.spot / given.strike) + (given.rate + given.volatility**2 / 2) * given.years) / spread
    return d1, d1 - spread


def _below(x: float) -> float:
    """The normal distribution up to x; erfc keeps its digits far out."""
    return math.erfc(-x / math.sqrt(2)) / 2


def _decimal(number: float) -> Decimal:
    return Decimal.from_float(number).quantize(_SHOWN)
