"""The account's side of the twin: orders under Kraken's ids, and what the private calls say of orders, trades and balances.

An order of Kraken's keeps its id when it is amended; the exchange makes a new one each time. A Placed is Kraken's order: all of the exchange's that
were made for it, one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from random import Random

import msgspec

from trading_system.brokers.kraken import facts, wire
from trading_system.brokers.kraken.twin.forms import Refusal, flag, invalid, micro, money, new_id, number, seconds, whole
from trading_system.brokers.kraken.twin.ledger import PAGE, Ledger, bounds
from trading_system.brokers.kraken.twin.limits import Limits, price_of
from trading_system.brokers.kraken.twin.rules import Asked, Rules, client_id, deadline, tick
from trading_system.brokers.kraken.twin.universe import MONEY, STEPS, Universe
from trading_system.domain.fix import OrdStatus, OrdType, Side
from trading_system.domain.money import ZERO, on_grid, plain
from trading_system.sim.exchange import Exchange, Execution, SimOrder
from trading_system.sim.sessions import SECOND_NS

USER = "User requested"
SELF_TRADE = "Self trade prevention"
TIMER = "Cancel all orders after"
_OPEN = frozenset({OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED, OrdStatus.PENDING_CANCEL, OrdStatus.PENDING_REPLACE})
_STATUS = {
    OrdStatus.PENDING_NEW: "pending",
    OrdStatus.FILLED: "closed",
    OrdStatus.CANCELED: "canceled",
    OrdStatus.REJECTED: "canceled",
    OrdStatus.EXPIRED: "expired",
}
_OVER = ("closed", "canceled", "expired")


class Placed(msgspec.Struct, kw_only=True):
    """One order as Kraken knows it."""

    txid: str
    asked: Asked
    opened_ns: int
    touched_ns: int  # created, or last amended
    orders: list[SimOrder]  # the last one is what it is now
    trades: list[Execution] = []
    amends: int = 0
    reason: str = ""
    expired: bool = False

    @property
    def now(self) -> SimOrder:
        return self.orders[-1]

    @property
    def symbol(self) -> str:
        return self.asked.ticket.symbol

    @property
    def side(self) -> Side:
        return self.asked.ticket.side

    @property
    def qty(self) -> Decimal:
        """Units asked for in all, over every amend."""
        assert self.now.qty is not None
        return sum((order.filled_qty for order in self.orders[:-1]), ZERO) + self.now.qty

    @property
    def filled_qty(self) -> Decimal:
        return sum((done.qty for done in self.trades), ZERO)

    @property
    def cost(self) -> Decimal:
        return sum((done.qty * done.price for done in self.trades), ZERO)

    @property
    def fee(self) -> Decimal:
        return sum((done.fee for done in self.trades), ZERO)

    @property
    def avg_px(self) -> Decimal:
        return self.cost / self.filled_qty if self.trades else ZERO

    @property
    def status(self) -> str:
        if self.expired:
            return "expired"
        return "open" if self.now.ord_status in _OPEN else _STATUS[self.now.ord_status]

    @property
    def closed_ns(self) -> int:
        return max(self.now.filled_ns, self.now.canceled_ns, self.now.expired_ns, self.now.failed_ns)


class TradingDesk:
    """Orders and balances of one account. Raises Refusal for what Kraken would not do."""

    def __init__(self, universe: Universe, exchange: Exchange, ledger: Ledger, limits: Limits, names: Random) -> None:
        self._universe = universe
        self._exchange = exchange
        self._ledger = ledger
        self._limits = limits
        self._names = names
        self._rules = Rules(universe, exchange)
        self.placed: dict[str, Placed] = {}
        self._of: dict[str, Placed] = {}  # by the exchange's id
        self.system = "online"
        self.timer_ns = 0  # when everything is cancelled; 0: never

    # -- orders ------------------------------------------------------------------------------------------------------------------------------------

    def add(self, form: Mapping[str, str], now_ns: int) -> wire.Added:
        """AddOrder. What it costs is counted even where it is refused."""
        deadline(form, now_ns)
        symbol = self._rules.symbol(form)
        affordable = self._limits.order(symbol, facts.ADD_COST, now_ns)
        self._mode(form)
        asked = self._rules.asked(form, now_ns)
        if not affordable:
            raise Refusal("EOrder:Rate limit exceeded")
        working = self.working()
        if asked.cl_ord_id is not None and any(placed.asked.cl_ord_id == asked.cl_ord_id for placed in working):
            raise invalid("cl_ord_id")
        if sum(placed.symbol == symbol for placed in working) >= self._limits.open_orders_max:
            raise Refusal("EOrder:Orders limit exceeded")
        descr = wire.AddedDescr(order=self._words(asked, asked.ticket.qty or ZERO))
        if flag(form, "validate"):
            return wire.Added(descr=descr)
        placed = Placed(txid=new_id("O", self._names), asked=asked, opened_ns=now_ns, touched_ns=now_ns, orders=[])
        order = self._exchange.submit(asked.ticket, now_ns)
        placed.orders.append(order)
        self.placed[placed.txid] = self._of[order.order_id] = placed
        if self._meets_own(placed, working, now_ns):
            self.end([placed], SELF_TRADE, now_ns)
        return wire.Added(descr=descr, txid=[placed.txid])

    def _meets_own(self, placed: Placed, working: Iterable[Placed], now_ns: int) -> bool:
        """Whether the best that it would meet is an order of the same account: the newer one is cancelled (stptype cancel-newest)."""
        if placed.now.ticket.waits:
            return False
        side = placed.side
        now, unit = self._exchange.market.latest(placed.symbol, now_ns), self._exchange.market.listings[placed.symbol].unit
        touch = (now.asks if side is Side.BUY else now.bids)[0][0] * unit
        limit = placed.now.price or touch
        worst = min(limit, touch) if side is Side.BUY else max(limit, touch)
        for other in (one.now for one in working if one.symbol == placed.symbol and one.side is side.opposite):
            rests = not other.ticket.waits or other.triggered
            if rests and other.price is not None and (worst - other.price) * side.sign >= 0:
                return True
        return False

    def _mode(self, form: Mapping[str, str]) -> None:
        post = "post" in form.get("oflags", "").split(",")
        if self.system == "maintenance":
            raise Refusal("EService:Unavailable")
        if self.system == "cancel_only" or (self.system == "post_only" and not post):
            raise Refusal(f"EService:Market in {self.system} mode")

    def _words(self, asked: Asked, qty: Decimal) -> str:
        volume = f"{asked.cash if asked.cash is not None else qty:.8f}"
        name = self._universe.pair(asked.ticket.symbol).altname
        words = {
            OrdType.MARKET: "market",
            OrdType.LIMIT: f"limit {asked.price}",
            OrdType.STOP: f"stop loss {asked.price}",
            OrdType.STOP_LIMIT: f"stop loss {asked.price} -> limit {asked.price2}",
            OrdType.TRAILING_STOP: f"trailing stop {asked.price}",
        }
        return f"{asked.ticket.side.value} {volume} {name} @ {words[asked.ticket.ord_type]}"

    def amend(self, form: Mapping[str, str], now_ns: int) -> wire.Amended:
        """AmendOrder: done in the answer, or not at all. order_qty is the new total."""
        deadline(form, now_ns)
        placed = self._one(form)
        cost = facts.AMEND_COST + price_of(facts.AMEND_COSTS, now_ns - placed.touched_ns)
        if not self._limits.order(placed.symbol, cost, now_ns):
            raise Refusal("EOrder:Rate limit exceeded")
        self._mode({"oflags": "post"})
        kind, pair, old = placed.asked.ticket.ord_type, self._universe.pair(placed.symbol), placed.now
        if kind in (OrdType.MARKET, OrdType.TRAILING_STOP):
            raise Refusal("EOrder:Invalid order")
        changes: dict[str, Decimal] = {}
        if form.get("order_qty"):
            changes["qty"] = number(form["order_qty"], "order_qty")
            if changes["qty"] <= placed.filled_qty or changes["qty"] < Decimal(pair.ordermin or "0"):
                raise Refusal("EOrder:Order minimum not met")
            if not on_grid(changes["qty"], Decimal(1).scaleb(-pair.lot_decimals)):
                raise invalid("order_qty")
        if form.get("limit_price") and kind.has_price:
            changes["price"] = tick(form["limit_price"], "limit_price", pair)
        if form.get("trigger_price") and kind.has_stop:
            changes["stop_px"] = tick(form["trigger_price"], "trigger_price", pair)
        if not changes:
            raise invalid("order_qty")
        px = changes.get("price") or old.ticket.price or changes.get("stop_px") or old.ticket.stop_px or ZERO
        held = px * (1 + facts.TAKER_FEE) if placed.side is Side.BUY else px
        # the exchange takes a total with the fills of the order before it, and of no earlier one
        total = old.filled_qty + changes.pop("qty", placed.qty) - placed.filled_qty
        ticket = msgspec.structs.replace(old.ticket, qty=total, reserve_px=held, **changes)
        rest = msgspec.structs.replace(ticket, qty=total - old.filled_qty)
        self._rules.afford(rest, old.reserve if placed.side is Side.BUY else old.held)
        if flag(form, "post_only") and kind is OrdType.LIMIT:
            self._rules.rests(placed.symbol, placed.side, ticket.price or ZERO, now_ns)
        new = self._exchange.replace(old, ticket, old.cl_ord_id, now_ns)
        self._of[new.order_id] = placed
        placed.orders.append(new)
        self._exchange.advance(now_ns)
        if new.ord_status is OrdStatus.REJECTED:
            placed.orders.remove(new)
            raise Refusal("EOrder:Unknown order")
        placed.amends += 1
        placed.touched_ns = now_ns
        return wire.Amended(amend_id=new_id("T", self._names))

    def cancel(self, form: Mapping[str, str], now_ns: int) -> wire.Canceled:
        """CancelOrder: done in the answer. A userref cancels all that share it."""
        wanted = form.get("txid", "")
        if "cl_ord_id" not in form and wanted.lstrip("-").isdigit():
            found = [placed for placed in self.working() if placed.asked.userref == int(wanted) != 0]
            if not found:
                raise Refusal("EOrder:Unknown order")
        else:
            found = [self._one(form)]
        return wire.Canceled(count=self.end(found, USER, now_ns))

    def cancel_all(self, now_ns: int) -> wire.Canceled:
        return wire.Canceled(count=self.end(self.working(), USER, now_ns))

    def cancel_all_after(self, form: Mapping[str, str], now_ns: int) -> wire.Timer:
        timeout = whole(form, "timeout", -1, 86_399)
        if timeout < 0:
            raise invalid("timeout")
        self.timer_ns = now_ns + timeout * SECOND_NS if timeout else 0
        return wire.Timer(current_time=_to_second(now_ns), trigger_time=_to_second(self.timer_ns) if timeout else "0")

    def end(self, orders: Iterable[Placed], reason: str, now_ns: int, *, expired: bool = False) -> int:
        """Cancel these at once; a fill of the same instant may have been quicker. How many were."""
        ended = 0
        for placed in orders:
            self._limits.order(placed.symbol, 0 if expired else price_of(facts.CANCEL_COSTS, now_ns - placed.touched_ns), now_ns)
            placed.reason, placed.expired = reason, expired
            self._exchange.cancel(placed.now, now_ns)
            self._exchange.advance(now_ns)
            if placed.now.ord_status is OrdStatus.CANCELED:
                ended += 1
            else:
                placed.reason, placed.expired = "", False
        return ended

    def _one(self, form: Mapping[str, str]) -> Placed:
        """The working order that is meant. Raises Refusal."""
        cl_ord_id, txid = client_id(form), form.get("txid") or form.get("order_id", "")
        for placed in self.working():
            if (cl_ord_id and placed.asked.cl_ord_id == cl_ord_id) or placed.txid == txid:
                return placed
        raise Refusal("EOrder:Unknown order")

    def working(self) -> list[Placed]:
        return [placed for order in self._exchange.open_orders() if (placed := self._of[order.order_id]).now is order]

    def of(self, order_id: str) -> Placed:
        """Kraken's order, by the exchange's id."""
        return self._of[order_id]

    # -- what time does ----------------------------------------------------------------------------------------------------------------------------

    def next_event_ns(self) -> int | None:
        times = [placed.asked.expires_ns for placed in self.working() if placed.asked.expires_ns]
        return min([*times, *([self.timer_ns] if self.timer_ns else [])], default=None)

    def advance(self, now_ns: int) -> None:
        """GTD orders that are over, and the switch that nobody wound up again."""
        over = [placed for placed in self.working() if 0 < placed.asked.expires_ns <= now_ns]
        if over:
            self.end(over, "", now_ns, expired=True)
        if self.timer_ns and self.timer_ns <= now_ns:
            self.timer_ns = 0
            self.end(self.working(), TIMER, now_ns)

    # -- what is asked -----------------------------------------------------------------------------------------------------------------------------

    def open_orders(self, form: Mapping[str, str]) -> wire.OpenOrders:
        client_id(form)
        return wire.OpenOrders(open={placed.txid: self.show(placed, form) for placed in self.working() if _matches(placed, form)})

    def closed_orders(self, form: Mapping[str, str]) -> wire.ClosedOrders:
        """Newest first, fifty a page."""
        client_id(form)
        by = form.get("closetime", "both")
        start, end = bounds(form, {placed.txid: placed.opened_ns for placed in self.placed.values()})
        found = [
            placed
            for placed in self.placed.values()
            if placed.status in _OVER and _matches(placed, form) and start < (placed.opened_ns if by == "open" else placed.closed_ns) <= end
        ]
        found.sort(key=lambda placed: placed.closed_ns, reverse=True)
        offset = whole(form, "ofs", 0, 1 << 31)
        page = {placed.txid: self.show(placed, form) for placed in found[offset : offset + PAGE]}
        return wire.ClosedOrders(closed=page, count=None if flag(form, "without_count") else len(found))

    def query_orders(self, form: Mapping[str, str]) -> Mapping[str, wire.Order]:
        wanted = form.get("txid", "").split(",")
        if len(wanted) > facts.QUERY_MAX:
            raise invalid("txid")
        unknown = [txid for txid in wanted if txid not in self.placed]
        if unknown:
            raise Refusal("EOrder:Unknown order")
        return {txid: self.show(self.placed[txid], form) for txid in wanted}

    def show(self, placed: Placed, form: Mapping[str, str]) -> wire.Order:
        """An order's row."""
        asked, now, pair = placed.asked, placed.now, self._universe.pair(placed.symbol)
        kind, over = asked.ticket.ord_type, placed.status in _OVER
        cash = asked.cash is not None
        px = f"{{:.{pair.pair_decimals}f}}".format
        price, price2 = asked.price, asked.price2
        if placed.amends:
            price = px(now.price if kind is OrdType.LIMIT else now.stop_px)
            price2 = px(now.price) if kind is OrdType.STOP_LIMIT else price2
        shown = msgspec.structs.replace(asked, price=price, price2=price2)
        return wire.Order(
            refid=None,
            userref=asked.userref,
            cl_ord_id=asked.cl_ord_id,
            status=placed.status,
            opentm=seconds(placed.opened_ns),
            starttm=Decimal(0),
            expiretm=seconds(asked.expires_ns),
            closetm=seconds(placed.closed_ns) if over else None,
            reason=(placed.reason or None) if over else None,
            descr=wire.OrderDescr(
                pair=pair.altname, type=placed.side.value, ordertype=asked.kind, price=price, price2=price2, order=self._words(shown, placed.qty)
            ),
            vol=f"{asked.cash:.8f}" if cash else f"{placed.qty:.8f}",
            vol_exec=f"{placed.cost if cash else placed.filled_qty:.8f}",
            cost=plain(placed.cost),
            fee=plain(placed.fee),
            price=px(placed.avg_px),
            stopprice=px(now.stop_px or ZERO),
            limitprice=px(now.price if kind is OrdType.STOP_LIMIT and now.triggered and now.price else ZERO),
            misc="stopped" if now.triggered else "",
            oflags=",".join(asked.flags) or "fciq",
            amended=placed.amends > 0,
            trades=[done.exec_id for done in placed.trades] if flag(form, "trades") else None,
        )

    def history(self, form: Mapping[str, str]) -> wire.TradesHistory:
        """TradesHistory: newest first, fifty a page."""
        done = list(self._exchange.executions.values())
        start, end = bounds(form, {one.exec_id: one.transact_ns for one in done})
        found = [one for one in reversed(done) if start < one.transact_ns <= end]
        offset = whole(form, "ofs", 0, 1 << 31)
        page = {one.exec_id: self.show_trade(one) for one in found[offset : offset + PAGE]}
        return wire.TradesHistory(trades=page, count=None if flag(form, "without_count") else len(found))

    def query_trades(self, form: Mapping[str, str]) -> Mapping[str, wire.Fill]:
        wanted = form.get("txid", "").split(",")
        if len(wanted) > 20 or any(name not in self._exchange.executions for name in wanted):
            raise invalid("txid")
        return {name: self.show_trade(self._exchange.executions[name]) for name in wanted}

    def show_trade(self, done: Execution) -> wire.Fill:
        placed, px = self._of[done.order_id], self._universe.pair(done.symbol).pair_decimals
        return wire.Fill(
            ordertxid=placed.txid,
            postxid=placed.txid.replace("O", "T", 1),
            pair=self._universe.keys[done.symbol],
            time=seconds(done.transact_ns),
            type=done.side.value,
            ordertype=placed.asked.kind,
            price=f"{done.price:.{px}f}",
            cost=plain(done.qty * done.price),
            fee=plain(done.fee),
            vol=f"{done.qty:.8f}",
            trade_id=trade_number(done),
            maker=done.maker,
        )

    # -- balances ----------------------------------------------------------------------------------------------------------------------------------

    def balance(self) -> Mapping[str, str]:
        return {self._universe.asset_keys[asset]: _amount(asset, total) for asset, total in self._exchange.holdings.items()}

    def balance_ex(self) -> Mapping[str, wire.BalanceEx]:
        held = {self._exchange.terms[symbol].base: self._exchange.held(symbol) for symbol in self._universe.keys}
        held[MONEY] = self._exchange.reserved
        return {
            self._universe.asset_keys[asset]: wire.BalanceEx(balance=_amount(asset, total), hold_trade=_amount(asset, held.get(asset, ZERO)))
            for asset, total in self._exchange.holdings.items()
        }

    def trade_balance(self, form: Mapping[str, str], now_ns: int) -> wire.TradeBalance:
        if form.get("asset", "ZUSD") not in ("ZUSD", MONEY):
            raise Refusal("EQuery:Unknown asset")  # only the dollar's is modelled
        worth, zero = money(self._exchange.equity(now_ns)), money(ZERO)
        return wire.TradeBalance(eb=worth, tb=worth, m=zero, n=zero, c=zero, v=zero, e=worth, mf=worth)

    def trade_volume(self, form: Mapping[str, str]) -> wire.TradeVolume:
        volume = sum((done.qty * done.price for done in self._exchange.executions.values()), ZERO)
        symbols = [self._rules.symbol({"pair": name}) for name in filter(None, form.get("pair", "").split(","))]
        return wire.TradeVolume(
            currency="ZUSD",
            volume=money(volume),
            fees={self._universe.keys[symbol]: _fee(1) for symbol in symbols},
            fees_maker={self._universe.keys[symbol]: _fee(2) for symbol in symbols},
        )


def trade_number(done: Execution) -> int:
    """The public number of a trade: any that stays the same."""
    return done.transact_ns // 1_000_000 % (1 << 31)


def _amount(asset: str, value: Decimal) -> str:
    return money(value) if asset == MONEY else f"{value:.10f}"


def _fee(column: int) -> wire.Fee:
    """The fees of an account that trades at the first step, whatever it traded."""
    rates: Sequence[Decimal] = [row[column] for row in STEPS]
    return wire.Fee(
        fee=f"{rates[0]:.4f}",
        minfee=f"{rates[-1]:.4f}",
        maxfee=f"{rates[0]:.4f}",
        nextfee=f"{rates[1]:.4f}",
        nextvolume=f"{STEPS[1][0]:.4f}",
        tiervolume="0.0000",
    )


def _matches(placed: Placed, form: Mapping[str, str]) -> bool:
    cl_ord_id, userref = client_id(form), form.get("userref")
    return (not cl_ord_id or placed.asked.cl_ord_id == cl_ord_id) and (userref in (None, "") or str(placed.asked.userref) == userref)


def _to_second(ns: int) -> str:
    return micro(ns)[:19] + "Z"
