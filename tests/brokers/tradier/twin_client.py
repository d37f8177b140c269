"""A twin one can talk to in tests: calls and frames at a time of the test's choosing, no sockets."""

import json
from typing import Any
from urllib.parse import urlencode

from trading_system.brokers.tradier.twin import TradierTwin
from trading_system.sim.exchange import NO_LATENCY
from trading_system.transport.message import Request, Response

SECOND = 1_000_000_000
NOON = 1_795_539_600_000_000_000  # 2026-11-24T17:00:00Z, a Tuesday


class Client:
    """One account's view of a twin. `now_ns` moves by wait()."""

    def __init__(self, **options: Any) -> None:
        self.twin = TradierTwin(**({"seed": 3, "start_ns": NOON, "latency": NO_LATENCY, "requests_per_minute": 100_000} | options))
        self.now_ns = self.twin.now_ns

    def send(self, method: str, path: str, form: dict[str, object] | None = None, *, token: str | None = None) -> Response:
        """The whole answer. A GET's fields go into its query."""
        headers = {"Authorization": f"Bearer {token or self.twin.token}", "Accept": "application/json"}
        query = f"?{urlencode(form)}" if form and method == "GET" else ""
        body = urlencode(form).encode() if form and method != "GET" else b""
        return self.twin.handle(Request(method=method, url=f"https://host/v1/{path}{query}", headers=headers, body=body), self.now_ns)

    def get(self, path: str, **form: object) -> Any:
        answer = self.send("GET", path, form)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def account(self, what: str, **form: object) -> Any:
        return self.get(f"accounts/{self.twin.account_number}/{what}", **form)

    def orders(self, method: str, path: str = "", **form: object) -> Response:
        return self.send(method, f"accounts/{self.twin.account_number}/orders{path}", form)

    def place(self, **form: object) -> int:
        """An equity order by market for the day, changed as named; its number."""
        fields = {"class": "equity", "symbol": "AAPL", "side": "buy", "quantity": 1, "type": "market", "duration": "day"} | form
        answer = self.orders("POST", **fields)
        assert answer.status == 200, answer.body
        order = json.loads(answer.body)["order"]
        assert order["status"] == "ok"
        return int(order["id"])

    def order(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.account(f"orders/{number}", includeTags="true")["order"]
        return found

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)
        self.twin.advance(self.now_ns)

    def listen(self, which: str = "accounts", **login: object) -> int:
        """A stream that has shown its ticket."""
        ticket = json.loads(self.send("POST", f"{which}/events/session").body)["stream"]["sessionid"]
        conn = self.twin.open(f"/v1/{which}/events", {}, self.now_ns)
        assert isinstance(conn, int)
        self.twin.frame(conn, json.dumps({"sessionid": ticket, **login}), self.now_ns)
        return conn

    def frames(self, conn: int) -> list[Any]:
        """What was pushed since the last call; None is the end."""
        return [None if frame is None else json.loads(frame) for to, frame in self.twin.drain() if to == conn]
