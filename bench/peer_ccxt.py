"""ccxt as a contender (its async client, crypto orders: it knows no other Alpaca). Same lines as peer_alpaca_py.py; runs in .venv-peers."""

import asyncio
import json
import sys
import time

import ccxt.async_support as ccxt

rest, key, secret = sys.argv[1:]


async def main() -> None:
    client = ccxt.alpaca({"apiKey": key, "secret": secret, "enableRateLimit": False})
    client.urls["api"] = {"broker": rest, "trader": rest, "market": rest}
    await client.load_markets()
    print(json.dumps("ready"), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        took = []
        for _ in range(int(line)):
            start = time.perf_counter_ns()
            await client.create_order("LTC/USD", "limit", "buy", 1, 50, {"timeInForce": "ioc"})
            took.append(time.perf_counter_ns() - start)
        print(json.dumps(took), flush=True)
    await client.close()


asyncio.run(main())
