"""Coins: bought for an amount of money or at a limit, sold by their quantity, and never left to rest."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.brokers.ibkr.tws_client import Tws, errors
from tests.conformance.between import Between, conform
from tests.conformance.test_orders import WIDE
from tests.desks import BTC, Bench, on_bench, settled
from tests.subjects import IBKR, IBKR_WEB, Subject
from trading_system.brokers.ibkr.web import codec, wire
from trading_system.brokers.ibkr.web.errors import refusal
from trading_system.brokers.ibkr.wire import Value
from trading_system.domain.errors import Rejected, RiskRefused
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, IntentID
from trading_system.domain.money import round_price
from trading_system.domain.order import NewOrder
from trading_system.sim.network import Faults

D = Decimal
each_way = pytest.mark.parametrize("subject", [IBKR, IBKR_WEB], ids=lambda subject: subject.name)
COIN: dict[str, Value] = {"f2": 479624278, "f3": "BTC", "f4": "CRYPTO", "f9": "PAXOS"}


def coin(intent: str, side: Side = Side.BUY, **changes: Any) -> NewOrder:
    fields = {"broker": IBKR.broker, "instrument": BTC, "side": side, "time_in_force": TimeInForce.IOC, "intent": IntentID(intent)}
    return NewOrder(**(fields | changes))


@each_way
def test_a_coin_is_bought_for_money_and_sold_by_its_quantity(tmp_path: Path, subject: Subject) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            bought = await settled(desk, await desk.submit(coin("a", cash_order_qty=D(1_000))))
            held = desk.books.ledger.position(IBKR.broker, BTC)

            assert bought.ord_status is OrdStatus.FILLED
            assert bought.cum_qty == held == bench.twin.exchange.position("BTC.USD")
            assert D(950) < held * (bought.avg_px or D(0)) <= D(1_000)
        async with bench.desk(WIDE) as desk:
            sold = await settled(desk, await desk.submit(coin("b", side=Side.SELL, order_qty=held, reduce_only=True)))
            await asyncio.sleep(60)

            assert sold.ord_status is OrdStatus.FILLED
            assert desk.books.ledger.position(IBKR.broker, BTC) == 0
            assert abs(desk.books.ledger.cash(IBKR.broker, "USD") - bench.twin.exchange.cash) <= D("0.01")
            assert desk.books.halts == {}

    on_bench(tmp_path, main, subject=subject)


def test_what_money_buys_is_found_though_nobody_was_told(tmp_path: Path) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            way = asyncio.create_task(desk.submit(coin("a", cash_order_qty=D(500))))
            while not bench.twin.trading.placed:  # noqa: ASYNC110 the twin tells nobody
                await asyncio.sleep(0.001)
            bench.network.faults = Faults(lost_frame=1.0)
            sent = await way
            bench.network.faults = Faults(enabled=False)
            assert sent.doubt is Doubt.IN_DOUBT
            done = await settled(desk, sent)

            assert done.ord_status is OrdStatus.FILLED
            assert done.cum_qty == bench.twin.exchange.position("BTC.USD") > 0
            assert desk.books.halts == {}

    on_bench(tmp_path, main, subject=IBKR)


@each_way
def test_a_coin_at_its_limit_is_taken_at_once_or_not_at_all(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            price = round_price(((await desk.hub.fetch(subject.broker, BTC)).ask_px or D(0)) * D("1.002"), D("0.25"), Side.BUY)
            done = await settled(desk, await desk.submit(coin("a", order_qty=D("0.01"), ord_type=OrdType.LIMIT, price=price)))
            assert done.ord_status is OrdStatus.FILLED
            with pytest.raises(RiskRefused):
                await desk.submit(coin("b", order_qty=D("0.01"), ord_type=OrdType.LIMIT, price=price, time_in_force=TimeInForce.GTC))

    conform(tmp_path, subject, story)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"f21": "GTC", "f100": "100", "qty": "0"}, 201),
        ({"f21": "IOC", "qty": "0.01"}, 10289),
        ({"f21": "IOC", "qty": "0.01", "f100": "100"}, 10293),
        ({"f21": "IOC", "qty": "0", "f100": "100", "action": "SELL"}, 10244),
        ({"f21": "GTC", "qty": "0.01", "kind": "LMT", "f19": "95000"}, 201),
        ({"f2": 265598, "f3": "AAPL", "f4": "STK", "f9": "SMART", "qty": "0", "f100": "100"}, 10244),
    ],
)
def test_what_tws_refuses_of_coins_it_refuses_by_its_code(fields: dict[str, Any], code: int) -> None:
    tws = Tws()
    tws.connect()

    assert errors(tws.place(1, **(COIN | fields))) == [(1, code)]
    assert tws.twin.exchange.open_orders() == []


# -- by the Web API --------------------------------------------------------------------------------------------------------------------------------


def test_an_amount_of_money_leaves_without_a_size_and_its_questions_get_a_yes(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            done = await settled(desk, await desk.submit(coin("a", cash_order_qty=D("250.5"))))
            (sent,) = [json.loads(one.body)["orders"][0] for one in between.asked if one.url.endswith("/orders")]

            assert done.ord_status is OrdStatus.FILLED
            assert (sent["cashQty"], sent["tif"], "quantity" in sent) == (250.5, "IOC", False)

    conform(tmp_path, IBKR_WEB, story)


def test_what_money_buys_is_found_though_the_answer_was_lost(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            bench.twin._suppressed = {"o10164", "o10288"}
            await desk.instrument(IBKR_WEB.broker, BTC)
            await desk.hub.fetch(IBKR_WEB.broker, BTC)
            await desk.fresh_account(IBKR_WEB.broker)
            bench.network.faults = Faults(lost_answer=1.0)
            sent = await desk.submit(coin("a", cash_order_qty=D(500)))
            bench.network.faults = Faults(enabled=False)
            assert sent.doubt is Doubt.IN_DOUBT
            done = await settled(desk, sent)

            assert (done.ord_status, done.cash_order_qty, between.placed) == (OrdStatus.FILLED, 500, 1)
            assert done.cum_qty == bench.twin.exchange.position("BTC.USD") > 0
            assert desk.books.halts == {}

    conform(tmp_path, IBKR_WEB, story)


# A live order as IBKR's documentation prints it: two and a half thousand Canadian dollars' worth.
MONEYS = (
    b'{"acct":"U1234567","conidex":"15016138@IDEALPRO","conid":15016138,"account":"U1234567","orderId":1370093238,"cashCcy":"CAD",'
    b'"sizeAndFills":"2.4K CAD","orderDesc":"Bought 2806.46 Limit 0.90000, Day","ticker":"AUD","secType":"CASH","listingExchange":"FXCONV",'
    b'"remainingQuantity":0.0,"filledQuantity":2499.99,"totalSize":2806.46,"totalCashSize":2500.0,"status":"Filled","order_ccp_status":"Filled",'
    b'"origOrderType":"LIMIT","lastExecutionTime":"240425160326","orderType":"Limit","timeInForce":"CLOSE","lastExecutionTime_r":1714060000000,'
    b'"side":"BUY","avgPrice":"0.8908","price":"0.90000"}'
)


def test_an_order_for_an_amount_of_money_has_no_size_of_its_own() -> None:
    report = codec.decode_row(msgspec.json.decode(MONEYS, type=wire.Row), InstrumentID("AUD/CAD"), ClOrdID(""), 7)

    assert (report.order_qty, report.cash_order_qty, report.cum_qty) == (None, D(2500), D("2499.99"))


@pytest.mark.parametrize(
    "changes",
    [{"tif": "GTC"}, {"cashQty": None, "quantity": 0.01}, {"quantity": 0.01}, {"side": "SELL"}, {"conid": 265598, "tif": "DAY"}],
)
def test_what_the_web_api_refuses_of_coins(tmp_path: Path, changes: dict[str, object]) -> None:
    async def main(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        bench.twin._suppressed = {"o10164", "o10288"}
        wish = {"conid": 479624278, "side": "BUY", "orderType": "MKT", "tif": "IOC", "cashQty": 100} | changes
        body = {"orders": [{name: value for name, value in wish.items() if value is not None}]}
        response = await connector._login.change("POST", f"/iserver/account/{bench.twin.account}/orders", body)

        assert isinstance(refusal(response, changes=True), Rejected)
        assert bench.twin.exchange.open_orders() == []
        await connector.aclose()

    on_bench(tmp_path, main, subject=IBKR_WEB)
