"""Alpaca's side of the wire, on a simulated market: one account, its REST answers and its streams.

Sans-IO: sim/host.py gives it sockets, sim/network.py virtual time. It reads wire.py and facts.py and none of the connector, so that a shared
misreading cannot pass the tests.
Paths alone decide what is asked: trading REST, data REST and all streams may share one port, as alpaca-py's url_override wants it.
"""

import string
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from random import Random
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from trading_system.brokers.alpaca import facts
from trading_system.brokers.alpaca.twin import news
from trading_system.brokers.alpaca.twin.broker import TOKEN_PATH, BrokerDoor
from trading_system.brokers.alpaca.twin.data import KINDS, MarketData
from trading_system.brokers.alpaca.twin.events import ACTIVITIES_PATH, ORDERS_PATH, EventLog, activity_event, order_event, too_slow
from trading_system.brokers.alpaca.twin.forms import Refusal, answer, too_many
from trading_system.brokers.alpaca.twin.news import News, NewsStream
from trading_system.brokers.alpaca.twin.option_streams import OptionStreams
from trading_system.brokers.alpaca.twin.options import KINDS as OPTION_KINDS
from trading_system.brokers.alpaca.twin.options import OptionDesk
from trading_system.brokers.alpaca.twin.portfolio import Portfolio
from trading_system.brokers.alpaca.twin.streams import DataStreams, OrderStreams, slow_reader
from trading_system.brokers.alpaca.twin.trading import TradingDesk
from trading_system.brokers.alpaca.twin.universe import universe
from trading_system.domain.money import ONE
from trading_system.sim.exchange import Event, Exchange, Latency
from trading_system.sim.market import Market, Recording
from trading_system.sim.sessions import MINUTE_NS, SECOND_NS, Sessions
from trading_system.transport.message import Request, Response

__all__ = ["TWIN", "AlpacaTwin", "universe"]

ORDERS_STREAM = "/stream"


class _Window:
    """A fixed window of a minute. Alpaca does not say whether its own is fixed or slides."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._start_ns = 0
        self._used = 0

    def take(self, now_ns: int) -> tuple[bool, Mapping[str, str]]:
        """Whether the request may pass, and the three headers."""
        if now_ns >= self._start_ns + MINUTE_NS:
            self._start_ns, self._used = now_ns - now_ns % MINUTE_NS, 0
        allowed = self._used < self._limit
        self._used += allowed
        headers = {
            facts.LIMIT_HEADER.lower(): str(self._limit),
            facts.REMAINING_HEADER.lower(): str(self._limit - self._used),
            facts.RESET_HEADER.lower(): str((self._start_ns + MINUTE_NS) // SECOND_NS),
        }
        return allowed, headers


class AlpacaTwin:
    """One Alpaca account. Without key and secret they are made from the seed; read them from the attributes.

    hours: "always" or "us" (for stocks and options). sip: whether the plan has SIP data and OPRA. options_level: what it may do with options, 0 to 3.
    orders_streams: how many /stream connections it lets in at once. recordings: prices to replay, by symbol (sim/market.py reads files).
    environment: "paper" or "live" decides key prefix, account number and frames.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        start_ns: int,
        key: str | None = None,
        secret: str | None = None,
        environment: str = facts.PAPER,
        hours: str = "always",
        cash: Decimal = Decimal(100_000),
        multiplier: Decimal = ONE,
        latency: Latency = Latency(),  # noqa: B008 frozen
        recordings: Mapping[str, Recording] | None = None,
        requests_per_minute: int = facts.REQUESTS_PER_MINUTE,
        orders_streams: int = 1,
        sip: bool = False,
        stream_symbols: int = facts.FREE_STREAM_SYMBOLS,
        options_level: int = 3,
    ) -> None:
        names = Random(f"alpaca {seed}")  # noqa: S311 names, no secrets of anybody's
        self.environment = environment
        self.key = key or facts.KEY_PREFIX[environment] + _letters(names, 18)
        self.secret = secret or "".join(names.choices(string.ascii_letters + string.digits, k=40))
        prefix = facts.PAPER_ACCOUNT_PREFIX if environment == facts.PAPER else ""
        self.account_number = prefix + _letters(names, 10 if prefix else 9)
        self.universe = universe(hours)
        self.market = Market(self.universe.listings, seed, recordings)
        self.exchange = Exchange(
            self.market,
            self.universe.terms,
            rng=Random(f"exchange {seed}"),  # noqa: S311 a simulation's chance
            start_ns=start_ns,
            cash=cash,
            multiplier=multiplier,
            latency=latency,
        )
        account_id = self.exchange.new_id()
        self.options = OptionDesk(self.universe, self.market, hours, opra=sip)
        self.trading = TradingDesk(
            self.universe,
            self.exchange,
            self.options,
            account_id=account_id,
            account_number=self.account_number,
            start_ns=start_ns,
            options_level=options_level,
        )
        self.portfolio = Portfolio(self.exchange, Sessions(hours), start_ns)
        self.data = MarketData(self.universe, self.market, sip=sip)
        self.orders_stream = OrderStreams(self.trading, self._send, self.key, self.secret, binary=environment == facts.PAPER)
        shown = partial(order_event, self.trading, account_id)
        self.order_events = EventLog(shown, self._send, Random(f"events {seed}"))  # noqa: S311
        self.activity_events = EventLog(activity_event, self._send, Random(f"activities {seed}"))  # noqa: S311
        self.broker = BrokerDoor(Random(f"broker {seed}"))  # noqa: S311
        self.data_streams = DataStreams(self.market, self.data.showers, self._send, self.key, self.secret, sip=sip, symbol_limit=stream_symbols)
        self.option_streams = OptionStreams(self.options, self.market, self._send, self.key, self.secret, opra=sip)
        self.news = News({symbol: asset.name or symbol for symbol, asset in self.universe.assets.items()}, seed)
        self.news_stream = NewsStream(self.news, self._send, self.key, self.secret, start_ns)
        self.now_ns = start_ns
        self._windows = {"trading": _Window(requests_per_minute), "data": _Window(requests_per_minute)}
        self._orders_streams = orders_streams
        self._conns = 0
        self._out: list[tuple[int, str | bytes | None]] = []

    @property
    def credentials(self) -> Mapping[str, str]:
        """The account's key and secret, and a Broker API firm's client."""
        return {"key": self.key, "secret": self.secret, "client_id": self.broker.client_id, "client_secret": self.broker.client_secret}

    # -- sim/wire.py: Wire -----------------------------------------------------------------------------------------------------------------------

    def busy(self) -> Response:
        """429, as too many requests get it."""
        refusal = too_many()
        return answer(refusal.body, refusal.status)

    def handle(self, request: Request, now_ns: int) -> Response:
        """One HTTP exchange: rate window, key, then the path."""
        self.advance(now_ns)
        url = urlsplit(request.url)
        if (request.method, url.path) == ("POST", TOKEN_PATH):
            return self.broker.token(_lower(request.headers).get("content-type", ""), request.body, now_ns)
        data = url.path.startswith(("/v2/stocks", "/v1beta3/", "/v1beta1/"))
        allowed, headers = self._windows["data" if data else "trading"].take(now_ns)
        try:
            if not allowed:
                raise too_many()
            self._authorize(request.headers, needed=not url.path.startswith("/v1beta3/crypto/"))
            query = dict(parse_qsl(url.query))
            parts = tuple(unquote(part) for part in url.path.split("/")[1:])
            response = self._data(parts, query) if data else self._trade(request, parts, query)
        except Refusal as refusal:
            response = answer(refusal.body, refusal.status)
        self._collect()
        return msgspec.structs.replace(response, headers={**response.headers, **headers}, recv_ns=now_ns)

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        """/stream takes as many connections as it has slots, data streams any number: they refuse at login. Event streams refuse at once."""
        self.advance(now_ns)
        path, _, query = path.partition("?")
        msgpack = _lower(headers).get("content-type") == "application/msgpack"
        if self.is_events(path):
            return self._open_events(path, headers, dict(parse_qsl(query)))
        if path == ORDERS_STREAM:
            if len(self.orders_stream.conns) >= self._orders_streams:
                return answer({"message": "too many connections"}, 429)
            self._conns += 1
            self.orders_stream.open(self._conns, msgpack=msgpack)
            return self._conns
        if path == news.PATH:
            self._conns += 1
            self.news_stream.open(self._conns, now_ns, msgpack=msgpack)
            return self._conns
        if path in DataStreams.FEEDS:
            self._conns += 1
            self.data_streams.open(self._conns, path, now_ns, msgpack=msgpack)
            return self._conns
        if path in OptionStreams.FEEDS:
            self._conns += 1
            self.option_streams.open(self._conns, path, now_ns, msgpack=msgpack)
            return self._conns
        return answer({"message": "endpoint not found."}, 404)

    def is_events(self, path: str) -> bool:
        return path.partition("?")[0] in (ORDERS_PATH, ACTIVITIES_PATH)

    def _open_events(self, path: str, headers: Mapping[str, str], query: Mapping[str, str]) -> int | Response:
        """Orders: key headers at the trading host, Basic or Bearer at the Broker API's, and the same account behind both. Activities: the latter."""
        authorization = _lower(headers).get("authorization")
        try:
            if authorization is None and path == ORDERS_PATH:
                self._authorize(headers, needed=True)
            else:
                self.broker.check(authorization or "", self.now_ns)
            self._conns += 1
            log = self.order_events if path == ORDERS_PATH else self.activity_events
            log.open(self._conns, query, self.now_ns)
        except Refusal as refusal:
            return answer(refusal.body, refusal.status)
        return self._conns

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        self.advance(now_ns)
        if conn in self.orders_stream.conns:
            self.orders_stream.frame(conn, frame)
        elif conn in self.data_streams.conns:
            self.data_streams.frame(conn, frame, now_ns)
        elif conn in self.option_streams.conns:
            self.option_streams.frame(conn, frame, now_ns)
        elif conn in self.news_stream.conns:
            self.news_stream.frame(conn, frame)

    def closed(self, conn: int) -> None:
        self.orders_stream.conns.pop(conn, None)
        self.data_streams.conns.pop(conn, None)
        self.option_streams.conns.pop(conn, None)
        self.order_events.conns.pop(conn, None)
        self.activity_events.conns.pop(conn, None)
        self.news_stream.conns.pop(conn, None)

    def slow(self, conn: int) -> str | bytes | None:
        """The farewell to a reader that falls behind."""
        if conn in self.order_events.conns or conn in self.activity_events.conns:
            return too_slow()
        return slow_reader() if conn in self.data_streams.conns or conn in self.option_streams.conns else None

    def advance(self, now_ns: int) -> None:
        assert now_ns >= self.now_ns, "time runs backwards"
        self.now_ns = now_ns
        self.exchange.advance(now_ns)
        self.portfolio.sample(now_ns)
        self._collect()
        self.data_streams.advance(now_ns)
        self.option_streams.advance(now_ns)
        self.news_stream.advance(now_ns)

    def next_event_ns(self) -> int | None:
        streams = (self.data_streams, self.option_streams, self.order_events, self.activity_events, self.news_stream)
        times = (self.exchange.next_event_ns(), *(stream.next_event_ns() for stream in streams))
        return min(time_ns for time_ns in times if time_ns is not None)

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out

    # -- what no order made ----------------------------------------------------------------------------------------------------------------------

    def transfer(self, amount: Decimal) -> None:
        """Money in, or out below zero."""
        self.trading.transfer(amount, self.now_ns)
        self._collect()

    def dividend(self, symbol: str, per_share: Decimal) -> None:
        self.trading.dividend(symbol, per_share, self.now_ns)
        self._collect()

    def split(self, symbol: str, ratio: Decimal) -> None:
        """ratio new shares for an old one. Resting orders keep their prices."""
        if any(contract.underlying == symbol for contract in self.exchange.contracts()):
            raise ValueError(f"there are options on {symbol}: what a split makes of them is not modelled")
        self.trading.split(symbol, ratio, self.now_ns)
        self.options.chains.relisted()
        self.data.relisted(symbol, ratio, self.now_ns)
        self._collect()

    def assign(self, symbol: str, qty: Decimal) -> None:
        """Somebody exercises so many contracts that this account sold, before their day."""
        self.exchange.assign(symbol, qty, self.now_ns)
        self._collect()

    def _send(self, conn: int, frame: str | bytes | None) -> None:
        self._out.append((conn, frame))

    def _collect(self) -> None:
        """Events of the exchange become activities and frames."""
        for event in self.exchange.take_events():
            self.trading.record(event)
            if isinstance(event, Event):
                self.orders_stream.publish(event)
                self.order_events.publish(event, event.transact_ns)
        for booked in self.trading.take_booked():
            self.activity_events.publish(booked.event, booked.at_ns)
        self.order_events.advance(self.now_ns)
        self.activity_events.advance(self.now_ns)

    # -- who, and what ---------------------------------------------------------------------------------------------------------------------------

    def _authorize(self, headers: Mapping[str, str], *, needed: bool) -> None:
        """Raises Refusal: 403 for a key of the other environment, 401 for a key that is wrong or missing where one is needed."""
        given = _lower(headers)
        key, secret = given.get(facts.KEY_HEADER.lower()), given.get(facts.SECRET_HEADER.lower())
        if (key, secret) == (self.key, self.secret) or (not needed and key is None and secret is None):
            return
        other = facts.KEY_PREFIX[facts.LIVE if self.environment == facts.PAPER else facts.PAPER]
        if key is not None and key.startswith(other):
            raise Refusal(403, None, "forbidden.")
        raise Refusal(401, None, "unauthorized.")

    def _trade(self, request: Request, parts: tuple[str, ...], query: Mapping[str, str]) -> Response:
        desk, now = self.trading, self.now_ns
        match (request.method, *parts):
            case ("GET", "v2", "account"):
                return desk.account(now)
            case ("GET", "v2", "account", "portfolio", "history"):
                return self.portfolio.history(query, desk.activities, now)
            case ("GET", "v2", "account", "configurations"):
                return answer(desk.configurations)
            case ("PATCH", "v2", "account", "configurations"):
                return desk.configure(request.body)
            case ("GET", "v2", "account", "activities"):
                return desk.list_activities(query, None)
            case ("GET", "v2", "account", "activities", kind):
                return desk.list_activities(query, kind)
            case ("GET", "v2", "assets"):
                return desk.assets(query)
            case ("GET", "v2", "assets", name):
                return desk.asset(name)
            case ("GET", "v2", "assets", base, quote):
                return desk.asset(f"{base}/{quote}")
            case ("GET", "v2", "clock"):
                return desk.clock(now)
            case ("GET", "v2", "calendar"):
                return desk.calendar(query, now)
            case ("GET", "v2", "options", "contracts"):
                return self.options.contracts(query, now)
            case ("GET", "v2", "options", "contracts", name):
                return self.options.contract(name, now)
            case (_, "v2", "orders" | "orders:by_client_order_id", *_):
                return self._orders(request, parts[1:], query)
            case (_, "v2", "positions", *_):
                return self._positions(request, parts[2:], query)
        return answer({"message": "endpoint not found."}, 404)

    def _orders(self, request: Request, parts: tuple[str, ...], query: Mapping[str, str]) -> Response:
        desk, now = self.trading, self.now_ns
        match (request.method, *parts):
            case ("POST", "orders"):
                return desk.submit(request.body, now)
            case ("GET", "orders"):
                return desk.orders(query)
            case ("DELETE", "orders"):
                return desk.cancel_all(now)
            case ("GET", "orders:by_client_order_id"):
                return desk.order_by_client_id(query.get("client_order_id", ""))
            case ("GET", "orders", order_id):
                return desk.order(order_id, query)
            case ("PATCH", "orders", order_id):
                return desk.replace(order_id, request.body, now)
            case ("DELETE", "orders", order_id):
                return desk.cancel(order_id, now)
        return answer({"message": "endpoint not found."}, 404)

    def _positions(self, request: Request, name: tuple[str, ...], query: Mapping[str, str]) -> Response:
        desk, now = self.trading, self.now_ns
        match (request.method, *name):
            case ("GET",):
                return desk.positions(now)
            case ("DELETE",):
                return desk.close_all(query, now)
            case ("POST", symbol, "exercise"):
                return desk.exercise(symbol, request.body, now)
            case ("POST", symbol, "do-not-exercise"):
                return desk.do_not_exercise(symbol, now)
            case ("GET", *symbol):
                return desk.position("/".join(symbol), now)
            case ("DELETE", *symbol):
                return desk.close_position("/".join(symbol), query, now)
        return answer({"message": "endpoint not found."}, 404)

    def _data(self, parts: tuple[str, ...], query: Mapping[str, str]) -> Response:
        data, now = self.data, self.now_ns
        match parts:
            case ("v1beta1", "news"):
                return self.news.page(query, now)
            case ("v2", "stocks", kind, "latest") if kind in KINDS:
                return data.latest(kind, query, now, crypto=False)
            case ("v2", "stocks", kind) if kind in KINDS:
                return data.history(kind, query, now, crypto=False)
            case ("v2", "stocks", symbol, kind, "latest") if kind in KINDS:
                return data.latest_of(kind, symbol, query, now)
            case ("v2", "stocks", symbol, kind) if kind in KINDS:
                return data.history_of(kind, symbol, query, now)
            case ("v1beta3", "crypto", "us", "latest", kind) if kind in (*KINDS, "orderbooks"):
                return data.latest(kind, query, now, crypto=True)
            case ("v1beta3", "crypto", "us", kind) if kind in KINDS:
                return data.history(kind, query, now, crypto=True)
            case ("v1beta1", "options", *rest):
                return self._option_data(tuple(rest), query)
        return answer({"message": "endpoint not found."}, 404)

    def _option_data(self, parts: tuple[str, ...], query: Mapping[str, str]) -> Response:
        options, now = self.options, self.now_ns
        match parts:
            case (kind, "latest") if kind in OPTION_KINDS:
                return options.latest(kind, query, now, crypto=False)
            case ("bars" | "trades" as kind,):
                return options.history(kind, query, now, crypto=False)
            case ("snapshots",):
                return options.snapshots(query, now)
            case ("snapshots", underlying):
                return options.chain(underlying, query, now)
        return answer({"message": "endpoint not found."}, 404)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _letters(rng: Random, count: int) -> str:
    return "".join(rng.choices(string.ascii_uppercase + string.digits, k=count))


TWIN = AlpacaTwin
