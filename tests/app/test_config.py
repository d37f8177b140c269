"""Settings: the guide's template works as it is, and what is wrong is said with its line and its mend."""

import re
from pathlib import Path

import pytest

from trading_system.app.build import accounts_of, limits_of
from trading_system.app.config import Config, ConfigError, env_file_findings, load_config
from trading_system.brokers.credentials import BrokerCredentials
from trading_system.core.risk import Limits
from trading_system.domain.errors import AuthFailed, BadRequest
from trading_system.settings.keys import ALIASES, CREDENTIALS, KEYS, SECTIONS

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT.parent / "shared" / "mission" / "brokerage-api-connection-guide.md"


def load(tmp_path: Path, text: str = "", **environ: str) -> Config:
    path = tmp_path / ".env"
    path.write_text(text)
    return load_config(environ, env_file=path)


def problems(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **environ)

    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_example_file_has_every_setting_and_configures_nothing() -> None:
    text = (ROOT / ".env.example").read_text()
    config = load_config({}, env_file=ROOT / ".env.example")

    assert set(re.findall(r"^(?:# )?([A-Z_]+)=", text, re.M)) == set(KEYS)
    assert (config.secrets, config.warnings) == ({}, ())
    assert limits_of(config) == Limits() == limits_of(load_config({}, folder=Path("/")))


@pytest.mark.skipif(not GUIDE.exists(), reason="the guide is not beside this checkout (../shared)")
def test_the_guides_own_template_is_ours(tmp_path: Path) -> None:
    guide = GUIDE.read_text()
    template = guide[guide.index("### **Complete .env Template**") : guide.index("### **Minimal .env")].split("```")[1].removeprefix("bash\n")
    ours = {key.name for _, keys in SECTIONS for key in keys if not key.ours}

    assert set(re.findall(r"^([A-Z_]+)=", template, re.M)) == ours
    assert len(ours) == 44
    assert limits_of(load(tmp_path, template)) == Limits()


def test_the_docs_table_is_the_table() -> None:
    text = (ROOT / "docs" / "CONFIGURATION.md").read_text()
    for key in KEYS.values():
        assert f"| `{key.name}` |" in text
        assert key.help in text


def test_comments_and_spaces_are_stripped_and_the_environment_wins(tmp_path: Path) -> None:
    config = load(tmp_path, "MAX_LEVERAGE = 1.5   # half\nexport LOG_LEVEL=debug\n", MAX_LEVERAGE="1.25")

    assert (str(config.max_leverage), config.log_level) == ("1.25", "DEBUG")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MAX_LEVERAGE=1\nMAX_LEVERAGE=2\n", r"\.env:2: MAX_LEVERAGE is set twice, first in \.env:1"),
        ("MAX_POSITON_PCT=0.1\n", "did you mean MAX_POSITION_PCT"),
        ("max_leverage=1\n", "did you mean MAX_LEVERAGE"),
        ("MAX_POSITION_PCT=30\n", "for 30 % write 0.3"),
        ("MAX_POSITION_PCT=0\n", "above 0"),
        ("MAX_LEVERAGE=NaN\n", "plain number"),
        ("MAX_LEVERAGE=-1\n", "not negative"),
        ("MAX_LEVERAGE=0\n", "above 0"),
        ("CRYPTO_MAX_LEVERAGE=0\n", "above 0"),
        ("MAX_CONCURRENT_POSITIONS=2.5\n", "whole number"),
        ("DRY_RUN=maybe\n", "true or false"),
        ("TRADING_MODE=real\n", "paper, live"),
        ("CRYPTO_SYMBOLS=BTC\n", "pairs like BTC/USD"),
        ("IB_PORT=99999\n", "1 to 65535"),
        ("ALPACA_URL=https://example.com\n", "twin on this machine"),
        ("ALPACA_API_KEY=PK 12\n", "space inside"),
        ("ALPACA_API_KEY=PK123456\nALPACA_PAPER=false\n", "ALPACA_PAPER=true"),
        ("ALPACA_API_KEY=AK123456\n", "ALPACA_PAPER=false"),
        ("ALPACA_API_KEY=PKone1234\nAPCA_API_KEY_ID=PKtwo1234\n", "contradict"),
        ("what is this\n", "no KEY=value"),
    ],
)
def test_what_is_wrong_is_said_with_its_mend(tmp_path: Path, text: str, said: str) -> None:
    assert re.search(said, problems(tmp_path, text))


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    text = problems(tmp_path, "MAX_LEVERAGE=x\nMAX_DRAWDOWN_PCT=50\n")

    assert "MAX_LEVERAGE" in text
    assert "MAX_DRAWDOWN_PCT" in text


def test_unknown_settings_warn(tmp_path: Path) -> None:
    config = load(tmp_path, "SOMETHING_ELSE=1\n")

    assert "SOMETHING_ELSE is not a setting" in config.warnings[0]


@pytest.mark.parametrize("alias", [alias for alias, name in ALIASES.items() if name == "ALPACA_API_KEY"])
def test_names_people_have_work(tmp_path: Path, alias: str) -> None:
    config = load(tmp_path, f"{alias}=PK12345678\nAPCA_API_SECRET_KEY=0123456789\nALPACA_IS_PAPER=true\n")

    assert config.credentials("alpaca")["key"].reveal() == "PK12345678"
    assert accounts_of(config)[0].environment == "paper"


@pytest.mark.parametrize(
    ("mode", "paper", "kind"), [("paper", "true", "paper"), ("live", "false", "live"), ("paper", "false", None), ("live", "true", None)]
)
def test_paper_and_live_need_both_flags(tmp_path: Path, mode: str, paper: str, kind: str | None) -> None:
    config = load(tmp_path, f"TRADING_MODE={mode}\nALPACA_PAPER={paper}\nALPACA_API_KEY=CK12345678\nALPACA_API_SECRET=0123456789\n")

    assert config.kind("alpaca") == kind
    assert bool(config.warnings) == (kind is None)
    if kind is None:
        with pytest.raises(AuthFailed, match="Alpaca is left out"):
            accounts_of(config)


def test_placeholders_count_as_not_configured(tmp_path: Path) -> None:
    config = load(tmp_path, "ALPACA_API_KEY=PKxxxxxxxxxxxxxxxxxx\nALPACA_API_SECRET=your_secret\n")

    assert config.secrets == {}
    with pytest.raises(AuthFailed) as caught:
        accounts_of(config)
    assert caught.value.exit_code == 4
    assert "trading demo" in str(caught.value)


def test_an_open_env_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("")
    path.chmod(0o644)

    assert any("chmod 600" in finding for finding in env_file_findings(path))
    path.chmod(0o600)
    assert not any("chmod" in finding for finding in env_file_findings(path))
    link = tmp_path / "link"
    link.symlink_to(path)
    assert any("regular file" in finding for finding in env_file_findings(link))


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config({}, env_file=tmp_path / "missing")
    assert load_config({"TRADING_ENV_FILE": str(ROOT / ".env.example")}).env_file.endswith(".env.example")


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("ALPACA_API_KEY=PKAAAAAAAA\n", {"APCA_API_KEY_ID": "PKAAAAAAAA"}),
        ("ALPACA_API_KEY=your_alpaca_key_here\n", {"APCA_API_KEY_ID": "PKBBBBBBBB"}),
        ("ALPACA_API_KEY=PKAAAAAAAA\n", {"ALPACA_API_KEY": "PKBBBBBBBB"}),
        ("ALPACA_API_KEY=PKAAAAAAAA\n", {"ALPACA_API_KEY": ""}),
        ("APCA_API_KEY_ID=PKAAAAAAAA\n", {}),
        ("ALPACA_API_KEY=PKxxxx\n", {}),
        ("", {"ALPACA_API_KEY": " PKBBBBBBBB "}),
    ],
)
def test_the_guides_credentials_are_the_desks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, environ: dict[str, str]) -> None:
    for name in (*KEYS, *ALIASES):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    config = load(tmp_path, text, **environ)

    assert BrokerCredentials.from_env(tmp_path / ".env").secrets == config.secrets


@pytest.mark.parametrize(
    "text", ["ALPACA_API_KEY=PKAAAAAAAA\nALPACA_API_KEY=PKBBBBBBBB\n", "ALPACA_API_KEY=PKAAAAAAAA\nAPCA_API_KEY_ID=PKBBBBBBBB\n"]
)
def test_the_guides_credentials_refuse_what_the_desk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for name in (*KEYS, *ALIASES):
        monkeypatch.delenv(name, raising=False)
    problems(tmp_path, text)
    with pytest.raises(ValueError, match=r"twice|contradict") as caught:
        BrokerCredentials.from_env(tmp_path / ".env")

    assert "PKAAAAAAAA" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("ALPACA_API_KEY=PKAAAAAAAA\n", {"APCA_API_KEY_ID": "PKBBBBBBBB"}),
        ("APCA_API_KEY_ID=PKAAAAAAAA\n", {"ALPACA_API_KEY": "PKBBBBBBBB"}),
        ("ALPACA_PAPER=true\n", {"ALPACA_IS_PAPER": "no"}),
    ],
)
def test_an_alias_in_the_environment_does_not_overrule_its_name_in_the_file(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    said = problems(tmp_path, text, **environ)

    assert re.search(r"\(environment\).*contradict|\(\.env:1\).*contradict", said)
    assert "PKAAAAAAAA" not in said


@pytest.mark.parametrize(("one", "two"), [("true", "True"), ("true", "1"), ("no", "FALSE")])
def test_two_spellings_of_one_meaning_agree(tmp_path: Path, one: str, two: str) -> None:
    assert load(tmp_path, f"ALPACA_PAPER={one}\n", ALPACA_IS_PAPER=two, TRADING_MODE="paper" if one == "true" else "live").kind("alpaca") is not None


def test_a_slip_in_the_environment_is_a_warning_where_the_name_is_meant_for_us(tmp_path: Path) -> None:
    config = load(tmp_path, "", MAX_POSITON_PCT="0.1", ALPACA_PAPR="true", LOG_LEVELS="9", TRADING_ENV_FILE="x", MAX_CONNECTIONS="5", IB_LOGS="1")

    assert len(config.warnings) == 2
    assert "did you mean MAX_POSITION_PCT" in config.warnings[0]
    assert "did you mean ALPACA_PAPER" in config.warnings[1]


@pytest.mark.parametrize("placeholder", ["", "your_alpaca_key_here", "xxxx", "PKxxxx", "PKxxxxxxxxxxxxxxxxxx", "AKXXXXXX", "<key>", "changeme"])
def test_every_way_of_writing_a_placeholder_is_not_configured(tmp_path: Path, placeholder: str) -> None:
    assert load(tmp_path, f"ALPACA_API_KEY={placeholder}\n").secrets == {}


def test_every_brokers_credentials_can_be_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*KEYS, *ALIASES):
        monkeypatch.delenv(name, raising=False)
    names = [name for fields in CREDENTIALS.values() for name in fields.values()]
    text = "".join(f"{name}=CK-value-{number}\n" for number, name in enumerate(names))
    config = load(tmp_path, text)

    assert BrokerCredentials.from_env(tmp_path / ".env").configured() == tuple(CREDENTIALS)
    assert all(config.credentials(broker) for broker in CREDENTIALS)


BINANCE = "BINANCE_API_KEY=abcdefgh\nBINANCE_API_SECRET=0123456789\n"
ALPACA = "ALPACA_API_KEY=PK12345678\nALPACA_API_SECRET=0123456789\n"


def brokers(config: Config) -> list[tuple[str, str, bool]]:
    return [(account.broker, account.environment, account.twin) for account in accounts_of(config)]


def test_one_desk_opens_every_broker_that_has_keys_and_whose_own_flag_agrees(tmp_path: Path) -> None:
    both = load(tmp_path, ALPACA + BINANCE)
    one = load(tmp_path, ALPACA + BINANCE + "TRADING_MODE=live\nBINANCE_TESTNET=false\n")

    assert (brokers(both), both.warnings) == ([("alpaca", "paper", False), ("binance", "paper", False)], ())
    assert brokers(one) == [("binance", "live", False)]
    assert one.warnings == ("TRADING_MODE=live, but ALPACA_PAPER=true: Alpaca is left out; set ALPACA_PAPER=false to trade it live",)
    assert [account.options.get("testnet") for account in accounts_of(both)] == [None, "true"]
    assert [account.broker for account in accounts_of(both, "binance")] == ["binance"]


def test_half_a_pair_is_named_and_twins_stay_among_themselves(tmp_path: Path) -> None:
    with pytest.raises(AuthFailed, match="BINANCE_API_SECRET is missing"):
        accounts_of(load(tmp_path, ALPACA + "BINANCE_API_KEY=abcdefgh\n"))
    with pytest.raises(BadRequest, match="remove BINANCE_URL"):
        accounts_of(load(tmp_path, ALPACA + BINANCE + "BINANCE_URL=http://127.0.0.1:8002\n"))
    assert brokers(load(tmp_path, BINANCE + "BINANCE_URL=http://127.0.0.1:8002\n")) == [("binance", "paper", True)]
