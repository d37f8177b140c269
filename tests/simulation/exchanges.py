"""The full stack on the other brokers' twins: the same stage, faults and oracle, other words on the wire."""

import asyncio
import json
import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from msgspec.structs import replace

from tests.simulation.stage import STRANGER
from tests.simulation.world import Options, TwinOrder, TwinTruth, TwinWorld, near_money
from trading_system.brokers.binance.twin import BinanceTwin
from trading_system.brokers.binance.twin.forms import Refusal
from trading_system.brokers.bybit.twin import BybitTwin
from trading_system.brokers.bybit.twin.forms import Refusal as BybitRefusal
from trading_system.brokers.ibkr.twin import TwsTwin
from trading_system.brokers.ibkr.twin.forms import Form, Wanted
from trading_system.brokers.ibkr.twin.forms import Refusal as IbkrRefusal
from trading_system.brokers.ibkr.twin.orders import exec_name
from trading_system.brokers.ibkr.twin.web import WebTwin
from trading_system.brokers.ibkr.wire import join, split
from trading_system.brokers.kraken.twin import KrakenTwin
from trading_system.brokers.kraken.twin.forms import Refusal as KrakenRefusal
from trading_system.brokers.kraken.twin.trading import TIMER
from trading_system.brokers.oanda.twin import OandaTwin
from trading_system.brokers.oanda.twin.trading import Placed
from trading_system.brokers.tradier.twin import TradierTwin
from trading_system.domain.fix import OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID, OrderID, is_ours
from trading_system.domain.money import ZERO
from trading_system.domain.option import Right, is_option, option_name, parse_occ
from trading_system.domain.order import NewOrder
from trading_system.journal.replay import Books
from trading_system.sim.clock import SECOND_NS, START_NS, VirtualClock
from trading_system.sim.exchange import Exchange, Execution
from trading_system.transport.message import Request, Response

DEAD_MAN_EVERY = OPTIONS_EVERY = COMMISSION_FIRST_EVERY = 3
STRANGERS_CLIENT = 99
FUTURES_EVERY = 2
FUTURES = {InstrumentID("MCL-18DEC26/USD"): "MCLZ6"}  # by our name: TWS's
THROUGH_S = 0.001  # so long a message takes through a desk


class PairTruth(TwinTruth):
    """An exchange that names BTC/USDT BTCUSDT."""

    def symbol(self, instrument: InstrumentID) -> str:
        return instrument.replace("/", "")


class BinanceWorld(TwinWorld):
    """A desk on the Binance twin."""

    broker = BrokerName("binance")
    names = (InstrumentID("BTC/USDT"), InstrumentID("ETH/USDT"), InstrumentID("SOL/USDT"))

    def make(self, seed: int) -> BinanceTwin:
        return BinanceTwin(seed=seed, start_ns=START_NS, requests_per_minute=100_000)

    def truth(self) -> TwinTruth:
        return PairTruth(self.twin.exchange, self.clock)

    def connection(self) -> Mapping[str, str]:
        return {"order_entry": "websocket"} if self.options.by_frame else {}

    def framed(self, frame: str | bytes) -> ClOrdID | None:
        asked = json.loads(frame)
        return ClOrdID(asked["params"]["newClientOrderId"]) if asked["method"] in ("order.place", "order.cancelReplace") else None

    def placed(self, request: Request) -> ClOrdID | None:
        url = urlsplit(request.url)
        if request.method != "POST" or not url.path.endswith(("/order", "/order/cancelReplace")):
            return None
        return ClOrdID(dict(parse_qsl(url.query or request.body.decode()))["newClientOrderId"])

    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        params = {
            "symbol": instrument.replace("/", ""),
            "side": side.upper(),
            "type": "MARKET",
            "quantity": str(qty),
            "newClientOrderId": cl_ord_id,
        }
        self.twin.advance(self.clock.now_ns())
        try:
            self.twin.trading.place(params, self.clock.now_ns())
        except Refusal:
            return False
        return True


class KeptTruth(TwinTruth):
    """A twin whose orders keep both their ids through a change: the desk gave each a new intent; the one before is over."""

    def __init__(self, exchange: Exchange, clock: VirtualClock, books: Callable[[], Books]) -> None:
        super().__init__(exchange, clock)
        self._books = books  # the desk's

    @abstractmethod
    def kept(self) -> Iterable[tuple[str, TwinOrder]]:
        """Each order by the broker's id, under the client id that it was placed with."""

    def order(self, broker: BrokerName, cl_ord_id: str) -> TwinOrder | None:
        blotter = self._books().blotter
        mine = blotter.get(ClOrdID(cl_ord_id))
        for order_id, shown in self.kept():
            heirs = [order for order in blotter if order.order_id == order_id and order.ord_status is not OrdStatus.REPLACED]
            if any(heir.cl_ord_id == cl_ord_id for heir in heirs):
                return replace(shown, cl_ord_id=cl_ord_id)
            if shown.cl_ord_id == cl_ord_id or (mine is not None and mine.order_id == order_id):
                filled = ZERO if mine is None else mine.cum_qty  # told before the change was, and then a part of what its heir shows
                return TwinOrder(cl_ord_id, OrdStatus.REPLACED, filled, ZERO, foreign=False) if heirs else replace(shown, cl_ord_id=cl_ord_id)
        return None


class KrakenTruth(KeptTruth):
    """Kraken's own list of orders, above the exchange's."""

    grain = Decimal("0.001")  # each fee is stated with five decimals

    def __init__(self, twin: KrakenTwin, clock: VirtualClock, books: Callable[[], Books]) -> None:
        super().__init__(twin.exchange, clock, books)
        self._placed = twin.trading.placed

    def orders(self, broker: BrokerName) -> Iterable[TwinOrder]:
        return [shown for _, shown in self.kept()]

    def kept(self) -> Iterable[tuple[str, TwinOrder]]:
        for placed in self._placed.values():
            now, cl_ord_id = placed.now, placed.asked.cl_ord_id or ""
            leaves = ZERO if now.ord_status.terminal or now.qty is None else now.qty - now.filled_qty
            status = OrdStatus.EXPIRED if placed.expired else now.ord_status
            foreign = not is_ours(cl_ord_id) or cl_ord_id.startswith(STRANGER)
            yield placed.txid, TwinOrder(cl_ord_id, status, placed.filled_qty, leaves, foreign=foreign)


class KrakenWorld(TwinWorld):
    """A desk on the Kraken twin. In every third world it feeds Kraken's own dead man's switch."""

    numbered = True
    broker = BrokerName("kraken")
    names = (InstrumentID("BTC/USD"), InstrumentID("ETH/USD"), InstrumentID("SOL/USD"))

    def __init__(self, options: Options, clock: VirtualClock) -> None:
        super().__init__(options, clock)
        if options.seed % DEAD_MAN_EVERY == 0:
            self.dead_man = frozenset({self.broker})

    async def restart(self, pause_ns: int) -> None:
        """Where the switch is used a desk may be dead for so long that it goes off."""
        await super().restart(pause_ns * 6 if self.dead_man else pause_ns)

    async def settle(self) -> None:
        """Nothing that had to stay was taken along when it went off."""
        await super().settle()
        for placed in self.twin.trading.placed.values():
            if placed.reason == TIMER:
                self.hit["dead man's switch"] += 1
                if placed.side is Side.SELL or not is_ours(placed.asked.cl_ord_id or ""):
                    self.oracle.hold(f"the dead man's switch took {placed.asked.cl_ord_id} along")

    def make(self, seed: int) -> KrakenTwin:
        return KrakenTwin(seed=seed, start_ns=START_NS, requests_per_minute=100_000, tier="pro")

    def truth(self) -> TwinTruth:
        return KrakenTruth(self.twin, self.clock, lambda: self.desk.books)

    def connection(self) -> Mapping[str, str]:
        return {"tier": "pro", "order_entry": "websocket" if self.options.by_frame else "rest"}

    def framed(self, frame: str | bytes) -> ClOrdID | None:
        asked = json.loads(frame)
        return ClOrdID(asked["params"]["cl_ord_id"]) if asked["method"] == "add_order" else None

    def begun(self) -> None:
        self._seen, self._holes = {}, set()

    def heard(self, frame: bytes) -> None:
        """A number that is missing shows with the next message of its channel, and is made good by a new beginning."""
        told = json.loads(frame)
        channel, number = told.get("channel"), told.get("sequence")
        if number is None:
            return
        if told["type"] == "snapshot":
            self._holes.discard(channel)
        elif number > self._seen.get(channel, number - 1) + 1:
            self._holes.add(channel)
        self._seen[channel] = number if told["type"] == "snapshot" else max(number, self._seen.get(channel, 0))

    def listening(self) -> bool:
        return super().listening() and not self._holes

    _seen: Mapping[str, int] = {}
    _holes: frozenset[str] | set[str] = frozenset()

    def placed(self, request: Request) -> ClOrdID | None:
        """An amend has no client id of its own: the oracle sees what becomes of it. What may rest and closes finds the switch off."""
        if not request.url.endswith("/AddOrder"):
            return None
        form = dict(parse_qsl(request.body.decode()))
        rests = form["ordertype"] != "market" and form["timeinforce"] == "GTC"
        told = any("cannot be disarmed" in alert.text for alert in self.desk.books.alerts.values())
        if rests and form["type"] == "sell" and self.twin.trading.timer_ns and not told:
            self.oracle.hold(f"{form['cl_ord_id']} is placed while the dead man's switch is armed")
        return ClOrdID(form["cl_ord_id"])

    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        form = {"pair": instrument, "type": side.value, "ordertype": "market", "volume": str(qty), "cl_ord_id": cl_ord_id}
        self.twin.advance(self.clock.now_ns())
        try:
            self.twin.trading.add(form, self.clock.now_ns())
        except KrakenRefusal:
            return False
        return True


def _inverse(instrument: InstrumentID) -> bool:
    return instrument.endswith("-PERP/USD")


class BybitTruth(KeptTruth):
    """A pair and its swap are one symbol to Bybit, and two markets to the exchange."""

    def symbol(self, instrument: InstrumentID) -> str:
        return instrument.replace("/", "-") if is_option(instrument) else instrument.replace("-PERP/", "")

    def mid(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        """An inverse contract counts a dollar."""
        return Decimal(1) if _inverse(instrument) else super().mid(broker, instrument)

    def kept(self) -> Iterable[tuple[str, TwinOrder]]:
        return [(order.order_id, self._shown(order)) for order in self._exchange.orders.values()]


class BybitWorld(TwinWorld):
    """A desk on the Bybit twin."""

    broker = BrokerName("bybit")
    options_share = 0.6
    names = (InstrumentID("BTC/USDT"), InstrumentID("ETH/USDT"), InstrumentID("BTC-PERP/USDT"), InstrumentID("BTC-PERP/USD"))

    def counted(self, name: InstrumentID, price: Decimal) -> Decimal:
        return Decimal(1) if _inverse(name) else super().counted(name, price)

    def step(self, name: InstrumentID) -> Decimal:
        return Decimal(1) if _inverse(name) else super().step(name)

    def make(self, seed: int) -> BybitTwin:
        """In every third world options are traded, too: two calls from the money upwards."""
        twin = BybitTwin(seed=seed, start_ns=START_NS, requests_per_minute=100_000)
        if seed % OPTIONS_EVERY == 0:
            price, contracts = twin.exchange.mark("BTC/USDT", START_NS), [product.contract for product in twin.universe.of("option")]
            calls = [one for one in contracts if one is not None and one.underlying == "BTC/USDT" and one.right is Right.CALL and one.strike >= price]
            self.contracts = tuple(option_name(one) for one in sorted(calls, key=lambda one: (one.expiry, one.strike))[:2])
        return twin

    def truth(self) -> TwinTruth:
        return BybitTruth(self.twin.exchange, self.clock, lambda: self.desk.books)

    def placed(self, request: Request) -> ClOrdID | None:
        """An amend has no client id of its own: the oracle sees what becomes of it."""
        return ClOrdID(json.loads(request.body)["orderLinkId"]) if request.url.endswith("/v5/order/create") else None

    def connection(self) -> Mapping[str, str]:
        return {"order_entry": "websocket" if self.options.by_frame else "rest"}

    def framed(self, frame: str | bytes) -> ClOrdID | None:
        asked = json.loads(frame)
        return ClOrdID(asked["args"][0]["orderLinkId"]) if asked["op"] == "order.create" else None

    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        body = {
            "category": "inverse" if _inverse(instrument) else "linear" if "-PERP" in instrument else "spot",
            "symbol": instrument.replace("-PERP", "").replace("/", ""),
            "side": side.capitalize(),
            "orderType": "Market",
            "qty": str(qty),
            "orderLinkId": cl_ord_id,
            "marketUnit": "baseCoin",
        }
        self.twin.advance(self.clock.now_ns())
        try:
            self.twin.orders.create(json.dumps(body).encode(), self.clock.now_ns())
        except BybitRefusal:
            return False
        return True


class OandaTruth(TwinTruth):
    """OANDA's own list of orders, above the exchange's. What a pair is worth is told in the account's money."""

    grain = Decimal("0.01")  # profits in other moneys are changed to the fourth decimal, one fill at a time

    def __init__(self, twin: OandaTwin, clock: VirtualClock) -> None:
        super().__init__(twin.exchange, clock)
        self._twin = twin

    def symbol(self, instrument: InstrumentID) -> str:
        return instrument.replace("/", "_")

    def mid(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        rate = self._twin.ledger.rate(instrument.partition("/")[2], self._clock.now_ns())
        return super().mid(broker, instrument) * rate

    def orders(self, broker: BrokerName) -> Iterable[TwinOrder]:
        return [self._told(placed) for placed in self._twin.orders.placed.values()]

    def order(self, broker: BrokerName, cl_ord_id: str) -> TwinOrder | None:
        return next((told for told in self.orders(broker) if told.cl_ord_id == cl_ord_id), None)

    def _told(self, placed: Placed) -> TwinOrder:
        trade = self._twin.ledger.trades.get(placed.asked.tradeID)
        owner = placed.client_id if trade is None or trade.extensions is None else trade.extensions.tag
        foreign = not is_ours(owner) or owner.startswith(STRANGER)
        status = OrdStatus.NEW if placed.state == "PENDING" else OrdStatus.FILLED
        if placed.state == "CANCELLED":
            reason = self._twin.log.entries[int(placed.cancel_id) - 1].reason
            status = {"CLIENT_REQUEST_REPLACED": OrdStatus.REPLACED, "TIME_IN_FORCE_EXPIRED": OrdStatus.EXPIRED}.get(reason, OrdStatus.CANCELED)
            if placed.order is None:
                status = OrdStatus.REJECTED
        size = placed.order.qty if trade is not None and placed.order is not None else abs(placed.units)  # what only reduces keeps its units
        leaves = ZERO if status is not OrdStatus.NEW or size is None else size - placed.filled
        return TwinOrder(placed.client_id or f"external:{placed.id}", status, placed.filled, leaves, foreign=foreign)


class OandaWorld(TwinWorld):
    """A desk on the OANDA twin."""

    broker = BrokerName("oanda")
    coins = False
    names = (InstrumentID("EUR/USD"), InstrumentID("GBP/USD"), InstrumentID("USD/JPY"))

    def make(self, seed: int) -> OandaTwin:
        return OandaTwin(seed=seed, start_ns=START_NS, requests_per_minute=100_000)

    def truth(self) -> TwinTruth:
        return OandaTruth(self.twin, self.clock)

    def grid(self, name: InstrumentID) -> Decimal:
        return Decimal("0.001") if name.endswith("/JPY") else Decimal("0.00001")

    def time_in_force(self, rng: random.Random | None, kind: OrdType, name: InstrumentID) -> TimeInForce:
        if kind is OrdType.MARKET or rng is None:
            return TimeInForce.IOC
        return rng.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.DAY, TimeInForce.IOC))

    def _bracket(self, rng: random.Random, name: InstrumentID, mid: Decimal, entry: NewOrder) -> NewOrder:
        order = super()._bracket(rng, name, mid, entry)
        return order if order.ord_type is not OrdType.MARKET else replace(order, time_in_force=TimeInForce.IOC)

    async def wish(self, rng: random.Random, broker: BrokerName, name: InstrumentID, intent: str, *, big: bool = False) -> NewOrder:
        """Now and then one that waits to be touched."""
        order = await super().wish(rng, broker, name, intent, big=big)
        plain = order.attached is None and order.protect_stop_px is None
        if order.ord_type is not OrdType.LIMIT or order.time_in_force is TimeInForce.IOC or not plain or rng.random() < 0.8:
            return order
        self.hit["if touched"] += 1
        return replace(order, ord_type=OrdType.MARKET_IF_TOUCHED, stop_px=order.price, price=None)

    async def close(self, rng: random.Random, place: int) -> None:
        """Now and then by a stop that trails: of one trade, as OANDA has them."""
        trades = self.twin.ledger.open_trades()
        if not trades or rng.random() < 0.6:
            return await super().close(rng, place)
        trade = rng.choice(trades)
        self.hit["trailing stop"] += 1
        name = InstrumentID(trade.symbol.replace("_", "/"))
        order = NewOrder(
            broker=self.broker,
            instrument=name,
            side=Side.SELL if trade.units > 0 else Side.BUY,
            ord_type=OrdType.TRAILING_STOP,
            time_in_force=TimeInForce.GTC,
            order_qty=abs(trade.units),
            trail_px=(trade.price * Decimal(rng.choice(("0.001", "0.01")))).quantize(self.grid(name)),
            reduce_only=True,
            intent=IntentID(f"w{place}"),
        )
        return await self.attempt(rng, lambda: self.desk.submit(order))

    def secrets_on_disk(self) -> bool:
        """The account's number, which stands beside the token among the settings, is no secret to the owner's own journal."""
        return any(self.twin.key.encode() in record for record in self.oracle.told)

    def placed(self, request: Request) -> ClOrdID | None:
        """A create, or a replace, which is a whole order too."""
        return ClOrdID(json.loads(request.body)["order"]["clientExtensions"]["id"]) if request.body else None

    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        order = {"type": "MARKET", "instrument": instrument.replace("/", "_"), "units": str(side.sign * qty), "clientExtensions": {"id": cl_ord_id}}
        return self.twin.place(json.dumps({"order": order}).encode(), self.clock.now_ns())


class TradierTruth(KeptTruth):
    """What was sent to Tradier, under its numbers. It names no executions: what the desk books as one is as many as came between two looks."""

    grain = Decimal("0.01")  # balances are in cents

    def __init__(self, twin: TradierTwin, clock: VirtualClock, books: Callable[[], Books]) -> None:
        super().__init__(twin.exchange, clock, books)
        self._placed = twin.trading.placed

    def orders(self, broker: BrokerName) -> Iterable[TwinOrder]:
        return [shown for _, shown in self.kept()]

    def kept(self) -> Iterable[tuple[str, TwinOrder]]:
        for placed in self._placed.values():
            foreign = not is_ours(placed.tag) or placed.tag.startswith(STRANGER)
            head = placed.tag if is_ours(placed.tag) else f"external:{placed.number}"
            if not placed.orders:
                yield placed.number, TwinOrder(head, OrdStatus.REJECTED, ZERO, ZERO, foreign=foreign)
            members = [self._exchange.orders[order_id] for order_id in placed.orders]
            for place, order in enumerate([*members, *(leg for member in members for leg in self._exchange.legs(member))]):
                number = order.order_id if place else placed.number
                name = f"external:{number}" if place else head
                yield number, replace(self._shown(order), cl_ord_id=name, foreign=foreign)

    def executions(self, broker: BrokerName) -> Mapping[str, tuple[Decimal, Decimal]]:
        """Those of one order that end where the desk ends a part of it, taken together."""
        booked = {fill.exec_id for order in self._books().blotter for fill in order.fills}
        found: dict[str, tuple[Decimal, Decimal]] = {}
        open_: dict[str, tuple[Decimal, Decimal]] = {}
        for name, done in self._exchange.executions.items():
            qty, money = open_.pop(done.order_id, (ZERO, ZERO))
            qty, money = qty + done.qty, money + done.qty * done.price
            if name in booked:
                found[name] = (qty, (money / qty).quantize(Decimal("0.00000001")))
            else:
                open_[done.order_id] = (qty, money)
        return found | open_


class TradierWorld(TwinWorld):
    """A desk on the Tradier twin, and options with it, by themselves and together with shares."""

    broker = BrokerName("tradier")
    combos = True
    options_share = 0.4
    names = (InstrumentID("AAPL"), InstrumentID("SPY"), InstrumentID("F"))

    def make(self, seed: int) -> TradierTwin:
        twin = TradierTwin(seed=seed, start_ns=START_NS, requests_per_minute=100_000)
        self.contracts = near_money(twin.chains, twin.exchange.mark("AAPL", START_NS))
        for name in self.contracts:
            twin.rules.contract(name, START_NS)
        return twin

    def truth(self) -> TwinTruth:
        return TradierTruth(self.twin, self.clock, lambda: self.desk.books)

    def placed(self, request: Request) -> ClOrdID | None:
        """A change has no tag of its own: the oracle sees what becomes of it."""
        if request.method != "POST" or not request.url.endswith("/orders"):
            return None
        return ClOrdID(dict(parse_qsl(request.body.decode()))["tag"])

    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        form = {"class": "equity", "symbol": instrument, "side": side.value, "quantity": str(qty), "type": "market", "duration": "day"}
        self.twin.advance(self.clock.now_ns())
        self.twin.place({**form, "tag": cl_ord_id})
        return not list(self.twin.trading.placed.values())[-1].reason


class IbkrTruth(KeptTruth):
    """What was sent to TWS, under the number that never changes and the one that its client gave it."""

    def __init__(self, twin: TwsTwin | WebTwin, clock: VirtualClock, books: Callable[[], Books]) -> None:
        super().__init__(twin.exchange, clock, books)
        self._twin = twin
        self._placed = twin.trading.placed

    grain = Decimal("0.01")  # what futures make is told in cents

    def symbol(self, instrument: InstrumentID) -> str:
        return FUTURES.get(instrument, instrument)

    def exec_id(self, execution: Execution) -> str:
        return exec_name(execution.exec_id, leg=self._exchange.orders[execution.order_id].parent is not None)

    def mid(self, broker: BrokerName, instrument: InstrumentID) -> Decimal:
        """Of a future, for all that its price is per."""
        return super().mid(broker, instrument) * (Decimal(self._twin.universe.lines[FUTURES[instrument]].multiplier) if instrument in FUTURES else 1)

    def orders(self, broker: BrokerName) -> Iterable[TwinOrder]:
        return [shown for _, shown in self.kept()]

    def _name(self, perm_id: int, order_id: int) -> str:
        """As the desk heard of it first: of an order that was over by then TWS names no order id."""
        over = OrderID(f"{perm_id}-0")
        return over if self._books().blotter.by_order_id(BrokerName("ibkr"), over) is not None else f"{perm_id}-{order_id}"

    def kept(self) -> Iterable[tuple[str, TwinOrder]]:
        for placed in self._placed.values():
            name, (ref, part, _) = self._name(placed.perm_id, placed.form.order_id), placed.form.ref.partition(".")
            foreign = not is_ours(ref) or ref.startswith(STRANGER)
            ref = f"external:{name}" if part else ref
            if placed.order is None and not part:  # exits of what was never sent off are nothing
                yield name, TwinOrder(ref, OrdStatus.REJECTED, ZERO, ZERO, foreign=foreign)
            elif placed.order is not None:
                for place, order in enumerate([placed.order, *self._exchange.legs(placed.order)]):
                    shown = self._shown(order)
                    status = OrdStatus.NEW if shown.status is OrdStatus.PENDING_NEW else shown.status  # what IB holds is accepted
                    number = f"{name}.{self._twin.universe.lines[order.symbol].con_id}" if place else name
                    yield number, replace(shown, cl_ord_id=f"external:{number}" if place else ref, foreign=foreign, status=status)


class _IbWorld(TwinWorld):
    """What both ways into IB trade."""

    coins = False

    def _with_futures(self, options: Options) -> None:
        if options.seed % FUTURES_EVERY == 0:
            self.names = (*self.names[:2], *FUTURES)

    async def wish(self, rng: random.Random, broker: BrokerName, name: InstrumentID, intent: str, *, big: bool = False) -> NewOrder:
        """Of a future a few: each is worth a hundred times its price."""
        order = await super().wish(rng, broker, name, intent, big=big)
        if name not in FUTURES:
            return order
        self.hit["future"] += 1
        held = self.desk.books.ledger.position(broker, name)
        few = Decimal(rng.randrange(1, 4))
        return replace(order, order_qty=min(few, held) if order.side is Side.SELL else few, cash_order_qty=None)


class IbkrWorld(_IbWorld):
    """A desk on the TWS twin, and options with it; in every second world a future. TWS loses IB, is started anew with ids that were used before, and
    has our client id taken."""

    broker = BrokerName("ibkr")
    tells_others = False
    names = (InstrumentID("AAPL"), InstrumentID("SPY"), InstrumentID("F"))
    client_id = 1

    def __init__(self, options: Options, clock: VirtualClock) -> None:
        self._with_futures(options)
        super().__init__(options, clock)
        self.trouble = asyncio.create_task(self._trouble(random.Random(f"tws {options.seed}")))
        self.keep.add(self.trouble)

    async def _trouble(self, rng: random.Random) -> None:
        while True:
            await self.clock.sleep_ns(rng.randrange(20, 400) * SECOND_NS)
            if not self.network.faults.enabled:
                continue
            kind = rng.choice(("link lost", "TWS started anew", "client id taken"))
            self.hit[kind] += 1
            if kind == "link lost":
                self.twin.lose()
                self.network.carry(self.twin)
                await self.clock.sleep_ns(rng.randrange(1, 90) * SECOND_NS)
                self._restore(kept=rng.random() < 0.5)
                continue
            self.twin.advance(self.clock.now_ns())
            self.twin.restart(back=rng.choice((0, 0, 1, 4)))
            if kind == "client id taken":
                self._squat()
                self.network.carry(self.twin)
                await self.clock.sleep_ns(rng.randrange(1, 40) * SECOND_NS)
                self._leave()
            self.network.carry(self.twin)

    def _restore(self, *, kept: bool) -> None:
        if self.twin.lost:
            self.twin.advance(self.clock.now_ns())
            self.twin.restore(kept=kept)
            self.network.carry(self.twin)

    def _squat(self) -> None:
        """Another program connects as us."""
        self._squatter = self.twin.open("", {}, self.clock.now_ns())
        for frame in ("API\0", b"v157..178", join(71, 2, self.client_id, "")):
            self.twin.frame(self._squatter, frame, self.clock.now_ns())

    def _leave(self) -> None:
        if self._squatter:
            self.twin.closed(self._squatter)
            self._squatter = 0

    _squatter = 0
    _strangers_id = 0

    def calm(self) -> None:
        self._restore(kept=True)
        self._leave()
        super().calm()

    def begun(self) -> None:
        self._told_lost = False

    def heard(self, frame: bytes) -> None:
        """What TWS says of its link to IB, once that has gone through the desk."""
        told = {"1100": True, "1101": False, "1102": False}.get(split(frame)[3]) if frame.startswith(b"4\0") else None
        if told is not None:
            asyncio.get_running_loop().call_later(THROUGH_S, self._tell_lost, told)

    def _tell_lost(self, told: bool) -> None:
        self._told_lost = told

    _told_lost = False

    def listening(self) -> bool:
        return super().listening() and not self._told_lost

    def make(self, seed: int) -> TwsTwin:
        twin = TwsTwin(seed=seed, start_ns=START_NS, requests_per_minute=100_000)
        self.contracts = near_money(twin.contracts.chains, twin.exchange.mark("AAPL", START_NS))
        for name in self.contracts:
            twin.contracts.option(parse_occ(name))
        twin.trading.commission_first = seed % COMMISSION_FIRST_EVERY == 0
        return twin

    def truth(self) -> TwinTruth:
        return IbkrTruth(self.twin, self.clock, lambda: self.desk.books)

    def placed(self, request: Request) -> ClOrdID | None:
        return None  # TWS speaks no HTTP

    def framed(self, frame: str | bytes) -> ClOrdID | None:
        """A change has the number of the order that it changes, and exits leave with their entry: the oracle sees what becomes of them."""
        if not isinstance(frame, bytes) or not frame.startswith(b"3\0"):
            return None
        fields = split(frame)
        return None if "." in fields[26] or self.twin.trading.find(self.client_id, int(fields[1])) is not None else ClOrdID(fields[26])

    def secrets_on_disk(self) -> bool:
        """The account's number is no secret to the owner's own journal; TWS has no key."""
        return False

    def time_in_force(self, rng: random.Random | None, kind: OrdType, name: InstrumentID) -> TimeInForce:
        return TimeInForce.DAY

    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        line = self.twin.universe.lines[FUTURES.get(instrument, str(instrument))]
        self._strangers_id += 1
        wanted = Wanted(line.con_id, "", "", "", ZERO, "", "", "", "", "", "", "")
        form = Form(order_id=self._strangers_id, contract=wanted, action=side.upper(), qty=qty, order_type="MKT", tif="DAY", ref=cl_ord_id)
        self.twin.advance(self.clock.now_ns())
        try:
            self.twin.trading.place(STRANGERS_CLIENT, form, self.clock.now_ns())
        except IbkrRefusal:
            return False
        return not list(self.twin.trading.placed.values())[-1].withdrawn


class IbkrWebTruth(IbkrTruth):
    """What was sent to the Web API, under the number that never changes."""

    def _name(self, perm_id: int, order_id: int) -> str:
        return str(perm_id)


class IbkrWebWorld(_IbWorld):
    """A desk on the twin of the Web API, and options with it; in every second world a future. Its day ends, another login takes the session, it is
    out for maintenance."""

    broker = BrokerName("ibkr")
    names = (InstrumentID("AAPL"), InstrumentID("SPY"), InstrumentID("F"))

    def __init__(self, options: Options, clock: VirtualClock) -> None:
        self._with_futures(options)
        super().__init__(options, clock)
        self.trouble = asyncio.create_task(self._trouble(random.Random(f"web {options.seed}")))
        self.keep.add(self.trouble)

    async def _trouble(self, rng: random.Random) -> None:
        while True:
            await self.clock.sleep_ns(rng.randrange(20, 400) * SECOND_NS)
            if self._calm:
                return
            kind = rng.choice(("session ended", "session taken", "maintenance"))
            self.hit[kind] += 1
            self.twin.advance(self.clock.now_ns())
            if kind == "session taken":
                self.twin.take_over()
            else:
                self.twin.reset()
            self.network.carry(self.twin)
            if kind == "maintenance":
                self.twin.down = True
                await self.clock.sleep_ns(rng.randrange(1, 90) * SECOND_NS)
                self.twin.down = False

    _calm = False  # for good: a silence that a stage makes later is no trouble

    def calm(self) -> None:
        self._calm, self.twin.down = True, False
        super().calm()

    def make(self, seed: int) -> WebTwin:
        twin = WebTwin(seed=seed, start_ns=START_NS, requests_per_minute=100_000)
        self.contracts = near_money(twin.contracts.chains, twin.exchange.mark("AAPL", START_NS))
        for name in self.contracts:
            twin.contracts.option(parse_occ(name))
        return twin

    def truth(self) -> TwinTruth:
        return IbkrWebTruth(self.twin, self.clock, lambda: self.desk.books)

    def connection(self) -> Mapping[str, str]:
        return {"transport": "web"}

    def placed(self, request: Request) -> ClOrdID | None:
        """A change has the number of the order that it changes: the oracle sees what becomes of it."""
        if request.method != "POST" or not request.url.endswith("/orders"):
            return None
        return ClOrdID(json.loads(request.body)["orders"][0]["cOID"])

    def is_word(self, response: Response) -> bool:
        """A question is none, what its yes is answered with nobody watches; and during maintenance there are none."""
        return response.status != 503 and b'"messageIds"' not in response.body

    def secrets_on_disk(self) -> bool:
        """The account's number is no secret to the owner's own journal; a gateway has no key."""
        return False

    def trade(self, instrument: InstrumentID, side: Side, qty: Decimal, cl_ord_id: str) -> bool:
        con_id = self.twin.universe.lines[FUTURES.get(instrument, str(instrument))].con_id
        wanted = {"conid": con_id, "side": side.upper(), "orderType": "MKT", "tif": "DAY", "quantity": str(qty), "cOID": cl_ord_id}
        self.twin.advance(self.clock.now_ns())
        try:
            self.twin.by_hand(wanted)
        except IbkrRefusal:
            return False
        return True


EXCHANGES: Mapping[str, Any] = {
    "binance": BinanceWorld,
    "kraken": KrakenWorld,
    "bybit": BybitWorld,
    "oanda": OandaWorld,
    "tradier": TradierWorld,
    "ibkr": IbkrWorld,
    "ibkrweb": IbkrWebWorld,
}
