"""What is Binance's own about its connector: kinds of keys, clocks, bans, executions without a list over all pairs, history by pages."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as changed

from tests.brokers.binance.twin_client import Client
from tests.conformance.test_orders import WIDE, approved_of
from tests.desks import Bench, SteppedClock, on_bench, settled
from tests.subjects import BINANCE
from trading_system.brokers.binance import connect
from trading_system.brokers.binance import connector as module
from trading_system.domain.errors import AuthFailed, BadRequest, RateLimited, Rejected
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, IntentID
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.order import NewOrder, Replace
from trading_system.domain.ports import Kinds
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults
from trading_system.transport.clock import SAMPLES_MAX

D = Decimal
ETH, SOL = InstrumentID("ETH/USDT"), InstrumentID("SOL/USDT")
HOUR_NS = 3_600 * SECOND_NS


def told(tmp_path: Path, story: Callable[[Bench], Awaitable[None]], **twin: Any) -> None:
    on_bench(tmp_path, story, subject=BINANCE, **twin)


def wish(intent: str, qty: str, side: Side = Side.BUY, **changes: Any) -> NewOrder:
    fields = {"broker": BINANCE.broker, "instrument": ETH, "side": side, "order_qty": D(qty), "intent": IntentID(intent)}
    return NewOrder(**(fields | {"time_in_force": TimeInForce.GTC} | changes))


def stranger(bench: Bench) -> Client:
    """Somebody else with the same key."""
    client = Client.__new__(Client)
    client.twin, client.now_ns, client.key, client.secret = bench.twin, bench.clock.now_ns(), bench.twin.key, bench.twin.secret
    bench.twin.advance(client.now_ns)
    return client


def stepped(bench: Bench, clock: SteppedClock) -> Any:
    return connect(
        http=bench.network.http(),
        dialer=bench.network.dialer(),
        clock=clock,
        rng=random.Random(1),
        credentials=BINANCE.credentials(bench.twin),
        environment="paper",
        options={"url": "http://twin"},
    )


# -- who -------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "may_withdraw", "refused"), [("live", False, None), ("live", True, "may withdraw"), ("paper", False, "live one")]
)
def test_a_live_host_lets_in_a_live_desk_whose_key_cannot_withdraw(tmp_path: Path, environment: str, may_withdraw: bool, refused: str | None) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector(environment)
        if refused is not None:
            with pytest.raises(AuthFailed, match=refused):
                await connector.connect()
            return
        await connector.connect()

        assert (await connector.account()).environment == "live"

    told(tmp_path, story, environment="live", may_withdraw=may_withdraw)


def test_a_key_that_may_transfer_is_refused_and_the_switch_is_named(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(AuthFailed, match="transfer") as refused:
            await bench.connector("live").connect()

        assert "Permits Universal Transfer" in str(refused.value)
        assert "Enable Withdrawals" not in str(refused.value)

    told(tmp_path, story, environment="live", may_transfer=True)


def test_a_clock_that_is_an_hour_off_does_no_harm_and_one_that_steps_is_read_again(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        clock = SteppedClock(bench.clock, HOUR_NS)
        connector = stepped(bench, clock)
        await connector.connect()

        assert connector.skew_ns() > HOUR_NS - SECOND_NS
        for _ in range(SAMPLES_MAX):
            await asyncio.sleep(61)
            await connector.account()  # reads the time anew: what is known of it is old and much
        clock.offset_ns = -HOUR_NS
        assert (await connector.account()).balances["USDT"] == 100_000
        assert connector.skew_ns() > HOUR_NS - SECOND_NS

    told(tmp_path, story)


def test_a_refusal_stops_everything_for_as_long_as_it_says(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        other = stranger(bench)
        while other.send("GET", "exchangeInfo", signed=False).status != 418:
            pass
        with pytest.raises(RateLimited) as caught:
            await connector.account()
        used = bench.twin._weight.used
        for _ in range(5):
            with pytest.raises(RateLimited):
                await connector.quote(ETH)

        assert caught.value.retry_after_ns == 120 * SECOND_NS
        assert bench.twin._weight.used == used
        await asyncio.sleep(121)
        assert (await connector.quote(ETH)).mid is not None

    told(tmp_path, story, requests_per_minute=20)


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def test_books_and_balances_agree_to_the_last_digit(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "1.2345")))
            await settled(desk, await desk.submit(wish("b", "0.5", Side.SELL)))
            await settled(desk, await desk.submit(wish("c", "0.3", instrument=SOL)))
            await asyncio.sleep(60)
            ledger, exchange = desk.books.ledger, bench.twin.exchange

            assert ledger.position(BINANCE.broker, ETH) == exchange.position("ETHUSDT") == D("0.7332655")
            assert ledger.position(BINANCE.broker, SOL) == exchange.position("SOLUSDT") == D("0.2997")
            assert abs(ledger.cash(BINANCE.broker, "USDT") - exchange.cash) < D("1e-7")
            assert desk.books.halts == {}

    told(tmp_path, story)


def test_what_a_market_order_does_not_find_expires(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            done = await settled(desk, await desk.submit(wish("a", "45")))

            assert done.ord_status is OrdStatus.EXPIRED
            assert 0 < done.cum_qty < 45
            assert sum(fill.qty for fill in done.fills) == done.cum_qty
            assert desk.books.blotter.reserved(BINANCE.broker, ETH).orders == 0

    told(tmp_path, story)


def test_a_desk_that_was_killed_asks_for_its_order_in_the_right_pair(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await desk.instrument(BINANCE.broker, ETH)
            await desk.hub.fetch(BINANCE.broker, ETH)
            bench.network.faults = Faults(lost_answer=1.0, lost_frame=1.0)
            sent = await desk.submit(wish("a", "0.5"))
            assert sent.doubt is Doubt.IN_DOUBT
            bench.network.drop_all()
        bench.network.faults = Faults(enabled=False)
        async with bench.desk(WIDE) as desk:
            done = await settled(desk, sent)

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, D("0.5"))
            assert len(bench.twin.exchange.orders) == 1

    told(tmp_path, story)


def test_a_change_is_not_made_of_an_order_that_has_fills_by_then(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            quote = await desk.hub.fetch(BINANCE.broker, ETH)
            assert quote.ask_px is not None
            sent = await desk.submit(wish("a", "14", ord_type=OrdType.LIMIT, price=quote.ask_px))
            approved = changed(approved_of(desk, sent), cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb"), orig_order_id=sent.order_id)
            (order,) = bench.twin.exchange.open_orders()
            assert order.filled_qty
            with pytest.raises(Rejected, match="cancel FAILURE, new order NOT_ATTEMPTED"):
                await desk.brokers[BINANCE.broker].replace(approved)

            assert bench.twin.exchange.open_orders() == [order]
            done = await settled(desk, await desk.cancel(sent.cl_ord_id))
            assert done.ord_status in (OrdStatus.CANCELED, OrdStatus.FILLED)  # not replaced: nothing took its place

    told(tmp_path, story)


@pytest.mark.parametrize("then", ["another change", "a restart", "a cancel"])
def test_an_order_whose_place_another_took_ends_as_replaced_whatever_comes_then(tmp_path: Path, then: str) -> None:
    """Binance calls its end a cancel, and the stream is silent about it."""

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            quote = await desk.hub.fetch(BINANCE.broker, ETH)
            assert quote.bid_px is not None
            lower = [(quote.bid_px * D(part)).quantize(D("0.01")) for part in ("0.99", "0.98", "0.97")]
            first = await desk.submit(wish("a", "0.5", ord_type=OrdType.LIMIT, price=lower[0]))
            bench.network.faults = Faults(lost_frame=1.0, lost_answer=0.0 if then == "another change" else 1.0)
            second = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=lower[1], intent=IntentID("b")))
            bench.network.faults = Faults(lost_frame=1.0)
            if then == "another change":
                refused = await desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=lower[2], intent=IntentID("c")))
                assert refused.ord_status is OrdStatus.REJECTED
            elif then == "a cancel":
                await desk.cancel(first.cl_ord_id)
            bench.network.drop_all()
        bench.network.faults = Faults(enabled=False)
        async with bench.desk(WIDE) as desk:
            assert await desk.wait(lambda: desk.books.blotter.get(first.cl_ord_id).settled, 120 * SECOND_NS)  # type: ignore[union-attr]
            await desk.wait(lambda: desk.books.blotter.get(second.cl_ord_id).settled, 60 * SECOND_NS)  # type: ignore[union-attr]
            old, new = desk.books.blotter.get(first.cl_ord_id), desk.books.blotter.get(second.cl_ord_id)
            assert old is not None
            assert new is not None

            assert old.ord_status is OrdStatus.REPLACED
            assert new.ord_status is (OrdStatus.CANCELED if then == "a cancel" else OrdStatus.NEW)  # who wants the one gone, wants the other gone
            assert desk.books.halts == {}

    told(tmp_path, story)


def test_what_was_bought_is_guarded_but_for_its_fee_and_goes_out_whole(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await desk.instrument(BINANCE.broker, ETH)
            quote = await desk.hub.fetch(BINANCE.broker, ETH)
            assert quote.bid_px is not None
            stop_px = (quote.bid_px * D("0.95")).quantize(D("0.01"))
            await settled(desk, await desk.submit(wish("a", "1", protect_stop_px=stop_px)))
            await asyncio.sleep(5)
            (stop,) = bench.twin.exchange.open_orders()

            assert (stop.ticket.ord_type, stop.stop_px, stop.qty) == (OrdType.STOP, stop_px, D("0.999"))
            assert desk.books.halts == {}
            assert not [text for text, _ in desk.books.critical()]
            residue = await desk.flatten()
            assert (residue.positions, residue.orders, residue.problems) == ((), (), ())

    told(tmp_path, story)


def test_a_trade_by_hand_in_another_pair_shows_by_its_balance_and_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(bench: Bench) -> None:
        monkeypatch.setattr(module, "QUIET_PER_LOOK", 0)  # it is not found because it was its turn
        connector = bench.connector()
        await connector.connect()
        await connector.account()
        stranger(bench).order(symbol="SOLUSDT", quantity="2", newClientOrderId="by-hand")
        snapshot = await connector.account()
        (report,) = await connector.fills(bench.clock.now_ns() - HOUR_NS)

        assert [(position.instrument, position.qty) for position in snapshot.positions] == [(SOL, D("1.998"))]
        assert (report.instrument, report.cl_ord_id, report.last_qty, report.cum_qty) == (SOL, ClOrdID("by-hand"), D(2), D(2))
        assert (report.fee, report.fee_currency, report.ord_status) == (D("0.002"), SOL, OrdStatus.FILLED)

    told(tmp_path, story)


def test_more_executions_than_a_page_holds_are_all_read(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        await connector.instruments((ETH,))
        start_ns = bench.clock.now_ns()
        for number in range(1_050):
            if number % 100 == 0:
                await asyncio.sleep(10)
                other = stranger(bench)
            assert other.order(quantity="0.01").status == 200
        real = list(bench.twin.exchange.executions)

        assert len(real) > 1_000
        for since_ns in (0, start_ns):
            assert [report.exec_id for report in await connector.fills(since_ns)] == real

    told(tmp_path, story)


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def test_history_comes_whole_over_all_pages(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector, now_ns, market = bench.connector(), bench.clock.now_ns(), bench.twin.market
        start_ns = now_ns - HOUR_NS
        trades = await connector.trades(ETH, start_ns, now_ns)
        bars = await connector.bars(ETH, 60 * SECOND_NS, now_ns - 24 * HOUR_NS, now_ns + HOUR_NS)
        minutes = [bar.open_ns for bar in bars]

        assert [trade.trade_id for trade in trades] == [str(done.trade_id) for done in market.prints("ETHUSDT", start_ns, now_ns)]
        assert len(trades) > 2_000
        assert len(bars) == 24 * 60 - 1  # neither the one that had begun before, nor the one that runs
        assert minutes == list(range(minutes[0], minutes[-1] + 1, 60 * SECOND_NS))
        assert minutes[-1] + 60 * SECOND_NS <= bench.clock.now_ns()
        assert all(bar.low <= bar.vwap <= bar.high for bar in bars)
        for refused in (connector.quotes(ETH, start_ns, now_ns), connector.bars(ETH, 7, start_ns, now_ns), connector.quote(InstrumentID("ETH/EUR"))):
            with pytest.raises(BadRequest):
                await refused

    told(tmp_path, story)


def test_a_subscription_brings_quotes_trades_and_bars(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        seen: dict[type, list[Any]] = {Quote: [], Trade: [], Bar: []}

        async def read() -> None:
            async for event in connector.subscribe((ETH, SOL), Kinds(quotes=True, trades=True, bars=True)):
                seen.setdefault(type(event), []).append(event)

        reading = asyncio.create_task(read())
        await asyncio.sleep(125)
        reading.cancel()

        assert {quote.instrument for quote in seen[Quote]} == {ETH, SOL}
        assert all(abs(quote.recv_ns - quote.transact_ns) < SECOND_NS for quote in seen[Quote])
        assert len(seen[Trade]) > 50
        assert len(seen[Bar]) in (4, 6)

    told(tmp_path, story)
