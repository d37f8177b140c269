"""TWS itself: who is connected, what each message asks, and the faults that it has: lost links, restarts, taken client ids, a read-only API."""

import string
from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import count
from random import Random

import msgspec

from trading_system.brokers.ibkr.facts import MESSAGES_PER_SECOND, PAPER, PAPER_ACCOUNT_PREFIX
from trading_system.brokers.ibkr.twin.contracts import Contracts
from trading_system.brokers.ibkr.twin.data import DEPTH, Data
from trading_system.brokers.ibkr.twin.forms import Refusal, contract, details, error, head, order
from trading_system.brokers.ibkr.twin.orders import Orders
from trading_system.brokers.ibkr.twin.universe import HOME, Line, universe
from trading_system.brokers.ibkr.wire import PREAMBLE, SERVER_VERSION, Asks, Tells, Value, join, split
from trading_system.domain.money import ONE, ZERO
from trading_system.sim.exchange import Event, Exchange, Latency
from trading_system.sim.market import Market, Recording
from trading_system.sim.options import Chains
from trading_system.sim.sessions import SECOND_NS, Sessions, new_york_day, new_york_ns
from trading_system.transport.message import Request, Response

READ_ONLY = "Error validating request.-'bw' : cause - The API interface is currently in Read-Only mode."
_CHANGES = frozenset({Asks.PLACE_ORDER, Asks.CANCEL_ORDER, Asks.GLOBAL_CANCEL})
_FARMS = ((2104, "Market data farm connection is OK:usfarm"), (2106, "HMDS data farm connection is OK:ushmds"))
_CENT = Decimal("0.01")


class _Client(msgspec.Struct, kw_only=True):
    """One connection. client_id: None until it has said who it is; greeted: the versions are agreed."""

    said: str = ""
    greeted: bool = False
    client_id: int | None = None
    updates: bool = False  # portfolio lines come as they change …
    positions: bool = False  # … and so do positions
    times: deque[int] = msgspec.field(default_factory=deque)


class TwsTwin:
    """One TWS. The account is made from the seed where none is named.

    environment: "paper" gives a number that begins with DU. hours: "always" or "us". others: further accounts of the same login. read_only: orders
    are refused, as TWS does where its API is set so. recordings: prices to replay (sim/market.py reads files).
    """

    preamble = PREAMBLE

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
        messages_per_second: int | None = None,
        read_only: bool = False,
        others: tuple[str, ...] = (),
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
        chains = Chains(self.market, {line.name: options for line in self.universe.lines.values() if line.sec_type == "STK" and " " not in line.name})
        week = Sessions("always" if hours == "always" else "forex")
        self.contracts = Contracts(self.universe, self.market, chains, week)
        self.trading = Orders(self.contracts, self.exchange, account=self.account, send=self._tell)
        self.data = Data(self.contracts, self.market, self._send)
        self.read_only = read_only
        self.now_ns = start_ns
        self._day = new_york_day(start_ns)
        list(self.contracts.futures(start_ns))  # each has its number from the beginning
        self.lost = False  # the link to IB is down: 1100
        self.silent = False  # the end of a list of executions is not told
        self._limit = messages_per_second or (MESSAGES_PER_SECOND if requests_per_minute is None else max(1, requests_per_minute // 60))
        self._others = others
        self._clients: dict[int, _Client] = {}
        self._held_back: list[tuple[int, list[str]]] = []  # orders that came while the link was down
        self._opened = 0
        self._out: list[tuple[int, str | bytes | None]] = []

    @property
    def credentials(self) -> Mapping[str, str]:
        return {"account": self.account}

    # -- sim/wire.py: Wire -----------------------------------------------------------------------------------------------------------------------

    def handle(self, request: Request, now_ns: int) -> Response:
        """TWS speaks no HTTP."""
        return Response(status=400, headers={}, body=b"")

    def busy(self) -> Response:
        return Response(status=400, headers={}, body=b"")

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        self.advance(now_ns)
        self._opened += 1
        self._clients[self._opened] = _Client()
        return self._opened

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        """The preamble, the versions, and from then on messages. Whoever says something else is cut off."""
        self.advance(now_ns)
        client = self._clients.get(conn)
        if client is None:
            return
        raw = frame.encode() if isinstance(frame, str) else frame
        if not client.said:
            if raw != PREAMBLE:
                self._close(conn)
            client.said = "API"
        elif not client.greeted:
            self._greet(conn, client, raw.decode("latin-1"))
        else:
            self._hear(conn, client, raw)
        self._collect()

    def closed(self, conn: int) -> None:
        self._clients.pop(conn, None)
        self.data.closed(conn)

    def advance(self, now_ns: int) -> None:
        assert now_ns >= self.now_ns, "time runs backwards"
        self.now_ns = self.trading.now_ns = now_ns
        self.exchange.advance(now_ns)
        self._collect()
        if (day := new_york_day(now_ns)) != self._day:
            self._day = day
            self.trading.settle(now_ns)
        self.data.advance(now_ns)

    def next_event_ns(self) -> int | None:
        times = (self.exchange.next_event_ns(), self.data.next_event_ns())
        return min(time_ns for time_ns in times if time_ns is not None)

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        out, self._out = self._out, []
        return out

    # -- what happens to it ----------------------------------------------------------------------------------------------------------------------

    def lose(self) -> None:
        """The link to IB goes down. Clients stay connected, nothing is told of their orders, and what they send waits."""
        self.lost = True
        self._all(1100, "Connectivity between IB and Trader Workstation has been lost.")

    def restore(self, *, kept: bool) -> None:
        """It is back. kept: subscriptions go on; else they are gone. What happened meanwhile is not told: it has to be asked for."""
        self.lost = False
        if not kept:
            self.data.streams.clear()
        text = "data maintained." if kept else "data lost."
        self._all(1102 if kept else 1101, f"Connectivity between IB and Trader Workstation has been restored - {text}")
        waiting, self._held_back = self._held_back, []
        for conn, fields in waiting:
            if conn in self._clients:
                self._answer(conn, self._clients[conn], fields)
        self._collect()

    def restart(self, *, back: int = 0) -> None:
        """TWS starts anew: every socket closes, orders that were not transmitted are gone, and the next id may be one that was used before."""
        for conn in tuple(self._clients):
            self._close(conn)
        for placed in self.trading.placed.values():
            placed.withdrawn = placed.withdrawn or placed.order is None
        self.trading.next_ids = {client: max(1, number - back) for client, number in self.trading.next_ids.items()}

    def _all(self, code: int, text: str) -> None:
        for conn, client in self._clients.items():
            if client.client_id is not None:
                self._send(conn, error(-1, code, text))

    def _close(self, conn: int) -> None:
        self.closed(conn)
        self._send(conn, None)

    def _send(self, conn: int, frame: bytes | None) -> None:
        self._out.append((conn, frame))

    def _tell(self, client_id: int, message: bytes) -> None:
        """To the connection of a client, if it has one and the link stands."""
        for conn, client in self._clients.items():
            if client.client_id == client_id and not self.lost:
                self._send(conn, message)

    def _collect(self) -> None:
        while events := self.exchange.take_events():
            for event in events:
                if isinstance(event, Event):
                    self.trading.record(event)
                    if event.execution is not None:
                        self._moved(event.order.symbol)

    def _moved(self, name: str) -> None:
        """A position has changed: whoever follows the account hears of it."""
        line = self.universe.lines[name]
        for conn, client in self._clients.items():
            if client.updates and not self.lost:
                self._send(conn, self._portfolio(line))
                self._send(conn, join(Tells.ACCOUNT_VALUE, 2, "CashBalance", format(self.trading.cash(self.now_ns), "f"), HOME, self.account))
            if client.positions and not self.lost and line.sec_type != "CASH":
                self._send(conn, self._position(line))

    # -- hello -----------------------------------------------------------------------------------------------------------------------------------

    def _greet(self, conn: int, client: _Client, versions: str) -> None:
        low, _, high = versions.partition(" ")[0].removeprefix("v").partition("..")
        if not low.isdecimal() or (high and not high.isdecimal()) or int(high or low) < SERVER_VERSION:
            self._close(conn)
            return
        client.greeted = True
        self._send(conn, join(str(SERVER_VERSION), "20260413 21:27:03 US/Eastern"))

    def _start(self, conn: int, client: _Client, client_id: int) -> None:
        if any(other.client_id == client_id for other in self._clients.values()):
            self._send(conn, error(-1, 326, "Unable to connect as the client id is already in use. Retry with a unique client id."))
            self._close(conn)
            return
        client.client_id = client_id
        self._send(conn, join(Tells.MANAGED_ACCOUNTS, 1, ",".join((self.account, *self._others))))
        self._send(conn, join(Tells.NEXT_ID, 1, self.trading.next_ids.get(client_id, 1)))
        for code, text in _FARMS:
            self._send(conn, error(-1, code, text))
        if self.lost:
            self._send(conn, error(-1, 1100, "Connectivity between IB and Trader Workstation has been lost."))

    def _hear(self, conn: int, client: _Client, raw: bytes) -> None:
        try:
            fields = split(raw)
            asked = Asks(int(fields[0]))
        except ValueError:
            self._send(conn, error(-1, 505, "Fatal Error: Unknown message id"))
            return
        if client.client_id is None and asked is not Asks.START:
            return  # before its start nothing of a client's is looked at
        if self._too_fast(client):
            self._send(conn, error(-1, 100, "Max rate of messages per second has been exceeded"))
            return
        if self.lost and asked in _CHANGES:
            self._held_back.append((conn, fields))
            return
        self._answer(conn, client, fields)

    def _too_fast(self, client: _Client) -> bool:
        client.times.append(self.now_ns)
        while client.times[0] <= self.now_ns - SECOND_NS:
            client.times.popleft()
        return len(client.times) > self._limit

    # -- what is asked ---------------------------------------------------------------------------------------------------------------------------

    def _answer(self, conn: int, client: _Client, fields: list[str]) -> None:
        asked = Asks(int(fields[0]))
        subject = -1
        try:
            subject = _subject(asked, fields)
            if self.read_only and (asked in _CHANGES or asked in (Asks.OPEN_ORDERS, Asks.ALL_OPEN_ORDERS, Asks.COMPLETED_ORDERS)):
                raise Refusal(321, READ_ONLY)
            for message in self._said(conn, client, asked, fields):
                self._send(conn, message)
        except Refusal as refusal:
            self._send(conn, error(subject, refusal.code, refusal.text))
        except (ValueError, IndexError, StopIteration, RuntimeError):
            self._send(conn, error(subject, 320, "Error reading request. Unable to parse data."))

    def _said(self, conn: int, client: _Client, asked: Asks, fields: list[str]) -> Iterator[bytes]:
        """The messages that answer one of the client's; orders are answered by what becomes of them. Raises Refusal."""
        now, client_id = self.now_ns, client.client_id or 0
        match asked:
            case Asks.START:
                self._start(conn, client, int(fields[2]))
            case Asks.PLACE_ORDER:
                self.trading.place(client_id, order(iter(fields[1:])), now)
            case Asks.CANCEL_ORDER:
                self.trading.cancel(client_id, int(fields[2]), now)
            case Asks.GLOBAL_CANCEL:
                self.trading.cancel_all(now)
            case Asks.OPEN_ORDERS | Asks.ALL_OPEN_ORDERS:
                yield from self.trading.open(client_id if asked is Asks.OPEN_ORDERS else None)
                yield join(Tells.OPEN_ORDER_END, 1)
            case Asks.COMPLETED_ORDERS:
                yield from self.trading.completed(self._midnight())
                yield join(Tells.COMPLETED_END)
            case Asks.EXECUTIONS:
                yield from self.trading.executions(int(fields[2]), self._midnight())
                if not self.silent:
                    yield join(Tells.EXECUTION_END, 1, int(fields[2]))
            case Asks.IDS:
                yield join(Tells.NEXT_ID, 1, self.trading.next_ids.get(client_id, 1))
            case Asks.MANAGED_ACCOUNTS:
                yield join(Tells.MANAGED_ACCOUNTS, 1, ",".join((self.account, *self._others)))
            case Asks.CURRENT_TIME:
                yield join(Tells.CURRENT_TIME, 1, now // SECOND_NS)
            case Asks.AUTO_OPEN_ORDERS | Asks.MARKET_DATA_TYPE | Asks.CANCEL_POSITIONS | Asks.CANCEL_ACCOUNT_UPDATES_MULTI | Asks.CANCEL_HISTORY:
                return
            case Asks.ACCOUNT_UPDATES | Asks.ACCOUNT_UPDATES_MULTI | Asks.ACCOUNT_SUMMARY | Asks.POSITIONS | Asks.CANCEL_ACCOUNT_SUMMARY:
                yield from self._money(client, asked, fields)
            case _:
                yield from self._market(conn, asked, fields)

    def _market(self, conn: int, asked: Asks, fields: list[str]) -> Iterator[bytes]:
        """Contracts and prices. Raises Refusal."""
        now = self.now_ns
        match asked:
            case Asks.CONTRACT_DETAILS:
                for line in self.contracts.find(contract(iter(fields[3:])), now):
                    under = self.contracts.underlying(line)
                    yield details(int(fields[2]), line, 0 if under is None else under.con_id, self.contracts.hours(line, now))
                yield join(Tells.CONTRACT_END, 1, int(fields[2]))
            case Asks.MATCHING_SYMBOLS:
                yield self._samples(int(fields[1]), fields[2])
            case Asks.MARKET_RULE:
                yield self._rule(int(fields[1]))
            case Asks.OPTION_PARAMETERS:
                yield from self.data.option_parameters(int(fields[1]), int(fields[5]), now)
            case Asks.MARKET_DATA:
                line = self.contracts.one(contract(iter(fields[3:])), now)
                if fields[16] and fields[17] == "1":
                    raise Refusal(414, "Snapshot market data subscription is not applicable to generic ticks")
                self.data.subscribe(conn, int(fields[2]), line, "quotes", now, snapshot=fields[17] == "1")
            case Asks.TICK_BY_TICK:
                if fields[14] not in ("BidAsk", "Last", "AllLast"):
                    raise Refusal(10189, "Failed to request tick-by-tick data")
                self.data.subscribe(conn, int(fields[1]), self.contracts.one(contract(iter(fields[2:])), now), fields[14], now)
            case Asks.DEPTH:
                line = self.contracts.one(contract(iter(fields[3:])), now)
                self.data.subscribe(conn, int(fields[2]), line, f"{DEPTH} {int(fields[15])}", now)
            case Asks.CANCEL_MARKET_DATA | Asks.CANCEL_DEPTH:
                self.data.cancel(conn, int(fields[2]))
            case Asks.CANCEL_TICK_BY_TICK:
                self.data.cancel(conn, int(fields[1]))
            case Asks.HISTORY:
                line = self.contracts.one(contract(iter(fields[2:])), now)
                _, end, size, span, _, what, date_format = fields[14:21]
                yield self.data.history(int(fields[1]), line, end, size, span, what, date_format, now)
            case Asks.HISTORY_TICKS:
                line = self.contracts.one(contract(iter(fields[2:])), now)
                yield self.data.ticks(int(fields[1]), line, fields[15], fields[16], int(fields[17]), fields[18], now)
            case Asks.HEAD_TIMESTAMP:
                self.contracts.one(contract(iter(fields[2:])), now)
                yield join(Tells.HEAD_TIMESTAMP, int(fields[1]), "20160104-14:30:00")
            case _:
                raise Refusal(321, "Error validating request.-'b' : cause - this is not modelled here")

    def _samples(self, request_id: int, pattern: str) -> bytes:
        rows: list[Value] = []
        found = self.contracts.samples(pattern)
        for line in found:
            rows += [line.con_id, line.symbol, line.sec_type, line.primary, line.currency, 1, "OPT", line.title, ""]
        return join(Tells.SYMBOLS, request_id, len(found), *rows)

    def _rule(self, number: int) -> bytes:
        line = next((line for line in self.universe.lines.values() if line.rule == number), None)
        if line is None:
            raise Refusal(321, "Error validating request.-'bQ' : cause - unknown market rule")
        return join(Tells.MARKET_RULE, number, 1, 0, line.min_tick)

    # -- money -----------------------------------------------------------------------------------------------------------------------------------

    def _money(self, client: _Client, asked: Asks, fields: list[str]) -> Iterator[bytes]:
        match asked:
            case Asks.ACCOUNT_UPDATES:
                client.updates = fields[2] == "1"
                if client.updates:
                    yield from self._updates()
            case Asks.ACCOUNT_UPDATES_MULTI:
                request_id = int(fields[2])
                for key, value, currency in self._values():
                    yield join(Tells.UPDATE_MULTI, 1, request_id, self.account, "", key, value, currency)
                yield join(Tells.UPDATE_MULTI_END, 1, request_id)
            case Asks.ACCOUNT_SUMMARY:
                request_id, wanted = int(fields[2]), set(fields[4].split(","))
                for key, value, currency in self._values():
                    if key in wanted:
                        yield join(Tells.SUMMARY, 1, request_id, self.account, key, value, currency)
                yield join(Tells.SUMMARY_END, 1, request_id)
            case Asks.POSITIONS:
                client.positions = True
                for line in self._held():
                    yield self._position(line)
                yield join(Tells.POSITION_END, 1)

    def _position(self, line: Line) -> bytes:
        where = (line.exchange, line.currency, line.local_symbol, line.trading_class)
        return join(Tells.POSITION, 3, self.account, *head(line), *where, self.exchange.position(line.name), self._cost(line))

    def _portfolio(self, line: Line) -> bytes:
        x, qty = self.exchange, self.exchange.position(line.name)
        worth, cost = x.worth(line.name, qty, self.now_ns), self._cost(line)
        where = (line.primary or line.exchange, line.currency, line.local_symbol, line.trading_class)
        money = (qty, x.mark(line.name, self.now_ns), worth, cost, worth - cost * qty, ZERO, self.account)
        return join(Tells.PORTFOLIO, 8, *head(line, right="0"), *where, *money)

    def _cost(self, line: Line) -> Decimal:
        """What one of it cost on average, for the whole of its multiplier."""
        return self.exchange.avg_px.get(self.universe.terms[line.name].base, ZERO) * line.units

    def _updates(self) -> Iterator[bytes]:
        for key, value, currency in self._values():
            yield join(Tells.ACCOUNT_VALUE, 2, key, value, currency, self.account)
        for line in self._held():
            yield self._portfolio(line)
        yield join(Tells.ACCOUNT_TIME, 1, "15:27")
        yield join(Tells.ACCOUNT_END, 1, self.account)

    def _held(self) -> Iterator[Line]:
        """What is held, money of other countries aside: that is a balance."""
        lines = (self.universe.lines[name] for name, _ in self.exchange.positions())
        yield from (line for line in lines if line.sec_type != "CASH")

    def _values(self) -> Iterator[tuple[str, str, str]]:
        """Figures of the account, each in its currency."""
        x, now = self.exchange, self.now_ns
        equity = x.equity(now)
        yield "AccountReady", "true", ""
        yield "AccountType", "INDIVIDUAL", ""
        free, cash, gains = self.trading.available(now), self.trading.cash(now), self.trading.futures_pnl(now)
        totals = {"NetLiquidation": equity, "BuyingPower": free, "AvailableFunds": free, "ExcessLiquidity": free, "FuturesPNL": gains}
        totals |= {"TotalCashValue": cash, "TotalCashBalance": cash, "PreviousDayEquityWithLoanValue": x.last_equity}
        totals |= {"GrossPositionValue": equity - cash}
        for key, value in totals.items():
            yield key, format(value.quantize(_CENT), "f"), HOME
        for currency, amount, rate in self._moneys():
            yield "CashBalance", format(amount, "f"), currency
            yield "ExchangeRate", format(rate, "f"), currency
        yield "CashBalance", format(sum((amount * rate for _, amount, rate in self._moneys()), ZERO), "f"), "BASE"

    def _moneys(self) -> Iterator[tuple[str, Decimal, Decimal]]:
        yield HOME, self.trading.cash(self.now_ns), ONE
        for name, qty in self.exchange.positions():
            line = self.universe.lines[name]
            if line.sec_type == "CASH":
                yield line.symbol, qty, self.exchange.mark(name, self.now_ns)

    def _midnight(self) -> int:
        return new_york_ns(new_york_day(self.now_ns), 0)


def _subject(asked: Asks, fields: list[str]) -> int:
    """What an error about this message is about: an order, or a question by its number."""
    match asked:
        case Asks.PLACE_ORDER | Asks.HISTORY | Asks.OPTION_PARAMETERS | Asks.MATCHING_SYMBOLS | Asks.HISTORY_TICKS | Asks.TICK_BY_TICK:
            return int(fields[1])
        case Asks.HEAD_TIMESTAMP | Asks.CANCEL_TICK_BY_TICK:
            return int(fields[1])
        case Asks.DEPTH | Asks.CANCEL_DEPTH:
            return int(fields[2])
        case Asks.CANCEL_ORDER | Asks.CONTRACT_DETAILS | Asks.MARKET_DATA | Asks.CANCEL_MARKET_DATA | Asks.EXECUTIONS | Asks.ACCOUNT_SUMMARY:
            return int(fields[2])
    return -1
