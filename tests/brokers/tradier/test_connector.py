"""The connector where Tradier differs from the others: tags that are no keys, refusals with HTTP 200, accounts by profile, two kinds of price."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace as changed

from tests.conformance.between import Between, conform, order
from tests.conformance.test_linked import known, linked
from tests.conformance.test_options import chain, spread
from tests.conformance.test_orders import WIDE, approved_of, priced
from tests.desks import Bench, settled
from tests.subjects import TRADIER
from trading_system.app.verbs import VERBS
from trading_system.brokers.tradier import codec, connect, facts
from trading_system.brokers.tradier.twin import TradierTwin
from trading_system.domain.account import FlowKind
from trading_system.domain.errors import AuthFailed, BadRequest, InDoubt, NotSent, Rejected, RiskRefused, Unavailable
from trading_system.domain.fix import Contingency, Doubt, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.ids import ClOrdID, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.market import Quote, Trade
from trading_system.domain.order import Approved, Replace
from trading_system.domain.ports import Kinds, Link, StreamState
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS, START_NS, VirtualClock, run_virtual
from trading_system.sim.network import Faults, SimNetwork
from trading_system.transport.message import Refused

D = Decimal
AAPL = InstrumentID("AAPL")
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS


def story(tmp_path: Path, tell: Callable[[Bench, Between], Awaitable[None]], **twin: Any) -> None:
    conform(tmp_path, TRADIER, tell, **twin)


def alone(
    tell: Callable[[Any, TradierTwin, SimNetwork], Awaitable[None]],
    *,
    environment: str = "live",
    options: dict[str, str] | None = None,
    door: Any = lambda dialer: dialer,
    **twin: Any,
) -> None:
    """A connector without a desk."""

    async def main(clock: VirtualClock) -> None:
        made = TradierTwin(seed=5, start_ns=START_NS, requests_per_minute=100_000, environment=environment, **twin)
        network = SimNetwork({"twin": made}, clock, random.Random(5), Faults(enabled=False))
        carrier = asyncio.create_task(network.run())
        connector = connect(
            http=network.http(),
            dialer=door(network.dialer()),
            clock=clock,
            rng=random.Random(1),
            credentials={"token": Secret(made.token)},
            environment=environment,
            options={"url": "http://twin", **(options or {})},
        )
        await tell(connector, made, network)
        carrier.cancel()

    run_virtual(main)


async def first(events: AsyncIterator[Any], kind: type) -> Any:
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError("the stream ended")


# -- which account -----------------------------------------------------------------------------------------------------------------------------------


def test_of_several_accounts_one_is_named_and_the_hint_names_them() -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        with pytest.raises(AuthFailed, match=f"{twin.account_number}, VA00000002.*TRADIER_ACCOUNT_ID"):
            await connector.connect()

    alone(tell, environment="paper", others=("VA00000002",))


def test_the_named_account_is_the_one() -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        with pytest.raises(AuthFailed, match="VA00000002"):
            await connector.connect()
        connector._wanted_account = twin.account_number
        await connector.connect()

        assert (await connector.account()).account == twin.account_number

    alone(tell, environment="paper", others=("VA00000002",), options={"account_id": "VA00000009"})


# -- the tag -----------------------------------------------------------------------------------------------------------------------------------------


def test_a_second_order_under_our_tag_halts_the_broker_and_is_nobodys_of_ours(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            low = await priced(desk, TRADIER, AssetClass.EQUITY, "0.97")
            sent = await desk.submit(order(TRADIER, AssetClass.EQUITY, "a", ord_type=OrdType.LIMIT, price=low))
            twice = bench.connector()
            await twice.connect()
            await twice.submit(approved_of(desk, sent))
            assert await desk.wait(lambda: TRADIER.broker in desk.books.halts, 60 * SECOND_NS)
            assert sent.cl_ord_id in desk.books.halts[TRADIER.broker].text
            assert await desk.wait(lambda: any(known.external for known in desk.books.blotter.working()), 60 * SECOND_NS)
            ours, other = desk.books.blotter.working()

            assert (ours.cl_ord_id, ours.external, other.external) == (sent.cl_ord_id, False, True)
            await desk.cancel(other.cl_ord_id)
            await settled(desk, other)
            assert [known.cl_ord_id for known in desk.books.blotter.working()] == [sent.cl_ord_id]

    story(tmp_path, tell)


def test_other_peoples_tags_name_nothing(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            for _ in range(2):
                bench.twin.place(
                    {
                        "class": "equity",
                        "symbol": "AAPL",
                        "side": "buy",
                        "quantity": "1",
                        "type": "limit",
                        "price": "100",
                        "duration": "day",
                        "tag": "mine",
                    }
                )
            assert await desk.wait(lambda: len(desk.books.blotter.working()) == 2, 60 * SECOND_NS)

            assert all(known.external and known.cl_ord_id.startswith("external:") for known in desk.books.blotter.working())
            assert desk.books.halts == {}

    story(tmp_path, tell)


def test_while_one_order_is_under_way_no_other_leaves_for_the_instrument_and_whoever_waited_looks_again(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            low = await priced(desk, TRADIER, AssetClass.EQUITY, "0.97")
            made = approved_of(desk, await desk.submit(order(TRADIER, AssetClass.EQUITY, "a", ord_type=OrdType.LIMIT, price=low)))
            connector, before = desk.brokers[TRADIER.broker], between.placed
            asked: list[ClOrdID] = []

            def look(approved: Approved) -> None:
                asked.append(approved.cl_ord_id)
                raise NotSent("halted meanwhile")

            connector.look_with(look)  # type: ignore[attr-defined]
            bench.network.faults = Faults(lost_answer=1.0)
            one, two = (changed(made, cl_ord_id=ClOrdID(f"q1aaaaaaaaaaaaaaa{letter}")) for letter in "bc")
            outcomes = await asyncio.gather(connector.submit(one), connector.submit(two), return_exceptions=True)
            bench.network.faults = Faults(enabled=False)

            assert [type(outcome) for outcome in outcomes] == [InDoubt, NotSent]
            assert (asked, between.placed - before) == ([two.cl_ord_id], 1)

    story(tmp_path, tell)


# -- orders ------------------------------------------------------------------------------------------------------------------------------------------


def test_what_the_accounts_level_of_options_does_not_allow_is_rejected_in_tradiers_words(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            wanted = await spread(desk, TRADIER, "a")
            done = await settled(desk, await desk.submit(wanted))

            assert done.ord_status is OrdStatus.REJECTED
            assert "OptionLevelRestriction: Your account does not have the option level permission for this trade" in done.text
            assert desk.books.halts == {}
        async with bench.desk(WIDE, dry_run=True) as desk:
            tried = await desk.submit(changed(wanted, intent=IntentID("b")))

            assert tried.text.startswith("Tradier refused: OptionLevelRestriction: Your account does not have the option level permission")

    story(tmp_path, tell, option_level=2)


@pytest.mark.parametrize(("sell", "net", "kind"), [(False, "0.01", "debit"), (True, "-99", "credit"), (False, "0", "even")])
def test_what_is_paid_is_a_debit_what_is_received_a_credit_and_neither_is_even(tmp_path: Path, sell: bool, net: str, kind: str) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            sent = await desk.submit(changed(await spread(desk, TRADIER, "a", sell=sell), price=D(net)))
            await asyncio.sleep(30)
            rested = known(desk, sent.cl_ord_id)
            (row,) = bench.twin.trading.placed.values()

            assert (rested.ord_status, rested.price, row.form["type"]) == (OrdStatus.NEW, D(net), kind)
            assert (await settled(desk, await desk.cancel(sent.cl_ord_id))).ord_status is OrdStatus.CANCELED
            assert desk.books.halts == {}

    story(tmp_path, tell)


def test_a_combo_is_one_command_away(tmp_path: Path) -> None:
    """As the command line sends it; a leg that is written wrongly says how it is written."""

    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            line = (await chain(desk, TRADIER))[0]
            quote = await desk.hub.fetch(TRADIER.broker, AAPL)
            assert line.quote is not None
            price = (quote.ask_px or D(0)) - (line.quote.bid_px or D(0)) + D("0.2")
            args = {
                "legs": ["buy:aapl:100", f"sell:{line.instrument}"],
                "order_qty": "1",
                "price": str(price),
                "intent": "combo",
                "time_in_force": "gtc",
            }
            shown: Any = await VERBS["spread"](desk, {**args, "wait_ns": 15 * SECOND_NS})

            assert (shown["ord_status"], shown["cum_qty"], shown["instrument"], shown["time_in_force"]) == ("filled", "1", "AAPL", "gtc")
            assert shown["legs"] == [
                {"instrument": "AAPL", "side": "buy", "ratio_qty": 100},
                {"instrument": line.instrument, "side": "sell", "ratio_qty": 1},
            ]
            rows: Any = await VERBS["orders"](desk, {"all": True})
            parts = {row["instrument"]: (row["side"], row["cum_qty"]) for row in rows if row["parent"] == shown["cl_ord_id"]}
            assert parts == {"AAPL": ("buy", "100"), line.instrument: ("sell", "1")}
            with pytest.raises(BadRequest, match="buy:AAPL:100 for shares"):
                await VERBS["spread"](desk, {**args, "legs": ["AAPL:100"]})

    story(tmp_path, tell)


def test_somebody_elses_combo_is_counted_with_its_shares(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            line = (await chain(desk, TRADIER))[0]
            form = {"class": "combo", "symbol": "AAPL", "type": "debit", "price": "200", "duration": "day"}
            form |= {"side[0]": "buy", "quantity[0]": "200", "side[1]": "sell_to_open", "quantity[1]": "2", "option_symbol[1]": line.instrument}
            bench.twin.place(form)
            bench.network.carry(bench.twin)
            assert await desk.wait(lambda: len(desk.books.blotter) == 3, MINUTE_NS)
            whole, *legs = desk.books.blotter

            assert (whole.external, whole.order_qty, whole.reserve_px, [leg.parent for leg in legs]) == (True, 2, 20_000, [whole.cl_ord_id] * 2)
            assert desk.books.blotter.reserved(TRADIER.broker, AAPL).buy_qty == 200
            assert desk.books.halts == {}

    story(tmp_path, tell)


def test_ok_is_no_acceptance_a_rejection_comes_later_and_says_why(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            bench.twin.exchange.deposit("USD", D(-99_990))  # the desk does not know yet
            sent = await desk.submit(order(TRADIER, AssetClass.EQUITY, "a"))
            assert sent.order_id is not None
            done = await settled(desk, sent)

            assert (done.ord_status, done.doubt) == (OrdStatus.REJECTED, Doubt.NONE)
            assert done.text.startswith("InitialMargin")

    story(tmp_path, tell)


def test_an_errors_body_under_http_200_is_a_refusal(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await priced(desk, TRADIER, AssetClass.EQUITY, "1")
            between.answers = lambda body: b'{"errors":{"error":["InitialMargin: no"]}}' if b"partner_id" in body else body
            sent = await desk.submit(order(TRADIER, AssetClass.EQUITY, "a"))

            assert (sent.ord_status, sent.doubt) == (OrdStatus.REJECTED, Doubt.NONE)
            assert "InitialMargin" in sent.text

    story(tmp_path, tell)


@pytest.mark.parametrize(
    ("how", "kind", "said"), [("html", Unavailable, "page"), ("datastore", Unavailable, "Datastore"), ("expired", AuthFailed, "expired")]
)
def test_what_a_broken_gateway_says_to_a_question(how: str, kind: type[Exception], said: str) -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        await connector.connect()
        twin.fails_with = how
        for ask in (connector.account, connector.open_orders, lambda: connector.quote(AAPL), lambda: connector.gains(1)):
            with pytest.raises(kind, match=said):
                await ask()
        twin.fails_with = ""
        assert (await connector.account()).equity == D(100_000)
        assert await connector.order_status(ClOrdID("external:1")) is None  # HTTP 401, and no word on the token

    alone(tell)


def test_a_page_for_people_is_no_reason_to_halt(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await priced(desk, TRADIER, AssetClass.EQUITY, "1")
            bench.twin.fails_with = "html"
            sent = await desk.submit(order(TRADIER, AssetClass.EQUITY, "a", repeat=True))
            await asyncio.sleep(60)
            bench.twin.fails_with = ""
            assert sent.doubt is Doubt.IN_DOUBT
            assert desk.books.halts == {}
            assert await desk.wait(lambda: desk.ready[TRADIER.broker], 60 * SECOND_NS)

    story(tmp_path, tell)


def test_a_fill_whose_price_comes_later_is_booked_once_it_is_there(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            sent = await desk.submit(order(TRADIER, AssetClass.EQUITY, "a", "3"))
            done = await settled(desk, sent)
            (execution,) = bench.twin.exchange.executions.values()

            assert [(fill.qty, fill.price) for fill in done.fills] == [(D(3), execution.price)]
            assert desk.books.halts == {}

    story(tmp_path, tell, price_gap_ns=4 * SECOND_NS)


def test_a_quantity_is_not_changed(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            low = await priced(desk, TRADIER, AssetClass.EQUITY, "0.97")
            sent = await desk.submit(order(TRADIER, AssetClass.EQUITY, "a", ord_type=OrdType.LIMIT, price=low))
            await desk.wait(lambda: desk.books.blotter.get(sent.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            asked = len(between.asked)
            refused = await desk.replace(Replace(cl_ord_id=sent.cl_ord_id, order_qty=D(2), intent=IntentID("more")))

            assert refused.ord_status is OrdStatus.REJECTED
            assert "changes no order's quantity" in refused.text
            assert len(between.asked) == asked
            stranger = bench.connector()  # that has seen none of its rows
            await stranger.connect()
            made = approved_of(desk, sent)
            more = changed(made, request=changed(made.request, order_qty=D(3)), cl_ord_id=ClOrdID("q1aaaaaaaaaaaaaaab"), orig_order_id=sent.order_id)
            with pytest.raises(Rejected, match="changes no order's quantity"):
                await stranger.replace(more)
            assert len(between.asked) == asked

    story(tmp_path, tell)


@pytest.mark.parametrize("lost", [False, True])
def test_the_entry_of_a_bracket_is_changed_under_its_own_number_and_keeps_its_exits(tmp_path: Path, lost: bool) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            low, lower = await priced(desk, TRADIER, AssetClass.EQUITY, "0.99"), await priced(desk, TRADIER, AssetClass.EQUITY, "0.985")
            request = await linked(desk, TRADIER, AssetClass.EQUITY, Contingency.BRACKET, "a", price=low)
            sent = await desk.submit(request)
            await desk.wait(lambda: known(desk, sent.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)
            bench.network.faults = Faults(lost_answer=float(lost))
            asking = asyncio.create_task(desk.replace(Replace(cl_ord_id=sent.cl_ord_id, price=lower, intent=IntentID("lower"))))
            await asyncio.sleep(5)
            bench.network.faults = Faults(enabled=False)
            moved = await asking
            assert await desk.wait(lambda: known(desk, moved.cl_ord_id).ord_status is OrdStatus.NEW, 60 * SECOND_NS)
            (row,) = bench.twin.trading.placed.values()
            head = bench.twin.exchange.orders[row.orders[0]]

            assert (known(desk, moved.cl_ord_id).price, head.price, len(row.orders)) == (lower, lower, 3)
            await settled(desk, await desk.cancel(moved.cl_ord_id))
            assert desk.books.blotter.working() == ()
            assert desk.books.halts == {}

    story(tmp_path, tell)


def test_an_entry_that_was_changed_fills_and_its_exits_wake(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            low, high = await priced(desk, TRADIER, AssetClass.EQUITY, "0.99"), await priced(desk, TRADIER, AssetClass.EQUITY, "1.001")
            sent = await desk.submit(await linked(desk, TRADIER, AssetClass.EQUITY, Contingency.BRACKET, "a", price=low))
            await desk.wait(lambda: known(desk, sent.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)
            moved = await settled(desk, await desk.replace(Replace(cl_ord_id=sent.cl_ord_id, price=high, intent=IntentID("higher"))))
            assert moved.ord_status is OrdStatus.FILLED
            await asyncio.sleep(60)
            standing = desk.books.blotter.working()

            assert sorted((one.ord_type, one.ord_status) for one in standing) == [(OrdType.LIMIT, OrdStatus.NEW), (OrdType.STOP, OrdStatus.NEW)]
            assert all(one.protects in (sent.cl_ord_id, moved.cl_ord_id) for one in standing if one.ord_type is OrdType.STOP)
            assert (desk.books.halts, list(desk.books.alerts)) == ({}, [])

    story(tmp_path, tell)


def test_a_change_whose_answer_is_lost_is_found_in_its_order(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            low, lower = await priced(desk, TRADIER, AssetClass.EQUITY, "0.97"), await priced(desk, TRADIER, AssetClass.EQUITY, "0.96")
            sent = await desk.submit(order(TRADIER, AssetClass.EQUITY, "a", ord_type=OrdType.LIMIT, price=low))
            await desk.wait(lambda: desk.books.blotter.get(sent.cl_ord_id).ord_status is OrdStatus.NEW, 5 * SECOND_NS)  # type: ignore[union-attr]
            bench.network.faults = Faults(lost_answer=1.0)
            asking = asyncio.create_task(desk.replace(Replace(cl_ord_id=sent.cl_ord_id, price=lower, intent=IntentID("lower"))))
            await asyncio.sleep(5)
            bench.network.faults = Faults(enabled=False)
            moved = await asking
            assert moved.doubt is Doubt.IN_DOUBT
            assert await desk.wait(lambda: desk.books.blotter.get(moved.cl_ord_id).doubt is Doubt.NONE, 60 * SECOND_NS)  # type: ignore[union-attr]
            after = desk.books.blotter.get(moved.cl_ord_id)
            assert after is not None

            assert (after.price, after.order_id, after.ord_status) == (lower, sent.order_id, OrdStatus.NEW)

    story(tmp_path, tell)


@pytest.mark.parametrize(("after_ns", "duration"), [(6 * HOUR_NS + 30 * MINUTE_NS, "post"), (21 * HOUR_NS + 30 * MINUTE_NS, "pre")])
def test_an_order_for_extended_hours_trades_before_and_after_the_session(tmp_path: Path, after_ns: int, duration: str) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(after_ns / SECOND_NS)  # it is a quarter past ten in New York
            await desk.wait(lambda: desk.ready[TRADIER.broker], 300 * SECOND_NS)
            limit = {"ord_type": OrdType.LIMIT, "price": await priced(desk, TRADIER, AssetClass.EQUITY, "1.02")}
            with pytest.raises(RiskRefused, match="closed"):
                await desk.submit(order(TRADIER, AssetClass.EQUITY, "day", "1", **limit))
            late = await settled(desk, await desk.submit(order(TRADIER, AssetClass.EQUITY, "late", "2", extended_hours=True, **limit)))

            assert (late.ord_status, late.cum_qty) == (OrdStatus.FILLED, D(2))
            assert [row.form["duration"] for row in bench.twin.trading.placed.values()] == [duration]
            assert desk.books.halts == {}

    story(tmp_path, tell, hours="us")


def test_an_order_that_the_night_took_off_the_list_is_asked_for_by_its_number(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        low = D(0)
        async with bench.desk(WIDE) as desk:
            low = await priced(desk, TRADIER, AssetClass.EQUITY, "0.8")
            sent = await desk.submit(order(TRADIER, AssetClass.EQUITY, "a", ord_type=OrdType.LIMIT, price=low, time_in_force=TimeInForce.GTC))
        await asyncio.sleep(86_400)
        async with bench.desk(WIDE) as desk:
            await asyncio.sleep(60)
            assert desk.ready[TRADIER.broker]
            assert [known.cl_ord_id for known in desk.books.blotter.working()] == [sent.cl_ord_id]
            assert (await settled(desk, await desk.cancel(sent.cl_ord_id))).ord_status is OrdStatus.CANCELED

    story(tmp_path, tell)


def test_what_was_closed_is_listed_a_night_later(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            bought = await settled(desk, await desk.submit(order(TRADIER, AssetClass.EQUITY, "a", "5")))
            sold = await settled(desk, await desk.submit(order(TRADIER, AssetClass.EQUITY, "b", "3", Side.SELL, reduce_only=True)))
            assert await VERBS["gains"](desk, {}) == []
            await asyncio.sleep(86_400)
            rows: Any = await VERBS["gains"](desk, {"count": 5})
            cost, proceeds = (round(3 * (one.avg_px or D(0)), 2) for one in (bought, sold))
            (row,) = rows

            assert (row["instrument"], D(row["qty"]), D(row["cost"]), D(row["proceeds"])) == ("AAPL", 3, cost, proceeds)
            assert D(row["gain"]) == proceeds - cost
            assert row["opened"] == row["closed"] == str(codec.new_york_day(START_NS))

    story(tmp_path, tell)


def test_the_market_says_where_it_is_in_its_day_and_the_calendar_when_it_opens_again(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE) as desk:
            now: Any = await VERBS["hours"](desk, {})
            seen = [now["state"]]
            for _ in range(4):
                assert now["transact_ns"] < now["next_ns"]
                await desk.clock.sleep_ns(now["next_ns"] - desk.clock.now_ns() + SECOND_NS)
                due, now = now, await VERBS["hours"](desk, {})
                assert (now["state"], now["transact_ns"] // MINUTE_NS) == (due["next_state"], due["next_ns"] // MINUTE_NS)
                seen.append(now["state"])

            assert seen[seen.index("premarket") :][:2] == ["premarket", "open"]
            assert set(seen) == {"premarket", "open", "postmarket", "closed"}

    story(tmp_path, tell, hours="us")


def test_a_market_that_never_closes_says_when_its_day_ends() -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        await connector.connect()
        shown = await connector.market_clock()

        assert (shown.state, codec.new_york_minute(shown.next_ns)) == ("open", f"{codec.new_york_day(START_NS + 24 * HOUR_NS)} 00:00")

    alone(tell)


def test_the_preview_says_what_it_costs_and_what_it_refuses(tmp_path: Path) -> None:
    async def tell(bench: Bench, between: Between) -> None:
        async with bench.desk(WIDE, dry_run=True) as desk:
            taken = await desk.submit(order(TRADIER, AssetClass.EQUITY, "a"))
            bench.twin.exchange.deposit("USD", D(-99_990))
            refused = await desk.submit(order(TRADIER, AssetClass.EQUITY, "b", "2"))
            between.answers = lambda body: body.replace(b'"order":{', b'"order":{"id":7,') if b'"result"' in body else body
            bench.twin.exchange.deposit("USD", D(99_990))
            await desk.submit(order(TRADIER, AssetClass.EQUITY, "c", "3"))

            assert "Tradier has checked it and would take it: cost " in taken.text
            assert refused.text.startswith("Tradier refused: InitialMargin")
            assert desk.books.halts[TRADIER.broker].rule == "PROTOCOL"  # it placed what it was to check
            assert not bench.twin.trading.placed

    story(tmp_path, tell)


def test_an_assignment_in_the_sandbox_stops_the_instrument_and_nothing_is_traded_to_mend_it(tmp_path: Path) -> None:
    """The sandbox keeps no history: nobody can say why the shares are there."""

    async def tell(bench: Bench, between: Between) -> None:
        from tests.conformance.test_options import rested, spread
        from trading_system.domain.option import Right

        async with bench.desk(WIDE) as desk:
            request = await spread(desk, TRADIER, "a", right=Right.PUT)
            await rested(desk, await desk.submit(request))
            placed = between.placed
            bench.twin.assign(str(request.legs[1].instrument), D(1))
            assert await desk.wait(lambda: f"{TRADIER.broker}:AAPL" in desk.books.halts, 120 * SECOND_NS)

            assert desk.books.halts[f"{TRADIER.broker}:AAPL"].rule == "MISMATCH"
            assert between.placed == placed

    story(tmp_path, tell, cash=D(1_000_000))


# -- production --------------------------------------------------------------------------------------------------------------------------------------


def test_what_no_order_made_is_told_the_next_day_in_production() -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        await connector.connect()
        twin.transfer(D(500))
        twin.place({"class": "equity", "symbol": "AAPL", "side": "buy", "quantity": "3", "type": "market", "duration": "day"})
        network.carry(twin)
        await asyncio.sleep(1)
        twin.dividend("AAPL", D("0.25"))
        assert await connector.flows(START_NS) == ()
        await asyncio.sleep(86_400)
        flows = await connector.flows(START_NS)

        assert sorted((flow.kind, flow.amount) for flow in flows) == [(FlowKind.INCOME, D("0.75")), (FlowKind.TRANSFER, D(500))]
        assert [flow.flow_id for flow in await connector.flows(START_NS)] == [flow.flow_id for flow in flows]

    alone(tell)


def test_one_stream_serves_all_readers_and_symbols_come_and_go() -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        await connector.connect()
        one, two = (connector.subscribe((InstrumentID(name),), Kinds(trades=True)) for name in ("AAPL", "BRK.B"))
        assert (await first(one, StreamState)).link is Link.LIVE
        quote, other = await first(one, Quote), await first(two, Quote)
        trade = await first(one, Trade)

        assert (quote.instrument, other.instrument, trade.instrument) == ("AAPL", "BRK.B", "AAPL")
        assert len(twin.market_stream.conns) == 1
        assert quote.transact_ns <= quote.recv_ns
        await two.aclose()
        await asyncio.sleep(1)
        assert [reader.symbols for reader in twin.market_stream.conns.values()] == [["AAPL"]]
        await one.aclose()
        await asyncio.sleep(1)
        assert not twin.market_stream.conns
        with pytest.raises(BadRequest, match="no bars"):
            await first(connector.subscribe((AAPL,), Kinds(bars=True)), Quote)

    alone(tell)


def test_by_http_other_symbols_are_another_stream_and_readers_are_told() -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        await connector.connect()
        one, two = (connector.subscribe((InstrumentID(name),), Kinds(trades=True)) for name in ("AAPL", "BRK.B"))
        assert (await first(one, StreamState)).link is Link.LIVE
        quote, trade = await first(one, Quote), await first(one, Trade)
        assert (quote.instrument, trade.instrument) == ("AAPL", "AAPL")
        assert (await first(two, StreamState)).link is Link.LIVE
        assert (await first(two, Quote)).instrument == "BRK.B"
        gap = await first(one, StreamState)
        assert (gap.link, "symbols have changed" in gap.text) == (Link.GAP, True)
        assert (await first(one, StreamState)).link is Link.LIVE
        assert [(reader.symbols, reader.is_lines) for reader in twin.market_stream.conns.values()] == [(["AAPL", "BRK/B"], True)]
        await two.aclose()
        await asyncio.sleep(1)
        assert [reader.symbols for reader in twin.market_stream.conns.values()] == [["AAPL"]]
        assert (await first(one, Trade)).instrument == "AAPL"
        await one.aclose()
        await asyncio.sleep(1)
        assert not twin.market_stream.conns

    alone(tell, options={"market_stream": "http"})


def test_by_http_a_line_that_drops_comes_back_with_a_new_ticket() -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        await connector.connect()
        events = connector.subscribe((AAPL,), Kinds(trades=True))
        await first(events, Quote)
        (before,) = (reader.sessionid for reader in twin.market_stream.conns.values())
        network.drop_all()
        assert (await first(events, StreamState)).link is Link.GAP
        assert (await first(events, StreamState)).link is Link.LIVE
        await first(events, Trade)
        (after,) = (reader.sessionid for reader in twin.market_stream.conns.values())
        assert before != after
        await events.aclose()

    alone(tell, options={"market_stream": "http"})


def test_a_ticket_that_the_stream_does_not_take_is_no_word_on_the_token() -> None:
    class Door:
        """The network, and at the first knock a refusal in front of it."""

        def __init__(self, dialer: Any) -> None:
            self.dialer = dialer
            self.refuses = True

        async def dial(self, url: str, headers: Mapping[str, str], *, within_ns: int) -> Any:
            if self.refuses:
                self.refuses = False
                raise Refused(401, b"Invalid session")
            return await self.dialer.dial(url, headers, within_ns=within_ns)

    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        await connector.connect()
        events = connector.subscribe((AAPL,), Kinds(trades=True))
        gap = await first(events, StreamState)
        assert (gap.link, "ticket was not taken" in gap.text) == (Link.GAP, True)
        assert (await first(events, StreamState)).link is Link.LIVE
        await first(events, Quote)
        await events.aclose()

    alone(tell, options={"market_stream": "http"}, door=Door)


def test_the_sandbox_is_asked_for_prices_and_says_so() -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        await connector.connect()
        events = connector.subscribe((AAPL,), Kinds(trades=True))
        state = await first(events, StreamState)
        quote = await first(events, Quote)
        trade = await first(events, Trade)
        assert (state.link, state.text) == (Link.LIVE, facts.SANDBOX_FEED)
        assert 0 <= quote.recv_ns - quote.transact_ns < SECOND_NS  # of this market's now
        assert trade.price > 0
        network.faults = Faults(refused=1.0)
        assert (await first(events, StreamState)).link is Link.GAP
        network.faults = Faults(enabled=False)
        assert (await first(events, StreamState)).link is Link.LIVE
        await events.aclose()

    alone(tell, environment="paper")


def test_bars_and_trades_cover_what_was_asked_for_and_no_more() -> None:
    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        await connector.connect()
        end_ns = START_NS // MINUTE_NS * MINUTE_NS - 10 * MINUTE_NS
        start_ns = end_ns - 15 * MINUTE_NS
        minutes = await connector.bars(AAPL, MINUTE_NS, start_ns, end_ns)
        trades = await connector.trades(AAPL, start_ns, end_ns)
        days = await connector.bars(AAPL, 1440 * MINUTE_NS, START_NS - 5 * 1440 * MINUTE_NS, START_NS)

        assert [bar.open_ns for bar in minutes] == list(range(start_ns, end_ns, MINUTE_NS))
        assert sum(bar.volume for bar in minutes) == sum(trade.qty for trade in trades)
        assert len(days) == 5
        for what in (connector.quotes(AAPL, start_ns, end_ns), connector.bars(AAPL, 7, start_ns, end_ns)):
            with pytest.raises(BadRequest):
                await what
        with pytest.raises(BadRequest, match="must be on or after"):
            await connector.trades(AAPL, START_NS - 90 * 1440 * MINUTE_NS, end_ns)

    alone(tell)


def test_a_replacement_that_is_refused_is_refused() -> None:
    """Side.SELL of what nobody holds: "ok", and then rejected; a change of it finds nothing."""

    async def tell(connector: Any, twin: TradierTwin, network: SimNetwork) -> None:
        from tests.brokers.tradier.test_codec import approved

        await connector.connect()
        report = await connector.submit(approved(side=Side.SELL, reducing=True, ord_type=OrdType.LIMIT, price=D(300)))
        change = changed(approved(side=Side.SELL, ord_type=OrdType.LIMIT, price=D(301)), orig_order_id=report.order_id)
        with pytest.raises(Rejected, match="nothing left to change"):
            await connector.replace(change)

    alone(tell)
