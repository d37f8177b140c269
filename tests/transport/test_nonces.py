"""Nonces rise, whatever the clock and the process do."""

from pathlib import Path

import pytest

from trading_system.transport.nonces import AHEAD_US, Nonces

NOW_NS = 1_795_600_000_000_000_000


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


def test_they_are_the_time_and_rise_within_one_microsecond(tmp_path: Path) -> None:
    nonces = Nonces(tmp_path / "a" / "key", Hand())

    assert [nonces(), nonces(), nonces()] == [NOW_NS // 1000, NOW_NS // 1000 + 1, NOW_NS // 1000 + 2]


def test_a_restart_with_a_clock_that_stepped_back_goes_on_above(tmp_path: Path) -> None:
    hand = Hand()
    used = [Nonces(tmp_path / "key", hand)() for _ in range(3)]
    hand.now_ns -= 3600 * 1_000_000_000
    used.append(Nonces(tmp_path / "key", hand)())

    assert used == sorted(set(used))
    assert used[-1] - used[0] <= 4 * (AHEAD_US + 1)


def test_the_disk_is_asked_once_for_many(tmp_path: Path) -> None:
    hand, path = Hand(), tmp_path / "key"
    nonces = Nonces(path, hand)
    nonces()
    written = path.stat().st_mtime_ns
    for _ in range(1000):
        hand.now_ns += 50_000_000
        nonces()

    assert int(path.read_text()) >= nonces()
    assert path.stat().st_mtime_ns == written


def test_a_file_of_something_else_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("soon")

    with pytest.raises(ValueError, match="soon"):
        Nonces(tmp_path / "key", Hand())
