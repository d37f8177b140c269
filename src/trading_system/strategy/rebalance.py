"""Rebalance to weights: each instrument its fraction of equity, mended every so many bars where it has drifted."""

from collections.abc import Iterator

from trading_system.domain.market import Bar
from trading_system.domain.signal import Wish
from trading_system.strategy.base import Context, Strategy


class Rebalance(Strategy):
    """weights: "AAPL:0.2,BTC/USD:0.1". every: bars between looks."""

    def __init__(self, weights: str = "AAPL:0.25", every: int = 20, bars: str = "1d") -> None:
        self._weights = dict(_parsed(part) for part in weights.split(","))
        self.instruments, self.bars = tuple(self._weights), bars
        self._every, self._seen = every, dict.fromkeys(self._weights, 0)

    def on_bar(self, ctx: Context, bar: Bar) -> Iterator[Wish]:
        seen = self._seen[bar.instrument]
        self._seen[bar.instrument] = seen + 1
        if seen % self._every == 0:
            yield ctx.hold(bar.instrument, self._weights[bar.instrument], "back to its weight")


def _parsed(part: str) -> tuple[str, float]:
    name, _, weight = part.rpartition(":")
    try:
        return name.strip().upper(), float(weight)
    except ValueError:
        raise ValueError(f"{part!r} is no weight: write AAPL:0.25,BTC/USD:0.1") from None
