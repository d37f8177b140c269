"""A twin one can talk to in tests: signed calls and frames at a time of the test's choosing, no sockets.

The signature is made here once more, from the published rule, so that signer and twin do not judge each other.
"""

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

from trading_system.brokers.kraken.twin import KrakenTwin
from trading_system.sim.exchange import NO_LATENCY
from trading_system.transport.message import Request, Response

SECOND = 1_000_000_000
NOON = 1_795_539_600_000_000_000  # 2026-11-24T17:00:00Z


class Client:
    """One account's view of a twin. `now_ns` moves by wait()."""

    def __init__(self, **options: Any) -> None:
        self.twin = KrakenTwin(**({"seed": 3, "start_ns": NOON, "latency": NO_LATENCY, "requests_per_minute": 100_000} | options))
        self.now_ns = self.twin.now_ns
        self.nonce = 0

    def public(self, name: str, **query: object) -> dict[str, Any]:
        url = f"https://host/0/public/{name}" + (f"?{urlencode(query)}" if query else "")
        return self._read(Request(method="GET", url=url))

    def private(self, name: str, form: dict[str, object] | None = None, **more: object) -> dict[str, Any]:
        """The whole envelope. nonce and secret may be given to be wrong."""
        self.nonce += 1
        fields = {"nonce": self.nonce} | (form or {}) | more
        body = urlencode(fields).encode()
        headers = {"API-Key": self.twin.key, "API-Sign": self._sign(f"/0/private/{name}", str(fields["nonce"]), body)}
        return self._read(Request(method="POST", url=f"https://host/0/private/{name}", headers=headers, body=body))

    def _sign(self, path: str, nonce: str, body: bytes) -> str:
        digest = hashlib.sha256(nonce.encode() + body).digest()
        return base64.b64encode(hmac.new(base64.b64decode(self.twin.secret), path.encode() + digest, hashlib.sha512).digest()).decode()

    def _read(self, request: Request) -> dict[str, Any]:
        answer = self.twin.handle(request, self.now_ns)
        self.twin.advance(self.now_ns)
        assert answer.status == 200
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def get(self, name: str, **form: object) -> Any:
        answer = self.private(name, form)
        assert answer["error"] == [], answer
        return answer["result"]

    def ask(self, name: str, **query: object) -> Any:
        answer = self.public(name, **query)
        assert answer["error"] == [], answer
        return answer["result"]

    def order(self, kind: str = "limit", side: str = "buy", volume: str = "0.1", pair: str = "ETHUSD", **rest: object) -> dict[str, Any]:
        return self.private("AddOrder", {"ordertype": kind, "type": side, "volume": volume, "pair": pair} | rest)

    def placed(self, *args: Any, **rest: Any) -> str:
        answer = self.order(*args, **rest)
        assert answer["error"] == [], answer
        txid: str = answer["result"]["txid"][0]
        return txid

    def refused(self, *args: Any, **rest: Any) -> str:
        (error,) = self.order(*args, **rest)["error"]
        return str(error)

    def row(self, txid: str, **form: object) -> Any:
        return self.get("QueryOrders", txid=txid, **form)[txid]

    def touch(self, pair: str = "ETHUSD") -> tuple[float, float]:
        """Bid and offer."""
        (row,) = self.ask("Ticker", pair=pair).values()
        return float(row["b"][0]), float(row["a"][0])

    def near(self, fraction: float, pair: str = "ETHUSD", decimals: int = 2) -> str:
        """A price so far from the bid, on the grid."""
        return f"{self.touch(pair)[0] * fraction:.{decimals}f}"

    def wait(self, duration_ns: int) -> None:
        self.now_ns += duration_ns
        self.twin.advance(self.now_ns)

    def open(self) -> int:
        conn = self.twin.open("/v2", {}, self.now_ns)
        assert not isinstance(conn, Response), conn
        return conn

    def frame(self, conn: int, method: str, **params: object) -> None:
        self.twin.frame(conn, json.dumps({"method": method, "params": params, "req_id": 7}), self.now_ns)

    def frames(self, conn: int) -> list[Any]:
        """What the twin pushed to a connection since the last call, heartbeats left out."""
        pushed = [json.loads(frame) for number, frame in self.twin.drain() if number == conn and frame is not None]
        return [frame for frame in pushed if frame.get("channel") != "heartbeat"]

    def listen(self, *channels: str, **params: object) -> int:
        """A private connection that is subscribed; what it said so far is thrown away."""
        conn = self.open()
        token = self.get("GetWebSocketsToken")["token"]
        for channel in channels or ("executions",):
            self.frame(conn, "subscribe", channel=channel, token=token, **params)
        self.frames(conn)
        return conn
