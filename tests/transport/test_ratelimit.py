"""The request budget: never more than the limit in any window, and always room for a cancel."""

from hypothesis import given
from hypothesis import strategies as st

from trading_system.transport.ratelimit import SECOND_NS, SLICES, RateBudget

MINUTE = 60 * SECOND_NS


@given(st.lists(st.tuples(st.integers(0, 5 * SECOND_NS), st.integers(1, 5), st.booleans()), max_size=200))
def test_no_window_ever_holds_more_than_the_limit(calls: list[tuple[int, int, bool]]) -> None:
    budget, now, granted = RateBudget(20, MINUTE), 10**18, []
    for pause, weight, urgent in calls:
        now += pause
        if budget.wait_ns(now, weight, urgent=urgent) == 0:
            budget.take(now, weight)
            granted.append((now, weight))
    for start, _ in granted:
        assert sum(weight for at, weight in granted if start <= at < start + MINUTE) <= 20
    assert len(budget._taken) <= SLICES + 2


def test_everybody_else_leaves_room_for_cancels() -> None:
    budget = RateBudget(10, MINUTE)
    for _ in range(7):
        assert budget.wait_ns(0) == 0
        budget.take(0)

    assert budget.wait_ns(0) > 0
    assert budget.wait_ns(0, urgent=True) == 0


def test_waiting_as_long_as_told_is_enough() -> None:
    budget = RateBudget(10, MINUTE)
    for number in range(7):
        budget.take(number * SECOND_NS)
    wait = budget.wait_ns(7 * SECOND_NS)

    assert 0 < wait <= MINUTE + SECOND_NS
    assert budget.wait_ns(7 * SECOND_NS + wait) == 0


def test_the_brokers_own_count_wins_where_it_is_stricter() -> None:
    budget = RateBudget(200, MINUTE)
    budget.learn(200, {"x-ratelimit-remaining": "61", "x-ratelimit-reset": "1010"}, 1000 * SECOND_NS, 1000 * SECOND_NS)

    assert budget.wait_ns(1000 * SECOND_NS) == 0
    budget.take(1000 * SECOND_NS)
    assert budget.wait_ns(1000 * SECOND_NS) == 10 * SECOND_NS
    assert budget.wait_ns(1000 * SECOND_NS, urgent=True) == 0
    assert budget.wait_ns(1011 * SECOND_NS) == 0


def test_an_old_answer_does_not_give_back_what_was_taken_since() -> None:
    budget, now = RateBudget(200, MINUTE), 1000 * SECOND_NS
    budget.learn(200, {"x-ratelimit-remaining": "62", "x-ratelimit-reset": "1010"}, now, now)
    budget.take(now)
    budget.take(now)
    budget.learn(200, {"x-ratelimit-remaining": "61", "x-ratelimit-reset": "1010"}, now, now)

    assert budget.wait_ns(now) == 10 * SECOND_NS
    budget.learn(200, {"x-ratelimit-remaining": "199", "x-ratelimit-reset": "1070"}, now + 10 * SECOND_NS, now + 10 * SECOND_NS)
    assert budget.wait_ns(now + 10 * SECOND_NS) == 0


def test_the_limit_is_the_one_of_this_key() -> None:
    budget = RateBudget(200, MINUTE)
    budget.learn(200, {"x-ratelimit-limit": "1000"}, 0, 0)

    assert budget.limit == 1000


def test_a_refusal_stops_everything_for_as_long_as_it_says() -> None:
    budget = RateBudget(200, MINUTE)
    budget.learn(429, {"retry-after": "30"}, 0, 0)

    assert budget.wait_ns(0, urgent=True) == 30 * SECOND_NS

    silent = RateBudget(200, MINUTE)
    silent.learn(429, {}, 0, 0)

    assert silent.wait_ns(0) == MINUTE // 4
    assert RateBudget(5, MINUTE).wait_ns(0, weight=9) == MINUTE


def test_a_time_of_day_that_steps_back_does_not_hold_requests_up() -> None:
    budget = RateBudget(200, 60 * SECOND_NS)
    budget.learn(200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "5000"}, 10 * SECOND_NS, 1000 * SECOND_NS)

    assert budget.wait_ns(11 * SECOND_NS, urgent=True) == 59 * SECOND_NS
    assert budget.wait_ns(71 * SECOND_NS, urgent=True) == 0
