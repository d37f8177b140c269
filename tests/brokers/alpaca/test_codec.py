"""The codec against Alpaca's published samples, and its refusals."""

import json
from pathlib import Path

import msgspec
import pytest

from tests.factories import AAPL, BTC, NOW, D, approved, wish
from trading_system.brokers.alpaca import codec, wire
from trading_system.brokers.alpaca.errors import DEFINITIVE, is_not_found, refusal
from trading_system.brokers.alpaca.session import DataSession, OrdersSession, TooManySymbols
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import ALWAYS, MarketState
from trading_system.domain.ids import ExecID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.times import parse_rfc3339
from trading_system.settings.secret import Secret
from trading_system.transport.message import Response
from trading_system.transport.session import Broken, StreamRefused

# The order of docs.alpaca.markets, as printed in the orders guide.
ORDER = {
    "id": "7b08df51-c1ac-453c-99f9-323a5f075f0d",
    "client_order_id": "5680c4bc-9ac1-4a12-a44c-df427ba53032",
    "created_at": "2026-09-01T13:31:24.668464435Z",
    "updated_at": "2026-09-01T13:31:24.668464435Z",
    "submitted_at": "2026-09-01T13:31:24.577215743Z",
    "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
    "symbol": "AAPL",
    "asset_class": "us_equity",
    "notional": None,
    "qty": "2",
    "filled_qty": "0",
    "filled_avg_price": None,
    "order_class": "",
    "order_type": "limit",
    "type": "limit",
    "side": "buy",
    "time_in_force": "day",
    "limit_price": "150",
    "stop_price": None,
    "status": "accepted",
    "extended_hours": False,
    "legs": None,
    "a_field_of_tomorrow": {"x": 1},
}
FILL = {"event": "fill", "execution_id": "2f63ea93", "timestamp": "2026-09-01T13:30:00.5Z", "price": "100.4", "qty": "2", "position_qty": "2"}
KEY = Secret("PKtestkey123")


def order(**changes: object) -> wire.Order:
    return msgspec.convert(ORDER | changes, wire.Order)


def update(**changes: object) -> wire.TradeUpdate:
    filled = ORDER | {"status": "filled", "filled_qty": "2", "filled_avg_price": "100.4"}
    return msgspec.convert(FILL | {"order": filled} | changes, wire.TradeUpdate)


def test_the_published_order_becomes_a_report() -> None:
    report = codec.decode_order(order(), NOW)

    assert (report.instrument, report.side, report.ord_type, report.time_in_force) == (AAPL, Side.BUY, OrdType.LIMIT, TimeInForce.DAY)
    assert (report.order_qty, report.price, report.cum_qty, report.cash_order_qty) == (D(2), D(150), D(0), None)
    assert (report.exec_type, report.ord_status) == (ExecType.ORDER_STATUS, OrdStatus.PENDING_NEW)
    assert report.transact_ns == parse_rfc3339("2026-09-01T13:31:24.668464435Z")


def test_a_fill_event_is_an_execution() -> None:
    report = codec.decode_trade_update(update(), NOW)

    assert (report.exec_type, report.exec_id, report.last_qty, report.last_px, report.cum_qty) == (ExecType.TRADE, "2f63ea93", D(2), D("100.4"), D(2))


def test_an_activity_is_the_same_execution() -> None:
    activity = wire.Activity(
        id="20260901093000123::2f63ea93",
        activity_type="FILL",
        transaction_time="2026-09-01T13:30:00.5Z",
        type="fill",
        price="100.4",
        qty="2",
        side="buy",
        symbol="AAPL",
        order_id=str(ORDER["id"]),
        cum_qty="2",
    )
    report = codec.decode_fill(activity, order(), NOW)

    assert (report.exec_id, report.last_qty, report.cum_qty, report.ord_status) == (ExecID("2f63ea93"), D(2), D(2), OrdStatus.FILLED)


@pytest.mark.parametrize(("name", "status"), codec._STATUS.items())
def test_every_status_is_mapped(name: str, status: OrdStatus) -> None:
    assert codec.decode_order(order(status=name), NOW).ord_status is status


@pytest.mark.parametrize(("name", "exec_type"), codec._EVENT.items())
def test_every_event_is_mapped(name: str, exec_type: ExecType) -> None:
    assert codec.decode_trade_update(update(event=name), NOW).exec_type is exec_type


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "teleported"},
        {"side": "sideways"},
        {"type": "iceberg"},
        {"time_in_force": "forever"},
        {"asset_class": "treasury"},
        {"qty": "NaN"},
        {"filled_qty": "1e999999"},
        {"limit_price": "1_000"},
        {"updated_at": "yesterday"},
        {"symbol": "a b"},
    ],
)
def test_what_we_do_not_know_is_refused_with_the_raw_word(changes: dict[str, object]) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_order(order(**changes), NOW)

    assert str(next(iter(changes.values()))) in str(caught.value)


@pytest.mark.parametrize("changes", [{"execution_id": None}, {"qty": None}, {"price": "0"}, {"qty": "-1"}, {"event": "danced"}])
def test_an_execution_without_its_facts_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        codec.decode_trade_update(update(**changes), NOW)


def test_orders_leave_with_plain_numbers_and_nothing_extra() -> None:
    sent = codec.encode_order(approved(wish("10.50", ord_type=OrdType.LIMIT, price=D("99.10"))))

    assert json.loads(msgspec.json.encode(sent)) == {
        "symbol": "AAPL",
        "qty": "10.5",
        "side": "buy",
        "type": "limit",
        "time_in_force": "day",
        "limit_price": "99.1",
        "client_order_id": "q1aaaaaaaaaaaaaaaa",
    }
    cash = codec.encode_order(approved(wish(None, cash_order_qty=D("250.019"))))
    assert (cash.notional, cash.qty) == ("250.01", None)
    assert codec.encode_replace(approved(wish("3"))).qty == "3"


def test_crypto_symbols_keep_their_slash_and_get_it_back() -> None:
    assert codec.instrument_id("BTCUSD", "crypto") == BTC == codec.instrument_id("BTC/USD", "crypto")
    assert codec.instrument_id("ETHUSDT", "crypto") == "ETH/USDT"
    with pytest.raises(ProtocolError):
        codec.instrument_id("BTCEUR", "crypto")


def test_assets_become_instruments_with_their_grid() -> None:
    stock = wire.Asset(
        id="1", asset_class="us_equity", exchange="NASDAQ", symbol="AAPL", status="active", tradable=True, fractionable=True, shortable=True
    )
    coin = wire.Asset(
        id="2",
        asset_class="crypto",
        exchange="CRYPTO",
        symbol="BTC/USD",
        status="active",
        tradable=True,
        min_order_size="0.0001",
        min_trade_increment="0.00001",
        price_increment="0.01",
    )

    assert codec.decode_asset(stock, ALWAYS).tick(D("0.5")) == D("0.0001")
    assert (codec.decode_asset(coin, ALWAYS).asset_class, codec.decode_asset(coin, ALWAYS).lot) == (AssetClass.CRYPTO, D("0.00001"))
    assert not codec.decode_asset(msgspec.structs.replace(stock, status="inactive"), ALWAYS).tradable


def test_the_calendars_two_spellings_are_read() -> None:
    day = wire.CalendarDay(date="2026-09-01", open="09:30", close="16:00", session_open="0400", session_close="2000")
    hours = codec.decode_calendar([day], NOW)

    assert hours.windows[0].open_ns == parse_rfc3339("2026-09-01T09:30:00-04:00")
    assert hours.extended[0].close_ns == parse_rfc3339("2026-09-01T20:00:00-04:00")
    with pytest.raises(ProtocolError):
        codec.decode_calendar([msgspec.structs.replace(day, date="soon")], NOW)
    clock = wire.Clock(timestamp="2026-09-01T23:30:00.123456789-04:00", is_open=False, next_open="2026-09-02T09:30:00-04:00", next_close="")
    shown = codec.decode_clock(clock)
    assert (shown.state, shown.next_state, shown.next_ns) == (MarketState.CLOSED, MarketState.OPEN, parse_rfc3339("2026-09-02T13:30:00Z"))
    assert str(codec.day_of(clock)) == "2026-09-01"


def test_a_blocked_account_says_so() -> None:
    account = wire.Account(id="1", account_number="PA1", status="ACTIVE", cash="1", equity="2", buying_power="3", trading_blocked=True)
    snapshot = codec.decode_account(account, (), NOW)

    assert (snapshot.environment, snapshot.tradable, snapshot.last_equity) == ("paper", False, D(2))
    assert "trading_blocked" in snapshot.text
    assert codec.decode_account(msgspec.structs.replace(account, account_number="123456789"), (), NOW).environment == "live"


def answer(status: int, body: object = b"") -> Response:
    return Response(status=status, headers={}, body=body if isinstance(body, bytes) else msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("status", "body", "changing", "asking"),
    [
        (401, {"message": "unauthorized."}, AuthFailed, AuthFailed),
        (403, {"message": "forbidden."}, AuthFailed, AuthFailed),
        (403, {"code": 40310000, "message": "insufficient buying power"}, Rejected, BadRequest),
        (422, {"code": 42210000, "message": "invalid limit_price"}, Rejected, BadRequest),
        (422, {"code": 42210000, "message": "client_order_id must be unique"}, InDoubt, BadRequest),
        (422, {"code": 40010001, "message": "client_order_id must be unique"}, InDoubt, BadRequest),
        (422, {"code": 49999999, "message": "new"}, InDoubt, BadRequest),
        (404, {"code": 40410000, "message": "asset not found"}, Rejected, BadRequest),
        (404, b"<html>", InDoubt, BadRequest),
        (429, {"code": 42910000, "message": "rate limit exceeded"}, InDoubt, RateLimited),
        (500, {"message": "Internal Server Error"}, InDoubt, Unavailable),
        (502, b"<html>Bad Gateway</html>", InDoubt, Unavailable),
        (504, b"", InDoubt, Unavailable),
        (302, b"", InDoubt, ProtocolError),
    ],
)
def test_what_an_answer_means_depends_on_whether_it_changed_something(status: int, body: object, changing: type, asking: type) -> None:
    assert type(refusal(answer(status, body), changes=True)) is changing
    assert type(refusal(answer(status, body), changes=False)) is asking


def test_only_alpacas_own_not_found_counts() -> None:
    assert is_not_found(answer(404, {"code": 40410000, "message": "order not found"}))
    assert not is_not_found(answer(404, b"<html>not here</html>"))
    assert all(status in (400, 403, 404, 422) for status, _ in DEFINITIVE)


def test_the_order_stream_logs_in_listens_and_reads_both_kinds_of_frames() -> None:
    session = OrdersSession("ws://x/stream", KEY, KEY)

    assert "authenticate" in str(session.on_open(NOW).send[0])
    listen = session.on_frame(b'{"stream":"authorization","data":{"status":"authorized","action":"authenticate"}}', NOW)
    assert "trade_updates" in str(listen.send[0])
    assert session.on_frame(b'{"stream":"listening","data":{"streams":["trade_updates"]}}', NOW).ready
    frame = msgspec.json.encode({"stream": "trade_updates", "data": msgspec.to_builtins(update())})
    assert len(session.on_frame(frame, NOW).events) == 1
    with pytest.raises(StreamRefused):
        session.on_frame(b'{"stream":"authorization","data":{"status":"unauthorized","action":"authenticate"}}', NOW)
    for bad in (b"not json", b"{}", b'{"action":"error","data":{"error_message":"rate limit exceeded"}}', b'{"stream":"trade_updates","data":{}}'):
        with pytest.raises(ProtocolError):
            session.on_frame(bad, NOW)
    assert session.stale_after_ns() == 0


def test_the_data_stream_logs_in_subscribes_and_gives_quotes_trades_and_bars() -> None:
    session = DataSession("ws://x/v2/iex", KEY, KEY)

    assert session.want({"quotes": [AAPL], "trades": [AAPL], "bars": [AAPL]}) == ()  # nobody to say it to
    assert session.on_open(NOW).send == ()
    assert "auth" in str(session.on_frame(b'[{"T":"success","msg":"connected"}]', NOW).send[0])
    assert "AAPL" in str(session.on_frame(b'[{"T":"success","msg":"authenticated"}]', NOW).send[0])
    assert session.on_frame(b'[{"T":"subscription","trades":["AAPL"],"quotes":["AAPL"],"bars":["AAPL"]}]', NOW).ready
    frame = (
        b'[{"T":"q","S":"AAPL","ax":"V","ap":228.42,"as":300,"bx":"V","bp":0,"bs":0,"t":"2026-09-01T13:30:00.123456789Z","c":["R"],"z":"C"},'
        b'{"T":"t","S":"AAPL","i":5,"x":"V","p":228.4,"s":10,"t":"2026-09-01T13:30:00Z","c":["@"],"z":"C"},'
        b'{"T":"b","S":"AAPL","o":1,"h":2,"l":1,"c":2,"v":3,"n":1,"vw":1.5,"t":"2026-09-01T13:30:00Z"},'
        b'{"T":"q","S":"MSFT","ap":1,"as":1,"bp":1,"bs":1,"t":"2026-09-01T13:30:00Z"},{"T":"new kind","S":"AAPL"}]'
    )
    quote, trade, bar = session.on_frame(frame, NOW).events
    assert isinstance(quote, Quote)
    assert isinstance(trade, Trade)
    assert isinstance(bar, Bar)
    assert (quote.bid_px, quote.ask_px, quote.mid) == (None, D("228.42"), None)
    assert (trade.price, bar.vwap, bar.period_ns) == (D("228.4"), D("1.5"), 60_000_000_000)
    with pytest.raises(StreamRefused, match="402"):
        session.on_frame(b'[{"T":"error","code":402,"msg":"auth failed"}]', NOW)
    with pytest.raises(Broken, match="406 connection limit exceeded: another program"):
        session.on_frame(b'[{"T":"error","code":406,"msg":"connection limit exceeded"}]', NOW)
    with pytest.raises(ProtocolError, match="500"):
        session.on_frame(b'[{"T":"error","code":500,"msg":"internal error"}]', NOW)
    with pytest.raises(ProtocolError):
        session.on_frame(b'[{"T":"q","S":"AAPL"}]', NOW)


def lists(*frames: str) -> list[dict[str, object]]:
    return [msgspec.json.decode(frame) for frame in frames]


def test_what_is_wanted_changes_on_a_connection_that_stands() -> None:
    session = DataSession("ws://x/v2/iex", KEY, KEY)
    session.want({"quotes": ["AAPL", "F"], "trades": [], "bars": []})
    session.on_open(NOW)

    assert session.want({"quotes": ["AAPL"], "trades": [], "bars": []}) == ()  # not logged in: the login says it
    (first,) = session.on_frame(b'[{"T":"success","msg":"authenticated"}]', NOW).send
    assert lists(str(first)) == [{"action": "subscribe", "quotes": ["AAPL"]}]
    session.on_frame(b'[{"T":"subscription","quotes":["AAPL"]}]', NOW)
    assert lists(*session.want({"quotes": ["MSFT"], "trades": ["AAPL"], "bars": []})) == [
        {"action": "unsubscribe", "quotes": ["AAPL"]},
        {"action": "subscribe", "quotes": ["MSFT"], "trades": ["AAPL"]},
    ]
    assert session.want({"quotes": ["MSFT"], "trades": ["AAPL"], "bars": []}) == ()
    assert session.on_frame(b'[{"T":"q","S":"AAPL","ap":1,"as":1,"bp":1,"bs":1,"t":"2026-09-01T13:30:00Z"}]', NOW).events != ()
    assert session.on_frame(b'[{"T":"q","S":"F","ap":1,"as":1,"bp":1,"bs":1,"t":"2026-09-01T13:30:00Z"}]', NOW).events == ()

    session.on_open(NOW)  # a new connection holds nothing
    (again,) = session.on_frame(b'[{"T":"success","msg":"authenticated"}]', NOW).send
    assert lists(str(again)) == [{"action": "subscribe", "quotes": ["MSFT"], "trades": ["AAPL"]}]


def test_a_change_that_is_too_much_is_taken_back_as_a_whole() -> None:
    session = DataSession("ws://x/v2/iex", KEY, KEY)
    session.want({"quotes": ["AAPL"], "trades": [], "bars": []})
    session.on_open(NOW)
    session.on_frame(b'[{"T":"success","msg":"authenticated"}]', NOW)
    session.on_frame(b'[{"T":"subscription","quotes":["AAPL"]}]', NOW)
    session.want({"quotes": ["AAPL", "F", "MSFT"], "trades": [], "bars": []})
    (event,) = session.on_frame(b'[{"T":"error","code":405,"msg":"symbol limit exceeded"}]', NOW).events

    assert isinstance(event, TooManySymbols)
    assert "405 symbol limit exceeded: the free plan has 30 symbols" in event.text
    assert session.want({"quotes": ["AAPL"], "trades": [], "bars": []}) == ()
    assert lists(*session.want({"quotes": ["AAPL", "F"], "trades": [], "bars": []})) == [{"action": "subscribe", "quotes": ["F"]}]


def test_mute_quotes_are_stale_and_quiet_bars_are_not() -> None:
    session = DataSession("ws://x/v2/iex", KEY, KEY)
    session.want({"quotes": [], "trades": ["AAPL"], "bars": ["AAPL"]})
    assert session.stale_after_ns() == 0
    session.want({"quotes": ["AAPL"], "trades": [], "bars": []})
    assert session.stale_after_ns() == 120_000_000_000


GOLDEN = Path(__file__).parent / "golden"


def golden(name: str, kind: type[msgspec.Struct]) -> msgspec.Struct:
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes(), type=kind)


@pytest.mark.parametrize("name", ["order_limit", "order_equity", "order_crypto", "order_submitted", "order_replaced"])
def test_published_orders_are_read(name: str) -> None:
    raw = json.loads((GOLDEN / f"{name}.json").read_text())
    report = codec.decode_order(golden(name, wire.Order), NOW)  # type: ignore[arg-type]

    assert (report.order_id, report.cl_ord_id, str(report.ord_status)) == (raw["id"], raw["client_order_id"], str(codec._STATUS[raw["status"]]))
    assert report.cum_qty == D(raw["filled_qty"])


def test_published_accounts_positions_and_executions_are_read() -> None:
    account = codec.decode_account(golden("account", wire.Account), [golden("position", wire.Position)], NOW)  # type: ignore[arg-type, list-item]
    raw = json.loads((GOLDEN / "position.json").read_text())

    assert account.account == json.loads((GOLDEN / "account.json").read_text())["account_number"]
    assert account.positions[0].qty == D(raw["qty"])

    activity = golden("activity_fill", wire.Activity)
    fill = codec.decode_fill(activity, order(), NOW)  # type: ignore[arg-type]

    assert activity.id.endswith(fill.exec_id or "?")  # type: ignore[attr-defined]

    session = OrdersSession("ws://x/stream", KEY, KEY)
    (event,) = session.on_frame((GOLDEN / "trade_update_fill.json").read_bytes(), NOW).events

    assert event.exec_type is ExecType.TRADE  # type: ignore[attr-defined]


def test_published_market_data_is_read() -> None:
    quotes = golden("crypto_latest_quotes", wire.LatestQuotes).quotes  # type: ignore[attr-defined]
    bars = golden("stock_bars", wire.Bars).bars  # type: ignore[attr-defined]

    assert all(codec.decode_quote(quote, BTC, NOW).transact_ns for quote in quotes.values())
    assert all(codec.decode_bar(bar, AAPL, 60).high >= codec.decode_bar(bar, AAPL, 60).low for entries in bars.values() for bar in entries)
