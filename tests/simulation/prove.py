"""`make prove`, the simulation: seeds of every layer on two cores, some of them again in fresh processes, and every planted bug."""

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import TypeVar

from tests.simulation import core_world, failover_world, world
from tests.simulation.cases import IN_MEMORY, SOCKET_KINDS, Case, corpus, plain, run, shrink
from tests.simulation.exchanges import EXCHANGES
from tests.simulation.mutants import PATCHES, ROOT, Caught, hunt
from tests.simulation.stage import WEIGHTS, Verdict

TWICE = {
    core_world.LAYER: 100,
    failover_world.LAYER: 30,
    world.LAYER: 100,
    **dict.fromkeys(EXCHANGES, 30),
}  # seeds that run twice more, with other hash seeds
PROGRESS_S = 5
SHRINK_MAX = 3  # failures that are shrunk; the others are printed as they are
OWN = {  # what a layer alone has
    failover_world.LAYER: (failover_world.OUTAGE, "went over", "came back"),
    world.LAYER: ("bracket", "oco", "trailing stop", "option", "spread", "by websocket", "by sse", "stops at rest"),
    **dict.fromkeys(EXCHANGES, ("stops at rest", world.BY_FRAME)),
    "ibkr": ("stops at rest", world.BY_FRAME, "spread", "future", "link lost", "TWS started anew", "client id taken"),
    "ibkrweb": ("stops at rest", "option", "spread", "future", "session ended", "session taken", "maintenance"),  # its orders leave by REST alone …
    "oanda": ("stops at rest", "bracket", "trailing stop", "if touched"),  # … and so do these
    "tradier": ("stops at rest", "option", "spread", "combo"),
}
SPARED = {"oanda": ("lost_send",)}  # what a layer cannot have: OANDA's lines take nothing
ENOUGH = 300  # seeds from which on a kind of fault that was never hit is a failure
_T = TypeVar("_T")
_A = TypeVar("_A")


def digests() -> list[str]:
    """What the determinism gate compares: one hash over all records of each seed."""
    cases = [plain(layer, seed) for layer, count in TWICE.items() for seed in range(1, count + 1)]
    return [f"{case.line()} {run(case).digest}" for case in cases]


def in_pool(pool: ProcessPoolExecutor | ThreadPoolExecutor, act: Callable[[_A], _T], items: Sequence[_A], what: str) -> Iterator[_T]:
    """Results as they come, with a line of progress every few seconds."""
    waiting: set[Future[_T]] = {pool.submit(act, item) for item in items}
    told = time.monotonic()
    for done, future in enumerate(as_completed(waiting), 1):
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            print(f"  {what}: {done}/{len(items)}", flush=True)
        yield future.result()


def run_all(cases: list[Case]) -> list[tuple[Case, Verdict]]:
    return [(case, run(case)) for case in cases]


def seeds(layer: str, first: int, count: int) -> tuple[list[tuple[Case, Verdict]], Counter[str]]:
    """One layer: its cases that failed, and what was hit."""
    cases = [case for case in corpus() if case.layer == layer] + [plain(layer, seed) for seed in range(first, first + count)]
    batches = [cases[at : at + 8] for at in range(0, len(cases), 8)]
    started = time.monotonic()
    tally: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    bad = []
    with ProcessPoolExecutor(2) as pool:
        for batch in in_pool(pool, run_all, batches, f"{layer} seeds, in eights"):
            for case, verdict in batch:
                tally.update(orders=verdict.orders, in_doubt=verdict.in_doubt, absent=verdict.absent, crashes=verdict.crashes)
                hits.update(verdict.hits)
                bad += [(case, verdict)] if verdict.violations else []
    took = time.monotonic() - started
    rate = len(cases) / took * 3600
    print(f"{layer}: {len(cases)} seeds, {len(bad)} with violations, {took:.0f} s, {rate:,.0f} seeds an hour; {dict(tally)}", flush=True)
    return bad, hits


def show(bad: Iterable[tuple[Case, Verdict]]) -> None:
    """Each failure with what it found; the first few shrunk to the line that seeds.txt takes."""
    for place, (case, verdict) in enumerate(bad):
        print(f"FAILED {case.line()}: {verdict.violations}\n  {case.options()}", flush=True)
        if place < SHRINK_MAX:
            kind = verdict.violations[0].split()[0]
            smallest = shrink(case, lambda smaller, kind=kind: any(found.split()[0] == kind for found in run(smaller).violations))  # type: ignore[misc]
            print(f"  for seeds.txt: {smallest.line()}  # {verdict.violations[0]}", flush=True)


def coverage(layer: str, hits: Counter[str], kinds: Sequence[str], count: int) -> list[str]:
    """Print what was hit how often; give what never was."""
    own, kinds = OWN.get(layer, ()), [kind for kind in kinds if kind not in SPARED.get(layer, ())]
    points = sorted(name for name in hits if name.startswith("crash at: "))
    print(f"{layer} faults: " + ", ".join(f"{kind} {hits[kind]}" for kind in kinds))
    print(f"{layer} actions: " + ", ".join(f"{name} {hits[name]}" for name in WEIGHTS))
    if own:
        print(f"{layer} also: " + ", ".join(f"{name} {hits[name]}" for name in own))
    print(f"{layer} crash points: " + ", ".join(f"{name.removeprefix('crash at: ')} {hits[name]}" for name in points), flush=True)
    return [f"{layer}: {name} was never hit" for name in (*kinds, *WEIGHTS, *own) if not hits[name]] if count >= ENOUGH else []


def determinism() -> list[str]:
    """The same seeds in fresh processes under two hash seeds: which differ."""
    runs = []
    for hash_seed in ("1", "77"):
        command = [sys.executable, "-m", "tests.simulation.prove", "--digests"]
        runs.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": hash_seed}, stdout=subprocess.PIPE, text=True))
    first, second = (process.communicate()[0].splitlines() for process in runs)
    differing = [f"not the same twice: {there}" for here, there in zip(first, second, strict=True) if here != there]
    print(f"determinism: {len(first)} seeds in two fresh processes, {len(differing)} differ", flush=True)
    return differing if len(first) == sum(TWICE.values()) else [*differing, "the determinism gate did not run"]


def planted() -> list[Caught]:
    """Every mutant hunted, two at a time. Gives those that nobody caught."""
    missed = []
    with ThreadPoolExecutor(2) as pool:
        for caught in in_pool(pool, hunt, PATCHES, "planted bugs"):
            if caught.case:
                print(f"  {caught.name}: {caught.seeds} seeds, {caught.case}: {caught.violation}", flush=True)
            else:
                print(f"  {caught.name}: NOT CAUGHT ({caught.bug}): {caught.violation}", flush=True)
                missed.append(caught)
    print(f"planted bugs: {len(PATCHES) - len(missed)} caught of {len(PATCHES)}", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--core-seeds", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--exchange-seeds", type=int, default=300, help="of each exchange")
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--no-mutants", action="store_true")
    parser.add_argument("--only", default="", help="a layer: its seeds, and nothing else")
    parser.add_argument("--digests", action="store_true", help="print what the determinism gate compares, and nothing else")
    arguments = parser.parse_args()
    if arguments.digests:
        print("\n".join(digests()))
        return 0
    problems: list[str] = []
    counts = {
        core_world.LAYER: arguments.core_seeds,
        failover_world.LAYER: arguments.seeds,
        world.LAYER: arguments.seeds,
        **dict.fromkeys(EXCHANGES, arguments.exchange_seeds),
    }
    for layer, count in counts.items():
        if arguments.only not in ("", layer):
            continue
        kinds = {**dict.fromkeys(IN_MEMORY, core_world.KINDS), "ibkr": SOCKET_KINDS}.get(layer, world.KINDS)
        bad, hits = seeds(layer, arguments.first, count)
        show(bad)
        problems += [f"{case.line()} failed" for case, _ in bad] + coverage(layer, hits, kinds, count)
    if not arguments.only:
        problems += determinism()
    if not (arguments.only or arguments.no_mutants):
        problems += [f"nobody caught {caught.name}" for caught in planted()]
    proved = "" if arguments.only or arguments.no_mutants else ", every planted bug was caught"
    print("\n".join(problems) or f"simulation: every seed held, every fault was hit{proved}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
