"""Inverse swaps: contracts of a dollar whose profit, fees and funding are coins, at the twin and on a desk."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.brokers.bybit.test_connector import WIDE, mid, run, wish
from tests.brokers.bybit.twin_client import HOUR, SECOND, Client
from tests.desks import Bench, settled
from tests.subjects import BYBIT
from trading_system.app import portfolio, state
from trading_system.app.flatten import flatten, is_dust
from trading_system.core.risk import Limits
from trading_system.domain.account import FlowKind
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import OrdStatus, OrdType, Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Attached
from trading_system.domain.ports import Kinds
from trading_system.journal.record import Flowed
from trading_system.sim.clock import START_NS

D = Decimal
INVERSE, COIN = InstrumentID("BTC-PERP/USD"), InstrumentID("BTC/USDT")


# -- the twin --------------------------------------------------------------------------------------------------------------------------------------


def short(client: Client, qty: str = "20000") -> Any:
    assert client.create("BTCUSD", "Sell", qty, "inverse").code == 0
    client.wait(SECOND)
    return client.position("BTCUSD", "inverse")


def test_a_position_is_dollars_and_what_it_makes_is_coins() -> None:
    client = Client()
    position = short(client)
    client.wait(HOUR)
    position, coin = client.position("BTCUSD", "inverse"), client.coin("BTC")
    entry, mark, fills = D(position["avgPrice"]), D(position["markPrice"]), client.get("/v5/execution/list", category="inverse")["list"]

    assert (position["side"], position["size"]) == ("Sell", "20000")
    assert abs(D(position["unrealisedPnl"]) - 20_000 * (1 / mark - 1 / entry)) < D("1e-11")
    assert abs(D(position["positionValue"]) - 20_000 / entry) < D("1e-11")
    assert abs(D(position["positionIM"]) * mark - 2_000) < D("1e-6")  # a tenth of the dollars
    assert {row["feeCurrency"] for row in fills} == {"BTC"}
    assert D(coin["walletBalance"]) == -sum(D(row["execFee"]) for row in fills)
    assert D(coin["equity"]) == D(coin["walletBalance"]) + D(position["unrealisedPnl"])
    assert abs(sum(D(row["execFee"]) * D(row["execPrice"]) for row in fills) - 20_000 * D("0.00055")) < D("0.001")
    assert abs(sum(D(row["execValue"]) for row in fills) - 20_000 / entry) < D("1e-9")
    assert client.coin()["walletBalance"] == "100000"


def test_what_closing_made_is_coins_in_the_wallet_in_the_log_and_on_the_stream() -> None:
    client = Client()
    entry = D(short(client)["avgPrice"])
    client.wait(HOUR)
    conn = client.listen("execution")
    client.create("BTCUSD", "Buy", "20000", "inverse", reduceOnly=True)
    client.wait(SECOND)
    told = [row for frame in client.frames(conn) for row in frame["data"]]
    rows = client.get("/v5/account/transaction-log", accountType="UNIFIED", category="inverse", type="TRADE")["list"]
    made = sum(D(row["qty"]) * (1 / D(row["tradePrice"]) - 1 / entry) for row in rows if row["side"] == "Buy")

    assert client.position("BTCUSD", "inverse")["size"] == "0"
    assert abs(sum(D(row["execPnl"]) for row in told) - made) < D("1e-7")
    assert {row["execId"]: row["execPnl"] for row in told} == {row["tradeId"]: row["cashFlow"] for row in rows if row["side"] == "Buy"}
    assert D(client.coin("BTC")["walletBalance"]) == sum(D(row["change"]) for row in rows)
    assert all("execPnl" not in row for row in client.get("/v5/execution/list", category="inverse")["list"])


def test_funding_is_paid_in_coins() -> None:
    client = Client()
    short(client)
    before = D(client.coin("BTC")["walletBalance"])
    client.wait(4 * HOUR)
    (entry,) = client.get("/v5/account/transaction-log", accountType="UNIFIED", type="SETTLEMENT")["list"]

    assert (entry["currency"], entry["category"]) == ("BTC", "inverse")
    assert D(entry["change"]) == (20_000 / D(entry["tradePrice"]) * D(entry["feeRate"])).quantize(D("1e-8"))
    assert D(client.coin("BTC")["walletBalance"]) == before + D(entry["change"])


def test_coins_that_were_lost_and_are_not_there_are_owed_and_end_in_a_liquidation() -> None:
    client = Client(cash=D(1_000))
    client.post("/v5/position/set-leverage", category="inverse", symbol="BTCUSD", buyLeverage="50", sellLeverage="50")
    short(client, "30000")
    owed = D(client.coin("BTC")["equity"]) * D(client.position("BTCUSD", "inverse")["markPrice"])
    (wallet,) = client.get("/v5/account/wallet-balance", accountType="UNIFIED")["list"]

    assert owed < 0
    assert abs(D(wallet["totalMarginBalance"]) - (1_000 + owed)) < 1
    client.twin.transfer(-(1_000 + owed - 100))  # what is left does not cover half a per cent
    client.wait(3 * SECOND)
    assert client.position("BTCUSD", "inverse")["size"] == "0"
    assert {row["execType"] for row in client.get("/v5/execution/list", category="inverse")["list"]} == {"Trade", "BustTrade"}


def test_orders_are_asked_for_and_cancelled_by_the_coin_they_settle_in() -> None:
    client = Client()
    price = str(round(client.touch(symbol="BTCUSD", category="inverse") * 0.9, 1))
    resting = client.create("BTCUSD", "Buy", "500", "inverse", price=price).result["orderId"]
    client.wait(SECOND)

    assert client.order(resting, "inverse")["leavesQty"] == "500"
    assert client.get("/v5/order/realtime", category="inverse", settleCoin="ETH")["list"] == []
    assert client.post("/v5/order/cancel-all", category="inverse").code == 10001
    assert client.post("/v5/order/cancel-all", category="inverse", settleCoin="ETH").result["list"] == []
    assert len(client.post("/v5/order/cancel-all", category="inverse", settleCoin="BTC").result["list"]) == 1


# -- a desk on it ----------------------------------------------------------------------------------------------------------------------------------


def agreed(desk: Any, bench: Bench) -> bool:
    """Whether contracts and coins here are the exchange's own, to the last digit."""
    ledger, exchange = desk.books.ledger, bench.twin.exchange
    names = {INVERSE: "BTCUSD", COIN: "BTC/USDT"}
    return all(ledger.position(BYBIT.broker, ours) == exchange.position(theirs) for ours, theirs in names.items())


def test_an_inverse_swap_is_looked_up_as_what_it_is(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            found = await desk.instrument(BYBIT.broker, INVERSE)
            listed = {instrument.id for instrument in await desk.brokers[BYBIT.broker].instruments()}

            assert (found.asset_class, found.currency, found.lot, found.inverse, found.shortable) == (AssetClass.PERPETUAL, "USD", 1, True, True)
            assert {INVERSE, InstrumentID("ETH-PERP/USD"), InstrumentID("BTC-PERP/USDT")} <= listed

    run(tmp_path, story)


@pytest.mark.parametrize("side", list(Side))
def test_a_position_a_turn_and_a_close_are_booked_to_the_last_digit(tmp_path: Path, side: Side) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            began = (await desk.refresh_account(BYBIT.broker)).equity
            await settled(desk, await desk.submit(wish("a", "30000", side, INVERSE)))
            await asyncio.sleep(900)
            await settled(desk, await desk.submit(wish("b", "10000", side.opposite, INVERSE)))
            await asyncio.sleep(900)
            assert desk.books.ledger.position(BYBIT.broker, INVERSE) == side.sign * 20_000
            assert agreed(desk, bench)
            await settled(desk, await desk.submit(wish("c", "25000", side.opposite, INVERSE)))
            await asyncio.sleep(900)
            assert desk.books.ledger.position(BYBIT.broker, INVERSE) == -side.sign * 5_000

            offs = []
            for _ in range(5):  # equity and marks are two reads
                account = await desk.refresh_account(BYBIT.broker)
                marks = {held.instrument: held.mark_px or D(0) for held in account.positions}
                made = sum(desk.pnl(BYBIT.broker, name, marks.get(name, D(0))) for name in (INVERSE, COIN))
                offs.append(abs(account.equity - began - made))
            assert min(offs) < D("0.05")

            await settled(desk, await desk.submit(wish("d", "5000", side, INVERSE, reduce_only=True)))
            await asyncio.sleep(60)
            assert desk.books.ledger.position(BYBIT.broker, INVERSE) == 0
            assert agreed(desk, bench)
            assert desk.books.halts == {}
            assert desk.ready[BYBIT.broker]
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(60)
            assert agreed(desk, bench)
            assert desk.books.halts == {}

    run(tmp_path, story)


def test_what_it_counts_in_limits_and_figures_is_its_dollars(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "30000", Side.BUY, INVERSE)))
            await desk.refresh_account(BYBIT.broker)
            (held,) = [holding for holding in state.holdings(desk) if holding.instrument == INVERSE]
            shown = portfolio.portfolio(desk)
            (row,) = [row for row in shown["positions"] if row["instrument"] == INVERSE]  # type: ignore[attr-defined]

            assert abs(held.qty * (held.mark or D(0))) == 30_000
            assert row["market_value"] == "30000"

        tight = replace(WIDE, crypto_max_position_pct=D("0.35"))
        async with bench.desk(tight) as desk:
            with pytest.raises(RiskRefused, match="CRYPTO_MAX_POSITION_PCT"):
                await desk.submit(wish("b", "6000", Side.BUY, INVERSE))
            await settled(desk, await desk.submit(wish("c", "4000", Side.BUY, INVERSE)))

    run(tmp_path, story)


def test_a_loss_in_coins_reaches_the_limits_before_it_is_realised(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        limits = Limits(**{name: getattr(WIDE, name) for name in WIDE.__struct_fields__} | {"crypto_max_daily_loss_pct": D("0.0001")})
        async with bench.desk(limits) as desk:
            await settled(desk, await desk.submit(wish("a", "90000", Side.BUY, INVERSE)))
            await asyncio.sleep(1800)
            mark = desk.marked(bench.clock.now_ns())
            loss = 0 if mark is None else mark.loss(AssetClass.CRYPTO)

            assert (loss >= D("0.0001")) is any(halt.rule == "CRYPTO_MAX_DAILY_LOSS_PCT" for halt in desk.books.halts.values())
            assert desk.books.halts  # the fee alone is half of it

    run(tmp_path, story)


def test_funding_in_coins_is_a_flow_and_halts_nothing(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "30000", Side.BUY, INVERSE)))
            await asyncio.sleep(9 * 3600)
            flows = [entry.record.flow for entry in desk.journal.read() if isinstance(entry.record, Flowed)]

            assert [(flow.kind, flow.instrument) for flow in flows] == [(FlowKind.FEE, COIN)]
            assert agreed(desk, bench)
            assert desk.books.halts == {}

    run(tmp_path, story)


def test_a_liquidation_is_booked_with_its_coins(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "90000", Side.BUY, INVERSE)))
            bench.twin.transfer(-(D(bench.twin.margin.balance(bench.clock.now_ns())) - D(5)))
            await asyncio.sleep(300)

            assert bench.twin.exchange.position("BTCUSD") == 0
            assert agreed(desk, bench)
            assert all(halt.rule != "MISMATCH" for halt in desk.books.halts.values())

    run(tmp_path, story)


def test_fills_that_the_stream_lost_are_read_with_what_the_log_says_they_paid_out(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "30000", Side.SELL, INVERSE)))
            await asyncio.sleep(1800)
        body = {"category": "inverse", "symbol": "BTCUSD", "side": "Buy", "orderType": "Market", "qty": "30000", "reduceOnly": True}
        bench.twin.orders.create(json.dumps(body).encode(), bench.twin.now_ns)
        await asyncio.sleep(3600)
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(60)
            closing = [fill for order in desk.books.blotter if order.external for fill in order.fills]

            assert {fill.exec_id: fill.realized for fill in closing} == {
                done.exec_id: done.realized for done in bench.twin.exchange.executions.values() if done.side is Side.BUY
            }
            assert any(fill.realized for fill in closing)
            assert agreed(desk, bench)
            assert desk.books.halts == {}
        connector = bench.connector()
        await connector.connect()
        full = await connector.fills(START_NS)
        bench.twin.account.log.clear()
        assert [report.side for report in full] == [Side.SELL] * (len(full) - len(closing)) + [Side.BUY] * len(closing)
        assert {report.side for report in await connector.fills(START_NS)} == {Side.SELL}  # not told before its coins are known

    run(tmp_path, story)


def test_a_bracket_and_a_stop_guard_an_inverse_position(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = await mid(desk, INVERSE)
            low, high = ((price * D(factor)).quantize(D("0.1")) for factor in ("0.97", "1.03"))
            exits = Attached(take_profit_px=high, stop_px=low)
            await settled(desk, await desk.submit(wish("a", "5000", Side.BUY, INVERSE, attached=exits)))
            await asyncio.sleep(30)
            made = [order for order in desk.books.blotter.working() if order.parent is not None]
            assert {order.ord_type for order in made} == {OrdType.LIMIT, OrdType.STOP}

            await desk.brokers[BYBIT.broker].cancel_all()
            await asyncio.sleep(2)
            assert bench.twin.exchange.open_orders() == []
            guarded = await settled(desk, await desk.submit(wish("b", "2000", Side.BUY, INVERSE, protect_stop_px=low)))
            await asyncio.sleep(30)
            (stop,) = [order for order in desk.books.blotter.working() if order.protects == guarded.cl_ord_id]
            assert (stop.order_qty, stop.stop_px, stop.side) == (2_000, low, Side.SELL)

    run(tmp_path, story)


def test_flatten_leaves_the_coins_of_a_fee_which_no_order_can_buy_back(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            await settled(desk, await desk.submit(wish("a", "2000", Side.BUY, INVERSE)))
            left = await flatten(desk, (BYBIT.broker,))

            assert (left.orders, left.problems) == ((), ())
            assert [name for _, name, _ in left.positions] == [COIN]
            ((_, _, qty),) = left.positions
            assert qty < 0
            assert is_dust(desk, BYBIT.broker, COIN, qty)
            assert not is_dust(desk, BYBIT.broker, COIN, D("-0.001"))

    run(tmp_path, story)


def test_an_inverse_order_is_amended_and_cancelled(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            price = (await mid(desk, INVERSE) * D("0.97")).quantize(D("0.1"))
            resting = await desk.submit(wish("a", "5000", Side.BUY, INVERSE, price=price))
            await asyncio.sleep(5)
            assert desk.books.blotter.total.notional == 5_000
            await desk.cancel(resting.cl_ord_id)
            await asyncio.sleep(5)
            assert desk.books.blotter.get(resting.cl_ord_id).ord_status is OrdStatus.CANCELED  # type: ignore[union-attr]

    run(tmp_path, story)


def test_quotes_trades_bars_and_books_have_a_line_of_their_own(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        connector = bench.connector()
        await connector.connect()
        seen: set[tuple[str, str]] = set()

        async def listen() -> None:
            async for event in connector.subscribe((INVERSE, InstrumentID("BTC-PERP/USDT")), Kinds(quotes=True, trades=True)):
                if hasattr(event, "instrument"):
                    seen.add((type(event).__name__, event.instrument))

        task = asyncio.create_task(listen())
        await asyncio.sleep(120)
        task.cancel()
        bars = await connector.bars(INVERSE, 60_000_000_000, bench.clock.now_ns() - 600 * 1_000_000_000, bench.clock.now_ns())

        assert seen == {(kind, name) for kind in ("Quote", "Trade") for name in (INVERSE, "BTC-PERP/USDT")}
        assert bars
        assert all(bar.low <= bar.vwap <= bar.high for bar in bars if bar.volume)

    run(tmp_path, story)
