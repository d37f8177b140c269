"""A twin one can talk to in tests: signed requests and frames at a time of the test's choosing, no sockets. It signs for itself."""

import hashlib
import hmac
import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

from trading_system.brokers.bybit.twin import BybitTwin
from trading_system.sim.exchange import NO_LATENCY
from trading_system.transport.message import Request, Response

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
NOON = 1_795_521_600_000_000_000  # 2026-11-24T12:00:00Z, four hours before funding
WINDOW = "5000"


class Answer(NamedTuple):
    code: int
    text: str
    result: Any
    status: int
    headers: dict[str, str]


class Client:
    """One account's view of a twin. `now_ns` moves by wait()."""

    def __init__(self, **options: Any) -> None:
        defaults: dict[str, Any] = {"seed": 3, "start_ns": NOON, "latency": NO_LATENCY, "requests_per_minute": 100_000}
        self.twin = BybitTwin(**(defaults | options))
        self.now_ns = self.twin.now_ns
        self.key, self.secret = self.twin.key, self.twin.secret

    def signed(self, tail: str, time_ms: int) -> dict[str, str]:
        text = f"{time_ms}{self.key}{WINDOW}{tail}"
        signature = hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        return {
            "X-BAPI-API-KEY": self.key,
            "X-BAPI-TIMESTAMP": str(time_ms),
            "X-BAPI-RECV-WINDOW": WINDOW,
            "X-BAPI-SIGN": signature,
            "X-BAPI-SIGN-TYPE": "2",
        }

    def send(self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> Answer:
        query = path.partition("?")[2]
        given = self.signed(body if method == "POST" else query, self.now_ns // 1_000_000) if headers is None else headers
        answer = self.twin.handle(Request(method=method, url="https://host" + path, headers=given, body=body.encode()), self.now_ns)
        self.twin.advance(self.now_ns)
        told = json.loads(answer.body) if answer.status != 403 else {"retCode": -1, "retMsg": answer.body.decode(), "result": None}
        return Answer(told["retCode"], told["retMsg"], told["result"], answer.status, dict(answer.headers))

    def ask(self, path: str, **query: str) -> Answer:
        return self.send("GET", f"{path}?{urlencode(query)}" if query else path)

    def get(self, path: str, **query: str) -> Any:
        answer = self.ask(path, **query)
        assert answer.code == 0, answer
        return answer.result

    def post(self, path: str, **body: object) -> Answer:
        return self.send("POST", path, json.dumps(body))

    def create(self, symbol: str = "BTCUSDT", side: str = "Buy", qty: str = "0.1", category: str = "linear", **more: object) -> Answer:
        kind = {"orderType": "Limit" if "price" in more else "Market"}
        unit = {"marketUnit": "baseCoin"} if category == "spot" and "price" not in more else {}
        return self.post("/v5/order/create", **({"category": category, "symbol": symbol, "side": side, "qty": qty} | kind | unit | more))

    def order(self, order_id: str, category: str = "linear") -> Any:
        for path in ("/v5/order/realtime", "/v5/order/history"):
            for row in self.get(path, category=category, orderId=order_id)["list"]:
                return row
        return None

    def touch(self, side: str = "Buy", symbol: str = "BTCUSDT", category: str = "linear") -> float:
        book = self.get("/v5/market/orderbook", category=category, symbol=symbol, limit="1")
        return float(book["a" if side == "Buy" else "b"][0][0])

    def coin(self, coin: str = "USDT") -> Any:
        (wallet,) = self.get("/v5/account/wallet-balance", accountType="UNIFIED", coin=coin)["list"]
        return wallet["coin"][0]

    def position(self, symbol: str = "BTCUSDT", category: str = "linear") -> Any:
        return self.get("/v5/position/list", category=category, symbol=symbol)["list"][0]

    def wait(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.twin.advance(self.now_ns)

    def open(self, path: str) -> int:
        conn = self.twin.open(path, {}, self.now_ns)
        assert not isinstance(conn, Response), conn
        return conn

    def frame(self, conn: int, frame: object) -> None:
        self.twin.frame(conn, frame if isinstance(frame, bytes) else json.dumps(frame), self.now_ns)

    def frames(self, conn: int) -> list[Any]:
        """What the twin pushed to a connection since the last call; None for a close."""
        pushed = [frame for number, frame in self.twin.drain() if number == conn]
        return [None if frame is None else json.loads(frame) for frame in pushed]

    def login(self, expires_ns: int = 0) -> list[object]:
        expires = (expires_ns or self.now_ns + SECOND) // 1_000_000
        return [self.key, expires, hmac.new(self.secret.encode(), f"GET/realtime{expires}".encode(), hashlib.sha256).hexdigest()]

    def listen(self, *topics: str) -> int:
        """A private stream that is logged in and subscribed."""
        conn = self.open("/v5/private")
        self.frame(conn, {"op": "auth", "args": self.login()})
        self.frame(conn, {"op": "subscribe", "args": topics or ("order", "execution", "position", "wallet")})
        self.twin.drain()
        return conn

    def market(self, category: str, *topics: str) -> int:
        """A public stream that is subscribed."""
        conn = self.open(f"/v5/public/{category}")
        self.frame(conn, {"req_id": "1", "op": "subscribe", "args": topics})
        return conn
