"""Tradier's messages and ours: one function a message, named encode_x and decode_x. Every word is in a table or refused."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace

from trading_system.brokers.tradier import wire
from trading_system.brokers.tradier.executed import Part
from trading_system.brokers.tradier.facts import LIVE, NAME, PAGES, PAPER, PAPER_ACCOUNT_PREFIX, SANDBOX_DELAY_NS, TICKS
from trading_system.domain.account import AccountSnapshot, Flow, FlowKind, Position
from trading_system.domain.errors import ProtocolError
from trading_system.domain.fix import Contingency, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import Hours, MarketClock, MarketState, Window, is_open, next_open_ns
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID, parse_instrument
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ONE, ZERO, bounded, plain
from trading_system.domain.option import Contract, Greeks, OptionSnapshot, Right, is_option, parse_occ, underlying_of
from trading_system.domain.order import Approved, Leg, NewOrder, shares_of
from trading_system.domain.portfolio import ClosedPosition
from trading_system.domain.report import ExecutionReport
from trading_system.domain.search import Match
from trading_system.domain.times import NS, parse_rfc3339

MS = 1_000_000
HUNDRED = Decimal(100)  # shares that a quote's size and an option are about
MULTILEG, COMBO = "multileg", "combo"
WHOLE = (MULTILEG, COMBO)  # filled by their legs
LINKED = ("oto", "oco", "otoco")  # parents whose own fields are empty
_CLASS = {Contingency.OTO: "oto", Contingency.OCO: "oco", Contingency.BRACKET: "otoco"}
_SIDE = {
    "buy": Side.BUY,
    "buy_to_cover": Side.BUY,
    "buy_to_open": Side.BUY,
    "buy_to_close": Side.BUY,
    "sell": Side.SELL,
    "sell_short": Side.SELL,
    "sell_to_open": Side.SELL,
    "sell_to_close": Side.SELL,
}
_VERB = {(Side.BUY, False): "buy", (Side.BUY, True): "buy_to_cover", (Side.SELL, True): "sell", (Side.SELL, False): "sell_short"}  # closes?
_ORD_TYPE = {
    "market": OrdType.MARKET,
    "limit": OrdType.LIMIT,
    "stop": OrdType.STOP,
    "stop_limit": OrdType.STOP_LIMIT,
    "debit": OrdType.LIMIT,
    "credit": OrdType.LIMIT,
    "even": OrdType.LIMIT,
}
_NET = {"debit": ONE, "credit": -ONE, "even": ZERO}  # what a multileg order's price is multiplied with
_TIF = {"day": TimeInForce.DAY, "gtc": TimeInForce.GTC, "pre": TimeInForce.DAY, "post": TimeInForce.DAY}
# Source: docs.tradier.com, order statuses; `submitted`, `held` and `pending_cancel` were seen by others
_STATUS = {
    "pending": OrdStatus.PENDING_NEW,
    "submitted": OrdStatus.PENDING_NEW,
    "calculated": OrdStatus.PENDING_NEW,
    "accepted_for_bidding": OrdStatus.PENDING_NEW,
    "held": OrdStatus.SUSPENDED,  # waits for its entry
    "open": OrdStatus.NEW,
    "partially_filled": OrdStatus.PARTIALLY_FILLED,
    "filled": OrdStatus.FILLED,
    "expired": OrdStatus.EXPIRED,
    "canceled": OrdStatus.CANCELED,
    "pending_cancel": OrdStatus.PENDING_CANCEL,
    "rejected": OrdStatus.REJECTED,
    "error": OrdStatus.REJECTED,
}
_MARKET = {
    "premarket": MarketState.PREMARKET,
    "open": MarketState.OPEN,
    "postmarket": MarketState.POSTMARKET,
    "closed": MarketState.CLOSED,
}
_RIGHT = {"call": Right.CALL, "put": Right.PUT}
_STOCKS = ("stock", "etf")
# A kind of event that is not here is new: UNKNOWN, so that its money still counts.
_FLOW = {
    **dict.fromkeys(("journal", "ach", "wire", "check", "transfer"), FlowKind.TRANSFER),
    **dict.fromkeys(("dividend", "interest", "tax"), FlowKind.INCOME),
    "fee": FlowKind.FEE,
    "adjustment": FlowKind.CORPORATE_ACTION,
    "option": FlowKind.SETTLEMENT,
}
TRADED = "trade"
_Word = TypeVar("_Word")
_NEW_YORK = ZoneInfo("America/New_York")


# -- names -----------------------------------------------------------------------------------------------------------------------------------------


def encode_symbol(instrument: InstrumentID) -> str:
    """Tradier's spelling: a share class stands behind a slash, in quotes and in orders.

    >>> encode_symbol(InstrumentID("BRK.B"))
    'BRK/B'
    """
    return instrument.replace(".", "/")


def decode_symbol(symbol: str) -> InstrumentID:
    """Our spelling. Raises ProtocolError: no name at all."""
    try:
        return parse_instrument(symbol.replace("/", "."))
    except ValueError as error:
        raise ProtocolError(str(error), symbol.encode()) from None


# -- orders, outward -------------------------------------------------------------------------------------------------------------------------------


def duration_at(hours: Hours, now_ns: int) -> str:
    """The duration of an order for extended hours that leaves now. Each of the three ends with its own window."""
    if is_open(hours, now_ns):
        return "day"
    coming = next_open_ns(hours, now_ns)
    before = coming is not None and any(window.open_ns <= now_ns < coming < window.close_ns for window in hours.extended)
    return "pre" if before else "post"


def encode_order(approved: Approved, extended: str) -> Mapping[str, str]:
    """The form of a submit. extended: the duration of one for extended hours, as duration_at tells it.

    Numbers leave as plain strings. Sides say what they do to the position: Tradier refuses the wrong one.

    Source: docs.tradier.com, Place Orders
    """
    request = approved.request
    if request.legs:
        return _several(approved)
    if request.attached is not None:
        return _linked(approved)
    form = {"class": "option" if is_option(request.instrument) else "equity", "symbol": encode_symbol(underlying_of(request.instrument))}
    form |= _terms(request, closes=approved.reducing) | {"tag": approved.cl_ord_id}
    return form | {"duration": extended} if request.extended_hours else form


def _terms(request: NewOrder, *, closes: bool) -> dict[str, str]:
    """What a single order has, and each part of linked ones."""
    option = is_option(request.instrument)
    side = f"{request.side.value}_to_{'close' if closes else 'open'}" if option else _VERB[request.side, closes]
    fields = {
        "option_symbol": request.instrument if option else None,
        "side": side,
        "quantity": _sent(request.order_qty),
        "type": request.ord_type.value,
        "duration": request.time_in_force.value,
        "price": _sent(request.price),
        "stop": _sent(request.stop_px),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _several(approved: Approved) -> Mapping[str, str]:
    """A combo's shares come first and have no symbol of their own. Its price is for each of them.

    Source: docs.tradier.com, Place Combo Order; it does not state the price's unit: docs/decisions/0017
    """
    request = approved.request
    kind = MULTILEG if shares_of(request.legs) is None else COMBO
    form = {"class": kind, "symbol": encode_symbol(request.instrument), "duration": request.time_in_force.value, "tag": approved.cl_ord_id}
    form |= _net(request)
    legs = sorted(zip(request.legs, approved.opens, strict=True), key=lambda part: is_option(part[0].instrument))
    for place, (leg, opens) in enumerate(legs):
        form[f"quantity[{place}]"] = plain((request.order_qty or ZERO) * leg.ratio_qty)
        if is_option(leg.instrument):
            form |= {f"option_symbol[{place}]": leg.instrument, f"side[{place}]": f"{leg.side.value}_to_{'open' if opens else 'close'}"}
        else:
            form[f"side[{place}]"] = _VERB[leg.side, not opens]
    return form


def _net(request: NewOrder) -> dict[str, str]:
    """What is paid is a debit, what is received a credit."""
    if request.price is None:
        return {"type": "market"}
    if not request.price:
        return {"type": "even"}
    return {"type": "debit" if request.price > 0 else "credit", "price": plain(abs(request.price))}


def _linked(approved: Approved) -> Mapping[str, str]:
    """The entry first, then what it starts; of exits alone the order itself is the one that takes the profit."""
    request, attached = approved.request, approved.request.attached
    assert attached is not None
    exit_ = request.contingency is Contingency.OCO
    base = replace(request, attached=None)
    out = base if exit_ else replace(base, side=request.side.opposite, price=None, stop_px=None)
    parts = [_terms(base, closes=exit_)]
    if attached.take_profit_px is not None and not exit_:
        parts.append(_terms(replace(out, ord_type=OrdType.LIMIT, price=attached.take_profit_px), closes=True))
    if attached.stop_px is not None:
        ord_type = OrdType.STOP if attached.stop_limit_px is None else OrdType.STOP_LIMIT
        parts.append(_terms(replace(out, ord_type=ord_type, price=attached.stop_limit_px, stop_px=attached.stop_px), closes=True))
    form = {"class": _CLASS[request.contingency], "duration": request.time_in_force.value, "tag": approved.cl_ord_id}
    for place, part in enumerate(parts):
        form |= {f"symbol[{place}]": encode_symbol(request.instrument)} | {f"{name}[{place}]": value for name, value in part.items()}
    return form


def encode_change(request: NewOrder) -> Mapping[str, str]:
    """The form of a change: type, duration and prices, the quantity never."""
    if request.legs:
        return _net(request) | {"duration": request.time_in_force.value}
    terms = _terms(request, closes=False)
    return {name: terms[name] for name in ("type", "duration", "price", "stop") if name in terms}


def _sent(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


# -- orders, inward --------------------------------------------------------------------------------------------------------------------------------


def decode_placed(approved: Approved, order_id: int, recv_ns: int) -> ExecutionReport:
    """The first word on an order: Tradier has received it, and has not said what it makes of it."""
    request = approved.request
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=approved.cl_ord_id,
        order_id=OrderID(str(order_id)),
        exec_type=ExecType.PENDING_NEW,
        ord_status=OrdStatus.PENDING_NEW,
        instrument=request.instrument,
        side=request.side,
        ord_type=request.ord_type,
        time_in_force=request.time_in_force,
        order_qty=request.order_qty,
        price=request.price,
        stop_px=request.stop_px,
        legs=request.legs,
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def decode_order(row: wire.Order, cl_ord_id: ClOrdID, recv_ns: int) -> ExecutionReport:
    """How an order stands, with the orders that Tradier holds for it. Linked orders stand under their parent's number: its own fields are empty, the
    first of its legs is the entry, of two exits the limit order is the one that was sent.

    Raises: ProtocolError: a word we do not know, a parent without legs.
    Source: docs.tradier.com, Get Orders
    """
    if row.order_class not in LINKED and row.order_class not in WHOLE:
        return _decode_one(row, cl_ord_id, recv_ns)
    if not row.legs:
        raise ProtocolError(f"a {row.order_class} order without its legs", str(row.id).encode())
    if row.order_class in WHOLE:
        return _decode_whole(row, cl_ord_id, recv_ns)
    head = head_of(row)
    children = tuple(_decode_one(leg, ClOrdID(""), recv_ns, row) for leg in row.legs if leg is not head)
    return replace(_decode_one(head, cl_ord_id, recv_ns, row), order_id=OrderID(str(row.id)), children=children)


def head_of(row: wire.Order) -> wire.Order:
    """The row that says how an order itself stands: of linked ones a leg's."""
    if row.order_class not in LINKED or not row.legs:
        return row
    if row.order_class == "oco":
        return next((leg for leg in row.legs if leg.type == "limit"), row.legs[0])
    return row.legs[0]


def _decode_one(row: wire.Order, cl_ord_id: ClOrdID, recv_ns: int, parent: wire.Order | None = None) -> ExecutionReport:
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=cl_ord_id,
        order_id=OrderID(str(row.id)),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=decode_status(row.status),
        instrument=decode_symbol(row.option_symbol or row.symbol),
        side=_word(_SIDE, row.side, "side"),
        ord_type=_word(_ORD_TYPE, row.type, "order type"),
        time_in_force=_word(_TIF, row.duration or (parent.duration if parent is not None else ""), "duration"),
        order_qty=_above_zero(row.quantity, "quantity"),
        price=row.price or None,
        stop_px=row.stop_price or None,
        cum_qty=_size(row.exec_quantity or ZERO),
        text=row.reason_description or "",
        transact_ns=row_time(row if row.transaction_date or parent is None else parent),
        recv_ns=recv_ns,
    )


def _decode_whole(row: wire.Order, cl_ord_id: ClOrdID, recv_ns: int) -> ExecutionReport:
    """A multileg order is bought as a whole, about what its options are about. How many wholes that are, the legs' quantities say: a hundred shares
    count as one contract, other shares for themselves."""
    legs = [leg if leg.type in ("market", "limit") else replace(leg, type="limit", price=None) for leg in row.legs]
    children = tuple(_decode_one(leg, ClOrdID(""), recv_ns, row) for leg in legs)
    quantities = [_above_zero(leg.quantity, "quantity") for leg in legs]
    times = [ONE if is_option(child.instrument) or qty % HUNDRED else HUNDRED for child, qty in zip(children, quantities, strict=True)]
    wholes = Decimal(math.gcd(*(int(qty / each) for qty, each in zip(quantities, times, strict=True))))
    ratios = [int(qty / wholes) for qty in quantities]
    filled = min((leg.exec_quantity or ZERO) // ratio for leg, ratio in zip(legs, ratios, strict=True))
    return ExecutionReport(
        broker=NAME,
        cl_ord_id=cl_ord_id,
        order_id=OrderID(str(row.id)),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=decode_status(row.status),
        instrument=underlying_of(children[0].instrument),
        side=Side.BUY,
        ord_type=_word(_ORD_TYPE, row.type, "order type"),
        time_in_force=_word(_TIF, row.duration, "duration"),
        order_qty=wholes,
        price=None if row.type == "market" else _word(_NET, row.type, "order type") * abs(row.price or ZERO),
        legs=tuple(Leg(child.instrument, child.side, ratio) for child, ratio in zip(children, ratios, strict=True)),
        children=children,
        cum_qty=filled,
        text=row.reason_description or "",
        transact_ns=row_time(row),
        recv_ns=recv_ns,
    )


def decode_part(part: Part, report: ExecutionReport) -> ExecutionReport:
    """One execution, with how its order stands."""
    full = report.order_qty is not None and part.cum_qty >= report.order_qty
    return replace(
        report,
        exec_type=ExecType.TRADE,
        exec_id=part.exec_id,
        last_qty=part.qty,
        last_px=part.price,
        cum_qty=part.cum_qty,
        ord_status=OrdStatus.FILLED if full else OrdStatus.PARTIALLY_FILLED,
        children=(),
        transact_ns=part.at_ns,
    )


def decode_status(word: str) -> OrdStatus:
    """Raises ProtocolError: a status we do not know."""
    return _word(_STATUS, word, "order status")


def row_time(row: wire.Order) -> int:
    """When something last happened to it."""
    return _time(row.transaction_date or row.create_date)


# -- the account -----------------------------------------------------------------------------------------------------------------------------------


def environment_of(account: str) -> str:
    """Which kind an account is: its number proves it."""
    return PAPER if account.startswith(PAPER_ACCOUNT_PREFIX) else LIVE


def decode_account(
    profile: wire.ProfileAccount, balances: wire.Balances, positions: Iterable[wire.Position], marks: Mapping[str, wire.Quote], recv_ns: int
) -> AccountSnapshot:
    """Balances, positions and their quotes as one snapshot. Tradier's total equity counts what is not realised; the last close's it does not say."""
    power = balances.margin or balances.pdt or balances.cash
    if power is None:
        raise ProtocolError("balances of no kind of account that we know", balances.account_type.encode())
    buying_power = next((value for value in (power.stock_buying_power, power.cash_available) if value is not None), ZERO)
    equity, active = _size(balances.total_equity), profile.status == "active"
    return AccountSnapshot(
        broker=NAME,
        account=balances.account_number,
        environment=environment_of(balances.account_number),
        currency="USD",
        equity=equity,
        last_equity=equity,
        cash=_size(balances.total_cash),
        buying_power=_size(buying_power),
        positions=tuple(_position(position, marks.get(position.symbol)) for position in positions),
        tradable=active,
        text="" if active else f"Tradier's account is not active but {profile.status}; see {PAGES['signup']}",
        transact_ns=recv_ns,
        recv_ns=recv_ns,
    )


def _position(position: wire.Position, quote: wire.Quote | None) -> Position:
    instrument, qty = decode_symbol(position.symbol), _size(position.quantity)
    if not qty:
        raise ProtocolError("a position of nothing", position.symbol.encode())
    units = qty * (HUNDRED if is_option(instrument) else ONE)
    mark = None if quote is None else _mark(quote)
    return Position(
        instrument=instrument,
        qty=qty,
        avg_px=_size(position.cost_basis) / units,
        mark_px=mark,
        unrealized_pnl=ZERO if mark is None else mark * units - position.cost_basis,
    )


def _mark(quote: wire.Quote) -> Decimal | None:
    """Halfway between bid and offer, else the last trade."""
    if quote.bid and quote.ask:
        return _size(quote.bid + quote.ask) / 2
    return None if quote.last is None else _size(quote.last)


def history_rows(body: bytes) -> list[tuple[wire.HistoryEvent, wire.HistoryDetail]]:
    """Each event of an account's history with its detail, which stands under the event's own type. Raises msgspec.MsgspecError: no history."""
    found = []
    for raw in wire.rows(body, "history", "event", msgspec.Raw):
        event = msgspec.json.decode(raw, type=wire.HistoryEvent)
        detail = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get(event.type)
        found.append((event, wire.HistoryDetail() if detail is None else msgspec.json.decode(detail, type=wire.HistoryDetail)))
    return found


def decode_history(events: Sequence[tuple[wire.HistoryEvent, wire.HistoryDetail]]) -> tuple[Flow, ...]:
    """What no order made, and the commissions of trades, which no order tells. Nothing has a number of its own: alike events of one day are counted.
    Tradier knows the day alone."""
    seen: Counter[str] = Counter()
    flows = []
    for event, detail in events:
        traded = event.type == TRADED
        amount = -(detail.commission or ZERO) if traded else event.amount
        if traded and not amount:
            continue
        name = f"{event.date[:10]} {event.type} {plain(event.amount)} {detail.symbol or ''} {detail.description}"
        seen[name] += 1
        kind = FlowKind.FEE if traded else _FLOW.get(event.type, FlowKind.UNKNOWN)
        moves_units = kind in (FlowKind.CORPORATE_ACTION, FlowKind.SETTLEMENT) or (kind is FlowKind.TRANSFER and bool(detail.quantity))
        flows.append(
            Flow(
                broker=NAME,
                flow_id=f"{name} #{seen[name]}",
                kind=kind,
                currency="USD",
                amount=_size(amount),
                instrument=decode_symbol(detail.symbol) if moves_units and detail.symbol else None,
                qty=_size(detail.quantity or ZERO) if kind is FlowKind.TRANSFER and detail.symbol else ZERO,
                text=" ".join(filter(None, (event.type, detail.option_type, detail.symbol, detail.description))),
                transact_ns=_new_york(event.date[:10], "00:00"),
            )
        )
    return tuple(flows)


# -- markets ---------------------------------------------------------------------------------------------------------------------------------------


def decode_instrument(quote: wire.Quote, hours: Hours, *, shortable: bool) -> Instrument:
    """What is quoted, with the grid that all of its kind have: Tradier states none.

    Raises: ProtocolError: neither stock nor fund nor option; an option that is not what its symbol says.
    """
    instrument = decode_symbol(quote.symbol)
    contract = _contract_of(quote) if quote.type == "option" else None
    if contract is None and quote.type not in _STOCKS:
        raise ProtocolError(f"Tradier quotes {quote.symbol} as a kind that this version does not trade", quote.type.encode())
    return Instrument(
        id=instrument,
        broker=NAME,
        symbol=quote.symbol,
        asset_class=AssetClass.EQUITY if contract is None else AssetClass.OPTION,
        base=underlying_of(instrument),
        currency="USD",
        ticks=TICKS,
        lot=ONE,
        whole_lot=ONE,
        multiplier=ONE if contract is None else HUNDRED if quote.contract_size is msgspec.UNSET else Decimal(quote.contract_size),
        hours=hours,
        shortable=shortable and contract is None,
        marginable=contract is None,
        contract=contract,
    )


def decode_security(security: wire.Security, hours: Hours) -> Instrument:
    """One of the list of what is easy to borrow, which is the only list there is."""
    return decode_instrument(wire.Quote(symbol=security.symbol, type=security.type), hours, shortable=True)


def decode_match(security: wire.Security) -> Match:
    symbol = decode_symbol(security.symbol)
    return Match(instrument=symbol, asset_class=AssetClass.EQUITY, symbol=security.symbol, title=security.description)


def is_stock(security: wire.Security) -> bool:
    return security.type in _STOCKS


def _contract_of(quote: wire.Quote) -> Contract:
    try:
        known = parse_occ(quote.symbol)
    except ValueError as error:
        raise ProtocolError(str(error), quote.symbol.encode()) from None
    said = (quote.expiration_date, None if quote.option_type is msgspec.UNSET else _word(_RIGHT, quote.option_type, "right"), quote.strike)
    if (known.expiry.isoformat(), known.right, known.strike) != said:
        raise ProtocolError(f"an option that is not what its symbol {quote.symbol} says", repr(said).encode())
    return known


def decode_quote(quote: wire.Quote, recv_ns: int, *, delay_ns: int) -> Quote:
    """A price of 0 means that nobody quotes that side. Sizes of stocks are hundreds. delay_ns: by how much this market runs behind."""
    times = Decimal(1) if is_option(decode_symbol(quote.symbol)) else HUNDRED
    return Quote(
        instrument=decode_symbol(quote.symbol),
        bid_px=_price(quote.bid),
        bid_qty=_size(quote.bidsize or ZERO) * times,
        ask_px=_price(quote.ask),
        ask_qty=_size(quote.asksize or ZERO) * times,
        transact_ns=_shown_at(max(quote.bid_date, quote.ask_date), recv_ns, delay_ns),
        recv_ns=recv_ns,
    )


def decode_last(quote: wire.Quote, recv_ns: int, *, delay_ns: int) -> Trade | None:
    """The last trade, as a quote tells it."""
    if not quote.last:
        return None
    return Trade(
        instrument=decode_symbol(quote.symbol),
        price=_size(quote.last),
        qty=Decimal(quote.last_volume),
        trade_id="",
        transact_ns=_shown_at(quote.trade_date, recv_ns, delay_ns),
        recv_ns=recv_ns,
    )


def delay_of(environment: str) -> int:
    """By how much the market of an environment runs behind the real one."""
    return SANDBOX_DELAY_NS if environment == PAPER else 0


def _shown_at(ms: int, recv_ns: int, delay_ns: int) -> int:
    """When that stood in this market; never later than now."""
    at_ns = ms * MS + delay_ns
    return min(at_ns, recv_ns) if delay_ns else at_ns


def decode_snapshot(quote: wire.Quote, recv_ns: int, *, delay_ns: int) -> OptionSnapshot:
    """One line of a chain."""
    greeks = None if quote.greeks is msgspec.UNSET else quote.greeks
    return OptionSnapshot(
        contract=_contract_of(quote),
        instrument=decode_symbol(quote.symbol),
        quote=decode_quote(quote, recv_ns, delay_ns=delay_ns),
        implied_volatility=None if greeks is None else greeks.mid_iv,
        greeks=None if greeks is None else Greeks(**{name: getattr(greeks, name) for name in ("delta", "gamma", "theta", "vega", "rho")}),
    )


def decode_day(day: wire.Day, instrument: InstrumentID, period_ns: int) -> Bar:
    """A day, from its midnight in New York."""
    return Bar(
        instrument=instrument,
        open_ns=_new_york(day.date, "00:00"),
        period_ns=period_ns,
        open=_size(day.open),
        high=_size(day.high),
        low=_size(day.low),
        close=_size(day.close),
        volume=Decimal(day.volume),
    )


def decode_bar(sale: wire.TimeSale, instrument: InstrumentID, period_ns: int) -> Bar:
    """An interval, named by its start."""
    return Bar(
        instrument=instrument,
        open_ns=sale.timestamp * NS,
        period_ns=period_ns,
        open=_size(sale.open),
        high=_size(sale.high),
        low=_size(sale.low),
        close=_size(sale.close),
        volume=Decimal(sale.volume),
        vwap=_size(sale.vwap),
    )


def decode_sale(sale: wire.TimeSale, instrument: InstrumentID, recv_ns: int) -> Trade:
    """One trade; Tradier gives it no number and cuts its time to the second."""
    at_ns = sale.timestamp * NS
    return Trade(instrument=instrument, price=_size(sale.price), qty=Decimal(sale.volume), trade_id="", transact_ns=at_ns, recv_ns=recv_ns)


def decode_quote_event(event: wire.MarketEvent, recv_ns: int) -> Quote:
    """A quote of the market's stream. Raises ProtocolError: one without a date."""
    instrument = decode_symbol(event.symbol)
    times = ONE if is_option(instrument) else HUNDRED
    return Quote(
        instrument=instrument,
        bid_px=_price(event.bid),
        bid_qty=_size(event.bidsz or ZERO) * times,
        ask_px=_price(event.ask),
        ask_qty=_size(event.asksz or ZERO) * times,
        transact_ns=max(_epoch(event.biddate), _epoch(event.askdate)),
        recv_ns=recv_ns,
    )


def decode_trade_event(event: wire.MarketEvent, recv_ns: int) -> Trade | None:
    """A trade of the market's stream; None: one of nothing, which quiet symbols repeat now and then."""
    if not event.size or not event.price:
        return None
    at_ns = _epoch(event.date)
    return Trade(
        instrument=decode_symbol(event.symbol), price=_size(event.price), qty=_size(event.size), trade_id="", transact_ns=at_ns, recv_ns=recv_ns
    )


def calendar_rows(body: bytes) -> list[wire.CalendarDay]:
    """The days of a calendar, which stand one level deeper than rows do elsewhere. Raises msgspec.MsgspecError: no calendar."""
    inner = wire.inside(body, "calendar", "days")
    return [] if inner is None else wire.rows(b'{"days":' + inner + b"}", "days", "day", wire.CalendarDay)


def decode_calendar(days: Iterable[wire.CalendarDay], known_until_ns: int) -> Hours:
    """Sessions in New York time. The regular hours lie within the extended ones."""
    opened = [day for day in days if day.status == "open" and day.open is not None]
    windows, extended = [], []
    for day in opened:
        assert day.open is not None
        first, last = day.premarket or day.open, day.postmarket or day.open
        windows.append(Window(_new_york(day.date, day.open.start), _new_york(day.date, day.open.end)))
        extended.append(Window(_new_york(day.date, first.start), _new_york(day.date, last.end)))
    return Hours(windows=tuple(windows), extended=tuple(extended), known_until_ns=known_until_ns)


def decode_clock(clock: wire.Clock, hours: Hours) -> MarketClock:
    """Where the market is in its day. When that changes Tradier writes as a time of day; on which day a closed market opens the calendar knows.

    Source: docs.tradier.com, Get Clock
    """
    state, now_ns = _word(_MARKET, clock.state, "state of the market"), clock.timestamp * NS
    if state is MarketState.CLOSED:
        next_ns = next((window.open_ns for window in hours.extended if window.open_ns > now_ns), None)
    else:
        next_ns = _new_york(clock.date, clock.next_change)
    return MarketClock(
        state=state,
        next_state=_word(_MARKET, clock.next_state, "state of the market"),
        next_ns=next_ns,
        text=clock.description,
        transact_ns=now_ns,
    )


def decode_strikes(body: bytes) -> tuple[Decimal, ...]:
    """The strikes of a day. Raises msgspec.MsgspecError: no list of them."""
    return tuple(sorted(map(_size, wire.rows(body, "strikes", "strike", Decimal))))


def decode_closed(row: wire.ClosedPosition) -> ClosedPosition:
    """One line of gains and losses; its days are midnights in UTC, and mean the day.

    Source: docs.tradier.com, Get Gain/Loss
    """
    return ClosedPosition(
        instrument=decode_symbol(row.symbol),
        qty=row.quantity,
        opened=decode_date(row.open_date[:10]),
        closed=decode_date(row.close_date[:10]),
        cost=row.cost,
        proceeds=row.proceeds,
        gain=row.gain_loss,
    )


def decode_date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None


def new_york_day(now_ns: int) -> date:
    return datetime.fromtimestamp(now_ns // NS, _NEW_YORK).date()


def new_york_minute(now_ns: int) -> str:
    """As timesales wants it: New York's wall clock."""
    return f"{datetime.fromtimestamp(now_ns // NS, _NEW_YORK):%Y-%m-%d %H:%M}"


# -- numbers, words and times ----------------------------------------------------------------------------------------------------------------------


def _word(table: Mapping[str, _Word], word: str, what: str) -> _Word:
    try:
        return table[word]
    except KeyError:
        raise ProtocolError(f"Tradier sent a {what} that this version does not know", word.encode()) from None


def _size(value: Decimal) -> Decimal:
    try:
        return bounded(value)
    except ValueError as error:
        raise ProtocolError(str(error)) from None


def _above_zero(value: Decimal | None, what: str) -> Decimal:
    if value is None or _size(value) <= 0:
        raise ProtocolError(f"an order whose {what} is not above zero", str(value).encode())
    return value


def _price(value: Decimal | None) -> Decimal | None:
    return _size(value) if value else None


def _time(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise ProtocolError(str(error), text.encode()) from None


def _epoch(text: str | None) -> int:
    if text is None or not text.isdecimal():
        raise ProtocolError("market data without a date", str(text).encode())
    return int(text) * MS


def _new_york(day_text: str, clock: str) -> int:
    """24:00 is the next midnight."""
    try:
        hours, minutes = (int(part) for part in clock.split(":"))
        day = datetime.fromisoformat(day_text).replace(tzinfo=_NEW_YORK)
        later = hours // 24
        at = day.replace(hour=hours % 24, minute=minutes)
    except ValueError as error:
        raise ProtocolError(str(error), f"{day_text} {clock}".encode()) from None
    return int(at.timestamp()) * NS + later * 86_400 * NS
