"""One desk on several brokers at once: one set of limits, each broker's money by what it is worth, and a broker that fails alone."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path

import msgspec
import pytest

from tests.desks import wish
from tests.subjects import BINANCE, BYBIT, KRAKEN, Subject
from trading_system.app.desk import Desk
from trading_system.app.hub import Hub
from trading_system.app.recover import Recovery
from trading_system.core.ledger import NS_PER_DAY
from trading_system.core.risk import Level, Limits
from trading_system.domain.account import AccountSnapshot
from trading_system.domain.errors import Halted, RiskRefused
from trading_system.domain.fix import OrdStatus, Side
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Order
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal
from trading_system.sim.clock import SECOND_NS, VirtualClock, run_virtual
from trading_system.sim.network import Faults, SimNetwork

D = Decimal
HOME = {"binance": InstrumentID("ETH/USDT"), "kraken": InstrumentID("ETH/USD"), "bybit": InstrumentID("ETH-PERP/USDT")}
WIDE = Limits(crypto_max_position_pct=D(1), crypto_max_leverage=D(5), max_leverage=D(5), max_position_pct=D(1), max_concurrent_positions=9)
Story = Callable[[Desk, dict[str, object]], Awaitable[None]]


@asynccontextmanager
async def desk_on(
    clock: VirtualClock,
    folder: Path,
    subjects: tuple[Subject, ...],
    limits: Limits,
    failover: frozenset[AssetClass] = frozenset(),
    twins: dict[str, object] | None = None,
) -> AsyncIterator[tuple[Desk, SimNetwork]]:
    """twins: of a desk before this one."""
    twins = twins or {subject.name: subject.make() for subject in subjects}
    network = SimNetwork(twins, clock, random.Random(5), Faults(enabled=False))
    carrier, numbers = asyncio.create_task(network.run()), count(clock.now_ns())
    brokers = {}
    for subject in subjects:
        nonces = {"nonces": lambda: next(numbers)} if subject.facts.needs_nonces else {}
        brokers[subject.broker] = subject.connect(
            http=network.http(),
            dialer=network.dialer(),
            clock=clock,
            rng=random.Random(1),
            credentials=subject.credentials(twins[subject.name]),
            environment="paper",
            options={"url": f"http://{subject.name}", **subject.options},
            **nonces,
        )
    journal = Journal(folder / "journal.sqlite")
    books = replay(entry.record for entry in journal.read())
    desk = Desk(
        books=books,
        journal=journal,
        brokers=brokers,
        hub=Hub(brokers),
        limits=limits,
        clock=clock,
        environment="paper",
        failover=failover,
    )
    recovery = Recovery(desk, version="test", config_hash="test")
    try:
        await recovery.start()
        assert await desk.wait(lambda: all(desk.ready.values()), 20 * SECOND_NS)
        yield desk, network
    finally:
        await desk.drain()
        await recovery.aclose()
        await desk.hub.aclose()
        await journal.aclose()
        carrier.cancel()


def told(tmp_path: Path, story: Story, subjects: tuple[Subject, ...] = (BINANCE, KRAKEN), limits: Limits = WIDE) -> None:
    async def main(clock: VirtualClock) -> None:
        async with desk_on(clock, tmp_path, subjects, limits) as (desk, network):
            await story(desk, dict(network.hosts))

    run_virtual(main)


async def buy(desk: Desk, subject: Subject, qty: str, intent: str = "a") -> Order:
    """Bought, and settled."""
    await desk.instrument(subject.broker, HOME[subject.name])
    await desk.hub.fetch(subject.broker, HOME[subject.name])
    order = await desk.submit(wish(f"{intent}-{subject.name}", qty, broker=subject.broker, instrument=HOME[subject.name]))
    assert await desk.wait(lambda: desk.books.blotter.get(order.cl_ord_id).settled, 30 * SECOND_NS)  # type: ignore[union-attr]
    return desk.books.blotter.get(order.cl_ord_id) or order


def test_equity_is_all_accounts_together_in_dollars_by_the_markets_rate(tmp_path: Path) -> None:
    async def story(desk: Desk, twins: dict[str, object]) -> None:
        binance, kraken = desk.accounts[BINANCE.broker], desk.accounts[KRAKEN.broker]
        rate = binance.rates["USDT"]

        assert (binance.currency, kraken.currency) == ("USD", "USD")
        assert rate != 1
        assert abs(rate - 1) < D("0.01")
        assert abs(binance.equity - D(100_000) * rate) < 1
        assert desk.books.mark is not None
        assert desk.books.mark.equity == binance.equity + kraken.equity

    told(tmp_path, story)


def test_crypto_limits_hold_over_all_crypto_accounts_together(tmp_path: Path) -> None:
    """Each account alone would have room for it."""
    limits = msgspec.structs.replace(WIDE, crypto_max_leverage=D("0.1"))

    async def story(desk: Desk, twins: dict[str, object]) -> None:
        quote = await desk.hub.fetch(KRAKEN.broker, HOME["kraken"])
        assert quote.mid is not None
        much = str((D(20_000) * D("0.7") / quote.mid).quantize(D("0.01")))  # 0.7 of what all accounts together may hold
        assert (await buy(desk, KRAKEN, much)).ord_status is OrdStatus.FILLED
        with pytest.raises(RiskRefused, match="CRYPTO_MAX_LEVERAGE"):
            await buy(desk, BINANCE, much)

    told(tmp_path, story, limits=limits)


def test_a_swap_counts_with_its_whole_value_among_the_coins(tmp_path: Path) -> None:
    async def story(desk: Desk, twins: dict[str, object]) -> None:
        done = await buy(desk, BYBIT, "1")
        assert done.ord_status is OrdStatus.FILLED
        await desk.refresh_account(BYBIT.broker)
        account = desk.accounts[BYBIT.broker]
        assert done.avg_px is not None
        held = {position.instrument: position.qty for position in account.positions}
        assert held[HOME["bybit"]] == 1
        assert abs(account.balances["USDT"] - (D(100_000) - done.avg_px)) < D("0.01") * done.avg_px  # told as if it was bought with money
        assert abs(account.equity - D(100_000)) < D("0.01") * done.avg_px
        assert desk.books.halts == {}
        with pytest.raises(RiskRefused, match="CRYPTO_MAX_LEVERAGE"):
            await buy(desk, KRAKEN, "1", "b")

    told(tmp_path, story, (BYBIT, KRAKEN), msgspec.structs.replace(WIDE, crypto_max_leverage=D("0.03")))


def test_a_halt_of_crypto_stops_all_of_them_and_one_broker_only_itself(tmp_path: Path) -> None:
    async def story(desk: Desk, twins: dict[str, object]) -> None:
        await desk.halt(BrokerName("kraken"), Level.HALT, "the owner says so")
        assert (await buy(desk, BINANCE, "0.1")).ord_status is OrdStatus.FILLED
        with pytest.raises(Halted, match="kraken"):
            await buy(desk, KRAKEN, "0.1")
        await desk.halt("crypto", Level.HALT, "the owner says so")
        with pytest.raises(Halted, match="crypto"):
            await buy(desk, BINANCE, "0.1", "b")

    told(tmp_path, story)


def test_flatten_closes_every_broker(tmp_path: Path) -> None:
    async def story(desk: Desk, twins: dict[str, object]) -> None:
        for subject in (BINANCE, KRAKEN, BYBIT):
            await buy(desk, subject, "0.5")
        residue = await desk.flatten()

        assert (residue.orders, residue.problems) == ((), ())
        assert all(abs(qty) < desk.instruments[name, held].lot for name, held, qty in residue.positions)

    told(tmp_path, story, (BINANCE, KRAKEN, BYBIT))


def test_equity_is_watched_where_a_broker_that_made_something_is_gone(tmp_path: Path) -> None:
    async def main(clock: VirtualClock) -> None:
        twins = {subject.name: subject.make() for subject in (BYBIT, KRAKEN)}
        async with desk_on(clock, tmp_path, (BYBIT, KRAKEN), WIDE, twins=twins) as (desk, _):
            await traded(desk)
            made = desk.marked(clock.now_ns())
        limits = msgspec.structs.replace(WIDE, max_daily_loss_pct=D("0.9"), max_drawdown_pct=D("0.99"))  # an account that went is half of it
        async with desk_on(clock, tmp_path, (KRAKEN,), limits, twins=twins) as (desk, _):
            before, day = desk.accounts[KRAKEN.broker].equity, clock.now_ns() // NS_PER_DAY
            bought = await buy(desk, KRAKEN, "0.01")
            await clock.sleep_ns(NS_PER_DAY)
            await lose(desk, KRAKEN.broker, D("0.05"))

            assert made is not None
            assert desk.books.mark is not None
            assert (bought.ord_status, desk.valued(clock.now_ns())[1]) == (OrdStatus.FILLED, "")
            assert abs(desk.books.mark.crypto_pnl - made.crypto_pnl) < 1  # what was made at Bybit stands
            assert (desk.books.mark.day, desk.books.mark.equity < before * D("0.1")) == (day + 1, True)
            assert desk.books.halts["all"].rule == "MAX_DAILY_LOSS_PCT"

    run_virtual(main)


def test_equity_moves_and_crypto_waits_while_a_coin_has_no_rate(tmp_path: Path) -> None:
    async def story(desk: Desk, twins: dict[str, object]) -> None:
        await traded(desk)
        made = desk.marked(desk.clock.now_ns())
        await lose(desk, BYBIT.broker, D("0.99"), rates={})
        mark = desk.books.mark

        assert made is not None
        assert mark is not None
        assert (mark.equity < made.equity, mark.crypto_pnl) == (True, made.crypto_pnl)
        with pytest.raises(RiskRefused, match="CRYPTO_PNL: ETH-PERP/USDT at bybit has no price in USD"):
            await buy(desk, KRAKEN, "0.01", "b")

    told(tmp_path, story, (BYBIT, KRAKEN))


async def traded(desk: Desk) -> None:
    """Bought and sold at Bybit: nothing is held there, and its fees are lost."""
    await buy(desk, BYBIT, "0.1")
    sold = await desk.submit(wish("z", "0.1", Side.SELL, broker=BYBIT.broker, instrument=HOME["bybit"]))
    assert await desk.wait(lambda: desk.books.blotter.get(sold.cl_ord_id).settled, 30 * SECOND_NS)  # type: ignore[union-attr]
    await desk.refresh_account(BYBIT.broker)
    assert desk.books.ledger.position(BYBIT.broker, HOME["bybit"]) == 0


async def lose(desk: Desk, name: BrokerName, left: Decimal, **changes: object) -> None:
    """The account says from now on that so much of its equity is left."""
    account = desk.brokers[name].account

    async def lower() -> AccountSnapshot:
        snapshot = await account()
        return msgspec.structs.replace(snapshot, equity=snapshot.equity * left, **changes)

    desk.brokers[name].account = lower  # type: ignore[method-assign]
    await desk.refresh_account(name)
