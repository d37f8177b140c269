"""Changes of orders that were sent and have no answer yet. TWS keeps an order's number when it is changed and names the change nowhere, so that only
who knows what was asked for can say whether it happened. Pure."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from trading_system.domain.fix import Doubt
from trading_system.domain.ids import ClOrdID, OrderID
from trading_system.domain.order import NewOrder, Order
from trading_system.domain.report import ExecutionReport

REMEMBERED_MAX = 1_000


class Amend(msgspec.Struct, frozen=True, kw_only=True):
    """One intent to change an order."""

    cl_ord_id: ClOrdID
    order_id: OrderID
    wish: NewOrder | Order  # the whole of what the order shall be

    def found(self, report: ExecutionReport) -> ExecutionReport | None:
        """How the order stands, as this intent's; None: as far as it shows, it has not been changed."""
        wish = self.wish
        stop_px = report.stop_px if wish.ord_type.has_stop else None
        if (report.order_qty, report.price, stop_px, report.trail_px, report.trail_pct) != (
            wish.order_qty,
            wish.price,
            wish.stop_px,
            wish.trail_px,
            wish.trail_pct,
        ):
            return None
        return replace(report, cl_ord_id=self.cl_ord_id)


class Amends:
    """Those that may have happened."""

    def __init__(self) -> None:
        self._open: OrderedDict[ClOrdID, Amend] = OrderedDict()

    def begin(self, amend: Amend) -> None:
        """It is about to be sent."""
        self._open[amend.cl_ord_id] = amend
        if len(self._open) > REMEMBERED_MAX:
            self._open.popitem(last=False)

    def settle(self, cl_ord_id: ClOrdID) -> None:
        """There is an answer."""
        self._open.pop(cl_ord_id, None)

    def get(self, cl_ord_id: ClOrdID) -> Amend | None:
        return self._open.get(cl_ord_id)

    def recall(self, orders: Iterable[Order]) -> None:
        """Take up those that an earlier run of the desk was in doubt about, oldest order first."""
        ids: dict[ClOrdID, OrderID | None] = {}
        for order in orders:
            ids[order.cl_ord_id] = order.order_id
            before = None if order.orig_cl_ord_id is None else ids.get(order.orig_cl_ord_id)
            if before is not None and order.order_id is None and (order.doubt is not Doubt.PROVEN_ABSENT and not order.ord_status.terminal):
                self.begin(Amend(cl_ord_id=order.cl_ord_id, order_id=before, wish=order))
