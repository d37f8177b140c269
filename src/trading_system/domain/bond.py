"""Bonds by their CUSIP. One unit is 1,000 of the money that is owed, its price a percentage of that: 98.5 is 985 for a unit."""

from decimal import Decimal

UNIT_PER_POINT = Decimal(10)  # money that one percent of a unit is
_SIGNS = {letter: 10 + place for place, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}


def is_cusip(text: str) -> bool:
    """Nine characters, the last of which checks the others.

    >>> is_cusip("912797NH6"), is_cusip("912797NH5"), is_cusip("AAPL"), is_cusip("91279 NH6"), is_cusip("912797NHX")
    (True, False, False, False, False)

    Source: ANSI X9.6: every second one counts double, and digits are added up
    """
    if len(text) != 9 or not text[-1].isdecimal() or not text.isascii():
        return False
    total = 0
    for place, letter in enumerate(text[:-1]):
        value = int(letter) if letter.isdecimal() else _SIGNS.get(letter)
        if value is None:
            return False
        value *= 1 + place % 2
        total += value // 10 + value % 10
    return (10 - total % 10) % 10 == int(text[-1])
