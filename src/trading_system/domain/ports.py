"""What the desk asks of a broker and of the clock: Protocols and the capability data beside them. docs/decisions/0002-the-port.md holds the table
of every method against the seven brokers."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec

from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.fix import Contingency, OrdType, TimeInForce
from trading_system.domain.hours import MarketClock
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.money import ZERO
from trading_system.domain.news import NewsItem
from trading_system.domain.option import OptionSnapshot, Right
from trading_system.domain.order import Approved, Order
from trading_system.domain.portfolio import ClosedPosition, PortfolioHistory
from trading_system.domain.report import ExecutionReport
from trading_system.domain.search import Match


class OrderRule(msgspec.Struct, frozen=True):
    """One line of what a broker takes."""

    asset_class: AssetClass
    ord_types: frozenset[OrdType]
    times_in_force: frozenset[TimeInForce]
    fractional: bool  # whether quantities below whole_lot, and cash orders, are taken with these types and TIFs
    extended_hours: bool = False
    cash_buys: bool = False  # whether a buy names an amount of money, and a sale never does


class LinkRule(msgspec.Struct, frozen=True):
    """Linked orders that a broker holds itself, in whole lots and regular hours. ord_types are the entry's; an OCO is a limit order."""

    asset_class: AssetClass
    contingencies: frozenset[Contingency]
    ord_types: frozenset[OrdType]
    times_in_force: frozenset[TimeInForce]
    can_replace: bool


class ClientIdScope(StrEnum):
    """How long a client id keeps its meaning at the broker (RELIABILITY.md §1)."""

    FOR_EVER = "for_ever"
    OPEN_ORDERS = "open_orders"
    NONE = "none"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A broker's capabilities as data; each broker's facts.py fills one."""

    broker: BrokerName
    title: str
    rules: tuple[OrderRule, ...]
    links: tuple[LinkRule, ...] = ()
    legs_max: int = 0  # of a multileg order of options alone; 0: it takes none
    combo_legs_max: int = 0  # of one with shares among its legs
    client_id_scope: ClientIdScope
    late_accept_ns: int  # the latest an order can still appear after it was sent; resolver's horizon
    visibility_lag_ns: int  # how long an accepted order may stay invisible to queries
    can_replace: bool
    has_paper: bool
    maker_fee: Decimal = ZERO  # of the money, at the first tier: for an order that rested …
    taker_fee: Decimal = ZERO  # … and for one that did not
    max_fee_in_kind: Decimal  # the most that is taken from bought units as a fee, as a fraction; 0: fees are money
    requests_per_minute: int
    needs_nonces: bool = False  # each request carries a number that only rises: connect() then takes `nonces`
    pages: Mapping[str, str]  # "keys_paper", "keys_live", "docs", "status", "signup": where a person goes

    def rule(self, asset_class: AssetClass, ord_type: OrdType, time_in_force: TimeInForce, *, fractional: bool) -> OrderRule | None:
        """The line that admits such an order; None: this broker does not take it."""
        for line in self.rules:
            if (
                line.asset_class is asset_class
                and ord_type in line.ord_types
                and time_in_force in line.times_in_force
                and (line.fractional or not fractional)
            ):
                return line
        return None

    def usual_time(self, asset_class: AssetClass, ord_type: OrdType, contingency: Contingency = Contingency.NONE) -> TimeInForce:
        """What an order gets for which nobody named a time in force: gtc for crypto and for linked orders, whose exits are to stand, and day for all
        else, where the broker takes it so."""
        if contingency is not Contingency.NONE:
            stand = (TimeInForce.GTC, TimeInForce.DAY, TimeInForce.IOC, TimeInForce.FOK)
            return next((tif for tif in stand if self.link(asset_class, contingency, ord_type, tif) is not None), TimeInForce.GTC)
        wanted = TimeInForce.GTC if asset_class.is_crypto else TimeInForce.DAY
        times = (wanted, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)
        return next((tif for tif in times if self.rule(asset_class, ord_type, tif, fractional=False) is not None), wanted)

    def link(self, asset_class: AssetClass, contingency: Contingency, ord_type: OrdType, time_in_force: TimeInForce) -> LinkRule | None:
        """The line that admits such linked orders; None: this broker does not hold them."""
        for line in self.links:
            if (
                line.asset_class is asset_class
                and contingency in line.contingencies
                and ord_type in line.ord_types
                and time_in_force in line.times_in_force
            ):
                return line
        return None


class Link(StrEnum):
    """The state of one stream."""

    LIVE = "live"  # logged in and subscribed; what happened before is not yet known
    BACKFILLED = "backfilled"  # live, and the time it was down has been read again: entries may go on
    STALE = "stale"  # connected, but no data for too long
    GAP = "gap"  # messages are missing, or the connection is down
    REFUSED = "refused"  # the broker will not have us: no more attempts


class StreamState(msgspec.Struct, frozen=True):
    broker: BrokerName
    stream: str  # "orders" or the name of a data feed
    link: Link
    text: str
    recv_ns: int


class Clock(Protocol):
    """Time from outside: the system's, or the simulator's."""

    def now_ns(self) -> int: ...
    def monotonic_ns(self) -> int: ...
    async def sleep_ns(self, duration_ns: int) -> None: ...


class Broker(Protocol):
    """One account at one broker. Raises the errors of domain/errors.py and nothing else."""

    facts: Facts

    async def connect(self) -> None:
        """Log in, prove the account's kind, start the streams. Raises AuthFailed, Unavailable, ProtocolError."""
        ...

    async def aclose(self) -> None: ...

    def skew_ns(self) -> int:
        """How far the broker's clock and ours are apart for certain; 0 while nothing is known."""
        ...

    async def account(self) -> AccountSnapshot: ...

    async def instruments(self, symbols: Sequence[InstrumentID] = ()) -> tuple[Instrument, ...]:
        """The named instruments, or all. A name the broker does not have raises BadRequest with the nearest spelling."""
        ...

    async def submit(self, approved: Approved) -> ExecutionReport:
        """Place an order once; the broker's first word on it. Raises Rejected, Unavailable (not sent), InDoubt (sent, no answer)."""
        ...

    async def replace(self, approved: Approved) -> ExecutionReport:
        """Ask for a change; the report is of the new order. Raises as submit."""
        ...

    async def cancel(self, order: Order) -> ExecutionReport:
        """Ask for a cancel. A refused cancel is a question, not an answer: the report is then how the order stands."""
        ...

    async def open_orders(self) -> tuple[ExecutionReport, ...]: ...

    async def order_status(self, cl_ord_id: ClOrdID) -> ExecutionReport | None:
        """None: the broker does not find it, which proves nothing yet."""
        ...

    async def fills(self, since_ns: int) -> tuple[ExecutionReport, ...]:
        """Every execution since then, oldest first, all pages."""
        ...

    async def flows(self, since_ns: int) -> tuple[Flow, ...]:
        """What moved money or units without an order since then, oldest first, all pages. Entries may be booked late and dated back."""
        ...

    def events(self) -> AsyncIterator[ExecutionReport | AccountSnapshot | StreamState]: ...


@runtime_checkable
class RecallsChanges(Protocol):
    """A broker that does not say of an order that it was changed, because it keeps its ids, or calls its end a cancel: its connector has to know
    what was asked for, to say what happened."""

    def recall(self, orders: Iterable[Order]) -> None:
        """Every order that the desk remembers, the oldest first. Once at a start, before anything is asked."""
        ...


@runtime_checkable
class WaitsItsTurn(Protocol):
    """A broker that lets one call go at a time: an order that had to wait looks once more whether it still may."""

    def look_with(self, look: Callable[[Approved], None]) -> None:
        """What to call right before an order's bytes leave. It raises NotSent: a halt came first, or the order waited too long."""
        ...


@runtime_checkable
class CancelsAll(Protocol):
    """A broker to which "everything that rests at this account" is one wish: what the desk has not heard of yet goes with it."""

    async def cancel_all(self) -> None:
        """Ask for it; what became of it the orders themselves tell. Raises as cancel."""
        ...


@runtime_checkable
class CancelsWhenSilent(Protocol):
    """A broker with a dead man's switch of its own: armed, it cancels every order of the account, stops and other people's included, unless it hears
    of us again in time. It goes off once, and is off then. Of two calls the later one holds, in whatever order they arrive."""

    async def arm_dead_man(self, after_ns: int) -> None:
        """Everything is cancelled so long from now. Raises Unavailable, Rejected: nothing has changed. InDoubt: it may be armed."""
        ...

    async def disarm_dead_man(self) -> None:
        """It is off when this returns. Raises as arm_dead_man: it may still go off."""
        ...


class Budget(msgspec.Struct, frozen=True):
    """What a broker lets a key ask: `left` units are free now, of `limit` at most."""

    left: int
    limit: int


@runtime_checkable
class CountsRequests(Protocol):
    """A connector that reckons what it may still ask."""

    def budgets(self) -> Mapping[str, Budget]:
        """By the broker's kind of budget; cancels may use what is left of it all, other requests leave them a reserve."""
        ...


@runtime_checkable
class ValidatesOrders(Protocol):
    """A broker that checks an order as if it were placed, and places nothing: what a dry run may ask of it."""

    async def validate(self, approved: Approved) -> str:
        """The order in the broker's words. Raises Rejected: it would refuse. Unavailable: it does not say. ProtocolError: it placed the order."""
        ...


class Kinds(msgspec.Struct, frozen=True):
    """What a subscription wants."""

    quotes: bool = True
    trades: bool = False
    bars: bool = False


class MarketData(Protocol):
    """Prices. History covers start_ns <= time < end_ns, oldest first, all pages. Raises BadRequest (no such thing), Unavailable."""

    async def quote(self, instrument: InstrumentID) -> Quote: ...

    async def trade(self, instrument: InstrumentID) -> Trade:
        """The last print."""
        ...

    async def quotes(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Quote, ...]: ...

    async def trades(self, instrument: InstrumentID, start_ns: int, end_ns: int) -> tuple[Trade, ...]: ...

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]: ...

    def subscribe(self, instruments: Sequence[InstrumentID], kinds: Kinds) -> AsyncIterator[Quote | Trade | Bar | StreamState]: ...


@runtime_checkable
class OptionData(Protocol):
    """Option chains, where a broker has options. Raises as MarketData."""

    async def expiries(self, underlying: InstrumentID) -> tuple[date, ...]:
        """The days on which options on it end, ascending; none: it has no options."""
        ...

    async def chain(self, underlying: InstrumentID, expiry: date, right: Right | None = None) -> tuple[OptionSnapshot, ...]:
        """Every contract of that day with its prices, by strike and then call before put."""
        ...


@runtime_checkable
class StrikesData(Protocol):
    """The strikes of a day without their prices, where a broker has a list of them: its chain says much more. Raises as MarketData."""

    async def strikes(self, underlying: InstrumentID, expiry: date) -> tuple[Decimal, ...]:
        """Ascending; none: no option on it ends that day."""
        ...


@runtime_checkable
class FindsInstruments(Protocol):
    """A broker that knows instruments by their names in words, or more of them than it lists. Raises as MarketData."""

    async def search(self, text: str) -> tuple[Match, ...]:
        """What fits a part of a symbol or of a name and can be traded here, the best first; none: nothing does."""
        ...


@runtime_checkable
class MarketHours(Protocol):
    """Where the market is in its day, where a broker says so itself. Raises as MarketData."""

    async def market_clock(self) -> MarketClock: ...


@runtime_checkable
class EquityHistory(Protocol):
    """What the account was worth over time, where a broker keeps that."""

    async def portfolio_history(self, period: str, timeframe: str) -> PortfolioHistory:
        """period: a number and D, W, M or A (years). timeframe: 1Min, 5Min, 15Min, 1H, 1D. Raises BadRequest, Unavailable."""
        ...


@runtime_checkable
class GainsHistory(Protocol):
    """What closed positions came to, where a broker keeps that."""

    async def gains(self, count: int) -> tuple[ClosedPosition, ...]:
        """So many, the last closed first. Raises BadRequest, Unavailable."""
        ...


@runtime_checkable
class NewsData(Protocol):
    """Articles, where a broker passes them on. Raises as MarketData."""

    async def news(self, symbols: Sequence[str], limit: int) -> tuple[NewsItem, ...]:
        """The newest first, about these symbols; none: about anything."""
        ...

    def follow_news(self, symbols: Sequence[str]) -> AsyncIterator[NewsItem | StreamState]: ...


@runtime_checkable
class DepthData(Protocol):
    """Order books, where a broker passes them on. Raises as MarketData."""

    def subscribe_depth(self, instruments: Sequence[InstrumentID], levels: int) -> AsyncGenerator[BookSnapshot | StreamState]:
        """Each book after every change, its best levels. A gap ends in GAP and begins anew with a snapshot; no book is shown between the two."""
        ...


class Connector(Broker, MarketData, Protocol):
    """What a broker's folder gives: both ports in one object, because they share session, rate budget and instrument table."""
