"""Futures, by TWS and by the Web API: what they cost is theirs, what they make is in the balance, they end; and what has ended, or is not traded
here, stops no desk."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec.structs import replace

from tests.conformance.between import Between, conform, order
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, on_bench, settled
from tests.subjects import IBKR, IBKR_WEB, Subject
from trading_system.app.desk import Desk
from trading_system.brokers.ibkr.twin.forms import Form, Wanted
from trading_system.brokers.ibkr.web import codec as web
from trading_system.brokers.ibkr.web import wire
from trading_system.domain.errors import BadRequest, ProtocolError, Unavailable
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.times import parse_rfc3339

D = Decimal
MES = InstrumentID("MES-18DEC26/USD")
DAY_S = 86_400
EVENING_NS = parse_rfc3339("2026-09-22T03:30:00Z")
LAST_DAYS_NS = parse_rfc3339("2026-12-18T21:00:00Z")
LONG = replace(WIDE, enable_shorts=True, max_leverage=D(5), max_position_pct=D(5))


both_ways = pytest.mark.parametrize("subject", [IBKR, IBKR_WEB], ids=["tws", "web"])


async def trades(desk: Desk, instrument: InstrumentID, intent: str, qty: str, side: Side = Side.BUY) -> None:
    sent = await desk.submit(order(IBKR, AssetClass.LISTED_FUTURE, intent, qty, side, instrument=instrument))
    done = await settled(desk, sent)

    assert done.ord_status is OrdStatus.FILLED, done.text


def the_same(bench: Bench, desk: Desk, *instruments: InstrumentID) -> None:
    """Units and money here are those of the exchange, in which what is held was paid for."""
    assert desk.books.halts == {}
    for instrument in instruments:
        name = f"{instrument.partition('-')[0]}Z6"
        assert desk.books.ledger.position(IBKR.broker, instrument) == bench.twin.exchange.position(name)
    assert abs(desk.books.ledger.cash(IBKR.broker, "USD") - bench.twin.exchange.cash) <= D("0.02")
    snapshot = desk.accounts[IBKR.broker]
    assert abs(snapshot.cash - bench.twin.exchange.cash) <= D("0.02")


@both_ways
def test_a_day_is_paid_and_the_books_agree_before_and_after(tmp_path: Path, subject: Subject) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(LONG) as desk:
            await trades(desk, MES, "a", "2")
            before = bench.twin.trading.cash(bench.clock.now_ns())
            await asyncio.sleep(3_600)  # over New York's midnight
            the_same(bench, desk, MES)
            assert bench.twin.trading.cash(bench.clock.now_ns()) != before  # what they made is in the balance
            await trades(desk, MES, "b", "2", Side.SELL)
            await trades(desk, MES, "c", "1", Side.SELL)
            await asyncio.sleep(120)
            the_same(bench, desk, MES)
            assert desk.books.ledger.position(IBKR.broker, MES) == -1

    on_bench(tmp_path, main, subject=subject, start_ns=EVENING_NS)


@both_ways
def test_a_future_that_ends_is_paid_for_and_told(tmp_path: Path, subject: Subject) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(LONG) as desk:
            await trades(desk, MES, "a", "2")
            await trades(desk, InstrumentID("MCL-18DEC26/USD"), "b", "1", Side.SELL)
            await asyncio.sleep(DAY_S // 2)

            assert bench.twin.exchange.position("MESZ6") == 0
            the_same(bench, desk, MES, InstrumentID("MCL-18DEC26/USD"))
            told = [alert.text for alert in desk.books.alerts.values() if "the end of" in alert.text]
            assert len(told) == 2
            assert desk.ready[IBKR.broker]

    on_bench(tmp_path, main, subject=subject, start_ns=LAST_DAYS_NS)


@both_ways
def test_a_future_that_ended_while_the_desk_was_down_is_found(tmp_path: Path, subject: Subject) -> None:
    async def main(bench: Bench) -> None:
        async with bench.desk(LONG) as desk:
            await trades(desk, MES, "a", "2")
        await asyncio.sleep(95 * DAY_S)
        for _ in range(2):
            async with bench.desk(LONG) as desk:
                await asyncio.sleep(120)
                the_same(bench, desk, MES)
                assert desk.ready[IBKR.broker]

    on_bench(tmp_path, main, subject=subject)


def test_an_option_that_has_ended_keeps_no_desk_from_starting(tmp_path: Path) -> None:
    """TWS knows no contract that has expired."""

    async def main(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            name = IBKR.instruments[AssetClass.OPTION]
            quote = await desk.hub.fetch(IBKR.broker, name)
            limit = {"ord_type": OrdType.LIMIT, "price": quote.ask_px}
            await settled(desk, await desk.submit(order(IBKR, AssetClass.OPTION, "a", "1", **limit)))
        await asyncio.sleep(65 * DAY_S)
        async with bench.desk(WIDE) as desk:
            assert desk.books.ledger.position(IBKR.broker, name) == bench.twin.exchange.position(str(name))

    on_bench(tmp_path, main, subject=IBKR)


@both_ways
def test_what_was_traded_by_hand_is_booked_in_its_own_units(tmp_path: Path, subject: Subject) -> None:
    """The desk meets a future that it has never read: the message says what a price is per."""

    async def main(bench: Bench) -> None:
        async with bench.desk(LONG) as desk:
            con_id = next(line.con_id for line in bench.twin.contracts.futures(bench.twin.now_ns) if line.name == "MESZ6")
            if subject is IBKR_WEB:
                bench.twin.by_hand({"conid": con_id, "side": "BUY", "orderType": "MKT", "tif": "DAY", "quantity": 1})
            else:
                wanted = Wanted(con_id, "", "", "", D(0), "", "", "", "", "", "", "")
                form = Form(order_id=1, contract=wanted, action="BUY", qty=D(1), order_type="MKT", tif="DAY", ref="")
                bench.twin.trading.place(99, form, bench.twin.now_ns)
            await asyncio.sleep(120)

            assert desk.books.pricings[IBKR.broker, MES].multiplier == 5
            the_same(bench, desk, MES)

    on_bench(tmp_path, main, subject=subject)


def test_a_desk_beside_what_it_does_not_trade_comes_up(tmp_path: Path) -> None:
    """A bond, or a future of a kind that is not here: shown by IB's name, counted by the account's equity, and in nobody's way."""

    async def main(bench: Bench) -> None:
        line = bench.twin.universe.lines["ESZ6"]
        bench.twin.universe.lines["ESZ6"] = replace(line, symbol="NKD", local_symbol="NKDZ6")
        bench.twin.exchange.deposit("ESZ6", D(1))
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(120)

            assert desk.ready[IBKR.broker]
            assert desk.books.ledger.position(IBKR.broker, InstrumentID("NKDZ6.FUT")) == 1
            assert desk.books.halts == {}

    on_bench(tmp_path, main, subject=IBKR)


# -- by the Web API --------------------------------------------------------------------------------------------------------------------------------


def test_an_order_on_a_future_says_who_orders_and_works_in_all_of_the_day(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(LONG) as desk:
            far = {"ord_type": OrdType.LIMIT, "price": D("30"), "time_in_force": TimeInForce.GTC}
            sent = await desk.submit(order(IBKR_WEB, AssetClass.LISTED_FUTURE, "a", "1", **far))
            off = await desk.cancel(sent.cl_ord_id)
            (placed,) = [json.loads(request.body)["orders"][0] for request in between.asked if request.url.endswith("/orders")]

            assert (placed["manualIndicator"], placed["extOperator"], placed["outsideRTH"]) == (False, bench.twin.account, True)
            assert off.ord_status is OrdStatus.CANCELED
            (asked,) = [urlsplit(request.url).query for request in between.asked if request.method == "DELETE"]
            assert asked == f"manualIndicator=false&extOperator={bench.twin.account}"

    conform(tmp_path, IBKR_WEB, story)


def test_the_months_of_a_future_are_found_the_nearest_first(tmp_path: Path) -> None:
    async def main(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        found = [one.instrument for one in await connector.search("mes") if one.asset_class is AssetClass.LISTED_FUTURE]
        (instrument,) = await connector.instruments((found[0],))

        assert found == ["MES-18DEC26/USD", "MES-19MAR27/USD", "MES-18JUN27/USD", "MES-17SEP27/USD"]
        assert (instrument.multiplier, instrument.ticks[0].tick, instrument.shortable) == (5, D("0.25"), True)
        with pytest.raises(BadRequest, match="no future MES-17DEC26/USD"):
            await connector.instruments((InstrumentID("MES-17DEC26/USD"),))
        await connector.aclose()

    on_bench(tmp_path, main, subject=IBKR_WEB)


def test_of_two_futures_of_one_name_and_day_ours_is_the_one_with_its_multiplier(tmp_path: Path) -> None:
    """As silver has them: 5,000 ounces and 1,000."""

    async def story(bench: Bench, between: Between) -> None:
        line = next(line for line in bench.twin.contracts.futures(bench.twin.now_ns) if line.name == "MESZ6")
        little = replace(line, con_id=line.con_id + 10**9, local_symbol="LITTLE", multiplier="1")
        bench.twin.universe.lines["LITTLE"] = little
        row = b'{"conid":%d,"expirationDate":20261218,"ltd":20261218},' % little.con_id
        between.answers = lambda body: body.replace(b'{"MES":[', b'{"MES":[' + row)
        connector = bench.connector()
        await connector.connect()

        assert little.con_id in [month.conid for month in await connector._months("MES")]
        assert await connector._con_id(MES) == line.con_id
        await connector.aclose()

    conform(tmp_path, IBKR_WEB, story)


# A ledger's row of a paper account that was short of stock and held a future, as its owner published it; what it held is made to fit.
SUMMARY = {name: wire.Figure(msgspec.Raw(b"202464.67")) for name in ("netliquidation", "buyingpower")}
MONEY = wire.Money(
    cashbalance=msgspec.Raw(b"202142.17"),
    currency="USD",
    netliquidationvalue=msgspec.Raw(b"202464.67"),
    unrealizedpnl=msgspec.Raw(b"12841.38"),
    interest=msgspec.Raw(b"452.9"),
    dividends=msgspec.Raw(b"0.0"),
)
STOCK = ("AAPL", "-1", "-130.4", "-1.9")
FUTURE = ("ES-18DEC26/USD", "1", "98000", "12843.28")


def cash(*held: tuple[str, str, str, str], money: wire.Money = MONEY) -> Decimal:
    rows = []
    for name, *texts in held:
        qty, worth, gain = (msgspec.Raw(text.encode()) for text in texts)
        row = wire.Position(conid=msgspec.Raw(b"7"), position=qty, currency="USD", market_value=worth, unrealized_pnl=gain)
        rows.append((row, InstrumentID(name)))
    return web.decode_account("DU1", SUMMARY, {"USD": money}, rows, 7).cash


def test_the_money_is_less_what_futures_cost_whatever_their_price_is_meanwhile() -> None:
    cost = D(98_000) - D("12843.28")
    later = (*FUTURE[:2], "98050", "12893.28")

    assert cash(STOCK, FUTURE) == D("202142.17") - cost - D("12843.28")
    assert cash(STOCK, later) == cash(STOCK, FUTURE)
    assert cash(STOCK) == D("202142.17")


def test_figures_that_do_not_fit_are_no_account() -> None:
    with pytest.raises(Unavailable, match="do not fit"):
        cash(STOCK, FUTURE, money=replace(MONEY, unrealizedpnl=msgspec.Raw(b"-12841.38")))
    with pytest.raises(ProtocolError, match="netliquidation"):
        cash(FUTURE, money=replace(MONEY, netliquidationvalue=wire.NOTHING))


# A row of /portfolio2 as IBKR's documentation prints it.
POSITION = (
    b'{"position":12.0,"conid":"9408","avgCost":266.20888333333335,"avgPrice":266.20888333333335,"currency":"USD","description":"MCD",'
    b'"isLastToLoq":false,"marketPrice":258.8299865722656,"marketValue":3105.9598388671875,"realizedPnl":0.0,"secType":"STK",'
    b'"timestamp":1717444668,"unrealizedPnl":-88.54676113281266,"assetClass":"STK","sector":"Consumer, Cyclical","group":"Retail","model":""}'
)


def test_money_of_another_country_is_a_position_whose_cost_ibkr_does_not_say() -> None:
    euros = wire.Money(cashbalance=msgspec.Raw(b"100.0"), exchangerate=msgspec.Raw(b"1.1"))
    (held,) = web.decode_account("DU1", SUMMARY, {"EUR": euros}, [], 7).positions

    assert (held.instrument, held.qty, held.avg_px, held.mark_px) == ("EUR/USD", 100, 0, D("1.1"))


def test_a_position_as_ibkr_prints_it() -> None:
    row = msgspec.json.decode(POSITION, type=wire.Position)
    (held,) = web.decode_account("DU1", SUMMARY, {}, [(row, InstrumentID("MCD"))], 7).positions

    assert web.number(row.conid) == 9408
    assert (held.qty, held.mark_px) == (12, D("258.8299865722656"))
