"""Several options as one order: how either transport tells it with its legs, and what a leg is called. IB keeps no order of a leg's own. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from trading_system.brokers.ibkr.links import PART
from trading_system.domain.fix import Side
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID
from trading_system.domain.money import ZERO
from trading_system.domain.order import Leg
from trading_system.domain.report import ExecutionReport

BAG = "BAG"  # several contracts as one
EXTERNAL = "external:"  # how the desk calls an order by its broker's name
_LEG_DOTS = 4  # in the name of a leg's execution; any other has three


def leg_name(whole: OrderID, con_id: int) -> OrderID:
    """What the desk calls one leg of an order, of which IB keeps no more than its contract.

    >>> leg_name(OrderID("600745656-5"), 7)
    '600745656-5.7'
    """
    return OrderID(f"{whole}{PART}{con_id}")


def whole_name(name: OrderID) -> OrderID:
    """The order that a leg belongs to; of any other order its own name.

    >>> whole_name(OrderID("600745656-5.7"))
    '600745656-5'
    """
    return OrderID(name.partition(PART)[0])


def names_leg(exec_id: str) -> bool:
    """Whether the name of an execution says that it is one leg's.

    >>> names_leg("0000e215.65fd10ab.02.01.01")
    True
    """
    return exec_id.count(PART) >= _LEG_DOTS


def as_whole(one: ExecutionReport, about: InstrumentID, legs: Sequence[tuple[int, Leg]]) -> ExecutionReport:
    """An order with its legs, each with its contract's number; one that was sold is the reverse bought."""
    sold = one.side is Side.SELL
    told = [(con_id, replace(leg, side=leg.side.opposite) if sold else leg) for con_id, leg in legs]
    whole = replace(
        one,
        instrument=about,
        multiplier=None,
        side=Side.BUY,
        price=-one.price if sold and one.price is not None else one.price,
        legs=tuple(leg for _, leg in told),
    )
    assert one.order_id is not None
    children = tuple(
        replace(
            whole,
            cl_ord_id=ClOrdID(""),
            order_id=leg_name(one.order_id, con_id),
            instrument=leg.instrument,
            side=leg.side,
            price=None,
            legs=(),
            order_qty=(one.order_qty or ZERO) * leg.ratio_qty,
            cum_qty=None if one.cum_qty is None else one.cum_qty * leg.ratio_qty,
        )
        for con_id, leg in told
    )
    return replace(whole, children=children)


def legs_of(report: ExecutionReport) -> list[ExecutionReport]:
    """The legs of an order, each as what it is to the desk: an order of its own, which that one has."""
    parent = report.cl_ord_id or ClOrdID(f"{EXTERNAL}{report.order_id}")
    return [replace(leg, parent=parent) for leg in report.children] if report.legs else []
