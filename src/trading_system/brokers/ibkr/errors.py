"""What IB's codes mean for an order or a question, in one table. A code that is not listed says nothing about an order: it is asked about."""

from collections.abc import Mapping
from enum import Enum

from trading_system.brokers.ibkr.facts import READ_ONLY_HELP, TAKEN_HELP
from trading_system.domain.errors import BadRequest, DeskError, RateLimited, Rejected, Unavailable

SECOND_NS = 1_000_000_000


class Meaning(Enum):
    """What a code says of the order or the question that it names."""

    NOTICE = "notice"  # nothing happened to it
    WARNING = "warning"  # it goes on, not wholly as asked
    FAILED = "failed"  # the question has no answer; an order is what it was
    REFUSED = "refused"  # a new order never worked; of an order that works only the change was refused
    LINK = "link"  # between TWS and IB, or TWS and us
    UNKNOWN = "unknown"  # not listed


_CODES: Mapping[Meaning, tuple[int, ...]] = {
    Meaning.NOTICE: (202, 300, 2104, 2106, 2107, 2108, 2119, 2152, 2158, 10225),
    Meaning.WARNING: (
        *(165, 317, 399, 404, 434, 481, 492, 2100, 2101, 2103, 2105, 2109, 2137, 2148, 2157, 2168, 2169, 2174),
        *(10090, 10167, 10328, 10349),
    ),
    Meaning.FAILED: (
        *(101, 102, 104, 135, 136, 161, 162, 200, 309, 310, 324, 327, 354, 366, 414, 420, 430, 505, 506, 507, 508, 509, 579, 585, 588, 2102),
        *(10089, 10091, 10147, 10148, 10168, 10182, 10186, 10187, 10189, 10197, 10314, 10318, 10330, 10339),
    ),
    Meaning.REFUSED: (
        *(103, 105, 106, 107, 109, 110, 111, 113, 116, 133, 134, 154, 160, 201, 203, 320, 321, 322, 323, 329, 382, 383, 387, 435, 436, 460),
        *(10006, 10015, *range(10241, 10253), 10268, 10269, 10270, 10289, 10293),
    ),
    Meaning.LINK: (326, 502, 503, 504, 1100, 1101, 1102, 1300, 2110),
}
MEANING: Mapping[int, Meaning] = {code: meaning for meaning, codes in _CODES.items() for code in codes}

TOO_FAST = 100
NO_HISTORY = 162
NO_CONTRACT = 200  # also what an order on it is refused with
CANCELED = 202
CLIENT_TAKEN = 326
LOST, BACK_WITHOUT_DATA, BACK = 1100, 1101, 1102
SUBSCRIPTION_GONE = frozenset({317, 10182, 10197, 10225})
NO_DATA = "returned no data"  # of 162: an empty answer
_READ_ONLY = "Read-Only mode"
_NEEDS_MONEY = frozenset({354, 10089, 10090, 10091, 10168, 10186, 10187, 10189})


def meaning(code: int) -> Meaning:
    return MEANING.get(code, Meaning.UNKNOWN)


def is_read_only(text: str) -> bool:
    return _READ_ONLY in text


def refuses_new(code: int) -> bool:
    """Whether an order that nobody has acknowledged yet is refused by it."""
    return meaning(code) is Meaning.REFUSED or code == NO_CONTRACT


def refuses_change(code: int) -> bool:
    """Whether a change is refused by it; the order itself is what it was."""
    return meaning(code) in (Meaning.REFUSED, Meaning.FAILED)


def refusal(code: int, text: str) -> Rejected:
    """An order or a change that was refused, in IB's words."""
    return Rejected(f"Interactive Brokers refused: {said(code, text)}", str(code))


def said(code: int, text: str) -> str:
    """IB's words with their number, and what to do where that is known."""
    told = f"{text.strip()} ({code})"
    if is_read_only(text):
        return f"{told}. {READ_ONLY_HELP}"
    if code == CLIENT_TAKEN:
        return f"{told}: {TAKEN_HELP}"
    if code in _NEEDS_MONEY:
        return f"{told}. Market data for the API needs a subscription of its own; see docs/brokers/ibkr.md"
    return told


def failure(code: int, text: str) -> DeskError:
    """A question that has no answer."""
    if code == TOO_FAST:
        return RateLimited(said(code, text), SECOND_NS)
    if code == NO_CONTRACT:
        return BadRequest(f"Interactive Brokers has no such contract: {said(code, text)}")
    if is_read_only(text) or meaning(code) is Meaning.LINK:
        return Unavailable(said(code, text))
    return BadRequest(f"Interactive Brokers refused the question: {said(code, text)}")
