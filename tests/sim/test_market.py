"""The market: a function of seed and time whose ticks, trades and bars agree; hours; recorded prices."""

from datetime import date
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_system.domain.fix import Side
from trading_system.sim.market import LOT, TICK_NS, TICKS, Listing, Market, Recording, read_recording
from trading_system.sim.sessions import DAY_NS, HOUR_NS, MINUTE_NS, Sessions, iso, new_york_day, new_york_ns, new_york_offset_ns

NOON = new_york_ns(date(2026, 11, 24), 12 * 60)  # a Tuesday
STOCK = Listing(symbol="AAPL", price=Decimal(230), unit=Decimal("0.0001"), tick=100, touch=300, sessions=Sessions())
COIN = Listing(
    symbol="BTC/USD",
    price=Decimal(95000),
    unit=Decimal("0.01"),
    volatility=0.5,
    spread=400,
    size=Decimal("0.001"),
    touch=150,
    sessions=Sessions(),
)
NIGHTLY = Listing(symbol="SPY", price=Decimal(600), unit=Decimal("0.0001"), tick=100, touch=300, sessions=Sessions("us"))


def market(seed: int = 1) -> Market:
    return Market([STOCK, COIN, NIGHTLY], seed)


@given(st.integers(0, 2**32), st.integers(0, 10**7), st.sampled_from(["AAPL", "BTC/USD"]))
@settings(max_examples=50)
def test_the_same_seed_and_time_give_the_same_market_in_any_order(seed: int, place: int, symbol: str) -> None:
    number = NOON // TICK_NS - place
    one, two = market(seed), market(seed)
    two.tick(symbol, number - 12345)

    assert one.tick(symbol, number) == two.tick(symbol, number)


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.sampled_from(["AAPL", "BTC/USD"]))
@settings(max_examples=50)
def test_a_minutes_trades_make_its_bar(seed: int, back: int, symbol: str) -> None:
    shown = market(seed)
    start = NOON - back * MINUTE_NS
    trades = list(shown.prints(symbol, start, start + MINUTE_NS))
    bar = shown.bar(symbol, start, [start // MINUTE_NS])

    assert bar is not None
    prices = [trade.price for trade in trades]
    assert (prices[0], max(prices), min(prices), prices[-1]) == (bar.open, bar.high, bar.low, bar.close)
    assert sum(trade.lots for trade in trades) == bar.volume * shown.listings[symbol].size_lots
    assert len(trades) == bar.prints
    assert bar.low <= bar.vwap <= bar.high


@given(st.integers(0, 2**32), st.integers(0, 10**7), st.sampled_from(["AAPL", "BTC/USD"]))
@settings(max_examples=50)
def test_a_tick_has_depth_on_the_grid_and_its_trade_at_the_touch(seed: int, back: int, symbol: str) -> None:
    shown = market(seed)
    listing = shown.listings[symbol]
    tick = shown.tick(symbol, NOON // TICK_NS - back)
    bids, asks = [price for price, _ in tick.bids], [price for price, _ in tick.asks]

    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    assert bids[0] < asks[0]
    assert all(price % listing.tick == 0 for price in bids + asks)
    assert all(lots > 0 and lots % listing.size_lots == 0 for _, lots in tick.bids + tick.asks)
    if tick.printed is not None:
        assert tick.printed.price == (asks[0] if tick.printed.side is Side.BUY else bids[0])


def test_the_streamed_trades_are_the_historic_ones() -> None:
    shown = market()
    first = NOON // TICK_NS
    streamed = [tick.printed for tick in (shown.tick("AAPL", first + place) for place in range(3 * TICKS)) if tick.printed is not None]

    assert streamed == list(shown.prints("AAPL", NOON, NOON + 3 * MINUTE_NS))
    assert streamed[::-1] == list(shown.prints("AAPL", NOON, NOON + 3 * MINUTE_NS, reverse=True))


def test_prices_move_about_as_much_as_the_volatility_says() -> None:
    shown = market()
    closes = [shown.minute("AAPL", NOON // MINUTE_NS - place).close for place in range(5000)]
    moves = [(later - earlier) / earlier for earlier, later in pairwise(closes)]
    deviation = (sum(move * move for move in moves) / len(moves)) ** 0.5 * 525_600**0.5

    assert 0.15 < deviation < 0.6


def test_stocks_rest_at_night_and_on_holidays() -> None:
    shown = market()
    thanksgiving = new_york_ns(date(2026, 11, 26), 12 * 60)
    quiet = shown.latest("SPY", thanksgiving)

    assert quiet.time_ns == new_york_ns(date(2026, 11, 25), 20 * 60) - TICK_NS
    assert shown.latest("SPY", thanksgiving + HOUR_NS) == quiet
    assert list(shown.prints("SPY", thanksgiving, thanksgiving + HOUR_NS)) == []
    assert shown.last_print("SPY", thanksgiving) is not None
    assert len(list(shown.minutes("SPY", thanksgiving - 2 * DAY_NS, thanksgiving))) == (8 + 16) * 60
    assert shown.last_bar("AAPL", NOON) is not None


def test_hours_of_the_us_market() -> None:
    hours = Sessions("us")
    friday = hours.on(date(2026, 11, 27))

    assert friday is not None
    assert iso(friday.open_ns) == "2026-11-27T14:30:00.000000000Z"
    assert iso(friday.close_ns) == "2026-11-27T18:00:00.000000000Z"  # early close
    assert hours.on(date(2026, 11, 26)) is None
    assert hours.on(date(2026, 11, 28)) is None
    assert hours.next(friday.open_ns).day == date(2026, 11, 30)
    assert not hours.is_open(friday.open_ns - 1)
    assert hours.is_open(friday.open_ns - 1, extended=True)
    assert hours.current_or_next(friday.close_ns).day == date(2026, 11, 30)
    with pytest.raises(ValueError, match="always"):
        Sessions("never")


@pytest.mark.parametrize(
    ("day", "offset"), [(date(2026, 3, 7), -5), (date(2026, 3, 9), -4), (date(2026, 10, 31), -4), (date(2026, 11, 2), -5), (date(2027, 7, 1), -4)]
)
def test_new_yorks_offset(day: date, offset: int) -> None:
    noon = new_york_ns(day, 12 * 60)

    assert new_york_offset_ns(noon) == offset * HOUR_NS
    assert new_york_day(noon) == day
    assert noon % DAY_NS == (12 - offset) * HOUR_NS


def test_a_day_without_end_is_as_long_as_new_yorks() -> None:
    session = Sessions().on(date(2026, 11, 1))  # clocks go back

    assert session is not None
    assert session.close_ns - session.open_ns == 25 * HOUR_NS


def test_recorded_bars_are_replayed() -> None:
    lines = [
        "time,symbol,open,high,low,close,volume",
        f"{iso(NOON)},AAPL,100.00,101.50,99.50,101.00,5000",
        f"{NOON + 2 * MINUTE_NS},AAPL,102,102,102,102,50",
    ]
    shown = Market([STOCK], 1, {"AAPL": read_recording(lines, STOCK)})
    bar = shown.bar("AAPL", NOON, [NOON // MINUTE_NS])
    prices = [trade.price for trade in shown.prints("AAPL", NOON, NOON + MINUTE_NS)]

    assert bar is not None
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (1_000_000, 1_015_000, 995_000, 1_010_000, 5000)
    assert (prices[0], max(prices), min(prices), prices[-1]) == (1_000_000, 1_015_000, 995_000, 1_010_000)
    assert shown.bar("AAPL", NOON + MINUTE_NS, [NOON // MINUTE_NS + 1]) is None  # a gap: the price holds, nothing trades
    assert shown.minute("AAPL", NOON // MINUTE_NS + 1).close == 1_010_000
    assert shown.minute("AAPL", NOON // MINUTE_NS - 9).open == 1_000_000


def test_recorded_prices_are_replayed_tick_by_tick() -> None:
    lines = [f'{{"time": {NOON + place * 2 * TICK_NS}, "price": "{100 + place}", "size": 10}}' for place in range(3)]
    recording = read_recording([*lines, ""], STOCK, jsonl=True)
    minute = recording.minute(NOON // MINUTE_NS)

    assert [minute.price(place) for place in (0, 2, 4, 200)] == [1_000_000, 1_010_000, 1_020_000, 1_020_000]
    assert (minute.open, minute.high, minute.low, minute.close, minute.volume) == (1_000_000, 1_020_000, 1_000_000, 1_020_000, 30)
    assert isinstance(recording, Recording)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2026-11-24T12:00:00,AAPL,1,1,1,1,1", "line 2: 2026-11-24T12:00:00 has no offset"),
        ("2026-11-24T12:00:00Z,AAPL,1,2,1.5,1,1", "line 2: high and low do not enclose"),
        ("2026-11-24T12:00:00Z,AAPL,1.001,2,1,1,1", "line 2: 1.001 is no price on the grid of 0.01"),
        ("2026-11-24T12:00:00Z,AAPL,x,2,1,1,1", "line 2"),
        ("2026-11-24T12:00:00Z,MSFT,1,1,1,1,1", "no prices of AAPL"),
    ],
)
def test_a_recording_that_cannot_be_read_says_where(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_recording(["time,symbol,open,high,low,close,volume", line], STOCK)


def test_a_lot_is_fine_enough_for_every_size() -> None:
    assert COIN.size_lots * LOT == COIN.size


def test_forexs_week_goes_from_sunday_to_friday_at_five_in_new_york() -> None:
    hours = Sessions("forex")
    friday, sunday = date(2026, 11, 20), date(2026, 11, 22)
    closes, opens = new_york_ns(friday, 17 * 60), new_york_ns(sunday, 17 * 60)

    assert hours.is_open(closes - 1)
    assert not any(hours.is_open(at) for at in (closes, new_york_ns(date(2026, 11, 21), 12 * 60), opens - 1))
    assert hours.is_open(opens)
    assert (hours.next(closes).open_ns, hours.at(opens).day) == (opens, date(2026, 11, 23))  # type: ignore[union-attr]
    assert hours.current_or_next(opens).close_ns == new_york_ns(date(2026, 11, 23), 17 * 60)
    market = Market([msgspec.structs.replace(STOCK, sessions=hours)], 1)
    assert next(market.minutes("AAPL", opens, opens + MINUTE_NS)) == opens // MINUTE_NS  # the evening belongs to Monday
    assert list(market.minutes("AAPL", closes, opens)) == []
    assert market.latest("AAPL", opens - 1).time_ns < closes
