"""Time: the clock that is handed in everywhere, the system's own, and how far a broker's runs from it. The simulator's is in sim/clock.py."""

import asyncio
import time
from collections import deque
from email.utils import parsedate_to_datetime
from typing import Protocol

SECOND_NS = 1_000_000_000
SAMPLES_MAX = 9  # of a broker's clock: one slow answer among them moves nothing


class Clock(Protocol):
    """UTC wall time for records, monotonic time for deadlines, and waiting."""

    def now_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...
    async def sleep_ns(self, duration_ns: int) -> None: ...


class SystemClock:
    """UTC wall time for records, monotonic time for deadlines."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep_ns(self, duration_ns: int) -> None:
        await asyncio.sleep(duration_ns / SECOND_NS)


class BrokerOffset:
    """How far a broker's clock runs ahead of ours, from the last answers that told its time. The broker read its clock somewhere between
    our sending and our receiving, so that half of the round trip is what we cannot know."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES_MAX)  # (offset, what we cannot know of it)

    def learn(self, broker_ns: int, sent_ns: int, recv_ns: int, *, grain_ns: int = 1) -> None:
        """One answer. grain_ns: the step of the broker's time, which was cut off to it."""
        self._samples.append((broker_ns + grain_ns // 2 - (sent_ns + recv_ns) // 2, (recv_ns - sent_ns) // 2 + grain_ns // 2))

    def learn_date(self, date: str, sent_ns: int, recv_ns: int) -> None:
        """The Date header of an answer, in whole seconds. Raises ValueError: no HTTP date."""
        self.learn(int(parsedate_to_datetime(date).timestamp()) * SECOND_NS, sent_ns, recv_ns, grain_ns=SECOND_NS)

    def offset_ns(self) -> int:
        """The median; 0 as long as nothing is known. Add it to our time to get the broker's."""
        offsets = sorted(offset for offset, _ in self._samples)
        return offsets[len(offsets) // 2] if offsets else 0

    def skew_ns(self) -> int:
        """How far apart the clocks are for certain: what the uncertainty of the sample at the median cannot explain away."""
        if not self._samples:
            return 0
        offset, unknown = sorted(self._samples)[len(self._samples) // 2]
        return max(0, abs(offset) - unknown)
