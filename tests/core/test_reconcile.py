"""Two views side by side: what differs, and what each difference calls for."""

from msgspec.structs import replace

from tests.factories import AAPL, BTC, D, approved, report
from trading_system.core.blotter import order_of
from trading_system.core.lifecycle import apply
from trading_system.core.reconcile import Kind, compare_orders, compare_positions
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
    assert kinds([WORKING], []) == [Kind.ABSENT_ORDER]


def test_positions_differ_by_fees_or_by_something_to_look_at() -> None:
    found = compare_positions({AAPL: D(5), BTC: D(1)}, [position("5"), position("0.998", BTC)], {}, {BTC: D("0.003")})

    assert [(item.kind, item.qty) for item in found] == [(Kind.FEE, D("-0.002"))]
    assert [item.kind for item in compare_positions({BTC: D(1)}, [position("0.99", BTC)], {}, {BTC: D("0.003")})] == [Kind.POSITION]
    assert [item.kind for item in compare_positions({}, [position("1")], {}, {})] == [Kind.POSITION]
    assert compare_positions({AAPL: D(1)}, [], {AAPL: D(1)}, {}) == ()
