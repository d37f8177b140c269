"""Donchian breakout: long when the price passes its highest of so many bars, out at its lowest of fewer; the stop is so many average ranges away.

Source: Dennis and Eckhardt's rules, as published by Faith, "The Original Turtle Trading Rules" (2003).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean

from trading_system.domain.fix import Side
from trading_system.domain.market import Bar
from trading_system.domain.signal import Wish
from trading_system.strategy.base import Belief, Context, Strategy


class Donchian(Strategy):
    """enter, leave: bars looked back at. ranges: the stop's distance, in average true ranges of `enter` bars. shorts: downward too."""

    def __init__(
        self,
        instrument: str = "AAPL",
        enter: int = 20,
        leave: int = 10,
        ranges: float = 2.0,
        shorts: bool = False,
        mean: float = 0.015,
        deviation: float = 0.08,
        bars: str = "1d",
    ) -> None:
        if not 0 < leave <= enter:
            raise ValueError("leave is at most enter, both above 0")
        self.instruments, self.bars, self.history = (instrument,), bars, enter + 1
        self._enter, self._leave, self._ranges, self._shorts, self._belief = enter, leave, ranges, shorts, Belief(mean, deviation)

    def on_bar(self, ctx: Context, bar: Bar) -> Iterator[Wish]:
        before = ctx.bars(bar.instrument, self._enter + 1)[:-1]
        if len(before) < self._enter:
            return
        held = ctx.position(bar.instrument)
        if not held:
            stop = self._ranges * _true_range(before) / float(bar.close)
            if bar.close > max(past.high for past in before) and 0 < stop < 1:
                yield ctx.enter(bar.instrument, Side.BUY, stop=stop, edge=self._belief.edge(Side.BUY), text="a new high")
            elif self._shorts and bar.close < min(past.low for past in before) and stop > 0:
                yield ctx.enter(bar.instrument, Side.SELL, stop=stop, edge=self._belief.edge(Side.SELL), text="a new low")
            return
        near = before[-self._leave :]
        if (held > 0 and bar.close < min(past.low for past in near)) or (held < 0 and bar.close > max(past.high for past in near)):
            yield ctx.leave(bar.instrument, "back through the channel")


def _true_range(bars: Sequence[Bar]) -> float:
    """Mean of the greatest of: high to low, last close to high, last close to low."""
    ranges = [float(max(bar.high, before.close) - min(bar.low, before.close)) for before, bar in pairwise(bars)]
    return fmean(ranges) if ranges else 0.0
