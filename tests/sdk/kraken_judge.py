"""python-kraken-sdk against a served twin, one JSON line a step. Runs in .venv-judges: kraken_judge.py URL WS_URL KEY SECRET.

Kraken publishes no SDK for Python; this is the one that most people use beside ccxt."""

import asyncio
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import kraken.spot
from kraken.exceptions import KrakenInsufficientFundsError, KrakenInvalidAPIKeyError, KrakenUnknownMethodError, KrakenUnknownOrderError
from kraken.spot import Market, SpotOrderBookClient, SpotWSClient, Trade, User

URL, WS_URL, KEY, SECRET = sys.argv[1:5]
PAIR, SYMBOL, KEYED = "ETHUSD", "ETH/USD", "XETHZUSD"
WAIT_S = 15
market, user, trade = Market(url=URL), User(KEY, SECRET, url=URL), Trade(KEY, SECRET, url=URL)
STEPS: list[tuple[str, Callable[[], Awaitable[None] | None]]] = []


def step(act: Callable[[], Awaitable[None] | None]) -> None:
    STEPS.append((act.__name__, act))


def away(fraction: float) -> str:
    """A price so far from the best bid."""
    return f"{float(market.get_ticker(pair=PAIR)[KEYED]['b'][0]) * fraction:.2f}"


def refused(kind: type[Exception], act: Callable[[], object]) -> None:
    try:
        act()
    except kind:
        return
    raise AssertionError(f"not refused with {kind.__name__}")


def reaches(txid: str, status: str) -> dict[str, Any]:
    end = time.monotonic() + WAIT_S
    while (row := user.get_orders_info(txid=txid, trades=True)[txid])["status"] != status:
        assert time.monotonic() < end, row
        time.sleep(0.05)
    found: dict[str, Any] = row
    return found


# -- REST ------------------------------------------------------------------------------------------------------------------------------------------


@step
def system_status() -> None:
    assert market.get_system_status()["status"] == "online"


@step
def assets_and_pairs() -> None:
    assert market.get_assets(assets="XBT")["XXBT"]["altname"] == "XBT"
    assert market.get_asset_pairs(pair=PAIR)[KEYED]["wsname"] == SYMBOL


@step
def prices() -> None:
    book = market.get_order_book(pair=PAIR, count=3)[KEYED]
    assert float(book["bids"][0][0]) < float(book["asks"][0][0])
    assert len(market.get_ohlc(pair=PAIR, interval=5)[KEYED]) > 100
    assert market.get_recent_trades(pair=PAIR, count=7)["last"]
    assert market.get_recent_spreads(pair=PAIR)[KEYED]


@step
def balances() -> None:
    assert float(user.get_account_balance()["ZUSD"]) > 1000
    assert float(user.get_trade_balance()["eb"]) > 1000
    assert user.get_balance("ZUSD")["available_balance"] > 1000
    assert user.get_open_positions() == []


@step
def a_limit_order_lives() -> None:
    placed = trade.create_order(ordertype="limit", side="buy", pair=PAIR, volume="0.1", price=away(0.9), cl_ord_id="judge-1", oflags=["post"])
    txid = placed["txid"][0]
    reaches(txid, "open")
    assert txid in user.get_open_orders(trades=True)["open"]
    assert trade.amend_order(txid=txid, order_qty="0.2", limit_price=away(0.91))["amend_id"]
    assert reaches(txid, "open")["vol"] == "0.20000000"
    assert trade.cancel_order(txid=txid)["count"] == 1
    assert txid in user.get_closed_orders(trades=True)["closed"]
    refused(KrakenUnknownOrderError, lambda: trade.cancel_order(txid=txid))


@step
def a_market_order_fills() -> None:
    txid = trade.create_order(ordertype="market", side="buy", pair=PAIR, volume="0.05")["txid"][0]
    row = reaches(txid, "closed")
    fills = user.get_trades_history()["trades"]
    assert set(row["trades"]) <= set(fills)
    assert user.get_trades_info(txid=row["trades"][0])
    assert {entry["asset"] for entry in user.get_ledgers_info(type_="trade")["ledger"].values()} == {"ZUSD", "XETH"}
    assert float(user.get_trade_volume(pair=PAIR)["fees"][KEYED]["fee"]) > 0


@step
def stops_wait() -> None:
    stop = trade.create_order(ordertype="stop-loss", side="sell", pair=PAIR, volume="0.01", price=away(0.9))["txid"][0]
    trailing = trade.create_order(ordertype="trailing-stop", side="sell", pair=PAIR, volume="0.01", price="+5%")["txid"][0]
    reaches(stop, "open")
    reaches(trailing, "open")
    assert trade.cancel_all_orders()["count"] == 2


@step
def validate_places_nothing() -> None:
    placed = trade.create_order(ordertype="limit", side="buy", pair=PAIR, volume="0.1", price=away(0.9), validate=True)
    assert "txid" not in placed
    assert user.get_open_orders()["open"] == {}


@step
def refusals_are_the_sdks_own_errors() -> None:
    refused(KrakenInsufficientFundsError, lambda: trade.create_order(ordertype="market", side="buy", pair=PAIR, volume="10000"))


@step
def the_switch() -> None:
    assert trade.cancel_all_orders_after_x(60)["triggerTime"] != "0"
    assert trade.cancel_all_orders_after_x(0)["triggerTime"] == "0"


# -- WebSocket v2 ------------------------------------------------------------------------------------------------------------------------------------


class Listener(SpotWSClient):
    """Keeps every message."""

    def __init__(self, **more: Any) -> None:
        super().__init__(rest_url=URL, ws_url=WS_URL, auth_ws_url=WS_URL, **more)
        self.seen: list[dict[str, Any]] = []

    async def on_message(self, message: dict[str, Any]) -> None:
        self.seen.append(message)

    async def until(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            while True:
                for message in self.seen:
                    if what(message):
                        return message
                await asyncio.sleep(0.05)


@step
async def market_data() -> None:
    client = Listener()
    await client.start()
    for params in (
        {"channel": "ticker", "symbol": [SYMBOL], "event_trigger": "bbo"},
        {"channel": "trade", "symbol": [SYMBOL]},
        {"channel": "ohlc", "symbol": [SYMBOL], "interval": 1},
        {"channel": "book", "symbol": [SYMBOL], "depth": 10},
        {"channel": "instrument"},
    ):
        await client.subscribe(params=params)
    for channel in ("ticker", "trade", "ohlc", "book", "instrument"):
        await client.until(lambda message, channel=channel: message.get("channel") == channel and bool(message["data"]))
    await client.until(lambda message: message.get("method") == "pong")
    await client.close()


@step
async def executions_and_orders() -> None:
    client = Listener(key=KEY, secret=SECRET, no_public=True)
    await client.start()
    for channel in ("executions", "balances"):
        await client.subscribe(params={"channel": channel})
    await client.until(lambda message: message.get("channel") == "executions" and message["type"] == "snapshot")
    order = {"order_type": "market", "side": "buy", "order_qty": 0.02, "symbol": SYMBOL}
    await client.send_message({"method": "add_order", "params": order})
    reply = await client.until(lambda message: message.get("method") == "add_order")
    assert reply["success"], reply
    txid = reply["result"]["order_id"]

    def filled(message: dict[str, Any]) -> bool:
        rows = message["data"] if message.get("channel") == "executions" else []
        return any(row.get("exec_type") == "filled" and row["order_id"] == txid for row in rows)

    await client.until(filled)
    await client.until(lambda message: message.get("channel") == "balances" and message["type"] == "update")
    await client.close()


class Book(SpotOrderBookClient):
    """The SDK's own book, which keeps count of checksums by itself."""

    URL, WS_URL, AUTH_WS_URL = URL, WS_URL, WS_URL
    updates = 0
    enough: asyncio.Event

    async def on_book_update(self, pair: str, message: list[Any]) -> None:
        self.updates += 1
        if self.updates == 20:
            self.enough.set()


@step
async def the_sdks_own_book_adds_up() -> None:
    kraken.spot.Market.URL = URL
    book = Book(depth=10)
    book.enough = asyncio.Event()
    await book.start()
    await book.add_book(pairs=[SYMBOL])
    async with asyncio.timeout(WAIT_S):
        await book.enough.wait()
    known = book.get(pair=SYMBOL)
    assert known["valid"], known
    assert len(known["bid"]) == 5
    await book.close()


@step
def a_wrong_key_and_a_call_that_is_not_there_are_told() -> None:
    refused(KrakenInvalidAPIKeyError, lambda: User("bm9ib2R5", SECRET, url=URL).get_account_balance())
    refused(KrakenUnknownMethodError, lambda: User(KEY, SECRET, url=URL).request("POST", "/0/private/Withdraw"))


async def main() -> None:
    for name, act in STEPS:
        try:
            done = act()
            if done is not None:
                await done
        except Exception as error:  # noqa: BLE001  a judge tells of everything
            print(json.dumps({"step": name, "ok": False, "error": f"{error!r} {traceback.format_exc()[-900:]}"}), flush=True)
        else:
            print(json.dumps({"step": name, "ok": True}), flush=True)


asyncio.run(main())
