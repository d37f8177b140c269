"""Exits that IB holds for an order: what each is and what it is called, which is all that ties it to that order in what IB tells. Pure."""

from decimal import Decimal

from msgspec.structs import replace

from trading_system.domain.fix import OrdType
from trading_system.domain.ids import ClOrdID, is_ours
from trading_system.domain.order import NewOrder

PART = "."  # between the id of an order and the name of a part of it


def names_of(ref: str) -> tuple[ClOrdID, ClOrdID | None]:
    """What an order's reference names: the order itself, or the one that it is a part of.

    >>> names_of("q1aaaaaaaaaaaaaaaa.stop")
    ('', 'q1aaaaaaaaaaaaaaaa')
    """
    head, part, _ = ref.partition(PART)
    return (ClOrdID(""), ClOrdID(head)) if part and is_ours(head) else (ClOrdID(ref), None)


def exits_of(request: NewOrder, ref: ClOrdID) -> list[tuple[ClOrdID, NewOrder]]:
    """The exits, each with its reference: a take-profit, and a stop."""
    attached = request.attached
    if attached is None:
        return []
    found: list[tuple[str, OrdType, Decimal | None, Decimal | None]] = []
    if attached.take_profit_px is not None:
        found.append(("target", OrdType.LIMIT, attached.take_profit_px, None))
    if attached.stop_px is not None:
        kind = OrdType.STOP if attached.stop_limit_px is None else OrdType.STOP_LIMIT
        found.append(("stop", kind, attached.stop_limit_px, attached.stop_px))
    side = request.side if request.reduce_only else request.side.opposite
    return [
        (ClOrdID(f"{ref}{PART}{part}"), replace(request, side=side, ord_type=kind, price=price, stop_px=stop_px, attached=None))
        for part, kind, price, stop_px in found
    ]
