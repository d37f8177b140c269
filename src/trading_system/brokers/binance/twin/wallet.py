"""Deposits and withdrawals, as the wallet's API lists them: below /sapi, and so at the live host alone."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

from trading_system.brokers.binance import facts, wire
from trading_system.brokers.binance.twin.forms import MS, Params, Refusal, integer, limit, shown
from trading_system.sim.sessions import SECOND_NS

FEE = Decimal("0.00000001")  # of a withdrawal
_T = TypeVar("_T")
CREDITED, COMPLETED, FAILED = 1, 6, 5


class Wallet:
    """What came and went without an order."""

    def __init__(self) -> None:
        self._deposits: list[tuple[int, wire.Deposit]] = []
        self._withdrawals: list[tuple[int, wire.Withdrawal]] = []

    def book(self, asset: str, amount: Decimal, now_ns: int) -> None:
        """amount: in, or out below zero with the fee."""
        number = len(self._deposits) + len(self._withdrawals) + 1
        if amount > 0:
            row = wire.Deposit(
                id=str(769_800_519_366_000_000 + number),
                amount=shown(amount),
                coin=asset,
                network="ETH",
                status=CREDITED,
                address="0x788c",
                tx_id=f"0x{number:064x}",
                insert_time=now_ns // MS,
                transfer_type=0,
                address_tag="",
                confirm_times="12/12",
                unlock_confirm="12/12",
            )
            self._deposits.append((now_ns // MS, row))
            return
        gone = wire.Withdrawal(
            id=f"{number:032x}",
            amount=shown(-amount - FEE),
            transaction_fee=shown(FEE),
            coin=asset,
            status=COMPLETED,
            address="0x94df",
            tx_id=f"0x{number:064x}",
            apply_time=f"{datetime.fromtimestamp(now_ns // SECOND_NS, UTC):%Y-%m-%d %H:%M:%S}",
            withdraw_order_id="",
            network="ETH",
            transfer_type=0,
        )
        self._withdrawals.append((now_ns // MS, gone))

    def fail(self, number: int) -> wire.Withdrawal:
        """A withdrawal, by its place, that came to nothing."""
        row = self._withdrawals[number][1]
        row.status = FAILED
        return row

    def deposits(self, params: Params, now_ns: int) -> list[wire.Deposit]:
        return _page(self._deposits, params, now_ns)

    def withdrawals(self, params: Params, now_ns: int) -> list[wire.Withdrawal]:
        return _page(self._withdrawals, params, now_ns)


def _page(rows: list[tuple[int, _T]], params: Params, now_ns: int) -> list[_T]:
    """The newest first. Raises Refusal: more than 90 days at once."""
    end_ms = integer(params, "endTime") or now_ns // MS
    start_ms = integer(params, "startTime") or end_ms - facts.FLOWS_SPAN_NS // MS
    if (end_ms - start_ms) * MS > facts.FLOWS_SPAN_NS:
        raise Refusal(400, -1127, "More than 90 days between startTime and endTime.")
    first = integer(params, "offset") or 0
    found = [row for at_ms, row in reversed(rows) if start_ms <= at_ms <= end_ms]
    return found[first : first + limit(params, facts.ROWS_MAX, facts.ROWS_MAX)]
