"""The twin's WebSockets: trade_updates with its control frames, and the market data streams with theirs. Sans-IO: frames in, frames out."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import ClassVar, TypeVar

import msgspec

from trading_system.brokers.alpaca import facts, wire
from trading_system.brokers.alpaca.twin.data import Shower
from trading_system.brokers.alpaca.twin.forms import JSON, parse_time, when
from trading_system.brokers.alpaca.twin.trading import TradingDesk
from trading_system.domain.fix import ExecType, OrdStatus
from trading_system.domain.money import plain
from trading_system.sim.exchange import Event
from trading_system.sim.market import TICK_NS, TICKS, Market, Tick
from trading_system.sim.sessions import SECOND_NS, new_york_day, new_york_ns

T = TypeVar("T")
_MSGPACK = msgspec.msgpack.Encoder(decimal_format="number")
Frame = str | bytes | None  # None closes the connection
Send = Callable[[int, Frame], None]
CATCH_UP_TICKS = 4 * 60  # a stream that was not asked for longer than a minute skips what it missed: ticks are not queued
EVENTS: Mapping[ExecType, str] = {
    ExecType.PENDING_NEW: "pending_new",
    ExecType.NEW: "new",
    ExecType.TRADE: "partial_fill",
    ExecType.TRADE_CORRECT: "trade_correct",
    ExecType.TRADE_CANCEL: "trade_bust",
    ExecType.DONE_FOR_DAY: "done_for_day",
    ExecType.SUSPENDED: "suspended",
    ExecType.PENDING_CANCEL: "pending_cancel",
    ExecType.CANCELED: "canceled",
    ExecType.PENDING_REPLACE: "pending_replace",
    ExecType.REPLACED: "replaced",
    ExecType.EXPIRED: "expired",
    ExecType.REJECTED: "rejected",
    ExecType.ORDER_STATUS: "restated",
    ExecType.CANCEL_REJECTED: "order_cancel_rejected",
    ExecType.REPLACE_REJECTED: "order_replace_rejected",
}


class _OrderConn(msgspec.Struct):
    msgpack: bool
    authorized: bool = False
    listening: bool = False


class OrderStreams:
    """/stream: event frames for everyone who listens. binary: paper sends JSON in binary frames, live in text frames."""

    def __init__(self, desk: TradingDesk, send: Send, key: str, secret: str, *, binary: bool) -> None:
        self._desk = desk
        self._send = send
        self._key, self._secret = key, secret
        self._binary = binary
        self.conns: dict[int, _OrderConn] = {}

    def open(self, conn: int, *, msgpack: bool) -> None:
        self.conns[conn] = _OrderConn(msgpack)

    def frame(self, conn: int, frame: str | bytes) -> None:
        state = self.conns[conn]
        try:
            message = read_frame(frame, wire.StreamFrame)
            self._act(conn, state, message)
        except msgspec.DecodeError:
            self._control(conn, wire.StreamFrame(action="error", data=_raw(wire.StreamData(error_message="invalid message"))))

    def _act(self, conn: int, state: _OrderConn, message: wire.StreamFrame) -> None:
        if message.action in ("auth", "authenticate"):
            login = msgspec.json.decode(message.data, type=wire.StreamLogin)
            state.authorized = (login.key_id, login.secret_key) == (self._key, self._secret)
            self._authorization(conn, state, message.action)
        elif message.action == "listen" and not state.authorized:
            self._authorization(conn, state, "listen")
        elif message.action == "listen":
            wanted = msgspec.json.decode(message.data, type=wire.StreamData).streams or ()
            state.listening = "trade_updates" in wanted
            streams = ["trade_updates"] if state.listening else []
            self._control(conn, wire.StreamFrame(stream="listening", data=_raw(wire.StreamData(streams=streams))))
        else:
            self._control(conn, wire.StreamFrame(action="error", data=_raw(wire.StreamData(error_message="unknown action"))))

    def _authorization(self, conn: int, state: _OrderConn, action: str) -> None:
        data = wire.StreamData(status="authorized" if state.authorized else "unauthorized", action=action)
        self._control(conn, wire.StreamFrame(stream="authorization", data=_raw(data)))

    def _control(self, conn: int, message: wire.StreamFrame) -> None:
        self._send(conn, self._encoded(self.conns[conn], JSON.encode(message)))

    def _encoded(self, state: _OrderConn, body: bytes) -> str | bytes:
        if state.msgpack:
            return msgspec.msgpack.encode(msgspec.json.decode(body))
        return body if self._binary else body.decode()

    def publish(self, event: Event) -> None:
        listeners = [(conn, state) for conn, state in self.conns.items() if state.listening]
        if listeners:
            body = JSON.encode({"stream": "trade_updates", "data": trade_update(self._desk, event)})
            for conn, state in listeners:
                self._send(conn, self._encoded(state, body))


def trade_update(desk: TradingDesk, event: Event) -> wire.TradeUpdate:
    """`data` of an order's event, in Alpaca's words."""
    name, order = EVENTS[event.exec_type], desk.show(event.order)
    if event.exec_type is ExecType.TRADE and event.order.ord_status is OrdStatus.FILLED:
        name = "fill"
    elif event.exec_type in (ExecType.PENDING_NEW, ExecType.NEW) and order.status in ("accepted", "held"):
        name = order.status
    update = wire.TradeUpdate(event=name, order=order, timestamp=when(event.transact_ns))
    done = event.execution
    if done is not None:
        update.execution_id = done.exec_id
        update.price, update.qty, update.position_qty = plain(done.price), plain(done.qty), plain(done.position_qty)
    return update


class DataConn(msgspec.Struct):
    """A data stream's client: what it has asked for."""

    feed: str
    msgpack: bool
    deadline_ns: int
    authenticated: bool = False
    lists: dict[str, set[str]] = {}


class DataStreams:
    """/v2/iex, /v2/sip, /v2/test, /v1beta3/crypto/us: quotes, trades and bars as the market ticks."""

    FEEDS: ClassVar[Mapping[str, str]] = {
        "/v2/iex": "iex",
        "/v2/sip": "sip",
        "/v2/test": "test",
        "/v1beta3/crypto/us": "crypto",
    }
    LISTS = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds", "orderbooks")

    def __init__(self, market: Market, showers: Mapping[str, Shower], send: Send, key: str, secret: str, *, sip: bool, symbol_limit: int) -> None:
        self._market = market
        self._showers = showers
        self._send = send
        self._key, self._secret = key, secret
        self._sip = sip
        self._symbol_limit = symbol_limit
        self._tick = 0  # the last one published
        self._quoted: dict[str, tuple[tuple[tuple[int, int], ...], ...]] = {}
        self.conns: dict[int, DataConn] = {}

    def open(self, conn: int, path: str, now_ns: int, *, msgpack: bool) -> None:
        self.conns[conn] = DataConn(self.FEEDS[path], msgpack, now_ns + facts.STREAM_LOGIN_NS, lists={name: set() for name in self.LISTS})
        self._tell(conn, {"T": "success", "msg": "connected"})

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        state = self.conns[conn]
        try:
            action = read_frame(frame, wire.DataAction)
        except msgspec.DecodeError:
            self._error(conn, 400, "invalid syntax")
            return
        if action.action == "auth":
            self._auth(conn, state, action)
        elif not state.authenticated:
            self._error(conn, 401, "not authenticated")
        elif action.action in ("subscribe", "unsubscribe"):
            self._subscribe(conn, state, action, now_ns)
        else:
            self._error(conn, 400, "invalid syntax")

    def _auth(self, conn: int, state: DataConn, action: wire.DataAction) -> None:
        if state.authenticated:
            self._error(conn, 403, "already authenticated")
        elif (action.key, action.secret) != (self._key, self._secret):
            self._error(conn, 402, "auth failed")
        elif state.feed in ("sip", "opra") and not self._sip:
            self._error(conn, 409, "insufficient subscription")
        elif any(other.authenticated and other.feed == state.feed for other in self.conns.values()):
            self._error(conn, 406, "connection limit exceeded")
            self._send(conn, None)
        else:
            state.authenticated = True
            self._tell(conn, {"T": "success", "msg": "authenticated"})

    def _subscribe(self, conn: int, state: DataConn, action: wire.DataAction, now_ns: int) -> None:
        wanted = {name: set(getattr(action, name)) for name in self.LISTS}
        if action.action == "unsubscribe":
            after = {name: state.lists[name] - wanted[name] for name in self.LISTS}
        else:
            after = {name: state.lists[name] | wanted[name] for name in self.LISTS}
        if len(after["trades"]) > self._symbol_limit or len(after["quotes"]) > self._symbol_limit:
            self._error(conn, 405, "symbol limit exceeded")
            return
        state.lists = after
        if self._tick == 0 or not self._subscribed():
            self._tick = now_ns // TICK_NS
        self._tell(conn, {"T": "subscription", **self._lists(state)})

    @staticmethod
    def _lists(state: DataConn) -> Mapping[str, list[str]]:
        names = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "orderbooks") if state.feed == "crypto" else DataStreams.LISTS[:-1]
        shown = {name: sorted(state.lists[name]) for name in names}
        if state.feed != "crypto":
            shown |= {"corrections": shown["trades"], "cancelErrors": shown["trades"]}
        return shown

    def _subscribed(self) -> bool:
        return any(any(state.lists.values()) for state in self.conns.values())

    def next_event_ns(self) -> int | None:
        deadlines = [state.deadline_ns for state in self.conns.values() if not state.authenticated]
        ticks = [(self._tick + 1) * TICK_NS] if self._subscribed() and self._tick else []
        return min(deadlines + ticks, default=None)

    def advance(self, now_ns: int) -> None:
        for conn, state in list(self.conns.items()):
            if not state.authenticated and state.deadline_ns <= now_ns:
                self._error(conn, 404, "auth timeout")
                self._send(conn, None)
                state.deadline_ns = 1 << 63
        if self._tick and self._subscribed():
            last = now_ns // TICK_NS
            for number in range(max(self._tick + 1, last - CATCH_UP_TICKS + 1), last + 1):
                self._publish(number)
            self._tick = max(self._tick, last)

    def _publish(self, number: int) -> None:
        """Everything that one tick means to anybody, each connection's part as one frame."""
        minute_over = number % TICKS == 0
        made: dict[tuple[str, str], msgspec.Struct | None] = {}
        ticks: dict[str, Tick] = {}
        moved: set[str] = set()
        for conn, state in self.conns.items():
            messages: list[msgspec.Struct] = []
            for symbol in self._symbols(state):
                tick = ticks.get(symbol) or ticks.setdefault(symbol, self._market.tick(symbol, number))
                touch = (tick.bids[:1], tick.asks[:1])
                if self._quoted.get(symbol) != touch:
                    self._quoted[symbol] = touch
                    moved.add(symbol)
                for kind in self._kinds(state, symbol, tick, moved=symbol in moved, minute_over=minute_over):
                    if (symbol, kind) not in made:
                        made[symbol, kind] = self._message(kind, symbol, tick)
                    message = made[symbol, kind]
                    if message is not None:
                        messages.append(message)
            if messages:
                self._send(conn, _msgpack(messages) if state.msgpack else JSON.encode(messages).decode())

    def _symbols(self, state: DataConn) -> list[str]:
        named = set().union(*state.lists.values())
        if "*" in named:
            named |= {name for name in self._showers if name != facts.TEST_SYMBOL}
        return [name for name in sorted(named) if self._carries(state.feed, name)]

    def _carries(self, feed: str, name: str) -> bool:
        if name not in self._showers:
            return False
        match feed:
            case "crypto":
                return "/" in name
            case "test":
                return name == facts.TEST_SYMBOL
            case _:
                return "/" not in name and name != facts.TEST_SYMBOL

    def _kinds(self, state: DataConn, symbol: str, tick: Tick, *, moved: bool, minute_over: bool) -> list[str]:
        open_now = self._market.listings[symbol].sessions.is_open(tick.time_ns, extended=True)
        was_open = minute_over and self._market.listings[symbol].sessions.is_open(tick.time_ns - 1, extended=True)
        happened = {
            "trades": open_now and tick.printed is not None,
            "quotes": open_now and moved,
            "bars": was_open,
            "dailyBars": was_open,
            "orderbooks": open_now and moved,
        }
        return [kind for kind, yes in happened.items() if yes and ("*" in state.lists[kind] or symbol in state.lists[kind])]

    def _message(self, kind: str, symbol: str, tick: Tick) -> msgspec.Struct | None:
        shower = self._showers[symbol]
        match kind:
            case "trades":
                assert tick.printed is not None
                return _tagged(wire.TradeMsg, shower.trade(tick.printed), symbol)
            case "quotes":
                return _tagged(wire.QuoteMsg, shower.quote(tick), symbol)
            case "orderbooks":
                book = shower.book(tick)
                return wire.BookMsg(S=symbol, t=book.t, b=book.b, a=book.a, r=True)
            case "bars":
                bar = self._market.last_bar(symbol, tick.time_ns)
                return None if bar is None else _tagged(wire.BarMsg, shower.bar(bar), symbol)
            case _:
                day_ns = new_york_ns(new_york_day(tick.time_ns - SECOND_NS), 0)
                bar = self._market.bar(symbol, day_ns, self._market.minutes(symbol, day_ns, tick.time_ns))
                return None if bar is None else _tagged(wire.DailyBarMsg, shower.bar(bar), symbol)

    def _error(self, conn: int, code: int, text: str) -> None:
        self._tell(conn, {"T": "error", "code": code, "msg": text})

    def _tell(self, conn: int, message: Mapping[str, object]) -> None:
        self._send(conn, msgspec.msgpack.encode([message]) if self.conns[conn].msgpack else JSON.encode([message]).decode())


def slow_reader() -> str:
    """What a data stream says to a reader that falls behind, before it closes."""
    return JSON.encode([{"T": "error", "code": 407, "msg": "slow client"}]).decode()


def read_frame(frame: str | bytes, kind: type[T]) -> T:
    """A client's frame: JSON in a text or a binary frame, or msgpack. Raises msgspec.DecodeError."""
    if isinstance(frame, bytes) and frame[:1] not in (b"{", b"["):
        frame = JSON.encode(msgspec.msgpack.decode(frame))
    return msgspec.json.decode(frame, type=kind)


def _raw(value: msgspec.Struct) -> msgspec.Raw:
    return msgspec.Raw(JSON.encode(value))


def _tagged(kind: type[wire.TradeMsg | wire.QuoteMsg | wire.BarMsg | wire.DailyBarMsg], entry: msgspec.Struct, symbol: str) -> msgspec.Struct:
    return kind(S=symbol, **msgspec.structs.asdict(entry))


def _msgpack(messages: Sequence[msgspec.Struct]) -> bytes:
    """Numbers as doubles, t as msgpack's Timestamp extension (type -1, 64 bits: nanoseconds << 34 | seconds)."""
    shown = []
    for message in messages:
        plain_message = msgspec.to_builtins(message, builtin_types=(Decimal,))
        seconds, nanoseconds = divmod(parse_time(plain_message["t"], "t"), SECOND_NS)
        plain_message["t"] = msgspec.msgpack.Ext(-1, (nanoseconds << 34 | seconds).to_bytes(8, "big"))
        shown.append(plain_message)
    return _MSGPACK.encode(shown)
