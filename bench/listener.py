"""Keeps the order stream of a twin busy, as every serious client has one: so the twin works as hard for peers as for a desk."""

import asyncio
import json
import sys

import aiohttp


async def main(rest: str, key: str, secret: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{rest}/stream") as stream:
        await stream.send_str(json.dumps({"action": "authenticate", "data": {"key_id": key, "secret_key": secret}}))
        await stream.receive()
        await stream.send_str(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        await stream.receive()
        print("listening", flush=True)
        async for _ in stream:
            pass


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
