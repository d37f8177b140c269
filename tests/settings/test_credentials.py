"""Credentials in a keyring, and how old they are."""

from pathlib import Path
from typing import Any

import keyring
import pytest
from click.testing import CliRunner
from keyring.backend import KeyringBackend
from keyring.backends import chainer, fail, null

from trading_system.app.config import ConfigError, load_config
from trading_system.brokers.credentials import BrokerCredentials
from trading_system.cli.credentials import set_
from trading_system.settings.credentials import AGE_WARN_DAYS, KeyringUnavailable, ages, keyring_backend, write_keyring
from trading_system.settings.secret import Secret

DAY = 86_400_000_000_000


class Drawer(KeyringBackend):
    """A keyring in memory."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


def use(monkeypatch: pytest.MonkeyPatch, backend: Any) -> Any:
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    return backend


def test_the_guides_user_names_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawer = use(monkeypatch, Drawer())
    drawer.set_password("trading_system", "alpaca_api_key", "PKkeyringkey")
    write_keyring("ALPACA_API_SECRET", "keyring-secret")
    found = BrokerCredentials.from_keyring()

    assert found.configured() == ("alpaca",)
    assert found.for_broker("alpaca")["secret"] == Secret("keyring-secret")
    (tmp_path / ".env").write_text("TRADING_CREDENTIALS=keyring\n")
    assert load_config({}, env_file=tmp_path / ".env").credentials("alpaca")["key"] == Secret("PKkeyringkey")


def test_a_profiles_fields_begin_with_its_name_and_need_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawer = use(monkeypatch, Drawer())
    (tmp_path / ".env").write_text("TRADING_CREDENTIALS=keyring\nPROFILES=ira\n")
    monkeypatch.setenv("TRADING_ENV_FILE", str(tmp_path / ".env"))
    for field, value in (("ira.alpaca_api_key", "PKofira12"), ("ira.ALPACA_API_SECRET", "secret-of-ira")):
        done = CliRunner().invoke(set_, [field], input=value + "\n")
        assert (done.exit_code, "secret-of" in done.output) == (0, False)
    config = load_config()

    assert set(drawer.kept) == {("trading_system", "ira.alpaca_api_key"), ("trading_system", "ira.alpaca_api_secret")}
    assert (config.credentials("alpaca-ira")["key"], config.credentials("alpaca")) == (Secret("PKofira12"), {})
    assert config.profile_files == ()
    refused = CliRunner().invoke(set_, ["play.alpaca_api_key"], input="x\n")
    assert "no profile 'play'; PROFILES in .env names ira" in str(refused.exception)


@pytest.mark.parametrize("backend", [fail.Keyring(), null.Keyring()])
def test_a_keyring_that_keeps_nothing_safe_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, backend: Any) -> None:
    use(monkeypatch, backend)
    with pytest.raises(KeyringUnavailable, match=r"use \.env"):
        keyring_backend()
    (tmp_path / ".env").write_text("TRADING_CREDENTIALS=keyring\n")
    with pytest.raises(ConfigError, match="keyring"):
        load_config({}, env_file=tmp_path / ".env")


def test_of_several_keyrings_the_first_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    both = chainer.ChainerBackend()
    drawer = Drawer()
    monkeypatch.setattr(chainer.ChainerBackend, "backends", [drawer])
    use(monkeypatch, both)

    assert keyring_backend() is drawer


def test_a_secrets_age_counts_from_the_day_it_was_first_seen(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ages.json"
    old, new = {"ALPACA_API_KEY": Secret("first-secret")}, {"ALPACA_API_KEY": Secret("second-secret")}

    assert ages(path, old, 0) == {"ALPACA_API_KEY": 0}
    assert ages(path, old, (AGE_WARN_DAYS + 1) * DAY) == {"ALPACA_API_KEY": AGE_WARN_DAYS + 1}
    assert ages(path, new, (AGE_WARN_DAYS + 1) * DAY) == {"ALPACA_API_KEY": 0}
    assert "secret" not in path.read_text()


@pytest.mark.parametrize("text", ["{", "[]", '{"a": "b"}', '{"a": null}', "\x00"])
def test_a_file_of_ages_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "ages.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        ages(path, {"ALPACA_API_KEY": Secret("first-secret")}, 0)

    assert path.read_text() == text
