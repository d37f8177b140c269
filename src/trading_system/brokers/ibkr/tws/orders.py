"""What TWS said of orders, put together: rows by the number that never changes, executions with their fees, corrections, and changes. Pure.

TWS replays nothing, names executions and fees in two messages that come in either order, and calls a correction by a name that differs in its end.
"""

from collections import OrderedDict
from collections.abc import Container, Iterable
from typing import Any, TypeVar

from ib_async import CommissionReport, Execution
from ib_async import Contract as IbContract
from ib_async import Order as IbOrder

from trading_system.brokers.ibkr.links import PART
from trading_system.brokers.ibkr.statuses import UNCHANGED
from trading_system.brokers.ibkr.tws.codec import (
    Row,
    decode_execution,
    decode_leg,
    decode_number,
    decode_row,
    decode_whole,
    is_bag,
    is_leg,
    is_unnamed,
    name_of,
    numbers_of,
    order_name,
)
from trading_system.domain.ids import ExecID, InstrumentID, OrderID
from trading_system.domain.money import ZERO
from trading_system.domain.order import Order
from trading_system.domain.report import ExecutionReport

ROWS_MAX = 5_000
FEE_WITHIN_NS = 10_000_000_000  # so long an execution waits for its fee; IB's comes within a second
_T = TypeVar("_T")


class Orders:
    """Everything that was said, the newest last."""

    def __init__(self) -> None:
        self.rows: OrderedDict[int, Row] = OrderedDict()  # by permId
        self.legs: OrderedDict[int, InstrumentID] = OrderedDict()  # names of contracts that are legs, or may be, by conId
        self._names: OrderedDict[int, OrderID] = OrderedDict()
        self._fees: OrderedDict[str, CommissionReport] = OrderedDict()
        self._waiting: OrderedDict[str, tuple[Execution, IbContract, int]] = OrderedDict()  # executions without their fee, and since when
        self._told: OrderedDict[str, str] = OrderedDict()  # executions by what a correction leaves of their name
        self.highest = 0  # order id that was ever seen as ours

    def recall(self, orders: Iterable[Order]) -> None:
        """Names that an earlier run knew."""
        without = 0
        for order in orders:
            if order.order_id is None:
                without += 1
                continue
            try:
                perm_id, order_id = numbers_of(order.order_id)
            except ValueError:
                continue  # of another transport
            if PART not in order.order_id:
                _remember(self._names, perm_id, order.order_id)
            self.highest = max(self.highest, order_id)
        self.highest += without

    def name(self, perm_id: int, order_id: int) -> OrderID:
        """What an order is called: as it was called first."""
        if perm_id not in self._names:
            _remember(self._names, perm_id, order_name(perm_id, order_id))
        return self._names[perm_id]

    def find(self, name: OrderID) -> Row | None:
        try:
            return self.rows.get(numbers_of(name)[0])
        except ValueError:
            return None

    def placed(self, client_id: int, order_id: int) -> Row | None:
        """The newest of a client's orders with this number."""
        return next((row for row in reversed(self.rows.values()) if (row.client_id, row.order_id) == (client_id, order_id)), None)

    def parts(self, ref: str) -> list[Row]:
        """What IB holds for one of our orders."""
        return [row for row in self.rows.values() if ref and row.order.orderRef.startswith(f"{ref}{PART}")]

    # -- several legs ----------------------------------------------------------------------------------------------------------------------------

    def learn(self, contract: IbContract) -> None:
        """What a contract is called, should it be a leg's or a bond that TWS calls by its issuer."""
        if contract.conId and not is_bag(contract) and not is_unnamed(contract):
            _remember(self.legs, contract.conId, name_of(contract))

    def nameless(self, row: Row) -> list[int]:
        """Contracts of its legs, or its own, whose names have to be asked for."""
        if self.lacks(row.contract):
            return [row.contract.conId]
        return [leg.conId for leg in row.contract.comboLegs or () if leg.conId not in self.legs] if is_bag(row.contract) else []

    def lacks(self, contract: IbContract) -> bool:
        """Whether nobody has said yet what a bond is called. Else it is called so from here on."""
        name = self.legs.get(contract.conId)
        if name is not None and is_unnamed(contract):
            contract.symbol = name
        return name is None and is_unnamed(contract)

    def report(self, row: Row, recv_ns: int) -> ExecutionReport:
        """How an order stands, one of several legs with them. Raises ProtocolError: a word that we do not know. KeyError: a leg has no name yet."""
        self.lacks(row.contract)
        return decode_whole(row, self.legs, recv_ns) if is_bag(row.contract) else decode_row(row, recv_ns)

    # -- what is said ----------------------------------------------------------------------------------------------------------------------------

    def opened(self, order_id: int, contract: IbContract, order: IbOrder, status: str, now_ns: int) -> Row | None:
        """openOrder: everything but how much is filled. None: it has no number yet, or is only tried."""
        if order.permId <= 0 or order.whatIf:
            return None
        known = self.rows.get(order.permId)
        row = Row(
            perm_id=order.permId,
            order_id=order_id,
            client_id=order.clientId,
            name=self.name(order.permId, order_id),
            order=order,
            contract=contract,
            status=known.status if known is not None and status in UNCHANGED else status,
            filled=ZERO if known is None else known.filled,
            why_held="" if known is None else known.why_held,
            updated_ns=now_ns,
        )
        _remember(self.rows, order.permId, row)
        return row

    def stands(self, args: tuple[Any, ...], now_ns: int) -> Row | None:
        """orderStatus. None: of an order that was never shown."""
        order_id, status, filled, _, _, perm_id, _, _, client_id, why_held, *_ = args
        row = self.rows.get(perm_id) if perm_id > 0 else self.placed(client_id, order_id)
        if row is None:
            return None
        row.filled = max(row.filled, decode_number(filled))
        row.status, row.why_held, row.updated_ns = row.status if status in UNCHANGED else status, why_held, now_ns
        return row

    def completed(self, contract: IbContract, order: IbOrder, status: str, text: str, now_ns: int) -> Row:
        """completedOrder, which names neither order id nor client id."""
        known = self.rows.get(order.permId)
        filled = decode_number(order.filledQuantity)
        row = Row(
            perm_id=order.permId,
            order_id=0 if known is None else known.order_id,
            client_id=-1 if known is None else known.client_id,
            name=self.name(order.permId, 0),
            order=order,
            contract=contract,
            status=status,
            filled=filled if known is None else max(known.filled, filled),
            text=text,
            updated_ns=now_ns,
        )
        _remember(self.rows, order.permId, row)
        return row

    def executed(self, contract: IbContract, done: Execution, now_ns: int) -> ExecutionReport | None:
        """execDetails. None: its fee has not come, or it was told."""
        row = self.rows.get(done.permId)
        self.learn(contract)
        if row is not None:
            if not is_leg(done, contract, row):
                row.filled = max(row.filled, decode_number(done.cumQty))
            if not row.order_id:
                row.order_id, row.client_id = done.orderId, done.clientId
        if is_bag(contract) or self.lacks(contract):
            return None  # the sum of what its legs are told as; what has no name yet, the next look tells
        if done.execId in self._fees:
            return self._tell(contract, done, now_ns)
        if done.execId not in self._waiting:
            _remember(self._waiting, done.execId, (done, contract, now_ns))
        return None

    def charged(self, fee: CommissionReport, now_ns: int) -> ExecutionReport | None:
        """commissionReport, which may come first."""
        _remember(self._fees, fee.execId, fee)
        held = self._waiting.pop(fee.execId, None)
        return None if held is None else self._tell(held[1], held[0], now_ns)

    def late(self, now_ns: int) -> list[str]:
        """Executions whose fee has not come in time."""
        return [name for name, (_, _, since_ns) in self._waiting.items() if now_ns - since_ns >= FEE_WITHIN_NS]

    def without_fee(self, names: Iterable[str], now_ns: int) -> list[ExecutionReport]:
        """Those of them whose fee has still not come."""
        late = [self._waiting.pop(name) for name in names if name in self._waiting]
        return [self._tell(contract, done, now_ns) for done, contract, _ in late]

    def forget(self) -> None:
        """The connection is gone: what waited for its fee is asked for with all else."""
        self._waiting.clear()

    def _tell(self, contract: IbContract, done: Execution, now_ns: int) -> ExecutionReport:
        base = done.execId.rpartition(".")[0]
        before = self._told.get(base)
        if before is None or done.execId > before:
            _remember(self._told, base, done.execId)
        corrects = ExecID(before) if before is not None and before < done.execId else None
        return self._decode(contract, done, corrects, now_ns)

    def _decode(self, contract: IbContract, done: Execution, corrects: ExecID | None, now_ns: int) -> ExecutionReport:
        row, fee = self.rows.get(done.permId), self._fees.get(done.execId)
        if row is not None:
            self.lacks(row.contract)
        if is_leg(done, contract, row):
            return decode_leg(done, contract, fee, self.name(done.permId, done.orderId), corrects, now_ns)
        return decode_execution(done, contract, fee, row, corrects, now_ns)

    def listing(self, executions: Iterable[tuple[IbContract, Execution]], now_ns: int) -> list[ExecutionReport]:
        """Every execution of an answer, oldest first, each with its fee; one whose fee is still to come is left to the stream."""
        found: list[ExecutionReport] = []
        for contract, done in sorted(executions, key=lambda pair: (pair[1].time, pair[1].execId)):
            if is_bag(contract) or self.lacks(contract):
                continue
            base = done.execId.rpartition(".")[0]
            earlier = [one.exec_id for one in found if str(one.exec_id).rpartition(".")[0] == base]
            waits = self._waiting.get(done.execId)
            if waits is not None and done.execId not in self._fees and now_ns - waits[2] < FEE_WITHIN_NS:
                continue
            before = earlier[-1] if earlier else None
            report = self._decode(contract, done, before, now_ns)
            if report not in found:
                found.append(report)
        return found

    def keep(self, listed: Container[int], asked_ns: int) -> None:
        """What works and stands in neither list is nothing that TWS still knows; what was told of since it was asked may be."""
        for perm_id, row in tuple(self.rows.items()):
            if perm_id not in listed and row.updated_ns < asked_ns and not self.is_over(row):
                del self.rows[perm_id]

    def is_over(self, row: Row) -> bool:
        return decode_row(row, 0).ord_status.terminal


def _remember(known: "OrderedDict[Any, _T]", key: object, value: _T) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > ROWS_MAX:
        known.popitem(last=False)
