"""The twin's Broker API door: who may read the events of a firm's accounts, and the tokens that OAuth2 gives for it. Sans-IO."""

import base64
import binascii
import string
from random import Random
from urllib.parse import parse_qsl

from trading_system.brokers.alpaca import wire
from trading_system.brokers.alpaca.twin.forms import Refusal, answer
from trading_system.sim.sessions import SECOND_NS
from trading_system.transport.message import Response

TOKEN_PATH = "/v1/oauth2/token"  # noqa: S105 a path
TOKEN_LIFE_S = 900
TOKENS_MAX = 1_000  # alive at once; the oldest goes
_FORM = "application/x-www-form-urlencoded"


class BrokerDoor:
    """One firm. Its client id and secret are made from the seed, and pass as Basic credentials too."""

    def __init__(self, rng: Random) -> None:
        self.client_id = "CK" + "".join(rng.choices(string.ascii_uppercase + string.digits, k=18))
        self.client_secret = "".join(rng.choices(string.ascii_letters + string.digits, k=40))
        self.issued = 0
        self._rng = rng
        self._tokens: dict[str, int] = {}  # token -> when it ends

    def token(self, content_type: str, body: bytes, now_ns: int) -> Response:
        """POST /v1/oauth2/token. Refusals have OAuth's body. Source: RFC 6749, 4.4 and 5.2"""
        if content_type.partition(";")[0].strip().lower() != _FORM:
            return _refused("invalid_request", f"the body is {_FORM}", 400)
        form = dict(parse_qsl(body.decode("latin-1")))
        if form.get("grant_type") != "client_credentials":
            return _refused("unsupported_grant_type", "grant_type is client_credentials", 400)
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return _refused("invalid_client", "client authentication failed", 401)
        token = "eyJ" + "".join(self._rng.choices(string.ascii_letters + string.digits, k=60))
        self._tokens[token] = now_ns + TOKEN_LIFE_S * SECOND_NS
        self.issued += 1
        if len(self._tokens) > TOKENS_MAX:
            del self._tokens[next(iter(self._tokens))]
        return answer(wire.Token(access_token=token, expires_in=TOKEN_LIFE_S, token_type="Bearer"))  # noqa: S106 a word of OAuth's

    def revoke_all(self) -> None:
        """As a firm's administrator may: tokens that are out no longer count."""
        self._tokens.clear()

    def check(self, authorization: str, now_ns: int) -> None:
        """Raises Refusal: 401, for a token that has ended too."""
        kind, _, value = authorization.partition(" ")
        if kind.lower() == "bearer" and self._tokens.get(value, 0) > now_ns:
            return
        if kind.lower() == "basic" and _basic(value) == f"{self.client_id}:{self.client_secret}":
            return
        raise Refusal(401, None, "unauthorized.")


def _basic(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("latin-1")
    except binascii.Error:
        return ""


def _refused(error: str, text: str, status: int) -> Response:
    return answer(wire.TokenError(error=error, error_description=text), status)
