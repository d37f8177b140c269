"""What an account was worth over time, and what its closed positions came to, as its broker tells it."""

from datetime import date
from decimal import Decimal

import msgspec

from trading_system.domain.ids import InstrumentID


class EquityPoint(msgspec.Struct, frozen=True):
    """One window of time: what the account was worth at its end, and how far that is from where the count began."""

    open_ns: int
    equity: Decimal
    profit_loss: Decimal
    profit_loss_pct: Decimal  # a fraction: 0.01 is 1 %


class PortfolioHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first. base_value: what profit and loss are counted from; None: the broker does not say."""

    broker: str
    timeframe: str
    base_value: Decimal | None
    points: tuple[EquityPoint, ...]


class ClosedPosition(msgspec.Struct, frozen=True, kw_only=True):
    """What was opened and is closed: so many units, what they were bought for, and what they were sold for."""

    instrument: InstrumentID
    qty: Decimal
    opened: date
    closed: date
    cost: Decimal
    proceeds: Decimal
    gain: Decimal  # in the broker's own words: fees may be in it
