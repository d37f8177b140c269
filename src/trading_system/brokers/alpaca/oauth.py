"""OAuth2 for Alpaca's Broker API: a firm's client id and secret become a token, fetched once, kept, and renewed before it ends."""

import asyncio
from collections.abc import Mapping

import msgspec

from trading_system.brokers.alpaca import auth, wire
from trading_system.brokers.alpaca.facts import PAGES, UNREACHABLE
from trading_system.domain.errors import AuthFailed, ProtocolError, Unavailable
from trading_system.domain.ports import Clock
from trading_system.domain.times import NS
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.http import Http
from trading_system.transport.message import NotSent, Refused, Response, TransportError
from trading_system.transport.websocket import Connection, Dialer

TOKEN_WITHIN_NS = 10 * NS
RENEW_AT = 80  # percent of a token's life
AGAIN_NS = 10 * NS  # after a renewal that failed, while the old token still holds
ADVICE = (
    "Check ALPACA_OAUTH_CLIENT_ID and ALPACA_OAUTH_CLIENT_SECRET, and that they belong to the environment of TRADING_MODE (sandbox for paper). "
    f"They are made in the Broker dashboard: {PAGES['keys_broker']}"
)


class Tokens:
    """The one token of a firm. One request for it at a time, whoever asks; all others wait for that one."""

    def __init__(self, *, http: Http, clock: Clock, url: str, client_id: Secret, client_secret: Secret) -> None:
        """http: one that no tape records, because the answer is a secret before anybody can know it."""
        self._http = http
        self._clock = clock
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret
        self._token: Secret | None = None
        self._renew_ns = 0
        self._ends_ns = 0
        self._one = asyncio.Lock()

    async def token(self) -> Secret:
        """A token that holds. Raises AuthFailed: Alpaca does not know the client. Unavailable: it cannot be asked, and there is no old one."""
        async with self._one:
            now_ns = self._clock.monotonic_ns()
            if self._token is not None and now_ns < self._renew_ns:
                return self._token
            try:
                await self._fetch(now_ns)
            except Unavailable:
                if self._token is None or now_ns >= self._ends_ns:
                    raise
                self._renew_ns = now_ns + AGAIN_NS
            assert self._token is not None
            return self._token

    def reject(self, token: Secret) -> None:
        """Alpaca no longer takes it: the next call fetches another."""
        if token == self._token:
            self._renew_ns = self._ends_ns = 0

    async def _fetch(self, asked_ns: int) -> None:
        request = auth.token_request(self._url, self._client_id, self._client_secret)
        try:
            response = await self._http.send(request, within_ns=TOKEN_WITHIN_NS)
        except TransportError as error:
            raise Unavailable(f"Alpaca could not be asked for a token: {error}. {UNREACHABLE}") from None
        given = _granted(response)
        if self._token is not None:
            self._token.retire()
        self._token = Secret(given.access_token)
        life_ns = given.expires_in * NS
        self._renew_ns, self._ends_ns = asked_ns + life_ns * RENEW_AT // 100, asked_ns + life_ns


def _granted(response: Response) -> wire.Token:
    """The token in an answer. No text holds the answer's body: it may be a token."""
    if response.status == 429 or response.status >= 500:
        raise Unavailable(f"Alpaca gives no token now: HTTP {response.status}. {UNREACHABLE}")
    if response.status != 200:
        raise AuthFailed(f"Alpaca gives no token: HTTP {response.status}, {_reason(response.body)}.", ADVICE)
    try:
        given = strict.decode(response.body, wire.Token)
    except wire.UNREADABLE:
        raise ProtocolError("Alpaca answered the request for a token with something that is none") from None
    if not given.access_token or given.expires_in <= 0 or given.token_type.lower() not in ("", "bearer"):
        raise ProtocolError(f"Alpaca gave a token of a kind we cannot use ({given.token_type[:20]}, {given.expires_in} s)")
    return given


def _reason(body: bytes) -> str:
    try:
        said = msgspec.json.decode(body, type=wire.TokenError)
    except wire.UNREADABLE:
        return "no reason given"
    return ": ".join(part[:200] for part in (said.error, said.error_description) if part) or "no reason given"


class BearerDialer:
    """Dialer that shows a token. One that is refused is renewed once: a firm may revoke its tokens at any time."""

    def __init__(self, dialer: Dialer, tokens: Tokens) -> None:
        self._dialer = dialer
        self._tokens = tokens

    async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Connection:
        """Raises AuthFailed: no token is to be had, now or later."""
        token = await self._held()
        try:
            return await self._dialer.dial(url, {**headers, **auth.bearer(token)}, within_ns=within_ns)
        except Refused as error:
            if error.status != 401:
                raise
        self._tokens.reject(token)
        return await self._dialer.dial(url, {**headers, **auth.bearer(await self._held())}, within_ns=within_ns)

    async def _held(self) -> Secret:
        try:
            return await self._tokens.token()
        except Unavailable as error:
            raise NotSent(str(error)) from None
