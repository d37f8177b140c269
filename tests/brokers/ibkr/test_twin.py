"""The TWS twin, held to what is published and recorded of TWS: hello, layouts, orders by its rules, refusals, and what goes wrong with it."""

from decimal import Decimal

import pytest

from tests.brokers.ibkr.tws_client import AAPL, Tws, errors, kinds
from trading_system.brokers.ibkr.wire import UNSET, Asks, Tells, Value, join
from trading_system.sim.clock import START_NS

D = Decimal


def test_hello_is_two_fields_and_then_nothing_until_the_client_starts() -> None:
    tws = Tws()
    conn = tws.twin.open("", {}, START_NS)
    assert isinstance(conn, int)
    tws.twin.frame(conn, "API\0", START_NS)
    assert tws.twin.drain() == []
    tws.twin.frame(conn, b"v100..225", START_NS)

    ((_, hello),) = tws.twin.drain()
    assert isinstance(hello, bytes)
    assert hello.split(b"\0")[0] == b"178"
    assert hello.count(b"\0") == 2
    tws.twin.frame(conn, join(Asks.POSITIONS, 1), START_NS)
    assert tws.twin.drain() == []


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1", b"API\0extra"])
def test_who_speaks_another_language_is_cut_off(first: bytes) -> None:
    tws = Tws()
    conn = tws.twin.open("", {}, START_NS)
    assert isinstance(conn, int)
    tws.twin.frame(conn, first, START_NS)

    assert tws.twin.drain() == [(conn, None)]


@pytest.mark.parametrize("versions", [b"v100..157", b"v157", b"nonsense", b"v9..x"])
def test_a_client_that_is_too_old_is_cut_off(versions: bytes) -> None:
    tws = Tws()
    conn = tws.twin.open("", {}, START_NS)
    assert isinstance(conn, int)
    for frame in ("API\0", versions):
        tws.twin.frame(conn, frame, START_NS)

    assert tws.twin.drain() == [(conn, None)]


def test_a_client_hears_its_accounts_its_next_id_and_how_the_farms_are() -> None:
    heard = Tws(others=("DU2",)).connect()

    assert kinds(heard) == [Tells.MANAGED_ACCOUNTS, Tells.NEXT_ID, Tells.ERROR, Tells.ERROR]
    assert heard[0][2].endswith(",DU2")
    assert heard[1] == ["9", "1", "1"]
    assert [code for _, code in errors(heard)] == [2104, 2106]


def test_a_client_id_is_given_out_once() -> None:
    tws = Tws()
    tws.connect(7)
    first = tws.conns[7]
    assert errors(tws.connect(7)) == [(-1, 326)]
    assert tws.closed == [tws.conns[7]]
    tws.twin.closed(first)
    assert Tells.NEXT_ID in kinds(tws.connect(7))


LENGTHS = {
    Tells.ORDER_STATUS: 12,
    Tells.ERROR: 6,
    Tells.OPEN_ORDER: 135,
    Tells.EXECUTION: 32,
    Tells.COMMISSION: 8,
    Tells.PORTFOLIO: 20,
    Tells.POSITION: 16,
    Tells.COMPLETED_ORDER: 100,
    Tells.ACCOUNT_VALUE: 6,
    Tells.TICK_PRICE: 7,
    Tells.CONTRACT: 40,
    Tells.NEXT_ID: 3,
}


def test_every_message_has_as_many_fields_as_at_version_178() -> None:
    tws = Tws()
    heard = [*tws.connect(), *tws.place(1, qty="3"), *tws.wait(2)]
    for asked in (
        (Asks.ACCOUNT_UPDATES, 2, 1, tws.twin.account),
        (Asks.POSITIONS, 1),
        (Asks.COMPLETED_ORDERS, 0),
        (Asks.CONTRACT_DETAILS, 8, 9000, *AAPL, 0, "", "", ""),
        (Asks.MARKET_DATA, 11, 9001, *AAPL, 0, "", 1, 0, ""),
        (Asks.CANCEL_ORDER, 1, 77, ""),
    ):
        heard += tws.say(*asked)
    seen = {Tells(int(fields[0])): len(fields) for fields in heard}

    assert {kind: seen[kind] for kind in LENGTHS} == LENGTHS


def test_a_market_order_goes_its_recorded_way() -> None:
    tws = Tws()
    tws.connect()
    heard = [*tws.place(1, qty="2"), *tws.wait(1)]
    words = [fields[2] for fields in heard if fields[0] == "3"]
    shown = [fields for fields in heard if fields[0] == "5"]
    (done,) = [fields for fields in heard if fields[0] == "11"]
    (fee,) = [fields for fields in heard if fields[0] == "59"]

    assert words[0] == "PreSubmitted"
    assert words[-1] == "Filled"
    assert kinds(heard)[0] is Tells.OPEN_ORDER  # shown before its first status
    assert {fields[25] for fields in shown} == {done[21]} == {fields[6] for fields in heard if fields[0] == "3"} != {"0"}  # permId
    assert (done[1], done[18], done[19], done[26]) == ("-1", "BOT", "2", "ref-1")
    assert fee[2] == done[14]
    assert kinds(heard).index(Tells.COMMISSION) > kinds(heard).index(Tells.EXECUTION)


def test_fees_may_come_first() -> None:
    tws = Tws()
    tws.connect()
    tws.twin.trading.commission_first = True
    heard = kinds([*tws.place(1), *tws.wait(1)])

    assert heard.index(Tells.COMMISSION) < heard.index(Tells.EXECUTION)


def test_a_cancel_is_told_by_status_and_confirmed_by_an_error() -> None:
    tws = Tws()
    tws.connect()
    tws.place(1, kind="LMT", f19=tws.price("0.9"))
    tws.wait(1)
    heard = [*tws.say(Asks.CANCEL_ORDER, 1, 1, ""), *tws.wait(1)]

    assert [fields[2] for fields in heard if fields[0] == "3"][-1] == "Cancelled"
    assert errors(heard) == [(1, 202)]
    assert heard.index(next(fields for fields in heard if fields[0] == "4")) == len(heard) - 1
    assert errors(tws.say(Asks.CANCEL_ORDER, 1, 1, "")) == [(1, 10148)]
    assert errors(tws.say(Asks.CANCEL_ORDER, 1, 99, "")) == [(99, 10147)]


REFUSED: list[tuple[dict[str, Value], int]] = [
    ({"kind": "NONSENSE"}, 321),
    ({"qty": "0"}, 160),
    ({"qty": "0.5"}, 10243),
    ({"qty": "1000000"}, 201),
    ({"kind": "LMT", "f19": "100.123"}, 110),
    ({"kind": "LMT"}, 321),
    ({"kind": "MOC", "f21": "GTC"}, 111),
    ({"f23": "DU0000000"}, 201),
    ({"action": "SELL"}, 201),  # nobody lends here
    ({"f2": 0, "f3": "NOBODY"}, 200),
    ({"f17": "many"}, 320),
    ({"kind": "LMT", "f19": "100", "f28": 77}, 10006),
]


@pytest.mark.parametrize(("fields", "code"), REFUSED)
def test_what_tws_refuses_it_refuses_by_its_code(fields: dict[str, Value], code: int) -> None:
    tws = Tws()
    tws.connect()

    heard = tws.place(1, **fields)  # type: ignore[arg-type]
    assert errors(heard) == [(1, code)]
    assert Tells.OPEN_ORDER not in kinds(heard)
    assert tws.twin.exchange.open_orders() == []


def test_a_number_is_used_once_and_a_known_one_is_a_change() -> None:
    tws = Tws()
    tws.connect()
    tws.place(5, kind="LMT", f19=tws.price("0.9"))
    tws.wait(1)

    assert errors(tws.place(4)) == [(4, 103)]
    lower = tws.price("0.8")
    heard = [*tws.place(5, kind="LMT", f19=lower), *tws.wait(1)]
    assert next(fields for fields in heard if fields[0] == "5")[16] == str(lower)
    assert len(tws.twin.trading.placed) == 1
    assert errors(tws.place(5, action="SELL", kind="LMT", f19=tws.price("0.8"))) == [(5, 105)]
    tws.say(Asks.GLOBAL_CANCEL, 1)
    tws.wait(1)
    assert errors(tws.place(5, kind="LMT", f19=tws.price("0.8"))) == [(5, 104)]


def test_a_forgotten_time_in_force_is_told_and_set() -> None:
    tws = Tws()
    tws.connect()
    heard = [*tws.place(1, kind="LMT", f19=tws.price("0.9"), f21=""), *tws.wait(1)]

    assert errors(heard) == [(1, 10349)]
    assert next(fields for fields in heard if fields[0] == "5")[18] == "DAY"


def test_blocks_that_only_some_orders_have_are_read_by_their_rule() -> None:
    """What ib_async sends again of an order that TWS has shown: the word None, and eight fields behind it."""
    tws = Tws()
    tws.connect()
    order: list[Value] = [
        Asks.PLACE_ORDER,
        1,
        *AAPL,
        "",
        "",
        "BUY",
        1,
        "LMT",
        tws.price("0.9"),
        "",
        "DAY",
        "",
        tws.twin.account,
        "O",
        0,
        "again",
        1,
        0,
    ]
    order += [""] * (114 - len(order))
    order[64], order[81], order[84], order[89] = "None", 0, 0, 0
    order[66:66] = [0, "", "", "", "?", 0, 0, ""]
    heard = [*tws.say(*order), *tws.wait(1)]

    assert next(fields for fields in heard if fields[0] == "5")[23] == "again"


def test_a_what_if_shows_the_margin_and_places_nothing() -> None:
    tws = Tws()
    tws.connect()
    (shown,) = tws.place(1, kind="LMT", qty="10", f19="200", f84=1)

    assert (shown[92], shown[93]) == ("1", "PreSubmitted")
    assert D(shown[97]) == 2000
    assert UNSET not in shown[94:104]
    assert tws.twin.trading.placed == {}


def test_a_bracket_works_when_its_last_part_is_sent() -> None:
    tws = Tws()
    tws.connect()
    assert tws.place(1, kind="LMT", qty="5", f19=tws.price("1.02"), f27=0) == []
    assert tws.place(2, "SELL", "5", "LMT", f19=tws.price("1.2"), f28=1, f27=0) == []
    heard = [*tws.place(3, "SELL", "5", "STP", f20=tws.price("0.8"), f28=1), *tws.wait(2)]
    last = {fields[1]: (fields[2], fields[10]) for fields in heard if fields[0] == "3"}

    assert last == {"1": ("Filled", ""), "2": ("Submitted", ""), "3": ("PreSubmitted", "trigger")}
    assert ("2", "PreSubmitted", "child") in {(fields[1], fields[2], fields[10]) for fields in heard if fields[0] == "3"}


# -- what goes wrong -------------------------------------------------------------------------------------------------------------------------------


def test_read_only_refuses_what_changes_and_lists_of_orders() -> None:
    tws = Tws(read_only=True)
    tws.connect()

    for heard in (tws.place(1), tws.say(Asks.ALL_OPEN_ORDERS, 1), tws.say(Asks.COMPLETED_ORDERS, 0)):
        assert [code for _, code in errors(heard)] == [321]
        assert "Read-Only" in heard[0][4]
    assert Tells.POSITION_END in kinds(tws.say(Asks.POSITIONS, 1))


def test_nothing_is_told_while_the_link_is_lost_and_all_can_be_asked_for_later() -> None:
    tws = Tws()
    tws.connect()
    tws.place(1, kind="LMT", f19=tws.price("0.999"))
    tws.wait(1)
    tws.twin.lose()
    assert errors(tws.wait(1)) == [(-1, 1100)]
    assert tws.place(2) == []
    tws.wait(600)
    tws.twin.restore(kept=False)
    heard = tws.wait(1)

    assert (-1, 1101) in errors(heard)
    assert "2" in {fields[1] for fields in heard if fields[0] == "3"}  # what waited is sent now
    listed = tws.say(Asks.EXECUTIONS, 3, 9000, 0, "", "", "", "", "", "")
    assert kinds(listed)[-1] is Tells.EXECUTION_END
    assert {fields[1] for fields in listed if fields[0] == "11"} == {"9000"}


def test_a_restart_closes_every_socket_and_the_next_id_may_go_back() -> None:
    tws = Tws()
    tws.connect()
    tws.place(40, kind="LMT", f19=tws.price("0.9"))
    tws.place(41, kind="LMT", f19=tws.price("0.9"), f27=0)  # not transmitted: lost with TWS
    tws.wait(1)
    conn = tws.conns[1]
    tws.twin.restart(back=4)
    heard = tws.connect()

    assert conn in tws.closed
    assert heard[1] == ["9", "1", "38"]
    assert [fields[1] for fields in tws.say(Asks.OPEN_ORDERS, 1) if fields[0] == "5"] == ["40"]


def test_more_messages_than_are_allowed_are_told_so() -> None:
    tws = Tws(messages_per_second=10)
    tws.connect()
    heard = [fields for _ in range(10) for fields in tws.say(Asks.CURRENT_TIME, 1)]

    assert errors(heard) == [(-1, 100)]
    assert Tells.CURRENT_TIME in kinds([*tws.wait(2), *tws.say(Asks.CURRENT_TIME, 1)])


def test_a_competing_login_has_the_prices() -> None:
    tws = Tws()
    tws.connect()
    tws.twin.data.competing = True

    assert errors(tws.say(Asks.MARKET_DATA, 11, 9000, *AAPL, 0, "", 1, 0, "")) == [(9000, 10197)]


@pytest.mark.parametrize("asked", [(999, 1), (Asks.SCANNER, 1)])
def test_what_it_does_not_know_it_says_so(asked: tuple[Value, ...]) -> None:
    tws = Tws()
    tws.connect()

    ((_, code),) = errors(tws.say(*asked))
    assert code in (321, 505)
