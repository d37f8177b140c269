"""A counter that rises with every call and falls by itself: how Kraken limits a key, and a pair. Pure: the caller waits."""

from decimal import ROUND_CEILING, Decimal

from trading_system.domain.money import ZERO
from trading_system.domain.times import NS

RESERVE = Decimal("0.3")  # of the most: orders leave it to cancels, which nothing holds back

OVER = 3  # how far above the most a full one is taken to be


class Counter:
    """One of Kraken's counters, as we reckon it. Who is urgent may use all of it, an order leaves the reserve."""

    def __init__(self, most: int, decay: Decimal) -> None:
        """decay: what it falls in a second."""
        self.most = most
        self._decay = decay
        self._value = ZERO
        self._at_ns = 0

    def wait_ns(self, now_ns: int, cost: int, *, urgent: bool = False) -> int:
        """0: take() now. Otherwise how long until there is room."""
        over = self._now(now_ns) + cost - (self.most if urgent else self.most * (1 - RESERVE))
        return 0 if over <= 0 else int((over / self._decay * NS).to_integral_value(ROUND_CEILING))

    def left(self, now_ns: int) -> int:
        """Units that an urgent caller could have now."""
        return max(0, int(self.most - self._now(now_ns)))

    def take(self, now_ns: int, cost: int) -> None:
        """Count a call. A cancel is counted, too, where it goes above the most."""
        self._value, self._at_ns = self._now(now_ns) + cost, now_ns

    def full(self, now_ns: int) -> None:
        """Kraken says that it is: others use it, a command just before did, or the tier is lower than we were told. What it refuses it counts all the
        same, so that whoever asks again too soon is never heard."""
        self._value, self._at_ns = max(self._now(now_ns), Decimal(self.most + OVER)), now_ns

    def _now(self, now_ns: int) -> Decimal:
        return max(ZERO, self._value - (now_ns - self._at_ns) * self._decay / NS)
