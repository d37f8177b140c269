"""The twin's line for orders: /v5/trade, where changes come as frames. What becomes of the orders, the private stream says."""

from collections import deque
from collections.abc import Callable, Mapping

import msgspec

from trading_system.brokers.bybit import facts
from trading_system.brokers.bybit.twin.forms import JSON, MS, Refusal, bad
from trading_system.brokers.bybit.twin.gate import Crowded, Gate
from trading_system.brokers.bybit.twin.streams import Send

REPLY_NS = 5_000_000  # between a change and its reply: pybit loses one that comes at once
REQUEST_ID_MAX = 36
NAMES_MAX = 10_000  # request ids of one connection that are remembered
_PATHS = {op: path for path, op in facts.SOCKET_OPS.items()}
Change = Callable[[str, bytes], object]  # path and body, as by REST


class TradeCommand(msgspec.Struct, kw_only=True):
    """What a client says."""

    op: str
    args: list[msgspec.Raw] = []
    reqId: str | None = None  # noqa: N815 Bybit's name
    header: Mapping[str, str | int] = {}  # pybit's time is a number


class _Line:
    """One connection."""

    def __init__(self) -> None:
        self.logged_in = False
        self.names: dict[str, None] = {}


class TradeStreams:
    """Changes of orders by whoever has logged in. A request counts in the same windows as one by REST."""

    def __init__(self, gate: Gate, change: Change, send: Send) -> None:
        """change: makes it, or raises Refusal."""
        self._gate = gate
        self._change = change
        self._send = send
        self._due: deque[tuple[int, int, str]] = deque()  # when, to whom, what
        self.conns: dict[int, _Line] = {}

    def open(self, conn: int) -> None:
        self.conns[conn] = _Line()

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        line, command = self.conns[conn], _read(frame)
        if command is None:
            self._send(conn, _told(conn, "", {"retCode": 10001, "retMsg": "Params Error"}))
        elif command.op == "ping":
            self._send(conn, _told(conn, "pong", {"retCode": 0, "retMsg": "OK", "data": [str(now_ns // MS)]}))
        elif command.op == "auth":
            self._login(conn, line, command, now_ns)
        else:
            self._reply(conn, command, self._answer(line, command, now_ns), now_ns)

    def _login(self, conn: int, line: _Line, command: TradeCommand, now_ns: int) -> None:
        if line.logged_in:
            self._send(conn, _told(conn, "auth", {"retCode": 20001, "retMsg": "Repeat auth"}))
            return
        wrong = self._gate.check_login([msgspec.json.decode(arg) for arg in command.args], now_ns)
        line.logged_in = not wrong
        self._send(conn, _told(conn, "auth", {"retCode": 10004 if wrong else 0, "retMsg": wrong or "OK"}))
        if wrong:
            self._send(conn, None)

    def _answer(self, line: _Line, command: TradeCommand, now_ns: int) -> Mapping[str, object]:
        """The reply without what names it."""
        headers: Mapping[str, str] = {}
        try:
            path = self._path(line, command, now_ns)
            headers = self._gate.pass_by(path, now_ns)
            told: Mapping[str, object] = {"retCode": 0, "retMsg": "OK", "data": self._change(path, bytes(command.args[0]))}
        except Refusal as refusal:
            headers = refusal.headers if isinstance(refusal, Crowded) else headers
            told = {"retCode": refusal.code, "retMsg": refusal.message, "data": {}}
        shown = {name: headers[name.lower()] for name in (facts.LIMIT_HEADER, facts.LEFT_HEADER, facts.RESET_HEADER) if name.lower() in headers}
        return {**told, "retExtInfo": {}, "header": {**shown, "Timenow": str(now_ns // MS)}}

    def _path(self, line: _Line, command: TradeCommand, now_ns: int) -> str:
        """What is asked for, by its name at REST. Raises Refusal: a request that is not looked into."""
        if not line.logged_in:
            raise Refusal(10003, "API key is invalid.")
        if command.op not in _PATHS:
            raise Refusal(10404, "op type is not found")
        request_id = command.reqId or ""
        if len(request_id) > REQUEST_ID_MAX or len(command.args) != 1:
            raise bad("reqId or args invalid")
        if request_id in line.names:
            raise Refusal(20006, "Duplicate reqId")
        if request_id:
            line.names[request_id] = None
            if len(line.names) > NAMES_MAX:
                del line.names[next(iter(line.names))]
        given = {name.lower(): str(value) for name, value in command.header.items()}
        window = given.get(facts.WINDOW_HEADER.lower(), str(facts.RECV_WINDOW_MS))
        self._gate.check_time(given.get(facts.TIME_HEADER.lower(), ""), window, now_ns)
        return _PATHS[command.op]

    def _reply(self, conn: int, command: TradeCommand, told: Mapping[str, object], now_ns: int) -> None:
        named = {"reqId": command.reqId} if command.reqId else {}
        self._due.append((now_ns + REPLY_NS, conn, _told(conn, command.op, {**named, **told})))

    def advance(self, now_ns: int) -> None:
        """The replies that are due, to those who are still there."""
        while self._due and self._due[0][0] <= now_ns:
            _, conn, frame = self._due.popleft()
            if conn in self.conns:
                self._send(conn, frame)

    def next_event_ns(self) -> int | None:
        return self._due[0][0] if self._due else None


def _told(conn: int, op: str, message: Mapping[str, object]) -> str:
    return JSON.encode({**message, "op": op, "connId": f"twin-{conn}"}).decode()


def _read(frame: str | bytes) -> TradeCommand | None:
    try:
        return msgspec.json.decode(frame, type=TradeCommand)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
