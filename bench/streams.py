"""Market data from the bytes of a frame, ours beside ccxt.pro, cryptofeed and the venues' SDKs in one interleaved run: books, best prices."""

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.frames import book_frames, quote_frames
from trading_system.brokers.binance.session import MarketSession
from trading_system.brokers.bybit.book import DepthBook
from trading_system.brokers.bybit.wire import StreamFrame
from trading_system.core.depth import Book
from trading_system.domain.ids import InstrumentID
from trading_system.domain.ports import Kinds

ROOT = Path(__file__).parent.parent
ROUNDS, CALLS, FRAMES = 12, 400, 2000
BTC = InstrumentID("BTC/USDT")
VENVS = {"ccxt.pro": ".venv-peers", "cryptofeed": ".venv-peers", "pybit": ".venv-judges", "binance-sdk-spot": ".venv-judges"}
Contender = Callable[[int], list[int]]


def timed(count: int, take: Callable[[int], object]) -> Contender:
    """Frame after frame, of so many; after the last one the first again, which is not counted: a book's numbers begin anew with it."""
    at = 0
    take(0)

    def run(calls: int) -> list[int]:
        nonlocal at
        took = []
        for _ in range(calls):
            at = at % (count - 1) + 1
            if at == 1:
                take(0)
            start = time.perf_counter_ns()
            take(at)
            took.append(time.perf_counter_ns() - start)
        return took

    return run


def shown(frames: list[bytes], levels: int) -> Contender:
    """Frame to book, and the best levels of each side as they go to a consumer, exact."""
    book, decode = DepthBook(BTC, levels), msgspec.json.Decoder(StreamFrame).decode
    return timed(len(frames), lambda at: book.take(decode(frames[at]), 0))


def applied(frames: list[bytes]) -> Contender:
    """The changes alone, already read."""
    read = [
        ([(float(price), float(qty)) for price, qty in data["b"]], [(float(price), float(qty)) for price, qty in data["a"]])
        for data in (json.loads(frame)["data"] for frame in frames)
    ]
    book = Book()
    return timed(len(read), lambda at: book.change(*read[at]) if at else book.snapshot(*read[0]))


def quoted(frames: list[bytes]) -> Contender:
    """Frame to Quote, all its numbers exact."""
    session = MarketSession("", {"BTCUSDT": BTC}, Kinds(quotes=True), lambda now_ns: now_ns)
    return timed(len(frames), lambda at: session.on_frame(frames[at], 1))


class Peer:
    """Another project in its own environment, asked line by line so that rounds interleave."""

    def __init__(self, kind: str, name: str, path: Path) -> None:
        command = [str(ROOT / VENVS[name] / "bin" / "python"), "-m", "bench.peer_streams", kind, name, str(path)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
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


def compare(title: str, kind: str, frames: list[bytes], ours: dict[str, Contender], names: tuple[str, ...]) -> None:
    """Rounds of everybody in turn; medians, and how they compare with the best of the others."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frames"
        path.write_bytes(b"\n".join(frames))
        peers = {name: Peer(kind, name, path) for name in names}
        contenders: dict[str, Contender] = ours | {name: peer for name, peer in peers.items() if peer.ready}
        samples: dict[str, list[int]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, run in contenders.items():
                samples[name] += run(CALLS)
        for peer in peers.values():
            peer.stop()
    medians = {name: statistics.median(took) / 1000 for name, took in samples.items()}
    best = min((median for name, median in medians.items() if name in peers), default=None)
    print(f"{title}: {ROUNDS} interleaved rounds of {CALLS}, median µs a frame")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        ratio = "" if best is None else f"{best / median:>8.1f} × as fast as the best peer"
        print(f"  {name:<48} {median:>8.1f} {ratio}")
    for name in peers.keys() - medians.keys():
        print(f"  {name}: not there (make bench installs it)")


def main() -> None:
    books, quotes = book_frames(FRAMES), quote_frames(FRAMES)
    kept = {
        "ours: bytes → book": shown(books, 1),
        "ours: bytes → book → ten exact levels a side": shown(books, 10),
        "ours: the changes alone": applied(books),
    }
    compare("order book upkeep, Bybit, 60 changed levels a frame", "book", books, kept, ("ccxt.pro", "cryptofeed", "pybit"))
    compare("best prices, Binance", "quote", quotes, {"ours: bytes → Quote, exact": quoted(quotes)}, ("ccxt.pro", "cryptofeed", "binance-sdk-spot"))


if __name__ == "__main__":
    main()
