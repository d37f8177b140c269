"""The full stack: the production desk, journal and connector against the twin, over the in-process network, with its faults on every byte."""

import asyncio
import json
import math
import random
from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from tests.simulation.oracle import Oracle
from tests.simulation.stage import NAMES, STRANGER, Life, Stage, Verdict, plan_of
from trading_system.brokers.alpaca import connect
from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.brokers.alpaca.twin.forms import Refusal
from trading_system.core.risk import Limits
from trading_system.domain.fix import OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, is_ours
from trading_system.domain.money import ZERO
from trading_system.domain.ports import Connector
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS, START_NS, VirtualClock, run_virtual
from trading_system.sim.exchange import SimOrder
from trading_system.sim.network import Faults, SimNetwork
from trading_system.transport.http import Http
from trading_system.transport.message import Request, Response

LAYER = "stack"
BROKER = BrokerName("alpaca")
KINDS = tuple(kind for kind in Faults.__struct_fields__ if kind not in ("latency_ns", "enabled"))
WAYS = ("websocket", "websocket", "sse")  # how order events come
ANSWERED_MIN = 0.25  # with fewer requests answered no desk ever comes up
RARE = ("duplicate_frame", "lost_frame", "disconnect", "mute")  # per frame, of which there are many


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a seed expands to; printed with a failure. Overrides take things away, so that a failure can be shrunk."""

    seed: int
    plan: tuple[str, ...]
    skip: frozenset[int] = frozenset()
    off: frozenset[str] = frozenset()
    limits: Limits
    faults: Faults
    order_events: str

    @classmethod
    def of(
        cls,
        seed: int,
        *,
        skip: frozenset[int] = frozenset(),
        off: frozenset[str] = frozenset(),
        venues: int = 1,
        tilt: frozenset[str] = frozenset(),
    ) -> "Options":
        rng = random.Random(f"stack options {seed}")
        plan = plan_of(rng, rng.randrange(4, 16), rng.choice((0, 0, 1, 1, 2, 3)), tilt)
        limits = Limits(
            max_position_pct=Decimal(rng.choice(("0.05", "0.30"))),
            max_concurrent_positions=rng.randrange(2, 6),
            max_orders_per_minute=1000,
            max_orders_per_second=100,
        )
        rates = {kind: rng.choice((0.0, 0.0, rng.uniform(0, 0.3))) / (3 if kind in RARE else 1) for kind in KINDS}
        rates |= {kind: 0.15 for kind in KINDS if kind in tilt}
        if math.prod(1 - rate for rate in rates.values()) < ANSWERED_MIN:
            rates = {kind: rate / 2 for kind, rate in rates.items()}
        faults = Faults(**{kind: 0.0 if kind in off else rate for kind, rate in rates.items()})
        way = random.Random(f"stack events {seed}").choice(WAYS)
        return cls(seed=seed, plan=plan, skip=skip, off=off, limits=limits, faults=faults, order_events=way)


class TwinOrder(msgspec.Struct, frozen=True):
    """An order of the twin's exchange as the oracle asks for it."""

    cl_ord_id: str
    status: OrdStatus
    cum: Decimal
    leaves: Decimal
    foreign: bool


class TwinTruth:
    """What the twin's exchange knows."""

    def __init__(self, twin: AlpacaTwin, clock: VirtualClock) -> None:
        self._twin = twin
        self._exchange = twin.exchange
        self._clock = clock

    def orders(self, broker: BrokerName) -> Iterable[TwinOrder]:
        return [self._shown(order) for order in self._exchange.orders.values()]

    def order(self, broker: BrokerName, cl_ord_id: str) -> TwinOrder | None:
        return next((self._shown(order) for order in self._exchange.orders.values() if order.cl_ord_id == cl_ord_id), None)

    def under_way(self, broker: BrokerName, cl_ord_id: ClOrdID) -> bool:
        return False

    def executions(self, broker: BrokerName) -> Mapping[str, tuple[Decimal, Decimal]]:
        return {execution.exec_id: (execution.qty, execution.price) for execution in self._exchange.executions.values()}

    def position(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        return self._exchange.position(instrument)

    def mid(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        return self._exchange.mark(instrument, self._clock.now_ns())

    def cash(self, broker: BrokerName) -> Decimal:
        return self._exchange.cash

    def equity(self) -> Decimal:
        return self._exchange.equity(self._clock.now_ns())

    def posts(self, broker: BrokerName) -> Mapping[str, int]:
        """Of our own orders; a second desk may ask twice."""
        return {cl_ord_id: count for cl_ord_id, count in self._twin.trading.posts.items() if not cl_ord_id.startswith(STRANGER)}

    def streaming(self, broker: BrokerName) -> bool:
        return True

    def _shown(self, order: SimOrder) -> TwinOrder:
        """What the exchange holds for an order is whose the order is. A part that waits for its entry is no stop yet."""
        leaves = ZERO if order.ord_status.terminal or order.qty is None else order.qty - order.filled_qty
        group = self._exchange.groups.get(order.order_id)
        owner = order.cl_ord_id if group is None else self._exchange.orders[group.members[0]].cl_ord_id
        foreign = not (is_ours(order.cl_ord_id) or is_ours(owner)) or order.cl_ord_id.startswith(STRANGER)
        return TwinOrder(
            order.cl_ord_id,
            OrdStatus.SUSPENDED if order.dormant and not order.ord_status.terminal else order.ord_status,
            order.filled_qty,
            leaves,
            foreign,
        )


class WatchedHttp:
    """The desk's end of the wire: every order is seen before its first byte leaves."""

    def __init__(self, http: Http, world: "World", life: Life) -> None:
        self._http = http
        self._world = world
        self._life = life

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, request: Request, *, within_ns: int) -> Response:
        if request.method in ("POST", "PATCH"):
            cl_ord_id = ClOrdID(json.loads(request.body)["client_order_id"])
            if not self._world.leaving(self._life, BROKER, cl_ord_id):
                await asyncio.get_running_loop().create_future()
        return await self._http.send(request, within_ns=within_ns)


class World(Stage):
    """A desk on the Alpaca twin."""

    protects = True

    def __init__(self, options: Options, clock: VirtualClock) -> None:
        super().__init__(LAYER, options.seed, options.plan, options.skip, options.limits, clock, options.off)
        self.twin = AlpacaTwin(seed=options.seed, start_ns=START_NS, requests_per_minute=100_000, orders_streams=50)
        self.network = SimNetwork({"twin": self.twin}, clock, random.Random(f"network {options.seed}"), options.faults)
        self.network.hit = self.hit
        slack_ns = 4000 * SECOND_NS if "step_clock" in options.plan else 0
        self.oracle = Oracle(TwinTruth(self.twin, clock), clock, options.limits, NAMES, clock_slack_ns=slack_ns)
        self.carrier = asyncio.create_task(self.network.run())
        self.keep.add(self.carrier)
        self.strangers = 0
        self.order_events = options.order_events
        self.hit[f"by {self.order_events}"] += 1

    def spared(self) -> set[object]:
        return self.network._background | self.keep

    def connectors(self, life: Life, rng: random.Random) -> dict[BrokerName, Connector]:
        connector = connect(
            http=WatchedHttp(self.network.http(), self, life),
            dialer=self.network.dialer(),
            clock=self.desk_clock,
            rng=rng,
            credentials={"key": Secret(self.twin.key), "secret": Secret(self.twin.secret)},
            environment="paper",
            options={"url": "http://twin", "order_events": self.order_events},
        )
        return {BROKER: connector}

    def calm(self) -> None:
        self.network.faults = Faults(enabled=False)
        self.network.drop_all()  # a stream that is mute would stay so for a while

    def cut(self) -> None:
        self.network.drop_all()

    def in_the_air(self) -> bool:
        return bool(self.network._background)

    def intrude(
        self, rng: random.Random, broker: BrokerName, instrument: InstrumentID, *, silent: bool = False, cl_ord_id: ClOrdID | None = None
    ) -> None:
        self.strangers += 1
        side = rng.choice((Side.BUY, Side.BUY, Side.SELL)) if self.twin.exchange.position(instrument) >= 4 else Side.BUY
        body = {
            "symbol": instrument,
            "qty": str(rng.randrange(1, 5) if "/" not in instrument else Decimal("0.01")),
            "side": side,
            "type": "market",
            "time_in_force": "gtc" if "/" in instrument else "day",
            "client_order_id": cl_ord_id or f"stranger-{self.strangers}",
        }
        if silent:
            self.network.faults = Faults(lost_frame=1.0)
            asyncio.get_running_loop().call_later(2, self._speak)
        try:
            self.twin.trading.submit(json.dumps(body).encode(), self.clock.now_ns())
        except Refusal:
            return  # the stranger has no luck
        self.oracle.surprise(broker, instrument, side.sign * Decimal(str(body["qty"])))
        self.network.carry(self.twin)

    def _speak(self) -> None:
        self.network.faults = Faults(enabled=False)

    def withdraw(self, rng: random.Random, broker: BrokerName) -> None:
        """The twin's stranger trades at the market: nothing of theirs rests."""

    def secrets_on_disk(self) -> bool:
        """I14: whether the key or the secret is in any record."""
        records = b"".join(self.oracle.told)
        return any(text.encode() in records for text in (self.twin.key, self.twin.secret))


def run_stack(options: Options) -> Verdict:
    """One world from its options."""

    async def main(clock: VirtualClock) -> Verdict:
        return await World(options, clock).run()

    return run_virtual(main)
