"""The desk at one instant, as the gate sees it: limits, halts, holdings, what is on its way, prices and their age."""

from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from trading_system.core.blotter import Reserved
from trading_system.core.options import at_risk, cover
from trading_system.core.risk import Arming, Holding, LegState, RiskState
from trading_system.domain.fix import Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID
from trading_system.domain.instrument import Instrument
from trading_system.domain.market import Quote
from trading_system.domain.money import ONE, ZERO
from trading_system.domain.option import is_option, parse_option, underlying_of
from trading_system.domain.order import Leg, NewOrder, Order, shares_of
from trading_system.settings.keys import parts_of

if TYPE_CHECKING:
    from trading_system.app.desk import Desk

_MINUTE_NS = 60_000_000_000


def risk_state(desk: "Desk", request: NewOrder, cl_ord_id: ClOrdID) -> RiskState:
    """Everything the gate may look at."""
    key = (request.broker, request.instrument)
    books, now_ns = desk.books, desk.clock.now_ns()
    equity, unvalued = desk.valued(now_ns)
    reserving = books.blotter.reserved_keys()
    crypto = [reserved for reserved in reserving if desk.asset_class(*reserved).is_crypto]
    reserved, legs = books.blotter.reserved(*key), tuple(_leg(desk, request.broker, leg) for leg in request.legs)
    about = {request.instrument, *(leg.instrument for leg in request.legs)}
    return RiskState(
        limits=desk.limits,
        facts=desk.brokers[request.broker].facts,
        halts=tuple(books.halts.values()),
        ready=desk.ready[request.broker] and not desk.stood_still(),
        ended=desk.ended,
        account=desk.accounts.get(request.broker),
        equity=equity,
        unvalued=unvalued,
        instrument=_whole(desk, request) if legs else desk.instruments[key],
        quote=_net_quote(desk, request) if legs else desk.hub.latest(*key),
        position=ZERO if legs else books.ledger.position(*key),
        reserved=Reserved(in_doubt=sum(books.blotter.reserved(key[0], name).in_doubt for name in about)) if legs else reserved,
        total=books.blotter.total,
        holdings=holdings(desk),
        reserved_crypto=sum((books.blotter.reserved(*reserved).notional for reserved in crypto), ZERO),
        elsewhere=(ZERO, ZERO) if legs else _elsewhere(desk, *key),
        working=() if legs and shares_of(request.legs) is None else _working_beside(desk, *key),
        recent=_recent(desk, now_ns),
        reserving=frozenset(reserving),
        rate=desk.rate(*key),
        cover=_cover(desk, request.broker, desk.instruments[key]),
        legs=legs,
        live=desk.environment == "live",
        arming=_arming(desk),
        dry_run=desk.dry_run,
        cl_ord_id=cl_ord_id,
        now_ns=now_ns,
        journal_free=desk.journal.free_bytes(),
        journal_free_min=desk.journal.free_min,
    )


def _recent(desk: "Desk", now_ns: int) -> tuple[tuple[int, NewOrder], ...]:
    """What was approved in the last minute, newest first."""
    found = []
    for approved in reversed(desk.books.recent):
        if now_ns - approved[0] >= _MINUTE_NS:
            break
        found.append(approved)
    return tuple(found)


def _working_beside(desk: "Desk", broker: BrokerName, instrument: InstrumentID) -> tuple[Order, ...]:
    """Orders that one of this broker could meet: those of every account there."""
    folder, _ = parts_of(broker)
    return tuple(order for name in desk.brokers if parts_of(name)[0] == folder for order in desk.books.blotter.working_on(name, instrument))


def _elsewhere(desk: "Desk", broker: BrokerName, instrument: InstrumentID) -> tuple[Decimal, Decimal]:
    """How far the other accounts go each way in this instrument, with what is open: buys, sells."""
    bought = sold = ZERO
    for name in desk.brokers:
        if name == broker:
            continue
        held, open_ = desk.books.ledger.position(name, instrument), desk.books.blotter.reserved(name, instrument)
        bought += max(ZERO, held + open_.buy_qty)
        sold += max(ZERO, open_.sell_qty - held)
    return bought, sold


def _arming(desk: "Desk") -> Arming | None:
    armed = desk.books.armed
    if armed is None:
        return None
    return Arming(accounts=armed.accounts, max_notional=armed.max_notional, spent=desk.books.armed_spent, until_ns=armed.until_ns)


def holdings(desk: "Desk") -> tuple[Holding, ...]:
    """What is held, instrument by instrument; options on one underlying together, as what they put at risk."""
    books, others = desk.books, []
    options: dict[tuple[BrokerName, InstrumentID], list[InstrumentID]] = {}
    for broker, instrument in books.ledger.traded():
        qty = books.ledger.position(broker, instrument)
        if qty and is_option(instrument):
            options.setdefault((broker, underlying_of(instrument)), []).append(instrument)
        elif qty:
            px, rate = desk.mark_px(broker, instrument), desk.rate(broker, instrument)
            others.append(
                Holding(
                    broker=broker,
                    instrument=instrument,
                    asset_class=desk.asset_class(broker, instrument),
                    qty=qty,
                    mark=None if px is None or rate is None else rate * desk.pricing(broker, instrument).worth(ONE, px),
                    here=broker in desk.brokers,
                )
            )
    return (*others, *(_options_held(desk, *about, names) for about, names in options.items()))


# -- options -------------------------------------------------------------------------------------------------------------------------


def _options_held(desk: "Desk", broker: BrokerName, underlying: InstrumentID, names: list[InstrumentID]) -> Holding:
    """mark None: one of them has no price."""
    marks = {name: desk.mark_px(broker, name) for name in names}
    known = [(parse_option(name), _units(desk, broker, name), mark) for name, mark in marks.items() if mark is not None]
    risk, rate = at_risk(known) if len(known) == len(names) else None, desk.rate(broker, names[0])
    return Holding(
        broker=broker,
        instrument=underlying,
        asset_class=desk.asset_class(broker, names[0]),
        qty=ONE,
        mark=None if risk is None or rate is None else risk * rate,
        here=broker in desk.brokers,
    )


def _units(desk: "Desk", broker: BrokerName, option: InstrumentID) -> Decimal:
    return desk.books.ledger.position(broker, option) * desk.pricing(broker, option).multiplier


def _cover(desk: "Desk", broker: BrokerName, instrument: Instrument) -> Decimal:
    """Units of an option that may be sold here and are covered, after all that is on its way."""
    contract, account, books = instrument.contract, desk.accounts.get(broker), desk.books
    if contract is None:
        return ZERO
    ours = {name for at, name in (*books.ledger.traded(), *books.blotter.reserved_keys()) if at == broker and is_option(name)}
    leaving = {name: books.blotter.reserved(broker, name).sell_qty * desk.pricing(broker, name).multiplier for name in ours}
    held = {name: _units(desk, broker, name) - leaving[name] for name in ours}
    shares = books.ledger.position(broker, contract.underlying) - books.blotter.reserved(broker, contract.underlying).sell_qty
    rate = desk.rate(broker, instrument.id)
    return cover(contract, held, shares, ZERO if account is None or not rate else account.cash / rate)


def _leg(desk: "Desk", broker: BrokerName, leg: Leg) -> LegState:
    instrument, quote = desk.instruments[broker, leg.instrument], desk.hub.latest(broker, leg.instrument)
    return LegState(
        contract=instrument.contract,
        position=desk.books.ledger.position(broker, leg.instrument),
        reserved=desk.books.blotter.reserved(broker, leg.instrument),
        mark=None if quote is None else quote.mid,
        shortable=instrument.shortable,
    )


def _whole(desk: "Desk", request: NewOrder) -> Instrument:
    """A multileg order's grid: that of its options, under the name of what they are about."""
    legs = [desk.instruments[request.broker, leg.instrument] for leg in request.legs]
    option = _priced_as(desk, request)
    return replace(option, id=request.instrument, symbol="", contract=None, tradable=all(leg.tradable for leg in legs))


def _priced_as(desk: "Desk", request: NewOrder) -> Instrument:
    """The leg whose multiplier a multileg order's price is multiplied with: an option; where there is none, it is no order."""
    legs = [desk.instruments[request.broker, leg.instrument] for leg in request.legs]
    return next((leg for leg in legs if leg.contract is not None), legs[0])


def _net_quote(desk: "Desk", request: NewOrder) -> Quote | None:
    """What the whole costs at the legs' quotes, for each unit of what they are about: below zero where it pays. None: a leg has no two sides."""
    bid = ask = ZERO
    multiplier = _priced_as(desk, request).multiplier
    quotes = []
    for leg in request.legs:
        quote = desk.hub.latest(request.broker, leg.instrument)
        if quote is None or quote.bid_px is None or quote.ask_px is None:
            return None
        cheap, dear = (quote.bid_px, quote.ask_px) if leg.side is Side.BUY else (-quote.ask_px, -quote.bid_px)
        times = leg.ratio_qty * desk.instruments[request.broker, leg.instrument].multiplier / multiplier
        bid, ask = bid + times * cheap, ask + times * dear
        quotes.append(quote)
    oldest = min(quotes, key=lambda quote: quote.transact_ns)
    return Quote(
        instrument=request.instrument, bid_px=bid, bid_qty=ONE, ask_px=ask, ask_qty=ONE, transact_ns=oldest.transact_ns, recv_ns=oldest.recv_ns
    )
