"""Who we are to the Web API: nobody, where a gateway is logged in; OAuth 1.0a with a live session token; OAuth 2.0 with a private key.

Pure: time, chance and answers come from outside. Both kinds of OAuth need the package `cryptography`.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import msgspec

from trading_system.domain.errors import AuthFailed, BadRequest, ProtocolError
from trading_system.settings.secret import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

GENERATOR = 2
EXPONENT_BITS = 256
NONCE_LENGTH = 16
REALM, TEST_REALM, TEST_CONSUMER = "limited_poa", "test_realm", "TESTCONS"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPE = "sso-sessions.write"
SESSION_LIFE_S = 86_400
_NO_PACKAGE = "Install it: `pip install cryptography`, or this desk with its extra `exchange`."


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """What OAuth 1.0a wants: names and keys from IBKR's self-service page. prime: of the Diffie-Hellman parameters, in hex; its generator is 2."""

    consumer_key: Secret
    access_token: Secret
    access_token_secret: Secret
    signature_key: Secret
    encryption_key: Secret
    prime: Secret

    @property
    def realm(self) -> str:
        return TEST_REALM if self.consumer_key.reveal() == TEST_CONSUMER else REALM

    @property
    def modulus(self) -> int:
        """Raises AuthFailed: the prime is no number in hex."""
        try:
            return int("".join(self.prime.reveal().replace(":", "").split()), 16)
        except ValueError:
            raise AuthFailed("IBKR_DH_PRIME is no number in hex.", "It is what `openssl dhparam -in dhparam.pem -text` shows as P.") from None


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """What OAuth 2.0 wants. username: whose accounts they are. ip: from which the session will come, as IBKR sees it."""

    client_id: Secret
    key_id: Secret
    private_key: Secret
    username: Secret
    ip: str


# -- OAuth 1.0a ------------------------------------------------------------------------------------------------------------------------------------


def challenge(consumer: Consumer, exponent: int) -> str:
    """Our half of the key exchange, in hex."""
    return f"{pow(GENERATOR, exponent, consumer.modulus):x}"


def ask_for_token(consumer: Consumer, url: str, *, exponent: int, nonce: str, timestamp_s: int) -> str:
    """The Authorization header that asks for a live session token: signed with RSA, over a text that begins with the token's secret.

    Source: interactivebrokers.github.io, OAuth 1.0a Extended
    """
    said = {"diffie_hellman_challenge": challenge(consumer, exponent), **_said(consumer, "RSA-SHA256", nonce, timestamp_s)}
    return _header(consumer, said, _rsa(consumer.signature_key, _secret(consumer).hex() + base_string("POST", url, said)))


def live_session_token(consumer: Consumer, response: str, proof: str, *, exponent: int) -> bytes:
    """The token out of IBKR's half of the exchange; it signs everything for a day. Raises ProtocolError: its proof does not fit."""
    shared = pow(int(response, 16), exponent, consumer.modulus)
    token = hmac.new(_two_s_complement(shared), _secret(consumer), hashlib.sha1).digest()
    expected = hmac.new(token, consumer.consumer_key.reveal().encode(), hashlib.sha1).hexdigest()
    if not hmac.compare_digest(expected, proof):
        raise ProtocolError("IBKR's proof of the live session token does not fit: the prime or one of the keys is another one's")
    return token


def sign(consumer: Consumer, token: bytes, method: str, url: str, *, nonce: str, timestamp_s: int) -> str:
    """The Authorization header of any later request. What stands in the query is not signed."""
    said = _said(consumer, "HMAC-SHA256", nonce, timestamp_s)
    text = base_string(method, url.partition("?")[0], said)
    return _header(consumer, said, base64.b64encode(hmac.new(token, text.encode(), hashlib.sha256).digest()).decode())


def base_string(method: str, url: str, said: Mapping[str, str]) -> str:
    """What is signed.

    >>> base_string("GET", "https://api.ibkr.com/v1/api/tickle", {"oauth_token": "b", "oauth_nonce": "a"})
    'GET&https%3A%2F%2Fapi.ibkr.com%2Fv1%2Fapi%2Ftickle&oauth_nonce%3Da%26oauth_token%3Db'
    """
    return f"{method}&{quote_plus(url)}&{quote_plus('&'.join(f'{name}={said[name]}' for name in sorted(said)))}"


def socket_query(consumer: Consumer) -> str:
    """What names the login in a WebSocket's address."""
    return f"?oauth_token={quote_plus(consumer.access_token.reveal())}"


def _said(consumer: Consumer, method: str, nonce: str, timestamp_s: int) -> dict[str, str]:
    return {
        "oauth_consumer_key": consumer.consumer_key.reveal(),
        "oauth_nonce": nonce,
        "oauth_signature_method": method,
        "oauth_timestamp": str(timestamp_s),
        "oauth_token": consumer.access_token.reveal(),
    }


def _header(consumer: Consumer, said: Mapping[str, str], signature: str) -> str:
    whole = {**said, "oauth_signature": quote_plus(signature), "realm": consumer.realm}
    return "OAuth " + ", ".join(f'{name}="{whole[name]}"' for name in sorted(whole))


def _two_s_complement(value: int) -> bytes:
    """As Java writes a number: a zero in front where the first bit would make it negative.

    >>> _two_s_complement(255), _two_s_complement(127)
    (b'\\x00\\xff', b'\\x7f')
    """
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def _secret(consumer: Consumer) -> bytes:
    """The access token's secret, which IBKR hands out encrypted. Raises AuthFailed."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    key = _private_key(consumer.encryption_key, "IBKR_ENCRYPTION_KEY")
    try:
        return key.decrypt(base64.b64decode(consumer.access_token_secret.reveal()), PKCS1v15())
    except ValueError:
        raise AuthFailed("IBKR_CLIENT_SECRET cannot be decrypted with IBKR_ENCRYPTION_KEY.", "Both come from one key pair and one page.") from None


# -- OAuth 2.0 -------------------------------------------------------------------------------------------------------------------------------------


def client_assertion(client: Client, now_s: int) -> str:
    """Proves to the token endpoint that we hold the private key."""
    name = client.client_id.reveal()
    return _jwt(client, {"iss": name, "sub": name, "aud": "/token", "iat": now_s - 10, "exp": now_s + 20})


def session_request(client: Client, now_s: int) -> str:
    """Asks for a session of a user's, bound to an address."""
    name = client.client_id.reveal()
    claims: dict[str, str | int] = {
        "ip": client.ip,
        "credential": client.username.reveal(),
        "iss": name,
        "iat": now_s - 10,
        "exp": now_s + SESSION_LIFE_S,
    }
    return _jwt(client, claims)


def bearer(token: str) -> str:
    return f"Bearer {token}"


def _jwt(client: Client, claims: Mapping[str, str | int]) -> str:
    head = {"alg": "RS256", "typ": "JWT", "kid": client.key_id.reveal()}
    text = ".".join(base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=").decode() for part in (head, claims))
    signature = base64.b64decode(_rsa(client.private_key, text))
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


# -- RSA -------------------------------------------------------------------------------------------------------------------------------------------


def _rsa(key: Secret, text: str) -> str:
    """An RSA-SHA256 signature in base64."""
    private = _private_key(key, "IBKR_SIGNATURE_KEY or IBKR_CLIENT_SECRET")
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    return base64.b64encode(private.sign(text.encode(), PKCS1v15(), SHA256())).decode()


@lru_cache(maxsize=8)
def _private_key(secret: Secret, name: str) -> "RSAPrivateKey":
    """The key of a PEM whose line breaks may be written as \\n, as one line of .env holds them. Raises AuthFailed."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise AuthFailed("OAuth needs the package `cryptography`, which is not here.", _NO_PACKAGE) from None
    hint = f"{name} is the whole PEM file, from -----BEGIN to the end, its line breaks written as \\n."
    try:
        key = load_pem_private_key(secret.reveal().replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # what it says may hold a part of the key
        raise AuthFailed("a private key cannot be read, or has a password.", hint) from None
    if not isinstance(key, RSAPrivateKey):
        raise AuthFailed("a private key is no RSA key.", hint)
    return key


def account_of(account: Secret) -> str:
    """The account's number, which stands in paths and orders."""
    found = account.reveal()
    if not found.isalnum():
        raise BadRequest("IB_ACCOUNT is no account number")
    return found
