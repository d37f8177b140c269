"""The codec against Bybit's published samples, and its refusals; signatures, errors and streams beside it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.factories import NOW, D, quote, risk_state
from trading_system.brokers.bybit import auth, codec, errors, wire
from trading_system.brokers.bybit.book import DepthBook
from trading_system.brokers.bybit.facts import FACTS, LIVE, PAPER, URLS
from trading_system.brokers.bybit.session import DataSession, OrdersSession
from trading_system.core.risk import Limits, check
from trading_system.domain.account import FlowKind
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, InstrumentID, IntentID, OrderID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.order import Approved, NewOrder
from trading_system.domain.ports import Kinds
from trading_system.settings.secret import Secret
from trading_system.transport.message import Request, Response
from trading_system.transport.session import Broken, StreamRefused

GOLDEN = Path(__file__).parent / "golden"
SWAP, PAIR, ETH = InstrumentID("BTC-PERP/USDT"), InstrumentID("BTC/USDT"), InstrumentID("ETH-PERP/USDT")
KEY, SECRET = Secret("test_api_key"), Secret("test_secret")
MS = 1_000_000


def raw(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def golden(name: str, kind: Any, **changes: object) -> Any:
    return msgspec.convert(raw(name) | changes, kind)


def approved(instrument: InstrumentID = SWAP, position: str = "0", **changes: object) -> Approved:
    """What the gate lets out of an order on this instrument."""
    entry = raw("instruments_linear")["result"]["list"][0]
    linear = "-" in instrument
    known = codec.decode_instrument(msgspec.convert(entry if linear else raw("instrument_spot"), wire.Instrument), "linear" if linear else "spot")
    fields: dict[str, object] = {
        "broker": BrokerName("bybit"),
        "instrument": instrument,
        "side": Side.BUY,
        "order_qty": D("0.5"),
        "time_in_force": TimeInForce.GTC,
        "intent": IntentID("k"),
    }
    request = NewOrder(**(fields | changes))  # type: ignore[arg-type]
    wide = Limits(validate_orders=False, max_position_pct=D(9), crypto_max_position_pct=D(9), crypto_max_leverage=D(9), max_spread_pct=D(9))
    return check(request, risk_state(limits=wide, facts=FACTS, instrument=known, quote=quote(instrument=instrument), position=D(position)))


# -- names and signatures --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("category", "symbol", "instrument"),
    [
        ("spot", "BTCUSDT", "BTC/USDT"),
        ("spot", "ETHBTC", "ETH/BTC"),
        ("spot", "USDCUSDT", "USDC/USDT"),
        ("linear", "BTCUSDT", "BTC-PERP/USDT"),
        ("linear", "1000PEPEUSDT", "1000PEPE-PERP/USDT"),
        ("linear", "ETHPERP", "ETH-PERP/USDC"),
        ("linear", "BTCUSDT-26DEC26", "BTC-26DEC26/USDT"),
        ("linear", "BTC-26DEC26", "BTC-26DEC26/USDC"),
        ("inverse", "BTCUSD", "BTC-PERP/USD"),
    ],
)
def test_a_symbol_and_its_category_are_one_instrument_and_back(category: str, symbol: str, instrument: str) -> None:
    found = codec.instrument_id(category, symbol)

    assert (found, codec.symbol_of(found), codec.category_of(found)) == (instrument, symbol, category)


@pytest.mark.parametrize(
    ("category", "symbol"), [("spot", "BTC"), ("spot", "USDT"), ("inverse", "BTCUSDZ26"), ("inverse", "USD"), ("", "BTCUSDT"), ("linear", "a bUSDT")]
)
def test_a_symbol_that_nobody_can_read_is_refused(category: str, symbol: str) -> None:
    with pytest.raises(ProtocolError):
        codec.instrument_id(category, symbol)


def test_bodies_are_signed_as_they_leave() -> None:
    body = b'{"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "test-order-1"}'
    signed = auth.sign(Request(method="POST", url="https://x/v5/order/create", body=body), KEY, SECRET, 1_700_000_000_000)

    assert signed.headers["X-BAPI-SIGN"] == "2df4a0603d69c08d5dea29ba85b46eb7db64ce9e9ebd34a7802a3d69700cb2a1"
    assert (signed.headers["X-BAPI-TIMESTAMP"], signed.headers["X-BAPI-RECV-WINDOW"], signed.body) == ("1700000000000", "5000", body)


def test_paper_and_live_share_no_host() -> None:
    from trading_system.brokers.bybit import hosts

    assert not hosts(PAPER) & hosts(LIVE)
    assert "testnet" in URLS[PAPER].private
    assert "testnet" not in URLS[LIVE].private + URLS[LIVE].rest


# -- orders out ------------------------------------------------------------------------------------------------------------------------------------


def sent(**changes: Any) -> Any:
    return json.loads(msgspec.json.encode(codec.encode_order(approved(**changes))))


def test_a_market_order_of_a_swap_says_so_and_nothing_else() -> None:
    assert sent() == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Market",
        "qty": "0.5",
        "timeInForce": "IOC",
        "orderLinkId": "q1aaaaaaaaaaaaaaaa",
        "positionIdx": 0,
    }


def test_a_spot_market_order_names_what_its_quantity_is_in() -> None:
    assert sent(instrument=PAIR)["marketUnit"] == "baseCoin"
    cash = sent(instrument=PAIR, order_qty=None, cash_order_qty=D("250.10"), time_in_force=TimeInForce.IOC)
    assert (cash["qty"], cash["marketUnit"]) == ("250.1", "quoteCoin")
    assert "marketUnit" not in sent(instrument=PAIR, ord_type=OrdType.LIMIT, price=D(99))


@pytest.mark.parametrize(("side", "direction"), [(Side.BUY, 1), (Side.SELL, 2)])
def test_a_stop_waits_for_the_price_to_come_from_the_other_side(side: Side, direction: int) -> None:
    px = D(101) if side is Side.BUY else D(99)
    swap = sent(side=side, position="-9" if side is Side.BUY else "9", ord_type=OrdType.STOP, stop_px=px, reduce_only=True)
    pair = sent(instrument=PAIR, side=side, position="9", ord_type=OrdType.STOP_LIMIT, stop_px=px, price=px)

    assert (swap["orderType"], swap["triggerPrice"], swap["triggerDirection"], swap["triggerBy"]) == ("Market", str(px), direction, "LastPrice")
    assert swap["reduceOnly"] is True
    assert (pair["orderType"], pair["orderFilter"], pair["triggerPrice"], pair["price"]) == ("Limit", "StopOrder", str(px), str(px))
    assert not {"triggerDirection", "triggerBy", "reduceOnly", "positionIdx"} & pair.keys()


def test_what_can_only_reduce_a_swap_is_sent_as_reduce_only() -> None:
    assert sent(side=Side.SELL, position="0.5")["reduceOnly"] is True
    assert "reduceOnly" not in sent(side=Side.BUY, position="0.5")
    assert "reduceOnly" not in sent(instrument=PAIR, side=Side.SELL, position="0.5")


def test_spot_keeps_what_waits_under_a_filter_of_its_own() -> None:
    rows = [("", "New"), ("Stop", "Untriggered"), ("Stop", "New"), ("tpslOrder", "Untriggered")]

    assert [codec.filter_of(golden("order", wire.Order, stopOrderType=kind, orderStatus=status)) for kind, status in rows] == [
        "Order",
        "StopOrder",
        "Order",
        "tpslOrder",
    ]


def test_a_change_is_seen_by_what_it_asked_for() -> None:
    change = msgspec.structs.replace(approved(ord_type=OrdType.LIMIT, price=D("99.5")), orig_order_id=OrderID("o1"))
    row = golden("order", wire.Order, symbol="BTCUSDT", qty="0.500", price="99.50")

    assert json.loads(msgspec.json.encode(codec.encode_amend(change))) == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "orderId": "o1",
        "qty": "0.5",
        "price": "99.5",
    }
    assert codec.is_amended(row, change.request)
    assert not codec.is_amended(msgspec.structs.replace(row, qty="0.4"), change.request)
    assert not codec.is_amended(msgspec.structs.replace(row, price="99.4"), change.request)


# -- orders in -------------------------------------------------------------------------------------------------------------------------------------


def test_a_published_order_is_read() -> None:
    report = codec.decode_order(golden("order", wire.Order), "linear", NOW)

    assert (report.instrument, report.order_id, report.cl_ord_id) == (ETH, "fd4300ae-7847-404e-b947-b46980a4d140", "test-000005")
    assert (report.ord_status, report.ord_type, report.time_in_force, report.side) == (OrdStatus.NEW, OrdType.LIMIT, TimeInForce.GTC, Side.BUY)
    assert (report.order_qty, report.price, report.stop_px, report.cum_qty) == (D("0.10"), D("1600.00"), None, D(0))
    assert report.transact_ns == 1684738540561 * MS


@pytest.mark.parametrize(("word", "status"), codec._STATUS.items())
def test_every_status_is_mapped(word: str, status: OrdStatus) -> None:
    assert codec.decode_order(golden("order", wire.Order, orderStatus=word), "linear", NOW).ord_status is status


def test_a_reject_that_filled_something_is_a_cancel_with_fills() -> None:
    row = golden("order", wire.Order, orderStatus="Rejected", cumExecQty="0.05", rejectReason="EC_ReachRiskPriceLimit")
    report = codec.decode_order(row, "linear", NOW)

    assert (report.ord_status, report.cum_qty, report.text) == (OrdStatus.CANCELED, D("0.05"), "EC_ReachRiskPriceLimit")


@pytest.mark.parametrize(
    ("changes", "ord_type"),
    [
        ({}, OrdType.LIMIT),
        ({"orderType": "Market"}, OrdType.MARKET),
        ({"stopOrderType": "Stop", "triggerPrice": "1500", "orderType": "Market"}, OrdType.STOP),
        ({"stopOrderType": "Stop", "triggerPrice": "1500"}, OrdType.STOP_LIMIT),
        ({"stopOrderType": "StopLoss", "triggerPrice": "1500", "orderType": "Market"}, OrdType.STOP),
        ({"stopOrderType": "TrailingStop", "triggerPrice": "1500", "orderType": "Market"}, OrdType.TRAILING_STOP),
        ({"triggerPrice": "0.00"}, OrdType.LIMIT),
    ],
)
def test_what_made_an_order_wait_is_its_type(changes: dict[str, str], ord_type: OrdType) -> None:
    assert codec.decode_order(golden("order", wire.Order, **changes), "linear", NOW).ord_type is ord_type


def test_a_spot_market_buy_is_in_money_where_nothing_else_is_said() -> None:
    def amounts(**changes: str) -> tuple[object, object]:
        fields = {"symbol": "ETHUSDT", "orderType": "Market", "qty": "50", **changes}
        report = codec.decode_order(golden("order", wire.Order, **fields), "spot", NOW)
        return report.order_qty, report.cash_order_qty

    assert amounts() == amounts(marketUnit="quoteCoin") == (None, D(50))
    assert amounts(side="Sell") == amounts(marketUnit="baseCoin") == (D(50), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"orderStatus": "Levitating"},
        {"side": "Sideways"},
        {"orderType": "Iceberg"},
        {"stopOrderType": "Guess", "triggerPrice": "1"},
        {"timeInForce": "Forever"},
        {"qty": "NaN"},
        {"cumExecQty": "1e999"},
        {"updatedTime": "yesterday"},
    ],
)
def test_what_we_do_not_know_is_refused_with_the_raw_word(changes: dict[str, str]) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode_order(golden("order", wire.Order, **changes), "linear", NOW)

    assert next(iter(changes.values())) in str(caught.value)


def test_a_published_execution_is_read_with_and_without_its_order() -> None:
    execution = golden("execution", wire.Execution, symbol="ETHUSDT")
    alone = codec.decode_execution(execution, "linear", None, NOW)
    row = codec.decode_order(golden("order", wire.Order, timeInForce="FOK"), "linear", NOW)
    joined = codec.decode_execution(execution, "linear", row, NOW)

    assert (alone.exec_type, alone.exec_id, alone.last_qty, alone.last_px) == (
        ExecType.TRADE,
        "e0cbe81d-0f18-5866-9415-cf319b5dab3b",
        D("0.1"),
        D("1190.15"),
    )
    assert (alone.fee, alone.fee_currency, alone.ord_status, alone.ord_type) == (D("0.071409"), "USDT", OrdStatus.FILLED, OrdType.MARKET)
    assert (joined.time_in_force, joined.exec_id, joined.transact_ns) == (TimeInForce.FOK, alone.exec_id, 1672282722429 * MS)


@pytest.mark.parametrize(
    ("category", "side", "coin", "named"),
    [
        ("spot", "Buy", "", "ETH/USDT"),
        ("spot", "Buy", "ETH", "ETH/USDT"),
        ("spot", "Sell", "", "USDT"),
        ("spot", "Sell", "USDT", "USDT"),
        ("spot", "Buy", "MNT", "MNT/USDT"),
        ("linear", "Buy", "", "USDT"),
        ("linear", "Sell", "USDT", "USDT"),
    ],
)
def test_a_fee_names_the_money_or_the_position_that_shrinks(category: str, side: str, coin: str, named: str) -> None:
    execution = golden("execution", wire.Execution, symbol="ETHUSDT", side=side, feeCurrency=coin)

    assert codec.decode_execution(execution, category, None, NOW).fee_currency == named


def test_a_rebate_is_a_fee_below_zero() -> None:
    assert codec.decode_execution(golden("execution", wire.Execution, symbol="ETHUSDT", execFee="-0.02"), "linear", None, NOW).fee == D("-0.02")


@pytest.mark.parametrize("changes", [{"execId": ""}, {"execQty": "0"}, {"execPrice": ""}, {"execQty": "-1"}])
def test_an_execution_without_its_facts_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ProtocolError):
        codec.decode_execution(golden("execution", wire.Execution, symbol="ETHUSDT", **changes), "linear", None, NOW)


def test_funding_is_no_fill_and_a_new_kind_is_refused() -> None:
    assert [codec.is_fill(golden("execution", wire.Execution, execType=kind)) for kind in ("Trade", "BustTrade", "Funding", "Delivery")] == [
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(ProtocolError, match="Levitation"):
        codec.is_fill(golden("execution", wire.Execution, execType="Levitation"))


@pytest.mark.parametrize(
    ("side", "price", "made", "closes"),
    [("Buy", "110", "20", Side.SELL), ("Sell", "110", "20", Side.SELL), ("Buy", "90", "20", Side.BUY), ("Sell", "100", "0", Side.BUY)],
)
def test_a_delivery_closes_what_its_profit_says_was_open(side: str, price: str, made: str, closes: Side) -> None:
    record = wire.Delivery(
        deliveryTime=1_700_000_000_000,
        symbol="BTCUSDT-26DEC26",
        side=side,
        position="2",
        entryPrice="100",
        deliveryPrice=price,
        fee="0.1",
        deliveryRpl=made,
    )
    report = codec.decode_delivery(record, "linear", NOW)

    assert (report.side, report.last_qty, report.last_px, report.fee, report.fee_currency) == (closes, 2, D(price), D("0.1"), "USDT")
    assert (report.instrument, report.exec_id, report.cl_ord_id) == ("BTC-26DEC26/USDT", "delivery-BTCUSDT-26DEC26-1700000000000", "")


# -- account and instruments -----------------------------------------------------------------------------------------------------------------------

PAIRS = frozenset({PAIR, InstrumentID("ETH/USDT")})


def wallet(*coins: dict[str, str], **totals: str) -> wire.Wallet:
    row = raw("wallet")["result"]["list"][0]
    return msgspec.convert(row | totals | {"coin": [row["coin"][0] | coin for coin in coins]}, wire.Wallet)


def snapshot(found: wire.Wallet, *positions: wire.Position, **changes: Any) -> Any:
    fields: dict[str, Any] = {"account": "1", "environment": "paper", "pairs": PAIRS, "rates": {}, "blocked": "", "recv_ns": NOW}
    return codec.decode_account(found, {"linear": positions}, **(fields | changes))


def test_published_wallets_and_positions_are_read() -> None:
    money = {"coin": "USDT", "equity": "9772", "walletBalance": "10000", "usdValue": "9762.228"}
    account = snapshot(wallet(money, totalEquity="9762.228", totalAvailableBalance="9000"), golden("position", wire.Position))
    (short,) = account.positions

    assert (short.instrument, short.qty, short.avg_px, short.mark_px) == (SWAP, D("-0.3"), D("27464.50441675"), D("28224.50"))
    assert account.rates == {"USDT": D("0.999")}
    assert account.balances == {"USDT": D(10000) + D("0.3") * D("27464.50441675")}  # what was sold short is in the cash
    assert account.equity == D("9762.228")
    value = account.balances["USDT"] + short.qty * short.mark_px
    assert abs(value - 9772) < 1  # cash and positions at their marks are the equity
    assert account.buying_power == D(9000)


def test_coins_are_positions_and_what_has_no_pair_is_money() -> None:
    coins = (
        {"coin": "USDT", "equity": "100", "walletBalance": "100", "usdValue": "100"},
        {"coin": "BTC", "equity": "0.5", "walletBalance": "0.6", "spotBorrow": "0.1", "usdValue": "45000"},
        {"coin": "USDC", "equity": "7", "walletBalance": "7", "usdValue": "7.07"},
        {"coin": "ODD", "equity": "10", "walletBalance": "10", "usdValue": "2"},
        {"coin": "ETH", "equity": "0", "walletBalance": "0", "usdValue": "0"},
    )
    account = snapshot(wallet(*coins, totalEquity="45109.07"))

    assert [(held.instrument, held.qty, held.avg_px, held.mark_px) for held in account.positions] == [(PAIR, D("0.5"), D(0), D(90000))]
    assert account.balances == {"USDT": 100, "USDC": 7, "ODD": 10}
    assert account.rates == {"USDT": 1, "USDC": D("1.01"), "ODD": D("0.2")}
    assert account.cash == D("109.07")


def test_in_isolated_margin_the_totals_are_empty_and_the_coins_say_it() -> None:
    money = {"coin": "USDT", "equity": "100", "walletBalance": "100", "usdValue": "100", "locked": "5", "totalOrderIM": "10", "totalPositionIM": "20"}
    account = snapshot(wallet(money, totalEquity="", totalAvailableBalance=""))

    assert (account.equity, account.buying_power) == (D(100), D(65))


def test_an_empty_wallet_takes_its_rate_from_a_ticker() -> None:
    rate = codec.decode_rate(wire.Ticker(symbol="BTCUSDT", lastPrice="100000", usdIndexPrice="99900"))
    account = snapshot(wallet(), rates={"USDT": rate}, blocked="the key is read-only")

    assert (account.rates, account.cash, account.tradable, account.text) == ({"USDT": D("0.999")}, 0, False, "the key is read-only")


def test_published_instruments_are_read_with_every_grid() -> None:
    (swap,) = (codec.decode_instrument(msgspec.convert(row, wire.Instrument), "linear") for row in raw("instruments_linear")["result"]["list"])
    pair = codec.decode_instrument(golden("instrument_spot", wire.Instrument), "spot")

    assert (swap.id, swap.asset_class, swap.lot, swap.tick(D(1)), swap.min_notional) == (SWAP, AssetClass.PERPETUAL, D("0.001"), D("0.10"), 5)
    assert (pair.id, pair.asset_class, pair.lot, pair.tick(D(1)), pair.min_qty) == (PAIR, AssetClass.CRYPTO, D("0.000001"), D("0.1"), D("0.000011"))
    assert (swap.shortable, pair.shortable, swap.currency, swap.hours.always) == (True, False, "USDT", True)
    with pytest.raises(ProtocolError, match="Vanished"):
        codec.decode_instrument(golden("instrument_spot", wire.Instrument, status="Vanished"), "spot")


def log(kind: str, change: str, **more: str) -> Any:
    fields = {"id": "1", "type": kind, "currency": "USDT", "change": change, "transactionTime": "1672128000000", **more}
    return codec.decode_flow(msgspec.convert(fields, wire.LogEntry))


def test_what_the_log_says_beside_the_fills() -> None:
    assert log("TRADE", "1") is log("LIQUIDATION", "-1") is None
    assert [(log("SETTLEMENT", text, symbol="XRPUSDT").kind, log("SETTLEMENT", text).amount) for text in ("-0.003676", "0.5")] == [
        (FlowKind.FEE, D("-0.003676")),
        (FlowKind.INCOME, D("0.5")),
    ]
    assert (log("TRANSFER_IN", "10").kind, log("WHAT_IS_THIS", "10").kind) == (FlowKind.TRANSFER, FlowKind.UNKNOWN)
    coins = log("TRANSFER_OUT", "-0.25", currency="BTC")
    assert (coins.instrument, coins.qty, coins.amount, coins.currency) == (PAIR, D("-0.25"), 0, "USDT")


def test_what_is_done_by_hand_where_executions_are_not_read_the_log_alone_tells() -> None:
    closed = log("TRADE", "0.1", currency="BTC", category="inverse", symbol="BTCUSDZ26")
    funding = log("SETTLEMENT", "-0.00002", currency="BTC", category="inverse", symbol="BTCUSD")

    assert (closed.kind, closed.instrument, closed.qty, closed.amount) == (FlowKind.UNKNOWN, PAIR, D("0.1"), 0)
    assert (funding.kind, funding.instrument, funding.qty, funding.currency) == (FlowKind.FEE, PAIR, D("-0.00002"), "USDT")
    assert all(log("TRADE", "1", category=category) is None for category in ("linear", "spot", "option", ""))
    assert log("TRADE", "0.1", currency="BTC", category="inverse", symbol="BTCUSD") is None


# -- errors ----------------------------------------------------------------------------------------------------------------------------------------


def no(code: int, *, changes: bool, status: int = 200, headers: dict[str, str] | None = None) -> Exception:
    body = json.dumps({"retCode": code, "retMsg": "nope", "result": {}, "retExtInfo": {}, "time": 1_700_000_000_000}).encode()
    response = Response(status=status, headers=headers or {}, body=body, recv_ns=NOW)
    return errors.refusal(response, errors.envelope(response), changes=changes, now_ms=1_700_000_000_000)


@pytest.mark.parametrize(
    ("code", "write", "question"),
    [
        (110007, Rejected, BadRequest),
        (170131, Rejected, BadRequest),
        (110094, Rejected, BadRequest),
        (10001, Rejected, BadRequest),
        (10002, Rejected, Unavailable),
        (10003, AuthFailed, AuthFailed),
        (10005, AuthFailed, AuthFailed),
        (10028, AuthFailed, AuthFailed),
        (10006, RateLimited, RateLimited),
        (10032, Rejected, errors.NotThere),
        (10000, InDoubt, Unavailable),
        (10016, InDoubt, Unavailable),
        (170147, InDoubt, Unavailable),
        (10014, InDoubt, BadRequest),
        (110072, InDoubt, BadRequest),  # a duplicate id may be our own order
        (170141, InDoubt, BadRequest),
        (110079, InDoubt, BadRequest),
        (987654, InDoubt, BadRequest),  # nobody knows it: it may have happened
    ],
)
def test_every_refusal_says_whether_it_happened(code: int, write: type, question: type) -> None:
    assert type(no(code, changes=True)) is write
    assert type(no(code, changes=False)) is question


@pytest.mark.parametrize(
    ("status", "write", "question"),
    [
        (401, AuthFailed, AuthFailed),
        (403, AuthFailed, AuthFailed),
        (429, InDoubt, Unavailable),
        (502, InDoubt, Unavailable),
        (404, InDoubt, BadRequest),
    ],
)
def test_the_gateways_refusals_too(status: int, write: type, question: type) -> None:
    assert type(no(0, changes=True, status=status)) is write
    assert type(no(0, changes=False, status=status)) is question


def test_a_spent_budget_says_until_when() -> None:
    found = no(10006, changes=True, headers={"x-bapi-limit": "10", "x-bapi-limit-reset-timestamp": "1700000003500"})

    assert isinstance(found, RateLimited)
    assert found.retry_after_ns == 3_500_000_000
    assert "10 requests" in str(found)
    banned = Response(status=403, headers={}, body=b"403, access too frequent", recv_ns=NOW)
    far = errors.refusal(banned, None, changes=False, now_ms=0)
    assert isinstance(far, RateLimited)
    assert far.retry_after_ns == 600_000_000_000


@pytest.mark.parametrize(("code", "status"), [(0, 200), (10001, 200), (10016, 503), (10006, 429)])
def test_a_question_that_could_not_be_answered_just_now_is_asked_again(code: int, status: int) -> None:
    body = json.dumps({"retCode": code, "retMsg": "", "result": {}, "retExtInfo": {}, "time": 1}).encode()
    headers = {"x-bapi-limit-reset-timestamp": "2500"}
    shown = errors.passing(Response(status=200, headers=headers, body=body, recv_ns=NOW), 1_000)

    assert shown.status == status
    assert shown.headers.get("retry-after") == ("2" if status == 429 else None)
    assert type(errors.refusal(shown, errors.envelope(shown), changes=False, now_ms=1_000)) is (
        {10001: BadRequest, 10016: Unavailable, 10006: RateLimited}.get(code, ProtocolError)
    )


def test_a_bad_signature_is_told_without_what_was_signed() -> None:
    body = (GOLDEN / "error_sign.json").read_bytes()
    response = Response(status=200, headers={}, body=body, recv_ns=NOW)
    found = errors.refusal(response, errors.envelope(response), changes=False, now_ms=0)

    assert isinstance(found, AuthFailed)
    assert "origin_string" not in str(found)


# -- streams ---------------------------------------------------------------------------------------------------------------------------------------


def orders() -> OrdersSession:
    return OrdersSession("ws://x/v5/private", KEY, SECRET, lambda: 0)


def frame(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def test_the_order_stream_logs_in_subscribes_and_is_live() -> None:
    session = orders()
    (login,) = session.on_open(1_700_000_000_000 * MS).send
    (subscribe,) = session.on_frame(frame("stream_auth"), NOW).send

    assert json.loads(login)["args"][:2] == ["test_api_key", 1_700_000_010_000]
    assert json.loads(subscribe)["args"] == ["order", "execution"]
    assert session.on_frame(b'{"success":true,"ret_msg":"","conn_id":"x","req_id":"s","op":"subscribe"}', NOW).ready
    assert session.on_frame(frame("pong_private"), NOW).alive


def test_published_order_events_are_read() -> None:
    (order,) = orders().on_frame(frame("stream_order"), NOW).events
    (fill,) = orders().on_frame(frame("stream_execution"), NOW).events

    assert (order.ord_status, order.cum_qty, order.exec_type) == (OrdStatus.FILLED, 1, ExecType.ORDER_STATUS)  # type: ignore[attr-defined]
    assert (fill.exec_type, fill.last_px, fill.fee, fill.fee_currency) == (ExecType.TRADE, D("95900.1"), D("26.3725275"), "USDT")  # type: ignore[attr-defined]


def test_contracts_that_are_not_traded_here_are_not_seen() -> None:
    body = json.loads(frame("stream_order"))
    body["data"][0] |= {"category": "inverse", "symbol": "BTCUSDZ26"}

    assert orders().on_frame(json.dumps(body).encode(), NOW).events == ()


def test_a_key_that_is_refused_is_not_tried_again_and_a_late_login_is() -> None:
    with pytest.raises(StreamRefused, match="BYBIT_API_KEY"):
        orders().on_frame(b'{"success":false,"ret_msg":"Params Error","op":"auth","conn_id":"x"}', NOW)
    with pytest.raises(Broken, match="too late"):
        orders().on_frame(b'{"success":false,"ret_msg":"Request expired","op":"auth","conn_id":"x"}', NOW)


@pytest.mark.parametrize("body", [b"{}", b'{"op":"dance"}', b'{"topic":"wallet","data":[]}', b'{"topic":"order","data":[{}]}', b"[]", b"\xff"])
def test_a_frame_of_no_kind_we_know_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        orders().on_frame(body, NOW)


def test_a_closed_inverse_contract_is_told_with_what_it_paid_out_or_not_at_all() -> None:
    body = json.loads(frame("stream_execution"))
    body["data"][0] |= {"category": "inverse", "symbol": "BTCUSD", "execFee": "0.00001", "feeCurrency": "", "closedSize": "50"}

    def told(**more: str) -> list[tuple[object, ...]]:
        body["data"][0] |= more
        events = orders().on_frame(json.dumps(body).encode(), NOW).events
        return [(event.instrument, event.inverse, event.fee, event.fee_currency, event.realized) for event in events]  # type: ignore[attr-defined]

    assert told(execPnl="-0.0002") == [("BTC-PERP/USD", True, D("0.00001"), "BTC/USDT", D("-0.0002"))]
    assert told(execPnl="") == []
    assert told(closedSize="0") == [("BTC-PERP/USD", True, D("0.00001"), "BTC/USDT", 0)]


def test_the_average_of_a_bar_whose_turnover_is_coins() -> None:
    bar = codec.decode_kline(("1700000000000", "100", "110", "90", "100", "500", "5"), InstrumentID("BTC-PERP/USD"), 60_000_000_000)

    assert (bar.volume, bar.vwap) == (500, 100)


def market(kinds: Kinds, instrument: InstrumentID = SWAP) -> DataSession:
    session = DataSession("ws://x/v5/public", codec.category_of(instrument), (instrument,), kinds)
    session.on_open(NOW)
    return session


def test_published_market_data_is_read() -> None:
    session = market(Kinds(quotes=True, trades=True, bars=True))
    best = json.loads(frame("stream_orderbook")) | {"topic": "orderbook.1.BTCUSDT"}
    (quoted,) = session.on_frame(json.dumps(best).encode(), NOW).events
    (traded,) = session.on_frame(frame("stream_trade"), NOW).events
    kline = json.loads(frame("stream_kline")) | {"topic": "kline.1.BTCUSDT"}
    assert session.on_frame(json.dumps(kline).encode(), NOW).events == ()  # not over yet
    kline["data"][0]["confirm"] = True
    (bar,) = session.on_frame(json.dumps(kline).encode(), NOW).events

    assert isinstance(quoted, Quote)
    assert (quoted.instrument, quoted.bid_px, quoted.ask_qty, quoted.transact_ns) == (SWAP, D("16493.50"), D("0.029"), 1672304484978 * MS)
    assert isinstance(traded, Trade)
    assert (traded.price, traded.qty, traded.trade_id) == (D("16578.50"), D("0.001"), "20f43950-d8dd-5b31-9112-a178eb6023af")
    assert isinstance(bar, Bar)
    assert (bar.high, bar.volume, bar.open_ns) == (D(16677), D("2.081"), 1672324800000 * MS)


@pytest.mark.parametrize("name", ["pong_spot", "pong_linear", "pong_option", "pong_private"])
def test_every_shape_of_a_pong_is_a_sign_of_life(name: str) -> None:
    assert market(Kinds()).on_frame(frame(name), NOW).alive


def test_a_stream_is_live_when_every_subscription_stands() -> None:
    names = [InstrumentID(f"C{number}/USDT") for number in range(15)]
    session = DataSession("ws://x/v5/public", "spot", names, Kinds())
    asked = session.on_open(NOW).send
    yes = b'{"success":true,"ret_msg":"subscribe","conn_id":"x","op":"subscribe"}'

    assert [len(json.loads(one)["args"]) for one in asked] == [10, 5]
    assert [session.on_frame(yes, NOW).ready for _ in asked] == [False, True]
    with pytest.raises(StreamRefused, match="handler not found"):
        session.on_frame(b'{"success":false,"ret_msg":"error:handler not found,topic:x","op":"subscribe"}', NOW)


def book_frame(kind: str, update: int, bids: list[list[str]], asks: list[list[str]]) -> wire.StreamFrame:
    data = json.dumps({"s": "BTCUSDT", "b": bids, "a": asks, "u": update, "seq": 1}).encode()
    return wire.StreamFrame(topic="orderbook.50.BTCUSDT", type=kind, ts=2, cts=1, data=msgspec.Raw(data))


def test_a_book_follows_its_changes_and_a_gap_ends_it() -> None:
    book = DepthBook(SWAP, 2)
    first = book.take(book_frame("snapshot", 7, [["99.5", "1"], ["99", "2"], ["98", "3"]], [["100", "1"]]), NOW)
    second = book.take(book_frame("delta", 8, [["99.5", "0"], ["99", "2.5"]], [["101", "4"]]), NOW)

    assert first is not None
    assert second is not None
    assert first.bids == ((D("99.5"), D("1.0")), (D("99.0"), D("2.0")))
    assert (second.bids, second.asks) == (((D(99), D("2.5")), (D(98), D(3))), ((D(100), D(1)), (D(101), D(4))))
    assert second.transact_ns == MS
    assert book.take(book_frame("delta", 8, [], []), NOW) is None  # told twice
    with pytest.raises(Broken, match="missing"):
        book.take(book_frame("delta", 10, [], []), NOW)
    again = book.take(book_frame("snapshot", 1, [["90", "1"]], [["91", "1"]]), NOW)  # their service began anew
    assert again is not None
    with pytest.raises(ProtocolError):
        book.take(book_frame("guess", 2, [], []), NOW)
