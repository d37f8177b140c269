"""The wire against Alpaca's published samples: each decodes, keeps what it says, and what Alpaca leaves out or adds does not matter."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trading_system.brokers.alpaca import wire

GOLDEN = Path(__file__).parent / "golden"
SAMPLES: dict[str, Any] = {
    "account": wire.Account,
    "account_paper": wire.Account,
    "account_configurations": wire.AccountConfigurations,
    "activity_event_dividend": wire.ActivityEvent,
    "activity_event_trade": wire.ActivityEvent,
    "activity_fill": wire.Activity,
    "activity_non_trade": wire.Activity,
    "asset_published_2": wire.Asset,
    "asset_stock": wire.Asset,
    "calendar": list[wire.CalendarDay],
    "cancel_all": list[wire.CancelStatus],
    "clock": wire.Clock,
    "close_all": list[wire.ClosedPosition],
    "crypto_bars": wire.Bars,
    "crypto_latest_bars": wire.LatestBars,
    "crypto_latest_orderbooks": wire.LatestOrderBooks,
    "crypto_latest_quotes": wire.LatestQuotes,
    "crypto_latest_trades": wire.LatestTrades,
    "crypto_quotes": wire.Quotes,
    "crypto_trades": wire.Trades,
    "data_connected": list[wire.SuccessMsg],
    "data_error": list[wire.ErrorMsg],
    "data_subscription": list[wire.SubscriptionMsg],
    "error_buying_power": wire.Error,
    "error_duplicate_terminal": wire.Error,
    "error_duplicate_working": wire.Error,
    "error_insufficient_qty": wire.Error,
    "error_rate_limit": wire.Error,
    "error_unauthorized": wire.Error,
    "option_contract": wire.OptionContract,
    "option_latest_quotes": wire.LatestQuotes,
    "option_snapshots": wire.OptionSnapshots,
    "news": wire.NewsPage,
    "news_message": list[wire.NewsMsg],
    "order_crypto": wire.Order,
    "order_equity": wire.Order,
    "order_limit": wire.Order,
    "order_multileg": wire.Order,
    "order_option": wire.Order,
    "order_replaced": wire.Order,
    "order_submitted": wire.Order,
    "portfolio_history_15min": wire.PortfolioHistory,
    "portfolio_history_cashflows": wire.PortfolioHistory,
    "position": wire.Position,
    "position_published_2": wire.Position,
    "stock_bars": wire.Bars,
    "stock_latest_bars": wire.LatestBars,
    "stock_latest_quotes": wire.LatestQuotes,
    "stock_latest_trades": wire.LatestTrades,
    "stock_quotes": wire.Quotes,
    "stock_single_bars": wire.SymbolBars,
    "stock_single_latest_bars": wire.LatestBar,
    "stock_single_latest_quotes": wire.LatestQuote,
    "stock_single_latest_trades": wire.LatestTrade,
    "stock_single_quotes": wire.SymbolQuotes,
    "stock_single_trades": wire.SymbolTrades,
    "stock_trades": wire.Trades,
    "stream_authorized": wire.StreamFrame,
    "stream_error": wire.StreamFrame,
    "stream_listening": wire.StreamFrame,
    "stream_unauthorized": wire.StreamFrame,
    "trade_event_multileg": wire.TradeEvent,
    "trade_event_new": wire.TradeEvent,
    "trade_update_fill": wire.StreamFrame,
}
ENCODE = msgspec.json.Encoder(decimal_format="number")


def test_every_sample_is_tried() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_published_sample_decodes_and_keeps_what_it_says(name: str) -> None:
    raw = (GOLDEN / f"{name}.json").read_bytes()
    again = msgspec.json.decode(ENCODE.encode(msgspec.json.decode(raw, type=SAMPLES[name])))

    for path, said in _leaves(msgspec.json.decode(raw)):
        kept = _at(again, path)
        assert kept is _DROPPED or kept == said, path
    assert any(_at(again, path) is not _DROPPED for path, _ in _leaves(msgspec.json.decode(raw)))


_DROPPED = object()  # a field that we do not have, or that is null


def _leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(node, dict):
        return [leaf for key, value in node.items() for leaf in _leaves(value, (*path, key))]
    if isinstance(node, list):
        return [leaf for place, value in enumerate(node) for leaf in _leaves(value, (*path, place))]
    return [(path, node)]


def _at(node: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        if isinstance(node, dict) and step not in node:
            return _DROPPED
        node = node[step]
    return node


def test_numbers_of_market_data_are_exact() -> None:
    quote = msgspec.json.decode(b'{"t":"x","bp":0.1,"bs":3.252,"ap":1e-8,"as":123456789.123456789}', type=wire.Quote)

    assert (quote.bp, quote.bs, quote.ap, quote.as_) == (Decimal("0.1"), Decimal("3.252"), Decimal("1E-8"), Decimal("123456789.123456789"))


def test_a_frame_gives_its_messages_and_an_unknown_kind_is_told_apart() -> None:
    frame = '[{"T":"q","S":"AAPL","t":"x","bp":1,"bs":1,"ap":2,"as":1},{"T":"zz","n":1},{"T":"t","S":"AAPL","t":"x","p":1.5,"s":3,"new":[]}]'
    quote, unknown, trade = wire.data_messages(frame)

    assert isinstance(quote, wire.QuoteMsg)
    assert unknown == wire.UnknownMsg(T="zz", raw=b'{"T":"zz","n":1}')
    assert isinstance(trade, wire.TradeMsg)
    assert trade.p == Decimal("1.5")


@pytest.mark.parametrize("frame", ["", "{}", "[1]", '[{"t":"x"}]', '[{"T":"q","S":"AAPL"}]', '[{"T":1}]'])
def test_a_frame_that_makes_no_sense_is_refused(frame: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        wire.data_messages(frame)


@pytest.mark.parametrize("name", ["account", "order_equity", "position", "asset_stock", "trade_update_fill"])
def test_a_field_that_alpaca_adds_does_not_matter(name: str) -> None:
    plain = msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())

    assert msgspec.json.decode(msgspec.json.encode(plain | {"added_next_month": {"x": [1]}}), type=SAMPLES[name])


def test_secrets_do_not_show() -> None:
    assert "hidden" not in repr(wire.StreamLogin(key_id="hidden", secret_key="hidden"))
    assert "hidden" not in repr(wire.Token(access_token="hidden", expires_in=900))
    assert "hidden" not in repr(wire.DataAction(action="auth", key="hidden", secret="hidden"))
