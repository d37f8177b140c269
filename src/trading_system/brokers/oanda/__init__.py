"""OANDA v20: forex and metals. connect(), hosts() and FACTS; everything else stays inside the folder."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trading_system.brokers.oanda.facts import FACTS, URLS

if TYPE_CHECKING:
    from trading_system.brokers.oanda.connector import OandaConnector
    from trading_system.domain.ports import Clock
    from trading_system.settings.secret import Secret
    from trading_system.transport.http import Http
    from trading_system.transport.websocket import Dialer

__all__ = ["FACTS", "connect", "hosts"]


def hosts(environment: str) -> frozenset[str]:
    """The hosts that requests of one environment may go to."""
    return frozenset(urlsplit(url).netloc for url in (URLS[environment].rest, URLS[environment].stream))


def connect(
    *,
    http: "Http",
    dialer: "Dialer",
    clock: "Clock",
    rng: random.Random,
    credentials: Mapping[str, "Secret"],
    environment: str,
    options: Mapping[str, str],
) -> "OandaConnector":
    """A connector for one account. credentials: key (the token), account_id. options: guaranteed_stops (true,
    false), url of a twin on loopback."""
    from trading_system.brokers.oanda.connector import OandaConnector

    return OandaConnector(
        http=http,
        dialer=dialer,
        clock=clock,
        rng=rng,
        token=credentials["key"],
        account_id=credentials["account_id"],
        environment=environment,
        options=options,
    )
