"""A value that must not be seen: every way of printing it shows a mask."""

import hashlib
import hmac
from typing import NoReturn

PEM = "-----BEGIN"  # how a private key begins that is a file of several lines
_PART_MIN = 40  # a line of such a file, which may be logged without the others
_LIVE: set[str] = set()  # what the redaction filter looks for; values, because a log line holds values


class Secret:
    """Revealed only where a request is signed. Two fingerprints are equal only if the secrets are."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value
        if len(value) >= 6:  # shorter ones would blank out ordinary words
            _LIVE.update((value, *(part for part in value.replace("\\n", " ").split() if len(part) >= _PART_MIN)))

    def reveal(self) -> str:
        """The value itself: for auth.py and for nothing else."""
        return self.__value

    def retire(self) -> None:
        """It no longer opens anything (a token that was renewed): the redaction filter need not look for it for ever."""
        _LIVE.discard(self.__value)

    def fingerprint(self) -> str:
        """Eight characters that tell two secrets apart and do not lead back to either."""
        return hashlib.blake2b(self.__value.encode(), key=b"trading_system fingerprint", digest_size=4).hexdigest()

    def __repr__(self) -> str:
        return "Secret(****)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not copied, pickled or sent anywhere")


def live_values() -> frozenset[str]:
    """Every secret this process has seen, for the redaction filter."""
    return frozenset(_LIVE)
