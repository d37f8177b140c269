"""The system's clock; the simulator has its own in sim/clock.py."""

import asyncio
import time

_SECOND_NS = 1_000_000_000


class SystemClock:
    """UTC wall time for records, monotonic time for deadlines."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep_ns(self, duration_ns: int) -> None:
        await asyncio.sleep(duration_ns / _SECOND_NS)
