"""Reservations: running sums that always equal a recount, and exposure that is freed only when nothing can move any more."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, NOW, D, approved, report, trade, wish
from trading_system.core.blotter import NOTHING, Blotter, Reserved, reservation
from trading_system.core.lifecycle import closed_unsent, in_doubt
from trading_system.domain.fix import Doubt, ExecType, OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, OrderID

CL = ClOrdID("q1aaaaaaaaaaaaaaaa")


def recount(blotter: Blotter) -> Reserved:
    total = NOTHING
    for order in blotter:
        total = total.moved(NOTHING, reservation(order))
    return total


def test_an_order_reserves_from_the_moment_it_is_opened() -> None:
    blotter = Blotter()
    order = blotter.open(approved())

    assert blotter.reserved(BROKER, AAPL) == Reserved(D(10), D(0), D("1000.0"), 1, 0)
    assert blotter.working() == blotter.unsettled() == blotter.working_on(BROKER, AAPL) == (order,)
    assert len(blotter) == 1


def test_a_cancel_keeps_what_filled_and_is_not_booked() -> None:
    blotter = Blotter()
    blotter.open(approved())
    blotter.apply(report(ExecType.CANCELED, OrdStatus.CANCELED, cum_qty=D(4)))

    assert blotter.reserved(BROKER, AAPL).buy_qty == D(4)
    assert blotter.working() == ()

    blotter.apply(trade("e1", "4", "100", "4"))

    assert blotter.reserved(BROKER, AAPL) == NOTHING
    assert blotter.reserved_keys() == ()
    assert blotter.working_on(BROKER, AAPL) == ()


def test_doubt_keeps_everything_reserved_and_absence_frees_it() -> None:
    blotter = Blotter()
    order = blotter.open(approved())
    blotter.put(in_doubt(order, "timeout", 1))

    assert blotter.reserved(BROKER, AAPL).in_doubt == 1
    assert blotter.reserved(BROKER, AAPL).buy_qty == D(10)

    blotter.put(closed_unsent(order, "not there", 2, Doubt.PROVEN_ABSENT))

    assert blotter.total == NOTHING


def test_an_order_is_found_by_either_id() -> None:
    blotter = Blotter()
    blotter.open(approved())
    blotter.apply(report(ExecType.NEW, OrdStatus.NEW, cum_qty=D(0)))

    assert blotter.by_order_id(BROKER, OrderID("o1")) == blotter.get(CL)
    assert blotter.by_order_id(BROKER, OrderID("o2")) is None
    assert blotter.find(report(ExecType.NEW, OrdStatus.NEW, cl_ord_id=ClOrdID(""))) == blotter.get(CL)
    assert blotter.find(report(ExecType.NEW, OrdStatus.NEW, cl_ord_id=ClOrdID("x"), order_id=None)) is None


SECOND, THIRD = ClOrdID("q1bbbbbbbbbbbbbbbb"), ClOrdID("q1cccccccccccccccc")


def kept() -> Blotter:
    """A working order with a fill, and the change of it, as a broker tells of both that keeps its order."""
    blotter = Blotter()
    blotter.open(approved())
    blotter.apply(report(ExecType.NEW, OrdStatus.NEW))
    blotter.apply(trade("e1", "2", "100", None))
    blotter.open(replace(approved(), cl_ord_id=SECOND, orig_cl_ord_id=CL, orig_order_id=OrderID("o1")))
    changed = report(ExecType.NEW, OrdStatus.NEW, cl_ord_id=SECOND)
    assert blotter.succeed(blotter.get(SECOND), changed) == blotter.get(CL)  # type: ignore[arg-type]
    blotter.apply(changed)
    return blotter


def test_an_order_that_the_broker_keeps_through_a_change_is_the_new_intents() -> None:
    blotter = kept()
    old, new = blotter.get(CL), blotter.get(SECOND)
    assert old is not None
    assert new is not None

    assert (old.ord_status, old.cum_qty, new.ord_status, new.prior_qty, new.leaves_qty) == (OrdStatus.REPLACED, 2, OrdStatus.PARTIALLY_FILLED, 2, 8)
    assert blotter.find(trade("e1", "2", "100", None)) == old  # told again: the old intent's
    assert blotter.find(trade("e2", "8", "100", None)) == new
    assert blotter.find(report(ExecType.REPLACED, OrdStatus.REPLACED)) == old
    assert blotter.find(report(ExecType.ORDER_STATUS, OrdStatus.REPLACED)) == old  # the broker knows both by their names
    assert blotter.find(report(ExecType.NEW, OrdStatus.NEW, cl_ord_id=ClOrdID(""))) == new
    assert (blotter.asked_as(new), blotter.asked_as(old)) == (CL, CL)

    done = blotter.apply(trade("e2", "8", "100", None, full=True)).order

    assert (done.cl_ord_id, done.ord_status, done.cum_qty, blotter.total) == (SECOND, OrdStatus.FILLED, 10, NOTHING)
    assert blotter.succeed(done, report(ExecType.NEW, OrdStatus.NEW, cl_ord_id=SECOND)) is None


def test_an_old_intent_is_forgotten_without_its_successor() -> None:
    blotter = kept()
    blotter.forget(blotter.get(CL))  # type: ignore[arg-type]

    assert blotter.by_order_id(BROKER, OrderID("o1")) == blotter.get(SECOND)
    assert blotter.asked_as(blotter.get(SECOND)) == SECOND  # type: ignore[arg-type]


def test_a_change_that_came_too_late_leaves_the_old_order_as_it_ended() -> None:
    blotter = Blotter()
    blotter.open(approved())
    blotter.apply(trade("e1", "10", "100", None, full=True))
    blotter.open(replace(approved(), cl_ord_id=THIRD, orig_cl_ord_id=CL, orig_order_id=OrderID("o1")))
    old = blotter.succeed(blotter.get(THIRD), report(ExecType.ORDER_STATUS, OrdStatus.FILLED, cl_ord_id=THIRD, cum_qty=D(10)))  # type: ignore[arg-type]

    assert old is not None
    assert old.ord_status is OrdStatus.FILLED


def test_a_change_whose_order_filled_before_it_was_told_is_booked_once() -> None:
    """The old name is told of as filled, the new one too, and then the execution comes by the old name."""
    blotter = Blotter()
    blotter.open(approved())
    blotter.apply(report(ExecType.NEW, OrdStatus.NEW))
    blotter.open(replace(approved(), cl_ord_id=SECOND, orig_cl_ord_id=CL, orig_order_id=OrderID("o1")))
    blotter.apply(report(ExecType.ORDER_STATUS, OrdStatus.FILLED, cum_qty=D(10)))
    filled = report(ExecType.ORDER_STATUS, OrdStatus.FILLED, cl_ord_id=SECOND, cum_qty=D(10))
    blotter.succeed(blotter.get(SECOND), filled)  # type: ignore[arg-type]
    blotter.apply(filled)
    execution = trade("e1", "10", "100", None, full=True)
    blotter.apply(execution)
    old, new = blotter.get(CL), blotter.get(SECOND)
    assert old is not None
    assert new is not None

    assert (old.ord_status, old.cum_qty, new.ord_status, new.cum_qty) == (OrdStatus.REPLACED, 0, OrdStatus.FILLED, 10)
    assert (old.settled, new.settled, blotter.total) == (True, True, NOTHING)


def test_somebody_elses_inverse_contracts_count_what_they_are_about() -> None:
    found = report(ExecType.ORDER_STATUS, OrdStatus.NEW, cl_ord_id="somebody", inverse=True, price=D(95_000), order_qty=D(500))

    assert Blotter().adopt(found, "PA1").reserve_px == 1
    assert Blotter().adopt(replace(found, multiplier=D(10)), "PA1").reserve_px == 10


def test_a_foreign_order_is_adopted_with_what_it_had() -> None:
    blotter = Blotter()
    found = report(ExecType.ORDER_STATUS, OrdStatus.PARTIALLY_FILLED, cl_ord_id=ClOrdID(""), cum_qty=D(4), price=D(90))
    order = blotter.adopt(found, "PA1", prior=True)
    applied = blotter.apply(found)

    assert blotter.reserved(BROKER, AAPL).buy_qty == D(6)
    assert order.cl_ord_id == "external:o1"
    assert (applied.order.external, applied.order.cum_qty, applied.order.leaves_qty, applied.order.unbooked_qty) == (True, D(4), D(6), D(0))
    assert applied.order.avg_px is None

    before = blotter.apply(trade("e0", "4", "100", "4", cl_ord_id=ClOrdID("")))
    after = blotter.apply(trade("e1", "6", "100", "10", full=True, cl_ord_id=ClOrdID("")))

    assert (before.bookings, len(after.bookings)) == ((), 1)
    assert after.order.ord_status is OrdStatus.FILLED
    assert blotter.total == NOTHING


def test_a_client_id_that_another_account_has_is_another_order() -> None:
    """Other programs give one id to orders at several accounts."""
    blotter = Blotter()
    ours = blotter.adopt(report(ExecType.NEW, OrdStatus.NEW), "PA1")
    theirs = report(ExecType.NEW, OrdStatus.NEW, broker=BrokerName("alpaca-ira"))
    before = blotter.find(theirs)
    adopted = blotter.adopt(theirs, "PA2")
    again = blotter.adopt(replace(theirs, broker=BrokerName("alpaca-play")), "PA3")

    assert before is None
    assert [order.cl_ord_id for order in (ours, adopted, again)] == [ours.cl_ord_id, "external:o1", "external:alpaca-play:o1"]
    assert (blotter.find(theirs), blotter.find(report(ExecType.NEW, OrdStatus.NEW))) == (adopted, ours)


def test_a_reducing_order_reserves_units_and_no_money() -> None:
    blotter = Blotter()
    blotter.open(approved(wish("5", Side.SELL), position=D(5)))

    assert blotter.reserved(BROKER, AAPL) == Reserved(D(0), D(5), D(0), 1, 0)


STEPS = st.lists(
    st.sampled_from(
        [
            report(ExecType.NEW, OrdStatus.NEW, cum_qty=D(0)),
            trade("e1", "4", "100", "4"),
            trade("e2", "6", "101", "10", full=True),
            report(ExecType.CANCELED, OrdStatus.CANCELED, cum_qty=D(4)),
            report(ExecType.REJECTED, OrdStatus.REJECTED, cum_qty=D(0)),
            report(ExecType.ORDER_STATUS, OrdStatus.FILLED, cum_qty=D(10)),
        ]
    ),
    max_size=8,
)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 3), STEPS), max_size=6))
def test_running_sums_always_equal_a_recount(plan: list[tuple[int, list[object]]]) -> None:
    blotter = Blotter()
    for number in range(4):
        blotter.open(replace(approved(), cl_ord_id=ClOrdID(f"c{number}")))
    for number, steps in plan:
        for step in steps:
            blotter.apply(replace(step, cl_ord_id=ClOrdID(f"c{number}"), order_id=OrderID(f"o{number}")))  # type: ignore[type-var]

            assert blotter.total == recount(blotter)
            assert set(blotter.unsettled()) == {order for order in blotter if not order.settled}


def test_what_is_long_settled_can_be_forgotten_and_nothing_else() -> None:
    blotter = Blotter()
    for number in range(3):
        blotter.open(replace(approved(), cl_ord_id=ClOrdID(f"c{number}"), approved_ns=NOW + number))
    blotter.apply(trade("e1", "10", "100", "10", full=True, cl_ord_id=ClOrdID("c0"), order_id=OrderID("o0")))
    blotter.put(closed_unsent(blotter.get(ClOrdID("c1")), "no", NOW + 1))  # type: ignore[arg-type]

    assert [order.cl_ord_id for order in blotter.settled_before(NOW + 1)] == ["c0"]
    assert [order.cl_ord_id for order in blotter.settled_before(NOW + 9)] == ["c0", "c1"]
    assert blotter.settled_before(NOW) == ()
    for order in blotter.settled_before(NOW + 9):
        blotter.forget(order)
    assert [order.cl_ord_id for order in blotter] == ["c2"]
    assert blotter.by_order_id(BROKER, OrderID("o0")) is None


def test_what_was_foreseen_is_what_is_done_unless_the_order_has_moved_on() -> None:
    blotter = Blotter()
    order = blotter.open(approved())
    first, second, between = trade("e1", "4", "100", "4"), trade("e3", "3", "100", "10", full=True), trade("e2", "3", "100", "7")

    foreseen = blotter.foresee(order, first)

    assert blotter.get(CL) is order
    assert blotter.apply(first) is foreseen

    late = blotter.foresee(foreseen.order, second)
    blotter.apply(between)

    assert late.order.cum_qty == D(7)  # of what was known then
    assert blotter.apply(second).order.cum_qty == D(10)
