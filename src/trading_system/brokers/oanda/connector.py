"""OANDA behind the port: joins codec, sessions and errors to transport. The only async file."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TypeVar
from urllib.parse import quote as percent
from urllib.parse import urlencode, urlsplit

import msgspec

from trading_system.brokers.oanda import auth, codec, wire
from trading_system.brokers.oanda.errors import REASONS, Meaning, is_missing, refusal
from trading_system.brokers.oanda.facts import (
    BUDGET_HELP,
    CANDLES_MAX,
    FACTS,
    PAUSE_S,
    QUESTIONS_AT_ONCE,
    REQUESTS_PER_SECOND,
    SCAN_BACK_NS,
    TRADES_MAX,
    TRANSACTIONS_PAGE_MAX,
    UNREACHABLE,
    URLS,
    Urls,
)
from trading_system.brokers.oanda.session import Behind, PricesSession, TransactionsSession, stream_state
from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType
from trading_system.domain.ids import ClOrdID, InstrumentID, is_ours
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.order import Approved, Order
from trading_system.domain.ports import Budget, Clock, Kinds, Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.domain.times import NS, rfc3339
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.clock import BrokerOffset
from trading_system.transport.http import Http
from trading_system.transport.message import NoAnswer, NotSent, Request, Response, TransportError
from trading_system.transport.ratelimit import RateBudget
from trading_system.transport.supervise import LinkEvent, LinkKind, Supervisor
from trading_system.transport.websocket import Dialer

ANSWER_WITHIN_NS = 10 * NS
TOLD_WITHIN_NS = 2 * NS  # how long the stream waits for what a transaction leaves out; then the desk looks at the account itself
BUDGET_WAIT_MAX_NS = 5 * NS  # a question or a cancel waits this long for the request budget
INSTRUMENTS_EVERY_NS = 60 * NS  # grids are read no oftener
ASKS_MAX = 4  # of one question: no answer, or a passing failure
PAUSE_NS = NS // 2  # before the second; drawn from 0 to this, then twice as much
PAGES_MAX = 200  # of any listing: more is a loop, not an account
ROWS_MAX = 5_000  # orders and trades remembered
_EXTERNAL = "external:"  # what the desk calls an order to which nobody gave a client id
_MINUTE_NS = 60 * NS
_GRANULARITIES = {
    **{seconds * NS: f"S{seconds}" for seconds in (5, 10, 15, 30)},
    **{minutes * _MINUTE_NS: f"M{minutes}" for minutes in (1, 2, 4, 5, 10, 15, 30)},
    **{hours * 60 * _MINUTE_NS: f"H{hours}" for hours in (1, 2, 3, 4, 6, 8, 12)},
    1440 * _MINUTE_NS: "D",
}
_T = TypeVar("_T")


class OandaConnector:
    """Broker and MarketData for one OANDA account."""

    facts = FACTS

    def __init__(
        self,
        *,
        http: Http,
        dialer: Dialer,
        clock: Clock,
        rng: random.Random,
        token: Secret,
        account_id: Secret,
        environment: str,
        options: Mapping[str, str],
    ) -> None:
        self._http = http
        self._dialer = dialer
        self._clock = clock
        self._rng = rng
        self._token = token
        self._account_id = auth.account(account_id)
        self._environment = environment
        self._urls = _urls(environment, options)
        self._guaranteed = options.get("guaranteed_stops") == "true"
        self._budget = RateBudget(REQUESTS_PER_SECOND, NS)
        self._refused = 0  # answers in a row that the budget is spent
        self._questions = asyncio.Semaphore(QUESTIONS_AT_ONCE)
        self._turns: dict[InstrumentID, asyncio.Lock] = {}  # one order of each instrument is under way at a time
        self._look: Callable[[Approved], None] = _no_look
        self._offset = BrokerOffset()
        self._home = ""
        self._seen = 0  # the last transaction that is known
        self._before: OrderedDict[str, int] = OrderedDict()  # by client id: the last transaction before the order left
        self._rows: OrderedDict[str, wire.Order] = OrderedDict()
        self._trades: OrderedDict[str, wire.Trade] = OrderedDict()
        self._filled: OrderedDict[str, None] = OrderedDict()  # orders that had a fill
        self._firsts: OrderedDict[str, str] = OrderedDict()  # the remainder of an order lives on under another id: by it, the first one
        self._listed: dict[InstrumentID, wire.Instrument] = {}
        self._listed_ns: int | None = None

    # -- account ----------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Prove the account's kind by its number, and that the token may use it. Raises AuthFailed: it is of the other kind, or unknown."""
        kind = codec.kind_of(self._account_id)
        account = (await self._ask("/summary", wire.AccountAnswer)).account
        if kind is not None and kind != self._environment:
            hint = "Set TRADING_MODE to what the account is, or OANDA_ACCOUNT_ID to one of the other kind."
            raise AuthFailed(f"account {account.id} is a {kind} account, this desk trades {self._environment}.", hint)
        if kind is None or account.id != self._account_id:
            raise AuthFailed("OANDA_ACCOUNT_ID is no number of a v20 account.", f"It looks like 101-004-1234567-001: {FACTS.pages['keys_paper']}")
        self._home = account.currency
        self._seen = max(self._seen, int(account.lastTransactionID))

    async def aclose(self) -> None:
        await self._http.aclose()

    def skew_ns(self) -> int:
        return self._offset.skew_ns()

    def budgets(self) -> Mapping[str, Budget]:
        now_ns = self._clock.monotonic_ns()
        return {"requests": Budget(self._budget.left(now_ns), self._budget.limit)}

    async def account(self) -> AccountSnapshot:
        """The account at one transaction, and the prices of what it holds. Moneys that it might trade in are asked for with a pair of each."""
        listed = await self._instruments()
        account = (await self._ask("", wire.AccountAnswer)).account
        pairs = {instrument.partition("/")[2]: entry.name for instrument, entry in sorted(listed.items(), reverse=True)}
        names = {
            *(trade.instrument for trade in codec.open_trades(account)),
            *(name for currency, name in pairs.items() if currency != account.currency),
        }
        prices = wire.Prices(prices=())
        if names:
            query = {"instruments": ",".join(sorted(names)), "includeHomeConversions": "true"}
            prices = await self._ask(f"/pricing?{urlencode(query)}", wire.Prices)
        return codec.decode_account(account, prices, self._environment, self._clock.now_ns())

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        listed, hours = await self._instruments(), codec.forex_hours(self._clock.now_ns())
        if not symbols:
            return tuple(found for entry in listed.values() if (found := codec.decode_instrument(entry, hours)) is not None)
        wanted = [(symbol, codec.decode_instrument(listed[symbol], hours) if symbol in listed else None) for symbol in symbols]
        for symbol, instrument in wanted:
            if instrument is None:
                meant = next((one for one in listed if one.replace("/", "") == symbol.replace("/", "").replace("_", "")), None)
                hint = f"write {meant}" if meant not in (None, symbol) else "this version trades currencies and metals, written EUR/USD"
                raise BadRequest(f"OANDA has no {symbol} here: {hint}")
        return tuple(instrument for _, instrument in wanted if instrument is not None)

    async def _instruments(self) -> Mapping[InstrumentID, wire.Instrument]:
        now_ns = self._clock.monotonic_ns()
        if self._listed_ns is None or now_ns - self._listed_ns >= INSTRUMENTS_EVERY_NS:
            found = (await self._ask("/instruments", wire.Instruments)).instruments
            self._listed, self._listed_ns = {codec.instrument_of(entry.name): entry for entry in found}, now_ns
        return self._listed

    # -- orders -----------------------------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Place an order once. A market order's client id is free again as soon as it is filled: a second one would be a second order, so one is
        under way at a time, and what came before it is remembered. Raises Rejected, Unavailable (not sent), InDoubt (sent, no answer), AuthFailed
        (sent, key refused)."""
        body = await self._body(approved)
        turn = self._turns.setdefault(approved.request.instrument, asyncio.Lock())
        async with turn:
            self._look(approved)
            self._remember(self._before, approved.cl_ord_id, self._seen)
            placed = await self._placed("POST", "/orders", body)
        return await self._accepted(placed)

    async def replace(self, approved: Approved) -> ExecutionReport:
        """OANDA cancels the order and makes another in one step, from a complete one."""
        assert approved.orig_order_id is not None
        self._remember(self._before, approved.cl_ord_id, self._seen)
        old = self._current(approved.orig_order_id)
        placed = await self._placed("PUT", f"/orders/{old}", await self._body(approved, old))
        report = await self._accepted(placed)  # that the old one is gone, the log says just before it says that this one is there
        return msgspec.structs.replace(report, exec_type=ExecType.PENDING_NEW, ord_status=OrdStatus.PENDING_NEW)

    async def _body(self, approved: Approved, replaced: str = "") -> wire.OrderBody:
        """What is sent. A trailing stop belongs to a trade, which is looked for first."""
        if approved.request.ord_type is not OrdType.TRAILING_STOP:
            return codec.encode_order(approved, guaranteed=self._guaranteed)
        trades = (await self._ask("/openTrades", wire.Trades)).trades
        for trade in trades:
            self._remember(self._trades, trade.id, trade)
        return codec.encode_trailing(approved, trades, replaced)

    async def _placed(self, method: str, path: str, body: wire.OrderBody) -> wire.Placed:
        response = await self._change(method, path, body)
        if response.status != 201:
            if 200 <= response.status < 300:
                raise InDoubt(f"OANDA answered an order with HTTP {response.status}")
            raise refusal(response, changes=True)
        try:
            return strict.decode(response.body, wire.Placed)
        except wire.UNREADABLE as error:
            raise InDoubt(f"OANDA answered with something that is no order ({error})") from None

    async def _accepted(self, placed: wire.Placed) -> ExecutionReport:
        """The order that was made. Its fills come by the stream, or are found. Raises Rejected: it ended as it was made."""
        created = placed.orderCreateTransaction
        report = await self._created(created)
        end = placed.replacingOrderCancelTransaction or placed.orderCancelTransaction
        if end is not None and end.orderID == created.id:
            row = self._rows[created.id]
            ended = codec.decode_cancel(end, row, report, self._clock.now_ns(), filled=placed.orderFillTransaction is not None)
            if ended.ord_status is OrdStatus.REJECTED:
                raise Rejected(f"OANDA refused: {end.reason}", end.reason)
        if placed.orderFillTransaction is not None:
            codec.decode_fill(placed.orderFillTransaction, report, self._home, self._clock.now_ns())  # what cannot be read is no answer
        return report

    def look_with(self, look: Callable[[Approved], None]) -> None:
        """Called right before an order's bytes leave."""
        self._look = look

    async def cancel(self, order: Order) -> ExecutionReport:
        """Done in the answer; an order that is not there any more is a question. The answer is always how the order stands after it."""
        assert order.order_id is not None
        response = await self._change("PUT", f"/orders/{self._current(order.order_id)}/cancel", None, urgent=True)
        if response.status != 200 and not is_missing(response):
            error = refusal(response, changes=True)
            raise InDoubt(f"the cancel was refused: {error}") if isinstance(error, Rejected) else error
        try:
            report = await self._status(self._current(order.order_id))
        except Unavailable as error:
            raise InDoubt(f"the cancel was sent; how the order stands is not known: {error}") from None
        if report is None:
            raise InDoubt("the cancel was sent; OANDA does not show the order")
        return report

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        """Every order that waits, those of trades included."""
        rows = (await self._ask("/pendingOrders", wire.Orders)).orders
        if any(row.tradeID for row in rows):
            for trade in (await self._ask("/openTrades", wire.Trades)).trades:
                self._remember(self._trades, trade.id, trade)
        return tuple([await self._report(row) for row in rows])

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """By the client id, which names the last order that had it; then in the log, where a refusal stands too."""
        spec = cl_ord_id.removeprefix(_EXTERNAL)
        if not is_ours(cl_ord_id) and spec.isdecimal():
            return await self._status(spec)
        found = await self._status(f"@{cl_ord_id}")
        return await self._scanned(cl_ord_id) if found is None else found

    async def _status(self, spec: str) -> ExecutionReport | None:
        response = await self._get(f"/orders/{percent(spec, safe='')}")
        if is_missing(response):
            return None
        row = self._decoded(response, wire.OrderAnswer).order
        end = fill = None
        if row.cancellingTransactionID:
            end = (await self._ask(f"/transactions/{row.cancellingTransactionID}", wire.TransactionAnswer)).transaction
        if row.fillingTransactionID and (row.tradeID or row.timeInForce == "IOC"):  # of less than the order there may be
            fill = (await self._ask(f"/transactions/{row.fillingTransactionID}", wire.TransactionAnswer)).transaction
        report = await self._report(row, end=end, fill=fill)
        guarded = row.tradeOpenedID and (row.takeProfitOnFill is not None or row.stopLossOnFill is not None)
        return await self._with_exits(report, row.tradeOpenedID) if guarded else report

    async def _with_exits(self, report: ExecutionReport, trade_id: str) -> ExecutionReport:
        """An order, and what waits of its exits: its trade has them."""
        trade = (await self._ask(f"/trades/{trade_id}", wire.TradeAnswer)).trade
        self._remember(self._trades, trade.id, trade)
        rows = [row for row in (trade.takeProfitOrder, trade.stopLossOrder, trade.trailingStopLossOrder) if row is not None]
        return msgspec.structs.replace(report, children=tuple([await self._report(row) for row in rows]))

    async def _scanned(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """What the log says of an order since before it left: it shows at once there."""
        since = self._before.get(cl_ord_id)
        if since is None:  # it left before this desk was started
            found: Sequence[wire.Transaction] = await self._transactions(self._clock.now_ns() - SCAN_BACK_NS)
        else:
            found = (await self._ask(f"/transactions/sinceid?id={since}", wire.Transactions)).transactions
        for transaction in found:
            if transaction.clientExtensions is None or transaction.clientExtensions.id != cl_ord_id:
                continue
            if codec.is_order(transaction):
                return await self._status(transaction.id)
            kind = msgspec.structs.replace(transaction, type=transaction.type.removesuffix("_REJECT"))
            if REASONS.get(transaction.rejectReason) is Meaning.REFUSED and codec.is_order(kind):
                report = codec.decode_created(kind, None, self._clock.now_ns())
                return msgspec.structs.replace(report, order_id=None, ord_status=OrdStatus.REJECTED, text=transaction.rejectReason)
        return None

    async def _report(self, row: wire.Order, *, end: wire.Transaction | None = None, fill: wire.Transaction | None = None) -> ExecutionReport:
        """Translate an order's row, and remember it for its fills: only what could be read."""
        trade = await self._trade(row.tradeID) if row.tradeID else None
        report = codec.decode_order(row, trade, self._clock.now_ns(), end=end, fill=fill)
        self._remember(self._rows, row.id, row)
        return self._named(report)

    def _named(self, report: ExecutionReport) -> ExecutionReport:
        """Under the first id that the order had."""
        first = self._firsts.get(report.order_id or "")
        return report if first is None else msgspec.structs.replace(report, order_id=first)

    def _current(self, order_id: str) -> str:
        """The id that an order goes by now."""
        return next((now for now, first in reversed(self._firsts.items()) if first == order_id), order_id)

    async def _created(self, created: wire.Transaction) -> ExecutionReport:
        trade = await self._trade(created.tradeID) if created.tradeID else None
        report = codec.decode_created(created, trade, self._clock.now_ns())
        self._remember(self._rows, created.id, codec.row_of(created))
        return self._named(report)

    async def _trade(self, trade_id: str) -> wire.Trade:
        known = self._trades.get(trade_id)
        if known is None:
            known = (await self._ask(f"/trades/{trade_id}", wire.TradeAnswer)).trade
            self._remember(self._trades, trade_id, known)
        return known

    @staticmethod
    def _remember(known: OrderedDict[str, _T], name: str, value: _T) -> None:
        known[name] = value
        known.move_to_end(name)
        if len(known) > ROWS_MAX:
            known.popitem(last=False)

    # -- what happened -----------------------------------------------------------------------------------------------------------

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        """Every fill since then, oldest first, each joined with its order's row."""
        found = await self._transactions(since_ns, type="ORDER_FILL")
        return tuple([await self._fill(transaction) for transaction in found if transaction.type == "ORDER_FILL"])

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        """What the log says beside fills. Profits in other moneys need the prices at which the trades began."""
        found = await self._transactions(since_ns)
        wanted = {ended.tradeID for one in found if codec.is_foreign(one, self._home) for ended in codec.trades_ended(one)}
        opened: dict[str, Decimal] = {}
        unknown = sorted(wanted - self._trades.keys(), key=int)
        for start in range(0, len(unknown), TRADES_MAX):
            query = {"ids": ",".join(unknown[start : start + TRADES_MAX]), "state": "ALL", "count": str(TRADES_MAX)}
            for trade in (await self._ask(f"/trades?{urlencode(query)}", wire.Trades)).trades:
                self._remember(self._trades, trade.id, trade)
        for trade_id in wanted:
            opened[trade_id] = codec.decode_opened(await self._trade(trade_id))
        return tuple(flow for transaction in found for flow in codec.decode_flows(transaction, opened, self._home))

    async def _transactions(self, since_ns: int, **more: str) -> list[wire.Transaction]:
        """All pages of the log since then. The pages are addresses; what of them is ours to say is the range alone."""
        query = {"from": rfc3339(max(0, since_ns)), "pageSize": str(TRANSACTIONS_PAGE_MAX), **more}
        pages = (await self._ask(f"/transactions?{urlencode(query)}", wire.TransactionPages)).pages
        if len(pages) > PAGES_MAX:
            raise ProtocolError(f"more than {PAGES_MAX} pages of transactions")
        found: list[wire.Transaction] = []
        for page in pages:
            found += (await self._ask(f"/transactions/idrange?{urlsplit(page).query}", wire.Transactions)).transactions
        return found

    async def _fill(self, transaction: wire.Transaction) -> ExecutionReport:
        self._remember(self._filled, transaction.orderID, None)
        opened = codec.trade_of(transaction)
        if opened is not None:
            self._remember(self._trades, opened.id, opened)
        row = self._rows.get(transaction.orderID)
        if row is None:
            response = await self._get(f"/orders/{percent(transaction.orderID, safe='')}")
            if not is_missing(response):
                row = self._decoded(response, wire.OrderAnswer).order
                self._remember(self._rows, row.id, row)
        order = None
        if row is not None and not row.tradeID:
            order = codec.decode_order(row, None, self._clock.now_ns())
        report = codec.decode_fill(transaction, order, self._home, self._clock.now_ns())
        if row is not None and row.tradeID:
            trade = await self._trade(row.tradeID)
            like = codec.decode_order(row, trade, self._clock.now_ns(), fill=transaction)
            report = codec.decode_fill(transaction, like, self._home, self._clock.now_ns())
        return self._named(report)

    async def _told(self, transaction: wire.Transaction) -> list[ExecutionReport]:
        """What one transaction says of orders."""
        if transaction.type == "ORDER_FILL":
            return [await self._fill(transaction), *await self._shrunk(transaction)]
        if transaction.type == "ORDER_CANCEL":
            row = self._rows.get(transaction.orderID)
            if row is None:
                found = await self._status(transaction.orderID)
                return [] if found is None else [found]
            report = await self._report(row)
            filled = transaction.orderID in self._filled
            return [codec.decode_cancel(transaction, row, report, self._clock.now_ns(), filled=filled)]
        if codec.is_order(transaction):
            self._reissued(transaction)
            return [await self._created(transaction)]
        return []

    async def _shrunk(self, fill: wire.Transaction) -> list[ExecutionReport]:
        """A trade that a fill has reduced, and its orders, which close what is left of it."""
        if fill.tradeReduced is None:
            return []
        trade_id = fill.tradeReduced.tradeID
        trade = (await self._ask(f"/trades/{trade_id}", wire.TradeAnswer)).trade
        self._remember(self._trades, trade_id, trade)
        rows = (trade.takeProfitOrder, trade.stopLossOrder, trade.trailingStopLossOrder)
        return [await self._report(row) for row in rows if row is not None]

    def _reissued(self, created: wire.Transaction) -> None:
        """What is left of an order after a fill of a part is made again, under the same client id and another id: it is the same order."""
        name = "" if created.clientExtensions is None else created.clientExtensions.id
        before = created.replacesOrderID
        if before and name and before in self._filled:
            row = self._rows.get(before)
            if row is not None and row.clientExtensions is not None and row.clientExtensions.id == name:
                self._remember(self._firsts, created.id, self._firsts.get(before, before))

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        """What the log says, without a gap: where the stream has one, or was down, what is missing is asked for by number."""
        session = TransactionsSession(self._urls.stream, self._token, self._account_id, self._seen)
        async for event in Supervisor(session, self._dialer, self._clock, self._rng).run():
            found: Iterable[wire.Transaction] = ()
            whole = True
            if isinstance(event, wire.Transaction):
                found = (event,)
            elif isinstance(event, Behind) or (isinstance(event, LinkEvent) and event.kind is LinkKind.UP):
                if isinstance(event, Behind):  # while it is asked about, the stream is not read: nobody hears what happens
                    yield self._state(Link.GAP, "transactions are missing, and are asked for")
                try:
                    found = (await self._ask(f"/transactions/sinceid?id={session.seen}", wire.Transactions)).transactions
                except Unavailable:  # the next heartbeat says so again
                    whole = False
            for transaction in found:
                session.seen = self._seen = max(session.seen, int(transaction.id))
                try:
                    async with asyncio.timeout(TOLD_WITHIN_NS / NS):
                        reports = await self._told(transaction)
                except (Unavailable, TimeoutError):
                    reports, whole = [], False
                for report in reports:
                    yield report
            if isinstance(event, LinkEvent):
                yield stream_state(event, "orders", self._clock.now_ns())
            if not whole:
                yield self._state(Link.GAP, "what a transaction leaves out could not be asked for")
            if not whole or isinstance(event, Behind):
                yield self._state(Link.LIVE, "the account is looked at anew")

    def _state(self, link: Link, text: str) -> StreamState:
        return StreamState(broker=FACTS.broker, stream="orders", link=link, text=text, recv_ns=self._clock.now_ns())

    # -- market data --------------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        """The price holds at the time of the answer, however long ago it came up."""
        prices = await self._ask(f"/pricing?{urlencode({'instruments': codec.symbol_of(instrument)})}", wire.Prices)
        for price in prices.prices:
            return codec.decode_quote(price, self._clock.now_ns(), codec.decode_time(prices.time) if prices.time else None)
        raise BadRequest(f"OANDA has no price of {instrument}")

    async def trade(self, instrument: InstrumentID) -> Trade:
        """Raises BadRequest: OANDA is the other side of every trade, and tells nobody's."""
        raise BadRequest(f"OANDA tells no trades of {instrument}, only prices")

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        """Raises BadRequest: OANDA keeps no prices of the past but in bars."""
        raise BadRequest(f"OANDA keeps no history of quotes; there are bars of {instrument}, from 5 s up")

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        """Raises BadRequest: OANDA tells no trades."""
        raise BadRequest(f"OANDA tells no trades of {instrument}, only prices; there are bars")

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        """Of middle prices; there is none for a time without one. What still runs is left out."""
        if period_ns not in _GRANULARITIES:
            raise BadRequest(f"OANDA has bars of {', '.join(_GRANULARITIES.values())}")
        found: dict[int, Bar] = {}
        from_ns = start_ns
        for _ in range(PAGES_MAX):
            if from_ns >= end_ns:
                break
            query = {"granularity": _GRANULARITIES[period_ns], "price": "M", "from": rfc3339(from_ns), "count": str(CANDLES_MAX)}
            page = (await self._ask_host(f"/v3/instruments/{codec.symbol_of(instrument)}/candles?{urlencode(query)}", wire.Candles)).candles
            bars = [codec.decode_candle(candle, instrument, period_ns) for candle in page if candle.complete]
            found |= {bar.open_ns: bar for bar in bars}
            if len(page) < CANDLES_MAX:
                break
            from_ns = codec.decode_time(page[-1].time) + 1
        else:
            raise ProtocolError(f"more than {PAGES_MAX} pages of candles")
        return tuple(found[open_ns] for open_ns in sorted(found) if start_ns <= open_ns < end_ns)

    async def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        """Quotes. Raises BadRequest: OANDA streams nothing else."""
        if not kinds.quotes:
            raise BadRequest("OANDA streams quotes alone; there are bars by question")
        session = PricesSession(self._urls.stream, self._token, self._account_id, instruments)
        async for event in Supervisor(session, self._dialer, self._clock, self._rng).run():
            if isinstance(event, Quote):
                yield event
            elif isinstance(event, LinkEvent):
                yield stream_state(event, "prices", self._clock.now_ns())

    # -- the wire -------------------------------------------------------------------------------------------------------------------

    async def _change(self, method: str, path: str, body: wire.OrderBody | None, *, urgent: bool = False) -> Response:
        """One request that changes something, sent once. Raises Unavailable: not sent. InDoubt: sent, no answer."""
        await self._afford(urgent=urgent)
        content = {"Content-Type": "application/json", **auth.headers(self._token)}
        url = f"{self._urls.rest}/v3/accounts/{self._account_id}{path}"
        request = Request(method=method, url=url, headers=content, body=b"" if body is None else msgspec.json.encode(body))
        try:
            response = await self._http.send(request, within_ns=ANSWER_WITHIN_NS)
        except NotSent as error:
            raise Unavailable(f"OANDA could not be reached, nothing was sent: {error}. {UNREACHABLE}") from None
        except NoAnswer as error:
            raise InDoubt(f"OANDA did not answer: {error}. The desk asks what became of it; do not send it again") from None
        self._learn(response)
        return response

    async def _ask(self, path: str, kind: type[_T]) -> _T:
        return self._decoded(await self._get(path), kind)

    async def _ask_host(self, path: str, kind: type[_T]) -> _T:
        return self._decoded(await self._get_url(self._urls.rest + path), kind)

    async def _get(self, path: str) -> Response:
        return await self._get_url(f"{self._urls.rest}/v3/accounts/{self._account_id}{path}")

    async def _get_url(self, url: str) -> Response:
        """One question, asked again when it got no answer or a passing refusal. Raises Unavailable."""
        request = Request(method="GET", url=url, headers=auth.headers(self._token))
        async with self._questions:
            for asked in range(1, ASKS_MAX + 1):
                await self._afford(urgent=True)
                sent_ns = self._clock.now_ns()
                try:
                    response = await self._http.send(request, within_ns=ANSWER_WITHIN_NS)
                except TransportError as error:
                    if asked == ASKS_MAX:
                        raise Unavailable(f"OANDA could not be asked: {error}. {UNREACHABLE}") from None
                else:
                    self._learn(response)
                    with suppress(ValueError):  # a date that nobody can read teaches nothing
                        self._offset.learn_date(response.headers.get("date", ""), sent_ns, self._clock.now_ns())
                    if (response.status < 500 and response.status != 429) or asked == ASKS_MAX:
                        return response
                await self._clock.sleep_ns(self._rng.randrange(PAUSE_NS * 2 ** (asked - 1)))
        raise AssertionError("the loop returns or raises")

    def _decoded(self, response: Response, kind: type[_T]) -> _T:
        if response.status != 200:
            raise refusal(response, changes=False)
        try:
            return strict.decode(response.body, kind)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"OANDA's answer cannot be read ({error})", response.body) from None

    def _learn(self, response: Response) -> None:
        """No header says what is left: a refusal is all that one hears, and each one more doubles the pause."""
        if response.status != 429:
            self._refused = 0
            return
        pause_s = PAUSE_S * 2 ** min(self._refused, 4)
        self._refused += 1
        self._budget.learn(429, {"retry-after": str(pause_s)}, self._clock.monotonic_ns(), self._clock.now_ns())

    async def _afford(self, *, urgent: bool) -> None:
        """Wait for the request budget, but not for long, and with an order not at all: the desk has looked at the halts for the last time.
        Raises RateLimited: nothing was sent."""
        waited_ns = 0
        while wait_ns := self._budget.wait_ns(self._clock.monotonic_ns(), urgent=urgent):
            waited_ns += wait_ns
            if not urgent or waited_ns > BUDGET_WAIT_MAX_NS:
                told = f"Wait {-(-wait_ns // NS)} s; the budget is {REQUESTS_PER_SECOND} requests a second."
                raise RateLimited(f"OANDA's request budget is spent. {told} {BUDGET_HELP}", wait_ns)
            await self._clock.sleep_ns(wait_ns)
        self._budget.take(self._clock.monotonic_ns())


def _urls(environment: str, options: Mapping[str, str]) -> Urls:
    """OANDA's hosts, or one port of a twin for both of them."""
    url = options.get("url")
    return URLS[environment] if url is None else Urls(rest=url, stream=url)


def _no_look(_: Approved) -> None:
    """Nobody halts anything where there is no desk."""
