"""Credentials in the OS keyring, and how old each is. keyring is imported when it is used."""

import json
import os
from pathlib import Path

from trading_system.settings.keys import CREDENTIALS, MORE_CREDENTIALS, secret_name
from trading_system.settings.secret import Secret

SERVICE = "trading_system"
AGE_WARN_DAYS = 90
_NS_PER_DAY = 86_400_000_000_000
_UNSAFE = ("fail", "null", "plaintext", "chainer")


class KeyringUnavailable(Exception):
    """There is no keyring that keeps secrets. The text says what to do."""


def keyring_backend() -> object:
    """The system's keyring. Raises KeyringUnavailable: none, or one that keeps secrets in the open."""
    import keyring
    from keyring.backends import chainer

    backend: object = keyring.get_keyring()
    if isinstance(backend, chainer.ChainerBackend) and backend.backends:
        backend = next(iter(backend.backends))
    name = f"{type(backend).__module__}.{type(backend).__name__}"
    if any(word in name.lower() for word in _UNSAFE):
        raise KeyringUnavailable(
            f"this system has no keyring that keeps secrets (found {name}): start its keyring service, or use .env with mode 0600"
        )
    return backend


def read_keyring(profile: str = "") -> dict[str, Secret]:
    """Every credential of the account that is there, by its name. Raises KeyringUnavailable."""
    backend = keyring_backend()
    found: dict[str, Secret] = {}
    for fields in (*CREDENTIALS.values(), *MORE_CREDENTIALS.values()):
        for name in (secret_name(profile, setting) for setting in fields.values()):
            value = backend.get_password(SERVICE, name.lower())  # type: ignore[attr-defined]  # keyring's own contract
            if value:
                found[name] = Secret(value)
    return found


def write_keyring(name: str, value: str) -> None:
    """Keep one credential. Raises KeyringUnavailable."""
    keyring_backend().set_password(SERVICE, name.lower(), value)  # type: ignore[attr-defined]


def ages(path: Path, secrets: dict[str, Secret], now_ns: int) -> dict[str, int]:
    """Days since each secret's fingerprint was first seen here; new ones start today. The file holds fingerprints, never values.

    Raises: ValueError: the file holds something else. OSError: it cannot be read or written.
    """
    seen = _seen(path)
    known = dict(seen)
    for secret in secrets.values():
        seen.setdefault(secret.fingerprint(), now_ns)
    if seen != known:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_suffix(f".{os.getpid()}")  # two desks may start at once
        fresh.write_text(json.dumps(seen))
        os.replace(fresh, path)
    return {name: (now_ns - seen[secret.fingerprint()]) // _NS_PER_DAY for name, secret in secrets.items()}


def _seen(path: Path) -> dict[str, int]:
    found = json.loads(path.read_text()) if path.exists() else {}
    if not isinstance(found, dict) or not all(type(first_ns) is int for first_ns in found.values()):
        raise ValueError("it is no list of fingerprints and times")
    return found
