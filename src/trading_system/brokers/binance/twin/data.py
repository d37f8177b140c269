"""Market data as Binance gives it, without a key: tickers, depth, trades and klines of the simulated market."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice

import msgspec

from trading_system.brokers.binance import facts, wire
from trading_system.brokers.binance.twin.forms import MS, Params, Refusal, integer, limit, missing, shown
from trading_system.brokers.binance.twin.universe import Universe, describe
from trading_system.domain.fix import Side
from trading_system.domain.money import ZERO
from trading_system.sim.market import LOT, TICK_NS, Market, Print
from trading_system.sim.sessions import DAY_NS, MINUTE_NS

PERIODS = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "8h": 480, "12h": 720, "1d": 1440}  # minutes
AVERAGE_MINUTES = 5
PRINTS_A_MINUTE = 64  # trade ids count on by so many from minute to minute
_BACK_NS = DAY_NS


class MarketData:
    """Questions about prices. Everything is a function of the market and the time."""

    def __init__(self, universe: Universe, market: Market, weight_limit: int, orders_per_10_s: int) -> None:
        self.universe = universe
        self.market = market
        self.orders_per_10_s = orders_per_10_s
        self._limits = [
            wire.RateLimit(rate_limit_type="REQUEST_WEIGHT", interval="MINUTE", interval_num=1, limit=weight_limit),
            wire.RateLimit(rate_limit_type="ORDERS", interval="SECOND", interval_num=10, limit=orders_per_10_s),
            wire.RateLimit(rate_limit_type="ORDERS", interval="DAY", interval_num=1, limit=facts.ORDERS_PER_DAY),
        ]

    def symbol(self, params: Params) -> str:
        """Raises Refusal: none, or none that is listed."""
        name = params.get("symbol", "")
        if not name:
            raise missing("symbol")
        if name not in self.universe.pairs:
            raise Refusal(400, -1121, "Invalid symbol.")
        return name

    def symbols(self, params: Params) -> tuple[list[str], bool]:
        """What is asked about, and whether the answer is one object instead of a list."""
        if "symbol" in params:
            return [self.symbol(params)], True
        if "symbols" not in params:
            return list(self.universe.pairs), False
        try:
            names = msgspec.json.decode(params["symbols"], type=list[str])
        except msgspec.MsgspecError:
            raise Refusal(400, -1100, "Illegal characters found in parameter 'symbols'.") from None
        return [self.symbol({"symbol": name}) for name in names], False

    def exchange_info(self, params: Params, now_ns: int) -> object:
        names, _ = self.symbols(params)
        listed = [describe(self.universe.pairs[name]) for name in names]
        return wire.ExchangeInfo(timezone="UTC", server_time=now_ns // MS, rate_limits=self._limits, exchange_filters=[], symbols=listed)

    def book_ticker(self, params: Params, now_ns: int) -> object:
        names, one = self.symbols(params)
        found = [self._best(name, now_ns) for name in names]
        return found[0] if one else found

    def _best(self, name: str, now_ns: int) -> wire.BookTicker:
        bids, asks = self.levels(name, now_ns)
        return wire.BookTicker(symbol=name, bid_price=bids[0][0], bid_qty=bids[0][1], ask_price=asks[0][0], ask_qty=asks[0][1])

    def price_ticker(self, params: Params, now_ns: int) -> object:
        names, one = self.symbols(params)
        found = [wire.PriceTicker(symbol=name, price=shown(self.last_px(name, now_ns))) for name in names]
        return found[0] if one else found

    def avg_price(self, params: Params, now_ns: int) -> object:
        mins, price, time_ns = self.average(self.symbol(params), now_ns)
        return wire.AvgPrice(mins=mins, price=shown(price), close_time=time_ns // MS)

    def average(self, name: str, now_ns: int) -> tuple[int, Decimal, int]:
        """Over how many minutes, what was paid on average, and when the last trade was."""
        last = self.market.last_print(name, now_ns)
        assert last is not None, "a pair that never traded"
        start_ns = (now_ns // MINUTE_NS - AVERAGE_MINUTES) * MINUTE_NS
        row = self.kline(name, start_ns, now_ns - start_ns + 1, now_ns)
        price = self.last_px(name, now_ns) if row is None else Decimal(row.quote_volume) / Decimal(row.volume)
        return AVERAGE_MINUTES, price, last.time_ns

    def day_ticker(self, params: Params, now_ns: int) -> object:
        names, one = self.symbols(params)
        kind = params.get("type") or "FULL"
        if kind not in ("FULL", "MINI"):
            raise Refusal(400, -1130, "Data sent for parameter 'type' is not valid.")
        found = [self.day(name, now_ns, full=kind == "FULL") for name in names]
        return found[0] if one else found

    def day(self, name: str, now_ns: int, *, full: bool = True) -> wire.DayTicker:
        """The last 24 hours, from the minute in which they began."""
        unit, start_ns = self.market.listings[name].unit, now_ns // MINUTE_NS * MINUTE_NS - DAY_NS
        row = self.kline(name, start_ns, now_ns - start_ns + 1, now_ns)
        first, last = next(self.market.prints(name, start_ns, now_ns + 1), None), self.market.last_print(name, now_ns)
        assert row is not None, "a pair that does not trade for a day"
        assert first is not None
        assert last is not None
        ticker = wire.DayTicker(
            symbol=name,
            last_price=row.close,
            open_price=row.open,
            high_price=row.high,
            low_price=row.low,
            volume=row.volume,
            quote_volume=row.quote_volume,
            open_time=start_ns // MS,
            close_time=now_ns // MS,
            first_id=first.trade_id,
            last_id=last.trade_id,
            count=row.trades,
        )
        if full:
            best, change = self._best(name, now_ns), Decimal(row.close) - Decimal(row.open)
            ticker.price_change, ticker.price_change_percent = shown(change), format(change / Decimal(row.open) * 100, ".3f")
            ticker.weighted_avg_price = shown(Decimal(row.quote_volume) / Decimal(row.volume))
            ticker.prev_close_price, ticker.last_qty = shown(first.price * unit), shown(last.lots * LOT)
            ticker.bid_price, ticker.bid_qty, ticker.ask_price, ticker.ask_qty = best.bid_price, best.bid_qty, best.ask_price, best.ask_qty
        return ticker

    def depth(self, params: Params, now_ns: int) -> object:
        name = self.symbol(params)
        rows = limit(params, 100, 5_000)
        bids, asks = self.levels(name, now_ns)
        return wire.Depth(last_update_id=now_ns // TICK_NS, bids=bids[:rows], asks=asks[:rows])

    def levels(self, name: str, now_ns: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Bids and offers, the best first. The number of the tick is the number of the book."""
        unit, tick = self.market.listings[name].unit, self.market.tick(name, now_ns // TICK_NS)
        bids, asks = ([(shown(price * unit), shown(lots * LOT)) for price, lots in side] for side in (tick.bids, tick.asks))
        return bids, asks

    def last_px(self, name: str, now_ns: int) -> Decimal:
        done = self.market.last_print(name, now_ns)
        assert done is not None, "a pair that never traded"
        return done.price * self.market.listings[name].unit

    def trades(self, params: Params, now_ns: int) -> object:
        name = self.symbol(params)
        newest = self.market.prints(name, now_ns - _BACK_NS, now_ns + 1, reverse=True)
        return [self.shape(name, done) for done in reversed(list(islice(newest, limit(params, 500, facts.ROWS_MAX))))]

    def historical_trades(self, params: Params, now_ns: int) -> object:
        """From an id on; without one the newest."""
        first = integer(params, "fromId")
        if first is None:
            return self.trades(params, now_ns)
        name = self.symbol(params)
        done = (row for row in self.market.prints(name, first // PRINTS_A_MINUTE * MINUTE_NS, now_ns + 1) if row.trade_id >= first)
        return [self.shape(name, row) for row in islice(done, limit(params, 500, facts.ROWS_MAX))]

    def shape(self, name: str, done: Print) -> wire.Trade:
        price, qty = done.price * self.market.listings[name].unit, done.lots * LOT
        return wire.Trade(
            id=done.trade_id,
            price=shown(price),
            qty=shown(qty),
            quote_qty=shown(price * qty),
            time=done.time_ns // MS,
            is_buyer_maker=done.side is Side.SELL,
            is_best_match=True,
        )

    def agg_trades(self, params: Params, now_ns: int) -> object:
        """Here every trade is an aggregate of its own."""
        name, rows = self.symbol(params), limit(params, 500, facts.ROWS_MAX)
        first, start_ms, end_ms = integer(params, "fromId"), integer(params, "startTime"), integer(params, "endTime")
        if first is not None and (start_ms, end_ms) != (None, None):
            raise Refusal(400, -1128, "Combination of optional parameters invalid.")
        if first is None and start_ms is None:
            newest = self.market.prints(name, now_ns - _BACK_NS, min(now_ns, (end_ms or now_ns) * MS) + 1, reverse=True)
            return [self.agg(name, done) for done in reversed(list(islice(newest, rows)))]
        start_ns = (start_ms or 0) * MS if first is None else first // PRINTS_A_MINUTE * MINUTE_NS
        end_ns = now_ns + 1 if end_ms is None else min(now_ns, end_ms * MS + MS - 1) + 1
        found = (done for done in self.market.prints(name, start_ns, end_ns) if first is None or done.trade_id >= first)
        return [self.agg(name, done) for done in islice(found, rows)]

    def agg(self, name: str, done: Print) -> wire.AggTrade:
        shape = self.shape(name, done)
        return wire.AggTrade(
            id=shape.id,
            price=shape.price,
            qty=shape.qty,
            first_id=shape.id,
            last_id=shape.id,
            time=shape.time,
            is_buyer_maker=shape.is_buyer_maker,
            is_best_match=True,
        )

    def klines(self, params: Params, now_ns: int) -> object:
        """Oldest first; without a start the newest. The last one may still be forming."""
        name, rows = self.symbol(params), limit(params, 500, facts.ROWS_MAX)
        word = params.get("interval", "")
        if not word:
            raise missing("interval")
        if word not in PERIODS:
            raise Refusal(400, -1120, "Invalid interval.")
        period_ns = PERIODS[word] * MINUTE_NS
        start_ms, end_ms = integer(params, "startTime"), integer(params, "endTime")
        end_ns = now_ns if end_ms is None else min(now_ns, end_ms * MS)
        last_ns = end_ns // period_ns * period_ns
        first_ns = last_ns - (rows - 1) * period_ns if start_ms is None else -(-start_ms * MS // period_ns) * period_ns
        starts = range(first_ns, last_ns + 1, period_ns)[:rows]
        return [row for row in (self.kline(name, at_ns, period_ns, now_ns) for at_ns in starts) if row is not None]

    def kline(self, name: str, start_ns: int, period_ns: int, now_ns: int) -> wire.Kline | None:
        """One bar, of what has traded up to now; None: nothing has."""
        unit = self.market.listings[name].unit
        done = list(self._parts(name, start_ns, period_ns, now_ns))
        if not done:
            return None
        volume = sum((part[4] for part in done), ZERO)
        turnover = sum((part[5] for part in done), ZERO)
        return wire.Kline(
            open_time=start_ns // MS,
            open=shown(done[0][0] * unit),
            high=shown(max(part[1] for part in done) * unit),
            low=shown(min(part[2] for part in done) * unit),
            close=shown(done[-1][3] * unit),
            volume=shown(volume),
            close_time=(start_ns + period_ns) // MS - 1,
            quote_volume=shown(turnover * unit),
            trades=sum(part[6] for part in done),
            taker_base=shown(volume / 2),
            taker_quote=shown(turnover * unit / 2),
            unused="0",
        )

    def _parts(self, name: str, start_ns: int, period_ns: int, now_ns: int) -> Iterator[tuple[int, int, int, int, Decimal, Decimal, int]]:
        """Minutes that are over, then the trades of the one that runs: open, high, low, close, quantity, quantity × price in units, count."""
        size = self.market.listings[name].size
        over_ns = min(start_ns + period_ns, now_ns // MINUTE_NS * MINUTE_NS)
        for minute in range(start_ns // MINUTE_NS, over_ns // MINUTE_NS):
            bar = self.market.bar(name, minute * MINUTE_NS, (minute,))
            if bar is not None:
                yield bar.open, bar.high, bar.low, bar.close, bar.volume * size, bar.volume * size * bar.vwap, bar.prints
        if over_ns < start_ns + period_ns:
            for done in self.market.prints(name, max(start_ns, over_ns), now_ns + 1):
                qty = done.lots * LOT
                yield done.price, done.price, done.price, done.price, qty, qty * done.price, 1
