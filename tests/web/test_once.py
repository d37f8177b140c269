"""The same Idempotency-Key gives the same answer; another body, or a life that ended in between, is told apart."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from trading_system.domain.errors import BadRequest, InDoubt, JournalError
from trading_system.web.once import KEPT_NS, Answers, Kept, OtherBody, Unfinished


class Work:
    """Counts how often it was done."""

    def __init__(self, *outcomes: Exception | bytes) -> None:
        self.outcomes = list(outcomes)
        self.done = 0

    async def __call__(self) -> Kept:
        self.done += 1
        await asyncio.sleep(0.01)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return Kept(200, outcome)


def now_ns(at: int = 0) -> Callable[[], int]:
    return lambda: at


async def test_a_key_is_done_once_at_any_time_and_over_a_restart(tmp_path: Path) -> None:
    work, answers = Work(b"first", b"second"), Answers(tmp_path, now_ns())
    at_once = await asyncio.gather(*(answers.once("a", "k", b"body", work) for _ in range(5)))
    later = await answers.once("a", "k", b"body", work)
    await answers.aclose()
    answers = Answers(tmp_path, now_ns())
    restarted = await answers.once("a", "k", b"body", work)

    assert (at_once, later, restarted, work.done) == ([Kept(200, b"first")] * 5, Kept(200, b"first"), Kept(200, b"first"), 1)
    with pytest.raises(OtherBody):
        await answers.once("a", "k", b"another", work)
    assert await answers.once("b", "k", b"another", work) == Kept(200, b"second")  # keys are each token's own
    await answers.aclose()


async def test_another_body_is_refused_while_the_first_is_under_way(tmp_path: Path) -> None:
    work, answers = Work(b"first"), Answers(tmp_path, now_ns())
    first = asyncio.ensure_future(answers.once("a", "k", b"body", work))
    await asyncio.sleep(0)
    with pytest.raises(OtherBody):
        await answers.once("a", "k", b"another", work)

    assert (await first, work.done) == (Kept(200, b"first"), 1)
    await answers.aclose()


async def test_a_refusal_is_forgotten_a_doubt_is_not(tmp_path: Path) -> None:
    work, answers = Work(BadRequest("no"), b"yes"), Answers(tmp_path, now_ns())
    with pytest.raises(BadRequest, match="no"):
        await answers.once("a", "k", b"body", work)
    assert await answers.once("a", "k", b"body", work) == Kept(200, b"yes")

    doubtful = Work(InDoubt("sent"), b"twice")
    with pytest.raises(InDoubt):
        await answers.once("a", "d", b"body", doubtful)
    with pytest.raises(Unfinished, match="may have been done"):
        await answers.once("a", "d", b"body", doubtful)
    assert doubtful.done == 1
    await answers.aclose()


async def test_what_a_crash_cut_off_is_done_again_only_where_that_does_no_harm(tmp_path: Path) -> None:
    async def dies() -> Kept:
        raise RuntimeError("kill -9")

    for key in ("order", "flatten"):
        answers = Answers(tmp_path, now_ns())
        with pytest.raises(RuntimeError):
            await answers.once("a", key, b"body", dies)
        await answers.aclose()
    answers, work = Answers(tmp_path, now_ns()), Work(b"the order it became")

    assert await answers.once("a", "order", b"body", work, repeatable=True) == Kept(200, b"the order it became")
    with pytest.raises(Unfinished):
        await answers.once("a", "flatten", b"body", work)
    assert work.done == 1
    await answers.aclose()


async def test_what_was_done_is_told_though_the_disk_refuses_to_keep_it(tmp_path: Path) -> None:
    """A lock that another program holds stands for the full disk."""
    answers, other = Answers(tmp_path, now_ns()), apsw.Connection(str(tmp_path / "web-answers.sqlite"))

    async def places() -> Kept:
        other.execute("BEGIN IMMEDIATE")
        return Kept(200, b"placed")

    assert await answers.once("a", "k", b"body", places) == Kept(200, b"placed")
    with pytest.raises(JournalError, match="Nothing was done"):
        await answers.once("a", "l", b"body", places)
    other.execute("ROLLBACK")
    with pytest.raises(Unfinished):
        await answers.once("a", "k", b"body", places)
    await answers.aclose()


async def test_answers_are_kept_for_a_week(tmp_path: Path) -> None:
    work: Callable[[], Awaitable[Kept]] = Work(b"first", b"second")
    answers = Answers(tmp_path, now_ns(1))
    await answers.once("a", "k", b"body", work)
    await answers.aclose()
    answers = Answers(tmp_path, now_ns(KEPT_NS + 2))

    assert await answers.once("a", "k", b"body", work) == Kept(200, b"second")
    await answers.aclose()
