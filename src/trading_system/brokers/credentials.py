"""BrokerCredentials: every broker's keys, from .env and the environment or from the OS keyring. Shows fingerprints, never values."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trading_system.settings.credentials import read_keyring
from trading_system.settings.dotenv import find_env_file, is_placeholder, read_env_file
from trading_system.settings.keys import ALIASES, CREDENTIALS
from trading_system.settings.secret import Secret


class BrokerCredentials(msgspec.Struct, frozen=True):
    """Secrets by the name of their setting (ALPACA_API_KEY, …); only those that are configured."""

    secrets: Mapping[str, Secret]

    @classmethod
    def from_env(cls, env_file: Path | None = None) -> "BrokerCredentials":
        """From the environment, else from .env (the given one, or the one found from here). Placeholders count as missing."""
        path = env_file or find_env_file(os.environ, Path.cwd())
        values = {**({} if path is None else read_env_file(path).values), **os.environ}
        names = {name for fields in CREDENTIALS.values() for name in fields.values()}
        named = {
            name: values.get(name) or next((values[alias] for alias, to in ALIASES.items() if to == name and alias in values), "") for name in names
        }
        return cls({name: Secret(value.strip()) for name, value in sorted(named.items()) if not is_placeholder(value.strip())})

    @classmethod
    def from_keyring(cls) -> "BrokerCredentials":
        """From the OS keyring: service trading_system, user names alpaca_api_key, …

        Raises: KeyringUnavailable: this system has none that keeps secrets; the text says what to do.
        """
        return cls(read_keyring())

    def configured(self) -> tuple[str, ...]:
        """The brokers whose credentials are complete."""
        return tuple(broker for broker, fields in CREDENTIALS.items() if all(name in self.secrets for name in fields.values()))

    def for_broker(self, broker: str) -> Mapping[str, Secret]:
        """One broker's fields (key, secret, …), or nothing when they are not complete."""
        fields = CREDENTIALS[broker]
        return {field: self.secrets[name] for field, name in fields.items()} if broker in self.configured() else {}

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {secret.fingerprint()}" for name, secret in self.secrets.items())
        return f"BrokerCredentials({shown or 'nothing configured'})"
