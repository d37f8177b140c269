"""The twin's WebSocket v2: status, heartbeats, market data with checksums, executions, balances, orders by frames. Sans-IO: frames in, frames out.

Public and private connections share one path here; what a token opens is private.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from random import Random

import msgspec

from trading_system.brokers.kraken import facts, wire
from trading_system.brokers.kraken.twin.forms import JSON, Refusal, micro, time_of
from trading_system.brokers.kraken.twin.ledger import Booked
from trading_system.brokers.kraken.twin.public import INTERVALS, PublicData
from trading_system.brokers.kraken.twin.trading import Placed, TradingDesk, trade_number
from trading_system.brokers.kraken.twin.universe import COST_MIN, MONEY, Universe
from trading_system.domain.fix import ExecType, OrdStatus
from trading_system.domain.money import ZERO
from trading_system.sim.exchange import Event, Exchange, Execution
from trading_system.sim.market import LOT, TICK_NS, Bar, Market, Print, Tick
from trading_system.sim.sessions import MINUTE_NS, SECOND_NS

Frame = str | bytes | None  # None closes the connection
Send = Callable[[int, Frame], None]
Levels = tuple[tuple[int, int], ...]
CATCH_UP_TICKS = 4 * 60  # a stream that was not asked for longer than a minute skips what it missed: ticks are not queued
SNAPSHOT_TRADES = 50
PUBLIC_CHANNELS = ("ticker", "trade", "ohlc", "book", "instrument")
PRIVATE_CHANNELS = ("executions", "balances")
_STATUS = {"pending": "pending_new", "open": "new", "closed": "filled", "canceled": "canceled", "expired": "expired"}
_QUIET = frozenset({ExecType.PENDING_CANCEL, ExecType.PENDING_REPLACE, ExecType.CANCEL_REJECTED, ExecType.REPLACE_REJECTED, ExecType.REJECTED})


class Params(msgspec.Struct, kw_only=True):
    """What a client may say with a method: words as Kraken's, everything optional, as official and other clients differ."""

    channel: str = ""
    symbol: list[str] | str | None = None
    token: str = ""
    depth: int = 10
    interval: int = 1
    snapshot: bool | None = None
    snap_orders: bool = True
    snap_trades: bool = False
    order_status: bool = True
    event_trigger: str = "trades"
    order_type: str = ""
    side: str = ""
    order_qty: Decimal | None = None
    cash_order_qty: Decimal | None = None
    limit_price: Decimal | None = None
    triggers: dict[str, object] | None = None
    trigger_price: Decimal | None = None
    time_in_force: str = ""
    expire_time: str = ""
    post_only: bool = False
    reduce_only: bool = False
    margin: bool = False
    fee_preference: str = ""
    cl_ord_id: str | list[str] | None = None
    order_userref: int | list[int] | None = None
    order_id: str | list[str] | None = None
    deadline: str = ""
    validate: bool = False
    timeout: int | None = None
    conditional: dict[str, object] | None = None


class Asked(msgspec.Struct, kw_only=True):
    """A client's frame."""

    method: str
    params: Params = msgspec.field(default_factory=Params)
    req_id: int | None = None


_ASKED = msgspec.json.Decoder(Asked)


class Conn(msgspec.Struct, kw_only=True):
    """One connection: what it listens to, and where each of its channels is."""

    sent_ns: int
    wanted: set[tuple[str, str, int]] = set()  # channel, symbol, depth or interval
    bbo: bool = False
    every_status: bool = True
    numbers: dict[str, int] = {}
    books: dict[tuple[str, int], tuple[Levels, Levels]] = {}
    touched: dict[str, tuple[Levels, Levels]] = {}

    def listens(self, channel: str) -> bool:
        return any(one[0] == channel for one in self.wanted)


class Tokens:
    """Tokens of the account: used within their life, or dead; one that is in use stays alive."""

    def __init__(self, names: Random) -> None:
        self._names = names
        self._until_ns: dict[str, int] = {}

    def make(self, now_ns: int) -> wire.Token:
        token = "".join(self._names.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", k=43))
        self._until_ns[token] = now_ns + facts.TOKEN_LIFE_NS
        return wire.Token(token=token, expires=facts.TOKEN_LIFE_NS // SECOND_NS)

    def check(self, token: str, now_ns: int) -> None:
        """Raises Refusal: none, or one that ran out unused."""
        if self._until_ns.get(token, 0) <= now_ns:
            raise Refusal("ESession:Invalid session")
        self._until_ns[token] = max(self._until_ns[token], now_ns + facts.TOKEN_LIFE_NS)


class Streams:
    """Every connection to /v2."""

    def __init__(
        self, universe: Universe, market: Market, data: PublicData, desk: TradingDesk, exchange: Exchange, tokens: Tokens, send: Send
    ) -> None:
        self._universe = universe
        self._market = market
        self._data = data
        self._desk = desk
        self._exchange = exchange
        self._tokens = tokens
        self._out = send
        self._now_ns = 0
        self._tick = 0  # the last one published
        self.conns: dict[int, Conn] = {}

    # -- connections -------------------------------------------------------------------------------------------------------------------------------

    def open(self, conn: int, now_ns: int) -> None:
        self._now_ns = now_ns
        self.conns[conn] = Conn(sent_ns=now_ns)
        status = wire.Status(system=self._desk.system, version="2.0.10", api_version="v2", connection_id=12_902_397_446_025_498_000 + conn)
        self._push(conn, "status", "update", [status])

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        self._now_ns = now_ns
        try:
            asked = _ASKED.decode(frame)
        except (msgspec.MsgspecError, RecursionError) as error:
            self._tell(conn, {"error": f"Malformed request: {error}", "success": False})
            return
        params, me = asked.params, self.conns[conn]
        match asked.method:
            case "ping":
                self._reply(conn, asked, {}, success=None, method="pong")
            case "subscribe":
                self._subscribe(conn, me, asked)
            case "unsubscribe":
                self._unsubscribe(conn, me, asked)
            case "add_order" | "amend_order" | "cancel_order" | "cancel_all" | "cancel_all_orders_after":
                try:
                    self._tokens.check(params.token, now_ns)
                    for result in self._act(asked.method, params):
                        self._reply(conn, asked, result)
                except Refusal as refusal:
                    self._refuse(conn, asked, refusal.error)
            case _:
                self._refuse(conn, asked, f"Unsupported method: {asked.method}")

    def _reply(self, conn: int, asked: Asked, result: object, *, success: bool | None = True, method: str = "") -> None:
        body: dict[str, object] = {"method": method or asked.method}
        if asked.req_id is not None:
            body["req_id"] = asked.req_id
        if success is not None:
            body |= {"result": result, "success": success}
        self._tell(conn, body | {"time_in": micro(self._now_ns), "time_out": micro(self._now_ns + 18_000)})

    def _refuse(self, conn: int, asked: Asked, error: str, symbol: str = "") -> None:
        body: dict[str, object] = {"error": error, "method": asked.method}
        if asked.req_id is not None:
            body["req_id"] = asked.req_id
        body |= {"success": False} | ({"symbol": symbol} if symbol else {})
        self._tell(conn, body | {"time_in": micro(self._now_ns), "time_out": micro(self._now_ns + 18_000)})

    def _tell(self, conn: int, body: object) -> None:
        self.conns[conn].sent_ns = self._now_ns
        self._out(conn, JSON.encode(body).decode())

    def _push(self, conn: int, channel: str, kind: str, data: object) -> None:
        body: dict[str, object] = {"channel": channel, "type": kind, "data": data}
        if channel in PRIVATE_CHANNELS:
            numbers = self.conns[conn].numbers
            numbers[channel] = body["sequence"] = numbers.get(channel, 0) + 1
        self._tell(conn, body)

    # -- subscriptions -----------------------------------------------------------------------------------------------------------------------------

    def _subscribe(self, conn: int, me: Conn, asked: Asked) -> None:
        params, channel = asked.params, asked.params.channel
        if channel in PRIVATE_CHANNELS:
            try:
                self._tokens.check(params.token, self._now_ns)
            except Refusal as refusal:
                self._refuse(conn, asked, refusal.error)
                return
            self._listen(conn, me, asked)
            return
        if channel == "instrument":
            me.wanted.add((channel, "", 0))
            self._reply(conn, asked, {"channel": channel, "snapshot": True})
            self._push(conn, channel, "snapshot", self._instruments())
            return
        if channel not in PUBLIC_CHANNELS:
            self._refuse(conn, asked, f"Channel {channel} not found")
            return
        for symbol in _symbols(params):
            self._follow(conn, me, asked, symbol)

    def _listen(self, conn: int, me: Conn, asked: Asked) -> None:
        params, channel = asked.params, asked.params.channel
        if me.listens(channel):
            self._refuse(conn, asked, "Already subscribed")
            return
        me.wanted.add((channel, "", 0))
        if channel == "executions":
            me.every_status = params.order_status
            result = {"channel": channel, "maxratecount": 180, "snap_orders": params.snap_orders, "snap_trades": params.snap_trades}
            self._reply(conn, asked, result)
            entries = [self._whole(placed) for placed in self._desk.working()] if params.snap_orders else []
            if params.snap_trades:
                entries += [self._past_trade(done) for done in list(self._exchange.executions.values())[-SNAPSHOT_TRADES:]]
            self._push(conn, channel, "snapshot", entries)
        else:
            self._reply(conn, asked, {"channel": channel, "snapshot": True})
            self._push(conn, channel, "snapshot", [_total(asset, total) for asset, total in self._exchange.holdings.items()])

    def _follow(self, conn: int, me: Conn, asked: Asked, symbol: str) -> None:
        """One pair of a public channel: an answer of its own, and a snapshot where the channel has one."""
        params, channel = asked.params, asked.params.channel
        more = {"book": params.depth, "ohlc": params.interval}.get(channel, 0)
        key = (channel, symbol, more)
        if symbol not in self._universe.keys:
            self._refuse(conn, asked, f"Currency pair not supported {symbol}", symbol)
        elif channel == "book" and more not in facts.BOOK_DEPTHS:
            self._refuse(conn, asked, "Depth not supported", symbol)
        elif channel == "ohlc" and more not in INTERVALS:
            self._refuse(conn, asked, "Ohlc interval not supported", symbol)
        elif key in me.wanted:
            self._refuse(conn, asked, "Already subscribed", symbol)
        else:
            if self._tick == 0 or not self._followed():
                self._tick = self._now_ns // TICK_NS
            me.wanted.add(key)
            me.bbo = me.bbo or params.event_trigger == "bbo"
            snapshot = params.snapshot if params.snapshot is not None else channel != "trade"
            result: dict[str, object] = {"channel": channel, "snapshot": snapshot, "symbol": symbol}
            result |= _with(channel, more) | ({"event_trigger": params.event_trigger} if channel == "ticker" else {})
            self._reply(conn, asked, result)
            if snapshot or channel == "book":
                self._snapshot(conn, me, key)

    def _snapshot(self, conn: int, me: Conn, key: tuple[str, str, int]) -> None:
        channel, symbol, more = key
        tick = self._market.tick(symbol, self._tick)
        match channel:
            case "ticker":
                self._push(conn, channel, "snapshot", [self._ticker(symbol, tick)])
            case "trade":
                prints = [one for _, one in zip(range(SNAPSHOT_TRADES), self._market.prints(symbol, 0, self._now_ns + 1, reverse=True), strict=False)]
                self._push(conn, channel, "snapshot", [self._print(symbol, one) for one in reversed(prints)])
            case "ohlc":
                period_ns, newest = more * MINUTE_NS, self._now_ns // (more * MINUTE_NS)
                bars = (self._data.bar(symbol, number * period_ns, period_ns, self._now_ns) for number in range(newest - 9, newest + 1))
                self._push(conn, channel, "snapshot", [self._bar(symbol, more, bar) for bar in bars if bar is not None])
            case _:
                book = me.books[symbol, more] = (tick.bids[:more], tick.asks[:more])
                self._push(conn, channel, "snapshot", [self._book(symbol, book, book, tick.time_ns)])

    def _unsubscribe(self, conn: int, me: Conn, asked: Asked) -> None:
        params, channel = asked.params, asked.params.channel
        more = {"book": params.depth, "ohlc": params.interval}.get(channel, 0)
        for symbol in _symbols(params) or [""]:
            if (channel, symbol, more) not in me.wanted:
                self._refuse(conn, asked, "Subscription Not Found", symbol)
                continue
            me.wanted.discard((channel, symbol, more))
            me.books.pop((symbol, more), None)
            me.numbers.pop(channel, None)
            named: dict[str, object] = {"symbol": symbol} if symbol else {}
            self._reply(conn, asked, {"channel": channel, **named, **_with(channel, more)})

    # -- time ----------------------------------------------------------------------------------------------------------------------------------------

    def _followed(self) -> bool:
        return any(one[0] in ("ticker", "trade", "ohlc", "book") for conn in self.conns.values() for one in conn.wanted)

    def next_event_ns(self) -> int | None:
        beats = [conn.sent_ns + SECOND_NS for conn in self.conns.values() if conn.wanted]
        return min(beats + ([(self._tick + 1) * TICK_NS] if self._followed() else []), default=None)

    def advance(self, now_ns: int) -> None:
        if self._followed():
            last = now_ns // TICK_NS
            for number in range(max(self._tick + 1, last - CATCH_UP_TICKS + 1), last + 1):
                self._now_ns = number * TICK_NS
                self._publish(number)
            self._tick = max(self._tick, last)
        self._now_ns = now_ns
        for conn, me in self.conns.items():
            if me.wanted and me.sent_ns + SECOND_NS <= now_ns:
                self._tell(conn, {"channel": "heartbeat"})

    def _publish(self, number: int) -> None:
        """Everything that one tick means to anybody, one frame a message."""
        for conn, me in self.conns.items():
            for channel, symbol, more in sorted(me.wanted):
                if not symbol:
                    continue
                tick = self._market.tick(symbol, number)
                self._publish_one(conn, me, channel, symbol, more, tick)

    def _publish_one(self, conn: int, me: Conn, channel: str, symbol: str, more: int, tick: Tick) -> None:
        printed = tick.printed
        match channel:
            case "ticker":
                touch = (tick.bids[:1], tick.asks[:1])
                moved = me.touched.get(symbol) != touch
                me.touched[symbol] = touch
                if printed is not None or (me.bbo and moved):
                    self._push(conn, channel, "update", [self._ticker(symbol, tick)])
            case "trade" if printed is not None:
                self._push(conn, channel, "update", [self._print(symbol, printed)])
            case "ohlc" if printed is not None:
                period_ns = more * MINUTE_NS
                bar = self._data.bar(symbol, tick.time_ns // period_ns * period_ns, period_ns, tick.time_ns)
                if bar is not None:
                    self._push(conn, channel, "update", [self._bar(symbol, more, bar)])
            case "book":
                before = me.books[symbol, more]
                after = me.books[symbol, more] = (tick.bids[:more], tick.asks[:more])
                if before != after:
                    changed = (_changes(before[0], after[0]), _changes(before[1], after[1]))
                    self._push(conn, channel, "update", [self._book(symbol, changed, after, tick.time_ns)])

    # -- market data -------------------------------------------------------------------------------------------------------------------------------

    def _px(self, symbol: str, units: int | Decimal) -> Decimal:
        return Decimal(self._data.price(symbol, units))

    def _ticker(self, symbol: str, tick: Tick) -> wire.Tick:
        day, last = self._data.day(symbol, tick.time_ns), self._data.last(symbol, tick.time_ns)
        low, high, now = self._px(symbol, day.low), self._px(symbol, day.high), self._px(symbol, last.price)
        change = now - self._px(symbol, day.open)
        return wire.Tick(
            symbol=symbol,
            bid=self._px(symbol, tick.bids[0][0]),
            bid_qty=tick.bids[0][1] * LOT,
            ask=self._px(symbol, tick.asks[0][0]),
            ask_qty=tick.asks[0][1] * LOT,
            last=now,
            volume=day.volume * self._market.listings[symbol].size,
            vwap=self._px(symbol, day.vwap),
            low=low,
            high=high,
            change=change,
            change_pct=(change / self._px(symbol, day.open) * 100).quantize(Decimal("0.01")),
            timestamp=micro(tick.time_ns),
        )

    def _print(self, symbol: str, one: Print) -> wire.TradeTick:
        return wire.TradeTick(
            symbol=symbol,
            side=one.side.value,
            price=self._px(symbol, one.price),
            qty=one.lots * LOT,
            ord_type="market",
            trade_id=one.trade_id,
            timestamp=micro(one.time_ns),
        )

    def _bar(self, symbol: str, interval: int, bar: Bar) -> wire.Ohlc:
        return wire.Ohlc(
            symbol=symbol,
            open=self._px(symbol, bar.open),
            high=self._px(symbol, bar.high),
            low=self._px(symbol, bar.low),
            close=self._px(symbol, bar.close),
            trades=bar.prints,
            volume=bar.volume * self._market.listings[symbol].size,
            vwap=self._px(symbol, bar.vwap),
            interval_begin=micro(bar.start_ns)[:-1] + "000Z",
            interval=interval,
            timestamp=micro(bar.start_ns + interval * MINUTE_NS),
        )

    def _book(self, symbol: str, shown: tuple[Levels, Levels], whole: tuple[Levels, Levels], time_ns: int) -> wire.BookData:
        def levels(side: Levels) -> list[wire.Level]:
            return [wire.Level(price=self._px(symbol, price), qty=lots * LOT) for price, lots in side]

        text = "".join(
            self._digits(self._data.price(symbol, price)) + self._digits(self._data.qty(symbol, lots))
            for side in (whole[1], whole[0])
            for price, lots in side[: facts.CHECKSUM_LEVELS]
        )
        return wire.BookData(
            symbol=symbol, bids=levels(shown[0]), asks=levels(shown[1]), checksum=zlib.crc32(text.encode()), timestamp=micro(time_ns)
        )

    @staticmethod
    def _digits(text: str) -> str:
        return text.replace(".", "").lstrip("0")

    def _instruments(self) -> Mapping[str, object]:
        assets = [
            {"id": asset, "status": "enabled", "precision": 10, "precision_display": 5, "borrowable": False} for asset in self._universe.asset_keys
        ]
        pairs = []
        for symbol in self._universe.keys:
            pair = self._universe.pair(symbol)
            base, _, quote = symbol.partition("/")
            step = Decimal(1).scaleb(-pair.lot_decimals)
            tick = Decimal(pair.tick_size or "1")
            row: dict[str, object] = {"symbol": symbol, "base": base, "quote": quote, "status": pair.status, "marginable": False, "has_index": False}
            row |= {"qty_precision": pair.lot_decimals, "qty_increment": step, "qty_min": Decimal(pair.ordermin or "0")}
            row |= {"price_precision": pair.pair_decimals, "price_increment": tick, "tick_size": tick}
            row |= {"cost_precision": pair.cost_decimals, "cost_min": Decimal(COST_MIN)}
            pairs.append(row)
        return {"assets": assets, "pairs": pairs}

    # -- the account ---------------------------------------------------------------------------------------------------------------------------------

    def publish(self, event: Event, booked: Sequence[Booked], now_ns: int) -> None:
        """An event of the exchange, and what it moved."""
        self._now_ns = max(self._now_ns, now_ns)
        entries = [] if event.exec_type in _QUIET else self._entries(event)
        for conn, me in self.conns.items():
            if me.listens("executions"):
                for entry in entries:
                    if me.every_status or entry.exec_type in ("new", "filled", "canceled", "expired"):
                        self._push(conn, "executions", "update", [entry])
        self.moved(booked, now_ns)

    def moved(self, booked: Sequence[Booked], now_ns: int) -> None:
        self._now_ns = max(self._now_ns, now_ns)
        for conn, me in self.conns.items():
            if me.listens("balances"):
                for one in booked:
                    self._push(conn, "balances", "update", [_change(one)])

    def _entries(self, event: Event) -> list[wire.Execution]:
        placed = self._desk.of(event.order.order_id)
        time, sparse = micro(event.transact_ns), self._sparse(placed)
        match event.exec_type:
            case ExecType.PENDING_NEW:
                pending = msgspec.structs.replace(self._whole(placed), exec_type="pending_new", order_status="pending_new", timestamp=time)
                return [pending]
            case ExecType.NEW if event.order.replaces is None:
                return [msgspec.structs.replace(sparse, exec_type="new", order_status="new", timestamp=time)]
            case ExecType.TRADE:
                assert event.execution is not None
                trade = self._trade(event.execution)
                if event.order.ord_status is not OrdStatus.FILLED:
                    return [trade]
                return [trade, self._ended(placed, "filled", time)]
            case ExecType.REPLACED:
                status = "partially_filled" if placed.trades else "new"  # what it fills at once is told after this
                return [msgspec.structs.replace(self._whole(placed), exec_type="amended", order_status=status, timestamp=time)]
            case ExecType.CANCELED | ExecType.EXPIRED:
                return [self._ended(placed, "expired" if placed.expired else event.exec_type.value, time)]
            case _:
                return []

    def _sparse(self, placed: Placed) -> wire.Execution:
        return wire.Execution(exec_type="", order_id=placed.txid, order_userref=placed.asked.userref)

    def _ended(self, placed: Placed, how: str, time: str) -> wire.Execution:
        reason = placed.reason or None if how == "canceled" else None
        return msgspec.structs.replace(
            self._sparse(placed),
            exec_type=how,
            order_status=how,
            cancel_reason=reason,
            reason=reason,
            cum_qty=placed.filled_qty,
            cum_cost=placed.cost,
            avg_price=_rounded(placed.avg_px),
            fee_usd_equiv=placed.fee,
            timestamp=time,
        )

    def _whole(self, placed: Placed) -> wire.Execution:
        """An order with everything that is known of it, as snapshots and pending_new tell it."""
        asked, now = placed.asked, placed.now
        kind = asked.ticket.ord_type
        filled = placed.status == "open" and placed.filled_qty > 0
        triggers = None
        if kind.waits:
            distance = asked.ticket.trail_pct if asked.ticket.trail_pct is not None else asked.ticket.trail_px
            how = "static" if distance is None else "pct" if asked.ticket.trail_pct is not None else "quote"
            status = "triggered" if now.triggered else "untriggered"
            triggers = wire.Triggers(
                price=distance if distance is not None else now.stop_px or ZERO, price_type=how, actual_price=now.stop_px, status=status
            )
        return wire.Execution(
            exec_type="status" if placed.status == "open" else "pending_new",
            order_id=placed.txid,
            cl_ord_id=asked.cl_ord_id,
            order_userref=asked.userref,
            symbol=placed.symbol,
            side=placed.side.value,
            order_type=asked.kind,
            order_qty=None if asked.cash is not None else placed.qty,
            cash_order_qty=asked.cash,
            limit_price=now.price if kind.has_price else None,
            limit_price_type="static" if kind.has_price else None,
            stop_price=now.stop_px or ZERO,
            triggers=triggers,
            time_in_force=asked.tif or "GTC",
            post_only=asked.post or None,
            order_status="partially_filled" if filled else _STATUS[placed.status],
            cum_qty=placed.filled_qty,
            cum_cost=placed.cost,
            avg_price=_rounded(placed.avg_px),
            fee_usd_equiv=placed.fee,
            fee_ccy_pref="fcib" if "fcib" in asked.flags else "fciq",
            amended=True if placed.amends else None,
            timestamp=micro(placed.touched_ns),
        )

    def _trade(self, done: Execution) -> wire.Execution:
        """A trade; it says partially_filled even where it completes its order."""
        placed = self._desk.of(done.order_id)
        so_far = placed.trades[: placed.trades.index(done) + 1]
        cum_qty, cost = sum((one.qty for one in so_far), ZERO), sum((one.qty * one.price for one in so_far), ZERO)
        return wire.Execution(
            exec_type="trade",
            order_id=placed.txid,
            cl_ord_id=placed.asked.cl_ord_id,
            order_userref=placed.asked.userref,
            exec_id=done.exec_id,
            trade_id=trade_number(done),
            symbol=done.symbol,
            side=done.side.value,
            order_type=placed.asked.kind,
            last_qty=done.qty,
            last_price=done.price,
            liquidity_ind="m" if done.maker else "t",
            cost=done.qty * done.price,
            order_status="partially_filled",
            cum_qty=cum_qty,
            cum_cost=cost,
            avg_price=_rounded(cost / cum_qty),
            fee_usd_equiv=done.fee if done.fee_asset == MONEY else done.fee * done.price,
            fees=[wire.ExecutionFee(asset=done.fee_asset, qty=done.fee)],
            timestamp=micro(done.transact_ns),
        )

    def _past_trade(self, done: Execution) -> wire.Execution:
        """A trade as the snapshot tells it, however old: which order it was of, and nothing of that order's client id or quantities."""
        whole = self._desk.of(done.order_id).status == "closed"
        unsaid = dict.fromkeys(("cl_ord_id", "cum_qty", "cum_cost", "avg_price"))
        return msgspec.structs.replace(self._trade(done), order_status="filled" if whole else "partially_filled", **unsaid)

    # -- orders by frames ----------------------------------------------------------------------------------------------------------------------------

    def _act(self, method: str, params: Params) -> list[object]:
        """The results, one reply each. Raises Refusal."""
        now_ns, desk = self._now_ns, self._desk
        match method:
            case "add_order":
                added = desk.add(_add_form(params), now_ns)
                more: dict[str, object] = {"cl_ord_id": params.cl_ord_id} if params.cl_ord_id else {}
                return [{"order_id": added.txid[0] if added.txid else "", **more}]
            case "amend_order":
                form = _amend_form(params)
                amended = desk.amend(form, now_ns)
                named: dict[str, object] = {"order_id": params.order_id} if params.order_id else {"cl_ord_id": params.cl_ord_id}
                return [{"amend_id": amended.amend_id, **named}]
            case "cancel_order":
                results: list[object] = []
                for name, values in (("txid", params.order_id), ("cl_ord_id", params.cl_ord_id), ("txid", params.order_userref)):
                    for value in _listed(values):
                        desk.cancel({name: str(value)}, now_ns)
                        results.append({"order_id" if name == "txid" else name: value})
                if not results:
                    raise Refusal("EGeneral:Invalid arguments:order_id")
                return results
            case "cancel_all":
                return [{"count": desk.cancel_all(now_ns).count}]
            case _:
                return [desk.cancel_all_after({"timeout": str(params.timeout)}, now_ns)]


def _with(channel: str, more: int) -> dict[str, object]:
    """What a channel is subscribed with, as its answers repeat it."""
    if channel == "book":
        return {"depth": more}
    return {"interval": more} if channel == "ohlc" else {}


def _symbols(params: Params) -> list[str]:
    if params.symbol is None:
        return []
    return [params.symbol] if isinstance(params.symbol, str) else list(params.symbol)


def _listed(values: str | int | list[str] | list[int] | None) -> list[str | int]:
    if values is None:
        return []
    return [values] if isinstance(values, str | int) else list(values)


def _add_form(params: Params) -> Mapping[str, str]:
    """The stream's words for an order as REST's, which the rules know."""
    flags = [name for name, wanted in (("post", params.post_only), ("fcib", params.fee_preference == "base")) if wanted]
    flags += ["viqc"] if params.cash_order_qty is not None else []
    form = {
        "ordertype": params.order_type,
        "type": params.side,
        "pair": "".join(_symbols(params)),
        "volume": _plain(params.cash_order_qty if params.order_qty is None else params.order_qty),
        "oflags": ",".join(flags),
        "timeinforce": params.time_in_force.upper(),
        "leverage": "5" if params.margin else "none",
        "reduce_only": "true" if params.reduce_only else "false",
        "validate": "true" if params.validate else "false",
    }
    if params.triggers is not None:
        price, how = params.triggers.get("price", ""), params.triggers.get("price_type", "static")
        text = _plain(Decimal(str(price)))
        form["price"] = text if how == "static" else f"+{text}%" if how == "pct" else f"+{text}"
        form["price2"] = "" if params.limit_price is None else _plain(params.limit_price)
    elif params.limit_price is not None:
        form["price"] = _plain(params.limit_price)
    if params.conditional is not None:
        form["close[ordertype]"] = "limit"
    if params.cl_ord_id:
        form["cl_ord_id"] = str(params.cl_ord_id)
    if isinstance(params.order_userref, int):
        form["userref"] = str(params.order_userref)
    if params.deadline:
        form["deadline"] = params.deadline
    if params.expire_time:
        form["expiretm"] = str(time_of(params.expire_time, "expire_time") // SECOND_NS)
    return form


def _amend_form(params: Params) -> Mapping[str, str]:
    form = {"post_only": "true" if params.post_only else "false"}
    for name in ("order_qty", "limit_price", "trigger_price"):
        value = getattr(params, name)
        if value is not None:
            form[name] = _plain(value)
    if isinstance(params.order_id, str):
        form["txid"] = params.order_id
    if isinstance(params.cl_ord_id, str):
        form["cl_ord_id"] = params.cl_ord_id
    if params.deadline:
        form["deadline"] = params.deadline
    return form


def _plain(value: Decimal | None) -> str:
    return "" if value is None else format(value, "f")


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal("1e-8"))


def _changes(before: Levels, after: Levels) -> Levels:
    """What turns one side into the other: levels that are new or differ, and 0 for those that went."""
    was, now = dict(before), dict(after)
    gone = tuple((price, 0) for price in was if price not in now)
    return gone + tuple((price, lots) for price, lots in after if was.get(price) != lots)


def _total(asset: str, total: Decimal) -> Mapping[str, object]:
    wallets = [{"type": "spot", "id": "main", "balance": total}]
    return {"asset": asset, "asset_class": "currency", "balance": total, "wallets": wallets}


def _change(one: Booked) -> Mapping[str, object]:
    return {
        "ledger_id": one.ledger_id,
        "ref_id": one.ref_id,
        "timestamp": micro(one.time_ns),
        "type": one.kind,
        "asset": one.asset,
        "asset_class": "currency",
        "category": one.kind,
        "wallet_type": "spot",
        "wallet_id": "main",
        "amount": one.amount,
        "fee": one.fee,
        "balance": one.balance,
    }
