"""A seeded plan of what goes wrong at a served twin: decisions only, host.py carries them out."""

import random
from collections import Counter

REQUEST_FAULTS = {"late": 0.05, "lost_answer": 0.03, "torn_answer": 0.02, "busy": 0.03, "failed_after": 0.03}
FRAME_FAULTS = {"doubled": 0.05, "mute": 0.01, "disconnect": 0.01}
DELAY_MAX_S = 15


class FaultPlan:
    """Each request and each frame gets at most one fault; counted, so that a test can say which it saw."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"faults {seed}")  # noqa: S311  a simulation's chance
        self.hit: Counter[str] = Counter()

    def on_request(self, method: str) -> str | None:
        """Questions fail less interestingly than changes: they only come late or are refused as too many."""
        fault = self._draw(REQUEST_FAULTS)
        return fault if method != "GET" or fault in (None, "late", "busy") else None

    def on_frame(self) -> str | None:
        return self._draw(FRAME_FAULTS)

    def delay_s(self) -> float:
        return self._rng.uniform(0.1, DELAY_MAX_S)

    def _draw(self, table: dict[str, float]) -> str | None:
        throw = self._rng.random()
        for name, rate in table.items():
            if throw < rate:
                self.hit[name] += 1
                return name
            throw -= rate
        return None
