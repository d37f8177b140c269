"""Double entry: nothing appears or vanishes, in any order."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, NOW, D, account, approved, mark
from trading_system.core.blotter import Blotter
from trading_system.core.ledger import (
    NS_PER_DAY,
    EquityMark,
    Ledger,
    adjustment,
    before_transfer,
    explained,
    mark_equity,
    postings_of,
    references_moved,
    transferred,
)
from trading_system.core.lifecycle import Booking
from trading_system.domain.fix import Side
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass, Pricing
from trading_system.domain.order import Fill

LINEAR, INVERSE = Pricing(), Pricing(inverse=True)


def fill(qty: str, px: str, fee: str = "0", currency: str = "") -> Fill:
    return Fill(exec_id="e", qty=D(qty), price=D(px), cum_qty=None, fee=D(fee), fee_currency=currency, transact_ns=NOW)  # type: ignore[arg-type]


SWAP, COIN = InstrumentID("BTC-PERP/USD"), InstrumentID("BTC/USDT")


def opened() -> Blotter:
    blotter = Blotter()
    blotter.open(approved())
    return blotter


def test_a_buy_moves_units_in_and_money_out() -> None:
    ledger = Ledger()
    order = next(iter(opened()))
    ledger.book(order, Booking(fill("2", "100")), "USD", LINEAR)

    assert ledger.position(BROKER, AAPL) == D(2)
    assert ledger.balance(BROKER, "assets", "USD") == D(-200)
    assert ledger.pnl(BROKER, AAPL, D(110), LINEAR) == D(20)


def test_a_reversal_leaves_nothing() -> None:
    ledger = Ledger()
    order = next(iter(opened()))
    ledger.book(order, Booking(fill("2", "100", "1", "USD")), "USD", LINEAR)
    ledger.book(order, Booking(fill("2", "100", "1", "USD"), reversal=True), "USD", LINEAR)

    assert dict(ledger.balances()) == {}


def test_a_fee_in_money_is_part_of_the_cost_and_a_fee_in_units_is_not_money() -> None:
    ledger = Ledger()
    order = next(iter(opened()))
    ledger.book(order, Booking(fill("1", "100", "2", "USD")), "USD", LINEAR)
    ledger.book(order, Booking(fill("1", "100", "0.1", "AAPL")), "USD", LINEAR)

    assert ledger.pnl(BROKER, AAPL, D(100), LINEAR) == D("1.9") * 100 - 202
    assert ledger.balance(BROKER, "fees", "USD") == D(2)


def test_adopted_units_bring_no_profit() -> None:
    ledger = Ledger()
    ledger.adjust(BROKER, AAPL, D(5), D(100), LINEAR)

    assert ledger.pnl(BROKER, AAPL, D(100), LINEAR) == D(0)
    assert ledger.traded() == ((BROKER, AAPL),)


def test_adopted_contracts_are_taken_over_for_all_that_they_are_about() -> None:
    ledger = Ledger()
    ledger.adjust(BROKER, AAPL, D(2), D("1.5"), Pricing(D(100)))

    assert ledger.pnl(BROKER, AAPL, D("1.7"), Pricing(D(100))) == D(40)


# Source: decision 0011: one coin, 50,000 contracts of a dollar from 100,000 to 125,000
def test_an_inverse_contract_costs_nothing_and_pays_in_coins() -> None:
    ledger, order = Ledger(), replace(next(iter(opened())), instrument=SWAP)
    ledger.book(order, Booking(fill("50000", "100000", "0.0003", COIN)), "USD", INVERSE)

    assert ledger.pnl(BROKER, SWAP, D(125_000), INVERSE) == D(12_500)  # 0.1 coin
    assert ledger.position(BROKER, COIN) == D("-0.0003")
    assert ledger.cash(BROKER, "USD") == 0

    done = replace(fill("50000", "125000", "0.00024", COIN), realized=D("0.1"))
    ledger.book(replace(order, side=Side.SELL), Booking(done), "USD", INVERSE)

    assert ledger.position(BROKER, SWAP) == ledger.pnl(BROKER, SWAP, D(0), INVERSE) == 0
    assert ledger.position(BROKER, COIN) == D("0.09946")


def test_the_average_of_inverse_contracts_is_that_of_their_coins() -> None:
    ledger, order = Ledger(), replace(next(iter(opened())), instrument=SWAP, side=Side.SELL)
    ledger.book(order, Booking(fill("100", "50")), "USD", INVERSE)
    ledger.book(order, Booking(fill("100", "25")), "USD", INVERSE)  # 2 and 4 coins: 200 contracts at 33.33

    assert ledger.pnl(BROKER, SWAP, D(50), INVERSE) == 200 - 6 * 50

    ledger.book(replace(order, side=Side.BUY), Booking(fill("50", "10")), "USD", INVERSE)
    assert ledger.pnl(BROKER, SWAP, D(50), INVERSE) == 150 - D("4.5") * 50

    ledger.book(replace(order, side=Side.BUY), Booking(fill("200", "20")), "USD", INVERSE)  # through zero: 50 long at 20
    assert ledger.position(BROKER, SWAP) == 50
    assert ledger.pnl(BROKER, SWAP, D(50), INVERSE) == D("2.5") * 50 - 50


def test_adopted_inverse_contracts_bring_no_profit() -> None:
    ledger = Ledger()
    ledger.adjust(BROKER, SWAP, D(-500), D(100_000), INVERSE)
    assert ledger.pnl(BROKER, SWAP, D(100_000), INVERSE) == 0
    assert ledger.pnl(BROKER, SWAP, D(90_000), INVERSE) == 50

    other = Ledger()
    other.adjust(BROKER, SWAP, D(500), D(0), INVERSE)
    assert other.position(BROKER, SWAP) == 500


@given(st.lists(st.tuples(st.sampled_from(Side), st.integers(1, 1000), st.integers(1, 100_000), st.integers(0, 5)), max_size=20), st.randoms())
def test_postings_sum_to_zero_in_any_order(rows: list[tuple[Side, int, int, int]], chance: object) -> None:
    order = next(iter(opened()))
    fills = [(side, fill(str(qty), str(px), str(fee), "USD")) for side, qty, px, fee in rows]
    one, two = Ledger(), Ledger()
    for side, item in fills:
        assert sum(line.amount for line in postings_of(order, item, "USD", LINEAR) if line.commodity == "USD") == 0
        one.book(_sided(order, side), Booking(item), "USD", LINEAR)
    chance.shuffle(fills)  # type: ignore[attr-defined]
    for side, item in fills:
        two.book(_sided(order, side), Booking(item), "USD", LINEAR)

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


@given(
    st.integers(1_000, 10**6), st.integers(0, 500), st.integers(0, 500), st.integers(-900, 10**6).filter(bool), st.sampled_from(["", "day", "high"])
)
def test_a_transfer_that_equity_has_before_its_entry_is_told_counts_once(equity: int, day: int, fall: int, amount: int, known: str) -> None:
    before = mark(str(equity), day_start=D(equity + day), high_water=D(equity + fall))
    told = transferred(before, D(equity), D(amount))
    seen = replace(before, equity=D(equity + amount), unbooked=D(amount))
    if known == "day":  # a new day began meanwhile
        seen = replace(seen, day_start=before.day_start + amount, day_unbooked=D(amount))
    if known == "high":  # or a new height was reached
        seen = replace(seen, high_water=before.high_water + amount, high_unbooked=D(amount))

    assert before_transfer(seen, D(amount)) == equity
    assert transferred(seen, before_transfer(seen, D(amount)), D(amount)) == told
    assert before_transfer(before, D(amount)) == equity


def test_what_is_unbooked_is_the_transfer_where_it_is_more_than_half_of_it() -> None:
    for unbooked, without in (("-8000", "100000"), ("-8010", "100000"), ("-4001", "100000"), ("-4000", "92000"), ("8000", "92000"), ("0", "92000")):
        assert before_transfer(mark("92000", unbooked=D(unbooked)), D(-8000)) == D(without)


def test_what_came_and_is_not_booked_raises_no_high_and_what_went_is_a_loss_at_once() -> None:
    came = mark_equity(mark("100"), equity=D(115), last_equity=D(100), crypto_pnl=D(0), unbooked=D(15), now_ns=NOW)
    risen = mark_equity(came, equity=D(117), last_equity=D(100), crypto_pnl=D(0), unbooked=D(15), now_ns=NOW)
    went = mark_equity(mark("100"), equity=D(92), last_equity=D(100), crypto_pnl=D(0), unbooked=D(-8), now_ns=NOW)
    above = mark_equity(went, equity=D(101), last_equity=D(100), crypto_pnl=D(0), unbooked=D(-8), now_ns=NOW)

    assert (came.high_water, came.unbooked, came.high_unbooked) == (100, 15, 0)
    assert (risen.high_water, risen.high_unbooked) == (102, 0)
    assert (went.loss(), went.drawdown()) == (D("0.08"), D("0.08"))
    assert (above.high_water, above.high_unbooked) == (101, -8)
    assert transferred(above, before_transfer(above, D(-8)), D(-8)).high_water == 101


def test_a_day_that_begins_with_money_nobody_has_booked_remembers_it() -> None:
    began = mark_equity(mark("100"), equity=D(115), last_equity=D(115), crypto_pnl=D(0), unbooked=D(15), now_ns=NOW + NS_PER_DAY)

    assert (began.day_start, began.day_unbooked) == (115, 15)
    assert transferred(began, before_transfer(began, D(15)), D(15)) == replace(began, high_water=D(115), unbooked=D(0), day_unbooked=D(0))
    assert explained(began, D(15)) == replace(began, unbooked=D(0), day_unbooked=D(0))
    assert explained(began, D(-15)) == began


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
