"""Who we are to Alpaca: two headers on every request, one frame on every WebSocket, a token at the Broker API."""

from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from trading_system.brokers.alpaca.facts import KEY_HEADER, SECRET_HEADER
from trading_system.settings.secret import Secret
from trading_system.transport.message import Request


def sign(request: Request, key: Secret, secret: Secret) -> Request:
    """Add the key pair. Alpaca signs nothing: whoever has the headers is the account, so they leave over TLS only.

    Source: docs.alpaca.markets/docs/authentication-1
    """
    return Request(method=request.method, url=request.url, headers={**request.headers, **key_headers(key, secret)}, body=request.body)


def key_headers(key: Secret, secret: Secret) -> Mapping[str, str]:
    """The key pair, as it stands on requests and on the request for a stream of events."""
    return {KEY_HEADER: key.reveal(), SECRET_HEADER: secret.reveal()}


def bearer(token: Secret) -> Mapping[str, str]:
    """The token that OAuth2 gave."""
    return {"Authorization": f"Bearer {token.reveal()}"}


def token_request(url: str, client_id: Secret, client_secret: Secret) -> Request:
    """Ask for a token with the firm's own credentials. Source: RFC 6749, 4.4; docs.alpaca.markets/docs/authentication"""
    form = {"grant_type": "client_credentials", "client_id": client_id.reveal(), "client_secret": client_secret.reveal()}
    return Request(method="POST", url=url, headers={"Content-Type": "application/x-www-form-urlencoded"}, body=urlencode(form).encode())


def orders_login(key: Secret, secret: Secret) -> str:
    """First frame of the orders stream; the client speaks first."""
    return msgspec.json.encode({"action": "authenticate", "data": {"key_id": key.reveal(), "secret_key": secret.reveal()}}).decode()


def data_login(key: Secret, secret: Secret) -> str:
    """Answer to a data stream's "connected"."""
    return msgspec.json.encode({"action": "auth", "key": key.reveal(), "secret": secret.reveal()}).decode()
