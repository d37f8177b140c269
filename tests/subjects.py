"""What a broker brings to be tested: its twin, how to reach it, what to trade there. A new broker adds one entry, and passes tests/conformance."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trading_system.brokers import registry
from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.brokers.bybit.twin import BybitTwin
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.ports import Facts
from trading_system.settings.secret import Secret
from trading_system.sim.clock import START_NS
from trading_system.transport.message import Request


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One broker. Data and small functions; the suite knows nothing else of it."""

    broker: BrokerName
    twin: Callable[..., Any]
    credentials: Callable[[Any], Mapping[str, Secret]]
    instruments: Mapping[AssetClass, InstrumentID]
    nobody: InstrumentID  # an instrument that the broker does not have
    misspelt: InstrumentID | None  # one that it has under another spelling, which the refusal names
    statuses: tuple[bytes, ...]  # an order's status as it stands in an answer or a frame: the suite makes words of it that nobody knows
    changes: Callable[[Request], bool]  # whether a request asks for a change of orders
    places: Callable[[Request], bool]  # whether it places one
    options: Mapping[str, str] = {}  # of the connector
    name: str

    @property
    def facts(self) -> Facts:
        return registry.facts(self.broker)

    def make(self, **changes: Any) -> Any:
        """A twin that lets as many requests and streams through as a test may want."""
        return self.twin(**({"seed": 5, "start_ns": START_NS, "requests_per_minute": 100_000, "orders_streams": 50} | changes))


ALPACA = Subject(
    name="alpaca",
    broker=BrokerName("alpaca"),
    twin=AlpacaTwin,
    credentials=lambda twin: {"key": Secret(twin.key), "secret": Secret(twin.secret)},
    instruments={
        AssetClass.EQUITY: InstrumentID("AAPL"),
        AssetClass.CRYPTO: InstrumentID("BTC/USD"),
        AssetClass.OPTION: InstrumentID("AAPL261120C00275000"),
    },
    nobody=InstrumentID("NOBODY"),
    misspelt=InstrumentID("BTCUSD"),
    statuses=(b'"status":"filled"', b'"status":"new"', b'"status":"pending_new"', b'"status":"partially_filled"', b'"status":"accepted"'),
    changes=lambda request: request.method in ("POST", "PATCH", "DELETE"),
    places=lambda request: request.method == "POST" and request.url.endswith("/v2/orders"),
)
ALPACA_SSE = msgspec.structs.replace(ALPACA, name="alpaca-sse", options={"order_events": "sse"})


def _bybit(*, requests_per_minute: int, **changes: Any) -> BybitTwin:
    """What the suite asks as one question is up to four here: two categories, among the living and in the history."""
    return BybitTwin(requests_per_minute=requests_per_minute * 3, **changes)


BYBIT = Subject(
    name="bybit",
    broker=BrokerName("bybit"),
    twin=_bybit,
    credentials=lambda twin: {"key": Secret(twin.key), "secret": Secret(twin.secret)},
    instruments={AssetClass.PERPETUAL: InstrumentID("SOL-PERP/USDT"), AssetClass.CRYPTO: InstrumentID("BTC/USDT")},
    nobody=InstrumentID("NOBODY/USDT"),
    misspelt=InstrumentID("SOLUSDT"),
    statuses=tuple(f'"orderStatus":"{status}"'.encode() for status in ("New", "PartiallyFilled", "Filled", "Cancelled", "Untriggered")),
    changes=lambda request: request.method == "POST",
    places=lambda request: request.method == "POST" and request.url.endswith("/v5/order/create"),
)
SUBJECTS = (ALPACA, BYBIT)
WAYS = (*SUBJECTS, ALPACA_SSE)  # the same brokers, and other ways to hear of orders: for the conformance suite
