"""The twin's prices and candles."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from trading_system.brokers.oanda import wire
from trading_system.brokers.oanda.twin.forms import Refusal, bad, count, moment, rated, units
from trading_system.brokers.oanda.twin.ledger import Ledger
from trading_system.brokers.oanda.twin.universe import Universe
from trading_system.sim.exchange import Exchange
from trading_system.sim.market import LOT, TICK_NS, Market
from trading_system.sim.sessions import DAY_NS, FOREX_CLOSE, HOUR_NS, MINUTE_NS, SECOND_NS, iso, new_york_day, new_york_ns

CANDLES_MAX, CANDLES = 5_000, 500
_PERIODS = {
    **{f"M{minutes}": minutes * MINUTE_NS for minutes in (1, 2, 4, 5, 10, 15, 30)},
    **{f"H{hours}": hours * HOUR_NS for hours in (1, 2, 3, 4, 6, 8, 12)},
    "D": DAY_NS,
}
_SECONDS = {f"S{seconds}": seconds * SECOND_NS for seconds in (5, 10, 15, 30)}


class MarketData:
    """What the market says, to whoever may ask."""

    def __init__(self, universe: Universe, market: Market, exchange: Exchange, ledger: Ledger) -> None:
        self._universe = universe
        self._market = market
        self._exchange = exchange
        self._ledger = ledger

    def named(self, query: Mapping[str, str]) -> list[str]:
        """The instruments of a query. Raises Refusal: none, or one that is not listed."""
        names = [name for name in query.get("instruments", "").split(",") if name]
        if not names or any(name not in self._universe.pairs for name in names):
            raise bad("instruments")
        return names

    def prices(self, query: Mapping[str, str], now_ns: int) -> wire.Prices:
        names = self.named(query)
        moneys = sorted({part for name in names for part in name.split("_")} - {"XAU"})
        wanted = query.get("includeHomeConversions", "").lower() == "true"
        conversions = [self._conversion(money, now_ns) for money in moneys] if wanted else []
        return wire.Prices(prices=[self.price(name, now_ns, asked=True) for name in names], homeConversions=conversions, time=iso(now_ns))

    def _conversion(self, money: str, now_ns: int) -> wire.Conversion:
        rate = units(self._ledger.rate(money, now_ns))
        return wire.Conversion(currency=money, accountGain=rate, accountLoss=rate, positionValue=rate)

    def price(self, name: str, now_ns: int, *, asked: bool = False) -> wire.Price:
        """The ladder; empty where the market is closed."""
        listing, open_ = self._market.listings[name], self.is_open(name, now_ns)
        tick = self._market.latest(name, now_ns)
        bids, asks = ([self._step(name, price, lots) for price, lots in side] for side in (tick.bids, tick.asks))
        rate = units(rated(self._ledger.rate(self._universe.pairs[name].money, now_ns)))
        return wire.Price(
            type="PRICE",
            instrument=name,
            time=iso(min(now_ns, tick.time_ns)),
            status="tradeable" if open_ else "non-tradeable",
            tradeable=open_,
            bids=bids if open_ else [],
            asks=asks if open_ else [],
            closeoutBid=self._ledger.shown(name, tick.bids[-1][0] * listing.unit),
            closeoutAsk=self._ledger.shown(name, tick.asks[-1][0] * listing.unit),
            quoteHomeConversionFactors=wire.Factors(positiveUnits=rate, negativeUnits=rate) if asked else None,
        )

    def _step(self, name: str, price: int, lots: int) -> wire.Bucket:
        return wire.Bucket(price=self._ledger.shown(name, price * self._market.listings[name].unit), liquidity=(lots * LOT).to_integral_value())

    def is_open(self, name: str, now_ns: int) -> bool:
        return self._market.listings[name].sessions.is_open(now_ns)

    def candles(self, name: str, query: Mapping[str, str], now_ns: int) -> wire.Candles:
        """Raises Refusal: no such instrument, period or count, or count with both ends."""
        granularity = query.get("granularity", "S5")
        period_ns = _PERIODS.get(granularity) or _SECONDS.get(granularity)
        if name not in self._universe.pairs:
            raise bad("instrument")
        if period_ns is None:
            raise bad("granularity")
        if "from" in query and "to" in query and "count" in query:
            raise Refusal(400, "'count' cannot be specified when both 'to' and 'from' parameters are set")
        most = count(query, "count", CANDLES if "to" not in query or "from" not in query else CANDLES_MAX, CANDLES_MAX)
        end_ns = min(now_ns + 1, moment(query["to"], "to")) if "to" in query else now_ns + 1
        kinds = query.get("price", "M")
        if not kinds or set(kinds) - set("MBA"):
            raise bad("price")
        starts = self._starts(name, period_ns, moment(query["from"], "from"), end_ns) if "from" in query else None
        if starts is None:
            back = list(self._back(name, period_ns, end_ns, most))
            starts = iter(reversed(back))
        found: list[wire.Candle] = []
        for start_ns in starts:
            if len(found) == most:
                break
            candle = self._candle(name, start_ns, period_ns, kinds, now_ns)
            if candle is not None:
                found.append(candle)
        return wire.Candles(instrument=name, granularity=granularity, candles=found)

    def _starts(self, name: str, period_ns: int, from_ns: int, end_ns: int) -> Iterator[int]:
        """Where the periods of a time begin, those in which nothing traded left out as far as the calendar knows."""
        last = -1
        for number in self._market.minutes(name, _floor(from_ns, max(period_ns, MINUTE_NS)), end_ns):
            if period_ns < MINUTE_NS:
                steps = range(number * MINUTE_NS, (number + 1) * MINUTE_NS, period_ns)
                yield from (step for step in steps if from_ns <= step < end_ns)
                continue
            if last >= 0 and number * MINUTE_NS < last + period_ns:
                continue  # of the same period
            start_ns = _floor(number * MINUTE_NS, period_ns)
            if start_ns != last and start_ns + period_ns > from_ns:
                last = start_ns
                if start_ns >= from_ns:
                    yield start_ns

    def _back(self, name: str, period_ns: int, end_ns: int, most: int) -> Iterator[int]:
        """The newest periods, the last first."""
        start_ns, left = _floor(end_ns - 1, period_ns), most
        while left:
            if self._market.listings[name].sessions.is_open(start_ns) or period_ns == DAY_NS:
                yield start_ns
            left -= 1
            start_ns = _floor(start_ns - 1, period_ns)

    def _candle(self, name: str, start_ns: int, period_ns: int, kinds: str, now_ns: int) -> wire.Candle | None:
        shift = {"mid": 0, "bid": -1, "ask": 1}
        listing = self._market.listings[name]
        if period_ns < MINUTE_NS:
            marks = [self._middle(name, at) for at in range(start_ns, min(start_ns + period_ns, now_ns + 1), TICK_NS)]
            if not marks:
                return None
            prices, volume = (marks[0], max(marks), min(marks), marks[-1]), len(set(marks))
        else:
            numbers = self._market.minutes(name, start_ns, min(start_ns + period_ns, now_ns + 1))
            bar = self._market.bar(name, start_ns, numbers)
            if bar is None:
                return None
            prices, volume = (bar.open, bar.high, bar.low, bar.close), bar.prints
        shown = {}
        for kind, steps in shift.items():
            if kind[0].upper() in kinds:
                off = steps * listing.spread * listing.tick // 2
                shown[kind] = wire.Ohlc(**{key: self._ledger.shown(name, (px + off) * listing.unit) for key, px in zip("ohlc", prices, strict=True)})
        return wire.Candle(time=iso(start_ns), complete=start_ns + period_ns <= now_ns, volume=volume, **shown)

    def _middle(self, name: str, at_ns: int) -> int:
        tick = self._market.latest(name, at_ns)
        return (tick.bids[0][0] + tick.asks[0][0]) // 2

    def shown_instruments(self, query: Mapping[str, str]) -> Sequence[wire.Instrument]:
        names = self.named(query) if query.get("instruments") else list(self._universe.pairs)
        return [self._universe.pairs[name].shown for name in names]


def _floor(at_ns: int, period_ns: int) -> int:
    """Where a period begins: days at 17:00 in New York, all else on UTC's clock."""
    if period_ns < DAY_NS:
        return at_ns // period_ns * period_ns
    day = new_york_day(at_ns + DAY_NS - FOREX_CLOSE * MINUTE_NS)
    return new_york_ns(day - timedelta(days=1), FOREX_CLOSE)
