"""What an account was worth over time, as its broker tells it."""

from decimal import Decimal

import msgspec


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
