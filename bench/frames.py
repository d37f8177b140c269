"""Frames that every contender gets: a snapshot of a Bybit book and changes of 60 levels each, or Binance's best prices. Made from a seed."""

import json
import random
from collections.abc import Iterable

SEED, LEVELS, CHANGES = 7, 200, 60


def book_frames(count: int) -> list[bytes]:
    """As Bybit sends them: a third of the changes take out a level that is there."""
    rng = random.Random(SEED)
    sides = [_Side(rng, -1), _Side(rng, 1)]
    frames = [_frame("snapshot", 1, *(side.change(range(1, LEVELS)) for side in sides))]
    for number in range(2, count + 2):
        frames.append(_frame("delta", number, *(side.change(sorted(rng.sample(range(1, LEVELS), CHANGES // 2)), gone=0.33) for side in sides)))
    return frames


class _Side:
    """Levels around 95,000, a dime apart."""

    def __init__(self, rng: random.Random, sign: int) -> None:
        self._rng = rng
        self._sign = sign
        self._there: set[int] = set()

    def change(self, places: Iterable[int], gone: float = 0.0) -> list[list[str]]:
        rows = []
        for place in places:
            leaves = place in self._there and self._rng.random() < gone
            (self._there.discard if leaves else self._there.add)(place)
            size = "0" if leaves else f"{self._rng.randrange(1, 50_000) / 1000:.3f}"
            rows.append([f"{(950_000 + self._sign * place) / 10:.1f}", size])
        return rows


def _frame(kind: str, number: int, bids: list[list[str]], asks: list[list[str]]) -> bytes:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": number, "seq": 7_000_000 + number}
    at = 1_795_600_000_000 + number * 20
    return json.dumps({"topic": "orderbook.200.BTCUSDT", "type": kind, "ts": at, "data": data, "cts": at - 2}, separators=(",", ":")).encode()


def quote_frames(count: int) -> list[bytes]:
    """As Binance's combined streams send them."""
    rng = random.Random(SEED)
    frames = []
    for number in range(count):
        bid = rng.randrange(9_490_000, 9_510_000)
        data = {
            "u": number + 1,
            "s": "BTCUSDT",
            "b": f"{bid / 100:.8f}",
            "B": f"{rng.random():.8f}",
            "a": f"{bid / 100 + 0.01:.8f}",
            "A": f"{rng.random():.8f}",
        }
        frames.append(json.dumps({"stream": "btcusdt@bookTicker", "data": data}, separators=(",", ":")).encode())
    return frames
