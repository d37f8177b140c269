"""How the twin writes and reads what is neither order nor price: envelopes, refusals, numbers, pages."""

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import TypeVar

import msgspec

from trading_system.domain.money import bounded, plain
from trading_system.transport.message import Response

T = TypeVar("T")
JSON = msgspec.json.Encoder()
MS = 1_000_000
_SHOWN = Decimal("0.000000000001")
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


class Refusal(Exception):
    """An answer that says no: a return code, HTTP 200 but for what the gateway refuses itself."""

    def __init__(self, code: int, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def answer(result: object, now_ns: int) -> Response:
    """What was asked for, in its envelope."""
    return _enveloped(0, "OK", result, now_ns)


def refused(refusal: Refusal, now_ns: int) -> Response:
    """No, in the same envelope."""
    return msgspec.structs.replace(_enveloped(refusal.code, refusal.message, {}, now_ns), status=refusal.status)


def _enveloped(code: int, message: str, result: object, now_ns: int) -> Response:
    body = {"retCode": code, "retMsg": message, "result": result, "retExtInfo": {}, "time": now_ns // MS}
    return Response(status=200, headers={"content-type": "application/json"}, body=JSON.encode(body))


def too_many() -> Refusal:
    return Refusal(10006, "Too many visits!")


def bad(text: str) -> Refusal:
    return Refusal(10001, f"params error: {text}")


def amount(text: str | None) -> Decimal | None:
    """A positive number as Bybit takes it; None: it is none."""
    if not text or _NUMBER.fullmatch(text) is None:
        return None
    try:
        value = bounded(Decimal(text))
    except (ValueError, InvalidOperation):
        return None
    return value if value > 0 else None


def shown(value: Decimal) -> str:
    """A computed amount: at most twelve decimals."""
    return plain(value.quantize(_SHOWN, ROUND_HALF_EVEN))


def ms(ns: int) -> str:
    return str(ns // MS)


def number(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A count from a query; above the most it is the most, as at Bybit."""
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise bad(f"{name} invalid")
    return min(int(text), most)


def span(query: Mapping[str, str], now_ns: int, window_ns: int) -> tuple[int, int]:
    """startTime and endTime in milliseconds. One alone reaches a window from there, none the last window. Raises Refusal: a longer one."""
    start, end = query.get("startTime", ""), query.get("endTime", "")
    if not all(text == "" or (text.isascii() and text.isdecimal()) for text in (start, end)):
        raise bad("startTime or endTime invalid")
    window = window_ns // MS
    low = int(start) if start else (int(end) if end else now_ns // MS) - window
    high = int(end) if end else low + window
    if high - low > window:
        raise bad("the time range must be within 7 days")
    return low, high


def page(rows: Sequence[T], query: Mapping[str, str], default: int, most: int) -> tuple[list[T], str]:
    """One page of a listing, and the cursor of the next."""
    cursor = query.get("cursor", "")
    if cursor and not (cursor.isascii() and cursor.isdecimal()):
        raise bad("cursor invalid")
    start, limit = int(cursor or 0), number(query, "limit", default, most)
    after = start + limit
    return list(rows[start:after]), str(after) if after < len(rows) else ""
