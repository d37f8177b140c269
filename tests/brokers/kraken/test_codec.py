"""The codec against Kraken's published samples, its refusals, and what it sends."""

import json
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.factories import NOW, D, approved, coin, quote, wish
from trading_system.brokers.kraken import auth, codec, wire
from trading_system.brokers.kraken.book import BookSession, Doubtful, Sound
from trading_system.brokers.kraken.counter import Counter
from trading_system.brokers.kraken.errors import ERRORS, Meaning, edge, refusal
from trading_system.brokers.kraken.facts import FACTS
from trading_system.brokers.kraken.session import DataSession, Hole, Moved, PrivateSession, Whole
from trading_system.core.risk import Limits
from trading_system.domain.account import AccountSnapshot, FlowKind
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import BookSnapshot
from trading_system.domain.order import Approved
from trading_system.domain.ports import Kinds
from trading_system.settings.secret import Secret
from trading_system.transport.message import Request, Response
from trading_system.transport.session import Broken, StreamRefused

GOLDEN = Path(__file__).parent / "golden"
BTC = InstrumentID("BTC/USD")
SECOND = 1_000_000_000
URL = "wss://host/v2"
WIDE = Limits(max_position_pct=D(1), crypto_max_position_pct=D(1))


def raw(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def result(name: str, kind: Any) -> Any:
    envelope = msgspec.json.decode(raw(name), type=wire.Envelope)
    assert envelope.error == []
    return msgspec.json.decode(envelope.result, type=kind)


NAMES = codec.decode_names(result("assets", dict[str, wire.Asset]), result("asset_pairs", dict[str, wire.AssetPair]))
PAIR = NAMES.pairs[BTC]
ORDER_ID = "OQCLML-BW3P3-BUCMWZ"
ROW: wire.Order = result("open_orders", wire.OpenOrders).open[ORDER_ID]


def asked(**changes: Any) -> Approved:
    """An approved order on BTC/USD."""
    fields: dict[str, Any] = {"broker": FACTS.broker, "instrument": BTC, "time_in_force": TimeInForce.GTC}
    return approved(wish(**(fields | changes)), instrument=coin(broker=FACTS.broker), quote=quote(instrument=BTC), facts=FACTS, limits=WIDE)


@pytest.mark.parametrize("name", ["XXBTZUSD", "XBTUSD", "XBT/USD", "BTC/USD"])
def test_a_pair_is_the_same_under_all_of_its_names(name: str) -> None:
    assert NAMES.instrument(name) == BTC


def test_coins_are_joined_through_the_tables_and_what_is_put_away_is_told_apart() -> None:
    assert [NAMES.coin(name) for name in ("XXBT", "XBT", "ZUSD", "XXDG", "XBT.F", "SOL.S", "NEW")] == [
        ("BTC", ""),
        ("BTC", ""),
        ("USD", ""),
        ("DOGE", ""),
        ("BTC", "F"),
        ("SOL", "S"),
        ("NEW", ""),
    ]


def test_the_published_pair_becomes_an_instrument() -> None:
    instrument = codec.decode_pair(BTC, PAIR)

    assert (instrument.base, instrument.currency, instrument.tradable) == ("BTC", "USD", True)
    assert (instrument.tick(D(30_000)), instrument.lot, instrument.min_qty, instrument.min_notional) == (D("0.1"), D("1e-8"), D("0.00005"), D("0.5"))
    bare = replace(PAIR, tick_size=None, ordermin=None, costmin=None, status=None)
    assert (codec.decode_pair(BTC, bare).tick(D(1)), codec.decode_pair(BTC, bare).min_qty) == (D("0.1"), 0)


@pytest.mark.parametrize("status", ["cancel_only", "post_only", "limit_only", "reduce_only", "delisted"])
def test_a_pair_that_is_not_online_takes_no_orders(status: str) -> None:
    assert not codec.decode_pair(BTC, replace(PAIR, status=status)).tradable


def test_a_pair_that_no_stream_carries_is_left_out() -> None:
    pairs = {"XXBTZUSD": PAIR, "XBTUSD.d": replace(PAIR, altname="XBTUSD.d", wsname="XBT/USD"), "ODD": replace(PAIR, altname="ODD", wsname=None)}

    assert codec.decode_names({}, pairs).keys == {BTC: "XXBTZUSD"}


def test_the_published_order_becomes_a_report() -> None:
    report = codec.decode_order(ORDER_ID, ROW, NAMES, NOW)

    assert (report.cl_ord_id, report.order_id, report.instrument) == ("45e5b5d4-1f3b-4c1a-9a5a-2b2f6a9c3d11", ORDER_ID, BTC)
    assert (report.side, report.ord_type, report.ord_status) == (Side.BUY, OrdType.LIMIT, OrdStatus.PARTIALLY_FILLED)
    assert (report.order_qty, report.price, report.stop_px, report.cum_qty) == (D("1.25"), D(30010), None, D("0.375"))
    assert (report.exec_type, report.transact_ns) == (ExecType.ORDER_STATUS, 1_688_666_559_897_400_000)


@pytest.mark.parametrize(
    ("status", "filled", "expected"),
    [
        ("pending", "0", OrdStatus.PENDING_NEW),
        ("open", "0", OrdStatus.NEW),
        ("closed", "1.25", OrdStatus.FILLED),
        ("closed", "1", OrdStatus.CANCELED),
        ("canceled", "1", OrdStatus.CANCELED),
        ("expired", "0", OrdStatus.EXPIRED),
    ],
)
def test_a_row_stands_as_its_status_and_its_volume_say(status: str, filled: str, expected: OrdStatus) -> None:
    assert codec.decode_order(ORDER_ID, replace(ROW, status=status, vol_exec=filled), NAMES, NOW).ord_status is expected


@pytest.mark.parametrize(
    ("descr", "expected"),
    [
        ({"ordertype": "market", "price": "0"}, (OrdType.MARKET, None, None, None, None)),
        ({"ordertype": "stop-loss", "price": "29000.0"}, (OrdType.STOP, None, D(29000), None, None)),
        ({"ordertype": "stop-loss-limit", "price": "29000.0", "price2": "28900.0"}, (OrdType.STOP_LIMIT, D(28900), D(29000), None, None)),
        ({"ordertype": "trailing-stop", "price": "+1.5000%"}, (OrdType.TRAILING_STOP, None, None, None, D("0.015"))),
        ({"ordertype": "trailing-stop", "price": "+100.0"}, (OrdType.TRAILING_STOP, None, None, D(100), None)),
        ({"ordertype": "take-profit", "price": "40000.0"}, (OrdType.STOP, None, D(40000), None, None)),
        ({"ordertype": "iceberg", "price": "30010.0"}, (OrdType.LIMIT, D(30010), None, None, None)),
    ],
)
def test_what_price_means_depends_on_the_type(descr: dict[str, str], expected: tuple[object, ...]) -> None:
    report = codec.decode_order(ORDER_ID, replace(ROW, descr=replace(ROW.descr, **descr)), NAMES, NOW)

    assert (report.ord_type, report.price, report.stop_px, report.trail_px, report.trail_pct) == expected


def test_an_amount_of_money_is_no_quantity() -> None:
    report = codec.decode_order(ORDER_ID, replace(ROW, oflags="fciq,viqc", vol="500.00000000", vol_exec="499.1"), NAMES, NOW)

    assert (report.order_qty, report.cash_order_qty, report.cum_qty) == (None, D(500), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "levitating"},
        {"vol": "many"},
        {"descr": replace(ROW.descr, ordertype="whim")},
        {"descr": replace(ROW.descr, type="borrow")},
        {"descr": replace(ROW.descr, pair="NOBODY")},
    ],
)
def test_a_word_that_nobody_knows_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        codec.decode_order(ORDER_ID, replace(ROW, **changes), NAMES, NOW)


def test_the_published_trade_is_joined_with_its_order() -> None:
    ((exec_id, fill),) = result("trades_history", wire.TradesHistory).trades.items()
    order = codec.decode_order(ORDER_ID, ROW, NAMES, NOW)
    report = codec.decode_fill(exec_id, fill, order, NAMES, fee_in_base=False, recv_ns=NOW)

    assert (report.exec_type, report.exec_id, report.cl_ord_id) == (ExecType.TRADE, "THVRQM-33VKH-UCI7BS", order.cl_ord_id)
    assert (report.last_qty, report.last_px, report.fee, report.fee_currency, report.cum_qty) == (D("0.02"), D(30010), 0, "USD", None)
    assert report.transact_ns == 1_688_667_796_880_200_000
    assert codec.decode_fill(exec_id, fill, order, NAMES, fee_in_base=True, recv_ns=NOW).fee_currency == BTC  # the position that paid it
    with pytest.raises(ProtocolError, match="another pair or side"):
        codec.decode_fill(exec_id, replace(fill, type="sell"), order, NAMES, fee_in_base=False, recv_ns=NOW)


# -- what is sent --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ord_type": OrdType.MARKET}, {"ordertype": "market"}),
        ({"ord_type": OrdType.LIMIT, "price": D("99.99")}, {"ordertype": "limit", "price": "99.99", "timeinforce": "GTC"}),
        (
            {"ord_type": OrdType.LIMIT, "price": D("99.99"), "time_in_force": TimeInForce.FOK},
            {"ordertype": "limit", "price": "99.99", "timeinforce": "FOK"},
        ),
        ({"ord_type": OrdType.STOP, "stop_px": D("101")}, {"ordertype": "stop-loss", "price": "101", "timeinforce": "GTC"}),
        (
            {"ord_type": OrdType.STOP_LIMIT, "stop_px": D("101"), "price": D("102")},
            {"ordertype": "stop-loss-limit", "price": "101", "price2": "102", "timeinforce": "GTC"},
        ),
        ({"ord_type": OrdType.TRAILING_STOP, "trail_pct": D("0.015")}, {"ordertype": "trailing-stop", "price": "+1.5%", "timeinforce": "GTC"}),
        ({"ord_type": OrdType.TRAILING_STOP, "trail_px": D("3")}, {"ordertype": "trailing-stop", "price": "+3", "timeinforce": "GTC"}),
    ],
)
def test_an_order_leaves_in_krakens_words(changes: dict[str, Any], expected: dict[str, str]) -> None:
    sent = asked(**changes)
    common = {"type": "buy", "pair": "XBTUSD", "cl_ord_id": sent.cl_ord_id, "oflags": "fciq", "volume": "10"}

    assert codec.encode_order(sent, PAIR) == common | expected
    assert len(sent.cl_ord_id) <= 18


def test_money_buys_and_does_not_sell() -> None:
    sent = asked(ord_type=OrdType.MARKET, order_qty=None, cash_order_qty=D("500.123456"))

    assert codec.encode_order(sent, PAIR) | {"cl_ord_id": ""} == {
        "ordertype": "market",
        "type": "buy",
        "pair": "XBTUSD",
        "cl_ord_id": "",
        "oflags": "fciq,viqc",
        "volume": "500.12345",
    }
    selling = replace(sent, request=replace(sent.request, side=Side.SELL))
    with pytest.raises(Rejected, match="units"):
        codec.encode_order(selling, PAIR)


def test_a_change_names_krakens_id_and_the_whole_of_what_shall_be() -> None:
    first = asked(ord_type=OrdType.LIMIT, price=D("99.99"))
    change = replace(first, orig_order_id="OAAAAA-BBBBB-CCCCCC", orig_cl_ord_id="q1before")

    assert codec.encode_amend(change) == {"txid": "OAAAAA-BBBBB-CCCCCC", "order_qty": "10", "limit_price": "99.99"}
    trailing = replace(change, request=replace(change.request, ord_type=OrdType.TRAILING_STOP, price=None, trail_px=D(1)))
    with pytest.raises(Rejected, match="distance"):
        codec.encode_amend(trailing)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"ordertype": "limit", "price": "27.5", "timeinforce": "IOC"}, {"limit_price": D("27.5"), "time_in_force": "ioc"}),
        (
            {"ordertype": "stop-loss-limit", "price": "27", "price2": "26.8"},
            {"limit_price": D("26.8"), "triggers": {"reference": "last", "price": D(27), "price_type": "static"}},
        ),
        ({"ordertype": "trailing-stop", "price": "+1.5%"}, {"triggers": {"reference": "last", "price": D("1.5"), "price_type": "pct"}}),
        ({"ordertype": "trailing-stop", "price": "+3"}, {"triggers": {"reference": "last", "price": D(3), "price_type": "quote"}}),
    ],
)
def test_the_stream_has_words_of_its_own_for_the_same_order(form: dict[str, str], expected: dict[str, object]) -> None:
    common = {"type": "buy", "volume": "1", "oflags": "fciq", "cl_ord_id": "a", "deadline": "2026-01-01T00:00:00.000Z"}
    params = codec.encode_add_params(common | form, "BTC/USD")

    assert {name: params[name] for name in expected} == expected
    assert (params["order_qty"], params["symbol"], params["side"], params["deadline"]) == (D(1), "BTC/USD", "buy", "2026-01-01T00:00:00.000Z")


def test_small_numbers_leave_as_numbers_that_keep_every_digit() -> None:
    frame = auth.method("add_order", 11, Secret("token123"), {"order_qty": D("0.00001000")})

    assert frame == '{"method":"add_order","params":{"order_qty":0.00001000,"token":"token123"},"req_id":11}'


JSON_BODY = b'{"nonce":"1616492376594","ordertype":"limit","pair":"XBTUSD","price":"37500","type":"buy","volume":"1.25"}'
TEST_SECRET = "cHl0aG9uLWtyYWtlbi1zZGsgdW5pdC10ZXN0IHNlY3JldCB2YWx1ZQ=="


@pytest.mark.parametrize(
    ("secret", "body", "signature"),
    [
        (auth.SAMPLE_SECRET, JSON_BODY, "r/o+GpKxXjV/mls/r5CKLu5R+yzK5psqvQ4hXxMX1nzdxTBhV+ui82QGgPZMMitpFwCOAdPEZMmXgZxD2chJEg=="),
        (
            TEST_SECRET,
            b"nonce=1616492376594&ordertype=limit&pair=XBTUSD",
            "Fo+0Uhanvs3F1byZFCjVBMLsCcRE2xLQMDpoA3Q9hawoZ0ZL35AmbknAQBlOIs4baRx9UGhzQH+/CTl9qnyp1w==",
        ),
    ],
)
def test_signatures_are_those_that_others_published(secret: str, body: bytes, signature: str) -> None:
    signed = auth.sign(Request(method="POST", url=auth.SAMPLE.url, body=body), Secret("key"), Secret(secret), 1616492376594)

    assert signed.headers["API-Sign"] == signature


def test_a_secret_that_is_no_secret_is_told_without_being_shown() -> None:
    with pytest.raises(AuthFailed, match="base64") as caught:
        auth.sign(auth.SAMPLE, Secret("key"), Secret("not base64!"), 1)
    assert "not base64!" not in str(caught.value)


# -- account and money ---------------------------------------------------------------------------------------------------------


def account(balances: dict[str, wire.BalanceEx], system: str = "online") -> AccountSnapshot:
    info = result("key_info", wire.KeyInfo)
    return codec.decode_account(info, balances, {BTC: D(30_000)}, NAMES, "live", system, NOW)


def test_the_published_balances_become_an_account() -> None:
    snapshot = account(result("balance_ex", dict[str, wire.BalanceEx]))
    (position,) = snapshot.positions

    assert (snapshot.account, snapshot.currency) == ("AA88N84GWOAKNMOI", "USD")
    assert (snapshot.cash, snapshot.buying_power, snapshot.equity) == (D("25435.21"), D("17185.45"), D("62740.21"))
    assert codec.decode_worth(result("trade_balance", wire.TradeBalance)) == D("1091.3193")  # eb + n
    assert (position.instrument, position.qty, position.mark_px) == (BTC, D("1.2435"), D(30_000))
    assert snapshot.tradable


def test_what_earns_rewards_can_be_sold_and_what_is_staked_cannot() -> None:
    held = {"XXBT": "1", "XBT.F": "0.5", "XBT.M": "7", "ZUSD": "10", "NOPAIR": "3"}
    snapshot = account({name: wire.BalanceEx(balance=total) for name, total in held.items()})

    assert [(position.instrument, position.qty) for position in snapshot.positions] == [(BTC, D("1.5"))]


def test_a_kraken_that_takes_no_orders_is_no_tradable_account() -> None:
    snapshot = account({}, system="cancel_only")

    assert (snapshot.tradable, "cancel_only" in snapshot.text) == (False, True)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"type": "deposit", "asset": "ZUSD", "amount": "100", "fee": "1"}, (FlowKind.TRANSFER, D(99), None, 0)),
        ({"type": "withdrawal", "asset": "XXBT", "amount": "-1", "fee": "0.1"}, (FlowKind.TRANSFER, 0, BTC, D("-1.1"))),
        ({"type": "staking", "asset": "XXBT", "amount": "0.01"}, (FlowKind.TRANSFER, 0, BTC, D("0.01"))),
        ({"type": "staking", "asset": "XBT.S", "amount": "0.01"}, (FlowKind.TRANSFER, 0, BTC, 0)),
        ({"type": "rollover", "asset": "ZUSD", "amount": "0", "fee": "0.3"}, (FlowKind.FEE, D("-0.3"), None, 0)),
        ({"type": "dividend", "asset": "ZUSD", "amount": "3"}, (FlowKind.INCOME, D(3), None, 0)),
        ({"type": "invented", "asset": "ZUSD", "amount": "-2"}, (FlowKind.UNKNOWN, D(-2), None, 0)),
    ],
)
def test_a_ledger_entry_says_what_moved(changes: dict[str, str], expected: tuple[object, ...]) -> None:
    entry = wire.LedgerEntry(refid="R", time=D("1688464484.1787"), **changes)
    flow = codec.decode_flow("LAAAAA", entry, NAMES)

    assert (flow.kind, flow.amount, flow.instrument, flow.qty) == expected
    assert (flow.flow_id, flow.currency, flow.transact_ns) == ("LAAAAA", "USD", 1_688_464_484_178_700_000)


# -- market data ---------------------------------------------------------------------------------------------------------------


def test_the_published_prices_are_read_to_the_digit() -> None:
    ticker = result("ticker", dict[str, wire.Ticker])["XXBTZUSD"]
    price = codec.decode_quote(ticker, BTC, NOW, NOW - 1)
    trade, bar = _first_trade(), _first_bar()

    assert (price.bid_px, price.ask_px, price.bid_qty, price.transact_ns) == (D(30300), D("30300.1"), D(1), NOW - 1)
    assert codec.decode_mark(ticker) == D("30300.05")
    assert (trade.price, trade.qty, trade.trade_id, trade.transact_ns) == (D("30243.4"), D("0.34507674"), "61044952", 1_688_669_597_827_747_000)
    assert (bar.open_ns, bar.open, bar.high, bar.low, bar.close) == (1_688_671_200 * SECOND, D("30306.1"), D("30306.2"), D("30305.7"), D("30305.7"))
    assert (bar.vwap, bar.volume) == (D("30306.1"), D("3.39243896"))


def _first_trade() -> Any:
    rows = msgspec.json.decode(result("trades", dict[str, msgspec.Raw])["XXBTZUSD"], type=list[wire.TradeRow])
    return codec.decode_print(rows[0], BTC, NOW)


def _first_bar() -> Any:
    rows = msgspec.json.decode(result("ohlc", dict[str, msgspec.Raw])["XXBTZUSD"], type=list[wire.OhlcRow])
    return codec.decode_row(rows[0], BTC, 60 * SECOND)


def data(name: str, **kinds: bool) -> Any:
    session = DataSession(URL, (BTC,), Kinds(**kinds))
    session.on_open(NOW)
    return session.on_frame(raw(name), NOW)


def test_the_streams_prices_are_read_to_the_digit() -> None:
    (price,) = data("stream_ticker").events
    (trade,) = data("stream_trade").events

    assert (price.instrument, price.bid_px, price.bid_qty, price.ask_qty) == (BTC, D("108359.8"), D("0.01362603"), D("17.17988863"))
    assert (trade.instrument, trade.price, trade.qty, trade.trade_id) == ("MATIC/USD", D("0.5117"), D(40), "4665906")


def test_a_bar_is_over_when_the_next_one_begins() -> None:
    session = DataSession(URL, (BTC,), Kinds(quotes=False, bars=True))
    session.on_open(NOW)
    later = raw("stream_ohlc").replace(b"16:25:00.000000000", b"16:30:00.000000000")
    steps = [session.on_frame(frame, NOW) for frame in (raw("stream_ohlc"), raw("stream_ohlc"), later)]

    assert [len(step.events) for step in steps] == [0, 0, 1]
    bar: Any = steps[2].events[0]
    assert (bar.instrument, bar.open, bar.volume, bar.period_ns) == ("MATIC/USD", D("0.5624"), D("30927.68066226"), 300 * SECOND)


def test_a_data_stream_is_up_when_every_pair_is_acknowledged() -> None:
    session = DataSession(URL, (BTC, InstrumentID("ETH/USD")), Kinds(trades=True))
    sent = [json.loads(frame) for frame in session.on_open(NOW).send]
    acks = [
        json.dumps({"method": "subscribe", "success": True, "result": {"channel": channel, "symbol": symbol}, "req_id": 1}).encode()
        for channel in ("ticker", "trade")
        for symbol in ("BTC/USD", "ETH/USD")
    ]

    assert [frame["params"]["channel"] for frame in sent] == ["ticker", "trade"]
    assert [session.on_frame(ack, NOW).ready for ack in acks] == [False, False, False, True]
    with pytest.raises(StreamRefused, match="FOO/BAR"):
        session.on_frame(raw("stream_refused"), NOW)


# -- books ---------------------------------------------------------------------------------------------------------------------


def books(name: str = "stream_book") -> tuple[BookSession, Any]:
    session = BookSession(URL, {BTC: PAIR}, 10)
    session.on_open(NOW)
    return session, session.on_frame(raw(name), NOW)


def test_the_published_book_adds_up_to_its_checksum() -> None:
    _, step = books()
    (shown,) = step.events

    assert isinstance(shown, BookSnapshot)
    assert (shown.bids[0], shown.asks[0], len(shown.bids)) == ((D("45283.5"), D("0.1")), (D("45285.2"), D("0.001")), 10)
    assert step.ready


def changed_book(checksum: int, kind: str = "update") -> bytes:
    level = {"price": 45285.2, "qty": 0.002}
    message = {"symbol": "BTC/USD", "bids": [], "asks": [level], "checksum": checksum, "timestamp": "2023-10-06T17:35:56.440295Z"}
    return json.dumps({"channel": "book", "type": kind, "data": [message]}).encode()


def test_a_book_that_does_not_add_up_is_asked_for_again_and_not_shown() -> None:
    session, _ = books()
    wrong = session.on_frame(changed_book(1), NOW)
    late = session.on_frame(changed_book(2), NOW)
    again = session.on_frame(raw("stream_book"), NOW)

    assert wrong.events == (Doubtful(BTC),)
    assert [json.loads(frame)["method"] for frame in wrong.send] == ["unsubscribe", "subscribe"]
    assert all(json.loads(frame)["params"] == {"channel": "book", "symbol": ["BTC/USD"], "depth": 10} for frame in wrong.send)
    assert (late.events, again.events[0]) == ((), Sound(BTC))
    assert isinstance(again.events[1], BookSnapshot)


def test_a_change_that_adds_up_is_shown() -> None:
    session, _ = books()
    (published,) = json.loads(raw("stream_book"), parse_float=str)["data"]
    published["asks"][0]["qty"] = "0.00200000"
    text = "".join(level[name].replace(".", "").lstrip("0") for side in ("asks", "bids") for level in published[side] for name in ("price", "qty"))
    (shown,) = session.on_frame(changed_book(zlib.crc32(text.encode())), NOW).events

    assert isinstance(shown, BookSnapshot)
    assert shown.asks[0] == (D("45285.2"), D("0.002"))


# -- the account's stream --------------------------------------------------------------------------------------------------------


def private() -> PrivateSession:
    session = PrivateSession(URL)
    session.token = Secret("token123")
    session.on_open(NOW)
    return session


def test_the_subscription_is_the_login() -> None:
    session = PrivateSession(URL)
    session.token = Secret("token123")
    sent = [json.loads(frame)["params"] for frame in session.on_open(NOW).send]
    ack = json.dumps({"method": "subscribe", "req_id": 1, "success": True, "result": {"channel": "executions"}}).encode()

    assert [(params["channel"], params["token"]) for params in sent] == [("executions", "token123"), ("balances", "token123")]
    assert (sent[0]["snap_orders"], sent[0]["snap_trades"]) == (True, False)
    assert not session.on_frame(ack, NOW).ready
    assert session.on_frame(ack.replace(b"executions", b"balances"), NOW).ready


def test_the_published_executions_tell_one_orders_life() -> None:
    session = private()
    reports = [
        codec.decode_execution(entry, NOW)
        for name in ("stream_pending_new", "stream_new", "stream_execution", "stream_canceled")
        for entry in session.on_frame(raw(name), NOW).events
        if isinstance(entry, wire.Execution)
    ]

    assert [report.exec_type for report in reports] == [ExecType.PENDING_NEW, ExecType.NEW, ExecType.TRADE, ExecType.CANCELED]
    assert {(report.instrument, report.side, report.order_qty, report.price) for report in reports} == {(BTC, Side.SELL, D("0.005"), D(26500))}
    trade = reports[2]
    assert (trade.exec_id, trade.last_qty, trade.last_px, trade.fee, trade.fee_currency) == (
        "TGBB7L-HT5LX-J3BZ4A",
        D("0.005"),
        D("26599.9"),
        D("0.3458"),
        "USD",
    )
    assert trade.ord_status is OrdStatus.PARTIALLY_FILLED  # although it completes its order
    assert (reports[3].exec_id, reports[3].text) == (None, "User requested")


def test_a_fee_in_the_coin_names_the_position_that_paid() -> None:
    body = raw("stream_execution").replace(b'{"asset":"USD","qty":0.3458}', b'{"asset":"BTC","qty":5e-05}')
    (entry,) = private().on_frame(body, NOW).events

    assert isinstance(entry, wire.Execution)
    report = codec.decode_execution(entry, NOW)
    assert (report.fee, report.fee_currency) == (D("0.00005"), BTC)
    with pytest.raises(ProtocolError, match="not the pair's"):
        codec.decode_execution(replace(entry, fees=[wire.ExecutionFee(asset="KFEE", qty=D(1))]), NOW)


def test_a_hole_in_the_numbers_begins_the_channel_anew_and_a_repetition_is_nothing_new() -> None:
    session = private()
    session.on_frame(raw("stream_pending_new"), NOW)
    assert session.on_frame(raw("stream_pending_new"), NOW).events == ()
    step = session.on_frame(raw("stream_execution"), NOW)
    assert [type(event) for event in step.events] == [Hole, wire.Execution]  # told first: what came is not lost, but may take its time
    assert [json.loads(frame)["method"] for frame in step.send] == ["unsubscribe", "subscribe"]
    assert [type(event) for event in session.on_frame(raw("stream_canceled"), NOW).events] == [wire.Execution]
    again = b'{"channel":"executions","type":"snapshot","data":[],"sequence":1}'

    assert session.on_frame(again, NOW).events == (Whole(),)
    assert session.on_frame(raw("stream_new").replace(b'"sequence":9', b'"sequence":2'), NOW).events


def test_a_channel_that_does_not_begin_anew_breaks_the_line() -> None:
    for frame, later_ns in ((raw("stream_status"), 4 * SECOND), (raw("stream_new").replace(b'"sequence":9', b'"sequence":2'), 0)):
        session = private()
        session.on_frame(raw("stream_pending_new"), NOW)
        session.on_frame(raw("stream_execution"), NOW)
        with pytest.raises(Broken):
            session.on_frame(frame, NOW + later_ns)


def test_money_that_no_trade_moved_is_told_and_trades_are_not_told_twice() -> None:
    session = private()
    first = session.on_frame(raw("stream_balances"), NOW)
    (moved,) = session.on_frame(raw("stream_balance_change"), NOW).events
    trade = raw("stream_balance_change").replace(b'"deposit"', b'"trade"').replace(b'"sequence":2', b'"sequence":3')

    assert first.events == ()
    assert isinstance(moved, Moved)
    assert (moved.change.asset, moved.change.amount) == ("BTC", D("0.005"))
    assert session.on_frame(trade, NOW).events == ()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("EGeneral:Permission denied", StreamRefused),
        ("ESession:Invalid session", Broken),
        ("EService:Unavailable", Broken),
        ("EWhim:Unheard of", ProtocolError),
    ],
)
def test_a_subscription_that_is_refused_says_whether_to_try_again(error: str, kind: type[Exception]) -> None:
    body = json.dumps({"method": "subscribe", "req_id": 1, "success": False, "error": error}).encode()

    with pytest.raises(kind):
        private().on_frame(body, NOW)


@pytest.mark.parametrize("name", ["stream_status", "stream_pong"])
def test_signs_of_life_are_no_events(name: str) -> None:
    for session in (private(), DataSession(URL, (BTC,), Kinds()), BookSession(URL, {BTC: PAIR}, 10)):
        step = session.on_frame(raw(name), NOW)

        assert (step.events, step.alive) == ((), True)


# -- refusals --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ERRORS)
def test_every_refusal_says_what_became_of_an_order_and_of_a_question(error: str) -> None:
    order, question = refusal((error,), changes=True), refusal((error,), changes=False)

    expected = {
        Meaning.REFUSED: (Rejected, BadRequest),
        Meaning.MISSING: (InDoubt, BadRequest),
        Meaning.NONCE: (Rejected, Unavailable),
        Meaning.KEY: (AuthFailed, AuthFailed),
        Meaning.PERMISSION: (AuthFailed, AuthFailed),
        Meaning.LOCKOUT: (AuthFailed, AuthFailed),
        Meaning.BUDGET: (Rejected, RateLimited),
        Meaning.FAILED: (InDoubt, Unavailable),
    }
    assert (type(order), type(question)) == expected[ERRORS[error]]


def test_what_nobody_listed_is_in_doubt_and_so_is_a_client_id_that_is_taken() -> None:
    assert type(refusal(("EWhim:Unheard of",), changes=True)) is InDoubt
    assert type(refusal(("EWhim:Unheard of",), changes=False)) is ProtocolError
    assert type(refusal(("EGeneral:Invalid arguments:cl_ord_id",), changes=True)) is InDoubt
    assert type(refusal(("EGeneral:Invalid arguments:volume",), changes=True)) is Rejected
    (published,) = msgspec.json.decode(raw("error_funds"), type=wire.Envelope).error
    assert type(refusal((published,), changes=True)) is Rejected


@pytest.mark.parametrize("status", [403, 429, 502, 503, 520, 526])
def test_the_edge_knows_nothing_of_an_order(status: int) -> None:
    answer = Response(status=status, headers={}, body=b"<html>")

    assert type(edge(answer, changes=True)) is InDoubt
    assert isinstance(edge(answer, changes=False), Unavailable)


def test_the_catalogue_of_error_codes_is_in_the_table() -> None:
    import yaml  # type: ignore[import-untyped]

    path = Path(__file__).parents[4] / "shared" / "specs" / "kraken" / "kraken-error-codes.yml"
    if not path.exists():
        pytest.skip("../shared is not beside this checkout")
    codes = [row["code"] for row in yaml.safe_load(path.read_text())["errors"]]

    unlisted = [code for code in codes if not code.startswith("EFunding") and type(refusal((code,), changes=False)) is ProtocolError]
    assert unlisted == []


# -- counters --------------------------------------------------------------------------------------------------------------------


def test_a_counter_falls_by_itself_and_keeps_a_reserve_for_what_is_urgent() -> None:
    counter = Counter(20, D("0.5"))
    for _ in range(14):
        assert counter.wait_ns(0, 1) == 0
        counter.take(0, 1)

    assert counter.wait_ns(0, 1) == 2 * SECOND  # one point, at half a point a second
    assert counter.wait_ns(0, 6, urgent=True) == 0
    assert counter.wait_ns(2 * SECOND, 1) == 0
    counter.full(2 * SECOND)
    assert counter.wait_ns(2 * SECOND, 1, urgent=True) == 8 * SECOND  # what was refused is counted too
