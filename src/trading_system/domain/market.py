"""Market data as it reaches strategies, the gate and the screen. Prices per unit, sizes in units."""

from decimal import Decimal

import msgspec

from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.money import ZERO


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """Best bid and offer. A side nobody quotes is None, never 0."""

    instrument: InstrumentID
    bid_px: Decimal | None
    bid_qty: Decimal
    ask_px: Decimal | None
    ask_qty: Decimal
    transact_ns: int  # the broker's time
    recv_ns: int

    @property
    def mid(self) -> Decimal | None:
        """Halfway between bid and offer; None unless both stand and do not cross."""
        if self.bid_px is None or self.ask_px is None or self.bid_px > self.ask_px:
            return None
        return (self.bid_px + self.ask_px) / 2

    def touch(self, side: Side) -> Decimal | None:
        """The price that an order of this side meets: the offer for a buy, the bid for a sell."""
        return self.ask_px if side is Side.BUY else self.bid_px


class BookSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The best levels of a book, best first, each as (price, quantity)."""

    instrument: InstrumentID
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]
    transact_ns: int  # the broker's time, or ours where it names none
    recv_ns: int


class Trade(msgspec.Struct, frozen=True, kw_only=True):
    instrument: InstrumentID
    price: Decimal
    qty: Decimal
    trade_id: str
    transact_ns: int
    recv_ns: int


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """open_ns is the start of the bar; it covers [open_ns, open_ns + period_ns)."""

    instrument: InstrumentID
    open_ns: int
    period_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    vwap: Decimal = ZERO  # 0: nobody says, or nothing was traded
