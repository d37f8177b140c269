"""What pytest leaves alone: programs that other environments run."""

from collections.abc import Iterator

import pytest

from trading_system.settings import secret

collect_ignore_glob = ["sdk/*_judge.py"]


@pytest.fixture(autouse=True)
def secrets_of_this_test_alone() -> Iterator[None]:
    """What redaction looks for is every secret that a process has seen: a desk has a dozen, thousands of tests have thousands, and each line would be
    searched for all of them."""
    before = frozenset(secret._LIVE)
    yield
    secret._LIVE.intersection_update(before)
