"""The Web API's messages as they stand on the wire. Numbers may come as text with commas: those fields are Raw until codec.py reads them.

Source: interactivebrokers.com/campus/ibkr-api-page/cpapi-v1
"""

from collections.abc import Mapping

import msgspec

from trading_system.transport import strict

BASE = "/v1/api"
SOCKET = f"{BASE}/ws"
UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
NOTHING = msgspec.Raw(b"null")

LAST, BID, ASK, ASK_SIZE, BID_SIZE, LAST_SIZE, AVAILABILITY = "31", "84", "86", "85", "88", "7059", "6509"
FIELDS = (LAST, BID, ASK, ASK_SIZE, BID_SIZE, LAST_SIZE, AVAILABILITY)
DAY_IN_ROWS = "CLOSE"  # what rows of orders call DAY


class AuthStatus(msgspec.Struct, frozen=True):
    """Whether there is a brokerage session."""

    authenticated: bool = False
    competing: bool = False
    connected: bool = False
    message: str | None = None


class _Iserver(msgspec.Struct, frozen=True, rename="camel"):
    auth_status: AuthStatus = AuthStatus()


class Tickle(msgspec.Struct, frozen=True):
    """session is what a WebSocket's cookie says."""

    session: str = ""
    iserver: _Iserver = _Iserver()


class Accounts(msgspec.Struct, frozen=True):
    accounts: list[str]


class Token(msgspec.Struct, frozen=True):
    """A live session token's second half, or a bearer token."""

    diffie_hellman_response: str = ""
    live_session_token_signature: str = ""
    access_token: str = ""


class Figure(msgspec.Struct, frozen=True):
    amount: msgspec.Raw = NOTHING


class Money(msgspec.Struct, frozen=True):
    """One currency of the ledger. netliquidationvalue: with dividends and interest that are still to come."""

    cashbalance: msgspec.Raw = NOTHING
    exchangerate: msgspec.Raw = NOTHING
    currency: str = ""
    netliquidationvalue: msgspec.Raw = NOTHING
    unrealizedpnl: msgspec.Raw = NOTHING
    interest: msgspec.Raw = NOTHING
    dividends: msgspec.Raw = NOTHING


class Position(msgspec.Struct, frozen=True, rename="camel"):
    """A row of /portfolio2. conid is text here."""

    conid: msgspec.Raw
    position: msgspec.Raw
    currency: str = ""
    market_price: msgspec.Raw = NOTHING
    avg_price: msgspec.Raw = NOTHING
    market_value: msgspec.Raw = NOTHING
    unrealized_pnl: msgspec.Raw = NOTHING


class Stock(msgspec.Struct, frozen=True):
    """Listings of one company."""

    contracts: list["StockContract"]
    asset_class: str = msgspec.field(name="assetClass", default="STK")


class StockContract(msgspec.Struct, frozen=True, rename="camel"):
    conid: int
    exchange: str = ""
    is_us: bool = msgspec.field(name="isUS", default=False)


class Future(msgspec.Struct, frozen=True, rename="camel"):
    """One month of the futures of a name. ltd, its last day of trading, may be the day before; a contract's own maturity is this day."""

    conid: int
    expiration_date: int
    ltd: int = 0


class Pair(msgspec.Struct, frozen=True):
    symbol: str
    conid: int


class Section(msgspec.Struct, frozen=True, rename="camel"):
    sec_type: str
    months: str = ""


class Found(msgspec.Struct, frozen=True):
    """One row of a search. conid is text here."""

    conid: str
    symbol: str = ""
    name: str = msgspec.field(default="", name="companyName")
    exchange: str | None = msgspec.field(default=None, name="description")
    sections: list[Section] = []


class Strikes(msgspec.Struct, frozen=True):
    call: list[msgspec.Raw] = []
    put: list[msgspec.Raw] = []


class OptionInfo(msgspec.Struct, frozen=True, rename="camel"):
    conid: int
    maturity_date: str
    right: str
    strike: msgspec.Raw


class Rules(msgspec.Struct, frozen=True, rename="camel"):
    increment: msgspec.Raw
    size_increment: msgspec.Raw = NOTHING


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """What a contract's number stands for."""

    con_id: int
    symbol: str
    instrument_type: str
    currency: str
    local_symbol: str = ""
    maturity_date: str | None = None
    right: str | None = None
    strike: msgspec.Raw = NOTHING
    multiplier: msgspec.Raw = NOTHING
    rules: Rules | None = None


class Times(msgspec.Struct, frozen=True):
    opening: int
    closing: int


class Day(msgspec.Struct, frozen=True):
    liquid_hours: list[Times] = []
    extended_hours: list[Times] = []


class Schedule(msgspec.Struct, frozen=True):
    schedules: Mapping[str, Day]


class Answer(msgspec.Struct, frozen=True):
    """One element of what an order is answered with: a number, or a question."""

    order_id: msgspec.Raw = NOTHING
    order_status: str = ""
    id: str = ""
    message: list[str] = []
    message_ids: list[str] = msgspec.field(name="messageIds", default_factory=list)


class Change(msgspec.Struct, frozen=True):
    """A figure before and after an order, as text for people."""

    change: str | None = None
    after: str | None = None


class Cost(msgspec.Struct, frozen=True):
    commission: str | None = None


class Trial(msgspec.Struct, frozen=True):
    """What an order would come to, were it placed."""

    amount: Cost
    equity: Change
    initial: Change
    warn: str | None = None


class Complaint(msgspec.Struct, frozen=True):
    """What any answer may be instead."""

    error: str | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order in the list of live orders, and in the topic `sor`, which leaves out what has not changed."""

    order_id: int
    conid: int = 0
    conidex: str = ""
    ticker: str = ""
    status: str = ""
    side: str = ""
    total_size: msgspec.Raw = NOTHING
    total_cash_size: msgspec.Raw = NOTHING
    filled_quantity: msgspec.Raw = NOTHING
    orig_order_type: str = ""
    price: msgspec.Raw = NOTHING
    aux_price: msgspec.Raw = NOTHING
    stop_price: msgspec.Raw = msgspec.field(name="stop_price", default=NOTHING)
    time_in_force: str = ""
    order_ref: str = msgspec.field(name="order_ref", default="")
    last_execution_time: int = msgspec.field(name="lastExecutionTime_r", default=0)


class Listing(msgspec.Struct, frozen=True):
    """snapshot: False says that it was not looked yet."""

    orders: list[Row]
    snapshot: bool = False


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    """One execution. commission comes a moment after the rest."""

    execution_id: str
    side: str
    size: msgspec.Raw
    price: msgspec.Raw
    trade_time_r: int
    conid: msgspec.Raw
    sec_type: str = ""
    order_ref: str = ""
    order_id: int = 0
    commission: msgspec.Raw = NOTHING


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """An order asked for by its number. size is what remains."""

    order_id: int
    conid: int
    conidex: str = ""
    symbol: str = ""
    side: str
    order_status: str
    order_type: str
    tif: str
    total_size: msgspec.Raw
    total_cash_size: msgspec.Raw = NOTHING
    cum_fill: msgspec.Raw
    limit_price: msgspec.Raw = NOTHING
    stop_price: msgspec.Raw = NOTHING
    trailing_amount: msgspec.Raw = NOTHING
    trailing_amount_unit: str = ""
    order_ref: str = ""
    order_status_description: str = ""
    order_time: str = ""


class Bar(msgspec.Struct, frozen=True):
    t: int
    o: msgspec.Raw
    h: msgspec.Raw
    l: msgspec.Raw  # noqa: E741 IBKR's name
    c: msgspec.Raw
    v: msgspec.Raw = NOTHING


class History(msgspec.Struct, frozen=True, rename="camel"):
    data: list[Bar]
    volume_factor: msgspec.Raw = NOTHING


class Frame(msgspec.Struct, frozen=True):
    """What every message of the WebSocket says of itself."""

    topic: str = ""
    error: str | None = None
    hb: int | None = None


class Orders(msgspec.Struct, frozen=True):
    args: list[Row]


class Trades(msgspec.Struct, frozen=True):
    args: list[Trade]


class Authenticated(msgspec.Struct, frozen=True):
    """authenticated: None where the message is about something else."""

    authenticated: bool | None = None
    competing: bool | None = None


class State(msgspec.Struct, frozen=True):
    args: Authenticated


def complaint(body: bytes) -> str | None:
    """What {"error": …} says, with whatever status it came; None: the answer is another."""
    if b'"error"' not in body:
        return None
    try:
        return strict.decode(body, Complaint).error
    except UNREADABLE:
        return None
