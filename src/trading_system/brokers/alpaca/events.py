"""Alpaca's events of orders and of accounts by server-sent events, sans-IO: streams that can be resumed where they broke. Frames in, events out.

Apart from session.py because it outlives its connections: what it has seen is what the next one asks to go on from.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from trading_system.brokers.alpaca import codec, wire
from trading_system.brokers.alpaca.facts import ACTIVITY_EVENTS_PATH, EVENTS_PATH, EVENTS_SILENCE_NS, HELP
from trading_system.domain.errors import ProtocolError
from trading_system.domain.event import AccountActivity, AccountEvent
from trading_system.transport import strict
from trading_system.transport.framing import decode_event
from trading_system.transport.session import Broken, Step, StreamRefused

SEEN_MAX = 10_000  # ids remembered, so that an event that comes twice is told once
_PLACES = frozenset({400, 404, 422})  # what a place to begin that Alpaca does not know may be answered with
_FOR_EVER = _PLACES | {401, 403}  # a new request would hear the same
_DROPPED = "you are reading too slowly"
_HEAD = msgspec.json.Decoder(wire.EventHead)


class Topic(msgspec.Struct, frozen=True):
    """What a stream of events is about: its name here, where it is, what an event is called and how it is read."""

    name: str
    path: str
    what: str
    kind: type[Any]
    decode: Callable[[Any, int], AccountEvent | AccountActivity]


ORDERS = Topic("orders", EVENTS_PATH, "an order event", wire.TradeEvent, codec.decode_trade_event)
ACTIVITIES = Topic("activities", ACTIVITY_EVENTS_PATH, "an account activity", wire.ActivityEvent, codec.decode_activity_event)
TOPICS: Mapping[str, Topic] = {topic.name: topic for topic in (ORDERS, ACTIVITIES)}


class EventsSession:
    """One reader of a topic for as long as its owner lives: after each reconnect it asks for what came since the last event.

    The first request has no id to go on from: it is live only, or begins at `since`. Ids rise, and one that was seen is dropped.
    Source: docs.alpaca.markets/reference/subscribetotradev2sse, subscribetoactivitiessse
    """

    def __init__(self, topic: Topic, host: str, who: Callable[[], Mapping[str, str]], *, since: str = "", advice: str = "") -> None:
        """who: the headers that say who we are. since: RFC 3339 or a day; empty: only what happens from now on. advice: for who is refused, where
        it is not about an account's keys."""
        self.topic = topic
        self._url = host + topic.path
        self._who = who
        self._since = since
        self._advice = advice
        self._last_id = ""
        self._seen: OrderedDict[str, None] = OrderedDict()

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        query = {"since_id": self._last_id} if self._last_id else {"since": self._since} if self._since else {}
        return f"{self._url}?{urlencode(query)}" if query else self._url, self._who()

    def on_open(self, now_ns: int) -> Step:
        """The answer's head is the login: what happens from now on will come."""
        return Step(ready=True)

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: an event we cannot read; it is past, and the next connection goes on behind it. Broken: Alpaca dropped some."""
        event = decode_event(frame)
        if event.comment is not None and event.comment.startswith(_DROPPED):
            raise Broken(f"Alpaca says: {event.comment}")
        if not event.data:
            return Step(alive=True)
        try:
            message = strict.decode(event.data, self.topic.kind)
            event_id = _HEAD.decode(event.data).event_id
        except wire.UNREADABLE as error:
            self._pass(event.data)
            raise ProtocolError(f"{self.topic.what} that cannot be read ({error})", event.data) from None
        if event_id in self._seen:
            return Step(alive=True)
        self._remember(event_id)
        return Step(events=(self.topic.decode(message, now_ns),))

    def stale_after_ns(self) -> int:
        """An account may be quiet for days, the server is not: it sends comments."""
        return EVENTS_SILENCE_NS

    def on_refused(self, status: int, body: bytes) -> None:
        """Raises StreamRefused: a key, a permission or a place to begin that will not do. An id that is not known (any more) is let go once."""
        if status in _PLACES and self._last_id:
            self._last_id = ""
        elif status in _FOR_EVER:
            said = body[:200].decode("utf-8", "replace")
            raise StreamRefused(f"Alpaca's event stream refuses with HTTP {status}: {said} {self._advice or HELP.get(status, '')}".strip())

    def _remember(self, event_id: str) -> None:
        self._last_id = max(self._last_id, event_id)
        self._seen[event_id] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)

    def _pass(self, data: bytes) -> None:
        """Go on behind an event that cannot be read. Without its id the next connection is live only: it must not hear the same for ever."""
        try:
            self._remember(_HEAD.decode(data).event_id)
        except wire.UNREADABLE:
            self._last_id = self._since = ""
