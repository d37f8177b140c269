"""The twin's server-sent events, of orders and of activities: a log with rising ids, and readers that each stand somewhere in it. Sans-IO."""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from random import Random
from typing import Generic, TypeVar

import msgspec

from trading_system.brokers.alpaca import wire
from trading_system.brokers.alpaca.twin.activities import bust_id
from trading_system.brokers.alpaca.twin.forms import JSON, Refusal, bad_parameter, parse_time, settles, too_many
from trading_system.brokers.alpaca.twin.streams import Send, trade_update
from trading_system.brokers.alpaca.twin.trading import TradingDesk
from trading_system.domain.fix import ExecType
from trading_system.sim.exchange import Event
from trading_system.sim.sessions import SECOND_NS, iso
from trading_system.transport.framing import encode_comment, encode_event

ORDERS_PATH = "/v2/events/trades"
ACTIVITIES_PATH = "/v2beta1/events/activities"
HEARTBEAT_NS = 15 * SECOND_NS
LOG_MAX = 50_000  # events that can still be asked for
BITE = 500  # events of the past that one reader gets at a time
BITE_EVERY_NS = SECOND_NS // 100
READERS_MAX = 100
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32
_MILLISECOND_NS = 1_000_000
_RANDOM_BITS = 80
_Event = TypeVar("_Event")


class UlidMaker:
    """ULIDs that rise, also within one millisecond. Source: github.com/ulid/spec"""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._last = 0

    def next(self, now_ns: int) -> str:
        drawn = (now_ns // _MILLISECOND_NS << _RANDOM_BITS) | self._rng.getrandbits(_RANDOM_BITS - 1)  # a bit is left for those that follow
        self._last = max(drawn, self._last + 1)
        return "".join(_ALPHABET[self._last >> shift & 31] for shift in range(125, -1, -5))


class Logged(msgspec.Struct, Generic[_Event], frozen=True):
    """One event as it can be asked for again."""

    event_id: str
    at_ns: int
    event: _Event


class _Reader(msgspec.Struct):
    place: int  # how many events since the twin began it is past
    beat_ns: int
    until_ns: int | None
    until_id: str | None
    pause_ns: int | None = None  # it gets the next bite of the past then


class EventLog(Generic[_Event]):
    """Everything of one kind that happened, and its readers; since and since_id let one begin in the past."""

    def __init__(self, show: Callable[[Logged[_Event]], msgspec.Struct], send: Send, rng: Random) -> None:
        """show: how an event looks on the wire."""
        self.log: list[Logged[_Event]] = []  # ascending by id
        self.conns: dict[int, _Reader] = {}
        self._dropped = 0  # events that have left the log
        self._show = show
        self._send = send
        self._ulids = UlidMaker(rng)

    def open(self, conn: int, query: Mapping[str, str], now_ns: int) -> None:
        """Raises Refusal: parameters that exclude each other, need another, or cannot be read."""
        if len(self.conns) >= READERS_MAX:
            raise too_many()
        since, until, since_id, until_id = (query.get(name) or None for name in ("since", "until", "since_id", "until_id"))
        if since and since_id:
            raise Refusal(422, 40010001, "since and since_id can't be used at the same time")
        if (until and not since) or (until_id and not since_id):
            raise Refusal(422, 40010001, "since is required with until, and since_id with until_id")
        for name, given in (("since_id", since_id), ("until_id", until_id)):
            if given is not None and (len(given) != 26 or not set(given) <= set(_ALPHABET)):
                raise bad_parameter(name)
        place = len(self.log)
        if since is not None:
            since_ns = parse_time(since, "since")
            place = sum(entry.at_ns < since_ns for entry in self.log)
        elif since_id is not None:
            place = bisect_right(self.log, since_id, key=lambda entry: entry.event_id)
        until_ns = None if until is None else parse_time(until, "until")
        reader = self.conns[conn] = _Reader(self._dropped + place, now_ns + HEARTBEAT_NS, until_ns, until_id)
        self._feed(conn, reader, now_ns)

    def publish(self, event: _Event, at_ns: int) -> None:
        self.log.append(Logged(self._ulids.next(at_ns), at_ns, event))
        if len(self.log) > LOG_MAX:
            del self.log[: LOG_MAX // 10]
            self._dropped += LOG_MAX // 10

    def advance(self, now_ns: int) -> None:
        for conn, reader in list(self.conns.items()):
            if reader.pause_ns is None or reader.pause_ns <= now_ns:
                self._feed(conn, reader, now_ns)
            if conn in self.conns and reader.beat_ns <= now_ns:
                self._send(conn, encode_comment("heartbeat"))
                reader.beat_ns = now_ns + HEARTBEAT_NS

    def next_event_ns(self) -> int | None:
        times = [reader.beat_ns for reader in self.conns.values()]
        times += [reader.pause_ns for reader in self.conns.values() if reader.pause_ns is not None]
        times += [reader.until_ns + 1 for reader in self.conns.values() if reader.until_ns is not None]
        return min(times, default=None)

    def _feed(self, conn: int, reader: _Reader, now_ns: int) -> None:
        """What a reader has not had yet, some of it at a time; then its end, if it asked for one."""
        place = max(reader.place - self._dropped, 0)
        for entry in self.log[place : place + BITE]:
            if self._beyond(reader, entry):
                self._end(conn)
                return
            self._send(conn, encode_event(JSON.encode(self._show(entry)), event_id=entry.event_id))
            place += 1
        reader.place = self._dropped + place
        more = place < len(self.log)
        reader.pause_ns = now_ns + BITE_EVERY_NS if more else None
        ids_over = reader.until_id is not None and bool(self.log) and self.log[-1].event_id >= reader.until_id
        time_over = reader.until_ns is not None and now_ns > reader.until_ns
        if not more and (ids_over or time_over):
            self._end(conn)

    @staticmethod
    def _beyond(reader: _Reader, entry: Logged[_Event]) -> bool:
        late = reader.until_ns is not None and entry.at_ns > reader.until_ns
        return late or (reader.until_id is not None and entry.event_id > reader.until_id)

    def _end(self, conn: int) -> None:
        self._send(conn, None)
        del self.conns[conn]


def order_event(desk: TradingDesk, account_id: str, entry: Logged[Event]) -> wire.TradeEvent:
    """The data of trade_updates, and what only this stream has."""
    update = trade_update(desk, entry.event)
    shown = wire.TradeEvent(**{name: getattr(update, name) for name in update.__struct_fields__}, account_id=account_id)
    shown.at, shown.event_id = iso(entry.at_ns), entry.event_id
    if entry.event.exec_type is ExecType.TRADE_CANCEL and update.execution_id is not None:
        shown.execution_id, shown.previous_execution_id = bust_id(update.execution_id), update.execution_id
    if entry.event.exec_type is ExecType.TRADE:
        crypto = "/" in entry.event.order.symbol
        shown.settle_date = settles(entry.event.transact_ns, crypto=crypto)
        shown.swap_rate = "1" if crypto else None
    return shown


def activity_event(entry: Logged[wire.ActivityEvent]) -> wire.ActivityEvent:
    """What was booked, under its id."""
    return msgspec.structs.replace(entry.event, event_id=entry.event_id, at=iso(entry.at_ns))


def too_slow() -> bytes:
    """What this stream says to a reader that falls behind."""
    return encode_comment("you are reading too slowly, dropped messages")
