"""What a search for instruments finds, and the one order in which lists of them are searched."""

from collections.abc import Iterable

import msgspec

from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """An instrument that fits what was searched for. title: its name in words; empty where the broker gives it none."""

    instrument: InstrumentID
    asset_class: AssetClass
    symbol: str  # the broker's own spelling
    title: str = ""


def matching(text: str, listed: Iterable[Match]) -> tuple[Match, ...]:
    """Those whose symbol or title has the text in it: first the symbol itself, then what begins with it, what has it, and titles.

    >>> names = {"AAPL": "Apple Inc.", "AA": "Alcoa", "MAA": "Mid-America", "PAA": "Plains", "GM": "General Motors"}
    >>> rows = [Match(instrument=InstrumentID(name), asset_class=AssetClass.EQUITY, symbol=name, title=title) for name, title in names.items()]
    >>> [found.symbol for found in matching("aa", rows)]
    ['AA', 'AAPL', 'MAA', 'PAA']
    >>> [found.symbol for found in matching("motors", rows)]
    ['GM']
    """
    word = text.upper()
    ranked = ((_rank(word, one), one.instrument, one) for one in listed)
    return tuple(one for _, _, one in sorted((row for row in ranked if row[0] is not None), key=lambda row: row[:2]))


def _rank(word: str, one: Match) -> int | None:
    names = (one.instrument.upper(), one.symbol.upper())
    if word in (*names, one.instrument.partition("/")[0].upper()):
        return 0
    if any(name.startswith(word) for name in names):
        return 1
    if any(word in name for name in names):
        return 2
    return 3 if word in one.title.upper() else None
