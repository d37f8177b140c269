"""A slice of the seeds at every test run, and planted bugs that the oracle must catch. `make prove` runs many more."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.simulation.prove import corpus
from tests.simulation.world import run_seed
from trading_system.app import desk as desk_module
from trading_system.app.desk import Desk
from trading_system.app.recover import Recovery, Watch
from trading_system.brokers.alpaca.connector import AlpacaConnector
from trading_system.core import lifecycle
from trading_system.domain.errors import InDoubt, Unavailable
from trading_system.domain.order import Approved
from trading_system.domain.report import ExecutionReport
from trading_system.journal.store import Journal

HUNT = range(1, 60)  # seeds in which a planted bug must show itself


@pytest.mark.parametrize("seed", [*corpus(), *range(1, 31)])
def test_a_seed_holds_every_invariant(seed: int) -> None:
    assert run_seed(seed).violations == ()


@pytest.mark.parametrize("seed", [3, 11])
def test_a_seed_is_the_same_run_every_time(seed: int) -> None:
    assert run_seed(seed) == run_seed(seed)


def caught() -> bool:
    for seed in HUNT:
        try:
            if run_seed(seed).violations:
                return True
        except AssertionError:
            return True
    return False


def blind_resend(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = AlpacaConnector.submit

    async def submit(self: AlpacaConnector, approved: Approved) -> ExecutionReport:
        try:
            return await plain(self, approved)
        except InDoubt:
            return await plain(self, approved)

    monkeypatch.setattr(AlpacaConnector, "submit", submit)


def timeout_is_a_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = AlpacaConnector.submit

    async def submit(self: AlpacaConnector, approved: Approved) -> ExecutionReport:
        try:
            return await plain(self, approved)
        except InDoubt as error:
            raise Unavailable(str(error)) from None

    monkeypatch.setattr(AlpacaConnector, "submit", submit)


def send_before_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Journal.append

    async def append(self: Journal, record: Any, *, durable: bool) -> int:
        return await plain(self, record, durable=False)

    monkeypatch.setattr(Journal, "append", append)


def no_back_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fills(self: AlpacaConnector, since_ns: int) -> tuple[ExecutionReport, ...]:
        return ()

    monkeypatch.setattr(AlpacaConnector, "fills", fills)


def fills_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = lifecycle.apply

    def apply(order: Any, report: ExecutionReport) -> Any:
        applied = plain(order, report)
        if report.exec_id is not None and not applied.bookings:
            twice = replace(report, exec_id=f"{report.exec_id}+", cum_qty=None)
            return plain(order, twice)
        return applied

    monkeypatch.setattr(lifecycle, "apply", apply)
    monkeypatch.setattr("trading_system.core.blotter.apply", apply)
    monkeypatch.setattr(desk_module, "apply", apply)


def not_found_once_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_system.app.recover.NOT_FOUND_MIN", 1)
    facts = replace(AlpacaConnector.facts, late_accept_ns=0, visibility_lag_ns=0)
    monkeypatch.setattr(AlpacaConnector, "facts", facts)


def doubt_is_forgotten_at_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(self: Recovery, broker: Any, order: Any) -> bool:
        return False

    monkeypatch.setattr(Recovery, "_ask", ask)


def the_watch_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(self: Watch) -> None:
        return None

    monkeypatch.setattr(Watch, "_look", look)


def an_intent_is_a_new_order_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter(range(10**6))
    plain = Desk.cl_ord_id

    def cl_ord_id(self: Desk, request: Any) -> Any:
        return plain(self, replace(request, intent=f"{request.intent}-{next(counter)}"))

    monkeypatch.setattr(Desk, "cl_ord_id", cl_ord_id)


@pytest.mark.parametrize(
    "bug",
    [
        blind_resend,
        timeout_is_a_reject,
        send_before_the_journal,
        no_back_fill,
        fills_are_not_told_apart,
        not_found_once_is_absent,
        doubt_is_forgotten_at_a_restart,
        the_watch_sleeps,
        an_intent_is_a_new_order_each_time,
    ],
)
def test_a_planted_bug_is_caught(bug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)

    assert caught()
