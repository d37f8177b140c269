"""news: what is written about instruments, newest first, or as it appears."""

from typing import Any

import click

from trading_system.cli.common import as_json, at_broker, call, clock, emit, put, settings


@click.command()
@click.argument("symbols", nargs=-1)
@click.option("--count", type=click.IntRange(1, 1000), default=10, show_default=True)
@click.option("--follow", is_flag=True, help="As it appears, until Ctrl-C; --count then says after how many to stop.")
@at_broker
@as_json
def news(symbols: tuple[str, ...], count: int, follow: bool, broker: str | None, as_json: bool) -> None:
    if follow:
        given = click.get_current_context().get_parameter_source("count")
        _follow(symbols, count if given is click.core.ParameterSource.COMMANDLINE else None, as_json=as_json)
        return
    rows = call("news", {"symbols": ",".join(symbols), "count": count, "broker": broker})
    if as_json:
        emit(rows)
        return
    for row in rows:
        _show(row)
    if not rows:
        click.echo("No news.")


def _show(row: dict[str, Any]) -> None:
    click.echo(f"{click.style(clock(row['created_ns']), dim=True)}  {click.style(' '.join(row['symbols']), fg='cyan')}  {row['headline']}")
    click.secho(f"    {row['source']}  {row['url']}", dim=True)


def _follow(symbols: tuple[str, ...], count: int | None, *, as_json: bool) -> None:
    import msgspec

    from trading_system.app import build
    from trading_system.app.views import news_view
    from trading_system.app.watcher import stream_view
    from trading_system.domain.ports import StreamState

    config = settings()

    async def read() -> None:
        shown = 0
        async for event in build.follow_news(config, tuple(symbol.upper() for symbol in symbols)):
            if isinstance(event, StreamState):
                if as_json:
                    put(msgspec.json.encode({"stream": stream_view(event)}))
                else:
                    click.secho(f"{clock(event.recv_ns)}  {event.stream}: {event.link} {event.text}", fg="cyan")
                continue
            if as_json:
                put(msgspec.json.encode({"news": news_view(event)}))
            else:
                _show(news_view(event))
            shown += 1
            if shown == count:
                return

    try:
        build.run(read())
    except KeyboardInterrupt:
        click.echo("Stopped.", err=True)
