"""What the two trading examples share: a strategy's file at work for so long, and what came of it. `trading run` does the same."""

from pathlib import Path

from _desk import BROKER

from trading_system.app.child import Child
from trading_system.app.desk import Desk
from trading_system.app.runner import Runner
from trading_system.domain.ids import InstrumentID
from trading_system.domain.money import plain
from trading_system.journal.record import Decided, Record, Reported

STRATEGY = Path(__file__).parent / "strategies" / "above_average.py"


async def work(desk: Desk, instrument: InstrumentID, seconds: int, *, stop: str) -> None:
    """Trade for so long; the strategy's last wish leaves nothing behind. The desk's limits hold throughout."""
    print(f"Trading {instrument} for {seconds} s on {desk.environment}; the size comes from Kelly, the goal and every limit.")
    if desk.environment == "live":
        print("REAL MONEY. Nothing leaves before `trading arm --max-notional … --until …`; start small.")
    desk.listeners.append(tell_fills)
    runner = Runner(desk, BROKER, Child(str(STRATEGY), {"instrument": instrument, "stop": stop}, BROKER), on_decision=tell_decision)
    await runner.start()
    end_ns = desk.clock.now_ns() + seconds * 1_000_000_000
    await runner.run(lambda: desk.clock.now_ns() >= end_ns)
    await runner.stop()
    taken = sum(decided.taken for decided in desk.books.decisions.values())
    print(f"✅ Done: {taken} of {len(desk.books.decisions)} wishes were taken.")


def tell_decision(decided: Decided) -> None:
    if not decided.taken:
        print(f"   left: {decided.rule}: {decided.text}")


def tell_fills(record: Record, applied: object) -> None:
    if isinstance(record, Reported) and record.report.last_qty:
        report = record.report
        print(f"   {report.side} {plain(report.last_qty)} {report.instrument} at {plain(report.last_px)}")
