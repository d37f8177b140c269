"""Clocks: the system's, and how far a broker's runs from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_system.transport.clock import SECOND_NS, BrokerOffset, SystemClock

MS = 1_000_000
NOW = 1_790_000_000 * SECOND_NS


async def test_the_systems_clock_waits_and_does_not_run_backwards() -> None:
    clock = SystemClock()
    before = clock.monotonic_ns()
    await clock.sleep_ns(2 * MS)

    assert clock.monotonic_ns() - before >= MS
    assert clock.now_ns() > NOW // 2


def test_nothing_is_said_before_anything_is_known() -> None:
    assert (BrokerOffset().offset_ns(), BrokerOffset().skew_ns()) == (0, 0)


@given(st.integers(-5000 * MS, 5000 * MS), st.lists(st.tuples(st.integers(0, 400 * MS), st.integers(0, 400 * MS)), min_size=1, max_size=30))
def test_the_offset_is_right_within_half_a_round_trip(true_ns: int, trips: list[tuple[int, int]]) -> None:
    offset = BrokerOffset()
    for out, back in trips:
        offset.learn(NOW + out + true_ns, NOW, NOW + out + back)

    assert abs(offset.offset_ns() - true_ns) <= 200 * MS
    assert offset.skew_ns() <= abs(true_ns) + 1


def test_one_slow_answer_moves_nothing() -> None:
    offset = BrokerOffset()
    for _ in range(8):
        offset.learn(NOW + 700 * MS + 5 * MS, NOW, NOW + 10 * MS)
    offset.learn(NOW, NOW, NOW + 30 * SECOND_NS)

    assert offset.offset_ns() == 700 * MS
    assert offset.skew_ns() == 695 * MS


def test_a_date_header_is_no_finer_than_a_second() -> None:
    offset = BrokerOffset()
    sent = 1_790_000_003 * SECOND_NS + 400 * MS
    offset.learn_date("Mon, 21 Sep 2026 14:13:23 GMT", sent, sent + 20 * MS)

    assert offset.offset_ns() == 90 * MS
    assert offset.skew_ns() == 0
    with pytest.raises(ValueError, match="date"):
        offset.learn_date("yesterday", sent, sent)
