"""What an option can cost: the most a unit can lose, and what covers one that is sold."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from trading_system.domain.bond import UNIT_PER_POINT, is_cusip
from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.money import ONE, ZERO
from trading_system.domain.option import Contract, Right, is_option, parse_option

_STANDARD_MULTIPLIER = Decimal(100)  # what one US contract delivers


def standard_multiplier(instrument: InstrumentID) -> Decimal:
    """Of what is met before its instrument was read."""
    if is_cusip(instrument):
        return UNIT_PER_POINT
    return _STANDARD_MULTIPLIER if is_option(instrument) and not parse_option(instrument).in_cash else ONE


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
        other = parse_option(name)
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


def greatest_loss(legs: Sequence[tuple[Contract, int]], price: Decimal, shares: Decimal = ZERO) -> Decimal | None:
    """The most that one unit of a multileg order can lose, held to expiry: its net price less the worst that its legs pay together. legs: signed
    ratios, of what it opens; shares: signed units of the underlying beside them, which may be worth nothing by then. None: without bound, or not to
    be told: short legs of two expiries, or more calls sold than shares and calls bought.

    What is bought and ends before what is sold counts as worth nothing by then.

    >>> call = parse_option("AAPL261218C00200000"), parse_option("AAPL261218C00210000")
    >>> greatest_loss([(call[0], 1), (call[1], -1)], Decimal(4)), greatest_loss([(call[0], -1), (call[1], 1)], Decimal(-4))
    (Decimal('4'), Decimal('6'))
    >>> greatest_loss([(call[1], -1)], Decimal(190), Decimal(1))  # a buy-write
    Decimal('190')
    """
    ends = {contract.expiry for contract, ratio in legs if ratio < 0}
    if len(ends) > 1:
        return None
    lasting = [(contract, ratio) for contract, ratio in legs if all(contract.expiry >= end for end in ends)]
    if shares + sum(ratio for contract, ratio in lasting if contract.right is Right.CALL) < 0:
        return None
    corners = (ZERO, *(contract.strike for contract, _ in lasting))  # the payoff is straight between them, and rises beyond the last
    worst = min(sum((ratio * contract.payoff(corner) for contract, ratio in lasting), shares * corner) for corner in corners)
    return max(ZERO, price - worst)


def at_risk(held: Sequence[tuple[Contract, Decimal, Decimal]]) -> Decimal:
    """Money that options on one underlying put at risk together, from what they are worth now. held: contract, signed units, worth of a unit.
    Where the sum cannot be bounded, each counts for itself, and calls that are sold as covered: none other passed the gate unasked."""
    lots = [(contract, units) for contract, units, _ in held]
    whole = all(units == units.to_integral_value() for _, units in lots)
    worth = sum((units * price for _, units, price in held), ZERO)
    bound = greatest_loss([(contract, int(units)) for contract, units in lots], worth) if whole else None
    if bound is not None:
        return bound
    sides = ((contract, Side.BUY if units > 0 else Side.SELL, abs(units), price) for contract, units, price in held)
    return sum((units * unit_risk(contract, side, price, covered=True) for contract, side, units, price in sides), ZERO)
