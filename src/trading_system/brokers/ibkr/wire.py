"""TWS's socket messages as fields of text: how they are cut and put together, what their numbers mean, and how a value is left out.

Source: interactivebrokers.github.io/tws-api; the layouts are those of server version 178.
"""

from decimal import Decimal, InvalidOperation
from enum import IntEnum

from trading_system.domain.money import plain

PREAMBLE = b"API\0"  # what a client says first, before anything that stands behind its length
SERVER_VERSION = 178
CLIENT_VERSIONS = "v157..178"
UNSET = "1.7976931348623157E308"  # a double that nobody has set …
UNSET_INT = "2147483647"  # … and an integer
_UNSETS = frozenset({"", UNSET, UNSET_INT, "1.7976931348623157e+308", "9223372036854775807"})


class Asks(IntEnum):
    """What a client sends."""

    MARKET_DATA = 1
    CANCEL_MARKET_DATA = 2
    PLACE_ORDER = 3
    CANCEL_ORDER = 4
    OPEN_ORDERS = 5
    ACCOUNT_UPDATES = 6
    EXECUTIONS = 7
    IDS = 8
    CONTRACT_DETAILS = 9
    DEPTH = 10
    CANCEL_DEPTH = 11
    AUTO_OPEN_ORDERS = 15
    ALL_OPEN_ORDERS = 16
    MANAGED_ACCOUNTS = 17
    HISTORY = 20
    CANCEL_HISTORY = 25
    SCANNER = 22
    CURRENT_TIME = 49
    GLOBAL_CANCEL = 58
    MARKET_DATA_TYPE = 59
    POSITIONS = 61
    ACCOUNT_SUMMARY = 62
    CANCEL_ACCOUNT_SUMMARY = 63
    CANCEL_POSITIONS = 64
    START = 71
    ACCOUNT_UPDATES_MULTI = 76
    CANCEL_ACCOUNT_UPDATES_MULTI = 77
    OPTION_PARAMETERS = 78
    MATCHING_SYMBOLS = 81
    HEAD_TIMESTAMP = 87
    MARKET_RULE = 91
    HISTORY_TICKS = 96
    TICK_BY_TICK = 97
    CANCEL_TICK_BY_TICK = 98
    COMPLETED_ORDERS = 99


class Tells(IntEnum):
    """What TWS sends."""

    TICK_PRICE = 1
    TICK_SIZE = 2
    ORDER_STATUS = 3
    ERROR = 4
    OPEN_ORDER = 5
    ACCOUNT_VALUE = 6
    PORTFOLIO = 7
    ACCOUNT_TIME = 8
    NEXT_ID = 9
    CONTRACT = 10
    BOND_CONTRACT = 18
    EXECUTION = 11
    DEPTH = 12
    MANAGED_ACCOUNTS = 15
    HISTORY = 17
    OPTION_TICK = 21
    TICK_STRING = 46
    CURRENT_TIME = 49
    CONTRACT_END = 52
    OPEN_ORDER_END = 53
    ACCOUNT_END = 54
    EXECUTION_END = 55
    SNAPSHOT_END = 57
    MARKET_DATA_TYPE = 58
    COMMISSION = 59
    POSITION = 61
    POSITION_END = 62
    SUMMARY = 63
    SUMMARY_END = 64
    UPDATE_MULTI = 73
    UPDATE_MULTI_END = 74
    OPTION_PARAMETERS = 75
    OPTION_PARAMETERS_END = 76
    SYMBOLS = 79
    HEAD_TIMESTAMP = 88
    MARKET_RULE = 93
    HISTORY_TICKS_BID_ASK = 97
    HISTORY_TICKS_LAST = 98
    TICK_BY_TICK = 99
    COMPLETED_ORDER = 101
    COMPLETED_END = 102


class Tick(IntEnum):
    """What a tick is about."""

    BID_SIZE = 0
    BID = 1
    ASK = 2
    ASK_SIZE = 3
    LAST = 4
    LAST_SIZE = 5
    CLOSE = 9
    MODEL_OPTION = 13
    LAST_TIME = 45
    DELAYED_BID = 66
    DELAYED_ASK = 67
    DELAYED_LAST = 68
    DELAYED_LAST_TIME = 88


Value = str | int | bool | Decimal


def split(frame: bytes) -> list[str]:
    """The fields of a message, each of which ends with a NUL. Raises ValueError: the last one does not, or it is no text."""
    *fields, rest = frame.decode().split("\0")
    if rest or not fields:
        raise ValueError("a message whose last field has no end")
    return fields


def join(*fields: Value) -> bytes:
    """A message out of its fields. Numbers are plain, yes is 1, no is 0.

    >>> join(Tells.NEXT_ID, 1, 7)
    b'9\\x001\\x007\\x00'
    """
    return "".join(f"{_text(field)}\0" for field in fields).encode()


def _text(field: Value) -> str:
    if isinstance(field, bool):
        return "1" if field else "0"
    if isinstance(field, Decimal):
        return plain(field)
    return field if isinstance(field, str) else str(int(field))


def number(text: str) -> Decimal | None:
    """A field as a number; None: it was left out, in one of the five ways in which clients do that.

    >>> number("1.7976931348623157E308") is None
    True

    Raises: ValueError: it is none.
    """
    if text in _UNSETS:
        return None
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:30]!r} is no number") from None
    if not found.is_finite():
        raise ValueError(f"{text[:30]!r} is no finite number")
    return found
