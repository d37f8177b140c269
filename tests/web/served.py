"""A desk on a twin with its HTTP server, on loopback, for the tests of this folder."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from trading_system.app import build
from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.app.verbs import READY_WITHIN_NS
from trading_system.cli.common import default_config
from trading_system.domain.ids import BrokerName
from trading_system.web.server import Listening, WebServer
from trading_system.web.serving import serving
from trading_system.web.tokens import Scope

ALL = tuple(Scope)


class Caller:
    """One who asks with a token."""

    def __init__(self, session: aiohttp.ClientSession, server: WebServer, token: str) -> None:
        self.session = session
        self.server = server
        self.token = token
        self.keys = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def ask(self, method: str, path: str, body: object = None, *, key: str | None = None, **headers: str) -> tuple[int, Any]:
        """Status and decoded answer."""
        self.keys += 1
        more = {} if method == "GET" else {"Idempotency-Key": key or f"key-{self.keys}"}
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        more |= {} if body is None else {"Content-Type": "application/json"}
        sent = {name: value for name, value in {**self.headers, **more, **headers}.items() if value}
        async with self.session.request(method, self.server.url.rstrip("/") + path, data=data, headers=sent) as answer:
            raw = await answer.read()
            return answer.status, json.loads(raw) if answer.content_type == "application/json" else raw.decode()

    async def get(self, path: str) -> Any:
        status, found = await self.ask("GET", path)
        assert status == 200, found
        return found


class Served:
    """Twin, desk and server; `caller` may do everything."""

    def __init__(self, desk: Desk, config: Config, folder: Path, server: WebServer, session: aiohttp.ClientSession, twin: Any) -> None:
        self.desk = desk
        self.config = config
        self.folder = folder
        self.server = server
        self.session = session
        self.twin = twin
        self.caller = self.with_scopes(*ALL)

    def with_scopes(self, *scopes: Scope, name: str = "test", days: int = 1) -> Caller:
        token = self.server.tokens.add(f"{name}-{'-'.join(scopes)}", scopes, self.desk.clock.now_ns(), days)
        return Caller(self.session, self.server, token)


@asynccontextmanager
async def served(tmp_path: Path, *, listening: Listening = Listening(), twin: Any = None, kind: str = "paper") -> AsyncIterator[Served]:  # noqa: B008 frozen
    """twin: of a desk before this one, on which the next one goes on."""
    async with made_twin(kind) if twin is None else _given(twin) as there:
        config = default_config(str(tmp_path))
        account = msgspec.structs.replace(build.twin_account(BrokerName("alpaca"), there), environment=kind)
        async with (
            build.open_desk(config, (account,), folder=tmp_path / "twin", listen=False) as desk,
            serving(desk, config, tmp_path / "twin", listening) as server,
            aiohttp.ClientSession() as session,
        ):
            assert await desk.wait(lambda: all(desk.ready.values()), READY_WITHIN_NS)
            yield Served(desk, config, tmp_path / "twin", server, session, there)


@asynccontextmanager
async def made_twin(kind: str = "paper") -> AsyncIterator[Any]:
    async with build.served_twin("alpaca", seed=3, kind=kind) as there:
        yield there


@asynccontextmanager
async def _given(twin: Any) -> AsyncIterator[Any]:
    yield twin
