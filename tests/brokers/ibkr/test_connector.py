"""What sets TWS's connector apart, through its front door: numbers, errors, lost links, late fees, other clients, a read-only API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.conformance.between import order
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, on_bench, settled
from tests.subjects import IBKR
from trading_system.app.desk import Desk
from trading_system.brokers.ibkr.twin.forms import Form, Wanted, error, open_order
from trading_system.brokers.ibkr.tws.feeds import Levels
from trading_system.brokers.ibkr.tws.session import Heard
from trading_system.domain.errors import BadRequest, InDoubt, ProtocolError, Rejected, Unavailable
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import BookSnapshot, Quote
from trading_system.domain.order import Order
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.sim.clock import SECOND_NS

D = Decimal
AAPL = InstrumentID("AAPL")
Story = Callable[[Bench, Desk], Awaitable[None]]


def on_desk(tmp_path: Path, story: Story, **twin: Any) -> None:
    """A story with a desk that has come up."""

    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await story(bench, desk)

    on_bench(tmp_path, main, subject=IBKR, **twin)


async def low(desk: Desk, fraction: str = "0.98") -> Decimal:
    quote = await desk.brokers[IBKR.broker].quote(AAPL)
    assert quote.mid is not None
    return (quote.mid * D(fraction)).quantize(D("0.01"))


async def resting(desk: Desk, intent: str = "rests") -> Order:
    limit = {"ord_type": OrdType.LIMIT, "price": await low(desk), "time_in_force": TimeInForce.GTC}
    sent = await desk.submit(order(IBKR, AssetClass.EQUITY, intent, **limit, repeat=True))
    await desk.wait(lambda: now(desk, sent).ord_status is OrdStatus.NEW, 5 * SECOND_NS)
    return now(desk, sent)


def now(desk: Desk, sent: Order) -> Order:
    found = desk.books.blotter.get(sent.cl_ord_id)
    assert found is not None
    return found


def say(bench: Bench, message: bytes) -> None:
    """TWS says this to everybody."""
    for conn in bench.twin._clients:
        bench.twin._send(conn, message)
    bench.network.carry(bench.twin)


@pytest.mark.parametrize("code", [10349, 399, 2109, 98765, 201, 104, 161])
def test_no_error_ends_an_order_that_works(tmp_path: Path, code: int) -> None:
    """ib_async takes most of these for a cancel."""

    async def story(bench: Bench, desk: Desk) -> None:
        sent = await resting(desk)
        assert sent.order_id is not None
        say(bench, error(int(sent.order_id.partition("-")[2]), code, "something is said of it"))
        await asyncio.sleep(30)

        assert now(desk, sent).ord_status is OrdStatus.NEW
        assert (await settled(desk, await desk.cancel(sent.cl_ord_id))).ord_status is OrdStatus.CANCELED

    on_desk(tmp_path, story)


def test_a_lost_link_is_told_stops_entries_and_loses_no_fill(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        limit = {"ord_type": OrdType.LIMIT, "price": await low(desk, "0.9999"), "time_in_force": TimeInForce.GTC}
        sent = await desk.submit(order(IBKR, AssetClass.EQUITY, "a", "3", **limit))
        bench.twin.lose()
        bench.network.carry(bench.twin)
        assert await desk.wait(lambda: not desk.ready[IBKR.broker], SECOND_NS)
        connector = desk.brokers[IBKR.broker]
        with pytest.raises(Unavailable, match="no link to IB"):
            await connector.submit(approved(desk, sent))
        await asyncio.sleep(3600)  # it fills, and nothing is told
        assert bench.twin.exchange.position("AAPL") == 3
        bench.twin.advance(bench.clock.now_ns())
        bench.twin.restore(kept=True)
        bench.network.carry(bench.twin)
        done = await settled(desk, sent)

        assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, 3)
        assert done.fills[0].fee > 0
        assert await desk.wait(lambda: desk.ready[IBKR.broker], 60 * SECOND_NS)

    on_desk(tmp_path, story)


def approved(desk: Desk, sent: Order) -> Any:
    from tests.conformance.test_orders import approved_of

    return approved_of(desk, sent)


def test_no_number_is_given_out_twice_when_tws_counts_backwards(tmp_path: Path) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            first = await resting(desk)
        bench.twin.restart(back=1_000)
        async with bench.desk(WIDE) as desk:
            second = await resting(desk, "second")

            numbers = [int(str(sent.order_id).partition("-")[2]) for sent in (first, second)]
            assert numbers[0] < numbers[1]
            assert [now(desk, sent).ord_status for sent in (first, second)] == [OrdStatus.NEW] * 2
            assert len(bench.twin.trading.placed) == 2

    on_bench(tmp_path, main, subject=IBKR)


def test_a_taken_client_id_is_said(tmp_path: Path) -> None:
    async def main(bench: Bench) -> None:
        first, second = bench.connector(), bench.connector()
        await first.connect()
        with pytest.raises(Unavailable, match="uses this IB_CLIENT_ID"):
            await second.connect()
        await first.aclose()
        await second.connect()  # once it is free
        await second.aclose()

    on_bench(tmp_path, main, subject=IBKR)


def test_no_tws_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    async def main(bench: Bench) -> None:
        bench.network.hosts = {}
        with pytest.raises(Unavailable, match="Start TWS or IB Gateway"):
            await bench.connector().connect()

    on_bench(tmp_path, main, subject=IBKR)


def test_a_read_only_api_is_explained(tmp_path: Path) -> None:
    async def main(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        with pytest.raises(Unavailable, match="untick Read-Only API"):
            await connector.open_orders()
        assert (await connector.account()).equity == 100_000
        await connector.aclose()

    on_bench(tmp_path, main, subject=IBKR, read_only=True)


@pytest.mark.parametrize("first", [False, True], ids=["fee last", "fee first"])
def test_every_fill_has_its_fee(tmp_path: Path, *, first: bool) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        bench.twin.trading.commission_first = first
        done = await settled(desk, await desk.submit(order(IBKR, AssetClass.EQUITY, "a", "250")))
        await asyncio.sleep(30)

        fees = sum(fill.fee for fill in done.fills)
        assert fees == sum(bench.twin.exchange.fees.values()) > 0
        assert abs(desk.books.ledger.cash(IBKR.broker, "USD") - bench.twin.exchange.cash) < D("0.0001")

    on_desk(tmp_path, story)


def test_a_list_of_executions_without_an_end_is_read_all_the_same(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        bench.twin.silent = True
        assert await desk.brokers[IBKR.broker].fills(0) == ()

    on_desk(tmp_path, story)


def test_a_change_that_is_refused_leaves_the_order_as_it_was(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        sent = await resting(desk)
        before = approved(desk, sent)
        off_grid = replace(
            before, cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb"), orig_order_id=sent.order_id, request=replace(before.request, price=D("9.123"))
        )
        with pytest.raises(Rejected, match="110"):
            await desk.brokers[IBKR.broker].replace(off_grid)
        await asyncio.sleep(30)

        assert (now(desk, sent).ord_status, now(desk, sent).price) == (OrdStatus.NEW, sent.price)

    on_desk(tmp_path, story)


def test_another_clients_order_is_seen_and_left_alone(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        wanted = Wanted(265598, "", "", "", D(0), "", "", "", "", "", "", "")
        price = await low(desk)
        form = Form(order_id=1, contract=wanted, action="BUY", qty=D(2), order_type="LMT", limit=price, tif="DAY", ref="somebody")
        bench.twin.trading.place(8, form, bench.clock.now_ns())
        ours = await resting(desk)
        assert await desk.wait(lambda: len(desk.books.blotter.working()) == 2, 60 * SECOND_NS)
        other = next(one for one in desk.books.blotter.working() if one.external)
        with pytest.raises(Rejected, match="by client 8"):
            await desk.cancel(other.cl_ord_id)

        assert {now(desk, one).ord_status for one in (ours, other)} == {OrdStatus.NEW}

    on_desk(tmp_path, story)


def test_another_account_of_the_same_login_is_none_of_ours(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        sent = await resting(desk)
        shown = bench.twin.trading.show(bench.twin.trading.placed[int(str(sent.order_id).partition("-")[0])])
        theirs = replace(shown, perm_id=77, form=replace(shown.form, account="DU7777777", ref="q1ddddddddddddddddd"))
        say(bench, open_order(theirs))
        await asyncio.sleep(30)

        assert [one.cl_ord_id for one in desk.books.blotter] == [sent.cl_ord_id]
        assert desk.books.halts == {}

    on_desk(tmp_path, story, others=("DU7777777",))


def test_an_order_without_an_answer_is_in_doubt_and_found(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        await low(desk)
        real, bench.twin._tell = bench.twin._tell, lambda *_: None
        bench.twin.trading._send = bench.twin._tell
        sent = await desk.submit(order(IBKR, AssetClass.EQUITY, "a", "2"))
        assert sent.doubt is Doubt.IN_DOUBT
        bench.twin._tell = bench.twin.trading._send = real
        done = await settled(desk, sent)

        assert (done.ord_status, done.cum_qty, done.doubt) == (OrdStatus.FILLED, 2, Doubt.NONE)
        assert len(bench.twin.trading.placed) == 1

    on_desk(tmp_path, story)


def test_a_connection_that_ends_on_an_order_leaves_it_in_doubt(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        await resting(desk)
        template = approved(desk, now(desk, desk.books.blotter.working()[0]))
        task = asyncio.create_task(desk.brokers[IBKR.broker].submit(replace(template, cl_ord_id=ClOrdID("q1cccccccccccccccc"))))
        await asyncio.sleep(0)
        bench.network.drop_all()
        with pytest.raises((InDoubt, Unavailable)):
            await task

    on_desk(tmp_path, story)


# -- prices ----------------------------------------------------------------------------------------------------------------------------------------


def test_prices_are_streamed_and_asked_for_again_when_ib_lost_them(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        seen: list[Any] = []

        async def read() -> None:
            async for event in desk.brokers[IBKR.broker].subscribe([AAPL], Kinds(trades=True)):
                seen.append(event)

        task = asyncio.create_task(read())
        await asyncio.sleep(10)
        assert {type(event).__name__ for event in seen} == {"StreamState", "Quote", "Trade"}
        bench.twin.lose()
        bench.network.carry(bench.twin)
        bench.twin.restore(kept=False)
        bench.network.carry(bench.twin)
        await asyncio.sleep(1)
        seen.clear()
        await asyncio.sleep(10)

        assert any(isinstance(event, Quote) for event in seen)
        task.cancel()
        await asyncio.wait((task,))
        await asyncio.sleep(1)
        assert [stream for stream in bench.twin.data.streams.values() if stream.line.name == "AAPL"] == []

    on_desk(tmp_path, story)


def test_books_are_built_row_by_row(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        events = desk.brokers[IBKR.broker].subscribe_depth([AAPL], 3)
        books = []
        async with asyncio.timeout(60):
            while len(books) < 20:
                event = await anext(events)
                books += [event] if isinstance(event, BookSnapshot) else []
        await events.aclose()
        whole = [book for book in books if len(book.bids) == len(book.asks) == 3]

        assert whole
        for book in whole:
            assert list(book.bids) == sorted(book.bids, reverse=True)
            assert list(book.asks) == sorted(book.asks)
        await asyncio.sleep(1)
        assert {stream.kind for stream in bench.twin.data.streams.values()} <= {"quotes"}

    on_desk(tmp_path, story)


def test_a_row_that_cannot_be_there_is_no_row() -> None:
    levels = Levels(AAPL)
    levels.take(Heard("updateMktDepth", (1, 0, 0, 0, 10.5, 100.0)), 1)
    book = levels.take(Heard("updateMktDepthL2", (1, 0, "ARCA", 0, 1, 10.4, 200.0, True)), 2)

    assert book is not None
    assert (book.asks, book.bids) == (((D("10.5"), D(100)),), ((D("10.4"), D(200)),))
    with pytest.raises(ProtocolError, match="cannot be there"):
        levels.take(Heard("updateMktDepth", (1, 1, 1, 0, 10.6, 1.0)), 3)
    assert levels.take(Heard("updateMktDepth", (1, 0, 2, 1, 0.0, 0.0)), 4) is None


def test_a_competing_login_is_told_and_tried_again(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        bench.twin.data.competing = True
        events = desk.brokers[IBKR.broker].subscribe([AAPL], Kinds())
        states = [await anext(events) for _ in range(2)]
        assert [event.link for event in states if isinstance(event, StreamState)] == [Link.LIVE, Link.GAP]
        assert "competing" in states[1].text
        bench.twin.data.competing = False
        async with asyncio.timeout(60):
            while not isinstance(await anext(events), Quote):
                pass
        await events.aclose()

    on_desk(tmp_path, story)


def test_the_past_is_read_in_bars_quotes_and_trades(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        source, end_ns = desk.brokers[IBKR.broker], bench.clock.now_ns() // (60 * SECOND_NS) * 60 * SECOND_NS
        bars = await source.bars(AAPL, 60 * SECOND_NS, end_ns - 600 * SECOND_NS, end_ns)
        trades = await source.trades(AAPL, end_ns - 60 * SECOND_NS, end_ns)
        quotes = await source.quotes(AAPL, end_ns - 30 * SECOND_NS, end_ns)

        assert len(bars) == 10
        assert (bars[-1].high, bars[-1].low) == (max(trade.price for trade in trades), min(trade.price for trade in trades))
        assert sum(trade.qty for trade in trades) == bars[-1].volume
        assert len({trade.trade_id for trade in trades}) == len(trades)
        assert all(quote.bid_px < quote.ask_px for quote in quotes)  # type: ignore[operator]
        with pytest.raises(BadRequest, match="bars of"):
            await source.bars(AAPL, 7 * SECOND_NS, 0, end_ns)

    on_desk(tmp_path, story)


async def exhausted(events: AsyncIterator[object]) -> None:
    async for _ in events:
        pass


def test_a_word_that_nobody_knows_is_an_event_and_the_line_goes_on(tmp_path: Path) -> None:
    async def story(bench: Bench, desk: Desk) -> None:
        connector = bench.beside()
        await connector.connect()
        events = connector.events()
        await anext(events)
        sent = await resting(desk)
        shown = bench.twin.trading.placed[int(str(sent.order_id).partition("-")[0])]
        say(bench, open_order(bench.twin.trading.show(shown)).replace(b"\0Submitted\0", b"\0Levitating\0"))
        with pytest.raises(ProtocolError, match="Levitating"):
            await exhausted(events)
        assert await connector.open_orders()
        await connector.aclose()

    on_desk(tmp_path, story)
