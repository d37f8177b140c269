"""Which stops are missing and which are too many, by example and by properties."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import FACTS, D, approved, coin, stock
from trading_system.core.blotter import order_of
from trading_system.core.protection import audit, form, kept
from trading_system.domain.fix import Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Order
from trading_system.domain.ports import OrderRule

BASE = order_of(approved())


def entry(name: str, filled: object, side: Side = Side.BUY) -> Order:
    qty = Decimal(str(filled))
    return replace(BASE, cl_ord_id=ClOrdID(name), side=side, ord_status=OrdStatus.FILLED, order_qty=qty, cum_qty=qty, protect_stop_px=D(90))


def stop(name: str, qty: object, filled: object = 0, status: OrdStatus = OrdStatus.NEW, doubt: Doubt = Doubt.NONE) -> Order:
    return replace(
        BASE,
        cl_ord_id=ClOrdID(name),
        side=Side.SELL,
        ord_status=status,
        doubt=doubt,
        order_qty=Decimal(str(qty)),
        cum_qty=Decimal(str(filled)),
        stated_cum_qty=Decimal(str(filled)),
    )


def found(position: object, *stops: Order, exiting: object = 0, entries: tuple[Order, ...] = (entry("e", 10),)) -> list[tuple[str, ...]]:
    """The entries have what they filled and their stops did not close, as far as it is there."""
    closed = sum((one.cum_qty for one in stops), D(0))
    had = [(one, one.cum_qty - (closed if one.cl_ord_id == "e" else 0)) for one in entries]
    left = kept(had, Decimal(str(position)))
    guards = audit([(one, left[one.cl_ord_id]) for one in entries], {ClOrdID("e"): stops}, Decimal(str(position)), Decimal(str(exiting)), D(1))
    return [(guard.entry.cl_ord_id, str(guard.missing), str(guard.naked), str(len(guard.excess))) for guard in guards]


def test_a_fill_wants_a_stop_and_a_resting_one_is_enough() -> None:
    assert found(10) == [("e", "10", "10", "0")]
    assert found(10, stop("s", 10)) == []
    assert found(10, stop("s", 6)) == [("e", "4", "4", "0")]


def test_a_part_of_an_order_is_guarded_while_the_rest_still_works() -> None:
    part = replace(entry("e", 10), ord_status=OrdStatus.PARTIALLY_FILLED, cum_qty=D(4))

    assert found(4, entries=(part,)) == [("e", "4", "4", "0")]


def test_what_is_on_its_way_or_in_doubt_is_naked_but_not_missing() -> None:
    assert found(10, stop("s", 10, status=OrdStatus.PENDING_NEW)) == [("e", "0", "10", "0")]
    assert found(10, stop("s", 10, doubt=Doubt.IN_DOUBT)) == [("e", "0", "10", "0")]
    assert found(10, stop("s", 10, status=OrdStatus.CANCELED)) == [("e", "10", "10", "0")]


def test_what_the_stop_itself_sold_needs_none() -> None:
    assert found(6, stop("s", 10, filled=4, status=OrdStatus.PARTIALLY_FILLED)) == []
    assert found(0, stop("s", 10, filled=10, status=OrdStatus.FILLED)) == []


def test_a_stop_for_more_than_there_is_goes_and_an_exit_on_its_way_needs_none() -> None:
    assert found(6, stop("s", 10)) == [("e", "0", "0", "1")]
    assert found(10, stop("s", 10), exiting=4) == [("e", "0", "0", "1")]
    assert found(0, stop("s", 10)) == [("e", "0", "0", "1")]
    assert found(-5, stop("s", 10)) == [("e", "0", "0", "1")]
    assert found(0) == []


def test_the_oldest_entry_is_the_first_to_be_closed() -> None:
    entries = (entry("old", 5), entry("e", 10))

    assert found(12, entries=entries) == [("old", "2", "2", "0"), ("e", "10", "10", "0")]
    assert found(8, entries=entries) == [("e", "8", "8", "0")]
    assert found(-3, entries=(entry("short", 3, Side.SELL),)) == [("short", "3", "3", "0")]


def test_what_an_entry_has_left_is_guarded_however_much_is_held() -> None:
    old, new = entry("old", 5), entry("e", 10)

    assert kept([(old, D(5)), (new, D(10))], D(12)) == {"old": 2, "e": 10}
    assert kept([(old, D(5)), (new, D(10))], D(-12)) == {"old": 0, "e": 0}
    assert kept([(old, D(-1)), (new, D(3))], D(12)) == {"old": 0, "e": 3}
    assert audit([(new, D(0))], {}, D(10), D(0), D(1)) == ()
    (guard,) = audit([(new, D(4))], {}, D(10), D(0), D(1))
    assert (guard.missing, guard.naked) == (4, 4)
    (guard,) = audit([(new, D(0))], {ClOrdID("e"): [stop("s", 10)]}, D(10), D(0), D(1))
    assert [one.cl_ord_id for one in guard.excess] == ["s"]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(-100, 100), st.integers(0, 40))
def test_never_more_is_guarded_than_is_held(fills: list[int], position: int, exiting: int) -> None:
    entries = tuple(entry(f"e{place}", qty) for place, qty in enumerate(fills))
    guards = audit([(one, one.cum_qty) for one in entries], {}, Decimal(position), Decimal(exiting), D(1))
    missing = sum((guard.missing for guard in guards), D(0))

    assert missing == (min(sum(fills), max(0, position - exiting)) if position > 0 else 0)
    assert all(guard.missing == guard.naked for guard in guards)


def test_the_form_of_a_stop_is_what_the_broker_takes() -> None:
    assert form(FACTS, stock(), D(5)) == (OrdType.STOP, TimeInForce.GTC)
    assert form(FACTS, stock(), D("1.5")) == (OrdType.STOP, TimeInForce.DAY)
    assert form(FACTS, coin(), D(1)) is None
    limited = OrderRule(AssetClass.CRYPTO, frozenset({OrdType.STOP_LIMIT}), frozenset({TimeInForce.GTC}), fractional=True)
    assert form(replace(FACTS, rules=(limited,)), coin(), D(1)) == (OrdType.STOP_LIMIT, TimeInForce.GTC)
