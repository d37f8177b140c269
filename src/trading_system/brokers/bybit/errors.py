"""Bybit's refusals as ours, in one table of return codes. What is not listed here, on a request that changes something, is in doubt."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from trading_system.brokers.bybit import wire
from trading_system.brokers.bybit.facts import (
    BANNED_NS,
    BUDGET_HELP,
    CLOCK_HELP,
    KEYS_HELP,
    LIMIT_HEADER,
    PAGES,
    PERMISSION_HELP,
    RESET_HEADER,
    UNIFIED_HELP,
)
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, ProtocolError, RateLimited, Rejected, Unavailable
from trading_system.transport import strict
from trading_system.transport.message import Response

KEY = frozenset({10003, 10004, 10007, 33004, -2015})
_PERMISSION = frozenset({10005, 10010})
_MODE = frozenset({10008, 10028, 100028})
BUDGET = 10006
_CLOCK = 10002
_NOT_THERE = 10032  # the demo does not have this
# The server failed, or protects itself: of a question nothing is known, of a change neither.
_FAILED = frozenset({429, 10000, 10016, 10019, 10403, 10429, 170001, 170007, 170032, 170146, 170147})
# "No order came of it", by what each is about. Source: bybit-exchange.github.io/docs/v5/error
_FATAL = frozenset({10001, 10009, 10017, 10024, 10027, 10029, _NOT_THERE, 110024, 110028, 110029, 110132, 170121})
_POOR = frozenset({110004, 110006, 110007, 110012, 110044, 110045, 110051, 110052, 110053, 170033, 170131})
_PRICE = frozenset({30208, 30209, 110003, 110120, 110121, 170132, 170133, 170193, 170194, 170371, 170372})
_SIZE = frozenset({110017, 110094, 170124, 170134, 170136, 170137, 170140, 170148})
_COUNT = frozenset({110009, 110020, 170222, 170810})
_MARKET = frozenset({30228, 110021, 110023, 110042, 110063, 110066, 110074, 110092, 110093, 170151, 170159, 170210, 170218})
GONE = frozenset({110001, 110008, 110010, 170139, 170142, 170143, 170190, 170213, 175007})  # not there, filled or cancelled: ask how it stands
DEFINITIVE = _FATAL | _POOR | _PRICE | _SIZE | _COUNT | _MARKET | GONE | {_CLOCK}
_SECOND_NS = 1_000_000_000


class NotThere(BadRequest):
    """The demo does not answer this question."""


def envelope(response: Response) -> wire.Envelope:
    """What stands around the answer. Raises msgspec.MsgspecError and what else wire.UNREADABLE lists: it is none of Bybit's."""
    return strict.decode(response.body, wire.Envelope)


def passing(response: Response, now_ms: int) -> Response:
    """An answer to a question with the HTTP status and the wait that others would give it: Bybit says 200 to what it could not do just now, too."""
    try:
        code = msgspec.json.decode(response.body, type=wire.Envelope).retCode
    except wire.UNREADABLE:
        return response
    if response.status != 200 or (code != BUDGET and code not in _FAILED):
        return response
    if code != BUDGET:
        return replace(response, status=503)
    wait_s = -(-reset_ns(response.headers, now_ms) // _SECOND_NS)
    return replace(response, status=429, headers={**response.headers, "retry-after": str(wait_s)})


def refusal(response: Response, answer: wire.Envelope | None, *, changes: bool, now_ms: int) -> DeskError:
    """The error an answer stands for. answer: None where the body is none of Bybit's. changes: the request was to change something. now_ms: in
    Bybit's time.

    AuthFailed on a changing request is told apart by the desk: it counts as in doubt, and halts the broker.
    """
    if answer is None or answer.retCode == 0:
        return _http(response, answer, changes=changes)
    code, text = answer.retCode, f"Bybit answered {answer.retCode}: {answer.retMsg or 'no text'}"
    if code in KEY:
        return AuthFailed(f"Bybit answered {code}: the key is not accepted.", KEYS_HELP)  # 10004 repeats what was signed, and the key in it
    if code in _PERMISSION:
        return AuthFailed(text, PERMISSION_HELP)
    if code in _MODE:
        return AuthFailed(text, UNIFIED_HELP)
    if code == BUDGET:
        wait_ns = reset_ns(response.headers, now_ms)
        return RateLimited(f"{text}. {budget_text(response.headers, wait_ns)} {BUDGET_HELP}", wait_ns)
    if code == _CLOCK:
        return (Rejected if changes else Unavailable)(f"{text}. {CLOCK_HELP}")
    if changes:
        return Rejected(f"Bybit refused: {answer.retMsg} ({code})", str(code)) if code in DEFINITIVE else InDoubt(text)
    if code == _NOT_THERE:
        return NotThere(text)
    return Unavailable(f"{text}. Status: {PAGES['status']}") if code in _FAILED else BadRequest(text)


def _http(response: Response, answer: wire.Envelope | None, *, changes: bool) -> DeskError:
    """Refusals without a code: of the gateway, which has looked at no more than the address and the path."""
    status = response.status
    said = response.body[:200].decode("utf-8", "replace") if answer is None else answer.retMsg
    text = f"Bybit answered HTTP {status}: {said or 'no text'}"
    if status == 401:
        return AuthFailed(f"Bybit answered HTTP {status}.", KEYS_HELP)
    if is_banned(response):
        return RateLimited(f"{text}. The request budget of this address is spent: wait ten minutes. {BUDGET_HELP}", BANNED_NS)
    if status == 403:
        return AuthFailed(text, f"Bybit refuses this address: some countries, and the networks of some clouds. {PERMISSION_HELP}")
    if changes:
        return InDoubt(f"{text}. Whether it was done is not known. Status: {PAGES['status']}")
    if status == 429 or status >= 500:
        return Unavailable(f"{text}. Status: {PAGES['status']}")
    return BadRequest(text) if status in (400, 404) else ProtocolError(f"HTTP {status}", response.body)


def is_banned(response: Response) -> bool:
    """The address has asked too often, and is not answered for ten minutes."""
    return response.status == 403 and b"too frequent" in response.body


def budget_text(headers: Mapping[str, str], wait_ns: int) -> str:
    """How long to wait, and the budget as Bybit's own headers state it."""
    limit = headers.get(LIMIT_HEADER.lower(), "")
    told = f"{limit} requests" if limit.isdecimal() else "not said"
    return f"Wait {-(-wait_ns // _SECOND_NS)} s; the budget is {told}."


def reset_ns(headers: Mapping[str, str], now_ms: int) -> int:
    """How long until the budget is whole again, as the headers say; a second, the length of most windows, where they do not."""
    reset = headers.get(RESET_HEADER.lower(), "")
    return max(1, int(reset) - now_ms) * 1_000_000 if reset.isdecimal() and int(reset) > now_ms else _SECOND_NS
