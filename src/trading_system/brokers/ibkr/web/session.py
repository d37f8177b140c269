"""The WebSocket, sans-IO: orders and trades on one, prices on another. Frames in, events and frames out.

No topic replays anything and none counts: after each connection the desk reads again what it missed.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from trading_system.brokers.ibkr.facts import NAME
from trading_system.brokers.ibkr.web import codec, wire
from trading_system.brokers.ibkr.web.facts import LOGIN_HELP, STALE_AFTER_NS, SUBSCRIBE_EVERY_NS
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.market import Quote, Trade
from trading_system.domain.ports import Link, StreamState
from trading_system.transport import strict
from trading_system.transport.session import Broken, Step, StreamRefused
from trading_system.transport.supervise import LinkEvent, LinkKind

MS = 1_000_000
ALIVE = "tic"
_LINK = {LinkKind.UP: Link.LIVE, LinkKind.DOWN: Link.GAP, LinkKind.STALE: Link.STALE, LinkKind.REFUSED: Link.REFUSED}
_KINDS = frozenset({"system", "act", "blt", "ntf", "tic", "sts"})
_T = TypeVar("_T")


class _Cookied:
    """A socket that the session's cookie opens. cookie, query and number: set before each connection is dialled. current: the number of the session
    there is now; with another one the subscriptions are gone, whether anybody said so or not."""

    def __init__(self, url: str, current: Callable[[], int]) -> None:
        self._url = url
        self._current = current
        self.cookie = ""
        self.query = ""
        self.number = 0

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url + self.query, {"Cookie": self.cookie, "User-Agent": "ClientPortalGW/1"}

    def on_refused(self, status: int, body: bytes) -> None:
        """Raises StreamRefused: the login is none."""
        if status in (401, 403):
            raise StreamRefused(f"IBKR refused the WebSocket with HTTP {status}. {LOGIN_HELP}")

    def stale_after_ns(self) -> int:
        return STALE_AFTER_NS

    def on_open(self, now_ns: int) -> Step:
        return Step()

    def _head(self, frame: bytes) -> wire.Frame:
        """Raises Broken: the socket complains, or belongs to a session that is over."""
        head = _read(frame, wire.Frame)
        if head.error is not None:
            raise Broken(f"IBKR's WebSocket says {head.error}")
        if self.number != self._current():
            raise Broken("the brokerage session is another one than this socket's")
        return head

    def _greeted(self, frame: bytes, head: wire.Frame) -> bool:
        """Whether this is the word that the socket takes subscriptions. Raises Broken: there is no brokerage session any more."""
        if head.topic != "sts":
            return False
        said = _read(frame, wire.State).args
        if said.authenticated is False:
            raise Broken("IBKR says that the brokerage session has ended")
        return said.authenticated is True


class OrderSession(_Cookied):
    """What becomes of orders: rows of `sor`, of which the later ones leave out what has not changed, and executions of `str`, new ones alone: those
    of the day may be from before the desk began.

    Source: interactivebrokers.com/campus/ibkr-api-page/cpapi-v1, WebSockets
    """

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read, a status we do not know. Broken."""
        head = self._head(frame)
        match head.topic:
            case "sor":
                rows = _read(frame, wire.Orders).args
                for row in rows:
                    if row.status:
                        codec.check_status(row.status)
                return Step(events=tuple(rows), alive=True)
            case "str":
                return Step(events=tuple(_read(frame, wire.Trades).args), alive=True)
            case _ if self._greeted(frame, head):
                return Step(send=("sor+{}", 'str+{"realtimeUpdatesOnly":true}'), ready=True)
        _known(frame, head)
        return Step(alive=True)


class PriceSession(_Cookied):
    """Prices, of contracts that may change while the connection stands. A message says what has changed."""

    def __init__(self, url: str, current: Callable[[], int]) -> None:
        super().__init__(url, current)
        self._wanted: dict[int, InstrumentID] = {}
        self._shown: dict[int, dict[str, str]] = {}
        self._asked_ns = 0
        self._ready = False

    def want(self, contracts: Mapping[int, InstrumentID]) -> tuple[str, ...]:
        """These from now on. Gives the frames that say so on a connection that stands."""
        gone, new = self._wanted.keys() - contracts.keys(), contracts.keys() - self._wanted.keys()
        self._wanted = dict(contracts)
        for con_id in gone:
            self._shown.pop(con_id, None)
        return (*(f"umd+{con_id}+{{}}" for con_id in sorted(gone)), *self._asks(new)) if self._ready else ()

    def on_open(self, now_ns: int) -> Step:
        self._ready = False
        self._shown.clear()
        return Step()

    @staticmethod
    def _asks(con_ids: Iterable[int]) -> tuple[str, ...]:
        fields = msgspec.json.encode({"fields": wire.FIELDS}).decode()
        return tuple(f"smd+{con_id}+{fields}" for con_id in sorted(con_ids))

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. Broken."""
        head = self._head(frame)
        if head.topic.startswith("smd+"):
            return Step(events=tuple(self._news(frame, now_ns)), alive=True)
        if self._greeted(frame, head):
            self._ready, self._asked_ns = True, now_ns
            return Step(send=self._asks(self._wanted), ready=True)
        _known(frame, head)
        if self._ready and now_ns - self._asked_ns >= SUBSCRIBE_EVERY_NS:
            self._asked_ns = now_ns
            return Step(send=self._asks(self._wanted), alive=True)
        return Step(alive=True)

    def _news(self, frame: bytes, now_ns: int) -> Iterable[Quote | Trade]:
        message = _read(frame, dict[str, msgspec.Raw])
        con_id = codec.number(message.get("conid", wire.NOTHING))
        instrument = self._wanted.get(0 if con_id is None else int(con_id))
        if con_id is None or instrument is None:
            return
        news = {name: bytes(value).decode().strip('"') for name, value in message.items() if name in wire.FIELDS}
        shown = self._shown.setdefault(int(con_id), {})
        shown |= news
        at_ns = int(codec.number(message.get("_updated", wire.NOTHING)) or 0) * MS or now_ns
        if {wire.BID, wire.ASK, wire.BID_SIZE, wire.ASK_SIZE} & news.keys():
            quote = codec.decode_quote(shown, instrument, at_ns, now_ns)
            if quote is not None:
                yield quote
        if wire.LAST in news or wire.LAST_SIZE in news:
            last = codec.decode_last(shown, instrument, at_ns, now_ns)
            if last is not None:
                yield last


def _known(frame: bytes, head: wire.Frame) -> None:
    if head.topic and head.topic not in _KINDS:
        raise ProtocolError("a frame of no kind we know", frame)


def _read(frame: bytes, kind: type[_T]) -> _T:
    try:
        return strict.decode(frame, kind)
    except wire.UNREADABLE as error:
        raise ProtocolError(f"a frame that cannot be read ({error})", frame) from None


def stream_state(event: LinkEvent, stream: str, recv_ns: int) -> StreamState:
    """A change of the line itself, as the desk takes it."""
    return StreamState(broker=NAME, stream=stream, link=_LINK[event.kind], text=event.text, recv_ns=recv_ns)
