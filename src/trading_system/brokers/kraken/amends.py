"""Which intent of ours an order is. Kraken keeps an order's ids when it is amended; the desk has a new intent for each amend. Pure.

Only Kraken's id of the order stays the same on both sides: what the wire calls by the first intent's name is told under the last one's. A trade
keeps the name that it was first told with, and what the earlier names filled is taken off the cumulative quantity.
"""

from collections import OrderedDict
from collections.abc import Iterable
from decimal import Decimal
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from trading_system.brokers.kraken.facts import NAME
from trading_system.domain.fix import Doubt, ExecType, OrdStatus
from trading_system.domain.ids import ClOrdID, ExecID, OrderID
from trading_system.domain.money import ZERO
from trading_system.domain.order import NewOrder, Order
from trading_system.domain.report import ExecutionReport

REMEMBERED_MAX = 5_000  # amends, and trades of orders that were amended
_K = TypeVar("_K")
_T = TypeVar("_T")


class Amend(msgspec.Struct, kw_only=True):
    """One intent to change an order."""

    cl_ord_id: ClOrdID
    before: ClOrdID  # what the order was called until then
    order_id: OrderID
    wish: NewOrder | Order  # what it shall be
    done: bool = False

    def asked(self, report: ExecutionReport) -> bool:
        """Whether an order stands as this one wants it."""
        wish = self.wish
        stop_px = report.stop_px if wish.ord_type.has_stop else None
        return (report.order_qty, report.price, stop_px) == (wish.order_qty, wish.price, wish.stop_px)

    def end_of_before(self, now_ns: int) -> ExecutionReport:
        """The old intent's end; its order goes on as this one's."""
        return ExecutionReport(
            broker=NAME,
            cl_ord_id=self.before,
            order_id=self.order_id,
            exec_type=ExecType.REPLACED,
            ord_status=OrdStatus.REPLACED,
            instrument=self.wish.instrument,
            side=self.wish.side,
            ord_type=self.wish.ord_type,
            time_in_force=self.wish.time_in_force,
            order_qty=None,
            replaced_by=self.order_id,
            transact_ns=now_ns,
            recv_ns=now_ns,
        )


class Amends:
    """Every amend of ours that may matter still."""

    def __init__(self) -> None:
        self._amends: OrderedDict[ClOrdID, Amend] = OrderedDict()
        self._called: OrderedDict[OrderID, ClOrdID] = OrderedDict()  # the order's name since its last amend
        self._traded: OrderedDict[ExecID, tuple[OrderID, ClOrdID, Decimal]] = OrderedDict()
        self._before: dict[OrderID, Decimal] = {}  # filled under earlier names

    def begin(self, amend: Amend) -> None:
        """It is about to be sent."""
        _remember(self._amends, amend.cl_ord_id, amend)

    def drop(self, cl_ord_id: ClOrdID) -> None:
        """It certainly did not happen."""
        self._amends.pop(cl_ord_id, None)

    def finish(self, amend: Amend) -> None:
        """It happened: from here on the order is called by its name."""
        amend.done = True
        self._before[amend.order_id] = sum((qty for order_id, _, qty in self._traded.values() if order_id == amend.order_id), ZERO)
        _remember(self._called, amend.order_id, amend.cl_ord_id)

    def get(self, cl_ord_id: ClOrdID) -> Amend | None:
        return self._amends.get(cl_ord_id)

    def after(self, cl_ord_id: ClOrdID) -> Amend | None:
        """The amend that ended an intent."""
        return next((amend for amend in self._amends.values() if amend.done and amend.before == cl_ord_id), None)

    def open_on(self, order_id: str) -> list[Amend]:
        """Those of which nobody knows yet whether they happened."""
        return [amend for amend in self._amends.values() if amend.order_id == order_id and not amend.done]

    def named(self, report: ExecutionReport) -> ExecutionReport:
        """A report under the name that it belongs to."""
        if report.order_id is None:
            return report
        called = self._called.get(report.order_id, report.cl_ord_id)
        first = self._traded.get(report.exec_id) if report.exec_id is not None else None
        if first is not None and first[1] != called:
            return replace(report, cl_ord_id=first[1])
        if report.exec_id is not None and first is None:
            _remember(self._traded, report.exec_id, (report.order_id, called, report.last_qty))
        if called == report.cl_ord_id:
            return report
        before = self._before.get(report.order_id, ZERO)
        return replace(report, cl_ord_id=called, cum_qty=None if report.cum_qty is None else max(ZERO, report.cum_qty - before))

    def recall(self, orders: Iterable[Order]) -> None:
        """Take up what an earlier run of the desk knew, oldest order first."""
        known: dict[ClOrdID, Order] = {}
        for order in orders:
            known[order.cl_ord_id] = order
            before = None if order.orig_cl_ord_id is None else known.get(order.orig_cl_ord_id)
            if before is not None and before.order_id is not None:
                self._recall_one(order, before, before.order_id)
            if order.order_id is not None:
                for fill in order.fills:
                    _remember(self._traded, fill.exec_id, (order.order_id, order.cl_ord_id, fill.qty))

    def _recall_one(self, order: Order, before: Order, order_id: OrderID) -> None:
        done = order.order_id == order_id
        if done or (order.order_id is None and order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED)):
            amend = Amend(cl_ord_id=order.cl_ord_id, before=before.cl_ord_id, order_id=order_id, wish=order)
            self.begin(amend)
            if done:
                self.finish(amend)


def _remember(known: OrderedDict[_K, _T], name: _K, value: _T) -> None:
    known[name] = value
    known.move_to_end(name)
    if len(known) > REMEMBERED_MAX:
        known.popitem(last=False)
