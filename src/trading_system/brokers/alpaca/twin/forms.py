"""How the twin writes and reads what is neither order nor price: times, numbers, refusals, pages."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from trading_system.domain.fix import OrdStatus
from trading_system.domain.money import plain
from trading_system.sim.sessions import DAY_NS, SECOND_NS, Sessions, iso, new_york_day, new_york_ns, new_york_offset_ns
from trading_system.transport.message import Response

JSON = msgspec.json.Encoder(decimal_format="number")
STATUS: Mapping[OrdStatus, str] = {
    OrdStatus.PENDING_NEW: "pending_new",
    OrdStatus.NEW: "new",
    OrdStatus.PARTIALLY_FILLED: "partially_filled",
    OrdStatus.DONE_FOR_DAY: "done_for_day",
    OrdStatus.SUSPENDED: "suspended",
    OrdStatus.PENDING_CANCEL: "pending_cancel",
    OrdStatus.PENDING_REPLACE: "pending_replace",
    OrdStatus.FILLED: "filled",
    OrdStatus.CANCELED: "canceled",
    OrdStatus.EXPIRED: "expired",
    OrdStatus.REJECTED: "rejected",
    OrdStatus.REPLACED: "replaced",
}
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?)?")
_EPOCH = date(1970, 1, 1)
_SHOWN = Decimal("0.000000001")


class Refusal(Exception):
    """An HTTP answer that says no. context: the keys that some refusals add to code and message."""

    def __init__(self, status: int, code: int | None, message: str, **context: str) -> None:
        super().__init__(message)
        self.status = status
        head: dict[str, object] = {} if code is None else {"code": code}
        self.body: Mapping[str, object] = {**head, "message": message, **context}


def answer(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(status=status, headers={"content-type": "application/json; charset=UTF-8"}, body=JSON.encode(value))


def too_many() -> Refusal:
    return Refusal(429, 42910000, "rate limit exceeded")


def bad_parameter(name: str) -> Refusal:
    return Refusal(422, 40010001, f"invalid {name}")


def when(ns: int) -> str | None:
    """RFC 3339; None for a time that has not come."""
    return iso(ns) if ns else None


def new_york(ns: int) -> str:
    """RFC 3339 with New York's offset, nanoseconds only where there are any."""
    offset = new_york_offset_ns(ns)
    text = iso(ns + offset)[:-1].rstrip("0").rstrip(".")
    return f"{text}-0{-offset // (3600 * SECOND_NS)}:00"


def parse_time(text: str, name: str) -> int:
    """RFC 3339 or a date (midnight UTC), up to nine fraction digits. Raises Refusal 422."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise bad_parameter(name)
    year, month, day, hour, minute, second, fraction, _, sign, off_hour, off_minute = found.groups()
    try:
        days = (date(int(year), int(month), int(day)) - _EPOCH).days
    except ValueError as error:
        raise bad_parameter(name) from error
    seconds = int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)
    offset = (int(off_hour or 0) * 3600 + int(off_minute or 0) * 60) * (-1 if sign == "-" else 1)
    return days * DAY_NS + (seconds - offset) * SECOND_NS + int((fraction or "0").ljust(9, "0"))


def parse_day(text: str, name: str) -> date:
    return _EPOCH + timedelta(days=parse_time(text, name) // DAY_NS)


def day_span(text: str, name: str) -> tuple[int, int]:
    """First instant of a New York day and of the next one."""
    day = parse_day(text, name)
    return new_york_ns(day, 0), new_york_ns(day + timedelta(days=1), 0)


def shown(value: Decimal) -> str:
    """A computed amount: at most nine decimals."""
    return plain(value.quantize(_SHOWN, ROUND_HALF_EVEN))


def activity_time(ns: int) -> str:
    """The sortable head of an activity's id: New York's YYYYMMDDhhmmssmmm."""
    text = iso(ns + new_york_offset_ns(ns))
    return text[:4] + text[5:7] + text[8:10] + text[11:13] + text[14:16] + text[17:19] + text[20:23]


def settles(trade_ns: int, *, crypto: bool) -> str:
    """Crypto settles at once, stocks a business day later."""
    day = new_york_day(trade_ns)
    if crypto:
        return day.isoformat()
    day += timedelta(days=1)
    while Sessions("us").on(day) is None:
        day += timedelta(days=1)
    return day.isoformat()


def number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise bad_parameter(name)
    return int(text)


def choice(query: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = query.get(name) or default
    if value not in allowed:
        raise bad_parameter(name)
    return value


class Place(msgspec.Struct, frozen=True):
    """Where the next page goes on."""

    symbol: str
    time_ns: int


def to_token(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place.symbol}|{place.time_ns}".encode()).decode()


def from_token(text: str) -> Place:
    try:
        symbol, time_ns = base64.urlsafe_b64decode(text.encode()).decode().split("|")
        return Place(symbol, int(time_ns))
    except (ValueError, binascii.Error) as error:
        raise bad_parameter("page_token") from error


def today(now_ns: int) -> str:
    return new_york_day(now_ns).isoformat()
