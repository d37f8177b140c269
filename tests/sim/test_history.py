"""Orders on history, one by one: what fills where, what does not, and what it costs."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import AAPL, BROKER, NOW, D, approved, wish
from trading_system.brokers import registry
from trading_system.domain.errors import BadRequest, Rejected
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Bar, Quote, Trade
from trading_system.domain.order import Attached, Order
from trading_system.domain.report import ExecutionReport
from trading_system.research.data import instrument_of
from trading_system.sim.history import DAY_NS, Costs, HistoryBroker

FREE = Costs(spread=D(0), slippage=D(0), participation=D(1), maker_fee=D(0), taker_fee=D(0))
START = 1_600_000_000_000_000_000 // DAY_NS * DAY_NS


class Past:
    """A broker on history with what it told."""

    def __init__(self, costs: Costs = FREE, cash: str = "10000", **instrument: Any) -> None:
        known = msgspec.structs.replace(instrument_of(BROKER, AAPL), **instrument)
        self.broker = HistoryBroker(registry.facts(BROKER), [known], cash=D(cash), currency="USD", costs=costs)
        self.told: list[ExecutionReport] = []
        self.broker.tell = self.told.append
        self.days = 0
        self.count = 0

    def bar(self, first: str, high: str, low: str, last: str, volume: str = "1000000") -> None:
        bar = Bar(
            instrument=AAPL,
            open_ns=START + self.days * DAY_NS,
            period_ns=DAY_NS,
            open=D(first),
            high=D(high),
            low=D(low),
            close=D(last),
            volume=D(volume),
        )
        self.days += 1
        self.broker.open_bar(bar)
        self.broker.walk_bar(bar)
        self.broker.close_bar(bar)

    def send(self, qty: str, side: Side = Side.BUY, **changes: Any) -> ClOrdID:
        self.count += 1
        name = ClOrdID(f"o{self.count}")
        request = wish(qty, side, **({"time_in_force": TimeInForce.GTC} | changes))
        asyncio.run(self.broker.submit(msgspec.structs.replace(approved(), request=request, cl_ord_id=name)))
        return name

    def status(self, name: str) -> OrdStatus:
        report = asyncio.run(self.broker.order_status(ClOrdID(name)))
        assert report is not None
        return report.ord_status

    def fills(self) -> list[tuple[str, Decimal, Decimal]]:
        return [(report.cl_ord_id, report.last_qty, report.last_px) for report in self.told if report.exec_type is ExecType.TRADE]

    def held(self) -> Decimal:
        return sum((position.qty for position in self.broker.snapshot().positions), D(0))


def seen(costs: Costs = FREE, cash: str = "10000", **instrument: Any) -> Past:
    past = Past(costs, cash, **instrument)
    past.bar("100", "101", "99", "100")
    return past


def test_a_market_order_meets_the_next_open_and_pays_spread_and_slippage() -> None:
    past = seen(Costs(spread=D("0.002"), slippage=D("0.001"), taker_fee=D("0.01"), participation=D(1)))
    past.send("10")
    assert past.fills() == []
    past.bar("110", "112", "108", "111")

    assert past.fills() == [("o1", D(10), D("110.22"))]
    assert past.broker.snapshot().cash == D(10_000) - D("1102.20") - D("11.022")


def test_a_limit_fills_at_its_price_when_the_market_goes_beyond_and_not_when_it_touches() -> None:
    past = seen()
    past.send("1", ord_type=OrdType.LIMIT, price=D(95))
    past.bar("100", "101", "95", "96")
    assert past.fills() == []
    past.bar("97", "98", "94.99", "96")
    assert past.fills() == [("o1", D(1), D(95))]
    past.send("1", ord_type=OrdType.LIMIT, price=D(95))
    past.bar("90", "91", "89", "90")  # it opens beyond: at the open, which is better

    assert past.fills()[1:] == [("o2", D(1), D(90))]


def test_a_stop_fills_at_its_price_and_at_the_open_where_the_market_jumps_over_it() -> None:
    past = seen()
    past.send("10")
    past.bar("100", "101", "99", "100")
    past.send("5", Side.SELL, ord_type=OrdType.STOP, stop_px=D(95), reduce_only=True)
    past.bar("100", "101", "94", "96")
    assert past.fills()[1:] == [("o2", D(5), D(95))]
    past.send("5", Side.SELL, ord_type=OrdType.STOP, stop_px=D(95), reduce_only=True)
    past.bar("90", "91", "88", "89")

    assert past.fills()[2:] == [("o3", D(5), D(90))]
    assert past.held() == 0


def test_a_stop_limit_that_the_market_jumps_over_waits_at_its_limit() -> None:
    past = seen()
    past.send("5")
    past.bar("100", "101", "99", "100")
    past.send("5", Side.SELL, ord_type=OrdType.STOP_LIMIT, stop_px=D(95), price=D(94), reduce_only=True)
    past.bar("90", "91", "88", "89")
    assert past.held() == 5
    past.bar("92", "96", "91", "93")

    assert past.fills()[1:] == [("o2", D(5), D(94))]


def test_no_order_takes_more_than_its_share_of_a_bar() -> None:
    past = seen(msgspec.structs.replace(FREE, participation=D("0.1")))
    past.send("25")
    for _ in range(3):
        past.bar("100", "100", "100", "100", volume="100")

    assert [qty for _, qty, _ in past.fills()] == [D(10), D(10), D(5)]


def test_a_bracket_wakes_with_its_entry_and_one_exit_ends_the_other() -> None:
    for low, high, price, last in (("99", "111", D(110), "109"), ("94", "101", D(95), "96")):
        past = seen()
        name = past.send("10", attached=Attached(take_profit_px=D(110), stop_px=D(95)), time_in_force=TimeInForce.DAY)
        past.bar("100", high, low, last)

        assert [px for _, _, px in past.fills()] == [D(100), price]
        assert past.held() == 0
        assert {report.parent for report in past.told if report.cl_ord_id != name} == {name}
        assert asyncio.run(past.broker.open_orders()) == ()


def test_of_a_bar_that_holds_both_exits_the_nearer_extreme_comes_first() -> None:
    past = seen()
    past.send("10", attached=Attached(take_profit_px=D(105), stop_px=D(99)), time_in_force=TimeInForce.DAY)
    past.bar("100", "106", "98", "100")  # the low is nearer to the open

    assert [px for _, _, px in past.fills()] == [D(100), D(99)]


def test_what_is_placed_within_a_bar_does_not_meet_what_was_before() -> None:
    past = seen()
    late = msgspec.structs.replace(FREE, latency_ns=DAY_NS)
    slow = seen(late)
    for each in (past, slow):
        each.send("1")
        each.bar("101", "102", "100", "101")
    assert past.fills() == [("o1", D(1), D(101))]
    assert slow.fills() == []
    slow.bar("103", "104", "102", "103")

    assert slow.fills() == [("o1", D(1), D(103))]


def test_day_orders_end_with_the_day_they_met() -> None:
    past = seen()
    name = past.send("1", ord_type=OrdType.LIMIT, price=D(50), time_in_force=TimeInForce.DAY)
    assert past.status(name) is OrdStatus.NEW
    past.bar("100", "101", "99", "100")

    assert past.status(name) is OrdStatus.EXPIRED


def test_what_is_borrowed_costs_interest_and_what_is_short_too() -> None:
    lent = msgspec.structs.replace(FREE, margin=D(2), borrow=D("0.365"))
    past = seen(lent)
    past.send("150")
    past.bar("100", "100", "100", "100")
    past.bar("100", "100", "100", "100")
    assert past.broker.snapshot().cash == D("-5010.005")  # two nights
    short = seen(lent)
    short.send("10", Side.SELL)
    short.bar("100", "100", "100", "100")
    short.bar("100", "100", "100", "100")

    assert short.broker.interest == 2
    with pytest.raises(Rejected, match="needed"):
        past.send("1000")


@pytest.mark.parametrize(("side", "qty"), [(Side.BUY, 150), (Side.SELL, 90)])
def test_a_swap_borrows_nothing_and_who_is_long_pays_who_is_short(side: Side, qty: int) -> None:
    lent = msgspec.structs.replace(FREE, margin=D(2), borrow=D(5), funding=D("0.365"))
    past = seen(lent, asset_class=AssetClass.PERPETUAL)
    past.send(str(qty), side)
    past.bar("100", "100", "100", "100")
    past.bar("110", "110", "110", "110")

    assert past.broker.interest == side.sign * qty * (100 + 110) * D("0.001")  # two nights
    assert past.broker.snapshot().equity == 10_000 + side.sign * qty * 10 - past.broker.interest


def test_swaps_have_their_class_by_their_name() -> None:
    swap = instrument_of(BROKER, InstrumentID("BTC-PERP/USDT"))

    assert (swap.asset_class, swap.base, swap.currency, swap.shortable) == (AssetClass.PERPETUAL, "BTC", "USD", True)
    with pytest.raises(BadRequest, match="BTC-PERP/USDT, on the same prices"):
        instrument_of(BROKER, InstrumentID("BTC-PERP/USD"))


def test_a_dividend_is_paid_on_what_is_held() -> None:
    past = seen()
    past.send("10")
    past.bar("100", "101", "99", "100")
    before = past.broker.snapshot().equity

    assert past.broker.dividend(AAPL, D("0.5")) == D(5)
    assert past.broker.snapshot().equity == before + 5


def test_what_trades_jump_over_is_met_where_they_land() -> None:
    past = Past(costs=Costs(spread=D(0), slippage=D(0)))

    def trade(place: int, price: str) -> None:
        past.broker.show_trade(Trade(instrument=AAPL, price=D(price), qty=D(50), trade_id="", transact_ns=START + place, recv_ns=0))

    trade(1, "100")
    past.send("10")  # on the last print of a Friday
    trade(2, "120")
    past.send("10", Side.SELL, ord_type=OrdType.STOP, stop_px=D(95), reduce_only=True)
    trade(3, "119")
    trade(4, "60")
    past.send("5", ord_type=OrdType.LIMIT, price=D(50))
    trade(5, "50")  # others may have been before it
    trade(6, "45")

    assert past.fills() == [("o1", D(10), D(120)), ("o2", D(10), D(60)), ("o3", D(5), D(50))]


def test_of_a_bar_in_which_nobody_traded_nothing_is_to_be_had_where_bars_say_how_much() -> None:
    past = seen()
    past.broker.counted = {AAPL}
    past.send("10")
    past.bar("100", "101", "99", "100", volume="0")
    assert past.fills() == []
    past.bar("100", "101", "99", "100", volume="100")

    assert [qty for _, qty, _ in past.fills()] == [D(10)]


def test_quotes_and_trades_of_the_past_fill_what_they_reach() -> None:
    past = Past()
    first = Quote(instrument=AAPL, bid_px=D(99), bid_qty=D(5), ask_px=D(101), ask_qty=D(5), transact_ns=START, recv_ns=START)
    past.broker.show_quote(first)
    past.send("8")
    past.broker.show_quote(msgspec.structs.replace(first, transact_ns=START + 1))
    past.broker.show_quote(msgspec.structs.replace(first, ask_px=D(102), transact_ns=START + 2))
    assert past.fills() == [("o1", D(5), D(101)), ("o1", D(3), D(102))]
    past.send("8", Side.SELL, ord_type=OrdType.LIMIT, price=D(103), reduce_only=True)
    for place, price in enumerate(("103", "104"), 3):
        past.broker.show_trade(Trade(instrument=AAPL, price=D(price), qty=D(6), trade_id="", transact_ns=START + place, recv_ns=0))

    assert past.fills()[2:] == [("o2", D(6), D(103))]
    assert asyncio.run(past.broker.quote(AAPL)).mid == D(104)


def test_a_cancel_takes_both_exits_along_and_an_unknown_order_is_said() -> None:
    past = seen()
    name = past.send("10", attached=Attached(take_profit_px=D(150), stop_px=D(50)), time_in_force=TimeInForce.DAY)
    past.bar("100", "101", "99", "100")
    exits = asyncio.run(past.broker.open_orders())
    assert len(exits) == 2
    assert asyncio.run(past.broker.cancel(_order(exits[0].cl_ord_id))).ord_status is OrdStatus.CANCELED
    assert asyncio.run(past.broker.open_orders()) == ()
    assert past.status(name) is OrdStatus.FILLED
    with pytest.raises(BadRequest, match="has no"):
        asyncio.run(past.broker.instruments((AAPL, "NOPE")))  # type: ignore[arg-type]


def _order(name: ClOrdID) -> Order:
    return Order(
        cl_ord_id=name,
        broker=BROKER,
        account="HISTORY",
        instrument=AAPL,
        side=Side.SELL,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_qty=D(10),
        sent_ns=NOW,
        updated_ns=NOW,
    )


prices = st.integers(50, 150).map(D)
kinds = st.sampled_from(["market", "limit", "stop", "bracket", "sell"])


@given(st.lists(st.tuples(prices, prices, prices, prices), min_size=3, max_size=12), st.lists(kinds, min_size=3, max_size=12))
def test_money_and_units_add_up_whatever_comes(bars: list[tuple[Decimal, ...]], orders: list[str]) -> None:
    past = seen()
    for bar, kind in zip(bars, orders, strict=False):
        price = past.broker.latest(AAPL).mid or D(100)
        try:
            if kind == "market":
                past.send("3")
            elif kind == "limit":
                past.send("3", ord_type=OrdType.LIMIT, price=price - 5)
            elif kind == "stop":
                past.send("3", ord_type=OrdType.STOP, stop_px=price + 5)
            elif kind == "bracket":
                past.send("3", attached=Attached(take_profit_px=price + 10, stop_px=price - 10), time_in_force=TimeInForce.DAY)
            elif past.held() > 0:
                past.send("1", Side.SELL)
        except Rejected:
            pass
        first, high, low, last = bar[0], max(bar), min(bar), bar[3]
        past.bar(str(first), str(high), str(low), str(last))
        for _, _, px in past.fills()[-5:]:
            assert px > 0
    cash, units = D(10_000), D(0)
    for report in past.told:
        if report.exec_type is ExecType.TRADE:
            cash -= report.side.sign * report.last_qty * report.last_px
            units += report.side.sign * report.last_qty
            assert report.cum_qty is not None
            assert report.order_qty is not None
            assert report.cum_qty <= report.order_qty

    assert (past.broker.snapshot().cash, past.held()) == (cash, units)
