"""Instruments are found by a part of their symbol or name, at every broker; what is found is an instrument there."""

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.between import Between, conform
from tests.conformance.test_orders import WIDE
from tests.desks import Bench
from tests.subjects import ALPACA, BINANCE, BYBIT, IBKR, IBKR_WEB, KRAKEN, OANDA, TRADIER, Subject
from trading_system.app.verbs import VERBS
from trading_system.domain.errors import BadRequest
from trading_system.domain.ids import InstrumentID

FOUND = [
    (ALPACA, "aap", "AAPL"),
    (ALPACA, "bitcoin", "BTC/USD"),
    (BINANCE, "eth", "ETH/USDT"),
    (BYBIT, "BTC", "BTC/USDT"),
    (KRAKEN, "xb", None),
    (KRAKEN, "btc", "BTC/USD"),
    (OANDA, "eur/u", "EUR/USD"),
    (TRADIER, "apple", "AAPL"),
    (IBKR, "apple", "AAPL"),
    (IBKR, "BRK", "BRK.B"),
    (IBKR, "btc", "BTC/USD"),
    (IBKR, "eur", "EUR/USD"),
    (IBKR, "mes", "MES-18DEC26/USD"),
    (IBKR, "nobody at all", None),
    (IBKR_WEB, "apple", "AAPL"),
    (IBKR_WEB, "brk", "BRK.B"),
    (IBKR_WEB, "GBP", "GBP/USD"),
    (IBKR_WEB, "nobody at all", None),
]


@pytest.mark.parametrize(("subject", "text", "first"), FOUND, ids=[f"{subject.name}-{text}" for subject, text, _ in FOUND])
def test_what_is_searched_for_is_found_and_can_be_asked_for(tmp_path: Path, subject: Subject, text: str, first: str | None) -> None:
    async def story(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            rows: Any = await VERBS["search"](desk, {"broker": subject.broker, "text": text})

            assert [row["instrument"] for row in rows[:1]] == [first] * (first is not None)
            for row in rows:
                instrument = await desk.instrument(subject.broker, InstrumentID(row["instrument"]))
                assert (instrument.asset_class.value, instrument.symbol) == (row["asset_class"], row["symbol"])
            few: Any = await VERBS["search"](desk, {"broker": subject.broker, "text": text, "count": "1"})
            assert few == rows[:1]
            with pytest.raises(BadRequest, match="text is missing"):
                await VERBS["search"](desk, {"broker": subject.broker, "text": ""})

    conform(tmp_path, subject, story)
