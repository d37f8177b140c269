"""Bybit's streams, sans-IO: order events of the account, orders as frames, market data and order books of one category. Frames in, events and
frames out."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from trading_system.brokers.bybit import codec, errors, wire
from trading_system.brokers.bybit.auth import login, trade_frame
from trading_system.brokers.bybit.book import DepthBook
from trading_system.brokers.bybit.facts import KEYS_HELP, LOGIN_AHEAD_NS, NAME, OPTION, SILENCE_NS, TOPICS_MAX
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.domain.report import ExecutionReport
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.message import Response
from trading_system.transport.session import Broken, Step, StreamRefused
from trading_system.transport.supervise import LinkEvent, LinkKind

_MS = 1_000_000
_MINUTE_NS = 60_000_000_000
_LINK = {LinkKind.UP: Link.LIVE, LinkKind.DOWN: Link.GAP, LinkKind.STALE: Link.STALE, LinkKind.REFUSED: Link.REFUSED}
_PONGS = frozenset({"ping", "pong"})  # four shapes of a pong, by product; one of them calls itself ping
_ORDERS = msgspec.json.Decoder(list[wire.Order])
_EXECUTIONS = msgspec.json.Decoder(list[wire.Execution])
_BOOK = msgspec.json.Decoder(wire.StreamBook)
_TRADES = msgspec.json.Decoder(list[wire.StreamTrade])
_OPTION = msgspec.json.Decoder(wire.StreamOption)
_ACK = msgspec.json.Decoder(wire.OptionAck)
_KLINES = msgspec.json.Decoder(list[wire.StreamKline])
_TRADE = "publicTrade"
_CROWDED = 10003  # on the line for orders: too many connections of this account. It is tried again
PING = '{"op":"ping"}'
Market = Quote | Trade | Bar | BookSnapshot


class OrdersSession:
    """Orders and executions of the whole account. No snapshot and no replay: after each login the desk reads by REST what it missed.

    Source: bybit-exchange.github.io/docs/v5/websocket/private/order, /execution
    """

    def __init__(self, url: str, key: Secret, secret: Secret, offset_ns: Callable[[], int]) -> None:
        """offset_ns: add it to our time to get Bybit's."""
        self._url, self._key, self._secret, self._offset_ns = url, key, secret, offset_ns

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        return Step(send=(login(self._key, self._secret, (now_ns + self._offset_ns() + LOGIN_AHEAD_NS) // _MS),))

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. StreamRefused: Bybit does not accept the key."""
        try:
            message = strict.decode(frame, wire.StreamFrame)
            if message.topic:
                return Step(events=self._events(message, now_ns))
        except wire.UNREADABLE as error:
            raise ProtocolError(f"an order event that cannot be read ({error})", frame) from None
        if message.op in _PONGS:
            return Step(alive=True)
        if message.op == "auth":
            if not message.success:
                raise _refused_login(message.ret_msg)
            return Step(send=(_said("subscribe", ("order", "execution")),))
        if message.op == "subscribe" and message.success:
            return Step(ready=True)
        raise ProtocolError("a frame of no kind we know on the order stream", frame)

    def stale_after_ns(self) -> int:
        """Orders may be quiet for days; pongs may not."""
        return SILENCE_NS

    @staticmethod
    def _events(message: wire.StreamFrame, now_ns: int) -> tuple[ExecutionReport, ...]:
        """What is done by hand in inverse contracts that end is not this desk's to see. What closing others paid out the log tells where the stream
        does not: then the fill is read with it."""
        if message.topic == "order":
            orders = _ORDERS.decode(message.data)
            return tuple(codec.decode_order(order, order.category, now_ns) for order in orders if codec.is_read(order.category, order.symbol))
        if message.topic == "execution":
            found = [one for one in _EXECUTIONS.decode(message.data) if codec.is_read(one.category, one.symbol) and codec.is_fill(one)]
            paid = [(one, codec.paid_out(one, one.category)) for one in found]
            return tuple(codec.decode_execution(one, one.category, None, now_ns, realized=made) for one, made in paid if made is not None)
        raise ProtocolError("a topic that was not asked for on the order stream", message.topic.encode())


def _refused_login(text: str) -> Exception:
    """A login that came too late is no bad key: the next one is signed anew."""
    if "expire" in text.lower():
        return Broken(f"Bybit's order stream says {text}: the login came too late, or this machine's clock is off")
    return StreamRefused(f"Bybit's order stream does not accept the key ({text}). {KEYS_HELP}")


class Reply(msgspec.Struct, frozen=True):
    """The answer to one change that left as a frame, in the form in which REST answers."""

    request_id: str
    response: Response


class TradeSession:
    """Changes of orders as frames, and what Bybit answers them. What becomes of the orders is told on the other stream.

    Here an answer that cannot be read is no more than by REST: it ends the line, and whoever waits for it is in doubt.
    Source: bybit-exchange.github.io/docs/v5/websocket/trade/guideline
    """

    def __init__(self, url: str, key: Secret, secret: Secret, offset_ns: Callable[[], int]) -> None:
        """offset_ns: add it to our time to get Bybit's."""
        self._url, self._key, self._secret, self._offset_ns = url, key, secret, offset_ns

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        return Step(send=(login(self._key, self._secret, (self._broker_ns(now_ns) + LOGIN_AHEAD_NS) // _MS),))

    def request(self, op: str, request_id: str, body: msgspec.Struct, now_ns: int) -> str:
        """A frame that asks for a change."""
        return trade_frame(op, request_id, body, self._broker_ns(now_ns) // _MS)

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises Broken: a frame we cannot read. StreamRefused: Bybit does not accept the key."""
        try:
            message = strict.decode(frame, wire.TradeFrame)
            if message.op in _PONGS:
                return Step(alive=True)
            if message.op == "auth":
                if message.retCode in errors.KEY and message.retCode != _CROWDED:
                    raise StreamRefused(f"Bybit's line for orders does not accept the key ({message.retCode}). {KEYS_HELP}")
                if message.retCode != 0:
                    raise Broken(f"Bybit's line for orders answers the login with {message.retCode} {message.retMsg}")
                return Step(ready=True)
            return Step(events=(self._reply(message, now_ns),))
        except wire.UNREADABLE as error:
            raise Broken(f"an answer that cannot be read on the line for orders ({error})") from None

    def stale_after_ns(self) -> int:
        """Orders may be quiet for days; pongs may not."""
        return SILENCE_NS

    def _reply(self, message: wire.TradeFrame, now_ns: int) -> Reply:
        """One that does not say what it answers is known by the order's own id, which was the request's too."""
        headers = {name.lower(): value for name, value in message.header.items()}
        told = headers.get("timenow", "")
        time_ms = int(told) if told.isascii() and told.isdecimal() else self._broker_ns(now_ns) // _MS
        body = wire.Envelope(retCode=message.retCode, retMsg=message.retMsg, result=message.data, time=time_ms)
        request_id = message.reqId
        if not request_id and message.retCode == 0:
            request_id = msgspec.json.decode(message.data, type=wire.Placed).orderLinkId
        return Reply(request_id, Response(status=200, headers=headers, body=msgspec.json.encode(body), recv_ns=now_ns))

    def _broker_ns(self, now_ns: int) -> int:
        return now_ns + self._offset_ns()


class DataSession:
    """What is public of some instruments of one category: best prices, trades, minute bars, or order books.

    Source: bybit-exchange.github.io/docs/v5/ws/connect, /websocket/public
    """

    def __init__(self, url: str, category: str, instruments: Sequence[InstrumentID], kinds: Kinds, *, depth: int = 0, levels: int = 0) -> None:
        """depth: order books of so many levels instead of `kinds`; levels: how many of them are shown. Options have no books of one level, so that
        their tickers quote them, and their trades come by coin."""
        self._url = f"{url}/{category}"
        self._names = {codec.symbol_of(instrument): instrument for instrument in instruments}
        wanted = (f"orderbook.{depth}",) if depth else _topics(kinds, category)
        topics = (
            f"{topic}.{symbol.partition('-')[0] if category == OPTION and topic == _TRADE else symbol}" for symbol in self._names for topic in wanted
        )
        self._topics = tuple(dict.fromkeys(topics))
        self._depth, self._levels = depth, levels
        self._books: dict[str, DepthBook] = {}
        self._unanswered = 0

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        """The client speaks first, and no key is asked for."""
        self._books = {symbol: DepthBook(instrument, self._levels) for symbol, instrument in self._names.items()}
        groups = [self._topics[place : place + TOPICS_MAX] for place in range(0, len(self._topics), TOPICS_MAX)]
        self._unanswered = len(groups)
        return Step(send=tuple(_said("subscribe", group) for group in groups))

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. StreamRefused: a topic that Bybit does not have. Broken: changes of a book are missing."""
        try:
            message = msgspec.json.decode(frame, type=wire.StreamFrame)
            if message.topic:
                return Step(events=self._events(message, now_ns))
        except wire.UNREADABLE as error:
            raise ProtocolError(f"market data that cannot be read ({error})", frame) from None
        if message.ret_msg == "pong" or message.op in _PONGS:
            return Step(alive=True)
        if message.op == "subscribe":
            if not message.success:
                raise StreamRefused(f"Bybit's data stream refuses: {message.ret_msg}")
            self._unanswered -= 1
            return Step(ready=not self._unanswered)
        if message.type == "COMMAND_RESP":
            return self._acknowledged(message, frame)
        raise ProtocolError("a frame of no kind we know on a data stream", frame)

    def _acknowledged(self, message: wire.StreamFrame, frame: bytes) -> Step:
        """The options' line answers a subscription in a form of its own."""
        try:
            refused = _ACK.decode(message.data).failTopics
        except wire.UNREADABLE as error:
            raise ProtocolError(f"an answer that cannot be read on a data stream ({error})", frame) from None
        if refused or not message.success:
            raise StreamRefused(f"Bybit's data stream refuses: {', '.join(refused) or message.ret_msg}")
        self._unanswered -= 1
        return Step(ready=not self._unanswered)

    def stale_after_ns(self) -> int:
        return SILENCE_NS

    def _events(self, message: wire.StreamFrame, now_ns: int) -> tuple[Market, ...]:
        kind, _, rest = message.topic.partition(".")
        symbol = rest.rpartition(".")[2]
        if kind == _TRADE:
            named = ((entry, self._names.get(entry.s)) for entry in _TRADES.decode(message.data))
            return tuple(codec.decode_stream_trade(entry, name, now_ns) for entry, name in named if name is not None)
        instrument = self._names.get(symbol)
        if instrument is None:
            return ()
        match kind:
            case "orderbook" if self._depth:
                book = self._books[symbol].take(message, now_ns)
                return () if book is None else (book,)
            case "orderbook":
                best = _BOOK.decode(message.data)
                return (codec.decode_quote(best.b, best.a, instrument, message.ts, now_ns),)
            case "tickers":
                return (codec.decode_stream_option(_OPTION.decode(message.data), instrument, message.ts, now_ns),)
            case "kline":
                bars = [entry for entry in _KLINES.decode(message.data) if entry.confirm]
                return tuple(codec.decode_stream_kline(entry, instrument, _MINUTE_NS) for entry in bars)
            case _:
                raise ProtocolError("a topic that was not asked for on a data stream", message.topic.encode())


def _topics(kinds: Kinds, category: str) -> tuple[str, ...]:
    wanted = (("tickers" if category == OPTION else "orderbook.1", kinds.quotes), (_TRADE, kinds.trades), ("kline.1", kinds.bars))
    return tuple(topic for topic, yes in wanted if yes)


def _said(op: str, args: Sequence[str]) -> str:
    return msgspec.json.encode({"req_id": op, "op": op, "args": args}).decode()


def stream_state(event: LinkEvent, stream: str, recv_ns: int) -> StreamState:
    """A change of the line itself, as the desk takes it."""
    return StreamState(broker=NAME, stream=stream, link=_LINK[event.kind], text=event.text, recv_ns=recv_ns)
