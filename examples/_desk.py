"""What the examples share: a desk on your keys, or on a twin when there are none, saying which. `--broker NAME` picks one of `trading brokers`."""

import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path

from trading_system.app import build
from trading_system.app.config import Config, load_config
from trading_system.app.desk import Desk
from trading_system.brokers import registry
from trading_system.domain.errors import BadRequest, DeskError
from trading_system.domain.fix import OrdType, TimeInForce
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import Instrument
from trading_system.settings.keys import CREDENTIALS

READY_WITHIN_NS = 15_000_000_000


def named_broker() -> BrokerName:
    """Taken out of the arguments, so that each example reads what is left as it likes."""
    if "--broker" not in sys.argv:
        return BrokerName("alpaca")
    place = sys.argv.index("--broker")
    _, name = (*sys.argv[place : place + 2], "")[:2]
    del sys.argv[place : place + 2]
    return BrokerName(name)


BROKER = named_broker()


@asynccontextmanager
async def desk_on_keys_or_twin() -> AsyncIterator[tuple[Desk, Config]]:
    """Keys that are there are used, whatever the broker answers: rejected keys are an error, never the twin."""
    config, title = load_config(), registry.facts(BROKER).title
    async with AsyncExitStack() as stack:
        if any(name in config.secrets for name in CREDENTIALS[BROKER].values()):  # half a pair is an error, and says which half is missing
            accounts = build.accounts_of(config, BROKER)
            print(f"Using your {title} keys ({accounts[0].environment}).")
            desk = await stack.enter_async_context(build.open_desk(config, accounts, listen=False))
        else:
            print(f"No keys in .env: using the twin of {title}, a simulated broker on this machine.")
            twin = await stack.enter_async_context(build.served_twin(BROKER))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trading-example-")))
            desk = await stack.enter_async_context(build.open_desk(config, (build.twin_account(BROKER, twin),), folder=folder, listen=False))
        await desk.wait(lambda: all(desk.ready.values()), READY_WITHIN_NS)
        yield desk, config


async def pair(desk: Desk, base: str) -> InstrumentID:
    """The coin against what this broker quotes it in: dollars, else a dollar coin. Raises BadRequest: it has neither."""
    for quote in ("USD", "USDT"):
        with suppress(BadRequest):
            return (await desk.instrument(BROKER, InstrumentID(f"{base}/{quote}"))).id
    raise BadRequest(f"{BROKER} lists no {base} in dollars")


async def sample(desk: Desk) -> tuple[Instrument, Decimal]:
    """What the examples look at and trade where nothing is named, and how little of it: a thousandth of a bitcoin where its orders may rest, else a
    euro, else a share. Raises BadRequest: the broker has none of them."""
    facts = desk.brokers[BROKER].facts
    for name, qty in (("BTC/USD", "0.001"), ("BTC/USDT", "0.001"), ("EUR/USD", "1"), ("AAPL", "1")):
        with suppress(BadRequest):
            found = await desk.instrument(BROKER, InstrumentID(name))
            if facts.rule(found.asset_class, OrdType.LIMIT, TimeInForce.GTC, fractional=False) is not None:
                return found, Decimal(qty)
    raise BadRequest(f"{BROKER} lists neither bitcoin nor euros in dollars, nor shares of Apple")


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
