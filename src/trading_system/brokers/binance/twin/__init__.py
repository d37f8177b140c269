"""Binance's side of the wire, on a simulated market: one spot account, its REST answers and its sockets.

Sans-IO: sim/host.py gives it sockets, sim/network.py virtual time. It reads wire.py and facts.py and none of the connector, so that a shared
misreading cannot pass the tests.
Paths alone decide what is asked: REST, WebSocket API and market streams may share one port. Left out: lists that buy to close, pegs, icebergs,
amends, self-trade prevention, SBE and FIX.
"""

import string
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import count
from random import Random
from urllib.parse import urlsplit

import msgspec

from trading_system.brokers.binance import facts, wire
from trading_system.brokers.binance.twin.data import MarketData
from trading_system.brokers.binance.twin.forms import (
    MS,
    Hmac,
    Params,
    Prover,
    Refusal,
    answer,
    check_time,
    ed25519_pair,
    integer,
    merged,
    missing,
    without_signature,
)
from trading_system.brokers.binance.twin.streams import MarketStreams, SocketApi
from trading_system.brokers.binance.twin.trading import TradingDesk
from trading_system.brokers.binance.twin.universe import universe
from trading_system.brokers.binance.twin.wallet import Wallet
from trading_system.sim.exchange import NO_LATENCY, Event, Exchange
from trading_system.sim.market import Market, Recording
from trading_system.sim.sessions import MINUTE_NS, SECOND_NS
from trading_system.transport.message import Request, Response

__all__ = ["TWIN", "BinanceTwin", "universe"]

MEAN_WEIGHT = 10  # what a request costs, about

REFUSED_MAX = 20  # calls after a 429 that are borne; then the address is banned
KEY_LIFE_MS = 90 * 86_400_000  # of a key without a list of addresses
BAN_NS = 2 * MINUTE_NS  # the shortest that Binance states
_SYMBOL_OR_ALL = {"book_ticker": facts.TICKERS, "price_ticker": facts.TICKERS, "open_orders": facts.OPEN_ORDERS_ALL}


class Route(msgspec.Struct, frozen=True):
    """One call: what answers it, what it costs, and whether it must be signed. changes: it costs nothing when it succeeds."""

    name: str
    weight: int
    signed: bool = False
    changes: bool = False


ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "ping"): Route("ping", facts.PING),
    ("GET", "time"): Route("time", facts.TIME),
    ("GET", "exchangeInfo"): Route("exchange_info", facts.EXCHANGE_INFO),
    ("GET", "depth"): Route("depth", facts.DEPTH[0][1]),
    ("GET", "trades"): Route("trades", facts.TRADES),
    ("GET", "aggTrades"): Route("agg_trades", facts.AGG_TRADES),
    ("GET", "historicalTrades"): Route("historical_trades", facts.TRADES),
    ("GET", "klines"): Route("klines", facts.KLINES),
    ("GET", "uiKlines"): Route("klines", facts.KLINES),
    ("GET", "avgPrice"): Route("avg_price", facts.KLINES),
    ("GET", "ticker/24hr"): Route("day_ticker", facts.TICKER),
    ("GET", "ticker/bookTicker"): Route("book_ticker", facts.TICKER),
    ("GET", "ticker/price"): Route("price_ticker", facts.TICKER),
    ("GET", "account"): Route("account", facts.ACCOUNT, signed=True),
    ("GET", "rateLimit/order"): Route("order_limits", 40, signed=True),
    ("GET", "order"): Route("query", facts.ORDER, signed=True),
    ("POST", "order"): Route("place", facts.CHANGE, signed=True, changes=True),
    ("POST", "order/test"): Route("test", facts.CHANGE, signed=True),
    ("DELETE", "order"): Route("cancel", facts.CHANGE, signed=True, changes=True),
    ("POST", "order/cancelReplace"): Route("cancel_replace", facts.CHANGE, signed=True, changes=True),
    ("POST", "orderList/oco"): Route("oco", facts.CHANGE, signed=True, changes=True),
    ("POST", "orderList/oto"): Route("oto", facts.CHANGE, signed=True, changes=True),
    ("POST", "orderList/otoco"): Route("otoco", facts.CHANGE, signed=True, changes=True),
    ("DELETE", "orderList"): Route("cancel_list", facts.CHANGE, signed=True, changes=True),
    ("GET", "orderList"): Route("order_list", facts.ORDER_LIST, signed=True),
    ("GET", "allOrderList"): Route("all_order_lists", facts.ORDER_LISTS, signed=True),
    ("GET", "openOrderList"): Route("open_order_lists", facts.OPEN_ORDER_LISTS, signed=True),
    ("GET", "account/commission"): Route("commission", facts.COMMISSION, signed=True),
    ("GET", "openOrders"): Route("open_orders", facts.OPEN_ORDERS, signed=True),
    ("DELETE", "openOrders"): Route("cancel_all", facts.CHANGE, signed=True, changes=True),
    ("GET", "allOrders"): Route("all_orders", facts.ALL_ORDERS, signed=True),
    ("GET", "myTrades"): Route("my_trades", facts.MY_TRADES, signed=True),
}
METHODS: Mapping[str, tuple[str, str]] = {  # of the WebSocket API
    "ping": ("GET", "ping"),
    "time": ("GET", "time"),
    "exchangeInfo": ("GET", "exchangeInfo"),
    "depth": ("GET", "depth"),
    "trades.recent": ("GET", "trades"),
    "trades.aggregate": ("GET", "aggTrades"),
    "trades.historical": ("GET", "historicalTrades"),
    "klines": ("GET", "klines"),
    "uiKlines": ("GET", "uiKlines"),
    "avgPrice": ("GET", "avgPrice"),
    "ticker.24hr": ("GET", "ticker/24hr"),
    "ticker.book": ("GET", "ticker/bookTicker"),
    "ticker.price": ("GET", "ticker/price"),
    "account.status": ("GET", "account"),
    "account.rateLimits.orders": ("GET", "rateLimit/order"),
    "order.status": ("GET", "order"),
    "order.place": ("POST", "order"),
    "order.test": ("POST", "order/test"),
    "order.cancel": ("DELETE", "order"),
    "order.cancelReplace": ("POST", "order/cancelReplace"),
    "orderList.place.oco": ("POST", "orderList/oco"),
    "orderList.place.oto": ("POST", "orderList/oto"),
    "orderList.place.otoco": ("POST", "orderList/otoco"),
    "orderList.cancel": ("DELETE", "orderList"),
    "orderList.status": ("GET", "orderList"),
    "allOrderLists": ("GET", "allOrderList"),
    "openOrderLists.status": ("GET", "openOrderList"),
    "account.commission": ("GET", "account/commission"),
    "openOrders.status": ("GET", "openOrders"),
    "openOrders.cancelAll": ("DELETE", "openOrders"),
    "allOrders": ("GET", "allOrders"),
    "myTrades": ("GET", "myTrades"),
}
_CHUNK = len(facts.API) + 1


class _Weight:
    """The address's budget: a fixed window of a minute, then 429, and for whoever goes on 418."""

    def __init__(self, limit: int) -> None:
        self.used = 0
        self.limit = limit
        self._start_ns = 0
        self._refused = 0
        self._banned_ns = 0

    def take(self, weight: int, now_ns: int) -> None:
        """Raises Refusal."""
        if now_ns < self._banned_ns:
            raise Refusal(418, -1003, f"Way too much request weight used; IP banned until {self._banned_ns // MS}.")
        if now_ns >= self._start_ns + MINUTE_NS:
            self._start_ns, self.used, self._refused = now_ns - now_ns % MINUTE_NS, 0, 0
        if self.used + weight > self.limit:
            self._refused += 1
            if self._refused > REFUSED_MAX:
                self._banned_ns = now_ns + BAN_NS
            raise too_much(self.limit)
        self.used += weight

    def give_back(self, weight: int) -> None:
        self.used -= weight

    def wait_s(self, now_ns: int) -> int:
        """Until calls are let in again."""
        until_ns = max(self._start_ns + MINUTE_NS, self._banned_ns)
        return max(1, -(-(until_ns - now_ns) // SECOND_NS))


def too_much(limit: int) -> Refusal:
    return Refusal(429, -1003, f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE.")


class BinanceTwin:
    """One Binance spot account. Without key and secret they are made from the seed; read them from the attributes.

    environment: "paper" (a testnet, which has nothing below /sapi) or "live". may_withdraw, may_transfer: what a live key says of
    itself. orders_streams: how many connections it lets in at once, per kind. requests_per_minute: of the mean weight. recordings: prices to replay,
    by symbol. ed25519: the secret is a private key, of which the twin keeps the public half.
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
        fee: Decimal = facts.FEE,
        recordings: Mapping[str, Recording] | None = None,
        requests_per_minute: int = facts.WEIGHT_PER_MINUTE // MEAN_WEIGHT,
        orders_per_10_s: int = facts.ORDERS_PER_10_S,
        orders_streams: int = 300,
        may_withdraw: bool = False,
        may_transfer: bool = False,
        ed25519: bool = False,
    ) -> None:
        names = Random(f"binance {seed}")  # noqa: S311 names, no secrets of anybody's
        letters = string.ascii_letters + string.digits
        self.environment = environment
        self.key = key or "".join(names.choices(letters, k=64))
        self.secret = secret or "".join(names.choices(letters, k=64))
        self._prover: Prover = Hmac(self.secret)
        if ed25519:
            self.secret, self._prover = ed25519_pair(names.randbytes(32))
        self.universe = universe(hours, fee)
        self.market = Market(self.universe.listings, seed, recordings)
        ids = count(names.randrange(1_000_000, 9_000_000))
        self.exchange = Exchange(
            self.market,
            self.universe.terms,
            rng=Random(f"exchange {seed}"),  # noqa: S311 a simulation's chance
            start_ns=start_ns,
            cash=cash,
            latency=NO_LATENCY,  # the answer comes when the engine is through
            money=facts.QUOTE,
            ids=lambda: str(next(ids)),
        )
        self.now_ns = start_ns
        self._start_ms = start_ns // MS
        self.may_withdraw, self.may_transfer = may_withdraw, may_transfer
        weight_per_minute = requests_per_minute * MEAN_WEIGHT
        self.data = MarketData(self.universe, self.market, weight_per_minute, orders_per_10_s)
        self.trading = TradingDesk(self.exchange, self.data, uid=names.randrange(10**8, 10**9), fee=fee, collect=self._collect)
        self._weight = _Weight(weight_per_minute)
        self.socket_api = SocketApi(self.trading, self._socket_call, self._send, self.key, self._prover, self._limits, self._weight.wait_s)
        self.market_streams = MarketStreams(self.data, self._send, start_ns)
        self._streams = orders_streams
        self._conns = 0
        self._out: list[tuple[int, str | bytes | None]] = []
        self.wallet = Wallet()
        self._wallet_calls: Mapping[tuple[str, str], Callable[[Params, int], object]] = {  # only where there is /sapi
            ("GET", facts.KEY_RIGHTS_PATH): self._key_rights,
            ("GET", facts.DEPOSITS_PATH): self.wallet.deposits,
            ("GET", facts.WITHDRAWALS_PATH): self.wallet.withdrawals,
        }
        self._calls: Mapping[str, Callable[[Params, int], object]] = {
            "ping": lambda _params, _now: {},
            "time": lambda _params, now_ns: wire.Time(server_time=now_ns // MS),
            **{route.name: self._handler(route.name) for route in ROUTES.values() if route.name not in ("ping", "time")},
        }

    def _key_rights(self, _params: Params, _now_ns: int) -> wire.KeyRights:
        return wire.KeyRights(
            ip_restrict=False,
            enable_reading=True,
            enable_withdrawals=self.may_withdraw,
            enable_internal_transfer=False,
            enable_spot_and_margin_trading=True,
            create_time=self._start_ms,
            permits_universal_transfer=self.may_transfer,
            enable_vanilla_options=False,
            enable_futures=False,
            enable_margin=False,
            trading_authority_expiration_time=self._start_ms + KEY_LIFE_MS,
        )

    def _handler(self, name: str) -> Callable[[Params, int], object]:
        places = (self.trading, self.trading.lists, self.data)
        found: Callable[[Params, int], object] = next(getattr(place, name) for place in places if hasattr(place, name))
        return found

    @property
    def credentials(self) -> Mapping[str, str]:
        """The account's key and secret."""
        return {"key": self.key, "secret": self.secret}

    def busy(self) -> Response:
        """429, as too much weight gets it."""
        refusal = too_much(facts.WEIGHT_PER_MINUTE)
        return msgspec.structs.replace(answer(refusal.body, refusal.status), headers={"content-type": "application/json", "retry-after": "1"})

    # -- sim/wire.py: Wire -------------------------------------------------------------------------------------------------------------------------

    def handle(self, request: Request, now_ns: int) -> Response:
        """One HTTP exchange: the path, the budget, the key, then what is asked."""
        self.advance(now_ns)
        url = urlsplit(request.url)
        try:
            response = answer(self._answer(request, url.path, url.query))
        except Refusal as refusal:
            response = answer(refusal.body, refusal.status)
        self._collect()
        headers = {**response.headers, facts.USED_HEADER.lower(): str(self._weight.used)}
        if response.status in (429, 418):
            headers["retry-after"] = str(self._weight.wait_s(now_ns))
        elif request.method != "GET" and response.status == 200:
            ten, day = self.trading.counts(now_ns)
            headers |= {facts.ORDERS_10_S_HEADER.lower(): str(ten), facts.ORDERS_DAY_HEADER.lower(): str(day)}
        return msgspec.structs.replace(response, headers=headers, recv_ns=now_ns)

    def _answer(self, request: Request, path: str, query: str) -> object:
        """Raises Refusal."""
        body = request.body.decode("utf-8", "replace")
        if path.startswith("/sapi/") and self.environment == facts.LIVE and (request.method, path) in self._wallet_calls:
            self._weight.take(facts.KEY_RIGHTS, self.now_ns)
            self._authorize(request, query, body)
            return self._wallet_calls[request.method, path](merged(query, body), self.now_ns)
        route = ROUTES.get((request.method, path[_CHUNK:])) if path.startswith(f"{facts.API}/") else None
        if route is None:
            raise Refusal(404, -1000, "Path not found.")
        params = merged(query, body)
        weight = self._cost(route, params)
        self._weight.take(weight, self.now_ns)
        if route.signed:
            self._authorize(request, query, body)
        return self._run(route, params, weight)

    def _cost(self, route: Route, params: Params) -> int:
        if route.name in _SYMBOL_OR_ALL and "symbol" not in params:
            return _SYMBOL_OR_ALL[route.name]
        if route.name == "day_ticker" and "symbol" not in params:
            named = len(self.data.symbols(params)[0]) if "symbols" in params else None
            return next(weight for most, weight in facts.DAY_TICKERS if most is None or (named is not None and named <= most))
        if route.name == "my_trades" and "orderId" in params:
            return facts.MY_TRADES_OF_ORDER
        if route.name == "depth":
            levels = integer(params, "limit") or 0
            return next((weight for most, weight in facts.DEPTH if levels <= most), facts.DEPTH[-1][1])
        return route.weight

    def _run(self, route: Route, params: Params, weight: int) -> object:
        done = self._calls[route.name](params, self.now_ns)
        if route.changes:
            self._weight.give_back(weight)
        return done

    def _socket_call(self, method: str, params: Params, signed: bool) -> object:
        """A request that came as a frame."""
        if method not in METHODS:
            raise Refusal(400, -1000, f"Unknown method: {method}")
        route = ROUTES[METHODS[method]]
        weight = self._cost(route, params)
        self._weight.take(weight, self.now_ns)
        if route.signed and not signed:
            raise missing("signature")
        return self._run(route, params, weight)

    def _limits(self, ordering: bool) -> list[wire.RateLimit]:
        """The budgets as a frame tells them: of the address, and with orders the account's."""
        weight = wire.RateLimit(
            rate_limit_type="REQUEST_WEIGHT", interval="MINUTE", interval_num=1, limit=self._weight.limit, count=self._weight.used
        )
        return [*(self.trading.order_limits({}, self.now_ns) if ordering else ()), weight]

    def _authorize(self, request: Request, query: str, body: str) -> None:
        """Key, signature over the raw text, time. Raises Refusal."""
        given = next((value for name, value in request.headers.items() if name.lower() == facts.KEY_HEADER.lower()), "")
        if len(given) != len(self.key) or not given.isalnum():
            raise Refusal(401, -2014, "API-key format invalid.")
        if given != self.key:
            raise Refusal(401, -2015, "Invalid API-key, IP, or permissions for action.")
        params = merged(query, body)
        if not params.get("signature"):
            raise missing("signature")
        if not self._prover.proves(without_signature(query) + without_signature(body), params["signature"]):
            raise Refusal(400, -1022, "Signature for this request is not valid.")
        check_time(params, self.now_ns)

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        """The WebSocket API, or market streams: /ws/<stream>, /stream?streams=…, or either and then SUBSCRIBE."""
        self.advance(now_ns)
        path, _, query = path.partition("?")
        api = path == facts.SOCKET_API_PATH
        if not api and not path.startswith(("/ws", facts.STREAMS_PATH)):
            return answer({"code": -1000, "msg": "Path not found."}, 404)
        if len(self.socket_api.conns if api else self.market_streams.conns) >= self._streams:
            return answer({"code": -1003, "msg": "Too many connections."}, 429)
        self._conns += 1
        if api:
            self.socket_api.open(self._conns, now_ns)
        else:
            self.market_streams.open(self._conns, path, query, now_ns)
        return self._conns

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        self.advance(now_ns)
        if conn in self.socket_api.conns:
            self.socket_api.frame(conn, frame, now_ns)
            self._collect()
        elif conn in self.market_streams.conns:
            self.market_streams.frame(conn, frame, now_ns)

    def closed(self, conn: int) -> None:
        self.socket_api.closed(conn)
        self.market_streams.closed(conn)

    def advance(self, now_ns: int) -> None:
        assert now_ns >= self.now_ns, "time runs backwards"
        self.now_ns = now_ns
        self.exchange.advance(now_ns)
        self._collect()
        self.socket_api.advance(now_ns)
        self.market_streams.advance(now_ns)

    def next_event_ns(self) -> int | None:
        times = (self.exchange.next_event_ns(), self.socket_api.next_event_ns(), self.market_streams.next_event_ns())
        return min(time_ns for time_ns in times if time_ns is not None)

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out

    # -- what no order made ------------------------------------------------------------------------------------------------------------------------

    def transfer(self, amount: Decimal, asset: str = facts.QUOTE) -> None:
        """Money or units in, or out below zero. The fee of what goes out is part of it."""
        self.exchange.deposit(asset, amount)
        self.wallet.book(asset, amount, self.now_ns)
        self.socket_api.tell_balances((asset,), self.now_ns // MS)

    def _send(self, conn: int, frame: str | bytes | None) -> None:
        self._out.append((conn, frame))

    def _collect(self) -> None:
        """Events of the exchange become rows and frames."""
        events: Iterable[Event] = [event for event in self.exchange.take_events() if isinstance(event, Event)]
        for event in events:
            self.trading.record(event)
        self.socket_api.publish(events)


TWIN = BinanceTwin
