"""Kelly, the convexity score and the goal, against the values that their definitions give on paper, and against simulation."""

import math
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_system.sizing import goal as odds
from trading_system.sizing import kelly
from trading_system.sizing.convexity import Payoff, empirical, first_exits, lognormal, normal, score, stop_score, treynor_mazuy
from trading_system.sizing.goal import Goal
from trading_system.sizing.normal import below, fat_quantile, quantile
from trading_system.sizing.paths import CHUNK, Limits, Worked, run_chunk, summary

DOUBLE = Goal(capital=5_000, target=10_000, years=1, sharpe=1)
HUNDREDFOLD = Goal(capital=5_000, target=500_000, years=1, sharpe=1)
FAIR = normal(0.2)


# Kelly


def test_the_growth_of_a_binary_bet_is_greatest_at_kellys_fraction() -> None:
    best = max(range(1, 100), key=lambda part: 0.4 * math.log1p(2 * part / 100) + 0.6 * math.log1p(-part / 100))

    assert best / 100 == pytest.approx(kelly.binary(0.4, 2))


def test_several_are_one_where_they_do_not_move_together() -> None:
    assert kelly.several([0.09, 0.02], [[0.04, 0.0], [0.0, 0.01]]) == pytest.approx((kelly.continuous(0.12, 0.2, 0.03), 2.0))


def test_several_share_what_moves_together() -> None:
    excess, covariance = [0.08, 0.06, 0.02], [[0.09, 0.03, 0.01], [0.03, 0.04, 0.0], [0.01, 0.0, 0.02]]

    found = kelly.several(excess, covariance)

    assert [sum(row[place] * found[place] for place in range(3)) for row in covariance] == pytest.approx(excess)


def test_two_names_of_one_thing_have_no_answer() -> None:
    with pytest.raises(ValueError, match="take one of them out"):
        kelly.several([0.1, 0.1], [[0.04, 0.04], [0.04, 0.04]])


@given(st.lists(st.floats(-0.9, 2), min_size=3, max_size=40))
def test_no_fraction_grows_faster_than_the_one_of_a_record(returns: list[float]) -> None:
    most = 3.0
    bet = kelly.empirical(returns, most)

    assert 0 <= bet.fraction <= most
    if bet.fraction:
        best = fmean(math.log1p(bet.fraction * value) for value in returns)
        for part in (0.01, 0.1, 0.5, 0.9, 0.99):
            other = part * min(most, -0.999 / min(returns)) if min(returns) < 0 else part * most
            assert fmean(math.log1p(other * value) for value in returns) <= best + 1e-9


def test_a_record_without_an_edge_or_without_a_loss_says_so() -> None:
    assert kelly.empirical([0.1, -0.1], 2.0) == kelly.Bet(0.0, "no edge")
    assert kelly.empirical([0.1, 0.2], 2.0) == kelly.Bet(2.0, "no loss observed")
    assert kelly.empirical([0.1, 0.2, -0.01], 2.0) == kelly.Bet(2.0, "leverage")
    assert kelly.empirical([], 2.0).fraction == 0


def test_a_coin_that_was_watched_is_the_bet_of_its_odds() -> None:
    assert kelly.empirical([1.0] * 55 + [-1.0] * 45, 2.0).fraction == pytest.approx(kelly.binary(0.55, 1))


@given(st.floats(0.01, 0.99), st.integers(1, 10_000))
def test_what_few_observations_say_counts_for_less(p: float, count: int) -> None:
    assert 0 <= kelly.cautious_chance(p, count) <= p
    assert abs(kelly.cautious_mean(p - 0.5, 0.3, count)) <= abs(p - 0.5)


def test_a_record_counts_less_one_standard_error() -> None:
    record = [0.02, -0.01, 0.03, 0.00]

    assert fmean(kelly.cautious_record(record)) == pytest.approx(fmean(record) - pstdev(record) / math.sqrt(3))
    assert kelly.cautious_record([0.1]) == ()


# Convexity


@pytest.mark.parametrize(
    ("payoff", "value"),
    [(Payoff.STOCK, 0), (Payoff.LONG_CALL, 0.5), (Payoff.STRADDLE, 1), (Payoff.SHORT_PUT, -0.5), (Payoff.COVERED_CALL, -0.5)],
)
@pytest.mark.parametrize("moves", [FAIR, empirical([-0.3, -0.1, 0.0, 0.1, 0.3])], ids=["normal", "history"])
def test_payoffs_score_as_defined_whatever_the_symmetric_moves(payoff: Payoff, value: float, moves: object) -> None:
    assert score(payoff, moves) == pytest.approx(value, abs=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize(("ratio", "value"), [(1, 0.1696), (0.5, 0.3801), (0.25, 0.2765)])
def test_a_stop_scores_what_its_closed_form_says(ratio: float, value: float) -> None:
    found = score(Payoff.STOP, FAIR, stop=0.2 * ratio, gap=0)

    assert found == pytest.approx(value, abs=5e-5)
    assert found == pytest.approx(stop_score(ratio), abs=1e-5)
    assert score(Payoff.TARGET, FAIR, target=0.2 * ratio) == pytest.approx(-found, abs=1e-6)


def test_a_stop_scores_most_at_half_a_deviation() -> None:
    assert max(range(1, 300), key=lambda place: stop_score(place / 100)) == 50


def test_a_gap_costs_what_it_costs_as_often_as_the_stop_is_touched() -> None:
    assert score(Payoff.STOP, FAIR, stop=0.2) == pytest.approx(0.1298, abs=5e-5)  # a tenth of the deviation is the default


def test_a_stop_leaves_a_fair_game_fair_for_a_price_that_cannot_pass_zero() -> None:
    moves = lognormal(0.4)
    convex = score(Payoff.STOP, moves, stop=0.2, gap=0)

    # E[f] is 0: what is left of the score is −f(0)
    at_zero = 0.2 * math.exp(-2 * math.log(0.8) ** 2 / 0.4**2 - 0.0)
    assert convex * sum(chance * abs(x) for x, chance in moves.ends) == pytest.approx(at_zero, rel=1e-3)


@pytest.mark.parametrize(("end", "stop", "target"), [(0.2, 0.8, 0.5), (-0.6, 0.8, 1.5), (0.7, 0.4, 0.5), (-1.2, 1.0, 0.3)])
def test_first_exits_are_those_of_simulated_bridges(end: float, stop: float, target: float) -> None:
    rng, steps, paths = Random(11), 100, 6_000
    counts = [0, 0]
    for _ in range(paths):
        here = 0.0
        for left in range(steps, 0, -1):
            there = end if left == 1 else here + (end - here) / left + rng.gauss(0, math.sqrt((left - 1) / left / steps))
            low = 1.0 if there <= -stop else math.exp(-2 * (here + stop) * (there + stop) * steps)
            high = 1.0 if there >= target else math.exp(-2 * (target - here) * (target - there) * steps)
            if rng.random() < low:
                counts[0] += 1
                break
            if rng.random() < high:
                counts[1] += 1
                break
            here = there
    expected = first_exits(end, stop, target, 1.0)

    for count, chance in zip(counts, expected, strict=True):
        assert count / paths == pytest.approx(chance, abs=4 * math.sqrt(0.25 / paths))


@given(st.floats(-3, 3), st.floats(0.05, 3), st.floats(0.05, 3))
def test_chances_of_first_exits_are_chances(end: float, stop: float, target: float) -> None:
    lower, upper = first_exits(end, stop, target, 1.0)

    assert 0 <= lower <= 1 + 1e-9
    assert 0 <= upper <= 1 + 1e-9
    assert lower + upper <= 1 + 1e-9
    if not -stop < end < target:
        assert lower + upper == pytest.approx(1, abs=1e-6)


def test_a_bracket_whose_exits_are_far_away_is_the_stock_and_one_far_exit_leaves_the_other() -> None:
    assert score(Payoff.BRACKET, FAIR, stop=0.99, target=1.9, gap=0) == pytest.approx(0, abs=1e-6)
    assert score(Payoff.BRACKET, FAIR, stop=0.1, target=1.9, gap=0) == pytest.approx(stop_score(0.5), abs=1e-5)
    assert score(Payoff.BRACKET, FAIR, stop=0.2, target=0.2, gap=0) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("payoff", "stop", "target"), [("stop", None, None), ("stop", -0.1, None), ("stop", 1.0, None), ("bracket", 0.1, None)])
def test_exits_that_are_missing_or_on_the_wrong_side_are_refused(payoff: str, stop: float | None, target: float | None) -> None:
    with pytest.raises(ValueError, match="needs --"):
        score(Payoff(payoff), FAIR, stop=stop, target=target)


def test_a_record_that_buys_moves_is_convex_and_shows_it() -> None:
    rng = Random(5)
    market = [rng.gauss(0, 0.02) for _ in range(400)]
    ours = [0.3 * m + 8 * m * m + rng.gauss(0, 0.004) for m in market]

    gamma, t = treynor_mazuy(ours, market)

    mean = fmean(market)
    assert gamma == pytest.approx(8 * pstdev(market) ** 2 / fmean(abs(m - mean) for m in market), rel=0.1)
    assert t > 5
    assert abs(treynor_mazuy([0.3 * m + rng.gauss(0, 0.004) for m in market], market)[1]) < 3
    with pytest.raises(ValueError, match="eight"):
        treynor_mazuy([0.1], [0.1])


# The goal


def test_the_reference_values_of_the_goal() -> None:
    assert odds.required_growth(HUNDREDFOLD) == pytest.approx(4.6052, abs=5e-5)
    assert odds.p_terminal(HUNDREDFOLD, 0.5) < 1e-16
    assert odds.ceiling(DOUBLE) == pytest.approx(0.8413, abs=5e-5)


@given(st.floats(0.05, 3), st.floats(0.05, 1.9), st.floats(0.1, 10), st.floats(-0.02, 0.1), st.floats(1.01, 50))
def test_no_multiple_has_better_odds_than_the_ceiling_and_touching_is_likelier_than_being_there(
    sharpe: float, k: float, years: float, rate: float, times: float
) -> None:
    goal = Goal(capital=1, target=times, years=years, sharpe=sharpe, rate=rate)

    assert odds.p_terminal(goal, k) <= odds.ceiling(goal) + 1e-12
    assert odds.p_terminal(goal, k) <= odds.p_touch(goal, k) + 1e-12 <= 1 + 1e-9


@given(st.floats(0.1, 3), st.floats(0.1, 5), st.floats(1.01, 10))
def test_the_goal_only_ever_lowers_a_multiple_to_the_one_with_the_best_odds(sharpe: float, years: float, times: float) -> None:
    goal = Goal(capital=1, target=times, years=years, sharpe=sharpe)
    best = odds.multiple(goal, 10.0)

    assert odds.multiple(goal, 0.5) == min(0.5, best)
    for other in (0.8 * best, 1.25 * best):
        assert best == 10 or odds.p_terminal(goal, other) <= odds.p_terminal(goal, best) + 1e-12


def test_at_the_goal_and_out_of_time_nothing_is_at_risk_for_it() -> None:
    assert odds.multiple(Goal(capital=2, target=1, years=1, sharpe=1), 0.5) == 0
    assert odds.multiple(Goal(capital=1, target=1.02, years=1, sharpe=1, rate=0.05), 0.5) == 0  # cash gets there
    assert odds.multiple(Goal(capital=1, target=2, years=0, sharpe=1), 0.5) == 0.5


def test_even_odds_are_even_and_what_shrinks_never_has_them() -> None:
    days = odds.days_to_even_odds(DOUBLE, 0.5)

    assert days is not None
    assert odds.p_terminal(Goal(capital=5_000, target=10_000, years=days / 365, sharpe=1), 0.5) == pytest.approx(0.5)
    assert odds.days_to_even_odds(DOUBLE, 2.0) is None


def test_without_an_edge_only_cash_grows() -> None:
    still = Goal(capital=1, target=1.05, years=1, sharpe=0, rate=0.06)

    assert (odds.p_terminal(still, 0.5), odds.p_touch(still, 0.5), odds.p_fallen_ever(still, 0.5, 0.5)) == (1, 1, 0)


@pytest.mark.parametrize("k", [0.5, 1.0])
def test_simulated_paths_without_limits_are_those_of_the_closed_forms(k: float) -> None:
    paths = 4_000
    found = summary(DOUBLE, [run_chunk(DOUBLE, Worked(volatility=0.2, kelly=k, tails="normal"), Limits(), 3, place, CHUNK) for place in range(8)])

    assert found.paths == paths
    assert abs(found.p_target - odds.p_terminal(DOUBLE, k)) <= 3 * found.standard_error
    touch = odds.p_touch(DOUBLE, k)
    assert abs(found.p_touch - touch) <= 3 * math.sqrt(touch * (1 - touch) / paths)
    logs = odds.growth(k, 1.0)
    assert abs(math.log(found.median_terminal / 5_000) - logs) <= 3 * 1.2533 * k / math.sqrt(paths)


def test_the_same_seed_gives_the_same_paths_and_another_one_others() -> None:
    worked = Worked(volatility=0.2, kelly=0.5)

    assert run_chunk(DOUBLE, worked, Limits(), 1, 0, 20) == run_chunk(DOUBLE, worked, Limits(), 1, 0, 20)
    assert run_chunk(DOUBLE, worked, Limits(), 1, 0, 20) != run_chunk(DOUBLE, worked, Limits(), 2, 0, 20)
    assert run_chunk(DOUBLE, worked, Limits(), 1, 0, 20) != run_chunk(DOUBLE, worked, Limits(), 1, 1, 20)


def test_a_drawdown_halt_keeps_what_is_left_and_shows_how_often() -> None:
    worked = Worked(volatility=0.2, kelly=1.0)
    free = summary(DOUBLE, [run_chunk(DOUBLE, worked, Limits(), 1, place, CHUNK) for place in range(2)])
    held = summary(DOUBLE, [run_chunk(DOUBLE, worked, Limits(drawdown=0.3), 1, place, CHUNK) for place in range(2)])

    assert free.p_halted == 0
    assert held.p_halted > 0.5
    assert held.percentiles["5"] >= 5_000 * 0.7 * (1 - 1e-9)
    assert held.percentiles["5"] > free.percentiles["5"]


def test_no_day_loses_more_than_its_limit() -> None:
    worked = Worked(volatility=0.2, kelly=2.0, tails="normal")
    day = Goal(capital=1, target=9, years=1 / 365, sharpe=3)
    found = run_chunk(day, worked, Limits(daily_loss=0.1), 1, 0, CHUNK)

    assert min(found.wealth) == pytest.approx(0.9)
    assert min(run_chunk(day, worked, Limits(), 1, 0, CHUNK).wealth) < 0.8


def test_the_brake_keeps_what_was_reached() -> None:
    near = Goal(capital=5_000, target=6_000, years=1, sharpe=1)
    worked = Worked(volatility=0.2, kelly=1.0)
    free = summary(near, [run_chunk(near, worked, Limits(), 1, place, CHUNK) for place in range(3)])
    braked = summary(near, [run_chunk(near, worked, Limits(brake=True), 1, place, CHUNK) for place in range(3)])

    assert free.p_target + 0.2 < braked.p_target <= odds.ceiling(near) + 3 * braked.standard_error


def test_days_of_a_record_keep_their_shape_and_take_the_mean_that_is_believed() -> None:
    days = (0.05, *[0.0] * 8, -0.05)
    goal = Goal(capital=1, target=2, years=1, sharpe=0.0)
    found = run_chunk(goal, Worked(volatility=0.2, kelly=1.0, tails="sample", sample=days, days_a_year=252), Limits(), 1, 0, 50)

    assert set(found.wealth) == {1.0}  # no edge is believed: nothing is bet


def test_fat_days_have_deviation_one_and_fatter_tails() -> None:
    days = [fat_quantile((place + 0.5) / 200_000) for place in range(200_000)]

    assert pstdev(days) == pytest.approx(1, abs=0.02)
    assert fat_quantile(0.9995) > 1.3 * quantile(0.9995)
    assert fat_quantile(0.25) == pytest.approx(-0.7407 / math.sqrt(2), abs=1e-3)  # of the tables


def test_the_normal_distribution_holds_far_out() -> None:
    assert below(-38) == pytest.approx(2.885428e-316, rel=1e-3)
    assert quantile(below(1.5)) == pytest.approx(1.5)
    assert (quantile(0), quantile(1)) == (-math.inf, math.inf)
