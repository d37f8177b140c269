"""Buy and hold: what every other strategy has to beat, after costs."""

from collections.abc import Iterator

from trading_system.domain.market import Bar
from trading_system.domain.signal import Wish
from trading_system.strategy.base import Context, Strategy


class BuyAndHold(Strategy):
    """weight: of equity, once."""

    def __init__(self, instrument: str = "AAPL", weight: float = 0.3, bars: str = "1d") -> None:
        self.instruments, self.bars = (instrument,), bars
        self._weight = weight

    def on_bar(self, ctx: Context, bar: Bar) -> Iterator[Wish]:
        if not ctx.position(bar.instrument):
            yield ctx.hold(bar.instrument, self._weight, "bought to hold")
