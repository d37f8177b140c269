"""The wire against Binance's published samples: each decodes, keeps what it says, and what Binance leaves out or adds does not matter."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trading_system.brokers.binance import wire

GOLDEN = Path(__file__).parent / "golden"
SAMPLES: dict[str, Any] = {
    "account": wire.Account,
    "agg_trades": list[wire.AggTrade],
    "avg_price": wire.AvgPrice,
    "book_ticker": wire.BookTicker,
    "commission": wire.Commission,
    "depth": wire.Depth,
    "error": wire.Error,
    "exchange_info": wire.ExchangeInfo,
    "key_rights": wire.KeyRights,
    "klines": list[wire.Kline],
    "my_trades": list[wire.MyTrade],
    "order_ack": wire.OrderAck,
    "order_cancelled": wire.Order,
    "order_full": wire.Order,
    "order_list": wire.OrderList,
    "order_limits": list[wire.RateLimit],
    "order_query": wire.Order,
    "replace_failed": wire.Error,
    "ticker_price": wire.PriceTicker,
    "time": wire.Time,
    "trades": list[wire.Trade],
}
EVENTS: dict[str, Any] = {"event_new": wire.ExecutionReport, "event_balances": wire.AccountPosition, "event_list": wire.ListStatus}
STREAMS: dict[str, Any] = {
    "stream_agg_trade": wire.AggTradeMsg,
    "stream_avg_price": wire.AvgPriceMsg,
    "stream_mini_ticker": wire.MiniTickerMsg,
    "stream_ticker": wire.DayTickerMsg,
    "stream_book_ticker": wire.BookTickerMsg,
    "stream_depth": wire.DepthMsg,
    "stream_kline": wire.KlineMsg,
    "stream_trade": wire.TradeMsg,
}


def kept(shape: object, sample: object) -> None:
    """What was decoded is encoded as it was, but for fields that this version does not read."""
    if isinstance(sample, dict) and isinstance(shape, dict):
        for name, value in shape.items():
            assert name in sample, name
            kept(value, sample[name])
    elif isinstance(sample, list):
        assert isinstance(shape, list)
        assert len(shape) == len(sample)
        for one, other in zip(shape, sample, strict=True):
            kept(one, other)
    else:
        assert shape == sample


@pytest.mark.parametrize("name", SAMPLES)
def test_a_published_sample_is_read_and_written_as_it_stands(name: str) -> None:
    raw = (GOLDEN / f"{name}.json").read_bytes()
    found = msgspec.json.decode(raw, type=SAMPLES[name])

    kept(json.loads(msgspec.json.encode(found)), json.loads(raw))


@pytest.mark.parametrize(("name", "kind"), EVENTS.items())
def test_an_event_is_read_inside_its_frame(name: str, kind: Any) -> None:
    frame = msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes(), type=wire.SocketFrame)
    found = msgspec.json.decode(frame.event, type=kind)

    assert frame.subscription_id == 0
    kept(json.loads(msgspec.json.encode(found)), json.loads(bytes(frame.event)))


@pytest.mark.parametrize(("name", "kind"), STREAMS.items())
def test_market_data_is_read_inside_its_frame(name: str, kind: Any) -> None:
    frame = msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes(), type=wire.StreamFrame)
    found = msgspec.json.decode(frame.data, type=kind)

    kept(json.loads(msgspec.json.encode(found)), json.loads(bytes(frame.data)))


def test_every_sample_is_held_to_something() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*SAMPLES, *EVENTS, *STREAMS, "socket_refused"}


def test_a_refusal_on_the_socket_is_told_apart_from_an_event() -> None:
    frame = msgspec.json.decode((GOLDEN / "socket_refused.json").read_bytes(), type=wire.SocketFrame)

    assert (frame.status, msgspec.json.decode(frame.error)["code"], bytes(frame.event)) == (400, -2010, b"")
