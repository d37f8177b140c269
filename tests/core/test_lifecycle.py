"""The order state machine: every pair of the table, any order of arrival, any repetition."""

import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import AAPL, BTC, D, approved, report, trade, wish
from trading_system.core import lifecycle
from trading_system.core.blotter import order_of
from trading_system.core.lifecycle import TRANSITIONS, Anomaly, apply, closed_unsent, escalated, in_doubt
from trading_system.domain.fix import Doubt, ExecType, OrdStatus, OrdType, Side
from trading_system.domain.ids import ExecID, OrderID
from trading_system.domain.order import Order

NEW = report(ExecType.NEW, OrdStatus.NEW, cum_qty=D(0))


def order() -> Order:
    return order_of(approved())


def after(*reports: object) -> Order:
    current = order()
    for item in reports:
        current = apply(current, item).order  # type: ignore[arg-type]
    return current


def test_the_table_has_every_pair() -> None:
    columns = set(lifecycle._EVENT.values()) | set(lifecycle._ANSWER.values())

    assert set(TRANSITIONS) == set(itertools.product(OrdStatus, columns))
    assert set(lifecycle._EVENT) == set(ExecType) - {ExecType.ORDER_STATUS}
    assert set(lifecycle._ANSWER) == set(OrdStatus)


@pytest.mark.parametrize("status", OrdStatus)
@pytest.mark.parametrize("exec_type", ExecType)
def test_every_pair_gives_a_sound_order(status: OrdStatus, exec_type: ExecType) -> None:
    start = replace(order(), ord_status=status, order_id=OrderID("o1"))
    said = OrdStatus.CANCELED if exec_type is ExecType.ORDER_STATUS else OrdStatus.NEW
    result = apply(start, report(exec_type, said, cum_qty=D(0), exec_id=ExecID("e1"), last_qty=D(1), last_px=D(100)))

    assert isinstance(result.order.ord_status, OrdStatus)
    if not result.order.ord_status.terminal:
        assert result.order.order_qty == result.order.cum_qty + result.order.leaves_qty


@pytest.mark.parametrize("status", OrdStatus)
@pytest.mark.parametrize("said", OrdStatus)
def test_an_answer_to_a_question_is_understood_in_every_state(status: OrdStatus, said: OrdStatus) -> None:
    result = apply(replace(order(), ord_status=status), report(ExecType.ORDER_STATUS, said, cum_qty=D(0)))

    assert result.bookings == ()
    if status is OrdStatus.FILLED and said is not OrdStatus.REJECTED:
        assert result == replace(result, anomaly=None)


def test_two_fills_make_it_filled() -> None:
    done = after(NEW, trade("e1", "4", "100", "4"), trade("e2", "6", "101", "10", full=True))

    assert (done.ord_status, done.cum_qty, done.leaves_qty, done.avg_px) == (OrdStatus.FILLED, D(10), D(0), D("100.6"))
    assert done.settled


def test_a_fill_after_a_cancel_still_counts() -> None:
    canceled = after(NEW, report(ExecType.CANCELED, OrdStatus.CANCELED, cum_qty=D(4)))

    assert canceled.unbooked_qty == D(4)
    assert not canceled.settled

    late = apply(canceled, trade("e1", "4", "100", "4"))

    assert late.order.ord_status is OrdStatus.CANCELED
    assert late.order.settled
    assert len(late.bookings) == 1


def test_a_filled_answer_keeps_what_is_not_booked_reserved() -> None:
    filled = after(NEW, report(ExecType.ORDER_STATUS, OrdStatus.FILLED, cum_qty=None))

    assert filled.ord_status is OrdStatus.FILLED
    assert filled.unbooked_qty == D(10)


def test_an_overfill_is_booked_and_named() -> None:
    result = apply(after(NEW, trade("e1", "10", "100", "10", full=True)), trade("e2", "2", "100", "12"))

    assert result.anomaly is Anomaly.OVERFILL
    assert result.order.cum_qty == D(12)
    assert len(result.bookings) == 1


def test_one_id_with_two_executions_is_not_booked() -> None:
    result = apply(after(NEW, trade("e1", "4", "100", "4")), trade("e1", "5", "100", "5"))

    assert result.anomaly is Anomaly.CONFLICTING_FILL
    assert result.bookings == ()


def test_the_same_execution_under_two_ids_is_booked_once() -> None:
    result = apply(after(NEW, trade("stream-id", "4", "100", "4")), trade("activity-id", "4", "100", "4"))

    assert result.bookings == ()
    assert result.order.cum_qty == D(4)


def test_a_bust_takes_the_fill_back_for_good() -> None:
    bust = report(ExecType.TRADE_CANCEL, OrdStatus.PARTIALLY_FILLED, exec_id=ExecID("b1"), exec_ref_id=ExecID("e1"), cum_qty=D(0))
    result = apply(after(NEW, trade("e1", "4", "100", "4")), bust)

    assert [booking.reversal for booking in result.bookings] == [True]
    assert result.order.cum_qty == D(0)
    assert apply(result.order, trade("e1", "4", "100", "4")).bookings == ()
    assert apply(result.order, bust).bookings == ()


def test_a_correction_replaces_the_fill() -> None:
    correction = report(
        ExecType.TRADE_CORRECT, OrdStatus.PARTIALLY_FILLED, exec_id=ExecID("e2"), exec_ref_id=ExecID("e1"), last_qty=D(3), last_px=D(99), cum_qty=D(3)
    )
    result = apply(after(NEW, trade("e1", "4", "100", "4")), correction)

    assert [(booking.fill.qty, booking.reversal) for booking in result.bookings] == [(D(4), True), (D(3), False)]
    assert result.order.cum_qty == D(3)


def corrected(exec_id: str, ref: str, px: str, cum: str) -> object:
    return report(
        ExecType.TRADE_CORRECT,
        OrdStatus.FILLED,
        exec_id=ExecID(exec_id),
        exec_ref_id=ExecID(ref),
        last_qty=D(5),
        last_px=D(px),
        cum_qty=D(cum),
    )


def test_two_corrections_that_look_alike_are_two() -> None:
    """Both say the order's cumulative quantity of that moment, which is no place of their own."""
    result = after(
        NEW,
        trade("e1", "5", "100", "5"),
        trade("e2", "5", "100", "10", full=True),
        corrected("c1", "e1", "101", "10"),
        corrected("c2", "e2", "101", "10"),
    )

    assert [fill.exec_id for fill in result.fills] == ["c1", "c2"]


def test_a_filled_order_that_is_busted_whole_keeps_nothing_reserved() -> None:
    bust = report(ExecType.TRADE_CANCEL, OrdStatus.FILLED, exec_id=ExecID("b1"), exec_ref_id=ExecID("e1"), cum_qty=D(0))
    busted = after(NEW, trade("e1", "10", "100", "10", full=True), bust)

    assert busted.unbooked_qty == 0
    assert busted.settled


def test_what_was_said_to_be_filled_stays_reserved_when_another_fill_is_corrected_or_busted() -> None:
    """All of it is filled, says an answer, and not all of it was told: what is corrected before it was told itself, and what is taken back, is not
    the rest."""
    filled = report(ExecType.ORDER_STATUS, OrdStatus.FILLED, cum_qty=D(10))
    bust = report(ExecType.TRADE_CANCEL, OrdStatus.FILLED, exec_id=ExecID("b1"), exec_ref_id=ExecID("e1"), cum_qty=D(8))
    unseen = after(NEW, trade("e1", "2", "100", "2"), filled, corrected("c1", "e2", "101", "10"))
    taken_back = after(NEW, trade("e1", "2", "100", "2"), filled, bust)

    assert (unseen.cum_qty, unseen.unbooked_qty) == (D(7), D(3))
    assert (taken_back.cum_qty, taken_back.unbooked_qty) == (D(0), D(8))
    assert apply(unseen, trade("e3", "3", "100", "10", full=True)).order.settled


def test_after_a_bust_a_fill_that_looks_like_an_earlier_one_is_another() -> None:
    bust = report(ExecType.TRADE_CANCEL, OrdStatus.PARTIALLY_FILLED, exec_id=ExecID("b1"), exec_ref_id=ExecID("e1"), cum_qty=D(4))
    result = after(NEW, trade("e1", "4", "100", "4"), trade("e2", "4", "100", "8"), bust, trade("e3", "4", "100", "8"))

    assert [fill.exec_id for fill in result.fills] == ["e2", "e3"]


def test_a_busted_execution_read_again_says_nothing_of_the_quantity() -> None:
    bust = report(ExecType.TRADE_CANCEL, OrdStatus.NEW, exec_id=ExecID("b1"), exec_ref_id=ExecID("e1"), cum_qty=D(0))
    busted = after(NEW, trade("e1", "4", "100", "4"), bust)

    assert apply(busted, trade("e1", "4", "100", "4")).order == busted


def test_a_late_acknowledgement_reopens_an_order_proven_absent() -> None:
    absent = closed_unsent(order(), "not found", 1, Doubt.PROVEN_ABSENT)

    assert absent.settled

    result = apply(absent, NEW)

    assert result.anomaly is Anomaly.REAPPEARED
    assert result.order.ord_status is OrdStatus.NEW
    assert apply(closed_unsent(order(), "no", 1), NEW).anomaly is Anomaly.CONTRADICTION


def test_any_word_from_the_broker_ends_the_doubt() -> None:
    assert apply(in_doubt(order(), "timeout", 1), NEW).order.doubt is Doubt.NONE
    assert apply(escalated(order(), "long", 1), NEW).order.doubt is Doubt.NONE


def test_a_report_about_something_else_changes_nothing() -> None:
    assert apply(order(), report(ExecType.NEW, OrdStatus.NEW, instrument=BTC)).anomaly is Anomaly.MISMATCH
    assert apply(order(), report(ExecType.NEW, OrdStatus.NEW, side=Side.SELL)).order == order()


@pytest.mark.parametrize(("changes", "size"), [({"reduce_only": True}, D(7)), ({}, D(10))])
def test_a_trailing_stop_shrinks_with_the_trade_that_it_closes(changes: dict[str, bool], size: Decimal) -> None:
    start = replace(after(NEW), ord_type=OrdType.TRAILING_STOP, order_qty=D(10), **changes)
    result = apply(start, report(ExecType.ORDER_STATUS, OrdStatus.NEW, cum_qty=D(0), order_qty=D(7)))

    assert (result.order.order_qty, result.order.leaves_qty) == (size, size)


def test_a_cash_order_is_full_when_the_broker_says_so() -> None:
    cash = order_of(approved(wish(None, cash_order_qty=D(500))))
    first = apply(cash, trade("e1", "2", "100", "2", order_qty=None)).order
    done = apply(first, trade("e2", "3", "100", "5", full=True, order_qty=None)).order

    assert first.ord_status is OrdStatus.PARTIALLY_FILLED
    assert (done.ord_status, done.order_qty, done.settled) == (OrdStatus.FILLED, D(5), True)


@st.composite
def histories(draw: st.DrawFn) -> list[object]:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) <= 10))
    reports: list[object] = [NEW]
    cum = Decimal(0)
    for number, size in enumerate(sizes):
        cum += size
        reports.append(trade(f"e{number}", str(size), str(100 + number), str(cum), full=cum == 10))
    if cum < 10 and draw(st.booleans()):
        reports.append(report(ExecType.CANCELED, OrdStatus.CANCELED, cum_qty=cum))
    return reports


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_give_the_same_fills(history: list[object], chance: object) -> None:
    straight = after(*history)
    shuffled = history + history
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    mixed = after(*shuffled)

    assert (mixed.cum_qty, mixed.ord_status, mixed.settled) == (straight.cum_qty, straight.ord_status, straight.settled)
    assert {fill.exec_id for fill in mixed.fills} == {fill.exec_id for fill in straight.fills}
    assert mixed.instrument == AAPL
