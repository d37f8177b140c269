"""Double entry: nothing appears or vanishes, in any order."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, NOW, D, account, approved, mark
from trading_system.core.blotter import Blotter
from trading_system.core.ledger import NS_PER_DAY, EquityMark, Ledger, adjustment, mark_equity, postings_of, references_moved, transferred
from trading_system.core.lifecycle import Booking
from trading_system.domain.fix import Side
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Fill


def fill(qty: str, px: str, fee: str = "0", currency: str = "") -> Fill:
    return Fill(exec_id="e", qty=D(qty), price=D(px), cum_qty=None, fee=D(fee), fee_currency=currency, transact_ns=NOW)  # type: ignore[arg-type]


def opened() -> Blotter:
    blotter = Blotter()
    blotter.open(approved())
    return blotter


def test_a_buy_moves_units_in_and_money_out() -> None:
    ledger = Ledger()
    order = next(iter(opened()))
    ledger.book(order, Booking(fill("2", "100")), "USD", D(1))

    assert ledger.position(BROKER, AAPL) == D(2)
    assert ledger.balance(BROKER, "assets", "USD") == D(-200)
    assert ledger.pnl(BROKER, AAPL, D(110), D(1)) == D(20)


def test_a_reversal_leaves_nothing() -> None:
    ledger = Ledger()
    order = next(iter(opened()))
    ledger.book(order, Booking(fill("2", "100", "1", "USD")), "USD", D(1))
    ledger.book(order, Booking(fill("2", "100", "1", "USD"), reversal=True), "USD", D(1))

    assert dict(ledger.balances()) == {}


def test_a_fee_in_money_is_part_of_the_cost_and_a_fee_in_units_is_not_money() -> None:
    ledger = Ledger()
    order = next(iter(opened()))
    ledger.book(order, Booking(fill("1", "100", "2", "USD")), "USD", D(1))
    ledger.book(order, Booking(fill("1", "100", "0.1", "AAPL")), "USD", D(1))

    assert ledger.pnl(BROKER, AAPL, D(100), D(1)) == D("1.9") * 100 - 202
    assert ledger.balance(BROKER, "fees", "USD") == D(2)


def test_adopted_units_bring_no_profit() -> None:
    ledger = Ledger()
    ledger.adjust(BROKER, AAPL, D(5), D(100))

    assert ledger.pnl(BROKER, AAPL, D(100), D(1)) == D(0)
    assert ledger.traded() == ((BROKER, AAPL),)


@given(st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 1000), st.integers(1, 100_000), st.integers(0, 5)), max_size=20), st.randoms())
def test_postings_sum_to_zero_in_any_order(rows: list[tuple[Side, int, int, int]], chance: object) -> None:
    order = next(iter(opened()))
    fills = [(side, fill(str(qty), str(px), str(fee), "USD")) for side, qty, px, fee in rows]
    one, two = Ledger(), Ledger()
    for side, item in fills:
        assert sum(line.amount for line in postings_of(order, item, "USD", D(1)) if line.commodity == "USD") == 0
        one.book(_sided(order, side), Booking(item), "USD", D(1))
    chance.shuffle(fills)  # type: ignore[attr-defined]
    for side, item in fills:
        two.book(_sided(order, side), Booking(item), "USD", D(1))

    assert dict(one.balances()) == dict(two.balances())


def _sided(order: object, side: Side) -> object:

    return replace(order, side=side)  # type: ignore[type-var]


def test_the_day_starts_from_the_last_close_and_the_high_stays() -> None:
    first = mark_equity(None, equity=D(98), last_equity=D(100), crypto_pnl=D(0), now_ns=NOW)

    assert (first.loss(), first.drawdown()) == (D("0.02"), D("0.02"))

    later = mark_equity(first, equity=D(120), last_equity=D(100), crypto_pnl=D(3), now_ns=NOW + 1)
    next_day = mark_equity(later, equity=D(60), last_equity=D(110), crypto_pnl=D(-9), now_ns=NOW + NS_PER_DAY)

    assert (next_day.high_water, next_day.day_start) == (D(120), D(110))
    assert next_day.drawdown() == D("0.5")
    assert next_day.loss(AssetClass.CRYPTO) == D(0)
    assert next_day.drawdown(AssetClass.CRYPTO) == D("0.1")
    assert mark_equity(next_day, equity=D(60), last_equity=D(1), crypto_pnl=D(0), now_ns=NOW).day_start == D(110)


def test_only_moved_references_are_worth_a_record() -> None:
    assert references_moved(None, mark())
    assert not references_moved(mark(), mark(crypto_pnl=D(-1)))
    assert references_moved(mark(), mark(high_water=D(200_000)))


def test_without_equity_there_is_no_fraction() -> None:
    empty = EquityMark(day=1, day_start=D(0), high_water=D(0), equity=D(0))

    assert (empty.loss(), empty.drawdown()) == (D(0), D(0))


@given(st.integers(1_000, 10**6), st.integers(0, 500), st.integers(0, 500), st.integers(-900, 10**6))
def test_a_transfer_leaves_loss_and_drawdown_as_they_were(equity: int, day: int, fall: int, amount: int) -> None:
    before = mark(str(equity), day_start=D(equity + day), high_water=D(equity + fall))
    after = transferred(before, D(equity), D(amount))
    seen = replace(after, equity=D(equity + amount))

    assert abs(seen.loss() - before.loss()) < D("0.000001")
    assert abs(seen.drawdown() - before.drawdown()) < D("0.000001")


def test_a_transfer_into_an_empty_account_is_where_it_begins() -> None:
    empty = EquityMark(day=1, day_start=D(0), high_water=D(0), equity=D(0))

    assert transferred(empty, D(0), D(500)) == replace(empty, day_start=D(500), high_water=D(500), equity=D(500))


def test_money_is_known_by_broker_and_currency() -> None:
    ledger = Ledger()
    ledger.post(BROKER, adjustment("USD", D(100)))

    assert (ledger.cash(BROKER, "USD"), ledger.cash(BROKER, "EUR")) == (D(100), D(0))


def test_an_account_of_one_currency_has_its_cash_and_one_of_several_its_balances() -> None:
    one, several = account(), account(balances={"USD": D(1), "USDT": D(2)})

    assert one.moneys == {one.currency: one.cash}
    assert several.moneys == {"USD": D(1), "USDT": D(2)}
