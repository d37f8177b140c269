"""size: what would become of a signal. why: what became of those that strategies gave."""

from pathlib import Path
from typing import Any

import click

from trading_system.cli.common import as_json, at_broker, call, clock, emit

_UNIT_NS = {"m": 60_000_000_000, "h": 3_600_000_000_000, "d": 86_400_000_000_000}
_MONEY = ("equity", "wanted", "notional")


@click.command()
@click.argument("symbol")
@click.option("--side", type=click.Choice(["buy", "sell"]), default="buy", show_default=True)
@click.option("--limit", "price", help="Entry price.  [the market's]")
@click.option("--stop", "stop_px", help="Price at which it is given up.")
@click.option("--target", "target_px", help="Price at which it is done.")
@click.option("--p", help="Chance that the target comes before the stop.")
@click.option("--mean", help="Mean return over the horizon, as a fraction; with --deviation.")
@click.option("--deviation", help="Deviation of the return over the horizon.")
@click.option("--returns", type=click.Path(path_type=Path), help="What earlier trades of this kind made, a line each.")
@click.option("--weight", help="Hold this fraction of equity instead: no edge, no Kelly.")
@click.option("--observed", type=click.IntRange(0), default=0, help="Of how many observations --p or --mean is.  [0: known for certain]")
@click.option("--horizon", default="1d", show_default=True, help="How long it is held: 30m, 4h, 5d.")
@at_broker
@as_json
def size(symbol: str, returns: Path | None, horizon: str, as_json: bool, **given: Any) -> None:
    from trading_system.app.planner import read_returns

    unit, count = _UNIT_NS.get(horizon[-1:]), horizon[:-1]
    if unit is None or not count.isdecimal() or not 0 < int(count) < 10_000:
        raise click.UsageError(f"--horizon is a whole number of minutes, hours or days, as 30m, 4h or 5d, not {horizon!r}")
    record = None if returns is None else [f"{value:.12f}" for value in read_returns(returns)]
    found = call("size", {"instrument": symbol, "record": record, "horizon_ns": int(count) * unit, **given})
    if as_json:
        emit(found)
        return
    if found["taken"]:
        click.secho(f"{found['side']} {found['qty']} {found['instrument']} at {found['price']}", fg="green", bold=True)
        click.echo(f"bound by {found['rule']}")
    else:
        click.secho(f"No trade: {found['text']}", fg="yellow", bold=True)
        click.echo(f"by {found['rule']}")
    _numbers(found["numbers"])


@click.command()
@click.argument("cl_ord_id", required=False)
@click.option("--last", "count", type=click.IntRange(1, 1_000), default=10, show_default=True, help="So many of the newest.")
@as_json
def why(cl_ord_id: str | None, count: int, as_json: bool) -> None:
    rows = call("why", {"cl_ord_id": cl_ord_id, "count": count})
    if as_json:
        emit(rows)
        return
    for row in rows:
        _decision(row)
    if not rows:
        click.echo("No signal was given yet: `trading run` runs a strategy.")


def _decision(row: dict[str, Any]) -> None:
    wish, taken = row["wish"], row["taken"]
    what = f"{wish['side']} {row['instrument']}" if wish["type"] == "signal" else f"hold {wish['weight']} of equity in {row['instrument']}"
    answer = click.style(f"taken, {row['qty']}", fg="green") if taken else click.style("not taken", fg="yellow")
    click.echo(f"{click.style(clock(row['now_ns']), dim=True)}  {row['strategy']}  {what}  {answer}  {click.style(row['rule'], bold=True)}")
    for text in (wish.get("text"), row["text"]):
        if text:
            click.echo(f"    {text}")
    if row["cl_ord_id"]:
        click.secho(f"    order {row['cl_ord_id']}", dim=True)
    _numbers(row["numbers"])


def _numbers(numbers: dict[str, str]) -> None:
    shown = [f"{name} {_short(name, value)}" for name, value in numbers.items()]
    for at in range(0, len(shown), 5):
        click.secho(f"    {'  '.join(shown[at : at + 5])}", dim=True)


def _short(name: str, value: str) -> str:
    return f"{float(value):,.2f}" if name in _MONEY or name.isupper() else f"{float(value):.4g}"
