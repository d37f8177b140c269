"""Deposits and withdrawals: what the wallet's API tells, and that a desk needs no person for them."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tests.brokers.binance.test_connector import ETH, HOUR_NS, told
from tests.conformance.test_orders import WIDE
from tests.desks import Bench
from trading_system.brokers.binance import codec, wire
from trading_system.brokers.binance import connector as module
from trading_system.domain.account import FlowKind
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.sim.clock import SECOND_NS

D = Decimal
DAY_NS = 24 * HOUR_NS
PAIRS = frozenset({ETH})
DEPOSIT = b"""{"amount":"0.00999800","coin":"ETH","network":"ETH","status":1,"address":"0x788c","addressTag":"","txId":"0xaad4",
"insertTime":1599621997000,"transferType":0,"unlockConfirm":"12/12","confirmTimes":"12/12"}"""  # as the OpenAPI file has it
WITHDRAWAL = b"""{"address":"0x94df","amount":"8.91000000","applyTime":"2019-10-12 11:12:02","coin":"USDT","id":"b6ae22b3aa844210a7041aee7589627c",
"withdrawOrderId":"WITHDRAWtest123","network":"ETH","transferType":0,"status":6,"transactionFee":"0.004","confirmNo":3,"txId":"0xb5ef"}"""


def test_a_deposit_moves_units_once_it_is_credited() -> None:
    deposit = msgspec.json.decode(DEPOSIT, type=wire.Deposit)
    flow = codec.decode_deposit(deposit, PAIRS)
    assert flow is not None

    assert (flow.kind, flow.instrument, flow.qty, flow.amount, flow.transact_ns) == (
        FlowKind.TRANSFER,
        ETH,
        D("0.009998"),
        0,
        1_599_621_997_000_000_000,
    )
    assert "0xaad4" in flow.flow_id
    assert codec.decode_deposit(msgspec.structs.replace(deposit, status=0), PAIRS) is None
    with pytest.raises(ProtocolError, match="status of a deposit"):
        codec.decode_deposit(msgspec.structs.replace(deposit, status=99), PAIRS)


def test_a_withdrawal_takes_its_fee_along_and_comes_back_where_it_fails() -> None:
    withdrawal = msgspec.json.decode(WITHDRAWAL, type=wire.Withdrawal)
    flow = codec.decode_withdrawal(withdrawal, PAIRS)
    strange = codec.decode_withdrawal(msgspec.structs.replace(withdrawal, coin="NOPAIR"), PAIRS)

    assert (flow.currency, flow.amount, flow.instrument, flow.canceled) == ("USDT", D("-8.914"), None, False)
    assert flow.transact_ns == 1_570_878_722_000_000_000
    assert codec.decode_withdrawal(msgspec.structs.replace(withdrawal, status=5), PAIRS).canceled
    assert (strange.amount, strange.qty, strange.instrument) == (0, 0, None)
    assert "8.914 NOPAIR" in strange.text
    for changes in ({"status": 7}, {"apply_time": "yesterday"}):
        with pytest.raises(ProtocolError):
            codec.decode_withdrawal(msgspec.structs.replace(withdrawal, **changes), PAIRS)


def test_the_testnet_has_none(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.twin.transfer(D(500))

        assert await bench.connector().flows(0) == ()

    told(tmp_path, story)


def test_a_live_desk_books_what_comes_and_goes_by_itself(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE, environment="live") as desk:
            (broker,) = desk.brokers
            await desk.instrument(broker, ETH)
            bench.twin.transfer(D(500))
            await asyncio.sleep(40)
            bench.twin.transfer(D(2), "ETH")
            await asyncio.sleep(40)
            bench.twin.transfer(D(-200))
            await asyncio.sleep(40)

            assert desk.books.ledger.cash(broker, "USDT") == bench.twin.exchange.cash == D(100_300)
            assert desk.books.ledger.position(broker, ETH) == D(2)
            assert desk.books.halts == {}
            assert sorted(flow_id.split("-")[0] for _, flow_id in desk.books.flows) == ["deposit", "deposit", "withdrawal"]

    told(tmp_path, story, environment="live")


def test_history_is_read_span_by_span_and_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(bench: Bench) -> None:
        connector, began_ns = bench.connector("live"), bench.clock.now_ns()
        for _ in range(5):
            bench.twin.transfer(D(1))
        await asyncio.sleep(100 * 86_400)
        bench.twin.advance(bench.clock.now_ns())
        bench.twin.transfer(D(-1))
        found = await connector.flows(began_ns - SECOND_NS)
        bench.twin.wallet.fail(0)
        monkeypatch.setattr(module, "ROWS_MAX", 2)
        paged = await connector.flows(began_ns - SECOND_NS)
        late = await connector.flows(began_ns + 95 * DAY_NS)

        assert [flow.amount for flow in found] == [1] * 5 + [-1]
        assert [flow.flow_id for flow in sorted(found, key=lambda flow: flow.flow_id)] == [
            flow.flow_id for flow in sorted(paged, key=lambda flow: flow.flow_id)
        ]
        assert [flow.canceled for flow in late] == [True]
        assert found[-1].text.endswith(f"-{D(1)} USDT")

    told(tmp_path, story, environment="live")


def test_pages_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector("live")
        for _ in range(5):
            bench.twin.transfer(D(1))
        await connector.instruments((InstrumentID("ETH/USDT"),))
        monkeypatch.setattr(module, "ROWS_MAX", 1)
        monkeypatch.setattr(module, "PAGES_MAX", 2)
        with pytest.raises(ProtocolError, match="pages"):
            await connector.flows(bench.clock.now_ns() - SECOND_NS)

    told(tmp_path, story, environment="live")
