"""Names of options, both ways: OCC's, and exchanges'."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_system.domain.ids import InstrumentID, parse_instrument
from trading_system.domain.option import Contract, Right, is_option, occ, option_name, parse_occ, parse_option, underlying_of

contracts = st.builds(
    Contract,
    underlying=st.from_regex(r"[A-Z][A-Z0-9]{0,5}", fullmatch=True).map(InstrumentID),
    expiry=st.dates(date(2000, 1, 1), date(2099, 12, 31)),
    right=st.sampled_from(Right),
    strike=st.integers(1, 99_999_999).map(lambda mille: Decimal(mille) / 1000),
)

coins = st.builds(
    Contract,
    underlying=st.from_regex(r"[A-Z0-9]{2,6}/[A-Z]{3,5}", fullmatch=True).map(InstrumentID),
    expiry=st.dates(date(2000, 1, 1), date(2099, 12, 31)),
    right=st.sampled_from(Right),
    strike=st.integers(1, 99_999_999).map(lambda mille: Decimal(mille) / 1000),
)


@given(contracts)
def test_a_name_and_its_contract_are_one(contract: Contract) -> None:
    name = occ(contract)

    assert parse_occ(name) == contract
    assert parse_instrument(name) == name
    assert is_option(name)
    root = len(contract.underlying)
    assert parse_occ(f"{name[:root]:6}{name[root:]}") == contract
    assert (option_name(contract), parse_option(name)) == (name, contract)
    assert not contract.in_cash


@given(coins)
def test_so_are_those_on_coins(contract: Contract) -> None:
    name = option_name(contract)

    assert parse_option(name) == contract
    assert parse_instrument(name) == name
    assert is_option(name)
    assert underlying_of(name) == contract.underlying
    assert contract.in_cash


@pytest.mark.parametrize(
    "text",
    ["", "AAPL", "BTC/USD", "AAPL261318C00200000", "AAPL260230C00200000", "AAPL261218X00200000", "AAPL261218C0020000", "AAPL261218C00000000"],
)
def test_what_is_no_option_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"option|strike|day|month"):
        parse_occ(text)


@pytest.mark.parametrize(
    "text",
    [
        "BTC/USDT",
        "BTC-PERP/USDT",
        "BTC-25DEC26/USDT",
        "BTC-25DEC26-95000-C",
        "BTC-025DEC26-95000-C/USDT",
        "BTC-25DEZ26-95000-C/USDT",
        "BTC-25DEC26-095000-C/USDT",
        "BTC-25DEC26-0-C/USDT",
        "BTC-25DEC26-1.50-C/USDT",
        "BTC-25DEC26-95000-X/USDT",
    ],
)
def test_what_is_no_option_on_a_coin_is_refused(text: str) -> None:
    assert not is_option(InstrumentID(text))
    with pytest.raises(ValueError, match="no option"):
        parse_option(text)


@pytest.mark.parametrize("strike", ["0.0001", "100000", "0", "-1"])
def test_a_strike_without_a_name_is_refused(strike: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        occ(Contract(underlying=InstrumentID("AAPL"), expiry=date(2026, 12, 18), right=Right.CALL, strike=Decimal(strike)))


@pytest.mark.parametrize(
    ("right", "price", "worth"), [(Right.CALL, "210", 10), (Right.CALL, "190", 0), (Right.PUT, "190", 10), (Right.PUT, "210", 0)]
)
def test_what_a_contract_pays(right: Right, price: str, worth: int) -> None:
    contract = Contract(underlying=InstrumentID("AAPL"), expiry=date(2026, 12, 18), right=right, strike=Decimal(200))

    assert contract.payoff(Decimal(price)) == worth
