"""Tradier behind the port: joins codec, sessions and errors to transport. Async, as feeds.py is; all else is pure."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec.structs import replace as changed

from trading_system.brokers.amends import Amend, Amends
from trading_system.brokers.tradier import auth, codec, wire
from trading_system.brokers.tradier.errors import counted, is_not_found, is_over, is_page, refusal, sentences
from trading_system.brokers.tradier.executed import Executed
from trading_system.brokers.tradier.facts import (
    ACCOUNT_STREAM,
    FACTS,
    HELP,
    HISTORY_PAGE,
    LIVE,
    MARKET_STREAM,
    NAME,
    ORDERS_PER_MINUTE,
    POLL_QUOTES_NS,
    REQUESTS_PER_MINUTE,
    SANDBOX_FEED,
    SESSION,
    UNREACHABLE,
    URLS,
    Urls,
)
from trading_system.brokers.tradier.feeds import Feed, Subscription
from trading_system.brokers.tradier.session import AccountSession, MarketLines, MarketSession, stream_state
from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.errors import NotSent as Stopped
from trading_system.domain.fix import OrdStatus
from trading_system.domain.hours import Hours, MarketClock
from trading_system.domain.ids import ClOrdID, InstrumentID, is_ours
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ZERO
from trading_system.domain.option import OptionSnapshot, Right, is_option, underlying_of
from trading_system.domain.order import Approved, Order
from trading_system.domain.portfolio import ClosedPosition
from trading_system.domain.ports import Budget, Clock, Kinds, Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.domain.search import Match, matching
from trading_system.domain.times import NS
from trading_system.settings.secret import Secret
from trading_system.transport.clock import BrokerOffset
from trading_system.transport.http import Http, get_with_retry
from trading_system.transport.message import NoAnswer, NotSent, Refused, Request, Response, TransportError
from trading_system.transport.ratelimit import RateBudget
from trading_system.transport.supervise import LinkEvent, Supervisor
from trading_system.transport.websocket import Connection, Dialer

ANSWER_WITHIN_NS = 10 * NS
BUDGET_WAIT_MAX_NS = 5 * NS  # a question or a cancel waits this long for the request budget
PAGES_MAX = 200  # of any listing: more is a loop, not an account
ROWS_MAX = 5_000  # orders whose names and reports are remembered
WAITING_MAX = 10_000  # events that nobody has read
CALENDAR_DAYS = 10  # so far ahead the sessions are known
_DAY_NS = 86_400 * NS
_MINUTE_NS = 60 * NS
_INTERVALS = {_MINUTE_NS: "1min", 5 * _MINUTE_NS: "5min", 15 * _MINUTE_NS: "15min"}
_PERIODS = {_DAY_NS: "daily", 7 * _DAY_NS: "weekly"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_EXTERNAL = "external:"  # how the desk calls an order by Tradier's number
_RANK = {OrdStatus.PENDING_NEW: 0, OrdStatus.SUSPENDED: 0, OrdStatus.NEW: 1, OrdStatus.PARTIALLY_FILLED: 2, OrdStatus.PENDING_CANCEL: 2}
_OVER = 3
_T = TypeVar("_T")


class TradierConnector:
    """Broker and MarketData for one Tradier account."""

    facts = FACTS

    def __init__(
        self, *, http: Http, dialer: Dialer, clock: Clock, rng: random.Random, token: Secret, environment: str, options: Mapping[str, str]
    ) -> None:
        self._http = http
        self._dialer = dialer
        self._clock = clock
        self._rng = rng
        self._token = token
        self._environment = environment
        self._urls = _urls(environment, options)
        self._wanted_account = options.get("account_id", "")
        self._by_http = options.get("market_stream") == "http"
        self._delay_ns = codec.delay_of(environment)
        self._budget = RateBudget(REQUESTS_PER_MINUTE[environment], _MINUTE_NS)
        self._data_budget = RateBudget(REQUESTS_PER_MINUTE[environment], _MINUTE_NS)
        self._order_budget = RateBudget(ORDERS_PER_MINUTE, _MINUTE_NS)
        self._offset = BrokerOffset()
        self._profile: wire.ProfileAccount | None = None
        self._turns: dict[InstrumentID, asyncio.Lock] = {}
        self._look: Callable[[Approved], None] = _no_look
        self._names: OrderedDict[str, ClOrdID] = OrderedDict()  # by Tradier's number: what the desk calls the order; "": nobody's of ours
        self._ids: OrderedDict[ClOrdID, str] = OrderedDict()  # and back
        self._parents: OrderedDict[str, str] = OrderedDict()  # a part's number: its parent's
        self._heads: OrderedDict[str, str] = OrderedDict()  # of linked orders: the number of the part that the order itself is
        self._reports: OrderedDict[str, ExecutionReport] = OrderedDict()  # how each order stood at the last look
        self._open: dict[str, None] = {}  # numbers of orders that are not over, as far as is known
        self._changed: set[str] = set()  # orders that were changed and not looked at since
        self._news: dict[str, list[wire.AccountEvent]] = {}  # what the stream said of orders that are to be asked about
        self._doubled: set[str] = set()  # orders under another's tag that were told of
        self._executed = Executed()
        self._amends = Amends("ord_type", "price")
        self._hours: Hours | None = None
        self._easy: frozenset[str] = frozenset()
        self._listed: tuple[wire.Security, ...] = ()
        self._easy_until_ns = 0
        self._feed: Feed | None = None

    # -- account ----------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Find the account and prove its kind before anything else. Raises AuthFailed: unknown token, another kind, none named of several."""
        body = await self._ask("/v1/user/profile", {})
        accounts = self._decoded(body, lambda raw: wire.rows(raw, "profile", "account", wire.ProfileAccount))
        found = [account for account in accounts if self._wanted_account in ("", account.account_number)]
        if len(found) != 1:
            names = ", ".join(account.account_number for account in accounts) or "none"
            raise AuthFailed(f"this token has the accounts {names}.", f"Set TRADIER_ACCOUNT_ID to the one that this desk shall trade. {HELP[401]}")
        kind = codec.environment_of(found[0].account_number)
        if kind != self._environment:
            hint = f"Set TRADING_MODE to what the token is for: sandbox accounts begin with VA. {HELP[401]}"
            raise AuthFailed(f"account {found[0].account_number} is a {kind} account, this desk trades {self._environment}.", hint)
        self._profile = found[0]

    async def aclose(self) -> None:
        await self._http.aclose()

    def skew_ns(self) -> int:
        return self._offset.skew_ns()

    def budgets(self) -> Mapping[str, Budget]:
        now_ns = self._clock.monotonic_ns()
        return {
            "account": Budget(self._budget.left(now_ns), self._budget.limit),
            "data": Budget(self._data_budget.left(now_ns), self._data_budget.limit),
            "orders": Budget(self._order_budget.left(now_ns), self._order_budget.limit),
        }

    def _path(self, what: str) -> str:
        assert self._profile is not None, "connect() comes first"
        return f"/v1/accounts/{self._profile.account_number}/{what}"

    async def account(self) -> AccountSnapshot:
        """Balances and positions are two reads; what the positions are worth is a third."""
        assert self._profile is not None
        balances = self._decoded(await self._ask(self._path("balances"), {}), lambda raw: wire.one(raw, "balances", wire.Balances))
        body = await self._ask(self._path("positions"), {})
        positions = self._decoded(body, lambda raw: wire.rows(raw, "positions", "position", wire.Position))
        quotes = await self._quotes([position.symbol for position in positions]) if positions else []
        marks = {quote.symbol: quote for quote in quotes}
        return codec.decode_account(self._profile, balances, positions, marks, self._clock.now_ns())

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        """Named ones by their quotes. All: the list of what is easy to borrow, which is the only list that Tradier has."""
        hours = await self._stock_hours()
        easy = await self._easy_to_borrow()
        if not symbols:
            return tuple(codec.decode_security(security, hours) for security in self._listed if codec.is_stock(security))
        found = {quote.symbol: quote for quote in await self._quotes([codec.encode_symbol(symbol) for symbol in symbols])}
        instruments = []
        for symbol in symbols:
            quote = found.get(codec.encode_symbol(symbol))
            if quote is None or "/" in symbol:
                raise _unknown(symbol)
            within = hours if quote.type != "option" else changed(hours, extended=())
            instruments.append(codec.decode_instrument(quote, within, shortable=quote.symbol in easy))
        return tuple(instruments)

    async def search(self, text: str) -> tuple[Match, ...]:
        """Stocks and funds, by Tradier's own search."""
        body = await self._ask_data("/v1/markets/search", {"q": text})
        found = self._decoded(body, lambda raw: wire.rows(raw, "securities", "security", wire.Security))
        return matching(text, [codec.decode_match(security) for security in found if codec.is_stock(security)])

    async def _easy_to_borrow(self) -> frozenset[str]:
        now_ns = self._clock.monotonic_ns()
        if not self._listed or now_ns >= self._easy_until_ns:
            body = await self._ask_data("/v1/markets/etb", {})
            self._listed = tuple(self._decoded(body, lambda raw: wire.rows(raw, "securities", "security", wire.Security)))
            self._easy, self._easy_until_ns = frozenset(security.symbol for security in self._listed), now_ns + _DAY_NS
        return self._easy

    async def _stock_hours(self) -> Hours:
        """This month's sessions, and the next one's where that is near."""
        now_ns = self._clock.now_ns()
        if self._hours is None or now_ns >= self._hours.known_until_ns:
            first = codec.new_york_day(now_ns)
            months = dict.fromkeys((day.year, day.month) for day in (first, first + timedelta(days=CALENDAR_DAYS)))
            days: list[wire.CalendarDay] = []
            for year, month in months:
                body = await self._ask_data("/v1/markets/calendar", {"month": f"{month:02d}", "year": str(year)})
                days += self._decoded(body, codec.calendar_rows)
            shown = [day for day in days if first <= codec.decode_date(day.date) <= first + timedelta(days=CALENDAR_DAYS)]
            self._hours = codec.decode_calendar(shown, now_ns + _DAY_NS)
        return self._hours

    # -- orders -----------------------------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Place an order once: "ok" means received.

        An order whose answer is lost can only be told by its tag, which anybody may use again: while one is under way no other leaves for the same
        instrument. Raises Rejected, Unavailable (not sent), InDoubt (sent, no answer), AuthFailed (sent, token refused).
        """
        async with self._turn(approved):
            placed = self._placed(await self._change("POST", self._path("orders"), await self._form(approved)))
        order_id = str(placed.id)
        self._name(order_id, approved.cl_ord_id)
        self._open[order_id] = None
        return codec.decode_placed(approved, placed.id, self._clock.now_ns())

    async def _form(self, approved: Approved) -> Mapping[str, str]:
        duration = codec.duration_at(await self._stock_hours(), self._clock.now_ns()) if approved.request.extended_hours else ""
        return codec.encode_order(approved, duration)

    async def validate(self, approved: Approved) -> str:
        """preview=true: the order is priced and checked, and nothing comes of it."""
        assert approved.dry_run
        form = {**await self._form(approved), "preview": "true"}
        try:
            response = await self._change("POST", self._path("orders"), form)
            if response.status != 200 or sentences(response.body):
                raise refusal(response, changes=True)
            preview = self._answered(response, lambda raw: wire.one(raw, "order", wire.Preview))
        except InDoubt as error:
            raise Unavailable(f"Tradier's preview did not say ({error})") from None
        if preview.id is not None:
            raise ProtocolError("Tradier placed what it was only to preview", str(preview.id).encode())
        if preview.result is False:
            raise Rejected("Tradier's preview says that it would refuse the order")
        told = {"cost": preview.cost, "commission": preview.commission, "margin change": preview.margin_change}
        return ", ".join(f"{name} {value} USD" for name, value in told.items() if value is not None) or "no figures"

    async def replace(self, approved: Approved) -> ExecutionReport:
        """Tradier changes type, duration and prices, and goes on calling the order what it was; of linked ones each part under its own number.
        Raises Rejected: it changes no quantity."""
        order_id = approved.orig_order_id
        assert order_id is not None
        known = self._reports.get(order_id) or await self._status(order_id)
        if known is None:
            raise Rejected("Tradier does not know the order that was to change")
        if known.order_qty != approved.request.order_qty:
            raise Rejected("Tradier changes no order's quantity: cancel it, then place the rest")
        async with self._turn(approved):
            self._amends.begin(Amend(cl_ord_id=approved.cl_ord_id, order_id=order_id, wish=approved.request))
            try:
                part = self._heads.get(order_id, order_id)
                response = await self._change("PUT", self._path(f"orders/{part}"), codec.encode_change(approved.request))
                if is_over(response) or is_not_found(response):
                    raise Rejected(f"there is nothing left to change: {response.body[:200].decode('utf-8', 'replace')}")
                self._placed(response)
            except (Rejected, Stopped, Unavailable):
                self._amends.settle(approved.cl_ord_id)
                raise
            self._amends.settle(approved.cl_ord_id)
        self._changed.add(order_id)
        self._remember(self._ids, approved.cl_ord_id, order_id)
        return codec.decode_placed(approved, int(order_id), self._clock.now_ns())

    def look_with(self, look: Callable[[Approved], None]) -> None:
        """Called right before the bytes of an order leave that had to wait."""
        self._look = look

    def recall(self, orders: Iterable[Order]) -> None:
        """Names, numbers and executions that an earlier run knew, and changes that it was in doubt about."""
        known = tuple(orders)
        numbers = {order.cl_ord_id: order.order_id for order in known if order.order_id is not None}
        for order in known:
            if order.order_id is None:
                continue
            self._remember(self._ids, order.cl_ord_id, order.order_id)
            if not order.external and is_ours(order.cl_ord_id):
                self._names.setdefault(order.order_id, order.cl_ord_id)
            if order.parent is not None and order.parent in numbers:
                self._remember(self._parents, str(order.order_id), str(numbers[order.parent]))
            elif not order.ord_status.terminal:
                self._open[order.order_id] = None
        self._executed.recall(known)
        self._amends.recall(known)

    async def cancel(self, order: Order) -> ExecutionReport:
        """200 is a request, not a cancel; an order that is over or unknown is a question. The answer is always how the order stands after it."""
        assert order.order_id is not None
        response = await self._change("DELETE", self._path(f"orders/{order.order_id}"), None, urgent=True)
        if not (is_over(response) or is_not_found(response)) and (response.status != 200 or sentences(response.body) or is_page(response.body)):
            raise refusal(response, changes=True)
        try:
            report = await self._status(order.order_id)
        except (Unavailable, BadRequest) as error:
            raise InDoubt(f"the cancel was sent; how the order stands is not known: {error}") from None
        if report is None:
            raise InDoubt("the cancel was sent; Tradier does not say how the order stands")
        return report

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        """Everything that is not over, parts of others by themselves. The list is today's: what is open and not on it is asked for by its number."""
        found = []
        for row in await self._today():
            report = self._take(row)
            standing = [report, *report.children]
            if any(not one.ord_status.terminal for one in standing):
                found += [one for one in (report, *self._children(report)) if not one.ord_status.terminal or one is report]
        return tuple(found)

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """By its number where that is known; else by its tag, among today's orders. A change without an answer is looked for in its order."""
        amend = self._amends.get(cl_ord_id)
        if amend is not None:
            return await self._amend_status(amend)
        order_id = self._ids.get(cl_ord_id) or (cl_ord_id.removeprefix(_EXTERNAL) if cl_ord_id.startswith(_EXTERNAL) else None)
        if order_id is not None:
            return await self._status(order_id)
        for row in await self._listing():
            report = self._take(row)
            if report.cl_ord_id == cl_ord_id:
                return report
        return None

    async def _amend_status(self, amend: Amend) -> ExecutionReport | None:
        """A changed order's row says no more than how it stands."""
        report = await self._status(amend.order_id)
        found = None if report is None else self._amends.found(amend, report)
        if found is not None:
            self._amends.settle(amend.cl_ord_id)
            self._remember(self._ids, amend.cl_ord_id, str(amend.order_id))
        return found

    async def _status(self, order_id: str) -> ExecutionReport | None:
        """How an order or a part of one stands; None: Tradier does not know it."""
        row = await self._order(self._parents.get(order_id, order_id))
        if row is None:
            return None
        report = self._take(row)
        return next((one for one in (report, *self._children(report)) if one.order_id == order_id), None)

    async def _order(self, order_id: str) -> wire.Order | None:
        response = await self._get(self._path(f"orders/{order_id}"), {"includeTags": "true"}, self._budget)
        if is_not_found(response):
            self._open.pop(order_id, None)
            return None
        return self._decoded(_good(response), lambda raw: wire.one(raw, "order", wire.Order))

    async def _listing(self) -> list[wire.Order]:
        """Today's orders, all pages, the oldest first."""
        rows: dict[int, wire.Order] = {}
        for page in range(1, PAGES_MAX + 1):
            body = await self._ask(self._path("orders"), {"includeTags": "true", "page": str(page)})
            found = self._decoded(body, lambda raw: wire.rows(raw, "orders", "order", wire.Order))
            pages = self._decoded(body, lambda raw: msgspec.json.decode(wire.inside(raw, "orders", "total_pages") or b"1", type=int))
            rows |= {row.id: row for row in found}
            if page >= pages or not found:
                return [rows[number] for number in sorted(rows)]
        raise ProtocolError(f"more than {PAGES_MAX} pages of orders")

    async def _today(self) -> list[wire.Order]:
        """Today's orders, and those from before that are still open."""
        rows = await self._listing()
        listed = {str(row.id) for row in rows}
        for order_id in [number for number in self._open if number not in listed]:
            row = await self._order(order_id)
            if row is not None:
                rows.append(row)
        return rows

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        """Every execution of today's orders and of the open ones, oldest first. Tradier names none: executed.py tells them apart."""
        found = []
        for row in await self._today():
            found += self._parts(row, self._take(row))
        return tuple(part for part in sorted(found, key=lambda one: one.transact_ns) if part.transact_ns >= since_ns)

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        """The account's history, which is written at night. The sandbox keeps none."""
        if self._environment != LIVE:
            return ()
        events: list[tuple[wire.HistoryEvent, wire.HistoryDetail]] = []
        for page in range(1, PAGES_MAX + 1):
            query = {"page": str(page), "limit": str(HISTORY_PAGE), "start": codec.new_york_day(max(0, since_ns)).isoformat()}
            body = await self._ask(self._path("history"), query)
            found = self._decoded(body, codec.history_rows)
            events += found
            if len(found) < HISTORY_PAGE:
                return tuple(sorted(codec.decode_history(events), key=lambda flow: flow.transact_ns))
        raise ProtocolError(f"more than {PAGES_MAX} pages of history")

    async def gains(self, count: int) -> tuple[ClosedPosition, ...]:
        """What was closed, the newest first. It is written at night: nothing of today is there."""
        query = {"page": "1", "limit": str(count), "sortBy": "closeDate", "sort": "desc"}
        body = await self._ask(self._path("gainloss"), query)
        return tuple(map(codec.decode_closed, self._decoded(body, lambda raw: wire.rows(raw, "gainloss", "closed_position", wire.ClosedPosition))))

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        """An event wakes; what happened the order's row says. It is asked for beside the stream, so that a question that hangs hides no line that
        drops. After each LIVE the desk reads again what the stream did not tell."""
        told: asyncio.Queue[ExecutionReport | StreamState | DeskError | None] = asyncio.Queue(WAITING_MAX)
        woken: asyncio.Queue[str] = asyncio.Queue(WAITING_MAX)
        tasks = [asyncio.create_task(work, name="orders tradier") for work in (self._listen(told, woken), self._ask_about(told, woken))]
        try:
            while (event := await told.get()) is not None:
                if isinstance(event, DeskError):
                    raise event
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _listen(self, told: "asyncio.Queue[ExecutionReport | StreamState | DeskError | None]", woken: "asyncio.Queue[str]") -> None:
        """The stream itself: its state is told at once, orders are asked about."""
        session = AccountSession(self._urls.account_stream + ACCOUNT_STREAM)
        dialer = _TicketDialer(self._dialer, session, lambda: self._ticket(ACCOUNT_STREAM, self._budget))
        try:
            async for event in Supervisor(session, dialer, self._clock, self._rng).run():
                if isinstance(event, wire.AccountEvent):
                    order_id = str(event.parent_id or event.id)
                    if order_id not in self._news:
                        await woken.put(order_id)
                    self._news.setdefault(order_id, []).append(event)
                else:
                    assert isinstance(event, LinkEvent)
                    await told.put(stream_state(event, "orders", self._clock.now_ns()))
        except DeskError as error:
            await told.put(error)
        else:
            await told.put(None)

    async def _ask_about(self, told: "asyncio.Queue[ExecutionReport | StreamState | DeskError | None]", woken: "asyncio.Queue[str]") -> None:
        """What is new about the orders that events name, one after the other. What cannot be asked now, the desk's own look finds."""
        while True:
            order_id = await woken.get()
            if not any(map(self._is_news, self._news.pop(order_id, ()))):
                continue  # a burst of events is one question
            try:
                row = await self._order(order_id)
                if row is not None:
                    report = self._take(row)
                    for one in (*self._parts(row, report), report):
                        await told.put(one)
            except (Unavailable, BadRequest):
                pass
            except DeskError as error:
                await told.put(error)

    def _is_news(self, event: wire.AccountEvent) -> bool:
        """Whether it says more than the last look did."""
        known = self._reports.get(str(event.id))
        if known is None or str(event.id) in self._changed:
            return True
        filled = event.executed_quantity if event.executed_quantity is not None else event.exec_quantity
        further = _RANK.get(codec.decode_status(event.status), _OVER) > _RANK.get(known.ord_status, _OVER)
        return further or (filled or ZERO) > (known.cum_qty or ZERO)

    # -- what a row says ------------------------------------------------------------------------------------------------------------

    def _take(self, row: wire.Order) -> ExecutionReport:
        """Translate a row under the name that the desk has for it, and remember it."""
        number = str(row.id)
        self._changed.discard(number)
        report = codec.decode_order(row, self._name_of(row), self._clock.now_ns())
        head = codec.head_of(row)
        if head is not row:
            self._remember(self._heads, number, str(head.id))
        for leg in row.legs:
            self._changed.discard(str(leg.id))
            self._remember(self._parents, str(leg.id), number)
        self._remember(self._reports, number, report)
        for place, leg in enumerate(leg for leg in row.legs if leg is not head):
            self._remember(self._reports, str(leg.id), report.children[place])
        if all(one.ord_status.terminal for one in (report, *report.children)):
            self._open.pop(number, None)
        else:
            self._open[number] = None
        return report

    def _name_of(self, row: wire.Order) -> ClOrdID:
        """A tag names the first order that came with it, and no other. Other people's tags name nothing.

        Raises: ProtocolError: a second order under one of our tags; said once, because it needs a person. It counts as somebody else's.
        """
        number = str(row.id)
        known = self._names.get(number)
        if known is not None:
            return known
        tag = ClOrdID(row.tag or next((leg.tag for leg in row.legs if leg.tag), ""))
        if not is_ours(tag):
            return ClOrdID("")
        owner = self._ids.get(tag)
        if owner is None or owner == number:
            self._name(number, tag)
            return tag
        if number not in self._doubled:
            self._doubled.add(number)
            raise ProtocolError(f"order {number} has the tag of order {owner}: it was placed twice, cancel one of them", tag.encode())
        return ClOrdID("")

    def _name(self, number: str, cl_ord_id: ClOrdID) -> None:
        self._remember(self._names, number, cl_ord_id)
        self._remember(self._ids, cl_ord_id, number)

    @staticmethod
    def _children(report: ExecutionReport) -> list[ExecutionReport]:
        """The parts of one, each with what it is a part of."""
        parent = report.cl_ord_id or ClOrdID(f"{_EXTERNAL}{report.order_id}")
        return [changed(child, parent=parent) for child in report.children]

    def _parts(self, row: wire.Order, report: ExecutionReport) -> list[ExecutionReport]:
        """What was filled of it, part by part. Of a multileg order its legs are."""
        head = codec.head_of(row)
        rows = [] if row.order_class in codec.WHOLE else [(head, report)]
        rows += zip((leg for leg in row.legs if leg is not head), self._children(report), strict=True)
        return [codec.decode_part(part, of) for one, of in rows for part in self._executed.learn(one, of.transact_ns)]

    @staticmethod
    def _remember(known: OrderedDict[Any, _T], key: str, value: _T) -> None:
        known[key] = value
        known.move_to_end(key)
        if len(known) > ROWS_MAX:
            known.popitem(last=False)

    # -- market data --------------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        return codec.decode_quote(await self._quote_of(instrument), self._clock.now_ns(), delay_ns=self._delay_ns)

    async def trade(self, instrument: InstrumentID) -> Trade:
        last = codec.decode_last(await self._quote_of(instrument), self._clock.now_ns(), delay_ns=self._delay_ns)
        if last is None:
            raise BadRequest(f"Tradier has no trade of {instrument}")
        return last

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        raise BadRequest("Tradier keeps no history of quotes")

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        """Of the last five days; their times are cut to the second."""
        sales = await self._sales(instrument, "tick", start_ns, end_ns)
        return tuple(codec.decode_sale(sale, instrument, self._clock.now_ns()) for sale in sales if start_ns <= sale.timestamp * NS < end_ns)

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        if period_ns in _INTERVALS:
            sales = await self._sales(instrument, _INTERVALS[period_ns], start_ns, end_ns)
            found = [codec.decode_bar(sale, instrument, period_ns) for sale in sales]
        elif period_ns in _PERIODS:
            days = {"start": codec.new_york_day(start_ns).isoformat(), "end": codec.new_york_day(end_ns).isoformat()}
            body = await self._ask_data("/v1/markets/history", {"symbol": codec.encode_symbol(instrument), "interval": _PERIODS[period_ns], **days})
            rows = self._decoded(body, lambda raw: wire.rows(raw, "history", "day", wire.Day))
            found = [codec.decode_day(row, instrument, period_ns) for row in rows]
        else:
            raise BadRequest("Tradier has bars of 1, 5 and 15 minutes, days and weeks")
        return tuple(bar for bar in found if start_ns <= bar.open_ns < end_ns)

    async def _sales(self, instrument: InstrumentID, interval: str, start_ns: int, end_ns: int) -> list[wire.TimeSale]:
        span = {"start": codec.new_york_minute(start_ns), "end": codec.new_york_minute(end_ns + _MINUTE_NS)}
        query = {"symbol": codec.encode_symbol(instrument), "interval": interval, "session_filter": "all", **span}
        return self._decoded(await self._ask_data("/v1/markets/timesales", query), lambda raw: wire.rows(raw, "series", "data", wire.TimeSale))

    async def expiries(self, underlying: InstrumentID) -> tuple[date, ...]:
        body = await self._ask_data("/v1/markets/options/expirations", {"symbol": codec.encode_symbol(underlying)})
        days = self._decoded(body, lambda raw: wire.rows(raw, "expirations", "date", str))
        return tuple(sorted(map(codec.decode_date, days)))

    async def chain(self, underlying: InstrumentID, expiry: date, right: Right | None = None) -> tuple[OptionSnapshot, ...]:
        query = {"symbol": codec.encode_symbol(underlying), "expiration": expiry.isoformat(), "greeks": "true"}
        body = await self._ask_data("/v1/markets/options/chains", query)
        quotes = self._decoded(body, lambda raw: wire.rows(raw, "options", "option", wire.Quote))
        lines = [codec.decode_snapshot(quote, self._clock.now_ns(), delay_ns=self._delay_ns) for quote in quotes]
        wanted = [line for line in lines if right in (None, line.contract.right)]
        return tuple(sorted(wanted, key=lambda line: (line.contract.strike, line.contract.right)))

    async def strikes(self, underlying: InstrumentID, expiry: date) -> tuple[Decimal, ...]:
        query = {"symbol": codec.encode_symbol(underlying), "expiration": expiry.isoformat()}
        return self._decoded(await self._ask_data("/v1/markets/options/strikes", query), codec.decode_strikes)

    async def market_clock(self) -> MarketClock:
        hours = await self._stock_hours()
        shown = self._decoded(await self._ask_data("/v1/markets/clock", {}), lambda raw: wire.one(raw, "clock", wire.Clock))
        return codec.decode_clock(shown, hours)

    async def _quotes(self, symbols: Sequence[str]) -> list[wire.Quote]:
        body = await self._ask_data("/v1/markets/quotes", {"symbols": ",".join(symbols)})
        return self._decoded(body, lambda raw: wire.rows(raw, "quotes", "quote", wire.Quote))

    async def _quote_of(self, instrument: InstrumentID) -> wire.Quote:
        found = await self._quotes([codec.encode_symbol(instrument)])
        if not found:
            raise _unknown(instrument)
        return found[0]

    async def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        """One stream for all subscriptions; in the sandbox, which has none, prices are asked for. Raises BadRequest: bars, which do not stream."""
        if kinds.bars:
            raise BadRequest("Tradier streams no bars; `trading bars` reads them")
        if not self._urls.market_stream:
            async for polled in self._poll(instruments, kinds):
                yield polled
            return
        reader, feed = Subscription(instruments, kinds), self._stream()
        try:
            await feed.join(reader)
            async for event in reader:
                yield event
        finally:
            await feed.leave(reader)

    def _stream(self) -> Feed:
        if self._feed is None:
            lines, socket = (url + MARKET_STREAM for url in (self._urls.market_lines, self._urls.market_stream))
            session = MarketLines(lines) if self._by_http else MarketSession(socket)
            dialer = _TicketDialer(self._dialer, session, lambda: self._ticket(MARKET_STREAM, self._data_budget))
            self._feed = Feed(session, Supervisor(session, dialer, self._clock, self._rng), self._clock)
        return self._feed

    async def _poll(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | StreamState]:
        """What has changed, every few seconds; said aloud, and so is every time that it cannot be asked."""
        told: dict[tuple[type, InstrumentID], Quote | Trade] = {}
        link: Link | None = None
        while True:
            try:
                found = await self._quotes([codec.encode_symbol(instrument) for instrument in instruments])
                now, text = Link.LIVE, SANDBOX_FEED
            except Unavailable as error:
                found, now, text = [], Link.GAP, str(error)
            if now is not link:
                link = now
                yield StreamState(broker=NAME, stream="market data", link=now, text=text, recv_ns=self._clock.now_ns())
            for event in self._events_of(found, kinds):
                key = (type(event), event.instrument)
                if key not in told or changed(told[key], recv_ns=event.recv_ns) != event:
                    told[key] = event
                    yield event
            await self._clock.sleep_ns(POLL_QUOTES_NS)

    def _events_of(self, quotes: Iterable[wire.Quote], kinds: Kinds) -> Iterable[Quote | Trade]:
        now_ns = self._clock.now_ns()
        for quote in quotes:
            if kinds.quotes:
                yield codec.decode_quote(quote, now_ns, delay_ns=self._delay_ns)
            last = codec.decode_last(quote, now_ns, delay_ns=self._delay_ns) if kinds.trades else None
            if last is not None:
                yield last

    # -- the wire -------------------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _turn(self, approved: Approved) -> AsyncIterator[None]:
        """One order at a time for an instrument. Whoever had to wait looks once more whether it still may."""
        turn = self._turns.setdefault(approved.request.instrument, asyncio.Lock())
        waits = turn.locked()
        async with turn:
            if waits:
                self._look(approved)
            yield

    async def _change(self, method: str, path: str, form: Mapping[str, str] | None, *, urgent: bool = False) -> Response:
        """One request that changes something, sent once. Raises Unavailable: not sent. InDoubt: sent, no answer."""
        await self._afford(self._order_budget, urgent=urgent)
        body = b"" if form is None else urlencode(form).encode()
        request = auth.sign(Request(method=method, url=self._urls.rest + path, headers=_FORM if body else {}, body=body), self._token)
        try:
            response = await self._http.send(request, within_ns=ANSWER_WITHIN_NS)
        except NotSent as error:
            raise Unavailable(f"Tradier could not be reached, nothing was sent: {error}. {UNREACHABLE}") from None
        except NoAnswer as error:
            raise InDoubt(f"Tradier did not answer: {error}. The desk asks what became of it; do not send it again") from None
        self._learn(self._order_budget, response)
        return response

    def _placed(self, response: Response) -> wire.Placed:
        """The answer to a change that was taken. What cannot be read may still have been taken."""
        if response.status != 200 or is_page(response.body) or sentences(response.body):
            raise refusal(response, changes=True)
        placed = self._answered(response, lambda raw: wire.one(raw, "order", wire.Placed))
        if placed.status != "ok":
            raise InDoubt(f"Tradier answered an order with the status {placed.status}")
        return placed

    @staticmethod
    def _answered(response: Response, read: Callable[[bytes], _T]) -> _T:
        try:
            return read(response.body)
        except wire.UNREADABLE as error:
            raise InDoubt(f"Tradier answered HTTP {response.status} with something that is no order ({error})") from None

    @staticmethod
    def _decoded(body: bytes, read: Callable[[bytes], _T]) -> _T:
        try:
            return read(body)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"Tradier's answer cannot be read ({error})", body) from None

    async def _ask(self, path: str, query: Mapping[str, str]) -> bytes:
        return _good(await self._get(path, query, self._budget))

    async def _ask_data(self, path: str, query: Mapping[str, str]) -> bytes:
        return _good(await self._get(path, query, self._data_budget))

    async def _get(self, path: str, query: Mapping[str, str], budget: RateBudget) -> Response:
        await self._afford(budget, urgent=True)
        sent_ns = self._clock.now_ns()
        url = f"{self._urls.rest}{path}{'?' if query else ''}{urlencode(query)}"
        request = auth.sign(Request(method="GET", url=url), self._token)
        try:
            response = await get_with_retry(self._http, request, within_ns=ANSWER_WITHIN_NS, clock=self._clock, rng=self._rng)
        except TransportError as error:
            raise Unavailable(f"Tradier could not be asked: {error}. {UNREACHABLE}") from None
        self._learn(budget, response)
        with suppress(ValueError):  # a date that nobody can read teaches nothing
            self._offset.learn_date(response.headers.get("date", ""), sent_ns, self._clock.now_ns())
        return response

    async def _ticket(self, stream: str, budget: RateBudget) -> Secret:
        """What opens a stream once. Raises AuthFailed, Unavailable, ProtocolError."""
        await self._afford(budget, urgent=True)
        request = auth.sign(Request(method="POST", url=f"{self._urls.rest}{stream}{SESSION}", headers=_FORM), self._token)
        try:
            response = await self._http.send(request, within_ns=ANSWER_WITHIN_NS)
        except TransportError as error:
            raise Unavailable(f"Tradier gave no ticket: {error}. {UNREACHABLE}") from None
        self._learn(budget, response)
        return Secret(self._decoded(_good(response), lambda raw: wire.one(raw, "stream", wire.Ticket)).sessionid)

    def _learn(self, budget: RateBudget, response: Response) -> None:
        budget.learn(response.status, counted(response.headers), self._clock.monotonic_ns(), self._clock.now_ns())

    async def _afford(self, budget: RateBudget, *, urgent: bool) -> None:
        """Wait for the request budget, but not for long, and with an order not at all: the desk has looked at the halts for the last time.
        Raises RateLimited: nothing was sent."""
        waited_ns = 0
        while wait_ns := budget.wait_ns(self._clock.monotonic_ns(), urgent=urgent):
            waited_ns += wait_ns
            if not urgent or waited_ns > BUDGET_WAIT_MAX_NS:
                text = f"Tradier's request budget is spent: {budget.limit} a minute; the next one is free in {-(-wait_ns // NS)} s. {HELP[429]}"
                raise RateLimited(text, wait_ns)
            await self._clock.sleep_ns(wait_ns)
        budget.take(self._clock.monotonic_ns())


class _TicketDialer:
    """A dialer that fetches a ticket before each connection and leaves it with the session."""

    def __init__(self, dialer: Dialer, session: AccountSession | MarketSession, ticket: Callable[[], Awaitable[Secret]]) -> None:
        self._dialer = dialer
        self._session = session
        self._ticket = ticket

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        """Raises as any dialer. Refused with 401: Tradier gives this token no ticket."""
        try:
            self._session.ticket = await self._ticket()
        except AuthFailed as error:
            raise Refused(401, str(error).encode()) from None
        except DeskError as error:
            raise NotSent(f"no ticket for the stream: {error}") from None
        url, headers = self._session.endpoint()  # by HTTP the ticket is in the address
        try:
            return await self._dialer.dial(url, headers, within_ns=within_ns)
        except Refused as error:
            if error.status == 401:  # the token is good: it has just been given a ticket
                raise NotSent("the ticket was not taken; a new one is fetched") from None
            raise


def _good(response: Response) -> bytes:
    """The body of an answer that is one: 200 may hold a page for people, or what was wrong with the question."""
    if response.status != 200 or is_page(response.body) or sentences(response.body):
        raise refusal(response, changes=False)
    return response.body


def _unknown(symbol: InstrumentID) -> BadRequest:
    if is_option(symbol):
        return BadRequest(f"Tradier has no option {symbol}. `trading chain {underlying_of(symbol)}` lists those it has.")
    return BadRequest(f"Tradier has no {symbol}. Stocks are written AAPL, share classes BRK.B, not BRK/B.")


def _urls(environment: str, options: Mapping[str, str]) -> Urls:
    """Tradier's hosts, or one port of a twin for all of them; a sandbox has no market stream there either."""
    url = options.get("url")
    if url is None:
        return URLS[environment]
    live = environment == LIVE
    sockets = "ws" + url.removeprefix("http")
    return Urls(rest=url, account_stream=sockets, market_stream=sockets if live else "", market_lines=url if live else "")


def _no_look(_: Approved) -> None:
    """Nobody looks."""
