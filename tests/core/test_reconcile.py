"""Two views side by side: what differs, and what each difference calls for."""

from msgspec.structs import replace

from tests.factories import AAPL, BTC, D, approved, report
from trading_system.core.blotter import order_of
from trading_system.core.lifecycle import apply
from trading_system.core.reconcile import CASH_GRAIN, Kind, compare_cash, compare_orders, compare_positions, knight
from trading_system.domain.account import Position
from trading_system.domain.fix import ExecType, OrdStatus
from trading_system.domain.ids import ClOrdID, OrderID

WORKING = apply(order_of(approved()), report(ExecType.NEW, OrdStatus.NEW, cum_qty=D(0))).order
OPEN = report(ExecType.ORDER_STATUS, OrdStatus.NEW, cum_qty=D(0))


def kinds(ours: object, theirs: object) -> list[Kind]:
    known = {WORKING.cl_ord_id: WORKING}
    return [difference.kind for difference in compare_orders(ours, known, theirs)]  # type: ignore[arg-type]


def position(qty: str, instrument: object = AAPL) -> Position:
    return Position(instrument=instrument, qty=D(qty), avg_px=D(1), mark_px=D(1), unrealized_pnl=D(0))  # type: ignore[arg-type]


def test_equal_books_have_no_difference() -> None:
    assert kinds([WORKING], [OPEN]) == []
    assert kinds([WORKING], [replace(OPEN, cl_ord_id=ClOrdID("other"))]) == []


def test_each_difference_has_its_name() -> None:
    foreign = replace(OPEN, cl_ord_id=ClOrdID("by-hand"), order_id=OrderID("o9"))
    stranger = replace(OPEN, cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb"), order_id=OrderID("o8"))

    assert kinds([], [foreign]) == [Kind.FOREIGN_ORDER]
    assert kinds([], [stranger]) == [Kind.STRANGER]
    assert kinds([], [replace(stranger, order_id=None)]) == [Kind.STRANGER]
    assert kinds([WORKING], [replace(OPEN, cum_qty=D(2))]) == [Kind.STALE_ORDER]
    assert kinds([WORKING], [replace(OPEN, parent=ClOrdID("q1parent"))]) == [Kind.STALE_ORDER]
    assert kinds([WORKING], []) == [Kind.ABSENT_ORDER]


def test_an_exit_that_the_broker_made_smaller_is_stale() -> None:
    exit_ = replace(WORKING, parent=ClOrdID("q1parent"))
    smaller = replace(OPEN, parent=ClOrdID("q1parent"), order_qty=WORKING.order_qty - 1)

    assert [found.kind for found in compare_orders([exit_], {exit_.cl_ord_id: exit_}, [smaller])] == [Kind.STALE_ORDER]
    assert compare_orders([exit_], {exit_.cl_ord_id: exit_}, [replace(smaller, order_qty=WORKING.order_qty)]) == ()
    assert kinds([WORKING], [replace(OPEN, order_qty=WORKING.order_qty - 1)]) == []  # of another order it means nothing


def test_an_order_that_the_broker_kept_through_a_change_is_compared_with_the_new_intent() -> None:
    old = replace(WORKING, ord_status=OrdStatus.REPLACED)
    new = replace(WORKING, cl_ord_id=ClOrdID("q1bbbbbbbbbbbbbbbb"), orig_cl_ord_id=WORKING.cl_ord_id)

    assert compare_orders([new], {old.cl_ord_id: old, new.cl_ord_id: new}, [OPEN]) == ()


def test_positions_differ_by_fees_or_by_something_to_look_at() -> None:
    found = compare_positions({AAPL: D(5), BTC: D(1)}, [position("5"), position("0.998", BTC)], {}, {BTC: D("0.003")})

    assert [(item.kind, item.qty) for item in found] == [(Kind.FEE, D("-0.002"))]
    assert [item.kind for item in compare_positions({BTC: D(1)}, [position("0.99", BTC)], {}, {BTC: D("0.003")})] == [Kind.POSITION]
    assert [item.kind for item in compare_positions({}, [position("1")], {}, {})] == [Kind.POSITION]
    assert compare_positions({AAPL: D(1)}, [], {AAPL: D(1)}, {}) == ()


def test_what_something_else_moved_is_expected_new_names_included() -> None:
    renamed = compare_positions({AAPL: D(5)}, [position("5", BTC)], {}, {}, [AAPL])

    assert [(item.instrument, item.kind) for item in renamed] == [(AAPL, Kind.EXPECTED), (BTC, Kind.EXPECTED)]
    assert [item.kind for item in compare_positions({AAPL: D(5), BTC: D(1)}, [position("10"), position("2", BTC)], {}, {}, [AAPL])] == [
        Kind.EXPECTED,
        Kind.POSITION,
    ]


def test_money_differs_by_fees_or_by_something_to_look_at() -> None:
    assert compare_cash(D(100), D(100) + CASH_GRAIN, D(0)) == (D(0), False)
    assert compare_cash(D(100), D(99), D(1)) == (D(-1), True)
    assert compare_cash(D(100), D("98.98"), D(1)) == (D("-1.02"), False)
    assert compare_cash(D(100), D(101), D(5)) == (D(1), False)


def test_more_of_ours_than_was_meant_is_found() -> None:
    assert knight(WORKING, OPEN, D(10)) == ""
    assert knight(WORKING, replace(OPEN, order_qty=D(11)), D(11)) == ""
    assert "10 were meant" in knight(WORKING, replace(OPEN, order_qty=D(11)), D(10))
    assert "is two orders" in knight(WORKING, replace(OPEN, order_id=OrderID("o2")), D(10))
    assert knight(WORKING, replace(OPEN, order_id=OrderID("o2"), cl_ord_id=ClOrdID("")), D(10)) == ""
    assert knight(WORKING, replace(OPEN, order_qty=D(99)), D(0)) == ""  # a cash order: the market says how much
    assert knight(replace(WORKING, external=True), replace(OPEN, order_id=OrderID("o2")), D(1)) == ""
