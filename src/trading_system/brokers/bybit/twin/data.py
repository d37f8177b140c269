"""Market data by REST, of the simulated market: instruments, books, tickers, trades, bars, funding."""

from collections.abc import Mapping
from decimal import Decimal
from itertools import islice

import msgspec

from trading_system.brokers.bybit import facts, wire
from trading_system.brokers.bybit.twin.account import FUNDING_NS, Account, Margin, funding_rate
from trading_system.brokers.bybit.twin.forms import MS, Refusal, bad, ms, number, page, shown
from trading_system.brokers.bybit.twin.universe import FUNDING_HOURS, Product, Universe
from trading_system.domain.fix import Side
from trading_system.domain.money import ZERO, plain
from trading_system.sim.exchange import Exchange
from trading_system.sim.market import LOT, Market, Print, Tick
from trading_system.sim.sessions import DAY_NS, HOUR_NS, MINUTE_NS

INTERVALS: Mapping[str, int] = {
    **{str(minutes): minutes * MINUTE_NS for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": DAY_NS,
    "W": 7 * DAY_NS,
}
_THURSDAY_NS = 4 * DAY_NS  # weeks begin on Mondays; the epoch was a Thursday
_DELIVERING_NS = 4 * HOUR_NS  # until noon, as the documents of the delivery price have it
_OPEN_INTEREST = "100000"  # scenery
_STREAMED = {  # names of an option's ticker in its topic
    "bid1Price": "bidPrice",
    "bid1Size": "bidSize",
    "bid1Iv": "bidIv",
    "ask1Price": "askPrice",
    "ask1Size": "askSize",
    "ask1Iv": "askIv",
    "markIv": "markPriceIv",
}
Levels = list[tuple[str, str]]
Row = tuple[str, str, str, str, str, str, str]


class MarketData:
    """Answers about the market."""

    def __init__(self, universe: Universe, market: Market, exchange: Exchange, margin: Margin, account: Account) -> None:
        self._universe = universe
        self._market = market
        self._exchange = exchange
        self._margin = margin
        self._account = account

    def product(self, query: Mapping[str, str]) -> Product:
        if query.get("category") not in facts.CATEGORIES:
            raise bad("Illegal category")
        product = self._universe.products.get((query["category"], query.get("symbol", "")))
        if product is None:
            raise Refusal(10001, "params error: symbol invalid")
        return product

    def instruments(self, query: Mapping[str, str], now_ns: int) -> wire.Instruments:
        """spot ignores limit and cursor; options are of BTC unless another coin is named, and those that are being delivered are among them. What
        else has ended is told only to who asks for it."""
        category = query.get("category", "")
        if category not in facts.CATEGORIES:
            raise bad("Illegal category")
        if query.get("symbol"):
            self.product(query)
        base = query.get("baseCoin") or ("BTC" if category == facts.OPTION and not query.get("symbol") else "")
        wanted = (query["status"],) if query.get("status") else ("Trading", "Delivering") if category == facts.OPTION else ("Trading",)
        rows = [
            msgspec.structs.replace(product.entry, status=status)
            for product in self._universe.of(category)
            if query.get("symbol", "") in ("", product.symbol) and base in ("", product.base) and (status := _status(product, now_ns)) in wanted
        ]
        found, cursor = (rows, "") if category == facts.SPOT else page(rows, query, 500, facts.INSTRUMENTS_PAGE_MAX)
        return wire.Instruments(category=category, list=found, nextPageCursor=cursor)

    def book(self, query: Mapping[str, str], now_ns: int) -> wire.Book:
        product = self.product(query)
        tick = self._market.latest(product.name, now_ns)
        depth = number(query, "limit", 25 if product.margined else 1, 25 if product.contract is not None else 1000)
        bids, asks = levels(product, tick, depth)
        return wire.Book(s=product.symbol, b=bids, a=asks, ts=now_ns // MS, u=tick.number, seq=tick.number, cts=tick.time_ns // MS)

    def tickers(self, query: Mapping[str, str], now_ns: int) -> wire.Tickers:
        """Options by symbol or coin, and by their day."""
        category, base, day = (query.get(name, "") for name in ("category", "baseCoin", "expDate"))
        products = [self.product(query)] if query.get("symbol") else self._universe.of(category)
        if category not in facts.CATEGORIES:
            raise bad("Illegal category")
        if category == facts.OPTION and not query.get("symbol"):
            if not base:
                raise bad("symbol or baseCoin is required")
            products = [one for one in products if one.base == base and one.expires_ns > now_ns and day in ("", one.symbol.split("-")[1])]
        return wire.Tickers(category=category, list=[self.ticker(product, now_ns) for product in products])

    def ticker(self, product: Product, now_ns: int) -> wire.Ticker:
        tick = self._market.latest(product.name, now_ns)
        bids, asks = levels(product, tick, 1)
        minute, apart = now_ns // MINUTE_NS, 60 if product.contract is None else 360  # a minute of so many is near enough for scenery
        day = [self._market.minute(product.name, number) for number in range(minute - 24 * 60, minute, apart)]
        before = day[0].open * product.tick
        last = self._margin.last_px(product, now_ns)
        volume = sum(one.volume for one in day) * apart * self._market.listings[product.name].size
        shared = {
            "symbol": product.symbol,
            "lastPrice": plain(last),
            "bid1Price": bids[0][0] if bids else "0",
            "bid1Size": bids[0][1] if bids else "0",
            "ask1Price": asks[0][0],
            "ask1Size": asks[0][1],
            "highPrice24h": plain(max(max(one.high for one in day) * product.tick, last)),
            "lowPrice24h": plain(min(min(one.low for one in day) * product.tick, last)),
            "volume24h": plain(volume),
            "turnover24h": shown(product.value(volume, last)),
        }
        if product.contract is not None:
            return wire.Ticker(
                **self._valued(product, tick),
                change24h=plain(((last - before) / before).quantize(Decimal("0.00000001"))),
                openInterest=_OPEN_INTEREST,
                **shared,
            )
        shared |= {"prevPrice24h": plain(before), "price24hPcnt": plain(((last - before) / before).quantize(Decimal("0.0001")))}
        if product.spot:
            return wire.Ticker(usdIndexPrice=shown(self._margin.mark(product, now_ns) * self._account.usdt_usd), **shared)
        return wire.Ticker(
            markPrice=shown(self._margin.mark(product, now_ns)),
            indexPrice=shown(self._exchange.mark(product.pair, now_ns)),
            openInterest=_OPEN_INTEREST,
            openInterestValue=shown(Decimal(_OPEN_INTEREST) * last),
            fundingRate="" if product.expires_ns else plain(funding_rate(self._account.premium(product, now_ns))),
            nextFundingTime="0" if product.expires_ns else ms((now_ns // FUNDING_NS + 1) * FUNDING_NS),
            fundingIntervalHour="" if product.expires_ns else str(FUNDING_HOURS),
            deliveryTime=ms(product.expires_ns),
            **shared,
        )

    def _valued(self, product: Product, tick: Tick) -> Mapping[str, str]:
        """What an option is worth and what moves it: one model's word, so both sides of the quote have its volatility."""
        source = self._universe.options[product.name]
        value, spot = source.value(tick.number), source.spot(tick.number)
        volatility, greeks = plain(value.volatility), value.greeks
        return {
            "bid1Iv": volatility if tick.bids else "0",
            "ask1Iv": volatility,
            "markIv": volatility,
            "markPrice": plain(value.price),
            "indexPrice": plain(spot),
            "underlyingPrice": plain(spot),
            **{name: plain(getattr(greeks, name)) for name in ("delta", "gamma", "vega", "theta")},
        }

    def stream_ticker(self, product: Product, now_ns: int) -> Mapping[str, str]:
        """A ticker as the stream has it, where some names of an option's are others."""
        ticker: Mapping[str, str] = msgspec.to_builtins(self.ticker(product, now_ns))
        return ticker if product.contract is None else {_STREAMED.get(name, name): value for name, value in ticker.items()}

    def prints(self, query: Mapping[str, str], now_ns: int) -> wire.Prints:
        product = self.product(query)
        most = facts.PRINTS_MAX[product.category]
        found = self._market.prints(product.name, now_ns - HOUR_NS, now_ns + 1, reverse=True)
        rows = [
            wire.Print(
                execId=str(one.trade_id),
                symbol=product.symbol,
                price=plain(one.price * product.tick),
                size=plain(one.lots * LOT),
                side="Buy" if one.side is Side.BUY else "Sell",
                time=ms(one.time_ns),
            )
            for one in islice(found, number(query, "limit", most, most))
        ]
        return wire.Prints(category=product.category, list=rows)

    def klines(self, query: Mapping[str, str], now_ns: int) -> wire.Klines:
        """Newest first, the one that runs included. Without bounds the last ones, with a start alone those behind it."""
        product, interval = self.product(query), INTERVALS.get(query.get("interval", ""))
        if product.contract is not None:
            raise bad("Illegal category")
        if interval is None:
            raise bad("interval invalid")
        limit = number(query, "limit", 200, facts.KLINES_MAX)
        low, high = (int(text) * MS if text.isdecimal() else None for text in (query.get("start", ""), query.get("end", "")))
        last_ns = min(now_ns, now_ns if high is None else high)
        if low is not None and high is None:
            last_ns = min(now_ns, low + (limit - 1) * interval)
        rows: list[Row] = []
        start_ns = floor(last_ns, interval)
        while len(rows) < limit and start_ns >= max(0 if low is None else low, last_ns - limit * interval):
            row = self.row(product, start_ns, interval, now_ns)
            if row is not None:
                rows.append(row)
            start_ns -= interval
        return wire.Klines(category=product.category, symbol=product.symbol, list=rows)

    def row(self, product: Product, start_ns: int, interval: int, now_ns: int) -> Row | None:
        """One bar as far as it has come; None: nothing traded in it. Of the minute that runs only what has printed is known."""
        first, running = start_ns // MINUTE_NS, now_ns // MINUTE_NS
        minutes = range(first, min(first + interval // MINUTE_NS, running))
        size = self._market.listings[product.name].size
        over = self._market.bar(product.name, start_ns, minutes)
        prints = list(self._market.prints(product.name, running * MINUTE_NS, now_ns + 1)) if first + interval // MINUTE_NS > running else []
        prices = [done.price for done in prints]
        volume = sum((done.lots for done in prints), 0) * LOT
        turnover = sum((product.value(Decimal(done.lots), done.price * product.tick) for done in prints), ZERO) * LOT
        if over is not None:
            prices = [over.open, over.high, over.low, *(prices or [over.close])]
            volume, turnover = volume + over.volume * size, turnover + product.value(over.volume * size, over.vwap * product.tick)
        if not prices:
            return None
        told = (plain(price * product.tick) for price in (prices[0], max(prices), min(prices), prices[-1]))
        opened, high, low, close = told
        return ms(start_ns), opened, high, low, close, plain(volume), shown(turnover)

    def stream_kline(self, product: Product, start_ns: int, interval: str, now_ns: int) -> wire.StreamKline | None:
        """A bar as the stream tells it, over or not."""
        end_ns = start_ns + INTERVALS[interval]
        row = self.row(product, start_ns, INTERVALS[interval], now_ns)
        if row is None:
            return None
        _, opened, high, low, close, volume, turnover = row
        return wire.StreamKline(
            start=start_ns // MS,
            end=end_ns // MS - 1,
            interval=interval,
            open=opened,
            close=close,
            high=high,
            low=low,
            volume=volume,
            turnover=turnover,
            confirm=now_ns >= end_ns,
            timestamp=now_ns // MS,
        )

    def funding(self, query: Mapping[str, str], now_ns: int) -> wire.FundingRates:
        """What was due, newest first."""
        product = self.product(query)
        if not product.margined:
            raise bad("Illegal category")
        last = now_ns // FUNDING_NS
        times = [place * FUNDING_NS for place in range(last, last - number(query, "limit", 200, 200), -1)]
        rows = [
            wire.FundingRate(symbol=product.symbol, fundingRate=plain(funding_rate(self._account.premium(product, at))), fundingRateTimestamp=ms(at))
            for at in times
        ]
        return wire.FundingRates(category=product.category, list=rows)


def _status(product: Product, now_ns: int) -> str:
    if not 0 < product.expires_ns <= now_ns:
        return "Trading"
    return "Delivering" if product.contract is not None and now_ns < product.expires_ns + _DELIVERING_NS else "Closed"


def levels(product: Product, tick: Tick, depth: int) -> tuple[Levels, Levels]:
    """Both sides of a book, best first."""
    bids, asks = ([(plain(price * product.tick), plain(lots * LOT)) for price, lots in side[:depth]] for side in (tick.bids, tick.asks))
    return bids, asks


def stream_trade(product: Product, printed: Print) -> wire.StreamTrade:
    side = "Buy" if printed.side is Side.BUY else "Sell"
    price, size = plain(printed.price * product.tick), plain(printed.lots * LOT)
    return wire.StreamTrade(T=printed.time_ns // MS, s=product.symbol, S=side, v=size, p=price, i=str(printed.trade_id), L="ZeroPlusTick")


def floor(at_ns: int, interval: int) -> int:
    """The start of the bar that this instant is in."""
    shift = _THURSDAY_NS if interval == 7 * DAY_NS else 0
    return (at_ns - shift) // interval * interval + shift
