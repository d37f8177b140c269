"""Who we are to OANDA: a token in a header, on requests and streams alike."""

from collections.abc import Mapping

from trading_system.settings.secret import Secret


def headers(token: Secret) -> Mapping[str, str]:
    """What every request carries. Times come in RFC 3339 unless somebody asks for something else.

    >>> headers(Secret("t-1"))["Authorization"]
    'Bearer t-1'
    """
    return {"Authorization": f"Bearer {token.reveal()}", "Accept-Datetime-Format": "RFC3339"}


def account(account_id: Secret) -> str:
    """The account's number, which stands in every path: it is no secret to OANDA, only the owner's business."""
    return account_id.reveal().strip()
