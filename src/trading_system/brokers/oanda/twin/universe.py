"""What the twin lists: six pairs of currencies, of which some are not quoted in the account's money, and gold. Prices are scenery."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.brokers.oanda import wire
from trading_system.domain.money import ONE
from trading_system.sim.exchange import Terms
from trading_system.sim.market import Listing
from trading_system.sim.sessions import Sessions

HOME = "USD"
PREMIUM_PIPS = Decimal(2)
LIQUIDITY = Decimal(250_000)  # the steps of the ladder's sizes, in units
# symbol, kind, price, decimals, pip, volatility a year, spread in points, margin rate, units' decimals, interest a year of long and short
PAIRS = (
    ("EUR_USD", "CURRENCY", "1.15", 5, -4, 0.08, 14, "0.02", 0, "-0.021", "0.004"),
    ("GBP_USD", "CURRENCY", "1.33", 5, -4, 0.09, 18, "0.05", 0, "-0.008", "-0.006"),
    ("AUD_USD", "CURRENCY", "0.65", 5, -4, 0.11, 16, "0.03", 0, "-0.007", "-0.004"),
    ("USD_JPY", "CURRENCY", "148", 3, -2, 0.1, 16, "0.03", 0, "0.028", "-0.045"),
    ("EUR_GBP", "CURRENCY", "0.865", 5, -4, 0.06, 16, "0.05", 0, "-0.028", "0.011"),
    ("USD_CHF", "CURRENCY", "0.81", 5, -4, 0.08, 18, "0.04", 0, "0.027", "-0.047"),
    ("XAU_USD", "METAL", "3350", 3, -2, 0.16, 400, "0.05", 0, "-0.06", "0.03"),
)


class Pair(msgspec.Struct, frozen=True):
    """One instrument, and what holding it for a year costs or earns."""

    shown: wire.Instrument
    money: str  # that it is quoted in
    long_rate: Decimal
    short_rate: Decimal

    @property
    def margin_rate(self) -> Decimal:
        return Decimal(self.shown.marginRate)

    @property
    def premium(self) -> Decimal:
        """What a guaranteed stop costs for each unit, where it is met."""
        return PREMIUM_PIPS.scaleb(self.shown.pipLocation)


class Universe(msgspec.Struct, frozen=True):
    """Everything listed, by symbol."""

    pairs: Mapping[str, Pair]
    listings: tuple[Listing, ...]
    terms: dict[str, Terms]


def universe(hours: str, start_ns: int = 0) -> Universe:
    """hours: "always", or anything else for forex's own week."""
    sessions = Sessions("always" if hours == "always" else "forex")
    pairs, listings, terms = {}, [], {}
    for symbol, kind, price, digits, pip, volatility, spread, margin, unit_digits, long_rate, short_rate in PAIRS:
        unit, currency = ONE.scaleb(-digits), symbol.partition("_")[2]
        pairs[symbol] = Pair(_shown(symbol, kind, digits, pip, margin, unit_digits), currency, Decimal(long_rate), Decimal(short_rate))
        terms[symbol] = Terms(base=symbol, money="" if currency == HOME else currency)  # units of a pair are no money of anybody's
        listings.append(
            Listing(
                symbol=symbol,
                price=Decimal(price),
                unit=unit,
                volatility=volatility,
                spread=spread,
                size=LIQUIDITY,
                touch=20,
                sessions=sessions,
            )
        )
    return Universe(pairs, tuple(listings), terms)


def _shown(symbol: str, kind: str, digits: int, pip: int, margin: str, unit_digits: int) -> wire.Instrument:
    return wire.Instrument(
        name=symbol,
        type=kind,
        displayName=symbol.replace("_", "/"),
        pipLocation=pip,
        displayPrecision=digits,
        tradeUnitsPrecision=unit_digits,
        minimumTradeSize="1",
        maximumTrailingStopDistance=format(Decimal(10_000).scaleb(pip), "f"),
        minimumTrailingStopDistance=format(Decimal(5).scaleb(pip), "f"),
        maximumPositionSize="0",
        maximumOrderUnits="100000000",
        marginRate=margin,
        commission=wire.Commission(commission="0.0000", unitsTraded="0", minimumCommission="0.0000"),
    )
