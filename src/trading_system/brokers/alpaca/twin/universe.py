"""What the twin lists: a dozen stocks (one below a dollar), crypto pairs, and FAKEPACA of the test stream. Prices are scenery."""

import uuid
from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from trading_system.brokers.alpaca import facts, wire
from trading_system.sim.exchange import Terms
from trading_system.sim.market import LOT, Listing
from trading_system.sim.sessions import Sessions

_NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

# symbol, name, exchange, price, volatility a year, typical shares at the best price, fractionable and shortable
STOCKS = (
    ("AAPL", "Apple Inc. Common Stock", "NASDAQ", "230", 0.28, 300, True),
    ("MSFT", "Microsoft Corporation Common Stock", "NASDAQ", "430", 0.25, 200, True),
    ("NVDA", "NVIDIA Corporation Common Stock", "NASDAQ", "180", 0.45, 500, True),
    ("AMZN", "Amazon.com, Inc. Common Stock", "NASDAQ", "220", 0.32, 300, True),
    ("GOOGL", "Alphabet Inc. Class A Common Stock", "NASDAQ", "190", 0.3, 300, True),
    ("META", "Meta Platforms, Inc. Class A Common Stock", "NASDAQ", "600", 0.36, 150, True),
    ("TSLA", "Tesla, Inc. Common Stock", "NASDAQ", "320", 0.55, 300, True),
    ("AMD", "Advanced Micro Devices, Inc. Common Stock", "NASDAQ", "150", 0.48, 400, True),
    ("SPY", "SPDR S&P 500 ETF Trust", "ARCA", "600", 0.15, 800, True),
    ("QQQ", "Invesco QQQ Trust, Series 1", "NASDAQ", "510", 0.2, 600, True),
    ("F", "Ford Motor Company", "NYSE", "11", 0.33, 3000, True),
    ("CENT", "Cent a Share Corp. Common Stock", "NASDAQ", "0.45", 0.3, 9000, False),  # invented: sub-dollar ticks, neither fractional nor shortable
)
# base, name, price, price increment, volatility, spread in increments, one size, typical sizes at the best price
CRYPTO = (
    ("BTC", "Bitcoin", "95000", "0.01", 0.5, 400, "0.001", 150),
    ("ETH", "Ethereum", "3300", "0.01", 0.6, 60, "0.01", 200),
    ("SOL", "Solana", "190", "0.001", 0.75, 60, "0.1", 300),
    ("DOGE", "Dogecoin", "0.35", "0.00001", 0.8, 10, "10", 800),
    ("LTC", "Litecoin", "110", "0.001", 0.65, 50, "0.1", 150),
    ("AVAX", "Avalanche", "38", "0.001", 0.8, 15, "0.1", 400),
    ("LINK", "Chainlink", "20", "0.001", 0.75, 10, "0.1", 500),
)


class Universe(msgspec.Struct, frozen=True):
    """Assets by symbol, and everything else one can call them by."""

    assets: Mapping[str, wire.Asset]
    names: Mapping[str, str]  # symbol, symbol without slash, asset id -> symbol
    listings: tuple[Listing, ...]
    terms: dict[str, Terms]
    options: dict[str, wire.Asset] = {}  # contracts, by symbol and by id, as they are first asked for; GET /v2/assets does not list them

    def find(self, name: str) -> wire.Asset | None:
        symbol = self.names.get(name)
        return self.options.get(name) if symbol is None else self.assets[symbol]

    def asset(self, symbol: str) -> wire.Asset:
        """Of what is listed, or was."""
        return self.options[symbol] if symbol in self.options else self.assets[symbol]


def universe(hours: str) -> Universe:
    """Everything listed; stocks keep `hours` ("always" or "us"), crypto never closes."""
    stock_hours, always = Sessions(hours), Sessions()
    assets = [_stock(*row[:3], row[6]) for row in STOCKS] + [_coin(row[0], row[1], row[3]) for row in CRYPTO]
    listings = [_stock_listing(row[0], row[3], row[4], row[5], stock_hours) for row in STOCKS]
    listings += [
        Listing(
            symbol=f"{base}/USD",
            price=Decimal(price),
            unit=Decimal(tick),
            volatility=volatility,
            spread=spread,
            size=Decimal(size),
            touch=touch,
            sessions=always,
        )
        for base, _, price, tick, volatility, spread, size, touch in CRYPTO
    ]
    listings.append(_stock_listing(facts.TEST_SYMBOL, "135", 0.4, 200, always))
    terms = {row[0]: Terms(base=row[0]) for row in STOCKS}
    terms |= {f"{row[0]}/USD": Terms(base=row[0], maker_fee=facts.CRYPTO_MAKER_FEE, taker_fee=facts.CRYPTO_TAKER_FEE) for row in CRYPTO}
    return Universe({asset.symbol: asset for asset in assets}, _names(assets), tuple(listings), terms)


def option(symbol: str) -> wire.Asset:
    """A contract as an asset, which is what orders and positions name."""
    return wire.Asset(
        id=str(uuid.uuid5(_NAMESPACE, symbol)),
        asset_class="us_option",
        exchange="",
        symbol=symbol,
        status="active",
        tradable=True,
        marginable=False,
        shortable=True,
        fractionable=False,
        price_increment="0.01",
    )


def cusip(symbol: str) -> str:
    """A security's number, made from its symbol; the last digit checks the others. Source: ANSI X9.6, modulus 10 double add double

    >>> cusip("AAPL")[-1].isdigit(), len(cusip("AAPL"))
    (True, 9)
    """
    digits = [int(digit) for digit in f"{uuid.uuid5(_NAMESPACE, symbol).int % 10**8:08d}"]
    return "".join(map(str, digits)) + _check_digit(digits)


def _check_digit(digits: Iterable[int]) -> str:
    """
    >>> _check_digit([0, 3, 7, 8, 3, 3, 1, 0])  # Apple's own is 037833100
    '0'
    """
    doubled = [digit * 2 if place % 2 else digit for place, digit in enumerate(digits)]
    return str(-sum(number // 10 + number % 10 for number in doubled) % 10)


def _names(assets: Iterable[wire.Asset]) -> Mapping[str, str]:
    return {name: asset.symbol for asset in assets for name in (asset.symbol, asset.symbol.replace("/", ""), asset.id)}


def _stock_listing(symbol: str, price: str, volatility: float, touch: int, sessions: Sessions) -> Listing:
    low, high = facts.EQUITY_TICKS
    tick = high.tick if Decimal(price) >= high.from_price else low.tick
    return Listing(
        symbol=symbol, price=Decimal(price), unit=low.tick, tick=int(tick / low.tick), volatility=volatility, touch=touch, sessions=sessions
    )


def _stock(symbol: str, name: str, exchange: str, easy: bool) -> wire.Asset:
    return wire.Asset(
        id=str(uuid.uuid5(_NAMESPACE, symbol)),
        asset_class="us_equity",
        exchange=exchange,
        symbol=symbol,
        name=name,
        status="active",
        tradable=True,
        marginable=easy,
        shortable=easy,
        easy_to_borrow=easy,
        borrow_status="easy_to_borrow" if easy else "hard_to_borrow",
        fractionable=easy,
        maintenance_margin_requirement=Decimal(30 if easy else 100),
        margin_requirement_long="30" if easy else "100",
        margin_requirement_short="100",
        attributes=["fractional_eh_enabled", "has_options"] if easy else [],
    )


def _coin(base: str, name: str, tick: str) -> wire.Asset:
    return wire.Asset(
        id=str(uuid.uuid5(_NAMESPACE, base + "/USD")),
        asset_class="crypto",
        exchange="CRYPTO",
        symbol=base + "/USD",
        name=f"{name} / US Dollar",
        status="active",
        tradable=True,
        marginable=False,
        shortable=False,
        easy_to_borrow=False,
        fractionable=True,
        maintenance_margin_requirement=Decimal(100),
        margin_requirement_long="100",
        margin_requirement_short="100",
        attributes=[],
        min_order_size=format(LOT, "f"),
        min_trade_increment=format(LOT, "f"),
        price_increment=tick,
    )
