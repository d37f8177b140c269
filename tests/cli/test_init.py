"""init, through its front door: what is typed stands in the file, mode 0600, and what was there before stays."""

import os
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


@pytest.mark.parametrize("before", ["LOG_LEVEL=DEBUG\n", None])
def test_a_profile_that_is_not_taken_leaves_both_files_as_they_were(tmp_path: Path, before: str | None) -> None:
    path, own = tmp_path / ".env", tmp_path / ".env.ira"
    path.write_text("LOG_LEVEL=INFO\n")
    if before is None:
        (tmp_path / f".env.{os.getpid()}").mkdir()  # stands where the new one is written first
    else:
        own.write_text(before)  # the desk's own setting, in an account's file
    done = CliRunner().invoke(
        init, ["--file", str(path), "--no-check", "--broker", "alpaca", "--profile", "ira"], input="PKIRA1234567\nsecret-of-ira\n"
    )

    assert (".env cannot be written" if before is None else ".env.ira:1: LOG_LEVEL holds for the whole desk") in str(done.exception)
    assert (path.read_text(), own.read_text() if own.exists() else None) == ("LOG_LEVEL=INFO\n", before)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("abc", "STARTING_CAPITAL 'abc' is not a plain number"),
        ("-5", "STARTING_CAPITAL is not negative"),
        ("0", "STARTING_CAPITAL is above 0"),
    ],
)
def test_an_answer_that_makes_no_sense_is_asked_for_again_with_the_reason(tmp_path: Path, typed: str, why: str) -> None:
    code, said, path = run(tmp_path, "1\n" + KEYS + f"{typed}\n20000\n40000\n\n5\n0.05\n" + "\n" * 5)
    config = load_config({}, folder=tmp_path, env_file=path)

    assert (code, why in said, "MAX_DAILY_LOSS_PCT is a fraction above 0 and at most 1; for 5 % write 0.05" in said) == (0, True, True), said
    assert said.count("STARTING_CAPITAL (") == 2
    assert (str(config.starting_capital), str(config.target_wealth), str(config.max_daily_loss_pct)) == ("20000", "40000", "0.05")


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("AKLIVE123456", "ALPACA_API_KEY is a live key (AK…), but ALPACA_PAPER=true"),
        ("your_api_key_here", "ALPACA_API_KEY is still to be filled in"),
        ("PKTEST 123456", "ALPACA_API_KEY has a space inside: copy it again"),
        ("", "ALPACA_API_KEY is needed"),
    ],
)
def test_a_key_that_cannot_be_one_is_asked_for_again_and_not_shown(tmp_path: Path, typed: str, why: str) -> None:
    code, said, path = run(tmp_path, f"1\n{typed}\n" + KEYS + DEFAULTS)

    assert (code, why in said, bool(typed) and typed in said) == (0, True, False), said
    assert "ALPACA_API_KEY=PKTEST123456\n" in path.read_text()


def test_enter_does_not_keep_what_makes_no_sense(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_LEVERAGE=much\n")
    code, said, path = run(tmp_path, "1\n" + KEYS + "\n" * 6 + "\n1.5\n\n\n")

    assert (code, "MAX_LEVERAGE 'much' is not a plain number" in said) == (0, True), said
    assert "MAX_LEVERAGE=1.5\n" in path.read_text()


def test_a_file_that_makes_no_sense_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nLOG_LEVEL=loud\nMAX_LEVERAGE=much\nKELLY_FRACTION=1\nKELLY_FRACTION=0.5\n")
    done = CliRunner().invoke(init, ["--file", str(path), "--no-check", "--broker", "alpaca"], input=KEYS + DEFAULTS)

    assert str(done.exception) == (
        "settings: .env:5: KELLY_FRACTION is set twice, first in .env:4: delete one; .env:2: LOG_LEVEL is one of DEBUG, INFO, WARNING, ERROR"
    )
    assert ("ALPACA_API_KEY" in done.output, list(tmp_path.iterdir())) == (False, [path])


def test_what_is_wrong_at_the_end_is_said_of_the_file_and_changes_nothing(tmp_path: Path) -> None:
    path, before = tmp_path / ".env", "APCA_API_KEY_ID=PKANOTHER123\n"
    path.write_text(before)
    done = CliRunner().invoke(init, ["--file", str(path), "--no-check", "--broker", "alpaca"], input=KEYS + DEFAULTS)

    assert str(done.exception) == "settings: ALPACA_API_KEY (.env:4) and APCA_API_KEY_ID (.env:1) contradict each other: keep one"
    assert (path.read_text(), list(tmp_path.iterdir())) == (before, [path])


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff")
    done = CliRunner().invoke(init, ["--file", str(tmp_path / ".env"), "--no-check"])

    assert f"{tmp_path / '.env'} cannot be read" in str(done.exception)


def test_a_broker_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    done = CliRunner().invoke(init, ["--file", str(tmp_path / ".env"), "--no-check", "--broker", "etrade"])

    assert "etrade" in str(done.exception)


@pytest.mark.parametrize("value", ["plain", "with space", "a'b", 'a"b', "back\\slash", "hash#tag", "$HOME"])
def test_values_are_read_back_as_they_were_typed(tmp_path: Path, value: str) -> None:
    from trading_system.settings.dotenv import read_env_file, with_settings

    path = tmp_path / ".env"
    path.write_text(with_settings("", {"ALPACA_API_SECRET": value}))

    assert read_env_file(path).values["ALPACA_API_SECRET"] == value
