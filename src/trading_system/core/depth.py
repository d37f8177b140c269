"""One instrument's book from a snapshot and the changes after it. A gap is an answer, not a guess: whoever keeps the book asks for a new snapshot.

Prices and quantities are floats inside, which hold every decimal of up to 15 digits exactly; what leaves is Decimal, digit for digit as it came.
A price that is taken out stays in its place with a quantity of 0, until it is the best or too many are so: most come back soon. Not so in a book of
so many levels, where each counts.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable
from decimal import Decimal
from enum import Enum, auto
from functools import lru_cache
from itertools import islice

Level = tuple[float, float]  # price, quantity; a quantity of 0 takes the price out
SPARE = 256  # prices of a side that may be out and still in their places, beside as many as are in


class Verdict(Enum):
    """What became of one message."""

    APPLIED = auto()
    OLD = auto()  # it says what the book already says: nothing to do
    GAP = auto()  # something is missing, or the sides cross: the book is void until the next snapshot


class Book:
    """Bids and asks of one instrument. Void until its first snapshot, and after a gap.

    >>> book = Book()
    >>> book.snapshot([(99.5, 2.0)], [(100.0, 1.0)], last=7)
    <Verdict.APPLIED: 1>
    >>> book.change([(99.75, 1.0)], [(100.0, 0.0), (100.25, 3.0)], first=8, last=9)
    <Verdict.APPLIED: 1>
    >>> book.bids(1), book.asks(1)
    (((Decimal('99.75'), Decimal('1.0')),), ((Decimal('100.25'), Decimal('3.0')),))
    >>> book.change([], [], first=11, last=11)
    <Verdict.GAP: 3>
    """

    __slots__ = ("_ask_px", "_asks", "_bid_px", "_bids", "_most", "depth", "last")

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth  # levels kept of each side; 0: all
        self.last: int | None = None  # the number of the last message; None: void
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}
        self._bid_px: list[float] = []  # ascending, as the asks' are
        self._ask_px: list[float] = []
        self._most = SPARE  # prices of a side; where there are more, those that are out are swept away

    def snapshot(self, bids: Iterable[Level], asks: Iterable[Level], last: int = 0) -> Verdict:
        """Begin anew. last: the number of the newest change that it holds; 0 where the venue counts none."""
        self._bids = {price: qty for price, qty in bids if qty}
        self._asks = {price: qty for price, qty in asks if qty}
        self._bid_px, self._ask_px = sorted(self._bids), sorted(self._asks)
        self.last = last
        return self._settled()

    def change(self, bids: Collection[Level], asks: Collection[Level], first: int = 0, last: int = 0) -> Verdict:
        """Apply one message, which holds the changes number `first` to `last`; both 0 where the venue counts none and sends a checksum.

        The message after a snapshot may begin before its end; each later one begins right after the one before it, or is old.
        """
        if self.last is None:
            return Verdict.GAP
        if last:
            if last <= self.last:
                return Verdict.OLD
            if first > self.last + 1:
                return self.void()
            self.last = last
        _put(self._bids, self._bid_px, bids)
        _put(self._asks, self._ask_px, asks)
        if self.depth:
            _take_out(self._bids, self._bid_px, bids)
            _take_out(self._asks, self._ask_px, asks)
            self._cut()
        elif len(self._bid_px) > self._most or len(self._ask_px) > self._most:
            self._sweep()
        return self._settled()

    def void(self) -> Verdict:
        """Forget everything: something is missing."""
        self.last = None
        self._bids, self._asks, self._bid_px, self._ask_px = {}, {}, [], []
        return Verdict.GAP

    def bids(self, levels: int) -> tuple[tuple[Decimal, Decimal], ...]:
        """The best first, as (price, quantity)."""
        return _shown(self._bids, reversed(self._bid_px), levels)

    def asks(self, levels: int) -> tuple[tuple[Decimal, Decimal], ...]:
        """The best first, as (price, quantity)."""
        return _shown(self._asks, self._ask_px, levels)

    def _cut(self) -> None:
        """Venues that keep so many levels stop telling of those beyond."""
        for price in self._bid_px[: -self.depth]:
            del self._bids[price]
        for price in self._ask_px[self.depth :]:
            del self._asks[price]
        del self._bid_px[: -self.depth], self._ask_px[self.depth :]

    def _sweep(self) -> None:
        """Only what is in stays."""
        self._bids = {price: qty for price, qty in self._bids.items() if qty}
        self._asks = {price: qty for price, qty in self._asks.items() if qty}
        self._bid_px, self._ask_px = sorted(self._bids), sorted(self._asks)
        self._most = 2 * max(len(self._bids), len(self._asks)) + SPARE

    def _settled(self) -> Verdict:
        """The best of each side is one that is in."""
        bids, asks = self._bid_px, self._ask_px
        while bids and not self._bids[bids[-1]]:
            del self._bids[bids.pop()]
        while asks and not self._asks[asks[0]]:
            del self._asks[asks.pop(0)]
        return self.void() if bids and asks and bids[-1] >= asks[0] else Verdict.APPLIED


def _put(qtys: dict[float, float], prices: list[float], changes: Iterable[Level]) -> None:
    known = len(qtys)
    qtys.update(changes)
    for price in islice(reversed(qtys), len(qtys) - known):  # those that are new
        insort(prices, price)


def _take_out(qtys: dict[float, float], prices: list[float], changes: Iterable[Level]) -> None:
    for price, qty in changes:
        if not qty and qtys.pop(price, None) is not None:
            del prices[bisect_left(prices, price)]


def _shown(qtys: dict[float, float], prices: Iterable[float], levels: int) -> tuple[tuple[Decimal, Decimal], ...]:
    there = ((price, qty) for price in prices if (qty := qtys[price]))
    return tuple((_exact(price), _exact(qty)) for price, qty in islice(there, levels))


@lru_cache(maxsize=1 << 16)  # the best levels are shown with every change, and most of them stay
def _exact(number: float) -> Decimal:
    return Decimal(repr(number))
