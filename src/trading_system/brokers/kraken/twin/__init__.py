"""Kraken's side of the wire, on a simulated market: one account, its REST answers and its WebSocket v2.

Sans-IO: sim/host.py gives it sockets, sim/network.py virtual time. It reads wire.py and facts.py and none of the connector, so that a shared
misreading cannot pass the tests. REST and both streams share one port; what a token opens is private.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from decimal import Decimal
from random import Random
from urllib.parse import parse_qsl, urlsplit

from trading_system.brokers.kraken import facts, wire
from trading_system.brokers.kraken.twin.forms import Refusal, answer, micro, new_id, read_form, refused
from trading_system.brokers.kraken.twin.ledger import Booked, Ledger
from trading_system.brokers.kraken.twin.limits import Limits
from trading_system.brokers.kraken.twin.public import PublicData
from trading_system.brokers.kraken.twin.streams import Streams, Tokens
from trading_system.brokers.kraken.twin.trading import TradingDesk
from trading_system.brokers.kraken.twin.universe import MONEY, universe
from trading_system.domain.fix import ExecType
from trading_system.domain.money import ZERO
from trading_system.sim.exchange import Event, Exchange, Latency
from trading_system.sim.market import Market, Recording
from trading_system.sim.sessions import SECOND_NS
from trading_system.transport.message import Request, Response

__all__ = ["TWIN", "KrakenTwin", "universe"]

LATENCY = Latency(ack_ns=(500_000, 5_000_000), cancel_ns=(0, 0), replace_ns=(0, 0))  # cancels and amends are done in the answer
PERMISSIONS = (
    "query-funds",
    "query-open-trades",
    "query-closed-trades",
    "query-ledger",
    "modify-trades",
    "close-trades",
    "access-websockets-api",
)
_NEEDS = {
    **dict.fromkeys(("Balance", "BalanceEx", "TradeBalance", "TradeVolume"), "query-funds"),
    **dict.fromkeys(("OpenOrders", "OpenPositions"), "query-open-trades"),
    **dict.fromkeys(("ClosedOrders", "TradesHistory", "QueryTrades"), "query-closed-trades"),
    **dict.fromkeys(("Ledgers", "QueryLedgers"), "query-ledger"),
    **dict.fromkeys(("AddOrder", "AmendOrder"), "modify-trades"),
    **dict.fromkeys(("CancelOrder", "CancelAll", "CancelAllOrdersAfter"), "close-trades"),
    "GetWebSocketsToken": "access-websockets-api",
    "GetApiKeyInfo": "",
    "QueryOrders": "",  # open or closed: whichever the key may see
}
LOCKOUT_AFTER = 20  # wrong signatures in a row
LOCKOUT_NS = 900 * SECOND_NS


class KrakenTwin:
    """One Kraken account. Without key and secret they are made from the seed; read them from `credentials`.

    environment: "paper" or "live" decides how the account's number begins. tier: starter, intermediate or pro; requests_per_minute: more than the
    starter's 20 make every counter so many times as large. permissions: what the key may do.
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
        latency: Latency = LATENCY,
        recordings: Mapping[str, Recording] | None = None,
        requests_per_minute: int = facts.FACTS.requests_per_minute,
        tier: str = facts.DEFAULT_TIER,
        permissions: tuple[str, ...] = PERMISSIONS,
    ) -> None:
        names = Random(f"kraken {seed}")  # noqa: S311 names, no secrets of anybody's
        self.environment = environment
        self.key = key or base64.b64encode(names.randbytes(42)).decode()
        self.secret = secret or base64.b64encode(names.randbytes(64)).decode()
        country = facts.PAPER_ACCOUNT_PREFIX if environment == facts.PAPER else "AA"
        self.account_number = f"{country}{names.randint(10, 99)} N84G {new_id('', names)[:4]} {new_id('', names)[:4]}"
        self.permissions = permissions
        self.universe = universe(hours)
        self.market = Market(self.universe.listings, seed, recordings)
        trades = Random(f"trades {seed}")  # noqa: S311
        self.exchange = Exchange(
            self.market,
            self.universe.terms,
            rng=Random(f"exchange {seed}"),  # noqa: S311 a simulation's chance
            start_ns=start_ns,
            cash=cash,
            money=MONEY,
            latency=latency,
            ids=lambda: new_id("T", trades),  # the orders' own names there are nobody's business
        )
        self.limits = Limits(facts.TIERS[tier], Decimal(requests_per_minute) / facts.FACTS.requests_per_minute)
        self.ledger = Ledger(self.universe, self.exchange, names)
        self.trading = TradingDesk(self.universe, self.exchange, self.ledger, self.limits, names)
        self.data = PublicData(self.universe, self.market)
        self.tokens = Tokens(names)
        self.streams = Streams(self.universe, self.market, self.data, self.trading, self.exchange, self.tokens, self._send)
        self.now_ns = start_ns
        self.nonce = 0  # the highest that was taken
        self._started_ns = start_ns
        self._wrong = 0
        self._locked_ns = 0
        self._names = names
        self._conns = 0
        self._out: list[tuple[int, str | bytes | None]] = []

    @property
    def credentials(self) -> Mapping[str, str]:
        """The account's key and secret."""
        return {"key": self.key, "secret": self.secret}

    # -- sim/wire.py: Wire -----------------------------------------------------------------------------------------------------------------------

    def busy(self) -> Response:
        """What the edge says to too many."""
        return Response(status=429, headers={"content-type": "text/html"}, body=b"<html>Too Many Requests</html>")

    def handle(self, request: Request, now_ns: int) -> Response:
        """One HTTP exchange. Refusals are HTTP 200, too."""
        self.advance(now_ns)
        url = urlsplit(request.url)
        try:
            if url.path.startswith(facts.PUBLIC):
                result = self._public(url.path.removeprefix(facts.PUBLIC), request, url.query)
            elif url.path.startswith(facts.PRIVATE):
                result = self._private(url.path, request)
            else:
                raise Refusal("EGeneral:Unknown method")
            response = answer(result, now_ns)
        except Refusal as refusal:
            response = refused(refusal.error, now_ns)
        self._collect()
        return response

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        self.advance(now_ns)
        if path.partition("?")[0] != facts.STREAM_PATH:
            return Response(status=404, headers={}, body=b"")
        self._conns += 1
        self.streams.open(self._conns, now_ns)
        return self._conns

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        self.advance(now_ns)
        if conn in self.streams.conns:
            self.streams.frame(conn, frame, now_ns)
            self._collect()

    def closed(self, conn: int) -> None:
        self.streams.conns.pop(conn, None)

    def advance(self, now_ns: int) -> None:
        assert now_ns >= self.now_ns, "time runs backwards"
        self.now_ns = now_ns
        self.exchange.advance(now_ns)
        self.trading.advance(now_ns)
        self._collect()
        self.streams.advance(now_ns)

    def next_event_ns(self) -> int | None:
        times = (self.exchange.next_event_ns(), self.trading.next_event_ns(), self.streams.next_event_ns())
        return min(time_ns for time_ns in times if time_ns is not None)

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out

    # -- what no order made ----------------------------------------------------------------------------------------------------------------------

    def transfer(self, amount: Decimal, asset: str = MONEY) -> None:
        """Money or coins in, or out below zero."""
        self.exchange.deposit(asset, amount)
        self._book("deposit" if amount > 0 else "withdrawal", asset, amount)

    def reward(self, asset: str, amount: Decimal) -> None:
        """What a coin earned by being held."""
        self.exchange.deposit(asset, amount)
        self._book("staking", asset, amount)

    def _book(self, kind: str, asset: str, amount: Decimal) -> None:
        entry = self.ledger.book(kind, asset, amount, ZERO, new_id("Q", self._names), self.now_ns)
        self.streams.moved([entry], self.now_ns)

    def _send(self, conn: int, frame: str | bytes | None) -> None:
        self._out.append((conn, frame))

    def _collect(self) -> None:
        """Events of the exchange become ledger entries and frames."""
        for event in self.exchange.take_events():
            if not isinstance(event, Event):
                continue
            booked: list[Booked] = []
            if event.exec_type is ExecType.TRADE and event.execution is not None:
                self.trading.of(event.order.order_id).trades.append(event.execution)
                booked = self.ledger.trade(event.execution)
            self.streams.publish(event, booked, self.now_ns)

    # -- who, and what ---------------------------------------------------------------------------------------------------------------------------

    def _private(self, path: str, request: Request) -> object:
        """Key, signature, nonce, counter, permission, then the call."""
        now_ns, name = self.now_ns, path.removeprefix(facts.PRIVATE)
        form = read_form(request)
        self._authenticate(path, request, form)
        if not self.limits.call(name, now_ns):
            raise Refusal("EAPI:Rate limit exceeded")
        needed = _NEEDS.get(name)
        if needed is None:
            raise Refusal("EGeneral:Unknown method")
        if needed and needed not in self.permissions:
            raise Refusal("EGeneral:Permission denied")
        desk = self.trading
        calls: Mapping[str, Callable[[], object]] = {
            "Balance": desk.balance,
            "BalanceEx": desk.balance_ex,
            "TradeBalance": lambda: desk.trade_balance(form, now_ns),
            "TradeVolume": lambda: desk.trade_volume(form),
            "OpenOrders": lambda: desk.open_orders(form),
            "ClosedOrders": lambda: desk.closed_orders(form),
            "QueryOrders": lambda: desk.query_orders(form),
            "TradesHistory": lambda: desk.history(form),
            "QueryTrades": lambda: desk.query_trades(form),
            "OpenPositions": list,
            "Ledgers": lambda: self.ledger.list(form),
            "QueryLedgers": lambda: self.ledger.query(form),
            "AddOrder": lambda: desk.add(form, now_ns),
            "AmendOrder": lambda: desk.amend(form, now_ns),
            "CancelOrder": lambda: desk.cancel(form, now_ns),
            "CancelAll": lambda: desk.cancel_all(now_ns),
            "CancelAllOrdersAfter": lambda: desk.cancel_all_after(form, now_ns),
            "GetWebSocketsToken": lambda: self.tokens.make(now_ns),
            "GetApiKeyInfo": self._key_info,
        }
        return calls[name]()

    def _authenticate(self, path: str, request: Request, form: Mapping[str, str]) -> None:
        """Raises Refusal. Many wrong signatures lock the address out, right ones included."""
        given = {name.lower(): value for name, value in request.headers.items()}
        if self.now_ns < self._locked_ns:
            raise Refusal("EGeneral:Temporary lockout")
        if given.get(facts.KEY_HEADER.lower()) != self.key:
            self._count_wrong()
            raise Refusal("EAPI:Invalid key")
        nonce = form.get("nonce", "")
        digest = hashlib.sha256(nonce.encode() + request.body).digest()
        right = hmac.new(base64.b64decode(self.secret), path.encode() + digest, hashlib.sha512).digest()
        if not hmac.compare_digest(base64.b64encode(right).decode(), given.get(facts.SIGN_HEADER.lower(), "")):
            self._count_wrong()
            raise Refusal("EAPI:Invalid signature")
        if not nonce.isdecimal() or int(nonce) >= 1 << 64 or int(nonce) <= self.nonce:
            raise Refusal("EAPI:Invalid nonce")
        self.nonce, self._wrong = int(nonce), 0

    def _count_wrong(self) -> None:
        self._wrong += 1
        if self._wrong >= LOCKOUT_AFTER:
            self._wrong, self._locked_ns = 0, self.now_ns + LOCKOUT_NS

    def _key_info(self) -> wire.KeyInfo:
        made = str(self._started_ns // SECOND_NS)
        return wire.KeyInfo(
            api_key_name="twin",
            api_key=self.key,
            nonce=str(self.nonce),
            permissions=self.permissions,
            iban=self.account_number,
            created_time=made,
            modified_time=made,
            last_used=str(self.now_ns // SECOND_NS),
        )

    def _public(self, name: str, request: Request, query_text: str) -> object:
        now_ns, data = self.now_ns, self.data
        query = dict(parse_qsl(query_text)) or (read_form(request) if request.body else {})
        if not self.limits.public(now_ns):
            raise Refusal("EGeneral:Too many requests")
        match name:
            case "Time":
                return wire.Time(unixtime=now_ns // SECOND_NS, rfc1123=answer({}, now_ns).headers["date"])
            case "SystemStatus":
                return wire.SystemStatus(status=self.trading.system, timestamp=micro(now_ns)[:19] + "Z")
            case "Assets":
                return data.assets(query)
            case "AssetPairs":
                return data.pairs(query)
            case "Ticker":
                return data.ticker(query, now_ns)
            case "OHLC":
                return data.ohlc(query, now_ns)
            case "Depth":
                return data.depth(query, now_ns)
            case "Trades":
                return data.trades(query, now_ns)
            case "Spread":
                return data.spread(query, now_ns)
        raise Refusal("EGeneral:Unknown method")


TWIN = KrakenTwin
