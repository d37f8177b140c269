"""What the gate says when it says no: the whole sentence, rule, limit, value and advice, because a person acts on it."""

import pytest
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, BTC, FACTS, NOW, SECOND, D, account, coin, mark, quote, reserved, risk_state, stock, wish
from trading_system.core.blotter import order_of
from trading_system.core.risk import Arming, Breaker, Halt, Holding, Level, Limits, breaches, check, room, tripped
from trading_system.domain.errors import BadRequest, Halted, RiskRefused
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.hours import Hours
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import AssetClass

LIMIT = {"ord_type": OrdType.LIMIT, "price": D(100)}
COIN = {"instrument": coin(), "quote": quote("99990", "100010", BTC)}
OTHER = (BrokerName("kraken"), InstrumentID("ETH/USD"))
SELL = wish("5", Side.SELL)
HALT = Halt(scope="all", level=Level.HALT, rule="OWNER", text="drill", set_ns=NOW)
ARMING = Arming(accounts=("PA1",), max_notional=D(1500), spent=D(600), until_ns=NOW + 1)
CLOSED = stock(Hours(known_until_ns=NOW + 1))


def coins(qty: str | None = "0.1", **changes: object):  # type: ignore[no-untyped-def]
    return wish(qty, **({"instrument": BTC, "time_in_force": TimeInForce.GTC} | changes))


def held(qty: str, at: str | None, key: tuple[BrokerName, InstrumentID] = OTHER, kind: AssetClass = AssetClass.CRYPTO) -> Holding:
    return Holding(broker=key[0], instrument=key[1], asset_class=kind, qty=D(qty), mark=None if at is None else D(at))


RESTING = replace(order_of(check(wish("1", Side.SELL, **LIMIT), risk_state(position=D(1)))), cl_ord_id="q1bbbbbbbbbbbbbbbb")

SAID = [
    (wish(), {"halts": (HALT,)}, "OWNER: drill; the limit is no new risk while all is halted. Exits still pass; `trading resume` clears the halt."),
    (
        wish(),
        {"ready": False},
        "READY: the desk is still reading what happened; the limit is a reconciled order stream. Wait a moment and try again.",
    ),
    (
        wish(),
        {"ended": "watch alpaca"},
        "READY: watch alpaca has ended; the limit is a desk of which every part runs. Restart the desk.",
    ),
    (
        SELL,
        {"position": D(5), "account": account(tradable=False, text="blocked")},
        "ACCOUNT: blocked; the limit is an account that may trade. See https://status.alpaca.markets.",
    ),
    (
        wish(),
        {"account": account(tradable=False, text="blocked"), "facts": replace(FACTS, pages={})},
        "ACCOUNT: blocked; the limit is an account that may trade. See the broker.",
    ),
    (
        wish(),
        {"live": True},
        "ARM: account PA1 is not armed; the limit is an armed desk. `trading arm --max-notional … --until …` lets live orders out.",
    ),
    (
        wish(),
        {"live": True, "arming": ARMING},
        "ARM: 1,600.00 in all; the limit is 1,500.00. `trading arm --max-notional … --until …` lets live orders out.",
    ),
    (
        replace(SELL, reduce_only=True),
        {"position": D(3)},
        "REDUCE_ONLY: 5; the limit is the open position of 3. Lower the quantity, or cancel what already closes it.",
    ),
    (
        coins(ord_type=OrdType.STOP, stop_px=D(100_000)),
        COIN,
        None,  # CAPABILITY: its advice names a command, tested with that command
    ),
    (
        wish(extended_hours=True),
        {},
        "CAPABILITY: market day for equity; the limit is limit day orders in extended hours. Use --limit with --tif day, or drop --extended-hours.",
    ),
    (
        wish(protect_stop_px=D(100)),
        {},
        "PROTECT: 100; the limit is a stop below 100. It would go off at once; name another price.",
    ),
    (
        wish("5", Side.SELL, protect_stop_px=D(90)),
        {"limits": Limits(enable_shorts=True)},
        "PROTECT: 90; the limit is a stop above 100. It would go off at once; name another price.",
    ),
    (
        wish("5", Side.SELL, protect_stop_px=D(110)),
        {"position": D(5)},
        "PROTECT: sell only closes; the limit is a stop for what opens. Leave --protect away.",
    ),
    (wish(protect_stop_px=D("95.001")), {}, "TICK: 95.001; the limit is steps of 0.01. Round its price."),
    (coins(), {**COIN, "limits": Limits(enable_crypto=False)}, "ENABLE_CRYPTO: BTC/USD; the limit is no crypto. Set ENABLE_CRYPTO=true to allow it."),
    (
        coins(),
        {**COIN, "limits": Limits(crypto_symbols=frozenset({"SOL", "ETH"}))},
        "CRYPTO_SYMBOLS: BTC; the limit is ETH, SOL. Add it to CRYPTO_SYMBOLS if you mean to trade it.",
    ),
    (
        wish(),
        {"instrument": stock(tradable=False)},
        "TRADABLE: AAPL; the limit is instruments the broker trades. The broker has it listed, but not tradable now.",
    ),
    (coins("0.00015"), COIN, "LOT: 0.00015; the limit is multiples of 0.0001. Round the quantity down."),
    (wish(ord_type=OrdType.STOP, stop_px=D("101.001")), {}, "TICK: 101.001; the limit is steps of 0.01. Round the stop price."),
    (coins(), {**COIN, "instrument": coin(min_qty=D("0.2"))}, "MIN_QTY: 0.1; the limit is 0.2. Raise the quantity."),
    (coins(), {**COIN, "instrument": coin(min_notional=D(20_000))}, "MIN_NOTIONAL: 10,000.00; the limit is 20,000.00. Raise the quantity."),
    (
        wish(),
        {"instrument": CLOSED},
        "HOURS: AAPL is closed; the limit is the trading session. Wait for the open, or use --extended-hours with --limit.",
    ),
    (
        SELL,
        {"position": D(3), "reserved": reserved(sell_qty=D(1))},
        "SHORT: 5; the limit is the 2 you can sell. Lower the quantity; ENABLE_SHORTS=true allows shorting.",
    ),
    (
        coins(),
        {**COIN, "rate": None},
        "FX_RATE: USD has none; the limit is a known price of USD. Run `trading check`: the broker gave no price for it.",
    ),
    (
        coins(),
        {**COIN, "instrument": coin(currency="USDT"), "rate": D("0.985")},
        "DEPEG: 0.985; the limit is a USDT within 1 % of a dollar. Exits still pass.",
    ),
    (
        coins(),
        {**COIN, "unvalued": "ETH/USDT at binance has no price in USD"},
        "CRYPTO_PNL: ETH/USDT at binance has no price in USD; the limit is a known profit and loss of crypto. Run `trading check`; exits still pass.",
    ),
    (
        wish(),
        {"quote": None},
        "QUOTE_AGE: AAPL has no two-sided quote; the limit is a quote no older than 15 s. Wait for the market, or check the data feed.",
    ),
    (
        wish(),
        {"quote": quote(at_ns=NOW - 15_250_000_000)},
        "QUOTE_AGE: 15.25 s; the limit is a quote no older than 15 s. Wait for a fresh quote, or check the data feed.",
    ),
    (
        coins(),
        {**COIN, "quote": quote("99990", "100010", BTC, NOW - 5_001_000_000)},
        "QUOTE_AGE: 5.001 s; the limit is a quote no older than 5 s. Wait for a fresh quote, or check the data feed.",
    ),
    (
        wish(),
        {"account": account(recv_ns=NOW - 61 * SECOND)},
        "ACCOUNT_AGE: older or missing; the limit is account figures no older than ACCOUNT_MAX_AGE_S. Run `trading check`.",
    ),
    (
        wish(ord_type=OrdType.LIMIT, price=D("103.01")),
        {},
        "PRICE_COLLAR_PCT: 103.01; the limit is 3 % from 100. Check the price for a typing error.",
    ),
    (
        wish(),
        {"quote": quote("99.4", "100.6")},
        "MAX_SPREAD_PCT: 99.4 to 100.6, 1.2 %; the limit is 1 % between bid and offer for orders without a price. Name a price with --limit.",
    ),
    (wish(), {"recent": ((NOW, wish("1")),) * 5}, "MAX_ORDERS_PER_SECOND: 5 already; the limit is 5. Wait a second."),
    (wish(), {"recent": ((NOW - 2 * SECOND, wish("1")),) * 60}, "MAX_ORDERS_PER_MINUTE: 60 already; the limit is 60. Wait a minute."),
    (
        wish(),
        {"recent": ((NOW - 4 * SECOND, wish()),)},
        "DUPLICATE_ORDER_WINDOW_S: the same order again; the limit is one such order in 5 s. Use --repeat if you mean it.",
    ),
    (wish(), {"total": reserved(orders=50)}, "MAX_OPEN_ORDERS: 50 open; the limit is 50. Cancel some first."),
    (wish(), {"reserved": reserved(orders=10)}, "MAX_OPEN_ORDERS_PER_INSTRUMENT: 10 open; the limit is 10. Cancel some first."),
    (
        wish(**LIMIT),
        {"working": (RESTING,), "position": D(1)},
        "SELF_MATCH: q1bbbbbbbbbbbbbbbb rests on the other side; the limit is no trade with yourself. Cancel q1bbbbbbbbbbbbbbbb first.",
    ),
    (
        wish(),
        {"reserved": reserved(in_doubt=2)},
        "IN_DOUBT: 2 on AAPL; the limit is no new risk beside an order in doubt. Wait until it is resolved.",
    ),
    (
        wish(),
        {"equity": mark("90000", day_start=D(100_000))},
        "MAX_DAILY_LOSS_PCT: today's loss is 10 % of equity, the limit is 10 %; the limit is no new risk beyond it. Exits still pass.",
    ),
    (
        wish("310"),
        {"position": D(100)},
        "MAX_POSITION_PCT: AAPL would stand at 41,000.00; the limit is 30 % of equity = 30,000.00. At most 20,000.00 more fits.",
    ),
    (
        coins("0.25"),
        COIN,
        "CRYPTO_MAX_POSITION_PCT: BTC/USD would stand at 25,000.00; the limit is 20 % of equity = 20,000.00. At most 20,000.00 more fits.",
    ),
    (
        wish(),
        {"holdings": tuple(held("1", "1", (BROKER, InstrumentID(name)), AssetClass.EQUITY) for name in ("A", "B", "C"))},
        "MAX_CONCURRENT_POSITIONS: 3 open or on their way; the limit is 3. Close one first.",
    ),
    (
        wish(),
        {"holdings": (held("3", None),)},
        "MAX_LEVERAGE: ETH/USD has none; the limit is positions with a known price. Wait for its quote.",
    ),
    (
        wish(),
        {"holdings": (replace(held("3", None), here=False),)},
        f"MAX_LEVERAGE: ETH/USD at {OTHER[0]} has none; the limit is positions with a known price. {OTHER[0]} is not on this desk: put its key back.",
    ),
    (
        wish(),
        {"holdings": (held("-50", "3900"),), "total": reserved(notional=D(5000))},
        "MAX_LEVERAGE: exposure would be 201,000.00; the limit is 2 × equity = 200,000.00. Lower the quantity or close something.",
    ),
    (
        coins(),
        {**COIN, "holdings": (held("20", "4000"),), "reserved_crypto": D(15_000)},
        "CRYPTO_MAX_LEVERAGE: exposure would be 105,000.00; the limit is 1 × equity = 100,000.00. Lower the quantity or close something.",
    ),
    (wish(), {"account": account(buying_power=D(999))}, "BUYING_POWER: 1,000.00; the limit is 999.00. Lower the quantity."),
    (
        wish(),
        {"equity": None},
        "EQUITY: the accounts report none; the limit is a known equity above zero. Run `trading check`.",
    ),
]


@pytest.mark.parametrize(("request_", "state", "said"), SAID, ids=range(len(SAID)))
def test_a_refusal_says_rule_value_limit_and_what_to_do(request_: object, state: dict[str, object], said: str | None) -> None:
    with pytest.raises(RiskRefused) as caught:
        check(request_, risk_state(**state))  # type: ignore[arg-type]

    assert said is None or str(caught.value) == said
    assert isinstance(caught.value, Halted) is (state.get("halts") is not None)


BAD = [
    ({"order_qty": None}, "give either a quantity or an amount of money, not both and not neither"),
    ({"order_qty": D(0)}, "a quantity or amount is greater than zero; to sell, use sell"),
    ({"ord_type": OrdType.LIMIT}, "a limit order needs a limit price greater than zero"),
    ({"ord_type": OrdType.STOP}, "a stop order needs a stop price greater than zero"),
    ({"price": D(1)}, "a market order takes no limit price"),
    ({"stop_px": D(1)}, "a market order takes no stop price"),
    (
        {"order_qty": None, "cash_order_qty": D(5), "ord_type": OrdType.LIMIT, "price": D(1)},
        "an amount of money goes with a market order; give a quantity for the other types",
    ),
]


@pytest.mark.parametrize(("changes", "said"), BAD, ids=range(len(BAD)))
def test_what_is_no_order_says_why(changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check(replace(wish(), **changes), risk_state())

    assert str(caught.value) == said


def test_a_loss_is_a_halt_with_its_figures() -> None:
    hurt = mark("80000", day_start=D(100_000), high_water=D(200_000), crypto_day_start=D(0), crypto_high=D(90_000), crypto_pnl=D(-9_000))

    assert breaches(Limits(), hurt, NOW) == tuple(
        Halt(scope=scope, level=Level.REDUCE_ONLY, rule=rule, text=text, set_ns=NOW)
        for scope, rule, text in (
            ("all", "MAX_DAILY_LOSS_PCT", "today's loss is 20 % of equity, the limit is 10 %"),
            ("all", "MAX_DRAWDOWN_PCT", "the fall from the highest equity is 60 % of equity, the limit is 50 %"),
            ("crypto", "CRYPTO_MAX_DAILY_LOSS_PCT", "today's crypto loss is 9 % of equity, the limit is 8 %"),
            ("crypto", "CRYPTO_MAX_DRAWDOWN_PCT", "the fall of crypto from its best is 49.5 % of equity, the limit is 40 %"),
        )
    )


def test_the_breaker_says_what_it_counted() -> None:
    def halt(text: str) -> Halt:
        return Halt(scope=BROKER, level=Level.HALT, rule="CIRCUIT_BREAKER", text=text, set_ns=NOW)

    assert tripped(Breaker(), Limits(), BROKER, {"rejects": 5, "in_doubt": 0}, NOW) == halt("5 orders refused within a minute at alpaca")
    assert tripped(Breaker(), Limits(), BROKER, {"rejects": 4, "in_doubt": 3}, NOW) == halt("3 orders in doubt at once at alpaca")
    assert tripped(Breaker(), Limits(), BROKER, {"rejects": 4, "in_doubt": 2}, NOW) is None
    assert tripped(Breaker(), Limits(enable_circuit_breakers=False), BROKER, {"rejects": 9, "in_doubt": 9}, NOW) is None


@pytest.mark.parametrize(
    ("state", "passes"),
    [
        ({"equity": mark("90000.01", day_start=D(100_000))}, True),
        ({"account": account(recv_ns=NOW - 60 * SECOND)}, True),
        ({"account": account(buying_power=D(1000))}, True),
        ({"recent": ((NOW - SECOND, wish("1")),) * 59}, True),
        ({"recent": ((NOW - 60 * SECOND, wish("1")),) * 99}, True),
        ({"recent": ((NOW - 5 * SECOND, wish()),)}, True),
        ({"total": reserved(orders=49)}, True),
        ({"holdings": (held("49.75", "3900"),), "total": reserved(notional=D("4975"))}, True),
        ({"live": True, "arming": replace(ARMING, max_notional=D(1600))}, True),
        ({"live": True, "arming": replace(ARMING, max_notional=D(1600), until_ns=NOW)}, False),
        ({"live": True, "arming": replace(ARMING, max_notional=D(1600), accounts=("PA2",))}, False),
        ({"halts": (replace(HALT, scope="crypto"),)}, True),
        ({"halts": (replace(HALT, scope=f"{BROKER}:{AAPL}"),)}, False),
        ({"equity": mark("0")}, False),
    ],
    ids=range(14),
)
def test_the_edge_itself(state: dict[str, object], passes: bool) -> None:
    if passes:
        assert check(wish(), risk_state(**state)).reserve_qty == D(10)
    else:
        with pytest.raises(RiskRefused):
            check(wish(), risk_state(**state))


# -- to the last field ------------------------------------------------------------------------------------------------------------------------


def test_what_may_leave_has_every_field() -> None:
    resting = replace(order_of(check(wish("1", **LIMIT), risk_state())), order_id="o7")
    passed = check(wish("2", **LIMIT), risk_state(dry_run=True, instrument=stock(multiplier=D(100)), account=account("1000000")), resting)

    assert (passed.account, passed.symbol, passed.cl_ord_id, passed.dry_run, passed.approved_ns) == ("PA1", "AAPL", "q1aaaaaaaaaaaaaaaa", True, NOW)
    assert (passed.orig_cl_ord_id, passed.orig_order_id) == (resting.cl_ord_id, "o7")
    assert (passed.reserve_px, passed.reserve_qty, passed.reducing) == (D(10_000), D(2), False)
    plain_order = check(wish("2"), risk_state())
    assert (plain_order.orig_cl_ord_id, plain_order.orig_order_id, plain_order.dry_run) == (None, None, False)
    unknown = check(wish("5", Side.SELL), risk_state(account=None, position=D(5)))
    assert (unknown.account, unknown.reducing) == ("", True)


def test_the_multiplier_counts_in_every_sum() -> None:
    contract = {"instrument": stock(multiplier=D(100))}

    assert check(wish("2"), risk_state(**contract)).reserve_qty == D(2)
    for rule, state in (
        ("MAX_POSITION_PCT", {"position": D(2)}),
        ("BUYING_POWER", {"account": account(buying_power=D(19_999))}),
        ("MAX_LEVERAGE", {"holdings": (held("19", "10000", kind=AssetClass.EQUITY),)}),
    ):
        with pytest.raises(RiskRefused) as caught:
            check(wish("2"), risk_state(**contract, **state))  # type: ignore[arg-type]
        assert caught.value.rule == rule
    cheap = {"instrument": stock(multiplier=D("0.01"), min_notional=D(2))}
    with pytest.raises(RiskRefused, match="MIN_NOTIONAL"):
        check(wish("1", **LIMIT), risk_state(**cheap))
    assert check(wish("2", **LIMIT), risk_state(**cheap)).reserve_qty == D(2)  # exactly the least


def test_an_inverse_contract_counts_the_same_at_any_price() -> None:
    contract = {"instrument": stock(inverse=True, multiplier=D(10))}
    for price in ("99", "101"):
        approval = check(wish("50", **(LIMIT | {"price": D(price)})), risk_state(**contract))
        assert (approval.reserve_qty, approval.reserve_px) == (D(50), D(10))
    assert (
        room(Side.BUY, D(100), risk_state(**contract, position=D(50)))["MAX_POSITION_PCT"]
        == room(Side.BUY, D(100), risk_state(position=D(5)))["MAX_POSITION_PCT"]
    )
    for rule, state in (("BUYING_POWER", {"account": account(buying_power=D(499))}), ("MIN_NOTIONAL", {})):
        listed = {"instrument": stock(inverse=True, multiplier=D(10), min_notional=D(501))} if rule == "MIN_NOTIONAL" else contract
        with pytest.raises(RiskRefused, match=rule):
            check(wish("50", **LIMIT), risk_state(**listed, **state))  # type: ignore[arg-type]


def test_shorts_are_measured_like_longs_and_exits_in_fractions_are_exits() -> None:
    short = {"limits": Limits(enable_shorts=True)}

    assert check(wish("200", Side.SELL), risk_state(position=D(-100), **short)).reserve_qty == D(200)
    for state in ({"position": D(-101)}, {"position": D(-50), "reserved": reserved(sell_qty=D(51))}):
        with pytest.raises(RiskRefused, match="MAX_POSITION_PCT"):
            check(wish("200", Side.SELL), risk_state(**short, **state))  # type: ignore[arg-type]
    assert check(wish("200", Side.SELL), risk_state(position=D(-50), reserved=reserved(buy_qty=D(51)), **short)).reserve_qty == D(200)
    with pytest.raises(RiskRefused, match="SHORT"):
        check(wish("5", Side.SELL), risk_state(position=D(5), reserved=reserved(sell_qty=D("0.5"))))
    assert check(wish("0.5", Side.SELL), risk_state(position=D("0.5"), halts=(HALT,))).reducing
    assert check(wish("0.5"), risk_state(position=D("-0.5"), halts=(HALT,))).reducing
    with pytest.raises(RiskRefused, match="SHORT"):
        check(wish("5", Side.SELL), risk_state(instrument=stock(shortable=False), **short))
    with pytest.raises(RiskRefused, match="SHORT"):
        check(coins(side=Side.SELL), risk_state(**{**COIN, "instrument": coin(shortable=True)}, **short))


def test_every_holding_counts_and_only_coins_count_as_coins() -> None:
    stocks = tuple(held("500", "100", (BROKER, InstrumentID(name)), AssetClass.EQUITY) for name in ("A", "B", "C", "D"))
    wide = {"limits": Limits(max_concurrent_positions=9)}

    with pytest.raises(RiskRefused, match=r"MAX_LEVERAGE: exposure would be 201,000\.00"):
        check(wish(), risk_state(holdings=stocks, **wide))
    assert check(coins(), risk_state(**COIN, holdings=stocks[:3], **wide)).reserve_qty == D("0.1")
    two = (held("10", "5000"), held("10", "5000", (BROKER, InstrumentID("SOL/USD"))))
    with pytest.raises(RiskRefused, match=r"CRYPTO_MAX_LEVERAGE: exposure would be 110,000\.00"):
        check(coins(), risk_state(**COIN, holdings=two, **wide))


def test_each_asset_class_has_its_own_collar_and_its_own_halts() -> None:
    apart = {"limits": Limits(price_collar_pct=D("0.05"), crypto_price_collar_pct=D("0.01"))}

    assert check(wish(ord_type=OrdType.LIMIT, price=D(104)), risk_state(**apart)).reserve_px == D(104)
    with pytest.raises(RiskRefused, match=r"CRYPTO_PRICE_COLLAR_PCT: 102000; the limit is 1 %"):
        check(coins(ord_type=OrdType.LIMIT, price=D(102_000)), risk_state(**COIN, **apart))
    assert check(wish(), risk_state(quote=quote("99.5", "100.5"))).reserve_qty == D(10)  # a spread of exactly one percent
    hurt = mark("99000", day_start=D(99_000), high_water=D(99_000), crypto_day_start=D(0), crypto_pnl=D(-9_000))
    assert check(wish(), risk_state(equity=hurt)).reserve_qty == D(10)
    with pytest.raises(RiskRefused, match="CRYPTO_MAX_DAILY_LOSS_PCT"):
        check(coins(), risk_state(**COIN, equity=hurt))


def test_the_sentence_about_room_for_the_journal() -> None:
    with pytest.raises(RiskRefused) as caught:
        check(wish(), risk_state(journal_free=123_456_789, journal_free_min=500_000_000))

    said = "DISK_SPACE: 123 MB left; the limit is 500 MB free on the journal's volume."
    assert str(caught.value) == f"{said} Free some there and, if it was full, start the desk again; exits, cancels and halts still pass."
    with pytest.raises(RiskRefused) as caught:
        check(coins("0.1", ord_type=OrdType.STOP, stop_px=D(100_000)), risk_state(**COIN))
    said = "CAPABILITY: stop gtc for crypto; the limit is what Alpaca takes. See `trading brokers` for its order types and times in force."
    assert str(caught.value) == said
    with pytest.raises(RiskRefused, match="CAPABILITY: fractional limit gtc for equity"):
        check(wish("0.5", ord_type=OrdType.LIMIT, price=D(100), time_in_force=TimeInForce.GTC), risk_state())


def test_limits_are_measured_in_the_base_currency() -> None:
    """A price of 100 in a currency worth 2 counts 200: reserved so, and a position limit is reached at half the units."""
    doubled = risk_state(rate=D(2))

    assert check(wish("100"), doubled).reserve_px == 2 * check(wish("100"), risk_state()).reserve_px
    check(wish("200"), risk_state())
    with pytest.raises(RiskRefused, match="MAX_POSITION_PCT"):
        check(wish("200"), doubled)


def test_an_exit_passes_whatever_its_currency_is_worth() -> None:
    for rate in (None, D("0.5")):
        assert check(wish("5", Side.SELL), risk_state(position=D(5), instrument=stock(currency="USDT"), rate=rate)).reducing
