"""Hold something while its price is above its average of the last quotes, with a stop. No advice: a strategy to start from.

trading run examples/strategies/above_average.py --twin --set instrument=AAPL --seconds 60
"""

from collections import deque

from trading_system.domain.fix import Side
from trading_system.strategy.base import Belief, Strategy


class AboveAverage(Strategy):
    quotes = True

    def __init__(self, instrument: str = "AAPL", count: int = 8, stop: float = 0.005):
        self.instruments = (instrument,)
        self.prices = deque(maxlen=count)
        self.stop = stop

    def on_quote(self, ctx, quote):
        if quote.mid is None:
            return
        self.prices.append(quote.mid)
        average, held = sum(self.prices) / len(self.prices), ctx.position(quote.instrument)
        if len(self.prices) < self.prices.maxlen:
            return
        if quote.mid > average and not held:
            edge = Belief(self.stop, 4 * self.stop).edge(Side.BUY)  # believed, not measured
            yield ctx.enter(quote.instrument, Side.BUY, stop=self.stop, edge=edge, text="above its average")
        elif quote.mid < average and held:
            yield ctx.leave(quote.instrument, "below its average")

    def on_stop(self, ctx):
        yield ctx.leave(self.instruments[0], "the end")
