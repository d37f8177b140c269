"""The full stack: the production desk, journal and connector against the twin, over the in-process network, with its faults on every byte."""

import asyncio
import json
import math
import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from tests.simulation.oracle import Oracle
from tests.simulation.stage import STRANGER, Life, Stage, Verdict, plan_of
from trading_system.brokers import registry
from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.brokers.alpaca.twin.forms import Refusal
from trading_system.core.risk import Limits
from trading_system.domain.fix import OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, is_ours
from trading_system.domain.money import ZERO
from trading_system.domain.option import Right, occ
from trading_system.domain.ports import Connector
from trading_system.settings.keys import CREDENTIALS
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS, START_NS, VirtualClock, run_virtual
from trading_system.sim.exchange import Exchange, Execution, SimOrder
from trading_system.sim.network import Faults, SimNetwork
from trading_system.sim.options import Chains
from trading_system.transport.http import Http
from trading_system.transport.message import Request, Response
from trading_system.transport.websocket import Connection, Dialer

LAYER = "stack"
BROKER = BrokerName("alpaca")
KINDS = tuple(kind for kind in Faults.__struct_fields__ if kind not in ("latency_ns", "enabled"))
WAYS = ("websocket", "websocket", "sse")  # how order events come
ANSWERED_MIN = 0.25  # with fewer requests answered no desk ever comes up …
ANSWERED_MIN_ELSEWHERE = 0.4  # … and the exchanges are asked more at the start
BY_FRAME = "by_frame"  # the tilt under which orders leave by the account's stream, where the broker takes them there
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
    by_frame: bool = False
    layer: str = LAYER

    @classmethod
    def of(
        cls,
        seed: int,
        *,
        skip: frozenset[int] = frozenset(),
        off: frozenset[str] = frozenset(),
        venues: int = 1,
        tilt: frozenset[str] = frozenset(),
        layer: str = LAYER,
    ) -> "Options":
        rng = random.Random(f"{layer} options {seed}")
        plan = plan_of(rng, rng.randrange(4, 16), rng.choice((0, 0, 1, 1, 2, 3)), tilt)
        limits = Limits(
            max_position_pct=Decimal(rng.choice(("0.05", "0.30"))),
            max_concurrent_positions=rng.randrange(2, 6),
            max_orders_per_minute=1000,
            max_orders_per_second=100,
        )
        rates = {kind: rng.choice((0.0, 0.0, rng.uniform(0, 0.3))) / (3 if kind in RARE else 1) for kind in KINDS}
        rates |= {kind: 0.15 for kind in KINDS if kind in tilt}
        if math.prod(1 - rate for rate in rates.values()) < (ANSWERED_MIN if layer == LAYER else ANSWERED_MIN_ELSEWHERE):
            rates = {kind: rate / 2 for kind, rate in rates.items()}
        faults = Faults(**{kind: 0.0 if kind in off else rate for kind, rate in rates.items()})
        way = random.Random(f"{layer} events {seed}").choice(WAYS)
        return cls(seed=seed, plan=plan, skip=skip, off=off, limits=limits, faults=faults, order_events=way, by_frame=BY_FRAME in tilt, layer=layer)


class TwinOrder(msgspec.Struct, frozen=True):
    """An order of the twin's exchange as the oracle asks for it."""

    cl_ord_id: str
    status: OrdStatus
    cum: Decimal
    leaves: Decimal
    foreign: bool


class TwinTruth:
    """What the twin's exchange knows."""

    grain = Decimal("1e-8")

    def __init__(self, exchange: Exchange, clock: VirtualClock) -> None:
        self.currency = exchange.money
        self._exchange = exchange
        self._clock = clock
        self.connected: Callable[[], bool] = bool  # whether a stream stands, as the network has it

    def symbol(self, instrument: InstrumentID) -> str:
        """The exchange's own name of an instrument."""
        return instrument

    def exec_id(self, execution: Execution) -> str:
        """The name that the venue's messages give an execution."""
        return execution.exec_id

    def orders(self, broker: BrokerName) -> Iterable[TwinOrder]:
        return [self._shown(order) for order in self._exchange.orders.values()]

    def order(self, broker: BrokerName, cl_ord_id: str) -> TwinOrder | None:
        return next((self._shown(order) for order in self._exchange.orders.values() if order.cl_ord_id == cl_ord_id), None)

    def under_way(self, broker: BrokerName, cl_ord_id: ClOrdID) -> bool:
        return False

    def executions(self, broker: BrokerName) -> Mapping[str, tuple[Decimal, Decimal]]:
        return {self.exec_id(execution): (execution.qty, execution.price) for execution in self._exchange.executions.values()}

    def position(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        symbol = self.symbol(instrument)
        return self._exchange.position(symbol) if symbol in self._exchange.terms else ZERO  # a contract that nobody has traded

    def mid(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        symbol = self.symbol(instrument)
        return self._exchange.mark(symbol, self._clock.now_ns()) if symbol in self._exchange.terms else ZERO

    def cash(self, broker: BrokerName) -> Decimal:
        return self._exchange.cash

    def equity(self) -> Decimal:
        return self._exchange.equity(self._clock.now_ns())

    def posts(self, broker: BrokerName) -> Mapping[str, int]:
        """Arrivals by client id, where the twin counts them; the oracle counts the sends."""
        return {}

    def streaming(self, broker: BrokerName) -> bool:
        return self.connected()

    def _shown(self, order: SimOrder) -> TwinOrder:
        """What the exchange holds for an order is whose the order is. A part that waits for its entry is no stop yet."""
        leaves = ZERO if order.ord_status.terminal or order.qty is None else order.qty - order.filled_qty
        group = self._exchange.groups.get(order.order_id)
        owner = self._exchange.orders[order.parent or order.order_id if group is None else group.members[0]].cl_ord_id
        foreign = not (is_ours(order.cl_ord_id) or is_ours(owner)) or order.cl_ord_id.startswith(STRANGER)
        return TwinOrder(
            order.cl_ord_id,
            OrdStatus.SUSPENDED if order.dormant and not order.ord_status.terminal else order.ord_status,
            order.filled_qty,
            leaves,
            foreign,
        )


def near_money(chains: Chains, price: Decimal) -> tuple[InstrumentID, ...]:
    """Two calls on AAPL, some weeks off, from the money upwards."""
    now = datetime.fromtimestamp(START_NS // SECOND_NS, UTC).date()
    listed = chains.contracts("AAPL", now)
    expiry = sorted({contract.expiry for contract in listed})[-3]
    calls = [contract for contract in listed if contract.expiry == expiry and contract.right is Right.CALL and contract.strike >= price]
    return tuple(occ(contract) for contract in sorted(calls, key=lambda contract: contract.strike)[:2])


class AlpacaTruth(TwinTruth):
    """Alpaca's twin names everything as we do, and counts."""

    def __init__(self, twin: AlpacaTwin, clock: VirtualClock) -> None:
        super().__init__(twin.exchange, clock)
        self._twin = twin

    def posts(self, broker: BrokerName) -> Mapping[str, int]:
        """Of our own orders; a second desk may ask twice."""
        return {cl_ord_id: count for cl_ord_id, count in self._twin.trading.posts.items() if not cl_ord_id.startswith(STRANGER)}


class WatchedHttp:
    """The desk's end of the wire: every order is seen before its first byte leaves."""

    def __init__(self, http: Http, world: "TwinWorld", life: Life) -> None:
        self._http = http
        self._world = world
        self._life = life

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(self, request: Request, *, within_ns: int) -> Response:
        cl_ord_id = self._world.placed(request)
        if cl_ord_id is not None and not self._world.leaving(self._life, self._world.broker, cl_ord_id):
            await asyncio.get_running_loop().create_future()
        faults = self._world.hit.total()
        response = await self._http.send(request, within_ns=within_ns)
        if cl_ord_id is not None and self._world.hit.total() == faults and self._world.is_word(response):
            self._world.oracle.answered.add(cl_ord_id)  # nothing went wrong on the way there and back
        return response


class WatchedDialer:
    """The same for streams: orders that leave as frames, and what the desk's end has heard."""

    def __init__(self, dialer: Dialer, world: "TwinWorld", life: Life) -> None:
        self._dialer = dialer
        self._world = world
        self._life = life

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        connection = await self._dialer.dial(url, headers, within_ns=within_ns)
        self._world.begun()
        return WatchedConnection(connection, self._world, self._life)


class WatchedConnection:
    """One stream of the desk's."""

    def __init__(self, connection: Connection, world: "TwinWorld", life: Life) -> None:
        self._connection = connection
        self._world = world
        self._life = life

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def send(self, frame: str | bytes) -> None:
        cl_ord_id = self._world.framed(frame)
        if cl_ord_id is not None:
            if not self._world.leaving(self._life, self._world.broker, cl_ord_id):
                return
            self._world.hit[BY_FRAME] += 1
        await self._connection.send(frame)

    async def receive(self, *, within_ns: int = 0) -> bytes:
        frame = await self._connection.receive(within_ns=within_ns)
        self._world.heard(frame)
        return frame


class TwinWorld(Stage):
    """A desk on a broker's twin. A subclass brings the twin, and what the broker's words are."""

    protects = True
    broker: BrokerName
    twin: Any  # a Wire with credentials and an exchange

    def __init__(self, options: Options, clock: VirtualClock) -> None:
        super().__init__(options.layer, options.seed, options.plan, options.skip, options.limits, clock, options.off)
        self.options = options
        self.twin = self.make(options.seed)
        self.network = SimNetwork({"twin": self.twin}, clock, random.Random(f"network {options.seed}"), options.faults)
        self.network.hit = self.hit
        slack_ns = 4000 * SECOND_NS if "step_clock" in options.plan else 0
        truth = self.truth()
        truth.connected = self.listening
        self.oracle = Oracle(truth, clock, options.limits, (*self.names, *self.contracts), clock_slack_ns=slack_ns)
        self.oracle.coins = self.coins
        self.carrier = asyncio.create_task(self.network.run())
        self.keep.add(self.carrier)
        self.strangers = 0

    # -- what a broker brings ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def make(self, seed: int) -> Any:
        """The twin."""

    @abstractmethod
    def truth(self) -> TwinTruth:
        """What its exchange knows."""

    @abstractmethod
    def placed(self, request: Request) -> ClOrdID | None:
        """The client id of the order that a request places or changes into; None: it does neither."""

    @abstractmethod
    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        """Somebody else's order at the market. False: the twin refuses it."""

    def connection(self) -> Mapping[str, str]:
        """Options of the connector, beside the twin's address."""
        return {}

    def is_word(self, response: Response) -> bool:
        """Whether an answer says what became of an order, and not what has to be said first."""
        return True

    def framed(self, frame: str | bytes) -> ClOrdID | None:
        """The same of a frame, where the broker takes orders so."""
        return None

    def begun(self) -> None:
        """A stream stands."""

    def heard(self, frame: bytes) -> None:
        """A frame has come to the desk."""

    def listening(self) -> bool:
        """Whether a stream stands, and the desk could not have noticed that something is missing."""
        return bool(self.network._connections)

    # -- what a stage wants -----------------------------------------------------------------------------------------------------------

    def spared(self) -> set[object]:
        return self.network._background | self.keep

    def connectors(self, life: Life, rng: random.Random) -> dict[BrokerName, Connector]:
        nonces = {"nonces": self.nonce} if registry.facts(self.broker).needs_nonces else {}
        connector = registry.folder(self.broker).connect(
            http=WatchedHttp(self.network.http(), self, life),
            dialer=WatchedDialer(self.network.dialer(), self, life),
            clock=self.desk_clock,
            rng=rng,
            credentials={field: Secret(self.twin.credentials[field]) for field in CREDENTIALS[self.broker]},
            environment="paper",
            options={"url": "http://twin", **self.connection()},
            **nonces,
        )
        return {self.broker: connector}

    def nonce(self) -> int:
        """As transport/nonces.py keeps it: it rises over crashes and stepping clocks."""
        self.last_nonce = max(self.last_nonce + 1, self.desk_clock.now_ns() // 1000)
        return self.last_nonce

    last_nonce = 0

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
        side = rng.choice((Side.BUY, Side.BUY, Side.SELL)) if self.oracle.truth.position(broker, instrument) >= 4 else Side.BUY
        qty = self.step(instrument) * (1 if self.coins and "/" in instrument else rng.randrange(1, 5))
        if silent:
            self.network.faults = Faults(lost_frame=1.0)
            asyncio.get_running_loop().call_later(2, self._speak)
        if self.trade(instrument, side, qty, cl_ord_id or f"stranger-{self.strangers}"):
            self.oracle.surprise(broker, instrument, side.sign * qty)
            self.network.carry(self.twin)

    def _speak(self) -> None:
        self.network.faults = Faults(enabled=False)

    def withdraw(self, rng: random.Random, broker: BrokerName) -> None:
        """The twin's stranger trades at the market: nothing of theirs rests."""

    def secrets_on_disk(self) -> bool:
        """I14: whether the key or the secret is in any record."""
        records = b"".join(self.oracle.told)
        return any(text.encode() in records for text in self.twin.credentials.values())


class World(TwinWorld):
    """A desk on the Alpaca twin."""

    broker = BROKER

    def __init__(self, options: Options, clock: VirtualClock) -> None:
        super().__init__(options, clock)
        self.hit[f"by {options.order_events}"] += 1

    def make(self, seed: int) -> AlpacaTwin:
        twin = AlpacaTwin(seed=seed, start_ns=START_NS, requests_per_minute=100_000, orders_streams=50)
        self.contracts = near_money(twin.options.chains, twin.exchange.mark("AAPL", START_NS))
        for name in self.contracts:
            twin.options.open(name, START_NS)
        return twin

    def truth(self) -> TwinTruth:
        return AlpacaTruth(self.twin, self.clock)

    def connection(self) -> Mapping[str, str]:
        return {"order_events": self.options.order_events}

    def placed(self, request: Request) -> ClOrdID | None:
        return ClOrdID(json.loads(request.body)["client_order_id"]) if request.method in ("POST", "PATCH") else None

    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        body = {
            "symbol": instrument,
            "qty": str(qty),
            "side": side,
            "type": "market",
            "time_in_force": "gtc" if "/" in instrument else "day",
            "client_order_id": cl_ord_id,
        }
        try:
            self.twin.trading.submit(json.dumps(body).encode(), self.clock.now_ns())
        except Refusal:
            return False  # the stranger has no luck
        return True


def run_twin(world: Callable[[Options, VirtualClock], TwinWorld], options: Options) -> Verdict:
    """One world from its options."""

    async def main(clock: VirtualClock) -> Verdict:
        return await world(options, clock).run()

    return run_virtual(main)
