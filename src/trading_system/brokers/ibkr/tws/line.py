"""The one socket: it is kept up, questions find their answers on it, and what nobody asked for goes to whoever follows."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing

from trading_system.brokers.ibkr.errors import NO_DATA, NO_HISTORY, TOO_FAST, Meaning, failure, is_read_only, meaning
from trading_system.brokers.ibkr.facts import OUR_ORDERS_PER_SECOND, OUR_QUESTIONS_PER_SECOND, UNREACHABLE
from trading_system.brokers.ibkr.tws.session import Heard, Mouth, TwsSession
from trading_system.domain.errors import DeskError, RateLimited, Unavailable
from trading_system.domain.ports import Budget, Clock
from trading_system.domain.times import NS
from trading_system.transport.ratelimit import RateBudget
from trading_system.transport.supervise import LinkEvent, LinkKind, Supervisor
from trading_system.transport.websocket import Dialer

ANSWER_WITHIN_NS = 12 * NS  # a snapshot of prices ends within eleven seconds
BUDGET_WAIT_MAX_NS = 5 * NS  # a question or a cancel waits this long for the budget
FENCE_NS = 5 * NS
ROWS_MAX = 20_000  # of one answer
NOBODY = -1  # what an error about no question names
_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("openOrder", "openOrderEnd"), "open"),
    **dict.fromkeys(("completedOrder", "completedOrdersEnd"), "completed"),
    **dict.fromkeys(("updateAccountValue", "updatePortfolio", "accountDownloadEnd"), "account"),
    "marketRule": "rule",
    "currentTime": "time",
}


class Question:
    """What was asked, and what has come of it."""

    def __init__(self, ends: str, enough: Callable[[list[Heard]], bool] | None = None) -> None:
        self._ends = ends  # the message that ends the answer
        self._enough = enough
        self.rows: list[Heard] = []
        self.done: asyncio.Future[list[Heard]] = asyncio.get_running_loop().create_future()

    def take(self, message: Heard) -> None:
        if self.done.done():
            return
        self.rows.append(message)
        if message.name == self._ends or len(self.rows) >= ROWS_MAX or (self._enough is not None and self._enough(self.rows)):
            self.finish()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(self.rows)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # looked at: whoever asked may have given up


class Line:
    """follow: called with every message and every change of the line, on the way in."""

    def __init__(self, session: TwsSession, dialer: Dialer, clock: Clock, rng: random.Random, follow: Callable[[Heard | LinkEvent], None]) -> None:
        self.session = session
        self.up = False
        self.said = ""  # why it is not up
        self._clock = clock
        self._follow = follow
        self._supervisor = Supervisor(session, dialer, clock, rng)
        self._questions = RateBudget(OUR_QUESTIONS_PER_SECOND, NS)
        self._changes = RateBudget(OUR_ORDERS_PER_SECOND, NS)
        self._by_id: dict[int, Question] = {}
        self._by_name: dict[str, Question] = {}  # of questions that have no number: there is one at a time
        self._turns: dict[str, asyncio.Lock] = {}
        self._one = asyncio.Lock()
        self._next = 0
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    # -- up and down -----------------------------------------------------------------------------------------------------------------------------

    async def start(self, *, within_ns: int) -> None:
        """Dial, and wait until it is up. Raises Unavailable: it is not in time, and why."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="line ibkr")
        try:
            async with asyncio.timeout(within_ns / NS):
                while not self.up and not self._task.done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        if not self.up:
            raise self._unreachable()

    async def aclose(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _run(self) -> None:
        try:
            async with aclosing(self._supervisor.run()) as events:
                async for event in events:
                    if isinstance(event, LinkEvent):
                        self._turned(event)
                        self._follow(event)
                    elif isinstance(event, Heard):
                        self._hear(event)
        finally:
            self.up = False
            self._fail_all(Unavailable("the connection to TWS is closed"))
            self._changed.set()

    def _turned(self, event: LinkEvent) -> None:
        self.up, self.said = event.kind is LinkKind.UP, event.text
        if self.up:
            self._next = max(self._next, self.session.next_id)
        else:
            self._fail_all(Unavailable(f"the connection to TWS ended before it had answered: {event.text}"))
        self._changed.set()

    def _fail_all(self, error: DeskError) -> None:
        for question in (*self._by_id.values(), *self._by_name.values()):
            question.fail(error)

    def _unreachable(self) -> Unavailable:
        return Unavailable(f"TWS cannot be reached: {self.said or 'it does not answer'}. {UNREACHABLE}")

    # -- numbers ---------------------------------------------------------------------------------------------------------------------------------

    def raise_floor(self, number: int) -> None:
        """No number below this is given out, whatever TWS says."""
        self._next = max(self._next, number)

    def new_id(self) -> int:
        """Of an order or a question: they share one row, so that an error names only one of them."""
        number = max(self._next, self.session.next_id, 1)
        self._next = number + 1
        return number

    # -- out -------------------------------------------------------------------------------------------------------------------------------------

    async def say(self, speak: Callable[[Mouth], object]) -> None:
        """One message. Raises RateLimited: the budget is spent, nothing left. Unavailable: no line."""
        await self._afford(self._questions, urgent=True)
        await self._send(speak)

    async def say_change(self, speak: Callable[[Mouth], object], *, urgent: bool) -> None:
        """One message that changes orders; urgent: it cancels. Raises as say."""
        await self._afford(self._changes, urgent=urgent)
        await self._send(speak)

    async def say_order(self, speak: Callable[[Mouth, int], object], heed: Callable[[int], None], *, parts: int = 1) -> int:
        """An order under a new number, with as many behind it as it has parts: the numbers reach the socket in their order. heed: called with the
        first before a byte leaves. Raises as say."""
        await self._afford(self._changes, urgent=False)
        async with self._one:
            if not self.up:
                raise self._unreachable()
            number = self.new_id()
            self.raise_floor(number + parts)
            heed(number)
            await self._send(lambda mouth: speak(mouth, number))
        return number

    async def _send(self, speak: Callable[[Mouth], object]) -> None:
        if not self.up:
            raise self._unreachable()
        mouth = Mouth()
        speak(mouth)
        await self._supervisor.send(mouth.take())

    def budgets(self) -> Mapping[str, Budget]:
        now_ns = self._clock.monotonic_ns()
        return {
            "questions": Budget(self._questions.left(now_ns), self._questions.limit),
            "changes": Budget(self._changes.left(now_ns), self._changes.limit),
        }

    async def _afford(self, budget: RateBudget, *, urgent: bool) -> None:
        """Wait for the budget, but not for long, and with an order not at all: the desk has looked at the halts for the last time."""
        waited_ns = 0
        while wait_ns := budget.wait_ns(self._clock.monotonic_ns(), urgent=urgent):
            waited_ns += wait_ns
            if not urgent or waited_ns > BUDGET_WAIT_MAX_NS:
                raise RateLimited(f"TWS's message budget is spent: {budget.limit} a second", wait_ns)
            await self._clock.sleep_ns(wait_ns)
        budget.take(self._clock.monotonic_ns())

    async def ask(
        self,
        ends: str,
        speak: Callable[[Mouth, int], object],
        *,
        enough: Callable[[list[Heard]], bool] | None = None,
        ends_if_any: bool = False,
    ) -> list[Heard]:
        """A question with a number, until its answer ends or is enough. ends_if_any: TWS may leave out the end of an empty list. Raises Unavailable,
        BadRequest, RateLimited."""
        number = self.new_id()
        question = self._by_id[number] = Question(ends, enough)
        try:
            await self.say(lambda mouth: speak(mouth, number))
            if ends_if_any:
                await self._fence(question)
            return await self._answer(question)
        finally:
            self._by_id.pop(number, None)

    async def _fence(self, question: Question) -> None:
        """A list of which nothing has come is empty, once TWS has answered something that it was asked much later."""
        await asyncio.wait((question.done,), timeout=FENCE_NS / NS)
        if not question.done.done() and not question.rows:
            await self.ask_all("time", "currentTime", lambda mouth: mouth.reqCurrentTime())
            if not question.rows:
                question.finish()

    async def ask_all(self, name: str, ends: str, speak: Callable[[Mouth], object]) -> list[Heard]:
        """A question without a number, one of its name at a time. Raises as ask."""
        async with self._turns.setdefault(name, asyncio.Lock()):
            question = self._by_name[name] = Question(ends)
            try:
                await self.say(speak)
                return await self._answer(question)
            finally:
                self._by_name.pop(name, None)

    async def _answer(self, question: Question) -> list[Heard]:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_NS / NS):
                return await question.done
        except TimeoutError:
            raise Unavailable(f"TWS did not answer within {ANSWER_WITHIN_NS // NS} s") from None

    # -- in --------------------------------------------------------------------------------------------------------------------------------------

    def _hear(self, message: Heard) -> None:
        """Whoever follows hears it first: what an answer says is known when the answer is there."""
        self._follow(message)
        if message.name == "error":
            self._complains(*message.args[:3])
        elif message.name in _NAMES:
            question = self._by_name.get(_NAMES[message.name])
            if question is not None:
                question.take(message)
        elif message.args and isinstance(message.args[0], int):
            numbered = self._by_id.get(message.args[0])
            if numbered is not None:
                numbered.take(message)

    def _complains(self, number: int, code: int, text: str) -> None:
        """A word about one question, or about those without a number."""
        if number in self._by_id:
            if code == NO_HISTORY and NO_DATA in text:
                self._by_id[number].finish()
            elif meaning(code) not in (Meaning.NOTICE, Meaning.WARNING):
                self._by_id[number].fail(failure(code, text))
        elif number == NOBODY and (code == TOO_FAST or is_read_only(text)):
            self._fail_all(failure(code, text))
