"""One interleaved run: submit to acknowledged over loopback beside peers, then decode, journal, gate and start-up. Prints medians and ratios."""

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec

from bench.restart import restart
from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.app.desk import Desk
from trading_system.brokers.alpaca.session import DataSession
from trading_system.core.risk import Limits, check
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, InstrumentID, IntentID, derive_cl_ord_id
from trading_system.domain.order import NewOrder
from trading_system.journal.record import Alert
from trading_system.journal.store import Journal
from trading_system.settings.secret import Secret
from trading_system.transport.http import AiohttpHttp
from trading_system.transport.message import Request

ROOT = Path(__file__).parent.parent
BROKER, FORD = BrokerName("alpaca"), InstrumentID("F")
ROUNDS, CALLS, WARM = 12, 40, 20
SECOND_NS = 1_000_000_000
QUOTE = b'[{"T":"q","S":"F","ax":"V","ap":11.42,"as":300,"bx":"V","bp":11.41,"bs":200,"t":"2026-09-01T13:30:00.123456789Z","c":["R"],"z":"C"}]'
Contender = Callable[[int], Awaitable[list[int]]]
numbers = itertools.count()


def wish() -> NewOrder:
    """An order that the broker takes and cancels at once: far from the market, immediate or cancel."""
    return NewOrder(
        broker=BROKER,
        instrument=FORD,
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.IOC,
        order_qty=Decimal(1),
        price=Decimal("1.00"),
        intent=IntentID(f"bench-{next(numbers)}"),
        repeat=True,
    )


async def timed(count: int, call: Callable[[], Awaitable[object]]) -> list[int]:
    took = []
    for _ in range(count):
        start = time.perf_counter_ns()
        await call()
        took.append(time.perf_counter_ns() - start)
    return took


class Peer:
    """Another project's client in its own environment, asked line by line so that rounds interleave."""

    def __init__(self, python: Path, script: str, twin: dict[str, str]) -> None:
        command = [str(python), str(ROOT / "bench" / script), twin["rest"], twin["key"], twin["secret"]]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.ready = self._line() == "ready"

    async def __call__(self, count: int) -> list[int]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        answer = await asyncio.to_thread(self._line)
        assert isinstance(answer, list), "the peer stopped"
        return answer

    def _line(self) -> object:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


async def desk_for(stack: AsyncExitStack, twin: dict[str, str], folder: Path, *, durable: bool) -> Desk:
    """A desk as `trading watch` would run it; without the disk only the waiting for it is left out."""
    config = load_config({"TRADING_HOME": str(folder)}, env_file=Path(os.devnull))
    account = build.twin_account("alpaca", twin)
    desk = await stack.enter_async_context(build.open_desk(config, (account,), folder=folder, listen=False))
    desk.limits = Limits(
        max_orders_per_second=10**6,
        max_orders_per_minute=10**6,
        max_open_orders=10**6,
        max_open_orders_per_instrument=10**6,
        quote_max_age_ns=3600 * SECOND_NS,
        account_max_age_ns=3600 * SECOND_NS,
    )
    if not durable:
        desk.journal.append = _no_wait(desk.journal)  # type: ignore[method-assign]
    await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)
    await desk.submit(wish())
    return desk


def _no_wait(journal: Journal) -> Callable[..., Awaitable[int]]:
    async def append(record: object, *, durable: bool) -> int:
        journal.note(record)  # type: ignore[arg-type]
        return 0

    return append


def serve(stack: AsyncExitStack) -> dict[str, str]:
    """A twin in a process of its own. Each desk has one: two desks on one account would, rightly, stop each other."""
    command = [sys.executable, "-m", "trading_system.cli.main", "twins", "alpaca", "--json", "--rate", "10000000"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stack.callback(server.communicate)
    stack.callback(server.terminate)
    assert server.stdout is not None
    found: dict[str, str] = json.loads(server.stdout.readline())
    return found


def listen(stack: AsyncExitStack, twin: dict[str, str]) -> None:
    """An order stream on the peers' twin too, in a process of its own."""
    command = [sys.executable, "-m", "bench.listener", twin["rest"], twin["key"], twin["secret"]]
    listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    stack.callback(listener.communicate)
    stack.callback(listener.terminate)
    assert listener.stdout is not None
    assert listener.stdout.readline() == "listening\n"


async def contenders(stack: AsyncExitStack, home: Path) -> dict[str, Contender]:
    twin = serve(stack)
    listen(stack, twin)
    headers = {"APCA-API-KEY-ID": twin["key"], "APCA-API-SECRET-KEY": twin["secret"], "Content-Type": "application/json"}
    url = f"{twin['rest']}/v2/orders"

    def body() -> bytes:
        name = derive_cl_ord_id("bench", "raw", IntentID(str(next(numbers))))
        return (
            b'{"symbol":"F","qty":"1","side":"buy","type":"limit","time_in_force":"ioc","limit_price":"1","client_order_id":"' + name.encode() + b'"}'
        )

    bare = await stack.enter_async_context(aiohttp.ClientSession())

    async def with_aiohttp() -> None:
        async with bare.post(url, data=body(), headers=headers) as answer:
            assert answer.status == 200
            await answer.read()

    http = AiohttpHttp({twin["rest"].removeprefix("http://")})
    stack.push_async_callback(http.aclose)

    async def with_ours() -> None:
        answer = await http.send(Request(method="POST", url=url, headers=headers, body=body()), within_ns=10 * SECOND_NS)
        assert answer.status == 200

    quick = await desk_for(stack, serve(stack), home / "quick", durable=False)
    safe = await desk_for(stack, serve(stack), home / "safe", durable=True)
    found: dict[str, Contender] = {
        "bare aiohttp": lambda count: timed(count, with_aiohttp),
        "our transport": lambda count: timed(count, with_ours),
        "desk.submit, no wait for the disk": lambda count: timed(count, lambda: quick.submit(wish())),
        "desk.submit, durable": lambda count: timed(count, lambda: safe.submit(wish())),
    }
    for name, folder, script in (("alpaca-py", ".venv-judges", "peer_alpaca_py.py"), ("ccxt (async)", ".venv-peers", "peer_ccxt.py")):
        python = ROOT / folder / "bin" / "python"
        if not python.exists():
            print(f"left out: {name} (no {folder}; make {'judges' if 'judges' in folder else 'peers'})")
            continue
        peer = Peer(python, script, twin)
        stack.callback(peer.stop)
        if peer.ready:
            found[name] = peer
        else:
            print(f"left out: {name} (it did not come up against the twin)")
    return found


async def submits(home: Path) -> None:
    took: dict[str, list[int]] = {}
    async with AsyncExitStack() as stack:
        found = await contenders(stack, home)
        for contender in found.values():
            await contender(WARM)
        for _ in range(ROUNDS):
            for name, contender in found.items():
                took.setdefault(name, []).extend(await contender(CALLS))
    best = min((statistics.median(values) for name, values in took.items() if name in ("alpaca-py", "ccxt (async)")), default=0)
    floor = statistics.median(took["bare aiohttp"])
    print(f"\nOrder submit → acknowledged, one after the other, loopback, {ROUNDS} rounds × {CALLS}, µs")
    print(f"  {'':<36}{'p50':>8}{'p99':>8}{'× bare aiohttp':>16}{'× best peer':>13}")
    for name, values in took.items():
        p50, p99 = statistics.median(values), statistics.quantiles(values, n=100)[98]
        against = f"{p50 / best:>13.2f}" if best else ""
        print(f"  {name:<36}{p50 / 1000:>8.0f}{p99 / 1000:>8.0f}{p50 / floor:>16.2f}{against}")


def per_call(call: Callable[[], object], count: int = 20_000) -> float:
    """Median nanoseconds of a call over five batches."""
    batches = []
    for _ in range(5):
        start = time.perf_counter_ns()
        for _ in range(count // 5):
            call()
        batches.append((time.perf_counter_ns() - start) * 5 // count)
    return statistics.median(batches)


def decoding() -> None:
    session = DataSession("ws://x", Secret("benchkey1"), Secret("benchkey2"))
    session.want({"quotes": [FORD], "trades": [], "bars": []})
    assert session.on_frame(QUOTE, 1).events
    ours = per_call(lambda: session.on_frame(QUOTE, 1))
    plain = per_call(lambda: json.loads(QUOTE, parse_float=Decimal))
    builtin = per_call(lambda: msgspec.json.decode(QUOTE))
    print("\nOne quote frame, ns")
    print(f"  frame → Quote, exact Decimals        {ours:>8.0f}")
    print(f"  json.loads to a dict with Decimals   {plain:>8.0f}   {plain / ours:.2f} × ours")
    print(f"  msgspec to a dict with floats        {builtin:>8.0f}")


async def journaling(home: Path) -> None:
    journal = Journal(home / "bench.sqlite")
    record = Alert(severity="info", text="x" * 220, now_ns=time.time_ns())
    single = await timed(300, lambda: journal.append(record, durable=True))
    start = time.perf_counter_ns()
    for _ in range(100):
        await asyncio.gather(*(journal.append(record, durable=True) for _ in range(64)))
    rate = 6400 * SECOND_NS / (time.perf_counter_ns() - start)
    await journal.aclose()
    p50, p99 = statistics.median(single) / 1000, statistics.quantiles(single, n=100)[98] / 1000
    print("\nDurable append of a 300-byte record")
    print(f"  p50 {p50:.0f} µs, p99 {p99:.0f} µs, in groups of 64: {rate:,.0f} records/s")


async def restarting(home: Path) -> None:
    async with AsyncExitStack() as stack:
        await restart(home, serve(stack))


def gate() -> None:
    from tests.factories import reserved, risk_state
    from tests.factories import wish as any_wish

    few = risk_state()
    many = risk_state(total=reserved(orders=1000, notional=Decimal(1)), limits=Limits(max_open_orders=5000))
    for name, state in (("no open order", few), ("1,000 open orders", many)):
        took = []
        for _ in range(3000):
            start = time.perf_counter_ns()
            check(any_wish(), state)
            took.append(time.perf_counter_ns() - start)
        p50, p99 = statistics.median(took) / 1000, statistics.quantiles(took, n=100)[98] / 1000
        print(f"  {name:<22} p50 {p50:>5.0f} µs   p99 {p99:>5.0f} µs")


def starting() -> None:
    def wall(*command: str) -> float:
        took = []
        for _ in range(7):
            start = time.perf_counter_ns()
            subprocess.run(command, check=True, capture_output=True)
            took.append((time.perf_counter_ns() - start) / 1e6)
        return statistics.median(took)

    nothing = wall(sys.executable, "-c", "pass")
    print("\nStart-up, ms of wall time")
    print(f"  import trading_system   {wall(sys.executable, '-c', 'import trading_system') - nothing:>6.0f} (above Python's own {nothing:.0f})")
    print(f"  trading --help          {wall(sys.executable, '-m', 'trading_system.cli.main', '--help'):>6.0f}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT) as folder:  # on the real disk, not in memory
        build.run(submits(Path(folder)))
        decoding()
        build.run(journaling(Path(folder)))
        build.run(restarting(Path(folder)))
        print("\nRisk gate, one check")
        gate()
        starting()


if __name__ == "__main__":
    main()
