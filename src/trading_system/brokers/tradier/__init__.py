"""Tradier: US stocks and the options on them. connect(), hosts() and FACTS; everything else stays inside the folder."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trading_system.brokers.tradier.facts import FACTS, URLS

if TYPE_CHECKING:
    from trading_system.brokers.tradier.connector import TradierConnector
    from trading_system.domain.ports import Clock
    from trading_system.settings.secret import Secret
    from trading_system.transport.http import Http
    from trading_system.transport.websocket import Dialer

__all__ = ["FACTS", "connect", "hosts"]


def hosts(environment: str) -> frozenset[str]:
    """The hosts that requests of one environment may go to."""
    urls = URLS[environment]
    return frozenset(urlsplit(url).netloc for url in (urls.rest, urls.market_lines) if url)


def connect(
    *,
    http: "Http",
    dialer: "Dialer",
    clock: "Clock",
    rng: random.Random,
    credentials: Mapping[str, "Secret"],
    environment: str,
    options: Mapping[str, str],
) -> "TradierConnector":
    """A connector for one account. credentials: token. options: account_id, where the token has several; url of a twin on loopback."""
    from trading_system.brokers.tradier.connector import TradierConnector

    return TradierConnector(http=http, dialer=dialer, clock=clock, rng=rng, token=credentials["token"], environment=environment, options=options)
