"""Kraken: crypto spot. connect(), hosts() and FACTS; everything else stays inside the folder."""

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trading_system.brokers.kraken.facts import FACTS, URLS

if TYPE_CHECKING:
    from trading_system.brokers.kraken.connector import KrakenConnector
    from trading_system.domain.ports import Clock
    from trading_system.settings.secret import Secret
    from trading_system.transport.http import Http
    from trading_system.transport.websocket import Dialer

__all__ = ["FACTS", "connect", "hosts"]


def hosts(environment: str) -> frozenset[str]:
    """The hosts that requests may go to: there is one environment, and it is live."""
    return frozenset({urlsplit(URLS.rest).netloc})


def connect(
    *,
    http: "Http",
    dialer: "Dialer",
    clock: "Clock",
    rng: random.Random,
    credentials: Mapping[str, "Secret"],
    environment: str,
    options: Mapping[str, str],
    nonces: Callable[[], int],
) -> "KrakenConnector":
    """A connector for one account. credentials: key, secret. options: tier (starter, intermediate, pro), order_entry (rest, websocket), url of a
    twin on loopback. nonces: a number that only rises, for as long as the key lives."""
    from trading_system.brokers.kraken.connector import KrakenConnector

    return KrakenConnector(
        http=http,
        dialer=dialer,
        clock=clock,
        rng=rng,
        key=credentials["key"],
        secret=credentials["secret"],
        environment=environment,
        options=options,
        nonces=nonces,
    )
