"""What a broker says we own: positions, the account as one snapshot, and what moved money or units without an order."""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec

from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.money import ZERO


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """qty is signed: negative is short. Prices and P&L in the instrument's currency."""

    instrument: InstrumentID
    qty: Decimal
    avg_px: Decimal  # 0: the broker does not say
    mark_px: Decimal | None
    unrealized_pnl: Decimal  # between the two; of no meaning where one is not known


class AccountSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One account at one instant, as the broker reports it. Amounts in `currency`; equity includes unrealised P&L."""

    broker: BrokerName
    account: str  # the broker's account number
    environment: str  # "paper" or "live", as the account itself proves
    currency: str
    equity: Decimal
    last_equity: Decimal  # at the last close
    cash: Decimal
    balances: Mapping[str, Decimal] = {}  # money by currency, where the account keeps several: `cash` is then what they are worth together
    rates: Mapping[str, Decimal] = {}  # what one unit of another currency is worth in `currency`, by the market's prices
    buying_power: Decimal
    positions: tuple[Position, ...]
    tradable: bool  # false: the broker blocks trading; `text` says why
    text: str
    transact_ns: int
    recv_ns: int

    @property
    def moneys(self) -> Mapping[str, Decimal]:
        """Money by currency."""
        return self.balances or {self.currency: self.cash}


class FlowKind(StrEnum):
    TRANSFER = "transfer"  # money or units that came in or went out: neither profit nor loss
    INCOME = "income"  # dividends, interest, rebates, and taxes withheld from them
    FEE = "fee"
    CORPORATE_ACTION = "corporate_action"  # split, spin-off, merger, new name: units change without a trade
    SETTLEMENT = "settlement"  # an option was exercised, assigned, or expired: units and money move at its strike
    UNKNOWN = "unknown"  # a kind this version does not know: booked by its amount, and a person is told


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that moved money or units without an order. amount: signed money in `currency`, 0 where only units moved."""

    broker: BrokerName
    flow_id: str  # the broker's; the same flow is booked once
    kind: FlowKind
    currency: str
    amount: Decimal
    instrument: InstrumentID | None = None
    qty: Decimal = ZERO  # signed units of a transfer in kind; what a corporate action leaves, the positions say
    canceled: bool = False  # the broker took it back
    text: str
    transact_ns: int
