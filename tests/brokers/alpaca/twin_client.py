"""A twin one can talk to in tests: requests and frames at a time of the test's choosing, no sockets."""

import json
from typing import Any, NamedTuple

from trading_system.brokers.alpaca import facts
from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.sim.exchange import NO_LATENCY
from trading_system.transport.message import Request, Response

SECOND = 1_000_000_000
NOON = 1_795_539_600_000_000_000  # 2026-11-24T17:00:00Z, a Tuesday's noon in New York


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class Client:
    """One account's view of a twin. `now_ns` moves by wait()."""

    def __init__(self, **options: Any) -> None:
        defaults: dict[str, Any] = {"seed": 3, "start_ns": NOON, "latency": NO_LATENCY, "requests_per_minute": 100_000}
        self.twin = AlpacaTwin(**(defaults | options))
        self.now_ns = self.twin.now_ns
        self.key, self.secret = self.twin.key, self.twin.secret

    def send(self, method: str, path: str, body: object = None, *, raw: bytes | None = None, keys: bool = True) -> Answer:
        headers = {facts.KEY_HEADER: self.key, facts.SECRET_HEADER: self.secret} if keys else {}
        sent = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        answer = self.twin.handle(Request(method=method, url="https://host" + path, headers=headers, body=sent), self.now_ns)
        self.twin.advance(self.now_ns)
        return Answer(answer.status, json.loads(answer.body) if answer.body else None, dict(answer.headers))

    def get(self, path: str) -> Any:
        answer = self.send("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def order(self, symbol: str = "AAPL", side: str = "buy", kind: str = "market", tif: str = "day", **rest: object) -> Answer:
        sized: dict[str, object] = {} if "notional" in rest else {"qty": "1"}
        return self.send("POST", "/v2/orders", {"symbol": symbol, "side": side, "type": kind, "time_in_force": tif} | sized | rest)

    def wait(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.twin.advance(self.now_ns)

    def open(self, path: str, headers: dict[str, str] | None = None) -> int:
        conn = self.twin.open(path, headers or {}, self.now_ns)
        assert not isinstance(conn, Response), conn
        return conn

    def frame(self, conn: int, frame: object) -> None:
        self.twin.frame(conn, frame if isinstance(frame, bytes) else json.dumps(frame), self.now_ns)

    def frames(self, conn: int) -> list[Any]:
        """What the twin pushed to a connection since the last call; None for a close."""
        pushed = [frame for number, frame in self.twin.drain() if number == conn]
        return [None if frame is None else json.loads(frame) for frame in pushed]

    def listen(self) -> int:
        """An orders stream that is logged in and listens."""
        conn = self.open("/stream")
        self.frame(conn, {"action": "authenticate", "data": {"key_id": self.key, "secret_key": self.secret}})
        self.frame(conn, {"action": "listen", "data": {"streams": ["trade_updates"]}})
        self.twin.drain()
        return conn

    def market_data(self, path: str, **lists: list[str]) -> int:
        """A data stream that is logged in and subscribed."""
        conn = self.open(path)
        self.frame(conn, {"action": "auth", "key": self.key, "secret": self.secret})
        self.frame(conn, {"action": "subscribe", **lists})
        return conn
