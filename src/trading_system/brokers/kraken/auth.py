"""Who we are to Kraken: a signature over path, nonce and body on every private call, a token on every private stream."""

import base64
import binascii
import hashlib
import hmac

import msgspec

from trading_system.brokers.kraken.facts import KEY_HEADER, KEY_HELP, SIGN_HEADER
from trading_system.domain.errors import AuthFailed
from trading_system.settings.secret import Secret
from trading_system.transport.message import Request

SAMPLE_SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="  # noqa: S105 the published vector's
SAMPLE = Request(
    method="POST",
    url="https://api.kraken.com/0/private/AddOrder",
    body=b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25",
)


def sign(request: Request, key: Secret, secret: Secret, nonce: int) -> Request:
    """Add API-Key and API-Sign: base64 HMAC-SHA512 of path + SHA256(nonce + body). The body has the nonce in it; the caller owns it, strictly
    rising per key.

    Raises: AuthFailed: the secret is no base64, so nobody made it a key's.
    Source: docs.kraken.com/api/docs/guides/spot-rest-auth (SAMPLE is the vector printed there)
    >>> signed = sign(SAMPLE, Secret("key"), Secret(SAMPLE_SECRET), 1616492376594)
    >>> signed.headers["API-Sign"]
    '4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=='
    """
    try:
        decoded = base64.b64decode(secret.reveal(), validate=True)
    except (binascii.Error, ValueError):
        raise AuthFailed("KRAKEN_API_SECRET is not what Kraken gives out: it has to be base64, copied whole.", KEY_HELP) from None
    path = "/" + request.url.split("/", 3)[3]
    digest = hashlib.sha256(str(nonce).encode() + request.body).digest()
    signature = hmac.new(decoded, path.encode() + digest, hashlib.sha512).digest()
    headers = {**request.headers, KEY_HEADER: key.reveal(), SIGN_HEADER: base64.b64encode(signature).decode()}
    return Request(method=request.method, url=request.url, headers=headers, body=request.body)


def method(name: str, req_id: int, token: Secret, params: dict[str, object]) -> str:
    """A frame of a private stream: the token goes into the parameters. Decimals leave as JSON numbers, exactly."""
    frame = {"method": name, "params": {**params, "token": token.reveal()}, "req_id": req_id}
    return _JSON.encode(frame).decode()


_JSON = msgspec.json.Encoder(decimal_format="number")
