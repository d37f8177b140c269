"""The only reconnect loop: dials, drives a Session, watches the age of its data, and dials again with full jitter."""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import suppress
from enum import StrEnum

import msgspec

from trading_system.transport.clock import Clock
from trading_system.transport.message import Refused, TransportError
from trading_system.transport.session import Judging, Session, StreamRefused
from trading_system.transport.websocket import Connection, Dialer

SECOND_NS = 1_000_000_000
DIAL_WITHIN_NS = 10 * SECOND_NS
LOGIN_WITHIN_NS = 15 * SECOND_NS
BACKOFF_MIN_NS = SECOND_NS
BACKOFF_MAX_NS = 60 * SECOND_NS
BUSY_MIN_NS = 15 * SECOND_NS  # after HTTP 429 on the upgrade: a half-dead connection may hold the only slot
HEALTHY_NS = 60 * SECOND_NS  # a connection that lasted this long starts the back-off anew


class LinkKind(StrEnum):
    UP = "up"  # logged in and subscribed
    DOWN = "down"
    STALE = "stale"  # connected, no data for too long: dropped
    REFUSED = "refused"  # will never work as it is: no more attempts


class LinkEvent(msgspec.Struct, frozen=True):
    """A change of the stream itself, among the session's own events."""

    kind: LinkKind
    text: str = ""


class Supervisor:
    """One stream for as long as the desk wants it. Errors of a session that are no transport's rise to whoever reads run()."""

    def __init__(self, session: Session, dialer: Dialer, clock: Clock, rng: random.Random) -> None:
        self._session = session
        self._dialer = dialer
        self._clock = clock
        self._rng = rng
        self._connection: Connection | None = None

    async def send(self, frames: Iterable[str | bytes]) -> None:
        """Say something unasked on the connection that stands; without one nothing, because the login will say it. Whether it breaks, run() finds."""
        connection = self._connection
        if connection is not None:
            with suppress(TransportError):
                for frame in frames:
                    await connection.send(frame)

    async def run(self) -> AsyncGenerator[object]:
        """LinkEvents and the session's events, until refused or until the reader stops. What the session raises (a frame it
        cannot read) ends the connection first."""
        attempt = 0
        while True:
            started_ns = self._clock.monotonic_ns()
            busy = False
            try:
                url, headers = self._session.endpoint()
                connection = await self._dialer.dial(url, headers, within_ns=DIAL_WITHIN_NS)
            except Refused as error:
                busy = error.status == 429
                judged = self._judged(error)
                yield judged
                if judged.kind is LinkKind.REFUSED:
                    return
            except TransportError as error:
                yield LinkEvent(LinkKind.DOWN, str(error))
            else:
                self._connection = connection
                try:
                    async for event in self._converse(connection):
                        yield event
                        if isinstance(event, LinkEvent) and event.kind is LinkKind.REFUSED:
                            return
                finally:
                    self._connection = None
                    await connection.aclose()
            attempt = 0 if self._clock.monotonic_ns() - started_ns >= HEALTHY_NS else attempt + 1
            await self._clock.sleep_ns(self._pause_ns(attempt, busy=busy))

    def _judged(self, refused: Refused) -> LinkEvent:
        try:
            if isinstance(self._session, Judging):
                self._session.on_refused(refused.status, refused.body)
        except StreamRefused as error:
            return LinkEvent(LinkKind.REFUSED, str(error))
        return LinkEvent(LinkKind.DOWN, str(refused))

    def _pause_ns(self, attempt: int, *, busy: bool) -> int:
        """Full jitter: anything from nothing to the ceiling, so that many clients do not come back at once."""
        ceiling = min(BACKOFF_MAX_NS, BACKOFF_MIN_NS * 2 ** min(attempt, 6))
        return (BUSY_MIN_NS if busy else 0) + self._rng.randrange(ceiling)

    async def _converse(self, connection: Connection) -> AsyncIterator[object]:
        session, clock = self._session, self._clock
        up, data_ns = False, clock.monotonic_ns()
        try:
            step = session.on_open(clock.now_ns())
            while True:
                for frame in step.send:
                    await connection.send(frame)
                for event in step.events:
                    yield event
                if step.ready and not up:
                    up = True
                    yield LinkEvent(LinkKind.UP)
                if step.events or step.ready or step.alive:
                    data_ns = clock.monotonic_ns()
                limit_ns = session.stale_after_ns() if up else LOGIN_WITHIN_NS
                left_ns = data_ns + limit_ns - clock.monotonic_ns() if limit_ns else 0
                if limit_ns and left_ns <= 0:
                    raise TimeoutError
                frame_in = await connection.receive(within_ns=left_ns)
                step = session.on_frame(frame_in, clock.now_ns())
        except TimeoutError:
            age_s = (clock.monotonic_ns() - data_ns) // SECOND_NS
            yield LinkEvent(LinkKind.STALE, f"connected, but nothing came for {age_s} s")
        except StreamRefused as error:
            yield LinkEvent(LinkKind.REFUSED, str(error))
        except TransportError as error:
            yield LinkEvent(LinkKind.DOWN, str(error))
