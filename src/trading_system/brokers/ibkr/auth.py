"""Whose account it is: TWS asks its clients for no key, so that the account's number is all there is to prove."""

from collections.abc import Iterable

from trading_system.brokers.ibkr.facts import ACCOUNT_HELP, LIVE, PAPER, PAPER_ACCOUNT_PREFIX, PORTS
from trading_system.domain.errors import AuthFailed
from trading_system.settings.secret import Secret


def kind_of(account: str) -> str:
    """Paper accounts begin with DU, those of advisers' demonstrations with DF.

    >>> kind_of("DU1234567"), kind_of("U1234567")
    ('paper', 'live')
    """
    return PAPER if account.startswith((PAPER_ACCOUNT_PREFIX, "DF")) else LIVE


def prove(wanted: Secret, accounts: Iterable[str], environment: str) -> str:
    """The account's number, once it is the login's and of the right kind. Raises AuthFailed with what to do."""
    found, account = tuple(accounts), wanted.reveal()
    if account not in found:
        raise AuthFailed(f"this login has the accounts {', '.join(found) or 'none'}, and not the one in IB_ACCOUNT.", ACCOUNT_HELP)
    kind = kind_of(account)
    if kind != environment:
        ports = " or ".join(map(str, PORTS[environment]))
        hint = f"Log TWS in to the {environment} account and set IB_PORT to {ports}, or set TRADING_MODE to {kind}. {ACCOUNT_HELP}"
        raise AuthFailed(f"{account} is a {kind} account, this desk trades {environment}.", hint)
    return account
