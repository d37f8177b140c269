"""What can be asked of a desk, by name: the one list that the command line and the socket share. Arguments come in as text and are parsed here."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from msgspec.structs import replace as changed

from trading_system.app import views
from trading_system.app.bars import newest_bars
from trading_system.app.decide import consider, decision_view
from trading_system.app.desk import Desk
from trading_system.app.flatten import is_dust
from trading_system.app.portfolio import brokers_of, limits_of, position_row
from trading_system.app.portfolio import portfolio as book_of
from trading_system.app.records import JOURNAL_VERBS, Args, whole
from trading_system.core.risk import Level
from trading_system.domain.errors import BadRequest, Unavailable
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, parse_instrument, parse_intent
from trading_system.domain.market import BookSnapshot
from trading_system.domain.money import ZERO, parse_decimal, plain
from trading_system.domain.option import Right, underlying_of
from trading_system.domain.order import Attached, Leg, NewOrder, Order, Replace
from trading_system.domain.ports import DepthData, EquityHistory, FindsInstruments, GainsHistory, MarketHours, NewsData, OptionData, StrikesData
from trading_system.domain.search import Match, matching
from trading_system.domain.signal import DAY_NS, Allocation, Edge, Odds, Outlook, Record, Signal, Wish
from trading_system.journal.record import AlertAcked, Armed
from trading_system.journal.replay import DECISIONS_MAX
from trading_system.journal.store import Journal
from trading_system.sizing.sizer import NoTrade, Sized

Verb = Callable[[Desk, Args], Awaitable[object]]
_Enum = TypeVar("_Enum", bound=StrEnum)
READY_WITHIN_NS = 15_000_000_000  # how long an order or a check waits for a desk that has just been opened
ARMED_MAX_NS = 24 * 3_600_000_000_000
SETTLE_NS = 5_000_000_000  # how long a submit waits for the market before it answers with the order as it stands
BARS_MAX = 10_000
LEVELS_MAX = 100
BOOK_WITHIN_S = 10
STRIKES_MAX = 1_000
NEWS_MAX = 1_000
GAINS_MAX = 1_000
MATCHES_MAX = 1_000
PERIOD_MAX_NS = 86_400_000_000_000


async def account(desk: Desk, args: Args) -> object:
    """Every account, fresh from its broker, and the risk figures over all of them."""
    return await _accounts(desk, args)


async def _accounts(desk: Desk, args: Args) -> views.View:
    snapshots = [await desk.refresh_account(name) for name in _brokers(desk, args)]
    risk = views.risk_view(desk.books.mark, desk.in_force(), desk.ready)
    return {"accounts": [views.account_view(snapshot) for snapshot in snapshots], "risk": risk}


async def positions(desk: Desk, args: Args) -> object:
    rows = []
    for name in _brokers(desk, args):
        snapshot = await desk.refresh_account(name)
        rows += [position_row(desk, name, position) for position in snapshot.positions]
    return rows


async def check(desk: Desk, args: Args) -> object:
    """As account, once every stream is up and the books agree, or after a while of waiting for it; and whether a dead man's switch is armed."""
    await desk.wait(lambda: all(desk.ready.values()), READY_WITHIN_NS)
    found = await _accounts(desk, args)
    return {**found, "dead_man": views.dead_man_view(desk.dead_men())}


async def orders(desk: Desk, args: Args) -> object:
    """Working orders, or with all=true every order this journal knows."""
    found = tuple(desk.books.blotter) if args.get("all") else desk.books.blotter.unsettled()
    return [views.order_view(order) for order in _of_broker(desk, args, found)]


async def fills(desk: Desk, args: Args) -> object:
    rows = [(fill.transact_ns, views.fill_view(order, fill)) for order in _of_broker(desk, args, desk.books.blotter) for fill in order.fills]
    return [view for _, view in sorted(rows, key=lambda row: row[0])]


async def submit(desk: Desk, args: Args) -> object:
    """Place an order and wait a little for what becomes of it."""
    name = _broker(desk, args)
    instrument = await desk.instrument(name, _instrument(args))
    request = NewOrder(
        broker=name,
        instrument=instrument.id,
        side=_enum(Side, args, "side", None),
        ord_type=_ord_type(args),
        time_in_force=_enum(TimeInForce, args, "time_in_force", TimeInForce.GTC),
        order_qty=_decimal(args, "order_qty"),
        cash_order_qty=_decimal(args, "cash_order_qty"),
        price=_decimal(args, "price"),
        stop_px=_decimal(args, "stop_px"),
        trail_px=_decimal(args, "trail_px"),
        trail_pct=_decimal(args, "trail_pct"),
        attached=_attached(args),
        extended_hours=bool(args.get("extended_hours")),
        reduce_only=bool(args.get("reduce_only")),
        protect_stop_px=_decimal(args, "protect_stop_px"),
        repeat=bool(args.get("repeat")),
        intent=_parsed(parse_intent, _text(args, "intent")),
    )
    if args.get("time_in_force") is None:
        usual = desk.brokers[name].facts.usual_time(instrument.asset_class, request.ord_type, request.contingency)
        request = changed(request, time_in_force=usual)
    within_ns = whole(args, "wait_ns", SETTLE_NS, READY_WITHIN_NS)
    order = await desk.submit(request)
    await desk.wait(lambda: _at_rest(desk, order), within_ns)
    now = _now(desk, order)
    why = desk.routing.why(name, instrument.id) if now.broker != name else ""
    return {**views.order_view(now), "text": "; ".join(filter(None, (now.text, why and f"at {now.broker}: {why}")))}


async def spread(desk: Desk, args: Args) -> object:
    """Several options, or shares and options, at one net price for each share, as one order. legs: side:SYMBOL or side:SYMBOL:ratio."""
    name = _broker(desk, args)
    said = args.get("legs")
    legs = tuple(_parsed_leg(str(text)) for text in (said if isinstance(said, list | tuple) else ()))
    if not legs:
        raise BadRequest("legs are missing: buy:AAPL261218C00200000 sell:AAPL261218C00210000, or buy:AAPL:100 sell:AAPL261218C00210000")
    request = NewOrder(
        broker=name,
        instrument=underlying_of(legs[0].instrument),
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=_enum(TimeInForce, args, "time_in_force", TimeInForce.DAY),
        order_qty=_decimal(args, "order_qty"),
        price=_decimal(args, "price"),
        legs=legs,
        repeat=bool(args.get("repeat")),
        intent=_parsed(parse_intent, _text(args, "intent")),
    )
    order = await desk.submit(request)
    await desk.wait(lambda: _at_rest(desk, order), whole(args, "wait_ns", SETTLE_NS, READY_WITHIN_NS))
    return views.order_view(_now(desk, order))


async def replace(desk: Desk, args: Args) -> object:
    request = Replace(
        cl_ord_id=_cl_ord_id(args),
        order_qty=_decimal(args, "order_qty"),
        price=_decimal(args, "price"),
        stop_px=_decimal(args, "stop_px"),
        trail_px=_decimal(args, "trail_px"),
        trail_pct=_decimal(args, "trail_pct"),
        intent=_parsed(parse_intent, _text(args, "intent")),
    )
    return views.order_view(await desk.replace(request))


async def cancel(desk: Desk, args: Args) -> object:
    """One order, or all=true; waits a little for the broker's confirmation."""
    if args.get("all"):
        name = None if args.get("broker") is None else _broker(desk, args)
        canceled = await desk.cancel_all(name)
    else:
        canceled = (await desk.cancel(_cl_ord_id(args)),)
    await desk.wait(lambda: all(_now(desk, order).ord_status.terminal for order in canceled), SETTLE_NS)
    return [{**views.order_view(now), "text": now.text or order.text} for order in canceled for now in (_now(desk, order),)]


async def flatten(desk: Desk, args: Args) -> object:
    residue = await desk.flatten(None if args.get("broker") is None else _broker(desk, args))
    left = [
        {"broker": broker, "instrument": instrument, "qty": plain(qty), "dust": is_dust(desk, broker, instrument, qty)}
        for broker, instrument, qty in residue.positions
    ]
    return {"positions": left, "orders": list(residue.orders), "problems": list(residue.problems)}


async def quote(desk: Desk, args: Args) -> object:
    name = _broker(desk, args)
    instrument = await desk.instrument(name, _instrument(args))  # says how it is written, where it is not known
    return views.quote_view(name, await desk.hub.fetch(name, instrument.id))


async def book(desk: Desk, args: Args) -> object:
    """The best levels of an order book, once."""
    name, source = _broker(desk, args), desk.brokers[_broker(desk, args)]
    if not isinstance(source, DepthData):
        raise BadRequest(f"{name} passes no order books on here")
    levels = max(1, whole(args, "levels", 10, LEVELS_MAX))
    instrument = await desk.instrument(name, _instrument(args))
    try:
        async with asyncio.timeout(BOOK_WITHIN_S), aclosing(source.subscribe_depth((instrument.id,), levels)) as events:
            async for event in events:
                if isinstance(event, BookSnapshot):
                    return views.book_view(name, event)
    except TimeoutError:
        pass
    raise Unavailable(f"{name} sent no book of {instrument.id} within {BOOK_WITHIN_S} s")


async def bars(desk: Desk, args: Args) -> object:
    """The newest so many that there are, oldest first."""
    name = _broker(desk, args)
    period_ns, count = whole(args, "period_ns", None, PERIOD_MAX_NS), whole(args, "count", None, BARS_MAX)
    instrument = await desk.instrument(name, _instrument(args))
    if not period_ns or not count:
        raise BadRequest("period_ns and count are greater than zero")
    found = await newest_bars(desk.brokers[name], instrument, period_ns, count, desk.clock.now_ns())
    return [views.bar_view(bar) for bar in found]


async def chain(desk: Desk, args: Args) -> object:
    """The options of one day on one underlying, the nearest day where none is named, and every day there is."""
    name, source = _broker(desk, args), _options(desk, args)
    underlying, days, expiry = await _expiry(desk, args, source)
    right = None if args.get("right") is None else _enum(Right, args, "right", None)
    lines = await source.chain(underlying, expiry, right)
    quote = await desk.hub.fetch(name, underlying)
    strikes = whole(args, "strikes", 0, STRIKES_MAX)
    if strikes and quote.mid is not None:
        mid = quote.mid
        near_money = sorted({line.contract.strike for line in lines}, key=lambda strike: abs(strike - mid))[:strikes]
        lines = tuple(line for line in lines if line.contract.strike in near_money)
    return views.chain_view(name, underlying, quote.mid, expiry, days, lines)


async def strikes(desk: Desk, args: Args) -> object:
    """The strikes of one day, as chain names it; of a broker that has no list of them they are its chain's."""
    name, source = _broker(desk, args), _options(desk, args)
    underlying, days, expiry = await _expiry(desk, args, source)
    if isinstance(source, StrikesData):
        found = await source.strikes(underlying, expiry)
    else:
        found = tuple(sorted({line.contract.strike for line in await source.chain(underlying, expiry)}))
    return views.strikes_view(name, underlying, expiry, days, found)


def _options(desk: Desk, args: Args) -> OptionData:
    source = desk.brokers[_broker(desk, args)]
    if not isinstance(source, OptionData):
        raise BadRequest(f"{_broker(desk, args)} has no options here; `trading brokers` says which have")
    return source


async def _expiry(desk: Desk, args: Args, source: OptionData) -> tuple[InstrumentID, tuple[date, ...], date]:
    """The underlying, every day on which options on it end, and the one that is meant."""
    underlying = (await desk.instrument(_broker(desk, args), _instrument(args))).id
    days = await source.expiries(underlying)
    if not days:
        raise BadRequest(f"{_broker(desk, args)} has no options on {underlying}; name another, or another broker")
    expiry = days[0] if args.get("expiry") is None else _parsed(date.fromisoformat, str(args["expiry"]))
    if expiry not in days:
        near = ", ".join(str(day) for day in sorted(days, key=lambda day: abs(day - expiry))[:5])
        raise BadRequest(f"no options on {underlying} end on {expiry}; near it: {near}")
    return underlying, days, expiry


async def hours(desk: Desk, args: Args) -> object:
    """Where the market is in its day, as its broker says it."""
    name, source = _broker(desk, args), desk.brokers[_broker(desk, args)]
    if not isinstance(source, MarketHours):
        raise BadRequest(f"{name} does not say here whether its market is open; `trading quote` shows when it last quoted something")
    return views.hours_view(name, await source.market_clock())


async def search(desk: Desk, args: Args) -> object:
    """Instruments by a part of their symbol or name, as their broker finds them; otherwise among those that it lists."""
    name, source, text = _broker(desk, args), desk.brokers[_broker(desk, args)], _text(args, "text").strip()
    if isinstance(source, FindsInstruments):
        found = await source.search(text)
    else:
        listed = [one for one in await source.instruments() if one.tradable]
        found = matching(text, [Match(instrument=one.id, asset_class=one.asset_class, symbol=one.symbol) for one in listed])
    return [views.match_view(name, one) for one in found[: whole(args, "count", 20, MATCHES_MAX) or 20]]


async def equity(desk: Desk, args: Args) -> object:
    """What one account was worth over time, as its broker keeps it."""
    name, source = _broker(desk, args), desk.brokers[_broker(desk, args)]
    if not isinstance(source, EquityHistory):
        raise BadRequest(f"{name} keeps no history of an account here")
    return views.equity_view(await source.portfolio_history(str(args.get("period") or "1M"), str(args.get("timeframe") or "1D")))


async def gains(desk: Desk, args: Args) -> object:
    """What closed positions came to, as their broker reckons it."""
    name, source = _broker(desk, args), desk.brokers[_broker(desk, args)]
    if not isinstance(source, GainsHistory):
        raise BadRequest(f"{name} keeps no list of closed positions here; `trading fills` has what this desk knows")
    return [views.gain_view(name, closed) for closed in await source.gains(whole(args, "count", 20, GAINS_MAX) or 20)]


async def news(desk: Desk, args: Args) -> object:
    """The newest articles about some symbols, or about anything."""
    name, source = _broker(desk, args), desk.brokers[_broker(desk, args)]
    if not isinstance(source, NewsData):
        raise BadRequest(f"{name} passes no news on here")
    symbols = [symbol.upper() for symbol in str(args.get("symbols") or "").split(",") if symbol]
    return [views.news_view(item) for item in await source.news(symbols, whole(args, "count", 10, NEWS_MAX) or 10)]


async def size(desk: Desk, args: Args) -> object:
    """What the sizer would make of a signal now; nothing is sent."""
    considered = await consider(desk, _wish(desk, args))
    found = considered.found
    taken = isinstance(found, Sized)
    return {
        "broker": considered.broker,
        "instrument": considered.instrument.id,
        "taken": taken,
        "side": found.side.value if isinstance(found, Sized) else None,
        "qty": plain(found.qty) if isinstance(found, Sized) else "0",
        "price": plain(considered.px),
        "rule": found.rule,
        "text": found.text if isinstance(found, NoTrade) else "",
        "numbers": found.numbers,
    }


async def why(desk: Desk, args: Args) -> object:
    """The newest decisions on what strategies wished for, or the one that became an order."""
    known = list(desk.books.decisions.values())
    if args.get("cl_ord_id") is not None:
        wanted = _cl_ord_id(args)
        known = [decided for decided in known if wanted in (decided.cl_ord_id, decided.intent)]
        if not known:
            raise BadRequest(f"no decision led to {wanted}: it was placed by hand or by another desk, or it is long ago (`trading journal show`)")
    count = whole(args, "count", 10, DECISIONS_MAX)
    return [decision_view(decided) for decided in known[len(known) - min(count, len(known)) :]]


async def halt(desk: Desk, args: Args) -> object:
    level = _enum(Level, args, "level", Level.HALT)
    by, text = args.get("by"), args.get("text")
    words = f"{text or 'set'} by {by or 'the owner'}" if by or not text else str(text)
    return views.halt_view(await desk.halt(_scope(desk, args), level, words))


async def resume(desk: Desk, args: Args) -> object:
    """Clear halts. adopt: the broker's figures are taken over where a difference had halted; without it the same difference halts again."""
    scope = _scope(desk, args) if args.get("scope") not in (None, "*") else "*"
    differing = {halt.scope for halt in desk.books.halts.values() if {"MISMATCH", "CASH"} & {*halt.rules} and scope in ("*", halt.scope)}
    if args.get("adopt"):
        desk.adopting |= differing
    await desk.resume(scope, by=str(args.get("by") or "owner"))
    for name in desk.brokers:
        desk.on_gap(name)
    await desk.wait(lambda: not desk.adopting & differing, SETTLE_NS)
    return views.risk_view(desk.books.mark, desk.in_force(), desk.ready)


async def resolve(desk: Desk, args: Args) -> object:
    """A person has looked for an order that stayed in doubt, and it is not there."""
    return views.order_view(await desk.resolve(_cl_ord_id(args), by=str(args.get("by") or "the owner")))


async def alerts(desk: Desk, args: Args) -> object:
    """What nobody has acknowledged yet, oldest first."""
    return [views.alert_view(number, alert) for number, alert in desk.books.alerts.items()]


async def acknowledge(desk: Desk, args: Args) -> object:
    """A person has seen it: one by its number, or 0 for all. Gives what is left."""
    number = whole(args, "number")
    if number and number not in desk.books.alerts:
        raise BadRequest(f"no alert {number} waits to be seen; `trading alerts` lists them")
    record = AlertAcked(number=number, by=str(args.get("by") or "owner"), now_ns=desk.clock.now_ns())
    await desk.journal.append(record, durable=True)
    desk.books.fold(record)
    return await alerts(desk, args)


async def arm(desk: Desk, args: Args) -> object:
    """Live only, for at most a day, by whoever knows an account's number. Durable before it counts; loosening needs this step again, tightening too:
    the last one holds."""
    if desk.environment != "live":
        raise BadRequest("arming is for live trading only; this desk is a paper desk")
    most = _decimal(args, "max_notional")
    if most is None or most <= 0:
        raise BadRequest("max_notional is an amount above 0")
    until_ns, now_ns = whole(args, "until_ns"), desk.clock.now_ns()
    if not 0 < until_ns - now_ns <= ARMED_MAX_NS:
        raise BadRequest(f"until_ns lies within the next 24 hours, in nanoseconds since 1970: above {now_ns}, at most {now_ns + ARMED_MAX_NS}")
    accounts = tuple(account.account for account in desk.accounts.values())
    if args.get("account") not in accounts:
        raise BadRequest("account is the number of an account of this desk (`trading account`): nothing is armed")
    record = Armed(accounts=accounts, max_notional=most, until_ns=until_ns, by=str(args.get("by") or "owner"), now_ns=now_ns)
    await desk.journal.append(record, durable=True)
    desk.books.fold(record)
    return {"accounts": list(record.accounts), "max_notional": plain(record.max_notional), "until_ns": record.until_ns}


async def status(desk: Desk, args: Args) -> object:
    """What the desk is, without asking any broker."""
    doubtful = [order for order in desk.books.blotter.unsettled() if order.doubt is not Doubt.NONE]
    return {
        "environment": desk.environment,
        "dry_run": desk.dry_run,
        "brokers": list(desk.brokers),
        "accounts": [views.account_view(account) for account in desk.accounts.values()],
        "risk": views.risk_view(desk.books.mark, desk.in_force(), desk.ready),
        "working": len(desk.books.blotter.working()),
        "in_doubt": [order.cl_ord_id for order in doubtful],
        "journal_seq": desk.journal.seq,
    }


async def portfolio(desk: Desk, args: Args) -> object:
    """One book over all accounts in BASE_CURRENCY, from what is known; no broker is asked."""
    return book_of(desk)


async def limits(desk: Desk, args: Args) -> object:
    """The risk figures, the halts, and how far each limit is used."""
    return limits_of(desk)


async def brokers(desk: Desk, args: Args) -> object:
    """The brokers of this desk: whether each is ready for new risk, its streams by their last word, and what may still be asked of it."""
    return brokers_of(desk)


def _of_journal(ask: Callable[[Journal, Args], Awaitable[object]]) -> Verb:
    async def verb(desk: Desk, args: Args) -> object:
        return await ask(desk.journal, args)

    return verb


_ORDERS = (submit, spread, replace, cancel, flatten)
_PRICES = (quote, book, bars, chain, strikes, hours, search, news)
_CHANGES = (*_ORDERS, halt, resume, resolve, acknowledge, arm)
_QUESTIONS = (account, check, positions, orders, fills, *_PRICES, equity, gains, size, why, alerts, status, portfolio, limits, brokers)
VERBS: Mapping[str, Verb] = {verb.__name__: verb for verb in (*_CHANGES, *_QUESTIONS)} | {
    name: _of_journal(ask) for name, ask in JOURNAL_VERBS.items()
}
ORDERS = frozenset(verb.__name__ for verb in _ORDERS)  # in a dry run they need a desk that is in one
PRICES = frozenset(verb.__name__ for verb in _PRICES)  # they look at no account, and a look costs requests
CHANGING = frozenset(verb.__name__ for verb in _CHANGES)  # without an answer it is not known whether they happened


def _wish(desk: Desk, args: Args) -> Wish:
    """A signal or an allocation, as text says it."""
    broker, instrument = _broker(desk, args), _instrument(args)
    weight, chance, mean = _decimal(args, "weight"), _decimal(args, "p"), _decimal(args, "mean")
    record = args.get("record")
    if sum(value is not None for value in (weight, chance, mean, record)) != 1:
        raise BadRequest("say one of: p (the chance of the target), mean with deviation, record (returns), or weight")
    if weight is not None:
        return Allocation(instrument=instrument, weight=weight, broker=broker)
    observed = whole(args, "observed", 0)
    edge: Edge
    if chance is not None:
        if not 0 < chance < 1:
            raise BadRequest("p is a chance between 0 and 1")
        edge = Odds(p=chance, count=observed)
    elif mean is not None:
        edge = Outlook(mean=mean, deviation=_decimal(args, "deviation") or ZERO, count=observed)
    else:
        edge = Record(returns=tuple(_parsed(parse_decimal, str(value)) for value in (record if isinstance(record, list | tuple) else ())))
    return Signal(
        instrument=instrument,
        side=_enum(Side, args, "side", None),
        edge=edge,
        entry_px=_decimal(args, "price"),
        stop_px=_decimal(args, "stop_px"),
        target_px=_decimal(args, "target_px"),
        horizon_ns=whole(args, "horizon_ns", DAY_NS),
        broker=broker,
    )


def _at_rest(desk: Desk, order: Order) -> bool:
    """Nothing more is to be expected soon: done, or resting in the book, and what filled has its stop where it asked for one."""
    current = _now(desk, order)
    if current.guard_px is not None and current.cum_qty and not _guarded(desk, current):
        return False
    resting = current.ord_type is not OrdType.MARKET and current.ord_status in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)
    return current.settled or (resting and current.doubt is Doubt.NONE)


def _guarded(desk: Desk, entry: Order) -> bool:
    stops = (desk.books.blotter.get(stop) for stop in desk.books.stops.get(entry.cl_ord_id, ()))
    return any(stop is not None and (stop.ord_status is OrdStatus.NEW or stop.cum_qty) for stop in stops)


def _now(desk: Desk, order: Order) -> Order:
    return desk.books.blotter.get(order.cl_ord_id) or order


def _brokers(desk: Desk, args: Args) -> tuple[BrokerName, ...]:
    return tuple(desk.brokers) if args.get("broker") is None else (_broker(desk, args),)


def _of_broker(desk: Desk, args: Args, orders: Iterable[Order]) -> list[Order]:
    """Those of the broker that was asked for; without one all, those of a broker that has left this desk too."""
    name = None if args.get("broker") is None else _broker(desk, args)
    return [order for order in orders if name in (None, order.broker)]


def _broker(desk: Desk, args: Args) -> BrokerName:
    name = args.get("broker")
    if name is None and len(desk.brokers) == 1:
        return next(iter(desk.brokers))
    if name not in desk.brokers:
        raise BadRequest(f"say which broker with --broker: {', '.join(desk.brokers)}")
    return BrokerName(str(name))


def _scope(desk: Desk, args: Args) -> str:
    scope = str(args.get("scope") or "all")
    broker, _, symbol = scope.partition(":")
    if scope in ("all", "crypto", *desk.names, *desk.books.halts):
        return scope
    if broker in desk.names and symbol:
        return f"{broker}:{_parsed(parse_instrument, symbol.upper())}"
    raise BadRequest(f"{scope!r} is no scope; there are: all, crypto, {', '.join(desk.names)}, and {desk.names[0]}:AAPL for one instrument")


def _instrument(args: Args) -> InstrumentID:
    return _parsed(parse_instrument, _text(args, "instrument").upper())


def _cl_ord_id(args: Args) -> ClOrdID:
    return ClOrdID(_text(args, "cl_ord_id"))


def _text(args: Args, name: str) -> str:
    value = args.get(name)
    if value is None or value == "":
        raise BadRequest(f"{name} is missing")
    return str(value)


def _decimal(args: Args, name: str) -> Decimal | None:
    value = args.get(name)
    return None if value is None else _parsed(parse_decimal, str(value))


def _parsed_leg(text: str) -> Leg:
    side, _, rest = text.partition(":")
    symbol, _, ratio = rest.partition(":")
    if side not in ("buy", "sell") or not symbol or not (ratio or "1").isdecimal():
        raise BadRequest(f"{text!r} is no leg: write buy:AAPL261218C00200000, sell:AAPL261218C00210000:2 for two of it, buy:AAPL:100 for shares")
    return Leg(_parsed(parse_instrument, symbol.upper()), Side(side), int(ratio or "1"))


def _attached(args: Args) -> Attached | None:
    """The exits that the broker shall hold: a take-profit, a stop, or both."""
    names = {"take_profit_px": "take_profit_px", "stop_px": "stop_loss_px", "stop_limit_px": "stop_loss_limit_px"}
    prices = {field: _decimal(args, name) for field, name in names.items()}
    return Attached(**prices) if any(price is not None for price in prices.values()) else None


def _ord_type(args: Args) -> OrdType:
    """Said by the prices that are given, unless it is named."""
    if args.get("trail_px") is not None or args.get("trail_pct") is not None:
        return _enum(OrdType, args, "ord_type", OrdType.TRAILING_STOP)
    has_price, has_stop = args.get("price") is not None, args.get("stop_px") is not None
    implied = {(False, False): OrdType.MARKET, (True, False): OrdType.LIMIT, (False, True): OrdType.STOP, (True, True): OrdType.STOP_LIMIT}
    return _enum(OrdType, args, "ord_type", implied[has_price, has_stop])


def _enum(kind: type[_Enum], args: Args, name: str, default: _Enum | None) -> _Enum:
    value = args.get(name)
    if value is None and default is not None:
        return default
    try:
        return kind(str(value).lower())
    except ValueError:
        raise BadRequest(f"{name} is one of {', '.join(kind)}, not {value}") from None


_Parsed = TypeVar("_Parsed")


def _parsed(parse: Callable[[str], _Parsed], text: str) -> _Parsed:
    try:
        return parse(text)
    except ValueError as error:
        raise BadRequest(str(error)) from None
