"""Order lists: OCO, and orders that wait for a working one (OTO, OTOCO). What they do to one another is the exchange's.

A waiting order holds nothing before the working one is filled whole, and is refused then where there is too little: the fee has left what was bought.
The first fill of an exit, or its stop going off, ends the other. Left out: lists that buy to close, OPO, the price rules of exits that wait.
Source: github.com/binance/binance-spot-api-docs, rest-api.md (order lists); academy.binance.com on OCO ("partially executed").
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from trading_system.brokers.binance import facts, wire
from trading_system.brokers.binance.twin.forms import MS, Params, Refusal, client_id, integer, limit, missing, rejected
from trading_system.sim.exchange import SimOrder, Ticket

if TYPE_CHECKING:
    from trading_system.brokers.binance.twin.trading import TradingDesk

_FIELDS = {
    "Type": "type",
    "Side": "side",
    "Quantity": "quantity",
    "Price": "price",
    "StopPrice": "stopPrice",
    "TrailingDelta": "trailingDelta",
    "TimeInForce": "timeInForce",
    "ClientOrderId": "newClientOrderId",
}
_WORKING = ("LIMIT", "LIMIT_MAKER")
_UNKNOWN = Refusal(400, -2018, "Order list does not exist.")


class Listed(msgspec.Struct):
    """One list. told: the last status that the account's stream has heard."""

    number: int
    contingency: str
    name: str
    symbol: str
    members: list[str]
    placed_ns: int
    told: str = ""


class OrderLists:
    """The lists of one account."""

    def __init__(self, desk: "TradingDesk") -> None:
        self._desk = desk
        self._lists: dict[int, Listed] = {}
        self._quiet: list[Listed] = []  # whose last word has not been told

    # -- what is asked -----------------------------------------------------------------------------------------------------------------------------

    def oco(self, params: Params, now_ns: int) -> object:
        common = {name: params[name] for name in ("symbol", "side", "quantity") if name in params}
        return self._place("OCO", params, None, self._pair(params, "above", "below", common), now_ns)

    def oto(self, params: Params, now_ns: int) -> object:
        return self._place("OTO", params, _part(params, "working"), [_part(params, "pending")], now_ns)

    def otoco(self, params: Params, now_ns: int) -> object:
        common = {**_part(params, "pending"), "symbol": params.get("symbol", "")}
        return self._place("OTO", params, _part(params, "working"), self._pair(params, "pendingAbove", "pendingBelow", common), now_ns)

    @staticmethod
    def _pair(params: Params, above: str, below: str, common: Params) -> Sequence[Params]:
        """Two exits, of which the one on the market's good side rests and the other waits. Raises Refusal."""
        parts = [{**common, **_part(params, name)} for name in (above, below)]
        for part, name in zip(parts, (above, below), strict=True):
            if not part.get("type"):
                raise missing(f"{name}Type")
        if common.get("side") == "BUY":
            raise rejected("Unsupported order combination")
        if parts[0]["type"] != "LIMIT_MAKER" and parts[1]["type"] == "LIMIT_MAKER":
            raise Refusal(400, -1166, "A limit order in a sell OCO must be above.")
        if all(part["type"] == "LIMIT_MAKER" for part in parts):
            raise Refusal(400, -1168, "At least one OCO order must be contingent.")
        if parts[0]["type"] != "LIMIT_MAKER":
            raise rejected("Unsupported order combination")
        return parts

    def _place(self, contingency: str, params: Params, working: Params | None, exits: Sequence[Params], now_ns: int) -> object:
        """Everything is checked before anything is placed. Raises Refusal."""
        if working is not None:
            if working.get("type") not in _WORKING:
                raise Refusal(400, -1116, "Invalid orderType.")
            if working.get("side") != "BUY" or any(part.get("side") != "SELL" for part in exits):
                raise rejected("Unsupported order combination")
        desk, later = self._desk, working is not None
        entry = None if working is None else desk.ticket(working, now_ns)
        tickets = [msgspec.structs.replace(desk.ticket(part, now_ns, later=later), opening=False) for part in exits]
        self._check_names([ticket for ticket in (entry, *tickets) if ticket is not None])
        if len(tickets) == 2:
            profit_px, stop_px = tickets[0].price, tickets[1].stop_px
            if profit_px is not None and stop_px is not None and profit_px <= stop_px:
                raise rejected("The relationship of the prices for the orders is not correct.")
        desk.count(now_ns, len(tickets) + later)
        group = desk.exchange.submit_linked(entry, tickets, now_ns, late=True, exclusive=True)
        number = int(desk.exchange.new_id())
        name = client_id(params, "listClientOrderId") or f"l{number}"
        listed = self._lists[number] = Listed(number, contingency, name, tickets[0].symbol, list(group.members), now_ns)
        self._quiet.append(listed)
        for order_id, part in zip(group.members, exits if working is None else [working, *exits], strict=True):
            desk.list_of[order_id] = number
            desk.enter(desk.exchange.orders[order_id], part, now_ns)
        rows = {order_id: desk.placed_row(desk.exchange.orders[order_id]) for order_id in listed.members[later:]}
        desk.settle(now_ns)
        alone = len(tickets) == len(listed.members)  # exits that wait are told as they were laid down, whatever has happened since
        return self.shown(number, lambda order: desk.placed_row(order) if alone else rows.get(order.order_id) or desk.placed_row(order))

    @staticmethod
    def _check_names(tickets: list[Ticket]) -> None:
        names = [ticket.cl_ord_id for ticket in tickets]
        if len(set(names)) < len(names):
            raise rejected("Duplicate order sent.")

    def cancel_list(self, params: Params, now_ns: int) -> object:
        self._desk.data.symbol(params)
        listed = self._find(params, "listClientOrderId")
        alive = [order for order in self._orders(listed) if not order.ord_status.terminal] if listed is not None else []
        if listed is None or not alive:
            raise Refusal(400, -2011, "Unknown order list sent.")
        self._desk.cancel({"symbol": listed.symbol, "orderId": alive[0].order_id}, now_ns)
        return self.shown(listed.number, self._desk.cancelled)

    def order_list(self, params: Params, now_ns: int) -> object:
        listed = self._find(params, "origClientOrderId")
        if listed is None:
            raise _UNKNOWN
        return self.shown(listed.number)

    def open_order_lists(self, params: Params, now_ns: int) -> object:
        return [self.shown(listed.number) for listed in self._lists.values() if not self._over(listed)]

    def all_order_lists(self, params: Params, now_ns: int) -> object:
        first = integer(params, "fromId") or 0
        found = [listed.number for listed in self._lists.values() if listed.number >= first]
        return [self.shown(number) for number in found[-limit(params, 500, facts.ROWS_MAX) :]]

    def _find(self, params: Params, by_name: str) -> Listed | None:
        number, name = integer(params, "orderListId"), client_id(params, by_name)
        if number is None and not name:
            raise missing("orderListId")
        if number is not None:
            return self._lists.get(number)
        return next((listed for listed in reversed(self._lists.values()) if listed.name == name), None)

    # -- how it is shown ---------------------------------------------------------------------------------------------------------------------------

    def _orders(self, listed: Listed) -> list[SimOrder]:
        return [self._desk.exchange.orders[order_id] for order_id in listed.members]

    def _over(self, listed: Listed) -> bool:
        return all(order.ord_status.terminal for order in self._orders(listed))

    def shown(self, number: int, report: Callable[[SimOrder], wire.Order | None] | None = None) -> wire.OrderList:
        """A list, with what became of its orders where something was asked for."""
        listed = self._lists[number]
        over, orders = self._over(listed), self._orders(listed)
        return wire.OrderList(
            order_list_id=number,
            contingency_type=listed.contingency,
            list_status_type="ALL_DONE" if over else "EXEC_STARTED",
            list_order_status="ALL_DONE" if over else "EXECUTING",
            list_client_order_id=listed.name,
            transaction_time=listed.placed_ns // MS,
            symbol=listed.symbol,
            orders=[wire.ListedOrder(symbol=order.symbol, order_id=int(order.order_id), client_order_id=order.cl_ord_id) for order in orders],
            order_reports=None if report is None else [row for order in orders if (row := report(order)) is not None],
        )

    def news(self, now_ms: int) -> list[wire.ListStatus]:
        """What lists the account's stream has to be told of: that they began, and that they are over."""
        found = []
        for listed in list(self._quiet):
            for status in ("EXEC_STARTED", "ALL_DONE"):
                if (status == "EXEC_STARTED" and not listed.told) or (status == "ALL_DONE" and listed.told == "EXEC_STARTED" and self._over(listed)):
                    listed.told = status
                    found.append(self._status(listed, status, now_ms))
            if listed.told == "ALL_DONE":
                self._quiet.remove(listed)
        return found

    def _status(self, listed: Listed, status: str, now_ms: int) -> wire.ListStatus:
        return wire.ListStatus(
            event="listStatus",
            event_time=now_ms,
            symbol=listed.symbol,
            order_list_id=listed.number,
            contingency_type=listed.contingency,
            list_status_type=status,
            list_order_status="EXECUTING" if status == "EXEC_STARTED" else "ALL_DONE",
            reject_reason="NONE",
            list_client_order_id=listed.name,
            transact_time=now_ms,
            orders=[
                wire.ListStatusOrder(symbol=order.symbol, order_id=int(order.order_id), client_order_id=order.cl_ord_id)
                for order in self._orders(listed)
            ],
        )


def _part(params: Params, prefix: str) -> dict[str, str]:
    """The parameters of one order, by the names that they have where it is alone."""
    found: Mapping[str, str] = {theirs: params[prefix + name] for name, theirs in _FIELDS.items() if prefix + name in params}
    return {"symbol": params.get("symbol", ""), **found}
