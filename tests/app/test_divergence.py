"""What happened beside what paper would have given, by hand."""

from msgspec.structs import replace

from tests.factories import NOW, D
from tests.factories import wish as plain_wish
from trading_system.app.divergence import Shadow, measured
from trading_system.domain.fix import OrdStatus, Side
from trading_system.domain.ids import ClOrdID, ExecID
from trading_system.domain.order import Fill, Order

ORDER = Order(
    cl_ord_id=ClOrdID("a"),
    broker=plain_wish().broker,
    account="x",
    instrument=plain_wish().instrument,
    side=Side.BUY,
    ord_type=plain_wish().ord_type,
    time_in_force=plain_wish().time_in_force,
    order_qty=D(10),
    sent_ns=NOW,
    updated_ns=NOW,
)


def filled(qty: str, px: str, side: Side = Side.BUY) -> Order:
    fill = Fill(exec_id=ExecID("e"), qty=D(qty), price=D(px), cum_qty=D(qty), transact_ns=NOW + 2_000_000_000)
    return replace(ORDER, side=side, cum_qty=D(qty), fills=(fill,), ord_status=OrdStatus.FILLED)


def test_what_was_paid_is_measured_against_the_touch_and_against_paper() -> None:
    shadow = Shadow(cl_ord_id=ClOrdID("a"), touch=D(100), paper_px=D("100.5"), decided_ns=NOW)
    found = measured([(shadow, filled("10", "101")), (shadow, filled("5", "99", Side.SELL)), (replace(shadow, paper_px=None), ORDER)])

    assert (found.orders, found.filled, found.fill_ratio) == (3, 2, 0.5)
    assert found.slippage is not None
    assert abs(found.slippage - 0.01) < 1e-12  # a hundredth worse, both ways
    assert found.worst_slippage == found.slippage
    assert found.beside_paper is not None
    assert abs(found.beside_paper - (10 * 0.5 / 100.5 + 5 * 1.5 / 100.5) / 15) < 1e-12
    assert found.latency_s == 2


def test_nothing_is_measured_of_nothing() -> None:
    found = measured([])

    assert (found.orders, found.fill_ratio, found.slippage, found.latency_s) == (0, None, None, None)
