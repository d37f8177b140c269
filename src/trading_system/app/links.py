"""Every stream by its last word: whether it lives, and when anything came over it."""

from collections.abc import Mapping

import msgspec

from trading_system.domain.ids import BrokerName
from trading_system.domain.ports import Link, StreamState

STREAMS_MAX = 200  # that are remembered; the oldest goes
PRICES = "prices"  # what a subscription brings, whatever its socket is called
Stream = tuple[BrokerName, str]


class Heard(msgspec.Struct, frozen=True):
    """link: None while the stream has said nothing of itself. heard_ns: when anything came last, by our clock."""

    link: Link | None
    text: str
    heard_ns: int

    @property
    def lost(self) -> bool:
        return self.link not in (None, Link.LIVE, Link.BACKFILLED)


class Links:
    """Owned by the hub; the watch of each broker adds its order stream."""

    def __init__(self) -> None:
        self._streams: dict[Stream, Heard] = {}

    def take(self, state: StreamState) -> None:
        self._put((state.broker, state.stream), Heard(state.link, state.text, state.recv_ns))

    def heard(self, broker: BrokerName, stream: str, now_ns: int) -> None:
        known = self._streams.get((broker, stream))
        self._put((broker, stream), Heard(None, "", now_ns) if known is None else Heard(known.link, known.text, now_ns))

    def forget(self, broker: BrokerName, streams: set[str]) -> None:
        """Nobody reads them any more."""
        for stream in streams:
            self._streams.pop((broker, stream), None)

    def all(self) -> Mapping[Stream, Heard]:
        return self._streams

    def lost(self, broker: BrokerName) -> str | None:
        """Why no price of this broker's is to be trusted now; None: none of its streams of prices says so."""
        streams = ((stream, heard) for (name, stream), heard in self._streams.items() if name == broker and stream != "orders")
        return next((f"{stream}: {heard.link} {heard.text}".rstrip() for stream, heard in streams if heard.lost), None)

    def _put(self, stream: Stream, heard: Heard) -> None:
        self._streams[stream] = heard
        if len(self._streams) > STREAMS_MAX:
            del self._streams[next(iter(self._streams))]
