"""The dead man's switch for brokers that have none: a second small process that cancels entries when the desk's heartbeat stops. It never buys,
sells, or reads the journal."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from trading_system.app.switch import heartbeat_age_ns, pull
from trading_system.core.blotter import Blotter
from trading_system.core.risk import Level
from trading_system.domain.account import Position
from trading_system.domain.errors import DeskError
from trading_system.domain.ids import InstrumentID, is_ours
from trading_system.domain.money import ZERO
from trading_system.domain.ports import Broker, Clock
from trading_system.domain.report import ExecutionReport

SECOND_NS = 1_000_000_000
LOOK_NS = 5 * SECOND_NS
ROUNDS_MAX = 5  # of cancelling, after each of which it looks again
Say = Callable[[str], None]


async def guard(folder: Path, brokers: Sequence[Broker], clock: Clock, *, after_ns: int, say: Say) -> None:
    """Watch for ever. When the heartbeat is older than after_ns: first the kill file, so that a desk that wakes up is halted; then the entries."""
    acted = False
    while True:
        age_ns = heartbeat_age_ns(folder, clock.now_ns)
        if age_ns is None or age_ns < after_ns:
            acted = False
        elif not acted:
            acted = True
            say(f"no heartbeat for {age_ns // SECOND_NS} s: the kill file is set, entries are being cancelled")
            pull(folder, Level.KILL, f"the watchdog saw no heartbeat for {age_ns // SECOND_NS} s")
            for broker in brokers:
                await cancel_entries(broker, clock, say)
        await clock.sleep_ns(LOOK_NS)


async def cancel_entries(broker: Broker, clock: Clock, say: Say) -> bool:
    """Cancel this desk's orders that could open risk; those that only close stay. True: none is left."""
    name = broker.facts.title
    for _ in range(ROUNDS_MAX):
        try:
            entries = opening(await broker.open_orders(), (await broker.account()).positions)
            if not entries:
                say(f"{name}: no entries are open")
                return True
            for report in entries:
                await broker.cancel(Blotter().adopt(report, ""))
                say(f"{name}: asked to cancel {report.side} {report.instrument} {report.cl_ord_id}")
        except DeskError as error:
            say(f"{name}: {error}")
        await clock.sleep_ns(SECOND_NS)
    say(f"{name}: entries may still be open after {ROUNDS_MAX} rounds: look at the broker's own page")
    return False


def opening(orders: Sequence[ExecutionReport], positions: Sequence[Position]) -> tuple[ExecutionReport, ...]:
    """Which of our orders could open risk: all that the positions do not cover. Stops are matched with them first."""
    left: dict[InstrumentID, Decimal] = {position.instrument: position.qty for position in positions}
    found = []
    for report in sorted(orders, key=lambda report: (report.stop_px is None, report.transact_ns)):  # stops are kept first
        rest = (report.order_qty or ZERO) - (report.cum_qty or ZERO)
        held = left.get(report.instrument, ZERO)
        if held * report.side.sign < 0 and 0 < rest <= abs(held):
            left[report.instrument] = held + report.side.sign * rest
        elif is_ours(report.cl_ord_id):
            found.append(report)
    return tuple(found)
