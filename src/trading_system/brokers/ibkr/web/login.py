"""A login and its session: what is signed, the brokerage session and its keeping alive, and the pace of everything that is asked. Async."""

import asyncio
import random
import secrets
import string
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from trading_system.brokers.ibkr.web import auth, wire
from trading_system.brokers.ibkr.web.errors import needs_accounts, needs_session, refusal
from trading_system.brokers.ibkr.web.facts import (
    CHANGES_PER_SECOND,
    COMPETING,
    INIT_EVERY_NS,
    LIST_EVERY_NS,
    QUESTIONS_PER_SECOND,
    UNREACHABLE,
)
from trading_system.domain.errors import InDoubt, ProtocolError, RateLimited, Unavailable
from trading_system.domain.ports import Budget, Clock
from trading_system.domain.times import NS
from trading_system.transport import strict
from trading_system.transport.clock import BrokerOffset
from trading_system.transport.http import Http
from trading_system.transport.message import NoAnswer, NotSent, Request, Response, TransportError
from trading_system.transport.ratelimit import RateBudget

ANSWER_WITHIN_NS = 10 * NS
BUDGET_WAIT_MAX_NS = 5 * NS
ATTEMPTS_MAX = 3  # of a question that gets no answer
PAUSE_NS = NS // 2
TOKEN_LIFE_NS = 86_000 * NS  # of 86 400 s
_JSON = {"Content-Type": "application/json", "User-Agent": "trading_system"}
_LETTERS = string.ascii_letters + string.digits
_RETRIABLE = (502, 503, 504)
_T = TypeVar("_T")


class Login:
    """One login. kind: gateway, oauth1a, oauth2; who: what that kind wants to know, None of a gateway."""

    def __init__(self, *, http: Http, clock: Clock, rng: random.Random, url: str, who: auth.Consumer | auth.Client | None) -> None:
        self.offset = BrokerOffset()
        self.url = url
        self.cookie = ""
        self.sessions = 0  # brokerage sessions and cookies that there were: subscriptions end with each
        self._http = http
        self._clock = clock
        self._rng = rng
        self._who = who
        self._budget = RateBudget(QUESTIONS_PER_SECOND, NS)
        self._order_budget = RateBudget(CHANGES_PER_SECOND, NS)
        self._token = b""
        self._bearer = ""
        self._token_ns = -TOKEN_LIFE_NS
        self._tried_ns = -INIT_EVERY_NS
        self._one = asyncio.Lock()  # session or token, one after the other
        self._listed_ns: dict[str, int] = {}

    # -- who we are -------------------------------------------------------------------------------------------------------------

    async def open(self) -> list[str]:
        """Log in, start the brokerage session, and give the accounts it has. Raises AuthFailed, Unavailable."""
        await self._enter()
        await self.tickle()
        await self._know_accounts()
        return (await self.ask("/iserver/accounts", {}, wire.Accounts)).accounts

    async def _enter(self) -> None:
        """A live session token, or a bearer token; a gateway's login is a person's."""
        if self._who is None or self._clock.monotonic_ns() - self._token_ns < TOKEN_LIFE_NS:
            return
        now_s = self._clock.now_ns() // NS
        if isinstance(self._who, auth.Consumer):
            url, exponent = f"{self.url}{wire.BASE}/oauth/live_session_token", secrets.randbits(auth.EXPONENT_BITS)  # a secret: no seed may give it
            header = auth.ask_for_token(self._who, url, exponent=exponent, nonce=self._nonce(), timestamp_s=now_s)
            found = await self._login(url, header, b"{}", "application/json")
            self._token = auth.live_session_token(self._who, found.diffie_hellman_response, found.live_session_token_signature, exponent=exponent)
        else:
            form = {"grant_type": "client_credentials", "client_assertion_type": auth.ASSERTION_TYPE, "scope": auth.SCOPE}
            form["client_assertion"] = auth.client_assertion(self._who, now_s)
            url = f"{self.url}/oauth2/api/v1/token"
            first = await self._login(url, "", urlencode(form).encode(), "application/x-www-form-urlencoded")
            wish = auth.session_request(self._who, now_s).encode()
            found = await self._login(f"{self.url}/gw/api/v1/sso-sessions", auth.bearer(first.access_token), wish, "application/jwt")
            self._bearer = found.access_token
        self._token_ns = self._clock.monotonic_ns()

    async def _login(self, url: str, header: str, body: bytes, kind: str) -> wire.Token:
        headers = {**_JSON, "Content-Type": kind, **({"Authorization": header} if header else {})}
        try:
            response = await self._http.send(Request(method="POST", url=url, headers=headers, body=body), within_ns=ANSWER_WITHIN_NS)
        except TransportError as error:
            raise Unavailable(f"Interactive Brokers could not be asked for a login: {error}. {UNREACHABLE}") from None
        return _good(response, wire.Token)

    def _nonce(self) -> str:
        return "".join(self._rng.choices(_LETTERS, k=auth.NONCE_LENGTH))

    def _signed(self, method: str, path: str, body: bytes) -> Request:
        """Each attempt is signed anew: a nonce counts once."""
        url, headers = f"{self.url}{wire.BASE}{path}", dict(_JSON)
        if isinstance(self._who, auth.Consumer):
            now_s = self._clock.now_ns() // NS
            headers["Authorization"] = auth.sign(self._who, self._token, method, url, nonce=self._nonce(), timestamp_s=now_s)
        elif self._who is not None:
            headers["Authorization"] = auth.bearer(self._bearer)
        return Request(method=method, url=url, headers=headers, body=body)

    def socket_query(self) -> str:
        return auth.socket_query(self._who) if isinstance(self._who, auth.Consumer) else ""

    # -- the brokerage session --------------------------------------------------------------------------------------------------

    async def tickle(self) -> None:
        """Keep the session alive, and see that there is a brokerage session. Raises AuthFailed, Unavailable."""
        await self._enter()
        response = await self._get("POST", "/tickle", {}, b"{}")
        if response.status == 401 and self._who is not None:  # ended before its time: once more, with a new token
            self._token_ns = self._clock.monotonic_ns() - TOKEN_LIFE_NS
            await self._enter()
            response = await self._get("POST", "/tickle", {}, b"{}")
        found = _good(response, wire.Tickle)
        cookie = f'api={{"session": "{found.session}"}}' if self._who is None else f"api={found.session}"
        if cookie != self.cookie:
            self.cookie, self.sessions = cookie, self.sessions + 1
        if not found.iserver.auth_status.authenticated:
            await self._begin(compete=True)

    async def _begin(self, *, compete: bool) -> None:
        """Start a brokerage session, at most once a minute: IBKR blocks logins that ask for it again and again. Raises Unavailable."""
        async with self._one:
            now_ns = self._clock.monotonic_ns()
            status = _good(await self._get("POST", "/iserver/auth/status", {}, b"{}"), wire.AuthStatus)
            if status.authenticated:
                return
            if now_ns - self._tried_ns < INIT_EVERY_NS:
                raise Unavailable(
                    f"Interactive Brokers gives no brokerage session yet: {COMPETING if status.competing else status.message or UNREACHABLE}"
                )
            self._tried_ns = now_ns
            wish = msgspec.json.encode({"publish": True, "compete": compete})
            status = _good(await self._get("POST", "/iserver/auth/ssodh/init", {}, wish), wire.AuthStatus)
            if not status.authenticated:
                raise Unavailable(
                    f"Interactive Brokers gives no brokerage session: {COMPETING if status.competing else status.message or UNREACHABLE}"
                )
            self._tried_ns = -INIT_EVERY_NS
            self.sessions += 1
            await self._know_accounts()

    # -- questions and changes --------------------------------------------------------------------------------------------------

    async def ask(self, path: str, query: Mapping[str, str], kind: type[_T]) -> _T:
        """A question; one that there was no session for is asked again in the next one."""
        response = await self._get("GET", path, query, b"")
        if needs_session(response):
            await self._begin(compete=True)
            response = await self._get("GET", path, query, b"")
        if needs_accounts(response):
            await self._know_accounts()
            response = await self._get("GET", path, query, b"")
        return _good(response, kind)

    async def _know_accounts(self) -> None:
        """IBKR wants both lists asked for once in every session, before anything about what stands on them."""
        _good(await self._get("GET", "/iserver/accounts", {}, b""), wire.Accounts)
        _good(await self._get("GET", "/portfolio/accounts", {}, b""), list[msgspec.Raw])

    async def ask_status(self, path: str) -> Response:
        """A question whose refusal is an answer."""
        return await self._get("GET", path, {}, b"", patient=False)

    async def change(self, method: str, path: str, body: object | None, *, urgent: bool = False) -> Response:
        """One request that changes something, sent once. Raises Unavailable: not sent. InDoubt: sent, no answer."""
        await self._afford(self._order_budget, urgent=urgent)
        raw = b"" if body is None else msgspec.json.encode(body)
        try:
            response = await self._http.send(self._signed(method, path, raw), within_ns=ANSWER_WITHIN_NS)
        except NotSent as error:
            raise Unavailable(f"Interactive Brokers could not be reached, nothing was sent: {error}. {UNREACHABLE}") from None
        except NoAnswer as error:
            raise InDoubt(f"Interactive Brokers did not answer: {error}. The desk asks what became of it; do not send it again") from None
        return response

    def budgets(self) -> Mapping[str, Budget]:
        now_ns = self._clock.monotonic_ns()
        return {
            "questions": Budget(self._budget.left(now_ns), self._budget.limit),
            "changes": Budget(self._order_budget.left(now_ns), self._order_budget.limit),
        }

    async def pace(self, what: str) -> None:
        """Wait until a list may be asked for again. Whoever calls lets one go at a time."""
        wait_ns = self._listed_ns.get(what, -LIST_EVERY_NS) + LIST_EVERY_NS - self._clock.monotonic_ns()
        if wait_ns > 0:
            await self._clock.sleep_ns(wait_ns)
        self._listed_ns[what] = self._clock.monotonic_ns()

    async def _get(self, method: str, path: str, query: Mapping[str, str], body: bytes, *, patient: bool = True) -> Response:
        """A question, again when it got no answer or a passing refusal; each attempt is another request. Raises Unavailable."""
        whole = f"{path}{'?' if query else ''}{urlencode(query)}"
        for attempt in range(1, ATTEMPTS_MAX + 1):
            await self._afford(self._budget, urgent=True)
            sent_ns = self._clock.now_ns()
            try:
                response = await self._http.send(self._signed(method, whole, body), within_ns=ANSWER_WITHIN_NS)
            except TransportError as error:
                if attempt == ATTEMPTS_MAX:
                    raise Unavailable(f"Interactive Brokers could not be asked: {error}. {UNREACHABLE}") from None
            else:
                self._learn(response, sent_ns)
                if response.status not in _RETRIABLE or attempt == ATTEMPTS_MAX or not patient:
                    return response
            await self._clock.sleep_ns(PAUSE_NS * attempt + self._rng.randrange(PAUSE_NS))
        raise AssertionError("the loop returns or raises")

    def _learn(self, response: Response, sent_ns: int) -> None:
        date = response.headers.get("date", "")
        if date:
            try:
                self.offset.learn_date(date, sent_ns, self._clock.now_ns())
            except ValueError:
                return  # a date that nobody can read teaches nothing

    async def _afford(self, budget: RateBudget, *, urgent: bool) -> None:
        """Wait for the request budget, but not for long, and with an order not at all: the desk has looked at the halts for the last time.
        Raises RateLimited: nothing was sent."""
        waited_ns = 0
        while wait_ns := budget.wait_ns(self._clock.monotonic_ns(), urgent=urgent):
            waited_ns += wait_ns
            if not urgent or waited_ns > BUDGET_WAIT_MAX_NS:
                text = f"Interactive Brokers' request budget is spent: {budget.limit} a second; the next one is free in {wait_ns / NS:.1f} s"
                raise RateLimited(text, wait_ns)
            await self._clock.sleep_ns(wait_ns)
        budget.take(self._clock.monotonic_ns())


def _good(response: Response, kind: type[_T]) -> _T:
    """What was asked for. Raises what the answer stands for instead; ProtocolError: it cannot be read."""
    error = refusal(response, changes=False)
    if error is not None:
        raise error
    return decoded(response.body, kind)


def decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return strict.decode(body, kind)
    except wire.UNREADABLE as error:
        raise ProtocolError(f"Interactive Brokers' answer cannot be read ({error})", body) from None
