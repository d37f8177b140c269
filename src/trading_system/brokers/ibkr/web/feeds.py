"""One socket of prices, whoever reads. Contracts come and go on the open socket."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping

from trading_system.brokers.ibkr.facts import NAME
from trading_system.brokers.ibkr.web.session import PriceSession, stream_state
from trading_system.domain.errors import DeskError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.ports import Clock, Kinds, Link, StreamState
from trading_system.transport.supervise import LinkEvent, LinkKind, Supervisor

WAITING_MAX = 10_000  # events of one subscription that nobody has read
Event = Quote | Trade | Bar | StreamState


class Subscription:
    """What one reader wants, and what waits for it. A reader that falls behind loses what waits, and is told so; the others do not notice."""

    def __init__(self, contracts: Mapping[int, InstrumentID], kinds: Kinds) -> None:
        self.contracts = contracts
        self.instruments = frozenset(contracts.values())
        self.kinds = kinds
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._over = False
        self._error: DeskError | None = None

    def offer(self, event: Event, now_ns: int) -> None:
        if len(self._waiting) >= WAITING_MAX:
            text = f"{len(self._waiting)} events were dropped: this reader is too slow"
            self._waiting.clear()
            self._waiting.append(StreamState(broker=NAME, stream="market data", link=Link.GAP, text=text, recv_ns=now_ns))
        self._waiting.append(event)
        self._wake.set()

    def wants(self, event: Quote | Trade) -> bool:
        return event.instrument in self.instruments and (self.kinds.quotes if isinstance(event, Quote) else self.kinds.trades)

    def finish(self, error: DeskError | None) -> None:
        """Nothing more will come. What waits is still given out, then the error raised."""
        self._over, self._error = True, error
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._error is not None:
                raise self._error
            if self._over:
                return
            self._wake.clear()
            await self._wake.wait()


class Feed:
    """The socket: open for as long as anybody reads, with what all of them want together."""

    def __init__(self, session: PriceSession, supervisor: Supervisor, clock: Clock) -> None:
        self._session = session
        self._supervisor = supervisor
        self._clock = clock
        self._readers: list[Subscription] = []
        self._task: asyncio.Task[None] | None = None
        self._live = False
        self._one = asyncio.Lock()  # a socket that closes is closed before the next one is dialled: there is one at a time

    async def join(self, reader: Subscription) -> None:
        async with self._one:
            self._readers.append(reader)
            if self._live:
                self._tell(reader, LinkEvent(LinkKind.UP))
            await self._want()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run(), name="feed ibkr")

    async def leave(self, reader: Subscription) -> None:
        async with self._one:
            if reader in self._readers:
                self._readers.remove(reader)
            await self._want()
            if not self._readers and self._task is not None:
                closing, self._task = self._task, None
                closing.cancel()
                await asyncio.wait((closing,))

    async def _want(self) -> None:
        await self._supervisor.send(self._session.want({con_id: name for reader in self._readers for con_id, name in reader.contracts.items()}))

    async def _run(self) -> None:
        error: DeskError | None = None
        try:
            async for event in self._supervisor.run():
                self._take(event)
        except DeskError as raised:
            error = raised
        finally:
            self._live = False
        for reader in self._readers:
            reader.finish(error)

    def _take(self, event: object) -> None:
        if isinstance(event, LinkEvent):
            self._live = event.kind is LinkKind.UP
            for reader in self._readers:
                self._tell(reader, event)
        elif isinstance(event, Quote | Trade):
            for reader in self._readers:
                if reader.wants(event):
                    reader.offer(event, self._clock.now_ns())

    def _tell(self, reader: Subscription, event: LinkEvent) -> None:
        now_ns = self._clock.now_ns()
        reader.offer(stream_state(event, "market data", now_ns), now_ns)
