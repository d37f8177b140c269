"""Bybit's side of the wire, on a simulated market: one unified account, its REST answers and its streams.

Sans-IO: sim/host.py gives it sockets, sim/network.py virtual time. It reads wire.py and facts.py and none of the connector, so that a shared
misreading cannot pass the tests. Paths alone decide what is asked: REST and all streams may share one port.
"""

import string
from collections.abc import Mapping
from decimal import Decimal
from random import Random
from urllib.parse import parse_qsl, urlsplit

import msgspec

from trading_system.brokers.bybit import facts, wire
from trading_system.brokers.bybit.twin.account import FUNDING_NS, Account, Margin
from trading_system.brokers.bybit.twin.data import MarketData
from trading_system.brokers.bybit.twin.entry import TradeStreams
from trading_system.brokers.bybit.twin.forms import Refusal, answer, bad, refused, too_many
from trading_system.brokers.bybit.twin.gate import Crowded, Gate
from trading_system.brokers.bybit.twin.options import list_options, next_eight_ns
from trading_system.brokers.bybit.twin.rules import NamedBody, Rules, read
from trading_system.brokers.bybit.twin.streams import PrivateStreams, PublicStreams
from trading_system.brokers.bybit.twin.trading import Orders, late_cancel, told
from trading_system.brokers.bybit.twin.universe import Product, Universe, universe
from trading_system.domain.fix import ExecType
from trading_system.sim.exchange import Event, Exchange, Latency
from trading_system.sim.market import Market, Recording, Source, Walk
from trading_system.sim.sessions import SECOND_NS
from trading_system.transport.message import Request, Response

__all__ = ["TWIN", "BybitTwin", "universe"]


# What of this twin's the demo has, too. Source: bybit-exchange.github.io/docs/v5/demo, Available API List
_ON_DEMO = frozenset(
    {
        "/v5/order/create",
        "/v5/order/amend",
        "/v5/order/cancel",
        "/v5/order/cancel-all",
        "/v5/order/realtime",
        "/v5/order/history",
        "/v5/execution/list",
        "/v5/position/list",
        "/v5/position/set-leverage",
        "/v5/position/switch-mode",
        "/v5/account/wallet-balance",
        "/v5/account/info",
        "/v5/account/transaction-log",
        "/v5/asset/delivery-record",
    }
)


class BybitTwin:
    """One Bybit account. Without key and secret they are made from the seed; read them from `credentials`.

    recordings: prices to replay, by market (BTC/USDT; its swap BTCUSDT follows unless it has prices of its own). environment: "paper" or "live"
    stands in the key's note: Bybit's own hosts tell the two apart, and a twin has one. hours: for other brokers' markets; this one never closes.
    demo: it has no more than the demo of the live market.
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
        latency: Latency = Latency(),  # noqa: B008 frozen
        recordings: Mapping[str, Recording] | None = None,
        requests_per_minute: int = facts.REQUESTS_PER_MINUTE,
        orders_streams: int = 20,
        demo: bool = False,
    ) -> None:
        names = Random(f"bybit {seed}")  # noqa: S311 names, no secrets of anybody's
        letters = string.ascii_letters + string.digits
        self.environment = environment
        self.key = key or "".join(names.choices(letters, k=18))
        self.secret = secret or "".join(names.choices(letters, k=36))
        self.universe = universe(hours, start_ns)
        self.market = Market(self.universe.listings, seed, _sources(self.universe, seed, recordings or {}))
        list_options(self.universe, self.market, start_ns)
        self.exchange = Exchange(
            self.market,
            self.universe.terms,
            rng=Random(f"exchange {seed}"),  # noqa: S311 a simulation's chance
            start_ns=start_ns,
            cash=cash,
            money=facts.QUOTE,
            latency=latency,
            rate=lambda coin, now_ns: self.exchange.mark(f"{coin}/{facts.QUOTE}", now_ns),
        )
        self.margin = Margin(self.universe, self.exchange)
        user_id = names.randrange(10_000_000, 99_999_999)
        self.account = Account(self.universe, self.exchange, self.margin, user_id=user_id, key=self.key, note=environment, start_ns=start_ns)
        rules = Rules(self.universe, self.exchange, self.margin, lambda link_id: self.orders.taken(link_id))
        self.orders = Orders(self.universe, self.exchange, self.account, rules)
        self.rules = rules
        self.data = MarketData(self.universe, self.market, self.exchange, self.margin, self.account)
        self.gate = Gate(self.key, self.secret, requests_per_minute)
        self.private = PrivateStreams(self.gate, self._send)
        self.trade = TradeStreams(self.gate, self._changed, self._send)
        self.public = PublicStreams(self.universe, self.market, self.data, self._send)
        self.now_ns = start_ns
        self._orders_streams = orders_streams
        self._demo = demo
        self._conns = 0
        self._out: list[tuple[int, str | bytes | None]] = []
        self._funding_ns = (start_ns // FUNDING_NS + 1) * FUNDING_NS
        self._delivery_ns = next_eight_ns(start_ns)
        self._ended_ns = start_ns  # up to here what ends has ended

    @property
    def credentials(self) -> Mapping[str, str]:
        return {"key": self.key, "secret": self.secret}

    # -- sim/wire.py: Wire -----------------------------------------------------------------------------------------------------------------------

    def busy(self) -> Response:
        """10006, as too many requests get it."""
        return refused(too_many(), self.now_ns)

    def handle(self, request: Request, now_ns: int) -> Response:
        """One HTTP exchange: how often the address has asked, rate windows, signature, then the path."""
        self.advance(now_ns)
        if not self.gate.address.take(now_ns):
            return Response(status=403, headers={}, body=b"403, access too frequent", recv_ns=now_ns)
        url = urlsplit(request.url)
        headers: Mapping[str, str] = {}
        try:
            headers = self.gate.pass_by(url.path, now_ns)
            if not url.path.startswith("/v5/market/"):
                self.gate.check(request, url.query, now_ns)
            result = self._asked(request, url.path, dict(parse_qsl(url.query)))
            response = answer(result, now_ns)
        except Refusal as refusal:
            headers = refusal.headers if isinstance(refusal, Crowded) else headers
            response = refused(refusal, now_ns)
        self._collect()
        return msgspec.structs.replace(response, headers={**response.headers, **headers}, recv_ns=now_ns)

    def _asked(self, request: Request, path: str, query: Mapping[str, str]) -> object:
        if path.startswith("/v5/market/"):
            return self._market(path, query)
        if self._demo and path not in _ON_DEMO:
            raise Refusal(10032, "Demo trading are not supported.")
        match (request.method, path):
            case ("POST", _) if path in facts.SOCKET_OPS:
                return self._changed(path, request.body)
            case ("POST", "/v5/order/cancel-all"):
                self._may_trade()
                return self.orders.cancel_all(request.body, self.now_ns)
            case ("POST", "/v5/position/set-leverage"):
                self._may_trade()
                return self._set_leverage(read(request.body, NamedBody))
            case ("POST", "/v5/position/switch-mode"):
                self._may_trade()
                return self._switch_mode(read(request.body, NamedBody))
            case ("GET", "/v5/order/realtime"):
                return self.orders.realtime(query)
            case ("GET", "/v5/order/history"):
                return self.orders.history(query, self.now_ns)
            case ("GET", "/v5/execution/list"):
                return self.orders.fills(query, self.now_ns)
            case ("GET", "/v5/position/list"):
                return self.account.positions(query, self.now_ns)
            case ("GET", "/v5/account/wallet-balance"):
                return self._wallets(query)
            case ("GET", "/v5/account/info"):
                return self.account.info()
            case ("GET", "/v5/account/fee-rate"):
                return self.account.fee_rates(query)
            case ("GET", "/v5/account/transaction-log"):
                return self.account.transactions(query, self.now_ns)
            case ("GET", "/v5/asset/delivery-record"):
                return self.account.delivery_records(query)
            case ("GET", "/v5/user/query-api"):
                return self.account.key_info()
            case _:
                raise Refusal(10017, "route not found", 404)

    def _changed(self, path: str, body: bytes) -> object:
        """One order placed, amended or cancelled, by whichever way it came."""
        self._may_trade()
        change = {"/v5/order/create": self.orders.create, "/v5/order/amend": self.orders.amend, "/v5/order/cancel": self.orders.cancel}[path]
        return change(body, self.now_ns)

    def _market(self, path: str, query: Mapping[str, str]) -> object:
        data, now_ns = self.data, self.now_ns
        match path.removeprefix("/v5/market/"):
            case "time":
                return wire.ServerTime(timeSecond=str(now_ns // SECOND_NS), timeNano=str(now_ns))
            case "instruments-info":
                return data.instruments(query, now_ns)
            case "orderbook":
                return data.book(query, now_ns)
            case "tickers":
                return data.tickers(query, now_ns)
            case "recent-trade":
                return data.prints(query, now_ns)
            case "kline":
                return data.klines(query, now_ns)
            case "funding/history":
                return data.funding(query, now_ns)
            case _:
                raise Refusal(10017, "route not found", 404)

    def _may_trade(self) -> None:
        if self.account.read_only:
            raise Refusal(10005, "Permission denied, please check your API key permissions.")

    def _wallets(self, query: Mapping[str, str]) -> wire.Wallets:
        if query.get("accountType") != "UNIFIED":
            raise bad("accountType only support UNIFIED.")
        only = tuple(filter(None, query.get("coin", "").split(",")))
        return wire.Wallets(list=[self.account.wallet(self.now_ns, only)])

    def _set_leverage(self, body: NamedBody) -> Mapping[str, object]:
        self.margin.set_leverage(self.rules.product(body.category, body.symbol), body.buyLeverage, body.sellLeverage)
        return {}

    def _switch_mode(self, body: NamedBody) -> Mapping[str, object]:
        """Of the whole account, by coin; not while there is anything that it would change."""
        if body.category != facts.LINEAR or body.mode not in (0, 3):
            raise bad("mode invalid")
        if self.account.hedge is (body.mode == 3):
            raise Refusal(110025, "Position mode is not modified")
        if any(product.linear for product, _, _ in self.margin.contracts()):
            raise Refusal(110024, "You have an existing position, so position mode cannot be switched")
        if any(self.universe.names[order.symbol].linear for order in self.exchange.open_orders()):
            raise Refusal(110028, "You have existing open orders, so position mode cannot be switched")
        self.account.hedge = body.mode == 3
        return {}

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        """A stream. /v5/private and /v5/trade take as many connections as there are slots."""
        self.advance(now_ns)
        path = path.partition("?")[0]
        category = path.removeprefix(facts.PUBLIC_PATH + "/")
        streams: Mapping[str, PrivateStreams | TradeStreams] = {facts.PRIVATE_PATH: self.private, facts.TRADE_PATH: self.trade}
        own = None if self._demo and path == facts.TRADE_PATH else streams.get(path)
        if own is not None and len(own.conns) < self._orders_streams:
            self._conns += 1
            own.open(self._conns)
            return self._conns
        if own is None and category in facts.CATEGORIES:
            self._conns += 1
            self.public.open(self._conns, category)
            return self._conns
        return Response(status=404 if own is None else 429, headers={}, body=b"")

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        self.advance(now_ns)
        if conn in self.private.conns:
            self.private.frame(conn, frame, now_ns)
        elif conn in self.trade.conns:
            self.trade.frame(conn, frame, now_ns)
            self._collect()
        elif conn in self.public.conns:
            self.public.frame(conn, frame, now_ns)

    def closed(self, conn: int) -> None:
        self.private.conns.pop(conn, None)
        self.trade.conns.pop(conn, None)
        self.public.conns.pop(conn, None)

    def advance(self, now_ns: int) -> None:
        """Up to now, with a look at the margin every second in which there are positions, and the funding when it is due."""
        assert now_ns >= self.now_ns, "time runs backwards"
        while (step_ns := self._next_step_ns()) <= now_ns:
            self.now_ns = step_ns
            self.exchange.advance(step_ns)
            self._collect()
            if step_ns == self._funding_ns:
                self._fund(step_ns)
            if step_ns == self._delivery_ns:
                self._deliver(step_ns)
            self._watch_margin(step_ns)
        self.now_ns = now_ns
        self.exchange.advance(now_ns)
        self._collect()
        self.trade.advance(now_ns)
        self.public.advance(now_ns)

    def _next_step_ns(self) -> int:
        due_ns = min(self._funding_ns, self._delivery_ns)
        if not self.account.closing():
            return due_ns
        return min(due_ns, (self.now_ns // SECOND_NS + 1) * SECOND_NS)

    def next_event_ns(self) -> int | None:
        times = (self.exchange.next_event_ns(), self.trade.next_event_ns(), self.public.next_event_ns(), self._next_step_ns())
        return min(time_ns for time_ns in times if time_ns is not None)

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out

    # -- what no order made ----------------------------------------------------------------------------------------------------------------------

    def transfer(self, amount: Decimal, coin: str = facts.QUOTE) -> None:
        """Money or coins in, or out below zero."""
        self.account.transfer(coin, amount, self.now_ns)
        self._tell_wallet()

    def _fund(self, now_ns: int) -> None:
        self._funding_ns += FUNDING_NS

        def tell(product: Product, qty: Decimal, mark: Decimal, paid: Decimal) -> None:
            self.private.publish("execution", product.category, [self.orders.booked("Funding", product, qty, mark, paid, now_ns)], now_ns)

        self.account.fund(now_ns, tell)
        self._tell_wallet()

    def _deliver(self, now_ns: int) -> None:
        """What ends on this day ends: its orders go, its positions are paid out. And options of other days are listed."""
        ended = [product for product in self.universe.products.values() if self._ended_ns < product.expires_ns <= now_ns]
        self._delivery_ns, self._ended_ns = next_eight_ns(now_ns), now_ns
        self.orders.end_all("CancelBySettle", now_ns, ended)
        for product in ended:
            qty = self.account.deliver(product, now_ns)
            if qty:
                price, fee = self.exchange.mark(product.pair, now_ns), Decimal(self.account.deliveries[-1].fee)
                row = self.orders.booked("Delivery", product, -qty, price, fee, now_ns)
                self.private.publish("execution", product.category, [row], now_ns)
        list_options(self.universe, self.market, now_ns)
        self._collect()
        self._tell_wallet()

    def _watch_margin(self, now_ns: int) -> None:
        """Liquidation: first the orders go, then the positions, at the market."""
        if not self.account.broke(now_ns) or self.orders.forced():
            return
        self.orders.end_all("CancelAllBeforeLiq", now_ns, [product for product in self.universe.products.values() if not product.spot])
        for product, side, qty in self.account.closing():
            self.orders.force(product, side, qty, "CreateByLiq", now_ns)
        self._collect()

    def _send(self, conn: int, frame: str | bytes | None) -> None:
        self._out.append((conn, frame))

    def _collect(self) -> None:
        """Events of the exchange become rows and frames."""
        moved = False
        for event in self.exchange.take_events():
            if isinstance(event, Event):
                moved |= event.execution is not None
                self._tell(event)
        if moved:
            self.orders.cover(self.now_ns)
            self.orders.end_reducing(self.now_ns)

    def _tell(self, event: Event) -> None:
        product, now_ns = self.universe.names[event.order.symbol], event.transact_ns
        if event.execution is not None and event.exec_type is ExecType.TRADE:
            row = self.orders.execution(event)
            if product.margined:
                row = msgspec.structs.replace(row, execPnl=self.account.log[-1].cashFlow)
            self.private.publish("execution", product.category, [row], now_ns)
        if not told(event):
            return
        shown = self.orders.show(event.order)
        if event.exec_type is ExecType.CANCEL_REJECTED:
            shown = late_cancel(shown)
        self.private.publish("order", product.category, [shown], now_ns)
        if not product.spot:
            self.private.publish("position", product.category, [self._stream_position(product)], now_ns)
        self._tell_wallet()

    def _stream_position(self, product: Product) -> Mapping[str, object]:
        """A position as the stream has it, where the average has another name."""
        row: dict[str, object] = msgspec.to_builtins(self.account.position(product, self.now_ns))
        return {**row, "entryPrice": row.pop("avgPrice"), "category": product.category}

    def _tell_wallet(self) -> None:
        if self.private.conns:
            self.private.publish("wallet", "", [self.account.wallet(self.now_ns)], self.now_ns)


def _sources(listed: Universe, seed: int, recordings: Mapping[str, Recording]) -> Mapping[str, Source]:
    """A swap's market follows its coin's: a file's prices, else the same walk."""
    listings = {listing.symbol: listing for listing in listed.listings}
    swaps: dict[str, Source] = {
        product.name: recordings.get(product.name) or recordings.get(product.pair) or Walk(listings[product.pair], seed)
        for category in facts.CONTRACTS
        for product in listed.of(category)
    }
    return {**recordings, **swaps}


TWIN = BybitTwin
