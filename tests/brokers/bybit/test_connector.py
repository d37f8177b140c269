"""The connector and a desk on the twin: what connecting refuses, swaps as positions bought with money, changes that keep their order, market data."""

import asyncio
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.desks import Bench, on_bench, settled
from tests.subjects import BYBIT
from trading_system.brokers.bybit.twin.universe import quarter_end_ns
from trading_system.core.risk import Limits
from trading_system.domain.account import FlowKind
from trading_system.domain.errors import AuthFailed, BadRequest, RateLimited, RiskRefused
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID, IntentID
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.order import Attached, NewOrder, Replace
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.journal.record import Flowed
from trading_system.sim.clock import SECOND_NS, START_NS
from trading_system.sim.network import Faults

D = Decimal
HOUR_NS = 3_600 * SECOND_NS
MINUTE_NS = 60 * SECOND_NS
SOL, BTC, PAIR = InstrumentID("SOL-PERP/USDT"), InstrumentID("BTC-PERP/USDT"), InstrumentID("BTC/USDT")
DATED, ENDS_NS = InstrumentID("SOL-25DEC26/USDT"), quarter_end_ns(START_NS)
WIDE = Limits(
    max_position_pct=D(3),
    crypto_max_position_pct=D(3),
    crypto_max_leverage=D(3),
    max_leverage=D(3),
    crypto_max_daily_loss_pct=D(1),
    max_daily_loss_pct=D(1),
    max_drawdown_pct=D(1),
    crypto_max_drawdown_pct=D(1),
    max_concurrent_positions=9,
    enable_shorts=True,
    max_orders_per_minute=1000,
    max_orders_per_second=1000,
    crypto_quote_max_age_ns=60 * SECOND_NS,
)


def wish(intent: str, qty: str, side: Side = Side.BUY, instrument: InstrumentID = SOL, **changes: Any) -> NewOrder:
    fields = {
        "broker": BYBIT.broker,
        "instrument": instrument,
        "side": side,
        "time_in_force": TimeInForce.GTC,
        "order_qty": D(qty),
        "ord_type": OrdType.LIMIT if "price" in changes else OrdType.MARKET,
        "intent": IntentID(intent),
    }
    return NewOrder(**(fields | changes))


def run(tmp_path: Path, story: Any, **twin: Any) -> None:
    on_bench(tmp_path, story, subject=BYBIT, **twin)


async def mid(desk: Any, instrument: InstrumentID = SOL) -> Decimal:
    await desk.instrument(BYBIT.broker, instrument)
    quote = await desk.hub.fetch(BYBIT.broker, instrument)
    return D(quote.mid).quantize(D("0.01"))


def agreed(desk: Any, bench: Bench) -> bool:
    """Whether money and units here are the exchange's own."""
    ledger, exchange = desk.books.ledger, bench.twin.exchange
    names = {SOL: "SOLUSDT", BTC: "BTCUSDT", PAIR: "BTC/USDT"}
    units = all(ledger.position(BYBIT.broker, ours) == exchange.position(theirs) for ours, theirs in names.items())
    return units and abs(ledger.cash(BYBIT.broker, "USDT") - exchange.cash) < D("0.01")


# -- how often -------------------------------------------------------------------------------------------------------------------------------------


def test_no_five_seconds_see_more_than_an_address_may_ask(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        asked = [asyncio.create_task(connector.quote(PAIR)) for _ in range(1_500)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)

        kinds = Counter(type(outcome) for outcome in outcomes)

        assert (kinds[Quote] > 1_100, kinds.keys()) == (True, {Quote, RateLimited})
        assert bench.twin.gate.address.take(bench.clock.now_ns() + 5 * SECOND_NS)

    run(tmp_path, story, requests_per_minute=7_200 // 7)


def test_an_address_that_is_shut_out_asks_nothing_until_it_is_over(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        while bench.twin.gate.address.take(bench.clock.now_ns()):
            pass  # others at this address
        with pytest.raises(RateLimited, match="ten minutes"):
            await connector.quote(PAIR)
        asked = []
        bench.twin.gate.address.take = asked.append
        with pytest.raises(RateLimited):
            await connector.quote(PAIR)
        assert asked == []
        del bench.twin.gate.address.take
        await asyncio.sleep(601)
        assert await connector.quote(PAIR)

    run(tmp_path, story, requests_per_minute=7_200 // 7)


# -- connecting ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["rest", "websocket"])
def test_a_desk_trades_on_the_demo_which_does_not_say_whose_a_key_is(tmp_path: Path, entry: str) -> None:
    demo = msgspec.structs.replace(BYBIT, options={"paper_host": "demo", "order_entry": entry})

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            done = await settled(desk, await desk.submit(wish("a", "1")))
            rests = await desk.submit(wish("b", "1", price=await mid(desk) * D("0.9")))

            assert done.ord_status is OrdStatus.FILLED
            assert (await settled(desk, await desk.cancel(rests.cl_ord_id))).ord_status is OrdStatus.CANCELED
            assert desk.accounts[BYBIT.broker].account.startswith("demo-")
            assert desk.books.halts == {}

    on_bench(tmp_path, story, subject=demo, demo=True)


def test_a_testnet_that_answers_as_the_demo_does_is_none(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(BadRequest, match="10032"):
            await bench.connector().connect()

    run(tmp_path, story, demo=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda account: account.permissions.update(Wallet=["AccountTransfer", "Withdraw"]), "may withdraw"),
        (lambda account: setattr(account, "margin_status", 1), "classic"),
        (lambda account: setattr(account, "hedge", True), "one-way"),
    ],
)
def test_connecting_refuses_what_this_desk_does_not_count_in(tmp_path: Path, change: Any, words: str) -> None:
    async def story(bench: Bench) -> None:
        change(bench.twin.account)
        with pytest.raises(AuthFailed, match=words):
            await bench.connector().connect()

    run(tmp_path, story)


def test_a_live_twin_is_a_live_account_and_a_read_only_key_cannot_trade(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.twin.account.read_only = True
        connector = bench.connector("live")
        await connector.connect()
        account = await connector.account()

        assert (account.environment, account.tradable, "read-only" in account.text) == ("live", False, True)
        with pytest.raises(AuthFailed):
            await bench.connector("paper").connect()

    run(tmp_path, story, environment="live")


def test_what_is_meant_is_asked_back(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        for name in ("SOLUSDT", "SOL", "SOL/USD", "SOL-PERP/USDC"):
            with pytest.raises(BadRequest, match="SOL-PERP/USDT") as caught:
                await connector.instruments((InstrumentID(name),))
            assert name in str(caught.value) or name == "SOL"

    run(tmp_path, story)


# -- swaps -----------------------------------------------------------------------------------------------------------------------------------------


def test_a_short_a_turn_and_a_close_are_booked_to_the_cent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            for number, (qty, side) in enumerate((("30", Side.SELL), ("50", Side.BUY), ("20.5", Side.SELL), ("0.5", Side.BUY))):
                await settled(desk, await desk.submit(wish(f"k{number}", qty, side)))
                await asyncio.sleep(60)
                assert agreed(desk, bench)
            account = await desk.refresh_account(BYBIT.broker)

            assert account.positions == ()
            assert account.equity == account.cash == bench.twin.exchange.cash.quantize(D("1e-12")).normalize()
            assert desk.books.halts == {}

    run(tmp_path, story)


def test_cash_and_positions_at_their_marks_are_the_equity(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "100")))
            await settled(desk, await desk.submit(wish("b", "0.2", Side.SELL, BTC)))
            await settled(desk, await desk.submit(wish("c", "0.1", instrument=PAIR)))
            await asyncio.sleep(600)
            offs = []
            for _ in range(5):  # wallet and positions are two reads, and a price may move between them
                account = await desk.brokers[BYBIT.broker].account()
                marked = sum((held.qty * (held.mark_px or D(0)) for held in account.positions), account.balances["USDT"])
                offs.append(abs(marked - account.equity))

            assert {held.instrument: held.qty for held in account.positions} == {SOL: D(100), BTC: D("-0.2"), PAIR: D("0.0999")}
            assert min(offs) < D("0.01")

    run(tmp_path, story)


@pytest.mark.parametrize("side", list(Side))
def test_funding_is_a_flow_and_halts_nothing(tmp_path: Path, side: Side) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "300", side)))
            await asyncio.sleep(9 * 3600)
            flows = [entry.record.flow for entry in desk.journal.read() if isinstance(entry.record, Flowed)]

            assert [flow.kind for flow in flows] == [FlowKind.FEE if side is Side.BUY else FlowKind.INCOME]
            assert (flows[0].amount < 0) is (side is Side.BUY)
            assert agreed(desk, bench)
            assert desk.books.halts == {}

    run(tmp_path, story)


@pytest.mark.parametrize("side", list(Side))
def test_the_end_of_a_contract_closes_its_position_at_its_price(tmp_path: Path, side: Side) -> None:
    async def story(bench: Bench) -> None:
        await asyncio.sleep((ENDS_NS - START_NS) // SECOND_NS - 3_600)
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "50", side, DATED)))
            resting = await desk.submit(wish("b", "1", instrument=DATED, price=(await mid(desk, DATED) * D("0.9")).quantize(D("0.01"))))
            await asyncio.sleep(2 * 3_600)
            (end,) = [order for order in desk.books.blotter if order.external]
            delivered = bench.twin.exchange.mark("SOL/USDT", ENDS_NS)

            assert (end.side, end.cum_qty, end.fills[0].price) == (side.opposite, 50, delivered)
            assert desk.books.ledger.position(BYBIT.broker, DATED) == 0
            assert agreed(desk, bench)
            assert desk.books.blotter.get(resting.cl_ord_id).ord_status is OrdStatus.CANCELED  # type: ignore[union-attr]
            pnl = desk.pnl(BYBIT.broker, DATED, D(0))
            assert abs(pnl - (bench.twin.exchange.cash - 100_000)) < D("0.01")
            assert desk.books.halts == {}
            desk.instruments.clear()
            with pytest.raises(RiskRefused) as caught:
                await desk.submit(wish("c", "1", instrument=DATED, price=delivered.quantize(D("0.01"))))
            assert caught.value.rule == "TRADABLE"
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(60)

            assert desk.ready[BYBIT.broker]
            assert desk.books.halts == {}

    run(tmp_path, story)


def test_a_deposit_is_no_profit_and_coins_that_come_are_a_position(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            before = desk.books.mark.loss() if desk.books.mark else None
            bench.twin.transfer(D(5_000))
            bench.twin.transfer(D("0.25"), "BTC")
            await asyncio.sleep(700)

            assert before == desk.books.mark.loss() == 0  # type: ignore[union-attr]
            assert desk.books.ledger.position(BYBIT.broker, PAIR) == D("0.25")
            assert agreed(desk, bench)
            assert desk.books.halts == {}

    run(tmp_path, story)


def test_a_liquidation_is_somebody_elses_order_and_is_booked(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            bought = await settled(desk, await desk.submit(wish("a", "400")))
            worth = D(bench.twin.margin.balance(bench.clock.now_ns()))
            bench.twin.transfer(-(worth - D(5)))  # so little that a part of the position needs more, too
            await asyncio.sleep(300)
            forced = [order for order in desk.books.blotter if order.external]

            assert bench.twin.exchange.position("SOLUSDT") == 0
            assert sum(order.cum_qty for order in forced) == bought.cum_qty > 0
            assert agreed(desk, bench)
            assert all(halt.rule != "MISMATCH" for halt in desk.books.halts.values())

    run(tmp_path, story)


def test_the_stop_of_an_entry_rests_reduce_only_and_closes_it(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = await mid(desk)
            await settled(desk, await desk.submit(wish("a", "10", protect_stop_px=(price * D("0.95")).quantize(D("0.01")))))
            assert await desk.wait(lambda: any(order.protects for order in desk.books.blotter.working()), 10 * SECOND_NS)
            await asyncio.sleep(2)
            (stop,) = [order for order in bench.twin.exchange.open_orders() if order.ticket.waits]
            (row,) = [report for report in await desk.brokers[BYBIT.broker].open_orders() if report.ord_type is OrdType.STOP]
            reducing = bench.twin.orders.show(stop).reduceOnly
            residue = await desk.flatten()

            assert (row.order_id, row.stop_px, reducing) == (stop.order_id, stop.stop_px, True)
            assert (residue.positions, residue.orders, residue.problems) == ((), (), ())

    run(tmp_path, story)


def test_no_entry_in_a_dollar_that_has_left_the_dollar(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "10")))
            bench.twin.account.usdt_usd = D("0.97")
            account = await desk.refresh_account(BYBIT.broker)
            with pytest.raises(RiskRefused) as caught:
                await desk.submit(wish("b", "11"))
            done = await settled(desk, await desk.submit(wish("c", "10", Side.SELL)))

            assert account.rates == {"USDT": D("0.97")}
            assert caught.value.rule == "DEPEG"
            assert done.ord_status is OrdStatus.FILLED

    run(tmp_path, story)


# -- changes that keep their order -----------------------------------------------------------------------------------------------------------------


def test_a_changed_order_is_the_new_intents_over_a_restart(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            low = (await mid(desk) * D("0.98")).quantize(D("0.01"))
            first = await desk.submit(wish("a", "10", price=low))
            await asyncio.sleep(1)
            second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=low - 1, order_qty=D(12), intent=IntentID("b")))
            await asyncio.sleep(1)
            third = await desk.replace(Replace(cl_ord_id=second.cl_ord_id, price=low - 2, intent=IntentID("c")))
            await asyncio.sleep(20)
            states = [desk.books.blotter.get(order.cl_ord_id).ord_status for order in (first, second, third)]  # type: ignore[union-attr]

            assert states == [OrdStatus.REPLACED, OrdStatus.REPLACED, OrdStatus.NEW]
            assert len({order.order_id for order in (third, second)}) == 1
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(20)
            assert [order.cl_ord_id for order in desk.books.blotter.working()] == [third.cl_ord_id]
            gone = await settled(desk, await desk.cancel(third.cl_ord_id))

            assert (gone.ord_status, gone.order_qty, desk.books.blotter.total.orders) == (OrdStatus.CANCELED, 12, 0)
            assert desk.books.halts == {}

    run(tmp_path, story)


def test_what_fills_of_a_changed_order_while_the_desk_is_away_is_the_new_intents(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = await mid(desk)
            first = await desk.submit(wish("a", "10", price=(price * D("0.99")).quantize(D("0.01"))))
            await asyncio.sleep(1)
            task = asyncio.create_task(desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=price * D("0.995"), intent=IntentID("b"))))
            second = await task
        (order,) = bench.twin.exchange.open_orders()
        bench.twin.exchange.amend(order, _dearer(order, price), bench.twin.now_ns)
        await asyncio.sleep(30)
        assert order.filled_qty == 10
        async with bench.desk(WIDE) as desk:
            done = await settled(desk, second)

            assert (done.cum_qty, done.ord_status) == (10, OrdStatus.FILLED)
            assert desk.books.blotter.get(first.cl_ord_id).cum_qty == 0  # type: ignore[union-attr]
            assert agreed(desk, bench)
            assert desk.books.halts == {}

    run(tmp_path, story)


def _dearer(order: Any, price: Decimal) -> Any:
    from msgspec.structs import replace

    return replace(order.ticket, price=(price * D("1.02")).quantize(D("0.01")))


def test_a_change_that_is_taken_in_and_not_made_is_none(tmp_path: Path) -> None:
    """Bybit's answer is that it heard: what became of it, the order shows."""

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = ((await mid(desk)) * D("0.98")).quantize(D("0.01"))
            first = await desk.submit(wish("a", "10", price=price))
            await asyncio.sleep(1)

            def refused(order: Any, _ticket: Any, _now_ns: int) -> None:
                order.ord_status = OrdStatus.NEW

            bench.twin.exchange._amended = refused
            second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, order_qty=D(4), intent=IntentID("b")))
            assert second.doubt is Doubt.IN_DOUBT
            await asyncio.sleep(900)

            assert desk.books.blotter.get(second.cl_ord_id).doubt is Doubt.PROVEN_ABSENT  # type: ignore[union-attr]
            assert [(order.cl_ord_id, order.order_qty) for order in desk.books.blotter.working()] == [(first.cl_ord_id, 10)]
            assert agreed(desk, bench)

    run(tmp_path, story)


def test_a_change_without_an_answer_is_found_by_what_it_asked_for(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            low = (await mid(desk) * D("0.98")).quantize(D("0.01"))
            first = await desk.submit(wish("a", "10", price=low))
            await asyncio.sleep(1)
            bench.network.faults = Faults(lost_answer=1.0)
            task = asyncio.create_task(desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=low - 1, intent=IntentID("b"))))
            await asyncio.sleep(5)
            bench.network.faults = Faults(enabled=False)
            second = await task
            assert second.doubt is Doubt.IN_DOUBT
            assert await desk.wait(lambda: desk.books.blotter.get(second.cl_ord_id).doubt is Doubt.NONE, 60 * SECOND_NS)  # type: ignore[union-attr]
            old, new = desk.books.blotter.get(first.cl_ord_id), desk.books.blotter.get(second.cl_ord_id)

            assert (old.ord_status, new.ord_status, new.order_id) == (OrdStatus.REPLACED, OrdStatus.NEW, old.order_id)  # type: ignore[union-attr]
            assert len(bench.twin.exchange.orders) == 1

    run(tmp_path, story)


def test_a_change_in_doubt_is_found_by_the_desk_that_comes_after(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            low = (await mid(desk) * D("0.98")).quantize(D("0.01"))
            first = await desk.submit(wish("a", "10", price=low))
            await asyncio.sleep(1)
            bench.network.faults = Faults(lost_answer=1.0)
            second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=low - 1, intent=IntentID("b")))
            assert desk.books.blotter.get(second.cl_ord_id).doubt is Doubt.IN_DOUBT  # type: ignore[union-attr]
        bench.network.faults = Faults(enabled=False)
        async with bench.desk(WIDE) as desk:
            assert await desk.wait(lambda: desk.books.blotter.get(second.cl_ord_id).doubt is Doubt.NONE, 60 * SECOND_NS)  # type: ignore[union-attr]
            states = [desk.books.blotter.get(order.cl_ord_id).ord_status for order in (first, second)]  # type: ignore[union-attr]

            assert states == [OrdStatus.REPLACED, OrdStatus.NEW]

    run(tmp_path, story)


def test_a_change_that_a_fill_has_overtaken_is_refused_and_the_fill_is_the_old_orders(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = await mid(desk)
            first = await desk.submit(wish("a", "0.5", price=(price * D("1.01")).quantize(D("0.01"))))
            second = None
            with suppress(BadRequest):
                second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=(price * D("0.9")).quantize(D("0.01")), intent=IntentID("b")))
            done = await settled(desk, first)

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D("0.5"))
            assert second is None or second.ord_status is OrdStatus.REJECTED
            assert agreed(desk, bench)

    run(tmp_path, story)


# -- the past --------------------------------------------------------------------------------------------------------------------------------------


def test_fills_of_weeks_ago_are_found_in_their_windows(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "10")))
            await settled(desk, await desk.submit(wish("b", "0.01", instrument=PAIR)))
            await settled(desk, await desk.submit(wish("c", "10", Side.SELL)))
        await asyncio.sleep(8 * 86_400)
        bench.twin.transfer(D(7))
        await asyncio.sleep(8 * 86_400)
        bench.twin.transfer(D(-7))
        connector = bench.connector()
        await connector.connect()
        found = await connector.fills(START_NS)
        flows = await connector.flows(START_NS)

        assert [report.exec_id for report in found] == list(bench.twin.exchange.executions)
        assert {report.time_in_force for report in found} == {TimeInForce.IOC}
        assert [flow.amount for flow in flows] == [7, -7]
        assert await connector.fills(bench.clock.now_ns() - 86_400 * SECOND_NS) == ()

    run(tmp_path, story)


def test_the_log_is_read_over_all_pages(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        for number in range(120):
            bench.twin.transfer(D(number + 1))
        flows = await connector.flows(START_NS)

        assert sorted(flow.amount for flow in flows) == [D(number + 1) for number in range(120)]
        assert len({flow.flow_id for flow in flows}) == 120

    run(tmp_path, story)


def test_a_stop_of_a_pair_is_cancelled_before_and_after_it_went_off(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = await mid(desk, PAIR)
            far, near = (price * D("1.02")).quantize(D("0.1")), (price * D("1.0002")).quantize(D("0.1"))
            waits = await desk.submit(wish("a", "0.01", instrument=PAIR, ord_type=OrdType.STOP, stop_px=far))
            low = (price * D("0.98")).quantize(D("0.1"))
            goes = await desk.submit(wish("b", "0.01", instrument=PAIR, ord_type=OrdType.STOP_LIMIT, stop_px=near, price=low))
            exchange = {order.cl_ord_id: order for order in bench.twin.exchange.orders.values()}
            assert await desk.wait(lambda: exchange[goes.cl_ord_id].triggered, 4 * HOUR_NS)
            for order in (waits, goes):
                assert (await settled(desk, await desk.cancel(order.cl_ord_id))).ord_status is OrdStatus.CANCELED
            assert all(order.ord_status is OrdStatus.CANCELED for order in exchange.values())

    run(tmp_path, story)


def test_everything_that_rests_or_waits_goes_at_once(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price, coin = await mid(desk), await mid(desk, PAIR)
            low, high = (coin * D("0.98")).quantize(D("0.1")), (coin * D("1.03")).quantize(D("0.1"))
            exits = Attached(take_profit_px=price + 20, stop_px=price - 20)
            await settled(desk, await desk.submit(wish("a", "2", attached=exits)))
            await desk.submit(wish("b", "1", price=(price * D("0.98")).quantize(D("0.01"))))
            await desk.submit(wish("c", "1", ord_type=OrdType.STOP, stop_px=price + 5))
            await desk.submit(wish("d", "0.01", instrument=PAIR, price=low))
            await desk.submit(wish("e", "0.01", instrument=PAIR, ord_type=OrdType.STOP, stop_px=high))
            await asyncio.sleep(1)
            rested = bench.twin.exchange.open_orders()
            connector = bench.connector()
            await connector.connect()
            await connector.cancel_all()
            await asyncio.sleep(30)

            assert [order.ord_status for order in rested] == [OrdStatus.CANCELED] * 6
            (guard,) = desk.books.blotter.working()  # nobody told the desk: what it holds it guards anew
            assert (guard.ord_type, guard.order_qty) == (OrdType.STOP, 2)
            residue = await desk.flatten()
            assert (residue.problems, residue.orders, residue.positions) == ((), (), ())

    run(tmp_path, story)


def test_orders_are_listed_over_all_pages_and_categories(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        wide = Limits(
            **{name: getattr(WIDE, name) for name in WIDE.__struct_fields__} | {"max_open_orders": 200, "max_open_orders_per_instrument": 200}
        )
        async with bench.desk(wide) as desk:
            low = (await mid(desk) * D("0.98")).quantize(D("0.01"))
            sent = []
            for number in range(60):
                sent.append(await desk.submit(wish(f"k{number}", "0.1", price=low - D("0.01") * number)))
                await asyncio.sleep(0.2)  # ten a second are taken
            pair = await desk.submit(wish("pair", "0.001", instrument=PAIR, price=(await mid(desk, PAIR) * D("0.98")).quantize(D("0.1"))))
            await asyncio.sleep(1)
            found = await desk.brokers[BYBIT.broker].open_orders()

            assert {report.cl_ord_id for report in found} == {order.cl_ord_id for order in (*sent, pair)}

    run(tmp_path, story)


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def test_quotes_trades_and_bars(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        await asyncio.sleep(120)
        now_ns = bench.clock.now_ns()
        quote, last = await connector.quote(SOL), await connector.trade(PAIR)
        recent = await connector.trades(PAIR, last.transact_ns, now_ns)
        start_ns = (now_ns // MINUTE_NS - 2_500) * MINUTE_NS
        bars = await connector.bars(SOL, MINUTE_NS, start_ns, now_ns + MINUTE_NS)  # and not the one that runs

        assert quote.bid_px < quote.ask_px
        assert now_ns - quote.transact_ns < SECOND_NS
        assert recent[-1].trade_id == last.trade_id
        assert [bar.open_ns for bar in bars] == [start_ns + place * MINUTE_NS for place in range(2_500)]
        assert all(bar.low <= bar.vwap <= bar.high for bar in bars)
        with pytest.raises(BadRequest, match="last 60 trades"):
            await connector.trades(PAIR, now_ns - HOUR_NS, now_ns)
        with pytest.raises(BadRequest, match="no history of quotes"):
            await connector.quotes(SOL, start_ns, now_ns)
        with pytest.raises(BadRequest, match="minutes"):
            await connector.bars(SOL, 7 * MINUTE_NS, start_ns, now_ns)
        with pytest.raises(BadRequest):
            await connector.quote(InstrumentID("NOPE/USDT"))

    run(tmp_path, story)


async def collected(stream: Any, seconds: int) -> list[Any]:
    found: list[Any] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for event in stream:
                found.append(event)
    await stream.aclose()
    return found


def test_one_subscription_reads_pairs_and_swaps(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        events = await collected(connector.subscribe((SOL, PAIR), Kinds(quotes=True, trades=True, bars=True)), 150)
        by_kind = {kind: {event.instrument for event in events if isinstance(event, kind)} for kind in (Quote, Trade, Bar)}

        assert list(by_kind.values()) == [{SOL, PAIR}] * 3
        assert [event.link for event in events if isinstance(event, StreamState)] == [Link.LIVE, Link.LIVE]
        assert bench.twin.public.conns == {}  # the sockets are given back

    run(tmp_path, story)


def test_books_follow_every_change_and_a_lost_one_begins_them_anew(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        bench.network.faults = Faults(lost_frame=0.05)
        events = await collected(connector.subscribe_depth((BTC,), 3), 120)
        links = [event.link for event in events if isinstance(event, StreamState)]
        books = [event for event in events if isinstance(event, BookSnapshot)]

        assert Link.GAP in links
        assert links.count(Link.LIVE) > 1
        assert len(books) > 50
        for book in books:
            tick = bench.twin.market.tick("BTCUSDT", book.transact_ns // (SECOND_NS // 4))
            unit = D("0.1")
            assert book.bids == tuple((price * unit, D(lots) / 10**9) for price, lots in tick.bids[:3])
            assert book.asks == tuple((price * unit, D(lots) / 10**9) for price, lots in tick.asks[:3])
        for levels in (0, 500):
            with pytest.raises(BadRequest):
                await anext(connector.subscribe_depth((BTC,), levels))

    run(tmp_path, story)


def test_a_quiet_order_stream_is_kept_alive_by_pings(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        events = await collected(connector.events(), 1_800)

        assert [event.link for event in events] == [Link.LIVE]

    run(tmp_path, story)
