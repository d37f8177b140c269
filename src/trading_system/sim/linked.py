"""Orders that depend on one another, whatever a broker calls it: an entry that wakes its exits, exits of which one ends the other.

Apart from the exchange, which carries out what a group says: bracket, OTO and OCO, OTOCO, take-profit and stop-loss on fill are all this one thing.
Of the exits one at most may rest in the book, the others wait as stops; so no single trade can meet two of them.
"""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from trading_system.domain.money import ZERO


class Group(msgspec.Struct, kw_only=True):
    """One entry or none, and its exits, by order id; a replaced order hands its place on. awake: the exits may work. over: it is decided, whoever
    is left is on its own. late: exits hold nothing before they wake, and are refused then where there is too little. exclusive: the first fill of an
    exit ends the others; else they shrink with it."""

    entry: str | None
    exits: list[str]
    entered: Decimal = ZERO  # filled of the entry, or held when exits alone were sent: the exits close this much between them
    exited: Decimal = ZERO
    awake: bool
    over: bool = False
    late: bool = False
    exclusive: bool = False

    @property
    def members(self) -> Sequence[str]:
        """Everybody, the parent first."""
        return self.exits if self.entry is None else [self.entry, *self.exits]

    @property
    def children(self) -> Sequence[str]:
        """Everybody but the parent."""
        return self.members[1:]

    @property
    def left(self) -> Decimal:
        """What the exits may still close: held once, however many they are."""
        return self.entered - self.exited

    def count(self, order_id: str, qty: Decimal) -> None:
        """Book a fill of a member; below zero when it is undone."""
        if order_id == self.entry:
            self.entered += qty
        else:
            self.exited += qty

    def hand_on(self, old: str, new: str) -> None:
        """A member was replaced: the new order stands where the old one stood."""
        if old == self.entry:
            self.entry = new
        else:
            self.exits[self.exits.index(old)] = new
