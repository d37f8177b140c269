"""Moving-average cross: long while the fast average is above the slow one, with a stop. An example to start from, and no promise."""

from collections.abc import Iterator
from statistics import fmean

from trading_system.domain.fix import Side
from trading_system.domain.market import Bar
from trading_system.domain.signal import Wish
from trading_system.strategy.base import Belief, Context, Strategy


class MaCross(Strategy):
    """fast, slow: bars in each average. stop: how far below the entry, as a fraction of its price. mean, deviation: what a trade is believed to make;
    a belief is no measurement, and the backtest says what it really made."""

    def __init__(
        self,
        instrument: str = "AAPL",
        fast: int = 10,
        slow: int = 30,
        stop: float = 0.02,
        mean: float = 0.01,
        deviation: float = 0.05,
        bars: str = "1d",
    ) -> None:
        if not 0 < fast < slow:
            raise ValueError("fast is below slow, both above 0")
        self.instruments, self.bars, self.history = (instrument,), bars, slow + 1
        self._fast, self._slow, self._stop, self._belief = fast, slow, stop, Belief(mean, deviation)

    def on_bar(self, ctx: Context, bar: Bar) -> Iterator[Wish]:
        closes = ctx.closes(bar.instrument, self._slow + 1)
        if len(closes) <= self._slow:
            return
        up = fmean(closes[-self._fast :]) > fmean(closes[-self._slow :])
        was_up = fmean(closes[-self._fast - 1 : -1]) > fmean(closes[:-1])
        held = ctx.position(bar.instrument)
        if up and not was_up and not held:
            yield ctx.enter(bar.instrument, Side.BUY, stop=self._stop, edge=self._belief.edge(Side.BUY), text="fast above slow")
        elif held and not up:
            yield ctx.leave(bar.instrument, "fast below slow")
