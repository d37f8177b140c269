"""ib_async's objects and ours, both ways. Its numbers are floats: each becomes the shortest decimal that it stands for, here and nowhere else."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from ib_async import ComboLeg, CommissionReport, ContractDescription, ContractDetails, Execution, OrderState
from ib_async import Contract as IbContract
from ib_async import Order as IbOrder
from ib_async.util import UNSET_DOUBLE

from trading_system.brokers.ibkr.auth import kind_of
from trading_system.brokers.ibkr.contracts import HOME, Words, asset_class_of, decode_instrument, decode_match, encode_instrument, spelling
from trading_system.brokers.ibkr.facts import NAME, PAGES
from trading_system.brokers.ibkr.links import exits_of, names_of
from trading_system.brokers.ibkr.spreads import BAG, as_whole, leg_name, names_leg, whole_name
from trading_system.brokers.ibkr.statuses import UNCHANGED, decode_status
from trading_system.brokers.ibkr.wire import number
from trading_system.domain.account import AccountSnapshot, Position
from trading_system.domain.bond import UNIT_PER_POINT, is_cusip
from trading_system.domain.errors import BadRequest, ProtocolError, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.fund import is_fund
from trading_system.domain.future import is_future
from trading_system.domain.hours import ALWAYS, Hours, Window
from trading_system.domain.ids import ClOrdID, ExecID, InstrumentID, OrderID, is_ours
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar
from trading_system.domain.money import ONE, ZERO, plain
from trading_system.domain.option import Greeks, Right, is_option, parse_occ
from trading_system.domain.order import Leg, NewOrder
from trading_system.domain.report import ExecutionReport
from trading_system.domain.search import Match
from trading_system.domain.times import NS

HUNDRED = Decimal(100)
BOND = "BOND"
_IN_PARTS = frozenset({AssetClass.CRYPTO, AssetClass.FUND})
_UNTIMED = frozenset({AssetClass.CRYPTO, AssetClass.BOND})  # TWS of this version tells no hours of bonds
REDUCE_WITH_BLOCK = 2  # what one of a group fills, the others shrink by
_ACTION = {Side.BUY: "BUY", Side.SELL: "SELL"}
_SIDE = {"BUY": Side.BUY, "SELL": Side.SELL, "BOT": Side.BUY, "SLD": Side.SELL}
_TYPES = {
    OrdType.MARKET: "MKT",
    OrdType.LIMIT: "LMT",
    OrdType.STOP: "STP",
    OrdType.STOP_LIMIT: "STP LMT",
    OrdType.TRAILING_STOP: "TRAIL",
}
_AT_CLOSE = {OrdType.MARKET: "MOC", OrdType.LIMIT: "LOC"}
# What others place at this account, by hand or with other programs, as the nearest kind that we have: it is seen and counted, and never changed.
# Source: interactivebrokers.github.io/tws-api, Available Orders
_OTHERS = {
    **dict.fromkeys(("MTL", "PEG MKT", "PEGMKT", "MKT PRT", "MKTPRT", "BOX TOP"), OrdType.MARKET),
    **dict.fromkeys(("REL", "PEG MID", "PEG BEST", "PEG BENCH", "PEGBENCH", "PEG STK", "PASSV REL", "MIDPRICE", "VOL", "SNAP MID"), OrdType.LIMIT),
    **dict.fromkeys(("SNAP MKT", "SNAP PRIM", "REL + LMT", "REL + MKT", "LMT + MKT"), OrdType.LIMIT),
    **dict.fromkeys(("MIT", "STP PRT", "STPPRT"), OrdType.STOP),
    "LIT": OrdType.STOP_LIMIT,
    "TRAIL LIMIT": OrdType.TRAILING_STOP,
}
_ORD_TYPE = _OTHERS | {name: ord_type for table in (_TYPES, _AT_CLOSE) for ord_type, name in table.items()}
_TIFS = {
    TimeInForce.DAY: "DAY",
    TimeInForce.GTC: "GTC",
    TimeInForce.IOC: "IOC",
    TimeInForce.FOK: "FOK",
    TimeInForce.AT_THE_OPENING: "OPG",
    TimeInForce.AT_THE_CLOSE: "DAY",
}
_TIF = {name: tif for tif, name in _TIFS.items() if tif is not TimeInForce.AT_THE_CLOSE} | {
    "GTD": TimeInForce.GTC,
    "DTC": TimeInForce.DAY,
    "AUC": TimeInForce.AT_THE_OPENING,
    "Minutes": TimeInForce.DAY,
}
BARS: Mapping[int, str] = {
    60 * NS: "1 min",
    120 * NS: "2 mins",
    180 * NS: "3 mins",
    300 * NS: "5 mins",
    600 * NS: "10 mins",
    900 * NS: "15 mins",
    1200 * NS: "20 mins",
    1800 * NS: "30 mins",
    3600 * NS: "1 hour",
    7200 * NS: "2 hours",
    10_800 * NS: "3 hours",
    14_400 * NS: "4 hours",
    28_800 * NS: "8 hours",
    86_400 * NS: "1 day",
}


def decode_number(value: Any) -> Decimal:
    """The decimal that a float stands for, shortest first.

    >>> decode_number(0.1 + 0.2), decode_number(100.0)
    (Decimal('0.30000000000000004'), Decimal('100'))

    Raises: ProtocolError: infinite, or none at all.
    """
    found = Decimal(repr(value))
    if not found.is_finite():
        raise ProtocolError("a number that is none", repr(value).encode())
    return Decimal(plain(found))


def decode_optional(value: Any) -> Decimal | None:
    """None: it was left out, or is nothing."""
    return None if value in (None, UNSET_DOUBLE) or not value else decode_number(value)


def decode_time(moment: datetime) -> int:
    return int(moment.timestamp()) * NS


# -- contracts -------------------------------------------------------------------------------------------------------------------------------------


def encode_contract(words: Words) -> IbContract:
    return IbContract(
        symbol=words.symbol,
        secType=words.sec_type,
        exchange=words.exchange,
        currency=words.currency,
        lastTradeDateOrContractMonth=words.last_trade,
        strike=_plain_number(words.strike),
        right=words.right,
        multiplier=words.multiplier,
    )


def encode_bag(about: InstrumentID, legs: Iterable[tuple[IbContract, Leg]]) -> IbContract:
    """Several options as one contract, bought as a whole.

    Source: interactivebrokers.github.io/tws-api, Spreads
    """
    parts = [
        ComboLeg(conId=contract.conId, ratio=leg.ratio_qty, action=_ACTION[leg.side], exchange=contract.exchange or "SMART") for contract, leg in legs
    ]
    return IbContract(symbol=about.replace(".", " "), secType=BAG, exchange="SMART", currency=HOME, comboLegs=parts)


def decode_samples(found: Iterable[ContractDescription]) -> list[Match]:
    """What a search found, as far as it is traded here."""
    contracts = [one.contract for one in found if one.contract is not None]
    return [decode_match(one.symbol, one.description) for one in contracts if (one.secType, one.currency) == ("STK", HOME)]


def is_bag(contract: IbContract) -> bool:
    return contract.secType == BAG


def is_leg(done: Execution, contract: IbContract, row: "Row | None") -> bool:
    """Whether an execution is of one leg. Where nothing is known of its order, its name says so: it has one part more than others."""
    return not is_bag(contract) and (names_leg(done.execId) if row is None else is_bag(row.contract))


def by_number(con_id: int) -> IbContract:
    return IbContract(conId=con_id, exchange="SMART")


def _plain_number(value: Decimal) -> Any:
    """A decimal that ib_async writes as it is, without an exponent."""
    return Decimal(plain(value))


def is_unnamed(contract: IbContract) -> bool:
    """Whether it is a bond that TWS calls by its issuer: what it calls it elsewhere has to be asked for."""
    return contract.secType == BOND and not is_cusip(contract.symbol)


def name_of(contract: IbContract) -> InstrumentID:
    """Our name of a contract. Raises ProtocolError."""
    return decode_instrument(
        contract.secType,
        contract.symbol,
        contract.currency,
        contract.localSymbol,
        contract.lastTradeDateOrContractMonth,
        contract.right.strip("?0"),
        decode_number(contract.strike),
        contract.multiplier,
    )


def units_of(contract: IbContract) -> Decimal:
    """What a price of it is per: of a bond, whose orders are in thousands, a percentage. Raises ProtocolError."""
    if contract.secType == BOND:
        return UNIT_PER_POINT
    try:
        found = number(contract.multiplier)
    except ValueError:
        raise ProtocolError("a multiplier that is no number", contract.multiplier.encode()) from None
    return found or ONE


def decode_details(details: ContractDetails, bands: Sequence[TickBand], now_ns: int) -> Instrument:
    """What can be traded, and on which grid. bands: of its market rule. Raises BadRequest: this desk does not trade its kind, or not in its units."""
    contract = details.contract
    assert contract is not None
    name, asset_class = name_of(contract), asset_class_of(contract.secType)
    named = {AssetClass.LISTED_FUTURE: is_future, AssetClass.BOND: is_cusip, AssetClass.FUND: is_fund}
    if asset_class is None or contract.currency != HOME or not named.get(asset_class, bool)(name):
        raise BadRequest(f"{name} cannot be traded by this desk")
    if details.priceMagnifier not in (0, 1):
        raise BadRequest(f"{name} is priced in parts of its money, which this desk does not keep apart")
    lot = decode_optional(details.sizeIncrement) or ONE
    whole = lot if asset_class in _IN_PARTS else ONE
    borrows = asset_class in (AssetClass.EQUITY, AssetClass.LISTED_FUTURE)
    return Instrument(
        id=name,
        broker=NAME,
        symbol=spelling(contract.secType, contract.symbol, contract.currency, name),
        asset_class=asset_class,
        base=contract.symbol if asset_class is not AssetClass.EQUITY else name,
        currency=contract.currency,
        ticks=tuple(bands) or (TickBand(ZERO, decode_number(details.minTick)),),
        lot=whole,
        whole_lot=whole,
        multiplier=units_of(contract),
        hours=ALWAYS if asset_class in _UNTIMED else decode_hours(details, now_ns),
        shortable=borrows,
        marginable=borrows,
        contract=parse_occ(name) if is_option(name) else None,
    )


def decode_hours(details: ContractDetails, now_ns: int) -> Hours:
    """20260413:0930-20260413:1600;20260414:CLOSED, in the contract's own zone. Futures have one kind of hours: what IB calls liquid is when their
    stocks trade. Raises ProtocolError: hours or a zone that cannot be read."""
    try:
        zone = ZoneInfo(details.timeZoneId)
        regular, extended = (_windows(text, zone) for text in (details.liquidHours, details.tradingHours))
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise ProtocolError(f"trading hours that cannot be read ({error})", f"{details.timeZoneId} {details.liquidHours}".encode()) from None
    assert details.contract is not None
    if details.contract.secType == "FUT":
        regular, extended = extended, ()
    known = max((window.close_ns for window in (*regular, *extended)), default=now_ns)
    return Hours(windows=regular, extended=extended, known_until_ns=min(known, now_ns + 86_400 * NS))


def _windows(text: str, zone: ZoneInfo) -> tuple[Window, ...]:
    found = []
    for part in filter(None, text.split(";")):
        if part.endswith("CLOSED"):
            continue
        start, _, end = part.partition("-")
        found.append(Window(*(int(datetime.strptime(one, "%Y%m%d:%H%M").replace(tzinfo=zone).timestamp()) * NS for one in (start, end))))
    return tuple(found)


def decode_rule(increments: Iterable[Any]) -> tuple[TickBand, ...]:
    return tuple(TickBand(decode_number(one.lowEdge), decode_number(one.increment)) for one in increments)


def decode_days(parameters: Iterable[tuple[Any, ...]]) -> tuple[date, ...]:
    """The days of every class of options on it, each once."""
    days = {day for _, _, _, _, _, expirations, _ in parameters for day in expirations}
    return tuple(sorted(date(int(day[:4]), int(day[4:6]), int(day[6:8])) for day in days))


def decode_greeks(
    volatility: Any, delta: Any, price: Any, dividends: Any, gamma: Any, vega: Any, theta: Any, underlying: Any
) -> tuple[Decimal | None, Greeks | None]:
    """What IB's model says. A volatility below zero and a greek of minus two are none."""
    if volatility is None or volatility < 0 or delta in (None, -2) or gamma in (None, -2) or vega in (None, -2) or theta in (None, -2):
        return None, None
    greeks = Greeks(delta=decode_number(delta), gamma=decode_number(gamma), theta=decode_number(theta), vega=decode_number(vega), rho=None)
    return decode_number(volatility), greeks


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


class Row(msgspec.Struct, kw_only=True):
    """An order as TWS last showed it. order_id and client_id: 0 and -1 where it did not say, as of orders that are over."""

    perm_id: int
    order_id: int
    client_id: int
    name: OrderID
    order: IbOrder
    contract: IbContract
    status: str
    filled: Decimal = ZERO
    why_held: str = ""
    text: str = ""
    updated_ns: int


def encode_order(request: NewOrder, account: str, ref: ClOrdID) -> IbOrder:
    """What is sent. The time in force is always named: without it TWS sets one of its own and sends what looks like a refusal.

    Source: interactivebrokers.github.io/tws-api, Available Orders
    """
    order = IbOrder(
        action=_ACTION[request.side],
        totalQuantity=_plain_number(request.order_qty or ZERO),  # beside an amount of money IB takes none
        orderType=_AT_CLOSE[request.ord_type] if request.time_in_force is TimeInForce.AT_THE_CLOSE else _TYPES[request.ord_type],
        tif=_TIFS[request.time_in_force],
        account=account,
        orderRef=ref,
        outsideRth=request.extended_hours or is_future(request.instrument),  # a future's stop would sleep while stocks do
        usePriceMgmtAlgo=False,
    )
    if request.cash_order_qty is not None:
        order.cashQty = _plain_number(request.cash_order_qty)
    if request.price is not None:
        order.lmtPrice = _plain_number(request.price)
    if request.stop_px is not None:
        order.auxPrice = _plain_number(request.stop_px)
    if request.trail_px is not None:
        order.auxPrice = _plain_number(request.trail_px)
    if request.trail_pct is not None:
        order.trailingPercent = _plain_number(request.trail_pct * HUNDRED)
    return order


def encode_linked(request: NewOrder, account: str, ref: ClOrdID, first: int) -> list[IbOrder]:
    """The order itself and the exits that IB is to hold for it, under the numbers from this one on. The last part of a bracket is what sends it off;
    two exits alone are a group, of which each leaves by itself.

    Source: interactivebrokers.github.io/tws-api, Bracket Orders; One Cancels All
    """
    head = encode_order(request, account, ref)
    exits = [encode_order(exit_, account, name) for name, exit_ in exits_of(request, ref)]
    if not exits:
        return [head]
    if request.reduce_only:
        for order in (head, *exits):
            order.ocaGroup, order.ocaType = ref, REDUCE_WITH_BLOCK
        return [head, *exits]
    for order in exits:
        order.parentId = first
    for order in (head, *exits[:-1]):
        order.transmit = False
    return [head, *exits]


def encode_trial(request: NewOrder, account: str, ref: ClOrdID) -> IbOrder:
    """The same order, only to be tried; of linked ones the entry."""
    order = encode_order(request, account, ref)
    order.whatIf = True
    return order


def decode_trial(state: OrderState) -> str:
    """What a trial says in IB's figures."""
    told = {"margin change": state.initMarginChange, "equity after": state.equityWithLoanAfter}
    figures = [f"{name} {number_}" for name, text in told.items() if (number_ := _figure_of(text)) is not None]
    fee = decode_optional(state.commission)
    figures += [] if fee is None else [f"commission {plain(fee)} {state.commissionCurrency}".rstrip()]
    return ", ".join((*figures, *filter(None, (state.warningText,)))) or "no figures"


def _figure_of(text: str) -> str | None:
    """None: it was left out. Raises ProtocolError."""
    try:
        found = number(str(text))
    except ValueError:
        raise ProtocolError("a margin that is no number", str(text).encode()) from None
    return None if found is None else plain(found)


def order_name(perm_id: int, order_id: int) -> OrderID:
    """What the desk calls an order: the number that never changes, and the one that its client gave it, which must not be given again.

    >>> order_name(600745656, 5)
    '600745656-5'
    """
    return OrderID(f"{perm_id}-{order_id}")


def numbers_of(name: OrderID) -> tuple[int, int]:
    """Both numbers of a name, of a leg those of its whole. Raises ValueError: none of ours.

    >>> numbers_of(leg_name(OrderID("600745656-5"), 7))
    (600745656, 5)
    """
    perm_id, _, order_id = whole_name(name).partition("-")
    return int(perm_id), int(order_id)


def decode_row(row: Row, recv_ns: int) -> ExecutionReport:
    """How an order stands. Raises ProtocolError: a word that we do not know."""
    order = row.order
    ord_type = _word(_ORD_TYPE, order.orderType, "order type")
    at_close = order.orderType in _AT_CLOSE.values()
    status = OrdStatus.NEW if row.status in UNCHANGED else decode_status(row.status, row.filled, row.why_held)
    trails = ord_type is OrdType.TRAILING_STOP
    pct = decode_optional(order.trailingPercent) if trails else None
    qty = decode_number(order.totalQuantity)
    cash = decode_optional(order.cashQty)
    if status is OrdStatus.FILLED and (row.filled < qty or not row.filled):
        status = OrdStatus.PARTIALLY_FILLED if row.filled else OrdStatus.NEW  # how much it was comes a moment later
    ref, parent = names_of(order.orderRef)
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=ref,
        parent=parent,
        order_id=row.name,
        exec_type=ExecType.ORDER_STATUS,
        ord_status=status,
        instrument=name_of(row.contract),
        multiplier=units_of(row.contract),
        side=_word(_SIDE, order.action, "side"),
        ord_type=ord_type,
        time_in_force=TimeInForce.AT_THE_CLOSE if at_close else _word(_TIF, order.tif, "time in force"),
        order_qty=None if cash else qty,
        cash_order_qty=cash,
        price=decode_optional(order.lmtPrice) if ord_type.has_price else None,
        stop_px=decode_optional(order.trailStopPrice if trails else order.auxPrice) if ord_type.waits else None,
        trail_px=decode_optional(order.auxPrice) if trails and pct is None else None,
        trail_pct=None if pct is None else pct / HUNDRED,
        cum_qty=row.filled,
        text=row.text,
        transact_ns=row.updated_ns,
        recv_ns=recv_ns,
    )


def decode_whole(row: Row, names: Mapping[int, InstrumentID], recv_ns: int) -> ExecutionReport:
    """How a multileg order stands, with its legs; one that was sold is the reverse bought. names: of each leg's contract, by its number."""
    legs = [(leg.conId, Leg(names[leg.conId], _word(_SIDE, leg.action, "side of a leg"), leg.ratio)) for leg in row.contract.comboLegs]
    one = decode_row(row, recv_ns)
    price = None if not one.ord_type.has_price else decode_number(row.order.lmtPrice)  # which may be nothing, or less
    return as_whole(msgspec.structs.replace(one, price=price), InstrumentID(row.contract.symbol.replace(" ", ".")), legs)


def decode_leg(
    done: Execution, contract: IbContract, fee: CommissionReport | None, whole: OrderID, before: ExecID | None, recv_ns: int
) -> ExecutionReport:
    """One execution of one leg. What it comes to with those before it, IB does not say for a leg."""
    ref, _ = names_of(done.orderRef)
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=ClOrdID(""),
        parent=ref if is_ours(ref) else None,
        order_id=leg_name(whole, contract.conId),
        exec_type=ExecType.TRADE if before is None else ExecType.TRADE_CORRECT,
        ord_status=OrdStatus.PARTIALLY_FILLED,
        instrument=name_of(contract),
        multiplier=units_of(contract),
        side=_word(_SIDE, done.side, "side"),
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.DAY,
        order_qty=None,
        exec_id=ExecID(done.execId),
        exec_ref_id=before,
        last_qty=decode_number(done.shares),
        last_px=decode_number(done.price),
        fee=ZERO if fee is None else decode_number(fee.commission),
        fee_currency="" if fee is None else fee.currency,
        transact_ns=decode_time(done.time),
        recv_ns=recv_ns,
    )


def decode_execution(
    done: Execution, contract: IbContract, fee: CommissionReport | None, row: Row | None, before: ExecID | None, recv_ns: int
) -> ExecutionReport:
    """One execution, with how its order stands as far as that is known. before: the execution that this one corrects."""
    cum_qty, (ref, parent) = decode_number(done.cumQty), names_of(done.orderRef)
    if row is not None:
        known = decode_row(row, recv_ns)
    else:
        known = ExecutionReport(
            broker=NAME,
            cl_ord_id=ref,
            parent=parent,
            order_id=order_name(done.permId, done.orderId),
            exec_type=ExecType.ORDER_STATUS,
            ord_status=OrdStatus.PARTIALLY_FILLED,
            instrument=name_of(contract),
            multiplier=units_of(contract),
            side=_word(_SIDE, done.side, "side"),
            ord_type=OrdType.MARKET,
            time_in_force=TimeInForce.DAY,
            order_qty=cum_qty,
            transact_ns=recv_ns,
            recv_ns=recv_ns,
        )
    full = known.order_qty is not None and cum_qty >= known.order_qty
    return msgspec.structs.replace(
        known,
        exec_type=ExecType.TRADE if before is None else ExecType.TRADE_CORRECT,
        ord_status=OrdStatus.FILLED if full else OrdStatus.PARTIALLY_FILLED,
        exec_id=ExecID(done.execId),
        exec_ref_id=before,
        last_qty=decode_number(done.shares),
        last_px=decode_number(done.price),
        cum_qty=cum_qty,
        fee=ZERO if fee is None else decode_number(fee.commission),
        fee_currency="" if fee is None else fee.currency,
        transact_ns=decode_time(done.time),
    )


def _word(table: Mapping[str, Any], word: str, what: str) -> Any:
    if word not in table:
        raise ProtocolError(f"a {what} that we do not know", word.encode())
    return table[word]


# -- the account -----------------------------------------------------------------------------------------------------------------------------------


def decode_account(values: Mapping[tuple[str, str], str], held: Iterable[tuple[Any, ...]], account: str, recv_ns: int) -> AccountSnapshot:
    """Figures and portfolio as one snapshot. values: by key and currency. Money of another country that is traded in pairs is a position, of which IB
    does not say what it cost. What futures have made, today's gain included, is in IB's balance: the money that this desk counts is less what they
    are worth (decisions/0009), and stays what they cost.

    Raises: ProtocolError: a figure that is missing.
    Source: IB, Account Window values: CashBalance is cash recognized at the time of trade + futures PNL
    """
    rows = tuple(held)
    equity = _figure(values, "NetLiquidation")
    moneys = {currency: Decimal(text) for (key, currency), text in values.items() if key == "CashBalance" and currency != "BASE"}
    if HOME not in moneys:
        raise Unavailable(f"IB has not told the account's {HOME}")
    futures = [decode_number(worth) for contract, _, _, worth, *_ in rows if (contract.secType, contract.currency) == ("FUT", HOME)]
    cash = moneys[HOME] - sum(futures, ZERO)
    positions = [_position(*row) for row in rows]
    for currency, amount in moneys.items():
        if currency != HOME and amount:
            rate = Decimal(values.get(("ExchangeRate", currency), "0"))
            pair = InstrumentID(f"{currency}/{HOME}")
            positions.append(Position(instrument=pair, qty=amount, avg_px=ZERO, mark_px=rate or None, unrealized_pnl=ZERO))
    ready = values.get(("AccountReady", ""), "true") == "true"
    return AccountSnapshot(
        broker=NAME,
        account=account,
        environment=kind_of(account),
        currency=HOME,
        equity=equity,
        last_equity=_figure(values, "PreviousDayEquityWithLoanValue", equity),
        cash=cash,
        buying_power=_figure(values, "BuyingPower"),
        positions=tuple(positions),
        tradable=ready,
        text="" if ready else f"IB says that the account's figures are not ready yet; see {PAGES['status']}",
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def _figure(values: Mapping[tuple[str, str], str], key: str, default: Decimal | None = None) -> Decimal:
    """An amount in dollars."""
    text = values.get((key, HOME))
    if text is None:
        if default is not None:
            return default
        raise ProtocolError(f"no {key} in {HOME}: the account is kept in another currency, or its figures are not all there")
    return Decimal(text)


def _position(contract: IbContract, qty: Any, mark: Any, worth: Any, cost: Any, unrealized: Any, *_: object) -> Position:
    """avgCost is of a whole contract."""
    return Position(
        instrument=name_of(contract),
        qty=decode_number(qty),
        avg_px=decode_number(cost) / units_of(contract),
        mark_px=decode_optional(mark),
        unrealized_pnl=decode_number(unrealized),
    )


# -- the past --------------------------------------------------------------------------------------------------------------------------------------


def encode_time(at_ns: int) -> str:
    """UTC, as TWS takes it.

    >>> encode_time(1788269400_000000000)
    '20260901-13:30:00'
    """
    return f"{datetime.fromtimestamp(at_ns // NS, UTC):%Y%m%d-%H:%M:%S}"


def encode_span(span_ns: int) -> str:
    """How far back: seconds up to a day, then days, then years."""
    seconds = -(-span_ns // NS)
    if seconds <= 86_400:
        return f"{max(60, seconds)} S"
    days = -(-seconds // 86_400) + 1
    return f"{days} D" if days <= 365 else f"{-(-days // 365)} Y"


def decode_bar(bar: Any, instrument: InstrumentID, period_ns: int, zone: ZoneInfo) -> Bar:
    """Days begin at midnight where the contract trades."""
    text = str(bar.date)
    if len(text) == 8:
        day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
        open_ns = int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * NS
    else:
        open_ns = int(text) * NS
    return Bar(
        instrument=instrument,
        open_ns=open_ns,
        period_ns=period_ns,
        open=decode_number(bar.open),
        high=decode_number(bar.high),
        low=decode_number(bar.low),
        close=decode_number(bar.close),
        volume=max(ZERO, decode_number(bar.volume)),
        vwap=max(ZERO, decode_number(bar.average)),
    )


def words_of(instrument: InstrumentID) -> IbContract:
    return encode_contract(encode_instrument(instrument))


def options_of(underlying: InstrumentID, expiry: date, right: Right | None) -> IbContract:
    """All options of a day, in words that fit several contracts."""
    return IbContract(
        symbol=underlying.replace(".", " "),
        secType="OPT",
        exchange="SMART",
        currency=HOME,
        lastTradeDateOrContractMonth=f"{expiry:%Y%m%d}",
        right="" if right is None else right.letter,
    )
