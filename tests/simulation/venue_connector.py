"""The desk's side of a venue in memory: a Connector that loses, delays and misunderstands what the seed says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from msgspec.structs import replace as changed

from tests.simulation.venue import CENT, LATENCY_NS, PRICES, Change, Row, Venue
from trading_system.domain.account import AccountSnapshot, Position
from trading_system.domain.errors import BadRequest, InDoubt, ProtocolError, Rejected, Unavailable
from trading_system.domain.fix import ExecType, OrdType, TimeInForce
from trading_system.domain.hours import ALWAYS
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ZERO
from trading_system.domain.order import Approved, Order
from trading_system.domain.ports import ClientIdScope, Clock, Facts, Kinds, Link, OrderRule, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.sim.clock import SECOND_NS

ANSWER_WITHIN_NS = 10 * SECOND_NS
TRAVEL_NS = SECOND_NS  # the most a request is under way when nothing delays it
REQUESTS_PER_MINUTE = 1_200
RECONNECT_MAX_NS = 30 * SECOND_NS


@lru_cache
def facts_of(name: BrokerName, scope: ClientIdScope, late_ns: int, lag_ns: int, can_replace: bool) -> Facts:
    every = frozenset(OrdType)
    return Facts(
        broker=name,
        title=name,
        rules=(
            OrderRule(AssetClass.EQUITY, every, frozenset(TimeInForce), fractional=True),
            OrderRule(AssetClass.CRYPTO, every, frozenset(TimeInForce), fractional=True),
        ),
        client_id_scope=scope,
        late_accept_ns=late_ns + TRAVEL_NS,
        visibility_lag_ns=lag_ns,
        can_replace=can_replace,
        has_paper=True,
        max_fee_in_kind=ZERO,
        requests_per_minute=REQUESTS_PER_MINUTE,
        pages={},
    )


@lru_cache
def instrument_of(name: BrokerName, instrument: InstrumentID) -> Instrument:
    return Instrument(
        id=instrument,
        broker=name,
        symbol=instrument,
        asset_class=AssetClass.CRYPTO if "/" in instrument else AssetClass.EQUITY,
        base=instrument.split("/")[0],
        currency="USD",
        ticks=(TickBand(ZERO, CENT),),
        lot=Decimal("0.001"),
        whole_lot=Decimal(1),
        hours=ALWAYS,
    )


class VenueConnector:
    """Broker and MarketData for one venue."""

    def __init__(
        self, venue: Venue, clock: Clock, leaving: Callable[[BrokerName, ClOrdID], bool], delivered: Callable[[ExecutionReport], None]
    ) -> None:
        semantics = venue.semantics
        self.venue = venue
        self.clock = clock
        self.leaving = leaving  # told of every order before its first byte; False: this process is dead, nothing leaves any more
        self.delivered = delivered  # told of every report that the desk has taken from its stream
        self.facts = facts_of(
            venue.name,
            semantics.client_id_scope,
            semantics.late_accept_ns,
            semantics.visibility_lag_ns,
            semantics.change is not Change.NONE,
        )

    async def connect(self) -> None:
        await self.account()

    async def aclose(self) -> None:
        return None

    def skew_ns(self) -> int:
        return 0

    # -- requests ---------------------------------------------------------------------------------------------------------------------

    async def _read(self, act: Callable[[], Any]) -> Any:
        try:
            return await self._exchange(act, changes=False, lost=lambda: None)
        except InDoubt as error:
            raise Unavailable(str(error)) from None

    async def _exchange(self, act: Callable[[], Any], *, changes: bool, lost: Callable[[], None]) -> Any:
        """One request, once. `act` runs at the venue when the bytes arrive, whether or not anybody still waits; `lost` when they never will."""
        venue = self.venue
        venue.asked.append(venue.clock.monotonic_ns())
        if venue.chance("refused"):
            lost()
            await venue.clock.sleep_ns(self._latency())
            raise Unavailable("no connection: refused")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if venue.chance("reset"):
            lost()
            raise InDoubt("sent, and the connection was reset")
        if venue.chance("lost_request"):
            lost()
        else:
            travel_ns = self._latency()
            if venue.semantics.late_accept_ns and venue.chance("late_request"):
                travel_ns = venue.rng.randrange(venue.semantics.late_accept_ns)
            venue.later(travel_ns, self._arrive, answer, act, lost)
        try:
            async with asyncio.timeout(ANSWER_WITHIN_NS / SECOND_NS):
                result = await answer
        except TimeoutError:
            raise InDoubt("sent, and no answer in time") from None
        if isinstance(result, Exception):
            raise result
        if venue.chance("garbage"):
            raise InDoubt("an answer that nobody can read") if changes else ProtocolError("an answer that nobody can read", b"<html>")
        return result

    def _latency(self) -> int:
        return self.venue.rng.randrange(1, LATENCY_NS)

    def _arrive(self, answer: "asyncio.Future[Any]", act: Callable[[], Any], lost: Callable[[], None]) -> None:
        venue = self.venue
        if venue.chance("busy") or venue.chance("failed_before"):
            lost()
            result: Any = InDoubt("503 or 429: the venue does not say whether it was done")
        else:
            result = act()
            if venue.chance("busy_after") or venue.chance("failed_after"):
                result = InDoubt("504 or 429: the venue does not say whether it was done")
        if venue.chance("lost_answer"):
            return
        back_ns = self._latency()
        if venue.chance("late_answer"):
            back_ns += ANSWER_WITHIN_NS
        venue.later(back_ns, _reply, answer, result)

    # -- orders -----------------------------------------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> ExecutionReport:
        venue = self.venue

        def act() -> ExecutionReport | Exception:
            venue.in_flight.pop(approved.cl_ord_id, None)
            if venue.taken(approved.cl_ord_id):
                return InDoubt("duplicate client id: the earlier order may exist")
            if venue.chance("reject"):
                return Rejected("not today", "R1")
            return venue.report(venue.accept(approved), ExecType.NEW)

        return await self._send(approved, act)

    async def replace(self, approved: Approved) -> ExecutionReport:
        venue = self.venue

        def act() -> ExecutionReport | Exception:
            venue.in_flight.pop(approved.cl_ord_id, None)
            old = venue.find(approved.orig_cl_ord_id or "")
            row = None if old is None else venue.replace(old, approved)
            return Rejected("too late to change", "R2") if row is None else venue.report(row, ExecType.NEW)

        return await self._send(approved, act)

    async def _send(self, approved: Approved, act: Callable[[], Any]) -> ExecutionReport:
        venue = self.venue
        venue.in_flight[approved.cl_ord_id] = approved
        if not self.leaving(venue.name, approved.cl_ord_id):
            del venue.in_flight[approved.cl_ord_id]
            await asyncio.get_running_loop().create_future()
        venue.posts[approved.cl_ord_id] += 1
        report: ExecutionReport = await self._exchange(act, changes=True, lost=lambda: venue.in_flight.pop(approved.cl_ord_id, None) and None)
        return self._received(report)

    async def cancel(self, order: Order) -> ExecutionReport:
        venue = self.venue

        def act() -> ExecutionReport | Exception:
            row = venue.by_order_id(order.order_id)
            if row is None:
                return InDoubt(f"the venue knows no {order.order_id}")
            venue.cancel(row)
            return venue.report(row if row.cl_ord_id == order.cl_ord_id else venue.find(order.cl_ord_id) or row, ExecType.ORDER_STATUS)

        return self._received(await self._exchange(act, changes=True, lost=lambda: None))

    async def open_orders(self) -> tuple[ExecutionReport, ...]:
        def act() -> list[ExecutionReport]:
            listed = (self._shown(row) for row in self._visible())
            return [report for report in listed if not report.ord_status.terminal]

        return tuple(self._received(report) for report in await self._read(act))

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """By id where the venue has such a question; else by the tag among the open orders, those that are done, and the executions."""
        if not self.venue.semantics.lookup:
            for report in await self.open_orders():
                if report.cl_ord_id == cl_ord_id:
                    return report
        report = await self._read(lambda: self._looked_up(cl_ord_id))
        if report is not None:
            return self._received(report)
        if not self.venue.semantics.lookup:
            for report in reversed(await self.fills(0)):
                if report.cl_ord_id == cl_ord_id:
                    return report
        return None

    def _looked_up(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        row = next((row for row in reversed(self._visible()) if row.cl_ord_id == cl_ord_id), None)
        return None if row is None else self._shown(row)

    def _visible(self) -> list[Row]:
        now_ns = self.venue.clock.now_ns()
        return [row for row in self.venue.rows if row.visible_ns <= now_ns]

    def _shown(self, row: Row) -> ExecutionReport:
        venue = self.venue
        stale = venue.semantics.visibility_lag_ns and venue.chance("stale_read")
        as_of_ns = venue.clock.now_ns() - venue.rng.randrange(venue.semantics.visibility_lag_ns) if stale else None
        return venue.report(row, ExecType.ORDER_STATUS, as_of_ns=as_of_ns)

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        venue = self.venue

        def act() -> list[ExecutionReport]:
            now_ns = venue.clock.now_ns()
            return [venue.report(deal.row, deal.kind, deal) for deal in venue.deals if deal.transact_ns >= since_ns and deal.visible_ns <= now_ns]

        return tuple(self._received(report) for report in await self._read(act))

    async def flows(self, since_ns: int) -> tuple[()]:
        """Cash flows and corporate actions: this venue has none."""
        return ()

    async def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]:
        venue, pace_ns = self.venue, SECOND_NS
        while True:
            if venue.chance("refused"):
                await venue.clock.sleep_ns(pace_ns)
                pace_ns = min(2 * pace_ns, RECONNECT_MAX_NS)
                continue
            stream, pace_ns = venue.open(), SECOND_NS
            try:
                yield self._state(Link.LIVE)
                while (report := await stream.receive()) is not None:
                    yield self._received(report)
                    self.delivered(report)
            finally:
                stream.drop()
            yield self._state(Link.GAP)
            await venue.clock.sleep_ns(pace_ns)

    def _state(self, link: Link) -> StreamState:
        return StreamState(broker=self.venue.name, stream="orders", link=link, text="", recv_ns=self.clock.now_ns())

    def _received(self, report: ExecutionReport) -> ExecutionReport:
        return changed(report, recv_ns=self.clock.now_ns())

    # -- account and market ---------------------------------------------------------------------------------------------------------------

    async def account(self) -> AccountSnapshot:
        snapshot: AccountSnapshot = await self._read(self._account)
        return changed(snapshot, recv_ns=self.clock.now_ns())

    def _account(self) -> AccountSnapshot:
        venue = self.venue
        held = () if venue.chance("empty_account") else tuple(sorted((name, qty) for name, qty in venue.positions.items() if qty))
        return AccountSnapshot(
            broker=venue.name,
            account=f"A-{venue.name}",
            environment="paper",
            currency="USD",
            equity=venue.equity(),
            last_equity=venue.equity(),
            cash=venue.cash,
            buying_power=Decimal(10_000_000),
            positions=tuple(
                Position(instrument=name, qty=qty, avg_px=PRICES[name], mark_px=venue.mids[name], unrealized_pnl=ZERO) for name, qty in held
            ),
            tradable=True,
            text="",
            transact_ns=venue.clock.now_ns(),
            recv_ns=0,
        )

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        if any(symbol not in PRICES for symbol in symbols):
            raise BadRequest("no such instrument here")
        return tuple(instrument_of(self.venue.name, symbol) for symbol in symbols or PRICES)

    async def quote(self, instrument: InstrumentID) -> Quote:
        quote: Quote = await self._read(lambda: self._quote(instrument))
        return changed(quote, recv_ns=self.clock.now_ns())

    def _quote(self, instrument: InstrumentID) -> Quote:
        mid, size = self.venue.mid(instrument), Decimal(100)
        now_ns = self.venue.clock.now_ns()
        return Quote(instrument=instrument, bid_px=mid - CENT, bid_qty=size, ask_px=mid + CENT, ask_qty=size, transact_ns=now_ns, recv_ns=0)

    async def trade(self, instrument: InstrumentID) -> Trade:
        raise BadRequest("this venue tells no prints")

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]:
        return ()

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]:
        return ()

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        return ()

    async def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]:
        raise BadRequest("this venue streams no prices")
        yield  # an iterator that never begins


def _reply(answer: "asyncio.Future[Any]", result: Any) -> None:
    if not answer.done():
        answer.set_result(result)
