"""Alerts on their way to a person: through Apprise, over two channels; the desk never waits for one. What nobody could be told lies in a file."""

import asyncio
import importlib
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.app.logs import redact
from trading_system.app.lookout import Lookout
from trading_system.app.views import View
from trading_system.core.lifecycle import Applied
from trading_system.core.risk import Halt, Level
from trading_system.domain.errors import BadRequest, DeskError, JournalError
from trading_system.domain.ports import Clock
from trading_system.journal.record import Alert, HaltCleared, HaltSet, Record
from trading_system.settings.private import put_private
from trading_system.settings.secret import Secret

SECOND_NS = 1_000_000_000
WAITING_MAX = 200  # different texts on their way; beyond this the oldest that is not critical goes, counted
REPEAT_NS = 60 * SECOND_NS  # the same text again within this time is counted, and told when it is over
SENT_MAX = 200  # texts that are remembered for that
SEND_WITHIN_NS = 5 * SECOND_NS  # a channel that has not taken a message by then has failed
FAILED_NS = 60 * SECOND_NS  # how long a channel that failed is tried last
BACKOFF_MAX_NS = 30 * SECOND_NS
DEAD_AFTER_NS = 120 * SECOND_NS  # what no channel has taken by then is a dead letter
GOODBYE_NS = 5 * SECOND_NS  # what still waits when the desk ends gets so long
DEAD_MAX = 1_000  # dead letters that are kept, the newest
ADDRESSES_MAX = 8  # of one channel
LINES_MAX = 20  # of one message
TEXT_MAX = 500  # characters of one line
DEAD_LETTERS = "dead_letters.jsonl"
CHANNELS = ("ALERT_URLS", "ALERT_URLS_BACKUP")
_PART_MIN = 8  # shorter parts of an address are ordinary words
_RANK = {"info": 0, "warning": 1, "critical": 2}
_log = logging.getLogger(__name__)


class Letter(msgspec.Struct, frozen=True):
    """One text on its way. count: how often it was raised since it was last told; raised_ns: when first."""

    severity: str
    text: str
    count: int
    raised_ns: int


class Channel(Protocol):
    """One way to a person."""

    name: str

    async def send(self, severity: str, title: str, body: str) -> str | None:
        """None: somebody's device or service took it. Otherwise why not. Raises nothing else; may be cancelled."""
        ...


class DeadLetters:
    """The file of what nobody could be told. One JSON object a line, ours alone to read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, letters: Iterable[Letter], why: str, now_ns: int) -> None:
        """On disk when this returns. Raises OSError."""
        lines = [*self._lines(), *(json.dumps({**msgspec.to_builtins(letter), "why": why, "dead_ns": now_ns}) for letter in letters)]
        put_private(self._path, "".join(f"{line}\n" for line in lines[-DEAD_MAX:]).encode())

    def read(self) -> list[View]:
        """Oldest first. A line that cannot be read is left out."""
        found = []
        for line in self._lines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []


class Courier:
    """Takes texts at once and carries them when it can: what waits goes as one message, to the first channel that takes it."""

    def __init__(
        self, channels: Sequence[Channel], clock: Clock, dead: DeadLetters, *, who: str, on_dead: Callable[[Sequence[Letter], str], None]
    ) -> None:
        """who: the desk, as the title names it. on_dead: called with what could not be told, and why."""
        self._channels = tuple(channels)
        self._clock = clock
        self._dead = dead
        self._who = who
        self._on_dead = on_dead
        self._waiting: dict[tuple[str, str], Letter] = {}
        self._sent_ns: dict[tuple[str, str], int] = {}
        self._failed_ns: dict[str, int] = {}  # by channel: when it last did
        self._wake = asyncio.Event()
        self._why = "nobody was asked"
        self.dropped = 0  # letters that found no room
        self.failures = dict.fromkeys((channel.name for channel in channels), 0)
        self.delivered = dict.fromkeys((channel.name for channel in channels), 0)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def post(self, severity: str, text: str) -> None:
        """One text more. Never waits, never fails."""
        if not self._channels:
            return
        self._put(Letter(severity, redact(text)[:TEXT_MAX], 1, self._clock.now_ns()))
        self._wake.set()

    def _put(self, letter: Letter) -> None:
        key = (letter.severity, letter.text)
        known = self._waiting.get(key)
        if known is not None:
            letter = msgspec.structs.replace(known, count=known.count + letter.count, raised_ns=min(known.raised_ns, letter.raised_ns))
        elif len(self._waiting) >= WAITING_MAX:
            del self._waiting[next((key for key in self._waiting if key[0] != "critical"), next(iter(self._waiting)))]
            self.dropped += 1
        self._waiting[key] = letter

    async def run(self) -> None:
        failures = 0
        while True:
            await self._something_due()
            if await self._round():
                failures = 0
            elif self._waiting:
                failures += 1
                await self._clock.sleep_ns(min(SECOND_NS << min(failures - 1, 10), BACKOFF_MAX_NS))

    async def finish(self) -> None:
        """The desk ends: what waits is tried once more, and is a dead letter then."""
        self._sent_ns.clear()  # what was counted goes out now
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_NS / SECOND_NS):
                while self._waiting and await self._round():
                    pass
        await self._bury(tuple(self._waiting.values()))

    async def _something_due(self) -> None:
        while True:
            self._wake.clear()
            if self._due():
                return
            now_ns = self._clock.now_ns()
            soonest_ns = min((self._sent_ns[key] + REPEAT_NS - now_ns for key in self._waiting if key in self._sent_ns), default=None)
            with suppress(TimeoutError):
                async with asyncio.timeout(None if soonest_ns is None else max(soonest_ns, 0) / SECOND_NS):
                    await self._wake.wait()

    def _due(self) -> list[Letter]:
        """The gravest first, as many as one message holds."""
        now_ns = self._clock.now_ns()
        due = [letter for key, letter in self._waiting.items() if not 0 <= now_ns - self._sent_ns.get(key, -REPEAT_NS) < REPEAT_NS]
        return sorted(due, key=lambda letter: -_RANK[letter.severity])[:LINES_MAX]

    async def _round(self) -> bool:
        """One message to the first channel that takes it. False: none did; what has waited too long is dead then."""
        letters = self._due()
        for letter in letters:
            del self._waiting[letter.severity, letter.text]  # raised again meanwhile, it is another letter
        try:
            told = await self._deliver(letters)
        except asyncio.CancelledError:
            self._put_back(letters)
            raise
        if told:
            for letter in letters:
                self._sent_ns.pop((letter.severity, letter.text), None)
                self._sent_ns[letter.severity, letter.text] = self._clock.now_ns()
            while len(self._sent_ns) > SENT_MAX:
                del self._sent_ns[next(iter(self._sent_ns))]
            return True
        now_ns = self._clock.now_ns()
        over = [letter for letter in letters if now_ns - letter.raised_ns >= DEAD_AFTER_NS]
        self._put_back([letter for letter in letters if letter not in over])
        await self._bury(over)
        return False

    def _put_back(self, letters: Iterable[Letter]) -> None:
        for letter in letters:
            self._put(letter)

    async def _deliver(self, letters: Sequence[Letter]) -> bool:
        severity = max((letter.severity for letter in letters), key=lambda name: _RANK[name])
        body = "\n".join(f"{letter.severity.upper()} {letter.text}{_times(letter.count)}" for letter in letters)
        now_ns = self._clock.now_ns()
        for channel in sorted(self._channels, key=lambda channel: 0 <= now_ns - self._failed_ns.get(channel.name, -FAILED_NS) < FAILED_NS):
            try:
                async with asyncio.timeout(SEND_WITHIN_NS / SECOND_NS):
                    why = await channel.send(severity, f"{self._who}: {severity}", body)
            except TimeoutError:
                why = f"no answer within {SEND_WITHIN_NS // SECOND_NS} s"
            if why is None:
                self.delivered[channel.name] += 1
                self._failed_ns.pop(channel.name, None)
                return True
            self._why = f"{channel.name}: {redact(why)}"
            self.failures[channel.name] += 1
            self._failed_ns[channel.name] = self._clock.now_ns()
            _log.warning("an alert was not taken by %s", self._why)
        return False

    async def _bury(self, letters: Sequence[Letter]) -> None:
        if not letters:
            return
        for letter in letters:
            self._waiting.pop((letter.severity, letter.text), None)
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._dead.put, letters, self._why, self._clock.now_ns())
        except OSError as error:
            _log.error("dead letters cannot be kept (%s); the journal has the alerts", error.strerror)
        self._on_dead(letters, self._why)


def _times(count: int) -> str:
    return "" if count == 1 else f" ({count} times)"


# -- Apprise ---------------------------------------------------------------------------------------------------------------------


class AppriseChannel:
    """The addresses of one setting. A message is told when one of them took it; each sends on a thread of its own, one message at a time."""

    def __init__(self, name: str, urls: Secret) -> None:
        """Raises BadRequest: apprise is not installed, or an address that it does not know. The text holds no address."""
        self.name = name
        try:
            apprise = importlib.import_module("apprise")
        except ModuleNotFoundError:
            raise BadRequest(f'{name} is set, and the package apprise is missing: uv pip install -e ".[alerts]"') from None
        _hush()
        texts = [text for text in re.split(r"[,\s]+", urls.reveal()) if text]
        _hide(texts)
        self._addresses: list[Any] = [apprise.Apprise.instantiate(text, suppress_exceptions=True) for text in texts]
        unknown = [str(number) for number, address in enumerate(self._addresses, 1) if address is None]
        if unknown or not 0 < len(texts) <= ADDRESSES_MAX:
            said = f"address {', '.join(unknown)} is none that Apprise knows" if unknown else f"one to {ADDRESSES_MAX} addresses"
            raise BadRequest(f"{name}: {said} (separated by commas, as https://github.com/caronc/apprise/wiki writes them)")
        self._types = {"info": apprise.NotifyType.INFO, "warning": apprise.NotifyType.WARNING, "critical": apprise.NotifyType.FAILURE}
        self._busy: set[int] = set()

    async def send(self, severity: str, title: str, body: str) -> str | None:
        words = [word async for word in self.send_each(severity, title, body)]
        return None if None in words else "; ".join(f"{self.called(number)}: {word}" for number, word in enumerate(words, 1))

    def called(self, number: int) -> str:
        """The name of an address that can be shown: its number from 1, and its service."""
        return f"address {number} ({self._addresses[number - 1].service_name})"

    async def send_each(self, severity: str, title: str, body: str) -> AsyncIterator[str | None]:
        """What became of it at each address, in their order: None, or why it was not taken."""
        sending = [self._start(number, severity, title, body) for number in range(len(self._addresses))]
        done, _ = await asyncio.wait(sending, timeout=0.9 * SEND_WITHIN_NS / SECOND_NS)
        for future in sending:
            yield future.result() if future in done else "no answer yet"

    def _start(self, number: int, severity: str, title: str, body: str) -> "asyncio.Future[str | None]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str | None] = loop.create_future()
        if number in self._busy:
            future.set_result("it is still busy with the message before")
            return future
        self._busy.add(number)

        def over(said: str | None) -> None:
            self._busy.discard(number)
            if not future.done():
                future.set_result(said)

        def work() -> None:
            _words.text = ""
            try:
                said = None if self._addresses[number].notify(body=body, title=title, notify_type=self._types[severity]) else _words.text or "refused"
            except Exception as error:  # noqa: BLE001  whatever a service's plugin raises is an address that failed
                said = type(error).__name__
            with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
                loop.call_soon_threadsafe(over, None if said is None else redact(said))

        threading.Thread(target=work, name=f"alert {self.name} {number + 1}", daemon=True).start()  # one that hangs holds up no exit
        return future


_words = threading.local()


class _Listener(logging.Handler):
    """What Apprise says of a failure it says to its log: kept for the thread that asked, shown to nobody unredacted."""

    def emit(self, record: logging.LogRecord) -> None:
        _words.text = record.getMessage()


def _hush() -> None:
    log = logging.getLogger("apprise")
    if not any(isinstance(handler, _Listener) for handler in log.handlers):
        log.addHandler(_Listener(logging.WARNING))
    log.propagate = False
    log.setLevel(logging.WARNING)


def _hide(texts: Iterable[str]) -> None:
    """An address is a secret, and so is every part of it that may be a token or a password, wherever a service quotes it."""
    for text in texts:
        Secret(text)
        for part in re.split(r"[/:@?&=]+", text):
            if len(part) >= _PART_MIN and part not in ("localhost", "127.0.0.1"):
                Secret(part)
                Secret(unquote(part))


def channels_of(config: Config) -> tuple[AppriseChannel, ...]:
    """The first is tried first. Raises BadRequest: one that cannot be used."""
    return tuple(AppriseChannel(name, config.secrets[name]) for name in CHANNELS if name in config.secrets)


# -- the desk's -------------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def alerting(desk: Desk, config: Config) -> AsyncIterator[Courier]:
    """Watch over a desk that stays, and tell a person, until the block ends. For `trading watch`, `run` and `serve`.

    Raises: BadRequest: a channel is set that cannot be used.
    """
    summary_ns = None if config.alert_summary == "off" else _time_of_day_ns(config.alert_summary)
    async with _alerting(desk, channels_of(config), summary_ns) as courier:
        yield courier


@asynccontextmanager
async def _alerting(desk: Desk, channels: Sequence[Channel], summary_ns: int | None) -> AsyncIterator[Courier]:
    lookout = Lookout(desk, summary_ns)
    courier = Courier(
        channels,
        desk.clock,
        DeadLetters(desk.journal.path.with_name(DEAD_LETTERS)),
        who=f"trading ({desk.environment})",
        on_dead=lambda letters, why: _not_told(desk, letters, why),
    )

    def on_record(record: Record, applied: Applied | None) -> None:
        lookout.on_record(record, applied)
        if isinstance(record, Alert):
            courier.post(record.severity, record.text)
        elif isinstance(record, HaltSet) and record.halt.rule == "OWNER":  # every other halt comes with an alert of its own
            courier.post("warning", f"halted {record.halt.scope} ({record.halt.level}): {record.halt.text}")
        elif isinstance(record, HaltCleared):
            courier.post("info", f"resumed {'everything' if record.scope == '*' else record.scope} by {record.by}")

    if desk.books.alerts:
        courier.post("warning", f"{len(desk.books.alerts)} alerts of before wait to be acknowledged: `trading alerts`")
    desk.listeners.append(on_record)
    tasks = [asyncio.create_task(lookout.run(), name="lookout"), asyncio.create_task(courier.run(), name="courier")]
    for task in tasks:
        task.add_done_callback(lambda ended: tell_end(desk, ended))
    try:
        yield courier
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await courier.finish()
        desk.listeners.remove(on_record)


def _not_told(desk: Desk, letters: Sequence[Letter], why: str) -> None:
    """Nobody could be told of something critical. Live: no new risk until somebody looks. Paper says that it would be so."""
    critical = [letter for letter in letters if letter.severity == "critical"]
    if not critical:
        return
    text = f"nobody could be told of: {critical[0].text} ({why}); mend the channels (`trading alerts --test`), then resume"
    if desk.environment == "live":
        with suppress(DeskError):
            desk.set_halt(Halt(scope="all", level=Level.REDUCE_ONLY, rule="ALERT", text=text, set_ns=desk.clock.now_ns()))
    else:
        _log.error("%s; a live desk would take no new risk now", text)


def tell_end(desk: Desk, task: "asyncio.Task[None]") -> None:
    """A task that should not have ended: a person is told. One for the journal itself, the desk tells."""
    if not task.cancelled() and task.exception() is not None and not isinstance(task.exception(), JournalError):
        desk.alert("critical", f"the {task.get_name()} stopped: {task.exception()!r}; restart the desk")


def _time_of_day_ns(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return (int(hours) * 60 + int(minutes)) * 60 * SECOND_NS


async def tested(channel: AppriseChannel, clock: Clock) -> list[View]:
    """A test message to every address of a channel: which took it, and what the others said."""
    began_ns = clock.monotonic_ns()
    words = [word async for word in channel.send_each("info", "trading: test", "This is a test of the desk's alerts. Nothing has happened.")]
    seconds = f"{(clock.monotonic_ns() - began_ns) / SECOND_NS:.2f}"
    return [
        {"channel": channel.name, "address": channel.called(number), "taken": word is None, "text": word or "", "seconds": seconds}
        for number, word in enumerate(words, 1)
    ]
