"""The account's REST surface of the twin: profile, balances, positions, orders, history, gains and losses, and how an order looks on the wire."""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from trading_system.brokers.tradier import wire
from trading_system.brokers.tradier.twin.forms import (
    Denied,
    Refusal,
    answer,
    business,
    cents,
    container,
    instant,
    number,
    parameter,
    today,
    when,
    words,
)
from trading_system.brokers.tradier.twin.rules import GROUPS, NET, WHOLE, Form, Rules, amount
from trading_system.brokers.tradier.twin.universe import Universe
from trading_system.domain.fix import ExecType, OrdStatus, Side
from trading_system.domain.money import ONE, ZERO, plain
from trading_system.sim.exchange import ASSIGNED, EXERCISED, EXPIRED, Event, Exchange, Execution, FeePosting, Settlement, SimOrder, Ticket
from trading_system.sim.sessions import new_york_ns
from trading_system.transport.message import Response

HISTORY_LIMIT = 25
GAINS_LIMIT = 100
ORDERS_PAGE = 200
_STATUS = {
    OrdStatus.PENDING_NEW: "pending",
    OrdStatus.NEW: "open",
    OrdStatus.PARTIALLY_FILLED: "partially_filled",
    OrdStatus.FILLED: "filled",
    OrdStatus.CANCELED: "canceled",
    OrdStatus.EXPIRED: "expired",
    OrdStatus.REJECTED: "rejected",
}
_BUSY = (OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE)  # how it stands says what is filled
_SETTLED = {EXERCISED: "exercise", ASSIGNED: "assignment", EXPIRED: "expiration"}
_AVERAGE = Decimal("0.00000001")


class Placed(msgspec.Struct, kw_only=True):
    """One order as it was sent: its number, its words, and the exchange's orders for it; none where it was rejected."""

    number: str
    form: Mapping[str, str]
    created_ns: int
    orders: list[str] = []  # of linked ones the entry first, of others one
    parts: list[str] = []  # numbers of the parts of one that was rejected
    reason: str = ""

    @property
    def kind(self) -> str:
        return self.form["class"]

    @property
    def tag(self) -> str:
        return self.form.get("tag", "")


class _Booked(msgspec.Struct, frozen=True):
    day: date
    amount: Decimal
    kind: str
    detail: wire.HistoryDetail


class TradingDesk:
    """Everything below /accounts. The exchange holds the state; this holds what was sent, and what is told of it at night."""

    def __init__(
        self, universe: Universe, exchange: Exchange, rules: Rules, *, account: str, start_ns: int, price_gap_ns: int, option_level: int
    ) -> None:
        self.placed: dict[str, Placed] = {}  # by number
        self.posts: Counter[str] = Counter()  # orders received, by tag
        self._universe = universe
        self._exchange = exchange
        self._rules = rules
        self._account = account
        self._live = not account.startswith("VA")
        self._start_ns = start_ns
        self._price_gap_ns = price_gap_ns
        self._option_level = option_level
        self._owner: dict[str, str] = {}  # the exchange's orders: under which number they were sent
        self._last: dict[str, Execution] = {}  # each order's last fill
        self._unwanted: set[str] = set()  # to be cancelled once a change is through
        self._booked: list[_Booked] = []
        self._gains: list[wire.ClosedPosition] = []
        self._cost: dict[str, tuple[Decimal, int]] = {}  # average and since when, by symbol
        self._ids: dict[str, int] = {}  # of positions

    # -- account ---------------------------------------------------------------------------------------------------------------------------------

    def profile(self, name: str, others: list[str]) -> Response:
        """One account stands alone, several are an array."""
        accounts = [
            wire.ProfileAccount(
                account_number=number_, date_created=when(self._start_ns), option_level=self._option_level, last_update_date=when(self._start_ns)
            )
            for number_ in (self._account, *others)
        ]
        return answer({"profile": {"id": "id-twin", "name": name, "account": accounts[0] if len(accounts) == 1 else accounts}})

    def balances(self, now_ns: int) -> Response:
        x = self._exchange
        worth = {symbol: x.worth(symbol, qty, now_ns) for symbol, qty in x.positions()}
        stocks = {symbol: value for symbol, value in worth.items() if symbol in self._universe.stocks}
        options = {symbol: value for symbol, value in worth.items() if symbol not in self._universe.stocks}
        long, short = sum((v for v in worth.values() if v > 0), ZERO), sum((v for v in worth.values() if v < 0), ZERO)
        free = cents(x.free_cash())
        power = wire.Power(
            fed_call=number(ZERO),
            maintenance_call=number(ZERO),
            option_buying_power=free,
            stock_buying_power=cents(x.buying_power(now_ns)),
            stock_short_value=cents(sum((v for v in stocks.values() if v < 0), ZERO)),
            sweep=number(ZERO),
        )
        return answer(
            {
                "balances": wire.Balances(
                    account_number=self._account,
                    account_type="margin",
                    option_short_value=cents(sum((v for v in options.values() if v < 0), ZERO)),
                    total_equity=cents(x.cash + long + short),
                    close_pl=number(ZERO),
                    current_requirement=cents((long - short) / 2),
                    equity=number(ZERO),
                    long_market_value=cents(long),
                    market_value=cents(long + short),
                    open_pl=cents(long + short - sum((self._basis(symbol, qty) for symbol, qty in x.positions()), ZERO)),
                    option_long_value=cents(sum((v for v in options.values() if v > 0), ZERO)),
                    option_requirement=number(ZERO),
                    pending_orders_count=len(x.open_orders()),
                    short_market_value=cents(short),
                    stock_long_value=cents(sum((v for v in stocks.values() if v > 0), ZERO)),
                    total_cash=cents(x.cash),
                    uncleared_funds=number(ZERO),
                    pending_cash=cents(x.reserved),
                    margin=power,
                )
            }
        )

    def _basis(self, symbol: str, qty: Decimal) -> Decimal:
        """What all of a position cost."""
        terms = self._exchange.terms[symbol]
        return self._exchange.avg_px.get(terms.base, ZERO) * qty * terms.multiplier

    def positions(self) -> Response:
        rows = [
            wire.Position(
                cost_basis=cents(self._basis(symbol, qty)),
                date_acquired=when(self._cost.get(symbol, (ZERO, self._start_ns))[1]),
                id=self._ids.setdefault(symbol, 130_089 + len(self._ids)),
                quantity=number(qty),
                symbol=symbol,
            )
            for symbol, qty in self._exchange.positions()
        ]
        return answer(container("positions", "position", rows))

    # -- orders, inward --------------------------------------------------------------------------------------------------------------------------

    def place(self, form: Form, now_ns: int) -> Response:
        """ "ok" is the answer to everything that is an order at all; whether it is taken, its row says."""
        kind = form.get("class", "")
        if kind not in ("equity", "option", *WHOLE, *GROUPS):
            raise parameter("class", "is not a valid order class.")
        tag = self._rules.tag(form)
        if kind == "option" and "option_symbol" not in form:
            raise parameter("option_symbol", "is required.")
        single = self._rules.single(form, now_ns) if kind in ("equity", "option") else None
        several = self._rules.several(form, now_ns) if kind in WHOLE else None
        linked = self._rules.linked(form, now_ns) if kind in GROUPS else None
        if form.get("preview", "").lower() == "true":
            return self._preview(form, single, several, linked, now_ns)
        self.posts[tag] += 1
        placed = Placed(number=self._exchange.new_id(), form=dict(form), created_ns=now_ns)
        try:
            placed.orders = self._take(single, several, linked, now_ns)
        except Denied as denied:
            placed.reason = denied.reason
            placed.parts = [self._exchange.new_id() for _ in _parts_of(form)]
        self.placed[placed.number] = placed
        if kind not in GROUPS and placed.orders:
            self.placed[placed.orders[0]] = self.placed.pop(placed.number)
            placed.number = placed.orders[0]
        for order_id in placed.orders:
            self._owner |= {
                one.order_id: placed.number for one in (self._exchange.orders[order_id], *self._exchange.legs(self._exchange.orders[order_id]))
            }
        return answer({"order": wire.Placed(id=int(placed.number), status="ok", partner_id="twin")})

    def _take(
        self, single: Ticket | None, several: tuple[Ticket, list[Ticket]] | None, linked: tuple[Ticket | None, list[Ticket]] | None, now_ns: int
    ) -> list[str]:
        """Give to the exchange what may work. Raises Denied."""
        if single is not None:
            return [self._exchange.submit(self._rules.admit(single, now_ns), now_ns).order_id]
        if several is not None:
            return [self._exchange.submit_legs(self._rules.admit_whole(*several, now_ns), several[1], now_ns).order_id]
        assert linked is not None
        entry, exits = linked
        admitted = None if entry is None else self._rules.admit(entry, now_ns)
        if entry is None:
            exits = [self._rules.admit(ticket, now_ns) for ticket in exits]
        group = self._exchange.submit_linked(admitted, sorted(exits, key=lambda ticket: ticket.waits), now_ns)
        return list(group.members)

    def _preview(
        self,
        form: Form,
        single: Ticket | None,
        several: tuple[Ticket, list[Ticket]] | None,
        linked: tuple[Ticket | None, list[Ticket]] | None,
        now_ns: int,
    ) -> Response:
        """What it would cost. A rejection that would come later comes at once."""
        ticket = single or (several[0] if several is not None else linked[0] or linked[1][0] if linked is not None else None)
        assert ticket is not None
        try:
            admitted = self._rules.admit_whole(*several, now_ns) if several is not None else self._rules.admit(ticket, now_ns)
        except Denied as denied:
            raise business(denied.reason.partition(":")[0]) from None
        cost = admitted.reserve_px * (admitted.qty or ZERO)
        return answer(
            {
                "order": wire.Preview(
                    status="ok",
                    result=True,
                    commission=number(ZERO),
                    fees=number(ZERO),
                    cost=cents(cost),
                    order_cost=cents(cost),
                    margin_change=cents(cost),
                    symbol=form.get("symbol", ticket.symbol),
                    quantity=number(ticket.qty or ZERO),
                    side=form.get("side"),
                    type=form.get("type"),
                    duration=form.get("duration"),
                    request_date=when(now_ns),
                    extended_hours=ticket.extended,
                    order_class=form["class"],
                    day_trades=0,
                )
            }
        )

    def _find(self, name: str) -> tuple[Placed, list[SimOrder]]:
        """An order or a part of one by its number. Raises Refusal: 401 is how Tradier says that it does not know it (measured, TRA-4484)."""
        placed = self.placed.get(self._owner.get(name, name))
        if placed is None:
            raise Refusal(words(401, f"Unauthorized Account: {self._account}"))
        orders = [self._exchange.orders[order_id] for order_id in placed.orders]
        if placed.number != name:
            orders = [order for order in orders if name in (order.order_id, *(leg.order_id for leg in self._exchange.legs(order)))]
        return placed, orders

    def change(self, name: str, form: Form, now_ns: int) -> Response:
        """Type, duration, price and stop of a working order; what else is sent is ignored. It keeps its number. Of linked orders each part is changed
        by its own."""
        placed, orders = self._find(name)
        order = orders[0] if orders else None
        if order is None or order.ord_status.terminal:
            raise Refusal(words(400, f"order already in finalized state: {'rejected' if order is None else self._status(order)}"))
        if placed.kind in GROUPS and placed.number == name:
            raise parameter("order_id", "of linked orders each is changed by its own number.")
        if order.ord_status not in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED):
            raise parameter("order_id", "the order is not open.")
        ticket = order.ticket
        given = {key: form[key] for key in ("type", "duration", "price", "stop") if key in form}
        if placed.kind in WHOLE:
            sign, price = NET.get(form.get("type", placed.form["type"])), amount(form, "price")
            changed = msgspec.structs.replace(ticket, price=ticket.price if sign is None or price is None else sign * price)
            if ticket.qty is not None and changed.price is not None:
                changed = msgspec.structs.replace(changed, reserve_px=max(ZERO, changed.price) * 100)
        else:
            wanted = self._rules.single({**(_part_of(order) if placed.kind in GROUPS else placed.form), **given}, now_ns)
            if placed.kind in GROUPS:
                wanted = _still_linked(wanted, ticket)
            if wanted.waits and order.triggered:
                raise parameter("stop", "the stop has gone off.")
            if (wanted.price or ZERO) * (order.qty or ZERO) - order.reserve > self._exchange.buying_power(now_ns) and ticket.opening:
                raise business("InitialMargin")
            changed = msgspec.structs.replace(wanted, reserve_px=wanted.price or ticket.reserve_px, covered=ticket.covered, qty=ticket.qty)
        if placed.kind not in GROUPS:
            placed.form = {**placed.form, **given}
        self._exchange.amend(order, changed, now_ns)
        return answer({"order": wire.Placed(id=int(name), status="ok", partner_id="twin")})

    def cancel(self, name: str, now_ns: int) -> Response:
        """A request; repeated it is the same one. A parent's number means all of its parts, a leg's the whole."""
        placed, orders = self._find(name)
        working = [order for order in orders if not order.ord_status.terminal]
        if not working:
            status = "rejected" if not orders else self._status(orders[0])
            raise Refusal(words(400, f"order already in finalized state: {status}"))
        for order in working:
            if order.ord_status is OrdStatus.PENDING_REPLACE:
                self._unwanted.add(order.order_id)
            elif order.ord_status is not OrdStatus.PENDING_CANCEL and not order.ord_status.terminal:
                self._exchange.cancel(order, now_ns)
        return answer({"order": {"id": int(placed.number if placed.number == name else name), "status": "ok"}})

    # -- orders, outward -------------------------------------------------------------------------------------------------------------------------

    def orders(self, query: Form, now_ns: int) -> Response:
        """Of this day in New York. In production what is older and open is there too; in the sandbox the night wipes everything."""
        midnight_ns = new_york_ns(today(now_ns), 0)
        rows = [placed for placed in self.placed.values() if placed.created_ns >= midnight_ns or (self._live and self._working(placed))]
        page, pages = _count(query, "page", 1), max(1, -(-len(rows) // ORDERS_PAGE))
        tags = query.get("includeTags", "").lower() == "true"
        shown = [self.show(placed, now_ns, tags=tags) for placed in rows[(page - 1) * ORDERS_PAGE : page * ORDERS_PAGE]]
        if not shown:
            return answer({"orders": "null"})
        inside = {"order": shown[0] if len(shown) == 1 else shown, "page": page, "total_pages": pages, "total_orders": len(rows)}
        return answer({"orders": inside})

    def _working(self, placed: Placed) -> bool:
        return any(not self._exchange.orders[order_id].ord_status.terminal for order_id in placed.orders)

    def order(self, name: str, query: Form, now_ns: int) -> Response:
        placed, _ = self._find(name)
        return answer({"order": self.show(placed, now_ns, tags=query.get("includeTags", "").lower() == "true")})

    def show(self, placed: Placed, now_ns: int, *, tags: bool) -> wire.Order:
        """An order as its row."""
        row = self._shown(placed, now_ns)
        if tags and placed.tag:
            row.tag = placed.tag
        return row

    def _shown(self, placed: Placed, now_ns: int) -> wire.Order:
        if not placed.orders:
            return self._rejected(placed)
        orders = [self._exchange.orders[order_id] for order_id in placed.orders]
        if placed.kind in GROUPS:
            legs = [self._row(order, placed, now_ns) for order in orders]
            return wire.Order(
                id=int(placed.number),
                status=legs[0].status,
                order_class=placed.kind,
                num_legs=len(legs),
                create_date=when(placed.created_ns),
                transaction_date=when(max(order.updated_ns for order in orders)),
                leg=legs,
            )
        row = self._row(orders[0], placed, now_ns)
        if placed.kind not in WHOLE:
            return row
        legs = [self._row(leg, placed, now_ns) for leg in self._exchange.legs(orders[0])]
        for leg in legs:
            leg.type, leg.price, leg.duration = placed.form["type"], row.price, row.duration
        row.symbol, row.option_symbol, row.num_legs, row.leg = placed.form["symbol"], None, len(legs), legs
        row.strategy = "spread" if placed.kind == "multileg" else None
        row.side, row.order_class = "buy", placed.kind
        return row

    def _row(self, order: SimOrder, placed: Placed, now_ns: int) -> wire.Order:
        """An order of the exchange. That it is filled may stand there before the prices do."""
        last = self._last.get(order.order_id)
        priced = last is None or now_ns - last.transact_ns >= self._price_gap_ns
        option = order.symbol not in self._universe.stocks
        ticket = order.ticket
        net = placed.kind in WHOLE
        return wire.Order(
            id=int(order.order_id),
            type=placed.form["type"] if net else ticket.ord_type.value,
            symbol=self._exchange.terms[order.symbol].contract.underlying if option else order.symbol,  # type: ignore[union-attr]
            side=_verb(ticket, option=option),
            quantity=number(order.qty or ZERO),
            status=self._status(order),
            duration=placed.form.get("duration", "day") if placed.kind not in GROUPS else order.time_in_force.value,
            price=None if order.price is None else number(abs(order.price)),
            stop_price=None if order.stop_px is None else number(order.stop_px),
            avg_fill_price=number((order.avg_px or ZERO).quantize(_AVERAGE)) if priced else number(ZERO),
            exec_quantity=number(order.filled_qty),
            last_fill_price=number(last.price) if last is not None and priced else number(ZERO),
            last_fill_quantity=number(last.qty if last is not None else ZERO),
            remaining_quantity=number(ZERO if order.ord_status.terminal else (order.qty or ZERO) - order.filled_qty),
            create_date=when(order.submitted_ns),
            transaction_date=when(order.updated_ns),
            order_class="option" if option else "equity",
            option_symbol=order.symbol if option else None,
        )

    def _rejected(self, placed: Placed) -> wire.Order:
        """The row of an order that never worked, from its own words."""
        form, at = placed.form, when(placed.created_ns)
        one = _parts_of(form) or [dict(form)]
        rows = [
            wire.Order(
                id=int(placed.parts[place] if placed.parts else placed.number),
                type=part.get("type", form.get("type", "")),
                symbol=part.get("symbol", form.get("symbol", "")),
                side=part["side"],
                quantity=number(Decimal(part["quantity"])),
                status="rejected",
                duration=part.get("duration", form.get("duration", "")),
                price=None if "price" not in part else number(Decimal(part["price"])),
                stop_price=None if "stop" not in part else number(Decimal(part["stop"])),
                avg_fill_price=number(ZERO),
                exec_quantity=number(ZERO),
                last_fill_price=number(ZERO),
                last_fill_quantity=number(ZERO),
                remaining_quantity=number(ZERO),
                create_date=at,
                transaction_date=at,
                order_class="option" if "option_symbol" in part else "equity",
                option_symbol=part.get("option_symbol"),
                reason_description=placed.reason,
            )
            for place, part in enumerate(one)
        ]
        if not placed.parts:
            return rows[0]
        whole = wire.Order(id=int(placed.number), status="rejected", order_class=placed.kind, num_legs=len(rows), leg=rows, create_date=at)
        whole.transaction_date, whole.reason_description = at, placed.reason
        if placed.kind in WHOLE:
            whole.type, whole.symbol, whole.side, whole.duration = form["type"], form["symbol"], "buy", form["duration"]
            whole.price = None if "price" not in form else number(Decimal(form["price"]))
            whole.quantity = number(ONE)
        return whole

    @staticmethod
    def _status(order: SimOrder) -> str:
        if order.dormant and not order.ord_status.terminal:
            return "held"
        if order.ord_status in _BUSY:
            return "partially_filled" if order.filled_qty else "open"
        return _STATUS[order.ord_status]

    def event(self, event: Event) -> wire.AccountEvent:
        """What the stream says of it: enough to ask."""
        order, owner = event.order, self._owner.get(event.order.order_id, event.order.order_id)
        done = event.execution
        return wire.AccountEvent(
            event="order",
            id=int(order.order_id),
            status=self._status(order),
            type=order.ticket.ord_type.value,
            price=number(order.price or ZERO),
            stop_price=number(order.stop_px or ZERO),
            avg_fill_price=number((order.avg_px or ZERO).quantize(_AVERAGE)),
            executed_quantity=number(order.filled_qty),
            last_fill_quantity=number(done.qty if done is not None else ZERO),
            remaining_quantity=number(ZERO if order.ord_status.terminal else (order.qty or ZERO) - order.filled_qty),
            transaction_date=when(event.transact_ns),
            create_date=when(order.submitted_ns),
            account=self._account,
            parent_id=int(owner) if owner != order.order_id else None,
            tag=self.placed[owner].tag or None if owner in self.placed else None,
        )

    def denied_event(self, placed: Placed) -> wire.AccountEvent:
        at = when(placed.created_ns)
        return wire.AccountEvent(event="order", id=int(placed.number), status="rejected", transaction_date=at, create_date=at, account=self._account)

    # -- what happened ---------------------------------------------------------------------------------------------------------------------------

    def record(self, event: Event | FeePosting | Settlement) -> None:
        """Keep what the account's history and gains will tell; a cancel that waited for a change goes its way."""
        if isinstance(event, Settlement):
            self._settled(event)
        elif isinstance(event, Event):
            if event.execution is not None and event.exec_type is ExecType.TRADE:
                self._traded(event.execution, event.order.ticket)
            order = self._exchange.orders[event.order.order_id]
            if order.order_id in self._unwanted and event.exec_type in (ExecType.REPLACED, ExecType.REPLACE_REJECTED):
                self._unwanted.discard(order.order_id)
                if not order.ord_status.terminal and order.ord_status not in _BUSY:
                    self._exchange.cancel(order, event.transact_ns)

    def _traded(self, done: Execution, ticket: Ticket) -> None:
        """Tradier names no executions: here each is called by its order and by what is filled with it."""
        name = f"{done.order_id}-{format(done.cum_qty.normalize(), 'f')}"
        del self._exchange.executions[done.exec_id]
        done = msgspec.structs.replace(done, exec_id=name)
        self._exchange.executions[name] = done
        self._last[done.order_id] = done
        terms = self._exchange.terms[done.symbol]
        amount_ = -done.side.sign * done.qty * done.price * terms.multiplier
        detail = wire.HistoryDetail(
            commission=number(ZERO),
            description=done.symbol,
            price=number(done.price),
            quantity=number(done.side.sign * done.qty),
            symbol=done.symbol,
            trade_type="Equity" if terms.contract is None else "Option",
        )
        self._book("trade", amount_, detail, done.transact_ns)
        average, since_ns = self._cost.get(done.symbol, (done.price, done.transact_ns))
        if ticket.opening:
            held = abs(done.position_qty) - done.qty
            average = (held * average + done.qty * done.price) / (held + done.qty)
            self._cost[done.symbol] = (average, since_ns if held else done.transact_ns)
            return
        units = done.qty * terms.multiplier
        bought, sold = (average, done.price) if done.side is Side.SELL else (done.price, average)
        cost, proceeds = bought * units, sold * units
        self._gains.append(
            wire.ClosedPosition(
                close_date=f"{today(done.transact_ns)}T00:00:00.000Z",
                cost=cents(cost),
                gain_loss=cents(proceeds - cost),
                gain_loss_percent=cents((proceeds - cost) / cost * 100 if cost else ZERO),
                open_date=f"{today(since_ns)}T00:00:00.000Z",
                proceeds=cents(proceeds),
                quantity=number(done.qty),
                symbol=done.symbol,
                term=(today(done.transact_ns) - today(since_ns)).days,
            )
        )
        if not done.position_qty:
            self._cost.pop(done.symbol, None)

    def _settled(self, done: Settlement) -> None:
        """The contract that ends, and the shares that come or go at its strike."""
        detail = wire.HistoryDetail(option_type=_SETTLED[done.kind], description=_SETTLED[done.kind], quantity=number(-done.qty), symbol=done.symbol)
        self._book("option", ZERO, detail, done.transact_ns)
        if done.shares:
            more = wire.HistoryDetail(option_type=_SETTLED[done.kind], description="shares", quantity=number(done.shares), symbol=done.underlying)
            self._book("option", -done.shares * done.price, more, done.transact_ns)

    def transfer(self, amount_: Decimal, now_ns: int) -> None:
        """The owner pays in, or takes out where the amount is below zero."""
        self._exchange.deposit("USD", amount_)
        self._book("ach", amount_, wire.HistoryDetail(description="ACH", quantity=number(ZERO)), now_ns)

    def dividend(self, symbol: str, per_share: Decimal, now_ns: int) -> None:
        """Paid on what is held."""
        money = self._exchange.position(symbol) * per_share
        self._exchange.deposit("USD", money)
        self._book("dividend", money, wire.HistoryDetail(description=f"{symbol} DIVIDEND", quantity=number(ZERO), symbol=symbol), now_ns)

    def _book(self, kind: str, amount_: Decimal, detail: wire.HistoryDetail, at_ns: int) -> None:
        self._booked.append(_Booked(today(at_ns), cents(amount_), kind, detail))

    def history(self, query: Form, now_ns: int) -> Response:
        """Written at night: nothing of today is there. The sandbox has none."""
        kinds = set(filter(None, query.get("type", "").split(",")))
        first, last = _span(query)
        rows = [
            {"amount": row.amount, "date": f"{row.day.isoformat()}T00:00:00Z", "type": row.kind, row.kind: row.detail}
            for row in reversed(self._booked)
            if self._live
            and row.day < today(now_ns)
            and first <= row.day <= last
            and (not kinds or row.kind in kinds)
            and query.get("symbol", row.detail.symbol) == row.detail.symbol
        ]
        return answer(container("history", "event", _page(rows, query, HISTORY_LIMIT)))

    def gains(self, query: Form, now_ns: int) -> Response:
        """Written at night, as history is; a day of New York is written as midnight in UTC."""
        first, last = _span(query)
        by = {"openDate": "open_date", "closeDate": "close_date"}.get(query.get("sortBy", "closeDate"))
        if by is None:
            raise parameter("sortBy", "is not valid.")
        rows = [
            row
            for row in sorted(self._gains, key=lambda row: str(getattr(row, by)), reverse=query.get("sort", "desc") == "desc")
            if first <= date.fromisoformat(row.close_date[:10]) <= last
            and date.fromisoformat(row.close_date[:10]) < today(now_ns)
            and query.get("symbol", row.symbol) == row.symbol
        ]
        return answer(container("gainloss", "closed_position", _page(rows, query, GAINS_LIMIT)))


def _part_of(order: SimOrder) -> Form:
    """A part of linked stock orders as a form would have it."""
    words_ = {"symbol": order.symbol, "side": _verb(order.ticket, option=False), "quantity": plain(order.qty or ZERO)}
    words_ |= {"type": order.ticket.ord_type.value, "duration": order.time_in_force.value, "tag": order.ticket.cl_ord_id}
    words_ |= {name: plain(px) for name, px in (("price", order.price), ("stop", order.stop_px)) if px is not None}
    return {name: word for name, word in words_.items() if word}


def _still_linked(wanted: Ticket, ticket: Ticket) -> Ticket:
    """What a part may become: its exits go on differing in type and lasting as long as each other. Raises Refusal."""
    if wanted.ord_type is not ticket.ord_type:
        raise parameter("type", "the type of linked orders cannot be changed.")
    if wanted.time_in_force is not ticket.time_in_force:
        raise business("OcoExpirationTypeNotTheSame")
    return msgspec.structs.replace(wanted, contingency=ticket.contingency)


def _verb(ticket: Ticket, *, option: bool) -> str:
    if option:
        return f"{ticket.side.value}_to_{'open' if ticket.opening else 'close'}"
    return {(Side.BUY, True): "buy", (Side.BUY, False): "buy_to_cover", (Side.SELL, False): "sell", (Side.SELL, True): "sell_short"}[
        ticket.side, ticket.opening
    ]


def _words_of(form: Form, mark: str) -> dict[str, str]:
    return {name.removesuffix(mark): value for name, value in form.items() if name.endswith(mark)}


def _parts_of(form: Form) -> list[dict[str, str]]:
    """The words of each part; a single order has none."""
    return [_words_of(form, f"[{place}]") for place in range(4) if f"side[{place}]" in form]


def _count(query: Form, name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or not int(text):
        raise parameter(name, "must be a positive whole number.")
    return int(text)


def _page(rows: list[object] | list[dict[str, object]] | list[wire.ClosedPosition], query: Form, limit: int) -> list[object]:
    size, page = _count(query, "limit", limit), _count(query, "page", 1)
    return list(rows[(page - 1) * size : page * size])


def _span(query: Form) -> tuple[date, date]:
    days = [today(instant(query[name], name)) if name in query else default for name, default in (("start", date.min), ("end", date.max))]
    return days[0], days[1]
