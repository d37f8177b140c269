"""The broker's own dead man's switch: it takes a dead desk's entries and nothing that has to stay, and a living desk's nothing at all."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.kraken.test_connector import away, wish
from tests.conformance.between import Between
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, on_bench, settled
from tests.subjects import ALPACA, KRAKEN
from trading_system.app.desk import Desk
from trading_system.app.venue_deadman import AFTER_NS, FEED_NS, stays
from trading_system.app.verbs import VERBS
from trading_system.brokers.kraken.twin.trading import TIMER
from trading_system.domain.errors import Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, ExecID
from trading_system.domain.order import Attached, Order
from trading_system.domain.report import ExecutionReport
from trading_system.sim.clock import SECOND_NS, VirtualClock
from trading_system.sim.network import Faults
from trading_system.sim.wire import Wire
from trading_system.transport.message import Request, Response

D = Decimal
NAME = KRAKEN.broker
AFTER_S, FEED_S = AFTER_NS // SECOND_NS, FEED_NS // SECOND_NS
GRACE_S = 5  # for a look, and the way there


class Door(Between):
    """Kraken answers, but for the calls named."""

    shut: tuple[str, ...] = ()

    def handle(self, request: Request, now_ns: int) -> Response:
        if request.url.rpartition("/")[2] in self.shut:
            return Response(status=503, headers={}, body=b"")
        return super().handle(request, now_ns)

    def calls(self) -> list[str]:
        """What was asked for, in the order of its arrival: place, or how many seconds the switch was set to."""
        return ["place" if self._subject.places(request) else request.body.decode().rpartition("timeout=")[2] for request in self.asked]


Story = Callable[[Bench, Door], Awaitable[None]]


def told(tmp_path: Path, story: Story, **twin: Any) -> None:
    doors: list[Door] = []

    def between(wire: Wire) -> Wire:
        doors.append(Door(wire, KRAKEN))
        return doors[0]

    async def main(bench: Bench) -> None:
        await story(bench, doors[0])

    on_bench(tmp_path, main, subject=KRAKEN, between=between, **twin)


async def armed(bench: Bench, *, within_s: int = GRACE_S) -> bool:
    """Whether Kraken's switch is wound up within that time."""
    for _ in range(within_s * 2):
        if bench.twin.trading.timer_ns:
            return True
        await asyncio.sleep(0.5)
    return False


async def off(bench: Bench, *, within_s: int = GRACE_S) -> bool:
    for _ in range(within_s * 2):
        if not bench.twin.trading.timer_ns:
            return True
        await asyncio.sleep(0.5)
    return False


async def entry(desk: Desk, intent: str = "entry", **changes: Any) -> Order:
    """An entry that rests."""
    price = await away(desk.brokers[NAME], "0.98")
    order = await desk.submit(wish(intent, "0.5", **({"ord_type": OrdType.LIMIT, "price": price} | changes)))
    assert order.order_id is not None
    return order


async def bought(desk: Desk, intent: str = "bought", **changes: Any) -> Order:
    done = await settled(desk, await desk.submit(wish(intent, "0.5", ord_type=OrdType.MARKET, **changes)))
    assert done.ord_status is OrdStatus.FILLED
    return done


def at_kraken(bench: Bench, order: Order) -> Any:
    """Kraken's own row."""
    return bench.twin.trading.placed[order.order_id]


def undo(bench: Bench, desk: Desk, order: Order) -> None:
    """What it traded is taken back at the broker, and the desk is told so."""
    for fill in order.fills:
        bench.twin.exchange.bust(fill.exec_id, bench.twin.now_ns)
        fields = {
            name: getattr(order, name) for name in ("broker", "cl_ord_id", "order_id", "instrument", "side", "ord_type", "time_in_force", "order_qty")
        }
        ids = {"exec_id": ExecID(f"undone-{fill.exec_id}"), "exec_ref_id": fill.exec_id}
        at_ns = desk.clock.now_ns()
        desk.on_report(
            ExecutionReport(exec_type=ExecType.TRADE_CANCEL, ord_status=OrdStatus.CANCELED, transact_ns=at_ns, recv_ns=at_ns, **fields, **ids)
        )


def critical(desk: Desk) -> list[str]:
    return [text for text, _ in desk.books.critical()]


# -- a desk that dies, ends, hangs -----------------------------------------------------------------------------------------------------------------


def test_a_killed_desks_entries_are_cancelled_by_the_broker_and_those_of_a_living_one_are_not(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        desk, recovery = bench.build(WIDE, dead_man=True)
        await recovery.start()
        await desk.wait(lambda: desk.ready[NAME], 10 * SECOND_NS)
        resting = await entry(desk)
        await asyncio.sleep(5 * AFTER_S)
        assert at_kraken(bench, resting).status == "open"
        fed = door.calls().count(str(AFTER_S))
        assert 5 * AFTER_S // FEED_S <= fed <= 5 * AFTER_S // FEED_S + 2
        await bench.kill(desk)
        await asyncio.sleep(AFTER_S - FEED_S - GRACE_S)
        assert at_kraken(bench, resting).status == "open"
        await asyncio.sleep(FEED_S + GRACE_S)

        assert (at_kraken(bench, resting).status, at_kraken(bench, resting).reason) == ("canceled", TIMER)
        async with bench.desk(WIDE) as desk:
            assert desk.books.blotter.get(resting.cl_ord_id).ord_status is OrdStatus.CANCELED  # type: ignore[union-attr]

    told(tmp_path, story)


def test_a_desk_that_stops_in_good_order_leaves_its_entries(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            resting = await entry(desk)
            assert await armed(bench)
        assert bench.twin.trading.timer_ns == 0
        await asyncio.sleep(3 * AFTER_S)

        assert at_kraken(bench, resting).status == "open"
        assert critical(desk) == []

    told(tmp_path, story)


class Hung:
    """A desk's clock that wakes nobody for a while: the process is there, and does nothing."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._runs = asyncio.Event()
        self._runs.set()
        self.now_ns, self.monotonic_ns = clock.now_ns, clock.monotonic_ns

    async def sleep_ns(self, duration_ns: int) -> None:
        await self._clock.sleep_ns(duration_ns)
        await self._runs.wait()

    def hang(self) -> None:
        self._runs.clear()

    def wake(self) -> None:
        self._runs.set()


def test_a_hang_disarms_nothing_and_ends_in_the_cancel_and_a_desk_that_wakes_begins_anew(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        desk, recovery = bench.build(WIDE, dead_man=True)
        clock = Hung(bench.clock)
        desk.clock = clock
        await recovery.start()
        await desk.wait(lambda: desk.ready[NAME], 10 * SECOND_NS)
        resting = await entry(desk)
        assert await armed(bench)
        clock.hang()
        before = door.calls().count("0")
        await asyncio.sleep(AFTER_S + GRACE_S)
        assert at_kraken(bench, resting).reason == TIMER
        assert door.calls().count("0") == before
        clock.wake()

        assert await armed(bench, within_s=60)  # once it has looked at everything
        assert (await settled(desk, resting)).ord_status is OrdStatus.CANCELED
        assert desk.standstills == 1
        await recovery.aclose()
        await desk.hub.aclose()
        await desk.journal.aclose()

    told(tmp_path, story)


# -- what has to stay ------------------------------------------------------------------------------------------------------------------------------


def test_a_stop_finds_the_switch_off_from_its_entry_on_and_is_never_taken_along(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        desk, recovery = bench.build(WIDE, dead_man=True)
        await recovery.start()
        await desk.wait(lambda: desk.ready[NAME], 10 * SECOND_NS)
        resting = await entry(desk)
        assert await armed(bench)
        await bought(desk, protect_stop_px=await away(desk.brokers[NAME], "0.9"))
        assert await desk.wait(lambda: any(order.protects is not None for order in desk.books.blotter.working()), 5 * SECOND_NS)
        (stop,) = [order for order in desk.books.blotter.working() if order.protects is not None]
        since = door.calls()[door.calls().index(str(AFTER_S)) :]
        assert since[-3:] == ["0", "place", "place"]  # off, then the entry, then its stop
        await asyncio.sleep(2 * AFTER_S)
        assert str(AFTER_S) not in door.calls()[len(door.calls()) - 3 :]
        await bench.kill(desk)
        await asyncio.sleep(3 * AFTER_S)

        assert {at_kraken(bench, order).status for order in (resting, stop)} == {"open"}

    told(tmp_path, story)


@pytest.mark.parametrize("kind", ["exit", "stop", "amount at once"])
def test_what_closes_and_may_rest_disarms_it_first_and_when_that_is_over_it_is_armed_again(tmp_path: Path, kind: str) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            await bought(desk)
            assert await armed(bench)
            rests = {
                "exit": {"ord_type": OrdType.LIMIT, "price": await away(desk.brokers[NAME], "1.02")},
                "stop": {"ord_type": OrdType.STOP, "stop_px": await away(desk.brokers[NAME], "0.95"), "reduce_only": True},
                "amount at once": {"ord_type": OrdType.MARKET},
            }[kind]
            before = len(door.calls())
            order = await desk.submit(wish("out", "0.2", Side.SELL, **rests))
            if kind == "amount at once":
                assert door.calls()[before:] == ["place"]  # what cannot rest waits for nothing
            else:
                assert door.calls()[before:] == ["0", "place"]
                await asyncio.sleep(AFTER_S)
                assert bench.twin.trading.timer_ns == 0
                await settled(desk, await desk.cancel(order.cl_ord_id))

            assert await armed(bench)

    told(tmp_path, story)


def test_somebody_elses_order_disarms_it(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            assert await armed(bench)
            form = {"pair": "ETHUSD", "type": "buy", "ordertype": "limit", "volume": "0.1", "price": str(await away(desk.brokers[NAME], "0.97"))}
            bench.twin.trading.add(form, bench.twin.now_ns)
            bench.network.carry(bench.network.hosts["twin"])
            assert await off(bench)
            await asyncio.sleep(AFTER_S)
            assert bench.twin.trading.timer_ns == 0
            assert "not an order of this desk" in str(desk.dead_men()[NAME])

    told(tmp_path, story)


def test_a_position_that_a_stop_belongs_beside_keeps_it_off_though_the_stop_is_gone(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            await bought(desk, protect_stop_px=await away(desk.brokers[NAME], "0.9"))
            assert await desk.wait(lambda: any(order.protects for order in desk.books.blotter.working()), 5 * SECOND_NS)
            (stop,) = desk.books.blotter.working()
            door.shut = ("AddOrder",)
            await settled(desk, await desk.cancel(stop.cl_ord_id))
            await asyncio.sleep(2 * GRACE_S)
            assert bench.twin.trading.timer_ns == 0
            assert str(AFTER_S) not in door.calls()[door.calls().index("place") :]

    told(tmp_path, story)


def test_the_same_wish_twice_at_once_is_one_order_though_both_wait_for_the_switch(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            stop_px = await away(desk.brokers[NAME], "0.9")
            assert await armed(bench)
            request = wish("twice", "0.5", ord_type=OrdType.MARKET, protect_stop_px=stop_px)
            one, other = await asyncio.gather(desk.submit(request), desk.submit(request))

            assert one.cl_ord_id == other.cl_ord_id
            assert door.placed == 1 + len([order for order in desk.books.blotter if order.protects])

    told(tmp_path, story)


# -- what is not certain ---------------------------------------------------------------------------------------------------------------------------


def test_a_desk_that_does_not_hear_its_stream_disarms_it(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            resting = await entry(desk)
            assert await armed(bench)
            bench.network.faults = Faults(disconnect=1.0)
            assert await off(bench, within_s=30)
            assert not desk.ready[NAME]
            await asyncio.sleep(2 * AFTER_S)
            assert at_kraken(bench, resting).status == "open"
            bench.network.faults = Faults(enabled=False)

            assert await armed(bench, within_s=120)

    told(tmp_path, story)


def test_a_lost_line_is_a_warning_and_ends_in_the_cancel(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            resting = await entry(desk)
            assert await armed(bench)
            bench.network.faults = Faults(disconnect=1.0, refused=1.0)
            await asyncio.sleep(AFTER_S + 2 * GRACE_S)
            assert at_kraken(bench, resting).reason == TIMER
            assert critical(desk) == []
            assert [alert for alert in desk.books.alerts.values() if "cannot be disarmed" in alert.text]
            bench.network.faults = Faults(enabled=False)

            assert (await settled(desk, resting)).ord_status is OrdStatus.CANCELED
            assert await armed(bench, within_s=120)

    told(tmp_path, story)


def test_a_call_that_another_overtook_is_made_again(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            assert await armed(bench)
            price = await away(desk.brokers[NAME], "0.9")
            bench.twin.nonce += 1
            await bought(desk, protect_stop_px=price)

            assert door.calls()[-4:] == ["0", "0", "place", "place"]
            assert not [alert for alert in desk.books.alerts.values() if "disarmed" in alert.text]

    told(tmp_path, story)


def test_a_desk_that_cannot_disarm_says_so_and_lets_out_no_entry_that_wants_a_stop(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            await bought(desk)
            assert await armed(bench)
            door.shut = ("CancelAllOrdersAfter",)
            stop_px, count = await away(desk.brokers[NAME], "0.9"), door.placed
            for intent, changes in (
                ("guarded", {"protect_stop_px": stop_px}),
                ("stop", {"side": Side.SELL, "ord_type": OrdType.STOP, "stop_px": stop_px}),
            ):
                with pytest.raises(Unavailable, match="nothing was sent: Kraken's dead man's switch cannot be disarmed"):
                    await desk.submit(wish(intent, "0.1", **changes))
            assert door.placed == count
            (alert,) = critical(desk)
            assert "Kraken's dead man's switch cannot be disarmed" in alert
            sold = await settled(desk, await desk.submit(wish("sold", "0.1", Side.SELL, ord_type=OrdType.MARKET)))
            assert sold.ord_status is OrdStatus.FILLED  # an exit that cannot rest waits for nothing
            await asyncio.sleep(3 * AFTER_S)  # by then it has gone off, or is off

            done = await bought(desk, "guarded later", protect_stop_px=stop_px)
            assert done.ord_status is OrdStatus.FILLED
            door.shut = ()

    told(tmp_path, story)


@pytest.mark.parametrize("answers", [True, False])
def test_a_stop_for_what_is_held_does_not_wait_for_a_switch_that_does_not_obey(tmp_path: Path, answers: bool) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            await bought(desk, protect_stop_px=await away(desk.brokers[NAME], "0.9"))
            out = await settled(desk, await desk.submit(wish("out", "0.5", Side.SELL, ord_type=OrdType.MARKET)))
            assert await armed(bench)
            if answers:
                door.shut = ("CancelAllOrdersAfter",)
            else:
                desk.brokers[NAME].disarm_dead_man = asyncio.get_running_loop().create_future  # type: ignore[attr-defined]
            undo(bench, desk, out)  # now there is something again that its stop belongs beside
            assert await desk.wait(lambda: any(order.protects and order.order_id for order in desk.books.blotter.working()), 8 * SECOND_NS)
            (stop,) = [order for order in desk.books.blotter.working() if order.protects]
            if not answers:
                del desk.brokers[NAME].disarm_dead_man  # type: ignore[attr-defined]
                return
            assert any("cannot be disarmed" in text for text in critical(desk))
            await asyncio.sleep(AFTER_S + GRACE_S)
            assert at_kraken(bench, stop).reason == TIMER  # what had been told: and there is another at once
            (another,) = [order for order in desk.books.blotter.working() if order.protects]
            assert another.cl_ord_id != stop.cl_ord_id
            door.shut = ()

    told(tmp_path, story)


def test_a_switch_that_cannot_be_armed_is_told_of(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            assert await armed(bench)
            door.shut = ("CancelAllOrdersAfter",)
            await asyncio.sleep(4 * AFTER_S)
            warnings = [alert.text for alert in desk.books.alerts.values() if alert.severity == "warning"]
            assert [text for text in warnings if "cannot be armed" in text] == warnings
            assert len(warnings) == 1
            assert "could not be armed" in str(desk.dead_men()[NAME])
            door.shut = ()

            assert await armed(bench, within_s=60)
            assert desk.dead_men() == {NAME: None}

    told(tmp_path, story)


def test_a_new_desk_turns_off_what_a_dead_one_armed_until_it_knows_how_things_stand(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        desk, recovery = bench.build(WIDE, dead_man=True)
        await recovery.start()
        await desk.wait(lambda: desk.ready[NAME], 10 * SECOND_NS)
        resting = await entry(desk)
        assert await armed(bench)
        await bench.kill(desk)
        before = len(door.calls())
        async with bench.desk(WIDE, dead_man=True) as desk:
            assert await armed(bench)
            assert door.calls()[before : before + 2] == ["0", str(AFTER_S)]
            await asyncio.sleep(2 * AFTER_S)
            assert at_kraken(bench, resting).status == "open"

    told(tmp_path, story)


# -- who uses it -----------------------------------------------------------------------------------------------------------------------------------


def test_a_desk_of_one_command_arms_nothing_and_leaves_what_a_dead_one_armed_unless_something_must_stay(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        desk, recovery = bench.build(WIDE, dead_man=True)
        await recovery.start()
        await desk.wait(lambda: desk.ready[NAME], 10 * SECOND_NS)
        await bought(desk)
        resting = await entry(desk)
        assert await armed(bench)
        await bench.kill(desk)
        before = len(door.calls())
        async with bench.desk(WIDE, dead_man=True, feeds=False) as desk:
            await asyncio.sleep(GRACE_S)
            assert "one command" in str(desk.dead_men()[NAME])
        assert door.calls()[before:] == []
        async with bench.desk(WIDE, dead_man=True, feeds=False) as desk:
            exit_px = await away(desk.brokers[NAME], "1.02")
            out = await desk.submit(wish("out", "0.2", Side.SELL, ord_type=OrdType.LIMIT, price=exit_px))
        assert door.calls()[before:] == ["0", "place"]
        await asyncio.sleep(2 * AFTER_S)

        assert {at_kraken(bench, order).status for order in (resting, out)} == {"open"}

    told(tmp_path, story)


def test_check_says_whether_it_is_armed(tmp_path: Path) -> None:
    async def story(bench: Bench, door: Door) -> None:
        async with bench.desk(WIDE, dead_man=True) as desk:
            assert await armed(bench)
            await asyncio.sleep(1)
            assert (await VERBS["check"](desk, {}))["dead_man"] == {NAME: {"armed": True, "text": ""}}  # type: ignore[index]
            await bought(desk, protect_stop_px=await away(desk.brokers[NAME], "0.9"))
            off_now = (await VERBS["check"](desk, {}))["dead_man"][NAME]  # type: ignore[index]
            assert off_now["armed"] is False
            assert "stop" in off_now["text"]
        async with bench.desk(WIDE) as desk:
            assert (await VERBS["check"](desk, {}))["dead_man"] == {}  # type: ignore[index]

    told(tmp_path, story)


def test_a_broker_without_one_is_told_of_and_asked_nothing(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(dead_man=True) as desk:
            assert desk.dead_men() == {ALPACA.broker: "Alpaca has none"}
            assert await desk.disarm(ALPACA.broker)

    on_bench(tmp_path, story)


def order_of(**changes: Any) -> Any:
    return wish("x", **({"ord_type": OrdType.LIMIT, "price": D(1)} | changes))


@pytest.mark.parametrize(
    ("order", "position", "stays_there"),
    [
        (order_of(), "0", False),
        (order_of(), "1", False),
        (order_of(ord_type=OrdType.STOP, stop_px=D(1)), "1", False),  # a stop that enters
        (order_of(side=Side.SELL), "1", True),
        (order_of(side=Side.SELL), "-1", False),
        (order_of(), "-1", True),
        (order_of(side=Side.SELL, ord_type=OrdType.MARKET), "1", False),
        (order_of(side=Side.SELL, time_in_force=TimeInForce.IOC), "1", False),
        (order_of(side=Side.SELL, time_in_force=TimeInForce.FOK), "1", False),
        (order_of(reduce_only=True), "0", True),
        (order_of(reduce_only=True, ord_type=OrdType.MARKET), "1", False),
        (order_of(ord_type=OrdType.MARKET, protect_stop_px=D(1)), "0", True),
        (order_of(ord_type=OrdType.MARKET, attached=Attached(take_profit_px=D(2))), "0", True),
        (order_of(ord_type=OrdType.MARKET, protects=ClOrdID("e")), "0", True),
        (order_of(ord_type=OrdType.MARKET, parent=ClOrdID("e")), "0", True),
    ],
)
def test_what_has_to_outlive_the_desk(order: Any, position: str, stays_there: bool) -> None:
    assert stays(order, D(position)) is stays_there
