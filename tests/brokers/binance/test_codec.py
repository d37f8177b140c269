"""The codec against Binance's published samples, its refusals, and what it sends."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.factories import NOW, D, approved, coin, quote, risk_state, wish
from trading_system.brokers.binance import auth, codec, wire
from trading_system.brokers.binance.errors import CLOCK, DEFINITIVE, UNKNOWN_KEY, ban_ns, budget, is_not_found, refusal
from trading_system.brokers.binance.facts import FACTS
from trading_system.brokers.binance.session import MarketSession, OrdersSession
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, ExecID, InstrumentID, OrderID
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.order import Approved, Attached
from trading_system.domain.ports import Kinds
from trading_system.settings.secret import Secret
from trading_system.transport.message import Response
from trading_system.transport.session import Broken, StreamRefused

GOLDEN = Path(__file__).parent / "golden"
KEY = Secret("vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A")
SECRET = Secret("NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j")
SYMBOLS = {
    "LTCBTC": InstrumentID("LTC/BTC"),
    "BTCUSDT": InstrumentID("BTC/USDT"),
    "ETHBTC": InstrumentID("ETH/BTC"),
    "BNBBTC": InstrumentID("BNB/BTC"),
}
SECOND = 1_000_000_000


def sample(name: str, kind: Any, **changes: object) -> Any:
    return msgspec.convert(json.loads((GOLDEN / f"{name}.json").read_text()) | changes, kind)


def event(**changes: object) -> wire.ExecutionReport:
    body = json.loads((GOLDEN / "event_new.json").read_text())["event"]
    return msgspec.convert(body | changes, wire.ExecutionReport)


FILLED = {"x": "TRADE", "X": "FILLED", "l": "1.00000000", "z": "1.00000000", "L": "0.10264410", "n": "0.00100000", "N": "ETH", "t": 77, "C": ""}


def test_the_published_order_becomes_a_report() -> None:
    report = codec.decode_order(sample("order_query", wire.Order), SYMBOLS, NOW)

    assert (report.cl_ord_id, report.order_id, report.instrument) == ("myOrder1", "1", "LTC/BTC")
    assert (report.side, report.ord_type, report.time_in_force) == (Side.BUY, OrdType.LIMIT, TimeInForce.GTC)
    assert (report.order_qty, report.price, report.stop_px, report.cum_qty) == (D(1), D("0.1"), None, D(0))
    assert (report.exec_type, report.ord_status, report.transact_ns) == (ExecType.ORDER_STATUS, OrdStatus.NEW, 1_499_827_319_559_000_000)


def test_the_answer_to_a_cancel_is_about_the_order_it_cancelled() -> None:
    report = codec.decode_order(sample("order_cancelled", wire.Order), SYMBOLS, NOW)

    assert (report.cl_ord_id, report.ord_status) == ("myOrder1", OrdStatus.CANCELED)


def test_an_event_of_a_cancel_is_about_the_order_it_cancelled() -> None:
    report = codec.decode_event(event(x="CANCELED", X="CANCELED", c="theCancel", C="theOrder"), SYMBOLS, NOW)

    assert (report.cl_ord_id, report.exec_type, report.ord_status) == ("theOrder", ExecType.CANCELED, OrdStatus.CANCELED)


def test_a_fill_carries_its_fee_in_what_it_left() -> None:
    units = codec.decode_event(event(**FILLED), SYMBOLS, NOW)
    money = codec.decode_event(event(**FILLED | {"N": "USDT", "n": "2.5"}), SYMBOLS, NOW)

    assert (units.exec_type, units.exec_id, units.last_qty, units.last_px, units.cum_qty) == (
        ExecType.TRADE,
        ExecID("77"),
        D(1),
        D("0.1026441"),
        D(1),
    )
    assert (units.fee, units.fee_currency) == (D("0.001"), "ETH/USDT")
    assert (money.fee, money.fee_currency) == (D("2.5"), "USDT")


def test_the_list_of_trades_and_the_stream_name_an_execution_alike() -> None:
    trade = msgspec.convert(json.loads((GOLDEN / "my_trades.json").read_text())[0], wire.MyTrade)
    order = codec.decode_order(sample("order_query", wire.Order, symbol="BNBBTC", orderId=100234), SYMBOLS, NOW)
    report = codec.decode_fill(trade, order, D(12), NOW)

    assert (report.exec_id, report.order_id, report.cl_ord_id) == (ExecID("28457"), OrderID("100234"), "myOrder1")
    assert (report.last_qty, report.last_px, report.cum_qty, report.fee, report.fee_currency) == (D(12), D("4.000001"), D(12), D("10.1"), "BNB/USDT")
    assert (report.exec_type, report.transact_ns) == (ExecType.TRADE, 1_499_865_549_590_000_000)


@pytest.mark.parametrize(("name", "status"), codec._STATUS.items())
def test_every_status_is_mapped(name: str, status: OrdStatus) -> None:
    assert codec.decode_order(sample("order_query", wire.Order, status=name), SYMBOLS, NOW).ord_status is status


@pytest.mark.parametrize(("name", "exec_type"), codec._EVENT.items())
def test_every_event_is_mapped(name: str, exec_type: ExecType) -> None:
    assert codec.decode_event(event(**FILLED | {"x": name}), SYMBOLS, NOW).exec_type is exec_type


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "TELEPORTED"},
        {"side": "SIDEWAYS"},
        {"type": "ICEBERG"},
        {"timeInForce": "GTX"},
        {"symbol": "NOSUCH"},
        {"origQty": "NaN"},
        {"executedQty": "1e999999"},
        {"price": "1_000"},
        {"time": 0, "updateTime": 0},
    ],
)
def test_what_nobody_knows_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        codec.decode_order(sample("order_query", wire.Order, **changes), SYMBOLS, NOW)


@pytest.mark.parametrize("changes", [{"t": -1}, {"l": "0"}, {"L": "0"}, {"N": None}, {"x": "MELTED"}])
def test_an_execution_without_its_parts_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        codec.decode_event(event(**FILLED | changes), SYMBOLS, NOW)


def test_the_grid_comes_from_the_filters() -> None:
    (symbol,) = sample("exchange_info", wire.ExchangeInfo).symbols
    instrument = codec.decode_symbol(symbol)

    assert (instrument.id, instrument.symbol, instrument.base, instrument.currency) == ("BTC/USDT", "BTCUSDT", "BTC", "USDT")
    assert (instrument.ticks[0].tick, instrument.lot, instrument.min_qty, instrument.min_notional) == (D("0.01"), D("0.00001"), D("0.00001"), D(5))
    assert instrument.tradable
    assert not codec.decode_symbol(msgspec.structs.replace(symbol, status="HALT")).tradable
    assert not codec.decode_symbol(msgspec.structs.replace(symbol, quote_asset="BTC", base_asset="ETH")).tradable
    with pytest.raises(ProtocolError, match="LOT_SIZE"):
        codec.decode_symbol(msgspec.structs.replace(symbol, filters=[item for item in symbol.filters or () if item.filter_type != "LOT_SIZE"]))


def test_names_that_are_no_words_of_ours_are_left_out() -> None:
    (symbol,) = sample("exchange_info", wire.ExchangeInfo).symbols
    strange = msgspec.structs.replace(symbol, symbol="这是测试币456USDT", base_asset="这是测试币456")

    assert codec.decode_symbols([symbol, strange]) == {"BTCUSDT": "BTC/USDT"}


def test_equity_is_the_sum_of_the_balances_at_their_marks() -> None:
    balances = [
        wire.Balance(asset="USDT", free="900.5", locked="99.5"),
        wire.Balance(asset="BTC", free="0.5", locked="0.25"),
        wire.Balance(asset="USDC", free="50", locked="0"),
        wire.Balance(asset="NOPAIR", free="7", locked="0"),
    ]
    account = msgspec.structs.replace(sample("account", wire.Account), balances=balances)
    snapshot = codec.decode_account(account, {InstrumentID("BTC/USDT"): D(100_000)}, D("0.999"), SYMBOLS, "paper", NOW, NOW)

    assert (snapshot.account, snapshot.currency, snapshot.cash, snapshot.buying_power) == ("354937868", "USD", D(1049), D("899.5995"))
    assert (snapshot.balances, snapshot.rates) == ({"USDT": D(1000), "USDC": D(50)}, {"USDT": D("0.999"), "USDC": D(1)})
    assert [(position.instrument, position.qty, position.mark_px) for position in snapshot.positions] == [("BTC/USDT", D("0.75"), D(100_000))]
    assert snapshot.equity == snapshot.last_equity == D(75_974)
    assert snapshot.tradable
    assert not codec.decode_account(msgspec.structs.replace(account, can_trade=False), {}, None, SYMBOLS, "paper", NOW, NOW).tradable


def checked(**changes: object) -> Approved:
    pair = coin(id=InstrumentID("BTC/USDT"), symbol="BTCUSDT", broker=FACTS.broker, currency="USDT")
    request = wish("0.5", broker=FACTS.broker, instrument=pair.id, time_in_force=TimeInForce.GTC, **changes)
    state = risk_state(instrument=pair, facts=FACTS, quote=quote("99.99", "100.01", pair.id))
    from trading_system.core.risk import check

    return check(request, state)


def sent(**changes: object) -> dict[str, str]:
    return codec.encode_order(checked(**changes))


def listed(attached: Attached, **changes: object) -> tuple[str, dict[str, str]]:
    """Names of orders are left out: they are one id, with and without an ending."""
    asked = checked(attached=attached, ord_type=OrdType.LIMIT, **({"price": D("99.50")} | changes))
    path, params = codec.encode_list(asked, D("0.001"))
    names = {key: params.pop(key).removeprefix(asked.cl_ord_id) for key in [key for key in params if key.endswith("ClientOrderId")]}
    assert names == NAMES[path]
    return path, params


NAMES = {
    "/orderList/oto": {"workingClientOrderId": "", "pendingClientOrderId": "-stop"},
    "/orderList/otoco": {"workingClientOrderId": "", "pendingAboveClientOrderId": "-profit", "pendingBelowClientOrderId": "-stop"},
}
ENTRY = {
    "symbol": "BTCUSDT",
    "newOrderRespType": "RESULT",
    "workingType": "LIMIT",
    "workingSide": "BUY",
    "workingQuantity": "0.5",
    "workingPrice": "99.5",
    "workingTimeInForce": "GTC",
    "pendingSide": "SELL",
    "pendingQuantity": "0.499",  # what the fee leaves, in whole lots
}


def test_exits_leave_with_their_entry_as_one_list() -> None:
    stop = {"pendingType": "STOP_LOSS", "pendingStopPrice": "97"}
    pair = {
        "pendingAboveType": "LIMIT_MAKER",
        "pendingAbovePrice": "105",
        "pendingBelowType": "STOP_LOSS_LIMIT",
        "pendingBelowStopPrice": "97",
        "pendingBelowPrice": "96",
        "pendingBelowTimeInForce": "GTC",
    }

    assert listed(Attached(stop_px=D(97))) == ("/orderList/oto", ENTRY | stop)
    assert listed(Attached(stop_px=D(97), stop_limit_px=D(96), take_profit_px=D(105))) == ("/orderList/otoco", ENTRY | pair)


def test_a_list_is_read_as_an_order_and_its_exits() -> None:
    ours = ClOrdID("q1azojfk4at2kxdvnl")
    stop, profit = sample("order_list", wire.OrderList).order_reports
    stop.client_order_id, profit.client_order_id = f"{ours}-stop", ours
    report = codec.decode_list((stop, profit), ours, SYMBOLS, NOW)

    assert (report.cl_ord_id, report.order_id, report.price, report.parent) == (ours, "11", D("3.00000000"), None)
    assert [(child.order_id, child.parent, child.stop_px, child.ord_type) for child in report.children] == [
        ("10", ours, D("1.00000000"), OrdType.STOP_LIMIT)
    ]
    with pytest.raises(ProtocolError, match="without the order"):
        codec.decode_list((stop,), ours, SYMBOLS, NOW)


def test_an_event_of_an_exit_that_waits_is_no_new_order_yet() -> None:
    report = codec.decode_event(event(X="PENDING_NEW", c="q1azojfk4at2kxdvnl-stop"), SYMBOLS, NOW)

    assert (report.exec_type, report.ord_status, report.parent) == (ExecType.SUSPENDED, OrdStatus.SUSPENDED, "q1azojfk4at2kxdvnl")


def test_a_trailing_stop_is_a_distance_in_basis_points() -> None:
    row = msgspec.structs.replace(sample("order_query", wire.Order), type="STOP_LOSS", trailing_delta=30)
    report = codec.decode_order(row, SYMBOLS, NOW)
    params = sent(ord_type=OrdType.TRAILING_STOP, trail_pct=D("0.02"))

    assert (report.ord_type, report.trail_pct, report.stop_px) == (OrdType.TRAILING_STOP, D("0.003"), None)
    assert (params["type"], params["trailingDelta"]) == ("STOP_LOSS", "200")
    assert not {"timeInForce", "stopPrice", "price"} & params.keys()
    assert codec.decode_order(msgspec.structs.replace(row, type="STOP_LOSS_LIMIT"), SYMBOLS, NOW).ord_type is OrdType.STOP_LIMIT


def test_an_order_leaves_in_their_words() -> None:
    limit = sent(ord_type=OrdType.LIMIT, price=D("99.50"))
    stop = sent(ord_type=OrdType.STOP_LIMIT, price=D("101.5"), stop_px=D(101))
    bare = sent(ord_type=OrdType.STOP, stop_px=D(101))
    market = sent()

    assert (bare["type"], bare["stopPrice"], {"price", "timeInForce"} & bare.keys()) == ("STOP_LOSS", "101", set())
    assert limit.pop("newClientOrderId").startswith("q1")
    assert limit == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.5",
        "price": "99.5",
        "newOrderRespType": "RESULT",
    }
    assert (stop["type"], stop["price"], stop["stopPrice"]) == ("STOP_LOSS_LIMIT", "101.5", "101")
    assert (market["type"], "timeInForce" in market) == ("MARKET", False)


def test_a_change_cancels_only_what_has_no_fill() -> None:
    params = codec.encode_replace(msgspec.structs.replace(approved(), orig_cl_ord_id=ClOrdID("q1old"), orig_order_id=OrderID("17")))

    assert (params["cancelReplaceMode"], params["cancelRestrictions"], params["cancelOrderId"]) == ("STOP_ON_FAILURE", "ONLY_NEW", "17")


# -- signatures ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTCquantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
            "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77",
        ),
        (
            (
                f"apiKey={KEY.reveal()}&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT&timeInForce=GTC"
                "&timestamp=1645423376532&type=LIMIT"
            ),
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        ),
        (
            (
                f"apiKey={KEY.reveal()}&price=0.10000000&quantity=1.00000000&recvWindow=5000&side=BUY&symbol=１２３４５６&timeInForce=GTC"
                "&timestamp=1645423376532&type=LIMIT"
            ),
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
    ],
)
def test_signatures_are_those_that_binance_prints(payload: str, expected: str) -> None:
    assert auth.signature(payload, SECRET) == expected


def test_what_is_signed_is_what_is_sent() -> None:
    request = auth.sign("GET", "https://host/api/v3/order", {"symbol": "这"}, KEY, SECRET, 1_499_827_319_559)
    query, _, proof = request.url.partition("?")[2].rpartition("&signature=")

    assert query == "symbol=%E8%BF%99&recvWindow=5000&timestamp=1499827319559"
    assert proof == auth.signature(query, SECRET)
    assert request.headers == {"X-MBX-APIKEY": KEY.reveal()}
    assert SECRET.reveal() not in repr(request) + request.url


# -- refusals --------------------------------------------------------------------------------------------------------------------------------------


def answered(status: int, code: int | None = None, text: str = "", **headers: str) -> Response:
    body = b"<html></html>" if code is None else json.dumps({"code": code, "msg": text}).encode()
    return Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=body, recv_ns=NOW)


@pytest.mark.parametrize("code", sorted(DEFINITIVE))
def test_a_definitive_refusal_is_a_reject_only_with_400(code: int) -> None:
    assert isinstance(refusal(answered(400, code, "no"), changes=True), Rejected)
    assert isinstance(refusal(answered(500, code, "no"), changes=True), InDoubt)


@pytest.mark.parametrize(
    ("status", "code"), [(500, -1000), (502, None), (503, -1001), (504, -1006), (504, -1007), (400, -9999), (302, None), (409, -2021)]
)
def test_what_is_not_known_to_have_failed_is_in_doubt(status: int, code: int | None) -> None:
    assert isinstance(refusal(answered(status, code, "Unknown error, please check your request or try again later."), changes=True), InDoubt)


def test_an_id_that_is_taken_may_be_our_own_order() -> None:
    assert isinstance(refusal(answered(400, -2010, "Duplicate order sent."), changes=True), InDoubt)
    assert isinstance(refusal(answered(400, -2010, "Market is closed."), changes=True), Rejected)


@pytest.mark.parametrize("code", sorted(UNKNOWN_KEY))
def test_a_key_that_is_not_let_in_says_what_to_check(code: int) -> None:
    for changes in (True, False):
        error = refusal(answered(401, code, "Invalid API-key, IP, or permissions for action."), changes=changes)

        assert isinstance(error, AuthFailed)
        assert "BINANCE_TESTNET" in str(error)


@pytest.mark.parametrize(("status", "code"), [(400, CLOCK), (403, None), (503, -1008)])
def test_what_never_reached_the_engine_was_not_sent(status: int, code: int | None) -> None:
    for changes in (True, False):
        assert type(refusal(answered(status, code, "no"), changes=changes)) is Unavailable


def test_a_refusal_stops_all_calls_until_its_time() -> None:
    banned = f"Way too much request weight used; IP banned until {NOW // 1_000_000 + 120_000}."
    told = answered(429, -1003, "Too much request weight used", retry_after="17")

    assert (ban_ns(told), ban_ns(answered(418, -1003, banned)), ban_ns(answered(429))) == (17 * SECOND, 120 * SECOND, 60 * SECOND)
    for changes in (True, False):
        error = refusal(told, changes=changes)
        assert isinstance(error, RateLimited)
        assert error.retry_after_ns == 17 * SECOND
    assert budget(answered(418, -1003, banned), 6000, NOW) == {"retry-after": "120"}
    assert budget(answered(200, 0, x_mbx_used_weight_1m="5900"), 6000, 90 * SECOND) == {
        "x-ratelimit-limit": "6000",
        "x-ratelimit-remaining": "100",
        "x-ratelimit-reset": "120",
    }
    assert budget(answered(200, 0, x_mbx_used_weight_1m="5900"), None, NOW) == {}


def test_a_question_is_unavailable_or_wrong_but_never_in_doubt() -> None:
    assert isinstance(refusal(answered(504, -1007, "Timeout"), changes=False), Unavailable)
    assert isinstance(refusal(answered(400, -1121, "Invalid symbol."), changes=False), BadRequest)
    assert isinstance(refusal(answered(302), changes=False), ProtocolError)
    assert is_not_found(answered(400, -2013, "Order does not exist."))
    assert not is_not_found(answered(404))


def test_a_change_of_which_half_was_done_says_which() -> None:
    halves = {"cancelResult": "SUCCESS", "newOrderResult": "FAILURE", "cancelResponse": {}, "newOrderResponse": {"code": -2010, "msg": "No money."}}
    body = json.dumps({"code": -2021, "msg": "Order cancel-replace partially failed.", "data": halves}).encode()
    error = refusal(Response(status=409, headers={}, body=body), changes=True)
    other = json.dumps({"code": -2021, "msg": "x", "data": halves | {"newOrderResponse": {"code": -1007, "msg": "Timeout"}}}).encode()

    assert isinstance(error, Rejected)
    assert "cancel SUCCESS" in str(error)
    assert "No money." in str(error)
    assert isinstance(refusal(Response(status=409, headers={}, body=other), changes=True), InDoubt)


# -- sessions --------------------------------------------------------------------------------------------------------------------------------------


def orders_session() -> OrdersSession:
    return OrdersSession("wss://host", KEY, SECRET, SYMBOLS, lambda now_ns: now_ns + 2 * SECOND)


def test_the_events_are_asked_for_in_binances_time() -> None:
    (frame,) = orders_session().on_open(NOW).send
    params = json.loads(frame)["params"]
    payload = f"apiKey={KEY.reveal()}&recvWindow=5000&timestamp={(NOW + 2 * SECOND) // 1_000_000}"

    assert json.loads(frame)["method"] == "userDataStream.subscribe.signature"
    assert params["signature"] == auth.signature(payload, SECRET)


def test_events_are_handed_on_and_the_rest_shows_that_it_lives() -> None:
    session = orders_session()
    (report,) = session.on_frame((GOLDEN / "event_new.json").read_bytes(), NOW).events

    assert session.on_frame(b'{"id":"events","status":200,"result":{"subscriptionId":0},"rateLimits":[]}', NOW).ready
    assert (report.exec_type, report.instrument, report.recv_ns) == (ExecType.NEW, "ETH/BTC", NOW)  # type: ignore[attr-defined]
    assert session.on_frame((GOLDEN / "event_balances.json").read_bytes(), NOW).alive


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b'{"id":"events","status":401,"error":{"code":-2015,"msg":"Invalid API-key"}}', StreamRefused),
        (b'{"id":"events","status":400,"error":{"code":-1021,"msg":"Timestamp"}}', Broken),
        (b'{"id":"events","status":429,"error":{"code":-1003,"msg":"x","data":{"serverTime":1,"retryAfter":2}}}', Broken),
        (b'{"event":{"e":"serverShutdown","E":1770123456789}}', Broken),
        (b'{"event":{"e":"eventStreamTerminated","E":1728973001334}}', Broken),
        (b'{"event":{"e":"executionReport"}}', ProtocolError),
        (b"null", ProtocolError),
        (b"{}", ProtocolError),
    ],
)
def test_what_ends_the_stream_of_events(frame: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        orders_session().on_frame(frame, NOW)


def market_session(**kinds: bool) -> MarketSession:
    names = {"BNBUSDT": InstrumentID("BNB/USDT"), "BNBBTC": InstrumentID("BNB/BTC")}
    return MarketSession("wss://host/stream", names, Kinds(**kinds), lambda now_ns: now_ns - SECOND)


def test_market_data_is_asked_for_in_one_frame_and_read() -> None:
    session = market_session(trades=True, bars=True)
    (frame,) = session.on_open(NOW).send
    (best,) = session.on_frame((GOLDEN / "stream_book_ticker.json").read_bytes(), NOW).events
    (trade,) = session.on_frame((GOLDEN / "stream_trade.json").read_bytes(), NOW).events
    forming = (GOLDEN / "stream_kline.json").read_bytes()
    (bar,) = session.on_frame(forming.replace(b'"x": false', b'"x": true'), NOW).events

    assert len(json.loads(frame)["params"]) == 6
    assert "bnbusdt@bookTicker" in json.loads(frame)["params"]
    assert session.on_frame(b'{"result":null,"id":1}', NOW).ready
    assert isinstance(best, Quote)
    assert (best.bid_px, best.ask_qty, best.transact_ns, best.recv_ns) == (D("25.3519"), D("40.66"), NOW - SECOND, NOW)
    assert isinstance(trade, Trade)
    assert (trade.price, trade.trade_id, trade.transact_ns) == (D("0.001"), "12345", 1_672_515_782_136_000_000)
    assert isinstance(bar, Bar)
    assert (bar.open, bar.close, bar.volume, bar.vwap) == (D("0.001"), D("0.002"), D(1000), D("0.001"))
    assert session.on_frame(forming, NOW) == session.on_frame(forming, NOW)
    assert session.on_frame(forming, NOW).events == ()


@pytest.mark.parametrize("frame", [b'{"code":2,"msg":"Invalid request","id":1}', b'{"error":{"code":2,"msg":"x"},"id":1}', b"[]", b'{"id":7}'])
def test_a_refused_subscription_is_no_quiet_one(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        market_session().on_frame(frame, NOW)


def test_a_market_stream_that_announces_its_end_is_broken() -> None:
    with pytest.raises(Broken):
        market_session().on_frame(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}', NOW)
