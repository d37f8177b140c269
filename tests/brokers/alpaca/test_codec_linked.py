"""Linked orders and options in Alpaca's messages: published samples in, exact bodies out."""

import json
from pathlib import Path

import msgspec
import pytest

from tests.core.test_linked import BRACKET, LINKED, OCO, TRAIL
from tests.core.test_options import HIGH, LOW, MULTI, WHOLE, package
from tests.factories import AAPL, NOW, D, quote, risk_state, wish
from trading_system.brokers.alpaca import codec, wire
from trading_system.core.blotter import NOTHING
from trading_system.core.risk import LegState, check
from trading_system.domain.errors import ProtocolError
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import Hours, Window
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.option import Right, occ
from trading_system.domain.order import Attached, Leg, NewOrder

GOLDEN = Path(__file__).parent / "golden"
HOURS = Hours(windows=(Window(1, 2),), extended=(Window(0, 3),), known_until_ns=9)


def golden(name: str, kind: type[msgspec.Struct]) -> msgspec.Struct:
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes(), type=kind)


def body(request: NewOrder, **state: object) -> dict[str, object]:
    sent = check(request, risk_state(**({"facts": LINKED} | state)))
    encoded: dict[str, object] = json.loads(msgspec.json.encode(codec.encode_order(sent)))
    return {name: value for name, value in encoded.items() if name not in ("client_order_id", "symbol", "qty")}


def test_linked_orders_leave_as_alpaca_wants_them() -> None:
    assert body(BRACKET) == {
        "side": "buy",
        "type": "market",
        "time_in_force": "day",
        "order_class": "bracket",
        "take_profit": {"limit_price": "110"},
        "stop_loss": {"stop_price": "95"},
    }
    assert body(OCO, position=D(10)) == {
        "side": "sell",
        "type": "limit",
        "time_in_force": "day",
        "order_class": "oco",
        "take_profit": {"limit_price": "110"},
        "stop_loss": {"stop_price": "95"},
    }
    only_stop = wish("10", attached=Attached(stop_px=D(95), stop_limit_px=D("94.5")))
    assert body(only_stop)["stop_loss"] == {"stop_price": "95", "limit_price": "94.5"}
    assert (body(only_stop)["order_class"], "take_profit" in body(only_stop)) == ("oto", False)


@pytest.mark.parametrize(("changes", "trail"), [({}, {"trail_price": "2"}), ({"trail_px": None, "trail_pct": D("0.025")}, {"trail_percent": "2.5"})])
def test_a_trailing_stop_leaves_with_its_distance(changes: dict[str, object], trail: dict[str, str]) -> None:
    request = msgspec.structs.replace(TRAIL, **changes)

    assert body(request, position=D(10)) == {"side": "sell", "type": "trailing_stop", "time_in_force": "day", **trail}


def test_of_linked_orders_prices_alone_are_changed() -> None:
    for request, said in (
        (wish("10", Side.SELL, ord_type=OrdType.STOP, stop_px=D(96), parent="q1parent", reduce_only=True), {"stop_price": "96"}),
        (wish("10", ord_type=OrdType.LIMIT, price=D(100), attached=Attached(stop_px=D(95))), {"limit_price": "100"}),
        (wish("10", ord_type=OrdType.LIMIT, price=D(100)), {"qty": "10", "limit_price": "100"}),
        (TRAIL, {"qty": "10", "trail": "2"}),
    ):
        sent = check(request, risk_state(facts=LINKED, position=D(10) if request.side is Side.SELL else D(0)))
        encoded = json.loads(msgspec.json.encode(codec.encode_replace(sent)))

        assert {name: value for name, value in encoded.items() if name != "client_order_id"} == said


def test_a_multileg_order_leaves_with_what_each_leg_is_for() -> None:
    legs = ((LOW, 1), (HIGH, -1))
    known = (
        LegState(contract=LOW, position=D(0), reserved=NOTHING),
        LegState(contract=HIGH, position=D(2), reserved=NOTHING),
    )
    state = {"facts": MULTI, "instrument": WHOLE, "quote": quote("3.95", "4.05"), "legs": known}
    sent = check(package("4.10", *legs, qty="2"), risk_state(**state))

    assert json.loads(msgspec.json.encode(codec.encode_order(sent))) == {
        "qty": "2",
        "type": "limit",
        "time_in_force": "day",
        "limit_price": "4.1",
        "order_class": "mleg",
        "legs": [
            {"symbol": occ(LOW), "ratio_qty": "1", "side": "buy", "position_intent": "buy_to_open"},
            {"symbol": occ(HIGH), "ratio_qty": "1", "side": "sell", "position_intent": "sell_to_close"},
        ],
        "client_order_id": "q1aaaaaaaaaaaaaaaa",
    }


def test_the_published_multileg_order_is_bought_whole_and_its_legs_are_orders() -> None:
    report = codec.decode_order(golden("order_multileg", wire.Order), NOW)  # type: ignore[arg-type]

    assert (report.instrument, report.side, report.ord_type, report.ord_status, report.cum_qty) == (
        AAPL,
        Side.BUY,
        OrdType.LIMIT,
        OrdStatus.FILLED,
        1,
    )
    assert report.legs == (
        Leg(InstrumentID("AAPL241213C00250000"), Side.BUY, 3),
        Leg(InstrumentID("AAPL241213C00260000"), Side.SELL, 1),
    )
    assert [(leg.instrument, leg.side, leg.cum_qty, leg.ord_status) for leg in report.children] == [
        ("AAPL241213C00250000", Side.BUY, 3, OrdStatus.FILLED),
        ("AAPL241213C00260000", Side.SELL, 1, OrdStatus.FILLED),
    ]


def test_a_multileg_order_without_its_legs_is_refused_and_a_leg_alone_is_read() -> None:
    whole = golden("order_multileg", wire.Order)
    with pytest.raises(ProtocolError, match="without its legs"):
        codec.decode_order(msgspec.structs.replace(whole, legs=None), NOW)  # type: ignore[arg-type]
    leg = whole.legs[0]  # type: ignore[attr-defined]

    assert codec.decode_order(leg, NOW).instrument == "AAPL241213C00250000"
    assert not codec.is_whole(leg)


def test_an_execution_of_the_whole_is_no_execution_of_ours() -> None:
    whole = golden("order_multileg", wire.Order)
    update = wire.TradeUpdate(event="fill", order=whole, timestamp="2024-12-10T16:15:53.694Z", price="1.28", qty="1")  # type: ignore[arg-type]

    assert codec.decode_trade_update(update, NOW).exec_type is ExecType.ORDER_STATUS


def test_what_alpaca_holds_for_an_order_is_read_with_it() -> None:
    row = golden("order_limit", wire.Order)
    stop = msgspec.structs.replace(row, id="leg", type="stop", limit_price=None, stop_price="95", status="held", legs=None)
    nested = msgspec.structs.replace(row, order_class="bracket", legs=[stop])
    (child,) = codec.decode_order(nested, NOW).children  # type: ignore[arg-type]

    assert (child.ord_type, child.stop_px, child.ord_status) == (OrdType.STOP, 95, OrdStatus.SUSPENDED)
    trailing = msgspec.structs.replace(row, type="trailing_stop", trail_percent="2.5", trail_price=None, stop_price="97.5")
    assert codec.decode_order(trailing, NOW).trail_pct == D("0.025")  # type: ignore[arg-type]


def test_the_published_option_order_is_read() -> None:
    report = codec.decode_order(golden("order_option", wire.Order), NOW)  # type: ignore[arg-type]

    assert (report.instrument, report.time_in_force, report.order_qty) == ("AAPL250620C00100000", TimeInForce.DAY, 2)


def test_the_published_contract_has_a_grid() -> None:
    instrument = codec.decode_contract(golden("option_contract", wire.OptionContract), HOURS)  # type: ignore[arg-type]
    contract = instrument.contract

    assert contract is not None
    assert (contract.underlying, contract.right, contract.strike, contract.expiry.isoformat()) == (AAPL, Right.CALL, 100, "2025-06-20")
    assert (instrument.asset_class, instrument.multiplier, instrument.lot, instrument.tradable) == (AssetClass.OPTION, 100, 1, True)
    assert (instrument.hours.windows, instrument.hours.extended) == (HOURS.windows, ())


@pytest.mark.parametrize(
    "changes",
    [{"type": "put"}, {"strike_price": "101"}, {"expiration_date": "2025-06-21"}, {"type": "swap"}, {"symbol": "AAPL"}, {"multiplier": "0"}],
)
def test_a_contract_that_is_not_what_its_name_says_is_refused(changes: dict[str, str]) -> None:
    contract = msgspec.structs.replace(golden("option_contract", wire.OptionContract), **changes)
    with pytest.raises(ProtocolError):
        codec.decode_contract(contract, HOURS)  # type: ignore[arg-type]


def test_the_published_chain_is_read() -> None:
    ((symbol, snapshot),) = golden("option_snapshots", wire.OptionSnapshots).snapshots.items()  # type: ignore[attr-defined]
    line = codec.decode_snapshot(symbol, snapshot, NOW)

    assert (line.contract.strike, line.contract.right) == (D("162.5"), Right.CALL)
    assert line.quote is not None
    assert (line.quote.bid_px, line.quote.ask_px, line.quote.bid_qty) == (D("4.15"), D("4.3"), 16)
    assert line.implied_volatility == D("0.3372405712050441")
    assert line.greeks is not None
    assert line.greeks.delta == D("0.7521304109871954")
    bare = codec.decode_snapshot(symbol, wire.OptionSnapshot(), NOW)
    assert (bare.quote, bare.implied_volatility, bare.greeks) == (None, None, None)


def test_the_published_option_quotes_are_read() -> None:
    quotes = golden("option_latest_quotes", wire.LatestQuotes).quotes  # type: ignore[attr-defined]

    assert {symbol: codec.decode_quote(entry, InstrumentID(symbol), NOW).ask_px for symbol, entry in quotes.items()} == {
        "AAPL240419P00140000": D("0.16"),
        "AAPL250321C00190000": 17,
    }
