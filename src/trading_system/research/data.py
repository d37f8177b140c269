"""History from files: bars, quotes or trades of one or several instruments, merged in the order of time; and what instruments are like there."""

import csv
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from pathlib import Path
from random import Random

import msgspec

from trading_system.core.risk import DOLLAR_COINS
from trading_system.domain.errors import BadRequest
from trading_system.domain.hours import ALWAYS, Hours, Window, is_open
from trading_system.domain.ids import BrokerName, InstrumentID, parse_instrument
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Bar, BookSnapshot, Quote, Trade
from trading_system.domain.money import ONE, ZERO, parse_decimal
from trading_system.domain.option import is_option
from trading_system.sim.sessions import Sessions, new_york_day

Event = Bar | Quote | Trade | BookSnapshot
SECOND_NS = 1_000_000_000
LEVELS_MAX = 100  # of a book's side
INVENTED_NS = 1_577_836_800 * SECOND_NS  # 2020-01-01
_PRICES, _SIZES = ("open", "high", "low", "close", "bid_px", "ask_px", "price"), ("volume", "bid_qty", "ask_qty", "qty")
_FINE = Decimal("1e-8")
_TIMES = ("time", "timestamp", "date", "datetime", "open_ns", "transact_ns")
_CASH = {"USD", "EUR", "GBP", "JPY", "CHF", "CAD", "AUD", "NZD", "USDT", "USDC"}


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """A split (so many new for an old one) or a dividend (money for each unit), in force before the first price of its time."""

    instrument: InstrumentID
    now_ns: int
    split: Decimal | None = None
    dividend: Decimal | None = None


def read_events(path: Path, instrument: InstrumentID | None = None) -> list[Event]:
    """Everything in a CSV file with a header, or in a Parquet file. Its columns say what it holds: time with open, high, low, close (bars), with bid
    and ask (quotes), with bid1, bid1_size, ask1, ask1_size and so on (depth), or with price (trades); symbol, volume, size, bid_size, ask_size may be
    there. instrument: what it is, where no column says so.

    Raises BadRequest: names the line that cannot be read, or the column that is missing.
    """
    if path.suffix == ".parquet":
        rows: Iterable[Mapping[str, object]] = _parquet(path)
        return _events(rows, path.name, instrument)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _events(csv.DictReader(file), path.name, instrument)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"{path.name} cannot be read: {error}") from None


def _parquet(path: Path) -> Iterator[Mapping[str, object]]:
    import polars

    try:
        frame = polars.read_parquet(path)
    except (OSError, polars.exceptions.PolarsError) as error:
        raise BadRequest(f"{path.name} cannot be read: {error}") from None
    yield from frame.iter_rows(named=True)


def _events(rows: Iterable[Mapping[str, object]], name: str, instrument: InstrumentID | None) -> list[Event]:
    found: list[Event] = []
    make = None
    for line, raw in enumerate(rows, 2):
        row = {str(key).strip().lower(): value for key, value in raw.items() if key is not None}
        if make is None:
            make = _maker(row, name)
        try:
            symbol = row.get("symbol") or row.get("instrument")
            which = parse_instrument(str(symbol).strip().upper()) if symbol else instrument
            if which is None:
                raise ValueError("no column names the instrument: add symbol, or say which it is as NAME=FILE")
            found.append(make(which, row))
        except (ValueError, KeyError, TypeError) as error:
            raise BadRequest(f"{name}, line {line}: {error}") from None
    if not found:
        raise BadRequest(f"{name} holds no prices")
    return _with_periods(found, name)


def _maker(row: Mapping[str, object], name: str):  # type: ignore[no-untyped-def]
    if not any(column in row for column in _TIMES):
        raise BadRequest(f"{name} has no column of times: call it time")
    kinds = ((("open", "high", "low", "close"), _bar), (("bid1", "ask1"), _depth), (("bid", "ask"), _quote), (("price",), _trade))
    for needed, make in kinds:
        if all(column in row for column in needed):
            return make
    raise BadRequest(f"{name} has neither open, high, low, close, nor bid, ask, nor bid1, ask1, nor price among its columns: {', '.join(row)}")


def _bar(instrument: InstrumentID, row: Mapping[str, object]) -> Bar:
    first, high, low, last = (_price(row[column]) for column in ("open", "high", "low", "close"))
    if not low <= min(first, last) <= max(first, last) <= high:
        raise ValueError("high and low do not enclose open and close")
    return Bar(
        instrument=instrument, open_ns=_time(row), period_ns=0, open=first, high=high, low=low, close=last, volume=_number(row.get("volume") or 0)
    )


def _quote(instrument: InstrumentID, row: Mapping[str, object]) -> Quote:
    bid, ask, time_ns = _price(row["bid"]), _price(row["ask"]), _time(row)
    if bid > ask:
        raise ValueError(f"the bid {bid} is above the ask {ask}")
    sizes = [_number(row.get(column) or 0) for column in ("bid_size", "ask_size")]
    return Quote(instrument=instrument, bid_px=bid, bid_qty=sizes[0], ask_px=ask, ask_qty=sizes[1], transact_ns=time_ns, recv_ns=time_ns)


def _depth(instrument: InstrumentID, row: Mapping[str, object]) -> BookSnapshot:
    """Levels 1, 2 and so on of each side, the best first; an empty one ends its side."""
    bids, asks = (tuple(_levels(side, row)) for side in ("bid", "ask"))
    if not bids or not asks or bids[0][0] > asks[0][0]:
        raise ValueError("each side needs a level, and the best bid is not above the best ask")
    time_ns = _time(row)
    return BookSnapshot(instrument=instrument, bids=bids, asks=asks, transact_ns=time_ns, recv_ns=time_ns)


def _levels(side: str, row: Mapping[str, object]) -> Iterator[tuple[Decimal, Decimal]]:
    before = None
    for level in range(1, LEVELS_MAX + 1):
        price = row.get(f"{side}{level}")
        if price in (None, ""):
            return
        found = _price(price)
        if before is not None and (found - before) * (1 if side == "ask" else -1) <= 0:
            raise ValueError(f"{side}{level} is not behind {side}{level - 1}")
        before = found
        yield found, _number(row.get(f"{side}{level}_size") or 0)


def _trade(instrument: InstrumentID, row: Mapping[str, object]) -> Trade:
    time_ns = _time(row)
    return Trade(
        instrument=instrument, price=_price(row["price"]), qty=_number(row.get("size") or 1), trade_id="", transact_ns=time_ns, recv_ns=time_ns
    )


def _number(value: object) -> Decimal:
    return parse_decimal(str(value)) if not isinstance(value, float) else parse_decimal(repr(value))


def _price(value: object) -> Decimal:
    price = _number(value)
    if price <= 0:
        raise ValueError(f"{value} is no price")
    return price


def _time(row: Mapping[str, object]) -> int:
    """A day (20260102 too), an RFC 3339 time with its offset, or a number of seconds, milliseconds, microseconds or nanoseconds since 1970."""
    value = next(row[column] for column in _TIMES if column in row)
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
    else:
        text = str(value).strip()
        if text.isdecimal() and len(text) != len("20260102"):
            return _since_1970(int(text))
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            if len(text) > 10:
                raise ValueError(f"{text} has no offset: write 2026-01-02T14:30:00Z")
            moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1_000


def _since_1970(number: int) -> int:
    """Nanoseconds; of which unit the number is, its size tells: each is from 1973 on."""
    for least, unit_ns in ((10**17, 1), (10**14, 1_000), (10**11, 1_000_000), (10**8, SECOND_NS)):
        if number >= least and number * unit_ns < 1 << 63:
            return number * unit_ns
    raise ValueError(f"{number} is no time: write 2026-01-02, 2026-01-02T14:30:00Z, or seconds, milliseconds, microseconds or nanoseconds since 1970")


def _with_periods(events: list[Event], name: str) -> list[Event]:
    """In the order of time; bars as long as the shortest step between two of one instrument."""
    events.sort(key=_begins)
    steps: dict[InstrumentID, int] = {}
    last: dict[InstrumentID, int] = {}
    for event in events:
        if isinstance(event, Bar):
            before = last.get(event.instrument)
            if before is not None:
                step = event.open_ns - before
                if step == 0:
                    raise BadRequest(f"{name} has two bars of {event.instrument} at the same time ({event.open_ns} ns)")
                steps[event.instrument] = min(steps.get(event.instrument, step), step)
            last[event.instrument] = event.open_ns
    day = 86_400 * SECOND_NS
    return [msgspec.structs.replace(event, period_ns=steps.get(event.instrument, day)) if isinstance(event, Bar) else event for event in events]


def in_order(events: Iterable[Event], name: str) -> list[Event]:
    """What several files hold of one instrument. Raises BadRequest: they overlap, or their bars are of different lengths."""
    found = sorted(events, key=_begins)
    bars = [event for event in found if isinstance(event, Bar)]
    twice = next((after for before, after in pairwise(bars) if before.open_ns == after.open_ns), None)
    if twice is not None:
        raise BadRequest(f"the files have two bars of {name} at the same time ({twice.open_ns} ns): leave one of them out")
    lengths = Counter(bar.period_ns for bar in bars)
    if len([count for count in lengths.values() if count > 2]) > 1:  # two bars alone may lie around a week-end
        raise BadRequest(f"the files have bars of {name} of different lengths: give those of one length")
    least = min(lengths, default=0)
    return [msgspec.structs.replace(event, period_ns=least) if isinstance(event, Bar) and event.period_ns != least else event for event in found]


def between(events: Iterable[Event], start_ns: int | None, end_ns: int | None) -> list[Event]:
    """Those that begin in [start_ns, end_ns)."""
    low, high = -1 if start_ns is None else start_ns, 1 << 63 if end_ns is None else end_ns
    return [event for event in events if low <= _begins(event) < high]


def adjusted(streams: Sequence[Sequence[Event]], actions: Sequence[Action]) -> tuple[Sequence[Sequence[Event]], list[Action]]:
    """Everything in units of after the last split, as a chart shows it: what was before one costs so much less, and there was so much more of it.
    Gives the prices, and the dividends, which are by then the only actions left."""
    splits = [action for action in actions if action.split is not None]
    dividends = [action for action in actions if action.dividend is not None]
    if splits:
        streams = [[_in_new_units(event, _ratio(splits, event.instrument, _begins(event))) for event in stream] for stream in streams]
        ratios = [_ratio(splits, paid.instrument, paid.now_ns) for paid in dividends]
        dividends = [msgspec.structs.replace(paid, dividend=(paid.dividend or ZERO) / ratio) for paid, ratio in zip(dividends, ratios, strict=True)]
    return streams, dividends


def _ratio(splits: Iterable[Action], instrument: InstrumentID, now_ns: int) -> Decimal:
    """How many of today's one of then is."""
    return math.prod((action.split or ONE for action in splits if action.instrument == instrument and action.now_ns > now_ns), start=ONE)


def _in_new_units(event: Event, ratio: Decimal) -> Event:
    if ratio == ONE:
        return event
    if isinstance(event, BookSnapshot):
        sides = [tuple(((px / ratio).quantize(_FINE), qty * ratio) for px, qty in side) for side in (event.bids, event.asks)]
        return msgspec.structs.replace(event, bids=sides[0], asks=sides[1])
    prices = {name: (px / ratio).quantize(_FINE) for name in _PRICES if (px := getattr(event, name, None)) is not None}
    sizes = {name: qty * ratio for name in _SIZES if (qty := getattr(event, name, None)) is not None}
    return msgspec.structs.replace(event, **prices, **sizes)


def _begins(event: Event) -> int:
    return event.open_ns if isinstance(event, Bar) else event.transact_ns


def merged(streams: Sequence[Sequence[Event]]) -> Iterator[list[Event]]:
    """Groups of what begins at the same time: bars together, quotes and trades one by one."""
    everything = iter(streams[0]) if len(streams) == 1 else heapq.merge(*streams, key=_begins)
    for _, group in groupby(everything, key=lambda event: (_begins(event), event.period_ns if isinstance(event, Bar) else 0)):
        found = list(group)
        if isinstance(found[0], Bar):
            yield found
        else:
            yield from ([event] for event in found)


def write_bars(path: Path, bars: Sequence[Mapping[str, object]]) -> None:
    """Bars as the desk shows them into a file that read_events reads. Raises BadRequest: it cannot be written."""
    rows = [
        {
            "time": str(bar["open_ns"]),
            "symbol": str(bar["instrument"]),
            **{name: str(bar[name]) for name in ("open", "high", "low", "close", "volume")},
        }
        for bar in bars
    ]
    try:
        if path.suffix == ".parquet":
            import polars

            polars.DataFrame(rows).write_parquet(path)
            return
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise BadRequest(f"{path.name} was not written: {error}") from None


def read_actions(path: Path) -> list[Action]:
    """Splits and dividends from a CSV file with the columns time, symbol, and split or dividend. Raises BadRequest: names the line."""
    found = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, raw in enumerate(csv.DictReader(file), 2):
                row = {str(key).strip().lower(): value for key, value in raw.items() if key is not None}
                try:
                    split, dividend = (_number(row[name]) if row.get(name) else None for name in ("split", "dividend"))
                    if (split is None) == (dividend is None) or (split is not None and split <= 0):
                        raise ValueError("give a split above 0 or a dividend, one of both")
                    symbol = parse_instrument(str(row.get("symbol") or "").strip().upper())
                    found.append(Action(instrument=symbol, now_ns=_time(row), split=split, dividend=dividend))
                except (ValueError, StopIteration) as error:
                    raise BadRequest(f"{path.name}, line {line}: {error}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"{path.name} cannot be read: {error}") from None
    return sorted(found, key=lambda action: action.now_ns)


def invented(instrument: InstrumentID, days: int, seed: int, period_ns: int = 86_400 * SECOND_NS) -> list[Event]:
    """Bars that never were: a seeded random walk of a fifth a year, with fat tails and no trend. To try things out, and to see what luck looks like.

    A bar's moves are normal with a variance of its own (Student's t with four degrees in all); how far it went in between is what a Brownian path
    between its ends does, so that a stop at its price is as fair as the walk.
    """
    rng = Random(f"{seed}/{instrument}")  # noqa: S311 a simulation
    count = max(1, days * 86_400 * SECOND_NS // period_ns)
    deviation = 0.2 * math.sqrt(period_ns / (365 * 86_400 * SECOND_NS))
    price, found = 100.0, list[Event]()
    for place in range(count):
        variance = deviation**2 * 2 / (-2 * math.log((1 - rng.random()) * (1 - rng.random())))
        moved = rng.gauss(-variance / 2, math.sqrt(variance))  # the price itself goes nowhere on average
        up, down = ((sign * moved + math.sqrt(moved**2 - 2 * variance * math.log(1 - rng.random()))) / 2 for sign in (1, -1))
        opened, high, low, price = price, price * math.exp(up), price * math.exp(-down), price * math.exp(moved)
        shown = [Decimal(f"{value:.4f}") for value in (opened, high, low, price)]
        found.append(
            Bar(
                instrument=instrument,
                open_ns=INVENTED_NS + place * period_ns,
                period_ns=period_ns,
                open=shown[0],
                high=max(shown),
                low=min(shown),
                close=shown[3],
                volume=Decimal(rng.randint(100_000, 1_000_000)),
            )
        )
    return found


def span_of(events: Sequence[Event]) -> tuple[int, int]:
    """When the first of them begins and the last one ends."""
    last = events[-1]
    return _begins(events[0]), last.open_ns + last.period_ns if isinstance(last, Bar) else last.transact_ns


def session_hours(kind: str, start_ns: int, end_ns: int) -> Hours:
    """New York's stock hours ("us"), forex's week ("forex") or none ("always") from a day before the first price to a day after the last."""
    if kind == "always":
        return ALWAYS
    sessions, day = Sessions(kind), new_york_day(start_ns) - timedelta(days=1)
    windows, extended = [], []
    while day <= new_york_day(end_ns) + timedelta(days=1):
        session = sessions.on(day)
        if session is not None:
            windows.append(Window(session.open_ns, session.close_ns))
            extended.append(Window(session.early_ns, session.late_ns))
        day += timedelta(days=1)
    return Hours(windows=tuple(windows), extended=tuple(extended), known_until_ns=end_ns + 86_400 * SECOND_NS)


def within_hours(events: Iterable[Event], hours: Hours) -> list[Event]:
    """Those that begin while it trades: before and after the session there is little to be had."""
    return [event for event in events if is_open(hours, _begins(event))]


def instrument_of(
    broker: BrokerName, name: InstrumentID, tick: Decimal | None = None, lot: Decimal | None = None, hours: Hours = ALWAYS
) -> Instrument:
    """What an instrument is like on history: its class by its name, fractions of coins and whole shares, traded whenever the data has prices, or in
    those hours. A coin that stands for a dollar is one.

    Raises BadRequest: an option; its market is not in such data. An inverse swap: it pays in coins, which this account does not keep.
    """
    if is_option(name):
        raise BadRequest(f"{name} is an option: backtests know shares, coins, swaps and currencies")
    base, pair, quote = name.partition("/")
    swap = bool(pair) and base.endswith("-PERP")
    if swap and quote == "USD":
        raise BadRequest(f"{name} is an inverse swap, which pays in coins: backtest it as {base}/USDT, on the same prices")
    forex = bool(pair) and base in _CASH and quote in _CASH
    asset_class = AssetClass.FOREX if forex else AssetClass.PERPETUAL if swap else AssetClass.CRYPTO if pair else AssetClass.EQUITY
    steps = tick or (Decimal("0.00001") if forex else Decimal("0.01"))
    lots = lot or (Decimal("0.000001") if asset_class.is_crypto else Decimal(1))
    return Instrument(
        id=name,
        broker=broker,
        symbol=name,
        asset_class=asset_class,
        base=base.removesuffix("-PERP") if pair else name,
        currency="USD" if not pair or quote in DOLLAR_COINS else quote,
        ticks=(TickBand(ZERO, steps),),
        lot=lots,
        whole_lot=lots,
        hours=hours,
        shortable=asset_class is not AssetClass.CRYPTO,
    )
