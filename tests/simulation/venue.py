"""A venue in memory, without a wire: what it does is data drawn from a seed, and what it did is the truth that the oracle judges by."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, OrderID
from trading_system.domain.money import ZERO
from trading_system.domain.order import Approved
from trading_system.domain.ports import ClientIdScope
from trading_system.domain.report import ExecutionReport
from trading_system.sim.clock import SECOND_NS, VirtualClock

CASH = Decimal(100_000)
CENT = Decimal("0.01")
PRICES = {InstrumentID("AAPL"): Decimal("100.00"), InstrumentID("SPY"): Decimal("400.00"), InstrumentID("BTC/USD"): Decimal("5000.00")}


class Change(StrEnum):
    """What a venue makes of a replace."""

    NEW_ORDER = "new_order"
    KEEPS_ID = "keeps_id"
    NONE = "none"


class Semantics(msgspec.Struct, frozen=True, kw_only=True):
    """How a venue behaves when nothing goes wrong. Its Facts say the same."""

    client_id_scope: ClientIdScope
    lookup: bool  # by client id; without, the connector scans open orders, fills and closed orders for the tag
    late_accept_ns: int
    visibility_lag_ns: int
    fill_first: bool  # a fill is told before the acknowledgement, and before the submit is answered
    change: Change
    cancel_is_request: bool
    says_cum: bool  # whether a report tells the cumulative quantity

    @classmethod
    def draw(cls, rng: random.Random) -> "Semantics":
        return cls(
            client_id_scope=rng.choice(tuple(ClientIdScope)),
            lookup=rng.random() < 0.7,
            late_accept_ns=rng.choice((0, rng.randrange(121))) * SECOND_NS,
            visibility_lag_ns=rng.choice((0, rng.randrange(91))) * SECOND_NS,
            fill_first=rng.random() < 0.4,
            change=rng.choice(tuple(Change)),
            cancel_is_request=rng.random() < 0.5,
            says_cum=rng.random() < 0.8,
        )


class VenueFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong: of each kind the chance, per request, per frame, per order or per fill."""

    refused: float = 0.0  # no connection: certainly not sent
    lost_request: float = 0.0  # sent, never arrives
    late_request: float = 0.0  # arrives after the client has given up, within the venue's late_accept_ns
    reset: float = 0.0  # sent, and the connection is reset at once: not done
    lost_answer: float = 0.0  # done, the answer never arrives
    late_answer: float = 0.0  # done, answered after the client has given up
    garbage: float = 0.0  # an answer that nobody can read
    busy: float = 0.0  # 429 before the venue looked at it
    busy_after: float = 0.0  # 429, and done all the same
    failed_before: float = 0.0  # 503, not done
    failed_after: float = 0.0  # 504, done
    reject: float = 0.0  # a sound order is refused
    late_reject: float = 0.0  # taken, then rejected by an event
    stale_read: float = 0.0  # a listing shows how an order stood a while ago
    empty_account: float = 0.0  # an account without its positions
    duplicate_frame: float = 0.0
    lost_frame: float = 0.0
    reordered_frame: float = 0.0
    disconnect: float = 0.0
    mute: float = 0.0  # the stream stays up and says nothing for a while
    bust: float = 0.0  # a fill is taken back later
    correct: float = 0.0  # a fill's price is corrected later
    late_fill: float = 0.0  # a fill from before a cancel is told after it
    overfill: float = 0.0  # more is filled than was asked


KINDS = VenueFaults.__struct_fields__
LATENCY_NS = 40_000_000
MUTE_MAX_S = 60


class Row(msgspec.Struct, kw_only=True):
    """One order as the venue keeps it."""

    cl_ord_id: ClOrdID
    order_id: OrderID
    instrument: InstrumentID
    side: Side
    ord_type: OrdType
    tif: TimeInForce
    qty: Decimal | None  # None: a cash order that the market has not answered yet
    cash: Decimal | None
    price: Decimal | None
    stop_px: Decimal | None
    foreign: bool
    status: OrdStatus
    visible_ns: int  # listings show it from then on
    history: list[tuple[int, OrdStatus, Decimal]]  # how it stood, for listings that lag
    cum: Decimal = ZERO
    replaced_by: OrderID | None = None
    replaces: OrderID | None = None

    @property
    def leaves(self) -> Decimal:
        return ZERO if self.status.terminal or self.qty is None else max(ZERO, self.qty - self.cum)


class Deal(msgspec.Struct, kw_only=True):
    """One line of the venue's list of executions: a trade, or what takes one back."""

    exec_id: ExecID
    row: Any
    kind: ExecType
    qty: Decimal
    price: Decimal
    cum: Decimal
    ref: ExecID | None
    transact_ns: int
    visible_ns: int
    stands: bool  # it counts: not busted, not corrected away


class Venue:
    """Orders, executions, positions and cash of one account, and the streams that tell of them."""

    def __init__(self, name: BrokerName, semantics: Semantics, faults: VenueFaults, clock: VirtualClock, rng: random.Random) -> None:
        self.name = name
        self.semantics = semantics
        self.faults = faults
        self.clock = clock
        self.rng = rng
        self.hit: Counter[str] = Counter()
        self.rows: list[Row] = []
        self.deals: list[Deal] = []
        self.positions: dict[InstrumentID, Decimal] = {}
        self.cash = CASH
        self.mids = dict(PRICES)
        self.posts: Counter[str] = Counter()
        self.asked: list[int] = []  # when requests came, for the message budget
        self.in_flight: dict[ClOrdID, Approved] = {}  # on their way: sent, and neither arrived nor lost
        self.streams: list[Stream] = []
        self.surprise: Callable[[BrokerName, InstrumentID, Decimal], None] = lambda *_: None  # the position moved, and nobody could know
        self.accepted: Callable[[Approved], None] = lambda _: None
        self.coming = 0
        self._numbers = 0

    # -- chance and time ------------------------------------------------------------------------------------------------------------

    def chance(self, kind: str) -> bool:
        rate: float = getattr(self.faults, kind)
        hit = rate > 0 and self.rng.random() < rate
        if hit:
            self.hit[kind] += 1
        return hit

    def later(self, wait_ns: int, act: Callable[..., None], *what: Any) -> None:
        asyncio.get_running_loop().call_later(wait_ns / SECOND_NS, act, *what)

    def happen(self, wait_ns: int, act: Callable[..., None], *what: Any) -> None:
        """Something that becomes of an order after a while; until then the venue is not at rest."""
        self.coming += 1
        self.later(wait_ns, self._happens, act, what)

    def _happens(self, act: Callable[..., None], what: tuple[Any, ...]) -> None:
        self.coming -= 1
        act(*what)

    def number(self, letter: str) -> str:
        self._numbers += 1
        return f"{self.name}-{letter}{self._numbers}"

    # -- the market -----------------------------------------------------------------------------------------------------------------

    def mid(self, instrument: InstrumentID) -> Decimal:
        """Prices wander by a few basis points, around where they began."""
        start = PRICES[instrument]
        self.mids[instrument] = (start * (10_000 + self.rng.randrange(-30, 31)) / 10_000).quantize(CENT)
        return self.mids[instrument]

    def equity(self) -> Decimal:
        return self.cash + sum((qty * self.mids[instrument] for instrument, qty in self.positions.items()), ZERO)

    # -- orders -----------------------------------------------------------------------------------------------------------------------

    def find(self, cl_ord_id: str) -> Row | None:
        """The newest order under a client id: an id that is not enforced may name several."""
        return next((row for row in reversed(self.rows) if row.cl_ord_id == cl_ord_id), None)

    def by_order_id(self, order_id: OrderID | None) -> Row | None:
        return next((row for row in reversed(self.rows) if row.order_id == order_id), None)

    def taken(self, cl_ord_id: ClOrdID) -> bool:
        """Whether the venue refuses the id as a duplicate."""
        match self.semantics.client_id_scope:
            case ClientIdScope.FOR_EVER:
                return any(row.cl_ord_id == cl_ord_id for row in self.rows)
            case ClientIdScope.OPEN_ORDERS:
                return any(row.cl_ord_id == cl_ord_id and not row.status.terminal for row in self.rows)
            case ClientIdScope.NONE:
                return False

    def accept(self, approved: Approved) -> Row:
        """A new order arrives."""
        request = approved.request
        row = self._enter(
            cl_ord_id=approved.cl_ord_id,
            instrument=request.instrument,
            side=request.side,
            ord_type=request.ord_type,
            tif=request.time_in_force,
            qty=request.order_qty,
            cash=request.cash_order_qty,
            price=request.price,
            stop_px=request.stop_px,
            foreign=False,
        )
        self.accepted(approved)
        if self.semantics.fill_first:
            self._work(row)
            self.emit(row, ExecType.NEW)
        else:
            self.emit(row, ExecType.NEW)
            self._work(row)
        if row.cum == ZERO and self.chance("late_reject"):
            self.happen(self.rng.randrange(1, SECOND_NS), self._reject, row)
        return row

    def foreign(
        self, instrument: InstrumentID, side: Side, qty: Decimal, price: Decimal | None, *, silent: bool = False, cl_ord_id: ClOrdID | None = None
    ) -> Row:
        """Somebody else uses the account. silent: the stream says nothing of it."""
        row = self._enter(
            cl_ord_id=cl_ord_id or ClOrdID(self.rng.choice(("", self.number("f")))),
            instrument=instrument,
            side=side,
            ord_type=OrdType.MARKET if price is None else OrdType.LIMIT,
            tif=TimeInForce.DAY if "/" not in instrument else TimeInForce.GTC,
            qty=qty,
            cash=None,
            price=price,
            stop_px=None,
            foreign=True,
        )
        if not silent:
            self.emit(row, ExecType.NEW)
        if price is None:
            self.trade(row, qty, silent=silent)
        return row

    def _enter(self, **fields: Any) -> Row:
        now_ns, lag_ns = self.clock.now_ns(), self.semantics.visibility_lag_ns
        lag_ns = self.rng.randrange(lag_ns) if lag_ns and self.rng.random() < 0.4 else 0
        row = Row(order_id=OrderID(self.number("o")), status=OrdStatus.NEW, visible_ns=now_ns + lag_ns, history=[], **fields)
        self.rows.append(row)
        self._note(row)
        return row

    def _note(self, row: Row) -> None:
        row.history.append((self.clock.now_ns(), row.status, row.cum))

    def _move(self, row: Row, status: OrdStatus) -> None:
        row.status = status
        self._note(row)

    def _work(self, row: Row) -> None:
        """What the market makes of it: all at once, in parts, later, or never."""
        price, mid = row.price, self.mids[row.instrument]
        crosses = row.stop_px is None and (price is None or (price - mid) * row.side.sign >= 0)
        if row.cash is not None:
            row.qty = (row.cash / mid).quantize(Decimal("0.001"), rounding="ROUND_DOWN")
            self.trade(row, row.qty)
            return
        if not crosses and self.rng.random() < 0.5:
            if row.tif is TimeInForce.IOC:
                self._end(row, OrdStatus.EXPIRED, ExecType.EXPIRED)
            return  # it rests
        wait_ns = 0 if crosses else self.rng.randrange(1, 60) * SECOND_NS
        parts = self.rng.randrange(1, 4)
        assert row.qty is not None
        share = (row.qty / parts).quantize(Decimal(1), rounding="ROUND_UP") if row.qty >= parts else row.qty
        for _ in range(parts):
            if wait_ns:
                self.happen(wait_ns, self.trade, row, share)
            else:
                self.trade(row, share)
            wait_ns += self.rng.randrange(0, self.rng.choice((3, 12)) * SECOND_NS)
        if row.tif is TimeInForce.IOC:
            self.happen(12 * SECOND_NS * parts, self._end, row, OrdStatus.EXPIRED, ExecType.EXPIRED)

    def trade(self, row: Row, qty: Decimal, *, late: bool = False, silent: bool = False) -> None:
        """One execution, as far as the order is open. late: it happened before the order ended, and is told only now."""
        if row.status.terminal and not late:
            return
        over = not late and not row.foreign and row.cash is None and qty >= row.leaves and self.chance("overfill")
        qty = qty if late or over else min(qty, row.leaves)
        if not qty:
            return
        qty += 1 if over else 0
        price = row.price or self.mids[row.instrument]
        row.cum += qty
        if late:
            self._note(row)
        else:
            self._move(row, OrdStatus.FILLED if row.qty is not None and row.cum >= row.qty else OrdStatus.PARTIALLY_FILLED)
        deal = self._deal(row, ExecType.TRADE, qty, price, None)
        if row.foreign or late or over:
            self.surprise(self.name, row.instrument, row.side.sign * qty)
        if not silent:
            self.emit(row, ExecType.TRADE, deal)
        for kind, act in (("bust", self._bust), ("correct", self._correct)):
            if not row.foreign and self.chance(kind):
                self.happen(self.rng.randrange(1, self.rng.choice((3, 30))) * SECOND_NS, act, deal)

    def _deal(self, row: Row, kind: ExecType, qty: Decimal, price: Decimal, ref: ExecID | None) -> Deal:
        now_ns = self.clock.now_ns()
        deal = Deal(
            exec_id=ExecID(self.number("x")),
            row=row,
            kind=kind,
            qty=qty,
            price=price,
            cum=row.cum,
            ref=ref,
            transact_ns=now_ns,
            visible_ns=max(row.visible_ns, now_ns),
            stands=kind is not ExecType.TRADE_CANCEL,
        )
        self.deals.append(deal)
        if deal.stands:
            self._book(row, qty, price)
        return deal

    def _book(self, row: Row, qty: Decimal, price: Decimal) -> None:
        self.positions[row.instrument] = self.positions.get(row.instrument, ZERO) + row.side.sign * qty
        self.cash -= row.side.sign * qty * price

    def _void(self, deal: Deal) -> None:
        deal.stands = False
        self._book(deal.row, -deal.qty, deal.price)

    def _bust(self, deal: Deal) -> None:
        if not deal.stands:
            return
        row = deal.row
        self._void(deal)
        row.cum -= deal.qty
        if row.status is OrdStatus.PARTIALLY_FILLED and not row.cum:
            row.status = OrdStatus.NEW
        self._note(row)
        self.surprise(self.name, row.instrument, -row.side.sign * deal.qty)
        self.emit(row, ExecType.TRADE_CANCEL, self._deal(row, ExecType.TRADE_CANCEL, deal.qty, deal.price, deal.exec_id))

    def _correct(self, deal: Deal) -> None:
        if not deal.stands:
            return
        self._void(deal)
        self.emit(deal.row, ExecType.TRADE_CORRECT, self._deal(deal.row, ExecType.TRADE_CORRECT, deal.qty, deal.price + CENT, deal.exec_id))

    def _reject(self, row: Row) -> None:
        if not row.status.terminal and not row.cum:
            self._end(row, OrdStatus.REJECTED, ExecType.REJECTED)

    def _end(self, row: Row, status: OrdStatus, exec_type: ExecType) -> None:
        if not row.status.terminal:
            self._move(row, status)
            self.emit(row, exec_type)

    def cancel(self, row: Row) -> None:
        """A cancel arrives; one for an order that is done changes nothing."""
        if row.status.terminal:
            return
        if not self.semantics.cancel_is_request or row.foreign:
            self._cancelled(row)
            return
        self._move(row, OrdStatus.PENDING_CANCEL)
        self.emit(row, ExecType.PENDING_CANCEL)
        self.happen(self.rng.randrange(1, 3 * SECOND_NS), self._cancelled, row)

    def _cancelled(self, row: Row) -> None:
        if row.status.terminal:
            return
        left = row.leaves
        self._end(row, OrdStatus.CANCELED, ExecType.CANCELED)
        if left >= 1 and not row.foreign and self.chance("late_fill"):
            self.happen(self.rng.randrange(1, 5 * SECOND_NS), lambda: self.trade(row, Decimal(1), late=True))

    def replace(self, old: Row, approved: Approved) -> Row | None:
        """A change arrives. None: refused, because the order is done or has begun to fill."""
        if old.status not in (OrdStatus.NEW, OrdStatus.PENDING_CANCEL) or old.cum or self.semantics.change is Change.NONE:
            return None
        request = approved.request
        row = self._enter(
            cl_ord_id=approved.cl_ord_id,
            instrument=old.instrument,
            side=old.side,
            ord_type=old.ord_type,
            tif=old.tif,
            qty=request.order_qty,
            cash=request.cash_order_qty,
            price=request.price,
            stop_px=request.stop_px,
            foreign=False,
        )
        if self.semantics.change is Change.KEEPS_ID:
            row.order_id = old.order_id
        row.replaces, old.replaced_by = old.order_id, row.order_id
        self._end(old, OrdStatus.REPLACED, ExecType.REPLACED)
        self.accepted(approved)
        self.emit(row, ExecType.NEW)
        self._work(row)
        return row

    # -- what is told -----------------------------------------------------------------------------------------------------------------

    def report(self, row: Row, exec_type: ExecType, deal: Deal | None = None, *, as_of_ns: int | None = None) -> ExecutionReport:
        """How an order stands, or what just happened to it."""
        status, cum, now_ns = row.status, row.cum, self.clock.now_ns()
        if as_of_ns is not None:
            status, cum = next(((status, cum) for at_ns, status, cum in reversed(row.history) if at_ns <= as_of_ns), row.history[0][1:])
        if deal is not None:
            cum = deal.cum
            status = status if status.terminal and status is not OrdStatus.FILLED else _trading(row, cum)
        return ExecutionReport(
            broker=self.name,
            cl_ord_id=row.cl_ord_id,
            order_id=row.order_id,
            exec_type=exec_type,
            ord_status=status,
            instrument=row.instrument,
            side=row.side,
            ord_type=row.ord_type,
            time_in_force=row.tif,
            order_qty=None if row.cash is not None else row.qty,
            cash_order_qty=row.cash,
            price=row.price,
            stop_px=row.stop_px,
            cum_qty=cum if self.semantics.says_cum else None,
            exec_id=None if deal is None else deal.exec_id,
            exec_ref_id=None if deal is None else deal.ref,
            last_qty=ZERO if deal is None else deal.qty,
            last_px=ZERO if deal is None else deal.price,
            replaced_by=row.replaced_by,
            replaces=row.replaces,
            transact_ns=now_ns if deal is None else deal.transact_ns,
            recv_ns=now_ns,
        )

    def emit(self, row: Row, exec_type: ExecType, deal: Deal | None = None) -> None:
        for stream in tuple(self.streams):
            stream.deliver(self.report(row, exec_type, deal))

    def open(self) -> "Stream":
        stream = Stream(self)
        self.streams.append(stream)
        return stream

    def drop_all(self) -> None:
        for stream in tuple(self.streams):
            stream.drop()


def _trading(row: Row, cum: Decimal) -> OrdStatus:
    if row.qty is not None and cum >= row.qty:
        return OrdStatus.FILLED
    return OrdStatus.PARTIALLY_FILLED if cum else OrdStatus.NEW


class Stream:
    """One connection: frames arrive in order after their latency, unless a fault says otherwise."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._inbox: asyncio.Queue[ExecutionReport | None] = asyncio.Queue()  # the end of the stream is None
        self._last_ns = 0
        self._mute_until_ns = 0
        self.lost = False

    async def receive(self) -> ExecutionReport | None:
        return await self._inbox.get()

    def deliver(self, report: ExecutionReport) -> None:
        venue = self._venue
        if venue.chance("disconnect"):
            self.drop()
            return
        now_ns = venue.clock.monotonic_ns()
        if venue.chance("mute"):
            self._mute_until_ns = now_ns + venue.rng.randrange(1, MUTE_MAX_S) * SECOND_NS
            venue.later(self._mute_until_ns - now_ns, self.drop)
        if now_ns < self._mute_until_ns or venue.chance("lost_frame"):
            return
        for _ in range(2 if venue.chance("duplicate_frame") else 1):
            due_ns = now_ns + venue.rng.randrange(1, LATENCY_NS)
            if venue.chance("reordered_frame"):
                due_ns += venue.rng.randrange(3 * SECOND_NS)
            else:
                due_ns = self._last_ns = max(due_ns, self._last_ns + 1)
            venue.later(due_ns - now_ns, self._arrive, report)

    def _arrive(self, report: ExecutionReport) -> None:
        if not self.lost:
            self._inbox.put_nowait(report)

    def drop(self) -> None:
        if not self.lost:
            self.lost = True
            self._venue.streams.remove(self)
            self._inbox.put_nowait(None)
