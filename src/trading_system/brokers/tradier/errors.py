"""Tradier's refusals as ours. What is not listed here, on a request that changes something, is in doubt."""

from collections.abc import Mapping

import msgspec

from trading_system.brokers.tradier import wire
from trading_system.brokers.tradier.facts import ALLOWED_HEADER, AVAILABLE_HEADER, EXPIRY_HEADER, HELP
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.transport import strict
from trading_system.transport.message import Response

_WINDOW_NS = 60_000_000_000
_UNSURE = ("OmsInternalError", "Your order could not be processed")  # the order system failed: it may have taken the order
_PARAMETER = "Invalid parameter"
_OVER = "order already in finalized state"
_NOT_OURS = "Unauthorized Account"  # also what an order id that nobody knows is answered with (measured, TRA-4484)


class _Errors(msgspec.Struct):
    error: list[str] | str


class _Refused(msgspec.Struct):
    errors: _Errors


class _Fault(msgspec.Struct):
    faultstring: str = ""


class _Faulty(msgspec.Struct):
    fault: _Fault


def sentences(body: bytes) -> tuple[str, ...]:
    """What {"errors": …} says; it comes with HTTP 200 as well as with 400. Empty: the body is something else."""
    if b'"errors"' not in body:
        return ()
    try:
        said = strict.decode(body, _Refused).errors.error
    except wire.UNREADABLE:
        return ()
    return (said,) if isinstance(said, str) else tuple(said)


def is_page(body: bytes) -> bool:
    """Whether it is a page for people, which Tradier's gateway sends with any status, 200 included."""
    return body.lstrip()[:1] == b"<"


def is_not_found(response: Response) -> bool:
    """An order id that nobody knows is HTTP 401 with this text: no word on the token."""
    return response.status == 401 and response.body.decode("utf-8", "replace").strip().startswith(_NOT_OURS)


def is_over(response: Response) -> bool:
    """The order was over before the request came."""
    return response.status == 400 and _OVER in response.body.decode("utf-8", "replace")


def refusal(response: Response, *, changes: bool) -> DeskError:
    """The error an answer stands for that is not what was asked for. changes: the request was to change something.

    AuthFailed on a changing request is told apart by the desk: it counts as in doubt, and halts the broker.
    """
    status, said = response.status, sentences(response.body)
    text = f"Tradier answered HTTP {status}: {'; '.join(said) or _text(response)}"
    if is_page(response.body) or status >= 500:
        return (InDoubt if changes else Unavailable)(f"{text}. {HELP[500]}")
    if status in (401, 403):
        return AuthFailed(text, HELP[status])
    if status == 429:
        wait_ns = reset_ns(response)
        text = f"{text}. {HELP[429]}"
        return InDoubt(text) if changes else RateLimited(text, wait_ns)
    if said and status in (200, 400):
        if changes and any(word in sentence for sentence in said for word in _UNSURE):
            return InDoubt(f"{text}. {HELP[500]}")
        return Rejected(f"Tradier refused: {'; '.join(said)}") if changes else BadRequest(text)
    if status == 400 and (_PARAMETER in text or _OVER in text):
        return Rejected(f"Tradier refused: {_text(response)}") if changes else BadRequest(text)
    if changes:
        return InDoubt(text)
    return BadRequest(text) if status in (400, 404) else ProtocolError(f"HTTP {status}", response.body)


def _text(response: Response) -> str:
    """The body in words: of a page none, of a fault its own, else the text itself."""
    if is_page(response.body):
        return "a page for people"
    try:
        return msgspec.json.decode(response.body, type=_Faulty).fault.faultstring
    except wire.UNREADABLE:
        return response.body[:200].decode("utf-8", "replace") or "no text"


def reset_ns(response: Response) -> int:
    """How long to wait at least: until the window ends, else 60 s, its length."""
    expiry = response.headers.get(EXPIRY_HEADER.lower(), "")
    left_ns = int(expiry) * 1_000_000 - response.recv_ns if expiry.isdecimal() else 0
    return left_ns if 0 < left_ns <= _WINDOW_NS else _WINDOW_NS


def counted(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Tradier's count in the words that a budget learns from; its milliseconds end no sooner as seconds."""
    expiry = headers.get(EXPIRY_HEADER.lower(), "")
    found = {
        "x-ratelimit-limit": headers.get(ALLOWED_HEADER.lower(), ""),
        "x-ratelimit-remaining": headers.get(AVAILABLE_HEADER.lower(), ""),
        "x-ratelimit-reset": str(-(-int(expiry) // 1000)) if expiry.isdecimal() else "",
    }
    return {name: value for name, value in found.items() if value}
