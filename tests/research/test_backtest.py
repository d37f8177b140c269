"""Backtests: the same desk, nothing of the future, the same result each time, and figures that add up."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import msgspec
import pytest
from click.testing import CliRunner

from tests.cli.shell import CLEAN, TRADING
from tests.factories import AAPL, BROKER, D
from trading_system.app import strategies
from trading_system.brokers import registry
from trading_system.cli.main import trading
from trading_system.core.risk import Limits
from trading_system.domain.errors import BadRequest
from trading_system.domain.fix import Side
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.signal import DAY_NS, Allocation, Outlook, Signal, Wish
from trading_system.journal.record import Intent, Reported
from trading_system.research import report
from trading_system.research.backtest import Result, Setup, run
from trading_system.research.data import (
    Action,
    Event,
    adjusted,
    in_order,
    instrument_of,
    invented,
    merged,
    read_actions,
    read_events,
    session_hours,
    span_of,
    within_hours,
)
from trading_system.research.lookahead import peeks
from trading_system.research.stats import daily, drawdowns, monthly, summary, trips_of
from trading_system.sim.history import Costs
from trading_system.sizing.sizer import Aims
from trading_system.strategy.base import Belief, Context, Filled, Strategy
from trading_system.strategy.buy_and_hold import BuyAndHold
from trading_system.strategy.ma_cross import MaCross
from trading_system.strategy.mean_reversion import MeanReversion

FREE = Costs(spread=D(0), slippage=D(0), participation=D(1))
FACTS = registry.facts(BROKER)
SPY = InstrumentID("SPY")


def setup(*names: str, costs: Costs = FREE, cash: str = "5000", **how: object) -> Setup:
    instruments = tuple(instrument_of(BROKER, InstrumentID(name), D("0.0001")) for name in names or ("AAPL",))
    return Setup(facts=FACTS, instruments=instruments, cash=D(cash), costs=costs, **how)  # type: ignore[arg-type]


def prices(*closes: str, name: InstrumentID = AAPL) -> list[Event]:
    """Days that open where the one before closed."""
    before, found = D(closes[0]), list[Event]()
    for place, text in enumerate(closes):
        close = D(text)
        found.append(
            Bar(
                instrument=name,
                open_ns=place * DAY_NS + 1_600_000_000 * 10**9 // DAY_NS * DAY_NS,
                period_ns=DAY_NS,
                open=before,
                high=max(before, close),
                low=min(before, close),
                close=close,
                volume=D(1_000_000),
            )
        )
        before = close
    return found


def test_a_swap_in_a_dollar_coin_goes_short_over_the_past() -> None:
    swap, bybit = InstrumentID("BTC-PERP/USDT"), registry.facts(BrokerName("bybit"))
    limits = Limits(enable_shorts=True, crypto_max_position_pct=D(1), max_position_pct=D(1))
    made = Setup(facts=bybit, instruments=(instrument_of(bybit.broker, swap),), cash=D(100_000), costs=FREE, limits=limits)
    strategy = Scripted({1: [Allocation(instrument=swap, weight=D("-0.2"))], 3: [Allocation(instrument=swap, weight=D(0))]})
    strategy.instruments = (swap,)
    result = run([strategy], [prices("1000", "900", "800", "800", "800", name=swap)], made)

    assert [(fill.side, fill.price) for fill in result.fills] == [(Side.SELL, D(1_000)), (Side.BUY, D(800))]
    assert 100_190 < result.equity[-1][1] < 100_200  # a fifth of the 5,000 that it is for, less fees, and funding gained
    assert {decided.taken for decided in result.decisions} == {True}


class Scripted(Strategy):
    """Wishes by day."""

    bars = "1d"
    instruments = ("AAPL",)

    def __init__(self, wishes: dict[int, list[Wish]]) -> None:
        self._wishes = wishes
        self.days = 0
        self.fills: list[Filled] = []

    def on_bar(self, ctx: Context, bar: Bar) -> list[Wish]:
        self.days += 1
        return self._wishes.get(self.days, [])

    def on_fill(self, ctx: Context, fill: Filled) -> None:
        self.fills.append(fill)


def hold(weight: str) -> Wish:
    return Allocation(instrument=AAPL, weight=D(weight))


def test_an_order_meets_the_next_bar_and_goes_through_gate_and_journal() -> None:
    strategy = Scripted({1: [hold("0.2")], 3: [hold("0")]})
    result = run([strategy], [prices("100", "110", "120", "130", "140")], setup())

    assert [(fill.side, fill.qty, fill.price) for fill in result.fills] == [(Side.BUY, D(10), D(100)), (Side.SELL, D(10), D(120))]
    assert [fill.qty for fill in strategy.fills] == [D(10), D(10)]
    assert result.equity[-1][1] == 5_200
    assert [decided.taken for decided in result.decisions] == [True, True]
    assert sum(isinstance(record, Intent) for record in result.records) == 2
    assert any(isinstance(record, Reported) for record in result.records)


def test_limits_and_reasons_are_those_of_the_desk() -> None:
    result = run([Scripted({1: [hold("0.9")], 2: [Allocation(instrument=SPY, weight=D("0.1"))]})], [prices("100", "100", "100")], setup())

    assert result.fills[0].qty == 15  # MAX_POSITION_PCT
    assert [(decided.taken, decided.rule) for decided in result.decisions] == [(True, "MAX_POSITION_PCT"), (False, "BadRequest")]


def test_a_fall_halts_as_it_would_live_and_exits_still_pass() -> None:
    limits = Limits(max_daily_loss_pct=D("0.05"))
    result = run(
        [Scripted({1: [hold("0.3")], 3: [hold("0.3")], 4: [hold("0")]})], [prices("100", "100", "70", "60", "60", "60")], setup(limits=limits)
    )

    assert [halt.rule for halt in result.halts] == ["MAX_DAILY_LOSS_PCT"]
    assert [decided.rule for decided in result.decisions if not decided.taken] == ["MAX_DAILY_LOSS_PCT"]
    assert [fill.side for fill in result.fills] == [Side.BUY, Side.SELL]


def test_a_stop_rests_from_the_bar_of_its_entry_on() -> None:
    class Once(Strategy):
        bars, instruments = "1d", ("AAPL",)

        def on_bar(self, ctx: Context, bar: Bar) -> Iterator[Wish]:
            if ctx.now_ns == first_end:
                yield ctx.enter("AAPL", Side.BUY, stop=0.02, edge=Belief(0.02, 0.05).edge(Side.BUY))

    bars = prices("100", "100", "100")
    first_end = bars[0].open_ns + DAY_NS  # type: ignore[union-attr]
    dips = [bars[0], msgspec.structs.replace(bars[1], low=D(97)), bars[2]]
    result = run([Once()], [dips], setup())

    assert [(fill.side, fill.price) for fill in result.fills] == [(Side.BUY, D(100)), (Side.SELL, D(98))]
    assert {fill.strategy for fill in result.fills} == {"once"}
    assert len(trips_of(result.fills)) == 1


def test_strategies_of_one_account_have_books_of_their_own() -> None:
    class Other(Scripted):
        pass

    one, other = Scripted({1: [hold("0.1")], 3: [hold("0")]}), Other({1: [hold("0.1")]})
    result = run([one, other], [prices("100", "100", "100", "100", "100")], setup())

    assert [(fill.strategy, fill.side, fill.qty) for fill in result.fills] == [
        ("scripted", Side.BUY, D(5)),
        ("other", Side.BUY, D(5)),
        ("scripted", Side.SELL, D(5)),
    ]


def test_two_strategies_of_one_name_are_refused() -> None:
    with pytest.raises(BadRequest, match=r"two strategies are called buy-and-hold.* rename the class of one"):
        run([BuyAndHold("AAPL"), BuyAndHold("SPY")], [prices("100", "101"), prices("100", "101", name=SPY)], setup("AAPL", "SPY"))


def test_the_same_arguments_give_the_same_result() -> None:
    def once() -> Result:
        return run([MaCross(fast=3, slow=8)], [invented(AAPL, 400, 5)], setup())

    assert once().records == once().records
    assert once().equity == once().equity


@pytest.mark.parametrize("make", [MaCross, MeanReversion], ids=["ma-cross", "mean-reversion"])
def test_on_a_fair_market_without_costs_nobody_wins(make: type[Strategy]) -> None:
    """Fills that knew more than they may, or stops that were too good, would show here."""
    made = [run([make()], [invented(AAPL, 700, seed)], setup()).equity[-1][1] / 5_000 - 1 for seed in range(40)]

    assert abs(fmean(made)) <= 3.5 * stdev(made) / 40**0.5


class Peeking(Strategy):
    """Looks a day ahead in the data that it was given."""

    bars, instruments = "1d", ("AAPL",)

    def __init__(self, stream: Sequence[Event]) -> None:
        bars = [bar for bar in stream if isinstance(bar, Bar)]
        self._next = {bar.open_ns: after for bar, after in pairwise(bars)}

    def on_bar(self, ctx: Context, bar: Bar) -> list[Wish]:
        after = self._next.get(bar.open_ns)
        return [hold("0.3" if after is not None and after.close > bar.close else "0")]


def test_one_that_knows_the_future_is_caught_and_an_honest_one_is_not() -> None:
    streams = [invented(AAPL, 200, 7)]

    assert peeks(lambda given: Peeking(given[0]), streams, setup()) is not None
    assert peeks(lambda _: MaCross(fast=3, slow=8), streams, setup()) is None
    assert run([Peeking(streams[0])], streams, setup()).equity[-1][1] > 6_000  # which is why it has to be caught


def test_bars_of_one_moment_are_gone_through_together() -> None:
    both = [prices("100", "110"), prices("50", "55", name=SPY)]

    assert [len(group) for group in merged(both)] == [2, 2]


def test_splits_and_dividends_are_no_profit_and_no_loss() -> None:
    days = prices("100", "100", "25", "25")
    days[2] = msgspec.structs.replace(days[2], open=D(25), high=D(25), low=D(25))  # type: ignore[call-arg]
    moment = days[2].open_ns  # type: ignore[union-attr]
    actions = [Action(instrument=AAPL, now_ns=moment, split=D(4)), Action(instrument=AAPL, now_ns=moment + 1, dividend=D("0.1"))]
    result = run([Scripted({1: [hold("0.2")], 4: [hold("0")]})], [[*days, *prices("25", "25", "25", "25", "25", "25")[4:]]], setup(), actions=actions)

    assert result.dividends == 4
    assert result.equity[-1][1] == 5_004
    assert [fill.qty for fill in result.fills] == [D(40), D(40)]  # in units of after the split
    assert [trip.profit for trip in trips_of(result.fills)] == [0]


def test_a_split_sets_off_no_stop_and_looks_like_no_fall() -> None:
    """Twenty days up by a percent each, with four for one on the tenth."""
    days = prices(*(f"{100 * 1.01**day:.2f}" for day in range(20)))
    after = prices(*(f"{25 * 1.01**day:.4f}" for day in range(20)))
    actions = [Action(instrument=AAPL, now_ns=days[10].open_ns, split=D(4))]  # type: ignore[union-attr]
    enter = Signal(instrument=AAPL, side=Side.BUY, edge=Outlook(mean=D("0.02"), deviation=D("0.03")), stop_px=D("24.9"))
    script, plain = (Scripted({3: [enter]}) for _ in range(2))
    result = run([script], [[*days[:10], *after[10:]]], setup(), actions=actions)
    without = run([plain], [after], setup())

    assert [(fill.side, fill.qty) for fill in result.fills] == [(fill.side, fill.qty) for fill in without.fills]
    assert len(result.fills) == 1
    assert result.equity[-1][1] == pytest.approx(without.equity[-1][1], rel=1e-4)


def test_actions_before_a_split_count_in_units_of_after_it() -> None:
    book = BookSnapshot(instrument=AAPL, bids=((D(99), D(1)),), asks=((D(101), D(2)),), transact_ns=5, recv_ns=5)
    quote = Quote(instrument=AAPL, bid_px=D(99), bid_qty=D(1), ask_px=D(101), ask_qty=D(2), transact_ns=6, recv_ns=6)
    trade = Trade(instrument=AAPL, price=D(100), qty=D(3), trade_id="", transact_ns=10, recv_ns=10)
    splits = [Action(instrument=AAPL, now_ns=at_ns, split=D(2)) for at_ns in (10, 20)]
    paid = Action(instrument=AAPL, now_ns=7, dividend=D(4))
    (found,), dividends = adjusted([[book, quote, trade]], [paid, *splits])

    assert (found[0].bids, found[0].asks) == (((D("24.75"), D(4)),), ((D("25.25"), D(8)),))  # type: ignore[union-attr]
    assert (found[1].bid_px, found[1].ask_qty, found[2].price, found[2].qty) == (D("24.75"), D(8), D(50), D(6))  # type: ignore[union-attr]
    assert [action.dividend for action in dividends] == [D(1)]


def test_figures_add_up() -> None:
    script = Scripted({1: [hold("0.3")], 3: [hold("0")], 5: [hold("0.3")], 7: [hold("0")]})
    result = run([script], [prices("100", "100", "110", "110", "110", "90", "90", "90", "90")], setup())
    figures = summary(result)
    trips = trips_of(result.fills)

    assert [trip.made for trip in trips] == pytest.approx([0.1, -2 / 11])
    assert figures.equity == 5_000 + float(sum(trip.profit for trip in trips))
    assert figures.won == 0.5
    assert figures.max_drawdown == pytest.approx(1 - figures.equity / max(value for _, value in result.equity))
    assert figures.decisions == {"taken": 4}
    assert [place for place, _ in daily(result.equity)] == sorted(place for place, _ in daily(result.equity))
    whole = 1.0
    for months in monthly(result.equity, 5_000).values():
        for made in months.values():
            whole *= 1 + made
    assert whole == pytest.approx(1 + figures.total_return)
    assert drawdowns([(0, 100), (DAY_NS, 80), (3 * DAY_NS, 120)], 100) == (pytest.approx(0.2), pytest.approx(3))


# files and the command line


def test_files_of_one_symbol_come_in_any_order_and_do_not_overlap() -> None:
    early, late = invented(AAPL, 20, seed=1)[:10], invented(AAPL, 20, seed=1)[10:]

    assert in_order([*late, *early], AAPL) == [*early, *late]
    with pytest.raises(BadRequest, match="two bars of AAPL at the same time"):
        in_order([*early, *late, *early[3:4]], AAPL)
    monday = msgspec.structs.replace(late[-1], period_ns=3 * DAY_NS)
    assert in_order([*early, monday], AAPL) == [*early, late[-1]]
    with pytest.raises(BadRequest, match="different lengths"):
        in_order([*early, *invented(AAPL, 20, seed=1, period_ns=DAY_NS // 24)[-5:]], AAPL)


def test_files_say_what_they_hold(tmp_path: Path) -> None:
    bars, quotes, trades = tmp_path / "bars.csv", tmp_path / "quotes.csv", tmp_path / "trades.csv"
    bars.write_text("date,open,high,low,close,volume\n2026-01-02,100,102,99,101,5\n2026-01-05,101,103,100,102,6\n")
    quotes.write_text("time,symbol,bid,ask,bid_size,ask_size\n2026-01-02T14:30:00Z,SPY,99.9,100.1,3,4\n")
    trades.write_text("timestamp,price,size\n1767364200,100.5,2\n")

    found = read_events(bars, AAPL)
    assert [type(event).__name__ for event in (found[0], *read_events(quotes), *read_events(trades, AAPL))] == ["Bar", "Quote", "Trade"]
    assert isinstance(found[0], Bar)
    assert (found[0].period_ns, found[0].close) == (3 * DAY_NS, D(101))
    assert read_events(trades, AAPL)[0].transact_ns == 1767364200 * 10**9  # type: ignore[union-attr]


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    path = tmp_path / "bars.parquet"
    columns = {"time": ["2026-01-02", "2026-01-03"], "open": [100.0, 1.0], "high": [102.5, 2.0], "low": [99.0, 1.0], "close": [101.0, 1.5]}
    polars.DataFrame(columns).write_parquet(path)

    found = read_events(path, AAPL)
    assert [(event.high, event.close) for event in found if isinstance(event, Bar)] == [(D("102.5"), D(101)), (D(2), D("1.5"))]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("open,high,low,close\n1,1,1,1\n", "no column of times"),
        ("time,price2\n2026-01-02,1\n", "neither open"),
        ("time,open,high,low,close\n2026-01-02,1,2,1,3\n", "line 2: high and low"),
        ("time,open,high,low,close\n2026-01-02,1,1,1,1\nyesterday,1,1,1,1\n", "line 3"),
        ("time,open,high,low,close\n2026-01-02,nan,1,1,1\n", "line 2"),
        ("time,open,high,low,close\n2026-01-02 10:00:00,1,1,1,1\n", "no offset"),
        ("time,open,high,low,close\n2026-01-02,1,1,1,1\n2026-01-02,1,1,1,1\n", "two bars"),
        ("time,bid,ask\n2026-01-02,2,1\n", "above the ask"),
        ("time,bid1,bid1_size,ask1,ask1_size\n2026-01-02,2,1,1,1\n", "not above the best ask"),
        ("time,bid1,bid1_size,bid2,bid2_size,ask1,ask1_size\n2026-01-02,2,1,2,1,3,1\n", "bid2 is not behind"),
        ("time,price\n2026-01-02,-1\n", "no price"),
        ("time,price\n", "no prices"),
    ],
)
def test_a_file_that_cannot_be_read_names_the_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)

    with pytest.raises(BadRequest, match=said):
        read_events(path, AAPL)


def test_actions_are_read_and_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "actions.csv"
    path.write_text("time,symbol,split,dividend\n2026-02-01,AAPL,,0.25\n2026-01-01,AAPL,4,\n")
    assert [(action.split, action.dividend) for action in read_actions(path)] == [(D(4), None), (None, D("0.25"))]
    path.write_text("time,symbol,split,dividend\n2026-02-01,AAPL,4,0.25\n")
    with pytest.raises(BadRequest, match="line 2"):
        read_actions(path)


SILENT = {"TRADING_ENV_FILE": "/dev/null", "COLUMNS": "120"}


def test_a_backtest_at_the_command_line(tmp_path: Path) -> None:
    shown = CliRunner().invoke(trading, ["backtest", "ma-cross", "--invented", "300"], env=SILENT, catch_exceptions=False)
    found = json.loads(CliRunner().invoke(trading, ["backtest", "buy-and-hold", "--invented", "300", "--json"], env=SILENT).stdout)

    assert shown.exit_code == 0, shown.output
    assert "The past is no promise" in shown.output
    assert found["decisions"] == {"taken": 1}
    assert found["events"] == 300


OWN = """
from trading_system.domain.fix import Side
from trading_system.strategy.base import Belief, Strategy

class Dip(Strategy):
    instruments, bars = ("AAPL",), "1d"

    def __init__(self, fall: float = 0.01):
        self.fall = fall

    def on_bar(self, ctx, bar):
        if bar.close < bar.open * (1 - ctx_fall(self)) and not ctx.position("AAPL"):
            yield ctx.enter("AAPL", Side.BUY, stop=0.02, edge=Belief(0.01, 0.05).edge(Side.BUY))

def ctx_fall(strategy):
    from decimal import Decimal
    return Decimal(str(strategy.fall))
"""


def test_a_strategy_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "dip.py"
    path.write_text(OWN)
    args = ["backtest", str(path), "--invented", "300", "--set", "fall=0.005", "--json"]
    done = CliRunner().invoke(trading, args, env=SILENT, catch_exceptions=False)

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["decisions"]["taken"] > 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nothing",), "one of ma-cross"),
        (("none.py",), "no file"),
        (("ma-cross", "--set", "quick=1"), "it has instrument, fast"),
        (("ma-cross", "--set", "fast=x"), "whole number"),
        (("ma-cross", "--set", "fast=50"), "fast is below slow"),
        (("ma-cross", "--set", "bars=soon"), "a bar's length"),
    ],
)
def test_a_strategy_that_cannot_run_is_refused_with_what_there_is(args: tuple[str, ...], said: str) -> None:
    name, *settings = args
    pairs = strategies.settings_of([value for value in settings if value != "--set"])

    with pytest.raises(BadRequest, match=said):
        strategies.make(name, pairs)


def test_the_report_stands_alone_and_the_tables_hold_every_fill(tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    page, folder = tmp_path / "report.html", tmp_path / "tables"
    args = ["backtest", "ma-cross", "--invented", "300", "--set", "fast=3", "--set", "slow=8", "--html", str(page), "--out", str(folder)]
    done = CliRunner().invoke(trading, args, env=SILENT, catch_exceptions=False)
    text = page.read_text()

    assert done.exit_code == 0, done.output
    for said in ("Equity, fall and exposure", "AAPL and what was traded", "Months", "Round trips", "less one standard error"):
        assert said in text
    assert "<script src" not in text
    result = run([MaCross(fast=3, slow=8)], [invented(AAPL, 300, 1)], setup(costs=Costs()))
    assert len((folder / "fills.csv").read_text().splitlines()) - 1 > 0
    assert {name: frame.height for name, frame in report.frames(result).items()} == {name: len(rows) for name, rows in report.rows_of(result).items()}
    report.write_tables(folder, result, parquet=True)
    assert {path.stem for path in folder.glob("*.parquet")} == {path.stem for path in folder.glob("*.csv")}
    with pytest.raises(BadRequest, match="not written"):
        report.write_tables(page, result)


def test_prices_have_to_be_named() -> None:
    for args in ([], ["--data", "/nowhere.csv", "--invented", "5"]):
        assert CliRunner().invoke(trading, ["backtest", "ma-cross", *args], env=SILENT).exit_code == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("backtest", "buy-and-hold", "--data", "AAPL=zero.csv"), "is no time"),
        (("backtest", "buy-and-hold", "--data", "aa pl=zero.csv"), "is no instrument"),
        (("backtest", "buy-and-hold", "--set", "instrument=a_b", "--invented", "50"), "is no instrument"),
        (("sweep", "ma-cross", "--grid", "fast=", "--invented", "50"), "names no values"),
        (("sweep", "ma-cross", "--grid", "fast=30,40", "--invented", "50"), "fast is below slow"),
    ],
)
def test_input_that_makes_no_sense_is_said(args: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zero.csv").write_text("time,open,high,low,close\n0,1,1,1,1\n")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([*TRADING, *args], env=CLEAN | SILENT, capture_output=True, text=True, check=False, timeout=30)

    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr


def test_names_may_be_written_small_and_days_without_dashes(tmp_path: Path) -> None:
    (tmp_path / "days.csv").write_text("date,open,high,low,close\n20240101,100,100,100,100\n20240102,101,101,101,101\n")
    events = read_events(tmp_path / "days.csv", AAPL)
    made = strategies.make("buy-and-hold", {"instrument": " aapl"})

    assert [event.open_ns for event in events] == [1_704_067_200 * 10**9, 1_704_153_600 * 10**9]  # type: ignore[union-attr]
    assert made.instruments == ("AAPL",)
    assert len(run([made], [invented(AAPL, 30, 3)], setup()).fills) == 1


def test_every_strategy_that_is_here_can_be_made_and_run() -> None:
    for name in strategies.BUILT_IN:
        made = strategies.make(name, {})
        result = run([made], [invented(AAPL, 200, 3)], setup())
        assert result.events == 200
        assert made.name == name
    assert summary(run([BuyAndHold()], [invented(AAPL, 30, 3)], setup(aims=Aims(capital=Decimal(1))))).trips == 0


def test_sessions_leave_out_what_is_closed_and_end_the_orders_of_the_day() -> None:
    """Monday the 2026-11-23 to Friday, with Thanksgiving on Thursday and an early close after it."""
    monday_ns, minute_ns = 1_795_392_000 * 10**9, 60 * 10**9
    same = dict.fromkeys(("open", "high", "low", "close", "volume"), D(10))
    half_ns = 30 * minute_ns
    minutes = [Bar(instrument=AAPL, open_ns=monday_ns + place * half_ns, period_ns=half_ns, **same) for place in range(5 * 48)]
    hours = session_hours("us", *span_of(minutes))
    kept = within_hours(minutes, hours)
    days = Counter(event.open_ns // DAY_NS - monday_ns // DAY_NS for event in kept if isinstance(event, Bar))
    instrument = instrument_of(BROKER, AAPL, hours=hours)
    result = run([Dear()], [kept], Setup(facts=FACTS, instruments=(instrument,), cash=D(1000), costs=FREE))
    ended = [record.report for record in result.records if isinstance(record, Reported) and record.report.ord_status.terminal]

    assert days == {0: 13, 1: 13, 2: 13, 4: 7}
    assert session_hours("always", 0, 1).always
    assert {report.ord_status.value for report in ended} == {"expired"}
    assert len(ended) == 4


def test_depth_of_the_past_is_eaten_level_by_level(tmp_path: Path) -> None:
    path = tmp_path / "depth.csv"
    head = "time,bid1,bid1_size,bid2,bid2_size,ask1,ask1_size,ask2,ask2_size"
    rows = [f"2026-01-05T15:00:0{second}Z,99.9,5,99.8,50,100,4,100.1,50" for second in range(3)]
    path.write_text("\n".join([head, *rows]) + "\n")

    class Once(Strategy):
        instruments, quotes = ("AAPL",), True

        def on_quote(self, ctx: Context, quote: object) -> list[Wish]:
            return [] if ctx.position(AAPL) else [hold("0.2")]

    result = run([Once()], [read_events(path, AAPL)], setup())

    assert [(fill.qty, fill.price) for fill in result.fills] == [(D(4), D(100)), (D(6), D("100.1"))]


class Dear(Strategy):
    """Bids far below the market, again and again."""

    bars, instruments = "30m", ("AAPL",)

    def on_bar(self, ctx: Context, bar: Bar) -> list[Wish]:
        edge = Belief(0.02, 0.05).edge(Side.BUY)
        return [Signal(instrument=AAPL, side=Side.BUY, edge=edge, entry_px=D("9.8"), stop_px=D("9.6"))]
