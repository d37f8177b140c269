"""Market data fan-out: the latest quote of everything, and streams to consumers that are bounded, conflated, and say when one was slow."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress

from trading_system.app.links import PRICES, Links
from trading_system.domain.errors import DeskError
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.ports import Kinds, Link, MarketData, StreamState

QUEUE_MAX = 1_000  # different instruments and events one consumer may have waiting
Event = Quote | Trade | Bar | StreamState
Feed = tuple[BrokerName, frozenset[InstrumentID], Kinds]


class Consumer:
    """One reader. A newer quote of an instrument replaces the waiting one; when the rest overflows, the oldest goes and is counted."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[object, Event] = OrderedDict()
        self._wake = asyncio.Event()
        self.dropped = 0

    def offer(self, event: Event) -> None:
        key: object = event.instrument if isinstance(event, Quote) else object()
        if key not in self._waiting and len(self._waiting) >= QUEUE_MAX:
            self._waiting.popitem(last=False)
            self.dropped += 1
        self._waiting[key] = event
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._waiting:
                yield self._waiting.popitem(last=False)[1]
            self._wake.clear()
            await self._wake.wait()


class Hub:
    """Latest quotes by broker and instrument, fetched on demand and kept fresh by subscriptions."""

    def __init__(self, feeds: Mapping[BrokerName, MarketData]) -> None:
        self._feeds = feeds
        self._latest: dict[tuple[BrokerName, InstrumentID], Quote] = {}
        self._consumers: dict[BrokerName, list[tuple[Feed, Consumer]]] = {}
        self._pumps: dict[Feed, asyncio.Task[None]] = {}
        self.links = Links()

    def latest(self, broker: BrokerName, instrument: InstrumentID) -> Quote | None:
        return self._latest.get((broker, instrument))

    def take(self, broker: BrokerName, event: Event) -> None:
        """One event in: remember a quote if it is newer, hand everything on."""
        if isinstance(event, Quote):
            before = self._latest.get((broker, event.instrument))
            if before is None or event.transact_ns >= before.transact_ns:
                self._latest[broker, event.instrument] = event
        for _, consumer in self._consumers.get(broker, ()):
            consumer.offer(event)

    async def fetch(self, broker: BrokerName, instrument: InstrumentID) -> Quote:
        """Ask the broker for the latest quote. Raises what MarketData.quote raises."""
        quote = await self._feeds[broker].quote(instrument)
        self.take(broker, quote)
        return quote

    async def stream(self, broker: BrokerName, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncGenerator[Event, None]:
        """Everything about these instruments from now on, until the caller stops reading. A feed that fails says so as a StreamState."""
        consumer = Consumer()
        key = (broker, frozenset(instruments), kinds)
        self._consumers.setdefault(broker, []).append((key, consumer))
        if key not in self._pumps:
            self._pumps[key] = asyncio.create_task(self._pump(broker, instruments, kinds), name=f"feed {broker}")
        wanted = set(instruments)
        try:
            async for event in self.read(broker, consumer):
                if isinstance(event, StreamState) or event.instrument in wanted:
                    yield event
        finally:
            self._consumers[broker].remove((key, consumer))
            if not any(other == key for other, _ in self._consumers[broker]):
                self._pumps.pop(key).cancel()  # nobody reads: the broker's connection is free for another subscription

    async def read(self, broker: BrokerName, consumer: Consumer) -> AsyncIterator[Event]:
        """What a consumer was offered; in its place, that some of it was dropped."""
        told = 0
        async for event in consumer:
            if consumer.dropped > told:
                yield self._state(broker, Link.GAP, f"{consumer.dropped - told} events were dropped: this reader is too slow")
                told = consumer.dropped
            yield event

    async def aclose(self) -> None:
        for task in self._pumps.values():
            task.cancel()
        for task in self._pumps.values():
            with suppress(asyncio.CancelledError):
                await task
        self._pumps.clear()

    async def _pump(self, broker: BrokerName, instruments: Sequence[InstrumentID], kinds: Kinds) -> None:
        streams = {PRICES}
        try:
            async for event in self._feeds[broker].subscribe(instruments, kinds):
                self.take(broker, event)
                if isinstance(event, StreamState):
                    streams.add(event.stream)
                    self.links.take(event)
                elif not isinstance(event, Bar):
                    self.links.heard(broker, PRICES, event.recv_ns)
        except DeskError as error:
            state = self._state(broker, Link.REFUSED, str(error))
            self.links.take(state)
            self.take(broker, state)
        finally:
            if not any(name == broker for name, _, _ in self._pumps):
                self.links.forget(broker, streams)

    def _state(self, broker: BrokerName, link: Link, text: str) -> StreamState:
        """A word of the hub's own; its time is that of the newest quote."""
        recv_ns = max((quote.recv_ns for quote in self._latest.values()), default=0)
        return StreamState(broker=broker, stream="market data", link=link, text=text, recv_ns=recv_ns)
