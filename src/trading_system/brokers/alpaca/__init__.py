"""Alpaca: US stocks and crypto. connect() and FACTS; everything else stays inside the folder."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trading_system.brokers.alpaca.facts import FACTS

if TYPE_CHECKING:
    from trading_system.brokers.alpaca.connector import AlpacaConnector
    from trading_system.domain.ports import Clock
    from trading_system.settings.secret import Secret
    from trading_system.transport.http import Http
    from trading_system.transport.websocket import Dialer

__all__ = ["FACTS", "connect"]


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
    """A connector for one account. credentials: key, secret. options: feed (iex, sip), and url and ws_url of a twin on loopback."""
    from trading_system.brokers.alpaca.connector import AlpacaConnector

    return AlpacaConnector(
        http=http, dialer=dialer, clock=clock, rng=rng, key=credentials["key"], secret=credentials["secret"], environment=environment, options=options
    )
