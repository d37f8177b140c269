"""The brokers by name: the only file that lists them. A missing package breaks the one broker that needs it."""

import importlib
from types import ModuleType

from msgspec.structs import replace

from trading_system.domain.errors import BadRequest, Unavailable
from trading_system.domain.ids import BrokerName
from trading_system.domain.ports import Facts
from trading_system.settings.keys import parts_of

BROKERS = tuple(map(BrokerName, ("alpaca", "binance", "kraken", "bybit", "ibkr", "oanda", "tradier")))


def folder(name: str) -> ModuleType:
    """The broker's package, for every profile of it: its connect() and FACTS. Raises BadRequest: no such broker. Unavailable: a package it needs is
    missing."""
    name, _ = parts_of(name)
    if name not in BROKERS:
        raise BadRequest(f"no broker {name!r}; there are: {', '.join(BROKERS)}")
    try:
        return importlib.import_module(f"trading_system.brokers.{name}")
    except ModuleNotFoundError as error:
        raise Unavailable(
            f'{name} needs the package {error.name}: run `source .venv/bin/activate`, then `uv pip install -e ".[exchange]"` (or pip)'
        ) from None


def facts(name: str) -> Facts:
    """What a broker can do, without connecting to it."""
    found: Facts = folder(name).FACTS
    return named(found, BrokerName(name))


def named(facts: Facts, name: BrokerName) -> Facts:
    """The same, as they are told of a profile."""
    _, profile = parts_of(name)
    return replace(facts, broker=name, title=f"{facts.title} ({profile})") if profile else facts
