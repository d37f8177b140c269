"""ccxt and ccxt.pro against a served twin, one JSON line a step. Runs in .venv-judges: ccxt_judge.py EXCHANGE URL WS_URL KEY SECRET SYMBOL."""

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import ccxt.pro
from ccxt.base.errors import InsufficientFunds, OrderNotFound

NAME, URL, WS_URL, KEY, SECRET, SYMBOL = sys.argv[1:7]
BASE = SYMBOL.partition("/")[0]
WITHIN_S = 30


def rehosted(value: Any, base: str) -> Any:
    """Every address with another scheme and host, its path kept."""
    if isinstance(value, dict):
        return {name: rehosted(item, base) for name, item in value.items()}
    if isinstance(value, list):
        return [rehosted(item, base) for item in value]
    return base + "/" + value.split("/", 3)[3] if isinstance(value, str) and value.count("/") > 2 else base if isinstance(value, str) else value


def exchange() -> Any:
    made = getattr(ccxt.pro, NAME)({"apiKey": KEY, "secret": SECRET, "enableRateLimit": False, "timeout": 20_000})
    streams = made.urls["api"].pop("ws", {})
    made.urls["api"] = rehosted(made.urls["api"], URL)
    made.urls["api"]["ws"] = rehosted(streams, WS_URL)
    if NAME == "binance":
        made.urls["api"] |= {"public": URL + "/api/v3", "private": URL + "/api/v3"}
        made.urls["api"]["ws"] |= {"spot": WS_URL + "/ws", "ws-api": {"spot": WS_URL + "/ws-api/v3"}}
        made.options |= {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}
    if NAME == "kraken":
        made.urls["api"] |= {"public": URL, "private": URL}
        made.urls["api"]["ws"] = {name: WS_URL + ("/v2" if name.endswith("V2") else "") for name in streams}
    if NAME == "bybit":
        made.options["fetchMarkets"] = {"types": ["linear", "inverse", "spot", "option"]}
        made.has["fetchCurrencies"] = False
    return made


async def step(name: str, act: Callable[[], Awaitable[Any]]) -> Any:
    """Run one step and tell of it; what it gives is for the steps after it."""
    try:
        async with asyncio.timeout(WITHIN_S):
            done = await act()
    except Exception as error:  # noqa: BLE001  a judge tells of everything
        print(json.dumps({"step": name, "ok": False, "error": f"{error!r} {traceback.format_exc()[-600:]}"}), flush=True)
        return None
    print(json.dumps({"step": name, "ok": True}), flush=True)
    return done


def holds(condition: bool, what: object) -> None:
    if not condition:
        raise AssertionError(what)


class Judge:
    """Each step is a method; they run in this order."""

    def __init__(self, ex: Any) -> None:
        self.ex = ex
        self.price = 0.0
        self.amount = 0.0
        self.resting = ""
        self.bought = ""

    async def markets(self) -> None:
        market = (await self.ex.load_markets())[SYMBOL]
        holds(bool(market["active"]), market["active"])
        holds(market["precision"]["price"] > 0 and market["precision"]["amount"] > 0, market["precision"])

    async def server_time(self) -> None:
        holds(abs(await self.ex.fetch_time() - self.ex.milliseconds()) < 60_000, "clocks")

    async def ticker(self) -> None:
        found = await self.ex.fetch_ticker(SYMBOL)
        self.price = float(found["last"] or found["bid"])
        holds(found["bid"] is None or found["bid"] <= found["ask"], found)
        self.amount = float(self.ex.amount_to_precision(SYMBOL, 300 if self.ex.market(SYMBOL)["inverse"] else 300 / self.price))

    async def order_book(self) -> None:
        book = await self.ex.fetch_order_book(SYMBOL, 10 if NAME != "bybit" else 50)
        holds(book["bids"][0][0] < book["asks"][0][0], book)
        holds(book["bids"] == sorted(book["bids"], reverse=True), "bids out of order")

    async def trades(self) -> None:
        found = await self.ex.fetch_trades(SYMBOL, limit=10)
        holds(0 < len(found) <= 60 and all(trade["price"] > 0 for trade in found), found)

    async def candles(self) -> None:
        bars = await self.ex.fetch_ohlcv(SYMBOL, "1m", limit=5)
        holds(len(bars) >= 2 and all(bar[3] <= bar[1] <= bar[2] for bar in bars), bars)

    async def balance(self) -> None:
        found = await self.ex.fetch_balance()
        quote = self.ex.market(SYMBOL)["settle"] or self.ex.market(SYMBOL)["quote"]
        quote = "USDT" if self.ex.market(SYMBOL)["inverse"] else quote  # which stands behind all contracts
        holds(found[quote]["free"] > 1000, found[quote])

    async def create_limit(self) -> None:
        price = float(self.ex.price_to_precision(SYMBOL, self.price * 0.9))
        order = await self.ex.create_order(SYMBOL, "limit", "buy", self.amount, price)
        self.resting = order["id"]
        holds(bool(self.resting), order)

    async def fetch_resting(self) -> None:
        order = await self.eventually(self.resting, "open")
        holds((order["side"], order["filled"]) == ("buy", 0), order)

    async def listed(self) -> None:
        holds(self.resting in [order["id"] for order in await self.ex.fetch_open_orders(SYMBOL)], "not among the open orders")

    async def edit(self) -> None:
        price = float(self.ex.price_to_precision(SYMBOL, self.price * 0.91))
        edited = await self.ex.edit_order(self.resting, SYMBOL, "limit", "buy", self.amount, price)
        if NAME != "kraken":  # there ccxt gives the amend's id for the order's, which stays
            self.resting = edited["id"]
        for _ in range(40):
            order = await self.eventually(self.resting, "open")
            if abs(order["price"] / price - 1) < 1e-9:
                return
            await asyncio.sleep(0.1)  # taken in is not yet done everywhere
        raise AssertionError(order)

    async def cancel(self) -> None:
        await self.ex.cancel_order(self.resting, SYMBOL)
        await self.eventually(self.resting, "canceled")

    async def cancel_again(self) -> None:
        try:
            await self.ex.cancel_order(self.resting, SYMBOL)
        except OrderNotFound:
            return
        raise AssertionError("a cancelled order was cancelled")

    async def market_buy(self) -> None:
        order = await self.ex.create_order(SYMBOL, "market", "buy", self.amount)
        self.bought = order["id"]
        done = await self.eventually(self.bought, "closed")
        holds(abs(done["filled"] - self.amount) < 1e-9 and done["average"] > 0, done)

    async def my_trades(self) -> None:
        mine = [trade for trade in await self.ex.fetch_my_trades(SYMBOL) if trade["order"] == self.bought]
        holds(abs(sum(trade["amount"] for trade in mine) - self.amount) < 1e-9, mine)
        holds(all(trade["fee"]["cost"] >= 0 and trade["fee"]["currency"] for trade in mine), mine)

    async def too_much(self) -> None:
        try:
            await self.ex.create_order(SYMBOL, "limit", "buy", float(self.ex.amount_to_precision(SYMBOL, self.amount * 10_000)), self.near())
        except InsufficientFunds:
            return
        raise AssertionError("it was taken")

    async def market_sell(self) -> None:
        held = self.amount if self.ex.market(SYMBOL)["swap"] else float((await self.ex.fetch_balance())[BASE]["free"])
        order = await self.ex.create_order(SYMBOL, "market", "sell", float(self.ex.amount_to_precision(SYMBOL, held)))
        await self.eventually(order["id"], "closed")

    async def watch_ticker(self) -> None:
        holds((await self.ex.watch_ticker(SYMBOL))["symbol"] == SYMBOL, "another")

    async def watch_trades(self) -> None:
        holds((await self.ex.watch_trades(SYMBOL))[-1]["price"] > 0, "no price")

    async def watch_order_book(self) -> None:
        for _ in range(5):
            book = await self.ex.watch_order_book(SYMBOL)
            holds(book["bids"][0][0] < book["asks"][0][0], "crossed")

    async def watch_candles(self) -> None:
        holds(len(await self.ex.watch_ohlcv(SYMBOL, "1m")) > 0, "none")

    async def watch_orders(self) -> None:
        watching = asyncio.create_task(self.seen_order())
        await asyncio.sleep(2)
        price = float(self.ex.price_to_precision(SYMBOL, self.price * 0.9))
        placed = await self.ex.create_order(SYMBOL, "limit", "buy", self.amount, price)
        holds(placed["id"] in await watching, "not told")
        await self.ex.cancel_order(placed["id"], SYMBOL)

    async def seen_order(self) -> list[str]:
        return [order["id"] for order in await self.ex.watch_orders(SYMBOL)]

    async def watch_my_trades(self) -> None:
        watching = asyncio.create_task(self.ex.watch_my_trades(SYMBOL))
        await asyncio.sleep(2)
        placed = await self.ex.create_order(SYMBOL, "market", "buy", self.amount)
        holds(placed["id"] in [trade["order"] for trade in await watching], "not told")

    async def options(self) -> None:
        """Where the exchange has them and the symbol is a coin's: markets, an order, its cancel, a trade, the position."""
        if NAME != "bybit" or self.ex.market(SYMBOL)["swap"]:
            return
        markets = [market for market in self.ex.markets.values() if market["option"] and market["base"] == "BTC" and market["settle"] == "USDT"]
        last = max(market["expiry"] for market in markets)
        market = min((one for one in markets if one["expiry"] == last and one["optionType"] == "call"), key=lambda one: one["strike"])
        symbol, amount = market["symbol"], market["limits"]["amount"]["min"]
        holds((market["linear"], market["precision"]["price"], amount) == (True, 5, 0.01), market)
        book = await self.ex.fetch_order_book(symbol, 25)
        holds(book["bids"][0][0] < book["asks"][0][0], book)
        holds((await self.ex.fetch_ticker(symbol))["bid"] > 0, "no bid")
        known = {"acknowledged": True}
        resting = await self.ex.create_order(symbol, "limit", "buy", amount, 100, {"clientOrderId": "ccxt-option-1"})
        await self._option(resting["id"], symbol, "open", known)
        await self.ex.cancel_order(resting["id"], symbol)
        await self._option(resting["id"], symbol, "canceled", known)
        bought = await self.ex.create_order(symbol, "limit", "buy", amount, book["asks"][0][0] + 100, {"clientOrderId": "ccxt-option-2"})
        await self._option(bought["id"], symbol, "closed", known)
        mine = [trade for trade in await self.ex.fetch_my_trades(symbol) if trade["order"] == bought["id"]]
        holds(abs(sum(trade["amount"] for trade in mine) - amount) < 1e-9, mine)
        held = [position for position in await self.ex.fetch_positions(None, {"type": "option"}) if position["symbol"] == symbol]
        holds([(position["side"], position["contracts"]) for position in held] == [("long", amount)], held)

    async def _option(self, order_id: str, symbol: str, status: str, known: Any) -> None:
        for _ in range(40):
            try:
                if (await self.ex.fetch_order(order_id, symbol, known))["status"] == status:
                    return
            except OrderNotFound:
                pass
            await asyncio.sleep(0.1)
        raise AssertionError(f"{order_id} never became {status}")

    async def eventually(self, order_id: str, status: str) -> Any:
        """The order, once it stands so: an acknowledgement is not yet an order everywhere."""
        for _ in range(40):
            try:
                order = await self.fetched(order_id)
                if order["status"] == status:
                    return order
            except OrderNotFound:
                pass
            await asyncio.sleep(0.1)
        raise AssertionError(f"{order_id} never became {status}")

    async def fetched(self, order_id: str) -> Any:
        if NAME != "bybit":
            return await self.ex.fetch_order(order_id, SYMBOL)
        return await self.ex.fetch_order(order_id, SYMBOL, {"acknowledged": True})

    def near(self) -> float:
        return float(self.ex.price_to_precision(SYMBOL, self.price * 0.99))


async def main() -> None:
    ex = exchange()
    judge = Judge(ex)
    for name, act in vars(Judge).items():
        if not name.startswith("_") and name not in ("eventually", "fetched", "near", "seen_order"):
            await step(name, act.__get__(judge))
    await ex.close()


asyncio.run(main())
