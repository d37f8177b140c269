"""What a broker brings to be tested: its twin, how to reach it, what to trade there. A new broker adds one entry, and passes tests/conformance."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from trading_system.brokers import registry
from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.brokers.binance.twin import BinanceTwin
from trading_system.brokers.kraken.twin import KrakenTwin
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
    wide: Mapping[str, Any] = {}  # of the twin: what it limits besides requests
    name: str

    @property
    def facts(self) -> Facts:
        return registry.facts(self.broker)

    def make(self, **changes: Any) -> Any:
        """A twin that lets as many requests and streams through as a test may want."""
        return self.twin(**({"seed": 5, "start_ns": START_NS, "requests_per_minute": 100_000} | self.wide | changes))


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
    wide={"orders_streams": 50},
)
ALPACA_SSE = msgspec.structs.replace(ALPACA, name="alpaca-sse", options={"order_events": "sse"})


BINANCE = Subject(
    name="binance",
    broker=BrokerName("binance"),
    twin=BinanceTwin,
    credentials=lambda twin: {"key": Secret(twin.key), "secret": Secret(twin.secret)},
    instruments={AssetClass.CRYPTO: InstrumentID("ETH/USDT")},
    nobody=InstrumentID("NOBODY"),
    misspelt=InstrumentID("ETHUSDT"),
    statuses=tuple(
        f'"{name}":"{status}"'.encode() for name in ("status", "X") for status in ("NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED")
    ),
    changes=lambda request: request.method != "GET",
    places=lambda request: request.method == "POST" and "/order?" in request.url,
)
KRAKEN = Subject(
    name="kraken",
    broker=BrokerName("kraken"),
    twin=KrakenTwin,
    credentials=lambda twin: {field: Secret(value) for field, value in twin.credentials.items()},
    instruments={AssetClass.CRYPTO: InstrumentID("ETH/USD")},
    nobody=InstrumentID("NOBODY/USD"),
    misspelt=InstrumentID("ETHUSD"),
    statuses=(b'"status":"open"', b'"status":"closed"', b'"order_status":"new"', b'"order_status":"partially_filled"', b'"order_status":"filled"'),
    changes=lambda request: request.url.rpartition("/")[2] in ("AddOrder", "AmendOrder", "CancelOrder"),
    places=lambda request: request.url.endswith("/AddOrder"),
    options={"tier": "pro"},
)
SUBJECTS = (ALPACA, BINANCE, KRAKEN)
WAYS = (*SUBJECTS, ALPACA_SSE)  # the same brokers, and other ways to hear of orders: for the conformance suite
