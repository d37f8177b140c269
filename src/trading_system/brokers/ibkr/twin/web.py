"""The Web API itself: sessions, what each path answers, questions before orders, the WebSocket's topics, and the faults that it has.

Orders, contracts and money are those of the TWS twin: one exchange behind another wire. Not modelled: orders linked by parent ids, allocation over
several accounts, the ledger's and the summary's topics.
"""

import string
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import formatdate
from itertools import count
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from trading_system.brokers.ibkr.facts import PAPER, PAPER_ACCOUNT_PREFIX
from trading_system.brokers.ibkr.twin.contracts import Contracts
from trading_system.brokers.ibkr.twin.forms import LEG_FIELDS, Form, Refusal, Wanted
from trading_system.brokers.ibkr.twin.orders import Orders, Placed
from trading_system.brokers.ibkr.twin.universe import HOME, Line, universe
from trading_system.brokers.ibkr.twin.web_login import GATEWAY, Denied, Logins
from trading_system.brokers.ibkr.twin.web_prices import Prices
from trading_system.brokers.ibkr.twin.web_rows import Json, contract_info, contract_rules, form_of, order_row, order_status, position_row, trade_row
from trading_system.brokers.ibkr.web.wire import BASE, SOCKET
from trading_system.brokers.ibkr.wire import Tells, split
from trading_system.domain.money import ONE
from trading_system.sim.exchange import Event, Exchange, Latency
from trading_system.sim.market import Market, Recording
from trading_system.sim.options import Chains
from trading_system.sim.sessions import DAY_NS, SECOND_NS, Sessions, new_york_day
from trading_system.transport.message import Request, Response

MS = 1_000_000
HEARTBEAT_NS = 10 * SECOND_NS
REQUESTS_PER_SECOND = 10
LIST_EVERY_NS = 5 * SECOND_NS  # live orders, and trades
PAGE = 100
SCHEDULE_DAYS = 7
FAR = Decimal("0.03")  # a limit price so far from the market is asked about
ENDS_EARLY = frozenset({"ES"})  # on their last day: of these another day is the last whole one
_FIRST_ORDER = 0
_JSON = msgspec.json.Encoder(decimal_format="number")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_QUESTIONS = {
    "o163": "The following order BUY 1 AAPL NASDAQ.NMS price exceeds \nthe Percentage constraint of 3%.\nAre you sure you want to submit this order?",
    "o10331": "You are about to submit a stop order. Please be aware of the various stop order types available and the risks associated with each "
    "one.\nAre you sure you want to submit this order?",
    "o10164": "Traders are responsible for understanding cash quantity details, which are provided on a best efforts basis only.",
    "o2137": "The order would cross an order of your own on the other side.<br>Are you sure you want to submit this order?",
}


class _Asked(msgspec.Struct):
    """A question that waits for its answer, and what happens with a yes."""

    reply_id: str
    left: list[str]
    act: Callable[[], object]


class _Socket(msgspec.Struct, kw_only=True):
    """One WebSocket. greeted: it has said whose it is."""

    topics: set[str]
    greeted: bool = False
    heard: dict[int, dict[str, object]] = msgspec.field(default_factory=dict)  # orders as they were last told


class _TradesWanted(msgspec.Struct):
    """What a subscription to executions asks for."""

    only_new: bool = msgspec.field(default=False, name="realtimeUpdatesOnly")
    days: int = 1


class _No(Exception):
    """An answer that says no."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class WebTwin:
    """One Client Portal API with one account.

    environment: "paper" gives a number that begins with DU. login: how clients prove who they are. hours: "always" or "us". asks: questions that
    every order is met with, besides those of its price and type.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        start_ns: int,
        account: str | None = None,
        environment: str = PAPER,
        hours: str = "always",
        cash: Decimal = Decimal(100_000),
        multiplier: Decimal = ONE,
        latency: Latency = Latency(),  # noqa: B008 frozen
        recordings: Mapping[str, Recording] | None = None,
        requests_per_minute: int | None = None,
        login: str = GATEWAY,
        asks: tuple[str, ...] = (),
    ) -> None:
        names = Random(f"ibkr {seed}")  # noqa: S311 names, no secrets of anybody's
        self.account = account or (PAPER_ACCOUNT_PREFIX if environment == PAPER else "U") + "".join(names.choices(string.digits, k=7))
        self.universe = universe(hours)
        self.market = Market(self.universe.listings, seed, recordings)
        numbers, prefix = count(1), names.getrandbits(32)
        self.exchange = Exchange(
            self.market,
            self.universe.terms,
            rng=Random(f"exchange {seed}"),  # noqa: S311 a simulation's chance
            start_ns=start_ns,
            cash=cash,
            multiplier=multiplier,
            latency=latency,
            ids=lambda: f"{prefix:08x}.{next(numbers):08x}.01.01",
        )
        options = Sessions(hours, extended=False)
        stocks = [line.name for line in self.universe.lines.values() if line.sec_type == "STK" and " " not in line.name]
        week = Sessions("always" if hours == "always" else "forex")
        self.contracts = Contracts(self.universe, self.market, Chains(self.market, dict.fromkeys(stocks, options)), week)
        self.trading = Orders(self.contracts, self.exchange, account=self.account, send=self._hear)
        self.prices = Prices(self.market, self._push)
        self.logins = Logins(login, Random(f"logins {seed}"))  # noqa: S311
        self.asks = asks
        self.now_ns = start_ns
        list(self.contracts.futures(start_ns))  # each has its number from the beginning
        self.brokerage = False  # there is a brokerage session …
        self.competing = False  # … or another login of the same user has it
        self.down = False  # maintenance: 503 for everything under /iserver
        self.quiet = False  # no socket tells anything of orders
        self.session = f"{names.getrandbits(128):032x}"
        self._limit = max(REQUESTS_PER_SECOND, (requests_per_minute or 0) // 60)
        self._list_every_ns = 0 if (requests_per_minute or 0) > 60 * REQUESTS_PER_SECOND else LIST_EVERY_NS
        self._listed_ns: dict[str, int] = {}
        self._times: deque[int] = deque()
        self._looked: set[str] = set()  # what had to be asked before: accounts, portfolio, orders
        self._question: _Asked | None = None
        self._suppressed: set[str] = set()
        self._refs: set[str] = set()
        self._said = ""
        self._tried: list[str] = []
        self._of: dict[str, Placed] = {}
        self._shown_as: dict[int, tuple[str, str]] = {}  # type and time in force of orders of other kinds
        self._heard = 0  # executions that sockets were told of
        self._sockets: dict[int, _Socket] = {}
        self._opened = 0
        self._beat_ns = start_ns
        self._names = names
        self._out: list[tuple[int, str | bytes | None]] = []

    @property
    def credentials(self) -> Mapping[str, str]:
        return {"account": self.account, **self.logins.credentials}

    # -- sim/wire.py: Wire -----------------------------------------------------------------------------------------------------------------------

    def busy(self) -> Response:
        """429, as too many requests get it."""
        return _answer({"error": "Too many requests", "statusCode": 429}, 429)

    def handle(self, request: Request, now_ns: int) -> Response:
        """One HTTP exchange: who asks, how often, then the path."""
        self.advance(now_ns)
        url = urlsplit(request.url)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            response = self._answered(request, url.path, headers, dict(parse_qsl(url.query)))
        except Denied as denied:
            response = _answer({"error": str(denied), "statusCode": 401}, 401)
        except _No as no:
            response = _answer({"error": str(no), "statusCode": no.status}, no.status)
        except Refusal as refusal:
            response = _answer({"error": refusal.text}, 400)
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            response = _answer({"error": f"Bad Request: {error}", "statusCode": 400}, 400)
        self._collect()
        return msgspec.structs.replace(response, headers={**response.headers, "date": formatdate(now_ns // SECOND_NS, usegmt=True)}, recv_ns=now_ns)

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        self.advance(now_ns)
        if urlsplit(path).path != SOCKET:
            return _answer({"error": "Not Found"}, 404)
        self._opened += 1
        self._sockets[self._opened] = _Socket(topics=set())
        self._push(self._opened, {"message": "waiting for session"})
        cookie = {name.lower(): value for name, value in headers.items()}.get("cookie", "")
        if self.session in cookie:
            self._greet(self._opened)
        return self._opened

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        """A subscription, its end, or a sign of life."""
        self.advance(now_ns)
        socket, text = self._sockets.get(conn), frame if isinstance(frame, str) else frame.decode()
        if socket is None:
            return
        if not socket.greeted:
            if self.session in text:
                self._greet(conn)
            return
        topic, _, rest = text.partition("+")
        if topic in ("tic", "ech"):
            self._push(conn, {"topic": "tic", "alive": True, "id": self.session, "lastAccessed": now_ns // MS})
        elif not self.brokerage:
            self._push(conn, {"topic": topic, "error": "not authenticated", "code": 3})
        elif topic in ("smd", "umd"):
            self._quotes(conn, topic, rest)
        elif topic in ("sor", "str"):
            socket.topics.add(topic)
            self._all(conn, topic, rest)
        elif topic in ("uor", "utr"):
            socket.topics.discard(f"s{topic[1:]}")
        else:
            self._push(conn, {"topic": "error", "error": f"unknown topic {topic}", "code": 5})

    def closed(self, conn: int) -> None:
        self._sockets.pop(conn, None)
        self.prices.closed(conn)

    def advance(self, now_ns: int) -> None:
        assert now_ns >= self.now_ns, "time runs backwards"
        self.now_ns = self.trading.now_ns = now_ns
        self.exchange.advance(now_ns)
        self._collect()
        self.prices.advance(now_ns)
        if now_ns - self._beat_ns >= HEARTBEAT_NS:
            self._beat_ns = now_ns
            for conn, socket in self._sockets.items():
                if socket.greeted:
                    self._push(conn, {"topic": "system", "hb": now_ns // MS})

    def next_event_ns(self) -> int | None:
        beat = self._beat_ns + HEARTBEAT_NS if self._sockets else None
        times = (self.exchange.next_event_ns(), self.prices.next_event_ns(), beat)
        return min(time_ns for time_ns in times if time_ns is not None)

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out

    # -- what happens to it ----------------------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """The daily one: the brokerage session ends, and with it everything that was asked once."""
        self.brokerage, self._question = False, None
        self._looked.clear()
        self._suppressed.clear()
        self.prices.warm.clear()
        self.prices.streams.clear()
        self.session = f"{self._names.getrandbits(128):032x}"
        for conn, socket in self._sockets.items():
            socket.topics.clear()
            self._push(conn, {"topic": "sts", "args": {"authenticated": False, "competing": self.competing, "connected": True}})

    def take_over(self) -> None:
        """Another login of the same user takes the brokerage session."""
        self.competing = True
        self.reset()

    def by_hand(self, asked: Json, shown: tuple[str, str] | None = None) -> int:
        """An order that somebody places elsewhere. Gives its number. shown: type and time in force as its rows have them, which may be any that
        TWS offers; here it works as what was asked."""
        (placed,) = self._place([form_of(asked, self._next_id(), self.account, self.contracts.by_id)])
        if shown is not None:
            self._shown_as[placed.perm_id] = shown
        return placed.perm_id

    def _row(self, placed: Placed) -> dict[str, object]:
        kind, tif = self._shown_as.get(placed.perm_id, ("", ""))
        others = {"origOrderType": kind, "orderType": kind.title(), "timeInForce": tif} if kind else {}
        return order_row(placed, self.trading, self.account) | others

    def _order(self, placed: Placed) -> dict[str, object]:
        kind, tif = self._shown_as.get(placed.perm_id, ("", ""))
        return order_status(placed, self.trading, self.account) | ({"order_type": kind, "tif": tif} if kind else {})

    def _push(self, conn: int, message: object) -> None:
        self._out.append((conn, _JSON.encode(message).decode()))

    def _hear(self, client_id: int, message: bytes) -> None:
        """What TWS would say to a client: of that the Web API knows what was refused, and what was tried."""
        fields = split(message)
        if fields[0] == str(int(Tells.OPEN_ORDER)):
            self._tried = fields
        if fields[0] == str(int(Tells.ERROR)):
            self._said = fields[4]

    def _collect(self) -> None:
        while events := self.exchange.take_events():
            for event in events:
                if isinstance(event, Event):
                    self.trading.record(event)
                    self._tell(event)

    def _tell(self, event: Event) -> None:
        placed = self._of.get(event.order.order_id)
        if placed is None:
            return
        new, self._heard = self.trading.told[self._heard :], len(self.trading.told)
        if self.quiet:
            return
        for conn, socket in self._sockets.items():
            if "sor" in socket.topics:
                self._change(conn, socket, placed)
            if "str" in socket.topics:
                for done, of, line in new:
                    for charged in (False, True):
                        self._push(conn, {"topic": "str", "args": [trade_row(done, of, line, self.account, charged=charged)]})

    def _change(self, conn: int, socket: _Socket, placed: Placed) -> None:
        """What is new about an order, and nothing else."""
        row, before = self._row(placed), socket.heard.get(placed.perm_id, {})
        socket.heard[placed.perm_id] = row
        news = {name: value for name, value in row.items() if before.get(name) != value or name in ("acct", "orderId", "conid")}
        self._push(conn, {"topic": "sor", "args": [news]})

    def _greet(self, conn: int) -> None:
        self._sockets[conn].greeted = True
        self._push(conn, {"topic": "system", "success": "twinuser", "isFT": False, "isPaper": self.account.startswith(PAPER_ACCOUNT_PREFIX)})
        self._push(conn, {"topic": "sts", "args": self._status()})
        self._push(conn, {"topic": "act", "args": {"accounts": [self.account], "selectedAccount": self.account}})
        self._push(conn, {"topic": "system", "hb": self.now_ns // MS})

    def _all(self, conn: int, topic: str, rest: str) -> None:
        """What was before: orders of the day, those that are over included, and executions unless only new ones are wanted."""
        if topic == "sor":
            for placed in self._shown():
                self._change(conn, self._sockets[conn], placed)
            return
        wanted = msgspec.json.decode(rest or "{}", type=_TradesWanted)
        if not wanted.only_new:
            self._push(conn, {"topic": "str", "args": self._trades(self.now_ns - wanted.days * DAY_NS)})

    def _quotes(self, conn: int, topic: str, rest: str) -> None:
        con_id, _, words = rest.partition("+")
        line = self.contracts.by_id(int(con_id)) if con_id.isdecimal() else None
        if line is None:
            self._push(conn, {"topic": f"smd+{con_id}", "error": "unknown contract", "code": 4})
        elif topic == "umd":
            self.prices.streams.pop((conn, line.con_id), None)
        else:
            fields = msgspec.json.decode(words or "{}", type=dict[str, list[str]]).get("fields", [])
            self.prices.subscribe(conn, line, tuple(fields), self.now_ns)

    # -- requests --------------------------------------------------------------------------------------------------------------------------------

    def _answered(self, request: Request, path: str, headers: Mapping[str, str], query: Mapping[str, str]) -> Response:
        if request.method == "POST" and not {"content-type", "content-length"} & set(headers):
            raise _No(411, "Length Required")
        while self._times and self._times[0] <= self.now_ns - SECOND_NS:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return self.busy()
        self._times.append(self.now_ns)
        if path == "/oauth2/api/v1/token":
            return _answer(self.logins.access_token(request.body, self.now_ns // SECOND_NS))
        if path == "/gw/api/v1/sso-sessions":
            return _answer(self.logins.session(headers, request.body))
        if path == f"{BASE}/oauth/live_session_token":
            return _answer(self.logins.live_session_token(headers, path, self.now_ns // MS))
        if not path.startswith(f"{BASE}/"):
            raise _No(404, "Not Found")
        self.logins.check(request.method, path, headers, path)
        body = msgspec.json.decode(request.body or b"{}", type=dict[str, object])
        parts = tuple(path.removeprefix(f"{BASE}/").rstrip("/").split("/"))
        if parts[0] == "iserver" and self.down:
            raise _No(503, "Service Unavailable")
        if parts[0] == "iserver" and parts[1] != "auth" and not self.brokerage:
            raise _No(400, "Bad Request: no bridge")
        return _answer(self._routed(request.method, parts, {**query, **body}))

    def _routed(self, method: str, parts: tuple[str, ...], asked: Json) -> object:
        match (method, *parts):
            case (_, "tickle"):
                return {
                    "session": self.session,
                    "ssoExpires": 534_890,
                    "collission": False,
                    "userId": 123,
                    "hmds": {"error": "no bridge"},
                    "iserver": {"authStatus": self._status()},
                }
            case (_, "sso", "validate"):
                return {"USER_ID": 123, "USER_NAME": "twinuser", "RESULT": True, "AUTH_TIME": self.now_ns // MS, "EXPIRES": 415_890}
            case (_, "logout"):
                self.brokerage = False
                return {"status": True}
            case ("POST", "iserver", "auth", "ssodh", "init"):
                return self._init(asked)
            case (_, "iserver", "auth", "status"):
                return self._status()
            case ("POST", "iserver", "questions", "suppress"):
                self._suppressed = set(_texts(asked["messageIds"]))
                return {"status": "submitted"}
            case ("POST", "iserver", "reply", reply_id):
                return self._reply(reply_id, asked)
            case (_, "portfolio" | "portfolio2", *_):
                return self._portfolio(parts, asked)
            case (_, "iserver", "account" | "accounts", *_):
                return self._account(method, parts, asked)
            case _:
                return self._market(parts, asked)

    def _status(self) -> dict[str, object]:
        return {
            "authenticated": self.brokerage,
            "competing": self.competing and not self.brokerage,
            "connected": True,
            "message": "",
            "MAC": "98:F2:B3:23:BF:A0",
            "serverInfo": {"serverName": "JifN19053", "serverVersion": "Build 10.25.0p Dec 5, 2023 5:48:12 PM"},
            "fail": "",
        }

    def _init(self, asked: Json) -> object:
        if self.competing and asked.get("compete") is not True:
            return self._status()
        self.brokerage, self.competing = True, False
        return self._status()

    def _portfolio(self, parts: tuple[str, ...], asked: Json) -> object:
        if parts[1] == "accounts":
            self._looked.add("portfolio")
            return [{"id": self.account, "accountId": self.account, "accountVan": self.account, "currency": HOME, "type": "DEMO"}]
        if "portfolio" not in self._looked:
            raise _No(400, "Bad Request: please query /portfolio/accounts first")
        if parts[1] != self.account:
            raise _No(401, "Unauthorized")
        match parts[2:]:
            case ("summary",):
                return self._summary()
            case ("ledger",):
                return self._ledger()
            case ("positions", page):
                return self._positions()[int(page) * PAGE : (int(page) + 1) * PAGE]
            case ("positions",):
                return [position_row(row, self.now_ns) for row in self._positions()]
        raise _No(404, "Not Found")

    def _summary(self) -> object:
        x = self.exchange
        figures = {
            "netliquidation": x.equity(self.now_ns),
            "totalcashvalue": self.trading.cash(self.now_ns),
            "buyingpower": self.trading.available(self.now_ns),
            "availablefunds": self.trading.available(self.now_ns),
            "previousdayequitywithloanvalue": x.last_equity,
        }
        row = {"currency": HOME, "isNull": False, "timestamp": self.now_ns // MS, "value": None, "severity": 0}
        return {name: {"amount": value.quantize(Decimal("0.01")), **row} for name, value in figures.items()}

    def _ledger(self) -> object:
        moneys = {HOME: (self.trading.cash(self.now_ns), ONE)}
        for name, qty in self.exchange.positions():
            if self.universe.lines[name].sec_type == "CASH":
                moneys[self.universe.lines[name].symbol] = (qty, self.exchange.mark(name, self.now_ns))
        rows = {
            money: {"cashbalance": amount, "exchangerate": rate, "currency": money, "acctcode": self.account, "key": "LedgerList", "secondkey": money}
            for money, (amount, rate) in moneys.items()
        }
        held, zero = self._positions(), Decimal(0)
        rows[HOME] |= {
            "futuresonlypnl": self.trading.futures_pnl(self.now_ns),
            "unrealizedpnl": sum((row["unrealizedPnl"] for row in held), zero),
            "interest": zero,
            "dividends": zero,
            "netliquidationvalue": moneys[HOME][0] + sum((row["mktValue"] for row in held if row["assetClass"] != "FUT"), zero),
        }
        total = sum((amount * rate for amount, rate in moneys.values()), zero)
        return {**rows, "BASE": {"cashbalance": total, "exchangerate": ONE, "currency": "BASE", "key": "LedgerList", "secondkey": "BASE"}}

    def _positions(self) -> list[dict[str, Any]]:
        rows = []
        for name, qty in self.exchange.positions():
            line = self.universe.lines[name]
            if line.sec_type == "CASH":
                continue
            units = line.units
            mark, cost = self.exchange.mark(name, self.now_ns), self.exchange.avg_px.get(self.universe.terms[name].base, Decimal(0))
            rows.append(
                {
                    "acctId": self.account,
                    "conid": line.con_id,
                    "contractDesc": line.symbol,
                    "position": qty,
                    "mktPrice": mark,
                    "mktValue": mark * qty * units,
                    "multiplier": line.multiplier or None,
                    "currency": line.currency,
                    "avgCost": cost * units,
                    "avgPrice": cost,
                    "realizedPnl": 0,
                    "unrealizedPnl": (mark - cost) * qty * units,
                    "assetClass": line.sec_type,
                    "ticker": line.symbol,
                    "pageSize": PAGE,
                }
            )
        return rows

    # -- orders ----------------------------------------------------------------------------------------------------------------------------------

    def _account(self, method: str, parts: tuple[str, ...], asked: Json) -> object:
        if parts[1] == "accounts":
            self._looked.add("accounts")
            props = {self.account: {"hasChildAccounts": False, "supportsCashQty": True, "supportsFractions": False}}
            return {"accounts": [self.account], "acctProps": props, "aliases": {}, "selectedAccount": self.account, "isPaper": True}
        if "accounts" not in self._looked:
            raise _No(400, "Bad Request: please query /accounts first")
        match (method, *parts[2:]):
            case ("GET", "orders"):
                self._pace("orders")
                return self._orders()
            case ("GET", "trades"):
                self._pace("trades")
                since_ns = self.now_ns - int(str(asked.get("days", 1))) * DAY_NS
                return self._trades(since_ns)
            case ("GET", "order", "status", number):
                return self._order(self._placed(number))
            case ("POST", self.account, "orders"):
                return self._submit(_several(asked))
            case ("POST", self.account, "orders", "whatif"):
                return self._try(_several(asked)[0])
            case ("POST", self.account, "order", number):
                return self._modify(self._placed(number), asked)
            case ("DELETE", self.account, "order", number):
                return self._cancel(number, asked)
        raise _No(404 if self.account in parts else 400, "Bad Request: invalid account id")

    def _trades(self, since_ns: int) -> list[dict[str, object]]:
        told = [one for one in self.trading.told if one[1].order is not None and one[1].order.order_id in self._of]
        return [trade_row(done, placed, line, self.account) for done, placed, line in told if done.transact_ns >= since_ns]

    def _pace(self, what: str) -> None:
        if self.now_ns < self._listed_ns.get(what, -LIST_EVERY_NS) + self._list_every_ns:
            raise _No(429, "Too many requests")
        self._listed_ns[what] = self.now_ns

    def _shown(self) -> Iterator[Placed]:
        """Every order of the day that was taken."""
        for placed in self.trading.placed.values():
            order = placed.order
            if order is not None and (not order.ord_status.terminal or new_york_day(order.updated_ns) == new_york_day(self.now_ns)):
                yield placed

    def _orders(self) -> object:
        if "orders" not in self._looked:
            self._looked.add("orders")
            return {"orders": [], "snapshot": False}
        return {"orders": [self._row(placed) for placed in self._shown()], "snapshot": True}

    def _placed(self, number: str) -> Placed:
        placed = self.trading.placed.get(int(number)) if number.isdecimal() else None
        if placed is None or placed.order is None:
            raise _No(503, "Service Unavailable")
        return placed

    def _try(self, asked: Json) -> object:
        """What an order would come to, in figures for people."""
        self._named(asked)
        form = msgspec.structs.replace(form_of(asked, self._next_id(), self.account, self.contracts.by_id), what_if=True)
        self.trading.place(0, form, self.now_ns)
        before, change, after, fee = (Decimal(self._tried[place + LEG_FIELDS * len(form.legs)]) for place in (94, 97, 100, 103))
        equity = self.exchange.equity(self.now_ns)
        margin = {"current": f"{before:,.2f}", "change": f"{change:,.2f}", "after": f"{after:,.2f}"}
        return {
            "amount": {"amount": f"{change:,.2f} USD", "commission": f"{fee:,.2f} USD", "total": f"{change + fee:,.2f} USD"},
            "equity": {"current": f"{equity:,.2f}", "change": f"{-fee:,.2f}", "after": f"{equity - fee:,.2f}"},
            "initial": margin,
            "maintenance": margin,
            "warn": None,
            "error": None,
        }

    def _next_id(self) -> int:
        return self.trading.next_ids.get(_FIRST_ORDER, 1)

    def _submit(self, orders: list[Json]) -> object:
        """One order, or such as belong together."""
        self._question = None  # of a question nobody answered
        forms = self._forms(orders)
        return self._known(forms) or self._ask(forms, lambda: self._take(forms))

    def _forms(self, orders: list[Json]) -> list[Form]:
        """Raises _No: they have nothing to do with one another."""
        head, first = orders[0], self._next_id()
        group = str(head.get("cOID")) if len(orders) > 1 and all(one.get("isSingleGroup") for one in orders) else ""
        if not group and any(one.get("parentId") != head.get("cOID") for one in orders[1:]):
            raise _No(400, "Bad Request: unrelated orders in one request are not supported")
        for one in orders:
            self._named(one)
        last, parent_id = len(orders) - 1, 0 if group else first
        return [
            form_of(one, first + place, self.account, self.contracts.by_id, parent_id=parent_id if place else 0, group=group, transmit=place == last)
            for place, one in enumerate(orders)
        ]

    def _known(self, forms: list[Form]) -> object:
        refs = [form.ref for form in forms if form.ref in self._refs]
        return {"error": f"Order couldn't be submitted: Local order ID={refs[0]} is already registered."} if refs else None

    def _ask(self, forms: list[Form], act: Callable[[], object]) -> object:
        wanted = [*self.asks, *[doubt for form in forms for doubt in self._doubts(form)]]
        left = [name for name in dict.fromkeys(wanted) if name not in self._suppressed]
        if not left:
            return act()
        self._question = _Asked(f"{self._names.getrandbits(128):032x}", left, act)
        return self._next_question()

    def _doubts(self, form: Form) -> Iterator[str]:
        line = self.contracts.by_id(form.contract.con_id)
        if line is not None and form.limit:
            near = self.exchange.mark(line.name, self.now_ns)
            if abs(form.limit - near) > near * FAR:
                yield "o163"
        if form.cash_qty:
            yield "o10164"
        if line is not None and line.sec_type == "CRYPTO" and form.order_type == "MKT":
            yield "o10288"
        if form.order_type in ("STP", "STP LMT", "TRAIL"):
            yield "o10331"

    def _next_question(self) -> object:
        assert self._question is not None
        name = self._question.left[0]
        text = _QUESTIONS.get(name, f"Question {name}. Are you sure you want to submit this order?")
        return [{"id": self._question.reply_id, "message": [text], "isSuppressed": False, "messageIds": [name]}]

    def _reply(self, reply_id: str, asked: Json) -> object:
        question, self._question = self._question, None
        if question is None or question.reply_id != reply_id:
            raise _No(400, "reply id not found")
        if asked.get("confirmed") is not True:
            return {"error": "Order was discarded"}
        question.left.pop(0)
        if not question.left:
            return question.act()
        self._question = msgspec.structs.replace(question, reply_id=f"{self._names.getrandbits(128):032x}")
        return self._next_question()

    def _named(self, asked: Json) -> None:
        """Raises Refusal: an order of futures that does not say who orders, and whether by hand."""
        line = self.contracts.by_id(int(str(asked.get("conid", ""))) if str(asked.get("conid", "")).isdecimal() else 0)
        if line is not None and line.sec_type == "FUT" and not (isinstance(asked.get("manualIndicator"), bool) and asked.get("extOperator")):
            raise Refusal(400, "Bad Request: manualIndicator and extOperator are required for futures")

    def _take(self, forms: list[Form]) -> object:
        known = self._known(forms)
        if known is not None:
            return known
        placed = self._place(forms)
        self._refs |= {form.ref for form in forms if form.ref}
        return [self._acknowledged(one) for one in placed]

    def _place(self, forms: list[Form]) -> list[Placed]:
        """Raises Refusal: none of them was ever an order."""
        self._said = ""
        for form in forms:
            self.trading.place(0, form, self.now_ns)
        found = [self.trading.find(0, form.order_id) for form in forms]
        placed = [one for one in found if one is not None and one.order is not None]
        if len(placed) < len(forms):
            raise Refusal(201, self._said or "Order rejected")
        self._of |= {one.order.order_id: one for one in placed if one.order is not None}
        return placed

    def _acknowledged(self, placed: Placed) -> dict[str, object]:
        status = self._row(placed)["status"]
        return {"order_id": str(placed.perm_id), "local_order_id": placed.form.ref, "order_status": status, "encrypt_message": "1"}

    def _modify(self, placed: Placed, asked: Json) -> object:
        self._named(asked)
        form = form_of({**asked, "cOID": placed.form.ref}, placed.form.order_id, self.account, self.contracts.by_id)

        def act() -> object:
            self.trading.place(0, form, self.now_ns)
            return [self._acknowledged(placed)]

        return self._ask([form], act)

    def _cancel(self, number: str, asked: Json) -> object:
        if number == "-1":
            self.trading.cancel_all(self.now_ns)
            return {"msg": "Request was submitted", "order_id": -1, "conid": -1, "account": None}
        placed = self.trading.placed.get(int(number)) if number.isdecimal() else None
        if placed is None or placed.order is None or placed.order.ord_status.terminal:
            return {"error": f"OrderID {number} doesn't exist"}
        if placed.line.sec_type == "FUT" and not (asked.get("manualIndicator") in ("true", "false") and asked.get("extOperator")):
            raise Refusal(400, "Bad Request: manualIndicator and extOperator are required for futures")
        self.trading.cancel(0, placed.form.order_id, self.now_ns)
        return {"msg": "Request was submitted", "order_id": int(number), "conid": placed.line.con_id, "account": self.account}

    # -- contracts and prices --------------------------------------------------------------------------------------------------------------------

    def _market(self, parts: tuple[str, ...], asked: Json) -> object:
        match parts:
            case ("trsrv", "futures"):
                return {symbol: self._futures(symbol) for symbol in str(asked["symbols"]).split(",")}
            case ("trsrv", "stocks"):
                return {symbol: self._stocks(symbol) for symbol in str(asked["symbols"]).split(",")}
            case ("iserver", "currency", "pairs"):
                money = str(asked["currency"])
                pairs = [line for line in self._of_type("CASH") if money in (line.symbol, line.currency)]
                return {money: [{"symbol": line.local_symbol, "conid": line.con_id, "ccyPair": HOME} for line in pairs]}
            case ("iserver", "secdef", "search"):
                return self._search(str(asked["symbol"]), str(asked.get("secType", "STK")), by_name=asked.get("name") == "true")
            case ("iserver", "secdef", "strikes"):
                _, strikes = self._chain(asked)
                return {"call": strikes, "put": strikes}
            case ("iserver", "secdef", "info"):
                return self._options(asked)
            case ("iserver", "contract", con_id, "info"):
                return contract_info(self._line(con_id))
            case ("iserver", "contract", con_id, "info-and-rules"):
                return {**contract_info(self._line(con_id)), "rules": contract_rules(self._line(con_id))}
            case ("iserver", "contract", "rules"):
                return contract_rules(self._line(str(asked["conid"])))
            case ("contract", "trading-schedule"):
                return self._schedule(self._line(str(asked["conid"])))
            case ("iserver", "marketdata", "snapshot"):
                if "accounts" not in self._looked:
                    raise _No(400, "Bad Request: please query /accounts first")
                fields = str(asked["fields"]).split(",")
                return [self.prices.snapshot(self._line(con_id), fields, self.now_ns) for con_id in str(asked["conids"]).split(",")]
            case ("iserver", "marketdata", "history"):
                return self._history(asked)
            case ("iserver", "marketdata", "unsubscribe" | "unsubscribeall"):
                return {"success": True}
        raise _No(404, "Not Found")

    def _of_type(self, sec_type: str) -> list[Line]:
        return [line for line in self.universe.lines.values() if line.sec_type == sec_type]

    def _line(self, con_id: str) -> Line:
        line = self.contracts.by_id(int(con_id)) if con_id.isdecimal() else None
        if line is None:
            raise _No(400, "Bad Request: unknown contract")
        return line

    def _futures(self, symbol: str) -> list[dict[str, object]]:
        rows = [line for line in self.contracts.futures(self.now_ns) if line.symbol == symbol]
        return [
            {
                "symbol": symbol,
                "conid": line.con_id,
                "expirationDate": int(line.last_trade),
                "ltd": _day_before(line.last_trade) if symbol in ENDS_EARLY else int(line.last_trade),
            }
            for line in rows
        ]

    def _stocks(self, symbol: str) -> list[dict[str, object]]:
        found = [line for line in self._of_type("STK") if line.symbol == symbol]
        return [
            {"name": line.title, "assetClass": "STK", "contracts": [{"conid": line.con_id, "exchange": line.primary, "isUS": True}]} for line in found
        ]

    def _search(self, text: str, sec_type: str, *, by_name: bool) -> list[dict[str, object]]:
        """What begins with the text, or has it in its name."""
        rows: list[dict[str, object]] = []
        for line in self._of_type(sec_type):
            if text.upper() in line.title.upper() if by_name else line.symbol.startswith(text.upper()):
                days, _ = self.contracts.chain(line, self.now_ns) if sec_type == "STK" else ([], [])
                months = ";".join(dict.fromkeys(f"{_MONTHS[int(day[4:6]) - 1]}{day[2:4]}" for day in days))
                sections: list[dict[str, str]] = [{"secType": sec_type}]
                if months:
                    sections.append({"secType": "OPT", "months": months, "exchange": "SMART;CBOE"})
                rows.append(
                    {"conid": str(line.con_id), "symbol": line.symbol, "companyName": line.title, "description": line.primary, "sections": sections}
                )
        if not rows:
            raise _No(500, "No symbol found")
        return rows

    def _chain(self, asked: Json) -> tuple[list[str], list[Decimal]]:
        days, strikes = self.contracts.chain(self._line(str(asked["conid"])), self.now_ns)
        month = _month(str(asked["month"]))
        return [day for day in days if day.startswith(month)], strikes

    def _options(self, asked: Json) -> list[dict[str, object]]:
        under = self._line(str(asked["conid"]))
        wanted = Wanted(
            *(0, under.symbol, "OPT", _month(str(asked["month"])), Decimal(str(asked.get("strike", 0))), str(asked.get("right", ""))),
            *("", "", "", "", "", ""),
        )
        return [
            {
                "conid": line.con_id,
                "symbol": line.symbol,
                "secType": "OPT",
                "exchange": "SMART",
                "right": line.right,
                "strike": line.strike,
                "currency": line.currency,
                "maturityDate": line.last_trade,
                "multiplier": line.multiplier,
            }
            for line in self.contracts.find(wanted, self.now_ns)
        ]

    def _schedule(self, line: Line) -> object:
        sessions, days = self.market.listings[line.name].sessions, {}
        for ahead in range(SCHEDULE_DAYS):
            day = new_york_day(self.now_ns + ahead * DAY_NS)
            session = sessions.on(day)
            hours = [] if session is None else [{"opening": session.open_ns // SECOND_NS, "closing": session.close_ns // SECOND_NS}]
            days[f"{day:%Y%m%d}"] = {"liquid_hours": hours, "extended_hours": hours}
        return {"exchange_time_zone": "US/Eastern", "schedules": days}

    def _history(self, asked: Json) -> object:
        start = str(asked.get("startTime", ""))
        end_ns = self.now_ns if not start else min(self.now_ns, _utc(start))
        found = self.prices.history(self._line(str(asked["conid"])), str(asked["period"]), str(asked["bar"]), start, end_ns)
        if found is None:
            raise _No(500, "Chart data unavailable")
        return found


def _day_before(day: str) -> int:
    return int(f"{datetime.strptime(day, '%Y%m%d').replace(tzinfo=UTC) - timedelta(days=1):%Y%m%d}")


def _answer(value: object, status: int = 200) -> Response:
    return Response(status=status, headers={"content-type": "application/json"}, body=_JSON.encode(value))


def _several(asked: Json) -> list[Json]:
    """The orders of a submit. Raises _No: none."""
    orders = asked.get("orders")
    if not isinstance(orders, list) or not orders or not all(isinstance(one, dict) for one in orders):
        raise _No(400, "Bad Request: there are no orders")
    return orders


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _month(word: str) -> str:
    """NOV26 as 202611."""
    return f"20{word[3:]}{_MONTHS.index(word[:3]) + 1:02d}"


def _utc(text: str) -> int:
    return int(datetime.strptime(text, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC).timestamp()) * SECOND_NS


TWIN = WebTwin
