"""The Web API's messages and ours: one function a message, named encode_x and decode_x. Every word is in a table or refused."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from trading_system.brokers.ibkr.auth import kind_of
from trading_system.brokers.ibkr.contracts import HOME, asset_class_of, decode_instrument, spelling
from trading_system.brokers.ibkr.facts import NAME
from trading_system.brokers.ibkr.statuses import UNCHANGED, decode_status
from trading_system.brokers.ibkr.web import wire
from trading_system.domain.account import AccountSnapshot, Position
from trading_system.domain.errors import BadRequest, ProtocolError
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import ALWAYS, Hours, Window
from trading_system.domain.ids import ClOrdID, ExecID, InstrumentID, OrderID
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ONE, ZERO, plain
from trading_system.domain.option import is_option, parse_occ
from trading_system.domain.order import NewOrder
from trading_system.domain.report import ExecutionReport
from trading_system.domain.times import NS

MS = 1_000_000
HUNDRED = Decimal(100)
_DAY_NS = 86_400 * NS
_SIDE = {"BUY": Side.BUY, "SELL": Side.SELL, "B": Side.BUY, "S": Side.SELL}
_TYPES = {
    OrdType.MARKET: "MKT",
    OrdType.LIMIT: "LMT",
    OrdType.STOP: "STP",
    OrdType.STOP_LIMIT: "STOP_LIMIT",
    OrdType.TRAILING_STOP: "TRAIL",
}
_AT_CLOSE = {OrdType.MARKET: "MOC", OrdType.LIMIT: "LOC"}
_ORD_TYPE = {
    "MARKET": OrdType.MARKET,
    "LIMIT": OrdType.LIMIT,
    "STOP": OrdType.STOP,
    "STOP_LIMIT": OrdType.STOP_LIMIT,
    "TRAILING_STOP": OrdType.TRAILING_STOP,
    "MARKETONCLOSE": OrdType.MARKET,
    "LMTONCLOSE": OrdType.LIMIT,
}
_CLOSES = ("MARKETONCLOSE", "LMTONCLOSE")
_TIFS = {
    TimeInForce.DAY: "DAY",
    TimeInForce.GTC: "GTC",
    TimeInForce.IOC: "IOC",
    TimeInForce.FOK: "FOK",
    TimeInForce.AT_THE_OPENING: "OPG",
    TimeInForce.AT_THE_CLOSE: "DAY",
}
_TIF = {name: tif for tif, name in _TIFS.items() if tif is not TimeInForce.AT_THE_CLOSE} | {wire.DAY_IN_ROWS: TimeInForce.DAY}
BARS: Mapping[int, str] = {
    60 * NS: "1min",
    120 * NS: "2min",
    180 * NS: "3min",
    300 * NS: "5min",
    600 * NS: "10min",
    900 * NS: "15min",
    1800 * NS: "30min",
    3600 * NS: "1h",
    7200 * NS: "2h",
    10_800 * NS: "3h",
    14_400 * NS: "4h",
    28_800 * NS: "8h",
    _DAY_NS: "1d",
}
_Word = TypeVar("_Word")


def number(raw: msgspec.Raw | str) -> Decimal | None:
    """A number that may be text, with commas, and with a letter in front where it is yesterday's or of a halt; None: it is not there.

    >>> number(msgspec.Raw(b'"95,012.50"')), number(msgspec.Raw(b"null"))
    (Decimal('95012.5'), None)

    Raises: ProtocolError: it is none.
    """
    text = (raw if isinstance(raw, str) else bytes(raw).decode()).strip('"').replace(",", "")
    if text in ("", "null"):
        return None
    try:
        found = Decimal(text.lstrip("CH"))
    except InvalidOperation:
        raise ProtocolError("a number that is none", text.encode()) from None
    if not found.is_finite():
        raise ProtocolError("a number that is none", text.encode())
    return Decimal(plain(found))


def needed(raw: msgspec.Raw, what: str) -> Decimal:
    found = number(raw)
    if found is None:
        raise ProtocolError(f"no {what} where one belongs", bytes(raw))
    return found


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def encode_order(request: NewOrder, con_id: int, account: str, ref: ClOrdID) -> dict[str, object]:
    """One order. The time in force is always named. A change is the same again, whole.

    Source: interactivebrokers.com/campus/ibkr-api-page/cpapi-v1, Place Order
    """
    assert request.order_qty is not None
    closes = request.time_in_force is TimeInForce.AT_THE_CLOSE
    fields: dict[str, object | None] = {
        "acctId": account,
        "conid": con_id,
        "cOID": ref or None,
        "orderType": _AT_CLOSE[request.ord_type] if closes else _TYPES[request.ord_type],
        "side": request.side.value.upper(),
        "tif": _TIFS[request.time_in_force],
        "quantity": _sent(request.order_qty),
        "price": _sent(request.stop_px if request.ord_type is OrdType.STOP else request.price),
        "auxPrice": _sent(request.stop_px) if request.ord_type is OrdType.STOP_LIMIT else None,
        "outsideRTH": True if request.extended_hours else None,
        "trailingAmt": _sent(request.trail_px if request.trail_pct is None else request.trail_pct * HUNDRED),
        "trailingType": None if request.ord_type is not OrdType.TRAILING_STOP else "amt" if request.trail_pct is None else "%",
    }
    return {name: value for name, value in fields.items() if value is not None}


def _sent(value: Decimal | None) -> msgspec.Raw | None:
    """A number as it is sent: plain, without an exponent."""
    return None if value is None else msgspec.Raw(plain(value).encode())


def decode_row(row: wire.Row, instrument: InstrumentID, cl_ord_id: ClOrdID, recv_ns: int) -> ExecutionReport:
    """A line of live orders. Where a trailing stop's distance is, it does not say: the order asked for by its number does."""
    ord_type, filled = _word(_ORD_TYPE, row.orig_order_type, "order type"), number(row.filled_quantity) or ZERO
    price, aux = number(row.price), number(row.aux_price)
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=cl_ord_id,
        order_id=OrderID(str(row.order_id)),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=_status(row.status, filled),
        instrument=instrument,
        side=_word(_SIDE, row.side, "side"),
        ord_type=ord_type,
        time_in_force=_tif(row.orig_order_type, row.time_in_force),
        order_qty=needed(row.total_size, "quantity"),
        price=price if ord_type.has_price else None,
        stop_px=price if ord_type is OrdType.STOP else aux if ord_type is OrdType.STOP_LIMIT else number(row.stop_price),
        cum_qty=filled,
        transact_ns=row.last_execution_time * MS,
        recv_ns=recv_ns,
    )


def decode_order(status: wire.Status, instrument: InstrumentID, cl_ord_id: ClOrdID, recv_ns: int) -> ExecutionReport:
    """An order that was asked for by its number."""
    ord_type, filled = _word(_ORD_TYPE, status.order_type, "order type"), number(status.cum_fill) or ZERO
    trail = number(status.trailing_amount) if ord_type is OrdType.TRAILING_STOP else None
    percent = status.trailing_amount_unit == "%"
    stands = _status(status.order_status, filled)
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=cl_ord_id,
        order_id=OrderID(str(status.order_id)),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=stands,
        instrument=instrument,
        side=_word(_SIDE, status.side, "side"),
        ord_type=ord_type,
        time_in_force=_tif(status.order_type, status.tif),
        order_qty=needed(status.total_size, "quantity"),
        price=number(status.limit_price) if ord_type.has_price else None,
        stop_px=number(status.stop_price) if ord_type.waits else None,
        trail_px=None if percent else trail,
        trail_pct=trail / HUNDRED if percent and trail is not None else None,
        cum_qty=filled,
        text=status.order_status_description if stands is OrdStatus.REJECTED else "",
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def check_status(word: str) -> None:
    """Raises ProtocolError: a status we do not know."""
    _status(word, ZERO)


def _status(word: str, filled: Decimal) -> OrdStatus:
    return OrdStatus.NEW if word in UNCHANGED else decode_status(word, filled, "")


def _tif(ord_type: str, word: str) -> TimeInForce:
    return TimeInForce.AT_THE_CLOSE if ord_type in _CLOSES else _word(_TIF, word, "time in force")


def decode_placed(request: NewOrder, order_id: OrderID, status: str, cl_ord_id: ClOrdID, recv_ns: int) -> ExecutionReport:
    """The first word on an order."""
    stands = OrdStatus.PENDING_NEW if status in UNCHANGED else decode_status(status, ZERO, "")
    first = stands if stands in (OrdStatus.PENDING_NEW, OrdStatus.NEW, OrdStatus.REJECTED) else OrdStatus.NEW  # how much was filled it does not say
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=cl_ord_id,
        order_id=order_id,
        exec_type=ExecType.ORDER_STATUS,
        ord_status=first,
        instrument=request.instrument,
        side=request.side,
        ord_type=request.ord_type,
        time_in_force=request.time_in_force,
        order_qty=request.order_qty,
        price=request.price,
        stop_px=request.stop_px,
        trail_px=request.trail_px,
        trail_pct=request.trail_pct,
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def decode_trade(trade: wire.Trade, known: ExecutionReport | None, instrument: InstrumentID, cl_ord_id: ClOrdID, recv_ns: int) -> ExecutionReport:
    """One execution, with its order as far as that is known. How much was filled with it nobody says."""
    qty, commission = needed(trade.size, "size"), number(trade.commission)
    base = known or ExecutionReport(
        broker=NAME,
        cl_ord_id=cl_ord_id,
        order_id=OrderID(str(trade.order_id)) if trade.order_id else None,
        exec_type=ExecType.ORDER_STATUS,
        ord_status=OrdStatus.PARTIALLY_FILLED,
        instrument=instrument,
        side=_word(_SIDE, trade.side, "side"),
        ord_type=OrdType.MARKET,
        time_in_force=TimeInForce.DAY,
        order_qty=qty,
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )
    return replace(
        base,
        exec_type=ExecType.TRADE,
        ord_status=OrdStatus.PARTIALLY_FILLED,
        exec_id=ExecID(trade.execution_id),
        last_qty=qty,
        last_px=needed(trade.price, "price"),
        cum_qty=None,
        fee=commission or ZERO,
        fee_currency=HOME if commission is not None else "",
        text="",
        transact_ns=trade.trade_time_r * MS,
        recv_ns=recv_ns,
    )


def _word(table: Mapping[str, _Word], word: str, what: str) -> _Word:
    if word not in table:
        raise ProtocolError(f"a {what} that we do not know", word.encode())
    return table[word]


# -- the account -----------------------------------------------------------------------------------------------------------------------------------


def decode_account(
    account: str,
    summary: Mapping[str, wire.Figure],
    ledger: Mapping[str, wire.Money],
    held: Iterable[tuple[wire.Position, InstrumentID]],
    recv_ns: int,
) -> AccountSnapshot:
    """Figures, money by currency and positions: three reads. Money of another country that is traded in pairs is a position."""
    positions = [_position(row, instrument) for row, instrument in held if number(row.position)]
    for currency, money in ledger.items():
        amount, rate = number(money.cashbalance) or ZERO, number(money.exchangerate)
        if currency not in (HOME, "BASE") and amount:
            pair = InstrumentID(f"{currency}/{HOME}")
            positions.append(Position(instrument=pair, qty=amount, avg_px=rate or ZERO, mark_px=rate, unrealized_pnl=ZERO))
    equity = _figure(summary, "netliquidation")
    before = summary.get("previousdayequitywithloanvalue")
    return AccountSnapshot(
        broker=NAME,
        account=account,
        environment=kind_of(account),
        currency=HOME,
        equity=equity,
        last_equity=equity if before is None else number(before.amount) or equity,
        cash=ZERO if HOME not in ledger else number(ledger[HOME].cashbalance) or ZERO,
        buying_power=_figure(summary, "buyingpower"),
        positions=tuple(positions),
        tradable=True,
        text="",
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def _figure(summary: Mapping[str, wire.Figure], key: str) -> Decimal:
    if key not in summary:
        raise ProtocolError(f"no {key} in the account's summary")
    return needed(summary[key].amount, key)


def _position(row: wire.Position, instrument: InstrumentID) -> Position:
    return Position(
        instrument=instrument,
        qty=needed(row.position, "position"),
        avg_px=number(row.avg_price) or ZERO,
        mark_px=number(row.mkt_price),
        unrealized_pnl=number(row.unrealized_pnl) or ZERO,
    )


# -- contracts -------------------------------------------------------------------------------------------------------------------------------------


def name_of(contract: wire.Contract) -> InstrumentID:
    """Our name of a contract. Raises ProtocolError."""
    return decode_instrument(
        contract.instrument_type,
        contract.symbol,
        contract.currency,
        contract.local_symbol,
        contract.maturity_date or "",
        contract.right or "",
        number(contract.strike) or ZERO,
    )


def decode_contract(contract: wire.Contract, schedule: wire.Schedule | None, now_ns: int) -> Instrument:
    """What can be traded, and on which grid. schedule: None where it is always open. Raises BadRequest: this desk does not trade its kind."""
    name, asset_class = name_of(contract), asset_class_of(contract.instrument_type)
    if asset_class is None or contract.currency != HOME or contract.rules is None:
        raise BadRequest(f"{name} cannot be traded by this desk")
    lot = number(contract.rules.size_increment) or ONE
    whole = lot if asset_class is AssetClass.CRYPTO else ONE
    return Instrument(
        id=name,
        broker=NAME,
        symbol=spelling(contract.instrument_type, contract.symbol, contract.currency, name),
        asset_class=asset_class,
        base=contract.symbol if asset_class is not AssetClass.EQUITY else name,
        currency=contract.currency,
        ticks=(TickBand(ZERO, needed(contract.rules.increment, "increment")),),
        lot=whole,
        whole_lot=whole,
        multiplier=number(contract.multiplier) or ONE,
        hours=ALWAYS if schedule is None else decode_hours(schedule, now_ns),
        shortable=asset_class is AssetClass.EQUITY,
        marginable=asset_class is AssetClass.EQUITY,
        contract=parse_occ(name) if is_option(name) else None,
    )


def decode_hours(schedule: wire.Schedule, now_ns: int) -> Hours:
    days = [schedule.schedules[day] for day in sorted(schedule.schedules)]
    regular, extended = (tuple(Window(one.opening * NS, one.closing * NS) for day in days for one in of(day)) for of in (_liquid, _extended))
    known = max((window.close_ns for window in (*regular, *extended)), default=now_ns)
    return Hours(windows=regular, extended=extended, known_until_ns=min(known, now_ns + _DAY_NS))


def _liquid(day: wire.Day) -> list[wire.Times]:
    return day.liquid_hours


def _extended(day: wire.Day) -> list[wire.Times]:
    return day.extended_hours


# -- prices ----------------------------------------------------------------------------------------------------------------------------------------


def decode_quote(fields: Mapping[str, str], instrument: InstrumentID, at_ns: int, recv_ns: int) -> Quote | None:
    """None: it says nothing of bid and offer yet."""
    bid, ask = (number(fields.get(field, "")) for field in (wire.BID, wire.ASK))
    if bid is None and ask is None:
        return None
    return Quote(
        instrument=instrument,
        bid_px=bid if bid is None or bid > 0 else None,
        bid_qty=number(fields.get(wire.BID_SIZE, "")) or ZERO,
        ask_px=ask if ask is None or ask > 0 else None,
        ask_qty=number(fields.get(wire.ASK_SIZE, "")) or ZERO,
        transact_ns=at_ns,
        recv_ns=recv_ns,
    )


def decode_last(fields: Mapping[str, str], instrument: InstrumentID, at_ns: int, recv_ns: int) -> Trade | None:
    """None: it tells of no trade, or of yesterday's close."""
    text = fields.get(wire.LAST, "")
    price = number(text)
    if price is None or text.startswith("C"):
        return None
    qty = number(fields.get(wire.LAST_SIZE, "")) or ZERO
    return Trade(instrument=instrument, price=price, qty=qty, trade_id="", transact_ns=at_ns, recv_ns=recv_ns)


def decode_bar(bar: wire.Bar, factor: Decimal, instrument: InstrumentID, period_ns: int) -> Bar:
    return Bar(
        instrument=instrument,
        open_ns=bar.t * MS,
        period_ns=period_ns,
        open=needed(bar.o, "price"),
        high=needed(bar.h, "price"),
        low=needed(bar.l, "price"),
        close=needed(bar.c, "price"),
        volume=max(ZERO, (number(bar.v) or ZERO) * factor),
    )


def encode_time(at_ns: int) -> str:
    """UTC, as history takes it."""
    return f"{datetime.fromtimestamp(at_ns // NS, UTC):%Y%m%d-%H:%M:%S}"


def encode_span(span_ns: int) -> str:
    """How far back: minutes up to a day, then days.

    >>> encode_span(90 * 60 * NS), encode_span(30 * 3600 * NS)
    ('90min', '2d')
    """
    minutes = max(1, -(-span_ns // (60 * NS)))
    return f"{minutes}min" if minutes <= 1_440 else f"{-(-minutes // 1_440)}d"
