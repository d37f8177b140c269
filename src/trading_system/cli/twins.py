"""twins: serve a broker's twin on this machine until ended."""

import asyncio
from contextlib import suppress
from typing import Any

import click
import msgspec

from trading_system.domain.errors import BadRequest
from trading_system.domain.money import parse_decimal
from trading_system.settings.keys import CREDENTIALS


@click.command()
@click.argument("broker")
@click.option("--json", "as_json", is_flag=True, help="One JSON object first: rest, data, ws, key, secret.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Default: any free one.")
@click.option("--seed", type=int, default=0, show_default=True, help="The market, the key and every chance come from it.")
@click.option("--cash", default="100000", show_default=True)
@click.option("--hours", type=click.Choice(["always", "us"]), default="always", show_default=True, help="When stocks trade.")
@click.option("--kind", type=click.Choice(["paper", "live"]), default="paper", show_default=True, help="A live twin, to rehearse arming.")
@click.option("--speed", type=click.IntRange(1, 3600), default=1, show_default=True, help="Seconds of the market per second.")
@click.option("--rate", type=click.IntRange(1), help="Requests a minute that it lets through. Default: as many as the broker does.")
@click.option(
    "--replay", multiple=True, metavar="SYMBOL=FILE", help="Prices from a CSV or JSONL file, from now on: time, and open … volume or price, size."
)
@click.option("--web", is_flag=True, help="ibkr: the Web API (IBKR_TRANSPORT=web) instead of TWS.")
@click.option("--faults", type=int, help="Let things go wrong, by this seed: late, lost, doubled, torn, 429, 5xx after accept, mute.")
def twins(broker: str, as_json: bool, port: int, cash: str, **options: Any) -> None:
    from trading_system.app import build

    try:
        amount = parse_decimal(cash)
    except ValueError as error:
        raise BadRequest(f"--cash: {error}") from None
    if amount < 0:
        raise BadRequest(f"--cash {cash}: an account starts with 0 or more")
    with suppress(KeyboardInterrupt):
        build.run(_serve(broker, as_json=as_json, port=port, cash=amount, **options))


async def _serve(broker: str, *, as_json: bool, **options: Any) -> None:
    from trading_system.app import build

    async with build.served_twin(broker, **options) as twin:
        if as_json:
            click.echo(msgspec.json.encode(twin))  # one line, so that a program can read it while this goes on
        else:
            click.secho(f"{broker}'s twin is up. Ctrl-C ends it, and it forgets everything.", bold=True)
            for name, value in twin.items():
                click.echo(f"  {name:<7} {value}")
            keys = " ".join(f"{name}={twin[field]}" for field, name in CREDENTIALS[broker].items())
            keys = f"IBKR_TRANSPORT=web {keys}" if options["web"] else keys
            click.echo(f"\nUse it:  {broker.upper()}_URL={twin['rest']} {keys} trading check")
        await asyncio.Event().wait()
