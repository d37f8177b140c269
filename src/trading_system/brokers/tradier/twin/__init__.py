"""Tradier's side of the wire, on a simulated market: one account, its REST answers and its streams.

Sans-IO: sim/host.py gives it sockets, sim/network.py virtual time. It reads wire.py and facts.py and none of the connector, so that a shared
misreading cannot pass the tests. A path alone decides what is asked: REST and both streams share one port.
"""

import string
from collections.abc import Mapping
from decimal import Decimal
from email.utils import formatdate
from itertools import count
from random import Random
from urllib.parse import unquote, urlsplit

import msgspec

from trading_system.brokers.tradier import facts, wire
from trading_system.brokers.tradier.twin.data import MarketData
from trading_system.brokers.tradier.twin.forms import Refusal, Window, answer, fault, fields, too_many, words
from trading_system.brokers.tradier.twin.rules import Form, Rules
from trading_system.brokers.tradier.twin.streams import AccountStream, MarketStream, Tickets
from trading_system.brokers.tradier.twin.trading import TradingDesk
from trading_system.brokers.tradier.twin.universe import universe
from trading_system.domain.money import ONE
from trading_system.sim.exchange import Event, Exchange, Latency
from trading_system.sim.market import Market, Recording
from trading_system.sim.options import Chains
from trading_system.sim.sessions import SECOND_NS, Sessions
from trading_system.transport.message import Request, Response

__all__ = ["TWIN", "TradierTwin", "universe"]

_FIRST = 228_175  # number of the first order


class TradierTwin:
    """One Tradier account. Without a token it is made from the seed; read it from the attribute.

    environment: "paper" is the sandbox: no market stream, no history, orders wiped at night. hours: "always" or "us". price_gap_ns: for how long an
    order is filled before it has a price. others: further accounts of the same token. recordings: prices to replay (sim/market.py reads files).
    option_level: what the account may do with options, from 0, nothing, to 3, spreads (rules.py).
    """

    media_type = "application/json"  # of the market's stream by HTTP

    def __init__(
        self,
        *,
        seed: int = 0,
        start_ns: int,
        token: str | None = None,
        environment: str = facts.PAPER,
        hours: str = "always",
        cash: Decimal = Decimal(100_000),
        multiplier: Decimal = ONE,
        latency: Latency = Latency(),  # noqa: B008 frozen
        recordings: Mapping[str, Recording] | None = None,
        requests_per_minute: int | None = None,
        price_gap_ns: int = 0,
        others: tuple[str, ...] = (),
        option_level: int = 3,
    ) -> None:
        names = Random(f"tradier {seed}")  # noqa: S311 names, no secrets of anybody's
        self.environment = environment
        self.token = token or "".join(names.choices(string.ascii_letters + string.digits, k=28))
        live = environment == facts.LIVE
        self.account_number = ("6YA" if live else facts.PAPER_ACCOUNT_PREFIX) + "".join(names.choices(string.digits, k=8))
        self.universe = universe(hours)
        self.market = Market(self.universe.listings, seed, recordings)
        numbers = count(_FIRST)
        self.exchange = Exchange(
            self.market,
            self.universe.terms,
            rng=Random(f"exchange {seed}"),  # noqa: S311 a simulation's chance
            start_ns=start_ns,
            cash=cash,
            multiplier=multiplier,
            latency=latency,
            ids=lambda: str(next(numbers)),
        )
        sessions = Sessions(hours)
        options = Sessions(hours, extended=False)
        self.chains = Chains(self.market, {row.symbol: options for row in self.universe.stocks.values() if row.options})
        self.rules = Rules(self.universe, self.exchange, self.chains, sessions, level=option_level)
        self.trading = TradingDesk(
            self.universe,
            self.exchange,
            self.rules,
            account=self.account_number,
            start_ns=start_ns,
            price_gap_ns=price_gap_ns,
            option_level=option_level,
        )
        self.data = MarketData(self.universe, self.market, self.chains, sessions, live=live)
        tickets = Tickets(Random(f"tickets {seed}"))  # noqa: S311
        self.account_stream = AccountStream(tickets, self._send)
        self.market_stream = MarketStream(tickets, self.data, self.market, self._send)
        self.tickets = tickets
        self.now_ns = start_ns
        self.fails_with = ""  # the next answers are those of a broken gateway: html, datastore, expired
        self._others = list(others)
        limit = requests_per_minute or facts.REQUESTS_PER_MINUTE[environment]
        self._windows = {"accounts": Window(limit), "markets": Window(limit), "orders": Window(requests_per_minute or facts.ORDERS_PER_MINUTE)}
        self._conns = 0
        self._out: list[tuple[int, str | bytes | None]] = []

    @property
    def credentials(self) -> Mapping[str, str]:
        return {"token": self.token}

    # -- sim/wire.py: Wire -----------------------------------------------------------------------------------------------------------------------

    def busy(self) -> Response:
        """429, as too many requests get it."""
        return too_many()

    def handle(self, request: Request, now_ns: int) -> Response:
        """One HTTP exchange: rate window, token, then the path."""
        self.advance(now_ns)
        url = urlsplit(request.url)
        parts = tuple(unquote(part) for part in url.path.split("/")[1:])
        orders = request.method in ("POST", "PUT", "DELETE") and "orders" in parts
        bucket = "orders" if orders else "markets" if "markets" in parts else "accounts"
        allowed, headers = self._windows[bucket].take(now_ns)
        response = self._answer(request, parts, fields(url.query, request.body)) if allowed else too_many()
        self._collect()
        dated = {"date": formatdate(now_ns // SECOND_NS, usegmt=True)}
        return msgspec.structs.replace(response, headers={**response.headers, **headers, **dated}, recv_ns=now_ns)

    def _answer(self, request: Request, parts: tuple[str, ...], form: Form) -> Response:
        given = {name.lower(): value for name, value in request.headers.items()}
        if self.fails_with:
            return self._broken()
        if given.get("authorization") != f"Bearer {self.token}":
            if parts[-2:] == ("events", "session"):
                return words(401, "Invalid Access Token")  # where tickets are given out it is text
            return fault("Invalid Access Token", "keymanagement.service.invalid_access_token", 401)
        if "json" not in given.get("accept", ""):
            return words(406, "XML is what Tradier answers in without Accept: application/json; this twin speaks JSON alone.")
        try:
            return self._routed(request.method, parts, form)
        except Refusal as refusal:
            return refusal.response

    def _broken(self) -> Response:
        match self.fails_with:
            case "html":
                return Response(status=200, headers={"content-type": "text/html"}, body=b"<html><body>We will be back soon</body></html>")
            case "datastore":
                return fault("Datastore Error", "datastore.ErrorWhileAccessingDataStore", 500)
            case _:
                return fault("Access Token expired", "keymanagement.service.access_token_expired", 401)

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        """Anybody gets in: the ticket is shown in the first frame, by HTTP in the query. A sandbox has no market stream."""
        self.advance(now_ns)
        path, _, query = path.partition("?")
        form = fields(query, b"")
        if path == facts.ACCOUNT_STREAM:
            self._conns += 1
            self.account_stream.open(self._conns)
        elif path == facts.MARKET_STREAM and self.environment == facts.LIVE:
            self._conns += 1
            if "sessionid" in form:
                self.market_stream.ask(self._conns, form, now_ns)
            else:
                self.market_stream.open(self._conns)
        else:
            return words(404, "Not Found")
        return self._conns

    def is_events(self, path: str) -> bool:
        """The market's stream by one long GET."""
        return path.partition("?")[0] == facts.MARKET_STREAM

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        self.advance(now_ns)
        if conn in self.account_stream.conns:
            self.account_stream.frame(conn, frame, now_ns)
        elif conn in self.market_stream.conns:
            self.market_stream.frame(conn, frame, now_ns)

    def closed(self, conn: int) -> None:
        self.account_stream.conns.pop(conn, None)
        self.market_stream.conns.pop(conn, None)

    def advance(self, now_ns: int) -> None:
        assert now_ns >= self.now_ns, "time runs backwards"
        self.now_ns = now_ns
        self.exchange.advance(now_ns)
        self._collect()
        self.account_stream.advance(now_ns)
        self.market_stream.advance(now_ns)

    def next_event_ns(self) -> int | None:
        times = (self.exchange.next_event_ns(), self.account_stream.next_event_ns(), self.market_stream.next_event_ns())
        return min(time_ns for time_ns in times if time_ns is not None)

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out

    # -- what no order made ----------------------------------------------------------------------------------------------------------------------

    def transfer(self, amount: Decimal) -> None:
        """Money in, or out below zero."""
        self.trading.transfer(amount, self.now_ns)

    def dividend(self, symbol: str, per_share: Decimal) -> None:
        self.trading.dividend(symbol, per_share, self.now_ns)

    def assign(self, symbol: str, qty: Decimal) -> None:
        """Somebody exercises so many contracts that this account sold, before their day."""
        self.exchange.assign(symbol, qty, self.now_ns)
        self._collect()

    def _send(self, conn: int, frame: str | bytes | None) -> None:
        self._out.append((conn, frame))

    def _collect(self) -> None:
        """Events of the exchange become history and frames."""
        while events := self.exchange.take_events():
            for event in events:
                self.trading.record(event)
                if isinstance(event, Event):
                    self.account_stream.publish(self.trading.event(event))

    # -- what ------------------------------------------------------------------------------------------------------------------------------------

    def _routed(self, method: str, parts: tuple[str, ...], form: Form) -> Response:
        match (method, *parts):
            case ("GET", "v1", "user", "profile"):
                return self.trading.profile("Twin Account", self._others)
            case ("POST", "v1", "accounts" | "markets" as which, "events", "session"):
                return self._ticket(which)
            case (_, "v1", "accounts", number, *rest):
                if number != self.account_number:
                    return words(401, f"Unauthorized Account: {number}")
                return self._accounts((method, *rest), form)
            case ("GET", "v1", "markets", *rest) | ("POST", "v1", "markets", "quotes" as rest):
                return self._markets(tuple([rest] if isinstance(rest, str) else rest), form)
        return words(404, "Not Found")

    def _ticket(self, which: str) -> Response:
        if which == "markets" and self.environment != facts.LIVE:
            return words(401, "Invalid Access Token")
        path = facts.MARKET_STREAM if which == "markets" else facts.ACCOUNT_STREAM
        url = f"https://stream.tradier.com{path}" if which == "markets" else f"{facts.URLS[self.environment].account_stream}{path}"
        return answer({"stream": wire.Ticket(url=url, sessionid=self.tickets.issue(self.now_ns))})

    def _accounts(self, asked: tuple[str, ...], form: Form) -> Response:
        desk, now = self.trading, self.now_ns
        match asked:
            case ("GET", "balances"):
                return desk.balances(now)
            case ("GET", "positions"):
                return desk.positions()
            case ("GET", "orders"):
                return desk.orders(form, now)
            case ("POST", "orders"):
                return self.place(form)
            case ("GET", "orders", number):
                return desk.order(number, form, now)
            case ("PUT", "orders", number):
                return desk.change(number, form, now)
            case ("DELETE", "orders", number):
                return desk.cancel(number, now)
            case ("GET", "history"):
                return desk.history(form, now)
            case ("GET", "gainloss"):
                return desk.gains(form, now)
        return words(404, "Not Found")

    def place(self, form: Form) -> Response:
        """Take an order. One that is rejected is received all the same, and told of."""
        before = len(self.trading.placed)
        response = self.trading.place(form, self.now_ns)
        if len(self.trading.placed) > before:
            newest = list(self.trading.placed.values())[-1]
            if newest.reason:
                self.account_stream.publish(self.trading.denied_event(newest))
        return response

    def _markets(self, asked: tuple[str, ...], form: Form) -> Response:
        data, now = self.data, self.now_ns
        match asked:
            case ("quotes",):
                return data.quotes(form, now)
            case ("history",):
                return data.history(form, now)
            case ("timesales",):
                return data.timesales(form, now)
            case ("options", "chains"):
                return data.chain(form, now)
            case ("options", "strikes"):
                return data.strikes(form, now)
            case ("options", "expirations"):
                return data.expirations(form, now)
            case ("options", "lookup"):
                return data.option_symbols(form, now)
            case ("clock",):
                return data.clock(now)
            case ("calendar",):
                return data.calendar(form, now)
            case ("search" | "lookup",):
                return data.search(form)
            case ("etb",):
                return data.easy_to_borrow()
        return words(404, "Not Found")


TWIN = TradierTwin
