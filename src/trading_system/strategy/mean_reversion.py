"""Mean reversion: buy what has fallen so many deviations below its average, out at the average or at the stop. It loses where a fall goes on."""

from collections.abc import Iterator
from statistics import fmean, pstdev

from trading_system.domain.fix import Side
from trading_system.domain.market import Bar
from trading_system.domain.signal import Wish
from trading_system.strategy.base import Belief, Context, Strategy


class MeanReversion(Strategy):
    """window: bars in the average. away: deviations below it that are bought. stop: below the entry, as a fraction of its price."""

    def __init__(
        self,
        instrument: str = "AAPL",
        window: int = 20,
        away: float = 2.0,
        stop: float = 0.02,
        mean: float = 0.01,
        deviation: float = 0.04,
        bars: str = "1d",
    ) -> None:
        if window < 2 or away <= 0:
            raise ValueError("window is 2 or more, away is above 0")
        self.instruments, self.bars, self.history = (instrument,), bars, window
        self._window, self._away, self._stop, self._belief = window, away, stop, Belief(mean, deviation)

    def on_bar(self, ctx: Context, bar: Bar) -> Iterator[Wish]:
        closes = ctx.closes(bar.instrument, self._window)
        if len(closes) < self._window:
            return
        average, spread = fmean(closes), pstdev(closes)
        held = ctx.position(bar.instrument)
        if not held and spread and closes[-1] < average - self._away * spread:
            text = f"{(average - closes[-1]) / spread:.1f} deviations below its average"
            yield ctx.enter(bar.instrument, Side.BUY, stop=self._stop, edge=self._belief.edge(Side.BUY), text=text)
        elif held and closes[-1] >= average:
            yield ctx.leave(bar.instrument, "back at its average")
