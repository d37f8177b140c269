"""How the twin writes and reads what is neither order nor price: envelopes, refusals, ids, times, parameters."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from email.utils import format_datetime
from random import Random
from urllib.parse import parse_qsl

import msgspec

from trading_system.domain.money import bounded
from trading_system.domain.times import parse_rfc3339
from trading_system.sim.sessions import SECOND_NS, iso
from trading_system.transport.message import Request, Response

JSON = msgspec.json.Encoder(decimal_format="number")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_TRUE = ("true", "1", "True")
_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
_MONEY = Decimal("0.0001")


class Refusal(Exception):
    """An answer that says no, in Kraken's words."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


def answer(result: object, now_ns: int) -> Response:
    """A result in its envelope."""
    return _response({"error": [], "result": result}, now_ns)


def refused(error: str, now_ns: int) -> Response:
    """HTTP 200 all the same, and no result."""
    return _response({"error": [error]}, now_ns)


def _response(body: object, now_ns: int) -> Response:
    date = format_datetime(datetime.fromtimestamp(now_ns // SECOND_NS, UTC), usegmt=True)
    headers = {"content-type": "application/json; charset=utf-8", "date": date}
    return Response(status=200, headers=headers, body=JSON.encode(body), recv_ns=now_ns)


def invalid(name: str) -> Refusal:
    return Refusal(f"EGeneral:Invalid arguments:{name}")


def new_id(letter: str, names: Random) -> str:
    """An order's (O), trade's (T) or ledger entry's (L) id: OU22CG-KLAF2-FWUDD7."""
    text = "".join(names.choices(_LETTERS, k=16))
    return f"{letter}{text[:5]}-{text[5:10]}-{text[10:]}"


def seconds(ns: int) -> Decimal:
    """A time as REST shows it: seconds with four decimals."""
    return Decimal(ns // 100_000) / 10_000


def micro(ns: int) -> str:
    """A time as the streams show it: RFC 3339 to the microsecond."""
    return iso(ns // 1_000 * 1_000 or 1)[:19] + f".{ns % SECOND_NS // 1_000:06d}Z"


def money(value: Decimal) -> str:
    """An amount as balances show it: four decimals, cut off."""
    return str(value.quantize(_MONEY, ROUND_DOWN))


def read_form(request: Request) -> Mapping[str, str]:
    """The parameters of a private call: a form, or a flat JSON object. Raises Refusal."""
    if not request.body.lstrip().startswith(b"{"):
        return dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
    try:
        given = msgspec.json.decode(request.body, type=dict[str, object])
    except msgspec.MsgspecError as error:
        raise Refusal("EAPI:Bad request") from error
    return {name: _text(value) for name, value in given.items()}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def flag(form: Mapping[str, str], name: str) -> bool:
    return form.get(name, "") in _TRUE


def number(text: str, name: str) -> Decimal:
    """A plain number that is not below zero. Raises Refusal."""
    if not _NUMBER.fullmatch(text):
        raise invalid(name)
    try:
        return bounded(Decimal(text))
    except ValueError as error:
        raise invalid(name) from error


def whole(form: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = form.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise invalid(name)
    return int(text)


def time_of(text: str, name: str) -> int:
    """RFC 3339. Raises Refusal."""
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise invalid(name) from error
