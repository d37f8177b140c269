"""Option contracts and their names: OCC's without blanks for options on stocks, AAPL261218C00200000; exchanges' own for those on coins,
BTC-25DEC26-95000-C/USDT, which are settled in the money behind the slash."""

import re
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import Quote
from trading_system.domain.money import plain

_OCC = re.compile(r"([A-Z][A-Z0-9]{0,5})([0-9]{2})([0-9]{2})([0-9]{2})([CP])([0-9]{8})")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_PLAIN = r"[1-9][0-9]*|(?:0|[1-9][0-9]*)\.[0-9]*[1-9]"
_COIN = re.compile(rf"([A-Z0-9]{{2,10}})-([1-9][0-9]?)({'|'.join(MONTHS)})([0-9]{{2}})-({_PLAIN})-([CP])/([A-Z]{{3,5}})")
_MILLE = Decimal(1000)


class Right(StrEnum):
    CALL = "call"
    PUT = "put"

    @property
    def letter(self) -> str:
        return self.value[0].upper()


_RIGHT = {right.letter: right for right in Right}


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """The right to buy (call) or sell (put) one multiplier of `underlying` at `strike`, in its currency per unit, up to the end of `expiry`."""

    underlying: InstrumentID  # BTC/USDT; or the OCC root: the stock's symbol, with a digit where a corporate action changed what is delivered
    expiry: date
    right: Right
    strike: Decimal

    @property
    def in_cash(self) -> bool:
        """Whether money is all that moves at expiry: so it is with options on coins."""
        return "/" in self.underlying

    def payoff(self, price: Decimal) -> Decimal:
        """What one unit is worth at expiry, were the underlying at this price."""
        return max(Decimal(0), price - self.strike if self.right is Right.CALL else self.strike - price)


class Greeks(msgspec.Struct, frozen=True, kw_only=True):
    """Sensitivities of one unit's price, as brokers state them: vega per point of volatility, theta per calendar day, rho per point of rate, where it
    is stated."""

    delta: Decimal
    gamma: Decimal
    theta: Decimal
    vega: Decimal
    rho: Decimal | None


class OptionSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a chain. quote, implied volatility (a year's, as a fraction) and greeks are None where the broker has none."""

    contract: Contract
    instrument: InstrumentID
    quote: Quote | None
    implied_volatility: Decimal | None
    greeks: Greeks | None


def parse_occ(text: str) -> Contract:
    """Read OCC's 21 characters with or without the blanks behind the root.

    Raises: ValueError: anything else, a day that does not exist included; the caller says where it came from.
    Source: OCC, Options Symbology Initiative

    >>> parse_occ("AAPL261218C00200000").strike
    Decimal('200')
    """
    found = _OCC.fullmatch(text.replace(" ", ""))
    if found is None:
        raise ValueError(f"{text[:30]!r} is no option: write AAPL261218C00200000 (root, yymmdd, C or P, strike × 1000 in eight digits)")
    root, year, month, day, right, strike = found.groups()
    price = Decimal(strike) / _MILLE
    if not price:
        raise ValueError(f"{text[:30]!r} has no strike")
    expiry = date(2000 + int(year), int(month), int(day))
    return Contract(underlying=InstrumentID(root), expiry=expiry, right=_RIGHT[right], strike=Decimal(plain(price)))


def occ(contract: Contract) -> InstrumentID:
    """The name of a contract.

    Raises: ValueError: a strike with more than three decimals, or above 99,999.999.

    >>> occ(parse_occ("SPY   240119P00480500"))
    'SPY240119P00480500'
    """
    mille = contract.strike * _MILLE
    if mille != mille.to_integral_value() or not 0 < mille < 100_000_000:
        raise ValueError(f"OCC has no name for a strike of {plain(contract.strike)}")
    return InstrumentID(f"{contract.underlying}{contract.expiry:%y%m%d}{contract.right.letter}{int(mille):08d}")


def parse_option(text: str) -> Contract:
    """Read our name of an option, on a stock or on a coin. Raises as parse_occ.

    >>> parse_option("BTC-25DEC26-95000-C/USDT").underlying
    'BTC/USDT'
    """
    found = _COIN.fullmatch(text)
    if found is None:
        return parse_occ(text)
    base, day, month, year, strike, right, currency = found.groups()
    expiry = date(2000 + int(year), MONTHS.index(month) + 1, int(day))
    return Contract(underlying=InstrumentID(f"{base}/{currency}"), expiry=expiry, right=_RIGHT[right], strike=Decimal(strike))


def option_name(contract: Contract) -> InstrumentID:
    """Our name of a contract. Raises as occ.

    >>> option_name(parse_option("BTC-1JAN27-95000.5-P/USDT"))
    'BTC-1JAN27-95000.5-P/USDT'
    """
    if not contract.in_cash:
        return occ(contract)
    base, _, currency = contract.underlying.partition("/")
    day = f"{contract.expiry.day}{MONTHS[contract.expiry.month - 1]}{contract.expiry:%y}"
    return InstrumentID(f"{base}-{day}-{plain(contract.strike)}-{contract.right.letter}/{currency}")


def is_option(instrument: InstrumentID) -> bool:
    """Whether a name has an option's form; no stock's is that long, and no pair's has as many parts."""
    return _OCC.fullmatch(instrument) is not None or _COIN.fullmatch(instrument) is not None


def underlying_of(instrument: InstrumentID) -> InstrumentID:
    """What an option is about; anything else is about itself."""
    return parse_option(instrument).underlying if is_option(instrument) else instrument
