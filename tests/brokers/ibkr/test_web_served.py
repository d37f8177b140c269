"""The Web API over real sockets: a served twin, and a production desk that the settings point at it; and what stands between a wish and an order."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.conformance.between import order
from tests.desks import Bench, on_bench, settled, wish
from tests.subjects import IBKR_WEB
from trading_system.app import build
from trading_system.app.config import load_config
from trading_system.brokers.ibkr.web import codec, errors, wire
from trading_system.brokers.ibkr.web.facts import ANSWERED, QUESTIONS_MAX
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import Doubt, OrdStatus, Side
from trading_system.domain.ids import ClOrdID
from trading_system.domain.instrument import AssetClass
from trading_system.transport.message import Response


async def test_a_desk_trades_by_the_web_on_the_twin_that_the_settings_name(tmp_path: Path) -> None:
    async with build.served_twin("ibkr", seed=3, web=True) as twin:
        settings = {"IBKR_TRANSPORT": "web", "IBKR_URL": twin["rest"], "IB_ACCOUNT": twin["account"], "TRADING_HOME": str(tmp_path)}
        config = load_config(settings, folder=tmp_path)
        async with build.open_desk(config, listen=False) as desk:
            done = await settled(desk, await desk.submit(order(IBKR_WEB, AssetClass.EQUITY, "a", "2")))

            assert (done.ord_status, done.cum_qty) == (OrdStatus.FILLED, Decimal(2))
            assert done.fills[0].fee > 0
            residue = await desk.flatten()
            assert (residue.problems, residue.orders, residue.positions) == ((), (), ())


async def test_only_one_broker_has_two_ways_in() -> None:
    with pytest.raises(BadRequest, match="one way in"):
        async with build.served_twin("kraken", web=True):
            pass


def on_web(tmp_path: Path, story: Any, **twin: Any) -> None:
    on_bench(tmp_path, story, subject=IBKR_WEB, **twin)


def buy(intent: str, price: str | None = None) -> Any:
    return wish(intent, "1", Side.BUY, price=None if price is None else Decimal(price), broker=IBKR_WEB.broker)


def test_a_question_on_the_list_gets_a_yes(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            done = await settled(desk, await desk.submit(buy("a")))

            assert (done.ord_status, done.doubt) == (OrdStatus.FILLED, Doubt.NONE)

    on_web(tmp_path, story, asks=("o354", "o10151", "p12"))


@pytest.mark.parametrize("question", ["o2137", "o99999"])
def test_any_other_question_is_shown_and_nothing_is_placed(tmp_path: Path, question: str) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            done = await desk.submit(buy("a"))

            assert (done.ord_status, done.doubt) == (OrdStatus.REJECTED, Doubt.NONE)
            assert "Are you sure" in done.text or "cross" in done.text
            assert question in done.text
            assert bench.twin.trading.placed == {}
            assert question not in ANSWERED

    on_web(tmp_path, story, asks=("o354", question))


def test_questions_without_end_are_no_order(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            done = await desk.submit(buy("a"))

            assert (done.ord_status, done.doubt) == (OrdStatus.REJECTED, Doubt.NONE)
            assert f"more than {QUESTIONS_MAX} questions" in done.text
            assert bench.twin.trading.placed == {}

    on_web(tmp_path, story, asks=tuple(sorted(ANSWERED)))


def test_orders_that_come_together_do_not_spoil_each_others_questions(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            done = await asyncio.gather(*(desk.submit(msgspec.structs.replace(buy(letter), repeat=True)) for letter in "ab"))

            assert [(await settled(desk, one)).ord_status for one in done] == [OrdStatus.FILLED] * 2

    on_web(tmp_path, story, asks=("o354", "o10151"))


def test_the_same_reference_is_one_order(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        form = {"conid": 265598, "side": "BUY", "tif": "DAY", "orderType": "MKT", "quantity": 1, "cOID": "q1aaaaaaaaaaaaaaaa"}
        response = [await connector._login.change("POST", f"/iserver/account/{bench.twin.account}/orders", {"orders": [form]}) for _ in range(2)]

        assert errors.refusal(response[0], changes=True) is None
        assert isinstance(errors.refusal(response[1], changes=True), InDoubt)  # the first one may have been ours
        assert len(bench.twin.trading.placed) == 1
        await connector.aclose()

    on_web(tmp_path, story)


def test_what_is_cancelled_elsewhere_is_told_within_seconds(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            quote = await desk.brokers[IBKR_WEB.broker].quote(IBKR_WEB.instruments[AssetClass.EQUITY])
            sent = await desk.submit(buy("a", str((quote.bid_px * Decimal("0.9")).quantize(Decimal("0.01")))))
            await asyncio.sleep(1)
            bench.twin.trading.cancel_all(bench.twin.now_ns)

            assert (await settled(desk, sent)).ord_status is OrdStatus.CANCELED

    on_web(tmp_path, story)


def test_bars_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        minute, now_ns = 60_000_000_000, bench.clock.now_ns()
        end_ns = now_ns // minute * minute
        bars = await connector.bars(IBKR_WEB.instruments[AssetClass.EQUITY], minute, end_ns - 1_500 * minute, end_ns)

        assert [bar.open_ns for bar in bars] == [end_ns - number * minute for number in range(1_500, 0, -1)]
        assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars)
        with pytest.raises(BadRequest, match="bars of"):
            await connector.bars(IBKR_WEB.instruments[AssetClass.EQUITY], 7 * minute, 0, 1)
        await connector.aclose()

    on_web(tmp_path, story)


# -- refusals ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "question", "change"),
    [
        (200, b'{"error":"no money"}', BadRequest, Rejected),
        (400, b'{"error":"Bad Request: no bridge","statusCode":400}', Unavailable, Unavailable),
        (400, b'{"error":"reply id not found"}', BadRequest, InDoubt),
        (400, b'{"error":"Order couldn\'t be submitted: Local order ID=a is already registered."}', BadRequest, InDoubt),
        (401, b"", AuthFailed, AuthFailed),
        (404, b"", BadRequest, InDoubt),
        (418, b"", ProtocolError, InDoubt),
        (429, b'{"error":"Too many requests"}', RateLimited, InDoubt),
        (503, b'{"error":"Service Unavailable"}', Unavailable, InDoubt),
        (200, b"<html>Log in</html>", Unavailable, InDoubt),
        (302, b"", Unavailable, InDoubt),
    ],
)
def test_what_a_refusal_means(status: int, body: bytes, question: type[DeskError], change: type[DeskError]) -> None:
    response = Response(status=status, headers={}, body=body)

    assert type(errors.refusal(response, changes=False)) is question
    assert type(errors.refusal(response, changes=True)) is change


def test_an_answer_is_no_refusal() -> None:
    assert errors.refusal(Response(status=200, headers={}, body=b'[{"order_id":"1"}]'), changes=True) is None


# -- words: rows as IBKR prints them in its documentation ------------------------------------------------------------------------------------------

ROW = (
    b'{"acct":"DU1","conidex":"265598","conid":265598,"account":"DU1","orderId":1234568790,"cashCcy":"USD","sizeAndFills":"5","ticker":"AAPL",'
    b'"secType":"STK","listingExchange":"NASDAQ.NMS","remainingQuantity":0.0,"filledQuantity":5.0,"totalSize":5.0,"status":"Filled",'
    b'"order_ccp_status":"Filled","origOrderType":"MARKET","supportsTaxOpt":"1","lastExecutionTime":"231211180049","orderType":"Market",'
    b'"bgColor":"#FFFFFF","fgColor":"#000000","order_ref":"Order123","timeInForce":"CLOSE","lastExecutionTime_r":1702317649000,"side":"BUY",'
    b'"avgPrice":"192.26"}'
)
STATUS = (
    b'{"sub_type":null,"request_id":"209","server_id":"0","order_id":1799796559,"conidex":"265598","conid":265598,"symbol":"AAPL","side":"S",'
    b'"size":"0.0","total_size":"5.0","currency":"USD","account":"DU1","order_type":"LIMIT","cum_fill":"5.0","order_status":"Filled",'
    b'"order_ccp_status":"2","order_status_description":"Order Filled","tif":"GTC","limit_price":"1,193.15","order_time":"231211180049"}'
)
TRADE = (
    b'{"execution_id":"0000e0d5.6576fd38.01.01","symbol":"AAPL","side":"S","order_description":"Sold 5 @ 192.26 on ISLAND",'
    b'"trade_time":"20231211-18:00:49","trade_time_r":1702317649000,"size":5.0,"price":"192.26","order_ref":"Order123","exchange":"ISLAND",'
    b'"commission":"1.01","net_amount":961.3,"account":"DU1","conid":"265598","conidEx":"265598","sec_type":"STK"}'
)


def test_a_row_of_live_orders() -> None:
    report = codec.decode_row(msgspec.json.decode(ROW, type=wire.Row), IBKR_WEB.instruments[AssetClass.EQUITY], ClOrdID("a"), 7)

    assert (report.order_id, report.ord_status, report.order_qty, report.cum_qty) == ("1234568790", OrdStatus.FILLED, Decimal(5), Decimal(5))
    assert report.time_in_force.value == "day"


def test_an_order_by_its_number() -> None:
    report = codec.decode_order(msgspec.json.decode(STATUS, type=wire.Status), IBKR_WEB.instruments[AssetClass.EQUITY], ClOrdID("a"), 7)

    assert (report.side, report.price, report.cum_qty, report.ord_status) == (Side.SELL, Decimal("1193.15"), Decimal(5), OrdStatus.FILLED)


def test_an_execution() -> None:
    report = codec.decode_trade(msgspec.json.decode(TRADE, type=wire.Trade), None, IBKR_WEB.instruments[AssetClass.EQUITY], ClOrdID("a"), 7)

    assert (report.exec_id, report.last_qty, report.last_px, report.fee) == (
        "0000e0d5.6576fd38.01.01",
        Decimal(5),
        Decimal("192.26"),
        Decimal("1.01"),
    )
    assert report.order_id is None


@pytest.mark.parametrize("text", [b'"NaN"', b'"many"', b'"Infinity"'])
def test_a_number_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.number(msgspec.Raw(text))


@pytest.mark.parametrize("word", ["Held", "", "filled"])
def test_a_status_that_nobody_knows_is_refused(word: str) -> None:
    row = msgspec.structs.replace(msgspec.json.decode(ROW, type=wire.Row), status=word)
    with pytest.raises(ProtocolError, match="status"):
        codec.decode_row(row, IBKR_WEB.instruments[AssetClass.EQUITY], ClOrdID("a"), 7)
