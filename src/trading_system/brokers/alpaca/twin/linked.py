"""The exits of Alpaca's complex orders: what bracket, OTO and OCO bring along, and the prices that they may have.

Apart from the rules of single orders. A take-profit is a limit order, a stop-loss a stop or stop-limit order, each for the whole quantity.
Sources: docs.alpaca.markets, Orders at Alpaca (bracket, OCO, OTO, "threshold on stop price of stop-loss orders"); the texts as seen on paper in 2026.
"""

from collections.abc import Iterable
from decimal import ROUND_DOWN, ROUND_UP, Decimal

import msgspec

from trading_system.brokers.alpaca.twin.forms import shown
from trading_system.brokers.alpaca.twin.rules import SubmitBody, collared, increments, parameter, rule, ticks
from trading_system.brokers.alpaca.twin.universe import Universe
from trading_system.domain.fix import Contingency, OrdType, Side
from trading_system.domain.money import plain
from trading_system.sim.exchange import Exchange, SimOrder, Ticket

_CENT = Decimal("0.01")
_MARGIN = Decimal("1.001")


class Levels(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of a group's exits, and what they are measured against: the take-profit with one base, the stop with every one of them."""

    side: Side  # of the exits
    profit_px: Decimal | None
    stop_px: Decimal | None
    profit_base: Decimal | None
    stop_bases: tuple[Decimal, ...]

    def check(self) -> None:
        """Raises Refusal."""
        sell = self.side is Side.SELL
        if self.profit_px is not None and self.stop_px is not None and (self.profit_px - self.stop_px) * self.side.sign >= 0:
            raise rule(f"take_profit.limit_price must be {'>' if sell else '<'} stop_loss.stop_price")
        base = self.profit_base
        if self.profit_px is not None and base is not None and (self.profit_px - base) * -self.side.sign < _CENT:
            text = ">= base_price + 0.01" if sell else "<= base_price - 0.01"
            raise rule(f"take_profit.limit_price must be {text}", base_price=shown(base))
        if self.stop_px is not None:
            for base in self.stop_bases:
                self._stop(self.stop_px, base, sell=sell)

    @staticmethod
    def _stop(stop_px: Decimal, base: Decimal, *, sell: bool) -> None:
        bound = (base / _MARGIN).quantize(_CENT, ROUND_DOWN) if sell else (base * _MARGIN).quantize(_CENT, ROUND_UP)
        if sell and stop_px > base / _MARGIN:
            raise rule(f"stop price must not be greater than base price / 1.001 ({plain(bound)})", base_price=shown(base))
        if not sell and stop_px < base * _MARGIN:
            raise rule(f"stop price must not be less than base price * 1.001 ({plain(bound)})", base_price=shown(base))
        if abs(base - stop_px) < _CENT:
            raise rule(f"stop_loss.stop_price must be {'<= base_price - 0.01' if sell else '>= base_price + 0.01'}", base_price=shown(base))


class Linked:
    """The exits of one account's complex orders."""

    def __init__(self, universe: Universe, exchange: Exchange) -> None:
        self._universe = universe
        self._exchange = exchange

    def exits(self, body: SubmitBody, parent: Ticket, now_ns: int) -> list[Ticket]:
        """The orders that come along with `parent`, the take-profit first. An OCO's take-profit is the parent itself. Raises Refusal."""
        alone = parent.contingency is Contingency.OCO
        side = parent.side if alone else parent.side.opposite
        profit_px = None if body.take_profit is None else body.take_profit.limit_price
        stop_px, limit = (None, None) if body.stop_loss is None else (body.stop_loss.stop_price, body.stop_loss.limit_price)
        self._grid(parent.symbol, (("take_profit.limit_price", profit_px), ("stop_loss.stop_price", stop_px), ("stop_loss.limit_price", limit)))
        entry_px = parent.price if not alone and parent.ord_type is OrdType.LIMIT else None
        self._levels(parent.symbol, side, profit_px, stop_px, entry_px, now_ns, alone=alone).check()
        tickets = []
        if profit_px is not None and not alone:
            tickets.append(self._exit(parent, side, OrdType.LIMIT, profit_px, None))
        if stop_px is not None:
            tickets.append(self._exit(parent, side, OrdType.STOP if limit is None else OrdType.STOP_LIMIT, limit, stop_px))
        return tickets

    def _grid(self, symbol: str, prices: Iterable[tuple[str, Decimal | None]]) -> None:
        for name, price in prices:
            if price is not None and price <= 0:
                raise parameter(f"{name} must be > 0")
            increments(name, price, ticks(self._universe.assets[symbol]))

    def _levels(
        self, symbol: str, side: Side, profit_px: Decimal | None, stop_px: Decimal | None, entry_px: Decimal | None, now_ns: int, *, alone: bool
    ) -> Levels:
        """The base is the entry's limit, for OCO that of the take-profit; for the stop it is the market too, for the take-profit of an entry without
        a limit it is the market alone."""
        market = self._exchange.mark(symbol, now_ns)
        limit = profit_px if alone else entry_px
        return Levels(
            side=side,
            profit_px=profit_px,
            stop_px=stop_px,
            profit_base=None if alone else entry_px or market,
            stop_bases=(market,) if limit is None else (limit, market),
        )

    def _exit(self, parent: Ticket, side: Side, ord_type: OrdType, price: Decimal | None, stop_px: Decimal | None) -> Ticket:
        return msgspec.structs.replace(
            parent,
            cl_ord_id=self._exchange.new_id(),
            side=side,
            ord_type=ord_type,
            price=price,
            stop_px=stop_px,
            collar=collared(ord_type, side, stop_px, self._exchange.market.listings[parent.symbol].unit),
            opening=False,
        )

    def check_replacement(self, order: SimOrder, changed: Ticket, now_ns: int) -> None:
        """A member's new prices beside those of the others. Once the entry is filled its limit measures nothing any more, and the market measures
        only a stop that is to change. Raises Refusal."""
        group = self._exchange.groups.get(order.order_id)
        if group is None or group.over:
            return
        rows = [self._exchange.orders[order_id] for order_id in group.exits]
        prices = {row.ticket.waits: row.stop_px if row.ticket.waits else row.price for row in rows}
        if order in rows:
            prices[order.ticket.waits] = changed.stop_px if order.ticket.waits else changed.price
        entry_px = None
        if group.entry is not None and not group.awake:
            entry = self._exchange.orders[group.entry]
            entry_px = (changed if entry is order else entry).price if entry.ticket.ord_type is OrdType.LIMIT else None
        alone = group.entry is None
        levels = self._levels(order.symbol, rows[0].side, prices.get(False), prices.get(True), entry_px, now_ns, alone=alone)
        if group.awake:
            levels = msgspec.structs.replace(levels, profit_base=None)
        if not order.ticket.waits:
            levels = msgspec.structs.replace(levels, stop_bases=levels.stop_bases[:-1])
        levels.check()
