"""What a broker brings to be tested: its twin, how to reach it, what to trade there. A new broker adds one entry, and passes tests/conformance."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec

from trading_system.app.profile import profiled
from trading_system.brokers import registry
from trading_system.brokers.alpaca.twin import AlpacaTwin
from trading_system.brokers.binance.twin import BinanceTwin
from trading_system.brokers.bybit.twin import BybitTwin
from trading_system.brokers.ibkr import facts as facts_of_ibkr
from trading_system.brokers.ibkr.twin import TwsTwin
from trading_system.brokers.ibkr.twin.web import WebTwin
from trading_system.brokers.kraken.twin import KrakenTwin
from trading_system.brokers.oanda.twin import OandaTwin
from trading_system.brokers.tradier.twin import TradierTwin
from trading_system.domain.errors import InDoubt, RateLimited, Rejected
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, OrderID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Order
from trading_system.domain.ports import Facts
from trading_system.settings.keys import parts_of
from trading_system.settings.secret import Secret
from trading_system.sim.clock import START_NS
from trading_system.sim.exchange import NO_LATENCY, Latency
from trading_system.transport.message import Request


async def questions(connector: Any) -> None:
    """Where questions and orders share one budget."""
    for letter in "abcdefghijklmnopqrst":
        await connector.order_status(ClOrdID(f"q1{'a' * 14}{letter}b"))


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One broker. Data and small functions; the suite knows nothing else of it."""

    broker: BrokerName
    twin: Callable[..., Any]
    credentials: Callable[[Any], Mapping[str, Secret]]
    instruments: Mapping[AssetClass, InstrumentID]
    nobody: InstrumentID  # an instrument that the broker does not have
    misspelt: InstrumentID | None  # one that it has under another spelling, which the refusal names
    statuses: tuple[bytes, ...]  # an order's status as it stands in an answer or a frame: the suite makes words of it that nobody knows
    changes: Callable[[Request], bool]  # whether a request asks for a change of orders; one that leaves as a frame is its body alone
    places: Callable[[Request], bool]  # whether it places one
    replies: Callable[[bytes], bool] = lambda _frame: False  # whether a frame is the answer to a request
    tells_trail: bool = True  # where a trailing stop stands
    trails_trades: bool = False  # whether a trailing stop is the exit of a trade that is there, by an amount of money
    names_fills: bool = True  # whether each execution has a name of its own; else what came between two looks is told as one
    tells_settlements: bool = True  # whether it says in time what became of an option
    checks: Callable[[Request], bool] = lambda _request: False  # whether a request to place an order is one to check it alone
    keeps_ids: bool = False  # whether a changed order goes on under the ids it had
    covers_parts: bool = False  # whether it makes exits for each part that an entry fills, and not for the whole alone
    ends_exits_singly: bool = False  # whether one exit that is cancelled leaves the other
    fills_whole: bool = False  # whether it fills an order of ordinary size by one execution
    one_line: bool = False  # whether everything goes over one connection: who hears nothing on it hears nothing at all
    names_fields: bool = True  # whether what is sent has names, and does not stand in a row
    lists_questions: bool = True  # whether each question about an order is one of its own
    cancels_others: bool = True  # whether what another connection of the user has placed can be cancelled one by one
    beside: Callable[[int], Mapping[str, str]] = lambda _number: {}  # options of a connector that stands beside others
    spends: Callable[[Any], Awaitable[None]] = questions  # asks a connector for so much that no order fits into the budget any more
    options: Mapping[str, str] = {}  # of the connector
    wide: Mapping[str, Any] = {}  # of the twin: what it limits besides requests
    symbol: str  # one instrument as the broker spells it; it takes GTC limit orders of one unit
    name: str

    @property
    def facts(self) -> Facts:
        return registry.facts(self.broker)

    def connect(self, **how: Any) -> Any:
        """A connector, under its profile's name where it is one's."""
        connector = registry.folder(self.broker).connect(**how)
        return profiled(connector, self.broker) if parts_of(self.broker)[1] else connector

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
    symbol="AAPL",
)
ALPACA_IRA = msgspec.structs.replace(ALPACA, name="alpaca-ira", broker=BrokerName("alpaca-ira"))  # a profile
ALPACA_SSE = msgspec.structs.replace(ALPACA, name="alpaca-sse", options={"order_events": "sse"})


def _binance(*, requests_per_minute: int, latency: Latency = NO_LATENCY, **changes: Any) -> BinanceTwin:
    """Its engine answers when it is through, and it counts orders too."""
    assert latency == NO_LATENCY
    return BinanceTwin(requests_per_minute=requests_per_minute, orders_per_10_s=requests_per_minute, **changes)


BINANCE = Subject(
    name="binance",
    broker=BrokerName("binance"),
    twin=_binance,
    credentials=lambda twin: {"key": Secret(twin.key), "secret": Secret(twin.secret)},
    instruments={AssetClass.CRYPTO: InstrumentID("ETH/USDT")},
    nobody=InstrumentID("NOBODY"),
    misspelt=InstrumentID("ETHUSDT"),
    statuses=tuple(
        f'"{name}":"{status}"'.encode() for name in ("status", "X") for status in ("NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED")
    ),
    changes=lambda request: request.method in ("POST", "DELETE") or b'"method":"order' in request.body or b'.cancelAll"' in request.body,
    places=lambda request: (request.method == "POST" and ("/order?" in request.url or "/orderList/" in request.url)) or b".place" in request.body,
    tells_trail=False,
    replies=lambda frame: frame.startswith(b'{"id":') and not frame.startswith(b'{"id":"events"'),
    symbol="ETHUSDT",
)
BINANCE_WS = msgspec.structs.replace(BINANCE, name="binance-ws", options={"order_entry": "websocket"})


async def young_cancels(connector: Any) -> None:
    """Kraken counts orders for each pair apart from all else, and a cancel of a young one eight times."""
    ghost = Order(
        cl_ord_id=ClOrdID("q1aaaaaaaaaaaaaaaa"),
        order_id=OrderID("OAAAAA-AAAAA-AAAAAA"),
        broker=BrokerName("kraken"),
        account="",
        instrument=InstrumentID("ETH/USD"),
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_qty=Decimal(1),
        sent_ns=1 << 62,
    )
    outcomes = await asyncio.gather(*(connector.cancel(ghost) for _ in range(40)), return_exceptions=True)

    assert {type(outcome) for outcome in outcomes} <= {InDoubt, Rejected}  # of so many at once some overtake others


_KRAKEN_ADDS = b'"method":"add_order"'
KRAKEN = Subject(
    name="kraken",
    broker=BrokerName("kraken"),
    keeps_ids=True,
    twin=KrakenTwin,
    credentials=lambda twin: {field: Secret(value) for field, value in twin.credentials.items()},
    instruments={AssetClass.CRYPTO: InstrumentID("ETH/USD")},
    nobody=InstrumentID("NOBODY/USD"),
    misspelt=InstrumentID("ETHUSD"),
    statuses=(
        *(f'"order_status":"{status}"'.encode() for status in ("new", "partially_filled", "filled")),
        *(f'"status":"{status}"'.encode() for status in ("open", "closed")),
        b'"type":"buy"',  # a trade's row says no status
    ),
    changes=lambda request: (
        request.url.rpartition("/")[2] in ("AddOrder", "AmendOrder", "CancelOrder", "CancelAll", "CancelAllOrdersAfter")
        or _KRAKEN_ADDS in request.body
    ),
    places=lambda request: request.url.endswith("/AddOrder") or _KRAKEN_ADDS in request.body,
    checks=lambda request: request.url.endswith("/AddOrder") and b"validate=true" in request.body,
    options={"tier": "pro"},
    wide={"tier": "pro"},
    spends=young_cancels,
    symbol="ETH/USD",
)


async def quotes(connector: Any) -> None:
    """Bybit counts all requests of an address together, in five seconds; orders leave three tenths of them alone."""
    await asyncio.gather(*[connector.quote(InstrumentID("BTC/USDT")) for _ in range(420)])


def _bybit(*, requests_per_minute: int, **changes: Any) -> BybitTwin:
    """What the suite asks as one question is up to eight here: four categories, among the living and in the history."""
    return BybitTwin(requests_per_minute=requests_per_minute * 7, **changes)


BYBIT = Subject(
    name="bybit",
    broker=BrokerName("bybit"),
    keeps_ids=True,
    covers_parts=True,
    twin=_bybit,
    credentials=lambda twin: {"key": Secret(twin.key), "secret": Secret(twin.secret)},
    instruments={
        AssetClass.PERPETUAL: InstrumentID("SOL-PERP/USDT"),
        AssetClass.CRYPTO: InstrumentID("BTC/USDT"),
        AssetClass.FUTURE: InstrumentID("SOL-25DEC26/USDT"),
        AssetClass.CRYPTO_OPTION: InstrumentID("BTC-25DEC26-140000-C/USDT"),
    },
    nobody=InstrumentID("NOBODY/USDT"),
    misspelt=InstrumentID("SOLUSDT"),
    statuses=tuple(f'"orderStatus":"{status}"'.encode() for status in ("New", "PartiallyFilled", "Filled", "Cancelled", "Untriggered")),
    changes=lambda request: request.method == "POST" or b'"op":"order.' in request.body,
    places=lambda request: request.url.endswith("/v5/order/create") or b'"op":"order.create"' in request.body,
    replies=lambda frame: frame.startswith(b'{"reqId":'),
    spends=quotes,
    symbol="SOLUSDT",
)
BYBIT_INVERSE = msgspec.structs.replace(
    BYBIT,
    name="bybit-inverse",
    instruments={AssetClass.PERPETUAL: InstrumentID("SOL-PERP/USD"), AssetClass.CRYPTO: InstrumentID("BTC/USDT")},
    symbol="SOLUSD",
)
BYBIT_WS = msgspec.structs.replace(BYBIT, name="bybit-ws", options={"order_entry": "websocket"})


async def refused_questions(connector: Any) -> None:
    """OANDA says nothing of its budget before it is spent."""
    ghosts = (ClOrdID(f"q1{'a' * 14}{letter}{other}") for letter in "abcdefgh" for other in "abcdefgh")
    outcomes = await asyncio.gather(*(connector.order_status(ghost) for ghost in ghosts), return_exceptions=True)

    assert any(isinstance(outcome, RateLimited) for outcome in outcomes)


OANDA = Subject(
    name="oanda",
    broker=BrokerName("oanda"),
    trails_trades=True,
    tells_trail=False,  # only to those who ask
    covers_parts=True,
    ends_exits_singly=True,
    fills_whole=True,
    twin=OandaTwin,
    credentials=lambda twin: {field: Secret(value) for field, value in twin.credentials.items()},
    instruments={AssetClass.FOREX: InstrumentID("EUR/USD")},
    nobody=InstrumentID("NOBODY/USD"),
    misspelt=InstrumentID("EURUSD"),
    statuses=(
        *(f'"state":"{state}"'.encode() for state in ("PENDING", "FILLED", "CANCELLED", "OPEN")),
        *(f'"reason":"{reason}"'.encode() for reason in ("MARKET_ORDER", "LIMIT_ORDER")),
    ),
    changes=lambda request: request.method in ("POST", "PUT"),
    places=lambda request: request.method == "POST",
    spends=refused_questions,
    symbol="EUR_USD",
)


async def lost_cancels(connector: Any) -> None:
    """Tradier counts placing, changing and cancelling apart from questions; it knows nothing of what is cancelled here."""
    ghost = Order(
        cl_ord_id=ClOrdID("q1aaaaaaaaaaaaaaaa"),
        order_id=OrderID("1"),
        broker=BrokerName("tradier"),
        account="",
        instrument=InstrumentID("AAPL"),
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_qty=Decimal(1),
    )
    for _ in range(30):
        with suppress(InDoubt):
            await connector.cancel(ghost)


TRADIER = Subject(
    name="tradier",
    broker=BrokerName("tradier"),
    keeps_ids=True,
    names_fills=False,
    tells_settlements=False,
    checks=lambda request: b"preview=true" in request.body,
    twin=TradierTwin,
    credentials=lambda twin: {"token": Secret(twin.token)},
    instruments={AssetClass.EQUITY: InstrumentID("AAPL"), AssetClass.OPTION: InstrumentID("AAPL261120C00275000")},
    nobody=InstrumentID("NOBODY"),
    misspelt=InstrumentID("BRK/B"),
    statuses=tuple(f'"status":"{status}"'.encode() for status in ("pending", "open", "partially_filled", "filled")),
    changes=lambda request: "/orders" in request.url and request.method != "GET",
    places=lambda request: request.method == "POST" and request.url.endswith("/orders"),
    spends=lost_cancels,
    symbol="AAPL",
)


def _ibkr(*, requests_per_minute: int, **changes: Any) -> TwsTwin:
    """TWS counts by the second."""
    return TwsTwin(messages_per_second=facts_of_ibkr.MESSAGES_PER_SECOND if requests_per_minute < 100 else requests_per_minute, **changes)


async def many_cancels(connector: Any) -> None:
    """What changes orders is counted apart from questions."""
    for _ in range(facts_of_ibkr.OUR_ORDERS_PER_SECOND):
        await connector.cancel_all()


IBKR = Subject(
    name="ibkr",
    broker=BrokerName("ibkr"),
    keeps_ids=True,
    one_line=True,
    names_fields=False,
    lists_questions=False,
    cancels_others=False,
    tells_settlements=False,
    twin=_ibkr,
    credentials=lambda twin: {field: Secret(value) for field, value in twin.credentials.items()},
    instruments={
        AssetClass.EQUITY: InstrumentID("AAPL"),
        AssetClass.OPTION: InstrumentID("AAPL261120C00275000"),
        AssetClass.FOREX: InstrumentID("EUR/USD"),
        AssetClass.LISTED_FUTURE: InstrumentID("MCL-18DEC26/USD"),
        AssetClass.BOND: InstrumentID("912810TM0"),
    },
    nobody=InstrumentID("NOBODY"),
    misspelt=InstrumentID("EURUSD"),
    statuses=tuple(f"\0{status}\0".encode() for status in ("PreSubmitted", "Submitted", "Filled")),
    changes=lambda request: request.body.startswith((b"3\0", b"4\0", b"58\0")),
    places=lambda request: request.body.startswith(b"3\0") and b"." not in request.body.split(b"\0")[26],  # exits leave behind their entry
    replies=lambda frame: not frame.startswith((b"3\0", b"11\0-1\0")),
    checks=lambda request: request.body.startswith(b"3\0") and request.body.split(b"\0")[84] == b"1",
    beside=lambda number: {"client_id": str(number)},
    spends=many_cancels,
    symbol="AAPL",
)


async def many_cancels(connector: Any) -> None:
    """Five requests a second may change something, whatever is asked beside them."""
    for _ in range(5):
        await connector.cancel_all()


IBKR_WEB = Subject(
    name="ibkr-web",
    broker=BrokerName("ibkr"),
    keeps_ids=True,
    lists_questions=False,
    twin=WebTwin,
    credentials=lambda twin: {field: Secret(value) for field, value in twin.credentials.items()},
    instruments={
        AssetClass.EQUITY: InstrumentID("AAPL"),
        AssetClass.OPTION: InstrumentID("AAPL261120C00275000"),
        AssetClass.FOREX: InstrumentID("EUR/USD"),
        AssetClass.LISTED_FUTURE: InstrumentID("MCL-18DEC26/USD"),
    },
    nobody=InstrumentID("NOBODY"),
    misspelt=InstrumentID("EURUSD"),
    statuses=tuple(f'"{name}":"{status}"'.encode() for name in ("status", "order_status") for status in ("PreSubmitted", "Submitted", "Filled")),
    changes=lambda request: "/order" in request.url and request.method in ("POST", "DELETE"),
    places=lambda request: request.method == "POST" and request.url.endswith("/orders"),
    checks=lambda request: request.url.endswith("/orders/whatif"),
    spends=many_cancels,
    options={"transport": "web"},
    symbol="AAPL",
)
KRAKEN_WS = msgspec.structs.replace(KRAKEN, name="kraken-ws", options={"tier": "pro", "order_entry": "websocket"})
SUBJECTS = (ALPACA, BINANCE, KRAKEN, BYBIT, OANDA, TRADIER, IBKR)
WAYS = (
    *SUBJECTS,
    ALPACA_SSE,
    ALPACA_IRA,
    BINANCE_WS,
    KRAKEN_WS,
    BYBIT_WS,
    BYBIT_INVERSE,
    IBKR_WEB,
)  # the same brokers, and other ways to send orders or to hear of them
