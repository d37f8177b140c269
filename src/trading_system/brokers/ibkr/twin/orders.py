"""The account's side of the twin: orders as TWS takes them, what the exchange makes of them, and every message about them.

The exchange holds the state; this holds what was sent, under which client and number. Not modelled: orders that turn a position around, minimum
commissions, orders linked by a group alone that arrive one by one, algorithms, combinations of other things than options on one stock, and changes
of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from trading_system.brokers.ibkr.twin.contracts import Contracts
from trading_system.brokers.ibkr.twin.forms import LIVE, Form, Refusal, Shown, completed_order, error, head, open_order, order_status, when
from trading_system.brokers.ibkr.twin.universe import CENT, HOME, MULTIPLIER, Line
from trading_system.brokers.ibkr.wire import UNSET, Tells, join
from trading_system.domain.fix import Contingency, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.money import ONE, ZERO, on_grid, round_qty
from trading_system.domain.option import Contract
from trading_system.sim.exchange import Event, Exchange, Execution, SimOrder, Ticket

Send = Callable[[int, bytes], None]  # to a client by its number

_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_TYPES = {
    "MKT": OrdType.MARKET,
    "LMT": OrdType.LIMIT,
    "STP": OrdType.STOP,
    "STP LMT": OrdType.STOP_LIMIT,
    "TRAIL": OrdType.TRAILING_STOP,
    "MOC": OrdType.MARKET,
    "LOC": OrdType.LIMIT,
}
_AT_CLOSE = frozenset({"MOC", "LOC"})
_TIFS = {
    "DAY": TimeInForce.DAY,
    "GTC": TimeInForce.GTC,
    "IOC": TimeInForce.IOC,
    "FOK": TimeInForce.FOK,
    "OPG": TimeInForce.AT_THE_OPENING,
}
_STATUS = {
    OrdStatus.PENDING_NEW: "PreSubmitted",
    OrdStatus.NEW: "Submitted",
    OrdStatus.PARTIALLY_FILLED: "Submitted",
    OrdStatus.PENDING_REPLACE: "Submitted",
    OrdStatus.PENDING_CANCEL: "PendingCancel",
    OrdStatus.FILLED: "Filled",
    OrdStatus.CANCELED: "Cancelled",
    OrdStatus.EXPIRED: "Cancelled",
    OrdStatus.REJECTED: "Inactive",
}
_BUSY = (OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE)
_SLACK = Decimal("1.02")  # what a market order holds back beyond the offer
_TOO_DEAR = "Order rejected - reason:YOUR ORDER IS NOT ACCEPTED. Minimum of the available funds is needed."
_FIRST_PERM = 600_745_656


class Placed(msgspec.Struct, kw_only=True):
    """An order as it was sent. order: the exchange's; None: it was refused after it had been taken, or waits for the rest of its group."""

    form: Form
    line: Line
    client_id: int
    perm_id: int
    created_ns: int
    ticket: Ticket
    order: SimOrder | None = None
    withdrawn: bool = False
    legs: tuple[Ticket, ...] = ()  # of several: each leg's
    filled: list[Execution] = msgspec.field(default_factory=list)  # of legs, until the whole is told
    last_px: Decimal = ZERO
    fees: Decimal = ZERO
    wanted: Form | None = None  # a change that is under way


class Orders:
    """Everything that clients place, and what becomes of it."""

    def __init__(self, contracts: Contracts, exchange: Exchange, *, account: str, send: Send) -> None:
        self.placed: dict[int, Placed] = {}  # by the number that never changes
        self.told: list[tuple[Execution, Placed, Line]] = []  # executions, with the order and what each is of
        self.posts = 0  # orders that came
        self.next_ids: dict[int, int] = {}  # by client
        self.now_ns = 0  # the twin's, set before anything is asked
        self.commission_first = False  # the fee is told before its execution
        self._contracts = contracts
        self._exchange = exchange
        self._account = account
        self._send = send
        self._of: dict[str, Placed] = {}  # by the exchange's name
        self._basis: dict[str, Decimal] = {}  # of futures: what they were worth when the day before was paid for, and what trades since made of it
        self._unwanted: set[str] = set()  # to be cancelled once a change is through

    # -- inward ----------------------------------------------------------------------------------------------------------------------------------

    def find(self, client_id: int, order_id: int) -> Placed | None:
        return next((placed for placed in reversed(self.placed.values()) if (placed.client_id, placed.form.order_id) == (client_id, order_id)), None)

    def place(self, client_id: int, form: Form, now_ns: int) -> None:
        """Take an order, or a change of one. Raises Refusal."""
        known = self.find(client_id, form.order_id)
        if known is not None and not form.what_if:
            self._change(known, form, now_ns)
            return
        if form.order_id < self.next_ids.get(client_id, 1) and not form.what_if:
            raise Refusal(103, "Duplicate order id")
        if form.parent_id and self.find(client_id, form.parent_id) is None:
            raise Refusal(10006, "Missing parent order.")
        line = self._line(form, now_ns)
        ticket = self._ticket(form, line, now_ns)
        legs = self._legs(form, now_ns)
        if form.what_if:
            self._try(client_id, form, line, self._admitted(ticket, line, now_ns, legs), now_ns)
            return
        self.posts += 1
        self.next_ids[client_id] = form.order_id + 1
        if not form.tif:
            self._send(client_id, error(form.order_id, 10349, "Order TIF was set to DAY based on order preset."))
            form.tif = "DAY"
        placed = Placed(
            form=form, line=line, client_id=client_id, perm_id=_FIRST_PERM + len(self.placed), created_ns=now_ns, ticket=ticket, legs=legs
        )
        self.placed[placed.perm_id] = placed
        if form.transmit and (form.parent_id or not form.oca_group or self._grouped(placed)):
            self._release(placed, now_ns)

    def _grouped(self, placed: Placed) -> bool:
        """Whether another of its group waits: exits alone are taken together."""
        return any(other.order is None and not other.withdrawn and _kin(other, placed) for other in self.placed.values())

    def _line(self, form: Form, now_ns: int) -> Line:
        if form.account and form.account != self._account:
            raise Refusal(201, "Order rejected - reason:Invalid account number")
        if form.contract.sec_type == "BAG":
            return self._contracts.bag(form.contract, form.legs)
        return self._contracts.one(form.contract, now_ns)

    def _legs(self, form: Form, now_ns: int) -> tuple[Ticket, ...]:
        """What each leg is to do. Raises Refusal: other than options on one stock, or more to close than there is."""
        tickets = []
        for con_id, ratio, action in form.legs:
            line, side = self._contracts.leg(con_id, now_ns), _SIDES.get(action)
            if side is None or ratio < 1:
                raise Refusal(321, "Error validating request.-'bF' : cause - Invalid combo leg")
            side = side.opposite if form.action == "SELL" else side
            held, qty = self._exchange.position(line.name), form.qty * ratio
            opening = held * side.sign >= 0
            if not opening and qty > abs(held) - self._exchange.held(line.name):
                raise Refusal(201, "Order rejected - reason:a leg would turn its position around, which is not modelled here")
            tif = _TIFS.get(form.tif or "DAY", TimeInForce.DAY)
            ticket = Ticket(symbol=line.name, cl_ord_id="", side=side, ord_type=OrdType.LIMIT, time_in_force=tif, qty=qty, opening=opening)
            tickets.append(ticket)
        return tuple(tickets)

    def _ticket(self, form: Form, line: Line, now_ns: int) -> Ticket:
        """What the exchange is to do. Raises Refusal."""
        side, ord_type = _SIDES.get(form.action), _TYPES.get(form.order_type)
        if side is None or ord_type is None:
            raise Refusal(321, "Error validating request.-'bF' : cause - Invalid order type was entered")
        tif = TimeInForce.AT_THE_CLOSE if form.order_type in _AT_CLOSE else _TIFS.get(form.tif or "DAY")
        if tif is None or (form.order_type in _AT_CLOSE and form.tif not in ("DAY", "")):
            raise Refusal(111, "The order TIF and the order type are incompatible.")
        if line.sec_type == "FUND":
            return self._subscription(form, line, ord_type, tif, side)
        qty = self._bought_for(form, line, ord_type, side) if form.cash_qty else form.qty
        if line.sec_type == "CRYPTO" and tif is not TimeInForce.IOC:
            what = "MKT order must be IOC" if ord_type is OrdType.MARKET else "order must be Minutes or IOC"
            raise Refusal(201, f"Order rejected - reason:The crypto {what}")
        if qty <= 0:
            raise Refusal(160, "Size value cannot be zero")
        if not on_grid(qty, line.size_step):
            raise Refusal(10243, "Fractional-sized order cannot be placed via API. Please use desktop version instead.")
        price = form.limit if ord_type.has_price else None
        stop_px = form.aux if ord_type.has_stop else None
        if form.legs:
            return self._whole(form, line, ord_type, tif)
        if (ord_type.has_price and not price) or (ord_type.has_stop and not stop_px):
            raise Refusal(321, "Error validating request.-'bF' : cause - Missing or invalid price")
        if any(value is not None and not on_grid(value, line.min_tick) for value in (price, stop_px)):
            raise Refusal(110, "The price does not conform to the minimum price variation for this contract.")
        if line.sec_type == "CRYPTO" and ord_type is OrdType.MARKET and side is Side.BUY and not form.cash_qty:
            raise Refusal(10289, "You must set Cash Quantity for this order.")
        position = self._exchange.position(line.name)
        opening = position * side.sign >= 0
        return Ticket(
            symbol=line.name,
            cl_ord_id=form.ref,
            side=side,
            ord_type=ord_type,
            time_in_force=tif,
            qty=qty,
            price=price,
            stop_px=stop_px,
            trail_px=form.aux if form.order_type == "TRAIL" and form.trail_pct is None else None,
            trail_pct=form.trail_pct if form.order_type == "TRAIL" else None,
            extended=form.outside_rth,
            opening=opening,
        )

    def _subscription(self, form: Form, line: Line, ord_type: OrdType, tif: TimeInForce, side: Side) -> Ticket:
        """A fund is bought for money and sold in shares, when the day is over. Raises Refusal: anything else."""
        if ord_type is not OrdType.MARKET or tif is not TimeInForce.DAY:
            raise Refusal(387, "Unsupported order type for this exchange and security type.")
        if side is Side.BUY and not form.cash_qty:
            raise Refusal(10289, "You must set Cash Quantity for this order.")
        if form.cash_qty and (side is Side.SELL or form.qty):
            raise Refusal(10244, "Cash Quantity cannot be used for this order")
        if side is Side.SELL and (form.qty <= 0 or not on_grid(form.qty, line.size_step)):
            raise Refusal(160, "Size value cannot be zero")
        return Ticket(
            symbol=line.name,
            cl_ord_id=form.ref,
            side=side,
            ord_type=ord_type,
            time_in_force=TimeInForce.AT_THE_CLOSE,
            qty=None if form.cash_qty else form.qty,
            notional=form.cash_qty or None,
            opening=side is Side.BUY,
        )

    def _bought_for(self, form: Form, line: Line, ord_type: OrdType, side: Side) -> Decimal:
        """How much of a coin an amount of money buys. Raises Refusal: it is of something else, or there is a size beside it."""
        if line.sec_type != "CRYPTO" or ord_type is not OrdType.MARKET or side is not Side.BUY:
            raise Refusal(10244, "Cash Quantity cannot be used for this order")
        if form.qty:
            raise Refusal(10293, "Cryptocurrency Cash Quantity order cannot specify size")
        return round_qty((form.cash_qty or ZERO) / self._touch(line, Side.BUY), line.size_step)

    def _whole(self, form: Form, line: Line, ord_type: OrdType, tif: TimeInForce) -> Ticket:
        """Several legs, bought: what is sold is the reverse of it. Its net price may be anything. Raises Refusal."""
        if ord_type is not OrdType.LIMIT or form.limit is None or form.parent_id or form.oca_group:
            raise Refusal(387, "Unsupported order type for this exchange and security type.")
        if not on_grid(form.limit, CENT):
            raise Refusal(110, "The price does not conform to the minimum price variation for this contract.")
        price = -form.limit if form.action == "SELL" else form.limit
        return Ticket(
            symbol=line.name, cl_ord_id=form.ref, side=Side.BUY, ord_type=ord_type, time_in_force=tif, qty=form.qty, price=price, opening=True
        )

    def _admitted(self, ticket: Ticket, line: Line, now_ns: int, legs: Sequence[Ticket] = ()) -> Ticket:
        """With what it holds back. Raises Refusal: the account cannot carry it."""
        x = self._exchange
        if legs:
            wholes = ticket.qty or ONE
            lots = {contract: leg.side.sign * (leg.qty or ZERO) / wholes for leg in legs if (contract := x.terms[leg.symbol].contract) is not None}
            reserve_px, covered = self._charge(lots, wholes, ticket.price or ZERO)
            return msgspec.structs.replace(ticket, reserve_px=reserve_px, covered=covered)
        if not ticket.opening:
            if (ticket.qty or ZERO) > abs(x.position(line.name)) - x.held(line.name):
                raise Refusal(201, "Order rejected - reason:the order would turn the position around, which is not modelled here")
            return ticket
        contract = x.terms[line.name].contract
        if contract is not None:
            net = ticket.side.sign * (ticket.price or self._touch(line, ticket.side))
            reserve_px, covered = self._charge({contract: ticket.side.sign * ONE}, ticket.qty or ZERO, net)
            return msgspec.structs.replace(ticket, reserve_px=reserve_px, covered=covered)
        if line.sec_type == "FUT" and now_ns >= x.terms[line.name].expires_ns:
            raise Refusal(201, "Order rejected - reason:The contract has expired.")
        if ticket.side is Side.SELL and line.sec_type != "FUT" and (x.multiplier == ONE or line.sec_type != "STK"):
            raise Refusal(201, "Order rejected - reason:The contract is not available for short sale.")
        price = max(ticket.price or ZERO, ticket.stop_px or ZERO, ZERO if ticket.price else self._touch(line, Side.BUY) * _SLACK)
        reserve_px = price * line.units * line.margin
        if (ticket.notional or (ticket.qty or ZERO) * reserve_px) > self.available(now_ns):
            raise Refusal(201, _TOO_DEAR)
        return msgspec.structs.replace(ticket, reserve_px=reserve_px)

    def available(self, now_ns: int) -> Decimal:
        """Money that nothing ties up: of futures their margin does, and not what they are worth."""
        x = self._exchange
        if x.multiplier != ONE:
            return x.buying_power(now_ns)
        held = [(self._contracts.universe.lines[name].margin, x.worth(name, qty, now_ns)) for name, qty in self._futures()]
        return max(ZERO, x.cash + sum((worth - abs(worth) * margin for margin, worth in held), ZERO) - x.reserved - x.tied(x.contracts()).cash)

    def _futures(self) -> list[tuple[str, Decimal]]:
        return [(name, qty) for name, qty in self._exchange.positions() if self._contracts.universe.lines[name].sec_type == "FUT"]

    def cash(self, now_ns: int) -> Decimal:
        """The balance of money, with what futures have made up to now."""
        return self._exchange.cash + sum((self._exchange.worth(name, qty, now_ns) for name, qty in self._futures()), ZERO)

    def futures_pnl(self, now_ns: int) -> Decimal:
        """What of it they made since the last day's end."""
        return sum((self._exchange.worth(name, qty, now_ns) for name, qty in self._futures()), ZERO) - sum(self._basis.values(), ZERO)

    def settle(self, now_ns: int) -> None:
        """A day of futures is over."""
        self._basis = {name: self._exchange.worth(name, qty, now_ns) for name, qty in self._futures()}

    def _touch(self, line: Line, side: Side) -> Decimal:
        """What a buy may have to pay, or a sell gets at least from the best bid."""
        tick, unit = self._exchange.market.latest(line.name, self.now_ns), self._exchange.market.listings[line.name].unit
        if side is Side.BUY:
            return tick.asks[-1][0] * unit
        return tick.bids[0][0] * unit if tick.bids else ZERO

    def _charge(self, lots: Mapping[Contract, Decimal], wholes: Decimal, net: Decimal) -> tuple[Decimal, Decimal]:
        """Money and shares that each unit holds back: what the positions tie up more after it than before, and what it costs. Raises Refusal."""
        x, underlying = self._exchange, next(iter(lots)).underlying
        before = x.contracts()
        for order in x.open_orders():  # shorts that are on their way to be bought back need no cover
            contract = x.terms[order.symbol].contract
            if contract in before and order.order_id not in x.wholes and not order.ticket.opening and order.side is Side.BUY:
                before[contract] += (order.qty or ZERO) - order.filled_qty
        after = dict(before)
        for contract, ratio in lots.items():
            after[contract] = after.get(contract, ZERO) + ratio * wholes
        had, has = x.tied(before), x.tied(after)
        bare = has.shares.get(underlying, ZERO) - had.shares.get(underlying, ZERO)
        if bare > 0 and bare > x.position(underlying) - x.held(underlying):
            raise Refusal(201, "Order rejected - reason:Uncovered option orders are not allowed in this account.")
        cost = has.cash - had.cash + net * MULTIPLIER * wholes
        if cost > 0 and cost > self.available(self.now_ns):
            raise Refusal(201, _TOO_DEAR)
        return max(ZERO, cost) / wholes, max(ZERO, bare) / wholes

    def _release(self, placed: Placed, now_ns: int) -> None:
        """Let an order work, with those that waited for it: parent and exits, or exits alone."""
        waiting = [other for other in self.placed.values() if other.order is None and not other.withdrawn and _kin(other, placed)]
        group = waiting if placed in waiting else [*waiting, placed]
        try:
            self._work(group, now_ns)
        except Refusal as refusal:
            for one in group:
                one.withdrawn = True
                self._send(one.client_id, error(one.form.order_id, refusal.code, refusal.text))
                self._send(one.client_id, order_status(self.show(one)))

    def _work(self, group: Sequence[Placed], now_ns: int) -> None:
        x = self._exchange
        if len(group) == 1:
            (one,) = group
            ticket = self._admitted(one.ticket, one.line, now_ns, one.legs)
            self._bind(one, x.submit_legs(ticket, one.legs, now_ns) if one.legs else x.submit(ticket, now_ns))
            return
        entry = next((one for one in group if not one.form.parent_id), None) if any(one.form.parent_id for one in group) else None
        exits = [one for one in group if one is not entry]
        contingency = Contingency.OCO if entry is None else Contingency.BRACKET if len(exits) > 1 else Contingency.OTO
        entered = None if entry is None else self._admitted(msgspec.structs.replace(entry.ticket, contingency=contingency), entry.line, now_ns)
        tickets = [msgspec.structs.replace(one.ticket, contingency=contingency, opening=False) for one in exits]
        if entry is None:
            self._admitted(tickets[0], exits[0].line, now_ns)
        right = entered is None or (entered.opening and all(ticket.side is entered.side.opposite for ticket in tickets))
        if not right or any(ticket.qty != group[0].ticket.qty for ticket in tickets) or sum(not ticket.waits for ticket in tickets) > 1:
            raise Refusal(201, "Order rejected - reason:an entry and exits for all of it are what is modelled here")
        order = sorted(range(len(exits)), key=lambda place: tickets[place].waits)
        made = x.submit_linked(entered, [tickets[place] for place in order], now_ns)
        members = [x.orders[name] for name in made.members]
        for one, member in zip(([] if entry is None else [entry]) + [exits[place] for place in order], members, strict=True):
            self._bind(one, member)

    def _bind(self, placed: Placed, order: SimOrder) -> None:
        placed.order = order
        for one in (order, *self._exchange.legs(order)):
            self._of[one.order_id] = placed

    def _try(self, client_id: int, form: Form, line: Line, admitted: Ticket, now_ns: int) -> None:
        """What the order would tie up; nothing comes of it."""
        before = self._exchange.equity(now_ns) - self.available(now_ns)
        change = admitted.reserve_px * (admitted.qty or ZERO)
        placed = Placed(form=form, line=line, client_id=client_id, perm_id=0, created_ns=now_ns, ticket=admitted)
        fee = change * self._exchange.terms[line.name].taker_fee
        shown = msgspec.structs.replace(self.show(placed), margins=(before, change, before + change), commission=fee, status="PreSubmitted")
        self._send(client_id, open_order(shown))

    def _change(self, placed: Placed, form: Form, now_ns: int) -> None:
        """The same number again: price, size, duration. Raises Refusal, which is about the change alone."""
        order, asked = placed.order, placed.form
        if order is None:
            if placed.withdrawn:
                raise Refusal(104, "Cannot modify a filled order.")
            placed.form, placed.ticket = form, self._ticket(form, placed.line, now_ns)
            if form.transmit:
                self._release(placed, now_ns)
            return
        if order.ord_status.terminal:
            raise Refusal(104, "Cannot modify a filled order.")
        if order.ord_status in _BUSY or order.ord_status is OrdStatus.PENDING_NEW or order.order_id in self._exchange.groups or placed.legs:
            raise Refusal(2102, "Unable to modify this order as its still being processed.")
        if (form.action, form.order_type, form.ref) != (asked.action, asked.order_type, asked.ref) or form.contract.con_id not in (
            0,
            placed.line.con_id,
        ):
            raise Refusal(105, "Order being modified does not match original order.")
        ticket = self._ticket(form, placed.line, now_ns)
        ticket = msgspec.structs.replace(ticket, opening=order.ticket.opening, reserve_px=order.ticket.reserve_px)
        if ticket.opening and ticket.price is not None:
            ticket = msgspec.structs.replace(ticket, reserve_px=ticket.price * placed.line.units * placed.line.margin)
            if ticket.reserve_px * (ticket.qty or ZERO) - order.reserve > self.available(now_ns):
                raise Refusal(201, "Order rejected - reason:YOUR ORDER IS NOT ACCEPTED.")
        placed.wanted = form
        self._exchange.amend(order, ticket, now_ns)

    def cancel(self, client_id: int, order_id: int, now_ns: int) -> None:
        """A request. Raises Refusal: unknown, or over."""
        placed = self.find(client_id, order_id)
        if placed is None:
            raise Refusal(10147, f"OrderId {order_id} that needs to be cancelled is not found.")
        if placed.order is None and not placed.withdrawn:
            placed.withdrawn = True
            self._send(client_id, order_status(self.show(placed)))
            return
        if placed.order is None or placed.order.ord_status.terminal:
            raise Refusal(10148, f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {self._status(placed)}.")
        self._cancel(placed.order, now_ns)

    def cancel_all(self, now_ns: int) -> None:
        """Every client's, and those placed by hand."""
        for placed in self.placed.values():
            if placed.order is not None and not placed.order.ord_status.terminal:
                self._cancel(placed.order, now_ns)

    def _cancel(self, order: SimOrder, now_ns: int) -> None:
        if order.ord_status is OrdStatus.PENDING_REPLACE:
            self._unwanted.add(order.order_id)
        elif order.ord_status is not OrdStatus.PENDING_CANCEL:
            self._exchange.cancel(order, now_ns)

    # -- outward ---------------------------------------------------------------------------------------------------------------------------------

    def show(self, placed: Placed) -> Shown:
        """An order as TWS shows it now."""
        order = placed.order
        form, stop = placed.form, None if order is None else order.stop_px
        if form.order_type == "TRAIL":
            form = msgspec.structs.replace(form, trail_stop=stop)
        return Shown(
            form=form,
            line=placed.line,
            client_id=placed.client_id,
            perm_id=placed.perm_id,
            status=self._status(placed),
            qty=form.qty if order is None or order.qty is None or form.cash_qty else order.qty,  # what its sibling fills an exit shrinks by
            filled=ZERO if order is None else order.filled_qty,
            avg_px=ZERO if order is None or order.avg_px is None else order.avg_px.quantize(Decimal("0.00000001")),
            last_px=placed.last_px,
            limit=placed.form.limit,
            aux=stop if placed.form.order_type in ("STP", "STP LMT") and stop is not None else placed.form.aux,
            why_held=_held(order),
            commission=placed.fees or None,
            legs=form.legs,
        )

    @staticmethod
    def _status(placed: Placed) -> str:
        if placed.order is None:
            return "Inactive" if placed.withdrawn else "PendingSubmit"
        if _held(placed.order) and not placed.order.ord_status.terminal and placed.order.ord_status is not OrdStatus.PENDING_CANCEL:
            return "PreSubmitted"
        return _STATUS[placed.order.ord_status]

    def open(self, client_id: int | None) -> Iterable[bytes]:
        """What works, each with its status; None: everybody's."""
        for placed in self.placed.values():
            if client_id in (None, placed.client_id) and placed.order is not None and not placed.order.ord_status.terminal:
                shown = self.show(placed)
                yield open_order(shown)
                yield order_status(shown)

    def completed(self, since_ns: int) -> Iterable[bytes]:
        """What ended today."""
        for placed in self.placed.values():
            order = placed.order
            if order is not None and order.ord_status.terminal and order.updated_ns >= since_ns:
                yield completed_order(self.show(placed), order.updated_ns)

    def executions(self, request_id: int, since_ns: int) -> Iterable[bytes]:
        """Today's, each with its fee."""
        for done, placed, line in self.told:
            if done.transact_ns >= since_ns and (line.sec_type == "BAG" or done.exec_id in self._exchange.executions):
                yield from self._execution(request_id, done, placed, line)

    def _execution(self, request_id: int, done: Execution, placed: Placed, line: Line) -> Sequence[bytes]:
        """Execution and fee. What an order of several legs comes to as a whole is told without a fee: its legs have theirs."""
        form = placed.form
        exchange = "ISLAND" if line.exchange == "SMART" else line.exchange
        avg = done.price if placed.order is None or placed.order.avg_px is None else placed.order.avg_px.quantize(Decimal("0.00000001"))
        told = join(
            *(Tells.EXECUTION, request_id, form.order_id, *head(line), exchange, line.currency, line.local_symbol, line.trading_class),
            *(
                exec_name(done.exec_id, leg=line is not placed.line),
                when(done.transact_ns),
                self._account,
                exchange,
                "BOT" if done.side is Side.BUY else "SLD",
                done.qty,
                done.price,
            ),
            *(placed.perm_id, placed.client_id, 0, done.cum_qty, avg, form.ref, "", "", "", 1 if done.maker else 2, 0),
        )
        if line.sec_type == "BAG":
            return (told,)
        fee = join(Tells.COMMISSION, 1, exec_name(done.exec_id, leg=line is not placed.line), done.fee, HOME, UNSET, UNSET, "")
        return (fee, told) if self.commission_first else (told, fee)

    def record(self, event: Event) -> None:
        """Tell the client that placed it."""
        placed = self._of.get(event.order.order_id)
        if placed is None or placed.order is None:
            return
        to, done = placed.client_id, event.execution
        match event.exec_type:
            case ExecType.TRADE if placed.legs:
                self._record_leg(placed, done, event.transact_ns)
            case ExecType.TRADE if done is not None:
                placed.last_px, placed.fees = done.price, placed.fees + done.fee
                if placed.line.sec_type == "FUT":
                    paid = done.side.sign * done.qty * done.price * placed.line.units
                    self._basis[placed.line.name] = self._basis.get(placed.line.name, ZERO) + paid
                self.told.append((done, placed, placed.line))
                shown = self.show(placed)
                first, second = self._execution(LIVE, done, placed, placed.line)
                for message in (first, open_order(shown), order_status(shown), second):
                    self._send(to, message)
                self._tell_siblings(placed)
            case ExecType.REPLACED:
                placed.form, placed.wanted = placed.wanted or placed.form, None
                self._tell(placed)
            case ExecType.REPLACE_REJECTED:
                placed.wanted = None
                self._send(to, error(placed.form.order_id, 104, "Cannot modify a filled order."))
            case ExecType.CANCEL_REJECTED:
                text = f"OrderId {placed.form.order_id} that needs to be cancelled cannot be cancelled, state: {self._status(placed)}."
                self._send(to, error(placed.form.order_id, 10148, text))
            case ExecType.CANCELED | ExecType.EXPIRED | ExecType.REJECTED:
                self._send(to, order_status(self.show(placed)))
                self._send(to, error(placed.form.order_id, 202, "Order Canceled - reason:"))
            case ExecType.PENDING_CANCEL:
                self._send(to, order_status(self.show(placed)))
            case ExecType.PENDING_NEW | ExecType.NEW:
                self._tell(placed)
        order = placed.order
        if order.order_id in self._unwanted and event.exec_type in (ExecType.REPLACED, ExecType.REPLACE_REJECTED):
            self._unwanted.discard(order.order_id)
            if not order.ord_status.terminal and order.ord_status not in _BUSY:
                self._exchange.cancel(order, event.transact_ns)

    def _record_leg(self, placed: Placed, done: Execution | None, now_ns: int) -> None:
        """Legs fill one after the other, and then the whole is told: as one execution, which is the sum of its legs', and each of theirs."""
        if done is not None:
            placed.filled.append(done)
            placed.fees += done.fee
            return
        order, legs, placed.filled = placed.order, placed.filled, []
        assert order is not None
        ratio = (placed.legs[0].qty or ONE) / (placed.ticket.qty or ONE)
        units = legs[0].qty / ratio
        placed.last_px = sum((leg.side.sign * leg.qty * leg.price for leg in legs), ZERO) / units
        sold = placed.form.action == "SELL"
        whole = msgspec.structs.replace(
            legs[0],
            exec_id=self._exchange.new_id(),
            side=Side.SELL if sold else Side.BUY,
            qty=units,
            price=-placed.last_px if sold else placed.last_px,
            fee=ZERO,
            cum_qty=order.filled_qty,
            transact_ns=now_ns,
        )
        self.told.append((whole, placed, placed.line))
        self.told += [(leg, placed, self._contracts.universe.lines[leg.symbol]) for leg in legs]
        for told, _, line in self.told[-len(legs) - 1 :]:
            for message in self._execution(LIVE, told, placed, line):
                self._send(placed.client_id, message)
        self._tell(placed)

    def _tell_siblings(self, placed: Placed) -> None:
        """Exits have shrunk by what one of them filled."""
        assert placed.order is not None
        group = self._exchange.groups.get(placed.order.order_id)
        if group is not None and placed.order.order_id in group.exits:
            for name in group.exits:
                other = self._of.get(name)
                if other is not None and other is not placed and other.order is not None and not other.order.ord_status.terminal:
                    self._tell(other)

    def _tell(self, placed: Placed) -> None:
        shown = self.show(placed)
        self._send(placed.client_id, open_order(shown))
        self._send(placed.client_id, order_status(shown))


def exec_name(exec_id: str, *, leg: bool) -> str:
    """How TWS calls an execution: a leg's has one part more.

    >>> exec_name("0000e0d5.67fe667b.01.01", leg=True)
    '0000e0d5.67fe667b.02.01.01'
    """
    return f"{exec_id[:-6]}.02.01.01" if leg else exec_id


def _kin(one: Placed, other: Placed) -> bool:
    """Whether two orders of a client belong together: parent and child, two children of one parent, or one group."""
    if one.client_id != other.client_id or one is other:
        return False
    a, b = one.form, other.form
    parents = {a.parent_id or a.order_id, b.parent_id or b.order_id}
    return (bool(a.parent_id or b.parent_id) and len(parents) == 1) or (bool(a.oca_group) and a.oca_group == b.oca_group)


def _held(order: SimOrder | None) -> str:
    """Why an order does not work yet."""
    if order is None or order.ord_status.terminal:
        return ""
    if order.dormant:
        return "child"
    return "trigger" if order.ticket.waits and not order.triggered else ""
