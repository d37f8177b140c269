"""Who we are to Tradier: a bearer token on every request, a ticket on every stream."""

import msgspec

from trading_system.settings.secret import Secret
from trading_system.transport.message import Request


def sign(request: Request, token: Secret) -> Request:
    """Add the token, and ask for JSON: without that word Tradier answers in XML.

    Source: docs.tradier.com, Authentication
    """
    headers = {**request.headers, "Authorization": f"Bearer {token.reveal()}", "Accept": "application/json"}
    return Request(method=request.method, url=request.url, headers=headers, body=request.body)


def account_login(ticket: Secret) -> str:
    """First frame of the account's stream."""
    return msgspec.json.encode({"events": ["order"], "sessionid": ticket.reveal(), "excludeAccounts": []}).decode()


def market_query(ticket: Secret, symbols: list[str], kinds: list[str]) -> dict[str, str]:
    """What the market's stream is asked for by HTTP: the same, in the address."""
    return {"sessionid": ticket.reveal(), "symbols": ",".join(symbols), "filter": ",".join(kinds), "linebreak": "true", "validOnly": "true"}


def market_login(ticket: Secret, symbols: list[str], kinds: list[str]) -> str:
    """First frame of the market's stream, and again whenever the symbols change."""
    frame = {"symbols": symbols, "sessionid": ticket.reveal(), "filter": kinds, "linebreak": True, "validOnly": True}
    return msgspec.json.encode(frame).decode()
