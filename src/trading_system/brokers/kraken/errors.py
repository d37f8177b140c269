"""Kraken's refusals as ours, in one table. What is not listed here, on a call that changes something, is in doubt."""

from collections.abc import Sequence
from enum import Enum

from trading_system.brokers.kraken.facts import (
    BUDGET_HELP,
    KEY_HELP,
    LOCKOUT_HELP,
    NONCE_HELP,
    PERMISSION_HELP,
    SERVICE_HELP,
)
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.transport.message import Response

WAIT_NS = 15_000_000_000  # a counter that is full has room again after so long, at every tier


class Meaning(Enum):
    """What a refusal says of the call, and so what the caller does next."""

    REFUSED = "refused"  # certainly nothing came of it
    MISSING = "missing"  # no such order, or it is over already: a question, not an answer
    NONCE = "nonce"
    KEY = "key"
    PERMISSION = "permission"
    LOCKOUT = "lockout"
    BUDGET = "budget"
    FAILED = "failed"  # Kraken's fault: an order may have been taken all the same


# By the longest prefix that fits. Source: docs.kraken.com/api/docs/guides/spot-errors; texts seen by other connectors where that page has none.
ERRORS = {
    "EAPI:Invalid key": Meaning.KEY,
    "EAPI:Invalid signature": Meaning.KEY,
    "EAPI:Invalid nonce": Meaning.NONCE,
    "EAPI:Bad request": Meaning.REFUSED,
    "EAPI:Rate limit exceeded": Meaning.BUDGET,
    "EAPI:Feature disabled": Meaning.KEY,
    "EAuth:": Meaning.KEY,
    "EAuth:Rate limit exceeded": Meaning.BUDGET,
    "EAuth:Too many requests": Meaning.BUDGET,
    "ESession:Invalid session": Meaning.KEY,
    "EGeneral:Permission denied": Meaning.PERMISSION,
    "EGeneral:Temporary lockout": Meaning.LOCKOUT,
    "EGeneral:Too many requests": Meaning.BUDGET,
    "EGeneral:Invalid arguments": Meaning.REFUSED,
    "EGeneral:Unknown method": Meaning.REFUSED,
    "EGeneral:Internal error": Meaning.FAILED,
    "EAccount:Invalid permissions": Meaning.REFUSED,
    "EQuery:": Meaning.REFUSED,
    "EOrder:Insufficient funds": Meaning.REFUSED,
    "EOrder:Insufficient margin": Meaning.REFUSED,
    "EOrder:Margin": Meaning.REFUSED,
    "EOrder:Cannot open": Meaning.REFUSED,
    "EOrder:Reduce only": Meaning.REFUSED,
    "EOrder:Order minimum not met": Meaning.REFUSED,
    "EOrder:Cost minimum not met": Meaning.REFUSED,
    "EOrder:Tick size check failed": Meaning.REFUSED,
    "EOrder:Invalid price": Meaning.REFUSED,
    "EOrder:Orders limit exceeded": Meaning.REFUSED,
    "EOrder:Scheduled orders limit exceeded": Meaning.REFUSED,
    "EOrder:Positions limit exceeded": Meaning.REFUSED,
    "EOrder:Rate limit exceeded": Meaning.BUDGET,
    "EOrder:Domain rate limit exceeded": Meaning.BUDGET,
    "EOrder:Post only order": Meaning.REFUSED,
    "EOrder:Unknown order": Meaning.MISSING,
    "EOrder:Invalid order": Meaning.MISSING,
    "EOrder:Unknown position": Meaning.MISSING,
    "EService:Unavailable": Meaning.FAILED,
    "EService:Busy": Meaning.FAILED,
    "EService:Timeout": Meaning.FAILED,
    "EService:Market in": Meaning.REFUSED,
    "EService:Deadline elapsed": Meaning.REFUSED,  # it was dropped before the engine took it, which is what a deadline is for
    "EService:Throttled": Meaning.BUDGET,
    "ETrade:Invalid request": Meaning.REFUSED,
    "EBM:limit exceeded": Meaning.REFUSED,
}
_PREFIXES = sorted(ERRORS, key=len, reverse=True)
_OURS = "cl_ord_id"  # the text of a client id that is taken is nowhere published: the order that has it may be our own


def meaning(errors: Sequence[str]) -> Meaning | None:
    """What an answer's errors say; None: nothing that is listed. Warnings say nothing."""
    for text in errors:
        if not text.startswith("W"):
            return next((ERRORS[prefix] for prefix in _PREFIXES if text.startswith(prefix)), None)
    return None


def failed(errors: Sequence[str]) -> bool:
    """Whether there is more in it than warnings."""
    return any(not text.startswith("W") for text in errors)


def refusal(errors: Sequence[str], *, changes: bool) -> DeskError:
    """The error that an answer's texts stand for. changes: the call was to change something.

    AuthFailed on a changing call is told apart by the desk: it counts as in doubt, and halts the broker.
    """
    told = ", ".join(errors)
    text, code, found = f"Kraken answered: {told}", errors[0] if errors else "", meaning(errors)
    match found:
        case Meaning.KEY:
            return AuthFailed(f"{text}.", KEY_HELP)
        case Meaning.PERMISSION:
            return AuthFailed(f"{text}.", PERMISSION_HELP)
        case Meaning.LOCKOUT:
            return AuthFailed(f"{text}.", LOCKOUT_HELP)
        case Meaning.NONCE:
            return Rejected(f"{text}. {NONCE_HELP}", code) if changes else Unavailable(f"{text}. {NONCE_HELP}")
        case Meaning.BUDGET:
            return Rejected(f"{text}. {BUDGET_HELP}", code) if changes else RateLimited(f"{text}. {BUDGET_HELP}", WAIT_NS)
        case Meaning.FAILED:
            return InDoubt(f"{text}. {SERVICE_HELP}") if changes else Unavailable(f"{text}. {SERVICE_HELP}")
    if changes:
        if found is Meaning.REFUSED and _OURS not in told:
            return Rejected(f"Kraken refused: {told}", code)
        return InDoubt(text)
    if found in (Meaning.REFUSED, Meaning.MISSING):
        return BadRequest(text)
    return ProtocolError("Kraken reports an error that this version does not know", told.encode())


def edge(response: Response, *, changes: bool) -> DeskError:
    """The error that any HTTP status but 200 stands for. It comes from what stands before Kraken, which says nothing of what became of a call."""
    text = f"Kraken's edge answered HTTP {response.status}. {SERVICE_HELP}"
    if changes:
        return InDoubt(text)
    if response.status == 429:
        return RateLimited(f"{text} {BUDGET_HELP}", WAIT_NS)
    return Unavailable(text)
