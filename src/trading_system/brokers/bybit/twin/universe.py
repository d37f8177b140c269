"""What the twin lists: pairs, perpetual swaps, and of some coins contracts of the quarter in USDT and inverse swaps; options come later. Prices are
scenery."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from trading_system.brokers.bybit import facts, wire
from trading_system.domain.option import Contract
from trading_system.sim.exchange import Terms
from trading_system.sim.market import Listing
from trading_system.sim.options import OptionMarket
from trading_system.sim.sessions import DAY_NS, HOUR_NS, SECOND_NS, Sessions

FUNDING_HOURS = 8
MAX_LEVERAGE = Decimal(100)
NEAREST_NS = 14 * DAY_NS  # a contract ends no sooner than this after the twin's start
QUARTER, FRIDAY = 3, 4
DATED = ("BTC", "ETH", "SOL")  # coins with a contract of the quarter, and with an inverse swap

# base, price, tick, volatility, sizes of the market, typical sizes at the best price, step of a pair's quantity, of a swap's, maintenance margin
COINS = (
    ("BTC", "95000", "0.1", 0.5, "0.001", 150, "0.000001", "0.001", "0.005"),
    ("ETH", "3300", "0.01", 0.6, "0.01", 200, "0.00001", "0.01", "0.005"),
    ("SOL", "190", "0.01", 0.75, "0.1", 300, "0.001", "0.1", "0.01"),
    ("XRP", "2.2", "0.0001", 0.8, "1", 5000, "0.01", "0.1", "0.01"),
    ("DOGE", "0.35", "0.00001", 0.8, "10", 8000, "0.1", "1", "0.01"),
)
_LAUNCH = "1585526400000"


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One listing. name: of its market here, because a pair and its swap are one symbol to Bybit."""

    category: str
    symbol: str
    name: str
    pair: str  # the market of the coin itself: a swap's index
    base: str
    asset: str  # what the exchange holds it as
    tick: Decimal
    step: Decimal
    entry: wire.Instrument
    maintenance: Decimal = Decimal(0)
    expires_ns: int = 0  # 0: never
    contract: Contract | None = None  # of an option

    @property
    def linear(self) -> bool:
        return self.category == facts.LINEAR

    @property
    def inverse(self) -> bool:
        return self.category == facts.INVERSE

    @property
    def margined(self) -> bool:
        """A contract that is no option."""
        return self.category in facts.CONTRACTS

    @property
    def settles_in(self) -> str:
        return self.base if self.inverse else facts.QUOTE

    def worth(self, qty: Decimal, price: Decimal) -> Decimal:
        """In USDT: an inverse contract is one dollar."""
        return qty if self.inverse else qty * price

    def value(self, qty: Decimal, price: Decimal) -> Decimal:
        """In what it settles in."""
        return qty / price if self.inverse else qty * price

    @property
    def spot(self) -> bool:
        return self.category == facts.SPOT


class Universe(msgspec.Struct, frozen=True):
    """Products by category and symbol, and by the name of their market."""

    products: dict[tuple[str, str], Product]
    names: dict[str, Product]
    listings: tuple[Listing, ...]
    terms: dict[str, Terms]  # of an option from its first order on: the exchange looks through all of them
    options: dict[str, OptionMarket]  # by the name of their market

    def add(self, product: Product) -> None:
        self.products[product.category, product.symbol] = product
        self.names[product.name] = product

    def of(self, category: str) -> list[Product]:
        return [product for product in self.products.values() if product.category == category]


def universe(hours: str, start_ns: int = 0) -> Universe:
    """Everything listed; nothing here ever closes, whatever `hours` says. start_ns: dated contracts end after it; 0: there are none."""
    products = [make(*row) for row in COINS for make in (_pair, _swap)] + [_inverse(_swap(*row)) for row in COINS if row[0] in DATED]
    if start_ns:
        products += [_dated(_swap(*row), quarter_end_ns(start_ns)) for row in COINS if row[0] in DATED]
    rows, names = {row[0]: row for row in COINS}, {product.name: product for product in products}
    listings = tuple(_listing(product, *rows[product.base][1:6]) for product in products)
    listings = tuple(_in_dollars(listing) if names[listing.symbol].inverse else listing for listing in listings)
    terms = {product.name: _terms(product) for product in products}
    by_key = {(product.category, product.symbol): product for product in products}
    return Universe(by_key, names, listings, terms, {})


def quarter_end_ns(start_ns: int) -> int:
    """The last Friday of a quarter, at eight, a good while after that time.

    >>> datetime.fromtimestamp(quarter_end_ns(1_790_000_000 * SECOND_NS) // SECOND_NS, UTC).isoformat()
    '2026-12-25T08:00:00+00:00'
    """
    year, month = (moment := datetime.fromtimestamp(start_ns // SECOND_NS, UTC)).year, -(-moment.month // QUARTER) * QUARTER
    while True:
        last = datetime(year, month, monthrange(year, month)[1], tzinfo=UTC)
        friday = last - timedelta(days=(last.weekday() - FRIDAY) % 7)
        ends_ns = int(friday.timestamp()) * SECOND_NS + 8 * HOUR_NS
        if ends_ns >= start_ns + NEAREST_NS:
            return ends_ns
        year, month = (year, month + QUARTER) if month < 12 else (year + 1, QUARTER)


def _listing(product: Product, price: str, tick: str, volatility: float, size: str, touch: int) -> Listing:
    return Listing(
        symbol=product.name,
        price=Decimal(price),
        unit=Decimal(tick),
        volatility=volatility,
        size=Decimal(size),
        touch=touch,
        sessions=Sessions(),
    )


def _in_dollars(listing: Listing) -> Listing:
    """A market whose sizes are dollars."""
    dollars = int(listing.price * listing.size * listing.touch)
    return msgspec.structs.replace(listing, size=Decimal(1), touch=dollars)


def _terms(product: Product) -> Terms:
    if not product.margined:
        return Terms(base=product.asset, maker_fee=facts.SPOT_MAKER_FEE, taker_fee=facts.SPOT_TAKER_FEE)
    return Terms(
        base=product.asset,
        maker_fee=facts.LINEAR_MAKER_FEE,
        taker_fee=facts.LINEAR_TAKER_FEE,
        fees_in_money=True,
        inverse=product.inverse,
        money=product.base if product.inverse else "",
    )


def _dated(swap: Product, ends_ns: int) -> Product:
    """A contract like the swap, with an end and without funding."""
    symbol = f"{swap.symbol}-{datetime.fromtimestamp(ends_ns // SECOND_NS, UTC):%d%b%y}".upper()
    entry = msgspec.structs.replace(
        swap.entry, symbol=symbol, contractType="LinearFutures", deliveryTime=str(ends_ns // 1_000_000), deliveryFeeRate="0", fundingInterval=0
    )
    return msgspec.structs.replace(swap, symbol=symbol, name=symbol, asset=f"{swap.base}-DATED", entry=entry, expires_ns=ends_ns)


def _inverse(swap: Product) -> Product:
    """A swap like it, of dollars that are settled in the coin."""
    lots = msgspec.structs.replace(
        swap.entry.lotSizeFilter, minOrderQty="1", qtyStep="1", minNotionalValue="", maxOrderQty="25000000", maxMktOrderQty="5000000"
    )
    entry = msgspec.structs.replace(
        swap.entry,
        symbol=f"{swap.base}{facts.DOLLAR}",
        quoteCoin=facts.DOLLAR,
        contractType="InversePerpetual",
        settleCoin=swap.base,
        lotSizeFilter=lots,
    )
    asset = f"{swap.base}-INVERSE"
    return msgspec.structs.replace(swap, category=facts.INVERSE, symbol=entry.symbol, name=entry.symbol, asset=asset, step=Decimal(1), entry=entry)


def _pair(base: str, price: str, tick: str, volatility: float, size: str, touch: int, step: str, *_: str) -> Product:
    symbol, name = base + facts.QUOTE, f"{base}/{facts.QUOTE}"
    least = Decimal(step) * 10
    entry = wire.Instrument(
        symbol=symbol,
        baseCoin=base,
        quoteCoin=facts.QUOTE,
        status="Trading",
        innovation="0",
        marginTrading="utaOnly",
        priceFilter=wire.PriceFilter(tickSize=tick),
        lotSizeFilter=wire.LotSizeFilter(
            minOrderQty=format(least, "f"),
            maxOrderQty="1000000000",
            basePrecision=step,
            quotePrecision="0.0000001",
            minOrderAmt="5",
            maxOrderAmt="8000000",
            maxLimitOrderQty="1000000000",
            maxMarketOrderQty="500000000",
        ),
    )
    return Product(
        category=facts.SPOT, symbol=symbol, name=name, pair=name, base=base, asset=base, tick=Decimal(tick), step=Decimal(step), entry=entry
    )


def _swap(base: str, price: str, tick: str, volatility: float, size: str, touch: int, _: str, step: str, maintenance: str) -> Product:
    symbol = base + facts.QUOTE
    entry = wire.Instrument(
        symbol=symbol,
        baseCoin=base,
        quoteCoin=facts.QUOTE,
        status="Trading",
        contractType="LinearPerpetual",
        settleCoin=facts.QUOTE,
        launchTime=_LAUNCH,
        deliveryTime="0",
        deliveryFeeRate="",
        priceScale=str(-int(Decimal(tick).as_tuple().exponent)),
        unifiedMarginTrade=True,
        fundingInterval=FUNDING_HOURS * 60,
        leverageFilter=wire.LeverageFilter(minLeverage="1", maxLeverage=str(MAX_LEVERAGE), leverageStep="0.01"),
        priceFilter=wire.PriceFilter(tickSize=tick, minPrice=tick, maxPrice="1999999.80"),
        lotSizeFilter=wire.LotSizeFilter(
            minOrderQty=step,
            maxOrderQty="1000000",
            qtyStep=step,
            postOnlyMaxOrderQty="1000000",
            maxMktOrderQty="500000",
            minNotionalValue="5",
        ),
    )
    return Product(
        category=facts.LINEAR,
        symbol=symbol,
        name=symbol,
        pair=f"{base}/{facts.QUOTE}",
        base=base,
        asset=f"{base}-PERP",
        tick=Decimal(tick),
        step=Decimal(step),
        entry=entry,
        maintenance=Decimal(maintenance),
    )
