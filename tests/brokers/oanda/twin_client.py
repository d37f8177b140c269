"""A twin one can talk to in tests: calls and lines at a time of the test's choosing, no sockets."""

import json
from typing import Any
from urllib.parse import urlencode

from trading_system.brokers.oanda.twin import OandaTwin
from trading_system.transport.message import Request, Response

SECOND = 1_000_000_000
NOON = 1_795_539_600_000_000_000  # 2026-11-24T17:00:00Z, a Tuesday


class Client:
    """One account's view of a twin. `now_ns` moves by wait()."""

    def __init__(self, **options: Any) -> None:
        self.twin = OandaTwin(**({"seed": 3, "start_ns": NOON, "requests_per_minute": 100_000} | options))
        self.now_ns = self.twin.now_ns
        self.account = f"/v3/accounts/{self.twin.account_id}"

    def send(self, method: str, path: str, body: object = None, **headers: str) -> Response:
        """path: below the account, or whole."""
        url = "http://host" + (path if path.startswith("/v3") else self.account + path)
        given = {"Authorization": f"Bearer {self.twin.key}", "Host": "host"} | headers
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.twin.handle(Request(method=method, url=url, headers=given, body=content), self.now_ns)

    def get(self, path: str, **query: object) -> Any:
        response = self.send("GET", f"{path}?{urlencode(query)}" if query else path)
        assert response.status == 200, response
        return json.loads(response.body)

    def order(self, units: object = "1000", kind: str = "MARKET", instrument: str = "EUR_USD", **rest: object) -> Any:
        """The answer to an order that is taken."""
        response = self.send("POST", "/orders", {"order": {"type": kind, "instrument": instrument, "units": units} | rest})
        assert response.status == 201, response
        return json.loads(response.body)

    def refused(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str, Any]:
        """Status, code and the whole of a refusal."""
        response = self.send(method, path, body, **headers)
        assert response.status >= 400, response
        told = json.loads(response.body)
        return response.status, told.get("errorCode", ""), told

    def bad_order(self, **order: object) -> str:
        """The code with which an order is refused; of EUR_USD, unless it says otherwise."""
        return self.refused("POST", "/orders", {"order": {"type": "LIMIT", "instrument": "EUR_USD", "units": "100", "price": "1.0"} | order})[1]

    def mid(self, instrument: str = "EUR_USD") -> float:
        (price,) = self.get("/pricing", instruments=instrument)["prices"]
        return (float(price["bids"][0]["price"]) + float(price["asks"][0]["price"])) / 2

    def near(self, fraction: float, instrument: str = "EUR_USD") -> str:
        """A price so far from the middle, on the grid."""
        return f"{self.mid(instrument) * fraction:.{3 if instrument.endswith('JPY') else 5}f}"

    def wait(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.twin.advance(self.now_ns)

    def listen(self, path: str = "/transactions/stream", **headers: str) -> int:
        conn = self.twin.open(self.account + path, {"Authorization": f"Bearer {self.twin.key}"} | headers, self.now_ns)
        assert not isinstance(conn, Response), conn
        return conn

    def lines(self, conn: int) -> list[Any]:
        """What the twin pushed to a connection since the last call."""
        pushed = [frame for number, frame in self.twin.drain() if number == conn and frame is not None]
        assert all(isinstance(frame, bytes) and frame.endswith(b"\n") and frame.count(b"\n") == 1 for frame in pushed)
        return [json.loads(frame) for frame in pushed]
