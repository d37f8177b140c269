"""Two brokers, one of which goes: openings go to the other where the owner wants that, exits never leave, prices go over and come back."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tests.app.test_runner import Inline
from tests.app.test_several import WIDE, desk_on
from tests.desks import AAPL, settled, wish
from tests.subjects import ALPACA, ALPACA_IRA, IBKR, TRADIER, Subject
from trading_system.app.config import ConfigError, load_config
from trading_system.app.decide import decide
from trading_system.app.desk import Desk
from trading_system.app.metrics import Metrics
from trading_system.app.routing import BACK_NS, DOWN_NS, PRICES_BACK_NS, PRICES_DOWN_NS
from trading_system.app.runner import Runner
from trading_system.app.verbs import submit
from trading_system.core.risk import Level, Limits
from trading_system.domain.errors import Halted, RiskRefused, Unavailable
from trading_system.domain.fix import Doubt, OrdStatus, Side, TimeInForce
from trading_system.domain.hours import Hours
from trading_system.domain.ids import BrokerName, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Quote
from trading_system.domain.order import Order
from trading_system.domain.ports import Kinds, StreamState
from trading_system.domain.signal import Allocation
from trading_system.journal.record import Intent, Record, Routed
from trading_system.journal.replay import replay
from trading_system.sim.clock import SECOND_NS, VirtualClock, run_virtual
from trading_system.sim.network import SimNetwork
from trading_system.strategy.base import Context, Strategy

D = Decimal
HOME, OTHER = ALPACA.broker, TRADIER.broker
EQUITY = frozenset({AssetClass.EQUITY})
LIMITS = msgspec.structs.replace(WIDE, max_orders_per_minute=1000)
Story = Callable[[Desk, SimNetwork], Awaitable[None]]


def told(
    tmp_path: Path,
    story: Story,
    *,
    failover: frozenset[AssetClass] = EQUITY,
    limits: Limits = LIMITS,
    subjects: tuple[Subject, ...] = (ALPACA, TRADIER),
) -> None:
    async def main(clock: VirtualClock) -> None:
        async with desk_on(clock, tmp_path, subjects, limits, failover) as (desk, network):
            for subject in subjects:
                await desk.instrument(subject.broker, AAPL)
            await story(desk, network)

    run_virtual(main)


class Outage:
    """A broker's machines do not answer, and its streams end, from here until `over()`."""

    def __init__(self, network: SimNetwork, name: str) -> None:
        self._network, self._hosts = network, network.hosts
        wire = network.hosts[name]
        network.hosts = {host: other for host, other in network.hosts.items() if host != name}
        for (owner, _), connection in tuple(network._connections.items()):
            if owner == id(wire):
                connection.drop("the broker is gone")

    def over(self) -> None:
        self._network.hosts = self._hosts


async def seconds(desk: Desk, duration_ns: int) -> None:
    await desk.clock.sleep_ns(duration_ns + 3 * SECOND_NS)


async def buy(desk: Desk, intent: str, qty: str = "3", **changes: object) -> Order:
    return await settled(desk, await desk.submit(wish(intent, qty, repeat=True, **changes)))


def routes(desk: Desk) -> list[tuple[BrokerName, BrokerName]]:
    return [(routed.home, routed.to) for routed in desk.books.routes.values()]


def alerts(desk: Desk, word: str) -> list[str]:
    return [alert.text for alert in desk.books.alerts.values() if word in alert.text]


def test_a_halt_at_home_holds_for_what_has_gone_over(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        Outage(network, HOME)
        await asyncio.sleep(3)
        await seconds(desk, DOWN_NS)
        assert (await buy(desk, "a")).broker == OTHER
        halt, wanted = await desk.halt(HOME, Level.HALT, "not there"), Allocation(instrument=AAPL, weight=D("0.3"), broker=HOME)
        for flat in (False, True):
            with pytest.raises(Halted, match="not there"):
                await buy(desk, f"b {flat}", "4")
            assert (await decide(desk, wanted, strategy="s", intent=IntentID(f"c {flat}"))).rule == halt.rule
            assert (await buy(desk, f"d {flat}", "3", broker=OTHER)).ord_status is OrdStatus.FILLED  # nobody halted that one
            held = desk.books.ledger.position(OTHER, AAPL)
            assert (await buy(desk, f"e {flat}", str(held), side=Side.SELL, reduce_only=True)).broker == OTHER

    told(tmp_path, story)


def test_a_halt_at_home_stops_what_is_on_its_way_elsewhere(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        Outage(network, HOME)
        await asyncio.sleep(3)
        await seconds(desk, DOWN_NS)
        append = desk.journal.append

        async def halted_meanwhile(record: Record, *, durable: bool) -> int:
            if isinstance(record, Intent):
                await desk.halt(HOME, Level.HALT, "just now")
            return await append(record, durable=durable)

        desk.journal.append = halted_meanwhile  # type: ignore[method-assign]
        order = await desk.submit(wish("a", "3"))

        assert (order.broker, order.ord_status, "just now" in order.text) == (OTHER, OrdStatus.REJECTED, True)

    told(tmp_path, story)


def test_an_opening_goes_over_when_its_broker_is_down_and_its_exit_goes_where_it_is_held(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        outage = Outage(network, HOME)
        await asyncio.sleep(3)
        with pytest.raises((RiskRefused, Unavailable)):
            await desk.submit(wish("early", "3"))
        await seconds(desk, DOWN_NS)
        bought = await buy(desk, "a")

        assert (bought.broker, bought.ord_status) == (OTHER, OrdStatus.FILLED)
        assert await desk.submit(wish("a", "3")) == bought
        assert alerts(desk, "openings on AAPL that are asked for at alpaca go to tradier")
        outage.over()
        assert await desk.wait(lambda: desk.ready[HOME], 120 * SECOND_NS)
        await seconds(desk, BACK_NS)
        assert (await buy(desk, "b")).broker == OTHER  # where it is held, it stays
        assert await desk.submit(wish("a", "3")) == bought
        sold = await buy(desk, "c", "6", side=Side.SELL, reduce_only=True)
        assert (sold.broker, desk.books.ledger.position(OTHER, AAPL)) == (OTHER, 0)
        back = await buy(desk, "d")
        assert (back.broker, routes(desk)) == (HOME, [(HOME, HOME)])
        assert await desk.submit(wish("a", "3")) == bought  # an intent is one order, wherever it went
        await desk.journal.flush()
        records = [entry.record for entry in desk.journal.read()]
        assert [record.to for record in records if isinstance(record, Routed)] == [OTHER, HOME]
        assert replay(records).routes == desk.books.routes

    told(tmp_path, story)


def test_an_order_in_doubt_keeps_its_instrument_where_it_is(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        await desk.hub.fetch(HOME, AAPL)
        network.faults = msgspec.structs.replace(network.faults, enabled=True, lost_answer=1.0, lost_frame=1.0)
        sending = asyncio.create_task(desk.submit(wish("a", "3")))
        await asyncio.sleep(1)
        network.faults = msgspec.structs.replace(network.faults, enabled=False)
        outage = Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        with pytest.raises((RiskRefused, Unavailable)):
            await desk.submit(wish("b", "3"))
        doubtful = await sending
        assert (doubtful.broker, doubtful.doubt) == (HOME, Doubt.IN_DOUBT)
        with pytest.raises((RiskRefused, Unavailable)):
            await desk.submit(wish("c", "3"))
        assert await desk.submit(wish("a", "3")) == desk.books.blotter.get(doubtful.cl_ord_id)
        outage.over()
        await settled(desk, doubtful)
        assert (desk.books.ledger.position(HOME, AAPL), desk.books.ledger.position(OTHER, AAPL)) == (3, 0)
        assert routes(desk) == []

    told(tmp_path, story)


def test_what_is_held_at_a_broker_that_is_gone_is_neither_added_to_nor_closed_elsewhere(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        await buy(desk, "a")
        Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        with pytest.raises((RiskRefused, Unavailable)):
            await desk.submit(wish("b", "3"))
        sold = await desk.submit(wish("c", "3", side=Side.SELL, reduce_only=True))

        assert (sold.broker, sold.ord_status) == (HOME, OrdStatus.REJECTED)
        assert "could not be reached" in sold.text or "not sent" in sold.text or "refused" in sold.text

    told(tmp_path, story)


@pytest.mark.parametrize("why", ["not wanted", "halted", "too much", "another kind", "closed there", "halted there", "not taken there"])
def test_nothing_goes_over_that_may_not(why: str, tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        if why == "halted":
            await desk.halt(HOME, Level.HALT, "the owner says so")
        if why == "halted there":
            await desk.halt(OTHER, Level.HALT, "the owner says so")
        if why == "closed there":
            closed = Hours(known_until_ns=desk.clock.now_ns() + 86_400 * SECOND_NS)
            desk.instruments[OTHER, AAPL] = msgspec.structs.replace(desk.instruments[OTHER, AAPL], hours=closed)
        Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        order = wish("a", "10000" if why == "too much" else "3", time_in_force=TimeInForce.IOC if why == "not taken there" else TimeInForce.DAY)
        for _ in range(2):
            with pytest.raises((RiskRefused, Unavailable)):
                await desk.submit(order)

        said = {"too much": "buying power is too small", "closed there": "does not trade AAPL now", "halted there": "it is halted"}
        said["not taken there"] = "takes no such order"
        assert routes(desk) == []
        assert [said[why] in text for text in alerts(desk, "nobody stands in")] == ([True] if why in said else [])

    wanted = {"not wanted": frozenset[AssetClass](), "another kind": frozenset({AssetClass.CRYPTO})}
    told(tmp_path, story, failover=wanted.get(why, EQUITY))


def test_a_further_account_of_a_broker_stands_in_for_nobody(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        assert desk.ready[ALPACA_IRA.broker]
        with pytest.raises((RiskRefused, Unavailable)):
            await desk.submit(wish("a", "3"))

        assert routes(desk) == []
        assert [text.endswith("there is no other broker") for text in alerts(desk, "nobody stands in")] == [True]

    told(tmp_path, story, subjects=(ALPACA, ALPACA_IRA))


def test_of_several_brokers_the_one_with_the_lowest_fee_and_the_instrument_stands_in(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        bought = await buy(desk, "a", "2.5")
        assert (bought.broker, bought.order_qty) == (OTHER, 2)  # on the other one's lots, never more than asked
        await buy(desk, "b", "2", side=Side.SELL)
        Outage(network, OTHER)
        await seconds(desk, DOWN_NS)
        assert (await buy(desk, "c")).broker == IBKR.broker

    assert IBKR.facts.taker_fee > TRADIER.facts.taker_fee
    told(tmp_path, story, subjects=(ALPACA, IBKR, TRADIER))


def test_an_instrument_of_the_same_name_in_another_currency_is_another(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        desk.instruments[OTHER, AAPL] = msgspec.structs.replace(desk.instruments[OTHER, AAPL], currency="EUR")
        Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        with pytest.raises((RiskRefused, Unavailable)):
            await desk.submit(wish("a", "3"))

        assert alerts(desk, "tradier: tradier calls something else AAPL: equity in EUR")

    told(tmp_path, story)


def test_before_openings_go_back_what_happened_there_is_read(tmp_path: Path) -> None:
    """A stranger buys at the first broker as it returns: it is booked before anything is sent there, and the instrument lives there then."""

    async def story(desk: Desk, network: SimNetwork) -> None:
        outage = Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        await buy(desk, "a")
        await buy(desk, "b", side=Side.SELL)
        outage.over()
        assert await desk.wait(lambda: desk.ready[HOME], 120 * SECOND_NS)
        assert (await buy(desk, "c")).broker == OTHER  # it is not good for long enough
        await buy(desk, "d", side=Side.SELL)
        twin = network.hosts[HOME]
        body = b'{"symbol":"AAPL","qty":"4","side":"buy","type":"market","time_in_force":"day","client_order_id":"by-hand"}'
        twin.trading.submit(body, desk.clock.now_ns())  # type: ignore[attr-defined]
        network.carry(twin)
        await seconds(desk, BACK_NS)
        assert desk.books.ledger.position(HOME, AAPL) == 4
        assert (await buy(desk, "e")).broker == HOME

    told(tmp_path, story)


def test_a_route_outlives_a_restart_and_so_does_the_intent(tmp_path: Path) -> None:
    async def first(desk: Desk, network: SimNetwork) -> None:
        Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        assert (await buy(desk, "a")).broker == OTHER

    async def main(clock: VirtualClock) -> None:
        async with desk_on(clock, tmp_path, (ALPACA, TRADIER), LIMITS, EQUITY) as (desk, network):
            await desk.instrument(HOME, AAPL)
            await first(desk, network)
            went = next(iter(desk.books.blotter))
            books = replay(entry.record for entry in desk.journal.read())
            desk.books = books
            assert desk.routing.at(HOME, AAPL) == OTHER
            assert (await desk.submit(wish("a", "3"))).cl_ord_id == went.cl_ord_id

    run_virtual(main)


def test_two_that_come_at_once_are_one_order_for_one_intent(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        one, two, three = await asyncio.gather(*(desk.submit(wish(name, "3", repeat=True)) for name in ("a", "a", "b")))

        assert one.cl_ord_id == two.cl_ord_id != three.cl_ord_id
        assert {one.broker, three.broker} == {OTHER}
        assert len(desk.books.routes) == 1

    told(tmp_path, story)


def test_a_place_that_is_not_right_any_more_refuses(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        outage = Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        await buy(desk, "a")
        outage.over()
        assert await desk.wait(lambda: desk.ready[HOME], 120 * SECOND_NS)
        with pytest.raises(RiskRefused, match="Ask again, with the same intent"):
            await desk.submit(wish("b", "3"), home=HOME)

    told(tmp_path, story)


def test_a_strategys_wish_is_sized_and_placed_where_its_instrument_lives(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        outage = Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        hold = Allocation(instrument=AAPL, broker=HOME, weight=D("0.2"))
        decided = await decide(desk, hold, strategy="holder", intent=IntentID("holder/1-1"))
        assert (decided.taken, decided.broker) == (True, OTHER), decided.text
        assert "at tradier: alpaca was not ready for 10 s" in decided.text
        assert decided.cl_ord_id is not None
        bought = await settled(desk, desk.books.blotter.get(decided.cl_ord_id))  # type: ignore[arg-type]
        outage.over()
        assert await desk.wait(lambda: desk.ready[HOME], 120 * SECOND_NS)
        await seconds(desk, BACK_NS)
        leave = msgspec.structs.replace(hold, weight=D(0))
        closed = await decide(desk, leave, strategy="holder", intent=IntentID("holder/1-2"), own=bought.cum_qty)
        assert (closed.taken, closed.broker) == (True, OTHER), closed.text
        assert closed.cl_ord_id is not None
        await settled(desk, desk.books.blotter.get(closed.cl_ord_id))  # type: ignore[arg-type]
        again = await decide(desk, hold, strategy="holder", intent=IntentID("holder/1-3"), own=D(0))
        assert (again.broker, again.text) == (HOME, "an allocation: exempt from Kelly and the convexity score")

    told(tmp_path, story)


class Holder(Strategy):
    """Wants to hold so much, whenever it is asked."""

    instruments = ("AAPL",)
    timer_s = 5
    weight = D("0.2")

    def on_timer(self, ctx: Context) -> Allocation:
        return Allocation(instrument=AAPL, weight=self.weight, broker=HOME)


def test_a_strategy_goes_on_over_an_outage_and_leaves_where_it_is_held(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        outage = Outage(network, HOME)
        strategy = Inline(holder := Holder())
        runner = Runner(desk, HOME, strategy)
        await runner.start()
        working = asyncio.create_task(runner.run())
        await seconds(desk, DOWN_NS + 20 * SECOND_NS)
        held = desk.books.ledger.position(OTHER, AAPL)
        assert held > 0
        assert (runner._positions, strategy.host.ctx.position(AAPL)) == ({AAPL: held}, held)
        outage.over()
        await seconds(desk, BACK_NS + 60 * SECOND_NS)
        holder.weight = D(0)
        assert await desk.wait(lambda: not desk.books.ledger.position(OTHER, AAPL), 60 * SECOND_NS)
        holder.weight = D("0.1")
        assert await desk.wait(lambda: desk.books.ledger.position(HOME, AAPL) > 0, 60 * SECOND_NS)
        assert desk.books.ledger.position(OTHER, AAPL) == 0
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

    told(tmp_path, story)


def test_whoever_asks_by_hand_is_told_where_it_went_and_why(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        metrics = Metrics(desk)
        Outage(network, HOME)
        await seconds(desk, DOWN_NS)
        shown = await submit(desk, {"broker": HOME, "instrument": "AAPL", "side": "buy", "order_qty": "3", "intent": "by-hand"})

        assert isinstance(shown, dict)
        assert (shown["broker"], shown["ord_status"]) == (OTHER, "filled")
        assert shown["text"].endswith("at tradier: alpaca was not ready for 10 s, and no order there is open or in doubt")
        assert 'trading_openings_routed{home="alpaca",instrument="AAPL",to="tradier"} 1\n' in metrics.text()

    told(tmp_path, story)


# -- prices ------------------------------------------------------------------------------------------------------------------------


def test_prices_go_over_to_another_broker_and_come_back(tmp_path: Path) -> None:
    async def story(desk: Desk, network: SimNetwork) -> None:
        seen: list[object] = []

        async def read() -> None:
            async for event in desk.routing.stream(HOME, [AAPL], Kinds(quotes=True)):
                seen.append(event)

        def quotes() -> int:
            return sum(isinstance(event, Quote) for event in seen)

        reading = asyncio.create_task(read())
        assert await desk.wait(lambda: quotes() > 3, 60 * SECOND_NS)
        outage = Outage(network, HOME)
        await seconds(desk, PRICES_DOWN_NS)
        before = quotes()
        assert await desk.wait(lambda: quotes() > before + 3, 60 * SECOND_NS)
        assert desk.hub.latest(OTHER, AAPL) == [event for event in seen if isinstance(event, Quote)][-1]
        assert alerts(desk, "prices of AAPL come from tradier: alpaca has lost")
        outage.over()
        assert await desk.wait(lambda: desk.hub.links.lost(HOME) is None, 120 * SECOND_NS)
        states = [event.text for event in seen if isinstance(event, StreamState) and event.stream == "prices"]
        assert len(states) == 1  # not yet
        await seconds(desk, PRICES_BACK_NS)
        states = [event.text for event in seen if isinstance(event, StreamState) and event.stream == "prices"]
        assert states[1:] == ["prices of AAPL come from alpaca again"]
        before = quotes()
        assert await desk.wait(lambda: quotes() > before + 3, 60 * SECOND_NS)
        assert desk.hub.latest(HOME, AAPL) == [event for event in seen if isinstance(event, Quote)][-1]
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    told(tmp_path, story, failover=frozenset())


def test_bars_are_another_brokers_while_the_first_cannot_be_asked_and_for_a_while_after(tmp_path: Path) -> None:
    minute_ns = 60 * SECOND_NS

    async def story(desk: Desk, network: SimNetwork) -> None:
        async def bars() -> object:
            end_ns = desk.clock.now_ns() // minute_ns * minute_ns
            return await desk.routing.bars(HOME, AAPL, minute_ns, end_ns - 5 * minute_ns, end_ns), [
                await desk.brokers[name].bars(AAPL, minute_ns, end_ns - 5 * minute_ns, end_ns) for name in desk.brokers if name in network.hosts
            ]

        found, (ours, _) = await bars()  # type: ignore[misc]
        assert found == ours != ()
        outage = Outage(network, HOME)
        found, (theirs,) = await bars()  # type: ignore[misc]
        assert found == theirs != ()
        assert alerts(desk, "bars of AAPL come from tradier")
        outage.over()
        found, (_, theirs) = await bars()  # type: ignore[misc]
        assert found == theirs
        await seconds(desk, PRICES_BACK_NS)
        found, (ours, _) = await bars()  # type: ignore[misc]
        assert found == ours

    told(tmp_path, story, failover=frozenset())


def test_the_setting_names_kinds_and_is_off_unless_set() -> None:
    assert load_config({"TRADING_ENV_FILE": "/dev/null"}).failover_opening == ()
    assert load_config({"TRADING_ENV_FILE": "/dev/null", "FAILOVER_OPENING": "crypto, Equity"}).failover_opening == (
        AssetClass.CRYPTO,
        AssetClass.EQUITY,
    )
    with pytest.raises(ConfigError, match="FAILOVER_OPENING lists any of equity, crypto"):
        load_config({"TRADING_ENV_FILE": "/dev/null", "FAILOVER_OPENING": "stocks"})
