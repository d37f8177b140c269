"""Price-time priority for one instrument, in whole price units and lots; who owns an order is a string, "" is the market.

Apart from the exchange, so that priority can be proved by properties alone. The market's own depth is refreshed in place: what stays at a level keeps
its place in the queue, what is new stands behind, so that a resting order has to wait its turn.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

import msgspec

from trading_system.domain.fix import Side

MARKET = ""  # owner of the depth that the simulated market shows


class Match(msgspec.Struct, frozen=True):
    """One trade: always at the resting order's price."""

    maker: str
    taker: str
    taker_side: Side
    price: int
    qty: int


class _Entry:
    __slots__ = ("owner", "price", "qty")

    def __init__(self, owner: str, price: int, qty: int) -> None:
        self.owner = owner
        self.price = price
        self.qty = qty


class _Half:
    """One side of the book. `sign` makes the best price the lowest key: +1 for offers, -1 for bids."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []  # sign × price, ascending: the best first
        self.levels: dict[int, deque[_Entry]] = {}

    def add(self, entry: _Entry) -> None:
        key = self.sign * entry.price
        level = self.levels.get(key)
        if level is None:
            insort(self.keys, key)
            level = self.levels[key] = deque()
        level.append(entry)

    def drop(self, key: int) -> None:
        del self.levels[key]
        del self.keys[bisect_left(self.keys, key)]

    def best(self) -> int | None:
        return self.sign * self.keys[0] if self.keys else None

    def reaches(self, limit: int | None) -> bool:
        """Whether the best order here may trade with an incoming one of this limit (None: any price)."""
        return bool(self.keys) and (limit is None or self.keys[0] <= self.sign * limit)

    def available(self, limit: int | None) -> int:
        """Lots within the limit."""
        return sum(entry.qty for key in self.keys if limit is None or key <= self.sign * limit for entry in self.levels[key])


class _Stop(msgspec.Struct, frozen=True):
    side: Side
    stop: int


class Book:
    """Resting orders of one instrument, and the stops that wait. Deterministic: the same calls give the same matches."""

    def __init__(self) -> None:
        self._halves = {Side.BUY: _Half(-1), Side.SELL: _Half(1)}
        self._mine: dict[str, tuple[Side, _Entry]] = {}
        self._stops: dict[str, _Stop] = {}  # in order of arrival

    def best(self, side: Side) -> int | None:
        """The best resting price on a side."""
        return self._halves[side].best()

    def depth(self, side: Side) -> list[tuple[int, int]]:
        """(price, lots) of every level, the best first."""
        half = self._halves[side]
        return [(half.sign * key, sum(entry.qty for entry in half.levels[key])) for key in half.keys]

    def resting(self, owner: str) -> int:
        """Lots that an order still has in the book; 0 when it is not there."""
        return self._mine[owner][1].qty if owner in self._mine else 0

    def submit(self, owner: str, side: Side, qty: int, limit: int | None = None, *, rest: bool = True, all_or_none: bool = False) -> list[Match]:
        """Match an order, then let the remainder rest at its limit. rest=False is IOC; all_or_none is FOK; without a limit (a market order)
        the remainder is the caller's to try again or to drop."""
        assert qty > 0
        against = self._halves[side.opposite]
        if all_or_none and against.available(limit) < qty:
            return []
        matches = self._take(owner, side, qty, limit)
        left = qty - sum(match.qty for match in matches)
        if left and rest and limit is not None and not all_or_none:
            entry = _Entry(owner, limit, left)
            self._halves[side].add(entry)
            if owner != MARKET:
                assert owner not in self._mine
                self._mine[owner] = (side, entry)
        return matches

    def _take(self, owner: str, side: Side, qty: int, limit: int | None) -> list[Match]:
        against = self._halves[side.opposite]
        matches: list[Match] = []
        while qty and against.reaches(limit):
            key = against.keys[0]
            level = against.levels[key]
            maker = level[0]
            lots = min(qty, maker.qty)
            matches.append(Match(maker.owner, owner, side, maker.price, lots))
            maker.qty -= lots
            qty -= lots
            if not maker.qty:
                level.popleft()
                self._mine.pop(maker.owner, None)
                if not level:
                    against.drop(key)
        return matches

    def cancel(self, owner: str) -> int:
        """Take an order or a stop out; the lots that were left of it in the book."""
        self._stops.pop(owner, None)
        if owner not in self._mine:
            return 0
        side, entry = self._mine.pop(owner)
        half = self._halves[side]
        key = half.sign * entry.price
        half.levels[key].remove(entry)
        if not half.levels[key]:
            half.drop(key)
        return entry.qty

    def refresh(self, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]]) -> list[Match]:
        """Set the market's depth to these (price, lots). Where it meets somebody's resting order it trades with it, at the resting price."""
        wanted = {Side.BUY: dict(bids), Side.SELL: dict(asks)}
        for side, half in self._halves.items():
            self._shrink(half, wanted[side])
        matches: list[Match] = []
        for side, levels in wanted.items():
            for price, lots in levels.items():
                if lots > 0:
                    matches += self.submit(MARKET, side, lots, price)
        return matches

    @staticmethod
    def _shrink(half: _Half, wanted: dict[int, int]) -> None:
        """Keep of the market's standing entries what is still wanted; `wanted` keeps what is missing."""
        for key in list(half.keys):
            level = half.levels[key]
            price = half.sign * key
            for entry in [entry for entry in level if entry.owner == MARKET]:
                keep = min(entry.qty, wanted.get(price, 0))
                if keep:
                    entry.qty = keep
                    wanted[price] -= keep
                else:
                    level.remove(entry)
            if not level:
                half.drop(key)

    def add_stop(self, owner: str, side: Side, stop: int) -> None:
        """Wait for the last price to reach `stop`: at or above it for a buy, at or below it for a sell."""
        assert owner not in self._stops
        assert owner not in self._mine
        self._stops[owner] = _Stop(side, stop)

    def move_stop(self, owner: str, stop: int) -> None:
        """Let a stop wait for another price; it keeps its place among those that one trade sets off."""
        self._stops[owner] = _Stop(self._stops[owner].side, stop)

    def waiting(self, owner: str) -> bool:
        return owner in self._stops

    def trigger(self, last: int) -> list[str]:
        """The stops that a trade at this price sets off, in order of arrival. They leave the book; the caller submits what they become."""
        fired = [owner for owner, stop in self._stops.items() if (last - stop.stop) * stop.side.sign >= 0]
        for owner in fired:
            del self._stops[owner]
        return fired

    @property
    def idle(self) -> bool:
        """Nobody but the market has anything here."""
        return not self._mine and not self._stops
