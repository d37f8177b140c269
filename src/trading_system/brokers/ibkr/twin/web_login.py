"""Who may ask the twin's Web API: whoever comes through a gateway; holders of a consumer's keys (OAuth 1.0a); holders of a client's key (OAuth 2.0).

It holds the public side of keys that it makes itself, and checks every signature; a nonce is taken once. A gateway needs no package for that.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote_plus, unquote_plus

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

GATEWAY, OAUTH1A, OAUTH2 = "gateway", "oauth1a", "oauth2"
# Group 14 of RFC 3526: a prime that anybody may use
PRIME = (
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f1437"
    "4fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7edee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf05"
    "98da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b"
    "e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa051015728e5a8aacaa68ffffffffffffffff"
)
CLIENT_ID, KEY_ID, USERNAME, CONSUMER, ACCESS_TOKEN, IP = "TwinClient", "main", "twinuser", "TWINCONSU", "2f1c9ad1e9a1a8f5b0a7", "203.0.113.7"


class Denied(Exception):
    """401, with what is wrong."""


@cache
def _key(_: str) -> "RSAPrivateKey":
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    return generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key: "RSAPrivateKey") -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def _verified(key: str, signature: bytes, text: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        _key(key).public_key().verify(signature, text.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _encrypted(secret: bytes) -> str:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    return base64.b64encode(_key("encryption").public_key().encrypt(secret, PKCS1v15())).decode()


class Logins:
    """One way to log in. base: the address that clients were told, which is what they sign."""

    def __init__(self, kind: str, rng: Random) -> None:
        self.kind = kind
        self.base = ""
        self.token = b""
        self.expired = False  # the live session token, or the session
        self._secret = rng.randbytes(32)
        self._rng = rng
        self._nonces: set[str] = set()
        self._bearers: set[str] = set()
        self._access = ""

    @property
    def credentials(self) -> Mapping[str, str]:
        """What a client needs to know, by the names of a connector's fields."""
        if self.kind == OAUTH1A:
            encrypted = _encrypted(self._secret)
            keys = {"signature_key": _pem(_key("signature")), "encryption_key": _pem(_key("encryption")), "dh_prime": PRIME}
            return {"web_id": CONSUMER, "web_secret": encrypted, "access_token": ACCESS_TOKEN, **keys}
        if self.kind == OAUTH2:
            return {"web_id": CLIENT_ID, "web_secret": _pem(_key("client")), "key_id": KEY_ID, "username": USERNAME}
        return {}

    def check(self, method: str, path: str, headers: Mapping[str, str], url: str) -> None:
        """Raises Denied: this request comes from nobody we know."""
        if self.kind == GATEWAY:
            return
        given = headers.get("authorization", "")
        if self.expired:
            raise Denied("expired")
        if self.kind == OAUTH2:
            if given.removeprefix("Bearer ") not in self._bearers:
                raise Denied("invalid bearer")
            return
        said = _said(given)
        text = _base(method, self._address(url), said)
        signature = base64.b64encode(hmac.new(self.token, text.encode(), hashlib.sha256).digest()).decode()
        if not self.token or said.get("oauth_signature_method") != "HMAC-SHA256" or unquote_plus(said.get("oauth_signature", "")) != signature:
            raise Denied("id: 39687, error: invalid signature")
        self._once(said)

    def live_session_token(self, headers: Mapping[str, str], url: str, now_ms: int) -> Mapping[str, object]:
        """Their half for ours. Raises Denied."""
        said = _said(headers.get("authorization", ""))
        if said.get("oauth_consumer_key") != CONSUMER or said.get("oauth_token") != ACCESS_TOKEN:
            raise Denied("id: 39687, error: invalid consumer")
        text = self._secret.hex() + _base("POST", self._address(url), said)
        if not _verified("signature", base64.b64decode(unquote_plus(said["oauth_signature"])), text):
            raise Denied("id: 39687, error: invalid signature")
        self._once(said)
        ours, prime = self._rng.getrandbits(256), int(PRIME, 16)
        shared = pow(int(said["diffie_hellman_challenge"], 16), ours, prime)
        self.token = hmac.new(shared.to_bytes(shared.bit_length() // 8 + 1, "big"), self._secret, hashlib.sha1).digest()
        self.expired = False
        proof = hmac.new(self.token, CONSUMER.encode(), hashlib.sha1).hexdigest()
        life = {"live_session_token_expiration": now_ms + 86_400_000}
        return {"diffie_hellman_response": f"{pow(2, ours, prime):x}", "live_session_token_signature": proof, **life}

    def access_token(self, body: bytes, now_s: int) -> Mapping[str, object]:
        """The first token of OAuth 2.0. Raises Denied."""
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        claims = _claims(form.get("client_assertion", ""))
        right = (
            form.get("grant_type") == "client_credentials" and claims.get("iss") == claims.get("sub") == CLIENT_ID and claims.get("aud") == "/token"
        )
        if not right or not int(str(claims["iat"])) <= now_s < int(str(claims["exp"])):
            raise Denied("invalid_client")
        self._access = f"{self._rng.getrandbits(128):032x}"
        return {"access_token": self._access, "token_type": "Bearer", "scope": "sso-sessions.write", "expires_in": 86399}

    def session(self, headers: Mapping[str, str], body: bytes) -> Mapping[str, object]:
        """The second one: a session of a user's. Raises Denied."""
        claims = _claims(body.decode())
        if headers.get("authorization") != f"Bearer {self._access}" or claims.get("credential") != USERNAME or claims.get("ip") != IP:
            raise Denied("access denied")
        found = f"{self._rng.getrandbits(128):032x}"
        self._bearers, self.expired = {found}, False
        return {"active": True, "access_token": found, "token_type": "Bearer"}

    def _address(self, url: str) -> str:
        return self.base + url.partition("?")[0]

    def _once(self, said: Mapping[str, str]) -> None:
        if said["oauth_nonce"] in self._nonces:
            raise Denied("id: 39687, error: nonce used")
        self._nonces.add(said["oauth_nonce"])


def _said(header: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in header.removeprefix("OAuth ").split(", "))
    return {name: value.strip('"') for name, _, value in pairs}


def _base(method: str, url: str, said: Mapping[str, str]) -> str:
    pairs = "&".join(f"{name}={value}" for name, value in sorted(said.items()) if name not in ("realm", "oauth_signature"))
    return f"{method}&{quote_plus(url)}&{quote_plus(pairs)}"


def _claims(token: str) -> dict[str, object]:
    """What a JWT says, signed by the client's key. Raises Denied."""
    text, _, signature = token.rpartition(".")
    try:
        found: dict[str, object] = msgspec.json.decode(_unpadded(text.rpartition(".")[2]), type=dict[str, object])
        right = _verified("client", _unpadded(signature), text)
    except (ValueError, msgspec.MsgspecError):
        raise Denied("invalid_client") from None
    if not right:
        raise Denied("invalid_client")
    return found


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
