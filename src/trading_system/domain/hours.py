"""Trading sessions as data: is this instrument open at t, when does it next open. The dates come from the broker's calendar."""

from enum import StrEnum

import msgspec


class Window(msgspec.Struct, frozen=True):
    """One session: open_ns <= t < close_ns."""

    open_ns: int
    close_ns: int


class Hours(msgspec.Struct, frozen=True):
    """When an instrument trades. `always` is crypto; otherwise the known windows, ascending, up to `known_until_ns`."""

    always: bool = False
    windows: tuple[Window, ...] = ()
    extended: tuple[Window, ...] = ()  # pre-market to after-hours; for orders that ask for extended hours
    known_until_ns: int = 0


class MarketState(StrEnum):
    """Where a market is in its day."""

    PREMARKET = "premarket"
    OPEN = "open"
    POSTMARKET = "postmarket"
    CLOSED = "closed"


class MarketClock(msgspec.Struct, frozen=True, kw_only=True):
    """Where a market is in its day, as its broker says it: what comes next, and when. next_ns is None: nobody knows yet."""

    state: MarketState
    next_state: MarketState
    next_ns: int | None
    text: str
    transact_ns: int


ALWAYS = Hours(always=True)


def is_open(hours: Hours, now_ns: int, *, extended: bool = False) -> bool | None:
    """Whether it trades now; None when the calendar does not reach that far: ask the broker for a new one, trade nothing meanwhile."""
    if hours.always:
        return True
    if now_ns >= hours.known_until_ns:
        return None
    windows = hours.extended if extended else hours.windows
    return any(window.open_ns <= now_ns < window.close_ns for window in windows)


def next_open_ns(hours: Hours, now_ns: int) -> int | None:
    """When the next regular session starts; now_ns while one runs; None when the calendar does not say."""
    if hours.always or is_open(hours, now_ns):
        return now_ns
    return next((window.open_ns for window in hours.windows if window.open_ns > now_ns), None)
