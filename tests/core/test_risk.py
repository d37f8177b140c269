"""The gate, rule by rule: one step inside the limit passes, one step beyond is refused with its name."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, BTC, FACTS, NOW, SECOND, D, account, approved, coin, mark, quote, reserved, risk_state, stock, wish
from trading_system.core.blotter import order_of
from trading_system.core.risk import Arming, Breaker, Halt, Holding, Level, Limits, breaches, check, joined, latches, reduces, room, tripped
from trading_system.domain.errors import BadRequest, Halted, RiskRefused
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.hours import Hours, Window
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass

CRYPTO = {"instrument": coin(), "quote": quote("99990", "100010", BTC)}


def coin_wish(qty: str | None = "0.1", **changes: object):  # type: ignore[no-untyped-def]
    return wish(qty, **({"instrument": BTC, "time_in_force": TimeInForce.GTC} | changes))


def refused(rule: str, request: object = None, **state: object) -> RiskRefused:
    with pytest.raises(RiskRefused) as caught:
        check(request or wish(), risk_state(**state))  # type: ignore[arg-type]

    assert caught.value.rule == rule
    assert caught.value.advice
    return caught.value


def test_a_plain_order_passes_and_is_reserved_at_the_worse_price() -> None:
    passed = check(wish("10", ord_type=OrdType.LIMIT, price=D("99")), risk_state())

    assert (passed.reserve_qty, passed.reserve_px, passed.reducing, passed.symbol) == (D(10), D(100), False, "AAPL")


def test_a_limit_price_is_put_on_the_grid_never_past_what_was_asked() -> None:
    assert approved(wish(ord_type=OrdType.LIMIT, price=D("99.999"))).request.price == D("99.99")


@pytest.mark.parametrize(
    "changes",
    [
        {"order_qty": None},
        {"cash_order_qty": D(5)},
        {"order_qty": D(0)},
        {"ord_type": OrdType.LIMIT},
        {"ord_type": OrdType.STOP, "stop_px": D(0)},
        {"price": D(5)},
        {"order_qty": None, "cash_order_qty": D(5), "ord_type": OrdType.LIMIT, "price": D(100)},
    ],
)
def test_what_is_no_order_is_a_bad_request(changes: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        check(replace(wish(), **changes), risk_state())


@pytest.mark.parametrize(("qty", "passes"), [("299", True), ("300", True), ("300.01", False)])
def test_max_position_pct_at_its_limit(qty: str, passes: bool) -> None:
    if passes:
        assert approved(wish(qty)).reserve_qty == D(qty)
    else:
        assert "At most 30,000.00 more fits" in refused("MAX_POSITION_PCT", wish(qty)).advice


def test_open_orders_and_the_position_count_into_max_position() -> None:
    refused("MAX_POSITION_PCT", wish("101"), position=D(100), reserved=reserved(buy_qty=D(100)))
    exit_and_entry = reserved(buy_qty=D(160))  # of 100 short, 60 are being closed and 100 more bought: both fill before this one
    refused("MAX_POSITION_PCT", wish("241"), position=D(-100), reserved=exit_and_entry)
    refused("MAX_POSITION_PCT", wish("301", Side.SELL), limits=Limits(enable_shorts=True))


def test_a_market_order_counts_at_the_worse_of_price_and_mark() -> None:
    refused("MAX_POSITION_PCT", wish("300", ord_type=OrdType.LIMIT, price=D("100.02")), limits=Limits())


def test_leverage_counts_positions_and_reservations_everywhere() -> None:
    held = (Holding(broker=BrokerName("kraken"), instrument=BTC, asset_class=AssetClass.CRYPTO, qty=D(-1), mark=D(150_000)),)

    refused("MAX_LEVERAGE", wish("251"), holdings=held, total=reserved(notional=D(25_000)))
    refused("MAX_LEVERAGE", wish("1"), holdings=(replace(held[0], mark=None),))
    refused("CRYPTO_MAX_LEVERAGE", coin_wish(), **CRYPTO, reserved_crypto=D(95_000))


def test_crypto_has_its_own_rules() -> None:
    refused("ENABLE_CRYPTO", coin_wish(), **CRYPTO, limits=Limits(enable_crypto=False))
    refused("CRYPTO_SYMBOLS", coin_wish(), **CRYPTO, limits=Limits(crypto_symbols=frozenset({"ETH"})))
    refused("CRYPTO_MAX_POSITION_PCT", coin_wish("0.3"), **CRYPTO)
    refused("CAPABILITY", coin_wish(time_in_force=TimeInForce.DAY), **CRYPTO)

    assert check(coin_wish(), risk_state(**CRYPTO)).reserve_qty == D("0.1")


@pytest.mark.parametrize(("free", "passes"), [(499_999_999, False), (500_000_000, True), (0, False)])
def test_entries_stop_when_the_journal_has_too_little_room(free: int, passes: bool) -> None:
    room = {"journal_free": free, "journal_free_min": 500_000_000}
    if passes:
        assert approved(**room).reserve_qty == D(10)
    else:
        assert "500 MB free" in refused("DISK_SPACE", **room).limit
    assert approved(wish("10", Side.SELL), position=D(10), **room).reducing


def test_concurrent_positions_count_instruments_not_orders() -> None:
    held = tuple(
        Holding(broker=BROKER, instrument=InstrumentID(name), asset_class=AssetClass.EQUITY, qty=D(1), mark=D(1)) for name in ("A", "B", "C")
    )

    refused("MAX_CONCURRENT_POSITIONS", holdings=held)
    refused("MAX_CONCURRENT_POSITIONS", holdings=held[:2], reserving=frozenset({(BROKER, InstrumentID("D"))}))
    assert approved(holdings=held, limits=Limits(max_concurrent_positions=4)).reserve_qty == D(10)
    assert approved(holdings=held, reserving=frozenset({(BROKER, AAPL)})).reserve_qty == D(10)


def test_halts_stop_entries_and_pass_exits() -> None:
    halt = Halt(scope="all", level=Level.HALT, rule="OWNER", text="stop", set_ns=NOW)
    with pytest.raises(Halted) as caught:
        check(wish(), risk_state(halts=(halt,)))

    assert caught.value.exit_code == 7
    assert approved(wish("5", Side.SELL), halts=(halt,), position=D(5)).reducing
    assert approved(halts=(replace(halt, scope="crypto"), replace(halt, scope="alpaca:TSLA"))).reserve_qty == D(10)
    for scope in ("alpaca", "alpaca:AAPL"):
        with pytest.raises(Halted):
            check(wish(), risk_state(halts=(replace(halt, scope=scope),)))
    with pytest.raises(Halted):
        check(coin_wish(), risk_state(halts=(replace(halt, scope="crypto"),), **CRYPTO))


def test_an_exit_passes_every_loss_limit_and_every_stale_price() -> None:
    broke = mark("1000", day_start=D(100_000), high_water=D(100_000))
    exit_ = wish("5", Side.SELL, reduce_only=True)

    assert approved(exit_, position=D(5), equity=broke, quote=None, account=None, ready=False, reserved=reserved(in_doubt=1)).reducing
    refused("REDUCE_ONLY", exit_, position=D(4))
    refused("REDUCE_ONLY", exit_, position=D(8), reserved=reserved(sell_qty=D(4)))


@pytest.mark.parametrize(
    ("limits", "equity", "rule"),
    [
        (Limits(), mark("90000", day_start=D(100_000), high_water=D(100_000)), "MAX_DAILY_LOSS_PCT"),
        (Limits(), mark("50000", day_start=D(50_000), high_water=D(100_000)), "MAX_DRAWDOWN_PCT"),
    ],
)
def test_losses_stop_entries(limits: Limits, equity: object, rule: str) -> None:
    refused(rule, limits=limits, equity=equity)


def test_just_inside_the_loss_limit_passes() -> None:
    assert approved(equity=mark("90000.01", day_start=D(100_000), high_water=D(100_000))).reserve_qty == D(10)


def test_a_warning_instead_of_a_halt_lets_orders_through() -> None:
    equity = mark("89000", day_start=D(100_000), high_water=D(100_000))

    assert approved(equity=equity, limits=Limits(halt_on_daily_loss=False)).reserve_qty == D(10)
    assert not latches(Limits(halt_on_drawdown=False), breaches(Limits(max_drawdown_pct=D("0.01")), equity, NOW)[1])


def test_crypto_losses_stop_crypto_only() -> None:
    equity = mark(crypto_day_start=D(0), crypto_high=D(0), crypto_pnl=D(-8_000))

    refused("CRYPTO_MAX_DAILY_LOSS_PCT", coin_wish(), equity=equity, **CRYPTO)
    assert approved(equity=equity).reserve_qty == D(10)
    assert [halt.scope for halt in breaches(Limits(), equity, NOW)] == ["crypto"]


def test_old_or_missing_data_stops_entries() -> None:
    refused("QUOTE_AGE", quote=None)
    refused("QUOTE_AGE", quote=quote("100.01", "99.99"))
    refused("QUOTE_AGE", quote=quote(at_ns=NOW - 15 * SECOND - 1))
    refused("QUOTE_AGE", coin_wish(), instrument=coin(), quote=quote("99990", "100010", BTC, NOW - 5 * SECOND - 1))
    refused("ACCOUNT_AGE", account=account(recv_ns=NOW - 61 * SECOND))
    refused("ACCOUNT_AGE", account=None)
    refused("EQUITY", equity=None)
    refused("READY", ready=False)
    refused("ACCOUNT", account=account(tradable=False, text="blocked"))

    assert approved(quote=quote(at_ns=NOW - 15 * SECOND)).reserve_qty == D(10)


def test_the_collar_catches_typing_errors_both_ways() -> None:
    refused("PRICE_COLLAR_PCT", wish(ord_type=OrdType.LIMIT, price=D("103.01")))
    refused("PRICE_COLLAR_PCT", wish("5", Side.SELL, ord_type=OrdType.LIMIT, price=D("96.99")), position=D(5))
    refused("CRYPTO_PRICE_COLLAR_PCT", coin_wish(ord_type=OrdType.LIMIT, price=D(103_001)), **CRYPTO)

    assert approved(wish(ord_type=OrdType.LIMIT, price=D("103"))).request.price == D(103)
    assert approved(wish(ord_type=OrdType.LIMIT, price=D("50"))).request.price == D(50)
    assert approved(wish(ord_type=OrdType.STOP_LIMIT, stop_px=D(120), price=D(121))).request.stop_px == D(120)


def test_throttles_and_duplicates() -> None:
    other = wish("3", intent=IntentID("k0"))
    recent = tuple((NOW - 100_000_000 * n, other) for n in range(5))

    refused("MAX_ORDERS_PER_SECOND", recent=recent)
    refused("MAX_ORDERS_PER_MINUTE", recent=tuple((NOW - 30 * SECOND, other) for _ in range(60)))
    refused("DUPLICATE_ORDER_WINDOW_S", recent=((NOW - 4 * SECOND, replace(wish(), intent=IntentID("k0"))),))

    assert approved(wish(repeat=True), recent=((NOW, replace(wish(repeat=True), intent=IntentID("k0"))),)).reserve_qty == D(10)
    assert approved(recent=((NOW - 5 * SECOND, replace(wish(), intent=IntentID("k0"))),)).reserve_qty == D(10)


def test_open_orders_are_limited() -> None:
    refused("MAX_OPEN_ORDERS", total=reserved(orders=50))
    refused("MAX_OPEN_ORDERS_PER_INSTRUMENT", reserved=reserved(orders=10))


def test_no_trade_with_oneself() -> None:
    resting = order_of(approved(wish("5", Side.SELL, ord_type=OrdType.LIMIT, price=D(101)), position=D(5)))

    refused("SELF_MATCH", working=(resting,))
    refused("SELF_MATCH", wish(ord_type=OrdType.LIMIT, price=D(101)), working=(resting,))
    assert approved(wish(ord_type=OrdType.LIMIT, price=D(100)), working=(resting,)).reserve_qty == D(10)


def test_an_order_in_doubt_blocks_its_instrument() -> None:
    refused("IN_DOUBT", reserved=reserved(in_doubt=1))


def test_shorts_are_refused_unless_allowed_and_never_for_crypto() -> None:
    refused("SHORT", wish("5", Side.SELL))
    refused("SHORT", wish("5", Side.SELL), position=D(4))
    refused("SHORT", coin_wish(side=Side.SELL), **CRYPTO, limits=Limits(enable_shorts=True))
    with pytest.raises(RiskRefused, match=r"2; .* Lower the quantity; coins are sold or they are not held\.$"):
        approved(coin_wish("2", side=Side.SELL), **CRYPTO, limits=Limits(enable_shorts=True))

    assert approved(wish("5", Side.SELL), limits=Limits(enable_shorts=True)).reducing is False


def test_the_brokers_own_rules_are_copied_and_can_be_switched_off() -> None:
    closed = Hours(
        windows=(Window(NOW + SECOND, NOW + 2 * SECOND),), extended=(Window(NOW - SECOND, NOW + 3 * SECOND),), known_until_ns=NOW + 9 * SECOND
    )
    night = wish(ord_type=OrdType.LIMIT, price=D(100), extended_hours=True)

    refused("TRADABLE", instrument=stock(tradable=False))
    refused("LOT", wish("0.0000000001"))
    refused("TICK", wish(ord_type=OrdType.STOP, stop_px=D("99.999")))
    refused("MIN_QTY", coin_wish("0.0002"), quote=CRYPTO["quote"], instrument=coin(min_qty=D("0.001")))
    refused("MIN_NOTIONAL", wish("0.001"), instrument=stock(min_notional=D(1)))
    refused("HOURS", instrument=stock(closed))
    refused("HOURS", instrument=stock(Hours(known_until_ns=NOW)))

    assert approved(night, instrument=stock(closed)).request.extended_hours
    assert approved(wish(time_in_force=TimeInForce.AT_THE_OPENING), instrument=stock(closed)).reserve_qty == D(10)
    assert approved(instrument=stock(tradable=False), limits=Limits(validate_orders=False)).reserve_qty == D(10)


def test_capabilities_are_data() -> None:
    refused("CAPABILITY", wish("1.5", time_in_force=TimeInForce.GTC))
    refused("CAPABILITY", wish(extended_hours=True))
    with pytest.raises(RiskRefused):
        check(wish(), risk_state(facts=replace(FACTS, can_replace=False)), order_of(approved()))


def test_what_is_bought_for_money_alone_is_sold_in_units_alone() -> None:
    facts = replace(FACTS, rules=(replace(FACTS.rules[1], cash_buys=True),))
    cash = wish(None, cash_order_qty=D(1000))

    assert approved(cash, facts=facts).reserve_qty == D(10)
    assert approved(wish("5", Side.SELL), position=D(5), facts=facts).reducing
    refused("CAPABILITY", wish("5"), facts=facts)
    refused("CAPABILITY", replace(cash, side=Side.SELL), position=D(50), facts=facts)


def test_buying_power_is_the_brokers_word() -> None:
    refused("BUYING_POWER", account=account(buying_power=D("999.99")))
    assert approved(account=account(buying_power=D("1000"))).reserve_qty == D(10)


def test_live_money_moves_only_while_armed() -> None:
    arming = Arming(accounts=("PA1",), max_notional=D(1500), spent=D(500), until_ns=NOW + 1)

    refused("ARM", live=True)
    refused("ARM", live=True, arming=replace(arming, until_ns=NOW))
    refused("ARM", live=True, arming=replace(arming, accounts=("PA2",)))
    refused("ARM", live=True, arming=replace(arming, spent=D("500.01")))

    assert approved(live=True, arming=arming).reserve_qty == D(10)
    assert approved(wish("5", Side.SELL), position=D(5), live=True).reducing


def test_cash_orders_are_measured_in_the_units_they_may_buy() -> None:
    cash = wish(None, cash_order_qty=D(1000))

    assert approved(cash).reserve_qty == D(10)
    refused("MAX_POSITION_PCT", replace(cash, cash_order_qty=D("30001")))
    refused("QUOTE_AGE", cash, quote=None)


def test_a_replace_does_not_count_itself_twice_when_closing() -> None:
    old = replace(order_of(approved(wish("5", Side.SELL), position=D(5))), cl_ord_id=ClOrdID("old"))
    short = replace(order_of(approved(wish("5"), position=D(-5))), cl_ord_id=ClOrdID("old"))
    new = check(wish("5", Side.SELL), risk_state(position=D(5), reserved=reserved(sell_qty=D(5), orders=1)), old)

    assert new.reducing
    assert new.orig_cl_ord_id == "old"
    assert check(wish("5"), risk_state(position=D(-5), reserved=reserved(buy_qty=D(5))), short).reducing


def test_errors_in_a_row_halt_the_broker() -> None:
    halt = tripped(Breaker(), Limits(), BROKER, {"rejects": 5, "in_doubt": 0}, NOW)

    assert halt is not None
    assert halt.scope == BROKER
    assert tripped(Breaker(), Limits(), BROKER, {"rejects": 4, "in_doubt": 2}, NOW) is None
    assert tripped(Breaker(), Limits(enable_circuit_breakers=False), BROKER, {"rejects": 9, "in_doubt": 9}, NOW) is None


@given(st.integers(-100, 100), st.integers(1, 100), st.sampled_from(Side), st.integers(0, 50))
def test_a_reducing_order_never_grows_or_turns_a_position(position: int, qty: int, side: Side, open_qty: int) -> None:
    open_orders = reserved(buy_qty=D(open_qty), sell_qty=D(open_qty))
    if reduces(side, D(qty), D(position), open_orders):
        after = Decimal(position + side.sign * (qty + open_qty))

        assert abs(after) <= abs(position)
        assert after * position >= 0


def test_a_stop_that_guards_must_be_able_to_rest() -> None:
    assert approved(wish(protect_stop_px=D("99.98"))).request.protect_stop_px == D("99.98")
    assert approved(wish(ord_type=OrdType.LIMIT, price=D(98), protect_stop_px=D("97.99"))).request.protect_stop_px == D("97.99")
    refused("PROTECT", wish(protect_stop_px=D(100)))
    refused("PROTECT", wish(protect_stop_px=D(0)))
    refused("PROTECT", wish(ord_type=OrdType.LIMIT, price=D(98), protect_stop_px=D(98)))
    refused("TICK", wish(protect_stop_px=D("95.001")))
    refused("PROTECT", wish("5", Side.SELL, protect_stop_px=D(110)), position=D(5))
    short = {"limits": Limits(enable_shorts=True)}
    assert approved(wish("5", Side.SELL, protect_stop_px=D(110)), **short).request.protect_stop_px == D(110)
    refused("PROTECT", wish("5", Side.SELL, protect_stop_px=D(90)), **short)
    refused("QUOTE_AGE", wish(protect_stop_px=D(95)), quote=None)
    assert approved(wish(protect_stop_px=D("95.001")), limits=Limits(validate_orders=False)).request.protect_stop_px == D("95.001")


def test_halts_have_an_order_of_hardness() -> None:
    assert [level.rank for level in (Level.REDUCE_ONLY, Level.HALT, Level.KILL)] == [0, 1, 2]


def test_what_halts_beside_a_halt_joins_it_and_never_softens_it() -> None:
    def halt(rule: str, level: Level) -> Halt:
        return Halt(scope="all", level=level, rule=rule, text=rule.lower(), set_ns=1)

    owners = halt("OWNER", Level.KILL)
    both = joined(owners, replace(halt("KNIGHT", Level.HALT), set_ns=2))
    three = joined(both, halt("CASH", Level.HALT))

    assert both == Halt(scope="all", level=Level.KILL, rule="KNIGHT", text="knight; OWNER: owner", set_ns=2, also=(("OWNER", "owner"),))
    assert (three.rules, three.text) == (("CASH", "KNIGHT", "OWNER"), "cash; KNIGHT: knight; OWNER: owner")
    assert joined(halt("CASH", Level.REDUCE_ONLY), halt("CASH", Level.HALT)) == halt("CASH", Level.HALT)
    assert joined(three, replace(halt("OWNER", Level.HALT), text="again")).text == "again; CASH: cash; KNIGHT: knight"


def test_an_order_without_a_price_is_refused_where_the_sides_are_far_apart() -> None:
    assert approved(quote=quote("99.5", "100.49"))
    refused("MAX_SPREAD_PCT", quote=quote("99.4", "100.6"))
    refused("MAX_SPREAD_PCT", wish(ord_type=OrdType.STOP, stop_px=D(101)), quote=quote("99.4", "100.6"))
    assert approved(wish(ord_type=OrdType.LIMIT, price=D(100)), quote=quote("99.4", "100.6"))
    assert approved(wish("5", Side.SELL), quote=quote("70", "115"), position=D(5)).reducing
    refused("CRYPTO_MAX_SPREAD_PCT", coin_wish(), **(CRYPTO | {"quote": quote("99000", "99600", BTC)}))


def test_the_least_worth_is_measured_at_the_order_s_own_price() -> None:
    least = {"instrument": coin(), "quote": quote("99990", "100010", BTC)}

    refused("MIN_NOTIONAL", coin_wish("0.0001", ord_type=OrdType.LIMIT, price=D(90000)), **least)
    assert approved(coin_wish("0.0002", ord_type=OrdType.LIMIT, price=D(90000)), **least)


def test_a_quote_from_the_future_is_as_bad_as_an_old_one() -> None:
    assert approved(quote=quote(at_ns=NOW + 15 * SECOND))
    refused("QUOTE_AGE", quote=quote(at_ns=NOW + 15 * SECOND + 1))


def test_the_room_that_a_size_is_cut_to_is_what_the_gate_lets_through() -> None:
    """One share more than fits under the tightest of them is refused by its rule."""
    for state in (
        risk_state(),
        risk_state(position=D(40)),
        risk_state(account=account(buying_power=D(900))),
        risk_state(limits=Limits(max_leverage=D("0.02"))),
    ):
        left = room(Side.BUY, D("100"), state)
        rule = min(left, key=lambda name: left[name])
        fits = left[rule] // 100

        assert check(wish(str(fits), repeat=True), state)
        with pytest.raises(RiskRefused, match=rule):
            check(wish(str(fits + 1), repeat=True), state)


def test_room_counts_positions_and_needs_no_account() -> None:
    full = risk_state(limits=Limits(max_concurrent_positions=0), account=None)

    assert room(Side.BUY, D(100), full)["MAX_CONCURRENT_POSITIONS"] == 0
    assert "BUYING_POWER" not in room(Side.BUY, D(100), full)
    assert {"CRYPTO_MAX_POSITION_PCT", "CRYPTO_MAX_LEVERAGE"} <= set(room(Side.BUY, D(100), risk_state(instrument=coin())))
