"""What the twin lists: coins and two stablecoins against the dollar, under all of Kraken's names. Prices are scenery."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.brokers.kraken import facts, wire
from trading_system.sim.exchange import Terms
from trading_system.sim.market import Listing
from trading_system.sim.sessions import Sessions

MONEY = "USD"
MONEY_KEY = "ZUSD"
# asset key, altname, pair key, price, tick, volatility, spread in ticks, one size, typical sizes at the best price, least order, digits of a volume
COINS = (
    ("XXBT", "XBT", "XXBTZUSD", "95000", "0.1", 0.5, 40, "0.001", 150, "0.00005", 8),
    ("XETH", "ETH", "XETHZUSD", "3300", "0.01", 0.6, 60, "0.01", 200, "0.001", 8),
    ("SOL", "SOL", "SOLUSD", "190", "0.01", 0.75, 6, "0.1", 300, "0.02", 8),
    ("XXDG", "XDG", "XDGUSD", "0.35", "0.0000001", 0.8, 1000, "10", 800, "13", 8),
    ("XLTC", "LTC", "XLTCZUSD", "110", "0.01", 0.65, 5, "0.1", 150, "0.05", 8),
    ("XXRP", "XRP", "XXRPZUSD", "2.2", "0.00001", 0.8, 40, "10", 300, "2", 8),
    ("ADA", "ADA", "ADAUSD", "0.9", "0.000001", 0.8, 60, "10", 300, "7", 8),
    ("LINK", "LINK", "LINKUSD", "20", "0.00001", 0.75, 400, "0.1", 500, "0.3", 8),
    ("USDT", "USDT", "USDTZUSD", "1", "0.00001", 0.004, 2, "100", 2000, "5", 8),
    ("USDC", "USDC", "USDCUSD", "1", "0.0001", 0.003, 1, "100", 2000, "5", 8),
)
COST_MIN = "0.5"
COST_DECIMALS = 5
STEPS = (  # 30-day volume from which on it holds, taker, maker: percent
    (Decimal(0), Decimal("0.40"), Decimal("0.25")),
    (Decimal(10_000), Decimal("0.35"), Decimal("0.20")),
    (Decimal(50_000), Decimal("0.24"), Decimal("0.14")),
)


class Universe(msgspec.Struct, frozen=True):
    """Assets and pairs by their keys, and every name that a pair answers to."""

    assets: Mapping[str, wire.Asset]
    pairs: Mapping[str, wire.AssetPair]
    symbols: Mapping[str, str]  # any name of a pair -> the stream's symbol, by which the market knows it
    keys: Mapping[str, str]  # symbol -> pair key
    asset_keys: Mapping[str, str]  # BTC -> XXBT
    listings: tuple[Listing, ...]
    terms: dict[str, Terms]

    def pair(self, symbol: str) -> wire.AssetPair:
        return self.pairs[self.keys[symbol]]


def universe(hours: str) -> Universe:
    """Everything listed; coins never close, whatever the hours."""
    always = Sessions()
    assets = {MONEY_KEY: wire.Asset(aclass="currency", altname=MONEY, decimals=4, display_decimals=2, collateral_value=Decimal(1), status="enabled")}
    pairs: dict[str, wire.AssetPair] = {}
    symbols: dict[str, str] = {}
    keys: dict[str, str] = {}
    asset_keys = {MONEY: MONEY_KEY}
    listings, terms = [], {}
    for asset_key, altname, pair_key, price, tick, volatility, spread, size, touch, least, digits in COINS:
        coin = facts.RENAMED.get(altname, altname)
        symbol = f"{coin}/{MONEY}"
        assets[asset_key] = wire.Asset(aclass="currency", altname=altname, decimals=10, display_decimals=5, status="enabled")
        pair = pairs[pair_key] = _pair(asset_key, altname, tick, least, digits)
        symbols |= dict.fromkeys((pair_key, pair.altname, f"{altname}/{MONEY}", symbol), symbol)
        keys[symbol], asset_keys[coin] = pair_key, asset_key
        listings.append(
            Listing(
                symbol=symbol,
                price=Decimal(price),
                unit=Decimal(tick),
                volatility=volatility,
                spread=spread,
                size=Decimal(size),
                touch=touch,
                sessions=always,
            )
        )
        terms[symbol] = Terms(base=coin, maker_fee=facts.MAKER_FEE, taker_fee=facts.TAKER_FEE)
    return Universe(assets, pairs, symbols, keys, asset_keys, tuple(listings), terms)


def _pair(asset_key: str, altname: str, tick: str, least: str, digits: int) -> wire.AssetPair:
    return wire.AssetPair(
        altname=f"{altname}{MONEY}",
        wsname=f"{altname}/{MONEY}",
        aclass_base="currency",
        base=asset_key,
        aclass_quote="currency",
        quote=MONEY_KEY,
        lot="unit",
        cost_decimals=COST_DECIMALS,
        pair_decimals=len(tick.partition(".")[2]),
        lot_decimals=digits,
        fees=[(volume, taker) for volume, taker, _ in STEPS],
        fees_maker=[(volume, maker) for volume, _, maker in STEPS],
        fee_volume_currency=MONEY_KEY,
        margin_call=80,
        margin_stop=40,
        ordermin=least,
        costmin=COST_MIN,
        tick_size=tick,
        status="online",
    )
