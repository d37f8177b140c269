"""Interactive Brokers: stocks, options, moneys and coins, by the socket of TWS or IB Gateway, or by the Web API. connect(), hosts() and FACTS;
everything else stays inside the folder."""

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trading_system.brokers.ibkr.facts import FACTS
from trading_system.brokers.ibkr.web.facts import GATEWAY_URL, HOST
from trading_system.domain.errors import Unavailable

if TYPE_CHECKING:
    from trading_system.brokers.ibkr.tws.connector import TwsConnector
    from trading_system.brokers.ibkr.web.connector import WebConnector
    from trading_system.domain.ports import Clock
    from trading_system.settings.secret import Secret
    from trading_system.transport.http import Http
    from trading_system.transport.websocket import Dialer

__all__ = ["FACTS", "connect", "hosts"]

WEB = "web"  # IBKR_TRANSPORT


def hosts(environment: str) -> frozenset[str]:
    """Of the Web API: IBKR's own, and a gateway on this machine. TWS is spoken to without HTTP."""
    return frozenset({HOST, urlsplit(GATEWAY_URL).netloc})


def connect(
    *,
    http: "Http",
    dialer: "Dialer",
    clock: "Clock",
    rng: random.Random,
    credentials: Mapping[str, "Secret"],
    environment: str,
    options: Mapping[str, str],
) -> "TwsConnector | WebConnector":
    """A connector for one account. credentials: account, and what the login of the Web API needs. options: transport (tws, web); host, port and
    client_id of a TWS; web_login (gateway, oauth1a, oauth2) and ip; url of a twin on loopback. Raises Unavailable: ib_async is not installed."""
    if options.get("transport") == WEB:
        from trading_system.brokers.ibkr.web.connector import WebConnector

        return WebConnector(http=http, dialer=dialer, clock=clock, rng=rng, credentials=credentials, environment=environment, options=options)
    try:
        from trading_system.brokers.ibkr.tws.connector import TwsConnector
    except ModuleNotFoundError as error:
        raise Unavailable(f"ibkr needs the package {error.name}: pip install 'trading_system[exchange]'") from None
    return TwsConnector(http=http, dialer=dialer, clock=clock, rng=rng, account=credentials["account"], environment=environment, options=options)
