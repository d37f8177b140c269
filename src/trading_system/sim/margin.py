"""What option positions tie up at a broker: money for the most that they can lose, shares for the calls that nothing else covers.

Source: FINRA rule 4210(f)(2): covered calls, cash-secured puts, and for spreads the greatest loss of all their legs at expiry
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from trading_system.domain.money import ZERO
from trading_system.domain.option import Contract, Right

Lots = Mapping[Contract, Decimal]  # signed contracts


class Need(msgspec.Struct, frozen=True):
    """Per unit of one contract, that is before the multiplier: money, and underlyings by symbol."""

    cash: Decimal
    shares: Mapping[str, Decimal]


def need(lots: Lots) -> Need:
    """Each underlying and each expiry for itself; options that end later and are left over help the earlier ones that are sold. One option covers
    another once, and never one that outlives it."""
    cash, shares = ZERO, dict[str, Decimal]()
    for underlying in {contract.underlying for contract in lots}:
        ends: dict[date, dict[Contract, Decimal]] = {}
        for contract, qty in lots.items():
            if contract.underlying == underlying and qty:
                ends.setdefault(contract.expiry, {})[contract] = qty
        spare: dict[Contract, Decimal] = {}
        for _, group in sorted(ends.items(), reverse=True):
            if all(qty > 0 for qty in group.values()):
                spare |= group
                continue
            alone, helped = _bound(group), _bound(group | spare)
            if helped < alone:
                alone, spare = helped, {}
            cash += alone[1]
            shares[underlying] = shares.get(underlying, ZERO) + alone[0]
    return Need(cash, shares)


def _bound(group: Mapping[Contract, Decimal]) -> tuple[Decimal, Decimal]:
    """Calls that nothing covers but shares, and the most that the rest loses. Shares cover the lowest strikes: those would cost most."""
    naked = max(ZERO, -sum((qty for contract, qty in group.items() if contract.right is Right.CALL), ZERO))
    rest, left = dict(group), naked
    for contract in sorted((one for one, qty in group.items() if one.right is Right.CALL and qty < 0), key=lambda one: one.strike):
        covered = min(left, -rest[contract])
        rest[contract] += covered
        left -= covered
    corners = (ZERO, *(contract.strike for contract in rest))  # between them the sum is straight; beyond the last it does not fall
    worst = min(sum((qty * contract.payoff(corner) for contract, qty in rest.items()), ZERO) for corner in corners)
    return naked, max(ZERO, -worst)
