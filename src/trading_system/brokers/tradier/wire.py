"""Tradier's messages under Tradier's names, for both ends: the connector decodes what the twin encodes.

Apart from the codec, so that the twin can speak the wire without sharing our reading of it. A field that holds several things holds an array, the
bare thing where there is one, and the word "null" where there is none: rows() knows all three. Numbers are JSON numbers, in the streams sometimes
strings; both become Decimal exactly. What is not always sent has a default. Times are RFC 3339, of prices epoch milliseconds.
Source: docs.tradier.com; what others recorded (../shared/protocols/tradier.md says who)
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from trading_system.transport import strict

UNREADABLE = (msgspec.MsgspecError, RecursionError)  # what decoding raises for bytes that are no message, nested too deeply included
_T = TypeVar("_T")
_NOTHING = (b"null", b'"null"')

# -- accounts --------------------------------------------------------------------------------------------------------------------------------------


class ProfileAccount(msgspec.Struct, kw_only=True):
    """One account of GET /user/profile."""

    account_number: str
    classification: str = "individual"
    date_created: str = ""
    day_trader: bool = False
    option_level: int = 0
    status: str = "active"
    type: str = "margin"
    last_update_date: str = ""


class Power(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an account of one kind may still buy: `margin` and `pdt` say the first two, `cash` the third."""

    stock_buying_power: Decimal | None = None
    option_buying_power: Decimal | None = None
    cash_available: Decimal | None = None
    unsettled_funds: Decimal | None = None
    fed_call: Decimal | None = None
    maintenance_call: Decimal | None = None
    stock_short_value: Decimal | None = None
    sweep: Decimal | None = None


class Balances(msgspec.Struct, kw_only=True, omit_defaults=True):
    """GET /accounts/{id}/balances. Exactly one of margin, cash and pdt is there; `equity` is commonly 0, total_equity is not."""

    account_number: str
    account_type: str
    total_equity: Decimal
    total_cash: Decimal
    option_short_value: Decimal | None = None
    close_pl: Decimal | None = None
    current_requirement: Decimal | None = None
    equity: Decimal | None = None
    long_market_value: Decimal | None = None
    market_value: Decimal | None = None
    open_pl: Decimal | None = None
    option_long_value: Decimal | None = None
    option_requirement: Decimal | None = None
    pending_orders_count: int | None = None
    short_market_value: Decimal | None = None
    stock_long_value: Decimal | None = None
    uncleared_funds: Decimal | None = None
    pending_cash: Decimal | None = None
    margin: Power | None = None
    cash: Power | None = None
    pdt: Power | None = None


class Position(msgspec.Struct, kw_only=True):
    """One of GET /accounts/{id}/positions. cost_basis is of all of it, and signed as the quantity is."""

    cost_basis: Decimal
    date_acquired: str
    id: int
    quantity: Decimal
    symbol: str


class Order(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An order, in lists and alone. The parent of linked orders has empty fields: what there is, its legs say."""

    id: int
    type: str = ""
    symbol: str = ""
    side: str = ""
    quantity: Decimal | None = None
    status: str
    duration: str = ""
    price: Decimal | None = None
    stop_price: Decimal | None = None
    avg_fill_price: Decimal | None = None
    exec_quantity: Decimal | None = None
    last_fill_price: Decimal | None = None
    last_fill_quantity: Decimal | None = None
    remaining_quantity: Decimal | None = None
    create_date: str = ""
    transaction_date: str = ""
    order_class: str = msgspec.field(name="class", default="")
    option_symbol: str | None = None
    num_legs: int | None = None
    strategy: str | None = None
    reason_description: str | None = None
    tag: str | None = None
    leg: "list[Order] | Order | None" = None

    @property
    def legs(self) -> "Sequence[Order]":
        return several(self.leg)


class Placed(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer to what changes an order: ok means that it was received."""

    id: int
    status: str
    partner_id: str | None = None


class Preview(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer to preview=true. Which fields there are is not stated: none is relied on but status and result."""

    status: str = ""
    result: bool | None = None
    id: int | None = None  # never: an order that was placed has one
    commission: Decimal | None = None
    cost: Decimal | None = None
    fees: Decimal | None = None
    symbol: str | None = None
    quantity: Decimal | None = None
    side: str | None = None
    type: str | None = None
    duration: str | None = None
    order_cost: Decimal | None = None
    margin_change: Decimal | None = None
    request_date: str | None = None
    extended_hours: bool | None = None
    order_class: str | None = msgspec.field(name="class", default=None)
    strategy: str | None = None
    day_trades: int | None = None


class HistoryDetail(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an event of the account's history was about; it stands under the event's own type."""

    description: str = ""
    quantity: Decimal | None = None
    price: Decimal | None = None
    commission: Decimal | None = None
    symbol: str | None = None
    trade_type: str | None = None
    option_type: str | None = None


class HistoryEvent(msgspec.Struct, kw_only=True):
    """One of GET /accounts/{id}/history, without its detail."""

    amount: Decimal
    date: str
    type: str


class ClosedPosition(msgspec.Struct, kw_only=True):
    """One of GET /accounts/{id}/gainloss."""

    close_date: str
    cost: Decimal
    gain_loss: Decimal
    gain_loss_percent: Decimal
    open_date: str
    proceeds: Decimal
    quantity: Decimal
    symbol: str
    term: int


# -- markets ---------------------------------------------------------------------------------------------------------------------------------------


class Greeks(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Of one contract; once an hour at Tradier."""

    delta: Decimal
    gamma: Decimal
    theta: Decimal
    vega: Decimal
    rho: Decimal
    phi: Decimal | None = None
    bid_iv: Decimal | None = None
    mid_iv: Decimal | None = None
    ask_iv: Decimal | None = None
    smv_vol: Decimal | None = None
    updated_at: str = ""


class Quote(msgspec.Struct, kw_only=True):
    """One of GET /markets/quotes and of a chain. Sizes of stocks are hundreds. Dates are epoch milliseconds."""

    symbol: str
    description: str = ""
    exch: str = ""
    type: str
    last: Decimal | None = None
    change: Decimal | None = None
    volume: int = 0
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    close: Decimal | None = None
    bid: Decimal | None = None
    ask: Decimal | None = None
    change_percentage: Decimal | None = None
    average_volume: int = 0
    last_volume: int = 0
    trade_date: int = 0
    prevclose: Decimal | None = None
    week_52_high: Decimal | None = None
    week_52_low: Decimal | None = None
    bidsize: Decimal | None = None
    bidexch: str | None = None
    bid_date: int = 0
    asksize: Decimal | None = None
    askexch: str | None = None
    ask_date: int = 0
    root_symbols: str | msgspec.UnsetType = msgspec.UNSET
    underlying: str | msgspec.UnsetType = msgspec.UNSET
    strike: Decimal | msgspec.UnsetType = msgspec.UNSET
    open_interest: int | msgspec.UnsetType = msgspec.UNSET
    contract_size: int | msgspec.UnsetType = msgspec.UNSET
    expiration_date: str | msgspec.UnsetType = msgspec.UNSET
    expiration_type: str | msgspec.UnsetType = msgspec.UNSET
    option_type: str | msgspec.UnsetType = msgspec.UNSET
    root_symbol: str | msgspec.UnsetType = msgspec.UNSET
    greeks: Greeks | msgspec.UnsetType | None = msgspec.UNSET


class Day(msgspec.Struct, kw_only=True):
    """One of GET /markets/history."""

    date: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int


class TimeSale(msgspec.Struct, kw_only=True):
    """One of GET /markets/timesales, of an interval that starts at `timestamp` (epoch seconds), or a single trade."""

    time: str
    timestamp: int
    price: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: int
    vwap: Decimal


class Clock(msgspec.Struct, kw_only=True):
    """GET /markets/clock. timestamp is in seconds."""

    date: str
    description: str
    state: str
    timestamp: int
    next_change: str
    next_state: str


class Span(msgspec.Struct, kw_only=True):
    """From when to when, in New York's HH:MM."""

    start: str
    end: str


class CalendarDay(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of GET /markets/calendar. A closed day has no spans."""

    date: str
    status: str
    description: str = ""
    premarket: Span | None = None
    open: Span | None = None
    postmarket: Span | None = None


class Security(msgspec.Struct, kw_only=True):
    """One of GET /markets/etb, search and lookup."""

    symbol: str
    exchange: str = ""
    type: str = ""
    description: str = ""


# -- streams ---------------------------------------------------------------------------------------------------------------------------------------


class Ticket(msgspec.Struct, kw_only=True):
    """POST /accounts/events/session and /markets/events/session: where the stream is, and what opens it once."""

    url: str
    sessionid: str


class AccountEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One frame of the account's stream. REST says exec_quantity, the stream executed_quantity; a heartbeat has no id."""

    event: str
    id: int | None = None
    status: str = ""
    type: str | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    avg_fill_price: Decimal | None = None
    executed_quantity: Decimal | None = None
    exec_quantity: Decimal | None = None
    last_fill_quantity: Decimal | None = None
    remaining_quantity: Decimal | None = None
    transaction_date: str | None = None
    create_date: str | None = None
    account: str | None = None
    account_number: str | None = None
    parent_id: int | None = None
    tag: str | None = None
    timestamp: int | None = None


class MarketEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One frame of the market's stream: a quote, a trade, or an error. Dates are epoch milliseconds as strings."""

    type: str = ""
    symbol: str = ""
    bid: Decimal | None = None
    bidsz: Decimal | None = None
    bidexch: str | None = None
    biddate: str | None = None
    ask: Decimal | None = None
    asksz: Decimal | None = None
    askexch: str | None = None
    askdate: str | None = None
    exch: str | None = None
    price: Decimal | None = None
    size: Decimal | None = None
    cvol: Decimal | None = None
    date: str | None = None
    last: Decimal | None = None
    open: Decimal | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    prev_close: Decimal | None = msgspec.field(name="prevClose", default=None)
    seq: int | None = None
    error: str | None = None


class MarketRequest(msgspec.Struct, kw_only=True, rename={"valid_only": "validOnly", "advanced_details": "advancedDetails"}):
    """First frame of the market's stream, and of any change of its symbols."""

    symbols: list[str]
    sessionid: str
    filter: list[str] = []
    linebreak: bool = False
    valid_only: bool = True
    advanced_details: bool = False


# -- what holds them -------------------------------------------------------------------------------------------------------------------------------


def several(found: "_T | list[_T] | None") -> list[_T]:
    """An array, a bare object, or nothing."""
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def inside(body: bytes, *path: str) -> bytes | None:
    """What stands under these names; None: nothing, in one of Tradier's ways to say so.

    Raises: msgspec.MsgspecError: no JSON, a field that stands twice, or the first name is not there.
    """
    raw, fields = body, strict.decode(body, dict[str, msgspec.Raw])
    for place, name in enumerate(path):
        if place:
            fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        if name not in fields:
            if not place:
                raise msgspec.ValidationError(f"no {name} in it")
            return None
        raw = bytes(fields[name]).strip()
        if raw in _NOTHING:
            return None
    return raw


def one(body: bytes, name: str, kind: type[_T]) -> _T:
    """The thing that an answer is about. Raises as inside, and where there is nothing."""
    return msgspec.json.decode(inside(body, name) or b"null", type=kind)


def rows(body: bytes, outer: str, inner: str, kind: type[_T]) -> list[_T]:
    """Everything of one kind in an answer, however many that are. Raises as inside.

    >>> rows(b'{"orders":"null"}', "orders", "order", Placed)
    []
    >>> rows(b'{"orders":{"order":{"id":1,"status":"ok"}}}', "orders", "order", Placed)
    [Placed(id=1, status='ok', partner_id=None)]
    """
    raw = inside(body, outer, inner)
    if raw is None:
        return []
    if raw.startswith(b"["):
        return msgspec.json.decode(raw, type=list[kind])  # type: ignore[valid-type]
    return [msgspec.json.decode(raw, type=kind)]
