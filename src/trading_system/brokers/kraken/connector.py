"""Kraken behind the port: joins codec, sessions, counters and errors to transport. The only async file."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec.structs import replace as changed

from trading_system.brokers.amends import Amend, Amends
from trading_system.brokers.kraken import auth, codec, wire
from trading_system.brokers.kraken.book import BookSession, Doubtful, Sound
from trading_system.brokers.kraken.counter import Counter
from trading_system.brokers.kraken.errors import Meaning, edge, failed, meaning, refusal
from trading_system.brokers.kraken.facts import (
    ADD_COST,
    AMEND_COST,
    AMEND_COSTS,
    ARMED_MAX_NS,
    BARS_MAX,
    BOOK_DEPTHS,
    BUDGET_HELP,
    CALLS_SPARED,
    CANCEL_COSTS,
    DEADLINE_NS,
    DEFAULT_TIER,
    FACTS,
    HISTORY_COST,
    LIVE,
    ORDERS_PAGE,
    PAGES,
    PAPER,
    PAPER_ACCOUNT_PREFIX,
    PRIVATE,
    PUBLIC,
    PUBLIC_BURST,
    PUBLIC_PER_SECOND,
    QUERY_MAX,
    QUOTE,
    STREAM_PATH,
    TIERS,
    TRADES_PAGE,
    UNREACHABLE,
    URLS,
    WITHDRAWS,
    Urls,
)
from trading_system.brokers.kraken.session import FIRST_FREE, DataSession, Hole, Moved, PrivateSession, Reply, Whole, stream_state
from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.errors import NotSent as Stopped
from trading_system.domain.ids import ClOrdID, InstrumentID
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.money import ZERO
from trading_system.domain.order import Approved, Order
from trading_system.domain.ports import Budget, Clock, Kinds, Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.domain.times import NS
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.clock import BrokerOffset
from trading_system.transport.http import Http, get_with_retry
from trading_system.transport.message import NoAnswer, NotSent, Refused, Request, Response, TransportError
from trading_system.transport.supervise import LinkEvent, LinkKind, Supervisor
from trading_system.transport.websocket import Connection, Dialer

ANSWER_WITHIN_NS = 10 * NS
BUDGET_WAIT_MAX_NS = 30 * NS  # a question waits this long for the key's counter, which falls slowly
REST_EVERY_NS = 60 * NS  # how often the worth of what cannot be traded is read
NAMES_EVERY_NS = 60 * NS  # pairs and their rules are read no oftener
ASKS_MAX = 4  # of one question: no answer, or a passing failure
PAUSE_NS = NS // 2  # before the second; drawn from 0 to this, then twice as much
PAGES_MAX = 200  # of any listing: more is a loop, not an account
ROWS_MAX = 5_000  # orders remembered: for fills, which name only an order's id, and for amends
_EXTERNAL = "external:"  # what the desk calls an order to which nobody gave a client id
_MINUTE_NS = 60 * NS
_PERIODS = {minutes * _MINUTE_NS: minutes for minutes in (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)}
_T = TypeVar("_T")


class _Row(msgspec.Struct, frozen=True):
    """What stays the same of an order: enough to make sense of its fills."""

    report: ExecutionReport
    fee_in_base: bool


class KrakenConnector:
    """Broker and MarketData for one Kraken account."""

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
        nonces: Callable[[], int],
    ) -> None:
        self._http = http
        self._dialer = dialer
        self._clock = clock
        self._rng = rng
        self._key = key
        self._secret = secret
        self._environment = environment
        self._urls = _urls(options)
        self._nonces = nonces
        self._tier = TIERS[options.get("tier", DEFAULT_TIER)]
        self._by_stream = options.get("order_entry", "rest") == "websocket"
        self._turn = asyncio.Lock()  # a nonce must arrive before the next one: one question at a time …
        self._timings = 0  # calls that set the dead man's switch: an older one does not leave after a newer one
        self._changes = 0  # … and none while something is being changed, which does not wait
        self._unchanging = asyncio.Event()
        self._unchanging.set()
        self._calls = Counter(self._tier.calls_max - CALLS_SPARED, self._tier.calls_decay)
        self._public = Counter(PUBLIC_BURST, PUBLIC_PER_SECOND)
        self._pairs: dict[InstrumentID, Counter] = {}  # the engine's counters
        self._offset = BrokerOffset()
        self._names: codec.Names | None = None
        self._names_ns = 0
        self._info: wire.KeyInfo | None = None
        self._system = "online"
        self._rest = ZERO  # worth of what cannot be traded here
        self._rest_ns: int | None = None  # when that was read
        self._rows: OrderedDict[str, _Row] = OrderedDict()
        self._amends = Amends("order_qty", "price")
        self._look: Callable[[Approved], None] = _no_look
        self._stream: Supervisor | None = None
        self._session: PrivateSession | None = None  # its token holds for as long as its connection does
        self._live = False
        self._asked: dict[int, asyncio.Future[wire.Frame]] = {}
        self._number = FIRST_FREE

    # -- account ----------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Read the clock, the mode and the names; prove the account's kind. Raises AuthFailed: unknown key, one that may withdraw, another kind."""
        sent_ns = self._clock.now_ns()
        time = await self._ask_public("Time", {}, wire.Time)
        self._offset.learn(time.unixtime * NS, sent_ns, self._clock.now_ns(), grain_ns=NS)
        self._system = (await self._ask_public("SystemStatus", {}, wire.SystemStatus)).status
        await self._load_names()
        info = await self._ask("GetApiKeyInfo", {}, wire.KeyInfo)
        if any(WITHDRAWS in permission for permission in info.permissions):
            raise AuthFailed("this key may withdraw money, which no desk needs.", f"Make one without that permission: {PAGES['keys_live']}")
        if not info.iban:
            raise ProtocolError("Kraken does not say whose key this is")
        found = PAPER if info.iban.startswith(PAPER_ACCOUNT_PREFIX) else LIVE
        if found != self._environment:
            hint = f"Kraken has no paper trading: for paper, point KRAKEN_URL at a twin; for live, set TRADING_MODE. Keys: {PAGES['keys_live']}"
            raise AuthFailed(f"account {info.iban} is a {found} account, this desk trades {self._environment}.", hint)
        self._info = info

    async def aclose(self) -> None:
        await self._http.aclose()

    def skew_ns(self) -> int:
        return self._offset.skew_ns()

    def budgets(self) -> Mapping[str, Budget]:
        now_ns = self._clock.monotonic_ns()
        return {"private": Budget(self._calls.left(now_ns), self._calls.most), "public": Budget(self._public.left(now_ns), self._public.most)}

    async def account(self) -> AccountSnapshot:
        """What there is and what the market says it is worth. What cannot be traded here counts in equity too, as Kraken values it: that changes
        slowly, and is read once a minute, because every call counts."""
        names = await self._listed()
        info = await self._ask("GetApiKeyInfo", {}, wire.KeyInfo) if self._info is None else self._info
        balances = await self._ask("BalanceEx", {}, dict[str, wire.BalanceEx])
        marks = await self._marks(codec.decode_holdings(balances, names), names)
        snapshot = codec.decode_account(info, balances, marks, names, self._environment, self._system, self._clock.now_ns())
        now_ns = self._clock.monotonic_ns()
        if self._rest_ns is None or now_ns - self._rest_ns >= REST_EVERY_NS:
            worth = await self._ask("TradeBalance", {"asset": f"Z{QUOTE}"}, wire.TradeBalance)
            self._rest, self._rest_ns = codec.decode_worth(worth) - snapshot.equity, now_ns
        equity = snapshot.equity + self._rest
        return changed(snapshot, equity=equity, last_equity=equity)

    async def _marks(self, instruments: Sequence[InstrumentID], names: codec.Names) -> dict[InstrumentID, Any]:
        if not instruments:
            return {}
        query = {"pair": ",".join(names.pairs[instrument].altname for instrument in instruments)}
        tickers = await self._ask_public("Ticker", query, dict[str, wire.Ticker])
        return {names.instrument(name): codec.decode_mark(ticker) for name, ticker in tickers.items()}

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        """Pairs in USD, as Kraken lists them now. Raises BadRequest: no such pair, or one in another currency."""
        fresh = self._clock.monotonic_ns() - self._names_ns < NAMES_EVERY_NS
        names = await (self._listed() if fresh else self._load_names())
        if not symbols:
            found = ((instrument, pair) for instrument, pair in names.pairs.items() if instrument.endswith(f"/{QUOTE}"))
            return tuple(codec.decode_pair(instrument, pair) for instrument, pair in found)
        for symbol in symbols:
            _listed_or_refuse(symbol, names)
        return tuple(codec.decode_pair(symbol, names.pairs[symbol]) for symbol in symbols)

    async def _load_names(self) -> codec.Names:
        assets = await self._ask_public("Assets", {}, dict[str, wire.Asset])
        pairs = await self._ask_public("AssetPairs", {}, dict[str, wire.AssetPair])
        self._names, self._names_ns = codec.decode_names(assets, pairs), self._clock.monotonic_ns()
        return self._names

    async def _listed(self) -> codec.Names:
        return self._names or await self._load_names()

    # -- orders -----------------------------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Place an order once. Raises Rejected, Unavailable (not sent), InDoubt (sent, no answer), AuthFailed (sent, key refused)."""
        instrument = approved.request.instrument
        pair = _listed_or_refuse(instrument, await self._listed())
        form = codec.encode_order(approved, pair)
        self._afford_order(instrument, ADD_COST)
        if self._by_stream and self._live and self._stream is not None:
            order_id = await self._add_by_stream(form, approved)
        else:
            added = await self._change("AddOrder", form, wire.Added, approved)
            if len(added.txid) != 1:
                raise InDoubt(f"Kraken took the order and names {len(added.txid)} ids for it")
            order_id = added.txid[0]
        report = codec.decode_accepted(approved, order_id, self._clock.now_ns())
        self._remember(self._rows, order_id, _Row(report, fee_in_base=False))
        return report

    async def validate(self, approved: Approved) -> str:
        """AddOrder with validate=true, by REST whichever way orders leave. Nothing comes of it."""
        assert approved.dry_run
        instrument = approved.request.instrument
        form = codec.encode_order(approved, _listed_or_refuse(instrument, await self._listed()))
        self._afford_order(instrument, ADD_COST)
        try:
            added = await self._change("AddOrder", {**form, "validate": "true", "deadline": self._deadline()}, wire.Added)
        except InDoubt as error:
            raise Unavailable(f"Kraken's check did not say ({error})") from None
        if added.txid:
            raise ProtocolError("Kraken placed what it was only to check", ",".join(added.txid).encode())
        return added.descr.order

    async def replace(self, approved: Approved) -> ExecutionReport:
        """Kraken changes the order and goes on naming the first intent; the desk knows what that means."""
        order_id = approved.orig_order_id
        assert order_id is not None
        form = codec.encode_amend(approved)
        row = self._rows.get(order_id)
        age_ns = self._clock.now_ns() - (row.report.transact_ns if row is not None else 0)
        self._afford_order(approved.request.instrument, AMEND_COST + _cost(AMEND_COSTS, age_ns))
        self._amends.begin(Amend(cl_ord_id=approved.cl_ord_id, order_id=order_id, wish=approved.request))
        try:
            await self._change("AmendOrder", form, wire.Amended, approved)
        except _Missing as error:
            self._amends.settle(approved.cl_ord_id)
            raise Rejected(f"there is nothing left to change: {error}") from None
        except (Rejected, Stopped, Unavailable):
            self._amends.settle(approved.cl_ord_id)
            raise
        self._amends.settle(approved.cl_ord_id)
        return codec.decode_accepted(approved, order_id, self._clock.now_ns())

    def look_with(self, look: Callable[[Approved], None]) -> None:
        """Called right before an order's bytes leave."""
        self._look = look

    def recall(self, orders: Iterable[Order]) -> None:
        """Changes that an earlier run was in doubt about."""
        self._amends.recall(orders)

    async def cancel(self, order: Order) -> ExecutionReport:
        """Done in the answer; an order that is not there any more is a question. The answer is always how the order stands after it."""
        assert order.order_id is not None
        cost = _cost(CANCEL_COSTS, self._clock.now_ns() - order.sent_ns)
        self._counter(order.instrument).take(self._clock.monotonic_ns(), cost)
        await self._cancel("CancelOrder", {"txid": order.order_id})
        try:
            rows = await self._ask("QueryOrders", {"txid": order.order_id}, dict[str, wire.Order])
        except (Unavailable, BadRequest) as error:
            raise InDoubt(f"the cancel was sent; how the order stands is not known: {error}") from None
        if order.order_id not in rows:
            raise InDoubt("the cancel was sent; Kraken does not say how the order stands")
        return await self._row(order.order_id, rows[order.order_id])

    async def cancel_all(self) -> None:
        await self._cancel("CancelAll", {})

    async def _cancel(self, name: str, form: Mapping[str, str]) -> None:
        """A cancel that another call overtook was certainly not done, and may be asked for again."""
        for asked in range(1, ASKS_MAX + 1):
            try:
                await self._change(name, form, wire.Canceled)
            except _Missing:
                return
            except Rejected as error:
                if meaning((error.code,)) is not Meaning.NONCE or asked == ASKS_MAX:
                    raise
            else:
                return

    async def arm_dead_man(self, after_ns: int) -> None:
        """CancelAllOrdersAfter. It waits its turn and overtakes nothing; what overtakes it has it refused. One that was disarmed while it waited
        does not leave any more."""
        assert NS <= after_ns <= ARMED_MAX_NS
        self._timings += 1
        mine = self._timings
        async with self._my_turn():
            if mine != self._timings:
                raise Unavailable("Kraken's dead man's switch was set otherwise meanwhile, nothing was sent")
            if not await self._set_timer(after_ns // NS):
                raise Rejected("Kraken does not arm its dead man's switch")

    async def disarm_dead_man(self) -> None:
        """It leaves at once. Its number is higher than that of any arming before it, which Kraken refuses should it arrive later."""
        self._timings += 1
        if await self._set_timer(0):
            raise InDoubt("Kraken says that its dead man's switch is still armed")

    async def _set_timer(self, timeout_s: int) -> bool:
        """Whether it is armed after that."""
        return (await self._change("CancelAllOrdersAfter", {"timeout": str(timeout_s)}, wire.Timer)).trigger_time != "0"

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        """Every order that is not over; they come in one answer."""
        found = await self._ask("OpenOrders", {}, wire.OpenOrders)
        return tuple([await self._row(order_id, order) for order_id, order in found.open.items()])

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """Among the open orders, then among those that are over; an order without a client id by its own. A change without an answer is looked for
        in its order."""
        amend = self._amends.get(cl_ord_id)
        if amend is not None:
            return await self._amend_status(amend)
        if cl_ord_id.startswith(_EXTERNAL):
            return await self._by_id(cl_ord_id.rpartition(":")[2])
        working = await self._ask("OpenOrders", {"cl_ord_id": cl_ord_id}, wire.OpenOrders)
        over = {} if working.open else await self._closed(cl_ord_id)
        rows = {order_id: order for order_id, order in (*working.open.items(), *over.items()) if order.cl_ord_id == cl_ord_id}
        if not rows:
            return None
        order_id = max(rows, key=lambda name: rows[name].opentm)  # an id is free again once its order is over
        return await self._row(order_id, rows[order_id])

    async def _by_id(self, order_id: str) -> ExecutionReport | None:
        try:
            rows = await self._ask("QueryOrders", {"txid": order_id}, dict[str, wire.Order])
        except BadRequest:  # unknown
            return None
        return await self._row(order_id, rows[order_id]) if order_id in rows else None

    async def _closed(self, cl_ord_id: ClOrdID) -> Mapping[str, wire.Order]:
        return (await self._ask("ClosedOrders", {"cl_ord_id": cl_ord_id}, wire.ClosedOrders, cost=HISTORY_COST)).closed

    async def _amend_status(self, amend: Amend) -> ExecutionReport | None:
        """An amended order by its row, which says no more than how it stands."""
        rows = await self._ask("QueryOrders", {"txid": amend.order_id}, dict[str, wire.Order])
        if amend.order_id not in rows:
            return None
        found = self._amends.found(amend, await self._row(amend.order_id, rows[amend.order_id]))
        if found is not None:
            self._amends.settle(amend.cl_ord_id)
        return found

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        """Every trade since then, oldest first, each joined with its order's row."""
        names = await self._listed()
        found = await self._history("TradesHistory", since_ns, wire.TradesHistory, lambda page: page.trades)
        rows = await self._order_rows({fill.ordertxid for fill in found.values()})
        reports = []
        for exec_id, fill in reversed(found.items()):
            row = rows.get(fill.ordertxid)
            if row is None:
                raise ProtocolError("a trade of an order that Kraken does not know", fill.ordertxid.encode())
            report = codec.decode_fill(exec_id, fill, row.report, names, fee_in_base=row.fee_in_base, recv_ns=self._clock.now_ns())
            reports.append(report)
        return tuple(report for report in sorted(reports, key=lambda one: one.transact_ns) if report.transact_ns >= since_ns)

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        """Every ledger entry that is no fill."""
        names = await self._listed()
        found = await self._history("Ledgers", since_ns, wire.Ledgers, lambda page: page.ledger)
        flows = [codec.decode_flow(name, entry, names) for name, entry in reversed(found.items()) if entry.type != codec.TRADE]
        return tuple(flow for flow in sorted(flows, key=lambda one: one.transact_ns) if flow.transact_ns >= since_ns)

    async def _history(self, name: str, since_ns: int, kind: type[Any], rows: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
        """All pages. They come newest first and by offset: what happens meanwhile shows a row twice, and never hides one."""
        found: dict[str, Any] = {}
        form = {"start": str(max(0, since_ns // NS - 1))} if since_ns >= NS else {}
        for page_number in range(PAGES_MAX):
            page = await self._ask(name, form | ({"ofs": str(page_number * ORDERS_PAGE)} if page_number else {}), kind, cost=HISTORY_COST)
            found |= rows(page)
            if len(rows(page)) < ORDERS_PAGE:
                return found
        raise ProtocolError(f"more than {PAGES_MAX} pages of {name}")

    async def _order_rows(self, order_ids: Iterable[str]) -> dict[str, _Row]:
        """The rows of these orders: remembered ones, and the others by as few questions as that takes."""
        wanted = sorted(order_ids)
        unknown = [order_id for order_id in wanted if order_id not in self._rows]
        for place in range(0, len(unknown), QUERY_MAX):
            form = {"txid": ",".join(unknown[place : place + QUERY_MAX])}
            for order_id, order in (await self._ask("QueryOrders", form, dict[str, wire.Order])).items():
                await self._row(order_id, order)
        return {order_id: self._rows[order_id] for order_id in wanted if order_id in self._rows}

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        """Orders and money as they move. After each LIVE the desk reads again what ended while nobody listened."""
        self._session = session = PrivateSession(self._urls.private_stream)
        self._stream = Supervisor(session, _TokenDialer(self._dialer, session, self._token), self._clock, self._rng)
        try:
            async for event in self._stream.run():
                match event:
                    case LinkEvent():
                        self._live = event.kind is LinkKind.UP
                        self._give_up(event)
                        yield stream_state(event, "orders", self._clock.now_ns())
                    case wire.Execution():
                        try:
                            report = await self._execution(event)
                        except Unavailable as error:
                            yield self._state(Link.GAP, f"what an event leaves out could not be asked for: {error}")
                            if self._live:
                                yield self._state(Link.LIVE, "goes on; the desk reads what it was about")
                        else:
                            yield report
                    case Hole(text=text):
                        self._live = False
                        yield self._state(Link.GAP, text)
                    case Whole():
                        self._live = True
                        yield self._state(Link.LIVE, "begun anew")
                    case Moved():
                        yield self._state(Link.GAP, "money moved and is asked about; what the stream tells meanwhile waits")
                        with suppress(Unavailable):  # the desk asks again by itself
                            yield await self.account()
                        if self._live:
                            yield self._state(Link.LIVE, "goes on")
                    case Reply(frame=frame):
                        waiting = self._asked.pop(frame.req_id or 0, None)
                        if waiting is not None and not waiting.done():
                            waiting.set_result(frame)
        finally:
            self._live, self._stream = False, None

    def _state(self, link: Link, text: str) -> StreamState:
        return StreamState(broker=FACTS.broker, stream="orders", link=link, text=text, recv_ns=self._clock.now_ns())

    async def _execution(self, event: wire.Execution) -> ExecutionReport:
        """An event of an order that began before the stream did lacks what the row says."""
        if event.symbol is None or event.side is None or event.order_type is None:
            known = (await self._order_rows({event.order_id})).get(event.order_id)
            if known is None:
                raise ProtocolError("an event of an order that Kraken does not know", event.order_id.encode())
            event = changed(event, **codec.words_of(known.report))
        report = codec.decode_execution(event, self._clock.now_ns())
        self._remember(self._rows, event.order_id, _Row(report, fee_in_base=event.fee_ccy_pref == "fcib"))
        if event.exec_type == "amended":  # by us, it may be: then what follows is the new intent's, whenever the answer comes
            return next((found for amend in self._amends.on(event.order_id) if (found := self._amends.found(amend, report)) is not None), report)
        return report

    async def _row(self, order_id: str, order: wire.Order) -> ExecutionReport:
        """Remember an order's row for its fills, and translate it."""
        report = codec.decode_order(order_id, order, await self._listed(), self._clock.now_ns())
        self._remember(self._rows, order_id, _Row(report, fee_in_base="fcib" in order.oflags.split(",")))
        return report

    @staticmethod
    def _remember(known: OrderedDict[Any, _T], name: str, value: _T) -> None:
        known[name] = value
        known.move_to_end(name)
        if len(known) > ROWS_MAX:
            known.popitem(last=False)

    # -- order entry by stream ----------------------------------------------------------------------------------------------------

    async def _add_by_stream(self, form: Mapping[str, str], approved: Approved) -> str:
        """add_order over the account's stream. Once the frame is handed over, only a reply says what became of it."""
        assert self._stream is not None
        assert self._session is not None
        self._number += 1
        number = self._number
        self._look(approved)
        params = codec.encode_add_params({**form, "deadline": self._deadline()}, approved.symbol)
        waiting = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            await self._stream.send((auth.method("add_order", number, self._session.token, params),))
            async with asyncio.timeout(ANSWER_WITHIN_NS / NS):
                frame = await waiting
        except TimeoutError:
            raise InDoubt("Kraken's stream did not answer the order. The desk asks what became of it; do not send it again") from None
        finally:
            self._asked.pop(number, None)
        if not frame.success:
            raise refusal((frame.error,), changes=True)
        try:
            return msgspec.json.decode(frame.result, type=wire.MethodOrder).order_id
        except wire.UNREADABLE as error:
            raise InDoubt(f"Kraken's stream answered with something that is no order ({error})") from None

    def _give_up(self, event: LinkEvent) -> None:
        """The line is gone: replies that were on their way will not come."""
        if event.kind is not LinkKind.UP:
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_exception(InDoubt(f"Kraken's stream ended before it answered: {event.text}"))

    async def _token(self) -> Secret:
        return Secret((await self._ask("GetWebSocketsToken", {}, wire.Token)).token)

    # -- market data --------------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        tickers = await self._of_pair("Ticker", instrument, {}, dict[str, wire.Ticker])
        return codec.decode_quote(tickers, instrument, self._clock.now_ns(), self._broker_ns())

    async def trade(self, instrument: InstrumentID) -> Trade:
        rows = await self._of_pair("Trades", instrument, {}, dict[str, msgspec.Raw], list[wire.TradeRow])
        if not rows:
            raise BadRequest(f"Kraken has no trade of {instrument}")
        return codec.decode_print(rows[-1], instrument, self._clock.now_ns())

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        raise BadRequest("Kraken keeps no history of quotes: `trading watch` shows them as they come, trades and bars can be asked for")

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        """By pages of a thousand, each from where the last one ended."""
        found: dict[str, Trade] = {}
        since_ns = start_ns - 1
        for _ in range(PAGES_MAX):
            query = {"since": str(since_ns), "count": str(TRADES_PAGE)}
            rows = await self._of_pair("Trades", instrument, query, dict[str, msgspec.Raw], list[wire.TradeRow])
            page = [codec.decode_print(row, instrument, self._clock.now_ns()) for row in rows]
            found |= {trade.trade_id: trade for trade in page if start_ns <= trade.transact_ns < end_ns}
            if len(page) < TRADES_PAGE or page[-1].transact_ns >= end_ns:
                return tuple(found.values())
            since_ns = page[-1].transact_ns - 1  # once more what happened in that very instant: ids tell them apart
        raise ProtocolError(f"more than {PAGES_MAX} pages of trades")

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        """The last 720 of a period, which is all that Kraken keeps; the one that is not over yet is left out."""
        if period_ns not in _PERIODS:
            raise BadRequest(f"Kraken has bars of {', '.join(map(str, _PERIODS.values()))} minutes")
        now_ns = self._broker_ns()
        if start_ns < now_ns - BARS_MAX * period_ns:
            raise BadRequest(f"Kraken keeps {BARS_MAX} bars of a period, and no older ones: ask for longer bars, or for trades")
        query = {"interval": str(_PERIODS[period_ns]), "since": str((start_ns - period_ns) // NS)}
        rows = await self._of_pair("OHLC", instrument, query, dict[str, msgspec.Raw], list[wire.OhlcRow])
        bars = (codec.decode_row(row, instrument, period_ns) for row in rows)
        return tuple(bar for bar in bars if start_ns <= bar.open_ns < end_ns and bar.open_ns + period_ns <= now_ns)

    async def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        """A connection of its own for each subscription. Raises BadRequest: a pair that Kraken does not have."""
        names = await self._listed()
        for instrument in instruments:
            _listed_or_refuse(instrument, names)
        session = DataSession(self._urls.public_stream, instruments, kinds)
        async for event in Supervisor(session, self._dialer, self._clock, self._rng).run():
            if isinstance(event, LinkEvent):
                yield stream_state(event, "market data", self._clock.now_ns())
            else:
                assert isinstance(event, Quote | Trade | Bar)
                yield event

    async def subscribe_depth(self, instruments: Sequence[InstrumentID], levels: int) -> AsyncGenerator[BookSnapshot | StreamState]:
        """Books by snapshot, changes and checksum. Raises BadRequest: a pair that Kraken does not have, or more levels than it shows."""
        names = await self._listed()
        if levels > BOOK_DEPTHS[-1]:
            raise BadRequest(f"Kraken shows {BOOK_DEPTHS[-1]} levels of a book")
        pairs = {instrument: _listed_or_refuse(instrument, names) for instrument in instruments}
        session = BookSession(self._urls.public_stream, pairs, levels)
        async for event in Supervisor(session, self._dialer, self._clock, self._rng).run():
            now_ns = self._clock.now_ns()
            match event:
                case LinkEvent():
                    yield stream_state(event, "books", now_ns)
                case Doubtful(instrument=instrument):
                    text = f"the book of {instrument} does not add up: it is asked for again"
                    yield StreamState(broker=FACTS.broker, stream="books", link=Link.GAP, text=text, recv_ns=now_ns)
                case Sound(instrument=instrument):
                    yield StreamState(broker=FACTS.broker, stream="books", link=Link.LIVE, text=f"the book of {instrument}", recv_ns=now_ns)
                case BookSnapshot():
                    yield event

    async def _of_pair(self, call: str, instrument: InstrumentID, query: Mapping[str, str], kind: type[Any], inner: type[Any] | None = None) -> Any:
        """What a public call says of one pair. Raises BadRequest: there is no such pair."""
        names = await self._listed()
        pair = _listed_or_refuse(instrument, names)
        answer = await self._ask_public(call, {"pair": pair.altname, **query}, kind)
        found = codec.one_of(answer, (names.keys[instrument], pair.altname, pair.wsname or "", instrument))
        if found is None:
            raise ProtocolError(f"{call}: an answer that does not name {instrument}")
        return found if inner is None else _decoded(found, inner)

    # -- the wire -------------------------------------------------------------------------------------------------------------------

    async def _change(self, name: str, form: Mapping[str, str], kind: type[_T], approved: Approved | None = None) -> _T:
        """One call that changes something, sent once. Raises Unavailable: not sent. InDoubt: sent, no answer that says what became of it. NotSent: it
        may not go any more."""
        try:
            async with self._at_once():
                if approved is not None:
                    self._look(approved)
                    form = {**form, "deadline": self._deadline()}
                response = await self._http.send(self._signed(name, form), within_ns=ANSWER_WITHIN_NS)
        except NotSent as error:
            raise Unavailable(f"Kraken could not be reached, nothing was sent: {error}. {UNREACHABLE}") from None
        except NoAnswer as error:
            raise InDoubt(f"Kraken did not answer: {error}. The desk asks what became of it; do not send it again") from None
        if response.status != 200:
            raise edge(response, changes=True)
        try:
            envelope = strict.decode(response.body, wire.Envelope)
            if not failed(envelope.error):
                return msgspec.json.decode(envelope.result, type=kind)
        except wire.UNREADABLE as error:
            raise InDoubt(f"Kraken answered with something that says nothing of it ({error})") from None
        if meaning(envelope.error) is Meaning.MISSING:
            raise _Missing(str(refusal(envelope.error, changes=True)))
        raise refusal(envelope.error, changes=True)

    async def _ask(self, name: str, form: Mapping[str, str], kind: type[_T], *, cost: int = 1) -> _T:
        """A question about the account, again when it got no answer. Questions only: nothing that changes state comes through here."""
        pause_ns = PAUSE_NS
        for asked in range(1, ASKS_MAX + 1):
            await self._afford(self._calls, cost, "the key's")
            try:
                return await self._ask_once(name, form, kind)
            except Unavailable:  # RateLimited among them: where Kraken says so, the counter is full, and waited for
                if asked == ASKS_MAX:
                    raise
            await self._clock.sleep_ns(self._rng.randrange(pause_ns))
            pause_ns *= 2
        raise AssertionError("the loop returns or raises")

    async def _ask_once(self, name: str, form: Mapping[str, str], kind: type[_T]) -> _T:
        try:
            async with self._my_turn():
                sent_ns = self._clock.now_ns()
                response = await self._http.send(self._signed(name, form), within_ns=ANSWER_WITHIN_NS)
        except TransportError as error:
            raise Unavailable(f"Kraken could not be asked: {error}. {UNREACHABLE}") from None
        with suppress(ValueError):  # a date that nobody can read teaches nothing
            self._offset.learn_date(response.headers.get("date", ""), sent_ns, self._clock.now_ns())
        return self._answered(response, kind, self._calls)

    async def _ask_public(self, name: str, query: Mapping[str, str], kind: type[_T]) -> _T:
        """A question without a key, again where too many were asked from here."""
        url = f"{self._urls.rest}{PUBLIC}{name}" + (f"?{urlencode(query)}" if query else "")
        request = Request(method="GET", url=url)
        for asked in range(1, ASKS_MAX + 1):
            await self._afford(self._public, 1, "this address's")
            try:
                response = await get_with_retry(self._http, request, within_ns=ANSWER_WITHIN_NS, clock=self._clock, rng=self._rng)
                return self._answered(response, kind, self._public)
            except TransportError as error:
                raise Unavailable(f"Kraken could not be asked: {error}. {UNREACHABLE}") from None
            except RateLimited:  # the counter is full now, and waited for
                if asked == ASKS_MAX:
                    raise
        raise AssertionError("the loop returns or raises")

    def _answered(self, response: Response, kind: type[_T], counter: Counter) -> _T:
        if response.status != 200:
            raise edge(response, changes=False)
        try:
            envelope = strict.decode(response.body, wire.Envelope)
            if not failed(envelope.error):
                return _decoded(envelope.result, kind)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"Kraken's answer cannot be read ({error})", response.body) from None
        if meaning(envelope.error) is Meaning.BUDGET:
            counter.full(self._clock.monotonic_ns())
        raise refusal(envelope.error, changes=False)

    def _signed(self, name: str, form: Mapping[str, str]) -> Request:
        nonce = self._nonces()
        body = urlencode({"nonce": str(nonce), **form}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return auth.sign(Request(method="POST", url=f"{self._urls.rest}{PRIVATE}{name}", headers=headers, body=body), self._key, self._secret, nonce)

    @asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        """Nonces have to arrive in order: no question leaves while an answer is awaited."""
        async with self._turn:
            await self._unchanging.wait()
            yield

    @asynccontextmanager
    async def _at_once(self) -> AsyncIterator[None]:
        """What changes something does not wait: a question that hangs would hold back an exit. Should it overtake a question, that is refused and
        asked again; should one change overtake another, Kraken refuses that one, and nothing came of it."""
        self._changes += 1
        self._unchanging.clear()
        try:
            yield
        finally:
            self._changes -= 1
            if not self._changes:
                self._unchanging.set()

    def _deadline(self) -> str:
        return codec.encode_deadline(self._broker_ns() + DEADLINE_NS)

    def _broker_ns(self) -> int:
        """Kraken's time. It is told to the second: less than is certain is taken for none."""
        return self._clock.now_ns() + (self._offset.offset_ns() if self._offset.skew_ns() else 0)

    def _counter(self, instrument: InstrumentID) -> Counter:
        return self._pairs.setdefault(instrument, Counter(self._tier.orders_max, self._tier.orders_decay))

    def _afford_order(self, instrument: InstrumentID, cost: int) -> None:
        """An order never waits for its budget: the desk has looked at the halts for the last time. Raises RateLimited: nothing was sent."""
        now_ns, counter = self._clock.monotonic_ns(), self._counter(instrument)
        wait_ns = counter.wait_ns(now_ns, cost)
        if wait_ns:
            raise RateLimited(f"Kraken's order budget for {instrument} is spent. {_told(counter, wait_ns)} {BUDGET_HELP}", wait_ns)
        counter.take(now_ns, cost)

    async def _afford(self, counter: Counter, cost: int, whose: str) -> None:
        """Wait for a counter to fall, but not for long. Raises RateLimited: nothing was sent."""
        waited_ns = 0
        while wait_ns := counter.wait_ns(self._clock.monotonic_ns(), cost, urgent=True):
            waited_ns += wait_ns
            if waited_ns > BUDGET_WAIT_MAX_NS:
                raise RateLimited(f"Kraken's request budget is spent: {whose}. {_told(counter, wait_ns)} {BUDGET_HELP}", wait_ns)
            await self._clock.sleep_ns(wait_ns)
        counter.take(self._clock.monotonic_ns(), cost)


class _Missing(InDoubt):
    """Kraken does not find the order that was to be changed."""


class _TokenDialer:
    """A dialer that fetches a token before each connection and leaves it with the session."""

    def __init__(self, dialer: Dialer, session: PrivateSession, token: Callable[[], Any]) -> None:
        self._dialer = dialer
        self._session = session
        self._token = token

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        """Raises as any dialer. Refused with 401: Kraken gives this key no token."""
        try:
            self._session.token = await self._token()
        except AuthFailed as error:
            raise Refused(401, str(error).encode()) from None
        except DeskError as error:
            raise NotSent(f"no token for the account's stream: {error}") from None
        return await self._dialer.dial(url, headers, within_ns=within_ns)


def _urls(options: Mapping[str, str]) -> Urls:
    """Kraken's hosts, or one port of a twin for all of them."""
    url = options.get("url")
    if url is None:
        return URLS
    stream = "ws" + url.removeprefix("http") + STREAM_PATH
    return Urls(rest=url, public_stream=stream, private_stream=stream)


def _listed_or_refuse(instrument: InstrumentID, names: codec.Names) -> wire.AssetPair:
    """Raises BadRequest: not a pair in USD that Kraken lists; with the spelling that was meant, where one is near."""
    pair = names.pairs.get(instrument)
    if pair is not None and instrument.endswith(f"/{QUOTE}"):
        return pair
    meant = names.instruments.get(instrument) or names.instruments.get(instrument.replace("/", ""))
    known = meant or next((one for one in names.pairs if one.replace("/", "") == instrument.replace("/", "")), None)
    if known is not None and known != instrument and known.endswith(f"/{QUOTE}"):
        raise BadRequest(f"write {known}, not {instrument}")
    raise BadRequest(f"Kraken has no {instrument} here: this version trades pairs in {QUOTE}, written BTC/{QUOTE}")


def _decoded(raw: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    """Raises ProtocolError: not of that kind."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except wire.UNREADABLE as error:
        raise ProtocolError(f"Kraken's answer cannot be read ({error})", bytes(raw)) from None


def _cost(costs: Sequence[tuple[int, int]], age_ns: int) -> int:
    """What touching an order of this age costs."""
    return next((cost for younger_ns, cost in costs if age_ns < younger_ns), 0)


def _told(counter: Counter, wait_ns: int) -> str:
    return f"Wait {-(-wait_ns // NS)} s; the budget is {counter.most} points, which come back by themselves."


def _no_look(_: Approved) -> None:
    """Nobody halts anything where there is no desk."""
