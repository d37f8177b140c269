"""Logins of the Web API: what is signed, for whom, and what happens when a session ends or is another's."""

import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.desks import Bench, on_bench
from tests.subjects import IBKR_WEB
from trading_system.brokers.ibkr.twin.web import WebTwin
from trading_system.brokers.ibkr.twin.web_login import ACCESS_TOKEN, CONSUMER, IP, PRIME, Logins
from trading_system.brokers.ibkr.web import auth
from trading_system.brokers.ibkr.web.facts import TICKLE_EVERY_NS
from trading_system.brokers.ibkr.web.wire import BASE
from trading_system.domain.errors import AuthFailed, BadRequest, ProtocolError, Unavailable
from trading_system.settings.secret import Secret
from trading_system.sim.clock import START_NS

HOST = "http://twin"
KINDS = ("gateway", "oauth1a", "oauth2")


def on_web(tmp_path: Path, story: Callable[[Bench, Any], Awaitable[None]], login: str = "gateway", **twin: Any) -> None:
    async def main(bench: Bench) -> None:
        bench.twin.logins.base = HOST
        await story(bench, bench.connector(options={"web_login": login, "ip": IP}))

    on_bench(tmp_path, main, subject=IBKR_WEB, login=login, **twin)


@pytest.mark.parametrize("login", KINDS)
def test_each_login_reaches_the_account(tmp_path: Path, login: str) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        await connector.connect()

        assert (await connector.account()).equity == Decimal(100_000)
        await connector.aclose()

    on_web(tmp_path, story, login)


@pytest.mark.parametrize("login", KINDS[1:])
def test_requests_without_a_signature_are_nobodys(tmp_path: Path, login: str) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        with pytest.raises(AuthFailed, match="401"):
            await bench.connector(options={"web_login": "gateway"}).connect()

    on_web(tmp_path, story, login)


@pytest.mark.parametrize("field", ["signature_key", "encryption_key", "dh_prime", "access_token"])
def test_a_missing_part_of_a_login_is_named(tmp_path: Path, field: str) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        credentials = {name: secret for name, secret in IBKR_WEB.credentials(bench.twin).items() if name != field}
        with pytest.raises(AuthFailed, match=f"IBKR_{field.upper()} is not set"):
            bench.connector(credentials=credentials, options={"web_login": "oauth1a"})

    on_web(tmp_path, story, "oauth1a")


def test_a_login_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        with pytest.raises(BadRequest, match="gateway, oauth1a or oauth2"):
            bench.connector(options={"web_login": "oauth3"})

    on_web(tmp_path, story)


def test_the_daily_reset_costs_one_more_question_and_no_more(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        await connector.connect()
        bench.twin.reset()

        assert await connector.open_orders() == ()
        assert bench.twin.brokerage
        await connector.aclose()

    on_web(tmp_path, story)


def test_another_login_of_the_same_user_is_sent_away_once_and_not_again_and_again(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        await connector.connect()
        bench.twin.take_over()
        await connector.open_orders()

        assert (bench.twin.brokerage, bench.twin.competing) == (True, False)
        await connector.aclose()

    on_web(tmp_path, story)


def test_maintenance_is_no_answer(tmp_path: Path) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        await connector.connect()
        bench.twin.down = True
        with pytest.raises(Unavailable, match="503"):
            await connector.open_orders()
        bench.twin.down = False

        assert await connector.open_orders() == ()
        await connector.aclose()

    on_web(tmp_path, story)


@pytest.mark.parametrize("login", KINDS[1:])
def test_a_token_that_ends_before_its_time_is_renewed(tmp_path: Path, login: str) -> None:
    async def story(bench: Bench, connector: Any) -> None:
        await connector.connect()
        bench.twin.logins.expired = True
        with pytest.raises(AuthFailed):
            await connector.account()
        await bench.clock.sleep_ns(2 * TICKLE_EVERY_NS)

        assert (await connector.account()).equity == Decimal(100_000)
        await connector.aclose()

    on_web(tmp_path, story, login)


# -- OAuth 1.0a by itself ----------------------------------------------------------------------------------------------------------------------------


def consumer(**changes: str) -> auth.Consumer:
    given = {**Logins("oauth1a", random.Random(1)).credentials, **changes}
    return auth.Consumer(
        consumer_key=Secret(given["web_id"]),
        access_token=Secret(given["access_token"]),
        access_token_secret=Secret(given["web_secret"]),
        signature_key=Secret(given["signature_key"]),
        encryption_key=Secret(given["encryption_key"]),
        prime=Secret(given["dh_prime"]),
    )


def test_both_sides_of_the_exchange_come_to_the_same_token() -> None:
    logins, ours = Logins("oauth1a", random.Random(1)), random.Random(2)
    logins.base = HOST
    path = f"{BASE}/oauth/live_session_token"
    for number in range(20):  # some tokens begin with a bit that makes a number negative, and want a zero in front
        exponent = ours.getrandbits(auth.EXPONENT_BITS)
        header = auth.ask_for_token(consumer(), HOST + path, exponent=exponent, nonce=f"nonce{number}", timestamp_s=1)
        told = logins.live_session_token({"authorization": header}, path, 1)
        token = auth.live_session_token(
            consumer(), str(told["diffie_hellman_response"]), str(told["live_session_token_signature"]), exponent=exponent
        )

        assert token == logins.token


def test_a_proof_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="does not fit"):
        auth.live_session_token(consumer(), "2a", "00" * 20, exponent=5)


def test_a_header_is_what_ibind_makes_of_the_same_words() -> None:
    header = auth.sign(consumer(), b"token", "GET", f"{HOST}{BASE}/tickle?x=1", nonce="abc", timestamp_s=1_700_000_000)

    assert header == (
        f'OAuth oauth_consumer_key="{CONSUMER}", oauth_nonce="abc", oauth_signature="UvFeD6nBzz46E85qPWVM3teVgEAoCkPqiQYWK0ZZk6E%3D", '
        f'oauth_signature_method="HMAC-SHA256", oauth_timestamp="1700000000", oauth_token="{ACCESS_TOKEN}", realm="limited_poa"'
    )


@pytest.mark.parametrize(("changes", "said"), [({"dh_prime": "no hex"}, "IBKR_DH_PRIME"), ({"signature_key": "-----BEGIN"}, "cannot be read")])
def test_a_key_that_is_none_is_named_and_not_shown(changes: dict[str, str], said: str) -> None:
    with pytest.raises(AuthFailed, match=said) as caught:
        auth.ask_for_token(consumer(**changes), HOST, exponent=5, nonce="a", timestamp_s=1)

    assert all(value not in str(caught.value).replace("-----BEGIN to", "") for value in changes.values())


def test_the_prime_may_stand_as_openssl_shows_it() -> None:
    shown = ":\n    ".join(PRIME[place : place + 2] for place in range(0, len(PRIME), 2))

    assert consumer(dh_prime=shown).modulus == int(PRIME, 16)


def test_the_twins_account_says_its_kind() -> None:
    assert WebTwin(start_ns=START_NS).account.startswith("DU")
    assert WebTwin(start_ns=START_NS, environment="live").account.startswith("U")
