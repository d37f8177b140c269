"""How long until n units of a broker's request budget are free. Pure: the caller waits."""

from collections import deque
from collections.abc import Mapping

SECOND_NS = 1_000_000_000
CANCEL_RESERVE = 3  # tenths of the budget that only cancels and questions about orders may use
SLICES = 60  # the window is remembered in so many slices: bounded, and never too generous


class RateBudget:
    """A sliding window of weighted requests, corrected by what the broker's headers say.

    Never grants more than the limit in any window. An urgent caller (a cancel) may use all of it, everybody else leaves the reserve.
    """

    def __init__(self, limit: int, window_ns: int) -> None:
        self.limit = limit
        self.window_ns = window_ns
        self.banned_until_ns = 0
        self._slice_ns = window_ns // SLICES
        self._taken: deque[tuple[int, int]] = deque()  # (slice number, units)
        self._used = 0
        self._told: tuple[int, int, int] | None = None  # (units left, until when, units taken here since)
        self._reset = ""  # of the window that was told of

    def wait_ns(self, now_ns: int, weight: int = 1, *, urgent: bool = False) -> int:
        """0: take() now. Otherwise how long until it is worth asking again."""
        self._forget(now_ns)
        if now_ns < self.banned_until_ns:
            return self.banned_until_ns - now_ns
        free_for_all = self.limit if urgent else self.limit - self.limit * CANCEL_RESERVE // 10
        if self._told is not None:
            left, until_ns, since = self._told
            if now_ns < until_ns and since + weight > left - (self.limit - free_for_all):
                return until_ns - now_ns
        if self._used + weight <= free_for_all:
            return 0
        over, freed = self._used + weight - free_for_all, 0
        for number, units in self._taken:
            freed += units
            if freed >= over:
                return max(1, self._leaves_ns(number) - now_ns)
        return self.window_ns

    def take(self, now_ns: int, weight: int = 1) -> None:
        """Book a request. The caller has asked wait_ns in the same step."""
        number = now_ns // self._slice_ns
        if self._taken and self._taken[-1][0] == number:
            self._taken[-1] = (number, self._taken[-1][1] + weight)
        else:
            self._taken.append((number, weight))
        self._used += weight
        if self._told is not None:
            left, until_ns, since = self._told
            self._told = (left, until_ns, since + weight)

    def left(self, now_ns: int) -> int:
        """Units that a cancel could have now."""
        self._forget(now_ns)
        if now_ns < self.banned_until_ns:
            return 0
        free = self.limit - self._used
        if self._told is not None and now_ns < self._told[1]:
            free = min(free, self._told[0] - self._told[2])
        return max(0, free)

    def learn(self, status: int, headers: Mapping[str, str], now_ns: int, epoch_ns: int) -> None:
        """Take the broker's own count (X-RateLimit-Limit, -Remaining, -Reset in epoch seconds) and its Retry-After. epoch_ns: the time of
        day, which may step; now_ns, here and elsewhere, is of a clock that does not."""
        limit = headers.get("x-ratelimit-limit", "")
        if limit.isdecimal() and int(limit):
            self.limit = int(limit)  # plans differ; what the broker says of this key holds
        retry_after = headers.get("retry-after", "")
        remaining, reset = headers.get("x-ratelimit-remaining", ""), headers.get("x-ratelimit-reset", "")
        if remaining.isdecimal() and reset.isdecimal():
            until_ns = now_ns + min(int(reset) * SECOND_NS - epoch_ns, self.window_ns)
            left = int(remaining)
            if self._told is not None and self._reset == reset:  # the same window: what is on its way is not in this answer's count yet
                left = min(left, self._told[0] - self._told[2])
            self._told = (left, until_ns, 0) if until_ns > now_ns else None
            self._reset = reset
        if retry_after.isdecimal():
            self.banned_until_ns = max(self.banned_until_ns, now_ns + int(retry_after) * SECOND_NS)
        elif status == 429 and self._told is None:
            self.banned_until_ns = max(self.banned_until_ns, now_ns + self.window_ns // 4)

    def _leaves_ns(self, number: int) -> int:
        """When a slice has wholly left the window."""
        return (number + 1) * self._slice_ns + self.window_ns

    def _forget(self, now_ns: int) -> None:
        while self._taken and self._leaves_ns(self._taken[0][0]) <= now_ns:
            self._used -= self._taken.popleft()[1]
