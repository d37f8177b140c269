"""Who we are to Binance: a header that names the key, and an HMAC over every byte that is asked.

HMAC-SHA256 alone. Ed25519 keys would need a package that this desk does not have.
"""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import msgspec

from trading_system.brokers.binance.facts import KEY_HEADER, RECV_WINDOW_MS
from trading_system.settings.secret import Secret
from trading_system.transport.message import Request


def signature(payload: str, secret: Secret) -> str:
    """HMAC-SHA256 in hex over the payload as it is sent: percent-encoded on REST, raw on the WebSocket API.

    Source: github.com/binance/binance-spot-api-docs, rest-api.md (the payloads and signatures printed there)
    >>> secret = Secret("NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j")
    >>> order = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
    >>> signature(order, secret)
    'c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71'
    >>> signature(order.replace("LTCBTC", quote("１２３４５６")), secret)
    'e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3'
    """
    return hmac.new(secret.reveal().encode(), payload.encode(), hashlib.sha256).hexdigest()


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
    return Request(method=method, url=f"{whole}&signature={proof}", headers={KEY_HEADER: key.reveal()})


def subscribe(key: Secret, secret: Secret, timestamp_ms: int) -> str:
    """The frame that asks the WebSocket API for the account's events. Signed are the parameters by name, not percent-encoded.

    Source: github.com/binance/binance-spot-api-docs, web-socket-api.md (userDataStream.subscribe.signature)
    """
    params: dict[str, str | int] = {"apiKey": key.reveal(), "recvWindow": RECV_WINDOW_MS, "timestamp": timestamp_ms}
    payload = "&".join(f"{name}={params[name]}" for name in sorted(params))
    request = {"id": "events", "method": "userDataStream.subscribe.signature", "params": {**params, "signature": signature(payload, secret)}}
    return msgspec.json.encode(request).decode()
