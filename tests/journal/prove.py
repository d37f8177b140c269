"""`make prove`, the journal's part: every byte of the last records torn, every bit of the last two flipped, and what then opened."""

import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.journal.damage import PROOFS, proven

SLICES = 8  # of each proof, so that both cores are busy to the end


def main() -> int:
    started, failed = time.monotonic(), 0
    with ProcessPoolExecutor(2) as pool:
        running = {number: [pool.submit(proven, number, SLICES, first) for first in range(SLICES)] for number in range(len(PROOFS))}
        print(f"{'':<56}{'journals':>9}{'opened whole':>14}{'refused':>9}")
        for number, slices in running.items():
            tally: Counter[str] = Counter()
            for work in slices:
                try:
                    tally += work.result()
                except AssertionError as error:
                    failed += 1
                    print(f"FAILED {PROOFS[number].name}: {error}")
            print(f"  {PROOFS[number].name:<54}{tally.total():>9,}{tally['opened']:>14,}{tally['refused']:>9,}", flush=True)
    print(f"damaged journals: {len(PROOFS) - failed} passed, {failed} failed, in {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
