"""Alpaca's two streams, sans-IO: orders (trade_updates) and market data. Frames in, events and frames out."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from trading_system.brokers.alpaca import codec, wire
from trading_system.brokers.alpaca.auth import data_login, orders_login
from trading_system.brokers.alpaca.facts import FREE_STREAM_SYMBOLS, HELP, NAME
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.ports import Link, StreamState
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.session import Broken, Step, StreamRefused
from trading_system.transport.supervise import LinkEvent, LinkKind

_MINUTE_NS = 60_000_000_000
_CONTROL = msgspec.json.Decoder(wire.StreamData)
_UPDATE = msgspec.json.Decoder(wire.TradeUpdate)
_LINK = {LinkKind.UP: Link.LIVE, LinkKind.DOWN: Link.GAP, LinkKind.STALE: Link.STALE, LinkKind.REFUSED: Link.REFUSED}
_LISTEN = '{"action":"listen","data":{"streams":["trade_updates"]}}'
_LOGIN_ERRORS = frozenset({402, 403, 408, 409, 411})  # a new connection would hear the same
_PASSING = {  # a new connection, after a pause, may well not
    406: "another program, or a connection that died a minute ago, has the only one that this key may have to the feed",
    407: "what waited to be read is lost",
}
_TOO_MANY = 405
_PLAN = f"the free plan has {FREE_STREAM_SYMBOLS} symbols for all subscriptions together; read fewer, or get the plan for more"
_LISTS = ("quotes", "trades", "bars")


class OrdersSession:
    """Order events of the whole account. No replay and no sequence numbers: after each login the desk reads by REST what it missed.

    Paper sends binary frames that hold JSON, live sends text: both are read.
    Source: docs.alpaca.markets/docs/websocket-streaming
    """

    def __init__(self, url: str, key: Secret, secret: Secret) -> None:
        self._url, self._key, self._secret = url, key, secret

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        return Step(send=(orders_login(self._key, self._secret),))

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. StreamRefused: Alpaca does not know the key."""
        try:
            message = strict.decode(frame, wire.StreamFrame)
            if message.stream == "trade_updates":
                return Step(events=(codec.decode_trade_update(_UPDATE.decode(message.data), now_ns),))
            data = _CONTROL.decode(message.data)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"an order event that cannot be read ({error})", frame) from None
        if message.stream == "authorization":
            if data.status != "authorized":
                raise StreamRefused(f"Alpaca's order stream does not accept the key. {HELP[401]}")
            return Step(send=(_LISTEN,))
        if message.stream == "listening":
            return Step(ready="trade_updates" in (data.streams or ()))
        if message.action == "error":
            raise ProtocolError(f"Alpaca's order stream reports: {data.error_message}", frame)
        raise ProtocolError("a frame of no kind we know on the order stream", frame)

    def stale_after_ns(self) -> int:
        """Orders may be quiet for days: silence is no sign, the watch's polling is."""
        return 0


Lists = Mapping[str, frozenset[InstrumentID]]


class TooManySymbols(msgspec.Struct, frozen=True):
    """The last change of what is wanted was refused; what was wanted before still comes."""

    text: str


class DataSession:
    """Quotes, trades and bars of one feed, for symbols that may change while the connection stands.

    Source: docs.alpaca.markets/docs/streaming-market-data
    """

    def __init__(self, url: str, key: Secret, secret: Secret) -> None:
        self._url, self._key, self._secret = url, key, secret
        self._wanted: Lists = dict.fromkeys(_LISTS, frozenset())
        self._asked: Lists = self._wanted  # of this connection
        self._held: Lists = self._wanted  # as Alpaca last confirmed it
        self._known: frozenset[InstrumentID] = frozenset()
        self._logged_in = False

    def want(self, wanted: Mapping[str, Iterable[InstrumentID]]) -> tuple[str | bytes, ...]:
        """quotes, trades, bars: each with its symbols, from now on. Gives the frames that say so on a connection that stands."""
        self._wanted = {name: frozenset(wanted[name]) for name in _LISTS}
        self._known = frozenset().union(*self._wanted.values())
        return self._changes() if self._logged_in else ()

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        """The server speaks first."""
        self._logged_in = False
        self._asked = self._held = dict.fromkeys(_LISTS, frozenset())
        return Step()

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. StreamRefused: a key, plan or subscription that cannot work."""
        events: list[object] = []
        send: list[str | bytes] = []
        ready = False
        try:
            messages = self._read(frame)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"market data that cannot be read ({error})", frame) from None
        for message in messages:
            match message:
                case wire.SuccessMsg(msg="connected"):
                    send.append(self._said(data_login(self._key, self._secret)))
                case wire.SuccessMsg(msg="authenticated"):
                    self._logged_in = True
                    send += self._changes()
                case wire.SubscriptionMsg():
                    ready = True
                    self._held = {name: frozenset(map(InstrumentID, getattr(message, name) or ())) for name in _LISTS}
                case wire.ErrorMsg(code=code, msg=text) if code == _TOO_MANY:
                    self._asked = self._held  # the whole change was refused
                    events.append(TooManySymbols(f"Alpaca's data stream refuses with 405 {text}: {_PLAN}"))
                case wire.ErrorMsg(code=code, msg=text):
                    raise stream_error(code, text)
                case wire.QuoteMsg() | wire.TradeMsg() | wire.BarMsg():
                    event = self._event(message, now_ns)
                    if event is not None:
                        events.append(event)
                case _:
                    pass  # statuses, corrections and kinds added later: not asked for
        return Step(events=tuple(events), send=tuple(send), ready=ready)

    def stale_after_ns(self) -> int:
        """A connected socket that has gone mute shows by the age of its quotes; symbols that seldom trade make that a long time."""
        return 2 * _MINUTE_NS if self._wanted["quotes"] else 0

    def _read(self, frame: bytes) -> Sequence[wire.DataMsg | wire.UnknownMsg]:
        return wire.data_messages(frame)

    def _said(self, frame: str) -> str | bytes:
        return frame

    def _changes(self) -> tuple[str | bytes, ...]:
        """From what was asked for to what is wanted. What is no longer wanted goes first: the plan counts symbols."""
        gone = {name: tuple(sorted(self._asked[name] - self._wanted[name])) for name in _LISTS}
        new = {name: tuple(sorted(self._wanted[name] - self._asked[name])) for name in _LISTS}
        self._asked = self._wanted
        return tuple(self._said(frame) for frame in (*_action("unsubscribe", gone), *_action("subscribe", new)))

    def _event(self, message: wire.QuoteMsg | wire.TradeMsg | wire.BarMsg, now_ns: int) -> Quote | Trade | Bar | None:
        instrument = InstrumentID(message.S)
        if instrument not in self._known:
            return None
        if isinstance(message, wire.QuoteMsg):
            return codec.decode_quote(message, instrument, now_ns)
        if isinstance(message, wire.TradeMsg):
            return codec.decode_trade(message, instrument, now_ns)
        return codec.decode_bar(message, instrument, _MINUTE_NS)


class OptionSession(DataSession):
    """Options, which Alpaca tells of in MessagePack alone.

    Source: docs.alpaca.markets/docs/real-time-option-data
    """

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {"Content-Type": "application/msgpack"}

    def _read(self, frame: bytes) -> Sequence[wire.DataMsg | wire.UnknownMsg]:
        return wire.packed_messages(frame)

    def _said(self, frame: str) -> str | bytes:
        return wire.packed(frame)


def _action(action: str, lists: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The frame for a change, where there is one."""
    if not any(lists.values()):
        return ()
    frame = wire.DataAction(action=action, quotes=lists["quotes"], trades=lists["trades"], bars=lists["bars"])
    return (msgspec.json.encode(frame).decode(),)


def stream_state(event: LinkEvent, stream: str, recv_ns: int) -> StreamState:
    """A change of the line itself, as the desk takes it."""
    return StreamState(broker=NAME, stream=stream, link=_LINK[event.kind], text=event.text, recv_ns=recv_ns)


def stream_error(code: int, text: str) -> Exception:
    """What an error message of a data stream stands for."""
    if code in _LOGIN_ERRORS:
        return StreamRefused(f"Alpaca's data stream refuses with {code} {text}. {HELP[403]}")
    if code in _PASSING:
        return Broken(f"Alpaca's data stream says {code} {text}: {_PASSING[code]}")
    return ProtocolError(f"Alpaca's data stream reports {code} {text}")
