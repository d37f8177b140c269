"""`make prove`, first half: many seeds on both cores, each a world with faults and crashes; then the same seeds again must give the same records."""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.simulation.world import FAULT_KINDS, Options, Verdict, run_seed

CORPUS = Path(__file__).with_name("seeds.txt")
TWICE = 40  # seeds that run a second time, in another process


def corpus() -> list[int]:
    """Seeds that once failed; they run for ever."""
    return [int(line.split("#")[0]) for line in CORPUS.read_text().splitlines() if line.split("#")[0].strip()]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first", type=int, default=1000)
    arguments = parser.parse_args()
    seeds = [*corpus(), *range(arguments.first, arguments.first + arguments.seeds)]
    started = time.monotonic()
    tally: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    bad: list[Verdict] = []
    digests: dict[int, str] = {}
    with ProcessPoolExecutor(2) as pool:
        for number, verdict in enumerate(pool.map(run_seed, seeds, chunksize=4), 1):
            tally.update(orders=verdict.orders, in_doubt=verdict.in_doubt, absent=verdict.absent, crashes=verdict.crashes)
            hits.update(verdict.hits)
            digests[verdict.seed] = verdict.digest
            if verdict.violations:
                bad.append(verdict)
            if number % 100 == 0 or number == len(seeds):
                print(f"  {number}/{len(seeds)} seeds, {len(bad)} with violations", flush=True)
        again = seeds[:TWICE]
        differing = [
            seed for seed, verdict in zip(again, pool.map(run_seed, reversed(again)), strict=True) if verdict.digest != digests[verdict.seed]
        ]
    took = time.monotonic() - started
    print(f"simulation: {len(seeds)} seeds in {took:.0f} s ({len(seeds) / took * 3600:,.0f} an hour): {dict(tally)}")
    print("faults hit: " + ", ".join(f"{kind} {hits[kind]}" for kind in FAULT_KINDS))
    print(f"determinism: {TWICE} seeds twice, {len(differing)} differ")
    for verdict in bad:
        print(f"FAILED seed {verdict.seed}: {verdict.violations}\n  {Options.of(verdict.seed)}")
    missing = [kind for kind in FAULT_KINDS if not hits[kind]]
    if missing and len(seeds) >= 200:
        print(f"never hit: {missing}")
    failed = len(bad) + len(differing)
    print(f"{len(seeds) - len(bad)} passed, {failed} failed")
    return 1 if failed or (missing and len(seeds) >= 200) else 0


if __name__ == "__main__":
    sys.exit(main())
