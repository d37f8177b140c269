"""Cash and positions as double entry, and the equity of all accounts against its day's start and its high-water mark."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from trading_system.core.lifecycle import Booking
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ZERO
from trading_system.domain.order import Fill, Order


class Posting(msgspec.Struct, frozen=True):
    """One line: so much of a commodity (a currency or an instrument) into an account. A set of postings sums to zero per commodity."""

    account: str  # "assets", "trading" (the market took the other side), "fees", "external" (the world outside)
    commodity: str
    amount: Decimal


def postings_of(order: Order, fill: Fill, currency: str, multiplier: Decimal) -> tuple[Posting, ...]:
    """The entries of one fill: units one way, money the other, the fee where it was charged."""
    units = order.side.sign * fill.qty
    money = -units * fill.price * multiplier
    lines = (
        Posting("assets", order.instrument, units),
        Posting("trading", order.instrument, -units),
        Posting("assets", currency, money),
        Posting("trading", currency, -money),
    )
    if not fill.fee:
        return lines
    return (*lines, Posting("assets", fill.fee_currency, -fill.fee), Posting("fees", fill.fee_currency, fill.fee))


def adjustment(commodity: str, amount: Decimal) -> tuple[Posting, ...]:
    """A fact from outside: a position found at start, a deposit, a dividend."""
    return (Posting("assets", commodity, amount), Posting("external", commodity, -amount))


class Ledger:
    """Owns the balances, per broker. Each method is one synchronous step."""

    def __init__(self) -> None:
        self._balances: dict[tuple[BrokerName, str, str], Decimal] = {}
        self._cost: dict[tuple[BrokerName, InstrumentID], Decimal] = {}  # money paid in less money taken out, fees in money included

    def book(self, order: Order, booking: Booking, currency: str, multiplier: Decimal) -> None:
        """Enter a fill, or take one back."""
        sign = -1 if booking.reversal else 1
        lines = postings_of(order, booking.fill, currency, multiplier)
        self.post(order.broker, (Posting(line.account, line.commodity, sign * line.amount) for line in lines))
        paid = -sum((line.amount for line in lines if line.account == "assets" and line.commodity == currency), ZERO)
        self._add_cost(order.broker, order.instrument, sign * paid)

    def adjust(self, broker: BrokerName, instrument: InstrumentID, qty: Decimal, price: Decimal) -> None:
        """Take over units that came from outside, at the price they are worth now: their past P&L is not ours."""
        self.post(broker, adjustment(instrument, qty))
        self._add_cost(broker, instrument, qty * price)

    def post(self, broker: BrokerName, lines: Iterable[Posting]) -> None:
        lines = tuple(lines)
        sums: dict[str, Decimal] = {}
        for line in lines:
            sums[line.commodity] = sums.get(line.commodity, ZERO) + line.amount
        assert not any(sums.values()), "a set of postings sums to zero"
        for line in lines:
            key = (broker, line.account, line.commodity)
            total = self._balances.get(key, ZERO) + line.amount
            if total:
                self._balances[key] = total
            else:
                self._balances.pop(key, None)

    def balance(self, broker: BrokerName, account: str, commodity: str) -> Decimal:
        return self._balances.get((broker, account, commodity), ZERO)

    def cash(self, broker: BrokerName, currency: str) -> Decimal:
        """Money of one currency, as far as this ledger knows it."""
        return self.balance(broker, "assets", currency)

    def position(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        """Signed units."""
        return self.balance(broker, "assets", instrument)

    def balances(self) -> Mapping[tuple[BrokerName, str, str], Decimal]:
        return self._balances

    def pnl(self, broker: BrokerName, instrument: InstrumentID, mark: Decimal, multiplier: Decimal) -> Decimal:
        """Realised and unrealised since we hold it: what it is worth less what it cost."""
        return self.position(broker, instrument) * mark * multiplier - self._cost.get((broker, instrument), ZERO)

    def traded(self) -> tuple[tuple[BrokerName, InstrumentID], ...]:
        """Every instrument that ever moved money here."""
        return tuple(self._cost)

    def _add_cost(self, broker: BrokerName, instrument: InstrumentID, amount: Decimal) -> None:
        self._cost[broker, instrument] = self._cost.get((broker, instrument), ZERO) + amount


class EquityMark(msgspec.Struct, frozen=True, kw_only=True):
    """Equity over all accounts in BASE_CURRENCY against what it is measured by. Journaled when a reference moves; kept over restarts.

    day: days since 1970-01-01 UTC. Crypto figures are P&L, not equity: what our crypto made since this desk first held it.
    """

    day: int
    day_start: Decimal
    high_water: Decimal
    equity: Decimal
    crypto_day_start: Decimal = ZERO
    crypto_high: Decimal = ZERO
    crypto_pnl: Decimal = ZERO

    def loss(self, asset_class: AssetClass | None = None) -> Decimal:
        """Today's loss as a fraction of the equity that the day began with; 0 when there is none."""
        fell = self.crypto_day_start - self.crypto_pnl if asset_class is not None and asset_class.is_crypto else self.day_start - self.equity
        return max(ZERO, fell / self.day_start) if self.day_start > 0 else ZERO

    def drawdown(self, asset_class: AssetClass | None = None) -> Decimal:
        """The fall from the highest point as a fraction of the highest equity; 0 at the top."""
        fell = self.crypto_high - self.crypto_pnl if asset_class is not None and asset_class.is_crypto else self.high_water - self.equity
        return max(ZERO, fell / self.high_water) if self.high_water > 0 else ZERO


_CENT = Decimal("0.00000001")


def transferred(mark: EquityMark, equity_before: Decimal, amount: Decimal) -> EquityMark:
    """The references after the owner paid in or took out: they grow or shrink as the equity did, so that a transfer is neither profit nor
    loss, and a drawdown stays the percentage it was.

    Source: the unit value of a fund (time-weighted return)
    """
    if equity_before <= 0:
        return replace(mark, equity=mark.equity + amount, day_start=mark.day_start + amount, high_water=mark.high_water + amount)
    grown = (equity_before + amount) / equity_before
    return replace(
        mark,
        equity=mark.equity + amount,
        day_start=(mark.day_start * grown).quantize(_CENT),
        high_water=(mark.high_water * grown).quantize(_CENT),
    )


NS_PER_DAY = 86_400_000_000_000


def mark_equity(before: EquityMark | None, *, equity: Decimal, last_equity: Decimal, crypto_pnl: Decimal, now_ns: int) -> EquityMark:
    """Move the marks to a new observation. The day is UTC's; it starts from the brokers' own last closing equity."""
    day = now_ns // NS_PER_DAY
    if before is None:
        return EquityMark(
            day=day,
            day_start=last_equity,
            high_water=max(equity, last_equity),
            equity=equity,
            crypto_day_start=crypto_pnl,
            crypto_high=crypto_pnl,
            crypto_pnl=crypto_pnl,
        )
    moved = replace(
        before,
        equity=equity,
        high_water=max(before.high_water, equity),
        crypto_pnl=crypto_pnl,
        crypto_high=max(before.crypto_high, crypto_pnl),
    )
    if day > before.day:  # a clock that steps back never re-opens yesterday
        moved = replace(moved, day=day, day_start=last_equity, crypto_day_start=crypto_pnl)
    return moved


def references_moved(before: EquityMark | None, after: EquityMark) -> bool:
    """Whether the journal must learn of it: anything but the running values."""
    if before is None:
        return True
    return (before.day, before.day_start, before.high_water, before.crypto_day_start, before.crypto_high) != (
        after.day,
        after.day_start,
        after.high_water,
        after.crypto_day_start,
        after.crypto_high,
    )
