"""What the twin says of the market: the calls that need no key."""

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice

from trading_system.brokers.kraken import facts, wire
from trading_system.brokers.kraken.twin.forms import Refusal, invalid, seconds, whole
from trading_system.brokers.kraken.twin.universe import Universe
from trading_system.domain.fix import Side
from trading_system.sim.market import LOT, Bar, Market, Print
from trading_system.sim.sessions import DAY_NS, MINUTE_NS, SECOND_NS

INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
MINUTES_MAX = 60_000  # that one answer may be made of: long bars go less far back than Kraken's
SPREADS = 200


class PublicData:
    """Prices of everything listed."""

    def __init__(self, universe: Universe, market: Market) -> None:
        self._universe = universe
        self._market = market
        self._days: dict[str, tuple[int, Bar]] = {}  # by symbol: the last day, as of a minute

    def assets(self, query: Mapping[str, str]) -> Mapping[str, wire.Asset]:
        known = self._universe.assets
        names = {name: key for key, asset in known.items() for name in (key, asset.altname)}
        wanted = [name for name in query.get("asset", "").split(",") if name]
        if any(name not in names for name in wanted):
            raise Refusal("EQuery:Unknown asset")
        return {names[name]: known[names[name]] for name in wanted} or known

    def pairs(self, query: Mapping[str, str]) -> Mapping[str, wire.AssetPair]:
        if query.get("info", "info") not in ("info", "leverage", "fees", "margin"):
            raise invalid("info")
        return {key: self._universe.pair(symbol) for key, symbol in self._wanted(query).items()}

    def ticker(self, query: Mapping[str, str], now_ns: int) -> Mapping[str, wire.Ticker]:
        return {key: self._ticker(symbol, now_ns) for key, symbol in self._wanted(query).items()}

    def depth(self, query: Mapping[str, str], now_ns: int) -> Mapping[str, wire.Depth]:
        key, symbol = self._one(query)
        count, tick = whole(query, "count", 100, 500), self._market.latest(symbol, now_ns)
        time = tick.time_ns // SECOND_NS

        def rows(levels: tuple[tuple[int, int], ...]) -> list[wire.LevelRow]:
            return [(self.price(symbol, price), self.qty(symbol, lots), time) for price, lots in levels[:count]]

        return {key: wire.Depth(asks=rows(tick.asks), bids=rows(tick.bids))}

    def trades(self, query: Mapping[str, str], now_ns: int) -> Mapping[str, object]:
        """Oldest first: those after `since` (an id in nanoseconds, or seconds), or the last ones."""
        key, symbol = self._one(query)
        count, since = max(1, whole(query, "count", facts.TRADES_PAGE, facts.TRADES_PAGE)), query.get("since", "")
        if since and not since.isdecimal():
            raise invalid("since")
        if since:
            since_ns = int(since) * (SECOND_NS if len(since) <= 10 else 1)
            found = list(islice(self._market.prints(symbol, since_ns + 1, now_ns + 1), count))
        else:
            found = list(islice(self._market.prints(symbol, now_ns - DAY_NS, now_ns + 1, reverse=True), count))[::-1]
        last = found[-1].time_ns if found else int(since or now_ns)
        return {key: [self._trade(symbol, one) for one in found], "last": str(last)}

    def ohlc(self, query: Mapping[str, str], now_ns: int) -> Mapping[str, object]:
        """The last 720 at most, whatever `since`; the last one is not over."""
        key, symbol = self._one(query)
        interval, since = whole(query, "interval", 1, 21_600), query.get("since", "0")
        if interval not in INTERVALS or not since.isdecimal():
            raise invalid("interval" if since.isdecimal() else "since")
        period_ns, rows = interval * MINUTE_NS, min(facts.BARS_MAX, MINUTES_MAX // interval)
        newest = now_ns // period_ns
        first = max(newest - rows + 1, -(-(int(since) + 1) * SECOND_NS // period_ns))
        bars = [bar for number in range(first, newest + 1) if (bar := self.bar(symbol, number * period_ns, period_ns, now_ns))]
        return {key: [self._row(symbol, bar) for bar in bars], "last": (newest - 1) * period_ns // SECOND_NS}

    def spread(self, query: Mapping[str, str], now_ns: int) -> Mapping[str, object]:
        key, symbol = self._one(query)
        ticks = list(islice(self._market.quotes(symbol, now_ns - MINUTE_NS, now_ns + 1, reverse=True), SPREADS))[::-1]
        rows = [(tick.time_ns // SECOND_NS, self.price(symbol, tick.bids[0][0]), self.price(symbol, tick.asks[0][0])) for tick in ticks]
        return {key: rows, "last": now_ns // SECOND_NS}

    # -- for the streams, too ------------------------------------------------------------------------------------------------------------------

    def bar(self, symbol: str, start_ns: int, period_ns: int, now_ns: int) -> Bar | None:
        """A bar as far as it has come; None while nothing traded in it."""
        over_ns = min(start_ns + period_ns, now_ns // MINUTE_NS * MINUTE_NS)
        done = self._market.bar(symbol, start_ns, self._market.minutes(symbol, start_ns, over_ns))
        if over_ns >= start_ns + period_ns:
            return done
        prints = list(self._market.prints(symbol, max(start_ns, over_ns), now_ns + 1))
        return done if not prints else _grown(done, prints, start_ns, self._market.listings[symbol].size_lots)

    def day(self, symbol: str, now_ns: int) -> Bar:
        """The last 24 hours, to the minute."""
        minute = now_ns // MINUTE_NS
        held = self._days.get(symbol)
        if held is None or held[0] != minute:
            bar = self._market.bar(symbol, now_ns - DAY_NS, range(minute - 1440, minute))
            assert bar is not None
            held = self._days[symbol] = (minute, bar)
        return held[1]

    def price(self, symbol: str, units: int | Decimal) -> str:
        return f"{units * self._market.listings[symbol].unit:.{self._universe.pair(symbol).pair_decimals}f}"

    def qty(self, symbol: str, lots: int) -> str:
        return f"{lots * LOT:.{self._universe.pair(symbol).lot_decimals}f}"

    def last(self, symbol: str, now_ns: int) -> Print:
        last = self._market.last_print(symbol, now_ns)
        assert last is not None
        return last

    # -- parts -----------------------------------------------------------------------------------------------------------------------------------

    def _wanted(self, query: Mapping[str, str]) -> Mapping[str, str]:
        """Under which key each pair is answered: its own, or the slash form that was asked with."""
        if not query.get("pair"):
            return {key: symbol for symbol, key in self._universe.keys.items()}
        found = {}
        for name in query["pair"].split(","):
            symbol = self._universe.symbols.get(name)
            if symbol is None:
                raise Refusal("EQuery:Unknown asset pair")
            found[name if "/" in name else self._universe.keys[symbol]] = symbol
        return found

    def _one(self, query: Mapping[str, str]) -> tuple[str, str]:
        if not query.get("pair"):
            raise invalid("pair")
        return next(iter(self._wanted({"pair": query["pair"].split(",")[0]}).items()))

    def _ticker(self, symbol: str, now_ns: int) -> wire.Ticker:
        tick, last, day = self._market.latest(symbol, now_ns), self.last(symbol, now_ns), self.day(symbol, now_ns)

        def touch(level: tuple[int, int]) -> tuple[str, str, str]:
            return self.price(symbol, level[0]), str(max(1, int(level[1] * LOT))), f"{level[1] * LOT:.3f}"

        volume = self.qty(symbol, day.volume * self._market.listings[symbol].size_lots)
        vwap, low, high = (self.price(symbol, value) for value in (day.vwap, day.low, day.high))
        return wire.Ticker(
            a=touch(tick.asks[0]),
            b=touch(tick.bids[0]),
            c=(self.price(symbol, last.price), self.qty(symbol, last.lots)),
            v=(volume, volume),
            p=(vwap, vwap),
            t=(day.prints, day.prints),
            l=(low, low),
            h=(high, high),
            o=self.price(symbol, day.open),
        )

    def _trade(self, symbol: str, one: Print) -> wire.TradeRow:
        time = Decimal(one.time_ns // 1_000) / 1_000_000
        return self.price(symbol, one.price), self.qty(symbol, one.lots), time, "b" if one.side is Side.BUY else "s", "m", "", one.trade_id

    def _row(self, symbol: str, bar: Bar) -> wire.OhlcRow:
        open_, high, low, close, vwap = (self.price(symbol, value) for value in (bar.open, bar.high, bar.low, bar.close, bar.vwap))
        volume = self.qty(symbol, bar.volume * self._market.listings[symbol].size_lots)
        return int(seconds(bar.start_ns)), open_, high, low, close, vwap, volume, bar.prints


def _grown(done: Bar | None, prints: list[Print], start_ns: int, size_lots: int) -> Bar:
    """A bar with the trades of a minute that is not over."""
    prices = [one.price for one in prints]
    volume = sum(one.lots for one in prints) // size_lots
    turnover = sum(one.price * (one.lots // size_lots) for one in prints)
    if done is None:
        return Bar(start_ns, prices[0], max(prices), min(prices), prices[-1], volume, len(prints), Decimal(turnover) / volume)
    both = done.volume + volume
    return Bar(
        start_ns,
        done.open,
        max(done.high, *prices),
        min(done.low, *prices),
        prices[-1],
        both,
        done.prints + len(prints),
        (done.vwap * done.volume + turnover) / both,
    )
