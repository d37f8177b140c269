"""The Web API's messages and ours: one function a message, named encode_x and decode_x. Every word is in a table or refused."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from trading_system.brokers.ibkr.auth import kind_of
from trading_system.brokers.ibkr.contracts import HOME, asset_class_of, decode_instrument, spelling, units_of_future
from trading_system.brokers.ibkr.facts import BY_TWS_ALONE, NAME
from trading_system.brokers.ibkr.links import exits_of, names_of
from trading_system.brokers.ibkr.spreads import leg_name
from trading_system.brokers.ibkr.statuses import UNCHANGED, decode_status
from trading_system.brokers.ibkr.web import wire
from trading_system.brokers.ibkr.web.facts import HOURS_MAX, MINUTES_MAX, POINTS_MAX, SPREAD
from trading_system.domain.account import AccountSnapshot, Position
from trading_system.domain.errors import BadRequest, ProtocolError, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.future import is_future
from trading_system.domain.hours import ALWAYS, Hours, Window
from trading_system.domain.ids import ClOrdID, ExecID, InstrumentID, OrderID, is_ours
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ONE, ZERO, plain
from trading_system.domain.option import is_option, parse_occ
from trading_system.domain.order import Leg, NewOrder
from trading_system.domain.report import ExecutionReport
from trading_system.domain.times import NS

MS = 1_000_000
MOVE_MAX = Decimal("0.05")  # of what is held: more than that its worth does not change between two reads
LEGS = ";;;"  # between the number of a combination and its legs
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
# What others place at this account, by hand or with other programs, as the nearest kind that we have: it is seen and counted, and never changed.
# IBKR nowhere lists the words of rows: one that is not here counts as a limit order, which has a price.
_OTHERS = {
    **dict.fromkeys(("MARKET_TO_LIMIT", "MTL", "PEGGED_TO_MARKET", "PEG_MKT", "MARKET_WITH_PROTECTION"), OrdType.MARKET),
    **dict.fromkeys(("MIT", "MARKET_IF_TOUCHED", "STOP_WITH_PROTECTION"), OrdType.STOP),
    **dict.fromkeys(("LIT", "LIMIT_IF_TOUCHED"), OrdType.STOP_LIMIT),
    **dict.fromkeys(("TRAILING_STOP_LIMIT", "TRAILLMT"), OrdType.TRAILING_STOP),
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
_OTHERS_TIF = {"OVT": TimeInForce.DAY, "DTC": TimeInForce.DAY, "AUC": TimeInForce.AT_THE_OPENING}  # any other works until it is over, as GTD does
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


def encode_operator(account: str) -> dict[str, str]:
    """Who cancels an order on a future, as words of an address.

    Source: IBKR's Web API reference, Cancel An Order: without them one of a future in the United States is refused
    """
    return {"manualIndicator": "false", "extOperator": account}


def encode_order(request: NewOrder, con_id: int, account: str, ref: ClOrdID) -> dict[str, object]:
    """One order. The time in force is always named. A change is the same again, whole. Of futures the exchanges want to know who orders, and whether
    by hand.

    Source: interactivebrokers.com/campus/ibkr-api-page/cpapi-v1, Place Order
    """
    future = is_future(request.instrument)
    closes = request.time_in_force is TimeInForce.AT_THE_CLOSE
    fields: dict[str, object | None] = {
        "acctId": account,
        "conid": con_id,
        "cOID": ref or None,
        "orderType": _AT_CLOSE[request.ord_type] if closes else _TYPES[request.ord_type],
        "side": request.side.value.upper(),
        "tif": _TIFS[request.time_in_force],
        "quantity": _sent(request.order_qty),
        "cashQty": _sent(request.cash_order_qty),
        "price": _sent(request.stop_px if request.ord_type is OrdType.STOP else request.price),
        "auxPrice": _sent(request.stop_px) if request.ord_type is OrdType.STOP_LIMIT else None,
        "outsideRTH": True if request.extended_hours or future else None,  # a future's stop would sleep while stocks do
        "trailingAmt": _sent(request.trail_px if request.trail_pct is None else request.trail_pct * HUNDRED),
        "trailingType": None if request.ord_type is not OrdType.TRAILING_STOP else "amt" if request.trail_pct is None else "%",
        "manualIndicator": False if future else None,
        "extOperator": account if future else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def encode_legs(legs: Iterable[tuple[int, Leg]]) -> str:
    """Several contracts as one: what is sold of them has a ratio below zero.

    >>> encode_legs([(7, Leg(InstrumentID("A"), Side.BUY, 1)), (8, Leg(InstrumentID("B"), Side.SELL, 2))])
    '28812380;;;7/1,8/-2'
    """
    return f"{SPREAD}{LEGS}{','.join(f'{con_id}/{leg.side.sign * leg.ratio_qty}' for con_id, leg in legs)}"


def decode_legs(conidex: str) -> list[tuple[int, Side, int]]:
    """Contract, side and ratio of each leg; none: it is one contract.

    >>> decode_legs("28812380;;;7/1,8/-2"), decode_legs("265598@NASDAQ")
    ([(7, <Side.BUY: 'buy'>, 1), (8, <Side.SELL: 'sell'>, 2)], [])

    Raises: ProtocolError: legs that cannot be read.
    """
    _, several, text = conidex.partition(LEGS)
    if not several:
        return []
    found = []
    for part in text.split(","):
        con_id, _, ratio = part.partition("/")
        if not con_id.isdecimal() or not ratio.lstrip("+-").isdecimal() or not int(ratio):
            raise ProtocolError("legs that cannot be read", conidex.encode())
        found.append((int(con_id), Side.SELL if int(ratio) < 0 else Side.BUY, abs(int(ratio))))
    return found


def encode_spread(request: NewOrder, legs: Iterable[tuple[int, Leg]], account: str, ref: ClOrdID) -> dict[str, object]:
    """Several options, bought as one at their net price.

    Source: interactivebrokers.com/campus/ibkr-api-page/cpapi-v1, Combo Orders
    """
    order = encode_order(request, SPREAD, account, ref)
    del order["conid"]
    return order | {"conidex": encode_legs(legs)}


def encode_linked(request: NewOrder, con_id: int, account: str, ref: ClOrdID) -> list[dict[str, object]]:
    """The order itself, and the exits that IBKR is to hold for it: they name it as their parent. Two exits alone are one group.

    Source: interactivebrokers.com/campus/ibkr-api-page/cpapi-v1, Bracket Orders
    """
    head, *exits = [encode_order(one, con_id, account, name) for name, one in ((ref, request), *exits_of(request, ref))]
    if exits and request.reduce_only:
        return [{**order, "isSingleGroup": True} for order in (head, *exits)]
    return [head, *[{**order, "parentId": ref} for order in exits]]


def decode_trial(trial: wire.Trial) -> str:
    """What a trial says in IBKR's figures."""
    told = {"margin change": trial.initial.change, "equity after": trial.equity.after, "commission": trial.amount.commission}
    return ", ".join((*[f"{name} {text}" for name, text in told.items() if text], *filter(None, (trial.warn,)))) or "no figures"


def _sent(value: Decimal | None) -> msgspec.Raw | None:
    """A number as it is sent: plain, without an exponent."""
    return None if value is None else msgspec.Raw(plain(value).encode())


def decode_row(row: wire.Row, instrument: InstrumentID, cl_ord_id: ClOrdID, recv_ns: int) -> ExecutionReport:
    """A line of live orders. Where a trailing stop's distance is, it does not say: the order asked for by its number does."""
    ours = _is_ours(cl_ord_id, row.order_ref)
    ord_type, filled = _kind(row.orig_order_type, ours=ours), number(row.filled_quantity) or ZERO
    price, aux, cash = number(row.price), number(row.aux_price), number(row.total_cash_size) or None
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=cl_ord_id,
        order_id=OrderID(str(row.order_id)),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=_status(row.status, filled),
        instrument=instrument,
        multiplier=units_of_future(instrument),
        side=_word(_SIDE, row.side, "side"),
        ord_type=ord_type,
        time_in_force=_tif(row.orig_order_type, row.time_in_force, ours=ours),
        order_qty=needed(row.total_size, "quantity") if cash is None else None,
        cash_order_qty=cash,
        price=price if ord_type.has_price else None,
        stop_px=price if ord_type is OrdType.STOP else aux if ord_type is OrdType.STOP_LIMIT else number(row.stop_price),
        cum_qty=filled,
        transact_ns=row.last_execution_time * MS,
        recv_ns=recv_ns,
    )


def decode_order(status: wire.Status, instrument: InstrumentID, cl_ord_id: ClOrdID, recv_ns: int) -> ExecutionReport:
    """An order that was asked for by its number."""
    ours = _is_ours(cl_ord_id, status.order_ref)
    ord_type, filled = _kind(status.order_type, ours=ours), number(status.cum_fill) or ZERO
    trail = number(status.trailing_amount) if ord_type is OrdType.TRAILING_STOP else None
    percent, cash = status.trailing_amount_unit == "%", number(status.total_cash_size) or None
    stands = _status(status.order_status, filled)
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=cl_ord_id,
        order_id=OrderID(str(status.order_id)),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=stands,
        instrument=instrument,
        multiplier=units_of_future(instrument),
        side=_word(_SIDE, status.side, "side"),
        ord_type=ord_type,
        time_in_force=_tif(status.order_type, status.tif, ours=ours),
        order_qty=needed(status.total_size, "quantity") if cash is None else None,
        cash_order_qty=cash,
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


def _is_ours(cl_ord_id: ClOrdID, ref: str) -> bool:
    own, parent = names_of(ref)
    return bool(cl_ord_id) or is_ours(own) or parent is not None


def _kind(word: str, *, ours: bool) -> OrdType:
    return _word(_ORD_TYPE, word, "order type") if ours or word in _ORD_TYPE else _OTHERS.get(word, OrdType.LIMIT)


def _tif(ord_type: str, word: str, *, ours: bool) -> TimeInForce:
    if ord_type in _CLOSES:
        return TimeInForce.AT_THE_CLOSE
    return _word(_TIF, word, "time in force") if ours or word in _TIF else _OTHERS_TIF.get(word, TimeInForce.GTC)


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
        multiplier=units_of_future(request.instrument),
        side=request.side,
        ord_type=request.ord_type,
        time_in_force=request.time_in_force,
        order_qty=request.order_qty,
        cash_order_qty=request.cash_order_qty,
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
        multiplier=units_of_future(instrument),
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


def decode_leg(trade: wire.Trade, whole: OrderID, con_id: int, instrument: InstrumentID, recv_ns: int) -> ExecutionReport:
    """One execution of one leg."""
    ref, _ = names_of(trade.order_ref)
    done = decode_trade(trade, None, instrument, ClOrdID(""), recv_ns)
    return replace(done, parent=ref if is_ours(ref) else None, order_id=leg_name(whole, con_id), ord_type=OrdType.LIMIT, order_qty=None)


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
    """Figures, money by currency and positions: three reads. Money of another country that is traded in pairs is a position, of which IBKR does not
    say what it cost."""
    rows = [(row, instrument) for row, instrument in held if number(row.position)]
    positions = [_position(row, instrument) for row, instrument in rows]
    for currency, money in ledger.items():
        amount, rate = number(money.cashbalance) or ZERO, number(money.exchangerate)
        if currency not in (HOME, "BASE") and amount:
            pair = InstrumentID(f"{currency}/{HOME}")
            positions.append(Position(instrument=pair, qty=amount, avg_px=ZERO, mark_px=rate, unrealized_pnl=ZERO))
    equity = _figure(summary, "netliquidation")
    before = summary.get("previousdayequitywithloanvalue")
    return AccountSnapshot(
        broker=NAME,
        account=account,
        environment=kind_of(account),
        currency=HOME,
        equity=equity,
        last_equity=equity if before is None else number(before.amount) or equity,
        cash=ZERO if HOME not in ledger else _cash(ledger[HOME], [one for one in rows if one[0].currency == HOME]),
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


def _cash(money: wire.Money, held: Sequence[tuple[wire.Position, InstrumentID]]) -> Decimal:
    """Dollars that this desk counts. What futures have made is in IBKR's balance; here what they cost is money that was spent (decisions/0009).
    Prices move between two reads, and what a position cost does not: so the money is all that the account is worth, less what its positions gained,
    less what they cost, of which the first two stand in one answer.

    Raises: Unavailable: the figures do not fit together.
    Source: a ledger whose net liquidation is cash, interest and stocks, beside 677.49 of futuresonlypnl
    """
    cash = number(money.cashbalance) or ZERO
    worth = [(needed(row.market_value, "marketValue"), is_future(name)) for row, name in held] if any(is_future(name) for _, name in held) else []
    if not worth:
        return cash
    costs = sum((value for value, _ in worth), ZERO) - sum((needed(row.unrealized_pnl, "unrealizedPnl") for row, _ in held), ZERO)
    to_come = (number(money.interest) or ZERO) + (number(money.dividends) or ZERO)
    found = needed(money.netliquidationvalue, "netliquidationvalue") - to_come - needed(money.unrealizedpnl, "unrealizedpnl") - costs
    apart = cash - sum((value for value, future in worth if future), ZERO)
    if abs(apart - found) > MOVE_MAX * sum((abs(value) for value, _ in worth), ZERO):
        raise Unavailable(f"Interactive Brokers' figures of money and futures do not fit together: {plain(apart)} and {plain(found)} dollars")
    return found


def _position(row: wire.Position, instrument: InstrumentID) -> Position:
    return Position(
        instrument=instrument,
        qty=needed(row.position, "position"),
        avg_px=number(row.avg_price) or ZERO,
        mark_px=number(row.market_price),
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
        plain(number(contract.multiplier) or ZERO),
    )


def decode_contract(contract: wire.Contract, schedule: wire.Schedule | None, now_ns: int) -> Instrument:
    """What can be traded, and on which grid. schedule: None where it is always open. Raises BadRequest: this desk does not trade its kind."""
    name, asset_class = name_of(contract), asset_class_of(contract.instrument_type)
    odd = (asset_class is AssetClass.LISTED_FUTURE and not is_future(name)) or asset_class in BY_TWS_ALONE
    if asset_class is None or contract.currency != HOME or contract.rules is None or odd:
        raise BadRequest(f"{name} cannot be traded by this desk")
    borrows = asset_class in (AssetClass.EQUITY, AssetClass.LISTED_FUTURE)
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
        hours=ALWAYS if schedule is None else decode_hours(schedule, now_ns, whole=asset_class is AssetClass.LISTED_FUTURE),
        shortable=borrows,
        marginable=borrows,
        contract=parse_occ(name) if is_option(name) else None,
    )


def decode_hours(schedule: wire.Schedule, now_ns: int, *, whole: bool = False) -> Hours:
    """whole: of futures, whose liquid hours are when their stocks trade."""
    days = [schedule.schedules[day] for day in sorted(schedule.schedules)]
    regular, extended = (tuple(Window(one.opening * NS, one.closing * NS) for day in days for one in of(day)) for of in (_liquid, _extended))
    if whole:
        regular, extended = extended, ()
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
    """How far back, rounded up: of minutes there are no more than 30, of hours 8.

    >>> encode_span(20 * 60 * NS), encode_span(90 * 60 * NS), encode_span(30 * 3600 * NS)
    ('20min', '2h', '2d')

    Source: interactivebrokers.com/campus/ibkr-api-page/cpapi-v1, Historical Market Data: {1-30}min, {1-8}h, {1-1000}d
    """
    minutes = max(1, -(-span_ns // (60 * NS)))
    if minutes <= MINUTES_MAX:
        return f"{minutes}min"
    hours = -(-minutes // 60)
    return f"{hours}h" if hours <= HOURS_MAX else f"{-(-minutes // 1_440)}d"


def page_span(period_ns: int) -> int:
    """How much of bars of this length to ask for at once: rounded up it is no more than a thousand of them."""
    return (POINTS_MAX - 10) * period_ns // _DAY_NS * _DAY_NS or HOURS_MAX * 3_600 * NS
