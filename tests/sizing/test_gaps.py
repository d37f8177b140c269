"""What a stop loses beyond its price, from bars."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_system.sizing.gaps import HITS_LEAST, gap

Bars = list[tuple[float, float, float, float]]
STEPS = st.lists(st.floats(min_value=-0.05, max_value=0.05), min_size=30, max_size=60)


def walked(steps: list[float], jump: float = 0.0) -> Bars:
    """Bars that follow one another; jump: how far below the close before each opens, as a fraction of it."""
    closes = [100.0]
    for step in steps:
        closes.append(closes[-1] * (1 + step))
    return [(before * (1 - jump), max(before, after), min(before * (1 - jump), after), after) for before, after in pairwise(closes)]


def mirrored(bars: Bars) -> Bars:
    """The same market upside down: what a short sees."""
    return [(200 - opened, 200 - low, 200 - high, 200 - close) for opened, high, low, close in bars]


@given(STEPS, st.floats(min_value=0.005, max_value=0.1), st.integers(min_value=1, max_value=20))
def test_where_nothing_jumps_a_stop_loses_what_it_says(steps: list[float], stop: float, periods: int) -> None:
    assert gap(walked(steps), sign=1, stop=stop, periods=periods) in (None, pytest.approx(0, abs=1e-12))


def test_an_opening_beyond_the_stop_is_paid_by_its_distance() -> None:
    bars: Bars = [(100, 100, 100, 100), (95, 96, 94, 100)] * (HITS_LEAST + 1)  # each second day opens 5 % lower, and comes back

    assert gap(bars, sign=1, stop=0.02, periods=1) == pytest.approx(0.03)
    assert gap(mirrored(bars), sign=-1, stop=0.02, periods=1) == pytest.approx(0.03)
    assert gap(bars, sign=1, stop=0.055, periods=1) == pytest.approx(0)  # met within the day, at its own price


def test_too_few_say_nothing() -> None:
    bars: Bars = [(100, 100, 100, 100), (95, 96, 94, 100)] * (HITS_LEAST - 1)

    assert gap(bars, sign=1, stop=0.02, periods=1) is None
    assert gap([], sign=1, stop=0.02, periods=1) is None


@given(STEPS, st.floats(min_value=0.0, max_value=0.03))
def test_the_further_it_jumps_the_more_is_lost(steps: list[float], jump: float) -> None:
    less, more = (gap(walked(steps, size), sign=1, stop=0.01, periods=1) for size in (jump, jump + 0.02))

    assert less is None or more is None or more >= less - 1e-12
