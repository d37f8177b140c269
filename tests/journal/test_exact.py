"""To the last field: what each kind of record leaves in the books. Beside test_replay.py, which says that a restart and a running desk agree."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, BTC, NOW, SECOND, D, approved, mark, report, trade, wish
from trading_system.core.blotter import order_of
from trading_system.core.ledger import transferred
from trading_system.core.lifecycle import closed_unsent, escalated, in_doubt
from trading_system.core.risk import Halt, Level
from trading_system.domain.account import Flow, FlowKind
from trading_system.domain.fix import Doubt, ExecType, OrdStatus, OrdType, Side
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, OrderID
from trading_system.domain.instrument import AssetClass, Pricing
from trading_system.domain.order import Approved
from trading_system.domain.report import ExecutionReport
from trading_system.journal.record import (
    Adjusted,
    Alert,
    AlertAcked,
    Armed,
    CancelAsked,
    CashAdjusted,
    ClosedUnsent,
    Doubted,
    Escalated,
    Flowed,
    HaltCleared,
    HaltSet,
    Intent,
    Marked,
    Record,
    Reported,
    Started,
    Watermark,
)
from trading_system.journal.replay import ALERTS_MAX, FLOWS_KEPT_NS, NS_PER_DAY, RECENT_MAX, RETIRE_NS, Books, flow_key, replay

CL = ClOrdID("q1aaaaaaaaaaaaaaaa")
TWO = ClOrdID("c2")
OTHER = BrokerName("kraken")
MSFT = InstrumentID("MSFT")
LATER = NOW + SECOND


def intent(cl_ord_id: ClOrdID = CL, request: Any = None, **changes: Any) -> Intent:
    return Intent(approved=approval(cl_ord_id, request, **changes))


def approval(cl_ord_id: ClOrdID = CL, request: Any = None, **changes: Any) -> Approved:
    """The gate's own, under another id; changes are the request's."""
    passed = replace(approved(), cl_ord_id=cl_ord_id)
    return replace(passed, request=replace(request or passed.request, **changes))


def reported(item: ExecutionReport, **changes: Any) -> Reported:
    fields: dict[str, Any] = {"account": "PA1", "currency": "USD", "multiplier": D(1), "asset_class": AssetClass.EQUITY}
    return Reported(report=item, **(fields | changes))


def told(exec_type: ExecType, status: OrdStatus, cl_ord_id: ClOrdID = CL, **changes: Any) -> Reported:
    fields: dict[str, Any] = {"cl_ord_id": cl_ord_id, "order_id": OrderID(f"o-{cl_ord_id}"), "recv_ns": LATER}
    return reported(report(exec_type, status, **(fields | changes)))


def asked(cl_ord_id: ClOrdID = CL, *, sent: bool = True) -> CancelAsked:
    return CancelAsked(cl_ord_id=cl_ord_id, sent=sent, now_ns=NOW)


def closed(cl_ord_id: ClOrdID = CL, *, absent: bool = False, rejected: bool = False) -> ClosedUnsent:
    return ClosedUnsent(cl_ord_id=cl_ord_id, text="never left", proven_absent=absent, rejected=rejected, now_ns=LATER)


def flow(kind: FlowKind = FlowKind.TRANSFER, **changes: Any) -> Flow:
    fields: dict[str, Any] = {"broker": BROKER, "flow_id": "f1", "kind": kind, "currency": "USD", "amount": D(50), "text": "", "transact_ns": NOW}
    return Flow(**(fields | changes))


def flowed(item: Flow, **changes: Any) -> Flowed:
    fields: dict[str, Any] = {"worth": D(50), "equity_before": D(1_000), "now_ns": LATER}
    return Flowed(flow=item, **(fields | changes))


def adjusted(instrument: InstrumentID = AAPL, *, fee: bool = False, qty: str = "2") -> Adjusted:
    return Adjusted(
        broker=BROKER, instrument=instrument, asset_class=AssetClass.EQUITY, qty=D(qty), price=D(100), reason="found", fee=fee, now_ns=NOW
    )


def cash(amount: str = "7", *, fee: bool = False) -> CashAdjusted:
    return CashAdjusted(broker=BROKER, currency="USD", amount=D(amount), reason="found", fee=fee, now_ns=NOW)


def alert(text: str, severity: str = "warning") -> Alert:
    return Alert(severity=severity, text=text, now_ns=NOW)


def halt(scope: str = "all", level: Level = Level.HALT, text: str = "stop") -> Halt:
    return Halt(scope=scope, level=level, rule="OWNER", text=text, set_ns=NOW)


# -- a desk's own -----------------------------------------------------------------------------------------------------------------


def test_nothing_is_known_before_the_first_record() -> None:
    books = replay([])

    assert (books.mark, books.armed, books.armed_spent, books.epoch, books.retired, books.alert_count) == (None, None, 0, 0, 0, 0)
    assert not any([*books.blotter, books.halts, books.watermarks, books.expected, books.cash_opened, books.cancels, books.recent])


def test_a_start_counts_the_epoch_and_the_first_one_of_each_broker_is_remembered() -> None:
    def started(epoch: int, brokers: tuple[BrokerName, ...]) -> Started:
        return Started(epoch=epoch, version="0", config_hash="h", environment="paper", brokers=brokers, now_ns=NOW + epoch)

    books = replay([started(1, (BROKER,)), started(2, (BROKER, OTHER))])

    assert books.epoch == 2
    assert books.first_start_ns == {BROKER: NOW + 1, OTHER: NOW + 2}


def test_a_halt_only_becomes_harder_and_one_as_hard_replaces_it() -> None:
    books = Books()
    for set_now, holds in (
        (halt(level=Level.HALT), "stop"),
        (halt(level=Level.REDUCE_ONLY, text="softer"), "stop"),
        (halt(level=Level.HALT, text="as hard"), "as hard"),
        (halt(level=Level.KILL, text="harder"), "harder"),
        (halt(level=Level.HALT, text="softer again"), "harder"),
    ):
        books.fold(HaltSet(halt=set_now))

        assert books.halts["all"].text == holds


def test_a_cleared_halt_is_the_one_of_that_scope_and_a_star_is_all() -> None:
    records: list[Record] = [HaltSet(halt=halt()), HaltSet(halt=halt("crypto")), HaltCleared(scope="crypto", by="owner", now_ns=NOW)]

    assert replay(records).halts == {"all": halt()}
    assert replay([*records, HaltCleared(scope="*", by="owner", now_ns=NOW)]).halts == {}


def test_the_last_mark_and_the_last_watermark_of_each_broker_hold() -> None:
    records: list[Record] = [
        Marked(mark=mark("1")),
        Marked(mark=mark("2")),
        Watermark(broker=BROKER, fills_ns=NOW),
        Watermark(broker=OTHER, fills_ns=NOW + 1),
        Watermark(broker=BROKER, fills_ns=NOW + 2),
    ]
    books = replay(records)

    assert books.mark == mark("2")
    assert books.watermarks == {BROKER: NOW + 2, OTHER: NOW + 1}


def test_armed_again_is_unspent_and_only_what_opens_risk_spends() -> None:
    armed = Armed(accounts=("PA1",), max_notional=D(5_000), until_ns=LATER, now_ns=NOW)
    opening, worth = intent(), approved().reserve_qty * approved().reserve_px
    reducing = Intent(approved=replace(approval(TWO), reducing=True))
    dry = Intent(approved=replace(approval(ClOrdID("c3")), dry_run=True))

    assert worth == D(1_000)
    assert replay([armed, opening]).armed_spent == worth
    assert replay([armed, opening, intent(ClOrdID("c4"))]).armed_spent == 2 * worth
    assert replay([armed, reducing, dry]).armed_spent == 0
    assert replay([armed, opening, armed]).armed_spent == 0
    assert replay([armed, replace(armed, until_ns=LATER + 1)]).armed == replace(armed, until_ns=LATER + 1)


# -- alerts -----------------------------------------------------------------------------------------------------------------------


def test_alerts_are_numbered_from_the_first_and_infos_count_but_do_not_wait() -> None:
    books = replay([alert("one"), alert("two", "info"), alert("three", "critical"), alert("four")])

    assert books.alert_count == 4
    assert {number: item.text for number, item in books.alerts.items()} == {1: "one", 3: "three", 4: "four"}


@pytest.mark.parametrize(("number", "left"), [(1, [2, 3]), (2, [1, 3]), (0, []), (9, [1, 2, 3])])
def test_an_acknowledgement_is_of_one_alert_or_of_all(number: int, left: list[int]) -> None:
    books = replay([alert("one"), alert("two"), alert("three"), AlertAcked(number=number, by="owner", now_ns=NOW)])

    assert list(books.alerts) == left
    assert books.alert_count == 3


def test_beyond_the_bound_the_oldest_alert_goes() -> None:
    books = replay(alert(str(number)) for number in range(1, ALERTS_MAX + 1))
    assert len(books.alerts) == ALERTS_MAX
    books.fold(alert("one more"))

    assert (len(books.alerts), min(books.alerts), max(books.alerts)) == (ALERTS_MAX, 2, ALERTS_MAX + 1)


def test_critical_is_what_nobody_has_seen_yet_but_for_the_halt_that_says_so() -> None:
    books = replay([alert("meh"), alert("bad", "critical"), alert("UNSEEN: somebody must look", "critical"), alert("worse", "critical")])

    assert books.critical() == (("bad", NOW), ("worse", NOW))


# -- money and units without an order -----------------------------------------------------------------------------------------------


def test_units_from_outside_are_booked_at_what_they_are_worth() -> None:
    books = replay([flowed(flow(instrument=AAPL, amount=D(0))), flowed(flow(instrument=BTC, amount=D(0))), adjusted()])

    assert books.ledger.position(BROKER, AAPL) == D(2)
    assert books.ledger.pnl(BROKER, AAPL, D(101), Pricing()) == D(2)
    assert books.asset_classes == {(BROKER, AAPL): AssetClass.EQUITY}
    assert books.expected == {(BROKER, BTC): 0}


def test_units_that_a_transfer_said_are_known_until_they_are_booked_and_a_split_says_none() -> None:
    came, more = flow(instrument=AAPL, amount=D(0), qty=D(3)), flow(flow_id="f2", instrument=AAPL, amount=D(0), qty=D(-1))
    action, back = flow(FlowKind.CORPORATE_ACTION, flow_id="f3", instrument=AAPL, qty=D(9)), replace(came, canceled=True)

    assert replay([flowed(came), flowed(more), flowed(action)]).expected == {(BROKER, AAPL): 2}
    assert replay([flowed(came), flowed(back)]).expected == {(BROKER, AAPL): 0}
    assert replay([flowed(came), adjusted()]).expected == {}


def test_a_fee_in_kind_is_booked_once_and_takes_no_other_purchase_with_it() -> None:
    bought: list[Record] = [intent(), reported(trade("e1", "4", "100", "4"))]

    assert replay([*bought, adjusted()]).bought == {(BROKER, AAPL): D(4)}
    assert replay([*bought, adjusted(MSFT, fee=True)]).bought == {(BROKER, AAPL): D(4)}
    assert replay([*bought, adjusted(fee=True)]).bought == {}


def test_money_from_outside_is_booked_and_opens_the_cash_of_its_broker() -> None:
    books = replay([cash(), cash("-2")])

    assert books.ledger.cash(BROKER, "USD") == D(5)
    assert books.cash_opened == {BROKER}


def test_a_flow_of_money_is_booked_and_one_that_is_taken_back_is_booked_back() -> None:
    there, back = flow(FlowKind.INCOME), flow(FlowKind.INCOME, canceled=True)

    assert (flow_key(there), flow_key(back)) == ((BROKER, "f1"), (BROKER, "f1~canceled"))
    assert replay([flowed(there)]).ledger.cash(BROKER, "USD") == D(50)
    assert replay([flowed(back)]).ledger.cash(BROKER, "USD") == D(-50)
    assert replay([flowed(there), flowed(back)]).flows == {(BROKER, "f1"): NOW, (BROKER, "f1~canceled"): NOW}
    assert replay([flowed(there)]).expected == {}


def test_a_prior_flow_is_remembered_and_moves_nothing() -> None:
    books = replay([Marked(mark=mark("1000")), flowed(flow(FlowKind.CORPORATE_ACTION, instrument=AAPL), prior=True)])

    assert books.flows == {(BROKER, "f1"): NOW}
    assert (books.ledger.balances(), books.mark, books.expected, books.voided) == ({}, mark("1000"), {}, {})


def test_flows_are_remembered_for_so_many_days_and_not_a_nanosecond_longer() -> None:
    books = replay([flowed(flow(flow_id="edge")), flowed(flow(flow_id="inside", transact_ns=NOW + 1))])
    books.fold(flowed(flow(flow_id="last", transact_ns=NOW + FLOWS_KEPT_NS)))

    assert books.flows == {(BROKER, "inside"): NOW + 1, (BROKER, "last"): NOW + FLOWS_KEPT_NS}
    assert FLOWS_KEPT_NS == 30 * NS_PER_DAY


def test_a_corporate_action_voids_the_stops_asked_for_before_it_and_a_dividend_does_not() -> None:
    action, dividend = flow(FlowKind.CORPORATE_ACTION, instrument=AAPL), flow(FlowKind.INCOME, instrument=AAPL)
    split, paid = replay([flowed(action)]), replay([flowed(dividend)])

    assert (split.voided, split.expected) == ({(BROKER, AAPL): LATER}, {(BROKER, AAPL): 0})
    assert (paid.voided, paid.expected) == ({}, {(BROKER, AAPL): 0})
    assert replay([flowed(flow(FlowKind.CORPORATE_ACTION))]).voided == {}


def test_a_transfer_moves_the_references_by_its_worth_and_income_does_not() -> None:
    before = mark("1000")
    moved = replay([Marked(mark=before), flowed(flow(amount=D(0)), worth=D(200))])
    back = replay([Marked(mark=before), flowed(flow(canceled=True, amount=D(0)), worth=D(200))])
    income = replay([Marked(mark=before), flowed(flow(FlowKind.INCOME))])

    assert moved.mark == transferred(before, D(1_000), D(200)) == replace(before, equity=D(1_200), day_start=D(1_200), high_water=D(1_200))
    assert back.mark == replace(before, equity=D(800), day_start=D(800), high_water=D(800))
    assert income.mark == before
    assert replay([flowed(flow())]).mark is None


def test_what_is_booked_or_taken_over_is_no_longer_waited_for() -> None:
    waits = mark("1000", unbooked=D(50), day_unbooked=D(50), high_unbooked=D(-50))

    assert replay([Marked(mark=waits), flowed(flow(FlowKind.INCOME))]).mark == replace(waits, unbooked=D(0), day_unbooked=D(0))
    assert replay([Marked(mark=waits), flowed(flow(FlowKind.FEE), worth=D(-50))]).mark == replace(waits, high_unbooked=D(0))
    assert replay([Marked(mark=waits), cash()]).mark == mark("1000")
    assert replay([Marked(mark=waits), cash(fee=True)]).mark == waits
    assert replay([Marked(mark=waits), adjusted(qty="0.5")]).mark == replace(waits, unbooked=D(0), day_unbooked=D(0))


# -- orders ---------------------------------------------------------------------------------------------------------------------------


def test_an_intent_is_an_order_and_is_remembered_for_the_throttle_unless_it_was_dry() -> None:
    wet, dry = approval(), replace(approval(TWO), dry_run=True)
    reducing = replace(approval(ClOrdID("c3")), reducing=True, approved_ns=LATER)
    books = replay([Intent(approved=wet), Intent(approved=dry), Intent(approved=reducing)])

    assert list(books.blotter) == [order_of(wet), order_of(dry), order_of(reducing)]
    assert list(books.recent) == [(NOW, wet.request), (LATER, reducing.request)]


def test_approvals_are_remembered_up_to_a_bound_the_latest_ones() -> None:
    books = replay(Intent(approved=replace(approval(ClOrdID(f"c{number}")), approved_ns=NOW + number)) for number in range(RECENT_MAX + 1))

    assert (len(books.recent), books.recent[0][0], books.recent[-1][0]) == (RECENT_MAX, NOW + 1, NOW + RECENT_MAX)


def test_doubt_escalation_and_the_end_of_an_order_that_never_left() -> None:
    order = order_of(approval())

    assert list(replay([intent(), Doubted(cl_ord_id=CL, text="slow", now_ns=LATER)]).blotter) == [in_doubt(order, "slow", LATER)]
    assert list(replay([intent(), Escalated(cl_ord_id=CL, text="look", now_ns=LATER)]).blotter) == [escalated(order, "look", LATER)]
    assert list(replay([intent(), closed()]).blotter) == [closed_unsent(order, "never left", LATER, Doubt.NONE)]
    assert list(replay([intent(), closed(absent=True)]).blotter) == [closed_unsent(order, "never left", LATER, Doubt.PROVEN_ABSENT)]
    for record in (closed(TWO), Doubted(cl_ord_id=TWO, text="", now_ns=NOW), Escalated(cl_ord_id=TWO, text="", now_ns=NOW)):
        with pytest.raises(AssertionError, match=r"^an order's intent comes before anything else about it$"):
            replay([intent(), record])


def test_an_order_that_never_left_is_unwanted_no_more_and_counts_as_refused_only_if_it_was() -> None:
    never, refused = replay([intent(), asked(), closed()]), replay([intent(), asked(), closed(rejected=True)])

    assert (never.cancels, never.rejects) == ({}, {})
    assert (refused.cancels, {broker: list(times) for broker, times in refused.rejects.items()}) == ({}, {BROKER: [LATER]})


def test_refusals_are_remembered_up_to_a_bound() -> None:
    books = replay([intent(), *[closed(rejected=True)] * (RECENT_MAX + 1)])

    assert len(books.rejects[BROKER]) == RECENT_MAX


def test_in_doubt_are_the_doubted_the_escalated_and_those_with_an_intent_and_no_word() -> None:
    ids = [ClOrdID(f"c{number}") for number in range(6)]
    books = replay(
        [
            *(intent(cl_ord_id) for cl_ord_id in ids),
            Doubted(cl_ord_id=ids[1], text="", now_ns=NOW),
            Escalated(cl_ord_id=ids[2], text="", now_ns=NOW),
            told(ExecType.NEW, OrdStatus.NEW, ids[3]),
            told(ExecType.PENDING_NEW, OrdStatus.PENDING_NEW, ids[4]),  # it has a number there
            closed(ids[5], absent=True),
            told(ExecType.PENDING_NEW, OrdStatus.PENDING_NEW, ClOrdID("by hand"), order_id=None),
        ]
    )

    assert [order.cl_ord_id for order in books.in_doubt()] == ids[:3]


def test_a_report_leaves_what_the_gate_needs_and_gives_what_it_did() -> None:
    books = replay([intent()])
    applied = books.fold(reported(trade("e1", "4", "100", "4"), multiplier=D(10), currency="EUR", asset_class=AssetClass.CRYPTO))

    assert applied is not None
    assert [booking.fill.exec_id for booking in applied.bookings] == ["e1"]
    assert books.blotter.get(CL) == applied.order
    assert books.asset_classes == {(BROKER, AAPL): AssetClass.CRYPTO}
    assert books.pricings == {(BROKER, AAPL): Pricing(D(10))}
    assert books.ledger.cash(BROKER, "EUR") == D(-4_000)
    assert books.ledger.position(BROKER, AAPL) == D(4)
    assert books.fold(asked()) is None


def test_an_order_of_somebody_else_is_adopted_on_its_account_with_what_it_had_filled() -> None:
    found = report(ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED, cum_qty=D(3))
    then, now = replay([reported(found, prior=True)]).blotter.get(CL), replay([reported(found)]).blotter.get(CL)

    assert then is not None
    assert now is not None
    assert (then.account, then.external, then.prior_qty, then.cum_qty) == ("PA1", True, D(3), D(3))
    assert (now.account, now.external, now.prior_qty, now.cum_qty, now.stated_cum_qty) == ("PA1", True, D(0), D(0), D(3))


def sell(instrument: InstrumentID, asset_class: AssetClass, *fills: ExecutionReport) -> list[Record]:
    request = replace(wish(side=Side.SELL), instrument=instrument)
    return [intent(request=request), *(reported(replace(fill, instrument=instrument, side=Side.SELL), asset_class=asset_class) for fill in fills)]


def test_a_fee_that_the_fill_states_is_not_waited_for() -> None:
    fills = (trade("e1", "4", "100", "4", fee=D("0.004"), fee_currency=AAPL), trade("e2", "2", "100", "6"))
    books = replay([intent(), *(reported(fill) for fill in fills)])

    assert books.bought == {(BROKER, AAPL): D(2)}
    assert books.ledger.position(BROKER, AAPL) == D("5.996")


def test_units_bought_and_money_from_coins_sold_add_up_until_their_fee_is_booked() -> None:
    fills = trade("e1", "4", "100", "4"), trade("e2", "2", "50", "6")
    bought = replay([intent(), *(reported(fill) for fill in fills)])
    coins, shares = sell(BTC, AssetClass.CRYPTO, *fills), sell(AAPL, AssetClass.EQUITY, *fills)

    assert (bought.bought, bought.sold) == ({(BROKER, AAPL): D(6)}, {})
    assert (replay(coins).bought, replay(coins).sold) == ({}, {BROKER: D(500)})
    assert (replay(shares).bought, replay(shares).sold) == ({}, {})
    assert replay([*coins, cash()]).sold == {BROKER: D(500)}
    assert replay([*coins, cash(fee=True)]).sold == {}
    assert replay([cash(fee=True)]).sold == {}


@pytest.mark.parametrize(("side", "asset_class"), [(Side.BUY, AssetClass.CRYPTO), (Side.SELL, AssetClass.CRYPTO)])
def test_a_bust_is_neither_a_purchase_nor_a_sale(side: Side, asset_class: AssetClass) -> None:
    bust = report(ExecType.TRADE_CANCEL, OrdStatus.NEW, exec_id=ExecID("b1"), exec_ref_id=ExecID("e1"), side=side)
    records: list[Record] = [intent(request=wish(side=side)), reported(replace(trade("e1", "4", "100", "4"), side=side), asset_class=asset_class)]
    before, books = replay(records), replay(records)
    applied = books.fold(reported(bust, asset_class=asset_class))

    assert applied is not None
    assert [booking.reversal for booking in applied.bookings] == [True]
    assert (books.bought, books.sold) == (before.bought, before.sold)
    assert books.ledger.balances() == {}


def test_a_brokers_no_is_counted_once_for_an_order_of_ours_that_was_in_no_doubt() -> None:
    no = told(ExecType.REJECTED, OrdStatus.REJECTED)

    def times(*records: Record) -> dict[BrokerName, list[int]]:
        return {broker: list(when) for broker, when in replay(records).rejects.items()}

    assert times(intent(), no) == times(intent(), no, no) == {BROKER: [LATER]}
    assert times(intent(), told(ExecType.NEW, OrdStatus.NEW), told(ExecType.REJECTED, OrdStatus.REJECTED)) == {BROKER: [LATER]}
    assert times(no) == {}  # somebody else's order
    assert times(intent(), Doubted(cl_ord_id=CL, text="", now_ns=NOW), no) == {}  # the answer to our question
    assert times(intent(), told(ExecType.NEW, OrdStatus.NEW)) == {}
    assert times(intent(), no, intent(TWO), told(ExecType.REJECTED, OrdStatus.REJECTED, TWO, recv_ns=LATER + 1)) == {BROKER: [LATER, LATER + 1]}


# -- cancels --------------------------------------------------------------------------------------------------------------------------


def test_a_cancel_is_counted_when_it_may_leave_and_waits_otherwise() -> None:
    assert replay([intent(), asked(sent=False)]).cancels == {CL: 0}
    assert replay([intent(), asked(sent=False), asked(), asked()]).cancels == {CL: 2}
    assert replay([intent(), asked()]).cancels == {CL: 1}


def test_unwanted_are_the_working_orders_of_that_broker_in_the_order_of_asking() -> None:
    elsewhere = ClOrdID("c3")
    opened = [intent(), intent(TWO), intent(elsewhere, broker=OTHER), intent(ClOrdID("wanted"))]
    books = replay([*opened, asked(TWO), asked(elsewhere), asked(), asked(ClOrdID("unheard of"))])

    assert [order.cl_ord_id for order in books.unwanted(BROKER)] == [TWO, CL]
    assert [order.cl_ord_id for order in books.unwanted(OTHER)] == [elsewhere]
    late = replay([intent(), told(ExecType.CANCELED, OrdStatus.CANCELED), asked()])
    assert (late.cancels, late.unwanted(BROKER)) == ({CL: 1}, ())  # asked too late


def test_an_order_that_is_over_is_unwanted_no_more_and_one_that_is_not_stays_so() -> None:
    assert replay([intent(), asked(), told(ExecType.CANCELED, OrdStatus.CANCELED)]).cancels == {}
    assert replay([intent(), asked(), told(ExecType.PENDING_CANCEL, OrdStatus.PENDING_CANCEL)]).cancels == {CL: 1}


def test_the_order_that_replaced_an_unwanted_one_is_not_wanted_either() -> None:
    successor = Intent(approved=replace(approval(TWO), orig_cl_ord_id=CL))
    bystander = intent(ClOrdID("c3"))
    replaced, canceled = told(ExecType.REPLACED, OrdStatus.REPLACED), told(ExecType.CANCELED, OrdStatus.CANCELED)

    assert replay([intent(), bystander, successor, asked(), replaced]).cancels == {TWO: 0}
    assert replay([intent(), bystander, successor, asked(), asked(TWO), replaced]).cancels == {TWO: 1}
    assert replay([intent(), bystander, successor, replaced]).cancels == {}
    assert replay([intent(), bystander, successor, asked(), canceled]).cancels == {}


# -- protection and leaving memory ----------------------------------------------------------------------------------------------------

STOP = ClOrdID("s1")
ENTRY = intent(protect_stop_px=D(90))
GUARD = intent(STOP, request=wish(side=Side.SELL), protects=CL)


def test_an_entry_that_asked_for_a_stop_and_the_stops_that_guard_it() -> None:
    second, again = intent(TWO, protect_stop_px=D(80)), intent(ClOrdID("s2"), request=wish(side=Side.SELL), protects=CL)
    books = replay([intent(ClOrdID("plain")), ENTRY, GUARD, second, again])

    assert {key: list(entries) for key, entries in books.protected.items()} == {(BROKER, AAPL): [CL, TWO]}
    assert books.stops == {CL: [STOP, ClOrdID("s2")]}


def dealt(cl_ord_id: ClOrdID, exec_id: str, qty: str, side: Side, cum: str | None = None, **changes: Any) -> Reported:
    item = trade(exec_id, qty, "100", cum or qty, full=True, cl_ord_id=cl_ord_id, order_id=OrderID(f"o-{cl_ord_id}"), side=side, recv_ns=LATER)
    return reported(replace(item, **changes))


def busted(cl_ord_id: ClOrdID, exec_id: str, side: Side) -> Reported:
    return told(
        ExecType.TRADE_CANCEL, OrdStatus.CANCELED, cl_ord_id, exec_id=ExecID(f"b-{exec_id}"), exec_ref_id=ExecID(exec_id), side=side, order_qty=D(20)
    )


EXIT, ANEW = ClOrdID("x1"), ClOrdID("n1")
SELLS = intent(EXIT, request=wish("20", side=Side.SELL))
BUYS = intent(ANEW, request=wish("20"))
SECOND_ENTRY = intent(TWO, request=wish("5"), protect_stop_px=D(80))


def kept(*records: Record) -> dict[ClOrdID, int]:
    """What each entry still guards; the books of a restart at each point say the same."""
    books = replay(records)
    return {name: int(qty) for entries in books.protected.values() for name, qty in entries.items()}


def test_a_stop_guards_what_its_entry_filled_until_it_is_closed_and_nothing_that_is_bought_later() -> None:
    filled, sold, bought = dealt(CL, "e1", "10", Side.BUY), dealt(EXIT, "x1", "10", Side.SELL), dealt(ANEW, "n1", "10", Side.BUY)
    part = dealt(EXIT, "x1", "4", Side.SELL)

    assert kept(ENTRY) == {CL: 0}
    assert kept(ENTRY, filled) == {CL: 10}
    assert kept(ENTRY, SELLS, filled, part) == {CL: 6}
    assert kept(ENTRY, SELLS, BUYS, filled, part, bought) == {CL: 6}
    assert kept(ENTRY, SELLS, BUYS, filled, sold, bought) == {CL: 0}
    assert kept(ENTRY, SELLS, BUYS, filled, bought, sold) == {CL: 10}  # what nobody wanted guarded goes first
    assert kept(ENTRY, SELLS, sold, filled) == {CL: 0}  # told in the wrong order
    assert kept(ENTRY, SELLS, BUYS, filled, dealt(EXIT, "x1", "20", Side.SELL), dealt(ANEW, "n1", "20", Side.BUY)) == {CL: 0}


def test_an_entry_that_fills_on_is_guarded_for_that_part() -> None:
    first, second = dealt(CL, "e1", "4", Side.BUY), dealt(CL, "e2", "6", Side.BUY, "10")

    assert kept(ENTRY, SELLS, first, dealt(EXIT, "x1", "4", Side.SELL), second) == {CL: 6}
    assert kept(ENTRY, GUARD, first, dealt(STOP, "s1", "4", Side.SELL), second) == {CL: 6}


def test_the_newest_entry_keeps_its_units_longest_and_a_stop_closes_its_own_entry() -> None:
    entries = (ENTRY, SECOND_ENTRY, dealt(CL, "e1", "10", Side.BUY), dealt(TWO, "t1", "5", Side.BUY))
    own = intent(STOP, request=wish(side=Side.SELL), protects=TWO)

    assert kept(*entries) == {CL: 10, TWO: 5}
    assert kept(*entries, SELLS, dealt(EXIT, "x1", "7", Side.SELL)) == {CL: 3, TWO: 5}
    assert kept(*entries, SELLS, dealt(EXIT, "x1", "12", Side.SELL)) == {CL: 0, TWO: 3}
    assert kept(*entries, own, dealt(STOP, "s1", "5", Side.SELL)) == {CL: 10, TWO: 0}
    assert kept(*entries, own, BUYS, dealt(ANEW, "n1", "9", Side.BUY), dealt(STOP, "s1", "3", Side.SELL)) == {CL: 10, TWO: 2}
    assert kept(ENTRY, own, SECOND_ENTRY, dealt(STOP, "s1", "5", Side.SELL), BUYS, dealt(ANEW, "n1", "9", Side.BUY), entries[3]) == {CL: 0, TWO: 0}


def test_short_entries_are_kept_likewise_and_one_that_turns_the_position_keeps_what_is_beyond() -> None:
    short = intent(TWO, request=wish("15", side=Side.SELL), protect_stop_px=D(120))
    sold, covered = dealt(TWO, "t1", "15", Side.SELL), dealt(ANEW, "n1", "6", Side.BUY)

    assert kept(short, sold) == {TWO: 15}
    assert kept(short, BUYS, sold, covered) == {TWO: 9}
    assert kept(ENTRY, short, dealt(CL, "e1", "10", Side.BUY), sold) == {CL: 0, TWO: 5}
    assert kept(ENTRY, short, dealt(CL, "e1", "10", Side.BUY), sold, busted(TWO, "t1", Side.SELL)) == {CL: 10, TWO: 0}


def test_what_a_busted_trade_had_closed_is_guarded_again_and_nothing_else() -> None:
    filled, sold, bought = dealt(CL, "e1", "10", Side.BUY), dealt(EXIT, "x1", "10", Side.SELL), dealt(ANEW, "n1", "10", Side.BUY)
    undone = busted(EXIT, "x1", Side.SELL)

    assert kept(ENTRY, SELLS, filled, sold, undone) == {CL: 10}
    assert kept(ENTRY, SELLS, BUYS, filled, sold, bought, undone) == {CL: 10}
    assert kept(ENTRY, SELLS, BUYS, filled, bought, sold, undone) == {CL: 10}
    assert kept(ENTRY, filled, busted(CL, "e1", Side.BUY)) == {CL: 0}
    assert kept(ENTRY, SELLS, BUYS, filled, sold, busted(CL, "e1", Side.BUY), bought, undone) == {CL: 0}
    assert kept(ENTRY, GUARD, filled, dealt(STOP, "s1", "10", Side.SELL), busted(STOP, "s1", Side.SELL)) == {CL: 10}
    other = intent(ClOrdID("x2"), request=wish("20", side=Side.SELL))
    again = (bought, other, dealt(ClOrdID("x2"), "x2", "10", Side.SELL), busted(ClOrdID("x2"), "x2", Side.SELL))
    assert kept(ENTRY, SELLS, BUYS, filled, sold, *again) == {CL: 0}


def test_a_correction_changes_what_is_guarded_by_the_difference_alone() -> None:
    def corrected(qty: str) -> Reported:
        item = trade("x2", qty, "101", None, cl_ord_id=EXIT, order_id=OrderID(f"o-{EXIT}"), side=Side.SELL, exec_ref_id=ExecID("x1"))
        return reported(replace(item, exec_type=ExecType.TRADE_CORRECT, order_qty=D(20)))

    told_so = (ENTRY, SELLS, BUYS, dealt(CL, "e1", "10", Side.BUY), dealt(EXIT, "x1", "10", Side.SELL), dealt(ANEW, "n1", "10", Side.BUY))
    undone = busted(EXIT, "x2", Side.SELL)

    assert kept(*told_so, corrected("10")) == {CL: 0}
    assert kept(*told_so, corrected("7")) == {CL: 3}
    assert kept(*told_so, corrected("10"), undone) == {CL: 10}
    assert kept(*told_so, corrected("7"), undone) == {CL: 10}


def test_units_that_went_otherwise_need_no_stop_and_those_that_come_have_asked_for_none() -> None:
    filled, came = dealt(CL, "e1", "10", Side.BUY), adjusted(qty="8")

    assert kept(ENTRY, filled, adjusted(qty="-4")) == {CL: 6}
    assert kept(ENTRY, filled, adjusted(qty="-4"), came) == {CL: 6}
    assert kept(ENTRY, filled, adjusted(qty="-10"), came) == {CL: 0}
    assert kept(ENTRY, filled, came, adjusted(qty="-4")) == {CL: 10}
    assert kept(ENTRY, filled, adjusted(MSFT, qty="-4")) == {CL: 10}


def test_an_exit_of_the_brokers_that_is_known_as_one_late_has_closed_its_own_entry() -> None:
    made = ClOrdID("made")
    told_so = (ENTRY, SECOND_ENTRY, dealt(CL, "e1", "10", Side.BUY), dealt(TWO, "t1", "5", Side.BUY))
    part = dealt(made, "m1", "3", Side.SELL, ord_type=OrdType.STOP, stop_px=D(80), order_qty=D(5))
    known_part = told(ExecType.NEW, OrdStatus.PARTIALLY_FILLED, made, side=Side.SELL, ord_type=OrdType.STOP, order_qty=D(5), cum_qty=D(3), parent=TWO)
    closed_two = dealt(made, "m1", "5", Side.SELL, ord_type=OrdType.STOP, stop_px=D(80), order_qty=D(5))
    known = told(ExecType.ORDER_STATUS, OrdStatus.FILLED, made, side=Side.SELL, ord_type=OrdType.STOP, order_qty=D(5), cum_qty=D(5), parent=TWO)

    assert kept(*told_so, closed_two) == {CL: 5, TWO: 5}
    assert kept(*told_so, closed_two, known) == {CL: 10, TWO: 0}
    assert kept(*told_so, part) == {CL: 7, TWO: 5}
    assert kept(*told_so, part, known_part) == {CL: 10, TWO: 2}
    assert kept(*told_so, part, known_part, busted(made, "m1", Side.SELL)) == {CL: 10, TWO: 5}


def test_an_entry_that_guards_nothing_any_more_leaves_memory_and_one_whose_stop_may_still_fill_stays() -> None:
    filled, sold, bought = dealt(CL, "e1", "10", Side.BUY), dealt(EXIT, "x1", "10", Side.SELL), dealt(ANEW, "n1", "10", Side.BUY)
    over = [told(ExecType.CANCELED, OrdStatus.CANCELED, name, side=side) for name, side in ((EXIT, Side.SELL), (ANEW, Side.BUY))]
    gone = replay([ENTRY, SELLS, BUYS, filled, sold, bought, *over, watermark(1)])
    rests = replay([ENTRY, GUARD, SELLS, filled, sold, told(ExecType.NEW, OrdStatus.NEW, STOP, side=Side.SELL), watermark(1)])

    assert (gone.protected, gone.stops, gone.closed, len(gone.blotter)) == ({}, {}, {}, 0)
    assert ({order.cl_ord_id for order in rests.blotter}, rests.stops) == ({CL, STOP, EXIT}, {CL: [STOP]})


def watermark(after_ns: int) -> Watermark:
    return Watermark(broker=BROKER, fills_ns=LATER + RETIRE_NS + after_ns)


def test_what_is_settled_for_longer_than_a_week_leaves_memory() -> None:
    over = told(ExecType.CANCELED, OrdStatus.CANCELED)
    kept, gone = replay([intent(), over, watermark(0)]), replay([intent(), over, watermark(1)])

    assert RETIRE_NS == 7 * NS_PER_DAY
    assert (len(kept.blotter), kept.retired) == (1, 0)
    assert (len(gone.blotter), gone.retired, gone.protected, gone.stops) == (0, 1, {}, {})
    assert replay([intent(), intent(TWO), over, told(ExecType.CANCELED, OrdStatus.CANCELED, TWO), watermark(1)]).retired == 2
    assert len(replay([intent(), told(ExecType.NEW, OrdStatus.NEW), watermark(1)]).blotter) == 1


def test_an_entry_leaves_memory_with_its_stops_once_there_is_nothing_to_guard() -> None:
    filled = replace(trade("e1", "10", "100", "10", full=True), recv_ns=LATER)
    stopped = replace(filled, cl_ord_id=STOP, order_id=OrderID("o2"), exec_id=ExecID("e2"), side=Side.SELL)
    still = replay([ENTRY, GUARD, reported(filled), watermark(1)])
    flat = replay([ENTRY, GUARD, reported(filled), reported(stopped), watermark(1)])
    beside = replay([ENTRY, GUARD, intent(TWO, protect_stop_px=D(80)), reported(filled), reported(stopped), watermark(1)])

    assert (CL in still.stops, still.retired) == (True, 0)
    assert (flat.protected, flat.stops, flat.retired, len(flat.blotter)) == ({}, {}, 2, 0)
    assert ({key: list(entries) for key, entries in beside.protected.items()}, beside.stops) == ({(BROKER, AAPL): [TWO]}, {})


def test_an_order_without_a_stop_leaves_memory_whatever_the_position() -> None:
    books = replay([intent(), reported(replace(trade("e1", "10", "100", "10", full=True), recv_ns=LATER)), watermark(1)])

    assert (len(books.blotter), books.retired, books.ledger.position(BROKER, AAPL)) == (0, 1, D(10))
