"""Lines of market data: each instrument that somebody reads has one, whose ticks are put together to quotes and trades."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any

from ib_async import Contract as IbContract

from trading_system.brokers.ibkr.errors import BACK_WITHOUT_DATA, Meaning, failure, meaning, said
from trading_system.brokers.ibkr.facts import NAME
from trading_system.brokers.ibkr.tws.codec import decode_greeks, decode_number
from trading_system.brokers.ibkr.tws.line import Line
from trading_system.brokers.ibkr.tws.session import Heard, Mouth
from trading_system.brokers.ibkr.wire import Tick
from trading_system.domain.errors import BadRequest, DeskError, ProtocolError, Unavailable
from trading_system.domain.fund import is_fund
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import BookSnapshot, Quote, Trade
from trading_system.domain.money import ZERO
from trading_system.domain.option import OptionSnapshot, parse_occ
from trading_system.domain.ports import Clock, Kinds, Link, StreamState
from trading_system.domain.times import NS
from trading_system.transport.supervise import LinkEvent, LinkKind

WAITING_MAX = 10_000  # events of one reader that nobody has read
AGAIN_AFTER_NS = 30 * NS  # a line that TWS ended is asked for again
Event = Quote | Trade | BookSnapshot | StreamState
_TICKS = ("priceSizeTick", "tickSize", "tickString", "updateMktDepth", "updateMktDepthL2")
_INSERT, _UPDATE = 0, 1


class Ticks:
    """What the ticks of one instrument come to."""

    def __init__(self, instrument: InstrumentID) -> None:
        self.instrument = instrument
        self._bid: tuple[Decimal | None, Decimal] = (None, ZERO)
        self._ask: tuple[Decimal | None, Decimal] = (None, ZERO)
        self._fund = is_fund(instrument)
        self._last_ns = 0
        self._prints = 0
        self.sides: set[Tick] = set()

    def take(self, message: Heard, now_ns: int) -> Quote | Trade | None:
        """None: it changes neither. A price of minus one is nobody's."""
        match message.name, message.args:
            case "priceSizeTick", (_, kind, price, size):
                return self._priced(kind, decode_number(price), decode_number(size), now_ns)
            case "tickSize", (_, Tick.BID_SIZE, size):
                self._bid = (self._bid[0], decode_number(size))
                return self._quote(now_ns)
            case "tickSize", (_, Tick.ASK_SIZE, size):
                self._ask = (self._ask[0], decode_number(size))
                return self._quote(now_ns)
            case "tickString", (_, Tick.LAST_TIME, text):
                self._last_ns = int(text) * NS
        return None

    def _priced(self, kind: int, price: Decimal, size: Decimal, now_ns: int) -> Quote | Trade | None:
        if self._fund:
            return self._struck(kind, price, now_ns)
        side = (None if price < 0 or (not price and not size) else price, size)
        if kind == Tick.BID:
            self._bid = side
        elif kind == Tick.ASK:
            self._ask = side
        elif kind == Tick.LAST and price > 0:
            return self._trade(price, size, now_ns)
        else:
            return None
        self.sides.add(Tick(kind))
        return self._quote(now_ns)

    def _struck(self, kind: int, price: Decimal, now_ns: int) -> Quote | None:
        """Nobody bids for a fund: what it dealt at last is what it can be had for, and given back for."""
        if kind != Tick.CLOSE or price <= 0:
            return None
        self._bid = self._ask = (price, ZERO)
        self.sides = {Tick.BID, Tick.ASK}
        return self._quote(now_ns)

    def _quote(self, now_ns: int) -> Quote | None:
        """Ticks carry no time: they are as old as their way here."""
        if self.sides != {Tick.BID, Tick.ASK}:
            return None
        return Quote(
            instrument=self.instrument,
            bid_px=self._bid[0],
            bid_qty=self._bid[1],
            ask_px=self._ask[0],
            ask_qty=self._ask[1],
            transact_ns=now_ns,
            recv_ns=now_ns,
        )

    def _trade(self, price: Decimal, size: Decimal, now_ns: int) -> Trade:
        self._prints += 1
        at_ns = self._last_ns or now_ns
        return Trade(instrument=self.instrument, price=price, qty=size, trade_id=f"{at_ns // NS}-{self._prints}", transact_ns=at_ns, recv_ns=now_ns)


class Levels:
    """A book as TWS tells it, row by row; side 0 is the offers'."""

    def __init__(self, instrument: InstrumentID) -> None:
        self.instrument = instrument
        self._sides: tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]] = ([], [])

    def take(self, message: Heard, now_ns: int) -> BookSnapshot | None:
        """None: one side is empty, or rows that are still to come make no book of it yet. Raises ProtocolError: a row that nothing stands before."""
        place, operation, side, price, size = message.args[1:6] if message.name == "updateMktDepth" else (message.args[1], *message.args[3:7])
        rows = self._sides[side]
        row = (decode_number(price), decode_number(size))
        if place > len(rows) - (operation != _INSERT):
            raise ProtocolError("a row of a book that cannot be there", f"{place} {operation} {side}".encode())
        if operation == _INSERT:
            rows.insert(place, row)
        elif operation == _UPDATE:
            rows[place] = row
        else:
            del rows[place]
        asks, bids = self._sides
        prices = [px for px, _ in (*reversed(bids), *asks)]
        if not asks or not bids or any(one >= other for one, other in pairwise(prices)):
            return None
        return BookSnapshot(instrument=self.instrument, bids=tuple(bids), asks=tuple(asks), transact_ns=now_ns, recv_ns=now_ns)


class _Reader:
    """What one subscription wants, and what waits for it. A reader that falls behind loses what waits, and is told so."""

    def __init__(self, contracts: Mapping[InstrumentID, IbContract], kinds: Kinds, levels: int = 0) -> None:
        """levels: of books, which are then what is wanted."""
        self.contracts = contracts
        self.kinds = kinds
        self.levels = levels
        self.lines: dict[int, Ticks | Levels] = {}
        self.ended: dict[InstrumentID, int] = {}  # lines that TWS ended, and when to ask again
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()

    def offer(self, event: Event) -> None:
        if len(self._waiting) >= WAITING_MAX:
            self._waiting.clear()
            self._waiting.append(_state(Link.GAP, "events were dropped: this reader is too slow", event.recv_ns))
        self._waiting.append(event)
        self._wake.set()

    def wants(self, event: Quote | Trade | BookSnapshot) -> bool:
        if isinstance(event, BookSnapshot):
            return True
        return self.kinds.quotes if isinstance(event, Quote) else self.kinds.trades

    async def next(self) -> Event:
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


class Feeds:
    """All readers of one line. Lines are asked for anew after each connection, and after IB lost them."""

    def __init__(self, line: Line, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._readers: list[_Reader] = []
        self._tasks: set[asyncio.Task[None]] = set()

    # -- once ------------------------------------------------------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID, contract: IbContract) -> Quote:
        """Raises BadRequest: no subscription. Unavailable: nobody quotes it now."""
        ticks, found = Ticks(instrument), None
        enough = {Tick.CLOSE} if is_fund(instrument) else {Tick.BID, Tick.ASK}
        for message in await self._snapshot(contract, lambda rows: enough <= _priced(rows)):
            told = ticks.take(message, self._clock.now_ns())
            found = told if isinstance(told, Quote) else found
        if found is None:
            raise Unavailable(f"Interactive Brokers has no quote of {instrument} now")
        return found

    async def trade(self, instrument: InstrumentID, contract: IbContract) -> Trade:
        """Raises BadRequest: there is none."""
        ticks, found = Ticks(instrument), None
        for message in await self._snapshot(contract, lambda rows: Tick.LAST in _priced(rows)):
            told = ticks.take(message, self._clock.now_ns())
            found = told if isinstance(told, Trade) else found
        if found is None:
            raise BadRequest(f"Interactive Brokers has no trade of {instrument}")
        return found

    async def option(self, contract: IbContract, instrument: InstrumentID) -> OptionSnapshot:
        """One line of a chain; what nobody quotes, or IB's model does not price, is None there."""
        ticks, quote, greeks, volatility = Ticks(instrument), None, None, None
        for message in await self._snapshot(contract, lambda rows: {Tick.BID, Tick.ASK} <= _priced(rows) and _is_modelled(rows)):
            if message.name == "tickOptionComputation" and message.args[1] == Tick.MODEL_OPTION:
                volatility, greeks = decode_greeks(*message.args[3:])
            told = ticks.take(message, self._clock.now_ns())
            quote = told if isinstance(told, Quote) else quote
        return OptionSnapshot(contract=parse_occ(instrument), instrument=instrument, quote=quote, implied_volatility=volatility, greeks=greeks)

    async def _snapshot(self, contract: IbContract, enough: Callable[[list[Heard]], bool]) -> list[Heard]:
        return await self._line.ask("tickSnapshotEnd", lambda mouth, number: mouth.reqMktData(number, contract, "", True, False, []), enough=enough)

    # -- on and on -------------------------------------------------------------------------------------------------------------------------------

    async def subscribe(self, contracts: Mapping[InstrumentID, IbContract], kinds: Kinds, levels: int = 0) -> AsyncIterator[Event]:
        """Until the reader goes. levels: of books instead."""
        reader = _Reader(contracts, kinds, levels)
        self._readers.append(reader)
        try:
            if self._line.up:
                reader.offer(_state(Link.LIVE, "", self._clock.now_ns()))
                await self._open(reader)
            while True:
                yield await reader.next()
        finally:
            self._readers.remove(reader)
            for number in reader.lines:
                self._later(self._cancel(number, levels))

    async def _open(self, reader: _Reader) -> None:
        """A line for each of its instruments that has none."""
        served = {ticks.instrument for ticks in reader.lines.values()}
        for instrument, contract in reader.contracts.items():
            if instrument not in served:
                number = self._line.new_id()
                reader.lines[number] = Levels(instrument) if reader.levels else Ticks(instrument)
                try:
                    await self._line.say(partial(_ask_line, number=number, contract=contract, levels=reader.levels))
                except DeskError as error:
                    reader.lines.pop(number, None)
                    reader.offer(_state(Link.GAP, str(error), self._clock.now_ns()))

    async def _cancel(self, number: int, levels: int) -> None:
        with suppress(DeskError):  # without a line there is nothing to cancel
            await self._line.say(lambda mouth: mouth.cancelMktDepth(number, True) if levels else mouth.cancelMktData(number))

    def turned(self, event: LinkEvent) -> None:
        """The connection has changed: every line is gone."""
        for reader in self._readers:
            reader.lines.clear()
            reader.offer(_state(_LINK[event.kind], event.text, self._clock.now_ns()))
            if event.kind is LinkKind.UP:
                self._later(self._open(reader))

    def hear(self, message: Heard) -> None:
        """A tick, or the end of a line."""
        if message.name == "error":
            self._complains(*message.args[:3])
        elif message.name in _TICKS:
            for reader in self._readers:
                ticks = reader.lines.get(message.args[0])
                if ticks is not None:
                    told = ticks.take(message, self._clock.now_ns())
                    if told is not None and reader.wants(told):
                        reader.offer(told)

    def _complains(self, number: int, code: int, text: str) -> None:
        for reader in self._readers:
            if code == BACK_WITHOUT_DATA:
                reader.lines.clear()
                reader.offer(_state(Link.GAP, said(code, text), self._clock.now_ns()))
                self._later(self._again(reader, 0))
            elif number in reader.lines and meaning(code) not in (Meaning.NOTICE, Meaning.WARNING):
                del reader.lines[number]
                reader.offer(_state(Link.GAP, str(failure(code, text)), self._clock.now_ns()))
                self._later(self._again(reader, AGAIN_AFTER_NS))

    async def _again(self, reader: _Reader, after_ns: int) -> None:
        """Ask once more for what has no line."""
        await self._clock.sleep_ns(after_ns)
        if reader in self._readers and self._line.up:
            reader.offer(_state(Link.LIVE, "", self._clock.now_ns()))
            await self._open(reader)

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work, name="feed ibkr")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


def _ask_line(mouth: Mouth, *, number: int, contract: IbContract, levels: int) -> None:
    if levels:
        mouth.reqMktDepth(number, contract, levels, contract.exchange == "SMART", [])
    else:
        mouth.reqMktData(number, contract, "", False, False, [])


def _priced(rows: list[Heard]) -> set[int]:
    """Which prices have come."""
    return {row.args[1] for row in rows if row.name == "priceSizeTick"}


def _is_modelled(rows: list[Heard]) -> bool:
    return any(row.name == "tickOptionComputation" and row.args[1] == Tick.MODEL_OPTION for row in rows)


_LINK = {LinkKind.UP: Link.LIVE, LinkKind.DOWN: Link.GAP, LinkKind.STALE: Link.STALE, LinkKind.REFUSED: Link.REFUSED}


def _state(link: Link, text: str, recv_ns: int) -> StreamState:
    return StreamState(broker=NAME, stream="market data", link=link, text=text, recv_ns=recv_ns)
