"""What goes in and comes out over HTTP, as types: they parse what is sent, and the OpenAPI document is made of them. Numbers of money are strings in
answers; in requests a string or a JSON number is taken exactly. Times are UTC nanoseconds."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from trading_system.core.risk import Level
from trading_system.domain.fix import Contingency, Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.option import Right

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Words = Annotated[str, Meta(max_length=200)]
Amount = Annotated[Decimal, Meta(description="exact: a string, or a JSON number")]
Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a request. A field that is not known is refused: it may be a misspelt limit."""


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of a URL behind the question mark."""


class Answered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of an answer; the tests hold every real answer against it."""


# -- requests ----------------------------------------------------------------------------------------------------------------------


class Login(Body, frozen=True, kw_only=True):
    token: Annotated[str, Meta(min_length=1, max_length=200)]


class PlaceOrder(Body, frozen=True, kw_only=True):
    """An order. The type follows from the prices unless it is named. The Idempotency-Key is its intent: the same key is one order for ever."""

    instrument: Name
    side: Side
    broker: Name | None = None
    ord_type: OrdType | None = None
    time_in_force: TimeInForce | None = None
    order_qty: Amount | None = None
    cash_order_qty: Amount | None = None
    price: Amount | None = None
    stop_px: Amount | None = None
    trail_px: Amount | None = None
    trail_pct: Amount | None = None
    take_profit_px: Amount | None = None
    stop_loss_px: Amount | None = None
    stop_loss_limit_px: Amount | None = None
    protect_stop_px: Amount | None = None
    extended_hours: bool = False
    reduce_only: bool = False
    repeat: bool = False


class PlaceSpread(Body, frozen=True, kw_only=True):
    """Several options at one net price. legs: side:SYMBOL or side:SYMBOL:ratio."""

    legs: Annotated[list[Name], Meta(min_length=1, max_length=8)]
    order_qty: Amount
    price: Amount | None = None
    broker: Name | None = None
    repeat: bool = False


class ChangeOrder(Body, frozen=True, kw_only=True):
    order_qty: Amount | None = None
    price: Amount | None = None
    stop_px: Amount | None = None
    trail_px: Amount | None = None
    trail_pct: Amount | None = None


class AtBroker(Body, frozen=True, kw_only=True):
    """broker: left out, at all of them."""

    broker: Name | None = None


class SetHalt(Body, frozen=True, kw_only=True):
    scope: Name = "all"
    level: Level = Level.HALT
    text: Words = "set over HTTP"


class ClearHalts(Body, frozen=True, kw_only=True):
    """confirm is the word resume. adopt: take the broker's figures over where a difference had halted."""

    confirm: Words
    scope: Name = "*"
    adopt: bool = False


class Flatten(Body, frozen=True, kw_only=True):
    """confirm is the word flatten."""

    confirm: Words
    broker: Name | None = None


class Absent(Body, frozen=True, kw_only=True):
    """confirm is the word absent."""

    confirm: Words


class Acknowledge(Body, frozen=True, kw_only=True):
    """number: of one alert; 0: all of them."""

    number: Whole


class ArmLive(Body, frozen=True, kw_only=True):
    """account: the number of one of the desk's accounts. until_ns: within the next 24 hours."""

    account: Words
    max_notional: Amount
    until_ns: Whole


class OfBroker(Query, frozen=True, kw_only=True):
    broker: Name | None = None


class OfOrders(Query, frozen=True, kw_only=True):
    broker: Name | None = None
    all: bool = False


class OfInstrument(Query, frozen=True, kw_only=True):
    instrument: Name
    broker: Name | None = None


class OfBook(Query, frozen=True, kw_only=True):
    instrument: Name
    broker: Name | None = None
    levels: Annotated[int, Meta(ge=1, le=100)] = 10


class OfBars(Query, frozen=True, kw_only=True):
    instrument: Name
    broker: Name | None = None
    period_ns: Annotated[int, Meta(ge=1, le=86_400_000_000_000)] = 60_000_000_000
    count: Annotated[int, Meta(ge=1, le=10_000)] = 100


class OfChain(Query, frozen=True, kw_only=True):
    instrument: Name
    broker: Name | None = None
    expiry: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    right: Right | None = None
    strikes: Annotated[int, Meta(ge=0, le=1_000)] = 0


class OfDecisions(Query, frozen=True, kw_only=True):
    cl_ord_id: Name | None = None
    count: Annotated[int, Meta(ge=1, le=1_000)] = 50


class OfEvents(Query, frozen=True, kw_only=True):
    """types: tags of records with commas between. after: as Last-Event-ID says; -1 is from now on."""

    types: Annotated[str, Meta(max_length=400)] = ""
    broker: Annotated[str, Meta(max_length=64)] = ""
    instrument: Annotated[str, Meta(max_length=64)] = ""
    after: Annotated[int, Meta(ge=-1, le=2**63 - 1)] | None = None


class OfStream(Query, frozen=True, kw_only=True):
    """instruments: with commas between."""

    instruments: Annotated[str, Meta(min_length=1, max_length=2_000)]
    broker: Name | None = None
    trades: bool = False


class OfEquity(Query, frozen=True, kw_only=True):
    hours: Annotated[int, Meta(ge=1, le=24 * 31)] = 24


class OfPlan(Query, frozen=True, kw_only=True):
    paths: Annotated[int, Meta(ge=100, le=20_000)] = 5_000
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 1
    sharpe: Annotated[float, Meta(ge=0, le=20)] = 1.0
    volatility: Annotated[float, Meta(gt=0, le=20)] = 0.20


# -- answers -----------------------------------------------------------------------------------------------------------------------


class Failed(Answered, frozen=True, kw_only=True):
    """kind: the desk's own word for it. happened: no, or unknown (look before anything is asked again). id: of the log line that says more."""

    kind: str
    text: str
    happened: str
    id: str = ""


class Session(Answered, frozen=True, kw_only=True):
    name: str
    scopes: list[str]
    until_ns: int
    environment: str


class Leg(Answered, frozen=True, kw_only=True):
    instrument: str
    side: Side
    ratio_qty: int


class Exits(Answered, frozen=True, kw_only=True):
    take_profit_px: str | None
    stop_px: str | None
    stop_limit_px: str | None


class Order(Answered, frozen=True, kw_only=True):
    cl_ord_id: str
    broker: str
    account: str
    instrument: str
    side: Side
    ord_type: OrdType
    time_in_force: TimeInForce
    order_qty: str | None
    cash_order_qty: str | None
    price: str | None
    stop_px: str | None
    trail_px: str | None
    trail_pct: str | None
    attached: Exits | None
    contingency: Contingency
    parent: str | None
    legs: list[Leg]
    protect_stop_px: str | None
    protects: str | None
    ord_status: OrdStatus
    doubt: Doubt
    order_id: str | None
    cum_qty: str
    leaves_qty: str
    avg_px: str | None
    external: bool
    intent: str | None
    text: str
    sent_ns: int
    updated_ns: int


class Fill(Answered, frozen=True, kw_only=True):
    exec_id: str
    cl_ord_id: str
    broker: str
    instrument: str
    side: Side
    qty: str
    price: str
    fee: str
    fee_currency: str
    transact_ns: int


class Position(Answered, frozen=True, kw_only=True):
    broker: str
    instrument: str
    qty: str
    avg_px: str | None
    mark_px: str | None
    market_value: str | None
    unrealized_pnl: str | None


class ValuedPosition(Position, frozen=True, kw_only=True):
    worth: str | None
    part: str | None


class Portfolio(Answered, frozen=True, kw_only=True):
    currency: str
    equity: str
    cash: dict[str, str]
    long: str
    short: str
    leverage: str | None
    positions: list[ValuedPosition]
    unpriced: list[str]


class Account(Answered, frozen=True, kw_only=True):
    broker: str
    account: str
    environment: str
    currency: str
    equity: str
    last_equity: str
    cash: str
    balances: dict[str, str]
    rates: dict[str, str]
    buying_power: str
    tradable: bool
    text: str
    recv_ns: int


class Halt(Answered, frozen=True, kw_only=True):
    scope: str
    level: Level
    rule: str
    text: str
    set_ns: int


class Risk(Answered, frozen=True, kw_only=True):
    halts: list[Halt]
    ready: dict[str, bool]
    equity: str | None = None
    day_start: str | None = None
    high_water: str | None = None
    day_loss: str | None = None
    drawdown: str | None = None


class Limit(Answered, frozen=True, kw_only=True):
    name: str
    now: str | None
    limit: str
    used: str | None


class RiskAndLimits(Risk, frozen=True, kw_only=True):
    limits: list[Limit]


class Accounts(Answered, frozen=True, kw_only=True):
    accounts: list[Account]
    risk: Risk


class Status(Answered, frozen=True, kw_only=True):
    environment: str
    dry_run: bool
    brokers: list[str]
    accounts: list[Account]
    risk: Risk
    working: int
    in_doubt: list[str]
    journal_seq: int


class Stream(Answered, frozen=True, kw_only=True):
    """link: what the stream said of itself last; heard_ns: when anything came over it, UTC."""

    name: str
    link: str | None
    text: str
    heard_ns: int


class Budget(Answered, frozen=True, kw_only=True):
    """Requests, or units of weight as the broker counts them."""

    name: str
    left: int
    limit: int


class Broker(Answered, frozen=True, kw_only=True):
    broker: str
    title: str
    ready: bool
    streams: list[Stream]
    budgets: list[Budget]


class Quote(Answered, frozen=True, kw_only=True):
    broker: str
    instrument: str
    bid_px: str | None
    bid_qty: str
    ask_px: str | None
    ask_qty: str
    transact_ns: int


class BookRow(Answered, frozen=True, kw_only=True):
    px: str
    qty: str


class DepthBook(Answered, frozen=True, kw_only=True):
    broker: str
    instrument: str
    bids: list[BookRow]
    asks: list[BookRow]
    transact_ns: int


class Bar(Answered, frozen=True, kw_only=True):
    instrument: str
    open_ns: int
    period_ns: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    vwap: str | None


class Option(Answered, frozen=True, kw_only=True):
    instrument: str
    right: Right
    strike: str
    bid_px: str | None
    ask_px: str | None
    implied_volatility: str | None
    greeks: dict[str, str | None] | None


class Chain(Answered, frozen=True, kw_only=True):
    broker: str
    underlying: str
    price: str | None
    expiry: str
    expiries: list[str]
    options: list[Option]


class Decision(Answered, frozen=True, kw_only=True):
    intent: str
    strategy: str
    broker: str
    instrument: str
    wish: dict[str, Any]
    taken: bool
    rule: str
    text: str
    qty: str
    numbers: dict[str, str]
    cl_ord_id: str | None
    now_ns: int


class Alert(Answered, frozen=True, kw_only=True):
    number: int
    severity: str
    text: str
    now_ns: int


class Left(Answered, frozen=True, kw_only=True):
    """dust: less than one lot, which no order can close."""

    broker: str
    instrument: str
    qty: str
    dust: bool


class Flattened(Answered, frozen=True, kw_only=True):
    positions: list[Left]
    orders: list[str]
    problems: list[str]


class Armed(Answered, frozen=True, kw_only=True):
    accounts: list[str]
    max_notional: str
    until_ns: int


class EquityPoint(Answered, frozen=True, kw_only=True):
    at_ns: int
    equity: str
    high_water: str


class Strategy(Answered, frozen=True, kw_only=True):
    name: str
    broker: str
    failures: int
    disabled: bool
