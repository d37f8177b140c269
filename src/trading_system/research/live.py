"""A run on paper or live, written down as a backtest is: the same result, and so the same figures and the same page."""

from collections.abc import Sequence
from decimal import Decimal

from trading_system.app.decide import owner_of
from trading_system.app.desk import Desk
from trading_system.core.lifecycle import Applied
from trading_system.core.risk import Halt
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.market import Bar
from trading_system.domain.money import ZERO
from trading_system.journal.record import Decided, HaltSet, Record, Reported
from trading_system.research.backtest import Fill, Result, Setup

SAMPLE_NS = 10_000_000_000  # how often the account's worth is looked at
SAMPLES_MAX = 1_000_000


class Recorder:
    """Watches a desk from now on."""

    def __init__(self, desk: Desk, broker: BrokerName) -> None:
        self._desk = desk
        self._broker = broker
        self._equity: list[tuple[int, float]] = []
        self._exposure: list[float] = []
        self._fills: list[Fill] = []
        self._decisions: dict[str, Decided] = {}
        self._halts: list[Halt] = []
        self._bars: dict[InstrumentID, list[Bar]] = {}
        self._began = self._worth()
        desk.listeners.append(self._on_record)

    async def run(self) -> None:
        """Look every so often, until cancelled."""
        while len(self._equity) < SAMPLES_MAX:
            self.sample()
            await self._desk.clock.sleep_ns(SAMPLE_NS)

    def sample(self) -> None:
        """The account as the desk knows it now, at the prices of now."""
        desk, books = self._desk, self._desk.books
        held = ZERO
        for broker, instrument in books.ledger.traded():
            mark, rate = desk.mark_px(broker, instrument), desk.rate(broker, instrument)
            if mark is not None and rate is not None:
                held += rate * desk.pricing(broker, instrument).worth(abs(books.ledger.position(broker, instrument)), mark)
        equity = self._worth()
        self._equity.append((desk.clock.now_ns(), float(equity)))
        self._exposure.append(float(held / equity) if equity > 0 else 0.0)

    def add_bar(self, bar: Bar) -> None:
        self._bars.setdefault(bar.instrument, []).append(bar)

    def result(self, strategies: Sequence[str]) -> Result:
        """What came of it so far."""
        desk = self._desk
        self.sample()
        setup = Setup(
            facts=desk.brokers[self._broker].facts,
            instruments=tuple(instrument for (broker, _), instrument in desk.instruments.items() if broker == self._broker),
            cash=self._began,
            currency=desk.base_currency,
            aims=desk.aims,
            limits=desk.limits,
        )
        return Result(
            setup=setup,
            strategies=tuple(strategies),
            equity=tuple(self._equity),
            exposure=tuple(self._exposure),
            fills=tuple(self._fills),
            decisions=tuple(self._decisions.values()),
            halts=tuple(self._halts),
            interest=ZERO,
            dividends=ZERO,
            events=len(self._equity),
            records=(),
            bars={name: tuple(bars) for name, bars in self._bars.items()},
        )

    def _worth(self) -> Decimal:
        mark = self._desk.books.mark
        return ZERO if mark is None else mark.equity

    def _on_record(self, record: Record, applied: Applied | None) -> None:
        if isinstance(record, HaltSet):
            self._halts.append(record.halt)
        elif isinstance(record, Decided):
            self._decisions[record.intent] = record
        elif isinstance(record, Reported) and applied is not None:
            for booking in applied.bookings:
                order, fill = applied.order, booking.fill
                owner = owner_of(self._desk.books, order) or ""
                self._fills.append(
                    Fill(
                        now_ns=fill.transact_ns,
                        strategy=owner,
                        instrument=order.instrument,
                        side=order.side.opposite if booking.reversal else order.side,
                        qty=fill.qty,
                        price=fill.price,
                        fee=fill.fee,
                    )
                )
