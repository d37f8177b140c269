"""Interactive Brokers: stocks, options, moneys and coins, by the socket of TWS or IB Gateway. connect(), hosts() and FACTS; everything else stays
inside the folder."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trading_system.brokers.ibkr.facts import FACTS
from trading_system.domain.errors import Unavailable

if TYPE_CHECKING:
    from trading_system.brokers.ibkr.tws.connector import TwsConnector
    from trading_system.domain.ports import Clock
    from trading_system.settings.secret import Secret
    from trading_system.transport.http import Http
    from trading_system.transport.websocket import Dialer

__all__ = ["FACTS", "connect", "hosts"]


def hosts(environment: str) -> frozenset[str]:
    """None: TWS is spoken to without HTTP, on this machine or in a private network."""
    return frozenset()


def connect(
    *,
    http: "Http",
    dialer: "Dialer",
    clock: "Clock",
    rng: random.Random,
    credentials: Mapping[str, "Secret"],
    environment: str,
    options: Mapping[str, str],
) -> "TwsConnector":
    """A connector for one account. credentials: account. options: host, port and client_id of a TWS; url of a twin on loopback. Raises Unavailable:
    ib_async is not installed."""
    try:
        from trading_system.brokers.ibkr.tws.connector import TwsConnector
    except ModuleNotFoundError as error:
        raise Unavailable(f"ibkr needs the package {error.name}: pip install 'trading_system[exchange]'") from None
    return TwsConnector(http=http, dialer=dialer, clock=clock, rng=rng, account=credentials["account"], environment=environment, options=options)
