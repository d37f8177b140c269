"""Strategies at work on a desk: each is told what happens, and what it wishes for is decided, journaled and placed.

A strategy that raises or hangs three times is disabled, and a person is told; what it holds keeps its stops, and the others go on. Bars of a minute
or more are the broker's own, asked for when they are over; shorter ones are made of trades.
"""

import asyncio
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
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID, parse_instrument
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ZERO
from trading_system.domain.ports import Kinds
from trading_system.domain.signal import Wish
from trading_system.journal.record import Adjusted, Decided, Record, Reported
from trading_system.journal.replay import Books
from trading_system.strategy.bars import parse_period
from trading_system.strategy.base import Filled, Held, Started, Stopped, Ticked

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
FAILURES_MAX = 3
GRACE_NS = 2 * SECOND_NS  # how long after its end a bar is asked for
LAST_WITHIN_NS = 5 * SECOND_NS  # how long the last orders are waited for
QUEUE_MAX = 10_000  # events that wait for one strategy
PAGE = 1_000
SHADOWS_MAX = 10_000  # orders that are compared with paper
_WRONG = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)  # what a wish may bring about that nobody thought of
_LOOK_NS = SECOND_NS


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
        self._queue: asyncio.Queue[Told] = asyncio.Queue(QUEUE_MAX)
        self._count = 0
        self._last_bar_ns: dict[InstrumentID, int] = {}
        self._began_ns = 0
        self._shadows: dict[ClOrdID, Shadow] = {}

    async def start(self) -> None:
        """Make it, tell it the past and what it holds. Raises BadRequest: it cannot be made, or the broker has not what it wants."""
        try:
            self._wants = await self._strategy.start()
        except StrategyFailed as error:
            raise BadRequest(str(error)) from None
        self.name = self._wants.name
        self._instruments = tuple(parse_instrument(name) for name in self._wants.instruments)
        for name in self._instruments:
            await self.desk.instrument(self.broker, name)
        self._positions = await positions_of(self.desk, self.name)
        self._began_ns = self.desk.clock.now_ns()
        self.desk.listeners.append(self._on_record)
        await self._tell_past()

    async def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Work until told to stop, or disabled. `until` is asked once a second."""
        feeds = [asyncio.create_task(work) for work in self._feeds()]
        try:
            while not self.disabled and not until():
                await self._drain()
                for task in feeds:
                    if task.done() and (error := task.exception()) is not None:
                        await self._disable(f"because what it is told of ended: {error}")
                await self.desk.clock.sleep_ns(_LOOK_NS // 4)
        finally:
            for task in feeds:
                task.cancel()
            await asyncio.gather(*feeds, return_exceptions=True)

    async def stop(self) -> None:
        """Let it wish for the last time, wait a little for what becomes of that, then end its process."""
        if self._wants is not None and not self.disabled:
            await self._ask(told(Stopped(now_ns=self.desk.clock.now_ns())))
            await self.desk.wait(self._at_rest, LAST_WITHIN_NS)
        if self._on_record in self.desk.listeners:
            self.desk.listeners.remove(self._on_record)
        await self._strategy.aclose()

    # -- what it is told -------------------------------------------------------------------------------------------------------------

    async def _tell_past(self) -> None:
        assert self._wants is not None
        if self._wants.bars and self._wants.history:
            period_ns = parse_period(self._wants.bars)
            now_ns = self.desk.clock.now_ns()
            for name in self._instruments:
                for bar in await self._bars(name, period_ns, now_ns - 3 * (self._wants.history + 2) * period_ns, now_ns):
                    self._last_bar_ns[name] = bar.open_ns
                    await self._ask(told(bar, warm=True))
        await self._ask(told(Started(positions=self._positions, now_ns=self.desk.clock.now_ns())))

    async def _bars(self, name: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        """Those that are over; none where the broker cannot say now."""
        try:
            found = await self.desk.routing.bars(self.broker, name, period_ns, max(0, start_ns), end_ns)
        except DeskError:
            return ()
        now_ns = self.desk.clock.now_ns()
        return tuple(bar for bar in found if bar.open_ns + bar.period_ns <= now_ns)

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
            work.append(self._poll(period_ns))
        if wants.timer_s or made:
            work.append(self._tick(wants.timer_s * SECOND_NS, made=made))
        return work

    async def _stream(self, kinds: Kinds) -> None:
        async for event in self.desk.routing.stream(self.broker, self._instruments, kinds):
            if isinstance(event, Quote | Trade):
                await self._queue.put(told(event))

    async def _poll(self, period_ns: int) -> None:
        clock = self.desk.clock
        while True:
            now_ns = clock.now_ns()
            await clock.sleep_ns(period_ns - now_ns % period_ns + GRACE_NS if now_ns % period_ns > GRACE_NS else GRACE_NS - now_ns % period_ns + 1)
            for name in self._instruments:
                since_ns = self._last_bar_ns.get(name, self._began_ns - period_ns)
                for bar in await self._bars(name, period_ns, since_ns + 1, clock.now_ns()):
                    if bar.open_ns > self._last_bar_ns.get(name, -1):
                        self._last_bar_ns[name] = bar.open_ns
                        self._on_bar(bar)
                        await self._queue.put(told(bar))

    async def _tick(self, timer_ns: int, *, made: bool) -> None:
        clock, due_ns = self.desk.clock, self.desk.clock.now_ns() + timer_ns
        while True:
            await clock.sleep_ns(_LOOK_NS)
            now_ns = clock.now_ns()
            if made:
                await self._queue.put(Told(passed_ns=now_ns))
            if timer_ns and now_ns >= due_ns:
                due_ns = now_ns + timer_ns
                await self._queue.put(told(Ticked(now_ns=now_ns)))

    def _on_record(self, record: Record, applied: Applied | None) -> None:
        if isinstance(record, Adjusted) and record.broker == self._at(record.instrument) and self._positions.get(record.instrument):
            self._tell_held(record.instrument, record.now_ns)
        if not isinstance(record, Reported) or applied is None or not applied.bookings or owner_of(self.desk.books, applied.order) != self.name:
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
        working = (order for name in self._instruments for order in self.desk.books.blotter.working_on(self._at(name), name))
        return not any(order.ord_type is OrdType.MARKET and owner_of(self.desk.books, order) == self.name for order in working)

    def _tell_held(self, instrument: InstrumentID, now_ns: int) -> None:
        own = self._there(instrument, self._positions[instrument])
        if own != self._positions[instrument]:
            self._positions[instrument] = own
            self._soon(told(Held(instrument=instrument, position=own, now_ns=now_ns)))

    def _there(self, instrument: InstrumentID, own: Decimal) -> Decimal:
        """What a strategy holds is no more than the account does: a fee in kind was taken from it."""
        return within(own, self.desk.books.ledger.position(self._at(instrument), instrument))

    def _at(self, instrument: InstrumentID) -> BrokerName:
        """Where it lives: at this strategy's broker, but for openings that went over to another."""
        return self.desk.routing.at(self.broker, instrument)

    def _soon(self, event: Told) -> None:
        if not self._queue.full():
            self._queue.put_nowait(event)

    # -- what it wishes for ----------------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        while not self._queue.empty() and not self.disabled:
            await self._ask(self._queue.get_nowait())

    async def _ask(self, event: Told) -> None:
        try:
            wishes = await self._strategy.ask(event)
        except StrategyFailed as error:
            await self._failed(str(error))
            return
        for wish in wishes:
            try:
                await self._wished(wish)
            except _WRONG as error:
                await self._failed(f"its wish for {wish.instrument} could not be handled: {type(error).__name__}: {error}")

    async def _wished(self, wish: Wish) -> None:
        self._count += 1
        intent = IntentID(f"{self.name}/{self.desk.books.epoch}-{self._count}")
        try:
            decided = await decide(self.desk, wish, strategy=self.name, intent=intent, own=self._positions.get(wish.instrument, ZERO))
        except DeskError as error:
            decided = undecided(self.desk, wish, self.broker, self.name, intent, error)
        self._on_decision(decided)
        if decided.cl_ord_id is not None:
            await self._shadow(decided.cl_ord_id, decided.now_ns)

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
            await self._disable(f"after {self.failures} failures, the last: {why}")
            return
        self.desk.alert("warning", f"strategy {self.name} failed ({self.failures} of {FAILURES_MAX}): {why}")
        if not self._strategy.alive:
            try:
                await self._strategy.start()
            except StrategyFailed as error:
                await self._failed(str(error))
                return
            await self._tell_past()

    async def _disable(self, why: str) -> None:
        if not self.disabled:
            self.disabled = True
            await self._strategy.aclose()
            self.desk.alert("critical", f"strategy {self.name} is disabled {why}. What it holds keeps its stops.")


async def positions_of(desk: Desk, strategy: str) -> dict[InstrumentID, Decimal]:
    """What a strategy holds, counted from every execution in the journal that came of its wishes."""
    await desk.journal.flush()
    books, held, after = Books(), dict[InstrumentID, Decimal](), 0
    while entries := await desk.journal.entries(after, PAGE):
        for entry in entries:
            applied = books.fold(entry.record)
            if applied is None or owner_of(books, applied.order) != strategy:
                continue
            for booking in applied.bookings:
                sign = applied.order.side.sign * (-1 if booking.reversal else 1)
                held[applied.order.instrument] = held.get(applied.order.instrument, ZERO) + sign * booking.fill.qty
        after = entries[-1].seq
        await asyncio.sleep(0)
    there = {name: within(qty, sum((books.ledger.position(broker, name) for broker in desk.brokers), ZERO)) for name, qty in held.items()}
    return {name: qty for name, qty in there.items() if qty}
