"""Shares and options as one order, in the gate and in what is reserved for them. A price is for each share, a whole is a hundred of them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.core.test_options import CALL, LOW, MULTI, PUTS, WHOLE, contract, package
from tests.factories import AAPL, BROKER, D, account, mark, quote, report, risk_state, wish
from trading_system.core.blotter import NOTHING, Blotter, Reserved, order_of, reservation
from trading_system.core.options import greatest_loss
from trading_system.core.risk import Halt, LegState, Level, Limits, check
from trading_system.domain.errors import BadRequest, RiskRefused
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID
from trading_system.domain.option import Contract, Right, occ
from trading_system.domain.order import Approved, Leg, NewOrder, Order

COMBOS = replace(MULTI, combo_legs_max=3)
RICH = {"equity": mark("1000000"), "account": account("1000000")}
SHARES, MARKS = D(100), {AAPL: D(205), occ(LOW): D(8), occ(PUTS[0]): D(6), occ(PUTS[1]): D(2)}  # calls and puts at 200, puts at 190
Parts = tuple[tuple[Contract, int], ...]


def combo(price: str, shares: int, *legs: tuple[Contract, int], qty: str = "1", **changes: object) -> NewOrder:
    """shares: signed, of one whole."""
    whole = package(price, *legs, qty=qty)
    return replace(whole, legs=(Leg(AAPL, Side.BUY if shares > 0 else Side.SELL, abs(shares)), *whole.legs), **changes)


def gate(request: NewOrder, held: dict[InstrumentID, int] | None = None, *, on_way: Reserved = NOTHING, **changes: object) -> Approved:
    """The market stands where the order's price is."""
    known = tuple(
        LegState(
            contract=None if leg.instrument == AAPL else LOW if leg.instrument == occ(LOW) else PUTS[leg.instrument == occ(PUTS[1])],
            position=D((held or {}).get(leg.instrument, 0)),
            reserved=on_way if leg.instrument == AAPL else NOTHING,
            mark=MARKS[leg.instrument],
            shortable=True,
        )
        for leg in request.legs
    )
    mid = request.price or D(0)
    seen = quote(str(mid - D("0.05")), str(mid + D("0.05")), AAPL)
    return check(request, risk_state(**({"facts": COMBOS, "instrument": WHOLE, "quote": seen, "legs": known} | RICH | changes)))


def refusal(request: NewOrder, held: dict[InstrumentID, int] | None = None, **changes: object) -> str:
    with pytest.raises((RiskRefused, BadRequest)) as caught:
        gate(request, held, **changes)  # type: ignore[arg-type]
    return str(caught.value)


BUY_WRITE = combo("197", 100, (LOW, -1))
PROTECTIVE = combo("211", 100, (PUTS[0], 1))
COLLAR = combo("199", 100, (PUTS[1], 1), (LOW, -1))


# -- the greatest loss -----------------------------------------------------------------------------------------------------------------------------


@given(
    shares=st.integers(-2, 2),
    legs=st.lists(st.tuples(st.sampled_from(Right), st.integers(1, 12), st.integers(-3, 3)), max_size=4),
    price=st.integers(-40, 40),
)
def test_the_greatest_loss_is_what_the_worst_final_price_costs(shares: int, legs: list[tuple[Right, int, int]], price: int) -> None:
    """Against every whole final price up to far beyond the last strike: there, one step more tells whether it ever ends."""
    parts = [(contract(right, str(strike)), ratio) for right, strike, ratio in legs if ratio]

    def loss(final: int) -> Decimal:
        return D(price) - shares * D(final) - sum((ratio * of.payoff(D(final)) for of, ratio in parts), D(0))

    worst = None if loss(101) > loss(100) else max(D(0), *(loss(final) for final in range(101)))

    assert greatest_loss(parts, D(price), D(shares)) == worst


def test_shares_outlive_what_they_cover_and_a_put_that_ends_first_protects_nothing() -> None:
    early, late = contract(Right.PUT), contract(expiry=LOW.expiry.replace(month=3))

    assert greatest_loss([(early, 1), (late, -1)], D(199), D(1)) == 199
    assert greatest_loss([(late, -1)], D(199)) is None


# -- the gate --------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "risk"),
    [
        (BUY_WRITE, "213"),  # what it opens is worth 205 and 8; it loses 197 at most
        (PROTECTIVE, "211"),  # it loses 11 at most, and holds shares and a put all the same
        (COLLAR, "215"),
        (combo("217", 100, (PUTS[0], 2)), "217"),
    ],
)
def test_a_combo_counts_as_much_as_what_it_opens_is_worth(request_: NewOrder, risk: str) -> None:
    passed = gate(request_)

    assert passed.reserve_px == D(risk) * 100
    assert passed.opens == (True,) * len(request_.legs)
    assert not passed.reducing


def test_where_it_loses_more_than_it_is_worth_that_counts() -> None:
    covered_put = combo("-211", -100, (PUTS[0], -1))
    free = Limits(enable_shorts=True, enable_uncovered_options=True, max_position_pct=D(1))

    assert gate(covered_put, limits=free).reserve_px == 41_100  # a short sale without an end: the strike and the price
    assert refusal(covered_put, limits=Limits(enable_shorts=True)).startswith("UNCOVERED: 100 would not be")
    synthetic = combo("-197", -100, (LOW, 1))
    assert gate(synthetic, limits=Limits(enable_shorts=True)).reserve_px == 21_300


def test_the_shares_of_the_order_cover_its_call_and_no_more_than_one() -> None:
    assert refusal(combo("189", 100, (LOW, -2))).startswith("UNCOVERED: 100 would not be; the limit is the 0 units that are covered.")
    assert refusal(BUY_WRITE, {AAPL: -100}).startswith("UNCOVERED")  # they buy back what was sold short
    assert refusal(BUY_WRITE, {AAPL: -50}).startswith("UNCOVERED")


def test_what_closes_all_of_it_is_an_exit() -> None:
    unwind = combo("-197", -100, (LOW, 1))
    halted = (Halt(scope="all", level=Level.HALT, rule="OWNER", text="", set_ns=0),)
    passed = gate(unwind, {AAPL: 100, occ(LOW): -1}, halts=halted)

    assert (passed.reducing, passed.opens) == (True, (False, False))
    assert reservation(order_of(passed)) == Reserved(sell_qty=D(100), orders=1)
    assert refusal(unwind, {AAPL: 100, occ(LOW): -1}, halts=halted, on_way=Reserved(sell_qty=D(1), orders=1)).startswith("OWNER")


def test_what_closes_counts_at_its_mark() -> None:
    """100 shares are sold for a call at 8: what the call costs is at risk, not the net of both."""
    passed = gate(combo("-197", -100, (LOW, 1)), {AAPL: 100})

    assert (passed.opens, passed.reserve_px) == ((False, True), 800)


def test_the_premium_is_that_of_the_options_alone() -> None:
    dear = combo("211", 100, (PUTS[0], 1), qty="2")
    tight = Limits(option_max_premium_pct=D("0.001"), max_position_pct=D(1))

    assert gate(BUY_WRITE, limits=tight).reserve_qty == 1
    assert refusal(dear, limits=tight).startswith("OPTION_MAX_PREMIUM_PCT: 1,200.00 of premium in AAPL; the limit is 0.1 % of equity = 1,000.00.")


def test_the_position_in_shares_keeps_its_limit() -> None:
    tight = Limits(max_position_pct=D("0.1"), max_leverage=D(5))

    assert gate(BUY_WRITE, {AAPL: 300}, limits=tight).reserve_qty == 1
    assert refusal(BUY_WRITE, {AAPL: 388}, limits=tight).startswith("MAX_POSITION_PCT: AAPL would stand at 100,040.00;")
    assert refusal(BUY_WRITE, {AAPL: 300}, limits=tight, on_way=Reserved(buy_qty=D(88), orders=1)).startswith("MAX_POSITION_PCT: AAPL")
    short = Limits(max_position_pct=D("0.1"), max_leverage=D(5), enable_shorts=True)
    assert refusal(combo("-197", -100, (LOW, 1)), {AAPL: -388}, limits=short).startswith("MAX_POSITION_PCT: AAPL would stand at 100,040.00;")


def test_shares_are_sold_short_where_the_owner_and_the_broker_let_them() -> None:
    sold = combo("-197", -100, (LOW, 1))

    assert refusal(sold, {AAPL: 60}) == ("SHORT: 100; the limit is the 60 you can sell. Lower the quantity; ENABLE_SHORTS=true allows shorting.")


@pytest.mark.parametrize(("away", "passes"), [("6.10", True), ("6.30", False)])
def test_the_collar_of_a_combo_is_that_of_shares(away: str, passes: bool) -> None:
    seen = quote("204.95", "205", AAPL)  # 3 % of 205 is 6.15
    asked = combo(str(D(205) + D(away)), 100, (PUTS[0], 1))

    if passes:
        assert gate(asked, quote=seen).reserve_qty == 1
    else:
        assert refusal(asked, quote=seen).startswith("PRICE_COLLAR_PCT: 211.3; the limit is 3 % from 205.")


def test_a_combo_is_no_trade_with_ourselves() -> None:
    resting = order_of(check(wish("10", Side.SELL, ord_type=OrdType.LIMIT, price=D("99.99")), risk_state(position=D(10))))
    spread = order_of(check(package("4", (LOW, 1), (contract(strike="210"), -1)), _spread_state()))

    assert refusal(BUY_WRITE, working=(resting,)).startswith("SELF_MATCH: q1aaaaaaaaaaaaaaaa rests on the other side")
    assert gate(combo("-197", -100, (LOW, 1)), {AAPL: 110, occ(LOW): -1}, working=(resting,)).reducing
    assert gate(BUY_WRITE, working=(spread,)).reserve_qty == 1


def test_a_spread_that_rests_stands_in_no_exits_way() -> None:
    """It is bought as a whole, and no share of it can meet an order in shares."""
    spread = order_of(check(package("4", (LOW, 1), (contract(strike="210"), -1)), _spread_state()))

    assert check(wish("10", Side.SELL), risk_state(position=D(10), working=(spread,))).reducing


def _spread_state() -> object:
    known = tuple(LegState(contract=of, position=D(0), reserved=NOTHING) for of in (LOW, contract(strike="210")))
    return risk_state(facts=MULTI, instrument=WHOLE, quote=quote("3.95", "4.05"), legs=known)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (combo("197", 50, (LOW, -1)), "the shares of a multileg order are 100, what one contract is about"),
        (combo("410", 200, (LOW, -1)), "the shares of a multileg order are 100"),
        (replace(BUY_WRITE, legs=(Leg(AAPL, Side.BUY, 100), Leg(InstrumentID("MSFT"), Side.SELL, 100))), "options on one thing, and shares of it"),
        (replace(BUY_WRITE, legs=(Leg(InstrumentID("MSFT"), Side.BUY, 100), Leg(occ(LOW), Side.SELL, 1))), "here AAPL"),
        (replace(BUY_WRITE, protect_stop_px=D(190)), "takes no stops"),
    ],
)
def test_shares_that_make_no_whole(request_: NewOrder, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        check(request_, risk_state(facts=COMBOS, instrument=WHOLE, legs=(LegState(contract=None, position=D(0), reserved=NOTHING),) * 2))


def test_options_on_two_things_bound_no_loss() -> None:
    """A call on one covers none on another."""
    other = contract(underlying="MSFT", strike="210")

    with pytest.raises(BadRequest, match="options on one thing"):
        check(package("4", (LOW, 1), (other, -1)), risk_state(facts=MULTI, instrument=WHOLE))


def test_a_broker_says_how_many_legs_a_combo_has() -> None:
    assert refusal(BUY_WRITE, facts=MULTI) == (
        "CAPABILITY: 2 legs with shares limit day for option; the limit is what Alpaca takes. See `trading brokers` for its order types and times in "
        "force."
    )
    assert refusal(combo("205", 100, (PUTS[0], 1), (PUTS[1], 1), (LOW, -1)), facts=COMBOS).startswith("CAPABILITY: 4 legs with shares")


# -- what is reserved ------------------------------------------------------------------------------------------------------------------------------


def _opened(request: NewOrder, **held: object) -> tuple[Blotter, Order]:
    blotter = Blotter()
    return blotter, blotter.open(gate(request, **held))  # type: ignore[arg-type]


def test_the_shares_of_a_combo_are_reserved_until_their_own_order_does_that() -> None:
    blotter, order = _opened(replace(BUY_WRITE, order_qty=D(2)))

    assert blotter.reserved(BROKER, AAPL) == Reserved(buy_qty=D(200), notional=D(42_600), orders=1)
    words = {"cl_ord_id": ClOrdID("shares"), "order_id": OrderID("7"), "instrument": AAPL, "side": Side.BUY, "order_qty": D(200)}
    part = blotter.link(blotter.adopt(report(ExecType.NEW, OrdStatus.NEW, **words), "PA1"), order)
    assert blotter.reserved(BROKER, AAPL) == Reserved(buy_qty=D(200), notional=D(42_600), orders=2)
    blotter.put(replace(part, cum_qty=D(150), stated_cum_qty=D(150)))
    assert blotter.reserved(BROKER, AAPL).buy_qty == 50
    call = {**words, "cl_ord_id": ClOrdID("call"), "order_id": OrderID("8"), "instrument": CALL.id, "side": Side.SELL, "order_qty": D(2)}
    blotter.link(blotter.adopt(report(ExecType.NEW, OrdStatus.NEW, **call), "PA1"), order)
    assert blotter.reserved(BROKER, CALL.id) == Reserved(sell_qty=D(2), orders=1)


@pytest.mark.parametrize(
    ("legs", "price", "risk"),
    [
        ((Leg(AAPL, Side.BUY, 100), Leg(occ(LOW), Side.SELL, 1)), "197", 19_700),
        ((Leg(occ(LOW), Side.SELL, 1), Leg(occ(contract(strike="210")), Side.BUY, 1)), "-4", 600),
        ((Leg(AAPL, Side.BUY, 50), Leg(occ(LOW), Side.SELL, 1)), "97", 9_700),  # without an end: at least what it costs
        ((), "97", 97),
    ],
)
def test_what_somebody_else_ordered_counts_as_what_it_may_lose(legs: tuple[Leg, ...], price: str, risk: int) -> None:
    found = report(ExecType.ORDER_STATUS, OrdStatus.NEW, order_id=OrderID("9"), order_qty=D(1), price=D(price), legs=legs)

    assert Blotter().adopt(replace(found, cl_ord_id=ClOrdID("")), "PA1").reserve_px == risk


def test_a_duplicate_is_one_for_combos_too() -> None:
    assert BUY_WRITE.time_in_force is TimeInForce.DAY
    assert refusal(BUY_WRITE, recent=((risk_state().now_ns, BUY_WRITE),)).startswith("DUPLICATE_ORDER_WINDOW_S")
