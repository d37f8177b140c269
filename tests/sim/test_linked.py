"""Orders that depend on one another, and stops that follow the market: on any path one exit fills at most, and never more than was entered."""

from decimal import Decimal
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.test_exchange import NOON, SECOND, SLOW, conserved, exchange, ticket, words
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.money import ZERO
from trading_system.sim.exchange import GTC_LIFE_NS, NO_LATENCY, Event, Exchange, Latency, SimOrder, Terms, Ticket
from trading_system.sim.linked import Group
from trading_system.sim.market import TICK_NS, TICKS, Listing, Market, Minute, Recording
from trading_system.sim.sessions import MINUTE_NS, Sessions

D = Decimal
UNIT = D("0.0001")
CENT = D("0.01")


def exit_ticket(qty: str, side: Side, *, price: Decimal | None = None, stop_px: Decimal | None = None) -> Ticket:
    kind = OrdType.LIMIT if stop_px is None else OrdType.STOP if price is None else OrdType.STOP_LIMIT
    plain = ticket(qty, side=side, ord_type=kind, price=price, stop_px=stop_px)
    return msgspec.structs.replace(plain, opening=False)


def entry_ticket(qty: str, side: Side = Side.BUY, price: Decimal | None = None) -> Ticket:
    plain = ticket(qty, side=side, ord_type=OrdType.MARKET if price is None else OrdType.LIMIT, price=price)
    return msgspec.structs.replace(plain, opening=True)


def bracket(
    x: Exchange, now: int, qty: str = "10", *, side: Side = Side.BUY, up: str = "5", down: str = "5", price: Decimal | None = None
) -> tuple[Group, SimOrder, SimOrder, SimOrder]:
    """An entry, a take-profit `up` and a stop `down` away from the market, in the entry's favour and against it."""
    mark = x.mark("AAPL", now).quantize(CENT)
    exits = (
        exit_ticket(qty, side.opposite, price=mark + side.sign * D(up)),
        exit_ticket(qty, side.opposite, stop_px=mark - side.sign * D(down)),
    )
    group = x.submit_linked(entry_ticket(qty, side, price), exits, now)
    entry, profit, stop = (x.orders[order_id] for order_id in group.members)
    return group, entry, profit, stop


def steps(*prices: str) -> Recording:
    """A market that stands at each price for a minute, from NOON on, a hundred shares a trade."""
    minutes = {}
    for place, text in enumerate(prices):
        price = int(D(text) / UNIT)
        number = NOON // MINUTE_NS + place
        minutes[number] = Minute(number, price, price, price, price, 2400, 24, number, ((0, price),))
    return Recording(minutes)


def path(*prices: str) -> Exchange:
    """An account in such a market, thin enough for large orders to fill in parts."""
    listing = Listing(symbol="AAPL", price=D(230), unit=UNIT, tick=100, touch=10, sessions=Sessions())
    return Exchange(
        Market((listing,), 5, {"AAPL": steps(*prices)}),
        {"AAPL": Terms(base="AAPL")},
        rng=Random(5),
        start_ns=NOON,
        cash=D(10_000_000),
        multiplier=D(2),
        latency=NO_LATENCY,
    )


def statuses(*orders: SimOrder) -> list[OrdStatus]:
    return [order.ord_status for order in orders]


FILLED, CANCELED, NEW, PENDING_NEW = OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.NEW, OrdStatus.PENDING_NEW


# -- entries and their exits -----------------------------------------------------------------------------------------------------------------------


def test_exits_sleep_until_the_entry_is_filled_whole() -> None:
    x = path("230", "230", "230", "230")
    _, entry, profit, stop = bracket(x, NOON, "2000", price=D("230.05"))
    x.advance(NOON + SECOND)
    asleep = (entry.ord_status, entry.filled_qty, profit.dormant, stop.dormant, x.held("AAPL"))
    x.advance(NOON + 3 * MINUTE_NS)

    assert asleep[0] is OrdStatus.PARTIALLY_FILLED
    assert asleep[2:4] == (True, True)
    assert asleep[4] == asleep[1]  # what the entry brought so far is the exits' alone
    assert statuses(entry, profit, stop) == [FILLED, NEW, NEW]
    assert (profit.dormant, stop.dormant, x.held("AAPL")) == (False, False, D(2000))
    assert words(x, profit) == [ExecType.PENDING_NEW, ExecType.NEW]


@pytest.mark.parametrize(("side", "then"), [(Side.BUY, "236"), (Side.SELL, "224")])
def test_the_profit_that_fills_ends_the_stop(side: Side, then: str) -> None:
    x = path("230", then, then)
    _, entry, profit, stop = bracket(x, NOON, side=side)
    x.advance(NOON + 3 * MINUTE_NS)

    assert statuses(entry, profit, stop) == [FILLED, FILLED, CANCELED]
    assert (x.position("AAPL"), x.held("AAPL"), x.open_orders()) == (ZERO, ZERO, [])
    assert stop.qty  # what it would have closed at the end
    assert profit.avg_px is not None
    assert profit.price is not None
    assert (profit.avg_px - profit.price) * side.sign >= 0
    ends = [(event.order.order_id, event.exec_type) for event in x.take_events() if isinstance(event, Event)][-2:]
    assert ends == [(profit.order_id, ExecType.TRADE), (stop.order_id, ExecType.CANCELED)]


@pytest.mark.parametrize(("side", "then"), [(Side.BUY, "224"), (Side.SELL, "236")])
def test_the_stop_that_goes_off_ends_the_profit_first(side: Side, then: str) -> None:
    x = path("230", then, then)
    _, entry, profit, stop = bracket(x, NOON, side=side)
    x.advance(NOON + 3 * MINUTE_NS)
    told = [(event.order.order_id, event.exec_type) for event in x.take_events() if isinstance(event, Event)]

    assert statuses(entry, profit, stop) == [FILLED, CANCELED, FILLED]
    assert (x.position("AAPL"), x.held("AAPL")) == (ZERO, ZERO)
    assert told.index((profit.order_id, ExecType.CANCELED)) < told.index((stop.order_id, ExecType.TRADE))


def test_a_profit_filled_in_part_shrinks_the_stop_which_closes_the_rest() -> None:
    x = path("230", "224", "224", "224", "224", "224")
    _, entry, profit, stop = bracket(x, NOON, "12000", up="0")
    now = NOON
    while not profit.filled_qty:
        now += TICK_NS
        x.advance(now)
    part = profit.filled_qty
    between = (stop.qty, x.held("AAPL"))
    x.advance(NOON + 5 * MINUTE_NS)

    assert 0 < part < 12000
    assert between == (12000 - part, 12000 - part)
    assert 12000 > stop.filled_qty == 12000 - profit.filled_qty > 0
    assert entry.filled_qty == 12000
    assert x.position("AAPL") == ZERO
    assert x.open_orders() == []


@pytest.mark.parametrize("member", [0, 1, 2])
def test_the_cancel_of_any_member_ends_all(member: int) -> None:
    x = path("230", "230")
    group, *orders = bracket(x, NOON, "2000", price=D("230.05"))
    x.advance(NOON + SECOND)
    entered = orders[0].filled_qty
    x.cancel(orders[member], NOON + SECOND)
    x.advance(NOON + 2 * SECOND)

    assert entered
    assert statuses(*orders) == [CANCELED] * 3
    assert (x.position("AAPL"), x.held("AAPL"), x.reserved, group.over) == (entered, ZERO, ZERO, True)
    assert words(x, orders[1])[-1] is ExecType.CANCELED


def test_the_cancel_of_one_exit_ends_the_other_and_leaves_the_position() -> None:
    x = path("230", "230")
    _, _, profit, stop = bracket(x, NOON)
    x.advance(NOON + SECOND)
    x.cancel(stop, NOON + SECOND)
    x.cancel(profit, NOON + SECOND)
    x.advance(NOON + 2 * SECOND)

    assert statuses(profit, stop) == [CANCELED, CANCELED]
    assert words(x, profit)[-2:] == [ExecType.PENDING_CANCEL, ExecType.CANCELED]  # a wish that its group fulfilled is not refused
    assert x.position("AAPL") == 10


def test_the_end_of_the_day_ends_all_of_a_group_alike() -> None:
    x = exchange(start_ns=NOON)
    mark = x.mark("AAPL", NOON).quantize(CENT)
    group = x.submit_linked(
        entry_ticket("10"),
        (exit_ticket("10", Side.SELL, price=mark + 100), exit_ticket("10", Side.SELL, stop_px=mark - 100)),
        NOON,
    )
    x.advance(NOON + 13 * 60 * MINUTE_NS)

    assert [x.orders[order_id].ord_status for order_id in group.members] == [FILLED, OrdStatus.EXPIRED, OrdStatus.EXPIRED]


def test_an_entry_with_one_exit() -> None:
    x = path("230", "224", "224")
    group = x.submit_linked(entry_ticket("10"), (exit_ticket("10", Side.SELL, stop_px=D(226)),), NOON)
    x.advance(NOON + 2 * MINUTE_NS)

    assert [x.orders[order_id].ord_status for order_id in group.members] == [FILLED, FILLED]


def test_exits_alone_live_at_once_and_hold_the_quantity_once() -> None:
    x = path("230", "224", "224")
    x.submit(ticket("10"), NOON)
    x.advance(NOON)
    group = x.submit_linked(None, (exit_ticket("10", Side.SELL, price=D(240)), exit_ticket("10", Side.SELL, stop_px=D(226))), NOON)
    x.advance(NOON)
    profit, stop = (x.orders[order_id] for order_id in group.members)
    before = (*statuses(profit, stop), x.held("AAPL"), group.children)
    x.advance(NOON + 2 * MINUTE_NS)

    assert before == (NEW, NEW, D(10), [stop.order_id])
    assert statuses(profit, stop) == [CANCELED, FILLED]
    assert x.position("AAPL") == ZERO


@pytest.mark.parametrize(("exits", "ends"), [("9.98", NEW), ("10", OrdStatus.REJECTED)])
def test_late_exits_hold_nothing_until_they_wake_and_are_refused_where_a_fee_left_too_little(exits: str, ends: OrdStatus) -> None:
    x = path("230", "230", "230")
    x.terms["AAPL"] = Terms(base="AAPL", taker_fee=D("0.001"))  # type: ignore[index]  # a dict, made above
    pair = (exit_ticket(exits, Side.SELL, price=D(240)), exit_ticket(exits, Side.SELL, stop_px=D(226)))
    group = x.submit_linked(entry_ticket("10", price=D(200)), pair, NOON, late=True)
    x.advance(NOON + SECOND)
    entry = x.orders[group.members[0]]
    assert (statuses(entry), x.held("AAPL")) == ([NEW], ZERO)
    better = x.replace(entry, msgspec.structs.replace(entry.ticket, price=D(231)), "better", NOON + SECOND)
    x.advance(NOON + 2 * SECOND)

    assert statuses(better) == [FILLED]
    assert statuses(*(x.orders[order_id] for order_id in group.exits)) == [ends] * 2
    assert x.held("AAPL") == (D(exits) if ends is NEW else ZERO)


def test_the_first_fill_of_an_exclusive_exit_ends_the_other() -> None:
    x = path("230", "231", "231", "231")
    x.submit(ticket("5000"), NOON)
    x.advance(NOON)
    pair = (exit_ticket("5000", Side.SELL, price=D("230.9")), exit_ticket("5000", Side.SELL, stop_px=D(226)))
    group = x.submit_linked(None, pair, NOON, exclusive=True)
    x.take_events()
    profit, stop = (x.orders[order_id] for order_id in group.members)
    while not profit.filled_qty:
        x.advance(x.next_event_ns())
    told = [event.exec_type for event in x.take_events() if isinstance(event, Event) and event.order.order_id == stop.order_id]

    assert statuses(profit, stop) == [OrdStatus.PARTIALLY_FILLED, CANCELED]
    assert told[-1] is ExecType.CANCELED
    assert x.held("AAPL") == D(5000) - profit.filled_qty


def test_a_replaced_member_hands_its_place_on() -> None:
    x = path("230", "230", "233", "233")
    group, _, profit, stop = bracket(x, NOON)
    x.advance(NOON + SECOND)
    nearer = x.replace(profit, msgspec.structs.replace(profit.ticket, price=D(232)), "nearer", NOON + SECOND)
    higher = x.replace(stop, msgspec.structs.replace(stop.ticket, stop_px=D(228)), "higher", NOON + SECOND)
    x.advance(NOON + 2 * SECOND)
    between = (group.exits, x.held("AAPL"), statuses(profit, stop, nearer, higher))
    x.advance(NOON + 3 * MINUTE_NS)

    assert between == ([nearer.order_id, higher.order_id], D(10), [OrdStatus.REPLACED, OrdStatus.REPLACED, NEW, NEW])
    assert statuses(nearer, higher) == [FILLED, CANCELED]
    assert x.position("AAPL") == ZERO


def test_a_sleeping_exit_that_is_replaced_sleeps_on_and_wakes() -> None:
    x = path("230", "230", "230")
    group, entry, profit, stop = bracket(x, NOON, price=D("229.90"))
    x.advance(NOON + SECOND)
    new = x.replace(stop, msgspec.structs.replace(stop.ticket, stop_px=D(228)), "new", NOON + SECOND)
    x.advance(NOON + 2 * SECOND)
    asleep = (new.dormant, new.ord_status, group.exits)
    x.replace(entry, msgspec.structs.replace(entry.ticket, price=D(231)), "dearer", NOON + 2 * SECOND)
    x.advance(NOON + MINUTE_NS)

    assert asleep == (True, PENDING_NEW, [profit.order_id, new.order_id])
    assert group.entry != entry.order_id
    assert statuses(profit, new) == [NEW, NEW]
    assert (new.stop_px, x.held("AAPL")) == (D(228), D(10))


def test_a_stop_goes_off_in_a_minute_that_was_quiet_for_those_before_it() -> None:
    x = path("230", "230")
    x.submit(ticket("10", ord_type=OrdType.LIMIT, price=D(1)), NOON)
    x.advance(NOON + 70 * SECOND)
    stop = x.submit(ticket("10", ord_type=OrdType.STOP, stop_px=D(230)), NOON + 70 * SECOND)
    x.advance(NOON + 80 * SECOND)

    assert stop.ord_status is FILLED


def test_a_stop_whose_replace_is_on_its_way_shrinks_too() -> None:
    x = path("230", "230", "230")
    _, _, profit, stop = bracket(x, NOON, "12000", up="0")
    x.latency = Latency((0, 0), (0, 0), (5 * SECOND, 5 * SECOND))
    now = NOON
    while not profit.filled_qty:
        now += TICK_NS
        x.advance(now)
    asked = stop.qty
    new = x.replace(stop, msgspec.structs.replace(stop.ticket, qty=stop.qty, stop_px=D(228)), "new", now)
    x.advance(now + 5 * SECOND)

    assert profit.ord_status is OrdStatus.PARTIALLY_FILLED
    assert new.ord_status is NEW
    assert new.qty == 12000 - profit.filled_qty
    assert asked is not None
    assert new.qty < asked


def test_one_trade_that_reaches_two_stops_of_a_group_sets_off_one() -> None:
    x = path("230", "220", "220")
    x.submit(ticket("10"), NOON)
    x.advance(NOON)
    stops = (exit_ticket("10", Side.SELL, stop_px=D(226)), exit_ticket("10", Side.SELL, stop_px=D(224)))
    group = x.submit_linked(None, stops, NOON)
    x.advance(NOON + 2 * MINUTE_NS)

    assert [x.orders[order_id].ord_status for order_id in group.exits] == [FILLED, CANCELED]
    assert x.position("AAPL") == ZERO


def test_an_exit_lives_as_long_from_its_waking_as_from_a_submit() -> None:
    x = path("230", "230")
    gtc = [
        msgspec.structs.replace(plain, time_in_force=TimeInForce.GTC)
        for plain in (entry_ticket("10", price=D(229)), exit_ticket("10", Side.SELL, stop_px=D(220)))
    ]
    group = x.submit_linked(gtc[0], gtc[1:], NOON)
    later = NOON + 26 * 60 * MINUTE_NS
    x.advance(later)
    x.replace(x.orders[group.members[0]], msgspec.structs.replace(gtc[0], price=D(231)), "r", later)
    x.advance(later)

    assert [x.orders[order_id].ord_status for order_id in group.members] == [FILLED, NEW]
    assert x.orders[group.exits[0]].expires_ns == later + GTC_LIFE_NS


def test_what_is_cancelled_at_once_ends_once() -> None:
    x = path("230", "230")
    _, *orders = bracket(x, NOON, price=D(225))
    x.advance(NOON)
    x.cancel_at_once(NOON)
    told = [event.order.order_id for event in x.take_events() if isinstance(event, Event) and event.exec_type is ExecType.CANCELED]

    assert sorted(told) == sorted(order.order_id for order in orders)


def test_an_entry_that_is_busted_is_held_no_more() -> None:
    x = path("230", "230")
    group, *_ = bracket(x, NOON)
    x.advance(NOON)
    before = x.held("AAPL")
    x.bust(next(iter(x.executions)), NOON)

    assert (before, x.held("AAPL"), group.entered) == (D(10), ZERO, ZERO)


# -- whatever happens ------------------------------------------------------------------------------------------------------------------------------

DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["bracket", "short", "oto", "oco", "cancel", "replace", "wait", "wait", "wait"]),
        st.integers(1, 40),
        st.integers(1, 30),
    ),
    min_size=6,
    max_size=25,
)


@given(DEEDS, st.sampled_from([NO_LATENCY, Latency(), SLOW]), st.integers(0, 1 << 16))
@settings(max_examples=200, deadline=None)
def test_the_exits_never_close_more_than_was_entered(deeds: list[tuple[str, int, int]], latency: Latency, seed: int) -> None:
    listing = Listing(symbol="AAPL", price=D(230), unit=UNIT, tick=100, volatility=2.0, touch=10, sessions=Sessions())
    x = Exchange(
        Market((listing,), seed),
        {"AAPL": Terms(base="AAPL"), "SPY": Terms(base="SPY"), "BTC/USD": Terms(base="BTC")},
        rng=Random(seed),
        start_ns=NOON,
        cash=D(10_000_000),
        multiplier=D(2),
        latency=latency,
    )
    now, groups = NOON, list[Group]()
    for kind, size, offset in deeds:
        _do(x, now, kind, size, offset, groups)
        now += size * SECOND if kind == "wait" else offset * 100_000_000
        x.advance(now)
        _sound(x, groups)
    x.advance(now + 30 * MINUTE_NS)
    for order in x.open_orders():
        if order.ord_status not in (OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE):
            x.cancel(order, now + 30 * MINUTE_NS)
    x.advance(now + 31 * MINUTE_NS)
    _sound(x, groups)

    assert x.open_orders() == []
    assert x.held("AAPL") == x.reserved == ZERO


def _do(x: Exchange, now: int, kind: str, size: int, offset: int, groups: list[Group]) -> None:
    mark, qty, away = x.mark("AAPL", now).quantize(CENT), str(size), offset * CENT
    openly = [order for order in x.open_orders() if order.ord_status in (NEW, OrdStatus.PARTIALLY_FILLED) or order.dormant]
    long = x.position("AAPL") >= 0 and not any(order.ticket.opening and order.side is Side.SELL for order in x.open_orders())
    match kind:
        case "bracket" if long:
            groups.append(bracket(x, now, qty, up=str(away), down=str(away), price=mark + CENT if offset % 2 else None)[0])
        case "short" if not x.position("AAPL") and not x.open_orders():
            groups.append(bracket(x, now, qty, side=Side.SELL, up=str(away), down=str(away))[0])
        case "oto" if long:
            groups.append(x.submit_linked(entry_ticket(qty), (exit_ticket(qty, Side.SELL, stop_px=mark - away, price=mark - 2 * away),), now))
        case "oco" if x.position("AAPL") - x.held("AAPL") > 0:
            free = str(x.position("AAPL") - x.held("AAPL"))
            groups.append(
                x.submit_linked(None, (exit_ticket(free, Side.SELL, price=mark + away), exit_ticket(free, Side.SELL, stop_px=mark - away)), now)
            )
        case "cancel" if openly:
            order = openly[size % len(openly)]
            if order.ord_status is not OrdStatus.PENDING_CANCEL and order.ord_status is not OrdStatus.PENDING_REPLACE:
                x.cancel(order, now)
        case "replace" if openly:
            order = openly[size % len(openly)]
            if order.ord_status not in (OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE):
                change = {"qty": order.qty}
                if order.price is not None:
                    change["price"] = order.price + (offset - 15) * CENT
                if order.stop_px is not None:
                    change["stop_px"] = order.stop_px + (offset - 15) * CENT
                x.replace(order, msgspec.structs.replace(order.ticket, **change), "r", now)


def _sound(x: Exchange, groups: list[Group]) -> None:
    conserved(x)
    for group in groups:
        rows = [order for order_id, order in x.orders.items() if x.groups.get(order_id) is group]
        opening = sum((row.filled_qty for row in rows if row.ticket.opening), ZERO)
        closing = sum((row.filled_qty for row in rows if not row.ticket.opening), ZERO)
        entered = opening if group.entry is not None else group.entered
        exits = [x.orders[order_id] for order_id in group.exits]
        still = [order for order in exits if not order.ord_status.terminal]

        assert closing <= entered == group.entered
        assert closing == group.exited
        assert sum(order.ord_status is FILLED for order in exits) <= 1
        assert not (still and len(still) < len(exits)) or group.over
        assert sum((order.held for order in still), ZERO) == (group.left if still else ZERO)
    assert abs(x.position("AAPL")) >= x.held("AAPL")


# -- trailing stops --------------------------------------------------------------------------------------------------------------------------------


def trailing(x: Exchange, now: int, side: Side = Side.SELL, qty: str = "10", **trail: Decimal) -> SimOrder:
    plain = ticket(qty, side=side, ord_type=OrdType.TRAILING_STOP)
    return x.submit(msgspec.structs.replace(plain, opening=False, **trail), now)


@pytest.mark.parametrize(("side", "best", "stop"), [(Side.SELL, "233", "231.5"), (Side.BUY, "227", "228.5")])
def test_a_trailing_stop_follows_one_way_and_goes_off(side: Side, best: str, stop: str) -> None:
    back = str(D(best) - side.opposite.sign * 2)
    x = path("230", best, stop, back)
    x.submit(ticket("10", side=side.opposite), NOON)
    x.advance(NOON)
    order = trailing(x, NOON, side, trail_px=D("1.5"))
    x.advance(NOON + SECOND)
    first = (order.hwm, order.stop_px)
    x.advance(NOON + 2 * MINUTE_NS - TICK_NS)
    moved = (order.hwm, order.stop_px, order.filled_qty)
    x.advance(NOON + 4 * MINUTE_NS)

    assert first == (D(230), 230 + side.sign * D("1.5"))
    assert moved == (D(best), D(stop), ZERO)
    assert (order.ord_status, order.triggered, order.hwm) == (FILLED, True, D(best))
    assert x.position("AAPL") == ZERO


@given(st.integers(0, 1 << 16), st.sampled_from(list(Side)), st.integers(1, 400), st.sampled_from([7, 240, 999, 4321]))
@settings(max_examples=40, deadline=None)
def test_the_water_mark_is_the_best_trade_seen_however_time_is_told(seed: int, side: Side, trail: int, pace: int) -> None:
    market = Market((Listing(symbol="AAPL", price=D(230), unit=UNIT, tick=100, touch=300, sessions=Sessions()),), seed)
    x = Exchange(market, {"AAPL": Terms(base="AAPL")}, rng=Random(seed), start_ns=NOON, cash=D(10_000_000), latency=NO_LATENCY)
    order = trailing(x, NOON, side, trail_px=trail * CENT)
    last = market.last_print("AAPL", NOON)
    assert last is not None
    best, told, off = last.price * UNIT, NOON, False
    for tick in range(0, 40 * TICKS, pace):
        now = NOON + tick * TICK_NS
        x.advance(now)
        for price in [done.price * UNIT for done in market.prints("AAPL", told + 1, now + 1) if not off]:
            best = max(best, price) if side is Side.SELL else min(best, price)
            off = (price - best - side.sign * trail * CENT) * side.sign >= 0
            if off:
                break
        told = now

        assert (order.hwm, order.stop_px, order.triggered) == (best, best + side.sign * trail * CENT, off)


def test_a_percent_trails_by_percent_and_a_new_distance_keeps_the_water_mark() -> None:
    x = path("230", "240", "236", "236")
    x.submit(ticket("10"), NOON)
    x.advance(NOON)
    order = trailing(x, NOON, trail_pct=D(10))
    x.advance(NOON + 2 * MINUTE_NS)
    before = (order.hwm, order.stop_px)
    new = x.replace(order, msgspec.structs.replace(order.ticket, trail_pct=D(2)), "new", NOON + 2 * MINUTE_NS)
    x.advance(NOON + 2 * MINUTE_NS)
    after = (new.hwm, new.stop_px, new.ord_status)
    late = x.replace(new, msgspec.structs.replace(new.ticket, trail_pct=D("1.5")), "late", NOON + 2 * MINUTE_NS)
    x.advance(NOON + 3 * MINUTE_NS)

    assert before == (D(240), D(216))
    assert after == (D(240), D("235.2"), NEW)
    assert (late.hwm, late.stop_px, late.ord_status) == (D(240), D("236.4"), FILLED)


def test_a_trailing_stop_that_went_off_takes_no_new_distance() -> None:
    x = path("230", "228", "228")
    x.latency = Latency((0, 0), (0, 0), (15 * SECOND, 15 * SECOND))
    x.submit(ticket("20000"), NOON)
    x.advance(NOON + 50 * SECOND)
    order = trailing(x, NOON + 50 * SECOND, qty="20000", trail_px=D(1))
    new = x.replace(order, msgspec.structs.replace(order.ticket, trail_px=D(9)), "new", NOON + 50 * SECOND)
    x.advance(NOON + 65 * SECOND)

    assert order.triggered
    assert statuses(order, new) == [OrdStatus.PARTIALLY_FILLED, OrdStatus.REJECTED]
    assert order.replaced_by is None


def test_what_prints_on_the_way_to_the_market_counts() -> None:
    x = path("230", "240", "240")
    x.latency = Latency((SECOND, SECOND), (0, 0), (SECOND, SECOND))
    late = NOON + MINUTE_NS - SECOND // 2
    x.advance(late)
    order = trailing(x, late, trail_px=D(5))
    sent = order.hwm
    x.advance(late + SECOND)
    new = x.replace(order, msgspec.structs.replace(order.ticket, trail_px=D(4)), "new", late + SECOND)

    assert (sent, order.hwm, order.stop_px) == (D(230), D(240), D(235))
    assert (new.hwm, new.stop_px) == (D(240), D(236))


def test_a_change_that_is_on_its_way_sees_what_the_old_order_sees() -> None:
    x = path("230", "240", "239", "239")
    order = trailing(x, NOON, trail_px=D(15))
    x.latency = Latency((0, 0), (0, 0), (2 * MINUTE_NS, 2 * MINUTE_NS))
    x.advance(NOON + 30 * SECOND)
    new = x.replace(order, msgspec.structs.replace(order.ticket, trail_px=D(4)), "new", NOON + 30 * SECOND)
    x.advance(NOON + 150 * SECOND)

    assert (new.ord_status, new.hwm, new.stop_px) == (NEW, D(240), D(236))


def test_a_trailing_exit_sees_the_market_from_its_waking_on() -> None:
    x = path("230", "240", "229", "227", "227")
    plain = msgspec.structs.replace(ticket("10", side=Side.SELL, ord_type=OrdType.TRAILING_STOP), opening=False, trail_px=D("1.5"))
    group = x.submit_linked(entry_ticket("10", price=D("229.50")), (plain,), NOON)
    trail = x.orders[group.exits[0]]
    x.advance(NOON + 150 * SECOND)
    woken = (trail.ord_status, trail.hwm, trail.stop_px)
    x.advance(NOON + 4 * MINUTE_NS)

    assert woken == (NEW, D(229), D("227.5"))
    assert trail.ord_status is FILLED


def test_a_trailing_stop_sleeps_at_night() -> None:
    """Only regular hours move it and set it off: a GTC order is out of the market for the rest of the day."""
    x = exchange()
    order = x.submit(
        msgspec.structs.replace(
            ticket("10", symbol="SPY", side=Side.SELL, ord_type=OrdType.TRAILING_STOP, tif=TimeInForce.GTC), opening=False, trail_px=D(100)
        ),
        NOON,
    )
    x.advance(NOON + 4 * 60 * MINUTE_NS)
    evening = order.hwm
    x.advance(NOON + 20 * 60 * MINUTE_NS)

    assert (
        evening
        == max(done.price for done in x.market.prints("SPY", NOON - MINUTE_NS, NOON + 4 * 60 * MINUTE_NS) if done.time_ns > NOON - SECOND) * UNIT
    )
    assert order.hwm == evening
    assert order.ord_status is NEW
