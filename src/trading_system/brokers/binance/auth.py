"""Who we are to Binance: a header that names the key, and a signature over every byte that is asked.

HMAC-SHA256 with a secret that is a word, Ed25519 with one that is a private key in PEM. The second needs the package `cryptography`.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec

from trading_system.brokers.binance.facts import KEY_HEADER, RECV_WINDOW_MS
from trading_system.domain.errors import AuthFailed
from trading_system.settings.secret import PEM, Secret
from trading_system.transport.message import Request

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_NO_PACKAGE = "Install it (`pip install cryptography`, or this desk with its extra `exchange`), or make an HMAC key."
_NO_KEY = "BINANCE_API_SECRET is the whole file, from -----BEGIN PRIVATE KEY----- to the end, its line breaks written as \\n. Make an Ed25519 key."


def signature(payload: str, secret: Secret) -> str:
    """Over the payload as it is sent, percent-encoded on REST and raw on the WebSocket API: HMAC-SHA256 in hex, or Ed25519 in base64.

    Raises: AuthFailed: the secret is a private key, and no Ed25519 key, or the package that signs with it is missing.

    Source: github.com/binance/binance-spot-api-docs, rest-api.md (the payloads and signatures printed there)
    >>> secret = Secret("NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j")
    >>> order = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
    >>> signature(order, secret)
    'c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71'
    >>> signature(order.replace("LTCBTC", quote("１２３４５６")), secret)
    'e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3'
    """
    if secret.reveal().startswith(PEM):
        return base64.b64encode(_private_key(secret).sign(payload.encode())).decode()
    return hmac.new(secret.reveal().encode(), payload.encode(), hashlib.sha256).hexdigest()


@lru_cache(maxsize=4)
def _private_key(secret: Secret) -> "Ed25519PrivateKey":
    """The key of a PEM whose line breaks may be written as \\n, as one line of .env holds them. Raises AuthFailed."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise AuthFailed("an Ed25519 key needs the package `cryptography`, which is not here.", _NO_PACKAGE) from None
    try:
        key = load_pem_private_key(secret.reveal().replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # what it says may hold a part of the key
        raise AuthFailed("the private key cannot be read, or has a password.", _NO_KEY) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise AuthFailed("the private key is no Ed25519 key.", _NO_KEY)
    return key


def with_query(url: str, params: Mapping[str, str]) -> str:
    """A URL with its parameters, percent-encoded as Binance wants them signed.

    >>> with_query("https://api.binance.com/api/v3/ticker/price", {"symbols": '["BTCUSDT"]'})
    'https://api.binance.com/api/v3/ticker/price?symbols=%5B%22BTCUSDT%22%5D'
    """
    return f"{url}?{urlencode(params, quote_via=quote)}" if params else url


def sign(method: str, url: str, params: Mapping[str, str], key: Secret, secret: Secret, timestamp_ms: int) -> Request:
    """A signed request, complete, with everything in its query: the same text that is signed is sent, so nothing can be encoded twice."""
    whole = with_query(url, {**params, "recvWindow": str(RECV_WINDOW_MS), "timestamp": str(timestamp_ms)})
    proof = signature(whole.partition("?")[2], secret)
    return Request(method=method, url=f"{whole}&signature={quote(proof, safe='')}", headers={KEY_HEADER: key.reveal()})


def frame(method: str, request_id: str, params: Mapping[str, str], key: Secret, secret: Secret, timestamp_ms: int) -> str:
    """A signed request to the WebSocket API. Signed are the parameters by name, not percent-encoded.

    Source: github.com/binance/binance-spot-api-docs, web-socket-api.md (SIGNED requests)
    """
    whole: dict[str, str | int] = {**params, "apiKey": key.reveal(), "recvWindow": RECV_WINDOW_MS, "timestamp": timestamp_ms}
    payload = "&".join(f"{name}={whole[name]}" for name in sorted(whole))
    request = {"id": request_id, "method": method, "params": {**whole, "signature": signature(payload, secret)}}
    return msgspec.json.encode(request).decode()
