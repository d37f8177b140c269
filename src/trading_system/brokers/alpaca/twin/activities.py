"""What the twin books on its account, as the events that Alpaca makes of it: trades (TRD) and everything else (NTA), each with its details.

Source: the schemas ActivityV2DetailTRD and ActivityV2DetailNTA of Alpaca's broker OpenAPI file of 2026-08-13
"""

from decimal import Decimal
from uuid import UUID, uuid5

import msgspec

from trading_system.brokers.alpaca import wire
from trading_system.brokers.alpaca.twin.forms import STATUS, settles, shown, when
from trading_system.brokers.alpaca.twin.universe import cusip
from trading_system.domain.fix import ExecType
from trading_system.domain.money import ONE, plain
from trading_system.sim.exchange import Event, Execution

TRADE = "TRD"
_LATER = ""  # event_id and at: the log gives them


class Booked(msgspec.Struct, frozen=True):
    """One entry in the account's books, and when it was made."""

    at_ns: int
    event: wire.ActivityEvent


def bust_id(exec_id: str) -> str:
    """A bust is an execution of its own; its id follows from the one that it undoes."""
    return str(uuid5(UUID(exec_id), "trade_bust"))


def traded(event: Event, done: Execution, asset_id: str, multiplier: Decimal, account_id: str) -> Booked:
    """A fill, or the bust of one: the same with its money the other way round."""
    bust = event.exec_type is ExecType.TRADE_CANCEL
    details = wire.ActivityDetails(
        symbol=done.symbol,
        asset_id=asset_id,
        execution_type="trade_bust" if bust else "fill",
        order_id=done.order_id,
        client_order_id=event.order.cl_ord_id,
        side=done.side.value,
        cum_qty=plain(done.cum_qty),
        leaves_qty=None if bust else plain(done.leaves_qty),
        order_status=STATUS[event.order.ord_status],
        commission="0",
    )
    money = -done.side.sign * done.qty * done.price * multiplier
    booked = wire.ActivityEvent(
        event_id=_LATER,
        at=_LATER,
        account_id=account_id,
        activity_type=TRADE,
        status="executed",
        ref_id=bust_id(done.exec_id) if bust else done.exec_id,
        previous_id=done.exec_id if bust else None,
        executed_at=when(done.transact_ns) or "",
        settle_date=settles(done.transact_ns, crypto="/" in done.symbol),
        qty=plain(done.qty),
        price=plain(done.price),
        net_amount=shown(-money if bust else money),
        currency="USD",
        details=details,
    )
    return Booked(event.transact_ns, booked)


def entered(entry: wire.Activity, at_ns: int, account_id: str, details: wire.ActivityDetails, subtype: str | None = None) -> Booked:
    """An entry that is no trade: the row of the activities' list, and what its own kind of event has besides."""
    day = entry.date or ""
    details.system_date = day
    event = wire.ActivityEvent(
        event_id=_LATER,
        at=_LATER,
        account_id=account_id,
        activity_type=entry.activity_type,
        activity_subtype=subtype,
        status=entry.status or "",
        ref_id=entry.id.partition("::")[2],
        executed_at=entry.created_at or "",
        settle_date=day,
        qty=entry.qty,
        price=entry.price,
        net_amount=entry.net_amount,
        currency=entry.currency or "",
        details=details,
    )
    return Booked(at_ns, event)


def dividend(symbol: str, qty: Decimal, per_share: Decimal, day: str) -> wire.ActivityDetails:
    """A cash dividend (CDIV)."""
    return wire.ActivityDetails(
        symbol=symbol,
        cusip=cusip(symbol),
        position_date=day,
        rate=plain(per_share),
        foreign=False,
        special=False,
        entitled_qty=plain(qty),
        cash_payout=shown(qty * per_share),
    )


def split(symbol: str, qty: Decimal, ratio: Decimal, day: str) -> tuple[str, wire.ActivityDetails]:
    """A split of what was held, forward (FSPLIT) or reverse (RSPLIT). The security keeps its number here."""
    new, old = ratio.as_integer_ratio()
    details = wire.ActivityDetails(
        symbol=symbol,
        position_date=day,
        old_cusip=cusip(symbol),
        new_cusip=cusip(symbol),
        old_rate=str(old),
        new_rate=str(new),
        old_qty=plain(qty),
        new_qty=plain(qty * ratio),
    )
    return "FSPLIT" if ratio > ONE else "RSPLIT", details
