"""The one exception tree. Each error says whether it happened.

DeskError
├── RiskRefused      we said no: rule, limit, value, and what to do
├── NotSent          stopped at the last hop; certainly nothing left
├── Rejected         the broker said no
├── Unavailable      certainly not sent: no connection, no slot
│   └── RateLimited  the broker's budget is spent; retry_after_ns says how long
├── InDoubt          sent, no answer: ask by ClOrdID, never send again
├── AuthFailed       the broker does not know or does not let this key; hint says what to do
├── ProtocolError    we cannot read what the broker sent: halt that broker
├── JournalError     the disk refused, or the journal is damaged: stop
├── LeaseHeld        another desk owns this state folder or account
└── BadRequest       what was asked makes no sense as it stands; nothing was done
"""


class DeskError(Exception):
    """Base of all that the desk raises on purpose. exit_code is what a command ends with."""

    exit_code = 1


class RiskRefused(DeskError):
    """Our own limits say no. Nothing was sent."""

    exit_code = 1

    def __init__(self, rule: str, limit: str, value: str, advice: str) -> None:
        super().__init__(f"{rule}: {value}; the limit is {limit}. {advice}")
        self.rule = rule
        self.limit = limit
        self.value = value
        self.advice = advice


class NotSent(DeskError):
    """Stopped between the gate and the socket (a halt, dry run). Nothing was sent; the order is closed."""


class Rejected(DeskError):
    """The broker answered no. `code` is the broker's own; the text is meant for the owner."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class Unavailable(DeskError):
    """The broker could not be reached and nothing was sent. A new attempt is a new order."""

    exit_code = 5


class RateLimited(Unavailable):
    """The request budget is spent. Nothing was sent."""

    def __init__(self, text: str, retry_after_ns: int) -> None:
        super().__init__(text)
        self.retry_after_ns = retry_after_ns


class InDoubt(DeskError):
    """It may have happened. The desk asks the broker by ClOrdID; the caller does not send it again."""

    exit_code = 6


class AuthFailed(DeskError):
    """The broker refused the credentials. The hint names the variable, the permission and the page."""

    exit_code = 4

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(f"{text} {hint}".strip())
        self.hint = hint


class ProtocolError(DeskError):
    """The broker sent something we cannot read. The desk halts that broker; `raw` is what came."""

    exit_code = 5

    def __init__(self, text: str, raw: bytes = b"") -> None:
        super().__init__(f"{text}: {raw[:200]!r}" if raw else text)
        self.raw = raw


class JournalError(DeskError):
    """The journal cannot be written or does not verify. No trading until a person has looked."""

    exit_code = 8


class LeaseHeld(DeskError):
    """Another process holds this state folder or this account. Use that desk, or stop it first."""

    exit_code = 3


class Halted(RiskRefused):
    """A latched halt is in force. `trading resume` clears it, typed twice."""

    exit_code = 7


class BadRequest(DeskError):
    """The request contradicts itself or names something that does not exist. Nothing was done."""

    exit_code = 2
