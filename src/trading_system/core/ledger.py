"""Cash and positions as double entry, and the equity of all accounts against its day's start and its high-water mark."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from trading_system.core.lifecycle import Booking
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import AssetClass, Pricing
from trading_system.domain.money import ZERO
from trading_system.domain.order import Fill, Order


class Posting(msgspec.Struct, frozen=True):
    """One line: so much of a commodity (a currency or an instrument) into an account. A set of postings sums to zero per commodity."""

    account: str  # "assets", "trading" (the market took the other side), "fees", "external" (the world outside)
    commodity: str
    amount: Decimal


def postings_of(order: Order, fill: Fill, currency: str, pricing: Pricing) -> tuple[Posting, ...]:
    """The entries of one fill: units one way, money the other, the fee where it was charged. An inverse contract costs nothing, and what closing it
    made comes in coins."""
    units = order.side.sign * fill.qty
    came, moved = (fill.fee_currency, fill.realized) if pricing.inverse else (currency, -pricing.worth(units, fill.price))
    lines = [Posting("assets", order.instrument, units), Posting("trading", order.instrument, -units)]
    if moved:
        lines += [Posting("assets", came, moved), Posting("trading", came, -moved)]
    if fill.fee:
        lines += [Posting("assets", fill.fee_currency, -fill.fee), Posting("fees", fill.fee_currency, fill.fee)]
    return tuple(lines)


def adjustment(commodity: str, amount: Decimal) -> tuple[Posting, ...]:
    """A fact from outside: a position found at start, a deposit, a dividend."""
    return (Posting("assets", commodity, amount), Posting("external", commodity, -amount))


class Ledger:
    """Owns the balances, per broker. Each method is one synchronous step."""

    def __init__(self) -> None:
        self._balances: dict[tuple[BrokerName, str, str], Decimal] = {}
        self._cost: dict[tuple[BrokerName, InstrumentID], Decimal] = {}
        """Money paid in less money taken out, fees in money included. Of inverse contracts that are open: what they would be worth in coins at their
        average entry, a contract −multiplier/price."""

    def book(self, order: Order, booking: Booking, currency: str, pricing: Pricing) -> None:
        """Enter a fill, or take one back."""
        sign, fill = -1 if booking.reversal else 1, booking.fill
        lines = postings_of(order, fill, currency, pricing)
        if pricing.inverse:
            self._enter_inverse(order.broker, order.instrument, sign * order.side.sign * fill.qty, fill.price, pricing.multiplier)
            if fill.fee_currency:
                self._add_cost(order.broker, InstrumentID(fill.fee_currency), ZERO)  # the coin's position is looked at from now on
        else:
            paid = -sum((line.amount for line in lines if line.account == "assets" and line.commodity == currency), ZERO)
            self._add_cost(order.broker, order.instrument, sign * paid)
        self.post(order.broker, (Posting(line.account, line.commodity, sign * line.amount) for line in lines))

    def adjust(self, broker: BrokerName, instrument: InstrumentID, qty: Decimal, price: Decimal, pricing: Pricing) -> None:
        """Take over units that came from outside, at the price they are worth now: their past P&L is not ours. price 0: they cost nothing."""
        if not pricing.inverse:
            self._add_cost(broker, instrument, pricing.worth(qty, price))
        elif price:
            self._enter_inverse(broker, instrument, qty, price, pricing.multiplier)
        self.post(broker, adjustment(instrument, qty))

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

    def pnl(self, broker: BrokerName, instrument: InstrumentID, mark: Decimal, pricing: Pricing) -> Decimal:
        """Realised and unrealised since we hold it: what it is worth less what it cost. Of an inverse contract what is unrealised, in the currency of
        its price: what it has realised is the coin's position, which cost nothing."""
        worth, cost = pricing.worth(self.position(broker, instrument), mark), self._cost.get((broker, instrument), ZERO)
        return -worth - cost * mark if pricing.inverse else worth - cost

    def traded(self) -> tuple[tuple[BrokerName, InstrumentID], ...]:
        """Every instrument that ever moved money here."""
        return tuple(self._cost)

    def _enter_inverse(self, broker: BrokerName, instrument: InstrumentID, units: Decimal, price: Decimal, multiplier: Decimal) -> None:
        """Before the units move: what opens adds its own cost, what closes takes its part of the average's along."""
        before, cost = self.position(broker, instrument), self._cost.get((broker, instrument), ZERO)
        after = before + units
        if before * units >= 0:
            cost -= units * multiplier / price
        elif before * after >= 0:
            cost = cost * after / before
        else:
            cost = -after * multiplier / price
        self._cost[broker, instrument] = cost

    def _add_cost(self, broker: BrokerName, instrument: InstrumentID, amount: Decimal) -> None:
        self._cost[broker, instrument] = self._cost.get((broker, instrument), ZERO) + amount


class EquityMark(msgspec.Struct, frozen=True, kw_only=True):
    """Equity over all accounts in BASE_CURRENCY against what it is measured by. Journaled when a reference moves; kept over restarts.

    day: days since 1970-01-01 UTC. Crypto figures are P&L, not equity: what our crypto made since this desk first held it. Unbooked: what of a figure
    the books had not been told of when it was taken, such as a transfer whose entry comes a day later.
    """

    day: int
    day_start: Decimal
    high_water: Decimal
    equity: Decimal
    crypto_day_start: Decimal = ZERO
    crypto_high: Decimal = ZERO
    crypto_pnl: Decimal = ZERO
    unbooked: Decimal = ZERO  # of equity
    day_unbooked: Decimal = ZERO  # of day_start
    high_unbooked: Decimal = ZERO  # of high_water

    def loss(self, asset_class: AssetClass | None = None) -> Decimal:
        """Today's loss as a fraction of the equity that the day began with; 0 when there is none."""
        fell = self.crypto_day_start - self.crypto_pnl if asset_class is not None and asset_class.is_crypto else self.day_start - self.equity
        return max(ZERO, fell / self.day_start) if self.day_start > 0 else ZERO

    def drawdown(self, asset_class: AssetClass | None = None) -> Decimal:
        """The fall from the highest point as a fraction of the highest equity; 0 at the top."""
        fell = self.crypto_high - self.crypto_pnl if asset_class is not None and asset_class.is_crypto else self.high_water - self.equity
        return max(ZERO, fell / self.high_water) if self.high_water > 0 else ZERO


_CENT = Decimal("0.00000001")


def _apart(figure: Decimal, unbooked: Decimal, amount: Decimal) -> tuple[Decimal, Decimal]:
    """A figure and what of it is unbooked, without an amount that was booked just now: it is in there where more than half of it is unbooked."""
    if unbooked * amount > 0 and 2 * abs(unbooked) > abs(amount):
        return figure - amount, unbooked - amount
    return figure, unbooked


def before_transfer(mark: EquityMark, amount: Decimal) -> Decimal:
    """Equity without a transfer: some balances have it before its entry is told."""
    return _apart(mark.equity, mark.unbooked, amount)[0]


def explained(mark: EquityMark, amount: Decimal) -> EquityMark:
    """The mark after an amount was booked that is no transfer: it stays in every figure that has it."""
    _, unbooked = _apart(ZERO, mark.unbooked, amount)
    _, day_unbooked = _apart(ZERO, mark.day_unbooked, amount)
    _, high_unbooked = _apart(ZERO, mark.high_unbooked, amount)
    return replace(mark, unbooked=unbooked, day_unbooked=day_unbooked, high_unbooked=high_unbooked)


def transferred(mark: EquityMark, equity_before: Decimal, amount: Decimal) -> EquityMark:
    """The references after the owner paid in or took out: they grow or shrink as the equity did, so that a transfer is neither profit nor
    loss, and a drawdown stays the percentage it was. equity_before: without it; a reference that has it already is freed of it first.

    Source: the unit value of a fund (time-weighted return)
    """
    day_start, _ = _apart(mark.day_start, mark.day_unbooked, amount)
    high_water, _ = _apart(mark.high_water, mark.high_unbooked, amount)
    after = replace(explained(mark, amount), equity=equity_before + amount)
    if equity_before <= 0:
        return replace(after, day_start=day_start + amount, high_water=high_water + amount)
    grown = (equity_before + amount) / equity_before
    return replace(after, day_start=(day_start * grown).quantize(_CENT), high_water=(high_water * grown).quantize(_CENT))


NS_PER_DAY = 86_400_000_000_000


def mark_equity(
    before: EquityMark | None, *, equity: Decimal, last_equity: Decimal, crypto_pnl: Decimal, unbooked: Decimal = ZERO, now_ns: int
) -> EquityMark:
    """Move the marks to a new observation. The day is UTC's; it starts from the brokers' own last closing equity. What came and is not booked
    raises no high: a deposit would. What went and is not booked is a loss until somebody says that it is none."""
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
    moved = replace(before, equity=equity, unbooked=unbooked, crypto_pnl=crypto_pnl, crypto_high=max(before.crypto_high, crypto_pnl))
    high = equity - max(ZERO, unbooked)
    if high > before.high_water:
        moved = replace(moved, high_water=high, high_unbooked=min(ZERO, unbooked))
    if day > before.day:  # a clock that steps back never re-opens yesterday
        moved = replace(moved, day=day, day_start=last_equity, day_unbooked=unbooked, crypto_day_start=crypto_pnl)
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
