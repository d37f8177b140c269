"""Time as text: RFC 3339 to UTC nanoseconds and back, with all nine fraction digits."""

import re
from datetime import UTC, datetime
from functools import lru_cache

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", re.ASCII)
NS = 1_000_000_000


def parse_rfc3339(text: str) -> int:
    """UTC nanoseconds. Raises ValueError: no RFC 3339 time with an offset.

    >>> parse_rfc3339("2026-09-01T09:30:00.123456789-04:00")
    1788269400123456789
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is no RFC 3339 time")
    day, clock, fraction, offset = found.groups()
    return _seconds(day, clock, offset) * NS + int((fraction or "").ljust(9, "0"))


@lru_cache(maxsize=4096)  # a stream's messages come many to the second
def _seconds(day: str, clock: str, offset: str) -> int:
    return int(datetime.fromisoformat(f"{day}T{clock}{'+00:00' if offset == 'Z' else offset}").timestamp())


def rfc3339(time_ns: int) -> str:
    """The same instant in UTC, to the nanosecond.

    >>> rfc3339(1788269400123456789)
    '2026-09-01T13:30:00.123456789Z'
    """
    return f"{datetime.fromtimestamp(time_ns // NS, UTC):%Y-%m-%dT%H:%M:%S}.{time_ns % NS:09d}Z"
