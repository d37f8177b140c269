"""init, through its front door: what is typed stands in the file, mode 0600, and what was there before stays."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from trading_system.app.config import load_config
from trading_system.cli.init import init

KEYS = "PKTEST123456\nsecret-of-alpaca\n"
DEFAULTS = "\n" * 9


def run(folder: Path, typed: str, *more: str) -> tuple[int, str, Path]:
    path = folder / ".env"
    done = CliRunner().invoke(init, ["--file", str(path), "--no-check", *more], input=typed)
    return done.exit_code, done.output, path


def test_a_newcomer_gets_a_paper_desk_with_limits(tmp_path: Path) -> None:
    code, said, path = run(tmp_path, "1\n" + KEYS + "20000\n40000\n\n0.05\n\n\n\n\n\n")
    config = load_config({}, folder=tmp_path, env_file=path)

    assert (code, stat.S_IMODE(path.stat().st_mode)) == (0, 0o600)
    assert (config.trading_mode, str(config.starting_capital), str(config.max_daily_loss_pct)) == ("paper", "20000", "0.05")
    assert (config.kind("alpaca"), bool(config.credentials("alpaca"))) == ("paper", True)
    assert ("secret-of-alpaca" in said, "withdraw" in said, "trading plan" in said) == (False, True, True)


def test_a_second_broker_joins_and_nothing_else_changes(tmp_path: Path) -> None:
    run(tmp_path, "1\n" + KEYS + "20000\n40000\n\n0.05\n\n\n\n\n\n")
    (tmp_path / ".env").write_text("# my own words\n" + (tmp_path / ".env").read_text())
    code, _, path = run(tmp_path, "key-of-tradier\n" + DEFAULTS, "--broker", "tradier")
    config = load_config({}, folder=tmp_path, env_file=path)

    assert (code, path.read_text().startswith("# my own words\n")) == (0, True)
    assert [bool(config.credentials(broker)) for broker in ("alpaca", "tradier", "binance")] == [True, True, False]
    assert (str(config.starting_capital), str(config.max_daily_loss_pct)) == ("20000", "0.05")


def test_a_further_account_gets_a_file_of_its_own_and_no_limits(tmp_path: Path) -> None:
    run(tmp_path, "1\n" + KEYS + "20000\n40000\n\n0.05\n\n\n\n\n\n")
    code, said, path = run(tmp_path, "1\nPKIRA1234567\nsecret-of-ira\n", "--profile", "ira")
    run(tmp_path, "key-of-play\n", "--profile", "play", "--broker", "tradier")
    own, config = tmp_path / ".env.ira", load_config({}, folder=tmp_path, env_file=path)

    assert (code, stat.S_IMODE(own.stat().st_mode), "secret-of-ira" in said, "MAX_" in said) == (0, 0o600, False, False)
    assert own.read_text() == "ALPACA_PAPER=true\nALPACA_API_KEY=PKIRA1234567\nALPACA_API_SECRET=secret-of-ira\n"
    assert (config.profiles, str(config.max_daily_loss_pct)) == (("ira", "play"), "0.05")
    assert [bool(config.credentials(name)) for name in ("alpaca", "alpaca-ira", "tradier-play", "tradier")] == [True, True, True, False]


@pytest.mark.parametrize("name", ["kraken", "a,b", "", "Ira"])
def test_a_name_that_cannot_be_a_profiles_is_refused_before_anything_is_asked(tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(init, ["--file", str(tmp_path / ".env"), "--no-check", "--profile", name])

    assert (type(done.exception).__name__, done.output.count("Keys:"), list(tmp_path.iterdir())) == ("BadRequest", 0, [])


def test_a_profile_that_the_settings_refuse_leaves_both_files_as_they_were(tmp_path: Path) -> None:
    path, own = tmp_path / ".env", tmp_path / ".env.ira"
    path.write_text("LOG_LEVEL=INFO\n")
    own.write_text("# mine\n")
    for before in ("# mine\n", None):
        if before is None:
            own.unlink()
        done = CliRunner().invoke(
            init, ["--file", str(path), "--no-check", "--broker", "alpaca", "--profile", "ira"], input="AKlive1234567\nsecret-of-ira\n"
        )

        assert ".env.ira: ALPACA_API_KEY is a live key" in str(done.exception)
        assert (path.read_text(), own.read_text() if own.exists() else None) == ("LOG_LEVEL=INFO\n", before)


def test_what_makes_no_sense_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("LOG_LEVEL=INFO\n")
    done = CliRunner().invoke(init, ["--file", str(path), "--no-check", "--broker", "alpaca"], input=KEYS + "-5\n" + "\n" * 8)

    assert ("STARTING_CAPITAL" in str(done.exception), path.read_text(), list(tmp_path.iterdir())) == (True, "LOG_LEVEL=INFO\n", [path])


def test_a_broker_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    done = CliRunner().invoke(init, ["--file", str(tmp_path / ".env"), "--no-check", "--broker", "etrade"])

    assert "etrade" in str(done.exception)


@pytest.mark.parametrize("value", ["plain", "with space", "a'b", 'a"b', "back\\slash", "hash#tag", "$HOME"])
def test_values_are_read_back_as_they_were_typed(tmp_path: Path, value: str) -> None:
    from trading_system.settings.dotenv import read_env_file, with_settings

    path = tmp_path / ".env"
    path.write_text(with_settings("", {"ALPACA_API_SECRET": value}))

    assert read_env_file(path).values["ALPACA_API_SECRET"] == value
