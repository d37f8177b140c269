"""From a wish to a quantity: Kelly's holding, then each cap, then down to the lot grid; or no trade, with the rule that bound and its numbers.

The same arguments give the same answer. The goal may lower a size, and never raises one.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from statistics import fmean, pstdev

import msgspec

from trading_system.domain.fix import Side
from trading_system.domain.money import plain, round_qty
from trading_system.domain.signal import Allocation, Odds, Outlook, Record, Signal, Wish
from trading_system.sizing import kelly
from trading_system.sizing.convexity import GAP, OPTION, exit_score
from trading_system.sizing.goal import Goal, multiple

YEAR_NS = 365 * 86_400_000_000_000
KELLY, GOAL, CONVEXITY, EDGE = "KELLY_FRACTION", "TARGET_WEALTH", "MIN_CONVEXITY_SCORE", "EDGE"


class Aims(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner set out for, as the settings say: STARTING_CAPITAL, TARGET_WEALTH, TIME_HORIZON_DAYS, KELLY_FRACTION, MIN_CONVEXITY_SCORE."""

    capital: Decimal = Decimal(5_000)
    target: Decimal = Decimal(500_000)
    days: int = 365
    kelly_fraction: Decimal = Decimal("0.5")
    min_convexity: Decimal = Decimal("0.1")


class SizingState(msgspec.Struct, frozen=True, kw_only=True):
    """The desk at one instant, as a size sees it. Amounts are in BASE_CURRENCY."""

    price: float  # at which it would be entered, in the instrument's currency
    unit: float | None  # what a price of 1 is for one unit, in BASE_CURRENCY: multiplier × rate; None: nobody knows the rate
    lot: Decimal
    min_qty: Decimal
    min_notional: float  # in BASE_CURRENCY
    equity: float  # what sizes are fractions of: the broker's, but no more than the capital it began with and what this desk made of it
    caps: Mapping[str, float]  # by rule: what may be added at most
    leverage: float  # most that a record without a loss may hold, times equity
    kelly_fraction: float
    goal: Goal  # its Sharpe ratio is not read: the signal's own counts
    min_convexity: float
    deviation: float | None  # of the instrument's return over the horizon, as its history says; None: no history
    gap: float | None = None  # mean loss beyond its stop, as a fraction of the price, as history says; None: a tenth of the deviation
    held: float = 0.0  # signed: what the instrument is held for now
    option: bool = False


class Sized(msgspec.Struct, frozen=True, kw_only=True):
    """Take it, in this quantity. rule: what bound the size. numbers: how it came about."""

    side: Side
    qty: Decimal
    rule: str
    numbers: dict[str, str]


class NoTrade(msgspec.Struct, frozen=True, kw_only=True):
    """Leave it. text: why, and what would change it."""

    rule: str
    text: str
    numbers: dict[str, str]


class _Left(Exception):
    """Not taken, found on the way."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule


def size(wish: Wish, state: SizingState) -> Sized | NoTrade:
    """The whole way from a wish to a quantity.

    Source: docs/SIZING.md
    """
    numbers: dict[str, float] = {"equity": state.equity, "price": state.price}
    try:
        if state.unit is None:
            raise _Left("FX_RATE", "nobody says what its currency is worth in BASE_CURRENCY")
        if state.equity <= 0:
            raise _Left("EQUITY", "there is no equity to size by")
        side, wanted, rule = _allocated(wish, state) if isinstance(wish, Allocation) else _entered(wish, state, numbers)
        numbers["wanted"] = wanted
        reduces = state.held * side.sign < 0
        if not (isinstance(wish, Allocation) and reduces):
            for name, most in state.caps.items():
                numbers[name] = most
                if most < wanted:
                    wanted, rule = max(0.0, most), name
        qty = round_qty(Decimal(f"{wanted / (state.price * state.unit):.12f}"), state.lot)
        numbers["notional"] = float(qty) * state.price * state.unit
        if isinstance(wish, Allocation) and rule == "ALLOCATION" and qty < state.min_qty:
            raise _Left(rule, "what is held is what was wished for, to less than the least quantity")
        if not qty or qty < state.min_qty:
            raise _Left(rule, f"{rule} leaves {wanted:,.2f}, which is less than the least quantity of {plain(max(state.lot, state.min_qty))}")
        if numbers["notional"] < state.min_notional and not reduces:
            raise _Left(rule, f"{rule} leaves {numbers['notional']:,.2f}, the least order is {state.min_notional:,.2f}")
    except _Left as left:
        return NoTrade(rule=left.rule, text=str(left), numbers=_plain(numbers))
    return Sized(side=side, qty=qty, rule=rule, numbers=_plain(numbers))


def _allocated(wish: Allocation, state: SizingState) -> tuple[Side, float, str]:
    aim = float(wish.weight) * state.equity
    apart = (aim if aim * state.held >= 0 else 0.0) - state.held  # from long to short, or back, by way of flat
    return (Side.BUY if apart > 0 else Side.SELL), abs(apart), "ALLOCATION"


def _entered(signal: Signal, state: SizingState, numbers: dict[str, float]) -> tuple[Side, float, str]:
    """Convexity, then Kelly, braked by the goal."""
    stop, target = _distance(signal, signal.stop_px, state, -1), _distance(signal, signal.target_px, state, 1)
    found = _score(signal, state, stop, target)
    numbers["convexity"] = found
    if state.gap is not None:
        numbers["gap"] = state.gap
    if found < state.min_convexity:
        raise _Left(CONVEXITY, f"its convexity score is {found:.4f}, an entry needs {state.min_convexity:g}")
    bet, sharpe = _bet(signal, state, stop, target)
    numbers["full_kelly"], numbers["sharpe"] = bet, sharpe
    if bet <= 0:
        raise _Left(EDGE, "what is known of it, less one standard error, is no edge")
    goal = msgspec.structs.replace(state.goal, capital=state.equity, sharpe=sharpe)
    most = multiple(goal, state.kelly_fraction)
    numbers["multiple"] = most
    if most <= 0:
        raise _Left(GOAL, "the target is reached, or cash alone will reach it in time")
    return signal.side, most * bet * state.equity, KELLY if most == state.kelly_fraction else GOAL


def _distance(signal: Signal, price: Decimal | None, state: SizingState, way: int) -> float | None:
    """How far an exit is from the entry, as a fraction of its price. Raises _Left: on the wrong side of it."""
    if price is None:
        return None
    away = way * signal.side.sign * (float(price) - state.price) / state.price
    if away <= 0:
        name = "stop" if way < 0 else "target"
        raise _Left(name.upper(), f"its {name} at {price} is on the wrong side of {state.price:g}")
    return away


def _score(signal: Signal, state: SizingState, stop: float | None, target: float | None) -> float:
    if state.option:
        return OPTION if signal.side is Side.BUY else -OPTION  # bought at the money, or sold
    if stop is None and target is None:
        return 0.0  # straight exposure, whatever the moves
    deviation = _deviation(signal, state)
    exits = (None if away is None else round(away / deviation, 4) for away in (stop, target))
    return exit_score(*exits, GAP if state.gap is None else state.gap / deviation)


def _deviation(signal: Signal, state: SizingState) -> float:
    """Of the return over the horizon: as the signal says, else as history does."""
    said = float(signal.edge.deviation) if isinstance(signal.edge, Outlook) else state.deviation
    if said is None or not math.isfinite(said) or said <= 0:
        raise _Left("VOLATILITY", "there is no history to tell how far it moves: give the edge as an outlook, or wait for bars")
    return said


def _bet(signal: Signal, state: SizingState, stop: float | None, target: float | None) -> tuple[float, float]:
    """What full Kelly would hold, times equity, and the Sharpe ratio a year of doing so over and over."""
    a_year = math.sqrt(YEAR_NS / max(1, signal.horizon_ns))
    match signal.edge:
        case None:
            raise _Left(EDGE, "it states no edge: odds, an outlook or a record")
        case Odds(p=chance, count=count):
            if stop is None or target is None:
                raise _Left(EDGE, "odds are those of a target against a stop: it needs both")
            if not 0 < chance < 1:
                raise _Left(EDGE, f"a chance is above 0 and below 1, as 0.55, and not {chance}")
            p, b = float(chance), target / stop
            if count:
                p = kelly.cautious_chance(p, count)
            mean, deviation = p * b - (1 - p), (b + 1) * math.sqrt(p * (1 - p))
            return kelly.binary(p, b) / stop, (mean / deviation * a_year if deviation else math.inf)
        case Outlook(mean=stated, deviation=stated_deviation, count=count):
            deviation = float(stated_deviation)
            if deviation <= 0:
                raise _Left(EDGE, "an outlook has a deviation above zero")
            mean = signal.side.sign * (kelly.cautious_mean(float(stated), deviation, count) if count else float(stated))
            return kelly.continuous(mean, deviation), mean / deviation * a_year
        case Record(returns=returns):
            believed = kelly.cautious_record([float(value) for value in returns])
            deviation = pstdev(believed) if believed else 0.0
            return kelly.empirical(believed, state.leverage).fraction, (fmean(believed) / deviation * a_year if deviation else 0.0)


def _plain(numbers: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.10g}" for name, value in numbers.items()}
