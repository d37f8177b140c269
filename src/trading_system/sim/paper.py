"""A Broker whose fills are simulated on another broker's market data: for venues that have no paper account of their own.

Money is made up, the market is not: an order meets the depth and the trades that the data shows, after a latency, in price-time priority behind
what rests there already (matching.py); it pays the venue's fees. What it cannot know, it does not: own orders move nobody.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random

import msgspec

from trading_system.domain.account import AccountSnapshot, Flow, Position
from trading_system.domain.errors import BadRequest, DeskError, Rejected
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import is_open
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.money import ONE, ZERO, round_qty
from trading_system.domain.order import Approved, Order
from trading_system.domain.ports import (
    ClientIdScope,
    Clock,
    Connector,
    CountsRequests,
    DepthData,
    Facts,
    Kinds,
    Link,
    NewsData,
    OrderRule,
    StreamState,
)
from trading_system.domain.report import ExecutionReport
from trading_system.sim.matching import MARKET, Book, Match
from trading_system.sim.paper_account import PaperAccount, PaperOrder

SECOND_NS = 1_000_000_000
CASH = Decimal(100_000)
LATENCY_NS = (20_000_000, 120_000_000)  # how long an order is on its way
LEVELS = 10  # of depth that an order meets, where the data has depth
QUOTE_MAX_NS = 5 * SECOND_NS  # a mark may be so old
AWAY_MAX_NS = 86_400 * SECOND_NS  # how far back it looks for what traded while nobody was there
QUEUE_MAX = 10_000  # reports that wait to be read
SLIPPAGE_HELD = Decimal("1.02")  # a market buy holds back so much more than the offer
_TYPES = frozenset({OrdType.MARKET, OrdType.LIMIT, OrdType.STOP, OrdType.STOP_LIMIT})
_TIMES = frozenset({TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK})
_IMMEDIATE = frozenset({TimeInForce.IOC, TimeInForce.FOK})


def paper_facts(facts: Facts) -> Facts:
    """What is left of a broker's capabilities where its market is real and its account is not."""
    rules = tuple(
        OrderRule(rule.asset_class, rule.ord_types & _TYPES, rule.times_in_force & _TIMES, fractional=rule.fractional)
        for rule in facts.rules
        if rule.ord_types & _TYPES and rule.times_in_force & _TIMES
    )
    return msgspec.structs.replace(
        facts,
        title=f"{facts.title} (paper, simulated here)",
        rules=rules,
        links=(),
        legs_max=0,
        client_id_scope=ClientIdScope.FOR_EVER,
        late_accept_ns=SECOND_NS,
        visibility_lag_ns=0,
        can_replace=False,
        max_fee_in_kind=ZERO,
    )


class _Market:
    """One instrument's book, in whole ticks and lots, with everything of ours that works there."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.tick = min(band.tick for band in instrument.ticks)
        self.book = Book()
        self.mid: Decimal | None = None
        self.shown = asyncio.Event()  # the market has been seen
        self.hungry: set[ClOrdID] = set()  # orders without a price that are here and not filled
        self.tasks: list[asyncio.Task[None]] = []

    def units(self, price: Decimal) -> int:
        return int(price / self.tick)

    def lots(self, qty: Decimal) -> int:
        return int(qty / self.instrument.lot)

    def levels(self, side: Iterable[tuple[Decimal, Decimal]]) -> list[tuple[int, int]]:
        return [(self.units(price), self.lots(qty)) for price, qty in side]


class PaperBroker:
    """A Connector: the account is here, instruments and prices are `data`'s. path: where the account is kept; a new one has `cash`.

    The data's own account is never logged in to. Orders rest while no desk runs; at the next start whatever traded through their price has filled
    them, as far back as a day and as the data's trades go.
    """

    def __init__(self, data: Connector, *, path: Path, clock: Clock, rng: Random, cash: Decimal = CASH, currency: str = "USD") -> None:
        self.facts = paper_facts(data.facts)
        self._currency = currency
        self._data = data
        self._path = path
        self._clock = clock
        self._rng = rng
        self._new = PaperAccount(broker=data.facts.broker, moneys={currency: cash})
        self._account = self._new
        self._markets: dict[InstrumentID, _Market] = {}
        self._instruments: dict[InstrumentID, Instrument] = {}
        self._quotes: dict[InstrumentID, Quote] = {}
        self._queue: asyncio.Queue[ExecutionReport | StreamState] = asyncio.Queue(QUEUE_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        if isinstance(data, DepthData):
            self.subscribe_depth = data.subscribe_depth
        if isinstance(data, CountsRequests):
            self.budgets = data.budgets
        if isinstance(data, NewsData):
            self.news, self.follow_news = data.news, data.follow_news

    # -- Broker ------------------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Take up the account where it was left. Raises BadRequest: its file cannot be read."""
        try:
            self._account = msgspec.json.decode(self._path.read_bytes(), type=PaperAccount)
        except FileNotFoundError:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, msgspec.MsgspecError) as error:
            raise BadRequest(f"the paper account in {self._path} cannot be read ({error}): mend it, or delete it to begin anew") from None
        for order in self._account.open_orders():
            market = await self._market(order.instrument)
            if order.ord_type.has_stop and not order.triggered and order.stop_px is not None:
                market.book.add_stop(order.cl_ord_id, order.side, market.units(order.stop_px))
            elif order.price is not None and order.time_in_force not in _IMMEDIATE:
                market.book.submit(order.cl_ord_id, order.side, market.lots(order.left), market.units(order.price))
            else:  # on its way when the process ended, or half done: the first depth that is seen works it
                market.hungry.add(order.cl_ord_id)
        for instrument in dict.fromkeys(order.instrument for order in self._account.open_orders()):
            await self._catch_up(self._markets[instrument])
            self._watch(self._markets[instrument])
        self._save()

    async def aclose(self) -> None:
        running = [*self._tasks, *(task for market in self._markets.values() for task in market.tasks)]
        for task in running:
            task.cancel()
        for task in running:
            with suppress(asyncio.CancelledError):
                await task
        if self._account is not self._new:
            self._save()
        await self._data.aclose()

    def skew_ns(self) -> int:
        return 0

    async def account(self) -> AccountSnapshot:
        account, now_ns = self._account, self._clock.now_ns()
        rates = {currency: await self._rate(currency) for currency in {*account.moneys, *[await self._priced_in(name) for name in account.units]}}
        positions, worth = [], ZERO
        for name, qty in account.units.items():
            mark = (await self._fresh(name)).mid
            multiplier = self._instruments[name].multiplier
            avg_px = account.avg_px.get(name, ZERO)
            worth += ZERO if mark is None else qty * mark * multiplier * rates[self._instruments[name].currency]
            gain = ZERO if mark is None else qty * (mark - avg_px) * multiplier
            positions.append(Position(instrument=name, qty=qty, avg_px=avg_px, mark_px=mark, unrealized_pnl=gain))
        cash = sum((amount * rates[currency] for currency, amount in account.moneys.items()), ZERO)
        free = sum((account.free(currency) * rates[currency] for currency in account.moneys), ZERO)
        day = now_ns // (86_400 * SECOND_NS)
        if account.last_equity is None or day > account.day:
            account.day, account.last_equity = day, cash + worth
            self._save()
        return AccountSnapshot(
            broker=account.broker,
            account=f"PAPER-{account.broker.upper()}",
            environment="paper",
            currency=self._currency,
            equity=cash + worth,
            last_equity=account.last_equity,
            cash=cash,
            balances=dict(account.moneys),
            rates={currency: rate for currency, rate in rates.items() if currency != self._currency},
            buying_power=max(ZERO, free),
            positions=tuple(positions),
            tradable=True,
            text="simulated on live prices",
            transact_ns=now_ns,
            recv_ns=self._clock.now_ns(),
        )

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        found = await self._data.instruments(symbols)
        self._instruments |= {instrument.id: instrument for instrument in found}
        return found

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Let it in, on disk, and send it on its way. Raises Rejected, and what the data raises: nothing happened then."""
        request, now_ns = approved.request, self._clock.now_ns()
        market = await self._market(request.instrument)
        instrument, quote = market.instrument, await self._fresh(request.instrument)
        if instrument.inverse:
            raise Rejected(f"a paper account settles in money, and {instrument.id} in {instrument.base}: use the broker's own paper", "inverse")
        touch = quote.touch(request.side)
        if touch is None:
            raise Rejected(f"nobody quotes {request.instrument}", "no_market")
        qty = request.order_qty
        if qty is None:
            qty = round_qty((request.cash_order_qty or ZERO) / touch / instrument.multiplier, instrument.lot)
            if not qty:
                raise Rejected("the amount does not buy a lot", "too_small")
        held = request.price or request.stop_px or touch
        margin = ONE if request.price is not None else SLIPPAGE_HELD
        order = PaperOrder(
            cl_ord_id=approved.cl_ord_id,
            order_id=OrderID(f"P{self._account.named()}"),
            instrument=request.instrument,
            currency=instrument.currency,
            side=request.side,
            ord_type=request.ord_type,
            time_in_force=request.time_in_force,
            qty=qty,
            price=request.price,
            stop_px=request.stop_px,
            reserve_px=held * margin * (1 + self.facts.taker_fee),
            submitted_ns=now_ns,
            updated_ns=now_ns,
        )
        equity = (await self.account()).equity / await self._rate(instrument.currency)
        report = self._account.take(order, instrument, equity)
        self._save()
        self._spawn(self._arrive(order, market))
        return report

    async def replace(self, approved: Approved) -> ExecutionReport:
        """Raises Rejected: it takes none, which its facts say."""
        raise Rejected("a paper account takes no changes: cancel, then place anew", "no_replace")

    async def cancel(self, order: Order) -> ExecutionReport:
        """At once: the race that a real cancel may lose is not simulated."""
        known = self._account.orders.get(order.cl_ord_id)
        if known is None:
            raise Rejected(f"no order {order.cl_ord_id}", "unknown")
        now_ns = self._clock.now_ns()
        if known.ord_status.terminal:
            return self._account.report(known, ExecType.CANCEL_REJECTED, now_ns)
        self._end(known, OrdStatus.CANCELED, "")
        return self._account.report(known, ExecType.CANCELED, now_ns)

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        now_ns = self._clock.now_ns()
        return tuple(self._account.report(order, ExecType.ORDER_STATUS, now_ns) for order in self._account.open_orders())

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        order = self._account.orders.get(cl_ord_id)
        return None if order is None else self._account.report(order, ExecType.ORDER_STATUS, self._clock.now_ns())

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        now_ns = self._clock.now_ns()
        return tuple(msgspec.structs.replace(report, recv_ns=now_ns) for report in self._account.executions if report.transact_ns >= since_ns)

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        return ()

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        text = "the account is here: nothing can be missed"
        yield StreamState(broker=self.facts.broker, stream="orders", link=Link.LIVE, text=text, recv_ns=self._clock.now_ns())
        while True:
            yield await self._queue.get()

    # -- MarketData: as it is ----------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        quote = self._quotes[instrument] = await self._data.quote(instrument)
        return quote

    async def trade(self, instrument: InstrumentID) -> Trade:
        return await self._data.trade(instrument)

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        return await self._data.quotes(instrument, start_ns, end_ns)

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        return await self._data.trades(instrument, start_ns, end_ns)

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        return await self._data.bars(instrument, period_ns, start_ns, end_ns)

    def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        return self._data.subscribe(instruments, kinds)

    # -- an order's way ----------------------------------------------------------------------------------------------------------------

    async def _arrive(self, order: PaperOrder, market: _Market) -> None:
        await self._clock.sleep_ns(self._rng.randint(*LATENCY_NS))
        self._watch(market)
        await market.shown.wait()
        if order.ord_status.terminal:
            return
        if order.ord_type.has_stop and order.stop_px is not None:
            market.book.add_stop(order.cl_ord_id, order.side, market.units(order.stop_px))
        else:
            self._work(order, market)
        self._idle(market)

    def _work(self, order: PaperOrder, market: _Market) -> None:
        """Send what is left into the book; what may not rest is cancelled, an order without a price tries again as the market moves."""
        limit = None if order.price is None else market.units(order.price)
        immediate, all_or_none = order.time_in_force in _IMMEDIATE, order.time_in_force is TimeInForce.FOK
        lots = market.lots(order.left)
        if limit is None:
            market.hungry.add(order.cl_ord_id)
        if lots:
            self._take(market, market.book.submit(order.cl_ord_id, order.side, lots, limit, rest=not immediate, all_or_none=all_or_none))
        if immediate and not order.ord_status.terminal:
            self._end(order, OrdStatus.CANCELED, "what could not fill at once is cancelled")

    def _take(self, market: _Market, matches: Sequence[Match]) -> None:
        for match in matches:
            for owner in (match.maker, match.taker):
                if owner != MARKET:
                    self._fill(self._account.orders[ClOrdID(owner)], market, match, maker=owner == match.maker)

    def _fill(self, order: PaperOrder, market: _Market, match: Match, *, maker: bool) -> None:
        qty, price = match.qty * market.instrument.lot, match.price * market.tick
        rate = self.facts.maker_fee if maker else self.facts.taker_fee
        self._tell(self._account.fill(order, qty, price, rate, market.instrument.multiplier, self._clock.now_ns()))

    def _end(self, order: PaperOrder, status: OrdStatus, text: str) -> None:
        market = self._markets.get(order.instrument)
        if market is not None:
            market.book.cancel(order.cl_ord_id)
        self._tell(self._account.end(order, status, text, self._clock.now_ns()))

    def _tell(self, report: ExecutionReport) -> None:
        """On disk first, then to whoever reads; one who does not read finds it by asking."""
        self._save()
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(report)

    # -- the market --------------------------------------------------------------------------------------------------------------------

    async def _market(self, name: InstrumentID) -> _Market:
        if name not in self._markets:
            if name not in self._instruments:
                await self.instruments((name,))
            self._markets[name] = _Market(self._instruments[name])
        return self._markets[name]

    def _watch(self, market: _Market) -> None:
        """Follow depth and trades for as long as something of ours works there."""
        if not market.tasks:
            names, deep = (market.instrument.id,), isinstance(self._data, DepthData)
            feeds: list[AsyncIterator[BookSnapshot | Quote | Trade | Bar | StreamState]] = [
                self._data.subscribe(names, Kinds(quotes=not deep, trades=True))
            ]
            if isinstance(self._data, DepthData):
                feeds.append(self._data.subscribe_depth(names, LEVELS))
            market.tasks = [asyncio.create_task(self._follow(market, feed), name=f"paper {names[0]}") for feed in feeds]

    def _idle(self, market: _Market) -> None:
        if not any(self._account.open_orders(market.instrument.id)):
            for task in market.tasks:
                if task is not asyncio.current_task():
                    task.cancel()
            market.tasks, market.book = [], Book()
            market.hungry.clear()
            market.shown.clear()

    async def _follow(self, market: _Market, events: AsyncIterator[BookSnapshot | Quote | Trade | Bar | StreamState]) -> None:
        async for event in events:
            if asyncio.current_task() not in market.tasks:
                return
            if isinstance(event, BookSnapshot):
                self._show(market, event.bids, event.asks)
            elif isinstance(event, Quote):
                self._quotes[event.instrument] = event
                bids = () if event.bid_px is None else ((event.bid_px, event.bid_qty),)
                asks = () if event.ask_px is None else ((event.ask_px, event.ask_qty),)
                self._show(market, bids, asks)
            elif isinstance(event, Trade):
                self._print(market, event)
            elif isinstance(event, StreamState) and event.link in (Link.GAP, Link.REFUSED):
                market.book.refresh((), ())  # what it showed counts no more
                market.shown.clear()

    def _show(self, market: _Market, bids: Sequence[tuple[Decimal, Decimal]], asks: Sequence[tuple[Decimal, Decimal]]) -> None:
        """New depth: it may reach what rests, and feeds what is hungry."""
        if bids and asks:
            market.mid = (bids[0][0] + asks[0][0]) / 2
        self._take(market, market.book.refresh(market.levels(bids), market.levels(asks)))
        market.shown.set()
        for order in tuple(self._account.open_orders(market.instrument.id)):
            if order.time_in_force is TimeInForce.DAY and is_open(market.instrument.hours, self._clock.now_ns()) is False:
                self._end(order, OrdStatus.EXPIRED, "the session is over")
            elif order.cl_ord_id in market.hungry:
                self._work(order, market)
        self._idle(market)

    def _print(self, market: _Market, trade: Trade) -> None:
        """A trade in the market: it takes what rests at its price, ours in its turn, and sets off stops."""
        lots, units = market.lots(trade.qty), market.units(trade.price)
        if lots and market.mid is not None:
            side = Side.BUY if trade.price >= market.mid else Side.SELL
            self._take(market, market.book.submit(MARKET, side, lots, units, rest=False))
        self._trigger(market, units)
        self._idle(market)

    def _trigger(self, market: _Market, units: int) -> None:
        for owner in market.book.trigger(units):
            order = self._account.orders[ClOrdID(owner)]
            order.triggered = True
            self._work(order, market)

    async def _catch_up(self, market: _Market) -> None:
        """What traded while nobody was there: a trade beyond a limit has filled it, one at a stop has set it off. A trade at the very limit fills
        nothing: who stood before us is not known."""
        now_ns = self._clock.now_ns()
        since_ns = max(self._account.seen_ns, now_ns - AWAY_MAX_NS)
        try:
            missed = await self._data.trades(market.instrument.id, since_ns, now_ns)
        except DeskError:
            return  # a venue without a history of trades
        for trade in missed:
            lots, units = market.lots(trade.qty), market.units(trade.price)
            if lots:
                self._take(market, market.book.submit(MARKET, Side.SELL, lots, units + 1, rest=False))
                self._take(market, market.book.submit(MARKET, Side.BUY, lots, units - 1, rest=False))
            self._trigger(market, units)

    # -- prices and the file -----------------------------------------------------------------------------------------------------------

    async def _fresh(self, name: InstrumentID) -> Quote:
        known = self._quotes.get(name)
        return known if known is not None and self._clock.now_ns() - known.recv_ns < QUOTE_MAX_NS else await self.quote(name)

    async def _priced_in(self, name: InstrumentID) -> str:
        return (await self._market(name)).instrument.currency

    async def _rate(self, currency: str) -> Decimal:
        """What one unit of a currency is worth. Raises what the data's quote raises: it has no price of it."""
        if currency == self._currency:
            return ONE
        mid = (await self._fresh(InstrumentID(f"{currency}/{self._currency}"))).mid
        if mid is None:
            raise BadRequest(f"nobody quotes {currency} in {self._currency}")
        return mid

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _save(self) -> None:
        now_ns = self._clock.now_ns()
        self._account.seen_ns = now_ns
        self._account.forget(now_ns)
        beside = self._path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(msgspec.json.encode(self._account))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
