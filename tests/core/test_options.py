"""What an option may cost and what covers it, in the gate."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import AAPL, FACTS, NOW, D, quote, risk_state, stock, wish
from trading_system.core.options import cover, unit_risk
from trading_system.core.risk import Limits, check
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.option import Contract, Right, occ
from trading_system.domain.order import NewOrder
from trading_system.domain.ports import OrderRule

SHARES, CASH = D(250), D(45_000)


def contract(right: Right = Right.CALL, strike: str = "200", expiry: date = date(2027, 1, 15), underlying: str = AAPL) -> Contract:
    return Contract(underlying=InstrumentID(underlying), expiry=expiry, right=right, strike=D(strike))


def option(of: Contract | None = None) -> Instrument:
    of = of or contract()
    return stock(id=occ(of), symbol=occ(of), asset_class=AssetClass.OPTION, contract=of, lot=D(1), multiplier=D(100), shortable=False)


CALL, PUT = option(), option(contract(Right.PUT))
OPTIONS = replace(
    FACTS, rules=(OrderRule(AssetClass.OPTION, frozenset({OrdType.MARKET, OrdType.LIMIT}), frozenset({TimeInForce.DAY}), fractional=False),)
)


def asked(of: Instrument, qty: str = "1", side: Side = Side.BUY, price: str = "5", **changes: object) -> NewOrder:
    return wish(qty, side, instrument=of.id, ord_type=OrdType.LIMIT, price=D(price), **changes)


def gate(request: NewOrder, of: Instrument, **changes: object) -> tuple[str, str]:
    """(reserved, of it a unit) or (the rule, its sentence)."""
    fields = {"facts": OPTIONS, "instrument": of, "quote": quote("4.95", "5.05", of.id)} | changes
    try:
        passed = check(request, risk_state(**fields))
    except RiskRefused as error:
        return error.rule, str(error)
    return str(passed.reserve_qty * passed.reserve_px), str(passed.reserve_px)


def test_what_one_unit_can_lose() -> None:
    call, put = contract(), contract(Right.PUT)

    assert unit_risk(call, Side.BUY, D(5), covered=False) == 5
    assert unit_risk(put, Side.BUY, D(5), covered=False) == 5
    assert unit_risk(put, Side.SELL, D(5), covered=True) == 200
    assert unit_risk(call, Side.SELL, D(5), covered=True) == 5
    assert unit_risk(call, Side.SELL, D(5), covered=False) == 205


@pytest.mark.parametrize(
    ("of", "held", "units"),
    [
        (contract(), {}, 250),  # by the shares
        (contract(), {occ(contract()): -100}, 150),
        (contract(), {occ(contract(strike="210")): -300}, 0),
        (contract(), {occ(contract(strike="190")): 100}, 350),  # a long call with a lower strike
        (contract(), {occ(contract(strike="210")): 100}, 250),  # one with a higher strike covers nothing
        (contract(), {occ(contract(strike="190", expiry=date(2027, 1, 8))): 100}, 250),  # nor one that ends before
        (contract(), {occ(contract(underlying="MSFT")): -100, occ(contract(Right.PUT)): -100, InstrumentID("MSFT"): -100}, 250),
        (contract(Right.PUT), {}, 225),  # by 45,000 of cash
        (contract(Right.PUT), {occ(contract(Right.PUT, "100", underlying="MSFT")): -100}, 175),
        (contract(Right.PUT), {occ(contract(Right.PUT)): -400}, 0),
        (contract(Right.PUT), {occ(contract(Right.PUT, "210")): 100}, 325),
        (contract(Right.PUT), {occ(contract(Right.PUT, "190")): 100}, 225),
    ],
)
def test_what_covers_an_option_that_is_sold(of: Contract, held: dict[InstrumentID, int], units: int) -> None:
    assert cover(of, {name: D(qty) for name, qty in held.items()}, SHARES, CASH) == units


@given(
    st.sampled_from(Right), st.dictionaries(st.tuples(st.sampled_from(Right), st.sampled_from(["190", "200", "210"])), st.integers(-5, 5), max_size=6)
)
def test_cover_is_never_counted_twice(right: Right, held: dict[tuple[Right, str], int]) -> None:
    """Selling what is covered leaves nothing more that is."""
    of = contract(right)
    units = {occ(contract(kind, strike)): D(100 * lots) for (kind, strike), lots in held.items()}
    free = cover(of, units, SHARES, CASH)
    after = units | {occ(of): units.get(occ(of), D(0)) - free}

    assert free >= 0
    assert cover(of, after, SHARES, CASH) <= max(D(0), units.get(occ(of), D(0)))


def test_a_bought_option_risks_its_premium_and_no_more_than_the_owner_set() -> None:
    assert gate(asked(CALL), CALL) == ("500", "500")
    assert gate(asked(CALL, "4"), CALL) == ("2000", "500")
    said = "OPTION_MAX_PREMIUM_PCT: 2,500.00 of premium in AAPL270115C00200000; the limit is 2 % of equity = 2,000.00. Lower the quantity."
    assert gate(asked(CALL, "5"), CALL)[1] == said
    assert gate(asked(CALL, "3"), CALL, position=D(2))[1] == said


UNCOVERED = (
    "UNCOVERED: 50 would not be; the limit is the 150 units that are covered. Lower the quantity, hold what covers it, or sell it as part of a "
    "spread. ENABLE_UNCOVERED_OPTIONS=true allows it."
)


def test_what_nothing_covers_is_not_sold() -> None:
    sell = asked(CALL, "2", Side.SELL)

    assert gate(sell, CALL, cover=D(200)) == ("1000", "500")
    assert gate(sell, CALL, cover=D(150)) == (
        "UNCOVERED",
        UNCOVERED,
    )
    free = Limits(enable_uncovered_options=True, max_position_pct=D(1))
    assert gate(sell, CALL, limits=free) == ("41000", "20500")
    assert gate(asked(PUT, "1", Side.SELL), PUT, cover=D(225)) == ("20000", "20000")
    assert gate(asked(PUT, "2", Side.SELL), PUT, cover=D(225))[0] == "MAX_POSITION_PCT"


def test_what_closes_needs_no_cover() -> None:
    assert gate(asked(CALL, "2", Side.SELL), CALL, position=D(2)) == ("1000", "500")
    assert gate(asked(CALL, "2", Side.SELL), CALL, position=D(1))[0] == "UNCOVERED"
    assert gate(asked(CALL, "2", Side.SELL), CALL, position=D(1), cover=D(100)) == ("1000", "500")
    assert gate(asked(CALL, "2"), CALL, position=D(-2)) == ("1000", "500")


def test_what_has_expired_is_not_entered() -> None:
    old = option(contract(expiry=date(2026, 9, 20)))
    last = option(contract(expiry=date(2026, 9, 21)))  # NOW is that day

    assert NOW // 10**9 == 1_790_000_000
    assert gate(asked(old), old)[1].startswith("EXPIRY: AAPL260920C00200000 expired on 2026-09-20; the limit is options that live.")
    assert gate(asked(last), last) == ("500", "500")
    assert gate(asked(old, "1", Side.SELL), old, position=D(1)) == ("500", "500")


@pytest.mark.parametrize(("mid", "price", "passes"), [("5", "6.25", True), ("5", "6.26", False), ("0.2", "0.30", True), ("0.2", "0.31", False)])
def test_the_collar_of_an_option_is_wide_and_never_less_than_a_dime(mid: str, price: str, passes: bool) -> None:
    seen = quote(str(D(mid) - D("0.05")), str(D(mid) + D("0.05")), CALL.id)

    assert (gate(asked(CALL, price=price), CALL, quote=seen)[0] != "OPTION_PRICE_COLLAR_PCT") is passes
