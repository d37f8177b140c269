"""The twin's orders: what OANDA takes and refuses, and what the exchange's events mean in its log."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from trading_system.brokers.oanda import wire
from trading_system.brokers.oanda.twin.forms import Refusal, bad, count, decimals, moment, money, number, units
from trading_system.brokers.oanda.twin.ledger import Ledger, Log, SimTrade
from trading_system.brokers.oanda.twin.universe import Universe
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.money import ZERO
from trading_system.sim.exchange import Event, Exchange, SimOrder, Ticket
from trading_system.sim.sessions import iso

_TIFS = {
    "MARKET": ("FOK", "IOC"),
    "LIMIT": ("GTC", "GTD", "GFD", "FOK", "IOC"),
    "STOP": ("GTC", "GTD", "GFD", "FOK", "IOC"),
    "MARKET_IF_TOUCHED": ("GTC", "GTD", "GFD"),
    "TAKE_PROFIT": ("GTC", "GTD", "GFD"),
    "STOP_LOSS": ("GTC", "GTD", "GFD"),
    "TRAILING_STOP_LOSS": ("GTC", "GTD", "GFD"),
}
_TIF = {"GTC": TimeInForce.GTC, "GTD": TimeInForce.GTC, "GFD": TimeInForce.DAY, "FOK": TimeInForce.FOK, "IOC": TimeInForce.IOC}
_OF_TRADES = ("TAKE_PROFIT", "STOP_LOSS", "TRAILING_STOP_LOSS")
_ON_FILL = {"takeProfitOnFill": "TAKE_PROFIT", "stopLossOnFill": "STOP_LOSS", "trailingStopLossOnFill": "TRAILING_STOP_LOSS"}
_DEPENDENT = {"takeProfit": "TAKE_PROFIT", "stopLoss": "STOP_LOSS", "trailingStopLoss": "TRAILING_STOP_LOSS"}
_FILLS = ("DEFAULT", "REDUCE_FIRST", "REDUCE_ONLY", "OPEN_ONLY", "")
_TRIGGERS = ("DEFAULT", "INVERSE", "BID", "ASK", "MID", "")
_IMMEDIATE = ("FOK", "IOC")
_FILLED_AS = {
    "TRADE_CLOSE": "MARKET_ORDER_TRADE_CLOSE",
    "POSITION_CLOSEOUT": "MARKET_ORDER_POSITION_CLOSEOUT",
    "MARGIN_CLOSEOUT": "MARKET_ORDER_MARGIN_CLOSEOUT",
}


class Placed(msgspec.Struct, kw_only=True):
    """One order of the account as it was asked for, and what became of it."""

    asked: wire.OrderRequest
    id: str
    units: Decimal  # signed
    created_ns: int
    state: str = "PENDING"
    order: SimOrder | None = None  # at the exchange
    reason: str = "CLIENT_ORDER"
    close: Mapping[str, wire.Closeout] = {}  # what a market order of a close is for
    gtd_ns: int = 0
    filled: Decimal = ZERO
    fill_id: str = ""
    fill_ns: int = 0
    opened_id: str = ""
    reduced_id: str = ""
    closed_ids: Sequence[str] = ()
    cancel_id: str = ""
    cancel_ns: int = 0
    end: str = ""  # why a cancel that is on its way was asked for
    replaces: str = ""
    replaced_by: str = ""

    @property
    def client_id(self) -> str:
        return "" if self.asked.clientExtensions is None else self.asked.clientExtensions.id

    @property
    def trade_id(self) -> str:
        """The trade that it is to end."""
        return self.asked.tradeID or next((close.tradeID for close in self.close.values()), "")


class Orders:
    """Creates, replaces, cancels; the rows that tell of them."""

    def __init__(self, universe: Universe, exchange: Exchange, ledger: Ledger, log: Log) -> None:
        self._universe = universe
        self._exchange = exchange
        self._ledger = ledger
        self._log = log
        self.placed: dict[str, Placed] = {}
        self._pending: dict[str, Placed] = {}
        self._moved: set[str] = set()  # of which there is more or less to close now

    # -- asking ----------------------------------------------------------------------------------------------------------------------------------

    def pending(self) -> list[wire.Order]:
        return [self.row(placed) for placed in reversed(self._pending.values())]

    def listed(self, query: Mapping[str, str]) -> list[wire.Order]:
        """The newest first. Raises Refusal: a state or a count that there is not."""
        state, most = query.get("state", "PENDING"), count(query, "count", 50, 500)
        if state not in ("PENDING", "FILLED", "TRIGGERED", "CANCELLED", "ALL"):
            raise bad("state")
        ids = set(filter(None, query.get("ids", "").split(",")))
        before = int(query["beforeID"]) if query.get("beforeID", "").isdecimal() else None
        found = [
            placed
            for placed in reversed(self.placed.values())
            if state in ("ALL", placed.state)
            and (not ids or placed.id in ids)
            and query.get("instrument") in (None, self._symbol(placed))
            and (before is None or int(placed.id) < before)
        ]
        return [self.row(placed) for placed in found[:most]]

    def one(self, spec: str) -> wire.Order:
        return self.row(self.find(spec))

    def shown(self, order_id: str) -> wire.Order | None:
        placed = self.placed.get(order_id)
        return None if placed is None else self.row(placed)

    def find(self, spec: str) -> Placed:
        """By number, or the last one that has a client id. Raises Refusal: there is none."""
        if spec.startswith("@"):
            named = [placed for placed in self.placed.values() if placed.client_id == spec[1:]]
            found = next((placed for placed in named if placed.state == "PENDING"), named[-1] if named else None)
        else:
            found = self.placed.get(spec)
        if found is None:
            raise Refusal(404, "The order ID specified does not exist", "NO_SUCH_ORDER")
        return found

    def row(self, placed: Placed) -> wire.Order:
        asked, order = placed.asked, placed.order
        trails = asked.type == "TRAILING_STOP_LOSS" and order is not None and order.stop_px is not None
        return wire.Order(
            id=placed.id,
            createTime=iso(placed.created_ns),
            type=asked.type,
            state=placed.state,
            trailingStopValue=self._ledger.shown(order.symbol, order.stop_px) if trails and order is not None and order.stop_px is not None else "",
            fillingTransactionID=placed.fill_id,
            filledTime=iso(placed.fill_ns) if placed.fill_id else "",
            tradeOpenedID=placed.opened_id,
            tradeReducedID=placed.reduced_id,
            tradeClosedIDs=placed.closed_ids,
            cancellingTransactionID=placed.cancel_id,
            cancelledTime=iso(placed.cancel_ns) if placed.cancel_id else "",
            replacesOrderID=placed.replaces,
            replacedByOrderID=placed.replaced_by,
            **_terms(asked, wire.Order),
            **self._premium(placed),
        )

    def _premium(self, placed: Placed) -> dict[str, Any]:
        """What a guaranteed stop will cost for each unit."""
        return {"guaranteedExecutionPremium": units(self._universe.pairs[self._symbol(placed)].premium)} if placed.asked.guaranteed else {}

    # -- creating --------------------------------------------------------------------------------------------------------------------------------

    def create(self, body: bytes, now_ns: int) -> wire.Placed:
        """Raises Refusal: 400 without a transaction for what cannot be read, with one for what breaks a rule."""
        asked = self._read(body)
        self._pass(asked, now_ns, replacing=None)
        return self._answer(self._make(asked, now_ns))

    def replace(self, spec: str, body: bytes, now_ns: int) -> wire.Placed:
        """One order goes, another comes; where the other is refused, the one stays. Raises Refusal."""
        asked = self._read(body)
        old = self._alive(spec, now_ns, "replaced")
        if asked.type != old.asked.type or (asked.instrument and asked.instrument != self._symbol(old)):
            self._reject(asked, "REPLACING_ORDER_INVALID", now_ns)
        self._pass(asked, now_ns, replacing=old)
        old.end, old.replaced_by = "CLIENT_REQUEST_REPLACED", str(int(self._log.following) + 1)
        self._drop(old, now_ns)
        placed = self._make(asked, now_ns, reason="REPLACEMENT", replaces=old.id)
        return replace(
            self._answer(placed), orderCancelTransaction=self._entry(old.cancel_id), replacingOrderCancelTransaction=self._cancel_of(placed)
        )

    def cancel(self, spec: str, now_ns: int) -> wire.Canceled:
        """Raises Refusal: 404, with a transaction."""
        placed = self._alive(spec, now_ns, "canceled")
        placed.end = "CLIENT_REQUEST"
        self._drop(placed, now_ns)
        entry = self._entry(placed.cancel_id)
        assert entry is not None
        return wire.Canceled(orderCancelTransaction=entry, relatedTransactionIDs=[entry.id], lastTransactionID=entry.id)

    def close_trade(self, trade: SimTrade, body: bytes, now_ns: int) -> wire.Placed:
        """Raises Refusal: more units than there are."""
        wanted = _field(body, "units", "ALL")
        size = abs(trade.units) if wanted == "ALL" else number(wanted)
        sign = -1 if trade.units > 0 else 1
        asked = wire.OrderRequest(
            type="MARKET", instrument=trade.symbol, units=units(sign * (size or ZERO)), timeInForce="FOK", positionFill="REDUCE_ONLY"
        )
        if size is None or size <= 0:
            self._reject(asked, "CLOSE_TRADE_PARTIAL_UNITS_MISSING", now_ns, reason="TRADE_CLOSE")
        assert size is not None
        if size > abs(trade.units):
            self._reject(asked, "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE", now_ns, reason="TRADE_CLOSE")
        close = {"tradeClose": wire.Closeout(tradeID=trade.id, units=wanted)}
        return self._answer(self._make(asked, now_ns, reason="TRADE_CLOSE", close=close))

    def close_position(self, symbol: str, body: bytes, now_ns: int) -> dict[str, object]:
        """Either side, or both. Raises Refusal: nothing of that side is held."""
        told: dict[str, object] = {}
        wishes = {name: _field(body, f"{name}Units", "ALL") for name in ("long", "short")}
        given = msgspec.json.decode(body) if body else {}
        sides = {"long": self._ledger.held(symbol, 1), "short": self._ledger.held(symbol, -1)}
        for name, sign in (("long", 1), ("short", -1)):
            held, wanted = sides[name], wishes[name]
            if wanted == "NONE" or (not held and f"{name}Units" not in given and any(sides.values())):
                continue
            size = held if wanted == "ALL" else number(wanted) or ZERO
            asked = wire.OrderRequest(type="MARKET", instrument=symbol, units=units(-sign * size), timeInForce="FOK", positionFill="REDUCE_ONLY")
            close = {f"{name}PositionCloseout": wire.Closeout(instrument=symbol, units=wanted)}
            if not held:
                self._reject(asked, "CLOSEOUT_POSITION_DOESNT_EXIST", now_ns, status=404, reason="POSITION_CLOSEOUT", close=close)
            if not 0 < size <= held:
                self._reject(asked, "CLOSEOUT_POSITION_UNITS_EXCEED_POSITION_SIZE", now_ns, reason="POSITION_CLOSEOUT", close=close)
            done = self._answer(self._make(asked, now_ns, reason="POSITION_CLOSEOUT", close=close))
            told |= {f"{name}OrderCreateTransaction": done.orderCreateTransaction}
            told |= {f"{name}OrderFillTransaction": done.orderFillTransaction} if done.orderFillTransaction else {}
            told |= {f"{name}OrderCancelTransaction": done.orderCancelTransaction} if done.orderCancelTransaction else {}
            told["relatedTransactionIDs"] = [*told.get("relatedTransactionIDs", []), *done.relatedTransactionIDs]  # type: ignore[misc]
            told["lastTransactionID"] = done.lastTransactionID
        if not told:
            raise Refusal(400, "The request specified no position to close", "CLOSEOUT_POSITION_INCOMPLETE_SPECIFICATION")
        return told

    def dependents(self, trade: SimTrade, body: bytes, now_ns: int) -> dict[str, object]:
        """Set a trade's exits, or take them away with null; what is not named stays. Raises Refusal."""
        try:
            given = msgspec.json.decode(body)
            wishes = {name: given[name] for name in _DEPENDENT if name in given}
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, TypeError):
            raise bad("body") from None
        told: dict[str, object] = {}
        asked = {
            name: None if wish is None else self._read(msgspec.json.encode({"order": {"type": _DEPENDENT[name], "tradeID": trade.id} | wish}))
            for name, wish in wishes.items()
        }
        there = {name: self._pending.get(trade.orders.get(_DEPENDENT[name], "")) for name in asked}
        for name, order in asked.items():
            if order is not None:
                self._pass(order, now_ns, replacing=there[name])
        for name, order in asked.items():
            old = there[name]
            if old is not None:
                old.end = "CLIENT_REQUEST" if order is None else "CLIENT_REQUEST_REPLACED"
                old.replaced_by = "" if order is None else str(int(self._log.following) + 1)
                self._drop(old, now_ns)
                told[f"{name}OrderCancelTransaction"] = self._entry(old.cancel_id)
            if order is not None:
                made = self._make(order, now_ns, reason="CLIENT_ORDER" if old is None else "REPLACEMENT", replaces="" if old is None else old.id)
                told[f"{name}OrderTransaction"] = self._entry(made.id)
        ids = sorted((entry.id for entry in self._log.round), key=int)
        return told | {"relatedTransactionIDs": ids, "lastTransactionID": ids[-1] if ids else self._log.last_id}

    def rename(self, spec: str, body: bytes, now_ns: int) -> dict[str, object]:
        """Other client extensions for an order that waits. Raises Refusal."""
        placed = self._alive(spec, now_ns, "modified")
        given = _extensions(body, "clientExtensions")
        self._exchange.orders[placed.id].cl_ord_id = given.id
        placed.asked = replace(placed.asked, clientExtensions=given)
        entry = self._log.write("ORDER_CLIENT_EXTENSIONS_MODIFY", now_ns, orderID=placed.id, clientExtensionsModify=given)
        told = {"orderClientExtensionsModifyTransaction": entry}
        return told | {"relatedTransactionIDs": [entry.id], "lastTransactionID": entry.id}

    def rename_trade(self, trade: SimTrade, body: bytes, now_ns: int) -> dict[str, object]:
        """Other client extensions for a trade. Raises Refusal."""
        trade.extensions = _extensions(body, "clientExtensions")
        entry = self._log.write("TRADE_CLIENT_EXTENSIONS_MODIFY", now_ns, tradeID=trade.id, tradeClientExtensionsModify=trade.extensions)
        told = {"tradeClientExtensionsModifyTransaction": entry}
        return told | {"relatedTransactionIDs": [entry.id], "lastTransactionID": entry.id}

    def _read(self, body: bytes) -> wire.OrderRequest:
        """Numbers may come as such. Raises Refusal: no order, or of nothing that is known."""
        try:
            given = msgspec.json.decode(body)["order"]
            asked = msgspec.convert(_texts(given), wire.OrderRequest)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, KeyError, TypeError):
            raise bad("order") from None
        if asked.type not in _TIFS:
            raise bad("order.type")
        if asked.type not in _OF_TRADES and asked.instrument not in self._universe.pairs:
            raise bad("order.instrument")
        return replace(
            asked,
            timeInForce=asked.timeInForce or _TIFS[asked.type][0],
            positionFill=asked.positionFill or ("" if asked.type in _OF_TRADES else "DEFAULT"),
        )

    def _pass(self, asked: wire.OrderRequest, now_ns: int, *, replacing: Placed | None) -> None:
        """Every rule that is looked at before there is an order. Raises Refusal, with the transaction that was made of it."""
        if asked.type in _OF_TRADES:
            self._pass_trade(asked, now_ns, replacing)
            return
        pair = self._universe.pairs[asked.instrument].shown
        size = number(asked.units) if asked.units else None
        reason = ""
        if not asked.units:
            reason = "UNITS_MISSING"
        elif not size:
            reason = "UNITS_INVALID"
        elif decimals(size) > pair.tradeUnitsPrecision:
            reason = "UNITS_PRECISION_EXCEEDED"
        elif abs(size) < Decimal(pair.minimumTradeSize):
            reason = "UNITS_MIMIMUM_NOT_MET"
        elif abs(size) > Decimal(pair.maximumOrderUnits):
            reason = "UNITS_LIMIT_EXCEEDED"
        elif asked.type != "MARKET":
            reason = self._price_fault(asked.price, pair, "")
        reason = reason or (self._price_fault(asked.priceBound, pair, "BOUND_") if asked.priceBound else "")
        self._refuse(asked, reason or self._shared_fault(asked, now_ns, replacing), now_ns)
        for name, kind in _ON_FILL.items():
            self._refuse(asked, self._exit_fault(getattr(asked, name), kind, pair), now_ns)
        if asked.stopLossOnFill is not None and asked.stopLossOnFill.guaranteed:
            self._refuse(asked, self._guarantee_fault("STOP_LOSS_ON_FILL"), now_ns)

    def _pass_trade(self, asked: wire.OrderRequest, now_ns: int, replacing: Placed | None) -> None:
        trade = self._ledger.trades.get(asked.tradeID)
        if trade is None or not trade.units:
            self._reject(asked, "TRADE_DOESNT_EXIST", now_ns, status=404)
        assert trade is not None
        pair = self._universe.pairs[trade.symbol].shown
        there = self.placed.get(trade.orders.get(asked.type, ""))
        if there is not None and there.state == "PENDING" and there is not replacing:
            self._reject(asked, f"{asked.type}_ORDER_ALREADY_EXISTS", now_ns)
        fault = self._distance_fault(asked.distance, pair) if asked.type == "TRAILING_STOP_LOSS" else self._price_fault(asked.price, pair, "")
        if asked.guaranteed:
            fault = fault or self._guarantee_fault("STOP_LOSS_ORDER")
            closed = not self._exchange.market.listings[trade.symbol].sessions.is_open(now_ns)
            fault = fault or ("STOP_LOSS_ORDER_GUARANTEED_HALTED_CREATE_VIOLATION" if closed else "")
        self._refuse(asked, fault or self._shared_fault(asked, now_ns, replacing), now_ns)

    def _guarantee_fault(self, what: str) -> str:
        if not self._ledger.guaranteed_stops:
            return f"{what}_GUARANTEED_NOT_ALLOWED"
        return f"{what}_GUARANTEED_HEDGING_NOT_ALLOWED" if self._ledger.hedging else ""

    def _shared_fault(self, asked: wire.OrderRequest, now_ns: int, replacing: Placed | None) -> str:
        if asked.timeInForce not in _TIFS[asked.type]:
            return "TIME_IN_FORCE_INVALID"
        if asked.timeInForce == "GTD" and not asked.gtdTime:
            return "TIME_IN_FORCE_GTD_TIMESTAMP_MISSING"
        if asked.timeInForce == "GTD" and moment(asked.gtdTime, "order.gtdTime") <= now_ns:
            return "TIME_IN_FORCE_GTD_TIMESTAMP_IN_PAST"
        if asked.positionFill not in _FILLS:
            return "ORDER_FILL_POSITION_ACTION_INVALID"
        if asked.triggerCondition not in _TRIGGERS:
            return "TRIGGER_CONDITION_INVALID"
        name = "" if asked.clientExtensions is None else asked.clientExtensions.id
        if len(name) > 128:
            return "CLIENT_ORDER_ID_INVALID"
        if name and any(placed.client_id == name for placed in self._pending.values() if placed is not replacing):
            return "CLIENT_ORDER_ID_ALREADY_EXISTS"
        return ""

    @staticmethod
    def _price_fault(text: str, pair: wire.Instrument, what: str) -> str:
        price = number(text) if text else None
        if not text:
            return f"PRICE_{what}MISSING"
        if price is None or price <= 0:
            return f"PRICE_{what}INVALID"
        return f"PRICE_{what}PRECISION_EXCEEDED" if decimals(price) > pair.displayPrecision else ""

    @staticmethod
    def _distance_fault(text: str, pair: wire.Instrument) -> str:
        distance = number(text) if text else None
        if not text:
            return "PRICE_DISTANCE_MISSING"
        if distance is None or distance <= 0:
            return "PRICE_DISTANCE_INVALID"
        if decimals(distance) > pair.displayPrecision:
            return "PRICE_DISTANCE_PRECISION_EXCEEDED"
        if distance < Decimal(pair.minimumTrailingStopDistance):
            return "PRICE_DISTANCE_MINIMUM_NOT_MET"
        return "PRICE_DISTANCE_MAXIMUM_EXCEEDED" if distance > Decimal(pair.maximumTrailingStopDistance) else ""

    def _exit_fault(self, exit_: wire.OnFill | None, kind: str, pair: wire.Instrument) -> str:
        if exit_ is None:
            return ""
        if kind == "STOP_LOSS" and bool(exit_.price) is bool(exit_.distance):
            return f"STOP_LOSS_ON_FILL_PRICE_AND_DISTANCE_BOTH_{'SPECIFIED' if exit_.price else 'MISSING'}"
        if exit_.timeInForce not in ("", *_TIFS[kind]):
            return f"{kind}_ON_FILL_TIME_IN_FORCE_INVALID"
        fault = (
            self._distance_fault(exit_.distance, pair) if exit_.distance or kind == "TRAILING_STOP_LOSS" else self._price_fault(exit_.price, pair, "")
        )
        return f"{kind}_ON_FILL_{fault}" if fault else ""

    def _refuse(self, asked: wire.OrderRequest, reason: str, now_ns: int) -> None:
        if reason:
            self._reject(asked, reason, now_ns)

    def _reject(
        self,
        asked: wire.OrderRequest,
        code: str,
        now_ns: int,
        *,
        status: int = 400,
        reason: str = "CLIENT_ORDER",
        close: Mapping[str, wire.Closeout] | None = None,
    ) -> None:
        """Raises Refusal: always, with the transaction that a rejection is."""
        fields = _terms(asked, wire.Transaction) | dict(close or {})
        entry = self._log.write(f"{asked.type}_ORDER_REJECT", now_ns, reason=reason, rejectReason=code, **fields)
        raise Refusal(status, f"The request was rejected: {code}", code, entry)

    def _alive(self, spec: str, now_ns: int, what: str) -> Placed:
        """An order that waits. Raises Refusal: 404 with a transaction."""
        named = spec.removeprefix("@")
        found = self.placed.get(spec) if spec == named else next((one for one in self._pending.values() if one.client_id == named), None)
        if found is None or found.id not in self._pending:
            fields = {"clientOrderID": named} if spec != named else {"orderID": spec}
            entry = self._log.write("ORDER_CANCEL_REJECT", now_ns, rejectReason="ORDER_DOESNT_EXIST", **fields)
            raise Refusal(404, f"The order to be {what} does not exist", "ORDER_DOESNT_EXIST", entry)
        return found

    def _make(
        self,
        asked: wire.OrderRequest,
        now_ns: int,
        *,
        reason: str = "CLIENT_ORDER",
        replaces: str = "",
        close: Mapping[str, wire.Closeout] | None = None,
    ) -> Placed:
        """The order, and all that comes of it at once."""
        trade = self._ledger.trades[asked.tradeID] if asked.tradeID else None
        size = Decimal(asked.units) if trade is None else -trade.units
        symbol = asked.instrument if trade is None else trade.symbol
        why_not = self._never_works(asked, symbol, size, now_ns, close)
        placed = Placed(asked=asked, id="", units=size, created_ns=now_ns, reason=reason, replaces=replaces, close=close or {})
        if asked.timeInForce == "GTD":
            placed.gtd_ns = moment(asked.gtdTime, "order.gtdTime")
        if why_not:
            placed.id = self._log.draw()
        else:
            wanted = abs(size) if asked.positionFill != "REDUCE_ONLY" else min(abs(size), self._reducible(placed, symbol))
            placed.order = self._exchange.submit(self._ticket(placed, symbol, wanted), now_ns)
            placed.id = placed.order.order_id
        self._enter(placed, trade, now_ns)
        if why_not:
            self._end(placed, why_not, now_ns)
        self.settle(now_ns)
        return placed

    def _enter(self, placed: Placed, trade: SimTrade | None, now_ns: int, **more: object) -> None:
        self.placed[placed.id] = self._pending[placed.id] = placed
        if trade is not None:
            trade.orders[placed.asked.type] = placed.id
        fields = _terms(placed.asked, wire.Transaction) | dict(placed.close) | self._premium(placed) | more
        self._log.write(f"{placed.asked.type}_ORDER", now_ns, number=placed.id, reason=placed.reason, replacesOrderID=placed.replaces, **fields)

    def _never_works(self, asked: wire.OrderRequest, symbol: str, size: Decimal, now_ns: int, close: Mapping[str, wire.Closeout] | None) -> str:
        """Why an order that was taken is cancelled in the same breath; "": it is not."""
        at_once = asked.timeInForce in _IMMEDIATE
        if at_once and not self._exchange.market.listings[symbol].sessions.is_open(now_ns):
            return "MARKET_HALTED"
        if asked.positionFill == "REDUCE_ONLY" and at_once and not (close or self._ledger.held(symbol, -1 if size > 0 else 1)):
            return "POSITION_CLOSEOUT_FAILED"
        name = "" if asked.tradeClientExtensions is None else asked.tradeClientExtensions.id
        if name and at_once and any(trade.extensions is not None and trade.extensions.id == name for trade in self._ledger.open_trades()):
            return "CLIENT_TRADE_ID_ALREADY_EXISTS"
        if self._ledger.fifo and self._out_of_turn(asked, symbol, size, close):
            return "FIFO_VIOLATION"
        if asked.type in _OF_TRADES:
            return ""
        if at_once and self._ledger.margin(now_ns, symbol, size) > max(self._ledger.nav(now_ns), self._ledger.margin(now_ns)):
            return "INSUFFICIENT_MARGIN"
        price = Decimal(asked.price) if asked.type != "MARKET" else self._exchange.mark(symbol, now_ns)
        sign = 1 if size > 0 else -1
        if asked.stopLossOnFill is not None and asked.stopLossOnFill.price and (Decimal(asked.stopLossOnFill.price) - price) * sign >= 0:
            return "STOP_LOSS_ON_FILL_LOSS"
        if asked.takeProfitOnFill is not None and (Decimal(asked.takeProfitOnFill.price) - price) * sign <= 0:
            return "TAKE_PROFIT_ON_FILL_LOSS"
        return ""

    def _out_of_turn(self, asked: wire.OrderRequest, symbol: str, size: Decimal, close: Mapping[str, wire.Closeout] | None) -> bool:
        """Whether it would close a trade before an older one, or have trades of one size end differently: US accounts may neither."""
        trades = self._ledger.open_trades(symbol)
        ended = next((one.tradeID for one in (close or {}).values()), "")
        if ended and trades[0].id != ended:
            return True
        if asked.type in _OF_TRADES:
            trade = self._ledger.trades[asked.tradeID]
            exits = self._exits(trade) | {asked.type: asked.price or asked.distance}
        else:
            trade = None
            given = {kind: getattr(asked, name) for name, kind in _ON_FILL.items()}
            exits = {kind: exit_.price or exit_.distance for kind, exit_ in given.items() if exit_ is not None}
        alike = [one for one in trades if one is not trade and abs(one.units) == abs(size) and one.units * size * (1 if trade is None else -1) > 0]
        return any(self._exits(one) != exits for one in alike)

    def _exits(self, trade: SimTrade) -> dict[str, str]:
        """Where a trade's orders wait."""
        waiting = {kind: self._pending.get(order_id) for kind, order_id in trade.orders.items()}
        return {kind: placed.asked.price or placed.asked.distance for kind, placed in waiting.items() if placed is not None}

    def close_out(self, now_ns: int) -> None:
        """Everything that can be traded, as OANDA does where the worth is half of the margin."""
        for symbol in sorted({trade.symbol for trade in self._ledger.open_trades()}):
            for sign in (1, -1):
                held = self._ledger.held(symbol, sign)
                if held and self._exchange.market.listings[symbol].sessions.is_open(now_ns):
                    asked = wire.OrderRequest(
                        type="MARKET", instrument=symbol, units=units(-sign * held), timeInForce="IOC", positionFill="REDUCE_ONLY"
                    )
                    why = {"marginCloseout": wire.Closeout(reason="MARGIN_CHECK_VIOLATION")}
                    self._make(asked, now_ns, reason="MARGIN_CLOSEOUT", close=why)

    def _ticket(self, placed: Placed, symbol: str, qty: Decimal) -> Ticket:
        asked = placed.asked
        side = Side.BUY if placed.units > 0 else Side.SELL
        price = Decimal(asked.price) if asked.price else None
        ord_type = {"MARKET": OrdType.MARKET, "LIMIT": OrdType.LIMIT, "TAKE_PROFIT": OrdType.LIMIT}.get(asked.type, OrdType.STOP)
        if asked.type == "MARKET_IF_TOUCHED" and price is not None and (price - self._exchange.mark(symbol, placed.created_ns)) * side.sign < 0:
            ord_type = OrdType.LIMIT  # the price has to come to it: what it meets there is what a market order would
        if asked.type == "TRAILING_STOP_LOSS":
            ord_type = OrdType.TRAILING_STOP
        return Ticket(
            symbol=symbol,
            cl_ord_id=placed.client_id,
            side=side,
            ord_type=ord_type,
            time_in_force=_TIF[asked.timeInForce],
            qty=qty,
            price=price if ord_type is OrdType.LIMIT else None,
            stop_px=price if ord_type is OrdType.STOP else None,
            trail_px=Decimal(asked.distance) if ord_type is OrdType.TRAILING_STOP else None,
            collar=Decimal(asked.priceBound) if asked.priceBound and ord_type is OrdType.STOP else None,
            opening=True,  # margin is looked at here, and nothing is held back
        )

    def _drop(self, placed: Placed, now_ns: int) -> None:
        assert placed.order is not None
        self._exchange.cancel(placed.order, now_ns)
        self.settle(now_ns)

    # -- what the exchange says ------------------------------------------------------------------------------------------------------------------

    def settle(self, now_ns: int) -> None:
        """Until nothing more comes of anything."""
        while True:
            self._exchange.advance(now_ns)
            events = [event for event in self._exchange.take_events() if isinstance(event, Event)]
            for event in events:
                self._take(event)
            moved, self._moved = self._moved, set()
            for symbol in sorted(moved):
                self._fit(symbol, now_ns)
            if not events and not moved:
                return

    def lapse(self, now_ns: int) -> None:
        """Orders whose time is over."""
        for placed in [one for one in self._pending.values() if one.gtd_ns and one.gtd_ns <= now_ns]:
            placed.end = "TIME_IN_FORCE_EXPIRED"
            self._drop(placed, now_ns)

    def next_lapse_ns(self) -> int | None:
        return min((placed.gtd_ns for placed in self._pending.values() if placed.gtd_ns), default=None)

    def _take(self, event: Event) -> None:
        placed = self.placed.get(event.order.order_id)
        if placed is None:
            return
        match event.exec_type:
            case ExecType.TRADE:
                self._fill(placed, event)
            case ExecType.CANCELED:
                at_once = "INSUFFICIENT_LIQUIDITY" if placed.asked.type == "MARKET" else "TIME_IN_FORCE_EXPIRED"
                self._end(placed, placed.end or at_once, event.transact_ns)
            case ExecType.EXPIRED:
                self._end(placed, "TIME_IN_FORCE_EXPIRED", event.transact_ns)

    def _end(self, placed: Placed, reason: str, now_ns: int) -> None:
        if placed.state == "FILLED":
            return
        entry = self._log.write(
            "ORDER_CANCEL",
            now_ns,
            orderID=placed.id,
            clientOrderID=placed.client_id,
            reason=reason,
            replacedByOrderID=placed.replaced_by if reason == "CLIENT_REQUEST_REPLACED" else "",
        )
        placed.state, placed.cancel_id, placed.cancel_ns = "CANCELLED", entry.id, now_ns
        self._pending.pop(placed.id, None)

    def _fill(self, placed: Placed, event: Event) -> None:
        done, asked, now_ns = event.execution, placed.asked, event.transact_ns
        assert done is not None
        qty, price, fee = done.side.sign * done.qty, done.price, ZERO
        if asked.guaranteed:
            price = Decimal(asked.price)
            fee = self._ledger.better(done.symbol, qty, done.price, price, now_ns)
        told = self._ledger.fill(
            done.exec_id,
            done.symbol,
            qty,
            price,
            now_ns,
            only=placed.trade_id,
            opens=asked.positionFill == "OPEN_ONLY" or (asked.positionFill == "DEFAULT" and self._ledger.hedging),
            extensions=asked.tradeClientExtensions,
        )
        placed.filled += done.qty
        placed.fill_id, placed.fill_ns = done.exec_id, now_ns
        opened, reduced, closed = told.get("tradeOpened"), told["tradeReduced"], told["tradesClosed"]
        placed.opened_id = opened.tradeID if isinstance(opened, wire.TradeChange) else ""
        placed.reduced_id = reduced.tradeID if isinstance(reduced, wire.TradeChange) else ""
        placed.closed_ids = tuple(change.tradeID for change in closed if isinstance(change, wire.TradeChange)) if isinstance(closed, list) else ()
        rate = self._ledger.rate(self._universe.pairs[done.symbol].money, now_ns)
        self._log.write(
            "ORDER_FILL",
            now_ns,
            number=done.exec_id,
            orderID=placed.id,
            clientOrderID=placed.client_id,
            instrument=done.symbol,
            units=units(qty),
            price=self._ledger.shown(done.symbol, price),
            fullVWAP=self._ledger.shown(done.symbol, price),
            reason=_FILLED_AS.get(placed.reason, f"{asked.type}_ORDER"),
            financing=money(ZERO),
            commission=money(ZERO),
            guaranteedExecutionFee=money(fee),
            accountBalance=money(self._ledger.balance()),
            gainQuoteHomeConversionFactor=units(rate),
            lossQuoteHomeConversionFactor=units(rate),
            **told,
        )
        if event.order.ord_status is OrdStatus.FILLED:
            placed.state = "FILLED"
            self._pending.pop(placed.id, None)
        if placed.opened_id:
            self._guard(placed, self._ledger.trades[placed.opened_id], now_ns)
        self._moved.add(done.symbol)

    def _guard(self, entry: Placed, trade: SimTrade, now_ns: int) -> None:
        """The exits that the order asked for, for the trade that it has opened."""
        for name, kind in _ON_FILL.items():
            exit_: wire.OnFill | None = getattr(entry.asked, name)
            if exit_ is None:
                continue
            price = exit_.price
            if exit_.distance and kind == "STOP_LOSS":
                price = self._ledger.shown(trade.symbol, trade.price - Decimal(exit_.distance) * (1 if trade.units > 0 else -1))
            asked = wire.OrderRequest(
                type=kind,
                tradeID=trade.id,
                price=price,
                distance=exit_.distance if kind == "TRAILING_STOP_LOSS" else "",
                timeInForce=exit_.timeInForce or "GTC",
                triggerCondition="DEFAULT",
                guaranteed=exit_.guaranteed,
                clientExtensions=exit_.clientExtensions,
            )
            placed = Placed(asked=asked, id="", units=-trade.units, created_ns=now_ns, reason="ON_FILL")
            if exit_.gtdTime:
                placed.gtd_ns = moment(exit_.gtdTime, "gtdTime")
            placed.order = self._exchange.submit(self._ticket(placed, trade.symbol, abs(trade.units)), now_ns)
            placed.id = placed.order.order_id
            self._enter(placed, trade, now_ns, orderFillTransactionID=trade.id)

    def _fit(self, symbol: str, now_ns: int) -> None:
        """What only reduces is never larger than what there is to reduce, and a trade's orders end with it."""
        for placed in list(self._pending.values()):
            order = placed.order
            reduces = placed.asked.tradeID or placed.asked.positionFill == "REDUCE_ONLY"
            if order is None or order.symbol != symbol or not reduces or order.ord_status.terminal or order.qty is None:
                continue
            room = self._reducible(placed, symbol)
            size = min(abs(placed.units), room)
            if order.ord_status is OrdStatus.PENDING_REPLACE:
                self._moved.add(symbol)  # once what is under way has arrived
            elif not room and order.ord_status is not OrdStatus.PENDING_CANCEL:
                placed.end = "LINKED_TRADE_CLOSED" if placed.asked.tradeID else "POSITION_CLOSEOUT_FAILED"
                self._exchange.cancel(order, now_ns)
            elif room and order.ord_status is OrdStatus.NEW and order.qty != size:
                self._exchange.amend(order, replace(order.ticket, qty=size, stop_px=order.stop_px), now_ns)

    def _reducible(self, placed: Placed, symbol: str) -> Decimal:
        trade = self._ledger.trades.get(placed.trade_id)
        return self._ledger.held(symbol, -1 if placed.units > 0 else 1) if trade is None else abs(trade.units)

    # -- answers ---------------------------------------------------------------------------------------------------------------------------------

    def _answer(self, placed: Placed) -> wire.Placed:
        new = sorted(self._log.round, key=lambda entry: int(entry.id))
        created = self._entry(placed.id)
        assert created is not None
        return wire.Placed(
            orderCreateTransaction=created,
            orderFillTransaction=self._entry(placed.fill_id),
            orderCancelTransaction=self._cancel_of(placed),
            relatedTransactionIDs=[entry.id for entry in new],
            lastTransactionID=new[-1].id,
        )

    def _cancel_of(self, placed: Placed) -> wire.Transaction | None:
        return self._entry(placed.cancel_id)

    def _entry(self, number: str) -> wire.Transaction | None:
        return next((entry for entry in self._log.round if entry.id == number), None)

    def _symbol(self, placed: Placed) -> str:
        return placed.asked.instrument or self._ledger.trades[placed.asked.tradeID].symbol


def _terms(asked: wire.OrderRequest, kind: type[wire.Order] | type[wire.Transaction]) -> dict[str, Any]:
    """What an order was asked for with, as far as the other message has it."""
    return {name: getattr(asked, name) for name in asked.__struct_fields__ if name in kind.__struct_fields__ and name != "type"}


def _texts(given: object) -> object:
    """The same with numbers as text."""
    if isinstance(given, dict):
        return {name: _texts(value) for name, value in given.items() if value is not None}
    return str(given) if isinstance(given, int | float) and not isinstance(given, bool) else given


def _extensions(body: bytes, name: str) -> wire.Extensions:
    """Raises Refusal: there are none in it."""
    try:
        return msgspec.convert(msgspec.json.decode(body)[name], wire.Extensions)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, KeyError, TypeError):
        raise bad(name) from None


def _field(body: bytes, name: str, default: str) -> str:
    """One field of a small body. Raises Refusal: no object."""
    try:
        given = msgspec.json.decode(body) if body else {}
        value = given.get(name, default)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, AttributeError):
        raise bad("body") from None
    return str(value)
