"""The core layer: the production desk, its recovery and its journal against one to three venues in memory, each with semantics of its own."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

import msgspec

from tests.simulation.oracle import Oracle
from tests.simulation.stage import NAMES, Life, Stage, Verdict, plan_of
from tests.simulation.venue import KINDS, Row, Semantics, Venue, VenueFaults
from tests.simulation.venue_connector import VenueConnector
from trading_system.core.risk import Limits
from trading_system.domain.fix import Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID
from trading_system.domain.money import ZERO
from trading_system.domain.ports import Connector
from trading_system.domain.report import ExecutionReport
from trading_system.sim.clock import SECOND_NS, VirtualClock, run_virtual

LAYER = "core"
RARE = ("garbage", "disconnect", "mute", "overfill")  # kinds that stop the desk for a while: often enough at a third


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a seed expands to; printed with a failure. Overrides take things away, so that a failure can be shrunk."""

    seed: int
    plan: tuple[str, ...]
    skip: frozenset[int] = frozenset()
    off: frozenset[str] = frozenset()
    limits: Limits
    venues: tuple[tuple[Semantics, VenueFaults], ...]
    layer: str = LAYER

    @classmethod
    def of(
        cls,
        seed: int,
        *,
        skip: frozenset[int] = frozenset(),
        off: frozenset[str] = frozenset(),
        venues: int = 3,
        tilt: frozenset[str] = frozenset(),
        layer: str = LAYER,
    ) -> "Options":
        """Of another layer: at least two venues, and one of them goes now and then."""
        rng = random.Random(f"{layer} options {seed}")
        plan = plan_of(rng, rng.randrange(8, 26), rng.choice((0, 0, 1, 1, 2, 3)), tilt)
        limits = Limits(
            max_position_pct=Decimal(rng.choice(("0.05", "0.10", "0.30"))),
            crypto_max_position_pct=Decimal(rng.choice(("0.05", "0.20"))),
            max_leverage=Decimal(rng.choice(("0.3", "1", "2"))),
            max_concurrent_positions=rng.randrange(2, 7),
            max_orders_per_minute=1000,
            max_orders_per_second=100,
        )
        drawn = tuple((Semantics.draw(rng), _faults(rng, off, tilt)) for _ in range(rng.choice((1, 1, 2, 3) if layer == LAYER else (2, 2, 3))))
        if layer != LAYER:
            plan = (*plan, *["outage"] * rng.randrange(1, 4))
            plan = tuple(rng.sample(plan, len(plan)))
        return cls(seed=seed, plan=plan, skip=skip, off=off, limits=limits, venues=drawn[:venues], layer=layer)


def _faults(rng: random.Random, off: frozenset[str], tilt: frozenset[str]) -> VenueFaults:
    """A few kinds at a time: a venue where everything fails at once trades nothing."""
    active = rng.sample(KINDS, rng.randrange(0, 3 if tilt else 8))
    rates = {kind: rng.uniform(0.02, 0.3) / (3 if kind in RARE else 1) for kind in active} | {kind: 0.3 for kind in KINDS if kind in tilt}
    return VenueFaults(**{kind: rate for kind, rate in rates.items() if kind not in off})


class Venues:
    """The truth of all venues."""

    currency, grain = "USD", Decimal("1e-8")

    def __init__(self, venues: Mapping[BrokerName, Venue]) -> None:
        self._venues = venues

    def orders(self, broker: BrokerName) -> Iterable[Row]:
        return self._venues[broker].rows

    def order(self, broker: BrokerName, cl_ord_id: str) -> Row | None:
        return self._venues[broker].find(cl_ord_id)

    def under_way(self, broker: BrokerName, cl_ord_id: ClOrdID) -> bool:
        return cl_ord_id in self._venues[broker].in_flight

    def executions(self, broker: BrokerName) -> Mapping[str, tuple[Decimal, Decimal]]:
        return {deal.exec_id: (deal.qty, deal.price) for deal in self._venues[broker].deals if deal.stands}

    def position(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        return self._venues[broker].positions.get(instrument, ZERO)

    def mid(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        return self._venues[broker].mids[instrument]

    def cash(self, broker: BrokerName) -> Decimal:
        return self._venues[broker].cash

    def equity(self) -> Decimal:
        return sum((venue.equity() for venue in self._venues.values()), ZERO)

    def posts(self, broker: BrokerName) -> Counter[str]:
        return self._venues[broker].posts

    def streaming(self, broker: BrokerName) -> bool:
        return bool(self._venues[broker].streams)


class CoreWorld(Stage):
    """A desk on venues in memory."""

    def __init__(self, options: Options, clock: VirtualClock) -> None:
        super().__init__(options.layer, options.seed, options.plan, options.skip, options.limits, clock, options.off)
        self.venues: dict[BrokerName, Venue] = {}
        for place, (semantics, faults) in enumerate(options.venues, 1):
            name = BrokerName(f"venue{place}")
            self.venues[name] = Venue(name, semantics, faults, clock, random.Random(f"venue {options.seed} {place}"))
        self.oracle = Oracle(
            Venues(self.venues), clock, options.limits, NAMES, clock_slack_ns=4000 * SECOND_NS if "step_clock" in options.plan else 0
        )
        for venue in self.venues.values():
            venue.accepted = self.oracle.judge_exposure
            venue.surprise = self.oracle.surprise
            venue.hit = self.hit

    def connectors(self, life: Life, rng: random.Random) -> dict[BrokerName, Connector]:
        def leaving(broker: BrokerName, cl_ord_id: ClOrdID) -> bool:
            return self.leaving(life, broker, cl_ord_id)

        def delivered(report: ExecutionReport) -> None:
            if not life.dead:
                self.oracle.on_delivered(report)

        return {name: VenueConnector(venue, self.desk_clock, leaving, delivered) for name, venue in self.venues.items()}

    def calm(self) -> None:
        for venue in self.venues.values():
            venue.faults = VenueFaults()
            venue.drop_all()  # a stream that is mute would stay so for a while

    def cut(self) -> None:
        for venue in self.venues.values():
            venue.drop_all()

    def in_the_air(self) -> bool:
        return any(venue.in_flight or venue.coming for venue in self.venues.values())

    def intrude(
        self, rng: random.Random, broker: BrokerName, instrument: InstrumentID, *, silent: bool = False, cl_ord_id: ClOrdID | None = None
    ) -> None:
        venue, side = self.venues[broker], rng.choice((Side.BUY, Side.BUY, Side.SELL))
        rests = not silent and rng.random() < 0.4
        price = venue.mids[instrument] * (1 - side.sign * Decimal("0.02")) if rests else None
        venue.foreign(instrument, side, Decimal(rng.randrange(1, 5)), price, silent=silent, cl_ord_id=cl_ord_id)

    def withdraw(self, rng: random.Random, broker: BrokerName) -> None:
        rows = [row for row in self.venues[broker].rows if row.foreign and not row.status.terminal]
        if rows:
            self.venues[broker].cancel(rng.choice(rows))


def run_core(world: Callable[[Options, VirtualClock], CoreWorld], options: Options) -> Verdict:
    """One world from its options."""
    return run_virtual(lambda clock: world(options, clock).run())
