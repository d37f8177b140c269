"""Backtests beside other projects on the same bars, in one run of alternating rounds: a trend that trades seldom, and an order every bar.

Each contender gets the same minute bars from a file, buys while the fast average is above the slow one, and sells below ("trend"); or buys and
sells in turn, at the market, on every bar ("orders"). Reading the file and warming up are not counted. Prints bars a second.
"""

import statistics
import subprocess
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from trading_system.brokers import registry
from trading_system.core.risk import Limits
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.market import Bar
from trading_system.domain.signal import Allocation, Wish
from trading_system.research.backtest import Setup, run
from trading_system.research.data import instrument_of, invented, read_events, write_bars
from trading_system.sim.history import Costs
from trading_system.sizing.sizer import Aims
from trading_system.strategy.base import Context, Strategy

ROOT = Path(__file__).parent.parent
PYTHON = ROOT / ".venv-backtesters" / "bin" / "python"
PEERS = ("backtesting.py", "backtrader", "basana", "nautilus_trader")
NAME, BROKER = InstrumentID("AAPL"), BrokerName("alpaca")
MINUTE_NS = 60_000_000_000
BARS = {"trend": 40_000, "orders": 8_000}
FAST, SLOW, ROUNDS = 20, 100, 3
CASH = Decimal(1_000_000)


class Trend(Strategy):
    """In while the fast average is above the slow one. Sums are carried along, as each of the others does it in its own way."""

    bars, instruments = "1m", (str(NAME),)

    def on_bar(self, ctx: Context, bar: Bar) -> list[Wish]:
        closes = ctx.closes(NAME, SLOW)
        if len(closes) < SLOW:
            return []
        up, held = sum(closes[-FAST:]) / FAST > sum(closes) / SLOW, ctx.position(NAME)
        if up and not held:
            return [ctx.hold(NAME, 0.1)]
        return [ctx.leave(NAME)] if held and not up else []


class Orders(Strategy):
    """In and out, bar by bar."""

    bars, instruments = "1m", (str(NAME),)

    def on_bar(self, ctx: Context, bar: Bar) -> list[Wish]:
        return [ctx.leave(NAME) if ctx.position(NAME) else Allocation(instrument=NAME, weight=ONE_PERCENT)]


ONE_PERCENT = Decimal("0.01")


def ours(task: str, path: Path) -> float:
    """Bars a second of the desk."""
    bars = read_events(path, NAME)
    limits = Limits(max_orders_per_second=1_000_000, max_orders_per_minute=1_000_000)
    setup = Setup(
        facts=registry.facts(BROKER),
        instruments=(instrument_of(BROKER, NAME),),
        cash=CASH,
        limits=limits,
        aims=Aims(capital=CASH, target=CASH * 1000),
        costs=Costs(participation=Decimal(1)),
    )
    strategy = Trend() if task == "trend" else Orders()
    started = time.perf_counter()
    result = run([strategy], [bars], setup)
    took = time.perf_counter() - started
    assert result.fills
    return len(bars) / took


def peer(name: str, task: str, path: Path) -> float | None:
    """Bars a second of another project, in its own environment; None: it is not installed, or does not run here."""
    if not PYTHON.exists():
        return None
    done = subprocess.run([str(PYTHON), "-m", "bench.peer_backtest", name, task, str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        return float(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        print(f"  {name} did not run: {done.stderr.strip().splitlines()[-1:]}")
        return None


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for task, count in BARS.items():
            path = Path(folder) / f"{task}.csv"
            events = [event for event in invented(NAME, count // 1440 + 1, 1, MINUTE_NS) if isinstance(event, Bar)][:count]
            names = ("open_ns", "instrument", "open", "high", "low", "close", "volume")
            write_bars(path, [{name: getattr(bar, name) for name in names} for bar in events])
            rates: dict[str, list[float]] = {"trading_system": []} | {name: [] for name in PEERS}
            for _ in range(ROUNDS):
                rates["trading_system"].append(ours(task, path))
                for name in PEERS:
                    found = peer(name, task, path)
                    if found is not None:
                        rates[name].append(found)
            own = statistics.median(rates["trading_system"])
            print(f"{task}: {count:,} bars, median of {ROUNDS} rounds, bars a second (× ours)")
            for name, found_rates in rates.items():
                if found_rates:
                    rate = statistics.median(found_rates)
                    print(f"  {name:18} {rate:12,.0f}  {rate / own:6.2f}")


if __name__ == "__main__":
    main()
