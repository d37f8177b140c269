"""Binance's two sockets: the WebSocket API with the account's events, and the market streams, raw and combined."""

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qs

import msgspec

from trading_system.brokers.binance import facts, wire
from trading_system.brokers.binance.twin.data import PERIODS, MarketData
from trading_system.brokers.binance.twin.forms import JSON, MS, Ed25519, Params, Prover, Refusal, check_time, missing, shown
from trading_system.brokers.binance.twin.trading import TradingDesk
from trading_system.domain.fix import ExecType
from trading_system.sim.exchange import Event
from trading_system.sim.market import TICK_NS
from trading_system.sim.sessions import DAY_NS, MINUTE_NS, SECOND_NS

Send = Callable[[int, str | bytes | None], None]
Call = Callable[[str, Params, bool], object]  # method of the WebSocket API, parameters, whether they were signed
FRAMES_PER_SECOND = 5  # that a market stream takes
KLINE_EVERY = 8  # ticks: two seconds
LIFE_NS = DAY_NS  # of a connection
_EVENTS = {
    ExecType.PENDING_NEW: "NEW",  # of one that waits for another
    ExecType.NEW: "NEW",
    ExecType.REJECTED: "REJECTED",
    ExecType.TRADE: "TRADE",
    ExecType.CANCELED: "CANCELED",
    ExecType.EXPIRED: "EXPIRED",
}
_ORDERING = ("order.", "openOrders.cancelAll", "orderList.")  # methods whose answers count orders too
_SUBSCRIBE = "userDataStream.subscribe.signature"
_SUBSCRIBES = (_SUBSCRIBE, "userDataStream.subscribe")
_SHUTDOWN = "serverShutdown"


class SocketApi:
    """Requests as frames, and events of the account where they were asked for."""

    def __init__(
        self, desk: TradingDesk, call: Call, send: Send, key: str, prover: Prover, limits: Callable[[bool], object], wait_s: Callable[[int], int]
    ) -> None:
        """limits: what is used of the budgets, those for orders included or not. wait_s: until calls are let in again."""
        self.conns: dict[int, int | None] = {}  # the subscription of each connection
        self._ends_ns: dict[int, int] = {}
        self._desk = desk
        self._call = call
        self._send = send
        self._key, self._prover = key, prover
        self._logged_ns: dict[int, int] = {}  # connections that have logged on: when
        self._limits = limits
        self._wait_s = wait_s
        self._reports = 0
        self._subscriptions = 0

    def open(self, conn: int, now_ns: int) -> None:
        self.conns[conn] = None
        self._ends_ns[conn] = now_ns + LIFE_NS

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        try:
            request = msgspec.json.decode(frame)
            method, params = request["method"].removeprefix("v3/"), request.get("params") or {}
            words = {name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in params.items()}
        except (msgspec.MsgspecError, AttributeError, KeyError, TypeError):
            self._send(conn, JSON.encode({"id": None, "status": 400, "error": {"code": -1100, "msg": "Illegal frame."}}).decode())
            return
        answer: dict[str, object] = {"id": request.get("id"), "status": 200}
        try:
            answer["result"] = self._done(conn, method, words, now_ns)
        except Refusal as refusal:
            answer |= {"status": refusal.status, "error": {**refusal.body, **self._until(refusal, now_ns)}}
        if words.get("returnRateLimits") != "false":
            answer["rateLimits"] = self._limits(method.startswith(_ORDERING))
        self._send(conn, JSON.encode(answer).decode())

    def _until(self, refusal: Refusal, now_ns: int) -> Mapping[str, object]:
        """With a budget that is spent, until when to wait."""
        if refusal.status not in (418, 429):
            return {}
        return {"data": {"serverTime": now_ns // MS, "retryAfter": (now_ns + self._wait_s(now_ns) * SECOND_NS) // MS}}

    def _done(self, conn: int, method: str, params: Params, now_ns: int) -> object:
        signed = "signature" in params
        if signed:
            self._authorize(params, now_ns)
        elif conn in self._logged_ns and "timestamp" in params:
            check_time(params, now_ns)
            signed = True
        if method.startswith("session."):
            return self._session(conn, method, now_ns, signed=signed)
        if method in _SUBSCRIBES:
            if not signed and (method == _SUBSCRIBE or conn not in self._logged_ns):
                raise missing("signature")
            if self.conns[conn] is not None:
                raise Refusal(400, -2035, "User Data Stream subscription already active.")
            self.conns[conn] = self._subscriptions
            self._subscriptions += 1
            return {"subscriptionId": self.conns[conn]}
        if method == "userDataStream.unsubscribe":
            if self.conns[conn] is None:
                raise Refusal(400, -2036, "User Data Stream subscription not active.")
            self.conns[conn] = None
            return {}
        return self._call(method, {name: value for name, value in params.items() if name not in ("apiKey", "signature")}, signed)

    def _session(self, conn: int, method: str, now_ns: int, *, signed: bool) -> object:
        """A connection that has once proved who it is needs no more signatures. Raises Refusal: only Ed25519 keys may."""
        if method == "session.subscriptions":
            return [] if self.conns[conn] is None else [{"subscriptionId": self.conns[conn]}]
        if method == "session.logon":
            if not signed:
                raise missing("signature")
            if not isinstance(self._prover, Ed25519):
                raise Refusal(400, -4056, "HMAC_SHA256 API key is not supported.")
            self._logged_ns[conn] = now_ns
        elif method == "session.logout":
            self._logged_ns.pop(conn, None)
        elif method != "session.status":
            raise Refusal(400, -1000, f"Unknown method: {method}")
        since_ns = self._logged_ns.get(conn)
        return {
            "apiKey": None if since_ns is None else self._key,
            "authorizedSince": None if since_ns is None else since_ns // MS,
            "connectedSince": (self._ends_ns[conn] - LIFE_NS) // MS,
            "returnRateLimits": True,
            "serverTime": now_ns // MS,
            "userDataStream": self.conns[conn] is not None,
        }

    def _authorize(self, params: Params, now_ns: int) -> None:
        """Signed are the parameters by name, not percent-encoded."""
        if params.get("apiKey") != self._key:
            raise Refusal(401, -2015, "Invalid API-key, IP, or permissions for action.")
        payload = "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")
        if not self._prover.proves(payload, params["signature"]):
            raise Refusal(400, -1022, "Signature for this request is not valid.")
        check_time(params, now_ns)

    def publish(self, events: Iterable[Event]) -> None:
        """Reports of what happened, then the balances that it changed."""
        assets: dict[str, None] = {}
        now_ms = 0
        for event in events:
            if event.exec_type in _EVENTS and (event.exec_type is not ExecType.PENDING_NEW or event.order.dormant):
                exec_type = _EVENTS[event.exec_type]
                if exec_type == "CANCELED" and self._desk.status(event.order) == "EXPIRED":
                    exec_type = "EXPIRED"
                self._reports += 1
                self._push(self._desk.report(event, exec_type, self._reports))
                now_ms = event.transact_ns // MS
                assets |= dict.fromkeys((self._desk.data.universe.pairs[event.order.symbol].base, facts.QUOTE))
        if assets:
            for status in self._desk.lists.news(now_ms):
                self._push(status)
            self.tell_balances(assets, now_ms)

    def tell_balances(self, assets: Iterable[str], now_ms: int) -> None:
        balances = self._desk.balances()
        changed = [wire.AccountBalance(asset=asset, free=shown(balances[asset][0]), locked=shown(balances[asset][1])) for asset in assets]
        self._push(wire.AccountPosition(event="outboundAccountPosition", event_time=now_ms, update_time=now_ms, balances=changed))

    def _push(self, event: object) -> None:
        for conn, subscription in self.conns.items():
            if subscription is not None:
                self._send(conn, JSON.encode({"subscriptionId": subscription, "event": event}).decode())

    def advance(self, now_ns: int) -> None:
        for conn in [conn for conn, ends_ns in self._ends_ns.items() if ends_ns <= now_ns]:
            self._send(conn, JSON.encode({"event": {"e": _SHUTDOWN, "E": now_ns // MS}}).decode())
            self._send(conn, None)
            self.closed(conn)

    def next_event_ns(self) -> int | None:
        return min(self._ends_ns.values(), default=None)

    def closed(self, conn: int) -> None:
        self.conns.pop(conn, None)
        self._ends_ns.pop(conn, None)
        self._logged_ns.pop(conn, None)


class _Conn:
    """One market connection."""

    def __init__(self, now_ns: int, *, combined: bool) -> None:
        self.combined = combined
        self.ends_ns = now_ns + LIFE_NS
        self.streams: dict[str, None] = {}
        self.second = 0  # that is being counted
        self.frames = 0  # in it


_PARTS = {f"depth{levels}": levels for levels in (5, 10, 20)}
_ALL_MINI = "!miniTicker@arr"


class MarketStreams:
    """Trades, best prices, books, klines and the day's figures of any pair, tick by tick. A stream's name that does not exist is taken and stays
    silent."""

    def __init__(self, data: MarketData, send: Send, start_ns: int) -> None:
        self.conns: dict[int, _Conn] = {}
        self._data = data
        self._send = send
        self._tick = start_ns // TICK_NS
        self._best: dict[str, tuple[object, object]] = {}  # bid and offer as last told, by symbol
        self._books: dict[str, tuple[int, Mapping[str, str], Mapping[str, str]]] = {}  # by stream: number, bids and offers as last told

    def open(self, conn: int, path: str, query: str, now_ns: int) -> None:
        opened = self.conns[conn] = _Conn(now_ns, combined=path.startswith("/stream"))
        names = parse_qs(query).get("streams", [""])[0].split("/") if opened.combined else path.removeprefix("/ws").strip("/").split("/")
        opened.streams |= dict.fromkeys(name for name in names if "@" in name)

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        opened = self.conns[conn]
        if now_ns // SECOND_NS != opened.second:
            opened.second, opened.frames = now_ns // SECOND_NS, 0
        opened.frames += 1
        if opened.frames > FRAMES_PER_SECOND:
            self._send(conn, None)
            self.closed(conn)
            return
        try:
            request = msgspec.json.decode(frame)
            method, names, number = request["method"], request.get("params") or [], request.get("id")
        except (msgspec.MsgspecError, AttributeError, KeyError, TypeError):
            self._send(conn, JSON.encode({"code": 2, "msg": "Invalid request: the frame cannot be read"}).decode())
            return
        result: object = None
        if method == "SUBSCRIBE":
            opened.streams |= dict.fromkeys(names)
            if len(opened.streams) > facts.STREAMS_MAX:
                self._send(conn, None)
                self.closed(conn)
                return
        elif method == "UNSUBSCRIBE":
            for name in names:
                opened.streams.pop(name, None)
        elif method == "LIST_SUBSCRIPTIONS":
            result = list(opened.streams)
        else:
            self._send(conn, JSON.encode({"code": 2, "msg": f"Invalid request: unknown method {method}", "id": number}).decode())
            return
        self._send(conn, JSON.encode({"result": result, "id": number}).decode())
        if method == "SUBSCRIBE":
            for name in names:
                self._tell(name, now_ns // TICK_NS, {conn: opened}, first=True)

    def advance(self, now_ns: int) -> None:
        for conn in [conn for conn, opened in self.conns.items() if opened.ends_ns <= now_ns]:
            shutdown: dict[str, object] = {"e": _SHUTDOWN, "E": now_ns // MS}
            self._send(conn, JSON.encode({"stream": f"!{_SHUTDOWN}", "data": shutdown} if self.conns[conn].combined else shutdown).decode())
            self._send(conn, None)
            self.closed(conn)
        if not any(opened.streams for opened in self.conns.values()):
            self._tick = now_ns // TICK_NS
            self._best.clear()
            self._books.clear()
        while self._tick < now_ns // TICK_NS:
            self._tick += 1
            for name in dict.fromkeys(name for opened in self.conns.values() for name in opened.streams):
                self._tell(name, self._tick, {conn: opened for conn, opened in self.conns.items() if name in opened.streams})

    def next_event_ns(self) -> int | None:
        if any(opened.streams for opened in self.conns.values()):
            return (self._tick + 1) * TICK_NS
        return min((opened.ends_ns for opened in self.conns.values()), default=None)

    def closed(self, conn: int) -> None:
        self.conns.pop(conn, None)

    def _tell(self, name: str, tick: int, conns: Mapping[int, _Conn], *, first: bool = False) -> None:
        """What one stream has to say at one tick."""
        low, _, kind = name.partition("@")
        symbol = low.upper()
        message: object | None = None
        if name == _ALL_MINI:
            message = [self._mini(one, tick) for one in self._data.universe.pairs] if _on_the_second(tick) and not first else None
        elif symbol in self._data.universe.pairs and kind == "bookTicker":
            message = self._book_ticker(symbol, tick, first=first)
        elif symbol in self._data.universe.pairs and not first:
            message = self._said(name, symbol, kind, tick)
        if message is not None:
            for conn, opened in conns.items():
                frame = {"stream": name, "data": message} if opened.combined else message
                self._send(conn, JSON.encode(frame).decode())

    def _said(self, name: str, symbol: str, kind: str, tick: int) -> object | None:
        kind, fast = kind.removesuffix("@100ms"), kind.endswith("@100ms")
        if kind == "trade":
            return self._trade(symbol, tick)
        if kind == "aggTrade":
            return self._agg_trade(symbol, tick)
        if kind.startswith("kline_"):
            return self._kline(symbol, kind.removeprefix("kline_"), tick)
        if not fast and not _on_the_second(tick):
            return None
        if kind == "depth":
            return self._depth(name, symbol, tick)
        if kind in _PARTS:
            return self._data.depth({"symbol": symbol, "limit": str(_PARTS[kind])}, tick * TICK_NS)
        if kind == "ticker":
            return self._day(symbol, tick)
        if kind == "miniTicker":
            return self._mini(symbol, tick)
        return self._average(symbol, tick) if kind == "avgPrice" else None

    def _book_ticker(self, symbol: str, tick: int, *, first: bool) -> object | None:
        bids, asks = self._data.levels(symbol, tick * TICK_NS)
        best = (bids[0], asks[0])
        if best == self._best.get(symbol) and not first:
            return None
        self._best[symbol] = best
        return wire.BookTickerMsg(update_id=tick, symbol=symbol, bid_price=bids[0][0], bid_qty=bids[0][1], ask_price=asks[0][0], ask_qty=asks[0][1])

    def _trade(self, symbol: str, tick: int) -> object | None:
        printed = self._data.market.tick(symbol, tick).printed
        if printed is None:
            return None
        trade = self._data.shape(symbol, printed)
        return wire.TradeMsg(
            event="trade",
            event_time=tick * TICK_NS // MS,
            symbol=symbol,
            trade_id=trade.id,
            price=trade.price,
            qty=trade.qty,
            time=trade.time,
            is_buyer_maker=trade.is_buyer_maker,
            is_best_match=True,
        )

    def _agg_trade(self, symbol: str, tick: int) -> object | None:
        printed = self._data.market.tick(symbol, tick).printed
        if printed is None:
            return None
        trade = self._data.agg(symbol, printed)
        return wire.AggTradeMsg(
            event="aggTrade",
            event_time=tick * TICK_NS // MS,
            symbol=symbol,
            id=trade.id,
            price=trade.price,
            qty=trade.qty,
            first_id=trade.first_id,
            last_id=trade.last_id,
            time=trade.time,
            is_buyer_maker=trade.is_buyer_maker,
            is_best_match=True,
        )

    def _day(self, symbol: str, tick: int) -> object:
        day = msgspec.structs.asdict(self._data.day(symbol, tick * TICK_NS))
        return wire.DayTickerMsg(event="24hrTicker", event_time=tick * TICK_NS // MS, **day)

    def _mini(self, symbol: str, tick: int) -> object:
        day = self._data.day(symbol, tick * TICK_NS, full=False)
        return wire.MiniTickerMsg(
            event="24hrMiniTicker",
            event_time=tick * TICK_NS // MS,
            symbol=symbol,
            close=day.last_price,
            open=day.open_price,
            high=day.high_price,
            low=day.low_price,
            volume=day.volume,
            quote_volume=day.quote_volume,
        )

    def _average(self, symbol: str, tick: int) -> object:
        mins, price, time_ns = self._data.average(symbol, tick * TICK_NS)
        return wire.AvgPriceMsg(
            event="avgPrice",
            event_time=tick * TICK_NS // MS,
            symbol=symbol,
            interval=f"{mins}m",
            price=shown(price),
            last_trade_time=time_ns // MS,
        )

    def _kline(self, symbol: str, interval: str, tick: int) -> object | None:
        """Every two seconds, and once more when it is closed."""
        if interval not in PERIODS:
            return None
        period_ns, now_ns = PERIODS[interval] * MINUTE_NS, tick * TICK_NS
        closed = now_ns % period_ns == 0
        if not closed and tick % KLINE_EVERY:
            return None
        start_ns = now_ns // period_ns * period_ns - (period_ns if closed else 0)
        row = self._data.kline(symbol, start_ns, period_ns, now_ns)
        if row is None:
            return None
        body = wire.KlineBody(
            open_time=row.open_time,
            close_time=row.close_time,
            symbol=symbol,
            interval=interval,
            open=row.open,
            close=row.close,
            high=row.high,
            low=row.low,
            volume=row.volume,
            trades=row.trades,
            closed=closed,
            quote_volume=row.quote_volume,
        )
        return wire.KlineMsg(event="kline", event_time=now_ns // MS, symbol=symbol, kline=body)

    def _depth(self, name: str, symbol: str, tick: int) -> object:
        """The levels that have changed since this stream last spoke; numbers go on where they ended."""
        bids, asks = (dict(side) for side in self._data.levels(symbol, tick * TICK_NS))
        last = self._books.get(name)
        if last is None:
            before_bids, before_asks = (dict(side) for side in self._data.levels(symbol, (tick - 1) * TICK_NS))
            last = (tick - 1, before_bids, before_asks)
        self._books[name] = (tick, bids, asks)
        return wire.DepthMsg(
            event="depthUpdate",
            event_time=tick * TICK_NS // MS,
            symbol=symbol,
            first_id=last[0] + 1,
            last_id=tick,
            bids=_changes(last[1], bids),
            asks=_changes(last[2], asks),
        )


def _on_the_second(tick: int) -> bool:
    return tick * TICK_NS % SECOND_NS == 0


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, str]]:
    gone = [(price, "0.00000000") for price in before if price not in after]
    return gone + [(price, qty) for price, qty in after.items() if before.get(price) != qty]
