"""What an option can cost: the most a unit can lose, and what covers one that is sold."""

from collections.abc import Mapping
from decimal import Decimal

from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.money import ZERO
from trading_system.domain.option import Contract, Right, is_option, parse_occ

STANDARD_MULTIPLIER = Decimal(100)  # what one US contract delivers; also of an option that is met before its instrument was read


def unit_risk(contract: Contract, side: Side, price: Decimal, *, covered: bool) -> Decimal:
    """The most that one unit can lose, in money: its premium where it is bought; its strike where a put is sold; what must be delivered, which is
    worth no more than strike and premium together, where a call is sold and nothing covers it."""
    if side is Side.BUY:
        return price
    if contract.right is Right.PUT:
        return contract.strike
    return price if covered else contract.strike + price


def cover(contract: Contract, held: Mapping[InstrumentID, Decimal], shares: Decimal, cash: Decimal) -> Decimal:
    """Units of a contract that may be sold, and are covered: by shares (calls), by money for the strike (puts), or by an option that is held, lasts
    as long and has a strike at least as good. held: units of options at this broker, less what is on its way to be sold. Errs on the safe side:
    what covers one option counts as used up by every other that is short.

    Source: FINRA rule 4210(f)(2): covered calls, cash-secured puts, long options as cover
    """
    longs = shorts = ZERO
    for name, units in held.items():
        if not is_option(name):
            continue
        other = parse_occ(name)
        if other.right is Right.PUT and units < 0:
            cash += units * other.strike
        if (other.underlying, other.right) != (contract.underlying, contract.right):
            continue
        shorts += max(ZERO, -units)
        better = other.strike <= contract.strike if contract.right is Right.CALL else other.strike >= contract.strike
        if units > 0 and better and other.expiry >= contract.expiry:
            longs += units
    if contract.right is Right.CALL:
        return max(ZERO, shares + longs - shorts)
    return max(ZERO, cash) / contract.strike + max(ZERO, longs - shorts)
