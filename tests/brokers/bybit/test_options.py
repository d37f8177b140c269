"""Options through connector and desk on the twin: names, chains, quotes and trades, what is refused before sending, and what a delivery books."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace as changed

from tests.brokers.bybit.test_codec import raw
from tests.brokers.bybit.test_connector import WIDE, agreed, run, wish
from tests.conformance.test_orders import approved_of
from tests.desks import Bench, on_bench, settled
from tests.subjects import BYBIT, BYBIT_WS, Subject
from trading_system.app.desk import Desk
from trading_system.brokers.bybit import codec, wire
from trading_system.brokers.bybit.session import DataSession
from trading_system.domain.errors import BadRequest, ProtocolError, RiskRefused
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import BookSnapshot, Quote, Trade
from trading_system.domain.option import Right, parse_option
from trading_system.domain.order import Attached
from trading_system.domain.ports import Kinds, Link, OptionData, StreamState
from trading_system.sim.clock import SECOND_NS, START_NS
from trading_system.transport.session import StreamRefused

D = Decimal
NOW = 1_700_000_000_000_000_000
BTC = InstrumentID("BTC/USDT")
CALL, PUT = InstrumentID("BTC-25DEC26-140000-C/USDT"), InstrumentID("BTC-25DEC26-140000-P/USDT")
HOUR_NS = 3_600 * SECOND_NS
NEXT_END_S = 24 * 3_600 - START_NS // SECOND_NS % 86_400 + 8 * 3_600  # from the start to eight o'clock of the next day
TAKES = changed(WIDE, option_max_premium_pct=D(1), enable_uncovered_options=True)


async def quoted(desk: Desk, name: InstrumentID, side: Side) -> Decimal:
    """The price at which the other side of the market is."""
    price = (await desk.hub.fetch(BYBIT.broker, name)).touch(side)
    assert price is not None
    return price


async def trade(desk: Desk, intent: str, name: InstrumentID, side: Side = Side.BUY, qty: str = "0.1") -> Any:
    return await settled(desk, await desk.submit(wish(intent, qty, side, name, price=await quoted(desk, name, side))))


async def tomorrow(desk: Desk, right: Right) -> tuple[InstrumentID, InstrumentID]:
    """Of the options that end tomorrow, the second lowest strike and the second highest."""
    source = desk.brokers[BYBIT.broker]
    assert isinstance(source, OptionData)
    lines = await source.chain(BTC, (await source.expiries(BTC))[0], right)
    return lines[1].instrument, lines[-2].instrument


# -- words -----------------------------------------------------------------------------------------------------------------------------------------


def test_a_listing_that_is_not_what_its_symbol_says_is_refused() -> None:
    fields = raw("instrument_option")

    def listed(**changes: Any) -> Any:
        return codec.decode_instrument(msgspec.convert(fields | changes, wire.Instrument), "option")

    known = listed()
    assert (known.id, known.asset_class, known.lot, known.multiplier) == ("BTC-27MAR26-70000-P/USDT", AssetClass.CRYPTO_OPTION, D("0.01"), 1)
    assert known.contract == parse_option("BTC-27MAR26-70000-P/USDT")
    assert not listed(status="Delivering").tradable
    for changes in ({"optionsType": "Call"}, {"optionsType": "Straddle"}, {"deliveryTime": "1774684800000"}, {"symbol": "BTC-27MAR26-70000-USDT"}):
        with pytest.raises(ProtocolError):
            listed(**changes)


def test_published_tickers_of_options_are_read() -> None:
    line = codec.decode_snapshot(msgspec.convert(raw("ticker_option"), wire.Ticker), NOW)
    session = DataSession("wss://host/v5/public", "option", (InstrumentID("BTC-6JAN23-17500-C/USDC"),), Kinds(quotes=True))
    (quote,) = session.on_frame(json.dumps(raw("stream_option")).encode(), NOW).events

    assert line.greeks is not None
    assert (line.instrument, line.implied_volatility, line.greeks.theta) == ("BTC-30DEC22-18000-C/USDC", D("0.7567"), D("-0.00000152"))
    assert isinstance(quote, Quote)
    assert (quote.bid_px, quote.ask_px, quote.ask_qty, quote.transact_ns) == (None, D(10), D("5.1"), 1_672_917_511_074_000_000)


def test_a_ticker_without_volatility_and_greeks_is_a_line_without_them() -> None:
    ticker = wire.Ticker(symbol="ETH-3JAN27-1250-P-USDT", lastPrice="", bid1Price="0", bid1Size="0", ask1Price="12.5", ask1Size="3")
    line = codec.decode_snapshot(ticker, NOW)

    assert (line.instrument, line.contract.expiry, line.implied_volatility, line.greeks) == ("ETH-3JAN27-1250-P/USDT", date(2027, 1, 3), None, None)
    assert line.quote is not None
    assert (line.quote.bid_px, line.quote.bid_qty, line.quote.ask_px, line.quote.ask_qty) == (None, 0, D("12.5"), 3)


@pytest.mark.parametrize(
    ("symbol", "side", "price", "entry", "made", "closes", "at"),
    [
        ("ETH-14JUN23-1750-C-USDT", "Buy", "1740.25036667", "", "0.175", Side.BUY, "0"),  # the example of the documents: no entry price
        ("BTC-29JUL22-27000-C-USDT", "Sell", "23927.85304688", "", "0", Side.SELL, "0"),  # another one
        ("BTC-29JUL22-27000-C-USDT", "Buy", "28000", "300", "70", Side.SELL, "1000"),  # whatever `side` says: it made money, so it was held
        ("BTC-29JUL22-27000-P-USDT", "Sell", "26000", "1200", "20", Side.BUY, "1000"),
        ("BTC-29JUL22-27000-P-USDT", "Sell", "26000", "1000", "0", Side.SELL, "1000"),
    ],
)
def test_a_delivered_option_is_closed_at_what_it_gives(symbol: str, side: str, price: str, entry: str, made: str, closes: Side, at: str) -> None:
    record = wire.Delivery(
        deliveryTime=1_686_729_604_507, symbol=symbol, side=side, position="0.1", entryPrice=entry, deliveryPrice=price, fee="0", deliveryRpl=made
    )
    report = codec.decode_delivery(record, "option", NOW)

    assert (report.side, report.last_px, report.last_qty, report.fee_currency) == (closes, D(at), D("0.1"), "USDT")


def test_a_subscription_that_fails_in_part_is_refused() -> None:
    session = DataSession("wss://host/v5/public", "option", (CALL, PUT), Kinds(quotes=True, trades=True))
    asked = json.loads(session.on_open(NOW).send[0])["args"]
    assert asked == ["tickers.BTC-25DEC26-140000-C-USDT", "publicTrade.BTC", "tickers.BTC-25DEC26-140000-P-USDT"]
    ack = {"success": True, "conn_id": "c", "data": {"failTopics": [], "successTopics": asked}, "type": "COMMAND_RESP"}

    assert session.on_frame(json.dumps(ack).encode(), NOW).ready
    with pytest.raises(StreamRefused, match=r"publicTrade\.BTC"):
        session.on_frame(json.dumps(ack | {"data": {"failTopics": ["publicTrade.BTC"]}}).encode(), NOW)
    with pytest.raises(ProtocolError):
        session.on_frame(b'{"success":true,"data":[1],"type":"COMMAND_RESP"}', NOW)


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def test_a_chain_has_its_days_both_rights_and_greeks_but_rho(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(TAKES) as desk:
            source = desk.brokers[BYBIT.broker]
            assert isinstance(source, OptionData)
            days = await source.expiries(BTC)
            whole = await source.chain(BTC, days[-1])
            puts = await source.chain(BTC, days[-1], Right.PUT)

            assert days[-1] == date(2026, 12, 25)
            assert {line.contract.right for line in whole} == set(Right)
            assert [line.instrument for line in puts] == [line.instrument for line in whole if line.contract.right is Right.PUT]
            assert all(line.greeks is not None and line.greeks.rho is None and line.greeks.vega > 0 for line in whole)
            assert all(line.implied_volatility is not None and D("0.2") < line.implied_volatility < 2 for line in whole)
            assert await source.expiries(InstrumentID("SOL/USDT")) == await source.expiries(InstrumentID("BTC/USDC")) == ()
            with pytest.raises(BadRequest, match="no bars of options"):
                await source.bars(CALL, 60 * SECOND_NS, START_NS, START_NS + HOUR_NS)  # type: ignore[attr-defined]
            with pytest.raises(BadRequest, match="no option"):
                await desk.instrument(BYBIT.broker, InstrumentID("BTC-25DEC26-1-C/USDT"))

    run(tmp_path, story)


def test_quotes_trades_and_books_come_by_stream(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(TAKES) as desk:
            connector: Any = desk.brokers[BYBIT.broker]
            heard = await listened(connector.subscribe((CALL, BTC), Kinds(quotes=True, trades=True)), 300)
            quotes = [event for event in heard if isinstance(event, Quote) and event.instrument == CALL]
            trades = [event for event in heard if isinstance(event, Trade) and event.instrument == CALL]
            asked = await connector.quote(CALL)

            assert {event.stream for event in heard if isinstance(event, StreamState) and event.link is Link.LIVE} == {"option", "spot"}
            assert {event.instrument for event in heard if isinstance(event, Trade)} == {CALL, BTC}
            assert all(quote.bid_px < quote.ask_px for quote in quotes)
            assert trades
            assert abs((quotes[-1].mid or D(0)) / asked.mid - 1) < D("0.01")
            assert trades[-1].trade_id in {done.trade_id for done in await connector.trades(CALL, START_NS, bench.clock.now_ns())}
            assert (await connector.trade(CALL)).price == trades[-1].price
            books = await listened(connector.subscribe_depth((CALL,), 10), 30)
            (last,) = [book for book in books if isinstance(book, BookSnapshot)][-1:]
            assert last.bids[0][0] < last.asks[0][0]
            with pytest.raises(BadRequest, match="100 levels"):
                await listened(connector.subscribe_depth((CALL,), 101), 1)
            with pytest.raises(BadRequest, match="no bars"):
                await listened(connector.subscribe((CALL,), Kinds(bars=True)), 1)

    run(tmp_path, story)


async def listened(stream: AsyncIterator[Any], seconds: int) -> list[Any]:
    heard: list[Any] = []

    async def listen() -> None:
        async for event in stream:
            heard.append(event)

    task = asyncio.create_task(listen())
    await asyncio.wait({task}, timeout=seconds)
    if task.done():
        task.result()
    task.cancel()
    return heard


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def test_stops_protection_and_exits_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(TAKES) as desk:
            price = await quoted(desk, CALL, Side.BUY)
            low, high = price - 1000, price + 1000
            for number, changes in enumerate(
                (
                    {"ord_type": OrdType.STOP, "stop_px": high},
                    {"ord_type": OrdType.STOP_LIMIT, "stop_px": high, "price": high},
                    {"ord_type": OrdType.TRAILING_STOP, "trail_pct": D("0.1")},
                    {"price": price, "protect_stop_px": low},
                    {"price": price, "attached": Attached(take_profit_px=high, stop_px=low)},
                    {"price": price, "time_in_force": TimeInForce.DAY},
                )
            ):
                with pytest.raises(RiskRefused) as caught:
                    await desk.submit(wish(f"k{number}", "0.1", Side.BUY, CALL, **changes))
                assert caught.value.rule == "CAPABILITY", changes
            assert bench.twin.exchange.orders == {}

    run(tmp_path, story)


@pytest.mark.parametrize("subject", [BYBIT, BYBIT_WS], ids=["rest", "websocket"])
def test_an_option_is_bought_and_sold_again_and_money_units_and_fees_agree(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(TAKES) as desk:
            bought = await trade(desk, "a", CALL, qty="0.2")
            account = await desk.brokers[BYBIT.broker].account()
            (held,) = account.positions

            assert (held.instrument, held.qty, held.avg_px) == (CALL, D("0.2"), bought.avg_px)
            assert account.balances["USDT"] == bench.twin.exchange.cash == 100_000 - D("0.2") * bought.avg_px - sum(fill.fee for fill in bought.fills)
            assert abs(account.equity - account.cash - held.qty * (held.mark_px or D(0))) < D("0.01")
            sold = await settled(
                desk, await desk.submit(wish("b", "0.2", Side.SELL, CALL, price=await quoted(desk, CALL, Side.SELL), reduce_only=True))
            )
            body = codec.encode_order(approved_of(desk, sold))
            assert (body.category, body.reduceOnly, body.positionIdx, body.marketUnit) == ("option", True, None, None)
            assert (sold.ord_status, desk.books.ledger.position(BYBIT.broker, CALL)) == (OrdStatus.FILLED, 0)
            assert agreed(desk, bench)
            assert desk.books.halts == {}
            assert [len(line.names) for line in bench.twin.trade.conns.values()] == ([2] if subject is BYBIT_WS else [])

    on_bench(tmp_path, story, subject=subject)


def test_flatten_cancels_and_closes_options_too(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(TAKES) as desk:
            await trade(desk, "a", CALL)
            await trade(desk, "b", PUT, Side.SELL)
            await desk.submit(wish("c", "0.1", Side.BUY, CALL, price=await quoted(desk, CALL, Side.BUY) * D("0.8") // 5 * 5))
            await asyncio.sleep(1)
            residue = await desk.flatten()

            assert (residue.orders, residue.positions, residue.problems) == ((), (), ())
            assert agreed(desk, bench)

    run(tmp_path, story)


# -- the end ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", list(Right))
@pytest.mark.parametrize("side", list(Side))
def test_what_ends_while_the_desk_runs_is_booked_at_what_it_gives(tmp_path: Path, side: Side, right: Right) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(TAKES) as desk:
            names = await tomorrow(desk, right)
            entries = [await trade(desk, f"k{place}", name, side) for place, name in enumerate(names)]
            assert [one.ord_status for one in entries] == [OrdStatus.FILLED] * 2
            await asyncio.sleep(NEXT_END_S + 1_800)
            ends = {order.instrument: order for order in desk.books.blotter if order.external}
            spot = bench.twin.exchange.mark("BTC/USDT", START_NS + NEXT_END_S * SECOND_NS)

            assert set(ends) == set(names)
            for name, end in ends.items():
                assert (end.side, end.cum_qty, end.fills[0].price) == (side.opposite, D("0.1"), parse_option(name).payoff(spot))
            assert {end.fills[0].price > 0 for end in ends.values()} == {right is Right.CALL}  # the coin rose that much
            assert [desk.books.ledger.position(BYBIT.broker, name) for name in names] == [0, 0]
            assert agreed(desk, bench)
            assert desk.books.halts == {}
        async with bench.desk(TAKES) as desk:
            await asyncio.sleep(60)

            assert desk.ready[BYBIT.broker]
            assert desk.books.halts == {}

    run(tmp_path, story)
