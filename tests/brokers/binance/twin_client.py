"""A twin one can talk to in tests: signed requests and frames at a time of the test's choosing, no sockets."""

import hashlib
import hmac
import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

from trading_system.brokers.binance import facts
from trading_system.brokers.binance.twin import BinanceTwin
from trading_system.transport.message import Request, Response

SECOND = 1_000_000_000
NOON = 1_795_539_600_000_000_000  # 2026-11-24T17:00:00Z


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str]


class Client:
    """One account's view of a twin. `now_ns` moves by wait()."""

    def __init__(self, **options: Any) -> None:
        self.twin = BinanceTwin(**({"seed": 3, "start_ns": NOON, "requests_per_minute": 100_000} | options))
        self.now_ns = self.twin.now_ns
        self.key, self.secret = self.twin.key, self.twin.secret

    def sign(self, payload: str) -> str:
        return hmac.new(self.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()

    def send(self, method: str, path: str, *, signed: bool = True, body: str = "", **params: object) -> Answer:
        """Parameters in the query; `body` is a form beside them."""
        if signed:
            params = params | {"timestamp": params.get("timestamp", self.now_ns // 1_000_000)}
        query = urlencode(params)
        if signed:
            query += f"&signature={self.sign(query + body)}"
        return self.raw(method, f"{path}?{query}", body)

    def raw(self, method: str, path: str, body: str = "") -> Answer:
        root = "" if path.startswith("/sapi") else facts.API
        request = Request(method=method, url=f"https://host{root}/{path.lstrip('/')}", headers={facts.KEY_HEADER: self.key}, body=body.encode())
        answer = self.twin.handle(request, self.now_ns)
        return Answer(answer.status, json.loads(answer.body), dict(answer.headers))

    def get(self, path: str, *, signed: bool = False, **params: object) -> Any:
        answer = self.send("GET", path, signed=signed, **params)
        assert answer.status == 200, answer
        return answer.body

    def order(self, side: str = "BUY", kind: str = "MARKET", symbol: str = "ETHUSDT", **rest: object) -> Answer:
        sized: dict[str, object] = {} if "quoteOrderQty" in rest or "quantity" in rest else {"quantity": "0.5"}
        tif = {"timeInForce": "GTC"} if kind in ("LIMIT", "STOP_LOSS_LIMIT") and "timeInForce" not in rest else {}
        given = {name: value for name, value in (sized | tif | rest).items() if value is not None}
        return self.send("POST", "order", symbol=symbol, side=side, type=kind, **given)

    def price(self, fraction: str, symbol: str = "ETHUSDT") -> str:
        from decimal import Decimal

        return str((Decimal(self.get("ticker/price", symbol=symbol)["price"]) * Decimal(fraction)).quantize(Decimal("0.01")))

    def wait(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.twin.advance(self.now_ns)

    def open(self, path: str) -> int:
        conn = self.twin.open(path, {}, self.now_ns)
        assert not isinstance(conn, Response), conn
        return conn

    def frame(self, conn: int, frame: object) -> None:
        self.twin.frame(conn, json.dumps(frame), self.now_ns)

    def frames(self, conn: int) -> list[Any]:
        """What the twin pushed to a connection since the last call; None for a close."""
        pushed = [frame for number, frame in self.twin.drain() if number == conn]
        return [None if frame is None else json.loads(frame) for frame in pushed]

    def signed_frame(self, method: str, **params: object) -> dict[str, object]:
        whole = {"apiKey": self.key, "timestamp": self.now_ns // 1_000_000, **params}
        payload = "&".join(f"{name}={whole[name]}" for name in sorted(whole))
        return {"id": 7, "method": method, "params": {**whole, "signature": self.sign(payload)}}

    def listen(self) -> int:
        """A connection that hears of the account."""
        conn = self.open(facts.SOCKET_API_PATH)
        self.frame(conn, self.signed_frame("userDataStream.subscribe.signature"))
        assert self.frames(conn)[0]["status"] == 200
        return conn
