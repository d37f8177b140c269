"""Names of futures go there and back; anything else is refused by name."""

import pytest

from trading_system.domain.future import future_name, is_future, parse_future
from trading_system.domain.ids import InstrumentID


@pytest.mark.parametrize("name", ["ES-18DEC26/USD", "6E-1JUL27/USD", "MBT-29FEB28/USDT"])
def test_a_name_goes_there_and_back(name: str) -> None:
    assert is_future(InstrumentID(name))
    assert future_name(parse_future(name)) == name


@pytest.mark.parametrize("text", ["ES", "ES-18DEC26", "es-18DEC26/USD", "ES-08DEC26/USD", "ES-18DEZ26/USD", "BTC-25DEC26-95000-C/USDT"])
def test_what_is_no_future_says_how_one_is_written(text: str) -> None:
    assert not is_future(InstrumentID(text))
    with pytest.raises(ValueError, match="write ES-18DEC26/USD"):
        parse_future(text)


def test_a_day_that_does_not_exist_is_no_future() -> None:
    with pytest.raises(ValueError, match="day is out of range"):
        parse_future("ES-31FEB27/USD")
