"""Bybit behind the port: joins codec, sessions and errors to transport. The only async module here; all else is pure."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec.structs import replace as changed

from trading_system.brokers.bybit import auth, codec, errors, wire
from trading_system.brokers.bybit.facts import (
    BANNED_NS,
    BUDGET_HELP,
    CATEGORIES,
    CONTRACTS,
    DEMO,
    DEPTHS,
    DOLLAR,
    EXECUTIONS_PAGE_MAX,
    FACTS,
    HEDGE_HELP,
    HISTORY_WINDOW_NS,
    INSTRUMENTS_PAGE_MAX,
    INVERSE,
    KLINES_MAX,
    LIMIT_HEADER,
    LINEAR,
    LISTED,
    LOG_PAGE_MAX,
    OPTION,
    ORDERS_PAGE_MAX,
    PAPER,
    PARTIAL,
    PER_SECOND,
    PERMISSION_HELP,
    PING_EVERY_NS,
    POSITIONS_PAGE_MAX,
    PRINTS_MAX,
    PRIVATE_PATH,
    PUBLIC_PATH,
    QUOTE,
    REQUESTS_MAX,
    SOCKET_OPS,
    SPOT,
    TRADE_PATH,
    UNIFIED_HELP,
    UNREACHABLE,
    URLS,
    WINDOW_NS,
    Urls,
)
from trading_system.brokers.bybit.session import PING, DataSession, OrdersSession, Reply, TradeSession, stream_state
from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID, is_ours
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.option import OptionSnapshot, Right, is_option, underlying_of
from trading_system.domain.order import Approved, NewOrder, Order
from trading_system.domain.ports import Budget, Clock, Kinds, Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.settings.secret import Secret
from trading_system.transport.clock import BrokerOffset
from trading_system.transport.http import Http, get_with_retry
from trading_system.transport.message import NoAnswer, NotSent, Request, Response, TransportError
from trading_system.transport.ratelimit import RateBudget
from trading_system.transport.supervise import LinkEvent, LinkKind, Supervisor
from trading_system.transport.websocket import Dialer

_MS = 1_000_000
SECOND_NS = 1_000_000_000
_MINUTE_NS = 60 * SECOND_NS
ANSWER_WITHIN_NS = 10 * SECOND_NS
BUDGET_WAIT_MAX_NS = 7 * SECOND_NS  # a question or a cancel waits this long for the request budget
BUNCHED_NS = SECOND_NS  # so much closer together than they left requests may arrive
PAGES_MAX = 200  # of any listing: more is a loop, not an account
ROWS_MAX = 5_000  # orders remembered: their rows for their fills, and where each is kept
FILLS_BACK_NS = 730 * 86_400 * SECOND_NS  # older ones Bybit does not keep
AMEND_LOOKS = 5  # at an order whose change was taken in, until it is what was asked for
AMEND_LOOK_NS = 200 * _MS
WAITING_MAX = 10_000  # events of one subscription that nobody has read
SYMBOL_OF_ALL = "BTCUSDT"  # a pair and a contract that every account may ask about …
MODES_OF = {LINEAR: SYMBOL_OF_ALL, INVERSE: "BTCUSD"}  # … and what tells how positions are kept, by category
_INTERVALS = {1: "1", 3: "3", 5: "5", 15: "15", 30: "30", 60: "60", 120: "120", 240: "240", 360: "360", 720: "720", 1440: "D", 10080: "W"}
_T = TypeVar("_T")


class _Change(NamedTuple):
    """One intent to change an order, which keeps its ids: only who knows what was asked for can say whether it happened."""

    order_id: OrderID
    wish: NewOrder | Order  # the whole of what the order shall be

    @property
    def category(self) -> str:
        return codec.category_of(self.wish.instrument)


class _Signed:
    """Signs each attempt of a request anew: a timestamp is good for five seconds. What Bybit could not answer just now is told as HTTP tells it."""

    def __init__(self, http: Http, key: Secret, secret: Secret, clock: Clock, offset: BrokerOffset) -> None:
        self._http, self._key, self._secret, self._clock, self._offset = http, key, secret, clock, offset

    async def send(self, request: Request, *, within_ns: int) -> Response:
        now_ms = (self._clock.now_ns() + self._offset.offset_ns()) // _MS
        response = await self._http.send(auth.sign(request, self._key, self._secret, now_ms), within_ns=within_ns)
        return errors.passing(response, now_ms) if request.method == "GET" else response

    async def aclose(self) -> None:
        await self._http.aclose()


class _Question:
    """One question's attempts, each of which counts: the first is paid for already. sent_ns: when the last one left."""

    def __init__(self, signed: _Signed, clock: Clock, budgets: Sequence[RateBudget]) -> None:
        self._signed, self._clock, self._budgets = signed, clock, budgets
        self.sent_ns = 0

    async def send(self, request: Request, *, within_ns: int) -> Response:
        if self.sent_ns:
            for budget in self._budgets:
                budget.take(self._clock.monotonic_ns())
        self.sent_ns = self._clock.now_ns()
        return await self._signed.send(request, within_ns=within_ns)

    async def aclose(self) -> None:
        await self._signed.aclose()


class BybitConnector:
    """Broker, MarketData, DepthData and OptionData for one unified account at Bybit."""

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
        self._twin = "url" in options
        self._demo = _is_demo(environment, options)
        self._urls = _urls(environment, options)
        self._offset = BrokerOffset()
        self._signed = _Signed(http, key, secret, clock, self._offset)
        self._budget = RateBudget(REQUESTS_MAX, WINDOW_NS + BUNCHED_NS)
        self._budgets = {path: RateBudget(limit, SECOND_NS) for path, limit in PER_SECOND.items()}
        self._account = ""
        self._blocked = ""
        self._pairs: frozenset[InstrumentID] = frozenset()  # the spot pairs there are
        self._rows: OrderedDict[str, wire.Order] = OrderedDict()  # by Bybit's id, for fills
        self._kept: OrderedDict[str, str] = OrderedDict()  # by client id: the category that keeps the order
        self._by_socket = options.get("order_entry", "rest") == "websocket" and bool(self._urls.trade)
        self._line: tuple[Supervisor, TradeSession] | None = None  # for orders, while it is live
        self._asked: dict[str, asyncio.Future[Response | None]] = {}  # sent as a frame and not answered yet
        self._changes: OrderedDict[str, _Change] = OrderedDict()  # by the new client id: changes that have no clear answer

    # -- account ----------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Prove what the key is and what the account can do. Raises AuthFailed: it may withdraw, or the account's modes are not those this desk
        counts in."""
        await self._ask("/v5/market/time", {}, wire.ServerTime)  # its clock, before anything is signed
        self._account, self._blocked = await self._owner()
        info = await self._ask("/v5/account/info", {}, wire.AccountInfo)
        if info.unifiedMarginStatus < 3:
            raise AuthFailed("this is a classic account.", UNIFIED_HELP)
        for category, symbol in MODES_OF.items():
            positions = await self._ask("/v5/position/list", {"category": category, "symbol": symbol}, wire.Positions)
            if any(position.positionIdx for position in positions.list):
                raise AuthFailed("this account keeps long and short of one contract apart (hedge mode).", HEDGE_HELP)
        await self._load_pairs()

    async def _owner(self) -> tuple[str, str]:
        """Whose the key is, and what keeps it from trading. On the demo, whose host is proof that nothing here is real, nobody may say."""
        try:
            key = await self._ask("/v5/user/query-api", {}, wire.KeyInfo)
        except errors.NotThere:
            if not self._demo:
                raise
            return auth.named_after(self._key), ""
        if "Withdraw" in key.permissions.get("Wallet", ()):
            raise AuthFailed("this key may withdraw, which a trading key must not.", f"Make one without it. {PERMISSION_HELP}")
        if self._twin and key.note != self._environment:  # hosts tell the real ones apart; a twin has one host, and says it in its key's note
            raise AuthFailed(f"the twin is a {key.note} account, this desk trades {self._environment}.", "Set BYBIT_TESTNET and TRADING_MODE to it.")
        return str(key.userID), "the key is read-only" if key.readOnly else ""

    async def aclose(self) -> None:
        await self._http.aclose()

    def skew_ns(self) -> int:
        return self._offset.skew_ns()

    def budgets(self) -> Mapping[str, Budget]:
        now_ns = self._clock.monotonic_ns()
        return {"requests": Budget(self._budget.left(now_ns), self._budget.limit)}

    async def account(self) -> AccountSnapshot:
        """Wallet and positions are two reads, not one instant."""
        wallets = await self._ask("/v5/account/wallet-balance", {"accountType": "UNIFIED"}, wire.Wallets)
        if not wallets.list:
            raise ProtocolError("Bybit told of no unified account")
        positions = {category: await self._positions(category) for category in (*CONTRACTS, OPTION)}
        if not self._pairs:
            await self._load_pairs()
        return codec.decode_account(
            wallets.list[0],
            positions,
            account=self._account,
            environment=self._environment,
            pairs=self._pairs,
            rates=await self._rates(wallets.list[0]),
            blocked=self._blocked,
            recv_ns=self._clock.now_ns(),
        )

    async def _positions(self, category: str) -> list[wire.Position]:
        """Of contracts that are settled in USDT, and of inverse ones."""
        query = {"category": category, "limit": str(POSITIONS_PAGE_MAX)} | ({"settleCoin": QUOTE} if category == LINEAR else {})
        found: list[wire.Position] = []
        for _ in range(PAGES_MAX):
            page = await self._ask("/v5/position/list", query, wire.Positions)
            found += [row for row in page.list if codec.is_read(category, row.symbol) and (category != OPTION or row.symbol.endswith(f"-{QUOTE}"))]
            if not page.nextPageCursor:
                return found
            query["cursor"] = page.nextPageCursor
        raise ProtocolError(f"more than {PAGES_MAX} pages of positions")

    async def _rates(self, wallet: wire.Wallet) -> Mapping[str, Decimal]:
        """What a USDT is worth, by a ticker, where the wallet holds none to tell it by."""
        if any(coin.coin == QUOTE and codec.decode_worth(coin) is not None for coin in wallet.coin):
            return {}
        (ticker,) = (await self._ask("/v5/market/tickers", {"category": SPOT, "symbol": SYMBOL_OF_ALL}, wire.Tickers)).list
        return {QUOTE: codec.decode_rate(ticker)}

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        """What is quoted in USDT: pairs, swaps and dated contracts; inverse swaps; options by name, or as chains."""
        if symbols:
            return tuple([await self._instrument(symbol) for symbol in symbols])
        return tuple([instrument for category in LISTED for instrument in await self._listed({"category": category})])

    async def _listed(self, which: Mapping[str, str]) -> list[Instrument]:
        query = {**which, "limit": str(INSTRUMENTS_PAGE_MAX)}
        found: list[Instrument] = []
        for _ in range(PAGES_MAX):
            page = await self._ask("/v5/market/instruments-info", query, wire.Instruments)
            quote = DOLLAR if query["category"] == INVERSE else QUOTE
            listed = (entry for entry in page.list if entry.quoteCoin == quote and codec.is_read(query["category"], entry.symbol))
            found += [codec.decode_instrument(entry, query["category"]) for entry in listed]
            if not page.nextPageCursor:
                return found
            query["cursor"] = page.nextPageCursor
        raise ProtocolError(f"more than {PAGES_MAX} pages of instruments")

    async def _load_pairs(self) -> None:
        self._pairs = frozenset(instrument.id for instrument in await self._listed({"category": SPOT}))

    async def _instrument(self, symbol: InstrumentID) -> Instrument:
        """Raises BadRequest: Bybit does not have it, or not quoted in USDT; with what may have been meant."""
        if symbol.endswith((f"/{QUOTE}", f"-PERP/{DOLLAR}")):
            category, name = codec.category_of(symbol), codec.symbol_of(symbol)
            for more in ({},) if category == SPOT else ({}, {"status": "Delivering"}, {"status": "Closed"}):
                with suppress(BadRequest):  # a symbol that it does not know is a parameter error there
                    page = await self._ask("/v5/market/instruments-info", {"category": category, "symbol": name, **more}, wire.Instruments)
                    for listed in page.list:
                        return codec.decode_instrument(listed, category)
        if is_option(symbol):
            raise BadRequest(f"Bybit has no option {symbol}. `trading chain {underlying_of(symbol)}` lists those it has.")
        base = symbol.partition("/")[0].partition("-")[0].removesuffix(QUOTE)
        hint = f" Did you mean {base}/{QUOTE} (spot) or {base}-PERP/{QUOTE} (swap)?" if codec.coin_pair(base) in self._pairs else ""
        raise BadRequest(f"Bybit has no {symbol}.{hint} Pairs are written BTC/{QUOTE}, swaps BTC-PERP/{QUOTE}, inverse ones BTC-PERP/{DOLLAR}.")

    # -- orders -----------------------------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Place an order once. What comes back says that it is under way. Raises Rejected, Unavailable (not sent), InDoubt (sent, no answer),
        AuthFailed (sent, key refused)."""
        body = codec.encode_order(approved)
        self._remember(self._kept, approved.cl_ord_id, body.category)
        answer, placed = await self._change("/v5/order/create", body, approved.cl_ord_id)
        return codec.decode_placed(placed, approved, answer.time * _MS, self._clock.now_ns())

    async def replace(self, approved: Approved) -> ExecutionReport:
        """Amend an order, which stays the order it is: looked at until it is what was asked for, because a fill may have come first."""
        assert approved.orig_order_id is not None
        change = _Change(approved.orig_order_id, approved.request)
        self._remember(self._changes, approved.cl_ord_id, change)
        try:
            await self._change("/v5/order/amend", codec.encode_amend(approved), approved.cl_ord_id)
        except (Rejected, Unavailable):
            del self._changes[approved.cl_ord_id]
            raise
        for _ in range(AMEND_LOOKS):
            try:
                row = await self._row(change.category, {"orderId": change.order_id})
            except Unavailable:
                break
            if row is not None and codec.is_amended(row, change.wish):
                return self._successor(row, approved.cl_ord_id, change)
            if row is not None and codec.decode_order(row, change.category, 0).ord_status.terminal:
                del self._changes[approved.cl_ord_id]
                raise Rejected(f"Bybit took the change in, but the order is over: {row.orderStatus}")
            await self._clock.sleep_ns(AMEND_LOOK_NS)
        raise InDoubt("Bybit took the change in, and the order does not show it yet")

    def _successor(self, row: wire.Order, cl_ord_id: ClOrdID, change: _Change) -> ExecutionReport:
        """An amended order under the intent that asked for it, which needs no more remembering."""
        self._changes.pop(cl_ord_id, None)
        return changed(codec.decode_order(row, change.category, self._clock.now_ns()), cl_ord_id=cl_ord_id)

    def recall(self, orders: Iterable[Order]) -> None:
        """Changes that an earlier run was in doubt about."""
        known: dict[ClOrdID, OrderID | None] = {}
        for order in orders:
            known[order.cl_ord_id] = order.order_id
            kept = None if order.orig_cl_ord_id is None else known.get(order.orig_cl_ord_id)
            if kept is not None and order.order_id is None and not order.ord_status.terminal:
                self._remember(self._changes, order.cl_ord_id, _Change(kept, order))

    async def cancel(self, order: Order) -> ExecutionReport:
        """An acknowledgement is a request; "not there" is a question. The answer is always how the order stands after it."""
        assert order.order_id is not None
        category = codec.category_of(order.instrument)
        filters = ("StopOrder", None) if category == SPOT and order.ord_type.waits else (None,)  # a stop that went off is an order like others
        for order_filter in filters:
            body = wire.CancelRequest(category=category, symbol=codec.symbol_of(order.instrument), orderId=order.order_id, orderFilter=order_filter)
            try:
                await self._change("/v5/order/cancel", body, self._name(), urgent=True)
            except Rejected as error:
                if not error.code.isdecimal() or int(error.code) not in errors.GONE:
                    raise InDoubt(f"the cancel was refused: {error}") from None
            try:
                row = await self._row(category, {"orderId": order.order_id})
            except Unavailable as error:
                raise InDoubt(f"the cancel was sent; how the order stands is not known: {error}") from None
            if row is not None and order_filter is None:
                break
            if row is not None and codec.decode_order(row, category, 0).ord_status.terminal:
                break
        if row is None:
            raise InDoubt("the cancel was sent; Bybit does not show the order")
        return codec.decode_order(row, category, self._clock.now_ns())

    async def cancel_all(self) -> None:
        """All contracts in USDT, inverse ones by symbol, all options, what rests of pairs, what waits of pairs: of which there is any. Of contracts
        Bybit takes 500 orders at a time."""
        inverse = {row.symbol for row in await self._open({"category": INVERSE}) if codec.is_read(INVERSE, row.symbol)}
        wanted = [wire.CancelAllRequest(category=INVERSE, symbol=symbol) for symbol in sorted(inverse)]
        if await self._open({"category": LINEAR, "settleCoin": QUOTE}):
            wanted.append(wire.CancelAllRequest(category=LINEAR, settleCoin=QUOTE))
        if await self._open({"category": OPTION}):
            wanted.append(wire.CancelAllRequest(category=OPTION))
        filters = {codec.filter_of(row) for row in await self._open({"category": SPOT})}
        wanted += [wire.CancelAllRequest(category=SPOT, orderFilter=kind) for kind in sorted(filters)]
        for body in wanted:
            await self._ordered("/v5/order/cancel-all", body, self._name(), urgent=True)

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        """Every order that is not terminal, of all categories, all pages."""
        found: dict[str, ExecutionReport] = {}
        for category in CATEGORIES:
            query = {"category": category} | ({"settleCoin": QUOTE} if category == LINEAR else {})
            rows = (order for order in await self._open(query) if codec.is_read(category, order.symbol))
            found |= {order.orderId: self._learned(order, category) for order in rows}
        return tuple(report for report in found.values() if not report.ord_status.terminal)

    async def _open(self, query: Mapping[str, str]) -> list[wire.Order]:
        """All pages of what is open."""
        asked, found = {**query, "limit": str(ORDERS_PAGE_MAX)}, list[wire.Order]()
        for _ in range(PAGES_MAX):
            page = await self._ask("/v5/order/realtime", asked, wire.Orders)
            found += page.list
            if not page.nextPageCursor:
                return found
            asked["cursor"] = page.nextPageCursor
        raise ProtocolError(f"more than {PAGES_MAX} pages of open orders")

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """Among the orders that live or have just ended, then in the history. A change without a clear answer is found by what it asked for."""
        change = self._changes.get(cl_ord_id)
        if change is not None:
            row = await self._row(change.category, {"orderId": change.order_id})
            return None if row is None or not codec.is_amended(row, change.wish) else self._successor(row, cl_ord_id, change)
        for name in ("orderLinkId",) if is_ours(cl_ord_id) else ("orderLinkId", "orderId"):  # what has no client id goes by Bybit's
            for category in (self._kept[cl_ord_id],) if cl_ord_id in self._kept else CATEGORIES:
                row = await self._row(category, {name: cl_ord_id})
                if row is not None:
                    return await self._with_exits(row, category)
        return None

    async def _with_exits(self, row: wire.Order, category: str) -> ExecutionReport:
        """An order and what Bybit has made of its exits and not ended: they name it."""
        report = self._learned(row, category)
        if row.tpslMode != PARTIAL or row.parentOrderLinkId or not report.cum_qty:
            return report
        found = await self._open({"category": category, "symbol": row.symbol})
        children = [codec.decode_order(other, category, self._clock.now_ns()) for other in found if other.parentOrderLinkId == row.orderLinkId]
        return changed(report, children=tuple(children))

    async def _row(self, category: str, name: Mapping[str, str]) -> wire.Order | None:
        """An order by one of its ids: the live ones show those that have just ended, too, but not for long."""
        for path in ("/v5/order/realtime", "/v5/order/history"):
            page = await self._ask(path, {"category": category, **name}, wire.Orders)
            for row in page.list:
                self._learned(row, category)
                return row
        return None

    def _learned(self, row: wire.Order, category: str) -> ExecutionReport:
        """Translate an order's row, and remember it for its fills: only what could be read."""
        report = codec.decode_order(row, category, self._clock.now_ns())
        self._remember(self._rows, row.orderId, row)
        if row.orderLinkId:
            self._remember(self._kept, row.orderLinkId, category)
        return report

    @staticmethod
    def _remember(known: OrderedDict[str, _T], name: str, value: _T) -> None:
        known[name] = value
        known.move_to_end(name)
        if len(known) > ROWS_MAX:
            known.popitem(last=False)

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        """Every execution of all categories, in windows of seven days, oldest first, each joined with its order's row; and contracts that ended. What
        an inverse contract paid out when it was closed is in the transaction log: until it is there, the fill is not told."""
        found: list[tuple[wire.Execution, str]] = []
        for category in CATEGORIES:
            query = {"category": category, "limit": str(EXECUTIONS_PAGE_MAX)}
            async for page in self._windows("/v5/execution/list", query, since_ns, FILLS_BACK_NS, wire.Executions):
                found += [(one, category) for one in page.list if codec.is_read(category, one.symbol) and codec.is_fill(one)]
        told = [report for report in await self._deliveries() if report.transact_ns >= since_ns]
        silent = any(codec.paid_out(execution, category) is None for execution, category in found)
        paid = await self._paid_out(since_ns) if silent else {}
        for execution, category in sorted(found, key=lambda entry: entry[0].seq):
            stated = codec.paid_out(execution, category)
            realized = paid.get(execution.execId) if stated is None else stated
            if realized is None:
                continue
            if execution.orderId not in self._rows:
                await self._row(category, {"orderId": execution.orderId})
            row = self._rows.get(execution.orderId)
            order = None if row is None else codec.decode_order(row, category, self._clock.now_ns())
            told.append(codec.decode_execution(execution, category, order, self._clock.now_ns(), realized=realized))
        return tuple(sorted(told, key=lambda report: report.transact_ns))  # of one instant as they were counted

    async def _paid_out(self, since_ns: int) -> Mapping[str, Decimal]:
        """Coins that closing inverse contracts paid out, fees apart, by execution."""
        query = {"accountType": "UNIFIED", "category": INVERSE, "type": "TRADE", "limit": str(LOG_PAGE_MAX)}
        paid: dict[str, Decimal] = {}
        async for page in self._windows("/v5/account/transaction-log", query, since_ns, FILLS_BACK_NS, wire.Log):
            paid |= dict(map(codec.decode_paid, page.list))
        return paid

    async def _deliveries(self) -> list[ExecutionReport]:
        """The last ones: more than a page of them does not end at once."""
        found = []
        for category in (LINEAR, OPTION):
            page = await self._ask("/v5/asset/delivery-record", {"category": category, "limit": str(LOG_PAGE_MAX)}, wire.Deliveries)
            told = [record for record in page.list if codec.instrument_id(category, record.symbol).endswith(f"/{QUOTE}")]
            found += [codec.decode_delivery(record, category, self._clock.now_ns()) for record in told]
        return found

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        """The transaction log without what executions tell, in windows of seven days, oldest first."""
        query = {"accountType": "UNIFIED", "limit": str(LOG_PAGE_MAX)}
        found: list[Flow] = []
        async for page in self._windows("/v5/account/transaction-log", query, since_ns, FILLS_BACK_NS, wire.Log):
            found += [flow for entry in page.list if (flow := codec.decode_flow(entry)) is not None]
        return tuple(sorted(found, key=lambda flow: flow.transact_ns))

    async def _windows(self, path: str, query: Mapping[str, str], since_ns: int, back_ns: int, kind: type[_T]) -> AsyncIterator[_T]:
        """All pages of all windows from then until now."""
        now_ns = self._clock.now_ns() + max(0, self._offset.offset_ns())
        start_ns = max(since_ns, now_ns - back_ns)
        while start_ns <= now_ns:
            end_ns = min(start_ns + HISTORY_WINDOW_NS - _MS, now_ns + _MINUTE_NS)
            asked = {**query, "startTime": str(start_ns // _MS), "endTime": str(end_ns // _MS)}
            for _ in range(PAGES_MAX):
                page = await self._ask(path, asked, kind)
                yield page
                cursor: str = getattr(page, "nextPageCursor", "")
                if not cursor:
                    break
                asked["cursor"] = cursor
            else:
                raise ProtocolError(f"more than {PAGES_MAX} pages of {path}")
            start_ns = end_ns + _MS

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        """Order events as they come. After each LIVE the desk reads again what the stream did not replay."""
        session = OrdersSession(self._urls.private, self._key, self._secret, self._offset.offset_ns)
        async with self._entering(), self._beating(Supervisor(session, self._dialer, self._clock, self._rng)) as supervisor:
            async for event in supervisor.run():
                if isinstance(event, ExecutionReport):
                    yield event
                else:
                    yield self._link(event, "orders")

    @asynccontextmanager
    async def _entering(self) -> AsyncIterator[None]:
        """The line for orders, where they leave by socket, beside the one that tells of them."""
        if not self._by_socket:
            yield
            return
        task = asyncio.create_task(self._enter(), name="bybit order entry")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _enter(self) -> None:
        """While the line stands orders leave by it; while it does not, by REST."""
        session = TradeSession(self._urls.trade, self._key, self._secret, self._offset.offset_ns)
        try:
            async with self._beating(Supervisor(session, self._dialer, self._clock, self._rng)) as supervisor:
                async for event in supervisor.run():
                    if isinstance(event, Reply):
                        waiting = self._asked.get(event.request_id)
                        if waiting is not None and not waiting.done():
                            waiting.set_result(event.response)
                    elif isinstance(event, LinkEvent):
                        self._line = (supervisor, session) if event.kind is LinkKind.UP else None
                        self._give_up()
        finally:
            self._line = None
            self._give_up()

    def _give_up(self) -> None:
        """Another line, or none: answers that were on their way will not come."""
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_result(None)

    @asynccontextmanager
    async def _beating(self, supervisor: Supervisor) -> AsyncIterator[Supervisor]:
        """Bybit cuts a line on which nobody speaks, and pongs show that it is there."""

        async def beat() -> None:
            while True:
                await self._clock.sleep_ns(PING_EVERY_NS)
                await supervisor.send((PING,))

        task = asyncio.create_task(beat(), name="bybit ping")
        try:
            yield supervisor
        finally:
            task.cancel()

    # -- market data --------------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        book = await self._ask("/v5/market/orderbook", _named(instrument, limit="1"), wire.Book)
        return codec.decode_quote(book.b, book.a, instrument, book.ts, self._clock.now_ns())

    async def trade(self, instrument: InstrumentID) -> Trade:
        prints = await self._ask("/v5/market/recent-trade", _named(instrument, limit="1"), wire.Prints)
        for entry in prints.list:
            return codec.decode_print(entry, instrument, self._clock.now_ns())
        raise BadRequest(f"Bybit has no trades of {instrument}")

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        """Raises BadRequest: Bybit keeps no quotes of the past."""
        raise BadRequest(f"Bybit keeps no history of quotes; there are bars of {instrument}, and its newest trades")

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        """Of the newest trades alone. Raises BadRequest: from further back than they reach."""
        most = PRINTS_MAX[codec.category_of(instrument)]
        prints = await self._ask("/v5/market/recent-trade", _named(instrument, limit=str(most)), wire.Prints)
        found = sorted((codec.decode_print(entry, instrument, self._clock.now_ns()) for entry in prints.list), key=lambda trade: trade.transact_ns)
        if len(found) >= most and start_ns < found[0].transact_ns:
            raise BadRequest(f"Bybit tells only the last {most} trades of {instrument}: ask for a shorter time, or for bars")
        return tuple(trade for trade in found if start_ns <= trade.transact_ns < end_ns)

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        if is_option(instrument):
            raise BadRequest(f"Bybit keeps no bars of options, such as {instrument}; there are quotes, and the newest trades")
        minutes, rest = divmod(period_ns, _MINUTE_NS)
        if rest or minutes not in _INTERVALS:
            raise BadRequest(f"Bybit has bars of {', '.join(map(str, _INTERVALS))} minutes")
        found: dict[int, Bar] = {}
        until_ns = end_ns - 1
        for _ in range(PAGES_MAX):
            if until_ns < start_ns:
                break
            query = _named(instrument, interval=_INTERVALS[minutes], limit=str(KLINES_MAX), start=str(start_ns // _MS), end=str(until_ns // _MS))
            page = [codec.decode_kline(row, instrument, period_ns) for row in (await self._ask("/v5/market/kline", query, wire.Klines)).list]
            found |= {bar.open_ns: bar for bar in page}
            if len(page) < KLINES_MAX:
                break
            until_ns = min(bar.open_ns for bar in page) - 1
        else:
            raise ProtocolError(f"more than {PAGES_MAX} pages of bars")
        over_ns = self._now_ms() * _MS - period_ns  # Bybit tells the bar that runs as well, which is not what its name says yet
        return tuple(found[open_ns] for open_ns in sorted(found) if start_ns <= open_ns < end_ns and open_ns <= over_ns)

    async def expiries(self, underlying: InstrumentID) -> tuple[date, ...]:
        base, _, quote = underlying.partition("/")
        listed = await self._listed({"category": OPTION, "baseCoin": base}) if quote == QUOTE else []
        return tuple(sorted({instrument.contract.expiry for instrument in listed if instrument.contract is not None and instrument.tradable}))

    async def chain(self, underlying: InstrumentID, expiry: date, right: Right | None = None) -> tuple[OptionSnapshot, ...]:
        query = {"category": OPTION, "baseCoin": underlying.partition("/")[0], "expDate": codec.day_of(expiry)}
        page = await self._ask("/v5/market/tickers", query, wire.Tickers)
        lines = [codec.decode_snapshot(ticker, self._clock.now_ns()) for ticker in page.list]
        found = [line for line in lines if line.contract.underlying == underlying and line.contract.right in (right or line.contract.right,)]
        return tuple(sorted(found, key=lambda line: (line.contract.strike, line.contract.right)))

    async def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        """A socket for each category; what falls behind ends its connection and begins anew. Raises BadRequest: bars of an option."""
        if kinds.bars and any(map(is_option, instruments)):
            raise BadRequest("Bybit has no bars of options: ask for quotes and trades")
        sessions = {
            category: DataSession(self._urls.public, category, tuple(group), kinds)
            for category, group in groupby(sorted(instruments, key=codec.category_of), codec.category_of)
        }
        async for event in self._joined(sessions):
            if isinstance(event, Quote | Trade | Bar | StreamState):
                yield event

    async def subscribe_depth(self, instruments: Sequence[InstrumentID], levels: int) -> AsyncGenerator[BookSnapshot | StreamState]:
        """Raises BadRequest: more levels than Bybit tells changes of."""
        sessions = {}
        for category, group in groupby(sorted(instruments, key=codec.category_of), codec.category_of):
            depth = next((depth for depth in DEPTHS[category] if depth >= levels), None)
            if depth is None or levels < 1:
                raise BadRequest(f"Bybit's books that follow every change have {DEPTHS[category][-1]} levels ({category})")
            sessions[category] = DataSession(self._urls.public, category, tuple(group), Kinds(), depth=depth, levels=levels)
        async for event in self._joined(sessions):
            if isinstance(event, BookSnapshot | StreamState):
                yield event

    async def _joined(self, sessions: Mapping[str, DataSession]) -> AsyncIterator[object]:
        """What several streams say, as it comes. A reader that falls behind loses what waits, and is told so."""
        waiting: asyncio.Queue[object] = asyncio.Queue()

        async def follow(category: str, session: DataSession) -> None:
            async with self._beating(Supervisor(session, self._dialer, self._clock, self._rng)) as supervisor:
                async for event in supervisor.run():
                    if waiting.qsize() >= WAITING_MAX:
                        lost = waiting.qsize()
                        while not waiting.empty():
                            waiting.get_nowait()
                        waiting.put_nowait(self._slow(category, lost))
                    waiting.put_nowait(self._link(event, category) if isinstance(event, LinkEvent) else event)

        tasks = [asyncio.create_task(follow(*pair), name=f"bybit {pair[0]}") for pair in sessions.items()]
        for task in tasks:
            task.add_done_callback(lambda _: waiting.put_nowait(None))
        try:
            left = len(tasks)
            while left:
                event = await waiting.get()
                if event is not None:
                    yield event
                    continue
                left -= 1
                for task in tasks:
                    if task.done():
                        task.result()  # raises what ended it
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _slow(self, stream: str, lost: int) -> StreamState:
        text = f"{lost} events were dropped: this reader is too slow"
        return StreamState(broker=FACTS.broker, stream=stream, link=Link.GAP, text=text, recv_ns=self._clock.now_ns())

    # -- the wire -------------------------------------------------------------------------------------------------------------------

    async def _change(self, path: str, body: msgspec.Struct, name: str, *, urgent: bool = False) -> tuple[wire.Envelope, wire.Placed]:
        """A change of one order, and which it was. Raises as _ordered."""
        answer = await self._ordered(path, body, name, urgent=urgent)
        try:
            return answer, msgspec.json.decode(answer.result, type=wire.Placed)
        except wire.UNREADABLE as error:
            raise InDoubt(f"Bybit answered with something that is no order ({error})") from None

    async def _ordered(self, path: str, body: msgspec.Struct, name: str, *, urgent: bool) -> wire.Envelope:
        """One request that changes something, sent once. name: used for no other one. Raises Unavailable: not sent. InDoubt: sent, no answer."""
        await self._afford(path, urgent=urgent)
        sent_ns = self._clock.now_ns()
        try:
            if self._line is not None and path in SOCKET_OPS:
                response = await self._send_frame(*self._line, SOCKET_OPS[path], name, body)
            else:
                content = {"Content-Type": "application/json"}
                request = Request(method="POST", url=self._urls.rest + path, headers=content, body=msgspec.json.encode(body))
                response = await self._signed.send(request, within_ns=ANSWER_WITHIN_NS)
        except NotSent as error:
            raise Unavailable(f"Bybit could not be reached, nothing was sent: {error}. {UNREACHABLE}") from None
        except NoAnswer as error:
            raise InDoubt(f"Bybit did not answer: {error}. The desk asks what became of it; do not send it again") from None
        answer = self._opened(response, path, sent_ns)
        if isinstance(answer, str):
            if response.status == 200:
                raise InDoubt(f"Bybit answered with something that is no message of its own ({answer})")
            raise errors.refusal(response, None, changes=True, now_ms=self._now_ms())
        if answer.retCode != 0 or response.status != 200:
            raise errors.refusal(response, answer, changes=True, now_ms=self._now_ms())
        return answer

    def _name(self) -> str:
        """Of a request that no intent names: nothing else is ever called so."""
        return f"{self._rng.getrandbits(64):016x}"

    async def _send_frame(self, stream: Supervisor, session: TradeSession, op: str, name: str, body: msgspec.Struct) -> Response:
        """One request over the line for orders. Once the frame is handed over, only a reply says what became of it. Raises NoAnswer."""
        waiting: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self._asked[name] = waiting
        try:
            await stream.send((session.request(op, name, body, self._clock.now_ns()),))
            async with asyncio.timeout(ANSWER_WITHIN_NS / SECOND_NS):
                response = await waiting
        except TimeoutError:
            raise NoAnswer("the socket did not answer in time") from None
        finally:
            del self._asked[name]
        if response is None:
            raise NoAnswer("the socket ended before it answered")
        return response

    async def _ask(self, path: str, query: Mapping[str, str], kind: type[_T]) -> _T:
        """One question, asked again when it got no answer. Raises Unavailable, AuthFailed, BadRequest, ProtocolError."""
        await self._afford(path, urgent=True)
        url = f"{self._urls.rest}{path}?{urlencode(query)}" if query else self._urls.rest + path
        question = _Question(self._signed, self._clock, self._paid_by(path))
        try:
            request = Request(method="GET", url=url)
            response = await get_with_retry(question, request, within_ns=ANSWER_WITHIN_NS, clock=self._clock, rng=self._rng)
        except TransportError as error:
            raise Unavailable(f"Bybit could not be asked: {error}. {UNREACHABLE}") from None
        answer = self._opened(response, path, question.sent_ns)
        if isinstance(answer, str):
            if response.status == 200:
                raise ProtocolError(f"Bybit's answer cannot be read ({answer})", response.body)
            raise errors.refusal(response, None, changes=False, now_ms=self._now_ms())
        if answer.retCode != 0 or response.status != 200:
            raise errors.refusal(response, answer, changes=False, now_ms=self._now_ms())
        try:
            return msgspec.json.decode(answer.result, type=kind)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"Bybit's answer cannot be read ({error})", response.body) from None

    def _opened(self, response: Response, path: str, sent_ns: int) -> wire.Envelope | str:
        """The envelope, or why there is none; what it and its headers teach of clock and budget."""
        if errors.is_banned(response):
            self._budget.learn(response.status, {"retry-after": str(BANNED_NS // SECOND_NS)}, self._clock.monotonic_ns(), self._now_ms() * _MS)
        try:
            answer = errors.envelope(response)
        except wire.UNREADABLE as error:
            return str(error)
        self._offset.learn(answer.time * _MS, sent_ns, self._clock.now_ns(), grain_ns=_MS)
        self._learn(path, response, spent=answer.retCode == errors.BUDGET)
        return answer

    def _learn(self, path: str, response: Response, *, spent: bool) -> None:
        """Take over what Bybit says of an endpoint's second: how many, and that they are spent. Of all requests together it says nothing."""
        limit, budget = response.headers.get(LIMIT_HEADER.lower(), ""), self._budgets.get(path)
        if budget is None or not limit.isdecimal():
            return
        told = {"x-ratelimit-limit": limit} | ({"retry-after": "1"} if spent else {})
        budget.learn(response.status, told, self._clock.monotonic_ns(), self._now_ms() * _MS)

    async def _afford(self, path: str, *, urgent: bool) -> None:
        """Wait for the request budget, but not for long, and with an order not at all: the desk has looked at the halts for the last time. Endpoints
        take nothing from one another: the reserve for cancels is of what all have together. Raises RateLimited: nothing was sent."""
        own, waited_ns = self._budgets.get(path), 0
        while wait_ns := max(self._wait_ns(self._budget, urgent=urgent), 0 if own is None else self._wait_ns(own, urgent=True)):
            waited_ns += wait_ns
            if not urgent or waited_ns > BUDGET_WAIT_MAX_NS:
                limit = self._budget.limit if own is None or self._wait_ns(self._budget, urgent=urgent) else own.limit
                told = errors.budget_text({LIMIT_HEADER.lower(): str(limit)}, wait_ns)
                raise RateLimited(f"Bybit's request budget is spent. {told} {BUDGET_HELP}", wait_ns)
            await self._clock.sleep_ns(wait_ns)
        for budget in self._paid_by(path):
            budget.take(self._clock.monotonic_ns())

    def _paid_by(self, path: str) -> list[RateBudget]:
        return [self._budget] + ([self._budgets[path]] if path in self._budgets else [])

    def _wait_ns(self, budget: RateBudget, *, urgent: bool) -> int:
        return budget.wait_ns(self._clock.monotonic_ns(), urgent=urgent)

    def _now_ms(self) -> int:
        """Bybit's time."""
        return (self._clock.now_ns() + self._offset.offset_ns()) // _MS

    def _link(self, event: object, stream: str) -> StreamState:
        assert isinstance(event, LinkEvent)
        return stream_state(event, stream, self._clock.now_ns())


def _named(instrument: InstrumentID, **more: str) -> dict[str, str]:
    return {"category": codec.category_of(instrument), "symbol": codec.symbol_of(instrument), **more}


def _urls(environment: str, options: Mapping[str, str]) -> Urls:
    """Bybit's hosts, or one port of a twin for all of them."""
    url, demo = options.get("url"), _is_demo(environment, options)
    if url is None:
        return URLS[DEMO if demo else environment]
    sockets = "ws" + urlsplit(url).geturl().removeprefix("http")
    return Urls(rest=url, public=sockets + PUBLIC_PATH, private=sockets + PRIVATE_PATH, trade="" if demo else sockets + TRADE_PATH)


def _is_demo(environment: str, options: Mapping[str, str]) -> bool:
    return environment == PAPER and options.get("paper_host") == DEMO
