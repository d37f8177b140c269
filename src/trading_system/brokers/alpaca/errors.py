"""Alpaca's refusals as ours, in one table. What is not listed here, on a request that changes something, is in doubt."""

from collections.abc import Mapping

from trading_system.brokers.alpaca import wire
from trading_system.brokers.alpaca.facts import HELP, LIMIT_HEADER, REMAINING_HEADER, REQUESTS_PER_MINUTE, RESET_HEADER
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.transport import strict
from trading_system.transport.message import Response

# (HTTP status, code): the refusals that mean "no order came of it". Messages may change, the numbers are stable.
# Source: docs.alpaca.markets error tables; 42210000 also arrives with 403.
DEFINITIVE = frozenset(
    {
        (400, 40010001),
        (403, 40310000),
        (403, 40310100),
        (403, 42210000),
        (404, 40410000),
        (422, 40010001),
        (422, 42210000),
    }
)
_WINDOW_NS = 60_000_000_000
_TAKEN = "client_order_id must be unique"  # the one message that must be read: our order may be the one that has the id


def refusal(response: Response, *, changes: bool) -> DeskError:
    """The error an answer other than 2xx stands for. changes: the request was to change something.

    AuthFailed on a changing request is told apart by the desk: it counts as in doubt, and halts the broker.
    """
    status, error = response.status, _error(response)
    text = f"Alpaca answered HTTP {status}: {error.message or 'no text'}"
    advice, wait_ns = HELP.get(status, ""), _reset_ns(response)
    if status == 429:
        advice = f"{budget_text(response.headers, wait_ns)} {advice}"
    if status == 401 or (status == 403 and error.code is None):
        return AuthFailed(text, advice)
    if changes:
        if (status, error.code) in DEFINITIVE and _TAKEN not in error.message:
            return Rejected(_with_context(error), str(error.code))
        return InDoubt(f"{text}. {advice}".strip())
    if status == 429:
        return RateLimited(f"{text}. {advice}", wait_ns)
    if status >= 500:
        return Unavailable(f"{text}. {advice}")
    if status in (400, 403, 404, 422):
        return BadRequest(f"{text}. {advice}".strip())
    return ProtocolError(f"HTTP {status}", response.body)


def is_not_found(response: Response) -> bool:
    """404 with Alpaca's own code; a proxy's 404 page is no answer."""
    return response.status == 404 and _error(response).code == 40410000


def _error(response: Response) -> wire.Error:
    try:
        return strict.decode(response.body, wire.Error)
    except wire.UNREADABLE:
        return wire.Error(message=response.body[:200].decode("utf-8", "replace"))


def _with_context(error: wire.Error) -> str:
    context = {
        name: getattr(error, name) for name in ("available", "existing_qty", "held_for_orders", "buying_power", "cost_basis", "existing_order_id")
    }
    told = ", ".join(f"{name} {value}" for name, value in context.items() if value is not None)
    return f"Alpaca refused: {error.message}{f' ({told})' if told else ''}"


def budget_text(headers: Mapping[str, str], wait_ns: int) -> str:
    """How long to wait, and the budget as the broker's own headers state it."""
    limit, left = headers.get(LIMIT_HEADER.lower(), ""), headers.get(REMAINING_HEADER.lower(), "")
    told = f"{limit} requests a minute" if limit.isdecimal() else f"{REQUESTS_PER_MINUTE} requests a minute, as far as is known"
    rest = f", {left} left" if left.isdecimal() else ""
    return f"Wait {-(-wait_ns // 1_000_000_000)} s; the budget is {told}{rest}."


def _reset_ns(response: Response) -> int:
    """How long to wait at least: Retry-After, else until X-RateLimit-Reset, else 60 s, the length of Alpaca's window."""
    after, reset = response.headers.get("retry-after", ""), response.headers.get(RESET_HEADER.lower(), "")
    if after.isdecimal():
        return int(after) * 1_000_000_000
    left_ns = int(reset) * 1_000_000_000 - response.recv_ns if reset.isdecimal() else 0
    return left_ns if 0 < left_ns <= _WINDOW_NS else _WINDOW_NS
