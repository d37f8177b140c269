"""One case is one line: layer, seed, and what was taken away from it. Cases run, shrink, and live on in seeds.txt."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tests.simulation import core_world, failover_world, world
from tests.simulation.exchanges import EXCHANGES
from tests.simulation.stage import Verdict

CORPUS = Path(__file__).with_name("seeds.txt")
IN_MEMORY = {core_world.LAYER: core_world.CoreWorld, failover_world.LAYER: failover_world.FailoverWorld}
WORLDS = {world.LAYER: world.World, **EXCHANGES}  # of the full stack, by layer
KINDS = {
    **dict.fromkeys(IN_MEMORY, (*core_world.KINDS, "slow_disk", "step_clock")),
    **dict.fromkeys(WORLDS, (*world.KINDS, "slow_disk", "step_clock")),
}
SOCKET_KINDS = ("refused", "lost_send", "lost_frame", "disconnect", "mute")  # what can go wrong where all there is is a bare socket
VENUES_MAX = {"core": 3, **dict.fromkeys((*WORLDS, failover_world.LAYER), 1)}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A seed of a layer, less some steps of its plan, some kinds of fault, some venues. tilt: kinds of fault and actions of which there is more;
    world.py has BY_FRAME beside them."""

    layer: str
    seed: int
    skip: frozenset[int] = frozenset()
    off: frozenset[str] = frozenset()
    venues: int = 3
    tilt: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, line: str) -> "Case":
        layer, seed, *overrides = line.split("#")[0].split()
        given = dict(item.split("=") for item in overrides)
        return cls(
            layer=layer,
            seed=int(seed),
            skip=frozenset(int(place) for place in given.get("skip", "").split(",") if place),
            off=frozenset(kind for kind in given.get("off", "").split(",") if kind),
            venues=int(given.get("venues", VENUES_MAX["core"])),
            tilt=frozenset(name for name in given.get("tilt", "").split(",") if name),
        )

    def line(self) -> str:
        parts = [self.layer, str(self.seed)]
        if self.skip:
            parts.append("skip=" + ",".join(str(place) for place in sorted(self.skip)))
        if self.off:
            parts.append("off=" + ",".join(sorted(self.off)))
        if self.venues != VENUES_MAX["core"]:
            parts.append(f"venues={self.venues}")
        if self.tilt:
            parts.append("tilt=" + ",".join(sorted(self.tilt)))
        return " ".join(parts)

    def options(self) -> core_world.Options | world.Options:
        if self.layer in IN_MEMORY:
            return core_world.Options.of(self.seed, skip=self.skip, off=self.off, venues=self.venues, tilt=self.tilt, layer=self.layer)
        return world.Options.of(self.seed, skip=self.skip, off=self.off, venues=self.venues, tilt=self.tilt, layer=self.layer)


def plain(layer: str, seed: int) -> Case:
    """A seed with nothing taken away. Where orders can leave by stream, every other seed's do."""
    return Case(layer=layer, seed=seed, tilt=frozenset({world.BY_FRAME} if layer in EXCHANGES and seed % 2 else ()))


def run(case: Case) -> Verdict:
    """A world that breaks down is a violation too."""
    options = case.options()
    try:
        if isinstance(options, core_world.Options):
            return core_world.run_core(IN_MEMORY[case.layer], options)
        return world.run_twin(WORLDS[case.layer], options)
    except Exception as error:  # noqa: BLE001  whatever it was, it is what this case found
        return Verdict(
            layer=case.layer,
            seed=case.seed,
            violations=(f"the world broke down: {error!r}",),
            digest="",
            orders=0,
            in_doubt=0,
            absent=0,
            crashes=0,
            hits={},
        )


def corpus() -> list[Case]:
    """Cases that once failed; they run for ever."""
    return [Case.parse(line) for line in CORPUS.read_text().splitlines() if line.split("#")[0].strip()]


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """The smallest case that still fails: fewer steps, then fewer venues, then fewer kinds of fault; each is tried alone, until none can go."""
    shrunk = True
    while shrunk:
        shrunk = False
        for smaller in _smaller(case):
            if fails(smaller):
                case, shrunk = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    left = [place for place in range(len(case.options().plan)) if place not in case.skip]
    half = len(left) // 2
    groups = [left[half:], left[:half]] if half > 1 else []
    for group in (*groups, *([place] for place in reversed(left))):
        yield msgspec.structs.replace(case, skip=case.skip | set(group))
    for venues in range(1, min(case.venues, VENUES_MAX[case.layer])):
        yield msgspec.structs.replace(case, venues=venues)
    for kind in KINDS[case.layer]:
        if kind not in case.off:
            yield msgspec.structs.replace(case, off=case.off | {kind})
