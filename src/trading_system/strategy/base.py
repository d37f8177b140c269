"""The strategy's side of the desk: a class with a handler for each thing that happens, and what it may know when it does.

A strategy touches no broker. It is told of quotes, trades, bars, fills and timers, and answers with wishes (domain/signal.py), which the sizer and
the gate turn into orders or leave. The same file runs over history, on a twin, on paper and live.

    class Dip(Strategy):
        instruments, bars = ("AAPL",), "1d"

        def on_bar(self, ctx: Context, bar: Bar) -> Iterator[Wish]:
            closes = ctx.closes(bar.instrument, 20)
            if len(closes) == 20 and not ctx.position(bar.instrument) and closes[-1] < 0.95 * fmean(closes):
                yield ctx.enter(bar.instrument, Side.BUY, stop=0.02, edge=Outlook(mean=D("0.01"), deviation=D("0.03")))
            elif ctx.position(bar.instrument) and closes[-1] > fmean(closes):
                yield ctx.leave(bar.instrument)
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from trading_system.domain.fix import Side
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.money import ZERO
from trading_system.domain.signal import DAY_NS, Allocation, Edge, Outlook, Signal, Wish
from trading_system.strategy.bars import Builder, parse_period

BARS_KEPT = 1_000  # of each instrument
_NO_BARS: list[Bar] = []
_NO_CLOSES: list[float] = []
Wishes = Iterable[Wish] | Wish | None


class Filled(msgspec.Struct, frozen=True, kw_only=True, tag="filled"):
    """An execution of an order that came of this strategy's wishes."""

    instrument: InstrumentID
    side: Side
    qty: Decimal
    price: Decimal
    position: Decimal  # what it holds after it
    now_ns: int


class Held(msgspec.Struct, frozen=True, kw_only=True, tag="held"):
    """What it holds changed without an execution: a fee in kind."""

    instrument: InstrumentID
    position: Decimal
    now_ns: int


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The strategy begins, or goes on after a restart: what it holds from before."""

    positions: dict[InstrumentID, Decimal]
    now_ns: int


class Ticked(msgspec.Struct, frozen=True, kw_only=True, tag="ticked"):
    """Its timer."""

    now_ns: int


class Stopped(msgspec.Struct, frozen=True, kw_only=True, tag="stopped"):
    """It ends in good order. What it wishes for now is the last."""

    now_ns: int


Happening = Quote | Trade | Bar | Filled | Held | Started | Ticked | Stopped


_TURN_NS = 60_000_000_000  # how long a strategy without bars may take to become flat on its way to the other side


class Context:
    """What a strategy may know: the time, what it holds itself, and prices as far as they have come."""

    def __init__(self, broker: BrokerName | None = None) -> None:
        self.now_ns = 0
        self._broker = broker
        self._positions: dict[InstrumentID, Decimal] = {}
        self._quotes: dict[InstrumentID, Quote] = {}
        self._bars: dict[InstrumentID, list[Bar]] = {}
        self._closes: dict[InstrumentID, list[float]] = {}
        self._last: dict[InstrumentID, Decimal] = {}

    def position(self, instrument: str) -> Decimal:
        """Signed units that this strategy holds; what others hold at the same account is theirs."""
        return self._positions.get(InstrumentID(instrument), ZERO)

    def quote(self, instrument: str) -> Quote | None:
        """The newest, where quotes were asked for."""
        return self._quotes.get(InstrumentID(instrument))

    def price(self, instrument: str) -> Decimal | None:
        """The newest price of any kind."""
        return self._last.get(InstrumentID(instrument))

    def bars(self, instrument: str, count: int = BARS_KEPT) -> Sequence[Bar]:
        """The last bars that are over, the newest last; at most BARS_KEPT."""
        return self._bars.get(InstrumentID(instrument), _NO_BARS)[-min(count, BARS_KEPT) :]

    def closes(self, instrument: str, count: int) -> list[float]:
        """Their closing prices; fewer while there are fewer."""
        return self._closes.get(InstrumentID(instrument), _NO_CLOSES)[-min(count, BARS_KEPT) :]

    def enter(
        self,
        instrument: str,
        side: Side,
        *,
        edge: Edge | None,
        stop: float | None = None,
        target: float | None = None,
        horizon_ns: int = DAY_NS,
        text: str = "",
    ) -> Signal:
        """A signal at the market. stop, target: how far away, as fractions of the newest price. Raises ValueError: there is no price yet."""
        price = self.price(instrument)
        if price is None:
            raise ValueError(f"nothing of {instrument} has been seen yet")
        return Signal(
            instrument=InstrumentID(instrument),
            side=side,
            edge=edge,
            stop_px=None if stop is None else _away(price, -side.sign * stop),
            target_px=None if target is None else _away(price, side.sign * target),
            horizon_ns=horizon_ns,
            broker=self._broker,
            text=text,
        )

    def hold(self, instrument: str, weight: float | Decimal, text: str = "") -> Allocation:
        """Hold this fraction of equity in it."""
        return Allocation(instrument=InstrumentID(instrument), weight=Decimal(str(weight)), broker=self._broker, text=text)

    def leave(self, instrument: str, text: str = "") -> Allocation:
        """Close what this strategy holds of it."""
        return self.hold(instrument, ZERO, text)

    def take(self, event: Happening) -> None:
        """Know of something that happened."""
        match event:
            case Bar():
                self.now_ns = max(self.now_ns, event.open_ns + event.period_ns)
                name = event.instrument
                if name not in self._bars:
                    self._bars[name], self._closes[name] = [], []
                known, closes = self._bars[name], self._closes[name]
                known.append(event)
                closes.append(float(event.close))
                self._last[name] = event.close
                if len(known) >= 2 * BARS_KEPT:  # now and then, so that none is moved often
                    del known[:BARS_KEPT], closes[:BARS_KEPT]
            case Quote():
                self.now_ns = max(self.now_ns, event.transact_ns)
                self._quotes[event.instrument] = event
                if event.mid is not None:
                    self._last[event.instrument] = event.mid
            case Trade():
                self.now_ns = max(self.now_ns, event.transact_ns)
                self._last[event.instrument] = event.price
            case Filled() | Held():
                self.now_ns = max(self.now_ns, event.now_ns)
                self._positions[event.instrument] = event.position
            case Started():
                self.now_ns, self._positions = event.now_ns, dict(event.positions)
            case Ticked() | Stopped():
                self.now_ns = max(self.now_ns, event.now_ns)


def _away(price: Decimal, fraction: float) -> Decimal:
    return (price * (1 + Decimal(str(fraction)))).quantize(Decimal("1e-9"))


class Belief(msgspec.Struct, frozen=True):
    """An edge that the owner states instead of measuring it: what a trade makes on average and how far that varies, as fractions of what is held."""

    mean: float
    deviation: float

    def edge(self, side: Side) -> Outlook:
        return Outlook(mean=Decimal(f"{side.sign * self.mean:.9f}"), deviation=Decimal(f"{self.deviation:.9f}"))


class Strategy:
    """Subclass it and write the handlers you need. Each gives wishes: none, one, or several, as a list or by `yield`.

    instruments: what it is told of. bars: the length of its bars, "1m" to "1d"; "" where it wants none. quotes, trades: whether it is told of those.
    timer_s: how often on_timer is called; 0: never. history: how many bars it wants to have seen before it trades live.
    """

    instruments: Sequence[str] = ()
    bars: str = ""
    quotes: bool = False
    trades: bool = False
    timer_s: int = 0
    history: int = 0

    @property
    def name(self) -> str:
        """What its decisions are called by: the class's name, as a file's would be."""
        return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in type(self).__name__).strip("-")

    def on_start(self, ctx: Context) -> Wishes:
        return None

    def on_quote(self, ctx: Context, quote: Quote) -> Wishes:
        return None

    def on_trade(self, ctx: Context, trade: Trade) -> Wishes:
        return None

    def on_bar(self, ctx: Context, bar: Bar) -> Wishes:
        return None

    def on_fill(self, ctx: Context, fill: Filled) -> Wishes:
        return None

    def on_timer(self, ctx: Context) -> Wishes:
        return None

    def on_stop(self, ctx: Context) -> Wishes:
        return None


def same_name(name: str) -> str:
    """What two strategies of one name are refused with."""
    return f"two strategies are called {name}, by which their orders are told apart: rename the class of one, or give it a `name` of its own"


class Host:
    """One strategy with its context and its bars: an event in, wishes out. Bars of its length are made of shorter ones, of trades or of quotes."""

    def __init__(self, strategy: Strategy, broker: BrokerName | None = None) -> None:
        self.strategy = strategy
        self.ctx = Context(broker)
        self._period_ns = parse_period(strategy.bars) if strategy.bars else 0
        self._builders: dict[InstrumentID, Builder] = {}
        self._turning: dict[InstrumentID, tuple[Allocation, int]] = {}  # from long to short, or back: asked for again once it is flat

    def take(self, event: Happening) -> list[Wish]:
        """Raises what the strategy raises."""
        return self._noted(self._take(event), event.instrument if isinstance(event, Filled) else None)

    def _noted(self, wishes: list[Wish], filled: InstrumentID | None = None) -> list[Wish]:
        """With one for the other side of what has just become flat, unless a newer wish, a newer bar, or for who has none a minute came between."""
        ctx = self.ctx
        for wish in wishes:
            self._turning.pop(wish.instrument, None)
            if isinstance(wish, Allocation) and wish.weight * ctx.position(wish.instrument) < 0:
                self._turning[wish.instrument] = wish, ctx.now_ns
        if filled is None or filled not in self._turning or ctx.position(filled):
            return wishes
        turned, asked_ns = self._turning.pop(filled)
        return [*wishes, turned] if self._period_ns or ctx.now_ns - asked_ns <= _TURN_NS else wishes

    def _over(self, bar: Bar) -> list[Wish]:
        self.ctx.take(bar)
        self._turning.pop(bar.instrument, None)
        return _listed(self.strategy.on_bar(self.ctx, bar))

    def _take(self, event: Happening) -> list[Wish]:
        strategy, ctx = self.strategy, self.ctx
        match event:
            case Bar():
                if event.period_ns == self._period_ns:
                    return self._over(event)
                return self._built(self._builder(event.instrument).bar(event)) if self._period_ns else []
            case Quote():
                ctx.take(event)
                wishes = _listed(strategy.on_quote(ctx, event)) if strategy.quotes else []
                if self._period_ns and not strategy.trades and event.mid is not None:
                    wishes += self._built(self._builder(event.instrument).price(event.mid, ZERO, event.transact_ns))
                return wishes
            case Trade():
                ctx.take(event)
                wishes = _listed(strategy.on_trade(ctx, event)) if strategy.trades else []
                if self._period_ns:
                    wishes += self._built(self._builder(event.instrument).price(event.price, event.qty, event.transact_ns))
                return wishes
        ctx.take(event)
        match event:
            case Filled():
                return _listed(strategy.on_fill(ctx, event))
            case Started():
                return _listed(strategy.on_start(ctx))
            case Ticked():
                return _listed(strategy.on_timer(ctx))
            case Stopped():
                return _listed(strategy.on_stop(ctx))
            case Held():
                return []

    def passed(self, now_ns: int) -> list[Wish]:
        """Time went on and nothing came: bars that are over are told."""
        self.ctx.now_ns = max(self.ctx.now_ns, now_ns)
        return self._noted([wish for builder in tuple(self._builders.values()) for wish in self._built(builder.over(now_ns))])

    def warm(self, bar: Bar) -> None:
        """A bar of the past: known, and not acted on. A shorter one counts as a part of those that are wanted."""
        whole = bar.period_ns == self._period_ns or not self._period_ns
        for made in [bar] if whole else self._builder(bar.instrument).bar(bar):
            self.ctx.take(made)

    def _builder(self, instrument: InstrumentID) -> Builder:
        known = self._builders.get(instrument)
        if known is None:
            known = self._builders[instrument] = Builder(instrument, self._period_ns)
        return known

    def _built(self, bars: Sequence[Bar]) -> list[Wish]:
        return [wish for bar in bars for wish in self._over(bar)]


def _listed(wishes: Wishes) -> list[Wish]:
    if wishes is None:
        return []
    return [wishes] if isinstance(wishes, Signal | Allocation) else list(wishes)
