"""Virtual time: waiting moves the clock instead of the hands. Production code runs on it unchanged, and the same seed gives the same run."""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

SECOND_NS = 1_000_000_000
START_NS = 1_790_000_000 * SECOND_NS  # 2026-09-21, a Monday, 14:13 UTC: New York trades
_T = TypeVar("_T")


class Deadlock(RuntimeError):
    """Everybody waits and no timer is set: on a real clock this would hang for ever."""


class _Selector(selectors.SelectSelector):
    """Where a real loop would sleep, this one moves its clock to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_ns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock("nothing is due and nothing can come: a task waits for something that never happens")
        if timeout > 0:
            self.elapsed_ns += max(1, round(timeout * SECOND_NS))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on a clock of its own. What goes to an executor (the journal's disk) runs inline after `disk_ns()`."""

    def __init__(self) -> None:
        self.disk_ns: Callable[[], int] = lambda: 0
        self._virtual = _Selector()
        super().__init__(self._virtual)

    @property
    def _clock_resolution(self) -> float:
        """A timer is due when it is less than this ahead. After 97 days a nanosecond is less than the float of time() can tell apart; with a
        fixed one asyncio would find nothing due for ever."""
        return max(1 / SECOND_NS, math.ulp(self.time()))

    @_clock_resolution.setter
    def _clock_resolution(self, _: float) -> None:
        """asyncio sets the system clock's."""

    def time(self) -> float:
        return self._virtual.elapsed_ns / SECOND_NS

    @property
    def elapsed_ns(self) -> int:
        return self._virtual.elapsed_ns

    def run_in_executor(self, executor: Executor | None, func: Callable[..., _T], *args: Any) -> "asyncio.Future[_T]":  # type: ignore[override]
        future: asyncio.Future[_T] = self.create_future()
        self.call_later(self.disk_ns() / SECOND_NS, _run_inline, future, func, args)
        return future


def _run_inline(future: "asyncio.Future[Any]", func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001  handed to whoever awaits it, as an executor does
        future.set_exception(error)
    else:
        future.set_result(result)


class VirtualClock:
    """Clock on a VirtualLoop."""

    def __init__(self, loop: VirtualLoop, start_ns: int = START_NS) -> None:
        self._loop = loop
        self._start_ns = start_ns

    def now_ns(self) -> int:
        return self._start_ns + self._loop.elapsed_ns

    def monotonic_ns(self) -> int:
        return self._loop.elapsed_ns

    async def sleep_ns(self, duration_ns: int) -> None:
        await asyncio.sleep(duration_ns / SECOND_NS)


def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, _T]], *, start_ns: int = START_NS) -> _T:
    """Run to the end on virtual time; what is left over is cancelled. Raises Deadlock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return runner.run(main(VirtualClock(loop, start_ns)))
