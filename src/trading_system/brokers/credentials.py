"""BrokerCredentials: every broker's keys, from .env and the environment or from the OS keyring. Shows fingerprints, never values."""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trading_system.settings.credentials import read_keyring
from trading_system.settings.dotenv import Source, find_env_file, merge, parse_secret, read_env_file
from trading_system.settings.keys import CREDENTIALS, KEYS
from trading_system.settings.secret import Secret


class BrokerCredentials(msgspec.Struct, frozen=True):
    """Secrets by the name of their setting (ALPACA_API_KEY, …); only those that are configured."""

    secrets: Mapping[str, Secret]

    @classmethod
    def from_env(cls, env_file: Path | None = None) -> "BrokerCredentials":
        """From the environment, else from .env (the given one, or the one found from here): the very values that the desk takes.

        Raises: ValueError: a key twice, two names that contradict, a value that cannot be one; the text names them, never their values.
        OSError: the file cannot be read.
        """
        path = env_file or find_env_file(os.environ, Path.cwd())
        raw, places, found = merge(Source({}, {}, (), ()) if path is None else read_env_file(path), os.environ)
        problems = list(found)
        secrets: dict[str, Secret] = {}
        for name in (name for name, key in KEYS.items() if key.kind == "secret"):
            try:
                secret = parse_secret(raw.get(name, ""))
            except ValueError as error:
                problems.append(f"{places[name]}: {name} {error}")
            else:
                secrets |= {} if secret is None else {name: secret}
        if problems:
            raise ValueError("settings: " + "; ".join(problems))
        return cls(secrets)

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
