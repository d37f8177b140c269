"""Bybit v5: spot pairs, swaps, futures and options of the unified account. connect(), hosts() and FACTS; everything else stays inside the folder."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trading_system.brokers.bybit.facts import DEMO, FACTS, PAPER, URLS

if TYPE_CHECKING:
    from trading_system.brokers.bybit.connector import BybitConnector
    from trading_system.domain.ports import Clock
    from trading_system.settings.secret import Secret
    from trading_system.transport.http import Http
    from trading_system.transport.websocket import Dialer

__all__ = ["FACTS", "connect", "hosts"]


def hosts(environment: str) -> frozenset[str]:
    """The hosts that requests of one environment may go to. Paper has two: the testnet and the demo of the live market."""
    return frozenset(urlsplit(URLS[kind].rest).netloc for kind in ((PAPER, DEMO) if environment == PAPER else (environment,)))


def connect(
    *,
    http: "Http",
    dialer: "Dialer",
    clock: "Clock",
    rng: random.Random,
    credentials: Mapping[str, "Secret"],
    environment: str,
    options: Mapping[str, str],
) -> "BybitConnector":
    """A connector for one account. credentials: key, secret. options: BYBIT_'s settings as settings/keys.py has them, url of a twin among them."""
    from trading_system.brokers.bybit.connector import BybitConnector

    return BybitConnector(
        http=http, dialer=dialer, clock=clock, rng=rng, key=credentials["key"], secret=credentials["secret"], environment=environment, options=options
    )
