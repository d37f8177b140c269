"""A backtest: the same desk, gate, sizer and journal as live, on the time of the past. Nothing is told before it was over.

Bars of one moment are gone through together: what was placed before meets their opens, then the way each price went, and only then are the strategies
told of them. What a strategy wishes for at a bar's end meets the next bar at the earliest.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

import msgspec

from trading_system.app.decide import decide, owner_of, undecided
from trading_system.app.desk import Desk
from trading_system.app.hub import Hub
from trading_system.app.protect import Protector
from trading_system.core.ledger import EquityMark
from trading_system.core.lifecycle import Applied
from trading_system.core.risk import Halt, Limits
from trading_system.domain.errors import BadRequest, DeskError
from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID, IntentID
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.money import ZERO
from trading_system.domain.ports import Facts
from trading_system.domain.signal import Wish
from trading_system.journal.memory import MemoryJournal
from trading_system.journal.record import Decided, HaltSet, Marked, Record, Reported, Watermark
from trading_system.journal.replay import Books
from trading_system.research.data import Action, Event, adjusted, merged
from trading_system.sim.history import Costs, HistoryBroker, best_of
from trading_system.sizing.sizer import Aims
from trading_system.strategy.base import Filled, Happening, Host, Started, Stopped, Strategy, Ticked, same_name

SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * SECOND_NS
TOLD_EVERY = 20_000  # groups of events between two words of progress
_STOPS_ROUNDS = 4  # stops that make room for stops: more than ever follow one another


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What a backtest is run with. periods: lengths of the bars in which volatility is told."""

    facts: Facts
    instruments: tuple[Instrument, ...]
    cash: Decimal
    currency: str = "USD"
    aims: Aims = Aims()
    limits: Limits = Limits()
    costs: Costs = Costs()


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One execution, and whose wish it came of; strategy "" for nobody's."""

    now_ns: int
    strategy: str
    instrument: InstrumentID
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. equity: at the end of each moment that had prices. records: the whole journal."""

    setup: Setup
    strategies: tuple[str, ...]
    equity: tuple[tuple[int, float], ...]
    exposure: tuple[float, ...]  # gross, as a fraction of equity, beside each of them
    fills: tuple[Fill, ...]
    decisions: tuple[Decided, ...]
    halts: tuple[Halt, ...]
    interest: Decimal
    dividends: Decimal
    events: int
    records: tuple[Record, ...]
    bars: Mapping[InstrumentID, tuple[Bar, ...]]


class PastClock:
    """Time as the driver says; whoever waits moves it."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        return self.ns

    def monotonic_ns(self) -> int:
        return self.ns

    async def sleep_ns(self, duration_ns: int) -> None:
        self.ns += duration_ns
        await asyncio.sleep(0)


def run(
    strategies: Sequence[Strategy],
    streams: Sequence[Sequence[Event]],
    setup: Setup,
    *,
    actions: Sequence[Action] = (),
    told: Callable[[int], None] = lambda _events: None,
) -> Result:
    """Go through the past once. The same arguments give the same result. actions: in the order of time; what was before a split is in units of after
    it. told: hears how many events are behind.

    Raises what a strategy raises: a backtest is where its mistakes should show. BadRequest: two strategies with one name.
    """
    names = [strategy.name for strategy in strategies]
    for name in names:
        if names.count(name) > 1:
            raise BadRequest(same_name(name))
    streams, dividends = adjusted(streams, actions)
    past = _Run(strategies, setup, dividends, told)
    asyncio.run(past.go(streams))  # what a task gives is written out as text when it ends, because a signal handler names the task
    return past.result()


class _Run:
    def __init__(self, strategies: Sequence[Strategy], setup: Setup, dividends: Sequence[Action], told: Callable[[int], None]) -> None:
        self.setup = setup
        self.clock = PastClock()
        self.name = setup.facts.broker
        self.broker = HistoryBroker(setup.facts, setup.instruments, cash=setup.cash, currency=setup.currency, costs=setup.costs)
        self.journal = MemoryJournal()
        self.hub = Hub({self.name: self.broker})
        self.desk = Desk(
            books=Books(),
            journal=self.journal,
            brokers={self.name: self.broker},
            hub=self.hub,
            limits=setup.limits,
            clock=self.clock,
            environment="paper",
            base_currency=setup.currency,
            aims=setup.aims,
        )
        self.desk.ready[self.name] = True
        self.desk.listeners.append(self._on_record)
        self.broker.tell = self.desk.on_report
        self.protector = Protector(self.desk)
        self.hosts = {strategy.name: Host(strategy, self.name) for strategy in strategies}
        self.asked = dict.fromkeys(self.hosts, 0)
        self.timers = {name: host.strategy.timer_s * SECOND_NS for name, host in self.hosts.items() if host.strategy.timer_s}
        self.due = dict(self.timers)
        self.told_of = {InstrumentID(name) for host in self.hosts.values() for name in host.strategy.instruments}
        self.waiting: list[tuple[str, Filled]] = []
        self.held: dict[tuple[str, InstrumentID], Decimal] = {}
        self.fills: list[Fill] = []
        self.equity: list[tuple[int, float]] = []
        self.exposure: list[float] = []
        self.bars: dict[InstrumentID, list[Bar]] = {}
        self.dividends_due = list(reversed(dividends))
        self.dividends = ZERO
        self.events = 0
        self.told = told
        self._stirred = False  # something happened to an order since the stops were looked at
        self._crypto = any(instrument.asset_class.is_crypto for instrument in setup.instruments)
        self._day = -1
        self._high = ZERO  # the highest equity, as far as the desk has not been told
        self._floor = ZERO  # the equity at which a limit is reached …
        self._floor_of: EquityMark | None = None  # … by this mark

    async def go(self, streams: Sequence[Sequence[Event]]) -> None:
        begun = False
        self.broker.counted = {event.instrument for stream in streams for event in stream if isinstance(event, Bar) and event.volume}
        for number, group in enumerate(merged(streams)):
            first = group[0]
            self.clock.ns = max(self.clock.ns, first.open_ns if isinstance(first, Bar) else first.transact_ns)
            if not begun:
                begun = True
                self.desk.books.first_start_ns[self.name] = self.clock.ns
                for instrument in self.setup.instruments:
                    await self.desk.instrument(self.name, instrument.id)
                await self._all(Started(positions={}, now_ns=self.clock.ns))
            while self.dividends_due and self.dividends_due[-1].now_ns <= self.clock.ns:  # before the day's first price
                due = self.dividends_due.pop()
                self.dividends += self.broker.dividend(due.instrument, due.dividend or ZERO)
            self.events += len(group)
            await (self._bars(group) if isinstance(first, Bar) else self._print(first))
            if number % TOLD_EVERY == 0:
                self.told(self.events)
        if begun:
            await self._all(Stopped(now_ns=self.clock.ns))

    async def _bars(self, group: Sequence[Event]) -> None:
        bars = [bar for bar in group if isinstance(bar, Bar)]
        broker = self.broker
        for bar in bars:
            broker.open_bar(bar)
        if self._stirred:
            await self._stops()
        if broker.busy():
            for bar in bars:
                broker.walk_bar(bar)
            if self._stirred:
                await self._stops()
        self.clock.ns = max(self.clock.ns, bars[0].open_ns + bars[0].period_ns)
        for bar in bars:
            broker.close_bar(bar)
            self.bars.setdefault(bar.instrument, []).append(bar)
        self._mark()
        if self.waiting:
            await self._fills()
        for bar in bars:
            await self._tell(bar)
        if self.due:
            await self._timers()

    async def _print(self, event: Quote | Trade | BookSnapshot) -> None:
        if isinstance(event, BookSnapshot):
            self.broker.show_depth(event)
            event = best_of(event)
        elif isinstance(event, Quote):
            self.broker.show_quote(event)
        else:
            self.broker.show_trade(event)
        if self._stirred:
            await self._stops()
        self._mark()
        if self.waiting:
            await self._fills()
        await self._tell(event)
        if self.due:
            await self._timers()

    def _mark(self) -> None:
        """The account at this moment: the curve remembers it, and the desk is told of it where that could move a limit: on a new day, and where it
        has fallen to one. Of new heights it is told then, too."""
        equity, held = self.broker.worth()
        now_ns = self.clock.ns
        self.equity.append((now_ns, float(equity)))
        self.exposure.append(float(held / equity) if held and equity > 0 else 0.0)
        day, mark = now_ns // _DAY_NS, self.desk.books.mark
        if equity > self._high:
            self._high, self._floor_of = equity, None
        if not self._crypto and mark is not None and day == self._day:
            if mark is not self._floor_of:
                limits = self.desk.limits
                self._floor = max(mark.day_start * (1 - limits.max_daily_loss_pct), self._high * (1 - limits.max_drawdown_pct))
                self._floor_of = mark
            if equity > self._floor:
                return
        if day != self._day and self._day >= 0:
            self.desk.record(Watermark(broker=self.name, fills_ns=now_ns))  # what was settled a week ago leaves memory
        self._day = day
        self._look()

    def _look(self) -> None:
        """The desk takes the account's figures."""
        mark = self.desk.books.mark
        if mark is not None and self._high > mark.high_water:
            self.desk.record(Marked(mark=msgspec.structs.replace(mark, high_water=self._high)))
        self.desk.on_account(self.broker.snapshot())

    async def _stops(self) -> None:
        """The auditor looks until everything that asked for a stop has one, and none is left over."""
        self._stirred = False
        if self.desk.books.protected:
            for _ in range(_STOPS_ROUNDS):
                if not await self.protector.once():
                    break

    async def _tell(self, event: Bar | Quote | Trade) -> None:
        for name, host in self.hosts.items():
            if event.instrument in self.told_of and event.instrument in host.strategy.instruments:
                wishes = host.take(event)
                if wishes:
                    await self._wished(name, host, wishes)

    async def _all(self, event: Happening) -> None:
        for name, host in self.hosts.items():
            await self._wished(name, host, host.take(event))

    async def _timers(self) -> None:
        for name, period_ns in self.timers.items():
            if self.clock.ns >= self.due[name]:
                self.due[name] = self.clock.ns + period_ns
                await self._wished(name, self.hosts[name], self.hosts[name].take(Ticked(now_ns=self.clock.ns)))

    async def _fills(self) -> None:
        while self.waiting:
            name, filled = self.waiting.pop(0)
            await self._wished(name, self.hosts[name], self.hosts[name].take(filled))

    async def _wished(self, name: str, host: Host, wishes: Sequence[Wish]) -> None:
        for wish in wishes:
            self.asked[name] += 1
            self.desk.awake()
            self.broker.now_ns = max(self.broker.now_ns, self.clock.ns)
            self._look()
            intent = IntentID(f"{name}/{self.asked[name]}")
            try:
                await decide(self.desk, wish, strategy=name, intent=intent, own=host.ctx.position(wish.instrument))
            except DeskError as error:
                undecided(self.desk, wish, self.name, name, intent, error)

    def _on_record(self, record: Record, applied: Applied | None) -> None:
        if not isinstance(record, Reported) or applied is None:
            return
        self._stirred = True
        for booking in applied.bookings:
            order, fill = applied.order, booking.fill
            owner = owner_of(self.desk.books, order)
            now_ns = self.broker.now_ns
            self.fills.append(
                Fill(
                    now_ns=now_ns,
                    strategy=owner or "",
                    instrument=order.instrument,
                    side=order.side,
                    qty=fill.qty,
                    price=fill.price,
                    fee=fill.fee,
                )
            )
            if owner in self.hosts:
                key = (owner, order.instrument)
                own = self.held[key] = self.held.get(key, ZERO) + order.side.sign * fill.qty
                filled = Filled(instrument=order.instrument, side=order.side, qty=fill.qty, price=fill.price, position=own, now_ns=now_ns)
                self.waiting.append((owner, filled))

    def result(self) -> Result:
        records = tuple(self.journal.records)
        last = {record.intent: record for record in records if isinstance(record, Decided)}
        return Result(
            setup=self.setup,
            strategies=tuple(self.hosts),
            equity=tuple(self.equity),
            exposure=tuple(self.exposure),
            fills=tuple(self.fills),
            decisions=tuple(last.values()),
            halts=tuple(record.halt for record in records if isinstance(record, HaltSet)),
            interest=self.broker.interest,
            dividends=self.dividends,
            events=self.events,
            records=records,
            bars={name: tuple(bars) for name, bars in self.bars.items()},
        )
