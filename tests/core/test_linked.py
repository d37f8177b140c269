"""Orders that the broker holds for one of ours: what the gate lets through, what they reserve, what they guard."""

from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from tests.factories import AAPL, BROKER, FACTS, D, approved, quote, report, risk_state, trade, wish
from trading_system.core.blotter import Blotter, Reserved, order_of
from trading_system.core.protection import audit
from trading_system.core.risk import Limits, check
from trading_system.domain.errors import BadRequest, RiskRefused
from trading_system.domain.fix import Contingency, ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, OrderID
from trading_system.domain.instrument import AssetClass, Pricing
from trading_system.domain.order import Attached, NewOrder, Order
from trading_system.domain.ports import LinkRule
from trading_system.domain.report import ExecutionReport
from trading_system.journal.record import Intent, Reported
from trading_system.journal.replay import Books

TIFS = frozenset({TimeInForce.DAY, TimeInForce.GTC})
LINKS = (
    LinkRule(
        AssetClass.EQUITY, frozenset({Contingency.BRACKET, Contingency.OCO}), frozenset({OrdType.MARKET, OrdType.LIMIT}), TIFS, can_replace=True
    ),
    LinkRule(AssetClass.EQUITY, frozenset({Contingency.OTO}), frozenset({OrdType.MARKET, OrdType.LIMIT}), TIFS, can_replace=False),
)
LINKED = replace(FACTS, links=LINKS)
BOTH = Attached(take_profit_px=D(110), stop_px=D(95))
BRACKET = wish("10", attached=BOTH)
OCO = wish("10", Side.SELL, ord_type=OrdType.LIMIT, price=D(110), attached=Attached(stop_px=D(95)), reduce_only=True)
TRAIL = wish("10", Side.SELL, ord_type=OrdType.TRAILING_STOP, trail_px=D(2))


def passes(request: NewOrder, **changes: object) -> None:
    check(request, risk_state(**({"facts": LINKED} | changes)))


def says(request: NewOrder, **changes: object) -> str:
    with pytest.raises((RiskRefused, BadRequest)) as caught:
        passes(request, **changes)
    return str(caught.value)


def test_what_hangs_together_and_how() -> None:
    assert [request.contingency for request in (wish(), BRACKET, OCO, wish(attached=Attached(stop_px=D(95))))] == [
        Contingency.NONE,
        Contingency.BRACKET,
        Contingency.OCO,
        Contingency.OTO,
    ]
    passes(BRACKET)
    passes(OCO, position=D(10))
    passes(wish(attached=Attached(take_profit_px=D(110))))
    passes(wish("5", Side.SELL, attached=Attached(take_profit_px=D(90), stop_px=D(105), stop_limit_px=D(106))), limits=Limits(enable_shorts=True))
    passes(wish(attached=replace(BOTH, stop_limit_px=D(95))))
    passes(replace(OCO, side=Side.BUY, price=D(90), attached=Attached(stop_px=D(105))), position=D(-10))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (replace(BRACKET, attached=Attached()), "give a take-profit price, a stop price or both"),
        (replace(BRACKET, attached=Attached(stop_px=D(-1))), "greater than zero"),
        (replace(BRACKET, attached=Attached(take_profit_px=D(110), stop_limit_px=D(94))), "goes with its stop price"),
        (replace(BRACKET, protect_stop_px=D(95)), "either the broker holds their stop or the desk does"),
        (replace(BRACKET, order_qty=None, cash_order_qty=D(1000)), "linked orders take a quantity"),
        (replace(OCO, attached=BOTH), "an OCO is an exit at a limit price"),
        (replace(OCO, attached=Attached(take_profit_px=D(120))), "an OCO is an exit at a limit price"),
        (replace(OCO, ord_type=OrdType.MARKET, price=None), "an OCO is an exit at a limit price"),
        (replace(TRAIL, trail_px=None), "takes one distance"),
        (replace(TRAIL, trail_pct=D("0.05")), "takes one distance"),
        (wish(trail_px=D(1)), "takes one distance"),
        (replace(TRAIL, trail_px=D(0)), "distance is greater than zero"),
        (replace(TRAIL, trail_px=None, trail_pct=D(1)), "a fraction below one"),
    ],
)
def test_what_makes_no_sense_is_not_asked(request_: NewOrder, said: str) -> None:
    assert said in says(request_, position=D(10))


@pytest.mark.parametrize(
    ("request_", "state", "said"),
    [
        (
            replace(BRACKET, order_qty=D("1.5")),
            {},
            "CAPABILITY: fractional bracket market day for equity; the limit is linked orders that Alpaca holds.",
        ),
        (replace(BRACKET, time_in_force=TimeInForce.IOC), {}, "CAPABILITY: bracket market ioc for equity"),
        (replace(BRACKET, ord_type=OrdType.STOP, stop_px=D(101)), {}, "CAPABILITY: bracket stop day for equity"),
        (replace(BRACKET, ord_type=OrdType.LIMIT, price=D(100), extended_hours=True), {}, "CAPABILITY: bracket limit day for equity"),
        (BRACKET, {"facts": FACTS}, "CAPABILITY"),
        (replace(BRACKET, side=Side.SELL), {"position": D(10)}, "PROTECT: sell only closes"),
        (OCO, {}, "REDUCE_ONLY: 10; the limit is the open position of 0."),
        (replace(BRACKET, attached=replace(BOTH, stop_px=D(100))), {}, "STOP_LOSS: 100; the limit is a stop below 100. It would go off at once"),
        (replace(BRACKET, attached=replace(BOTH, stop_px=D("95.001"))), {}, "TICK: 95.001; the limit is steps of 0.01. Round its price."),
        (replace(BRACKET, attached=replace(BOTH, stop_limit_px=D(96))), {}, "STOP_LOSS: 96; the limit is its limit at or below its stop."),
        (replace(BRACKET, attached=replace(BOTH, stop_limit_px=D("94.001"))), {}, "TICK: 94.001"),
        (replace(BRACKET, attached=replace(BOTH, take_profit_px=D(100))), {}, "TAKE_PROFIT: 100; the limit is a take-profit above 100."),
        (OCO, {"position": D(10), "quote": quote("93.99", "94.01")}, "STOP_LOSS: 95; the limit is a stop below 94."),
        (
            replace(OCO, price=D(95), attached=Attached(stop_px=D(95))),
            {"position": D(10), "quote": None},
            "STOP_LOSS: 95; the limit is a stop below 95.",
        ),
        (
            wish("5", Side.SELL, attached=Attached(take_profit_px=D(90), stop_px=D(105), stop_limit_px=D(104))),
            {"limits": Limits(enable_shorts=True)},
            "STOP_LOSS: 104; the limit is its limit at or above its stop.",
        ),
        (BRACKET, {"limits": Limits(max_open_orders=2)}, "MAX_OPEN_ORDERS: 0 open; the limit is 2."),
    ],
)
def test_what_the_broker_would_not_hold_is_refused_here(request_: NewOrder, state: dict[str, object], said: str) -> None:
    assert says(request_, **state).startswith(said)


def test_what_the_broker_does_not_change_is_not_asked_to_be_changed() -> None:
    old = order_of(check(wish(attached=Attached(stop_px=D(95))), risk_state(facts=LINKED)))
    with pytest.raises(RiskRefused, match="CAPABILITY: oto"):
        check(wish(attached=Attached(stop_px=D(94))), risk_state(facts=LINKED), old)


def test_a_trailing_stop_reserves_at_the_price_it_would_trigger_at() -> None:
    up = check(replace(TRAIL, side=Side.BUY, trail_px=None, trail_pct=D("0.05")), risk_state())
    down = check(TRAIL, risk_state(position=D(10)))
    blind = check(replace(TRAIL, reduce_only=True), risk_state(position=D(10), quote=None))

    assert (up.reserve_px, down.reserve_px, blind.reserve_px) == (D(105), D(100), 0)
    assert down.reducing


# -- what the broker makes of it -----------------------------------------------------------------------------------------------------


@dataclass
class Bench:
    """Books with one bracket in them, and what the broker says of it."""

    books: Books
    parent: ClOrdID

    def say(self, said: ExecutionReport, parent: ClOrdID | None = None) -> Order:
        applied = self.books.fold(
            Reported(report=replace(said, parent=parent), account="PA1", currency="USD", multiplier=D(1), asset_class=AssetClass.EQUITY)
        )
        assert applied is not None
        return applied.order

    def reserved(self) -> Reserved:
        return self.books.blotter.reserved(BROKER, AAPL)

    def leg(self, name: str) -> Order:
        order = self.books.blotter.get(ClOrdID(name))
        assert order is not None
        return order


def begun(request: NewOrder = BRACKET, position: str = "0") -> Bench:
    books = Books()
    if D(position):
        books.ledger.adjust(BROKER, AAPL, D(position), D(100), Pricing())
    sent = check(request, risk_state(facts=LINKED, position=D(position)))
    books.fold(Intent(approved=sent))
    bench = Bench(books, sent.cl_ord_id)
    bench.say(report(ExecType.NEW, OrdStatus.NEW, side=request.side, ord_type=request.ord_type))
    return bench


def leg(name: str, ord_type: OrdType, status: OrdStatus, exec_type: ExecType = ExecType.ORDER_STATUS, **changes: object) -> ExecutionReport:
    fields: dict[str, object] = {"cl_ord_id": ClOrdID(name), "order_id": OrderID(name), "side": Side.SELL, "ord_type": ord_type, "cum_qty": D(0)}
    return report(exec_type, status, **(fields | changes))


def held(bench: Bench) -> None:
    bench.say(leg("tp", OrdType.LIMIT, OrdStatus.SUSPENDED, price=D(110)), bench.parent)
    bench.say(leg("sl", OrdType.STOP, OrdStatus.SUSPENDED, stop_px=D(95)), bench.parent)


def test_what_is_held_for_an_order_belongs_to_its_intent_and_reserves_nothing() -> None:
    bench = begun()
    before = bench.reserved()
    held(bench)

    assert [(bench.leg(name).external, bench.leg(name).intent, bench.leg(name).reducing) for name in ("tp", "sl")] == [(False, "k1", True)] * 2
    assert bench.leg("sl").protects == bench.parent
    assert bench.leg("tp").protects is None
    assert replace(bench.reserved(), orders=1) == before
    assert bench.reserved().orders == 3


def test_of_two_exits_that_end_one_another_one_reserves() -> None:
    bench = begun()
    held(bench)
    bench.say(trade("x", "10", "100", "10", full=True))
    for name, ord_type in (("tp", OrdType.LIMIT), ("sl", OrdType.STOP)):
        bench.say(leg(name, ord_type, OrdStatus.NEW, ExecType.NEW))

    assert bench.reserved() == Reserved(sell_qty=D(10), orders=2)
    bench.say(trade("y", "4", "110", "4", cl_ord_id=ClOrdID("tp"), order_id=OrderID("tp"), side=Side.SELL, ord_type=OrdType.LIMIT))
    bench.say(leg("sl", OrdType.STOP, OrdStatus.NEW, order_qty=D(6)))
    assert bench.leg("sl").order_qty == 6
    assert bench.leg("sl").leaves_qty == 6
    bench.say(leg("sl", OrdType.STOP, OrdStatus.CANCELED))
    bench.say(trade("z", "6", "110", "10", full=True, cl_ord_id=ClOrdID("tp"), order_id=OrderID("tp"), side=Side.SELL, ord_type=OrdType.LIMIT))
    assert bench.reserved() == Reserved()
    assert bench.books.ledger.position(BROKER, AAPL) == 0


def test_the_stop_beside_an_exit_reserves_nothing_of_its_own() -> None:
    bench = begun(OCO, "10")
    bench.say(leg("sl", OrdType.STOP, OrdStatus.NEW), bench.parent)

    assert bench.reserved() == Reserved(sell_qty=D(10), orders=2)
    assert bench.leg("sl").protects is None


def test_what_one_exit_leaves_the_other_reserves() -> None:
    bench = begun()
    held(bench)
    bench.say(trade("x", "10", "100", "10", full=True))
    for name, ord_type in (("tp", OrdType.LIMIT), ("sl", OrdType.STOP)):
        bench.say(leg(name, ord_type, OrdStatus.NEW, ExecType.NEW))
    assert (bench.leg("tp").reserve_qty, bench.leg("sl").reserve_qty) == (10, 0)
    bench.say(leg("tp", OrdType.LIMIT, OrdStatus.CANCELED))  # the stop has gone off: the limit goes first

    assert bench.reserved() == Reserved(sell_qty=D(10), orders=1)
    bench.say(leg("sl", OrdType.STOP, OrdStatus.CANCELED))
    assert bench.reserved() == Reserved()
    exits = begun(OCO, "10")
    exits.say(leg("sl", OrdType.STOP, OrdStatus.NEW), exits.parent)
    exits.say(report(ExecType.CANCELED, OrdStatus.CANCELED, side=Side.SELL, ord_type=OrdType.LIMIT))
    assert exits.reserved() == Reserved(sell_qty=D(10), orders=1)


def test_one_exit_alone_reserves_itself() -> None:
    bench = begun(wish("10", attached=Attached(take_profit_px=D(110))))
    bench.say(trade("x", "10", "100", "10", full=True))
    bench.say(leg("tp", OrdType.LIMIT, OrdStatus.NEW), bench.parent)

    assert bench.reserved() == Reserved(sell_qty=D(10), orders=1)


def test_what_was_taken_for_somebody_elses_is_ours_once_its_parent_is_known() -> None:
    bench = begun()
    early = bench.say(leg("sl", OrdType.STOP, OrdStatus.NEW))
    assert early.external
    assert not bench.say(leg("sl", OrdType.STOP, OrdStatus.NEW), bench.parent).external
    assert bench.books.stops == {bench.parent: [ClOrdID("sl")]}
    bench.say(leg("sl", OrdType.STOP, OrdStatus.NEW), ClOrdID("nobody"))
    assert bench.leg("sl").parent == bench.parent


def test_a_changed_exit_stays_what_it_was() -> None:
    bench = begun()
    held(bench)
    bench.say(trade("x", "10", "100", "10", full=True))
    for name, ord_type in (("tp", OrdType.LIMIT), ("sl", OrdType.STOP)):
        bench.say(leg(name, ord_type, OrdStatus.NEW, ExecType.NEW))
    for old, request, reserve in (
        ("tp", wish("10", Side.SELL, ord_type=OrdType.LIMIT, price=D(112), parent=bench.parent, reduce_only=True), 10),
        ("sl", wish("10", Side.SELL, ord_type=OrdType.STOP, stop_px=D(96), parent=bench.parent, reduce_only=True, protects=bench.parent), 0),
    ):
        change = check(request, risk_state(facts=LINKED, position=D(10), reserved=bench.reserved(), working=()), bench.leg(old))

        assert (change.reducing, change.reserve_qty, order_of(change).parent) == (True, reserve, bench.parent)


def test_what_is_held_trades_with_nobody() -> None:
    bench = begun()
    held(bench)
    resting = [bench.leg(name) for name in ("tp", "sl")]
    passes(wish(ord_type=OrdType.LIMIT, price=D("102.5")), working=resting)
    live = replace(bench.leg("tp"), ord_status=OrdStatus.NEW, price=D(101))

    assert says(wish(ord_type=OrdType.LIMIT, price=D(102)), working=(live,)).startswith("SELF_MATCH")
    trailing = replace(live, ord_type=OrdType.TRAILING_STOP, price=None)
    passes(wish(ord_type=OrdType.LIMIT, price=D(102)), working=(trailing,))


def test_a_trailing_stop_shows_where_it_stands() -> None:
    books = Books()
    books.fold(Intent(approved=approved(TRAIL, position=D(10))))
    bench = Bench(books, ClOrdID("q1aaaaaaaaaaaaaaaa"))
    said = report(ExecType.NEW, OrdStatus.NEW, side=Side.SELL, ord_type=OrdType.TRAILING_STOP, stop_px=D(98))

    assert bench.say(said).stop_px == 98
    assert bench.say(replace(said, stop_px=D(99))).stop_px == 99
    assert bench.say(replace(said, stop_px=None)).stop_px == 99


# -- what they guard -----------------------------------------------------------------------------------------------------------------


def missing(filled: str, entry_status: OrdStatus, *stops: Order) -> tuple[str, str, int]:
    entry = replace(order_of(check(BRACKET, risk_state(facts=LINKED))), ord_status=entry_status, cum_qty=D(filled), stated_cum_qty=D(filled))
    guards = audit([(entry, D(filled))], {entry.cl_ord_id: stops}, D(filled), D(0), D(1))
    return (str(guards[0].missing), str(guards[0].naked), len(guards[0].excess)) if guards else ("0", "0", 0)


def guard(status: OrdStatus, qty: str = "10", *, ours: bool = False) -> Order:
    blotter = Blotter()
    entry = blotter.open(check(BRACKET, risk_state(facts=LINKED)))
    stop = blotter.adopt(leg("sl", OrdType.STOP, status, order_qty=D(qty)), "PA1")
    linked = replace(blotter.link(stop, entry), ord_status=status)
    return replace(linked, parent=None) if ours else linked


def test_an_entry_says_where_its_stop_stands() -> None:
    assert order_of(check(BRACKET, risk_state(facts=LINKED))).guard_px == 95
    assert order_of(check(wish(protect_stop_px=D(90)), risk_state())).guard_px == 90
    assert order_of(check(OCO, risk_state(facts=LINKED, position=D(10)))).guard_px is None


def test_a_stop_that_waits_for_its_entry_guards_nothing_of_a_part() -> None:
    assert missing("4", OrdStatus.PARTIALLY_FILLED, guard(OrdStatus.SUSPENDED)) == ("4", "4", 0)
    assert missing("10", OrdStatus.FILLED, guard(OrdStatus.SUSPENDED)) == ("0", "10", 0)
    assert missing("10", OrdStatus.FILLED, guard(OrdStatus.NEW)) == ("0", "0", 0)
    assert missing("4", OrdStatus.CANCELED, guard(OrdStatus.CANCELED)) == ("4", "4", 0)


def test_what_the_broker_holds_is_never_too_much() -> None:
    assert missing("4", OrdStatus.FILLED, guard(OrdStatus.NEW)) == ("0", "0", 0)
    assert missing("10", OrdStatus.FILLED, guard(OrdStatus.NEW), guard(OrdStatus.NEW, ours=True)) == ("0", "0", 1)
    assert missing("0", OrdStatus.CANCELED, guard(OrdStatus.NEW)) == ("0", "0", 0)


def test_a_coin_is_not_held_by_rules_for_stocks() -> None:
    assert LINKED.link(AssetClass.CRYPTO, Contingency.BRACKET, OrdType.MARKET, TimeInForce.DAY) is None
