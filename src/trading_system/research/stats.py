"""What a backtest comes to: growth, falls, tails, trades, costs, and how likely the goal is for a strategy that does as it did."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from statistics import fmean, stdev

import msgspec

from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.money import ZERO
from trading_system.research.backtest import Fill, Result
from trading_system.sizing.goal import DAYS_A_YEAR, Goal, ceiling, p_terminal

_DAY_NS = 86_400_000_000_000
_TAIL = 0.01


class Trip(msgspec.Struct, frozen=True, kw_only=True):
    """One round trip: from flat, or from the other side, to flat. profit is after fees, in money; made as a fraction of what was held."""

    strategy: str
    instrument: InstrumentID
    side: Side
    qty: Decimal
    entry_px: Decimal
    exit_px: Decimal
    opened_ns: int
    closed_ns: int
    profit: Decimal
    made: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures. Fractions, not percent; annual ones by days with prices. None: too little happened to say."""

    start_ns: int
    end_ns: int
    days: int
    capital: float
    equity: float
    total_return: float
    growth_a_year: float | None
    volatility: float | None
    sharpe: float | None
    sharpe_believed: float | None  # less one standard error
    sortino: float | None
    max_drawdown: float
    longest_fall_days: float
    exposure: float
    worst_day: float
    tail_loss: float | None  # mean of the worst hundredth of days
    trips: int
    won: float | None
    mean_trip: float | None
    profit_factor: float | None
    fees: float
    interest: float
    dividends: float
    decisions: dict[str, int]  # "taken", and not taken by the rule that bound
    halts: tuple[str, ...]
    p_target: float | None  # of the goal, at the owner's multiple, for a strategy of this Sharpe ratio
    ceiling: float | None


def daily(equity: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """The last value of each UTC day that had prices."""
    found: dict[int, float] = {}
    for now_ns, value in equity:
        found[(now_ns - 1) // _DAY_NS] = value
    return list(found.items())


def returns_of(equity: Sequence[tuple[int, float]], capital: float) -> list[float]:
    values = [capital, *(value for _, value in daily(equity))]
    return [after / before - 1 if before > 0 else 0.0 for before, after in pairwise(values)]


def drawdowns(equity: Iterable[tuple[int, float]], capital: float) -> tuple[float, float]:
    """The deepest fall from a height, and the longest time below one, in days."""
    best, since, fallen, deepest, longest = capital, -1, False, 0.0, 0
    for now_ns, value in equity:
        since = now_ns if since < 0 else since
        if fallen:
            longest = max(longest, now_ns - since)
        fallen = value < best
        if not fallen:
            best, since = value, now_ns
        deepest = max(deepest, 1 - value / best if best > 0 else 0.0)
    return deepest, longest / _DAY_NS


def trips_of(fills: Sequence[Fill]) -> list[Trip]:
    """Round trips of each strategy in each instrument; what is still open is none. One that turns at once ends there, and another begins."""
    open_: dict[tuple[str, InstrumentID], list[Fill]] = {}
    found = []
    for fill in fills:
        key = (fill.strategy, fill.instrument)
        parts = open_.setdefault(key, [])
        held = sum((part.side.sign * part.qty for part in parts), ZERO)
        after = held + fill.side.sign * fill.qty
        if held and held * after <= 0:
            share = abs(held) / fill.qty
            closing = msgspec.structs.replace(fill, qty=abs(held), fee=fill.fee * share)
            found.append(_trip([*parts, closing]))
            parts.clear()
            if after:
                parts.append(msgspec.structs.replace(fill, qty=abs(after), fee=fill.fee * (1 - share)))
        else:
            parts.append(fill)
    return found


def _trip(parts: Sequence[Fill]) -> Trip:
    first, last = parts[0], parts[-1]
    entries = [part for part in parts if part.side is first.side]
    exits = [part for part in parts if part.side is not first.side]
    qty = sum((part.qty for part in entries), ZERO)
    paid, got = (sum((part.qty * part.price for part in side), ZERO) for side in (entries, exits))
    profit = first.side.sign * (got - paid) - sum((part.fee for part in parts), ZERO)
    return Trip(
        strategy=first.strategy,
        instrument=first.instrument,
        side=first.side,
        qty=qty,
        entry_px=paid / qty,
        exit_px=got / sum((part.qty for part in exits), ZERO),
        opened_ns=first.now_ns,
        closed_ns=last.now_ns,
        profit=profit,
        made=float(profit / paid),
    )


def monthly(equity: Sequence[tuple[int, float]], capital: float) -> dict[int, dict[int, float]]:
    """Returns by year and month."""
    found: dict[int, dict[int, float]] = {}
    before, month, last = capital, (0, 0), capital
    for day, value in daily(equity):
        moment = datetime.fromtimestamp(day * 86_400, UTC)
        if (moment.year, moment.month) != month:
            before, month = last, (moment.year, moment.month)
        found.setdefault(moment.year, {})[moment.month] = value / before - 1 if before > 0 else 0.0
        last = value
    return found


def summary(result: Result) -> Summary:
    """All the figures of one backtest."""
    capital = float(result.setup.cash)
    equity = result.equity or ((0, capital),)
    moves, trips = returns_of(equity, capital), trips_of(result.fills)
    days = max(1, len(moves))
    span = (equity[-1][0] - equity[0][0]) / _DAY_NS
    a_year = min(DAYS_A_YEAR, days / span * DAYS_A_YEAR) if span >= 1 else 252.0
    spread = stdev(moves) if len(moves) > 2 else 0.0
    sharpe = fmean(moves) / spread * math.sqrt(a_year) if spread else None
    believed = None if sharpe is None else math.copysign(max(0.0, abs(sharpe) - math.sqrt(a_year / days)), sharpe)
    falls = [min(0.0, move) for move in moves]
    down = math.sqrt(fmean(move * move for move in falls)) if falls else 0.0
    deepest, longest = drawdowns(equity, capital)
    last, years = equity[-1][1], span / DAYS_A_YEAR
    worst = sorted(moves)[: max(1, round(len(moves) * _TAIL))]
    won, lost = [trip for trip in trips if trip.profit > 0], [trip for trip in trips if trip.profit <= 0]
    aims = result.setup.aims
    goal = None
    if believed is not None:
        goal = Goal(capital=float(aims.capital), target=float(aims.target), years=aims.days / DAYS_A_YEAR, sharpe=max(0.0, believed))
    lost_money = float(sum((trip.profit for trip in lost), ZERO))
    return Summary(
        start_ns=equity[0][0],
        end_ns=equity[-1][0],
        days=days,
        capital=capital,
        equity=last,
        total_return=last / capital - 1,
        growth_a_year=math.log(last / capital) / years if years >= 0.05 and last > 0 else None,
        volatility=spread * math.sqrt(a_year) if spread else None,
        sharpe=sharpe,
        sharpe_believed=believed,
        sortino=fmean(moves) / down * math.sqrt(a_year) if down else None,
        max_drawdown=deepest,
        longest_fall_days=longest,
        exposure=fmean(result.exposure) if result.exposure else 0.0,
        worst_day=min(moves, default=0.0),
        tail_loss=fmean(worst) if len(moves) >= 100 else None,
        trips=len(trips),
        won=len(won) / len(trips) if trips else None,
        mean_trip=fmean(trip.made for trip in trips) if trips else None,
        profit_factor=float(sum((trip.profit for trip in won), ZERO)) / -lost_money if lost_money else None,
        fees=float(sum((fill.fee for fill in result.fills), ZERO)),
        interest=float(result.interest),
        dividends=float(result.dividends),
        decisions=dict(Counter("taken" if decided.taken else decided.rule for decided in result.decisions)),
        halts=tuple(f"{halt.rule}: {halt.text}" for halt in result.halts),
        p_target=None if goal is None else p_terminal(goal, float(aims.kelly_fraction)),
        ceiling=None if goal is None else ceiling(goal),
    )
