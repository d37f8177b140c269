"""Tradier's two streams, sans-IO: the account's events, and market data. Frames in, events and frames out."""

from collections.abc import Iterable, Mapping
from typing import TypeVar
from urllib.parse import urlencode

from trading_system.brokers.tradier import codec, wire
from trading_system.brokers.tradier.auth import account_login, market_login, market_query
from trading_system.brokers.tradier.facts import HELP, NAME, STALE_AFTER_NS
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.ports import Link, StreamState
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.events import JSON_TYPE
from trading_system.transport.session import Broken, Step, StreamRefused
from trading_system.transport.supervise import LinkEvent, LinkKind

_LINK = {LinkKind.UP: Link.LIVE, LinkKind.DOWN: Link.GAP, LinkKind.STALE: Link.STALE, LinkKind.REFUSED: Link.REFUSED}
_KINDS = ["quote", "trade"]
_EMPTY = "$empty$"  # a symbol that nobody has: a list without symbols is refused
_QUIET_NS = 120_000_000_000
_T = TypeVar("_T")


class _Ticketed:
    """A stream that a ticket opens, once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.ticket = Secret("")  # set before each connection is dialled

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_refused(self, status: int, body: bytes) -> None:
        """No ticket was given out. Raises StreamRefused: none will be."""
        if status == 401:
            raise StreamRefused(body.decode("utf-8", "replace"))


class AccountSession(_Ticketed):
    """Order events of the account. Neither a replay nor numbers: after each connection the desk reads by REST what it missed. Nothing confirms the
    login; a heartbeat that does not come shows that it went wrong.

    Source: docs.tradier.com, Streaming account events
    """

    def on_open(self, now_ns: int) -> Step:
        return Step(send=(account_login(self.ticket),), ready=True)

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read, a status we do not know. Broken: the ticket is not taken."""
        _complains(frame, "account")
        event = _read(frame, wire.AccountEvent)
        if event.event == "heartbeat":
            return Step(alive=True)
        if event.event != "order" or event.id is None:
            raise ProtocolError("a frame of no kind we know on the account's stream", frame)
        codec.decode_status(event.status)
        return Step(events=(event,))

    def stale_after_ns(self) -> int:
        return STALE_AFTER_NS


class MarketSession(_Ticketed):
    """Quotes and trades, for symbols that may change while the connection stands; what kinds come may not.

    Source: docs.tradier.com, Streaming market events by WebSocket
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._wanted: frozenset[InstrumentID] = frozenset()
        self._newest: dict[tuple[str, str], int] = {}

    def want(self, instruments: Iterable[InstrumentID]) -> tuple[str, ...]:
        """These from now on. Gives the frame that says so on a connection that stands."""
        before, self._wanted = self._wanted, frozenset(instruments)
        return () if before == self._wanted else (self._login(),)

    def on_open(self, now_ns: int) -> Step:
        return Step(send=(self._login(),), ready=True)

    def _login(self) -> str:
        return market_login(self.ticket, self._symbols(), _KINDS)

    def _symbols(self) -> list[str]:
        return sorted(map(codec.encode_symbol, self._wanted)) or [_EMPTY]

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. Broken: the ticket is not taken."""
        _complains(frame, "market")
        event = _read(frame, wire.MarketEvent)
        if event.type not in ("quote", "trade") or codec.decode_symbol(event.symbol) not in self._wanted:
            return Step(alive=True)  # kinds and symbols that nobody asked for
        told = codec.decode_quote_event(event, now_ns) if event.type == "quote" else codec.decode_trade_event(event, now_ns)
        key = (event.type, event.symbol)
        if told is None or told.transact_ns < self._newest.get(key, 0):
            return Step(alive=True)  # of nothing, or sent again: quiet symbols are repeated
        self._newest[key] = told.transact_ns
        return Step(events=(told,))

    def stale_after_ns(self) -> int:
        return _QUIET_NS if self._wanted else 0


class MarketLines(MarketSession):
    """The same by one long GET, a line for each message. Its address names the symbols: for others it is asked anew.

    Source: docs.tradier.com, Streaming market events by HTTP
    """

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return f"{self._url}?{urlencode(market_query(self.ticket, self._symbols(), _KINDS))}", {"Accept": JSON_TYPE}

    def on_open(self, now_ns: int) -> Step:
        return Step(ready=True)

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises as by WebSocket. Blank lines only keep it open."""
        return super().on_frame(frame, now_ns) if frame.strip() else Step(alive=True)


def _complains(frame: bytes, which: str) -> None:
    if b'"error"' in frame:
        said = _read(frame, wire.MarketEvent).error
        if said is not None:
            raise Broken(f"Tradier's {which} stream says {said}; a new ticket is fetched. {HELP[401]}")


def _read(frame: bytes, kind: type[_T]) -> _T:
    try:
        return strict.decode(frame, kind)
    except wire.UNREADABLE as error:
        raise ProtocolError(f"a frame that cannot be read ({error})", frame) from None


def stream_state(event: LinkEvent, stream: str, recv_ns: int) -> StreamState:
    """A change of the line itself, as the desk takes it."""
    return StreamState(broker=NAME, stream=stream, link=_LINK[event.kind], text=event.text, recv_ns=recv_ns)
