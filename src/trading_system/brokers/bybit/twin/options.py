"""Which options the twin lists, and what one that is sold ties up: BTC and ETH, European, settled in USDT, each priced from its coin's market.

Every morning at eight what ends is gone, and what the days ahead and the price call for is listed. Source of the calendar:
bybit.com/en/help-center, options contract specifications
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from trading_system.brokers.bybit import facts, wire
from trading_system.brokers.bybit.twin.universe import FRIDAY, Product, Universe, quarter_end_ns
from trading_system.domain.ids import InstrumentID
from trading_system.domain.money import ZERO, plain
from trading_system.domain.option import Contract, Right, option_name
from trading_system.sim.exchange import Terms
from trading_system.sim.market import Listing, Market
from trading_system.sim.options import OptionMarket
from trading_system.sim.pricing import Grid
from trading_system.sim.sessions import DAY_NS, HOUR_NS, SECOND_NS, Sessions

EIGHT_NS = 8 * HOUR_NS
DAYS, WEEKS, AHEAD = 3, 3, 70  # that many days and Fridays ahead, and the last Friday of every month within so many days
STRIKES = 6  # steps on each side of the price
WIDER_AFTER = (10, 40)  # days: from there on the steps between strikes are wider
INITIAL, INITIAL_LEAST, MAINTENANCE = Decimal("0.15"), Decimal("0.10"), Decimal("0.05")  # of the coin's price


class Series(msgspec.Struct, frozen=True):
    """How the options on one coin are cut. size: what the market's sizes are multiples of; strikes: steps, near days first."""

    tick: str
    lot: str
    size: Decimal
    strikes: tuple[Decimal, Decimal, Decimal]


SERIES = {
    "BTC": Series("5", "0.01", Decimal("0.1"), (Decimal(1000), Decimal(2000), Decimal(5000))),
    "ETH": Series("0.1", "0.1", Decimal(1), (Decimal(50), Decimal(100), Decimal(200))),
}


def next_eight_ns(now_ns: int) -> int:
    """When options end next: the first eight o'clock UTC after an instant."""
    return ((now_ns - EIGHT_NS) // DAY_NS + 1) * DAY_NS + EIGHT_NS


def ends(now_ns: int) -> list[int]:
    """When the options end that are listed at an instant: the next days, Fridays, months, and the quarter."""
    found = {quarter_end_ns(now_ns)}
    for place in range(AHEAD):
        end_ns = next_eight_ns(now_ns) + place * DAY_NS
        day, week_on = _day(end_ns), _day(end_ns + 7 * DAY_NS)
        if place < DAYS or (day.weekday() == FRIDAY and (place < 7 * WEEKS or day.month != week_on.month)):
            found.add(end_ns)
    return sorted(found)


def list_options(universe: Universe, market: Market, now_ns: int) -> None:
    """Add what is not listed yet. What is listed stays, whatever the price does."""
    for base, series in SERIES.items():
        for contract, end_ns in _contracts(market, base, series, now_ns):
            product = _product(contract, series, end_ns, now_ns)
            if product.name not in universe.names:
                universe.add(product)
                grid = Grid(product.tick, product.tick, product.tick, series.size)
                volatility = market.listings[product.pair].volatility
                listing = Listing(
                    symbol=product.name, price=product.tick, unit=product.tick, volatility=volatility, size=series.size, touch=16, sessions=Sessions()
                )
                universe.options[product.name] = OptionMarket(market, contract, end_ns, grid)
                market.derive(listing, universe.options[product.name])


def option_terms(product: Product) -> Terms:
    """How a contract settles: premium and fee in money."""
    return Terms(
        base=product.asset,
        maker_fee=facts.OPTION_FEE,
        taker_fee=facts.OPTION_FEE,
        fees_in_money=True,
        index=product.pair,
        fee_cap=facts.OPTION_FEE_CAP,
    )


def initial_margin(contract: Contract, spot: Decimal, mark: Decimal) -> Decimal:
    """What a unit that is sold ties up: a part of the coin's price, less as it is further out of the money, and what it would cost to buy it back.

    >>> call = Contract(underlying=InstrumentID("BTC/USDT"), expiry=_day(0).date(), right=Right.CALL, strike=Decimal(102_000))
    >>> initial_margin(call, Decimal(100_000), Decimal(500)), initial_margin(call, Decimal(90_000), Decimal(50))
    (Decimal('13500.00'), Decimal('9050.00'))
    """
    out = max(ZERO, contract.strike - spot if contract.right is Right.CALL else spot - contract.strike)
    return max(INITIAL * spot - out, INITIAL_LEAST * spot) + mark


def maintenance_margin(spot: Decimal, mark: Decimal) -> Decimal:
    """What stands behind it at least, before it is liquidated."""
    return MAINTENANCE * spot + mark


def _contracts(market: Market, base: str, series: Series, now_ns: int) -> Iterator[tuple[Contract, int]]:
    pair = f"{base}/{facts.QUOTE}"
    tick = market.latest(pair, now_ns)
    spot = tick.bids[0][0] * market.listings[pair].unit
    for end_ns in ends(now_ns):
        step = series.strikes[sum(end_ns - now_ns > days * DAY_NS for days in WIDER_AFTER)]
        middle = (spot / step).to_integral_value() * step
        for place in range(-STRIKES, STRIKES + 1):
            strike = middle + place * step
            for right in Right if strike > 0 else ():
                yield Contract(underlying=InstrumentID(pair), expiry=_day(end_ns).date(), right=right, strike=Decimal(plain(strike))), end_ns


def _product(contract: Contract, series: Series, end_ns: int, now_ns: int) -> Product:
    base, symbol = contract.underlying.partition("/")[0], option_name(contract).replace("/", "-")
    entry = wire.Instrument(
        symbol=symbol,
        baseCoin=base,
        quoteCoin=facts.QUOTE,
        settleCoin=facts.QUOTE,
        status="Trading",
        optionsType=contract.right.value.title(),
        launchTime=str(now_ns // 1_000_000),
        deliveryTime=str(end_ns // 1_000_000),
        deliveryFeeRate=plain(facts.OPTION_DELIVERY_FEE),
        priceFilter=wire.PriceFilter(tickSize=series.tick, minPrice=series.tick, maxPrice="10000000"),
        lotSizeFilter=wire.LotSizeFilter(minOrderQty=series.lot, maxOrderQty="10000", qtyStep=series.lot),
    )
    return Product(
        category=facts.OPTION,
        symbol=symbol,
        name=symbol,
        pair=str(contract.underlying),
        base=base,
        asset=symbol,
        tick=Decimal(series.tick),
        step=Decimal(series.lot),
        entry=entry,
        expires_ns=end_ns,
        contract=contract,
    )


def _day(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns // SECOND_NS, UTC)
