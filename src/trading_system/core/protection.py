"""Which stops must rest for what was filled, against those that do. Says what is missing and what is too much; places nothing."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

import msgspec

from trading_system.domain.fix import Doubt, OrdStatus, OrdType, TimeInForce
from trading_system.domain.ids import ClOrdID
from trading_system.domain.instrument import Instrument
from trading_system.domain.money import ZERO, on_grid, round_qty
from trading_system.domain.order import Order
from trading_system.domain.ports import Facts

_RESTS = frozenset({OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED, OrdStatus.SUSPENDED, OrdStatus.DONE_FOR_DAY})
_FORMS = (
    (OrdType.STOP, TimeInForce.GTC),
    (OrdType.STOP, TimeInForce.DAY),  # over the night nothing guards: the auditor places it anew at the open
    (OrdType.STOP_LIMIT, TimeInForce.GTC),
    (OrdType.STOP_LIMIT, TimeInForce.DAY),
)


class Guard(msgspec.Struct, frozen=True):
    """One entry whose stop is not as it should be. Quantities in units."""

    entry: Order
    missing: Decimal  # to be placed: nothing rests for it, and nothing is on its way
    naked: Decimal  # not confirmed at the broker, whatever is on its way
    excess: tuple[Order, ...]  # stops of ours that guard more than there is; those that the broker holds, it sizes itself


def kept(entries: Sequence[tuple[Order, Decimal]], position: Decimal) -> dict[ClOrdID, Decimal]:
    """What each entry of one instrument has left of the units it had, oldest first: no more than there are. What was closed by others counts against
    units that nobody wanted guarded, then against the oldest entry."""
    room, left = abs(position), {}
    for entry, had in reversed(entries):
        left[entry.cl_ord_id] = min(room, max(ZERO, had)) if entry.side.sign * position > 0 else ZERO
        room -= left[entry.cl_ord_id]
    return left


def audit(
    entries: Sequence[tuple[Order, Decimal]], stops: Mapping[ClOrdID, Sequence[Order]], position: Decimal, exiting: Decimal, lot: Decimal
) -> tuple[Guard, ...]:
    """Compare. entries: orders of one instrument that asked for a stop, oldest first, with the units they have left; stops: by the entry they guard.
    position: signed units; exiting: units that other orders are about to close."""
    sign = 1 if position > 0 else -1
    holding = [(entry, left) for entry, left in entries if entry.cum_qty and entry.side.sign == sign]
    room = max(ZERO, abs(position) - exiting)
    guards = []
    for entry, left in reversed(holding):  # the newest keeps its units longest
        own = stops.get(entry.cl_ord_id, ())
        needed = min(room, left)
        room -= needed
        needed = round_qty(needed, lot)
        filled = entry.ord_status is OrdStatus.FILLED  # then what the broker holds for it is on its way
        live = [stop for stop in own if not stop.settled and not stop.ord_status.terminal and (filled or not stop.held)]
        placed = sum((stop.leaves_qty for stop in live), ZERO)
        resting = sum((stop.leaves_qty for stop in live if stop.doubt is Doubt.NONE and stop.ord_status in _RESTS and not stop.held), ZERO)
        excess = tuple(stop for stop in live if stop.parent is None) if placed > needed else ()
        guards.append(Guard(entry, max(ZERO, needed - placed), max(ZERO, needed - resting), excess))
    others = [entry for entry, _ in entries if not (entry.cum_qty and entry.side.sign == sign)]
    leftover = [stop for entry in others for stop in stops.get(entry.cl_ord_id, ()) if not (stop.ord_status.terminal or stop.parent)]
    found = [guard for guard in reversed(guards) if guard.missing or guard.naked or guard.excess]
    return (*found, *(Guard(entries[0][0], ZERO, ZERO, tuple(leftover)) for _ in leftover[:1]))


def form(facts: Facts, instrument: Instrument, qty: Decimal) -> tuple[OrdType, TimeInForce] | None:
    """The order type and TIF that this broker takes for a stop of this size; None: it takes none."""
    fractional = not on_grid(qty, instrument.whole_lot)
    return next((pair for pair in _FORMS if facts.rule(instrument.asset_class, *pair, fractional=fractional) is not None), None)
