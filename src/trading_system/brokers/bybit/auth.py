"""Who we are to Bybit: an HMAC over time, key, window and the very bytes that are sent; one frame on the private stream."""

import hashlib
import hmac
from urllib.parse import urlsplit

import msgspec

from trading_system.brokers.bybit.facts import KEY_HEADER, RECV_WINDOW_MS, SIGN_HEADER, TIME_HEADER, WINDOW_HEADER
from trading_system.settings.secret import Secret
from trading_system.transport.message import Request


def sign(request: Request, key: Secret, secret: Secret, time_ms: int) -> Request:
    """Add key, time, window and their signature. Query and body must leave exactly as they are here. time_ms is in Bybit's time.

    Source: bybit-exchange.github.io/docs/v5/guide#authentication; the vector is of nautilus_trader's tests, recomputed
    >>> request = Request(method="GET", url="https://api.bybit.com/v5/market/tickers?category=linear&symbol=BTCUSDT")
    >>> sign(request, Secret("test_api_key"), Secret("test_secret"), 1700000000000).headers["X-BAPI-SIGN"]
    'fd4f31228a46109dc6673062328693696df9a96c7ff04e6491a45e7f63a0fdd7'
    """
    tail = request.body if request.method == "POST" else urlsplit(request.url).query.encode()
    signed = f"{time_ms}{key.reveal()}{RECV_WINDOW_MS}".encode() + tail
    headers = {
        KEY_HEADER: key.reveal(),
        TIME_HEADER: str(time_ms),
        WINDOW_HEADER: str(RECV_WINDOW_MS),
        SIGN_HEADER: _hmac(secret, signed),
    }
    return Request(method=request.method, url=request.url, headers={**request.headers, **headers}, body=request.body)


def login(key: Secret, secret: Secret, expires_ms: int) -> str:
    """First frame of the private stream.

    Source: bybit-exchange.github.io/docs/v5/ws/connect#authentication
    >>> login(Secret("test_api_key"), Secret("test_secret"), 1700000000000)[-67:-3]
    'bacffe7500499eb829bb58c45d36d1b3e5ac67c14eaeba91df5e99ccee013925'
    """
    signature = _hmac(secret, f"GET/realtime{expires_ms}".encode())
    return msgspec.json.encode({"op": "auth", "args": [key.reveal(), expires_ms, signature]}).decode()


def trade_frame(op: str, request_id: str, body: msgspec.Struct, time_ms: int) -> str:
    """A change as a frame: the line has logged in, so that a time is all it says of itself. time_ms is in Bybit's time.

    Source: bybit-exchange.github.io/docs/v5/websocket/trade/guideline
    """
    header = {TIME_HEADER: str(time_ms), WINDOW_HEADER: str(RECV_WINDOW_MS)}
    return msgspec.json.encode({"reqId": request_id, "header": header, "op": op, "args": [body]}).decode()


def named_after(key: Secret) -> str:
    """What the account of a key is called, where Bybit does not say whose it is. From it nobody learns the key.

    >>> named_after(Secret("test_api_key"))
    'demo-5dec7e1c36e8'
    """
    return f"demo-{hashlib.sha256(key.reveal().encode()).hexdigest()[:12]}"


def _hmac(secret: Secret, signed: bytes) -> str:
    return hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()
