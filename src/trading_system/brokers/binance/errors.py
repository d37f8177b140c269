"""Binance's refusals as ours, in one table. What is not listed here, on a request that changes something, is in doubt."""

import re
from collections.abc import Mapping

from trading_system.brokers.binance import wire
from trading_system.brokers.binance.facts import BUDGET_HELP, CLOCK_HELP, KEY_HELP, UNREACHABLE, USED_HEADER
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.domain.times import NS
from trading_system.transport import strict
from trading_system.transport.message import Response

# Codes that come with HTTP 400 and mean "no order came of it". Messages may change, the numbers are stable.
# Source: github.com/binance/binance-spot-api-docs, errors.md
DEFINITIVE = frozenset(
    {
        -1013,  # Filter failure
        *range(-1106, -1099),  # parameters: illegal, too many, missing, unread, empty, not required
        -1108,
        -1111,  # more digits than the asset has
        *range(-1121, -1113),  # time in force, type, side, empty ids, interval, symbol
        -1127,
        -1128,
        -1130,
        -1134,
        -1135,
        -1145,
        -2010,  # NEW_ORDER_REJECTED: the engine's own words
        -2011,  # CANCEL_REJECTED
        -2022,  # cancel-replace: neither half was done
        -2038,
        -2039,
    }
)
UNKNOWN_KEY = frozenset({-1002, -1022, -2008, -2014, -2015})
CLOCK = -1021  # outside of recvWindow: refused before the engine saw it
OVERLOADED = -1008  # comes with 503, and means that nothing was done
HALF_REPLACED = -2021
NOT_THERE = -2013
BUSY = frozenset({418, 429})  # every further call makes it worse
_TAKEN = "Duplicate order sent"  # the one message that must be read: our order may be the one that has the id
_BANNED = re.compile(r"until (\d{13})")
_WINDOW_NS = 60 * NS


def refusal(response: Response, *, changes: bool) -> DeskError:
    """The error an answer other than 200 stands for. changes: the request was to change something.

    AuthFailed on a changing request is told apart by the desk: it counts as in doubt, and halts the broker.
    """
    status, error = response.status, error_of(response)
    text = f"Binance answered HTTP {status}{f' {error.code}' if error.code else ''}: {error.msg or 'no text'}"
    if status in BUSY:
        wait_ns = ban_ns(response)
        return RateLimited(f"{text}. Wait {-(-wait_ns // NS)} s; the request budget is spent. {BUDGET_HELP}", wait_ns)
    if error.code in UNKNOWN_KEY and status < 500:
        return AuthFailed(text, KEY_HELP)
    if status == 400 and error.code == CLOCK:
        return Unavailable(f"{text}. Nothing was done. {CLOCK_HELP}")
    if status == 403 or (status == 503 and error.code == OVERLOADED):
        return Unavailable(f"{text}. Nothing was done. {UNREACHABLE}")
    if changes:
        if (status == 400 and error.code in DEFINITIVE and _TAKEN not in error.msg) or _second_half_failed(status, error):
            return Rejected(f"Binance refused: {_told(error)}", str(error.code))
        return InDoubt(f"{text}. Whether it was done is not known; the desk asks")
    if status >= 500:
        return Unavailable(f"{text}. {UNREACHABLE}")
    return BadRequest(f"{text}.") if status in (400, 401, 404, 409) else ProtocolError(f"HTTP {status}", response.body)


def error_of(response: Response) -> wire.Error:
    """The refusal's own code and text; a page of somebody in between has neither."""
    try:
        return strict.decode(response.body, wire.Error)
    except wire.UNREADABLE:
        return wire.Error(msg=response.body[:200].decode("utf-8", "replace"))


def is_not_found(response: Response) -> bool:
    """Binance's own "Order does not exist."; right after an order was sent that proves nothing."""
    return response.status == 400 and error_of(response).code == NOT_THERE


def ban_ns(response: Response) -> int:
    """How long to make no call at all: Retry-After, else until the time that the text names, else a minute, the length of the window."""
    after = response.headers.get("retry-after", "")
    if after.isdecimal():
        return int(after) * NS
    found = _BANNED.search(error_of(response).msg)
    left_ns = 0 if found is None else int(found[1]) * 1_000_000 - response.recv_ns
    return left_ns if left_ns > 0 else _WINDOW_NS


def budget(response: Response, limit: int | None, broker_ns: int) -> Mapping[str, str]:
    """Binance's own count of this minute, in the words that RateBudget reads. limit: None before Binance has said it. broker_ns: its clock, whose
    minutes the windows are."""
    told: dict[str, str] = {}
    used = response.headers.get(USED_HEADER.lower(), "")
    if used.isdecimal() and limit is not None:
        left = max(0, limit - int(used))
        reset_s = (broker_ns // _WINDOW_NS + 1) * 60
        told = {"x-ratelimit-limit": str(limit), "x-ratelimit-remaining": str(left), "x-ratelimit-reset": str(reset_s)}
    if response.status in BUSY:
        told["retry-after"] = str(-(-ban_ns(response) // NS))
    return told


def _second_half_failed(status: int, error: wire.Error) -> bool:
    """A cancel-replace whose cancel was done and whose new order was refused, for a reason that is known."""
    if status != 409 or error.code != HALF_REPLACED or error.data is None or error.data.new_order_result != "FAILURE":
        return False
    cause = _cause(error.data)
    return cause.code in DEFINITIVE and _TAKEN not in cause.msg


def _told(error: wire.Error) -> str:
    if error.data is None:
        return error.msg
    halves = f"cancel {error.data.cancel_result}, new order {error.data.new_order_result}"
    return f"{error.msg} ({halves}: {_cause(error.data).msg})"


def _cause(data: wire.ErrorData) -> wire.Error:
    """The half that failed."""
    raw = data.new_order_response if data.new_order_result == "FAILURE" else data.cancel_response
    try:
        return strict.decode(bytes(raw), wire.Error)
    except wire.UNREADABLE:
        return wire.Error()
