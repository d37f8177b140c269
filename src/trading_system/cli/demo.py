"""demo: the whole promise in a minute, over the real wire: twin, desk, gate, partial fills, kill -9, recovery, proof."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.cli.common import as_json, default_config, emit
from trading_system.core.lifecycle import Applied
from trading_system.domain.errors import RiskRefused
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import BrokerName, InstrumentID, IntentID
from trading_system.domain.market import Quote
from trading_system.domain.money import plain
from trading_system.domain.order import NewOrder, Order
from trading_system.domain.ports import Kinds
from trading_system.journal.record import Record

BROKER = BrokerName("alpaca")
ETH = InstrumentID("ETH/USD")
BTC = InstrumentID("BTC/USD")
SECOND_NS = 1_000_000_000
START_WITHIN_S = 30


@click.command()
@click.option("--seed", type=int, default=11, show_default=True, help="Another seed, another market.")
@click.option("--fast", is_flag=True, help="Without the pauses for watching.")
@as_json
def demo(seed: int, fast: bool, as_json: bool) -> None:
    slow = sys.stdout.isatty() and not fast and not as_json
    if not as_json:
        _show(seed, slow=slow)
        return
    with redirect_stdout(sys.stderr):
        proof = _show(seed, slow=slow)
    emit(proof)


def _show(seed: int, *, slow: bool) -> dict[str, object]:
    """The whole story; gives what it proved."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="trading-demo-") as home, _twin(seed) as twin:
        config = default_config(home)
        _title("A twin of Alpaca is up", f"{twin['rest']}, speaking Alpaca's own protocol. No key, no internet.")
        in_flight = _first_life(home, twin, slow=slow)
        from trading_system.app import build

        proof = build.run(_second_life(config, twin, in_flight, slow=slow))
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s; nothing was left behind. Next: README, or `trading twins alpaca` to play.")
    return {"seed": seed, **proof}


# -- the first life: a desk that dies in the middle of an order ------------------------------------------------------------------


def _first_life(home: str, twin: Mapping[str, str], *, slow: bool) -> str:
    """Run the desk in a process of its own, and kill it without warning when it says that an order is on its way. Gives that order's id."""
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "trading_system.cli.demo", home, msgspec.json.encode(twin).decode(), str(writer), str(int(slow))]
    child = subprocess.Popen(command, pass_fds=(writer,), stdout=sys.stdout.fileno())  # noqa: S603  our own module
    os.close(writer)
    with os.fdopen(reader) as pipe:
        in_flight = pipe.readline().strip()
    if not in_flight:
        raise click.ClickException(f"the desk ended before its time (exit code {child.wait()})")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    click.secho(f"     kill -9 {child.pid}: the process is gone. Nobody was told what became of {in_flight}.", fg="red", bold=True)
    return in_flight


async def _live(config: Config, twin: Mapping[str, str], signal_fd: int, *, slow: bool) -> None:
    from trading_system.app import build

    dying = False

    def step(name: str) -> None:
        if dying and name == "answer received":
            order = desk.books.blotter.working()[-1]
            os.write(signal_fd, f"{order.cl_ord_id}\n".encode())
            time.sleep(60)  # the parent kills us here: Alpaca has the order, and not a byte about it is in the books

    async with build.open_desk(config, (build.twin_account("alpaca", twin),), folder=Path(config.trading_home) / "twin", step=step) as desk:
        await desk.wait(lambda: all(desk.ready.values()), 10 * SECOND_NS)
        account = desk.accounts[BROKER]
        _title("The desk is connected and has compared its books with the broker's", f"account {account.account}, {account.environment}")
        click.echo(f"     cash {account.cash:,.2f}   buying power {account.buying_power:,.2f}   equity {account.equity:,.2f} {account.currency}")
        await _show_quotes(desk)
        await _pause(slow)
        await _refused(desk)
        await _pause(slow)
        await _filled_in_parts(desk)
        await _pause(slow)
        _title("One more order, and now the worst moment", "the broker has it, the answer is on the wire, and then:")
        dying = True
        await desk.submit(_wish("third", Side.BUY, "0.02", BTC))


async def _show_quotes(desk: Desk) -> None:
    _title("Quotes, as they stream", "")
    shown = 0
    async for event in desk.hub.stream(BROKER, (BTC, ETH), Kinds(quotes=True)):
        if isinstance(event, Quote) and event.bid_px is not None and event.ask_px is not None:
            sides = f"{plain(event.bid_px):>10} × {plain(event.bid_qty):<6}  {plain(event.ask_px):>10} × {plain(event.ask_qty):<6}"
            click.secho(f"     {event.instrument:<8} {sides}", fg="cyan")
            shown += 1
        if shown >= 6:
            return


async def _refused(desk: Desk) -> None:
    _title("An order that is too large", "buy 2 BTC: the gate says no, and why")
    try:
        await desk.submit(_wish("first", Side.BUY, "2", BTC))
    except RiskRefused as refused:
        click.secho(f"     refused by {refused.rule}: {refused.value}", fg="yellow")
        click.echo(f"     The limit is {refused.limit}. {refused.advice}")


async def _filled_in_parts(desk: Desk) -> None:
    quote = await desk.hub.fetch(BROKER, ETH)
    qty = (quote.ask_qty * Decimal("1.5")).quantize(Decimal("0.01"))
    _title(
        "An order that the market cannot fill at one price",
        f"buy {plain(qty)} ETH, {plain(quote.ask_qty)} are offered at {plain(quote.ask_px or Decimal(0))}",
    )
    desk.listeners.append(_show_fill)
    order = await desk.submit(_wish("second", Side.BUY, plain(qty), ETH))
    await desk.wait(lambda: (desk.books.blotter.get(order.cl_ord_id) or order).settled, 10 * SECOND_NS)
    done = desk.books.blotter.get(order.cl_ord_id) or order
    click.echo(f"     {done.ord_status}: {plain(done.cum_qty)} in {len(done.fills)} parts, on average at {_px(done)}")


def _show_fill(record: Record, applied: Applied | None) -> None:
    for booking in () if applied is None else applied.bookings:
        click.secho(f"     filled {plain(booking.fill.qty):>6} at {plain(booking.fill.price)}", fg="green")


# -- the second life -----------------------------------------------------------------------------------------------------------------


async def _second_life(config: Config, twin: Mapping[str, str], in_flight: str, *, slow: bool) -> dict[str, object]:
    from trading_system.app import build

    await _pause(slow)
    folder = Path(config.trading_home) / "twin"
    _title("A new desk on the same folder", "it replays its journal, and asks Alpaca about what it does not know")
    told: list[str] = []
    async with build.open_desk(config, (build.twin_account("alpaca", twin),), folder=folder) as desk:
        await desk.wait(lambda: all(desk.ready.values()) and not desk.books.in_doubt(), 20 * SECOND_NS)
        for order in desk.books.blotter:
            mark = "→" if order.cl_ord_id == in_flight else " "
            line = f"   {mark} {order.cl_ord_id}  {order.side:<4} {plain(order.order_qty):>6} {order.instrument:<8} {order.ord_status}"
            click.secho(f"{line}, {plain(order.cum_qty)} filled", fg="green" if order.cl_ord_id == in_flight else None)
        click.echo(f"     {in_flight} was found by its id and adopted. It was never sent a second time.")
        await _pause(slow)
        again = await desk.submit(_wish("third", Side.BUY, "0.02", BTC))
        click.echo(f"     The strategy asks for the same thing again: it gets {again.cl_ord_id}, and nothing is sent.")
        _title("Flatten", "cancel everything, close everything, read again")
        residue = await desk.flatten()
        for order in desk.books.blotter:
            if order.reduce_only:
                click.secho(f"     {order.side} {plain(order.cum_qty)} {order.instrument} at {_px(order)}", fg="green")
        click.echo(f"     left: {len(residue.positions)} positions, {len(residue.orders)} orders {' '.join(residue.problems)}")
        account = await desk.refresh_account(BROKER)
        click.echo(f"     equity {account.equity:,.2f} {account.currency} (spread and fees are real here)")
        told = [f"{order.cl_ord_id}" for order in desk.books.blotter if order.order_id is not None]
        theirs = await _orders_at_the_broker(twin)
    return _proof(folder, told, theirs)


async def _orders_at_the_broker(twin: Mapping[str, str]) -> list[str]:
    """The twin's own list, asked without our desk: what Alpaca would show on its page."""
    from trading_system.transport.http import AiohttpHttp
    from trading_system.transport.message import Request

    http = AiohttpHttp({twin["rest"].removeprefix("http://")})
    headers = {"APCA-API-KEY-ID": twin["key"], "APCA-API-SECRET-KEY": twin["secret"]}
    answer = await http.send(Request(method="GET", url=f"{twin['rest']}/v2/orders?status=all&limit=500", headers=headers), within_ns=5 * SECOND_NS)
    await http.aclose()
    orders: list[dict[str, Any]] = msgspec.json.decode(answer.body)
    return [order["client_order_id"] for order in orders]


def _proof(folder: Path, told: list[str], theirs: list[str]) -> dict[str, object]:
    from trading_system.journal.record import Intent
    from trading_system.journal.store import Journal

    journal = Journal(folder / "journal.sqlite")  # opening it walks the hash chain and compares the head that is kept apart
    intents = [entry.record.approved.cl_ord_id for entry in journal.read() if isinstance(entry.record, Intent)]
    records, digest = journal.seq, journal.digest.hex()
    journal.abandon()
    _title("What the journal proves", f"{records} records, hash chain whole, head {digest[:16]}…")
    click.echo(f"     intents on disk {len(intents)}   orders at the broker {len(theirs)}   different ids {len(set(theirs))}")
    exactly_once = sorted(told) == sorted(theirs) and set(theirs) <= set(intents) and len(theirs) == len(set(theirs))
    if not exactly_once:
        raise click.ClickException("the broker's orders and the journal's intents do not agree")
    click.secho("     every order at the broker has exactly one intent, written before it was sent", fg="green", bold=True)
    return {"records": records, "digest": digest, "intents": len(intents), "orders_at_broker": len(theirs), "exactly_once": exactly_once}


# -- small parts -----------------------------------------------------------------------------------------------------------------------


@contextmanager
def _twin(seed: int) -> Iterator[Mapping[str, str]]:
    """The twin in a process of its own: it outlives the desk, as a broker does."""
    command = [sys.executable, "-m", "trading_system.cli.main", "twins", "alpaca", "--json", "--seed", str(seed)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  our own module
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise click.ClickException(f"the twin did not start (exit code {process.wait(START_WITHIN_S)})")
        yield msgspec.json.decode(line)
    finally:
        process.terminate()
        process.wait(START_WITHIN_S)
        if process.stdout is not None:
            process.stdout.close()


def _wish(intent: str, side: Side, qty: str, instrument: InstrumentID) -> NewOrder:
    return NewOrder(
        broker=BROKER,
        instrument=instrument,
        side=side,
        ord_type=OrdType.MARKET,
        time_in_force=TimeInForce.GTC,
        order_qty=Decimal(qty),
        intent=IntentID(f"demo-{intent}"),
    )


def _px(order: Order) -> str:
    return "–" if order.avg_px is None else plain(order.avg_px.quantize(Decimal("0.01")))


def _title(text: str, more: str) -> None:
    click.echo()
    click.secho(f"  ▸  {text}", bold=True)
    if more:
        click.secho(f"     {more}", dim=True)


async def _pause(slow: bool) -> None:
    if slow:
        await asyncio.sleep(2)


if __name__ == "__main__":
    _home, _twin_json, _fd, _slow = sys.argv[1:]
    asyncio.run(_live(default_config(_home), msgspec.json.decode(_twin_json), int(_fd), slow=_slow == "1"))
