"""Everything out: every order cancelled, every position closed, everything read again, and what is left said."""

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from trading_system.domain.errors import DeskError
from trading_system.domain.fix import OrdType, Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import round_qty
from trading_system.domain.order import NewOrder, Order
from trading_system.domain.ports import CancelsAll
from trading_system.journal.record import CancelAsked

if TYPE_CHECKING:
    from trading_system.app.desk import Desk

WAIT_NS = 10_000_000_000  # how long it waits for cancels, and then for each close, to settle
TOLD_NS = 3_000_000_000  # how long one request for all orders may take to show, before each is cancelled by itself


class Residue(msgspec.Struct, frozen=True, kw_only=True):
    """What flatten left: positions and orders that are still there, and what went wrong."""

    positions: tuple[tuple[BrokerName, InstrumentID, Decimal], ...]
    orders: tuple[ClOrdID, ...]
    problems: tuple[str, ...]


async def flatten(desk: "Desk", names: Sequence[BrokerName]) -> Residue:
    """Broker after broker; what goes wrong at one stops nothing at the next. No stop is placed anew meanwhile."""
    problems: list[str] = ["dry run: nothing was cancelled or closed"] if desk.dry_run else []
    desk.flattening.update(names)
    try:
        for name in () if desk.dry_run else names:
            try:
                await _flatten_one(desk, name, problems)
            except DeskError as error:
                problems.append(f"{name}: {error}")
    finally:
        desk.flattening.difference_update(names)
    left = []
    for name in names:
        with suppress(DeskError):  # then the last figures speak, and say how old they are by what is still in them
            await desk.refresh_account(name)
        snapshot = desk.accounts.get(name)
        left += [] if snapshot is None else [(name, position.instrument, position.qty) for position in snapshot.positions if position.qty]
    orders = tuple(order.cl_ord_id for name in names for order in _working(desk, name))
    return Residue(positions=tuple(left), orders=orders, problems=tuple(problems))


async def _flatten_one(desk: "Desk", name: BrokerName, problems: list[str]) -> None:
    desk.step("flatten begun")
    await _cancel_everything(desk, name)
    desk.step("flatten cancelled")
    if not await desk.wait(lambda: not _working(desk, name), WAIT_NS):
        problems.append(f"{name}: some cancels are not confirmed")
    snapshot = await desk.refresh_account(name)
    for position in sorted(snapshot.positions, key=lambda position: position.qty > 0):  # what is short first: what covers it goes after it
        try:
            order = await close_position(desk, name, position.instrument, position.qty)
        except DeskError as error:
            problems.append(f"{name} {position.instrument}: {error}")
            continue
        if order is not None and not await desk.wait(lambda order=order: _settled(desk, order), WAIT_NS):  # type: ignore[misc]
            problems.append(f"{name} {position.instrument}: the closing order {order.cl_ord_id} is not done")
    await desk.refresh_account(name)


async def _cancel_everything(desk: "Desk", name: BrokerName) -> None:
    """By one request, where the broker has it; then one by one what is still there."""
    broker = desk.brokers[name]
    if isinstance(broker, CancelsAll):
        for order in _working(desk, name):
            desk.record(CancelAsked(cl_ord_id=order.cl_ord_id, now_ns=desk.clock.now_ns()))
        desk.step("cancel of all noted")
        with suppress(DeskError):
            await broker.cancel_all()
            await desk.wait(lambda: not _working(desk, name), TOLD_NS)
    await desk.cancel_all(name, external=True)


def _working(desk: "Desk", name: BrokerName) -> list[Order]:
    return [order for order in desk.books.blotter.working() if order.broker == name]


def _settled(desk: "Desk", order: Order) -> bool:
    current = desk.books.blotter.get(order.cl_ord_id)
    return current is not None and current.settled


def is_dust(desk: "Desk", name: BrokerName, instrument_id: InstrumentID, qty: Decimal) -> bool:
    """Less than the least order, as fees in coins leave it. Contracts may be closed whatever they are worth."""
    instrument, px = desk.instruments.get((name, instrument_id)), desk.mark_px(name, instrument_id)
    if instrument is None:
        return False
    whole, is_coin = round_qty(abs(qty), instrument.lot), instrument.asset_class is AssetClass.CRYPTO
    cheap = is_coin and px is not None and instrument.pricing.worth(whole, px) < instrument.min_notional
    return not whole or whole < instrument.min_qty or cheap


async def close_position(desk: "Desk", name: BrokerName, instrument_id: InstrumentID, qty: Decimal) -> Order | None:
    """One market order for all that is a whole number of lots; None: it is less than the least order."""
    instrument = await desk.instrument(name, instrument_id)
    if is_dust(desk, name, instrument_id, qty):
        return None
    return await desk.submit(
        NewOrder(
            broker=name,
            instrument=instrument_id,
            side=Side.SELL if qty > 0 else Side.BUY,
            ord_type=OrdType.MARKET,
            time_in_force=desk.brokers[name].facts.usual_time(instrument.asset_class, OrdType.MARKET),
            order_qty=round_qty(abs(qty), instrument.lot),
            reduce_only=True,
            intent=IntentID(f"flatten-{instrument_id}-{desk.books.epoch}-{len(desk.books.blotter)}-{desk.clock.now_ns()}"),
        )
    )
