"""The Web API's refusals as ours. What is not listed here, on a request that changes something, is in doubt."""

from trading_system.brokers.ibkr.web.facts import LOGIN_HELP, PENALTY_NS, UNREACHABLE
from trading_system.brokers.ibkr.web.wire import complaint
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.transport.message import Response

_NO_SESSION = ("no bridge", "Init session first", "not authenticated")
_UNSURE = ("already registered", "reply id not found")  # the first one may have been ours; the second order may have been placed by somebody's yes
_OVER = "doesn't exist"
_NOTHING = "No symbol found"  # whatever its status


def needs_session(response: Response) -> bool:
    """Whether there is no brokerage session: nothing of the request was looked at."""
    return response.status == 400 and any(word in (complaint(response.body) or "") for word in _NO_SESSION)


def needs_accounts(response: Response) -> bool:
    return response.status == 400 and "accounts first" in (complaint(response.body) or "")


def is_over(response: Response) -> bool:
    """The order that was to be cancelled was over before, or never was."""
    return _OVER in (complaint(response.body) or "")


def is_page(response: Response) -> bool:
    """A page for people, or the way to one: the login has ended."""
    return response.status in (301, 302, 303, 307) or response.body.lstrip()[:1] == b"<"


def refusal(response: Response, *, changes: bool) -> DeskError | None:
    """The error that an answer stands for; None: it is what was asked for. changes: the request was to change something."""
    status, said = response.status, complaint(response.body)
    if status == 200 and said is None and not is_page(response):
        return None
    text = f"Interactive Brokers answered HTTP {status}: {said or response.body[:200].decode('utf-8', 'replace') or 'no text'}"
    if status in (401, 403, 410):
        return AuthFailed(f"{text}.", LOGIN_HELP)
    if _NOTHING in (said or "") and not changes:
        return BadRequest(text)
    if is_page(response) or status >= 500:
        return (InDoubt if changes else Unavailable)(f"{text}. {UNREACHABLE}")
    if status == 429:
        text = f"{text}. Requests came too fast: IBKR shuts an address out for ten minutes"
        return InDoubt(text) if changes else RateLimited(text, PENALTY_NS)
    if needs_session(response) or needs_accounts(response):
        return Unavailable(f"{text}: there is no brokerage session, nothing was done")
    if said is not None and status in (200, 400):
        if changes and any(word in said for word in _UNSURE):
            return InDoubt(text)
        return Rejected(f"Interactive Brokers refused: {said}") if changes else BadRequest(text)
    if changes:
        return InDoubt(text)
    return BadRequest(text) if status in (400, 404) else ProtocolError(f"HTTP {status}", response.body)
