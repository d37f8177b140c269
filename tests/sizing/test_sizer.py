"""From a signal to a quantity: what binds, what is refused and why, and that nothing ever raises a size."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import AAPL, D
from trading_system.domain.fix import Side
from trading_system.domain.signal import Allocation, Odds, Outlook, Record, Signal
from trading_system.sizing.goal import Goal
from trading_system.sizing.sizer import NoTrade, Sized, SizingState, size

YEAR_NS = 365 * 86_400_000_000_000
FAR = Goal(capital=5_000, target=500_000, years=1, sharpe=0)
STATE = SizingState(
    price=100.0,
    unit=1.0,
    lot=D(1),
    min_qty=D(1),
    min_notional=1.0,
    equity=10_000.0,
    caps={},
    leverage=2.0,
    kelly_fraction=0.5,
    goal=FAR,
    min_convexity=0.1,
    deviation=0.02,
)
COIN = Signal(instrument=AAPL, side=Side.BUY, edge=Odds(p=D("0.55")), stop_px=D(98), target_px=D(102))
TREND = Signal(instrument=AAPL, side=Side.BUY, edge=Outlook(mean=D("0.01"), deviation=D("0.1")), stop_px=D(95))
OPEN = replace(STATE, min_convexity=-1.0)


def taken(found: Sized | NoTrade) -> Sized:
    assert isinstance(found, Sized), found
    return found


def left(found: Sized | NoTrade) -> NoTrade:
    assert isinstance(found, NoTrade), found
    return found


def test_odds_become_a_holding_by_the_distance_of_the_stop() -> None:
    found = taken(size(COIN, OPEN))

    assert (found.qty, found.side, found.rule) == (D(250), Side.BUY, "KELLY_FRACTION")  # half Kelly of 0.10 at a 2 % stop: 2.5 × equity
    assert float(found.numbers["full_kelly"]) == pytest.approx(5)


@pytest.mark.parametrize(("p", "count"), [("55", 0), ("-1", 0), ("0", 20), ("1", 20)])
def test_what_is_no_chance_is_no_edge(p: str, count: int) -> None:
    found = left(size(replace(COIN, edge=Odds(p=D(p), count=count)), OPEN))

    assert (found.rule, f"and not {p}" in found.text) == ("EDGE", True)


def test_an_outlook_is_invested_by_its_mean_over_its_variance() -> None:
    assert taken(size(TREND, STATE)).qty == D(50)  # half of (0.01 / 0.01) of 10,000, at 100
    down = replace(TREND, side=Side.SELL, edge=Outlook(mean=D("-0.01"), deviation=D("0.1")), stop_px=D(105))
    assert taken(size(down, STATE)) == replace(taken(size(TREND, STATE)), side=Side.SELL)


@pytest.mark.parametrize(
    ("held", "weight", "side", "qty"), [(2_000.0, "-0.2", Side.SELL, 20), (-2_000.0, "0.3", Side.BUY, 20), (0.0, "-0.2", Side.SELL, 20)]
)
def test_the_other_side_is_reached_by_way_of_flat(held: float, weight: str, side: Side, qty: int) -> None:
    found = taken(size(Allocation(instrument=AAPL, weight=D(weight)), replace(STATE, held=held)))

    assert (found.side, found.qty) == (side, D(qty))


def test_a_record_is_believed_less_one_standard_error() -> None:
    returns = tuple(map(D, ["0.02", "0.01", "-0.005", "0.015"] * 10))
    record = replace(TREND, edge=Record(returns=returns))

    assert taken(size(record, OPEN)).numbers["full_kelly"] == "2"  # leverage is the most that a record may ask for
    assert left(size(replace(record, edge=Record(returns=returns[:1])), OPEN)).rule == "EDGE"


@pytest.mark.parametrize("edge", [None, Odds(p=D("0.5")), Odds(p=D("0.55"), count=20), Outlook(mean=D("0.001"), deviation=D("0.1"), count=10)])
def test_no_edge_is_no_trade(edge: Odds | Outlook | None) -> None:
    assert left(size(replace(COIN, edge=edge), OPEN)).rule == "EDGE"


def test_what_binds_is_named_and_its_numbers_kept() -> None:
    found = taken(size(COIN, replace(OPEN, caps={"MAX_POSITION_PCT": 3_000.0, "BUYING_POWER": 9_000.0})))

    assert (found.qty, found.rule) == (D(30), "MAX_POSITION_PCT")
    assert {"equity", "price", "convexity", "full_kelly", "sharpe", "multiple", "wanted", "MAX_POSITION_PCT", "notional"} <= set(found.numbers)


def test_an_entry_needs_a_convex_shape_and_an_allocation_does_not() -> None:
    straight = replace(TREND, stop_px=None)
    refused = left(size(straight, STATE))

    assert refused.rule == "MIN_CONVEXITY_SCORE"
    assert "0.0000" in refused.text
    assert taken(size(replace(straight, stop_px=D(95)), STATE)).rule == "KELLY_FRACTION"
    assert left(size(replace(straight, target_px=D(105)), STATE)).rule == "MIN_CONVEXITY_SCORE"
    assert left(size(replace(straight, side=Side.SELL), replace(STATE, option=True))).rule == "MIN_CONVEXITY_SCORE"
    assert taken(size(Allocation(instrument=AAPL, weight=D("0.6")), STATE)).qty == D(60)


def test_a_stop_is_scored_by_how_far_it_moves_and_without_a_history_by_nothing() -> None:
    odds = replace(COIN, stop_px=D(99), target_px=D(110))

    assert float(taken(size(odds, replace(STATE, gap=0.0))).numbers["convexity"]) == pytest.approx(
        0.38, abs=0.01
    )  # the target is five deviations away
    assert left(size(odds, replace(STATE, deviation=None))).rule == "VOLATILITY"


def test_near_the_target_it_brakes_and_at_the_target_it_stops() -> None:
    near = replace(STATE, goal=replace(FAR, target=10_050.0))
    month = replace(TREND, horizon_ns=YEAR_NS // 12)

    assert taken(size(month, STATE)).rule == "KELLY_FRACTION"
    braked = taken(size(month, near))
    assert braked.rule == "TARGET_WEALTH"
    assert braked.qty < taken(size(month, STATE)).qty
    assert left(size(month, replace(STATE, goal=replace(FAR, target=9_000.0)))).rule == "TARGET_WEALTH"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"unit": None}, "FX_RATE"),
        ({"equity": 0.0}, "EQUITY"),
        ({"lot": D(1000), "min_qty": D(1000)}, "KELLY_FRACTION"),
        ({"min_notional": 9e9}, "KELLY_FRACTION"),
    ],
)
def test_what_is_missing_fails_closed_with_its_rule(change: dict[str, object], rule: str) -> None:
    assert left(size(COIN, replace(OPEN, **change))).rule == rule


def test_exits_on_the_wrong_side_are_no_trade() -> None:
    assert left(size(replace(COIN, stop_px=D(101)), OPEN)).rule == "STOP"
    assert left(size(replace(COIN, target_px=D(99)), OPEN)).rule == "TARGET"
    assert left(size(replace(COIN, target_px=None), OPEN)).rule == "EDGE"


def test_an_allocation_closes_by_zero_whatever_the_caps_say() -> None:
    out = taken(size(Allocation(instrument=AAPL, weight=D(0)), replace(STATE, held=4_000.0, caps={"MAX_LEVERAGE": 0.0})))

    assert (out.side, out.qty) == (Side.SELL, D(40))
    assert left(size(Allocation(instrument=AAPL, weight=D("0.4")), replace(STATE, held=4_000.0))).rule == "ALLOCATION"


amounts = st.floats(0, 1e6)


@given(amounts, amounts, st.floats(0.01, 1), st.floats(1.001, 1000), st.decimals("0.001", "5", places=3), st.floats(0.01, 1e5))
def test_no_size_passes_a_cap_or_leaves_the_grid_and_the_goal_only_lowers_it(
    position: float, power: float, fraction: float, times: float, lot: Decimal, price: float
) -> None:
    state = replace(OPEN, price=price, lot=lot, min_qty=lot, kelly_fraction=fraction, caps={"A": position, "B": power})
    signal = replace(TREND, stop_px=None)
    free = size(signal, replace(state, goal=replace(FAR, target=1e18)))
    found = size(signal, replace(state, goal=replace(FAR, target=10_000 * times)))

    if isinstance(found, Sized):
        notional = float(found.qty) * price
        assert notional <= min(position, power) * (1 + 1e-9)
        assert found.qty % lot == 0
        assert found.qty <= taken(free).qty
