"""Tradier's published messages as ours, and ours as Tradier's forms."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from trading_system.brokers.tradier import codec, errors, wire
from trading_system.brokers.tradier.executed import Executed
from trading_system.domain.account import FlowKind
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import Hours, MarketState
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, IntentID, OrderID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Approved, Attached, Fill, Leg, NewOrder, Order
from trading_system.domain.times import parse_rfc3339
from trading_system.transport import strict
from trading_system.transport.message import Response

D = Decimal
GOLDEN = Path(__file__).parent / "golden"
OURS = ClOrdID("q1aaaaaaaaaaaaaaaa")
CALL = InstrumentID("AAPL261120C00275000")


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def approved(*, reducing: bool = False, opens: tuple[bool, ...] = (), **changes: Any) -> Approved:
    fields: dict[str, Any] = {"instrument": InstrumentID("AAPL"), "side": Side.BUY, "order_qty": D(5)} | changes
    request = NewOrder(broker=BrokerName("tradier"), intent=IntentID("a"), **fields)
    return Approved(
        request=request,
        cl_ord_id=OURS,
        account="VA1",
        symbol="AAPL",
        reserve_px=D(1),
        reserve_qty=D(5),
        reducing=reducing,
        opens=opens,
        approved_ns=1,
    )


# -- one, several, none ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"orders":"null"}', 0),
        (b'{"orders":null}', 0),
        (b'{"orders":{"order":null}}', 0),
        (b'{"orders":{}}', 0),
        (b'{"orders":{"order":{"id":1,"status":"ok"}}}', 1),
        (b'{"orders":{"order":[{"id":1,"status":"ok"}]}}', 1),
        (b'{"orders":{"order":[{"id":1,"status":"ok"},{"id":2,"status":"ok"}]}}', 2),
    ],
)
def test_several_one_and_nothing_are_told_apart(body: bytes, count: int) -> None:
    assert len(wire.rows(body, "orders", "order", wire.Placed)) == count


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"order":1}', b"<html>", b'{"orders":{"order":3}}', b'{"orders":"null","orders":"null"}', b"[" * 9000]
)
def test_what_is_no_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(wire.UNREADABLE):
        wire.rows(body, "orders", "order", wire.Placed)


# -- published messages ------------------------------------------------------------------------------------------------------------------------------


def test_the_published_order_is_a_report() -> None:
    report = codec.decode_order(wire.one(golden("order_equity"), "order", wire.Order), OURS, 7)

    assert (report.cl_ord_id, report.order_id, report.instrument, report.side) == (OURS, "228175", "AAPL", Side.BUY)
    assert (report.ord_type, report.time_in_force, report.price, report.order_qty) == (OrdType.LIMIT, TimeInForce.DAY, D(22), D(50))
    assert (report.exec_type, report.ord_status, report.cum_qty) == (ExecType.ORDER_STATUS, OrdStatus.NEW, D(0))
    assert report.transact_ns == parse_rfc3339("2018-06-01T12:30:02.385Z")


def test_the_published_spread_is_bought_as_a_whole_and_has_its_legs() -> None:
    report = codec.decode_order(wire.one(golden("order_multileg"), "order", wire.Order), OURS, 7)

    assert (report.instrument, report.side, report.price, report.order_qty, report.ord_status) == ("SPY", Side.BUY, D(42), D(1), OrdStatus.CANCELED)
    assert report.legs == (Leg(InstrumentID("SPY180720C00274000"), Side.BUY, 1), Leg(InstrumentID("SPY180720C00280000"), Side.SELL, 1))
    assert [(child.order_id, child.instrument) for child in report.children] == [
        ("229064", "SPY180720C00274000"),
        ("229065", "SPY180720C00280000"),
    ]


def test_the_published_account_is_a_snapshot_and_its_number_proves_its_kind() -> None:
    (profile,) = wire.rows(golden("profile"), "profile", "account", wire.ProfileAccount)
    balances = wire.one(golden("balances"), "balances", wire.Balances)
    positions = wire.rows(golden("positions"), "positions", "position", wire.Position)
    snapshot = codec.decode_account(profile, balances, positions, {}, 7)

    assert (snapshot.account, snapshot.environment, snapshot.tradable) == ("VA000001", "paper", True)
    assert (snapshot.equity, snapshot.cash, snapshot.buying_power) == (D("17798.36"), D("6363.86"), D("12727.72"))
    assert [(held.instrument, held.qty, held.avg_px) for held in snapshot.positions] == [
        ("AAPL", D(1), D("207.01")),
        ("VXX220408C00010000", D(-2), D("0.44")),
    ]
    assert codec.environment_of("6YA00005") == "live"
    assert not codec.decode_account(replace(profile, status="closed"), balances, (), {}, 7).tradable


def test_the_published_quotes_are_quotes_in_shares() -> None:
    (shown,) = wire.rows(golden("quotes"), "quotes", "quote", wire.Quote)
    quote = codec.decode_quote(shown, 1 << 62, delay_ns=0)

    assert (quote.instrument, quote.bid_px, quote.bid_qty, quote.ask_px, quote.ask_qty) == ("AAPL", D("208.19"), D(1200), D("208.21"), D(100))
    assert quote.transact_ns == 1557168406000 * 1_000_000
    assert codec.decode_quote(shown, 1 << 62, delay_ns=900).transact_ns == quote.transact_ns + 900
    assert wire.rows(golden("quotes_unmatched"), "quotes", "quote", wire.Quote) == []


def test_the_recorded_chain_is_read() -> None:
    lines = [codec.decode_snapshot(quote, 7, delay_ns=0) for quote in wire.rows(golden("chain"), "options", "option", wire.Quote)]

    assert lines
    assert lines[0].instrument == "VXX220408C00010000"
    assert lines[0].quote is not None
    assert (lines[0].quote.bid_px, lines[0].quote.bid_qty) == (D("13.25"), D(11))  # contracts, not hundreds
    instrument = codec.decode_instrument(wire.rows(golden("chain"), "options", "option", wire.Quote)[0], Hours(), shortable=True)
    assert (instrument.asset_class, instrument.multiplier, instrument.base) == (AssetClass.OPTION, D(100), "VXX")


def test_the_published_history_is_flows_and_trades_are_none_of_them() -> None:
    raw = golden("history")
    (flow,) = codec.decode_history([*codec.history_rows(raw)])

    assert (flow.kind, flow.amount, flow.instrument) == (FlowKind.TRANSFER, D(-3000), None)
    twice = codec.decode_history([*codec.history_rows(raw), *codec.history_rows(raw)])
    assert len({one.flow_id for one in twice}) == 2


def test_a_trades_commission_is_a_fee() -> None:
    raw = golden("history").replace(b'"commission":0.0', b'"commission":0.35')
    fees = [flow for flow in codec.decode_history(codec.history_rows(raw)) if flow.kind is FlowKind.FEE]

    assert [(fee.amount, fee.instrument) for fee in fees] == [(D("-0.35"), None)]


@pytest.mark.parametrize(
    ("body", "found"),
    [(b'{"strike":[210.0,207.5]}', (D("207.5"), D(210))), (b'{"strike":207.5}', (D("207.5"),)), (b"null", ()), (b'"null"', ())],
)
def test_strikes_are_several_or_one_or_none(body: bytes, found: tuple[Decimal, ...]) -> None:
    assert codec.decode_strikes(b'{"strikes":' + body + b"}") == found


def test_the_published_bars_clock_calendar_and_streams_are_read() -> None:
    (day,) = wire.rows(golden("days"), "history", "day", wire.Day)
    (sale,) = wire.rows(golden("timesales"), "series", "data", wire.TimeSale)
    assert codec.decode_day(day, InstrumentID("AAPL"), 1).open_ns == parse_rfc3339("2019-05-06T04:00:00Z")
    assert codec.decode_bar(sale, InstrumentID("AAPL"), 1).open_ns == parse_rfc3339("2019-05-09T13:30:00Z")
    clock = codec.decode_clock(wire.one(golden("clock"), "clock", wire.Clock), Hours())
    assert (clock.state, clock.next_state) == (MarketState.OPEN, MarketState.POSTMARKET)
    assert (clock.transact_ns, clock.next_ns) == (parse_rfc3339("2019-05-06T15:36:28Z"), parse_rfc3339("2019-05-06T20:00:00Z"))
    hours = codec.decode_calendar(codec.calendar_rows(golden("calendar")), 9)
    shut = wire.Clock(date="2019-03-31", description="", state="closed", timestamp=1554030000, next_change="07:00", next_state="premarket")
    assert codec.decode_clock(shut, hours).next_ns == parse_rfc3339("2019-04-01T11:00:00Z")
    assert codec.decode_clock(shut, Hours()).next_ns is None
    with pytest.raises(ProtocolError, match="state of the market"):
        codec.decode_clock(replace(shut, state="halted"), hours)
    assert (hours.windows[0].open_ns, hours.extended[0].close_ns) == (parse_rfc3339("2019-04-01T13:30:00Z"), parse_rfc3339("2019-04-01T23:55:00Z"))
    quote = codec.decode_quote_event(strict.decode(golden("stream_quote"), wire.MarketEvent), 7)
    trade = codec.decode_trade_event(strict.decode(golden("stream_trade"), wire.MarketEvent), 7)
    assert (quote.instrument, quote.bid_px, quote.bid_qty, quote.transact_ns) == ("C", D("281.84"), D(6000), 1557757190000 * 1_000_000)
    assert trade is not None
    assert (trade.price, trade.qty) == (D("281.85"), D(100))
    event = strict.decode(golden("event_order"), wire.AccountEvent)
    assert (event.id, event.parent_id, event.executed_quantity) == (69211, 69210, D(100))


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"status": "levitating"}, "status"), ({"side": "sideways"}, "side"), ({"type": "trailing"}, "type"), ({"duration": "ever"}, "duration")],
)
def test_words_nobody_knows_are_refused(changes: dict[str, str], what: str) -> None:
    row = replace(wire.one(golden("order_equity"), "order", wire.Order), **changes)
    with pytest.raises(ProtocolError, match=what):
        codec.decode_order(row, OURS, 7)


# -- forms -------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "reducing", "instrument", "verb"),
    [
        (Side.BUY, False, "AAPL", "buy"),
        (Side.BUY, True, "AAPL", "buy_to_cover"),
        (Side.SELL, True, "AAPL", "sell"),
        (Side.SELL, False, "AAPL", "sell_short"),
        (Side.BUY, False, CALL, "buy_to_open"),
        (Side.BUY, True, CALL, "buy_to_close"),
        (Side.SELL, True, CALL, "sell_to_close"),
        (Side.SELL, False, CALL, "sell_to_open"),
    ],
)
def test_a_side_says_what_it_does_to_the_position(side: Side, reducing: bool, instrument: str, verb: str) -> None:
    form = codec.encode_order(approved(side=side, reducing=reducing, instrument=InstrumentID(instrument)), "")

    assert form["side"] == verb
    assert (form["symbol"], form.get("option_symbol")) == ("AAPL", CALL if instrument == CALL else None)
    assert form["class"] == ("option" if instrument == CALL else "equity")


def test_a_window_is_named_for_extended_hours_alone() -> None:
    waits = approved(ord_type=OrdType.LIMIT, price=D(230))

    assert codec.encode_order(waits, "post")["duration"] == "day"
    assert codec.encode_order(replace(waits, request=replace(waits.request, extended_hours=True)), "post")["duration"] == "post"


def test_a_stop_limit_order_of_a_share_class_is_a_form() -> None:
    form = codec.encode_order(
        approved(
            instrument=InstrumentID("BRK.B"), ord_type=OrdType.STOP_LIMIT, price=D("470.10"), stop_px=D("470.00"), time_in_force=TimeInForce.GTC
        ),
        "",
    )

    assert form == {
        "class": "equity",
        "symbol": "BRK/B",
        "side": "buy",
        "quantity": "5",
        "type": "stop_limit",
        "duration": "gtc",
        "price": "470.1",
        "stop": "470",
        "tag": OURS,
    }
    assert codec.decode_symbol(form["symbol"]) == "BRK.B"


@pytest.mark.parametrize(
    ("price", "fields"),
    [
        (D("1.25"), {"type": "debit", "price": "1.25"}),
        (D("-0.8"), {"type": "credit", "price": "0.8"}),
        (D(0), {"type": "even"}),
        (None, {"type": "market"}),
    ],
)
def test_a_spread_is_a_debit_a_credit_or_even(price: Decimal | None, fields: dict[str, str]) -> None:
    legs = (Leg(CALL, Side.BUY, 1), Leg(InstrumentID("AAPL261120C00280000"), Side.SELL, 2))
    form = codec.encode_order(approved(legs=legs, opens=(True, False), order_qty=D(3), price=price), "")

    assert {name: form[name] for name in ("type", "price") if name in form} == fields
    assert (form["class"], form["symbol"], form["quantity[0]"], form["quantity[1]"]) == ("multileg", "AAPL", "3", "6")
    assert (form["side[0]"], form["side[1]"]) == ("buy_to_open", "sell_to_close")


def test_a_combo_leaves_with_its_shares_first_and_without_their_symbol() -> None:
    legs = (Leg(InstrumentID("AAPL261218C00210000"), Side.SELL, 1), Leg(InstrumentID("AAPL"), Side.BUY, 100))
    form = codec.encode_order(approved(legs=legs, opens=(True, True), order_qty=D(3), price=D("195.9"), ord_type=OrdType.LIMIT), "")

    assert (form["class"], form["symbol"], form["type"], form["price"]) == ("combo", "AAPL", "debit", "195.9")
    assert (form["side[0]"], form["quantity[0]"], "option_symbol[0]" in form, "symbol[0]" in form) == ("buy", "300", False, False)
    assert (form["side[1]"], form["quantity[1]"], form["option_symbol[1]"]) == ("sell_to_open", "3", "AAPL261218C00210000")


@pytest.mark.parametrize(
    ("side", "opens", "word"),
    [(Side.BUY, True, "buy"), (Side.BUY, False, "buy_to_cover"), (Side.SELL, True, "sell_short"), (Side.SELL, False, "sell")],
)
def test_the_shares_of_a_combo_say_what_they_do_to_the_position(side: Side, opens: bool, word: str) -> None:
    legs = (Leg(InstrumentID("AAPL"), side, 100), Leg(InstrumentID("AAPL261218C00210000"), side.opposite, 1))

    assert codec.encode_order(approved(legs=legs, opens=(opens, True), price=D(1), ord_type=OrdType.LIMIT), "")["side[0]"] == word


@pytest.mark.parametrize(
    ("shares", "options", "wholes", "ratios"),
    [("300", ("3",), 3, (100, 1)), ("100", ("2",), 1, (100, 2)), ("200", ("2", "4"), 2, (100, 1, 2)), ("150", ("3",), 3, (50, 1))],
)
def test_a_combos_row_says_how_many_wholes_it_is(shares: str, options: tuple[str, ...], wholes: int, ratios: tuple[int, ...]) -> None:
    """A hundred shares count as one contract; somebody else's may be any."""
    at = {"create_date": "2018-06-12T21:13:36.076Z", "type": "debit", "status": "open", "duration": "day", "symbol": "AAPL"}
    legs = [wire.Order(id=8, side="buy", quantity=D(shares), exec_quantity=D(ratios[0]), order_class="equity", **at)]
    for place, qty in enumerate(options):
        symbol = f"AAPL261218C0021{place}000"
        legs.append(
            wire.Order(
                id=9 + place,
                side="sell_to_open",
                quantity=D(qty),
                exec_quantity=D(ratios[place + 1]),
                option_symbol=symbol,
                order_class="option",
                **at,
            )
        )
    report = codec.decode_order(wire.Order(id=7, price=D("195.9"), side="buy", order_class="combo", leg=legs, **at), OURS, 7)

    assert (report.instrument, report.order_qty, report.cum_qty, report.price) == ("AAPL", wholes, 1, D("195.9"))
    assert tuple(leg.ratio_qty for leg in report.legs) == ratios
    assert (report.children[0].instrument, report.children[0].side, report.children[0].price) == ("AAPL", Side.BUY, None)


def test_a_bracket_has_three_parts_and_an_oco_two() -> None:
    both = Attached(take_profit_px=D(250), stop_px=D(200), stop_limit_px=D(199))
    bracket = codec.encode_order(approved(ord_type=OrdType.LIMIT, price=D(230), attached=both, time_in_force=TimeInForce.GTC), "")
    oco = codec.encode_order(
        approved(side=Side.SELL, reducing=True, reduce_only=True, ord_type=OrdType.LIMIT, price=D(250), attached=Attached(stop_px=D(200))),
        "",
    )

    assert bracket["class"] == "otoco"
    assert [bracket[f"side[{place}]"] for place in range(3)] == ["buy", "sell", "sell"]
    assert [bracket[f"type[{place}]"] for place in range(3)] == ["limit", "limit", "stop_limit"]
    assert (bracket["price[1]"], bracket["stop[2]"], bracket["price[2]"]) == ("250", "200", "199")
    assert (oco["class"], oco["type[0]"], oco["type[1]"], oco["side[0]"], oco["stop[1]"]) == ("oco", "limit", "stop", "sell", "200")


# -- executions --------------------------------------------------------------------------------------------------------------------------------------


def row(cum: str, average: str, last_qty: str = "0", last_px: str = "0") -> wire.Order:
    return wire.Order(
        id=7,
        status="partially_filled",
        exec_quantity=D(cum),
        avg_fill_price=D(average),
        last_fill_quantity=D(last_qty),
        last_fill_price=D(last_px),
    )


def test_what_came_between_two_looks_is_told_once_at_its_own_price() -> None:
    executed = Executed()
    first = executed.learn(row("2", "10.00", "2", "10.00"), 1)
    later = executed.learn(row("7", "10.30", "1", "10.60"), 2)
    again = executed.learn(row("7", "10.30", "1", "10.60"), 3)

    assert [(part.exec_id, part.qty, part.price) for part in first] == [("7-2", D(2), D(10))]
    assert [(part.exec_id, part.qty, part.price, part.at_ns) for part in later] == [
        ("7-2", D(2), D(10), 1),
        ("7-6", D(4), D("10.375"), 2),
        ("7-7", D(1), D("10.6"), 2),
    ]
    assert again == later
    assert sum(part.qty * part.price for part in later) == D("72.1")


def test_parts_that_an_earlier_run_booked_are_not_told_in_other_words() -> None:
    def order(**changes: Any) -> Order:
        fields: dict[str, Any] = {"instrument": InstrumentID("AAPL"), "side": Side.BUY, "ord_type": OrdType.LIMIT, "order_qty": D(7)} | changes
        return Order(cl_ord_id=OURS, broker=BrokerName("tradier"), account="VA1", time_in_force=TimeInForce.DAY, order_id=OrderID("7"), **fields)

    executed, found = Executed(), Executed()
    executed.recall([order(fills=(Fill(exec_id=ExecID("7-3"), qty=D(3), price=D(10), cum_qty=D(3), transact_ns=1),))])
    found.recall([order(external=True, prior_qty=D(3))])  # there before the desk was

    assert [(part.exec_id, part.qty, part.price) for part in executed.learn(row("7", "10.30"), 2)] == [
        ("7-3", D(3), D(10)),
        ("7-7", D(4), D("10.525")),
    ]
    assert [(part.exec_id, part.qty) for part in found.learn(row("7", "10.30", "4", "10.50"), 2)] == [("7-7", D(4))]


def test_a_fill_without_a_price_waits_for_it() -> None:
    executed = Executed()

    assert executed.learn(row("5", "0.0"), 1) == ()
    assert [part.price for part in executed.learn(row("5", "10.5", "5", "10.5"), 2)] == [D("10.5")]


def test_a_credit_is_a_price_above_zero() -> None:
    assert [part.price for part in Executed().learn(row("1", "-2.40", "1", "-2.40"), 1)] == [D("2.4")]


# -- refusals ----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "on_change", "on_question"),
    [
        (200, b'{"errors":{"error":"InitialMargin: no"}}', Rejected, BadRequest),
        (400, b'{"errors":{"error":["InitialMargin: no","and more"]}}', Rejected, BadRequest),
        (400, b'{"errors":{"error":"OmsInternalError: Your order could not be processed."}}', InDoubt, BadRequest),
        (400, b"Invalid parameter, tag: contains invalid characters.", Rejected, BadRequest),
        (400, b"order already in finalized state: filled", Rejected, BadRequest),
        (400, b"something else", InDoubt, BadRequest),
        (401, b"Invalid Access Token", AuthFailed, AuthFailed),
        (401, b'{"fault":{"faultstring":"Access Token expired"}}', AuthFailed, AuthFailed),
        (401, golden("error_token"), AuthFailed, AuthFailed),
        (403, b"no", AuthFailed, AuthFailed),
        (404, b"", InDoubt, BadRequest),
        (429, b"slowly", InDoubt, RateLimited),
        (500, b'{"fault":{"faultstring":"Datastore Error"}}', InDoubt, Unavailable),
        (500, b"steps.servicecallout.ExecutionFailed", InDoubt, Unavailable),
        *((status, b"", InDoubt, Unavailable) for status in (502, 503, 504, 520, 530)),
        (200, b"<html>back soon</html>", InDoubt, Unavailable),
        (302, b"", InDoubt, ProtocolError),
    ],
)
def test_a_refusal_says_whether_it_happened(status: int, body: bytes, on_change: type, on_question: type) -> None:
    response = Response(status=status, headers={}, body=body)

    assert type(errors.refusal(response, changes=True)) is on_change
    assert type(errors.refusal(response, changes=False)) is on_question


def test_an_order_nobody_knows_is_no_word_on_the_token() -> None:
    assert errors.is_not_found(Response(status=401, headers={}, body=b"Unauthorized Account: VA20296703"))
    assert not errors.is_not_found(Response(status=401, headers={}, body=b"Invalid Access Token"))
    assert errors.is_over(Response(status=400, headers={}, body=b"order already in finalized state: canceled"))


def test_what_was_closed_as_tradier_prints_it() -> None:
    raw = b"""{"gainloss":{"closed_position":{"close_date":"2018-10-31T00:00:00.000Z","cost":12.7,"gain_loss":-2.64,"gain_loss_percent":-20.79,
        "open_date":"2018-06-19T00:00:00.000Z","proceeds":10.06,"quantity":1.0,"symbol":"BRK/B","term":134}}}"""
    (row,) = wire.rows(raw, "gainloss", "closed_position", wire.ClosedPosition)
    closed = codec.decode_closed(row)

    assert (closed.instrument, closed.qty, closed.cost, closed.proceeds, closed.gain) == ("BRK.B", D(1), D("12.7"), D("10.06"), D("-2.64"))
    assert (closed.opened, closed.closed) == (date(2018, 6, 19), date(2018, 10, 31))
