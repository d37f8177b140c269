"""One round of another project's backtest, in its own environment: prints bars a second. `python -m bench.peer_backtest NAME TASK FILE`."""

import csv
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

FAST, SLOW, CASH = 20, 100, 1_000_000


def rows(path: str) -> list[tuple[int, float, float, float, float, float]]:
    with open(path, encoding="utf-8") as file:
        return [
            (int(row["time"]), float(row["open"]), float(row["high"]), float(row["low"]), float(row["close"]), float(row["volume"]))
            for row in csv.DictReader(file)
        ]


def backtesting_py(task: str, path: str) -> float:
    import pandas
    from backtesting import Backtest, Strategy

    data = rows(path)
    frame = pandas.DataFrame([row[1:] for row in data], columns=["Open", "High", "Low", "Close", "Volume"])
    frame.index = pandas.to_datetime([row[0] for row in data])

    class Trend(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            close = pandas.Series(self.data.Close)
            self.fast = self.I(lambda: close.rolling(FAST).mean())
            self.slow = self.I(lambda: close.rolling(SLOW).mean())

        def next(self) -> None:
            if self.fast[-1] > self.slow[-1] and not self.position:
                self.buy(size=10)
            elif self.fast[-1] < self.slow[-1] and self.position:
                self.position.close()

    class Orders(Strategy):  # type: ignore[misc]
        def init(self) -> None:
            return None

        def next(self) -> None:
            if self.position:
                self.position.close()
            else:
                self.buy(size=1)

    test = Backtest(frame, Trend if task == "trend" else Orders, cash=CASH, commission=0.0002)
    started = time.perf_counter()
    test.run()
    return len(data) / (time.perf_counter() - started)


def backtrader(task: str, path: str) -> float:
    import backtrader as bt
    import pandas

    data = rows(path)
    frame = pandas.DataFrame([row[1:] for row in data], columns=["open", "high", "low", "close", "volume"])
    frame.index = pandas.to_datetime([row[0] for row in data])

    class Trend(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.fast, self.slow = bt.indicators.SMA(period=FAST), bt.indicators.SMA(period=SLOW)

        def next(self) -> None:
            if self.fast[0] > self.slow[0] and not self.position:
                self.buy(size=10)
            elif self.fast[0] < self.slow[0] and self.position:
                self.close()

    class Orders(bt.Strategy):  # type: ignore[misc]
        def next(self) -> None:
            if self.position:
                self.close()
            else:
                self.buy(size=1)

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes))
    cerebro.addstrategy(Trend if task == "trend" else Orders)
    cerebro.broker.setcash(CASH)
    cerebro.broker.setcommission(0.0002)
    started = time.perf_counter()
    cerebro.run()
    return len(data) / (time.perf_counter() - started)


def basana(task: str, path: str) -> float:
    import asyncio
    from collections import deque
    from decimal import Decimal

    import basana as bs
    from basana.backtesting import exchange as backtesting
    from basana.backtesting import fees
    from basana.core import event_sources  # noqa: F401  its package is loaded in parts
    from basana.core.bar import Bar, BarEvent

    data = rows(path)
    pair = bs.Pair("AAPL", "USD")

    class Source(bs.FifoQueueEventSource):  # type: ignore[misc]
        def __init__(self) -> None:
            events = []
            for at_ns, first, high, low, last, volume in data:
                begun = datetime.fromtimestamp(at_ns / 1e9, UTC)
                numbers = [Decimal(str(value)) for value in (first, high, low, last, volume)]
                bar = (
                    Bar(begun, pair, *numbers, timedelta(minutes=1))
                    if "duration" in Bar.__init__.__code__.co_varnames
                    else Bar(begun, pair, *numbers)
                )
                events.append(BarEvent(begun + timedelta(minutes=1), bar))
            super().__init__(events=events)

    async def main() -> float:
        dispatcher = bs.backtesting_dispatcher()
        exchange = backtesting.Exchange(dispatcher, initial_balances={"USD": Decimal(CASH)}, fee_strategy=fees.Percentage(percentage=Decimal("0.02")))
        exchange.set_symbol_precision("AAPL", 0)
        exchange.set_symbol_precision("USD", 2)
        exchange.add_bar_source(Source())
        closes: deque[float] = deque(maxlen=SLOW)
        held = False

        async def on_bar(event: Any) -> None:
            nonlocal held
            closes.append(float(event.bar.close))
            up = len(closes) == SLOW and sum(list(closes)[-FAST:]) / FAST > sum(closes) / SLOW
            if task == "orders":
                up = not held
            if up != held and (task == "orders" or len(closes) == SLOW):
                side = bs.OrderOperation.BUY if up else bs.OrderOperation.SELL
                await exchange.create_market_order(side, pair, Decimal(10 if task == "trend" else 1))
                held = up

        exchange.subscribe_to_bar_events(pair, on_bar)
        started = time.perf_counter()
        await dispatcher.run()
        return len(data) / (time.perf_counter() - started)

    return asyncio.run(main())


def nautilus(task: str, path: str) -> float:
    from decimal import Decimal

    from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.config import LoggingConfig, StrategyConfig
    from nautilus_trader.indicators import SimpleMovingAverage
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.data import Bar, BarType
    from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
    from nautilus_trader.model.identifiers import Venue
    from nautilus_trader.model.objects import Money, Price, Quantity
    from nautilus_trader.test_kit.providers import TestInstrumentProvider
    from nautilus_trader.trading.strategy import Strategy

    data = rows(path)
    venue = Venue("XNAS")
    instrument = TestInstrumentProvider.equity(symbol="AAPL", venue="XNAS")
    kind = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")

    class Config(StrategyConfig, frozen=True):  # type: ignore[misc, call-arg]
        orders: bool = False

    class Crossing(Strategy):  # type: ignore[misc]
        def on_start(self) -> None:
            self.fast, self.slow = SimpleMovingAverage(FAST), SimpleMovingAverage(SLOW)
            self.register_indicator_for_bars(kind, self.fast)
            self.register_indicator_for_bars(kind, self.slow)
            self.subscribe_bars(kind)

        def on_bar(self, bar: Any) -> None:
            flat = self.portfolio.is_flat(instrument.id)
            if self.config.orders:
                self._send(OrderSide.BUY, 1) if flat else self.close_all_positions(instrument.id)
            elif self.indicators_initialized():
                if self.fast.value > self.slow.value and flat:
                    self._send(OrderSide.BUY, 10)
                elif self.fast.value < self.slow.value and not flat:
                    self.close_all_positions(instrument.id)

        def _send(self, side: Any, qty: int) -> None:
            self.submit_order(self.order_factory.market(instrument.id, side, Quantity.from_int(qty)))

    engine = BacktestEngine(config=BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(venue=venue, oms_type=OmsType.NETTING, account_type=AccountType.CASH, base_currency=USD, starting_balances=[Money(CASH, USD)])
    engine.add_instrument(instrument)
    bars = []
    for at_ns, first, high, low, last, volume in data:
        prices = [Price(Decimal(f"{value:.2f}"), 2) for value in (first, high, low, last)]
        low_px, high_px = min(prices), max(prices)
        bars.append(Bar(kind, prices[0], high_px, low_px, prices[3], Quantity.from_int(int(volume)), at_ns + 60_000_000_000, at_ns + 60_000_000_000))
    engine.add_data(bars)
    engine.add_strategy(Crossing(Config(orders=task == "orders")))
    started = time.perf_counter()
    engine.run()
    return len(data) / (time.perf_counter() - started)


CONTENDERS = {"backtesting.py": backtesting_py, "backtrader": backtrader, "basana": basana, "nautilus_trader": nautilus}

if __name__ == "__main__":
    name, task, path = sys.argv[1:4]
    print(CONTENDERS[name](task, path))
