"""Whether a strategy knows the future: it is run again on another future, and must have wished for the same until then."""

import random
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec

from trading_system.domain.market import Bar, BookSnapshot, Quote
from trading_system.research.backtest import Result, Setup, run
from trading_system.research.data import Event
from trading_system.strategy.base import Strategy

_BENT = Decimal("0.25")  # how far another future may be from the one that was, either way


def peeks(
    make: Callable[[Sequence[Sequence[Event]]], Strategy], streams: Sequence[Sequence[Event]], setup: Setup, *, cuts: int = 4, seed: int = 1
) -> int | None:
    """The first moment (UTC nanoseconds) at which a strategy wished for something else because the future was another; None: it never did.

    make: builds it anew for each run; the streams of that run are given to it, so that even one that reads the data itself is caught.
    """
    rng = random.Random(seed)  # noqa: S311 a simulation
    real = run([make(streams)], streams, setup)
    times = sorted(_begins(event) for stream in streams for event in stream)
    for part in range(1, cuts + 1):
        cut_ns = times[len(times) * part // (cuts + 1)]
        other_streams = [[event if _begins(event) < cut_ns else _bent(event, rng) for event in stream] for stream in streams]
        other = run([make(other_streams)], other_streams, setup)
        at_ns = _parted(_wishes(real, cut_ns), _wishes(other, cut_ns))
        if at_ns is not None:
            return at_ns
    return None


def _wishes(result: Result, before_ns: int) -> list[tuple[int, object]]:
    return [(decided.now_ns, decided.wish) for decided in result.decisions if decided.now_ns <= before_ns]


def _parted(ours: list[tuple[int, object]], theirs: list[tuple[int, object]]) -> int | None:
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            return min(one[0], other[0])
    longer = max(ours, theirs, key=len)
    return longer[min(len(ours), len(theirs))][0] if len(ours) != len(theirs) else None


def _begins(event: Event) -> int:
    return event.open_ns if isinstance(event, Bar) else event.transact_ns


def _bent(event: Event, rng: random.Random) -> Event:
    factor = 1 + Decimal(f"{rng.uniform(-1, 1):.4f}") * _BENT
    if isinstance(event, Bar):
        names: tuple[str, ...] = ("open", "high", "low", "close")
    elif isinstance(event, BookSnapshot):
        sides = {side: tuple(((price * factor).quantize(Decimal("0.0001")), qty) for price, qty in getattr(event, side)) for side in ("bids", "asks")}
        return msgspec.structs.replace(event, **sides)
    elif isinstance(event, Quote):
        names = ("bid_px", "ask_px")
    else:
        names = ("price",)
    return msgspec.structs.replace(event, **{name: (getattr(event, name) * factor).quantize(Decimal("0.0001")) for name in names})
