"""Server-sent events, Alpaca's and the desk's own: with your keys it listens (--order: places an order that rests), without any on the twin."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path

import aiohttp

from trading_system.app import build
from trading_system.app.config import Config, load_config
from trading_system.app.desk import Desk
from trading_system.domain.errors import BadRequest, DeskError
from trading_system.domain.event import AccountEvent
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, InstrumentID, IntentID
from trading_system.domain.money import plain
from trading_system.domain.order import NewOrder
from trading_system.domain.ports import Link, StreamState
from trading_system.settings.keys import has_keys
from trading_system.web.server import Listening
from trading_system.web.serving import serving
from trading_system.web.tokens import Scope

BROKER, BTC = BrokerName("alpaca"), InstrumentID("BTC/USD")
WITHIN_NS = 15_000_000_000
LIVE_WITHIN_S = 20
EVENTS_WITHIN_S = 20


class Heard:
    """What the stream said so far."""

    def __init__(self) -> None:
        self.live = asyncio.Event()
        self.canceled = asyncio.Event()
        self.count = 0

    async def listen(self, config: Config, account: build.Account) -> None:
        async with build.broker_events(config, account) as stream:
            async for event in stream:
                if isinstance(event, AccountEvent):
                    self._tell(event)
                elif isinstance(event, StreamState) and event.link is Link.LIVE:
                    print("✅ the stream is live", flush=True)
                    self.live.set()
                elif isinstance(event, StreamState):
                    print(f"   {event.link}: {event.text}", flush=True)

    def _tell(self, event: AccountEvent) -> None:
        report = event.report
        self.count += 1
        print(f"   {event.event_id}  {report.exec_type:<14} {report.side} {report.instrument} {report.ord_status}", flush=True)
        if report.exec_type == "canceled":
            self.canceled.set()


async def order(desk: Desk) -> None:
    """A limit order at half the price: it rests, and is cancelled."""
    quote = await desk.hub.fetch(BROKER, BTC)
    assert quote.bid_px is not None
    price = (quote.bid_px / 2).quantize(Decimal("0.01"))
    request = NewOrder(
        broker=BROKER,
        instrument=BTC,
        side=Side.BUY,
        ord_type=OrdType.LIMIT,
        time_in_force=TimeInForce.GTC,
        order_qty=Decimal("0.001"),
        price=price,
        intent=IntentID(f"sse-test-{desk.clock.now_ns()}"),
    )
    placed = await desk.submit(request)
    print(f"   placed: buy 0.001 BTC at {plain(price)}, far from the market", flush=True)
    await desk.wait(lambda: (desk.books.blotter.get(placed.cl_ord_id) or placed).ord_status == "new", WITHIN_NS)
    await desk.cancel(placed.cl_ord_id)


async def own_events(desk: Desk, config: Config, folder: Path) -> None:
    """What the desk journaled last, over HTTP: three events, then the line is cut, and the rest comes behind the last id that was read."""
    async with serving(desk, config, folder, Listening()) as server, aiohttp.ClientSession() as session:
        token = server.tokens.add("sse-example", (Scope.READ,), desk.clock.now_ns(), days=1)
        end = desk.journal.seq
        begin = last = max(0, end - 10)
        print(f"   the desk's own events: {server.url}v1/events", flush=True)
        for until in (begin + 3, end):
            headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": str(last)}
            async with session.get(f"{server.url}v1/events", headers=headers) as answer:
                while last < until:
                    line = await asyncio.wait_for(answer.content.readline(), EVENTS_WITHIN_S)
                    if line.startswith(b'data: {"seq"'):
                        event = json.loads(line.removeprefix(b"data: "))
                        assert event["seq"] == last + 1
                        last = event["seq"]
                        print(f"   {last:>3}  {event['record']['type']}", flush=True)
            print(f"   the line is cut behind {last}" if until < end else "   and everything came, once", flush=True)
        server.tokens.remove("sse-example")


async def story(*, wants_order: bool, seconds: int) -> None:
    config = load_config()
    async with AsyncExitStack() as stack:
        folder = None
        if has_keys(BROKER, config.secrets):
            watched = build.watched(config, sse=True)
            (account,) = build.accounts_of(config, BROKER)
            print(f"Using your Alpaca keys ({account.environment}){'' if wants_order else '; read only'}.")
            if wants_order and account.environment == "live":
                print("The test order is for paper only. Set TRADING_MODE=paper and ALPACA_PAPER=true, or leave --order out.", file=sys.stderr)
                sys.exit(1)
        elif others := [name for name in config.brokers if has_keys(name, config.secrets)]:
            advice = f"`trading watch INSTRUMENT` shows those of any broker; with TRADING_ENV_FILE={os.devnull} this runs on Alpaca's twin"
            raise BadRequest(f"Alpaca alone has order events by SSE, and the keys here are of {' and '.join(others)}: {advice}")
        else:
            print("No keys in .env: using the twin of Alpaca, a simulated broker on this machine.")
            twin = await stack.enter_async_context(build.served_twin("alpaca"))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trading-example-")))
            watched = build.watched_twin(twin, sse=True, broker_api=False)
            account, wants_order = build.desk_beside(twin, watched), True
        heard = Heard()
        listening = asyncio.create_task(heard.listen(config, watched))
        stack.callback(listening.cancel)
        await first(heard.live, listening, LIVE_WITHIN_S, "the stream did not come up")
        if wants_order:
            desk = await stack.enter_async_context(build.open_desk(config, (account,), folder=folder, listen=False))
            await desk.wait(lambda: all(desk.ready.values()), WITHIN_NS)
            await order(desk)
            await first(heard.canceled, listening, EVENTS_WITHIN_S, "the order's events did not come")
            await own_events(desk, config, folder or build.state_folder(config))
        else:
            print(f"   listening for {seconds} s; place an order on Alpaca's page to see it here")
            await asyncio.wait((listening,), timeout=seconds)
        if listening.done():
            listening.result()
    print(f"✅ SSE streaming test passed! {heard.count} events.")


async def first(happened: asyncio.Event, listening: "asyncio.Task[None]", within_s: int, else_: str) -> None:
    """Until it happened. What ends the listening is raised; exit 1 where nothing comes."""
    waiting = asyncio.ensure_future(happened.wait())
    await asyncio.wait((waiting, listening), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    if listening.done():
        listening.result()
    if not waiting.done():
        waiting.cancel()
        print(f"❌ {else_} within {within_s} s", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--order", action="store_true", help="place a limit order far from the market and cancel it (paper only)")
    parser.add_argument("--seconds", type=int, default=30, help="how long to listen without --order")
    wanted = parser.parse_args()
    try:
        build.run(story(wants_order=wanted.order, seconds=wanted.seconds))
    except DeskError as error:
        print(f"❌ {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Stopped.")
