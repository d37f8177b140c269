"""Alpaca: US stocks and crypto. connect(), watch(), hosts() and FACTS; everything else stays inside the folder."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trading_system.brokers.alpaca.facts import BROKER_URLS, FACTS, URLS

if TYPE_CHECKING:
    from trading_system.brokers.alpaca.broker_api import EventsReader
    from trading_system.brokers.alpaca.connector import AlpacaConnector
    from trading_system.domain.ports import Clock
    from trading_system.settings.secret import Secret
    from trading_system.transport.http import Http
    from trading_system.transport.websocket import Dialer

__all__ = ["FACTS", "broker_hosts", "connect", "hosts", "watch"]


def hosts(environment: str) -> frozenset[str]:
    """The hosts that requests of one environment may go to."""
    return frozenset(urlsplit(url).netloc for url in (URLS[environment].trading, URLS[environment].data))


def broker_hosts(environment: str) -> frozenset[str]:
    """The hosts of the Broker API and of its tokens."""
    return frozenset(urlsplit(url).netloc for url in (BROKER_URLS[environment].api, BROKER_URLS[environment].oauth))


def connect(
    *,
    http: "Http",
    dialer: "Dialer",
    clock: "Clock",
    rng: random.Random,
    credentials: Mapping[str, "Secret"],
    environment: str,
    options: Mapping[str, str],
) -> "AlpacaConnector":
    """A connector for one account. credentials: key, secret. options: ALPACA_'s settings as settings/keys.py has them, url of a twin among them."""
    from trading_system.brokers.alpaca.connector import AlpacaConnector

    return AlpacaConnector(
        http=http, dialer=dialer, clock=clock, rng=rng, key=credentials["key"], secret=credentials["secret"], environment=environment, options=options
    )


def watch(
    *,
    http: "Http",
    dialer: "Dialer",
    clock: "Clock",
    rng: random.Random,
    credentials: Mapping[str, "Secret"],
    environment: str,
    options: Mapping[str, str],
) -> "EventsReader":
    """A reader of events that is no desk. credentials: key and secret of an account, or client_id and client_secret of a Broker API firm, for all
    its accounts. options: topic (orders; a firm also activities), since (RFC 3339 or a day), url of a twin on loopback."""
    from trading_system.brokers.alpaca.broker_api import account_events, firm_events

    if "client_id" not in credentials:
        return account_events(dialer=dialer, clock=clock, rng=rng, credentials=credentials, environment=environment, options=options)
    return firm_events(http=http, dialer=dialer, clock=clock, rng=rng, credentials=credentials, environment=environment, options=options)
