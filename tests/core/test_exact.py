"""To the last field: what one report, one posting, one observation leaves behind. Beside the properties, which say less about more."""

import pytest
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, NOW, D, approved, mark, report, trade
from trading_system.core import lifecycle
from trading_system.core.blotter import order_of
from trading_system.core.ledger import (
    NS_PER_DAY,
    EquityMark,
    Ledger,
    Posting,
    adjustment,
    mark_equity,
    postings_of,
    transferred,
)
from trading_system.core.lifecycle import TRANSITIONS, Anomaly, Applied, Booking, apply, closed_unsent, escalated, in_doubt
from trading_system.domain.fix import Doubt, ExecType, OrdStatus
from trading_system.domain.ids import ExecID, OrderID
from trading_system.domain.instrument import Pricing
from trading_system.domain.order import Fill

ORDER = order_of(approved())
NEW = apply(ORDER, report(ExecType.NEW, OrdStatus.NEW, cum_qty=D(0))).order
LATER = NOW + 5
FILL = Fill(exec_id=ExecID("e1"), qty=D(4), price=D(100), cum_qty=D(4), fee=D("0.5"), fee_currency="USD", transact_ns=NOW + 1)


def test_the_table_is_read_as_it_is_written_and_a_short_row_is_an_error() -> None:
    assert lifecycle._read_table(lifecycle._TABLE) == TRANSITIONS
    with pytest.raises(ValueError, match="zip"):
        lifecycle._read_table("PNW NEW\nPN =")


def test_a_trade_leaves_its_fill_with_every_field() -> None:
    told = trade("e1", "4", "100", "4", fee=D("0.5"), fee_currency="USD", transact_ns=NOW + 1, recv_ns=LATER, text="part")
    applied = apply(NEW, told)

    assert applied.bookings == (Booking(FILL),)
    assert applied.order == replace(
        NEW, ord_status=OrdStatus.PARTIALLY_FILLED, cum_qty=D(4), stated_cum_qty=D(4), fills=(FILL,), text="part", updated_ns=LATER
    )
    assert apply(applied.order, replace(told, text="")) == Applied(applied.order)  # again, with nothing to say: nothing
    assert apply(applied.order, replace(told, last_px=D(99))) == Applied(applied.order, anomaly=Anomaly.CONFLICTING_FILL)


def test_the_most_that_was_ever_stated_stays_stated() -> None:
    stated = apply(NEW, report(ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED, cum_qty=D(8))).order

    assert (stated.stated_cum_qty, stated.cum_qty, stated.unbooked_qty) == (D(8), D(0), D(8))
    assert apply(stated, trade("e1", "4", "100", "4")).order.stated_cum_qty == D(8)
    assert apply(NEW, trade("e1", "4", "100", None)).order.stated_cum_qty == D(4)


def test_exactly_full_is_no_overfill_and_one_more_is() -> None:
    full = apply(NEW, trade("e1", "10", "100", "10"))
    over = apply(NEW, trade("e1", "11", "100", "11"))

    assert (full.anomaly, full.order.ord_status) == (None, OrdStatus.FILLED)
    assert (over.anomaly, over.order.ord_status) == (Anomaly.OVERFILL, OrdStatus.FILLED)
    suspended = apply(replace(NEW, ord_status=OrdStatus.SUSPENDED), report(ExecType.ORDER_STATUS, OrdStatus.SUSPENDED, cum_qty=D(11)))
    assert (suspended.anomaly, suspended.order.ord_status) == (Anomaly.OVERFILL, OrdStatus.FILLED)


def test_an_order_whose_size_the_broker_says_takes_it_and_keeps_its_own() -> None:
    unknown = replace(NEW, order_qty=D(0))

    assert apply(unknown, report(ExecType.NEW, OrdStatus.NEW, order_qty=D(7))).order.order_qty == D(7)
    assert apply(NEW, report(ExecType.NEW, OrdStatus.NEW, order_qty=D(7))).order.order_qty == D(10)
    assert apply(unknown, report(ExecType.NEW, OrdStatus.NEW, order_qty=None)).order.order_qty == D(0)


def test_an_event_says_what_happened_whatever_status_rides_along() -> None:
    canceled = replace(NEW, ord_status=OrdStatus.CANCELED)

    assert apply(canceled, trade("e1", "4", "100", "4", full=True)).order.ord_status is OrdStatus.CANCELED
    assert apply(canceled, trade("e1", "10", "100", "10")).order.ord_status is OrdStatus.FILLED
    assert apply(NEW, report(ExecType.CANCELED, OrdStatus.FILLED, cum_qty=D(0))).order.ord_status is OrdStatus.CANCELED
    cash = replace(NEW, order_qty=D(0), cash_order_qty=D(500))
    assert apply(cash, trade("e1", "4", "100", "4", order_qty=None)).order.ord_status is OrdStatus.PARTIALLY_FILLED
    assert apply(cash, trade("e1", "4", "100", "4", full=True, order_qty=None)).order.ord_status is OrdStatus.FILLED
    assert apply(NEW, trade("e1", "4", "100", "4", full=True)).order.ord_status is OrdStatus.PARTIALLY_FILLED


def test_a_bust_needs_no_reference_to_be_harmless_and_a_filled_answer_without_a_number_is_all() -> None:
    filled = apply(NEW, trade("e1", "10", "100", "10")).order
    bust = report(ExecType.TRADE_CANCEL, OrdStatus.FILLED, exec_id=ExecID("b1"))

    assert apply(filled, bust).order.voided == ()
    assert apply(filled, replace(bust, exec_ref_id=ExecID("e1"))).order.voided == ("e1",)
    assert apply(NEW, report(ExecType.ORDER_STATUS, OrdStatus.FILLED)).order.stated_cum_qty == D(10)
    plain = apply(NEW, trade("e2", "4", "100", "4", exec_ref_id=ExecID("e9"))).order
    assert plain.voided == ()


def test_an_order_that_a_bust_emptied_works_again_when_the_broker_says_so_and_no_other_does() -> None:
    alive = report(ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED, cum_qty=D(4))
    over = apply(apply(NEW, trade("e1", "4", "100", "4")).order, trade("e2", "7", "100", "11")).order
    busted = apply(over, report(ExecType.TRADE_CANCEL, OrdStatus.PARTIALLY_FILLED, exec_id=ExecID("b1"), exec_ref_id=ExecID("e2"))).order

    assert (busted.ord_status, busted.cum_qty) == (OrdStatus.FILLED, D(4))
    assert (apply(busted, alive).order.ord_status, apply(busted, alive).order.leaves_qty) == (OrdStatus.PARTIALLY_FILLED, D(6))
    stated = apply(NEW, report(ExecType.ORDER_STATUS, OrdStatus.FILLED, cum_qty=D(10))).order
    assert apply(stated, alive).order.ord_status is OrdStatus.FILLED  # an older answer


def test_what_was_done_before_the_first_look_is_no_conflict() -> None:
    found = replace(NEW, prior_qty=D(4), cum_qty=D(4), stated_cum_qty=D(4))
    done = apply(found, trade("e1", "4", "100", "4"))

    assert (done.bookings, done.anomaly, done.order.cum_qty) == ((), None, D(4))
    first = apply(NEW, trade("e1", "4", "100", "4")).order
    again = apply(first, trade("other", "4", "100", "4"))  # the same execution under another list's id
    assert (again.bookings, again.anomaly) == ((), None)


def test_a_correction_is_an_execution_without_a_place_of_its_own() -> None:
    first = apply(NEW, trade("e1", "4", "100", "4")).order
    corrected = apply(first, replace(trade("e2", "3", "101", "3"), exec_type=ExecType.TRADE_CORRECT, exec_ref_id=ExecID("e1")))

    assert [(fill.exec_id, fill.qty, fill.price, fill.cum_qty) for fill in corrected.order.fills] == [("e2", D(3), D(101), None)]
    assert [booking.reversal for booking in corrected.bookings] == [True, False]


@pytest.mark.parametrize("now_ns", [NOW - 1, LATER])
def test_doubt_absence_and_escalation_say_why_and_when(now_ns: int) -> None:
    when = max(NOW, now_ns)

    assert in_doubt(NEW, "silence", now_ns) == replace(NEW, doubt=Doubt.IN_DOUBT, text="silence", updated_ns=when)
    assert escalated(NEW, "long", now_ns) == replace(NEW, doubt=Doubt.ESCALATED, text="long", updated_ns=when)
    closed = closed_unsent(NEW, "no", now_ns, Doubt.PROVEN_ABSENT)
    assert closed == replace(NEW, ord_status=OrdStatus.REJECTED, doubt=Doubt.PROVEN_ABSENT, text="no", updated_ns=when)
    with pytest.raises(AssertionError, match="an order with fills exists"):
        closed_unsent(apply(NEW, trade("e1", "4", "100", "4")).order, "no", now_ns)


def test_an_execution_without_an_id_is_a_bug_of_the_codec() -> None:
    with pytest.raises(AssertionError, match="codecs refuse an execution without an id"):
        apply(NEW, replace(trade("e1", "4", "100", "4"), exec_id=None))


def test_an_order_is_known_by_the_first_id_that_comes() -> None:
    assert NEW.order_id == "o1"
    assert apply(NEW, report(ExecType.NEW, OrdStatus.NEW, order_id=OrderID("o2"))).order.order_id == "o1"


# -- the ledger -------------------------------------------------------------------------------------------------------------------------------


def test_a_fill_is_five_lines_and_a_fee_two_more() -> None:
    lines = postings_of(ORDER, FILL, "USD", Pricing(D(100)))

    assert lines == (
        Posting("assets", AAPL, D(4)),
        Posting("trading", AAPL, D(-4)),
        Posting("assets", "USD", D(-40_000)),
        Posting("trading", "USD", D(40_000)),
        Posting("assets", "USD", D("-0.5")),
        Posting("fees", "USD", D("0.5")),
    )
    assert postings_of(ORDER, replace(FILL, fee=D(0)), "USD", Pricing()) == (
        *lines[:2],
        Posting("assets", "USD", D(-400)),
        Posting("trading", "USD", D(400)),
    )
    assert adjustment("USD", D(7)) == (Posting("assets", "USD", D(7)), Posting("external", "USD", D(-7)))


def test_postings_that_do_not_sum_to_zero_are_a_bug() -> None:
    ledger = Ledger()
    for lines in (
        [Posting("assets", "USD", D(1))],
        [Posting("assets", "USD", D(1)), Posting("fees", "USD", D(1))],
        [Posting("assets", "USD", D(1)), Posting("fees", "EUR", D(-1))],
        [Posting("assets", "USD", D(2)), Posting("fees", "USD", D(-1)), Posting("trading", "USD", D(1))],
    ):
        with pytest.raises(AssertionError, match="a set of postings sums to zero"):
            ledger.post(BROKER, lines)
    assert ledger.balances() == {}


def test_profit_counts_the_multiplier_and_needs_no_history() -> None:
    ledger = Ledger()
    ledger.book(ORDER, Booking(replace(FILL, fee=D(0))), "USD", Pricing(D(100)))

    assert ledger.pnl(BROKER, AAPL, D(101), Pricing(D(100))) == D(400)
    assert Ledger().pnl(BROKER, AAPL, D(101), Pricing(D(100))) == D(0)


def test_marks_move_field_by_field() -> None:
    first = mark_equity(None, equity=D(98), last_equity=D(100), crypto_pnl=D(-3), now_ns=NOW)
    day = NOW // NS_PER_DAY

    assert first == EquityMark(
        day=day, day_start=D(100), high_water=D(100), equity=D(98), crypto_day_start=D(-3), crypto_high=D(-3), crypto_pnl=D(-3)
    )
    assert isinstance(first.day, int)
    same = mark_equity(first, equity=D(97), last_equity=D(50), crypto_pnl=D(1), now_ns=NOW + 1)
    assert same == replace(first, equity=D(97), crypto_pnl=D(1), crypto_high=D(1))
    after = mark_equity(same, equity=D(96), last_equity=D(97), crypto_pnl=D(0), now_ns=NOW + NS_PER_DAY)
    assert after == replace(same, day=day + 1, day_start=D(97), equity=D(96), crypto_day_start=D(0), crypto_pnl=D(0))
    third = mark_equity(after, equity=D(96), last_equity=D(1), crypto_pnl=D(0), now_ns=NOW + NS_PER_DAY + 5)
    assert third.day_start == D(97)


def test_fractions_are_of_what_there_was_however_little() -> None:
    little = mark("0.5", day_start=D(1), high_water=D("0.8"))

    assert (little.loss(), little.drawdown()) == (D("0.5"), D("0.375"))
    assert transferred(mark("1"), D(1), D(1)) == replace(mark("1"), equity=D(2), day_start=D(2), high_water=D(2))
    assert transferred(mark("3", day_start=D(4)), D(3), D(-1)).equity == D(2)
