"""What a broker says we own: balances, positions, and the account as one snapshot."""

from decimal import Decimal

import msgspec

from trading_system.domain.ids import BrokerName, InstrumentID


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """qty is signed: negative is short. Prices in the instrument's currency."""

    instrument: InstrumentID
    qty: Decimal
    avg_px: Decimal
    mark_px: Decimal | None
    unrealized_pnl: Decimal


class AccountSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One account at one instant, as the broker reports it. Amounts in `currency`; equity includes unrealised P&L."""

    broker: BrokerName
    account: str  # the broker's account number
    environment: str  # "paper" or "live", as the account itself proves
    currency: str
    equity: Decimal
    last_equity: Decimal  # at the last close
    cash: Decimal
    buying_power: Decimal
    positions: tuple[Position, ...]
    tradable: bool  # false: the broker blocks trading; `text` says why
    text: str
    transact_ns: int
    recv_ns: int
