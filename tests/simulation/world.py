"""One seed, one world: the production desk, journal and connector against the twin, on virtual time, with faults and crashes, judged by
an oracle that sees the twin's truth."""

import asyncio
import hashlib
import random
import shutil
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path

import msgspec

from trading_system.app.desk import Desk
from trading_system.app.hub import Hub
from trading_system.app.recover import Recovery
from trading_system.brokers.alpaca import connect
from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.core.risk import Limits
from trading_system.domain.errors import DeskError, JournalError
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID, is_ours
from trading_system.domain.money import ZERO
from trading_system.domain.order import NewOrder, Order, Replace
from trading_system.journal.record import ClosedUnsent, Intent, encode
from trading_system.journal.replay import Books, replay
from trading_system.journal.store import Journal
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS, START_NS, VirtualClock, VirtualLoop, run_virtual
from trading_system.sim.network import Faults, SimNetwork

BROKER = BrokerName("alpaca")
NAMES = (InstrumentID("AAPL"), InstrumentID("SPY"), InstrumentID("BTC/USD"))
FAULT_KINDS = (
    "refused",
    "lost_request",
    "lost_answer",
    "late_request",
    "late_answer",
    "torn_answer",
    "garbage",
    "busy",
    "failed_before",
    "failed_after",
    "duplicate_frame",
    "lost_frame",
    "disconnect",
    "mute",
)
SETTLE_NS = 900 * SECOND_NS  # the liveness phase: faults off, and everything must come to rest within this


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a seed expands to; printed with a failure."""

    seed: int
    orders: int
    crashes: int
    faults: Faults

    @classmethod
    def of(cls, seed: int) -> "Options":
        rng = random.Random(f"options {seed}")
        rates = {kind: rng.choice((0.0, 0.0, rng.uniform(0, 0.3))) for kind in FAULT_KINDS}
        rates |= {kind: rates[kind] / 3 for kind in ("duplicate_frame", "lost_frame", "disconnect", "mute")}
        return cls(seed=seed, orders=rng.randrange(4, 14), crashes=rng.choice((0, 0, 1, 1, 2, 3)), faults=Faults(**rates))


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one seed."""

    seed: int
    violations: tuple[str, ...]
    digest: str  # of every record of the journal
    orders: int
    in_doubt: int
    absent: int
    crashes: int
    hits: dict[str, int]


class World:
    """Runs one seed."""

    def __init__(self, options: Options, clock: VirtualClock, folder: Path) -> None:
        self.options = options
        self.clock = clock
        self.path = folder / "journal.sqlite"
        self.rng = random.Random(f"world {options.seed}")
        self.twin = AlpacaTwin(seed=options.seed, start_ns=START_NS, requests_per_minute=100_000, orders_streams=50)
        self.network = SimNetwork({"twin": self.twin}, clock, random.Random(f"network {options.seed}"), options.faults)
        self.violations: list[str] = []
        self.seen_in_doubt: set[ClOrdID] = set()
        self.crashes = 0
        self.numbers = 0
        self.trap: int | None = None  # the desk dies at the so many-th step from here
        self.restarting = asyncio.Lock()
        self.traps: set[asyncio.Task[None]] = set()

    async def run(self) -> Verdict:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        disk = random.Random(f"disk {self.options.seed}")
        loop.disk_ns = lambda: disk.randrange(100_000, 10_000_000)
        carrier = asyncio.create_task(self.network.run())
        self.keep: set[object] = {carrier, asyncio.current_task()}
        await self.start_desk()
        plan = [self.act] * self.options.orders + [self.crash, self.set_trap] * self.options.crashes
        self.rng.shuffle(plan)
        for step in plan:
            await self.clock.sleep_ns(self.rng.randrange(1, 20 * SECOND_NS))
            async with self.restarting:
                pass  # whoever wants something of a desk that is coming up, waits
            await step()
        self.trap = None
        async with self.restarting:
            pass
        self.network.faults = Faults(enabled=False)
        await self.settle()
        await self.desk.journal.flush()
        self.judge()
        digest = hashlib.blake2b(digest_size=16)
        for entry in self.desk.journal.read():
            digest.update(encode(entry.record))
        orders = [order for order in self.desk.books.blotter if not order.external]
        verdict = Verdict(
            seed=self.options.seed,
            violations=tuple(self.violations),
            digest=digest.hexdigest(),
            orders=len(orders),
            in_doubt=len(self.seen_in_doubt),
            absent=sum(order.doubt is Doubt.PROVEN_ABSENT for order in orders),
            crashes=self.crashes,
            hits=dict(self.network.hit),
        )
        await self.recovery.aclose()
        self.desk.journal.abandon()
        carrier.cancel()
        return verdict

    # -- the actors -------------------------------------------------------------------------------------------------------------

    async def start_desk(self) -> None:
        """A process starts: it may fail to reach the broker, then it is started again, as a supervisor would."""
        for _ in range(200):
            self.build_desk()
            try:
                await self.recovery.start()
            except DeskError:
                await self.kill()
                await self.clock.sleep_ns(5 * SECOND_NS)
            else:
                return
        raise AssertionError("the desk never came up")

    def build_desk(self) -> None:
        journal = Journal(self.path)
        connector = connect(
            http=self.network.http(),
            dialer=self.network.dialer(),
            clock=self.clock,
            rng=random.Random(self.rng.getrandbits(64)),
            credentials={"key": Secret(self.twin.key), "secret": Secret(self.twin.secret)},
            environment="paper",
            options={"url": "http://twin"},
        )
        self.desk = Desk(
            books=replay(entry.record for entry in journal.read()),
            journal=journal,
            brokers={BROKER: connector},
            hub=Hub({BROKER: connector}),
            limits=Limits(max_concurrent_positions=5, max_orders_per_minute=1000),
            clock=self.clock,
            environment="paper",
            step=self.on_step,
        )
        self.recovery = Recovery(self.desk, version="sim", config_hash="sim")

    async def act(self) -> None:
        """One thing an owner may do. What it returns may be no, and that is fine; it runs on its own, so that the plan goes on meanwhile."""
        await asyncio.wait({asyncio.create_task(self._act())}, timeout=self.rng.choice((0.01, 0.1, 1.0, 30.0)))

    async def _act(self) -> None:
        working = [order for order in self.desk.books.blotter.working() if not order.external]
        try:
            match self.rng.randrange(10):
                case 0 | 1 if working:
                    await self.desk.cancel(self.rng.choice(working).cl_ord_id)
                case 2 if working:
                    await self.replace(self.rng.choice(working))
                case 3 if self.rng.random() < 0.3:
                    await self.desk.flatten()
                case 4:
                    await self.repeat()
                case 5 | 6 if self.desk.books.halts:
                    await self.desk.resume("*", by="owner")
                case _:
                    await self.desk.submit(await self.wish())
        except (DeskError, JournalError):
            pass
        self.seen_in_doubt |= {order.cl_ord_id for order in self.desk.books.blotter if order.doubt is Doubt.IN_DOUBT}

    async def wish(self) -> NewOrder:
        name = self.rng.choice(NAMES)
        crypto = "/" in name
        quote = await self.desk.hub.fetch(BROKER, name)
        position = self.desk.books.ledger.position(BROKER, name)
        side = Side.SELL if position > 0 and self.rng.random() < 0.5 else Side.BUY
        qty = Decimal(self.rng.randrange(1, 20)) / (100 if crypto else 1)
        if side is Side.SELL:
            qty = min(qty, position)
        limit = self.rng.random() < 0.6
        away = Decimal(self.rng.choice(("-0.01", "0", "0.002"))) * side.sign
        price = None if not limit or quote.mid is None else quote.mid * (1 + away)
        self.numbers += 1
        return NewOrder(
            broker=BROKER,
            instrument=name,
            side=side,
            ord_type=OrdType.LIMIT if price is not None else OrdType.MARKET,
            time_in_force=TimeInForce.GTC if crypto else TimeInForce.DAY,
            order_qty=qty,
            price=None if price is None else price.quantize(Decimal("0.01")),
            intent=IntentID(f"w{self.numbers}"),
        )

    async def repeat(self) -> None:
        """A strategy that restarts asks for the same thing again: nothing new may come of it."""
        old = [order for order in self.desk.books.blotter if order.intent is not None and order.intent.startswith("w")]
        if not old:
            return
        order = self.rng.choice(old)
        before = len(self.desk.books.blotter)
        again = await self.desk.submit(
            NewOrder(
                broker=BROKER,
                instrument=order.instrument,
                side=order.side,
                order_qty=order.order_qty or Decimal(1),
                intent=order.intent or IntentID("x"),
            )
        )
        if again.cl_ord_id != order.cl_ord_id or len(self.desk.books.blotter) != before:
            self.violations.append(f"repeating {order.intent} made a second order")

    async def replace(self, order: Order) -> None:
        self.numbers += 1
        price = None if order.price is None else (order.price * Decimal("1.001")).quantize(Decimal("0.01"))
        await self.desk.replace(Replace(cl_ord_id=order.cl_ord_id, price=price, intent=IntentID(f"w{self.numbers}")))

    async def crash(self) -> None:
        async with self.restarting:
            self.crashes += 1
            await self.kill()
            await self.clock.sleep_ns(self.rng.randrange(1, 30 * SECOND_NS))
            await self.start_desk()

    async def set_trap(self) -> None:
        """The next crash is not at some time but at some step of the order path, then let something happen."""
        self.trap = self.rng.randrange(1, 8)
        await self.act()

    def on_step(self, _: str) -> None:
        if self.trap is None or self.restarting.locked():
            return
        self.trap -= 1
        if self.trap == 0:
            self.trap = None
            task = asyncio.get_running_loop().create_task(self.crash())
            self.keep.add(task)
            self.traps.add(task)

    async def kill(self) -> None:
        """The process is gone: what the journal had not written is lost, streams end, bytes on the way go on."""
        self.desk.journal.abandon()
        self.network.drop_all()
        doomed = [task for task in asyncio.all_tasks() if task not in self.keep and task not in self.network._background]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    # -- the oracle ---------------------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """No faults any more: within SETTLE_NS both sides must agree, and stay so."""
        deadline_ns = self.clock.monotonic_ns() + SETTLE_NS
        while self.clock.monotonic_ns() < deadline_ns:
            await self.clock.sleep_ns(5 * SECOND_NS)
            if not self.differences():
                return
        self.violations += self.differences()

    def differences(self) -> list[str]:
        """Twin's truth against the desk's books, right now."""
        books, exchange = self.desk.books, self.twin.exchange
        found = []
        theirs = {order.cl_ord_id: order for order in exchange.orders.values() if is_ours(order.cl_ord_id)}
        for order in books.blotter:
            if order.doubt in (Doubt.IN_DOUBT, Doubt.ESCALATED):
                found.append(f"{order.cl_ord_id} is still {order.doubt}")
                continue
            real = theirs.get(order.cl_ord_id)
            if real is None:
                if order.ord_status is not OrdStatus.REJECTED:
                    found.append(f"{order.cl_ord_id} is {order.ord_status} here and unknown there")
            elif real.ord_status.terminal != order.ord_status.terminal or real.filled_qty != order.cum_qty:
                found.append(f"{order.cl_ord_id}: {real.ord_status} {real.filled_qty} there, {order.ord_status} {order.cum_qty} here")
        for name in NAMES:
            here, there = books.ledger.position(BROKER, name), exchange.position(name)
            if here != there:
                found.append(f"{name}: {there} there, {here} here")
        if not all(self.desk.ready.values()):
            found.append("the desk is not ready")
        return found

    def judge(self) -> None:
        """What must hold whatever happened."""
        books, exchange = self.desk.books, self.twin.exchange
        journaled = {entry.record.approved.cl_ord_id for entry in self.desk.journal.read() if isinstance(entry.record, Intent)}
        ids = Counter(order.cl_ord_id for order in exchange.orders.values() if is_ours(order.cl_ord_id))
        for cl_ord_id, count in ids.items():
            if count > 1:
                self.violations.append(f"I1 {count} orders for intent {cl_ord_id}")
            if cl_ord_id not in journaled:
                self.violations.append(f"I7 {cl_ord_id} is at the broker and not in the journal")
            order = books.blotter.get(ClOrdID(cl_ord_id))
            if order is not None and order.ord_status is OrdStatus.REJECTED and exchange_status(exchange, cl_ord_id) is not OrdStatus.REJECTED:
                self.violations.append(f"I8 {cl_ord_id} is rejected here and {exchange_status(exchange, cl_ord_id)} there")
        for entry in self.desk.journal.read():
            closed = entry.record.cl_ord_id if isinstance(entry.record, ClosedUnsent) else ""
            if closed in ids and exchange_status(exchange, closed) is not OrdStatus.REJECTED:
                self.violations.append(f"I8 {closed} was closed as unsent and is at the broker")
        for cl_ord_id, count in self.twin.trading.posts.items():
            if count > 1:
                self.violations.append(f"I1 {count} submits on the wire for intent {cl_ord_id}")
        self.judge_fills()
        rebuilt = replay(entry.record for entry in self.desk.journal.read())
        if snapshot(rebuilt) != snapshot(books):
            self.violations.append("I4 replay of the journal is not the live state")

    def judge_fills(self) -> None:
        """I10: every execution once, none invented."""
        real = {execution.exec_id: execution for execution in self.twin.exchange.executions.values()}
        booked: Counter[str] = Counter()
        for order in self.desk.books.blotter:
            for fill in order.fills:
                booked[fill.exec_id] += 1
                truth = real.get(fill.exec_id)
                if truth is None or (truth.qty, truth.price) != (fill.qty, fill.price):
                    self.violations.append(f"I10 {fill.exec_id} was booked and is not so at the broker")
        self.violations += [f"I10 {exec_id} is not booked" for exec_id in real if exec_id not in booked]
        self.violations += [f"I10 {exec_id} is booked {count} times" for exec_id, count in booked.items() if count > 1]


def exchange_status(exchange: object, cl_ord_id: str) -> OrdStatus:
    return next(order.ord_status for order in exchange.orders.values() if order.cl_ord_id == cl_ord_id)  # type: ignore[attr-defined]


def snapshot(books: Books) -> object:
    """Everything the journal determines, without the running values of equity, which are the broker's to say."""
    return msgspec.to_builtins(
        {
            "orders": sorted((msgspec.to_builtins(order) for order in books.blotter), key=lambda order: order["cl_ord_id"]),
            "balances": sorted((*key, value) for key, value in books.ledger.balances().items()),
            "halts": books.halts,
            "watermarks": books.watermarks,
            "bought": sorted((*key, value) for key, value in books.bought.items() if value != ZERO),
        }
    )


def run_seed(seed: int) -> Verdict:
    """One world from its seed. A crash of the world itself is a violation with its traceback."""
    folder = Path(tempfile.mkdtemp(prefix="seed", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        return run_virtual(lambda clock: World(Options.of(seed), clock, folder).run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
