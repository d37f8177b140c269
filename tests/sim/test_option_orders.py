"""Options at the exchange: money is conserved whatever happens to them, wholes fill as wholes, and what ends is settled once."""

from datetime import date
from decimal import Decimal
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.test_exchange import SLOW, conserved
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.money import ONE, ZERO
from trading_system.domain.option import Contract, Right, occ
from trading_system.sim.exchange import ASSIGNED, EXERCISED, EXPIRED, NO_LATENCY, Exchange, Latency, Settlement, Terms, Ticket
from trading_system.sim.market import TICK_NS, Listing, Market
from trading_system.sim.options import MULTIPLIER, Chains
from trading_system.sim.sessions import DAY_NS, HOUR_NS, MINUTE_NS, Sessions, new_york_ns

D = Decimal
WEDNESDAY = new_york_ns(date(2026, 12, 2), 11 * 60)
FRIDAY = date(2026, 12, 4)
CLOSE = new_york_ns(FRIDAY, 16 * 60)
SECOND = 1_000_000_000
MARGIN, CASH = D(2), D(1_000_000)


class World:
    """A stock, and the options that end on Friday nearest to where it will close: two calls, two puts, on both sides."""

    def __init__(self, latency: Latency = NO_LATENCY, *, multiplier: Decimal = MARGIN, cash: Decimal = CASH) -> None:
        listing = Listing(symbol="AAPL", price=D(230), unit=D("0.0001"), tick=100, volatility=0.28, touch=300, sessions=Sessions("us"))
        self.market = Market((listing,), 5)
        chains = Chains(self.market, {"AAPL": Sessions("us", extended=False)})
        spot = self.market.tick("AAPL", CLOSE // TICK_NS - 1).bids[0][0] * D("0.0001")
        rows = [one for one in chains.contracts("AAPL", date(2026, 12, 2)) if one.expiry == FRIDAY]
        low = max(one.strike for one in rows if one.strike < spot)
        high = min(one.strike for one in rows if one.strike > spot)
        self.contracts: list[Contract] = sorted((one for one in rows if low <= one.strike <= high), key=lambda one: (one.right, one.strike))
        terms = {"AAPL": Terms(base="AAPL")}
        for one in self.contracts:
            chains.market_of(one)
            terms[occ(one)] = Terms(base=occ(one), multiplier=MULTIPLIER, contract=one, expires_ns=chains.expires_ns(one))
        self.names = [str(occ(one)) for one in self.contracts]
        self.now = WEDNESDAY
        self.x = Exchange(self.market, terms, rng=Random(5), start_ns=self.now, cash=cash, multiplier=multiplier, latency=latency)

    def ticket(self, symbol: str, side: Side, qty: int, price: Decimal | None = None) -> Ticket:
        opening = self.x.position(symbol) * side.sign >= 0
        return Ticket(
            symbol=symbol,
            cl_ord_id="c",
            side=side,
            ord_type=OrdType.MARKET if price is None else OrdType.LIMIT,
            time_in_force=TimeInForce.DAY,
            qty=D(qty),
            price=price,
            reserve_px=D(1000),
            opening=opening,
        )

    def whole(self, price: Decimal | None, *legs: Ticket, qty: int = 1) -> Ticket:
        return Ticket(
            symbol=legs[0].symbol,
            cl_ord_id="w",
            side=Side.BUY,
            ord_type=OrdType.MARKET if price is None else OrdType.LIMIT,
            time_in_force=TimeInForce.DAY,
            qty=D(qty),
            price=price,
            reserve_px=D(500),
            opening=True,
        )

    def advance(self, by_ns: int) -> None:
        self.now += by_ns
        self.x.advance(self.now)

    def balanced(self) -> None:
        """Nothing is made or lost, and what is held back is what open orders hold."""
        x = self.x
        for asset in x.holdings:
            assert x.holdings[asset] + x.street.get(asset, ZERO) + x.fees.get(asset, ZERO) == x.deposits.get(asset, ZERO)
        rows = [order for order in x.orders.values() if not order.ord_status.terminal]
        assert x.reserved == sum((order.reserve for order in rows), ZERO)
        assert all(not (order.ord_status.terminal and (order.reserve or order.held)) for order in x.orders.values())
        for symbol in self.names:
            assert x.held(symbol) == sum((order.held for order in rows if order.symbol == symbol), ZERO)
        for order in x.orders.values():
            if order.order_id in x.wholes:
                assert order.ticket.qty
                for leg in x.legs(order):
                    assert leg.ticket.qty
                    assert leg.filled_qty == order.filled_qty * leg.ticket.qty / order.ticket.qty
                assert order.filled_money == sum((leg.side.sign * leg.filled_money for leg in x.legs(order)), ZERO)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["stock", "market", "limit", "spread", "cancel", "exercise", "assign", "wait", "night"]),
        st.integers(0, 3),
        st.sampled_from(list(Side)),
        st.integers(1, 12),
    ),
    max_size=14,
)


@given(STEPS, st.sampled_from([NO_LATENCY, Latency(), SLOW]), st.sampled_from([ONE, D(2)]))
@settings(max_examples=40, deadline=None)
def test_money_contracts_and_shares_are_conserved(steps: list[tuple[str, int, Side, int]], latency: Latency, multiplier: Decimal) -> None:
    world = World(latency, multiplier=multiplier)
    x = world.x
    for kind, place, side, size in steps:
        symbol, other = world.names[place], world.names[(place + 1) % 4]
        mark = x.mark(symbol, world.now).quantize(D("0.01"))
        held = x.position(symbol)
        match kind:
            case "stock":
                x.submit(world.ticket("AAPL", side, size * 20), world.now)
            case "market":
                x.submit(world.ticket(symbol, side, size), world.now)
            case "limit":
                x.submit(world.ticket(symbol, side, size, max(D("0.01"), mark + size - 6)), world.now)
            case "spread":
                legs = (world.ticket(symbol, side, size * 2), world.ticket(other, side.opposite, size))
                x.submit_legs(world.whole(mark if side is Side.BUY else None, *legs, qty=size), legs, world.now)
            case "cancel":
                rows = [order for order in x.open_orders() if order.ord_status in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)]
                if rows:
                    x.cancel(rows[size % len(rows)], world.now)
            case "exercise" if held > 0:
                x.exercise(symbol, held, world.now)
            case "assign" if held < 0:
                x.assign(symbol, -held, world.now)
        world.advance(DAY_NS // 2 if kind == "night" else size * 5 * SECOND)
        world.balanced()
    world.now = max(world.now, new_york_ns(date(2026, 12, 5), 1))
    x.advance(world.now)
    world.balanced()

    assert x.contracts() == {}  # all of them have ended
    assert not any(order.symbol in world.names for order in x.open_orders())
    assert {asset for asset, amount in x.holdings.items() if amount} <= {"USD", "AAPL"}


def settled(world: World) -> dict[str, list[Settlement]]:
    found: dict[str, list[Settlement]] = {}
    for event in world.x.take_events():
        if isinstance(event, Settlement):
            found.setdefault(event.symbol, []).append(event)
    return found


def hold(world: World, symbol: str, side: Side, qty: int) -> None:
    world.x.submit(world.ticket(symbol, side, qty), world.now)
    world.advance(30 * SECOND)
    assert world.x.position(symbol) == side.sign * qty


def test_at_the_end_of_its_day_each_is_exercised_assigned_or_worth_nothing() -> None:
    world = World()
    for place, name in enumerate(world.names):
        hold(world, name, Side.BUY if place % 2 else Side.SELL, 2)
    cash = world.x.cash
    spot = world.x.mark("AAPL", CLOSE - TICK_NS)
    world.advance(new_york_ns(FRIDAY, 23 * 60) - world.now)
    before = len(world.x.contracts())
    world.advance(2 * HOUR_NS)
    found, shares = settled(world), ZERO

    assert before == 4  # settled when the day is over, not before
    for place, (name, contract) in enumerate(zip(world.names, world.contracts, strict=True)):
        (done,) = found[name]
        inside = contract.payoff(spot) >= D("0.01")
        assert done.kind == ((EXERCISED if place % 2 else ASSIGNED) if inside else EXPIRED)
        assert done.qty == (2 if place % 2 else -2)
        right = 1 if contract.right is Right.CALL else -1
        assert done.shares == (done.qty * 100 * right if inside else 0)
        cash -= done.shares * contract.strike
        shares += done.shares
    assert (world.x.cash, world.x.position("AAPL")) == (cash, shares)
    assert {done.kind for rows in found.values() for done in rows} == {EXERCISED, ASSIGNED, EXPIRED}
    conserved(world.x)


def test_a_put_without_shares_expires_where_nothing_can_be_borrowed() -> None:
    for multiplier, kinds in ((ONE, [EXERCISED, EXPIRED]), (D(2), [EXERCISED])):
        world = World(multiplier=multiplier)
        put = world.names[3]
        hold(world, put, Side.BUY, 3)
        world.x.submit(world.ticket("AAPL", Side.BUY, 250), world.now)
        world.advance(new_york_ns(date(2026, 12, 5), 60) - world.now)
        done = settled(world)[put]

        assert [one.kind for one in done] == kinds
        assert sum(one.qty for one in done) == 3
        assert world.x.position("AAPL") == (50 if multiplier == ONE else -50)


def test_what_shall_not_be_exercised_expires() -> None:
    world = World()
    name = world.names[0]
    hold(world, name, Side.BUY, 1)
    world.x.unexercised.add(name)
    world.advance(new_york_ns(date(2026, 12, 5), 60) - world.now)

    assert [one.kind for one in settled(world)[name]] == [EXPIRED]
    assert world.x.unexercised == set()


def test_early_exercise_and_assignment_move_shares_at_the_strike() -> None:
    world = World()
    call, strike = world.names[0], world.contracts[0].strike
    hold(world, call, Side.BUY, 2)
    cash = world.x.cash
    world.x.exercise(call, ONE, world.now)
    taken = (world.x.position(call), world.x.position("AAPL"), world.x.cash, world.x.avg_px["AAPL"])
    put, low = world.names[2], world.contracts[2].strike
    hold(world, put, Side.SELL, 1)
    cash_then = world.x.cash
    world.x.assign(put, ONE, world.now)

    assert taken == (1, 100, cash - 100 * strike, strike)
    assert (world.x.position(put), world.x.position("AAPL"), world.x.cash) == (0, 200, cash_then - 100 * low)
    assert world.x.avg_px["AAPL"] == (strike + low) / 2
    world.balanced()


def test_a_whole_that_rests_is_the_same_however_time_is_told() -> None:
    def run(step: int) -> list[tuple[str, Decimal, Decimal, int]]:
        world = World(SLOW)
        legs = (world.ticket(world.names[0], Side.BUY, 40), world.ticket(world.names[1], Side.SELL, 40))
        net = sum((leg.side.sign * world.x.mark(leg.symbol, world.now) for leg in legs), ZERO).quantize(D("0.01"))
        world.x.submit_legs(world.whole(net, *legs, qty=40), legs, world.now)
        for _ in range(2 * HOUR_NS // step):
            world.advance(step)
        return [(done.symbol, done.qty, done.price, done.transact_ns) for done in world.x.executions.values()]

    found = run(MINUTE_NS)

    assert found == run(2 * HOUR_NS)
    assert found


def test_money_for_options_is_free_when_they_have_ended() -> None:
    world = World(multiplier=ONE, cash=D(100_000))
    put = world.names[2]
    hold(world, put, Side.SELL, 2)
    tied = world.x.cash - world.x.free_cash()
    power, cash = world.x.buying_power(world.now), world.x.cash
    world.advance(new_york_ns(date(2026, 12, 5), 60) - world.now)

    assert tied == 200 * world.contracts[2].strike
    assert power == cash - tied
    assert world.x.free_cash() == world.x.cash
