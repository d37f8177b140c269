"""quote, book, bars, chain, strikes, hours, search, watch."""

from itertools import zip_longest
from typing import Any

import click

from trading_system.cli.common import as_json, at_broker, call, clock, emit, put, settings, table

_PERIODS = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "1d": 86400}


@click.command()
@click.argument("instrument")
@at_broker
@as_json
def quote(instrument: str, broker: str | None, as_json: bool) -> None:
    found = call("quote", {"instrument": instrument, "broker": broker})
    if as_json:
        emit(found)
        return
    columns = [("instrument", "Instrument", "text"), ("bid_qty", "Size", "number"), ("bid_px", "Bid", "number"), ("ask_px", "Ask", "number")]
    table([found], [*columns, ("ask_qty", "Size", "number"), ("transact_ns", "Time (UTC)", "time")], "")


@click.command()
@click.argument("instrument")
@click.option("--levels", type=click.IntRange(1, 100), default=10, show_default=True, help="How many of each side.")
@at_broker
@as_json
def book(instrument: str, levels: int, broker: str | None, as_json: bool) -> None:
    found = call("book", {"instrument": instrument, "levels": levels, "broker": broker})
    if as_json:
        emit(found)
        return
    click.echo(f"{found['instrument']} at {found['broker']}, {clock(found['transact_ns'])} UTC\n")
    sides = [[{f"{side}_{name}": level[name] for name in ("px", "qty")} for level in found[f"{side}s"]] for side in ("bid", "ask")]
    lines = [{**bid, **ask} for bid, ask in zip_longest(*sides, fillvalue={})]
    columns = [("bid_qty", "Size", "number"), ("bid_px", "Bid", "number"), ("ask_px", "Ask", "number"), ("ask_qty", "Size", "number")]
    table(lines, columns, "Nobody quotes it.")


@click.command()
@click.argument("instrument")
@click.option("--period", type=click.Choice(list(_PERIODS)), default="1m", show_default=True)
@click.option("--count", type=click.IntRange(1, 10_000), default=20, show_default=True)
@at_broker
@as_json
def bars(instrument: str, period: str, count: int, broker: str | None, as_json: bool) -> None:
    rows = call("bars", {"instrument": instrument, "period_ns": _PERIODS[period] * 1_000_000_000, "count": count, "broker": broker})
    if as_json:
        emit(rows)
        return
    columns = [("open_ns", "Start (UTC)", "time"), *((name, name.title(), "number") for name in ("open", "high", "low", "close", "volume"))]
    table(rows, columns, "No bars in that time.")


@click.command()
@click.argument("instrument")
@click.option("--expiry", help="Which day, as 2026-12-18 (default: the next there is).")
@click.option("--right", type=click.Choice(["call", "put"]), help="Only these.")
@click.option("--strikes", type=click.IntRange(1, 1_000), default=11, show_default=True, help="How many, around the price.")
@at_broker
@as_json
def chain(instrument: str, *, expiry: str | None, right: str | None, strikes: int, broker: str | None, as_json: bool) -> None:
    found = call("chain", {"instrument": instrument, "expiry": expiry, "right": right, "strikes": strikes, "broker": broker})
    if as_json:
        emit(found)
        return
    click.echo(f"{found['underlying']} at {found['price'] or 'no price'}, options of {found['expiry']}. Days: {_days(found)}\n")
    lines: dict[str, dict[str, Any]] = {}
    for option in found["options"]:
        shown = {"bid": option["bid_px"], "ask": option["ask_px"], "iv": _rounded(option["implied_volatility"], 100, "%")}
        shown["delta"] = _rounded((option["greeks"] or {}).get("delta"), 1, "")
        line = lines.setdefault(option["strike"], {"strike": option["strike"]})
        line |= {f"{option['right']}_{name}": value for name, value in shown.items()}
    sides = {
        side: [(f"{side}_{name}", f"{side.title()} {title}", "number") for name, title in _CHAIN] for side in ("call", "put") if right in (None, side)
    }
    table(list(lines.values()), [*sides.get("call", ()), ("strike", "Strike", "number"), *sides.get("put", ())], "No options of that kind.")
    if found["options"]:
        click.echo(f"\nOrder one by its name: trading buy {found['options'][0]['instrument']} 1 --limit …")


def _days(found: dict[str, Any]) -> str:
    """Every day there is, the one that is shown in bold."""
    return ", ".join(day if day != found["expiry"] else click.style(day, bold=True) for day in found["expiries"])


_CHAIN = (("bid", "bid"), ("ask", "ask"), ("iv", "IV"), ("delta", "delta"))


def _rounded(text: str | None, times: int, unit: str) -> str | None:
    return None if text is None else f"{float(text) * times:.{1 if unit else 2}f}{unit and f' {unit}'}"


@click.command()
@click.argument("instrument")
@click.option("--expiry", help="Which day, as 2026-12-18 (default: the next there is).")
@at_broker
@as_json
def strikes(instrument: str, expiry: str | None, broker: str | None, as_json: bool) -> None:
    found = call("strikes", {"instrument": instrument, "expiry": expiry, "broker": broker})
    if as_json:
        emit(found)
        return
    click.echo(f"{found['underlying']}, options of {found['expiry']}. Days: {_days(found)}\n")
    click.echo(", ".join(found["strikes"]))


@click.command()
@at_broker
@as_json
def hours(broker: str | None, as_json: bool) -> None:
    found = call("hours", {"broker": broker})
    if as_json:
        emit(found)
        return
    after = "" if found["next_ns"] is None else f" from {clock(found['next_ns'])} UTC on"
    said = found["text"] and f" ({found['text']})"
    click.echo(f"{found['broker']}: {found['state']} at {clock(found['transact_ns'])} UTC{said}, {found['next_state']}{after}.")


@click.command()
@click.argument("text")
@click.option("--count", type=click.IntRange(1, 1_000), default=20, show_default=True)
@at_broker
@as_json
def search(text: str, count: int, broker: str | None, as_json: bool) -> None:
    rows = call("search", {"text": text, "count": count, "broker": broker})
    if as_json:
        emit(rows)
        return
    columns = [("instrument", "Instrument", "text"), ("asset_class", "Kind", "text"), ("title", "Name", "text")]
    table(rows, columns, f"Nothing here has {text} in its symbol or name. Try a shorter part of it, or --broker with another one.")


@click.command()
@click.argument("instruments", nargs=-1, required=True)
@click.option("--seconds", type=click.IntRange(1), help="Stop after so long (default: when you press Ctrl-C).")
@at_broker
@as_json
def watch(instruments: tuple[str, ...], seconds: int | None, broker: str | None, as_json: bool) -> None:
    """This is a running desk: other commands use it while it runs."""
    import asyncio

    from trading_system.app import build
    from trading_system.app.alerts import alerting

    config = settings(running=True)

    async def follow() -> None:
        async with build.open_desk(config) as desk, alerting(desk, config):
            if not as_json:
                click.secho(f"Desk up ({desk.environment}). Ctrl-C stops it; orders stay at the broker.", bold=True)
            desk.listeners.append(_print_record if as_json else _show_record)
            try:
                async with asyncio.timeout(seconds):
                    await _show_quotes(desk, broker, instruments, as_json=as_json)
            except TimeoutError:
                pass

    try:
        build.run(follow())
    except KeyboardInterrupt:
        click.echo("Desk stopped.", err=True)


async def _show_quotes(desk: Any, broker: str | None, names: tuple[str, ...], *, as_json: bool) -> None:
    from trading_system.app.views import quote_view
    from trading_system.domain.ids import BrokerName, parse_instrument
    from trading_system.domain.market import Quote
    from trading_system.domain.money import plain
    from trading_system.domain.ports import Kinds, StreamState

    name = BrokerName(broker or next(iter(desk.brokers)))
    wanted = [(await desk.instrument(name, parse_instrument(text.upper()))).id for text in names]
    async for event in desk.hub.stream(name, wanted, Kinds(quotes=True)):
        if as_json:
            if isinstance(event, Quote):
                _line({"quote": quote_view(name, event)})
            elif isinstance(event, StreamState):
                _line({"stream": {"name": event.stream, "link": event.link.value, "text": event.text, "recv_ns": event.recv_ns}})
        elif isinstance(event, Quote) and event.bid_px is not None and event.ask_px is not None:
            line = f"{clock(event.recv_ns)}  {event.instrument:<10} {plain(event.bid_px):>12} × {plain(event.bid_qty):<8}"
            click.echo(f"{line} {plain(event.ask_px):>12} × {plain(event.ask_qty):<8}")
        elif isinstance(event, StreamState):
            click.secho(f"{clock(event.recv_ns)}  {event.stream}: {event.link} {event.text}", fg="cyan")


def _line(value: object) -> None:
    """One JSON object a line, told apart by its only key."""
    import msgspec

    put(msgspec.json.encode(value))


def _print_record(record: object, applied: Any) -> None:
    from trading_system.app.views import order_view
    from trading_system.journal.record import Alert

    if isinstance(record, Alert):
        _line({"alert": {"severity": record.severity, "text": record.text, "now_ns": record.now_ns}})
    elif applied is not None:
        _line({"order": order_view(applied.order)})


def _show_record(record: object, applied: Any) -> None:
    from trading_system.journal.record import Alert

    if isinstance(record, Alert):
        click.secho(f"{record.severity.upper()} {record.text}", fg="red" if record.severity == "critical" else "yellow")
    elif applied is not None:
        order = applied.order
        click.secho(f"order {order.cl_ord_id} {order.side} {order.instrument} {order.ord_status} {order.cum_qty}", fg="green")
