"""serve: one desk as a service. token: who may ask it over HTTP."""

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trading_system.cli.common import as_json, emit, settings, table

if TYPE_CHECKING:
    from trading_system.app.config import Config
    from trading_system.app.desk import Desk

_SCOPES = ["read", "halt", "trade", "arm"]


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), help="Another port than WEB_PORT; 0: any that is free.")
@click.option("--run", "strategies", multiple=True, metavar="STRATEGY", help="Run this strategy beside it, in a process of its own.")
@click.option("--set", "pairs", multiple=True, help="A parameter of it: --set fast=10; of several: --set ma-cross.fast=10.")
@click.option("--broker", help="Where the strategies trade, where several are configured; with --twin, whose twin.")
@click.option("--twin", is_flag=True, help="On a twin made for this run: no key, no network, nothing left behind.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of that twin.")
@as_json
def serve(port: int | None, strategies: tuple[str, ...], pairs: tuple[str, ...], broker: str | None, twin: bool, seed: int, as_json: bool) -> None:
    from trading_system.app import build
    from trading_system.app.strategies import settings_of
    from trading_system.cli.run import parameters_of
    from trading_system.web.serving import listening_of, runners_of, serving

    chosen = parameters_of(strategies, settings_of(pairs))

    async def work() -> None:
        async with _served(broker, twin=twin, seed=seed) as (desk, config, folder):
            runners = runners_of(desk, broker, chosen)
            listening = listening_of(config, 0 if twin and port is None and _taken(config) else port)
            async with serving(desk, config, folder, listening, runners) as server:
                if as_json:
                    click.echo(json.dumps({"url": server.url, "token_file": str(server.tokens.owner_path), "environment": desk.environment}))
                else:
                    _welcome(desk, server.url, server.tokens.owner_path)
                await asyncio.Event().wait()

    try:
        build.run(work())
    except KeyboardInterrupt:
        click.echo("Stopped. What rests at the brokers rests there; `trading flatten` closes it.", err=True)


def _taken(config: "Config") -> bool:
    """Whether somebody listens there already, as a desk of one's own does beside a twin."""
    with socket.socket() as there:
        return there.connect_ex((config.web_host, config.web_port)) == 0


@asynccontextmanager
async def _served(broker: str | None, *, twin: bool, seed: int) -> "AsyncIterator[tuple[Desk, Config, Path]]":
    from trading_system.app import build
    from trading_system.app.logs import configure_logs
    from trading_system.cli.common import default_config
    from trading_system.domain.ids import BrokerName

    async with AsyncExitStack() as stack:
        if not twin:
            config = settings(running=True)
            folder = build.state_folder(config)
            yield await stack.enter_async_context(build.open_desk(config)), config, folder
            return
        configure_logs("WARNING", "text")
        name = BrokerName(broker or "alpaca")
        served = await stack.enter_async_context(build.served_twin(name, seed=seed))
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trading-serve-")))
        config = default_config(str(home))
        desk = await stack.enter_async_context(build.open_desk(config, (build.twin_account(name, served),), folder=home / "twin", listen=False))
        yield desk, config, home / "twin"


def _welcome(desk: "Desk", url: str, token: Path) -> None:
    colour = "red" if desk.environment == "live" else "green"
    click.secho(f"{desk.environment.upper()} desk on {', '.join(desk.brokers)}: {url}", fg=colour, bold=True)
    click.echo(f"Log in with the token in {token} (it may read, trade and halt; `trading token add` makes others).")
    click.echo("Ctrl-C ends it.")


@click.group()
def token() -> None:
    pass


@token.command("add")
@click.argument("name")
@click.option("--scope", default="read", show_default=True, help=f"What it may, with commas between: {', '.join(_SCOPES)}.")
@click.option("--days", type=click.IntRange(1, 366), default=90, show_default=True, help="How long it is valid.")
@as_json
def add(name: str, scope: str, days: int, as_json: bool) -> None:
    """A new token, shown once; an older one of that name is void from now on."""
    from trading_system.web.tokens import Scope

    asked = [part.strip() for part in scope.split(",") if part.strip()]
    if not asked or any(part not in _SCOPES for part in asked):
        raise click.UsageError(f"--scope is one or several of {', '.join(_SCOPES)}")
    if not name.isprintable() or not 0 < len(name) <= 40:
        raise click.UsageError("a name has 1 to 40 printable characters")
    text = _tokens().add(name, [Scope(part) for part in asked], _now_ns(), days)
    if as_json:
        emit({"name": name, "scopes": asked, "token": text})
    else:
        click.echo(text)
        click.secho(f"{name} may {', '.join(asked)} for {days} days. It is kept as a hash only: this is the one time that it is shown.", err=True)


@token.command("list")
@as_json
def list_(as_json: bool) -> None:
    """Tokens and browsers that are logged in."""
    names = ("name", "scopes", "made_ns", "until_ns", "session")
    rows: list[dict[str, Any]] = [{name: getattr(found, name) for name in names} for found in _tokens().all()]
    if as_json:
        emit(rows)
        return
    shown = [{**row, "scopes": ", ".join(row["scopes"]), "kind": "browser" if row["session"] else "token"} for row in rows]
    columns = (
        ("name", "name", "text"),
        ("kind", "kind", "text"),
        ("scopes", "may", "text"),
        ("made_ns", "made", "time"),
        ("until_ns", "until", "time"),
    )
    table(shown, columns, "No tokens; `trading serve` makes the first one.")


@token.command("remove")
@click.argument("name")
@as_json
def remove(name: str, as_json: bool) -> None:
    """Void a token, and log out every browser that came in with it."""
    from trading_system.domain.errors import BadRequest

    count = _tokens().remove(name)
    if not count:
        raise BadRequest(f"no token is called {name}; `trading token list` shows them")
    if as_json:
        emit({"name": name, "void": count})
        return
    click.echo(f"Void: {name}" + (f", and {count - 1} browsers logged out" if count > 1 else ""))


def _tokens() -> Any:
    from trading_system.app import build
    from trading_system.web.tokens import Tokens

    return Tokens(build.state_folder(settings()))


def _now_ns() -> int:
    import time

    return time.time_ns()
