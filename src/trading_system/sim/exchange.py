"""One account at a simulated exchange: orders with latency, cancels and replaces that can lose the race, fills from the book's depth.

Apart from any broker's twin, which puts the broker's rules and words around it: what a broker would refuse is refused there, before submit(). Nothing
here looks at a clock: every call brings its time, advance() lets latencies, market ticks and session ends happen, take_events() tells of them.
Every amount that moves is posted between holdings, street and fees, so that the three always sum to what was deposited.
"""

import copy
import heapq
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_UP, Decimal
from random import Random

import msgspec

from trading_system.domain.fix import Contingency, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.money import ONE, ZERO
from trading_system.domain.option import Contract, Right
from trading_system.sim.linked import Group
from trading_system.sim.margin import Need, need
from trading_system.sim.market import LOT, TICK_NS, TICKS, Market
from trading_system.sim.matching import MARKET, Book, Match
from trading_system.sim.sessions import DAY_NS, MINUTE_NS, Sessions, new_york_day, new_york_ns

GTC_LIFE_NS = 90 * DAY_NS


class Latency(msgspec.Struct, frozen=True):
    """How long the exchange takes, each as (least, most) in nanoseconds."""

    ack_ns: tuple[int, int] = (5_000_000, 40_000_000)
    cancel_ns: tuple[int, int] = (5_000_000, 40_000_000)
    replace_ns: tuple[int, int] = (5_000_000, 40_000_000)


NO_LATENCY = Latency((0, 0), (0, 0), (0, 0))


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How one symbol settles here. base is what a buy is credited with; fees are fractions of the credited asset, or of the money; where there is an
    index, of what that is worth, and of the money no more than fee_cap. A price is of one of `multiplier` units that each quantity is about; of an
    inverse contract it is how many of it make one of its money, which moves only when it is closed, by what that made."""

    base: str
    maker_fee: Decimal = ZERO
    taker_fee: Decimal = ZERO
    fees_in_money: bool = False  # of contracts, of which nothing can be taken
    index: str = ""
    fee_cap: Decimal = ONE
    multiplier: Decimal = ONE
    inverse: bool = False
    money: str = ""  # what it is paid in, where that is not the exchange's
    contract: Contract | None = None
    expires_ns: int = 0  # of an option, and of a future


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. Exactly one of qty and notional; reserve_px is the price at which an order that opens holds money back. A trailing stop has
    exactly one of trail_px (money) and trail_pct."""

    symbol: str
    cl_ord_id: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    qty: Decimal | None = None
    notional: Decimal | None = None
    price: Decimal | None = None
    stop_px: Decimal | None = None
    trail_px: Decimal | None = None
    trail_pct: Decimal | None = None
    collar: Decimal | None = None  # a triggered stop becomes a limit order at this price
    extended: bool = False
    post_only: bool = False  # what would take is cancelled
    reserve_px: Decimal = ZERO
    opening: bool  # what opens holds money, what closes holds quantity
    covered: Decimal = ZERO  # units of the underlying that each contract holds back as well
    fee_asset: str = ""  # what fees are taken from: the money or the base; "": from what is credited
    contingency: Contingency = Contingency.NONE  # what the broker calls the order's group

    @property
    def trails(self) -> bool:
        return self.ord_type is OrdType.TRAILING_STOP

    @property
    def waits(self) -> bool:
        """Whether the market has to reach a price before the order works."""
        return self.ord_type.has_stop or self.trails

    def trailed(self, hwm: Decimal, unit: Decimal) -> Decimal:
        """Where a trailing stop stands for this water mark: on the book's grid, never nearer than asked.

        >>> ticket = Ticket(symbol="A", cl_ord_id="a", side=Side.SELL, ord_type=OrdType.TRAILING_STOP, time_in_force=TimeInForce.DAY,
        ...                 qty=ONE, trail_pct=Decimal("1.5"), opening=False)
        >>> ticket.trailed(Decimal("230.17"), Decimal("0.0001"))
        Decimal('226.7174')
        """
        distance = self.trail_px if self.trail_px is not None else hwm * (self.trail_pct or ZERO) / 100
        rounding = ROUND_CEILING if self.side is Side.BUY else ROUND_FLOOR
        return ((hwm + self.side.sign * distance) / unit).to_integral_value(rounding) * unit


class SimOrder(msgspec.Struct, kw_only=True):
    """An order as the exchange keeps it; the twin shows it in its broker's words. Times are 0 until they happen."""

    order_id: str
    ticket: Ticket
    cl_ord_id: str
    ord_status: OrdStatus = OrdStatus.PENDING_NEW
    queued: bool = False  # waits for the session to open
    dormant: bool = False  # waits for the entry of its group
    qty: Decimal | None
    price: Decimal | None
    stop_px: Decimal | None
    hwm: Decimal | None = None  # the best price a trailing stop has seen; its stop_px follows
    time_in_force: TimeInForce
    filled_qty: Decimal = ZERO
    filled_money: Decimal = ZERO
    triggered: bool = False
    reserve: Decimal = ZERO  # money held back
    held: Decimal = ZERO  # quantity held back
    replaces: str | None = None
    replaced_by: str | None = None
    parent: str | None = None  # of a leg: the order of several legs that fills it
    submitted_ns: int
    updated_ns: int
    filled_ns: int = 0
    canceled_ns: int = 0
    expired_ns: int = 0
    failed_ns: int = 0
    replaced_ns: int = 0
    expires_ns: int = 0

    @property
    def symbol(self) -> str:
        return self.ticket.symbol

    @property
    def side(self) -> Side:
        return self.ticket.side

    @property
    def avg_px(self) -> Decimal | None:
        """Of all but inverse contracts, whose money is the other side of their price."""
        return self.filled_money / self.filled_qty if self.filled_qty else None


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One fill of one order; position_qty is signed and after it."""

    exec_id: str
    order_id: str
    symbol: str
    side: Side
    qty: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    realized: Decimal = ZERO  # what closing an inverse contract made, in its money
    maker: bool
    position_qty: Decimal
    cum_qty: Decimal
    leaves_qty: Decimal
    transact_ns: int


class Event(msgspec.Struct, frozen=True):
    """Something happened to an order; `order` is how it stood then."""

    exec_type: ExecType
    order: SimOrder
    transact_ns: int
    execution: Execution | None = None


class FeePosting(msgspec.Struct, frozen=True):
    """The day's fees of one symbol in one asset, as brokers book them after the day's end. The amount has left the balance at each fill."""

    symbol: str
    asset: str
    amount: Decimal
    transact_ns: int


class Settlement(msgspec.Struct, frozen=True):
    """An option ended: exercised (E), assigned (A) or expired (X). qty (signed, contracts) leaves the position, shares come or go at the strike. A
    future that expired was paid for at `price`."""

    kind: str
    symbol: str
    qty: Decimal
    underlying: str
    shares: Decimal
    price: Decimal
    transact_ns: int


EXERCISED, ASSIGNED, EXPIRED = "E", "A", "X"
IN_THE_MONEY = Decimal("0.01")  # from here on an option is exercised at its end without being asked. Source: OCC rule 805, exercise by exception


class Exchange:
    """The account, its orders and the books they rest in."""

    def __init__(
        self,
        market: Market,
        terms: Mapping[str, Terms],
        *,
        rng: Random,
        start_ns: int,
        cash: Decimal = Decimal(100_000),
        money: str = "USD",
        multiplier: Decimal = ONE,
        latency: Latency = Latency(),  # noqa: B008 frozen
        ids: Callable[[], str] | None = None,
        rate: Callable[[str, int], Decimal] = lambda _money, _now_ns: ONE,
    ) -> None:
        """money: what cash and prices are in. ids: makes the names of orders and executions, where they are not UUIDs. rate: what one of another
        money is worth, where symbols have their own."""
        self._ids = ids
        self._rate = rate
        self.market = market
        self.terms = terms
        self.money = money
        self.multiplier = multiplier
        self.latency = latency
        self.deposits: dict[str, Decimal] = {money: cash}
        self.holdings: dict[str, Decimal] = {money: cash}
        self.street: dict[str, Decimal] = {}
        self.fees: dict[str, Decimal] = {}
        self.avg_px: dict[str, Decimal] = {}  # by base
        self.orders: dict[str, SimOrder] = {}
        self.groups: dict[str, Group] = {}  # by the id of each order that is or was in one
        self.wholes: dict[str, list[str]] = {}  # orders of several legs, and their legs' ids
        self.unexercised: set[str] = set()  # options that shall expire although they are worth something
        self.executions: dict[str, Execution] = {}
        self.last_equity = cash
        self._rng = rng
        self._now_ns = start_ns
        self._books: dict[str, Book] = {}
        self._book_tick: dict[str, int] = {}  # the tick a book shows
        self._live: dict[str, dict[str, SimOrder]] = {}  # by symbol: acknowledged, not terminal, not parked
        self._open: dict[str, SimOrder] = {}
        self._next_tick: dict[str, int] = {}  # by symbol with live orders
        self._due: list[tuple[int, int, Callable[[SimOrder, int], None], SimOrder]] = []
        self._count = 0
        self._reserved = ZERO
        self._held: dict[str, Decimal] = {}
        self._day_fees: dict[tuple[str, str], Decimal] = {}
        self._events: list[Event | FeePosting | Settlement] = []
        self._midnight_ns = new_york_ns(new_york_day(start_ns + DAY_NS), 0)

    # -- the account -----------------------------------------------------------------------------------------------------------------------------

    @property
    def cash(self) -> Decimal:
        return self.holdings[self.money]

    @property
    def reserved(self) -> Decimal:
        """Money that open orders hold."""
        return self._reserved

    def held(self, symbol: str) -> Decimal:
        """Quantity that open closing orders hold, and that calls which are sold or on their way to be need as cover."""
        return self._held.get(symbol, ZERO) + self._pledged(symbol)

    def _pledged(self, symbol: str) -> Decimal:
        if not any(terms.contract is not None for terms in self.terms.values()):
            return ZERO
        pledged = self.tied(self.contracts()).shares.get(symbol, ZERO)
        for order in self._open.values():
            contract = self.terms[order.symbol].contract
            if order.ticket.covered and contract is not None and contract.underlying == symbol and order.qty is not None:
                pledged += (order.qty - order.filled_qty) * order.ticket.covered
        return pledged

    def contracts(self) -> dict[Contract, Decimal]:
        """Option positions, signed."""
        return {terms.contract: qty for symbol, qty in self.positions() if (terms := self.terms[symbol]).contract is not None}

    def tied(self, lots: Mapping[Contract, Decimal]) -> Need:
        """Money and shares that options tie up, every contract for its multiplier."""
        one = need(lots)
        times = next((terms.multiplier for terms in self.terms.values() if terms.contract is not None), ONE)
        return Need(one.cash * times, {symbol: qty * times for symbol, qty in one.shares.items()})

    def free_cash(self) -> Decimal:
        """Money that neither orders nor options hold: it buys what nobody lends on."""
        return max(ZERO, self.cash - self._reserved - self.tied(self.contracts()).cash)

    def position(self, symbol: str) -> Decimal:
        return self.holdings.get(self.terms[symbol].base, ZERO)

    def mark(self, symbol: str, now_ns: int) -> Decimal:
        """Halfway between the market's bid and offer."""
        tick = self.market.latest(symbol, now_ns)
        bid = tick.bids[0][0] if tick.bids else 0  # nobody bids for an option that is worth nothing
        return (bid + tick.asks[0][0]) * self.market.listings[symbol].unit / 2

    def worth(self, symbol: str, qty: Decimal, now_ns: int) -> Decimal:
        """What so much of it is marked at."""
        terms = self.terms[symbol]
        worth = self.gain(symbol, qty, now_ns) if terms.inverse else qty * self.mark(symbol, now_ns) * terms.multiplier
        return worth * self._rate(terms.money, now_ns) if terms.money else worth

    def gain(self, symbol: str, qty: Decimal, now_ns: int) -> Decimal:
        """What so much of an inverse contract has made at its mark since its average entry, in its money."""
        return qty * (ONE / self.avg_px[self.terms[symbol].base] - ONE / self.mark(symbol, now_ns)) if qty else ZERO

    def positions(self) -> Iterator[tuple[str, Decimal]]:
        """Symbols held and their signed quantity."""
        for symbol, terms in self.terms.items():
            qty = self.holdings.get(terms.base, ZERO)
            if qty:
                yield symbol, qty

    def equity(self, now_ns: int) -> Decimal:
        moneys = {terms.money for terms in self.terms.values() if terms.money} - {terms.base for terms in self.terms.values()}  # coins are positions
        others = sum((self.holdings.get(money, ZERO) * self._rate(money, now_ns) for money in sorted(moneys)), ZERO)
        return self.cash + others + sum((self.worth(symbol, qty, now_ns) for symbol, qty in self.positions()), ZERO)

    def buying_power(self, now_ns: int) -> Decimal:
        """Cash held by neither orders nor options; on margin, what equity × multiplier leaves beside the positions and the orders. Nothing is lent on
        options."""
        if self.multiplier == ONE:
            return self.free_cash()
        marks = [self.worth(symbol, qty, now_ns) for symbol, qty in self.positions() if self.terms[symbol].contract is None]
        equity = self.cash - self.tied(self.contracts()).cash + sum(marks, ZERO)
        return max(ZERO, equity * self.multiplier - sum(map(abs, marks), ZERO) - self._reserved)

    def open_orders(self, symbol: str | None = None) -> list[SimOrder]:
        """Not terminal, oldest first. Orders of several legs are no symbol's, and legs are theirs."""
        return [
            order
            for order in self._open.values()
            if order.parent is None and (symbol is None or (order.symbol == symbol and order.order_id not in self.wholes))
        ]

    # -- what a client asks ----------------------------------------------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, now_ns: int) -> SimOrder:
        """Take an order that the broker's rules let pass; its acknowledgement comes later."""
        order = self._new(ticket, ticket.cl_ord_id, ticket.qty, ticket.price, ticket.stop_px, ticket.time_in_force, now_ns)
        self._hold(order)
        if not self._workable(order, now_ns):
            order.queued = True
        self._emit(ExecType.PENDING_NEW, order, now_ns)
        self._later(now_ns + self._draw(self.latency.ack_ns), self._acknowledge, order)
        return order

    def submit_linked(self, entry: Ticket | None, exits: Sequence[Ticket], now_ns: int, *, late: bool = False, exclusive: bool = False) -> Group:
        """Take an entry and the exits that it wakes once it is filled, or exits alone. Each exit may close all that the entry opens, or all that is
        left of it after a fee. late, exclusive: as the group has it."""
        assert all(not ticket.opening and ticket.qty and ticket.qty == exits[0].qty for ticket in exits)
        assert entry is None or (entry.opening and all(ticket.side is entry.side.opposite for ticket in exits))
        assert entry is None or entry.qty == exits[0].qty or late
        assert sum(not ticket.waits for ticket in exits) <= 1, "two exits would rest in the book at once"
        parent = None if entry is None else self.submit(entry, now_ns).order_id
        orders = [self.submit(ticket, now_ns) if entry is None else self._lay_down(ticket, now_ns) for ticket in exits]
        entered = ZERO if entry is not None else exits[0].qty
        names = [order.order_id for order in orders]
        group = Group(entry=parent, exits=names, entered=entered or ZERO, awake=entry is None, late=late, exclusive=exclusive)
        self.groups.update(dict.fromkeys(group.members, group))
        self._hold_exits(group)
        return group

    def submit_legs(self, ticket: Ticket, legs: Sequence[Ticket], now_ns: int) -> SimOrder:
        """Take an order that fills as a whole: every leg's quantity is a multiple of its own, its price the net of what its legs cost, for each unit
        of its symbol's multiplier. It holds the money, the legs that close hold their quantity. Its symbol, a leg's that is an option, else only says
        when it trades."""
        assert ticket.qty
        assert all(leg.qty and leg.qty % ticket.qty == 0 for leg in legs)
        order = self.submit(ticket, now_ns)
        rows = [self._new(leg, leg.cl_ord_id, leg.qty, None, None, ticket.time_in_force, now_ns) for leg in legs]
        for row in rows:
            row.parent, row.queued = order.order_id, order.queued
            self._hold(row)
        self.wholes[order.order_id] = [row.order_id for row in rows]
        return order

    def legs(self, order: SimOrder) -> list[SimOrder]:
        return [self.orders[order_id] for order_id in self.wholes.get(order.order_id, ())]

    def _lay_down(self, ticket: Ticket, now_ns: int) -> SimOrder:
        order = self._new(ticket, ticket.cl_ord_id, ticket.qty, ticket.price, ticket.stop_px, ticket.time_in_force, now_ns)
        order.dormant = True
        self._emit(ExecType.PENDING_NEW, order, now_ns)
        return order

    def cancel(self, order: SimOrder, now_ns: int) -> None:
        """Ask for a cancel of an order that is not terminal and has no other request in flight. A fill may win the race."""
        assert order.ord_status not in (OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE)
        assert not order.ord_status.terminal
        order.ord_status = OrdStatus.PENDING_CANCEL
        self._emit(ExecType.PENDING_CANCEL, order, now_ns)
        self._later(now_ns + self._draw(self.latency.cancel_ns), self._cancelled, order)

    def replace(self, order: SimOrder, ticket: Ticket, cl_ord_id: str, now_ns: int) -> SimOrder:
        """Ask for a change of a working order into `ticket`, whose qty is the new total, fills included; a group's quantity stays. Answers the
        order to come."""
        group = self.groups.get(order.order_id)
        assert group is None or ticket.qty == order.qty
        order.ord_status = OrdStatus.PENDING_REPLACE
        self._emit(ExecType.PENDING_REPLACE, order, now_ns)
        left = None if ticket.qty is None else ticket.qty - order.filled_qty
        new = self._new(ticket, cl_ord_id, left, ticket.price, ticket.stop_px, ticket.time_in_force, now_ns)
        new.replaces = order.order_id
        if order.hwm is not None:
            self._trail(new, order.hwm)
        if group is not None:
            self.groups[new.order_id] = group
        self._hold(new)
        self._later(now_ns + self._draw(self.latency.replace_ns), self._replaced, new)
        return new

    def amend(self, order: SimOrder, ticket: Ticket, now_ns: int) -> None:
        """Ask for a change of a working order that stays the order it is. ticket's qty is the new total, fills included; a group's quantity
        stays. It goes behind all others at its price, and a fill may win the race."""
        assert order.ord_status in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)
        assert order.order_id not in self.groups or ticket.qty == order.qty
        order.ord_status = OrdStatus.PENDING_REPLACE
        self._emit(ExecType.PENDING_REPLACE, order, now_ns)
        self._later(now_ns + self._draw(self.latency.replace_ns), lambda order, then_ns: self._amended(order, ticket, then_ns), order)

    def cancel_at_once(self, now_ns: int) -> None:
        """Cancel every open order without a race, as a broker does before it closes all positions."""
        for order in self.open_orders():
            if not order.ord_status.terminal:  # its group may have ended it a moment ago
                self._finish(order, OrdStatus.CANCELED, ExecType.CANCELED, now_ns)

    def bust(self, exec_id: str, now_ns: int) -> None:
        """Undo an execution, as an exchange does with an erroneous trade."""
        execution = self.executions.pop(exec_id)
        order = self.orders[execution.order_id]
        assert order.parent is None, "one leg alone cannot be undone"
        assert not self.terms[order.symbol].inverse, "what it made went by an average that is gone"
        self._settle(execution.symbol, execution.side, -execution.qty, execution.price, -execution.fee, execution.fee_asset)
        order.filled_qty -= execution.qty
        order.filled_money -= execution.qty * execution.price
        group = self.groups.get(order.order_id)
        if group is not None:
            group.count(order.order_id, -execution.qty)
            self._hold_exits(group)
        undone = msgspec.structs.replace(execution, position_qty=self.position(execution.symbol), cum_qty=order.filled_qty, transact_ns=now_ns)
        self._emit(ExecType.TRADE_CANCEL, order, now_ns, undone)

    # -- what comes from outside -----------------------------------------------------------------------------------------------------------------

    def deposit(self, asset: str, amount: Decimal) -> None:
        """Money or units that come in, or go out where the amount is below zero."""
        self.deposits[asset] = self.deposits.get(asset, ZERO) + amount
        self.holdings[asset] = self.holdings.get(asset, ZERO) + amount

    def change(self, paid: str, amount: Decimal, got: Decimal) -> None:
        """So much of one money becomes the exchange's own, at a rate that somebody else sets."""
        for asset, moved in ((paid, -amount), (self.money, got)):
            self.holdings[asset] = self.holdings.get(asset, ZERO) + moved
            self.street[asset] = self.street.get(asset, ZERO) - moved

    def split(self, symbol: str, ratio: Decimal, now_ns: int) -> Decimal:
        """So many new shares for an old one, at so much smaller a price; the units that this adds. Orders keep their old prices, as they do at
        a broker: a stop may go off at once."""
        base, listing = self.terms[symbol].base, self.market.listings[symbol]
        resting = list(self._live.get(symbol, {}).values())
        for order in resting:
            self._leave(order)
        added = self.position(symbol) * (ratio - ONE)
        self.deposit(base, added)
        if base in self.avg_px:
            self.avg_px[base] /= ratio
        self.market.relist(msgspec.structs.replace(listing, unit=listing.unit / ratio))
        self._books.pop(symbol, None)
        self._book_tick.pop(symbol, None)
        for order in resting:
            self._activate(order, now_ns)
        return added

    # -- time ------------------------------------------------------------------------------------------------------------------------------------

    def advance(self, now_ns: int) -> None:
        """Let everything up to now happen, in order of time; ticks before requests of the same instant."""
        while True:
            due_ns = self._due[0][0] if self._due else now_ns + 1
            symbol, tick_ns = self._nearest_tick(now_ns)
            first = min(due_ns, tick_ns, self._midnight_ns)
            if first > now_ns:
                break
            self._now_ns = first
            if first == self._midnight_ns:
                self._day_end(first)
            elif tick_ns <= due_ns:
                self._market_tick(symbol, tick_ns // TICK_NS)
            else:
                _, _, step, order = heapq.heappop(self._due)
                step(order, first)
        self._now_ns = now_ns

    def next_event_ns(self) -> int:
        ticks = [number * TICK_NS for number in self._next_tick.values()]
        return min([self._midnight_ns, *ticks, *(due[0] for due in self._due[:1])])

    def take_events(self) -> list[Event | FeePosting | Settlement]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def _nearest_tick(self, now_ns: int) -> tuple[str, int]:
        symbol, tick_ns = "", now_ns + 1
        for name, number in self._next_tick.items():
            if number * TICK_NS < tick_ns:
                symbol, tick_ns = name, number * TICK_NS
        return symbol, tick_ns

    def _later(self, when_ns: int, step: Callable[[SimOrder, int], None], order: SimOrder) -> None:
        self._count += 1
        heapq.heappush(self._due, (when_ns, self._count, step, order))

    def _draw(self, span: tuple[int, int]) -> int:
        return self._rng.randint(*span)

    def new_id(self) -> str:
        if self._ids is not None:
            return self._ids()
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _day_end(self, now_ns: int) -> None:
        self._end_options(now_ns)
        self._end_futures(now_ns)
        self.last_equity = self.equity(now_ns)
        for (symbol, asset), amount in self._day_fees.items():
            self._events.append(FeePosting(symbol, asset, amount, now_ns))
        self._day_fees.clear()
        self._midnight_ns = new_york_ns(new_york_day(now_ns + DAY_NS + 2 * 60 * MINUTE_NS), 0)  # a day may have 23 or 25 hours

    # -- life of an order ------------------------------------------------------------------------------------------------------------------------

    def _new(
        self, ticket: Ticket, cl_ord_id: str, qty: Decimal | None, price: Decimal | None, stop_px: Decimal | None, tif: TimeInForce, now_ns: int
    ) -> SimOrder:
        order = SimOrder(
            order_id=self.new_id(),
            ticket=ticket,
            cl_ord_id=cl_ord_id,
            qty=qty,
            price=price,
            stop_px=stop_px,
            time_in_force=tif,
            submitted_ns=now_ns,
            updated_ns=now_ns,
        )
        order.expires_ns = self._expiry(order, now_ns)
        if ticket.trails:
            self._trail(order, self._last_px(ticket.symbol, now_ns))
        self.orders[order.order_id] = order
        self._open[order.order_id] = order
        return order

    def _expiry(self, order: SimOrder, now_ns: int) -> int:
        sessions = self._sessions(order)
        if order.time_in_force is TimeInForce.GTC:
            return now_ns + GTC_LIFE_NS
        if order.time_in_force is TimeInForce.AT_THE_OPENING:
            return sessions.next(now_ns).close_ns
        session = sessions.current_or_next(now_ns, extended=order.ticket.extended)
        return session.late_ns if order.ticket.extended else session.close_ns

    def _sessions(self, order: SimOrder) -> Sessions:
        return self.market.listings[order.symbol].sessions

    def _workable(self, order: SimOrder, now_ns: int) -> bool:
        """Whether the order may trade at this instant, or has to wait."""
        if order.time_in_force in (TimeInForce.AT_THE_OPENING, TimeInForce.AT_THE_CLOSE):
            return False
        return self._sessions(order).is_open(now_ns, extended=order.ticket.extended)

    def _opening_ns(self, order: SimOrder, now_ns: int) -> int:
        """When a waiting order may trade."""
        sessions = self._sessions(order)
        if order.time_in_force is TimeInForce.AT_THE_CLOSE:
            return sessions.current_or_next(now_ns).close_ns - TICK_NS
        session = sessions.at(now_ns)
        if order.ticket.extended and session is not None and now_ns < session.early_ns:
            return session.early_ns
        following = sessions.next(now_ns)
        return following.early_ns if order.ticket.extended else following.open_ns

    def _acknowledge(self, order: SimOrder, now_ns: int) -> None:
        if order.ord_status.terminal:
            return
        if order.dormant:
            order.dormant, order.expires_ns, order.hwm = False, self._expiry(order, now_ns), None
        if self._workable(order, now_ns):
            if order.ticket.trails:
                self._catch_up(order, now_ns)
            self._activate(order, now_ns)
            return
        order.queued = True
        order.updated_ns = now_ns
        self._later(self._opening_ns(order, now_ns), self._activate, order)

    def _activate(self, order: SimOrder, now_ns: int) -> None:
        """The order reaches the market, first or again after a night."""
        if order.ord_status.terminal:
            return
        first = order.ord_status is OrdStatus.PENDING_NEW
        order.queued = False
        if first:
            order.ord_status = OrdStatus.NEW
            self._emit(ExecType.NEW, order, now_ns)
        if order.time_in_force is TimeInForce.DAY:
            self._later(order.expires_ns, self._expire, order)
        elif order.time_in_force is TimeInForce.GTC:
            if first:
                self._later(order.expires_ns, self._expire, order)
            self._park_later(order, now_ns)
        self._live.setdefault(order.symbol, {})[order.order_id] = order
        self._next_tick[order.symbol] = now_ns // TICK_NS + 1  # a quiet minute ends here: what is quiet for the others may not be for this one
        if order.ticket.waits and not order.triggered:
            assert order.stop_px is not None
            self._book(order.symbol).add_stop(order.order_id, order.side, self._units(order.symbol, order.stop_px))
        else:
            self._work(order, now_ns)

    def _park_later(self, order: SimOrder, now_ns: int) -> None:
        sessions = self._sessions(order)
        if not sessions.always:
            session = sessions.current_or_next(now_ns, extended=order.ticket.extended)
            self._later(session.late_ns if order.ticket.extended else session.close_ns, self._park, order)

    def _park(self, order: SimOrder, now_ns: int) -> None:
        """A GTC order leaves the market for the night."""
        if order.order_id in self._live.get(order.symbol, {}):
            self._leave(order)
            self._later(self._opening_ns(order, now_ns), self._activate, order)

    def _work(self, order: SimOrder, now_ns: int) -> None:
        """Send what is left of a live order into the book."""
        if order.order_id in self.wholes:
            self._work_legs(order, now_ns)
            return
        self._sync(order.symbol, now_ns // TICK_NS, now_ns)
        book = self._book(order.symbol)
        limit = order.price if order.ticket.ord_type.has_price else (order.ticket.collar if order.triggered else None)
        units = None if limit is None else self._units(order.symbol, limit)
        best = book.best(order.side.opposite)
        if order.ticket.post_only and units is not None and best is not None and (units - best) * order.side.sign >= 0:
            self._finish(order, OrdStatus.CANCELED, ExecType.CANCELED, now_ns)
            return
        immediate = order.time_in_force not in (TimeInForce.DAY, TimeInForce.GTC)
        lots = self._lots_left(order, book, limit)
        if lots:
            all_or_none = order.time_in_force is TimeInForce.FOK
            matches = book.submit(order.order_id, order.side, lots, units, rest=not immediate, all_or_none=all_or_none)
            self._book_matches(order.symbol, matches, now_ns)
        if immediate and not order.ord_status.terminal:
            self._finish(order, OrdStatus.CANCELED, ExecType.CANCELED, now_ns)

    def _lots_left(self, order: SimOrder, book: Book, limit: Decimal | None) -> int:
        """Whole lots to trade. A money order's are what the rest of its money buys: at its limit, else level by level through the depth."""
        if order.qty is not None:
            return int((order.qty - order.filled_qty) / LOT)
        assert order.ticket.notional is not None
        if limit is not None:
            return max(0, int(order.ticket.notional / limit / LOT) - int(order.filled_qty / LOT))
        left = order.ticket.notional - order.filled_money
        lots = 0
        for price, depth in book.depth(order.side.opposite):
            per_lot = price * self.market.listings[order.symbol].unit * LOT
            take = min(depth, int(left / per_lot))
            lots += take
            left -= take * per_lot
            if take < depth:
                break
        return lots

    def _money_spent(self, order: SimOrder, last_px: Decimal) -> bool:
        """Whether a money order is done: what is left does not buy a lot."""
        assert order.ticket.notional is not None
        limit = order.price or order.ticket.collar
        if limit is not None:
            return order.filled_qty >= int(order.ticket.notional / limit / LOT) * LOT
        return order.ticket.notional - order.filled_money < last_px * LOT

    def _cancelled(self, order: SimOrder, now_ns: int) -> None:
        if order.ord_status is OrdStatus.CANCELED:  # the end of its group was quicker
            return
        if order.ord_status.terminal:
            self._emit(ExecType.CANCEL_REJECTED, order, now_ns)
        else:
            self._finish(order, OrdStatus.CANCELED, ExecType.CANCELED, now_ns)

    def _replaced(self, new: SimOrder, now_ns: int) -> None:
        assert new.replaces is not None
        old, group = self.orders[new.replaces], self.groups.get(new.order_id)
        total = new.ticket.qty if group is None else old.qty  # what a sibling filled meanwhile is gone
        if old.ord_status.terminal or (total is not None and total <= old.filled_qty) or (old.ticket.trails and old.triggered):
            self._emit(ExecType.REPLACE_REJECTED, old, now_ns)
            if not old.ord_status.terminal:
                old.ord_status = OrdStatus.PARTIALLY_FILLED if old.filled_qty else OrdStatus.NEW
            self._finish(new, OrdStatus.REJECTED, ExecType.REJECTED, now_ns)
            return
        if total is not None:
            new.qty = total - old.filled_qty
        old.replaced_by = new.order_id
        self._finish(old, OrdStatus.REPLACED, ExecType.REPLACED, now_ns)
        if group is not None:
            group.hand_on(old.order_id, new.order_id)
        self._hold(new)
        if group is not None and not group.awake and new.order_id in group.exits:
            new.dormant = True
            self._emit(ExecType.PENDING_NEW, new, now_ns)
        else:
            self._acknowledge(new, now_ns)

    def _amended(self, order: SimOrder, ticket: Ticket, now_ns: int) -> None:
        if order.ord_status.terminal:
            self._emit(ExecType.REPLACE_REJECTED, order, now_ns)
            return
        order.ord_status = OrdStatus.PARTIALLY_FILLED if order.filled_qty else OrdStatus.NEW
        total = order.qty if order.order_id in self.groups else ticket.qty  # what a sibling filled meanwhile is gone
        if total is not None and total <= order.filled_qty:
            self._emit(ExecType.REPLACE_REJECTED, order, now_ns)
            return
        self._leave(order)
        order.ticket, order.qty, order.price, order.stop_px = ticket, total, ticket.price, ticket.stop_px
        self._hold(order)
        self._emit(ExecType.REPLACED, order, now_ns)
        self._activate(order, now_ns)

    def _expire(self, order: SimOrder, now_ns: int) -> None:
        if not order.ord_status.terminal:
            self._finish(order, OrdStatus.EXPIRED, ExecType.EXPIRED, now_ns)

    def _finish(self, order: SimOrder, status: OrdStatus, exec_type: ExecType | None, now_ns: int) -> None:
        order.ord_status = status
        match status:
            case OrdStatus.FILLED:
                order.filled_ns = now_ns
            case OrdStatus.CANCELED:
                order.canceled_ns = now_ns
            case OrdStatus.EXPIRED:
                order.expired_ns = now_ns
            case OrdStatus.REJECTED:
                order.failed_ns = now_ns
            case OrdStatus.REPLACED:
                order.replaced_ns = now_ns
        self._leave(order)
        self._open.pop(order.order_id, None)
        self._hold(order)
        for leg in self.legs(order):
            if not leg.ord_status.terminal:
                self._finish(leg, status, None, now_ns)
        if exec_type is not None:
            self._emit(exec_type, order, now_ns)
            self._follow(order, now_ns)

    def _leave(self, order: SimOrder) -> None:
        symbol = order.symbol
        self._book(symbol).cancel(order.order_id)
        live = self._live.get(symbol)
        if live is not None:
            live.pop(order.order_id, None)
            if not live:
                self._next_tick.pop(symbol, None)

    def _emit(self, exec_type: ExecType, order: SimOrder, now_ns: int, execution: Execution | None = None) -> None:
        order.updated_ns = now_ns
        for leg in self.legs(order):  # they stand as the whole does
            if not leg.ord_status.terminal:
                leg.ord_status, leg.queued, leg.updated_ns = order.ord_status, order.queued, now_ns
        self._events.append(Event(exec_type, copy.copy(order), now_ns, execution))

    def _hold(self, order: SimOrder) -> None:
        """Set what the order holds back: money for what opens, quantity for what closes; a group's exits hold theirs once."""
        reserve = held = ZERO
        if not order.ord_status.terminal:
            left = None if order.qty is None else order.qty - order.filled_qty
            group = self.groups.get(order.order_id)
            if group is not None and not order.ticket.opening:
                held = ZERO if self._holder(group) is not order or (group.late and not group.awake) else group.left
                held = held if left is None else min(held, left)
            elif order.ticket.opening:
                money = order.ticket.notional
                reserve = left * order.ticket.reserve_px if left is not None else max(ZERO, (money or ZERO) - order.filled_money)
            else:
                held = left if left is not None else max(ZERO, (order.ticket.notional or ZERO) / order.ticket.reserve_px - order.filled_qty)
            if order.replaces is not None:  # while both stand, the new order holds what it needs beyond the old one
                old = self.orders[order.replaces]
                reserve, held = max(ZERO, reserve - old.reserve), max(ZERO, held - old.held)
        self._reserved += reserve - order.reserve
        self._held[order.symbol] = self._held.get(order.symbol, ZERO) + held - order.held
        order.reserve, order.held = reserve, held

    # -- orders that depend on one another -------------------------------------------------------------------------------------------------------

    def _exits(self, group: Group) -> list[SimOrder]:
        return [self.orders[order_id] for order_id in group.exits if not self.orders[order_id].ord_status.terminal]

    def _holder(self, group: Group) -> SimOrder | None:
        """The exit that holds the quantity for all of them."""
        return next(iter(self._exits(group)), None)

    def _hold_exits(self, group: Group) -> None:
        for order in self._exits(group):
            self._hold(order)

    def _share(self, order: SimOrder, qty: Decimal) -> None:
        """What a fill leaves to the others: as much to hold as the entry brought, as much to close as this exit has not."""
        group = self.groups.get(order.order_id)
        if group is None:
            return
        group.count(order.order_id, qty)
        if order.order_id in group.exits and not order.ord_status.terminal and not group.exclusive:
            for other in self._exits(group):
                if other is not order:
                    assert other.qty is not None
                    assert not self._book(other.symbol).resting(other.order_id)
                    other.qty -= qty
        self._hold_exits(group)

    def _follow(self, order: SimOrder, now_ns: int) -> None:
        """What the end of a member means to the others. One that was replaced goes on as another, one that was to replace never came in."""
        group = self.groups.get(order.order_id)
        if group is None or group.over or order.ord_status is OrdStatus.REPLACED or order.order_id not in group.members:
            return
        if order.order_id == group.entry and order.ord_status is OrdStatus.FILLED:
            group.awake = True
            if group.late and any((other.qty or ZERO) > self.position(order.symbol) - self.held(order.symbol) for other in self._exits(group)):
                group.over = True
                for other in self._exits(group):
                    self._finish(other, OrdStatus.REJECTED, ExecType.REJECTED, now_ns)
                return
            self._hold_exits(group)
            for other in self._exits(group):
                self._later(now_ns + self._draw(self.latency.ack_ns), self._acknowledge, other)
        else:
            self._decide(group, order, now_ns)

    def _decide(self, group: Group, order: SimOrder, now_ns: int) -> None:
        """Leave this member alone: the others end."""
        group.over = True
        for order_id in group.members:
            other = self.orders[order_id]
            if other is not order and not other.ord_status.terminal:
                late = order.ord_status is OrdStatus.EXPIRED and other.expires_ns <= now_ns
                status, exec_type = (OrdStatus.EXPIRED, ExecType.EXPIRED) if late else (OrdStatus.CANCELED, ExecType.CANCELED)
                self._finish(other, status, exec_type, now_ns)
        self._hold_exits(group)

    # -- orders of several legs ------------------------------------------------------------------------------------------------------------------

    def _work_legs(self, order: SimOrder, now_ns: int) -> None:
        """Fill as many wholes as every leg's touch has, if their net price is the limit or better: all legs together or none."""
        assert order.qty is not None
        assert order.ticket.qty is not None
        units, net, touched = order.qty - order.filled_qty, ZERO, []
        for leg in self.legs(order):
            tick = self.market.tick(leg.symbol, now_ns // TICK_NS)
            side = tick.asks if leg.side is Side.BUY else tick.bids
            if not side:
                return
            price, lots = side[0]
            ratio = (leg.ticket.qty or ZERO) / order.ticket.qty
            net += leg.side.sign * ratio * self._times(leg, order) * price * self.market.listings[leg.symbol].unit
            units = min(units, lots * LOT // ratio)
            touched.append((leg, price, ratio))
        if units < 1 or (order.price is not None and net > order.price):
            return
        for leg, price, ratio in touched:
            self._fill(leg, leg.side, Match(MARKET, leg.order_id, leg.side, price, int(units * ratio / LOT)), now_ns, maker=False)
        order.filled_qty += units
        order.filled_money += units * net
        if order.filled_qty == order.qty:
            self._finish(order, OrdStatus.FILLED, None, now_ns)
        else:
            if order.ord_status is OrdStatus.NEW:
                order.ord_status = OrdStatus.PARTIALLY_FILLED
            self._hold(order)
        self._emit(ExecType.TRADE, order, now_ns)

    def _times(self, leg: SimOrder, order: SimOrder) -> Decimal:
        """What one of a leg counts in the net price: a contract once, a share a hundredth."""
        return self.terms[leg.symbol].multiplier / self.terms[order.symbol].multiplier

    def _net_out_of_reach(self, order: SimOrder, number: int) -> bool:
        """Whether no tick of a minute can bring the legs' net price to the limit."""
        if order.price is None:
            return False
        assert order.ticket.qty is not None
        best = ZERO
        for leg in self.legs(order):
            low, high = self.market.reach(leg.symbol, number)
            price = low if leg.side is Side.BUY else -high
            best += (leg.ticket.qty or ZERO) / order.ticket.qty * self._times(leg, order) * price * self.market.listings[leg.symbol].unit
        return best > order.price

    # -- the end of options ----------------------------------------------------------------------------------------------------------------------

    def exercise(self, symbol: str, qty: Decimal, now_ns: int) -> None:
        """The holder takes what the contract gives: shares at its strike."""
        self._end_option(symbol, qty, EXERCISED, now_ns)

    def assign(self, symbol: str, qty: Decimal, now_ns: int) -> None:
        """Somebody exercises against a contract that was sold."""
        self._end_option(symbol, -qty, ASSIGNED, now_ns)

    def _end_options(self, now_ns: int) -> None:
        """What has expired is assigned, exercised, or worth nothing. What was sold comes first: it may bring the shares that a put delivers. A put
        without shares, where none can be borrowed, expires: nobody may deliver what they do not have.

        Source: docs.alpaca.markets/docs/options-trading-overview (expiration); alpaca.markets/support/what-is-automatic-exercise
        """
        ended = {symbol: terms for symbol, terms in self.terms.items() if terms.contract is not None and terms.expires_ns <= now_ns}
        for order in self.open_orders():
            if not order.ord_status.terminal and any(row.symbol in ended for row in (order, *self.legs(order))):
                self._finish(order, OrdStatus.EXPIRED, ExecType.EXPIRED, now_ns)
        for symbol, terms in sorted(ended.items(), key=lambda row: self.position(row[0])):
            qty = self.position(symbol)
            assert terms.contract is not None
            if qty:
                inside = terms.contract.payoff(self.mark(terms.contract.underlying, terms.expires_ns - TICK_NS)) >= IN_THE_MONEY
                taken = qty if inside and symbol not in self.unexercised else ZERO
                if taken > 0 and terms.contract.right is Right.PUT and self.multiplier == ONE:
                    taken = min(taken, max(ZERO, self.position(terms.contract.underlying)) // terms.multiplier)
                if taken:
                    self._end_option(symbol, taken, ASSIGNED if taken < 0 else EXERCISED, now_ns)
                if qty - taken:
                    self._end_option(symbol, qty - taken, EXPIRED, now_ns)
        self.unexercised -= set(ended)

    def _end_futures(self, now_ns: int) -> None:
        """What has ended and is about no strike is settled in money, at its last price."""
        for symbol, terms in self.terms.items():
            if terms.contract is not None or not 0 < terms.expires_ns <= now_ns:
                continue
            for order in self.open_orders(symbol):
                if not order.ord_status.terminal:
                    self._finish(order, OrdStatus.EXPIRED, ExecType.EXPIRED, now_ns)
            if qty := self.position(symbol):
                price = self.mark(symbol, terms.expires_ns - TICK_NS)
                self._settle(symbol, Side.SELL if qty > 0 else Side.BUY, abs(qty), price, ZERO, self.money)
                self._events.append(Settlement(EXPIRED, symbol, qty, symbol, ZERO, price, now_ns))

    def _end_option(self, symbol: str, qty: Decimal, kind: str, now_ns: int) -> None:
        terms = self.terms[symbol]
        contract = terms.contract
        assert contract is not None
        held = self.position(symbol)
        assert held
        assert 0 < qty / held <= ONE
        self.holdings[terms.base] = held - qty
        self.street[terms.base] = self.street.get(terms.base, ZERO) + qty
        if held == qty:
            self.avg_px.pop(terms.base, None)
        shares = ZERO if kind == EXPIRED else qty * terms.multiplier * (1 if contract.right is Right.CALL else -1)
        if shares:
            self._settle(contract.underlying, Side.BUY if shares > 0 else Side.SELL, abs(shares), contract.strike, ZERO, self.money)
        self._events.append(Settlement(kind, symbol, qty, contract.underlying, shares, contract.strike, now_ns))

    # -- the market ------------------------------------------------------------------------------------------------------------------------------

    def _book(self, symbol: str) -> Book:
        return self._books.setdefault(symbol, Book())

    def _units(self, symbol: str, price: Decimal) -> int:
        return int(price / self.market.listings[symbol].unit)

    def _sync(self, symbol: str, number: int, now_ns: int) -> None:
        """Bring a book to the market's tick."""
        if self._book_tick.get(symbol) != number:
            self._book_tick[symbol] = number
            tick = self.market.tick(symbol, number)
            self._book_matches(symbol, self._book(symbol).refresh(tick.bids, tick.asks), now_ns)

    def _market_tick(self, symbol: str, number: int) -> None:
        """One step of the market: new depth, the trade that prints hits what rests, stops go off, hungry orders eat on."""
        now_ns = number * TICK_NS
        if number % TICKS == 0 and self._quiet(symbol, number // TICKS):
            self._next_tick[symbol] = number + TICKS
            return
        self._next_tick[symbol] = number + 1
        self._sync(symbol, number, now_ns)
        printed = self.market.tick(symbol, number).printed
        if printed is not None:
            book = self._book(symbol)
            if not book.idle:
                self._book_matches(symbol, book.submit(MARKET, printed.side, printed.lots, printed.price, rest=False), now_ns)
            self._trigger(symbol, printed.price, now_ns)
        for order in list(self._live.get(symbol, {}).values()):
            if not order.ord_status.terminal and not self._book(symbol).resting(order.order_id) and not self._book(symbol).waiting(order.order_id):
                self._work(order, now_ns)

    def _quiet(self, symbol: str, number: int) -> bool:
        """Whether nothing in this minute can reach any live order: then its ticks need not be walked."""
        low, high = self.market.reach(symbol, number)
        return all(
            self._net_out_of_reach(order, number) if order.order_id in self.wholes else self._out_of_reach(order, low, high)
            for order in self._live[symbol].values()
        )

    def _out_of_reach(self, order: SimOrder, low: int, high: int) -> bool:
        waiting = self._book(order.symbol).waiting(order.order_id)
        if waiting:
            assert order.stop_px is not None
            stop = self._units(order.symbol, order.stop_px)
            if order.hwm is not None:  # a new best price moves the stop, in this very minute
                best = self._units(order.symbol, order.hwm)
                if low < best if order.side is Side.BUY else high > best:
                    return False
            return stop > high if order.side is Side.BUY else stop < low
        limit = order.price if order.ticket.ord_type.has_price else order.ticket.collar
        if limit is None:
            return False
        units = self._units(order.symbol, limit)
        return units < low if order.side is Side.BUY else units > high

    def _trigger(self, symbol: str, price: int, now_ns: int) -> None:
        book, last_px = self._book(symbol), price * self.market.listings[symbol].unit
        for order in self._live.get(symbol, {}).values():
            if order.ticket.trails and book.waiting(order.order_id):
                self._trail(order, last_px)
                book.move_stop(order.order_id, self._units(symbol, order.stop_px or ZERO))
        for order_id in book.trigger(price):
            order = self.orders[order_id]
            if order.ord_status.terminal:  # a sibling that went off first has ended it
                continue
            order.triggered = True
            group = self.groups.get(order_id)
            if group is not None and not group.over and order_id in group.exits:
                self._decide(group, order, now_ns)
            self._work(order, now_ns)

    def _last_px(self, symbol: str, now_ns: int) -> Decimal:
        """The last trade's price; where there was none, the market's middle."""
        last = self.market.last_print(symbol, now_ns)
        return self.mark(symbol, now_ns) if last is None else last.price * self.market.listings[symbol].unit

    def _trail(self, order: SimOrder, price: Decimal) -> None:
        """Let a trailing stop see a price: its water mark goes only the way that is good for the position."""
        if order.hwm is None or (price - order.hwm) * order.side.sign < 0:
            order.hwm = price
            order.stop_px = order.ticket.trailed(price, self.market.listings[order.symbol].unit)

    def _catch_up(self, order: SimOrder, now_ns: int) -> None:
        """The trades that printed while the order was on its way to the market, or its change was; an exit that woke begins with the last one."""
        if order.hwm is None:
            self._trail(order, self._last_px(order.symbol, now_ns))
            return
        for done in self.market.prints(order.symbol, order.submitted_ns + 1, now_ns + 1):
            self._trail(order, done.price * self.market.listings[order.symbol].unit)

    def _book_matches(self, symbol: str, matches: list[Match], now_ns: int) -> None:
        for match in matches:
            for owner, side in ((match.maker, match.taker_side.opposite), (match.taker, match.taker_side)):
                if owner != MARKET:
                    self._fill(self.orders[owner], side, match, now_ns, maker=owner == match.maker)

    def _fill(self, order: SimOrder, side: Side, match: Match, now_ns: int, *, maker: bool) -> None:
        listing = self.market.listings[order.symbol]
        terms = self.terms[order.symbol]
        qty, price = match.qty * LOT, match.price * listing.unit
        rate = terms.maker_fee if maker else terms.taker_fee
        in_kind = side is Side.BUY and not terms.fees_in_money
        fee_asset = order.ticket.fee_asset or (terms.base if in_kind else terms.money if terms.inverse else self.money)
        charged = (qty if fee_asset == terms.base else qty / price if terms.inverse else qty * price) * rate
        if terms.index:
            charged = qty * min(self.mark(terms.index, now_ns) * rate, price * terms.fee_cap)
        fee = charged.quantize(LOT, ROUND_UP)
        moved = self._settle(order.symbol, side, qty, price, fee, fee_asset)
        order.filled_qty += qty
        order.filled_money += qty / price if terms.inverse else qty * price
        done = order.qty is not None and order.filled_qty == order.qty
        if order.qty is None:
            done = self._money_spent(order, price)
        execution = Execution(
            exec_id=self.new_id(),
            order_id=order.order_id,
            symbol=order.symbol,
            side=side,
            qty=qty,
            price=price,
            fee=fee,
            fee_asset=fee_asset,
            realized=moved if terms.inverse else ZERO,
            maker=maker,
            position_qty=self.position(order.symbol),
            cum_qty=order.filled_qty,
            leaves_qty=ZERO if order.qty is None else order.qty - order.filled_qty,
            transact_ns=now_ns,
        )
        self.executions[execution.exec_id] = execution
        if done:
            self._finish(order, OrdStatus.FILLED, None, now_ns)
        else:
            if order.ord_status is OrdStatus.NEW:
                order.ord_status = OrdStatus.PARTIALLY_FILLED
            self._hold(order)
        self._share(order, qty)
        self._emit(ExecType.TRADE, order, now_ns, execution)
        group = self.groups.get(order.order_id)
        if done:
            self._follow(order, now_ns)
        elif group is not None and group.exclusive and not group.over and order.order_id in group.exits:
            self._decide(group, order, now_ns)

    def _paid_in(self, symbol: str) -> str:
        return self.terms[symbol].money or self.money

    def _settle(self, symbol: str, side: Side, qty: Decimal, price: Decimal, fee: Decimal, fee_asset: str) -> Decimal:
        """Move asset, money and fee; each leaves one account and enters another. The money that came, or went."""
        base = self.terms[symbol].base
        before, entry = self.position(symbol), self.avg_px.get(base, ZERO)
        moved = -side.sign * qty * price * self.terms[symbol].multiplier
        if self.terms[symbol].inverse:
            closed = min(abs(before), qty) if before * side.sign < 0 else ZERO
            moved = (-side.sign * closed * (ONE / entry - ONE / price)).quantize(LOT) if closed else ZERO
        for asset, amount in ((base, side.sign * qty), (self._paid_in(symbol), moved)):
            self.holdings[asset] = self.holdings.get(asset, ZERO) + amount
            self.street[asset] = self.street.get(asset, ZERO) - amount
        if fee:
            self.holdings[fee_asset] = self.holdings.get(fee_asset, ZERO) - fee
            self.fees[fee_asset] = self.fees.get(fee_asset, ZERO) + fee
            key = (symbol, fee_asset)
            self._day_fees[key] = self._day_fees.get(key, ZERO) + fee
        after = before + side.sign * qty
        if not after:
            self.avg_px.pop(base, None)
        elif before * side.sign >= 0:  # grown: the average moves; shrunk: it stays
            self.avg_px[base] = (abs(before) * entry + qty * price) / abs(after)
            if self.terms[symbol].inverse:
                self.avg_px[base] = abs(after) / ((abs(before) / entry if before else ZERO) + qty / price)
        elif before * after < 0:
            self.avg_px[base] = price
        return moved
