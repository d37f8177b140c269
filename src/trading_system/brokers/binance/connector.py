"""Binance behind the port: joins codec, sessions and errors to transport. The only async module of the folder; all else is pure."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from trading_system.brokers.binance import auth, codec, facts, wire
from trading_system.brokers.binance.book import SNAPSHOT_LEVELS, Books, BookSession, Diff, decode_snapshot
from trading_system.brokers.binance.errors import CLOCK, budget, error_of, is_not_found, refusal
from trading_system.brokers.binance.facts import API, FACTS, LIVE, ROWS_MAX, SPAN_NS, UNREACHABLE, URLS, Urls
from trading_system.brokers.binance.session import MarketSession, OrdersSession, Reply, StreamsSession, stream_state
from trading_system.core.depth import Verdict
from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID, is_ours
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.money import ZERO
from trading_system.domain.order import Approved, Order
from trading_system.domain.ports import Budget, Clock, Kinds, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.domain.times import NS
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.clock import BrokerOffset
from trading_system.transport.http import Http
from trading_system.transport.message import NoAnswer, NotSent, Request, Response, TransportError
from trading_system.transport.ratelimit import RateBudget
from trading_system.transport.supervise import LinkEvent, LinkKind, Supervisor
from trading_system.transport.websocket import Dialer

ANSWER_WITHIN_NS = 10 * NS
ATTEMPTS_MAX = 4  # at one question
BACKOFF_NS = NS // 2  # the first wait between two is drawn from 0 … this, then twice as much
BUDGET_WAIT_MAX_NS = 5 * NS  # a question or a cancel waits this long for the request budget
PAGES_MAX = 200  # of any listing: more is a loop, not an account
KNOWN_MAX = 5_000  # orders remembered: how they stand, and in which pair an id is to be looked for
BUSY_MAX = 20  # pairs whose executions are read at every look
QUIET_PER_LOOK = 10  # of the other pairs, in turn
LISTING_MAX_AGE_NS = 60 * NS
CLOCK_MAX_AGE_NS = 60 * NS
SNAPSHOT_EVERY_NS = NS  # of one book, at most
TICKERS_MAX = 100  # named in one question; for more, all are asked for
_BOOKS = "order books"
_MINUTE_NS = 60 * NS
_MS = 1_000_000
_T = TypeVar("_T")
_K = TypeVar("_K")


class BinanceConnector:
    """Broker and MarketData for one Binance spot account. Its money is USDT, its positions are the balances of what can be sold for USDT."""

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
        self._budget = RateBudget(facts.WEIGHT_PER_MINUTE, _MINUTE_NS)
        self._offset = BrokerOffset()
        self._clock_due_ns = 0  # when Binance's time is to be read again
        self._symbols: dict[str, InstrumentID] = {}
        self._listed: dict[InstrumentID, tuple[wire.Symbol, int]] = {}  # with the time of reading
        self._rows: OrderedDict[tuple[str, int], ExecutionReport] = OrderedDict()  # by symbol and order id: how an order last stood
        self._places: OrderedDict[ClOrdID, str] = OrderedDict()  # in which pair an id is to be looked for
        self._busy: OrderedDict[str, None] = OrderedDict()  # pairs in which something happens
        self._quiet: OrderedDict[str, None] = OrderedDict()  # pairs that are held or were asked for: the one whose turn it is comes first
        self._balances: dict[str, Decimal] = {}
        self._by_socket = options.get("order_entry", "rest") == "websocket"
        self._line: tuple[Supervisor, OrdersSession] | None = None  # the account's socket, while it is live
        self._asked: dict[str, asyncio.Future[Response]] = {}  # sent as a frame and not answered yet
        self._number = 0
        self._replaced: OrderedDict[OrderID, ClOrdID] = OrderedDict()  # orders that end because another takes their place

    # -- account ----------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Prove the account's kind and what the key may do before anything else. Only Binance's live host can say what a key may do.

        Raises: AuthFailed: the key is of the other kind, unknown, or may withdraw.
        """
        await self._read_clock()
        await self._load()
        rights = await self._get(facts.KEY_RIGHTS_PATH, {}, facts.KEY_RIGHTS, signed=True)
        if self._environment == LIVE:
            if rights.status == 404:
                raise AuthFailed("this host is a testnet, its accounts are paper accounts; this desk trades live.", _KIND_HELP)
            _judge(self._decoded(rights, wire.KeyRights))
        elif rights.status == 200:
            raise AuthFailed("this host is the live one, this desk trades a paper account.", _KIND_HELP)
        await self._ask("/account", {}, wire.Account, facts.ACCOUNT)

    async def aclose(self) -> None:
        await self._http.aclose()

    def skew_ns(self) -> int:
        return self._offset.skew_ns()

    def budgets(self) -> Mapping[str, Budget]:
        now_ns = self._clock.monotonic_ns()
        return {"weight": Budget(self._budget.left(now_ns), self._budget.limit)}

    async def account(self) -> AccountSnapshot:
        """Balances, and the prices that they are worth: two reads, not one instant."""
        await self._load()
        asked_ns = self._broker_ns(self._clock.now_ns())
        account = await self._ask("/account", {"omitZeroBalances": "true"}, wire.Account, facts.ACCOUNT)
        self._notice(account)
        tradable = frozenset(self._symbols.values())
        held = {name for balance in account.balances if (name := codec.held_as(balance.asset, tradable)) is not None}
        dollar = self._symbols.get(facts.DOLLAR_SYMBOL)
        marks = await self._marks(held if dollar is None else {*held, dollar})
        rate = None if dollar not in marks else (1 / marks[dollar]).quantize(facts.RATE_STEP)
        return codec.decode_account(account, marks, rate, self._symbols, self._environment, self._clock.now_ns(), asked_ns)

    def _notice(self, account: wire.Account) -> None:
        """A balance that has changed says in which pair executions are to be read."""
        tradable = frozenset(self._symbols.values())
        now = {balance.asset: Decimal(balance.free) + Decimal(balance.locked) for balance in account.balances}
        for asset in {**now, **self._balances}:  # in an order that is the same in every run
            name = codec.held_as(asset, tradable)
            if name is not None:
                symbol = self._listed[name][0].symbol
                self._quiet.setdefault(symbol)
                if self._balances and now.get(asset) != self._balances.get(asset):
                    self._touch(symbol)
        self._balances = now

    async def _marks(self, held: set[InstrumentID]) -> dict[InstrumentID, Decimal]:
        """Halfway between bid and offer, where there are both."""
        if not held:
            return {}
        names = sorted(self._listed[name][0].symbol for name in held)
        query = {"symbols": msgspec.json.encode(names).decode()} if len(names) <= TICKERS_MAX else {}
        tickers = await self._ask("/ticker/bookTicker", query, list[wire.BookTicker], facts.TICKERS, signed=False)
        found = {self._symbols[ticker.symbol]: codec.mid(ticker) for ticker in tickers if self._symbols.get(ticker.symbol) in held}
        return {name: price for name, price in found.items() if price is not None}

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        """What is priced in USDT, or what is named."""
        await self._load()
        if not symbols:
            return tuple(codec.decode_symbol(listed) for listed, _ in self._listed.values() if listed.quote_asset == facts.QUOTE)
        return tuple([codec.decode_symbol(await self._fresh(name)) for name in symbols])

    async def _fresh(self, name: InstrumentID) -> wire.Symbol:
        """One pair's rules, read again when they are old: Binance changes them without notice."""
        symbol = await self._symbol(name)
        self._quiet.setdefault(symbol)
        if self._clock.monotonic_ns() - self._listed[name][1] > LISTING_MAX_AGE_NS:
            info = await self._ask("/exchangeInfo", {"symbol": symbol}, wire.ExchangeInfo, facts.EXCHANGE_INFO, signed=False)
            self._take(info)
        return self._listed[name][0]

    async def _symbol(self, name: InstrumentID) -> str:
        """Binance's spelling. Raises BadRequest: it has no such pair."""
        await self._load()
        if name not in self._listed:
            hint = f" Did you mean {self._symbols[name]}?" if name in self._symbols else ""
            raise BadRequest(f"Binance has no {name}.{hint} Pairs are written BTC/{facts.QUOTE}.")
        return self._listed[name][0].symbol

    async def _load(self) -> None:
        """Every pair there is, once: the names, the grids, and the budget in force."""
        if not self._listed:
            query = {"showPermissionSets": "false"}  # a third of the answer, and of no use here
            info = await self._ask("/exchangeInfo", query, wire.ExchangeInfo, facts.EXCHANGE_INFO, signed=False)
            self._take(info)
            for limit in info.rate_limits or ():
                if (limit.rate_limit_type, limit.interval, limit.interval_num) == ("REQUEST_WEIGHT", "MINUTE", 1):
                    self._budget.limit = limit.limit

    def _take(self, info: wire.ExchangeInfo) -> None:
        names = codec.decode_symbols(info.symbols)
        self._symbols.update(names)
        now_ns = self._clock.monotonic_ns()
        self._listed.update({names[listed.symbol]: (listed, now_ns) for listed in info.symbols if listed.symbol in names})

    # -- orders -----------------------------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Place an order once. Raises Rejected, Unavailable (not sent, or not done), InDoubt (sent, no answer), AuthFailed (sent, key refused)."""
        self._expect(approved)
        if approved.request.attached is not None:
            return await self._submit_list(approved)
        response = await self._change("POST", "/order", codec.encode_order(approved))
        return self._row(self._answered(response, wire.Order))

    async def _submit_list(self, approved: Approved) -> ExecutionReport:
        """An order with its exits, as one list: all of it is taken, or nothing."""
        lot = codec.decode_symbol(self._listed[approved.request.instrument][0]).lot
        path, params = codec.encode_list(approved, lot)
        listed = self._answered(await self._change("POST", path, params), wire.OrderList)
        return self._family(codec.decode_list(listed.order_reports or (), approved.cl_ord_id, self._symbols, self._clock.now_ns()))

    def _family(self, report: ExecutionReport) -> ExecutionReport:
        """Remember an order and those that were made for it."""
        symbol = self._listed[report.instrument][0].symbol
        for child in report.children:
            self._known(symbol, child)
        return self._known(symbol, report)

    async def replace(self, approved: Approved) -> ExecutionReport:
        """A cancel and a new order in one request. The new one is not placed where the old one had fills by then, or was over."""
        assert approved.orig_order_id is not None
        self._expect(approved)
        before = self._replaced.get(approved.orig_order_id)
        self._remember(self._replaced, approved.orig_order_id, approved.cl_ord_id)  # its end may be told before the answer comes
        try:
            response = await self._change("POST", "/order/cancelReplace", codec.encode_replace(approved))
            return self._row(self._answered(response, wire.Replaced).new_order_response)
        except (Rejected, Unavailable):
            self._replaced.pop(approved.orig_order_id, None)
            if before is not None:  # an earlier change may be why this one is refused
                self._remember(self._replaced, approved.orig_order_id, before)
            raise

    def recall(self, orders: Iterable[Order]) -> None:
        """Orders that an earlier run changed, or tried to: they end because another took their place."""
        known: dict[ClOrdID, Order] = {}
        for order in orders:
            known[order.cl_ord_id] = order
            old = None if order.orig_cl_ord_id is None else known.get(order.orig_cl_ord_id)
            if old is not None and old.order_id is not None and not old.ord_status.terminal and order.ord_status is not OrdStatus.REJECTED:
                self._remember(self._replaced, old.order_id, order.cl_ord_id)

    async def cancel(self, order: Order) -> ExecutionReport:
        """Done in the answer. One that is refused is a question: the answer is how the order stands."""
        assert order.order_id is not None
        symbol = await self._symbol(order.instrument)
        successor, gone = self._replaced.pop(order.order_id, None), False
        which = {"symbol": symbol, "orderId": str(order.order_id)}
        try:
            response = await self._change("DELETE", "/order", which, urgent=True)
            gone = response.status == 200
        finally:
            if successor is not None and not gone:  # it may have ended before, because another took its place
                self._remember(self._replaced, order.order_id, successor)
        if gone:
            rows = self._answered(response, wire.Canceled).order_reports
            found = [self._row(row) for row in ((self._answered(response, wire.Order),) if rows is None else rows)]  # its list goes with it
            ours = [report for report in found if report.order_id == order.order_id]
            if not ours:
                raise InDoubt("the cancel was sent; the answer does not say how the order stands")
            return ours[0]
        if response.status != 400 or error_of(response).code not in _CANCEL_REFUSED:
            raise refusal(response, changes=True)
        try:
            return self._row(await self._ask("/order", which, wire.Order, facts.ORDER))
        except (Unavailable, BadRequest) as error:
            raise InDoubt(f"the cancel was sent; how the order stands is not known: {error}") from None

    async def cancel_all(self) -> None:
        """Pair by pair, where orders rest."""
        rows = await self._ask("/openOrders", {}, list[wire.Order], facts.OPEN_ORDERS_ALL)
        for symbol in sorted({order.symbol for order in rows}):
            response = await self._change("DELETE", "/openOrders", {"symbol": symbol}, urgent=True)
            if response.status != 200 and (response.status != 400 or error_of(response).code not in _CANCEL_REFUSED):
                raise refusal(response, changes=True)

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        await self._load()
        return tuple(self._row(order) for order in await self._ask("/openOrders", {}, list[wire.Order], facts.OPEN_ORDERS_ALL))

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """Asked for in its pair; an id whose pair nobody here knows, in every pair that matters; where there is none, among the open orders."""
        await self._load()
        place = self._places.get(cl_ord_id)
        places = [place] if place is not None else [*self._busy, *(symbol for symbol in self._quiet if symbol not in self._busy)]
        for symbol in places:
            response = await self._get(f"{API}/order", {"symbol": symbol, "origClientOrderId": cl_ord_id}, facts.ORDER, signed=True)
            if not is_not_found(response):
                return await self._with_exits(self._decoded(response, wire.Order))
        return None if places else next((report for report in await self.open_orders() if report.cl_ord_id == cl_ord_id), None)

    async def _with_exits(self, order: wire.Order) -> ExecutionReport:
        """An order with those that were made for it: the list names them, each is asked for."""
        report = self._row(order)
        if order.order_list_id in (None, -1) or not is_ours(report.cl_ord_id):
            return report
        listed = await self._ask("/orderList", {"orderListId": str(order.order_list_id)}, wire.OrderList, facts.ORDER_LIST)
        exits = [one for one in listed.orders if codec.parent_of(one.client_order_id) == report.cl_ord_id]
        rows = [await self._ask("/order", {"symbol": one.symbol, "orderId": str(one.order_id)}, wire.Order, facts.ORDER) for one in exits]
        return msgspec.structs.replace(report, children=tuple(self._row(row) for row in rows))

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        """Executions of the pairs in which something happens, and of some of the others in turn: Binance has no list over all pairs."""
        await self._load()
        found: list[ExecutionReport] = []
        for symbol in self._turn():
            trades = await self._my_trades(symbol, since_ns)
            rows = {trade.order_id: await self._order(symbol, trade.order_id) for trade in trades}
            found += _joined(trades, rows, self._clock.now_ns())
        return tuple(sorted(found, key=lambda report: report.transact_ns))

    def _turn(self) -> list[str]:
        quiet = [symbol for symbol in self._quiet if symbol not in self._busy][:QUIET_PER_LOOK]
        for symbol in quiet:
            self._quiet.move_to_end(symbol)
        return [*self._busy, *quiet]

    async def _my_trades(self, symbol: str, since_ns: int) -> list[wire.MyTrade]:
        """The account's trades in one pair since then. A start time reaches one day; for more the last thousand are read, or all from the first."""
        query = {"symbol": symbol, "limit": str(ROWS_MAX)}
        if since_ns > self._broker_ns(self._clock.now_ns()) - SPAN_NS + _MINUTE_NS:
            query["startTime"] = str(max(0, since_ns) // _MS)
        page = await self._ask("/myTrades", query, list[wire.MyTrade], facts.MY_TRADES)
        if len(page) == ROWS_MAX and "startTime" not in query and page[0].time * _MS > since_ns:
            page = await self._ask("/myTrades", query | {"fromId": "0"}, list[wire.MyTrade], facts.MY_TRADES)
        query.pop("startTime", None)
        found = list(page)
        for _ in range(PAGES_MAX):
            if len(page) < ROWS_MAX:
                return [trade for trade in found if trade.time * _MS >= since_ns // _MS * _MS]
            page = await self._ask("/myTrades", query | {"fromId": str(page[-1].id + 1)}, list[wire.MyTrade], facts.MY_TRADES)
            found += page
        raise ProtocolError(f"more than {PAGES_MAX} pages of trades in {symbol}")

    async def _order(self, symbol: str, order_id: int) -> ExecutionReport:
        """The order of a fill, as it last stood."""
        row = self._rows.get((symbol, order_id))
        if row is None:
            row = self._row(await self._ask("/order", {"symbol": symbol, "orderId": str(order_id)}, wire.Order, facts.ORDER))
        return row

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        """Deposits and withdrawals, by the wallet's API, which the testnet does not have. What else moves between wallets shows as a difference."""
        if self._environment != LIVE:
            return ()
        await self._load()
        tradable = frozenset(self._symbols.values())
        deposits = await self._capital(facts.DEPOSITS_PATH, since_ns, wire.Deposit)
        withdrawals = await self._capital(facts.WITHDRAWALS_PATH, since_ns, wire.Withdrawal)
        came = [flow for deposit in deposits if (flow := codec.decode_deposit(deposit, tradable)) is not None]
        went = [codec.decode_withdrawal(withdrawal, tradable) for withdrawal in withdrawals]
        return tuple(sorted((*came, *went), key=lambda flow: flow.transact_ns))

    async def _capital(self, path: str, since_ns: int, kind: type[_T]) -> list[_T]:
        """All rows since then, span by span and page by page."""
        found: list[_T] = []
        now_ns, start_ns = self._broker_ns(self._clock.now_ns()), since_ns
        for _ in range(PAGES_MAX):
            end_ns = min(now_ns, start_ns + facts.FLOWS_SPAN_NS - _MINUTE_NS)
            query = {"startTime": str(start_ns // _MS), "endTime": str(end_ns // _MS), "limit": str(ROWS_MAX)}
            for page in range(PAGES_MAX):
                asked = await self._get(path, {**query, "offset": str(page * ROWS_MAX)}, facts.FLOWS, signed=True)
                rows = self._decoded(asked, list[kind])  # type: ignore[valid-type]
                found += rows
                if len(rows) < ROWS_MAX:
                    break
            else:
                raise ProtocolError(f"more than {PAGES_MAX} pages of {path}")
            if end_ns == now_ns:
                return found
            start_ns = end_ns
        raise ProtocolError(f"more than {PAGES_MAX} spans of {path}")

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        """Order events as they come; after each LIVE the desk reads again what the stream did not replay."""
        await self._load()
        session = OrdersSession(self._urls.socket_api, self._key, self._secret, self._symbols, self._broker_ns)
        stream = Supervisor(session, self._dialer, self._clock, self._rng)
        try:
            async for event in stream.run():
                match event:
                    case ExecutionReport():
                        yield self._heard(event)
                    case Reply(request_id=request_id, response=response):
                        waiting = self._asked.get(request_id)
                        if waiting is not None and not waiting.done():
                            waiting.set_result(response)
                    case LinkEvent():
                        self._line = (stream, session) if event.kind is LinkKind.UP else None
                        self._give_up()
                        yield self._link(event, "orders")
        finally:
            self._line = None
            self._give_up()

    def _give_up(self) -> None:
        """Another line, or none: answers that were on their way will not come."""
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(NoAnswer("the socket ended before it answered"))

    # -- market data --------------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        """Stamped with Binance's time when it was asked for: the answer itself has none."""
        query = {"symbol": await self._symbol(instrument)}
        asked_ns = self._broker_ns(self._clock.now_ns())
        ticker = await self._ask("/ticker/bookTicker", query, wire.BookTicker, facts.TICKER, signed=False)
        return codec.decode_quote(ticker, instrument, asked_ns, self._clock.now_ns())

    async def trade(self, instrument: InstrumentID) -> Trade:
        query = {"symbol": await self._symbol(instrument), "limit": "1"}
        trades = await self._ask("/trades", query, list[wire.Trade], facts.TRADES, signed=False)
        if not trades:
            raise BadRequest(f"Binance has no trades of {instrument}")
        return codec.decode_trade(trades[-1], instrument, self._clock.now_ns())

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        raise BadRequest("Binance keeps no quotes of the past; it has trades and bars")

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        """Trades of one taker order at one price count as one: that is what Binance can be asked for by time."""
        query = {"symbol": await self._symbol(instrument), "limit": str(ROWS_MAX)}
        span = {"startTime": str(-(-start_ns // _MS)), "endTime": str((end_ns - 1) // _MS)}
        found: list[wire.AggTrade] = []
        page = await self._ask("/aggTrades", query | span, list[wire.AggTrade], facts.AGG_TRADES, signed=False)
        for _ in range(PAGES_MAX):
            inside = [trade for trade in page if trade.time * _MS < end_ns]
            found += inside
            if len(inside) < ROWS_MAX:
                return tuple(codec.decode_trade(trade, instrument, self._clock.now_ns()) for trade in found)
            page = await self._ask("/aggTrades", query | {"fromId": str(page[-1].id + 1)}, list[wire.AggTrade], facts.AGG_TRADES, signed=False)
        raise ProtocolError(f"more than {PAGES_MAX} pages of trades")

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        """Bars that are over: the last row of Binance's is usually still forming."""
        if period_ns not in codec.INTERVALS:
            raise BadRequest(f"Binance has bars of {', '.join(codec.INTERVALS.values())}")
        query = {"symbol": await self._symbol(instrument), "interval": codec.INTERVALS[period_ns], "limit": str(ROWS_MAX)}
        found: list[wire.Kline] = []
        start_ms, end_ms = -(-start_ns // _MS), (end_ns - 1) // _MS
        for _ in range(PAGES_MAX):
            span = {"startTime": str(start_ms), "endTime": str(end_ms)}
            page = await self._ask("/klines", query | span, list[wire.Kline], facts.KLINES, signed=False)
            found += page
            if len(page) < ROWS_MAX:
                over_ms = self._broker_ns(self._clock.now_ns()) // _MS
                return tuple(codec.decode_kline(row, instrument, period_ns) for row in found if row.close_time < over_ms)
            start_ms = page[-1].open_time + 1
        raise ProtocolError(f"more than {PAGES_MAX} pages of bars")

    async def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        """A socket for each subscription. Raises BadRequest: more streams than one connection may have."""
        session = MarketSession(self._urls.streams, {await self._symbol(name): name for name in instruments}, kinds, self._broker_ns)
        self._check_streams(session)
        async for event in Supervisor(session, self._dialer, self._clock, self._rng).run():
            if isinstance(event, Quote | Trade | Bar):
                yield event
            else:
                yield self._link(event, "market data")

    async def subscribe_depth(self, instruments: Sequence[InstrumentID], levels: int) -> AsyncGenerator[BookSnapshot | StreamState]:
        """A socket for each subscription. A snapshot for each pair once the stream stands, again after a gap, and where the market has left it."""
        wanted = {await self._symbol(name): name for name in instruments}
        books, session = Books(wanted, levels), BookSession(self._urls.streams, tuple(wanted))
        self._check_streams(session)
        due_ns = dict.fromkeys(wanted, 0)
        async for event in Supervisor(session, self._dialer, self._clock, self._rng).run():
            if isinstance(event, LinkEvent):
                yield self._link(event, _BOOKS)
                books.void()
                symbols = list(wanted) if event.kind is LinkKind.UP else []
            else:
                assert isinstance(event, Diff)
                stood = books.stands(event.symbol)
                verdict = books.change(event)
                if stood and verdict is Verdict.GAP:
                    yield self._link(LinkEvent(LinkKind.DOWN, f"messages are missing from the book of {wanted[event.symbol]}"), _BOOKS)
                symbols = [] if verdict is Verdict.OLD else [event.symbol]
            for symbol in symbols:
                if books.best(symbol, 0) is None and self._clock.monotonic_ns() >= due_ns[symbol]:
                    due_ns[symbol] = self._clock.monotonic_ns() + SNAPSHOT_EVERY_NS
                    await self._snapshot(books, symbol)
                    if isinstance(event, Diff):
                        books.change(event)
                shown = books.best(symbol, self._clock.now_ns())
                if shown is not None:
                    yield shown

    async def _snapshot(self, books: Books, symbol: str) -> None:
        """A book by REST. One that cannot be had is asked for again with a change that comes later."""
        asked_ns = self._broker_ns(self._clock.now_ns())
        with suppress(Unavailable, RateLimited):
            response = await self._get(f"{API}/depth", {"symbol": symbol, "limit": str(SNAPSHOT_LEVELS)}, facts.DEPTH_SNAPSHOT, signed=False)
            if response.status != 200:
                raise refusal(response, changes=False)
            books.snapshot(symbol, decode_snapshot(response.body), asked_ns)

    @staticmethod
    def _check_streams(session: StreamsSession) -> None:
        """Raises BadRequest: more than one connection carries."""
        if len(session.streams) > facts.STREAMS_MAX:
            raise BadRequest(f"Binance has {facts.STREAMS_MAX} streams on one connection, and {len(session.streams)} were asked for; read fewer")

    # -- the wire -------------------------------------------------------------------------------------------------------------------

    async def _change(self, method: str, path: str, params: Mapping[str, str], *, urgent: bool = False) -> Response:
        """One request that changes something, sent once. Raises Unavailable: not sent. InDoubt: sent, no answer."""
        await self._afford(facts.CHANGE, urgent=urgent)
        try:
            if self._by_socket and self._line is not None:
                response = await self._send_frame(*self._line, facts.SOCKET_METHODS[method, path], params)
            else:
                response = await self._http.send(self._signed(method, API + path, params), within_ns=ANSWER_WITHIN_NS)
        except NotSent as error:
            raise Unavailable(f"Binance could not be reached, nothing was sent: {error}. {UNREACHABLE}") from None
        except NoAnswer as error:
            raise InDoubt(f"Binance did not answer: {error}. The desk asks what became of it; do not send it again") from None
        self._learn(response)
        if _is_late(response):
            with suppress(DeskError):  # then the next question tries again
                await self._read_clock()
        return response

    async def _send_frame(self, stream: Supervisor, session: OrdersSession, method: str, params: Mapping[str, str]) -> Response:
        """One request over the account's socket. Once the frame is handed over, only a reply says what became of it. Raises NoAnswer."""
        self._number += 1
        request_id = str(self._number)
        waiting: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._asked[request_id] = waiting
        try:
            await stream.send((session.request(method, request_id, params, self._clock.now_ns()),))
            async with asyncio.timeout(ANSWER_WITHIN_NS / NS):
                return await waiting
        except TimeoutError:
            raise NoAnswer("the socket did not answer in time") from None
        finally:
            del self._asked[request_id]

    def _answered(self, response: Response, kind: type[_T]) -> _T:
        """The body of a change that was taken. What cannot be read may still have been taken."""
        if response.status != 200:
            raise refusal(response, changes=True)
        try:
            return strict.decode(response.body, kind)
        except wire.UNREADABLE as error:
            raise InDoubt(f"Binance answered HTTP {response.status} with something that is no order ({error})") from None

    async def _ask(self, path: str, params: Mapping[str, str], kind: type[_T], weight: int, *, signed: bool = True) -> _T:
        return self._decoded(await self._get(API + path, params, weight, signed=signed), kind)

    async def _get(self, path: str, params: Mapping[str, str], weight: int, *, signed: bool) -> Response:
        """A question, again when it got no answer, each time with a new timestamp. After 418 and 429 nothing is asked again."""
        if signed and self._clock.monotonic_ns() >= self._clock_due_ns:
            await self._read_clock()
        for attempt in range(1, ATTEMPTS_MAX + 1):
            await self._afford(weight, urgent=True)
            try:
                response = await self._http.send(
                    self._signed("GET", path, params) if signed else _plain(self._urls.rest + path, params), within_ns=ANSWER_WITHIN_NS
                )
            except TransportError as error:
                if attempt == ATTEMPTS_MAX:
                    raise Unavailable(f"Binance could not be asked: {error}. {UNREACHABLE}") from None
            else:
                self._learn(response)
                if (response.status < 500 and not _is_late(response)) or attempt == ATTEMPTS_MAX:
                    return response
                if _is_late(response):
                    await self._read_clock()
            await self._clock.sleep_ns(self._rng.randrange(BACKOFF_NS << (attempt - 1)))
        raise AssertionError("the loop returns or raises")

    async def _read_clock(self) -> None:
        """Binance refuses what its own clock finds too old or too new: timestamps are made in its time."""
        self._clock_due_ns = self._clock.monotonic_ns() + CLOCK_MAX_AGE_NS
        sent_ns = self._clock.now_ns()
        told = await self._ask("/time", {}, wire.Time, facts.TIME, signed=False)
        self._offset.learn(told.server_time * _MS, sent_ns, self._clock.now_ns(), grain_ns=_MS)

    def _broker_ns(self, now_ns: int) -> int:
        """Binance's time at an instant of ours, as far as is known."""
        return now_ns + self._offset.offset_ns()

    def _learn(self, response: Response) -> None:
        now_ns = self._clock.now_ns()
        told = budget(response, self._budget.limit if self._listed else None, self._broker_ns(now_ns))
        self._budget.learn(response.status, told, self._clock.monotonic_ns(), self._broker_ns(now_ns))
        if _is_late(response):  # one of the clocks has stepped: what was known is of another time
            self._offset, self._clock_due_ns = BrokerOffset(), 0

    async def _afford(self, weight: int, *, urgent: bool) -> None:
        """Wait for the request budget, but not for long, and with an order not at all: the desk has looked at the halts for the last time.
        Raises RateLimited: nothing was sent."""
        waited_ns = 0
        while wait_ns := self._budget.wait_ns(self._clock.monotonic_ns(), weight, urgent=urgent):
            waited_ns += wait_ns
            if not urgent or waited_ns > BUDGET_WAIT_MAX_NS:
                told = f"Wait {-(-wait_ns // NS)} s; the budget is {self._budget.limit} of weight a minute."
                raise RateLimited(f"Binance's request budget is spent. {told} {facts.BUDGET_HELP}", wait_ns)
            await self._clock.sleep_ns(wait_ns)
        self._budget.take(self._clock.monotonic_ns(), weight)

    def _signed(self, method: str, path: str, params: Mapping[str, str]) -> Request:
        timestamp_ms = self._broker_ns(self._clock.now_ns()) // _MS
        return auth.sign(method, self._urls.rest + path, params, self._key, self._secret, timestamp_ms)

    def _decoded(self, response: Response, kind: type[_T]) -> _T:
        if response.status != 200:
            raise refusal(response, changes=False)
        try:
            return strict.decode(response.body, kind)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"Binance's answer cannot be read ({error})", response.body) from None

    # -- what is remembered -----------------------------------------------------------------------------------------------------------

    def _expect(self, approved: Approved) -> None:
        """From here on this pair and this id are looked for."""
        self._touch(approved.symbol)
        self._remember(self._places, approved.cl_ord_id, approved.symbol)

    def _touch(self, symbol: str) -> None:
        """Something happens in a pair: its executions are read at every look."""
        self._busy[symbol] = None
        self._busy.move_to_end(symbol)
        if len(self._busy) > BUSY_MAX:
            self._quiet.setdefault(self._busy.popitem(last=False)[0])

    def _row(self, order: wire.Order) -> ExecutionReport:
        return self._known(order.symbol, self._renamed(codec.decode_order(order, self._symbols, self._clock.now_ns())))

    def _heard(self, event: ExecutionReport) -> ExecutionReport:
        report = self._renamed(event)
        self._known(self._listed[report.instrument][0].symbol, report)
        return report

    def _known(self, symbol: str, report: ExecutionReport) -> ExecutionReport:
        """Remember how an order stands: for its fills, and for where to look for it."""
        assert report.order_id is not None
        stands = msgspec.structs.replace(
            report, exec_type=ExecType.ORDER_STATUS, children=(), exec_id=None, last_qty=ZERO, last_px=ZERO, fee=ZERO, fee_currency=""
        )
        self._remember(self._rows, (symbol, int(report.order_id)), stands)
        self._remember(self._places, report.cl_ord_id, symbol)
        self._touch(symbol)
        return report

    def _renamed(self, report: ExecutionReport) -> ExecutionReport:
        """The end of an order whose place another takes is no cancel to the desk. Binance makes no difference."""
        if report.ord_status is not OrdStatus.CANCELED or report.order_id not in self._replaced:
            return report
        exec_type = ExecType.REPLACED if report.exec_type is ExecType.CANCELED else report.exec_type
        return msgspec.structs.replace(report, ord_status=OrdStatus.REPLACED, exec_type=exec_type)

    @staticmethod
    def _remember(known: OrderedDict[_K, Any], key: _K, value: Any) -> None:
        known[key] = value
        known.move_to_end(key)
        if len(known) > KNOWN_MAX:
            known.popitem(last=False)

    def _link(self, event: object, stream: str) -> StreamState:
        assert isinstance(event, LinkEvent)
        return stream_state(event, stream, self._clock.now_ns())


_KIND_HELP = f"Set BINANCE_TESTNET to what the key is for, and TRADING_MODE with it. Keys: {facts.PAGES['keys_paper']}, {facts.PAGES['keys_live']}."
_CANCEL_REFUSED = frozenset({-2011, -2013})  # gone, or not there yet


def _is_late(response: Response) -> bool:
    """Whether Binance found a request too old or too new."""
    return response.status == 400 and error_of(response).code == CLOCK


def _judge(rights: wire.KeyRights) -> None:
    """A key that can move money out of the account is not let in: whoever finds it would have all of it. Raises AuthFailed."""
    page = facts.PAGES["keys_live"]
    switches = {
        "Enable Withdrawals": rights.enable_withdrawals,
        "Enable Internal Transfer": rights.enable_internal_transfer,
        "Permits Universal Transfer": rights.permits_universal_transfer,
    }
    on = [name for name, is_on in switches.items() if is_on]
    if on:
        hint = f"Turn off {', '.join(on)}, or make one that may only read and trade spot: {page}"
        raise AuthFailed("the key may withdraw or transfer.", hint)
    if not rights.enable_spot_and_margin_trading:
        raise AuthFailed("the key may not trade.", f"Tick spot trading for it: {page}")


def _joined(trades: Sequence[wire.MyTrade], rows: Mapping[int, ExecutionReport], recv_ns: int) -> list[ExecutionReport]:
    """Each trade with its order. How much was filled after it is known where all trades of the order are here."""
    total: dict[int, Decimal] = {}
    for trade in trades:
        total[trade.order_id] = total.get(trade.order_id, ZERO) + Decimal(trade.qty)
    running: dict[int, Decimal] = {}
    found = []
    for trade in trades:
        row = rows[trade.order_id]
        cum = running[trade.order_id] = running.get(trade.order_id, ZERO) + Decimal(trade.qty)
        whole = row.cum_qty == total[trade.order_id]
        full = whole and cum == row.cum_qty and row.ord_status is OrdStatus.FILLED
        status = OrdStatus.FILLED if full else OrdStatus.PARTIALLY_FILLED
        found.append(codec.decode_fill(trade, msgspec.structs.replace(row, ord_status=status), cum if whole else None, recv_ns))
    return found


def _plain(url: str, params: Mapping[str, str]) -> Request:
    """A question that needs no key."""
    return Request(method="GET", url=auth.with_query(url, params))


def _urls(environment: str, options: Mapping[str, str]) -> Urls:
    """Binance's hosts, or one port of a twin for all of them."""
    url = options.get("url")
    if url is None:
        return URLS[environment]
    sockets = "ws" + url.removeprefix("http")
    return Urls(rest=url, socket_api=sockets + facts.SOCKET_API_PATH, streams=sockets + facts.STREAMS_PATH)
