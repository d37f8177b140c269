"""The Web API over real sockets: a served twin, and a production desk that the settings point at it; and what stands between a wish and an order."""

import asyncio
from collections.abc import Callable, Mapping
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
from trading_system.brokers.ibkr.twin.web_prices import PERIOD_MAX
from trading_system.brokers.ibkr.web import codec, errors, wire
from trading_system.brokers.ibkr.web.facts import ANSWERED, POINTS_MAX, QUESTIONS_MAX
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side
from trading_system.domain.ids import ClOrdID
from trading_system.domain.instrument import AssetClass
from trading_system.sim.clock import SECOND_NS
from trading_system.transport.message import NotSent, Response


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


@pytest.mark.parametrize("heard", [True, False], ids=["from the beginning", "after the first look"])
def test_what_was_traded_today_before_the_first_start_is_nobodys_order(tmp_path: Path, heard: bool) -> None:
    """Orders that are over stand among those of the day, and are in the positions that the desk begins with."""

    async def story(bench: Bench) -> None:
        aapl, deaf = IBKR_WEB.instruments[AssetClass.EQUITY], DeafDialer(bench.network.dialer)
        for _ in range(3):
            bench.twin.advance(bench.clock.now_ns())
            bench.twin.by_hand({"conid": 265598, "side": "BUY", "orderType": "MKT", "tif": "DAY", "quantity": 2})
        await asyncio.sleep(3600)
        bench.network.dialer = deaf  # type: ignore[method-assign]
        deaf.open = heard
        async with bench.desk() as desk:
            await desk.wait(lambda: desk.books.ledger.position(IBKR_WEB.broker, aapl) == 6, 60 * SECOND_NS)
            deaf.open = True
            assert await desk.wait(lambda: desk.ready[IBKR_WEB.broker], 120 * SECOND_NS)
            bench.network.drop_all()
            await asyncio.sleep(120)

            assert desk.books.halts == {}
            assert list(desk.books.blotter) == []
            assert desk.books.ledger.position(IBKR_WEB.broker, aapl) == 6
            assert desk.books.ledger.cash(IBKR_WEB.broker, "USD") == bench.twin.exchange.cash

    on_web(tmp_path, story)


class DeafDialer:
    """Dialers that reach nobody until it is open."""

    def __init__(self, real: Callable[[], Any]) -> None:
        self._real = real
        self.open = False

    def __call__(self) -> "DeafDialer":
        return self

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Any:
        if not self.open:
            raise NotSent("nobody there")
        return await self._real().dial(url, headers, within_ns=within_ns)


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


SPANS = (1, 29, 30, 31, 61, 479, 480, 481, 1_439, 1_440, 1_441, 4_320)  # minutes


@pytest.mark.parametrize(("period_ns", "bar"), codec.BARS.items())
def test_a_page_of_bars_is_asked_for_in_a_period_that_there_is_and_has_no_more_than_a_thousand(period_ns: int, bar: str) -> None:
    step_ns = codec.page_span(period_ns)
    for span_ns in (*(minutes * 60_000_000_000 for minutes in SPANS), step_ns):
        span = codec.encode_span(span_ns)
        count, unit = int(span.rstrip("minhd")), span.lstrip("0123456789")
        asked_ns = count * {"min": 60, "h": 3_600, "d": 86_400}[unit] * 1_000_000_000

        assert 1 <= count <= PERIOD_MAX[unit]
        assert asked_ns >= span_ns
        assert span_ns > step_ns or asked_ns <= POINTS_MAX * period_ns, (bar, span)


@pytest.mark.parametrize("minutes", [45, 95, 600, 2_000])
@pytest.mark.parametrize("period", [1, 5, 60])
def test_bars_of_any_span_are_whole(tmp_path: Path, minutes: int, period: int) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        length_ns = period * 60_000_000_000
        end_ns = bench.clock.now_ns() // length_ns * length_ns
        start_ns = end_ns - -(-minutes // period) * length_ns
        bars = await connector.bars(IBKR_WEB.instruments[AssetClass.EQUITY], length_ns, start_ns, end_ns)

        assert [bar.open_ns for bar in bars] == list(range(start_ns, end_ns, length_ns))
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


OTHERS = [
    ("MIDPRICE", "DAY", OrdType.LIMIT),
    ("TRAILING_STOP_LIMIT", "GTD", OrdType.TRAILING_STOP),
    ("MIT", "GTC", OrdType.STOP),
    ("LIT", "GTC", OrdType.STOP_LIMIT),
    ("RELATIVE", "OVT", OrdType.LIMIT),
    ("LEVITATE", "UNTIL_TEA", OrdType.LIMIT),
]


@pytest.mark.parametrize(("word", "tif", "kind"), OTHERS)
def test_what_others_place_has_the_nearest_kind_that_we_have(word: str, tif: str, kind: OrdType) -> None:
    aapl = IBKR_WEB.instruments[AssetClass.EQUITY]
    row = msgspec.json.decode(ROW.replace(b'"MARKET"', f'"{word}"'.encode()).replace(b'"CLOSE"', f'"{tif}"'.encode()), type=wire.Row)
    status = msgspec.json.decode(STATUS.replace(b'"LIMIT"', f'"{word}"'.encode()).replace(b'"GTC"', f'"{tif}"'.encode()), type=wire.Status)

    assert codec.decode_row(row, aapl, ClOrdID(""), 7).ord_type is kind
    assert codec.decode_order(status, aapl, ClOrdID(""), 7).ord_type is kind


@pytest.mark.parametrize(("old", "new"), [(b'"MARKET"', b'"LEVITATE"'), (b'"MARKET"', b'"MIDPRICE"'), (b'"CLOSE"', b'"UNTIL_TEA"')])
@pytest.mark.parametrize(("name", "ref"), [("q1aaaaaaaaaaaaaaaa", "q1aaaaaaaaaaaaaaaa"), ("", "q1aaaaaaaaaaaaaaaa.stop")])
def test_a_word_on_an_order_of_ours_that_we_never_send_is_refused(old: bytes, new: bytes, name: str, ref: str) -> None:
    row = msgspec.json.decode(ROW.replace(old, new).replace(b"Order123", ref.encode()), type=wire.Row)

    with pytest.raises(ProtocolError, match="do not know"):
        codec.decode_row(row, IBKR_WEB.instruments[AssetClass.EQUITY], ClOrdID(name), 7)


@pytest.mark.parametrize(("word", "tif", "kind"), OTHERS)
def test_a_desk_beside_an_order_of_another_kind_comes_up_and_counts_it(tmp_path: Path, word: str, tif: str, kind: OrdType) -> None:
    async def story(bench: Bench) -> None:
        bench.twin.advance(bench.clock.now_ns())
        asked = {"conid": 265598, "side": "BUY", "orderType": "LMT", "price": "5.00", "tif": "GTC", "quantity": 2}
        number = bench.twin.by_hand(asked, shown=(word, tif))
        async with bench.desk() as desk:
            await asyncio.sleep(60)

            assert desk.books.halts == {}
            (order,) = desk.books.blotter.working()
            assert (order.external, order.order_id, order.ord_type, order.order_qty) == (True, str(number), kind, 2)
            done = await settled(desk, await desk.submit(buy("a")))
            assert done.ord_status is OrdStatus.FILLED

    on_web(tmp_path, story)


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
