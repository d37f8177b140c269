"""The codec against messages that were recorded at OANDA, its refusals, and what it sends."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.factories import D, approved, coin, quote, wish
from trading_system.brokers.oanda import auth, codec, wire
from trading_system.brokers.oanda.errors import ENDS, REASONS, Meaning, is_missing, refusal
from trading_system.brokers.oanda.facts import FACTS
from trading_system.brokers.oanda.session import Behind, PricesSession, TransactionsSession
from trading_system.core.risk import Limits
from trading_system.domain.account import FlowKind
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import is_open
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ZERO
from trading_system.domain.order import Approved, Attached
from trading_system.domain.times import parse_rfc3339
from trading_system.settings.secret import Secret
from trading_system.transport.message import Response
from trading_system.transport.session import StreamRefused

GOLDEN = Path(__file__).parent / "golden"
SPEC = Path(__file__).parents[4] / "shared" / "specs" / "oanda" / "v20.openapi.json"
EUR = InstrumentID("EUR/USD")
WIDE = Limits(max_position_pct=D(1))
ID = "101-004-1435156-001"


def golden(name: str, kind: Any) -> Any:
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes(), type=kind)


def asked(**changes: Any) -> Approved:
    """An approved order on EUR/USD."""
    fields: dict[str, Any] = {"broker": FACTS.broker, "instrument": EUR, "time_in_force": TimeInForce.GTC}
    entry = golden("instruments", wire.Instruments).instruments[1]
    pair = codec.decode_instrument(entry, codec.forex_hours(0))
    assert pair is not None
    known = coin(broker=FACTS.broker, id=EUR, symbol="EUR_USD", asset_class=AssetClass.FOREX, ticks=pair.ticks, lot=pair.lot, whole_lot=pair.lot)
    known = replace(known, min_qty=pair.min_qty, min_notional=ZERO)
    return approved(wish(**(fields | changes)), instrument=known, quote=quote("1.09998", "1.10002", EUR), facts=FACTS, limits=WIDE)


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def test_units_say_the_side_and_the_client_id_goes_along() -> None:
    limit = codec.encode_order(asked(qty="100", ord_type=OrdType.LIMIT, price=D("1.09500"))).order
    market = codec.encode_order(asked(qty="7", time_in_force=TimeInForce.FOK)).order

    assert (limit.type, limit.instrument, limit.units, limit.price, limit.timeInForce) == ("LIMIT", "EUR_USD", "100", "1.095", "GTC")
    assert limit.clientExtensions == wire.Extensions(id="q1" + "a" * 16)
    assert (market.type, market.units, market.price, market.timeInForce, market.positionFill) == ("MARKET", "7", "", "FOK", "REDUCE_FIRST")
    assert market.tradeClientExtensions is None


def test_exits_go_with_the_order_and_name_it_in_the_trade() -> None:
    request = asked(qty="100", ord_type=OrdType.LIMIT, price=D("1.1"), attached=Attached(take_profit_px=D("1.12"), stop_px=D("1.08")))
    order = codec.encode_order(request).order
    limited = replace(request, request=replace(request.request, attached=Attached(stop_px=D("1.08"), stop_limit_px=D("1.07"))))

    assert (order.takeProfitOnFill, order.stopLossOnFill) == (
        wire.OnFill(price="1.12", timeInForce="GTC"),
        wire.OnFill(price="1.08", timeInForce="GTC"),
    )
    assert order.tradeClientExtensions == wire.Extensions(tag=request.cl_ord_id)
    with pytest.raises(Rejected, match="market orders"):
        codec.encode_order(limited)


def test_an_exit_only_reduces() -> None:
    request = asked(qty="7", ord_type=OrdType.STOP, stop_px=D("1.12"))
    closing = replace(request, request=replace(request.request, reduce_only=True, side=Side.SELL))

    assert codec.encode_order(closing).order.positionFill == "REDUCE_ONLY"
    assert (codec.encode_order(closing).order.units, codec.encode_order(closing).order.price) == ("-7", "1.12")


def test_the_recorded_orders_are_read_in_both_spellings_of_their_words() -> None:
    (pending,) = golden("orders_pending", wire.Orders).orders
    report = codec.decode_order(pending, None, 1)

    assert (report.order_id, report.cl_ord_id, report.instrument, report.side) == ("2304", "myID", EUR, Side.SELL)
    assert (report.ord_status, report.order_qty, report.cum_qty, report.price) == (OrdStatus.NEW, D(100), ZERO, D("1.2"))
    assert codec.decode_order(golden("order", wire.OrderAnswer).order, None, 1).order_id == "2309"


def test_a_fill_that_was_recorded_is_one_execution_and_knows_its_trade() -> None:
    placed = golden("order_filled", wire.Placed)
    created = codec.decode_created(placed.orderCreateTransaction, None, 1)
    fill = codec.decode_fill(placed.orderFillTransaction, created, "EUR", 1)
    trade = codec.trade_of(placed.orderFillTransaction)
    assert trade is not None

    assert (created.exec_type, created.ord_status, created.ord_type, created.time_in_force) == (
        ExecType.NEW,
        OrdStatus.NEW,
        OrdType.MARKET,
        TimeInForce.FOK,
    )
    assert (fill.exec_id, fill.order_id, fill.last_qty, fill.last_px) == ("7579", "7578", D(10000), D("1.05563"))
    assert (fill.ord_status, fill.cum_qty, fill.fee) == (OrdStatus.FILLED, D(10000), ZERO)
    assert (trade.id, trade.currentUnits, trade.price) == ("7579", "10000", "1.05563")


def test_an_order_that_was_cancelled_as_it_was_made_was_refused() -> None:
    placed = golden("order_refused", wire.Placed)
    row = codec.row_of(placed.orderCreateTransaction)
    created = codec.decode_created(placed.orderCreateTransaction, None, 1)
    ended = codec.decode_cancel(placed.orderCancelTransaction, row, created, 1, filled=False)
    later = replace(placed.orderCancelTransaction, time="2017-03-10T00:00:00.000000000Z")

    assert (ended.ord_status, ended.text) == (OrdStatus.REJECTED, "STOP_LOSS_ON_FILL_LOSS")
    assert codec.decode_cancel(later, row, created, 1, filled=False).ord_status is OrdStatus.CANCELED
    assert codec.decode_cancel(placed.orderCancelTransaction, row, created, 1, filled=True).ord_status is OrdStatus.CANCELED


def test_a_replace_that_was_recorded_is_two_transactions() -> None:
    placed = golden("order_replaced", wire.Placed)
    old = replace(codec.row_of(placed.orderCreateTransaction), id="2304", createTime="2016-10-24T21:48:18.593753865Z")
    gone = codec.decode_cancel(placed.orderCancelTransaction, old, codec.decode_order(old, None, 1), 1, filled=False)
    new = codec.decode_created(placed.orderCreateTransaction, None, 1)

    assert (gone.exec_type, gone.ord_status, gone.replaced_by) == (ExecType.REPLACED, OrdStatus.REPLACED, "2307")
    assert (new.order_id, new.replaces, new.order_qty) == ("2307", "2304", D(500000))


def test_a_trades_own_order_closes_what_is_left_of_it() -> None:
    trade = wire.Trade(
        id="7",
        instrument="EUR_USD",
        price="1.1",
        state="OPEN",
        initialUnits="10",
        currentUnits="4",
        clientExtensions=wire.Extensions(tag="q1" + "a" * 16),
    )
    row = wire.Order(
        id="8", createTime="2016-10-24T21:48:18.593753865Z", type="STOP_LOSS", state="PENDING", tradeID="7", price="1.05", timeInForce="GTC"
    )
    report = codec.decode_order(row, trade, 1)

    assert (report.instrument, report.side, report.order_qty, report.ord_type, report.stop_px) == (EUR, Side.SELL, D(4), OrdType.STOP, D("1.05"))
    assert report.parent == "q1" + "a" * 16
    assert codec.decode_order(replace(row, type="TRAILING_STOP_LOSS", price="", distance="0.01"), trade, 1).trail_px == D("0.01")


def test_words_that_nobody_knows_are_refused() -> None:
    row = golden("order", wire.OrderAnswer).order
    fill = golden("order_filled", wire.Placed).orderFillTransaction
    for wrong in ({"state": "LEVITATING"}, {"type": "LEVITATE"}, {"timeInForce": "SOON"}, {"units": "0"}, {"units": "many"}, {"createTime": "then"}):
        with pytest.raises(ProtocolError):
            codec.decode_order(replace(row, **wrong), None, 1)
    for wrong in ({"reason": "WHIM"}, {"units": "0"}, {"price": ""}, {"price": "0"}, {"instrument": "?"}, {"orderID": ""}):
        with pytest.raises(ProtocolError):
            codec.decode_fill(replace(fill, **wrong), None, "USD", 1)
    with pytest.raises(ProtocolError, match="another instrument or side"):
        codec.decode_fill(replace(fill, units="-10000"), codec.decode_order(replace(row, units="100"), None, 1), "USD", 1)


# -- account ---------------------------------------------------------------------------------------------------------------------------------------


def test_the_recorded_account_is_what_it_is_worth() -> None:
    """In euros, short of an index that is quoted in them: what the shorts brought is not the account's own."""
    account = golden("account", wire.AccountAnswer).account
    snapshot = codec.decode_account(account, wire.Prices(prices=()), "paper", 1)
    (short,) = snapshot.positions

    assert (snapshot.account, snapshot.currency, snapshot.equity) == (ID, "EUR", D("49377.6580"))
    assert (short.instrument, short.qty, short.avg_px) == ("DE30/EUR", D(-20), D("9984.7"))
    assert snapshot.cash == D(account.balance) + 20 * D("9984.7")
    assert (short.mark_px, short.unrealized_pnl) == (None, 0)


def test_money_in_another_currency_is_a_balance_of_its_own_with_a_rate() -> None:
    trade = wire.Trade(id="7", instrument="USD_JPY", price="150.000", state="OPEN", initialUnits="1000", currentUnits="1000", unrealizedPL="6.6667")
    account = replace(golden("account", wire.AccountAnswer).account, currency="USD", balance="1000.0000", NAV="1006.6667", trades=[trade])
    rate = wire.Conversion(currency="JPY", positionValue="0.00666667")
    price = wire.Price(
        instrument="USD_JPY", time="2016-10-05T05:28:16.729643492Z", bids=[wire.Bucket(price="150.99")], asks=[wire.Bucket(price="151.01")]
    )
    snapshot = codec.decode_account(account, wire.Prices(prices=[price], homeConversions=[rate]), "paper", 1)
    (position,) = snapshot.positions
    assert position.mark_px is not None

    assert (snapshot.moneys, snapshot.rates) == ({"USD": D(1000), "JPY": D(-150000)}, {"JPY": D("0.00666667")})
    assert (position.mark_px, position.avg_px) == (151, 150)
    assert position.unrealized_pnl == 1000  # yen, as its prices: OANDA says 6.6667 dollars
    assert abs(snapshot.cash + position.qty * position.mark_px * snapshot.rates["JPY"] - snapshot.equity) < D("0.01")
    with pytest.raises(ProtocolError, match="no rate of JPY"):
        codec.decode_account(account, wire.Prices(prices=[price]), "paper", 1)


def test_what_a_hedged_position_makes_is_what_its_halves_make() -> None:
    """More is paid for one half than the other brought: no average price says that."""
    halves = [
        wire.Trade(id="7", instrument="USD_JPY", price="150.000", state="OPEN", initialUnits="1000", currentUnits="1000"),
        wire.Trade(id="8", instrument="USD_JPY", price="160.000", state="OPEN", initialUnits="-950", currentUnits="-950"),
    ]
    account = replace(golden("account", wire.AccountAnswer).account, currency="JPY", balance="100000", NAV="109450", trades=halves)
    price = wire.Price(
        instrument="USD_JPY", time="2016-10-05T05:28:16.729643492Z", bids=[wire.Bucket(price="150.99")], asks=[wire.Bucket(price="151.01")]
    )
    (position,) = codec.decode_account(account, wire.Prices(prices=[price]), "paper", 1).positions

    assert (position.qty, position.unrealized_pnl) == (50, 1000 * 1 + 950 * 9)


def test_what_a_trade_made_is_changed_into_the_accounts_money() -> None:
    fill = wire.Transaction(
        id="9", time="2016-10-28T15:11:58.023004583Z", type="ORDER_FILL", instrument="USD_JPY", units="-1000", price="151.000", pl="6.6225",
        financing="-0.2500", reason="MARKET_ORDER", orderID="8", tradesClosed=[wire.TradeChange(tradeID="7", units="-1000")],
    )  # fmt: skip
    flows = codec.decode_flows(fill, {"7": D("150.000")}, "USD")

    assert [(flow.flow_id, flow.kind, flow.currency, flow.amount) for flow in flows] == [
        ("9:financing", FlowKind.FEE, "USD", D("-0.25")),
        ("9:out", FlowKind.FEE, "JPY", D(-1000)),
        ("9:in", FlowKind.INCOME, "USD", D("6.6225")),
    ]
    assert codec.decode_flows(replace(fill, instrument="EUR_USD", financing=""), {}, "USD") == ()


def test_flows_are_what_no_fill_tells() -> None:
    at = "2016-10-28T15:11:58.023004583Z"
    paid = codec.decode_flows(wire.Transaction(id="1", time=at, type="TRANSFER_FUNDS", amount="-50.0000", fundingReason="CLIENT_FUNDING"), {}, "EUR")
    interest = codec.decode_flows(wire.Transaction(id="2", time=at, type="DAILY_FINANCING", financing="-1.0000"), {}, "EUR")
    new = codec.decode_flows(wire.Transaction(id="3", time=at, type="DIVIDEND_ADJUSTMENT"), {}, "EUR")

    assert [(flow.kind, flow.amount) for flow in (*paid, *interest, *new)] == [
        (FlowKind.TRANSFER, D(-50)),
        (FlowKind.FEE, D(-1)),
        (FlowKind.UNKNOWN, ZERO),
    ]
    known = golden("transactions_since", wire.Transactions).transactions
    assert [flow for entry in known for flow in codec.decode_flows(entry, {}, "EUR")] == []


def test_instruments_have_the_grids_that_they_state_and_other_kinds_are_left_out() -> None:
    found = {entry.name: codec.decode_instrument(entry, codec.forex_hours(0)) for entry in golden("instruments", wire.Instruments).instruments}
    euro = found["EUR_USD"]
    assert euro is not None

    assert (euro.id, euro.asset_class, euro.base, euro.currency) == (EUR, AssetClass.FOREX, "EUR", "USD")
    assert (euro.tick(D(1)), euro.lot, euro.min_qty, euro.shortable) == (D("0.00001"), D(1), D(1), True)
    assert not euro.asset_class.is_crypto
    assert found["EU50_EUR"] is None


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-09-18T20:59:59Z", True),  # a Friday, before 17:00 in New York
        ("2026-09-18T21:00:00Z", False),
        ("2026-09-20T20:59:59Z", False),
        ("2026-09-20T21:00:00Z", True),
        ("2026-11-06T21:59:59Z", True),  # winter
        ("2026-11-06T22:00:00Z", False),
    ],
)
def test_the_week_begins_on_sunday_and_ends_on_friday_at_five_in_new_york(at: str, expected: bool) -> None:
    now_ns = parse_rfc3339(at)

    assert is_open(codec.forex_hours(now_ns), now_ns) is expected


def test_an_accounts_number_says_what_it_is() -> None:
    assert [codec.kind_of(text) for text in (ID, "001-011-5838423-001", "1435156")] == ["paper", "live", None]


# -- market data -----------------------------------------------------------------------------------------------------------------------------------


def test_the_best_of_a_ladder_is_taken_whatever_its_order() -> None:
    (euro, *_) = golden("prices", wire.Prices).prices
    told = codec.decode_quote(replace(euro, bids=list(reversed(euro.bids))), 1)
    closed = codec.decode_quote(replace(euro, status="non-tradeable"), 1)
    empty = codec.decode_quote(replace(euro, bids=[], asks=[]), 1)

    assert (told.bid_px, told.ask_px, told.bid_qty) == (D("1.12157"), D("1.12170"), D(10000000))
    assert (closed.mid, empty.mid) == (None, None)
    assert codec.decode_mark(replace(euro, bids=[], asks=[])) == (D("1.12153") + D("1.12174")) / 2


def test_sizes_come_as_numbers_of_either_kind_or_as_text() -> None:
    for size in ("10000000", "10000000.0", '"10000000"'):
        ladder = msgspec.json.decode(f'[{{"price":"1.1","liquidity":{size}}}]', type=list[wire.Bucket])

        assert ladder[0].liquidity == 10_000_000


def test_candles_are_of_middle_prices() -> None:
    (first, *_) = golden("candles", wire.Candles).candles
    bar = codec.decode_candle(first, EUR, 300_000_000_000)

    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (D("10503.8"), D("10508.0"), D("10503.8"), D("10506.0"), D(132))
    with pytest.raises(ProtocolError):
        codec.decode_candle(replace(first, mid=None), EUR, 1)


# -- streams ---------------------------------------------------------------------------------------------------------------------------------------


def test_a_line_that_is_missing_shows_with_the_next_one_or_with_the_heartbeat() -> None:
    session = TransactionsSession("https://host", Secret("t"), ID, 7577)
    placed = golden("order_filled", wire.Placed)
    created, fill = (msgspec.json.encode(entry) for entry in (placed.orderCreateTransaction, placed.orderFillTransaction))
    beat = b'{"type":"HEARTBEAT","lastTransactionID":"7578","time":"2016-10-28T11:56:12.002855862Z"}'

    assert session.on_frame(beat, 1).events == (Behind(),)
    assert session.on_frame(fill, 1).events == (Behind(),)
    assert [entry.id for entry in session.on_frame(created, 1).events] == ["7578"]  # type: ignore[attr-defined]
    assert session.on_frame(created, 1).events == ()  # the same line again
    assert session.on_frame(beat, 1) == session.on_frame(beat, 2)
    assert session.on_frame(beat, 1).alive
    assert session.on_frame(fill, 1).events[0].id == "7579"  # type: ignore[attr-defined]
    for line in golden("stream_transactions", list[msgspec.Raw]):
        assert session.on_frame(bytes(line), 1).events == ()
    for wrong in (b"{", b'{"type":"HEARTBEAT","lastTransactionID":"x"}', b'{"type":"ORDER_FILL"}', b"[]"):
        with pytest.raises(ProtocolError):
            session.on_frame(wrong, 1)


def test_prices_come_as_quotes_and_heartbeats_as_a_sign_of_life() -> None:
    session = PricesSession("https://host", Secret("t"), ID, (EUR,))
    steps = [session.on_frame(bytes(line), 1) for line in golden("stream_prices", list[msgspec.Raw])]

    assert session.endpoint()[0] == f"https://host/v3/accounts/{ID}/pricing/stream?instruments=EUR_USD&snapshot=true"
    assert session.endpoint()[1]["Authorization"] == "Bearer t"
    assert steps[0].events[0].instrument == "EUR/JPY"  # type: ignore[attr-defined]
    assert (steps[1].events, steps[1].alive) == ((), True)
    with pytest.raises(ProtocolError):
        session.on_frame(b'{"type":"PRICE"}', 1)


@pytest.mark.parametrize(("status", "for_ever"), [(401, True), (404, True), (429, False), (503, False)])
def test_a_stream_that_is_refused_for_good_is_not_asked_for_again(status: int, for_ever: bool) -> None:
    session = PricesSession("https://host", Secret("t"), ID, (EUR,))
    if for_ever:
        with pytest.raises(StreamRefused, match="OANDA_API_KEY"):
            session.on_refused(status, b"{}")
    else:
        session.on_refused(status, b"{}")


# -- refusals --------------------------------------------------------------------------------------------------------------------------------------


def answered(status: int, code: str = "", text: str = "no") -> Response:
    body = {"errorMessage": text} | ({"errorCode": code} if code else {})
    return Response(status=status, headers={}, body=json.dumps(body).encode())


@pytest.mark.parametrize(
    ("response", "changes", "kind"),
    [
        (answered(400), True, Rejected),  # parse level: nothing was looked at
        (answered(400, "UNITS_INVALID"), True, Rejected),
        (answered(404, "TRADE_DOESNT_EXIST"), True, Rejected),
        (answered(400, "CLIENT_ORDER_ID_ALREADY_EXISTS"), True, InDoubt),  # it may be our own
        (answered(400, "INTERNAL_SERVER_ERROR"), True, InDoubt),
        (answered(400, "LEVITATION_EXCEEDED"), True, InDoubt),
        (answered(500), True, InDoubt),
        (Response(status=400, headers={}, body=b"<html>"), True, InDoubt),
        (answered(401), True, AuthFailed),
        (answered(403), False, AuthFailed),
        (answered(429), True, Rejected),
        (answered(429), False, RateLimited),
        (answered(503), False, Unavailable),
        (Response(status=404, headers={}, body=b"<html>"), False, Unavailable),
        (answered(404, "NO_SUCH_TRADE"), False, BadRequest),
        (answered(416, "INVALID_RANGE"), False, BadRequest),
    ],
)
def test_a_refusal_answers_whether_it_happened(response: Response, changes: bool, kind: type[Exception]) -> None:
    assert type(refusal(response, changes=changes)) is kind


def test_only_oandas_own_word_says_that_something_is_missing() -> None:
    assert is_missing(answered(404, "NO_SUCH_ORDER"))
    assert not is_missing(answered(404))
    assert not is_missing(Response(status=404, headers={}, body=b"<html>"))


@pytest.mark.skipif(not SPEC.exists(), reason="the OpenAPI file is not beside this checkout (../shared)")
def test_every_reason_of_the_published_file_is_mapped() -> None:
    known = json.loads(SPEC.read_text())["definitions"]

    assert set(known["TransactionRejectReason"]["enum"]) <= set(REASONS)
    assert set(known["OrderCancelReason"]["enum"]) <= set(ENDS)
    assert {reason for reason, meaning in REASONS.items() if meaning is Meaning.TAKEN} == {"CLIENT_ORDER_ID_ALREADY_EXISTS"}
    for reason in known["OrderFillReason"]["enum"]:
        fill = replace(golden("order_filled", wire.Placed).orderFillTransaction, reason=reason)
        assert codec.decode_fill(fill, None, "USD", 1).last_qty == 10_000
    assert {name for name in known["TransactionType"]["enum"] if codec.decode_flows(_empty(name), {}, "USD")} == set()


def _empty(kind: str) -> wire.Transaction:
    return wire.Transaction(
        id="1", time="2016-10-28T15:11:58.023004583Z", type=kind, instrument="EUR_USD", amount="0", financing="0", units="1", price="1"
    )


def test_the_token_is_in_a_header_and_nowhere_else() -> None:
    assert auth.headers(Secret("t-1")) == {"Authorization": "Bearer t-1", "Accept-Datetime-Format": "RFC3339"}
    assert "t-1" not in PricesSession("https://host", Secret("t-1"), ID, (EUR,)).endpoint()[0]
