"""What both layers of the simulation share: a desk that lives, dies and comes back on virtual time, and the actors who use it and the venues."""

import asyncio
import hashlib
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace as changed

from tests.desks import SteppedClock
from tests.simulation.guards import Guards
from tests.simulation.oracle import NOT_READY, Oracle
from trading_system.app.desk import Desk
from trading_system.app.hub import Hub
from trading_system.app.recover import POLL_NS, Recovery
from trading_system.core.risk import Level, Limits
from trading_system.domain.errors import DeskError
from trading_system.domain.fix import Doubt, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Quote
from trading_system.domain.option import parse_option, underlying_of
from trading_system.domain.order import Attached, Leg, NewOrder, Order, Replace
from trading_system.domain.ports import Connector
from trading_system.journal.record import encode
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal
from trading_system.sim.clock import SECOND_NS, VirtualClock, VirtualLoop
from trading_system.sim.disk import SimDisk

NAMES = (InstrumentID("AAPL"), InstrumentID("SPY"), InstrumentID("BTC/USD"))
SETTLE_NS = 900 * SECOND_NS  # the liveness phase: faults off, and everything must come to rest within this
NOTICE_NS = 60 * SECOND_NS  # I17: what no stream tells is found within this
STRANGER = "q1strangersorder"  # an id of our form, in no journal of ours, begins like this
AT_ONCE_NS = 5 * SECOND_NS  # and what one tells within this, a fee charged in units included
TILTED = 8  # so many times as often comes what a case is tilted to
CRASHES_MORE = 6  # and so many crashes, where it is those
QUIET_TRIES = 20
STARTS_MAX = 200  # a supervisor's patience; more means that the desk never comes up …
CLEARS_AFTER = 100  # … although the weather has cleared by then
WEIGHTS: Mapping[str, int] = {  # what an owner, a strategy, a stranger and the machine do
    "submit": 12,
    "race": 4,
    "close": 4,
    "cancel": 6,
    "cancel_all": 1,
    "replace": 4,
    "repeat": 3,
    "flatten": 1,
    "halt": 3,
    "resume": 5,
    "foreign": 3,
    "foreign_cancel": 1,
    "second_desk": 1,
    "step_clock": 2,
    "slow_disk": 2,
    "wait": 2,
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one seed."""

    layer: str
    seed: int
    violations: tuple[str, ...]
    digest: str  # of every record of the journal
    orders: int
    in_doubt: int
    absent: int
    crashes: int
    hits: dict[str, int]  # fault kinds, actions and crash points


class Life:
    """One process. Dead, it writes nothing and sends nothing, however far its code still runs."""

    def __init__(self) -> None:
        self.dead = False


def plan_of(rng: random.Random, actions: int, crashes: int, tilt: frozenset[str]) -> tuple[str, ...]:
    """The names of what will happen, in order."""
    weights = [weight * (TILTED if name in tilt else 1) for name, weight in WEIGHTS.items()]
    crashes += CRASHES_MORE if "crash" in tilt else 0
    plan = rng.choices(tuple(WEIGHTS), weights, k=actions) + rng.choices(("crash", "set_trap", "set_trap"), k=crashes)
    rng.shuffle(plan)
    return tuple(plan)


class Stage(ABC):
    """Runs one seed. A layer brings the venues: their connectors, their truth, and what a stranger may do there."""

    oracle: Oracle
    names = NAMES  # what is traded
    tells_others = True  # whether streams tell of what other clients of the same account do
    numbered = False  # whether streams count their messages: after a lost one they begin anew, and the desk waits for that
    protects = False  # whether the layer's venues take stops
    failover: frozenset[AssetClass] = frozenset()  # kinds whose openings may go to another venue
    dead_man: frozenset[BrokerName] = frozenset()  # venues whose own dead man's switch the desk uses
    coins = True  # whether what is written with a slash is a coin
    contracts: tuple[InstrumentID, ...] = ()  # two calls that the layer's venue trades, the lower strike first
    options_share = 0.2  # of what is submitted, where there are contracts
    combos = False  # whether the venue takes shares and options as one order

    def __init__(
        self,
        layer: str,
        seed: int,
        plan: tuple[str, ...],
        skip: frozenset[int],
        limits: Limits,
        clock: VirtualClock,
        off: frozenset[str],
    ) -> None:
        self.layer = layer
        self.seed = seed
        self.plan = plan
        self.skip = skip
        self.limits = limits
        self.clock = clock
        self.disk = SimDisk(random.Random(f"{layer} {seed} disk"))
        self.off = off
        self.desk_clock = SteppedClock(clock, 0)
        self.rng = random.Random(f"{layer} {seed}")
        self.hit: Counter[str] = Counter()
        self.life = Life()
        self.crashes = 0
        self.resumed = 0
        self.trap: int | None = None  # the desk dies at the so many-th step from here
        self.restarting = asyncio.Lock()
        self.keep: set[Any] = set()

    # -- what a layer brings ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def connectors(self, life: Life, rng: random.Random) -> Mapping[BrokerName, Connector]:
        """The venues as this life reaches them."""

    @abstractmethod
    def calm(self) -> None:
        """No faults from here on."""

    @abstractmethod
    def cut(self) -> None:
        """The process is dead: its streams end without a goodbye."""

    @abstractmethod
    def in_the_air(self) -> bool:
        """Whether something sent earlier has yet to arrive."""

    def spared(self) -> set[Any]:
        """Tasks that outlive the process: the stage's own."""
        return self.keep

    def secrets_on_disk(self) -> bool:
        """I14: whether a secret was written. A venue in memory has none."""
        return False

    @abstractmethod
    def intrude(
        self, rng: random.Random, broker: BrokerName, instrument: InstrumentID, *, silent: bool = False, cl_ord_id: ClOrdID | None = None
    ) -> None:
        """Somebody else trades at this account. silent: the stream loses all that is said of it."""

    @abstractmethod
    def withdraw(self, rng: random.Random, broker: BrokerName) -> None:
        """Somebody else cancels an order of theirs."""

    # -- the run ----------------------------------------------------------------------------------------------------------------------

    async def run(self) -> Verdict:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.disk_rng, self.disk_max_ns = random.Random(f"disk {self.seed}"), 10_000_000
        loop.disk_ns = lambda: self.disk_rng.randrange(100_000, self.disk_max_ns)
        self.guards = Guards(self.oracle, self.oracle.truth, self.clock)
        self.keep |= {asyncio.current_task(), asyncio.create_task(self.guards.watch())}
        await self.start_desk()
        await self.desk.wait(lambda: len(self.desk.books.watermarks) == len(self.desk.brokers), SETTLE_NS)  # the account as it was found
        for place, name in enumerate(self.plan):
            if place in self.skip:
                continue
            rng = random.Random(f"{self.layer} {self.seed} step {place}")
            await self.clock.sleep_ns(rng.randrange(1, rng.choice((SECOND_NS, 20 * SECOND_NS))))
            async with self.restarting:
                pass  # whoever wants something of a desk that is coming up, waits
            self.hit[name] += 1
            await getattr(self, name)(rng, place)
            self.oracle.tick()
        self.trap = None
        self.disk.fail("power", 0)
        async with self.restarting:
            pass
        self.calm()
        await self.settle()
        await self.probe()
        for _ in range(QUIET_TRIES):  # a stop may just be on its way
            await self.desk.wait(lambda: not self.desk._owned, SETTLE_NS)
            await self.desk.journal.flush()
            if not self.desk._owned:
                break
        self.oracle.judge()
        self.hit["stops at rest"] += bool(self.guards.stops)
        if self.secrets_on_disk():
            self.oracle.hold("I14 a secret is in the journal")
        return await self._verdict()

    async def _verdict(self) -> Verdict:
        digest = hashlib.blake2b(digest_size=16)
        for entry in self.desk.journal.read():
            digest.update(encode(entry.record))
        orders = [order for order in self.desk.books.blotter if not order.external]
        verdict = Verdict(
            layer=self.layer,
            seed=self.seed,
            violations=tuple(self.oracle.found),
            digest=digest.hexdigest(),
            orders=len(orders),
            in_doubt=len(self.oracle.seen_in_doubt),
            absent=sum(order.doubt is Doubt.PROVEN_ABSENT for order in orders),
            crashes=self.crashes,
            hits=dict(self.hit),
        )
        await self.kill()
        self.disk.close()
        return verdict

    async def settle(self) -> None:
        """No faults any more: both sides must agree within SETTLE_NS, when all that was under way has arrived."""
        deadline_ns = self.clock.monotonic_ns() + SETTLE_NS
        while self.clock.monotonic_ns() < deadline_ns:
            await self.clock.sleep_ns(5 * SECOND_NS)
            self.oracle.tick()
            if not self.in_the_air() and not self.desk._owned and not self.oracle.differences():
                return
        for text in self.oracle.differences():
            self.oracle.hold(text)

    async def probe(self) -> None:
        """I17: a stranger's trade that no stream tells of is known within a minute; one that it does tell of, at once."""
        if self.oracle.found:
            return
        self._disk_is_well()  # a stop that waits for the disk is no trade that goes unnoticed
        await self.desk.journal.flush()
        rng = random.Random(f"{self.layer} {self.seed} probe")
        for silent in (True, False):
            told = not silent and self.tells_others
            broker = rng.choice(tuple(self.desk.brokers))
            name = rng.choice(self.names)
            self.intrude(rng, broker, name, silent=silent)
            await self.clock.sleep_ns(SECOND_NS // 2)  # by then it has happened
            lag_ns = self.desk.brokers[broker].facts.visibility_lag_ns if not told else POLL_NS if self.numbered else 0
            noticed = partial(self._noticed, waits=told and self.numbered)
            if not await self.desk.wait(noticed, (AT_ONCE_NS if told else NOTICE_NS) + lag_ns):
                self.oracle.hold(f"I17 a stranger's {'silent ' if silent else ''}trade at {broker} is not noticed: {self.oracle.differences()}")
            await self.clock.sleep_ns(3 * SECOND_NS)
            await self.desk.wait(lambda: not self.oracle.differences(), SETTLE_NS)  # an order of ours may have filled in the silence, or be in doubt

    def _noticed(self, *, waits: bool) -> bool:
        """An order that the silence left in doubt is no trade that goes unnoticed."""
        left = [text for text in self.oracle.differences() if not text.endswith("is still in_doubt")]
        return not [text for text in left if not waits or text != NOT_READY]

    # -- a desk's life ------------------------------------------------------------------------------------------------------------------

    async def start_desk(self) -> None:
        """A process starts: it may fail to reach the broker, then it is started again, as a supervisor would."""
        for attempt in range(STARTS_MAX):
            if attempt == CLEARS_AFTER:
                self.calm()
            try:
                self.build_desk()
                await self.recovery.start()
                if not self.disk.dark:
                    return
            except DeskError:
                pass
            await self.kill()
            await self.clock.sleep_ns(5 * SECOND_NS)
        raise AssertionError("the desk never came up")

    def build_desk(self) -> None:
        self.life = Life()
        journal = Journal(Path("journal.sqlite"), disk=self.disk)
        journal.on_failure = lambda _: self.die("power lost")
        brokers = self.connectors(self.life, random.Random(self.rng.getrandbits(64)))
        self.desk = Desk(
            books=replay(entry.record for entry in journal.read()),
            journal=journal,
            brokers=brokers,
            hub=Hub(brokers),
            limits=self.limits,
            clock=self.desk_clock,
            environment="paper",
            failover=self.failover,
            step=self.on_step,
        )
        self.oracle.meet(self.desk, partial(self._alive, self.life))
        self.guards.meet(self.desk, partial(self._alive, self.life))
        self.recovery = Recovery(self.desk, version="sim", config_hash="sim", dead_man=self.dead_man)

    def _alive(self, life: Life) -> bool:
        """A process whose machine has no power is dead, though its code runs on until start_desk has noticed."""
        return not (life.dead or self.disk.dark)

    def leaving(self, life: Life, broker: BrokerName, cl_ord_id: ClOrdID) -> bool:
        """An order's first byte is about to leave this process. False: the process is dead."""
        if not life.dead:
            self.oracle.on_send(broker, cl_ord_id)
        return not life.dead

    def on_step(self, name: str) -> None:
        if self.trap is None or self.restarting.locked() or self.life.dead:
            return
        self.trap -= 1
        if self.trap == 0:
            self.die(name)

    def die(self, where: str) -> None:
        """At a step, or in the middle of a write to the disk; then it is started again."""
        if self.restarting.locked() or self.life.dead:
            return
        self.trap = None
        self.hit[f"crash at: {where}"] += 1
        self.life.dead = True
        self.desk.journal.abandon()
        task = asyncio.get_running_loop().create_task(self.restart(self.rng.randrange(1, 30 * SECOND_NS)))
        self.keep.add(task)

    async def restart(self, pause_ns: int) -> None:
        async with self.restarting:
            self.crashes += 1
            await self.kill()
            await self.clock.sleep_ns(pause_ns)
            await self.start_desk()

    async def kill(self) -> None:
        """The process is gone, half of the time with its machine: what the journal had not written is lost, or not synced; streams end, bytes on
        the way go on."""
        if not self.life.dead:
            self.life.dead = True
            self.desk.journal.abandon()
        if self.disk.dark or self.disk.rng.random() < 0.5:
            self.disk.power_loss()
        self.cut()
        spared = self.spared() | {asyncio.current_task()}
        doomed = [task for task in asyncio.all_tasks() if task not in spared]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    # -- the actors ---------------------------------------------------------------------------------------------------------------------

    async def attempt(self, rng: random.Random, *works: Callable[[], Any]) -> None:
        """Things that are asked of the desk at once. The answer may be no, and that is fine; they run on, and the plan goes on meanwhile."""
        life = self.life
        tasks = [asyncio.create_task(self._guarded(life, work)) for work in works]
        await asyncio.wait(tasks, timeout=rng.choice((0.01, 0.1, 1.0, 30.0)))

    async def _guarded(self, life: Life, work: Callable[[], Any]) -> None:
        try:
            await work()
        except DeskError:
            pass
        except Exception as error:  # noqa: BLE001  an error of no kind that a caller knows is the desk's own fault
            if not life.dead:
                self.oracle.hold(f"the desk failed: {error!r}")

    async def submit(self, rng: random.Random, place: int) -> None:
        await self.attempt(rng, lambda: self._submit(rng, f"w{place}"))

    async def _submit(self, rng: random.Random, intent: str, *, big: bool = False) -> None:
        if self.contracts and rng.random() < self.options_share:
            await self.desk.submit(await self._option(rng, next(iter(self.desk.brokers)), intent))
            return
        broker, name = rng.choice(tuple(self.desk.brokers)), rng.choice(self.names)
        await self.desk.submit(await self.wish(rng, broker, name, intent, big=big))

    async def race(self, rng: random.Random, place: int) -> None:
        """Two or three strategies want the same limit at the same time."""
        broker, name = rng.choice(tuple(self.desk.brokers)), rng.choice(self.names)
        desk = self.desk
        wishes = []
        try:
            for letter in "abc"[: rng.randrange(2, 4)]:
                wishes.append(await self.wish(rng, broker, name, f"w{place}{letter}", big=True))
        except DeskError:
            return
        await self.attempt(rng, *(lambda wish=wish: desk.submit(wish) for wish in wishes))  # type: ignore[misc]

    async def wish(self, rng: random.Random, broker: BrokerName, name: InstrumentID, intent: str, *, big: bool = False) -> NewOrder:
        crypto, grid = self.coins and "/" in name, self.grid(name)
        quote = await self.desk.hub.fetch(broker, name)
        mid = quote.mid or quote.bid_px or quote.ask_px
        assert mid is not None
        position = self.desk.books.ledger.position(broker, name)
        side = Side.SELL if position > 0 and not big and rng.random() < 0.5 else Side.BUY
        room = (
            self.oracle.truth.equity() * (self.limits.crypto_max_position_pct if crypto else self.limits.max_position_pct) / self.counted(name, mid)
        )
        share = Decimal(rng.randrange(55, 80) if big else rng.randrange(1, 30)) / 100
        qty = (room * share).quantize(self.step(name), rounding="ROUND_UP")
        if side is Side.SELL:
            qty = min(qty, position)
        kind = OrdType.MARKET if rng.random() < 0.35 else OrdType.LIMIT
        away = Decimal(rng.choice(("-0.01", "-0.001", "0", "0.002"))) * side.sign
        cash = kind is OrdType.MARKET and side is Side.BUY and rng.random() < 0.15
        if self.protects and side is Side.BUY and not crypto and rng.random() < 0.3:
            return self._bracket(
                rng, name, mid, NewOrder(broker=broker, instrument=name, side=side, order_qty=qty, intent=IntentID(intent), repeat=big)
            )
        return NewOrder(
            broker=broker,
            instrument=name,
            side=side,
            ord_type=kind,
            time_in_force=self.time_in_force(rng, kind, name),
            order_qty=None if cash else qty,
            cash_order_qty=(qty * mid).quantize(Decimal("0.01")) if cash else None,
            price=(mid * (1 + away)).quantize(grid) if kind is OrdType.LIMIT else None,
            protect_stop_px=(mid * Decimal("0.9")).quantize(grid) if self.protects and side is Side.BUY and rng.random() < 0.3 else None,
            intent=IntentID(intent),
            repeat=big,
        )

    def counted(self, name: InstrumentID, price: Decimal) -> Decimal:
        """What one unit counts at this price."""
        return price

    def step(self, name: InstrumentID) -> Decimal:
        """What quantities are whole numbers of."""
        return Decimal("0.01") if self.coins and "/" in name else Decimal(1)

    def grid(self, name: InstrumentID) -> Decimal:
        """The steps of prices, as coarse as any instrument's here."""
        return Decimal("0.01")

    def time_in_force(self, rng: random.Random | None, kind: OrdType, name: InstrumentID) -> TimeInForce:
        """For an order of a kind; an exit has no choice."""
        if "/" not in name:
            return TimeInForce.DAY
        return TimeInForce.GTC if rng is None else rng.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC))

    async def _option(self, rng: random.Random, broker: BrokerName, intent: str) -> NewOrder:
        """A call bought or sold again, or two as one order, at a price that the market gives, or one at which it rests. On a coin always one."""
        if parse_option(self.contracts[0]).in_cash:
            return await self._coin_option(rng, broker, intent)
        low, high = self.contracts
        sell = self.desk.books.ledger.position(broker, low) > 0 and rng.random() < 0.5
        order = NewOrder(broker=broker, instrument=low, side=Side.BUY, ord_type=OrdType.LIMIT, order_qty=Decimal(1), intent=IntentID(intent))
        near, far = [await self.desk.hub.fetch(broker, name) for name in self.contracts]
        away = Decimal(rng.choice(("0.05", "0.05", "-0.50")))
        if self.combos and rng.random() < 0.5:
            return await self._combo(rng, changed(order, instrument=underlying_of(low)), near, away)
        if rng.random() < 0.5:
            self.hit["option"] += 1
            side = Side.SELL if sell else Side.BUY
            return changed(order, side=side, price=(near.touch(side) or Decimal(1)) + side.sign * away)
        self.hit["spread"] += 1
        sides = (Side.SELL, Side.BUY) if sell else (Side.BUY, Side.SELL)
        net = sides[0].sign * (near.touch(sides[0]) or Decimal(1)) + sides[1].sign * (far.touch(sides[1]) or Decimal(1))
        underlying = underlying_of(low)
        return changed(order, instrument=underlying, legs=(Leg(low, sides[0], 1), Leg(high, sides[1], 1)), price=net + away)

    async def _combo(self, rng: random.Random, order: NewOrder, call: Quote, away: Decimal) -> NewOrder:
        """A buy-write, or shares that go again: for a call that was sold, or for one that is new."""
        self.hit["combo"] += 1
        shares = await self.desk.hub.fetch(order.broker, order.instrument)
        held, short = (self.desk.books.ledger.position(order.broker, name) for name in (order.instrument, call.instrument))
        out = held >= 100 and (short < 0 or rng.random() < 0.5)
        sides = (Side.SELL, Side.BUY) if out else (Side.BUY, Side.SELL)
        net = sides[0].sign * (shares.touch(sides[0]) or Decimal(100)) + sides[1].sign * (call.touch(sides[1]) or Decimal(1))
        return changed(order, legs=(Leg(order.instrument, sides[0], 100), Leg(call.instrument, sides[1], 1)), price=net + away)

    async def _coin_option(self, rng: random.Random, broker: BrokerName, intent: str) -> NewOrder:
        self.hit["option"] += 1
        name = rng.choice(self.contracts)
        instrument, quote = await self.desk.instrument(broker, name), await self.desk.hub.fetch(broker, name)
        held = self.desk.books.ledger.position(broker, name)
        side = Side.SELL if held > 0 and rng.random() < 0.5 else Side.BUY
        price = (quote.touch(side) or Decimal(100)) + side.sign * instrument.ticks[0].tick * rng.choice((1, 1, -10))
        return NewOrder(
            broker=broker,
            instrument=name,
            side=side,
            ord_type=OrdType.LIMIT,
            time_in_force=rng.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC)),
            order_qty=min(instrument.lot * rng.randrange(1, 60), held if side is Side.SELL else Decimal(1)),
            price=max(price, instrument.ticks[0].tick),
            intent=IntentID(intent),
        )

    def _bracket(self, rng: random.Random, name: InstrumentID, mid: Decimal, entry: NewOrder) -> NewOrder:
        """With exits so near that one or the other goes off."""
        self.hit["bracket"] += 1
        width = Decimal(rng.choice(("0.001", "0.004", "0.1")))
        profit, stop = ((mid * (1 + sign * width)).quantize(self.grid(name)) for sign in (1, -1))
        attached = rng.choice((Attached(take_profit_px=profit, stop_px=stop), Attached(take_profit_px=profit, stop_px=stop), Attached(stop_px=stop)))
        price = rng.choice((None, *((mid * factor).quantize(self.grid(name)) for factor in (Decimal("1.0002"), Decimal("0.9999")))))
        changes = {"attached": attached, "time_in_force": TimeInForce.GTC}
        return changed(entry, **changes) if price is None else changed(entry, price=price, ord_type=OrdType.LIMIT, **changes)

    async def close(self, rng: random.Random, place: int) -> None:
        """An exit: all of a position, which a halt lets pass."""
        held = [key for key in self.desk.books.ledger.traded() if self.desk.books.ledger.position(*key)]
        if not held:
            return
        broker, name = rng.choice(held)
        qty = self.desk.books.ledger.position(broker, name)
        order = NewOrder(
            broker=broker,
            instrument=name,
            side=Side.SELL if qty > 0 else Side.BUY,
            ord_type=OrdType.MARKET,
            time_in_force=self.time_in_force(None, OrdType.MARKET, name),
            order_qty=abs(qty),
            reduce_only=True,
            intent=IntentID(f"w{place}"),
        )
        whole = qty.to_integral_value(rounding="ROUND_FLOOR")
        if self.protects and name in self.names and "/" not in name and whole > 0 and rng.random() < 0.4:
            await self.attempt(rng, lambda: self._exit_later(rng, changed(order, order_qty=whole, time_in_force=TimeInForce.GTC)))
        else:
            await self.attempt(rng, lambda: self.desk.submit(order))

    async def _exit_later(self, rng: random.Random, order: NewOrder) -> None:
        """Not now, but where the market comes to it: a take-profit with a stop beside it, or a stop that trails."""
        quote = await self.desk.hub.fetch(order.broker, order.instrument)
        if quote.mid is None:
            return
        if rng.random() < 0.5:
            self.hit["trailing stop"] += 1
            order = changed(order, ord_type=OrdType.TRAILING_STOP, trail_pct=Decimal(rng.choice(("0.001", "0.01"))))
        else:
            self.hit["oco"] += 1
            profit, stop = ((quote.mid * factor).quantize(Decimal("0.01")) for factor in (Decimal("1.002"), Decimal("0.998")))
            order = changed(order, ord_type=OrdType.LIMIT, price=profit, attached=Attached(stop_px=stop))
        await self.desk.submit(order)

    def _working(self) -> list[Order]:
        return [order for order in self.desk.books.blotter.working() if not order.external]

    async def cancel(self, rng: random.Random, place: int) -> None:
        if working := self._working():
            cl_ord_id = rng.choice(working).cl_ord_id
            await self.attempt(rng, *[lambda: self.desk.cancel(cl_ord_id)] * rng.choice((1, 1, 2)))

    async def cancel_all(self, rng: random.Random, place: int) -> None:
        await self.attempt(rng, lambda: self.desk.cancel_all())

    async def replace(self, rng: random.Random, place: int) -> None:
        limits = [order for order in self._working() if order.price is not None]
        if not limits:
            return
        order = rng.choice(limits)
        price = None if order.price is None else (order.price * Decimal(rng.choice(("0.999", "1.001")))).quantize(self.grid(order.instrument))
        qty = (order.order_qty * Decimal("1.5")).quantize(Decimal(1), rounding="ROUND_UP") if rng.random() < 0.4 else None
        change = Replace(cl_ord_id=order.cl_ord_id, order_qty=qty, price=price, intent=IntentID(f"w{place}"))
        await self.attempt(rng, lambda: self.desk.replace(change))

    async def repeat(self, rng: random.Random, place: int) -> None:
        """A strategy that restarts asks for the same thing again: nothing new may come of it."""
        old = [order for order in self.desk.books.blotter if order.parent is None and order.intent is not None and order.intent.startswith("w")]
        if old:
            order = rng.choice(old)
            await self.attempt(rng, lambda: self._again(order))

    async def _again(self, order: Order) -> None:
        assert order.intent is not None
        again = await self.desk.submit(
            NewOrder(broker=order.broker, instrument=order.instrument, side=order.side, order_qty=order.order_qty or Decimal(1), intent=order.intent)
        )
        if again.cl_ord_id != order.cl_ord_id:
            self.oracle.hold(f"I1 repeating {order.intent} made a second order")

    async def flatten(self, rng: random.Random, place: int) -> None:
        self.oracle.flattens += 1
        await self.attempt(rng, lambda: self.desk.flatten())

    async def halt(self, rng: random.Random, place: int) -> None:
        """The owner pulls the switch, sometimes just after a strategy has asked for an order."""
        broker = rng.choice(tuple(self.desk.brokers))
        scope = rng.choice(("all", "all", broker, f"{broker}:{rng.choice(self.names)}", "crypto"))
        level = rng.choice(tuple(Level))
        works = [lambda: self._halt(scope, level)]
        if rng.random() < 0.6:
            works.insert(0, lambda: self._submit(rng, f"w{place}"))
        await self.attempt(rng, *works)

    async def _halt(self, scope: str, level: Level) -> None:
        oracle, resumed = self.oracle, self.resumed
        halt = await self.desk.halt(scope, level, "the owner says so")
        if resumed == self.resumed:  # a KILL takes its time: it may have been lifted before its last cancel was answered
            oracle.halts[scope] = halt

    async def resume(self, rng: random.Random, place: int) -> None:
        if self.desk.books.halts:
            await self.attempt(rng, self._resume)

    async def _resume(self) -> None:
        self.resumed += 1
        self.oracle.halts = {}  # from here on either answer is right
        await self.desk.resume("*", by="owner")
        self.oracle.halts = {}  # whatever was set meanwhile may have gone with it

    async def foreign(self, rng: random.Random, place: int) -> None:
        self.intrude(rng, rng.choice(tuple(self.desk.brokers)), rng.choice(self.names))

    async def second_desk(self, rng: random.Random, place: int) -> None:
        """Another desk, with another journal, sends an order of our form to this account."""
        number = f"{chr(97 + place // 26)}{chr(97 + place % 26)}"
        self.intrude(rng, rng.choice(tuple(self.desk.brokers)), rng.choice(self.names), cl_ord_id=ClOrdID(STRANGER + number))

    async def foreign_cancel(self, rng: random.Random, place: int) -> None:
        self.withdraw(rng, rng.choice(tuple(self.desk.brokers)))

    async def wait(self, rng: random.Random, place: int) -> None:
        await self.clock.sleep_ns(rng.randrange(90) * SECOND_NS)

    async def slow_disk(self, rng: random.Random, place: int) -> None:
        """For a while every write takes up to some seconds."""
        if "slow_disk" in self.off:
            return
        self.disk_max_ns = rng.choice((1, 5, 20)) * SECOND_NS
        asyncio.get_running_loop().call_later(rng.randrange(1, 60), self._disk_is_well)

    def _disk_is_well(self) -> None:
        self.disk_max_ns = 10_000_000

    async def step_clock(self, rng: random.Random, place: int) -> None:
        """The machine's time of day jumps: NTP, a suspended host, a person."""
        if "step_clock" not in self.off:
            self.desk_clock.offset_ns = rng.choice((0, 1, -1)) * rng.choice((1, 20, 400, 4000)) * SECOND_NS

    async def crash(self, rng: random.Random, place: int) -> None:
        await self.restart(rng.randrange(1, 30 * SECOND_NS))

    async def set_trap(self, rng: random.Random, place: int) -> None:
        """The next crash is not at some time but at some step of the order path, or at some write to the disk; then let something happen."""
        if self.disk.rng.random() < 0.3:
            self.disk.fail("power", self.disk.rng.randrange(1, 30))
        else:
            self.trap = rng.randrange(1, 12)
        await self.submit(rng, place)
