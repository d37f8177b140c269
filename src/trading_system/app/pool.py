"""Work on all processors, in processes that share nothing with this one: it may have threads, and a fork of such a process can hang."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def workers(most: int) -> int:
    """How many are worth having for so many pieces of work."""
    return max(1, min(os.cpu_count() or 1, most))


def pool(count: int, initializer: Callable[..., None] | None = None, initargs: Any = ()) -> ProcessPoolExecutor:
    """So many workers, each begun with `initializer(*initargs)`."""
    way = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context(way), initializer=initializer, initargs=initargs)
