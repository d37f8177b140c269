"""run: strategies on a desk, each in a process of its own, until Ctrl-C."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trading_system.cli.common import as_json, at_broker, clock, default_config, put, settings

if TYPE_CHECKING:
    from trading_system.app.desk import Desk
    from trading_system.app.divergence import Divergence
    from trading_system.journal.record import Decided
    from trading_system.research.backtest import Result


@click.command()
@click.argument("strategies", nargs=-1, required=True)
@click.option("--set", "pairs", multiple=True, help="A parameter: --set fast=10; of several strategies: --set ma-cross.fast=10.")
@click.option("--seconds", type=click.IntRange(1), help="End after so long.")
@click.option("--twin", is_flag=True, help="On a twin of the broker, made for this run: no key, no network, nothing left behind.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of that twin.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the report that a backtest has, at the end.")
@at_broker
@as_json
def run(
    strategies: tuple[str, ...],
    pairs: tuple[str, ...],
    seconds: int | None,
    twin: bool,
    seed: int,
    html: Path | None,
    broker: str | None,
    as_json: bool,
) -> None:
    from trading_system.app import build
    from trading_system.app.runner import Runner
    from trading_system.app.strategies import settings_of
    from trading_system.app.verbs import READY_WITHIN_NS
    from trading_system.research.live import Recorder

    chosen = parameters_of(strategies, settings_of(pairs))

    async def work() -> None:
        async with desk_of(broker, seed=seed, twin=twin) as desk:
            name = _broker(desk, broker)
            await desk.wait(lambda: all(desk.ready.values()), READY_WITHIN_NS)
            children = [_child(strategy, chosen[strategy], name) for strategy in strategies]
            recorder = Recorder(desk, name)

            def tell(made: "Decided") -> None:
                _decision(made, as_json=as_json)

            runners = [Runner(desk, name, child, on_decision=tell, on_bar=recorder.add_bar) for child in children]
            desk.listeners.append(lambda record, applied: _record(record, applied, as_json=as_json))
            watching = asyncio.create_task(recorder.run())
            try:
                await _work(desk, runners, seconds, as_json=as_json)
            finally:
                watching.cancel()
                if html is not None:
                    _write(html, recorder.result([runner.name for runner in runners]))

    build.run(work())


def _write(path: Path, result: "Result") -> None:
    from trading_system.research.report import write_page
    from trading_system.research.stats import summary

    write_page(path, result, summary(result), f"{', '.join(result.strategies)} at work")


async def _work(desk: "Desk", runners: "Sequence[Any]", seconds: int | None, *, as_json: bool) -> None:
    try:
        for runner in runners:
            await runner.start()
            _say(f"{runner.name} runs on {runner.broker}, {desk.environment}; Ctrl-C ends it.", as_json=as_json)
        if desk.environment == "live":
            click.secho("REAL MONEY. Orders leave only while the desk is armed: `trading arm`.", fg="red", bold=True, err=True)
        over = asyncio.create_task(desk.clock.sleep_ns((seconds or 10**9) * 1_000_000_000))
        working = [asyncio.create_task(runner.run(over.done)) for runner in runners]
        try:
            await asyncio.gather(*working)
        finally:
            for task in (over, *working):
                task.cancel()
            await asyncio.gather(over, *working, return_exceptions=True)
    finally:
        for runner in runners:
            await runner.stop()
        await desk.drain()
    for runner in runners:
        _divergence(runner.name, runner.divergence(), as_json=as_json)
    _say("Ended. What is held stays; `trading flatten` closes it.", as_json=as_json)


@asynccontextmanager
async def desk_of(broker: str | None, *, seed: int, twin: bool) -> "AsyncIterator[Desk]":
    """The desk of the settings, or one on a twin that lives as long as the block, in a folder that goes with it."""
    from trading_system.app import build
    from trading_system.app.alerts import alerting
    from trading_system.domain.ids import BrokerName

    async with AsyncExitStack() as stack:
        if not twin:
            config = settings(running=True)
            desk = await stack.enter_async_context(build.open_desk(config))
            await stack.enter_async_context(alerting(desk, config))
            yield desk
            return
        name = BrokerName(broker or "alpaca")
        served = await stack.enter_async_context(build.served_twin(name, seed=seed))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trading-run-")))
        config = default_config(str(folder))
        yield await stack.enter_async_context(build.open_desk(config, (build.twin_account(name, served),), folder=folder / "twin", listen=False))


def _broker(desk: "Desk", broker: str | None) -> Any:
    names = list(desk.brokers)
    if broker is None and len(names) == 1:
        return names[0]
    if broker not in names:
        raise click.UsageError(f"say which broker with --broker: {', '.join(names)}")
    return broker


def _child(strategy: str, parameters: dict[str, str], broker: Any) -> Any:
    from trading_system.app.child import Child

    return Child(strategy, parameters, broker)


def parameters_of(strategies: Sequence[str], given: dict[str, str]) -> dict[str, dict[str, str]]:
    """Each strategy's own; a name without a strategy before it is the one strategy's."""
    found: dict[str, dict[str, str]] = {strategy: {} for strategy in strategies}
    for name, value in given.items():
        owner, dot, parameter = name.rpartition(".")
        owner = owner.replace("_", "-")
        if not dot and len(strategies) == 1:
            found[strategies[0]][parameter] = value
        elif owner in found:
            found[owner][parameter] = value
        else:
            raise click.UsageError(f"--set {name}={value}: say whose it is, as {strategies[0]}.{parameter}={value}")
    return found


def _say(text: str, *, as_json: bool) -> None:
    click.secho(text, dim=True, err=as_json)


def _divergence(name: str, found: "Divergence", *, as_json: bool) -> None:
    import msgspec

    if as_json:
        put(msgspec.json.encode({"divergence": {"strategy": name, **msgspec.to_builtins(found)}}))
    elif found.filled:
        beside = [f"{1e4 * (value or 0.0):+.1f} bp beside {what}" for value, what in ((found.slippage, "the touch"), (found.beside_paper, "paper"))]
        click.echo(f"{name}: {found.filled} of {found.orders} orders filled, {100 * (found.fill_ratio or 0.0):.0f} % of what was asked")
        click.echo(f"  paid {', '.join(beside)} (above 0 is worse); {found.latency_s or 0.0:.2f} s from decision to fill")


def _decision(made: "Decided", *, as_json: bool) -> None:
    import msgspec

    from trading_system.app.decide import decision_view

    view = decision_view(made)
    if as_json:
        put(msgspec.json.encode({"decision": view}))
        return
    what = click.style("taken", fg="green") if made.taken else click.style("left", fg="yellow")
    click.echo(f"{click.style(clock(made.now_ns), dim=True)}  {made.strategy}  {made.wish.instrument}  {what}  {made.rule}  {made.text}")


def _record(record: Any, applied: Any, *, as_json: bool) -> None:
    import msgspec

    from trading_system.app.views import alert_view, fill_view
    from trading_system.domain.money import plain
    from trading_system.journal.record import Alert

    if isinstance(record, Alert):
        if as_json:
            put(msgspec.json.encode({"alert": alert_view(0, record)}))
        else:
            click.secho(f"{clock(record.now_ns)}  {record.severity}: {record.text}", fg="red" if record.severity == "critical" else "yellow")
    for booking in () if applied is None else applied.bookings:
        if as_json:
            put(msgspec.json.encode({"fill": fill_view(applied.order, booking.fill)}))
            continue
        fill, order = booking.fill, applied.order
        colour = "green" if order.side == "buy" else "red"
        what = f"{click.style(order.side, fg=colour)} {plain(fill.qty)} {order.instrument} at {plain(fill.price)}"
        click.echo(f"{click.style(clock(fill.transact_ns), dim=True)}  {what}")
