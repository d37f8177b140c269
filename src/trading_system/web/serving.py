"""One desk as a service: the server, the strategies that run beside it, and what watches over both, for as long as the block lasts."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from trading_system.app.alerts import alerting, tell_end
from trading_system.app.config import Config
from trading_system.app.desk import Desk
from trading_system.app.metrics import Metrics
from trading_system.app.runner import Runner
from trading_system.app.systemd import feed_watchdog, notify
from trading_system.domain.errors import BadRequest
from trading_system.web.server import Listening, WebServer


def listening_of(config: Config, port: int | None = None) -> Listening:
    """The settings WEB_*, in the server's terms."""
    return Listening(
        host=config.web_host,
        port=config.web_port if port is None else port,
        hosts=tuple(name.strip().lower() for name in config.web_hosts.split(",") if name.strip()),
        certificate=Path(config.web_tls_cert).expanduser() if config.web_tls_cert else None,
        key=Path(config.web_tls_key).expanduser() if config.web_tls_key else None,
    )


@asynccontextmanager
async def serving(desk: Desk, config: Config, folder: Path, listening: Listening, runners: Sequence[Runner] = ()) -> AsyncIterator[WebServer]:
    """Listen, start the strategies, tell systemd. At the end: nothing new, strategies stop, what is under way ends, then the door closes.

    Raises BadRequest: the address, or a strategy.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics(desk, await stack.enter_async_context(alerting(desk, config)))
        server = WebServer(desk, config, folder, listening, metrics=metrics.text, strategies=lambda: [_state(runner) for runner in runners])
        server.tokens.owner(desk.clock.now_ns())
        stack.push_async_callback(server.aclose)
        await server.start()
        for runner in runners:
            stack.push_async_callback(runner.stop)
            await runner.start()
        working = [asyncio.create_task(runner.run(), name=f"strategy {runner.name}") for runner in runners]
        working += [asyncio.create_task(feed_watchdog(), name="watchdog"), asyncio.create_task(metrics.run(), name="metrics")]
        for task in working:
            task.add_done_callback(lambda ended: tell_end(desk, ended))
        stack.push_async_callback(_ended, working)
        notify(f"READY=1\nSTATUS={desk.environment} desk on {server.url}")
        try:
            yield server
        finally:
            notify("STOPPING=1")


async def _ended(working: Sequence["asyncio.Task[None]"]) -> None:
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)


def _state(runner: Runner) -> Mapping[str, object]:
    return {"name": runner.name, "broker": runner.broker, "failures": runner.failures, "disabled": runner.disabled}


def runners_of(desk: Desk, broker: str | None, strategies: Mapping[str, Mapping[str, str]]) -> list[Runner]:
    """Each strategy in a process of its own. Raises BadRequest: several brokers, and none is named."""
    from trading_system.app.child import Child

    if not strategies:
        return []
    names = list(desk.brokers)
    chosen = next((name for name in names if broker == name or (broker is None and len(names) == 1)), None)
    if chosen is None:
        raise BadRequest(f"say which broker the strategies trade at with --broker: {', '.join(names)}")
    return [Runner(desk, chosen, Child(strategy, dict(parameters), chosen)) for strategy, parameters in strategies.items()]
