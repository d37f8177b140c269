"""What was filled of each order, part by part. Tradier names no executions: an order's row says how much is filled by now, at what average, and what
the last fill was. A part is what came between two looks; its name is the order's number and how much was filled with it. Pure."""

from collections import OrderedDict
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from trading_system.brokers.tradier import wire
from trading_system.domain.ids import ExecID
from trading_system.domain.money import ZERO, plain
from trading_system.domain.order import Order

ORDERS_MAX = 5_000  # remembered
_MONEY = Decimal("0.0001")  # what a fill of whole shares is a multiple of: the average is a fraction that was cut off
_PRICE = Decimal("0.00000001")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One execution, as far as can be told apart. cum_qty is with it."""

    exec_id: ExecID
    qty: Decimal
    price: Decimal
    cum_qty: Decimal
    at_ns: int


class Executed:
    """Every part that was told, so that no look tells it again in other words."""

    def __init__(self) -> None:
        self._parts: OrderedDict[str, list[Part]] = OrderedDict()
        self._before: dict[str, Decimal] = {}  # filled before the desk first looked: at what price nobody asked

    def recall(self, orders: Iterable[Order]) -> None:
        """What an earlier run of the desk has booked."""
        for order in orders:
            for fill in order.fills:
                parts = self._of(fill.exec_id.rpartition("-")[0])
                cum_qty = fill.qty if fill.cum_qty is None else fill.cum_qty
                if all(part.exec_id != fill.exec_id for part in parts):
                    parts.append(Part(exec_id=fill.exec_id, qty=fill.qty, price=fill.price, cum_qty=cum_qty, at_ns=fill.transact_ns))
                    parts.sort(key=lambda part: part.cum_qty)
            if order.external and order.order_id is not None and order.prior_qty:
                self._before[order.order_id] = order.prior_qty

    def learn(self, row: wire.Order, at_ns: int) -> tuple[Part, ...]:
        """All parts of an order, the oldest first. A row may say how much is filled before it says at what price."""
        name, cum_qty, average = str(row.id), row.exec_quantity or ZERO, abs(row.avg_fill_price or ZERO)
        parts = self._of(name)
        known = max((part.cum_qty for part in parts), default=self._before.get(name, ZERO))
        if cum_qty > known and average:
            for qty, price in self._split(row, name, cum_qty - known, cum_qty * average):
                known += qty
                parts.append(Part(exec_id=ExecID(f"{name}-{plain(known)}"), qty=qty, price=price, cum_qty=known, at_ns=at_ns))
        return tuple(parts)

    def _split(self, row: wire.Order, name: str, qty: Decimal, money: Decimal) -> list[tuple[Decimal, Decimal]]:
        """The last fill at its own price; what came before it and was not seen, at what is left of the money."""
        last_qty, last_px = row.last_fill_quantity or ZERO, abs(row.last_fill_price or ZERO)
        if last_px and last_qty == qty:
            return [(qty, last_px)]
        average = money / (row.exec_quantity or qty)
        spent = sum(((part.qty * part.price).quantize(_MONEY) for part in self._of(name)), self._before.get(name, ZERO) * average)
        left = money.quantize(_MONEY) - spent
        if last_px and 0 < last_qty < qty and left > last_qty * last_px:
            return [(qty - last_qty, _price((left - last_qty * last_px) / (qty - last_qty))), (last_qty, last_px)]
        return [(qty, _price(left / qty if left > 0 else average))]

    def _of(self, name: str) -> list[Part]:
        parts = self._parts.setdefault(name, [])
        self._parts.move_to_end(name)
        if len(self._parts) > ORDERS_MAX:
            self._parts.popitem(last=False)
        return parts


def _price(value: Decimal) -> Decimal:
    return Decimal(plain(value.quantize(_PRICE)))
