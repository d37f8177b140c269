"""How long a desk takes to come back to work: 100,000 records in its journal, 1,000 orders open at the broker."""

import asyncio
import os
import time
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace
from tests.factories import BROKER, approved, report

from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.core.risk import Limits
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, IntentID, OrderID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import NewOrder
from trading_system.journal.record import Intent, Record, Reported
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal

RECORDS, OPEN, AT_ONCE = 100_000, 1_000, 50
SECOND_NS = 1_000_000_000
MANY = 10**9
_APPROVED = approved()


def _past(number: int, account: str) -> tuple[Record, Record]:
    """An order of long ago: its intent, and that it was cancelled."""
    cl_ord_id = ClOrdID(f"bench-{number}")
    done = report(ExecType.CANCELED, OrdStatus.CANCELED, cl_ord_id=cl_ord_id, order_id=OrderID(f"o-{number}"), cum_qty=Decimal(0))
    asked = replace(_APPROVED, cl_ord_id=cl_ord_id, account=account)
    return Intent(approved=asked), Reported(report=done, account=account, currency="USD", multiplier=Decimal(1), asset_class=AssetClass.EQUITY)


def _resting(number: int) -> NewOrder:
    return NewOrder(
        broker=BROKER,
        instrument=InstrumentID("F"),
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_qty=Decimal(1),
        price=Decimal("1.00") + Decimal(number) / 1000,
        intent=IntentID(f"resting-{number}"),
        repeat=True,
    )


async def _prepare(config: object, account: build.Account, folder: Path) -> None:
    async with build.open_desk(config, (account,), folder=folder, listen=False) as desk:  # type: ignore[arg-type]
        desk.limits = Limits(
            max_orders_per_second=MANY,
            max_orders_per_minute=MANY,
            max_open_orders=MANY,
            max_open_orders_per_instrument=MANY,
            quote_max_age_ns=3600 * SECOND_NS,
            validate_orders=False,
        )
        await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)
        for first in range(0, OPEN, AT_ONCE):
            await asyncio.gather(*(desk.submit(_resting(number)) for number in range(first, first + AT_ONCE)))
        number = 0
        while desk.journal.seq < RECORDS:
            for _ in range(2_000):
                for record in _past(number, desk.accounts[BROKER].account):
                    desk.journal.note(record)
                number += 1
            await desk.journal.flush()


async def restart(home: Path, twin: dict[str, str]) -> None:
    config = load_config({"TRADING_HOME": str(home)}, env_file=Path(os.devnull))
    account = build.twin_account("alpaca", twin)
    folder = home / "restart"
    await _prepare(config, account, folder)
    started = time.perf_counter()
    journal = Journal(folder / "journal.sqlite")
    verified = time.perf_counter()
    replay(entry.record for entry in journal.read())
    replayed = time.perf_counter()
    journal.abandon()
    again = time.perf_counter()
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(build.open_desk(config, (account,), folder=folder, listen=False))
        assert await desk.wait(lambda: all(desk.ready.values()), 60 * SECOND_NS)
        ready = time.perf_counter()
        records, working = desk.journal.seq, len(desk.books.blotter.working())
    print(f"\nRestart with {records:,} records and {working:,} open orders, s")
    print(f"  chain verified {verified - started:.2f}   replayed {replayed - verified:.2f}   desk opened to ready for orders {ready - again:.2f}")
