"""Other projects' book upkeep, from the bytes of a frame: peer_books.py NAME FRAMES. Reads a count, answers the nanoseconds each frame took."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

NAME, FRAMES = sys.argv[1], Path(sys.argv[2]).read_bytes().split(b"\n")


def ccxt_pro() -> Callable[[bytes], Any]:
    """Its own handler, on the message that its client parses."""
    import ccxt.pro

    exchange = ccxt.pro.bybit()
    market = exchange.safe_market_structure({"id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "spot": True, "type": "spot"})
    exchange.set_markets([market])
    exchange.options["defaultType"] = "spot"

    class Client:
        url = "wss://stream.bybit.com/v5/public/spot"

        def resolve(self, *_: object) -> None:
            """Nobody waits."""

    client = Client()
    return lambda frame: exchange.handle_order_book(client, json.loads(frame))


def cryptofeed() -> Callable[[bytes], Any]:
    """What its Bybit feed does with a message, on its compiled book."""
    from order_book import OrderBook

    book = OrderBook(max_depth=0)

    def take(frame: bytes) -> None:
        message = json.loads(frame)
        if message["type"] == "snapshot":
            book.bids, book.asks = {}, {}
        for key, side in (("b", book.bids), ("a", book.asks)):
            for price, size in message["data"][key]:
                price, size = Decimal(price), Decimal(size)
                if size == 0:
                    if price in side:
                        del side[price]
                else:
                    side[price] = size

    return take


def pybit() -> Callable[[bytes], Any]:
    """Bybit's own SDK: its list of levels."""
    from pybit._websocket_stream import _V5WebSocketManager

    manager = _V5WebSocketManager.__new__(_V5WebSocketManager)
    manager.data = {}

    def take(frame: bytes) -> None:
        message = json.loads(frame)
        manager._process_delta_orderbook(message, message["topic"])

    return take


async def main() -> None:
    take = {"ccxt.pro": ccxt_pro, "cryptofeed": cryptofeed, "pybit": pybit}[NAME]()
    take(FRAMES[0])
    print(json.dumps("ready"), flush=True)
    at = 0
    while line := sys.stdin.readline():
        took = []
        for _ in range(int(line)):
            at = at % (len(FRAMES) - 1) + 1
            if at == 1:
                take(FRAMES[0])
            start = time.perf_counter_ns()
            take(FRAMES[at])
            took.append(time.perf_counter_ns() - start)
        print(json.dumps(took), flush=True)


asyncio.run(main())
