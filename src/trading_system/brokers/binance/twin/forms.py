"""How the twin reads and writes what is neither order nor price: refusals, parameters, numbers, signatures."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import parse_qsl

import msgspec

from trading_system.brokers.binance import facts
from trading_system.transport.message import Response

JSON = msgspec.json.Encoder()
MS = 1_000_000
DIGITS = 8  # after the point, of whatever is shown
NUMBER = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
CLIENT_ID = r"^[a-zA-Z0-9-_]{1,36}$"
_GRAIN = Decimal(1).scaleb(-DIGITS)
RECV_WINDOW_MAX_MS = 60_000

Params = Mapping[str, str]


class Refusal(Exception):
    """An answer that says no. data: what a cancel-replace adds."""

    def __init__(self, status: int, code: int, message: str, data: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.body: Mapping[str, object] = {"code": code, "msg": message} | ({} if data is None else {"data": data})


def answer(value: object, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(status=status, headers={"content-type": "application/json;charset=UTF-8"}, body=JSON.encode(value))


def shown(value: Decimal) -> str:
    """An amount as Binance writes it: always eight digits after the point."""
    return format(value.quantize(_GRAIN), "f")


def missing(name: str) -> Refusal:
    return Refusal(400, -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def unwanted(name: str) -> Refusal:
    return Refusal(400, -1106, f"Parameter '{name}' sent when not required.")


def rejected(text: str) -> Refusal:
    """The engine's no."""
    return Refusal(400, -2010, text)


def filtered(name: str) -> Refusal:
    return Refusal(400, -1013, f"Filter failure: {name}")


def number(params: Params, name: str, *, needed: bool = False) -> Decimal | None:
    """A price or a quantity. Raises Refusal: not there, an exponent, too many digits."""
    text = params.get(name, "")
    if not text:
        if needed:
            raise missing(name)
        return None
    if not re.fullmatch(NUMBER, text):
        raise illegal(name, NUMBER)
    if len(text.partition(".")[2].rstrip("0")) > DIGITS:
        raise Refusal(400, -1111, f"Parameter '{name}' has too much precision.")
    return Decimal(text)


def illegal(name: str, legal: str) -> Refusal:
    return Refusal(400, -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def integer(params: Params, name: str) -> int | None:
    text = params.get(name, "")
    if text and not re.fullmatch("[0-9]{1,20}", text):
        raise illegal(name, "^[0-9]{1,20}$")
    return int(text) if text else None


def limit(params: Params, default: int, most: int) -> int:
    """How many rows; more than there may be are as many as there may be."""
    wanted = integer(params, "limit")
    if wanted == 0:
        raise Refusal(400, -1130, "Data sent for parameter 'limit' is not valid.")
    return min(wanted or default, most)


def client_id(params: Params, name: str) -> str:
    text = params.get(name, "")
    if text and not re.fullmatch(CLIENT_ID, text):
        raise illegal(name, CLIENT_ID)
    return text


class Hmac:
    """Proves with the secret that both sides have."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def proves(self, payload: str, signature: str) -> bool:
        return hmac.new(self._secret, payload.encode(), hashlib.sha256).hexdigest() == signature.lower()


class Ed25519:
    """Proves with the public half of a key alone."""

    def __init__(self, public: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        self._key = Ed25519PublicKey.from_public_bytes(public)

    def proves(self, payload: str, signature: str) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            self._key.verify(base64.b64decode(signature, validate=True), payload.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


Prover = Hmac | Ed25519


def ed25519_pair(seed: bytes) -> tuple[str, Ed25519]:
    """A private key in PEM, as one makes it at home, and what proves with its public half."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.from_private_bytes(seed)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return pem, Ed25519(key.public_key().public_bytes_raw())


def without_signature(raw: str) -> str:
    """A raw query or body as it was signed: whatever encodes a decoded value again may get another text."""
    return "&".join(part for part in raw.split("&") if part and not part.startswith("signature="))


def merged(query: str, body: str) -> dict[str, str]:
    """The parameters of a request. A name that is in both counts as the query has it."""
    return dict(parse_qsl(body, keep_blank_values=True)) | dict(parse_qsl(query, keep_blank_values=True))


def check_time(params: Params, now_ns: int) -> None:
    """Raises Refusal: too old for its window, or from the future."""
    stamp, server_ms = integer(params, "timestamp"), now_ns // MS
    if stamp is None:
        raise missing("timestamp")
    stamp_ms = stamp // 1000 if stamp > 10**14 else stamp
    window = number({"recvWindow": params.get("recvWindow") or str(facts.RECV_WINDOW_MS)}, "recvWindow", needed=True) or Decimal(0)
    if window > RECV_WINDOW_MAX_MS:
        raise Refusal(400, -1131, "'recvWindow' must be less than 60000.")
    if stamp_ms >= server_ms + facts.AHEAD_MS:
        raise Refusal(400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if server_ms - stamp_ms > window:
        raise Refusal(400, -1021, "Timestamp for this request is outside of the recvWindow.")
