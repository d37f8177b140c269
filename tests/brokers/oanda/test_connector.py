"""What is OANDA's own about its connector: money in yen, a log without gaps, one order of an instrument at a time, orders that are made again."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as changed

from tests.conformance.between import Between, conform
from tests.conformance.test_orders import WIDE, approved_of
from tests.desks import Bench, on_bench, settled
from tests.subjects import OANDA
from trading_system.app.desk import Desk
from trading_system.brokers.oanda import hosts, wire
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, NotSent, Rejected, RiskRefused
from trading_system.domain.fix import Doubt, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Quote
from trading_system.domain.order import Approved, Attached, NewOrder, Replace
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS, START_NS
from trading_system.sim.network import Faults

D = Decimal
EUR, YEN = InstrumentID("EUR/USD"), InstrumentID("USD/JPY")
MINUTE_NS = 60 * SECOND_NS
FRIDAY_NS = START_NS + (4 * 24 * 60 + 6 * 60 + 30) * MINUTE_NS  # a quarter of an hour before the week ends


def told(tmp_path: Path, story: Callable[[Bench], Awaitable[None]], **twin: Any) -> None:
    on_bench(tmp_path, story, subject=OANDA, **twin)


def wish(intent: str, qty: str = "1000", side: Side = Side.BUY, **changes: Any) -> NewOrder:
    fields = {"broker": OANDA.broker, "instrument": EUR, "side": side, "order_qty": D(qty), "intent": IntentID(intent)}
    return NewOrder(**(fields | {"time_in_force": TimeInForce.IOC} | changes))


async def resting(desk: Desk, fraction: str = "0.98") -> dict[str, Any]:
    """A limit order below the market."""
    quote = await desk.hub.fetch(OANDA.broker, EUR)
    assert quote.mid is not None
    return {"ord_type": OrdType.LIMIT, "time_in_force": TimeInForce.GTC, "price": (quote.mid * D(fraction)).quantize(D("0.00001"))}


# -- money -----------------------------------------------------------------------------------------------------------------------------------------


def test_yen_are_a_money_of_their_own_and_what_they_made_becomes_dollars(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            ledger = desk.books.ledger
            await settled(desk, await desk.submit(wish("a", "10000", instrument=YEN)))
            await asyncio.sleep(120)
            first = await desk.refresh_account(OANDA.broker)
            assert ledger.cash(OANDA.broker, "JPY") == first.moneys["JPY"] == bench.twin.exchange.holdings["JPY"]
            assert desk.worth(OANDA.broker, "JPY") == first.rates["JPY"]
            await asyncio.sleep(3600)
            done = await settled(desk, await desk.submit(wish("b", "10000", Side.SELL, instrument=YEN, reduce_only=True)))
            await asyncio.sleep(600)
            last = await desk.refresh_account(OANDA.broker)

            assert done.ord_status is OrdStatus.FILLED
            assert (last.moneys["JPY"], ledger.cash(OANDA.broker, "JPY"), last.positions) == (0, 0, ())
            assert abs(ledger.cash(OANDA.broker, "USD") - last.moneys["USD"]) < D("0.001")
            assert last.equity == last.moneys["USD"] != 100_000
            assert desk.books.halts == {}
            assert [alert.text for alert in desk.books.alerts.values() if "explains" in alert.text] == []

    told(tmp_path, story)


def test_limits_count_yen_at_their_rate(tmp_path: Path) -> None:
    """Ten thousand dollars for yen are ten thousand dollars, not a million and a half."""

    async def story(bench: Bench) -> None:
        async with bench.desk(changed(WIDE, max_position_pct=D("0.11"))) as desk:
            done = await settled(desk, await desk.submit(wish("a", "10000", instrument=YEN)))

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D(10000))

    told(tmp_path, story)


def test_cash_and_positions_at_their_marks_are_the_equity(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(changed(WIDE, enable_shorts=True)) as desk:
            await settled(desk, await desk.submit(wish("a", "20000")))
            await settled(desk, await desk.submit(wish("b", "10000", Side.SELL, instrument=YEN)))
            snapshot = await desk.refresh_account(OANDA.broker)
            worth = sum(
                (row.qty * (row.mark_px or D(0)) * snapshot.rates.get(row.instrument.partition("/")[2], D(1)) for row in snapshot.positions), D(0)
            )

            assert {row.instrument: row.qty for row in snapshot.positions} == {EUR: D(20000), YEN: D(-10000)}
            assert abs(snapshot.cash + worth - snapshot.equity) < 10  # marks lie between the prices that would close it
            assert desk.asset_class(OANDA.broker, EUR) is AssetClass.FOREX

    told(tmp_path, story)


def test_interest_and_transfers_are_flows(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "80000")))
            bench.twin.transfer(D(500))
            await asyncio.sleep(8 * 3600)  # over 17:00 in New York
            snapshot = await desk.refresh_account(OANDA.broker)

            assert {entry.type for entry in bench.twin.log.entries} >= {"DAILY_FINANCING", "TRANSFER_FUNDS"}
            assert abs(desk.books.ledger.cash(OANDA.broker, "USD") - snapshot.moneys["USD"]) < D("0.001")
            assert desk.books.halts == {}

    told(tmp_path, story)


# -- who -------------------------------------------------------------------------------------------------------------------------------------------


def test_an_account_of_the_other_kind_and_one_that_is_none_are_refused(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        live = changed(bench.subject, credentials=lambda twin: {"key": Secret(twin.key), "account_id": Secret("1435156")})
        bench.subject = live
        with pytest.raises(AuthFailed, match="OANDA_ACCOUNT_ID"):
            await bench.connector().connect()

    told(tmp_path, story)


def test_the_hosts_are_those_of_the_environment() -> None:
    assert hosts("paper") == {"api-fxpractice.oanda.com", "stream-fxpractice.oanda.com"}
    assert hosts("live") == {"api-fxtrade.oanda.com", "stream-fxtrade.oanda.com"}


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def test_one_order_of_an_instrument_is_under_way_at_a_time_and_the_next_looks_again(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await desk.submit(wish("a", "100"))
            connected = bench.connector()
            await connected.connect()
            looked: list[tuple[int, int]] = []

            def look(approved: Approved) -> None:
                looked.append((len(looked), between.placed))
                if len(looked) == 3:
                    raise NotSent("halted meanwhile")

            connected.look_with(look)
            approved = approved_of(desk, next(iter(desk.books.blotter)))
            three = [changed(approved, cl_ord_id=ClOrdID(f"q1{'b' * 15}{letter}")) for letter in "abc"]
            before = between.placed
            outcomes = await asyncio.gather(*(connected.submit(one) for one in three), return_exceptions=True)

            assert [type(outcome) for outcome in outcomes] == [ExecutionReport, ExecutionReport, NotSent]
            assert [placed - before for _, placed in looked] == [0, 1, 2]  # each left after the one before it was answered
            assert between.placed == before + 2

    conform(tmp_path, OANDA, story)


def test_a_refusal_whose_answer_was_lost_stands_in_the_log(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            sent = await desk.submit(wish("a", "100", **await resting(desk)))
            connected = bench.connector()
            await connected.connect()
            approved = approved_of(desk, sent)
            wrong = changed(approved, cl_ord_id=ClOrdID("q1" + "c" * 16), request=changed(approved.request, price=D("1.0000001")))
            bench.network.faults = Faults(lost_answer=1.0)
            with pytest.raises(InDoubt):
                await connected.submit(wrong)
            bench.network.faults = Faults(enabled=False)
            found = await connected.order_status(wrong.cl_ord_id)

            assert (found.ord_status, found.order_id, found.text) == (OrdStatus.REJECTED, None, "PRICE_PRECISION_EXCEEDED")
            assert between.placed == 2

    conform(tmp_path, OANDA, story)


def test_what_the_broker_refuses_in_its_answer_is_a_reject(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(changed(WIDE, max_leverage=D(1000), max_position_pct=D(1))) as desk:
            price = (await desk.hub.fetch(OANDA.broker, EUR)).mid
            assert price is not None
            wrong = Attached(stop_px=(price * D("1.02")).quantize(D("0.00001")))  # above the market
            approved = approved_of(desk, await desk.submit(wish("a", "100", **await resting(desk))))
            request = changed(approved.request, ord_type=OrdType.MARKET, price=None, time_in_force=TimeInForce.IOC, attached=wrong)
            with pytest.raises(Rejected, match="STOP_LOSS_ON_FILL_LOSS"):
                await desk.brokers[OANDA.broker].submit(changed(approved, request=request, cl_ord_id=ClOrdID("q1" + "d" * 16)))

    told(tmp_path, story)


def test_the_rest_of_an_order_that_is_made_again_is_the_same_order(tmp_path: Path) -> None:
    """A part fills, the rest lives on under another id and the same client id: two ids of one order would be two orders to the desk."""

    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        at = "2026-09-21T14:13:20.000000000Z"
        create = wire.Transaction(
            id="10", time=at, type="LIMIT_ORDER", instrument="EUR_USD", units="100", price="1.1", clientExtensions=wire.Extensions(id="q1x")
        )
        fill = wire.Transaction(
            id="11",
            time=at,
            type="ORDER_FILL",
            instrument="EUR_USD",
            units="40",
            price="1.1",
            orderID="10",
            reason="LIMIT_ORDER",
            clientOrderID="q1x",
        )
        again = changed(create, id="12", units="60", replacesOrderID="10")
        (first,) = await connected._told(create)
        (part,) = await connected._told(fill)
        (rest,) = await connected._told(again)

        assert (first.order_id, part.ord_status, part.last_qty) == ("10", OrdStatus.PARTIALLY_FILLED, D(40))
        assert rest.order_id == "10"
        assert connected._current("10") == "12"

    told(tmp_path, story)


# -- exits of a trade --------------------------------------------------------------------------------------------------------------------------------


def trail(intent: str, qty: str, **changes: Any) -> NewOrder:
    fields = {"ord_type": OrdType.TRAILING_STOP, "time_in_force": TimeInForce.GTC, "trail_px": D("0.003"), "reduce_only": True, "repeat": True}
    return wish(intent, qty, Side.SELL, **(fields | changes))


def test_a_trailing_stop_is_the_exit_of_one_whole_trade(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            for intent, qty in (("a", "1000"), ("b", "300"), ("c", "1000")):
                await settled(desk, await desk.submit(wish(intent, qty, repeat=True)))
            first, last = [trade for trade in bench.twin.ledger.open_trades() if trade.units == 1000]
            before = between.placed
            refused = [await desk.submit(trail("d", "1300")), await desk.submit(trail("e", "300", trail_px=None, trail_pct=D("0.01")))]
            assert [order.ord_status for order in refused] == [OrdStatus.REJECTED] * 2
            assert "one whole trade" in refused[0].text
            assert "not a fraction" in refused[1].text
            assert between.placed == before

            one, two = await desk.submit(trail("f", "1000")), await desk.submit(trail("g", "1000", trail_px=D("0.004")))
            assert [one.order_id, two.order_id] == [first.orders["TRAILING_STOP_LOSS"], last.orders["TRAILING_STOP_LOSS"]]
            shown = {report.cl_ord_id: report for report in await desk.brokers[OANDA.broker].open_orders()}
            assert shown[one.cl_ord_id].trail_px == D("0.003")
            assert shown[one.cl_ord_id].stop_px - shown[two.cl_ord_id].stop_px == D("0.001")
            with pytest.raises(Rejected, match="without one"):  # both have theirs
                await desk.brokers[OANDA.broker].submit(changed(approved_of(desk, one), cl_ord_id=ClOrdID("q1" + "d" * 16)))
            assert between.placed == before + 2

    conform(tmp_path, OANDA, story)


def test_a_trailing_stop_is_moved_and_goes_with_its_trade(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "1000")))
            sent = await desk.submit(trail("b", "1000"))
            moved = await desk.replace(Replace(cl_ord_id=sent.cl_ord_id, trail_px=D("0.005"), intent=IntentID("c")))
            await asyncio.sleep(5)
            (shown,) = await desk.brokers[OANDA.broker].open_orders()
            assert (shown.cl_ord_id, shown.trail_px) == (moved.cl_ord_id, D("0.005"))
            bench.twin.orders.close_position("EUR_USD", b'{"longUnits":"ALL"}', bench.twin.now_ns)
            bench.twin._publish()
            ended = await settled(desk, moved)

            assert (ended.ord_status, ended.text) == (OrdStatus.CANCELED, "LINKED_TRADE_CLOSED")
            assert desk.books.halts == {}

    told(tmp_path, story)


@pytest.mark.parametrize("fraction", ["0.9995", "1.0005"])
def test_a_market_order_waits_for_its_price_on_either_side(tmp_path: Path, fraction: str) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            mid = (await desk.hub.fetch(OANDA.broker, EUR)).mid
            assert mid is not None
            touched = {"ord_type": OrdType.MARKET_IF_TOUCHED, "time_in_force": TimeInForce.GTC, "stop_px": (mid * D(fraction)).quantize(D("0.00001"))}
            sent = await desk.submit(wish("a", "1000", **touched))
            (shown,) = await desk.brokers[OANDA.broker].open_orders()
            assert (shown.ord_type, shown.stop_px) == (OrdType.MARKET_IF_TOUCHED, touched["stop_px"])
            assert await desk.wait(lambda: desk.books.ledger.position(OANDA.broker, EUR) == 1000, 48 * 3600 * SECOND_NS)
            (fill,) = await desk.brokers[OANDA.broker].fills(0)

            assert (fill.cl_ord_id, fill.ord_type) == (sent.cl_ord_id, OrdType.MARKET_IF_TOUCHED)
            assert abs(fill.last_px / touched["stop_px"] - 1) < D("0.001")

    told(tmp_path, story)


def test_a_guaranteed_stop_is_met_at_its_price_and_its_premium_is_a_fee(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.subject = changed(bench.subject, options={"guaranteed_stops": "true"})
        async with bench.desk(WIDE) as desk:
            mid = (await desk.hub.fetch(OANDA.broker, EUR)).mid
            assert mid is not None
            stop_px = (mid * D("0.9995")).quantize(D("0.00001"))
            await settled(desk, await desk.submit(wish("a", "10000", attached=Attached(stop_px=stop_px))))
            assert await desk.wait(lambda: desk.books.ledger.position(OANDA.broker, EUR) == 0, 48 * 3600 * SECOND_NS)
            (fill,) = [report for report in await desk.brokers[OANDA.broker].fills(0) if report.side is Side.SELL]
            snapshot = await desk.refresh_account(OANDA.broker)

            assert (fill.last_px, fill.fee, fill.fee_currency) == (stop_px, D(2), "USD")
            assert abs(desk.books.ledger.cash(OANDA.broker, "USD") - snapshot.moneys["USD"]) < D("0.001")
            assert desk.books.halts == {}

    told(tmp_path, story, guaranteed_stops=True)


def test_a_closeout_for_want_of_margin_is_learnt(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "50000")))
            bench.twin.transfer(-bench.twin.ledger.nav(bench.twin.now_ns) + D(500))
            await asyncio.sleep(300)

            assert {"MARGIN_CALL_ENTER", "MARGIN_CALL_EXIT"} <= {entry.type for entry in bench.twin.log.entries}
            assert desk.books.ledger.position(OANDA.broker, EUR) == 0
            assert desk.ready[OANDA.broker]

    told(tmp_path, story)


def test_a_refusal_is_found_on_a_busy_account_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers any more what came before the order, and a thousand transactions have come since, in pages."""
    monkeypatch.setattr("trading_system.brokers.oanda.connector.TRANSACTIONS_PAGE_MAX", 200)

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            approved = approved_of(desk, await desk.submit(wish("a", "100", **await resting(desk))))
        wrong = changed(approved, cl_ord_id=ClOrdID("q1" + "e" * 16), request=changed(approved.request, price=D("1.0000001")))
        first = bench.connector()
        await first.connect()
        with pytest.raises(Rejected):
            await first.submit(wrong)
        for _ in range(1000):
            assert not bench.twin.place(b'{"order":{"type":"MARKET","instrument":"EUR_USD","units":"0"}}', bench.clock.now_ns())
        again = bench.connector()
        await again.connect()
        found = await again.order_status(wrong.cl_ord_id)

        assert found is not None
        assert (found.ord_status, found.text) == (OrdStatus.REJECTED, "PRICE_PRECISION_EXCEEDED")
        assert await again.order_status(ClOrdID("q1" + "f" * 16)) is None

    told(tmp_path, story)


# -- the log ---------------------------------------------------------------------------------------------------------------------------------------


def test_a_line_that_is_lost_is_asked_for_with_the_next_heartbeat(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            stranger = bench.connector()
            await stranger.connect()
            sent = await desk.submit(wish("a", "100", **await resting(desk)))
            approved = changed(approved_of(desk, sent), cl_ord_id=ClOrdID("by-hand-1"))
            bench.network.faults = Faults(lost_frame=1.0)
            await stranger.submit(approved)
            await asyncio.sleep(1)
            assert not any(order.cl_ord_id == "by-hand-1" for order in desk.books.blotter)
            bench.network.faults = Faults(enabled=False)
            assert await desk.wait(lambda: any(order.cl_ord_id == "by-hand-1" for order in desk.books.blotter), 6 * SECOND_NS)

    told(tmp_path, story)


def test_what_happened_while_nobody_listened_is_told_first(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        bench.twin.place(b'{"order":{"type":"MARKET","instrument":"EUR_USD","units":"100"}}', bench.clock.now_ns())
        events = connected.events()
        found = [await anext(events) for _ in range(3)]

        assert [event.exec_type for event in found[:2]] == [ExecType.NEW, ExecType.TRADE]
        assert isinstance(found[2], StreamState)
        assert found[2].link is Link.LIVE
        await events.aclose()

    told(tmp_path, story)


def test_a_position_that_somebody_closes_at_oanda_leaves_no_halt(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "1000")))
            bench.twin.orders.close_position("EUR_USD", b'{"longUnits":"ALL"}', bench.twin.now_ns)
            bench.twin._publish()
            await asyncio.sleep(120)

            assert desk.books.ledger.position(OANDA.broker, EUR) == 0
            assert desk.books.halts == {}
            assert desk.ready[OANDA.broker]

    told(tmp_path, story)


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def test_prices_stream_for_all_instruments_over_one_line(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        stream = connected.subscribe((EUR, YEN), Kinds())
        found = [await anext(stream) for _ in range(20)]
        quotes = [event for event in found if isinstance(event, Quote)]

        assert {quote.instrument for quote in quotes} == {EUR, YEN}
        assert all(quote.bid_px < quote.ask_px for quote in quotes)  # type: ignore[operator]
        assert len(bench.twin.streams.conns) == 1
        await stream.aclose()
        with pytest.raises(BadRequest, match="quotes alone"):
            await anext(connected.subscribe((EUR,), Kinds(quotes=False, trades=True)))

    told(tmp_path, story)


def test_bars_come_in_pages_and_what_runs_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(bench: Bench) -> None:
        connected = bench.connector()
        await connected.connect()
        now_ns = bench.clock.now_ns()
        bars = await connected.bars(EUR, MINUTE_NS, now_ns - 100 * MINUTE_NS, now_ns + MINUTE_NS)
        monkeypatch.setattr("trading_system.brokers.oanda.connector.CANDLES_MAX", 7)
        paged = await connected.bars(EUR, MINUTE_NS, now_ns - 100 * MINUTE_NS, now_ns + MINUTE_NS)

        assert bars == paged
        assert len(bars) in (99, 100)
        assert all(bar.open_ns + MINUTE_NS <= now_ns for bar in bars)
        with pytest.raises(BadRequest, match="M1"):
            await connected.bars(EUR, 7 * MINUTE_NS, 0, now_ns)
        for nothing in (connected.trade(EUR), connected.trades(EUR, 0, 1), connected.quotes(EUR, 0, 1)):
            with pytest.raises(BadRequest):
                await nothing

    told(tmp_path, story)


def test_the_closed_market_takes_no_orders_and_has_no_price(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(3_600)  # to the week-end
            with pytest.raises(RiskRefused) as caught:
                await desk.submit(wish("a", "100"))
            quote = await desk.hub.fetch(OANDA.broker, EUR)

            assert caught.value.rule == "HOURS"
            assert quote.mid is None

    told(tmp_path, story, hours="us", start_ns=FRIDAY_NS)


def test_an_order_without_an_answer_is_found_by_its_name(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await desk.hub.fetch(OANDA.broker, EUR)
            bench.network.faults = Faults(lost_answer=1.0, lost_frame=1.0)
            sent = await desk.submit(wish("a", "100"))
            assert sent.doubt is Doubt.IN_DOUBT
            bench.network.faults = Faults(enabled=False)
            done = await settled(desk, sent)

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D(100))
            assert between.placed == 1
            assert bench.twin.exchange.position("EUR_USD") == 100

    conform(tmp_path, OANDA, story)
