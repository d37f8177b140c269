"""The desk through its front door: production desk, journal and connector on the Alpaca twin, on virtual time."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.conformance.between import Between, conform
from tests.desks import AAPL, BROKER, BTC, Bench, SteppedClock, mid, on_bench, settled, wish
from tests.subjects import ALPACA
from trading_system.app.desk import INSTRUMENT_MAX_AGE_NS, Desk
from trading_system.app.hub import QUEUE_MAX
from trading_system.app.recover import PULSE_NS
from trading_system.app.socket import Question, answer
from trading_system.app.verbs import VERBS
from trading_system.core.risk import Halt, Level, Limits
from trading_system.domain.account import AccountSnapshot
from trading_system.domain.errors import AuthFailed, BadRequest, Halted, InDoubt, JournalError, ProtocolError, RiskRefused, Unavailable
from trading_system.domain.fix import Doubt, ExecType, OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, IntentID, OrderID
from trading_system.domain.instrument import AssetClass, TickBand
from trading_system.domain.market import Quote, Trade
from trading_system.domain.order import NewOrder, Order, Replace
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.journal.record import Alert, Doubted, Intent, Record, Reported, Started
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults
from trading_system.transport.message import Request, Response

D = Decimal


def test_an_order_goes_out_once_and_comes_back_filled(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            done = await settled(desk, await desk.submit(wish("a", "10")))
            again = await desk.submit(wish("a", "10"))

            assert done.ord_status is OrdStatus.FILLED
            assert again == done
            assert desk.books.ledger.position(BROKER, AAPL) == D(10)
            assert bench.twin.trading.posts == {done.cl_ord_id: 1}
            with pytest.raises(BadRequest, match="new intent"):
                await desk.submit(wish("a", "10", Side.SELL))

    on_bench(tmp_path, story)


def _regrid(bench: Bench, tick: str) -> None:
    """The broker changes the tick of BTC/USD."""
    assets = bench.twin.universe.assets
    assets[BTC] = msgspec.structs.replace(assets[BTC], price_increment=tick)


async def _low(desk: Desk) -> Decimal:
    """A price far below the market and off every coarser grid."""
    return (await mid(desk, BTC) * D("0.9")).quantize(D(1)) + D("0.01")


def test_a_refusal_has_the_grid_read_anew(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(Limits(crypto_price_collar_pct=D("0.5"))) as desk:
            await mid(desk, BTC)
            _regrid(bench, "0.5")
            price = await _low(desk)
            refused = await desk.submit(wish("a", "0.01", instrument=BTC, price=price))
            taken = await desk.submit(wish("b", "0.02", instrument=BTC, price=price))

            assert (refused.ord_status, refused.price) == (OrdStatus.REJECTED, price)
            assert (taken.order_id is not None, taken.price) == (True, price - D("0.01"))

    on_bench(tmp_path, story)


def test_grids_are_read_anew_each_hour_and_exits_do_without(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(Limits(crypto_price_collar_pct=D("0.5"))) as desk:
            await settled(desk, await desk.submit(wish("a", "0.02", instrument=BTC)))
            _regrid(bench, "0.5")
            await asyncio.sleep(INSTRUMENT_MAX_AGE_NS / SECOND_NS)
            price = await _low(desk)
            resting = await desk.submit(wish("b", "0.01", instrument=BTC, price=price))
            assert (resting.order_id is not None, resting.price) == (True, price - D("0.01"))
            await settled(desk, await desk.cancel(resting.cl_ord_id))
            between.answers = lambda body: b"{" if b"price_increment" in body else body
            await asyncio.sleep(INSTRUMENT_MAX_AGE_NS / SECOND_NS)
            with pytest.raises(ProtocolError):
                await desk.submit(wish("c", "0.01", instrument=BTC))
            sold = await settled(desk, await desk.submit(wish("d", "0.01", Side.SELL, instrument=BTC)))

            assert sold.ord_status is OrdStatus.FILLED

    conform(tmp_path, ALPACA, story)


def test_a_broker_that_cannot_be_asked_for_a_grid_takes_orders_on_the_old_one(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(dry_run=True) as desk:
            known = await desk.instrument(BROKER, BTC)
            bench.network.faults = Faults(refused=1.0)
            await asyncio.sleep(INSTRUMENT_MAX_AGE_NS / SECOND_NS)

            assert await desk.instrument(BROKER, BTC) is known
            with pytest.raises(Unavailable):
                await desk.instrument(BROKER, AAPL)

    on_bench(tmp_path, story)


def test_a_cancelled_caller_cancels_nothing(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            caller = asyncio.create_task(desk.submit(wish("a", "10")))
            await asyncio.sleep(0.03)
            caller.cancel()
            await desk.drain()
            (order,) = desk.books.blotter

            assert (await settled(desk, order)).ord_status is OrdStatus.FILLED

    on_bench(tmp_path, story)


def test_two_strategies_cannot_share_one_limit(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(Limits(max_orders_per_second=100)) as desk:
            await mid(desk)
            results = await asyncio.gather(*(desk.submit(wish(f"k{n}", str(60 + n))) for n in range(6)), return_exceptions=True)
            refused = [result for result in results if isinstance(result, RiskRefused)]

            assert len(refused) >= 3
            assert {error.rule for error in refused} == {"MAX_POSITION_PCT"}
            assert desk.books.ledger.position(BROKER, AAPL) * await mid(desk) <= D(30_100)

    on_bench(tmp_path, story)


def test_dry_run_walks_the_whole_path_and_sends_nothing(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(dry_run=True) as desk:
            order = await desk.submit(wish("a", "10"))

            assert (order.ord_status, order.settled) == (OrdStatus.REJECTED, True)
            assert order.text.startswith("dry run")
            assert not bench.twin.trading.posts
            with pytest.raises(RiskRefused):
                await desk.submit(wish("b", "1000"))
        async with bench.desk() as desk:
            assert (await desk.submit(wish("a", "10"))).cl_ord_id != order.cl_ord_id

    on_bench(tmp_path, story)


def test_a_dry_run_cancels_and_closes_nothing_either(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "10")))
            resting = await desk.submit(wish("b", "1", price=(await mid(desk) * D("0.9")).quantize(D("0.01"))))
        async with bench.desk(dry_run=True) as desk:
            assert "dry run" in (await desk.cancel(resting.cl_ord_id)).text
            await desk.cancel_all(external=True)
            await desk.halt("all", Level.KILL, "drill")
            residue = await desk.flatten()

            assert residue.problems == ("dry run: nothing was cancelled or closed",)
            assert residue.positions == ((BROKER, AAPL, D(10)),)
            await asyncio.sleep(60)
            assert [order.ord_status for order in bench.twin.exchange.open_orders()] == [OrdStatus.NEW]

    on_bench(tmp_path, story)


def test_the_throttle_and_the_look_for_doubles_know_what_an_earlier_desk_let_out(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        limits = Limits(max_orders_per_minute=2, duplicate_order_window_ns=30 * SECOND_NS)
        async with bench.desk(limits) as desk:
            await settled(desk, await desk.submit(wish("a", "1")))
        async with bench.desk(limits) as desk:
            with pytest.raises(RiskRefused, match="DUPLICATE_ORDER_WINDOW_S"):
                await desk.submit(wish("b", "1"))
            await settled(desk, await desk.submit(wish("c", "2")))
        async with bench.desk(limits) as desk:
            with pytest.raises(RiskRefused, match="MAX_ORDERS_PER_MINUTE"):
                await desk.submit(wish("d", "3"))

    on_bench(tmp_path, story)


def test_the_breaker_counts_refusals_over_restarts(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        limits = Limits(validate_orders=False, max_orders_per_second=100)
        for number in range(5):
            async with bench.desk(limits) as desk:
                assert BROKER not in desk.books.halts
                price = (await mid(desk)).quantize(D(1)) + D("0.0051")
                desk.instruments[BROKER, AAPL] = msgspec.structs.replace(desk.instruments[BROKER, AAPL], ticks=(TickBand(D(0), D("0.0001")),))
                order = await desk.submit(wish(f"k{number}", "1", price=price, repeat=True))
                assert order.ord_status is OrdStatus.REJECTED
                await desk.journal.flush()
                tripped = BROKER in desk.books.halts
        assert tripped

    on_bench(tmp_path, story)


def test_an_order_that_waited_too_long_before_the_socket_is_not_sent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await mid(desk)
            loop = asyncio.get_running_loop()
            loop.disk_ns = lambda: 11 * SECOND_NS  # type: ignore[attr-defined]  # the machine stands still while the intent is written
            order = await desk.submit(wish("a", "1"))
            loop.disk_ns = lambda: 0  # type: ignore[attr-defined]

            assert "waited too long" in order.text
            assert not bench.twin.trading.posts

    on_bench(tmp_path, story)


def test_a_resting_order_is_changed_and_cancelled(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            low = await mid(desk) * D("0.9")
            first = await desk.submit(wish("a", "10", price=low.quantize(D("0.01"))))
            await desk.wait(lambda: desk.books.blotter.get(first.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, order_qty=D(7), intent=IntentID("b")))
            await desk.wait(lambda: desk.books.blotter.get(first.cl_ord_id).ord_status is OrdStatus.REPLACED, 5 * SECOND_NS)  # type: ignore[union-attr]
            await desk.wait(lambda: desk.books.blotter.get(second.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]

            assert desk.books.blotter.reserved(BROKER, AAPL).buy_qty == D(7)

            done = await settled(desk, await desk.cancel(second.cl_ord_id))

            assert done.ord_status is OrdStatus.CANCELED
            assert (await desk.cancel(second.cl_ord_id)).ord_status is OrdStatus.CANCELED
            with pytest.raises(BadRequest, match="only a working order"):
                await desk.replace(Replace(cl_ord_id=second.cl_ord_id, order_qty=D(3), intent=IntentID("c")))
            again = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, order_qty=D(7), intent=IntentID("b")))
            assert again.cl_ord_id == second.cl_ord_id  # the same intent is the same order, whatever became of it
            with pytest.raises(BadRequest, match="no order"):
                await desk.cancel(done.cl_ord_id[:-1])  # type: ignore[arg-type]

    on_bench(tmp_path, story)


def test_a_halt_survives_a_restart_and_passes_exits(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "10")))
            low = (await mid(desk) * D("0.9")).quantize(D("0.01"))
            resting = await desk.submit(wish("b", "5", price=low))
            await desk.halt("all", Level.KILL, "drill")

            assert (await settled(desk, resting)).ord_status is OrdStatus.CANCELED
        async with bench.desk() as desk:
            with pytest.raises(Halted):
                await desk.submit(wish("c", "1"))
            sold = await settled(desk, await desk.submit(wish("d", "4", Side.SELL)))

            assert sold.ord_status is OrdStatus.FILLED

            residue = await desk.flatten()

            assert (residue.positions, residue.orders, residue.problems) == ((), (), ())
            with pytest.raises(BadRequest, match="nothing named"):
                await desk.resume("crypto", by="owner")
            await desk.resume("all", by="owner")
        async with bench.desk() as desk:
            assert (await settled(desk, await desk.submit(wish("e", "1")))).ord_status is OrdStatus.FILLED

    on_bench(tmp_path, story)


def test_a_halt_between_the_gate_and_the_socket_wins(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await mid(desk)

            def step(name: str) -> None:
                if name == "intent durable":
                    desk.books.halts["all"] = halt

            halt = await desk.halt("all", Level.HALT, "drill")
            await desk.resume("*", by="owner")
            desk.step = step
            order = await desk.submit(wish("a", "10"))

            assert "halted between" in order.text
            assert order.settled
            assert not bench.twin.trading.posts

    on_bench(tmp_path, story)


def test_a_daily_loss_latches_and_only_a_person_clears_it(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        limits = Limits(max_daily_loss_pct=D("0.000001"))
        async with bench.desk(limits) as desk:
            await settled(desk, await desk.submit(wish("a", "100")))  # the spread is a loss at once
            assert await desk.wait(lambda: "all" in desk.books.halts, 120 * SECOND_NS)
            assert desk.books.halts["all"].rule == "MAX_DAILY_LOSS_PCT"
            with pytest.raises(Halted):
                await desk.submit(wish("b", "1"))
        async with bench.desk(limits) as desk:
            assert desk.books.halts["all"].rule == "MAX_DAILY_LOSS_PCT"
        async with bench.desk(Limits(max_daily_loss_pct=D("0.000001"), halt_on_daily_loss=False)) as desk:
            await desk.resume("*", by="owner")
            await desk.refresh_account(BROKER)
            alerts = [entry.record for entry in desk.journal.read() if isinstance(entry.record, Alert)]

            assert desk.books.halts == {}
            assert any("not to halt" in alert.text for alert in alerts) or desk.books.mark.loss() == 0  # type: ignore[union-attr]

    on_bench(tmp_path, story)


def test_what_has_ended_while_it_was_to_be_changed_frees_nothing(tmp_path: Path) -> None:
    """Were it taken out of what is reserved all the same, the new order would pass as an exit, by every halt."""

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            for number in range(25):
                price = (await mid(desk)).quantize(D(1)) - 3
                order = await desk.submit(wish(f"a{number}", "2", price=price, repeat=True))
                await asyncio.sleep(20)  # its quote is old by then: the change has to read another
                cancel = asyncio.create_task(desk.cancel(order.cl_ord_id))
                await asyncio.sleep(number / 100)
                change = asyncio.create_task(desk.replace(Replace(cl_ord_id=order.cl_ord_id, price=price - 1, intent=IntentID(f"b{number}"))))
                await asyncio.wait([cancel, change])
                await desk.cancel_all(BROKER)
                change.exception()  # that there was none to be changed is an answer
            await desk.journal.flush()
            approved = [entry.record.approved for entry in desk.journal.read() if isinstance(entry.record, Intent)]

            assert desk.books.ledger.position(BROKER, AAPL) == 0
            assert len(approved) > 25
            assert not [one.cl_ord_id for one in approved if one.reducing]

    on_bench(tmp_path, story)


def test_a_lost_answer_is_asked_about_and_adopted(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await mid(desk)
            bench.network.faults = Faults(lost_answer=1.0, lost_frame=1.0)
            order = await desk.submit(wish("a", "10"))

            assert order.doubt is Doubt.IN_DOUBT
            bench.network.faults = Faults(enabled=False)
            with pytest.raises(RiskRefused) as caught:
                await desk.submit(wish("b", "1"))
            assert caught.value.rule == "IN_DOUBT"
            done = await settled(desk, order)

            assert (done.ord_status, done.doubt, done.cum_qty) == (OrdStatus.FILLED, Doubt.NONE, D(10))
            assert bench.twin.trading.posts[done.cl_ord_id] == 1

    on_bench(tmp_path, story)


def test_a_lost_request_is_absent_only_after_the_whole_rule(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await mid(desk)
            bench.network.faults = Faults(lost_request=1.0)
            started_ns = bench.clock.monotonic_ns()
            task = asyncio.create_task(desk.submit(wish("a", "10")))
            await asyncio.sleep(5)
            bench.network.faults = Faults(enabled=False)
            order = await task

            assert order.doubt is Doubt.IN_DOUBT
            assert await desk.wait(lambda: desk.books.blotter.get(order.cl_ord_id).doubt is Doubt.PROVEN_ABSENT, 900 * SECOND_NS)  # type: ignore[union-attr]
            assert bench.clock.monotonic_ns() - started_ns >= 210 * SECOND_NS
            assert desk.books.blotter.total.notional == 0
            assert not bench.twin.trading.posts

    on_bench(tmp_path, story)


def test_of_two_changes_of_one_order_at_once_one_is_sent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            price = (await mid(desk) * D("0.98")).quantize(D("0.01"))
            order = await desk.submit(wish("a", "5", price=price))
            await desk.wait(lambda: desk.books.blotter.get(order.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            changes = [Replace(cl_ord_id=order.cl_ord_id, price=price - off, intent=IntentID(f"b{off}")) for off in (1, 2)]
            done = await asyncio.gather(*(desk.replace(change) for change in changes), return_exceptions=True)

            assert isinstance(done[0], Order)
            assert "is being changed" in str(done[1])
            await desk.wait(lambda: desk.books.blotter.get(order.cl_ord_id).ord_status is OrdStatus.REPLACED, 5 * SECOND_NS)  # type: ignore[union-attr]
            assert [order.cl_ord_id for order in desk.books.blotter.working()] == [done[0].cl_ord_id]

    on_bench(tmp_path, story)


class Blind:
    """A connector that answers submits with silence, and from then on shows the order nowhere; its account shows what it did."""

    def __init__(self, connector: Any) -> None:
        self.on = False
        self._connector, self._events = connector, connector.events
        connector.submit = self._submit(connector.submit)
        for name, nothing in (("order_status", None), ("open_orders", ()), ("fills", ())):
            setattr(connector, name, self._or(getattr(connector, name), nothing))
        connector.events = self._silent

    def _submit(self, submit: Any) -> Any:
        async def silent(approved: Any) -> Any:
            report = await submit(approved)
            if self.on:
                raise InDoubt("no answer")
            return report

        return silent

    def _or(self, ask: Any, nothing: Any) -> Any:
        async def asked(*about: Any) -> Any:
            return nothing if self.on else await ask(*about)

        return asked

    async def _silent(self) -> Any:
        async for event in self._events():
            if not (self.on and isinstance(event, ExecutionReport)):
                yield event


def test_what_the_account_shows_is_not_absent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        desk, recovery = bench.build()
        blind = Blind(desk.brokers[BROKER])
        async with bench.running(desk, recovery):
            await mid(desk)
            blind.on = True
            order = await desk.submit(wish("a", "10"))
            await asyncio.sleep(900)
            known = desk.books.blotter.get(order.cl_ord_id)

            assert known is not None
            assert (known.doubt, desk.books.blotter.reserved(BROKER, AAPL).buy_qty) == (Doubt.ESCALATED, D(10))
            with pytest.raises(RiskRefused, match="IN_DOUBT"):
                await desk.submit(wish("b", "10"))
            blind.on = False
            assert (await settled(desk, order)).cum_qty == D(10)
            assert desk.books.ledger.position(BROKER, AAPL) == D(10)

    on_bench(tmp_path, story)


def test_money_that_moved_beside_an_order_proves_no_absence(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            account = desk.brokers[BROKER].account
            (order,) = await _lost(bench, desk)
            _beside_moving_money(desk)
            await asyncio.sleep(900)
            stays = desk.books.blotter.get(order.cl_ord_id)
            desk.brokers[BROKER].account = account  # type: ignore[method-assign]

            assert stays is not None
            assert stays.doubt is Doubt.ESCALATED
            assert await desk.wait(lambda: desk.books.blotter.get(order.cl_ord_id).doubt is Doubt.PROVEN_ABSENT, 60 * SECOND_NS)  # type: ignore[union-attr]

    on_bench(tmp_path, story)


def _beside_moving_money(desk: Desk) -> None:
    """Every look at the account finds money that no order explains, so nothing is ever proven absent."""
    account = desk.brokers[BROKER].account

    async def poorer() -> AccountSnapshot:
        snapshot = await account()
        return msgspec.structs.replace(snapshot, cash=snapshot.cash - 30)

    desk.brokers[BROKER].account = poorer  # type: ignore[method-assign]


def test_a_persons_word_closes_what_stays_in_doubt_and_a_late_order_halts(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            (order,) = await _lost(bench, desk)
            _beside_moving_money(desk)
            with pytest.raises(BadRequest, match="still being asked about"):
                await desk.resolve(order.cl_ord_id, by="ann")
            await asyncio.sleep(900)
            closed = await desk.resolve(order.cl_ord_id, by="ann")

            assert (closed.ord_status, closed.doubt, "ann has looked" in closed.text) == (OrdStatus.REJECTED, Doubt.PROVEN_ABSENT, True)
            assert desk.books.blotter.total.notional == 0
            assert replay(entry.record for entry in desk.journal.read()).blotter.get(order.cl_ord_id) == closed
            with pytest.raises(BadRequest, match="not in doubt: rejected"):
                await desk.resolve(order.cl_ord_id, by="ann")
            desk.on_report(_accepted(order))
            assert desk.books.halts[f"{BROKER}:{AAPL}"].rule == "REAPPEARED"

    on_bench(tmp_path, story)


def test_a_desk_that_lived_too_briefly_to_escalate_takes_a_persons_word_too(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            (order,) = await _lost(bench, desk)
        await asyncio.sleep(300)
        async with bench.desk() as desk:
            assert desk.books.blotter.get(order.cl_ord_id).doubt is Doubt.IN_DOUBT  # type: ignore[union-attr]
            assert (await desk.resolve(order.cl_ord_id, by="ann")).doubt is Doubt.PROVEN_ABSENT

    on_bench(tmp_path, story)


def test_the_brokers_word_counts_for_more_than_a_persons(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        desk, recovery = bench.build()
        blind = Blind(desk.brokers[BROKER])
        async with bench.running(desk, recovery):
            await mid(desk)
            blind.on = True
            order = await desk.submit(wish("a", "10"))
            await asyncio.sleep(900)
            bench.network.faults = Faults(refused=1.0)
            blind.on = False
            with pytest.raises(Unavailable):
                await desk.resolve(order.cl_ord_id, by="ann")
            bench.network.faults = Faults(enabled=False)
            there = await desk.resolve(order.cl_ord_id, by="ann")

            assert (there.order_id is not None, there.doubt, there.ord_status) == (True, Doubt.NONE, OrdStatus.FILLED)

    on_bench(tmp_path, story)


def test_what_the_stream_tells_while_the_broker_is_asked_once_more_stands(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            (order,) = await _lost(bench, desk)
            _beside_moving_money(desk)
            await asyncio.sleep(900)

            async def told(_: str) -> None:
                desk.on_report(_accepted(order))

            desk.brokers[BROKER].order_status = told  # type: ignore[method-assign,assignment]
            with pytest.raises(BadRequest, match="not in doubt: new"):
                await desk.resolve(order.cl_ord_id, by="ann")

    on_bench(tmp_path, story)


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_of_two_lost_orders_neither_keeps_the_other_in_doubt(tmp_path: Path, side: Side) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("held", "20")))
            price = await mid(desk)
            below, beyond = ((price * factor).quantize(D("0.01")) for factor in (D("0.98"), D("0.98") if side is Side.BUY else D("1.02")))
            lost = await _lost(bench, desk, wish("a", "10", price=below), wish("b", "5", side, price=beyond))
            await asyncio.sleep(900)

            assert [desk.books.blotter.get(order.cl_ord_id).doubt for order in lost] == [Doubt.PROVEN_ABSENT] * 2  # type: ignore[union-attr]

    on_bench(tmp_path, story)


def test_beside_a_fill_that_is_not_booked_nothing_is_proven_absent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            below = (await mid(desk) * D("0.98")).quantize(D("0.01"))
            resting = await desk.submit(wish("rests", "8", price=below))
            (lost,) = await _lost(bench, desk)
            (shown,) = await desk.brokers[BROKER].open_orders()
            desk.on_report(msgspec.structs.replace(shown, ord_status=OrdStatus.PARTIALLY_FILLED, cum_qty=D(3)))
            await asyncio.sleep(900)

            assert desk.books.blotter.get(resting.cl_ord_id).unbooked_qty == D(3)  # type: ignore[union-attr]
            assert desk.books.blotter.get(lost.cl_ord_id).doubt is Doubt.ESCALATED  # type: ignore[union-attr]

    on_bench(tmp_path, story)


def test_what_the_stream_tells_while_absence_is_looked_for_stands(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            connector, told = desk.brokers[BROKER], []
            account = connector.account
            (order,) = await _lost(bench, desk)

            async def late() -> AccountSnapshot:
                snapshot = await account()
                if (asyncio.current_task().get_name() or "").startswith("resolve") and not told:  # type: ignore[union-attr]
                    told.append(desk.on_report(_accepted(order)))
                return snapshot

            connector.account = late  # type: ignore[method-assign]
            assert await desk.wait(lambda: bool(told), 600 * SECOND_NS)
            known = desk.books.blotter.get(order.cl_ord_id)

            assert known is not None
            assert (known.ord_status, known.doubt, known.order_id) == (OrdStatus.NEW, Doubt.NONE, "late")

    on_bench(tmp_path, story)


async def _lost(bench: Bench, desk: Desk, *wishes: NewOrder) -> list[Order]:
    """Orders that never arrive; nobody answers."""
    await mid(desk)
    bench.network.faults = Faults(lost_request=1.0)
    sent = [asyncio.create_task(desk.submit(one)) for one in wishes or (wish("a", "10"),)]
    await asyncio.sleep(5)
    bench.network.faults = Faults(enabled=False)
    orders = [await task for task in sent]
    assert {order.doubt for order in orders} == {Doubt.IN_DOUBT}
    return orders


def _accepted(order: Order) -> ExecutionReport:
    return ExecutionReport(
        broker=order.broker,
        cl_ord_id=order.cl_ord_id,
        order_id=OrderID("late"),
        exec_id=None,
        exec_type=ExecType.NEW,
        ord_status=OrdStatus.NEW,
        instrument=order.instrument,
        side=order.side,
        ord_type=order.ord_type,
        time_in_force=order.time_in_force,
        order_qty=order.order_qty,
        cum_qty=D(0),
        transact_ns=order.sent_ns,
        recv_ns=order.sent_ns,
    )


GONE = BrokerName("kraken")


@pytest.mark.parametrize("doubted", [True, False])
def test_an_order_in_doubt_at_a_broker_that_is_gone_waits_for_a_person(tmp_path: Path, doubted: bool) -> None:
    async def story(bench: Bench) -> None:
        stray = await _left_behind(bench, BTC)
        if doubted:
            await _note(bench, Doubted(cl_ord_id=stray, text="no answer", now_ns=1))
        async with bench.desk():
            pass
        async with bench.desk() as desk:
            order, told = desk.books.blotter.get(stray), [alert.text for alert in desk.books.alerts.values() if alert.severity == "critical"]
            await mid(desk)
            bought = await settled(desk, await desk.submit(wish("b", "1")))

            assert order is not None
            assert (order.doubt, desk.books.blotter.reserved(GONE, BTC).buy_qty) == (Doubt.ESCALATED, D("0.01"))
            look = f"put its key back, or look for it on the broker's own page; is it not there, `trading resolve {stray}`"
            assert told == [f"{stray} is in doubt; kraken is not on this desk: {look}"]
            assert bought.ord_status is OrdStatus.FILLED
            with pytest.raises(Unavailable, match="kraken is not on this desk"):
                await desk.cancel(stray)
            assert ["kraken is not on this desk" in one.text for one in await desk.cancel_all()] == [True]
            assert stray in [row["cl_ord_id"] for row in await VERBS["orders"](desk, {})]  # type: ignore[attr-defined]
            closed = await desk.resolve(stray, by="ann")
            assert (closed.doubt, desk.books.blotter.reserved(GONE, BTC).buy_qty) == (Doubt.PROVEN_ABSENT, D(0))

    on_bench(tmp_path, story)


def test_what_is_held_at_a_broker_that_is_gone_is_named(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        stray = await _left_behind(bench, BTC)
        async with bench.desk() as desk:
            order = desk.books.blotter.get(stray)
        assert order is not None
        fill = {"exec_type": ExecType.TRADE, "ord_status": OrdStatus.FILLED, "cum_qty": D("0.01"), "last_qty": D("0.01"), "last_px": D(60_000)}
        report = msgspec.structs.replace(_accepted(order), exec_id=ExecID("e"), **fill)
        await _note(bench, Reported(report=report, account="K1", currency="USD", multiplier=D(1), asset_class=AssetClass.CRYPTO))
        async with bench.desk() as desk:
            await mid(desk)
            with pytest.raises(RiskRefused, match=r"MAX_LEVERAGE: BTC/USD at kraken has none; .* kraken is not on this desk: put its key back"):
                await desk.submit(wish("b", "1"))

    on_bench(tmp_path, story)


async def _left_behind(bench: Bench, instrument: InstrumentID) -> ClOrdID:
    """The journal of a desk that also had another broker, and ended when an order had gone there."""
    async with bench.desk() as desk:
        await mid(desk, instrument)
        sent = await desk.submit(wish("a", "0.01", instrument=instrument, price=await mid(desk, instrument)))
        await desk.cancel(sent.cl_ord_id)
        intent = next(entry.record for entry in desk.journal.read() if isinstance(entry.record, Intent))
    stray, request = ClOrdID("q1aaaaaaaaaaaaaaaa"), msgspec.structs.replace(intent.approved.request, broker=GONE)
    await _note(bench, Intent(approved=msgspec.structs.replace(intent.approved, cl_ord_id=stray, account="K1", request=request)))
    return stray


async def _note(bench: Bench, record: Record) -> None:
    journal = Journal(bench.folder / "journal.sqlite")
    await journal.append(record, durable=True)
    await journal.aclose()


def test_a_clock_that_jumps_proves_no_absence(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await mid(desk)
            bench.network.faults = Faults(lost_request=1.0)
            task = asyncio.create_task(desk.submit(wish("a", "10")))
            await asyncio.sleep(5)
            bench.network.faults = Faults(enabled=False)
            order = await task
            desk.clock = SteppedClock(bench.clock, 3600 * SECOND_NS)

            assert not await desk.wait(lambda: desk.books.blotter.get(order.cl_ord_id).doubt is Doubt.PROVEN_ABSENT, 200 * SECOND_NS)  # type: ignore[union-attr]

    on_bench(tmp_path, story)


def test_a_clock_that_jumps_hides_no_fill(tmp_path: Path) -> None:
    """The watermark is in the broker's time: a fill that no stream told of is found behind a clock that runs ahead."""

    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            desk.clock = SteppedClock(bench.clock, 3600 * SECOND_NS)
            await desk.clock.sleep_ns(60 * SECOND_NS)
            desk.clock = bench.clock
            bench.network.faults = Faults(lost_frame=1.0)
            done = await settled(desk, await desk.submit(wish("a", "10")))

            assert done.cum_qty == D(10)

    on_bench(tmp_path, story)


def test_a_clock_that_steps_back_does_not_hold_a_fee_up(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "0.05", instrument=BTC)))
            await asyncio.sleep(30)
            await settled(desk, await desk.submit(wish("b", "0.04", Side.SELL, instrument=BTC)))
            await asyncio.sleep(16)  # seen once, and not for long enough yet
            desk.clock = SteppedClock(bench.clock, -3600 * SECOND_NS)

            assert await desk.wait(lambda: desk.books.ledger.cash(BROKER, "USD") == bench.twin.exchange.cash, 60 * SECOND_NS)

    on_bench(tmp_path, story)


def test_what_others_do_is_adopted_and_counts(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async def by_hand(client_id: str, qty: str, **more: str) -> None:
            body = {"symbol": "AAPL", "qty": qty, "side": "buy", "type": "market", "time_in_force": "day", "client_order_id": client_id} | more
            headers = {"APCA-API-KEY-ID": bench.twin.key, "APCA-API-SECRET-KEY": bench.twin.secret}
            request = Request(method="POST", url="http://twin/v2/orders", headers=headers, body=msgspec.json.encode(body))
            await bench.network.http().send(request, within_ns=SECOND_NS)

        await by_hand("mine-1", "5")
        await asyncio.sleep(2)
        async with bench.desk() as desk:
            assert desk.books.ledger.position(BROKER, AAPL) == D(5)  # there before us
            await by_hand("mine-2", "3")
            assert await desk.wait(lambda: desk.books.ledger.position(BROKER, AAPL) == D(8), 60 * SECOND_NS)
            await by_hand("mine-3", "1", type="limit", limit_price="10")
            assert await desk.wait(lambda: any(order.cl_ord_id == "mine-3" for order in desk.books.blotter.working()), 60 * SECOND_NS)
            assert all(order.external for order in desk.books.blotter)
            await desk.cancel_all()
            assert len(desk.books.blotter.working()) == 1
            await by_hand("q1aaaaaaaaaaaaaaaa", "1", type="limit", limit_price="10")
            assert await desk.wait(lambda: BROKER in desk.books.halts, 60 * SECOND_NS)
            assert desk.books.halts[BROKER].rule == "STRANGER"
            residue = await desk.flatten()

            assert residue.positions == ()

    on_bench(tmp_path, story)


def test_a_fee_in_units_is_booked_and_everything_can_be_sold(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "0.05", instrument=BTC)))
            assert await desk.wait(lambda: desk.books.ledger.position(BROKER, BTC) < D("0.05"), 20 * SECOND_NS)
            assert desk.books.ledger.position(BROKER, BTC) == bench.twin.exchange.position("BTC/USD")
            await desk.flatten()
            assert bench.twin.exchange.position("BTC/USD") < D("0.0001")

    on_bench(tmp_path, story)


def test_what_comes_beside_a_halt_is_told_and_kept(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            order = await desk.submit(wish("a", "1", price=(await mid(desk) * D("0.98")).quantize(D("0.01"))))
            (shown,) = await desk.brokers[BROKER].open_orders()
            await desk.halt(BROKER, Level.REDUCE_ONLY, "a quiet hour")
            for _ in range(2):
                desk.on_report(msgspec.structs.replace(shown, cl_ord_id=ClOrdID("q1aaaaaaaaaaaaaaaa"), order_id=OrderID("stranger")))
                desk.on_report(msgspec.structs.replace(shown, order_id=OrderID("second")))
            halt = desk.books.halts[BROKER]

            told = [alert.text.partition(":")[0] for alert in desk.books.alerts.values() if alert.severity == "critical"]
            assert told == ["STRANGER", "KNIGHT"]
            assert (halt.level, halt.rules) == (Level.HALT, ("KNIGHT", "STRANGER", "OWNER"))
            assert [part in halt.text for part in (f"{order.cl_ord_id} is two orders", "q1aaaaaaaaaaaaaaaa", "OWNER: a quiet hour")] == [True] * 3
            assert (await desk.halt(BROKER, Level.KILL, "enough")).rules == ("OWNER", "KNIGHT", "STRANGER")
            assert "a quiet hour" not in desk.books.halts[BROKER].text  # each rule's last words, no more
        async with bench.desk() as desk:
            kept = desk.books.halts[BROKER]
            await desk.resume(BROKER, "owner")

            assert (kept.level, kept.rules, kept.text.partition(";")[0]) == (Level.KILL, ("OWNER", "KNIGHT", "STRANGER"), "enough")
            assert desk.books.halts == {}

    on_bench(tmp_path, story)


def test_a_rule_halts_beside_an_owner_who_did_first(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            desk.set_halt(Halt(scope=BROKER, level=Level.HALT, rule="KNIGHT", text="two orders", set_ns=1))
            owners = await desk.halt(BROKER, Level.REDUCE_ONLY, "a quiet hour")

            assert (owners.level, owners.rules, owners.text) == (Level.HALT, ("OWNER", "KNIGHT"), "a quiet hour; KNIGHT: two orders")
            assert desk.books.halts == {BROKER: owners}

    on_bench(tmp_path, story)


@pytest.mark.parametrize("error", [KeyError("a bug"), JournalError("too many records wait for the disk")])
def test_what_ended_takes_no_new_risk_until_the_desk_is_started_again(tmp_path: Path, error: Exception) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            held, open_orders = await settled(desk, await desk.submit(wish("a", "2"))), desk.brokers[BROKER].open_orders

            async def breaks() -> None:
                raise error

            desk.brokers[BROKER].open_orders = breaks  # type: ignore[assignment,method-assign]
            assert await desk.wait(lambda: bool(desk.ended), 60 * SECOND_NS)
            desk.brokers[BROKER].open_orders = open_orders  # type: ignore[method-assign]
            with pytest.raises(BadRequest, match=r"a part of the desk has ended \(watch alpaca\): restart it, then resume"):
                await desk.resume("*", "owner")
            desk.books.halts.clear()
            desk.on_gap(BROKER)
            await asyncio.sleep(60)

            assert (held.cum_qty, desk.ready[BROKER]) == (D(2), False)
            with pytest.raises(RiskRefused, match="READY: watch alpaca has ended"):
                await desk.submit(wish("b", "1"))
            assert (await settled(desk, await desk.submit(wish("c", "1", Side.SELL)))).ord_status is OrdStatus.FILLED
        async with bench.desk() as desk:
            await desk.resume("*", "owner")
            await mid(desk)

            assert (await desk.submit(wish("d", "1"))).order_id is not None

    on_bench(tmp_path, story)


def test_a_part_that_ended_halts_and_the_others_do_not_make_it_ready(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await mid(desk)
            on_report, told = desk.on_report, []

            def breaks(report: ExecutionReport, **how: Any) -> Order:
                if not told and (asyncio.current_task().get_name()).startswith("events"):  # type: ignore[union-attr]
                    told.append(report)
                    raise KeyError("a bug")
                return on_report(report, **how)

            desk.on_report = breaks  # type: ignore[method-assign]
            order = await desk.submit(wish("a", "1"))
            assert await desk.wait(lambda: bool(desk.ended), 60 * SECOND_NS)
            done = await settled(desk, order)  # the watch goes on, and finds the fill
            await asyncio.sleep(60)

            assert (done.cum_qty, desk.ready[BROKER], desk.books.halts["all"].rule) == (D(1), False, "WATCH")
            assert desk.books.halts["all"].text == "events alpaca stopped: KeyError('a bug'); restart the desk, then resume"

    on_bench(tmp_path, story)


def test_a_halt_set_while_a_resume_is_written_stays(tmp_path: Path) -> None:
    async def story(bench: Bench) -> tuple[set[str], set[str]]:
        async with bench.desk() as desk:
            await desk.halt("all", Level.HALT, "a test")
            resuming = asyncio.create_task(desk.resume("*", by="owner"))
            await asyncio.sleep(0)
            desk.set_halt(Halt(scope="alpaca", level=Level.HALT, rule="TEST", text="meanwhile", set_ns=1))
            await resuming
            live = set(desk.books.halts)
            await desk.journal.flush()
            return live, set(replay(entry.record for entry in desk.journal.read()).halts)

    assert on_bench(tmp_path, story) == ({"alpaca"}, {"alpaca"})


def test_a_fee_that_was_rounded_up_is_still_a_fee(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            order = wish("a", "1", instrument=BTC, order_qty=None, cash_order_qty=D("15361.15"))
            done = await settled(desk, await desk.submit(order))
            fee = done.cum_qty - bench.twin.exchange.position("BTC/USD")

            assert fee > done.cum_qty * D("0.0025")
            assert await desk.wait(lambda: desk.books.ledger.position(BROKER, BTC) == bench.twin.exchange.position("BTC/USD"), 30 * SECOND_NS)

    on_bench(tmp_path, story)


def test_a_refusal_of_the_brokers_frees_the_reservation_and_five_in_a_minute_halt(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        limits = Limits(validate_orders=False, max_position_pct=D(1), crypto_max_position_pct=D(1))
        async with bench.desk(limits) as desk:
            await mid(desk, BTC)
            for number in range(5):
                order = await desk.submit(wish(f"k{number}", "0.00000001", instrument=BTC, repeat=True))

                assert order.ord_status is OrdStatus.REJECTED
                assert order.text
                assert desk.books.blotter.total.orders == 0
            assert desk.books.halts[BROKER].rule == "CIRCUIT_BREAKER"

    on_bench(tmp_path, story)


def test_a_disk_that_refuses_stops_the_desk_before_a_byte_leaves(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await mid(desk)
            await desk.journal.flush()
            desk.journal.free_min = 0  # else the gate stops it
            desk.journal._db.execute("PRAGMA max_page_count = 1")
            for _ in range(3):
                desk.alert("info", "x" * 9000)
            await desk.journal.flush()
            with pytest.raises(JournalError):
                await desk.submit(wish("a", "10"))
            assert not bench.twin.trading.posts

    on_bench(tmp_path, story)


def test_after_a_standstill_everything_is_looked_at_before_new_risk_is_taken(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await mid(desk)
            bench.clock._start_ns += 40 * SECOND_NS  # the machine was suspended: its monotonic clock stood still, the wall's did not
            with pytest.raises(RiskRefused, match="READY"):
                await desk.submit(wish("a", "1"))
            await desk.clock.sleep_ns(PULSE_NS)
            assert desk.standstills == 1
            assert await desk.wait(lambda: all(desk.ready.values()), 5 * SECOND_NS)
            await desk.submit(wish("b", "1"))

    on_bench(tmp_path, story)


def test_with_little_room_for_the_journal_only_entries_stop(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            price = (await mid(desk)) / 2
            held = await settled(desk, await desk.submit(wish("a", "10")))
            resting = await desk.submit(wish("b", "1", price=price.quantize(Decimal("0.01"))))
            desk.journal.free_min = 1 << 60
            with pytest.raises(RiskRefused, match="DISK_SPACE"):
                await desk.submit(wish("c", "1", repeat=True))
            await desk.cancel(resting.cl_ord_id)
            await settled(desk, await desk.submit(wish("d", "4", Side.SELL)))
            await desk.halt("all", Level.KILL, "stop")
            residue = await desk.flatten()

            assert held.ord_status is OrdStatus.FILLED
            assert residue.positions == residue.orders == ()

    on_bench(tmp_path, story)


def test_a_paper_key_never_opens_a_live_desk(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(AuthFailed, match="paper account"):
            async with bench.desk(environment="live"):
                pass
        with pytest.raises(AuthFailed) as caught:
            await bench.connector(credentials={"key": Secret(bench.twin.key), "secret": Secret("wrong")}).connect()
        assert caught.value.exit_code == 4
        assert "ALPACA_API_KEY" in str(caught.value)

    on_bench(tmp_path, story)


def test_a_live_desk_sends_only_while_armed(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(environment="live") as desk:
            with pytest.raises(RiskRefused) as caught:
                await desk.submit(wish("a", "1"))
            assert caught.value.rule == "ARM"
            number, now_ns = desk.accounts[BROKER].account, desk.clock.now_ns()
            asked = {"account": number, "max_notional": "500", "until_ns": now_ns + 3600 * SECOND_NS, "by": "phone"}
            for wrong in ({"account": "123"}, {"until_ns": now_ns}, {"until_ns": now_ns + 25 * 3600 * SECOND_NS}, {"max_notional": "0"}):
                with pytest.raises(BadRequest):
                    await VERBS["arm"](desk, asked | wrong)
            assert desk.books.armed is None
            await VERBS["arm"](desk, asked)
            assert desk.books.armed is not None
            assert desk.books.armed.by == "phone"
            assert (await settled(desk, await desk.submit(wish("b", "1")))).ord_status is OrdStatus.FILLED
            with pytest.raises(RiskRefused, match="500"):
                await desk.submit(wish("c", "2"))

    on_bench(tmp_path, story, environment="live")


def test_the_verbs_answer_in_plain_values(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:

            async def ask(verb: str, **args: object) -> object:
                said = await answer(desk, Question(verb, args))
                msgspec.json.encode(said)
                return said.result if said.error is None else (said.exit_code, said.error)

            order = await ask("submit", instrument="aapl", side="buy", order_qty="3", intent="v1")
            assert order["ord_status"] == "filled"  # type: ignore[index]
            assert len(await ask("fills")) >= 1  # type: ignore[arg-type]
            assert (await ask("positions"))[0]["qty"] == "3"  # type: ignore[index]
            assert (await ask("orders")) == []
            assert len(await ask("orders", all=True)) == 1  # type: ignore[arg-type]
            assert (await ask("quote", instrument="AAPL"))["instrument"] == "AAPL"  # type: ignore[index]
            assert len(await ask("bars", instrument="AAPL", period_ns=60 * SECOND_NS, count=5)) <= 6  # type: ignore[arg-type]
            assert (await ask("account"))["accounts"][0]["currency"] == "USD"  # type: ignore[index]
            assert (await ask("status"))["working"] == 0  # type: ignore[index]
            resting = await ask("submit", instrument="AAPL", side="buy", order_qty="3", price="150", intent="v2")
            assert resting["ord_status"] == "new"  # type: ignore[index]
            changed = await ask("replace", cl_ord_id=resting["cl_ord_id"], price="151", intent="v3")  # type: ignore[index]
            await asyncio.sleep(1)
            assert (await ask("cancel", cl_ord_id=changed["cl_ord_id"]))[0]["ord_status"] == "canceled"  # type: ignore[index]
            assert (await ask("cancel", all=True)) == []
            assert (await ask("halt"))["level"] == "halt"  # type: ignore[index]
            assert (await ask("resume"))["halts"] == []  # type: ignore[index]
            assert (await ask("flatten"))["positions"] == []  # type: ignore[index]
            for verb, args, code in (
                ("nothing", {}, 2),
                ("submit", {"instrument": "AAPL", "side": "hold", "order_qty": "1", "intent": "x"}, 2),
                ("submit", {"instrument": "NOPE", "side": "buy", "order_qty": "1", "intent": "x"}, 2),
                ("submit", {"instrument": "AAPL", "side": "buy", "order_qty": "NaN", "intent": "x"}, 2),
                ("submit", {"instrument": "BTCUSD", "side": "buy", "order_qty": "1", "intent": "x"}, 2),
                ("submit", {"instrument": "AAPL", "side": "buy", "order_qty": "9999", "intent": "x"}, 1),
                ("quote", {"instrument": "AAPL", "broker": "kraken"}, 2),
                ("halt", {"scope": "moon"}, 2),
                ("arm", {"max_notional": "5", "until_ns": "1"}, 2),
            ):
                assert (await ask(verb, **args))[0] == code  # type: ignore[index]

    on_bench(tmp_path, story)


def test_every_start_and_every_intent_is_in_the_journal(tmp_path: Path) -> None:
    async def story(bench: Bench) -> list[int]:
        for number in range(2):
            async with bench.desk() as desk:
                await desk.submit(wish(f"k{number}", f"{number + 1}"))
        async with bench.desk() as desk:
            await desk.journal.flush()
            records = [entry.record for entry in desk.journal.read()]
        assert sum(isinstance(record, Intent) for record in records) == 2
        return [record.epoch for record in records if isinstance(record, Started)]

    assert on_bench(tmp_path, story) == [1, 2, 3]


def test_an_exit_needs_no_quote_and_an_entry_says_what_is_missing(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "10")))
            plain = bench.twin.data.latest
            bench.twin.data.latest = lambda *_, **__: Response(status=500, headers={}, body=b"")  # type: ignore[method-assign]
            await asyncio.sleep(60)
            with pytest.raises(Unavailable, match="500"):
                await desk.submit(wish("b", "1"))
            residue = await desk.flatten()

            assert residue.positions == ()
            bench.twin.data.latest = plain  # type: ignore[method-assign]

    on_bench(tmp_path, story)


def test_quotes_reach_every_reader_and_a_feed_that_cannot_be_had_says_so(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:

            async def read(count: int, *names: InstrumentID) -> list[object]:
                events: list[object] = []
                async for event in desk.hub.stream(BROKER, names, Kinds(trades=True, bars=True)):
                    events.append(event)
                    if len(events) >= count:
                        break
                return events

            one, two = await asyncio.gather(read(30, BTC, AAPL), read(10, BTC, AAPL))

            assert {type(event) for event in one} >= {Quote, StreamState}
            assert len(two) == 10
            assert desk.hub.latest(BROKER, BTC) is not None

            bench.twin.data_streams._secret = "changed"
            await desk.hub.aclose()
            refused = await read(1, BTC)

            assert any(isinstance(event, StreamState) and event.link in (Link.REFUSED, Link.GAP) for event in refused)

    on_bench(tmp_path, story)


def test_a_refused_order_stream_halts_and_is_not_tried_for_ever(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            bench.twin.orders_stream._secret = "changed"  # the broker revokes the key for streams
            bench.network.drop_all()
            assert await desk.wait(lambda: BROKER in desk.books.halts, 120 * SECOND_NS)
            assert desk.books.halts[BROKER].rule == "CREDENTIALS"
            assert not desk.ready[BROKER]

    on_bench(tmp_path, story)


def test_market_data_comes_whole_over_all_pages(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        await asyncio.sleep(120)
        end = bench.clock.now_ns()
        for name in (AAPL, BTC):
            quotes = await connector.quotes(name, end - 90 * SECOND_NS, end)
            trades = await connector.trades(name, end - 90 * SECOND_NS, end)
            bars = await connector.bars(name, 60 * SECOND_NS, end - 600 * SECOND_NS, end)

            assert len(quotes) > 100
            assert [quote.transact_ns for quote in quotes] == sorted({quote.transact_ns for quote in quotes})
            assert all(end - 90 * SECOND_NS <= trade.transact_ns <= end for trade in trades)
            assert 8 <= len(bars) <= 11
            assert (await connector.trade(name)).transact_ns <= end
            assert (await connector.quote(name)).instrument == name
            for page in (1, 3):
                monkey = pytest.MonkeyPatch()
                monkey.setattr("trading_system.brokers.alpaca.connector.DATA_PAGE_MAX", len(quotes) // page)
                assert [quote.transact_ns for quote in await connector.quotes(name, end - 90 * SECOND_NS, end)] == [q.transact_ns for q in quotes]
                monkey.undo()
        with pytest.raises(BadRequest, match="1Min"):
            await connector.bars(AAPL, 7, 0, end)
        with pytest.raises(BadRequest):
            await connector.trade(InstrumentID("NOPE"))

    on_bench(tmp_path, story)


def test_a_clock_that_is_off_is_told_once(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            now_ns = bench.clock.now_ns()
            desk.brokers[BROKER]._offset.learn(now_ns + 2 * SECOND_NS, now_ns, now_ns)  # type: ignore[attr-defined]
            await asyncio.sleep(60)
            await desk.journal.flush()
            alerts = [entry.record.text for entry in desk.journal.read() if isinstance(entry.record, Alert)]

            assert sum("clock is at least 2 s off" in text for text in alerts) == 1

    on_bench(tmp_path, story)


def test_a_slow_reader_loses_the_oldest_and_is_told(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            reader = desk.hub.stream(BROKER, (BTC,), Kinds())
            first = asyncio.create_task(anext(reader))
            await asyncio.sleep(0)
            now_ns = bench.clock.now_ns()
            for number in range(QUEUE_MAX + 5):
                desk.hub.take(BROKER, Trade(instrument=BTC, price=D(1), qty=D(1), trade_id=str(number), transact_ns=now_ns, recv_ns=now_ns))
            told = await first
            oldest = await anext(reader)
            await reader.aclose()  # type: ignore[attr-defined]

            assert isinstance(told, StreamState)
            assert (told.link, told.text.split()[0]) == (Link.GAP, "5")
            assert isinstance(oldest, Trade)
            assert oldest.trade_id == "5"

    on_bench(tmp_path, story)
