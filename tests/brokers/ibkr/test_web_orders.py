"""Orders by the Web API: what only IBKR's side of it does."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conformance.between import Between, conform, order
from tests.conformance.test_linked import linked, until_live
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, settled
from tests.subjects import IBKR_WEB
from trading_system.domain.fix import Contingency, Doubt, OrdStatus, OrdType, Side
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Attached
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults

D = Decimal


def test_a_dry_run_has_ibkrs_figures_or_its_refusal(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE, dry_run=True) as desk:
            taken = await desk.submit(order(IBKR_WEB, AssetClass.EQUITY, "a", "2"))
            between.answers = lambda body: b'{"error":"insufficient funds"}' if b'"initial"' in body else body
            refused = await desk.submit(order(IBKR_WEB, AssetClass.EQUITY, "b", "3"))
            between.answers = lambda body: b"<html>" if b'"initial"' in body else body
            unsaid = await desk.submit(order(IBKR_WEB, AssetClass.EQUITY, "d", "5"))

            mark = bench.twin.exchange.mark("AAPL", bench.clock.now_ns())
            change = D(taken.text.split("margin change ")[1].split(", equity")[0].replace(",", ""))
            assert abs(change - 2 * mark) < mark / 5
            assert "commission 0." in taken.text
            assert "insufficient funds" in refused.text
            assert "did not say" in unsaid.text
            between.answers = lambda body: b"{" if b'"initial"' in body else body
            unread = await desk.submit(order(IBKR_WEB, AssetClass.EQUITY, "c", "4"))
            assert "cannot be read" in unread.text
            assert [halt.rule for halt in desk.books.halts.values()] == ["PROTOCOL"]
            assert bench.twin.trading.placed == {}

    conform(tmp_path, IBKR_WEB, story)


EQUITY, BRACKET = AssetClass.EQUITY, Contingency.BRACKET


def test_a_bracket_is_one_request_whose_exits_name_their_entry(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            entry = await desk.submit(await linked(desk, IBKR_WEB, EQUITY, BRACKET, "a"))
            (sent,) = [json.loads(request.body)["orders"] for request in between.asked if request.url.endswith("/orders")]

            assert [row["cOID"] for row in sent] == [entry.cl_ord_id, f"{entry.cl_ord_id}.target", f"{entry.cl_ord_id}.stop"]
            assert [row.get("parentId") for row in sent] == [None, entry.cl_ord_id, entry.cl_ord_id]
            assert {row["side"] for row in sent[1:]} == {"SELL"}
            await until_live(desk, entry)

    conform(tmp_path, IBKR_WEB, story)


@pytest.mark.parametrize("asks", [True, False])
def test_a_bracket_whose_answer_is_lost_stands_if_ibkr_had_nothing_to_ask(tmp_path: Path, asks: bool) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            bench.twin._suppressed = set() if asks else {"o10331"}
            request = await linked(desk, IBKR_WEB, EQUITY, BRACKET, "a")
            bench.network.faults = Faults(lost_answer=1.0)
            sent = await desk.submit(request)
            bench.network.faults = Faults(enabled=False)
            if asks:
                assert sent.doubt is Doubt.IN_DOUBT
                assert await desk.wait(lambda: desk.books.blotter.get(sent.cl_ord_id).settled, 900 * SECOND_NS)  # type: ignore[union-attr]
                assert bench.twin.trading.placed == {}
                assert [(one.ord_status, one.doubt) for one in desk.books.blotter] == [(OrdStatus.REJECTED, Doubt.PROVEN_ABSENT)]
            else:
                await settled(desk, sent)
                parts = await until_live(desk, sent)
                assert [(part.external, part.intent) for part in parts.values()] == [(False, "a")] * 2
            assert between.placed == 1

    conform(tmp_path, IBKR_WEB, story)


def test_exits_wait_until_their_entry_is_filled_also_after_a_restart(tmp_path: Path) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            quote = await desk.hub.fetch(IBKR_WEB.broker, IBKR_WEB.instruments[EQUITY])
            price = ((quote.bid_px or D(0)) * D("0.98")).quantize(D("0.01"))
            attached = Attached(take_profit_px=price + 9, stop_px=price - 9)
            entry = await desk.submit(await linked(desk, IBKR_WEB, EQUITY, BRACKET, "a", ord_type=OrdType.LIMIT, price=price, attached=attached))
            await asyncio.sleep(30)
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(30)
            parts = [one for one in desk.books.blotter if one.parent == entry.cl_ord_id]
            assert [(one.ord_status, one.side) for one in parts] == [(OrdStatus.SUSPENDED, Side.SELL)] * 2
            await desk.cancel(entry.cl_ord_id)
            await asyncio.sleep(30)
            assert {one.ord_status for one in desk.books.blotter} == {OrdStatus.CANCELED}
            assert desk.books.halts == {}

    conform(tmp_path, IBKR_WEB, story)
