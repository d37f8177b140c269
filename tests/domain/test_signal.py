"""Wishes: their numbers are numbers."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.signal import Allocation, Odds, Outlook, Record, Signal

AAPL = InstrumentID("AAPL")
NAN, ONE = Decimal("NaN"), Decimal(1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Allocation(instrument=AAPL, weight=NAN), "the weight of a wish is NaN"),
        (lambda: Signal(instrument=AAPL, side=Side.BUY, edge=None, stop_px=Decimal("Infinity")), "the stop of a wish is Infinity"),
        (lambda: Odds(p=NAN), "chance"),
        (lambda: Outlook(mean=ONE, deviation=NAN), "deviation"),
        (lambda: Record(returns=(ONE, NAN)), "return"),
    ],
)
def test_what_is_no_number_is_no_wish(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_numbers_are() -> None:
    assert Signal(instrument=AAPL, side=Side.BUY, edge=Record(returns=(ONE,)), stop_px=ONE).target_px is None
    assert Odds(p=Decimal("0.99")).count == Outlook(mean=ONE, deviation=ONE).count == 0
    assert Allocation(instrument=AAPL, weight=ONE).weight == ONE
