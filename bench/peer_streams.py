"""Other projects, from the bytes of a frame: peer_streams book|quote NAME FRAMES. Reads a count, answers the nanoseconds each frame took."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Take = Callable[[bytes], Awaitable[Any]]


def ccxt_pro(exchange: Any, url: str) -> Take:
    """Its own handler, on the message that its client parses."""
    market = exchange.safe_market_structure({"id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "spot": True, "type": "spot"})
    exchange.set_markets([market])
    exchange.options["defaultType"] = "spot"

    class Client:
        def __init__(self) -> None:
            self.url = url
            self.subscriptions: dict[str, object] = {}

        def resolve(self, *_: object) -> None:
            """Nobody waits."""

    client = Client()

    async def take(frame: bytes) -> None:
        exchange.handle_message(client, json.loads(frame))

    return take


def cryptofeed(name: str, channel: str, symbol: str, address: str) -> Take:
    """Its own feed, from the text of a frame to a callback that does nothing."""
    from cryptofeed import exchanges
    from cryptofeed.symbols import Symbols

    async def called(_: object, __: float) -> None:
        """Nobody looks."""

    Symbols.set(name.upper(), {"BTC-USDT": symbol}, {"instrument_type": {"BTC-USDT": "spot"}})
    feed = getattr(exchanges, name)(symbols=["BTC-USDT"], channels=[channel], callbacks={channel: called})
    line = type("Line", (), {"address": address, "uuid": "bench"})
    return lambda frame: feed.message_handler(frame.decode(), line, 1.0)


def pybit() -> Take:
    """Bybit's own SDK: its list of levels."""
    from pybit._websocket_stream import _V5WebSocketManager

    manager = _V5WebSocketManager.__new__(_V5WebSocketManager)
    manager.data = {}

    async def take(frame: bytes) -> None:
        message = json.loads(frame)
        manager._process_delta_orderbook(message, message["topic"])

    return take


def binance_sdk() -> Take:
    """Binance's own SDK: its model of a message."""
    from binance_sdk_spot.websocket_streams.models import BookTickerResponse

    async def take(frame: bytes) -> None:
        BookTickerResponse.from_dict(json.loads(frame)["data"])

    return take


def chosen(kind: str, name: str) -> Take:
    if name == "pybit":
        return pybit()
    if name == "binance-sdk-spot":
        return binance_sdk()
    if name == "cryptofeed":
        spot = "wss://stream.bybit.com/v5/public/spot"
        return cryptofeed("Bybit", "l2_book", "BTC/USDT", spot) if kind == "book" else cryptofeed("Binance", "ticker", "BTCUSDT", "")
    import ccxt.pro

    if kind == "book":
        return ccxt_pro(ccxt.pro.bybit(), "wss://stream.bybit.com/v5/public/spot")
    return ccxt_pro(ccxt.pro.binance(), "wss://stream.binance.com:9443/stream")


async def main(kind: str, name: str, frames: list[bytes]) -> None:
    take = chosen(kind, name)
    await take(frames[0])
    print(json.dumps("ready"), flush=True)
    at = 0
    while line := sys.stdin.readline():
        took = []
        for _ in range(int(line)):
            at = at % (len(frames) - 1) + 1
            if at == 1:
                await take(frames[0])
            start = time.perf_counter_ns()
            await take(frames[at])
            took.append(time.perf_counter_ns() - start)
        print(json.dumps(took), flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes().split(b"\n")))
