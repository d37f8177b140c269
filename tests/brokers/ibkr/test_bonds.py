"""Bonds by TWS: named by their CUSIP, which TWS says in their details alone; orders in thousands, prices in percent."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.desks import Bench, on_bench, settled
from tests.factories import D
from tests.subjects import IBKR
from trading_system.app import portfolio
from trading_system.brokers.ibkr.twin.forms import Form, Wanted
from trading_system.brokers.ibkr.tws import codec
from trading_system.brokers.ibkr.tws.session import TwsSession
from trading_system.core.risk import Limits
from trading_system.domain.errors import BadRequest, RiskRefused
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import NewOrder

NOTE, OTHER = InstrumentID("912810TM0"), InstrumentID("91282CJJ1")
WIDE = Limits(max_position_pct=D(2), max_leverage=D(2), max_concurrent_positions=9, max_orders_per_second=99)


def wish(intent: str, qty: str, side: Side = Side.BUY, instrument: InstrumentID = NOTE, **changes: Any) -> NewOrder:
    fields = {
        "broker": IBKR.broker,
        "instrument": instrument,
        "side": side,
        "order_qty": D(qty),
        "time_in_force": TimeInForce.DAY,
        "ord_type": OrdType.LIMIT if "price" in changes else OrdType.MARKET,
        "intent": IntentID(intent),
    }
    return NewOrder(**(fields | changes))


def run(tmp_path: Path, story: Any, **twin: Any) -> None:
    on_bench(tmp_path, story, subject=IBKR, **twin)


def test_a_bond_is_found_by_its_cusip_and_costs_ten_times_its_price(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            found = await desk.instrument(IBKR.broker, NOTE)
            done = await settled(desk, await desk.submit(wish("a", "7")))
            await asyncio.sleep(60)
            account = await desk.refresh_account(IBKR.broker)
            (held,) = [position for position in account.positions if position.instrument == NOTE]
            (row,) = [row for row in portfolio.portfolio(desk)["positions"] if row["instrument"] == NOTE]  # type: ignore[attr-defined]
            paid = sum(fill.qty * fill.price * 10 + fill.fee for fill in done.fills)

            assert (found.asset_class, found.multiplier, found.lot, found.shortable, found.hours.always) == (AssetClass.BOND, 10, 1, False, True)
            assert held.qty == 7
            assert abs(held.avg_px - sum(fill.qty * fill.price for fill in done.fills) / 7) < D("0.001")
            assert D(row["market_value"]) == 7 * 10 * D(row["mark_px"])
            assert abs(100_000 - account.cash - paid) < D("0.01")
            assert desk.books.halts == {}
            with pytest.raises(RiskRefused, match="SHORT"):
                await desk.submit(wish("b", "8", Side.SELL))
            await settled(desk, await desk.submit(wish("c", "7", Side.SELL, reduce_only=True)))
            assert desk.books.ledger.position(IBKR.broker, NOTE) == 0

    run(tmp_path, story)


def test_what_was_bought_by_somebody_else_is_called_by_its_cusip_too(tmp_path: Path) -> None:
    """TWS tells of orders, executions and positions by the issuer: what is behind that number has to be asked for."""

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as first:
            await settled(first, await first.submit(wish("a", "3")))
            price = (await first.hub.fetch(IBKR.broker, OTHER)).bid_px
            assert price is not None
            resting = await first.submit(wish("b", "2", instrument=OTHER, price=(price * D("0.98")).quantize(D("0.01"))))
            await asyncio.sleep(5)
            assert first.books.blotter.get(resting.cl_ord_id).ord_status is OrdStatus.NEW  # type: ignore[union-attr]
        connector = bench.beside()
        await connector.connect()
        fills, opened, account = await connector.fills(0), await connector.open_orders(), await connector.account()

        assert {report.instrument for report in fills} == {NOTE}
        assert {(report.instrument, report.multiplier, report.order_qty) for report in opened} == {(OTHER, D(10), D(2))}
        assert {position.instrument: position.qty for position in account.positions} == {NOTE: 3}

    run(tmp_path, story)


def test_what_another_program_orders_and_fills_has_its_name_before_it_is_told(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            wanted = Wanted(0, OTHER, "BOND", "", D(0), "", "", "SMART", "", "USD", "", "")
            form = Form(order_id=1, contract=wanted, action="BUY", qty=D(4), order_type="MKT", tif="DAY", ref="theirs")
            bench.twin.trading.place(8, form, bench.clock.now_ns())
            await asyncio.sleep(60)
            theirs = [order for order in desk.books.blotter if order.external]

            assert [(order.instrument, order.cum_qty) for order in theirs] == [(OTHER, 4)]
            assert desk.books.ledger.position(IBKR.broker, OTHER) == 4
            assert desk.pnl(IBKR.broker, OTHER, D(0)) < -3_000  # a multiplier of ten
            assert desk.books.halts == {}

    run(tmp_path, story)


def test_details_of_a_bond_come_as_others_do() -> None:
    session = TwsSession("tcp://x", 1)
    session.on_open(0)
    session._greeted = True
    fields = (
        *(
            "18",
            "5",
            "US-T",
            "BOND",
            "912810TM0",
            "4.375",
            "20421115",
            "20230215",
            "AAA",
            "GOVERNMENT",
            "FIXED",
            "0",
            "0",
            "0",
            "T 4 11/15/42",
            "SMART",
        ),
        *("USD", "US-T", "US-T", "588000001", "0.01", "LMT,MKT", "SMART", "", "", "0", "", "T 4 11/15/42", "", "0", "1", "CUSIP", "912810TM0", "2"),
        *("26", "1", "1", "1"),
    )
    (heard,) = session.on_frame("\0".join((*fields, "")).encode(), 0).events
    number, details = heard.args  # type: ignore[attr-defined]

    assert (heard.name, number, codec.name_of(details.contract), details.maturity) == ("contractDetails", 5, NOTE, "20421115")  # type: ignore[attr-defined]
    assert codec.decode_details(details, (), 0).ticks[0].tick == D("0.01")
    details.contract.symbol = "US-T"
    assert codec.is_unnamed(details.contract)
    with pytest.raises(BadRequest, match="cannot be traded"):
        codec.decode_details(details, (), 0)
