"""events: what happens to orders at the broker, or is booked on accounts, as it happens. A watcher, no desk."""

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trading_system.cli.common import as_json, default_config, put, settings

if TYPE_CHECKING:
    from trading_system.app.build import Account
    from trading_system.app.config import Config
    from trading_system.app.desk import Desk
    from trading_system.domain.event import AccountActivity, AccountEvent
    from trading_system.domain.fix import OrdStatus
    from trading_system.domain.ids import ClOrdID
    from trading_system.domain.order import NewOrder
    from trading_system.domain.ports import StreamState

LIVE_WITHIN_S = 20
TOLD_WITHIN_S = 20
_COLOURS: Mapping[str, Mapping[str, Any]] = {  # what needs a look is red, what moved money green, what ended yellow
    "trade": {"fg": "green"},
    "canceled": {"fg": "yellow"},
    "expired": {"fg": "yellow"},
    "replaced": {"fg": "yellow"},
    "rejected": {"fg": "red", "bold": True},
    "cancel_rejected": {"fg": "red"},
    "replace_rejected": {"fg": "red"},
    "trade_cancel": {"fg": "red", "bold": True},
    "trade_correct": {"fg": "red", "bold": True},
    "suspended": {"fg": "yellow"},
    "pending_new": {"dim": True},
    "pending_cancel": {"dim": True},
    "pending_replace": {"dim": True},
    "order_status": {"dim": True},
}


@click.command()
@click.option("--sse", is_flag=True, help="By server-sent events, which replay what a broken connection missed (else as ALPACA_ORDER_EVENTS says).")
@click.option("--broker-api", is_flag=True, help="All accounts of a Broker API firm, with ALPACA_OAUTH_CLIENT_ID and _SECRET.")
@click.option("--activities", is_flag=True, help="What is booked instead: trades, fees, dividends, ends of options. Of a firm, as --broker-api.")
@click.option("--since", default="", metavar="TIME", help="Begin in the past: a day or RFC 3339 (server-sent events only).")
@click.option("--count", type=click.IntRange(1), help="Stop after so many events.")
@as_json
def events(sse: bool, broker_api: bool, activities: bool, since: str, count: int | None, as_json: bool) -> None:
    from trading_system.app import build
    from trading_system.domain.errors import BadRequest
    from trading_system.settings.keys import has_keys

    config = settings()
    screen = Screen(as_json=as_json, count=count)
    try:
        if has_keys("alpaca", config.secrets):  # half of a pair is an error for whoever uses it, and no reason for the twin
            account = build.watched(config, sse=sse, broker_api=broker_api, activities=activities, since=since)
            build.run(_watch(config, account, screen))
        elif others := [name for name in config.brokers if has_keys(name, config.secrets)]:
            advice = "`trading watch INSTRUMENT` shows the orders of any broker as they change"
            raise BadRequest(f"these events are Alpaca's only, and the keys here are of {' and '.join(others)}: {advice}")
        else:
            build.run(_watch_twin(screen, sse=sse, broker_api=broker_api, activities=activities, since=since))
    except KeyboardInterrupt:
        click.echo("Stopped; nothing at the broker has changed.", err=True)


class Screen:
    """Where events go: a line each, or a JSON object each."""

    def __init__(self, *, as_json: bool, count: int | None) -> None:
        self._as_json = as_json
        self._count = count
        self._shown = 0
        self.live = asyncio.Event()
        self.ended: set[str] = set()  # orders that are over
        self.over = asyncio.Event()  # one more of them

    def say(self, text: str) -> None:
        click.secho(text, bold=True, err=self._as_json)

    def show(self, event: "AccountEvent | AccountActivity | StreamState") -> bool:
        """Whether there is to be more."""
        from trading_system.app.watcher import activity_view, event_view, stream_view
        from trading_system.domain.event import AccountActivity
        from trading_system.domain.ports import Link, StreamState

        if isinstance(event, StreamState):
            if event.link is Link.LIVE:
                self.live.set()
            self._put("stream", stream_view(event), _state_line(event), {"fg": "cyan" if event.link is Link.LIVE else "red"})
            return True
        if isinstance(event, AccountActivity):
            self._put("activity", activity_view(event), _activity_line(event), _activity_colour(event))
            self._end(event.cl_ord_id, event.ord_status)
        else:
            self._put("event", event_view(event), _line(event), _COLOURS.get(event.report.exec_type.value, {}))
            self._end(event.report.cl_ord_id, event.report.ord_status)
        self._shown += 1
        return self._count is None or self._shown < self._count

    def _end(self, cl_ord_id: "ClOrdID | None", ord_status: "OrdStatus | None") -> None:
        if cl_ord_id is not None and ord_status is not None and ord_status.terminal:
            self.ended.add(cl_ord_id)
            self.over.set()

    def _put(self, name: str, view: Mapping[str, object], line: str, colours: Mapping[str, Any]) -> None:
        if self._as_json:
            import msgspec

            put(msgspec.json.encode({name: view}))
        else:
            click.secho(line, **colours)


def _line(event: "AccountEvent") -> str:
    from trading_system.domain.money import plain
    from trading_system.domain.times import rfc3339

    report = event.report
    size = (
        f"{plain(report.order_qty)}"
        if report.order_qty is not None
        else f"{plain(report.cash_order_qty or Decimal(0))} {report.instrument.partition('/')[2] or 'USD'}"
    )
    what = f"{report.exec_type.value:<16} {report.side.value:<4} {size:>10} {report.instrument:<10}"
    how = f"{plain(report.last_qty)} at {plain(report.last_px)}" if report.exec_id is not None else _terms(event)
    firm = f"  {event.account[:8]}" if event.account else ""
    return f"{rfc3339(report.transact_ns)[:23].replace('T', ' ')}{firm}  {what} {how:<24} {report.ord_status.value:<17} {report.cl_ord_id}".rstrip()


def _activity_line(activity: "AccountActivity") -> str:
    from trading_system.domain.money import plain
    from trading_system.domain.times import rfc3339

    kind = " ".join(filter(None, (activity.activity_type, activity.activity_subtype)))
    side = "" if activity.side is None else activity.side.value
    size = "" if activity.qty is None else plain(activity.qty)
    what = f"{kind:<12} {side:<4} {size:>10} {activity.instrument or '':<10}"
    price = "" if activity.price is None else f"at {plain(activity.price)}"
    amount = "" if activity.amount is None else f"{activity.amount.quantize(Decimal('0.01')):+,} {activity.currency}"
    firm = f"  {activity.account[:8]}" if activity.account else ""
    said = " ".join(filter(None, (activity.cl_ord_id, activity.text)))
    return f"{rfc3339(activity.transact_ns)[:23].replace('T', ' ')}{firm}  {what} {price:<14} {amount:>18}  {activity.status:<9} {said}".rstrip()


def _activity_colour(activity: "AccountActivity") -> Mapping[str, Any]:
    """What takes something back is red, what brought or cost money green."""
    if activity.previous_id is not None:
        return {"fg": "red", "bold": True}
    return {"fg": "green"} if activity.amount else {}


def _terms(event: "AccountEvent") -> str:
    from trading_system.domain.money import plain

    report = event.report
    stop = "" if report.stop_px is None else f" stop {plain(report.stop_px)}"
    price = "" if report.price is None else f" limit {plain(report.price)}"
    return f"{stop}{price}".strip() or report.ord_type.value


def _state_line(state: "StreamState") -> str:
    from trading_system.domain.times import rfc3339

    return f"{rfc3339(state.recv_ns)[:23].replace('T', ' ')}  {state.stream}: {state.link} {state.text}".rstrip()


async def _watch(config: "Config", account: "Account", screen: Screen) -> None:
    from trading_system.app import build

    if not account.twin:
        screen.say(f"Watching {account.options['topic']} at {account.broker} ({account.environment}). Ctrl-C ends it; nothing is changed.")
    async with build.broker_events(config, account) as stream:
        async for event in stream:
            if not screen.show(event):
                return


# -- without keys: the twin, and something to see --------------------------------------------------------------------------------


async def _watch_twin(screen: Screen, *, sse: bool, broker_api: bool, activities: bool, since: str) -> None:
    from trading_system.app import build

    screen.say("No keys in .env: using the twin of Alpaca, a simulated broker on this machine. A desk places a few orders there; this watches.")
    async with AsyncExitStack() as stack:
        twin = await stack.enter_async_context(build.served_twin("alpaca", seed=11))
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="trading-events-"))
        config = default_config(home)
        account = build.watched_twin(twin, sse=sse or bool(since), broker_api=broker_api, activities=activities, since=since)
        watching = asyncio.create_task(_watch(config, account, screen))
        try:
            desk = await stack.enter_async_context(build.open_desk(config, (build.desk_beside(twin, account),), folder=Path(home), listen=False))
            await _soon(screen.live, watching, LIVE_WITHIN_S)
            fills, resting = await _trade(desk)
            awaited = fills if activities else {*fills, resting}  # what never traded is not booked
            while not watching.done() and not awaited <= screen.ended:
                screen.over.clear()
                await _soon(screen.over, watching, TOLD_WITHIN_S)
            if watching.done():
                watching.result()
        finally:
            watching.cancel()
    screen.say("The orders are over, and so is this. With keys in .env it shows your own account for as long as you like.")


async def _soon(happened: asyncio.Event, watching: "asyncio.Task[None]", within_s: float) -> None:
    """Until it happened, or the watching ended. Raises ClickException: neither, for too long."""
    waiting = asyncio.ensure_future(happened.wait())
    done, _ = await asyncio.wait((waiting, watching), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not done:
        raise click.ClickException(f"the twin's stream said nothing for {within_s:.0f} s")


async def _trade(desk: "Desk") -> tuple[set[str], str]:
    """Fills, fills in parts, and an order that rests and is cancelled: the ids of the first, and of the last."""
    from trading_system.domain.fix import OrdType, Side, TimeInForce

    eth = await desk.hub.fetch(_broker(), _instrument("ETH/USD"))
    assert eth.bid_px is not None
    first = await desk.submit(_wish("first", "AAPL", "3", time_in_force=TimeInForce.DAY))
    large = await desk.submit(_wish("second", "ETH/USD", "4.5"))  # the twin never has more than 4 at its best price
    low = (eth.bid_px * Decimal("0.98")).quantize(Decimal("0.01"))
    resting = await desk.submit(_wish("third", "ETH/USD", "0.1", ord_type=OrdType.LIMIT, price=low))
    await desk.wait(lambda: _settled(desk, large.cl_ord_id), TOLD_WITHIN_S * 1_000_000_000)
    await desk.cancel(resting.cl_ord_id)
    await desk.wait(lambda: _settled(desk, first.cl_ord_id), TOLD_WITHIN_S * 1_000_000_000)
    last = await desk.submit(_wish("fourth", "AAPL", "3", side=Side.SELL, time_in_force=TimeInForce.DAY))
    return {order.cl_ord_id for order in (first, large, last)}, resting.cl_ord_id


def _settled(desk: "Desk", cl_ord_id: Any) -> bool:
    order = desk.books.blotter.get(cl_ord_id)
    return order is not None and order.settled


def _broker() -> Any:
    from trading_system.domain.ids import BrokerName

    return BrokerName("alpaca")


def _instrument(symbol: str) -> Any:
    from trading_system.domain.ids import parse_instrument

    return parse_instrument(symbol)


def _wish(intent: str, symbol: str, qty: str, **changes: Any) -> "NewOrder":
    from trading_system.domain.fix import OrdType, Side, TimeInForce
    from trading_system.domain.ids import IntentID
    from trading_system.domain.order import NewOrder

    fields = {"side": Side.BUY, "ord_type": OrdType.MARKET, "time_in_force": TimeInForce.GTC} | changes
    return NewOrder(broker=_broker(), instrument=_instrument(symbol), order_qty=Decimal(qty), intent=IntentID(f"events-{intent}"), **fields)
