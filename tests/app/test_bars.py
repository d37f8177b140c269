"""So many bars are the newest that there are, whenever markets rested meanwhile; few questions find them."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.app.test_several import WIDE, told
from tests.factories import BTC, stock
from tests.subjects import ALPACA, BINANCE, BYBIT, IBKR, KRAKEN, OANDA, TRADIER, Subject
from trading_system.app.bars import ASKS_MAX, newest_bars
from trading_system.app.desk import Desk
from trading_system.app.verbs import VERBS
from trading_system.app.views import bar_view
from trading_system.domain.errors import BadRequest
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass, Instrument
from trading_system.domain.market import Bar
from trading_system.domain.ports import MarketData

D = Decimal
MINUTE_NS, DAY_NS = 60_000_000_000, 86_400_000_000_000
MONDAY_NS = 20_717 * DAY_NS  # 2026-09-21
SHARE = stock()
COIN = stock(id=BTC, asset_class=AssetClass.CRYPTO)


def bar(open_ns: int, period_ns: int) -> Bar:
    return Bar(
        instrument=InstrumentID("AAPL"), open_ns=open_ns, period_ns=period_ns, open=D(1), high=D(1), low=D(1), close=D(1), volume=D(0), vwap=D(0)
    )


class Past:
    """A broker with these bars, and every question that it was asked."""

    def __init__(self, period_ns: int, opens: list[int], kept_from_ns: int = 0) -> None:
        self._bars = [bar(open_ns, period_ns) for open_ns in opens]
        self._kept_from_ns = kept_from_ns
        self.asked: list[tuple[int, int]] = []

    async def bars(self, instrument: InstrumentID, period_ns: int, start_ns: int, end_ns: int) -> tuple[Bar, ...]:
        self.asked.append((start_ns, end_ns))
        if start_ns < self._kept_from_ns:
            raise BadRequest("that is long ago")
        return tuple(one for one in self._bars if start_ns <= one.open_ns < end_ns)


def newest(past: Any, instrument: Instrument, period_ns: int, count: int, end_ns: int) -> list[int]:
    source: MarketData = past
    return [one.open_ns for one in asyncio.run(newest_bars(source, instrument, period_ns, count, end_ns))]


def shares(before_ns: int, days: int) -> list[int]:
    """The minutes in which shares traded, weekends left out."""
    found = []
    for day_ns in range(before_ns - before_ns % DAY_NS - days * DAY_NS, before_ns, DAY_NS):
        open_ns = day_ns + 13 * 60 * MINUTE_NS + 30 * MINUTE_NS
        if (day_ns - MONDAY_NS) // DAY_NS % 7 < 5:
            found += [at_ns for at_ns in range(open_ns, open_ns + 390 * MINUTE_NS, MINUTE_NS) if at_ns + MINUTE_NS <= before_ns]
    return found


@pytest.mark.parametrize("count", [1, 3, 200, 1_000])
def test_of_a_coin_one_question_has_them_all(count: int) -> None:
    now_ns = MONDAY_NS + 20_000_000_000
    opens = list(range(MONDAY_NS - 1_000 * MINUTE_NS, MONDAY_NS, MINUTE_NS))
    past = Past(MINUTE_NS, opens)

    assert newest(past, COIN, MINUTE_NS, count, now_ns) == opens[-count:]
    assert len(past.asked) == 1


@pytest.mark.parametrize("count", [1, 3, 200, 2_000])
@pytest.mark.parametrize("hour", [2, 14, 22])
def test_of_shares_a_night_and_a_weekend_are_no_bars(count: int, hour: int) -> None:
    now_ns = MONDAY_NS + hour * 60 * MINUTE_NS
    opens = shares(now_ns, 40)
    past = Past(MINUTE_NS, opens)

    assert newest(past, SHARE, MINUTE_NS, count, now_ns) == opens[-count:]
    assert len(past.asked) <= 2
    assert all(later[0] == earlier[1] for later, earlier in zip(past.asked, past.asked[1:], strict=False))  # nothing is asked for twice


def test_five_hundred_days_of_trading_are_more_than_five_hundred_days() -> None:
    opens = [day_ns for day_ns in range(MONDAY_NS - 1_000 * DAY_NS, MONDAY_NS, DAY_NS) if (day_ns - MONDAY_NS) // DAY_NS % 7 < 5]
    past = Past(DAY_NS, opens)

    assert newest(past, SHARE, DAY_NS, 500, MONDAY_NS + DAY_NS // 2) == opens[-500:]
    assert len(past.asked) == 2


def test_what_is_seldom_traded_is_looked_for_further_back_and_not_for_ever() -> None:
    seldom = Past(MINUTE_NS, [MONDAY_NS - days * DAY_NS for days in (20, 12, 3)])
    never = Past(MINUTE_NS, [])

    assert newest(seldom, SHARE, MINUTE_NS, 3, MONDAY_NS) == [MONDAY_NS - days * DAY_NS for days in (20, 12, 3)]
    assert len(seldom.asked) == ASKS_MAX
    assert newest(seldom, SHARE, MINUTE_NS, 4, MONDAY_NS) == newest(seldom, SHARE, MINUTE_NS, 3, MONDAY_NS)
    assert newest(never, SHARE, MINUTE_NS, 3, MONDAY_NS) == []
    assert len(never.asked) == 2  # nothing in a long weekend: there is none
    assert newest(Past(DAY_NS, [0]), SHARE, DAY_NS, 10_000, 9 * DAY_NS) == [0]


def test_what_a_broker_keeps_no_longer_is_not_there() -> None:
    opens = [MONDAY_NS - minutes * MINUTE_NS for minutes in (720, 719, 2)]
    past = Past(MINUTE_NS, opens, MONDAY_NS - 720 * MINUTE_NS)

    assert newest(past, COIN, MINUTE_NS, 719, MONDAY_NS) == opens[1:]
    with pytest.raises(BadRequest, match="long ago"):
        newest(past, COIN, MINUTE_NS, 721, MONDAY_NS)


@pytest.mark.parametrize("subject", [ALPACA, BINANCE, BYBIT, IBKR, KRAKEN, OANDA, TRADIER], ids=lambda subject: subject.name)
def test_every_broker_gives_as_many_as_were_asked_for(tmp_path: Path, subject: Subject) -> None:
    instrument = next(iter(subject.instruments.values()))

    async def story(desk: Desk, _: dict[str, object]) -> None:
        for period_ns, count in ((MINUTE_NS, 1), (MINUTE_NS, 3), (5 * MINUTE_NS, 200), (DAY_NS, 30)):
            rows: Any = await VERBS["bars"](desk, {"instrument": instrument, "period_ns": period_ns, "count": count})
            opens = [row["open_ns"] for row in rows]
            assert (len(rows), opens) == (count, sorted(opens))
            assert all(row["vwap"] is None or D(row["low"]) <= D(row["vwap"]) <= D(row["high"]) for row in rows)
        with pytest.raises(BadRequest, match="greater than zero"):
            await VERBS["bars"](desk, {"instrument": instrument, "period_ns": MINUTE_NS, "count": 0})

    told(tmp_path, story, (subject,), WIDE)


def test_an_average_that_nobody_says_is_not_known() -> None:
    assert (bar_view(bar(0, 1))["vwap"], bar_view(bar(0, 1))["volume"]) == (None, "0")
