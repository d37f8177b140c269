"""What the twin lists: a dozen stocks and funds, one with a share class in its name, one below five dollars. Prices are scenery."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.sim.exchange import Terms
from trading_system.sim.market import Listing
from trading_system.sim.sessions import Sessions

CENT = Decimal("0.01")


class Stock(msgspec.Struct, frozen=True):
    """One line of the list. touch: typical shares at the best price. easy: it can be borrowed. options: there are contracts on it."""

    symbol: str
    name: str
    exch: str
    kind: str
    price: str
    volatility: float
    touch: int
    easy: bool = True
    options: bool = True


STOCKS = (
    Stock("AAPL", "Apple Inc", "Q", "stock", "230", 0.28, 300),
    Stock("MSFT", "Microsoft Corp", "Q", "stock", "430", 0.25, 200),
    Stock("NVDA", "NVIDIA Corp", "Q", "stock", "180", 0.45, 500),
    Stock("AMZN", "Amazon.com Inc", "Q", "stock", "220", 0.32, 300),
    Stock("TSLA", "Tesla Inc", "Q", "stock", "320", 0.55, 300),
    Stock("SPY", "SPDR S&P 500 ETF Trust", "P", "etf", "600", 0.15, 800),
    Stock("QQQ", "Invesco QQQ Trust, Series 1", "Q", "etf", "510", 0.2, 600),
    Stock("IWM", "iShares Russell 2000 ETF", "P", "etf", "225", 0.22, 700),
    Stock("GE", "General Electric Co", "N", "stock", "190", 0.3, 300),
    Stock("F", "Ford Motor Co", "N", "stock", "11", 0.33, 3000),
    Stock("BRK/B", "Berkshire Hathaway Inc Class B", "N", "stock", "470", 0.17, 100, options=False),
    Stock("THIN", "Thin Air Corp", "Q", "stock", "3.20", 0.4, 2000, easy=False, options=False),  # invented: neither lent nor sold short
    Stock("CHEAP", "Small Change Corp", "N", "stock", "2.40", 0.4, 2000, options=False),  # invented: below the price at which one may sell short
)


class Universe(msgspec.Struct, frozen=True):
    """Stocks by symbol, and what market and exchange know of them; contracts are added as they are first asked for."""

    stocks: Mapping[str, Stock]
    listings: tuple[Listing, ...]
    terms: dict[str, Terms]


def universe(hours: str) -> Universe:
    """Everything listed, open in `hours` ("always" or "us")."""
    sessions = Sessions(hours)
    listings = tuple(
        Listing(symbol=row.symbol, price=Decimal(row.price), unit=CENT, volatility=row.volatility, touch=row.touch, sessions=sessions)
        for row in STOCKS
    )
    return Universe({row.symbol: row for row in STOCKS}, listings, {row.symbol: Terms(base=row.symbol) for row in STOCKS})
