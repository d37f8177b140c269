"""A strategy in a process of its own, so that one that hangs or dies takes nothing along: events go in as lines, wishes come out as lines.

`python -m trading_system.app.child` is the inside, Child the outside. What a strategy prints goes to stderr.
"""

import asyncio
import os
import sys
from contextlib import suppress

import msgspec

from trading_system.domain.ids import BrokerName
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.signal import Wish
from trading_system.strategy.base import Filled, Happening, Held, Started, Stopped, Ticked

ANSWER_WITHIN_S = 5.0
START_WITHIN_S = 30.0
LINE_MAX = 4 << 20


class Told(msgspec.Struct, omit_defaults=True):
    """One event on its way in. warm: of the past, known and not acted on. passed_ns: only the time went on."""

    bar: Bar | None = None
    quote: Quote | None = None
    trade: Trade | None = None
    other: Filled | Held | Started | Ticked | Stopped | None = None
    warm: bool = False
    passed_ns: int = 0


class Said(msgspec.Struct, omit_defaults=True):
    """What came out: wishes, or the error that the strategy raised. ready: the first line, with what the strategy wants."""

    wishes: list[Wish] = []
    error: str | None = None
    ready: "Wants | None" = None


class Wants(msgspec.Struct):
    """What a strategy says of itself."""

    name: str
    instruments: list[str]
    bars: str
    quotes: bool
    trades: bool
    timer_s: int
    history: int


class StrategyFailed(Exception):
    """It raised, hung, or its process ended."""


def told(event: Happening, *, warm: bool = False) -> Told:
    match event:
        case Bar():
            return Told(bar=event, warm=warm)
        case Quote():
            return Told(quote=event)
        case Trade():
            return Told(trade=event)
    return Told(other=event)


class Child:
    """The outside of one strategy's process."""

    def __init__(self, strategy: str, settings: dict[str, str], broker: BrokerName) -> None:
        self._strategy = strategy
        self._settings = settings
        self._broker = broker
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> Wants:
        """Raises StrategyFailed: it cannot be made, with its own words."""
        environment = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_SECRET", "_TOKEN"))}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "trading_system.app.child",
            self._strategy,
            msgspec.json.encode(self._settings).decode(),
            self._broker,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_MAX,
            env=environment,
            start_new_session=True,  # Ctrl-C is the desk's: it tells the strategy to stop
        )
        said = await self._answer(START_WITHIN_S)
        if said.ready is None:
            await self.aclose()
            raise StrategyFailed(said.error or "it said nothing of itself")
        return said.ready

    async def ask(self, event: Told) -> list[Wish]:
        """Raises StrategyFailed."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(event) + b"\n")
            await process.stdin.drain()
        except (ConnectionError, BrokenPipeError):
            await self.aclose()
            raise StrategyFailed("its process ended") from None
        said = await self._answer(ANSWER_WITHIN_S)
        if said.error is not None:
            raise StrategyFailed(said.error)
        return said.wishes

    async def _answer(self, within_s: float) -> Said:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                line = await self._process.stdout.readline()
        except TimeoutError:
            await self.aclose()
            raise StrategyFailed(f"no answer within {within_s:g} s: it hangs") from None
        except ValueError:
            await self.aclose()
            raise StrategyFailed(f"an answer longer than {LINE_MAX} bytes") from None
        if not line:
            await self.aclose()
            raise StrategyFailed("its process ended")
        try:
            return msgspec.json.decode(line, type=Said)
        except msgspec.MsgspecError as error:
            raise StrategyFailed(f"an answer that cannot be read: {error}") from None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def aclose(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def main() -> None:
    """The inside: lines in, lines out, until the input ends."""
    from trading_system.app.strategies import make
    from trading_system.domain.errors import DeskError
    from trading_system.strategy.base import Host

    lines, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what the strategy prints is for people
    name, settings, broker = sys.argv[1:4]

    def say(said: Said) -> None:
        out.write(msgspec.json.encode(said) + b"\n")

    try:
        strategy = make(name, msgspec.json.decode(settings, type=dict[str, str]))
    except DeskError as error:
        say(Said(error=str(error)))
        return
    host = Host(strategy, BrokerName(broker))
    say(
        Said(
            ready=Wants(
                name=strategy.name,
                instruments=[str(name).upper() for name in strategy.instruments],
                bars=strategy.bars,
                quotes=strategy.quotes,
                trades=strategy.trades,
                timer_s=strategy.timer_s,
                history=strategy.history,
            )
        )
    )
    for line in lines:
        event = msgspec.json.decode(line, type=Told)
        happened = event.bar or event.quote or event.trade or event.other
        try:
            if event.warm and event.bar is not None:
                host.warm(event.bar)
                say(Said())
            elif happened is None:
                say(Said(wishes=host.passed(event.passed_ns)))
            else:
                say(Said(wishes=host.take(happened)))
        except Exception as error:  # noqa: BLE001  whatever a strategy raises is told to the desk, which counts it
            say(Said(error=f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
