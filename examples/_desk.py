"""What the examples share: a desk on your keys, or on a twin where there are none, saying which. `--broker NAME` picks one of `trading brokers`."""

import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

from trading_system.app import build
from trading_system.app.config import Config, load_config
from trading_system.app.desk import Desk
from trading_system.brokers import registry
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError
from trading_system.domain.fix import OrdType, TimeInForce
from trading_system.domain.ids import BrokerName, InstrumentID
from trading_system.domain.instrument import Instrument
from trading_system.settings.keys import has_keys

READY_WITHIN_NS = 15_000_000_000


def named_broker(config: Config) -> BrokerName | None:
    """Taken out of the arguments, so that each example reads what is left as it likes. Raises BadRequest: there is no such broker."""
    if "--broker" not in sys.argv:
        return None
    place = sys.argv.index("--broker")
    _, name = (*sys.argv[place : place + 2], "")[:2]
    del sys.argv[place : place + 2]
    if name not in config.brokers:
        raise BadRequest(f"no broker {name!r}; there are: {', '.join(config.brokers)}")
    return BrokerName(name)


def keyed(config: Config) -> tuple[BrokerName, ...]:
    """The brokers that have keys here."""
    return tuple(name for name in config.brokers if has_keys(name, config.secrets))


def own_broker(config: Config) -> BrokerName:
    """The one that has keys; of several Alpaca, of none its twin. Raises BadRequest: several, and none of them is Alpaca."""
    found = keyed(config)
    found = tuple(name for name in found if config.kind(name)) or found  # without those whose flag and TRADING_MODE leave them out
    if len(found) > 1 and "alpaca" not in found:
        raise BadRequest(f"several brokers have keys: say which with --broker: {', '.join(found)}")
    return found[0] if len(found) == 1 else BrokerName("alpaca")


def fail(error: DeskError) -> NoReturn:
    """One sentence and its exit code."""
    print(f"❌ {error}", file=sys.stderr)
    sys.exit(error.exit_code)


try:
    CONFIG = load_config()
    BROKER = named_broker(CONFIG) or own_broker(CONFIG)
except DeskError as error:
    fail(error)


@asynccontextmanager
async def desk_on_keys_or_twin() -> AsyncIterator[Desk]:
    """Keys that are there are used, whatever the broker answers: rejected keys are an error, never the twin, and so are keys of another broker."""
    title, found = registry.facts(BROKER).title, keyed(CONFIG)
    async with AsyncExitStack() as stack:
        if BROKER in found:  # half a pair is an error, and says which half is missing
            accounts = build.accounts_of(CONFIG, BROKER)
            print(f"Using your {title} keys ({accounts[0].environment}).", flush=True)
            desk = await stack.enter_async_context(build.open_desk(CONFIG, accounts, listen=False))
        elif found:
            advice = f"`trading init --broker {BROKER}` asks for them; with TRADING_ENV_FILE={os.devnull} its twin is used."
            raise AuthFailed(f"There are no keys of {title}, only of {' and '.join(registry.facts(name).title for name in found)}.", advice)
        else:
            print(f"No keys in .env: using the twin of {title}, a simulated broker on this machine.")
            twin = await stack.enter_async_context(build.served_twin(BROKER))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trading-example-")))
            desk = await stack.enter_async_context(build.open_desk(CONFIG, (build.twin_account(BROKER, twin),), folder=folder, listen=False))
        await desk.wait(lambda: all(desk.ready.values()), READY_WITHIN_NS)
        yield desk


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
        async with desk_on_keys_or_twin() as desk:
            await story(desk, CONFIG)

    try:
        build.run(run())
    except DeskError as error:
        fail(error)
