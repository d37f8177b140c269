"""OANDA's side of the wire, on a simulated market: one account, its REST answers and its two streams.

Sans-IO: sim/host.py gives it sockets, sim/network.py virtual time. It reads wire.py and facts.py and none of the connector, so that a shared
misreading cannot pass the tests. Requests and streams share one port.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from trading_system.brokers.oanda import facts, wire
from trading_system.brokers.oanda.twin.data import MarketData
from trading_system.brokers.oanda.twin.forms import Refusal, answer, bad, count, moment, money, number, refused, unix
from trading_system.brokers.oanda.twin.ledger import Ledger, Log, SimTrade
from trading_system.brokers.oanda.twin.streams import Streams
from trading_system.brokers.oanda.twin.trading import Orders
from trading_system.brokers.oanda.twin.universe import HOME, universe
from trading_system.domain.times import parse_rfc3339
from trading_system.sim.exchange import NO_LATENCY, Exchange, Latency
from trading_system.sim.market import Market, Recording
from trading_system.sim.sessions import DAY_NS, FOREX_CLOSE, MINUTE_NS, SECOND_NS, new_york_day, new_york_ns
from trading_system.transport.message import Request, Response

__all__ = ["TWIN", "OandaTwin", "universe"]
_UNKNOWN_PATH = Refusal(404, "Not Found")
_SITES = {environment: site for site, environment in facts.SITES.items()}


class OandaTwin:
    """One OANDA account. Without key and account_id they are made from the seed; read them from `credentials`.

    environment: "paper" or "live" stands in the account's number. hours: "always", or anything else for forex's week. hedging: whether opposite
    trades stand side by side. fifo: a US account, which closes its oldest trade first. guaranteed_stops: whether it may have them. Every order is
    through when it is answered, as at OANDA: there is no latency but the network's. The margin is looked at once a minute.
    """

    media_type = "application/octet-stream"

    def __init__(
        self,
        *,
        seed: int = 0,
        start_ns: int,
        key: str | None = None,
        account_id: str | None = None,
        environment: str = facts.PAPER,
        hours: str = "always",
        cash: Decimal = Decimal(100_000),
        latency: Latency = NO_LATENCY,
        recordings: Mapping[str, Recording] | None = None,
        requests_per_minute: int = facts.REQUESTS_PER_SECOND * 72,
        orders_streams: int = facts.STREAMS_MAX,
        hedging: bool = False,
        fifo: bool = False,
        guaranteed_stops: bool = False,
    ) -> None:
        assert latency == NO_LATENCY
        assert not (fifo and hedging)
        names = Random(f"oanda {seed}")  # noqa: S311 names, no secrets of anybody's
        self.environment = environment
        self.key = key or f"{names.getrandbits(128):032x}-{names.getrandbits(128):032x}"
        self.account_id = account_id or f"{_SITES[environment]}-004-{names.randrange(1_000_000, 9_999_999)}-001"
        self.universe = universe(hours, start_ns)
        self.market = Market(self.universe.listings, seed, recordings or {})
        self.log = Log(self.account_id)
        self.exchange = Exchange(
            self.market,
            self.universe.terms,
            rng=Random(f"exchange {seed}"),  # noqa: S311 a simulation's chance
            start_ns=start_ns,
            cash=cash,
            money=HOME,
            latency=latency,
            ids=self.log.draw,
            rate=lambda currency, now_ns: self.ledger.rate(currency, now_ns),
        )
        self.ledger = Ledger(
            self.universe,
            self.exchange,
            self.log,
            account_id=self.account_id,
            hedging=hedging,
            fifo=fifo,
            guaranteed_stops=guaranteed_stops,
            start_ns=start_ns,
        )
        self.orders = Orders(self.universe, self.exchange, self.ledger, self.log)
        self.data = MarketData(self.universe, self.market, self.exchange, self.ledger)
        self.streams = Streams(self.data, self.log, self._send, orders_streams)
        self.now_ns = start_ns
        self._limit, self._window_ns = (requests_per_minute // 60, SECOND_NS) if requests_per_minute >= 60 else (requests_per_minute, MINUTE_NS)
        self._recent: deque[int] = deque()
        self._requests = 0
        self._conns = 0
        self._out: list[tuple[int, str | bytes | None]] = []
        self._financing_ns = _five_o_clock(start_ns)
        self._margin_ns = start_ns  # when the margin is looked at next, while there are trades
        self.log.write("CREATE", start_ns)
        self.log.write("TRANSFER_FUNDS", start_ns, amount=money(cash), fundingReason="CLIENT_FUNDING", accountBalance=money(cash))
        self.log.close_round()

    @property
    def credentials(self) -> Mapping[str, str]:
        return {"key": self.key, "account_id": self.account_id}

    # -- sim/wire.py: Wire -----------------------------------------------------------------------------------------------------------------------

    def busy(self) -> Response:
        """429, as too many requests get it."""
        return refused(_too_many(), self.log.last_id, self._requests)

    def handle(self, request: Request, now_ns: int) -> Response:
        """One HTTP exchange: how often, who, then the path."""
        self.advance(now_ns)
        self._requests += 1
        url = urlsplit(request.url)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            self._admit(now_ns)
            self._know(headers)
            response = self._asked(request, url.path, dict(parse_qsl(url.query)), headers)
        except Refusal as refusal:
            self._publish()
            response = refused(refusal, self.log.last_id, self._requests)
        body = unix(response.body) if headers.get("accept-datetime-format") == "UNIX" else response.body
        return msgspec.structs.replace(response, body=body, recv_ns=now_ns)

    def _admit(self, now_ns: int) -> None:
        while self._recent and self._recent[0] <= now_ns - self._window_ns:
            self._recent.popleft()
        if len(self._recent) >= self._limit:
            raise _too_many()
        self._recent.append(now_ns)

    def _know(self, headers: Mapping[str, str]) -> None:
        if headers.get("authorization") != f"Bearer {self.key}":
            raise Refusal(401, "Insufficient authorization to perform request.")

    def _asked(self, request: Request, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Response:
        parts = [unquote(part) for part in path.removeprefix("/v3/").split("/")]
        changed: tuple[int, object] | None = None
        match (request.method, parts):
            case ("GET", ["accounts"]):
                return self._told(wire.Accounts(accounts=[wire.AccountName(id=self.account_id)]))
            case ("GET", ["instruments", name, "candles"]):
                return self._told(self.data.candles(name, query, self.now_ns))
            case (_, ["accounts", account_id, *rest]) if account_id == self.account_id:
                if request.method == "GET":
                    return self._told(self._question(rest, query, headers))
                changed = self._change(request.method, rest, request.body)
            case (_, ["accounts", *_]):
                raise Refusal(403, "The provided account ID is not authorized for this token.")
        if changed is None:
            raise _UNKNOWN_PATH
        self._publish()
        status, body = changed
        location = {"location": f"/v3/accounts/{self.account_id}/transactions/{self.log.last_id}"} if status == 201 else {}
        return answer(body, status, self._requests, location)

    def _told(self, body: object) -> Response:
        return answer(body, 200, self._requests)

    def _question(self, parts: Sequence[str], query: Mapping[str, str], headers: Mapping[str, str]) -> object:
        now_ns, last = self.now_ns, self.log.last_id
        match parts:
            case []:
                return wire.AccountAnswer(account=self._account(whole=True), lastTransactionID=last)
            case ["summary"]:
                return wire.AccountAnswer(account=self._account(whole=False), lastTransactionID=last)
            case ["instruments"]:
                return wire.Instruments(instruments=self.data.shown_instruments(query), lastTransactionID=last)
            case ["instruments", name, "candles"]:
                return self.data.candles(name, query, now_ns)
            case ["pricing"]:
                return self.data.prices(query, now_ns)
            case ["orders"]:
                return wire.Orders(orders=self.orders.listed(query), lastTransactionID=last)
            case ["pendingOrders"]:
                return wire.Orders(orders=self.orders.pending(), lastTransactionID=last)
            case ["orders", spec]:
                return wire.OrderAnswer(order=self.orders.one(spec), lastTransactionID=last)
            case ["trades"]:
                return wire.Trades(trades=self._trades(query), lastTransactionID=last)
            case ["openTrades"]:
                return wire.Trades(trades=self._trades({"count": "500"}), lastTransactionID=last)
            case ["trades", spec]:
                return wire.TradeAnswer(trade=self._trade(spec), lastTransactionID=last)
            case ["positions"]:  # flat ones, too, of whatever was traded
                traded = sorted({trade.symbol for trade in self.ledger.trades.values()})
                shown = [position for name in traded for position in self.ledger.positions(now_ns, name)]
                return wire.Positions(positions=shown, lastTransactionID=last)
            case ["openPositions"]:
                return wire.Positions(positions=list(self.ledger.positions(now_ns)), lastTransactionID=last)
            case ["positions", name]:
                if name not in self.universe.pairs:
                    raise bad("instrument")
                return wire.PositionAnswer(position=next(self.ledger.positions(now_ns, name)), lastTransactionID=last)
            case ["changes"]:
                return self._changes(query)
            case ["transactions", *rest]:
                return self._transactions(rest, query, headers)
            case _:
                raise _UNKNOWN_PATH

    def _change(self, method: str, parts: Sequence[str], body: bytes) -> tuple[int, object] | None:
        now_ns = self.now_ns
        match (method, parts):
            case ("POST", ["orders"]):
                return 201, self.orders.create(body, now_ns)
            case ("PUT", ["orders", spec]):
                return 201, self.orders.replace(spec, body, now_ns)
            case ("PUT", ["orders", spec, "cancel"]):
                return 200, self.orders.cancel(spec, now_ns)
            case ("PUT", ["orders", spec, "clientExtensions"]):
                return 200, self.orders.rename(spec, body, now_ns)
            case ("PUT", ["trades", spec, "close"]):
                return 200, self.orders.close_trade(self._open_trade(spec), body, now_ns)
            case ("PUT", ["trades", spec, "orders"]):
                return 200, self.orders.dependents(self._open_trade(spec), body, now_ns)
            case ("PUT", ["trades", spec, "clientExtensions"]):
                return 200, self.orders.rename_trade(self._open_trade(spec), body, now_ns)
            case ("PATCH", ["configuration"]):
                return 200, self._configure(body)
            case ("PUT", ["positions", name, "close"]):
                if name not in self.universe.pairs:
                    raise bad("instrument")
                return 200, self.orders.close_position(name, body, now_ns)
            case _:
                return None

    def _account(self, *, whole: bool) -> wire.Account:
        return self.ledger.account(self.now_ns, pending=self.orders.pending(), whole=whole, order=self.orders.shown)

    def _trade(self, spec: str) -> wire.Trade:
        found = self.ledger.trades.get(spec)
        if spec.startswith("@"):
            trades = self.ledger.open_trades()
            found = next((trade for trade in trades if trade.extensions is not None and trade.extensions.id == spec[1:]), None)
        if found is None:
            raise Refusal(404, "The trade ID specified does not exist", "NO_SUCH_TRADE")
        return self.ledger.trade(found, self.now_ns, self.orders.shown)

    def _open_trade(self, spec: str) -> SimTrade:
        trade = self.ledger.trades[self._trade(spec).id]
        if not trade.units:
            raise Refusal(404, "The trade ID specified does not exist", "TRADE_DOESNT_EXIST")
        return trade

    def _configure(self, body: bytes) -> dict[str, object]:
        """The account's alias, and how much it may borrow at the most. Raises Refusal: a rate that is none."""
        try:
            given = msgspec.convert(msgspec.json.decode(body), dict[str, str])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            raise bad("body") from None
        rate = number(given.get("marginRate", self.ledger.margin_rate))
        if rate is None or not 0 < rate <= 1:
            entry = self.log.write("CLIENT_CONFIGURE_REJECT", self.now_ns, rejectReason="MARGIN_RATE_INVALID", **given)
            raise Refusal(400, "The margin rate is invalid", "MARGIN_RATE_INVALID", entry)
        self.ledger.alias, self.ledger.margin_rate = given.get("alias", self.ledger.alias), given.get("marginRate", self.ledger.margin_rate)
        entry = self.log.write("CLIENT_CONFIGURE", self.now_ns, **given)
        return {"clientConfigureTransaction": entry, "lastTransactionID": entry.id}

    def _trades(self, query: Mapping[str, str]) -> list[wire.Trade]:
        state, most = query.get("state", "OPEN"), count(query, "count", 50, 500)
        if state not in ("OPEN", "CLOSED", "CLOSE_WHEN_TRADEABLE", "ALL"):
            raise bad("state")
        ids = set(filter(None, query.get("ids", "").split(",")))
        found = [
            trade
            for trade in reversed(self.ledger.trades.values())
            if state in ("ALL", trade.state) and (not ids or trade.id in ids) and query.get("instrument") in (None, trade.symbol)
        ]
        return [self.ledger.trade(trade, self.now_ns, self.orders.shown) for trade in found[:most]]

    def _changes(self, query: Mapping[str, str]) -> wire.ChangesAnswer:
        new = self.log.since(query.get("sinceTransactionID", "x"))
        ids = {entry.id for entry in new}
        touched = {
            placed.id: self.orders.row(placed) for placed in self.orders.placed.values() if ids & {placed.id, placed.fill_id, placed.cancel_id}
        }
        fills = [entry for entry in new if entry.type == "ORDER_FILL"]
        ended = {change.tradeID for entry in fills for change in entry.tradesClosed}
        reduced = {entry.tradeReduced.tradeID for entry in fills if entry.tradeReduced is not None}
        shown = {
            trade.id: self.ledger.trade(trade, self.now_ns, self.orders.shown, whole=False)
            for trade in self.ledger.trades.values()
            if trade.id in ids | ended | reduced
        }
        account = self._account(whole=False)
        changes = wire.Changes(
            ordersCreated=[row for row in touched.values() if row.id in ids],
            ordersCancelled=[row for row in touched.values() if row.cancellingTransactionID in ids],
            ordersFilled=[row for row in touched.values() if row.state == "FILLED" and row.fillingTransactionID in ids],
            tradesOpened=[row for row in shown.values() if row.id in ids],
            tradesReduced=[row for row in shown.values() if row.id in reduced],
            tradesClosed=[row for row in shown.values() if row.id in ended],
            positions=[position for name in sorted({entry.instrument for entry in fills}) for position in self.ledger.positions(self.now_ns, name)],
            transactions=new,
        )
        lists = ("trades", "positions", "orders")
        state = wire.AccountState(
            **{name: getattr(account, name) for name in wire.AccountState.__struct_fields__ if name not in lists},
            trades=[{"id": trade.id, "unrealizedPL": money(self.ledger.unrealized(trade, self.now_ns))} for trade in self.ledger.open_trades()],
            positions=[
                {
                    "instrument": position.instrument,
                    "netUnrealizedPL": position.unrealizedPL,
                    "longUnrealizedPL": position.long.unrealizedPL,
                    "shortUnrealizedPL": position.short.unrealizedPL,
                    "marginUsed": position.marginUsed,
                }
                for position in self.ledger.positions(self.now_ns)
            ],
            orders=[{"id": row.id, "trailingStopValue": row.trailingStopValue} for row in self.orders.pending() if row.trailingStopValue],
        )
        return wire.ChangesAnswer(changes=changes, state=state, lastTransactionID=self.log.last_id)

    def _transactions(self, parts: Sequence[str], query: Mapping[str, str], headers: Mapping[str, str]) -> object:
        entries, last = self.log.entries, self.log.last_id
        kinds = set(filter(None, query.get("type", "").split(",")))
        match parts:
            case []:
                start_ns = moment(query["from"], "from") if "from" in query else 0
                end_ns = moment(query["to"], "to") if "to" in query else self.now_ns
                size = count(query, "pageSize", 100, 1000)
                found = [entry.id for entry in entries if start_ns <= parse_rfc3339(entry.time) <= end_ns and _of_kind(entry, kinds)]
                base = f"http://{headers.get('host', 'localhost')}/v3/accounts/{self.account_id}/transactions/idrange"
                more = f"&type={query['type']}" if kinds else ""
                chunks = [found[at : at + size] for at in range(0, len(found), size)]
                pages = [f"{base}?from={chunk[0]}&to={chunk[-1]}{more}" for chunk in chunks]
                return wire.TransactionPages(pages=pages, count=len(found), pageSize=size, lastTransactionID=last)
            case ["sinceid"]:
                return wire.Transactions(
                    transactions=[one for one in self.log.since(query.get("id", "x")) if _of_kind(one, kinds)], lastTransactionID=last
                )
            case ["idrange"]:
                first, to = query.get("from", ""), query.get("to", "")
                if not (first.isdecimal() and to.isdecimal() and 1 <= int(first) <= int(to) <= len(entries)):
                    raise Refusal(416, "The transaction ID range requested is not satisfiable", "INVALID_RANGE")
                found_ = [one for one in entries[int(first) - 1 : int(to)] if _of_kind(one, kinds)]
                return wire.Transactions(transactions=found_, lastTransactionID=last)
            case [number] if number.isdecimal() and 1 <= int(number) <= len(entries):
                return wire.TransactionAnswer(transaction=entries[int(number) - 1], lastTransactionID=last)
            case _:
                raise Refusal(404, "The transaction ID specified does not exist", "NO_SUCH_TRANSACTION")

    def is_events(self, path: str) -> bool:
        return path.partition("?")[0].endswith(("/transactions/stream", "/pricing/stream"))

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        """A stream, or why there is none."""
        self.advance(now_ns)
        name, _, query = path.partition("?")
        given = {key.lower(): value for key, value in headers.items()}
        try:
            self._know(given)
            if not name.startswith(f"/v3/accounts/{self.account_id}/"):
                raise Refusal(403, "The provided account ID is not authorized for this token.")
            self.streams.room()
            as_unix = given.get("accept-datetime-format") == "UNIX"
            self._conns += 1
            if name.endswith("/transactions/stream"):
                self.streams.open_transactions(self._conns, now_ns, as_unix=as_unix)
            else:
                self.streams.open_prices(self._conns, dict(parse_qsl(query)), now_ns, as_unix=as_unix)
        except Refusal as refusal:
            return refused(refusal, self.log.last_id, self._requests)
        return self._conns

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        """These streams take nothing."""

    def closed(self, conn: int) -> None:
        self.streams.conns.pop(conn, None)

    def advance(self, now_ns: int) -> None:
        """Up to now, from one event to the next: what a fill brings with it has to stand before the market goes on."""
        assert now_ns >= self.now_ns, "time runs backwards"
        while (step_ns := self._next_step_ns()) <= now_ns:
            self.now_ns = max(self.now_ns, step_ns)
            self.orders.settle(self.now_ns)
            if step_ns == self._financing_ns:
                self._financing_ns = _five_o_clock(step_ns)
                self.ledger.finance(step_ns)
            if step_ns == self._margin_ns:
                self._margin_ns = (self.now_ns // MINUTE_NS + 1) * MINUTE_NS
                if self.ledger.call(self.now_ns):
                    self.orders.close_out(self.now_ns)
            self.orders.lapse(self.now_ns)
            self._publish()
        self.now_ns = now_ns
        self.orders.settle(now_ns)
        self._publish()
        self.streams.advance(now_ns)

    def _next_step_ns(self) -> int:
        margin_ns = self._margin_ns if self.ledger.watched else None
        times = (self.exchange.next_event_ns(), self._financing_ns, self.orders.next_lapse_ns(), margin_ns)
        return min(time_ns for time_ns in times if time_ns is not None)

    def next_event_ns(self) -> int | None:
        following = self.streams.next_event_ns()
        return self._next_step_ns() if following is None else min(following, self._next_step_ns())

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out

    # -- what no order made ----------------------------------------------------------------------------------------------------------------------

    def place(self, body: bytes, now_ns: int) -> bool:
        """An order by somebody else's hand. False: it is refused."""
        self.advance(now_ns)
        try:
            self.orders.create(body, now_ns)
        except Refusal:
            return False
        finally:
            self._publish()
        return True

    def transfer(self, amount: Decimal) -> None:
        """Money in, or out below zero."""
        self.ledger.transfer(amount, self.now_ns)
        self._publish()

    def _publish(self) -> None:
        new = self.log.close_round()
        if new:
            self.streams.publish(new)

    def _send(self, conn: int, frame: bytes | None) -> None:
        self._out.append((conn, frame))


def _of_kind(entry: wire.Transaction, kinds: set[str]) -> bool:
    wider = "ORDER" if entry.orderID or "_ORDER" in entry.type else "FUNDING" if "FUNDS" in entry.type else "ADMIN"
    return not kinds or entry.type in kinds or wider in kinds


def _five_o_clock(now_ns: int) -> int:
    """The next end of a day of forex."""
    day = new_york_day(now_ns + DAY_NS - FOREX_CLOSE * MINUTE_NS)
    end_ns = new_york_ns(day, FOREX_CLOSE)
    return end_ns if end_ns > now_ns else new_york_ns(day + timedelta(days=1), FOREX_CLOSE)


def _too_many() -> Refusal:
    return Refusal(429, "Rate limit exceeded")


TWIN = OandaTwin
