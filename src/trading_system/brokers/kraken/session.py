"""Kraken's two streams, sans-IO: the account's (executions, balances, order entry) and market data. Frames in, events and frames out."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import msgspec

from trading_system.brokers.kraken import codec, wire
from trading_system.brokers.kraken.auth import method
from trading_system.brokers.kraken.errors import Meaning, meaning, refusal
from trading_system.brokers.kraken.facts import NAME, PERMISSION_HELP, STALE_AFTER_NS
from trading_system.domain.errors import AuthFailed, ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import Bar
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.session import Broken, Step, StreamRefused
from trading_system.transport.supervise import LinkEvent, LinkKind

RENEW_WITHIN_NS = 3_000_000_000  # a channel that was subscribed to again has to begin
ORDERS_MAX = 5_000  # orders whose earlier entries are remembered
_LINK = {LinkKind.UP: Link.LIVE, LinkKind.DOWN: Link.GAP, LinkKind.STALE: Link.STALE, LinkKind.REFUSED: Link.REFUSED}
_EXECUTIONS = msgspec.json.Decoder(list[wire.Execution])
_BALANCES = msgspec.json.Decoder(list[wire.BalanceChange])
_FRAME = msgspec.json.Decoder(wire.Frame)
_TICKS = msgspec.json.Decoder(list[wire.Tick])
_TRADES = msgspec.json.Decoder(list[wire.TradeTick])
_BARS = msgspec.json.Decoder(list[wire.Ohlc])
_ASKED_WITH: Mapping[str, Mapping[str, object]] = {
    # The last trades, however old, would come without their orders' client ids and quantities: TradesHistory has them whole, and since when one asks.
    "executions": {"snap_orders": True, "snap_trades": False},
    "balances": {"snapshot": True},
    "ticker": {"event_trigger": "bbo"},
    "trade": {"snapshot": False},
    "ohlc": {"interval": 1, "snapshot": False},
}
_QUIET = ("status", "heartbeat")
FIRST_FREE = 10  # request numbers below it are the session's own
_SUBSCRIPTIONS = ("executions", "balances")


class Moved(msgspec.Struct, frozen=True):
    """Money or coins moved, and no trade did it."""

    change: wire.BalanceChange


class Hole(msgspec.Struct, frozen=True):
    """Numbers are missing in a channel: it is subscribed to again."""

    text: str


class Whole(msgspec.Struct, frozen=True):
    """Every channel has begun anew."""


class Reply(msgspec.Struct, frozen=True):
    """The answer to a method that went over the stream."""

    frame: wire.Frame


class PrivateSession:
    """Executions, balances and replies of one account. Each connection has a token of its own; the subscription is the login.

    Every connection begins with the open orders; what traded or ended before that while nobody listened, the desk reads by REST.
    Where a number is missing, the channel is subscribed to again, and begins anew; what comes meanwhile is handed on as it is.
    Source: docs.kraken.com/api/docs/websocket-v2/executions
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.token = Secret("")  # set before each connection is dialled
        self._seen: dict[str, int] = {}
        self._up: set[str] = set()
        self._renewed_ns: dict[str, int] = {}  # since when a channel is to begin anew
        self._orders: OrderedDict[str, wire.Execution] = OrderedDict()

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        self._seen, self._up, self._renewed_ns = {}, set(), {}
        return Step(send=tuple(self._method("subscribe", channel) for channel in _SUBSCRIPTIONS))

    def _method(self, name: str, channel: str) -> str:
        more = _ASKED_WITH[channel] if name == "subscribe" else {}
        return method(name, 1 + _SUBSCRIPTIONS.index(channel), self.token, {"channel": channel, **more})

    def on_refused(self, status: int, body: bytes) -> None:
        """No token was given out. Raises StreamRefused: none will be."""
        if status == 401:
            raise StreamRefused(body.decode())

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. StreamRefused: the key may not listen. Broken: a channel does not begin anew."""
        if any(since_ns + RENEW_WITHIN_NS < now_ns for since_ns in self._renewed_ns.values()):
            raise Broken("a channel was subscribed to again, and nothing came")
        try:
            message = strict.decode(frame, wire.Frame)
            if message.channel in _SUBSCRIPTIONS:
                return self._data(message, now_ns)
            if message.channel in _QUIET or message.method in ("pong", "unsubscribe"):
                return Step(alive=True)
            if message.method == "subscribe":
                return self._subscribed(message)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"an account event that cannot be read ({error})", frame) from None
        if message.method:
            return Step(events=(Reply(message),))
        raise ProtocolError("a frame of no kind we know on the account's stream", frame)

    def _subscribed(self, message: wire.Frame) -> Step:
        if not message.success:
            raise _denied(message.error)
        self._up.add(_CHANNEL.decode(message.result).channel)
        return Step(ready=self._up == set(_SUBSCRIPTIONS))

    def _data(self, message: wire.Frame, now_ns: int) -> Step:
        channel, number = message.channel, message.sequence
        seen, renewing = self._seen.get(channel, 0), channel in self._renewed_ns
        anew = message.type == "snapshot"
        if 0 < number <= seen and not (renewing and anew):
            if renewing and number < seen:
                raise Broken(f"{channel} began anew with number {number}")
            return Step(alive=True)  # the same frame again
        self._seen[channel] = number
        events = self._events(message)
        if seen and not renewing and not anew and number != seen + 1:
            self._renewed_ns[channel] = now_ns
            hole = Hole(f"{channel}: number {number} came after {seen}")
            return Step(events=(hole, *events), send=(self._method("unsubscribe", channel), self._method("subscribe", channel)))
        if renewing and anew:
            del self._renewed_ns[channel]
            events = events if self._renewed_ns else (*events, Whole())
        return Step(events=events, alive=True)

    def _events(self, message: wire.Frame) -> tuple[object, ...]:
        if message.channel == "executions":
            return tuple(self._whole(entry) for entry in _EXECUTIONS.decode(message.data))
        changes = _BALANCES.decode(message.data) if message.type == "update" else ()
        return tuple(Moved(change) for change in changes if change.type != codec.TRADE)

    def _whole(self, entry: wire.Execution) -> wire.Execution:
        """An entry with all that was said of its order before. What is of one trade alone is not carried on."""
        known = self._orders.get(entry.order_id)
        if known is not None:
            told = {name: value for name in entry.__struct_fields__ if (value := getattr(entry, name)) is not None}
            entry = msgspec.structs.replace(known, **told)
        if entry.order_id:
            self._orders[entry.order_id] = msgspec.structs.replace(entry, **_OF_ONE_TRADE)
            self._orders.move_to_end(entry.order_id)
            if len(self._orders) > ORDERS_MAX:
                self._orders.popitem(last=False)
        return entry

    def stale_after_ns(self) -> int:
        """Heartbeats fill every silence, so silence is a dead line."""
        return STALE_AFTER_NS


class _Channel(msgspec.Struct):
    channel: str


_CHANNEL = msgspec.json.Decoder(_Channel)
_OF_ONE_TRADE = dict.fromkeys(
    ("exec_id", "trade_id", "last_qty", "last_price", "cost", "liquidity_ind", "fees", "reason", "cancel_reason", "timestamp")
)


class DataSession:
    """Quotes, trades and one-minute bars of some pairs, over one public connection.

    A bar is told of once the next one has begun: Kraken says it again with every trade and never that it is over.
    Source: docs.kraken.com/api/docs/websocket-v2/ticker, trade, ohlc
    """

    def __init__(self, url: str, instruments: Sequence[InstrumentID], kinds: Kinds) -> None:
        self._url = url
        self._symbols = tuple(instruments)
        self._channels = tuple(name for name, wanted in (("ticker", kinds.quotes), ("trade", kinds.trades), ("ohlc", kinds.bars)) if wanted)
        self._missing: set[tuple[str, str]] = set()
        self._bars: dict[InstrumentID, Bar] = {}

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        self._bars = {}
        self._missing = {(channel, symbol) for channel in self._channels for symbol in self._symbols}
        return Step(send=tuple(self._subscribe(channel, place) for place, channel in enumerate(self._channels, start=1)))

    def _subscribe(self, channel: str, req_id: int) -> str:
        more = _ASKED_WITH[channel]
        params = {"channel": channel, "symbol": self._symbols, **more}
        return msgspec.json.encode({"method": "subscribe", "params": params, "req_id": req_id}).decode()

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. StreamRefused: a pair that Kraken does not have."""
        try:
            message = _FRAME.decode(frame)
            match message.channel:
                case "ticker":
                    return Step(events=tuple(codec.decode_tick(tick, now_ns) for tick in _TICKS.decode(message.data)))
                case "trade":
                    return Step(events=tuple(codec.decode_trade_tick(tick, now_ns) for tick in _TRADES.decode(message.data)))
                case "ohlc":
                    bars = tuple(done for bar in _BARS.decode(message.data) for done in self._over(codec.decode_bar(bar)))
                    return Step(events=bars, alive=True)
                case "" if message.method == "subscribe":
                    return self._subscribed(message)
                case "" if message.method != "pong" and not message.method:
                    raise ProtocolError("a frame of no kind we know in market data", frame)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"market data that cannot be read ({error})", frame) from None
        return Step(alive=True)

    def _subscribed(self, message: wire.Frame) -> Step:
        if not message.success:
            raise StreamRefused(f"Kraken's data stream refuses: {message.error} {message.symbol}".strip())
        result = _DATA_CHANNEL.decode(message.result)
        self._missing.discard((result.channel, result.symbol))
        return Step(ready=not self._missing)

    def _over(self, bar: Bar) -> tuple[Bar, ...]:
        last = self._bars.get(bar.instrument)
        self._bars[bar.instrument] = bar
        return () if last is None or last.open_ns >= bar.open_ns else (last,)

    def stale_after_ns(self) -> int:
        return STALE_AFTER_NS


class _DataChannel(msgspec.Struct):
    channel: str
    symbol: str


_DATA_CHANNEL = msgspec.json.Decoder(_DataChannel)


def _denied(error: str) -> Exception:
    """What a refused subscription of the account stands for."""
    found = meaning((error,))
    if found is Meaning.PERMISSION:
        return StreamRefused(f"Kraken's account stream refuses: {error}. {PERMISSION_HELP}")
    refused = refusal((error,), changes=False)
    if isinstance(refused, AuthFailed):
        return Broken(str(refused))  # a token that ran out: the next connection has a new one
    return Broken(str(refused)) if found is not None else ProtocolError("Kraken's account stream reports an error", error.encode())


def stream_state(event: LinkEvent, stream: str, recv_ns: int) -> StreamState:
    """A change of the line itself, as the desk takes it."""
    return StreamState(broker=NAME, stream=stream, link=_LINK[event.kind], text=event.text, recv_ns=recv_ns)
