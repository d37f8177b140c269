"""Numbers, ids, hours, times and errors: the door through which everything comes."""

import decimal
import threading
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import AAPL, FACTS, NOW, SECOND, D, quote, stock
from trading_system.domain import errors
from trading_system.domain.fix import Contingency, OrdType, Side, TimeInForce
from trading_system.domain.hours import ALWAYS, Hours, Window, is_open, next_open_ns
from trading_system.domain.ids import IntentID, derive_cl_ord_id, is_ours, parse_instrument, parse_intent
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import bounded, on_grid, parse_decimal, plain, round_price, round_qty
from trading_system.domain.ports import LinkRule, OrderRule
from trading_system.domain.times import parse_rfc3339, rfc3339


@pytest.mark.parametrize(
    "text", ["NaN", "inf", "1_000", "１２", "1e999999", "", " 1", "1 ", "0x1", "1e19", "1e-19", "--1", ".5", "1.", "+1", "1" * 19, "1\n"]
)
def test_numbers_have_one_grammar(text: str) -> None:
    with pytest.raises(ValueError, match=r"plain number|out of range"):
        parse_decimal(text)


@pytest.mark.parametrize(
    "text", ["1e18", "-1E+2", "1.5e-18", "0.1234567890123456789012345", "000000000000000000001", "-0.0", "9" * 18 + "." + "9" * 18]
)
def test_unusual_numbers_are_read_exactly(text: str) -> None:
    assert str(parse_decimal(text)) == str(Decimal(text))


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("inf"), Decimal("1e999999"), Decimal("1e-999")])
def test_decoded_numbers_are_bounded(value: Decimal) -> None:
    with pytest.raises(ValueError, match=r"finite|range"):
        bounded(value)


def test_mixing_with_floats_is_trapped_in_every_thread() -> None:
    caught: list[type[BaseException]] = []

    def mix() -> None:
        try:
            Decimal("1.1") < 1.1  # type: ignore[operator]  # noqa: B015
        except decimal.FloatOperation:
            caught.append(decimal.FloatOperation)

    thread = threading.Thread(target=mix)
    thread.start()
    thread.join()
    mix()

    assert caught == [decimal.FloatOperation, decimal.FloatOperation]


@given(st.decimals(-(10**12), 10**12, allow_nan=False, places=9))
def test_plain_text_is_read_back_as_the_same_number(value: Decimal) -> None:
    assert parse_decimal(plain(value)) == value
    assert "e" not in plain(value).lower()


@given(st.decimals("0.01", 10**6, places=4), st.sampled_from(["0.01", "0.25", "0.0001"]), st.sampled_from(Side))
def test_rounding_never_passes_what_was_asked(price: Decimal, tick: str, side: Side) -> None:
    rounded = round_price(price, Decimal(tick), side)

    assert on_grid(rounded, Decimal(tick))
    assert (price - rounded) * side.sign >= 0
    assert abs(price - rounded) < Decimal(tick)
    assert 0 <= price - round_qty(price, Decimal(tick)) < Decimal(tick)


def test_client_order_ids_are_ours_and_stable() -> None:
    one = derive_cl_ord_id("PA1", "paper", IntentID("k"))

    assert one == derive_cl_ord_id("PA1", "paper", IntentID("k"))
    assert len({one, derive_cl_ord_id("PA2", "paper", IntentID("k")), derive_cl_ord_id("PA1", "live", IntentID("k"))}) == 3
    assert len(one) == 18
    assert is_ours(one)
    assert not is_ours("my-order")


def test_names_are_parsed_at_the_door() -> None:
    assert parse_instrument("BRK.B") == "BRK.B"
    assert parse_intent("buy-1") == "buy-1"
    for bad in ("btc/usd", "", "A B", "BTC/", "A" * 32):
        with pytest.raises(ValueError, match="no instrument"):
            parse_instrument(bad)
    with pytest.raises(ValueError, match="intent"):
        parse_intent("two words")


def test_hours_are_data_and_run_out() -> None:
    hours = Hours(windows=(Window(10, 20), Window(30, 40)), extended=(Window(5, 25),), known_until_ns=50)

    assert [is_open(hours, t) for t in (9, 10, 19, 20, 50)] == [False, True, True, False, None]
    assert is_open(hours, 22, extended=True)
    assert (next_open_ns(hours, 12), next_open_ns(hours, 22), next_open_ns(hours, 45)) == (12, 30, None)
    assert is_open(ALWAYS, 1)
    assert next_open_ns(ALWAYS, 7) == 7


def test_times_keep_every_nanosecond() -> None:
    assert parse_rfc3339("2026-09-01T13:30:00Z") == parse_rfc3339("2026-09-01T09:30:00-04:00")
    assert rfc3339(parse_rfc3339("2026-09-01T13:30:00.000000001Z")) == "2026-09-01T13:30:00.000000001Z"
    with pytest.raises(ValueError, match="RFC 3339"):
        parse_rfc3339("2026-09-01 13:30")


def test_a_quote_without_two_sides_has_no_middle() -> None:
    one_sided = quote()
    assert one_sided.mid == D(100)
    assert one_sided.touch(Side.BUY) == D("100.01")
    assert one_sided.touch(Side.SELL) == D("99.99")
    assert quote("101", "100").mid is None

    from msgspec.structs import replace

    assert replace(one_sided, bid_px=None).mid is None


def test_small_words() -> None:
    assert Side.BUY.opposite is Side.SELL
    assert Side.SELL.opposite is Side.BUY
    assert [kind.has_price for kind in OrdType] == [False, True, False, True, False, False]
    assert [kind.has_stop for kind in OrdType] == [False, False, True, True, False, True]
    assert stock().tick(D("0.5")) == D("0.0001")
    assert stock().id == AAPL
    assert SECOND < NOW


def test_every_error_says_what_a_command_ends_with() -> None:
    codes = {
        errors.Rejected("no"): 1,
        errors.NotSent("no"): 1,
        errors.BadRequest("no"): 2,
        errors.LeaseHeld("no"): 3,
        errors.AuthFailed("no", "do this"): 4,
        errors.Unavailable("no"): 5,
        errors.RateLimited("no", 5): 5,
        errors.ProtocolError("no", b"raw"): 5,
        errors.ProtocolError("no"): 5,
        errors.InDoubt("no"): 6,
        errors.Halted("r", "l", "v", "a"): 7,
        errors.JournalError("no"): 8,
    }

    assert {type(error): error.exit_code for error in codes} == {type(error): code for error, code in codes.items()}
    assert "do this" in str(errors.AuthFailed("no", "do this"))
    assert "raw" in str(errors.ProtocolError("no", b"raw"))


def test_an_order_gets_the_usual_time_that_its_broker_takes() -> None:
    alone = msgspec.structs.replace(
        FACTS, rules=(OrderRule(AssetClass.FOREX, frozenset({OrdType.MARKET}), frozenset({TimeInForce.FOK}), fractional=True),)
    )

    assert FACTS.usual_time(AssetClass.EQUITY, OrdType.MARKET) is TimeInForce.DAY
    assert FACTS.usual_time(AssetClass.CRYPTO, OrdType.LIMIT) is TimeInForce.GTC
    assert alone.usual_time(AssetClass.FOREX, OrdType.MARKET) is TimeInForce.FOK
    assert alone.usual_time(AssetClass.FOREX, OrdType.STOP) is TimeInForce.DAY  # taken by none: the gate says so


def test_linked_orders_stand_as_long_as_their_broker_takes_them() -> None:
    line = LinkRule(AssetClass.FOREX, frozenset({Contingency.BRACKET}), frozenset({OrdType.MARKET}), frozenset({TimeInForce.FOK}), can_replace=False)
    facts = msgspec.structs.replace(
        FACTS,
        links=(line, msgspec.structs.replace(line, asset_class=AssetClass.EQUITY, times_in_force=frozenset({TimeInForce.DAY, TimeInForce.GTC}))),
    )

    assert facts.usual_time(AssetClass.EQUITY, OrdType.MARKET, Contingency.BRACKET) is TimeInForce.GTC
    assert facts.usual_time(AssetClass.FOREX, OrdType.MARKET, Contingency.BRACKET) is TimeInForce.FOK
    assert facts.usual_time(AssetClass.FOREX, OrdType.MARKET, Contingency.OCO) is TimeInForce.GTC  # taken by none: the gate says so
