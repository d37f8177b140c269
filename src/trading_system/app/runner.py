"""Strategies at work on a desk: each is told what happens, and what it wishes for is decided, journaled and placed.

A strategy that raises or hangs three times is disabled, and a person is told; what it holds keeps its stops, and the others go on. Bars of a minute
or more are the broker's own, or made of its shorter ones, asked for when they are over; those below a minute are made of trades. A day of something
that trades in sessions is told when the next session opens, when it can be acted on, as in a backtest.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from decimal import Decimal
from typing import Protocol

from trading_system.app.child import StrategyFailed, Told, Wants, told
from trading_system.app.decide import decide, owner_of, undecided, within
from trading_system.app.desk import Desk
from trading_system.app.divergence import Divergence, Shadow, measured
from trading_system.core.lifecycle import Applied
from trading_system.domain.errors import BadRequest, DeskError
from trading_system.domain.fix import OrdType
from trading_system.domain.hours import Window
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID, parse_instrument
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ZERO, plain
from trading_system.domain.order import Order
from trading_system.domain.ports import Kinds
from trading_system.domain.signal import DAY_NS, Allocation, Signal, Wish
from trading_system.journal.record import Adjusted, Decided, Record, Reported
from trading_system.journal.replay import Books
from trading_system.strategy.bars import parse_period
from trading_system.strategy.base import Filled, Held, Started, Stopped, Ticked, same_name

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
FAILURES_MAX = 3
GRACE_NS = 2 * SECOND_NS  # how long after its end a bar is asked for
LAST_WITHIN_NS = 5 * SECOND_NS  # how long the last orders are waited for
QUEUE_MAX = 10_000  # prices that wait for one strategy
PRIVATE_MAX = 1_000  # what became of its orders, the same
MISSES_MAX = 3  # bars that could not be had, one look after another, before a person is told
LOOK_BACK_MAX = 500  # bars that are caught up with after an outage; Kraken keeps 720
SESSIONS_BACK_NS = 10 * DAY_NS  # the last session was within it, whatever the holidays
PAGE = 1_000
SHADOWS_MAX = 10_000  # orders that are compared with paper
_WRONG = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)  # what a wish may bring about that nobody thought of
_LOOK_NS = SECOND_NS
_HELD_BY_BROKERS = ("1d", "12h", "8h", "6h", "4h", "3h", "2h", "1h", "30m", "20m", "15m", "10m", "5m", "3m", "2m", "1m")
LENGTHS_NS = tuple(parse_period(text) for text in _HELD_BY_BROKERS)  # of bars that others are made of, the longest first


class Asked(Protocol):
    """A strategy, in a process of its own or beside us."""

    async def start(self) -> Wants: ...

    async def ask(self, event: Told) -> list[Wish]: ...

    @property
    def alive(self) -> bool: ...

    async def aclose(self) -> None: ...


class Runner:
    """One strategy on one broker of a desk."""

    def __init__(
        self,
        desk: Desk,
        broker: BrokerName,
        strategy: Asked,
        *,
        on_decision: Callable[[Decided], None] = lambda _decided: None,
        on_bar: Callable[[Bar], None] = lambda _bar: None,
    ) -> None:
        self.desk = desk
        self.broker = broker
        self.name = ""
        self.failures = 0
        self.disabled = False
        self._strategy = strategy
        self._on_decision = on_decision
        self._on_bar = on_bar
        self._wants: Wants | None = None
        self._instruments: tuple[InstrumentID, ...] = ()
        self._positions: dict[InstrumentID, Decimal] = {}
        self._private: deque[Told] = deque()  # what became of its orders, and its timer: goes first
        self._queue: asyncio.Queue[Told | InstrumentID] = asyncio.Queue(QUEUE_MAX)  # prices; an instrument stands for its newest quote
        self._quotes: dict[InstrumentID, Told] = {}
        self._count = 0
        self._length_ns = 0  # of the bars that the broker is asked for; 0: none
        self._last_bar_ns: dict[InstrumentID, int] = {}  # the newest that was had
        self._heard_ns: dict[InstrumentID, int] = {}  # the newest that the strategy was told of
        self._looked_ns: dict[InstrumentID, int] = {}
        self._misses: dict[InstrumentID, int] = {}
        self._held_back: dict[InstrumentID, str] = {}  # exits that were refused, by the rule that was said
        self._shadows: dict[ClOrdID, Shadow] = {}

    async def start(self) -> None:
        """Make it, tell it the past and what it holds.

        Raises: BadRequest: it cannot be made, another of its name is at work, or the broker has not what it wants. Unavailable: nobody can say.
        """
        try:
            self._wants = await self._strategy.start()
        except StrategyFailed as error:
            raise BadRequest(str(error)) from None
        self.name = self._wants.name
        self._refuse_namesake()
        self._instruments = tuple(parse_instrument(name) for name in self._wants.instruments)
        for name in self._instruments:
            await self.desk.instrument(self.broker, name)
        if self._wants.bars and (self._wants.history or parse_period(self._wants.bars) >= MINUTE_NS):
            self._length_ns = await self._length(self._wants.bars)
        past = await self._past()
        self._positions = await positions_of(self.desk, self.name, self.broker)
        self._refuse_namesake()  # nothing is awaited between this look and being one of those at work
        self.desk.strategies.add(self.name)
        self.desk.listeners.append(self._on_record)
        await self._tell_past(past)

    async def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Work until told to stop, or disabled. `until` is asked before each event."""
        feeds = [asyncio.create_task(work) for work in self._feeds()]
        try:
            while not self.disabled and not until():
                for task in feeds:
                    if task.done() and (error := task.exception()) is not None:
                        self._disable(f"because what it is told of ended: {error}")
                if (event := self._next()) is None:
                    await self.desk.clock.sleep_ns(_LOOK_NS // 4)
                else:
                    await self._ask(event)
        finally:
            for task in feeds:
                task.cancel()
            await asyncio.gather(*feeds, return_exceptions=True)
            if self.disabled:
                await self._strategy.aclose()

    async def stop(self) -> None:
        """Tell it what became of its orders, let it wish for the last time, wait a little for what becomes of that, then end its process."""
        if self._on_record in self.desk.listeners:
            for _ in range(len(self._private)):
                await self._ask(self._private.popleft())
            await self._ask(told(Stopped(now_ns=self.desk.clock.now_ns())))
            if not self.disabled:
                await self.desk.wait(self._at_rest, LAST_WITHIN_NS)
            self.desk.listeners.remove(self._on_record)
            self.desk.strategies.discard(self.name)
        await self._strategy.aclose()

    def _refuse_namesake(self) -> None:
        """Raises BadRequest: another one at work on this desk has its name."""
        if self.name in self.desk.strategies:
            raise BadRequest(same_name(self.name))

    # -- the past --------------------------------------------------------------------------------------------------------------------

    async def _length(self, bars: str) -> int:
        """The longest that the broker has bars of, and that those which are wanted can be made of. 0: of trades alone.

        Raises: BadRequest: there is none. Unavailable: nobody can say.
        """
        period_ns, now_ns, refused = parse_period(bars), self.desk.clock.now_ns(), ""
        for length_ns in dict.fromkeys((period_ns, *LENGTHS_NS)):
            if period_ns % length_ns == 0:
                try:
                    for name in self._instruments:
                        await self.desk.routing.bars(self.broker, name, length_ns, now_ns - 2 * length_ns, now_ns)
                except BadRequest as error:
                    refused = refused or str(error)
                else:
                    return length_ns
        if period_ns < MINUTE_NS:
            return 0
        raise BadRequest(f"{self.name} wants bars of {bars}, and {self.broker} has none that they could be made of: {refused}")

    async def _past(self) -> list[Bar]:
        """What it is told before it acts. Raises as MarketData."""
        return [bar for name in self._instruments for bar in await self._past_of(name)] if self._length_ns else []

    async def _past_of(self, name: InstrumentID) -> list[Bar]:
        """Bars up to the newest; of days that are sessions the newest is left to be told when it can be acted on, unless that was done before."""
        assert self._wants is not None
        period_ns, wanted, now_ns = parse_period(self._wants.bars), self._wants.history, self.desk.clock.now_ns()
        session = await self._session(name)
        spans_ns = [times * (wanted + 2) * period_ns for times in (3, 1)] if wanted else [now_ns % period_ns]
        bars = await self._longest(name, session, spans_ns)
        heard_ns = self._heard_ns.get(name)
        if heard_ns is not None:  # it begins anew: what it was not told yet still waits for it
            return [bar for bar in bars if bar.open_ns <= heard_ns]
        if session is not None and not self._wished_since(name, session.open_ns):
            return bars[:-1]
        self._last_bar_ns[name] = self._heard_ns[name] = bars[-1].open_ns if bars else now_ns - self._length_ns
        return bars

    async def _longest(self, name: InstrumentID, session: Window | None, spans_ns: list[int]) -> list[Bar]:
        """The bars of the first span that the broker keeps. Raises as MarketData."""
        for span_ns in spans_ns[:-1]:
            with suppress(BadRequest):
                return await self._bars(name, session, self.desk.clock.now_ns() - span_ns)
        return await self._bars(name, session, self.desk.clock.now_ns() - spans_ns[-1])

    async def _tell_past(self, past: list[Bar]) -> None:
        for bar in past:
            await self._ask(told(bar, warm=True))
        await self._ask(told(Started(positions=self._positions, now_ns=self.desk.clock.now_ns())))

    async def _bars(self, name: InstrumentID, session: Window | None, start_ns: int) -> list[Bar]:
        """Those that are over: by the clock, or before the session closes that runs or comes next. Raises as MarketData."""
        now_ns = self.desk.clock.now_ns()
        found = await self.desk.routing.bars(self.broker, name, self._length_ns, max(0, start_ns), now_ns)
        over_ns = self.desk.clock.now_ns() if session is None else session.close_ns - 1
        return [bar for bar in found if bar.open_ns + bar.period_ns <= over_ns]

    async def _session(self, name: InstrumentID) -> Window | None:
        """The session that runs or comes next, where a bar is a day of sessions; None: it goes by the clock."""
        if self._length_ns % DAY_NS:
            return None
        instrument = await self.desk.instrument(self.broker, name)
        if instrument.hours.always or instrument.asset_class is AssetClass.FOREX:
            return None
        now_ns = self.desk.clock.now_ns()
        unknown = Window(now_ns + 1, now_ns + 1)  # the calendar does not say: one that has not begun
        return next((window for window in instrument.hours.windows if window.close_ns > now_ns), unknown)

    def _wished_since(self, name: InstrumentID, since_ns: int) -> bool:
        """Whether it has wished for something already, before a restart: then it was told."""
        decisions = self.desk.books.decisions.values()
        return any(made.strategy == self.name and made.wish.instrument == name and made.now_ns >= since_ns for made in decisions)

    # -- what it is told -------------------------------------------------------------------------------------------------------------

    def _feeds(self) -> list[Coroutine[object, object, None]]:
        wants = self._wants
        assert wants is not None
        period_ns = parse_period(wants.bars) if wants.bars else 0
        forex = any(self.desk.asset_class(self.broker, name) is AssetClass.FOREX for name in self._instruments)
        made = 0 < period_ns < MINUTE_NS
        work: list[Coroutine[object, object, None]] = []
        if wants.quotes or wants.trades or made:
            work.append(self._stream(Kinds(quotes=wants.quotes or (made and forex), trades=wants.trades or (made and not forex))))
        if period_ns >= MINUTE_NS:
            work.append(self._poll())
        if wants.timer_s or made:
            work.append(self._tick(wants.timer_s * SECOND_NS, made=made))
        return work

    async def _stream(self, kinds: Kinds) -> None:
        async for event in self.desk.routing.stream(self.broker, self._instruments, kinds):
            if isinstance(event, Quote):
                waits = event.instrument in self._quotes
                self._quotes[event.instrument] = told(event)
                if not waits:
                    await self._queue.put(event.instrument)
            elif isinstance(event, Trade):
                await self._queue.put(told(event))

    async def _poll(self) -> None:
        clock = self.desk.clock
        while True:
            await clock.sleep_ns(MINUTE_NS - (clock.now_ns() - GRACE_NS) % MINUTE_NS)
            for name in self._instruments:
                try:
                    await self._look(name)
                except DeskError as error:
                    self._missed(name, error)

    async def _look(self, name: InstrumentID) -> None:
        """Once a bar's length, or once a session. What fails is tried again a minute later. Raises as MarketData."""
        now_ns, session, last_ns = self.desk.clock.now_ns(), await self._session(name), self._last_bar_ns.get(name)
        step_ns = min(self._length_ns, DAY_NS)
        due_ns = now_ns // step_ns * step_ns if session is None else session.open_ns
        if now_ns < due_ns + GRACE_NS or self._looked_ns.get(name) == due_ns:
            return
        back_ns = LOOK_BACK_MAX * self._length_ns
        since_ns = now_ns - SESSIONS_BACK_NS - self._length_ns if last_ns is None else max(last_ns + 1, now_ns - back_ns)
        bars = await self._bars(name, session, since_ns)
        self._looked_ns[name] = due_ns
        if self._misses.pop(name, 0) >= MISSES_MAX:
            self.desk.alert("info", f"strategy {self.name} is told bars of {name} again")
        for bar in bars if last_ns is not None else bars[-1:]:
            self._last_bar_ns[name] = bar.open_ns
            self._on_bar(bar)
            await self._queue.put(told(bar))

    def _missed(self, name: InstrumentID, error: DeskError) -> None:
        self._misses[name] = self._misses.get(name, 0) + 1
        if self._misses[name] == MISSES_MAX:
            self.desk.alert("warning", f"strategy {self.name} is told no bars of {name}, which is asked for again each minute: {error}")

    async def _tick(self, timer_ns: int, *, made: bool) -> None:
        clock, due_ns = self.desk.clock, self.desk.clock.now_ns() + timer_ns
        while True:
            await clock.sleep_ns(_LOOK_NS)
            now_ns = clock.now_ns()
            if made and not self._queue.full():
                self._queue.put_nowait(Told(passed_ns=now_ns))
            if timer_ns and now_ns >= due_ns:
                due_ns = now_ns + timer_ns
                if not any(isinstance(waiting.other, Ticked) for waiting in self._private):  # one that is slow is not told it twice
                    self._soon(told(Ticked(now_ns=now_ns)))

    def _on_record(self, record: Record, applied: Applied | None) -> None:
        if isinstance(record, Adjusted) and record.broker in self._places(record.instrument) and self._positions.get(record.instrument):
            self._tell_held(record.instrument, record.now_ns)
        if not isinstance(record, Reported) or applied is None or not applied.bookings or owner_of(self.desk.books, applied.order) != self.name:
            return
        if applied.order.broker not in self._places(applied.order.instrument):
            return
        for booking in applied.bookings:
            order, sign = applied.order, -1 if booking.reversal else 1
            side = order.side if sign > 0 else order.side.opposite
            own = self._positions.get(order.instrument, ZERO) + side.sign * booking.fill.qty
            self._positions[order.instrument] = own = self._there(order.instrument, own)
            fill = booking.fill
            filled = Filled(instrument=order.instrument, side=side, qty=fill.qty, price=fill.price, position=own, now_ns=fill.transact_ns)
            self._soon(told(filled))

    def _at_rest(self) -> bool:
        """Whether no order at the market of this strategy's is on its way."""
        return not any(order.ord_type is OrdType.MARKET for name in self._instruments for order in self._working(name))

    def _working(self, instrument: InstrumentID) -> list[Order]:
        books = self.desk.books
        working = (order for place in self._places(instrument) for order in books.blotter.working_on(place, instrument))
        return [order for order in working if owner_of(books, order) == self.name]

    def _tell_held(self, instrument: InstrumentID, now_ns: int) -> None:
        own = self._there(instrument, self._positions[instrument])
        if own != self._positions[instrument]:
            self._positions[instrument] = own
            self._soon(told(Held(instrument=instrument, position=own, now_ns=now_ns)))

    def _there(self, instrument: InstrumentID, own: Decimal) -> Decimal:
        """What a strategy holds is no more than the account does: a fee in kind was taken from it."""
        return within(own, _account(self.desk, self.broker, instrument))

    def _places(self, instrument: InstrumentID) -> frozenset[BrokerName]:
        return places(self.desk, self.broker, instrument)

    def _soon(self, event: Told) -> None:
        if len(self._private) < PRIVATE_MAX:
            self._private.append(event)
        else:
            self._disable(f"because it is too slow: {PRIVATE_MAX} words on its own orders wait for it, and it no longer knows what it holds")

    def _next(self) -> Told | None:
        """What became of its orders goes before prices."""
        if self._private:
            return self._private.popleft()
        if self._queue.empty():
            return None
        event = self._queue.get_nowait()
        return event if isinstance(event, Told) else self._quotes.pop(event)

    # -- what it wishes for ----------------------------------------------------------------------------------------------------------

    async def _ask(self, event: Told) -> None:
        if self.disabled:
            return
        if event.bar is not None and not event.warm:
            self._heard_ns[event.bar.instrument] = event.bar.open_ns
        try:
            wishes = await self._strategy.ask(event)
        except StrategyFailed as error:
            await self._failed(str(error))
            return
        for wish in wishes:
            if self.disabled:  # meanwhile: it wished without knowing what it holds
                return
            try:
                await self._wished(wish)
            except _WRONG as error:
                await self._failed(f"its wish for {wish.instrument} could not be handled: {type(error).__name__}: {error}")

    async def _wished(self, wish: Wish) -> None:
        self._count += 1
        intent = IntentID(f"{self.name}/{self.desk.books.epoch}-{self._count}")
        try:
            if isinstance(wish, Signal) and self._untold(wish.instrument):
                raise BadRequest(
                    f"an order of {self.name} on {wish.instrument} filled before it was told, so that it wished without knowing what it holds"
                )
            decided = await decide(self.desk, wish, strategy=self.name, intent=intent, own=self._positions.get(wish.instrument, ZERO))
        except DeskError as error:
            decided = undecided(self.desk, wish, self.broker, self.name, intent, error)
        self._on_decision(decided)
        self._watch_exit(decided)
        if decided.cl_ord_id is not None:
            await self._shadow(decided.cl_ord_id, decided.now_ns)

    def _untold(self, instrument: InstrumentID) -> bool:
        return any(isinstance(waiting.other, Filled | Held) and waiting.other.instrument == instrument for waiting in self._private)

    def _watch_exit(self, decided: Decided) -> None:
        """An exit that is refused is a person's to know, once a reason; not where one is on its way already."""
        wish, held = decided.wish, self._positions.get(decided.wish.instrument, ZERO)
        if decided.taken:
            self._held_back.pop(wish.instrument, None)
        if decided.taken or not held or not isinstance(wish, Allocation) or wish.weight or self._held_back.get(wish.instrument) == decided.rule:
            return
        if any(order.side.sign * held < 0 and order.protects is None and order.parent is None for order in self._working(wish.instrument)):
            return
        self._held_back[wish.instrument] = decided.rule
        self.desk.alert("warning", f"strategy {self.name} wished to leave {wish.instrument} and still holds {plain(held)}: {decided.text}")

    async def _shadow(self, cl_ord_id: ClOrdID, decided_ns: int) -> None:
        """Remember what the order would have met on paper."""
        order = self.desk.books.blotter.get(cl_ord_id)
        quote = None if order is None else self.desk.hub.latest(order.broker, order.instrument)
        touch = None if quote is None or order is None else quote.touch(order.side)
        if order is None or touch is None or order.ord_type is not OrdType.MARKET or len(self._shadows) >= SHADOWS_MAX:
            return
        after = None
        with suppress(DeskError):
            after = (await self.desk.hub.fetch(order.broker, order.instrument)).touch(order.side)
        self._shadows[cl_ord_id] = Shadow(cl_ord_id=cl_ord_id, touch=touch, paper_px=after, decided_ns=decided_ns)

    def divergence(self) -> Divergence:
        """What became of its orders, beside paper."""
        known = ((shadow, self.desk.books.blotter.get(name)) for name, shadow in self._shadows.items())
        return measured([(shadow, order) for shadow, order in known if order is not None])

    async def _failed(self, why: str) -> None:
        """The third time it is disabled; one whose process ended is begun anew with what it holds."""
        self.failures += 1
        if self.failures >= FAILURES_MAX:
            self._disable(f"after {self.failures} failures, the last: {why}")
            return
        self.desk.alert("warning", f"strategy {self.name} failed ({self.failures} of {FAILURES_MAX}): {why}")
        if not self._strategy.alive:
            try:
                await self._strategy.start()
            except StrategyFailed as error:
                await self._failed(str(error))
                return
            past: list[Bar] = []
            try:
                past = await self._past()
            except DeskError as error:
                self.desk.alert("warning", f"strategy {self.name} begins anew without its past: {error}")
            await self._tell_past(past)

    def _disable(self, why: str) -> None:
        """No wish of it counts from now on. Its process ends with run() or stop()."""
        if not self.disabled:
            self.disabled = True
            self.desk.alert("critical", f"strategy {self.name} is disabled {why}. What it holds keeps its stops.")


def places(desk: Desk, broker: BrokerName, instrument: InstrumentID) -> frozenset[BrokerName]:
    """Where a strategy at this broker may hold it: there, or where its openings went over to."""
    return frozenset((broker, desk.routing.at(broker, instrument)))


def _account(desk: Desk, broker: BrokerName, instrument: InstrumentID) -> Decimal:
    return sum((desk.books.ledger.position(place, instrument) for place in places(desk, broker, instrument)), ZERO)


async def positions_of(desk: Desk, strategy: str, broker: BrokerName) -> dict[InstrumentID, Decimal]:
    """What a strategy holds at this broker, counted from every execution in the journal that came of its wishes."""
    await desk.journal.flush()
    books, held, after = Books(), dict[InstrumentID, Decimal](), 0
    while entries := await desk.journal.entries(after, PAGE):
        for entry in entries:
            applied = books.fold(entry.record)
            if applied is None or owner_of(books, applied.order) != strategy:
                continue
            order = applied.order
            if order.broker not in places(desk, broker, order.instrument):
                continue
            for booking in applied.bookings:
                sign = order.side.sign * (-1 if booking.reversal else 1)
                held[order.instrument] = held.get(order.instrument, ZERO) + sign * booking.fill.qty
        after = entries[-1].seq
        await asyncio.sleep(0)
    there = {name: within(qty, _account(desk, broker, name)) for name, qty in held.items()}
    return {name: qty for name, qty in there.items() if qty}
