"""What no order of ours made: transfers, dividends, splits, foreign differences, on the Alpaca twin."""

import asyncio
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from tests.conformance.between import Between
from tests.desks import AAPL, BROKER, BTC, Bench, mid, on_bench, settled, wish
from tests.subjects import ALPACA, BYBIT, KRAKEN, Subject
from trading_system.app.desk import Desk
from trading_system.core.risk import Limits
from trading_system.domain.account import AccountSnapshot, Flow, FlowKind, Position
from trading_system.domain.errors import BadRequest, DeskError, Halted, Unavailable
from trading_system.domain.fix import OrdStatus, Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import Quote
from trading_system.journal.record import Adjusted, CashAdjusted, Flowed
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal
from trading_system.sim.clock import SECOND_NS
from trading_system.sim.network import Faults
from trading_system.sim.wire import Wire
from trading_system.transport.message import Request, Response

D = Decimal
MINUTE_NS = 60 * SECOND_NS


def records(desk: Desk, kind: type) -> list:  # type: ignore[type-arg]
    return [entry.record for entry in desk.journal.read() if isinstance(entry.record, kind)]


@pytest.mark.parametrize("amount", [D(50_000), D(-60_000)])
def test_a_transfer_is_neither_profit_nor_loss(tmp_path: Path, amount: Decimal) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(Limits(max_daily_loss_pct=D("0.05"), max_drawdown_pct=D("0.05"))) as desk:
            assert desk.books.ledger.cash(BROKER, "USD") == D(100_000)
            bench.twin.transfer(amount)
            assert await desk.wait(lambda: desk.books.ledger.cash(BROKER, "USD") == D(100_000) + amount, MINUTE_NS)
            await desk.refresh_account(BROKER)
            mark = desk.books.mark

            assert desk.books.halts == {}
            assert mark is not None
            assert (mark.day_start, mark.high_water, mark.equity) == (100_000 + amount, 100_000 + amount, 100_000 + amount)
            assert (mark.loss(), mark.drawdown()) == (0, 0)
            await desk.journal.flush()
            assert len(records(desk, Flowed)) == 1
            rebuilt = replay(entry.record for entry in desk.journal.read())
            assert rebuilt.mark is not None
            assert rebuilt.mark.day_start == mark.day_start
        async with bench.desk() as desk:  # and after a restart nothing is booked twice
            await asyncio.sleep(400)
            assert len(records(desk, Flowed)) == 1
            assert desk.books.ledger.cash(BROKER, "USD") == D(100_000) + amount

    on_bench(tmp_path, story)


def test_a_drawdown_stays_what_it_was_when_the_owner_takes_money_out(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "100")))
            assert await desk.wait(lambda: desk.books.mark is not None and desk.books.mark.drawdown() > 0, 10 * MINUTE_NS)
            before = desk.books.mark
            assert before is not None
            bench.twin.transfer(D(-50_000))
            assert await desk.wait(lambda: bool(desk.books.flows), MINUTE_NS)
            after = desk.books.mark
            assert after is not None

            assert after.high_water < before.high_water - 49_000
            assert abs(after.high_water / before.high_water - (before.equity - 50_000) / before.equity) < D("0.0001")

    on_bench(tmp_path, story)


@pytest.mark.parametrize("amount", [D(-8_000), D(-60_000), D(15_000)])
@pytest.mark.parametrize("late_s", [20, 86_400])
def test_a_transfer_whose_entry_comes_late_counts_once(tmp_path: Path, amount: Decimal, late_s: int) -> None:
    """At Tradier it does so always: the balance has it today, the history tomorrow."""

    async def story(bench: Bench) -> None:
        async with bench.desk(Limits(max_daily_loss_pct=D("0.05"), max_drawdown_pct=D("0.05"))) as desk:
            broker, told = desk.brokers[BROKER], list[Flow]()
            account = broker.account

            async def with_it() -> AccountSnapshot:
                seen = await account()
                total = seen.equity + amount
                return replace(seen, equity=total, cash=seen.cash + amount, buying_power=seen.buying_power + amount, last_equity=total)

            async def flows(_: int) -> tuple[Flow, ...]:
                return tuple(told)

            broker.account, broker.flows = with_it, flows
            await asyncio.sleep(late_s)
            mark = desk.books.mark
            assert mark is not None
            assert (mark.equity, mark.high_water) == (100_000 + amount, 100_000)
            assert ("all" in desk.books.halts) is (amount < 0)  # it may be a loss, until somebody says that it is none
            text, at_ns = "the entry", bench.clock.now_ns()
            told.append(Flow(broker=BROKER, flow_id="t", kind=FlowKind.TRANSFER, currency="USD", amount=amount, text=text, transact_ns=at_ns))
            assert await desk.wait(lambda: bool(desk.books.flows), MINUTE_NS)
            mark = desk.books.mark
            assert mark is not None

            assert (mark.day_start, mark.high_water, mark.equity) == (100_000 + amount,) * 3
            assert (mark.loss(), mark.drawdown()) == (0, 0)
            await desk.resume("*", by="owner")
            await asyncio.sleep(60)
            assert desk.books.halts == {}
            lost = replace(desk.books.mark, equity=mark.equity * D("0.95"))
            assert (lost.loss(), lost.drawdown()) == (D("0.05"), D("0.05"))
            await desk.journal.flush()
            rebuilt = replay(entry.record for entry in desk.journal.read()).mark
            assert rebuilt is not None
            assert (rebuilt.day_start, rebuilt.high_water) == (mark.day_start, mark.high_water)

    on_bench(tmp_path, story)


def test_money_that_a_person_takes_over_is_not_taken_for_a_later_transfer(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            broker, extra, told = desk.brokers[BROKER], [D(15_000)], list[Flow]()
            account = broker.account

            async def with_it() -> AccountSnapshot:
                seen = await account()
                return replace(seen, equity=seen.equity + sum(extra), cash=seen.cash + sum(extra), last_equity=seen.last_equity + sum(extra))

            async def flows(_: int) -> tuple[Flow, ...]:
                return tuple(told)

            broker.account, broker.flows = with_it, flows
            await asyncio.sleep(86_400)
            assert desk.books.mark is not None
            assert (desk.books.mark.day_start, desk.books.mark.day_unbooked, desk.books.mark.high_water) == (115_000, 15_000, 100_000)
            desk.adopting.add(BROKER)
            assert await desk.wait(lambda: desk.books.ledger.cash(BROKER, "USD") == 115_000, 2 * MINUTE_NS)
            await asyncio.sleep(20)
            assert desk.books.mark.high_water == 115_000
            extra.append(D(15_000))
            at_ns = bench.clock.now_ns()
            told.append(Flow(broker=BROKER, flow_id="t", kind=FlowKind.TRANSFER, currency="USD", amount=D(15_000), text="", transact_ns=at_ns))
            assert await desk.wait(lambda: bool(desk.books.flows), MINUTE_NS)

            assert (desk.books.mark.day_start, desk.books.mark.high_water) == (130_000, 130_000)

    on_bench(tmp_path, story)


def test_a_journal_from_before_money_was_known_opens_it_once(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "10")))
            bench.twin.transfer(D(5_000))
            assert await desk.wait(lambda: bool(desk.books.flows), MINUTE_NS)
        path = tmp_path / "journal.sqlite"
        journal = Journal(path)
        old = [entry.record for entry in journal.read() if not isinstance(entry.record, CashAdjusted | Flowed)]
        await journal.aclose()
        path.unlink()
        path.with_suffix(".head").unlink()
        journal = Journal(path)
        for record in old:
            journal.note(record)
        await journal.aclose()
        async with bench.desk() as desk:
            await asyncio.sleep(900)

            assert desk.books.ledger.cash(BROKER, "USD") == bench.twin.exchange.cash
            assert desk.books.halts == {}
            assert [record.prior for record in records(desk, Flowed)] == [True]

    on_bench(tmp_path, story)


class Meanwhile(Between):
    """Somebody buys by hand while the account is looked at for the first time, and that look takes a while."""

    def __init__(self, wire: Wire, path: str) -> None:
        """path: the question whose second asking in this desk's life they come before."""
        super().__init__(wire, ALPACA)
        self._path = path
        self._times = 0

    def handle(self, request: Request, now_ns: int) -> Response:
        self._times += request.url.partition("?")[0].endswith(self._path) and "FILL" not in request.url
        if self._times == 2:
            self._times += 1
            body = {"symbol": "AAPL", "qty": "3", "side": "buy", "type": "market", "time_in_force": "day", "client_order_id": "by-hand"}
            self._wire.trading.submit(msgspec.json.encode(body), now_ns)
            return self.busy()
        return super().handle(request, now_ns)


@pytest.mark.parametrize("path", ["/v2/account", "/v2/positions", "/v2/account/activities"])
@pytest.mark.parametrize("told", [True, False])
def test_what_is_traded_while_the_account_is_first_looked_at_is_counted_once(tmp_path: Path, path: str, told: bool) -> None:
    async def story(bench: Bench) -> None:
        bench.network.faults = Faults(lost_frame=0.0 if told else 1.0)
        async with bench.desk() as desk:
            bench.network.faults = Faults(enabled=False)
            await asyncio.sleep(120)

            assert bench.twin.exchange.position("AAPL") == D(3)
            assert desk.books.ledger.position(BROKER, AAPL) == D(3)
            assert desk.books.ledger.cash(BROKER, "USD") == bench.twin.exchange.cash
            assert desk.books.halts == {}

    on_bench(tmp_path, story, between=lambda wire: Meanwhile(wire, path))


@pytest.mark.parametrize(("subject", "pair"), [(KRAKEN, "BTC/USD"), (BYBIT, "BTC/USDT")])
def test_coins_that_come_and_go_are_neither_profit_nor_loss(tmp_path: Path, subject: Subject, pair: str) -> None:
    async def story(bench: Bench) -> None:
        name, coin = subject.broker, InstrumentID(pair)
        async with bench.desk(Limits(crypto_max_daily_loss_pct=D("0.005"), crypto_max_drawdown_pct=D("0.005"))) as desk:
            before = desk.books.ledger.position(name, coin)
            for moved in (D("0.1"), D("-0.1")):
                held = desk.books.ledger.position(name, coin) + moved
                bench.twin.transfer(moved, "BTC")
                assert await desk.wait(lambda held=held: desk.books.ledger.position(name, coin) == held, 2 * MINUTE_NS)
                await desk.refresh_account(name)
                mark = desk.books.mark

                assert mark is not None
                assert max(abs(mark.crypto_pnl), mark.crypto_high) < mark.equity * D("0.002")
                assert max(abs(mark.equity - mark.day_start), abs(mark.equity - mark.high_water)) < mark.equity * D("0.002")
                assert desk.books.halts == {}
            assert [record.qty for record in records(desk, Adjusted) if record.instrument == coin and record.price][-2:] == [D("0.1"), D("-0.1")]
            assert desk.books.ledger.position(name, coin) == before
            await desk.journal.flush()
            assert replay(entry.record for entry in desk.journal.read()).ledger.balances() == desk.books.ledger.balances()

    on_bench(tmp_path, story, subject=subject)


def test_of_a_transfer_and_a_split_at_once_the_units_of_the_transfer_alone_have_a_price(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "10")))
            shown, price = desk.brokers[BROKER], await mid(desk)
            account, said = (
                shown.account,
                Flow(broker=BROKER, flow_id="f", kind=FlowKind.TRANSFER, currency="USD", amount=D(0), text="", transact_ns=1),
            )

            async def with_more() -> AccountSnapshot:
                seen = await account()
                return replace(seen, positions=tuple(replace(one, qty=one.qty + 25) for one in seen.positions))

            async def flows(_: int) -> tuple[Flow, ...]:
                return (replace(said, instrument=AAPL, qty=D(5)), replace(said, flow_id="g", kind=FlowKind.CORPORATE_ACTION, instrument=AAPL))

            shown.account, shown.flows = with_more, flows
            assert await desk.wait(lambda: desk.books.ledger.position(BROKER, AAPL) == 35, 2 * MINUTE_NS)
            first, second = records(desk, Adjusted)

            assert (first.qty, second.qty, second.price) == (5, 20, 0)
            assert abs(first.price / price - 1) < D("0.05")

    on_bench(tmp_path, story)


@pytest.mark.parametrize("error", [Unavailable("no prices today"), BadRequest("not traded here")])
def test_flows_are_read_where_nobody_says_what_the_units_are_worth(tmp_path: Path, error: DeskError) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            broker, account = desk.brokers[BROKER], desk.brokers[BROKER].account

            async def with_more() -> AccountSnapshot:
                seen = await account()
                return replace(seen, positions=(Position(instrument=AAPL, qty=D(5), avg_px=D(0), mark_px=None, unrealized_pnl=D(0)),))

            async def flows(_: int) -> tuple[Flow, ...]:
                said = Flow(broker=BROKER, flow_id="f", kind=FlowKind.TRANSFER, currency="USD", amount=D(0), text="", transact_ns=1)
                return (replace(said, instrument=AAPL, qty=D(5)),)

            async def quote(_: InstrumentID) -> Quote:
                raise error

            broker.account, broker.flows, broker.quote = with_more, flows, quote
            assert await desk.wait(lambda: desk.books.ledger.position(BROKER, AAPL) == 5, 2 * MINUTE_NS)

            assert [record.price for record in records(desk, Adjusted)] == [0]
            assert desk.books.halts == {}

    on_bench(tmp_path, story)


def test_a_dividend_is_income(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "100")))
            cash = desk.books.ledger.cash(BROKER, "USD")
            assert desk.books.mark is not None
            before = desk.books.mark.day_start
            bench.twin.dividend("AAPL", D("0.5"))
            assert await desk.wait(lambda: desk.books.ledger.cash(BROKER, "USD") == cash + 50, MINUTE_NS)

            assert desk.books.mark.day_start == before
            assert desk.books.halts == {}

    on_bench(tmp_path, story)


def test_a_split_moves_units_stops_the_instrument_and_takes_its_orders_away(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            price = await mid(desk)
            await settled(desk, await desk.submit(wish("a", "10", protect_stop_px=(price * D("0.9")).quantize(D(1)))))
            assert await desk.wait(lambda: len(desk.books.blotter.working()) == 1, MINUTE_NS)  # its stop
            resting = await desk.submit(wish("b", "1", price=(price * D("0.98")).quantize(D("0.01"))))
            bench.twin.split("AAPL", D(2))
            assert await desk.wait(lambda: desk.books.ledger.position(BROKER, AAPL) != 10, 2 * MINUTE_NS)
            await asyncio.sleep(60)
            equity = desk.accounts[BROKER].equity

            assert desk.books.halts[f"{BROKER}:AAPL"].rule == "CORPORATE_ACTION"
            assert [(record.reason, record.price) for record in records(desk, Adjusted)] == [("a transfer in kind or a corporate action", 0)]
            assert desk.books.blotter.get(resting.cl_ord_id).ord_status.terminal  # type: ignore[union-attr]
            assert desk.books.blotter.working() == ()
            assert abs(equity - 100_000) < 200
            assert desk.books.ledger.position(BROKER, AAPL) == bench.twin.exchange.position("AAPL")
            with pytest.raises(Halted):
                await desk.submit(wish("c", "1"))
            await desk.resume("*", by="owner")
            assert (await settled(desk, await desk.submit(wish("d", "1")))).ord_status is OrdStatus.FILLED
            await asyncio.sleep(10)
            assert desk.books.blotter.working() == ()  # the old stop is void, and stays so

    on_bench(tmp_path, story)


def test_units_that_nobody_explains_halt_until_a_person_takes_them_over(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "10")))
            bench.twin.exchange.deposit("AAPL", D(3))
            scope = f"{BROKER}:AAPL"
            assert await desk.wait(lambda: scope in desk.books.halts, MINUTE_NS)
            assert "3 unexplained" in desk.books.halts[scope].text
            await desk.resume("*", by="owner")
            assert await desk.wait(lambda: scope in desk.books.halts, MINUTE_NS)  # nothing has changed, so it is back
            desk.adopting.add(scope)
            await desk.resume("*", by="owner")
            assert await desk.wait(lambda: desk.books.ledger.position(BROKER, AAPL) == 13, MINUTE_NS)
            await asyncio.sleep(60)

            assert desk.books.halts == {}

    on_bench(tmp_path, story)


def test_money_that_nobody_explains_is_an_alert_and_then_stops_the_broker(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            bench.twin.exchange.deposit("USD", D(-50))
            assert await desk.wait(lambda: any("no order, fee or transfer explains" in alert.text for alert in desk.books.alerts.values()), MINUTE_NS)
            assert desk.books.halts == {}  # a twentieth of a percent is no reason to stop
            bench.twin.exchange.deposit("USD", D(-500))
            assert await desk.wait(lambda: BROKER in desk.books.halts, 3 * MINUTE_NS)
            assert desk.books.halts[BROKER].rule == "CASH"
            desk.adopting.add(BROKER)
            await desk.resume("*", by="owner")
            assert await desk.wait(lambda: desk.books.ledger.cash(BROKER, "USD") == D(99_450), MINUTE_NS)
            await asyncio.sleep(120)

            assert desk.books.halts == {}

    on_bench(tmp_path, story)


def test_fees_taken_from_what_was_sold_are_booked_as_fees(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk() as desk:
            await settled(desk, await desk.submit(wish("a", "0.1", instrument=BTC)))
            assert await desk.wait(lambda: desk.books.ledger.position(BROKER, BTC) < D("0.1"), MINUTE_NS)
            await settled(desk, await desk.submit(wish("b", "0.05", Side.SELL, instrument=BTC)))
            assert await desk.wait(lambda: any(record.fee for record in records(desk, CashAdjusted)), 2 * MINUTE_NS)
            await asyncio.sleep(86_400)  # the day's CFEE entries move nothing a second time

            assert abs(desk.books.ledger.cash(BROKER, "USD") - bench.twin.exchange.cash) <= D("0.01")
            assert desk.books.ledger.position(BROKER, BTC) == bench.twin.exchange.position("BTC/USD")
            assert desk.books.halts == {}
            assert not desk.books.sold

    on_bench(tmp_path, story)
