"""Interactive Brokers' Web API behind the port: joins codec, sessions and errors to transport. Async, as login.py and feeds.py are."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from trading_system.brokers.amends import Amend, Amends
from trading_system.brokers.ibkr.auth import prove
from trading_system.brokers.ibkr.contracts import FUTURES, HOME, Words, decode_instrument, decode_match, encode_instrument, pairs_like, unknown
from trading_system.brokers.ibkr.facts import BY_TWS_ALONE, FACTS, LISTED, LISTED_FUTURES, NEAREST_FUTURES
from trading_system.brokers.ibkr.links import PART, names_of
from trading_system.brokers.ibkr.spreads import BAG, EXTERNAL, as_whole, legs_of, names_leg, whole_name
from trading_system.brokers.ibkr.web import auth, codec, wire
from trading_system.brokers.ibkr.web.errors import is_over, refusal
from trading_system.brokers.ibkr.web.facts import (
    ANSWERED,
    GATEWAY,
    GATEWAY_URL,
    HOST,
    OAUTH1A,
    OAUTH2,
    QUESTIONS_MAX,
    QUESTIONS_PER_SECOND,
    TICKLE_EVERY_NS,
    TRADES_DAYS,
    US_EXCHANGES,
)
from trading_system.brokers.ibkr.web.feeds import Feed, Subscription
from trading_system.brokers.ibkr.web.login import Login, decoded
from trading_system.brokers.ibkr.web.session import OrderSession, PriceSession, stream_state
from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, Rejected, Unavailable
from trading_system.domain.errors import NotSent as Stopped
from trading_system.domain.fix import OrdStatus
from trading_system.domain.future import is_future
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID, is_ours
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ONE
from trading_system.domain.option import is_option, parse_occ, underlying_of
from trading_system.domain.order import Approved, Leg, Order
from trading_system.domain.ports import Budget, Clock, Kinds, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.domain.search import Match
from trading_system.domain.times import NS
from trading_system.settings.keys import MORE_CREDENTIALS
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.http import Http
from trading_system.transport.message import NotSent, Refused, Response
from trading_system.transport.supervise import LinkEvent, Supervisor
from trading_system.transport.websocket import Connection, Dialer

ROWS_MAX = 5_000  # orders and contracts whose names are remembered
WAITING_MAX = 10_000  # events that nobody has read
CONTRACT_LIFE_NS = 3_600 * NS
SNAPSHOTS_MAX = 6  # the first ones say nothing
FEE_WITHIN_NS = 10 * NS  # an execution without its commission is told without, after so long
_DAY_NS = 86_400 * NS
_T = TypeVar("_T")
_Told = ExecutionReport | StreamState | DeskError | None


class WebConnector:
    """Broker and MarketData for one account of the Web API."""

    facts = msgspec.structs.replace(
        FACTS,
        rules=tuple(rule for rule in FACTS.rules if rule.asset_class not in BY_TWS_ALONE),
        requests_per_minute=60 * QUESTIONS_PER_SECOND,
    )

    def __init__(
        self,
        *,
        http: Http,
        dialer: Dialer,
        clock: Clock,
        rng: random.Random,
        credentials: Mapping[str, Secret],
        environment: str,
        options: Mapping[str, str],
    ) -> None:
        self._http = http
        self._dialer = dialer
        self._clock = clock
        self._rng = rng
        self._wanted = credentials["account"]
        self._environment = environment
        kind = options.get("web_login", GATEWAY)
        self._url = options.get("url", GATEWAY_URL if kind == GATEWAY else f"https://{HOST}")
        self._login = Login(http=http, clock=clock, rng=rng, url=self._url, who=who(kind, credentials, options))
        self._account = ""
        self._one = asyncio.Lock()  # an order and the questions before it: another order would make them void
        self._look: Callable[[Approved], None] = _no_look
        self._names: OrderedDict[str, ClOrdID] = OrderedDict()  # by IBKR's number; "": nobody's of ours
        self._ids: OrderedDict[ClOrdID, str] = OrderedDict()  # and back
        self._parents: OrderedDict[str, ClOrdID] = OrderedDict()  # of exits that IBKR holds, by its number
        self._reports: OrderedDict[str, ExecutionReport] = OrderedDict()  # how each order stood at the last look
        self._amends = Amends("order_qty", "price", "trail_px", "trail_pct")
        self._orders = _Shared(clock, self._list_orders)
        self._trades = _Shared(clock, self._list_trades)
        self._con_ids: dict[InstrumentID, int] = {}
        self._instruments: OrderedDict[int, InstrumentID] = OrderedDict()  # by contract
        self._known: dict[InstrumentID, tuple[Instrument, int]] = {}
        self._feed: Feed | None = None
        self._heart: asyncio.Task[None] | None = None

    # -- account ----------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Log in, start the brokerage session, and prove the account's kind before anything else. Raises AuthFailed, Unavailable."""
        self._account = prove(self._wanted, await self._login.open(), self._environment)
        self._heart = asyncio.create_task(self._beat(), name="heart ibkr web")

    async def _beat(self) -> None:
        """Sessions that nobody tickles end after five minutes."""
        while True:
            await self._clock.sleep_ns(TICKLE_EVERY_NS)
            with suppress(DeskError):
                await self._login.tickle()

    async def aclose(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait((self._heart,))
        await self._http.aclose()

    def skew_ns(self) -> int:
        return self._login.offset.skew_ns()

    def budgets(self) -> Mapping[str, Budget]:
        return self._login.budgets()

    async def account(self) -> AccountSnapshot:
        """Three reads, not one instant."""
        summary = await self._login.ask(f"/portfolio/{self._account}/summary", {}, dict[str, wire.Figure])
        ledger = await self._login.ask(f"/portfolio/{self._account}/ledger", {}, dict[str, wire.Money])
        rows = await self._login.ask(f"/portfolio2/{self._account}/positions", {}, list[wire.Position])
        held = [(row, await self._instrument(int(codec.needed(row.conid, "contract")))) for row in rows]
        return codec.decode_account(self._account, summary, ledger, held, self._clock.now_ns())

    # -- contracts --------------------------------------------------------------------------------------------------------------

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        """Named ones by their contract. All: those that are traded most, of futures the nearest."""
        found = []
        nearest = [] if symbols else [name for root in LISTED_FUTURES for name in (await self._futures(root))[:NEAREST_FUTURES]]
        for symbol in symbols or (*LISTED, *nearest):
            try:
                found.append(await self._details(symbol))
            except BadRequest:
                if symbols:
                    raise
        return tuple(found)

    async def search(self, text: str) -> tuple[Match, ...]:
        """Stocks and funds at exchanges in the United States, by symbol and by name; coins, pairs and the months of a future by their symbols."""
        months = await self._futures(root) if (root := text.upper()) in FUTURES else []
        found = [*pairs_like(text), *[Match(instrument=name, asset_class=AssetClass.LISTED_FUTURE, symbol=name) for name in months]]
        for by_name in ("false", "true"):
            try:
                rows = await self._login.ask("/iserver/secdef/search", {"symbol": text, "secType": "STK", "name": by_name}, list[wire.Found])
            except BadRequest:  # how IBKR says that there is none
                continue
            found += [decode_match(row.symbol, row.name) for row in rows if row.exchange in US_EXCHANGES]
        return tuple({one.instrument: one for one in found}.values())

    async def _futures(self, root: str) -> list[InstrumentID]:
        """Their names, the nearest first; none: IBKR does not say."""
        try:
            rows = await self._months(root)
        except BadRequest:
            return []
        return [decode_instrument("FUT", root, HOME, "", str(row.expiration_date), multiplier=FUTURES[root][1]) for row in rows]

    async def _details(self, symbol: InstrumentID) -> Instrument:
        """A contract with its grid and hours, asked for once an hour. Raises BadRequest: IBKR has none."""
        now_ns = self._clock.now_ns()
        known = self._known.get(symbol)
        if known is not None and now_ns < known[1]:
            return known[0]
        con_id = await self._con_id(symbol)
        contract = await self._login.ask(f"/iserver/contract/{con_id}/info-and-rules", {"isBuy": "true"}, wire.Contract)
        coin = contract.instrument_type == "CRYPTO"
        schedule = None if coin else await self._login.ask("/contract/trading-schedule", {"conid": str(con_id)}, wire.Schedule)
        instrument = codec.decode_contract(contract, schedule, now_ns)
        if instrument.id != symbol:
            raise unknown(symbol)
        self._known[symbol] = (instrument, now_ns + CONTRACT_LIFE_NS)
        return instrument

    async def _con_id(self, symbol: InstrumentID) -> int:
        """The number that everything goes by. Raises BadRequest: IBKR has none, or several."""
        if symbol not in self._con_ids:
            words = encode_instrument(symbol)
            found = await self._found(symbol, words)
            if len(found) != 1:
                raise unknown(symbol)
            self._con_ids[symbol] = found[0]
            self._remember(self._instruments, found[0], symbol)
        return self._con_ids[symbol]

    async def _found(self, symbol: InstrumentID, words: Words) -> list[int]:
        match words.sec_type:
            case "CASH":
                pairs = await self._login.ask("/iserver/currency/pairs", {"currency": words.currency}, dict[str, list[wire.Pair]])
                name = f"{words.symbol}.{words.currency}"
                return [pair.conid for pair in pairs.get(words.currency, ()) if pair.symbol == name]
            case "CRYPTO":
                rows = await self._login.ask("/iserver/secdef/search", {"symbol": words.symbol, "secType": words.sec_type}, list[wire.Found])
                named = [row for row in rows if row.symbol == words.symbol]
                return [int(row.conid) for row in named if any(section.sec_type == words.sec_type for section in row.sections)]
            case "OPT":
                return await self._option(symbol, words)
            case "BOND" | "FUND":
                raise BadRequest("bonds and mutual funds are traded by TWS alone here: leave IBKR_TRANSPORT unset")
            case "FUT":
                months = [row.conid for row in await self._months(words.symbol) if words.last_trade in (str(row.expiration_date), str(row.ltd))]
                return [con_id for con_id in months if await self._instrument(con_id) == symbol]  # of several multipliers one is ours
        listed = await self._login.ask("/trsrv/stocks", {"symbols": words.symbol}, dict[str, list[wire.Stock]])
        return [contract.conid for stock in listed.get(words.symbol, ()) for contract in stock.contracts if contract.is_us]

    async def _months(self, root: str) -> list[wire.Future]:
        """The futures of a name, the nearest first."""
        listed = await self._login.ask("/trsrv/futures", {"symbols": root}, dict[str, list[wire.Future]])
        return sorted(listed.get(root, ()), key=lambda row: row.expiration_date)

    async def _option(self, symbol: InstrumentID, words: Words) -> list[int]:
        """IBKR wants its underlying looked for first."""
        under = await self._con_id(InstrumentID(words.symbol.replace(" ", ".")))
        await self._login.ask("/iserver/secdef/search", {"symbol": words.symbol, "secType": "STK"}, list[wire.Found])
        query = {
            "conid": str(under),
            "sectype": "OPT",
            "month": f"{parse_occ(symbol).expiry:%b%y}".upper(),
            "strike": str(words.strike.normalize()) if words.strike % 1 else str(int(words.strike)),
            "right": words.right,
        }
        try:
            rows = await self._login.ask("/iserver/secdef/info", query, list[wire.OptionInfo])
        except BadRequest:
            raise unknown(symbol) from None
        return [row.conid for row in rows if row.maturity_date == words.last_trade]

    async def _instrument(self, con_id: int) -> InstrumentID:
        """Our name of a contract that a row names by number."""
        if con_id not in self._instruments:
            contract = await self._login.ask(f"/iserver/contract/{con_id}/info", {}, wire.Contract)
            name = codec.name_of(contract)
            self._remember(self._instruments, con_id, name)
            self._con_ids.setdefault(name, con_id)
        return self._instruments[con_id]

    # -- orders -----------------------------------------------------------------------------------------------------------------

    def look_with(self, look: Callable[[Approved], None]) -> None:
        self._look = look

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Place an order once, and say yes to the questions that are on the list; any other is shown, and the order discarded.
        Raises Rejected, Unavailable (not sent), InDoubt (sent, no answer)."""
        request = approved.request
        legs = [(await self._con_id(leg.instrument), leg) for leg in request.legs]
        body = {"orders": await self._encoded(approved, legs)}
        async with self._turn(approved):
            answer = await self._answered(f"/iserver/account/{self._account}/orders", body)
        order_id = str(codec.needed(answer.order_id, "order number"))
        self._name(order_id, approved.cl_ord_id)
        report = codec.decode_placed(request, OrderID(order_id), answer.order_status, approved.cl_ord_id, self._clock.now_ns())
        if legs:
            report = as_whole(report, request.instrument, legs)
        self._reports.setdefault(order_id, report)
        if report.ord_status.terminal:
            raise Rejected(f"Interactive Brokers refused: the order is {answer.order_status}")
        return report

    async def validate(self, approved: Approved) -> str:
        """The order without placing it: IBKR says what it would tie up, once it has been asked for the price."""
        assert approved.dry_run
        request = approved.request
        legs = [(await self._con_id(leg.instrument), leg) for leg in request.legs]
        priced = [con_id for con_id, _ in legs] or [await self._con_id(request.instrument)]
        await self._login.ask("/iserver/marketdata/snapshot", {"conids": ",".join(map(str, priced)), "fields": wire.BID}, list[msgspec.Raw])
        body = {"orders": (await self._encoded(approved, legs))[:1]}  # of linked ones the entry
        try:
            response = await self._login.change("POST", f"/iserver/account/{self._account}/orders/whatif", body)
            error = refusal(response, changes=True)
            if error is not None:
                raise error
        except InDoubt as unsaid:
            raise Unavailable(f"Interactive Brokers' check did not say: {unsaid}") from None
        return codec.decode_trial(decoded(response.body, wire.Trial))

    async def _encoded(self, approved: Approved, legs: Sequence[tuple[int, Leg]]) -> list[dict[str, object]]:
        request = approved.request
        if legs:
            return [codec.encode_spread(request, legs, self._account, approved.cl_ord_id)]
        return codec.encode_linked(request, await self._con_id(request.instrument), self._account, approved.cl_ord_id)

    async def replace(self, approved: Approved) -> ExecutionReport:
        """The whole order once more, under its number; it goes on as what it was. Raises as submit."""
        order_id = approved.orig_order_id
        assert order_id is not None
        con_id = await self._con_id(approved.request.instrument)
        async with self._turn(approved):
            self._amends.begin(Amend(cl_ord_id=approved.cl_ord_id, order_id=order_id, wish=approved.request))
            try:
                body = codec.encode_order(approved.request, con_id, self._account, ClOrdID(""))
                await self._answered(f"/iserver/account/{self._account}/order/{order_id}", body)
            except (Rejected, Stopped, Unavailable):
                self._amends.settle(approved.cl_ord_id)
                raise
        amend = self._amends.get(approved.cl_ord_id)
        try:
            report = None if amend is None else await self._amend_status(amend)
        except (Unavailable, BadRequest) as error:
            raise InDoubt(f"the change was taken; how the order stands is not known: {error}") from None
        if report is None:
            raise InDoubt("the change was taken, and the order does not show it yet")
        return report

    async def _answered(self, path: str, body: object) -> wire.Answer:
        """Send once; answer questions until there is an order. Raises as submit."""
        response = await self._login.change("POST", path, body)
        for _ in range(QUESTIONS_MAX):
            answer = self._answer(response)
            if not answer.id:
                return answer
            asked = " ".join(answer.message)
            if not answer.message_ids or not ANSWERED.issuperset(answer.message_ids):
                with suppress(DeskError):  # without a yes it is never an order
                    await self._login.change("POST", f"/iserver/reply/{answer.id}", {"confirmed": False}, urgent=True)
                raise Rejected(f"Interactive Brokers asks what this desk does not answer: {asked} ({', '.join(answer.message_ids)})")
            try:
                response = await self._login.change("POST", f"/iserver/reply/{answer.id}", {"confirmed": True}, urgent=True)
            except Unavailable as error:
                raise Unavailable(f"the question before the order could not be answered, so that there is no order: {error}") from None
        raise Rejected(f"Interactive Brokers asked more than {QUESTIONS_MAX} questions: the order was left without its last yes")

    @staticmethod
    def _answer(response: Response) -> wire.Answer:
        """What came of it: a number or a question, of several orders the first one's. What cannot be read may still have been taken."""
        error = refusal(response, changes=True)
        if error is not None:
            raise error
        try:
            answer, *_ = strict.decode(response.body, list[wire.Answer])
        except (*wire.UNREADABLE, ValueError) as unread:
            raise InDoubt(f"Interactive Brokers answered with something that is no order ({unread})") from None
        if not answer.id and codec.number(answer.order_id) is None:
            raise InDoubt("Interactive Brokers answered with neither a number nor a question")
        return answer

    @asynccontextmanager
    async def _turn(self, approved: Approved) -> AsyncIterator[None]:
        """One order at a time, with its questions. Whoever had to wait looks once more whether it still may."""
        waits = self._one.locked()
        async with self._one:
            if waits:
                self._look(approved)
            yield

    def recall(self, orders: Iterable[Order]) -> None:
        """The names that an earlier run of the desk gave, and changes that it was in doubt about."""
        known = tuple(orders)
        for order in known:
            if order.order_id is not None and PART in order.order_id:
                continue  # one leg of another order
            if order.order_id is not None and order.parent is not None:
                self._remember(self._parents, str(order.order_id), order.parent)
            elif order.order_id is not None and order.orig_cl_ord_id is None and not order.external:
                self._name(str(order.order_id), order.cl_ord_id)
        self._amends.recall(known)

    async def cancel(self, order: Order) -> ExecutionReport:
        """A request; an order that is over is a question. The answer is always how the order stands after it."""
        assert order.order_id is not None
        order_id = whole_name(order.order_id)
        response = await self._call_off(order_id, named=is_future(order.instrument))
        if not is_over(response):
            error = refusal(response, changes=True)
            if error is not None:
                raise error
        try:
            report = await self._status(order_id)
        except (Unavailable, BadRequest) as error:
            raise InDoubt(f"the cancel was sent; how the order stands is not known: {error}") from None
        if report is None:
            raise InDoubt("the cancel was sent; Interactive Brokers does not say how the order stands")
        return report

    async def cancel_all(self) -> None:
        """Everything that rests at this account, whoever placed it."""
        error = refusal(await self._call_off("-1", named=True), changes=True)
        if error is not None:
            raise error

    async def _call_off(self, order_id: str, *, named: bool) -> Response:
        """named: it is, or may be, of a future, whose cancels say who wants it, as its orders do."""
        who = f"?{urlencode(codec.encode_operator(self._account))}" if named else ""
        return await self._login.change("DELETE", f"/iserver/account/{self._account}/order/{order_id}{who}", None, urgent=True)

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        found = [await self._take(row) for row in sorted(await self._orders.rows(), key=lambda row: PART in row.order_ref)]  # entries first
        return tuple(one for report in found if not report.ord_status.terminal for one in (report, *legs_of(report)))

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """By its number where that is known; else by its reference, among live orders and executions."""
        amend = self._amends.get(cl_ord_id)
        if amend is not None:
            return await self._amend_status(amend)
        name = OrderID(self._ids.get(cl_ord_id, cl_ord_id.removeprefix(EXTERNAL) if cl_ord_id.startswith(EXTERNAL) else ""))
        if name:
            report = await self._status(whole_name(name))
            return next((one for one in (report, *legs_of(report)) if one.order_id == name), None) if report is not None and PART in name else report
        for row in await self._orders.rows():
            if row.order_ref == cl_ord_id:
                return await self._take(row)
        for trade in await self._trades.rows():
            if trade.order_ref == cl_ord_id and trade.order_id:
                return await self._status(str(trade.order_id))
        return None

    async def _amend_status(self, amend: Amend) -> ExecutionReport | None:
        """A changed order's row says no more than how it stands."""
        report = await self._status(str(amend.order_id))
        found = None if report is None else self._amends.found(amend, report)
        if found is not None:
            self._amends.settle(amend.cl_ord_id)
            self._remember(self._ids, amend.cl_ord_id, str(amend.order_id))
        return found

    async def _status(self, order_id: str) -> ExecutionReport | None:
        """How an order stands; None: IBKR does not know it. The refusal of an unknown number looks as that of a broken server: the list decides."""
        response = await self._login.ask_status(f"/iserver/account/order/status/{order_id}")
        if response.status in (400, 404, 500, 503):
            row = next((row for row in await self._orders.rows() if str(row.order_id) == order_id), None)
            return None if row is None else await self._take(row)
        error = refusal(response, changes=False)
        if error is not None:
            raise error
        try:
            status = strict.decode(response.body, wire.Status)
        except wire.UNREADABLE as unread:
            raise ProtocolError(f"an order that cannot be read ({unread})", response.body) from None
        name = self._name_of(order_id, status.order_ref)
        report = self._part(await self._told(status, name))
        if report.ord_status is OrdStatus.SUSPENDED and report.parent is not None:  # its entry may have been filled meanwhile
            await self._status(self._ids[report.parent])
            report = self._part(await self._told(status, name))
        self._remember(self._reports, order_id, report)
        return report

    async def _take(self, row: wire.Row) -> ExecutionReport:
        """Translate a row under the name that the desk has for it; how far a trailing stop stays behind, only its number tells."""
        order_id = str(row.order_id)
        report = await self._told(row, self._name_of(order_id, row.order_ref))
        if report.ord_type.waits and not report.ord_type.has_stop and not report.ord_status.terminal:
            with suppress(BadRequest):
                asked = await self._login.ask(f"/iserver/account/order/status/{order_id}", {}, wire.Status)
                report = codec.decode_order(asked, report.instrument, report.cl_ord_id, self._clock.now_ns())
        report = self._part(report)
        self._remember(self._reports, order_id, report)
        return report

    async def _told(self, row: wire.Row | wire.Status, name: ClOrdID) -> ExecutionReport:
        """How an order stands, one of several legs with them."""
        decode: Any = codec.decode_row if isinstance(row, wire.Row) else codec.decode_order
        legs = [(con_id, Leg(await self._leg(con_id), side, ratio)) for con_id, side, ratio in codec.decode_legs(row.conidex)]
        if not legs:
            return decode(row, await self._instrument(row.conid), name, self._clock.now_ns())  # type: ignore[no-any-return]
        symbol = row.ticker if isinstance(row, wire.Row) else row.symbol
        about = next((underlying_of(leg.instrument) for _, leg in legs if is_option(leg.instrument)), InstrumentID(symbol.replace(" ", ".")))
        return as_whole(decode(row, about, name, self._clock.now_ns()), about, legs)

    async def _leg(self, con_id: int) -> InstrumentID:
        """What a leg is called; one that is over has no name any more."""
        try:
            return await self._instrument(con_id)
        except BadRequest:
            return InstrumentID(f"{con_id}.LEG")

    def _name_of(self, order_id: str, ref: str) -> ClOrdID:
        """order_id: "" where an execution does not say it."""
        known = self._names.get(order_id)
        if known is not None:
            return known
        own, parent = names_of(ref)
        name = own if is_ours(own) else ClOrdID("")
        if order_id and parent is not None:
            self._remember(self._parents, order_id, parent)
        if order_id and name:
            self._name(order_id, name)
        return name

    def _part(self, report: ExecutionReport) -> ExecutionReport:
        """With the order that it is an exit of: until that is filled it waits, which IBKR does not say of it. One of several legs is nobody's."""
        if report.legs:
            return report
        parent = self._parents.get(str(report.order_id))
        entry = None if parent is None else self._reports.get(self._ids.get(parent, ""))
        waits = entry is not None and entry.side is not report.side and entry.ord_status is not OrdStatus.FILLED
        status = OrdStatus.SUSPENDED if waits and report.ord_status is OrdStatus.NEW else report.ord_status
        return msgspec.structs.replace(report, parent=parent, ord_status=status)

    def _exits(self, entry: ClOrdID) -> list[str]:
        return [order_id for order_id, parent in self._parents.items() if parent == entry]

    def _name(self, order_id: str, cl_ord_id: ClOrdID) -> None:
        self._remember(self._names, order_id, cl_ord_id)
        self._remember(self._ids, cl_ord_id, order_id)

    async def _list_orders(self) -> list[wire.Row]:
        """Live orders of the day. The first look of a session says that it was not looked."""
        for _ in range(2):
            await self._login.pace("orders")
            found = await self._login.ask("/iserver/account/orders", {"force": "true"}, wire.Listing)
            if found.snapshot:
                return found.orders
        raise Unavailable("Interactive Brokers does not list its orders yet")

    async def _list_trades(self) -> list[wire.Trade]:
        await self._login.pace("trades")
        return await self._login.ask("/iserver/account/trades", {"days": str(TRADES_DAYS)}, list[wire.Trade])

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        """Executions of the last days, oldest first; one whose commission is still to come is left to the stream."""
        now_ns = self._clock.now_ns()
        rows = sorted(await self._trades.rows(), key=lambda trade: (trade.trade_time_r, trade.execution_id))
        found = []
        for trade in rows:
            at_ns = trade.trade_time_r * codec.MS
            charged = codec.number(trade.commission) is not None or now_ns - at_ns >= FEE_WITHIN_NS
            if at_ns >= since_ns - codec.MS and charged:
                found.append(await self._executed(trade))
        return tuple(report for report in found if report is not None)

    async def _executed(self, trade: wire.Trade) -> ExecutionReport | None:
        """None: the sum of what an order's legs are told as."""
        if trade.sec_type == BAG:
            return None
        order_id = str(trade.order_id or self._ids.get(ClOrdID(trade.order_ref), ""))
        if order_id and order_id not in self._reports:
            with suppress(Unavailable):
                await self._status(order_id)
        con_id = int(codec.needed(trade.conid, "contract"))
        name = self._name_of(order_id, trade.order_ref)
        known, instrument = self._reports.get(order_id), await self._instrument(con_id)
        if names_leg(trade.execution_id) if known is None else known.legs:
            return codec.decode_leg(trade, OrderID(order_id), con_id, instrument, self._clock.now_ns())
        return self._part(codec.decode_trade(trade, known, instrument, name, self._clock.now_ns()))

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        """The Web API tells of none: they stand in the statements of the next day."""
        return ()

    # -- events -----------------------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        """An order's row wakes; how it stands is asked beside the stream, so that a question that hangs hides no line that drops. After each LIVE the
        desk reads again what the stream did not tell."""
        told: asyncio.Queue[_Told] = asyncio.Queue(WAITING_MAX)
        woken: asyncio.Queue[wire.Row | wire.Trade] = asyncio.Queue(WAITING_MAX)
        tasks = [asyncio.create_task(work, name="orders ibkr web") for work in (self._listen(told, woken), self._ask_about(told, woken))]
        try:
            while (event := await told.get()) is not None:
                if isinstance(event, DeskError):
                    raise event
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _listen(self, told: "asyncio.Queue[_Told]", woken: "asyncio.Queue[wire.Row | wire.Trade]") -> None:
        session = OrderSession(_socket(self._url), lambda: self._login.sessions)
        try:
            async for event in Supervisor(session, _CookieDialer(self._dialer, session, self._login), self._clock, self._rng).run():
                if isinstance(event, wire.Row | wire.Trade):
                    await woken.put(event)
                else:
                    assert isinstance(event, LinkEvent)
                    await told.put(stream_state(event, "orders", self._clock.now_ns()))
        except DeskError as error:
            await told.put(error)
        else:
            await told.put(None)

    async def _ask_about(self, told: "asyncio.Queue[_Told]", woken: "asyncio.Queue[wire.Row | wire.Trade]") -> None:
        """What is new, one after the other; a burst of rows of one order is one question. What cannot be asked now, the desk's own look finds."""
        while True:
            batch = [await woken.get()]
            while not woken.empty():
                batch.append(woken.get_nowait())
            try:
                for trade in (one for one in batch if isinstance(one, wire.Trade)):
                    done = await self._executed(trade) if codec.number(trade.commission) is not None else None
                    if done is not None:
                        await told.put(done)
                asked = list(dict.fromkeys(str(one.order_id) for one in batch if isinstance(one, wire.Row)))
                for order_id in asked:
                    before = self._reports.get(order_id)
                    report = await self._status(order_id)
                    worked = before is not None and not before.ord_status.terminal
                    ours = report is not None and (report.cl_ord_id or report.parent is not None)
                    if report is None or (report.ord_status.terminal and not worked and not ours):
                        continue  # somebody else's, and over before it was met: its executions tell what is new
                    await told.put(report)
                    if report.ord_status is OrdStatus.FILLED:
                        asked += [name for name in self._exits(report.cl_ord_id) if name not in asked]  # they work from now on
            except (Unavailable, BadRequest):
                continue
            except DeskError as error:
                await told.put(error)

    @staticmethod
    def _remember(known: "OrderedDict[Any, _T]", key: object, value: _T) -> None:
        known[key] = value
        known.move_to_end(key)
        if len(known) > ROWS_MAX:
            known.popitem(last=False)

    # -- market data --------------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        fields, at_ns = await self._snapshot(instrument, lambda found: wire.BID in found or wire.ASK in found)
        quote = codec.decode_quote(fields, instrument, at_ns, self._clock.now_ns())
        if quote is None:
            raise BadRequest(f"Interactive Brokers shows no quote of {instrument}: has this login market data for it?")
        return quote

    async def trade(self, instrument: InstrumentID) -> Trade:
        fields, at_ns = await self._snapshot(instrument, lambda found: wire.LAST in found)
        last = codec.decode_last(fields, instrument, at_ns, self._clock.now_ns())
        if last is None:
            raise BadRequest(f"Interactive Brokers has no trade of {instrument}")
        return last

    async def _snapshot(self, instrument: InstrumentID, enough: Callable[[Mapping[str, str]], bool]) -> tuple[dict[str, str], int]:
        """Asked for until it says what is wanted: the first answer only names the contract."""
        query = {"conids": str(await self._con_id(instrument)), "fields": ",".join(wire.FIELDS)}
        fields: dict[str, str] = {}
        at_ns = 0
        for attempt in range(SNAPSHOTS_MAX):
            if attempt:
                await self._clock.sleep_ns(NS // 2)
            rows = await self._login.ask("/iserver/marketdata/snapshot", query, list[dict[str, msgspec.Raw]])
            row = rows[0] if rows else {}
            fields |= {name: bytes(value).decode().strip('"') for name, value in row.items() if name in wire.FIELDS}
            at_ns = int(codec.number(row.get("_updated", wire.NOTHING)) or 0) * codec.MS or at_ns
            if enough(fields):
                break
        return fields, at_ns or self._clock.now_ns()

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        raise BadRequest("the Web API keeps no history of quotes; TWS does (IBKR_TRANSPORT=tws)")

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        raise BadRequest("the Web API keeps no history of trades; TWS does (IBKR_TRANSPORT=tws)")

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        """By pages, of which none has more than a thousand."""
        if period_ns not in codec.BARS:
            raise BadRequest("the Web API has bars of 1, 2, 3, 5, 10, 15 and 30 minutes, of 1, 2, 3, 4 and 8 hours, and days")
        con_id, found = await self._con_id(instrument), {}
        begin = start_ns
        while begin < end_ns:
            end = min(end_ns, begin + codec.page_span(period_ns))
            query = {
                "conid": str(con_id),
                "period": codec.encode_span(end - begin + (_DAY_NS if period_ns == _DAY_NS else 0)),
                "bar": codec.BARS[period_ns],
                "startTime": codec.encode_time(end),
                "outsideRth": "true",
            }
            history = await self._login.ask("/iserver/marketdata/history", query, wire.History)
            factor = codec.number(history.volume_factor) or ONE
            for bar in (codec.decode_bar(row, factor, instrument, period_ns) for row in history.data):
                found[bar.open_ns] = bar
            begin = end
        return tuple(found[at_ns] for at_ns in sorted(found) if start_ns <= at_ns < end_ns)

    async def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        """One socket for all subscriptions. Raises BadRequest: bars, which do not stream."""
        if kinds.bars:
            raise BadRequest("the Web API streams no bars; `trading bars` reads them")
        reader = Subscription({await self._con_id(instrument): instrument for instrument in instruments}, kinds)
        feed = self._stream()
        try:
            await feed.join(reader)
            async for event in reader:
                yield event
        finally:
            await feed.leave(reader)

    def _stream(self) -> Feed:
        if self._feed is None:
            session = PriceSession(_socket(self._url), lambda: self._login.sessions)
            supervisor = Supervisor(session, _CookieDialer(self._dialer, session, self._login), self._clock, self._rng)
            self._feed = Feed(session, supervisor, self._clock)
        return self._feed


class _Shared:
    """A list that may be asked for seldom: whoever waits takes the next answer, if it was asked for after they came."""

    def __init__(self, clock: Clock, ask: Callable[[], Awaitable[list[Any]]]) -> None:
        self._clock = clock
        self._ask = ask
        self._one = asyncio.Lock()
        self._begun_ns = -1
        self._rows: list[Any] = []

    async def rows(self) -> list[Any]:
        came_ns = self._clock.monotonic_ns()
        async with self._one:
            if self._begun_ns < came_ns:
                begun_ns = self._clock.monotonic_ns()
                self._rows = await self._ask()
                self._begun_ns = begun_ns
            return self._rows


class _CookieDialer:
    """A dialer that tickles before each connection, for the session's cookie."""

    def __init__(self, dialer: Dialer, session: OrderSession | PriceSession, login: Login) -> None:
        self._dialer = dialer
        self._session = session
        self._login = login

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        """Raises as any dialer. Refused with 401: the login has ended."""
        try:
            await self._login.tickle()
        except AuthFailed as error:
            raise Refused(401, str(error).encode()) from None
        except DeskError as error:
            raise NotSent(f"no session for the stream: {error}") from None
        self._session.cookie, self._session.query = self._login.cookie, self._login.socket_query()
        self._session.number = self._login.sessions
        url, headers = self._session.endpoint()
        return await self._dialer.dial(url, headers, within_ns=within_ns)


def who(kind: str, credentials: Mapping[str, Secret], options: Mapping[str, str]) -> auth.Consumer | auth.Client | None:
    """What a kind of login wants to know. Raises AuthFailed: some of it is not set."""
    if kind == GATEWAY:
        return None
    needs = {
        OAUTH1A: ("web_id", "access_token", "web_secret", "signature_key", "encryption_key", "dh_prime"),
        OAUTH2: ("web_id", "key_id", "web_secret", "username"),
    }
    if kind not in needs:
        raise BadRequest(f"IBKR_WEB_LOGIN is {kind!r}; it may be gateway, oauth1a or oauth2")
    missing = [name for name in needs[kind] if name not in credentials]
    if missing:
        names = ", ".join(MORE_CREDENTIALS["ibkr"][name] for name in missing)
        raise AuthFailed(
            f"IBKR_WEB_LOGIN is {kind}, and {names} {'is' if len(missing) == 1 else 'are'} not set.", "docs/brokers/ibkr_web.md has the steps."
        )
    given = [credentials[name] for name in needs[kind]]
    if kind == OAUTH1A:
        return auth.Consumer(
            consumer_key=given[0],
            access_token=given[1],
            access_token_secret=given[2],
            signature_key=given[3],
            encryption_key=given[4],
            prime=given[5],
        )
    return auth.Client(client_id=given[0], key_id=given[1], private_key=given[2], username=given[3], ip=options.get("ip", ""))


def _socket(url: str) -> str:
    return "ws" + url.removeprefix("http") + wire.SOCKET


def _no_look(_: Approved) -> None:
    """Nobody looks."""
