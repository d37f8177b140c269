"""From a strategy's wish to an order: what is known of equity, limits and volatility goes to the sizer, its answer to the gate, both to the journal.

Each wish leaves one decision: taken or not, the rule that bound, and the numbers. It is written before the order's intent, so that no order of a
strategy is without its reason; where the gate refuses what was sized, its word replaces it.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from statistics import pstdev
from typing import TYPE_CHECKING

import msgspec

from trading_system.app.state import risk_state
from trading_system.core.risk import RiskState, room
from trading_system.domain.errors import BadRequest, DeskError, RiskRefused
from trading_system.domain.fix import Contingency, OrdType, Side
from trading_system.domain.ids import BrokerName, ClOrdID, IntentID
from trading_system.domain.instrument import Instrument
from trading_system.domain.money import ONE, ZERO, plain, round_price
from trading_system.domain.order import Attached, NewOrder, Order
from trading_system.domain.signal import Allocation, Signal, Wish
from trading_system.journal.record import Decided
from trading_system.journal.replay import Books
from trading_system.sizing.gaps import gap
from trading_system.sizing.goal import DAYS_A_YEAR, Goal
from trading_system.sizing.sizer import NoTrade, Sized, SizingState, size

if TYPE_CHECKING:
    from trading_system.app.desk import Desk

_MINUTE_NS = 60_000_000_000
_DAY_NS = 24 * 60 * _MINUTE_NS
_BARS = 60  # looked back at to tell how far something moves
_BARS_LEAST = 10
_TRADING_DAYS = 252


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """What the sizer says of a wish now, and what it was told. Nothing was sent."""

    broker: BrokerName
    home: BrokerName  # where it was wished for
    instrument: Instrument
    found: Sized | NoTrade
    px: Decimal


class Past(msgspec.Struct, frozen=True):
    """The deviation of a return over a horizon, None where nobody knows; bars (open, high, low, close), so many of which are the horizon."""

    deviation: float | None = None
    bars: Sequence[tuple[float, float, float, float]] = ()
    periods: int = 1


NO_PAST = Past()


def broker_of(desk: "Desk", wish: Wish) -> BrokerName:
    """Raises BadRequest: several are configured, and the wish names none of them."""
    name = wish.broker
    if name is None and len(desk.brokers) == 1:
        return next(iter(desk.brokers))
    if name not in desk.brokers or name is None:
        raise BadRequest(f"a signal on {wish.instrument} must say which broker: {', '.join(desk.brokers)}")
    return name


async def consider(desk: "Desk", wish: Wish, *, own: Decimal | None = None) -> Considered:
    """Size a wish. own: signed units that count as held; None: the account's. Where a stop or a target wants to know how far the instrument moves and
    jumps, its bars are asked for.

    Raises: BadRequest, Unavailable: the instrument or its price cannot be had.
    """
    home = broker_of(desk, wish)
    name = await desk.routing.place(home, wish.instrument)
    instrument = await desk.instrument(name, wish.instrument)
    quote = await desk.hub.fetch(name, wish.instrument)
    mid = quote.mid
    if mid is None:
        raise BadRequest(f"{wish.instrument} has no two-sided quote now: nothing to size it by")
    await desk.fresh_account(name)
    signal = wish if isinstance(wish, Signal) else None
    px = mid if signal is None or signal.entry_px is None else signal.entry_px
    exits = signal is not None and (signal.stop_px is not None or signal.target_px is not None)
    past = await look_back(desk, instrument, signal.horizon_ns) if signal is not None and exits else NO_PAST
    side = Side.BUY if signal is None else signal.side
    state = risk_state(desk, _order(desk, instrument, side, instrument.lot, None, IntentID("size")), ClOrdID("size"))
    found: Sized | NoTrade
    try:
        found = size(wish, _state(desk, wish, instrument, px, state, past, own))
    except RiskRefused as error:
        found = NoTrade(rule=error.rule, text=str(error), numbers={})
    return Considered(broker=name, home=home, instrument=instrument, found=found, px=px)


async def decide(desk: "Desk", wish: Wish, *, strategy: str, intent: IntentID, own: Decimal | None = None) -> Decided:
    """Size a wish and place what comes of it. The same intent again gives the decision it became, and sends nothing.

    Raises: BadRequest, Unavailable: nothing could be decided, nothing was sent.
    """
    known = desk.books.decisions.get(intent)
    if known is not None:
        return known
    considered = await consider(desk, wish, own=own)
    found = considered.found
    if _at_work(desk, considered.broker, wish, strategy):
        found = NoTrade(rule="WORKING", text=f"an earlier order of {strategy} still works on {wish.instrument}", numbers={})
        considered = msgspec.structs.replace(considered, found=found)
    note = _decided(desk, wish, considered, strategy, intent)
    if isinstance(found, NoTrade):
        desk.record(note)
        return note
    position = desk.books.ledger.position(considered.broker, wish.instrument)
    held = position if own is None else within(own, position)
    exit_only = isinstance(wish, Allocation) and held * found.side.sign < 0
    request = _order(desk, considered.instrument, found.side, found.qty, wish, intent, reduce_only=exit_only)
    taken = msgspec.structs.replace(note, cl_ord_id=desk.cl_ord_id(request))
    desk.record(taken)
    try:
        await desk.submit(request, home=considered.home)
    except DeskError as error:
        rule = error.rule if isinstance(error, RiskRefused) else type(error).__name__
        refused = msgspec.structs.replace(taken, taken=False, rule=rule, text=str(error), cl_ord_id=None, now_ns=desk.clock.now_ns())
        desk.record(refused)
        return refused
    return taken


def undecided(desk: "Desk", wish: Wish, broker: BrokerName, strategy: str, intent: IntentID, error: DeskError) -> Decided:
    """What could not even be sized is a decision too: written down, with what was in the way."""
    note = Decided(
        strategy=strategy,
        broker=broker,
        wish=wish,
        intent=intent,
        taken=False,
        rule=type(error).__name__,
        text=str(error),
        numbers={},
        qty=ZERO,
        cl_ord_id=None,
        now_ns=desk.clock.now_ns(),
    )
    desk.record(note)
    return note


def _at_work(desk: "Desk", broker: BrokerName, wish: Wish, strategy: str) -> bool:
    """Whether an order of this strategy's has not come to its end yet, other than a stop: one that asks again and again is not given twice."""
    working = desk.books.blotter.working_on(broker, wish.instrument)
    return any(order.protects is None and order.parent is None and owner_of(desk.books, order) == strategy for order in working)


def _decided(desk: "Desk", wish: Wish, considered: Considered, strategy: str, intent: IntentID) -> Decided:
    found = considered.found
    taken = isinstance(found, Sized)
    exempt = ("an allocation: exempt from Kelly and the convexity score",) if isinstance(wish, Allocation) else ()
    why = () if considered.broker == considered.home else (f"at {considered.broker}: {desk.routing.why(considered.home, wish.instrument)}",)
    return Decided(
        strategy=strategy,
        broker=considered.broker,
        wish=wish,
        intent=intent,
        taken=taken,
        rule=found.rule,
        text=found.text if isinstance(found, NoTrade) else "; ".join((*exempt, *why)),
        numbers=found.numbers,
        qty=found.qty if isinstance(found, Sized) else ZERO,
        cl_ord_id=None,
        now_ns=desk.clock.now_ns(),
    )


def _state(desk: "Desk", wish: Wish, instrument: Instrument, px: Decimal, state: RiskState, past: Past, own: Decimal | None) -> SizingState:
    aims, limits = desk.aims, desk.limits
    equity = ZERO if state.equity is None else state.equity.equity
    rate = desk.rate(instrument.broker, instrument.id)
    unit = None if rate is None else rate * instrument.pricing.worth(ONE, px) / px
    began = min(desk.books.first_start_ns.values(), default=state.now_ns)
    years = (began - state.now_ns) / (DAYS_A_YEAR * _DAY_NS) + aims.days / DAYS_A_YEAR
    ours = min(equity, aims.capital + _made(desk))  # 5,000 are 5,000 on an account of 100,000, too
    side = wish.side if isinstance(wish, Signal) else Side.BUY
    as_ours = state if state.equity is None else msgspec.structs.replace(state, equity=msgspec.structs.replace(state.equity, equity=ours))
    position = desk.books.ledger.position(instrument.broker, instrument.id)
    position = position if own is None else within(own, position)
    return SizingState(
        price=float(px),
        unit=None if unit is None else float(unit),
        lot=instrument.whole_lot if _in_whole_lots(desk, instrument, wish, position) else instrument.lot,
        min_qty=instrument.min_qty,
        min_notional=float(instrument.min_notional * (rate or ONE)),
        equity=float(ours),
        caps={rule: float(most) for rule, most in room(side, px, as_ours).items()},
        leverage=float(limits.crypto_max_leverage if instrument.asset_class.is_crypto else limits.max_leverage),
        kelly_fraction=float(aims.kelly_fraction),
        goal=Goal(capital=max(float(ours), 1e-9), target=float(aims.target), years=max(0.0, years), sharpe=0.0),
        min_convexity=float(aims.min_convexity),
        deviation=past.deviation,
        gap=_gap(wish, px, past),
        held=float(position * px * (unit or ONE)),
        option=instrument.asset_class.is_option,
    )


def _made(desk: "Desk") -> Decimal:
    """What this desk made since it began, realised and not, in BASE_CURRENCY; what has no price or no rate counts with nothing."""
    made = ZERO
    for broker, instrument in desk.books.ledger.traded():
        mark, rate = desk.mark_px(broker, instrument), desk.rate(broker, instrument)
        if rate is not None and (mark is not None or not desk.books.ledger.position(broker, instrument)):
            made += rate * desk.pnl(broker, instrument, mark or ZERO)
    return made


def _order(
    desk: "Desk", instrument: Instrument, side: Side, qty: Decimal, wish: Wish | None, intent: IntentID, *, reduce_only: bool = False
) -> NewOrder:
    """The order that a wish becomes: its stop and target rest at the broker where that holds them, its stop by the desk where it does not."""
    facts = desk.brokers[instrument.broker].facts
    signal = wish if isinstance(wish, Signal) else None
    ord_type = OrdType.MARKET if signal is None or signal.entry_px is None else OrdType.LIMIT
    tif = facts.usual_time(instrument.asset_class, ord_type)
    stop, target = (None, None) if signal is None else (_exit(instrument, side, px) for px in (signal.stop_px, signal.target_px))
    linked = signal is not None and _linked(desk, instrument, signal)
    return NewOrder(
        broker=instrument.broker,
        instrument=instrument.id,
        side=side,
        ord_type=ord_type,
        time_in_force=tif,
        order_qty=qty,
        price=None if signal is None else signal.entry_px,
        attached=Attached(take_profit_px=target, stop_px=stop) if linked else None,
        protect_stop_px=None if linked else stop,
        reduce_only=reduce_only,
        intent=intent,
        repeat=True,
    )


def _linked(desk: "Desk", instrument: Instrument, signal: Signal) -> bool:
    """Whether the broker itself holds its stop and its target; it does so for whole lots."""
    facts = desk.brokers[instrument.broker].facts
    ord_type = OrdType.MARKET if signal.entry_px is None else OrdType.LIMIT
    tif = facts.usual_time(instrument.asset_class, ord_type)
    both = signal.stop_px is not None and signal.target_px is not None
    return both and facts.link(instrument.asset_class, Contingency.BRACKET, ord_type, tif) is not None


def _in_whole_lots(desk: "Desk", instrument: Instrument, wish: Wish, held: Decimal) -> bool:
    """What the broker holds linked, and what is sold short: nobody lends a fraction of a share."""
    sells = wish.side is Side.SELL if isinstance(wish, Signal) else wish.weight < 0
    return (sells and held <= 0) or (isinstance(wish, Signal) and _linked(desk, instrument, wish))


def within(own: Decimal, position: Decimal) -> Decimal:
    """So much of what one holds as the account still has."""
    return min(own, max(ZERO, position)) if own > 0 else max(own, min(ZERO, position))


def _exit(instrument: Instrument, side: Side, price: Decimal | None) -> Decimal | None:
    """On the grid, nearer to the entry rather than further away."""
    return None if price is None else round_price(price, instrument.tick(price), side.opposite)


async def look_back(desk: "Desk", instrument: Instrument, horizon_ns: int) -> Past:
    """How it moved, from its last bars: days where it is held for days, else minutes. NO_PAST: too few of them."""
    period_ns = _DAY_NS if horizon_ns >= _DAY_NS else _MINUTE_NS
    weekends = 1 if instrument.asset_class.is_crypto else DAYS_A_YEAR / _TRADING_DAYS
    now_ns = desk.clock.now_ns()
    back_ns = round(period_ns * _BARS * weekends) + (0 if period_ns == _MINUTE_NS else _DAY_NS)
    try:
        bars = await desk.routing.bars(instrument.broker, instrument.id, period_ns, now_ns - back_ns, now_ns)
    except BadRequest:
        return NO_PAST  # this broker has none
    known = [(float(bar.open), float(bar.high), float(bar.low), float(bar.close)) for bar in bars if bar.close > 0]
    if len(known) < _BARS_LEAST:
        return NO_PAST
    moves = [math.log(after[-1] / before[-1]) for before, after in pairwise(known)]
    periods = max(1.0, horizon_ns / period_ns / (weekends if period_ns == _DAY_NS else 1))
    return Past(deviation=pstdev(moves) * math.sqrt(periods) or None, bars=known, periods=round(periods))


def _gap(wish: Wish, px: Decimal, past: Past) -> float | None:
    """What its stop would lose beyond its price, as the past says."""
    if not isinstance(wish, Signal) or wish.stop_px is None:
        return None
    return gap(past.bars, sign=wish.side.sign, stop=float(abs(px - wish.stop_px) / px), periods=past.periods)


def owner_of(books: Books, order: Order) -> str | None:
    """The strategy whose wish an order came of, itself or by the entry that it guards or closes; None: nobody's."""
    for _ in range(3):
        if order.intent is not None and "/" in order.intent:
            return order.intent.partition("/")[0]
        other = order.protects or order.parent
        known = None if other is None else books.blotter.get(other)
        if known is None:
            return None
        order = known
    return None


def decision_view(decided: Decided) -> dict[str, object]:
    """Plain values, as views.py has them."""
    wish = decided.wish
    return {
        "intent": decided.intent,
        "strategy": decided.strategy,
        "broker": decided.broker,
        "instrument": wish.instrument,
        "wish": msgspec.to_builtins(wish, str_keys=True),
        "taken": decided.taken,
        "rule": decided.rule,
        "text": decided.text,
        "qty": plain(decided.qty),
        "numbers": decided.numbers,
        "cl_ord_id": decided.cl_ord_id,
        "now_ns": decided.now_ns,
    }
