"""What is Kraken's own about its connector: keys that may too much, nonces, deadlines, amends in doubt, money that moves by itself, pages, books."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as changed

from tests.conformance.between import Between, conform
from tests.conformance.test_orders import WIDE, approved_of
from tests.desks import Bench, on_bench, settled
from tests.subjects import KRAKEN
from trading_system.app.desk import Desk
from trading_system.brokers.amends import Amend, Amends
from trading_system.brokers.kraken import connect, connector
from trading_system.brokers.kraken.twin import PERMISSIONS
from trading_system.domain.account import AccountSnapshot, FlowKind
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, NotSent, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import Doubt, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, IntentID, OrderID
from trading_system.domain.market import BookSnapshot
from trading_system.domain.order import Approved, NewOrder, Order, Replace
from trading_system.domain.ports import CancelsWhenSilent, DepthData, RecallsChanges, StreamState, ValidatesOrders
from trading_system.domain.report import ExecutionReport
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults
from trading_system.sim.wire import Wire

D = Decimal
ETH = InstrumentID("ETH/USD")
MINUTE_NS = 60 * SECOND_NS
DAY_S = 86_400


def told(tmp_path: Path, story: Callable[[Bench], Awaitable[None]], **twin: Any) -> None:
    on_bench(tmp_path, story, subject=KRAKEN, **twin)


def wish(intent: str, qty: str = "0.1", side: Side = Side.BUY, **changes: Any) -> NewOrder:
    fields = {"broker": KRAKEN.broker, "instrument": ETH, "side": side, "order_qty": D(qty), "intent": IntentID(intent)}
    return NewOrder(**(fields | {"time_in_force": TimeInForce.GTC} | changes))


def by_hand(bench: Bench, form: dict[str, str]) -> str:
    """An order that somebody places on Kraken's page: it has no client id."""
    bench.twin.advance(bench.clock.now_ns())
    added = bench.twin.trading.add({"type": "buy", "pair": "ETHUSD", **form}, bench.clock.now_ns())
    bench.network.carry(bench.twin)
    return added.txid[0]


async def away(connected: Any, fraction: str) -> Decimal:
    """A price so far from the bid, on the grid."""
    quote = await connected.quote(ETH)
    return (quote.bid_px * D(fraction)).quantize(D("0.01"))


# -- keys ------------------------------------------------------------------------------------------------------------------------------------------


def test_a_key_that_may_withdraw_is_refused(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(AuthFailed, match="withdraw"):
            await bench.connector().connect()

    told(tmp_path, story, permissions=(*PERMISSIONS, "withdraw-funds"))


def test_a_key_that_may_not_look_says_what_it_needs(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        with pytest.raises(AuthFailed, match="query closed orders and trades"):
            await connected.fills(0)

    told(tmp_path, story, permissions=tuple(name for name in PERMISSIONS if name != "query-closed-trades"))


def test_prices_need_no_key_and_no_login(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        quote, (instrument,) = await connected.quote(ETH), await connected.instruments((ETH,))

        assert quote.bid_px < quote.ask_px
        assert instrument.currency == "USD"
        assert bench.twin.nonce == 0

    told(tmp_path, story)


# -- nonces, turns, deadlines ----------------------------------------------------------------------------------------------------------------------


def test_calls_that_begin_together_arrive_one_after_the_other(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        await asyncio.gather(*(connected.open_orders() for _ in range(12)))

        assert bench.twin.nonce == 13  # the one of connect among them: none was refused and asked again

    told(tmp_path, story)


def test_a_question_that_hangs_holds_back_no_order_and_no_cancel(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = await away(desk.brokers[KRAKEN.broker], "0.98")
            approved = approved_of(desk, await desk.submit(wish("a", ord_type=OrdType.LIMIT, price=price)))
        connected = bench.connector()
        await connected.connect()
        bench.network.faults = Faults(lost_answer=1.0)
        hanging = asyncio.create_task(connected.open_orders())
        await asyncio.sleep(1)
        bench.network.faults = Faults(enabled=False)
        started_ns = bench.clock.monotonic_ns()
        sent = await connected.submit(changed(approved, cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb")))
        await connected._cancel("CancelOrder", {"txid": sent.order_id})

        assert bench.clock.monotonic_ns() - started_ns < SECOND_NS
        assert bench.twin.trading.placed[sent.order_id].status == "canceled"
        await hanging

    told(tmp_path, story)


def test_a_cancel_that_was_overtaken_is_asked_for_again_and_an_order_is_not(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = await away(desk.brokers[KRAKEN.broker], "0.98")
            sent = await desk.submit(wish("a", ord_type=OrdType.LIMIT, price=price))
            approved = approved_of(desk, sent)
            bench.twin.nonce += 2
            with pytest.raises(Rejected, match="Invalid nonce"):
                await desk.brokers[KRAKEN.broker].submit(changed(approved, cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb")))
            assert (await settled(desk, await desk.cancel(sent.cl_ord_id))).ord_status is OrdStatus.CANCELED
            assert len(bench.twin.trading.placed) == 1

    told(tmp_path, story)


def test_two_programs_on_one_key_are_told_so(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.twin.nonce = 1 << 60
        with pytest.raises(Exception, match="Another program uses this key"):
            await bench.connector().connect()

    told(tmp_path, story)


def test_an_order_that_arrives_after_its_deadline_is_none(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            approved = approved_of(desk, await desk.submit(wish("a", ord_type=OrdType.MARKET)))
        late = changed(approved, cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb"))
        connected = bench.connector()
        await connected.connect()
        bench.network.faults = Faults(late_request=1.0)
        with pytest.raises(InDoubt):
            await connected.submit(late)
        bench.network.faults = Faults(enabled=False)
        await asyncio.sleep(KRAKEN.facts.late_accept_ns / SECOND_NS)

        assert await connected.order_status(late.cl_ord_id) is None
        assert not any(order.cl_ord_id == late.cl_ord_id for order in bench.twin.exchange.orders.values())

    told(tmp_path, story)


# -- the dead man's switch and checks without an order ---------------------------------------------------------------------------------------------


def test_the_switch_is_armed_for_so_long_and_disarmed(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        assert isinstance(connected, CancelsWhenSilent)
        await connected.arm_dead_man(90 * SECOND_NS)
        left_ns = bench.twin.trading.timer_ns - bench.clock.now_ns()
        assert 89 * SECOND_NS < left_ns <= 90 * SECOND_NS
        await connected.disarm_dead_man()

        assert bench.twin.trading.timer_ns == 0

    told(tmp_path, story)


def test_an_arming_that_waits_its_turn_does_not_leave_after_a_disarming(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        hanging = asyncio.create_task(connected.open_orders())
        await asyncio.sleep(0)
        arming = asyncio.create_task(connected.arm_dead_man(MINUTE_NS))
        await asyncio.sleep(0)
        await connected.disarm_dead_man()
        with pytest.raises(Unavailable, match="nothing was sent"):
            await arming
        await hanging

        assert bench.twin.trading.timer_ns == 0

    told(tmp_path, story)


def test_an_arming_that_arrives_after_a_disarming_arms_nothing(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        bench.network.faults = Faults(late_request=1.0)
        arming = asyncio.create_task(connected.arm_dead_man(MINUTE_NS))
        await asyncio.sleep(1)
        bench.network.faults = Faults(enabled=False)
        await connected.disarm_dead_man()
        with pytest.raises(InDoubt):
            await arming
        await asyncio.sleep(60)

        assert bench.twin.trading.timer_ns == 0

    told(tmp_path, story)


def test_an_arming_overtakes_no_order(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            approved = approved_of(desk, await desk.submit(wish("a", ord_type=OrdType.MARKET)))
        connected = bench.connector()
        await connected.connect()
        for letter in "bcdefgh":  # each is under way when the arming wants to leave
            order = connected.submit(changed(approved, cl_ord_id=ClOrdID(f"q1{letter * 16}")))
            report, _ = await asyncio.gather(order, connected.arm_dead_man(MINUTE_NS))
            assert report.order_id is not None
        assert bench.twin.trading.timer_ns

    told(tmp_path, story)


@pytest.mark.parametrize(("call", "answer", "error"), [("arm", "0", Rejected), ("disarm", "2026-11-24T17:01:00Z", InDoubt)])
def test_a_switch_that_says_something_else_than_was_asked_for_is_not_believed_to_obey(tmp_path: Path, call: str, answer: str, error: Any) -> None:
    async def story(bench: Bench, between: Between) -> None:
        connected = bench.connector()
        await connected.connect()
        said = re.compile(rb'"triggerTime":"[^"]*"')
        between.answers = lambda body: said.sub(b'"triggerTime":"' + answer.encode() + b'"', body)
        with pytest.raises(error):
            await (connected.arm_dead_man(MINUTE_NS) if call == "arm" else connected.disarm_dead_man())

    conform(tmp_path, KRAKEN, story)


async def checked(bench: Bench, **changes: Any) -> tuple[Any, Approved]:
    """A connector, and an order as the gate lets it through in a dry run."""
    async with bench.desk(WIDE) as desk:
        price = await away(desk.brokers[KRAKEN.broker], "0.98")
        approved = approved_of(desk, await desk.submit(wish("a", ord_type=OrdType.LIMIT, price=price)))
    connected = bench.connector()
    await connected.connect()
    return connected, changed(approved, **({"cl_ord_id": ClOrdID("q1bbbbbbbbbbbbbbbb"), "dry_run": True} | changes))


def test_an_order_is_checked_and_not_placed(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected, approved = await checked(bench)
        before = len(bench.twin.trading.placed)
        assert isinstance(connected, ValidatesOrders)
        assert await connected.validate(approved) == f"buy 0.10000000 ETHUSD @ limit {approved.request.price}"
        with pytest.raises(Rejected, match="EOrder:Insufficient funds"):
            await connected.validate(changed(approved, request=changed(approved.request, order_qty=D(1_000_000))))

        assert len(bench.twin.trading.placed) == before

    told(tmp_path, story)


@pytest.mark.parametrize("fault", ["lost_answer", "failed_after", "garbage", "torn_answer", "refused"])
def test_a_check_without_an_answer_is_no_doubt(tmp_path: Path, fault: str) -> None:
    async def story(bench: Bench) -> None:
        connected, approved = await checked(bench)
        bench.network.faults = Faults(**{fault: 1.0})
        with pytest.raises(Unavailable):
            await connected.validate(approved)

    told(tmp_path, story)


def test_a_check_that_placed_an_order_is_told_of(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        connected, approved = await checked(bench)
        between.answers = lambda body: body.replace(b'"result":{', b'"result":{"txid":["OAAAAA-AAAAA-AAAAAA"],')
        with pytest.raises(ProtocolError, match="OAAAAA-AAAAA-AAAAAA"):
            await connected.validate(approved)

    conform(tmp_path, KRAKEN, story)


def test_an_order_of_a_dry_run_cannot_be_submitted(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        _, approved = await checked(bench)
        before = len(between.asked)
        async with bench.desk(WIDE, dry_run=True) as desk:
            with pytest.raises(NotSent, match="dry run"):
                await desk.brokers[KRAKEN.broker].submit(approved)

        assert len(between.asked) == before

    conform(tmp_path, KRAKEN, story)


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def test_an_amount_of_money_buys_units_that_the_fills_count(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            request = changed(wish("cash", ord_type=OrdType.MARKET), order_qty=None, cash_order_qty=D(500))
            done = await settled(desk, await desk.submit(request))
            await asyncio.sleep(40)

            assert done.ord_status is OrdStatus.FILLED
            assert done.cum_qty == bench.twin.exchange.position("ETH/USD") == desk.books.ledger.position(KRAKEN.broker, ETH)
            assert desk.books.halts == {}

    told(tmp_path, story)


def test_an_amount_of_money_to_sell_is_refused_and_not_sent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            bought = await settled(desk, await desk.submit(wish("a", ord_type=OrdType.MARKET)))
            approved = approved_of(desk, bought)
            selling = changed(approved.request, side=Side.SELL, order_qty=None, cash_order_qty=D(10))
            with pytest.raises(Rejected, match="units"):
                await desk.brokers[KRAKEN.broker].submit(changed(approved, request=selling))

    told(tmp_path, story)


@pytest.mark.parametrize("restarts", [False, True])
def test_an_amend_whose_answer_is_lost_is_found_in_the_order(tmp_path: Path, restarts: bool) -> None:
    async def lost(bench: Bench, desk: Desk) -> tuple[Order, Order]:
        price, lower = await away(desk.brokers[KRAKEN.broker], "0.98"), await away(desk.brokers[KRAKEN.broker], "0.97")
        first = await desk.submit(wish("a", ord_type=OrdType.LIMIT, price=price))
        await desk.wait(lambda: known(desk, first).ord_status is OrdStatus.NEW, 5 * SECOND_NS)
        bench.network.faults = Faults(lost_answer=1.0, lost_frame=1.0)
        second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=lower, intent=IntentID("b")))
        assert second.doubt is Doubt.IN_DOUBT
        return first, second

    async def found(bench: Bench, desk: Desk, first: Order, second: Order) -> None:
        bench.network.faults = Faults(enabled=False)
        assert await desk.wait(lambda: known(desk, second).ord_status is OrdStatus.NEW, 3 * MINUTE_NS)
        old, new = known(desk, first), known(desk, second)

        assert (old.ord_status, new.doubt, new.price, new.order_id) == (OrdStatus.REPLACED, Doubt.NONE, second.price, first.order_id)
        assert (await settled(desk, await desk.cancel(second.cl_ord_id))).ord_status is OrdStatus.CANCELED
        assert desk.books.halts == {}

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            first, second = await lost(bench, desk)
            if not restarts:
                await found(bench, desk, first, second)
                return
        bench.network.faults = Faults(enabled=False)
        async with bench.desk(WIDE) as desk:
            await found(bench, desk, first, second)

    told(tmp_path, story)


def test_what_the_account_traded_before_the_first_start_is_nobodys_order(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        for _ in range(3):
            by_hand(bench, {"ordertype": "market", "volume": "0.1"})
        await asyncio.sleep(DAY_S)
        async with bench.desk(WIDE) as desk:
            bench.network.drop_all()
            await asyncio.sleep(120)

            assert desk.books.halts == {}
            assert list(desk.books.blotter) == []
            assert desk.books.ledger.position(KRAKEN.broker, ETH) == D("0.3")

    told(tmp_path, story)


def test_a_trade_that_left_memory_is_not_booked_again_when_the_stream_comes_back(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a")))
        await asyncio.sleep(8 * DAY_S)
        async with bench.desk(WIDE) as desk:
            cash = desk.books.ledger.cash(KRAKEN.broker, "USD")
            assert await desk.wait(lambda: desk.books.retired == 1, 10 * MINUTE_NS)
            bench.network.drop_all()
            await asyncio.sleep(120)

            assert desk.books.halts == {}
            assert list(desk.books.blotter) == []
            assert (desk.books.ledger.position(KRAKEN.broker, ETH), desk.books.ledger.cash(KRAKEN.broker, "USD")) == (D("0.1"), cash)

    told(tmp_path, story)


def test_what_an_open_order_filled_unheard_is_read_when_the_stream_comes_back(tmp_path: Path) -> None:
    """The snapshot of a connection says how far the order is; the trades themselves are asked for."""

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            quote = await desk.brokers[KRAKEN.broker].quote(ETH)
            bench.network.faults = Faults(lost_frame=1.0)
            sent = await desk.submit(wish("a", "2000", ord_type=OrdType.LIMIT, price=quote.ask_px))
            await asyncio.sleep(1)
            assert known(desk, sent).fills == ()
            bench.network.faults = Faults(enabled=False)
            bench.network.drop_all()
            await asyncio.sleep(10)
            done = {name: execution.qty for name, execution in bench.twin.exchange.executions.items()}

            assert done
            assert {str(fill.exec_id): fill.qty for fill in known(desk, sent).fills} == done
            assert known(desk, sent).ord_status is OrdStatus.PARTIALLY_FILLED
            assert (known(desk, sent).cum_qty, desk.books.halts) == (sum(done.values()), {})

    told(tmp_path, story, cash=D(10_000_000))


def test_an_order_without_a_client_id_that_ends_during_a_gap_ends_here(tmp_path: Path) -> None:
    """It is called by Kraken's id, and asked about by it."""

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = await away(desk.brokers[KRAKEN.broker], "0.9")
            txid = by_hand(bench, {"ordertype": "limit", "volume": "0.1", "price": str(price)})
            assert await desk.wait(lambda: any(desk.books.blotter.working()), MINUTE_NS)
            (external,) = desk.books.blotter.working()
            assert (external.external, external.cl_ord_id) == (True, f"external:{txid}")
            bench.network.faults = Faults(lost_frame=1.0)
            bench.twin.trading.cancel({"txid": txid}, bench.twin.now_ns)
            bench.network.carry(bench.twin)
            bench.network.faults = Faults(enabled=False)
            bench.network.drop_all()

            assert (await settled(desk, external)).ord_status is OrdStatus.CANCELED
            assert desk.books.halts == {}
            assert await desk.wait(lambda: desk.ready[KRAKEN.broker], MINUTE_NS)
            unknown = ClOrdID("external:OAAAAA-AAAAA-AAAAAA")
            assert await desk.brokers[KRAKEN.broker].order_status(unknown) is None

    told(tmp_path, story)


def known(desk: Desk, order: Order) -> Order:
    now = desk.books.blotter.get(order.cl_ord_id)
    assert now is not None
    return now


def test_only_changes_without_an_answer_are_recalled() -> None:
    order = ExecutionReport(
        broker=KRAKEN.broker,
        cl_ord_id=ClOrdID("q1first"),
        order_id=OrderID("O1"),
        exec_type=ExecType.ORDER_STATUS,
        ord_status=OrdStatus.NEW,
        instrument=ETH,
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_qty=D(1),
        price=D(99),
        transact_ns=0,
        recv_ns=0,
    )
    amends = Amends("order_qty", "price")
    amends.begin(Amend(cl_ord_id=ClOrdID("q1second"), order_id=OrderID("O1"), wish=wish("x", "1", ord_type=OrdType.LIMIT, price=D(99))))
    (amend,) = amends.on("O1")

    assert amends.found(amend, changed(order, price=D(100))) is None
    assert amends.found(amend, order) == changed(order, cl_ord_id=ClOrdID("q1second"))
    amends.settle(ClOrdID("q1second"))
    assert (amends.get(ClOrdID("q1second")), amends.on("O1")) == (None, ())


def test_a_trailing_stop_is_not_changed(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", ord_type=OrdType.MARKET)))
            trail = {"ord_type": OrdType.TRAILING_STOP, "trail_pct": D("0.05"), "reduce_only": True}
            sent = await desk.submit(wish("b", side=Side.SELL, **trail))
            await desk.wait(lambda: desk.books.blotter.get(sent.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            refused = await desk.replace(Replace(cl_ord_id=sent.cl_ord_id, trail_pct=D("0.04"), intent=IntentID("c")))

            assert (refused.ord_status, "distance" in refused.text) == (OrdStatus.REJECTED, True)

    told(tmp_path, story)


def test_a_spent_pair_refuses_before_sending_and_another_does_not(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await KRAKEN.spends(desk.brokers[KRAKEN.broker])
            refused = await desk.submit(wish("a", ord_type=OrdType.MARKET))
            taken = await desk.submit(wish("b", ord_type=OrdType.MARKET, instrument=InstrumentID("SOL/USD")))

            assert (refused.ord_status, taken.ord_status is OrdStatus.REJECTED) == (OrdStatus.REJECTED, False)
            with pytest.raises(RateLimited):
                await desk.brokers[KRAKEN.broker].submit(approved_of(desk, refused))

    told(tmp_path, story)


# -- money -----------------------------------------------------------------------------------------------------------------------------------------


def test_money_that_comes_in_is_told_at_once_and_booked_as_a_transfer(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        seen: list[Any] = []

        async def listen() -> None:
            async for event in connected.events():
                seen.append(event)

        task = asyncio.create_task(listen())
        await asyncio.sleep(1)
        bench.twin.advance(bench.clock.now_ns())
        bench.twin.transfer(D(500))
        bench.twin.reward("ETH", D("0.25"))
        bench.network.carry(bench.twin)
        await asyncio.sleep(2)
        task.cancel()
        snapshots = [event for event in seen if isinstance(event, AccountSnapshot)]
        flows = await connected.flows(0)

        assert snapshots[-1].cash == 100_500
        assert [(position.instrument, position.qty) for position in snapshots[-1].positions] == [(ETH, D("0.25"))]
        assert [(flow.kind, flow.amount, flow.instrument, flow.qty) for flow in flows] == [
            (FlowKind.TRANSFER, D(500), None, 0),
            (FlowKind.TRANSFER, 0, ETH, D("0.25")),
        ]

    told(tmp_path, story)


def test_while_money_that_moved_is_asked_about_the_stream_does_not_count_as_heard(tmp_path: Path) -> None:
    """What comes behind it waits too, and so does the news that the line is down."""

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            bench.twin.transfer(D(500))
            bench.network.faults = Faults(lost_answer=1.0)
            bench.network.carry(bench.twin)
            await asyncio.sleep(0.1)

            assert not desk.ready[KRAKEN.broker]
            bench.network.faults = Faults(enabled=False)
            assert await desk.wait(lambda: desk.ready[KRAKEN.broker], MINUTE_NS)

    told(tmp_path, story)


def test_every_trade_and_ledger_entry_is_read_over_all_pages(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        for number in range(110):
            bench.twin.advance(bench.clock.now_ns())
            bench.twin.trading.add({"pair": "ETHUSD", "type": "buy", "ordertype": "market", "volume": "0.01"}, bench.clock.now_ns())
            bench.twin.transfer(D(number + 1))
            await asyncio.sleep(1)
        bench.twin.advance(bench.clock.now_ns())
        fills, flows = await connected.fills(0), await connected.flows(0)
        later = await connected.fills(fills[60].transact_ns)

        assert [report.exec_id for report in fills] == list(bench.twin.exchange.executions)
        assert [flow.amount for flow in flows] == list(range(1, 111))
        assert [report.exec_id for report in later] == [report.exec_id for report in fills[60:]]
        assert {report.cl_ord_id for report in fills} == {""}

    told(tmp_path, story)


def test_a_listing_without_end_is_no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector, "PAGES_MAX", 1)

    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        for _ in range(50):
            bench.twin.transfer(D(1))
        with pytest.raises(Exception, match="more than 1 pages"):
            await connected.flows(0)

    told(tmp_path, story)


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def test_history_goes_as_far_back_as_kraken_keeps_it(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        now_ns = bench.clock.now_ns()
        bars = await connected.bars(ETH, MINUTE_NS, now_ns - 30 * MINUTE_NS, now_ns)
        trades = await connected.trades(ETH, now_ns - 60 * MINUTE_NS, now_ns)

        assert [bar.open_ns for bar in bars] == list(range(bars[0].open_ns, bars[0].open_ns + len(bars) * MINUTE_NS, MINUTE_NS))
        assert (bars[0].open_ns - MINUTE_NS < now_ns - 30 * MINUTE_NS, bars[-1].open_ns + 2 * MINUTE_NS > now_ns) == (True, True)
        assert bars[-1].close == [trade.price for trade in trades if trade.transact_ns < bars[-1].open_ns + MINUTE_NS][-1]
        assert len(trades) > 1_000  # more than a page
        assert [trade.transact_ns for trade in trades] == sorted(trade.transact_ns for trade in trades)
        assert len({trade.trade_id for trade in trades}) == len(trades)
        for ask in (
            connected.bars(ETH, 7 * MINUTE_NS, now_ns - MINUTE_NS, now_ns),
            connected.bars(ETH, MINUTE_NS, now_ns - 800 * MINUTE_NS, now_ns),
            connected.quotes(ETH, now_ns - MINUTE_NS, now_ns),
            connected.trade(InstrumentID("XBT/USD")),
        ):
            with pytest.raises(BadRequest):
                await ask

    told(tmp_path, story)


class Scrambled(Between):
    """Loses one change of a book in five."""

    dice = random.Random(3)

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        return [(conn, frame) for conn, frame in super().drain() if not self._lost(frame)]

    def _lost(self, frame: str | bytes | None) -> bool:
        change = isinstance(frame, bytes) and b'"channel":"book","type":"update"' in frame
        return change and self.dice.random() < 0.2


@pytest.mark.parametrize("scrambled", [False, True])
def test_a_book_is_whole_or_not_shown(tmp_path: Path, scrambled: bool) -> None:
    def between(wire: Wire) -> Wire:
        return Scrambled(wire, KRAKEN) if scrambled else wire

    async def story(bench: Bench) -> None:
        connected = bench.connector()
        assert isinstance(connected, DepthData)
        assert isinstance(connected, RecallsChanges)
        books, gaps = 0, 0
        async for event in connected.subscribe_depth((ETH,), 5):
            if isinstance(event, StreamState):
                gaps += event.link == "gap"
                continue
            assert isinstance(event, BookSnapshot)
            tick = bench.twin.market.tick("ETH/USD", event.transact_ns // 250_000_000)
            unit = bench.twin.market.listings["ETH/USD"].unit
            assert [price for price, _ in event.bids] == [price * unit for price, _ in tick.bids]
            assert [price for price, _ in event.asks] == [price * unit for price, _ in tick.asks]
            books += 1
            if books == 40:
                break

        assert (gaps > 0) is scrambled

    told(tmp_path, story, between=between)


def test_more_levels_than_there_are_make_no_sense(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(BadRequest, match="levels"):
            await anext(aiter(bench.connector().subscribe_depth((ETH,), 2_000)))

    told(tmp_path, story)


# -- orders by stream ------------------------------------------------------------------------------------------------------------------------------


def test_an_order_by_stream_without_a_reply_is_in_doubt(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        numbers = count(1 << 40)
        connected = connect(
            http=bench.network.http(),
            dialer=bench.network.dialer(),
            clock=bench.clock,
            rng=random.Random(1),
            credentials=KRAKEN.credentials(bench.twin),
            environment="paper",
            options={"url": "http://twin", "order_entry": "websocket", "tier": "pro"},
            nonces=lambda: next(numbers),
        )
        async with bench.desk(WIDE) as desk:
            approved = approved_of(desk, await desk.submit(wish("a", ord_type=OrdType.MARKET)))
        await connected.connect()

        async def listen() -> None:
            async for _ in connected.events():
                pass

        task = asyncio.create_task(listen())
        await asyncio.sleep(1)
        bench.network.faults = Faults(lost_frame=1.0)
        with pytest.raises(InDoubt):
            await connected.submit(changed(approved, cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb")))
        task.cancel()
        found = await connected.order_status(ClOrdID("q1bbbbbbbbbbbbbbbb"))

        assert found is not None
        assert found.ord_status is OrdStatus.FILLED

    told(tmp_path, story)
