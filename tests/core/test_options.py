"""What an option may cost and what covers it, in the gate."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, FACTS, NOW, D, account, coin, mark, quote, report, risk_state, stock, wish
from trading_system.core.blotter import NOTHING, Blotter, Reserved, order_of, reservation
from trading_system.core.options import at_risk, cover, standard_multiplier, unit_risk
from trading_system.core.risk import Halt, LegState, Level, Limits, check
from trading_system.domain.errors import BadRequest, RiskRefused
from trading_system.domain.fix import Doubt, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, OrderID
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.option import Contract, Right, occ, parse_option
from trading_system.domain.order import Leg, NewOrder
from trading_system.domain.ports import OrderRule

SHARES, CASH = D(250), D(45_000)


def contract(right: Right = Right.CALL, strike: str = "200", expiry: date = date(2027, 1, 15), underlying: str = AAPL) -> Contract:
    return Contract(underlying=InstrumentID(underlying), expiry=expiry, right=right, strike=D(strike))


def option(of: Contract | None = None) -> Instrument:
    of = of or contract()
    return stock(id=occ(of), symbol=occ(of), asset_class=AssetClass.OPTION, contract=of, lot=D(1), multiplier=D(100), shortable=False)


CALL, PUT = option(), option(contract(Right.PUT))
OPTIONS = replace(
    FACTS, rules=(OrderRule(AssetClass.OPTION, frozenset({OrdType.MARKET, OrdType.LIMIT}), frozenset({TimeInForce.DAY}), fractional=False),)
)


def asked(of: Instrument, qty: str = "1", side: Side = Side.BUY, price: str = "5", **changes: object) -> NewOrder:
    return wish(qty, side, instrument=of.id, ord_type=OrdType.LIMIT, price=D(price), **changes)


def gate(request: NewOrder, of: Instrument, **changes: object) -> tuple[str, str]:
    """(reserved, of it a unit) or (the rule, its sentence)."""
    fields = {"facts": OPTIONS, "instrument": of, "quote": quote("4.95", "5.05", of.id)} | changes
    try:
        passed = check(request, risk_state(**fields))
    except RiskRefused as error:
        return error.rule, str(error)
    return str(passed.reserve_qty * passed.reserve_px), str(passed.reserve_px)


def test_what_one_unit_can_lose() -> None:
    call, put = contract(), contract(Right.PUT)

    assert unit_risk(call, Side.BUY, D(5), covered=False) == 5
    assert unit_risk(put, Side.BUY, D(5), covered=False) == 5
    assert unit_risk(put, Side.SELL, D(5), covered=True) == 200
    assert unit_risk(call, Side.SELL, D(5), covered=True) == 5
    assert unit_risk(call, Side.SELL, D(5), covered=False) == 205


@pytest.mark.parametrize(
    ("of", "held", "units"),
    [
        (contract(), {}, 250),  # by the shares
        (contract(), {occ(contract()): -100}, 150),
        (contract(), {occ(contract(strike="210")): -300}, 0),
        (contract(), {occ(contract(strike="190")): 100}, 350),  # a long call with a lower strike
        (contract(), {occ(contract(strike="210")): 100}, 250),  # one with a higher strike covers nothing
        (contract(), {occ(contract(strike="190", expiry=date(2027, 1, 8))): 100}, 250),  # nor one that ends before
        (contract(), {occ(contract(underlying="MSFT")): -100, occ(contract(Right.PUT)): -100, InstrumentID("MSFT"): -100}, 250),
        (contract(Right.PUT), {}, 225),  # by 45,000 of cash
        (contract(Right.PUT), {occ(contract(Right.PUT, "100", underlying="MSFT")): -100}, 175),
        (contract(Right.PUT), {occ(contract(Right.PUT)): -400}, 0),
        (contract(Right.PUT), {occ(contract(Right.PUT, "210")): 100}, 325),
        (contract(Right.PUT), {occ(contract(Right.PUT, "190")): 100}, 225),
    ],
)
def test_what_covers_an_option_that_is_sold(of: Contract, held: dict[InstrumentID, int], units: int) -> None:
    assert cover(of, {name: D(qty) for name, qty in held.items()}, SHARES, CASH) == units


@given(
    st.sampled_from(Right), st.dictionaries(st.tuples(st.sampled_from(Right), st.sampled_from(["190", "200", "210"])), st.integers(-5, 5), max_size=6)
)
def test_cover_is_never_counted_twice(right: Right, held: dict[tuple[Right, str], int]) -> None:
    """Selling what is covered leaves nothing more that is."""
    of = contract(right)
    units = {occ(contract(kind, strike)): D(100 * lots) for (kind, strike), lots in held.items()}
    free = cover(of, units, SHARES, CASH)
    after = units | {occ(of): units.get(occ(of), D(0)) - free}

    assert free >= 0
    assert cover(of, after, SHARES, CASH) <= max(D(0), units.get(occ(of), D(0)))


def test_a_bought_option_risks_its_premium_and_no_more_than_the_owner_set() -> None:
    assert gate(asked(CALL), CALL) == ("500", "500")
    assert gate(asked(CALL, "4"), CALL) == ("2000", "500")
    said = "OPTION_MAX_PREMIUM_PCT: 2,500.00 of premium in AAPL270115C00200000; the limit is 2 % of equity = 2,000.00. Lower the quantity."
    assert gate(asked(CALL, "5"), CALL)[1] == said
    assert gate(asked(CALL, "3"), CALL, position=D(2))[1] == said


UNCOVERED = (
    "UNCOVERED: 50 would not be; the limit is the 150 units that are covered. Lower the quantity, hold what covers it, or sell it as part of a "
    "spread. ENABLE_UNCOVERED_OPTIONS=true allows it."
)


def test_what_nothing_covers_is_not_sold() -> None:
    sell = asked(CALL, "2", Side.SELL)

    assert gate(sell, CALL, cover=D(200)) == ("1000", "500")
    assert gate(sell, CALL, cover=D(150)) == (
        "UNCOVERED",
        UNCOVERED,
    )
    free = Limits(enable_uncovered_options=True, max_position_pct=D(1))
    assert gate(sell, CALL, limits=free) == ("41000", "20500")
    assert gate(asked(PUT, "1", Side.SELL), PUT, cover=D(225)) == ("20000", "20000")
    assert gate(asked(PUT, "2", Side.SELL), PUT, cover=D(225))[0] == "MAX_POSITION_PCT"


def test_what_closes_needs_no_cover() -> None:
    assert gate(asked(CALL, "2", Side.SELL), CALL, position=D(2)) == ("1000", "500")
    assert gate(asked(CALL, "2", Side.SELL), CALL, position=D(1))[0] == "UNCOVERED"
    assert gate(asked(CALL, "2", Side.SELL), CALL, position=D(1), cover=D(100)) == ("1000", "500")
    assert gate(asked(CALL, "2"), CALL, position=D(-2)) == ("1000", "500")


BITCOIN = InstrumentID("BTC-15JAN27-95000-C/USDT")
COIN_FACTS = replace(FACTS, rules=(OrderRule(AssetClass.CRYPTO_OPTION, frozenset({OrdType.LIMIT}), frozenset({TimeInForce.GTC}), fractional=True),))


def on_bitcoin(request: NewOrder, mid: str = "2000", **changes: object) -> tuple[str, str]:
    listed = coin(
        id=BITCOIN,
        symbol="BTC-15JAN27-95000-C-USDT",
        asset_class=AssetClass.CRYPTO_OPTION,
        contract=parse_option(BITCOIN),
        lot=D("0.01"),
        whole_lot=D("0.01"),
        min_qty=D("0.01"),
        min_notional=D(0),
        ticks=(TickBand(D(0), D(5)),),
    )
    seen = quote(str(D(mid) - 5), str(D(mid) + 5), BITCOIN)
    return gate(request, listed, **({"facts": COIN_FACTS, "quote": seen} | changes))


def bitcoin(qty: str, side: Side = Side.BUY, price: str = "2000") -> NewOrder:
    return wish(qty, side, instrument=BITCOIN, ord_type=OrdType.LIMIT, time_in_force=TimeInForce.GTC, price=D(price))


@pytest.mark.parametrize(("of", "times"), [(BITCOIN, 1), (CALL.id, 100), (InstrumentID("912797NH6"), 10), (AAPL, 1)])
def test_what_one_unit_is_times_its_price_before_its_instrument_is_read(of: InstrumentID, times: int) -> None:
    assert standard_multiplier(of) == times


def test_an_option_on_a_coin_is_of_one_coin_and_under_the_crypto_limits_too() -> None:
    assert on_bitcoin(bitcoin("0.5")) == ("1000.0", "2000")
    assert on_bitcoin(bitcoin("1.01"))[0] == "OPTION_MAX_PREMIUM_PCT"
    assert on_bitcoin(bitcoin("0.5", Side.SELL))[0] == "UNCOVERED"
    assert on_bitcoin(bitcoin("0.5", Side.SELL), cover=D("0.5")) == ("1000.0", "2000")
    assert on_bitcoin(bitcoin("0.5"), limits=Limits(crypto_max_leverage=D("0.005")))[0] == "CRYPTO_MAX_LEVERAGE"
    assert on_bitcoin(bitcoin("0.5"), now_ns=NOW + 60 * 10**9)[0] in {"QUOTE_AGE", "ACCOUNT_AGE"}
    assert on_bitcoin(bitcoin("0.5", price="20"), mid="10")[0] == "10.0"  # two steps of its grid, where a fraction of the price is less
    assert on_bitcoin(bitcoin("0.5", price="25"), mid="10")[0] == "OPTION_PRICE_COLLAR_PCT"


def test_no_stop_is_promised_where_the_broker_takes_none() -> None:
    assert on_bitcoin(replace(bitcoin("0.5"), protect_stop_px=D(1500)))[0] == "CAPABILITY"
    assert gate(asked(CALL, protect_stop_px=D(4)), CALL)[0] == "CAPABILITY"


def test_what_has_expired_is_not_entered() -> None:
    old = option(contract(expiry=date(2026, 9, 20)))
    last = option(contract(expiry=date(2026, 9, 21)))  # NOW is that day

    assert NOW // 10**9 == 1_790_000_000
    assert gate(asked(old), old)[1].startswith("EXPIRY: AAPL260920C00200000 expired on 2026-09-20; the limit is options that live.")
    assert gate(asked(last), last) == ("500", "500")
    assert gate(asked(old, "1", Side.SELL), old, position=D(1)) == ("500", "500")


@pytest.mark.parametrize(("mid", "price", "passes"), [("5", "6.25", True), ("5", "6.26", False), ("0.2", "0.30", True), ("0.2", "0.31", False)])
def test_the_collar_of_an_option_is_wide_and_never_less_than_a_dime(mid: str, price: str, passes: bool) -> None:
    seen = quote(str(D(mid) - D("0.05")), str(D(mid) + D("0.05")), CALL.id)

    assert (gate(asked(CALL, price=price), CALL, quote=seen)[0] != "OPTION_PRICE_COLLAR_PCT") is passes


# -- several at once -------------------------------------------------------------------------------------------------------------------

LOW, HIGH, LATE = contract(strike="200"), contract(strike="210"), contract(strike="210", expiry=date(2027, 2, 19))
PUTS = (contract(Right.PUT, "200"), contract(Right.PUT, "190"))
WHOLE = replace(CALL, id=AAPL, symbol="", contract=None)
MULTI = replace(OPTIONS, legs_max=4)


def package(price: str, *legs: tuple[Contract, int], qty: str = "1", **changes: object) -> NewOrder:
    made = tuple(Leg(occ(of), Side.BUY if ratio > 0 else Side.SELL, abs(ratio)) for of, ratio in legs)
    return wish(qty, **({"ord_type": OrdType.LIMIT, "price": D(price), "legs": made} | changes))


def judged(request: NewOrder, *legs: tuple[Contract, int], mid: str | None = None, held: int = 0, **changes: object) -> tuple[str, str] | str:
    """(at risk, which legs open) or the sentence of the refusal. held: contracts of each leg, so many that every one of them closes."""
    known = tuple(LegState(contract=of, position=D(-held if ratio > 0 else held), reserved=NOTHING) for of, ratio in legs)
    mid = mid or str(request.price)
    seen = quote(str(D(mid) - D("0.05")), str(D(mid) + D("0.05")), AAPL)
    try:
        passed = check(request, risk_state(**({"facts": MULTI, "instrument": WHOLE, "quote": seen, "legs": known} | changes)))
    except (RiskRefused, BadRequest) as error:
        return str(error)
    return str(passed.reserve_qty * passed.reserve_px), "".join("o" if opens else "c" for opens in passed.opens)


@pytest.mark.parametrize(
    ("price", "legs", "risk"),
    [
        ("4", ((LOW, 1), (HIGH, -1)), "400"),  # a debit spread: what was paid
        ("-4", ((LOW, -1), (HIGH, 1)), "600"),  # a credit spread: the width less the credit
        ("-3", ((PUTS[0], -1), (PUTS[1], 1)), "700"),
        ("9", ((LOW, 1), (PUTS[0], 1)), "900"),  # a straddle
        ("-5", ((PUTS[1], 1), (PUTS[0], -1), (LOW, -1), (HIGH, 1)), "500"),  # an iron condor with both wings 10 wide
        ("3", ((LATE, 1), (HIGH, -1)), "300"),  # a calendar
        ("-1", ((LOW, 1), (HIGH, -1)), "0"),  # paid to take it
    ],
)
def test_a_spread_puts_its_greatest_loss_at_risk(price: str, legs: tuple[tuple[Contract, int], ...], risk: str) -> None:
    assert judged(package(price, *legs), *legs) == (risk, "o" * len(legs))


@pytest.mark.parametrize(
    "legs",
    [
        ((LOW, 1), (HIGH, -2)),  # more calls sold than bought
        ((HIGH, 1), (LATE, -1)),  # what covers ends first
        ((LOW, -1), (LATE, -1), (contract(strike="220", expiry=date(2027, 3, 19)), 2)),  # short legs of two expiries
    ],
)
def test_what_is_not_bounded_is_uncovered(legs: tuple[tuple[Contract, int], ...]) -> None:
    assert str(judged(package("-1", *legs), *legs)).startswith("UNCOVERED: 100 would not be; the limit is the 0 units that are covered.")
    free = Limits(enable_uncovered_options=True, max_position_pct=D(1), max_leverage=D(5))
    worth = sum(abs(ratio) * of.strike for of, ratio in legs) + 1

    assert judged(package("-1", *legs), *legs, limits=free, equity=mark("1000000"), account=account("1000000")) == (str(worth * 100), "o" * len(legs))


def test_what_a_spread_closes_puts_nothing_at_risk() -> None:
    legs = ((LOW, -1), (HIGH, 1))

    assert judged(package("-4", *legs), *legs, held=1, halts=(Halt(scope="all", level=Level.HALT, rule="OWNER", text="", set_ns=0),))[1] == "cc"
    assert judged(package("-4", *legs, qty="2"), *legs, held=1)[1] == "oo"


def test_the_limits_hold_for_several_as_for_one() -> None:
    legs, dear = ((LOW, 1), (HIGH, -1)), ((contract(strike="100"), 1), (contract(strike="500"), -1))
    gone = ((contract(expiry=date(2026, 9, 20)), 1), (LOW, -1))

    assert str(judged(package("4", *legs, qty="6"), *legs)).startswith("OPTION_MAX_PREMIUM_PCT: 2,400.00 of premium in AAPL;")
    assert judged(package("4", *legs, qty="5"), *legs) == ("2000", "oo")
    assert str(judged(package("-1", *[(of, -ratio) for of, ratio in dear]), *[(of, -ratio) for of, ratio in dear])).startswith(
        "MAX_POSITION_PCT: AAPL"
    )
    assert str(judged(package("1", *gone), *gone)).startswith("EXPIRY: AAPL260920C00200000 expired")
    assert str(judged(package("5.07", *legs), *legs, mid="4")).startswith("OPTION_PRICE_COLLAR_PCT: 5.07; the limit is 25 % from 4.05")
    assert str(judged(package("-2.96", *legs), *legs, mid="-4")).startswith("OPTION_PRICE_COLLAR_PCT: -2.96; the limit is 25 % from -3.95")
    assert str(judged(package("4", *legs), *legs, facts=OPTIONS)).startswith(
        "CAPABILITY: 2 legs limit day for option; the limit is what Alpaca takes."
    )
    assert str(judged(package("4", *legs), *legs, reserved=Reserved(in_doubt=1))).startswith("IN_DOUBT")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"legs": (Leg(occ(LOW), Side.BUY, 1),)}, "two legs or more"),
        ({"legs": (Leg(occ(LOW), Side.BUY, 1), Leg(occ(LOW), Side.SELL, 1))}, "each another option"),
        ({"legs": (Leg(occ(LOW), Side.BUY, 0), Leg(occ(HIGH), Side.SELL, 1))}, "each at least once"),
        ({"legs": (Leg(occ(LOW), Side.BUY, 2), Leg(occ(HIGH), Side.SELL, 4))}, "as small as they go"),
        ({"ord_type": OrdType.MARKET}, "at the net price of its legs"),
        ({"side": Side.SELL}, "is bought whole"),
        ({"order_qty": None, "cash_order_qty": D(100)}, "in a quantity"),
        ({"protect_stop_px": D(3)}, "takes no stops"),
    ],
)
def test_several_legs_that_make_no_whole(changes: dict[str, object], said: str) -> None:
    legs = ((LOW, 1), (HIGH, -1))

    assert said in str(judged(package("4", *legs, **changes), *legs, mid="4"))


def test_what_a_multileg_order_reserves_is_its_risk_alone() -> None:
    legs = ((LOW, -1), (HIGH, 1))
    known = tuple(LegState(contract=of, position=D(0), reserved=NOTHING) for of, _ in legs)
    sent = check(package("-4", *legs), risk_state(facts=MULTI, instrument=WHOLE, quote=quote("-4.05", "-3.95"), legs=known))
    order = order_of(sent)

    assert reservation(order) == Reserved(notional=D(600), orders=1)
    assert reservation(replace(order, doubt=Doubt.IN_DOUBT)) == Reserved(notional=D(600), orders=1, in_doubt=1)
    assert reservation(replace(order, reducing=True)) == Reserved(orders=1)
    assert replace(order, ord_status=OrdStatus.FILLED, stated_cum_qty=D(1)).settled
    blotter = Blotter()
    blotter.put(order)
    part = blotter.adopt(
        report(ExecType.NEW, OrdStatus.NEW, cl_ord_id=ClOrdID("leg"), order_id=OrderID("leg"), instrument=occ(LOW), side=Side.SELL), "PA1"
    )
    linked = blotter.link(part, order)
    assert (linked.external, linked.intent, linked.reducing, linked.reserve_px) == (False, "k1", False, 0)
    assert blotter.reserved(BROKER, occ(LOW)) == Reserved(sell_qty=D(10), orders=1)


@pytest.mark.parametrize(
    ("held", "risk"),
    [
        (((LOW, 100, "5"),), 500),
        (((LOW, 100, "8"), (HIGH, -100, "4")), 400),
        (((LOW, -100, "8"), (HIGH, 100, "4")), 600),
        (((PUTS[0], -100, "5"),), 19_500),  # what the put may cost, less what it is sold for now
        (((LOW, -100, "5"), (HIGH, 50, "3")), 650),  # unbounded: each for itself, the call as covered
        (((LOW, D("0.5"), "5"),), "2.5"),
    ],
)
def test_what_is_held_is_counted_together(held: tuple[tuple[Contract, object, str], ...], risk: object) -> None:
    assert at_risk([(of, D(str(units)), D(price)) for of, units, price in held]) == D(str(risk))
