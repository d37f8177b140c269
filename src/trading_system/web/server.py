"""The desk's HTTP server: it looks at who asks and from where, parses, calls the verb, and says what became of it. The addresses are in routes.py."""

import asyncio
import contextlib
import hashlib
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from aiohttp import web

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.app.metrics import CONTENT_TYPE
from trading_system.app.planner import Plan, limits_of, plan
from trading_system.app.pool import pool
from trading_system.app.verbs import VERBS
from trading_system.app.views import quote_view
from trading_system.domain.errors import (
    AuthFailed,
    BadRequest,
    DeskError,
    InDoubt,
    JournalError,
    LeaseHeld,
    NotSent,
    ProtocolError,
    RateLimited,
    Rejected,
    RiskRefused,
    Unavailable,
)
from trading_system.domain.ids import ClOrdID, parse_instrument
from trading_system.domain.market import Quote, Trade
from trading_system.domain.money import plain
from trading_system.domain.ports import Kinds, StreamState
from trading_system.sizing.goal import DAYS_A_YEAR, Goal
from trading_system.sizing.paths import Worked
from trading_system.web import shapes
from trading_system.web.equity import EquityCurve
from trading_system.web.events import HEARTBEAT_S, READERS_MAX, TYPES, Events, Filter, framed
from trading_system.web.guard import BODY_MAX, BODY_WITHIN_S, DEPTH_MAX, Door, depth
from trading_system.web.once import KEY_MAX, Answers, Kept, OtherBody, Unfinished
from trading_system.web.openapi import document
from trading_system.web.page import ASSETS, asset
from trading_system.web.routes import EVENT_STREAM, JSON, ROUTES, Route
from trading_system.web.tokens import Scope, Token, Tokens

COOKIE = "trading_session"  # and the port: browsers do not tell apart the cookies of two ports, and paper and live are two desks
SLOW_S = 10  # how long a reader of events may take for what fits no buffer any more, before it is dropped
FAILED_MAX = 10  # tokens that are not valid, a minute
STREAM_INSTRUMENTS_MAX = 50
PLANS_MAX = 16
DRAIN_S = 30
_MINUTE_NS = 60_000_000_000
_STATUS: tuple[tuple[type[DeskError], int], ...] = (  # the first that fits
    (OtherBody, 409),
    (Unfinished, 409),
    (BadRequest, 400),
    (RiskRefused, 422),
    (Rejected, 422),
    (NotSent, 409),
    (LeaseHeld, 409),
    (RateLimited, 429),
    (Unavailable, 503),
    (JournalError, 503),
    (InDoubt, 504),
    (AuthFailed, 502),
    (ProtocolError, 502),
)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "trading",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refused(Exception):
    """An answer that is no: nothing was done."""

    def __init__(self, status: int, kind: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.kind = kind
        self.text = text
        self.headers = headers or {}


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, and under which names a browser may call it (host or host:port)."""

    host: str = "127.0.0.1"
    port: int = 0
    hosts: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None


class WebServer:
    """Serves one desk. `metrics` gives Prometheus' text; `strategies` what runs here."""

    def __init__(
        self,
        desk: Desk,
        config: Config,
        folder: Path,
        listening: Listening,
        *,
        metrics: Callable[[], str],
        strategies: Callable[[], Sequence[Mapping[str, object]]] = lambda: (),
    ) -> None:
        self._desk = desk
        self._config = config
        self._listening = listening
        self._metrics = metrics
        self._strategies = strategies
        self.tokens = Tokens(folder)
        self._answers = Answers(folder, desk.clock.now_ns)
        self._events = Events(desk.journal, self._about)
        self._curve = EquityCurve(desk, folder)
        self._failed: deque[int] = deque(maxlen=FAILED_MAX)
        self._hosts: frozenset[str] = frozenset()
        self._busy: set[asyncio.Future[Kept]] = set()
        self._draining = False
        self._plans: dict[bytes, bytes] = {}
        self._planning = asyncio.Lock()
        self._planner: ProcessPoolExecutor | None = None
        self._streams: set[asyncio.Task[Any]] = set()
        self._door: Door | None = None
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._curve_task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("web")
        self._document = msgspec.json.encode(document())
        self.url = self._cookie = ""

    async def start(self) -> None:
        """Raises BadRequest: an address that is not this machine's alone without a certificate, or one that cannot be listened on."""
        secure = _secure(self._listening)
        app = web.Application(middlewares=[self._everything], client_max_size=BODY_MAX)
        for route in ROUTES:
            app.router.add_route(route.method, route.path, self._handler(route))
        for path in ASSETS:
            app.router.add_route("GET", path, self._asset)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, handler_cancellation=True, keepalive_timeout=30, shutdown_timeout=2)
        await self._runner.setup()
        assert self._runner.server is not None
        self._door = Door(self._runner.server)
        try:
            self._server = await asyncio.get_running_loop().create_server(self._door, self._listening.host, self._listening.port, ssl=secure)
        except OSError as error:
            await self._runner.cleanup()
            raise BadRequest(f"cannot listen on {self._listening.host}:{self._listening.port}: {error.strerror or error}") from None
        port = self._server.sockets[0].getsockname()[1]
        own = {self._listening.host, "127.0.0.1", "localhost", "[::1]"} if _is_loopback(self._listening.host) else {self._listening.host}
        self._hosts = frozenset(host for name in (*(f"{name}:{port}" for name in own), *self._listening.hosts) for host in _as_called(name, port))
        self._cookie = f"{COOKIE}_{port}"
        self.url = f"{'http' if secure is None else 'https'}://{self._listening.host}:{port}/"
        self._curve_task = asyncio.create_task(self._curve.run(), name="equity curve")

    async def aclose(self) -> None:
        """Takes nothing new that changes anything, waits for what is under way, lets every reader go, then closes."""
        self._draining = True
        if self._busy:
            await asyncio.wait(self._busy, timeout=DRAIN_S)
        self._events.close()
        for task in (*self._streams, *([self._curve_task] if self._curve_task else [])):
            task.cancel()
        if self._server is not None:
            self._server.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._planner is not None:
            self._planner.shutdown(wait=False, cancel_futures=True)
        await self._answers.aclose()

    # -- what holds for every request --------------------------------------------------------------------------------------------------

    @web.middleware
    async def _everything(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        assert self._door is not None
        self._door.began(request.transport)
        try:
            self._from_here(request)
            answer = await handler(request)
        except Refused as refused:
            answer = self._failure(refused.status, refused.kind, refused.text, headers=refused.headers)
        except web.HTTPException as error:
            answer = self._failure(
                error.status, "BadRequest", error.reason, headers={"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            )
        except DeskError as error:
            answer = self._desk_said_no(error)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:  # noqa: BLE001  the one place where a bug becomes an answer: nothing of it leaves this process but a number
            number = msgspec.json.encode(self._desk.clock.now_ns()).decode()
            self._log.exception("a request failed", id=number, route=request.path)
            answer = self._failure(500, "Bug", "this should not have happened; the log has it under this id", happened="unknown", number=number)
        finally:
            self._door.ended(request.transport)
        if not answer.prepared:
            for name, value in _HEADERS.items():
                answer.headers.setdefault(name, value)
        return answer

    def _from_here(self, request: web.Request) -> None:
        """The name that was called and the page that calls are this desk's own: another site that points its name here is refused (DNS rebinding),
        and so is a page of another site that posts here (CSRF)."""
        host = request.headers.getall("Host", [])
        if len(host) != 1 or host[0].lower() not in self._hosts:
            raise Refused(403, "Host", f"this desk answers to {', '.join(sorted(self._hosts))}; WEB_HOSTS adds names")
        for origin in request.headers.getall("Origin", []):
            found = urlsplit(origin)
            if found.scheme not in ("http", "https") or found.netloc.lower() != host[0].lower():
                raise Refused(403, "Origin", "asked by a page that is not this desk's")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise Refused(403, "Origin", "asked by a page that is not this desk's")

    def _who(self, request: web.Request, scope: Scope) -> Token:
        """The token that asks. Raises Refused: none, not valid, or not for this."""
        header, cookie, now_ns = request.headers.get("Authorization"), request.cookies.get(self._cookie), self._desk.clock.now_ns()
        text = header.removeprefix("Bearer ").strip() if header is not None and header.startswith("Bearer ") else cookie or ""
        token = self.tokens.find(text, now_ns) if text else None
        if token is None:
            raise self._unknown(text, now_ns)
        if token.session != (header is None):
            raise Refused(401, "Token", "a browser's session comes as its cookie, a token in the Authorization header")
        if token.session and request.method != "GET" and "Origin" not in request.headers:
            raise Refused(403, "Origin", "a browser says where such a request comes from; this one does not")
        if scope not in token.scopes:
            raise Refused(403, "Scope", f"{token.name} may {', '.join(token.scopes)}; this needs {scope}: `trading token add NAME --scope {scope}`")
        return token

    def _unknown(self, text: str, now_ns: int) -> Refused:
        headers = {"WWW-Authenticate": 'Bearer realm="trading"'}
        if not text:
            return Refused(401, "Token", f"a token is needed: Authorization: Bearer …; the first one is in {self.tokens.owner_path.name}", headers)
        if len(self._failed) == FAILED_MAX and now_ns - self._failed[0] < _MINUTE_NS:
            return Refused(429, "Token", "too many tokens that are not valid; wait a minute", {"Retry-After": "60"})
        self._failed.append(now_ns)
        return Refused(401, "Token", "this token is not valid, or not any more: `trading token list`", headers)

    def _failure(
        self, status: int, kind: str, text: str, *, happened: str = "no", number: str = "", headers: Mapping[str, str] | None = None
    ) -> web.Response:
        body = msgspec.json.encode(shapes.Failed(kind=kind, text=text, happened=happened, id=number))
        return web.Response(status=status, body=body, content_type=JSON, headers=headers)

    def _desk_said_no(self, error: DeskError) -> web.Response:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        headers = {"Retry-After": str(max(1, error.retry_after_ns // 1_000_000_000))} if isinstance(error, RateLimited) else {}
        happened = "unknown" if isinstance(error, InDoubt | Unfinished) else "no"
        return self._failure(status, type(error).__name__, str(error), happened=happened, headers=headers)

    # -- one route -----------------------------------------------------------------------------------------------------------------------

    def _handler(self, route: Route) -> Handler:
        if route.writes:
            return partial(self._write, route)
        if route.verb:
            return partial(self._read, route)
        return partial(self._own, route)

    async def _read(self, route: Route, request: web.Request) -> web.StreamResponse:
        assert route.scope is not None
        self._who(request, route.scope)
        result = await VERBS[route.verb](self._desk, _args(self._query(route, request)))
        return web.Response(body=msgspec.json.encode(result), content_type=JSON)

    async def _write(self, route: Route, request: web.Request) -> web.StreamResponse:
        assert route.scope is not None
        token = self._who(request, route.scope)
        key = request.headers.get("Idempotency-Key", "")
        if not (0 < len(key) <= KEY_MAX and key.isascii() and key.isprintable() and " " not in key):
            raise Refused(400, "BadRequest", f"what changes something needs a header Idempotency-Key of 1 to {KEY_MAX} printable characters")
        self._query(route, request)
        body = await self._body(route, request)
        args = {**_args(body), **route.fixed, **({route.in_path: request.match_info[route.in_path]} if route.in_path else {})}
        if route.word and args.pop("confirm", None) != route.word:
            raise Refused(400, "BadRequest", f"nothing was done: confirm is the word {route.word}")
        args |= {"intent": _intent(token.name, key)} if route.intent else {}
        args |= {"by": token.name} if route.verb in ("halt", "resume", "resolve", "acknowledge", "arm") else {}
        asked = b" ".join((route.method.encode(), request.path.encode(), b"" if body is None else msgspec.json.encode(body, order="deterministic")))
        if self._draining:
            raise Refused(503, "Unavailable", "the desk is being stopped; nothing was done", {"Retry-After": "5"})
        work = asyncio.ensure_future(self._answers.once(token.name, key, asked, partial(self._done, route, args), repeatable=route.intent))
        self._busy.add(work)
        work.add_done_callback(self._busy.discard)
        kept = await asyncio.shield(work)  # whoever asked may go away: what was begun ends, and its answer is kept
        return web.Response(status=kept.status, body=kept.body, content_type=JSON)

    async def _done(self, route: Route, args: Mapping[str, object]) -> Kept:
        result = await VERBS[route.verb](self._desk, args)
        doubtful = route.intent and isinstance(result, dict) and result.get("doubt") in ("in_doubt", "escalated")
        return Kept(202 if doubtful else 200, msgspec.json.encode(result))

    async def _body(self, route: Route, request: web.Request) -> shapes.Body | None:
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                raw = await request.read()
        except TimeoutError:
            raise Refused(408, "BadRequest", f"the body did not come within {BODY_WITHIN_S} s", {"Connection": "close"}) from None
        if route.body is None:
            if raw:
                raise Refused(400, "BadRequest", "this request has no body")
            return None
        if request.content_type != JSON:
            raise Refused(415, "BadRequest", f"the body is {JSON}")
        if depth(raw) > DEPTH_MAX:
            raise Refused(400, "BadRequest", f"the body is nested more than {DEPTH_MAX} deep")
        try:
            return msgspec.json.decode(raw, type=route.body)
        except (msgspec.MsgspecError, ValueError) as error:  # a text that is no UTF-8 is a ValueError
            raise Refused(400, "BadRequest", str(error)) from None

    def _query(self, route: Route, request: web.Request) -> Any:
        """The parsed query, or None where the route has none. Raises Refused."""
        names = list(request.query)
        if route.query is None:
            if names:
                raise Refused(400, "BadRequest", f"this address takes nothing behind the question mark, not {names[0][:40]!r}")
            return None
        if len(set(names)) < len(list(request.query.items())):
            raise Refused(400, "BadRequest", "a name stands twice behind the question mark")
        try:
            return msgspec.convert(dict(request.query), type=route.query, strict=False)
        except msgspec.ValidationError as error:
            raise Refused(400, "BadRequest", str(error)) from None

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        kind, body = asset(request.path)
        return web.Response(body=body, content_type=kind, charset="utf-8")

    # -- what is the server's own ----------------------------------------------------------------------------------------------------------

    async def _own(self, route: Route, request: web.Request) -> web.StreamResponse:
        token = None if route.scope is None else self._who(request, route.scope)
        query = self._query(route, request)
        match route.name:
            case "healthz":
                return web.Response(text="ok\n")
            case "openapi":
                return web.Response(body=self._document, content_type=JSON)
            case "metrics":
                return web.Response(body=self._metrics().encode(), headers={"Content-Type": CONTENT_TYPE})
            case "equity":
                return _json(self._curve.points(query.hours))
            case "strategies":
                return _json(list(self._strategies()))
            case "plan":
                return await self._plan(query)
            case "events":
                return await self._send_events(request, query)
            case "stream":
                return await self._send_stream(request, query)
            case "open_session":
                return await self._open_session(route, request)
            case "close_session":
                self.tokens.close_session(request.cookies.get(self._cookie, ""))
                answer = _json(self._session(token))
                answer.del_cookie(self._cookie, path="/")
                return answer
            case "session":
                return _json(self._session(token))
        raise AssertionError(route.name)

    def _session(self, token: Token | None) -> shapes.Session:
        assert token is not None
        scopes = [scope.value for scope in token.scopes]
        return shapes.Session(name=token.name, scopes=scopes, until_ns=token.until_ns, environment=self._desk.environment)

    async def _open_session(self, route: Route, request: web.Request) -> web.StreamResponse:
        body, now_ns = await self._body(route, request), self._desk.clock.now_ns()
        assert isinstance(body, shapes.Login)
        token = self.tokens.find(body.token, now_ns)
        if token is None or token.session:
            raise self._unknown(body.token, now_ns)
        text, until_ns = self.tokens.open_session(token, now_ns)
        answer = _json(msgspec.structs.replace(self._session(token), until_ns=until_ns))
        secure = (request.headers.get("Origin") or self.url).startswith("https")  # a proxy before it may end TLS
        answer.set_cookie(self._cookie, text, max_age=(until_ns - now_ns) // 1_000_000_000, httponly=True, samesite="Strict", secure=secure, path="/")
        return answer

    async def _plan(self, query: shapes.OfPlan) -> web.StreamResponse:
        key = msgspec.json.encode(query)
        async with self._planning:  # one at a time, in a process of its own: the desk does not wait for sums
            if key not in self._plans:
                self._planner = self._planner or pool(1)
                work = partial(_planned, self._config, query)
                found = await asyncio.get_running_loop().run_in_executor(self._planner, work)
                if len(self._plans) >= PLANS_MAX:
                    self._plans.pop(next(iter(self._plans)))
                self._plans[key] = msgspec.json.encode(found)
        return web.Response(body=self._plans[key], content_type=JSON)

    def _about(self, cl_ord_id: ClOrdID) -> tuple[str, str]:
        order = self._desk.books.blotter.get(cl_ord_id)
        return ("", "") if order is None else (order.broker, order.instrument)

    # -- streams -------------------------------------------------------------------------------------------------------------------------

    async def _send_events(self, request: web.Request, query: shapes.OfEvents) -> web.StreamResponse:
        types = frozenset(filter(None, query.types.split(",")))
        if unknown := types - TYPES:
            raise Refused(400, "BadRequest", f"no such type: {', '.join(sorted(unknown))}; there are: {', '.join(sorted(TYPES))}")
        after = self._after(request, query)
        events = self._events.after(after, Filter(types=types, broker=query.broker, instrument=query.instrument.upper()))
        return await self._sent(request, events, framed)

    def _after(self, request: web.Request, query: shapes.OfEvents) -> int:
        """The last event that the reader has: by the header that a browser sends when it comes back, else by `after`, else everything from now on."""
        header = request.headers.get("Last-Event-ID")
        if header is None:
            return self._events.last if query.after is None or query.after < 0 else query.after
        if not (header.isascii() and header.isdecimal() and len(header) <= 19):
            raise Refused(400, "BadRequest", "Last-Event-ID is the number of a record")
        return int(header)

    async def _send_stream(self, request: web.Request, query: shapes.OfStream) -> web.StreamResponse:
        names = [name for name in query.instruments.upper().split(",") if name]
        if not 0 < len(names) <= STREAM_INSTRUMENTS_MAX:
            raise Refused(400, "BadRequest", f"1 to {STREAM_INSTRUMENTS_MAX} instruments, with commas between")
        if query.broker is None and len(self._desk.brokers) > 1:
            raise Refused(400, "BadRequest", f"say which broker: {', '.join(self._desk.brokers)}")
        broker = next((name for name in self._desk.brokers if query.broker in (None, name)), None)
        if broker is None:
            raise Refused(400, "BadRequest", f"no broker {query.broker!r} on this desk; there are: {', '.join(self._desk.brokers)}")
        try:
            instruments = [(await self._desk.instrument(broker, parse_instrument(name))).id for name in names]
        except ValueError as error:
            raise Refused(400, "BadRequest", str(error)) from None
        if len(self._streams) >= READERS_MAX:
            raise Refused(429, "BadRequest", f"{READERS_MAX} others read streams already", {"Retry-After": "10"})
        events = self._desk.hub.stream(broker, tuple(instruments), Kinds(quotes=True, trades=query.trades))
        return await self._sent(request, events, partial(_market_frame, broker))

    async def _sent(self, request: web.Request, events: Any, frame: Callable[[Any], bytes]) -> web.StreamResponse:
        """Send what comes until the reader goes, is too slow, or the desk ends."""
        first = asyncio.ensure_future(anext(events, None))
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        answer = web.StreamResponse(headers={**_HEADERS, "Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"})
        try:
            await asyncio.wait([first], timeout=0.05)
            if first.done():
                first.result()  # a refusal is an answer of its own, before anything is sent
            await answer.prepare(request)
            await answer.write(b"retry: 500\n\n")
            while True:
                await asyncio.wait([first], timeout=HEARTBEAT_S)
                line = b": a quiet market\n\n"
                if first.done():
                    event = first.result()
                    if event is None:
                        break
                    line, first = frame(event), asyncio.ensure_future(anext(events, None))
                async with asyncio.timeout(SLOW_S):
                    await answer.write(line)
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._streams.discard(task)
            first.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, DeskError):
                await first
            await events.aclose()
        return answer


def _as_called(name: str, port: int) -> tuple[str, ...]:
    """What a browser says as Host: no port where it is the usual one, as it is at a proxy that a name without a port stands for.

    >>> _as_called("desk.example.org", 8765), _as_called("desk.example.org:443", 8765), _as_called("[::1]:8765", 8765)
    (('desk.example.org', 'desk.example.org:8765'), ('desk.example.org:443', 'desk.example.org'), ('[::1]:8765',))
    """
    bare, _, given = name.rpartition(":")
    if not given.isdecimal():
        return name, f"{name}:{port}"
    return (name, bare) if given in ("80", "443") else (name,)


def _secure(listening: Listening) -> ssl.SSLContext | None:
    if listening.certificate is None or listening.key is None:
        if not _is_loopback(listening.host):
            raise BadRequest(f"to listen on {listening.host}, which others can reach, set WEB_TLS_CERT and WEB_TLS_KEY; or stay on 127.0.0.1")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(listening.certificate, listening.key)
    except (OSError, ssl.SSLError) as error:
        raise BadRequest(f"WEB_TLS_CERT and WEB_TLS_KEY cannot be used: {error}") from None
    return context


def _is_loopback(host: str) -> bool:
    return host in ("127.0.0.1", "::1", "localhost")


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type=JSON)


def _args(parsed: msgspec.Struct | None) -> dict[str, object]:
    """A parsed query or body as a verb takes it: what was left out is not there, numbers are text."""
    if parsed is None:
        return {}
    found = {name: value for name, value in msgspec.to_builtins(parsed).items() if value is not None and value is not False}
    return {name: value if isinstance(value, bool | list) else str(value) for name, value in found.items()}


def _intent(owner: str, key: str) -> str:
    """The intent of an order that came under this key: the same in every life of the desk."""
    return f"web-{hashlib.blake2b(f'{owner} {key}'.encode(), digest_size=16).hexdigest()}"


def _market_frame(broker: str, event: Quote | Trade | StreamState) -> bytes:
    if isinstance(event, Quote):
        kind, view = b"quote", quote_view(broker, event)
    elif isinstance(event, StreamState):
        kind, view = b"link", {"broker": event.broker, "stream": event.stream, "link": event.link.value, "text": event.text}
    else:
        kind = b"trade"
        view = {"broker": broker, "instrument": event.instrument, "px": plain(event.price), "qty": plain(event.qty), "transact_ns": event.transact_ns}
    return b"event: %s\ndata: %s\n\n" % (kind, msgspec.json.encode(view))


def _planned(config: Config, query: shapes.OfPlan) -> Plan:
    goal = Goal(
        capital=float(config.starting_capital),
        target=float(config.target_wealth),
        years=config.time_horizon_days / DAYS_A_YEAR,
        sharpe=query.sharpe,
        rate=0.0,
    )
    worked = Worked(volatility=query.volatility, kelly=float(config.kelly_fraction), tails="fat", sample=(), days_a_year=DAYS_A_YEAR)
    return plan(goal, worked, limits_of(config), paths=query.paths, seed=query.seed)
