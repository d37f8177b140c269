"""Every order by ClOrdID, and the running sums of what is reserved: the gate's cost does not grow with the number of open orders."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from trading_system.core.lifecycle import Applied, apply
from trading_system.core.options import greatest_loss, standard_multiplier
from trading_system.domain.fix import Contingency, Doubt, OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, OrderID
from trading_system.domain.money import ONE, ZERO
from trading_system.domain.option import is_option, parse_option
from trading_system.domain.order import Approved, Order, shares_of
from trading_system.domain.report import ExecutionReport

Key = tuple[BrokerName, InstrumentID]


class Reserved(msgspec.Struct, frozen=True):
    """What the unsettled orders on one instrument may still do. Quantities in units; notional (of orders that open risk) in BASE_CURRENCY."""

    buy_qty: Decimal = ZERO
    sell_qty: Decimal = ZERO
    notional: Decimal = ZERO
    orders: int = 0
    in_doubt: int = 0

    def moved(self, old: "Reserved", new: "Reserved") -> "Reserved":
        """The sum after one order's part of it has changed."""
        return Reserved(
            self.buy_qty - old.buy_qty + new.buy_qty,
            self.sell_qty - old.sell_qty + new.sell_qty,
            self.notional - old.notional + new.notional,
            self.orders - old.orders + new.orders,
            self.in_doubt - old.in_doubt + new.in_doubt,
        )


NOTHING = Reserved()


def reservation(order: Order) -> Reserved:
    """What one order keeps reserved: all that is not booked, until it is settled (RELIABILITY.md §3)."""
    if order.settled:
        return NOTHING
    if order.held:
        return Reserved(orders=1)
    qty = order.unbooked_qty if order.ord_status.terminal and order.doubt is Doubt.NONE else max(ZERO, order.reserve_qty - order.cum_qty)
    side, doubtful = order.side, int(order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED))
    if order.legs:  # its instrument is that of its shares
        shares = None if order.parted else shares_of(order.legs)
        qty, side = (ZERO, side) if shares is None else (qty * shares.ratio_qty, shares.side)
    buy, sell = (qty, ZERO) if side is Side.BUY else (ZERO, qty)
    if order.legs:
        return Reserved(buy, sell, ZERO if order.reducing else order.reserve_qty * order.reserve_px, 1, doubtful)
    if order.reducing:
        return Reserved(buy, sell, orders=1, in_doubt=doubtful)
    return Reserved(buy, sell, qty * order.reserve_px, 1, doubtful)


class Blotter:
    """Owns the orders. Each method is one synchronous step."""

    def __init__(self) -> None:
        self._orders: dict[ClOrdID, Order] = {}
        self._by_order_id: dict[tuple[BrokerName, OrderID], ClOrdID] = {}
        self._unsettled: dict[ClOrdID, Order] = {}
        self._on: dict[Key, dict[ClOrdID, Order]] = {}  # the unsettled ones again, by instrument
        self._reserved: dict[Key, Reserved] = {}
        self._part: dict[ClOrdID, Reserved] = {}  # what each unsettled order has in those sums
        self._foreseen: tuple[Order, ExecutionReport, Applied] | None = None
        self.total = NOTHING

    def __iter__(self) -> Iterator[Order]:
        return iter(self._orders.values())

    def __len__(self) -> int:
        return len(self._orders)

    def get(self, cl_ord_id: ClOrdID) -> Order | None:
        return self._orders.get(cl_ord_id)

    def find(self, report: ExecutionReport) -> Order | None:
        """The order a report is about: by our id, else by the broker's. A broker that keeps an order through a change goes on naming the first
        intent: such a report is about the last one, but for executions that an earlier one has booked."""
        order = self._orders.get(report.cl_ord_id)
        if order is not None and order.broker != report.broker:
            order = None  # a client id is a name at one account; other programs use one at several
        if order is None and report.order_id is not None:
            order = self.by_order_id(report.broker, report.order_id)
        if order is None or order.ord_status is not OrdStatus.REPLACED or report.ord_status is OrdStatus.REPLACED or order.order_id is None:
            return order
        line = self._line(self.by_order_id(order.broker, order.order_id) or order)
        return next((one for one in line if any(fill.exec_id == report.exec_id for fill in one.fills)), line[0])

    def asked_as(self, order: Order) -> ClOrdID:
        """The id that the broker has an order under: of one that it kept through changes, the first's."""
        return self._line(order)[-1].cl_ord_id

    def _line(self, order: Order) -> tuple[Order, ...]:
        """The order, and those that it was before, where the broker kept its own through the changes."""
        line = [order]
        while (before := self._orders.get(line[-1].orig_cl_ord_id or ClOrdID(""))) is not None and before.order_id == order.order_id:
            line.append(before)
        return tuple(line)

    def succeed(self, order: Order, report: ExecutionReport) -> Order | None:
        """The first word on a changed order that the broker kept ends the one it was; what that had filled counts as filled before, what is known to
        have filled and was not told yet is the new one's. Gives the old one, where there is one."""
        old = self._orders.get(order.orig_cl_ord_id or ClOrdID(""))
        if old is None or order.order_id is not None or report.order_id is None or old.order_id != report.order_id:
            return None
        self.put(replace(order, prior_qty=old.cum_qty, cum_qty=old.cum_qty, stated_cum_qty=old.cum_qty, order_id=old.order_id))
        whole = old.settled and old.ord_status is not OrdStatus.CANCELED  # one that was told as cancelled was that under its new name
        ended = old if whole else replace(old, ord_status=OrdStatus.REPLACED, doubt=Doubt.NONE, stated_cum_qty=old.cum_qty)
        self.put(ended)
        return ended

    def by_order_id(self, broker: BrokerName, order_id: OrderID) -> Order | None:
        cl_ord_id = self._by_order_id.get((broker, order_id))
        return None if cl_ord_id is None else self._orders[cl_ord_id]

    def unsettled(self) -> tuple[Order, ...]:
        """Orders that can still change our exposure, oldest first."""
        return tuple(self._unsettled.values())

    def working(self) -> tuple[Order, ...]:
        """Orders that are not terminal, oldest first."""
        return tuple(order for order in self._unsettled.values() if not order.ord_status.terminal)

    def working_on(self, broker: BrokerName, instrument: InstrumentID) -> tuple[Order, ...]:
        """The working orders on one instrument. Looks through the unsettled ones only where that instrument has any."""
        if (broker, instrument) not in self._reserved:
            return ()
        return tuple(order for order in self._on[broker, instrument].values() if not order.ord_status.terminal)

    def reserved(self, broker: BrokerName, instrument: InstrumentID) -> Reserved:
        return self._reserved.get((broker, instrument), NOTHING)

    def reserved_keys(self) -> tuple[Key, ...]:
        return tuple(self._reserved)

    def settled_before(self, before_ns: int) -> tuple[Order, ...]:
        """Orders sent before then that nothing can happen to any more. Looks at no more than the oldest."""
        found = []
        for order in self._orders.values():  # in the order of their making
            if order.sent_ns >= before_ns:
                break
            if order.settled and order.updated_ns < before_ns:
                found.append(order)
        return tuple(found)

    def forget(self, order: Order) -> None:
        """Drop a settled order from memory."""
        assert order.settled
        del self._orders[order.cl_ord_id]
        if order.order_id is not None and self._by_order_id.get((order.broker, order.order_id)) == order.cl_ord_id:
            del self._by_order_id[order.broker, order.order_id]

    def open(self, approved: Approved) -> Order:
        """Enter an approved order: its exposure counts from this step on, before any await."""
        assert approved.cl_ord_id not in self._orders, "the desk asks get() first: an intent is one order"
        order = order_of(approved)
        self.put(order)
        return order

    def adopt(self, report: ExecutionReport, account: str, *, prior: bool = False) -> Order:
        """Enter an order that somebody else sent: counted in limits, never touched unasked. A client id that is missing, or another
        account's, is made from the broker's.
        prior: what it filled before now is in the opening position already."""
        filled = (report.cum_qty or ZERO) if prior else ZERO
        qty = report.order_qty or ZERO
        names = (report.cl_ord_id, ClOrdID(f"external:{report.order_id}"), ClOrdID(f"external:{report.broker}:{report.order_id}"))
        order = Order(
            cl_ord_id=next(name for name in names if name and name not in self._orders),
            broker=report.broker,
            account=account,
            instrument=report.instrument,
            side=report.side,
            ord_type=report.ord_type,
            time_in_force=report.time_in_force,
            order_qty=qty,
            cash_order_qty=report.cash_order_qty,
            price=report.price,
            stop_px=report.stop_px,
            trail_px=report.trail_px,
            trail_pct=report.trail_pct,
            legs=report.legs,
            external=True,
            ord_status=OrdStatus.PENDING_NEW,
            order_id=report.order_id,
            prior_qty=filled,
            cum_qty=filled,
            stated_cum_qty=filled,
            reserve_px=_at_risk(report),
            reserve_qty=qty,
            sent_ns=report.transact_ns,
            updated_ns=report.recv_ns,
        )
        self.put(order)
        return order

    def link(self, order: Order, parent: Order) -> Order:
        """An order that the broker made for one of ours belongs to that one's intent. An exit only ever closes; of two that end one another one
        reserves, the limit order, for as long as it stands. For a leg the whole has reserved."""
        if parent.legs:
            leg = replace(order, parent=parent.cl_ord_id, external=parent.external, intent=parent.intent, reserve_px=ZERO, reducing=parent.reducing)
            self.put(leg)
            if leg.instrument == parent.instrument:
                self.put(replace(parent, parted=True))
            return leg
        spare = parent.contingency in (Contingency.OCO, Contingency.BRACKET) and order.ord_type.waits
        linked = replace(
            order,
            parent=parent.cl_ord_id,
            external=False,
            intent=parent.intent,
            protects=parent.cl_ord_id if order.ord_type.waits and not parent.reduce_only else None,
            reserve_qty=ZERO if spare else order.reserve_qty,
            reduce_only=True,
            reducing=True,
        )
        self.put(linked)
        return linked

    def foresee(self, order: Order, report: ExecutionReport) -> Applied:
        """What a report would do to an order. Who asks goes on to apply() as a rule, which then need not work it out again."""
        applied = apply(order, report)
        self._foreseen = (order, report, applied)
        return applied

    def apply(self, report: ExecutionReport) -> Applied:
        """Fold a report into the order it is about. The order must be known: the desk adopts first."""
        order, seen = self.find(report), self._foreseen
        assert order is not None
        applied = seen[2] if seen is not None and seen[0] is order and seen[1] is report else apply(order, report)
        self.put(applied.order)
        return applied

    def put(self, order: Order) -> None:
        """Store an order's new state and move the running sums with it."""
        key = (order.broker, order.instrument)
        old, new = self._part.get(order.cl_ord_id, NOTHING), reservation(order)
        self._orders[order.cl_ord_id] = order
        if order.order_id is not None:
            after = order.ord_status is OrdStatus.REPLACED  # then the broker's id may be its successor's already
            known = self._by_order_id.get((order.broker, order.order_id), order.cl_ord_id)
            self._by_order_id[order.broker, order.order_id] = known if after else order.cl_ord_id
        on_key = self._on.setdefault(key, {})
        if order.settled:
            self._unsettled.pop(order.cl_ord_id, None)
            self._part.pop(order.cl_ord_id, None)
            on_key.pop(order.cl_ord_id, None)
        else:
            self._unsettled[order.cl_ord_id] = order
            self._part[order.cl_ord_id] = new
            on_key[order.cl_ord_id] = order
        if old != new:
            total = self._reserved.get(key, NOTHING).moved(old, new)
            self.total = self.total.moved(old, new)
            if total.orders:
                self._reserved[key] = total
            else:
                self._reserved.pop(key, None)


def _at_risk(report: ExecutionReport) -> Decimal:
    """What a unit of somebody else's order puts at risk: of an inverse contract what it is about; of several legs the greatest loss; where nobody can
    tell, the net price."""
    options = [leg for leg in report.legs if is_option(leg.instrument)]
    if report.inverse:
        return report.multiplier or ONE
    if not options:
        return report.price or report.stop_px or report.last_px
    times, price, shares = standard_multiplier(options[0].instrument), report.price or ZERO, shares_of(report.legs)
    units = ZERO if shares is None else shares.side.sign * shares.ratio_qty / times
    loss = greatest_loss([(parse_option(leg.instrument), leg.side.sign * leg.ratio_qty) for leg in options], price, units)
    return times * (abs(price) if loss is None else loss)


def order_of(approved: Approved) -> Order:
    """The order as it stands when its intent is written."""
    request = approved.request
    return Order(
        cl_ord_id=approved.cl_ord_id,
        broker=request.broker,
        account=approved.account,
        instrument=request.instrument,
        side=request.side,
        ord_type=request.ord_type,
        time_in_force=request.time_in_force,
        order_qty=request.order_qty or ZERO,
        cash_order_qty=request.cash_order_qty,
        price=request.price,
        stop_px=request.stop_px,
        trail_px=request.trail_px,
        trail_pct=request.trail_pct,
        attached=request.attached,
        legs=request.legs,
        parent=request.parent,
        reduce_only=request.reduce_only,
        protect_stop_px=request.protect_stop_px,
        protects=request.protects,
        intent=request.intent,
        reserve_px=approved.reserve_px,
        reserve_qty=approved.reserve_qty,
        reducing=approved.reducing,
        orig_cl_ord_id=approved.orig_cl_ord_id,
        sent_ns=approved.approved_ns,
        updated_ns=approved.approved_ns,
    )
