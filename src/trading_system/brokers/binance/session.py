"""Binance's two sockets, sans-IO: the account's events by the WebSocket API, and market streams. Frames in, events and frames out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import msgspec

from trading_system.brokers.binance import auth, codec, wire
from trading_system.brokers.binance.errors import BUSY, CLOCK, UNKNOWN_KEY
from trading_system.brokers.binance.facts import KEY_HELP, NAME, USED_HEADER
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.message import Response
from trading_system.transport.session import Broken, Step, StreamRefused
from trading_system.transport.supervise import LinkEvent, LinkKind

MINUTE_NS = 60_000_000_000
_STALE_NS = 60_000_000_000  # bid and offer of a pair that trades change within seconds
_LINK = {LinkKind.UP: Link.LIVE, LinkKind.DOWN: Link.GAP, LinkKind.STALE: Link.STALE, LinkKind.REFUSED: Link.REFUSED}
_EVENTS = "events"  # the id of the request for them
_ENDS = frozenset({"serverShutdown", "eventStreamTerminated"})
_SUBSCRIBE = "userDataStream.subscribe.signature"
_SERVER_SHUTDOWN = "!serverShutdown"
_SUBSCRIBED = 1  # the id of our one request on a market stream


class Reply(msgspec.Struct, frozen=True):
    """The answer to one request that left as a frame, in the form in which REST answers."""

    request_id: str
    response: Response


class OrdersSession:
    """Events of the whole account, and answers to what was sent as a frame. No replay: after each login the desk reads by REST what it missed. A
    connection lives 24 hours at most.

    Source: github.com/binance/binance-spot-api-docs, web-socket-api.md and user-data-stream.md
    """

    def __init__(self, url: str, key: Secret, secret: Secret, symbols: codec.Symbols, broker_ns: Callable[[int], int]) -> None:
        """broker_ns: Binance's time at an instant of ours."""
        self._url, self._key, self._secret = url, key, secret
        self._symbols = symbols
        self._broker_ns = broker_ns

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        return Step(send=(self.request(_SUBSCRIBE, _EVENTS, {}, now_ns),))

    def request(self, method: str, request_id: str, params: Mapping[str, str], now_ns: int) -> str:
        """A frame that asks for something, signed in Binance's time."""
        return auth.frame(method, request_id, params, self._key, self._secret, self._broker_ns(now_ns) // 1_000_000)

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. StreamRefused: Binance does not let this key. Broken: it ends the connection."""
        try:
            message = strict.decode(frame, wire.SocketFrame)
            if event := bytes(message.event):
                return self._event(event, now_ns)
            if message.status is None:
                raise ProtocolError("a frame of no kind we know among the account's events", frame)
            if message.id != _EVENTS:
                return Step(events=(Reply(str(message.id), _response(message, now_ns)),))
            if message.status != 200:
                raise _refused(strict.decode(bytes(message.error), wire.Error))
            return Step(ready=True)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"an event of the account that cannot be read ({error})", frame) from None

    def _event(self, raw: bytes, now_ns: int) -> Step:
        kind = msgspec.json.decode(raw, type=wire.EventHead).event
        if kind == "executionReport":
            return Step(events=(codec.decode_event(msgspec.json.decode(raw, type=wire.ExecutionReport), self._symbols, now_ns),))
        if kind in _ENDS:
            raise Broken(f"Binance says {kind}")
        return Step(alive=True)  # balances, lists, locks: the desk reads balances itself

    def stale_after_ns(self) -> int:
        """Orders may be quiet for days: silence is no sign, the watch's polling is."""
        return 0


def _response(message: wire.SocketFrame, recv_ns: int) -> Response:
    """A reply with the headers that REST would have: what is used of the minute's weight, and how long to wait."""
    assert message.status is not None
    headers = {}
    for limit in message.rate_limits or ():
        if (limit.rate_limit_type, limit.interval, limit.interval_num) == ("REQUEST_WEIGHT", "MINUTE", 1) and limit.count is not None:
            headers[USED_HEADER.lower()] = str(limit.count)
    body = bytes(message.result if message.status == 200 else message.error)
    if message.status in BUSY:
        data = strict.decode(body, wire.Error).data
        if data is not None and data.retry_after is not None and data.server_time is not None:
            headers["retry-after"] = str(max(1, -((data.server_time - data.retry_after) // 1000)))
    return Response(status=message.status, headers=headers, body=body, recv_ns=recv_ns)


def _refused(error: wire.Error) -> Exception:
    text = f"Binance's event stream refuses with {error.code} {error.msg}"
    if error.code in UNKNOWN_KEY:
        return StreamRefused(f"{text}. {KEY_HELP}")
    if error.code == CLOCK:
        return Broken(f"{text}; its time is read again")
    return Broken(text)


class StreamsSession(ABC):
    """Some market streams on one connection, combined; what they say is the subclass's to read.

    Source: github.com/binance/binance-spot-api-docs, web-socket-streams.md
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    @abstractmethod
    def streams(self) -> Sequence[str]:
        """Their names: symbols in lower case."""

    @abstractmethod
    def data(self, kind: str, raw: bytes, now_ns: int) -> Step:
        """One message, and what follows the @ in its stream's name."""

    @abstractmethod
    def stale_after_ns(self) -> int:
        """As transport/session.py has it."""

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        """All streams in one frame: five frames a second are the most that Binance takes."""
        return Step(send=(msgspec.json.encode({"method": "SUBSCRIBE", "params": self.streams, "id": _SUBSCRIBED}).decode(),))

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read, or a subscription that Binance does not take. Broken: it ends the connection."""
        try:
            message = msgspec.json.decode(frame, type=wire.StreamFrame)
            if message.stream == _SERVER_SHUTDOWN:
                raise Broken("Binance says serverShutdown")
            if message.stream is not None:
                return self.data(message.stream.partition("@")[2], bytes(message.data), now_ns)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"market data that cannot be read ({error})", frame) from None
        if message.code is None and message.error is None and message.id == _SUBSCRIBED:
            return Step(ready=True)
        raise ProtocolError("Binance's market stream reports something else than data", frame)


class MarketSession(StreamsSession):
    """Quotes, trades and one-minute bars of some pairs."""

    def __init__(self, url: str, wanted: Mapping[str, InstrumentID], kinds: Kinds, broker_ns: Callable[[int], int]) -> None:
        """wanted: our name of each of Binance's symbols."""
        super().__init__(url)
        self._wanted = wanted
        self._kinds = kinds
        self._broker_ns = broker_ns

    @property
    def streams(self) -> Sequence[str]:
        kinds = {"bookTicker": self._kinds.quotes, "trade": self._kinds.trades, "kline_1m": self._kinds.bars}
        return [f"{symbol.lower()}@{kind}" for symbol in sorted(self._wanted) for kind, wanted in kinds.items() if wanted]

    def data(self, kind: str, raw: bytes, now_ns: int) -> Step:
        event: Quote | Trade | Bar | None = None
        if kind == "bookTicker":
            quote = msgspec.json.decode(raw, type=wire.BookTickerMsg)
            event = codec.decode_quote_msg(quote, self._name(quote.symbol), self._broker_ns(now_ns), now_ns)
        elif kind == "trade":
            trade = msgspec.json.decode(raw, type=wire.TradeMsg)
            event = codec.decode_trade_msg(trade, self._name(trade.symbol), now_ns)
        elif kind == "kline_1m":
            kline = msgspec.json.decode(raw, type=wire.KlineMsg).kline
            event = codec.decode_kline_msg(kline, self._name(kline.symbol), MINUTE_NS) if kline.closed else None
        return Step(alive=True) if event is None else Step(events=(event,))

    def _name(self, symbol: str) -> InstrumentID:
        try:
            return self._wanted[symbol]
        except KeyError:
            raise ProtocolError("market data of a pair that nobody asked for", symbol.encode()) from None

    def stale_after_ns(self) -> int:
        """A socket that has gone mute shows by the age of its quotes."""
        return _STALE_NS if self._kinds.quotes else 0


def stream_state(event: LinkEvent, stream: str, recv_ns: int) -> StreamState:
    """A change of the line itself, as the desk takes it."""
    return StreamState(broker=NAME, stream=stream, link=_LINK[event.kind], text=event.text, recv_ns=recv_ns)
