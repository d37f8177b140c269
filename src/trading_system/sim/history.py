"""A Broker on history: orders meet the bars, quotes and trades of the past, in the order in which they came, and nothing of what came later.

Of a bar only four prices are known. They are taken to be visited from the open to the nearer extreme, to the other one, to the close; an order that
came before the bar began meets its open first. A market order pays half the spread and the slippage; a limit order fills at its price when the market
goes beyond it, a stop at its price or, where the market opens beyond it, at the open. No order takes more than a share of a bar's volume. What is
borrowed, money or units, costs interest by the day; of swaps nothing is, and who is long pays funding to who is short, at a constant rate.

Pure but for the port's async signatures: nothing here waits, reads a clock or a file. The driver moves the time; fills are told to `tell` at once.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from decimal import Decimal

import msgspec

from trading_system.domain.account import AccountSnapshot, Flow, Position
from trading_system.domain.errors import BadRequest, Rejected
from trading_system.domain.fix import Contingency, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.money import ONE, ZERO, plain, round_qty
from trading_system.domain.order import Approved, Order
from trading_system.domain.ports import ClientIdScope, Facts, Kinds, LinkRule, OrderRule, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.sim.paper_account import PaperAccount, PaperOrder

DAY_NS = 86_400_000_000_000
_TYPES = frozenset({OrdType.MARKET, OrdType.LIMIT, OrdType.STOP, OrdType.STOP_LIMIT})
_TIMES = frozenset({TimeInForce.DAY, TimeInForce.GTC})
_TWO = Decimal(2)
_YEAR = Decimal(365)


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What trading costs beside the broker's fees. spread, slippage: fractions of the price; participation: most of a bar's volume that one order
    takes; margin: equity times this may be held; borrow: what borrowed money, and units that are short, cost a year; funding: what a long swap pays a
    year, by default the interest that Bybit starts from, 0.01 % each eight hours."""

    spread: Decimal = Decimal("0.0002")
    slippage: Decimal = Decimal("0.0001")
    participation: Decimal = Decimal("0.1")
    margin: Decimal = ONE
    borrow: Decimal = Decimal("0.05")
    funding: Decimal = Decimal("0.1095")
    latency_ns: int = 0
    maker_fee: Decimal | None = None  # None: the broker's
    taker_fee: Decimal | None = None


def history_facts(facts: Facts) -> Facts:
    """What is left of a broker's capabilities where its market is the past: the order types this file knows, and the brackets it holds."""
    rules = tuple(
        OrderRule(rule.asset_class, rule.ord_types & _TYPES, rule.times_in_force & _TIMES, fractional=rule.fractional)
        for rule in facts.rules
        if rule.ord_types & _TYPES and rule.times_in_force & _TIMES
    )
    links = tuple(
        LinkRule(
            link.asset_class,
            frozenset({Contingency.BRACKET}),
            link.ord_types & frozenset({OrdType.MARKET, OrdType.LIMIT}),
            link.times_in_force & _TIMES,
            can_replace=False,
        )
        for link in facts.links
        if Contingency.BRACKET in link.contingencies
    )
    return msgspec.structs.replace(
        facts,
        title=f"{facts.title} (history)",
        rules=rules,
        links=links,
        legs_max=0,
        client_id_scope=ClientIdScope.FOR_EVER,
        late_accept_ns=0,
        visibility_lag_ns=0,
        can_replace=False,
        max_fee_in_kind=ZERO,
    )


def best_of(book: BookSnapshot) -> Quote:
    """The best level of each side."""
    (bid, bid_qty), (ask, ask_qty) = book.bids[0], book.asks[0]
    return Quote(
        instrument=book.instrument, bid_px=bid, bid_qty=bid_qty, ask_px=ask, ask_qty=ask_qty, transact_ns=book.transact_ns, recv_ns=book.recv_ns
    )


class _Exits(msgspec.Struct):
    """The exits of a bracket: at this price, or at that stop, whichever is first."""

    take_profit: PaperOrder | None
    stop: PaperOrder | None


class HistoryBroker:
    """A Connector on the past. Orders rest until the driver shows it what happened next."""

    def __init__(self, facts: Facts, instruments: Sequence[Instrument], *, cash: Decimal, currency: str, costs: Costs) -> None:
        self.facts = history_facts(facts)
        self.tell: Callable[[ExecutionReport], object] = lambda _report: None  # the desk's on_report
        self.now_ns = 0
        self.interest = ZERO  # paid so far
        self.counted: Collection[InstrumentID] = ()  # whose bars say how much was traded: of one without volume nothing is to be had then
        self._costs = costs
        self._maker = facts.maker_fee if costs.maker_fee is None else costs.maker_fee
        self._taker = facts.taker_fee if costs.taker_fee is None else costs.taker_fee
        self._currency = currency
        self._instruments = {instrument.id: instrument for instrument in instruments}
        self._account = PaperAccount(broker=facts.broker, moneys={currency: cash}, last_equity=cash)
        self._open: dict[InstrumentID, list[PaperOrder]] = {}
        self._ended: dict[ClOrdID, PaperOrder] = {}
        self._exits: dict[ClOrdID, _Exits] = {}  # by entry
        self._entry_of: dict[ClOrdID, ClOrdID] = {}
        self._expires_ns: dict[ClOrdID, int] = {}  # day orders, from the first time on at which they met the market
        self._px: dict[InstrumentID, Decimal] = {}  # the last price of each
        self._quotes: dict[InstrumentID, Quote] = {}
        self._bars: dict[InstrumentID, list[Bar]] = {}
        self._day = 0
        self._done: set[ClOrdID] = set()  # orders that have had their share of this bar, or of this trade

    # -- what the driver shows -----------------------------------------------------------------------------------------------------

    def busy(self) -> bool:
        """Whether anything rests that a price could reach."""
        return any(self._open.values())

    def worth(self) -> tuple[Decimal, Decimal]:
        """The equity at this moment, and what is held, long and short together."""
        equity, held = self._account.moneys[self._currency], ZERO
        for name, qty in self._account.units.items():
            value = qty * self._px[name] * self._instruments[name].multiplier
            equity, held = equity + value, held + abs(value)
        return equity, held

    def open_bar(self, bar: Bar) -> None:
        """A bar begins: what came before it meets its open."""
        self._see(bar.instrument, bar.open, bar.open_ns)
        self._done.clear()
        if self._open.get(bar.instrument):
            self._at(bar.instrument, bar.open, self._share(bar), bar.open_ns)

    def walk_bar(self, bar: Bar) -> None:
        """The bar's prices, in the order that is taken for theirs; then its close stands."""
        most = self._share(bar)
        points = (bar.low, bar.high) if bar.open - bar.low <= bar.high - bar.open else (bar.high, bar.low)
        before = bar.open
        for point in (*points, bar.close):
            if self._open.get(bar.instrument):
                self._between(bar.instrument, before, point, most, bar.open_ns)
            before = point

    def close_bar(self, bar: Bar) -> None:
        self._see(bar.instrument, bar.close, bar.open_ns + bar.period_ns)
        self._bars.setdefault(bar.instrument, []).append(bar)

    def show_quote(self, quote: Quote) -> None:
        """A quote of the past: its own spread is paid, not ours, and its size is what there was."""
        self.now_ns = max(self.now_ns, quote.transact_ns)
        self._roll()
        if self._expires_ns:
            self._expire()
        mid = quote.mid
        if mid is None:
            return
        before = self._px.get(quote.instrument, mid)
        self._px[quote.instrument], self._quotes[quote.instrument] = mid, msgspec.structs.replace(quote, recv_ns=self.now_ns)
        for order in list(self._open.get(quote.instrument, ())):
            touch = quote.touch(order.side)
            size = quote.ask_qty if order.side is Side.BUY else quote.bid_qty
            if touch is not None and order.submitted_ns + self._costs.latency_ns <= quote.transact_ns:
                self._meet(order, touch, before, size or None, exact=True)

    def show_depth(self, book: BookSnapshot) -> None:
        """A book of the past: orders eat into it level by level, each what there was."""
        self.show_quote(best_of(book))
        for order in list(self._open.get(book.instrument, ())):
            if order.submitted_ns + self._costs.latency_ns > book.transact_ns:
                continue
            for price, qty in (book.asks if order.side is Side.BUY else book.bids)[1:]:  # the first was met as a quote
                if order.ord_status.terminal or (order.price is not None and (order.price - price) * order.side.sign < 0):
                    break
                if order.stop_px is None or order.triggered:
                    self._fill(order, price, qty or None, maker=False)

    def show_trade(self, trade: Trade) -> None:
        """A trade of the past: its price is all there was, so what the market jumped over is met where it landed. Limits it went through fill at
        their own."""
        before = self._px.get(trade.instrument, trade.price)
        self._see(trade.instrument, trade.price, trade.transact_ns)
        for order in list(self._open.get(trade.instrument, ())):
            touched = order.price == trade.price and (order.stop_px is None or order.triggered)  # others may have been before it
            if order.submitted_ns + self._costs.latency_ns <= trade.transact_ns and not order.ord_status.terminal and not touched:
                self._meet(order, trade.price, before, trade.qty, exact=False)

    def dividend(self, instrument: InstrumentID, amount: Decimal) -> Decimal:
        """Money for each unit held; what is short pays it."""
        paid = self._account.units.get(instrument, ZERO) * amount
        self._account.moneys[self._currency] += paid
        return paid

    # -- prices --------------------------------------------------------------------------------------------------------------------

    def _see(self, instrument: InstrumentID, price: Decimal, now_ns: int) -> None:
        if now_ns > self.now_ns:
            self.now_ns = now_ns
            if now_ns // DAY_NS != self._day:
                self._roll()
        if self._expires_ns:
            self._expire()
        self._px[instrument] = price
        self._quotes.pop(instrument, None)

    def _roll(self) -> None:
        """A new day: interest for what is borrowed, funding for swaps, and the equity that the day begins with."""
        day = self.now_ns // DAY_NS
        if day == self._day:
            return
        days, self._day = day - self._day if self._day else 0, day
        account = self._account
        if days:
            worths = {name: self._instruments[name].pricing.worth(qty, self._px[name]) for name, qty in account.units.items()}
            swaps = [name for name in worths if self._instruments[name].asset_class is AssetClass.PERPETUAL]
            stand = sum((self._instruments[name].pricing.worth(account.units[name], account.avg_px[name]) for name in swaps), ZERO)  # cost no money
            short = -sum((worth for name, worth in worths.items() if worth < 0 and name not in swaps), ZERO)
            borrowed = max(ZERO, -account.moneys[self._currency] - stand) + short
            funded = sum((worths[name] for name in swaps), ZERO)
            cost = (borrowed * self._costs.borrow + funded * self._costs.funding) * days / _YEAR
            account.moneys[self._currency] -= cost
            self.interest += cost
        account.last_equity = self.worth()[0]

    def _day_end_ns(self, instrument: InstrumentID) -> int:
        """Until when an order for the day works: the end of the session that is on, or of the UTC day where there are no sessions."""
        windows = self._instruments[instrument].hours.windows
        place = bisect_right(windows, self.now_ns, key=lambda window: window.open_ns) - 1
        return windows[place].close_ns if place >= 0 else (self.now_ns // DAY_NS + 1) * DAY_NS

    def _expire(self) -> None:
        due = [name for name, end_ns in self._expires_ns.items() if end_ns <= self.now_ns]
        for name in due:
            self._end(self._account.orders[name], OrdStatus.EXPIRED, "the day is over")

    def _share(self, bar: Bar) -> Decimal | None:
        """Most units that an order takes of a bar; None: its volume is not known."""
        return bar.volume * self._costs.participation if bar.volume or bar.instrument in self.counted else None

    def _at(self, instrument: InstrumentID, price: Decimal, most: Decimal | None, now_ns: int) -> None:
        """Everything that may trade at one price: market orders, limits it is beyond, stops it has passed."""
        for order in list(self._open.get(instrument, ())):
            if order.submitted_ns + self._costs.latency_ns <= now_ns and not order.ord_status.terminal:
                self._meet(order, price, price, most, exact=False)

    def _meet(self, order: PaperOrder, price: Decimal, before: Decimal, most: Decimal | None, *, exact: bool) -> None:
        """One order against a price it could trade at now. exact: the price has the spread in it already."""
        if order.time_in_force is TimeInForce.DAY:
            self._expires_ns.setdefault(order.cl_ord_id, self._day_end_ns(order.instrument))
        if order.stop_px is not None and not order.triggered:
            if (price - order.stop_px) * order.side.sign < 0:
                return
            order.triggered = True
        if order.price is None:
            self._fill(order, price if exact else self._worse(order.side, price), most, maker=False)
        elif (order.price - price) * order.side.sign >= 0:
            rested = (order.price - before) * order.side.sign < 0 or before == order.price != price  # the market came to it
            self._fill(order, order.price if rested else price, most, maker=rested)

    def _between(self, instrument: InstrumentID, start: Decimal, end: Decimal, most: Decimal | None, now_ns: int) -> None:
        """The market goes from one price to another: what is in its way, the nearest first. An exit that wakes on the way is in the way too."""
        here = start
        while True:
            found = None
            for order in self._open.get(instrument, ()):
                reached = self._reached(order, here, end, now_ns)
                if reached is not None and (found is None or abs(reached - here) < abs(found[1] - here)):
                    found = order, reached
            if found is None:
                return
            order, here = found
            self._done.add(order.cl_ord_id)
            waited = order.stop_px is not None and not order.triggered
            order.triggered = order.triggered or waited
            if order.price is None:
                self._fill(order, self._worse(order.side, here), most, maker=False)
            elif not waited or (order.price - here) * order.side.sign >= 0:
                self._fill(order, here, most, maker=not waited)

    def _reached(self, order: PaperOrder, start: Decimal, end: Decimal, now_ns: int) -> Decimal | None:
        """Where on its way from start to end the market sets off or fills this order; None: not."""
        if order.submitted_ns + self._costs.latency_ns > now_ns or order.cl_ord_id in self._done:
            return None
        if order.stop_px is not None and not order.triggered:  # reached by a price that gets worse; where that is jumped over, at where it lands
            if (end - order.stop_px) * order.side.sign < 0:
                return None
            return max(order.stop_px, start) if order.side is Side.BUY else min(order.stop_px, start)
        if order.price is None:
            return start
        beyond = end < order.price if order.side is Side.BUY else end > order.price
        return order.price if beyond else None

    def _worse(self, side: Side, price: Decimal) -> Decimal:
        return price * (ONE + side.sign * (self._costs.spread / _TWO + self._costs.slippage))

    # -- orders --------------------------------------------------------------------------------------------------------------------

    def _fill(self, order: PaperOrder, price: Decimal, most: Decimal | None, *, maker: bool) -> None:
        instrument = self._instruments[order.instrument]
        qty = order.left if most is None else min(order.left, round_qty(most, instrument.lot))
        if not qty:
            return
        self._done.add(order.cl_ord_id)
        tick = instrument.tick(price)
        price = (price / tick).to_integral_value() * tick
        report = self._account.fill(order, qty, price, self._maker if maker else self._taker, instrument.multiplier, self.now_ns)
        if order.ord_status.terminal:
            self._drop(order)
        entry = self._entry_of.get(order.cl_ord_id)
        self.tell(report if entry is None else msgspec.structs.replace(report, parent=entry))
        if entry is not None:
            self._one_ends_the_other(entry, order, qty)
        elif order.cl_ord_id in self._exits and order.ord_status is OrdStatus.FILLED:
            self._wake(order)

    def _wake(self, entry: PaperOrder) -> None:
        """The entry is filled: its exits work from now on."""
        exits = self._exits[entry.cl_ord_id]
        for exit_ in (exits.take_profit, exits.stop):
            if exit_ is not None and not exit_.ord_status.terminal:
                exit_.ord_status, exit_.submitted_ns = OrdStatus.NEW, entry.submitted_ns
                self._open.setdefault(exit_.instrument, []).append(exit_)
                self._tell(exit_, ExecType.NEW)

    def _one_ends_the_other(self, entry: ClOrdID, filled: PaperOrder, qty: Decimal) -> None:
        exits = self._exits[entry]
        for other in (exits.take_profit, exits.stop):
            if other is None or other is filled or other.ord_status.terminal:
                continue
            if filled.ord_status is OrdStatus.FILLED:
                self._end(other, OrdStatus.CANCELED, "the other exit has filled")
            else:
                other.qty -= qty
                self._tell(other, ExecType.ORDER_STATUS)

    def _end(self, order: PaperOrder, status: OrdStatus, text: str) -> None:
        self._drop(order)
        report = self._account.end(order, status, text, self.now_ns)
        entry = self._entry_of.get(order.cl_ord_id)
        self.tell(report if entry is None else msgspec.structs.replace(report, parent=entry))
        exits = self._exits.get(order.cl_ord_id)
        if exits is not None and not order.cum_qty:
            for exit_ in (exits.take_profit, exits.stop):
                if exit_ is not None and not exit_.ord_status.terminal:
                    self._end(exit_, OrdStatus.CANCELED, "its entry has ended")

    def _drop(self, order: PaperOrder) -> None:
        """It is over: the account need not look at it any more."""
        orders = self._open.get(order.instrument)
        if orders is not None and order in orders:
            orders.remove(order)
        self._expires_ns.pop(order.cl_ord_id, None)
        self._ended[order.cl_ord_id] = self._account.orders.pop(order.cl_ord_id, order)

    def _tell(self, order: PaperOrder, exec_type: ExecType) -> None:
        report = self._account.report(order, exec_type, self.now_ns)
        entry = self._entry_of.get(order.cl_ord_id)
        self.tell(report if entry is None else msgspec.structs.replace(report, parent=entry))

    # -- Broker --------------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        return None

    async def aclose(self) -> None:
        return None

    def skew_ns(self) -> int:
        return 0

    async def account(self) -> AccountSnapshot:
        return self.snapshot()

    def snapshot(self) -> AccountSnapshot:
        """The account at the prices of this moment."""
        account = self._account
        equity, held = self.worth()
        positions = tuple(
            Position(instrument=name, qty=qty, avg_px=account.avg_px.get(name, ZERO), mark_px=self._px[name], unrealized_pnl=ZERO)
            for name, qty in account.units.items()
        )
        held = sum(
            (abs(position.qty) * self._px[position.instrument] * self._instruments[position.instrument].multiplier for position in positions), ZERO
        )
        free = account.free(self._currency)
        power = free if self._costs.margin == ONE else max(ZERO, equity * self._costs.margin - held - (account.moneys[self._currency] - free))
        return AccountSnapshot(
            broker=account.broker,
            account="HISTORY",
            environment="paper",
            currency=self._currency,
            equity=equity,
            last_equity=equity if account.last_equity is None else account.last_equity,
            cash=account.moneys[self._currency],
            buying_power=max(ZERO, power),
            positions=positions,
            tradable=True,
            text="history",
            transact_ns=self.now_ns,
            recv_ns=self.now_ns,
        )

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        missing = [symbol for symbol in symbols if symbol not in self._instruments]
        if missing:
            raise BadRequest(f"the data has no {', '.join(missing)}; it has {', '.join(self._instruments)}")
        return tuple(self._instruments[symbol] for symbol in symbols or self._instruments)

    async def submit(self, approved: Approved) -> ExecutionReport:
        request, now_ns = approved.request, self.now_ns
        instrument, price = self._instruments[request.instrument], self._px.get(request.instrument)
        if price is None:
            raise Rejected(f"nothing of {request.instrument} has been seen yet", "no_market")
        qty = request.order_qty
        if qty is None:
            qty = round_qty((request.cash_order_qty or ZERO) / self._worse(request.side, price) / instrument.multiplier, instrument.lot)
            if not qty:
                raise Rejected("the amount does not buy a lot", "too_small")
        held = request.price or request.stop_px or price
        order = self._order(approved.cl_ord_id, request.instrument, request.side, request.ord_type, request.time_in_force, qty)
        order.price, order.stop_px = request.price, request.stop_px
        margin = ONE if request.price is not None else 1 + self._costs.spread + self._costs.slippage
        order.reserve_px = held * margin * (1 + self._taker)
        equity = self.worth()[0]
        report = self._account.take(order, instrument, equity, credit=equity * (self._costs.margin - 1))
        self._open.setdefault(request.instrument, []).append(order)
        if request.attached is None:
            return report
        way = {"side": request.side.opposite, "instrument": request.instrument, "time_in_force": TimeInForce.GTC, "qty": qty}
        profit = stop = None
        if request.attached.take_profit_px is not None:
            profit = self._child(order, OrdType.LIMIT, **way)
            profit.price = request.attached.take_profit_px
        if request.attached.stop_px is not None:
            limit = request.attached.stop_limit_px
            stop = self._child(order, OrdType.STOP if limit is None else OrdType.STOP_LIMIT, **way)
            stop.stop_px, stop.price = request.attached.stop_px, limit
        self._exits[order.cl_ord_id] = _Exits(profit, stop)
        children = tuple(self._account.report(child, ExecType.NEW, now_ns) for child in (profit, stop) if child is not None)
        return msgspec.structs.replace(report, children=children)

    def _order(
        self, cl_ord_id: ClOrdID, instrument: InstrumentID, side: Side, ord_type: OrdType, time_in_force: TimeInForce, qty: Decimal
    ) -> PaperOrder:
        return PaperOrder(
            cl_ord_id=cl_ord_id,
            order_id=OrderID(f"H{self._account.named()}"),
            instrument=instrument,
            currency=self._currency,
            side=side,
            ord_type=ord_type,
            time_in_force=time_in_force,
            qty=qty,
            price=None,
            stop_px=None,
            reserve_px=ZERO,
            submitted_ns=self.now_ns,
            updated_ns=self.now_ns,
        )

    def _child(self, entry: PaperOrder, ord_type: OrdType, **how: object) -> PaperOrder:
        child = self._order(ClOrdID(f"{entry.order_id}-{ord_type}"), ord_type=ord_type, **how)  # type: ignore[arg-type]
        child.ord_status = OrdStatus.SUSPENDED
        self._account.orders[child.cl_ord_id] = child
        self._entry_of[child.cl_ord_id] = entry.cl_ord_id
        return child

    async def replace(self, approved: Approved) -> ExecutionReport:
        raise Rejected("history takes no changes: cancel, then place anew", "no_replace")

    async def cancel(self, order: Order) -> ExecutionReport:
        known = self._known(order.cl_ord_id)
        if known is None:
            raise Rejected(f"no order {order.cl_ord_id}", "unknown")
        if known.ord_status.terminal:
            return self._account.report(known, ExecType.CANCEL_REJECTED, self.now_ns)
        self._end(known, OrdStatus.CANCELED, "")
        entry = self._entry_of.get(order.cl_ord_id)
        if entry is not None:  # the two exits of a bracket go together
            for other in (self._exits[entry].take_profit, self._exits[entry].stop):
                if other is not None and not other.ord_status.terminal:
                    self._end(other, OrdStatus.CANCELED, "the other exit was cancelled")
        return self._account.report(known, ExecType.CANCELED, self.now_ns)

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        return tuple(self._account.report(order, ExecType.ORDER_STATUS, self.now_ns) for order in self._account.open_orders())

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        order = self._known(cl_ord_id)
        return None if order is None else self._account.report(order, ExecType.ORDER_STATUS, self.now_ns)

    def _known(self, cl_ord_id: ClOrdID) -> PaperOrder | None:
        return self._account.orders.get(cl_ord_id) or self._ended.get(cl_ord_id)

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        return tuple(report for report in self._account.executions if report.transact_ns >= since_ns)

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        return ()

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        return
        yield

    # -- MarketData: of the past up to now -----------------------------------------------------------------------------------------

    async def quote(self, instrument: InstrumentID) -> Quote:
        return self.latest(instrument)

    def latest(self, instrument: InstrumentID) -> Quote:
        """What is quoted at this moment of the past: as recorded, or around the last price."""
        known = self._quotes.get(instrument)
        if known is not None:
            return msgspec.structs.replace(known, transact_ns=self.now_ns, recv_ns=self.now_ns)
        price = self._px.get(instrument)
        if price is None:
            raise BadRequest(f"nothing of {instrument} has been seen yet")
        half = price * self._costs.spread / _TWO
        return Quote(
            instrument=instrument,
            bid_px=price - half,
            bid_qty=ONE,
            ask_px=price + half,
            ask_qty=ONE,
            transact_ns=self.now_ns,
            recv_ns=self.now_ns,
        )

    async def trade(self, instrument: InstrumentID) -> Trade:
        raise BadRequest("history keeps no trades")

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        raise BadRequest("history keeps no quotes")

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        raise BadRequest("history keeps no trades")

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        """Those of the data's own period that are over."""
        known = self._bars.get(instrument, [])
        if known and known[-1].period_ns != period_ns:
            raise BadRequest(f"the data has bars of {plain(Decimal(known[-1].period_ns) / 1_000_000_000)} s")
        return tuple(bar for bar in known if start_ns <= bar.open_ns < end_ns)

    def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        raise BadRequest("history is driven, not subscribed to")
