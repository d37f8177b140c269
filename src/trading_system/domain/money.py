"""Decimal policy in one place: the context every thread gets, the grammar numbers must have, and the two roundings."""

import decimal
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from trading_system.domain.fix import Side

ZERO = Decimal(0)
ONE = Decimal(1)

# FloatOperation: comparing or mixing a Decimal with a float is a bug, found where it happens. DefaultContext is what new threads copy.
for _context in (decimal.DefaultContext, decimal.getcontext()):
    _context.prec = 50
    _context.rounding = decimal.ROUND_HALF_EVEN
    for _signal in (decimal.FloatOperation, decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow):
        _context.traps[_signal] = True

_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")  # [0-9], not \d: full-width digits are refused
_ORDINARY = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?").fullmatch  # what nearly all numbers are, and in range by its length
LARGEST = Decimal("1e18")
SMALLEST = Decimal("1e-18")


def parse_decimal(text: str) -> Decimal:
    """Read a number from outside: ASCII digits, finite, within 1e-18 … 1e18.

    Raises: ValueError: anything else (NaN, 1_000, 1e999999, blanks); the codec or the setting that read it says where.

    >>> parse_decimal("101.50")
    Decimal('101.50')
    """
    if _ORDINARY(text):
        return Decimal(text)
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a plain number")
    return bounded(Decimal(text))


def bounded(value: Decimal) -> Decimal:
    """The same value, refused when it is no finite number of a size that money can have. For decoders that make Decimals themselves.

    Raises: ValueError: NaN, infinity, or out of range.
    """
    if not value.is_finite():
        raise ValueError(f"{value} is not a finite number")
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise ValueError(f"{value.normalize()} is out of range")
    return value


def plain(value: Decimal) -> str:
    """How a number goes onto a wire or a screen: no exponent, no trailing zeros.

    >>> plain(Decimal("1E-8")), plain(Decimal("100.00")), plain(Decimal("-0"))
    ('0.00000001', '100', '0')
    """
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def round_price(price: Decimal, tick: Decimal, side: Side) -> Decimal:
    """Put a limit price on the broker's grid, never past what was asked: a buy rounds down, a sell up.

    >>> round_price(Decimal("101.30"), Decimal("0.25"), Side.SELL)
    Decimal('101.50')
    """
    steps = (price / tick).to_integral_value(ROUND_FLOOR if side is Side.BUY else ROUND_CEILING)
    return steps * tick


def round_qty(qty: Decimal, lot: Decimal) -> Decimal:
    """Put a quantity on the lot grid, always down: never more than was asked.

    >>> round_qty(Decimal("1.239"), Decimal("0.01"))
    Decimal('1.23')
    """
    return (qty / lot).to_integral_value(ROUND_FLOOR) * lot


def on_grid(value: Decimal, step: Decimal) -> bool:
    """Whether a value is a whole number of steps."""
    return value % step == ZERO
