"""Interactive Brokers behind the port, by the socket of TWS: joins session, codec and orders to the line. Async, as line.py and feeds.py are."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ib_async import Contract as IbContract
from ib_async import ContractDetails, ExecutionFilter, OrderState
from msgspec.structs import replace as changed

from trading_system.brokers.amends import Amend, Amends
from trading_system.brokers.ibkr.auth import prove
from trading_system.brokers.ibkr.contracts import FUTURES, futures_of, pairs_like, unknown
from trading_system.brokers.ibkr.errors import (
    BACK,
    BACK_WITHOUT_DATA,
    LOST,
    refusal,
    refuses_change,
    refuses_new,
    said,
)
from trading_system.brokers.ibkr.facts import FACTS, HEARTBEAT_NS, HISTORY_TICKS_MAX, LISTED, LISTED_BONDS, LISTED_FUTURES, NAME, NEAREST_FUTURES
from trading_system.brokers.ibkr.links import PART
from trading_system.brokers.ibkr.spreads import EXTERNAL, legs_of
from trading_system.brokers.ibkr.tws import codec
from trading_system.brokers.ibkr.tws.codec import Row
from trading_system.brokers.ibkr.tws.feeds import Feeds
from trading_system.brokers.ibkr.tws.line import NOBODY, Line
from trading_system.brokers.ibkr.tws.orders import Orders
from trading_system.brokers.ibkr.tws.session import Heard, Mouth, TwsSession
from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.errors import BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import OrdStatus
from trading_system.domain.future import is_future, parse_future
from trading_system.domain.ids import ClOrdID, InstrumentID
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.option import OptionSnapshot, Right
from trading_system.domain.order import Approved, NewOrder, Order
from trading_system.domain.ports import Budget, Clock, Kinds, Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.domain.search import Match
from trading_system.domain.times import NS
from trading_system.settings.secret import Secret
from trading_system.transport.clock import BrokerOffset
from trading_system.transport.http import Http
from trading_system.transport.supervise import LinkEvent, LinkKind
from trading_system.transport.websocket import Dialer

CONNECT_WITHIN_NS = 20 * NS
ANSWER_WITHIN_NS = 10 * NS
WAITING_MAX = 10_000  # events that nobody has read
QUOTED_AT_ONCE = 40  # options of a chain
DETAILS_MAX = 2_000  # contracts whose grid is remembered
DETAILS_LIFE_NS = 3_600 * NS
_LINK = {LinkKind.UP: Link.LIVE, LinkKind.DOWN: Link.GAP, LinkKind.STALE: Link.STALE, LinkKind.REFUSED: Link.REFUSED}
_DAY_NS = 86_400 * NS
Told = ExecutionReport | StreamState | DeskError


class _Word:
    """The first word on an order or on a change of one: a row, or a refusal. wanted: whether a row is that word already."""

    def __init__(self, refuses: Callable[[int], bool], wanted: Callable[[Row], bool]) -> None:
        self.refuses = refuses
        self.wanted = wanted
        self.text = ""  # warnings that came first
        self.said: asyncio.Future[Row] = asyncio.get_running_loop().create_future()

    def stands(self, row: Row) -> None:
        if not self.said.done() and self.wanted(row):
            self.said.set_result(row)

    def fail(self, error: DeskError) -> None:
        if not self.said.done():
            self.said.set_exception(error)
            self.said.exception()  # looked at: whoever waited may have given up


class TwsConnector:
    """Broker and MarketData for one account of a TWS or IB Gateway."""

    facts = FACTS

    def __init__(
        self, *, http: Http, dialer: Dialer, clock: Clock, rng: random.Random, account: Secret, environment: str, options: Mapping[str, str]
    ) -> None:
        self._http = http
        self._clock = clock
        self._wanted = account
        self._environment = environment
        self._client_id = int(options.get("client_id", "1"))
        self._session = TwsSession(_url(options), self._client_id)
        self._line = Line(self._session, dialer, clock, rng, self._follow)
        self._orders = Orders()
        self._amends = Amends("order_qty", "price", "trail_px", "trail_pct")
        self._feeds = Feeds(self._line, clock)
        self._offset = BrokerOffset()
        self._account = ""
        self._readers: list[asyncio.Queue[Told]] = []
        self._trials: dict[int, asyncio.Future[OrderState]] = {}  # by order id
        self._words: dict[int, list[_Word]] = {}  # by order id: who waits for one
        self._details: OrderedDict[InstrumentID, tuple[ContractDetails, Instrument, int]] = OrderedDict()
        self._rules: dict[str, tuple[TickBand, ...]] = {}
        self._looks: dict[bool, asyncio.Task[None]] = {}  # questions about all orders: under way, and the one after it
        self._naming: dict[int, asyncio.Task[None]] = {}  # by permId: orders whose legs are asked for
        self._lost = ""  # what TWS said of its link to IB
        self._tasks: list[asyncio.Task[None]] = []

    # -- account ----------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Reach TWS and prove the account's kind before anything else. Raises Unavailable: not reached, or the client id is taken. AuthFailed."""
        try:
            await self._line.start(within_ns=CONNECT_WITHIN_NS)
            self._account = prove(self._wanted, self._session.accounts, self._environment)
        except DeskError:
            await self._line.aclose()
            raise
        self._line.raise_floor(self._orders.highest + 1)
        with suppress(Unavailable):
            await self._time()
        self._tasks = [asyncio.create_task(self._beat(), name="heart ibkr")]

    async def aclose(self) -> None:
        for task in (*self._tasks, *self._looks.values(), *self._naming.values()):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._feeds.close()
        await self._line.aclose()
        await self._http.aclose()

    def skew_ns(self) -> int:
        return self._offset.skew_ns()

    def budgets(self) -> Mapping[str, Budget]:
        return self._line.budgets()

    async def _beat(self) -> None:
        """TWS says nothing by itself that shows that it lives: it is asked for the time. What waits for its fee for too long is told without."""
        due_ns = 0
        while True:
            now_ns = self._clock.monotonic_ns()
            if self._line.up and now_ns >= due_ns:
                due_ns = now_ns + HEARTBEAT_NS
                with suppress(DeskError):
                    await self._time()
            with suppress(DeskError):
                await self._fees()
            await self._clock.sleep_ns(NS)

    async def _fees(self) -> None:
        """An execution whose fee is late is asked for once more; what then has none is told without."""
        late = self._orders.late(self._clock.now_ns())
        if late:
            await self._executions()
            for report in self._orders.without_fee(late, self._clock.now_ns()):
                self._tell(report)

    async def _time(self) -> None:
        sent_ns = self._clock.now_ns()
        (answer,) = await self._line.ask_all("time", "currentTime", lambda mouth: mouth.reqCurrentTime())
        self._offset.learn(int(answer.args[0]) * NS, sent_ns, self._clock.now_ns(), grain_ns=NS)

    async def account(self) -> AccountSnapshot:
        """Figures and portfolio in one answer: asked for anew each time, because TWS tells of changes only every three minutes. IB's own figures
        may be as old as that."""
        rows = await self._line.ask_all("account", "accountDownloadEnd", lambda mouth: mouth.reqAccountUpdates(True, self._account))
        await self._line.say(lambda mouth: mouth.reqAccountUpdates(False, self._account))
        values = {(row.args[0], row.args[2]): row.args[1] for row in rows if row.name == "updateAccountValue"}
        held = {row.args[0].conId: row.args for row in rows if row.name == "updatePortfolio" and row.args[1]}
        await self._name_bonds(contract for contract, *_ in held.values())
        return codec.decode_account(values, held.values(), self._account, self._clock.now_ns())

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        """Named ones by their contract. All: those that are traded most, of futures the nearest; IB has no list of what it has."""
        wanted = symbols or (*LISTED, *LISTED_BONDS, *[name for root in LISTED_FUTURES for name in (await self._months(root))[:NEAREST_FUTURES]])
        found = await asyncio.gather(*(self._known(symbol) for symbol in wanted), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException) and (symbols or not isinstance(one, BadRequest)):
                raise one
        return tuple(one[1] for one in found if not isinstance(one, BaseException))

    async def search(self, text: str) -> tuple[Match, ...]:
        """Stocks and funds by IB's own search; coins, pairs and the months of a future by their symbols."""
        rows = await self._line.ask("symbolSamples", lambda mouth, number: mouth.reqMatchingSymbols(number, text))
        months = await self._months(root) if (root := text.upper()) in FUTURES else []
        futures = [Match(instrument=name, asset_class=AssetClass.LISTED_FUTURE, symbol=name) for name in months]
        return (*pairs_like(text), *futures, *[found for row in rows for found in codec.decode_samples(row.args[1])])

    async def _months(self, root: str) -> list[InstrumentID]:
        """The futures of a name, the nearest first; none: this TWS does not say."""
        wanted = codec.encode_contract(futures_of(root))
        try:
            rows = await self._line.ask("contractDetailsEnd", lambda mouth, number: mouth.reqContractDetails(number, wanted))
        except BadRequest:
            return []
        names = {codec.name_of(row.args[1].contract) for row in rows if row.name == "contractDetails"}
        return sorted(filter(is_future, names), key=lambda name: parse_future(name).expiry)

    async def _known(self, symbol: InstrumentID) -> tuple[ContractDetails, Instrument, int]:
        """A contract with its grid, asked for once an hour. Raises BadRequest: IB has none, or several."""
        now_ns = self._clock.now_ns()
        known = self._details.get(symbol)
        if known is not None and now_ns < known[2]:
            return known
        wanted = codec.words_of(symbol)
        try:
            rows = await self._line.ask("contractDetailsEnd", lambda mouth, number: mouth.reqContractDetails(number, wanted))
        except BadRequest:
            raise unknown(symbol) from None
        details = {row.args[1].contract.conId: row.args[1] for row in rows if row.name == "contractDetails"}
        if len(details) != 1:
            raise BadRequest(f"Interactive Brokers has {len(details)} contracts that could be {symbol}")
        (one,) = details.values()
        assert one.contract is not None
        self._orders.learn(one.contract)
        instrument = codec.decode_details(one, await self._rule(one), now_ns)
        if instrument.id != symbol:
            raise unknown(symbol)
        self._details[symbol] = (one, instrument, now_ns + DETAILS_LIFE_NS)
        if len(self._details) > DETAILS_MAX:
            self._details.popitem(last=False)
        return self._details[symbol]

    async def _rule(self, details: ContractDetails) -> tuple[TickBand, ...]:
        """The steps of its prices: the market rule of the exchange that it is sent to."""
        assert details.contract is not None
        rules = dict(zip(details.validExchanges.split(","), details.marketRuleIds.split(","), strict=False))
        number = rules.get(details.contract.exchange, "")
        if number and number not in self._rules:
            (row,) = await self._line.ask_all("rule", "marketRule", lambda mouth: mouth.reqMarketRule(int(number)))
            if str(row.args[0]) == number:
                self._rules[number] = codec.decode_rule(row.args[1])
        return self._rules.get(number, ())

    async def _asked_for(self, request: NewOrder) -> IbContract:
        """The contract that an order is about: of several legs the one that has them."""
        if not request.legs:
            return await self._contract(request.instrument)
        return codec.encode_bag(request.instrument, [(await self._contract(leg.instrument), leg) for leg in request.legs])

    async def _contract(self, symbol: InstrumentID) -> IbContract:
        details, _, _ = await self._known(symbol)
        assert details.contract is not None
        return details.contract

    # -- orders -----------------------------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Place an order once. Raises Rejected, Unavailable (not sent), InDoubt (sent, no answer)."""
        request = approved.request
        contract = await self._asked_for(request)
        self._refuse_while_lost()
        word = _Word(refuses_new, lambda _row: True)

        def speak(mouth: Mouth, number: int) -> None:
            for place, part in enumerate(codec.encode_linked(request, self._account, approved.cl_ord_id, number)):
                mouth.placeOrder(number + place, contract, part)

        parts = len(codec.encode_linked(request, self._account, approved.cl_ord_id, 0))
        await self._line.say_order(speak, lambda number: self._wait(number, word), parts=parts)
        row = await self._first(word, "the order was sent")
        report = self._report(row)
        if report.ord_status is OrdStatus.REJECTED:
            raise Rejected(f"Interactive Brokers refused: {row.text or row.status}")
        return changed(report, cl_ord_id=approved.cl_ord_id)

    def _report(self, row: Row) -> ExecutionReport:
        """How an order stands, with what IB holds for it."""
        now_ns = self._clock.now_ns()
        report = self._orders.report(row, now_ns)
        if report.parent is not None or report.legs:
            return report
        return changed(report, children=tuple(codec.decode_row(part, now_ns) for part in self._orders.parts(report.cl_ord_id)))

    async def validate(self, approved: Approved) -> str:
        """whatIf: IB says what the order would tie up, and nothing comes of it."""
        assert approved.dry_run
        contract = await self._asked_for(approved.request)
        order = codec.encode_trial(approved.request, self._account, approved.cl_ord_id)
        answer: asyncio.Future[OrderState] = asyncio.get_running_loop().create_future()
        number = await self._line.say_order(
            lambda mouth, number: mouth.placeOrder(number, contract, order), lambda number: self._trials.__setitem__(number, answer)
        )
        try:
            async with asyncio.timeout(ANSWER_WITHIN_NS / NS):
                return codec.decode_trial(await answer)
        except TimeoutError:
            raise Unavailable("Interactive Brokers' check did not say") from None
        finally:
            self._trials.pop(number, None)

    def _refuse_while_lost(self) -> None:
        """What is sent while TWS has lost IB waits there, for how long nobody knows. Raises Unavailable: nothing was sent."""
        if self._lost:
            raise Unavailable(f"TWS has no link to IB, nothing was sent: {self._lost}")

    def _wait(self, number: int, word: _Word) -> None:
        """Until the word has been said, or nobody waits for it any more."""
        waiting = self._words.setdefault(number, [])
        waiting.append(word)
        word.said.add_done_callback(lambda _: waiting.remove(word))

    async def _first(self, word: _Word, what: str) -> Row:
        """Raises Rejected. InDoubt: no word in time."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN_NS / NS):
                return await word.said
        except TimeoutError:
            raise InDoubt(f"{what}; TWS has not answered. {word.text}".rstrip()) from None

    async def replace(self, approved: Approved) -> ExecutionReport:
        """The same number again with other prices, size or duration; the order goes on as what it was. A word about the change is about nothing else.
        Raises as submit."""
        assert approved.orig_order_id is not None
        row = self._orders.find(approved.orig_order_id)
        if row is None or not row.order_id:
            await self._look()
            row = self._orders.find(approved.orig_order_id)
        if row is None or self._orders.is_over(row):
            raise Rejected("there is nothing left to change")
        self._refuse_while_lost()
        self._refuse_foreign(row)
        contract = await self._contract(approved.request.instrument)
        order = codec.encode_order(approved.request, self._account, ClOrdID(row.order.orderRef))
        amend = Amend(cl_ord_id=approved.cl_ord_id, order_id=row.name, wish=approved.request)
        number = row.order_id
        word = _Word(refuses_change, lambda row: self._amends.found(amend, codec.decode_row(row, 0)) is not None)
        self._amends.begin(amend)
        self._wait(number, word)
        try:
            await self._line.say_change(lambda mouth: mouth.placeOrder(number, contract, order), urgent=False)
            stands = await self._first(word, "the change was sent")
        except (Rejected, Unavailable):
            self._amends.settle(approved.cl_ord_id)
            raise
        self._amends.settle(approved.cl_ord_id)
        return changed(codec.decode_row(stands, self._clock.now_ns()), cl_ord_id=approved.cl_ord_id)

    def _refuse_foreign(self, row: Row) -> None:
        """A cancel or a change names no more than an order id, which another client may have used too. Raises Rejected."""
        if row.client_id != self._client_id or row.order_id <= 0:
            who = "by hand in TWS" if row.order_id <= 0 else f"by client {row.client_id}"
            raise Rejected(f"the order was placed {who}: only there can it be cancelled or changed, or with everything that rests at this account")

    async def cancel(self, order: Order) -> ExecutionReport:
        """A request. The answer is how the order stands after it; a refused cancel is a question. Raises Rejected: another client's order."""
        assert order.order_id is not None
        row = self._orders.find(order.order_id)
        if row is None or not row.order_id:
            await self._look()
            row = self._orders.find(order.order_id)
        if row is None:
            raise InDoubt("TWS does not know the order; nothing was sent")
        if self._orders.is_over(row):
            return self._orders.report(row, self._clock.now_ns())
        self._refuse_foreign(row)
        number = row.order_id
        word = _Word(refuses_change, lambda _row: True)
        self._wait(number, word)
        try:
            await self._line.say_change(lambda mouth: mouth.cancelOrder(number), urgent=True)
            row = await self._first(word, "the cancel was sent")
        except Rejected:
            row = await self._asked(order)
        return self._orders.report(row, self._clock.now_ns())

    async def _asked(self, order: Order) -> Row:
        """How an order stands whose cancel was not taken. Raises InDoubt: nobody says."""
        try:
            await self._look()
        except (Unavailable, BadRequest) as error:
            raise InDoubt(f"the cancel was sent; how the order stands is not known: {error}") from None
        assert order.order_id is not None
        row = self._orders.find(order.order_id)
        if row is None:
            raise InDoubt("the cancel was sent; TWS does not say how the order stands")
        return row

    async def cancel_all(self) -> None:
        """Every order of the user, those of other clients and those placed by hand included."""
        await self._line.say_change(lambda mouth: mouth.reqGlobalCancel(), urgent=True)

    def recall(self, orders: Iterable[Order]) -> None:
        """Names and numbers that an earlier run knew, and changes that it was in doubt about. No number is given out twice, whatever TWS says."""
        known = tuple(orders)
        self._orders.recall(known)
        self._amends.recall(known)
        self._line.raise_floor(self._orders.highest + 1)

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        """Everybody's: the user's other clients, and what was placed by hand."""
        await self._look()
        now_ns = self._clock.now_ns()
        standing = [self._orders.report(row, now_ns) for row in tuple(self._orders.rows.values()) if not self._orders.is_over(row)]
        return tuple(one for report in standing for one in (report, *legs_of(report)))

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """Among what is open and what ended today. A change without an answer is looked for in its order."""
        await self._look()
        now_ns = self._clock.now_ns()
        amend = self._amends.get(cl_ord_id)
        if amend is not None:
            row = self._orders.find(amend.order_id)
            found = None if row is None else self._amends.found(amend, codec.decode_row(row, now_ns))
            if found is not None:
                self._amends.settle(cl_ord_id)
            return found
        for row in reversed(self._orders.rows.values()):
            if row.order.orderRef == cl_ord_id or f"{EXTERNAL}{row.name}" == cl_ord_id:
                return self._report(row)
            if cl_ord_id.startswith(f"{EXTERNAL}{row.name}{PART}"):
                return next((leg for leg in legs_of(self._report(row)) if f"{EXTERNAL}{leg.order_id}" == cl_ord_id), None)
        return None

    async def _look(self) -> None:
        """Ask for what is open, and then for what ended today: what ends between the two is in the second. Whoever asks while this is under way
        shares the next one. Raises Unavailable."""
        waiting = self._looks.get(True)
        if waiting is None:
            waiting = self._looks[True] = asyncio.create_task(self._look_next(), name="look ibkr")
        await asyncio.shield(waiting)

    async def _look_next(self) -> None:
        before = self._looks.get(False)
        if before is not None:
            await asyncio.wait((before,))
        task = self._looks.pop(True)
        self._looks[False] = task
        started_ns = self._clock.now_ns()
        opened = await self._line.ask_all("open", "openOrderEnd", lambda mouth: mouth.reqAllOpenOrders())
        ended = await self._line.ask_all("completed", "completedOrdersEnd", lambda mouth: mouth.reqCompletedOrders(False))
        listed = {row.args[2].permId for row in opened if row.name == "openOrder"} | {
            row.args[1].permId for row in ended if row.name == "completedOrder"
        }
        self._orders.keep(listed, started_ns)
        await self._name_legs([number for row in tuple(self._orders.rows.values()) for number in self._orders.nameless(row)])

    async def _name_legs(self, numbers: Iterable[int]) -> None:
        """Of an order that comes from before the desk, or from somebody else, TWS tells no more of its legs than their numbers, and of a bond no more
        than its issuer."""
        for number in dict.fromkeys(numbers):
            wanted = codec.by_number(number)
            try:
                rows = await self._line.ask("contractDetailsEnd", lambda mouth, asked: mouth.reqContractDetails(asked, wanted))  # noqa: B023 awaited
            except BadRequest:  # it is over
                rows = []
            for row in rows:
                if row.name == "contractDetails":
                    self._orders.learn(row.args[1].contract)
            self._orders.legs.setdefault(number, InstrumentID(f"{number}.LEG"))

    async def _name_bonds(self, contracts: Iterable[IbContract]) -> None:
        """TWS calls bonds by their issuer wherever it tells of an order, an execution or a position."""
        nameless = [contract for contract in contracts if self._orders.lacks(contract)]
        await self._name_legs([contract.conId for contract in nameless])
        for contract in nameless:
            self._orders.lacks(contract)

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        """Today's executions, each with its fee, oldest first; TWS keeps no older ones. Their times are cut to the second."""
        await self._look()
        executions = await self._executions()
        await self._name_bonds(contract for contract, _ in executions)
        found = self._orders.listing(executions, self._clock.now_ns())
        return tuple(one for one in found if one.transact_ns >= since_ns // NS * NS)

    async def _executions(self) -> list[tuple[IbContract, Any]]:
        wanted = ExecutionFilter(acctCode=self._account)
        rows = await self._line.ask("execDetailsEnd", lambda mouth, number: mouth.reqExecutions(number, wanted), ends_if_any=True)
        return [(row.args[1], row.args[2]) for row in rows if row.name == "execDetails"]

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        """TWS tells of none: deposits, dividends and interest stand in statements."""
        return ()

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        """What the line hears from now on. After each LIVE the desk reads again what was not told. Raises ProtocolError: a word we do not know."""
        reader: asyncio.Queue[Told] = asyncio.Queue(WAITING_MAX)
        self._readers.append(reader)
        try:
            if self._line.up:
                yield self._state(Link.GAP if self._lost else Link.LIVE, self._lost)
            while True:
                event = await reader.get()
                if isinstance(event, DeskError):
                    raise event
                yield event
        finally:
            self._readers.remove(reader)

    def _state(self, link: Link, text: str) -> StreamState:
        return StreamState(broker=NAME, stream="orders", link=link, text=text, recv_ns=self._clock.now_ns())

    def _tell(self, event: Told) -> None:
        for reader in self._readers:
            if reader.full():
                while not reader.empty():
                    reader.get_nowait()
                reader.put_nowait(self._state(Link.GAP, "events were dropped: nobody read them"))
            reader.put_nowait(event)

    # -- what is heard ----------------------------------------------------------------------------------------------------------

    def _follow(self, event: Heard | LinkEvent) -> None:
        """Every message, before any answer is made of it. What cannot be understood is an event: the desk halts, the line goes on."""
        if isinstance(event, LinkEvent):
            self._turned(event)
            return
        for hears in (self._hear, self._feeds.hear):
            try:
                hears(event)
            except ProtocolError as error:
                self._tell(error)

    def _turned(self, event: LinkEvent) -> None:
        self._lost = ""
        if event.kind is not LinkKind.UP:
            self._orders.forget()
            for word in [word for waiting in self._words.values() for word in waiting]:
                word.fail(InDoubt(f"it was sent, and the connection ended before TWS had answered: {event.text}"))
        elif self._account and self._account not in self._session.accounts:
            self._tell(ProtocolError(f"TWS is logged in to {', '.join(self._session.accounts)} now"))
        self._tell(self._state(_LINK[event.kind], event.text))
        self._feeds.turned(event)

    def _hear(self, message: Heard) -> None:
        now_ns = self._clock.now_ns()
        if self._is_anothers(message):
            return
        match message:
            case Heard("openOrder", (order_id, _, order, state)) if order_id in self._trials and order.clientId in (0, self._client_id):
                self._tried(order_id, state if order.whatIf else ProtocolError("IB placed what it was only to check", str(order.permId).encode()))
            case Heard("openOrder", (order_id, contract, order, state)):
                self._stands(self._orders.opened(order_id, contract, order, state.status, now_ns))
            case Heard("orderStatus", args):
                self._stands(self._orders.stands(args, now_ns))
            case Heard("completedOrder", (contract, order, state)):
                self._orders.completed(contract, order, state.status, state.completedStatus, now_ns)
            case Heard("execDetails", (number, contract, done)):
                report = self._orders.executed(contract, done, now_ns)
                if report is not None and number == NOBODY:
                    self._tell(report)
            case Heard("commissionReport", (fee,)):
                report = self._orders.charged(fee, now_ns)
                if report is not None:
                    self._tell(report)
            case Heard("error", (number, code, text, *_)):
                self._complains(number, code, text)

    def _is_anothers(self, message: Heard) -> bool:
        """Whether it is about another account of the same login, which this desk does not trade."""
        match message:
            case Heard("openOrder", (_, _, order, _)) | Heard("completedOrder", (_, order, _)):
                return order.account not in ("", self._account)
            case Heard("execDetails", (_, _, done)):
                return done.acctNumber not in ("", self._account)
        return False

    def _stands(self, row: Row | None) -> None:
        if row is None:
            return
        report = None if self._orders.nameless(row) else self._orders.report(row, self._clock.now_ns())
        if row.client_id == self._client_id:
            for word in tuple(self._words.get(row.order_id, ())):
                word.stands(row)
        if report is not None:
            self._tell(report)
        elif row.perm_id not in self._naming:
            self._naming[row.perm_id] = asyncio.create_task(self._tell_named(row), name="legs ibkr")

    async def _tell_named(self, row: Row) -> None:
        """An order of several legs whose names have to be asked for first. Where that fails the next look at all orders asks again."""
        try:
            await self._name_legs(self._orders.nameless(row))
            self._tell(self._orders.report(row, self._clock.now_ns()))
        except ProtocolError as error:
            self._tell(error)
        except (Unavailable, RateLimited):
            pass
        finally:
            self._naming.pop(row.perm_id, None)

    def _tried(self, number: int, answer: OrderState | DeskError) -> None:
        trial = self._trials.get(number)
        if trial is None or trial.done():
            return
        if isinstance(answer, DeskError):
            trial.set_exception(answer)
        else:
            trial.set_result(answer)

    def _complains(self, number: int, code: int, text: str) -> None:
        """What an error says of an order, by our own table; that something is wrong with TWS's link to IB makes everything in between unknown."""
        if code == LOST:
            self._lost = said(code, text)
            self._tell(self._state(Link.GAP, self._lost))
        elif code in (BACK, BACK_WITHOUT_DATA):
            self._lost = ""
            self._tell(self._state(Link.LIVE, said(code, text)))
        if refuses_new(code):
            self._tried(number, refusal(code, text))
        row = self._orders.placed(self._client_id, number) if number > 0 else None
        if row is not None:
            row.text = said(code, text)
        for word in tuple(self._words.get(number, ())):
            if word.refuses(code):
                word.fail(refusal(code, text))
            else:
                word.text = said(code, text)

    # -- market data --------------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        """Bid and offer as they are now. Raises BadRequest: no subscription."""
        return await self._feeds.quote(instrument, await self._contract(instrument))

    async def trade(self, instrument: InstrumentID) -> Trade:
        return await self._feeds.trade(instrument, await self._contract(instrument))

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        contract, found = await self._contract(instrument), []
        async for row in self._past(contract, "BID_ASK", "historicalTicksBidAsk", start_ns, end_ns):
            at_ns = codec.decode_time(row.time)
            found.append(
                Quote(
                    instrument=instrument,
                    bid_px=codec.decode_optional(row.priceBid),
                    bid_qty=codec.decode_number(row.sizeBid),
                    ask_px=codec.decode_optional(row.priceAsk),
                    ask_qty=codec.decode_number(row.sizeAsk),
                    transact_ns=at_ns,
                    recv_ns=self._clock.now_ns(),
                )
            )
        return tuple(found)

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        """Their times are cut to the second; IB gives them no names, so that each is called by its place in its second."""
        contract, found, place, before = await self._contract(instrument), [], 0, -1
        async for row in self._past(contract, "TRADES", "historicalTicksLast", start_ns, end_ns):
            at_ns = codec.decode_time(row.time)
            place, before = (place + 1 if at_ns == before else 0), at_ns
            found.append(
                Trade(
                    instrument=instrument,
                    price=codec.decode_number(row.price),
                    qty=codec.decode_number(row.size),
                    trade_id=f"{at_ns // NS}-{place}",
                    transact_ns=at_ns,
                    recv_ns=self._clock.now_ns(),
                )
            )
        return tuple(found)

    async def _past(self, contract: IbContract, what: str, ends: str, start_ns: int, end_ns: int) -> AsyncIterator[Any]:
        """Ticks from a second on, a thousand at a time and the last second whole."""
        from_ns = start_ns // NS * NS
        while from_ns < end_ns:
            start = codec.encode_time(from_ns)
            rows = await self._line.ask(ends, lambda mouth, number: _ask_ticks(mouth, number, contract, start, what))  # noqa: B023 awaited at once
            ticks = [tick for row in rows if row.name == ends for tick in row.args[1]]
            for tick in ticks:
                if start_ns <= codec.decode_time(tick.time) < end_ns:
                    yield tick
            if len(ticks) < HISTORY_TICKS_MAX:
                return
            from_ns = codec.decode_time(ticks[-1].time) + NS

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        """Regular hours and others, of what was traded; of moneys the middle."""
        if period_ns not in codec.BARS:
            raise BadRequest("Interactive Brokers has bars of 1, 2, 3, 5, 10, 15, 20 and 30 minutes, of 1, 2, 3, 4 and 8 hours, and of days")
        details, _, _ = await self._known(instrument)
        contract = details.contract
        assert contract is not None
        what = {"CASH": "MIDPOINT", "BOND": "MIDPOINT", "CRYPTO": "AGGTRADES"}.get(contract.secType, "TRADES")
        end, span = codec.encode_time(end_ns + NS), codec.encode_span(end_ns + NS - start_ns)

        def speak(mouth: Mouth, number: int) -> None:
            mouth.reqHistoricalData(number, contract, end, span, codec.BARS[period_ns], what, False, 2, False, [])

        rows = await self._line.ask("historicalDataEnd", speak)
        zone = ZoneInfo(details.timeZoneId)
        found = [codec.decode_bar(row.args[1], instrument, period_ns, zone) for row in rows if row.name == "historicalData"]
        return tuple(bar for bar in found if start_ns <= bar.open_ns < end_ns)

    async def expiries(self, underlying: InstrumentID) -> tuple[date, ...]:
        contract = await self._contract(underlying)
        rows = await self._line.ask(
            "securityDefinitionOptionParameterEnd",
            lambda mouth, number: mouth.reqSecDefOptParams(number, contract.symbol, "", contract.secType, contract.conId),
        )
        return codec.decode_days(row.args for row in rows if row.name == "securityDefinitionOptionParameter")

    async def chain(self, underlying: InstrumentID, expiry: date, right: Right | None = None) -> tuple[OptionSnapshot, ...]:
        """Each contract of the day is asked for its price; TWS has a hundred lines of market data."""
        wanted = codec.options_of(underlying, expiry, right)
        rows = await self._line.ask("contractDetailsEnd", lambda mouth, number: mouth.reqContractDetails(number, wanted))
        contracts = {codec.name_of(row.args[1].contract): row.args[1].contract for row in rows if row.name == "contractDetails"}
        slots = asyncio.Semaphore(QUOTED_AT_ONCE)

        async def line(instrument: InstrumentID, contract: IbContract) -> OptionSnapshot:
            async with slots:
                return await self._feeds.option(contract, instrument)

        lines = await asyncio.gather(*(line(instrument, contract) for instrument, contract in contracts.items()))
        return tuple(sorted(lines, key=lambda one: (one.contract.strike, one.contract.right)))

    async def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        """A line of market data for each. Raises BadRequest: bars, which are read by `trading bars`."""
        if kinds.bars:
            raise BadRequest("bars are not streamed here; `trading bars` reads them")
        contracts = {instrument: await self._contract(instrument) for instrument in instruments}
        async for event in self._feeds.subscribe(contracts, kinds):
            assert not isinstance(event, BookSnapshot)
            yield event

    async def subscribe_depth(self, instruments: Sequence[InstrumentID], levels: int) -> AsyncGenerator[BookSnapshot | StreamState]:
        """Each book after every change of a row. TWS gives three at once."""
        contracts = {instrument: await self._contract(instrument) for instrument in instruments}
        async for event in self._feeds.subscribe(contracts, Kinds(), levels):
            assert isinstance(event, BookSnapshot | StreamState)
            yield event


def _ask_ticks(mouth: Mouth, number: int, contract: IbContract, start: str, what: str) -> None:
    mouth.reqHistoricalTicks(number, contract, start, "", HISTORY_TICKS_MAX, what, 0, False, [])


def _url(options: Mapping[str, str]) -> str:
    """Where TWS listens, or the port of a twin."""
    if "url" in options:
        return f"tcp://{urlsplit(options['url']).netloc}"
    return f"tcp://{options.get('host', '127.0.0.1')}:{options.get('port', '7497')}"
