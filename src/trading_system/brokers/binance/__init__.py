"""Binance: crypto spot. connect(), hosts() and FACTS; everything else stays inside the folder."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trading_system.brokers.binance.facts import FACTS, URLS

if TYPE_CHECKING:
    from trading_system.brokers.binance.connector import BinanceConnector
    from trading_system.domain.ports import Clock
    from trading_system.settings.secret import Secret
    from trading_system.transport.http import Http
    from trading_system.transport.websocket import Dialer

__all__ = ["FACTS", "connect", "hosts"]


def hosts(environment: str) -> frozenset[str]:
    """The hosts that requests of one environment may go to."""
    return frozenset({urlsplit(URLS[environment].rest).netloc})


def connect(
    *,
    http: "Http",
    dialer: "Dialer",
    clock: "Clock",
    rng: random.Random,
    credentials: Mapping[str, "Secret"],
    environment: str,
    options: Mapping[str, str],
) -> "BinanceConnector":
    """A connector for one account. credentials: key, secret. options: order_entry (rest, websocket), url of a twin on loopback."""
    from trading_system.brokers.binance.connector import BinanceConnector

    return BinanceConnector(
        http=http, dialer=dialer, clock=clock, rng=rng, key=credentials["key"], secret=credentials["secret"], environment=environment, options=options
    )
