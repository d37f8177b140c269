"""Ed25519 keys: what is signed, what is said where it cannot be, and a desk that trades with one."""

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.brokers.binance.test_connector import wish
from tests.conformance.test_orders import WIDE
from tests.desks import Bench, on_bench, settled
from tests.subjects import BINANCE, BINANCE_WS, Subject
from trading_system.brokers.binance import auth
from trading_system.domain.errors import AuthFailed
from trading_system.domain.fix import OrdStatus
from trading_system.settings.dotenv import parse_secret, read_env_file
from trading_system.settings.secret import Secret, live_values

pytest.importorskip("cryptography", reason="Ed25519 keys need cryptography: the extra `exchange`")
BODY = "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"  # the private seed 00 … 1f
PEM = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n-----END PRIVATE KEY-----\n"
VECTORS = {
    "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559": (
        "jjt1qwCY9csZlKsIpxgnSZSMn4zp40EFhbaN3JXjejGf6Zmc2MF5T+Kj6+CwPqvjBhT7RLWOVFrnRe0DYkbuBA=="
    ),
    "apiKey=testkey&timestamp=1649729878532": "MZVtvFlBY5PMZ0x/hV6kJuS1yL8FEgnMkTvq40kG5NfteOSJu4+AHyz/J3ilxJdU5CUpVuthwTU5Oovj51upDA==",
}


@pytest.mark.parametrize("payload", VECTORS)
@pytest.mark.parametrize("secret", [PEM, PEM.strip().replace("\n", "\\n")], ids=["lines", "one line"])
def test_a_private_key_signs_in_base64(payload: str, secret: str) -> None:
    assert auth.signature(payload, Secret(secret)) == VECTORS[payload]


def test_in_a_query_the_signature_is_percent_encoded() -> None:
    request = auth.sign("GET", "https://host/x", {}, Secret("k" * 64), Secret(PEM), 1499827319559)
    proof = request.url.partition("signature=")[2]

    assert not set(proof) & set("+/=")
    assert proof.endswith("%3D%3D")


@pytest.mark.parametrize(
    "line",
    [f'"{PEM}"', '"' + PEM.replace("\n", "\\n") + '"', PEM.strip().replace("\n", "\\n")],
    ids=["several lines", "quoted", "bare"],
)
def test_settings_hold_a_private_key(tmp_path: Path, line: str) -> None:
    file = tmp_path / ".env"
    file.write_text(f"BINANCE_API_KEY={'k' * 64}\nBINANCE_API_SECRET={line}\nBINANCE_TESTNET=true\n")
    source = read_env_file(file)
    secret = parse_secret(source.values["BINANCE_API_SECRET"])
    assert secret is not None

    assert (source.problems, source.values["BINANCE_TESTNET"]) == ((), "true")
    assert auth.signature("apiKey=testkey&timestamp=1649729878532", secret) == VECTORS["apiKey=testkey&timestamp=1649729878532"]
    assert BODY in live_values()  # a line of it alone is masked too


def _rsa() -> str:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize("broken", [PEM.replace("MC4C", "AAAA"), "-----BEGIN PRIVATE KEY-----", _rsa()], ids=["garbled", "cut", "rsa"])
def test_a_key_that_does_not_sign_says_what_to_do_and_not_what_it_is(broken: str) -> None:
    with pytest.raises(AuthFailed, match="Make an Ed25519 key") as caught:
        auth.signature("x", Secret(broken))

    assert "AAAA" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    auth._private_key.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(AuthFailed, match="pip install cryptography"):
        auth.signature("x", Secret(PEM))
    monkeypatch.undo()
    assert len(auth.signature("x", Secret("word"))) == 64


@pytest.mark.parametrize("subject", [BINANCE, BINANCE_WS], ids=lambda subject: subject.name)
def test_a_desk_trades_with_an_ed25519_key(tmp_path: Path, subject: Subject) -> None:
    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            done = await settled(desk, await desk.submit(wish("a", "0.5")))
            assert done.ord_status is OrdStatus.FILLED
            assert desk.ready[subject.broker]
            assert desk.books.halts == {}
        with pytest.raises(AuthFailed, match="-1022"):
            await bench.connector(credentials={"key": Secret(bench.twin.key), "secret": Secret(PEM)}).connect()
        with pytest.raises(AuthFailed, match="-1022"):
            await bench.connector(credentials={"key": Secret(bench.twin.key), "secret": Secret("s" * 64)}).connect()

    on_bench(tmp_path, story, subject=subject, ed25519=True)
