"""The exchange: money is conserved whatever happens, orders live their lives, races can be lost, sessions end."""

from datetime import date
from decimal import Decimal
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.money import ONE, ZERO
from trading_system.sim.exchange import NO_LATENCY, Event, Exchange, FeePosting, Latency, SimOrder, Terms, Ticket
from trading_system.sim.market import TICK_NS, Listing, Market
from trading_system.sim.sessions import DAY_NS, HOUR_NS, MINUTE_NS, Sessions, new_york_ns

D = Decimal
NOON = new_york_ns(date(2026, 11, 24), 12 * 60)
SECOND = 1_000_000_000
CASH = D(10_000_000)
LISTINGS = (
    Listing(symbol="AAPL", price=D(230), unit=D("0.0001"), tick=100, touch=300, sessions=Sessions()),
    Listing(symbol="SPY", price=D(600), unit=D("0.0001"), tick=100, touch=300, sessions=Sessions("us")),
    Listing(symbol="BTC/USD", price=D(95000), unit=D("0.01"), volatility=0.5, spread=400, size=D("0.001"), touch=150, sessions=Sessions()),
)
TERMS = {
    "AAPL": Terms(base="AAPL"),
    "SPY": Terms(base="SPY"),
    "BTC/USD": Terms(base="BTC", maker_fee=D("0.0015"), taker_fee=D("0.0025")),
}
SLOW = Latency((SECOND, SECOND), (3 * SECOND, 3 * SECOND), (3 * SECOND, 3 * SECOND))


def exchange(latency: Latency = NO_LATENCY, *, start_ns: int = NOON, cash: Decimal = CASH, multiplier: Decimal = ONE) -> Exchange:
    return Exchange(Market(LISTINGS, 5), TERMS, rng=Random(5), start_ns=start_ns, cash=cash, multiplier=multiplier, latency=latency)


def ticket(
    qty: str | None = "10",
    *,
    symbol: str = "AAPL",
    side: Side = Side.BUY,
    ord_type: OrdType = OrdType.MARKET,
    tif: TimeInForce = TimeInForce.DAY,
    price: Decimal | None = None,
    stop_px: Decimal | None = None,
    notional: str | None = None,
    extended: bool = False,
) -> Ticket:
    return Ticket(
        symbol=symbol,
        cl_ord_id="c",
        side=side,
        ord_type=ord_type,
        time_in_force=tif,
        qty=None if qty is None else D(qty),
        notional=None if notional is None else D(notional),
        price=price,
        stop_px=stop_px,
        extended=extended,
        reserve_px=price or D(1000),
        opening=side is Side.BUY,
    )


def words(x: Exchange, order: SimOrder) -> list[ExecType]:
    return [event.exec_type for event in x.take_events() if isinstance(event, Event) and event.order.order_id == order.order_id]


def conserved(x: Exchange) -> None:
    """What was deposited is in the holdings, on the street, or was taken as a fee; reservations are those of open orders."""
    for asset in x.holdings:
        assert x.holdings[asset] + x.street.get(asset, ZERO) + x.fees.get(asset, ZERO) == x.deposits.get(asset, ZERO)
    assert x.reserved == sum((order.reserve for order in x.open_orders()), ZERO)
    for symbol in TERMS:
        assert x.held(symbol) == sum((order.held for order in x.open_orders(symbol)), ZERO)
    for order in x.orders.values():
        fills = [done for done in x.executions.values() if done.order_id == order.order_id]
        assert order.filled_qty == sum((done.qty for done in fills), ZERO)
        assert order.filled_money == sum((done.qty * done.price for done in fills), ZERO)
        assert order.qty is None or order.filled_qty <= order.qty
        assert not (order.ord_status.terminal and (order.reserve or order.held))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["market", "limit", "notional", "stop", "ioc", "fok", "cancel", "replace", "wait", "bust"]),
        st.sampled_from(["AAPL", "BTC/USD"]),
        st.sampled_from(list(Side)),
        st.integers(1, 30),
        st.integers(-4, 4),
    ),
    max_size=25,
)


@given(STEPS, st.sampled_from([NO_LATENCY, Latency(), SLOW]))
@settings(max_examples=60, deadline=None)
def test_money_and_quantities_are_conserved(steps: list[tuple[str, str, Side, int, int]], latency: Latency) -> None:
    x, now = exchange(latency), NOON
    for kind, symbol, side, size, offset in steps:
        _act(x, now, kind, symbol, side, size, offset)
        now += size * 100_000_000
        x.advance(now)
        conserved(x)
    x.advance(now + 30 * SECOND)
    conserved(x)


def _act(x: Exchange, now: int, kind: str, symbol: str, side: Side, size: int, offset: int) -> None:
    tick = D("0.01") if symbol == "AAPL" else D(1)
    price = x.mark(symbol, now).quantize(tick) + offset * tick
    qty = str(size * 40) if symbol == "AAPL" else str(D(size) / 100)
    tifs = {"ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}
    openly = [order for order in x.open_orders() if order.ord_status in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)]
    match kind:
        case "market":
            x.submit(ticket(qty, symbol=symbol, side=side), now)
        case "limit" | "ioc" | "fok":
            x.submit(ticket(qty, symbol=symbol, side=side, ord_type=OrdType.LIMIT, price=price, tif=tifs.get(kind, TimeInForce.GTC)), now)
        case "notional":
            x.submit(ticket(None, notional=str(size * 1000), symbol=symbol, side=side), now)
        case "stop":
            x.submit(ticket(qty, symbol=symbol, side=side, ord_type=OrdType.STOP, stop_px=price), now)
        case "cancel" if openly:
            x.cancel(openly[size % len(openly)], now)
        case "replace" if openly:
            order = openly[size % len(openly)]
            if order.qty is not None:
                changed = ticket(str(order.qty + size), symbol=order.symbol, side=order.side, ord_type=order.ticket.ord_type)
                prices = {"price": order.price, "stop_px": order.stop_px}
                x.replace(order, Ticket(**{name: getattr(changed, name) for name in Ticket.__struct_fields__} | prices), "r", now)
        case "bust" if x.executions:
            x.bust(next(reversed(x.executions)), now)


def test_a_market_order_is_acknowledged_and_fills_at_the_touch() -> None:
    x = exchange(Latency((SECOND, SECOND), (0, 0), (0, 0)))
    order = x.submit(ticket(), NOON)
    x.advance(NOON + SECOND - 1)
    before = order.ord_status
    x.advance(NOON + SECOND)

    assert before is OrdStatus.PENDING_NEW
    assert words(x, order) == [ExecType.PENDING_NEW, ExecType.NEW, ExecType.TRADE]
    ask = x.market.tick("AAPL", (NOON + SECOND) // TICK_NS).asks[0][0]
    assert order.avg_px == ask * D("0.0001")
    assert x.position("AAPL") == 10


def test_an_order_larger_than_the_touch_pays_for_the_depth_it_eats() -> None:
    x = exchange()
    order = x.submit(ticket("20000"), NOON)
    x.advance(NOON + 10 * SECOND)
    prices = [done.price for done in x.executions.values()]

    assert order.ord_status is OrdStatus.FILLED
    assert len(set(prices)) > 5
    assert order.avg_px is not None
    assert order.avg_px > min(prices)
    assert x.avg_px["AAPL"] == order.avg_px


def test_a_resting_order_fills_in_parts_as_trades_reach_it() -> None:
    x = exchange()
    bid = x.market.tick("AAPL", NOON // TICK_NS).bids[0][0] * D("0.0001")
    order = x.submit(ticket("3000", ord_type=OrdType.LIMIT, price=bid), NOON)
    x.advance(NOON + HOUR_NS)
    fills = [done for done in x.executions.values() if done.order_id == order.order_id]

    assert len(fills) > 1
    assert all(done.price <= bid and done.maker for done in fills)
    assert words(x, order)[:3] == [ExecType.PENDING_NEW, ExecType.NEW, ExecType.TRADE]


def test_a_cancel_can_lose_the_race() -> None:
    x = exchange(SLOW)
    order = x.submit(ticket(), NOON)
    x.cancel(order, NOON + 1)
    x.advance(NOON + 10 * SECOND)

    assert order.ord_status is OrdStatus.FILLED
    assert words(x, order) == [ExecType.PENDING_NEW, ExecType.PENDING_CANCEL, ExecType.TRADE, ExecType.CANCEL_REJECTED]


def test_a_cancel_wins_against_an_order_that_rests_afar() -> None:
    x = exchange(SLOW)
    order = x.submit(ticket(ord_type=OrdType.LIMIT, price=D(1)), NOON)
    x.advance(NOON + SECOND)
    reserved = x.reserved
    x.cancel(order, NOON + SECOND)
    x.advance(NOON + 4 * SECOND)

    assert reserved == 10
    assert (order.ord_status, x.reserved) == (OrdStatus.CANCELED, ZERO)
    assert order.canceled_ns == NOON + 4 * SECOND


def test_a_replace_can_lose_the_race() -> None:
    x = exchange(SLOW)
    ask = x.market.tick("AAPL", NOON // TICK_NS).asks[0][0] * D("0.0001")
    order = x.submit(ticket(ord_type=OrdType.LIMIT, price=ask + 5), NOON)
    new = x.replace(order, ticket("12", ord_type=OrdType.LIMIT, price=ask), "r", NOON + 1)
    x.advance(NOON + 10 * SECOND)

    assert (order.ord_status, new.ord_status) == (OrdStatus.FILLED, OrdStatus.REJECTED)
    assert order.replaced_by is None
    conserved(x)


def test_a_replace_makes_an_order_for_what_is_left() -> None:
    x = exchange()
    bid = x.market.tick("AAPL", NOON // TICK_NS).bids[0][0] * D("0.0001")
    order = x.submit(ticket("3000", ord_type=OrdType.LIMIT, price=bid), NOON)
    now = NOON
    while not order.filled_qty:
        now += TICK_NS
        x.advance(now)
    done = order.filled_qty
    new = x.replace(order, ticket("5000", ord_type=OrdType.LIMIT, price=D(1)), "r", now)
    x.advance(now)

    assert (order.ord_status, order.filled_qty, order.replaced_by) == (OrdStatus.REPLACED, done, new.order_id)
    assert (new.ord_status, new.qty, new.filled_qty, new.replaces) == (OrdStatus.NEW, 5000 - done, ZERO, order.order_id)
    assert x.reserved == 5000 - done


def test_an_amended_order_stays_the_order_it_is() -> None:
    x = exchange(SLOW)
    order = x.submit(ticket("10", ord_type=OrdType.LIMIT, price=D(1)), NOON)
    x.advance(NOON + SECOND)
    x.amend(order, ticket("7", ord_type=OrdType.LIMIT, price=D(2)), NOON + SECOND)
    x.advance(NOON + 4 * SECOND)

    assert words(x, order) == [ExecType.PENDING_NEW, ExecType.NEW, ExecType.PENDING_REPLACE, ExecType.REPLACED]
    assert (order.ord_status, order.qty, order.price, x.reserved) == (OrdStatus.NEW, 7, 2, 14)
    assert list(x.orders.values()) == [order]

    x.amend(order, ticket("7", ord_type=OrdType.LIMIT, price=D(900)), NOON + 5 * SECOND)
    x.advance(NOON + 10 * SECOND)

    assert (order.ord_status, order.filled_qty) == (OrdStatus.FILLED, 7)
    conserved(x)


def test_an_amendment_can_lose_the_race() -> None:
    x = exchange(SLOW)
    bid = x.market.tick("AAPL", NOON // TICK_NS).bids[0][0] * D("0.0001")
    order = x.submit(ticket("300000", ord_type=OrdType.LIMIT, price=bid), NOON)
    now = NOON
    while not order.filled_qty:
        now += TICK_NS
        x.advance(now)
    x.amend(order, ticket("1", ord_type=OrdType.LIMIT, price=bid), now)
    x.advance(now + 4 * SECOND)

    assert ExecType.REPLACE_REJECTED in words(x, order)
    assert (order.ord_status, order.qty) == (OrdStatus.PARTIALLY_FILLED, 300000)

    x.amend(order, ticket("4000", ord_type=OrdType.LIMIT, price=D(1)), now + 4 * SECOND)
    x.cancel_at_once(now + 5 * SECOND)
    x.advance(now + 10 * SECOND)

    assert (order.ord_status, order.qty) == (OrdStatus.CANCELED, 300000)
    assert words(x, order)[-1] is ExecType.REPLACE_REJECTED


def test_a_stop_goes_off_at_its_price_and_not_before() -> None:
    x = exchange()
    x.submit(ticket("100"), NOON)
    x.advance(NOON)
    minute = x.market.minute("AAPL", NOON // MINUTE_NS + 60)
    stop = x.submit(ticket("100", side=Side.SELL, ord_type=OrdType.STOP, stop_px=minute.low * D("0.0001")), NOON)
    lowest = min(x.market.minute("AAPL", NOON // MINUTE_NS + place).low for place in range(61))
    x.advance(NOON + 61 * MINUTE_NS)
    fill = next(done for done in x.executions.values() if done.order_id == stop.order_id)
    first = next(trade for trade in x.market.prints("AAPL", NOON + 1, NOON + 61 * MINUTE_NS) if trade.price <= minute.low)

    assert lowest <= minute.low
    assert fill.transact_ns == first.time_ns
    assert stop.ord_status is OrdStatus.FILLED


def test_fill_or_kill_takes_all_or_nothing_and_ioc_what_there_is() -> None:
    x = exchange()
    ask = x.market.tick("AAPL", NOON // TICK_NS).asks[0]
    limit, lots = ask[0] * D("0.0001"), ask[1] // 10**9
    killed = x.submit(ticket(str(lots + 1), ord_type=OrdType.LIMIT, price=limit, tif=TimeInForce.FOK), NOON)
    part = x.submit(ticket(str(lots + 1), ord_type=OrdType.LIMIT, price=limit, tif=TimeInForce.IOC), NOON)
    x.advance(NOON)

    assert (killed.ord_status, killed.filled_qty) == (OrdStatus.CANCELED, ZERO)
    assert (part.ord_status, part.filled_qty) == (OrdStatus.CANCELED, D(lots))


def test_a_money_order_spends_its_money_and_no_more() -> None:
    x = exchange()
    orders = [x.submit(ticket(None, notional="123456.78", symbol=symbol), NOON) for symbol in ("AAPL", "BTC/USD")]
    x.advance(NOON + MINUTE_NS)

    assert [order.ord_status for order in orders] == [OrdStatus.FILLED, OrdStatus.FILLED]
    assert all(D("123456.77") < order.filled_money <= D("123456.78") for order in orders)
    assert x.reserved == 0


def test_a_fee_is_taken_from_what_the_order_says() -> None:
    x = exchange()
    for side, asset in ((Side.BUY, "USD"), (Side.SELL, "USD"), (Side.BUY, "BTC"), (Side.SELL, "BTC")):
        asked = ticket("0.1", symbol="BTC/USD", side=side, tif=TimeInForce.GTC)
        order = x.submit(msgspec.structs.replace(asked, reserve_px=D(100_000), fee_asset=asset), NOON)
        x.advance(NOON)
        (done,) = (one for one in x.executions.values() if one.order_id == order.order_id)

        assert (done.fee_asset, done.fee) == (asset, D("0.1") * (done.price if asset == "USD" else 1) * D("0.0025"))
        conserved(x)
    assert x.position("BTC/USD") == -2 * D("0.1") * D("0.0025")


def test_a_crypto_fee_is_taken_in_what_is_credited_and_posted_after_the_day() -> None:
    x = exchange()
    x.submit(ticket("0.1", symbol="BTC/USD", tif=TimeInForce.GTC), NOON)
    x.advance(NOON)
    bought = x.position("BTC/USD")
    x.submit(ticket("0.05", symbol="BTC/USD", tif=TimeInForce.GTC, side=Side.SELL), NOON)
    x.advance(NOON + DAY_NS)
    postings = {event.asset: event.amount for event in x.take_events() if isinstance(event, FeePosting)}

    assert bought == D("0.1") - D("0.00025")
    assert postings == {"BTC": D("0.00025"), "USD": x.fees["USD"]}
    conserved(x)


def test_a_contract_is_charged_in_money_whichever_way_it_goes() -> None:
    terms = {"BTC/USD": Terms(base="BTC-PERP", taker_fee=D("0.001"), fees_in_money=True)}
    x = Exchange(Market(LISTINGS, 5), terms, rng=Random(5), start_ns=NOON, cash=CASH, latency=NO_LATENCY)
    for side in Side:
        x.submit(ticket("0.1", symbol="BTC/USD", tif=TimeInForce.GTC, side=side), NOON)
    x.advance(NOON)

    assert x.position("BTC/USD") == 0
    assert {done.fee_asset for done in x.executions.values()} == set(x.fees) == {"USD"}
    conserved(x)


def test_a_night_order_waits_for_the_open_and_dies_with_its_day() -> None:
    night = new_york_ns(date(2026, 11, 24), 22 * 60)
    x = exchange(start_ns=night)
    day = x.submit(ticket("1", symbol="SPY", ord_type=OrdType.LIMIT, price=D(1)), night)
    gtc = x.submit(ticket("1", symbol="SPY", ord_type=OrdType.LIMIT, price=D(1), tif=TimeInForce.GTC), night)
    buy = x.submit(ticket("1", symbol="SPY"), night)
    x.advance(night + HOUR_NS)
    waiting = (day.queued, day.ord_status, buy.filled_qty)
    x.advance(new_york_ns(date(2026, 11, 25), 9 * 60 + 30) - 1)
    before = buy.filled_qty
    x.advance(new_york_ns(date(2026, 11, 25), 9 * 60 + 30))
    after = buy.filled_qty
    x.advance(new_york_ns(date(2026, 11, 25), 16 * 60))
    closed = (day.ord_status, gtc.ord_status)
    x.advance(new_york_ns(date(2026, 11, 27), 10 * 60))  # over Thanksgiving

    assert waiting == (True, OrdStatus.PENDING_NEW, ZERO)
    assert (before, after) == (ZERO, ONE)
    assert closed == (OrdStatus.EXPIRED, OrdStatus.NEW)
    assert gtc.ord_status is OrdStatus.NEW
    assert words(x, gtc) == [ExecType.PENDING_NEW, ExecType.NEW]


def test_extended_hours_and_auctions() -> None:
    dawn = new_york_ns(date(2026, 11, 25), 3 * 60)
    x = exchange(start_ns=dawn)
    early = x.submit(ticket("1", symbol="SPY", ord_type=OrdType.LIMIT, price=D(2000), extended=True), dawn)
    opening = x.submit(ticket("1", symbol="SPY", tif=TimeInForce.AT_THE_OPENING), dawn)
    closing = x.submit(ticket("1", symbol="SPY", tif=TimeInForce.AT_THE_CLOSE), dawn)
    x.advance(new_york_ns(date(2026, 11, 25), 20 * 60))
    times = {done.order_id: done.transact_ns for done in x.executions.values()}

    assert times[early.order_id] == new_york_ns(date(2026, 11, 25), 4 * 60)
    assert times[opening.order_id] == new_york_ns(date(2026, 11, 25), 9 * 60 + 30)
    assert times[closing.order_id] == new_york_ns(date(2026, 11, 25), 16 * 60) - TICK_NS


def test_gtc_orders_die_after_ninety_days() -> None:
    x = exchange()
    order = x.submit(ticket("1", ord_type=OrdType.LIMIT, price=D(1), tif=TimeInForce.GTC), NOON)
    x.advance(NOON + 90 * DAY_NS)

    assert order.ord_status is OrdStatus.EXPIRED


def test_a_busted_trade_is_undone() -> None:
    x = exchange()
    order = x.submit(ticket(), NOON)
    x.advance(NOON)
    x.bust(next(iter(x.executions)), NOON)

    assert (x.position("AAPL"), x.cash, order.filled_qty) == (ZERO, D(10_000_000), ZERO)
    assert words(x, order)[-1] is ExecType.TRADE_CANCEL


def test_buying_power_with_and_without_margin() -> None:
    cash, margin = exchange(cash=D(100_000)), exchange(cash=D(100_000), multiplier=D(2))
    for x in (cash, margin):
        x.submit(ticket("100"), NOON)
        x.submit(ticket("10", ord_type=OrdType.LIMIT, price=D(1)), NOON)
        x.advance(NOON)
    value = 100 * margin.mark("AAPL", NOON)

    assert cash.buying_power(NOON) == cash.cash - 10
    assert margin.buying_power(NOON) == 2 * margin.equity(NOON) - value - 10


def test_the_averages_of_a_position_that_grows_shrinks_and_turns() -> None:
    x = exchange(multiplier=D(2))
    for side, qty in ((Side.BUY, "10"), (Side.BUY, "10"), (Side.SELL, "5"), (Side.SELL, "25")):
        x.submit(ticket(qty, side=side), NOON)
        x.advance(NOON)
    last = list(x.executions.values())[-1]

    assert x.position("AAPL") == -10
    assert x.avg_px["AAPL"] == last.price


def test_time_never_does_what_is_not_due() -> None:
    x = exchange(SLOW)
    order = x.submit(ticket(), NOON)

    assert x.next_event_ns() == NOON + SECOND
    x.advance(x.next_event_ns() - 1)
    assert order.ord_status is OrdStatus.PENDING_NEW


@pytest.mark.parametrize("jump", [TICK_NS, 7 * TICK_NS + 3, MINUTE_NS, 11 * MINUTE_NS])
def test_the_pace_at_which_time_is_told_changes_nothing(jump: int) -> None:
    def run(step: int) -> list[tuple[str, Decimal, Decimal, int]]:
        x = exchange(SLOW)
        bid = x.market.tick("AAPL", NOON // TICK_NS).bids[0][0] * D("0.0001")
        x.submit(ticket("2000", ord_type=OrdType.LIMIT, price=bid - D("0.05")), NOON)
        x.submit(ticket("900", symbol="BTC/USD"), NOON)
        for now in range(NOON, NOON + 22 * MINUTE_NS, step):
            x.advance(now)
        x.advance(NOON + 22 * MINUTE_NS)
        return [(done.symbol, done.qty, done.price, done.transact_ns) for done in x.executions.values()]

    assert run(jump) == run(22 * MINUTE_NS)


def test_another_currency_and_other_names_are_kept_throughout() -> None:
    names = iter(range(1, 1_000))
    x = Exchange(
        Market(LISTINGS, 5),
        TERMS,
        rng=Random(5),
        start_ns=NOON,
        cash=CASH,
        latency=NO_LATENCY,
        money="USDT",
        ids=lambda: str(next(names)),
    )
    bought = x.submit(ticket("1", symbol="BTC/USD"), NOON)
    x.advance(NOON)
    sold = x.submit(ticket("0.5", symbol="BTC/USD", side=Side.SELL), NOON)
    x.advance(NOON)
    conserved(x)

    assert (bought.ord_status, sold.ord_status) == (OrdStatus.FILLED, OrdStatus.FILLED)
    assert set(x.holdings) == {"USDT", "BTC"} == set(x.fees)
    assert x.cash == x.holdings["USDT"] != CASH
    assert all(name.isdecimal() for name in (*x.orders, *x.executions))
