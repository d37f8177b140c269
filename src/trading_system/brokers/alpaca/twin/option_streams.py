"""The twin's option streams: quotes and trades of contracts, in msgpack alone. Both feeds carry the same market.

Apart from the other data streams because of their own refusals, and because contracts are known from the first time somebody names them: "*" for
trades means those.
Source: docs.alpaca.markets/docs/real-time-option-data
"""

from collections.abc import Mapping
from typing import ClassVar

from trading_system.brokers.alpaca import facts, wire
from trading_system.brokers.alpaca.twin.options import OptionDesk
from trading_system.brokers.alpaca.twin.streams import DataConn, DataStreams, Send
from trading_system.domain.ids import InstrumentID
from trading_system.domain.option import is_option
from trading_system.sim.market import Market

SYMBOLS_MAX = 200  # quotes or trades on the free plan


class OptionStreams(DataStreams):
    """/v1beta1/indicative, and /v1beta1/opra where the plan has it."""

    FEEDS: ClassVar[Mapping[str, str]] = {path: feed for feed, path in facts.OPTION_STREAMS.items()}

    def __init__(self, options: OptionDesk, market: Market, send: Send, key: str, secret: str, *, opra: bool) -> None:
        super().__init__(market, options.showers, send, key, secret, sip=opra, symbol_limit=SYMBOLS_MAX)
        self._options = options

    def open(self, conn: int, path: str, now_ns: int, *, msgpack: bool) -> None:
        super().open(conn, path, now_ns, msgpack=msgpack)
        if not msgpack:
            self._error(conn, 412, "option messages are only available in MsgPack format")
            self._send(conn, None)

    def _subscribe(self, conn: int, state: DataConn, action: wire.DataAction, now_ns: int) -> None:
        if any(getattr(action, name) for name in self.LISTS if name not in ("trades", "quotes")):
            self._error(conn, 410, "invalid subscribe action for this feed")
        elif "*" in action.quotes:
            self._error(conn, 413, "star subscription is not allowed for option quotes")
        else:
            for name in (*action.trades, *action.quotes):
                self._options.open(name, now_ns)
            super()._subscribe(conn, state, action, now_ns)

    @staticmethod
    def _lists(state: DataConn) -> Mapping[str, list[str]]:
        return {name: sorted(state.lists[name]) for name in ("trades", "quotes")}

    def _carries(self, feed: str, name: str) -> bool:
        return name in self._showers and is_option(InstrumentID(name))
