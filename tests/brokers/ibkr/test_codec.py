"""What TWS says becomes what the desk knows: recorded messages through ib_async's decoder, the codec and the table of orders."""

from decimal import Decimal

import pytest

from tests.brokers.ibkr.frames import COMMISSION, CONTRACT, ERROR, EXECUTION, OPEN_ORDER, ORDER_STATUS, POSITION, raw
from trading_system.brokers.ibkr import wire
from trading_system.brokers.ibkr.auth import prove
from trading_system.brokers.ibkr.contracts import decode_instrument, encode_instrument
from trading_system.brokers.ibkr.errors import Meaning, failure, meaning, refuses_change, refuses_new
from trading_system.brokers.ibkr.statuses import STATUS, decode_status
from trading_system.brokers.ibkr.tws import codec
from trading_system.brokers.ibkr.tws.orders import Orders
from trading_system.brokers.ibkr.tws.session import Heard, Mouth, TwsSession
from trading_system.domain.errors import AuthFailed, BadRequest, ProtocolError, RateLimited, Unavailable
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID
from trading_system.domain.order import NewOrder
from trading_system.domain.report import ExecutionReport
from trading_system.settings.secret import Secret
from trading_system.transport.session import Broken, StreamRefused

D = Decimal
NOW = 1_744_745_911_000_000_000


def greeted() -> TwsSession:
    session = TwsSession("tcp://twin", 100)
    session.on_open(0)
    session.on_frame(raw("178|20260413 21:27:03 Central European Standard Time|"), 0)
    return session


def heard(*shown: str) -> list[Heard]:
    session = greeted()
    return [message for one in shown for message in session.on_frame(raw(one), NOW).events if isinstance(message, Heard)]


def taken(orders: Orders, *shown: str) -> list[ExecutionReport]:
    """What the messages make known, as the connector takes them."""
    told: list[ExecutionReport | None] = []
    for name, args in heard(*shown):
        match name:
            case "openOrder":
                row = orders.opened(args[0], args[1], args[2], args[3].status, NOW)
                told.append(None if row is None else codec.decode_row(row, NOW))
            case "orderStatus":
                row = orders.stands(args, NOW)
                told.append(None if row is None else codec.decode_row(row, NOW))
            case "execDetails":
                told.append(orders.executed(args[1], args[2], NOW))
            case "commissionReport":
                told.append(orders.charged(args[0], NOW))
    return [report for report in told if report is not None]


# -- hello -----------------------------------------------------------------------------------------------------------------------------------------


def test_hello_is_the_preamble_the_versions_and_who_we_are() -> None:
    session = TwsSession("tcp://127.0.0.1:7497", 7)

    assert session.on_open(0).send == ("API\0", b"v157..178")
    step = session.on_frame(b"178\x0020260413 21:27:03 US/Eastern\0", 0)
    assert step.send == (b"71\x002\x007\x00\0",)
    assert not session.on_frame(raw("15|1|DU1,DU2,|"), 0).ready
    assert not session.on_frame(raw(ERROR), 0).ready
    assert session.on_frame(raw("9|1|38103|"), 0).ready
    assert (session.accounts, session.next_id) == (("DU1", "DU2"), 38103)


def test_a_tws_that_is_too_old_is_not_asked_again() -> None:
    session = TwsSession("tcp://twin", 7)
    session.on_open(0)

    with pytest.raises(StreamRefused, match="update TWS"):
        session.on_frame(raw("157|20260413 21:27:03 CET|"), 0)


def test_a_taken_client_id_is_said_plainly_and_tried_again() -> None:
    with pytest.raises(Broken, match="uses this IB_CLIENT_ID"):
        greeted().on_frame(raw("4|2|-1|326|Unable to connect as the client id is already in use. Retry with a unique client id.||"), 0)


@pytest.mark.parametrize("frame", [b"", b"{", b"3\0", b"5\x005\0", b"11\0-1\0", b"x\0", b"3\0" + b"a\0" * 11, b"\xff\xfe\0"])
def test_bytes_that_are_no_message_end_the_connection(frame: bytes) -> None:
    with pytest.raises(Broken):
        greeted().on_frame(frame, 0)


def test_a_kind_of_message_that_nobody_knows_says_nothing() -> None:
    assert greeted().on_frame(b"250\x001\0", 0).events == ()


# -- orders ----------------------------------------------------------------------------------------------------------------------------------------


def test_a_recorded_order_is_read_as_it_stands() -> None:
    (report, again) = taken(Orders(), OPEN_ORDER, ORDER_STATUS)

    assert again == report
    assert (report.cl_ord_id, report.order_id, report.instrument) == ("myref", "600745656-5", "AAPL")
    assert (report.side, report.ord_type, report.time_in_force, report.order_qty) == (Side.BUY, OrdType.MARKET, TimeInForce.DAY, 100)
    assert (report.ord_status, report.cum_qty, report.price) == (OrdStatus.NEW, 0, None)


@pytest.mark.parametrize(
    ("word", "tif", "kind"),
    [
        ("MIDPRICE", "DAY", OrdType.LIMIT),
        ("TRAIL LIMIT", "GTD", OrdType.TRAILING_STOP),
        ("MIT", "GTC", OrdType.STOP),
        ("LIT", "GTC", OrdType.STOP_LIMIT),
        ("MTL", "DTC", OrdType.MARKET),
    ],
)
def test_what_others_place_has_the_nearest_kind_that_we_have(word: str, tif: str, kind: OrdType) -> None:
    (report,) = taken(Orders(), OPEN_ORDER.replace("|MKT|", f"|{word}|").replace("|DAY|", f"|{tif}|"))

    assert report.ord_type is kind


def test_a_kind_of_order_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ProtocolError, match="order type"):
        taken(Orders(), OPEN_ORDER.replace("|MKT|", "|LEVITATE|"))


@pytest.mark.parametrize("line", [(EXECUTION, COMMISSION), (COMMISSION, EXECUTION)], ids=["fee last", "fee first"])
def test_an_execution_is_told_once_with_its_fee_whichever_comes_first(line: tuple[str, str]) -> None:
    orders = Orders()
    *_, trade = taken(orders, OPEN_ORDER, *line)

    assert (trade.exec_type, trade.exec_id, trade.last_qty, trade.last_px) == (ExecType.TRADE, "0000e0d5.67fe667b.01.01", 100, D("201.94"))
    assert (trade.fee, trade.fee_currency, trade.ord_status, trade.cum_qty) == (1, "USD", OrdStatus.FILLED, 100)
    assert trade.transact_ns == 1_744_745_911_000_000_000  # 19:38:31, which without a zone is UTC
    assert orders.late(NOW + 60_000_000_000) == []


def test_an_execution_waits_for_its_fee_and_not_for_ever() -> None:
    orders = Orders()

    assert all(report.exec_type is not ExecType.TRADE for report in taken(orders, OPEN_ORDER, EXECUTION))
    late = orders.late(NOW + 10_000_000_000)
    assert late == ["0000e0d5.67fe667b.01.01"]
    (trade,) = orders.without_fee(late, NOW)
    assert (trade.exec_id, trade.fee) == ("0000e0d5.67fe667b.01.01", 0)


def test_a_correction_replaces_the_execution_whose_name_it_ends_differently() -> None:
    orders = Orders()
    corrected = EXECUTION.replace("667b.01.01", "667b.01.02").replace("|201.94|600745656", "|201.90|600745656")
    *_, first, second = taken(orders, OPEN_ORDER, EXECUTION, COMMISSION, corrected, COMMISSION.replace("667b.01.01", "667b.01.02"))

    assert (first.exec_type, second.exec_type) == (ExecType.TRADE, ExecType.TRADE_CORRECT)
    assert (second.exec_ref_id, second.last_px) == (first.exec_id, D("201.90"))


def test_a_listing_tells_corrections_too() -> None:
    orders = Orders()
    messages = heard(EXECUTION, COMMISSION, EXECUTION.replace("667b.01.01", "667b.01.02"))
    for message in messages:
        if message.name == "commissionReport":
            orders.charged(message.args[0], NOW)
    rows = [(message.args[1], message.args[2]) for message in messages if message.name == "execDetails"]
    first, second = orders.listing(rows, NOW)

    assert (first.exec_type, second.exec_type, second.exec_ref_id) == (ExecType.TRADE, ExecType.TRADE_CORRECT, first.exec_id)


def test_numbers_that_were_given_out_are_known_after_a_restart() -> None:
    orders = Orders()
    orders.recall([])
    assert orders.highest == 0
    (report,) = taken(Orders(), OPEN_ORDER)
    assert report.order_id is not None
    assert codec.numbers_of(report.order_id) == (600745656, 5)


@pytest.mark.parametrize(
    ("word", "filled", "why", "status"),
    [
        ("PreSubmitted", 0, "", OrdStatus.NEW),
        ("PreSubmitted", 0, "child", OrdStatus.SUSPENDED),
        ("PreSubmitted", 0, "trigger", OrdStatus.NEW),
        ("Submitted", 5, "", OrdStatus.PARTIALLY_FILLED),
        ("PendingCancel", 5, "", OrdStatus.PENDING_CANCEL),
        ("Inactive", 0, "", OrdStatus.REJECTED),
        ("Inactive", 0, "locate", OrdStatus.NEW),
        ("Inactive", 5, "", OrdStatus.CANCELED),
        ("ApiCancelled", 0, "", OrdStatus.CANCELED),
    ],
)
def test_a_status_says_what_it_says_with_what_is_filled_and_why_it_waits(word: str, filled: int, why: str, status: OrdStatus) -> None:
    assert decode_status(word, D(filled), why) is status


def test_a_status_that_nobody_knows_is_refused() -> None:
    assert "Levitating" not in STATUS
    with pytest.raises(ProtocolError, match="Levitating"):
        decode_status("Levitating", D(0), "")


WISH = NewOrder(broker=BrokerName("ibkr"), instrument=InstrumentID("AAPL"), side=Side.SELL, order_qty=D(3), intent=IntentID("a"))


def said(**changes: object) -> list[str]:
    """The fields of an order as it leaves."""
    from msgspec.structs import replace

    mouth = Mouth()
    wish = replace(WISH, **changes)
    mouth.placeOrder(7, codec.words_of(wish.instrument), codec.encode_order(wish, "DU1", ClOrdID("q1aaaaaaaaaaaaaaaa")))  # type: ignore[no-untyped-call]
    (frame,) = mouth.take()
    return wire.split(frame)


@pytest.mark.parametrize(
    ("changes", "kind", "price", "aux", "tif"),
    [
        ({}, "MKT", "", "", "DAY"),
        ({"ord_type": OrdType.LIMIT, "price": D("1E+2")}, "LMT", "100", "", "DAY"),
        ({"ord_type": OrdType.LIMIT, "price": D("0.10"), "time_in_force": TimeInForce.AT_THE_CLOSE}, "LOC", "0.1", "", "DAY"),
        ({"time_in_force": TimeInForce.AT_THE_CLOSE}, "MOC", "", "", "DAY"),
        ({"time_in_force": TimeInForce.AT_THE_OPENING}, "MKT", "", "", "OPG"),
        ({"ord_type": OrdType.STOP_LIMIT, "price": D(9), "stop_px": D(10), "time_in_force": TimeInForce.GTC}, "STP LMT", "9", "10", "GTC"),
        ({"ord_type": OrdType.TRAILING_STOP, "trail_px": D("0.5")}, "TRAIL", "", "0.5", "DAY"),
    ],
)
def test_an_order_leaves_with_its_time_in_force_always(changes: dict[str, object], kind: str, price: str, aux: str, tif: str) -> None:
    fields = said(**changes)

    assert len(fields) == 114
    assert fields[16:22] == ["SELL", "3", kind, price, aux, tif]
    assert (fields[23], fields[26]) == ("DU1", "q1aaaaaaaaaaaaaaaa")


def test_a_trailing_fraction_leaves_as_percent() -> None:
    assert said(ord_type=OrdType.TRAILING_STOP, trail_pct=D("0.025"))[69] == "2.5"


# -- contracts and money ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AAPL", "BRK.B", "EUR/USD", "BTC/USD", "AAPL261218C00200000", "SPY261218P00480500"])
def test_names_of_instruments_go_there_and_back(name: str) -> None:
    words = encode_instrument(InstrumentID(name))
    back = decode_instrument(words.sec_type, words.symbol, words.currency, "", words.last_trade, words.right, words.strike)

    assert back == name


@pytest.mark.parametrize("name", ["USD/JPY", "NOBODY/USD", "EUR/GBP"])
def test_a_pair_that_is_not_quoted_in_dollars_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match="quoted in dollars"):
        encode_instrument(InstrumentID(name))


def test_what_cannot_be_traded_here_has_a_name_all_the_same() -> None:
    assert decode_instrument("FUT", "NKD", "USD", "NKDU5", "20250911", multiplier="5") == "NKDU5.FUT"
    assert decode_instrument("FUT", "SI", "USD", "SILU5", "20250926", multiplier="1000") == "SILU5.FUT"  # the small one of the same symbol
    assert decode_instrument("STK", "SAP", "EUR", "SAP") == "SAP.STK"


def test_details_give_grid_and_hours() -> None:
    (message,) = heard(CONTRACT)
    instrument = codec.decode_details(message.args[1], (), 1_775_476_800_000_000_000)

    assert (instrument.id, instrument.symbol, instrument.lot) == ("AAPL", "AAPL", 1)
    assert instrument.ticks[0].tick == D("0.01")
    assert [(window.open_ns, window.close_ns) for window in instrument.hours.windows] == [(1_775_482_200_000_000_000, 1_775_505_600_000_000_000)]


def test_a_float_is_the_shortest_decimal_that_it_stands_for() -> None:
    (message,) = heard(POSITION)

    assert codec.decode_number(message.args[3]) == D("201.8829709")
    assert codec.decode_number(1e-05) == D("0.00001")
    with pytest.raises(ProtocolError):
        codec.decode_number(1e400)


def test_figures_that_are_not_all_there_are_none() -> None:
    with pytest.raises(Unavailable):
        codec.decode_account({("NetLiquidation", "USD"): "1"}, [], "DU1", NOW)
    with pytest.raises(ProtocolError, match="another currency"):
        codec.decode_account({("NetLiquidation", "EUR"): "1", ("CashBalance", "USD"): "1"}, [], "DU1", NOW)


def test_money_of_another_country_is_a_position_whose_cost_ib_does_not_say() -> None:
    values = {("NetLiquidation", "USD"): "220", ("BuyingPower", "USD"): "220", ("CashBalance", "USD"): "110", ("CashBalance", "EUR"): "100"}
    (held,) = codec.decode_account(values | {("ExchangeRate", "EUR"): "1.1"}, [], "DU1", NOW).positions
    (unpriced,) = codec.decode_account(values, [], "DU1", NOW).positions

    assert (held.instrument, held.qty, held.avg_px, held.mark_px) == ("EUR/USD", 100, 0, D("1.1"))
    assert (unpriced.avg_px, unpriced.mark_px) == (0, None)


@pytest.mark.parametrize(
    ("accounts", "environment", "what"),
    [(("DU2",), "paper", "not the one in IB_ACCOUNT"), (("DU1", "DU2"), "live", "DU1 is a paper account"), ((), "paper", "none")],
)
def test_an_account_that_is_not_the_logins_or_of_another_kind_is_refused(accounts: tuple[str, ...], environment: str, what: str) -> None:
    with pytest.raises(AuthFailed, match=what):
        prove(Secret("DU1"), accounts, environment)


# -- errors ----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "new", "change"),
    [
        (201, True, True),  # refused
        (110, True, True),
        (321, True, True),
        (200, True, True),  # no such contract
        (10349, False, False),  # the time in force was set: a warning that ib_async takes for the end
        (399, False, False),
        (202, False, False),  # a cancel's confirmation
        (2102, False, True),
        (104, False, True),
        (10147, False, True),
        (1100, False, False),
        (98765, False, False),  # not listed: says nothing
    ],
)
def test_what_a_code_means_for_an_order(code: int, *, new: bool, change: bool) -> None:
    assert (refuses_new(code), refuses_change(code)) == (new, change)


def test_a_code_that_is_not_listed_is_no_refusal() -> None:
    assert meaning(98765) is Meaning.UNKNOWN


def test_questions_fail_in_the_way_that_says_what_to_do() -> None:
    assert isinstance(failure(100, "Max rate"), RateLimited)
    assert isinstance(failure(200, "No security definition"), BadRequest)
    read_only = failure(321, "Error validating request.-'bw' : cause - The API interface is currently in Read-Only mode.")
    assert isinstance(read_only, Unavailable)
    assert "untick Read-Only API" in str(read_only)
    assert "subscription" in str(failure(354, "Requested market data is not subscribed."))


@pytest.mark.parametrize("text", ["", "2147483647", "1.7976931348623157E308", "1.7976931348623157e+308", "9223372036854775807"])
def test_five_ways_to_leave_a_number_out(text: str) -> None:
    assert wire.number(text) is None


@pytest.mark.parametrize("text", ["x", "NaN", "Infinity"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        wire.number(text)
