"""Binance's own SDK and ccxt against a served twin, one JSON line a step. Runs in .venv-judges: binance_judge.py URL WS_URL KEY SECRET."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable

import ccxt
from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketAPI, ConfigurationWebSocketStreams
from binance_sdk_spot.spot import Spot

URL, WS_URL, KEY, SECRET = sys.argv[1:5]
PAIR, SYMBOL = "ETH/USDT", "ETHUSDT"
STEPS: list[tuple[str, Callable[[], Awaitable[None] | None]]] = []


def step(act: Callable[[], Awaitable[None] | None]) -> None:
    STEPS.append((act.__name__, act))


def _ccxt() -> ccxt.binance:
    exchange = ccxt.binance({"apiKey": KEY, "secret": SECRET})
    exchange.options |= {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}
    exchange.urls["api"] |= {"public": f"{URL}/api/v3", "private": f"{URL}/api/v3"}
    return exchange


def _spot() -> Spot:
    return Spot(
        config_rest_api=ConfigurationRestAPI(api_key=KEY, api_secret=SECRET, base_path=URL),
        config_ws_api=ConfigurationWebSocketAPI(api_key=KEY, api_secret=SECRET, stream_url=f"{WS_URL}/ws-api/v3"),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=WS_URL),
    )


CCXT, SPOT = _ccxt(), _spot()


def away(fraction: float) -> float:
    """A price so far from the best bid."""
    return round(CCXT.fetch_order_book(PAIR)["bids"][0][0] * fraction, 2)


def refused(kind: type[Exception], act: Callable[[], object]) -> None:
    try:
        act()
    except kind:
        return
    raise AssertionError(f"not refused with {kind.__name__}")


# -- ccxt ------------------------------------------------------------------------------------------------------------------------------------------


@step
def ccxt_markets() -> None:
    market = CCXT.load_markets()[PAIR]
    assert (market["precision"]["price"], market["precision"]["amount"], market["limits"]["cost"]["min"]) == (0.01, 0.0001, 5)


@step
def ccxt_balance() -> None:
    assert CCXT.fetch_balance()["USDT"]["total"] == 100_000


@step
def ccxt_market_data() -> None:
    book, best = CCXT.fetch_order_book(PAIR), CCXT.fetch_bids_asks([PAIR])[PAIR]
    assert book["bids"][0][0] < book["asks"][0][0]
    assert best["bid"] < best["ask"]
    assert len(CCXT.fetch_ohlcv(PAIR, "1m", limit=5)) == 5
    assert len(CCXT.fetch_trades(PAIR, limit=5)) == 5


@step
def ccxt_market_order_and_its_trades() -> None:
    order = CCXT.create_order(PAIR, "market", "buy", 0.5)
    trades = CCXT.fetch_my_trades(PAIR)
    assert (order["status"], order["filled"]) == ("closed", 0.5)
    assert sum(trade["amount"] for trade in trades) == 0.5
    assert {trade["fee"]["currency"] for trade in trades} == {"ETH"}


@step
def ccxt_limit_order_until_it_is_cancelled() -> None:
    placed = CCXT.create_order(PAIR, "limit", "buy", 0.1, away(0.9))
    assert [order["id"] for order in CCXT.fetch_open_orders(PAIR)] == [placed["id"]]
    assert CCXT.cancel_order(placed["id"], PAIR)["status"] == "canceled"
    assert CCXT.fetch_order(placed["id"], PAIR)["status"] == "canceled"
    assert len(CCXT.fetch_orders(PAIR)) == 2


@step
def ccxt_stop_order_and_its_change() -> None:
    stop = CCXT.create_order(PAIR, "STOP_LOSS_LIMIT", "buy", 0.1, away(1.1), {"stopPrice": away(1.05)})
    changed = CCXT.edit_order(stop["id"], PAIR, "limit", "buy", 0.2, away(0.9))
    assert (changed["status"], changed["amount"]) == ("open", 0.2)
    assert CCXT.fetch_order(stop["id"], PAIR)["status"] == "canceled"


@step
def ccxt_refusals() -> None:
    refused(ccxt.InsufficientFunds, lambda: CCXT.create_order(PAIR, "market", "sell", 100))
    refused(ccxt.OrderNotFound, lambda: CCXT.cancel_order("123", PAIR))
    refused(ccxt.OrderNotFound, lambda: CCXT.fetch_order("123", PAIR))
    refused(ccxt.AuthenticationError, lambda: ccxt_stranger().fetch_balance())


def ccxt_stranger() -> ccxt.binance:
    stranger = _ccxt()
    stranger.apiKey = "x" * 64
    return stranger


# -- binance-sdk-spot ------------------------------------------------------------------------------------------------------------------------------


@step
def sdk_market_data() -> None:
    rest = SPOT.rest_api
    rest.ping()
    assert rest.time().data().server_time > 0
    assert [symbol.symbol for symbol in rest.exchange_info(symbol=SYMBOL).data().symbols] == [SYMBOL]
    assert rest.depth(symbol=SYMBOL, limit=5).data().last_update_id > 0
    assert len(rest.klines(symbol=SYMBOL, interval="1m", limit=2).data()) == 2
    assert len(rest.agg_trades(symbol=SYMBOL, limit=2).data()) == 2
    assert rest.ticker_book_ticker(symbol=SYMBOL).data().actual_instance.symbol == SYMBOL


@step
def sdk_account_and_order() -> None:
    rest = SPOT.rest_api
    assert rest.get_account().data().can_trade
    order = rest.new_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.5).data()
    assert order.status == "FILLED"
    assert rest.get_order(symbol=SYMBOL, order_id=order.order_id).data().executed_qty == "0.50000000"
    assert order.order_id in {trade.order_id for trade in rest.my_trades(symbol=SYMBOL).data()}
    assert rest.get_open_orders(symbol=SYMBOL).data()


@step
async def sdk_orders_and_events_by_socket() -> None:
    connection = await SPOT.websocket_api.create_connection()
    heard: list[object] = []
    subscription = await connection.user_data_stream_subscribe_signature()
    subscription.stream.on("message", heard.append)
    status = (await connection.account_status()).data()
    placed = (await connection.order_place(symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.1)).data()
    await asyncio.sleep(1)
    assert status.result.can_trade
    assert placed.result.status == "FILLED"
    assert len(heard) >= 3, heard  # new, filled, balances


@step
async def sdk_trades_by_stream() -> None:
    connection = await SPOT.websocket_streams.create_connection()
    stream = await connection.trade(symbol=SYMBOL.lower())
    heard: list[object] = []
    stream.on("message", heard.append)
    await asyncio.sleep(6)
    assert heard
    assert heard[0].s == SYMBOL


async def main() -> None:
    for name, act in STEPS:
        try:
            done = act()
            if done is not None:
                await done
        except Exception as error:  # noqa: BLE001 the judge reports whatever went wrong and goes on
            print(json.dumps({"step": name, "ok": False, "detail": f"{type(error).__name__}: {error}"}), flush=True)
        else:
            print(json.dumps({"step": name, "ok": True, "detail": ""}), flush=True)
    os._exit(0)  # the SDK's sockets would keep the process for a while


asyncio.run(main())
