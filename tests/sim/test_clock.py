"""Virtual time: waiting costs nothing, order is exact, and what would hang says so."""

import asyncio
import hashlib
import random
import time

import pytest

from trading_system.sim.clock import SECOND_NS, START_NS, Deadlock, VirtualClock, VirtualLoop, run_virtual

DAY = 86_400 * SECOND_NS


def test_a_year_passes_while_nobody_waits() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        await clock.sleep_ns(365 * DAY)
        return clock.now_ns(), clock.monotonic_ns()

    started = time.monotonic()
    now_ns, monotonic_ns = run_virtual(main, start_ns=7)

    assert time.monotonic() - started < 60
    assert abs(monotonic_ns - 365 * DAY) < 10
    assert now_ns == monotonic_ns + 7


def test_time_starts_where_it_is_said_to() -> None:
    async def main(clock: VirtualClock) -> tuple[int, int]:
        return clock.now_ns(), clock.monotonic_ns()

    assert run_virtual(main) == (START_NS, 0)


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    async def main(clock: VirtualClock) -> list[tuple[int, int]]:
        woken: list[tuple[int, int]] = []

        async def sleeper(number: int, ns: int) -> None:
            await clock.sleep_ns(ns)
            woken.append((number, clock.monotonic_ns()))

        await asyncio.gather(sleeper(1, 3 * SECOND_NS), sleeper(2, SECOND_NS), sleeper(3, SECOND_NS + 1), sleeper(4, DAY))
        return woken

    assert run_virtual(main) == [(2, SECOND_NS), (3, SECOND_NS + 1), (1, 3 * SECOND_NS), (4, DAY)]


def test_a_deadline_falls_on_virtual_time() -> None:
    async def main(clock: VirtualClock) -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await clock.sleep_ns(DAY)
        return clock.monotonic_ns()

    assert run_virtual(main) == 30 * SECOND_NS


def test_waiting_for_what_never_comes_is_an_error_and_not_a_hang() -> None:
    async def main(_: VirtualClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="never happens"):
        run_virtual(main)


def test_the_disk_takes_virtual_time_and_keeps_no_thread() -> None:
    async def main(clock: VirtualClock) -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.disk_ns = lambda: 5_000_000
        written = await loop.run_in_executor(None, str.upper, "fsync")
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        return written, clock.monotonic_ns()

    assert run_virtual(main) == ("FSYNC", 10_000_000)


def test_a_write_that_nobody_awaits_any_more_does_not_happen() -> None:
    async def main(clock: VirtualClock) -> list[int]:
        written: list[int] = []
        future = asyncio.get_running_loop().run_in_executor(None, written.append, 1)
        future.cancel()
        await clock.sleep_ns(SECOND_NS)
        return written

    assert run_virtual(main) == []


def test_what_is_left_over_is_cancelled_at_the_end() -> None:
    ended: list[str] = []

    async def forever(clock: VirtualClock) -> None:
        try:
            await clock.sleep_ns(DAY)
        finally:
            ended.append("cancelled")

    async def main(clock: VirtualClock) -> None:
        task = asyncio.create_task(forever(clock))
        await clock.sleep_ns(1)
        assert not task.done()

    run_virtual(main)

    assert ended == ["cancelled"]


def trace(seed: int) -> str:
    """Fifty tasks that race through queues, locks and timers; the order of everything that happened."""

    async def main(clock: VirtualClock) -> str:
        rng, queue, lock = random.Random(seed), asyncio.Queue[int](3), asyncio.Lock()
        digest = hashlib.sha256()

        async def actor(number: int) -> None:
            for _ in range(10):
                await clock.sleep_ns(rng.randrange(0, 1_000_000))
                async with lock:
                    await queue.put(number)
                digest.update(f"{number} {clock.now_ns()} {await queue.get()};".encode())

        await asyncio.gather(*(actor(number) for number in range(50)))
        return digest.hexdigest()

    return run_virtual(main)


def test_the_same_seed_is_the_same_run() -> None:
    assert trace(3) == trace(3)
    assert trace(3) != trace(4)
