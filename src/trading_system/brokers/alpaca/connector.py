"""Alpaca behind the port: joins codec, sessions and errors to transport. Async, as oauth.py and broker_api.py are; all else is pure."""

import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, timedelta
from typing import Any, TypeVar
from urllib.parse import quote as percent
from urllib.parse import urlencode

import msgspec

from trading_system.brokers.alpaca import auth, codec, wire
from trading_system.brokers.alpaca.errors import budget_text, is_not_found, refusal
from trading_system.brokers.alpaca.events import ORDERS, EventsSession
from trading_system.brokers.alpaca.facts import (
    ACTIVITIES_PAGE_MAX,
    CHAIN_PAGE_MAX,
    CONTRACTS_PAGE_MAX,
    CRYPTO_STREAM,
    DATA_PAGE_MAX,
    FACTS,
    HELP,
    LIMIT_HEADER,
    NEWS_PAGE_MAX,
    NEWS_STREAM,
    OPTION_STREAMS,
    ORDERS_PAGE_MAX,
    REQUESTS_PER_MINUTE,
    STOCK_STREAMS,
    UNREACHABLE,
    URLS,
    Urls,
)
from trading_system.brokers.alpaca.feeds import Feed, Subscription
from trading_system.brokers.alpaca.news import NewsSession
from trading_system.brokers.alpaca.session import DataSession, OptionSession, OrdersSession, stream_state
from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, ProtocolError, RateLimited, Unavailable
from trading_system.domain.event import AccountEvent
from trading_system.domain.fix import ExecType
from trading_system.domain.hours import ALWAYS, Hours, MarketClock
from trading_system.domain.ids import ClOrdID, InstrumentID, is_ours
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.news import NewsItem
from trading_system.domain.option import OptionSnapshot, Right, is_option, underlying_of
from trading_system.domain.order import Approved, Order
from trading_system.domain.portfolio import PortfolioHistory
from trading_system.domain.ports import Budget, Clock, Kinds, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.domain.search import Match, matching
from trading_system.domain.times import NS, rfc3339
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.clock import BrokerOffset
from trading_system.transport.http import Http, get_with_retry
from trading_system.transport.message import NoAnswer, NotSent, Request, Response, TransportError
from trading_system.transport.ratelimit import RateBudget
from trading_system.transport.supervise import LinkEvent, Supervisor
from trading_system.transport.websocket import Dialer

ANSWER_WITHIN_NS = 10 * NS
BUDGET_WAIT_MAX_NS = 5 * NS  # a question or a cancel waits this long for the request budget
PAGES_MAX = 200  # of any listing: more is a loop, not an account
ROWS_MAX = 5_000  # order rows remembered for fills that name only an order id
CALENDAR_DAYS = 10
_MINUTE_NS = 60 * NS
_STOCKS = "/v2/stocks"
_TIMEFRAMES = {_MINUTE_NS: "1Min", 5 * _MINUTE_NS: "5Min", 15 * _MINUTE_NS: "15Min", 60 * _MINUTE_NS: "1Hour", 1440 * _MINUTE_NS: "1Day"}
_T = TypeVar("_T")


class AlpacaConnector:
    """Broker and MarketData for one Alpaca account."""

    facts = FACTS

    def __init__(
        self,
        *,
        http: Http,
        dialer: Dialer,
        clock: Clock,
        rng: random.Random,
        key: Secret,
        secret: Secret,
        environment: str,
        options: Mapping[str, str],
    ) -> None:
        self._http = http
        self._dialer = dialer
        self._clock = clock
        self._rng = rng
        self._key = key
        self._secret = secret
        self._environment = environment
        self._urls = _urls(environment, options)
        self._stock_feed = options.get("data_feed", "iex")
        resumable = EventsSession(ORDERS, self._urls.trading, lambda: auth.key_headers(key, secret))
        self._order_events = resumable if options.get("order_events") == "sse" else None
        self._option_feed = options.get("option_feed", "indicative")
        self._budget = RateBudget(REQUESTS_PER_MINUTE, _MINUTE_NS)
        self._data_budget = RateBudget(REQUESTS_PER_MINUTE, _MINUTE_NS)
        self._offset = BrokerOffset()
        self._rows: OrderedDict[str, wire.Order] = OrderedDict()
        self._feeds: dict[str, Feed] = {}  # by path
        self._parents: OrderedDict[str, ClOrdID | None] = OrderedDict()  # by an order's id: the order of ours it is held for
        self._hours: Hours | None = None
        self._choices = wire.AccountConfigurations()  # what the owner chose on Alpaca's page; read at connect

    # -- account ----------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Prove the account's kind before anything else. Raises AuthFailed: the key is of the other kind, or unknown."""
        snapshot = codec.decode_account(await self._ask("/v2/account", wire.Account), (), self._clock.now_ns())
        if snapshot.environment != self._environment:
            hint = "Set ALPACA_PAPER to what the key is for, and TRADING_MODE with it."
            raise AuthFailed(f"account {snapshot.account} is a {snapshot.environment} account, this desk trades {self._environment}.", hint)
        self._choices = await self._ask("/v2/account/configurations", wire.AccountConfigurations)

    async def aclose(self) -> None:
        await self._http.aclose()

    def skew_ns(self) -> int:
        return self._offset.skew_ns()

    def budgets(self) -> Mapping[str, Budget]:
        now_ns = self._clock.monotonic_ns()
        return {
            "trading": Budget(self._budget.left(now_ns), self._budget.limit),
            "data": Budget(self._data_budget.left(now_ns), self._data_budget.limit),
        }

    async def account(self) -> AccountSnapshot:
        account = await self._ask("/v2/account", wire.Account)
        positions = await self._ask("/v2/positions", list[wire.Position])
        return codec.decode_account(account, positions, self._clock.now_ns(), suspended=self._choices.suspend_trade)

    async def portfolio_history(self, period: str, timeframe: str) -> PortfolioHistory:
        """Equity round the clock, because crypto is; profit and loss from the first point on. Raises BadRequest: a period or frame Alpaca has not."""
        query = {"period": period, "timeframe": timeframe, "intraday_reporting": "continuous", "pnl_reset": "no_reset"}
        return codec.decode_portfolio(await self._ask(f"/v2/account/portfolio/history?{urlencode(query)}", wire.PortfolioHistory))

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        if any(is_option(symbol) for symbol in symbols):
            return tuple([await self._instrument(symbol) for symbol in symbols])
        hours = ALWAYS if symbols and all("/" in symbol for symbol in symbols) else await self._stock_hours()
        if not symbols:
            assets = [await self._ask(f"/v2/assets?status=active&asset_class={kind}", list[wire.Asset]) for kind in ("us_equity", "crypto")]
            return tuple(codec.decode_asset(asset, hours, self._choices) for group in assets for asset in group)
        return tuple([codec.decode_asset(await self._asset(symbol), hours, self._choices) for symbol in symbols])

    async def search(self, text: str) -> tuple[Match, ...]:
        assets = [await self._ask(f"/v2/assets?status=active&asset_class={kind}", list[wire.Asset]) for kind in ("us_equity", "crypto")]
        return matching(text, [codec.decode_match(asset) for group in assets for asset in group if asset.tradable])

    async def _instrument(self, symbol: InstrumentID) -> Instrument:
        if not is_option(symbol):
            return (await self.instruments((symbol,)))[0]
        response = await self._get(f"/v2/options/contracts/{symbol}")
        if is_not_found(response):
            raise BadRequest(f"Alpaca has no option {symbol}. `trading chain {underlying_of(symbol)}` lists those it has.")
        return codec.decode_contract(self._decoded(response, wire.OptionContract), await self._stock_hours())

    async def _asset(self, symbol: InstrumentID) -> wire.Asset:
        response = await self._get(f"/v2/assets/{percent(symbol, safe='')}")
        if is_not_found(response):
            hint = next((f" Did you mean {base}/{quote}?" for base, quote in _split(symbol)), "")
            raise BadRequest(f"Alpaca has no {symbol}.{hint} Stocks are written AAPL, crypto BTC/USD.")
        asset = self._decoded(response, wire.Asset)
        if asset.symbol != symbol:  # Alpaca takes BTCUSD for BTC/USD; we do not, because two spellings are two books
            raise BadRequest(f"write {asset.symbol}, not {symbol}")
        return asset

    async def _stock_hours(self) -> Hours:
        now_ns = self._clock.now_ns()
        if self._hours is None or now_ns >= self._hours.known_until_ns:
            clock = await self._ask("/v2/clock", wire.Clock)
            today = codec.day_of(clock)
            query = urlencode({"start": str(today), "end": str(today + timedelta(days=CALENDAR_DAYS))})
            days = await self._ask(f"/v2/calendar?{query}", list[wire.CalendarDay])
            self._hours = codec.decode_calendar(days, now_ns + 86_400 * NS)
        return self._hours

    # -- orders -----------------------------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Place an order once. Raises Rejected, Unavailable (not sent), InDoubt (sent, no answer), AuthFailed (sent, key refused)."""
        response = await self._change("POST", "/v2/orders", codec.encode_order(approved))
        return self._row(self._answered(response, wire.Order))

    async def replace(self, approved: Approved) -> ExecutionReport:
        """Alpaca makes a new order and answers 200 when the change is asked for; the old one becomes replaced by an event, or lives on."""
        assert approved.orig_order_id is not None
        response = await self._change("PATCH", f"/v2/orders/{approved.orig_order_id}", codec.encode_replace(approved))
        return self._row(self._answered(response, wire.Order))

    async def cancel(self, order: Order) -> ExecutionReport:
        """204 is a request, not a cancel; 404 and 422 are questions. The answer is always how the order stands after it."""
        response = await self._change("DELETE", f"/v2/orders/{order.order_id}", None, urgent=True)
        if response.status not in (200, 204, 404, 422):
            raise refusal(response, changes=True)
        try:
            return self._row(await self._with_legs(await self._ask(f"/v2/orders/{order.order_id}", wire.Order)))
        except Unavailable as error:
            raise InDoubt(f"the cancel was sent; how the order stands is not known: {error}") from None

    async def cancel_all(self) -> None:
        """207 names each order and whether its cancel is under way; the order itself says more."""
        response = await self._change("DELETE", "/v2/orders", None, urgent=True)
        if response.status not in (200, 207):
            raise refusal(response, changes=True)

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        """Every order that is not terminal, by pages: the listing has no token, so each page ends where the next begins."""
        found: dict[str, wire.Order] = {}
        query = {"status": "open", "limit": str(ORDERS_PAGE_MAX), "direction": "desc"}
        for _ in range(PAGES_MAX):
            page = await self._ask(f"/v2/orders?{urlencode(query)}", list[wire.Order])
            found |= {order.id: await self._with_legs(order) for order in page}
            if len(page) < ORDERS_PAGE_MAX:
                await self._learn_parents(found.values())
                return tuple(self._row(order) for order in found.values())
            query["before_order_id"] = page[-1].id
        raise ProtocolError(f"more than {PAGES_MAX} pages of open orders")

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        response = await self._get(f"/v2/orders:by_client_order_id?{urlencode({'client_order_id': cl_ord_id})}")
        if is_not_found(response):
            return None
        order = self._decoded(response, wire.Order)
        if order.order_class in codec.LINKED:
            order = await self._ask(f"/v2/orders/{order.id}?nested=true", wire.Order)
        return self._row(await self._with_legs(order))

    async def _with_legs(self, order: wire.Order) -> wire.Order:
        """A multileg order's row says nothing without its legs."""
        if codec.is_whole(order) and not order.legs:
            return await self._ask(f"/v2/orders/{order.id}?nested=true", wire.Order)
        return order

    async def _learn_parents(self, orders: Iterable[wire.Order]) -> None:
        """What a row is held for stands in its parent's answer alone. Asked where an order may be part of one of ours and nobody knows yet."""
        unknown = {row.id: row.symbol for row in orders if row.order_class in codec.LINKED and not is_ours(row.client_order_id)}
        unknown = {order_id: symbol for order_id, symbol in unknown.items() if order_id not in self._parents}
        for symbol in sorted(set(unknown.values())):
            query = urlencode({"status": "all", "nested": "true", "symbols": symbol, "limit": str(ORDERS_PAGE_MAX)})
            for parent in await self._ask(f"/v2/orders?{query}", list[wire.Order]):
                self._row(parent)
        for order_id in unknown:
            self._remember(self._parents, order_id, self._parents.get(order_id))

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        """FILL activities, oldest first, each joined with its order's row."""
        found = await self._activities("/v2/account/activities/FILL", since_ns)
        rows = [(activity, await self._order_row(activity.order_id)) for activity in found]
        return tuple(self._linked(codec.decode_fill(activity, row, self._clock.now_ns())) for activity, row in rows)

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        """Every activity that is no fill."""
        found = await self._activities("/v2/account/activities", since_ns, category="non_trade_activity")
        return tuple(codec.decode_flow(activity) for activity in found)

    async def _activities(self, path: str, since_ns: int, **more: str) -> list[wire.Activity]:
        """All pages, oldest first."""
        found: list[wire.Activity] = []
        query = {"after": rfc3339(since_ns), "direction": "asc", "page_size": str(ACTIVITIES_PAGE_MAX), **more}
        for _ in range(PAGES_MAX):
            page = await self._ask(f"{path}?{urlencode(query)}", list[wire.Activity])
            found += page
            if len(page) < ACTIVITIES_PAGE_MAX:
                return found
            query["page_token"] = page[-1].id
        raise ProtocolError(f"more than {PAGES_MAX} pages of activities")

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        """Order events as they come. After each LIVE the desk reads again what the stream did not replay: a WebSocket nothing, server-sent events
        all since the last one, but for the first connection."""
        session = self._order_events or OrdersSession(self._urls.orders_stream, self._key, self._secret)
        async for event in Supervisor(session, self._dialer, self._clock, self._rng).run():
            if isinstance(event, AccountEvent | ExecutionReport):
                yield self._linked(event.report if isinstance(event, AccountEvent) else event)
            else:
                yield self._link(event, "orders")

    # -- market data --------------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        return codec.decode_quote(await self._latest(instrument, "quotes", wire.LatestQuotes), instrument, self._clock.now_ns())

    async def trade(self, instrument: InstrumentID) -> Trade:
        return codec.decode_trade(await self._latest(instrument, "trades", wire.LatestTrades), instrument, self._clock.now_ns())

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        entries = await self._history(instrument, "quotes", wire.Quotes, start_ns, end_ns)
        return tuple(codec.decode_quote(entry, instrument, self._clock.now_ns()) for entry in entries)

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        entries = await self._history(instrument, "trades", wire.Trades, start_ns, end_ns)
        return tuple(codec.decode_trade(entry, instrument, self._clock.now_ns()) for entry in entries)

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        if period_ns not in _TIMEFRAMES:
            raise BadRequest(f"Alpaca has bars of {', '.join(_TIMEFRAMES.values())}")
        more = {"timeframe": _TIMEFRAMES[period_ns]}
        if _market(instrument) == _STOCKS:
            more["adjustment"] = "split"  # raw, as they come otherwise, a split looks like a crash
        entries = await self._history(instrument, "bars", wire.Bars, start_ns, end_ns, **more)
        return tuple(codec.decode_bar(entry, instrument, period_ns) for entry in entries)

    async def market_clock(self) -> MarketClock:
        return codec.decode_clock(await self._ask("/v2/clock", wire.Clock))

    async def expiries(self, underlying: InstrumentID) -> tuple[date, ...]:
        today = rfc3339(self._clock.now_ns())[:10]
        query = {"underlying_symbols": underlying, "expiration_date_gte": today, "limit": str(CONTRACTS_PAGE_MAX)}
        found: set[str] = set()
        for _ in range(PAGES_MAX):
            page = await self._ask(f"/v2/options/contracts?{urlencode(query)}", wire.OptionContracts)
            found |= {contract.expiration_date for contract in page.option_contracts}
            if page.next_page_token is None:
                return tuple(date.fromisoformat(day) for day in sorted(found))
            query["page_token"] = page.next_page_token
        raise ProtocolError(f"more than {PAGES_MAX} pages of option contracts")

    async def chain(self, underlying: InstrumentID, expiry: date, right: Right | None = None) -> tuple[OptionSnapshot, ...]:
        query = {"feed": self._option_feed, "expiration_date": expiry.isoformat(), "limit": str(CHAIN_PAGE_MAX)}
        if right is not None:
            query["type"] = right.value
        found: list[OptionSnapshot] = []
        for _ in range(PAGES_MAX):
            page = await self._ask_data(f"/v1beta1/options/snapshots/{percent(underlying, safe='')}?{urlencode(query)}", wire.OptionSnapshots)
            found += [codec.decode_snapshot(symbol, snapshot, self._clock.now_ns()) for symbol, snapshot in page.snapshots.items()]
            if page.next_page_token is None:
                return tuple(sorted(found, key=lambda line: (line.contract.strike, line.contract.right)))
            query["page_token"] = page.next_page_token
        raise ProtocolError(f"more than {PAGES_MAX} pages of one chain")

    async def _latest(self, instrument: InstrumentID, what: str, kind: type[Any]) -> Any:
        """The newest entry of one symbol. Raises BadRequest: there is none."""
        crypto = "/" in instrument
        query = urlencode({"symbols": instrument, **self._feed_of(instrument)})
        answer = await self._ask_data(f"{_market(instrument)}/{f'latest/{what}' if crypto else f'{what}/latest'}?{query}", kind)
        found = getattr(answer, what).get(instrument)
        if found is None:
            raise BadRequest(f"Alpaca has no {what} of {instrument}")
        return found

    async def _history(self, instrument: InstrumentID, what: str, kind: type[Any], start_ns: int, end_ns: int, **more: str) -> list[Any]:
        """Entries of one symbol over all pages; a short page is not the last, a null token is."""
        query = {
            "symbols": instrument,
            "start": rfc3339(start_ns),
            "end": rfc3339(end_ns),
            "limit": str(DATA_PAGE_MAX),
            **more,
            **self._feed_of(instrument),
        }
        found: list[Any] = []
        for _ in range(PAGES_MAX):
            page = await self._ask_data(f"{_market(instrument)}/{what}?{urlencode(query)}", kind)
            found += (getattr(page, what) or {}).get(instrument, ())
            if page.next_page_token is None:
                return found
            query["page_token"] = page.next_page_token
        raise ProtocolError(f"more than {PAGES_MAX} pages of {what}")

    def _feed_of(self, instrument: InstrumentID) -> Mapping[str, str]:
        if "/" in instrument:
            return {}
        return {"feed": self._option_feed if is_option(instrument) else self._stock_feed}

    async def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        """Stocks, crypto and options come over three sockets, which all subscriptions share. Raises BadRequest: more symbols than the plan has."""
        reader = Subscription(instruments, kinds)
        feeds = [self._feed(path) for path in sorted({self._path(symbol) for symbol in instruments})]
        try:
            for feed in feeds:
                await feed.join(reader)
            async for event in reader:
                yield event
        finally:
            for feed in feeds:
                await feed.leave(reader)

    def _path(self, instrument: InstrumentID) -> str:
        """The stream that carries an instrument."""
        if "/" in instrument:
            return CRYPTO_STREAM
        return OPTION_STREAMS[self._option_feed] if is_option(instrument) else STOCK_STREAMS[self._stock_feed]

    def _feed(self, path: str) -> Feed:
        if path not in self._feeds:
            kind = OptionSession if path in OPTION_STREAMS.values() else DataSession
            session = kind(self._urls.data_stream + path, self._key, self._secret)
            supervisor = Supervisor(session, self._dialer, self._clock, self._rng)
            self._feeds[path] = Feed(session, supervisor, path, lambda symbol: self._path(symbol) == path, self._clock)
        return self._feeds[path]

    async def news(self, symbols: Sequence[str], limit: int) -> tuple[NewsItem, ...]:
        """The newest articles first, about these symbols or about all, over as many pages as that takes."""
        found: list[NewsItem] = []
        query = {"sort": "desc"} | ({"symbols": ",".join(_news_symbols(symbols))} if symbols else {})
        for _ in range(PAGES_MAX):
            query["limit"] = str(min(limit - len(found), NEWS_PAGE_MAX))
            page = await self._ask_data(f"{NEWS_STREAM}?{urlencode(query)}", wire.NewsPage)
            found += [codec.decode_news(article) for article in page.news]
            if page.next_page_token is None or len(found) >= limit:
                return tuple(found[:limit])
            query["page_token"] = page.next_page_token
        raise ProtocolError(f"more than {PAGES_MAX} pages of news")

    async def follow_news(self, symbols: Sequence[str]) -> AsyncIterator[NewsItem | StreamState]:
        """Articles as they appear. Alpaca keeps none back for a line that was down."""
        session = NewsSession(self._urls.data_stream + NEWS_STREAM, self._key, self._secret, _news_symbols(symbols))
        async for event in Supervisor(session, self._dialer, self._clock, self._rng).run():
            yield event if isinstance(event, NewsItem) else self._link(event, "news")

    # -- the wire -------------------------------------------------------------------------------------------------------------------

    async def _change(self, method: str, path: str, body: object, *, urgent: bool = False) -> Response:
        """One request that changes something, sent once. Raises Unavailable: not sent. InDoubt: sent, no answer."""
        await self._afford(self._budget, urgent=urgent)
        request = self._request(method, self._urls.trading + path, b"" if body is None else msgspec.json.encode(body))
        try:
            response = await self._http.send(request, within_ns=ANSWER_WITHIN_NS)
        except NotSent as error:
            raise Unavailable(f"Alpaca could not be reached, nothing was sent: {error}. {UNREACHABLE}") from None
        except NoAnswer as error:
            raise InDoubt(f"Alpaca did not answer: {error}. The desk asks what became of it; do not send it again") from None
        self._budget.learn(response.status, response.headers, self._clock.monotonic_ns(), self._clock.now_ns())
        return response

    def _answered(self, response: Response, kind: type[_T]) -> _T:
        """The body of a change that was taken. What cannot be read may still have been taken."""
        if response.status not in (200, 201):
            raise refusal(response, changes=True)
        try:
            return strict.decode(response.body, kind)
        except wire.UNREADABLE as error:
            raise InDoubt(f"Alpaca answered HTTP {response.status} with something that is no order ({error})") from None

    async def _get(self, path: str) -> Response:
        await self._afford(self._budget, urgent=True)
        return await self._read(self._urls.trading + path, self._budget)

    async def _ask(self, path: str, kind: type[_T]) -> _T:
        return self._decoded(await self._get(path), kind)

    async def _ask_data(self, path: str, kind: type[_T]) -> _T:
        await self._afford(self._data_budget, urgent=True)
        return self._decoded(await self._read(self._urls.data + path, self._data_budget), kind)

    async def _read(self, url: str, budget: RateBudget) -> Response:
        sent_ns = self._clock.now_ns()
        try:
            response = await get_with_retry(self._http, self._request("GET", url, b""), within_ns=ANSWER_WITHIN_NS, clock=self._clock, rng=self._rng)
        except TransportError as error:
            raise Unavailable(f"Alpaca could not be asked: {error}. {UNREACHABLE}") from None
        budget.learn(response.status, response.headers, self._clock.monotonic_ns(), self._clock.now_ns())
        with suppress(ValueError):  # a date that nobody can read teaches nothing
            self._offset.learn_date(response.headers.get("date", ""), sent_ns, self._clock.now_ns())
        return response

    async def _afford(self, budget: RateBudget, *, urgent: bool) -> None:
        """Wait for the request budget, but not for long, and with an order not at all: the desk has looked at the halts for the last time.
        Raises RateLimited: nothing was sent."""
        waited_ns = 0
        while wait_ns := budget.wait_ns(self._clock.monotonic_ns(), urgent=urgent):
            waited_ns += wait_ns
            if not urgent or waited_ns > BUDGET_WAIT_MAX_NS:
                told = budget_text({LIMIT_HEADER.lower(): str(budget.limit)}, wait_ns)
                raise RateLimited(f"Alpaca's request budget is spent. {told} {HELP[429]}", wait_ns)
            await self._clock.sleep_ns(wait_ns)
        budget.take(self._clock.monotonic_ns())

    def _request(self, method: str, url: str, body: bytes) -> Request:
        headers = {"Content-Type": "application/json"} if body else {}
        return auth.sign(Request(method=method, url=url, headers=headers, body=body), self._key, self._secret)

    def _decoded(self, response: Response, kind: type[_T]) -> _T:
        if response.status != 200:
            raise refusal(response, changes=False)
        try:
            return strict.decode(response.body, kind)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"Alpaca's answer cannot be read ({error})", response.body) from None

    def _row(self, order: wire.Order) -> ExecutionReport:
        """Remember an order's row for its fills, and what it holds, and translate it."""
        for row in (order, *(order.legs or ())):
            self._remember(self._rows, row.id, row)
        for leg in order.legs or ():
            self._remember(self._parents, leg.id, ClOrdID(order.client_order_id))
        return self._linked(codec.decode_order(order, self._clock.now_ns(), ExecType.ORDER_STATUS))

    def _linked(self, report: ExecutionReport) -> ExecutionReport:
        """With the order it is held for, as far as that is known."""
        parent = self._parents.get(report.order_id or "")
        return report if parent is None else msgspec.structs.replace(report, parent=parent)

    @staticmethod
    def _remember(known: OrderedDict[str, _T], order_id: str, value: _T) -> None:
        known[order_id] = value
        known.move_to_end(order_id)
        if len(known) > ROWS_MAX:
            known.popitem(last=False)

    async def _order_row(self, order_id: str | None) -> wire.Order:
        if order_id is None:
            raise ProtocolError("a fill that names no order")
        row = self._rows.get(order_id)
        if row is None:
            row = await self._ask(f"/v2/orders/{order_id}", wire.Order)
            self._row(row)
        return row

    def _link(self, event: object, stream: str) -> StreamState:
        assert isinstance(event, LinkEvent)
        return stream_state(event, stream, self._clock.now_ns())


def _urls(environment: str, options: Mapping[str, str]) -> Urls:
    """Alpaca's hosts, or one port of a twin for all of them."""
    url = options.get("url")
    if url is None:
        return URLS[environment]
    sockets = "ws" + url.removeprefix("http")
    return Urls(trading=url, orders_stream=f"{sockets}/stream", data=url, data_stream=sockets)


def _market(instrument: InstrumentID) -> str:
    if "/" in instrument:
        return "/v1beta3/crypto/us"
    return "/v1beta1/options" if is_option(instrument) else _STOCKS


def _news_symbols(symbols: Sequence[str]) -> list[str]:
    """News names coins without the slash: BTCUSD."""
    return [symbol.replace("/", "") for symbol in symbols]


def _split(symbol: InstrumentID) -> list[tuple[str, str]]:
    """How a crypto pair may have been meant that was written without its slash."""
    return [(symbol.removesuffix(quote), quote) for quote in ("USDT", "USDC", "USD") if symbol.endswith(quote) and symbol != quote]
