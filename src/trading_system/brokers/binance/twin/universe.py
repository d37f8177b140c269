"""What the twin lists: pairs with USDT and their filters. Prices are scenery."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from trading_system.brokers.binance import facts, wire
from trading_system.brokers.binance.twin.forms import shown
from trading_system.sim.exchange import Terms
from trading_system.sim.market import Listing
from trading_system.sim.sessions import Sessions

# base, price, price step, lot, volatility, spread in steps, one size, typical sizes at the best price
PAIRS = (
    ("BTC", "95000", "0.01", "0.00001", 0.5, 400, "0.001", 150),
    ("ETH", "3300", "0.01", "0.0001", 0.6, 60, "0.01", 200),
    ("BNB", "650", "0.01", "0.001", 0.6, 20, "0.01", 500),
    ("SOL", "190", "0.01", "0.001", 0.75, 6, "0.1", 300),
    ("XRP", "2.4", "0.0001", "0.1", 0.8, 8, "1", 5000),
    ("DOGE", "0.35", "0.00001", "1", 0.8, 10, "10", 800),
    ("LTC", "110", "0.01", "0.001", 0.65, 5, "0.1", 150),
    (facts.DOLLAR, "1.0003", "0.0001", "0.01", 0.001, 1, "1", 100_000),
)
ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT")
MIN_NOTIONAL, MAX_NOTIONAL = Decimal(5), Decimal(9_000_000)
MULTIPLIER_UP, MULTIPLIER_DOWN = Decimal(5), Decimal("0.2")  # of the average price
MAX_QTY_IN_LOTS = 900_000_000
MAX_ORDERS, MAX_ALGO_ORDERS = 200, 5
TRAIL_MIN, TRAIL_MAX = 10, 2_000  # basis points


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One pair's grid."""

    symbol: str
    base: str
    tick: Decimal
    lot: Decimal
    market_max: Decimal  # the largest market order

    @property
    def max_qty(self) -> Decimal:
        return self.lot * MAX_QTY_IN_LOTS


class Universe(msgspec.Struct, frozen=True):
    """Pairs by symbol, and what the market and the exchange want to know of them."""

    pairs: Mapping[str, Pair]
    listings: tuple[Listing, ...]
    terms: dict[str, Terms]


def universe(hours: str = "always", fee: Decimal = facts.FEE) -> Universe:
    """Everything listed. Nothing of it ever closes, whatever `hours` says of stocks."""
    always = Sessions()
    pairs = {
        f"{row[0]}{facts.QUOTE}": Pair(
            symbol=f"{row[0]}{facts.QUOTE}", base=row[0], tick=Decimal(row[2]), lot=Decimal(row[3]), market_max=Decimal(row[6]) * row[7] * 100
        )
        for row in PAIRS
    }
    listings = tuple(
        Listing(
            symbol=f"{base}{facts.QUOTE}",
            price=Decimal(price),
            unit=Decimal(tick),
            volatility=volatility,
            spread=spread,
            size=Decimal(size),
            touch=touch,
            sessions=always,
        )
        for base, price, tick, _, volatility, spread, size, touch in PAIRS
    )
    terms = {symbol: Terms(base=pair.base, maker_fee=fee, taker_fee=fee) for symbol, pair in pairs.items()}
    return Universe(pairs, listings, terms)


def describe(pair: Pair) -> wire.Symbol:
    """The pair as exchangeInfo shows it."""
    return wire.Symbol(
        symbol=pair.symbol,
        status="TRADING",
        base_asset=pair.base,
        base_asset_precision=8,
        quote_asset=facts.QUOTE,
        quote_precision=8,
        quote_asset_precision=8,
        base_commission_precision=8,
        quote_commission_precision=8,
        order_types=ORDER_TYPES,
        iceberg_allowed=False,
        oco_allowed=True,
        oto_allowed=True,
        quote_order_qty_market_allowed=True,
        allow_trailing_stop=True,
        cancel_replace_allowed=True,
        is_spot_trading_allowed=True,
        is_margin_trading_allowed=False,
        filters=[
            wire.Filter(filter_type="PRICE_FILTER", min_price=shown(pair.tick), max_price=shown(Decimal(1_000_000)), tick_size=shown(pair.tick)),
            wire.Filter(filter_type="LOT_SIZE", min_qty=shown(pair.lot), max_qty=shown(pair.max_qty), step_size=shown(pair.lot)),
            wire.Filter(filter_type="MARKET_LOT_SIZE", min_qty="0.00000000", max_qty=shown(pair.market_max), step_size="0.00000000"),
            wire.Filter(
                filter_type="NOTIONAL",
                min_notional=shown(MIN_NOTIONAL),
                apply_min_to_market=True,
                max_notional=shown(MAX_NOTIONAL),
                apply_max_to_market=False,
                avg_price_mins=5,
            ),
            wire.Filter(
                filter_type="PERCENT_PRICE_BY_SIDE",
                bid_multiplier_up=str(MULTIPLIER_UP),
                bid_multiplier_down=str(MULTIPLIER_DOWN),
                ask_multiplier_up=str(MULTIPLIER_UP),
                ask_multiplier_down=str(MULTIPLIER_DOWN),
                avg_price_mins=5,
            ),
            wire.Filter(
                filter_type="TRAILING_DELTA",
                min_trailing_above_delta=TRAIL_MIN,
                max_trailing_above_delta=TRAIL_MAX,
                min_trailing_below_delta=TRAIL_MIN,
                max_trailing_below_delta=TRAIL_MAX,
            ),
            wire.Filter(filter_type="MAX_NUM_ORDERS", max_num_orders=MAX_ORDERS),
            wire.Filter(filter_type="MAX_NUM_ALGO_ORDERS", max_num_algo_orders=MAX_ALGO_ORDERS),
        ],
        permissions=[],
        permission_sets=[["SPOT"]],
        default_self_trade_prevention_mode="NONE",
        allowed_self_trade_prevention_modes=["NONE"],
    )
