"""Who we are to Alpaca: two headers on every request, one frame on every stream."""

import msgspec

from trading_system.brokers.alpaca.facts import KEY_HEADER, SECRET_HEADER
from trading_system.settings.secret import Secret
from trading_system.transport.message import Request


def sign(request: Request, key: Secret, secret: Secret) -> Request:
    """Add the key pair. Alpaca signs nothing: whoever has the headers is the account, so they leave over TLS only.

    Source: docs.alpaca.markets/docs/authentication-1
    """
    return Request(
        method=request.method,
        url=request.url,
        headers={**request.headers, KEY_HEADER: key.reveal(), SECRET_HEADER: secret.reveal()},
        body=request.body,
    )


def orders_login(key: Secret, secret: Secret) -> str:
    """First frame of the orders stream; the client speaks first."""
    return msgspec.json.encode({"action": "authenticate", "data": {"key_id": key.reveal(), "secret_key": secret.reveal()}}).decode()


def data_login(key: Secret, secret: Secret) -> str:
    """Answer to a data stream's "connected"."""
    return msgspec.json.encode({"action": "auth", "key": key.reveal(), "secret": secret.reveal()}).decode()
