"""A seeded plan of what goes wrong at a served twin: decisions only, host.py carries them out."""

import random
from collections import Counter
from collections.abc import Mapping

# Chances. late: answered after a delay, so that events overtake it. busy: 429 before the broker looked. failed_after: 504, and yet it was done.
REQUEST_FAULTS: Mapping[str, float] = {"late": 0.05, "lost_answer": 0.03, "torn_answer": 0.02, "busy": 0.03, "failed_after": 0.03}
# doubled: the same event twice. mute: the socket stays up and says nothing for a while. disconnect: reset in the middle of the stream.
FRAME_FAULTS: Mapping[str, float] = {"doubled": 0.05, "mute": 0.01, "disconnect": 0.01}
DELAY_MAX_S = 15.0


class FaultPlan:
    """Each request and each frame gets at most one fault; counted, so that a test can say which it saw."""

    def __init__(
        self,
        seed: int,
        *,
        requests: Mapping[str, float] = REQUEST_FAULTS,
        frames: Mapping[str, float] = FRAME_FAULTS,
        delay_max_s: float = DELAY_MAX_S,
    ) -> None:
        self._rng = random.Random(f"faults {seed}")  # noqa: S311 a simulation's chance
        self._requests = requests
        self._frames = frames
        self._delay_max_s = delay_max_s
        self.hit: Counter[str] = Counter()

    def on_request(self, method: str) -> str | None:
        """Questions fail less interestingly than changes: they only come late or are refused as too many."""
        fault = self._draw(self._requests)
        if fault is not None and method == "GET" and fault not in ("late", "busy"):
            return None
        return self._count(fault)

    def on_frame(self) -> str | None:
        return self._count(self._draw(self._frames))

    def delay_s(self) -> float:
        return self._rng.uniform(self._delay_max_s / 100, self._delay_max_s)

    def _count(self, fault: str | None) -> str | None:
        if fault is not None:
            self.hit[fault] += 1
        return fault

    def _draw(self, table: Mapping[str, float]) -> str | None:
        throw = self._rng.random()
        for name, rate in table.items():
            if throw < rate:
                return name
            throw -= rate
        return None
