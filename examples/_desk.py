"""What the examples share: a desk on your keys, or on the twin when there are none, saying which."""

import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from trading_system.app import build
from trading_system.app.config import Config, load_config
from trading_system.app.desk import Desk
from trading_system.domain.errors import DeskError
from trading_system.settings.keys import CREDENTIALS

READY_WITHIN_NS = 15_000_000_000


@asynccontextmanager
async def desk_on_keys_or_twin() -> AsyncIterator[tuple[Desk, Config]]:
    """Keys that are there are used, whatever the broker answers: rejected keys are an error, never the twin."""
    config = load_config()
    async with AsyncExitStack() as stack:
        if any(name in config.secrets for name in CREDENTIALS["alpaca"].values()):  # half a pair is an error, and says which half is missing
            accounts = build.accounts_of(config)
            print(f"Using your Alpaca keys ({accounts[0].environment}).")
            desk = await stack.enter_async_context(build.open_desk(config, accounts, listen=False))
        else:
            print("No keys in .env: using the twin of Alpaca, a simulated broker on this machine.")
            twin = await stack.enter_async_context(build.served_twin("alpaca"))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trading-example-")))
            desk = await stack.enter_async_context(build.open_desk(config, (build.twin_account("alpaca", twin),), folder=folder, listen=False))
        await desk.wait(lambda: all(desk.ready.values()), READY_WITHIN_NS)
        yield desk, config


def main(story: Callable[[Desk, Config], Awaitable[None]]) -> None:
    """Run an example; an error of ours is one sentence and its exit code."""

    async def run() -> None:
        async with desk_on_keys_or_twin() as (desk, config):
            await story(desk, config)

    try:
        build.run(run())
    except DeskError as error:
        print(f"❌ {error}", file=sys.stderr)
        sys.exit(error.exit_code)
