"""What can be traded, and on which grid. One Instrument is one symbol at one broker."""

from decimal import Decimal
from enum import StrEnum

import msgspec

from trading_system.domain.hours import Hours
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.money import ONE, ZERO
from trading_system.domain.option import Contract


class AssetClass(StrEnum):
    EQUITY = "equity"
    CRYPTO = "crypto"
    OPTION = "option"
    PERPETUAL = "perpetual"  # a swap on a coin without an end: BTC-PERP/USDT
    FUTURE = "future"  # the same with an end: BTC-26DEC26/USDT
    LISTED_FUTURE = "listed_future"  # on an exchange of futures, on anything but coins: ES-18DEC26/USD
    FOREX = "forex"  # units of one money for another: EUR/USD; metals too
    BOND = "bond"  # by its CUSIP, in units of 1,000: 912810TM0
    FUND = "fund"  # mutual, dealt once a day at its net asset value: VFIAX
    CRYPTO_OPTION = "crypto_option"  # on a coin, settled in money: BTC-25DEC26-95000-C/USDT

    @property
    def is_crypto(self) -> bool:
        """Whether the crypto limits hold for it."""
        return self in (AssetClass.CRYPTO, AssetClass.PERPETUAL, AssetClass.FUTURE, AssetClass.CRYPTO_OPTION)

    @property
    def is_option(self) -> bool:
        return self in (AssetClass.OPTION, AssetClass.CRYPTO_OPTION)


class Pricing(msgspec.Struct, frozen=True):
    """What a price is of: `multiplier` units of what is traded. Or of an inverse contract: that is `multiplier` of its currency whatever the price,
    and pays in the coin, so that n of them from e to p make n × multiplier × (1/e − 1/p) coins.

    Source: bybit.com/en/help-center, inverse contracts: P&L calculations
    """

    multiplier: Decimal = ONE
    inverse: bool = False

    def worth(self, qty: Decimal, px: Decimal) -> Decimal:
        """What so many count, in the currency of the price.

        >>> Pricing(Decimal(100)).worth(Decimal(2), Decimal("1.5")), Pricing(inverse=True).worth(Decimal(500), Decimal(95_000))
        (Decimal('300.0'), Decimal('500'))
        """
        return qty * self.multiplier * (ONE if self.inverse else px)


class TickBand(msgspec.Struct, frozen=True):
    """From this price upwards, prices move in steps of `tick`."""

    from_price: Decimal
    tick: Decimal


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """Prices in `currency` per unit, quantities in units of the instrument; money value = qty × price × multiplier, but for inverse contracts."""

    id: InstrumentID
    broker: BrokerName
    symbol: str  # the broker's own spelling
    asset_class: AssetClass
    base: str  # BTC of BTC/USD; the symbol itself for a stock
    currency: str
    ticks: tuple[TickBand, ...]  # ascending, the first from 0
    lot: Decimal  # every quantity is a whole number of lots
    whole_lot: Decimal  # the lot of orders that may not be fractional (at Alpaca: anything but a plain day order)
    min_qty: Decimal = ZERO
    min_notional: Decimal = ZERO
    multiplier: Decimal = ONE
    inverse: bool = False  # as Pricing has it
    hours: Hours
    tradable: bool = True
    shortable: bool = False
    marginable: bool = False
    contract: Contract | None = None  # of an option

    @property
    def pricing(self) -> Pricing:
        return Pricing(self.multiplier, self.inverse)

    def tick(self, price: Decimal) -> Decimal:
        """The price step at this price."""
        return next(band.tick for band in reversed(self.ticks) if abs(price) >= band.from_price)
