"""The market data REST surface of the twin: latest and historic quotes, trades and bars of stocks and crypto, crypto order books."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import groupby
from math import prod

import msgspec

from trading_system.brokers.alpaca import facts, wire
from trading_system.brokers.alpaca.twin.forms import Place, Refusal, answer, bad_parameter, choice, from_token, number, parse_time, to_token
from trading_system.brokers.alpaca.twin.universe import Universe
from trading_system.domain.fix import Side
from trading_system.domain.money import ONE, plain
from trading_system.sim.market import LOT, Bar, Market, Print, Tick
from trading_system.sim.sessions import DAY_NS, HOUR_NS, MINUTE_NS, iso, new_york_day, new_york_ns
from trading_system.transport.message import Response

KINDS = ("bars", "quotes", "trades")
MINUTES_PER_PAGE = 20_000  # the most that one page computes: a long page of daily bars comes in parts, as its token says
RECENT_NS = 15 * MINUTE_NS  # SIP data younger than this needs a subscription
_CONDITIONS = ("R",)
_FEEDS = ("iex", "sip", "otc", "boats", "delayed_sip", "overnight")
_ADJUSTMENTS = frozenset({"raw", "split", "dividend", "spin-off", "all"})
_TIMEFRAME = re.compile(r"(\d{1,2})(Min|T|Hour|H|Day|D|Week|W|Month|M)")


class Shower:
    """Entries of one instrument in Alpaca's words; REST and streams share them."""

    def __init__(self, market: Market, symbol: str, *, crypto: bool) -> None:
        listing = market.listings[symbol]
        self.symbol = symbol
        self._unit = listing.unit
        self._size = listing.size
        self._grain = listing.unit / 100  # of averages
        self._crypto = crypto

    def price(self, units: int) -> Decimal:
        return Decimal(plain(units * self._unit))

    @staticmethod
    def size(lots: int) -> Decimal:
        return Decimal(plain(lots * LOT))

    def quote(self, tick: Tick) -> wire.Quote:
        (bid, bid_lots), (ask, ask_lots) = tick.bids[0], tick.asks[0]
        shown = wire.Quote(t=iso(tick.time_ns), bp=self.price(bid), bs=self.size(bid_lots), ap=self.price(ask), as_=self.size(ask_lots))
        if not self._crypto:
            shown.ax, shown.bx, shown.c, shown.z = "V", "V", _CONDITIONS, "C"
        return shown

    def trade(self, printed: Print) -> wire.Trade:
        shown = wire.Trade(t=iso(printed.time_ns), p=self.price(printed.price), s=self.size(printed.lots), i=printed.trade_id)
        if self._crypto:
            shown.tks = "B" if printed.side is Side.BUY else "S"
        else:
            shown.x, shown.c, shown.z = "V", ("@",), "C"
        return shown

    def bar(self, bar: Bar, ratio: Decimal = ONE) -> wire.Bar:
        """ratio: so many shares of now for one of then."""
        return wire.Bar(
            t=iso(bar.start_ns)[:19] + "Z",
            o=self.price(bar.open),
            h=self.price(bar.high),
            l=self.price(bar.low),
            c=self.price(bar.close),
            v=Decimal(plain(bar.volume * self._size * ratio)),
            n=Decimal(bar.prints),
            vw=(bar.vwap * self._unit).quantize(self._grain, ROUND_HALF_EVEN),
        )

    def book(self, tick: Tick) -> wire.OrderBook:
        return wire.OrderBook(t=iso(tick.time_ns), b=self._levels(tick.bids), a=self._levels(tick.asks))

    def _levels(self, levels: Iterable[tuple[int, int]]) -> list[wire.BookLevel]:
        return [wire.BookLevel(p=self.price(price), s=self.size(lots)) for price, lots in levels]


class Before(msgspec.Struct, frozen=True):
    """How an instrument was shown until a split, and how many shares of then are one of before it."""

    until_ns: int
    shower: Shower
    ratio: Decimal


class Timeframe(msgspec.Struct, frozen=True):
    """Bars of `count` units; minutes and hours are cut from midnight UTC, days and longer at New York's midnight."""

    count: int
    unit: str

    def start(self, ns: int) -> int:
        """Start of the bar that an instant falls into."""
        if self.unit in ("T", "H"):
            length = self.count * (MINUTE_NS if self.unit == "T" else HOUR_NS)
            return ns - ns % DAY_NS % length
        return new_york_ns(self._first(new_york_day(ns)), 0)

    def end(self, start_ns: int) -> int:
        if self.unit in ("T", "H"):
            return min(start_ns + self.count * (MINUTE_NS if self.unit == "T" else HOUR_NS), start_ns - start_ns % DAY_NS + DAY_NS)
        day = new_york_day(start_ns)
        if self.unit == "M":
            months = day.year * 12 + day.month - 1 + self.count
            return new_york_ns(date(months // 12, months % 12 + 1, 1), 0)
        return new_york_ns(day + timedelta(days=7 if self.unit == "W" else 1), 0)

    def _first(self, day: date) -> date:
        if self.unit == "W":
            return day - timedelta(days=day.weekday())
        if self.unit == "M":
            return date(day.year, (day.month - 1) // self.count * self.count + 1, 1)
        return day


def timeframe(text: str) -> Timeframe:
    found = _TIMEFRAME.fullmatch(text)
    if found is None:
        raise bad_parameter("timeframe")
    count, unit = int(found[1]), {"Min": "T", "Hour": "H", "Day": "D", "Week": "W", "Month": "M"}.get(found[2], found[2])
    most = {"T": range(1, 60), "H": range(1, 24), "D": (1,), "W": (1,), "M": (1, 2, 3, 4, 6, 12)}[unit]
    if count not in most:
        raise bad_parameter("timeframe")
    return Timeframe(count, unit)


class MarketData:
    """Everything below the data host. sip: whether the plan includes recent SIP data."""

    minutes_per_page = MINUTES_PER_PAGE

    def __init__(self, universe: Universe, market: Market, *, sip: bool) -> None:
        self._universe = universe
        self._market = market
        self._sip = sip
        self.showers = {listing.symbol: Shower(market, listing.symbol, crypto="/" in listing.symbol) for listing in universe.listings}
        self._before: dict[str, list[Before]] = {}  # of what was split, oldest first

    def relisted(self, symbol: str, ratio: Decimal, now_ns: int) -> None:
        """A split changed what a unit of this symbol's price is worth."""
        self._before.setdefault(symbol, []).append(Before(now_ns, self.showers[symbol], ratio))
        self.showers[symbol] = Shower(self._market, symbol, crypto=False)

    def _shown(self, symbol: str, at_ns: int) -> tuple[Shower, Decimal]:
        """How it was shown at that time, and how many shares of now are one of then."""
        later = [before for before in self._before.get(symbol, ()) if at_ns < before.until_ns]
        return (later[0].shower, prod((before.ratio for before in later), start=ONE)) if later else (self.showers[symbol], ONE)

    # -- latest ----------------------------------------------------------------------------------------------------------------------------------

    def latest(self, kind: str, query: Mapping[str, str], now_ns: int, *, crypto: bool) -> Response:
        """Several symbols; one that is not known is simply missing."""
        self._feed(query, now_ns, crypto=crypto, latest=True)
        found = ((symbol, self._latest(kind, symbol, now_ns)) for symbol in self._symbols(query, now_ns, crypto=crypto))
        return answer({kind: {symbol: entry for symbol, entry in found if entry is not None}})

    def latest_of(self, kind: str, name: str, query: Mapping[str, str], now_ns: int) -> Response:
        self._feed(query, now_ns, crypto=False, latest=True)
        symbol = self._stock(name)
        return answer({"symbol": symbol, kind[:-1]: self._latest(kind, symbol, now_ns)})

    def _latest(self, kind: str, symbol: str, now_ns: int) -> object:
        shower = self.showers[symbol]
        match kind:
            case "quotes":
                return shower.quote(self._market.latest(symbol, now_ns))
            case "orderbooks":
                return shower.book(self._market.latest(symbol, now_ns))
            case "trades":
                printed = self._market.last_print(symbol, now_ns)
                return None if printed is None else shower.trade(printed)
            case _:
                bar = self._market.last_bar(symbol, now_ns)
                return None if bar is None else shower.bar(bar)

    # -- history ---------------------------------------------------------------------------------------------------------------------------------

    def history(self, kind: str, query: Mapping[str, str], now_ns: int, *, crypto: bool) -> Response:
        entries, token = self._page(kind, self._symbols(query, now_ns, crypto=crypto), query, now_ns, crypto=crypto)
        return answer({kind: entries, "next_page_token": token})

    def history_of(self, kind: str, name: str, query: Mapping[str, str], now_ns: int) -> Response:
        symbol = self._stock(name)
        entries, token = self._page(kind, [symbol], query, now_ns, crypto=False)
        return answer({"symbol": symbol, kind: entries.get(symbol, []), "next_page_token": token})

    def _page(
        self, kind: str, symbols: Sequence[str], query: Mapping[str, str], now_ns: int, *, crypto: bool
    ) -> tuple[Mapping[str, Sequence[object]], str | None]:
        """One page over all symbols in turn, each in order of time; the token says where the next one starts."""
        start_ns = parse_time(query["start"], "start") if query.get("start") else new_york_ns(new_york_day(now_ns), 0)
        end_ns = parse_time(query["end"], "end") if query.get("end") else now_ns
        if query.get("end") and end_ns < start_ns:
            raise Refusal(400, None, "end should not be before start")
        self._feed(query, now_ns, crypto=crypto, end_ns=end_ns)
        reverse = choice(query, "sort", "asc", ("asc", "desc")) == "desc"
        limit = number(query, "limit", 1000, facts.DATA_PAGE_MAX)
        frame = timeframe(query.get("timeframe", "")) if kind == "bars" else None
        adjusted = kind == "bars" and _adjusts(query)
        place = from_token(query["page_token"]) if query.get("page_token") else None
        page: dict[str, list[object]] = {}
        budget, taken = self.minutes_per_page, 0
        for symbol in sorted(symbols):
            if place is not None and symbol < place.symbol:
                continue
            low, high = start_ns, min(end_ns, now_ns)
            if place is not None and symbol == place.symbol:
                low, high = (low, place.time_ns) if reverse else (place.time_ns, high)
            for time_ns, cost, entry in self._entries(kind, symbol, low, high, now_ns, frame, reverse=reverse, adjusted=adjusted):
                if taken == limit or budget <= 0:
                    return page, to_token(Place(symbol, time_ns))
                budget -= cost
                if entry is not None:
                    page.setdefault(symbol, []).append(entry)
                    taken += 1
        return page, None

    def _entries(
        self, kind: str, symbol: str, low_ns: int, high_ns: int, now_ns: int, frame: Timeframe | None, *, reverse: bool, adjusted: bool
    ) -> Iterator[tuple[int, int, object | None]]:
        """(time, minutes of work, entry), with low_ns <= time <= high_ns. What is not adjusted stands as it was told then."""
        if kind == "quotes":
            for tick in self._market.quotes(symbol, low_ns, high_ns + 1, reverse=reverse):
                yield tick.time_ns, 1, self._shown(symbol, tick.time_ns)[0].quote(tick)
        elif kind == "trades":
            for printed in self._market.prints(symbol, low_ns, high_ns + 1, reverse=reverse):
                yield printed.time_ns, 0, self._shown(symbol, printed.time_ns)[0].trade(printed)
        else:
            assert frame is not None
            until_ns = min(frame.end(frame.start(high_ns)), now_ns // MINUTE_NS * MINUTE_NS)  # minutes that are over
            minutes = self._market.minutes(symbol, frame.start(low_ns), until_ns, reverse=reverse)
            for bar_ns, group in groupby(minutes, key=_bar_start(frame)):
                numbers = list(group)
                if low_ns <= bar_ns <= high_ns:
                    bar = self._market.bar(symbol, bar_ns, reversed(numbers) if reverse else numbers)
                    then, ratio = self._shown(symbol, bar_ns)
                    shown = None if bar is None else self.showers[symbol].bar(bar, ratio) if adjusted else then.bar(bar)
                    yield bar_ns, len(numbers), shown

    # -- what is asked ---------------------------------------------------------------------------------------------------------------------------

    def _symbols(self, query: Mapping[str, str], now_ns: int, *, crypto: bool) -> list[str]:
        names = [name for name in query.get("symbols", "").split(",") if name]
        if not names:
            raise Refusal(400, None, "symbols is required")
        return sorted({name for name in names if name in self.showers and ("/" in name) is crypto})

    def _stock(self, name: str) -> str:
        if name not in self.showers or "/" in name:
            raise Refusal(404, None, f"symbol not found: {name}")
        return name

    def _feed(self, query: Mapping[str, str], now_ns: int, *, crypto: bool, latest: bool = False, end_ns: int = 0) -> None:
        """Without the plan for it, SIP data of the last quarter of an hour is refused; who names no feed gets what the plan has."""
        feed = query.get("feed", "")
        if feed and feed not in _FEEDS:
            raise Refusal(400, None, f"invalid feed: {feed}")
        if not crypto and feed == "sip" and not self._sip and (latest or end_ns > now_ns - RECENT_NS):
            raise Refusal(403, 42210000, "subscription does not permit querying recent SIP data")


def _adjusts(query: Mapping[str, str]) -> bool:
    """Whether bars from before a split are shown in shares of now. Of dividends and spin-offs there is nothing to adjust for."""
    wanted = (query.get("adjustment") or "raw").split(",")
    if not _ADJUSTMENTS.issuperset(wanted):
        raise Refusal(400, None, f"invalid adjustment: {query['adjustment']}")
    return not {"split", "all"}.isdisjoint(wanted)


def _bar_start(frame: Timeframe) -> Callable[[int], int]:
    return lambda minute: frame.start(minute * MINUTE_NS)
