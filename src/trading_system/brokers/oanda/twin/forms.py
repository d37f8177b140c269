"""How the twin writes and reads what is neither order nor price: answers, refusals, numbers, times."""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

import msgspec

from trading_system.brokers.oanda import wire
from trading_system.domain.money import bounded, plain
from trading_system.domain.times import NS, parse_rfc3339
from trading_system.transport.message import Response

JSON = msgspec.json.Encoder(decimal_format="number")
_MONEY = Decimal("0.0001")
_RATE = Decimal("0.00000001")
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
_HEADERS = {"content-type": "application/json"}


class Refusal(Exception):
    """An answer that says no, with OANDA's code where something was looked at, and the transaction where one was made of it."""

    def __init__(self, status: int, message: str, code: str = "", transaction: wire.Transaction | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.transaction = transaction


def answer(body: object, status: int, request_id: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status=status, headers={**_HEADERS, "requestid": str(request_id), **(headers or {})}, body=JSON.encode(body))


def refused(refusal: Refusal, last_id: str, request_id: int) -> Response:
    """A parse error says its message alone; what was looked at says its code and the log's end as well."""
    body: dict[str, object] = {"errorMessage": refusal.message}
    if refusal.code:
        body |= {"errorCode": refusal.code, "lastTransactionID": last_id}
    if refusal.transaction is not None:
        kinds = {"ORDER_CANCEL_REJECT": "orderCancelRejectTransaction", "CLIENT_CONFIGURE_REJECT": "clientConfigureRejectTransaction"}
        sides = {"longOrderRejectTransaction": refusal.transaction.longPositionCloseout}
        sides |= {"shortOrderRejectTransaction": refusal.transaction.shortPositionCloseout}
        one = next((name for name, closeout in sides.items() if closeout is not None), "orderRejectTransaction")
        name = kinds.get(refusal.transaction.type, one)
        related = {} if name == "clientConfigureRejectTransaction" else {"relatedTransactionIDs": [refusal.transaction.id]}
        body |= {name: refusal.transaction, **related}
    return answer(body, refusal.status, request_id)


def bad(name: str) -> Refusal:
    """A value that nobody can read. Nothing comes of it, not even a transaction."""
    return Refusal(400, f"Invalid value specified for '{name}'")


def number(text: str) -> Decimal | None:
    """A number as OANDA takes it; None: it is none."""
    if _NUMBER.fullmatch(text) is None:
        return None
    try:
        return bounded(Decimal(text))
    except (ValueError, InvalidOperation):
        return None


def money(value: Decimal) -> str:
    return format(value.quantize(_MONEY, ROUND_HALF_EVEN), "f")


def rated(value: Decimal) -> Decimal:
    """A rate with as many digits as are told."""
    return value.quantize(_RATE, ROUND_HALF_EVEN)


def units(value: Decimal) -> str:
    return plain(value)


def decimals(value: Decimal) -> int:
    """How many digits a number has behind its point."""
    return len(plain(value).partition(".")[2])


def count(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    """Raises Refusal: none, or more than there may be."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise bad(name)
    if int(text) > most:
        raise Refusal(400, f"Maximum value for '{name}' exceeded")
    return int(text)


def moment(text: str, name: str) -> int:
    """A time in RFC 3339 or in seconds since 1970."""
    try:
        return int(Decimal(text) * NS) if text.replace(".", "", 1).isdecimal() else parse_rfc3339(text)
    except ValueError:
        raise bad(name) from None


def unix(body: bytes) -> bytes:
    """An answer with its times as seconds since 1970, as Accept-Datetime-Format: UNIX wants them."""
    return _TIME.sub(lambda found: _unix(found[0]), body)


_TIME = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"')


def _unix(text: bytes) -> bytes:
    time_ns = parse_rfc3339(text[1:-1].decode())
    return f'"{time_ns // NS}.{time_ns % NS:09d}"'.encode()
