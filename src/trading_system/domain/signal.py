"""Signals: what a strategy wants, before anybody has sized it. Prices are in the instrument's currency per unit; chances, returns are fractions."""

from decimal import Decimal

import msgspec

from trading_system.domain.fix import Side
from trading_system.domain.ids import BrokerName, InstrumentID

DAY_NS = 86_400_000_000_000


class Odds(msgspec.Struct, frozen=True, kw_only=True, tag="odds"):
    """An edge as the chance that the target is reached before the stop, above 0 and below 1. count: how many observations say so; 0: it is known, and
    counts in full."""

    p: Decimal
    count: int = 0

    def __post_init__(self) -> None:
        _numbers(chance=self.p)


class Outlook(msgspec.Struct, frozen=True, kw_only=True, tag="outlook"):
    """An edge as the distribution of the instrument's return over the horizon: its mean and deviation, of so many observations; 0: known."""

    mean: Decimal
    deviation: Decimal
    count: int = 0

    def __post_init__(self) -> None:
        _numbers(mean=self.mean, deviation=self.deviation)


class Record(msgspec.Struct, frozen=True, kw_only=True, tag="record"):
    """An edge as what earlier trades of this kind made, each as a fraction of what they held."""

    returns: tuple[Decimal, ...]

    def __post_init__(self) -> None:
        for one in self.returns:
            _numbers(return_=one)


Edge = Odds | Outlook | Record


class Signal(msgspec.Struct, frozen=True, kw_only=True, tag="signal"):
    """A wish to enter. entry None: at the market. Without an edge it is not taken: a size comes from one. Raises ValueError: what is no number."""

    instrument: InstrumentID
    side: Side
    edge: Edge | None
    entry_px: Decimal | None = None
    stop_px: Decimal | None = None
    target_px: Decimal | None = None
    horizon_ns: int = DAY_NS  # how long it is meant to be held
    broker: BrokerName | None = None  # None: the one broker there is
    text: str = ""

    def __post_init__(self) -> None:
        _numbers(entry=self.entry_px, stop=self.stop_px, target=self.target_px)


class Allocation(msgspec.Struct, frozen=True, kw_only=True, tag="allocation"):
    """A wish to hold this fraction of equity in something, whatever is held now; 0 closes, and the other side of what is held is reached by way of
    flat. Exempt from Kelly and the convexity score, and marked so; every limit holds for it. Raises ValueError: what is no number."""

    instrument: InstrumentID
    weight: Decimal
    broker: BrokerName | None = None
    text: str = ""

    def __post_init__(self) -> None:
        _numbers(weight=self.weight)


def _numbers(**given: Decimal | None) -> None:
    for name, value in given.items():
        if value is not None and not value.is_finite():
            raise ValueError(f"the {name.rstrip('_')} of a wish is {value}, which is no number")


Wish = Signal | Allocation
