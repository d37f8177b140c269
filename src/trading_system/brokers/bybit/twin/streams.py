"""The twin's WebSockets: the private one with its login, and the public ones of each category. Sans-IO: frames in, frames out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trading_system.brokers.bybit import facts, wire
from trading_system.brokers.bybit.twin.data import INTERVALS, Levels, MarketData, floor, levels, stream_trade
from trading_system.brokers.bybit.twin.forms import JSON, MS
from trading_system.brokers.bybit.twin.gate import Gate
from trading_system.brokers.bybit.twin.universe import Product, Universe
from trading_system.sim.market import TICK_NS, Market, Tick

Frame = str | bytes | None  # None closes the connection
Send = Callable[[int, Frame], None]
CATCH_UP_TICKS = 4 * 60  # a stream that was not asked for longer than a minute skips what it missed
REPEAT_TICKS = 12  # the best prices are told again after three seconds of silence
PRIVATE_TOPICS = ("order", "execution", "position", "wallet")
_KLINE_TICKS = 4  # a bar is told every second
_DEPTHS = {category: ("25", "100") if category == facts.OPTION else ("1", "50", "200", "1000") for category in facts.CATEGORIES}


class Command(msgspec.Struct, kw_only=True):
    """What a client says."""

    op: str
    args: list[Any] = []
    req_id: str | int | None = None


class _Private(msgspec.Struct):
    logged_in: bool = False
    topics: set[str] = set()


class PrivateStreams:
    """/v5/private: orders, executions, positions and wallet of whoever has logged in. Nothing is replayed, and there is no snapshot."""

    def __init__(self, gate: Gate, send: Send) -> None:
        self._gate = gate
        self._send = send
        self.conns: dict[int, _Private] = {}
        self._frames = 0

    def open(self, conn: int) -> None:
        self.conns[conn] = _Private()

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        state, command = self.conns[conn], _read(frame)
        if command is None:
            self._reply(conn, None, success=False, ret_msg="Params Error", op="")
        elif command.op == "ping":
            self._tell(conn, {"req_id": _named(command), "op": "pong", "args": [str(now_ns // MS)], "conn_id": _conn_id(conn)})
        elif command.op == "auth":
            wrong = self._gate.check_login(command.args, now_ns)
            state.logged_in = not wrong
            self._reply(conn, command, success=not wrong, ret_msg=wrong, op="auth")
            if wrong:
                self._send(conn, None)
        elif not state.logged_in:
            self._reply(conn, command, success=False, ret_msg="Request not authorized", op=command.op)
        elif command.op in ("subscribe", "unsubscribe"):
            self._subscribe(conn, state, command)
        else:
            self._reply(conn, command, success=False, ret_msg="unknown op", op=command.op)

    def _subscribe(self, conn: int, state: _Private, command: Command) -> None:
        odd = next((topic for topic in command.args if str(topic).partition(".")[0] not in PRIVATE_TOPICS), None)
        if odd is not None:
            self._reply(conn, command, success=False, ret_msg=f"error:handler not found,topic:{odd}", op=command.op)
            return
        wanted = set(map(str, command.args))
        state.topics = state.topics | wanted if command.op == "subscribe" else state.topics - wanted
        self._reply(conn, command, success=True, ret_msg="", op=command.op)

    def publish(self, topic: str, category: str, rows: Sequence[object], now_ns: int) -> None:
        """One frame for everyone who wants the topic, of all categories or of this one."""
        wanting = [conn for conn, state in self.conns.items() if state.topics & {topic, f"{topic}.{category}"}]
        if not wanting:
            return
        self._frames += 1
        body = JSON.encode({"id": f"{self._frames:x}", "topic": topic, "creationTime": now_ns // MS, "data": rows}).decode()
        for conn in wanting:
            self._send(conn, body)

    def _reply(self, conn: int, command: Command | None, *, success: bool, ret_msg: str, op: str) -> None:
        named = {} if command is None or command.req_id is None else {"req_id": _named(command)}
        self._tell(conn, {"success": success, "ret_msg": ret_msg, "op": op, "conn_id": _conn_id(conn), **named})

    def _tell(self, conn: int, message: Mapping[str, object]) -> None:
        self._send(conn, JSON.encode(message).decode())


class _Public(msgspec.Struct):
    category: str
    topics: dict[str, bool] = {}  # whether its first snapshot was told


class _Shown:
    """A book as it was last told, and how often it changed."""

    def __init__(self) -> None:
        self.update = 1
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self.tick = 0


class PublicStreams:
    """/v5/public/{spot,linear,option}: books, trades, tickers and bars as the market ticks."""

    def __init__(self, universe: Universe, market: Market, data: MarketData, send: Send) -> None:
        self._universe = universe
        self._market = market
        self._data = data
        self._send = send
        self._tick = 0  # the last one published
        self._books: dict[tuple[str, str], _Shown] = {}  # by market and depth
        self._tickers: dict[str, Mapping[str, str]] = {}  # by market: as last told
        self.conns: dict[int, _Public] = {}

    def open(self, conn: int, category: str) -> None:
        self.conns[conn] = _Public(category)

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        state, command = self.conns[conn], _read(frame)
        if command is None:
            self._tell(conn, {"success": False, "ret_msg": "Params Error", "conn_id": _conn_id(conn), "op": ""})
        elif command.op == "ping" and state.category == facts.OPTION:
            self._tell(conn, {"args": [str(now_ns // MS)], "op": "pong"})
        elif command.op == "ping":
            self._tell(conn, {"success": True, "ret_msg": "pong", "conn_id": _conn_id(conn), "req_id": _named(command), "op": "ping"})
        elif command.op in ("subscribe", "unsubscribe"):
            self._subscribe(conn, state, command, now_ns)
        else:
            self._tell(conn, {"success": False, "ret_msg": "unknown op", "conn_id": _conn_id(conn), "op": command.op})

    def _subscribe(self, conn: int, state: _Public, command: Command, now_ns: int) -> None:
        topics = [str(topic) for topic in command.args]
        strange = [topic for topic in topics if self._read_topic(state.category, topic) is None]
        odd = strange[0] if strange else None
        text = "subscribe" if state.category == facts.SPOT else ""
        if odd is not None or (state.category == facts.SPOT and len(topics) > facts.TOPICS_MAX):
            text = f"error:handler not found,topic:{odd}" if odd is not None else "args size >10"
        refused = text.startswith(("error", "args"))
        if not refused and self._tick == 0:
            self._tick = now_ns // TICK_NS
        for topic in () if refused else topics:
            if command.op == "subscribe":
                state.topics[topic] = False
            else:
                state.topics.pop(topic, None)
        if state.category == facts.OPTION:
            told = {"failTopics": strange, "successTopics": [topic for topic in topics if topic not in strange]}
            self._tell(conn, {"success": not refused, "conn_id": _conn_id(conn), "data": told, "type": "COMMAND_RESP"})
        else:
            self._tell(conn, {"success": not refused, "ret_msg": text, "conn_id": _conn_id(conn), "req_id": _named(command), "op": command.op})
        if not refused and command.op == "subscribe":
            self._first(conn, state, now_ns)

    def _first(self, conn: int, state: _Public, now_ns: int) -> None:
        """Books and tickers begin with a snapshot of how they were last told."""
        for topic, began in state.topics.items():
            if began:
                continue
            state.topics[topic] = True
            found = self._read_topic(state.category, topic)
            assert found is not None
            kind, middle, (product, *_) = found
            if kind == "orderbook":
                shown = self._books.get((product.name, middle))
                if shown is None or shown.tick < self._tick:
                    shown, _ = self._moved(product, middle, self._market.tick(product.name, self._tick))
                self._book(conn, topic, product, shown, "snapshot", list(shown.bids.items()), list(shown.asks.items()), now_ns)
            elif kind == "tickers":
                self._publish_ticker(conn, topic, product, self._told(product, now_ns), "snapshot", now_ns)

    def _read_topic(self, category: str, topic: str) -> tuple[str, str, list[Product]] | None:
        """Kind, what stands in the middle, and whose it is; None: there is no such topic. Trades of options are all those on a coin."""
        kind, _, rest = topic.partition(".")
        middle, _, symbol = rest.rpartition(".")
        options = category == facts.OPTION
        bars = not options and middle in INTERVALS
        there = {"orderbook": middle in _DEPTHS[category], "kline": bars, "publicTrade": not middle, "tickers": not middle}
        if options and kind == "publicTrade":
            products = [product for product in self._universe.of(category) if product.base == symbol]
        else:
            products = [product for product in (self._universe.products.get((category, symbol)),) if product is not None]
        return (kind, middle, products) if products and there.get(kind, False) else None

    # -- time ------------------------------------------------------------------------------------------------------------------------------------

    def _subscribed(self) -> bool:
        return any(state.topics for state in self.conns.values())

    def next_event_ns(self) -> int | None:
        return (self._tick + 1) * TICK_NS if self._tick and self._subscribed() else None

    def advance(self, now_ns: int) -> None:
        if not self._tick:
            return
        last = now_ns // TICK_NS
        if self._subscribed():
            for number in range(max(self._tick + 1, last - CATCH_UP_TICKS + 1), last + 1):
                self._publish(number)
        self._tick = max(self._tick, last)

    def _publish(self, number: int) -> None:
        """Everything that one tick means to anybody."""
        wanted: dict[tuple[str, str], list[int]] = {}
        for conn, state in self.conns.items():
            for topic in state.topics:
                wanted.setdefault((state.category, topic), []).append(conn)
        now_ns = number * TICK_NS
        for (category, topic), conns in wanted.items():
            found = self._read_topic(category, topic)
            assert found is not None
            kind, middle, products = found
            product = products[0]
            match kind:
                case "orderbook":
                    self._tell_book(conns, topic, product, middle, self._market.tick(product.name, number))
                case "publicTrade":
                    rows = self._trades(products, number)
                    if rows:
                        self._all(conns, {"topic": topic, "type": "snapshot", "ts": now_ns // MS, "data": rows})
                case "tickers":
                    self._tell_ticker(conns, topic, product, now_ns)
                case "kline" if number % _KLINE_TICKS == 0:
                    self._tell_bar(conns, topic, product, middle, now_ns)
                case _:
                    pass

    def _trades(self, products: list[Product], number: int) -> list[wire.StreamTrade]:
        """Options trade only as their coin does."""
        if products[0].contract is not None and self._market.tick(products[0].pair, number).printed is None:
            return []
        return [stream_trade(product, printed) for product in products if (printed := self._market.tick(product.name, number).printed) is not None]

    def _moved(self, product: Product, depth: str, tick: Tick) -> tuple[_Shown, tuple[Levels, Levels]]:
        """The book as it is now, and what changed since it was last told."""
        key = (product.name, depth)
        shown = self._books.setdefault(key, _Shown())
        bids, asks = (dict(side) for side in levels(product, tick, int(depth)))
        changes = _changes(shown.bids, bids), _changes(shown.asks, asks)
        if any(changes):
            shown.update += 1
            shown.bids, shown.asks = bids, asks
        shown.tick = tick.number
        return shown, changes

    def _tell_book(self, conns: list[int], topic: str, product: Product, depth: str, tick: Tick) -> None:
        shown, changes = self._moved(product, depth, tick)
        now_ns = tick.time_ns
        if depth == "1":  # snapshots alone, and again when nothing moves
            if any(changes) or tick.number % REPEAT_TICKS == 0:
                for conn in conns:
                    self._book(conn, topic, product, shown, "snapshot", list(shown.bids.items()), list(shown.asks.items()), now_ns)
        elif any(changes):
            for conn in conns:
                self._book(conn, topic, product, shown, "delta", *changes, now_ns)

    def _book(self, conn: int, topic: str, product: Product, shown: _Shown, kind: str, bids: Levels, asks: Levels, now_ns: int) -> None:
        data = wire.StreamBook(s=product.symbol, b=bids, a=asks, u=shown.update, seq=shown.tick)
        self._tell(conn, {"topic": topic, "type": kind, "ts": now_ns // MS, "data": data, "cts": now_ns // MS})

    def _tell_bar(self, conns: list[int], topic: str, product: Product, interval: str, now_ns: int) -> None:
        """The bar that has just ended, else the one that runs."""
        bar = self._data.stream_kline(product, floor(now_ns - 1, INTERVALS[interval]), interval, now_ns)
        if bar is not None:
            self._all(conns, {"topic": topic, "data": [bar], "ts": now_ns // MS, "type": "snapshot"})

    def _told(self, product: Product, now_ns: int) -> Mapping[str, str]:
        ticker = self._data.stream_ticker(product, now_ns)
        self._tickers[product.name] = ticker
        return ticker

    def _tell_ticker(self, conns: list[int], topic: str, product: Product, now_ns: int) -> None:
        """Of a swap only what changed; of a pair or an option all of it, when anything has."""
        before = self._tickers.get(product.name, {})
        ticker = self._told(product, now_ns)
        changed = {name: value for name, value in ticker.items() if before.get(name) != value}
        if changed:
            for conn in conns:
                kind, data = ("delta", {"symbol": product.symbol, **changed}) if product.margined else ("snapshot", ticker)
                self._publish_ticker(conn, topic, product, data, kind, now_ns)

    def _publish_ticker(self, conn: int, topic: str, product: Product, data: Mapping[str, str], kind: str, now_ns: int) -> None:
        self._tell(conn, {"topic": topic, "type": kind, "data": data, "cs": now_ns // TICK_NS, "ts": now_ns // MS})

    def _all(self, conns: list[int], message: Mapping[str, object]) -> None:
        for conn in conns:
            self._tell(conn, message)

    def _tell(self, conn: int, message: Mapping[str, object]) -> None:
        self._send(conn, JSON.encode(message).decode())


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> Levels:
    """What a delta says: new and changed prices, and those that went with size 0."""
    new = [(price, size) for price, size in after.items() if before.get(price) != size]
    return new + [(price, "0") for price in before if price not in after]


def _read(frame: str | bytes) -> Command | None:
    try:
        return msgspec.json.decode(frame, type=Command)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _named(command: Command) -> str:
    return "" if command.req_id is None else str(command.req_id)


def _conn_id(conn: int) -> str:
    return f"twin-{conn}"
