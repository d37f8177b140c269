"""Changes of orders that were sent and have no answer yet. Kraken, Tradier and Interactive Brokers keep an order's ids when it is changed and
name the change nowhere, so that only who knows what was asked for can say whether it happened. Pure."""

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


class Amends:
    """Those that may have happened. shown: the fields of an order by which its broker shows that it was changed; its stop's price besides, where
    it has one."""

    def __init__(self, *shown: str) -> None:
        self._shown = shown
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

    def found(self, amend: Amend, report: ExecutionReport) -> ExecutionReport | None:
        """How the order stands, as this intent's; None: as far as it shows, it has not been changed."""
        wish = amend.wish
        if any(getattr(report, name) != getattr(wish, name) for name in self._shown) or (wish.ord_type.has_stop and report.stop_px != wish.stop_px):
            return None
        return replace(report, cl_ord_id=amend.cl_ord_id)

    def on(self, order_id: str) -> tuple[Amend, ...]:
        """Those of one order, the oldest first."""
        return tuple(amend for amend in self._open.values() if amend.order_id == order_id)

    def recall(self, orders: Iterable[Order]) -> None:
        """Take up those that an earlier run of the desk was in doubt about, oldest order first."""
        ids: dict[ClOrdID, OrderID | None] = {}
        for order in orders:
            ids[order.cl_ord_id] = order.order_id
            before = None if order.orig_cl_ord_id is None else ids.get(order.orig_cl_ord_id)
            if before is not None and order.order_id is None and (order.doubt is not Doubt.PROVEN_ABSENT and not order.ord_status.terminal):
                self.begin(Amend(cl_ord_id=order.cl_ord_id, order_id=before, wish=order))
