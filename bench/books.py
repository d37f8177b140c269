"""Order books from the bytes of a frame, 60 changed levels each: ours beside ccxt.pro, cryptofeed and Bybit's SDK, in one interleaved run."""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.frames import book_frames
from trading_system.brokers.bybit.book import DepthBook
from trading_system.brokers.bybit.wire import StreamFrame
from trading_system.core.depth import Book
from trading_system.domain.ids import InstrumentID

ROOT = Path(__file__).parent.parent
ROUNDS, CALLS, FRAMES = 12, 400, 2000
BTC = InstrumentID("BTC/USDT")
PEERS = {"ccxt.pro": ".venv-peers", "cryptofeed": ".venv-peers", "pybit": ".venv-judges"}
Contender = Callable[[int], list[int]]


def shown(frames: list[bytes], levels: int) -> Contender:
    """Frame to book, and the best levels of each side as they go to a consumer, exact."""
    book, at, decode = DepthBook(BTC, levels), 0, msgspec.json.Decoder(StreamFrame).decode
    book.take(decode(frames[0]), 0)

    def run(count: int) -> list[int]:
        nonlocal at
        took = []
        for _ in range(count):
            at = at % (len(frames) - 1) + 1
            if at == 1:
                book.take(decode(frames[0]), 0)  # the numbers begin anew
            start = time.perf_counter_ns()
            book.take(decode(frames[at]), 0)
            took.append(time.perf_counter_ns() - start)
        return took

    return run


def applied(frames: list[bytes]) -> Contender:
    """The changes alone, already read."""
    read = [
        ([(float(price), float(qty)) for price, qty in data["b"]], [(float(price), float(qty)) for price, qty in data["a"]])
        for data in (json.loads(frame)["data"] for frame in frames)
    ]
    book, at = Book(), 0
    book.snapshot(*read[0])

    def run(count: int) -> list[int]:
        nonlocal at
        took = []
        for _ in range(count):
            at = at % (len(read) - 1) + 1
            if at == 1:
                book.snapshot(*read[0])
            start = time.perf_counter_ns()
            book.change(*read[at])
            took.append(time.perf_counter_ns() - start)
        return took

    return run


class Peer:
    """Another project in its own environment, asked line by line so that rounds interleave."""

    def __init__(self, name: str, path: Path) -> None:
        command = [str(ROOT / PEERS[name] / "bin" / "python"), str(ROOT / "bench" / "peer_books.py"), name, str(path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self.ready = self._process.stdout.readline() == '"ready"\n'

    def __call__(self, count: int) -> list[int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        took: list[int] = json.loads(self._process.stdout.readline())
        return took

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


def main() -> None:
    frames = book_frames(FRAMES)
    ours: dict[str, Contender] = {
        "ours: bytes → book": shown(frames, 1),
        "ours: bytes → book → ten exact levels a side": shown(frames, 10),
        "ours: the changes alone": applied(frames),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames"
        path.write_bytes(b"\n".join(frames))
        peers = {name: Peer(name, path) for name in PEERS}
        missing = [name for name, peer in peers.items() if not peer.ready]
        contenders: dict[str, Contender] = ours | {name: peer for name, peer in peers.items() if peer.ready}
        samples: dict[str, list[int]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, run in contenders.items():
                samples[name] += run(CALLS)
        for peer in peers.values():
            peer.stop()
    medians = {name: statistics.median(took) / 1000 for name, took in samples.items()}
    best = min((median for name, median in medians.items() if name in PEERS), default=None)
    print(f"order book upkeep, Bybit, 60 changed levels a frame: {ROUNDS} interleaved rounds of {CALLS}, median µs a frame")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        ratio = "" if best is None else f"{best / median:>8.1f} × as fast as the best peer"
        print(f"  {name:<48} {median:>8.1f} {ratio}")
    for name in missing:
        print(f"  {name}: not there (make bench installs it)")


if __name__ == "__main__":
    main()
