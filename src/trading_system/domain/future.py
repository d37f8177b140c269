"""Futures and their names: ES-18DEC26/USD is what the exchange calls ES, ends on 18 December 2026 and is paid in dollars."""

import re
from datetime import date

import msgspec

from trading_system.domain.ids import InstrumentID
from trading_system.domain.option import MONTHS

_NAME = re.compile(rf"([A-Z0-9]{{1,10}})-([1-9][0-9]?)({'|'.join(MONTHS)})([0-9]{{2}})/([A-Z]{{3,5}})")


class Future(msgspec.Struct, frozen=True, kw_only=True):
    """What is delivered, or paid for, at the end of its last day of trading."""

    root: str
    expiry: date
    currency: str


def parse_future(text: str) -> Future:
    """Read our name of a future.

    Raises: ValueError: anything else, a day that does not exist included; the caller says where it came from.

    >>> parse_future("ES-18DEC26/USD").root
    'ES'
    """
    found = _NAME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:30]!r} is no future: write ES-18DEC26/USD (root, last day of trading, money)")
    root, day, month, year, currency = found.groups()
    return Future(root=root, expiry=date(2000 + int(year), MONTHS.index(month) + 1, int(day)), currency=currency)


def future_name(future: Future) -> InstrumentID:
    """Our name of a future.

    >>> future_name(parse_future("CL-1JUL26/USD"))
    'CL-1JUL26/USD'
    """
    day = f"{future.expiry.day}{MONTHS[future.expiry.month - 1]}{future.expiry:%y}"
    return InstrumentID(f"{future.root}-{day}/{future.currency}")


def is_future(instrument: InstrumentID) -> bool:
    """Whether a name has a future's form."""
    return _NAME.fullmatch(instrument) is not None
