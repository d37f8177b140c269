"""How far what happens is from what paper and a backtest assume: each order that came of a strategy's wish, beside its shadow.

The shadow of an order at the market is what it would have been filled at on paper: the touch when it was decided, and the touch of the next quote,
which is what a backtest without latency meets. What is left between the two is what a backtest leaves out: the way to the broker, the queue there,
and who came first.
"""

from collections.abc import Iterable
from decimal import Decimal
from statistics import fmean

import msgspec

from trading_system.domain.ids import ClOrdID
from trading_system.domain.money import ZERO
from trading_system.domain.order import Order

SECOND_NS = 1_000_000_000


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """One order as it was decided. touch: the price it would have met at that moment; paper_px: at the next quote; None: none came."""

    cl_ord_id: ClOrdID
    touch: Decimal
    paper_px: Decimal | None
    decided_ns: int


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """Over so many orders. slippage: how much worse than the touch, as a fraction of it, by money; below 0 it was better. beside_paper: the same
    against the shadow. fill_ratio: of what was asked for. latency_s: from the decision to the first fill."""

    orders: int
    filled: int
    fill_ratio: float | None
    slippage: float | None
    beside_paper: float | None
    worst_slippage: float | None
    latency_s: float | None


def measured(orders: Iterable[tuple[Shadow, Order]]) -> Divergence:
    """Compare. Orders that are not over yet count as far as they have come."""
    asked = done = ZERO
    weighted, weight, paper, paper_weight = 0.0, 0.0, 0.0, 0.0
    slips, waits, count, filled = list[float](), list[float](), 0, 0
    for shadow, order in orders:
        count += 1
        asked, done = asked + order.order_qty, done + order.cum_qty
        if order.avg_px is None or not order.fills:
            continue
        filled += 1
        slip = float(order.side.sign * (order.avg_px - shadow.touch) / shadow.touch)
        slips.append(slip)
        money = float(order.cum_qty * shadow.touch)
        weighted, weight = weighted + slip * money, weight + money
        if shadow.paper_px is not None:
            beside = float(order.side.sign * (order.avg_px - shadow.paper_px) / shadow.paper_px)
            paper, paper_weight = paper + beside * money, paper_weight + money
        waits.append((order.fills[0].transact_ns - shadow.decided_ns) / SECOND_NS)
    return Divergence(
        orders=count,
        filled=filled,
        fill_ratio=float(done / asked) if asked else None,
        slippage=weighted / weight if weight else None,
        beside_paper=paper / paper_weight if paper_weight else None,
        worst_slippage=max(slips, default=None),
        latency_s=fmean(waits) if waits else None,
    )
