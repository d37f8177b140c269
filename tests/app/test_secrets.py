"""The canary: a secret planted everywhere shows up nowhere."""

import base64
import copy
import io
import json
import logging
import pickle
import sys
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
import structlog

from trading_system.app.config import ConfigError, load_config
from trading_system.app.logs import configure_logs, redact
from trading_system.brokers.alpaca import wire
from trading_system.brokers.alpaca.auth import bearer, data_login, orders_login, sign, token_request
from trading_system.brokers.credentials import BrokerCredentials
from trading_system.settings.secret import Secret
from trading_system.transport.message import Request

CANARY = 'PKcanary/Zz9+sE"cR\\eT=='  # a quote and a backslash: JSON and repr() write them differently
FORMS = (
    CANARY,
    quote(CANARY, safe=""),
    base64.b64encode(CANARY.encode()).decode(),
    base64.b64encode(f"user:{CANARY}".encode()).decode(),
    CANARY.encode().hex(),
    CANARY.encode().hex().upper(),
    CANARY[::-1],
    json.dumps(CANARY)[1:-1],
    json.dumps(json.dumps(CANARY))[1:-1],
    repr(CANARY)[1:-1],
)


@pytest.fixture
def secret() -> Secret:
    return Secret(CANARY)


def clean(text: str) -> bool:
    return not any(form in text for form in FORMS)


def test_a_secret_cannot_be_printed_copied_or_packed(secret: Secret) -> None:
    assert clean(f"{secret} {secret!r} {[secret]} {vars(Secret)} {secret.fingerprint()}")
    for pack in (pickle.dumps, copy.copy, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins):
        with pytest.raises(TypeError) as caught:
            pack(secret)
        assert clean(str(caught.value))
    assert not hasattr(secret, "__dict__")
    assert secret == Secret(CANARY)
    assert len({secret, Secret(CANARY), Secret("other-secret")}) == 2


def test_a_request_for_a_token_shows_neither_the_client_nor_the_token(secret: Secret) -> None:
    request = token_request("https://x/v1/oauth2/token", secret, secret)

    assert quote(CANARY, safe="") in request.body.decode()
    assert clean(f"{request} {request!r} {wire.Token(access_token=CANARY, expires_in=900)!r}")
    assert clean(redact(f"{request.body.decode()} {bearer(secret)}"))


def test_a_retired_secret_is_looked_for_no_longer() -> None:
    token = Secret("a-token-that-was-renewed")
    assert "renewed" not in redact("a-token-that-was-renewed")
    token.retire()
    assert redact("a-token-that-was-renewed") == "a-token-that-was-renewed"


def test_a_request_and_its_errors_show_no_headers(secret: Secret) -> None:
    request = sign(Request(method="GET", url="https://x/y?signature=1"), secret, secret)

    assert clean(repr(request))
    assert request.headers["APCA-API-KEY-ID"] == CANARY
    assert json.loads(orders_login(secret, secret))["data"]["secret_key"] == CANARY
    assert json.loads(data_login(secret, secret))["secret"] == CANARY


def test_settings_errors_name_the_key_and_not_its_value(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"ALPACA_API_KEY={CANARY}\nALPACA_API_SECRET={CANARY} {CANARY}\nALPACA_PAPER=false\nMAX_LEVERAGE=x\n")
    with pytest.raises(ConfigError) as caught:
        load_config({}, env_file=path)

    assert clean(str(caught.value))
    assert "ALPACA_API_SECRET" in str(caught.value)


def test_a_config_and_the_credentials_show_fingerprints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / ".env"
    path.write_text(f"ALPACA_API_KEY='{CANARY}'\nALPACA_API_SECRET='{CANARY}2'\n")
    for name in ("ALPACA_API_KEY", "ALPACA_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    found = BrokerCredentials.from_env(path)

    assert clean(repr(load_config({}, env_file=path)))
    assert clean(repr(found))
    assert found.configured() == ("alpaca",)
    assert found.for_broker("alpaca")["key"] == Secret(CANARY)
    assert found.for_broker("kraken") == {}
    assert repr(BrokerCredentials({})) == "BrokerCredentials(nothing configured)"


@pytest.mark.parametrize("fmt", ["json", "text"])
def test_no_log_line_holds_it(fmt: str, secret: Secret, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logs("DEBUG", fmt, stream)
    log = structlog.get_logger("x")
    for form in FORMS:
        log.info("said", url=f"https://x/?signature={form}", key=form, nested={"a": [form], form: form.encode()})
        logging.getLogger("aiohttp").warning("said %s", form)
    try:
        raise ValueError(f"bad key {CANARY}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("y").exception("failed")
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    written = stream.getvalue()
    logging.getLogger().handlers = []
    structlog.reset_defaults()

    assert clean(written)
    assert "said" in written
    assert "ValueError" in written
    assert sys.excepthook is not sys.__excepthook__
    sys.excepthook = sys.__excepthook__


def test_a_secret_at_any_offset_of_a_base64_text_is_masked(secret: Secret) -> None:
    for before in ("", "u", "us", "usr:"):
        assert redact(base64.b64encode(f"{before}{CANARY}".encode()).decode()) != base64.b64encode(f"{before}{CANARY}".encode()).decode()


def test_headers_are_masked_even_when_the_value_is_unknown() -> None:
    for line in (
        "Authorization: Bearer abcdefghijkl",
        "{'APCA-API-SECRET-KEY': 'abcdefghijkl'}",
        "X-MBX-APIKEY=abcdefghijkl",
        "GET /x?symbol=A&signature=abcdefghijkl",
    ):
        assert "abcdefghijkl" not in redact(line)
