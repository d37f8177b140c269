"""How the twin counts: a key's calls, and a pair's orders. Each counter rises with what is asked and falls by itself."""

from decimal import Decimal

from trading_system.brokers.kraken import facts
from trading_system.domain.money import ZERO
from trading_system.sim.sessions import SECOND_NS

_CALLS = dict.fromkeys(("Ledgers", "QueryLedgers", "TradesHistory", "ClosedOrders"), facts.HISTORY_COST)
_UNCOUNTED = frozenset({"AddOrder", "AmendOrder", "CancelOrder", "CancelAll", "CancelAllOrdersAfter"})


class Meter:
    """One decaying counter."""

    def __init__(self, most: Decimal, decay: Decimal) -> None:
        self._most = most
        self._decay = decay
        self._value = ZERO
        self._at_ns = 0

    def add(self, cost: int, now_ns: int) -> bool:
        """Count it, even where it is too much. False: it is too much."""
        fallen = (now_ns - self._at_ns) * self._decay / SECOND_NS
        self._value, self._at_ns = max(ZERO, self._value - fallen) + cost, now_ns
        return self._value <= self._most


class Limits:
    """The counters of one account at one tier. faster: how many times as much as Kraken allows, for tests that look at something else."""

    def __init__(self, tier: facts.Tier, faster: Decimal) -> None:
        self._tier = tier
        self._faster = faster
        self._calls = Meter(tier.calls_max * faster, tier.calls_decay * faster)
        self._public = Meter(facts.PUBLIC_BURST * faster, facts.PUBLIC_PER_SECOND * faster)
        self._pairs: dict[str, Meter] = {}

    @property
    def open_orders_max(self) -> int:
        return self._tier.open_orders_max

    def call(self, name: str, now_ns: int) -> bool:
        """A private call. Orders are counted elsewhere."""
        return name in _UNCOUNTED or self._calls.add(_CALLS.get(name, 1), now_ns)

    def public(self, now_ns: int) -> bool:
        return self._public.add(1, now_ns)

    def order(self, symbol: str, cost: int, now_ns: int) -> bool:
        """What an action on one pair costs."""
        tier = self._tier
        meter = self._pairs.setdefault(symbol, Meter(tier.orders_max * self._faster, tier.orders_decay * self._faster))
        return meter.add(cost, now_ns)


def price_of(costs: tuple[tuple[int, int], ...], age_ns: int) -> int:
    """What touching an order of this age costs."""
    return next((cost for younger_ns, cost in costs if age_ns < younger_ns), 0)
