"""What options tie up: never less than they can lose, and for the known strategies what the rule says."""

from datetime import date
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_system.domain.money import ZERO
from trading_system.domain.option import Contract, Right, parse_occ
from trading_system.sim.margin import need

D = Decimal
NEAR, FAR = "261218", "270115"


def lots(*rows: tuple[int, str]) -> dict[Contract, Decimal]:
    """(signed contracts, "C200" or "P190 270115")."""
    found = {}
    for qty, text in rows:
        name, _, expiry = text.partition(" ")
        found[parse_occ(f"AAPL{expiry or NEAR}{name[0]}{int(D(name[1:]) * 1000):08d}")] = D(qty)
    return found


@pytest.mark.parametrize(
    ("held", "cash", "shares"),
    [
        (lots((3, "C200"), (1, "P200")), "0", "0"),  # bought: paid for
        (lots((-1, "P200")), "200", "0"),  # cash-secured
        (lots((-2, "C200")), "0", "2"),  # covered by shares
        (lots((1, "C200"), (-1, "C210")), "0", "0"),  # debit spread
        (lots((-1, "C200"), (1, "C210")), "10", "0"),  # credit spread
        (lots((1, "P190"), (-1, "P200")), "10", "0"),
        (lots((1, "P190"), (-1, "P200"), (-1, "C220"), (1, "C235")), "15", "0"),  # iron condor: one side can lose
        (lots((1, "C200"), (-2, "C210"), (1, "C220")), "0", "0"),  # butterfly
        (lots((-1, "C200"), (-1, "C210"), (1, "C205")), "0", "1"),  # shares for 200, 205 covers 210
        (lots((-1, "P200"), (-1, "C200")), "200", "1"),  # straddle
        (lots((-1, "C200"), (1, "C200 " + FAR)), "0", "0"),  # calendar
        (lots((1, "C200"), (-1, "C200 " + FAR)), "0", "1"),  # what ends first covers nothing
        (lots((-1, "P200"), (1, "P195 " + FAR)), "5", "0"),  # diagonal
        (lots((-1, "P200"), (-1, "P200 " + FAR), (1, "P195 " + FAR)), "205", "0"),  # one covers one
    ],
)
def test_the_known_strategies(held: dict[Contract, Decimal], cash: str, shares: str) -> None:
    found = need(held)

    assert (found.cash, sum(found.shares.values(), ZERO)) == (D(cash), D(shares))


ROWS = st.dictionaries(st.tuples(st.sampled_from(Right), st.integers(1, 8)), st.integers(-3, 3), max_size=5)


@given(ROWS, st.integers(0, 100))
def test_with_its_shares_nothing_loses_more_than_is_held_back(rows: dict[tuple[Right, int], int], price: int) -> None:
    held = {
        Contract(underlying="AAPL", expiry=date(2026, 12, 18), right=right, strike=D(strike * 10)): D(qty) for (right, strike), qty in rows.items()
    }  # type: ignore[arg-type]
    found = need(held)
    shares = found.shares.get("AAPL", ZERO)
    payoff = sum((qty * contract.payoff(D(price)) for contract, qty in held.items()), ZERO)

    assert payoff + shares * price + found.cash >= 0
    assert shares >= 0


@given(ROWS, st.tuples(st.sampled_from(Right), st.integers(1, 8)))
def test_one_more_that_is_bought_never_ties_up_more(rows: dict[tuple[Right, int], int], more: tuple[Right, int]) -> None:
    def at(extra: int) -> Decimal:
        all_rows = rows | {more: rows.get(more, 0) + extra}
        named = {Contract(underlying="AAPL", expiry=date(2026, 12, 18), right=r, strike=D(k * 10)): D(q) for (r, k), q in all_rows.items()}  # type: ignore[arg-type]
        found = need(named)
        return found.cash + 1000 * found.shares.get("AAPL", ZERO)

    assert all(after <= before for before, after in pairwise(at(extra) for extra in range(3)))
