"""What happens to one account without an order of this desk: transfers, dividends, splits, fees in kind, and whatever nobody can explain."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

from trading_system.app.desk import Desk
from trading_system.core.ledger import before_transfer
from trading_system.core.reconcile import CASH_MAX, Difference, Kind, compare_cash, compare_positions
from trading_system.core.risk import Halt, Level
from trading_system.domain.account import AccountSnapshot, Flow, FlowKind
from trading_system.domain.errors import BadRequest, DeskError, Unavailable
from trading_system.domain.fix import Doubt
from trading_system.domain.future import parse_future
from trading_system.domain.ids import BrokerName, InstrumentID, OrderID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ONE, ZERO, plain
from trading_system.domain.option import is_option, parse_option
from trading_system.domain.order import Order
from trading_system.journal.record import Adjusted, CashAdjusted, Flowed
from trading_system.journal.replay import NS_PER_DAY, flow_key

SECOND_NS = 1_000_000_000
MISMATCH_NS = 5 * SECOND_NS  # a difference must last this long, over two looks
CASH_HALT_NS = 60 * SECOND_NS  # and one of money this long
FLOWS_EVERY_NS = 300 * SECOND_NS  # flows are read this often, and whenever something differs
FLOWS_BACK_NS = 7 * NS_PER_DAY  # how far before the last look they are read again: entries are booked late and dated back
SETTLED_WITHIN = Decimal("0.2")  # how far a future's last price may be from what it was worth before, and its end still explain the money
_FIRST_LOOKS_MAX = 3


class Outside:
    """One account's units and money against the ledger's. Books what a flow explains, halts for what nothing does; never trades."""

    def __init__(self, desk: Desk, name: BrokerName) -> None:
        self.matched = False  # the last look found nothing unexplained
        self._desk = desk
        self._name = name
        self._asked_ns = -FLOWS_EVERY_NS  # here and below in time that has passed: time of day may step
        self._units_off: dict[InstrumentID, int] = {}  # since when
        self._cash_off: dict[str, tuple[Decimal, int]] = {}  # by currency: how much, since when
        self._cash_told: dict[str, Decimal] = {}

    async def explain(self, snapshot: AccountSnapshot) -> bool:
        """Before a snapshot is judged: look for what moved money or units meanwhile, where something differs. True: it did, look again."""
        desk = self._desk
        if self._name not in desk.books.cash_opened:
            return False  # the first look takes everything as it is
        if not self._moneys_off(snapshot) and not self._units(snapshot) and desk.clock.monotonic_ns() - self._asked_ns < FLOWS_EVERY_NS:
            return False
        with suppress(Unavailable):  # then the limits judge what they see
            return await self._read_flows(prior=False)
        return False

    async def compare(self, listed: Collection[OrderID | None] | None = None) -> None:
        """One look at units and money. Figures that an execution has overtaken are of a moment before: the next look has others. listed: the first
        look ever, and the orders that were open as it began.

        Raises: Unavailable: somebody traded meanwhile; the first look is taken again.
        """
        first = listed is not None
        books = self._desk.books
        if first or self._name not in books.cash_opened:  # version 0.1.0 knew no money
            snapshot = await self._first_snapshot(listed)
            bookings = books.bookings
        else:
            bookings = books.bookings
            snapshot = await self._desk.refresh_account(self._name)
            if not any(order.broker == self._name and _moves(order) for order in books.blotter.unsettled()):
                await self._end_futures(snapshot)
        found = [(difference, self._reason(difference, first=first)) for difference in self._units(snapshot)]
        for difference, reason in found:
            if reason and books.expected.get((self._name, difference.instrument)):
                await self._price(difference.instrument)
            if reason and (self._name, difference.instrument) not in books.asset_classes:  # what has ended is not there to be asked for
                with suppress(BadRequest):  # nor what is not traded here
                    await self._desk.instrument(self._name, difference.instrument)
        if bookings != books.bookings:
            self.matched = False
            if first:
                raise Unavailable(f"somebody traded at {self._name} while its account was looked at for the first time")
            return
        for difference, reason in found:
            if reason:
                self._desk.adopting.discard(f"{self._name}:{difference.instrument}")
                self._adjust(difference, snapshot, reason)
        lasting = [difference for difference, reason in found if not reason]
        self._judge_units(lasting)
        self.matched = self._judge_cash(snapshot) and not lasting

    def untouched(self, snapshot: AccountSnapshot, order: Order) -> bool:
        """Whether the account shows that this order moved nothing: its units and all money are as they are here, no order's motion taken for an
        excuse, and no fill that is known and not booked yet may hide what it did. Another one in doubt hides nothing: it would move money of its
        own. What fees can have taken is none of its doing, nor what somebody was told of before."""
        books, about = self._desk.books, _about(order)
        if any(other.broker == self._name and other.unbooked_qty and about & _about(other) for other in books.blotter.unsettled()):
            return False
        units = [difference for difference in self._differing(snapshot, {}) if difference.instrument in about and difference.kind is not Kind.FEE]
        off = self._moneys_off(snapshot, self._fees_on_sales()) if self._name in books.cash_opened else {}
        moneys = [currency for currency, (amount, fee) in off.items() if not fee and amount != self._cash_told.get(currency)]
        return not units and not moneys

    def _reason(self, difference: Difference, *, first: bool) -> str:
        """Why the broker's figure may be taken over; none: a person must say so."""
        if first:
            return "found at the first start"
        if f"{self._name}:{difference.instrument}" in self._desk.adopting:
            return "taken over from the broker by the owner"
        return {Kind.FEE: "a fee charged in units", Kind.EXPECTED: "a transfer in kind or a corporate action"}.get(difference.kind, "")

    async def _first_snapshot(self, listed: Collection[OrderID | None] | None) -> AccountSnapshot:
        """What the desk begins with, and every flow and execution that is part of it. An order that came up since may have traded what is shown."""
        desk, books = self._desk, self._desk.books
        for _ in range(_FIRST_LOOKS_MAX):
            await self._read_flows(prior=True)
            bookings = books.bookings
            snapshot = await desk.refresh_account(self._name)
            for fill in await desk.brokers[self._name].fills(books.first_start_ns[self._name]):
                desk.on_report(fill)
            came = listed is not None and any(order.order_id not in listed for order in self._recent())
            if not await self._read_flows(prior=True) and bookings == books.bookings and not came:
                return snapshot
        raise Unavailable(f"somebody trades at {self._name} while its account is looked at for the first time")

    def _recent(self) -> Iterable[Order]:
        """Working orders that the broker's questions may not show yet."""
        desk = self._desk
        seen_ns = desk.clock.now_ns() - desk.brokers[self._name].facts.visibility_lag_ns - MISMATCH_NS
        orders = (order for order in desk.books.blotter.working() if order.broker == self._name and order.doubt is Doubt.NONE)
        return (order for order in orders if order.updated_ns > seen_ns)

    # -- flows --------------------------------------------------------------------------------------------------------------------

    async def _read_flows(self, *, prior: bool) -> bool:
        """Book every flow that is new. True: there were some."""
        desk, books = self._desk, self._desk.books
        known_ns = (at_ns for (name, _), at_ns in books.flows.items() if name == self._name)
        last_ns = max(known_ns, default=books.first_start_ns.get(self._name, desk.clock.now_ns()))  # ids are remembered for longer
        found = await desk.brokers[self._name].flows(last_ns - FLOWS_BACK_NS)
        for flow in found:
            if flow.kind is FlowKind.TRANSFER and flow.instrument is not None and not prior and flow_key(flow) not in books.flows:
                await self._price(flow.instrument)
        self._asked_ns = desk.clock.monotonic_ns()
        new = [flow for flow in found if flow_key(flow) not in books.flows]
        for flow in new:
            nothing_to_take_back = flow.canceled and (self._name, flow.flow_id) not in books.flows
            await self._take(flow, prior=prior or nothing_to_take_back)
        return bool(new)

    async def _price(self, instrument: InstrumentID) -> None:
        """See that it is known what a unit is worth. What is not traded is worth nothing; what nobody prices holds up nothing."""
        if self._desk.mark_px(self._name, instrument) is None:
            with suppress(BadRequest, Unavailable):
                await self._desk.hub.fetch(self._name, instrument)

    async def _take(self, flow: Flow, *, prior: bool) -> None:
        desk = self._desk
        mark = None if flow.instrument is None else desk.mark_px(self._name, flow.instrument)
        rate = desk.worth(self._name, flow.currency)
        worth = flow.amount * (rate or ZERO) + flow.qty * (mark or ZERO)
        equity = ZERO if desk.books.mark is None else before_transfer(desk.books.mark, -worth if flow.canceled else worth)
        desk.record(Flowed(flow=flow, worth=worth, equity_before=equity, prior=prior, now_ns=desk.clock.now_ns()))
        if prior:
            return
        money = f" {plain(flow.amount)} {flow.currency}" if flow.amount else ""
        desk.alert("warning" if flow.kind in (FlowKind.UNKNOWN, FlowKind.SETTLEMENT) else "info", f"{self._name}: {flow.kind}{money} ({flow.text})")
        if flow.kind is FlowKind.TRANSFER and flow.amount and rate is None:
            text = f"{self._name}: a transfer in {flow.currency} cannot be told apart from profit and loss in {desk.base_currency}"
            desk.alert("critical", text)
        if flow.kind is FlowKind.CORPORATE_ACTION and flow.instrument is not None:
            await self._stop_on(flow.instrument, flow.text)

    async def _stop_on(self, instrument: InstrumentID, text: str) -> None:
        """Prices of resting orders and of stops are of another time now: a stop left alone would sell at a tenth (alpaca-py#469)."""
        desk = self._desk
        orders = desk.books.blotter.working_on(self._name, instrument)
        if not orders and (self._name, instrument) not in desk.books.ledger.traded():
            return
        advice = "its orders here are cancelled and its stops are void: set new ones, then resume"
        scope, now_ns = f"{self._name}:{instrument}", desk.clock.now_ns()
        desk.set_halt(Halt(scope=scope, level=Level.HALT, rule="CORPORATE_ACTION", text=f"{text}; {advice}", set_ns=now_ns))
        for order in orders:
            if not order.external:
                with suppress(DeskError):  # the wish is journaled: the next look asks again
                    await desk.cancel(order.cl_ord_id)

    # -- futures that ended -------------------------------------------------------------------------------------------------------

    async def _end_futures(self, snapshot: AccountSnapshot) -> None:
        """Futures that were over by yesterday and are gone have been paid for, at a price that brokers may not tell: the money that came says it.
        Should it be far from what they were worth, nobody's word stands for it, and the difference is judged as any other."""
        books = self._desk.books
        gone = {
            instrument: worth
            for instrument, worth in self._gone(snapshot, today=False).items()
            if (self._name, f"ended:{instrument}") not in books.flows
        }
        for currency in dict.fromkeys(parse_future(instrument).currency for instrument in gone):
            worths = {instrument: worth for instrument, worth in gone.items() if parse_future(instrument).currency == currency}
            came = snapshot.moneys.get(currency, ZERO) - books.ledger.cash(self._name, currency)
            if abs(came - sum(worths.values(), ZERO)) > SETTLED_WITHIN * sum(map(abs, worths.values()), ZERO):
                continue
            *_, last = worths
            worths[last] += came - sum(worths.values(), ZERO)
            for instrument, amount in worths.items():
                flow = Flow(
                    broker=self._name,
                    flow_id=f"ended:{instrument}",
                    kind=FlowKind.SETTLEMENT,
                    currency=currency,
                    amount=amount,
                    instrument=instrument,
                    text=f"the end of {instrument}",
                    transact_ns=snapshot.transact_ns,
                )
                await self._take(flow, prior=False)

    def _gone(self, snapshot: AccountSnapshot, *, today: bool) -> dict[InstrumentID, Decimal]:
        """Futures that are over, gone there and not here, and what they were worth when last seen, or cost. today: those whose last day it is, which
        an order may have closed."""
        desk, books, found = self._desk, self._desk.books, {}
        there = {position.instrument for position in snapshot.positions}
        date = datetime.fromtimestamp(desk.clock.now_ns() // SECOND_NS, UTC).date()
        for broker, instrument in books.ledger.traded():
            qty = books.ledger.position(broker, instrument)
            listed = broker == self._name and books.asset_classes.get((broker, instrument)) is AssetClass.LISTED_FUTURE
            if not listed or not qty or instrument in there:
                continue
            ended = parse_future(instrument).expiry
            if ended == date if today else ended < date:
                price = desk.mark_px(broker, instrument)
                found[instrument] = -desk.pnl(broker, instrument, ZERO) if price is None else desk.pricing(broker, instrument).worth(qty, price)
        return found

    # -- units --------------------------------------------------------------------------------------------------------------------

    def _units(self, snapshot: AccountSnapshot) -> tuple[Difference, ...]:
        """Where the broker's units are not ours, and no order in motion may be why."""
        moved = (order for order in self._desk.books.blotter.unsettled() if order.broker == self._name and _moves(order))
        moving = {instrument: ONE for order in moved for instrument in _about(order)}
        return self._differing(snapshot, moving | dict.fromkeys(self._gone(snapshot, today=True), ONE))

    def _differing(self, snapshot: AccountSnapshot, moving: Mapping[InstrumentID, Decimal]) -> tuple[Difference, ...]:
        books, name = self._desk.books, self._name
        ours = {instrument: books.ledger.position(broker, instrument) for broker, instrument in books.ledger.traded() if broker == name}
        rate = self._desk.brokers[name].facts.max_fee_in_kind
        allowance = {key[1]: qty * rate for key, qty in books.bought.items() if key[0] == name and books.asset_classes[key].is_crypto}
        expected = [instrument for broker, instrument in books.expected if broker == name]
        for option in filter(is_option, (instrument for instrument, qty in ours.items() if qty)):
            contract = parse_option(option)
            if contract.expiry < datetime.fromtimestamp(self._desk.clock.now_ns() // SECOND_NS, UTC).date() and not contract.in_cash:
                expected += [option, contract.underlying]  # brokers book what became of it days later
        return compare_positions(ours, snapshot.positions, moving, allowance, expected)

    def _adjust(self, difference: Difference, snapshot: AccountSnapshot, reason: str) -> None:
        """Book it. What came or went by a transfer did so at what it is worth: its price is neither profit nor loss. Of a fee, a split, a settlement
        what was paid stays what was paid."""
        key = (self._name, difference.instrument)
        prices: dict[InstrumentID, Decimal] = {position.instrument: position.mark_px or position.avg_px for position in snapshot.positions}
        shown, fee = prices.get(difference.instrument, ZERO), difference.kind is Kind.FEE
        if not fee and difference.kind is not Kind.EXPECTED:
            self._book(difference.instrument, difference.qty, shown, reason)
            return
        said = ZERO if fee else self._desk.books.expected.get(key, ZERO)
        moved = min(abs(said), abs(difference.qty)).copy_sign(said) if said * difference.qty > 0 else ZERO
        if moved:
            self._book(difference.instrument, moved, self._desk.mark_px(*key) or shown, reason)
        if moved != difference.qty:
            self._book(difference.instrument, difference.qty - moved, ZERO, reason, fee=fee)

    def _book(self, instrument: InstrumentID, qty: Decimal, price: Decimal, reason: str, *, fee: bool = False) -> None:
        pricing = self._desk.pricing(self._name, instrument)
        self._desk.record(
            Adjusted(
                broker=self._name,
                instrument=instrument,
                asset_class=self._desk.asset_class(self._name, instrument),
                qty=qty,
                price=price,
                multiplier=pricing.multiplier,
                inverse=pricing.inverse,
                reason=reason,
                fee=fee,
                now_ns=self._desk.clock.now_ns(),
            )
        )

    def _judge_units(self, differences: list[Difference]) -> None:
        """A difference that lasts halts its instrument; nothing is traded to make it go away."""
        now_ns = self._desk.clock.monotonic_ns()
        self._units_off = {item.instrument: self._units_off.get(item.instrument, now_ns) for item in differences}
        for item in differences:
            if now_ns - self._units_off[item.instrument] >= MISMATCH_NS:
                advice = "compare with the broker's own page; `trading resume --adopt` takes the broker's figure over"
                text = f"{item.text} ({plain(item.qty)} unexplained): {advice}"
                scope = f"{self._name}:{item.instrument}"
                self._desk.set_halt(Halt(scope=scope, level=Level.HALT, rule="MISMATCH", text=text, set_ns=self._desk.clock.now_ns()))

    # -- money --------------------------------------------------------------------------------------------------------------------

    def _moneys_off(self, snapshot: AccountSnapshot, allowance: Decimal = ZERO) -> dict[str, tuple[Decimal, bool]]:
        """By currency: what differs from the ledger, and whether fees can be why."""
        ledger, found = self._desk.books.ledger, {}
        for currency, theirs in snapshot.moneys.items():
            amount, fee = compare_cash(ledger.cash(self._name, currency), theirs, allowance)
            if amount:
                found[currency] = (amount, fee)
        return found

    def _fees_on_sales(self) -> Decimal:
        """The most that fees can have taken of what sales brought, where no report said so."""
        return self._desk.books.sold.get(self._name, ZERO) * self._desk.brokers[self._name].facts.max_fee_in_kind

    def _judge_cash(self, snapshot: AccountSnapshot) -> bool:
        """Money that differs by the same amount for a while is a fee, or an alert, or stops the broker. True: nothing is unexplained."""
        desk, books = self._desk, self._desk.books
        moving = any(order.broker == self._name and _moves(order) for order in books.blotter.unsettled()) or bool(self._gone(snapshot, today=True))
        if self._name not in books.cash_opened:
            if moving:
                return True  # what it brings may be in there already: money is opened at a later look
            for currency, theirs in snapshot.moneys.items():
                self._book_cash(currency, theirs - books.ledger.cash(self._name, currency), "found at the first start")
            return True
        off = self._moneys_off(snapshot, self._fees_on_sales())
        if not off or moving:
            self._cash_off = {}
            return True
        if self._name in desk.adopting:
            desk.adopting.discard(self._name)
            for currency, (amount, _) in off.items():
                self._book_cash(currency, amount, "taken over from the broker by the owner")
            return True
        self._cash_off = {currency: since for currency, since in self._cash_off.items() if since[0] == off.get(currency, (ZERO, False))[0]}
        explained = [self._judge_money(snapshot, currency, amount, fee=fee) for currency, (amount, fee) in off.items()]
        return all(explained)

    def _judge_money(self, snapshot: AccountSnapshot, currency: str, amount: Decimal, *, fee: bool) -> bool:
        desk, now_ns = self._desk, self._desk.clock.monotonic_ns()
        age_ns = now_ns - self._cash_off.setdefault(currency, (amount, now_ns))[1]
        if age_ns >= MISMATCH_NS and fee:
            self._book_cash(currency, amount, "fees on what was sold", fee=True)
            return True
        text = f"{self._name}: {plain(amount)} {currency} at the broker that no order, fee or transfer explains"
        if age_ns >= MISMATCH_NS and amount != self._cash_told.get(currency):
            self._cash_told[currency] = amount
            desk.alert("warning", text)
        worth = abs(amount) * (desk.worth(self._name, currency) or ONE)
        if age_ns >= CASH_HALT_NS and worth > CASH_MAX * max(snapshot.equity, ZERO):
            advice = "compare with the broker's own page; `trading resume --adopt` takes the broker's figure over"
            desk.set_halt(Halt(scope=self._name, level=Level.HALT, rule="CASH", text=f"{text}: {advice}", set_ns=desk.clock.now_ns()))
        return fee

    def _book_cash(self, currency: str, amount: Decimal, reason: str, *, fee: bool = False) -> None:
        self._cash_off.pop(currency, None)
        now_ns = self._desk.clock.now_ns()
        self._desk.record(CashAdjusted(broker=self._name, currency=currency, amount=amount, reason=reason, fee=fee, now_ns=now_ns))


def _about(order: Order) -> set[InstrumentID]:
    return {order.instrument, *(leg.instrument for leg in order.legs)}


def _moves(order: Order) -> bool:
    """Whether it may have moved units or money that are not booked yet."""
    return bool(order.unbooked_qty) or order.doubt is not Doubt.NONE
