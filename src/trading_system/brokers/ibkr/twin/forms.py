"""What a client writes, read by TWS's own rules: contracts, and orders with their conditional blocks. Messages go back in exact layouts."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from trading_system.brokers.ibkr.twin.universe import Line
from trading_system.brokers.ibkr.wire import UNSET, Tells, Value, join, number
from trading_system.domain.money import ZERO, plain
from trading_system.sim.sessions import SECOND_NS, new_york_offset_ns

CONTRACT_FIELDS = 12
LEG_FIELDS = 8  # that each leg adds to an open order
LIVE = -1  # the request that a pushed execution answers


class Refusal(Exception):
    """What is asked is refused with an error message."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Wanted(msgspec.Struct, frozen=True):
    """A contract as a client names it; what is empty is not named."""

    con_id: int
    symbol: str
    sec_type: str
    last_trade: str
    strike: Decimal
    right: str
    multiplier: str
    exchange: str
    primary: str
    currency: str
    local_symbol: str
    trading_class: str


class Form(msgspec.Struct, kw_only=True):
    """An order as a client sent it, as far as it means something here."""

    order_id: int
    contract: Wanted
    legs: tuple[tuple[int, int, str], ...] = ()  # contract, ratio, action
    action: str
    qty: Decimal
    order_type: str
    limit: Decimal | None = None
    aux: Decimal | None = None
    tif: str
    oca_group: str = ""
    account: str = ""
    ref: str
    transmit: bool = True
    parent_id: int = 0
    outside_rth: bool = False
    oca_type: int = 0
    trail_stop: Decimal | None = None
    trail_pct: Decimal | None = None
    what_if: bool = False
    cash_qty: Decimal | None = None


def contract(fields: Iterator[str]) -> Wanted:
    """Twelve fields. Raises Refusal: a number that is none."""
    con_id, symbol, sec_type, last, strike, right, multiplier, exchange, primary, currency, local, trading_class = (
        next(fields) for _ in range(CONTRACT_FIELDS)
    )
    return Wanted(
        int(_number(con_id) or 0),
        symbol,
        sec_type,
        last,
        _number(strike) or ZERO,
        right[:1].replace("?", "").replace("0", ""),
        multiplier,
        exchange,
        primary,
        currency,
        local,
        trading_class,
    )


def order(fields: Iterator[str]) -> Form:
    """placeOrder without its number, read in order: blocks that only some orders have are skipped by the rule that makes them. Raises Refusal."""
    order_id = int(next(fields))
    wanted = contract(fields)
    _skip(fields, 2)  # secIdType, secId
    action, qty, order_type, limit, aux, tif, oca_group, account, _, _, ref, transmit, parent_id = (next(fields) for _ in range(13))
    _skip(fields, 4)  # block, sweep, displaySize, triggerMethod
    outside_rth = next(fields)
    _skip(fields, 1)  # hidden
    legs: tuple[tuple[int, int, str], ...] = ()
    if wanted.sec_type == "BAG":
        rows = [[next(fields) for _ in range(8)] for _ in range(_count(next(fields)))]
        legs = tuple((int(row[0]), int(row[1]), row[2]) for row in rows)
        _skip(fields, _count(next(fields)))
        _skip(fields, 2 * _count(next(fields)))
    _skip(fields, 11)  # sharesAllocation … exemptCode
    oca_type = next(fields)
    _skip(fields, 17)  # rule80A … volatilityType
    neutral = next(fields)
    _skip(fields, 1)
    _skip(fields, 8 if neutral else 0)
    _skip(fields, 2)
    trail_stop, trail_pct = next(fields), next(fields)
    _skip(fields, 2)
    step = number(next(fields))
    _skip(fields, 7 if step else 0)
    _skip(fields, 3)
    _skip(fields, 1 if next(fields) else 0)  # hedge
    _skip(fields, 4)
    _skip(fields, 3 if next(fields) == "1" else 0)  # deltaNeutralContract
    if next(fields):  # an algorithm and its parameters
        _skip(fields, 2 * _count(next(fields)))
    _skip(fields, 1)
    what_if = next(fields)
    _skip(fields, 4)
    if order_type == "PEG BENCH":
        _skip(fields, 5)
    if _count(next(fields)):
        raise Refusal(321, "Error validating request.-'bW' : cause - conditions are not modelled here")
    _skip(fields, 10)
    return Form(
        order_id=order_id,
        contract=wanted,
        legs=legs,
        action=action,
        qty=_number(qty) or ZERO,
        order_type=order_type,
        limit=_number(limit),
        aux=_number(aux),
        tif=tif,
        oca_group=oca_group,
        account=account,
        ref=ref,
        transmit=transmit == "1",
        parent_id=int(parent_id or 0),
        outside_rth=outside_rth == "1",
        oca_type=int(oca_type or 0),
        trail_stop=_number(trail_stop),
        trail_pct=_number(trail_pct),
        what_if=what_if == "1",
        cash_qty=_number(next(fields)),
    )


def _skip(fields: Iterator[str], count: int) -> None:
    for _ in range(count):
        next(fields)


def _count(text: str) -> int:
    return int(text or 0)


def _number(text: str) -> Decimal | None:
    try:
        return number(text)
    except ValueError as error:
        raise Refusal(320, f"Error reading request. {error}") from None


# -- what goes back --------------------------------------------------------------------------------------------------------------------------------


def error(request_id: int, code: int, text: str) -> bytes:
    return join(Tells.ERROR, 2, request_id, code, text, "")


def when(now_ns: int) -> str:
    """A time as TWS writes it: New York's, to the second."""
    local = datetime.fromtimestamp((now_ns + new_york_offset_ns(now_ns)) // SECOND_NS, UTC)
    return f"{local:%Y%m%d %H:%M:%S} US/Eastern"


def eleven(line: Line) -> Sequence[Value]:
    """A contract in an order: there, no right is a question mark."""
    return (*head(line, right="?"), line.exchange, line.currency, line.local_symbol, line.trading_class)


def head(line: Line, *, right: str = "") -> Sequence[Value]:
    return (line.con_id, line.symbol, line.sec_type, line.last_trade, line.strike, line.right or right, line.multiplier)


def details(request_id: int, line: Line, under_id: int, hours: str) -> bytes:
    """Everything about one contract."""
    if line.cusip:
        return _bond_details(request_id, line)
    zone = "US/Central" if line.sec_type == "FUT" else "US/Eastern"
    return join(
        *(Tells.CONTRACT, request_id, line.symbol, line.sec_type, line.last_trade, line.strike, line.right, line.exchange, line.currency),
        *(line.local_symbol, line.trading_class, line.trading_class, line.con_id, line.min_tick, line.multiplier),
        *("ACTIVETIM,LMT,MKT,STP,STPLMT,TRAIL", line.exchange, 1, under_id, line.title, line.primary, line.last_trade[:6], "", "", ""),
        *(zone, hours, hours, "", "", 0, 1, line.symbol if line.sec_type == "OPT" else "", "STK" if line.sec_type == "OPT" else ""),
        *(str(line.rule), line.last_trade, "COMMON" if line.sec_type == "STK" else "", line.size_step, line.size_step, line.size_step),
    )


def _bond_details(request_id: int, line: Line) -> bytes:
    """Of a bond other things are said, and in this version no hours."""
    return join(
        *(
            Tells.BOND_CONTRACT,
            request_id,
            line.symbol,
            line.sec_type,
            line.cusip,
            line.coupon,
            line.matures,
            "20230215",
            "AAA",
            "GOVERNMENT",
            "FIXED",
        ),
        *(0, 0, 0, line.title, line.exchange, line.currency, line.symbol, line.trading_class, line.con_id, line.min_tick),
        *("LMT,MKT", line.exchange, "", "", 0, "", line.title, "", 0, 1, "CUSIP", line.cusip, 2, line.rule, 1, 1, 1),
    )


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An order as TWS shows it."""

    form: Form
    line: Line
    client_id: int
    perm_id: int
    status: str
    qty: Decimal
    filled: Decimal
    avg_px: Decimal
    last_px: Decimal = ZERO
    limit: Decimal | None
    aux: Decimal | None
    why_held: str = ""
    commission: Decimal | None = None
    margins: tuple[Decimal, Decimal, Decimal] | None = None  # what an order that is only tried would tie up: before, change, after
    legs: Sequence[tuple[int, int, str]] = ()


def _template(text: str) -> Sequence[Value]:
    *fields, _ = text.split("|")
    return [UNSET if field == "U" else field for field in fields]


# Real orders on AAPL, reduced to version 178: what is not replaced in them is what TWS puts there.
_OPEN = _template(
    "5|5|265598|AAPL|STK||0|?||SMART|USD|AAPL|NMS|BUY|100|MKT|0.0|0.0|DAY||DU1234567||0|myref|100|600745656|0|0|0|||||||||||0||-1|0||||||21474836"
    "47|0|0|0||3|0|0||0|0||0|None||0||||?|0|0||0|0||||||0|0|0|2147483647|2147483647|||0||IB|0|0||0|0|PreSubmitted|U|U|U|U|U|U|U|U|U||||||0|0|0|No"
    "ne|U|U|U|U|U|U|0||||0|1|0|0|0|||0||100|0.02|||"
)
_COMPLETED = _template(
    "101|265598|AAPL|STK||0|?||SMART|USD|AAPL|NMS|BUY|100|MKT|0.0|0.0|DAY||DU1234567||0|myref|1376327563|0|0|0||||||||||0||-1||||||2147483647|0|0"
    "||3|0||0|None||0|0|0||0|0||||0|0|0|2147483647|2147483647||||IB|0|0||0|Filled|0|0|0|U|U|0|1|0||100|2147483647|0|Not an insider or substantial"
    " shareholder|0|0|9223372036854775807|20260402 10:00:00 US/Eastern|Filled Size: 100||||||"
)


def open_order(shown: Shown) -> bytes:
    """135 fields, and eight more for each leg."""
    form, fields = shown.form, list(_OPEN)
    fields[1:13] = [form.order_id, *eleven(shown.line)]
    fields[13:21] = [form.action, shown.qty, form.order_type, _price(shown.limit), _price(shown.aux), form.tif, form.oca_group, form.account]
    fields[23:27] = [form.ref, shown.client_id, shown.perm_id, form.outside_rth]
    fields[30] = f"{shown.perm_id}.0/{form.account}/{shown.qty}"
    fields[53], fields[57] = form.oca_type or 3, form.parent_id
    fields[73:75] = [_set(form.trail_stop), _set(form.trail_pct)]
    fields[92:94] = [form.what_if, shown.status]
    if shown.margins is not None:
        before, change, after = shown.margins
        fields[94:103] = [*[_money(before)] * 3, *[_money(change)] * 3, *[_money(after)] * 3]
    if shown.commission is not None:
        fields[103], fields[106] = _money(shown.commission), "USD"
    fields[113], fields[122] = _set(form.trail_stop), _set(form.cash_qty)
    fields[78] = len(shown.legs)
    fields[79:79] = [part for con_id, ratio, action in shown.legs for part in (con_id, ratio, action, "SMART", 0, 0, "", -1)]
    return join(*fields)


def _price(value: Decimal | None) -> Value:
    return "0.0" if value is None else value


def _set(value: Decimal | None) -> Value:
    return "" if value is None else value


def _money(value: Decimal) -> str:
    return format(value, "f")


def order_status(shown: Shown) -> bytes:
    left = max(ZERO, shown.qty - shown.filled)
    return join(
        *(Tells.ORDER_STATUS, shown.form.order_id, shown.status, shown.filled, left, shown.avg_px, shown.perm_id, shown.form.parent_id),
        *(shown.last_px, shown.client_id, shown.why_held, ZERO),
    )


def completed_order(shown: Shown, at_ns: int) -> bytes:
    """100 fields: neither the order's number nor the client's is among them."""
    form, fields = shown.form, list(_COMPLETED)
    fields[1:12] = eleven(shown.line)
    fields[12:20] = [form.action, shown.qty, form.order_type, _price(shown.limit), _price(shown.aux), form.tif, form.oca_group, form.account]
    fields[22:25] = [form.ref, shown.perm_id, form.outside_rth]
    fields[60:62] = [_set(form.trail_stop), _set(form.trail_pct)]
    fields[63] = len(shown.legs)
    words = (
        f"Filled Size: {plain(shown.filled)}" if shown.status == "Filled" else "Cancelled by Trader" if shown.status == "Cancelled" else "Inactive"
    )
    fields[82] = _set(form.cash_qty)
    fields[76], fields[86], fields[93], fields[94] = shown.status, shown.filled, when(at_ns), words
    fields[64:64] = [part for con_id, ratio, action in shown.legs for part in (con_id, ratio, action, "SMART", 0, 0, "", -1)]
    return join(*fields)
