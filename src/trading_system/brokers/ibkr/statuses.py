"""What IB calls the state of an order, and what that is in FIX's words. Both transports use these."""

from collections.abc import Mapping
from decimal import Decimal

from trading_system.domain.errors import ProtocolError
from trading_system.domain.fix import OrdStatus

# Inactive is a refusal, unless shares are being looked for; what is UNCHANGED says nothing of its own.
# Source: interactivebrokers.github.io/tws-api, Placing Orders
UNCHANGED = frozenset({"PreCancelled", "WarnState"})
STATUS: Mapping[str, OrdStatus] = {
    "ApiPending": OrdStatus.PENDING_NEW,
    "PendingSubmit": OrdStatus.PENDING_NEW,
    "PreSubmitted": OrdStatus.NEW,
    "Submitted": OrdStatus.NEW,
    "PendingCancel": OrdStatus.PENDING_CANCEL,
    "Cancelled": OrdStatus.CANCELED,
    "ApiCancelled": OrdStatus.CANCELED,
    "Filled": OrdStatus.FILLED,
    "Inactive": OrdStatus.REJECTED,
}
WAITS_FOR_PARENT = "child"
WAITS_FOR_SHARES = "locate"


def decode_status(word: str, filled: Decimal, why_held: str) -> OrdStatus:
    """Raises ProtocolError: a word that nobody knows.

    >>> decode_status("Submitted", Decimal(3), "")
    <OrdStatus.PARTIALLY_FILLED: 'partially_filled'>
    """
    found = STATUS.get(word)
    if found is None:
        raise ProtocolError("an order status that we do not know", word.encode())
    if found is OrdStatus.REJECTED:
        if WAITS_FOR_SHARES in why_held:
            return OrdStatus.NEW
        return OrdStatus.CANCELED if filled else found
    if found is OrdStatus.NEW:
        if WAITS_FOR_PARENT in why_held:
            return OrdStatus.SUSPENDED
        return OrdStatus.PARTIALLY_FILLED if filled else found
    return found
