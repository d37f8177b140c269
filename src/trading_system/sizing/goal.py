"""The odds of reaching a target wealth by a day: closed forms, for a strategy of a given Sharpe ratio worked at a constant multiple of Kelly.

Being behind never raises a size: `multiple` can only lower what the owner allows. Years are 365 days; rates, growth and Sharpe ratios are annual.

Source: Browne, "Reaching goals by a deadline: digital options and continuous-time active portfolio management", Advances in Applied Probability 31
(1999).
"""

import math

import msgspec

from trading_system.sizing.kelly import growth
from trading_system.sizing.normal import below, quantile

DAYS_A_YEAR = 365


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """From where to where, in how many years, by a strategy of this Sharpe ratio, beside cash at this rate."""

    capital: float
    target: float
    years: float
    sharpe: float
    rate: float = 0.0

    @property
    def distance(self) -> float:
        """ln(target / capital): 0 or less is there already."""
        return math.log(self.target / self.capital)


def required_growth(goal: Goal) -> float:
    """What it takes, a year, continuously. 5,000 to 500,000 in one: 4.6052, which is +9,900 %."""
    return goal.distance / goal.years


def ceiling(goal: Goal) -> float:
    """The chance of the target that no strategy of this Sharpe ratio can pass, whatever it does.

    >>> [round(ceiling(Goal(capital=5000, target=500000, years=1, sharpe=sharpe)), 4) for sharpe in (1, 2)]
    [0.0924, 0.3721]
    """
    return below(quantile(min(1.0, math.exp(goal.rate * goal.years - goal.distance))) + goal.sharpe * math.sqrt(goal.years))


def p_terminal(goal: Goal, k: float) -> float:
    """The chance to be at the target on the day, at k times Kelly throughout, without limits.

    >>> [round(p_terminal(Goal(capital=5000, target=10000, years=1, sharpe=1), k), 4) for k in (1, 0.5)]
    [0.4234, 0.2623]
    """
    drift, deviation = _moves(goal, k)
    if deviation == 0:
        return float(drift >= goal.distance)
    return below((drift - goal.distance) / deviation)


def p_touch(goal: Goal, k: float) -> float:
    """The chance to be there at some moment before.

    >>> round(p_touch(Goal(capital=5000, target=10000, years=1, sharpe=1), 1), 4)
    0.6562
    """
    away = goal.distance
    drift, deviation = _moves(goal, k)
    if away <= 0:
        return 1.0
    if deviation == 0:
        return float(drift >= away)
    # exp(2νa/s²) grows without bound where the other factor vanishes: their logarithms are added
    reflected = below((-away - drift) / deviation)
    exponent = 2 * drift * away / deviation**2
    again = math.exp(exponent + math.log(reflected)) if reflected > 0 else 0.0
    return min(1.0, below((drift - away) / deviation) + again)


def p_fallen_ever(goal: Goal, k: float, to: float) -> float:
    """The chance ever to fall to this fraction of today's wealth, with no end of time. Half Kelly ever halving: 0.125; full Kelly: 0.5.

    >>> [p_fallen_ever(Goal(capital=1, target=2, years=1, sharpe=1), k, 0.5) for k in (0.5, 1)]
    [0.125, 0.5]
    """
    if k == 0 or goal.sharpe == 0:
        return 0.0
    exponent = 2 * growth(k, goal.sharpe, goal.rate) / (k * goal.sharpe) ** 2
    return 1.0 if exponent <= 0 else to**exponent


def days_to_even_odds(goal: Goal, k: float) -> float | None:
    """After how many days the target is as likely as not; None: never, at this multiple."""
    if goal.distance <= 0:
        return 0.0
    speed = growth(k, goal.sharpe, goal.rate)
    return None if speed <= 0 else goal.distance / speed * DAYS_A_YEAR


def multiple(goal: Goal, most: float) -> float:
    """The multiple of Kelly that makes the target likeliest, never above `most`: √(2·max(0, ln(b/W) − r·T)) / (θ·√T). Near the goal it brakes, at the
    goal it is 0, far behind it changes nothing. With no time left, or no edge, there is nothing to brake for.

    >>> multiple(Goal(capital=5000, target=500000, years=1, sharpe=1), 0.5), multiple(Goal(capital=5000, target=5000, years=1, sharpe=1), 0.5)
    (0.5, 0.0)
    """
    left = max(0.0, goal.distance - goal.rate * goal.years)
    if goal.sharpe <= 0 or goal.years <= 0:
        return most if left else 0.0
    return min(most, math.sqrt(2 * left) / (goal.sharpe * math.sqrt(goal.years)))


def _moves(goal: Goal, k: float) -> tuple[float, float]:
    """Mean and deviation of the logarithm's change until the day."""
    return growth(k, goal.sharpe, goal.rate) * goal.years, abs(k * goal.sharpe) * math.sqrt(goal.years)
